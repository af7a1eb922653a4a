"""Pairing two lists of positions across an unknown offset and roll.

All pairs vote in a cube of offsets and rolls; its highest peaks are refined by one-to-one pairs.
Positions and lengths are as in `matching`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree
from scipy.special import gammainc

from bycatch.arrays import Floats, Ints
from bycatch.kernels.compiled import compiled
from bycatch.kernels.matching import FAR_OUT, Brightness, closest_first, pairs_within, within_reach

# Peaks of the vote cube that are refined: the true one may come second where
# one detection in pieces votes several times for the same offset.
N_PEAKS = 8
N_REFINE = 4
MOST_BINS = 1 << 28
"""Bins of the vote cube: 1 GiB, twice what a search of 20 arcsec and 5 deg by 0.1 arcsec takes."""
MOST_VOTES = 1_000_000_000
"""Seconds of work."""
# Anything less is what rounding leaves in an empty part of the cube.
_LEAST_VOTE = 1e-3


@dataclass(frozen=True)
class Offset:
    """The best offset and roll between two lists, with its evidence.

    ``a`` is carried onto ``b`` by rotating it by ``roll_rad`` about the origin
    and adding ``(dx, dy)``.

    Attributes
    ----------
    dx, dy : float
        Shift, in the unit of the lists.
    roll_rad : float
        Rotation, radians, positive from x to y.
    n_pairs : int
        One-to-one pairs within the tolerance; 0 when there is none.
    pair_density : float
        Chance pairs that an arbitrary offset gives, per unit area of the tolerance circle.
    chance : float
        Number of offsets in the searched range that would do as well by chance.
    """

    dx: float
    dy: float
    roll_rad: float
    n_pairs: int
    pair_density: float
    chance: float


def find_offset(
    a_xy: Floats,
    b_xy: Floats,
    *,
    max_shift: float,
    max_roll_rad: float,
    tolerance: float,
    area: float,
    brightness: Brightness | None = None,
) -> Offset:
    """Search the shift and the small roll that carry most of ``a`` onto ``b``.

    Every pair of positions votes for the shift between them, at each roll of a
    grid; the highest peaks are refined, and the one with the most one-to-one
    pairs wins (the tighter one among equals).  Three true pairs among hundreds
    of positions are enough to make the peak.

    Parameters
    ----------
    a_xy, b_xy : (n, 2) and (m, 2) arrays
        Positions relative to the centre of rotation.
    max_shift, max_roll_rad : float
        Range of the search.
    tolerance : float
        Largest separation of a pair after the offset.
    area : float
        Area in which ``b`` could have been found.
    brightness : Brightness, optional
        Magnitudes that a pair must share.

    Returns
    -------
    Offset
        With ``n_pairs`` 0 and ``chance`` infinite where no two positions are close enough.

    Raises
    ------
    ValueError
        The range has too many tolerances, or a number of it makes no sense.
    """
    if not (0 < tolerance < np.inf and 0 <= max_shift < np.inf and 0 <= max_roll_rad < np.inf):
        raise ValueError(f"no range: {max_shift=}, {max_roll_rad=}, {tolerance=}")
    n_bins = _n_bins(max_shift, tolerance)
    if n_bins**2 > MOST_BINS or not area > 0:
        raise ValueError(f"no search: shifts to {max_shift} in steps of {tolerance}, {area=}")
    # To turn leaves all as far from the centre as it was.  What lies much farther out than all of b
    # has no partner, and one such position would widen the search without end.
    farthest = FAR_OUT * (extent_of(b_xy) + max_shift + tolerance)
    extent = extent_of(a_xy[~(np.abs(a_xy).max(axis=1) > farthest)])
    reach = max_shift + max_roll_rad * extent + tolerance
    ia, ib, _ = pairs_within(a_xy, b_xy, reach, brightness)
    nothing = Offset(0.0, 0.0, 0.0, 0, 0.0, np.inf)
    if not ia.size:
        return nothing
    most = min(MOST_BINS // n_bins**2, max(MOST_VOTES // ia.size, 1))
    rolls = _roll_grid(max_roll_rad, extent, tolerance, most)
    best, best_key = nothing, (0, 0.0)
    # The pieces of one broken-up source share one vote: else they would outvote the stars.
    weights = 1.0 / _n_neighbours(b_xy, tolerance)[ib]
    pairs = _Pairs(ia, ib, a_xy[ia], b_xy[ib])
    for peak in _vote_peaks(pairs, weights, rolls, max_shift, tolerance):
        candidate = _refine(pairs, peak, tolerance)
        if not _is_in_range(candidate, max_shift, max_roll_rad, tolerance, extent):
            continue
        n_pairs, scatter = _count_pairs(pairs, candidate, tolerance)
        if (n_pairs, -scatter) > best_key:
            best, best_key = Offset(*candidate, n_pairs, 0.0, np.inf), (n_pairs, -scatter)
    # What uniform lists would give; clustered lists have more close pairs than
    # that, which the pairs of all other offsets show.
    share = brightness.share() if brightness is not None else 1.0
    uniform = len(a_xy) * len(b_xy) * share / area
    surplus = (ia.size - best.n_pairs) / (np.pi * reach**2)
    density = max(uniform, surplus)
    chance = expected_chance_peaks(
        best.n_pairs,
        pair_density=density,
        tolerance=tolerance,
        max_shift=max_shift,
        max_roll_rad=max_roll_rad,
        extent=extent,
    )
    return Offset(best.dx, best.dy, best.roll_rad, best.n_pairs, density, chance)


def expected_chance_peaks(
    n_pairs: int,
    *,
    pair_density: float,
    tolerance: float,
    max_shift: float,
    max_roll_rad: float,
    extent: float,
) -> float:
    """Return how many offsets of the searched range would give ``n_pairs`` by chance.

    Unrelated lists give a Poisson number of pairs at one offset.  The range
    holds as many independent offsets as tolerance circles (and roll steps) fit
    in; a peak that may lie anywhere, not only at those, is more frequent by the
    number of pairs squared, and once more for the roll (scan statistics: the
    expected number of k-clusters; Glaz, Naus & Wallenstein 2001, ch. 5, leading term).

    Parameters
    ----------
    n_pairs : int
        One-to-one pairs within ``tolerance``.
    pair_density : float
        Chance pairs per unit area of the tolerance circle.
    tolerance, max_shift, max_roll_rad, extent : float
        Radius of a pair, range of the search, and the largest distance from the
        centre of rotation.
    """
    if n_pairs < 1:
        return np.inf
    mean = pair_density * np.pi * tolerance**2
    n_shifts = max(1.0, (max_shift / tolerance) ** 2) * n_pairs**2
    n_rolls = 1.0 + n_pairs * max_roll_rad * extent / tolerance
    # gammainc(k, m) is the Poisson probability of k or more where m are expected.
    return float(n_shifts * n_rolls * gammainc(n_pairs, mean))


def _is_in_range(
    offset: tuple[float, float, float],
    max_shift: float,
    max_roll_rad: float,
    tolerance: float,
    extent: float,
) -> bool:
    """Tell whether a refined offset is still in the range, give or take one tolerance."""
    in_shift = np.hypot(offset[0], offset[1]) <= max_shift + tolerance
    return bool(in_shift and abs(offset[2]) * extent <= max_roll_rad * extent + tolerance)


def extent_of(xy: Floats) -> float:
    """Return the largest distance from the origin, 0 for an empty list.

    Parameters
    ----------
    xy : (N, 2) float; positions that are not finite, or too far off to be used, do not count
    """
    near = xy[within_reach(xy)]
    radius = np.hypot(near[:, 0], near[:, 1])
    return float(radius.max()) if radius.size else 0.0


def move(xy: Floats, dx: float, dy: float, roll_rad: float) -> Floats:
    """Return positions rotated about the origin, then shifted.

    Parameters
    ----------
    xy : (N, 2) float
    dx, dy : in the unit of xy
    roll_rad : rad
    """
    return np.asarray(xy @ _rotation(roll_rad).T + np.array([dx, dy]), dtype=np.float64)


def _rotation(roll_rad: float) -> Floats:
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    return np.array([[c, -s], [s, c]])


def _roll_grid(max_roll_rad: float, extent: float, tolerance: float, most: int) -> Floats:
    """Return rolls so close that half a step moves no position by more than half a tolerance.

    Not more than ``most``, for which there are memory and time, however large the extent.
    """
    n_steps = min(np.ceil(max_roll_rad * extent / tolerance), (most - 1) // 2)
    n_side = int(n_steps) if max_roll_rad > 0 else 0
    return np.linspace(-max_roll_rad, max_roll_rad, 2 * n_side + 1) if n_side else np.zeros(1)


def _n_neighbours(xy: Floats, radius: float) -> Floats:
    """Return how many positions of a list lie within a radius of each, itself included."""
    counts = np.ones(len(xy))
    good = within_reach(xy)
    if good.size:
        tree = cKDTree(xy[good])
        counts[good] = tree.query_ball_point(xy[good], radius, return_length=True)
    return counts


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs that some offset of the range could bring together: indices and positions."""

    ia: Ints
    ib: Ints
    a_xy: Floats
    b_xy: Floats

    def close(self, offset: tuple[float, float, float], radius: float) -> tuple[Ints, Floats]:
        """Return which pairs an offset brings within a radius of each other, one to one.

        The second array holds their separations.
        """
        apart = move(self.a_xy, *offset) - self.b_xy
        separation = np.hypot(apart[:, 0], apart[:, 1])
        near = np.flatnonzero(separation <= radius)
        ia, ib = closest_first(self.ia[near], self.ib[near], separation[near])
        # Pairs are ordered by ia, then ib: their place follows from both.
        width = int(self.ib.max()) + 1
        place = np.searchsorted(self.ia * width + self.ib, ia * width + ib)
        return place, separation[place]


def _vote_peaks(
    pairs: _Pairs, weights: Floats, rolls: Floats, max_shift: float, tolerance: float
) -> list[tuple[float, float, float]]:
    """Return the (dx, dy, roll) that most of the given pairs agree on, best first."""
    # Half-tolerance bins under a sliding box of one tolerance to each side: no
    # peak is cut in two by the edge of a bin.
    half, n_bins = tolerance / 2.0, _n_bins(max_shift, tolerance)
    limit = n_bins * half / 2.0
    ballots = _ballots(pairs.a_xy, pairs.b_xy, weights, rolls, half, n_bins)
    votes = uniform_filter(ballots, (0, 5, 5), mode="constant") * 25.0
    peaks = []
    centres = (np.arange(n_bins) + 0.5) * half - limit
    for _ in range(N_PEAKS):
        k, i, j = (int(v) for v in np.unravel_index(int(np.argmax(votes)), votes.shape))
        if votes[k, i, j] < _LEAST_VOTE:
            break
        peaks.append((float(centres[i]), float(centres[j]), float(rolls[k])))
        votes[max(k - 1, 0) : k + 2, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3] = 0
    return peaks


def _n_bins(max_shift: float, tolerance: float) -> int:
    """Return how many bins of half a tolerance hold the shifts of a range along one axis."""
    return 2 * int(np.ceil((max_shift + 2.0 * tolerance) / (tolerance / 2.0))) + 1


@compiled
def _ballots(
    a_xy: Floats, b_xy: Floats, weights: Floats, rolls: Floats, bin_size: float, n_bins: int
) -> npt.NDArray[np.float32]:
    """Return the votes of all pairs for their shift, in square bins at each roll."""
    votes = np.zeros((rolls.size, n_bins, n_bins), dtype=np.float32)
    limit = n_bins * bin_size / 2.0
    for k in range(rolls.size):
        cosine, sine = np.cos(rolls[k]), np.sin(rolls[k])
        for p in range(len(a_xy)):
            dx = b_xy[p, 0] - (cosine * a_xy[p, 0] - sine * a_xy[p, 1])
            dy = b_xy[p, 1] - (sine * a_xy[p, 0] + cosine * a_xy[p, 1])
            i, j = np.floor((dx + limit) / bin_size), np.floor((dy + limit) / bin_size)
            if 0 <= i < n_bins and 0 <= j < n_bins:
                votes[k, int(i), int(j)] += weights[p]
    return votes


def _refine(
    pairs: _Pairs, start: tuple[float, float, float], tolerance: float
) -> tuple[float, float, float]:
    """Return the offset after a few rounds of pairing and least squares."""
    dx, dy, roll = start
    for step in range(N_REFINE):
        # The first pairing still carries the errors of the two grids.
        radius = tolerance * (1.5 if step == 0 else 1.0)
        close, _ = pairs.close((dx, dy, roll), radius)
        if close.size < 1:
            break
        # Two pairs always fit; only a third can testify for a roll.
        fixed_roll = roll if close.size < 3 else None
        dx, dy, roll = _fit_offset(pairs.a_xy[close], pairs.b_xy[close], fixed_roll)
    return dx, dy, roll


def _fit_offset(a_xy: Floats, b_xy: Floats, roll_rad: float | None) -> tuple[float, float, float]:
    """Return the least-squares shift and rotation of matched positions (2-D Procrustes)."""
    mean_a, mean_b = a_xy.mean(axis=0), b_xy.mean(axis=0)
    if roll_rad is None:
        a, b = a_xy - mean_a, b_xy - mean_b
        sine = float(np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
        roll_rad = float(np.arctan2(sine, float(np.sum(a * b))))
    shift = mean_b - _rotation(roll_rad) @ mean_a
    return float(shift[0]), float(shift[1]), roll_rad


def _count_pairs(
    pairs: _Pairs, offset: tuple[float, float, float], tolerance: float
) -> tuple[int, float]:
    """Return the number of one-to-one pairs and their mean squared separation."""
    close, separation = pairs.close(offset, tolerance)
    if not close.size:
        return 0, np.inf
    return close.size, float(np.mean(separation**2))
