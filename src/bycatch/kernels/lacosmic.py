"""Cosmic rays in a single image: LAcosmic (van Dokkum 2001, PASP 113, 1420), exactly and fast.

The mask is that of astroscrappy's ``detect_cosmics(..., sepmed=False)``.  Each iteration:

1. *Noise*: the square root of the 5 x 5 median of the variance (at least 1e-5).
2. *Sharpness* S: the image with each pixel split into 2 x 2, convolved with the
   Laplacian (4 at the centre, -1 at its four neighbours), negative values set to zero,
   averaged back, and divided by twice the noise.  No split image is needed: the
   quarter of a pixel c that faces its neighbours a and b has the Laplacian 2c - a - b.
   Beyond the edge the image is zero.
3. *Peak* S' = S minus its 5 x 5 median.
4. *Fine structure* F: the 3 x 3 median of the image (or the image convolved with the
   PSF, weighted by 1/noise^2) minus its 7 x 7 median, over the noise, at least 0.01.
5. *Seeds*: S' > sigclip and S'/F > objlim, where the pixel is not bad.
6. *Growth*, twice, over the 3 x 3 pixels around: those with S' > sigclip, then those with
   S' > sigfrac * sigclip, where the pixel is not bad.
7. *Cleaning* of image and variance, of all pixels found so far, before the next iteration:
   by the 5 x 5 pixels around that are neither found nor bad.

Medians leave the outermost pixels as they are: 2 px for 5 x 5, so that S' is
zero and nothing is found there; nor is anything cleaned there.  Bad pixels are
grown by one pixel first.

How it is fast: S is not negative, so S' can't pass where S does not, and medians of S and
of the image are taken only around the pixels where it does; of medians
that are only compared with a limit, it is enough to count the pixels on either side;
later iterations renew planes only around pixels that were cleaned.  The image
is worked on in strips of rows, with margins as wide as the iterations reach, so
that the working memory is small.

DEPARTS from astroscrappy: cleaning by the plain median takes the image as it
was before that cleaning (astroscrappy 1.3 reads memory that was never written
there).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.large_medians import lower_median
from bycatch.kernels.rowmedians import (
    BLOCK_PX,
    EDGE_X,
    EDGE_Y,
    median3x3_blocks,
    median5x5_blocks,
    n_blocks,
    plane_shape,
    upper,
)
from bycatch.kernels.smoothing import weights_of
from bycatch.kernels.threads import in_portions

Places = NDArray[np.int64]
Number = Any

CLEANING = ("meanmask", "medmask", "median", "idw")
MEANMASK, MEDMASK, MEDIAN, IDW = range(4)
STRIP_PX = 160
"""Rows that are worked on at once."""
NO_PSF = np.zeros((0, 0), np.float32)
NO_LEVELS = np.full(2, np.nan, np.float32)
FOUR, TWO, QUARTER = np.float32(4), np.float32(2), np.float32(0.25)
ZERO, ONE = np.float32(0), np.float32(1)
MEAN_WEIGHTS = np.ones((5, 5), np.float32)
IDW_WEIGHTS = np.hypot(*np.mgrid[-2:3, -2:3]).clip(0.5).astype(np.float32) ** -1
"""The pixel itself never counts: it is one of those to be replaced."""
LEAST_VARIANCE, LEAST_STRUCTURE = np.float32(1e-5), np.float32(0.01)
LOUD_PX = 3
"""How far from a pixel above the limit the fine structure is needed, by its 7 x 7 median."""
WIDE_PX = BLOCK_PX + 2 * LOUD_PX
IMAGES = ("image", "variance", "noise", "sharp", "fine", "peak")
MASKS = ("bad", "found", "blocked")
"""Names of the working planes."""


def lacosmic(
    image: Image,
    variance: Image,
    bad: Bools | None = None,
    *,
    sigclip: float = 4.5,
    sigfrac: float = 0.3,
    objlim: float = 5.0,
    n_iterations: int = 4,
    cleantype: str = "meanmask",
    psf: Image | None = None,
    mirror_px: int = 0,
) -> Bools:
    """Return the pixels of cosmic rays.

    Parameters
    ----------
    image, variance : (ny, nx) float32, finite
        In electrons; the sky is part of the image, or not.
    bad : (ny, nx) bool
        Pixels to leave out, and their neighbours.
    sigclip : float
        Least peak of a seed, in units of the noise.
    sigfrac : float
        Least peak of a neighbour, as a share of ``sigclip``.
    objlim : float
        Least ratio of peak and fine structure.
    n_iterations : int
    cleantype : 'meanmask', 'medmask', 'median' or 'idw'
        How found pixels are replaced: by the mean of their neighbours, the
        median, the median of all 25, or the mean weighted by inverse distance.
    psf : (k, k) float32, k odd
        Convolves the image to give the fine structure; none: median filters.
    mirror_px : int
        The image is taken to go on beyond its edge, mirrored, by so many pixels.

    Returns
    -------
    (ny, nx) bool

    Raises
    ------
    ValueError
        Unknown ``cleantype``, planes of different shapes, a PSF that is not square and odd, or
        less than no iterations.
    """
    if cleantype not in CLEANING:
        raise ValueError(f"cleantype '{cleantype}' is none of {', '.join(CLEANING)}")
    bad_pixels = np.zeros(image.shape, bool) if bad is None else np.asarray(bad, bool)
    check_shapes(image, variance, bad_pixels)
    if n_iterations < 0:
        raise ValueError(f"{n_iterations} iterations can't be done")
    if not image.size:
        return np.zeros(image.shape, bool)
    unusable = bad_pixels.copy()
    grow_by_one(bad_pixels, mirror_px > 0, unusable)
    del bad, bad_pixels  # the largest of images have to fit
    kernel = NO_PSF if psf is None else weights_of(psf)[::-1, ::-1].astype(np.float32, order="C")
    work = Work(
        limits=np.array([sigclip, np.float32(sigfrac) * np.float32(sigclip), objlim], np.float32),
        n_iterations=n_iterations,
        cleantype=CLEANING.index(cleantype),
        psf=kernel,
    )
    rows, columns = (np.pad(np.arange(n), mirror_px, mode="symmetric") for n in image.shape)
    margin, n_rows = work.reach_px, image.shape[0]
    rays: Bools = np.zeros(image.shape, bool)
    middle = slice(mirror_px, mirror_px + image.shape[1])
    free: list[Planes] = []  # a thread takes the planes of one that has done its strip

    @lru_cache
    def levels() -> Image:
        return np.array([lower_median(p, ~unusable) for p in (image, variance)], np.float32)

    def strips(i: int, j: int) -> None:
        size = (min(STRIP_PX + 2 * margin, len(rows)), len(columns))
        planes = free.pop() if free else Planes.new(*size)
        for k in range(i, j):
            first = mirror_px + k * STRIP_PX
            last, start = min(first + STRIP_PX, mirror_px + n_rows), max(first - margin, 0)
            chosen = rows[start : last + margin]
            strip = planes.of_rows(image, variance, unusable, chosen, columns)
            if find(strip, work, NO_LEVELS):
                strip = planes.of_rows(image, variance, unusable, chosen, columns)
                find(strip, work, levels())
            inner = strip.pixels(strip.found)[first - start : last - start, middle]
            rays[first - mirror_px : last - mirror_px] = inner
        free.append(planes)

    in_portions(strips, -(-n_rows // STRIP_PX), 1)
    return rays


@dataclass(frozen=True, eq=False)
class Work:
    """What is asked for: limits of seeds, of neighbours and of the contrast; how to clean; PSF."""

    limits: Image
    n_iterations: int
    cleantype: int
    psf: Image

    @property
    def reach_px(self) -> int:
        """How far away a pixel can matter."""
        return int(self.n_iterations * (self.seed_reach_px + 2))

    @property
    def plane_reach_px(self) -> int:
        """How far a pixel acts on noise, sharpness and fine structure."""
        return 2 + len(self.psf) // 2

    @property
    def seed_reach_px(self) -> int:
        """How far it acts on what is found: medians of these planes, and growth."""
        return self.plane_reach_px + 3 + 2


@dataclass(frozen=True, eq=False)
class Planes:
    """A strip of the image and what is made from it, with edges around (see `plane_shape`).

    Attributes
    ----------
    image, variance : what is cleaned; 0 beyond the edge
    noise, sharp, fine, peak : as the steps at the top call them; ``fine`` is not yet
        lowered by its median
    bad : not to be found; True beyond the edge
    found : cosmic rays
    blocked : bad or found
    ny, nx : size without the edges
    """

    image: Image
    variance: Image
    noise: Image
    sharp: Image
    fine: Image
    peak: Image
    bad: Bools
    found: Bools
    blocked: Bools
    ny: int
    nx: int

    @classmethod
    def new(cls, ny: int, nx: int) -> Planes:
        """Return empty planes."""
        shape = plane_shape(ny, nx)
        planes: dict[str, Any] = {name: np.zeros(shape, np.float32) for name in IMAGES}
        planes |= {name: np.ones(shape, bool) for name in MASKS}
        return cls(**planes, ny=ny, nx=nx)

    def pixels(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane without its edges."""
        return plane[EDGE_Y : EDGE_Y + self.ny, EDGE_X : EDGE_X + self.nx]

    def of_rows(
        self, image: Image, variance: Image, bad: Bools, rows: Places, columns: Places
    ) -> Planes:
        """Return these planes, filled with rows and columns of an image, nothing found yet."""
        top = len(rows) + 2 * EDGE_Y
        planes: dict[str, Any] = {name: getattr(self, name)[:top] for name in IMAGES + MASKS}
        strip = Planes(**planes, ny=len(rows), nx=self.nx)
        for plane, source in ((strip.image, image), (strip.variance, variance), (strip.bad, bad)):
            plane[-EDGE_Y:] = plane[:1]  # a shorter strip than the last one
            fill(strip.pixels(plane), source, rows, columns)
        strip.found[:] = False
        strip.blocked[:] = strip.bad
        return strip


def fill(out: NDArray[Any], source: NDArray[Any], rows: Places, columns: Places) -> None:
    """Write rows of a source, with its columns and those mirrored.

    Parameters
    ----------
    out : (n_rows, len(columns)), written
    source : (ny, nx) of the same type
    rows, columns : (n,) int, indices into the source, with those mirrored at the edges
    """
    n_mirrored = (len(columns) - source.shape[1]) // 2
    inner = out[:, n_mirrored : n_mirrored + source.shape[1]]
    is_run = rows[-1] - rows[0] == len(rows) - 1 and rows[0] == rows.min()
    inner[:] = source[rows[0] : rows[-1] + 1] if is_run else source[rows]
    for edge in (slice(n_mirrored), slice(n_mirrored + source.shape[1], None)):
        out[:, edge] = inner[:, columns[edge]]


def find(strip: Planes, work: Work, levels: Image) -> bool:
    """Find the cosmic rays of a strip; return whether a level was needed for cleaning.

    Parameters
    ----------
    strip : Planes; its image is cleaned and its cosmic rays are marked
    work : Work
    levels : (2,) float32, medians of image and variance; empty before they are known
    """
    sigclip, siglow, objlim = work.limits
    size, is_level_needed = (strip.ny, strip.nx), False
    stale = Stale.new(strip)
    for iteration in range(work.n_iterations):
        renew(strip, stale, work.psf, sigclip)
        seeds = seeds_of(
            strip.peak,
            strip.fine,
            strip.noise,
            strip.bad,
            stale.seeds & stale.is_loud,
            size,
            sigclip,
            objlim,
        )
        near = neighbours_above(seeds, strip.peak, strip.bad, sigclip)
        rays = neighbours_above(near, strip.peak, strip.bad, siglow)
        new = mark(rays, strip.found, strip.blocked)
        if iteration == work.n_iterations - 1 or (new.size == 0 and work.cleantype != MEDIAN):
            break
        places = np.flatnonzero(strip.found) if work.cleantype == MEDIAN else new
        if iteration > 0 and work.cleantype != MEDIAN:
            places = found_around(new, strip.found)
        planes = (strip.image, strip.variance)
        if work.cleantype in (MEANMASK, IDW):
            weights = MEAN_WEIGHTS if work.cleantype == MEANMASK else IDW_WEIGHTS
            *values, missing = masked_means(*planes, places, strip.blocked, weights, levels)
        else:
            mask = strip.blocked if work.cleantype == MEDMASK else np.zeros_like(strip.blocked)
            *values, missing = masked_medians(*planes, places, mask, levels)
        is_level_needed |= missing
        updates = put(*planes, places, *values)
        if not updates.size:
            break
        stale.flag(updates, strip.image.shape[1], work)
    return is_level_needed


@dataclass(frozen=True, eq=False)
class Stale:
    """Blocks of which something must be made again, each (ny, number of blocks) bool.

    Attributes
    ----------
    planes, loud, seeds : noise and sharpness; whether they are loud; their seeds
    fine, peaks : the planes named so; they stay stale until they are needed
    is_loud : whether a pixel in a block, or within 3 columns of it, can pass the limit
    """

    planes: Bools
    loud: Bools
    seeds: Bools
    fine: Bools
    peaks: Bools
    is_loud: Bools

    @classmethod
    def new(cls, strip: Planes) -> Stale:
        """Return flags of a strip of which nothing is made."""
        return cls(*np.ones((6, strip.ny, n_blocks(strip.nx)), bool))

    def flag(self, updates: Places, width: int, work: Work) -> None:
        """Flag what depends on pixels that have changed."""
        self.planes[:] = self.loud[:] = self.seeds[:] = False
        for flags, reach in (
            (self.planes, work.plane_reach_px),
            (self.loud, work.plane_reach_px + LOUD_PX),
            (self.seeds, work.seed_reach_px),
            (self.fine, work.plane_reach_px),
            (self.peaks, work.plane_reach_px + 2),
        ):
            flag_blocks(flags, updates, width, reach)


def renew(strip: Planes, stale: Stale, psf: Image, sigclip: float) -> None:
    """Write noise, sharpness, fine structure and peaks of stale blocks that matter.

    Parameters
    ----------
    strip : Planes, written
    stale : Stale, updated
    psf : (k, k) float32, k odd; empty for the median in its place
    sigclip : limit of the peaks, in sigma
    """
    size = (strip.ny, strip.nx)
    median5x5_blocks(strip.variance, stale.planes, strip.noise)
    sharpness_blocks(strip.image, strip.variance, stale.planes, size, strip.noise, strip.sharp)
    loud_blocks(strip.sharp, stale.loud, np.float32(sigclip), stale.is_loud)
    blocks = stale.fine & within_rows(stale.is_loud, LOUD_PX)
    if psf.size:
        weights = np.zeros_like(strip.noise)
        strip.pixels(weights)[:] = ONE / strip.pixels(strip.noise) / strip.pixels(strip.noise)
        signal = np.zeros_like(strip.noise)
        strip.pixels(signal)[:] = (
            strip.pixels(strip.image) / strip.pixels(strip.noise) / strip.pixels(strip.noise)
        )
        matched_blocks(signal, weights, psf, blocks, size, strip.fine)
    else:
        median3x3_blocks(strip.image, blocks, strip.fine)
        copy_border(strip.image, size, strip.fine)
    stale.fine[blocks] = False
    blocks = stale.peaks & within_rows(stale.is_loud, 1)
    median5x5_blocks(strip.sharp, blocks, strip.peak)
    peak_blocks(strip.sharp, blocks, size, strip.peak)
    stale.peaks[blocks] = False


def within_rows(flags: Bools, reach: int) -> Bools:
    """Return flags that are set where one is in the same column, not more than so far away.

    Parameters
    ----------
    flags : (ny, n) bool
    reach : rows
    """
    out = flags.copy()
    for step in range(1, reach + 1):
        out[step:] |= flags[:-step]
        out[:-step] |= flags[step:]
    return out


@compiled
def loud_blocks(sharp: Image, stale: Bools, sigclip: np.float32, is_loud: Bools) -> None:
    """Write of stale blocks whether the sharpness passes a limit in or closely beside them.

    Parameters
    ----------
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    sigclip : limit of the sharpness, in sigma
    is_loud : (ny, number of blocks) bool, written
    """
    for y in range(stale.shape[0]):
        for block in range(stale.shape[1]):
            if stale[y, block]:
                row = sharp[y + EDGE_Y, EDGE_X + block * BLOCK_PX - LOUD_PX :]
                n_loud = np.int32(0)
                for i in range(WIDE_PX):  # without a branch
                    n_loud += np.int32(row[i] > sigclip)
                is_loud[y, block] = n_loud > 0


@compiled
def grow_by_one(bad: Bools, is_edge_grown: bool, out: Bools) -> None:
    """Mark the eight neighbours of bad pixels, too; on the edge only if so wanted.

    Parameters
    ----------
    bad : (ny, nx) bool
    is_edge_grown : whether pixels on the edge count
    out : (ny, nx) bool, added to
    """
    ny, nx = bad.shape
    wide = np.empty(nx, np.bool_)
    for y in range(ny):
        here = bad[y]
        for i in range(nx):
            wide[i] = here[i]
        for i in range(nx - 1):
            wide[i] |= here[i + 1]
        for i in range(nx - 1):
            wide[i + 1] |= here[i]
        if not is_edge_grown:
            wide[0] = wide[nx - 1] = False
        for v in range(max(y - 1, 0), min(y + 2, ny)):
            if is_edge_grown or 0 < v < ny - 1:
                row = out[v]
                for i in range(nx):
                    row[i] |= wide[i]


@compiled
def sharpness_blocks(
    image: Image, variance: Image, stale: Bools, size: tuple[int, int], noise: Image, sharp: Image
) -> None:
    """Write the sharpness of stale blocks, and make noise of what holds medians of the variance.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    noise : (NY, NX) float32, with the edges of `rowmedians.plane_shape`; medians of the variance
        come in, sigma goes out
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    """
    ny, nx = size
    for y in range(ny):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX
            up, down = image[y + EDGE_Y - 1, x:], image[y + EDGE_Y + 1, x:]
            around = image[y + EDGE_Y, x - 1 :]
            sigma, row = noise[y + EDGE_Y, x:], sharp[y + EDGE_Y, x:]
            input_variance = variance[y + EDGE_Y, x:]
            if y < 2 or y >= ny - 2:
                for i in range(BLOCK_PX):
                    sigma[i] = input_variance[i]
            elif block == 0:
                sigma[0], sigma[1] = input_variance[0], input_variance[1]
            for i in range(max(nx - 2 - block * BLOCK_PX, 0), BLOCK_PX):
                sigma[i] = input_variance[i]
            for i in range(BLOCK_PX):
                sigma[i] = np.sqrt(upper(sigma[i], LEAST_VARIANCE))
                row[i] = laplacian(around[i + 1], around[i], around[i + 2], up[i], down[i]) / (
                    TWO * sigma[i]
                )
            for i in range(min(max(nx - block * BLOCK_PX, 0), BLOCK_PX), BLOCK_PX):
                row[i] = ZERO


@compiled
def laplacian(centre: Number, left: Number, right: Number, up: Number, down: Number) -> Number:
    """Return the mean of the positive parts of the four quarters' Laplacians.

    Each is 2 x centre minus two neighbours; the operations are those of the
    convolution of the split image, in its order, so that rounding is the same.

    Parameters
    ----------
    centre, left, right, up, down : float32, a pixel and its four neighbours
    """
    four = FOUR * centre
    start, other = four - centre, four - right
    quarters = upper(((start - left) - centre) - up, ZERO)
    quarters += upper(((start - left) - down) - centre, ZERO)
    quarters += upper(((other - centre) - down) - centre, ZERO)
    quarters += upper(((other - centre) - centre) - up, ZERO)
    return quarters * QUARTER


@compiled
def peak_blocks(sharp: Image, stale: Bools, size: tuple[int, int], peak: Image) -> None:
    """Turn medians of the sharpness into peaks; within 2 px of the edge they are zero.

    Parameters
    ----------
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    peak : (NY, NX) float32, with the edges of `rowmedians.plane_shape`; medians of the sharpness
        come in, peaks go out
    """
    ny, nx = size
    for y in range(ny):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX
            top, row = sharp[y + EDGE_Y, x:], peak[y + EDGE_Y, x:]
            for i in range(BLOCK_PX):
                row[i] = top[i] - row[i]
        if y < 2 or y >= ny - 2:
            peak[y + EDGE_Y] = ZERO
        else:
            peak[y + EDGE_Y, : EDGE_X + min(2, nx)] = ZERO
            peak[y + EDGE_Y, EDGE_X + max(nx - 2, 0) :] = ZERO


@compiled
def copy_border(image: Image, size: tuple[int, int], out: Image) -> None:
    """Copy the outermost pixels, which 3 x 3 medians leave as they are.

    Parameters
    ----------
    image, out : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    size : (ny, nx) without the edges
    """
    last_y, last_x = EDGE_Y + size[0] - 1, EDGE_X + size[1] - 1
    for x in range(EDGE_X, last_x + 1):
        out[EDGE_Y, x], out[last_y, x] = image[EDGE_Y, x], image[last_y, x]
    for y in range(EDGE_Y, last_y + 1):
        out[y, EDGE_X], out[y, last_x] = image[y, EDGE_X], image[y, last_x]


@compiled
def matched_blocks(
    signal: Image, weights: Image, psf: Image, stale: Bools, size: tuple[int, int], out: Image
) -> None:
    """Write the weighted means under the PSF of stale blocks.

    Parameters
    ----------
    signal, weights : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, image over
        variance and inverse variance
    psf : (k, k) float32, k odd
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    out : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    """
    ny, nx = size
    reach_y, reach_x = psf.shape[0] // 2, psf.shape[1] // 2
    for y in range(ny):
        for x in range(nx):
            if not stale[y, x // BLOCK_PX]:
                continue
            total, norm = ZERO, ZERO
            for v in range(max(y - reach_y, 0), min(y + reach_y + 1, ny)):
                for u in range(max(x - reach_x, 0), min(x + reach_x + 1, nx)):
                    factor = psf[reach_y + y - v, reach_x + x - u]
                    total += factor * signal[v + EDGE_Y, u + EDGE_X]
                    norm += factor * weights[v + EDGE_Y, u + EDGE_X]
            out[y + EDGE_Y, x + EDGE_X] = total / norm


@compiled
def seeds_of(
    peak: Image,
    fine: Image,
    noise: Image,
    bad: Bools,
    stale: Bools,
    size: tuple[int, int],
    sigclip: float,
    objlim: float,
) -> Places:
    """Return the (flat) places of peaks in stale blocks that are sharper than their structure.

    Parameters
    ----------
    peak, fine, noise : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    bad : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not to be found
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    sigclip : limit of the peaks, in sigma
    objlim : limit of the contrast
    """
    out, n = np.empty(64, np.int64), 0
    for y in range(EDGE_Y, EDGE_Y + size[0]):
        for block in range(stale.shape[1]):
            x0 = EDGE_X + block * BLOCK_PX
            if not stale[y - EDGE_Y, block]:
                continue
            row, unusable = peak[y, x0:], bad[y, x0:]
            for i in range(BLOCK_PX):
                if row[i] > sigclip and not unusable[i]:
                    if n == len(out):
                        out = np.concatenate((out, out))
                    out[n] = y * peak.shape[1] + x0 + i
                    n += is_contrast(fine, noise[y, x0 + i], y, x0 + i, row[i], objlim, size)
    return out[:n]


@compiled
def is_contrast(
    fine: Image,
    sigma: Number,
    y: int,
    x: int,
    peak: Number,
    objlim: float,
    size: tuple[int, int],
) -> bool:
    """Return whether a peak is above the fine structure by more than a factor.

    The structure is what the image has above its 7 x 7 median.  The factor is
    passed if it were with 25 of the 49 in place of the median: no need to know it.

    Parameters
    ----------
    fine : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, not yet lowered by its
        median
    sigma : float32, noise of the pixel
    y, x : the pixel in the padded planes
    peak : float32, of the pixel, in sigma
    objlim : limit of the contrast
    size : (ny, nx) without the edges
    """
    if not peak / LEAST_STRUCTURE > objlim:
        return False
    if min(y - EDGE_Y, size[0] + EDGE_Y - 1 - y) < 3:
        return True  # the image minus itself: there is no structure
    if min(x - EDGE_X, size[1] + EDGE_X - 1 - x) < 3:
        return True
    here = fine[y, x]
    limit = here - peak / objlim * sigma
    slack = np.float32(1e-6) * (abs(here) + abs(limit))  # what rounding can do
    low, high = limit - slack, limit + slack
    n_above, n_near = 0, 0
    flat, width = fine.reshape(-1), fine.shape[1]
    for j in range(-3, 4):
        first = (y + j) * width + x - 3
        for i in range(7):
            n_above += flat[first + i] > high
            n_near += flat[first + i] >= low
    if n_above >= 25 or n_near < 25:
        return n_above >= 25
    n_passed = 0
    for v in range(y - 3, y + 4):
        for u in range(x - 3, x + 4):
            structure = upper((here - fine[v, u]) / sigma, LEAST_STRUCTURE)
            n_passed += peak / structure > objlim
    return n_passed >= 25


@compiled
def neighbours_above(places: Places, peak: Image, bad: Bools, limit: float) -> Places:
    """Return those of the 3 x 3 pixels around places whose peak is above a limit, if not bad.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    peak : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    bad : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not to be found
    limit : in sigma
    """
    nx = peak.shape[1]
    peaks, unusable = peak.reshape(-1), bad.reshape(-1)
    is_listed = np.zeros(peak.size, np.bool_)
    out, n = np.empty(9 * len(places), np.int64), 0
    for place in places:
        for row in (place - nx, place, place + nx):
            for near in range(row - 1, row + 2):
                if peaks[near] > limit and not is_listed[near] and not unusable[near]:
                    is_listed[near] = True
                    out[n] = near
                    n += 1
    return out[:n]


@compiled
def mark(places: Places, rays: Bools, mask: Bools) -> Places:
    """Mark places; return those that were not marked before.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    rays, mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`; both are marked
    """
    flat, flat_mask = rays.reshape(-1), mask.reshape(-1)
    out, n = np.empty(len(places), np.int64), 0
    for place in places:
        if not flat[place]:
            flat[place] = flat_mask[place] = True
            out[n] = place
            n += 1
    return out[:n]


@compiled
def found_around(places: Places, rays: Bools) -> Places:
    """Return the found ones of the 5 x 5 pixels around places: those that are cleaned again.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    rays : (NY, NX) bool, with the edges of `rowmedians.plane_shape`
    """
    nx = rays.shape[1]
    remaining = rays.reshape(-1).copy()
    out, n = np.empty(64, np.int64), 0
    for place in places:
        for row in range(place - 2 * nx, place + 3 * nx, nx):
            for near in range(row - 2, row + 3):
                if remaining[near]:
                    remaining[near] = False
                    if n == len(out):
                        out = np.concatenate((out, out))
                    out[n] = near
                    n += 1
    return out[:n]


@compiled
def masked_means(
    image: Image, variance: Image, places: Places, mask: Bools, weights: Image, levels: Image
) -> tuple[Image, Image, bool]:
    """Return the weighted means of the pixels around places that are not blocked.

    Places without any get the level of the whole image, and it is said that
    one was needed.  Found pixels lie at least 2 px from the edge.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    places : (N,) int64, flat indices into the padded planes
    mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not used
    weights : (5, 5) float32
    levels : (2,) float32, of image and variance
    """
    nx = image.shape[1]
    values, others = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    pixels, variances, flat_mask = image.reshape(-1), variance.reshape(-1), mask.reshape(-1)
    is_level_needed = False
    for i in range(len(places)):
        total, other, norm = ZERO, ZERO, ZERO
        for j in range(5):
            first = places[i] + (j - 2) * nx - 2
            for k in range(5):
                weight = ZERO if flat_mask[first + k] else weights[j, k]
                total += weight * pixels[first + k]
                other += weight * variances[first + k]
                norm += weight
        if norm == ZERO:
            values[i], others[i], is_level_needed = levels[0], levels[1], True
        else:
            values[i], others[i] = total / norm, other / norm
    return values, others, is_level_needed


@compiled
def masked_medians(
    image: Image, variance: Image, places: Places, mask: Bools, levels: Image
) -> tuple[Image, Image, bool]:
    """Return the (lower) medians of the pixels around places that are not blocked.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    places : (N,) int64, flat indices into the padded planes
    mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not used
    levels : (2,) float32, of image and variance
    """
    nx = image.shape[1]
    values, others = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    window, other_window = np.empty(25, np.float32), np.empty(25, np.float32)
    is_level_needed = False
    for i in range(len(places)):
        y, x, n = places[i] // nx, places[i] % nx, 0
        for v in range(y - 2, y + 3):
            for u in range(x - 2, x + 3):
                if not mask[v, u]:
                    window[n], other_window[n] = image[v, u], variance[v, u]
                    n += 1
        if n == 0:
            values[i], others[i], is_level_needed = levels[0], levels[1], True
        else:
            values[i] = np.sort(window[:n])[(n - 1) // 2]
            others[i] = np.sort(other_window[:n])[(n - 1) // 2]
    return values, others, is_level_needed


@compiled
def put(image: Image, variance: Image, places: Places, values: Image, others: Image) -> Places:
    """Write values of image and variance; return the places where they are new.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    places : (N,) int64, flat indices into the padded planes
    values, others : (N,) float32, for image and variance
    """
    pixels, variances = image.reshape(-1), variance.reshape(-1)
    out, n = np.empty(len(places), np.int64), 0
    for i in range(len(places)):
        place = places[i]
        if pixels[place] != values[i] or variances[place] != others[i]:
            pixels[place], variances[place] = values[i], others[i]
            out[n] = place
            n += 1
    return out[:n]


@compiled
def flag_blocks(flags: Bools, places: Places, width: int, reach: int) -> None:
    """Flag the blocks within reach of places.

    Parameters
    ----------
    flags : (ny, number of blocks) bool, added to
    places : (N,) int64, flat indices into the padded planes
    width : NX of the padded planes
    reach : px
    """
    ny, n = flags.shape
    rows = np.zeros_like(flags)
    for place in places:
        y, x = place // width - EDGE_Y, place % width - EDGE_X
        for block in range(max(x - reach, 0) // BLOCK_PX, min((x + reach) // BLOCK_PX + 1, n)):
            rows[y, block] = True
    for y in range(ny):
        for v in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for block in range(n):
                flags[v, block] |= rows[y, block]
