"""What benchmarks share: clocks, memory, the command, source-extractor, and rows in Markdown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from bycatch.system.memory import forget_peak, free_at_once

T = TypeVar("T")
POLL_S = 0.02


# ---- clocks and memory ------------------------------------------------------------------------


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds of a call, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def median_timed(function: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Return the median seconds of repeats after a call that is not counted, and its result."""
    result = function()
    return median(timed(function)[0] for _ in range(repeats)), result


def peak_mb(process: int) -> float:
    """Return the peak of a process since it forgot it last, MB; getrusage gives its parent's."""
    return _status_mb(process, "VmHWM")


def growth_mb(function: Callable[[], object]) -> float:
    """Return by how much the resident memory rises at most during a call, MB (Linux)."""
    free_at_once()
    forget_peak()
    before = _status_mb(os.getpid(), "VmRSS")
    function()
    return peak_mb(os.getpid()) - before


def _status_mb(process: int, name: str) -> float:
    with suppress(OSError, IndexError):
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) * 1024 / 1e6
    return 0.0


# ---- processes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandCost:
    """What a command took: seconds, and the peak of its first process, MB."""

    seconds: float
    peak_mb: float


def command(*words: object, variables: dict[str, str] | None = None) -> CommandCost:
    """Run a command line of bycatch, without a cache of Gaia stars; if it fails, so do we."""
    start, peak = time.perf_counter(), 0.0
    child = subprocess.Popen(
        [sys.executable, "-m", "bycatch", *map(str, words)],
        env=os.environ | {"BYCATCH_CACHE": "off"} | (variables or {}),
    )
    while child.poll() is None:
        peak = max(peak, peak_mb(child.pid))
        time.sleep(POLL_S)
    if child.returncode:
        sys.exit(f"bycatch {' '.join(map(str, words))} ended with {child.returncode}")
    return CommandCost(time.perf_counter() - start, peak)


def source_extractor() -> str | None:
    """Return the program, under one of its names; None where it is not installed."""
    return shutil.which("source-extractor") or shutil.which("sex")


# ---- Markdown ---------------------------------------------------------------------------------


def row(*cells: object) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*names: str, n_words: int | None = None) -> str:
    """Return the head of a table; its first ``n_words`` columns hold words, the others numbers.

    Without ``n_words`` all stand on the left.
    """
    n = len(names) if n_words is None else n_words
    return f"{row(*names)}\n{'|---' * n}{'|---:' * (len(names) - n)}|"
