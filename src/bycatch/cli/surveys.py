"""The commands that build, query and publish a survey, and view objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bycatch.cli.console import say
from bycatch.cli.options import Engine, Quiet, Scheduler, Verbose, Workers, engine_of, some_path
from bycatch.cli.printing import print_answer
from bycatch.cli.session import log_look

survey = typer.Typer(
    help="Make one catalog of the sky from output folders.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SurveyArgument = Annotated[
    Path, typer.Argument(parser=some_path, metavar="SURVEY", help="Folder of a survey.")
]


@survey.command()
def build(
    outs: Annotated[
        list[Path],
        typer.Argument(parser=some_path, metavar="OUT", help="Output folders with objects."),
    ],
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", parser=some_path, metavar="SURVEY", help="Where it goes."),
    ],
    jobs: Workers = None,
    engine: Engine = None,
    scheduler: Scheduler = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Most rows in a partition.")] = 500_000,
    margin: Annotated[
        float, typer.Option("--margin", help="Margin around a partition, arcsec; at most 20.")
    ] = 5.0,
    only: Annotated[
        bool, typer.Option("--only", help="Remove the objects of all other folders.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build a survey from the objects of output folders, or update one."""
    from bycatch.survey.build import build_survey

    with log_look(verbose=verbose and not quiet):
        result = build_survey(
            outs, folder, most_rows=rows, margin_arcsec=margin, only=only, workers=jobs,
            executor=engine_of(engine, jobs, scheduler),
        )  # fmt: skip
    if quiet:
        return
    numbers = result.notes.summary
    what = (
        f"{len(result.taken)} group(s) new or changed, {len(result.gone)} removed"
        if result.is_new
        else "up to date"
    )
    say(
        f"{result.path}: {what}; {numbers['n_objects']} objects in {numbers['n_images']} images, "
        f"{result.n_made} partition(s) made, {result.n_kept} kept"
    )
    say(f"look at {result.path / 'index.html'}")


def query(
    path: SurveyArgument,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A SELECT.")] = "",
    cone: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--cone", metavar="RA DEC RADIUS", help="Objects within: deg, deg, arcsec."),
    ] = None,
    light_curve: Annotated[
        int | None,
        typer.Option("--light-curve", metavar="OBJECT_ID", help="An object in all its images."),
    ] = None,
    match: Annotated[
        Path | None,
        typer.Option(
            "--match", parser=some_path, metavar="FILE", help="Objects near listed positions."
        ),
    ] = None,
    radius: Annotated[float, typer.Option("--radius", help="Radius of --match, arcsec.")] = 0.5,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=some_path, metavar="FILE",
            help="Write all rows: .ecsv, .fits, .csv, .parquet, .vot.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Query a survey with SQL, a position or a list of positions."""
    if sum(value is not None for value in (sql or None, cone, light_curve, match)) != 1:
        raise typer.BadParameter("give one of SQL, --cone, --light-curve, --match")
    from bycatch.survey.ask import ask

    with log_look():
        table = ask(
            path, sql=sql, cone=cone, light_curve=light_curve, match=match, radius_arcsec=radius,
            output=output,
        )  # fmt: skip
    if output is not None:
        say(f"{len(table)} row(s) in {output}")
        return
    print_answer(table)


def publish(
    path: Annotated[
        Path,
        typer.Argument(parser=some_path, metavar="SURVEY|OUT", help="A survey, or an OUT."),
    ],
    kind: Annotated[
        str, typer.Option("--as", metavar="hlsp|cds|votable", help="Format of the archive or "
        "journal.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=some_path, metavar="PATH",
            help="Where it goes.  [default: <SURVEY>_<kind>]",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the target or field in file names.")
    ] = "",
    project: Annotated[
        str, typer.Option("--project", help="Identifier of the collection, for hlsp.")
    ] = "bycatch",
    version: Annotated[str, typer.Option("--release", help="Version of the release.")] = "v1.0",
    everything: Annotated[
        bool, typer.Option("--all", help="Also objects with p_real below 0.5, and duplicates.")
    ] = False,
) -> None:  # fmt: skip
    """Write the tables for MAST, CDS or the Virtual Observatory."""
    from bycatch.survey.publish import publish_survey
    from bycatch.survey.release import Release

    with log_look():
        release = Release(name=name, project=project, version=version, everything=everything)
        for file in publish_survey(path, kind, folder, release):
            say(str(file))


def view(
    out: Annotated[
        Path, typer.Argument(parser=some_path, metavar="OUT", help="Output folder of a run.")
    ],
    group: Annotated[
        str, typer.Argument(metavar="GROUP", help="Name of a group; the first by default.")
    ] = "",
    samp: Annotated[
        bool,
        typer.Option("--samp", help="Send table and image to TOPCAT, Aladin or ds9 (SAMP)."),
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Write the objects as ds9 regions only.")
    ] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Show the objects over their image, or send them by SAMP."""
    from bycatch.survey.view import send_group, view_group, write_regions

    with log_look(out):
        if samp:
            for line in send_group(out, group):
                say(line)
            return
        if regions:
            say(str(write_regions(out, group)))
            return
        page = view_group(out, group)
        say(str(page))
        if browser:
            import webbrowser

            webbrowser.open(page.absolute().as_uri())
