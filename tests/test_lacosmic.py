"""LAcosmic and the kernels of the cosmic-ray mask against astroscrappy and slow twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, label, maximum_filter, median_filter

from bycatch.kernels import labelling, large_medians, rowmedians
from bycatch.kernels import lacosmic as kernel
from bycatch.kernels.lacosmic import lacosmic
from bycatch.kernels.mask_growth import grow_by_blur, grow_by_one
from bycatch.kernels.noise_image import take_sky_off
from bycatch.kernels.peak_basins import narrow_basins
from bycatch.kernels.peak_widths import minor_widths
from bycatch.kernels.peaks import is_cut_off, maxima
from bycatch.kernels.smoothing import SIGMA_PER_FWHM, gaussian_kernel


def frame(ny, nx, rng):
    """Return an image with stars and tracks, and a variance."""
    image = rng.normal(40, 6, (ny, nx))
    for _ in range(1 + ny * nx // 150):
        y, x, n = rng.integers(0, ny), rng.integers(0, nx), rng.integers(1, 6)
        dy, dx = rng.integers(-1, 2, 2)
        for k in range(n):
            if 0 <= y + k * dy < ny and 0 <= x + k * dx < nx:
                image[y + k * dy, x + k * dx] += rng.exponential(300)
    yy, xx = np.indices((ny, nx))
    for _ in range(1 + ny * nx // 400):
        y, x = rng.uniform(0, ny), rng.uniform(0, nx)
        star = np.exp(-0.5 * ((yy - y) ** 2 + (xx - x) ** 2) / 0.9**2) / 5
        image += 10 ** rng.uniform(2, 4.5) * star
    variance = np.maximum(image, 20) * rng.uniform(0.9, 1.1)
    return image.astype(np.float32), variance.astype(np.float32)


def by_astroscrappy(image, variance, bad=None, n_iterations=4, fsmode="median", **options):
    import astroscrappy

    mask, _ = astroscrappy.detect_cosmics(
        image, inmask=bad, invar=variance, satlevel=np.inf, sepmed=False, niter=n_iterations,
        fsmode=fsmode, psffwhm=2.1, **options,
    )  # fmt: skip
    return mask


def psf_of(fsmode):
    return gaussian_kernel(2.1, 7).astype(np.float32) if fsmode == "convolve" else None


def limits(rng):
    return {
        "sigclip": rng.choice([2.5, 3.0, 4.5, 6.0]),
        "sigfrac": rng.choice([0.2, 0.3, 0.5]),
        "objlim": rng.choice([0.5, 1.0, 2.0, 5.0]),
        "n_iterations": int(rng.integers(1, 6)),
    }


# ---------------------------------------------------------------- the mask


@pytest.mark.parametrize("cleantype", ["meanmask", "medmask", "idw"])
@pytest.mark.parametrize("fsmode", ["median", "convolve"])
@pytest.mark.parametrize("strip_px", [20, 512])
def test_mask_is_that_of_astroscrappy(cleantype, fsmode, strip_px, monkeypatch):
    monkeypatch.setattr(kernel, "STRIP_PX", strip_px)
    rng = np.random.default_rng([strip_px, len(cleantype), len(fsmode)])
    n_found = 0
    for _ in range(12):
        ny, nx = rng.integers(6, 90, 2)
        image, variance = frame(ny, nx, rng)
        bad = rng.random((ny, nx)) < rng.choice([0, 0.01, 0.1])
        options = limits(rng)
        expected = by_astroscrappy(
            image, variance, bad, fsmode=fsmode, cleantype=cleantype, **options
        )
        mask = lacosmic(image, variance, bad, cleantype=cleantype, psf=psf_of(fsmode), **options)
        np.testing.assert_array_equal(mask, expected)
        n_found += mask.sum()
    assert n_found > 200


@settings(max_examples=60, deadline=None)
@given(
    st.integers(6, 50),
    st.integers(6, 50),
    st.integers(0, 2**32 - 1),
    st.floats(1.0, 8.0),
    st.floats(0.1, 1.5),
    st.floats(0.2, 8.0),
)
def test_mask_is_that_of_astroscrappy_at_any_limits(ny, nx, seed, sigclip, sigfrac, objlim):
    image, variance = frame(ny, nx, np.random.default_rng(seed))
    options = {"sigclip": sigclip, "sigfrac": sigfrac, "objlim": objlim, "n_iterations": 3}
    expected = by_astroscrappy(image, variance, **options)
    np.testing.assert_array_equal(lacosmic(image, variance, **options), expected)


def test_a_block_without_a_usable_pixel_gets_the_level_of_the_image():
    rng = np.random.default_rng(1)
    image, variance = frame(120, 70, rng)
    image[40:50, 30:40] += rng.uniform(3000, 30000, (10, 10)).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[80:100, 20:40] = rng.random((20, 20)) < 0.7
    options = {"sigclip": 2.5, "objlim": 0.5, "sigfrac": 0.3, "n_iterations": 5}
    expected = by_astroscrappy(image, variance, bad, **options)
    assert median_filter(expected, 5, mode="constant").any()
    np.testing.assert_array_equal(lacosmic(image, variance, bad, **options), expected)


@pytest.mark.parametrize("cleantype", ["meanmask", "medmask", "idw"])
@pytest.mark.parametrize("fsmode", ["median", "convolve"])
@pytest.mark.parametrize("strip_px", [20, 512])
def test_a_mirrored_border_is_that_of_a_padded_image(cleantype, fsmode, strip_px, monkeypatch):
    monkeypatch.setattr(kernel, "STRIP_PX", strip_px)
    rng = np.random.default_rng([strip_px, len(cleantype), len(fsmode)])
    n_found = 0
    for shape in ((97, 45), (61, 33), (40, 64), (5, 5), (1, 1), (2, 9), (21, 7)):
        image, variance = frame(*shape, rng)
        bad = rng.random(shape) < 0.05
        image[0, 0] += 500
        planes = (np.pad(p, 8, mode="symmetric") for p in (image, variance, bad))
        options = {"cleantype": cleantype, "sigclip": 3.0, "objlim": 1.0}
        expected = by_astroscrappy(*map(np.ascontiguousarray, planes), fsmode=fsmode, **options)
        mask = lacosmic(image, variance, bad, psf=psf_of(fsmode), mirror_px=8, **options)
        np.testing.assert_array_equal(mask, expected[8:-8, 8:-8])
        n_found += mask.sum()
    assert n_found > 100


def slow_peak_and_structure(image, variance):
    """Return S', F and noise by numpy and scipy alone, from a split image."""

    def inner_median(plane, size):
        out, half = plane.copy(), size // 2
        whole = median_filter(plane, size)
        out[half:-half, half:-half] = whole[half:-half, half:-half]
        return out

    split = np.pad(np.kron(image, np.ones((2, 2), np.float32)), 1)
    lap = 4 * split[1:-1, 1:-1] - split[:-2, 1:-1] - split[2:, 1:-1]
    lap = np.maximum(lap - split[1:-1, :-2] - split[1:-1, 2:], 0)
    noise = np.sqrt(np.maximum(inner_median(variance, 5), 1e-5))
    sharp = lap.reshape(len(image), 2, -1, 2).mean(axis=(1, 3)) / (2 * noise)
    fine = inner_median(image, 3)
    fine = np.maximum((fine - inner_median(fine, 7)) / noise, 0.01)
    return sharp - inner_median(sharp, 5), fine


def slow_lacosmic(image, variance, sigclip, sigfrac, objlim, n_iterations):
    """Return the mask with cleaning by the plain median, which astroscrappy can't be asked for."""
    image, variance = image.copy(), variance.copy()
    result = np.zeros(image.shape, bool)
    for _ in range(n_iterations):
        peak, fine = slow_peak_and_structure(image, variance)
        rays = (peak > sigclip) & (peak / fine > objlim)
        rays = maximum_filter(rays, 3) & (peak > sigclip)
        result |= maximum_filter(rays, 3) & (peak > sigfrac * sigclip)
        for plane in (image, variance):
            plane[result] = median_filter(plane, 5)[result]
    return result


def test_cleaning_by_the_plain_median_follows_its_definition():
    rng = np.random.default_rng(3)
    for _ in range(5):
        image, variance = frame(*rng.integers(10, 70, 2), rng)
        expected = slow_lacosmic(image, variance, 3.0, 0.3, 1.0, 3)
        mask = lacosmic(
            image, variance, sigclip=3.0, objlim=1.0, n_iterations=3, cleantype="median"
        )
        # Rounding of other operations: a pixel within 1e-5 of a limit may differ.
        assert (mask != expected).sum() <= 1


def test_nothing_is_found_in_nothing():
    flat = np.full((30, 40), 5.0, np.float32)
    assert not lacosmic(flat, flat).any()
    assert not lacosmic(flat, flat, np.ones(flat.shape, bool)).any()
    assert lacosmic(flat[:0], flat[:0]).shape == (0, 40)
    assert lacosmic(flat[:3, :2], flat[:3, :2]).shape == (3, 2)


def test_input_is_unchanged_and_may_be_read_only():
    image, variance = frame(60, 50, np.random.default_rng(4))
    before = image.copy(), variance.copy()
    first = lacosmic(image, variance)
    image.flags.writeable = variance.flags.writeable = False
    np.testing.assert_array_equal(lacosmic(image, variance), first)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(variance, before[1])


def test_wrong_arguments_are_named():
    flat = np.ones((9, 9), np.float32)
    with pytest.raises(ValueError, match="none of meanmask"):
        lacosmic(flat, flat, cleantype="mean")
    with pytest.raises(ValueError, match="images of one shape"):
        lacosmic(flat, flat[:5])


# ---------------------------------------------------------------- medians


@pytest.mark.parametrize("values", ["noise", "equal"])
def test_medians_of_windows_are_scipys(values):
    rng = np.random.default_rng(5)
    for ny, nx in ((9, 9), (40, 133), (33, 32), (12, 31), (7, 65)):
        image = rng.normal(0, 1, (ny, nx)).astype(np.float32)
        image = np.rint(image) if values == "equal" else image
        plane = np.zeros(rowmedians.plane_shape(ny, nx), np.float32)
        inner = np.s_[rowmedians.EDGE_Y :, rowmedians.EDGE_X :]
        plane[inner][:ny, :nx] = image
        stale = np.ones((ny, rowmedians.n_blocks(nx)), bool)
        for median_of, size in (
            (rowmedians.median3x3_blocks, 3),
            (rowmedians.median5x5_blocks, 5),
        ):
            out = np.zeros_like(plane)
            median_of(plane, stale, out)
            expected = median_filter(image, size, mode="constant", cval=0)
            np.testing.assert_array_equal(out[inner][:ny, :nx], expected)
            untouched = np.full_like(plane, 7)
            median_of(plane, np.zeros_like(stale), untouched)
            assert (untouched == 7).all()


def assert_medians(values, used):
    in_order = np.sort(values[used])
    assert large_medians.median(values, used) == np.median(in_order.astype(float))
    assert large_medians.lower_median(values, used) == in_order[(len(in_order) - 1) // 2]


@pytest.mark.parametrize("size", [1, 2, 3, 999, 50_000, 400_001])
def test_median_of_many_is_numpys(size):
    rng = np.random.default_rng(size)
    for numbers in (
        rng.normal(0, 1, size), np.full(size, 600.0), rng.integers(0, 3, size) * 1.0,
        np.sort(rng.normal(0, 1, size)), np.repeat(rng.normal(0, 1, size // 900 + 1), 900)[:size],
    ):  # fmt: skip
        values = numbers.astype(np.float32)
        mask = rng.random(size) < 0.7
        mask[0] = True
        values[~mask] = np.nan
        assert_medians(values, mask)


@pytest.mark.parametrize("share", [1e-5, 1e-3, 0.02])
def test_median_of_few_among_many_is_numpys(share):
    rng = np.random.default_rng(14)
    values, mask = rng.normal(0, 1, 400_001).astype(np.float32), rng.random(400_001) < share
    mask[7] = True
    values[~mask] = np.nan
    assert_medians(values, mask)


@pytest.mark.parametrize("n", [499, 500])
def test_median_of_a_cluster_among_many_is_numpys(n):
    values = np.random.default_rng(15).normal(0, 1, 400_001).astype(np.float32)
    mask = np.zeros(values.shape, bool)
    mask[1000 : 1000 + n] = True
    assert_medians(values, mask)


@pytest.mark.parametrize("change", [100, -100])
def test_median_of_many_that_a_sample_misjudges_is_numpys(change):
    values = np.random.default_rng(16).normal(0, 1, 400_001).astype(np.float32)
    values[:: (len(values) // large_medians.SAMPLE) | 1] += change
    assert_medians(values, np.ones(values.shape, bool))


def test_median_of_none_is_nan():
    none = np.zeros(4, bool)
    assert np.isnan(large_medians.median(np.ones(4), none))
    assert np.isnan(large_medians.lower_median(np.ones(4), none))


# ---------------------------------------------------------------- peaks


def marked(shape, rng, share=0.1):
    """Return a smooth signal, marked pixels of it, and good ones."""
    signal = gaussian_filter(rng.normal(0, 30, shape), 0.8).astype(np.float32)
    near = maximum_filter(rng.random(shape) < share, 3)
    return signal, near, rng.random(shape) < 0.97


SHAPES = [(70, 90), (1, 1), (1, 8), (9, 2), (40, 33)]


@pytest.mark.parametrize("shape", SHAPES)
def test_growing_maxima_and_groups_are_scipys(shape):
    rng = np.random.default_rng(8)
    signal, near, good = marked(shape, rng)
    mask = rng.random(shape) < 0.05
    np.testing.assert_array_equal(grow_by_one(mask, good), maximum_filter(mask, 3) & good)
    x, y = maxima(signal, near)
    expected = np.nonzero(near & (signal >= maximum_filter(signal, 3)))
    np.testing.assert_array_equal((y, x), expected)
    assert labelling.n_groups(mask) == label(mask, np.ones((3, 3)))[1]
    assert labelling.n_groups(np.zeros(shape, bool)) == 0


@pytest.mark.parametrize("shape", [*SHAPES, (9, 1)])
def test_all_pixels_of_a_plateau_are_maxima(shape):
    rng = np.random.default_rng(14)
    for _ in range(20):
        signal, near = rng.integers(-1, 3, shape).astype(np.float32), rng.random(shape) < 0.6
        x, y = maxima(signal, near)
        np.testing.assert_array_equal(
            (y, x), np.nonzero(near & (signal >= maximum_filter(signal, 3)))
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_narrow_basins_are_those_of_a_watershed(shape):
    from skimage.segmentation import watershed

    rng = np.random.default_rng(9)
    for share in (0.02, 0.1, 0.4):
        signal, near, _ = marked(shape, rng, share)
        x, y = maxima(signal, near)
        narrow = rng.random(len(x)) < 0.5
        markers = np.zeros(shape, np.int32)
        markers[y, x] = np.arange(1, len(x) + 1)
        basins = watershed(-signal, markers, mask=near, connectivity=2)
        expected = np.concatenate([[False], narrow])[basins]
        np.testing.assert_array_equal(narrow_basins(signal, near, x, y, narrow), expected)


def test_pixels_between_equal_peaks_belong_to_one_of_them():
    from skimage.segmentation import watershed

    rng = np.random.default_rng(13)
    shape = (40, 50)
    for _ in range(10):
        signal = rng.integers(0, 4, shape).astype(np.float32)
        near = rng.random(shape) < 0.5
        x, y = maxima(signal, near)
        narrow = rng.random(len(x)) < 0.5
        mask = narrow_basins(signal, near, x, y, narrow)
        np.testing.assert_array_equal(mask[y, x], narrow)
        markers = np.zeros(shape, np.int32)
        markers[y, x] = np.where(narrow, 2, 1)
        parts, _ = label(near, np.ones((3, 3)))
        kinds = [{*markers[parts == k]} - {0} for k in range(1, parts.max() + 1)]
        for k, kind in enumerate(kinds, 1):  # without a choice there is no tie
            if len(kind) < 2:
                assert (mask[parts == k] == (kind == {2})).all()
        basins = watershed(-signal, markers, mask=near, connectivity=2) == 2
        # Equal pixels may come in another order: few of them change hands.
        assert (mask != basins).sum() < 0.05 * near.sum()


@pytest.mark.parametrize("radius_px", [0.5, 1.0, 2.3, 4.6, 9.9])
@pytest.mark.parametrize("shape", [(40, 60), (1, 1), (1, 8), (9, 2)])
def test_cut_off_peaks_are_near_missing_pixels_or_the_edge(shape, radius_px):
    ny, nx = shape
    good = np.random.default_rng(10).random(shape) < (0.98 if ny > 9 else 0.8)
    y, x = np.divmod(np.arange(good.size), nx)
    rows, columns = np.nonzero(~good)
    missing = (np.hypot(x[:, None] - columns, y[:, None] - rows) <= radius_px).any(axis=1)
    reach = int(radius_px)
    edge = (x < reach) | (y < reach) | (x >= nx - reach) | (y >= ny - reach)
    np.testing.assert_array_equal(is_cut_off(good, x, y, radius_px), edge | missing)
    assert is_cut_off(good, x[:0], y[:0], radius_px).shape == (0,)


def slow_widths(signal, variance, x, y, window_px, ring_px):
    """Return FWHM and signal-to-noise ratio of all peaks with arrays of stamps."""
    inner, outer = ring_px
    reach = int(np.ceil(outer))
    offset = np.arange(-reach, reach + 1)
    rows = np.clip(y[:, None, None] + offset[:, None], 0, signal.shape[0] - 1)
    columns = np.clip(x[:, None, None] + offset, 0, signal.shape[1] - 1)
    stamps = signal[rows, columns].astype(float)
    radius = np.hypot(offset, offset[:, None])
    ring = (radius >= inner) & (radius <= outer)
    stamps -= np.median(stamps[:, ring], axis=1)[:, None, None]
    dx0 = dy0 = np.zeros((len(x), 1, 1))
    for _ in range(6):
        dx, dy = offset - dx0, offset[:, None] - dy0
        window = np.exp(-0.5 * (dx**2 + dy**2) / window_px**2)
        weighted = np.where(radius < inner, stamps * window, 0.0)
        total = weighted.sum(axis=(1, 2))
        norm = np.where(total > 0, total, np.inf)[:, None, None]
        dx0, dy0 = (
            np.clip(d0 + 2 * (weighted * d).sum(axis=(1, 2), keepdims=True) / norm, -1.5, 1.5)
            for d0, d in ((dx0, dx), (dy0, dy))
        )
    xx, yy, xy = (
        (weighted * product).sum(axis=(1, 2)) / norm[:, 0, 0]
        for product in (dx * dx, dy * dy, dx * dy)
    )
    minor = np.maximum(0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy), 1e-9)
    inverse = 1.0 / minor - 1.0 / window_px**2
    squared = np.where(inverse > 0, 1.0 / np.where(inverse > 0, inverse, 1.0), np.inf)
    squared = np.where(minor > 1e-9, squared, 0.0)
    snr = total / np.sqrt((window**2 * variance[rows, columns]).sum(axis=(1, 2)))
    return np.sqrt(squared) / SIGMA_PER_FWHM, snr


SIGNALS = {
    "smooth": lambda signal, rng: signal,
    "30 % zeros": lambda signal, rng: np.where(rng.random(signal.shape) < 0.3, 0, signal),
    "90 % zeros": lambda signal, rng: np.where(rng.random(signal.shape) < 0.9, 0, signal),
    "whole numbers": lambda signal, rng: np.rint(signal / 10),
}


@pytest.mark.parametrize("native_px", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("shape", [(60, 70), (1, 1), (4, 9), (9, 1)])
@pytest.mark.parametrize("kind", SIGNALS)
def test_widths_are_those_of_stamps(native_px, shape, kind):
    rng = np.random.default_rng(11)
    signal, near, _ = marked(shape, rng, 0.5)
    signal = SIGNALS[kind](signal, rng).astype(np.float32)
    variance = rng.uniform(10, 20, shape).astype(np.float32)
    x, y = maxima(signal, near | (signal == signal.max()))
    options = (1.2 * native_px, (3.5 * native_px, 5.5 * native_px))
    fwhm_px, snr = minor_widths(signal, variance, x, y, *options)
    slow_fwhm_px, slow_snr = slow_widths(signal, variance, x, y, *options)
    np.testing.assert_allclose(snr, slow_snr, rtol=1e-6, atol=1e-6)
    # Near zero and near the window's own width the FWHM magnifies rounding.
    limited = np.minimum(fwhm_px, 99), np.minimum(slow_fwhm_px, 99)
    assert (abs(np.subtract(*limited)) < 1e-5 * (1 + limited[1])).mean() > 0.99


def test_no_peaks_have_no_widths():
    none = np.zeros(0, np.int64)
    plane = np.ones((5, 5), np.float32)
    assert [len(v) for v in minor_widths(plane, plane, none, none, 1.2, (3.5, 5.5))] == [0, 0]
    assert not narrow_basins(plane, plane > 0, none, none, none > 0).any()


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.4, 3.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_blurred_mask_is_scipys(sigma, shape):
    rng = np.random.default_rng(12)
    mask, good = rng.random(shape) < 0.03, rng.random(shape) < 0.9
    offset = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offset / sigma) ** 2)
    weights /= weights.sum()
    blurred = gaussian_filter(mask.astype(float), sigma, mode="constant")
    for threshold in (0.0123, 0.05, 0.3):
        rays = grow_by_blur(mask, weights, threshold, good)
        np.testing.assert_array_equal(rays, (mask | (blurred > threshold)) & good)


@pytest.mark.parametrize("shape", [(7, 9), (1, 1), (600, 5)])
def test_the_sky_is_taken_off_where_good(shape):
    rng = np.random.default_rng(17)
    counts, seconds = rng.normal(10, 3, shape), rng.uniform(0, 9, shape)
    good = rng.random(shape) < 0.7
    good[0, 0] = True
    expected = np.where(good, counts - 0.3 * seconds, 0)
    result = np.where(good, counts, np.nan).astype(np.float32)
    take_sky_off(result, np.where(good, seconds, np.nan).astype(np.float32), good, 0.3)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5)
    assert not result[~good].any()
