"""How work is distributed: in this process, in parallel processes, or on a Dask cluster.

Work items are small and picklable (paths and settings), results come as they are finished, and
the work does not depend on which engine does it.  A process that dies costs its own task, in whose
place there is a `LostTask`; whether to do that once more is for the caller to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from bycatch.engines.base import Executor, LostTask
from bycatch.engines.dask import Dask
from bycatch.engines.processes import Processes
from bycatch.engines.serial import Serial
from bycatch.errors import SettingsError
from bycatch.kernels import threads

__all__ = ["Dask", "Executor", "LostTask", "Processes", "Serial", "executor_of"]

NAMES = ("serial", "processes", "dask")


def executor_of(
    engine: object = None,
    n_workers: int | None = None,
    prepare: Callable[[], object] | None = None,
) -> Executor:
    """Return the executor that does the work.

    Parameters
    ----------
    engine : one of `NAMES`; the address of a Dask scheduler (``tcp://host:8786``); a Dask client or
        cluster; an object with the methods of `Executor`; None: processes for several workers,
        else serial
    n_workers : how many items at once, and cores of this machine; None: as many as it has, of
        which the serial engine gives all to one item
    prepare : called by each process before its first item

    Raises
    ------
    SettingsError
        It is none of these, or Dask is not there.
    """
    if engine is None:
        engine = "processes" if n_workers is not None and n_workers > 1 else "serial"
    if engine == "serial":
        return Serial(n_workers)
    if engine == "processes":
        return Processes(n_workers or threads.n_cores(), prepare)
    if engine == "dask":
        return Dask(None, n_workers, prepare)
    if isinstance(engine, str) and "://" in engine:
        return Dask(engine, n_workers, prepare)
    if _is_of_dask(engine):
        return Dask(engine, n_workers, prepare)
    if callable(getattr(engine, "work", None)) and callable(getattr(engine, "close", None)):
        return cast("Executor", engine)
    names = ", ".join(map(repr, NAMES))
    raise SettingsError(
        f"{engine!r} is not an engine",
        hint=f"use {names}, or the address of a Dask scheduler, such as 'tcp://host:8786'",
    )


def _is_of_dask(engine: object) -> bool:
    """Recognize a client or a cluster by its methods, without loading Dask."""
    return hasattr(engine, "scheduler_address") or hasattr(engine, "scheduler_info")
