"""Options shared by several commands, and the settings and files that they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bycatch.engines import Executor
    from bycatch.pipeline import Inputs
    from bycatch.settings import Settings

MOST_JOBS = 512
"""More processes than a machine has cores, and than one can start."""


def some_path(text: str) -> Path:
    """Return a path; '' is not one, though Python takes it for the current folder."""
    if not text:
        raise typer.BadParameter("an empty path")
    return Path(text)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", parser=some_path, metavar="FILE.toml", help="Settings from a TOML file."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as detect.n_pixels=60."),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="[classic|deep|crowded]", help="Set of defaults."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        min=1,
        max=MOST_JOBS,
        metavar="N",
        help="Fields reduced in parallel; a single field uses N threads.",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", metavar="[serial|processes|dask]", help="How fields are distributed."),
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="A dask scheduler, tcp://host:8786."),
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Every N-th field only, for array jobs."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print problems only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more.")]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="PATH",
        parser=some_path,
        help="Where the log goes; OUT/bycatch.log by default.",
    ),
]
Gaia = Annotated[
    Path | None,
    typer.Option("--gaia", parser=some_path, metavar="FILE", help="Gaia stars from a table."),
]
Sources = Annotated[
    Path | None,
    typer.Option(
        "--sources",
        parser=some_path,
        metavar="FILE",
        help="Measure these positions (x, y or ra, dec).",
    ),
]
SourcesImage = Annotated[
    str | None,
    typer.Option("--sources-image", metavar="ROOT", help="The image that x, y refer to."),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        "--exclude", parser=some_path, metavar="FILE.reg", help="ds9 regions to leave out."
    ),
]
Wht = Annotated[
    Path | None,
    typer.Option("--wht", parser=some_path, metavar="FILE", help="The weight image, if separate."),
]
FieldName = Annotated[
    str | None, typer.Option("--field", metavar="NAME", help="Field name for all files.")
]
Mode = Annotated[
    str | None, typer.Option("--mode", metavar="[link|copy|move]", help="How files are placed.")
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--formats",
        metavar="NAMES",
        help="Also write catalogs as fits, csv, parquet, votable (commas).",
    ),
]
WriteWcs = Annotated[
    bool, typer.Option("--write-wcs", help="Write copies of the images with the aligned WCS.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Use reference stars of earlier runs only.")
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Print time and peak memory of each step.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")]
Paths = Annotated[
    list[Path],
    typer.Argument(parser=some_path, metavar="PATHS", help="drc files, or folders to search."),
]
Out = Annotated[
    Path, typer.Option("-o", "--out", parser=some_path, metavar="OUT", help="Output folder.")
]
OutArgument = Annotated[
    Path, typer.Argument(parser=some_path, metavar="OUT", help="Output folder of a run.")
]


def settings_of(
    config: Path | None = None,
    assignments: Iterable[str] = (),
    preset: str | None = None,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings; imported late, as --help needs none and should come at once."""
    from bycatch.settings import Settings

    return Settings.load(config, assignments, preset, base)


def inputs_of(
    gaia: Path | None = None,
    sources: Path | None = None,
    exclude: Path | None = None,
    wht: Path | None = None,
    sources_image: str | None = None,
) -> Inputs:
    """Return the user's files other than images."""
    from bycatch.pipeline import Inputs

    return Inputs(gaia, sources, exclude, wht, sources_image)


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Return number and count of a shard."""
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise typer.BadParameter(f"--shard {text}: such as 3/12")
    return int(number), int(count)


def engine_of(engine: str | None, jobs: int | None, scheduler: str | None) -> Executor | None:
    """Return the executor that the options select; None leaves it to the number of jobs."""
    if engine is None and scheduler is None:
        return None
    if scheduler is not None and engine not in {None, "dask"}:
        raise typer.BadParameter(f"--engine {engine}: --scheduler needs --engine dask")
    from bycatch.engines import executor_of
    from bycatch.pipeline.field import prepare_worker

    return executor_of(scheduler or engine, jobs, prepare_worker)


def shortcuts(
    *, write_wcs: bool = False, offline: bool = False, **options: str | None
) -> list[str]:
    """Return the options that are shortcuts for settings, as assignments."""
    names = {"field": "sort.field", "mode": "sort.mode", "formats": "output.formats"}
    out = ["output.write_wcs=true"] if write_wcs else []
    out += ["align.offline=true"] if offline else []
    for option, value in options.items():
        if value is not None:
            text = value if option != "formats" else str([v.strip() for v in value.split(",")])
            out.append(f"{names[option]}={text}")
    return out
