"""Blank sky and the noise of apertures: each decision just below and just above its limit."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from bycatch.kernels.skystats import SkyStats
from bycatch.settings import MeasureSettings
from bycatch.stages.measure import blank_sky, sky_noise
from bycatch.stages.measure.photometry import Exposures

SETTINGS = MeasureSettings()
SIGMA = 0.01


def uniform(shape, seed=1):
    """Noise without tails: what stands out of it was put there."""
    return np.random.default_rng(seed).uniform(-1, 1, shape) * np.sqrt(3) * SIGMA


def objects(std, *, n_exp=2, seed=1, slope=0.0):
    """Blank places of given scatter; their sums follow a power of it, over independent pixels."""
    n = len(std)
    areas = np.tile(np.pi * np.square(SETTINGS.radii_px), (n, 1))
    sky = SkyStats(np.zeros(n), std, np.full(n, 390))
    draws = np.random.default_rng(seed).permuted(norm.ppf((np.arange(n) + 0.5) / n))
    net = (draws * (std / np.median(std)) ** slope)[:, np.newaxis] * sky_noise.uncorrelated_error(
        areas, sky
    )
    counts = np.broadcast_to(n_exp, n).astype(np.int64)
    exposures = Exposures(counts, counts, np.full(n, 1000.0), np.zeros(n))
    return blank_sky.SkyObjects(np.zeros(n), np.zeros(n), net, areas, sky, exposures)


def spread(n, width):
    """Scatters whose logarithm has a robust width."""
    return SIGMA * np.exp(width * norm.ppf((np.arange(n) + 0.5) / n))


@pytest.mark.parametrize(("height", "is_blank"), [(4.5, True), (5.5, False)])
def test_a_place_with_a_pixel_of_five_sigma_is_not_blank(as_image, height, is_blank):
    sci = uniform((400, 400))
    sci[30::40, 30::40] = height * SIGMA
    image = as_image(sci)
    blank = blank_sky.blank_sky(image, np.zeros(image.shape, bool), SETTINGS)
    apart = np.hypot((blank.x + 10) % 40 - 40 * ((blank.x + 10) % 40 > 20),
                     (blank.y + 10) % 40 - 40 * ((blank.y + 10) % 40 > 20))  # fmt: skip
    assert len(blank.x) > 60
    assert ((apart < 11.0).sum() > 30) == is_blank
    if not is_blank:
        assert apart.min() > 11.0


def test_blank_places_keep_two_pixels_more_than_the_largest_aperture_from_sources(as_image):
    image = as_image(uniform((600, 600)))
    has_light = np.zeros(image.shape, bool)
    has_light[:, ::50] = True
    blank = blank_sky.blank_sky(image, has_light, SETTINGS)
    apart = np.abs((blank.x + 25) % 50 - 25)
    assert len(blank.x) > 200
    assert SETTINGS.radii_px[-1] + 2 <= apart.min() < SETTINGS.radii_px[-1] + 2.2


@pytest.mark.parametrize(("n", "is_measured"), [(59, False), (60, True)])
def test_sixty_places_show_the_noise(as_image, n, is_measured):
    image = as_image(uniform((60, 60)))
    model = sky_noise.noise_model(image, objects(np.full(n, SIGMA)), SETTINGS)
    assert model.is_measured == is_measured
    assert model.n_places == n


@pytest.mark.parametrize(("n", "is_seen"), [(299, False), (300, True)])
def test_three_hundred_places_show_how_the_noise_follows_the_scatter(as_image, n, is_seen):
    image = as_image(uniform((60, 60)))
    model = sky_noise.noise_model(image, objects(spread(n, 0.3), slope=-0.8), SETTINGS)
    assert (model.slope != 0).all() == is_seen


@pytest.mark.parametrize(("width", "is_seen"), [(0.028, False), (0.032, True)])
def test_in_scatters_all_alike_there_is_no_slope(as_image, width, is_seen):
    image = as_image(uniform((60, 60)))
    model = sky_noise.noise_model(image, objects(spread(900, width), slope=-0.8), SETTINGS)
    assert (model.slope != 0).all() == is_seen


@pytest.mark.parametrize(("true", "found"), [(-3.0, -1.5), (-0.8, -0.8), (0.3, 0.3), (2.0, 0.5)])
def test_slopes_stay_within_what_drizzling_can_do(as_image, true, found):
    image = as_image(uniform((60, 60)))
    model = sky_noise.noise_model(image, objects(spread(4000, 0.3), slope=true), SETTINGS)
    assert model.slope == pytest.approx([found] * 5, abs=0.08 if abs(true) < 1 else 1e-12)
    assert model.scale == pytest.approx([1.0] * 5, abs=0.05 if abs(true) < 1 else 0.5)


@pytest.mark.parametrize(("ratio", "counted"), [(0.1, 0.3), (0.31, 0.31), (2.9, 2.9), (9.0, 3.0)])
def test_a_local_scatter_counts_from_three_tenths_to_three_times_the_typical(ratio, counted):
    model = sky_noise.NoiseModel(
        (2.0,), np.array([1.2]), np.array([-0.5]), 1.0, 1000, True, np.array([1.0])
    )
    place = objects(np.array([ratio]) / np.sqrt(1000.0))
    areas = place.areas[:, :1]
    error = model.sky_errors(areas, place.sky, [1000.0])
    assert error == pytest.approx(
        sky_noise.uncorrelated_error(areas, place.sky) * 1.2 * counted**-0.5
    )


def test_an_unknown_scatter_is_taken_for_the_typical_one():
    model = sky_noise.NoiseModel(
        (2.0,), np.array([1.2]), np.array([-0.5]), np.nan, 10, False, np.array([np.nan])
    )
    place = objects(np.array([0.3]))
    areas = place.areas[:, :1]
    error = model.sky_errors(areas, place.sky, [1000.0])
    assert error == pytest.approx(1.2 * sky_noise.uncorrelated_error(areas, place.sky))


def test_depths_are_given_for_numbers_of_exposures_with_twenty_places(as_image):
    image = as_image(uniform((60, 60)))
    n_exp = np.repeat([1, 2, 3], [19, 20, 100])
    result = objects(np.full(len(n_exp), SIGMA), n_exp=n_exp)
    model = sky_noise.noise_model(image, result, SETTINGS)
    assert set(sky_noise.limits_by_exposures(result, model)) == {2, 3}


def test_the_width_is_that_of_68_percent():
    grid = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert sky_noise.width(2.0 * grid) == pytest.approx(2.0, abs=2e-3)
    # A box is narrower by this rule than by its standard deviation.
    assert sky_noise.width(np.linspace(-1, 1, 100_001)) == pytest.approx(0.6827, abs=1e-3)


def test_a_limit_is_five_times_its_error():
    errors, seconds = np.array([[0.2]]), np.array([800.0])
    rate = sky_noise.limits(errors, seconds)
    assert rate / sky_noise.total_errors(rate, errors, seconds) == pytest.approx(5.0)
    model = sky_noise.NoiseModel(
        (6.0,), np.array([1.0]), np.array([0.0]), 0.3, 1000, True, np.array([1.0])
    )
    depth = model.depth_map(np.array([[900.0]], np.float32), 6.0, (10.0, 15.0))[0, 0]
    level = 1 + 36 / (15**2 - 10**2)
    error = np.sqrt(depth / 900 + (0.3 / 30) ** 2 * np.pi * 36 * level)
    assert depth == pytest.approx(5 * error, rel=1e-5)


def test_the_parts_of_an_error_add_up_to_it():
    place = objects(np.full(3, SIGMA))
    net = np.array([[5.0], [0.0], [-1.0]])
    errors, areas = np.full((3, 1), 0.3), place.areas[:, 2:3]
    parts = sky_noise.error_parts(net, errors, areas, place.sky, np.full(3, 700.0), 0.9)
    assert np.hypot(np.hypot(*parts[:2]), parts[2]) == pytest.approx(
        sky_noise.total_errors(net, errors, np.full(3, 700.0), 0.9)
    )
    assert parts[0][:, 0] == pytest.approx([np.sqrt(0.9 * 5 / 700), 0, 0])
    assert (parts[2] / parts[1]) ** 2 == pytest.approx(areas / 390)


@pytest.mark.parametrize(("radius", "share"), [(2.0, 0.93), (4.0, 0.99)])
def test_the_photons_of_a_star_count_for_what_the_documentation_says(as_image, radius, share):
    image = as_image(uniform((60, 60)), filters=("F606W", "CLEAR2L"))
    assert sky_noise.photon_shares(image, (radius,)) == pytest.approx([share], abs=0.005)
    # Of half the drop, half the spread.
    fine = replace(image, meta=replace(image.meta, pixfrac=0.01))
    lost, less = (1 - sky_noise.photon_shares(i, (radius,))[0] for i in (image, fine))
    assert less / lost == pytest.approx(np.sqrt(0.5), abs=1e-3)


def test_wanted_places_do_not_overlap_in_number(as_image):
    image = as_image(uniform((300, 300)))
    x, _ = blank_sky.blank_places(image.valid, np.zeros(image.shape, bool), 12.0, 5000)
    assert len(x) == int(300 * 300 / (np.pi * 12.0**2))
    few, _ = blank_sky.blank_places(image.valid, np.zeros(image.shape, bool), 12.0, 50)
    assert len(few) == 50
