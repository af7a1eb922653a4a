"""What the rejection of cosmic rays leaves in stacks: light beside pixels that an exposure lost.

Where drizzling rejected a pixel of one exposure, the weight has a hole.  A track that was cut
out in part leaves its skirt around such holes, where all exposures still count; a star
shines in the hole as it does beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Floats, Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.stages.measure import patterns

REACH_PX, CORE_PX, NEAR_PX = 4.5, 1.0, 3.0
"""Radius of the pixels that are looked at, sigma of the weight of the innermost ones, and radius of
those nearby; detector pixels."""
FULL_PERCENTILE = 80
"""The pixels about a source with so much time are whole."""
LEAST_HOLE = 0.15
"""Least share of an exposure that makes a hole: drizzling makes the weight uneven."""
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Remains:
    """Holes about N sources, (N,) each; 0 where there is none.

    Attributes
    ----------
    core : mean depth of holes under the source, in exposures
    near : the same within 3 px
    beside : share of the light that lies at the edge of holes, above the share of the area
    ring : by how much a pattern at the edge of the holes fits better than a star or galaxy
        (log likelihood)
    contrast : light in holes minus that beside them, as a star of the best fit has it, in sigma
    """

    core: Floats
    near: Floats
    beside: Floats
    ring: Floats
    contrast: Floats


def remains(
    image: DrcImage,
    x: Ints,
    y: Ints,
    light: Image,
    variance: Image,
    templates: patterns.Patterns,
    fits: patterns.Fits,
) -> Remains:
    """Look for holes of the weight about sources.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) int
        Their brightest pixels.
    light, variance : (N, P) float32
        Their stamps, on the pixels of the patterns.
    templates, fits
        The patterns of the image, and what they say of the sources.
    """
    out = np.zeros((5, len(x)))
    for first in range(0, len(x), CHUNK):
        rows = slice(first, first + CHUNK)
        rows_of_stacks = np.flatnonzero(_most_exposures(image, x[rows], y[rows]) > 1) + first
        if len(rows_of_stacks):
            planes = light[rows_of_stacks], variance[rows_of_stacks]
            best = templates.values[fits.best[rows_of_stacks]], fits.gain[rows_of_stacks]
            at = x[rows_of_stacks], y[rows_of_stacks]
            out[:, rows_of_stacks] = _of_stacks(image, *at, *planes, templates, *best)
    return Remains(*out)


def _most_exposures(image: DrcImage, x: Ints, y: Ints) -> Ints:
    return np.asarray(image.n_exp[y, x], np.int64)


def _of_stacks(
    image: DrcImage,
    x: Ints,
    y: Ints,
    light: Image,
    variance: Image,
    templates: patterns.Patterns,
    best: Image,
    gain: Floats,
) -> Floats:
    """Return the five numbers of `Remains` of some sources, (5, N)."""
    native_px = image.meta.native_scale_arcsec / image.scale_arcsec
    half = int(np.ceil(REACH_PX * native_px))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    radius = np.hypot(dx, dy) / native_px
    holes = _holes(image, x, y, dx.ravel(), dy.ravel()).reshape(len(x), *radius.shape)
    weight = np.exp(-0.5 * (radius / CORE_PX) ** 2)
    core = (holes * (weight / weight.sum())).sum(axis=(1, 2))
    near = holes[:, radius <= NEAR_PX].mean(axis=1)
    edges = _deepest_nearby(holes, int(np.ceil(native_px))) * (1 - holes)
    at = templates.dy + half, templates.dx + half
    hole, edge = (v[:, at[0], at[1]].astype(np.float32) for v in (holes, edges))
    ring = 0.5 * patterns.INDEPENDENT * (patterns.gain_of(light, variance, edge) - gain)
    ring[edge.max(axis=1) == 0] = 0
    positive = np.maximum(light, 0)
    share = (positive * edge).sum(axis=1) / np.maximum(positive.sum(axis=1), 1e-9)
    return np.stack(
        [core, near, share - edge.mean(axis=1), ring, _contrast(light, variance, best, hole)]
    )


def _holes(image: DrcImage, x: Ints, y: Ints, dx: Ints, dy: Ints) -> Image:
    """Return how many exposures each pixel lacks, 0 to 1, (N, P)."""
    seconds = patterns.stamps(image.exptime_map_s, x, y, dx, dy)
    n_exp = patterns.stamps(image.n_exp, x, y, dx, dy).max(axis=1)
    full = np.percentile(seconds, FULL_PERCENTILE, axis=1)[:, np.newaxis]
    share_lost = np.where(full > 0, 1.0 - seconds / np.maximum(full, 1e-9), 0.0)
    holes = np.clip(n_exp[:, np.newaxis] * share_lost, 0.0, 1.0)
    holes[holes < LEAST_HOLE] = 0
    return np.asarray(holes, np.float32)


def _deepest_nearby(holes: Image, reach: int) -> Image:
    """Return the deepest hole within some pixels along both axes, (N, ny, nx)."""
    n, ny, nx = holes.shape
    canvas = np.zeros((n, ny + 2 * reach, nx + 2 * reach), holes.dtype)
    canvas[:, reach:-reach, reach:-reach] = holes
    steps = range(2 * reach + 1)
    wide = np.max([canvas[:, :, k : k + nx] for k in steps], axis=0)
    return np.asarray(np.max([wide[:, k : k + ny] for k in steps], axis=0))


def _contrast(light: Image, variance: Image, best: Image, hole: Image) -> Floats:
    """Return the amplitude of a pattern in holes minus that elsewhere, in sigma."""
    products = []
    for share in (hole, 1 - hole):
        square = (share * best**2 / variance).sum(axis=1)
        products.append(((share * best * light / variance).sum(axis=1), square))
    (a, a2), (b, b2) = products
    both = (a2 > 0) & (b2 > 0)
    a2, b2 = np.where(both, a2, 1.0), np.where(both, b2, 1.0)
    # Drizzling makes neighbours alike.
    error = np.sqrt((1 / a2 + 1 / b2) / patterns.INDEPENDENT)
    return np.asarray(np.where(both, (a / a2 - b / b2) / error, 0.0))
