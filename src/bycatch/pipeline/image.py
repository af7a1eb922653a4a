"""One image through the steps: what is stale is done again, everything else is kept."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as member
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.errors import BycatchError, MissingProduct, UnreadableFile, UnusableData
from bycatch.products import (
    STAGES,
    ImagePaths,
    ImageRecord,
    StageRecord,
    atomic,
    checksum,
    combined,
)
from bycatch.settings import InputSettings, Settings, build
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.drc import DrcImage
    from bycatch.gaia import ReferenceStars

logger = logging.getLogger("bycatch")


class Outcome(StrEnum):
    """What became of an image."""

    DONE = "done"
    DROPPED = "dropped"
    """The data can't be used: the reason says why."""
    FAILED = "failed"
    """Not the data's fault: disk, permissions, or a bug (then with its traceback)."""


@dataclass(frozen=True)
class ImageJob:
    """All that a worker needs to know of one image."""

    out: Path
    record: ImageRecord
    settings: Settings
    stages: tuple[str, ...] = STAGES
    forced: tuple[str, ...] = ()
    """Steps that are done again even if they are not stale."""
    gaia_file: Path | None = None
    gaia_key: str = "none"
    sources_file: Path | None = None
    exclude_file: Path | None = None

    @property
    def paths(self) -> ImagePaths:
        """Where the products lie."""
        return self.record.paths(self.out)

    @property
    def label(self) -> str:
        """How messages name the image."""
        return f"{self.record.field}/{self.record.filter} {self.record.root}"


@dataclass(frozen=True)
class ImageReport:
    """What was done to an image."""

    root: str
    field: str
    filter: str
    source: str
    outcome: Outcome
    reason: str = ""
    traceback: str = ""
    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Steps whose products were up to date."""
    seconds: float = 0.0
    summary: dict[str, Any] = member(default_factory=dict)
    """Numbers of the steps, by step."""
    notes: tuple[str, ...] = ()
    folder: str = ""

    @property
    def catalog_path(self) -> Path:
        """The final catalog."""
        return Path(self.folder) / f"{self.root}_cat.ecsv"

    def catalog(self) -> Table:
        """Read the final catalog."""
        from bycatch.tables import read_table

        return read_table(self.catalog_path)


def run_image(job: ImageJob) -> ImageReport:
    """Run the steps of one image; whatever goes wrong stays with this image."""
    started = time.perf_counter()
    done: list[str] = []
    kept: list[str] = []
    outcome, reason, trace = Outcome.DONE, "", ""
    try:
        work = Workbench(job)
        for stage in job.stages:
            (done if work.do(stage) else kept).append(stage)
    except UnusableData as err:
        outcome, reason = Outcome.DROPPED, str(err)
    except BycatchError as err:
        outcome, reason = Outcome.FAILED, str(err)
    except OSError as err:
        reason = f"{err} - check disk space and permissions of {job.out}"
        outcome = Outcome.FAILED
    except Exception as err:  # a bug: it must not stop the other images  # noqa: BLE001
        outcome, trace = Outcome.FAILED, traceback.format_exc()
        reason = f"{type(err).__name__}: {err} - this is a bug; the log holds its traceback"
    if outcome is not Outcome.DONE:
        logger.error(
            "%s: %s: %s",
            job.label,
            outcome,
            reason,
            extra={"steps_lost": len(job.stages) - len(done) - len(kept)},
        )
        if trace:
            logger.debug("%s", trace)
    record = job.record
    return ImageReport(
        root=record.root,
        field=record.field,
        filter=record.filter,
        source=record.source,
        outcome=outcome,
        reason=reason,
        traceback=trace,
        done=tuple(done),
        kept=tuple(kept),
        seconds=time.perf_counter() - started,
        summary={name: stage.summary for name, stage in record.stages.items()},
        notes=tuple(record.notes),
        folder=str(job.paths.folder),
    )


BUILDS_ON = {
    "detect": (),
    "crmask": (),
    "align": ("detect", "crmask"),
    "measure": ("detect", "crmask", "align"),
    "finalize": ("measure",),
}


def stage_keys(job: ImageJob) -> dict[str, str]:
    """Return the key of each step: it changes when its input or one of its settings does.

    A key holds the keys of the steps that it builds on, so that what is
    downstream of a change is redone as well.
    """
    keys: dict[str, str] = {}
    for stage in STAGES:
        keys[stage] = stage_key(job, stage, keys)
    return keys


def stage_key(job: ImageJob, stage: str, earlier: Mapping[str, str]) -> str:
    """Return the key of a step that builds on products of the ``earlier`` keys."""
    settings, record = job.settings, job.record
    given = [__version__, record.checksum, record.input, settings.input.digest()]
    lists = [checksum(p) if p else "" for p in (job.sources_file, job.exclude_file)]
    own: dict[str, list[Any]] = {
        "detect": [settings.detect.digest()],
        "crmask": [settings.crmask.digest()],
        "align": [settings.align.digest(), job.gaia_key],
        "measure": [settings.measure.digest(), job.gaia_key, lists],
        "finalize": [settings.finalize.digest(), settings.output.digest()],
    }
    return combined(stage, given, [earlier.get(name, "") for name in BUILDS_ON[stage]], own[stage])


def is_current(record: ImageRecord, folder: Path, stage: str, key: str) -> bool:
    """Tell whether a step's products are there and made of the same input and settings."""
    known = record.stages.get(stage)
    return (
        known is not None
        and known.key == key
        and all((folder / name).exists() for name in known.outputs)
    )


class Workbench:
    """The image and its products: read when first needed, kept between the steps."""

    def __init__(self, job: ImageJob) -> None:
        self.job = job
        self.paths = job.paths
        self.record = job.record
        self.settings = job.settings
        self._update_checksum()
        self.keys = stage_keys(job)

    def _update_checksum(self) -> None:
        """Compute the checksum of the input again only if size or time changed."""
        names = [name for name in (self.record.name, self.record.wht_name) if name]
        files = [self.paths.folder / name for name in names]
        for path in files:
            if not path.exists():
                raise UnreadableFile(
                    f"{self.record.source}: {path} leads to no file any more",
                    hint="give the file to 'bycatch run' again from where it is now",
                )
        fingerprint = " ".join(file_fingerprint(p) for p in files)
        if not self.record.checksum or fingerprint != self.record.fingerprint:
            sums = [checksum(p) for p in files]
            self.record.checksum = sums[0] if len(sums) == 1 else " ".join(sums)
            self.record.fingerprint = fingerprint

    def do(self, stage: str) -> bool:
        """Do a step, unless its products are up to date; return whether it was done."""
        key = self.keys[stage]
        if stage not in self.job.forced and is_current(self.record, self.paths.folder, stage, key):
            logger.info("%s: %s: up to date", self.job.label, stage, extra={"step_over": True})
            return False
        steps: dict[str, Callable[[], tuple[list[Path], dict[str, Any]]]] = {
            "detect": self._detect,
            "crmask": self._crmask,
            "align": self._align,
            "measure": self._measure,
            "finalize": self._finalize,
        }
        started = time.perf_counter()
        before = self._forget(stage)
        outputs, summary = steps[stage]()
        seconds = time.perf_counter() - started
        # A step on its own may build on products of other settings: its key says which.
        built_on = {name: done.key for name, done in self.record.stages.items()}
        self.record.stages[stage] = StageRecord(
            stage_key(self.job, stage, built_on),
            [p.name for p in outputs],
            round(seconds, 3),
            summary,
            self._current(stage),
        )
        self.record.write(self.job.out)
        for path in before - set(outputs):
            path.unlink(missing_ok=True)
        unaligned = stage == "align" and self.settings.align.enabled and not summary["aligned"]
        logger.log(
            logging.WARNING if unaligned else logging.INFO,
            "%s: %s: %s (%.1f s)",
            self.job.label,
            stage,
            _in_words(stage, summary),
            seconds,
            extra={"step_over": True},
        )
        return True

    def _forget(self, stage: str) -> set[Path]:
        """Strike a step from the record before its products change; return the old ones."""
        known = self.record.stages.pop(stage, None)
        if known is None:
            return set()
        self.record.write(self.job.out)
        return {self.paths.folder / name for name in known.outputs}

    # ---- what the steps need -------------------------------------------------------------

    @cached_property
    def image(self) -> DrcImage:
        """The drizzled image."""
        from bycatch.drc import read_drc

        given = build(
            InputSettings,
            {**self.settings.input.model_dump(), **self.record.input},
            where=self.record.source,
        )
        weight = self.paths.folder / self.record.wht_name if self.record.wht_source else None
        image = read_drc(self.paths.folder / self.record.name, given, weight)
        self.record.notes = list(image.meta.notes)
        for note in image.meta.notes:
            logger.warning("%s: %s", self.job.label, note)
        return image

    @cached_property
    def sources(self) -> Table:
        """The detections."""
        return self._table("sources", "detect")

    @cached_property
    def segmentation(self) -> NDArray[np.int32]:
        """The segmentation image."""
        return self._pixels(self.paths.segmentation, "detect")

    @cached_property
    def cr_mask(self) -> NDArray[np.bool_]:
        """The grown cosmic-ray mask."""
        return self._pixels(self.paths.mask, "crmask").astype(bool)

    @cached_property
    def aligned_wcs(self) -> WCS:
        """The WCS that the alignment gave."""
        from astropy.io import fits
        from astropy.wcs import WCS

        self._need(self.paths.wcs, "align")
        header = fits.getheader(self.paths.wcs)
        header.remove("NAXIS")  # 0: it has no pixels of its own, which WCS finds odd
        return WCS(header)

    @cached_property
    def phot(self) -> Table:
        """The photometry."""
        return self._table("phot", "measure")

    @cached_property
    def reference(self) -> ReferenceStars | None:
        """Gaia stars of the field."""
        from bycatch import gaia

        path = self.job.gaia_file
        return gaia.read_local(path) if path and path.exists() else None

    def _table(self, kind: str, stage: str) -> Table:
        from bycatch.tables import read_table

        path = self.paths.product(kind)
        self._need(path, stage)
        return read_table(path)

    def _pixels(self, path: Path, stage: str) -> NDArray[Any]:
        from bycatch.headers import opened

        self._need(path, stage)
        with opened(path) as hdus:
            data = next(h.data for h in hdus if h.data is not None)
            return np.asarray(data, dtype=data.dtype.newbyteorder("="))

    def _need(self, path: Path, stage: str) -> None:
        if not path.exists():
            raise MissingProduct(
                f"{self.job.label}: {path.name} is not there",
                hint=f"run 'bycatch {stage} {self.job.out}' first, or 'bycatch run'",
            )

    # ---- the steps -----------------------------------------------------------------------

    def _detect(self) -> tuple[list[Path], dict[str, Any]]:
        from bycatch.stages import detect

        found = detect.run(self.image, self.settings.detect)
        self.sources, self.segmentation = found.sources, found.segmentation
        exposures = {"n_exposures": self.image.meta.n_exposures}
        outputs = [
            self._write(found.sources, "sources", ["input", "detect"]),
            self._write(found.removed, "removed", ["input", "detect"]),
            self._write_pixels(found.segmentation, self.paths.segmentation, "SEGM"),
        ]
        return outputs, exposures | found.summary()

    def _crmask(self) -> tuple[list[Path], dict[str, Any]]:
        from bycatch.stages import crmask

        found = crmask.run(self.image, self.settings.crmask)
        self.cr_mask = found.grown
        output = self._write_pixels(found.grown.astype(np.uint8), self.paths.mask, "CRMASK")
        return [output], found.summary()

    def _align(self) -> tuple[list[Path], dict[str, Any]]:
        from bycatch.stages import align

        candidates = self.sources.copy()
        candidates["on_cr_mask"] = mask_share(self.segmentation, self.cr_mask, candidates["id"])
        found = align.run(
            candidates,
            self.image.wcs,
            self.image.shape,
            self.reference,
            self.image.meta.mjd_mid,
            self.settings.align,
        )
        from astropy.io import fits

        with atomic(self.paths.wcs) as partial:
            fits.PrimaryHDU(header=found.header()).writeto(partial, output_verify="silentfix")
        # `aligned_wcs` is read back from there: a step on its own gets the same bits.
        return [self.paths.wcs], found.summary()

    def _measure(self) -> tuple[list[Path], dict[str, Any]]:
        from bycatch.stages import measure

        ids, x, y = self._targets()
        inside = self._excluded(x, y)
        found = measure.run(
            self.image,
            x[~inside],
            y[~inside],
            ids=ids[~inside],
            cr_mask=self.cr_mask,
            wcs=self.aligned_wcs,
            reference=self.reference,
            settings=self.settings.measure,
        )
        self.phot = found.table
        sections = ["input", "detect", "crmask", "align", "measure"]
        extra = {"NOISECOR": found.correlation}
        table = found.table
        outputs = [
            self._write(table, "phot", sections, extra),
            self._write(table[table["cr_flag"] == 0], "phot_noCRs", sections, extra),
        ]
        if self.job.exclude_file:
            from bycatch.columns import EXCLUDED
            from bycatch.tables import make_table

            gone = {"id": ids[inside], "x": x[inside], "y": y[inside]}
            reasons = [f"in a region of {self.job.exclude_file.name}"] * int(inside.sum())
            outputs.append(
                self._write(make_table(EXCLUDED, {**gone, "reason": reasons}), "excluded", [])
            )
        return outputs, found.summary()

    def _finalize(self) -> tuple[list[Path], dict[str, Any]]:
        from bycatch.stages import finalize

        settings = self.settings
        radii_px = settings.measure.radii_px
        lacking = [f"{r:g}" for r in radii_px if f"countrate_{r:g}" not in self.phot.colnames]
        if lacking:
            raise MissingProduct(
                f"{self.job.label}: nothing was measured in {', '.join(lacking)} px",
                hint=f"run 'bycatch measure {self.job.out}' with these radii first",
            )
        measured = self._made_with("measure")
        found = finalize.run(
            self.phot,
            radii_px,
            self.image.meta,
            self.image.scale_arcsec,
            (measured["annulus_inner_px"], measured["annulus_outer_px"]),
            settings.finalize,
        )
        sections = ["input", "detect", "crmask", "align", "measure", "finalize"]
        tables = {"cat": found.table, "cat_noCRs": found.table[found.table["cr_flag"] == 0]}
        outputs = [
            self._write(table, kind, sections, found.metadata(), form)
            for kind, table in tables.items()
            for form in dict.fromkeys(["ecsv", *settings.output.formats])
        ]
        return outputs, found.summary()

    # ---- helpers -------------------------------------------------------------------------

    def _targets(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return ids and positions to measure: the detections, or the user's own list."""
        if self.job.sources_file:
            from bycatch.pipeline.lists import read_positions

            x, y = read_positions(self.job.sources_file).pixels(self.aligned_wcs)
            return np.arange(1, len(x) + 1), x, y
        table = self.sources
        return np.asarray(table["id"]), np.asarray(table["x"]), np.asarray(table["y"])

    def _excluded(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        if not self.job.exclude_file:
            return np.zeros(len(x), dtype=bool)
        from bycatch.pipeline.lists import read_regions

        return read_regions(self.job.exclude_file).contain(x, y, self.aligned_wcs)

    def _write(
        self,
        table: Table,
        kind: str,
        sections: list[str],
        extra: dict[str, Any] | None = None,
        form: str = "ecsv",
    ) -> Path:
        from bycatch.tables import SUFFIXES, write_table

        path = self.paths.product(kind, SUFFIXES[form])
        table = table.copy(copy_data=False)
        table.meta = self._metadata(sections) | (extra or {})
        with atomic(path) as partial:
            write_table(table, partial, form)
        return path

    def _write_pixels(self, pixels: NDArray[Any], path: Path, name: str) -> Path:
        from astropy.io import fits

        header = self.image.wcs.to_header()
        header["ROOTNAME"], header["EXTNAME"] = self.record.root, name
        header["CREATOR"] = f"bycatch {__version__}"
        with atomic(path) as partial:
            fits.PrimaryHDU(pixels, header).writeto(partial)
        return path

    def _current(self, section: str) -> dict[str, Any]:
        """Return the settings of a step as plain values."""
        values = getattr(self.settings, section).model_dump()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def _made_with(self, section: str) -> dict[str, Any]:
        """Return the settings that a step was done with, which may not be today's."""
        stage = self.record.stages.get(section)
        return (stage.settings if stage else {}) or self._current(section)

    def _metadata(self, sections: list[str]) -> dict[str, Any]:
        """Return calibration and provenance, under FITS names where they exist."""
        import astropy
        import photutils

        meta, image = self.image.meta, self.image
        align = self.record.stages.get("align")
        alignment = {k: v for k, v in align.summary.items() if v is not None} if align else {}
        settings = {name: self._made_with(name) for name in sections}
        return {
            "CREATOR": f"bycatch {__version__}",
            "DATE": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "VERSIONS": {
                "bycatch": __version__,
                "numpy": np.__version__,
                "astropy": astropy.__version__,
                "photutils": photutils.__version__,
            },
            "FILENAME": Path(self.record.source).name,
            "INSHA256": self.record.checksum,
            "ROOTNAME": meta.root,
            "FIELD": self.record.field,
            "INSTRUME": "ACS",
            "DETECTOR": meta.detector,
            "FILTER": meta.filter,
            "PROPOSID": meta.proposal,
            "TARGNAME": meta.target,
            "EXPTIME": meta.exptime_s,
            "NEXP": meta.n_exposures,
            "EXPSTART": _or_none(meta.mjd_start),
            "EXPEND": _or_none(meta.mjd_end),
            "MJD-AVG": _or_none(meta.mjd_mid),
            "PHOTFLAM": meta.photflam,
            "PHOTPLAM": meta.photplam,
            "PHOTMODE": meta.photmode,
            "ZPORIGIN": meta.zeropoint_origin,
            "PIXSCALE": round(image.scale_arcsec, 6),
            "WHTTYPE": image.wht_type,
            "CTECORR": meta.is_cte_corrected,
            "WCSNAME": meta.wcsname,
            "ALIGNMENT": alignment,
            "NOTES": list(meta.notes),
            "SETTINGS": settings | ({"file": self.record.input} if self.record.input else {}),
        }


def mask_share(
    segmentation: NDArray[np.int32], mask: NDArray[np.bool_], ids: Any
) -> NDArray[np.float64]:
    """Return the share of each segment's pixels that the mask holds."""
    n = int(segmentation.max(initial=0)) + 1
    area = np.bincount(segmentation.ravel(), minlength=n)
    hit = np.bincount(segmentation[mask], minlength=n)
    labels = np.asarray(ids, dtype=np.int64)
    return hit[labels] / np.maximum(area[labels], 1)


def file_fingerprint(path: Path) -> str:
    """Return size and time of a file: if they are the same, so is its content."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _in_words(stage: str, summary: dict[str, Any]) -> str:
    """Return what a step found, as the end of its log line."""
    if stage == "align":
        if not summary["aligned"]:
            return f"own WCS kept: {summary['reason']}"
        return (
            f"{summary['n_matches']} of {summary['n_reference']} Gaia stars, "
            f"rms {summary['rms_ra_mas']:.1f}, {summary['rms_dec_mas']:.1f} mas, moved by "
            f"{summary['shift_ra_mas']:.0f}, {summary['shift_dec_mas']:.0f} mas"
        )
    words = {
        "detect": "{n_sources} sources, {n_removed} removed",
        "crmask": "{n_cr_tracks} tracks, {n_cr_pixels} pixels",
        "measure": "{n_measured} sources, {n_cosmic_ray} with cr_flag, {n_gaia} in Gaia",
        "finalize": "{n_catalog} rows, AB zero point {zeropoint_ab:.3f}",
    }
    return words[stage].format(**summary)
