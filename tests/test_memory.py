"""The peak of the memory: it rises with what is held, and can be forgotten."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bycatch.system import blas, memory

linux = pytest.mark.skipif(not memory.STATUS.exists(), reason="the system keeps no peak")


@linux
def test_the_peak_rises_and_can_be_forgotten():
    memory.forget_peak()
    before = memory.peak_mb()
    held = np.ones(20_000_000)  # 160 MB
    assert 120 < memory.peak_mb() - before < 300
    del held
    assert memory.peak_mb() - before > 120  # what was, was
    memory.forget_peak()
    assert memory.peak_mb() - before < 100


@linux
def test_blocks_are_kept_for_a_while_and_go_back_at_the_end():
    program = """
import numpy as np
from bycatch.system import memory

def resident_mb():
    return int(memory.STATUS.read_text().split("VmRSS:")[1].split()[0]) / 1000

before = resident_mb()
with memory.keep_blocks():
    for side in (2000, 3000, 2500):
        assert (np.zeros((side, side)) == 0).all()  # as new ones are, whatever was there
        np.ones((side, side))
print(resident_mb() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 20


@pytest.mark.skipif(sys.platform == "win32", reason="no such module")
def test_elsewhere_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "at_all")
    memory.forget_peak()
    assert 20 < memory.peak_mb() < 50_000


def test_without_evidence_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.peak_mb() is None


def test_linear_algebra_of_our_processes_has_one_thread(monkeypatch):
    for name in blas.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    blas.use_one_thread()
    assert [os.environ[name] for name in blas.VARIABLES] == ["1", "3"]
    # Variables are read with the first import of numpy: no command may come before.
    code = (
        "import sys, bycatch.cli, bycatch.system.blas, bycatch.engines.worker; print(*sys.modules)"
    )
    words = [sys.executable, "-c", code]
    modules = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert "bycatch.cli" in modules
    assert "numpy" not in modules
