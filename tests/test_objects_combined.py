"""Images laid over one another, and the detection image that they make."""

import numpy as np
import pytest
from astropy.wcs import WCS

from bycatch.kernels.resample import STEP_PX, add_resampled, flux_and_variance
from bycatch.settings import Settings
from bycatch.stages import detect
from bycatch.stages.objects.combined import Combination, grid_over
from bycatch.testing.scene import moffat

SHAPE = (150, 170)


def places(shape, dx=0.0, dy=0.0):
    """Return where each 32nd pixel of a grid lies in an image that is shifted."""
    rows, columns = (np.arange(0, n + STEP_PX, STEP_PX, dtype=float) for n in shape)
    x, y = np.meshgrid(columns, rows)
    return x + dx, y + dy


def added(image, variance, dx=0.0, dy=0.0, shape=SHAPE):
    total, weight = np.zeros((2, *shape), np.float32)
    add_resampled(total, weight, image, variance, *places(shape, dx, dy))
    return total, weight


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    return rng.normal(size=SHAPE).astype(np.float32), np.full(SHAPE, 0.25, np.float32)


def test_an_image_on_its_own_grid_is_itself(pixels):
    image, variance = pixels
    total, weight = added(image, variance)
    # The last row and column have no neighbour to interpolate to.
    np.testing.assert_allclose(total[:-1, :-1], 4 * image[:-1, :-1], rtol=1e-6)
    np.testing.assert_array_equal(weight[:-1, :-1], 4.0)
    assert not weight[-1].any()


def test_half_a_pixel_is_the_mean_of_neighbours(pixels):
    image, variance = pixels
    total, weight = added(image, variance, dx=0.5)
    mean = 0.5 * (image[:, :-1] + image[:, 1:])
    np.testing.assert_allclose(total[:-1, :-2], 4 * mean[:-1, :-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weight[:-1, :-2], 4.0)


def test_pixels_without_data_or_weight_add_nothing(pixels):
    image, variance = pixels
    image, variance = image.copy(), variance.copy()
    image[50, 60], variance[90, 20] = np.nan, np.nan
    total, weight = added(image, variance, dx=0.3, dy=0.3)
    for row, column in ((50, 60), (90, 20)):
        assert not weight[row - 1 : row + 1, column - 1 : column + 1].any()
        assert not total[row - 1 : row + 1, column - 1 : column + 1].any()
    assert np.isfinite(total).all()
    assert weight.astype(bool).sum() == (SHAPE[0] - 1) * (SHAPE[1] - 1) - 8


def test_pixels_that_do_not_count_have_no_flux(pixels):
    image, _ = pixels
    background, noise = np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 2.0, np.float32)
    is_finite = np.ones(SHAPE, bool)
    is_finite[3, 4], noise[5, 6] = False, 0.0
    flux, variance = flux_and_variance(image, background, noise, is_finite, 3.0)
    is_finite[5, 6] = False
    assert (np.isnan(flux) == ~is_finite).all()
    assert (np.isnan(variance) == ~is_finite).all()
    np.testing.assert_allclose(flux[is_finite], 3 * (image[is_finite] - 0.5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance[is_finite], 36.0)


def test_the_light_of_a_star_is_kept():
    star = moffat(SHAPE, 80.3, 70.6).astype(np.float32)
    total, _ = added(star, np.ones(SHAPE, np.float32), dx=0.37, dy=-0.21)
    assert total.sum() == pytest.approx(star.sum(), rel=1e-3)


def test_an_image_of_one_pixel_adds_nothing():
    one = np.ones((1, 1), np.float32)
    assert not added(one, one)[1].any()


def turned(angle_deg, scale_arcsec=0.05):
    """Return a tangent plane near the origin of the sky whose y axis is turned from north."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [0.0, 0.0], [40.5, 70.25]
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = scale_arcsec / 3600.0 * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.set()
    return wcs


def test_a_grid_covers_its_corners_and_is_not_too_large():
    ra, dec = np.array([359.999, 0.001, 0.001, 359.999]), np.array([-0.001, -0.001, 0.001, 0.001])
    grid = grid_over(turned(0.0), ra, dec)
    x, y = grid.wcs.all_world2pix(ra, dec, 0)
    assert x.min() >= -0.5
    assert y.min() >= -0.5
    assert x.max() < grid.shape[1]
    assert y.max() < grid.shape[0]
    assert grid.shape[0] * 0.05 == pytest.approx(7.2, abs=0.2)
    with pytest.raises(ValueError, match="too large"):
        grid_over(turned(0.0), 1000 * np.array([-ra[1], ra[1]]), 1000 * dec[1:3])


@pytest.mark.parametrize("angle_deg", [0.0, 31.0, 200.0])
def test_a_grid_has_the_pixels_of_its_image(angle_deg):
    wcs = turned(angle_deg)
    corners = wcs.calc_footprint(axes=(170, 150))
    beside = wcs.all_pix2world([-20.5, 175.5], [-3.5, 179.5], 0)  # corners of another image
    grid = grid_over(wcs, *np.vstack([corners, np.transpose(beside)]).T)
    x, y = grid.wcs.all_world2pix(*wcs.all_pix2world([0.0, 50.0], [0.0, 90.0], 0), 0)
    np.testing.assert_allclose([x, y], [[21.0, 71.0], [4.0, 94.0]], atol=1e-6)
    assert grid.shape == (185, 198)


def test_the_sum_shows_what_no_image_does(as_image):
    """A star of 2.5 sigma a pixel in each of four images, and blank sky."""
    rng = np.random.default_rng(7)
    star = 0.35 * moffat((220, 260), 130.0, 110.0)
    images = [
        as_image((star + rng.normal(0, 0.01, star.shape)).astype(np.float32)) for _ in range(4)
    ]
    settings = Settings.load(preset="deep").detect
    corners = images[0].wcs.calc_footprint(axes=(260, 220))
    combination = Combination(grid_over(images[0].wcs, *corners.T))
    single = 0
    for image in images:
        detection = detect.run(image, settings)
        single += len(detection.sources)
        combination.add(image, image.wcs, detection.background, detection.noise, microjansky=2.0)
    summed = combination.image()
    assert combination.n_images == 4
    x, y = summed.wcs.all_world2pix(*images[0].wcs.all_pix2world(130.0, 110.0, 0), 0)
    sources = detect.run(summed, settings).sources
    near = np.hypot(sources["x"] - x, sources["y"] - y) < 2
    assert near.sum() == 1
    assert single <= 1
    # Signal over noise: on their own pixels nothing is interpolated.
    assert np.nanstd(summed.sci[:100, :100]) == pytest.approx(1.0, abs=0.05)


def test_nothing_added_is_no_image():
    grid = grid_over(turned(0.0), np.array([0.0, 0.01]), np.array([0.0, 0.01]))
    assert isinstance(grid.wcs, WCS)
    with pytest.raises(ValueError, match="no image"):
        Combination(grid).image()
