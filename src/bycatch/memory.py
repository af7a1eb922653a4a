"""The most memory that this process has had."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Begin anew, where the system can (Linux); elsewhere the peak stays that since the start."""
    with suppress(OSError):
        CLEAR.write_text("5", encoding="ascii")


def peak_mb() -> float | None:
    """Return the peak of the resident memory since `forget_peak`, MB; None where nobody tells."""
    try:
        status = STATUS.read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
