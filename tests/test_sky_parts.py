"""Rows that are parts of nebulosity or of a trail: by their number, never one alone."""

import numpy as np
import pytest

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.sky_parts import (
    LEAST_NEBULOUS,
    MERGED_SHARE,
    NEBULOUS_SHARE,
    is_nebulous,
    parts_of_sky,
)

KNOT = int(Flag.NEBULOUS | Flag.EXTENDED)
POINT = int(Flag.SINGLE_EXPOSURE)


@pytest.mark.parametrize("n_knots", [LEAST_NEBULOUS - 1, LEAST_NEBULOUS])
def test_few_knots_make_no_nebula(n_knots):
    flags = np.array([KNOT] * n_knots + [POINT] * 5)
    assert parts_of_sky(flags).sum() == (n_knots if n_knots == LEAST_NEBULOUS else 0)


def test_a_small_share_makes_no_nebula():
    n = int(LEAST_NEBULOUS / NEBULOUS_SHARE) * 2
    flags = np.array([KNOT] * LEAST_NEBULOUS + [POINT] * (n - LEAST_NEBULOUS))
    assert not parts_of_sky(flags).any()


def test_likely_cosmic_rays_do_not_count_but_fall_with_the_rest():
    ray = KNOT | int(Flag.LIKELY_COSMIC_RAY)
    assert not parts_of_sky(np.array([ray] * 100 + [KNOT] * (LEAST_NEBULOUS - 1))).any()
    assert parts_of_sky(np.array([ray] * 100 + [KNOT] * LEAST_NEBULOUS)).all()


def test_points_stay_and_rows_on_large_objects_fall_in_a_nebula_alone():
    large = int(Flag.IN_LARGE_OBJECT | Flag.EXTENDED)
    star = int(Flag.IN_LARGE_OBJECT)
    flags = np.array([KNOT] * 20 + [large, star, POINT])
    assert parts_of_sky(flags)[20:].tolist() == [True, False, False]
    assert not parts_of_sky(np.array([large, star, POINT])).any()


def test_merged_stars_are_no_nebula():
    """As in the core of 47 Tuc at the preset classic."""
    assert is_nebulous(50, 0, 100)
    assert not is_nebulous(50, int(100 * MERGED_SHARE), 100)
    assert not parts_of_sky(np.array([KNOT | int(Flag.UNLISTED_PEAK)] * 50)).any()


def test_pieces_of_a_trail_fall_alone():
    flags = np.array([int(Flag.TRAIL | Flag.EXTENDED), int(Flag.TRAIL), int(Flag.EXTENDED)])
    assert parts_of_sky(flags).tolist() == [True, False, False]


def test_pieces_of_spikes_fall_whatever_their_shape():
    piece = int(Flag.SPIKE | Flag.SPIKE_PIECE)
    flags = np.array([piece, piece | int(Flag.EXTENDED), int(Flag.SPIKE | Flag.EXTENDED)])
    assert parts_of_sky(flags).tolist() == [True, True, False]


def test_no_rows_have_no_parts():
    assert parts_of_sky(np.empty(0, np.int64)).shape == (0,)
