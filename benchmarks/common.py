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

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bycatch.system.memory import forget_peak, free_at_once

T = TypeVar("T")
POLL_S = 0.02
NEAR_ARCSEC, NEAR_MAG = 0.8, 2.5
"""An object with another one this near, and no fainter than by so much, is not alone."""


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


# ---- truth ----------------------------------------------------------------------------------


def is_alone(mag: NDArray[np.float64], places_arcsec: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which true objects have none near that matters; (N,), (N, 2)."""
    alone = np.ones(len(mag), dtype=bool)
    for i, j in cKDTree(places_arcsec).query_pairs(NEAR_ARCSEC):
        alone[i] &= mag[j] > mag[i] + NEAR_MAG
        alone[j] &= mag[i] > mag[j] + NEAR_MAG
    return alone


def in_coverage(
    valid: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which places, (N,), detection's coverage rule keeps in an image, (ny, nx)."""
    from bycatch.kernels.exposures import box_fraction  # late: what others measure is memory, too
    from bycatch.settings import Settings

    rule = Settings().detect
    on = (x >= 0) & (y >= 0) & (x < valid.shape[1]) & (y < valid.shape[0])
    return np.asarray(on & (box_fraction(valid, x, y, rule.coverage_box_px) >= rule.min_coverage))


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
