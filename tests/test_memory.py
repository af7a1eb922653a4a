"""The peak of the memory: it rises with what is held, and can be forgotten."""

import sys

import numpy as np
import pytest

from bycatch.system import memory

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


@pytest.mark.skipif(sys.platform == "win32", reason="no such module")
def test_elsewhere_the_peak_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "at_all")
    memory.forget_peak()
    assert 20 < memory.peak_mb() < 50_000


def test_where_nobody_tells_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.peak_mb() is None
