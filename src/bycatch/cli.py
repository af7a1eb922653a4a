"""The command line: it parses, prints and exits; everything else is done elsewhere."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bycatch import memory
from bycatch.errors import BycatchError, SettingsError, UnusableData
from bycatch.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bycatch.compare import Comparison
    from bycatch.pipeline import Inputs, RunReport
    from bycatch.pipeline.status import Status
    from bycatch.settings import Settings

DONE, SOME_LOST, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
STOPPED = "interrupted; what is finished is kept, and the next run goes on from there"

ASSESSMENT_LEGEND = """\
found      true sources with enough pixels above the threshold that were found
real       rows seen by two or more exposures that are true sources
stars      isolated, S/N > 50: median flux bias at 4 px, rms position error per axis
CRs        cosmic rays detected in single exposures that carry cr_flag
false CRs  stars there, no cosmic ray within 3 px, that carry it by mistake
"""

app = typer.Typer(
    name="bycatch",
    help="Photometry catalogs from HST/ACS parallel fields: drizzled images in, catalogs out.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings from a TOML file.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as detect.n_pixels=60."),
]
Preset = Annotated[str | None, typer.Option("--preset", help="A set of defaults: classic or deep.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "-j", "--jobs", min=1, help="Images in parallel processes; one alone uses as many threads."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print problems only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more.")]
LogFile = Annotated[
    Path | None, typer.Option("--log-file", help="Where the log goes; OUT/bycatch.log by default.")
]
Gaia = Annotated[
    Path | None,
    typer.Option("--gaia", metavar="FILE", help="Gaia stars from a table, not the net."),
]
Sources = Annotated[
    Path | None,
    typer.Option("--sources", metavar="FILE", help="Measure these positions (x, y or ra, dec)."),
]
Exclude = Annotated[
    Path | None, typer.Option("--exclude", metavar="FILE.reg", help="ds9 regions to leave out.")
]
Wht = Annotated[
    Path | None, typer.Option("--wht", metavar="FILE", help="The weight of the image, if apart.")
]
FieldName = Annotated[
    str | None, typer.Option("--field", metavar="NAME", help="Name of the field for all files.")
]
Mode = Annotated[
    str | None, typer.Option("--mode", metavar="link|copy|move", help="How files are placed.")
]
Formats = Annotated[
    str | None,
    typer.Option("--formats", help="Also write catalogs as fits, csv, parquet, votable (commas)."),
]
WriteWcs = Annotated[
    bool, typer.Option("--write-wcs", help="Write copies of the images with the aligned WCS.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask no service: stars come from earlier runs only.")
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Print seconds and peak memory of each step, too.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
Paths = Annotated[
    list[Path], typer.Argument(metavar="PATHS", help="drc files, or folders to search.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Output folder.")]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of a run.")]

COMPARED = {
    "rows_a": ("rows of A", "d"),
    "rows_b": ("rows of B", "d"),
    "matched": ("pairs", "d"),
    "share_of_a_in_b": ("share of A in B, where both look", ".3f"),
    "share_of_b_in_a": ("share of B in A, where both look", ".3f"),
    "offset_ra_mas": ("B - A in right ascension, median, mas", ".2f"),
    "offset_dec_mas": ("B - A in declination, median, mas", ".2f"),
    "scatter_mas": ("scatter of the positions per axis, mas", ".2f"),
    "offset_mag": ("B - A in magnitude, median", ".3f"),
    "scatter_mag": ("scatter of the magnitudes", ".3f"),
    "strange": ("pairs more than 5 widths off in magnitude", "d"),
}
"""Words and digits of what tells most of a comparison."""
stdout = Console()
stderr = Console(stderr=True)


def main() -> None:
    """Run the command line; every outcome has its exit status."""
    memory.search_garbage_rarely()
    try:
        app(prog_name="bycatch")
    except KeyboardInterrupt:
        stderr.print(f"bycatch: {STOPPED}", style="yellow", highlight=False)
        sys.exit(INTERRUPTED)
    except SettingsError as err:
        _complain(str(err))
        sys.exit(WRONG_USAGE)
    except BycatchError as err:
        _complain(str(err))
        sys.exit(SOME_LOST)
    except OSError as err:
        _complain(f"{err} - check disk space and permissions, then run again")
        sys.exit(SOME_LOST)


def _complain(text: str) -> None:
    stderr.print(f"bycatch: {text}", style="red", highlight=False, markup=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        stdout.print(f"bycatch {__version__}", highlight=False)
        raise typer.Exit


@app.command()
def run(
    paths: Paths,
    out: Out,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    gaia: Gaia = None,
    sources: Sources = None,
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
    """Run the whole chain: sort, detect, crmask, align, measure, finalize."""
    extra = _shortcuts(
        field=field, mode=mode, formats=formats, write_wcs=write_wcs, offline=offline
    )
    settings = _settings(config, [*(assign or []), *extra], preset)
    inputs = _inputs(gaia, sources, exclude, wht)
    from bycatch import pipeline

    if dry_run:
        _print_plan(*pipeline.dry_run(paths, out, settings, inputs))
        return
    with _logging(out, quiet=quiet, verbose=verbose, log_file=log_file):
        report = pipeline.run(paths, out, settings, inputs, jobs)
    _write_report(out, settings, changed=_is_news(report))
    if profile:
        _print_profile(report)
    _finish(report, quiet=quiet)


@app.command()
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
    extra = _shortcuts(field=field, mode=mode)
    settings = _settings(config, [*(assign or []), *extra], preset)
    inputs = _inputs(wht=wht)
    from bycatch import pipeline

    if dry_run:
        _print_plan(*pipeline.dry_run(paths, out, settings, inputs))
        return
    with _logging(out, quiet=quiet, verbose=verbose, log_file=log_file):
        records, skipped = pipeline.sort_only(paths, out, settings, inputs)
    if not quiet:
        stdout.print(f"{len(records)} image(s) in {out}", highlight=False)
    raise typer.Exit(SOME_LOST if any(s.bad for s in skipped) else DONE)


@app.command()
def detect(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Find the sources: background, threshold per pixel, segmentation, deblending."""
    _step("detect", out, config, assign, preset, jobs, quiet, verbose, log_file)


@app.command()
def crmask(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Mask cosmic rays with LAcosmic."""
    _step("crmask", out, config, assign, preset, jobs, quiet, verbose, log_file)


@app.command()
def align(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    gaia: Gaia = None,
    write_wcs: WriteWcs = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Align the images of each field to one another and to Gaia."""
    inputs = _inputs(gaia)
    assign = [*(assign or []), *_shortcuts(write_wcs=write_wcs, offline=offline)]
    _step("align", out, config, assign, preset, jobs, quiet, verbose, log_file, inputs)


@app.command()
def measure(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    gaia: Gaia = None,
    sources: Sources = None,
    exclude: Exclude = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure the sources, or your own list of positions."""
    inputs = _inputs(gaia, sources, exclude)
    _step("measure", out, config, assign, preset, jobs, quiet, verbose, log_file, inputs)


@app.command()
def finalize(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    formats: Formats = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Calibrate: aperture corrections, flux densities, AB magnitudes."""
    assign = [*(assign or []), *_shortcuts(formats=formats)]
    _step("finalize", out, config, assign, preset, jobs, quiet, verbose, log_file)


@app.command()
def inject(
    out: OutArgument,
    config: Config = None,
    assign: Set = None,
    preset: Preset = None,
    jobs: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Measure completeness, by artificial stars and galaxies put into the images."""
    from bycatch import pipeline

    if not out.is_dir():
        raise SettingsError(f"{out}: there is no such folder", hint="give the OUT of a run")
    settings = _settings(config, assign or (), preset, pipeline.saved_values(out))
    from bycatch.pipeline.injection import inject as inject_images

    with _logging(out, quiet=quiet, verbose=verbose, log_file=log_file):
        reports = inject_images(out, settings, jobs)
    _write_report(out, settings, changed=any(report.files for report in reports))
    if not quiet:
        _print_limits(reports)
    raise typer.Exit(DONE if all(r.outcome == "done" for r in reports) else SOME_LOST)


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the visit goes.")],
    config: Config = None,
    assign: Set = None,
    quiet: Quiet = False,
) -> None:
    """Make a simulated visit with truth tables and a table of Gaia-like stars."""
    settings = _settings(config, assign or ())
    from bycatch.simulate import simulate_visit, write_visit

    with stderr.status("simulating a visit") if not quiet else _nothing():
        visit = simulate_visit(settings.simulate)
        files = write_visit(visit, directory)
    if not quiet:
        for path in files.images:
            stdout.print(str(path), highlight=False, soft_wrap=True)


@app.command()
def assess(
    out: OutArgument,
    truth: Annotated[Path, typer.Argument(metavar="DIR", help="The simulated visit.")],
) -> None:
    """Compare the catalogs of a simulated visit with its truth."""
    from bycatch.pipeline.assessment import assess_visit

    _print_assessment(assess_visit(out, truth), out)


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="drc files.")],
    config: Config = None,
    assign: Set = None,
) -> None:
    """Say what a file holds, and all that looks wrong with it."""
    settings = _settings(config, assign or ())
    from bycatch.pipeline.inspection import inspect as inspect_file

    lost = False
    for path in files:
        stdout.print(f"{path}", style="bold", highlight=False, soft_wrap=True)
        try:
            found = inspect_file(path, settings.input)
        except UnusableData as err:
            stdout.print(f"  can't be used: {err}", style="red", highlight=False, soft_wrap=True)
            lost = True
            continue
        for name, text in found.facts:
            stdout.print(f"  {name:<12} {text}", highlight=False, soft_wrap=True)
        for text in found.warnings:
            stdout.print(f"  ! {text}", style="yellow", highlight=False, soft_wrap=True)
    raise typer.Exit(SOME_LOST if lost else DONE)


@app.command()
def status(out: OutArgument) -> None:
    """Show what is done in OUT, what is stale, and what was lost."""
    from bycatch.pipeline import saved_settings
    from bycatch.pipeline.status import status as status_of

    found = status_of(out, saved_settings(out))
    _print_status(found)
    raise typer.Exit(DONE if found.is_done else SOME_LOST)


@app.command()
def report(
    out: OutArgument,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write the plots of each image as files, too.")
    ] = False,
    kind: Annotated[
        str, typer.Option("--format", metavar="png|pdf", help="Format of the figures.")
    ] = "png",
) -> None:
    """Write OUT/report.html, a page to look at, from the products that are there."""
    from bycatch.report import write_figures, write_report

    paths = write_figures(out, kind) if figures else []
    for path in (*paths, write_report(out)):
        stdout.print(str(path), highlight=False, soft_wrap=True)


@app.command()
def export(
    out: OutArgument,
    formats: Annotated[
        str, typer.Option("--formats", help="fits, csv, parquet, votable, ecsv, reg (ds9).")
    ] = "fits",
    kind: Annotated[
        str, typer.Option("--kind", help="Which tables: cat, cat_noCRs, phot, sources, ...")
    ] = "cat",
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where they go.  [default: OUT/export]")
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="One table of all images.")] = False,
) -> None:
    """Write the catalogs in other formats, as ds9 regions, or all of them as one table."""
    from bycatch.pipeline.export import export as exported

    names = [name.strip() for name in formats.split(",") if name.strip()]
    for path in exported(out, names, kind, folder, merged=merged):
        stdout.print(str(path), highlight=False, soft_wrap=True)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A catalog.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same field.")],
    columns: Annotated[
        str, typer.Option("--columns", help="Of A: right ascension, declination, magnitude.")
    ] = "",
    columns_b: Annotated[str, typer.Option("--columns-b", help="The same of B.")] = "",
    radius: Annotated[float, typer.Option("--radius", help="Largest separation, mas.")] = 150.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables and figure.")
    ] = None,
) -> None:
    """Compare two catalogs of a field: ours, the archive's, SExtractor's, or any other."""
    from bycatch.compare import compare as compared
    from bycatch.compare import read_catalog

    names = [[c.strip() for c in text.split(",") if c.strip()] for text in (columns, columns_b)]
    a, b = read_catalog(first, names[0]), read_catalog(second, names[1])
    found = compared(a, b, radius)
    _print_comparison(found)
    if output is not None:
        from bycatch.pipeline.export import write_comparison

        for path in write_comparison(found, output):
            stdout.print(str(path), highlight=False, soft_wrap=True)


@app.command()
def explain(
    out: OutArgument,
    xy: Annotated[
        tuple[float, float] | None,
        typer.Option("--xy", metavar="X Y", help="0-based pixel of an image."),
    ] = None,
    radec: Annotated[
        tuple[str, str] | None,
        typer.Option("--radec", metavar="RA DEC", help="Degrees, or hh:mm:ss dd:mm:ss."),
    ] = None,
    image: Annotated[
        str, typer.Option("--image", metavar="ROOT", help="Root or filter of an image.")
    ] = "",
) -> None:
    """Tell why a position is, or is not, in the catalogs."""
    from bycatch.pipeline.explanation import explain as explained

    for found in explained(out, xy=xy, radec=radec, image=image):
        title = f"{found.place} {found.image}, x {found.x:.1f}, y {found.y:.1f}: {found.verdict}"
        stdout.print(title, style="bold", highlight=False, soft_wrap=True)
        for sentence in found.sentences:
            stdout.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def config(
    preset: Preset = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
) -> None:
    """Print every setting with its unit, meaning and default, as TOML."""
    from bycatch.settings import to_toml

    text = to_toml(_settings(preset=preset))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as err:
        raise SettingsError(f"{output}: can't be written ({err})", hint="check the path") from err


def _step(
    stage: str,
    out: Path,
    config_file: Path | None,
    assign: list[str] | None,
    preset: str | None,
    jobs: int | None,
    quiet: bool,
    verbose: bool,
    log_file: Path | None,
    inputs: Inputs | None = None,
) -> None:
    """Do one step again on the images in OUT, with the settings of the last run as a base."""
    from bycatch import pipeline

    if not out.is_dir():
        raise SettingsError(f"{out}: there is no such folder", hint="give the OUT of a run")
    base = pipeline.saved_values(out)
    settings = _settings(config_file, assign or (), preset, base)
    with _logging(out, quiet=quiet, verbose=verbose, log_file=log_file):
        report = pipeline.run_stages(out, [stage], settings, inputs, jobs)
    _write_report(out, settings, changed=_is_news(report))
    _finish(report, quiet=quiet)


def _settings(
    config: Path | None = None,
    assignments: Iterable[str] = (),
    preset: str | None = None,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings; imported late, as --help needs none and should come at once."""
    from bycatch.settings import Settings

    return Settings.load(config, assignments, preset, base)


def _inputs(
    gaia: Path | None = None,
    sources: Path | None = None,
    exclude: Path | None = None,
    wht: Path | None = None,
) -> Inputs:
    from bycatch.pipeline import Inputs

    return Inputs(gaia, sources, exclude, wht)


def _shortcuts(
    *, write_wcs: bool = False, offline: bool = False, **options: str | None
) -> list[str]:
    """Return options that stand for settings, as assignments."""
    names = {"field": "sort.field", "mode": "sort.mode", "formats": "output.formats"}
    out = ["output.write_wcs=true"] if write_wcs else []
    out += ["align.offline=true"] if offline else []
    for option, value in options.items():
        if value is not None:
            text = value if option != "formats" else str([v.strip() for v in value.split(",")])
            out.append(f"{names[option]}={text}")
    return out


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _logging(out: Path, *, quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Send the log to the terminal (with a progress bar on a real one) and to a file."""
    from bycatch.progress import ProgressHandler, RunProgress, TerminalHandler

    logger = logging.getLogger("bycatch")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    progress = RunProgress(stderr, disable=quiet or not stderr.is_terminal)
    level = logging.ERROR if quiet else (logging.DEBUG if verbose else logging.INFO)
    ctrl_c = _CtrlC()
    handlers: list[logging.Handler] = [
        TerminalHandler(stderr, level),
        ProgressHandler(progress, plain=not (quiet or stderr.is_terminal)),
        ctrl_c,
    ]
    handlers.append(_file_handler(log_file or out / "bycatch.log", own=log_file is None))
    logger.handlers = handlers
    try:
        with ctrl_c, progress:
            yield
    except KeyboardInterrupt:
        stderr.print(f"bycatch: {STOPPED}", style="yellow", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for handler in handlers:
            handler.close()
        logger.handlers = []


def _file_handler(path: Path, *, own: bool) -> logging.Handler:
    from bycatch.logfile import LogFile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = LogFile(path, own=own)
    except OSError as err:
        raise SettingsError(
            f"can't write the log {path} ({err})",
            hint="choose another output folder, or --log-file FILE",
        ) from err
    return handler


class _CtrlC(logging.Handler):
    """Ctrl-C that can't get lost.

    Libraries swallow a KeyboardInterrupt at times, as when it comes in the
    middle of an import; then the next line of the log stops the run.
    """

    def __enter__(self) -> None:
        self.pressed = False
        self.before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._press)

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _press(self, *_: object) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def emit(self, _: logging.LogRecord) -> None:
        if self.pressed and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


def _is_news(report: RunReport) -> bool:
    """Tell whether anything was done or lost that an earlier page does not tell."""
    return not report.all_done or any(image.done for image in report.images)


def _write_report(out: Path, settings: Settings, *, changed: bool) -> None:
    """Write the page at the end of a run: without the libraries, or a disk, the run is no worse."""
    from bycatch.products import find_records
    from bycatch.report import is_current, write_report

    unchanged = not changed and is_current(out)
    if not settings.output.report or unchanged or not find_records(out):
        return
    try:
        write_report(out)
    except (BycatchError, OSError) as err:
        logging.getLogger("bycatch").warning("no report: %s", err)


def _finish(report: RunReport, *, quiet: bool) -> None:
    """Print the closing table and exit with the status of the run."""
    if not quiet:
        _print_report(report)
    raise typer.Exit(DONE if report.all_done else SOME_LOST)


def _table(left: list[str], right: list[str], title: str | None = None) -> Any:
    """Return an empty table that fits 80 columns, with left- and right-aligned columns."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _print_table(table: Any) -> None:
    """Print a table, its columns closer together where it would not fit otherwise."""
    from rich.measure import Measurement

    if Measurement.get(stdout, stdout.options.update(max_width=999), table).maximum > stdout.width:
        table.padding, table.show_edge = 0, False
    stdout.print(table)


def _print_report(report: RunReport) -> None:
    table = _table(["place", "image", "outcome"], ["exp.", "sources", "CR", "Gaia", "aligned", "s"])
    for row in report.rows():
        table.add_row(*row.values())
    if report.images:
        _print_table(table)
    lost = report.lost()
    for name, outcome, reason in lost:
        stdout.print(f"{outcome}: {name}: {reason}", style="red", highlight=False, soft_wrap=True)
    done = [image for image in report.images if image.outcome == "done"]
    stdout.print(
        f"{len(done)} of {len(done) + len(lost)} image(s) done in {report.seconds:.1f} s; "
        f"{_where_to_look(report.out)}",
        highlight=False,
        soft_wrap=True,
    )


def _print_profile(report: RunReport) -> None:
    """Print what the steps that were done in this run took; of all images together."""
    table = _table(["step"], ["images", "s", "s / image", "peak, MB"])
    for cost in report.profile():
        row = (f"{cost.n_images}", f"{cost.seconds:.2f}", f"{cost.seconds / cost.n_images:.2f}")
        table.add_row(cost.step, *row, _known(cost.peak_mb, ".0f"))
    _print_table(table)


def _where_to_look(out: Path) -> str:
    page = out / "report.html"
    return f"look at {page}" if page.exists() else f"summary in {out / 'summary.json'}"


def _print_comparison(found: Comparison) -> None:
    table = _table([], ["mag", "A", "in B", "B", "in A", "B - A, mag", "width, mag"])
    for row in found.bins:
        table.add_row(
            f"{row['mag_low']:g} to {row['mag_high']:g}",
            *(str(row[name]) for name in ("n_a", "a_in_b", "n_b", "b_in_a")),
            *(_known(row[name], ".3f") for name in ("dmag", "dmag_width")),
        )
    _print_table(table)
    for name, value in found.summary().items():
        words, digits = COMPARED[name]
        stdout.print(f"{words:<44} {_known(value, digits)}", highlight=False)


def _known(value: float | None, digits: str) -> str:
    """Return a number; '-' for what is not known."""
    return "-" if value is None or value != value else f"{value:{digits}}"  # noqa: PLR0124


def _print_status(found: Status) -> None:
    steps = list(found.images[0].steps) if found.images else []
    table = _table(["place", "image", *steps, "last run"], [])
    for image in found.images:
        place = f"{image.field}/{image.filter}"
        words = (*image.steps.values(), image.outcome or "-")
        table.add_row(place, image.root, *(_state(word) for word in words))
    _print_table(table)
    lost = [(f"{i.field}/{i.filter} {i.root}", i.reason) for i in found.images if i.reason]
    for name, why in [*lost, *found.lost]:
        stdout.print(f"{name}: {why}", style="red", highlight=False, soft_wrap=True)
    n_done = sum(image.is_done for image in found.images)
    stdout.print(
        f"{n_done} of {len(found.images)} image(s) up to date, {len(found.lost)} file(s) lost",
        highlight=False,
    )
    if n_done < len(found.images):
        stdout.print(_what_next(found), highlight=False, soft_wrap=True)


def _what_next(found: Status) -> str:
    """Return how to get the rest done: a run of its own would begin with the default settings."""
    left = dict.fromkeys(
        step for image in found.images for step, state in image.steps.items() if state != "done"
    )
    if not 0 < len(left) < len(found.images[0].steps):
        return "'bycatch run' does the rest"
    steps = ", ".join(f"'bycatch {step} OUT'" for step in found.images[0].steps if step in left)
    return f"{steps} with the settings as they are, or 'bycatch run' with its own, does the rest"


def _state(word: str) -> Any:
    """Return the state of a step, in the colour of what is left to do or lost."""
    from rich.text import Text

    styles = {"stale": "yellow", "to do": "yellow", "dropped": "red", "failed": "red"}
    return Text(word, styles.get(word, ""))


def _print_limits(reports: list[Any]) -> None:
    """Print the completeness limits of all depths together, and where the rest lies."""
    table = _table(["place", "image", "sources"], ["number", "90 %", "50 %"])
    for report in reports:
        for row in report.summary.get("limits", ()):
            if row["n_exp"] == 0:
                size = f' {row["re_arcsec"]:g}"' if row["re_arcsec"] else ""
                table.add_row(
                    f"{report.field}/{report.filter}",
                    report.root,
                    f"{row['kind']}{size}",
                    str(row["n"]),
                    *(_limit(row, level) for level in (90, 50)),
                )
    _print_table(table)
    stdout.print("AB magnitudes, total; cosmic rays by mistake count as lost", highlight=False)
    for report in reports:
        for path in report.files:
            stdout.print(f"  {path}", highlight=False, soft_wrap=True)
        if report.reason:
            text = f"{report.outcome}: {report.root}: {report.reason}"
            stdout.print(text, style="red", highlight=False, soft_wrap=True)


def _limit(row: dict[str, Any], level: int) -> str:
    value, error = row[f"mag_{level}_kept"], row[f"mag_{level}_kept_err"]
    if value is None:
        return "-"
    return f"{value:.2f}" if error is None else f"{value:.2f} ±{error:.2f}"


def _print_plan(images: list[Any], skipped: tuple[Any, ...]) -> None:
    steps = list(images[0].steps) if images else []
    table = _table(["place", "image", *steps], ["MB"])
    for image in images:
        place = f"{image.field}/{image.filter}"
        table.add_row(place, image.stem, *image.steps.values(), f"{image.megabytes:.0f}")
    _print_table(table)
    for skip in skipped:
        word = "would be dropped" if skip.bad else "would be skipped"
        stdout.print(f"{word}: {skip.path}: {skip.reason}", highlight=False, soft_wrap=True)
    total = sum(image.megabytes for image in images)
    stdout.print(
        f"{len(images)} image(s), about {total:.0f} MB of products; nothing was written",
        highlight=False,
    )


def _print_assessment(assessments: list[Any], out: Path) -> None:
    names = list(assessments[0].row()) if assessments else []
    table = _table([], names)
    for assessment in assessments:
        table.add_row(*assessment.row().values())
    _print_table(table)
    stdout.print(ASSESSMENT_LEGEND, highlight=False)
    stdout.print("Open these:", highlight=False)
    for assessment in assessments:
        stdout.print(f"  {assessment.catalog}", highlight=False, soft_wrap=True)
    stdout.print(f"  {out / 'summary.json'}", highlight=False, soft_wrap=True)
