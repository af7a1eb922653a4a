"""Compiled kernels: cached, announced once, at work where nothing can be written beside them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bycatch

CALL = """
import logging, threading
logging.basicConfig(level=logging.INFO, format="%(message)s")
import numpy as np
from bycatch.kernels.neighbourhood import any_within
from bycatch.precompile import watch_first_compilation
watch_first_compilation()
mask = np.eye(9, dtype=bool)
def call():
    found.append(any_within(mask, np.array([4.0]), np.array([4.0]), 2.0).tolist())
found = []
threads = [threading.Thread(target=call) for _ in range(2)]
[t.start() for t in threads], [t.join() for t in threads]
assert found == [[True], [True]]
"""


def read_only_install(folder):
    """The environment of a package beside which nothing can be written."""
    place = folder / "site"
    source = Path(bycatch.__file__).parent
    shutil.copytree(source, place / "bycatch", ignore=shutil.ignore_patterns("__pycache__"))
    for part in [place / "bycatch", *(p for p in place.rglob("*") if p.is_dir())]:
        if part.name != "__pycache__":
            (part / "__pycache__").touch()  # a file: no cache can be made beside the source
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    return variables | {"HOME": str(folder / "home"), "PYTHONPATH": str(place)}


def printed(environment, *arguments, status=0):
    process = subprocess.run(
        [sys.executable, *arguments],
        check=False, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == status, process.stderr
    return process.stderr


def test_a_read_only_install_compiles_once_and_says_so(tmp_path):
    environment = read_only_install(tmp_path)
    texts = [printed(environment, "-c", CALL) for _ in range(2)]
    assert texts[0].count("compiling kernels, once on this machine") == 1
    assert "compiling" not in texts[1]


def test_without_any_folder_to_write_kernels_work_and_say_so(tmp_path):
    (tmp_path / "home").touch()  # a file: no cache can be made in it
    environment = read_only_install(tmp_path)
    text = printed(environment, "-c", CALL)
    assert "can't be kept" in text
    assert "NUMBA_CACHE_DIR" in text
    assert "NUMBA_CACHE_DIR" in printed(environment, "-m", "bycatch.precompile", status=1)
