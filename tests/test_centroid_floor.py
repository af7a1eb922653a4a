"""Centroids of bright stars: a wide window, and how well images say that they agree."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.settings import AlignSettings, DetectSettings
from bycatch.stages import align, detect
from bycatch.stages.align import floors

SHAPE = (900, 900)


def wcs():
    """North up, 0.05 arcsec per pixel."""
    frame = WCS(naxis=2)
    frame.wcs.ctype, frame.wcs.crval = ["RA---TAN", "DEC--TAN"], [36.92, -8.47]
    frame.wcs.crpix, frame.wcs.cdelt = [450.0, 450.0], [-0.05 / 3600, 0.05 / 3600]
    frame.wcs.set()
    return frame


def field(floors_px, n=60, n_exp=2.0, flux=3000.0, seed=1, years=()):
    """Images of the same stars, each with errors of its own."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(20, 880, (n, 2))
    motion = rng.normal(0, 0.1, at.shape)
    images = []
    for k, floor in enumerate(floors_px):
        year = years[k] if years else 0.0
        x, y = (at + motion * year + rng.normal(0, floor, at.shape)).T
        table = Table({"x": x, "y": y, "flux": np.full(n, flux), "noise": np.full(n, 0.01)})
        table["n_exp"], table["ellipticity"] = n_exp, 0.1
        images.append(
            align.FieldImage(
                name=f"{k}", filter="F814W", sources=table, wcs=wcs(), wcsname="", shape=SHAPE,
                mjd=56000.0 + 365.25 * year, exptime_s=600.0, zeropoint_ab=25.9,
                saturation_rate=np.inf,
            )
        )  # fmt: skip
    result = align.run(images, None, AlignSettings()).images
    return [image.frame_error.centroid_floor_mas / 50.0 for image in result]


def test_three_images_show_which_of_them_scatters():
    result = field((0.012, 0.05, 0.02))
    assert result == pytest.approx([0.012, 0.05, 0.02], rel=0.35)


def test_two_images_share_what_they_differ_by():
    result = field((0.02, 0.04))
    assert result[0] == pytest.approx(result[1], rel=0.2)
    assert np.hypot(*result) == pytest.approx(np.hypot(0.02, 0.04), rel=0.25)


@pytest.mark.parametrize(("n_exp", "least"), [(1.0, 0.016), (4.0, 0.008)])
def test_images_of_one_dither_agree_in_the_phase_of_the_pixels(n_exp, least):
    assert field((0.001, 0.001), n_exp=n_exp) == pytest.approx([least, least], rel=0.3)


def test_stars_that_move_between_epochs_are_no_floor():
    assert field((0.02, 0.02, 0.02), years=(0.0, 0.0, 3.0))[:2] == pytest.approx(
        [0.02, 0.02], rel=0.3
    )
    assert np.isnan(field((0.02, 0.02), years=(0.0, 3.0))).all()


def test_one_image_or_faint_stars_show_nothing():
    assert np.isnan(field((0.02,))).all()
    assert np.isnan(field((0.02, 0.02), flux=1.0)).all()


def undersampled(n, rng):
    """Stars of 1.6 px FWHM, summed over pixels, with their centres."""
    from scipy.special import erf

    sci = rng.normal(0, 0.01, (500, 500))
    at = np.array([(40 + 40 * (k % 11), 40 + 40 * (k // 11)) for k in range(n)], dtype=float)
    at += rng.uniform(-0.5, 0.5, at.shape)
    edge = np.arange(501) - 0.5
    for x, y in at:
        across, up = (np.diff(erf((edge - c) / (0.68 * np.sqrt(2)))) / 2 for c in (x, y))
        light = np.outer(up, across)
        # The drop of a single exposure, as wide as a pixel, on a grid that is half a pixel off.
        light = (light + np.roll(light, 1, 0)) / 2
        light = (light + np.roll(light, 1, 1)) / 2
        sci += 300.0 * light
    return sci, at + 0.5


def test_bright_stars_are_centred_better_than_by_their_own_window(as_image):
    sci, at = undersampled(100, np.random.default_rng(2))
    settings = DetectSettings(n_pixels=8, n_pixels_single=8, deblend=False)
    detection = detect.run(as_image(sci), settings).sources
    assert len(detection) == 100
    rest = []
    for x, y in at:
        k = int(np.argmin(np.hypot(detection["x"] - x, detection["y"] - y)))
        rest.append((detection["x"][k] - x, detection["y"][k] - y))
    assert np.sqrt(np.mean(np.square(rest))) < 0.005


@pytest.mark.parametrize("shared_mas", [0.0, 2.0, 4.0])
def test_gaia_shows_what_all_images_share(shared_mas):
    rng = np.random.default_rng(5)
    n = 60
    corners = np.array([[0.0, 0.0], [45000.0, 0.0], [45000.0, 45000.0], [0.0, 45000.0]])
    photons2 = np.full(n, 0.3**2)
    view = SimpleNamespace(
        image=SimpleNamespace(shape=SHAPE, sources=range(100)),
        corners=corners,
        rows=np.arange(99, 99 - n, -1),
        variance=photons2 + (floors.CENTROID_FLOOR_PX * 50.0) ** 2,
    )
    variance = rng.uniform(0.1, 1.5, n)
    sigma = np.sqrt(shared_mas**2 + photons2 + variance)
    apart = rng.normal(0, sigma[:, np.newaxis], (n, 2))
    apart[:4] += 30.0  # other stars
    pairs = floors.GaiaPairs(view.rows, apart, variance)
    found, known, n_values = floors._about_gaia_mas2(view, pairs, np.arange(n))
    assert n_values == 2 * n - floors._FRAME_TERMS
    assert known == pytest.approx(np.median(photons2 + variance))
    assert np.sqrt(found) == pytest.approx(shared_mas, rel=0.25, abs=0.6)
    few = floors.GaiaPairs(view.rows[:4], apart[:4], variance[:4])
    assert floors._about_gaia_mas2(view, few, np.arange(n))[2] == 0
