"""The run: files are sorted to fields, fields are worked on, and what became of them is summed up.

This process reads and writes nothing of a field itself: each is one task of an executor.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bycatch.engines import Executor, Serial, executor_of
from bycatch.errors import SettingsError
from bycatch.images.files import root_of
from bycatch.pipeline import intake
from bycatch.pipeline.field import lost_field, prepare_worker, run_field, tidy_up
from bycatch.pipeline.jobs import FieldJob, Inputs, UserFiles, check_kinds
from bycatch.pipeline.objects import objects_of
from bycatch.pipeline.outcomes import GroupReport
from bycatch.pipeline.placing import planned_record
from bycatch.pipeline.report import RunReport
from bycatch.pipeline.summary import summarize
from bycatch.pipeline.tasks import run_tasks
from bycatch.products import (
    SETTINGS_FILE,
    STAGES,
    ImageRecord,
    LastRun,
    damaged_fields,
    field_names,
    last_run,
    read_field,
    saved_settings,
    write_last_run,
)
from bycatch.products.folder import UnusedFile
from bycatch.report.page import can_be_made
from bycatch.report.products import MAX_INSIDE
from bycatch.settings import Settings, to_toml
from bycatch.stages.sort import SkippedFile
from bycatch.system.disk import atomic

logger = logging.getLogger("bycatch")


def run(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int | None = None,
    *,
    executor: Any = None,
    shard: tuple[int, int] | None = None,
) -> RunReport:
    """Run the whole chain on files and folders.

    Parameters
    ----------
    paths : drc files, or folders that are searched for them
    out : output folder; what is up to date in it is kept
    settings : all settings; the preset 'classic' by default
    inputs : the user's files other than images (Gaia table, positions, regions)
    workers : number of parallel processes, which one field alone uses as threads; by default
        fields are done one after the other, each on all cores
    executor : 'serial', 'processes' or 'dask', an object with the methods of `engines.Executor`, or
        a dask Client or Cluster
    shard : (i, n): every n-th field only, beginning with the i-th from 1; `summarize` puts the
        shards together

    Raises
    ------
    SettingsError
        Wrong settings or arguments; nothing was done.
    """
    start_s = time.perf_counter()
    check_kinds(settings, inputs)
    run_settings, run_inputs = settings or Settings(), (inputs or Inputs()).check()
    out = Path(out)
    engine = executor_of(executor, workers, prepare_worker)
    try:
        input_files = _plan_intake(as_paths(paths), out, run_settings, run_inputs, engine)
        jobs = _in_shard(_jobs(input_files, out, run_settings, run_inputs), shard)
        if executor is None and len(jobs) == 1:
            engine = Serial(workers)  # on the cores of all, before a process has started
        return _run(
            out, jobs, input_files.plan.skipped, run_inputs, engine, start_s, is_shard=bool(shard)
        )
    finally:
        engine.close()


def sort_only(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
) -> tuple[list[ImageRecord], tuple[SkippedFile, ...]]:
    """Place the images below the output folder, and do no more."""
    run_settings, run_inputs, out = (
        settings or Settings(),
        (inputs or Inputs()).check(),
        Path(out),
    )
    input_files = _plan_intake(
        as_paths(paths), out, run_settings, run_inputs, executor_of("serial")
    )
    jobs = [replace(job, stages=()) for job in _jobs(input_files, out, run_settings, run_inputs)]
    _save_settings(out, run_settings)
    skips, records = list(input_files.plan.skipped), []
    for job in jobs:
        result = run_field(job)
        skips += [SkippedFile(Path(path), why, bad=True) for path, why in result.unplaced]
        places = {(image.filter, image.root) for image in result.images}
        images = read_field(out, job.name).images
        records += [image for image in images if (image.filter, image.root) in places]
    return records, tuple(skips)


def run_stages(
    out: str | Path,
    stages: Sequence[str],
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int | None = None,
    *,
    executor: Any = None,
) -> RunReport:
    """Do some steps again on images that an earlier run has sorted into ``out``."""
    start_s = time.perf_counter()
    out = Path(out)
    check_kinds(settings, inputs)
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise SettingsError(
            f"there is no step '{unknown[0]}'", hint=f"there are {', '.join(STAGES)}"
        )
    run_inputs = (inputs or Inputs()).with_those_of(last_run(out)).check()
    damages = damaged_fields(out)
    skips = tuple(SkippedFile(path, why, bad=True) for path, why in damages.items())
    names = [name for name in field_names(out) if name not in {p.parent.name for p in damages}]
    if not names and not skips:
        raise SettingsError(
            f"{out}: no image in it", hint="run 'bycatch sort' or 'bycatch run' first"
        )
    for skip in skips:
        logger.error("dropped: %s", skip.reason)
    run_settings = settings or saved_settings(out)
    if run_settings.output.is_survey:
        raise SettingsError(
            f"{out}: it has no intermediate products (output.products = survey)",
            hint="use 'bycatch run'",
        )
    jobs = [
        FieldJob(
            out.absolute(),
            name,
            run_settings,
            stages=tuple(stages),
            forced=True,
            files=UserFiles.of(run_inputs),
        )
        for name in names
    ]
    alone = executor is None and len(jobs) == 1
    engine = Serial(workers) if alone else executor_of(executor, workers, prepare_worker)
    try:
        return _run(out, jobs, skips, run_inputs, engine, start_s, is_whole=False)
    finally:
        engine.close()


def as_paths(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """Return one path or several as a list."""
    return [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]


def _plan_intake(
    paths: list[Path], out: Path, settings: Settings, inputs: Inputs, executor: Executor
) -> intake.Intake:
    """Plan where the images go, and see that the output folder can be written to."""
    input_files = intake.scan(paths, out, settings, executor)
    if inputs.wht and len(input_files.plan.placements) > 1:
        raise SettingsError(
            f"--wht {inputs.wht}: one weight for {len(input_files.plan.placements)} images",
            hint="give one image with it, or name the weights <stem>_wht.fits",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as err:
        raise SettingsError(f"can't write to {out} ({err})", hint="choose another folder") from err
    for skip in input_files.plan.skipped:
        level, word = (logging.ERROR, "dropped") if skip.bad else (logging.WARNING, "skipped")
        logger.log(
            level, "%s: %s: %s", skip.path.name, word, skip.reason.removeprefix(f"{skip.path}: ")
        )
    return input_files


def _jobs(
    input_files: intake.Intake, out: Path, settings: Settings, inputs: Inputs
) -> list[FieldJob]:
    """Return the tasks: a field each, in the order of their names."""
    fields: dict[str, list[Any]] = {}
    for placement in input_files.plan.placements:
        fields.setdefault(placement.field, []).append(input_files.new_image(placement, inputs.wht))
    records = (planned_record(image) for images in fields.values() for image in images)
    inputs.image_of_list(records, out)  # refused now if it is of none
    files = UserFiles.of(inputs)
    return [
        FieldJob(
            out.absolute(),
            name,
            settings,
            tuple(images),
            files=files,
        )
        for name, images in sorted(fields.items())
    ]


def _in_shard(jobs: list[FieldJob], shard: tuple[int, int] | None) -> list[FieldJob]:
    """Return every n-th field.

    Raises
    ------
    SettingsError
        There is no such shard.
    """
    if shard is None:
        return jobs
    number, count = shard
    if not 1 <= number <= count:
        raise SettingsError(f"--shard {number}/{count}: no such shard", hint="such as 3/12")
    return jobs[number - 1 :: count]


def _save_settings(out: Path, settings: Settings) -> None:
    path, text = out / SETTINGS_FILE, to_toml(settings)
    if path.is_symlink() or not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _run(
    out: Path,
    jobs: Sequence[FieldJob],
    skips: tuple[SkippedFile, ...],
    inputs: Inputs,
    executor: Executor,
    start_s: float,
    *,
    is_whole: bool = True,
    is_shard: bool = False,
) -> RunReport:
    """Work on the fields and write the summary; a shard leaves that to who puts them together."""
    if jobs:
        _save_settings(out, jobs[0].settings)
    stages = jobs[0].stages if jobs else STAGES
    if _is_large(out, jobs):
        jobs = [replace(job, with_page=True) for job in jobs]
    sizes_mb = {label: size for job in jobs for label, size in _sizes_mb(job)}
    logger.info(
        "%d image(s) in %d field(s), steps: %s",
        len(sizes_mb),
        len(jobs),
        ", ".join(stages),
        extra={"sizes_mb": sizes_mb, "steps": stages},
    )
    if "align" in stages and importlib.util.find_spec("matplotlib") is None:
        logger.info("no figures: matplotlib is not installed (pip install 'bycatch[figures]')")
    try:
        results = run_tasks(executor, run_field, jobs, lost_field)
        fields = tuple(sorted(results, key=lambda field: field.name))
    except BaseException:
        executor.close()
        logging.disable()  # a line of the log may raise the signal again that ended the work
        try:
            for job in jobs:
                tidy_up(job)  # workers that were stopped could not
        finally:
            logging.disable(logging.NOTSET)
        raise
    homeless = [
        SkippedFile(Path(path), why, bad=True) for field in fields for path, why in field.unplaced
    ]
    groups: tuple[GroupReport, ...] = ()
    if jobs and jobs[0].settings.objects.enabled and is_whole and not is_shard:
        groups = tuple(objects_of(out.absolute(), jobs[0].settings, inputs, executor))
    seconds = time.perf_counter() - start_s
    report = RunReport(out, fields, (*skips, *homeless), seconds, inputs, groups)
    input_words = {k: _as_words(v) for k, v in asdict(inputs).items()}
    files_off = [UnusedFile(str(s.path), s.reason, s.bad) for s in skips]
    if not is_whole:  # a step on its own forgets none of the last run's
        files_off += _off_before(out, files_off)
    write_last_run(out, LastRun(input_words, files_off, round(report.seconds, 2)))
    if not is_shard:
        summarize(out)
    return report


def _is_large(out: Path, jobs: Sequence[FieldJob]) -> bool:
    """Tell whether the page is too large to hold all images: then fields make parts of it."""
    if not jobs or not jobs[0].settings.output.report or not can_be_made():
        return False
    n_images = sum(len(job.images or ()) for job in jobs)
    return n_images > MAX_INSIDE or len(field_names(out)) > MAX_INSIDE


def _as_words(value: Path | str | None) -> str:
    return str(value.absolute() if isinstance(value, Path) else value or "")


def _sizes_mb(job: FieldJob) -> Iterator[tuple[str, float]]:
    """Give the labels of a field's images, and the sizes of their files; 0 for one that is gone."""
    if job.images is not None:
        files = [
            (f"{p.field}/{p.filter} {root_of(p.stem)}", p.path)
            for p in (image.placement for image in job.images)
        ]
    else:
        records = read_field(job.out, job.name).images
        files = [(r.label, r.paths(job.out).folder / r.name) for r in records]
    for label, path in files:
        yield label, path.stat().st_size / 1e6 if path.exists() else 0.0


def _off_before(out: Path, files_off: list[UnusedFile]) -> list[UnusedFile]:
    """Return what earlier runs did not use, and this one says nothing of."""
    paths = {file.path for file in files_off}
    # A state that was damaged then may be whole by now.
    return [
        file
        for file in last_run(out).skipped
        if file.path not in paths and not file.path.endswith(".json")
    ]
