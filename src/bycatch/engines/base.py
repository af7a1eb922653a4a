"""The interface of all engines, and the result of a task whose process died."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bycatch.kernels import threads
from bycatch.system import memory

NO_MEMORY = 112
"""Exit status of a worker that could not hold a task or its result."""

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Does one piece of work for each of many items, here or elsewhere."""

    def work(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | LostTask]]:
        """Yield the index of an item and its result, in the order in which they are finished.

        Work goes on while the caller asks for results; a caller that stops asking stops the work.

        Parameters
        ----------
        function, items : picklable, small; a function that raises ends all work with its error
        """
        ...

    def close(self) -> None:
        """Free what the work needed; a later `work` starts again."""
        ...


@dataclass(frozen=True)
class LostTask:
    """Stands for the result of a task whose process died.

    Attributes
    ----------
    reason : how it died, in words
    may_be_memory : whether the system may have killed it for lack of memory
    """

    reason: str
    may_be_memory: bool


def lost_task(exit_status: int | None, n_killed_before: int | None) -> LostTask:
    """Return the reason why a process of this machine died, as far as known.

    Parameters
    ----------
    exit_status : negative for the number of a signal; None if the system does not say
    n_killed_before : `memory.n_killed` when the task began
    """
    if exit_status is None:
        return LostTask("its worker process is gone", lacked_memory(n_killed_before))
    if exit_status == NO_MEMORY:
        return LostTask("its worker process ran out of memory", may_be_memory=True)
    if exit_status >= 0:
        return LostTask(
            f"its worker process ended with exit status {exit_status}", may_be_memory=False
        )
    number = -exit_status
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:  # one of the numbers without a name
        name = ""
    # The kernel ends processes by SIGKILL, which Windows does not know.
    by_kernel = number == getattr(signal, "SIGKILL", None) and lacked_memory(n_killed_before)
    return LostTask(f"its worker process was killed by signal {number}{name}", by_kernel)


def lacked_memory(n_killed_before: int | None) -> bool:
    """Tell whether the kernel has killed a process since then, or may have."""
    now = memory.n_killed()
    return now is None or n_killed_before is None or now > n_killed_before


def on_cores(n_cores: int | None, function: Callable[[T], R], item: T) -> R:
    """Return the result of an item, on so many cores at most."""
    with threads.at_most(n_cores):
        return function(item)


def cores_per_task(n_cores: int, n_items: int) -> int:
    """Return how many of the cores each task has for its kernels, when there are fewer tasks."""
    return n_cores // min(n_cores, max(n_items, 1))


def with_origin(err: BaseException, where: str) -> BaseException:
    """Return an error with a note that says where in a worker it was raised."""
    err.add_note(f"raised in a worker process:\n{where.rstrip()}")
    return err


def origin_of(err: BaseException) -> str:
    """Return the traceback of an error as text."""
    return "".join(traceback.format_exception(err))
