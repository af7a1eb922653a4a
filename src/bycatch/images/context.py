"""How many exposures look at each pixel, from the context image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.errors import InconsistentImage
from bycatch.images.meta import ImageMeta
from bycatch.images.planes import data_of
from bycatch.kernels.exposures import exposure_counts

NO_CONTEXT = "no context image"
LARGEST_BITS = 1 << 32
"""A value of a context image is 32 bits, with or without a sign."""


def context_counts(
    hdu: Any | None, path: Path, meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[np.int16] | str:
    """Return exposures per pixel from the context image, or why it lacks them."""
    if hdu is None:
        return NO_CONTEXT
    return exposures_of(data_of(hdu, path), path, meta, shape)


def exposures_of(
    ctx: NDArray[Any], path: Path, meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[np.int16] | str:
    """Return exposures per pixel from the pixels of a context image, likewise."""
    usable = usable_context(ctx, path, meta, shape)
    return usable if isinstance(usable, str) else exposure_counts(usable)


def usable_context(
    ctx: NDArray[Any], path: Path, meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[np.integer] | str:
    """Return a context image as integers, or why it lacks the exposures.

    Raises
    ------
    InconsistentImage
        It is of another shape than the image, or has planes for more inputs than there are.
    """
    if ctx.ndim not in (2, 3) or ctx.shape[-2:] != shape:
        raise InconsistentImage(
            f"{path}: SCI is {shape} but CTX is {ctx.shape}",
            hint="give the context image that was drizzled with it, or remove it",
        )
    n_planes = 1 if ctx.ndim == 2 else ctx.shape[0]
    if len(meta.chips) > 32 * n_planes:
        return f"the context image has {n_planes} plane(s) for {len(meta.chips)} inputs"
    if meta.chips and n_planes > -(-len(meta.chips) // 32):
        raise InconsistentImage(
            f"{path}: CTX is a cube of {n_planes} planes {ctx.shape}, more than for the "
            f"{len(meta.chips)} inputs of the image",
            hint="give the context image that was drizzled with it, or remove it",
        )
    return ctx if ctx.dtype.kind in "iu" else _as_bits(ctx, min(len(meta.chips), 32))


def _as_bits(ctx: NDArray[Any], n_bits: int) -> NDArray[np.int64] | str:
    """Return numbers with a point as the bits that they stand for; NaN, which is blank, as none."""
    if n_bits > np.finfo(ctx.dtype).nmant + 1:
        return f"the context image is {ctx.dtype}, which can't hold {n_bits} inputs"
    values = np.nan_to_num(ctx, posinf=LARGEST_BITS)
    bits: NDArray[np.int64] = np.clip(values, -LARGEST_BITS, LARGEST_BITS).astype(np.int64)
    if np.any(bits != values) or np.any(np.abs(bits) >= LARGEST_BITS):
        return "the values of the context image are not 32-bit integers"
    return bits


def exposures_per_pixel(
    context: NDArray[np.int16] | str, time_map_s: Image, meta: ImageMeta
) -> tuple[NDArray[np.int16], list[str]]:
    """Return exposures per pixel, 0 where there are no data, and notes."""
    notes = []
    if isinstance(context, str):
        guess = np.rint(time_map_s / np.float32(meta.exptime_per_exposure_s))
        counts = np.clip(guess, 1, meta.n_exposures).astype(np.int16)
        notes = [f"{context}: number of exposures guessed from the exposure time per pixel (WHT)"]
    else:
        counts = np.maximum(context, np.int16(1), out=context)
    counts *= time_map_s > 0
    return counts, notes
