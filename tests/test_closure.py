"""Aperture corrections: stars with known light in every aperture, and what spoils them."""

import numpy as np
import pytest

from bycatch.catalogs.flags import Flag
from bycatch.stages.finalize.closure import (
    _typical,
    closure,
    excess_scatter,
    reference_index,
    weighted_median,
)
from bycatch.testing.growth import FRACTIONS, RADII
from bycatch.testing.growth import star_photometry as stars

SCALE = 0.05


def found(phot, **options):
    return closure(phot, RADII, FRACTIONS, SCALE, **options)


def test_perfect_stars_close_and_need_no_correction():
    result = found(stars(noise=1e-6))
    assert result.n_stars == 60
    assert result.reference_px == 10.0
    np.testing.assert_allclose(result.deviation, 0, atol=1e-6)
    np.testing.assert_allclose(result.remaining, 0, atol=1e-6)
    assert not result.fails.any()
    assert result.warnings() == ()


def test_what_small_apertures_lost_is_found():
    losses = np.array([-0.03, -0.006, 0.002, 0.0, 0.0])
    phot = stars(lost=losses)
    result = found(phot)
    assert (np.abs(result.deviation - losses) < 3 * result.error + 1e-9).all()
    np.testing.assert_array_equal(result.remaining, result.deviation)
    assert result.fails[0]
    corrected = found(phot, factors=np.tile(1 + losses, (len(phot), 1)))
    np.testing.assert_allclose(corrected.deviation, result.deviation)
    np.testing.assert_allclose(corrected.remaining, result.deviation - losses, atol=1e-3)
    assert not corrected.fails.any()


def test_errors_are_those_of_repeated_measurements():
    draws = [found(stars(seed=s, noise=0.15)) for s in range(80)]
    pulls = np.array([r.deviation[:4] / r.error[:4] for r in draws])
    # 320 pulls that are not all independent
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(pulls)) < 0.35


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_stars_check_nothing(n):
    result = found(stars(n=max(n, 1), lost=(-0.04, -0.02, 0, 0, 0), noise=0.01)[:n])
    assert result.n_stars == n
    assert not result.is_checked.any()
    assert not result.fails.any()
    assert result.warnings() == ()
    parts = result.metadata()["percent"].values()
    assert {value for part in parts for value in part.values()} == {None}


def test_five_stars_are_heard():
    result = found(stars(n=5, lost=(-0.15, -0.08, 0, 0, 0), noise=0.01))
    assert result.is_checked.tolist() == [True, True, True, True, False]
    assert result.fails.tolist() == [True, True, False, False, False]
    assert "in 2 px stars have -15.0 +-" in result.warnings()[0]
    parts = result.metadata()["percent"]
    # The reference is compared with nothing.
    assert [parts[r]["closes"] for r in ("2", "6", "10")] == [False, True, None]


@pytest.mark.parametrize(
    "flag", [Flag.SATURATED, Flag.EDGE, Flag.EXTENDED, Flag.BLENDED, Flag.SPIKE, Flag.HOT_PIXEL]
)
def test_flagged_rows_do_not_count(flag):
    phot = stars()
    spoil(phot, slice(0, 40))
    assert found(phot).deviation[0] < -0.05
    phot["flags"][:40] = int(flag)
    result = found(phot)
    assert result.n_stars == 20
    assert abs(result.deviation[0]) < 0.01


def spoil(phot, rows):
    """Take half of the light of the smallest aperture away."""
    net = phot["countrate_2"][rows] - 0.4 * phot["area_2"][rows]
    phot["countrate_2"][rows] = 0.5 * net + 0.4 * phot["area_2"][rows]


@pytest.mark.parametrize("noise", [0.01, 0.15])
def test_errors_hold_for_stars_that_differ_from_one_another(noise):
    pulls = []
    for seed in range(80):
        phot = stars(seed=seed, noise=noise)
        own = np.random.default_rng(seed + 500).normal(0, 0.02, 60)
        phot["countrate_2"] += own * (phot["countrate_2"] - 0.4 * phot["area_2"])
        result = found(phot)
        pulls.append(result.deviation[0] / result.error[0])
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("column", "value"), [("cr_flag", 1), ("fwhm", 1.0), ("fwhm", 3.5), ("fwhm", np.nan)]
)
def test_other_rows_than_stars_do_not_count(column, value):
    phot = stars()
    phot[column][:20] = value
    assert found(phot).n_stars == 40


def test_probabilities_decide_where_there_are_any():
    phot = stars()
    phot["p_star"] = np.where(np.arange(60) < 20, 0.2, 0.99)
    assert found(phot).n_stars == 40
    phot["p_cr"] = np.where(np.arange(60) >= 50, 0.8, 0.01)
    assert found(phot).n_stars == 30


def test_faint_stars_and_lost_rows_do_not_count():
    assert found(stars(faint=0.5, noise=0.5)).n_stars < 20
    phot = stars()
    phot["countrate_10"][:5] = np.nan
    phot["x"][5] = np.nan
    assert found(phot).n_stars == 54


def test_neighbours_are_seen():
    phot = stars(n=60, spacing=12.0)
    assert found(phot).n_stars < 10
    assert found(stars(n=60, spacing=15.0)).n_stars == 60


def test_undetected_neighbours_weigh_little():
    # Each star has 0.3 e/s of other light in the aperture of 10 px.
    phot = stars(n=200, noise=0.05, faint=20.0)
    phot["countrate_10"] += 0.3
    result = found(phot)
    assert abs(result.deviation[0]) < 0.005


def test_selection_by_brightness_does_not_favour_noise():
    # As many stars fall short of the limit as exceed it.
    draws = [found(stars(n=100, seed=s, noise=0.6, faint=60.0)) for s in range(40)]
    mean = np.mean([r.deviation[0] for r in draws])
    assert abs(mean) < 0.004


def test_nothing_is_measured_without_stars():
    for phot in (stars()[:0], stars(faint=1e-3)):
        result = found(phot)
        assert result.n_stars == 0
        assert np.isnan(result.deviation).all()
        assert not result.fails.any()
        assert result.metadata()["percent"]["2"]["published"] is None


def test_the_reference_is_half_an_arcsec():
    assert reference_index(RADII, 0.05) == 4
    assert reference_index(RADII, 0.1) == 1
    assert reference_index((2.0, 20.0, 10.0), 0.05) == 2
    assert reference_index((2.0, 10.0, 20.0), 0.025) == 2
    assert reference_index((12.0, 30.0), 0.05) == 0


def test_scatter_beyond_the_noise():
    rng = np.random.default_rng(4)
    noise = rng.uniform(0.001, 0.02, 4000)
    draws = rng.normal(size=4000)
    assert excess_scatter(draws * np.hypot(noise, 0.015), noise) == pytest.approx(0.015, rel=0.05)
    assert excess_scatter(0.9 * draws * noise, noise) == 0
    assert excess_scatter(np.zeros(3), np.zeros(3)) == 0


def test_weighted_medians():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.ones(3)) == 2.0
    assert weighted_median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 100.0])) > 8.8
    assert weighted_median(np.array([5.0]), np.array([0.1])) == 5.0
    assert np.isnan(weighted_median(np.array([]), np.array([])))
    values = np.random.default_rng(1).normal(size=999)
    assert weighted_median(values, np.ones(999)) == pytest.approx(np.median(values), abs=1e-12)


def test_stars_all_alike_and_without_noise_divide_by_nothing():
    flux = np.full((9, 2), 5.0)
    middle, error, scatter = _typical(flux, np.zeros((9, 2)), 0, 1, 0)
    assert (middle, scatter) == (0.0, 0.0)
    assert 0 <= error < 1e-6
