"""Shapes of sources on the sky: position angles, forced positions, what the kernel is given."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bycatch.stages.measure import shapes


def tangent(cd, crval=(150.0, 62.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = crval, [60.0, 40.0], cd
    wcs.wcs.set()
    return wcs


def rotation(angle, scale=0.05 / 3600):
    """Return CD of a north-up image (east to the left) turned by an angle."""
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return scale * np.array([[-cos, sin], [sin, cos]])


def gaussian(shape, x, y, a, b, theta):
    rows, columns = np.indices(shape)
    along = (columns - x) * np.cos(theta) + (rows - y) * np.sin(theta)
    across = (rows - y) * np.cos(theta) - (columns - x) * np.sin(theta)
    return np.exp(-0.5 * ((along / a) ** 2 + (across / b) ** 2))


@pytest.mark.parametrize(("theta", "expected"), [(90, 0), (0, 90), (45, 135), (-45, 45)])
def test_north_up(theta, expected):
    angles = shapes.position_angles_deg([59.0], [39.0], [np.radians(theta)], tangent(rotation(0)))
    assert (angles[0] - expected + 90) % 180 - 90 == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("dec", [-89.9, 0.0, 62.0, 89.99])
@pytest.mark.parametrize("roll", [0.0, 33.0, 181.5])
def test_angles_are_those_of_astropy(dec, roll):
    wcs = tangent(rotation(roll), (359.999, dec))
    rng = np.random.default_rng(4)
    x, y, theta = rng.uniform(0, 120, 20), rng.uniform(0, 80, 20), rng.uniform(-1.5, 1.5, 20)
    here = SkyCoord(*wcs.all_pix2world(x, y, 0), unit="deg")
    there = SkyCoord(*wcs.all_pix2world(x + np.cos(theta), y + np.sin(theta), 0), unit="deg")
    expected = here.position_angle(there).deg
    turn = shapes.position_angles_deg(x, y, theta, wcs) - expected
    np.testing.assert_allclose((turn + 90) % 180 - 90, 0, atol=1e-4)


def test_an_angle_is_missing_only_where_something_is():
    wcs = tangent(rotation(10))
    angles = shapes.position_angles_deg(
        [1.0, np.nan, 3.0], [1.0, 2.0, 3.0], [0.1, 0.1, np.nan], wcs
    )
    np.testing.assert_array_equal(np.isnan(angles), [False, True, True])
    assert len(shapes.position_angles_deg([], [], [], wcs)) == 0


def test_a_galaxy_on_an_image(as_image):
    sci = 0.2 + 3.0 * gaussian((90, 120), 60.4, 41.7, 4.0, 2.0, np.radians(30))
    image = as_image(sci)
    segments = (sci > 0.3).astype(np.int32)
    labels = shapes.measure_shapes(
        image, [60.4], [41.7], [0.2], segmentation=segments, labels=[1], wcs=tangent(rotation(0))
    )
    # The segment holds the part above 1/30 of the peak; its ragged edge turns the axis a little.
    assert 0.8 * 4 < labels.semimajor_px[0] < 4
    assert 0.8 * 2 < labels.semiminor_px[0] < 2
    assert labels.theta_deg[0] == pytest.approx(30, abs=0.5)
    assert labels.pa_deg[0] == pytest.approx(120, abs=0.5)
    assert labels.kron_rate[0] == pytest.approx(3.0 * 2 * np.pi * 8, rel=0.02)
    assert not labels.windowed[0]
    forced = shapes.measure_shapes(image, [60.4], [41.7], [0.2])
    assert forced.windowed[0]
    assert forced.semimajor_px[0] == pytest.approx(4, rel=1e-3)
    assert forced.semiminor_px[0] == pytest.approx(2, rel=1e-3)
    assert np.isfinite(forced.pa_deg[0])


def test_positions_without_data(as_image):
    sci = np.ones((40, 50))
    sci[:, 30:] = np.nan
    result = shapes.measure_shapes(as_image(sci), [40.0, -9.0, np.nan], [20.0, 5.0, 5.0], [0.0] * 3)
    for values in (result.semimajor_px, result.kron_rate, result.half_light_px, result.pa_deg):
        assert np.isnan(values).all()


def test_inputs_stay_as_they_are(as_image):
    image = as_image(gaussian((40, 50), 20, 20, 2, 2, 0))
    segments, labels, x = np.ones((40, 50), np.int32), np.array([5]), np.array([20.0])
    shapes.measure_shapes(image, x, [20.0], [0.0], segmentation=segments, labels=labels)
    assert labels[0] == 5
    assert (segments == 1).all()
    assert x[0] == 20.0
