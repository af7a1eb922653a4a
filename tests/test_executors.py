"""Executors: order, equality of serial and parallel, logs and failures of workers."""

import logging
import os
import signal

import pytest

from bycatch.errors import BycatchError, UnreadableFile
from bycatch.executors import Processes, Serial, executor_for

logger = logging.getLogger("bycatch")


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
        Processes(2).map(os._exit, [1])


def test_workers_leave_ctrl_c_to_the_parent():
    workers = Processes(1)
    assert workers.map(signal.getsignal, [signal.SIGINT]) == [signal.SIG_IGN]
    workers.close()


def test_workers_are_kept_from_one_map_to_the_next():
    workers = Processes(1)
    who = ["__import__('os').getpid()"]
    assert workers.map(eval, who) == workers.map(eval, who) != [os.getpid()]
    workers.close()
