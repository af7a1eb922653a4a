"""Centres of stars whose cores can't be used, against known places and a fit of the true model."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from bycatch.kernels.wings import fit_wings

SHAPE = (61, 61)
NOISE, SECONDS = 0.02, 600.0


def star(psf, x, y, rate=3000.0, seed=None):
    """Return a star on the sky, e/s, with the noise of its light and of the sky."""
    light = rate * psf(SHAPE, x, y)
    if seed is None:
        return light
    random = np.random.default_rng(seed)
    return light + random.normal(0.0, np.sqrt(NOISE**2 + light / SECONDS))


def around(x, y, radius):
    yy, xx = np.indices(SHAPE)
    return np.hypot(xx - x, yy - y) >= radius


def fit(data, usable, x=30.0, y=30.0, reach=11.0):
    return fit_wings(data, usable, [x], [y], [0.0], [reach])


def test_a_star_without_its_core_and_column_is_centred(psf):
    usable = around(30.3, 29.6, 3.0)
    usable[20:52, 29:32] = False  # it bleeds farther up than down
    result = fit(star(psf, 30.3, 29.6, seed=1), usable)
    assert result.has_centre.tolist() == [True]
    assert result.x[0] == pytest.approx(30.3, abs=0.04)
    assert result.y[0] == pytest.approx(29.6, abs=0.04)
    assert 0.0 < result.err_px[0] < 0.05
    assert result.light[0] > 0.002 * 3000
    assert 100 < result.n_pixels[0] < np.pi * 12**2


@pytest.mark.parametrize("off", [(3.0, 0.0), (-2.0, 2.5), (0.0, -3.5)])
def test_it_may_begin_some_pixels_off(psf, off):
    data, usable = star(psf, 30.3, 29.6, seed=2), around(30.3, 29.6, 3.0)
    near, far = fit(data, usable), fit(data, usable, 30 + off[0], 30 + off[1])
    assert far.x[0] == pytest.approx(near.x[0], abs=0.02)
    assert far.y[0] == pytest.approx(near.y[0], abs=0.02)


def test_it_is_as_good_as_a_fit_that_knows_the_profile(psf):
    usable = around(30.2, 30.1, 2.5)
    inside = usable & ~around(30.2, 30.1, 11.0)
    ours, known, stated = [], [], []
    for seed in range(12):
        data = star(psf, 30.2, 30.1, rate=200.0, seed=seed)

        def misfit(p, data=data):
            model = p[2] * psf(SHAPE, p[0], p[1]) + p[3]
            return ((data - model) / np.sqrt(NOISE**2 + np.abs(model) / SECONDS))[inside]

        known.append(least_squares(misfit, [30.0, 30.0, 200.0, 0.0]).x[:2] - [30.2, 30.1])
        result = fit(data, usable)
        ours.append([result.x[0] - 30.2, result.y[0] - 30.1])
        stated.append(result.err_px[0])
    scatter = np.sqrt(np.mean(np.square(ours)))
    assert scatter < 2.0 * np.sqrt(np.mean(np.square(known)))
    assert 0.6 < scatter / np.sqrt(np.mean(np.square(stated))) < 1.6


def test_what_is_the_same_on_both_sides_moves_nothing(psf):
    yy, xx = np.indices(SHAPE)
    usable = around(30.0, 30.0, 2.5)
    usable[30:36, 33:40] = False  # what is cut out on one side has no say on the other
    along = np.exp(-0.5 * ((xx - yy) / 1.5) ** 2) * np.exp(-np.hypot(xx - 30, yy - 30) / 8)
    result = fit(star(psf, 30.0, 30.0) + 5.0 * along, usable)
    assert abs(result.x[0] - 30.0) < 2e-3
    assert abs(result.y[0] - 30.0) < 2e-3


def test_a_neighbour_is_clipped(psf):
    usable = around(30.3, 29.6, 3.0)
    data = star(psf, 30.3, 29.6, seed=3)
    result = fit(data + star(psf, 36.0, 33.0, rate=60.0), usable)
    alone = fit(data, usable)
    assert abs(result.x[0] - alone.x[0]) < 0.03
    assert abs(result.y[0] - alone.y[0]) < 0.03


def test_a_hole_is_laid_about_the_centre_wherever_that_comes_to_be(psf):
    data = star(psf, 30.3, 29.6, seed=4)
    whole = np.ones(SHAPE, dtype=bool)
    fits = fit_wings(data, whole, [31.0], [29.0], [3.0], [9.0])
    assert fits.x[0] == pytest.approx(30.3, abs=0.04)
    data[28:32, 29:32] = 1e6  # within the hole
    again = fit_wings(data, whole, [31.0], [29.0], [3.0], [9.0])
    assert (again.x[0], again.y[0]) == (fits.x[0], fits.y[0])


def test_without_evidence_there_is_no_centre(psf):
    data, nothing = star(psf, 30.0, 30.0), np.zeros(SHAPE, dtype=bool)
    assert not fit(data, nothing).has_centre[0]
    one_side = around(30.0, 30.0, 2.0) & (np.indices(SHAPE)[1] > 30)
    assert not fit(data, one_side).has_centre[0]
    assert not fit(np.full(SHAPE, 3.0), ~nothing).has_centre[0]
    assert not fit(np.full(SHAPE, np.nan), ~nothing).has_centre[0]
    odd = [np.nan, np.inf, -500.0, 1e7, 30.0]
    fits = fit_wings(data, around(30, 30, 2.0), odd, [30.0] * 5, [0.0] * 5, [9.0] * 5)
    assert fits.has_centre.tolist() == [False] * 4 + [True]
    assert np.isnan(fits.err_px[:4]).all()
    assert fits.n_pixels[:4].tolist() == [0] * 4


def test_no_star_and_arrays_that_do_not_belong_together(psf):
    data = star(psf, 30.0, 30.0)
    assert fit_wings(data, data > 0, [], [], [], []).x.shape == (0,)
    with pytest.raises(ValueError, match="one shape"):
        fit_wings(data, np.ones((3, 3), bool), [1.0], [1.0], [0.0], [9.0])
    with pytest.raises(ValueError, match="N positions"):
        fit_wings(data, data > 0, [1.0, 2.0], [1.0], [0.0], [9.0])
