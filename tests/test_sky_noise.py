"""The noise of apertures from blank sky: known noise, known correlation, and too little of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bycatch import photcal
from bycatch.settings import MeasureSettings
from bycatch.stages import measure
from bycatch.stages.measure import blank_sky, sky_noise

SETTINGS = MeasureSettings()
SIGMA = 0.01


def white(shape, seed=1):
    return np.random.default_rng(seed).normal(0.02, SIGMA, shape)


def objects(image, n, seed, occupied=None):
    taken = np.zeros(image.shape, bool) if occupied is None else occupied
    places = blank_sky.blank_places(image.valid, taken, 12.0, n, seed)
    return blank_sky.sky_objects(image, *places, SETTINGS)


def pulls(image, model, seed):
    """Return the pulls of places that the model was not made of, (M, R)."""
    other = objects(image, 5000, seed)
    return other.net / model.sky_errors(other.areas, other.sky, other.exposures.exptime_s)


def test_independent_pixels_have_scale_one(as_image):
    image = as_image(white((900, 1000)))
    model = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    assert model.is_measured
    assert model.n_places > 1900
    # Pixels that a small circle cuts count with the square of their share.
    assert model.scale[0] == pytest.approx(0.93, abs=0.05)
    # A median of the annulus scatters more than a mean, which shows in large apertures.
    assert np.all((model.scale[1:] > 0.93) & (model.scale[1:] < 1.25))


@pytest.mark.parametrize("smoothing_px", [0.0, 0.6, 1.0])
def test_pulls_have_width_one_whatever_the_correlation(as_image, smoothing_px):
    sci = white((900, 1000))
    if smoothing_px:
        sci = gaussian_filter(sci, smoothing_px)
    image = as_image(sci)
    model = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    widths = [sky_noise.width(v) for v in pulls(image, model, 2).T]
    assert widths == pytest.approx([1] * 5, abs=0.06)
    if smoothing_px:
        assert model.scale[-1] > 1.3


def test_places_with_smoother_pixels_have_the_same_noise_in_large_apertures(as_image):
    """As the phase of drizzling does: the left half is smoothed, its apertures are not."""
    sci = white((900, 1000))
    sci[:, :500] = gaussian_filter(sci[:, :500], 0.6)
    image = as_image(sci)
    model = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    assert model.slope[0] < -0.5
    other = objects(image, 5000, 2)
    pull = other.net / model.sky_errors(other.areas, other.sky, other.exposures.exptime_s)
    for side in (other.x < 480, other.x > 520):
        assert [sky_noise.width(v) for v in pull[side].T[2:]] == pytest.approx([1] * 3, abs=0.12)


def test_places_avoid_what_is_taken_and_missing(as_image):
    sci = white((300, 500))
    sci[:, 400:] = np.nan
    image = as_image(sci)
    taken = np.zeros(image.shape, bool)
    taken[100:200, 100:200] = True
    x, y = blank_sky.blank_places(image.valid, taken, 12.0, 300)
    assert len(x) > 100
    assert x.max() < 399.5 - 11.5
    assert x.min() >= 12
    near = np.hypot(np.clip(x, 100, 199) - x, np.clip(y, 100, 199) - y)
    assert near.min() >= 12.0
    again = blank_sky.blank_places(image.valid, taken, 12.0, 300)
    np.testing.assert_array_equal(again, (x, y))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 40), (90, 100)])
def test_too_few_places_leave_the_noise_to_theory(as_image, shape):
    image = as_image(white(shape))
    model = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    assert not model.is_measured
    assert model.scale == pytest.approx([image.noise_correlation] * 5)
    assert model.slope == pytest.approx([0] * 5)
    assert set(model.summary()["noise_pull"].values()) == {None}


def test_without_blank_places_the_sources_surroundings_show_the_depth(as_image):
    image = as_image(white((40, 40)))
    model = sky_noise.noise_model(
        image, objects(image, 5000, 1), SETTINGS, np.array([2.0, 3.0, 7.0])
    )
    assert model.typical == 3.0
    depth = model.depth_map(np.array([[100.0, 0.0]], dtype=np.float32), 6.0, (10.0, 15.0))
    assert np.isfinite(depth[0, 0])
    assert np.isnan(depth[0, 1])
    blind = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    assert np.isnan(blind.depth_map(np.ones((1, 1), dtype=np.float32), 6.0, (10.0, 15.0))).all()


def test_pulls_of_places_without_a_say_are_one_wide(as_image):
    image = as_image(gaussian_filter(white((1500, 1500)), 0.6))
    model = sky_noise.noise_model(image, objects(image, 5000, 1), SETTINGS)
    assert model.pull == pytest.approx([1.0] * 5, abs=0.05)
    assert model.summary()["noise_pull"]["6"] == pytest.approx(1.0, abs=0.05)


def test_blank_sky_has_no_light_that_was_not_detected(as_image, psf):
    sci = white((500, 500)) + 300 * SIGMA * psf((500, 500), 200, 260)
    image = as_image(sci)
    nothing = np.zeros(image.shape, bool)
    blank = blank_sky.blank_sky(image, nothing, SETTINGS)
    near = np.hypot(blank.x - 200, blank.y - 260) < 10
    assert len(blank.x) > 300
    assert not near.any()
    dark = blank_sky.blank_sky(as_image(white((500, 500))), nothing, SETTINGS)
    places = blank_sky.blank_places(image.valid, nothing, 12.0, SETTINGS.n_blank)
    assert len(dark.x) > 0.99 * len(places[0])  # noise hardly ever stands out
    assert len(dark.sky.std) == len(dark.exposures.count) == len(dark.net) == len(dark.x)


@pytest.mark.parametrize("radius", [2.0, 4.0])
def test_photon_shares_are_those_of_spread_photons(as_image, radius):
    image = as_image(white((50, 50)))
    rng = np.random.default_rng(1)
    n = 1_000_000
    at = np.linspace(0.01, 12, 3000)
    curve = photcal.encircled_energy(image.meta.detector, image.meta.filter)
    share = curve.at(at * image.scale_arcsec)
    distance = np.interp(rng.random(n) * share[-1], share, at)
    angle = rng.uniform(0, 2 * np.pi, n)
    drop_px = image.meta.pixfrac * image.meta.native_scale_arcsec / image.scale_arcsec
    inside = []
    for _ in range(2):  # twice, independently, the part of a photon that falls inside
        x = distance * np.cos(angle) + drop_px * rng.uniform(-0.5, 0.5, n)
        y = distance * np.sin(angle) + drop_px * rng.uniform(-0.5, 0.5, n)
        x, y = (v + rng.uniform(-0.5, 0.5, n) for v in (x, y))
        inside.append(np.hypot(x, y) < radius)
    expected = (inside[0] & inside[1]).mean() / inside[0].mean()
    (result,) = sky_noise.photon_shares(image, (radius,))
    assert result == pytest.approx(expected, abs=0.01)


def test_photon_shares_without_a_curve_are_whole(as_image):
    image = as_image(white((50, 50)))
    other = replace(image, meta=replace(image.meta, filter="CLEAR"))
    assert sky_noise.photon_shares(other, (2.0, 4.0)).tolist() == [1, 1]


def test_nothing_blank(as_image):
    image = as_image(white((200, 200)))
    result = objects(image, 5000, 1, np.ones(image.shape, bool))
    assert len(result.x) == 0
    assert not sky_noise.noise_model(image, result, SETTINGS).is_measured


def test_limits_are_their_own_error_times_five():
    errors, seconds = np.array([[0.1, 0.2], [0.0, 0.4]]), np.array([500.0, 1000.0])
    rate = sky_noise.limits(errors, seconds)
    assert rate == pytest.approx(5 * sky_noise.total_errors(rate, errors, seconds))


def test_limits_follow_the_number_of_exposures(as_image):
    image = as_image(gaussian_filter(white((900, 900)), 0.6))
    result = objects(image, 5000, 1)
    model = sky_noise.noise_model(image, result, SETTINGS)
    n_exp = np.where(result.x < 450, 1, 3)
    n_exp[:5] = 2  # too few to say
    by_number = replace(result, exposures=replace(result.exposures, count=n_exp))
    limits = sky_noise.limits_by_exposures(by_number, model)
    assert set(limits) == {1, 3}
    errors = model.sky_errors(result.areas, result.sky, result.exposures.exptime_s)
    every = np.median(sky_noise.limits(errors, result.exposures.exptime_s), axis=0)
    assert limits[1] == pytest.approx(every, rel=0.05)
    assert (np.diff(limits[3]) > 0).all()


def test_an_aperture_of_any_area_lies_between_the_radii(as_image):
    image = as_image(gaussian_filter(white((600, 600)), 0.6))
    result = objects(image, 5000, 1)
    model = sky_noise.noise_model(image, result, SETTINGS)
    seconds = result.exposures.exptime_s
    circles = model.sky_errors(result.areas, result.sky, seconds)
    for k in range(5):
        one = model.sky_error_in(result.areas[:, k], result.sky, seconds)
        assert one == pytest.approx(circles[:, k], rel=1e-3)


def test_measure_keeps_the_blank_places(as_image, psf):
    sci = white((500, 500)) + 30 * psf((500, 500), 250, 250)
    segments = (psf((500, 500), 250, 250) > 1e-4).astype(np.int32)
    image = as_image(sci)
    measurement = measure.run(
        image, measure.Targets([250.0], [250.0]), pixels=measure.Pixels(segmentation=segments)
    )
    assert measurement.noise.is_measured
    assert len(measurement.sky) == measurement.noise.n_places
    pull = np.asarray(measurement.sky["net_6"] / measurement.sky["net_err_6"])
    assert sky_noise.width(pull) == pytest.approx(1, abs=0.02)
    assert measurement.summary()["noise_origin"] == "blank sky"
    limit = measurement.table["limit_4"][0]
    assert 3 * measurement.table["countrate_err_4"][0] > limit / 5
    bare = measure.run(image, measure.Targets([250.0], [250.0]))
    assert not bare.noise.is_measured
    assert len(bare.sky) == 0


def test_the_depth_map_is_the_limit_of_typical_sky(as_image):
    image = as_image(gaussian_filter(white((700, 700)), 0.6))
    result = objects(image, 5000, 1)
    model = sky_noise.noise_model(image, result, SETTINGS)
    seconds = np.array([[result.exposures.exptime_s[0], 0.0]], dtype=np.float32)
    depth = model.depth_map(seconds, 6.0, (10.0, 15.0))
    errors = model.sky_errors(result.areas, result.sky, result.exposures.exptime_s)
    limits = sky_noise.limits(errors, result.exposures.exptime_s)
    assert depth[0, 0] == pytest.approx(np.median(limits[:, 2]), rel=0.02)
    assert np.isnan(depth[0, 1])
