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


def test_workers_log_here(lines):
    Processes(2).map(logger.info, ["one", "two", "three"])
    assert sorted(lines) == ["one", "three", "two"]


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_what_a_function_raises_arrives(executor):
    with pytest.raises(ValueError, match="invalid literal"):
        executor.map(int, ["1", "x"])


def test_errors_of_the_package_survive_the_way_between_processes():
    import pickle

    err = UnreadableFile("a.fits: bad", hint="fetch it again", size=3)
    back = pickle.loads(pickle.dumps(err))
    assert (str(back), back.metadata) == (str(err), {"size": 3})


def test_a_worker_that_dies_is_explained():
    with pytest.raises(BycatchError, match=r"process died.* a smaller -j"):
        Processes(2).map(os._exit, [1])


def test_workers_leave_ctrl_c_to_the_parent():
    assert Processes(1).map(signal.getsignal, [signal.SIGINT]) == [signal.SIG_IGN]
