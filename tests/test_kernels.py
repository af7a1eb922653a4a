"""Kernels against brute force and against the same thing in other libraries."""

import numpy as np
import pytest
from astropy.convolution import convolve
from astropy.stats import SigmaClip, sigma_clipped_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from photutils.aperture import ApertureStats, CircularAnnulus
from scipy.optimize import least_squares

from bycatch.kernels.exposures import box_fraction, exposure_counts, mask_shares
from bycatch.kernels.moffat import ALPHA, GAMMA_PX, fit_moffat
from bycatch.kernels.neighbourhood import bilinear, neighbourhood
from bycatch.kernels.skystats import annulus_stats, clipped_rows
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image

FEW = settings(max_examples=60, deadline=None, derandomize=True)


# ---------------------------------------------------------------- exposures per pixel


def count_bits_slowly(planes):
    counts = np.zeros(planes.shape[1:], dtype=int)
    for plane in planes:
        for row, column in np.ndindex(plane.shape):
            value = int(plane[row, column]) % 2**32
            while value:
                counts[row, column] += value & 1
                value >>= 1
    return counts


@FEW
@given(arrays(np.uint32, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))))
def test_exposure_counts_of_any_bits_in_signed_planes(bits):
    planes = bits.view(np.int32)
    counts = exposure_counts(planes)
    assert counts.dtype == np.int16
    np.testing.assert_array_equal(counts, count_bits_slowly(planes))
    np.testing.assert_array_equal(exposure_counts(planes[0]), count_bits_slowly(planes[:1]))


def test_exposure_counts_of_many_rows_are_numpys():
    bits = np.random.default_rng(1).integers(0, 2**32, (2, 700, 3), dtype=np.uint32)
    bits[:, :, 1] = 0
    bits[:, ::3] = 0
    single = np.unpackbits(bits.view(np.uint8).reshape(2, 700, 3, 4), axis=3)
    np.testing.assert_array_equal(exposure_counts(bits.view(np.int32)), single.sum(axis=(0, 3)))


@pytest.mark.parametrize("kind", [">i4", "<i4", "i8", "u4", "i2", "u1"])
def test_exposure_counts_of_other_integer_types(kind):
    context = np.array([[0, 1, 5, 127]], dtype=kind)
    np.testing.assert_array_equal(exposure_counts(context), [[0, 1, 2, 7]])


def test_the_32nd_input_makes_the_value_negative_and_counts_once():
    assert exposure_counts(np.array([[-(2**31)]], dtype=np.int32))[0, 0] == 1
    # 35 inputs in two planes, as drizzle writes them
    planes = np.array([[[-1]], [[7]]], dtype=np.int32)
    assert exposure_counts(planes)[0, 0] == 35


def test_exposure_counts_of_nothing():
    assert exposure_counts(np.zeros((0, 7), dtype=np.int32)).shape == (0, 7)


# ---------------------------------------------------------------- coverage around positions


@FEW
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 11))),
    st.lists(st.tuples(st.floats(-15, 20), st.floats(-15, 20)), max_size=5),
    st.integers(1, 12),
)
def test_box_fraction_equals_brute_force(mask, positions, box_px):
    x, y = np.array(positions).reshape(-1, 2).T
    result = box_fraction(mask, x, y, box_px)
    for value, xi, yi in zip(result, x, y, strict=True):
        x0, y0 = round(xi) - box_px // 2, round(yi) - box_px // 2
        box = [
            mask[row, column]
            for row in range(y0, y0 + box_px)
            for column in range(x0, x0 + box_px)
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        ]
        if box:
            assert value == pytest.approx(np.mean(box), abs=1e-14)
        else:
            assert np.isnan(value)


def test_box_fraction_is_nan_where_there_is_no_position():
    mask = np.ones((4, 6), dtype=bool)
    x, y = np.array([np.nan, 2.0, np.inf, 1e30, 2.0]), np.array([1.0, np.nan, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(box_fraction(mask, x, y, 3), [np.nan] * 4 + [1.0])


# ---------------------------------------------------------------- smoothing


def test_gaussian_kernel_is_the_sampled_gaussian():
    kernel = gaussian_kernel(2.5, 3)
    sigma = 2.5 / 2.3548200450309493
    assert kernel.sum() == pytest.approx(1, abs=1e-15)
    assert kernel[1, 2] / kernel[1, 1] == pytest.approx(np.exp(-0.5 / sigma**2), rel=1e-12)
    assert kernel[0, 0] / kernel[1, 1] == pytest.approx(np.exp(-1 / sigma**2), rel=1e-12)
    np.testing.assert_array_equal(gaussian_kernel(2.5, 1), [[1.0]])


@pytest.mark.parametrize("shape", [(23, 31), (31, 23), (1, 9), (2, 2)])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.filterwarnings("ignore:nan_treatment:astropy.utils.exceptions.AstropyUserWarning")
def test_smoothed_agrees_with_astropy(shape, size):
    rng = np.random.default_rng(5)
    data = rng.normal(3, 1, shape).astype(np.float32)
    data[rng.random(shape) < 0.2] = np.nan
    valid = np.isfinite(data)
    valid[0, 0], data[0, 0] = True, 1.0
    kernel = gaussian_kernel(2.5, size)
    theirs = convolve(
        data.astype(float), kernel, boundary="fill", fill_value=np.nan, nan_treatment="interpolate"
    )
    is_finite = np.isfinite(theirs)
    ours = smooth_image(data, valid, kernel)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[is_finite], theirs[is_finite], rtol=3e-6)
    assert not ours[~is_finite].any()


def test_smoothing_keeps_a_constant_up_to_the_borders_and_holes():
    valid = np.ones((9, 12), dtype=bool)
    valid[3:6, 4] = False
    data = np.where(valid, np.float32(7), np.float32(np.nan))
    np.testing.assert_allclose(smooth_image(data, valid, gaussian_kernel(2.5, 5)), 7, rtol=1e-6)


def test_smoothing_where_nothing_is_valid_gives_zero():
    data = np.full((5, 6), np.nan, dtype=np.float32)
    assert not smooth_image(data, np.zeros((5, 6), dtype=bool), gaussian_kernel(2.5, 3)).any()


# ---------------------------------------------------------------- neighbourhoods


@FEW
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 9)),
    st.floats(-20, 25),
    st.floats(-20, 25),
    st.floats(0, 6),
)
def test_neighbourhood_holds_every_pixel_within_the_radius_once(shape, x, y, radius):
    near = neighbourhood(shape, x, y, radius)
    within = near.distance[0] <= radius
    result = list(zip(near.rows[0][within], near.columns[0][within], strict=True))
    rows, columns = np.indices(shape)
    distance = np.hypot(columns - x, rows - y)
    assert sorted(result) == sorted(zip(*np.nonzero(distance <= radius), strict=True))
    np.testing.assert_allclose(
        near.distance[0][within], [distance[pixel] for pixel in result], rtol=1e-12
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_neighbourhood_of_no_position_is_off_the_image(bad):
    near = neighbourhood((5, 7), [bad, 2.0, bad], [2.0, bad, bad], 3.0)
    assert np.isinf(near.distance).all()
    assert near.take(np.ones((5, 7))).shape == near.distance.shape


def test_values_between_pixels_are_scipys():
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(5)
    planes = rng.normal(size=(3, 6, 9))
    x, y = rng.uniform(-2, 11, (2, 40, 5))
    expected = [map_coordinates(plane, [y, x], order=1, mode="nearest") for plane in planes]
    np.testing.assert_allclose(bilinear(planes, x, y), expected, atol=1e-12)
    np.testing.assert_allclose(bilinear(planes[0], 8.0, 5.0), planes[0, 5, 8])
    assert bilinear(planes[0], [np.nan], [np.nan]) == planes[0, 0, 0]


def test_neighbourhood_of_no_positions():
    near = neighbourhood((5, 7), [], [], 2.0)
    assert near.distance.shape[0] == 0


# ---------------------------------------------------------------- clipped statistics


@FEW
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 60)),
        elements=st.one_of(
            st.floats(-100, 100, width=32), st.just(np.nan), st.sampled_from([0.0, 1.0, 5000.0])
        ),
    ),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_clipped_rows_agree_with_astropy(values, clip_sigma):
    median, std, count = clipped_rows(values, clip_sigma)
    for k, row in enumerate(values):
        good = row[np.isfinite(row)]
        assert count[k] <= good.size
        if not good.size:
            assert np.isnan(median[k])
            assert np.isnan(std[k])
            assert count[k] == 0
            continue
        inliers = SigmaClip(sigma=clip_sigma, maxiters=None)(good, masked=False)
        if inliers.size != count[k]:
            # A value exactly on the border may fall either way by rounding.
            border = np.abs(np.abs(good - median[k]) - clip_sigma * std[k])
            assert border.min() <= 1e-6 * max(1.0, np.abs(good).max())
            continue
        assert median[k] == pytest.approx(np.median(inliers), rel=1e-12, abs=1e-12)
        scale = max(1.0, np.abs(good).max())
        assert std[k] == pytest.approx(np.std(inliers), rel=1e-6, abs=1e-6 * scale)


def test_rounding_does_not_clip_a_row_away():
    median, _, count = clipped_rows(np.array([[-1.0, 6e-41, 0.0]]), 1.0)
    assert count[0] == 2
    assert median[0] == pytest.approx(0.0, abs=1e-30)


def test_clipping_is_exact_far_from_zero():
    rng = np.random.default_rng(2)
    values = rng.normal(1e6, 1e-3, (50, 300))
    values[:, ::20] += 5
    median, std, count = clipped_rows(values, 3.0)
    for k in range(50):
        _, their_median, their_std = sigma_clipped_stats(values[k], sigma=3.0, maxiters=None)
        assert median[k] == pytest.approx(their_median, abs=1e-9)
        assert std[k] == pytest.approx(their_std, rel=1e-5)
        assert count[k] < 300


def test_clipping_with_bright_outliers_keeps_the_precision_of_the_rest():
    # A saturated neighbour of 1e5 e/s in an annulus whose scatter is 0.01 e/s.
    rng = np.random.default_rng(4)
    values = rng.normal(0, 0.01, (20, 400))
    values[:, 7], values[:, 9] = 1e5, 3e4
    _, std, count = clipped_rows(values, 3.0)
    for k in range(20):
        inliers = SigmaClip(sigma=3.0, maxiters=None)(values[k], masked=False)
        assert count[k] == inliers.size
        assert std[k] == pytest.approx(np.std(inliers), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_clipped_rows_of_nothing(shape):
    median, std, count = clipped_rows(np.empty(shape), 3.0)
    assert median.shape == std.shape == count.shape == shape[:1]
    assert np.isnan(median).all()
    assert np.isnan(std).all()
    assert not count.any()


def test_annulus_statistics_equal_photutils_source_by_source():
    rng = np.random.default_rng(11)
    data = rng.normal(0.02, 0.01, (90, 130)).astype(np.float32)
    data[rng.random(data.shape) < 0.01] += 3
    valid = rng.random(data.shape) > 0.05
    valid[:, :20] = False
    x, y = rng.uniform(-3, 132, 60), rng.uniform(-3, 92, 60)
    ours = annulus_stats(data, valid, x, y, (10.0, 15.0), 3.0)
    theirs = ApertureStats(
        data.astype(np.float64),
        CircularAnnulus(np.column_stack([x, y]), 10.0, 15.0),
        mask=~valid,
        sigma_clip=SigmaClip(sigma=3.0, maxiters=None),
        sum_method="center",
    )
    is_finite = np.isfinite(theirs.median)
    assert is_finite.sum() > 40
    np.testing.assert_allclose(
        ours.median[is_finite], theirs.median[is_finite], rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(ours.std[is_finite], theirs.std[is_finite], rtol=1e-9)
    np.testing.assert_array_equal(
        ours.n_pixels[is_finite], np.rint(theirs.center_aper_area.value[is_finite])
    )
    assert np.isnan(ours.median[~is_finite]).all()
    assert not ours.n_pixels[~is_finite].any()


def test_annulus_statistics_do_not_depend_on_the_other_positions():
    rng = np.random.default_rng(12)
    data = rng.normal(0, 1, (40, 50)).astype(np.float32)
    valid = np.ones(data.shape, dtype=bool)
    x, y = rng.uniform(0, 49, 203), rng.uniform(0, 39, 203)
    whole = annulus_stats(data, valid, x, y, (3.0, 6.0), 3.0)
    tail = annulus_stats(data, valid, x[-4:], y[-4:], (3.0, 6.0), 3.0)
    np.testing.assert_array_equal(whole.median[-4:], tail.median)
    np.testing.assert_array_equal(whole.std[-4:], tail.std)


def test_annulus_statistics_off_the_image_without_position_and_of_nothing():
    data, valid = np.ones((20, 30), dtype=np.float32), np.ones((20, 30), dtype=bool)
    sky = annulus_stats(
        data, valid, np.array([-500.0, np.nan, 15]), np.array([3.0, 3, 10]), (5, 8), 3.0
    )
    np.testing.assert_array_equal(sky.median, [np.nan, np.nan, 1.0])
    np.testing.assert_array_equal(sky.std, [np.nan, np.nan, 0.0])
    assert sky.n_pixels[:2].sum() == 0
    empty = annulus_stats(data, valid, np.empty(0), np.empty(0), (5, 8), 3.0)
    assert empty.median.shape == empty.std.shape == empty.n_pixels.shape == (0,)


# ---------------------------------------------------------------- Moffat profiles


def moffat(r, amplitude, gamma, alpha, bias):
    return bias + amplitude * (1 + (r / gamma) ** 2) ** -alpha


def star_pixels(n, radius=5.0, seed=1):
    rng = np.random.default_rng(seed)
    near = neighbourhood((41, 41), 20 + rng.uniform(-0.5, 0.5, n), np.full(n, 20.2), radius)
    return np.where(near.distance <= radius, near.distance, 0.0), near.distance <= radius


@pytest.mark.parametrize("fwhm", [1.2, 2.1, 3.5])
@pytest.mark.parametrize("alpha", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("bias", [0.0, -0.03, 2.0])
def test_noiseless_profiles_come_back(fwhm, alpha, bias):
    r, mask = star_pixels(12)
    gamma = fwhm / (2 * np.sqrt(2 ** (1 / alpha) - 1))
    fits = fit_moffat(r, moffat(r, 10.0, gamma, alpha, bias), mask)
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.fwhm_px, fwhm, atol=1e-4)
    np.testing.assert_allclose(fits.alpha, alpha, rtol=1e-3)
    np.testing.assert_allclose(fits.bias, bias, atol=1e-4)


def test_noisy_fits_agree_with_scipy():
    rng = np.random.default_rng(8)
    n = 200
    r, mask = star_pixels(n)
    fwhm, alpha = rng.uniform(1.5, 4, n), rng.uniform(1.5, 5, n)
    gamma = fwhm / (2 * np.sqrt(2 ** (1 / alpha) - 1))
    amplitude = rng.uniform(0.3, 30, n)
    clean = moffat(r, amplitude[:, None], gamma[:, None], alpha[:, None], 0.01)
    values = clean + rng.normal(0, 0.02, r.shape)
    fits = fit_moffat(r, values, mask)
    low, high = np.log([GAMMA_PX[0], ALPHA[0]]), np.log([GAMMA_PX[1], ALPHA[1]])
    n_compared = 0
    for k in range(n):

        def residual(p, k=k):
            model = moffat(r[k], p[0], np.exp(p[1]), np.exp(p[2]), p[3])
            return (model - values[k])[mask[k]]

        theirs = least_squares(
            residual,
            [amplitude[k], np.log(gamma[k]), np.log(alpha[k]), 0.01],
            bounds=([-np.inf, low[0], low[1], -np.inf], [np.inf, high[0], high[1], np.inf]),
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        inside = np.exp(theirs.x[2]) < 0.9 * ALPHA[1] and np.exp(theirs.x[1]) < 0.9 * GAMMA_PX[1]
        if not (theirs.success and inside):
            continue
        n_compared += 1
        width = 2 * np.exp(theirs.x[1]) * np.sqrt(2 ** np.exp(-theirs.x[2]) - 1)
        assert not fits.failed[k]
        assert fits.fwhm_px[k] == pytest.approx(width, abs=1e-3)
    assert n_compared > 150


def test_unused_pixels_and_missing_values_do_not_enter():
    r, mask = star_pixels(3)
    values = moffat(r, 5.0, 2.0, 3.0, 0.1)
    holes = mask.copy()
    holes[:, ::7] = False
    spoilt = np.where(holes, values, np.nan)
    fits = fit_moffat(r, spoilt, holes)
    np.testing.assert_allclose(fits.gamma_px, 2.0, rtol=1e-4)


def test_hopeless_profiles_fail_and_say_so():
    r, mask = star_pixels(5)
    values = moffat(r, 5.0, 2.0, 3.0, 0.1)
    values[0] = moffat(r[0], -5.0, 2.0, 3.0, 0.1)  # a hole instead of a star
    values[1] = 3.0  # flat
    mask[2] = False  # nothing to fit
    few = np.flatnonzero(mask[3])
    mask[3] = False
    mask[3, few[:7]] = True  # fewer pixels than needed
    fits = fit_moffat(r, values, mask)
    np.testing.assert_array_equal(fits.failed, [True, True, True, True, False])
    for name in ("amplitude", "gamma_px", "alpha", "bias", "fwhm_px"):
        assert np.isnan(getattr(fits, name)[:4]).all()
    assert not fits.pinned[:4].any()
    assert fits.fwhm_px[4] == pytest.approx(4 * np.sqrt(2 ** (1 / 3) - 1), abs=1e-4)


def test_shapes_at_the_border_of_their_range_are_pinned_not_hidden():
    r, mask = star_pixels(2)
    values = np.zeros(r.shape)
    values[0] = moffat(r[0], 5.0, 2.0, 3.0, 0.1)
    nearest = np.argmin(np.where(mask[1], r[1], np.inf))
    values[1, nearest] = 8.0  # all in one pixel, as of a cosmic ray
    fits = fit_moffat(r, values, mask)
    np.testing.assert_array_equal(fits.failed, [False, False])
    np.testing.assert_array_equal(fits.pinned, [False, True])


def test_broad_profiles_are_pinned_at_the_flattest_shape():
    # A galaxy wider than the aperture: amplitude and bias are degenerate there.
    r, mask = star_pixels(40)
    values = 1 - 0.02 * r**2 + np.random.default_rng(1).normal(0, 0.02, r.shape)
    fits = fit_moffat(r, values, mask)
    assert not fits.failed.any()
    assert fits.pinned.all()
    assert (fits.fwhm_px > 8).all()


def test_spikes_are_fitted_and_narrow():
    rng = np.random.default_rng(0)
    r, mask = star_pixels(200)
    values = rng.normal(0, 0.01, r.shape)
    for k in range(200):
        inner = np.argsort(np.where(mask[k], r[k], 9))[: rng.integers(1, 4)]
        values[k, inner] += rng.uniform(0.5, 2, len(inner))
    fits = fit_moffat(r, values, mask)
    assert fits.failed.mean() < 0.1
    assert np.nanmedian(fits.fwhm_px) < 1.5
    assert (fits.pinned | fits.failed).mean() > 0.7


def test_fits_of_no_profiles():
    fits = fit_moffat(np.empty((0, 9)), np.empty((0, 9)), np.empty((0, 9), dtype=bool))
    assert fits.fwhm_px.shape == fits.failed.shape == fits.pinned.shape == (0,)


def test_fits_do_not_depend_on_their_neighbours_in_the_batch():
    r, mask = star_pixels(30)
    rng = np.random.default_rng(3)
    values = moffat(r, 5.0, 2.0, 3.0, 0.1) + rng.normal(0, 0.1, r.shape)
    whole = fit_moffat(r, values, mask)
    alone = fit_moffat(r[4:5], values[4:5], mask[4:5])
    np.testing.assert_allclose(alone.fwhm_px, whole.fwhm_px[4:5], rtol=1e-12)


def test_mask_shares_are_those_of_the_segments():
    segments = np.array([[1, 1, 0], [1, 1, 3]], np.int32)
    mask = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(mask_shares(segments, mask, [3, 1]), [1.0, 0.25])
    np.testing.assert_array_equal(mask_shares(segments, mask, [2, 9]), [0.0, 0.0])
    assert mask_shares(np.zeros((2, 2), np.int32), np.zeros((2, 2), bool), []).shape == (0,)
    rng = np.random.default_rng(1)
    segments = rng.integers(0, 40, (57, 83))
    mask = rng.random((57, 83)) < 0.3
    expected = [mask[segments == k].mean() for k in range(1, 40)]
    np.testing.assert_allclose(mask_shares(segments, mask, np.arange(1, 40)), expected)
