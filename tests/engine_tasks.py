"""Functions for the workers of the engines' tests, which import them by name."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

logger = logging.getLogger("bycatch")


def square(x):
    return x * x


def pid(_):
    return os.getpid()


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def sleep_and_pid(seconds):
    time.sleep(seconds)
    return os.getpid()


def sleep_after(item):
    """Sleep, and return the other half of the item."""
    seconds, value = item
    time.sleep(seconds)
    return value


def length(data):
    return len(data)


def block(n):
    return bytes(n)


def kill(number):
    """Kill this process for 13, end it with status 3 for -1; return other numbers."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == -1:
        os._exit(3)
    return number


def kill_once(item):
    """Kill this process for 13, the first time."""
    path, number = item
    if number == 13 and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def log(line):
    logger.info(line)


def log_extras(name):
    extra = {"at_work": (name, "detect"), "sizes_mb": {name: 1.5}, "steps": ("sort",)}
    logger.info("%s begins", name, extra=extra)


def log_much(n):
    """Log from several threads at once."""
    threads = [threading.Thread(target=_lines, args=(n,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return n


def _lines(n):
    for k in range(n):
        logger.info("%d %s", k, "x" * 300)


def die_logging(number):
    """Log without end for 13, until this process is killed in the middle of it."""
    if number == 13:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        while True:
            logger.info("x" * 5000)
    return number


def die_with_heir(seconds):
    """Kill this process, and leave one that holds all that it had open."""
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def log_and_sleep(seconds):
    logger.info("x" * 3000)
    time.sleep(seconds)
    logger.info("x" * 3000)
    return seconds


def log_later(_):
    """Go on to log after the task, more than a pipe holds."""
    threading.Timer(0.2, lambda: [logger.info("x" * 1000) for _ in range(500)]).start()


class TooLarge:
    """Can't be pickled for lack of memory."""

    def __reduce__(self):
        raise MemoryError


def too_large(_):
    return TooLarge()


def log_levels(_):
    logger.debug("debug")
    logger.info("info")


class Odd(Exception):
    """Pickles, but can't be built again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_odd(_):
    raise Odd("one", "two")


def unpicklable(_):
    return threading.Lock()


def dispositions(_):
    return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)]


def threads_of_kernels(_):
    from bycatch.kernels import threads

    return threads.n_threads()


def prepare():
    """Leave a mark that `prepared` finds."""
    sys.modules["prepared_for_tests"] = sys


def prepared(_):
    return "prepared_for_tests" in sys.modules


def prepare_badly():
    raise ValueError("no kernels")


def prepare_for_long():
    time.sleep(1)


def prepare_deadly():
    os._exit(5)


def touch(path):
    path.touch()


def touch_and_sleep(item):
    """Say by a file that the work has begun, and go on for long."""
    path, seconds = item
    Path(path, str(os.getpid())).touch()
    time.sleep(seconds)
    return seconds
