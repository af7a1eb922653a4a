"""What the tests of engines look at: processes, and results by the number of their item."""

import time
from pathlib import Path


def is_there(pid):
    """Tell whether a process lives; one that is dead but not yet asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, within_s=10.0):
    """Wait until processes are gone, and tell whether they are."""
    deadline = time.monotonic() + within_s
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_there, pids))


def by_index(results):
    """Return results in the order of the items."""
    return dict(sorted(results))


def too_long(*_):
    """End a test that hangs."""
    raise AssertionError("an engine hangs")
