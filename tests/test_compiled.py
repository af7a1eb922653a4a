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


def test_a_read_only_install_compiles_once_and_says_so(tmp_path):
    place = tmp_path / "site"
    source = Path(bycatch.__file__).parent
    shutil.copytree(source, place / "bycatch", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [place / "bycatch", *(p for p in place.rglob("*") if p.is_dir())]:
        if folder.name != "__pycache__":
            (folder / "__pycache__").touch()  # a file: no cache can be made beside the source
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    environment = variables | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(place)}
    texts = []
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-c", CALL],
            check=False, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        texts.append(process.stderr)
    assert texts[0].count("compiling kernels, once on this machine") == 1
    assert "compiling" not in texts[1]
