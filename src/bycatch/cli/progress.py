"""Progress of a run on the terminal: what is done, what is running, and the remaining time.

The pipeline logs; its records carry what happened (``sizes_mb`` and ``steps`` when it begins, then
``at_work`` with ``step_over`` or ``lost``), and this module makes a display of them: on a
terminal a bar with a line per image at work, in a pipe plain lines.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from bycatch.system.words import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

logger = logging.getLogger("bycatch")

SECONDS_PER_MB = {
    "detect": 0.009,
    "crmask": 0.011,
    "align": 0.002,
    "measure": 0.006,
    "finalize": 0.002,
    "inject": 0.25,
}
"""Seconds of a step per MB of its file on a common machine (docs/speed_tables.md): the expectation
before anything is done, and how the steps share the time of an image."""
START_SECONDS = 0.4
"""Seconds of a step for the smallest file."""
TRUST_SECONDS = 3.0
"""After so many seconds of work its pace counts as much as what was expected."""


@dataclass
class Workload:
    """What is to be done, what is done, and what is running.

    Attributes
    ----------
    pending : expected seconds of what is not over, by image and step
    at_work : step and starting time by what works: an image, or a field while it is aligned
    """

    pending: dict[tuple[str, str], float]
    at_work: dict[str, tuple[str, float]] = field(default_factory=dict)
    n_workers: int = 1
    worked_s: float = 0.0
    expected_s: float = 0.0

    def __post_init__(self) -> None:
        self.steps = dict.fromkeys(step for _, step in self.pending)
        self.n_steps, self.total_s = len(self.pending), sum(self.pending.values())
        self.left = Counter(image for image, _ in self.pending)
        """Steps that are not over, by image: looking through all of them takes long for many."""
        self.n_images = len(self.left)
        self.left_s = self.total_s

    @classmethod
    def of(cls, sizes_mb: Mapping[str, float], steps: Iterable[str]) -> Workload:
        """Return the work of some steps on images of some sizes."""
        steps = tuple(steps)
        return cls(
            {
                (image, step): START_SECONDS + SECONDS_PER_MB.get(step, 0.01) * size
                for image, size in sizes_mb.items()
                for step in steps
            }
        )

    @property
    def n_over(self) -> int:
        """Number of steps done or lost."""
        return self.n_steps - len(self.pending)

    @property
    def n_images_over(self) -> int:
        """Number of finished images."""
        return self.n_images - len(self.left)

    @property
    def share(self) -> float:
        """Fraction of the work that is finished."""
        return 1.0 - self.left_s / self.total_s if self.total_s else 1.0

    def begin(self, name: str, step: str, now_s: float) -> None:
        """Record that a step begins on an image or a field."""
        self.at_work[name] = (step, now_s)
        self.n_workers = max(self.n_workers, len(self.at_work))

    def end(self, image: str, step: str, seconds: float | None) -> None:
        """Record that a step of an image is finished; without seconds nothing had to be done."""
        self._rest(image)
        expected = self._over(image, step)
        if seconds is not None:
            self.worked_s += seconds
            self.expected_s += expected

    def lose(self, image: str) -> None:
        """Record that nothing more will be done on an image."""
        self._rest(image)
        for step in self.steps:
            self._over(image, step)

    def _over(self, image: str, step: str) -> float:
        """Remove a step; return the seconds expected for it."""
        if (image, step) not in self.pending:
            return 0.0
        expected = self.pending.pop((image, step))
        self.left_s = max(self.left_s - expected, 0.0) if self.pending else 0.0
        self.left[image] -= 1
        if not self.left[image]:
            del self.left[image]
        return expected

    def _rest(self, image: str) -> None:
        self.at_work.pop(image, None)
        self.at_work.pop(image.split("/", maxsplit=1)[0], None)  # its field, that was aligned

    def seconds_left(self, now_s: float) -> float:
        """Return the remaining time, from the rate so far."""
        pace = (TRUST_SECONDS + self.worked_s) / (TRUST_SECONDS + self.expected_s)
        seconds = self.left_s * pace
        for image, (step, since_s) in self.at_work.items():
            expected = self.pending.get((image, step), 0.0) * pace
            seconds -= min(now_s - since_s, 0.9 * expected)
        return seconds / max(min(self.n_workers, len(self.left)), 1)


def in_words(seconds: float) -> str:
    """Return an estimated time without meaningless digits."""
    if seconds < 10:
        return "some seconds"
    if seconds < 95:
        return f"about {5 * round(seconds / 5) if seconds < 30 else 10 * round(seconds / 10)} s"
    minutes = max(round(seconds / 60), 2)
    if minutes < 90:
        return f"about {minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"about {hours} h {minutes} min"


def images_in_words(work: Workload) -> str:
    """Return how many images are done."""
    return f"{work.n_images_over} of {work.n_images} image{'s' if work.n_images != 1 else ''}"


class RunProgress(Progress):
    """A bar for the whole run, and below it what is at work: field, image, step, seconds."""

    def __init__(
        self,
        console: Console,
        *,
        disable: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workload: Workload | None = None
        self.clock = clock
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(16),
            TextColumn("{task.fields[steps]}", markup=False),
            TimeElapsedColumn(),
            _TimeLeft(self),
            console=console,
            transient=True,
            disable=disable,
            get_time=clock,
        )

    def begin(self, workload: Workload) -> None:
        """Show a bar for some work."""
        self.workload = workload
        for task in self.task_ids:
            self.remove_task(task)
        self.add_task(total=1.0, **_bar_fields(workload))

    def show(self) -> None:
        """Show the progress."""
        if self.workload is not None:
            self.update(self.task_ids[0], **_bar_fields(self.workload))

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the lines of the display."""
        yield from super().get_renderables()
        now_s = self.clock()
        for name, (step, since_s) in sorted(self.workload.at_work.items() if self.workload else ()):
            text = f"  {name}: {step}, {now_s - since_s:.0f} s"
            yield Text(printable(text), overflow="ellipsis")


def _bar_fields(work: Workload) -> dict[str, Any]:
    """Return what the bar shows."""
    return {
        "completed": work.share,
        "description": images_in_words(work),
        "steps": f"{work.n_over}/{work.n_steps} steps",
    }


class _TimeLeft(ProgressColumn):
    """How long it will take, in words."""

    max_refresh = 0.5

    def __init__(self, progress: RunProgress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, _: Task) -> Text:
        work = self.progress.workload
        if work is None or not work.pending:
            return Text("")
        return Text(f"{in_words(work.seconds_left(self.progress.clock()))} left")


class ProgressHandler(logging.Handler):
    """Follows the work through the log; in a pipe, prints a line after each image."""

    def __init__(self, progress: RunProgress, *, plain: bool) -> None:
        super().__init__()
        self.progress = progress
        self.plain = plain

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a log record."""
        sizes_mb = getattr(record, "sizes_mb", None)
        if sizes_mb is not None:
            self.progress.begin(Workload.of(sizes_mb, record.__dict__["steps"]))
        work, at_work = self.progress.workload, getattr(record, "at_work", None)
        if work is None or at_work is None:
            return
        before = work.n_images_over
        name, step = at_work
        if getattr(record, "lost", False):
            work.lose(name)
        elif getattr(record, "step_over", False):
            work.end(name, step, getattr(record, "seconds", None))
        else:
            work.begin(name, step, self.progress.clock())
        self.progress.show()
        if self.plain and before < work.n_images_over < work.n_images:
            time_left = in_words(work.seconds_left(self.progress.clock()))
            logger.info("%s done, %s left", images_in_words(work), time_left)
