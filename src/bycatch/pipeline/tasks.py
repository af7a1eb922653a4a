"""Tasks on an engine: what is lost or locked is tried once more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from bycatch.engines import Executor, LostTask
from bycatch.pipeline.group import GroupJob
from bycatch.pipeline.jobs import FieldJob

logger = logging.getLogger("bycatch")


class Result(Protocol):
    """What a task returns."""

    @property
    def holder(self) -> str:
        """The process that has the task's lock; empty if the task was done."""


J = TypeVar("J", FieldJob, GroupJob)
R = TypeVar("R", bound=Result)


def run_tasks(
    executor: Executor,
    task: Callable[[J], R],
    jobs: Sequence[J],
    loss: Callable[[J, str], R],
) -> Iterator[R]:
    """Yield the results of fields or groups in the order in which they finish.

    A task whose worker died is tried once more: alone if memory may be the cause.  A task whose
    lock another process holds waits for it, after all others are done.

    Parameters
    ----------
    task : does a job, on any worker
    loss : makes the result of a job whose worker died twice, for a reason
    """
    together: list[J] = []
    alone: list[J] = []
    busy: list[J] = []
    for number, result in executor.work(task, jobs):
        job = jobs[number]
        if isinstance(result, LostTask):
            logger.warning("%s: %s; it is tried once more", job.title, result.reason)
            (alone if result.may_be_memory else together).append(replace(job, waits=True))
        elif result.holder:
            logger.warning("%s: skipped for now, in use by %s", job.title, result.holder)
            busy.append(replace(job, waits=True))
        else:
            yield result
    batches: list[list[J]] = [together]
    batches += [[job] for job in alone]
    batches.append(busy)
    for batch in filter(None, batches):
        for number, result in executor.work(task, batch):
            if isinstance(result, LostTask):
                again = "" if batch is busy else "its worker died twice: "
                yield loss(batch[number], again + result.reason)
            else:
                yield result
