"""The light of neighbours in an aperture, against integrals and scenes of known light."""

import numpy as np
import pytest

from bycatch.kernels.apertures import circle_sums
from bycatch.stages.measure.neighbours import RadialProfile, blends, star_profile

SCALE = 0.05


@pytest.fixture(scope="module")
def star():
    return star_profile("WFC", "F606W", SCALE)


def gaussian_profile(sigma):
    radius = np.linspace(0, 12 * sigma, 2000)
    return RadialProfile(radius, 1 - np.exp(-0.5 * (radius / sigma) ** 2))


def asked(x, y, net, profile, fwhm=None, aperture_px=6.0):
    fwhm = np.full(len(x), np.nan) if fwhm is None else fwhm
    return blends(
        x, y, net, fwhm, profile, scale_arcsec=SCALE, small_px=2.0, aperture_px=aperture_px
    )


@pytest.mark.parametrize("distance", [0.0, 0.7, 2.0, 3.0, 5.0, 9.0])
def test_off_centre_circle_is_the_integral_over_pixels(distance):
    sigma, fine = 2.0, 20
    axis = (np.arange(-20 * fine, 20 * fine) + 0.5) / fine
    xx, yy = np.meshgrid(axis, axis)
    light = np.exp(-0.5 * (xx**2 + yy**2) / sigma**2) / (2 * np.pi * sigma**2) / fine**2
    expected = light[np.hypot(xx - distance, yy) <= 3.0].sum()
    result = gaussian_profile(sigma).in_circles(3.0, np.array([distance]))
    assert result[0] == pytest.approx(expected, abs=1e-3)


def test_centred_circle_is_the_encircled_energy(star):
    assert star.in_circles(4.0, np.zeros(1))[0] == pytest.approx(star.within(4.0), abs=1e-3)
    assert star.within(4.0) == pytest.approx(0.839, abs=1e-3)  # Bohlin (2016), F606W


def test_shares_and_total_lights_of_a_crowded_scene():
    """Sums measured on an image of Gaussian stars give back the lights that made it."""
    rng = np.random.default_rng(5)
    n, sigma = 40, 1.3
    x, y = rng.uniform(20, 180, (2, n))
    keep = np.array([np.hypot(x[:k] - x[k], y[:k] - y[k]).min(initial=9) > 3 for k in range(n)])
    x, y = x[keep], y[keep]
    rate = 10 ** rng.uniform(0, 2, len(x))
    yy, xx = np.indices((200, 200))
    images = [
        r * np.exp(-0.5 * ((xx - a) ** 2 + (yy - b) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
        for a, b, r in zip(x, y, rate, strict=True)
    ]
    whole, valid = np.sum(images, axis=0), np.ones((200, 200), bool)
    small = circle_sums(whole, valid, x, y, (2.0,))[0][:, 0]
    # Values at the pixels' centres, summed with exact overlap: as wide as one integrated twice.
    result = asked(x, y, small, gaussian_profile(np.sqrt(sigma**2 + 1 / 12)))
    wide = circle_sums(whole, valid, x, y, (6.0,))[0][:, 0]
    own = [
        circle_sums(image, valid, [a], [b], (6.0,))[0][0, 0]
        for image, a, b in zip(images, x, y, strict=True)
    ]
    assert result.share == pytest.approx(1 - np.array(own) / wide, abs=0.02)
    assert np.median(np.abs(result.total_rate / rate - 1)) < 0.01
    assert result.total_rate == pytest.approx(rate, rel=0.02, abs=0.7)
    assert 0 < result.is_blended.sum() < len(x)


def test_a_faint_neighbour_does_not_blend_a_bright_star(star):
    result = asked([50, 54], [50, 50], [100.0, 1.0], star)
    assert result.share[0] < 0.02
    assert result.is_blended.tolist() == [False, True]


def test_a_wide_neighbour_reaches_farther(star):
    narrow = asked([50, 60], [50, 50], [10.0, 50.0], star, np.array([2.1, 2.1]))
    wide = asked([50, 60], [50, 50], [10.0, 50.0], star, np.array([2.1, 6.0]))
    assert wide.share[0] > 3 * narrow.share[0]


def test_a_far_neighbour_does_not_count(star):
    assert asked([50, 90], [50, 50], [1.0, 1e4], star).share[0] == 0


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(star, n):
    result = asked([3.0] * n, [4.0] * n, [5.0] * n, star)
    assert result.share.tolist() == [0.0] * n
    assert result.total_rate == pytest.approx(5.0 / star.within(2.0))


def test_bad_values(star):
    """No position: no part in it.  No flux, or a negative one: a source without light."""
    result = asked([10, np.nan, 12, 14, np.inf], [10, 10, 10, 10, 1], [5, 5, np.nan, -3, 5], star)
    assert np.isnan(result.share[[1, 4]]).all()
    assert result.share[0] == 0
    assert result.share[2] == result.share[3] == 1
    assert not result.is_blended[[1, 4]].any()


def test_two_sources_at_one_place_share_the_light(star):
    result = asked([10, 10], [10, 10], [5.0, 5.0], star)
    assert result.share == pytest.approx([0.5, 0.5], abs=0.01)


def test_unknown_filters_have_a_profile():
    assert star_profile("WFC", "F344N", SCALE).within(110) == pytest.approx(1)
