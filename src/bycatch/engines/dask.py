"""Dask tasks on workers of this machine or of an existing cluster."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bycatch.engines import records, signals
from bycatch.engines.base import LostTask, cores_per_task, lacked_memory, with_origin
from bycatch.engines.worker import Failure, Message
from bycatch.errors import BycatchError, SettingsError
from bycatch.kernels import threads
from bycatch.system import memory

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE_S = 60.0
"""How long a worker of this machine has to begin in the place of one that died."""
LOOK_S = 0.1
"""How often we look whether it has, and whether others have joined."""
GRACE_S = 1.0
"""A result may come so much later than the news that its worker is gone."""
RESULT_S = 2.0
"""After this time we look whether the worker that holds a result is still there."""
MOST_PLACES = 100
"""Tasks that wait, as a cluster that adapts sees them."""
GONE, GONE_HINT = "the Dask cluster is gone", "see its own log; finished work is kept"
INSTALL = "pip install 'bycatch[dask]'"

logger = logging.getLogger("bycatch")

T = TypeVar("T")
R = TypeVar("R")


class Dask:
    """Items as tasks of Dask; what they log arrives here, in this process's handlers.

    A worker that dies costs the tasks that it does: one for each of its threads.  15 s later Dask
    looks whether another one took its place, and may end one that begins in that moment: where
    workers die every second, a task more is lost now and then.  When work on a cluster that was not
    started here is stopped, its running tasks run to their end.

    Parameters
    ----------
    cluster : the address of a scheduler (``tcp://host:8786``), a `distributed.Client`, or a cluster
        such as ``dask_jobqueue.SLURMCluster``, which are used and left as they are; None: workers
        of this machine, started when there is work and ended by `close`
    n_workers : how many of them, one task each; None: one per core
    prepare : called once by each worker's process, picklable; what it raises ends the work

    Raises
    ------
    SettingsError
        The package distributed is not there, or the client can't be used.
    """

    def __init__(
        self,
        cluster: object = None,
        n_workers: int | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        try:
            import distributed
        except ImportError as err:
            raise SettingsError("the engine dask needs distributed", hint=INSTALL) from err
        if isinstance(cluster, distributed.Client) and cluster.asynchronous:
            raise SettingsError("this client of Dask is asynchronous", hint="use a synchronous one")
        self.cluster = cluster
        self.n_workers = n_workers or threads.n_cores()
        self.prepare = prepare
        self._link: _Link | None = None

    def work(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[int, R | LostTask]]:
        """Yield the index of an item and its result, in the order in which they are finished.

        Raises
        ------
        SettingsError
            There is no scheduler at the address.
        BycatchError
            The cluster is gone, or its workers can't begin.
        Exception
            What ``function`` or ``prepare`` raises, or pickling what goes from process to process.
        """
        if not items:
            return
        # Half a cluster could not be closed; waiting for a far scheduler may be interrupted.
        with signals.hold_signals() if self.cluster is None else nullcontext():
            self._link = link = self._link or _connect(self.cluster, self.n_workers)
        tasks = _Tasks(link, function, self.prepare, items)
        try:
            yield from tasks.results()
        except BaseException as err:
            if tasks.cancel() and link.is_ours:
                self._link = None
                link.close(at_once=True)
            elif isinstance(err, BycatchError):
                self.close()  # nothing more to be had from it
            raise

    def close(self) -> None:
        """End the workers that were started here, and no others."""
        if self._link is not None:
            self._link.close()
            self._link = None


@dataclass
class _Link:
    """A client at a scheduler, whose workers can do our tasks and send us what they log.

    Attributes
    ----------
    client : of Dask
    name : distinguishes this engine from others that use the scheduler
    cluster, n_workers : the workers that were started here; None if others did
    is_users : whether the client was made by the user
    quiet : ends the silence of Dask's own log
    """

    client: Client
    name: str
    cluster: Any
    n_workers: int
    is_users: bool
    quiet: ExitStack

    @property
    def is_ours(self) -> bool:
        return self.cluster is not None

    def close(self, *, at_once: bool = False) -> None:
        """Leave the scheduler, and end what was started here, even in the middle of its work."""
        with self.quiet:
            if not self.is_ours:
                # It, or its client, may be gone; Dask has an error for each case.
                with suppress(Exception):
                    self.client.unsubscribe_topic(self.name)
                    self.client.unregister_worker_plugin(self.name)
            if not self.is_users:
                self.client.close()
            if self.is_ours:
                with self._killing() if at_once else nullcontext():
                    self.cluster.close()

    @contextmanager
    def _killing(self) -> Iterator[None]:
        """End the processes of workers that are being closed, for whose tasks Dask waits 4 s.

        Not before: those that die earlier would be started again.
        """
        workers = list(self.cluster.workers.values())
        is_closed = threading.Event()

        def kill() -> None:
            while not is_closed.wait(LOOK_S):
                for worker in workers:
                    with suppress(OSError, TypeError):  # its process is gone
                        os.kill(worker.pid, signal.SIGTERM)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        try:
            yield
        finally:
            is_closed.set()
            killer.join()


def _connect(cluster: object, n_workers: int) -> _Link:
    """Return a client that is ready for work.

    Raises
    ------
    SettingsError
        There is no scheduler at the address.
    """
    from distributed import Client

    from bycatch.engines.dask_worker import Welcome

    is_users = isinstance(cluster, Client)
    with ExitStack() as quiet:
        if not is_users:
            quiet.enter_context(_silence())
        ours = _local_cluster(n_workers) if cluster is None else None
        try:
            client: Any = cluster if is_users else Client(ours or cluster, set_as_default=False)
        except (OSError, ValueError, TypeError) as err:
            hint = "give the address of a scheduler, such as tcp://host:8786"
            raise SettingsError(f"no Dask scheduler at {cluster}: {err}", hint=hint) from err
        name = f"bycatch-{uuid.uuid4()}"
        client.subscribe_topic(name, _handle)
        client.register_plugin(Welcome(name, is_ours=ours is not None), name)
        return _Link(client, name, ours, n_workers, is_users, quiet.pop_all())


def _local_cluster(n_workers: int) -> Any:
    """Start workers of one thread each, without a dashboard."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # a death is known at once
        "distributed.admin.low-level-log-length": 100,  # it would keep what our tasks log
    }
    with dask.config.set(settings):
        return LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # else Dask lets tasks wait, or kills them, at a share of the memory
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the log of Dask in this process: what matters is raised, or is a `LostTask`."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed.")]
    loggers = [logging.getLogger(name) for name in ("distributed", *names)]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, number in before:
            logger.setLevel(number)


def _handle(event: tuple[float, bytes]) -> None:
    """Take a log record of a worker."""
    records.handle(pickle.loads(event[1]))  # noqa: S301, of our own tasks


class _Tasks:
    """The tasks of one `Dask.work`."""

    def __init__(
        self,
        link: _Link,
        function: Callable[[Any], Any],
        prepare: Callable[[], object] | None,
        items: Sequence[Any],
    ) -> None:
        import cloudpickle

        from bycatch.engines.dask_worker import Job

        n_cores = cores_per_task(link.n_workers, len(items)) if link.is_ours else None
        job = Job(function, prepare, link.name, records.level(), n_cores)
        self._pickled = cloudpickle.dumps
        self._job = self._pickled(job)
        self._link, self._items = link, items
        self._waiting = deque(range(len(items)))
        self._running: dict[Future, _Running] = {}
        self._finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._places: list[Future] = []
        self._began_s = self._mended_s = time.monotonic()

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield them as they come."""
        if not self._workers():
            logger.info("waiting for Dask workers")
        while self._waiting or self._running:
            workers = self._workers()
            self._submit(workers)
            yield from self._left_behind(workers)
            try:
                future = self._finished.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if future in self._running:
                yield self._answer(future)

    def cancel(self) -> bool:
        """Cancel the remaining tasks; return whether some are still running."""
        n_left = len(self._running)
        if n_left and not self._link.is_ours:
            with suppress(Exception):  # the scheduler is gone; Dask has an error for each case
                self._link.client.cancel([*self._running, *self._places], force=True)
        self._running.clear()
        self._places.clear()
        return n_left > 0

    def _workers(self) -> dict[str, int]:
        """Return how many tasks each worker can do at once, by its address.

        Raises
        ------
        BycatchError
            The scheduler is gone, or no worker of ours can start.
        """
        try:
            n_threads: dict[str, int] = self._link.client.nthreads()
        except Exception as err:  # Dask has an error for each case
            raise BycatchError(GONE, hint=GONE_HINT) from err
        now_s = time.monotonic()
        if n_threads:
            self._began_s = now_s
        elif self._link.is_ours and now_s - self._began_s > PATIENCE_S:
            raise BycatchError("no Dask worker can start", hint="try the engine 'processes'")
        if (
            self._link.is_ours
            and len(n_threads) < self._link.n_workers
            and now_s > self._mended_s + 1
        ):
            # Dask begins a worker again that dies, but not one that dies while it begins.
            self._link.cluster.scale(self._link.n_workers)
            self._mended_s = now_s
        return n_threads

    def _submit(self, workers: Mapping[str, int]) -> None:
        """Submit tasks to free workers only: a death costs all tasks of a worker."""
        from distributed.comm import get_address_host

        busy = Counter(running.address for running in self._running.values())
        on_host: Counter[str] = Counter()
        for address, n_tasks in workers.items():
            on_host[get_address_host(address)] += n_tasks
        for address, n_tasks in workers.items():
            n_free = n_tasks - busy[address]
            for _ in range(min(n_free, len(self._waiting))):
                self._begin(self._waiting.popleft(), address, on_host[get_address_host(address)])
        if not self._link.is_ours:
            self._reserve(min(len(self._waiting), MOST_PLACES))

    def _begin(self, index: int, address: str, n_tasks_there: int) -> None:
        """Submit a task to one worker only: it is lost with that worker."""
        from bycatch.engines.dask_worker import do

        future = self._link.client.submit(
            do,
            self._job,
            self._pickled(self._items[index]),
            n_tasks_there,
            key=f"{self._link.name}-{uuid.uuid4()}",
            workers=[address],
            pure=False,
            retries=0,
        )
        self._running[future] = _Running(index, address, memory.n_killed())
        future.add_done_callback(self._finished.put)

    def _reserve(self, n: int) -> None:
        """Show waiting tasks to the scheduler, by whose number a cluster adapts, as stand-ins.

        They are for a worker that does not exist; ours would be given to one that is at work.
        """
        while len(self._places) < n:
            key = f"bycatch_waits-{uuid.uuid4()}"
            place = self._link.client.submit(bool, key=key, workers=["none"], pure=False)
            self._places.append(place)
        del self._places[n:]

    def _left_behind(self, workers: Mapping[str, int]) -> Iterator[tuple[int, LostTask]]:
        """Yield the tasks whose workers are gone; Dask would wait for them forever."""
        now_s = time.monotonic()
        for future, running in list(self._running.items()):
            if running.address in workers:
                running.seen_s = now_s
            elif now_s - running.seen_s > GRACE_S:
                yield self._lose(future)

    def _answer(self, future: Future) -> tuple[int, Any]:
        """Return index and result of a finished task."""
        from distributed.scheduler import KilledWorker

        running, most_s = self._running[future], RESULT_S
        while True:
            try:
                what, content = pickle.loads(future.result(most_s))  # noqa: S301, of our own task
                break
            except KilledWorker:
                return self._lose(future)
            except TimeoutError:
                if running.address not in self._workers():  # it died with its result
                    return self._lose(future)
                most_s *= 2
            except CancelledError as err:
                raise BycatchError(GONE, hint=GONE_HINT) from err
        del self._running[future]
        future.release()
        if what is Message.ERROR:
            failure: Failure = content
            raise with_origin(failure.error(), failure.origin)
        return running.index, content

    def _lose(self, future: Future) -> tuple[int, LostTask]:
        """Give up a task whose worker ended without a reason from Dask."""
        running = self._running.pop(future)
        self._link.client.cancel([future])
        may_be_memory = not self._link.is_ours or lacked_memory(running.n_killed_before)
        reason = f"its worker process at {running.address} is gone"
        return running.index, LostTask(reason, may_be_memory)


@dataclass
class _Running:
    """A task that Dask has.

    Attributes
    ----------
    index : of its item
    address : of the worker that does it
    n_killed_before : `memory.n_killed` when it was submitted
    seen_s : when its worker was last there
    """

    index: int
    address: str
    n_killed_before: int | None
    seen_s: float = field(default_factory=time.monotonic)
