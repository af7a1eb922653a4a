"""The kernels of detection against their slow twins in photutils, astropy and scipy."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from photutils.background import Background2D
from scipy.ndimage import median, zoom

from bycatch.kernels.background import sky_maps
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.labelling import segments_above
from bycatch.kernels.moments import segment_properties
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.kernels.surfaces import fill_gaps, median_filter, surface_map, surface_through
from bycatch.settings import DetectSettings
from bycatch.stages import detect
from bycatch.stages.detect import centres, hits
from bycatch.testing import reference_detect as reference

FEW = settings(max_examples=40, deadline=None, derandomize=True)
NOISE = 0.01
# Sums of float32 pixels in another order, and one rounding of the result.
ROUNDING = 3e-6 * NOISE


def crowd(shape, seed=1, density=1 / 900, holes=True):
    """Return an image of stars and galaxies with gaps, a bad corner and dead pixels."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    yy, xx = np.indices(shape)
    image = rng.normal(0.02 + 1e-5 * xx, NOISE, shape)
    for _ in range(int(ny * nx * density)):
        x, y, flux = rng.uniform(-2, nx + 2), rng.uniform(-2, ny + 2), rng.pareto(1.2) + 0.3
        a, b, t = rng.uniform(1, 4), rng.uniform(1, 2), rng.uniform(0, np.pi)
        y0, x0 = max(int(y) - 25, 0), max(int(x) - 25, 0)
        near = np.s_[y0 : int(y) + 26, x0 : int(x) + 26]
        dx, dy = xx[near] - x, yy[near] - y
        u, v = dx * np.cos(t) + dy * np.sin(t), dy * np.cos(t) - dx * np.sin(t)
        image[near] += flux * (1 + (u / a) ** 2 + (v / b) ** 2) ** -2.5
    image = image.astype(np.float32)
    if holes:
        image[: ny // 8, : nx // 5] = np.nan
        image[ny // 2 : ny // 2 + 6] = np.nan
        image[rng.random(shape) < 0.002] = np.nan
        image[yy - xx > 0.8 * ny] = np.nan
    return image


# ---------------------------------------------------------------- statistics of boxes


def clipped_twin(values, sigma, n_iterations=10):
    """Return mode, std and count of astropy's clipping, in float64."""
    left = SigmaClip(sigma=sigma, maxiters=n_iterations)(values.astype(float), masked=False)
    left = left[np.isfinite(left)]
    mean, middle, std = left.mean(), np.median(left), left.std()
    if std == 0:
        return mean, std, len(left)
    return (
        (middle if abs(mean - middle) / std >= 0.3 else 2.5 * middle - 1.5 * mean),
        std,
        len(left),
    )


@pytest.mark.parametrize("sigma", [1.5, 3.0])
@pytest.mark.parametrize(
    "kind", ["normal", "sky", "skewed", "two", "steps", "outliers", "few", "one", "constant"]
)
def test_box_statistics_are_those_of_astropys_clipped_pixels(kind, sigma):
    rng = np.random.default_rng(7)
    values = {
        "normal": rng.normal(0, 1, 10000),
        "sky": rng.normal(1e4, 1, 10000),
        "skewed": rng.exponential(1, 5001),
        "two": np.where(rng.random(4000) < 0.5, 0.0, 1.0),
        "steps": np.round(rng.normal(0, 2, 3000)),
        "outliers": np.concatenate([rng.normal(0, 1, 5000), 10 ** rng.uniform(1, 12, 700)]),
        "few": rng.normal(0, 1, 4),
        "one": np.array([3.5]),
        "constant": np.full(900, 0.7),
    }[kind].astype(np.float32)
    rng.shuffle(values)
    result = box_statistics(
        values[np.newaxis], np.ones((1, len(values)), bool), (1, len(values)), sigma, 0.0
    )
    mode, std, _ = clipped_twin(values, sigma)
    assert result.mode[0, 0] == pytest.approx(mode, rel=3e-7, abs=3e-7 * max(std, 1e-30))
    assert result.std[0, 0] == pytest.approx(std, rel=3e-7)


@FEW
@given(
    arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.one_of(st.integers(-3, 3), st.floats(-1000, 1000, width=32)),
    ),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_box_statistics_of_any_numbers(values, sigma):
    result = box_statistics(
        values[np.newaxis], np.ones((1, len(values)), bool), (1, len(values)), sigma, 0.0
    )
    mode, std, _ = clipped_twin(values, sigma)
    scale = float(np.abs(values).max())
    assert result.mode[0, 0] == pytest.approx(mode, rel=1e-6, abs=1e-6 * scale)
    assert result.std[0, 0] == pytest.approx(std, rel=1e-6, abs=1e-7 * scale)


def test_boxes_with_too_few_pixels_have_no_value():
    data, valid = np.ones((4, 8), np.float32), np.ones((4, 8), bool)
    valid[:, 4:] = False
    valid[0, 4:6] = True
    boxes = box_statistics(data, valid, (4, 4), 3.0, 2 / 16)
    np.testing.assert_array_equal(np.isnan(boxes.mode), [[False, True]])
    np.testing.assert_array_equal(boxes.std, [[0, np.nan]])
    boxes = box_statistics(data, valid, (4, 4), 3.0, 1.9 / 16)
    np.testing.assert_array_equal(boxes.mode, [[1, 1]])


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize(
    ("shape", "box_px", "filter_size"),
    [((310, 410), 50, 3), ((300, 250), 50, 5), ((130, 90), 100, 1), ((64, 65), 16, 3)],
)
def test_maps_are_those_of_photutils(shape, box_px, filter_size):
    image = crowd(shape)
    valid = np.isfinite(image)
    box = (min(box_px, shape[0]), min(box_px, shape[1]))
    theirs = Background2D(
        np.where(valid, image, 0),
        box,
        coverage_mask=~valid,
        exclude_percentile=90,
        filter_size=filter_size,
        sigma_clip=SigmaClip(sigma=3.0, maxiters=10),
    )
    boxes = box_statistics(image, valid, box, 3.0, 1 - 0.9)
    for mesh, full, low in (
        (boxes.mode, theirs.background, theirs.background_mesh),
        (boxes.std, theirs.background_rms, theirs.background_rms_mesh),
    ):
        ours = median_filter(fill_gaps(mesh), filter_size)
        np.testing.assert_allclose(ours, low, rtol=0, atol=ROUNDING)
        full_map = surface_map(surface_through(ours, box), valid)
        assert full_map.dtype == np.float32
        np.testing.assert_allclose(full_map, full, rtol=0, atol=ROUNDING)
        assert not full_map[~valid].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (5, 3)])
@pytest.mark.parametrize("box", [(2, 3), (3, 4), (10, 10)])
def test_surface_is_scipys_zoom(shape, box):
    mesh = np.random.default_rng(3).normal(5, 1, shape).astype(np.float32)
    theirs = zoom(mesh, box, order=3, mode="reflect", grid_mode=True)
    theirs = np.clip(theirs, mesh.min(), mesh.max())
    full = (shape[0] * box[0], shape[1] * box[1])
    ours = surface_map(surface_through(mesh, box), np.ones(full, bool))
    np.testing.assert_allclose(ours, theirs, rtol=3e-7)


@pytest.mark.parametrize("n_known", [1, 3, 12, 30])
def test_boxes_without_value_are_filled_like_those_of_photutils(n_known):
    rng = np.random.default_rng(5)
    mesh = rng.normal(1, 1, (5, 6)).astype(np.float32)
    mesh.flat[rng.permutation(30)[n_known:]] = np.nan
    is_finite = np.isfinite(mesh)
    valid = np.repeat(np.repeat(is_finite, 4, 0), 4, 1)
    data = np.repeat(np.repeat(np.nan_to_num(mesh), 4, 0), 4, 1)
    theirs = Background2D(data, 4, coverage_mask=~valid, filter_size=1, exclude_percentile=50)
    np.testing.assert_allclose(fill_gaps(mesh), theirs.background_mesh, rtol=1e-6)


def test_no_box_with_a_value_is_an_error():
    with pytest.raises(ValueError, match="no box has enough pixels"):
        fill_gaps(np.full((2, 3), np.nan, np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (64, 65)])
@pytest.mark.parametrize("without_depth", [False, True])
def test_sky_of_small_images_is_that_of_photutils(shape, without_depth):
    rng = np.random.default_rng(4)
    valid = rng.random(shape) > 0.05
    valid[0, 0] = True
    data = np.where(valid, rng.normal(0.02, NOISE, shape), np.nan).astype(np.float32)
    seconds = rng.choice([300.0, 600.0], shape).astype(np.float32)
    if without_depth:
        seconds[:, : shape[1] // 4] = 0
    image = SimpleNamespace(sci=data, valid=valid, exptime_map_s=seconds, detector_px=1.0)
    settings = DetectSettings(box_px=50, filter_boxes=3, clip_sigma=3.0)
    share = 1 - detect.exclude_percent(valid, 50) / 100
    ours = sky_maps(data, valid, seconds, 50, 3, 3.0, share)
    for result, expected in zip(ours[:2], reference.sky_maps(image, settings), strict=True):
        np.testing.assert_allclose(result, expected, rtol=0, atol=ROUNDING)
    assert not ours[1][seconds == 0].any()


def test_noise_follows_the_depth():
    rng = np.random.default_rng(2)
    depth2 = np.full((200, 300), 400.0, np.float32)
    depth2[:, 150:] = 100
    depth2[:, :3] = 0
    data = rng.normal(0, 1, depth2.shape) / np.sqrt(np.maximum(depth2, 1e-9))
    valid = np.ones(depth2.shape, bool)
    _, noise, *_ = sky_maps(data.astype(np.float32), valid, depth2, 50, 3, 3.0, 0.1)
    assert not noise[:, :3].any()
    np.testing.assert_allclose(noise[:, 3:150], 0.05, rtol=0.05)
    np.testing.assert_allclose(noise[:, 149] / noise[:, 150], 0.5, rtol=0.01)


# ---------------------------------------------------------------- smoothing


@pytest.mark.parametrize("shape", [(67, 301), (1, 200), (200, 1), (3, 3), (1, 1), (40, 128)])
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_smoothed_equals_scipy_to_the_last_bit(shape, size):
    image = crowd(shape, holes=min(shape) > 10)
    image[0, 0] = np.nan
    valid = np.isfinite(image)
    kernel = gaussian_kernel(2.5, size)
    np.testing.assert_array_equal(
        smooth_image(image, valid, kernel), reference.smooth_image(image, valid, kernel)
    )


# ---------------------------------------------------------------- labels


def check_labels(image, valid, n_sigma, n_pixels, size=3, background=None, noise=None):
    background = np.zeros_like(image) if background is None else background
    noise = np.full_like(image, NOISE) if noise is None else noise
    kernel = gaussian_kernel(2.5, size)
    labels = segments_above(image, background, noise, valid, kernel, n_sigma, n_pixels)
    smooth = reference.smooth_image(image - background, valid, kernel)
    theirs = np.zeros(image.shape, np.int32)
    if valid.any():
        segments = reference.segments(smooth, noise, valid, n_sigma, n_pixels)
        theirs = theirs if segments is None else segments
    np.testing.assert_array_equal(labels.labels, theirs)
    assert labels.labels.dtype == np.int32
    assert labels.n_labels == theirs.max(initial=0)
    np.testing.assert_array_equal(labels.smooth[theirs > 0], smooth[theirs > 0])
    return labels


@pytest.mark.parametrize(("n_sigma", "n_pixels"), [(2.0, 20), (1.0, 5), (0.2, 1), (50.0, 3)])
def test_segments_are_those_of_photutils_label_for_label(n_sigma, n_pixels):
    image = crowd((260, 330))
    valid = np.isfinite(image)
    rng = np.random.default_rng(4)
    noise = rng.uniform(0.5, 1.5, image.shape).astype(np.float32) * np.float32(NOISE)
    labels = check_labels(
        image, valid, n_sigma, n_pixels, 5, np.full_like(image, np.float32(0.02)), noise
    )
    assert labels.n_labels > 5


@FEW
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 140))), st.integers(1, 6))
def test_segments_of_any_pixels(above, n_pixels):
    # With a kernel of one pixel, what is above the threshold is exactly what is true.
    check_labels(above.astype(np.float32), np.ones(above.shape, bool), 50.0, n_pixels, 1)


@pytest.mark.parametrize("pattern", ["checks", "rows", "columns", "comb", "spiral", "all", "none"])
def test_segments_of_awkward_shapes(pattern):
    yy, xx = np.indices((41, 83))
    above = {
        "checks": (yy + xx) % 2 == 0,
        "rows": yy % 2 == 0,
        "columns": xx % 2 == 0,
        "comb": (xx % 2 == 0) | (yy == 40),
        "spiral": np.maximum(abs(yy - 20), abs(xx - 41)) % 4 < 2,
        "all": yy >= 0,
        "none": yy < 0,
    }[pattern]
    check_labels(above.astype(np.float32), np.ones(above.shape, bool), 50.0, 3, 1)


def test_no_pixel_that_is_not_valid_belongs_to_a_segment():
    image = np.ones((9, 12), np.float32)
    valid = np.ones(image.shape, bool)
    valid[3], image[3] = False, np.nan
    labels = check_labels(image, valid, 2.0, 4)
    assert labels.n_labels == 2
    check_labels(image, np.zeros_like(valid), 2.0, 1)


def test_pixels_without_noise_exceed_a_threshold_of_zero():
    image = np.full((6, 7), 1e-9, np.float32)
    noise = np.full_like(image, NOISE)
    noise[:, 3:] = 0
    labels = check_labels(image, np.ones(image.shape, bool), 2.0, 4, noise=noise)
    assert labels.n_labels == 1


# ---------------------------------------------------------------- properties


def check_properties(image, labels, valid=None, smooth=None, window_px=1e-6):
    """Compare with photutils; return ours.  Of float64 pixels, since it sums in their kind."""
    valid = np.ones(image.shape, bool) if valid is None else valid
    smooth = np.nan_to_num(image) if smooth is None else smooth
    counts = np.random.default_rng(3).integers(0, 9, image.shape).astype(np.int16)
    background = np.full_like(image, 0.01)
    ours = segment_properties(
        image, background, smooth, valid, labels, int(labels.max(initial=0)), counts
    )
    residual = np.where(valid, image - background, 0).astype(float)
    theirs = reference.properties(residual, smooth.astype(float), valid, labels)
    for name in ("x_min", "x_max", "y_min", "y_max", "area", "peak"):
        np.testing.assert_array_equal(getattr(ours, name), theirs[name], err_msg=name)
    for name in ("flux", "x_segment", "y_segment", "semimajor_px", "semiminor_px"):
        np.testing.assert_allclose(
            getattr(ours, name), theirs[name], rtol=1e-8, atol=1e-10, err_msg=name
        )
    turn = np.radians(ours.theta_deg - theirs["theta_deg"])
    round_ = ours.semimajor_px - ours.semiminor_px < 1e-6
    np.testing.assert_allclose(np.where(round_, 0, np.sin(turn)), 0, atol=1e-7)
    np.testing.assert_allclose(ours.half_light_px, theirs["half_light_px"], atol=1e-6)
    for name in ("x_window", "y_window"):
        np.testing.assert_allclose(getattr(ours, name), theirs[name], atol=window_px, err_msg=name)
    labelled = np.arange(1, labels.max() + 1)
    np.testing.assert_array_equal(ours.median_count, median(counts, labels, labelled))
    return ours


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("density", [1 / 900, 1 / 150])
def test_properties_are_those_of_photutils(seed, density):
    image = crowd((240, 310), seed, density)
    valid = np.isfinite(image)
    kernel = gaussian_kernel(2.5, 3)
    labels = segments_above(
        image,
        np.full_like(image, 0.02),
        np.full_like(image, NOISE),
        valid,
        kernel,
        3.0,
        5,
    )
    ours = check_properties(image, labels.labels, valid, labels.smooth)
    assert labels.n_labels > 20
    assert np.isfinite(ours.x_window).mean() > 0.9


def star(shape, x, y, sigma=2.0):
    yy, xx = np.indices(shape)
    return np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma**2).astype(np.float32)


def test_windowed_centroids_are_the_positions_of_stars():
    image = star((60, 80), 40.3, 29.6)
    labels = (image > 0.05).astype(np.int32)
    counts = np.ones(image.shape, np.int16)
    ours = segment_properties(
        image, np.zeros_like(image), image, np.ones(image.shape, bool), labels, 1, counts
    )
    assert ours.x_window[0] == pytest.approx(40.3, abs=2e-4)
    assert ours.y_window[0] == pytest.approx(29.6, abs=2e-4)
    # half of a Gaussian's light lies within 1.1774 sigma
    assert ours.half_light_px[0] == pytest.approx(1.1774 * 2, rel=0.01)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (79, 30), (40, 59), (-1.5, 20), (81, 61), (0.4, 59)])
def test_properties_at_the_edges(x, y):
    image = star((60, 80), x, y) + np.float32(0.01)
    check_properties(image, (image > 0.11).astype(np.int32))


@pytest.mark.parametrize(
    "pixels",
    [
        [(5, 5)],
        [(5, 5), (5, 6)],
        [(5, 5), (6, 5), (7, 5)],
        [(0, 0)],
        [(11, 14)],
        [(y, x) for y in range(3, 6) for x in range(4, 9)],
    ],
)
def test_properties_of_few_pixels(pixels):
    image = np.random.default_rng(8).normal(0.01, 0.01, (12, 15)).astype(np.float32)
    labels = np.zeros(image.shape, np.int32)
    for y, x in pixels:
        image[y, x], labels[y, x] = 1.0 + 0.1 * x, 1
    check_properties(image, labels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_properties_of_a_segment_that_is_the_image(shape):
    image = np.random.default_rng(9).normal(1, 0.2, shape).astype(np.float32)
    check_properties(image, np.ones(shape, np.int32))


def test_diagonal_lines_have_a_shape():
    # Their determinant is 0 up to rounding; photutils gives NaN where it rounds below.
    image = np.where(np.eye(20, dtype=bool), np.float32(1.3), np.float32(0))
    labels = np.eye(20, dtype=np.int32)
    counts = np.zeros((20, 20), np.int16)
    valid = np.ones((20, 20), bool)
    ours = segment_properties(image, np.zeros_like(image), image, valid, labels, 1, counts)
    assert ours.semimajor_px[0] == pytest.approx(np.sqrt(2 * 399 / 12 + 1 / 12), rel=1e-6)
    assert ours.semiminor_px[0] == pytest.approx(np.sqrt(1 / 12), rel=1e-6)
    assert ours.theta_deg[0] == pytest.approx(45)


def test_neighbours_are_mirrored_away():
    yy, xx = np.indices((60, 90))
    image = star(yy.shape, 38, 30, 3) + 2 * star(yy.shape, 48.4, 31, 3) + star(yy.shape, 20, 29, 4)
    labels = np.where(image > 0.1, 1, 0)
    labels[(labels > 0) & (xx > 43)] = 2
    labels[(labels > 0) & (xx < 30)] = 3
    ours = check_properties(image, labels.astype(np.int32))
    # pulled by a twice brighter star at 10 px, but not far
    assert ours.x_window[0] == pytest.approx(38, abs=0.6)


def test_properties_of_negative_sources():
    # All flux taken away by the background: no Kron ellipse, no half light.
    image = -star((40, 50), 25, 20)
    labels = (image < -0.2).astype(np.int32)
    check_properties(image, labels, smooth=-image)
    # No positive pixel: no moments.
    counts = np.ones(image.shape, np.int16)
    valid = np.ones(image.shape, bool)
    ours = segment_properties(image, np.zeros_like(image), image, valid, labels, 1, counts)
    for name in ("x_segment", "semimajor_px", "x_window", "half_light_px", "theta_deg"):
        assert np.isnan(getattr(ours, name)).all()


def test_a_segment_without_valid_pixels_has_no_sum():
    image = np.ones((9, 9), np.float32)
    labels = np.zeros((9, 9), np.int32)
    labels[3:5, 3:6] = 1
    counts = np.full((9, 9), 2, np.int16)
    ours = segment_properties(image, np.zeros_like(image), image, labels == 0, labels, 1, counts)
    assert ours.area[0] == 0
    assert ours.median_count[0] == 2
    assert np.isnan([ours.flux[0], ours.peak[0], ours.x_segment[0], ours.x_window[0]]).all()


def test_no_segments_have_no_properties():
    image = np.ones((5, 6), np.float32)
    counts = np.ones((5, 6), np.int16)
    ours = segment_properties(image, image, image, image > 0, np.zeros((5, 6), np.int32), 0, counts)
    assert len(ours.flux) == len(ours.x_window) == len(ours.median_count) == 0


def test_coverage_of_many_boxes_in_any_order():
    rng = np.random.default_rng(6)
    mask = rng.random((70, 90)) < 0.7
    x, y = rng.uniform(-20, 110, 200), rng.uniform(-20, 90, 200)
    result = box_fraction(mask, x, y, 11)
    for value, xi, yi in zip(result, x, y, strict=True):
        x0, y0 = round(xi) - 5, round(yi) - 5
        box = mask[max(y0, 0) : max(y0 + 11, 0), max(x0, 0) : max(x0 + 11, 0)]
        assert value == pytest.approx(box.mean() if box.size else np.nan, abs=1e-14, nan_ok=True)
    assert box_fraction(mask, [], [], 11).shape == (0,)


# ---------------------------------------------------------------- the whole stage


@pytest.mark.parametrize(
    "chosen",
    [
        DetectSettings(n_pixels=12, box_px=60, min_coverage=0.0),
        DetectSettings(
            n_pixels=5,
            n_sigma=1.2,
            kernel_fwhm_px=4.0,
            kernel_size_px=5,
            deblend_n_pixels=5,
            deblend_n_levels=32,
            deblend_contrast=0.005,
            box_px=40,
            filter_boxes=5,
            min_coverage=0.0,
        ),
    ],
)
def test_the_stage_finds_what_the_libraries_find(as_image, chosen, monkeypatch):
    # The libraries know no wider window for bright sources, and no hits of cosmic rays.
    monkeypatch.setattr(centres, "BRIGHT_PX", 0.0)
    monkeypatch.setattr(hits, "CORE_SIGMA", np.inf)
    sci = crowd((300, 370), seed=3)

    def shallower(hdus):
        hdus["WHT"].data[:, 200:] *= 0.4

    image = as_image(sci, shallower)
    result, theirs = detect.run(image, chosen), reference.detect(image, chosen)
    np.testing.assert_allclose(result.background, theirs.background, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(result.noise, theirs.noise, rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(result.segmentation, theirs.segmentation)
    table = result.sources
    assert len(table) > 30
    assert len(result.removed) == 0
    for name, values in theirs.columns.items():
        if name in table.colnames and name != "theta_deg":
            expected = values.astype(table[name].dtype)
            np.testing.assert_allclose(table[name], expected, rtol=3e-5, atol=2e-5, err_msg=name)
