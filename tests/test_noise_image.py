"""Images in electrons, their level, scatter and expected noise, against plain numpy."""

import numpy as np
import pytest

from bycatch.kernels import box_scatter, noise_image

# ---------------------------------------------------------------- level and scatter


def slow_level_and_scatter(values, good):
    boxes = []
    for y in range(0, values.shape[0], box_scatter.BOX_PX):
        for x in range(0, values.shape[1], box_scatter.BOX_PX):
            part = np.s_[y : y + box_scatter.BOX_PX, x : x + box_scatter.BOX_PX]
            box = values[part][good[part]].astype(float)
            if box.size >= min(box_scatter.MIN_BOX_PX, values.size // 4) and box.size:
                boxes.append(np.percentile(box, [15.87, 50]))
    low, middle = np.transpose(boxes)
    return np.median(middle), np.median(middle - low)


@pytest.mark.parametrize("shape", [(200, 150), (64, 64), (3, 5), (130, 66)])
def test_level_and_scatter_are_those_of_percentiles(shape):
    rng = np.random.default_rng(6)
    for numbers in (
        rng.normal(3, 2, shape), rng.integers(0, 4, shape) * 1.0, np.full(shape, 2.0),
        rng.normal(0, 1, shape) ** 9,
    ):  # fmt: skip
        values = numbers.astype(np.float32)
        good = rng.random(shape) < 0.8
        good[0, :2] = True
        values[~good] = np.nan
        result = box_scatter.level_and_scatter(values, good)
        np.testing.assert_allclose(result, slow_level_and_scatter(values, good), rtol=1e-12)


@pytest.mark.parametrize("n_good", [1, 40])
def test_pixels_too_few_for_boxes_have_a_median_and_no_scatter(n_good):
    rng = np.random.default_rng(8)
    values, good = rng.normal(3, 1, (200, 200)).astype(np.float32), np.zeros((200, 200), bool)
    good.flat[rng.permutation(good.size)[:n_good]] = True
    values[~good] = np.nan
    assert box_scatter.level_and_scatter(values, good) == (np.median(values[good]), 0)


def test_level_of_one_pixel_is_its_value():
    assert box_scatter.level_and_scatter(np.full((1, 1), 2.5), np.ones((1, 1), bool)) == (2.5, 0)


def test_level_without_pixels_is_zero():
    assert box_scatter.level_and_scatter(np.ones((4, 4)), np.zeros((4, 4), bool)) == (0.0, 0.0)


# ---------------------------------------------------------------- electrons and their noise

AREA, DARK, READNOISE_E, SKY, ADDED, TYPICAL_S, LIMIT_E = 0.8, 0.012, 4.2, 0.09, 0.04, 500.0, 3e4
MODEL = noise_image.NoiseModel(
    AREA, DARK, READNOISE_E, sky_rate=SKY, added_rate=ADDED, typical_s=TYPICAL_S
)


def variance_without_light(seconds, n_exp):
    return AREA * (DARK * seconds.astype(float) + READNOISE_E**2 * np.maximum(n_exp, 1))


def exposed(shape, rng):
    """Return rates with hits, exposure times and numbers, and which pixels are good."""
    good = rng.random(shape) < 0.9
    is_hit = rng.random(shape) < 0.01
    for corner in ((0, 0), (-1, -1)):
        good[corner] = is_hit[corner] = True
    rate = rng.normal(0, 0.2, shape).astype(np.float32)
    rate[is_hit] = rng.uniform(40, 400, is_hit.sum())
    rate[~good] = np.nan
    seconds = np.where(good, rng.choice([300.0, 600.0], shape), 0).astype(np.float32)
    return rate, seconds, rng.integers(0, 4, shape).astype(np.int16), good


def diamonds_around(mask, reach):
    """Return what lies within so many steps, along rows and columns, of a pixel of a mask."""
    rows, columns = np.indices(mask.shape)
    out = np.zeros(mask.shape, bool)
    for row, column in zip(*np.nonzero(mask), strict=True):
        out |= abs(rows - row) + abs(columns - column) <= reach
    return out


@pytest.mark.parametrize("shape", [(90, 140), (1, 1), (2, 9), (5, 3), (600, 30)])
def test_electrons_variance_and_residuals_follow_the_model(shape):
    rng = np.random.default_rng(7)
    rate, seconds, n_exp, good = exposed(shape, rng)
    counts, is_saturated = noise_image.electrons(rate, seconds, n_exp, good, MODEL, LIMIT_E)
    expected = np.where(good, (rate.astype(float) + ADDED) * seconds, SKY * TYPICAL_S)
    # Rates of float32, which the added one may nearly cancel.
    np.testing.assert_allclose(counts, expected, rtol=1e-6, atol=1e-4)
    over = expected > LIMIT_E * np.maximum(n_exp, 1)
    np.testing.assert_array_equal(is_saturated, diamonds_around(over, 3))
    time_s = np.where(good, seconds, TYPICAL_S)
    sky = SKY * time_s
    variance = np.maximum(expected, 0.5 * sky) + variance_without_light(time_s, n_exp)
    result = noise_image.variance_plane(counts, seconds, n_exp, good, MODEL, 0.49)
    np.testing.assert_allclose(result, 0.49 * variance, rtol=1e-6, atol=1e-4)
    residual = (expected - sky) / np.sqrt(variance)
    scatter = box_scatter.residual_scatter(counts, seconds, n_exp, good, MODEL)
    assert scatter == pytest.approx(slow_level_and_scatter(residual, good)[1], rel=1e-5)


def test_exposed_pixels_are_of_all_kinds():
    rate, seconds, n_exp, good = (
        plane.ravel() for plane in exposed((90, 140), np.random.default_rng(7))
    )
    counts = (rate + ADDED) * seconds
    over = counts > LIMIT_E * np.maximum(n_exp, 1)
    assert over.sum() > 30
    assert (counts > LIMIT_E).sum() > over.sum() + 10
    assert (counts < 0.5 * SKY * seconds).mean() > 0.2
    assert (n_exp[good] == 0).mean() > 0.2


# ---------------------------------------------------------------- the typical variance


@pytest.mark.parametrize("shape", [(200, 150), (1, 1), (1, 7), (2000, 40)])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("times_s", ["any", "two", "equal"])
@pytest.mark.parametrize("missing_s", [0.0, np.nan, 450.0])
def test_typical_variance_is_the_median_over_good_pixels(shape, share, times_s, missing_s):
    rng = np.random.default_rng(9)
    seconds = {
        "any": rng.uniform(1, 1000, shape),
        "two": rng.choice([300.0, 613.7], shape),
        "equal": np.full(shape, 500.0),
    }[times_s].astype(np.float32)
    n_exp, good = rng.integers(0, 4, shape).astype(np.int16), rng.random(shape) < share
    good[-1, -1] = True
    seconds[~good] = missing_s
    result = MODEL.typical_fixed(seconds, n_exp, good)
    expected = np.median(variance_without_light(seconds[good], n_exp[good]))
    assert result == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(200, 150), (2000, 40)])
def test_typical_variance_where_rows_far_apart_are_not_typical(shape):
    every = shape[0] // 64
    seconds = np.full(shape, 100, np.float32)
    seconds[::every] = 900
    n_exp = np.random.default_rng(10).integers(0, 2, shape).astype(np.int16)
    good = np.ones(shape, bool)
    expected = np.median(variance_without_light(seconds, n_exp))
    assert MODEL.typical_fixed(seconds, n_exp, good) == pytest.approx(expected, rel=1e-6)
    assert np.median(variance_without_light(seconds[::every], n_exp[::every])) > 1.2 * expected
