"""Parallel processes of this machine, each with its own pipe."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from bycatch.engines import records, signals
from bycatch.engines.base import LostTask, cores_per_task, lost_task, with_origin
from bycatch.engines.worker import Failure, Message, Task, serve
from bycatch.errors import BycatchError
from bycatch.system import memory

POLITE_S, PATIENCE_S = 5.0, 2.0
"""How long a worker has to end by itself, and then after each signal."""
LOOK_S = 1.0
"""How often we look whether workers live, which their pipes do not show if others hold them."""
MOST_FAILED_STARTS = 40
"""So many workers in a row that end before their first task: no further one is started."""
START_HINT = (
    "a script that starts processes must do its work below 'if __name__ == \"__main__\":'; "
    "else try -j 1"
)

T = TypeVar("T")
R = TypeVar("R")


class Processes:
    """Items in parallel processes; what they log arrives here, in this process's handlers.

    Not `concurrent.futures`, which loses the tasks of all workers when one dies; and not a
    `multiprocessing.Queue`, whose lock all processes share: a worker that is killed while it
    holds it stops the others and the parent for ever.  Here each worker has a pipe of its own, on
    which it gets one task at a time and sends its result and what it logs; its death costs nothing
    but that task, and another worker takes its place.

    Workers are started when there is work, and kept for the next `work`: each needs seconds to
    import.  They end with this process, however that ends, and can't start processes of
    `multiprocessing` themselves.  Records are handled, and further tasks handed out, while the
    caller waits for a result.

    Parameters
    ----------
    n_workers : how many processes, and cores
    prepare : called by each worker before its first task, picklable; what it raises ends the work
    """

    def __init__(self, n_workers: int, prepare: Callable[[], object] | None = None) -> None:
        self.n_workers = max(n_workers, 1)
        self.prepare = prepare
        self._workers: list[_Worker] = []
        self._failed_starts: list[str] = []
        self._waiting: deque[int] = deque()
        self._returned: set[int] = set()

    def work(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | LostTask]]:
        """Yield the index of an item and its result, in the order in which they are finished.

        Raises
        ------
        BycatchError
            Workers end before they begin to work.
        RuntimeError
            The results of an earlier call are still being read.
        Exception
            What ``function`` or ``prepare`` raises, or pickling what goes from process to process.
        """
        if any(worker.is_busy for worker in self._workers):
            raise RuntimeError("this engine is busy: read or close its results first")
        n_cores = cores_per_task(self.n_workers, len(items))
        answers: list[tuple[int, Any]] = []
        self._waiting, self._returned, self._failed_starts = deque(range(len(items))), set(), []
        try:
            while self._waiting or self._busy():
                self._hire(len(self._waiting) + len(self._busy()))
                for worker in self._idle()[: len(self._waiting)]:
                    index = self._waiting.popleft()
                    worker.give(index, Task(function, items[index], n_cores, records.level()))
                # Now that the workers have something to do, the caller may take its time.
                yield from answers
                answers = self._answers()
            yield from answers
        except GeneratorExit:
            self._dismiss(self._busy())  # their results are not read
            raise
        except BaseException:
            # A signal may have come in the middle of any worker's message.
            self._dismiss(self._workers)
            raise

    def close(self) -> None:
        """End the processes: idle ones on request, the others by force."""
        idle = self._idle()
        for worker in idle:
            worker.send_home()
        deadline_s = time.monotonic() + POLITE_S
        while self._workers and (left_s := deadline_s - time.monotonic()) > 0:
            if not (leaving := [worker for worker in self._workers if worker in idle]):
                break
            for worker in _heard(leaving, left_s):
                message = worker.hear()  # what they still log would else fill their pipes
                if message is None:
                    self._workers.remove(worker)
                    worker.end()
                elif message[0] is Message.RECORD:
                    records.handle(message[1])
        self._dismiss(self._workers)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.is_busy]

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.is_ready and not worker.is_busy]

    def _hire(self, n_tasks: int) -> None:
        """Start as many workers as there are tasks."""
        for worker in [each for each in self._idle() if not each.is_alive()]:
            self._dismiss([worker])  # it died when it had nothing to do
        while (
            len(self._workers) < min(self.n_workers, n_tasks)
            and len(self._failed_starts) < MOST_FAILED_STARTS
        ):
            with signals.hold_signals():
                self._workers.append(_Worker(self.prepare))
        if n_tasks and not self._workers:
            raise BycatchError(f"no process can start: {self._failed_starts[-1]}", hint=START_HINT)

    def _answers(self) -> list[tuple[int, Any]]:
        """Wait for workers, and return the results that they have."""
        answers: list[tuple[int, Any]] = []
        for worker in _heard(self._workers, LOOK_S):
            message = worker.hear()
            if message is None:
                answers += self._loss(worker)
                continue
            what, content = message
            if what is Message.RECORD:
                records.handle(content)
            elif what is Message.READY:
                worker.is_ready = True
                self._failed_starts = []
            elif what is Message.BEGUN:
                worker.has_begun = True
            elif what is Message.ERROR:
                failure: Failure = content
                raise with_origin(failure.error(), failure.origin)
            else:
                answers.append((worker.take(), content))
        return answers

    def _loss(self, worker: _Worker) -> list[tuple[int, LostTask]]:
        """Remove a worker that died, and return its task, if any."""
        self._workers.remove(worker)
        loss = lost_task(worker.end(), worker.n_killed_before)
        if not worker.is_ready:
            self._failed_starts.append(loss.reason)
        if not worker.is_busy:
            return []
        index = worker.take()
        if worker.has_begun or index in self._returned:
            return [(index, loss)]
        # It was dying when it was given the task; but not for ever, should a task do that.
        self._returned.add(index)
        self._waiting.appendleft(index)
        return []

    def _dismiss(self, workers: Sequence[_Worker]) -> None:
        """End workers at once, busy or not."""
        for worker in workers:
            worker.stop()
        for worker in list(workers):
            worker.end()
            self._workers.remove(worker)


class _Worker:
    """A worker process, and this end of its pipe.

    Attributes
    ----------
    is_ready : whether it is prepared and takes tasks
    has_begun : whether it has received its task
    n_killed_before : `memory.n_killed` when it, or its task, began
    """

    def __init__(self, prepare: Callable[[], object] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, prepare, records.level()), daemon=True
        )
        self._index: int | None = None
        self.is_ready = self.has_begun = False
        self.n_killed_before = memory.n_killed()
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()  # else its end would not show when it dies

    @property
    def is_busy(self) -> bool:
        return self._index is not None

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def signs(self) -> list[Any]:
        """Return the handles that signal a message or its death."""
        return [self._connection, self._process.sentinel]

    def give(self, index: int, task: Task) -> None:
        """Hand it a task."""
        message = ForkingPickler.dumps(task)
        self._index, self.has_begun, self.n_killed_before = index, False, memory.n_killed()
        self._send(message)

    def take(self) -> int:
        """Return the index of its finished task."""
        index, self._index = self._index, None
        assert index is not None
        return index

    def send_home(self) -> None:
        """Ask it to end."""
        self._send(ForkingPickler.dumps(None))

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it is dead, as the next look at its pipe shows
            self._connection.send_bytes(message)

    def hear(self) -> tuple[Message, Any] | None:
        """Return its message; None if it is dead."""
        try:
            if not self._connection.poll():
                return None
            message = self._connection.recv_bytes()
        except (EOFError, OSError):  # dead, maybe in the middle of a message
            return None
        answer: tuple[Message, Any] = pickle.loads(message)  # noqa: S301, our own worker's
        return answer

    def stop(self) -> None:
        """End it at once."""
        self._process.terminate()

    def end(self) -> int | None:
        """Wait until it has ended, by force if need be; return its exit status."""
        self._process.join(PATIENCE_S)
        for force in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                force()
                self._process.join(PATIENCE_S)
        self._connection.close()
        return self._process.exitcode


def _heard(workers: Sequence[_Worker], most_s: float) -> list[_Worker]:
    """Wait until workers send a message or die, and return these."""
    owners = {sign: worker for worker in workers for sign in worker.signs()}
    heard = {id(owners[sign]) for sign in connection.wait(list(owners), most_s)}
    return [worker for worker in workers if id(worker) in heard or not worker.is_alive()]
