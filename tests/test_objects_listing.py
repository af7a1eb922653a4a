"""The list of objects: what a user's positions become."""

import numpy as np

from bycatch.stages.objects.listing import list_of

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
