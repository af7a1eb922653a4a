"""Identifiers of objects: places at first, then kept."""

import numpy as np
import pytest
from astropy import units
from astropy_healpix import HEALPix

from bycatch.stages.objects.identity import ORDER, healpix_ids, identify

MAS = 1 / 3.6e6


@pytest.fixture
def places():
    rng = np.random.default_rng(3)
    return 10.0 + rng.uniform(0, 0.05, 1000), -30.0 + rng.uniform(0, 0.05, 1000)


def test_an_identifier_is_the_cell_of_the_place(places):
    ids = healpix_ids(*places)
    assert ids.dtype == np.int64
    assert len(set(ids.tolist())) == 1000
    ra, dec = HEALPix(2**ORDER, "nested").healpix_to_lonlat(ids)
    away = np.hypot((ra.to_value(units.deg) - places[0]) * np.cos(np.radians(-30)),
                    dec.to_value(units.deg) - places[1])  # fmt: skip
    assert away.max() < MAS


def test_objects_that_moved_a_little_keep_theirs(places):
    rng = np.random.default_rng(4)
    before = identify(*places)
    ra, dec = (v + rng.normal(0, 3 * MAS, 1000) for v in places)
    order = rng.permutation(1000)
    extra = [10.02 + rng.uniform(0, 0.02, 50), -29.9 + rng.uniform(0, 0.02, 50)]
    after = identify(
        np.concatenate([ra[order], extra[0]]), np.concatenate([dec[order], extra[1]]),
        before.object_id, *places,
    )  # fmt: skip
    np.testing.assert_array_equal(after.object_id[:1000], before.object_id[order])
    assert not set(after.object_id[1000:].tolist()) & set(before.object_id.tolist())
    assert not after.merged
    assert not after.split


def test_merges_and_splits_are_recorded():
    ra, dec = np.array([10.0, 10.0 + 40 * MAS]), np.array([0.0, 0.0])
    two, one = identify(ra, dec), identify(ra[:1] + 5 * MAS, dec[:1])
    joined = identify(ra[:1] + 5 * MAS, dec[:1], two.object_id, ra, dec)
    assert joined.object_id.tolist() == [two.object_id[0]]
    assert joined.merged == {int(two.object_id[1]): int(two.object_id[0])}
    parted = identify(ra, dec, one.object_id, ra[:1] + 5 * MAS, dec[:1])
    assert parted.object_id[0] == one.object_id[0]
    assert parted.split == {int(parted.object_id[1]): int(one.object_id[0])}


def test_two_at_one_place_have_two_identifiers():
    identity = identify(np.full(3, 5.0), np.full(3, 5.0))
    assert len(set(identity.object_id.tolist())) == 3


def test_nothing_is_called_nothing():
    empty = np.empty(0)
    assert identify(empty, empty).object_id.shape == (0,)
    assert identify(
        np.array([1.0]), np.array([2.0]), empty.astype(int), empty, empty
    ).object_id.shape == (1,)
