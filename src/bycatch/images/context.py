"""How many exposures look at each pixel, from the context image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.images.meta import ImageMeta
from bycatch.images.planes import data_of
from bycatch.kernels.exposures import exposure_counts

Image = NDArray[np.float32]


def context_counts(
    hdu: Any | None, path: Path, meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[np.int16] | str:
    """Return exposures per pixel from the context image, or why it does not tell them."""
    if hdu is None:
        return "no context image"
    told = usable_context(data_of(hdu, path), meta, shape)
    return told if isinstance(told, str) else exposure_counts(told)


def usable_context(
    ctx: NDArray[Any], meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[Any] | str:
    """Return a context image, or why it does not tell the exposures."""
    if ctx.dtype.kind not in "iu" or ctx.ndim not in (2, 3) or ctx.shape[-2:] != shape[-2:]:
        return f"context image of shape {ctx.shape}"
    n_planes = 1 if ctx.ndim == 2 else ctx.shape[0]
    if len(meta.chips) > 32 * n_planes:
        return f"the context image has {n_planes} plane(s) for {len(meta.chips)} inputs"
    return ctx


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
    counts[time_map_s <= 0] = 0
    return counts, notes
