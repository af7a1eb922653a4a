"""The commands of the chain: run, its steps, and artificial sources."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bycatch.cli import printing
from bycatch.cli.console import say
from bycatch.cli.options import (
    Config,
    DryRun,
    Engine,
    Exclude,
    FieldName,
    Formats,
    Gaia,
    LogFile,
    Mode,
    Offline,
    Out,
    OutArgument,
    Paths,
    Preset,
    Profile,
    Quiet,
    Scheduler,
    Set,
    Shard,
    Sources,
    SourcesImage,
    Verbose,
    Wht,
    Workers,
    WriteWcs,
    engine_of,
    inputs_of,
    settings_of,
    shard_of,
    shortcuts,
)
from bycatch.cli.session import folder, log_run
from bycatch.cli.status import DONE, SOME_LOST
from bycatch.errors import log_traceback, reason

if TYPE_CHECKING:
    from bycatch.pipeline import Inputs, RunReport
    from bycatch.settings import Settings

logger = logging.getLogger("bycatch")


def run(
    paths: Paths,
    out: Out,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    shard: Shard = None,
    gaia: Gaia = None,
    sources: Sources = None,
    sources_image: SourcesImage = None,
    exclude: Exclude = None,
    wht: Wht = None,
    field: FieldName = None,
    mode: Mode = None,
    formats: Formats = None,
    write_wcs: WriteWcs = False,
    offline: Offline = False,
    dry_run: DryRun = False,
    profile: Profile = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Run the whole chain, from drizzled images to catalogs.

    sort, detect, crmask, align, measure, finalize, objects.
    """
    extra = shortcuts(field=field, mode=mode, formats=formats, write_wcs=write_wcs, offline=offline)
    settings = settings_of(config, [*(assign or []), *extra], preset)
    inputs, part = inputs_of(gaia, sources, exclude, wht, sources_image), shard_of(shard)
    from bycatch import pipeline

    if dry_run:
        printing.print_plan(*pipeline.dry_run(paths, out, settings, inputs))
        return
    log_file = log_file or (out / f"bycatch-{part[0]}-of-{part[1]}.log" if part else None)
    with log_run(out, quiet=quiet, verbose=verbose, log_file=log_file):
        workers = engine_of(engine, jobs, scheduler)
        report = pipeline.run(paths, out, settings, inputs, jobs, executor=workers, shard=part)
        if part is None:
            write_page(out, settings, changed=is_news(report))
    if profile:
        printing.print_profile(report)
    if part is not None and not (report.results or report.skipped):
        raise typer.Exit(DONE)  # more shards than fields
    _finish(report, quiet=quiet)


def sort(
    paths: Paths,
    out: Out,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    wht: Wht = None,
    field: FieldName = None,
    mode: Mode = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Place the images under OUT/<program>_<visit>/<FILTER>/."""
    extra = shortcuts(field=field, mode=mode)
    settings = settings_of(config, [*(assign or []), *extra], preset)
    inputs = inputs_of(wht=wht)
    from bycatch import pipeline

    if dry_run:
        printing.print_plan(*pipeline.dry_run(paths, out, settings, inputs))
        return
    with log_run(out, quiet=quiet, verbose=verbose, log_file=log_file):
        records, skipped = pipeline.sort_only(paths, out, settings, inputs)
    if not quiet:
        say(f"{len(records)} image(s) in {out}")
    raise typer.Exit(SOME_LOST if any(s.bad for s in skipped) else DONE)


def detect(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Find the sources.

    Background, threshold per pixel, segmentation, deblending.
    """
    work = Work(out, config, assign, preset, jobs, engine, scheduler, quiet, verbose, log_file)
    _step("detect", work)


def crmask(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Mask cosmic rays with LAcosmic."""
    work = Work(out, config, assign, preset, jobs, engine, scheduler, quiet, verbose, log_file)
    _step("crmask", work)


def align(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    gaia: Gaia = None,
    write_wcs: WriteWcs = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Align the images of each field to one another and to Gaia."""
    inputs = inputs_of(gaia)
    assign = [*(assign or []), *shortcuts(write_wcs=write_wcs, offline=offline)]
    work = Work(out, config, assign, preset, jobs, engine, scheduler, quiet, verbose, log_file)
    _step("align", work, inputs)


def measure(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    gaia: Gaia = None,
    sources: Sources = None,
    exclude: Exclude = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure the sources."""
    if sources is not None:
        raise typer.BadParameter(
            f"--sources {sources}: to measure these positions as objects in every image, "
            f"besides the detections: "
            f"'bycatch objects {out} --sources {sources}'"
        )
    inputs = inputs_of(gaia, exclude=exclude)
    work = Work(out, config, assign, preset, jobs, engine, scheduler, quiet, verbose, log_file)
    _step("measure", work, inputs)


def finalize(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    formats: Formats = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Calibrate: aperture corrections, flux densities, AB magnitudes."""
    assign = [*(assign or []), *shortcuts(formats=formats)]
    work = Work(out, config, assign, preset, jobs, engine, scheduler, quiet, verbose, log_file)
    _step("finalize", work)


def objects(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    sources: Sources = None,
    sources_image: SourcesImage = None,
    formats: Formats = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Combine overlapping images into one table of objects.

    Over filters, visits and programs.
    """
    from bycatch import pipeline

    base = pipeline.saved_values(folder(out))
    settings = settings_of(config, [*(assign or []), *shortcuts(formats=formats)], preset, base)
    inputs = inputs_of(sources=sources, sources_image=sources_image)
    from bycatch.pipeline.objects import make_objects

    with log_run(out, quiet=quiet, verbose=verbose, log_file=log_file):
        workers = engine_of(engine, jobs, scheduler)
        reports = make_objects(out, settings, inputs, jobs, executor=workers)
        pipeline.summarize(out)
        write_page(out, settings, changed=any(report.is_new for report in reports))
    if not quiet:
        printing.print_groups(reports)
    raise typer.Exit(DONE if all(r.outcome == "done" for r in reports) else SOME_LOST)


def inject(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure completeness with artificial stars and galaxies."""
    from bycatch import pipeline

    settings = settings_of(config, assign or (), preset, pipeline.saved_values(folder(out)))
    from bycatch.pipeline.injection import inject as inject_images

    with log_run(out, quiet=quiet, verbose=verbose, log_file=log_file):
        workers = engine_of(engine, jobs, scheduler)
        reports = inject_images(out, settings, jobs, executor=workers)
        write_page(out, settings, changed=any(report.files for report in reports))
    if not quiet:
        printing.print_limits(reports)
    raise typer.Exit(DONE if all(r.outcome == "done" for r in reports) else SOME_LOST)


@dataclass(frozen=True)
class Work:
    """The options that all steps have."""

    out: Path
    config: Path | None
    assign: list[str] | None
    preset: str | None
    jobs: int | None
    engine: str | None
    scheduler: str | None
    quiet: bool
    verbose: bool
    log_file: Path | None


def _step(stage: str, work: Work, inputs: Inputs | None = None) -> None:
    """Repeat one step on the images in OUT, based on the settings of the last run."""
    from bycatch import pipeline

    base = pipeline.saved_values(folder(work.out))
    settings = settings_of(work.config, work.assign or (), work.preset, base)
    with log_run(work.out, quiet=work.quiet, verbose=work.verbose, log_file=work.log_file):
        workers = engine_of(work.engine, work.jobs, work.scheduler)
        report = pipeline.run_stages(
            work.out, [stage], settings, inputs, work.jobs, executor=workers
        )
        write_page(work.out, settings, changed=is_news(report))
    _finish(report, quiet=work.quiet)


def is_news(report: RunReport) -> bool:
    """Return whether anything was done or lost that an earlier page does not show."""
    return not report.all_done or any(image.done for image in report.images)


def write_page(out: Path, settings: Settings, *, changed: bool) -> None:
    """Write the page at the end of a run; a failure here does not fail the run."""
    from bycatch.products import field_names
    from bycatch.report import is_current, write_report

    is_same = not changed and is_current(out)
    if not settings.output.report or is_same or not field_names(out):
        return
    try:
        write_report(out)
    except Exception as err:  # noqa: BLE001
        logger.warning("no report: %s", reason(err))
        log_traceback(err)


def _finish(report: RunReport, *, quiet: bool) -> None:
    """Print the closing table and exit with the status of the run."""
    if not quiet:
        printing.print_report(report)
    raise typer.Exit(DONE if report.all_done else SOME_LOST)
