"""Detections of several images become objects: false joins and splits counted against truth."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from bycatch.stages.objects import association
from bycatch.stages.objects.association import Detections, associate


def points(xy, err=0.01, frame=0.0, weight=None):
    xy = np.reshape(np.asarray(xy, float), (-1, 2))
    n = len(xy)
    weight = np.ones(n) if weight is None else weight
    return Detections(xy[:, 0], xy[:, 1], np.broadcast_to(err, n).astype(float), frame, weight)


def simulated(seed, n=2000, m=5, per_arcmin2=1000, spurious=0.1, wide=0.0):
    """Return images of a field, and the number of the source of each row (below 0: none).

    No two sources are nearer than 0.12 arcsec; each image shows 85 % of them.
    """
    rng = np.random.default_rng(seed)
    side = 60 * np.sqrt(n / per_arcmin2)
    xy = rng.uniform(0, side, (n, 2))
    mask = np.ones(n, bool)
    mask[cKDTree(xy).query_pairs(0.12, output_type="ndarray")[:, 1]] = False
    xy = xy[mask]
    size = np.where(rng.random(len(xy)) < 0.5, rng.uniform(0, 0.6, len(xy)), 0)
    typical = 5 * 10 ** rng.exponential(0.4, len(xy))
    images, truth = [], []
    for k in range(m):
        values = np.flatnonzero(rng.random(len(xy)) < 0.85)
        sn = typical[values] * rng.uniform(0.7, 1.4, values.size)
        err = np.maximum(0.06 / sn, 0.002)
        real = err * np.where(rng.random(values.size) < wide, 3, 1)
        scatter = np.hypot(real, 0.05 * size[values])[:, None]
        at = xy[values] + rng.normal(size=(values.size, 2)) * scatter + rng.normal(0, 0.004, 2)
        n_false = int(spurious * n)
        at = np.concatenate([at, rng.uniform(0, side, (n_false, 2))])
        images.append(
            Detections(
                at[:, 0], at[:, 1], np.append(err, np.full(n_false, 0.012)), 0.004,
                np.append(sn, np.full(n_false, 5.0)), np.append(size[values], np.zeros(n_false)),
            )
        )  # fmt: skip
        truth.append(np.append(values, -1 - np.arange(n_false) - 10**6 * k))
    return images, truth


def rates(found, truth):
    """Return the shares of sources that are several objects, and of objects with two sources."""
    of, source = np.concatenate(found.object_of), np.concatenate(truth)
    pairs = np.unique(np.stack([source, of]), axis=1)
    _, n_rows = np.unique(source[source >= 0], return_counts=True)
    _, n_objects = np.unique(pairs[0, pairs[0] >= 0], return_counts=True)
    _, n_sources = np.unique(pairs[1, pairs[0] >= 0], return_counts=True)
    return (n_objects > 1).sum() / (n_rows > 1).sum(), (n_sources > 1).mean()


@pytest.mark.parametrize(
    ("case", "most_split"),
    [
        ({}, 0.002),
        ({"per_arcmin2": 100}, 0.002),
        ({"m": 3}, 0.004),
        ({"m": 10, "n": 1000}, 0.002),
        ({"wide": 0.05}, 0.007),
        ({"per_arcmin2": 4000}, 0.005),
    ],
)
def test_sources_are_one_object_and_objects_one_source(case, most_split):
    images, truth = simulated(5, **case)
    split, joined = rates(associate(images), truth)
    assert split <= most_split
    assert joined <= 0.001


def test_positions_are_means_with_their_errors():
    images, _ = simulated(7, spurious=0.0)
    association = associate(images)
    assert np.nanmean(association.chi2_dof) == pytest.approx(1.0, abs=0.1)
    one = associate([points([[0, 0]], 0.03), points([[0.02, 0.01]], 0.01, frame=0.01)])
    assert one.n_images.tolist() == [2]
    w = 1 / np.array([0.03**2, 0.01**2 + 0.01**2])
    assert one.x_arcsec[0] == pytest.approx(0.02 * w[1] / w.sum())
    assert one.err_arcsec[0] == pytest.approx(1 / np.sqrt(w.sum()))
    apart = 0.02**2 + 0.01**2
    assert one.chi2_dof[0] == pytest.approx(apart / (0.03**2 + 2 * 0.01**2) / 2)


def test_nothing_and_one_image():
    assert associate([]).n_images.size == 0
    empty = associate([points([]), points([])])
    assert empty.detection.shape == (0, 2)
    one = associate([points([[0, 0], [0.001, 0], [3, 3]])])
    assert one.n_images.tolist() == [1, 1, 1]
    assert np.isnan(one.chi2_dof).all()
    assert one.detection.tolist() == [[0], [1], [2]]


def test_an_object_has_one_detection_of_an_image():
    twice = associate(
        [points([[0, 0], [0.001, 0]], weight=[5.0, 50.0]), points([[0.0005, 0]], 0.001)]
    )
    assert sorted(twice.n_images) == [1, 2]
    # As likely, the brighter piece is the object.
    assert twice.object_of[0][1] == twice.object_of[1][0]


def test_errors_and_positions_that_are_unknown():
    first = points([[0, 0], [np.nan, 1], [5, 5]], err=[np.nan, 0.01, 0.02])
    second = points([[0.01, 0], [5, np.inf]], err=np.nan)
    association = associate([first, second])
    assert association.object_of[0].tolist() == [0, -1, 1]
    assert association.object_of[1].tolist() == [0, -1]


def test_a_common_shift_within_the_error_of_the_frame():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 60, (50, 2))
    assert associate([points(xy, 0.005), points(xy + 0.1, 0.005)]).n_images.max() == 1
    assert associate([points(xy, 0.005), points(xy + 0.1, 0.005, 0.08)]).n_images.min() == 2


def test_a_crowd_ends():
    rng = np.random.default_rng(0)
    crowd = rng.uniform(0, 1, (20, 2))
    images = [points(crowd + rng.normal(0, 0.01, (20, 2)), 0.01) for _ in range(10)]
    association = associate(images)
    assert association.n_images.tolist() == [10] * 20


def test_a_source_in_many_images_is_not_two_halves():
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 30, (200, 2))
    images = [points(at + rng.normal(0, 0.01, at.shape), 0.01) for _ in range(40)]
    assert associate(images).n_images.tolist() == [40] * 200


def test_a_large_group_takes_seconds():
    images, _ = simulated(1, n=3000, m=10)
    associate(images)
    begin = time.process_time()
    associate(images)
    assert time.process_time() - begin < 1.5


PLACES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 4), st.integers(0, 3)), max_size=25, unique=True
)


@settings(deadline=None, max_examples=60)
@given(PLACES, st.randoms(use_true_random=False))
def test_the_order_of_images_and_rows_has_no_say(places, random):
    """Rows within some 0.03 arcsec of one another, in four images."""
    rng = np.random.default_rng(len(places))
    xy = np.array([[x * 0.03, y * 0.03] for x, y, _ in places]).reshape(-1, 2)
    xy += rng.uniform(-0.005, 0.005, xy.shape)
    image = np.array([m for *_, m in places], int)
    rows = [np.flatnonzero(image == m) for m in range(4)]
    plain = associate([points(xy[r]) for r in rows])
    mixed = [random.sample(list(r), len(r)) for r in rows]
    order = random.sample(range(4), 4)
    other = associate([points(xy[np.array(mixed[m], int)]) for m in order])
    expected = np.full(len(places), -1)
    for r, numbers in zip(rows, plain.object_of, strict=True):
        expected[r] = numbers
    for m, numbers in zip(order, other.object_of, strict=True):
        assert numbers.tolist() == expected[np.array(mixed[m], int)].tolist()
    assert other.x_arcsec.tobytes() == plain.x_arcsec.tobytes()
    assert other.chi2_dof.tobytes() == plain.chi2_dof.tobytes()


def test_what_no_image_resolves_is_one():
    """The centre of a blend jumps by more than its error; what one image shows apart is two."""
    blend = [
        points([0, 0], err=0.005),
        points([0.06, 0.06], err=0.005),
        points([0.01, 0], err=0.005),
    ]
    assert len(associate(blend).x_arcsec) == 1
    apart = [points([[0, 0], [0.09, 0]], err=0.005), points([0.045, 0.0], err=0.005)]
    assert len(associate(apart).x_arcsec) == 2
    far = [points([0, 0], err=0.005), points([0.15, 0], err=0.005)]
    assert len(associate(far).x_arcsec) == 2
    sources = [replace(one, size_arcsec=np.array([0.4])) for one in far]
    assert len(associate(sources).x_arcsec) == 1


def test_the_reach_of_what_is_not_resolved():
    assert association.UNRESOLVED_ARCSEC == 0.1  # docs/objects.md
    assert association.MOST_UNRESOLVED_ARCSEC == 0.3


def test_numbers_that_the_documentation_states():
    assert association.MOST_SIGMA == 7.0
    assert association.REACH_ARCSEC == 0.5
