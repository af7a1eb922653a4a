"""The equations of many stars solved: steps, and what they leave uncertain (see `psf_fit`)."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.psf_fit import SQUARE, checked_pairs
from bycatch.kernels.psf_grid import N_PARTS
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

MAX_STEPS = 60
TINY = 1e-30
_ByStar = tuple[Ints, Ints, Bools, Ints]


def solve_stars(
    blocks: Floats, ties: Floats, first: Ints, second: Ints, gradient: Floats, tolerance: float
) -> Floats:
    """Return the solution of all stars' equations, (N, 4).

    The system of a whole image, crowded or not, is solved at once by conjugate gradients, whose
    cost goes with the number of ties.

    Parameters
    ----------
    blocks : (N, 4, 4) float, symmetric and positive; they precondition
    ties, first, second : of `tie_blocks`
    gradient : (N, 4) float
    tolerance : of the rest, as a share of the gradient, both in the norm of the preconditioner
    """
    n = len(blocks)
    a, b = checked_pairs(first, second, n)
    if (
        blocks.shape != (n, *SQUARE)
        or gradient.shape != (n, N_PARTS)
        or ties.shape != (len(a), *SQUARE)
    ):
        raise ValueError("blocks, ties and gradient are not of one system")
    inverse = _inverses(blocks)
    state = (plane(blocks, np.float64), plane(ties, np.float64), a, b)
    return np.asarray(_conjugate(*state, inverse, plane(gradient, np.float64), float(tolerance)))


def _inverses(blocks: Floats) -> Floats:
    """Return the inverse of each block; 0 where it has none."""
    out = np.zeros(blocks.shape)
    _invert(plane(blocks, np.float64), out)
    return out


@compiled
def _invert(blocks: Floats, out: Floats) -> None:
    """Write inverses by Cholesky's factors."""
    lower, column = np.zeros(SQUARE), np.empty(N_PARTS)
    for k in range(len(blocks)):
        if not _factor(blocks[k], lower):
            continue
        for p in range(N_PARTS):
            for i in range(N_PARTS):
                value = 1.0 if i == p else 0.0
                for j in range(i):
                    value -= lower[i, j] * column[j]
                column[i] = value / lower[i, i]
            for i in range(N_PARTS - 1, -1, -1):
                value = column[i]
                for j in range(i + 1, N_PARTS):
                    value -= lower[j, i] * column[j]
                column[i] = value / lower[i, i]
                out[k, i, p] = column[i]


@compiled
def _factor(block: Floats, lower: Floats) -> bool:
    """Write Cholesky's factor; False if the matrix is not positive."""
    for i in range(N_PARTS):
        for j in range(i + 1):
            value = block[i, j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = value / lower[j, j]
            elif value > TINY and value < np.inf:
                lower[i, i] = np.sqrt(value)
            else:
                return False
    return True


@compiled
def _product(
    blocks: Floats, ties: Floats, first: Ints, second: Ints, x: Floats, out: Floats
) -> None:
    for k in range(len(blocks)):
        for p in range(N_PARTS):
            out[k, p] = 0.0
            for q in range(N_PARTS):
                out[k, p] += blocks[k, p, q] * x[k, q]
    for m in range(len(first)):
        i, j = first[m], second[m]
        for p in range(N_PARTS):
            for q in range(N_PARTS):
                out[i, p] += ties[m, p, q] * x[j, q]
                out[j, q] += ties[m, p, q] * x[i, p]


@compiled
def _apply(inverse: Floats, x: Floats, out: Floats) -> float:
    """Write the preconditioned vector, and return its product with the vector itself."""
    total = 0.0
    for k in range(len(x)):
        for p in range(N_PARTS):
            out[k, p] = 0.0
            for q in range(N_PARTS):
                out[k, p] += inverse[k, p, q] * x[k, q]
            total += out[k, p] * x[k, p]
    return total


@compiled
def _conjugate(
    blocks: Floats,
    ties: Floats,
    first: Ints,
    second: Ints,
    inverse: Floats,
    gradient: Floats,
    tolerance: float,
) -> Floats:
    """Return the solution by conjugate gradients (Hestenes & Stiefel 1952), block by block."""
    solution, rest = np.zeros(gradient.shape), gradient.copy()
    way, product, close = np.empty(gradient.shape), np.empty(gradient.shape), np.empty(rest.shape)
    now = _apply(inverse, rest, close)
    way[:] = close
    goal = tolerance * tolerance * now
    for _ in range(MAX_STEPS):
        if not now > goal or not now > TINY:
            break
        _product(blocks, ties, first, second, way, product)
        bend = 0.0
        for k in range(len(way)):
            for p in range(N_PARTS):
                bend += way[k, p] * product[k, p]
        if not bend > 0.0:
            break
        step = now / bend
        for k in range(len(way)):
            for p in range(N_PARTS):
                solution[k, p] += step * way[k, p]
                rest[k, p] -= step * product[k, p]
        before, now = now, _apply(inverse, rest, close)
        for k in range(len(way)):
            for p in range(N_PARTS):
                way[k, p] = close[k, p] + now / before * way[k, p]
    return solution


def joint_variances(
    blocks: Floats, ties: Floats, first: Ints, second: Ints, moves: Bools
) -> Floats:
    """Return the variances of flux, x, y and width with the nearest ties' numbers free, (N, 4).

    Parameters
    ----------
    blocks, ties, first, second : as in `solve_stars`
    moves : (N,) bool; where False x and y are fixed

    Notes
    -----
    The inverse of the equations of a star and of the eight that are tied to it most.
    """
    a, b = checked_pairs(first, second, len(blocks))
    if len(moves) != len(blocks) or ties.shape != (len(a), *SQUARE):
        raise ValueError("blocks, ties and stars are not of one system")
    out = np.full((len(blocks), N_PARTS), np.nan)
    state = (plane(blocks, np.float64), plane(ties, np.float64), _by_star(a, b, len(blocks)))
    free = plane(np.asarray(moves), np.bool_)

    def work(i: int, j: int) -> None:
        _variances(*state, free, i, j, out)

    in_portions(work, len(blocks), WORTH_A_THREAD)
    return out


def _by_star(first: Ints, second: Ints, n: int) -> _ByStar:
    """Return the ties of each star, one after the other, and where those of each begin."""
    own, other = np.concatenate([first, second]), np.concatenate([second, first])
    tie = np.tile(np.arange(len(first), dtype=np.int64), 2)
    is_first = np.arange(len(own)) < len(first)
    order = np.argsort(own, kind="stable")
    start = np.searchsorted(own[order], np.arange(n + 1)).astype(np.int64)
    return other[order], tie[order], is_first[order], start


MOST_TIES = 8


@compiled
def _variances(
    blocks: Floats,
    ties: Floats,
    by_star: _ByStar,
    moves: Bools,
    begin: int,
    end: int,
    out: Floats,
) -> None:
    partner, tie, _, start = by_star
    size = N_PARTS * (MOST_TIES + 1)
    matrix, stars = np.empty((size, size)), np.empty(MOST_TIES + 1, np.int64)
    strength = np.empty(MOST_TIES)
    for k in range(begin, end):
        n = 0
        stars[0] = k
        for m in range(start[k], start[k + 1]):
            # The strongest first: by the tie of the fluxes against both blocks.
            other = partner[m]
            norm = blocks[k, 0, 0] * blocks[other, 0, 0]
            value = ties[tie[m], 0, 0] ** 2 / norm if norm > 0.0 else 0.0
            if not value > 1e-6 or (n == MOST_TIES and value <= strength[n - 1]):
                continue
            at = min(n, MOST_TIES - 1)
            while at > 0 and strength[at - 1] < value:
                strength[at], stars[at + 1] = strength[at - 1], stars[at]
                at -= 1
            strength[at], stars[at + 1] = value, other
            n = min(n + 1, MOST_TIES)
        _fill(blocks, ties, by_star, moves, stars[: n + 1], matrix)
        _own_variances(matrix, N_PARTS * (n + 1), out[k])
        if not moves[k]:
            out[k, 1] = out[k, 2] = np.nan


@compiled
def _is_place(part: int) -> bool:
    return 0 < part < 3


@compiled
def _fill(
    blocks: Floats,
    ties: Floats,
    by_star: _ByStar,
    moves: Bools,
    stars: Ints,
    matrix: Floats,
) -> None:
    """Fill the equations of some stars; x and y of those that do not move drop out."""
    partner, tie, is_first, start = by_star
    matrix[:] = 0.0
    for i in range(len(stars)):
        star = stars[i]
        for p in range(N_PARTS):
            for q in range(N_PARTS):
                if moves[star] or not (_is_place(p) or _is_place(q)):
                    matrix[N_PARTS * i + p, N_PARTS * i + q] = blocks[star, p, q]
        if not moves[star]:
            for p in range(1, 3):
                matrix[N_PARTS * i + p, N_PARTS * i + p] = 1.0
        for m in range(start[star], start[star + 1]):
            for j in range(i + 1, len(stars)):
                if stars[j] != partner[m]:
                    continue
                for p in range(N_PARTS):
                    for q in range(N_PARTS):
                        if (moves[star] or not _is_place(p)) and (
                            moves[partner[m]] or not _is_place(q)
                        ):
                            value = ties[tie[m], p, q] if is_first[m] else ties[tie[m], q, p]
                            matrix[N_PARTS * i + p, N_PARTS * j + q] = value
                            matrix[N_PARTS * j + q, N_PARTS * i + p] = value


@compiled
def _own_variances(matrix: Floats, n: int, out: Floats) -> None:
    """Write the first of the inverse's diagonal; NaN if it is not positive (Cholesky)."""
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not value > 0.0:
                    return
                matrix[i, i] = np.sqrt(value)
            else:
                matrix[i, j] = value / matrix[j, j]
    column = np.empty(n)
    for p in range(N_PARTS):
        total = 0.0
        for i in range(n):
            value = 1.0 if i == p else 0.0
            for k in range(i):
                value -= matrix[i, k] * column[k]
            column[i] = value / matrix[i, i]
            total += column[i] * column[i]
        out[p] = total
