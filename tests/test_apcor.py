"""Aperture corrections: the published curve, focus as a free term, and the image's own stars."""

import numpy as np
import pytest

from bycatch.stages.finalize import prior
from bycatch.stages.finalize.apcor import Frame, corrections, published_corrections
from bycatch.testing.growth import FRACTIONS, RADII
from bycatch.testing.growth import star_photometry as stars

SCALE = 0.05


def found(phot):
    return corrections(phot, RADII, FRACTIONS, SCALE, "F606W")


def used(phot):
    """Return the factors of the rows."""
    return found(phot).at(np.asarray(phot["x"]), np.asarray(phot["y"]))[0]


def lose(phot, share, radius=2.0):
    """Multiply the light in an aperture by 1 + share, row by row."""
    net = phot[f"countrate_{radius:g}"] - phot["sky_median"] * phot[f"area_{radius:g}"]
    phot[f"countrate_{radius:g}"] += share * net


def test_without_stars_the_published_curve_stands_with_its_error():
    for phot in (stars()[:0], stars(faint=1e-3)):
        result = found(phot)
        assert result.n_stars == 0
        assert result.factor.tolist() == [1.0] * 5
        expected = np.sqrt(np.diag(prior.covariance("F606W", np.array(RADII) * SCALE)))
        np.testing.assert_allclose(result.error, expected)
        assert result.metadata() == {}
    assert result.error[0] > 0.03
    assert result.error[-1] == 0


def test_many_stars_decide():
    losses = np.array([-0.03, -0.006, 0.002, 0.0, 0.0])
    result = found(stars(lost=losses))
    assert result.n_stars == 60
    np.testing.assert_allclose(result.factor, 1 + losses, atol=0.003)
    assert result.factor[-1] == 1.0
    assert (result.error < 0.004).all()


def test_there_is_no_cliff():
    # What was refused beyond 5 % is followed to any size.
    losses = np.linspace(-0.2, 0.1, 31)
    factor = np.array([found(stars(lost=(v, 0.2 * v, 0, 0, 0))).factor[0] for v in losses])
    np.testing.assert_allclose(factor, 1 + losses, atol=0.006)
    assert (np.abs(np.diff(factor) - 0.01) < 0.002).all()


def test_the_say_of_stars_grows_with_their_number():
    losses = np.array([-0.05, -0.008, 0, 0, 0])
    mean = [
        np.mean([found(stars(n=n, lost=losses, seed=s, noise=0.2)).factor[0] for s in range(12)])
        for n in (1, 2, 4, 8, 32)
    ]
    assert (np.diff(mean) < 0.004).all()
    assert mean[0] < 0.98
    assert mean[-1] == pytest.approx(0.95, abs=0.004)
    error = [found(stars(n=n, lost=losses, noise=0.2)).error[0] for n in (1, 2, 4, 8, 32)]
    assert (np.diff(error) < 0).all()


def test_errors_are_those_of_draws_from_the_prior():
    rng = np.random.default_rng(5)
    radius = np.array(RADII) * SCALE
    root = np.linalg.cholesky(prior.covariance("F606W", radius)[:4, :4])
    pulls = []
    scatter = published_corrections(RADII, SCALE, "F606W").scatter
    for seed in range(100):
        losses = np.append(np.expm1(root @ rng.normal(size=4)), 0.0)
        phot = stars(n=int(rng.choice([2, 4, 10, 30])), lost=losses, seed=seed, noise=0.15)
        for r, sigma in zip(RADII[:4], scatter, strict=False):
            lose(phot, rng.normal(0, sigma, len(phot)), r)
        result = found(phot)
        pulls.append((result.log_factor - np.log1p(losses))[:4] / result.error[:4])
    assert np.std(pulls, axis=0) == pytest.approx(np.ones(4), abs=0.3)
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.3


@pytest.mark.parametrize("n", [12, 60])
def test_blends_among_the_stars_lose_their_say(n):
    phot = stars(n=n, lost=(-0.03, 0, 0, 0, 0), noise=0.02)
    blends = np.arange(n) % 4 == 0
    lose(phot, np.where(blends, -0.25, 0.0))
    assert found(phot).factor[0] == pytest.approx(0.97, abs=0.008)


def test_one_blend_does_not_decide():
    phot = stars(n=1, noise=0.02)
    lose(phot, -0.5)
    assert found(phot).factor[0] > 0.95


def test_the_field_has_as_many_terms_as_stars_show():
    plain = [found(stars(n=60, seed=s)).amplitudes for s in range(10)]
    assert sum(len(a) > 0 for a in plain) <= 1
    phot = stars(n=100, noise=0.02)
    x = np.asarray(phot["x"])
    slope = (x - x.mean()) / np.ptp(x)
    lose(phot, 0.06 * slope)
    result = found(phot)
    assert len(result.amplitudes) >= 2
    assert set(result.metadata()) >= {"terms", "amplitudes", "mode"}
    np.testing.assert_allclose(used(phot)[:, 0], 1 + 0.06 * slope, atol=0.01)
    assert result.factor[0] == pytest.approx(1.0, abs=0.004)


def test_a_bent_field_is_followed():
    phot = stars(n=144, noise=0.02)
    x, y = (np.asarray(phot[name]) for name in "xy")
    bend = ((x - x.mean()) / np.ptp(x)) ** 2 + ((y - y.mean()) / np.ptp(y)) ** 2
    lose(phot, -0.2 * bend)
    assert len(found(phot).amplitudes) == 5
    np.testing.assert_allclose(used(phot)[:, 0], 1 - 0.2 * bend, atol=0.012)


def test_places_that_are_not_known_count_as_the_mean_place():
    frame = Frame.of(np.array([0.0, 10.0, np.nan]), np.array([0.0, 20.0, 3.0]))
    assert (frame.x, frame.y, frame.half_size) == (5.0, 10.0, 10.0)
    np.testing.assert_allclose(
        frame.terms(np.array([0.0, 10.0]), np.array([0.0, 20.0]), 5).sum(0), 0
    )
    assert Frame.of(np.array([]), np.array([])) == Frame()
    phot = stars(n=100, noise=0.02)
    lose(phot, 0.1 * (np.asarray(phot["x"]) / 400 - 0.5))
    result = found(phot)
    factor, error = result.at(np.array([np.nan]), np.array([3.0]))
    np.testing.assert_allclose(factor[0], result.factor)
    np.testing.assert_allclose(error[0], result.error)


def test_the_scatter_of_stars_is_found():
    rng = np.random.default_rng(2)
    for scatter in (0.005, 0.04):
        phot = stars(n=300, noise=0.02)
        lose(phot, rng.normal(0, scatter, 300))
        assert found(phot).scatter[0] == pytest.approx(scatter, rel=0.25)
    # Of few stars it is near the usual one.
    few = found(stars(n=3, noise=0.02)).scatter[0]
    assert 0.7 * published_corrections(RADII, SCALE, "F606W").scatter[0] < few < 0.016


def test_larger_radii_than_the_reference_are_not_corrected():
    phot = stars(n=60, lost=(-0.02, 0, 0, 0, 0))
    result = corrections(phot, RADII, FRACTIONS, 0.1, "F606W")
    assert (result.factor[2:] == 1.0).all()
    assert result.factor[0] < 0.99


def test_apertures_beyond_the_reference_ask_no_stars():
    result = corrections(stars(n=60), RADII, FRACTIONS, 0.3, "F606W")
    assert (result.factor == 1.0).all()
    assert (result.error == 0.0).all()


def test_defocus_takes_light_from_the_core():
    for name in ("F435W", "F606W", "F814W"):
        focus, side, smear = prior.light_modes(name, np.array([0.05, 0.1, 0.5, 2.0]))
        assert (focus[:2] < -0.02).all()
        assert (smear[:2] < 0).all()
        for mode in (focus, side, smear):
            assert mode[2:].tolist() == [0.0, 0.0]


def test_unknown_filters_have_the_modes_of_f606w():
    np.testing.assert_array_equal(
        prior.light_modes("F999W", np.array([0.1])), prior.light_modes("F606W", np.array([0.1]))
    )
