"""Groups of detections that are most likely one object each, at most one of an image.

The likelihood of a group is that of Budavari & Szalay (2008, ApJ 679, 301): detections i of
weight w_i = 1 / variance, at one unknown place, against each at a place of its own among n
sources per unit area,

    ln B = sum(-ln n_i + ln(w_i / 2 pi)) + mean(ln n_i) - ln(sum(w_i) / 2 pi) - sum(rho(chi2_i)),

with chi2_i the squared distance from the weighted mean, and with the probability before anything
is known that a source shows in so many images.  rho is chi2 / 2 but for a share of
errors that are larger than said (`WIDE_SHARE`, `WIDE_FACTOR`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.kernels.compiled import compiled

WIDE_SHARE = 0.05
"""Share of the centres whose errors are larger than said: neighbours, cosmic rays, edges."""
WIDE_FACTOR = 3.0
MOST_SWEEPS = 8
_LEAST_GAIN = 1e-9
_NONE: Any = np.int64(-1)
"""No group, or no member. (For a plain -1, numba compiles what takes it once more.)"""
_Rows = tuple[Floats, Floats, Floats, Floats, Ints]
"""xy, variance, ln_density, ln_prior and image, see `likeliest_groups`."""
_State = tuple[Ints, Ints, Ints, Ints, Floats]
"""group of each detection, first member of each group, following member (-1: none), empty groups
with their number as last element, and evidence of each group."""


def likeliest_groups(
    xy: Floats,
    variance: Floats,
    ln_density: Floats,
    image: Ints,
    pairs: tuple[Ints, Ints],
    ln_prior: Floats,
) -> Ints:
    """Return the number of the group of each detection; the total likelihood is a maximum.

    The pairs are joined in their order where the likelihood gains; then single detections change
    or leave their groups, or groups are joined, until nothing gains: a local maximum, bounded in
    time, and the same in each call with the same order of detections and pairs.

    Parameters
    ----------
    xy : (N, 2) float
    variance : (N,) float
        Of the position per axis, positive.
    ln_density : (N,) float
        Logarithm of the number of sources per unit area around each.
    image : (N,) int
    pairs : two (P,) int
        Pairs of detections that may be one, the likeliest first.
    ln_prior : (K,) float
        Logarithm of the probability of a group of 0, 1, ... members; K is larger than the number
        of images.

    Returns
    -------
    (N,) int
        Each group has the number of one of its members.

    Raises
    ------
    ValueError
        Arrays differ in length, a pair is none of the detections, or there are more images
        than the prior knows.
    """
    n, (ia, ib) = len(xy), pairs
    if not n == len(variance) == len(ln_density) == len(image) or len(ia) != len(ib):
        raise ValueError("each detection has a position, a variance, a density and an image")
    if len(ia) and (min(ia.min(), ib.min()) < 0 or max(ia.max(), ib.max()) >= n):
        raise ValueError(f"pairs are indices from 0 to {n - 1}")
    if len(ln_prior) <= max(len(np.unique(image)), 1):
        raise ValueError(f"a prior of {len(ln_prior)} numbers of members is too short")
    return np.asarray(
        _group_of_each(
            np.ascontiguousarray(xy, np.float64),
            np.ascontiguousarray(variance, np.float64),
            np.ascontiguousarray(ln_density, np.float64),
            np.ascontiguousarray(image, np.int64),
            np.ascontiguousarray(ia, np.int64),
            np.ascontiguousarray(ib, np.int64),
            np.ascontiguousarray(ln_prior, np.float64),
        )
    )


def pair_gain(squared_separation: Floats, variance: Floats, ln_density: Floats) -> Floats:
    """Return ln B of pairs, of summed variances and the mean of ln densities, without the prior.

    Parameters
    ----------
    squared_separation : (N,) float, squared distances
    variance : (N,) float, sum of both variances per axis, in the same unit
    ln_density : (N,) float, ln of the density of sources per unit area
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        half = 0.5 * squared_separation / variance
        cost = -2.0 * np.log(
            (1 - WIDE_SHARE) * np.exp(-half / 2)
            + WIDE_SHARE / WIDE_FACTOR**2 * np.exp(-half / 2 / WIDE_FACTOR**2)
        )
        return np.asarray(-ln_density - np.log(2 * np.pi * variance) - cost)


@compiled
def _rho(chi2: float) -> float:
    """Return the cost of a deviation, of which some are wider than said."""
    wide = WIDE_SHARE / WIDE_FACTOR**2 * np.exp(-0.5 * chi2 / WIDE_FACTOR**2)
    total = (1.0 - WIDE_SHARE) * np.exp(-0.5 * chi2) + wide
    if total > 0.0:
        return float(-np.log(total))
    return float(0.5 * chi2 / WIDE_FACTOR**2 - np.log(WIDE_SHARE / WIDE_FACTOR**2))


@compiled
def _evidence(
    rows: _Rows,
    following: Ints,
    a: int,
    without_a: int,
    b: int,
    without_b: int,
) -> float:
    """Return ln B and prior of two groups (-1: none) in one, but two members (-1: none)."""
    xy, variance, ln_density, ln_prior, _ = rows
    n, sw, sx, sy, constant, dens = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for side in range(2):
        i, left_out = (a, without_a) if side == 0 else (b, without_b)
        while i >= 0:
            if i != left_out:
                w = 1.0 / variance[i]
                n += 1
                sw += w
                sx += w * xy[i, 0]
                sy += w * xy[i, 1]
                constant += np.log(w / (2.0 * np.pi)) - ln_density[i]
                dens += ln_density[i]
            i = following[i]
    if n < 2:
        return float(ln_prior[n])
    mx, my = sx / sw, sy / sw
    cost = 0.0
    for side in range(2):
        i, left_out = (a, without_a) if side == 0 else (b, without_b)
        while i >= 0:
            if i != left_out:
                cost += _rho(((xy[i, 0] - mx) ** 2 + (xy[i, 1] - my) ** 2) / variance[i])
            i = following[i]
    return float(ln_prior[n] + constant + dens / n - np.log(sw / (2.0 * np.pi)) - cost)


@compiled
def _occupant(image: Ints, following: Ints, group: int, image_number: int) -> int:
    """Return the member of a group that is of an image, -1 where none is."""
    i = group
    while i >= 0:
        if image[i] == image_number:
            return i
        i = following[i]
    return -1


@compiled
def _can_join(image: Ints, following: Ints, a: int, b: int) -> bool:
    """Tell whether two groups share no image."""
    i = a
    while i >= 0:
        if _occupant(image, following, b, image[i]) >= 0:
            return False
        i = following[i]
    return True


@compiled
def _join(group: Ints, following: Ints, head: Ints, a: int, b: int) -> None:
    """Add the members of group b to group a."""
    i = head[b]
    last = i
    while i >= 0:
        group[i] = a
        last = i
        i = following[i]
    following[last] = head[a]
    head[a] = head[b]
    head[b] = -1


@compiled
def _take_out(group: Ints, following: Ints, head: Ints, i: int) -> None:
    """Make a detection leave its group, without one of its own yet."""
    a = group[i]
    if head[a] == i:
        head[a] = following[i]
    else:
        k = head[a]
        while following[k] != i:
            k = following[k]
        following[k] = following[i]
    following[i] = -1
    group[i] = -1


@compiled
def _put_in(group: Ints, following: Ints, head: Ints, a: int, i: int) -> None:
    """Add a detection that has no group to group a."""
    following[i] = head[a]
    head[a] = i
    group[i] = a


@compiled
def _evidence_with(rows: _Rows, following: Ints, group: int, without: int, extra: int) -> float:
    """Return ln B of a group without one member, with a detection of another group."""
    successor = following[extra]
    following[extra] = -1
    value = _evidence(rows, following, group, without, extra, _NONE)
    following[extra] = successor
    return value


@compiled
def _joins(rows: _Rows, state: _State, i: int, j: int) -> bool:
    """Join the groups of two detections if that gains; return whether it did."""
    image = rows[4]
    group, head, following, free, score = state
    a, b = group[i], group[j]
    if not _can_join(image, following, head[a], head[b]):
        return False
    both = _evidence(rows, following, head[a], _NONE, head[b], _NONE)
    if not both > score[a] + score[b] + _LEAST_GAIN:  # NaN gains nothing
        return False
    _join(group, following, head, a, b)
    score[a], score[b] = both, 0.0
    _set_free(free, b)
    return True


@compiled
def _moves(rows: _Rows, state: _State, i: int, j: int) -> bool:
    """Move detection i to the group of j if that gains; who has its place there goes to i's."""
    image = rows[4]
    group, head, following, free, score = state
    a, b = group[i], group[j]
    other = _occupant(image, following, head[b], image[i])
    new_b = _evidence_with(rows, following, head[b], other, i)
    if other >= 0:
        new_a = _evidence_with(rows, following, head[a], i, other)
    else:
        new_a = _evidence(rows, following, head[a], i, _NONE, _NONE)
    if not new_a + new_b > score[a] + score[b] + _LEAST_GAIN:
        return False
    _take_out(group, following, head, i)
    if other >= 0:
        _take_out(group, following, head, other)
        _put_in(group, following, head, a, other)
    _put_in(group, following, head, b, i)
    score[a], score[b] = new_a, new_b
    if head[a] < 0:
        _set_free(free, a)
    return True


@compiled
def _leaves(rows: _Rows, state: _State, i: int) -> bool:
    """Give detection i a group of its own if that gains; return whether it did."""
    group, head, following, free, score = state
    a = group[i]
    if following[head[a]] < 0:
        return False
    rest = _evidence(rows, following, head[a], i, _NONE, _NONE)
    if not rest > score[a] + _LEAST_GAIN:
        return False
    # As this group has two members or more, there is an empty one.
    last = free.size - 1
    free[last] -= 1
    own = free[free[last]]
    _take_out(group, following, head, i)
    _put_in(group, following, head, own, i)
    score[a], score[own] = rest, rows[3][1]
    return True


@compiled
def _set_free(free: Ints, group: int) -> None:
    """Add a group to the list of empty ones, whose length is its last element."""
    last = free.size - 1
    free[free[last]] = group
    free[last] += 1


@compiled
def _group_of_each(
    xy: Floats,
    variance: Floats,
    ln_density: Floats,
    image: Ints,
    ia: Ints,
    ib: Ints,
    ln_prior: Floats,
) -> Ints:
    """Return the groups, see `likeliest_groups`."""
    n = len(xy)
    rows = (xy, variance, ln_density, ln_prior, image)
    score = np.full(n, ln_prior[1])
    state = (np.arange(n), np.arange(n), np.full(n, -1), np.zeros(n + 1, np.int64), score)
    group = state[0]
    # The round in which each group changed last: what has not changed since needs no second look.
    last_change = np.zeros(n, np.int64)
    for sweep in range(MOST_SWEEPS):
        is_new = False
        for p in range(len(ia)):
            i, j = ia[p], ib[p]
            a, b = group[i], group[j]
            if a == b or image[i] == image[j] or max(last_change[a], last_change[b]) < sweep - 1:
                continue
            is_better = _joins(rows, state, i, j)
            if not is_better and sweep > 0:  # the first round only joins
                is_better = _moves(rows, state, i, j) or _moves(rows, state, j, i)
            if is_better:
                last_change[a] = last_change[b] = sweep
                is_new = True
        for i in range(n):
            a = group[i]
            if last_change[a] >= sweep - 1 and _leaves(rows, state, i):
                last_change[a] = last_change[group[i]] = sweep
                is_new = True
        if not is_new and sweep > 0:
            break
    return group
