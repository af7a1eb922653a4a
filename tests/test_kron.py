"""Shapes and total fluxes at positions: photutils' SourceCatalog, analytic sources, odd input."""

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage, SourceCatalog

from bycatch.kernels.kron import MAX_REACH_PX, kron_shapes


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
    from scipy.ndimage import label

    valid = rng.random(shape) > 0.01
    valid[60:75, 100:120] = False
    segments = label((scene > 0.12) & valid)[0]
    small = np.bincount(segments.ravel()) < 4
    segments[small[segments]] = 0
    return scene.astype(np.float32), valid, segments.astype(np.int32)


@pytest.mark.parametrize("seed", [3, 4])
def test_it_is_photutils_source_catalog(seed):
    data, valid, segments = crowded(seed)
    theirs = SourceCatalog(
        data.astype(float),
        SegmentationImage(segments),
        mask=~valid,
        aperture_mask_method="mask",
        kron_params=(2.5, 1.4, 0.0),
    )
    x, y = theirs.x_centroid, theirs.y_centroid
    mine = kron_shapes(data, valid, 0.0, x, y, segments, theirs.labels)
    assert len(x) > 15
    assert not mine.windowed.any()
    close = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(mine.semimajor_px, theirs.semimajor_axis.value, **close)
    np.testing.assert_allclose(mine.semiminor_px, theirs.semiminor_axis.value, rtol=1e-5)
    turn = np.degrees(mine.theta_rad) - theirs.orientation.value
    np.testing.assert_allclose((turn + 90) % 180 - 90, 0, atol=1e-4)
    np.testing.assert_allclose(mine.kron_radius, theirs.kron_radius.value, **close)
    np.testing.assert_allclose(mine.flux, theirs.kron_flux, **close)
    half = theirs.flux_radius(0.5).value
    np.testing.assert_allclose(mine.half_light_px, half, rtol=2e-6)
    assert np.isfinite(half).mean() > 0.9


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
        found = kron_shapes(data, valid, 0.0, x, y, segments, labels)
        np.testing.assert_array_equal(found.flux, given.flux)
    assert not found.windowed[4]


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
