"""The list of objects: what a user's positions become."""

import numpy as np
import pytest

from bycatch.stages.objects.listing import (
    BLENDED_SHARE,
    COLOUR_SHARE,
    LEAST_AXIS_ARCSEC,
    ellipses_of,
    list_of,
)
from bycatch.stages.objects.model import ImageDetections
from bycatch.stages.objects.stamps import SkyEllipses

ARCSEC = 1.0 / 3600.0
CENTRE = 150.0, 2.0


def around(*arcsec):
    """Return positions east of the centre, (N, 2) degrees."""
    return np.column_stack([CENTRE[0] + np.array(arcsec) * ARCSEC, np.full(len(arcsec), CENTRE[1])])


def listed(combined, user):
    combined = np.column_stack([around(*combined), np.full(len(combined), 5.0)])
    return list_of([], [], combined, around(*user))


def test_position_at_an_object_is_that_object_wherever_it_stands_in_the_list():
    objects = listed([0.0], [2.0, 0.01])  # the nearest object of the first is the same
    assert len(objects) == 2
    assert objects.list_row.tolist() == [2, 1]


def test_nearer_of_two_positions_is_the_object_and_the_other_one_of_its_own():
    objects = listed([0.0], [0.1, 0.02])
    assert objects.list_row.tolist() == [2, 1]


def test_position_far_from_objects_is_one_of_its_own():
    assert listed([0.0], [0.3]).list_row.tolist() == [0, 1]


def seen(label, snr, semimajor_arcsec, is_blended):
    """Return what an image shows of two galaxies 10 arcsec apart."""
    ra, dec = around(0.0, 10.0).T
    two = np.ones(2)
    return ImageDetections(
        label, "F606W", 60000.0, ra, dec, 5.0 * two, 1.0, snr * two, 0.3 * two,
        np.zeros(2, bool), np.arange(1, 3),
        SkyEllipses(np.array(semimajor_arcsec), 0.5 * np.array(semimajor_arcsec), 30.0 * two),
        np.array(is_blended),
    )  # fmt: skip


@pytest.mark.parametrize("blended", [0, 1])
def test_ellipse_of_a_colour_is_smaller_where_any_image_has_others_in_the_total(blended):
    images = [
        seen("v/F606W/a", 50.0, [2.0, 1.0], [blended == 0, False]),
        seen("v/F814W/b", 20.0, [3.0, 1.5], [blended == 1, False]),
    ]
    objects = list_of(images, [lambda ra, _: np.ones(len(ra), bool)] * 2)
    assert len(objects) == 2
    ellipses = ellipses_of(objects, images)
    order = np.argsort(objects.ra_deg)
    semimajor = ellipses.semimajor_arcsec[order]
    np.testing.assert_allclose(semimajor, [2.0 * BLENDED_SHARE, 1.0 * COLOUR_SHARE])
    np.testing.assert_allclose(ellipses.semiminor_arcsec[order], 0.5 * semimajor)


def test_ellipses_of_colours_have_a_least_size():
    image = seen("v/F606W/a", 50.0, [0.4, 0.4], [True, False])
    objects = list_of([image], [lambda ra, _: np.ones(len(ra), bool)])
    ellipses = ellipses_of(objects, [image])
    order = np.argsort(objects.ra_deg)
    np.testing.assert_allclose(ellipses.semimajor_arcsec[order], [LEAST_AXIS_ARCSEC, 0.24])
    np.testing.assert_allclose(ellipses.semiminor_arcsec[order], LEAST_AXIS_ARCSEC)
