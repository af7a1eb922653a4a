"""A field is one task: all steps of all its images, in its own folder, with its own records.

It can be done again at any time: what is up to date is kept.  Each image is read once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial

from bycatch.arrays import Floats
from bycatch.errors import BycatchError, UnreadableFile, log_traceback
from bycatch.errors import reason as reason_of
from bycatch.pipeline import steps
from bycatch.pipeline.alignment import align_field
from bycatch.pipeline.attempts import attempt, log_loss
from bycatch.pipeline.figure import FieldFigure
from bycatch.pipeline.jobs import FieldJob, ImageJob
from bycatch.pipeline.keys import key_of_records, takes_part
from bycatch.pipeline.other_images import OtherImageView, other_images
from bycatch.pipeline.outcomes import FieldResult, ImageReport, Outcome, StepResult
from bycatch.pipeline.placing import place, planned_record
from bycatch.pipeline.reference import FieldStars, reference_stars
from bycatch.pipeline.steps import do_stage
from bycatch.pipeline.workbench import Workbench, import_steps
from bycatch.precompile import watch_first_compilation
from bycatch.products import (
    LOCK,
    FieldFolder,
    FieldState,
    ImageRecord,
    own_folder,
    read_field,
)
from bycatch.report.page import write_field_page
from bycatch.sky import gaia
from bycatch.sky.gaia import ReferenceStars
from bycatch.sky.tap import Services
from bycatch.system.disk import remove_leftovers
from bycatch.system.locks import STALE_S, LockHeld, lock, wait_for

logger = logging.getLogger("bycatch")

CRASH = "BYCATCH_CRASH_FIELD"
"""Environment variable for tests: the worker that gets this field kills itself."""


def prepare_worker() -> None:
    """Import what the steps need, before a worker's first task."""
    import_steps()
    watch_first_compilation()


def run_field(job: FieldJob) -> FieldResult:
    """Do the steps of a job on a field; failures are in the result.

    Another process that has the field is left alone: then the result says who it is.
    """
    _crash_if_asked(job)
    try:
        own_folder(job.folder).mkdir(parents=True, exist_ok=True)
        field_lock = (wait_for if job.waits else lock)(job.folder / LOCK)
    except LockHeld as err:
        return FieldResult(job.name, holder=err.holder.words())
    except (BycatchError, OSError) as err:
        return _failed_result(job, Outcome.FAILED, f"{err} - check disk space and permissions")
    with field_lock:
        try:
            return _FieldWork(job).run()
        except (BycatchError, OSError, MemoryError) as err:
            return _failed_result(job, Outcome.FAILED, reason_of(err))


def _crash_if_asked(job: FieldJob) -> None:
    is_worker = multiprocessing.parent_process() is not None
    if is_worker and os.environ.get(CRASH) == job.name:
        os.kill(os.getpid(), signal.SIGKILL)


def lost_field(job: FieldJob, reason: str) -> FieldResult:
    """Record a field whose worker died as lost, with the facts known of its images."""
    with suppress(LockHeld, BycatchError, OSError):
        own_folder(job.folder).mkdir(parents=True, exist_ok=True)
        _enter_loss(job, reason)
    return _failed_result(job, Outcome.LOST, reason)


def _enter_loss(job: FieldJob, reason: str) -> None:
    # The lock of a worker that died on another host looks like that of a living one for a while.
    with wait_for(job.folder / LOCK, STALE_S + 60):
        folder = FieldFolder(job.out, _state_of(job))
        _clear(folder)
        records = folder.state.images
        if job.images is not None:
            records, folder.state.unplaced = place(job.images, folder, job.settings.sort.mode)
        for record in records:
            record.last = StepResult(Outcome.LOST, reason).entry()
        folder.write()


def _failed_result(job: FieldJob, outcome: Outcome, reason: str) -> FieldResult:
    """Return the result of a field that could not be processed."""
    if job.images is not None:
        records = [planned_record(image) for image in job.images]
    else:
        records = _state_of(job).images
    result = StepResult(outcome, reason)
    for record in records:
        log_loss(record.label, outcome, reason)
    return FieldResult(job.name, tuple(ImageReport.of(r, result, job.out) for r in records))


def _state_of(job: FieldJob) -> FieldState:
    """Return the state of the field; if it is damaged, everything is done again."""
    try:
        return read_field(job.out, job.name)
    except UnreadableFile as err:
        if job.images is None:
            raise
        logger.warning("%s: everything is done again: %s", job.name, err)
        return FieldState(job.name)


def _clear(folder: FieldFolder) -> None:
    """Remove half-written files of a killed process: no other process writes here now."""
    remove_leftovers(folder.path)
    for path in sorted(folder.path.iterdir()):
        if path.is_dir() and not path.is_symlink():
            remove_leftovers(path)


def tidy_up(job: FieldJob) -> None:
    """Remove what interrupted work on a field left behind."""
    if not os.path.lexists(job.folder / LOCK):
        return
    with suppress(LockHeld, BycatchError, OSError), lock(job.folder / LOCK):
        _clear(FieldFolder(job.out, FieldState(job.name)))


class _FieldWork:
    """The work on a field."""

    def __init__(self, job: FieldJob) -> None:
        self.job = job
        self.settings = job.settings
        self.folder = FieldFolder(job.out, _state_of(job))
        self.figure = FieldFigure(self.folder, is_wanted=not self.settings.output.is_survey)
        self.stars = FieldStars(None, "none")
        self.benches: dict[str, Workbench] = {}
        self.others: dict[str, Workbench] = {}
        self.results: dict[str, StepResult] = {}

    @cached_property
    def reference(self) -> ReferenceStars | None:
        """The Gaia stars of the field, read by the first step that needs them."""
        path = self.stars.path
        return gaia.read_local(path) if path and path.exists() else None

    def run(self) -> FieldResult:
        """Do the work."""
        _clear(self.folder)
        state = self.folder.state
        if self.job.images is not None:
            records, state.unplaced = place(self.job.images, self.folder, self.settings.sort.mode)
        else:
            records = list(state.images)
        try:
            self._find_stars(records)
            self._set_up(records)
            self._first_steps()
            key = self._align()
            self._last_steps(key)
        finally:
            self.figure.wait()
            self._finish()
        if self.job.with_page:
            self._write_page()
        return FieldResult(
            state.name,
            tuple(
                ImageReport.of(bench.record, self.results[name], self.job.out)
                for name, bench in self.benches.items()
            ),
            state.references,
            state.alignment or None,
            tuple(state.unplaced.items()),
        )

    def _write_page(self) -> None:
        """Write the page's data of the field: a failure must not cost an image."""
        try:
            write_field_page(self.folder, self.settings)
        except Exception as err:  # noqa: BLE001
            logger.warning("%s: not in the report: %s", self.folder.state.name, reason_of(err))
            log_traceback(err)

    def _find_stars(self, records: list[ImageRecord]) -> None:
        """Find the reference stars; only the steps that need them ask for them."""
        if not {"align", "measure"} & set(self.job.stages):
            return
        # All images of the field, whichever of them this run is about: the same stars for all.
        there = [r for r in self.folder.state.images if r.image_file(self.job.out).exists()]
        self.stars = reference_stars(
            self.folder,
            there or records,
            self.job.files.gaia,
            Services(self.settings.align),
            keep_stored=self.job.forced,
        )
        self.folder.state.references = self.stars.problem

    def _set_up(self, records: list[ImageRecord]) -> None:
        own = {record.place for record in records}
        for record in self.folder.state.images:
            if record.place in own:
                self.benches[record.place] = Workbench(self.folder, self._image_job(record))
                self.results[record.place] = StepResult()
            elif takes_part(record, self.job.out):
                self.others[record.place] = Workbench(self.folder, self._image_job(record))

    def _image_job(self, record: ImageRecord) -> ImageJob:
        job = self.job
        return ImageJob(
            job.out,
            record,
            job.settings,
            job.forced,
            gaia_file=self.stars.path,
            gaia_key=self.stars.key,
            files=job.files,
        )

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do some work on an image, unless it has failed already."""
        if self.results[name].ok:
            result = attempt(self.benches[name].job.label, self.job.out, work)
            self.results[name] = self.results[name].then(result)

    def _do(self, name: str, stage: str, work: Callable[..., steps.Summary]) -> None:
        """Do a step of an image, and note whether it was up to date."""
        bench = self.benches[name]
        if stage in self.job.stages:
            was_done = do_stage(bench, stage, partial(work, bench))
            part = StepResult(done=(stage,)) if was_done else StepResult(kept=(stage,))
            self.results[name] = self.results[name].then(part)

    def _first_steps(self) -> None:
        """Do the steps before the alignment; the last image stays in memory."""
        if self.settings.output.is_survey:
            self._force_stale()
        last = next(reversed(self.benches), "")
        for name, bench in self.benches.items():
            self._attempt(name, partial(self._begin_image, name))
            if name != last:
                self._put_aside(name, bench)

    def _force_stale(self) -> None:
        """Mark all steps of an image as outdated if one is: intermediate products are not kept."""
        records = [r for r in self.folder.state.images if {"detect", "crmask"} <= set(r.stages)]
        key = key_of_records(records)
        for bench in self.benches.values():
            with suppress(UnreadableFile):
                bench.look(at_pixels=False)
            bench.take(field_key=key)
            if not all(steps.is_step_current(bench, stage) for stage in self.job.stages):
                bench.take(forced=True)

    def _put_aside(self, name: str, bench: Workbench) -> None:
        """Make room for the next image."""
        if self.results[name].ok and {"measure", "finalize"} & set(self.job.stages):
            self._attempt(name, bench.shelve)
        else:
            bench.release()

    def _begin_image(self, name: str) -> None:
        bench = self.benches[name]
        works = {"detect": steps.detect, "crmask": steps.crmask}
        bench.look(at_pixels=bool(set(works) & set(self.job.stages)))
        try:
            for stage, work in works.items():
                self._do(name, stage, work)
        finally:
            bench.wait_until_synced()

    def _align(self) -> str:
        going = {name: bench for name, bench in self.benches.items() if self.results[name].ok}
        if "align" not in self.job.stages or not going:
            return ""
        alignment = align_field(
            self.folder, going, self.others, lambda: self.reference, self.figure
        )
        for name, result in alignment.results.items():
            self.results[name] = self.results[name].then(result)
        return alignment.key

    def _last_steps(self, key: str) -> None:
        """Do the steps after the alignment, beginning with the image that is in memory."""
        for name, bench in reversed(self.benches.items()):
            if "align" in self.job.stages:
                bench.take(field_key=key)
            self._attempt(name, partial(self._end_image, name))
            if name == next(iter(self.benches)) or "measure" not in self.job.stages:
                bench.release()
            else:
                self._attempt(name, bench.lend)
        for bench in self.benches.values():
            bench.release()

    def _end_image(self, name: str) -> None:
        bench = self.benches[name]
        if self.settings.output.write_wcs and "align" in self.job.stages:
            steps.write_aligned(bench)
        measure = partial(steps.measure, field=self)
        try:
            self._do(name, "measure", measure)
            self._do(name, "finalize", steps.finalize)
        finally:
            bench.wait_until_synced()

    def others_of(self, bench: Workbench, x: Floats, y: Floats) -> tuple[OtherImageView, ...]:
        """Return the field's other images that are aligned, in one order."""
        everything = dict(sorted((self.benches | self.others).items()))
        others = [
            other
            for other in everything.values()
            if other is not bench and {"detect", "align"} <= set(other.record.stages)
        ]
        return other_images(others, bench.frame.wcs, x, y)

    def _finish(self) -> None:
        """Record the outcomes of the images, unless the state has them already."""
        for name, bench in self.benches.items():
            result = self.results[name]
            if result.done or not result.ok or bench.record.last.outcome != result.outcome:
                bench.record.last = result.entry()
        self.folder.write()
