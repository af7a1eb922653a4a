"""One image and its products while a field is worked on: read when needed, kept between steps."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.errors import MissingProduct, UnreadableFile
from bycatch.kernels.threads import in_background
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.keys import refresh_checksum, stage_keys
from bycatch.pipeline.provenance import note_of_no_source, settings_of
from bycatch.products import (
    FieldFolder,
    ImageRecord,
    combined_digest,
    input_settings,
    read_extension,
    read_image,
    read_pixels,
)
from bycatch.system import memory

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.drc import DrcImage
    from bycatch.pipeline.frames import Frame
    from bycatch.settings import DetectSettings
    from bycatch.stages.detect import Sky
    from bycatch.stages.psf import PsfResult

logger = logging.getLogger("bycatch")


class Workbench:
    """An image of a field.

    Parameters
    ----------
    folder : of the field
    job : what is to be done on the image
    """

    def __init__(self, folder: FieldFolder, job: ImageJob) -> None:
        self.folder = folder
        self.job = job
        self.record: ImageRecord = job.record
        self.paths = job.paths
        self.sealing: Future[None] | None = None
        self._reading: Future[DrcImage] | None = None
        self._shelf: Shelf | None = None
        self._lent: DrcImage | None = None
        self._keys: tuple[str, dict[str, str]] | None = None

    def look(self, *, at_pixels: bool) -> None:
        """See whether the file is as it was; one that is new is read meanwhile.

        Raises
        ------
        UnreadableFile
            It is gone.
        """
        memory.free_at_once()
        if at_pixels and not self.record.checksum:
            self._reading = in_background(self._read)
            import_steps()  # while the file is read
        refresh_checksum(self.record, self.job.out)

    def forget(self, *names: str) -> None:
        """Forget what was read or computed of products that are made again."""
        for name in names:
            self.__dict__.pop(name, None)

    def take(self, **changes: Any) -> None:
        """Change what is to be done on the image."""
        self.job = replace(self.job, **changes)
        self._keys = None

    # ---- the image -----------------------------------------------------------------------

    @cached_property
    def image(self) -> DrcImage:
        """The drizzled image."""
        if self._shelf is not None:
            shelf, self._shelf = self._shelf, None
            self._lent = shelf.image
            for name in ("segmentation", "cr_mask"):
                if name in shelf.arrays:
                    self.__dict__.setdefault(name, shelf.arrays[name])
            return shelf.image
        reading, self._reading = self._reading, None
        image = reading.result() if reading else self._read()
        if input_settings(self.job.settings, self.record).verify:
            self.record.verified = self.record.checksum
        for note in image.meta.notes:
            logger.warning("%s: %s", self.job.label, note)
        self.record.notes = [*image.meta.notes, *note_of_no_source(self.record)]
        return image

    def read_again(self) -> None:
        """Read the pixels of an image whose steps are done, without repeating its remarks."""
        if "image" not in self.__dict__ and self._shelf is None:
            self.__dict__["image"] = self._read()

    def _read(self) -> DrcImage:
        return read_image(self.record, self.job.out, self.job.settings)

    def shelve(self) -> None:
        """Put the pixels aside while others of the field are worked on: they need the memory."""
        if "image" not in self.__dict__:
            return
        is_searched = {"detect", "crmask"} <= set(self.record.stages)
        if is_searched:
            _ = self.cr_share, self.coverage  # while the pixels are in memory
        self.put_aside()
        if is_searched:
            _ = self.exposure_sets  # of the same file, while the system still has it in memory

    def put_aside(self) -> None:
        """Put image, segmentation and mask into a file until they are asked for."""
        attributes = self.__dict__
        names: tuple[str, ...] = ("segmentation", "cr_mask")
        arrays = {name: attributes.pop(name) for name in names if name in attributes}
        self._shelf = Shelf(attributes.pop("image"), arrays)

    def lend(self) -> None:
        """Forget what this image needs, but for pixels at which other images may look."""
        if self._lent is None:
            self.shelve()
            self._lent = self._shelf.image if self._shelf else None
        pixels = self._lent
        self.release()
        self._lent = pixels

    def pixels(self) -> DrcImage:
        """Return the image for a look at its pixels; it is not kept where it has to be read."""
        if self._shelf is not None:
            return self._shelf.image
        if self._lent is not None:
            return self._lent
        return self.__dict__["image"] if "image" in self.__dict__ else self._read()

    def release(self) -> None:
        """Forget all pixels and tables."""
        self._shelf = self._reading = self._lent = None
        self.forget("image", "segmentation", "cr_mask", "phot", "catalog", "star_fits")

    # ---- its products --------------------------------------------------------------------

    @cached_property
    def sources(self) -> Table:
        """The detections."""
        return self._table("sources", "detect")

    @cached_property
    def segmentation(self) -> NDArray[np.int32]:
        """The segmentation image."""
        labels: NDArray[np.int32] = self._pixels(self.paths.segmentation, "detect")
        return labels

    def sky(self, settings: DetectSettings) -> Sky:
        """Return background and noise, as detection left them if with these settings."""
        from bycatch.pipeline.sky_files import read_sky
        from bycatch.stages.detect import sky

        old_settings = settings_of(self.record, self.job.settings, "detect")
        same = all(old_settings.get(name) == getattr(settings, name) for name in sky.SETTINGS)
        if same and self.record.has_whole(self.paths.sky):
            return read_sky(self.paths.sky).on(self.image)
        return sky.sky_of(self.image, settings)

    @cached_property
    def cr_mask(self) -> Bools:
        """The grown cosmic-ray mask."""
        return self._pixels(self.paths.mask, "crmask").astype(bool)

    @cached_property
    def coverage(self) -> NDArray[np.uint8]:
        """Where the image has data, block by block: other images need no more of its pixels."""
        from bycatch.images.files import open_fits
        from bycatch.kernels.blocks import covered_blocks

        if "image" in self.__dict__:
            return covered_blocks(self.image.valid)
        self.need(self.paths.mask, "crmask")
        with open_fits(self.paths.mask) as hdus:
            if "COVERAGE" not in hdus:
                raise UnreadableFile(f"{self.paths.mask}: of an earlier version", hint=AGAIN)
            return np.asarray(hdus["COVERAGE"].data)

    @cached_property
    def cr_share(self) -> Floats:
        """Share of each detection's pixels that is on the cosmic-ray mask, (N,)."""
        from bycatch.kernels.exposures import mask_shares

        if "cr_mask" not in self.__dict__:
            self.need(self.paths.mask, "crmask")
            table = read_extension(self.paths.mask, "CRSHARE")
            if table is not None and table.meta.get("KEY") == self.share_key:
                return np.asarray(table["on_cr_mask"], dtype=float)
        shares = mask_shares(self.segmentation, self.cr_mask, self.sources["id"])
        return np.asarray(shares, dtype=float)

    @cached_property
    def star_fits(self) -> PsfResult:
        """The PSF, and the fits of all stars: the alignment has their places, the measurement all.

        Pixels that were put aside are put aside again.
        """
        from bycatch.stages.star_rows import fit_stars

        are_here = "image" in self.__dict__
        fits = fit_stars(
            self.image, self.sources, self.job.settings, self.cr_mask, self.segmentation
        )
        if not are_here:
            self.put_aside()
        return fits

    @cached_property
    def exposure_sets(self) -> NDArray[np.int64]:
        """Which exposures look at each detection, (N,)."""
        from bycatch.images.exposures import exposure_sets

        image = self._shelf.image if self._shelf else self.image  # its pixels are not needed
        x, y = (np.asarray(self.sources[name]) for name in ("x", "y"))
        return exposure_sets(image.path, image.meta, x, y, image.ctx_path)

    @property
    def share_key(self) -> str:
        """Stands for the detections that the shares are of."""
        detection = self.record.stages.get("detect")
        return combined_digest(detection.key, len(self.sources)) if detection else ""

    @cached_property
    def frame(self) -> Frame:
        """The WCS that the alignment gave, and its error."""
        from bycatch.pipeline.frames import read_frame

        self.need(self.paths.wcs, "align")
        return read_frame(self.paths.wcs)

    @cached_property
    def phot(self) -> Table:
        """The photometry."""
        return self._table("phot", "measure")

    @cached_property
    def catalog(self) -> Table:
        """The image's own catalog, which a survey keeps as Parquet alone."""
        return self._catalog()

    def catalog_with(self, *names: str) -> Table:
        """Return some columns of the image's own catalog, a quarter of the time of all.

        Parameters
        ----------
        names : of the columns
        """
        return self.catalog if "catalog" in self.__dict__ else self._catalog(names)

    def _catalog(self, names: Collection[str] | None = None) -> Table:
        path = self.paths.product("cat")
        return self._table("cat", "finalize", path.suffix if path.exists() else ".parquet", names)

    def wait_until_synced(self) -> None:
        """Return when the products of the steps are on the disk, and so is the record of them."""
        sealing, self.sealing = self.sealing, None
        if sealing is not None:
            sealing.result()

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the steps, as `stage_keys` has them."""
        if self._keys is None or self._keys[0] != self.record.checksum:
            self._keys = self.record.checksum, stage_keys(self.job)
        return self._keys[1]

    def need(self, path: Path, stage: str) -> None:
        """Say which step to run where one of its products is missing or no longer what it was."""
        self.wait_until_synced()
        if not self.record.has_whole(path):
            problem = "was truncated, changed or replaced after it was written"
            raise MissingProduct(
                f"{self.job.label}: {path.name} {problem if path.exists() else 'is missing'}",
                hint=f"run 'bycatch {stage} {self.job.out}' first, or 'bycatch run'",
            )

    def _table(
        self, kind: str, stage: str, suffix: str = ".ecsv", names: Collection[str] | None = None
    ) -> Table:
        from bycatch.catalogs.tables import read_table

        path = self.paths.product(kind, suffix)
        self.need(path, stage)
        return read_table(path, names)

    def _pixels(self, path: Path, stage: str) -> NDArray[Any]:
        self.need(path, stage)
        return read_pixels(path)


AGAIN = "run 'bycatch run' again"


class Shelf:
    """The pixels of an image in a temporary file without a name, which ends with the process.

    Mapped back into memory they are read as they are used.  To write and map a full frame takes
    about as long as to read it from a FITS file on a local disk, and spares the archive's.
    """

    PLANES = ("sci", "n_exp", "exptime_map_s")

    def __init__(self, image: DrcImage, arrays: dict[str, NDArray[Any]]) -> None:
        planes = {name: getattr(image, name) for name in self.PLANES} | arrays
        with tempfile.TemporaryFile(prefix="bycatch-") as file:
            for plane in planes.values():
                file.write(np.ascontiguousarray(plane).data)
            file.flush()
            offset = 0
            mapped: dict[str, Any] = {}
            for name, plane in planes.items():
                # Kernels are compiled once more for arrays that can't be written to.
                mode: Literal["c", "r"] = "c" if plane.flags.writeable else "r"
                pixels = np.memmap(file, plane.dtype, mode, offset, plane.shape)
                mapped[name] = np.asarray(pixels)
                offset += plane.nbytes
        self.arrays = {name: mapped.pop(name) for name in arrays}
        self.image = replace(image, **mapped)


def import_steps() -> None:
    """Import what the steps need, which takes as long as to read a file."""
    from bycatch.stages import align, crmask, detect, finalize, measure  # noqa: F401
