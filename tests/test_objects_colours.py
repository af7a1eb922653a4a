"""Colours of points: pulls against a known covariance, radii, limits."""

from types import SimpleNamespace

import numpy as np
import pytest

from bycatch.photcal import (
    ABSOLUTE_SYSTEMATIC,
    MAG_PER_FRACTION,
    ee_systematic,
    systematic_fraction,
)
from bycatch.stages.objects import colours as c
from bycatch.stages.objects import photometry as photometry_of
from bycatch.stages.objects.colours import (
    MEASURED,
    UNKNOWN,
    colours,
    filter_fluxes,
    radius_by_snr,
)

FILTER_OF = np.array([0, 0, 1, 1, 1, 2])
SKY = np.array([[1.0, 0.8, 1.2, 2.0, 4.0]])  # error of the corrected flux by radius
SHARED = np.array([0.03, 0.015, 0.01, 0.01, 0.01])
OWN = np.array([0.02, 0.01, 0.006, 0.005, 0.005])


def simulated(rng, true, source_noise=0.0):
    """Return fluxes (N, M, R) of objects (N, F) with all kinds of errors, and the errors."""
    n, m, r = len(true), FILTER_OF.size, SKY.shape[1]
    depth = np.array([1.0, 1.3, 0.9, 1.0, 1.1, 1.5])
    light = true[:, FILTER_OF][:, :, None]
    sky = np.broadcast_to(depth[None, :, None] * SKY[:, None, :], (n, m, r))
    err = np.sqrt(sky**2 + source_noise * light)
    common = rng.normal(size=(3, 1))[FILTER_OF] * SHARED
    own = rng.normal(size=(m, 1)) * OWN
    # Noise of an aperture is partly that of the smaller one.
    z = 0.8 * rng.normal(size=(n, m, 1)) + 0.6 * rng.normal(size=(n, m, r))
    flux = light * (1 + common + own) + err * z
    return flux, err, sky


def measured(flux, err, sky):
    means = filter_fluxes(
        flux, err, FILTER_OF, 3, shared_sys=SHARED, own_sys=OWN[None, None, :], weight_err=sky
    )
    return means, radius_by_snr(means)


@pytest.mark.parametrize("snr", [6.0, 20.0, 200.0])
def test_pulls_of_colours(snr):
    """Systematic errors are drawn once for all objects, many times."""
    true = snr * 0.8 * np.array([[1.0, 1.4, 2.0]])
    expected = -2.5 * np.log10(true[:, [0, 1]] / true[:, [1, 2]])
    pulls, offsets, products = [], [], []
    rng = np.random.default_rng(int(snr))
    for _ in range(400):
        means, radius = measured(*simulated(rng, np.repeat(true, 12, axis=0)))
        result = colours(*means.at(radius), [(0, 1), (1, 2)])
        off = result.colour - expected
        pulls.append(off / result.err_total)
        products.append(off[:, 0] * off[:, 1] / result.cov[:, 0])
        offsets.append((off - off.mean(axis=0)) / result.err * np.sqrt(12 / 11))
    pulls, offsets = np.array(pulls), np.array(offsets)
    assert np.mean(products) == pytest.approx(1.0, abs=0.25)
    assert np.sqrt(np.mean(pulls**2, axis=(0, 1))) == pytest.approx(1.0, abs=0.06)
    # Of one field, objects scatter by the random part alone.
    assert np.sqrt(np.mean(offsets**2, axis=(0, 1))) == pytest.approx(1.0, abs=0.05)
    assert abs(np.median(pulls)) < 0.08


def test_means_of_poisson_fluxes_are_not_low():
    rng = np.random.default_rng(5)
    true = np.full((20000, 3), 12.0)
    flux, _, sky = simulated(rng, true, source_noise=0.5)
    # The error that a program has is that of the measured flux.
    err = np.sqrt(sky**2 + 0.5 * np.maximum(flux, 0))
    bias = [
        np.mean(filter_fluxes(flux, err, FILTER_OF, 3, weight_err=w).flux[:, 1, 1] / 12 - 1)
        for w in (sky, None)
    ]
    truth = np.mean(flux[:, 2:5, 1]) / 12 - 1
    assert abs(bias[0] - truth) < 0.003
    assert bias[1] - truth < -0.01


def test_systematic_errors_of_a_filter_do_not_average_down():
    flux, err = np.full((1, 4, 1), 100.0), np.ones((1, 4, 1))
    means = filter_fluxes(flux, err, np.zeros(4, int), 1, shared_sys=0.01, own_sys=0.02)
    assert means.err[0, 0, 0] == pytest.approx(0.5)
    assert means.err_sys[0, 0, 0] == pytest.approx(np.hypot(0.01, 0.01))
    assert means.n_images[0, 0] == 4
    assert means.chi2[0, 0, 0] == 0.0
    weighted = filter_fluxes([[[8.0], [14.0]]], [[[1.0], [2.0]]], np.zeros(2, int), 1)
    assert weighted.flux[0, 0, 0] == pytest.approx((8 + 14 / 4) / 1.25)


def test_the_radius_is_that_of_the_least_error():
    rng = np.random.default_rng(1)
    faint, bright = (
        measured(*simulated(rng, np.full((500, 3), level)))[1] for level in (8.0, 2000.0)
    )
    assert np.mean(faint == 1) > 0.95
    assert np.mean(bright >= 2) > 0.99
    undetected = measured(*simulated(rng, np.zeros((500, 3))))[1]
    assert (undetected == 1).mean() > 0.8
    flux, err, sky = simulated(rng, np.full((2, 3), 8.0))
    flux[0, :2, 1] = np.nan  # not that radius in that filter
    flux[1] = np.nan
    _, radius = measured(flux, err, sky)
    assert radius[0] != 1
    assert radius[1] == -1


def test_the_choice_of_the_radius_does_not_bias():
    rng = np.random.default_rng(2)
    true = np.full((20000, 3), 8.0)
    flux, err, sky = simulated(rng, true)
    means, radius = measured(flux, err, sky)
    chosen = means.at(radius)[0]
    fixed = means.flux[:, :, 1]
    assert np.abs(chosen.mean(axis=0) - fixed.mean(axis=0)).max() < 0.02


def test_limits():
    flux = np.array([[10.0, 20.0], [0.5, 20.0], [10.0, -1.0], [0.1, 0.2], [np.nan, 20.0]])
    result = colours(flux, np.ones_like(flux), np.full_like(flux, 0.01), [(0, 1)])
    assert result.kind[:, 0].tolist() == [c.MEASURED, c.REDDER, c.BLUER, c.UNKNOWN, c.UNKNOWN]
    assert result.colour[0, 0] == pytest.approx(2.5 * np.log10(2.0))
    assert result.colour[1, 0] == pytest.approx(-2.5 * np.log10(3.5 / 20))
    assert result.colour[2, 0] == pytest.approx(-2.5 * np.log10(10 / 3.0))
    assert np.isnan(result.colour[3:, 0]).all()
    assert np.isnan(result.err[1:, 0]).all()
    assert result.err[0, 0] == pytest.approx(MAG_PER_FRACTION * np.hypot(0.1, 0.05))
    assert result.err_sys[0, 0] == pytest.approx(MAG_PER_FRACTION * 0.01 * np.sqrt(2))


def test_true_colours_are_beyond_their_limits():
    rng = np.random.default_rng(0)
    true = np.array([2.0, 40.0])
    flux = true + rng.normal(size=(20000, 2))
    result = colours(flux, np.ones_like(flux), np.zeros_like(flux), [(0, 1)])
    redder = result.kind[:, 0] == c.REDDER
    assert redder.mean() > 0.8
    assert (-2.5 * np.log10(true[0] / true[1]) > result.colour[redder, 0]).mean() > 0.97


def test_the_absolute_scale_is_in_no_colour():
    for name in ("F606W", "F850LP"):
        whole = float(systematic_fraction(name, np.array(0.02)))
        assert np.sqrt(ee_systematic(name) ** 2 + 0.02**2 + ABSOLUTE_SYSTEMATIC**2) == (
            pytest.approx(whole)
        )


def test_pairs_and_nothing():
    empty = filter_fluxes(np.empty((0, 6, 5)), np.empty((0, 6, 5)), FILTER_OF, 3)
    assert radius_by_snr(empty).size == 0
    assert colours(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1)), []).colour.shape == (4, 0)


def test_numbers_that_the_documentation_states():
    assert (c.DETECTED_SIGMA, c.LIMIT_SIGMA) == (3.0, 3.0)


def test_errors_that_filters_have_in_common_cancel_in_colours():
    flux, err = np.full((1, 3), 100.0), np.full((1, 3), 2.0)
    joint = np.zeros((1, 3, 3))
    joint[0, 0, 1] = joint[0, 1, 0] = 0.75 * 0.02**2
    pairs = [(0, 1), (1, 2)]
    plain = c.colours(flux, err, np.zeros((1, 3)), pairs)
    some = c.colours(flux, err, np.zeros((1, 3)), pairs, joint)
    assert some.err[0] == pytest.approx(plain.err[0] * [0.5, 1.0])
    # A Monte Carlo of the same errors.
    rng = np.random.default_rng(1)
    both, own = rng.normal(0, np.sqrt(0.75), 100_000), rng.normal(0, 1, (100_000, 3))
    error = np.column_stack([both + 0.5 * own[:, 0], both + 0.5 * own[:, 1], own[:, 2]])
    magnitude = MAG_PER_FRACTION * 0.02 * error
    cov = np.cov(magnitude[:, 0] - magnitude[:, 1], magnitude[:, 1] - magnitude[:, 2])
    assert some.cov[0, 0] == pytest.approx(cov[0, 1], rel=0.05)


def test_struck_images_have_no_say():
    """Of three images in two filters: another of its filter looks there, or none."""
    matrices = SimpleNamespace(
        n=3,
        filters=("F475W", "F775W"),
        filter_of=np.array([0, 0, 1]),
        covered=np.array([[True, True, True], [True, False, True], [True, True, True]]),
    )
    struck = np.array([[True, False, False], [True, False, False], [True, True, True]])
    hits = photometry_of._hits(matrices, struck)
    assert hits.left_out.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert hits.spoilt.tolist() == [[False, False], [True, False], [True, True]]
    assert not photometry_of._hits(matrices, None).spoilt.any()


def test_colours_of_struck_filters_are_not_known():
    flux = np.full((2, 3), 10.0)
    known = colours(flux, 0.1 * flux, np.zeros((2, 3)), [(0, 1), (1, 2)])
    spoilt = np.array([[True, False, False], [False, False, False]])
    left = known.without(spoilt[:, :-1] | spoilt[:, 1:])
    assert np.isnan(left.colour).tolist() == [[True, False], [False, False]]
    assert np.isnan(left.err_total).tolist() == [[True, False], [False, False]]
    assert left.kind.tolist() == [[UNKNOWN, MEASURED], [MEASURED, MEASURED]]
    assert np.isnan(left.cov).tolist() == [[True], [False]]
