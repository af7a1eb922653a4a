"""Another Python process, with the same packages, that ends with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

PARENT = "BYCATCH_PARENT"
"""Environment variable that holds the number of the process that started this one."""


def process_of(module: str, environment: dict[str, str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a module as a program of its own, whose input is a pipe that closes with this process.

    Not by ``multiprocessing``, which would run the user's script once more in it.

    Parameters
    ----------
    module : such as bycatch.precompile
    environment : variables in addition to those of this process
    streams : stdout and stderr, as `subprocess.Popen` takes them

    Raises
    ------
    OSError
        The system can't start it.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        env=os.environ | {"PYTHONPATH": path, PARENT: str(os.getpid())} | environment,
        stdin=subprocess.PIPE,
        **streams,
    )


def end_with_parent() -> None:
    """End this process with the one that started it by `process_of`, if one did."""
    if os.environ.get(PARENT) == str(os.getppid()):
        end_with(sys.stdin.buffer.read)


def end_with(wait: Callable[[], object]) -> None:
    """End this process at once when a call returns, which waits for the end of another process.

    However that one ends: a process that is killed can't stop its own.
    """

    def end() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
