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

from functools import lru_cache

import numpy as np

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.lacosmic_blocks import renew
from bycatch.kernels.lacosmic_cleaning import found_around, masked_means, masked_medians, put
from bycatch.kernels.lacosmic_planes import Planes, Stale, Work
from bycatch.kernels.lacosmic_seeds import mark, neighbours_above, seeds_of
from bycatch.kernels.large_medians import lower_median
from bycatch.kernels.smoothing import weights_of
from bycatch.kernels.threads import in_portions

CLEANING = ("meanmask", "medmask", "median", "idw")
MEANMASK, MEDMASK, MEDIAN, IDW = range(4)
STRIP_PX = 160
"""Rows that are worked on at once."""
NO_PSF = np.zeros((0, 0), np.float32)
NO_LEVELS = np.full(2, np.nan, np.float32)
MEAN_WEIGHTS = np.ones((5, 5), np.float32)
IDW_WEIGHTS = np.hypot(*np.mgrid[-2:3, -2:3]).clip(0.5).astype(np.float32) ** -1
"""The pixel itself never counts: it is one of those to be replaced."""


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
