"""The commands, and how each of them can end."""

from __future__ import annotations

import io
import os
import traceback
from typing import Annotated

import typer

from bycatch.cli import commands, fetching, steps, surveys
from bycatch.cli.console import complain, say, tell
from bycatch.cli.signals import watch
from bycatch.cli.status import DONE, SOME_LOST, WRONG_USAGE
from bycatch.errors import DETAILS, TRACEBACK, SettingsError, is_expected, reason
from bycatch.version import __version__

app = typer.Typer(
    name="bycatch",
    help="Photometry catalogs from HST/ACS parallel fields: drizzled images in, catalogs out.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS = (
    fetching.fetch, steps.run, steps.sort, steps.detect, steps.crmask, steps.align, steps.measure,
    steps.finalize, steps.objects, steps.inject, commands.simulate, commands.assess,
    commands.inspect, commands.status, commands.summarize, commands.report, commands.export,
    commands.compare, commands.explain, commands.config, surveys.query, surveys.publish,
    surveys.view,
)  # fmt: skip
"""In the order of the help."""

for _command in COMMANDS:
    app.command()(_command)
app.add_typer(surveys.survey, name="survey")

UsageError = typer.BadParameter.__bases__[0]
"""What click raises; typer brings a click of its own, or imports it."""


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        say(f"bycatch {__version__}")
        raise typer.Exit


def execute() -> int:
    """Execute the command line and return the exit status."""
    try:
        return app(prog_name="bycatch", standalone_mode=False) or DONE
    except SettingsError as err:
        complain(str(err))
        return WRONG_USAGE
    except Exception as err:  # whatever it is, it is one line  # noqa: BLE001
        watch.check()  # libraries make other errors of a signal that comes in between
        if isinstance(err, UsageError):
            return _print_usage_error(err)
        if os.environ.get(TRACEBACK) and not is_expected(err):
            for line in traceback.format_exc().splitlines():
                tell(line)
        complain(reason(err, details=DETAILS))
        return SOME_LOST


def _print_usage_error(err: Exception) -> int:
    """Print what is wrong with a command line, or its help if it is empty."""
    text = io.StringIO()
    err.show(text)  # type: ignore[attr-defined]
    for line in text.getvalue().splitlines():
        tell(line)
    return WRONG_USAGE
