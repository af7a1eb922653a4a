"""The command that fetches images from the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from bycatch.cli import printing
from bycatch.cli.options import (
    Config,
    DryRun,
    Gaia,
    Offline,
    Preset,
    Quiet,
    Set,
    Verbose,
    Workers,
    inputs_of,
    settings_of,
    shortcuts,
    some_path,
)
from bycatch.cli.session import log_fetch, log_run
from bycatch.cli.status import DONE, SOME_LOST

if TYPE_CHECKING:
    from bycatch.archive import Fetching
    from bycatch.pipeline import Inputs
    from bycatch.settings import Settings


def fetch(
    programs: Annotated[
        list[str] | None, typer.Argument(metavar="PROGRAM", help="Numbers of programs.")
    ] = None,
    data: Annotated[
        Path,
        typer.Option(
            "-o", "--output", parser=some_path, metavar="DATA", help="Where the images go."
        ),
    ] = Path("data"),
    visit: Annotated[
        tuple[str, str] | None,
        typer.Option("--visit", metavar="PROGRAM VISIT", help="One visit, as: jcmd p9."),
    ] = None,
    cone: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--cone", metavar="RA DEC RADIUS", help="A circle on the sky, degrees."),
    ] = None,
    filters: Annotated[
        str, typer.Option("--filters", metavar="NAMES", help="Such as F606W,F814W.")
    ] = "",
    parallels: Annotated[
        bool,
        typer.Option("--parallels", help="Only images with another prime instrument."),
    ] = False,
    products: Annotated[
        str, typer.Option("--products", metavar="pipeline|hap", help="Products of the archive.")
    ] = "pipeline",
    cloud: Annotated[
        bool, typer.Option("--cloud", help="Fetch from the public bucket where possible.")
    ] = False,
    and_run: Annotated[
        Path | None,
        typer.Option(
            "--and-run",
            parser=some_path,
            metavar="OUT",
            help="Reduce each field as soon as it has arrived.",
        ),
    ] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Remove the images of fields that are done.")
    ] = False,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    gaia: Gaia = None,
    offline: Offline = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fetch images from MAST by program, visit or circle on the sky."""
    settings = settings_of(config, [*(assign or []), *shortcuts(offline=offline)], preset)
    if discard and and_run is None:
        raise typer.BadParameter("--discard needs --and-run OUT")
    from bycatch.archive import Fetching, FetchRequest, Tally
    from bycatch.cli.fetch_progress import FetchProgress

    request = FetchRequest(
        tuple(programs or ()),
        visit,
        cone,
        tuple(filters.split(",")),
        parallels,
        cast("Literal['pipeline', 'hap']", products),
    )
    tally = Tally()
    work = Fetching(request, data, settings.fetch, cloud=cloud, tally=tally)
    if dry_run:
        with log_fetch(None, quiet=quiet, verbose=verbose):
            work.look()
        printing.print_fetch(work.report(is_plan=True))
        return
    if and_run is not None:
        _fetch_and_run(work, and_run, settings, inputs_of(gaia), jobs, discard, quiet, verbose)
    with log_fetch(data, quiet=quiet, verbose=verbose), FetchProgress(tally, quiet=quiet):
        work.look()
        for _ in work.batches():
            pass
    report = work.report()
    if not quiet or not report.all_done:
        printing.print_fetch(report)
    raise typer.Exit(DONE if report.all_done else SOME_LOST)


def _fetch_and_run(
    work: Fetching,
    out: Path,
    settings: Settings,
    inputs: Inputs,
    jobs: int | None,
    discard: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Fetch, and run the whole chain on what has arrived meanwhile."""
    from bycatch.cli.fetch_progress import FetchProgress
    from bycatch.cli.steps import is_news, write_page
    from bycatch.pipeline.arrivals import run_arrivals

    progress = FetchProgress(work.tally, quiet=quiet, plain=True)
    with log_run(out, quiet=quiet, verbose=verbose, log_file=None), progress:
        work.look()
        report = run_arrivals(work, out, settings, inputs, jobs, discard=discard)
        if report is not None:
            write_page(out, settings, changed=is_news(report))
    fetch_report = work.report()
    if not quiet or not fetch_report.all_done:
        printing.print_fetch(fetch_report)
    if report is not None and not quiet:
        printing.print_report(report)
    is_complete = fetch_report.all_done and (report is None or report.all_done)
    raise typer.Exit(DONE if is_complete else SOME_LOST)
