"""Which exposures look at a position: the bits of the context image, read where they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.images.context import usable_context
from bycatch.images.files import open_fits
from bycatch.images.headers import Exposure
from bycatch.images.meta import ImageMeta
from bycatch.images.planes import data_of, find_plane

Sets = NDArray[np.int64]
MOST = 63
"""Exposures that a set can hold; those beyond it are left out."""


def exposure_sets(
    path: Path, meta: ImageMeta, x: ArrayLike, y: ArrayLike, ctx_path: Path | None = None
) -> Sets:
    """Return the exposures of the pixels at some positions.

    Parameters
    ----------
    path : the drizzled image
    meta : what its headers say
    x, y : (N,) float; 0-based pixel centres
    ctx_path : the context image, where it has a file of its own

    Returns
    -------
    (N,) int64
        Bit k is set where exposure k of ``meta.exposures`` contributes; 0 where none does, off the
        image, and without a context image.
    """
    column, row = (np.asarray(v, dtype=float).ravel() for v in (x, y))
    sets_at = np.zeros(len(column), dtype=np.int64)
    with open_fits(ctx_path or path, memmap=True) as hdus:
        hdu = find_plane(hdus, "CTX", apart=ctx_path is not None)
        if hdu is None or not meta.chips:
            return sets_at
        ctx = data_of(hdu, ctx_path or path)
        usable = usable_context(ctx, path, meta, ctx.shape[-2:])
        if isinstance(usable, str):
            return sets_at
        planes = usable if usable.ndim == 3 else usable[np.newaxis]
        ny, nx = planes.shape[1:]
        inside = (column > -0.5) & (column < nx - 0.5) & (row > -0.5) & (row < ny - 0.5)
        at_x, at_y = (np.rint(v[inside]).astype(int) for v in (column, row))
        # Signed in the file, but the bits are what counts.
        bits = np.asarray(planes[:, at_y, at_x]).astype(np.int64) & 0xFFFFFFFF
    names = [exposure.name for exposure in meta.exposures]
    sets = np.zeros(bits.shape[1], dtype=np.int64)
    for k, chip in enumerate(meta.chips):
        number = names.index(chip.exposure)
        if number < MOST:
            sets |= ((bits[k // 32] >> (k % 32)) & 1) << number
    sets_at[inside] = sets
    return sets_at


def mean_mjd(sets: Sets, exposures: Sequence[Exposure], default: float) -> NDArray[np.float64]:
    """Return the mean time of observation of each set, exposures weighted by their duration.

    Where the file does not say when its exposures were taken, the ``default``.
    """
    weight, total = np.zeros(len(sets)), np.zeros(len(sets))
    for number, exposure in enumerate(exposures[:MOST]):
        if np.isfinite(exposure.mjd_mid) and exposure.exptime_s > 0:
            looks = (sets >> number) & 1
            weight += looks * exposure.exptime_s
            total += looks * exposure.exptime_s * exposure.mjd_mid
    mean = np.full(len(sets), default)
    np.divide(total, weight, out=mean, where=weight > 0)
    return mean
