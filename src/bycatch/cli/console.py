"""The one way to print: untrusted text without control characters, and no loss without a reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from textwrap import wrap
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from bycatch.system.words import printable

HEADING_WIDTH = 8
"""Letters after which the heading of a column of numbers goes on in a new line."""


def silence(stream: Any) -> None:
    """Discard the buffer of a stream and everything written to it from now on."""
    with suppress(OSError, ValueError, AttributeError):  # no file behind it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Outlet:
    """Standard output or error, whichever stream that is now.

    A reader that goes away, or a full disk, costs what is printed and nothing else.

    Attributes
    ----------
    problem : why something could not be printed; '' also where the reader has had enough
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem = ""

    def _stream(self) -> Any:
        stream = getattr(sys, self.name)
        # rich puts its own in place of the standard streams while it shows a bar.
        return getattr(stream, "rich_proxied_file", stream)

    @property
    def encoding(self) -> str:
        """Encoding of the stream: rich chooses the lines of tables by it."""
        return getattr(self._stream(), "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return bool(self._try(lambda stream: stream.isatty()))

    def fileno(self) -> int:
        """Return the number of the stream's file."""
        return int(self._stream().fileno())

    def write(self, text: str) -> int:
        """Write text, if the stream still has a reader."""
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what waits in the buffer."""
        self._try(lambda stream: stream.flush())

    def _try(self, action: Callable[[IO[str]], Any]) -> Any:
        stream = self._stream()
        if stream is None:  # closed before the command began
            return None
        try:
            return action(stream)
        except (OSError, ValueError) as err:  # ValueError: it is closed
            if isinstance(err, OSError) and not isinstance(err, BrokenPipeError):
                self.problem = str(err)
            silence(stream)
            return None


def _console(outlet: Outlet) -> Console:
    file: Any = outlet
    return Console(
        file=file, stderr=outlet.name == "stderr", markup=False, emoji=False, highlight=False
    )


OUT, ERR = Outlet("stdout"), Outlet("stderr")
stdout, stderr = _console(OUT), _console(ERR)


def prepare() -> None:
    """Make the standard streams ready for any character, and for a start without one of them.

    A file that is opened later must not get the number of a closed stream: libraries would print
    into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        stream = getattr(sys, name)
        if stream is not None and number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    OUT.problem = ERR.problem = ""


def flush_output() -> int:
    """Flush the output; return 1 if some results could not be printed, else 0."""
    OUT.flush()
    if OUT.problem:
        complain(f"the output is incomplete: {OUT.problem}")
    ERR.flush()
    return int(bool(OUT.problem))


def say(text: str, style: str = "") -> None:
    """Print a line of results."""
    stdout.print(Text(printable(text), style), soft_wrap=True)


def tell(text: str, style: str = "") -> None:
    """Print a line about the progress of the work to standard error."""
    stderr.print(Text(printable(text), style), soft_wrap=True)


def complain(text: str, style: str = "red") -> None:
    """Print the reason why the command ends."""
    tell(f"bycatch: {text}", style)


def busy(text: str) -> AbstractContextManager[Any]:
    """Show on a terminal that work is in progress."""
    return stderr.status(Text(text))


def put(text: str) -> None:
    """Print text of our own as it is, such as a file of settings."""
    OUT.write(text)
    OUT.flush()


class Rows:
    """A table that fits 80 columns, with left- and right-aligned columns."""

    def __init__(self, left: Sequence[str], right: Sequence[str]) -> None:
        from rich import box
        from rich.table import Table

        self._table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
        for name in left:
            self._table.add_column(Text(printable(name)), overflow="fold")
        for name in right:
            heading = "\n".join(wrap(printable(name), HEADING_WIDTH, break_long_words=False))
            self._table.add_column(Text(heading), justify="right", no_wrap=True)

    def add(self, *cells: str, styles: dict[str, str] | None = None) -> None:
        """Add a row; ``styles`` gives the colour of certain words."""
        style_of = styles or {}
        self._table.add_row(*(Text(printable(cell), style_of.get(cell, "")) for cell in cells))

    def show(self) -> None:
        """Print the table, its columns closer together where it would not fit otherwise."""
        from rich.measure import Measurement

        free = stdout.options.update(max_width=999)
        if Measurement.get(stdout, free, self._table).maximum > stdout.width:
            self._table.padding, self._table.show_edge = 0, False
        stdout.print(self._table)
