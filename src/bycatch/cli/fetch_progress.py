"""Progress of a fetch on the terminal: files, bytes, rate and remaining time."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bycatch.archive.model import in_mb
from bycatch.archive.tally import Tally
from bycatch.cli.console import stderr
from bycatch.cli.progress import in_words

logger = logging.getLogger("bycatch")

REFRESH_S = 0.5
SAY_EVERY_S = 30.0
"""In a pipe, a line after so long."""


class FetchProgress:
    """A bar on a terminal, a line now and then in a pipe; a context.

    Parameters
    ----------
    tally : of the fetch
    quiet : show nothing
    plain : lines on a terminal, too: another bar is there
    """

    def __init__(self, tally: Tally, *, quiet: bool = False, plain: bool = False) -> None:
        self.tally = tally
        self.plain = plain or not stderr.is_terminal
        self._over = threading.Event()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(16),
            TextColumn("{task.fields[pace]}", markup=False),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
            disable=quiet or self.plain,
        )
        self._thread = None if quiet else threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> FetchProgress:
        self._bar.start()
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._bar.stop()

    def _follow(self) -> None:
        """Show the progress until the fetch ends."""
        task = self._bar.add_task("asking the archive", total=1.0, pace="")
        if self.plain:
            while not self._over.wait(SAY_EVERY_S):
                if self.tally.n_over < self.tally.n_files:
                    logger.info("%s; %s", files_in_words(self.tally), pace_in_words(self.tally))
            return
        while not self._over.wait(REFRESH_S):
            if self.tally.n_files:
                self._bar.update(
                    task,
                    completed=self.tally.share,
                    description=files_in_words(self.tally),
                    pace=pace_in_words(self.tally),
                )


def files_in_words(tally: Tally) -> str:
    """Return how many files are finished."""
    failures = f", {tally.n_lost} failed" if tally.n_lost else ""
    return f"{tally.n_over} of {tally.n_files} files{failures}"


def pace_in_words(tally: Tally) -> str:
    """Return bytes downloaded, rate and remaining time."""
    came, seconds_left = (
        f"{in_mb(tally.n_came)} of {in_mb(max(tally.n_bytes, 0))} MB",
        tally.seconds_left,
    )
    if seconds_left is None:
        return came
    return f"{came}, {in_mb(round(tally.bytes_per_s))} MB/s, {in_words(seconds_left)} left"
