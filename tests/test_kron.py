"""Shapes and total fluxes at positions: photutils' SourceCatalog, analytic sources, odd input."""

import numpy as np
import pytest
from photutils.aperture import CircularAperture, EllipticalAperture
from photutils.segmentation import SegmentationImage, SourceCatalog
from scipy.ndimage import label

from bycatch.kernels.growth import half_flux_radius
from bycatch.kernels.kron import ellipse_radius_px, kron_shapes
from bycatch.kernels.kron_moments import MAX_REACH_PX, _weighted_sums


def gaussian(shape, x, y, a, b, theta, flux):
    """Return a Gaussian of given rms axes, integrated over pixels."""
    over = 7
    rows, columns = np.indices((shape[0] * over, shape[1] * over))
    dx, dy = (columns - over // 2) / over - x, (rows - over // 2) / over - y
    along = dx * np.cos(theta) + dy * np.sin(theta)
    across = dy * np.cos(theta) - dx * np.sin(theta)
    fine = np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2)) / (2 * np.pi * a * b)
    return flux * fine.reshape(shape[0], over, shape[1], over).mean(axis=(1, 3))


def crowded(seed=3, n=45, shape=(150, 190)):
    """Return a noisy scene of overlapping sources, its valid pixels, and segments."""
    rng = np.random.default_rng(seed)
    scene = rng.normal(0, 0.02, shape)
    rows, columns = np.indices(shape)
    for _ in range(n):
        x, y = rng.uniform(-1, shape[1]), rng.uniform(-1, shape[0])
        a, q, t = rng.uniform(1, 4), rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        along = (columns - x) * np.cos(t) + (rows - y) * np.sin(t)
        across = (rows - y) * np.cos(t) - (columns - x) * np.sin(t)
        scene += rng.uniform(0.2, 5) * np.exp(-0.5 * ((along / a) ** 2 + (across / a / q) ** 2))
    valid = rng.random(shape) > 0.01
    valid[60:75, 100:120] = False
    segments = label((scene > 0.12) & valid)[0]
    small = np.bincount(segments.ravel()) < 4
    segments[small[segments]] = 0
    return scene.astype(np.float32), valid, segments.astype(np.int32)


def by_photutils(data, valid, segments):
    return SourceCatalog(
        data,
        SegmentationImage(segments),
        mask=~valid,
        aperture_mask_method="correct",
        kron_params=(2.5, 1.4, 0.0),
    )


def without_others(data, valid, segments, own, x, y):
    """Return an image without the light of other segments, and which of its pixels count.

    Their pixels become what is opposite the source, or the lower of the two.
    """
    ny, nx = data.shape
    others = valid & (segments != 0) & (segments != own)
    light, used = data.copy(), valid & ~others
    for j, i in zip(*np.nonzero(others), strict=True):
        row, column = 2 * int(y + 0.5) - j, 2 * int(x + 0.5) - i
        if 0 <= row < ny and 0 <= column < nx and valid[row, column]:
            there = data[row, column]
            light[j, i] = min(there, data[j, i]) if others[row, column] else there
            used[j, i] = True
    return light, used


@pytest.mark.parametrize(("seed", "sky"), [(3, 0.0), (4, 0.0), (3, 0.5)])
def test_it_is_photutils_source_catalog(seed, sky):
    data, valid, segments = crowded(seed)
    data += np.float32(sky)
    every = by_photutils(data.astype(float) - sky, valid, segments)
    data[~valid] = np.nan
    x, y, labels = every.x_centroid, every.y_centroid, every.labels
    mine = kron_shapes(data, valid, np.full(len(x), sky), x, y, segments, labels)
    assert len(x) > 15
    assert not mine.windowed.any()
    close = {"rtol": 1e-6, "atol": 1e-9}
    alike = differ = 0
    for k, own in enumerate(labels):
        light, mask = without_others(data.astype(float), valid, segments, own, x[k], y[k])
        alone = np.where(segments == own, 1, 0)
        theirs = by_photutils(np.where(mask, light - sky, 0), mask, alone)
        np.testing.assert_allclose(mine.semimajor_px[k], theirs.semimajor_axis.value[0], **close)
        np.testing.assert_allclose(mine.semiminor_px[k], theirs.semiminor_axis.value[0], rtol=1e-5)
        turn = np.degrees(mine.theta_rad[k]) - theirs.orientation.value[0]
        np.testing.assert_allclose((turn + 90) % 180 - 90, 0, atol=1e-4)
        np.testing.assert_allclose(mine.kron_radius[k], theirs.kron_radius.value[0], **close)
        np.testing.assert_allclose(mine.flux[k], theirs.kron_flux[0], **close)
        half = theirs.flux_radius(0.5).value[0]
        np.testing.assert_allclose(mine.half_light_px[k], half, rtol=2e-6)
        alike += np.isclose(mine.flux[k], every.kron_flux[k], rtol=1e-6)
        differ += not np.isclose(mine.flux[k], every.kron_flux[k], rtol=1e-6)
    # Where no two opposite pixels are of others, it is photutils' own way with neighbours.
    assert alike > 5
    assert (differ > 0) == (seed == 3)


def test_pieces_of_a_galaxy_keep_their_light():
    shape = (101, 101)
    data = gaussian(shape, 50.0, 50.0, 9.0, 6.0, 0.4, 300.0)
    whole = (data > 0.02).astype(np.int32)
    valid = np.ones(shape, bool)
    truth = kron_shapes(data, valid, 0.0, [50.0], [50.0], whole, [1])
    pieces = whole.copy()
    pieces[(np.indices(shape)[0] > 60) & (whole > 0)] = 2
    pieces[(np.indices(shape)[0] < 40) & (whole > 0)] = 3
    cut = kron_shapes(data, valid, 0.0, [50.0], [50.0], pieces, [1])
    ellipse = (2.5 * cut.kron_radius) ** 2 * np.pi * cut.semimajor_px * cut.semiminor_px
    assert truth.others_px2[0] == 0
    assert 0.1 < cut.others_px2[0] / ellipse[0] < 0.9
    np.testing.assert_allclose(cut.area_px2, ellipse, rtol=1e-6)
    np.testing.assert_allclose(cut.flux, truth.flux, rtol=0.02)


def test_circles_as_large_as_ellipses():
    shapes = ellipse_radius_px(
        [2.0, 2.0, np.nan, 6.0], [3.0, 3.0, 1.0, 80.0], [3.0, 0.75, 1.0, 20.0]
    )
    # The last one is cut to a long semi-axis of 200 px.
    np.testing.assert_allclose(shapes, [15.0, 7.5, np.nan, 100.0])


def test_the_area_is_that_of_the_ellipse():
    shape = (81, 90)
    data = gaussian(shape, 44.3, 40.2, 3.0, 2.0, 0.6, 50.0)
    valid, segments = np.ones(shape, bool), (data > 0.01).astype(np.int32)
    shapes = kron_shapes(data, valid, 0.0, [44.3], [40.2], segments, [1])
    whole = np.pi * (2.5 * shapes.kron_radius) ** 2 * shapes.semimajor_px * shapes.semiminor_px
    np.testing.assert_allclose(shapes.area_px2, whole, rtol=1e-6)
    valid[40, 50] = False
    holed = kron_shapes(data, valid, 0.0, [44.3], [40.2])
    whole = np.pi * (2.5 * holed.kron_radius) ** 2 * holed.semimajor_px * holed.semiminor_px
    np.testing.assert_allclose(holed.area_px2, whole - 1, rtol=1e-6)


@pytest.mark.parametrize(("a", "b", "theta"), [(1.2, 1.2, 0.0), (3.0, 2.0, 0.6), (2.5, 1.0, -1.2)])
def test_windowed_moments_of_a_gaussian_are_its_own(a, b, theta):
    shape = (71, 80)
    data = 0.3 + gaussian(shape, 40.3, 35.8, a, b, theta, 20.0)
    shapes = kron_shapes(data, np.ones(shape, bool), [0.3], [40.3], [35.8])
    assert shapes.windowed[0]
    # A pixel's own width adds its variance, and sampling a little.
    np.testing.assert_allclose(shapes.semimajor_px, np.sqrt(a**2 + 1 / 12), rtol=4e-3)
    np.testing.assert_allclose(shapes.semiminor_px, np.sqrt(b**2 + 1 / 12), rtol=4e-3)
    if a > b:
        np.testing.assert_allclose(shapes.theta_rad, theta, atol=0.01)
    else:
        # Of the area of a pixel that a small circle cuts, and its own width.
        np.testing.assert_allclose(shapes.half_light_px, a * np.sqrt(2 * np.log(2)), rtol=0.07)
    np.testing.assert_allclose(shapes.flux, 20.0, rtol=0.03)


def test_a_neighbour_is_masked_only_where_it_has_a_segment():
    shape = (60, 70)
    alone = gaussian(shape, 30.0, 30.0, 1.5, 1.5, 0, 10.0)
    both = alone + gaussian(shape, 39.0, 30.0, 1.5, 1.5, 0, 30.0)
    segments = np.zeros(shape, np.int32)
    segments[25:36, 25:35], segments[25:36, 35:45] = 1, 2
    valid = np.ones(shape, bool)
    truth = kron_shapes(alone, valid, 0.0, [30.0], [30.0], segments, [1])
    masked = kron_shapes(both, valid, 0.0, [30.0], [30.0], segments, [1])
    naked = kron_shapes(both, valid, 0.0, [30.0], [30.0])
    np.testing.assert_allclose(masked.flux, truth.flux, rtol=0.03)
    assert naked.flux[0] > 1.1 * truth.flux[0]


def test_a_huge_source_is_cut():
    shape = (500, 520)
    rows, columns = np.indices(shape)
    data = np.exp(-np.hypot(rows - 250, columns - 260) / 60)
    shapes = kron_shapes(
        data, np.ones(shape, bool), 0.0, [260.0], [250.0], (data > 0.02).astype(np.int32), [1]
    )
    assert shapes.cut[0]
    np.testing.assert_allclose(shapes.area_px2, np.pi * MAX_REACH_PX**2, rtol=0.02)


def test_odd_positions_give_nothing():
    data = gaussian((30, 40), 20, 15, 2, 2, 0, 5)
    x = np.array([np.nan, -5, 20, 20, np.inf, 1e12])
    y = np.array([15, 15, np.nan, 35, 3, 15.0])
    shapes = kron_shapes(data, np.ones(data.shape, bool), 0.0, x, y)
    for values in (shapes.semimajor_px, shapes.flux, shapes.area_px2, shapes.half_light_px):
        assert np.isnan(values).all()
    nowhere = kron_shapes(data, np.zeros(data.shape, bool), 0.0, [20.0], [15.0])
    assert np.isnan(nowhere.flux[0])
    skyless = kron_shapes(data, np.ones(data.shape, bool), [np.nan], [20.0], [15.0])
    assert np.isnan(skyless.flux[0])


def test_no_position_and_one_pixel():
    data = np.ones((1, 1), np.float32)
    valid, segment = np.ones((1, 1), bool), np.ones((1, 1), np.int32)
    assert len(kron_shapes(data, valid, 0.0, [], [], segment, []).flux) == 0
    one = kron_shapes(data, valid, 0.0, [0.0], [0.0], segment, [1])
    # A pixel has no width: the least one is that of a pixel.
    np.testing.assert_allclose(one.semimajor_px, np.sqrt(1 / 12), rtol=1e-12)
    np.testing.assert_allclose([one.flux, one.area_px2, one.kron_radius], [[1], [1], [1.4]])
    theirs = by_photutils(np.ones((1, 1)), valid, segment)
    assert one.half_light_px == pytest.approx(theirs.flux_radius(0.5).value, rel=1e-6)
    assert one.kron_radius == pytest.approx(theirs.kron_radius.value)
    assert one.semiminor_px == pytest.approx(theirs.semiminor_axis.value)


def test_at_the_border_only_the_image_counts():
    shape = (40, 50)
    data = gaussian(shape, 0.0, 20.0, 2.0, 2.0, 0, 10.0)
    shapes = kron_shapes(
        data, np.ones(shape, bool), 0.0, [0.0], [20.0], (data > 0.01).astype(np.int32), [1]
    )
    whole = np.pi * (2.5 * shapes.kron_radius) ** 2 * shapes.semimajor_px * shapes.semiminor_px
    assert 0.4 * whole[0] < shapes.area_px2[0] < 0.7 * whole[0]


def test_a_position_without_a_label_has_the_segment_under_it():
    data, valid, segments = crowded()
    x, y = np.array([30.0, 70.0, -3.0, np.nan]), np.array([40.0, 66.0, 5.0, 5.0])
    rows, columns = np.nonzero(segments == 4)
    x, y = np.append(x, columns[0]), np.append(y, rows[0])
    under = [segments[40, 30], segments[66, 70], 0, 0, 4]
    given = kron_shapes(data, valid, 0.0, x, y, segments, under)
    for labels in (None, np.zeros(5, int)):
        result = kron_shapes(data, valid, 0.0, x, y, segments, labels)
        np.testing.assert_array_equal(result.flux, given.flux)
    assert not result.windowed[4]


def test_a_label_that_is_not_there_is_none():
    data = gaussian((30, 40), 20, 15, 2, 2, 0, 5)
    segments = np.zeros(data.shape, np.int32)
    segments[2:5, 2:5] = 3
    shapes = kron_shapes(
        data, np.ones(data.shape, bool), 0.0, [20.0] * 3, [15.0] * 3, segments, [1, 99, -4]
    )
    assert shapes.windowed.all()
    np.testing.assert_array_equal(shapes.flux, shapes.flux[0])


def test_arguments_that_do_not_fit():
    data, valid = np.zeros((5, 6)), np.ones((5, 6), bool)
    with pytest.raises(ValueError, match=r"segmentation is \(6, 5\)"):
        kron_shapes(data, valid, 0.0, [1.0], [1.0], np.zeros((6, 5), int), [1])
    with pytest.raises(ValueError, match="2 labels for 1 positions"):
        kron_shapes(data, valid, 0.0, [1.0], [1.0], np.zeros((5, 6), int), [1, 2])


# ---------------------------------------------------------------- without a segment


def slow_windowed_moments(light, x, y):
    """Return xx, yy, xy under the Gaussian of the same shape, over the whole image; NaN if none."""
    rows, columns = np.indices(light.shape)
    dx, dy = columns - x, rows - y
    now = np.array([2.25, 2.25, 0.0])
    for _ in range(60):
        xx, yy, xy = now
        det = xx * yy - xy * xy
        if not (xx > 0 and yy > 0 and max(xx, yy) < 12**2):
            break
        if not det > 1 / 12**2:
            return now
        square = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / det
        weighted = np.where(square <= 16, light * np.exp(-0.5 * np.minimum(square, 16)), 0)
        total = weighted.sum()
        if not total > 0:
            break
        products = (dx * dx, dy * dy, dx * dy)
        before, now = now, 2 * np.array([(weighted * p).sum() for p in products]) / total
        if np.abs(now - before).sum() < 1e-5 * (xx + yy):
            return now
    return np.full(3, np.nan)


def slow_axes(xx, yy, xy):
    """Return semimajor and semiminor axis, and angle; a thin source is widened by a pixel."""
    while xx * yy - xy * xy < 1 / 12**2:
        xx, yy = xx + 1 / 12, yy + 1 / 12
    squares, axes = np.linalg.eigh([[xx, xy], [xy, yy]])
    minor, major = np.sqrt(np.maximum(squares, 0))
    return major, minor, (np.arctan2(*axes[::-1, 1]) + np.pi / 2) % np.pi - np.pi / 2


def slow_kron_radius(light, x, y, a, b, theta):
    rows, columns = np.indices(light.shape)
    along = (columns - x) * np.cos(theta) + (rows - y) * np.sin(theta)
    across = (rows - y) * np.cos(theta) - (columns - x) * np.sin(theta)
    radius = np.hypot(along / a, across / b)
    near = radius <= 6
    total, first = light[near].sum(), (light * radius)[near].sum()
    if total <= 0 or first <= 0:
        return 1.4
    return max(first / total, 1.4) if first <= 6 * total else np.nan


def slow_shape(light, used, x, y, own_light):
    """Return axes, angle, Kron radius, flux and area at a position; NaN where there is none.

    The moments are those of ``own_light``, without what is guessed in the place of neighbours.
    """
    out = np.full(6, np.nan)
    moments = slow_windowed_moments(own_light, x, y)
    if np.isfinite(moments).all():
        a, b, theta = out[:3] = slow_axes(*moments)
        out[3] = slow_kron_radius(light, x, y, a, b, theta)
    if np.isfinite(out[3]):
        scale = 2.5 * out[3]
        ellipse = EllipticalAperture((x, y), scale * a, scale * b, theta=theta)
        out[4:] = [ellipse.do_photometry(p.astype(float))[0][0] for p in (light, used)]
    return out


def slow_kron(data, valid, sky, x, y, segments=None):
    """The kernel at positions without a segment of their own, one by one."""
    segments = np.zeros(data.shape, int) if segments is None else segments
    ny, nx = data.shape
    out = np.full((len(x), 6), np.nan)
    for k in range(len(x)):
        on_image = -0.5 <= x[k] < nx - 0.5 and -0.5 <= y[k] < ny - 0.5
        if on_image and np.isfinite(sky[k]):
            light = np.where(valid & (segments == 0), data.astype(float) - sky[k], 0)
            whole, mask = without_others(data.astype(float), valid, segments, 0, x[k], y[k])
            out[k] = slow_shape(np.where(mask, whole - sky[k], 0), mask, x[k], y[k], light)
    return out


def agreeing(shapes, expected):
    """Return which shapes agree, to 1e-5 of each value and 5e-5 of its unit."""
    result = np.transpose(
        [shapes.semimajor_px, shapes.semiminor_px, shapes.theta_rad, shapes.kron_radius,
         shapes.flux, shapes.area_px2]
    )  # fmt: skip
    turn = (result[:, 2] - expected[:, 2] + np.pi / 2) % np.pi - np.pi / 2
    # A round source has no angle.
    turn[expected[:, 0] - expected[:, 1] < 1e-3] = 0
    result[:, 2] = np.where(np.isnan(result[:, 2]), np.nan, expected[:, 2] + turn)
    return np.isclose(result, expected, rtol=1e-5, atol=5e-5, equal_nan=True).all(axis=1)


def circle_flux(light, x, y, radius):
    return CircularAperture((x, y), radius).do_photometry(np.asarray(light, float))[0][0]


def is_bracketed(light, x, y, half, longest):
    """Return whether half the flux lies between 0.1 px and a radius, from the longest in tenths."""
    inner = 1 - circle_flux(light, x, y, 0.1) / half
    radius = longest
    while radius > 0.1:
        if inner * (1 - circle_flux(light, x, y, radius) / half) <= 0:
            return True
        radius -= 0.1 * longest
    return False


def few_sources(shape, rng, n_positions=60):
    """Return noise with sources, valid pixels, and positions: half on sources, half anywhere."""
    scene = rng.normal(0, 0.02, shape)
    rows, columns = np.indices(shape)
    centres = []
    for _ in range(8):
        x, y = rng.uniform(-0.5, shape[1] - 0.5), rng.uniform(-0.5, shape[0] - 0.5)
        a, q, t = rng.uniform(0.3, 4), rng.uniform(0.1, 1), rng.uniform(0, np.pi)
        along = (columns - x) * np.cos(t) + (rows - y) * np.sin(t)
        across = (rows - y) * np.cos(t) - (columns - x) * np.sin(t)
        scene += rng.uniform(0.2, 5) * np.exp(-0.5 * ((along / a) ** 2 + (across / a / q) ** 2))
        centres.append((x, y))
    x, y = (rng.uniform(-1.5, n + 0.5, n_positions) for n in shape[::-1])
    half = n_positions // 2
    x[:half], y[:half] = (
        np.array(centres)[rng.integers(0, 8, half)] + rng.normal(0, 0.3, (half, 2))
    ).T
    x[::5], y[::7] = np.rint(x[::5]), np.rint(y[::7])
    return scene.astype(np.float32), rng.random(shape) > 0.03, x, y


def assert_half_light(light, x, y, shapes, k):
    """Check that the radius of half the light holds half of it, or that there is none."""
    half, radius = 0.5 * shapes.flux[k], shapes.half_light_px[k]
    if np.isfinite(radius):
        # The kernel sums light in float32.
        assert circle_flux(light, x, y, radius) == pytest.approx(half, rel=1e-5)
    elif np.isfinite(half):
        longest = 2.5 * shapes.kron_radius[k] * shapes.semimajor_px[k]
        assert not is_bracketed(light, x, y, half, longest)


@pytest.mark.parametrize("shape", [(60, 73), (1, 1), (1, 9), (7, 1), (3, 40), (23, 5)])
def test_shapes_without_a_segment_are_those_of_the_slow_twin(shape):
    rng = np.random.default_rng(5)
    agree, n_measured = np.zeros(0, bool), 0
    for _ in range(4):
        data, valid, x, y = few_sources(shape, rng)
        data[~valid] = np.nan
        sky = rng.normal(0, 0.05, len(x))
        sky[3] = np.nan
        shapes, expected = kron_shapes(data, valid, sky, x, y), slow_kron(data, valid, sky, x, y)
        agree = np.append(agree, agreeing(shapes, expected))
        rows = np.flatnonzero(np.isfinite(expected[:, 4]))
        assert shapes.windowed[rows].all()
        for k in rows:
            light = np.where(valid, data.astype(float) - sky[k], 0)
            assert_half_light(light, x[k], y[k], shapes, k)
        n_measured += len(rows)
    assert n_measured > 30
    # Rounding may make the two stop one iteration apart.
    assert (~agree).sum() <= 0.01 * len(agree)


def test_segments_of_others_are_cleaned_away_where_there_is_no_own():
    rng = np.random.default_rng(6)
    data, valid, x, y = few_sources((60, 73), rng, 400)
    segments = label(data > 3)[0].astype(np.int32)
    column, row = (np.rint(v).astype(int).clip(0, n) for v, n in ((x, 72), (y, 59)))
    without = segments[row, column] == 0
    x, y = x[without], y[without]
    shapes = kron_shapes(data, valid, 0.02, x, y, segments)
    expected = slow_kron(data, valid, np.full(len(x), 0.02), x, y, segments)
    assert np.isfinite(expected[:, 4]).sum() > 60
    assert (~agreeing(shapes, expected)).sum() <= 0.01 * len(x)
    assert (~agreeing(kron_shapes(data, valid, 0.02, x, y), expected)).sum() > 20


@pytest.mark.parametrize("off_px", [0.01, -0.02, 0.029])
@pytest.mark.parametrize("upright", [True, False])
def test_lines_of_one_pixel_are_as_wide_as_they_are_off(off_px, upright):
    data = np.zeros((121, 25), np.float32)
    data[:, 12] = np.exp(-0.5 * ((np.arange(121) - 60) / 8.5) ** 2)
    x, y = np.array([12 + off_px]), np.array([60.0])
    if not upright:
        data, x, y = np.ascontiguousarray(data.T), y, x
    valid = np.ones(data.shape, bool)
    shapes, expected = kron_shapes(data, valid, 0.0, x, y), slow_kron(data, valid, [0.0], x, y)
    assert agreeing(shapes, expected).all()
    assert_half_light(data, x[0], y[0], shapes, 0)
    # Under the first window of 1.5 px; of a source as thin as this, nothing more is asked.
    length = 2 / (1 / 8.5**2 + 1 / 1.5**2)
    if 2 * off_px**2 * length < 1 / 12**2:
        minor, major = 2 * off_px**2 + 1 / 12, length + 1 / 12
    else:
        minor, major = 2 * off_px**2, 8.5**2
    assert shapes.semiminor_px[0] == pytest.approx(np.sqrt(minor), rel=1e-6)
    # The windows end at four times their rms.
    assert shapes.semimajor_px[0] == pytest.approx(np.sqrt(major), rel=5e-3)


@pytest.mark.parametrize("turn", [0.0, 0.03, 0.6, np.pi / 2, 2.5])
@pytest.mark.parametrize(("x", "y"), [(50, 50.013), (49.7, 50), (50.013, 49.987), (50.5, 50.5)])
def test_sums_under_the_narrowest_windows_are_those_of_numpy(turn, x, y):
    """Their weights beside the line are no float64 any more: nothing of that may enter."""
    stamp, rows = np.random.default_rng(8).normal(1, 1, (121, 121)), np.empty((4, 121))
    down, across = np.indices((101, 101))
    dx, dy = across - x, down - y
    c, s = np.cos(turn), np.sin(turn)
    for major in (1.01, 10.0, 143.0):
        for minor in (1.001 / 12**2 / major, 0.01, 0.3):
            xx, yy = major * s * s + minor * c * c, major * c * c + minor * s * s
            xy = (minor - major) * c * s
            square = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / (xx * yy - xy * xy)
            # Else rounding decides about a pixel on the edge of the window.
            assert abs(square - 16).min() > 1e-6
            weighted = np.where(square <= 16, stamp[:101, :101] * np.exp(-square / 2), 0)
            expected = [(weighted * p).sum() for p in (np.ones_like(dx), dx**2, dy**2, dx * dy)]
            result = _weighted_sums(stamp, (0, 101, 0, 101), x, y, (xx, yy, xy), rows)
            np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- half of the light


@pytest.mark.parametrize("shape", [(31, 40), (1, 1), (1, 9), (12, 3)])
def test_a_circle_of_the_half_flux_radius_has_half_the_flux(shape):
    rng = np.random.default_rng(7)
    rows, columns = np.indices(shape)
    n_found = n_none = 0
    for k in range(150):
        x, y = rng.uniform(-0.5, shape[1] - 0.5), rng.uniform(-0.5, shape[0] - 0.5)
        if k % 3 == 0:
            x, y = np.rint(x), np.rint(y)
        light = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / rng.uniform(0.3, 4) ** 2)
        light += rng.normal(0, rng.choice([0.01, 0.3]), shape)
        light[rng.random(shape) < 0.1] = 0
        pixels = (light * rng.choice([-1, 1])).astype(np.float32)
        longest = float(rng.choice([0.05, 0.3, 2.0, 8.3, 15.0]))
        half = 0.5 * circle_flux(pixels, x, y, longest) * rng.choice([1, 0.8])
        if half == 0:
            continue
        radius = half_flux_radius(pixels, x, y, half, longest)
        if np.isnan(radius):
            assert not is_bracketed(pixels, x, y, half, longest)
            n_none += 1
        else:
            assert radius <= longest
            assert circle_flux(pixels, x, y, radius) == pytest.approx(half, rel=3e-6)
            n_found += 1
    assert n_found > 80
    assert n_none > 10
