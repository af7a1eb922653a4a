"""Which pixels hold data is decided once, for all planes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bycatch.errors import InconsistentImage
from bycatch.images.drc import read_drc
from bycatch.images.validity import (
    LOST_PIXELS,
    MAX_RATE,
    MAX_SHARE_OF_TIME,
    MAX_WEIGHT,
    MIN_WEIGHT,
    mark_no_data,
    mark_no_time,
)
from bycatch.settings import InputSettings

SHAPE = (70, 30)
INDEF = 1.6e38
"""IRAF's mark of a missing real number."""
ANY = st.floats(width=32, allow_subnormal=True)


def noise(seed=1):
    return np.random.default_rng(seed).normal(0.0, 0.01, SHAPE).astype(np.float32)


@pytest.fixture
def read(new_drc, tmp_path):
    def make(change=None, given=None, **options):
        hdus = new_drc(noise(), **options)
        if change:
            change(hdus)
        path = tmp_path / "jabc01010_drc.fits"
        hdus.writeto(path, overwrite=True)
        return read_drc(path, given)

    return make


def test_the_bounds_of_the_documentation():
    assert (MAX_RATE, MIN_WEIGHT, MAX_WEIGHT, MAX_SHARE_OF_TIME) == (1e8, 1e-20, 1e20, 10.0)
    assert LOST_PIXELS == 64


@pytest.mark.parametrize(("sci", "wht", "note"), [
    (np.nan, 1000, ""),
    (5.0, 0, ""),
    (5.0, np.nan, ""),
    (np.nan, 0, ""),
    (INDEF, 0, ""),
    (np.inf, 1000, "1 pixel infinite"),
    (-np.inf, 1000, "1 pixel infinite"),
    (INDEF, 1000, "1 pixel infinite, or beyond 1e+08 e/s"),
    (-1e30, 1000, "1 pixel infinite, or beyond"),
    (1.001e8, 1000, "1 pixel infinite, or beyond"),
    (5.0, np.inf, "1 pixel whose weight is not between 1e-20 and 1e+20"),
    (5.0, -1, "1 pixel whose weight is not between 1e-20 and 1e+20"),
    (5.0, 3e38, "1 pixel whose weight is not between 1e-20 and 1e+20"),
    (5.0, 10_100, "1 pixel whose weight implies more than 10 times EXPTIME"),
    (5.0, 1e-40, "1 pixel whose weight is not between"),
])  # fmt: skip
def test_what_is_no_data_is_none_in_all_planes_and_noted_where_it_surprises(read, sci, wht, note):
    def change(hdus):
        hdus["SCI"].data[7, 9], hdus["WHT"].data[7, 9] = sci, wht

    image = read(change)
    assert not image.valid[7, 9]
    assert image.valid.sum() == image.valid.size - 1
    assert (image.n_exp[7, 9], image.exptime_map_s[7, 9], image.wht[7, 9]) == (0, 0, 0)
    assert np.isnan(image.sci[7, 9])
    if note:
        (notes,) = image.meta.notes
        assert notes.startswith(note)
        assert notes.endswith("taken as missing")
    else:
        assert image.meta.notes == ()


def test_large_rates_and_weights_that_can_be_are_data(read):
    def change(hdus):
        hdus["SCI"].data[7, 9], hdus["SCI"].data[8, 9] = 9.9e7, -9.9e7
        hdus["WHT"].data[7, 9], hdus["WHT"].data[8, 9] = 9900, 1e-6

    image = read(change)
    assert image.valid.all()
    assert image.meta.notes == ()


def test_rates_are_judged_after_they_are_scaled(read):
    def change(hdus):
        hdus["SCI"].data[7, 9] = 5e9  # electrons in 1000 s

    assert read(change, InputSettings(bunit="electrons")).valid[7, 9]
    assert not read(change, InputSettings(bunit="electrons/s")).valid[7, 9]


def test_values_without_weight_are_noted_if_they_are_many(read):
    def change(hdus, n):
        hdus["WHT"].data.ravel()[:n] = 0

    assert read(lambda hdus: change(hdus, 63)).meta.notes == ()
    (note,) = read(lambda hdus: change(hdus, 64)).meta.notes
    assert note == "64 pixels with a value but weight 0: taken as missing"


@settings(max_examples=150, deadline=None)
@given(
    rates=st.lists(ANY, min_size=8, max_size=8),
    weights=st.lists(ANY, min_size=8, max_size=8),
    exptime_s=st.floats(1e-3, 1e6),
    with_weight=st.booleans(),
)
def test_whatever_the_planes_hold_valid_pixels_are_numbers(rates, weights, exptime_s, with_weight):
    sci, wht = noise(2), np.full(SHAPE, exptime_s, dtype=np.float32)
    sci.ravel()[100:108], wht.ravel()[100:108] = rates, weights
    before = sci.copy()
    valid, _ = mark_no_data(sci, wht if with_weight else None)
    if with_weight:
        time = wht.copy()
        mark_no_time(sci, time, valid, exptime_s)
        assert np.array_equal(time > 0, valid)
        assert np.all(np.isfinite(time))
        assert time.max() <= 10.001 * exptime_s
    assert np.array_equal(np.isfinite(sci), valid)
    np.testing.assert_array_equal(sci[valid], before[valid])
    assert np.abs(sci[valid]).max() <= MAX_RATE


# ---------------------------------------------------------------- nothing in it


@pytest.mark.parametrize("value", [0.0, 3.5, -1.0])
@pytest.mark.parametrize("border", [np.nan, 7.0])
def test_an_image_of_one_value_is_refused(read, value, border):
    def change(hdus):
        hdus["SCI"].data[:] = value
        hdus["SCI"].data[:5], hdus["WHT"].data[:5], hdus["CTX"].data[:5] = border, 0, 0

    told = "SCI is exactly 0" if value == 0 else f"every pixel with data is {value:g}"
    with pytest.raises(InconsistentImage, match=told):
        read(change)
    assert read(change, InputSettings(verify=False)).valid.sum() == 65 * 30


def test_an_image_of_two_values_is_an_image(read):
    def change(hdus):
        hdus["SCI"].data[:] = 2.0
        hdus["SCI"].data[69, 29] = 3.0

    assert read(change).valid.all()


@pytest.mark.parametrize("weight", [0, -3, np.nan, np.inf])
def test_without_any_weight_there_is_nothing(read, weight):
    def change(hdus):
        hdus["WHT"].data[:] = weight

    with pytest.raises(InconsistentImage, match="none has both a rate and weight"):
        read(change)


@pytest.mark.parametrize("rate", [np.nan, np.inf, 1e30])
def test_without_any_rate_there_is_nothing(read, rate):
    def change(hdus):
        hdus["SCI"].data[:] = rate

    with pytest.raises(InconsistentImage, match="no valid pixel"):
        read(change)


def test_zeros_without_weight_are_nothing(read):
    def change(hdus):
        hdus["SCI"].data[:] = 0
        del hdus["WHT"]

    with pytest.raises(InconsistentImage, match="a value other than 0"):
        read(change)
