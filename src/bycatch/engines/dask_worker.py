"""The part of `bycatch.engines.dask` that runs in a Dask worker."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
from distributed import Worker, WorkerPlugin

from bycatch.engines import records, signals
from bycatch.engines.worker import Failure, Message
from bycatch.kernels import threads
from bycatch.system import memory


@dataclass(frozen=True)
class Job:
    """What all tasks of one `work` have in common.

    Attributes
    ----------
    function : applied to each item
    prepare : called once by each process
    engine : name of the engine, and of the topic of its log records
    level : from which on records are wanted
    n_cores : for the kernels of each task; None: the machine's, shared with its other tasks
    """

    function: Callable[[Any], Any]
    prepare: Callable[[], object] | None
    engine: str
    level: int
    n_cores: int | None


class Line:
    """The way of this process's log records, which go to the engine whose task it does."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.topic = ""

    def send(self, record: logging.LogRecord) -> None:
        """Send a record, before the result of the task."""
        self._worker.log_event(self.topic, pickle.dumps(record))


class Welcome(WorkerPlugin):  # type: ignore[misc]
    """Makes a worker's process fit for the package's work, whenever the worker joins.

    Parameters
    ----------
    name : of the plugin
    is_ours : whether the process is there for this work alone
    """

    def __init__(self, name: str, *, is_ours: bool) -> None:
        self.name = name
        self.is_ours = is_ours
        self.home = _this_process()

    def setup(self, worker: Worker) -> None:
        """Prepare the process of a worker."""
        global _line  # noqa: PLW0603, a process has one logger
        if self.home == _this_process():
            return  # threads of the process that began the work: its handlers are here
        memory.search_garbage_rarely()
        if self.is_ours and threading.current_thread() is threading.main_thread():
            signals.leave_terminal()
        if _line is None:
            _line = Line(worker)
            records.log_only_to(records.Courier(_line.send))


_line: Line | None = None
_prepared: set[str] = set()
_lock = threading.Lock()


def do(job: bytes, item: bytes, n_tasks_here: int) -> bytes:
    """Return the pickled result of an item, or the `Failure` that it is.

    ``n_tasks_here`` may be done at once on this machine.

    Pickled here and there by ourselves: a tuple that holds a function is a task for Dask, and what
    can't be pickled is an error of the work, not of the cluster.
    """
    try:
        todo: Job = pickle.loads(job)  # noqa: S301, who can submit tasks can run anything
        result = _run_task(todo, pickle.loads(item), n_tasks_here)  # noqa: S301
        message: bytes = cloudpickle.dumps((Message.RESULT, result))
    except BaseException as err:  # noqa: BLE001, it is raised where the work was started
        return pickle.dumps((Message.ERROR, Failure.of(err)))
    return message


def _run_task(job: Job, item: Any, n_tasks_here: int) -> Any:
    if _line is not None:
        _line.topic = job.engine
        records.set_level(job.level)
        threads.limit_threads(job.n_cores or threads.n_cores() // n_tasks_here)
    with _lock:
        # Not when the worker joins: if that kills it, Dask begins it again for ever.
        if job.prepare is not None and job.engine not in _prepared:
            job.prepare()
            _prepared.add(job.engine)
    return job.function(item)


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
