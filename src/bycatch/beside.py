"""Another Python process beside this one, with the same packages."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def process_of(module: str, environment: dict[str, str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a module as a program of its own.

    Not by ``multiprocessing``, which would run the user's script once more in it.

    Parameters
    ----------
    module : such as bycatch.rehearsal
    environment : variables beside those of this process
    streams : stdin and so on, as `subprocess.Popen` takes them

    Raises
    ------
    OSError
        The system can't start it.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        env=os.environ | {"PYTHONPATH": path} | environment,
        **streams,
    )
