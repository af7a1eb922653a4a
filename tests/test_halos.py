"""Halos and spikes: their angles against headers and images, their reach against profiles."""

import numpy as np
import pytest

from bycatch.photcal import encircled_energy
from bycatch.sky import gaia
from bycatch.stages.measure.halos import (
    HALO_SIGMA,
    SPIKE_RIDGE,
    BrightStars,
    expected_rate,
    expected_spike_angle,
    gaia_stars,
    join_stars,
    reach_of,
    saturated_stars,
    spike_angles,
    star_light,
)

NOISE = 0.01


@pytest.fixture
def blank(as_image):
    return as_image(np.random.default_rng(1).normal(0, NOISE, (260, 300)))


def stars_at(*rows):
    return BrightStars(*(np.array(v, float) for v in zip(*rows, strict=True)))


def spiky(shape, stars, angles, noise=NOISE):
    """Return an image of stars with round wings and spikes along directions."""
    image = np.random.default_rng(2).normal(0, noise, shape)
    yy, xx = np.indices(shape)
    for x, y, rate in zip(stars.x, stars.y, stars.rate, strict=True):
        dx, dy = xx - x, yy - y
        r = np.hypot(dx, dy) + 2
        image += rate * 0.05 / r**2.5
        for angle in np.radians(angles):
            across = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
            image += rate * 0.035 / r**2 * np.exp(-0.5 * (across / 1.2) ** 2)
    return image


# ---------------------------------------------------------------- directions


def turned(as_image, roll_deg, pa_v3=None):
    """Return an image whose y axis has a position angle, and its header."""

    def change(hdus):
        card, scale, angle = hdus["SCI"].header, 0.05 / 3600, np.radians(roll_deg)
        card["CD1_1"], card["CD1_2"] = -scale * np.cos(angle), scale * np.sin(angle)
        card["CD2_1"], card["CD2_2"] = scale * np.sin(angle), scale * np.cos(angle)

    return as_image(np.zeros((40, 50)) + 0.01, change), np.nan if pa_v3 is None else pa_v3


@pytest.mark.parametrize("roll_deg", [0.0, 35.0, 200.0])
def test_spikes_follow_the_roll(as_image, roll_deg):
    """V3 at a position angle beyond that of the y axis is anticlockwise of it (east is left)."""
    image, pa_v3 = turned(as_image, roll_deg, pa_v3=roll_deg + 30.0)
    assert expected_spike_angle(image.wcs, pa_v3) == pytest.approx(30.0, abs=1e-6)


def test_the_angle_of_wfc_from_its_own_headers(as_image):
    """An archive's header: ORIENTAT -82.234, PA_V3 99.998; along the detector V3 is at 2.2 deg."""
    image, pa_v3 = turned(as_image, -82.234, pa_v3=99.998)
    assert expected_spike_angle(image.wcs, pa_v3) == pytest.approx(2.23, abs=0.01)
    assert expected_spike_angle(image.wcs, np.nan) == pytest.approx(2.2)


def test_north_up_without_a_roll_shows_nothing(as_image):
    image, _ = turned(as_image, 0.0)
    assert expected_spike_angle(image.wcs, np.nan) is None
    assert spike_angles(image, stars_at((25, 20, 100.0))).size == 0


def test_spikes_in_tinytim_models_lie_along_the_detector(shared):
    from astropy.io import fits
    from scipy.ndimage import map_coordinates

    for name in ("f435w", "f606w", "f814w"):
        path = shared / "data" / "tinytim" / f"drizzlepac_acs_wfc_{name}.fits"
        psf = fits.getdata(path).astype(float)
        row, column = np.unravel_index(psf.argmax(), psf.shape)
        angle, radius = np.radians(np.arange(360)), np.arange(30.0, 45.0)[:, None]
        around = [row + radius * np.sin(angle), column + radius * np.cos(angle)]
        ring = map_coordinates(psf, around, order=1).mean(axis=0)
        best = [int(np.argmax(np.where(np.abs(np.arange(360) - a) < 20, ring, 0)))
                for a in (92, 180, 270, 340)]  # fmt: skip
        assert best[:3] == pytest.approx([92.5, 178.3, 271.8], abs=1.6)


@pytest.mark.parametrize("angles", [(2, 87), (6, 96), (175, 88)])
def test_the_image_refines_the_directions(as_image, angles):
    stars = stars_at((90, 100, 900.0), (200, 150, 700.0), (150, 60, 500.0))
    image = as_image(spiky((260, 300), stars, angles))
    directions = np.sort(spike_angles(image, stars) % 180)
    assert directions == pytest.approx(np.sort(angles), abs=1.1)


def test_the_image_shows_the_directions_where_nothing_else_does(as_image):
    stars = stars_at((90, 100, 900.0), (200, 150, 700.0))

    def north_up(hdus):
        for name in ("CD1_2", "CD2_1"):
            hdus["SCI"].header[name] = 0.0

    image = as_image(spiky((260, 300), stars, (33, 123)), north_up)
    assert np.sort(spike_angles(image, stars)) == pytest.approx([33, 123], abs=1.1)


def test_without_stars_the_header_holds(blank):
    none = BrightStars(*np.empty((3, 0)))
    assert spike_angles(blank, none) == pytest.approx([2.2, 92.2])


# ---------------------------------------------------------------- reach


def test_a_halo_ends_where_the_wings_fall_to_the_noise(blank):
    curve = encircled_energy("WFC", "F775W")
    rate = np.array([500.0, 3000.0, 20000.0])
    reach = reach_of(rate, NOISE, blank).halo_px
    for r, total in zip(reach, rate, strict=True):
        ring = np.array([0.95, 1.05]) * r
        light = np.diff(curve.at(ring * 0.05))[0] / (np.pi * np.diff(ring**2)[0])
        assert light * total == pytest.approx(HALO_SIGMA * NOISE, rel=0.25)


def test_faint_stars_have_neither(blank):
    reach = reach_of([1.0, 0.0, np.nan, -5.0], NOISE, blank)
    assert not np.nan_to_num(reach.halo_px).any()
    assert not np.nan_to_num(reach.spike_px).any()
    assert not reach_of([1e4], np.nan, blank).halo_px.any()


def test_brighter_stars_reach_farther_up_to_a_limit(blank):
    reach = reach_of(10.0 ** np.arange(3, 9), NOISE, blank)
    assert (np.diff(reach.halo_px) >= 0).all()
    assert reach.spike_px[-1] == pytest.approx(60 / 0.05)


# ---------------------------------------------------------------- sources


def test_sources_in_halo_and_on_spikes(blank):
    x = np.array([100.5, 110, 160, 100, 150, 290, np.nan])
    y = np.array([100.2, 105, 100, 160, 150, 250, 100])
    light = star_light(x, y, blank, stars_at((100, 100, 5000.0)), NOISE, [0.0, 90.0])
    assert light.spike.tolist() == [False, False, True, True, False, False, False]
    assert light.halo[1]
    assert not light.halo[[0, 5, 6]].any()
    on_ridge = SPIKE_RIDGE * 5000.0 / 60.0**2
    assert light.spike_rate == pytest.approx([0, 0, on_ridge, on_ridge, 0, 0, 0])


def test_a_fragment_beside_a_star_is_in_its_halo(blank):
    light = star_light([100.5, 104], [100, 100], blank, stars_at((100, 100, 5000.0)), NOISE, [])
    assert light.halo.tolist() == [False, True]
    assert not light.spike.any()


def test_a_star_beside_the_image_counts(blank):
    light = star_light([5.0, 150], [130.0, 200], blank, stars_at((-30, 130, 2e4)), NOISE, [0.0])
    assert light.halo.tolist() == [True, False]
    assert light.spike.tolist() == [True, False]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_do(blank, n):
    none = BrightStars(*np.empty((3, 0)))
    light = star_light(np.zeros(n), np.zeros(n), blank, none, NOISE, [0.0])
    assert light.halo.tolist() == light.spike.tolist() == [False] * n
    far = star_light(np.empty(0), np.empty(0), blank, stars_at((9, 9, 1e4)), NOISE, [0.0])
    assert far.halo.size == 0


# ---------------------------------------------------------------- stars


def test_gaia_stars_are_placed_and_have_rates(blank):
    from astropy.table import Table

    x, y = np.array([30.0, 250.0, -40.0]), np.array([40.0, 200.0, 90.0])
    ra, dec = blank.wcs.all_pix2world(x, y, 0)
    table = Table({"source_id": [1, 2, 3], "ra": ra, "dec": dec,
                   "phot_g_mean_mag": [17.0, np.nan, 19.5]})  # fmt: skip
    stars = gaia_stars(gaia.from_table(table, "test"), blank, blank.wcs)
    assert stars.x == pytest.approx(x[[0, 2]], abs=1e-3)
    assert stars.y == pytest.approx(y[[0, 2]], abs=1e-3)
    assert stars.rate[0] / stars.rate[1] == pytest.approx(10.0)
    assert len(gaia_stars(None, blank, blank.wcs)) == 0


def test_the_rate_of_a_star_like_the_sun():
    """G = 17 is 17.05 AB in F606W (zero point 26.489): Willmer (2018), to a tenth."""
    rate = expected_rate(17.0, 7.8774e-20, 5921.9)
    assert -2.5 * np.log10(rate) + 26.489 == pytest.approx(17.05, abs=0.1)


def test_saturated_sources_stand_in_for_missing_stars():
    own = saturated_stars([1, 2, 3.0], [1, 2, 3.0], [50, np.nan, 70], [True, True, False])
    assert own.rate.tolist() == [50]
    both = join_stars(stars_at((1.5, 1, 40.0)), stars_at((1, 1, 50.0), (90, 90, 60.0)), 6.0)
    assert both.rate.tolist() == [40, 60]
    assert len(join_stars(BrightStars(*np.empty((3, 0))), own, 6.0)) == 1
