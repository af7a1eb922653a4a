"""Variables among constant objects: the false rate is as stated, whatever the errors are."""

import numpy as np
import pytest

from bycatch.stages.objects import variability as v
from bycatch.stages.objects.variability import (
    probability_of_effect,
    variability,
    zeropoint_shifts,
)


def constant(rng, n=4000, epochs=5, scale=1.0, snr=None, missing=0.1):
    """Return fluxes (N, E) of constant objects, and errors that are too small by ``scale``."""
    snr = 10 ** rng.uniform(0.7, 2.3, n) if snr is None else np.full(n, float(snr))
    err = np.repeat(rng.uniform(0.8, 1.2, (1, epochs)), n, axis=0)
    true = np.repeat(snr[:, None], epochs, axis=1)
    flux = true + rng.normal(size=true.shape) * err
    flux[rng.random(flux.shape) < missing] = np.nan
    return flux, err * scale, true


@pytest.mark.parametrize("scale", [1.0, 0.8, 1.3])
@pytest.mark.parametrize("epochs", [2, 5])
def test_the_false_rate_is_as_stated(scale, epochs):
    rates = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        variability_result = variability(*constant(rng, epochs=epochs, scale=scale)[:2])
        p = variability_result.false_rate[np.isfinite(variability_result.false_rate)]
        rates.append(
            [(p < 0.1).mean(), (p < 0.01).mean(), (variability_result.p_variable > 0.5).mean()]
        )
        assert np.median(variability_result.err_scale) == pytest.approx(1 / scale, rel=0.06)
    rate = np.mean(rates, axis=0)
    assert rate[0] == pytest.approx(0.1, abs=0.015)
    assert rate[1] == pytest.approx(0.01, abs=0.004)
    assert rate[2] < 0.001


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_variables_are_found(scale):
    """0.1 mag rms at S/N 30 and five epochs, one of twenty: 95 % at a false rate of 1 %."""
    rng = np.random.default_rng(2)
    flux, err, true = constant(rng, snr=30.0, scale=scale, missing=0.0)
    varies = rng.random(len(flux)) < 0.05
    phase = rng.uniform(0, 2 * np.pi, (len(flux), 1))
    change = 0.1 * np.sqrt(2) * np.sin(phase + np.arange(5) * 2.4)
    flux[varies] += (true * (10 ** (-0.4 * change) - 1))[varies]
    variability_result = variability(flux, err)
    assert (variability_result.false_rate[varies] < 0.01).mean() >= 0.95
    assert (variability_result.false_rate[~varies] < 0.01).mean() == pytest.approx(0.01, abs=0.005)
    likely = variability_result.p_variable > 0.5
    assert likely[varies].mean() > 0.85
    # As many constant ones are among them as stated.
    text = (1 - variability_result.p_variable[likely]).sum()
    assert abs(text - (likely & ~varies).sum()) < 3 * np.sqrt(text) + 3
    assert np.median(variability_result.scatter_mag[varies]) == pytest.approx(0.1, abs=0.02)
    assert np.median(variability_result.scatter_mag[~varies]) < 0.015


def test_transients():
    rng = np.random.default_rng(3)
    flux, err, _ = constant(rng, n=1000, snr=1.0, missing=0.0)
    flux[:20, 3] += 60.0
    flux[20:25, 1] -= 12.0
    flux[25:75, 2] += 7.0  # what a cosmic ray leaves, in 1 % of the epochs
    variability_result = variability(flux, err)
    assert (variability_result.p_variable[:25] > 0.95).all()
    assert (variability_result.p_variable[25:75] < 0.5).mean() > 0.9


@pytest.mark.parametrize(("n_hit", "share"), [(0, 0.0), (60, 0.012)])
def test_the_share_of_epochs_that_are_hit_is_measured(n_hit, share):
    """Cosmic rays brighten single epochs; what errors do, they do in both directions."""
    rng = np.random.default_rng(6)
    flux, err, _ = constant(rng, n=1000, snr=10.0, missing=0.0)
    flux[np.arange(n_hit), rng.integers(0, 5, n_hit)] += 6.0
    flux[900:, 0] += 5.0 * rng.choice([-1.0, 1.0], 100)  # errors that are too small
    sigma = (flux - 10.0) / err
    n = np.full(len(flux), 5)
    found = v._hit_share((sigma**2).sum(axis=1), sigma, n, n > 0)
    assert found == pytest.approx(share, abs=0.004)
    # Objects that are not usual say nothing, and without any the share is the stated one.
    assert v._hit_share((sigma**2).sum(axis=1), sigma, n, n < 0) == v.HIT_SHARE


def test_errors_that_are_too_small_for_bright_objects_alone():
    rng = np.random.default_rng(4)
    flux, err, true = constant(rng, n=6000, missing=0.0)
    flux += rng.normal(size=true.shape) * 0.02 * true  # flat fields, in no error
    variability_result = variability(flux, err)
    bright = true[:, 0] > 100
    assert (variability_result.false_rate[bright] < 0.01).mean() < 0.02
    assert np.median(variability_result.err_scale[bright]) > 2
    assert np.median(variability_result.err_scale[true[:, 0] < 15]) == pytest.approx(1.0, abs=0.08)


def field(rng, n=1500, epochs=4):
    x, y = rng.uniform(0, 200, (2, n))
    flux, err, true = constant(rng, n, epochs, missing=0.05)
    shift = 0.03 * rng.normal(size=epochs) + 0.02 * (x[:, None] / 100 - 1) * rng.normal(size=epochs)
    return x, y, flux * np.exp(shift), err, shift, true


def test_shifts_of_the_zero_point():
    rng = np.random.default_rng(5)
    x, y, flux, err, shift, true = field(rng)
    star = rng.random(len(x)) < 0.3
    flux[np.flatnonzero(star)[:20]] *= rng.uniform(0.5, 1.5, (20, 4))  # variables among them
    shifts = zeropoint_shifts(flux, err, x, y, star)
    is_finite = np.isfinite(shifts.err)
    assert is_finite.mean() > 0.99
    # The mean over the epochs is the object's own.
    off = (shifts.shift - shift) - (shifts.shift - shift).mean(axis=1, keepdims=True)
    assert off.std() < 0.008
    assert (off / shifts.err).std() == pytest.approx(1.0, abs=0.25)
    raw, freed = variability(flux, err), variability(flux, err, shifts)
    bright = true[:, 0] > 60
    bright[np.flatnonzero(star)[:20]] = False
    assert np.median(raw.chi2[bright]) > 3 * np.median(freed.chi2[bright])


def test_too_few_stars_show_no_shift():
    rng = np.random.default_rng(6)
    x, y, flux, err, _, _ = field(rng, n=100)
    for star in (np.arange(100) < 5, np.zeros(100, bool)):
        shifts = zeropoint_shifts(flux, err * 1e-3, x, y, star)
        assert (shifts.shift[:5] == 0).all()  # of five stars each has four others
        assert np.isnan(shifts.err[:5]).all()
    far = zeropoint_shifts(
        flux, err * 1e-3, x + 1e4 * (np.arange(100) > 50), y, np.arange(100) < 50
    )
    assert np.isnan(far.err[51:]).all()


def test_one_epoch_and_nothing():
    one = variability(np.ones((3, 1)), np.ones((3, 1)))
    assert np.isnan(one.p_variable).all()
    assert np.isnan(one.chi2).all()
    assert one.mean.tolist() == [1.0, 1.0, 1.0]
    assert variability(np.empty((0, 3)), np.empty((0, 3))).chi2.size == 0
    none = variability(np.full((2, 3), np.nan), np.ones((2, 3)))
    assert np.isnan(none.mean).all()
    assert none.n_epochs.tolist() == [0, 0]


def test_probabilities_of_few_objects():
    p = probability_of_effect(np.array([1e-8, 0.3, np.nan, 0.9]))
    assert p[0] > 0.95
    assert p[1] < 0.1
    assert np.isnan(p[2])
    uniform = probability_of_effect(np.random.default_rng(0).random(5000))
    assert uniform.sum() < 100


def test_numbers_that_the_documentation_states():
    assert (v.RADIUS_ARCSEC, v.MOST_STARS, v.LEAST_STARS) == (60.0, 30, 5)
