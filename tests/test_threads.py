"""Kernels on several cores: every row once, errors, no deadlock, and the same results."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.ndimage import label

from bycatch.images.drc import read_drc
from bycatch.kernels import labelling, threads
from bycatch.kernels.labelling import (
    Segments,
    _runs_above,
    _write_labels,
    join_runs,
    segments_above,
)
from bycatch.settings import Settings, SimulateSettings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.stages import crmask, detect, measure


@pytest.fixture
def cores(monkeypatch):
    """Return how to set the number of cores that this process believes to have."""

    def have(n):
        monkeypatch.setattr(threads, "n_cores", lambda: n)

    yield have
    threads.limit_threads(None)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 100, 101])
@pytest.mark.parametrize("n_cores", [1, 2, 5])
@pytest.mark.parametrize("least", [1, 10, 1000])
def test_everything_is_done_once(cores, n, n_cores, least):
    cores(n_cores)
    times = np.zeros(n, int)

    def work(first, last):
        times[first:last] += 1

    threads.in_portions(work, n, least)
    assert_array_equal(times, 1)


def test_more_threads_than_one_work(cores):
    cores(2)
    meeting = threading.Barrier(2, timeout=20)
    threads.in_portions(lambda *_: meeting.wait(), 8, 1)  # none goes on alone


def test_a_limit_keeps_the_work_here(cores):
    cores(2)
    names = []
    with threads.at_most(1):
        assert threads.n_threads() == 1
        threads.in_portions(lambda *_: names.append(threading.current_thread().name), 8, 1)
    assert names == [threading.current_thread().name]
    assert threads.n_threads() == 2


def test_the_limit_is_no_more_than_the_cores(cores):
    cores(2)
    threads.limit_threads(64)
    assert threads.n_threads() == 2
    threads.limit_threads(0)
    assert threads.n_threads() == 1


def test_what_goes_wrong_in_a_portion_arrives(cores):
    cores(2)

    def work(first, last):
        if first == 0:
            raise ValueError("no first row")

    with pytest.raises(ValueError, match="no first row"):
        threads.in_portions(work, 8, 1)


def test_work_within_a_portion_waits_for_no_other(cores):
    cores(2)
    times = np.zeros((8, 8), int)

    def outer(first, last):
        def inner(i, j):
            times[first:last, i:j] += 1

        threads.in_portions(inner, 8, 1)

    threads.in_portions(outer, 8, 1)  # would never end if each held a thread and waited for one
    assert_array_equal(times, 1)


@pytest.mark.parametrize("n_cores", [1, 2])
def test_what_was_begun_ends(cores, n_cores):
    cores(n_cores)
    assert threads.in_background(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.in_background(divmod, 7, 0).result()


@settings(deadline=None)  # the first compiles
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.lists(st.integers(1, 39), unique=True))
def test_runs_of_portions_join_to_the_same_segments(seed, n_pixels, cuts):
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((40, 33)).astype(np.float32)
    valid = rng.random(data.shape) < 0.95
    data[~valid] = np.nan
    nothing, noise = np.zeros_like(data), np.ones_like(data)
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    planes = (data, nothing, noise, valid)
    whole = segments_above(*planes, weights, 0.2, n_pixels)
    labels, smooth = np.zeros(data.shape, np.int32), np.zeros_like(data)
    for plane in planes:
        plane.flags.writeable = False
    bounds = [0, *sorted(cuts), 40]
    parts = [
        _runs_above(*planes, weights, np.float32(0.2), smooth, a, b) for a, b in pairwise(bounds)
    ]
    segments = Segments(labels, _write_labels(join_runs(parts), n_pixels, labels), smooth)
    assert segments.n_labels == whole.n_labels
    assert_array_equal(segments.labels, whole.labels)
    assert_array_equal(segments.smooth, whole.smooth)


def test_groups_of_pixels_are_counted_across_portions(cores, monkeypatch):
    monkeypatch.setattr(labelling, "ROWS_WORTH_A_THREAD", 5)
    cores(3)
    for seed in range(20):
        mask = np.random.default_rng(seed).random((61, 47)) < 0.02 * seed
        assert labelling.n_groups(mask) == label(mask, np.ones((3, 3)))[1]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Return one exposure large enough for several portions of everything."""
    settings = SimulateSettings(
        filters=("F775W",), n_exposures=(1,), n_columns=1100, n_rows=600, stars_per_arcmin2=6000
    )
    folder = tmp_path_factory.mktemp("visit")
    write_visit(simulate_visit(settings), folder)
    return read_drc(next(folder.rglob("*_drc.fits")))


@pytest.mark.parametrize("preset", ["classic", "deep"])
def test_stages_give_the_same_on_any_number_of_cores(cores, image, preset):
    settings = Settings.load(preset=preset)
    results = []
    for n in (1, 3):
        cores(n)
        detection = detect.run(image, settings.detect)
        rays = crmask.run(image, settings.crmask)
        x, y = (np.asarray(detection.sources[name]) for name in ("x", "y"))
        pixels = measure.Pixels(rays.grown, detection.segmentation)
        seen = measure.run(image, measure.Targets(x, y), settings.measure, pixels=pixels)
        results.append((detection, rays, seen))
    (detection, rays, seen), (found3, rays3, seen3) = results
    assert len(detection.sources) >= 2 * threads.WORTH_A_THREAD  # fewer are not split
    assert_array_equal(detection.segmentation, found3.segmentation)
    assert_array_equal(detection.noise, found3.noise)
    assert_array_equal(detection.background, found3.background)
    assert_array_equal(rays.grown, rays3.grown)
    assert rays.n_tracks == rays3.n_tracks > 0
    for name in detection.sources.colnames:
        assert_array_equal(detection.sources[name], found3.sources[name])
    for name in seen.table.colnames:
        one, three = (np.ma.filled(t[name], 0) for t in (seen.table, seen3.table))
        assert_array_equal(one, three, err_msg=name)
