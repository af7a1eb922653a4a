"""The magnitude at which half of the stars are found, without artificial ones."""

import numpy as np
import pytest

from bycatch import photcal
from bycatch.images.drc import read_drc
from bycatch.settings import PRESETS, DetectSettings, Settings
from bycatch.stages import detect
from bycatch.stages.detect.reach import HALF_PX, half_found_rate, star_profiles

CURVE = photcal.encircled_energy("WFC", "F606W")


def test_a_star_has_all_its_light_and_falls_from_its_centre():
    profiles = star_profiles(CURVE, 0.05, DetectSettings())
    side = 2 * HALF_PX + 1
    assert profiles.shape == (4, side**2)
    within = CURVE.at(HALF_PX * 0.05)
    assert profiles.sum(axis=1) == pytest.approx(float(within), abs=0.03)
    centred = profiles[0].reshape(side, side)
    assert np.unravel_index(np.argmax(centred), centred.shape) == (HALF_PX, HALF_PX)
    assert (np.diff(centred[HALF_PX, HALF_PX:]) <= 0).all()


def test_without_noise_the_pixels_above_the_threshold_are_the_minimum_area():
    profiles = star_profiles(CURVE, 0.05, DetectSettings())[:1]
    for n_pixels in (7, 75):
        rate = half_found_rate(profiles, 1e-6, 2.0, n_pixels)
        assert (profiles * rate * 1.001 > 2.0).sum() >= n_pixels
        assert (profiles * rate * 0.999 > 2.0).sum() < n_pixels


def test_an_area_that_no_star_covers_has_no_limit():
    profiles = star_profiles(CURVE, 0.05, DetectSettings())
    assert np.isnan(half_found_rate(profiles, 0.4, 2.0, 2000))


def test_half_of_the_stars_of_that_rate_are_found():
    """By drawing: smoothed white noise and stars, counted as the detection counts."""
    from bycatch.kernels.labelling import segments_above
    from bycatch.kernels.smoothing import gaussian_kernel

    settings = DetectSettings(n_pixels=20)
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    profiles = star_profiles(CURVE, 0.05, settings)
    # What the detection smooths is the star itself: here as if of one pixel less kernel.
    plain = star_profiles(CURVE, 0.05, settings.replace(kernel_size_px=1, kernel_fwhm_px=0.5))
    smooth_noise = float(np.sqrt((kernel**2).sum()))
    rate = half_found_rate(profiles, smooth_noise, settings.n_sigma, settings.n_pixels)
    random = np.random.default_rng(3)
    side, n = 2 * HALF_PX + 1, 60
    ones = np.ones((side, side), np.float32)
    n_found = 0
    for k in range(n):
        star = rate * plain[k % 4].reshape(side, side)
        data = (star + random.standard_normal((side, side))).astype(np.float32)
        labels = segments_above(
            data, 0 * ones, ones, ones > 0, kernel, settings.n_sigma, settings.n_pixels
        ).labels
        n_found += bool(labels[HALF_PX - 2 : HALF_PX + 3, HALF_PX - 2 : HALF_PX + 3].any())
    assert 0.3 * n <= n_found <= 0.7 * n


def test_the_detection_says_what_it_reaches_and_what_presets_would(write_drc):
    image = read_drc(write_drc("a_drc.fits"))
    for name, preset in PRESETS.items():
        detection = detect.run(image, Settings.load(preset=name).detect)
        said = detection.summary()
        assert said["reach_mag"] == pytest.approx(said["reach_of_presets_mag"][name], abs=0.02)
        assert set(said["reach_of_presets_mag"]) == set(PRESETS)
        assert preset is PRESETS[name]
    assert said["reach_of_presets_mag"]["deep"] > said["reach_of_presets_mag"]["classic"] + 1
