"""Light that exposures have lost: rejected pixels on stars, and what only looks like them."""

import numpy as np
import pytest

from bycatch.catalogs.flags import Flag
from bycatch.settings import MeasureSettings
from bycatch.stages import measure, star_rows
from bycatch.stages.measure import classes, flagging, rejection
from bycatch.stages.measure.context import Targets

SHAPE = (160, 160)
X, Y, RATE, NOISE = 80.3, 79.8, 20.0, 0.01


def star(psf):
    return np.random.default_rng(5).normal(0.05, NOISE, SHAPE) + RATE * psf(SHAPE, X, Y)


def lose(share, rows=slice(79, 81), columns=slice(80, 82)):
    """Lower the weight of some pixels by a share."""

    def change(hdus):
        hdus["WHT"].data[rows, columns] *= np.float32(1.0 - share)

    return change


def lost(image):
    return rejection.rejected_rates(image, np.array([X]), np.array([Y]), np.array([0.05]))[0]


def test_the_light_of_the_lost_weight_is_found(as_image, psf):
    sci = star(psf)
    light = float((sci[79:81, 80:82] - 0.05).sum())
    assert lost(as_image(sci, lose(0.5))) == pytest.approx(0.5 * light, rel=1e-4)
    assert lost(as_image(sci, lose(0.25))) == pytest.approx(0.25 * light, rel=1e-4)


def test_what_is_no_loss(as_image, psf):
    sci = star(psf)
    assert lost(as_image(sci)) == 0.0
    # The scatter of drizzled weights, a loss beside the star, and one beyond its core.
    assert lost(as_image(sci, lose(0.1))) == 0.0
    far = lose(0.5, slice(84, 86), slice(80, 82))
    assert lost(as_image(sci, far)) == 0.0


def test_fewer_exposures_on_one_half_lose_nothing(as_image, psf):
    def change(hdus):
        hdus["WHT"].data[:, :80] *= np.float32(0.5)
        hdus["CTX"].data[:, :80] = 1

    assert lost(as_image(star(psf), change)) == 0.0


def test_off_the_image_and_without_data_there_is_no_light(as_image, psf):
    sci = star(psf)
    sci[60:100, 60:100] = np.nan
    image = as_image(sci)
    x, y = np.array([X, -50.0, np.nan]), np.array([Y, 900.0, 3.0])
    assert rejection.rejected_rates(image, x, y, np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_errors_and_flags_say_so(as_image, psf):
    sci, settings = star(psf), MeasureSettings()
    rows = [
        measure.run(as_image(sci, change), Targets([X], [Y]), settings).table[0]
        for change in (None, lose(0.5))
    ]
    whole, part = rows
    assert whole["countrate_rejected"] == 0.0
    assert not whole["flags"] & Flag.CORE_REJECTED
    assert part["flags"] & Flag.CORE_REJECTED
    for radius in settings.radii_px:
        name = f"countrate_err_{radius:g}"
        expected = np.hypot(whole[name], part["countrate_rejected"])
        assert part[name] == pytest.approx(expected, rel=0.02)
    assert part["countrate_4"] == pytest.approx(whole["countrate_4"], rel=1e-6)


def test_the_documented_limits():
    assert flagging.REJECTED_SHARE == 0.03  # docs/method.md, as the following
    assert (rejection.CORE_PX, rejection.LOW_SHARE) == (3.0, 0.85)
    assert star_rows.LOST_SHARE == 0.5
    assert classes.FLAT_SHARE == 0.5


def test_a_core_that_dithers_have_flattened_is_saturated(as_image, psf):
    """A star clipped at 0.75 of the full well, and a whole one that reaches as far."""
    sci = np.random.default_rng(6).normal(0.05, NOISE, (400, 400))
    full = as_image(sci).meta.saturation_rate
    places = [(40.0 + 64 * i + 0.1 * (i % 5), 40.0 + 64 * j) for i in range(6) for j in range(6)]
    for k, (x, y) in enumerate(places):
        light = psf(sci.shape, x, y, fwhm_px=2.1, alpha=2.5)
        if k == 14:
            sci += np.minimum(2.0 * full * light / light.max(), 0.75 * full)
        elif k == 21:
            sci += 0.75 * full * light / light.max()
        else:
            sci += 50.0 * light
    x, y = (np.array(v) for v in zip(*places, strict=True))
    table = measure.run(as_image(sci), Targets(x, y)).table
    is_saturated = np.asarray(table["flags"]) & int(Flag.SATURATED) > 0
    assert np.flatnonzero(is_saturated).tolist() == [14]
