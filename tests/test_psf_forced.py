"""PSF fluxes at given places: known truth, cosmic rays, neighbours, cores without data, edges."""

import numpy as np
import pytest

from bycatch.images.drc import read_drc
from bycatch.stages.psf import forced
from bycatch.stages.psf.of_image import SkyAt
from bycatch.testing.scene import drc_hdus, moffat

SHAPE = (260, 280)
NOISE, EXPTIME_S, SKY = 0.01, 1000.0, 0.02
FWHM = 2.0


def stars_on(shape, x, y, rate):
    light = np.zeros(shape)
    for column, row, flux in zip(x, y, rate, strict=True):
        light += flux * moffat(shape, column, row, FWHM, 3.0)
    return light


@pytest.fixture(scope="module")
def scene():
    """Stars 26 px apart, a quarter of them bright; every sixth of the others has a neighbour."""
    rng = np.random.default_rng(3)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(22.0, 265, 26), np.arange(22.0, 245, 26)))
    x, y = x + rng.uniform(-0.5, 0.5, len(x)), y + rng.uniform(-0.5, 0.5, len(y))
    rate = np.geomspace(0.3, 3.0, len(x))
    rate[::4] = rng.uniform(10, 40, len(rate[::4]))
    first = np.flatnonzero(np.arange(len(x)) % 6 == 1)
    x, y = np.append(x, x[first] + 2.4), np.append(y, y[first] + 1.8)  # 3 px
    rate = np.append(rate, rate[first])
    light = stars_on(SHAPE, x, y, rate)
    noise = rng.normal(size=SHAPE) * np.sqrt(NOISE**2 + light / EXPTIME_S)
    return x, y, rate, (light + noise + SKY).astype(np.float32), first


def image_of(sci, folder):
    path = folder / "jabc01010_drc.fits"
    drc_hdus(sci, exptime_s=EXPTIME_S).writeto(path, overwrite=True)
    return read_drc(path)


def sky_at(x, y):
    return SkyAt(x, y, np.full(len(x), SKY), np.full(len(x), NOISE))


def blank_places(x, y, n=200):
    rng = np.random.default_rng(8)
    at = rng.uniform(10, 250, (4000, 2))
    away = np.hypot(at[:, :1] - x, at[:, 1:] - y).min(axis=1)
    return sky_at(*at[away > 9][:n].T)


@pytest.fixture(scope="module")
def fitted(scene, tmp_path_factory):
    x, y, rate, sci, _ = scene

    def fit(sci, x=x, y=y, cr_mask=None, rate=rate):
        image = image_of(sci, tmp_path_factory.mktemp("forced"))
        blank = blank_places(x, y)
        return forced.run(image, sky_at(x, y), 100.0 * rate, blank, cr_mask=cr_mask)

    return fit, fit(sci)


def scale_of(found, rate):
    bright = rate > 8
    return np.median(found.flux[bright] / rate[bright])


def test_fluxes_and_errors_of_stars(scene, fitted):
    _, _, rate, _, first = scene
    found = fitted[1]
    scale = scale_of(found, rate)
    assert found.model.is_of_stars
    assert scale == pytest.approx(1.1, abs=0.03)  # the published PSF has less light in its core
    alone = np.ones(len(rate), bool)
    alone[[*first, *range(len(rate) - len(first), len(rate))]] = False
    assert np.std((found.flux / rate / scale)[alone & (rate > 8)]) < 0.01
    pull = ((found.flux - scale * rate) / found.flux_err)[alone & (rate < 8)]
    assert 0.75 < np.std(pull) < 1.25
    assert abs(np.mean(pull)) < 0.4
    assert (found.sky_err[alone] < found.flux_err[alone] + 1e-9).all()
    assert not found.is_misfit[alone].any()
    assert 0.6 < np.nanmedian(found.chi2[alone]) < 1.1  # room is left for the error of the PSF


def test_pairs_share_nothing(scene, fitted):
    _, _, rate, _, first = scene
    found = fitted[1]
    second = np.arange(len(rate) - len(first), len(rate))
    pairs = np.append(first, second)
    ratio = (found.flux / rate)[pairs] / scale_of(found, rate)
    pull = (ratio - 1) * rate[pairs] / found.flux_err[pairs]
    assert np.std(pull) < 1.5
    assert abs(np.median(ratio) - 1) < 0.02
    assert (found.crowding[pairs] > 0.02).all()


@pytest.mark.parametrize("masked", [True, False])
def test_a_cosmic_ray_near_a_star_is_passed_over(scene, fitted, masked):
    x, y, rate, sci, first = scene
    fit, clean = fitted
    hit = sci.copy()
    stars = [k for k in np.flatnonzero((rate > 1) & (rate < 3)) if k not in first][:8]
    mask = np.zeros(SHAPE, bool)
    for n, k in enumerate(stars):
        column, row = round(x[k]) + (2 if n % 2 else -2), round(y[k]) + n % 3 - 1
        hit[row, column] += 0.4  # a fifth of the star's light, 40 sigma
        mask[row, column] = True
    found = fit(hit, cr_mask=mask if masked else None)
    change = (found.flux / clean.flux - 1)[stars]
    assert np.abs(change).max() < 0.06
    others = np.setdiff1d(np.arange(len(rate)), stars)
    np.testing.assert_allclose(found.flux[others], clean.flux[others], rtol=0.02, atol=0.01)
    if not masked:  # what does not fit makes the error larger
        assert (found.chi2 > clean.chi2)[stars].all()
        assert (found.flux_err >= clean.flux_err)[stars].all()


def test_bright_cores_are_not_cut(scene, fitted):
    """A mask on a star that the PSF fits takes nothing from it."""
    x, y, rate, sci, _ = scene
    fit, clean = fitted
    mask = np.zeros(SHAPE, bool)
    bright = np.flatnonzero(rate > 8)
    for k in bright:
        mask[round(y[k]) - 1 : round(y[k]) + 2, round(x[k]) - 1 : round(x[k]) + 2] = True
    found = fit(sci, cr_mask=mask)
    assert np.median((found.flux / clean.flux)[bright]) == pytest.approx(1.0, abs=0.01)


def test_a_core_without_data_is_marked_and_edges_and_nan_give_nothing(scene, fitted):
    x, y, rate, sci, _ = scene
    fit, clean = fitted
    gone, k = sci.copy(), 5
    gone[round(y[k]), round(x[k])] = np.nan
    far_x = np.append(x, [-50.0, np.nan, 3000.0, -1.0])
    far_y = np.append(y, [100.0, 50.0, 1e9, 100.0])
    found = fit(gone, far_x, far_y, rate=np.append(rate, [9.0, 9.0, np.nan, 0.0]))
    assert found.lost_core[k]
    assert found.is_misfit[k]
    assert np.isnan(found.flux[-4:-1]).all()
    assert np.isnan(found.flux_err[-4:-1]).all()
    rows = np.setdiff1d(np.arange(len(rate)), [k])
    np.testing.assert_allclose(found.flux[rows], clean.flux[rows], rtol=0.02, atol=0.01)


def test_blank_places_are_not_biased(scene, fitted, tmp_path):
    x, y, rate, sci, _ = scene
    here = blank_places(x, y, 400)
    both = np.append(x, here.x[200:]), np.append(y, here.y[200:])
    found = forced.run(
        image_of(sci, tmp_path),
        sky_at(*both),
        np.append(100.0 * rate, np.zeros(len(here.x) - 200)),
        blank_places(x, y),
    )
    pull = (found.flux / found.flux_err)[len(x) :]
    assert abs(np.mean(pull)) < 0.3
    assert 0.8 < np.std(pull) < 1.2
    assert (pull < 0).sum() > 0.3 * len(pull)


def test_errors_grow_as_the_noise_does(fitted, tmp_path):
    rng = np.random.default_rng(12)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(12.0, 270, 12), np.arange(12.0, 250, 12)))
    rate = np.full(len(x), 0.3)
    is_noisy = x > 146  # by twice what is stated
    sigma = np.where(np.arange(SHAPE[1]) > 140, 2.0, 1.0) * NOISE
    sci = stars_on(SHAPE, x, y, rate) + SKY + rng.normal(size=SHAPE) * sigma
    calm = np.flatnonzero(x < 130)
    blank = sky_at(x[calm] + 6.0, y[calm] + 6.0)
    image = image_of(sci.astype(np.float32), tmp_path)
    found = forced.run(image, sky_at(x, y), 100.0 * rate, blank, model=fitted[1].model)
    for which in (is_noisy, ~is_noisy & (x < 135)):
        pull = (found.flux - np.median(found.flux[which]))[which] / found.flux_err[which]
        assert 0.8 < np.diff(np.percentile(pull, [16, 84]))[0] / 2 < 1.2


def test_a_known_psf_is_taken(scene, fitted, tmp_path):
    x, y, rate, sci, _ = scene
    model = fitted[1].model
    found = forced.run(
        image_of(sci, tmp_path), sky_at(x, y), 0.0 * rate, blank_places(x, y), model=model
    )
    assert found.model is model
    np.testing.assert_allclose(found.flux, fitted[1].flux, rtol=1e-6)


def test_without_stars_the_published_psf_serves(tmp_path):
    rng = np.random.default_rng(1)
    sci = (SKY + NOISE * rng.normal(size=(60, 70))).astype(np.float32)
    nothing = sky_at(np.empty(0), np.empty(0))
    found = forced.run(image_of(sci, tmp_path), nothing, np.empty(0), nothing)
    assert len(found.flux) == 0
    assert not found.model.is_of_stars
    one = sky_at(np.array([30.0]), np.array([31.0]))
    found = forced.run(image_of(sci, tmp_path), one, np.zeros(1), nothing)
    assert abs(found.flux[0]) < 5 * found.flux_err[0]
