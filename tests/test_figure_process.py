"""Figures drawn by another process are those drawn here, and nothing depends on that process."""

import io
import os
import pickle

import numpy as np
import pytest

from bycatch.figures import process as figure_process
from bycatch.figures.alignment import FigureImage
from bycatch.kernels import threads

pytest.importorskip("matplotlib")


@pytest.fixture
def process(monkeypatch):
    """Return a process that draws."""
    monkeypatch.setattr(figure_process, "_known", [])
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    result = figure_process.drawing_process()
    yield result
    result.close()


def image(n=12):
    rng = np.random.default_rng(1)
    ra, dec = 150 + rng.uniform(-0.02, 0.02, n), 2 + rng.uniform(-0.02, 0.02, n)
    return FigureImage(
        filter="F775W", grade="A", reason="", n_stars=n, odds=1e-9, error_mas=2.0,
        corners_deg=np.array([[150.03, 1.97], [149.97, 1.97], [149.97, 2.03], [150.03, 2.03]]),
        ra_deg=ra, dec_deg=dec, dra_mas=rng.normal(0, 3, n), ddec_mas=rng.normal(0, 3, n),
        error_pair_mas=np.full(n, 3.0), weight=np.ones(n), mag=rng.uniform(17, 21, n),
    )  # fmt: skip


def test_another_process_draws_the_same(process):
    here = figure_process.png("abc_01", [image()])
    assert here.startswith(b"\x89PNG")
    assert process.png("abc_01", [image()]) == here
    assert process.png("abc_02", [image(3)]) == figure_process.png("abc_02", [image(3)])


def test_there_is_one_process(process):
    assert figure_process.drawing_process() is process


def test_what_can_not_be_drawn_is_reported_and_costs_no_more(process):
    with pytest.raises(RuntimeError, match="AttributeError"):
        process.png("abc_01", ["no image"])
    assert process.png("abc_01", [image()]).startswith(b"\x89PNG")


def test_a_process_that_was_stopped_is_noticed(process):
    process.close()
    with pytest.raises((EOFError, OSError)):
        process.png("abc_01", [image()])


def test_one_core_draws_itself(monkeypatch):
    monkeypatch.setattr(figure_process, "_known", [])
    with threads.at_most(1):
        assert figure_process.drawing_process() is None
    assert figure_process._known == []


def test_a_fork_has_a_process_of_its_own(process, monkeypatch):
    monkeypatch.setattr(process, "pid", os.getpid() + 1)
    other = figure_process.drawing_process()
    assert other is not process
    other.close()
    process.pid = os.getpid()


def test_a_system_without_room_for_a_process_draws_here(monkeypatch):
    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(figure_process, "_known", [])
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    monkeypatch.setattr(figure_process, "process_of", fail)
    assert figure_process.drawing_process() is None


def test_what_is_asked_is_answered_in_turn():
    asked, told = io.BytesIO(), io.BytesIO()
    for request in (("abc_01", (image(),)), ("abc_02", (None,)), ("abc_03", ())):
        pickle.dump(request, asked)
    asked.seek(0)
    figure_process.serve(asked, told)
    told.seek(0)
    answers = [pickle.load(told) for _ in range(3)]
    assert [type(answer) for answer in answers] == [bytes, str, bytes]
