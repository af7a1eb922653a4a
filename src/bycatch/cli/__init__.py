"""The command line: parsing, printing and exiting; everything else is elsewhere.

Of the package only `main` is for others.  What it needs is imported once signals are watched:
Ctrl-C is understood from the first moment.
"""

from __future__ import annotations

import sys

from bycatch.cli.signals import Stopped, watch


def main() -> None:
    """Run the command line; every outcome has its exit status."""
    with watch:
        try:
            status = _status()
        except Stopped as stop:
            status = _status_of(stop)
    sys.exit(status)


def _status() -> int:
    """Do the command and return its exit status."""
    from bycatch.cli import console
    from bycatch.system import blas, memory

    console.prepare()
    blas.use_one_thread()
    memory.search_garbage_rarely()
    from bycatch.cli.app import execute

    status = execute()
    return console.flush_output() or status


def _status_of(stop: Stopped) -> int:
    from bycatch.cli import console

    text = "interrupted; finished work is kept, and the next run continues from there"
    console.complain(text, "yellow")
    console.flush_output()
    return stop.status
