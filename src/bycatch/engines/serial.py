"""One item after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from bycatch.engines.base import LostTask, on_cores

T = TypeVar("T")
R = TypeVar("R")


class Serial:
    """One item after the other, in this process; an item is started when its result is requested.

    Parameters
    ----------
    n_cores : for the kernels; None: all
    """

    def __init__(self, n_cores: int | None = None) -> None:
        self.n_cores = n_cores

    def work(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | LostTask]]:
        """Yield the results in the order of the items; none can be lost."""
        for index, item in enumerate(items):
            # The limit of cores is for the function, not for who reads the results.
            yield index, on_cores(self.n_cores, function, item)

    def close(self) -> None:
        """Nothing is kept."""
