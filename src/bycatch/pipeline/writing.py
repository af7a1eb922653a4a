"""The products of a step: written to temporary files, then renamed together."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools
from bycatch.catalogs import ecsv
from bycatch.catalogs.tables import SUFFIXES, write_table
from bycatch.kernels.blocks import BLOCK_PX
from bycatch.kernels.psf_grid import OVERSAMPLING
from bycatch.pipeline.sky_files import sky_hdus
from bycatch.products import ImagePaths, table_extension
from bycatch.system.disk import Batch
from bycatch.system.words import ascii_words
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.stages.detect import SkyModel
    from bycatch.stages.measure.depth import Depth
    from bycatch.stages.psf import PsfModel
    from bycatch.stages.psf.look import PsfLook

PSF_PLACES = 3
"""Along each axis: the PSF changes linearly from place to place."""
MASK_TILE_ROWS = 64
"""Rows of the mask that are compressed together: a cutout is read without the rest."""
AS_THEY_ARE = "ignore"
"""How astropy is to check headers: these are ours, and the check takes almost half the time."""


class Products:
    """The products of one step on one image.

    Parameters
    ----------
    paths : where they go
    meta : calibration and provenance, for the tables
    is_survey : only what a large survey keeps is written
    """

    SURVEY_TABLE = "cat.parquet"
    """The one table that a survey keeps, besides mask, segmentation and WCS."""

    def __init__(self, paths: ImagePaths, meta: Mapping[str, Any], *, is_survey: bool) -> None:
        self.paths = paths
        self.meta = dict(meta)
        self.is_survey = is_survey
        self.batch = Batch(paths.folder)

    def table(
        self,
        table: Table,
        kind: str,
        form: str = "ecsv",
        lines: Iterable[bytes] | None = None,
        **extra: Any,
    ) -> None:
        """Write ``<root>_<kind>``; ``extra`` goes to its metadata."""
        suffix = SUFFIXES[form]
        if self.is_survey and f"{kind}{suffix}" != self.SURVEY_TABLE:
            return
        partial = self.batch.partial(self.paths.product(kind, suffix))
        write_table(table, partial, form, lines, self.meta | extra)

    def parts(
        self,
        table: Table,
        parts: Mapping[str, Bools | None],
        forms: Iterable[str],
        **extra: Any,
    ) -> None:
        """Write selections of the rows of a table (None: all); each row is put into words once."""
        texts = None if self.is_survey else ecsv.rows(table)
        for kind, rows in parts.items():
            for form in forms:
                # The lines say it all: the rows themselves are needed by other formats only.
                part = table if form == "ecsv" or rows is None else table[rows]
                lines = texts.lines(rows) if texts else None
                self.table(part, kind, form, lines, **extra)

    def segmentation(self, labels: NDArray[np.int32], wcs: WCS, removed: Table) -> None:
        """Write the segmentation image, gzipped, with the detections that were removed."""
        from astropy.io import fits

        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(labels, self._header(wcs, "SEGM")),
                table_extension(removed, "REMOVED"),
            ]
        )
        # The lowest level: labels are small at any, and the highest takes twice as long.
        # Without the time: the same labels are the same file.
        path = self.batch.partial(self.paths.segmentation)
        with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as stream:
            hdus.writeto(stream, output_verify=AS_THEY_ARE)

    def sky(self, model: SkyModel) -> None:
        """Write background and noise box by box: the maps come from them."""
        path = self.batch.partial(self.paths.sky)
        sky_hdus(model).writeto(path, output_verify=AS_THEY_ARE)

    def mask(self, mask: Bools, wcs: WCS, coverage: NDArray[np.uint8], share: Table | None) -> None:
        """Write the cosmic-ray mask, compressed by tiles, and what other images need of this one.

        PLIO is made for masks: a full frame of 18.5 MB takes 0.4 MB, in 0.06 s.
        """
        from astropy.io import fits

        header = self._header(wcs, "CRMASK")
        tile = (min(MASK_TILE_ROWS, mask.shape[0]), mask.shape[1])
        pixels = fits.CompImageHDU(
            mask.astype(np.uint8), header, name="CRMASK", compression_type="PLIO_1", tile_shape=tile
        )
        hdus = [fits.PrimaryHDU(), pixels, _block_image(coverage, "COVERAGE")]
        hdus += [] if share is None else [table_extension(share, "CRSHARE", share.meta)]
        path = self.batch.partial(self.paths.mask)
        fits.HDUList(hdus).writeto(path, output_verify=AS_THEY_ARE)

    def depth(self, depth: Depth, sky: Table) -> None:
        """Write the depth of the image, block by block, and the blank places that it rests on."""
        from astropy.io import fits

        if self.is_survey:
            return
        primary = fits.PrimaryHDU()
        if depth.map_mag is not None:
            primary = _block_image(depth.map_mag, "DEPTH", fits.PrimaryHDU)
            primary.header["BUNIT"] = "mag(AB)"
            primary.header["RADIUS"] = (
                depth.radius_px,
                "[pix] of the aperture; corrected to all light",
            )
        hdus = fits.HDUList([primary, table_extension(sky, "SKY")])
        hdus.writeto(self.batch.partial(self.paths.depth), output_verify=AS_THEY_ARE)

    def psf(self, model: PsfModel, look: PsfLook) -> None:
        """Write the PSF at 3 x 3 places, or at one, as STScI's standard PSFs are (STDPSF).

        `photutils.psf.GriddedPSFModel.read(path, format='stdpsf')` takes it.  Extensions hold what
        the PSF leaves of its stars, for the report.
        """
        from astropy.io import fits

        if self.is_survey:
            return
        ny, nx = model.shape
        n = PSF_PLACES if len(model.grids) > 1 else 1
        x, y = (np.linspace(0, size - 1, n) if n > 1 else [(size - 1) / 2] for size in (nx, ny))
        cube = np.stack([model.at(column, row) for row in y for column in x])
        hdu = fits.PrimaryHDU(cube.astype(np.float32))
        header = hdu.header
        header["NXPSFS"], header["NYPSFS"] = (n, "places along x"), (n, "places along y")
        for k, (column, row) in enumerate(zip(x, y, strict=True), start=1):
            header[f"IPSFX{k:02d}"] = (round(column) + 1, "[pix] 1-based column of a place")
            header[f"JPSFY{k:02d}"] = (round(row) + 1, "[pix] 1-based row of a place")
        header["OVERSAMP"] = (OVERSAMPLING, "points per pixel")
        header["NSTARS"] = (model.n_stars, "stars that it was made from")
        header["WIDTHSC"] = (model.width_scatter, "scatter of the width from star to star")
        header["DETPX"] = (model.detector_px, "[pix] side of a detector pixel")
        header["ROOTNAME"] = ascii_words(self.paths.root)
        header["CREATOR"] = f"bycatch {__version__}"
        hdus = fits.HDUList([hdu])
        for name, data, meaning in (
            ("NSTARS", look.n_stars.astype(np.int32), "stars by parts of the image"),
            ("LEFT", look.left.reshape(-1, *look.left.shape[2:]), "left of a star of flux 1"),
            ("PIECE", np.stack([look.piece, look.rest]), "[e/s] a piece, and without stars"),
        ):
            part = fits.ImageHDU(data, name=name)
            part.header["MEANING"] = meaning
            hdus.append(part)
        hdus["PIECE"].header["X0"] = (look.x, "[pix] 0-based column of its first pixel")
        hdus["PIECE"].header["Y0"] = (look.y, "[pix] 0-based row of its first pixel")
        hdus.writeto(self.batch.partial(self.paths.psf), output_verify=AS_THEY_ARE)

    def _header(self, wcs: WCS, name: str) -> fits.Header:
        header = wcs.to_header(relax=True)
        header["ROOTNAME"], header["EXTNAME"] = ascii_words(self.paths.root), name
        header["CREATOR"] = f"bycatch {__version__}"
        return header


def _block_image(blocks: NDArray[Any], name: str, kind: Any = None) -> Any:
    from astropy.io import fits

    hdu = (kind or fits.ImageHDU)(blocks)
    hdu.header["EXTNAME"] = name
    hdu.header["BLOCKPX"] = (BLOCK_PX, "[pix] side of a block of the image")
    return hdu


def remove(paths: Iterable[Path]) -> None:
    """Remove products that are no longer made; what has become a folder is not ours."""
    for path in paths:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
