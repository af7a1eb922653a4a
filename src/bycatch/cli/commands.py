"""The commands that inspect, compare and export, and those that simulate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bycatch.cli import printing
from bycatch.cli.console import busy, put, say
from bycatch.cli.options import Config, OutArgument, Preset, Quiet, Set, settings_of, some_path
from bycatch.cli.session import log_look
from bycatch.cli.status import DONE, SOME_LOST
from bycatch.errors import DETAILS, SettingsError, UnreadableFile, reason


def simulate(
    directory: Annotated[
        Path, typer.Argument(parser=some_path, metavar="DIR", help="Where the visit goes.")
    ],
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Visits of one sky; the same as --set simulate.n_epochs=N."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove an earlier visit from DIR.")
    ] = False,
    config: Config = None,
    assign: Set = None,
    quiet: Quiet = False,
) -> None:
    """Simulate a visit, or several of one sky, with truth tables."""
    extra = () if epochs is None else (f"simulate.n_epochs={epochs}",)
    settings = settings_of(config, (*(assign or ()), *extra))
    from bycatch import simulate as simulator

    simulation, earlier = settings.simulate, simulator.earlier_files(directory, replace=replace)
    make = simulator.simulate_group if simulation.n_epochs > 1 else simulator.simulate_visit
    with nullcontext() if quiet else busy("simulating"):
        made = make(simulation)
        for path in earlier:
            path.unlink(missing_ok=True)
        if isinstance(made, simulator.SimulatedGroup):
            visits = simulator.write_group(made, directory)
        else:
            visits = (simulator.write_visit(made, directory),)
    if not quiet:
        for path in (path for files in visits for path in files.images):
            say(str(path))


def assess(
    out: OutArgument,
    truth: Annotated[
        Path, typer.Argument(parser=some_path, metavar="DIR", help="The simulated visit.")
    ],
) -> None:
    """Compare the catalogs of a simulated visit with its truth."""
    from bycatch.pipeline.assessment import assess_visit

    with log_look(out):
        printing.print_assessment(assess_visit(out, truth), out)


def inspect(
    files: Annotated[
        list[Path], typer.Argument(parser=some_path, metavar="FILE", help="drc files.")
    ],
    config: Config = None,
    assign: Set = None,
) -> None:
    """Show what a file holds and what looks wrong with it."""
    settings = settings_of(config, assign or ())
    from bycatch.pipeline.inspection import inspect as inspect_file

    has_failure = False
    for path in files:
        say(f"{path}", "bold")
        try:
            inspection = inspect_file(path, settings.input)
        except Exception as err:  # the other files are shown all the same  # noqa: BLE001
            say(f"  can't be used: {reason(err, details=DETAILS)}", "red")
            has_failure = True
            continue
        for name, text in inspection.facts:
            say(f"  {name:<12} {text}")
        for text in inspection.warnings:
            say(f"  ! {text}", "yellow")
    raise typer.Exit(SOME_LOST if has_failure else DONE)


def status(out: OutArgument) -> None:
    """Show what is done in OUT, what is outdated, and what was lost."""
    from bycatch.pipeline import saved_settings
    from bycatch.pipeline.status import status as status_of

    with log_look(out):
        state = status_of(out, saved_settings(out))
    printing.print_status(state)
    raise typer.Exit(DONE if state.is_done else SOME_LOST)


def summarize(out: OutArgument) -> None:
    """Combine all fields in summary.json and the page.

    As after the shards of a run.
    """
    from bycatch.cli.steps import write_page
    from bycatch.pipeline import saved_settings, summarize

    with log_look(out):
        path = summarize(out)
        write_page(out, saved_settings(out), changed=True)
    say(str(path))


def report(
    out: OutArgument,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write the plots of each image as files, too.")
    ] = False,
    kind: Annotated[
        str, typer.Option("--format", metavar="[png|pdf]", help="Format of the figures.")
    ] = "png",
    isochrone: Annotated[
        list[Path] | None,
        typer.Option(
            "--isochrone",
            parser=some_path,
            metavar="FILE",
            help="Table of absolute AB magnitudes, drawn over the diagrams; may be repeated.",
        ),
    ] = None,
    distance_modulus: Annotated[
        float, typer.Option("--distance-modulus", help="Added to the magnitudes of the isochrone.")
    ] = 0.0,
    reddening: Annotated[
        float, typer.Option("--reddening", help="E(B-V) of its stars on the SFD scale, mag.")
    ] = 0.0,
    vega: Annotated[
        bool, typer.Option("--vega", help="Its magnitudes are in the Vega system.")
    ] = False,
) -> None:
    """Write OUT/report.html from the products of a run."""
    from bycatch.report import filters_of_groups, read_isochrone, write_figures, write_report

    if not isochrone and (distance_modulus or reddening or vega):
        raise typer.BadParameter("--distance-modulus, --reddening and --vega need an --isochrone")
    with log_look(out):
        filters, system = filters_of_groups(out) if isochrone else (), "vega" if vega else "ab"
        curves = [
            read_isochrone(path, filters, distance_modulus, reddening, system)
            for path in isochrone or ()
        ]
        paths = write_figures(out, kind) if figures else []
        for path in (*paths, write_report(out, curves)):
            say(str(path))


def export(
    out: OutArgument,
    formats: Annotated[
        str,
        typer.Option(
            "--formats", metavar="NAMES", help="fits, csv, parquet, votable, ecsv, reg (ds9)."
        ),
    ] = "fits",
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Which tables: cat, cat_noCRs, phot, sources, objects, epochs, ...",
        ),
    ] = "cat",
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=some_path,
            metavar="PATH",
            help="Where they go.  [default: OUT/export]",
        ),
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="One table of all images.")] = False,
) -> None:
    """Write the catalogs in other formats, or all as one table.

    Also as ds9 regions.
    """
    from bycatch.pipeline.export import export as exported

    names = [name.strip() for name in formats.split(",") if name.strip()]
    with log_look(out):
        for path in exported(out, names, kind, folder, merged=merged):
            say(str(path))


def compare(
    first: Annotated[
        Path, typer.Argument(parser=some_path, metavar="A", help="A catalog, or OUT.")
    ],
    second: Annotated[
        Path,
        typer.Argument(
            parser=some_path, metavar="B", help="Another catalog of the same field, or OUT."
        ),
    ],
    columns: Annotated[
        str,
        typer.Option("--columns", help="Columns of A: right ascension, declination, magnitude."),
    ] = "",
    columns_b: Annotated[str, typer.Option("--columns-b", help="The same for B.")] = "",
    radius: Annotated[float, typer.Option("--radius", help="Largest separation, mas.")] = 150.0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=some_path, metavar="PATH", help="Folder for tables and figure."
        ),
    ] = None,
) -> None:
    """Compare two catalogs of a field, or the objects of two folders."""
    from bycatch.compare import compare as compared
    from bycatch.compare import read_catalog

    for path in (first, second):
        if not path.exists():
            raise UnreadableFile(f"{path}: there is no such file or folder", hint="check the path")
    if first.is_dir() and second.is_dir():
        _compare_folders(first, second, radius, output)
        return
    names = [[c.strip() for c in text.split(",") if c.strip()] for text in (columns, columns_b)]
    a, b = read_catalog(first, names[0]), read_catalog(second, names[1])
    comparison = compared(a, b, radius)
    printing.print_comparison(comparison)
    if output is not None:
        from bycatch.pipeline.export import write_comparison

        for path in write_comparison(comparison, output):
            say(str(path))


def _compare_folders(first: Path, second: Path, radius: float, output: Path | None) -> None:
    """Compare the objects of two output folders."""
    from bycatch.pipeline.object_comparison import compare_objects, write_object_comparison

    with log_look(first):
        comparison = compare_objects(first, second, radius)
    printing.print_object_comparison(comparison)
    for path in write_object_comparison(comparison, output) if output is not None else ():
        say(str(path))


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
    number: Annotated[
        int | None, typer.Option("--object", metavar="ID", help="object_id of an object.")
    ] = None,
) -> None:
    """Explain why a position is or is not in the catalogs."""
    from bycatch.pipeline.explanation import explain as explain_at
    from bycatch.pipeline.object_explanation import explain_objects
    from bycatch.user_files.quantities import sky_position

    if number is not None and (xy or radec or image):
        raise typer.BadParameter("--object needs no position: leave out --xy, --radec and --image")
    with log_look(out):
        objects = []
        if number is not None:
            objects = explain_objects(out, object_id=number)
        elif radec is not None and not image:
            objects = explain_objects(out, radec=sky_position(*radec))
        for one in objects:
            name = f"object {one.object_id}" if one.object_id else f"{one.ra:.6f} {one.dec:.6f}"
            say(f"{one.group} {name}: {one.verdict}", "bold")
            for sentence in one.sentences:
                say(f"  {sentence}")
        for explanation in (
            explain_at(out, xy=xy, radec=radec, image=image) if number is None else ()
        ):
            place = f"{explanation.place} {explanation.image}"
            if explanation.x == explanation.x:  # not NaN: on the near side of the sky
                place += f", x {explanation.x:.1f}, y {explanation.y:.1f}"
            say(f"{place}: {explanation.verdict}", "bold")
            for sentence in explanation.sentences:
                say(f"  {sentence}")


def config(
    preset: Preset = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", parser=some_path, metavar="PATH", help="Write to a file."),
    ] = None,
) -> None:
    """Print every setting with its unit, meaning and default."""
    from bycatch.settings import to_toml

    text = to_toml(settings_of(preset=preset))
    if output is None:
        put(text)
        return
    try:
        if output.is_file() and output.read_text(encoding="utf-8") != text:
            raise SettingsError(
                f"{output}: there is a file with other settings",
                hint="choose another name, or remove it first",
            )
        output.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{output}: can't be written ({err})", hint="check the path") from err
