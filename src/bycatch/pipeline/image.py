"""One image through its steps: what is stale is done again, everything else is kept.

The alignment is a step of the field (alignment.py); the steps before and after it
are done image by image here.
"""

from __future__ import annotations

import gzip
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from dataclasses import field as member
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.display import notebook
from bycatch.errors import (
    BycatchError,
    MissingProduct,
    UnreadableFile,
    UnsupportedImage,
    UnusableData,
    is_expected,
)
from bycatch.errors import reason as reason_of
from bycatch.executors import DIED, DIED_HINT
from bycatch.kernels.threads import begun
from bycatch.products import (
    STAGES,
    ImagePaths,
    ImageRecord,
    StageRecord,
    combined,
    input_settings,
    json_ready,
    read_pixels,
)
from bycatch.settings import Settings
from bycatch.system import memory
from bycatch.system.disk import Batch, atomic, checksum, is_whole, proof_of
from bycatch.system.words import ascii_words
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.drc import DrcImage
    from bycatch.photcal import EncircledEnergy
    from bycatch.pipeline.frames import Frame
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.measure.sky_noise import NoiseModel

logger = logging.getLogger("bycatch")


class Outcome(StrEnum):
    """What became of an image."""

    DONE = "done"
    DROPPED = "dropped"
    """The data can't be used: the reason says why."""
    FAILED = "failed"
    """Not the data's fault: disk, memory, or what nobody expects (then with its traceback)."""


@dataclass(frozen=True)
class ImageJob:
    """All that a worker needs to know of one image."""

    out: Path
    record: ImageRecord
    settings: Settings
    stages: tuple[str, ...] = STAGES
    forced: tuple[str, ...] = ()
    """Steps that are done again even if they are not stale."""
    copies: bool = False
    """Write the copy of the image that has the aligned WCS."""
    field_key: str = ""
    """Stands for the detections and masks of all images of the field."""
    gaia_file: Path | None = None
    gaia_key: str = "none"
    sources_file: Path | None = None
    sources_frame: Path | None = None
    """The WCS of the image whose pixels ``sources_file`` holds, if that is another one."""
    exclude_file: Path | None = None
    companions: tuple[ImageRecord, ...] = ()
    """The other images of the field that are aligned."""

    @property
    def paths(self) -> ImagePaths:
        """Where the products lie."""
        return self.record.paths(self.out)

    @property
    def label(self) -> str:
        """How messages name the image."""
        return self.record.label


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
    cost: dict[str, dict[str, float | None]] = member(default_factory=dict)
    """Seconds and peak memory (MB) of the steps, by step, when they were done last."""
    notes: tuple[str, ...] = ()
    folder: str = ""

    @property
    def catalog_path(self) -> Path:
        """The final catalog."""
        return Path(self.folder) / f"{self.root}_cat.ecsv"

    def catalog(self) -> Table:
        """Read the final catalog."""
        from bycatch.catalogs.tables import read_table

        return read_table(self.catalog_path)

    def row(self) -> dict[str, str]:
        """Return the image's row of the closing table, in words."""
        numbers = {k: v for part in self.summary.values() for k, v in part.items()}
        counts = ("n_exposures", "n_measured", "n_cosmic_ray", "n_gaia")
        shown = ["-" if numbers.get(name) is None else str(numbers[name]) for name in counts]
        return {
            "place": f"{self.field}/{self.filter}",
            "image": self.root,
            "outcome": str(self.outcome),
            **dict(zip(("exp.", "sources", "CR", "Gaia"), shown, strict=True)),
            "aligned": _alignment_in_words(numbers),
            "s": f"{self.seconds:.{0 if self.seconds >= 100 else 1}f}",
        }

    @notebook.never_raising
    def _repr_html_(self) -> str:
        title = f"{self.field}/{self.filter} {self.root}: {self.outcome}"
        notes = [*([self.reason] if self.reason else []), *self.notes]
        return notebook.card(title, {}, groups=self.summary, notes=notes)


@dataclass(frozen=True)
class Worked:
    """What became of an image in some of its steps, and its record as it is now."""

    record: ImageRecord
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    traceback: str = ""
    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True if the next steps can follow."""
        return self.outcome is Outcome.DONE

    def then(self, later: Worked) -> Worked:
        """Return both parts as one."""
        return replace(
            later,
            done=(*self.done, *later.done),
            kept=(*self.kept, *later.kept),
            seconds=self.seconds + later.seconds,
        )

    def report(self, out: Path) -> ImageReport:
        """Return what the user is told."""
        record = self.record
        summaries = {name: dict(stage.summary) for name, stage in record.stages.items()}
        for summary in summaries.values():
            summary.pop(FIELD, None)
        return ImageReport(
            root=record.root,
            field=record.field,
            filter=record.filter,
            source=record.source,
            outcome=self.outcome,
            reason=self.reason,
            traceback=self.traceback,
            done=self.done,
            kept=self.kept,
            seconds=self.seconds,
            summary=summaries,
            cost={
                name: {"seconds": stage.seconds, "peak_mb": stage.peak_mb}
                for name, stage in record.stages.items()
            },
            notes=tuple(record.notes),
            folder=str(record.paths(out).folder),
        )


def sizes_mb(records: Iterable[ImageRecord], out: Path) -> dict[str, float]:
    """Return the sizes of the files by the labels of the images; 0 for one that is gone."""
    found = {}
    for record in records:
        path = record.paths(out).folder / record.name
        size = path.stat().st_size if path.exists() else 0
        found[f"{record.field}/{record.filter} {record.root}"] = size / 1e6
    return found


def begin(name: str, stage: str) -> None:
    """Log that a step begins, on an image or on a field."""
    logger.debug("%s: %s begins", name, stage, extra={"at_work": (name, stage)})


def step_over(label: str, stage: str, seconds: float | None = None) -> dict[str, Any]:
    """Return what the record says that tells of a step's end; no seconds: it was up to date."""
    return {"step_over": True, "at_work": (label, stage), "seconds": seconds}


def attempt(job: ImageJob, work: Callable[[], None]) -> Worked:
    """Do some work on an image; whatever goes wrong stays with this image.

    The only place that catches everything.
    """
    started = time.perf_counter()
    outcome, reason, trace = Outcome.DONE, "", ""
    try:
        work()
    except UnusableData as err:
        outcome, reason = Outcome.DROPPED, str(err)
    except BycatchError as err:
        outcome, reason = Outcome.FAILED, str(err)
    except OSError as err:
        reason = f"{err} - check disk space and permissions of {job.out}"
        outcome = Outcome.FAILED
    except Exception as err:  # it must not stop the other images  # noqa: BLE001
        outcome, reason = Outcome.FAILED, reason_of(err)
        trace = "" if is_expected(err) else traceback.format_exc()
    if outcome is not Outcome.DONE:
        extra = {"lost": True, "at_work": (job.label, "")}
        logger.error("%s: %s: %s", job.label, outcome, reason, extra=extra)
        for line in trace.splitlines():
            logger.debug("%s", line)
    seconds = time.perf_counter() - started
    return Worked(job.record, outcome, reason, trace, seconds=seconds)


def run_image(job: ImageJob) -> Worked:
    """Do the steps of a job, which are an image's own (all but align)."""
    done: list[str] = []
    kept: list[str] = []

    def work() -> None:
        bench = workbench(job)
        if job.copies:
            bench.write_aligned()
        try:
            for stage in job.stages:
                (done if bench.do(stage) else kept).append(stage)
        finally:
            bench.sealed()
        if "crmask" in job.stages:
            bench.share_mask()

    worked = attempt(job, work)
    return replace(worked, done=tuple(done), kept=tuple(kept))


def died(job: ImageJob) -> Worked:
    """Return what is told of an image whose process died, alone with it."""

    def tell() -> None:
        raise BycatchError(DIED, hint=DIED_HINT)

    return attempt(job, tell)


_last: list[Workbench] = []
"""The workbench of the image that this process did last: one full image, never two."""


def workbench(job: ImageJob) -> Workbench:
    """Return the workbench of a job, with what is in memory already if the last job had its image.

    In one process, an image alone in its field is read once.
    """
    bench = _last.pop() if _last else None
    if bench is not None and bench.can_go_on_with(job):
        bench.go_on_with(job)
    else:
        del bench
        bench = Workbench(job)
    _last.append(bench)
    return bench


def forget_last() -> None:
    """Free the memory of the last image."""
    _last.clear()


def _import_steps() -> None:
    """Import now, while a file is read and its checksum computed, what the steps will need."""
    from bycatch.stages import align, crmask, detect, finalize, measure  # noqa: F401


NO_SOURCE = (
    "no source: nothing stands above the noise on enough pixels (detect.n_sigma, detect.n_pixels)"
)

FIELD = "field"
"""Where the summary of a field's alignment stands in that of its images."""

BUILDS_ON = {
    "detect": (),
    "crmask": (),
    "align": (),  # on the field's detections and masks: the field's key stands for them
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
    lists += [job.sources_frame.name] if job.sources_frame else []
    own: dict[str, list[Any]] = {
        "detect": [settings.detect.digest()],
        "crmask": [settings.crmask.digest()],
        "align": [settings.align.digest(), job.field_key, job.gaia_key],
        "measure": [settings.measure.digest(), job.gaia_key, lists, quality_key(job)],
        "finalize": [settings.finalize.digest(), settings.output.formats],
    }
    return combined(stage, given, [earlier.get(name, "") for name in BUILDS_ON[stage]], own[stage])


def quality_files(job: ImageJob) -> list[Path]:
    """Return the exposures of an image whose data quality can be read.

    They lie in the folder of the settings, or beside the drizzled image that the user gave.
    """
    from bycatch.pipeline.quality import exposure_files

    given = input_settings(job.settings, job.record).exposures_dir
    folders = [Path(given).expanduser()] if given else []
    return exposure_files(job.record.exposures, [*folders, Path(job.record.source).parent])


def quality_key(job: ImageJob) -> list[str]:
    """Return what changes when other exposures are at hand."""
    return [f"{path.name} {file_fingerprint(path)}" for path in quality_files(job)]


def is_current(record: ImageRecord, folder: Path, stage: str, key: str) -> bool:
    """Tell whether a step's products are there, whole, and made of the same input and settings."""
    known = record.stages.get(stage)
    return (
        known is not None
        and known.key == key
        and all(
            proof is not None and is_whole(folder / name, proof)
            for name, proof in known.outputs.items()
        )
    )


def refresh_checksum(record: ImageRecord, folder: Path) -> None:
    """Compute the checksum of an image's input again if its size or time changed.

    Raises
    ------
    UnreadableFile
        The input is not there any more.
    """
    files = [folder / name for name in record.names]
    for path in files:
        if not path.exists():
            raise UnreadableFile(
                f"{record.source}: {path} leads to no file any more",
                hint="give the file to 'bycatch run' again from where it is now",
            )
    fingerprint = " ".join(file_fingerprint(p) for p in files)
    if not record.checksum or fingerprint != record.fingerprint:
        sums = [checksum(p) for p in files]
        record.checksum = sums[0] if len(sums) == 1 else " ".join(sums)
        record.fingerprint = fingerprint


class Workbench:
    """The image and its products: read when first needed, kept between the steps."""

    def __init__(self, job: ImageJob) -> None:
        self.job = job
        self.paths = job.paths
        self.record = job.record
        self.settings = job.settings
        memory.free_at_once()
        # An image that is new has to be read whatever its checksum will be.
        self._reading = None if self.record.checksum else begun(self._read)
        self._batch: Batch | None = None
        self._sealing: Future[None] | None = None
        checked = begun(refresh_checksum, self.record, self.paths.folder)
        if self._reading:
            _import_steps()
        checked.result()
        self.keys = stage_keys(job)

    def can_go_on_with(self, job: ImageJob) -> bool:
        """Tell whether what is in memory belongs to a job, too."""
        fingerprint = self.record.fingerprint
        refresh_checksum(job.record, job.paths.folder)
        return (
            self.paths.record == job.paths.record
            and fingerprint == job.record.fingerprint
            and self.record.checksum == job.record.checksum
            and self.job.settings == job.settings
            and self.record.input == job.record.input
            and all(
                self.record.stages.get(stage) == job.record.stages.get(stage)
                for stage in ("detect", "crmask")
            )
        )

    def go_on_with(self, job: ImageJob) -> None:
        """Take on another job for the same image."""
        self.job, self.record = job, job.record
        self.keys = stage_keys(job)
        for name in ("frame", "phot", "reference"):  # others may have written them meanwhile
            self.__dict__.pop(name, None)

    def do(self, stage: str) -> bool:
        """Do a step, unless its products are up to date; return whether it was done."""
        if self._is_current(stage):
            extra = step_over(self.job.label, stage)
            logger.info("%s: %s: up to date", self.job.label, stage, extra=extra)
            return False
        begin(self.job.label, stage)
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "detect": self._detect,
            "crmask": self._crmask,
            "measure": self._measure,
            "finalize": self._finalize,
        }
        memory.forget_peak()
        started = time.perf_counter()
        if stage in self.record.stages:
            self.sealed()
        before = forget(self.job, stage)
        self._batch = Batch(self.paths.folder)
        try:
            summary = steps[stage]()
        except BaseException:
            self._batch.discard()
            raise
        seconds = time.perf_counter() - started
        self.sealed()
        entry = self.record.stages[stage] = step_entry(self.job, stage, summary, seconds)
        if stage == "detect":
            self._note_nothing()
        # A disk takes its time, in which the next step can begin.
        self._sealing = _in_a_thread(self._seal, self._batch, entry, before)
        logger.info(
            "%s: %s: %s (%.1f s)",
            self.job.label,
            stage,
            _in_words(stage, summary),
            seconds,
            extra=step_over(self.job.label, stage, seconds),
        )
        return True

    def _note_nothing(self) -> None:
        """Say so where nothing was detected, and no longer where something is."""
        nothing = self._found_nothing()
        self.record.notes = [*self.image.meta.notes, *nothing]
        for note in nothing:
            logger.warning("%s: %s", self.job.label, note)

    def sealed(self) -> None:
        """Return when the products of the steps are on the disk, and so is the record of them."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()

    def _seal(self, batch: Batch, entry: StageRecord, before: set[Path]) -> None:
        """Give the products of a step their names, enter them, and remove those of before."""
        try:
            batch.commit()
            entry.outputs = {path.name: proof_of(path) for path in batch.paths}
        except BaseException:
            batch.discard()
            self.record.stages = {k: v for k, v in self.record.stages.items() if v is not entry}
            raise
        self.record.write(self.job.out)
        remove(before - set(batch.paths))

    def _is_current(self, stage: str) -> bool:
        is_forced = stage in self.job.forced
        key = self.keys[stage]
        return not is_forced and is_current(self.record, self.paths.folder, stage, key)

    # ---- what the steps need -------------------------------------------------------------

    @cached_property
    def image(self) -> DrcImage:
        """The drizzled image."""
        reading, self._reading = self._reading, None
        image = reading.result() if reading else self._read()
        if input_settings(self.settings, self.record).verify:
            self.record.verified = self.record.checksum
        for note in image.meta.notes:
            logger.warning("%s: %s", self.job.label, note)
        self.record.notes = [*image.meta.notes, *self._found_nothing()]
        return image

    def _found_nothing(self) -> list[str]:
        """Return the note of an image in which nothing was detected."""
        detected = self.record.stages.get("detect")
        return [NO_SOURCE] if detected and detected.summary.get("n_sources") == 0 else []

    def _read(self) -> DrcImage:
        from bycatch.images.drc import read_drc

        given = input_settings(self.settings, self.record)
        folder, record = self.paths.folder, self.record
        return read_drc(folder / record.name, given, *record.apart(folder))

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
    def frame(self) -> Frame:
        """The WCS that the alignment gave, and its error."""
        from bycatch.pipeline.frames import read_frame

        self._need(self.paths.wcs, "align")
        return read_frame(self.paths.wcs)

    @cached_property
    def phot(self) -> Table:
        """The photometry."""
        return self._table("phot", "measure")

    @cached_property
    def reference(self) -> ReferenceStars | None:
        """Gaia stars of the field."""
        from bycatch.sky import gaia

        path = self.job.gaia_file
        return gaia.read_local(path) if path and path.exists() else None

    def _table(self, kind: str, stage: str) -> Table:
        from bycatch.catalogs.tables import read_table

        path = self.paths.product(kind)
        self._need(path, stage)
        return read_table(path)

    def _pixels(self, path: Path, stage: str) -> NDArray[Any]:
        self._need(path, stage)
        return read_pixels(path)

    def _need(self, path: Path, stage: str) -> None:
        self.sealed()
        need(self.job, path, stage)

    # ---- the steps -----------------------------------------------------------------------

    def _detect(self) -> dict[str, Any]:
        from bycatch.stages import detect

        found = detect.run(self.image, self.settings.detect)
        self.sources, self.segmentation = found.sources, found.segmentation
        exposures = {"n_exposures": self.image.meta.n_exposures}
        labels = begun(self._write_pixels, found.segmentation, self.paths.segmentation, "SEGM")
        self._write(found.sources, "sources", ["input", "detect"])
        self._write(found.removed, "removed", ["input", "detect"])
        self._write_coverage()
        labels.result()
        return exposures | found.summary()

    def _crmask(self) -> dict[str, Any]:
        from bycatch.stages import crmask

        found = crmask.run(self.image, self.settings.crmask)
        self.cr_mask = found.grown
        self._write_pixels(found.grown.astype(np.uint8), self.paths.mask, "CRMASK")
        return found.summary()

    def share_mask(self) -> None:
        """Write the share of each source on the cosmic-ray mask, while both are at hand."""
        there = self.paths.product("sources").exists() and self.paths.segmentation.exists()
        if share_key(self.record) and there and known_share(self.record, self.paths) is None:
            write_share(self.record, self.job.out, self.segmentation, self.cr_mask, self.sources)

    def write_aligned(self) -> None:
        """Write the copy of the image that has the aligned WCS, unless it is there."""
        from bycatch.pipeline.frames import write_aligned_copy

        target, align = self.paths.aligned_image, self.record.stages.get("align")
        if align is None or (target.name in align.outputs and self.record.has_whole(target)):
            return
        if self.frame.grade == "F":
            logger.info("%s: no aligned copy: its WCS is the header's", self.job.label)
            return
        write_aligned_copy(self.paths.folder / self.record.name, self.frame, target)
        self.record.add_output(self.job.out, "align", target)
        logger.info("%s: aligned copy: %s", self.job.label, target.name)

    def _measure(self) -> dict[str, Any]:
        from bycatch.images.exposures import exposure_sets
        from bycatch.pipeline.other_images import companions
        from bycatch.pipeline.quality import read_quality
        from bycatch.sky.astrometry import expected_chance_matches
        from bycatch.stages import measure

        ids, x, y = self._targets()
        inside = self._excluded(x, y)
        at_x, at_y = x[~inside], y[~inside]
        found = measure.run(
            self.image,
            at_x,
            at_y,
            ids=ids[~inside],
            cr_mask=self.cr_mask,
            segmentation=self.segmentation,
            wcs=self.frame.wcs,
            frame_error=self.frame.error,
            reference=self.reference,
            exposure_sets=exposure_sets(
                self.image.path, self.image.meta, at_x, at_y, self.image.ctx_path
            ),
            chips=read_quality(quality_files(self.job)),
            others=companions(self.job.companions, self.job.out, self.frame.wcs, at_x, at_y),
            settings=self.settings.measure,
        )
        self.phot = found.table
        sections = ["input", "detect", "crmask", "align", "measure"]
        meta = self.image.meta
        chance = expected_chance_matches(
            found.table, meta.mjd_mid, self.reference, self.settings.measure, meta.epoch_spread_yr
        )
        extra = {"NOISECOR": found.correlation, "GAIACHNC": round(chance, 4)}
        good = found.table["cr_flag"] == 0
        self._write_parts(
            found.table, {"phot": None, "phot_noCRs": good}, sections, extra, ["ecsv"]
        )
        curve = self._energy_curve()
        limits = self._limits_mag(found.limits, curve) if curve else {}
        self._write(found.sky, "sky", sections, extra | {"LIMITMAG": limits})
        depth_mag = self._depth_mag(found.noise, curve) if curve else None
        if depth_mag is not None:
            self._write_depth(depth_mag)
        if self.job.exclude_file:
            from bycatch.catalogs.columns import EXCLUDED
            from bycatch.catalogs.tables import make_table

            gone = {"id": ids[inside], "x": x[inside], "y": y[inside]}
            reasons = [f"in a region of {self.job.exclude_file.name}"] * int(inside.sum())
            self._write(make_table(EXCLUDED, {**gone, "reason": reasons}), "excluded", sections)
        told = {
            "n_gaia_chance": chance,
            "depth_mag": _median(depth_mag),
            "limit_mag": limits,
        }
        return found.summary() | told

    def _finalize(self) -> dict[str, Any]:
        from bycatch.catalogs.flags import Flag
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
        for warning in found.warnings():
            logger.warning("%s: %s", self.job.label, warning)
        sections = ["input", "detect", "crmask", "align", "measure", "finalize"]
        stage = self.record.stages.get("measure")
        chance = stage.summary.get("n_gaia_chance") if stage else None
        extra = found.metadata() | ({} if chance is None else {"GAIACHNC": round(chance, 4)})
        parts = {
            "cat": None,
            "cat_noCRs": found.table["cr_flag"] == 0,
            "cat_clean": np.asarray(found.table["flags"]) & int(Flag.LIKELY_COSMIC_RAY) == 0,
        }
        forms = dict.fromkeys(["ecsv", *settings.output.formats])
        self._write_parts(found.table, parts, sections, extra, forms)
        return found.summary()

    # ---- helpers -------------------------------------------------------------------------

    def _targets(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return ids and positions to measure: the detections, or the user's own list."""
        if self.job.sources_file:
            from bycatch.pipeline.frames import read_frame
            from bycatch.pipeline.lists import read_positions

            own = read_frame(self.job.sources_frame).wcs if self.job.sources_frame else None
            x, y = read_positions(self.job.sources_file).pixels(self.frame.wcs, own)
            return np.arange(1, len(x) + 1), x, y
        table = self.sources
        return np.asarray(table["id"]), np.asarray(table["x"]), np.asarray(table["y"])

    def _excluded(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        if not self.job.exclude_file:
            return np.zeros(len(x), dtype=bool)
        from bycatch.images.headers import read_headers
        from bycatch.pipeline.lists import read_regions
        from bycatch.user_files.regions import PhysicalFrame

        found = read_regions(self.job.exclude_file)
        physical = None
        if found.needs_physical:
            headers = read_headers(self.paths.folder / self.record.name)
            physical = PhysicalFrame.of_header(headers.sci)
        return found.contain(x, y, self.frame.wcs, physical)

    def _write_parts(
        self,
        table: Table,
        parts: Mapping[str, NDArray[np.bool_] | None],
        sections: list[str],
        extra: dict[str, Any],
        forms: Iterable[str],
    ) -> None:
        """Write selections of the rows of a table (None: all); each row is put into words once."""
        from bycatch.catalogs import ecsv

        texts = ecsv.rows(table)
        for kind, rows in parts.items():
            for form in forms:
                # The lines say it all: the rows themselves are needed by other formats only.
                part = table if form == "ecsv" or rows is None else table[rows]
                lines = texts.chosen(rows)
                self._write(part, kind, sections, extra, form, lines)

    def _write(
        self,
        table: Table,
        kind: str,
        sections: list[str],
        extra: dict[str, Any] | None = None,
        form: str = "ecsv",
        lines: Iterable[bytes] | None = None,
    ) -> None:
        from bycatch.catalogs.tables import SUFFIXES, write_table

        path = self.paths.product(kind, SUFFIXES[form])
        meta = self._metadata(sections) | (extra or {})
        write_table(table, self._partial(path), form, lines, meta)

    def _partial(self, path: Path) -> Path:
        """Return where to write a product of the step at work."""
        assert self._batch is not None
        return self._batch.partial(path)

    def _write_pixels(self, pixels: NDArray[Any], path: Path, name: str) -> None:
        from astropy.io import fits

        header = self.image.wcs.to_header(relax=True)
        header["ROOTNAME"], header["EXTNAME"] = ascii_words(self.record.root), name
        header["CREATOR"] = f"bycatch {__version__}"
        hdu = fits.PrimaryHDU(pixels, header)
        partial = self._partial(path)
        if path.suffix == ".gz":
            # The lowest level: labels are small at any, and the highest takes twice as long.
            # Without the time: the same labels are the same file.
            with gzip.GzipFile(partial, "wb", compresslevel=1, mtime=0) as stream:
                hdu.writeto(stream)
        else:
            hdu.writeto(partial)

    def _write_coverage(self) -> None:
        """Write where the image has data, block by block: other images need no more of it."""
        from astropy.io import fits

        from bycatch.pipeline.other_images import BLOCK_PX, covered_blocks

        hdu = fits.PrimaryHDU(covered_blocks(self.image.valid))
        hdu.header["EXTNAME"] = "COVERAGE"
        hdu.header["BLOCKPX"] = (BLOCK_PX, "[pix] side of a block of the image")
        hdu.writeto(self._partial(self.paths.coverage))

    def _energy_curve(self) -> EncircledEnergy | None:
        """Return the encircled energy; None if no curve is known: finalize will say so."""
        from bycatch import photcal

        try:
            return photcal.encircled_energy(self.image.meta.detector, self.image.meta.filter)
        except UnsupportedImage:
            return None

    def _limits_mag(
        self, limits: Mapping[int, NDArray[np.float64]], curve: EncircledEnergy
    ) -> dict[str, dict[str, float]]:
        """Return AB magnitudes of point sources of 5 sigma, by exposures and by radius."""
        radii = np.array(self.settings.measure.radii_px)
        return {
            str(n_exp): {
                f"{r:g}": round(float(mag), 3)
                for r, mag in zip(radii, self._point_mag(rates, radii, curve), strict=True)
            }
            for n_exp, rates in limits.items()
        }

    def _point_mag(self, rate: Any, radius_px: Any, curve: EncircledEnergy) -> NDArray[np.float64]:
        """Return the AB magnitudes of point sources of net rates in apertures, e/s."""
        from bycatch import photcal

        zeropoint = photcal.ab_zeropoint(self.image.meta.photflam, self.image.meta.photplam)
        total = np.asarray(rate) / curve.at(radius_px * self.image.scale_arcsec)
        return np.asarray(zeropoint - 2.5 * np.log10(total))

    def _depth_mag(self, noise: NoiseModel, curve: EncircledEnergy) -> NDArray[np.float32]:
        """Return the depth of the image, block by block: AB magnitude of 5 sigma, point source."""
        from bycatch.pipeline.other_images import BLOCK_PX, block_sums

        measured = self.settings.measure
        radius = _middle(measured.radii_px)
        annulus = (measured.annulus_inner_px, measured.annulus_outer_px)
        typical = block_sums(self.image.exptime_map_s) / np.float32(BLOCK_PX**2)
        rate = noise.depth_map(typical, radius, annulus)
        return self._point_mag(rate, radius, curve).astype(np.float32)

    def _write_depth(self, depth_mag: NDArray[np.float32]) -> None:
        from astropy.io import fits

        from bycatch.pipeline.other_images import BLOCK_PX

        hdu = fits.PrimaryHDU(depth_mag)
        hdu.header["EXTNAME"], hdu.header["BUNIT"] = "DEPTH", "mag(AB)"
        hdu.header["BLOCKPX"] = (BLOCK_PX, "[pix] side of a block of the image")
        radius = _middle(self.settings.measure.radii_px)
        hdu.header["RADIUS"] = (radius, "[pix] of the aperture; corrected to all light")
        hdu.writeto(self._partial(self.paths.depth))

    def _made_with(self, section: str) -> dict[str, Any]:
        """Return the settings that a step was done with, which may not be today's."""
        stage = self.record.stages.get(section)
        return (stage.settings if stage else {}) or plain_settings(self.settings, section)

    def _metadata(self, sections: list[str]) -> dict[str, Any]:
        """Return calibration and provenance, under FITS names where they exist."""
        import astropy
        import numba
        import scipy

        meta, image = self.image.meta, self.image
        # Detections made again know nothing of the alignment that was made of those before.
        align = self.record.stages.get("align") if "align" in sections else None
        known = align.summary.items() if align else ()
        alignment = {k: v for k, v in known if v is not None and k != FIELD}
        settings = {name: self._made_with(name) for name in sections}
        return {
            "CREATOR": f"bycatch {__version__}",
            "DATE": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "VERSIONS": {
                "bycatch": __version__,
                "numpy": np.__version__,
                "astropy": astropy.__version__,
                "scipy": scipy.__version__,
                "numba": numba.__version__,
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
            "EXPOSURES": [exposure.name for exposure in meta.exposures],
            "PHOTFLAM": meta.photflam,
            "PHOTPLAM": meta.photplam,
            "PHOTMODE": meta.photmode,
            "ZPORIGIN": meta.zeropoint_origin,
            "PIXSCALE": round(image.scale_arcsec, 6),
            "WHTTYPE": image.wht_type,
            "CTECORR": meta.is_cte_corrected,
            "WCSNAME": meta.wcsname,
            "ALIGNMENT": alignment,
            "NOTES": [*meta.notes, *self._found_nothing()],
            "SETTINGS": settings | ({"file": self.record.input} if self.record.input else {}),
        }


def need(job: ImageJob, path: Path, stage: str) -> None:
    """Say which step to run where one of its products is missing or no longer what it was."""
    if not job.record.has_whole(path):
        problem = "is not what was made: cut, changed or replaced"
        raise MissingProduct(
            f"{job.label}: {path.name} {problem if path.exists() else 'is not there'}",
            hint=f"run 'bycatch {stage} {job.out}' first, or 'bycatch run'",
        )


def forget(job: ImageJob, stage: str) -> set[Path]:
    """Strike a step from the record before its products change; return the old ones."""
    known = job.record.stages.pop(stage, None)
    if known is None:
        return set()
    job.record.write(job.out)
    return {job.paths.folder / name for name in known.outputs}


def remember(
    job: ImageJob, stage: str, outputs: list[Path], summary: dict[str, Any], seconds: float
) -> None:
    """Enter a finished step and its products into the record of its image."""
    entry = step_entry(job, stage, summary, seconds)
    entry.outputs = {path.name: proof_of(path) for path in outputs}
    job.record.stages[stage] = entry
    job.record.write(job.out)


def step_entry(job: ImageJob, stage: str, summary: dict[str, Any], seconds: float) -> StageRecord:
    """Return the entry of a finished step, without its products."""
    # A step on its own may build on products of other settings: its key says which.
    built_on = {name: done.key for name, done in job.record.stages.items()}
    return StageRecord(
        stage_key(job, stage, built_on),
        {},
        round(seconds, 3),
        json_ready(summary),
        plain_settings(job.settings, stage),
        _rounded(memory.peak_mb()),
    )


def remove(paths: Iterable[Path]) -> None:
    """Remove products that are no longer made; what has become a folder is not ours."""
    for path in paths:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)


def _in_a_thread(function: Callable[..., None], *args: Any) -> Future[None]:
    """Begin a call that waits for the disk: it needs no core of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)
    pool.shutdown(wait=False)
    return future


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value)


def plain_settings(settings: Settings, section: str) -> dict[str, Any]:
    """Return the settings of a step as plain values."""
    values = getattr(settings, section).model_dump()
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def share_key(record: ImageRecord) -> str:
    """Return the key of the shares of an image's sources on its mask; '' before both are there."""
    stages = [record.stages.get(name) for name in ("detect", "crmask")]
    return combined([stage.key for stage in stages if stage]) if all(stages) else ""


def known_share(record: ImageRecord, paths: ImagePaths) -> Table | None:
    """Return the shares that belong to an image's sources and mask; None where they are not there.

    They are noted under crmask, the later of the two steps that they come from.
    """
    from bycatch.catalogs.tables import read_table

    if not (paths.cr_share.exists() and record.has_whole(paths.cr_share)):
        return None
    try:
        table = read_table(paths.cr_share)
    except UnreadableFile:
        return None
    return table if table.meta.get("KEY") == share_key(record) else None


def write_share(
    record: ImageRecord,
    out: Path,
    segmentation: NDArray[np.int32],
    mask: NDArray[np.bool_],
    sources: Table,
) -> Table:
    """Write the share of each source on the cosmic-ray mask, and return it."""
    from bycatch.catalogs.columns import CR_SHARE
    from bycatch.catalogs.tables import make_table, write_table
    from bycatch.kernels.exposures import mask_shares

    share = mask_shares(segmentation, mask, sources["id"])
    meta = {"KEY": share_key(record)}
    table = make_table(CR_SHARE, {"id": sources["id"], "on_cr_mask": share}, meta=meta)
    path = record.paths(out).cr_share
    with atomic(path) as partial:
        write_table(table, partial)
    record.add_output(out, "crmask", path)
    return table


def file_fingerprint(path: Path) -> str:
    """Return size and time of a file: if they are the same, so is its content."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def _alignment_in_words(numbers: Mapping[str, Any]) -> str:
    """Return the grade, the number of Gaia stars and how well the frame is known."""
    if "grade" not in numbers:
        return "-"
    if not numbers["aligned"]:
        return f"{numbers['grade']}: {'tied' if numbers['grade'] == 'E' else 'own WCS'}"
    return f"{numbers['grade']}: {numbers['n_field_matches']}, {numbers['astrom_err_mas']:.1f} mas"


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _in_words(stage: str, summary: dict[str, Any]) -> str:
    """Return what a step found, as the end of its log line."""
    words = {
        "detect": "{n_sources} sources, {n_removed} removed",
        "crmask": "{n_cr_tracks} tracks, {n_cr_pixels} pixels",
        "measure": "{n_measured} sources, {n_likely_cosmic_ray} likely cosmic rays, "
        "{n_gaia} in Gaia ({n_gaia_chance:.1f} by chance)",
        "finalize": "{n_catalog} rows, AB zero point {zeropoint_ab:.3f}",
    }
    return words[stage].format(**summary)


def _middle(radii_px: tuple[float, ...]) -> float:
    return radii_px[len(radii_px) // 2]


def _median(plane: NDArray[np.float32] | None) -> float | None:
    """Return the median of the values that are there, None without any."""
    known = plane[np.isfinite(plane)] if plane is not None else np.empty(0)
    return round(float(np.median(known)), 3) if len(known) else None
