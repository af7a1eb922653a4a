"""Pairing one to one and across an offset, against brute force and known truth."""

import math

import numpy as np
import pytest

from bycatch.kernels.matching import Brightness, closest_first, match_one_to_one, pairs_within
from bycatch.kernels.offset_search import (
    _ballots,
    expected_chance_peaks,
    extent_of,
    find_offset,
    move,
)

MAX_ROLL = math.radians(0.3)


def slow_pairs(a, b, radius, brightness=None):
    """Return (i, j, separation) of all pairs, one at a time."""
    pairs = []
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            near = np.isfinite([p, q]).all() and math.hypot(*(p - q)) <= radius
            if near and (
                brightness is None
                or not abs(brightness.a[i] - brightness.b[j]) > brightness.limit_mag
            ):
                pairs.append((i, j, math.hypot(*(p - q))))
    return pairs


def greedy_twin(a, b, radius, brightness=None):
    """The slow, readable twin: closest pair first, one pair at a time."""
    pairs = sorted((s, i, j) for i, j, s in slow_pairs(a, b, radius, brightness))
    free_a, free_b, result = set(range(len(a))), set(range(len(b))), []
    for _, i, j in pairs:
        if i in free_a and j in free_b:
            free_a.remove(i)
            free_b.remove(j)
            result.append((i, j))
    return sorted(result)


def pairs_of(a, b, radius, brightness=None):
    ia, ib = match_one_to_one(np.asarray(a, float), np.asarray(b, float), radius, brightness)
    return list(zip(ia.tolist(), ib.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_one_to_one_agrees_with_its_slow_twin(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 10, (60, 2)), rng.uniform(0, 10, (80, 2))
    b[:10] = a[:10]
    a[3] = np.nan
    b[5, 1] = np.inf
    for radius in (0.0, 0.3, 1.0, 20.0):
        assert pairs_of(a, b, radius) == greedy_twin(a, b, radius)


def grid_lists(seed, with_magnitudes):
    """Two lists of whole numbers, many of them at equal separations; some are no positions."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 8, (n, 2)).astype(float) for n in rng.integers(0, 40, 2))
    a[2:3], b[1:2, 0] = np.nan, np.inf
    if not with_magnitudes:
        return a, b, None
    mags = [rng.uniform(18, 24, len(v)) for v in (a, b)]
    mags[0][::4] = mags[1][::5] = np.nan
    return a, b, Brightness(*mags, 1.5)


@pytest.mark.parametrize("with_magnitudes", [False, True])
@pytest.mark.parametrize("radius", [0.0, 1.0, 1.5, 4.0, -1.0])
def test_equal_separations_go_to_the_lower_indices(radius, with_magnitudes):
    n_pairs = 0
    for seed in range(12):
        a, b, brightness = grid_lists(seed, with_magnitudes)
        expected = greedy_twin(a, b, radius, brightness)
        assert pairs_of(a, b, radius, brightness) == expected
        n_pairs += len(expected)
    assert n_pairs > 15 or radius < 0


@pytest.mark.parametrize("with_magnitudes", [False, True])
@pytest.mark.parametrize("radius", [0.0, 1.0, 1.5, 4.0, -1.0, 100.0])
def test_pairs_within_a_radius_are_those_of_a_double_loop(radius, with_magnitudes):
    n_pairs = 0
    for seed in range(12):
        a, b, brightness = grid_lists(seed, with_magnitudes)
        ia, ib, separation = pairs_within(a, b, radius, brightness)
        pairs = slow_pairs(a, b, radius, brightness)
        assert list(zip(ia.tolist(), ib.tolist(), strict=True)) == [p[:2] for p in pairs]
        np.testing.assert_allclose(separation, [p[2] for p in pairs], rtol=0, atol=1e-12)
        n_pairs += len(pairs)
    assert n_pairs > 50 or radius < 0


def vectorised_closest_first(ia, ib, separation):
    """The greedy pairing in steps of many pairs: the closest left for both members is final."""
    order = np.lexsort((ib, ia, separation))
    ia, ib, result = ia[order], ib[order], np.zeros((0, 2), int)
    while ia.size:
        first = np.zeros(ia.size, int)
        for index in (ia, ib):
            first[np.unique(index, return_index=True)[1]] += 1
        final = first == 2
        result = np.vstack([result, np.transpose([ia[final], ib[final]])])
        left = ~(np.isin(ia, ia[final]) | np.isin(ib, ib[final]))
        ia, ib = ia[left], ib[left]
    return result[np.argsort(result[:, 0])].T


@pytest.mark.parametrize("n_pairs", [0, 1, 2, 30, 500, 5000])
@pytest.mark.parametrize("n_separations", [1, 7, 1000])
def test_closest_first_is_that_of_many_pairs_at_once(n_pairs, n_separations):
    rng = np.random.default_rng([n_pairs, n_separations])
    n_members = max(n_pairs // 4, 1)
    every = np.unique(rng.integers(0, n_members, (n_pairs, 2)), axis=0)
    ia, ib = rng.permutation(every).T
    separation = rng.integers(0, n_separations, len(ia)).astype(float)
    result, expected = (
        take(ia, ib, separation) for take in (closest_first, vectorised_closest_first)
    )
    np.testing.assert_array_equal(result, expected)
    assert result[0].dtype == result[1].dtype == np.int64


def test_one_to_one_uses_nothing_twice():
    assert pairs_of([[0, 0], [0.2, 0]], [[0.1, 0]], 1.0) == [(0, 0)]
    # The nearest of a[0] is taken by a[1], so it gets the next one.
    assert pairs_of([[0, 0], [0.9, 0]], [[1.0, 0], [-1.2, 0]], 2.0) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("n_a", "n_b"), [(0, 0), (0, 3), (3, 0)])
def test_one_to_one_of_nothing_is_nothing(n_a, n_b):
    ia, ib = match_one_to_one(np.zeros((n_a, 2)), np.zeros((n_b, 2)), 1.0)
    assert ia.size == ib.size == 0
    assert ia.dtype.kind == ib.dtype.kind == "i"


def shifted_lists(seed, n_true, n_a, n_b, half=101.0, noise=0.01, max_shift=2.1):
    """Two lists with n_true positions in common, up to a known offset and roll."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-half, half, (n_a, 2))
    b = rng.uniform(-half, half, (n_b, 2))
    dx, dy = rng.uniform(-max_shift, max_shift, 2)
    roll = rng.uniform(-MAX_ROLL, MAX_ROLL)
    b[:n_true] = move(a[:n_true], dx, dy, roll) + rng.normal(0, noise, (n_true, 2))
    return a, b[rng.permutation(n_b)], (dx, dy, roll)


def search(a, b, half=101.0):
    return find_offset(
        a, b, max_shift=3.0, max_roll_rad=MAX_ROLL, tolerance=0.1, area=(2 * half) ** 2
    )


def test_ballots_are_a_histogram_of_the_shifts():
    rng = np.random.default_rng(2)
    a, b = rng.uniform(-9, 9, (2, 400, 2))
    weights, rolls = rng.uniform(0.2, 1, 400), np.linspace(-0.1, 0.1, 5)
    for n_bins in (1, 2, 41):
        ballots = _ballots(a, b, weights, rolls, 0.3, n_bins)
        edges = (np.arange(n_bins + 1) - n_bins / 2) * 0.3
        for roll, votes in zip(rolls, ballots, strict=True):
            shifts = b - move(a, 0, 0, roll)
            expected = np.histogram2d(*shifts.T, bins=[edges, edges], weights=weights)[0]
            # Summed in float32.
            np.testing.assert_allclose(votes, expected, rtol=0, atol=1e-5)
            assert n_bins < 41 or 0.3 < expected.sum() / weights.sum() < 0.9


def most_pairs(a, b, max_shift, max_roll_rad, tolerance):
    """Return the most one-to-one pairs of any offset that brings some pair together exactly."""
    best = 0
    n_side = math.ceil(2 * max_roll_rad * np.hypot(*a.T).max() / tolerance)
    for roll in np.linspace(-max_roll_rad, max_roll_rad, 2 * n_side + 1):
        moved = move(a, 0, 0, roll)
        for shift in (b[:, None] - moved).reshape(-1, 2):
            if math.hypot(*shift) <= max_shift:
                best = max(best, len(greedy_twin(moved + shift, b, tolerance)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_offset_has_as_many_pairs_as_an_exhaustive_search_finds(seed):
    a, b, _ = shifted_lists(seed, 4, 7, 14, half=20.0)
    result = search(a, b, half=20.0)
    assert result.n_pairs == most_pairs(a, b, 3.0, MAX_ROLL, 0.1) >= 4


@pytest.mark.parametrize(
    ("n_true", "n_a", "n_b"), [(3, 3, 300), (4, 10, 300), (8, 12, 300), (10, 15, 5000)]
)
def test_offset_is_found_with_few_true_pairs_among_many(n_true, n_a, n_b):
    for seed in range(10):
        a, b, (dx, dy, roll) = shifted_lists(seed, n_true, n_a, n_b)
        result = search(a, b)
        # A noise of 0.01 per axis on three or more pairs moves the middle by less than 0.05,
        # and the roll by less than that over the shortest base of these lists.
        assert math.hypot(result.dx - dx, result.dy - dy) < 0.1
        assert abs(result.roll_rad - roll) < 2e-3
        assert result.n_pairs >= n_true
        assert result.chance < 1e-3


def test_offset_without_noise_is_exact():
    a, b, (dx, dy, roll) = shifted_lists(3, 20, 20, 200, noise=0.0)
    result = search(a, b)
    assert (result.dx, result.dy, result.roll_rad) == pytest.approx((dx, dy, roll), abs=1e-9)
    assert result.n_pairs == 20


def test_offset_is_found_in_a_crowd():
    a, b, (dx, dy, roll) = shifted_lists(1, 1500, 2000, 2000)
    result = search(a, b)
    assert (result.dx, result.dy) == pytest.approx((dx, dy), abs=2e-3)
    assert result.roll_rad == pytest.approx(roll, abs=2e-5)
    assert result.chance < 1e-100


def test_offset_at_the_corner_of_the_range_is_found():
    a, _, _ = shifted_lists(5, 0, 10, 10)
    for sx, sy, sr in [(1, 1, 1), (1, -1, -1), (-1, 1, 1), (-1, -1, -1)]:
        truth = (sx * 2.12, sy * 2.12, sr * MAX_ROLL)
        result = search(a, move(a, *truth))
        assert (result.dx, result.dy, result.roll_rad) == pytest.approx(truth, abs=1e-9)


def test_offset_beyond_the_range_is_not_returned():
    a, _, _ = shifted_lists(5, 0, 10, 10)
    result = search(a, move(a, 3.5, 0.0, 0.0))
    assert result.n_pairs < 3


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 100), (10, 300), (40, 1000)])
def test_unrelated_lists_are_not_significant(n_a, n_b):
    chances = [search(*shifted_lists(seed, 0, n_a, n_b)[:2]).chance for seed in range(40)]
    # An honest expectation: values below 0.1 in at most about a tenth of the trials.
    assert np.sum(np.array(chances) < 0.1) <= 8
    assert min(chances) > 1e-4


def test_pieces_of_one_source_do_not_outvote_the_stars():
    rng = np.random.default_rng(2)
    a, b, (dx, dy, _) = shifted_lists(2, 5, 5, 100)
    # A star in twelve pieces, all at nearly one wrong offset from one reference star.
    pieces = a[0] + np.array([1.0, -2.0]) + rng.normal(0, 0.03, (12, 2))
    result = search(a, np.vstack([b, pieces]))
    assert result.n_pairs == 5
    assert math.hypot(result.dx - dx, result.dy - dy) < 0.1


def test_search_is_deterministic_and_leaves_its_input_alone():
    a, b, _ = shifted_lists(7, 5, 10, 300)
    before = a.copy(), b.copy()
    assert search(a, b) == search(a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize(("n_a", "n_b"), [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_search_of_almost_nothing(n_a, n_b):
    result = search(np.full((n_a, 2), 0.0), np.full((n_b, 2), 50.0))
    assert result.n_pairs == 0
    assert result.chance == math.inf


def test_one_position_at_the_centre_of_rotation():
    result = search(np.zeros((1, 2)), np.array([[1.0, 0.5]]))
    assert (result.dx, result.dy, result.n_pairs) == (1.0, 0.5, 1)
    assert result.chance > 1e-4


def test_search_without_roll_keeps_it_at_zero():
    a, _, _ = shifted_lists(5, 0, 10, 10)
    offset = find_offset(
        a, move(a, 1.0, -1.0, 0.0), max_shift=3.0, max_roll_rad=0.0, tolerance=0.1, area=1e4
    )
    assert (offset.dx, offset.dy, offset.roll_rad) == pytest.approx((1.0, -1.0, 0.0), abs=1e-9)


def test_not_finite_positions_do_not_count():
    a, b, (dx, dy, _) = shifted_lists(4, 6, 6, 100)
    result = search(np.vstack([a, [[np.nan, 0.0]]]), np.vstack([b, [[1.0, np.inf]]]))
    assert (result.dx, result.dy) == pytest.approx((dx, dy), abs=0.05)
    assert result.n_pairs == 6


def test_chance_falls_with_pairs_and_rises_with_density():
    def chance(n_pairs, density):
        return expected_chance_peaks(
            n_pairs,
            pair_density=density,
            tolerance=0.1,
            max_shift=3.0,
            max_roll_rad=MAX_ROLL,
            extent=100.0,
        )

    values = [chance(n, 0.07) for n in (2, 3, 4, 5, 10)]
    assert all(np.diff(values) < 0)
    assert chance(5, 0.7) > chance(5, 0.07)
    assert chance(0, 0.07) == math.inf


def test_extent_ignores_what_is_not_finite():
    assert extent_of(np.array([[3.0, 4.0], [np.nan, 100.0]])) == 5.0
    assert extent_of(np.empty((0, 2))) == 0.0


# ---------------------------------------------------------------- magnitudes


def test_pairs_of_different_brightness_are_no_pairs():
    a = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    mags = Brightness(np.array([18.0, 20.0, np.nan]), np.array([18.5, 25.0, 21.0]), 3.0)
    ia, ib = match_one_to_one(a, a + 0.1, 1.0, mags)
    assert ia.tolist() == ib.tolist() == [0, 2]
    assert mags.share() == pytest.approx(7 / 9)


def test_brightness_shares_are_counted_pair_by_pair():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(18, 26, 40), rng.uniform(18, 26, 70)
    a[::7] = np.nan
    b[::9] = np.nan
    mags = Brightness(a, b, 2.0)
    ia, ib = (v.ravel() for v in np.meshgrid(np.arange(40), np.arange(70), indexing="ij"))
    assert mags.share() == pytest.approx(mags.agree(ia, ib).mean())
    assert Brightness(a[:0], b, 2.0).share() == 1.0


def test_magnitudes_make_the_offset_of_few_pairs_certain():
    rng = np.random.default_rng(2)
    a = rng.uniform(-100, 100, (5, 2))
    b = np.vstack([a + np.array([1.0, -0.5]), rng.uniform(-100, 100, (800, 2))])
    b_mag = np.concatenate([np.full(5, 20.0), rng.uniform(23, 27, 800)])
    options = {"max_shift": 3.0, "max_roll_rad": 0.005, "tolerance": 0.1, "area": 4e4}
    without = find_offset(a, b, **options)
    with_mags = find_offset(a, b, **options, brightness=Brightness(np.full(5, 20.0), b_mag, 2.0))
    assert (without.n_pairs, with_mags.n_pairs) == (5, 5)
    assert with_mags.chance < 1e-4 * without.chance
