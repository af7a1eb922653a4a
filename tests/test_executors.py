"""Executors: order, equality of serial and parallel, logs and failures of workers."""

import logging
import os
import signal
import time

import pytest

from bycatch import executors
from bycatch.errors import BycatchError, UnreadableFile
from bycatch.executors import HANGUP, Processes, Serial, executor_for
from bycatch.kernels import threads

logger = logging.getLogger("bycatch")
CORES = {Serial: 4, Processes: threads.n_cores()}


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def lines():
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_one_worker_is_serial():
    assert isinstance(executor_for(1), Serial)
    assert isinstance(executor_for(2), Processes)


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_results_come_in_the_order_of_the_items(executor):
    assert executor.map(abs, [-3, 2, -1, 0]) == [3, 2, 1, 0]
    assert executor.map(abs, []) == []
    executor.close()
    assert executor.map(abs, [-5]) == [5]
    executor.close()


def test_workers_log_here(lines):
    workers = Processes(2)
    workers.map(logger.info, ["one", "two", "three"])
    workers.close()
    assert sorted(lines) == ["one", "three", "two"]


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_what_a_function_raises_arrives(executor):
    with pytest.raises(ValueError, match="invalid literal"):
        executor.map(int, ["1", "x"])
    executor.close()


def test_errors_of_the_package_survive_the_way_between_processes():
    import pickle

    err = UnreadableFile("a.fits: bad", hint="fetch it again", size=3)
    back = pickle.loads(pickle.dumps(err))
    assert (str(back), back.metadata) == (str(err), {"size": 3})


def test_a_worker_that_dies_is_explained():
    with pytest.raises(BycatchError, match=r"process died.* a smaller -j"):
        Processes(2).map(os._exit, [1, 1])


def die_of_two(item):
    """Kill the process, of one item each time, of another once."""
    path, number = item
    if number == 1 or (number == 2 and not path.exists()):
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_only_an_item_that_kills_its_process_is_lost(tmp_path, lines):
    workers = Processes(2)
    items = [(tmp_path / "died", number) for number in range(4)]
    assert workers.map(die_of_two, items, lambda item: -item[1]) == [0, -1, 2, 3]
    assert "a worker process died: what is left is done one by one" in lines
    workers.close()


def test_a_process_that_dies_idle_is_replaced():
    workers = Processes(2)
    (pid, _) = workers.map(eval, ["__import__('os').getpid()"] * 2)
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    assert workers.map(abs, [-1, -2]) == [1, 2]
    workers.close()


def test_workers_leave_signals_of_the_terminal_to_the_parent():
    workers = Processes(1)
    numbers = [signal.SIGINT, *HANGUP]
    assert workers.map(signal.getsignal, numbers * 2) == [signal.SIG_IGN] * 2 * len(numbers)
    workers.close()


@pytest.mark.skipif(not HANGUP, reason="needs POSIX signals")
def test_a_signal_waits_until_processes_have_begun(monkeypatch):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with executors._undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_workers_are_kept_from_one_map_to_the_next():
    workers = Processes(1)
    who = ["__import__('os').getpid()"] * 2
    assert workers.map(eval, who) == workers.map(eval, who) != [os.getpid()] * 2
    workers.close()


def n_threads(_):
    return threads.n_threads()


@pytest.mark.parametrize(
    ("n_workers", "n_items", "each"), [(None, 2, 4), (1, 2, 1), (2, 2, 1), (3, 2, 1), (4, 2, 2)]
)
def test_cores_without_a_process_go_to_the_kernels(monkeypatch, n_workers, n_items, each):
    # Started processes see the cores that there are.
    monkeypatch.setattr(threads, "n_cores", lambda: 4)
    executor = executor_for(n_workers)
    assert executor.map(n_threads, range(n_items)) == [min(each, CORES[executor.__class__])] * 2
    executor.close()


def test_one_item_is_done_here_on_all_cores_of_the_workers(monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 4)
    workers = Processes(3)
    assert workers.map(n_threads, [0]) == [3]
    assert workers.map(eval, ["__import__('os').getpid()"]) == [os.getpid()]
    assert threads.n_threads() == 4
