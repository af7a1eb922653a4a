"""The kernels of the photometry against photutils, astropy, scipy and brute force."""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from scipy.optimize import least_squares

from bycatch.kernels import threads
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.fastmath import fast_exp, fast_log
from bycatch.kernels.moffat import (
    ALPHA,
    FIRST_ALPHA,
    GAMMA_PX,
    MIN_PIXELS,
    fit_moffat,
    fit_moffat_at,
)
from bycatch.kernels.neighbourhood import all_within, any_within, coverage, plane
from bycatch.kernels.skystats import annulus_stats, clipped_rows

FEW = settings(max_examples=60, deadline=None, derandomize=True)
SHAPES = [(40, 53), (1, 1), (3, 60), (60, 2)]
NOWHERE = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 5.0, 5.0])
NOWHERE_Y = np.array([5.0, 5.0, 5.0, 5.0, 5.0, np.nan, -4e9])


def scene(shape, seed=1, n=80):
    """Return noise with holes, and positions in, around and on whole and half pixels."""
    rng = np.random.default_rng(seed)
    data = rng.normal(1, 1, shape).astype(np.float32)
    valid = rng.random(shape) > 0.1
    data[~valid] = np.nan
    x, y = rng.uniform(-14, shape[1] + 14, n), rng.uniform(-14, shape[0] + 14, n)
    x[: n // 4], y[n // 8 : n // 2] = np.rint(x[: n // 4]), np.rint(2 * y[n // 8 : n // 2]) / 2
    return data, valid, x, y


def distances(shape, x, y):
    rows, columns = np.indices(shape)
    return np.hypot(columns - x, rows - y)


# ---------------------------------------------------------------- elementary functions


def test_exponential_and_logarithm_have_all_their_digits():
    rng = np.random.default_rng(1)
    x = np.concatenate([-(10 ** rng.uniform(-20, 2.8, 400)), 10 ** rng.uniform(-20, 2.8, 400), [0]])
    np.testing.assert_allclose([fast_exp(v) for v in x], np.exp(x), rtol=2e-14)
    x = np.concatenate([1 + 10 ** rng.uniform(-17, 300, 400), 2.0 ** np.arange(0, 100, 9)])
    np.testing.assert_allclose([fast_log(v) for v in x], np.log(x), rtol=2e-15, atol=1e-15)


# ---------------------------------------------------------------- apertures


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radii", [(2, 4, 6, 8, 10), (0.1, 0.5, np.sqrt(0.5), 1.0, 3.3), (5.0,)])
def test_sums_and_areas_equal_photutils(shape, radii):
    data, valid, x, y = scene(shape)
    sums, areas = circle_sums(data, valid, x, y, radii)
    image, weight = np.where(valid, data, 0).astype(float), valid.astype(float)
    size = np.abs(image)
    for k, radius in enumerate(radii):
        circles = CircularAperture(np.column_stack([x, y]), radius)
        their_sums, their_areas, scale = (
            np.nan_to_num(circles.do_photometry(plane)[0]) for plane in (image, weight, size)
        )
        # Relative to the sum of absolute values: a sum itself can be 0 by chance.
        assert (np.abs(sums[:, k] - their_sums) <= 1e-10 * scale + 1e-14).all()
        assert (np.abs(areas[:, k] - their_areas) <= 1e-10 * their_areas + 1e-14).all()


@FEW
@given(st.floats(-1, 12), st.floats(-1, 9), st.floats(0.01, 30))
def test_areas_are_those_of_a_circle(x, y, radius):
    valid = np.ones((81, 101), dtype=bool)
    area = circle_sums(valid.astype(np.float32), valid, [x + 45], [y + 35], [radius])[1]
    assert area[0, 0] == pytest.approx(np.pi * radius**2, rel=1e-12)


def test_radii_in_any_order_and_kinds_of_images():
    data, valid, x, y = scene((40, 53))
    data = np.nan_to_num(data)
    want = circle_sums(data, valid, x, y, (2.0, 5.0, 7.5))
    for other in (data.astype(np.float64), data.astype(">f4"), np.asfortranarray(data)):
        result = circle_sums(other, valid, x, y, (7.5, 2.0, 5.0))
        np.testing.assert_allclose(result[0][:, [1, 2, 0]], want[0], rtol=1e-12)
        np.testing.assert_array_equal(result[1][:, [1, 2, 0]], want[1])


def test_no_sums_off_the_image_or_of_nothing():
    data, valid = np.ones((9, 11), dtype=np.float32), np.ones((9, 11), dtype=bool)
    sums, areas = circle_sums(data, valid, NOWHERE, NOWHERE_Y, (1.0, 3.0))
    assert not sums.any()
    assert not areas.any()
    assert circle_sums(data, valid, [], [], (1.0, 3.0))[0].shape == (0, 2)
    assert circle_sums(data, valid, [3.0], [4.0], ())[0].shape == (1, 0)
    assert not circle_sums(data, ~valid, [3.0], [4.0], (2.0,))[1].any()


def test_an_empty_image_has_no_sums_and_no_sky():
    data, valid = np.ones((0, 7), dtype=np.float32), np.ones((0, 7), dtype=bool)
    assert not circle_sums(data, valid, [3.0], [0.0], (2.0,))[1].any()
    assert annulus_stats(data, valid, [3.0], [0.0], (1.0, 2.0), 3.0).n_pixels[0] == 0
    assert fit_moffat_at(data, valid, [3.0], [0.0], 5.0).failed[0]


# ---------------------------------------------------------------- annuli


def clipped_slowly(values, clip_sigma):
    """Clip about the median until nothing changes, as written in the definition."""
    while True:
        median, std = np.median(values), np.std(values)
        inliers = values[np.abs(values - median) <= clip_sigma * std]
        if len(inliers) in (0, len(values)):
            return median, std, len(values)
        values = inliers


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radii", [(10.0, 15.0), (0.0, 3.0), (2.5, 2.6)])
def test_annulus_statistics_are_those_of_the_definition(shape, radii):
    data, valid, x, y = scene(shape, seed=2)
    data[::7, ::3] += 30
    sky = annulus_stats(data, valid, x, y, radii, 3.0)
    for k in range(len(x)):
        d = distances(shape, x[k], y[k])
        values = data[(d >= radii[0]) & (d <= radii[1]) & valid].astype(float)
        if not len(values):
            assert sky.n_pixels[k] == 0
            assert np.isnan(sky.median[k])
            assert np.isnan(sky.std[k])
            continue
        median, std, count = clipped_slowly(values, 3.0)
        assert sky.median[k] == median
        assert sky.n_pixels[k] == count
        assert sky.std[k] == pytest.approx(std, rel=1e-12, abs=1e-14)


def test_annuli_of_a_crowded_image_equal_photutils():
    rng = np.random.default_rng(6)
    data = rng.normal(0.02, 0.01, (90, 130)).astype(np.float32)
    spots = rng.random(data.shape) < 0.06
    data[spots] += rng.exponential(5, spots.sum()).astype(np.float32)
    valid = np.ones(data.shape, dtype=bool)
    x, y = rng.uniform(0, 129, 50), rng.uniform(0, 89, 50)
    ours = annulus_stats(data, valid, x, y, (10.0, 15.0), 3.0)
    theirs = ApertureStats(
        data.astype(np.float64),
        CircularAnnulus(np.column_stack([x, y]), 10.0, 15.0),
        sigma_clip=SigmaClip(sigma=3.0, maxiters=None),
        sum_method="center",
    )
    np.testing.assert_array_equal(ours.median, theirs.median)
    np.testing.assert_allclose(ours.std, theirs.std, rtol=1e-12)
    np.testing.assert_array_equal(ours.n_pixels, np.rint(theirs.center_aper_area.value))


@FEW
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 40)),
        elements=st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, 1e4, -1e4, np.nan]),
    )
)
def test_medians_of_many_equal_values(values):
    # A clip of 1e9 sigma drops nothing: what is left is the plain median.
    median, _, count = clipped_rows(values, 1e9)
    np.testing.assert_array_equal(count, np.isfinite(values).sum(axis=1))
    for k, row in enumerate(values):
        good = row[np.isfinite(row)]
        assert median[k] == np.median(good) if good.size else np.isnan(median[k])


def test_values_that_are_no_numbers_are_no_sky():
    data = np.array([[1, np.nan, 2, np.inf, 3, -np.inf, 2]], dtype=np.float32)
    sky = annulus_stats(data, np.ones(data.shape, dtype=bool), [3.0], [0.0], (0.0, 9.0), 5.0)
    assert (sky.median[0], sky.n_pixels[0]) == (2.0, 4)


# ---------------------------------------------------------------- profiles


def model(p, r2):
    return p[3] + p[0] * (1 + r2 * np.exp(-2 * p[1])) ** -np.exp(p[2])


def fit_with_scipy(r2, values):
    """Return parameters and cost from the kernel's first guess; None where there is none."""
    r = np.sqrt(r2)
    core = values[r <= 1]
    if len(r) < MIN_PIXELS or not len(core):
        return None
    bias = values[r >= 0.8 * r.max()].mean()
    amplitude = core.max() - bias
    if amplitude <= 0:
        return None
    half_width = np.sqrt((values - bias > 0.5 * amplitude).sum() / np.pi)
    gamma = np.clip(half_width / np.sqrt(2 ** (1 / FIRST_ALPHA) - 1), 0.6, 10.0)
    fit = least_squares(
        lambda p: model(p, r2) - values,
        [amplitude, np.log(gamma), np.log(FIRST_ALPHA), bias],
        bounds=(
            [0, np.log(GAMMA_PX[0]), np.log(ALPHA[0]), -np.inf],
            [np.inf, np.log(GAMMA_PX[1]), np.log(ALPHA[1]), np.inf],
        ),
        x_scale="jac",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    return (fit.x, 2 * fit.cost) if fit.success else None


@pytest.mark.parametrize("kind", ["stars", "galaxies", "spikes"])
def test_fits_reach_the_minimum_of_scipy(kind):
    rng = np.random.default_rng({"stars": 1, "galaxies": 2, "spikes": 3}[kind])
    n, size = 60, 15
    data = rng.normal(0, 0.01, (size, size * n)).astype(np.float32)
    x, y = size * np.arange(n) + 7 + rng.uniform(-0.5, 0.5, n), 7 + rng.uniform(-0.5, 0.5, n)
    for k in range(n):
        r = distances(data.shape, x[k], y[k])[:, k * size : (k + 1) * size]
        peak = 10 ** rng.uniform(-1.3, 1.5)
        width = rng.uniform(0.3, 0.8) if kind == "spikes" else rng.uniform(1.5, 5)
        shape = {
            "stars": (1 + (r / 1.8) ** 2) ** -2.8,
            "galaxies": np.exp(-1.68 * r / width),
            "spikes": np.exp(-0.5 * (r / width) ** 2),
        }[kind]
        data[:, k * size : (k + 1) * size] += (peak * shape).astype(np.float32)
    valid = rng.random(data.shape) > 0.02
    fits = fit_moffat_at(data, valid, x, y, 5.0)
    n_compared, wide = 0, 0
    for k in range(n):
        d = distances(data.shape, x[k], y[k])
        mask = (d <= 5) & valid
        r2, values = d[mask] ** 2, data[mask].astype(float)
        theirs = fit_with_scipy(r2, values)
        if theirs is None or fits.failed[k]:
            continue
        p, cost = theirs
        ours = [fits.amplitude[k], np.log(fits.gamma_px[k]), np.log(fits.alpha[k]), fits.bias[k]]
        our_cost = float(((model(ours, r2) - values) ** 2).sum())
        if fits.pinned[k] or our_cost < cost * (1 - 1e-9):
            # At a border scipy stops short of it; elsewhere ours may be the better minimum.
            assert our_cost <= cost * (1 + 1e-6)
            continue
        n_compared += 1
        width = 2 * np.exp(p[1]) * np.sqrt(2 ** np.exp(-p[2]) - 1)
        wide += abs(fits.fwhm_px[k] - width) > 1e-3
    assert n_compared >= {"stars": 40, "galaxies": 10, "spikes": 5}[kind]
    assert wide == 0
    assert fits.failed.mean() < 0.1


@pytest.mark.parametrize("y_range", [(-1, 2), (27, 30)])
def test_fits_at_the_border_reach_the_minimum_of_scipy(y_range):
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.01, (30, 34))
    valid = rng.random(noise.shape) > 0.05
    n_compared = 0
    for x, y in zip(rng.uniform(-1, 34, 60), rng.uniform(*y_range, 60), strict=True):
        d = distances(noise.shape, x, y)
        data = (noise + 2 * (1 + (d / 1.8) ** 2) ** -2.8).astype(np.float32)
        mask = (d <= 5) & valid
        r2, values = d[mask] ** 2, data[mask].astype(float)
        data[~valid] = np.nan
        fit = fit_moffat_at(data, valid, [x], [y], 5.0)
        theirs = fit_with_scipy(r2, values)
        assert fit.failed[0] == (theirs is None)
        if theirs is not None:
            ours = [fit.amplitude, np.log(fit.gamma_px), np.log(fit.alpha), fit.bias]
            cost = ((model(ours, r2) - values) ** 2).sum()
            # A border that scipy stops short of, or a better minimum, may make ours less.
            assert cost <= theirs[1] * (1 + 1e-6)
            n_compared += 1
    assert 30 < n_compared < 60


def test_fits_at_positions_are_those_of_their_pixels():
    data, valid, x, y = scene((40, 53), seed=5)
    data += np.float32(0)
    fits = fit_moffat_at(data, valid, x, y, 4.0)
    d = np.array([distances(data.shape, *p).ravel() for p in zip(x, y, strict=True)])
    mask = (d <= 4) & valid.ravel()
    rows = fit_moffat(d, np.broadcast_to(data.ravel(), d.shape), mask)
    for name in ("amplitude", "gamma_px", "alpha", "bias"):
        np.testing.assert_allclose(getattr(fits, name), getattr(rows, name), rtol=1e-4)
    np.testing.assert_array_equal(fits.failed, rows.failed)
    np.testing.assert_array_equal(fits.pinned, rows.pinned)
    assert 0 < fits.failed.sum() < len(x)


def test_no_fit_off_the_image_or_of_what_is_no_number():
    data, valid = np.ones((9, 11), dtype=np.float32), np.ones((9, 11), dtype=bool)
    fits = fit_moffat_at(data, valid, NOWHERE, NOWHERE_Y, 5.0)
    assert fits.failed.all()
    assert np.isnan(fits.fwhm_px).all()
    assert not fits.pinned.any()
    for value in (np.nan, np.inf, -np.inf):
        spoilt = data.copy()
        spoilt[4, 5], spoilt[2, 5] = 9, value
        assert fit_moffat_at(spoilt, valid, [5.0], [4.0], 5.0).failed[0]
        hidden = fit_moffat_at(spoilt, np.isfinite(spoilt), [5.0], [4.0], 5.0)
        assert not hidden.failed[0]
    assert fit_moffat_at(data, valid, [], [], 5.0).fwhm_px.shape == (0,)


def test_a_spike_below_its_neighbours_has_its_narrow_fit():
    # The light is in one pixel: no positive amplitude fits a wide profile on this slope.
    r2 = np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2).ravel().astype(float)
    values = 0.01 * np.minimum(r2, 20.0)
    values[r2 == 0] = 0.3
    fits = fit_moffat(np.sqrt(r2)[np.newaxis], values[np.newaxis], (r2 <= 25)[np.newaxis])
    assert not fits.failed[0]
    assert fits.fwhm_px[0] < 1.5


# ---------------------------------------------------------------- neighbourhoods


@FEW
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 11))),
    st.floats(-15, 20),
    st.floats(-15, 20),
    st.floats(0, 7),
)
def test_any_and_all_within_equal_brute_force(mask, x, y, radius):
    d = distances(mask.shape, x, y)
    # A tie of a distance and the radius may fall either way by rounding.
    if np.abs(d - radius).min() < 1e-9 * max(radius, 1):
        return
    assert any_within(mask, [x], [y], radius)[0] == (mask & (d <= radius)).any()
    ny, nx = mask.shape
    inside = radius <= x <= nx - 1 - radius and radius <= y <= ny - 1 - radius
    assert all_within(mask, [x], [y], radius)[0] == (inside and mask[d <= radius].all())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radii", [(2.0, 4.0), (0.0, 0.0), (3.0, 3.0)])
def test_coverage_equals_brute_force(shape, radii):
    rng = np.random.default_rng(3)
    data, valid, x, y = scene(shape, seed=3)
    n_exp = rng.integers(0, 5, shape).astype(np.int16)
    seconds = rng.uniform(100, 900, shape).astype(np.float32)
    result = coverage((data, valid, n_exp, seconds), x, y, *radii)
    for k in range(len(x)):
        d = distances(shape, x[k], y[k])
        inner, outer = valid & (d <= radii[0]), valid & (d <= radii[1])
        assert result.n_exp[k] == (np.median(n_exp[inner]) if inner.any() else 0)
        assert result.n_exp_min[k] == (n_exp[outer].min() if outer.any() else 0)
        mean = seconds[outer].astype(float).mean() if outer.any() else 0.0
        assert result.exptime_s[k] == pytest.approx(mean, rel=1e-12)
        peak = data[inner].max() if inner.any() else np.nan
        np.testing.assert_equal(result.peak_rate[k], peak)


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbourhoods_of_many_positions_equal_brute_force(shape, monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    rng = np.random.default_rng(4)
    data, valid, x, y = scene(shape, seed=4, n=500)
    assert len(x) >= 2 * threads.WORTH_A_THREAD
    n_exp = rng.integers(0, 5, shape).astype(np.int16)
    seconds = (rng.uniform(100, 900, shape) * (n_exp > 0)).astype(np.float32)
    near = coverage((data, valid, n_exp, seconds), x, y, 2.0, 4.0)
    any_missing, all_valid = any_within(~valid, x, y, 2.0), all_within(valid, x, y, 2.0)
    ny, nx = shape
    for k in range(len(x)):
        d = distances(shape, x[k], y[k])
        inner, outer = valid & (d <= 2), valid & (d <= 4)
        assert near.n_exp[k] == (np.median(n_exp[inner]) if inner.any() else 0)
        assert near.n_exp_min[k] == (n_exp[outer].min() if outer.any() else 0)
        mean = seconds[outer].astype(float).mean() if outer.any() else 0.0
        assert near.exptime_s[k] == pytest.approx(mean, rel=1e-12)
        assert any_missing[k] == (~valid & (d <= 2)).any()
        inside = 2 <= x[k] <= nx - 3 and 2 <= y[k] <= ny - 3
        assert all_valid[k] == (inside and valid[d <= 2].all())


def test_nothing_is_near_what_is_no_position():
    mask, ones = np.ones((9, 11), dtype=bool), np.ones((9, 11), dtype=np.float32)
    assert not any_within(mask, NOWHERE, NOWHERE_Y, 3.0).any()
    assert not all_within(mask, NOWHERE, NOWHERE_Y, 3.0).any()
    near = coverage((ones, mask, ones.astype(np.int16), ones), NOWHERE, NOWHERE_Y, 2.0, 4.0)
    assert not near.n_exp.any()
    assert not near.n_exp_min.any()
    assert not near.exptime_s.any()
    assert np.isnan(near.peak_rate).all()
    for is_inside in (any_within, all_within):
        assert is_inside(mask, [], [], 2.0).shape == (0,)


def test_kernels_see_one_kind_of_image():
    for image in (
        np.ones((3, 4), dtype=np.float32),
        np.ones((3, 4), dtype=">f4"),
        np.ones((4, 3), dtype=np.float32).T,
        np.ones((6, 8), dtype=np.float32)[::2, ::2],
    ):
        seen = plane(image)
        assert seen.dtype == np.float32
        assert seen.flags.c_contiguous
        assert not seen.flags.writeable
        assert image.flags.writeable
    for kind in ("f8", "i4", ">f8", "u1"):
        assert plane(np.ones((3, 4), dtype=kind)).dtype == np.float64
