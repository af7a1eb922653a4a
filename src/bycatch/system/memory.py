"""The memory of this process: the most that it has had, and what it no longer needs."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
VMSTAT, GROUPS = Path("/proc/vmstat"), Path("/proc/self/cgroup")
GROUP_FOLDER = Path("/sys/fs/cgroup")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
"""Numbers of the options in glibc's malloc.h."""
USUAL_TRIM, USUAL_MMAP_MAX = 128 * 2**10, 65536
"""glibc's own values of two of them."""
LARGE_BLOCK = 4 * 2**20


def free_at_once() -> None:
    """Let large blocks go back to the system as soon as they are free, where it lets us (glibc).

    By default those of up to 32 MB stay with the process once some were freed: 100 to 200 MB more
    for a full image.  The limit of 4 MB costs no time that could be measured, one of 1 MB does.
    Each thread would have up to 64 MB of its own for small blocks: here they share.  What is free
    now goes back, too, after an image of many sources 100 MB.
    """
    _set_malloc({M_MMAP_THRESHOLD: LARGE_BLOCK, M_ARENA_MAX: 1})


@contextmanager
def keep_blocks() -> Iterator[None]:
    """Keep large blocks that are free for those to come, for a while, where it lets us (glibc).

    The system clears each page that it gives, a seventh of the time where planes of an image come
    and go.  What lies between blocks that are in use stays free, a tenth of the peak.  All of it
    goes back at the end.
    """
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1})
    try:
        yield
    finally:
        _set_malloc({M_MMAP_MAX: USUAL_MMAP_MAX, M_TRIM_THRESHOLD: USUAL_TRIM})


def _set_malloc(options: Mapping[int, int]) -> None:
    """Set options of glibc's malloc, and give back what is free, where this is glibc."""
    with suppress(OSError, AttributeError, TypeError):  # macOS, musl; Windows
        system = ctypes.CDLL(None)
        for option, value in options.items():
            system.mallopt(option, value)
        system.malloc_trim(0)


def search_garbage_rarely() -> None:
    """Let Python look for reference cycles less often: there are few.

    By default a tenth of a command's time goes into that, most of it while libraries are imported.
    For processes of our own only.
    """
    gc.set_threshold(200_000, 20, 50)


def forget_peak() -> None:
    """Start again, where the system can (Linux); elsewhere the peak stays that since the start."""
    with suppress(OSError):
        CLEAR.write_text("5", encoding="ascii")


def peak_mb() -> float | None:
    """Return the peak of the resident memory since `forget_peak`, MB; None where unknown."""
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


def installed_bytes() -> float:
    """Return the memory of this machine; infinity where it is not known."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def n_killed() -> int | None:
    """Return how many processes the kernel has killed for lack of memory; None if unknown.

    Counted by Linux for the machine, and for the control group of this process, which in a
    container or a batch job has a limit of its own: only a rise of the number means something.
    """
    counts = [_oom_kills(path) for path in (VMSTAT, *_group_counters())]
    numbers = [count for count in counts if count is not None]
    return sum(numbers) if numbers else None


def _group_counters() -> list[Path]:
    """Return the files in which the control group of this process may count, of either version."""
    try:
        lines = GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    files = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            files.append(GROUP_FOLDER / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(GROUP_FOLDER / "memory" / group.lstrip("/") / "memory.oom_control")
    return files


def _oom_kills(path: Path) -> int | None:
    """Return the value of ``oom_kill`` in a file of names and numbers."""
    try:
        words = path.read_text(encoding="ascii").split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None
