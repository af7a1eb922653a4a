"""The sky of annuli: wings of neighbours must not make it higher than it is in the middle."""

import numpy as np
import pytest

from bycatch.settings import MeasureSettings
from bycatch.stages.measure.annuli import Annuli, Sources, sky_of_sources

SETTINGS, LEVEL = MeasureSettings(), 0.02
SHAPE = 121, 121


def sources(*rows):
    return Sources(*(np.array(v, float) for v in zip(*rows, strict=True)))


def sky_without_wings(image, stars, scatter=1e-6):
    annuli = Annuli.of(image, SETTINGS)
    bare = annuli.without_wings(stars, np.full(len(stars.x), scatter))
    return sky_of_sources(bare, stars, annuli.stats(*stars[:2]))


def image_of(as_image, stars):
    """Return an image of a level and stars with the wings of the published curve, and no core."""
    empty = as_image(np.full(SHAPE, LEVEL))
    annuli = Annuli.of(empty, SETTINGS)
    dark = annuli.without_wings(stars, np.full(len(stars.x), 1e-9))
    return as_image(2.0 * LEVEL - dark.residual)


def test_wings_beside_a_place_do_not_raise_its_sky(as_image):
    around = [(60 + 20 * c, 60 + 20 * s, 100.0) for c, s in ((1, 0), (-0.5, 0.87), (-0.5, -0.87))]
    stars = sources((60.0, 60.0, 0.0), *around)
    image = image_of(as_image, stars)
    here = image.sci[60, 60]
    annuli = Annuli.of(image, SETTINGS)
    assert annuli.stats(*stars[:2]).median[0] - here > 0.05 * (here - LEVEL)
    sky = sky_without_wings(image, stars)
    assert sky.sky.median[0] == pytest.approx(here, rel=1e-4)
    # Fits of the PSF know nothing of light from so far.
    assert sky.star_level[0] == pytest.approx(here, rel=1e-4)


def test_fits_of_the_psf_take_the_light_of_near_neighbours_themselves(as_image):
    stars = sources((60.0, 60.0, 0.0), (68.0, 60.0, 100.0))
    image = image_of(as_image, stars)
    sky = sky_without_wings(image, stars)
    assert sky.sky.median[0] == pytest.approx(image.sci[60, 60], rel=1e-4)
    assert sky.star_level[0] == pytest.approx(LEVEL, rel=0.01)


def test_own_wings_stay_in_the_annulus_as_the_aperture_correction_expects(as_image):
    stars = sources((60.0, 60.0, 200.0))
    image = image_of(as_image, stars)
    sky = sky_without_wings(image, stars).sky
    plain = Annuli.of(image, SETTINGS).stats(*stars[:2]).median[0]
    assert plain > 1.4 * LEVEL
    assert sky.median[0] - LEVEL == pytest.approx(plain - LEVEL, rel=0.05)


def test_places_off_the_image_have_no_wings(as_image):
    stars = sources((60.0, 60.0, 200.0))
    annuli = Annuli.of(image_of(as_image, stars), SETTINGS)
    assert annuli.wings_at(np.array([60.0]), np.array([60.0])).tolist() == [0.0]
    bare = annuli.without_wings(stars, np.full(1, np.nan))
    assert bare.wings_at(np.array([np.nan, 500.0]), np.array([3.0, 3.0])).tolist() == [0.0, 0.0]
