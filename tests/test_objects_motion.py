"""Proper motions and parallaxes: pulls, outliers, and stars that move as Gaia has it."""

import time

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from bycatch.sky.gaia import parallax_shift
from bycatch.stages.objects import motion
from bycatch.stages.objects.motion import fit_motions
from bycatch.tangent import tangent_mas

MJD = np.array([53000.0, 53000.1, 54100.0, 55000.0, 55000.2, 56800.0])
FRAME = np.array([0.5, 0.5, 0.8, 0.4, 0.6, 1.0])


def simulated(rng, n=2000, mjd=MJD, frame=FRAME, frame_of=None, parallax=0.0, at=(150.0, 2.0)):
    """Return positions and errors (N, M) of stars, each with a draw of the frames of its own."""
    truth = np.column_stack([rng.normal(0, 50, (n, 2)), rng.normal(0, 8, (n, 2))])
    t = (mjd - 55000.0) / 365.25
    label = np.arange(mjd.size) if frame_of is None else np.asarray(frame_of)
    err = rng.uniform(0.5, 4.0, (n, 1)) * rng.uniform(0.8, 1.5, (n, mjd.size))
    ra, dec = np.full(n, at[0]), np.full(n, at[1])
    xy = []
    factors = np.array([parallax_shift(ra, dec, 2000 + (m - 51544.5) / 365.25) for m in mjd])
    for k in range(2):
        frames = rng.normal(size=(n, mjd.size))[:, label] * frame
        true = truth[:, k, None] + truth[:, 2 + k, None] * t + parallax * factors[:, k].T
        xy.append(true + frames + rng.normal(size=err.shape) * err)
    return *xy, err, truth


def scatter(fit, truth, n=4):
    return (((fit.parameters[:, :n] - truth[:, :n]) / fit.err[:, :n]) ** 2).mean(axis=0) ** 0.5


@pytest.mark.parametrize("frame_of", [None, [0, 0, 1, 2, 2, 3]])
def test_pulls(frame_of):
    frame = np.array([0.5, 0.5, 0.8, 0.4, 0.4, 1.0])
    x, y, err, truth = simulated(np.random.default_rng(1), frame=frame, frame_of=frame_of)
    is_missing = np.random.default_rng(2).random(x.shape) < 0.15
    x[is_missing] = np.nan
    fit = fit_motions(x, y, err, MJD, frame_err_mas=frame, frame_of=frame_of, reference_mjd=55000.0)
    ok = np.isfinite(fit.parameters[:, 2])
    assert ok.mean() > 0.99
    assert ((fit.parameters[ok, :4] - truth[ok]) / fit.err[ok, :4]).std(axis=0) == pytest.approx(
        1.0, abs=0.05
    )
    good = (fit.dof > 0) & (fit.outlier < 0)
    assert (fit.chi2[good] / fit.dof[good]).mean() == pytest.approx(1.0, abs=0.07)
    assert (fit.outlier >= 0).mean() < 0.002


def test_the_covariance_is_that_of_the_estimates():
    rng = np.random.default_rng(3)
    n, err = 4000, np.full((4000, 6), 2.0)
    x = rng.normal(size=(2, n, 6)) * np.hypot(2.0, FRAME)
    fit = fit_motions(*x, err, MJD, frame_err_mas=FRAME, reference_mjd=54000.0)
    np.testing.assert_allclose(
        np.cov(fit.parameters[:, :4].T), fit.covariance[0, :4, :4], atol=0.06, rtol=0.06
    )
    # At the mean epoch position and motion are independent.
    own = fit_motions(*x, err, MJD, frame_err_mas=FRAME)
    assert abs(own.covariance[0, 0, 2]) < 1e-9


def test_three_tenths_of_a_mas_per_year():
    """Two visits of four exposures, five years apart, of 1.5 mas each and frames of 0.3 mas."""
    mjd = np.repeat([53000.0, 53000.0 + 5 * 365.25], 4)
    one = np.zeros((1, 8))
    fit = fit_motions(
        one, one, one + 1.5, mjd, frame_err_mas=np.full(8, 0.3), frame_of=np.repeat([0, 1], 4)
    )
    expected = np.sqrt(2 * (1.5**2 / 4 + 0.3**2)) / 5
    assert fit.err[0, 2] == pytest.approx(expected, rel=1e-6)
    assert expected < 0.3
    assert fit.n_epochs[0] == 2


def test_parallax_where_the_epochs_allow_it():
    mjd = 56000.0 + np.arange(12) * 95.0
    x, y, err, truth = simulated(
        np.random.default_rng(4), mjd=mjd, frame=np.full(12, 0.3), parallax=10.0, at=(80.0, -60.0)
    )
    place = {"ra_deg": np.full(len(x), 80.0), "dec_deg": np.full(len(x), -60.0)}
    fit = fit_motions(x, y, err, mjd, frame_err_mas=0.3, reference_mjd=55000.0, **place)
    fitted = np.isfinite(fit.parameters[:, 4])
    assert 0.2 < fitted.mean() < 1.0
    pull = (fit.parameters[fitted, 4] - 10.0) / fit.err[fitted, 4]
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    assert abs(pull.mean()) < 0.1
    assert scatter(fit, truth, 4)[2:] == pytest.approx(1.2, abs=0.3)  # of some it is taken for 0
    # Always at one time of the year nothing tells it from the position.
    yearly = 56000.0 + 365.25 * np.arange(6)
    x, y, err, _ = simulated(np.random.default_rng(5), n=50, mjd=yearly, frame=np.zeros(6))
    same = fit_motions(x, y, err, yearly, ra_deg=np.full(50, 150.0), dec_deg=np.full(50, 2.0))
    assert np.isnan(same.parameters[:, 4]).all()
    assert np.isfinite(same.parameters[:, 2]).all()


def test_one_outlying_image_is_left_out():
    rng = np.random.default_rng(6)
    x, y, err, truth = simulated(rng, n=500)
    which = rng.integers(0, 6, 500)
    x[np.arange(500), which] += 15 * np.hypot(err[np.arange(500), which], 1.0)
    fit = fit_motions(x, y, err, MJD, frame_err_mas=FRAME, reference_mjd=55000.0)
    mask = fit.outlier == which
    assert mask.mean() > 0.95
    pull = (fit.parameters[mask, :4] - truth[mask]) / fit.err[mask, :4]
    assert pull.std(axis=0) == pytest.approx(1.0, abs=0.15)
    # Of three images in line with two parameters, any could be wrong: none is left out.
    three = fit_motions(x[:, :3], y[:, :3], err[:, :3], MJD[:3], frame_err_mas=FRAME[:3])
    assert (three.outlier == -1).all()


def test_too_little_for_a_motion():
    x = np.array([[1.0, 3.0, np.nan], [1.0, np.nan, np.nan], [np.nan] * 3, [2.0, 2.0, 8.0]])
    err = np.ones_like(x)
    fit = fit_motions(x, x, err, np.array([55000.0, 55000.5, 56000.0]), reference_mjd=54000.0)
    assert np.isnan(fit.parameters[:3, 2:]).all()
    assert fit.parameters[:2, 0] == pytest.approx([2.0, 1.0])
    assert fit.mjd[:2].tolist() == [55000.25, 55000.0]
    assert np.isnan(fit.mjd[2])
    assert np.isfinite(fit.parameters[3, :4]).all()
    assert fit.mjd[3] == 54000.0
    assert fit.n_epochs.tolist() == [1, 1, 0, 2]
    assert fit.at(54000.0)[0] == pytest.approx([2.0, 2.0])
    unknown = fit_motions(x, x, err, np.array([np.nan, 55000.5, np.nan]))
    assert unknown.n_images.tolist() == [1, 0, 0, 1]
    assert fit_motions(*np.empty((3, 0, 4)), np.arange(4.0)).mjd.size == 0
    assert fit_motions(*np.empty((3, 4, 0)), np.arange(0.0)).n_images.tolist() == [0] * 4


@pytest.mark.filterwarnings("ignore::erfa.ErfaWarning")
@pytest.mark.parametrize("place", [(266.4, -29.0), (0.001, 60.0), (100.0, 85.0)])
def test_stars_that_move_as_gaia_has_it(place):
    """Rigorous space motion and parallax, without noise: what is told is what is true."""
    rng = np.random.default_rng(7)
    n = 40
    ra = place[0] + rng.uniform(-0.03, 0.03, n) / np.cos(np.radians(place[1]))
    dec = place[1] + rng.uniform(-0.03, 0.03, n)
    motion_mas, parallax = rng.normal(0, 20, (2, n)), rng.uniform(0.5, 5, n)
    stars = SkyCoord(
        ra * u.deg, dec * u.deg, distance=1000 / parallax * u.pc,
        obstime=Time(2016.0, format="jyear"),
        pm_ra_cosdec=motion_mas[0] * u.mas / u.yr, pm_dec=motion_mas[1] * u.mas / u.yr,
    )  # fmt: skip
    years = np.array([2003.1, 2006.4, 2009.9, 2013.3, 2016.6, 2020.8, 2020.05])
    x, y = np.empty((2, n, years.size))
    for k, year in enumerate(years):
        moved = stars.apply_space_motion(Time(year, format="jyear"))
        east, north = parallax_shift(ra, dec, year)
        for i in range(n):
            at = np.array([moved.ra.deg[i]]), np.array([moved.dec.deg[i]])
            offset = tangent_mas(*at, ra[i], dec[i])[0]
            x[i, k] = offset[0] + parallax[i] * east[i]
            y[i, k] = offset[1] + parallax[i] * north[i]
    mjd = 51544.5 + (years - 2000) * 365.25
    fit = fit_motions(
        x, y, np.full(x.shape, 0.3), mjd, reference_mjd=57388.5, ra_deg=ra, dec_deg=dec
    )
    np.testing.assert_allclose(fit.parameters[:, 2], motion_mas[0], atol=2e-3)
    np.testing.assert_allclose(fit.parameters[:, 3], motion_mas[1], atol=2e-3)
    np.testing.assert_allclose(fit.parameters[:, 4], parallax, atol=5e-3)
    np.testing.assert_allclose(fit.parameters[:, :2], 0.0, atol=0.02)
    assert (fit.outlier == -1).all()


def test_many_objects_take_a_moment():
    x, y, err, _ = simulated(np.random.default_rng(8), n=5000)
    begin = time.process_time()
    fit_motions(x, y, err, MJD, frame_err_mas=FRAME)
    assert time.process_time() - begin < 1.0


def test_numbers_that_the_documentation_states():
    assert (motion.LEAST_EPOCHS, motion.LEAST_SPAN_YR, motion.EPOCH_GAP_DAYS) == (2, 1.0, 1.0)
    assert motion.MOST_PARALLAX_ERR_MAS == 1.0


def test_the_error_that_visits_share():
    from bycatch.stages.objects import epochs, variability

    assert epochs.PHASE_MAS == 0.5  # docs/objects.md, as the following
    assert epochs.STRUCK == 0.5
    assert (variability.HIT_SHARE, variability.HIT_WEIGHT) == (0.01, 50.0)
    assert (variability.HIT_SIGMA, variability.BRIGHT_SNR) == (3.0, 50.0)
    assert variability.MOST_HIT_SIGMA == 10.0
