"""Which processes run on this host."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def is_running(pid: int, started: int | None) -> bool | None:
    """Tell whether a process of this host goes on; None if that can't be known."""
    if started is not None and (ticks := start_ticks(pid)) is not None:
        return ticks == started
    if os.name == "nt":  # os.kill would end it there
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return None
    return None  # or another one with its number


def start_ticks(pid: int) -> int | None:
    """Return when a process started; -1 if it ended and its parent has not noticed; else None."""
    try:
        # The command's name, in parentheses, can hold anything.
        words = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return -1 if words[0] in {b"Z", b"X"} else int(words[19])
    except (OSError, IndexError, ValueError):
        return None


def boot() -> str:
    """Return the boot of the system and the name space of process numbers; '' without /proc."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""
