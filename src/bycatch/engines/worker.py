"""The loop of a worker of `bycatch.engines.processes`."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from bycatch.engines import records, signals
from bycatch.engines.base import NO_MEMORY, on_cores, origin_of
from bycatch.system import blas, memory
from bycatch.system.subprocesses import end_with


class Message(Enum):
    """What a message of a worker holds."""

    READY = auto()
    """Nothing: it waits for its first task."""
    BEGUN = auto()
    """Nothing: it has its task."""
    RECORD = auto()
    """A log record."""
    RESULT = auto()
    """The result of its task."""
    ERROR = auto()
    """The `Failure` of its task or its preparation."""


@dataclass(frozen=True)
class Task:
    """What a worker is to do.

    Attributes
    ----------
    function, item : one piece of work
    n_cores : how many cores its kernels may use
    level : from which on it logs
    """

    function: Callable[[Any], Any]
    item: Any
    n_cores: int
    level: int


@dataclass(frozen=True)
class Failure:
    """An exception on its way between processes.

    Attributes
    ----------
    pickled : the exception; empty if it can't be pickled
    words, origin : its type and message; its traceback
    """

    pickled: bytes
    words: str
    origin: str

    @classmethod
    def of(cls, err: BaseException) -> Failure:
        """Return an exception in a form that can be sent."""
        try:
            content = bytes(ForkingPickler.dumps(err))
        except Exception:  # noqa: BLE001, whatever its own methods raise
            content = b""
        return cls(content, f"{type(err).__name__}: {err}", origin_of(err))

    def error(self) -> BaseException:
        """Return the exception, or one that quotes it."""
        try:
            err = pickle.loads(self.pickled) if self.pickled else None  # noqa: S301, our worker's
        except Exception:  # noqa: BLE001, a class that is only there, or whatever its methods raise
            err = None
        return err if isinstance(err, BaseException) else RuntimeError(self.words)


class Voice:
    """A worker's end of its pipe, where several threads may speak, each message whole."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, what: Message, content: object = None) -> None:
        """Send a message.

        Raises
        ------
        Exception
            What pickling the content raises; nothing is sent then.
        """
        message = ForkingPickler.dumps((what, content))
        with self._lock:
            self._connection.send_bytes(message)

    def say_record(self, record: logging.LogRecord) -> None:
        """Send a log record."""
        self.say(Message.RECORD, record)


def serve(connection: Connection, prepare: Callable[[], object] | None, level: int) -> None:
    """Do tasks until there are no more, or until the process that began this one is gone."""
    # Before anything that takes time: the terminal's signals are blocked until here.
    signals.leave_terminal()
    end_with(_wait_for_parent)
    blas.use_one_thread()
    memory.search_garbage_rarely()
    voice = Voice(connection)
    records.log_only_to(records.Courier(voice.say_record))
    records.set_level(level)
    try:
        if prepare is not None:
            prepare()
        voice.say(Message.READY)
        while _next(connection, voice):
            pass
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent no longer listens
    except MemoryError:
        os._exit(NO_MEMORY)  # a message would need memory, too
    except BaseException as err:  # noqa: BLE001, it is raised in the parent
        voice.say(Message.ERROR, Failure.of(err))


def _next(connection: Connection, voice: Voice) -> bool:
    """Do the next task; return False if there is none.

    Raises
    ------
    EOFError, OSError
        The parent no longer listens.
    MemoryError
        There is no room for the task or its result.
    Exception
        The task or its result can't be pickled.
    """
    message = connection.recv_bytes()
    voice.say(Message.BEGUN)
    task: Task | None = pickle.loads(message)  # noqa: S301, our parent's
    if task is None:
        return False
    records.set_level(task.level)
    try:
        result = on_cores(task.n_cores, task.function, task.item)
    except BaseException as err:  # noqa: BLE001, it is raised in the parent
        voice.say(Message.ERROR, Failure.of(err))
    else:
        voice.say(Message.RESULT, result)
    return True


def _wait_for_parent() -> None:
    """Wait for the end of the process that started this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
