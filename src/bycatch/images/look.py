"""A drizzled image to look at: few of its pixels are read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.images.context import usable_context
from bycatch.images.drc import DrcImage, read_drc
from bycatch.images.files import DAMAGED
from bycatch.images.headers import headers_of
from bycatch.images.meta import image_meta
from bycatch.images.planes import PLANES, find_plane, refuse_several
from bycatch.images.validity import mark_no_data
from bycatch.kernels.exposures import exposure_counts
from bycatch.settings import InputSettings


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of pixels that are read where they are looked at: ``plane[ys, xs]``."""

    shape: tuple[int, int]
    read: Callable[[tuple[slice, slice]], NDArray[Any]]

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        return self.read(part)


@dataclass(frozen=True, eq=False)
class DrcLook:
    """A drizzled image for looking at, not for measuring.

    Attributes
    ----------
    sci : float32, in the unit of the file; NaN where there are no data
    n_exp : int16, exposures that contribute
    has_context : bool; always True
    """

    sci: Plane
    n_exp: Plane
    has_context: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.sci.shape


def look_at(
    path: str | Path,
    settings: InputSettings | None = None,
    wht_path: Path | None = None,
    ctx_path: Path | None = None,
) -> DrcImage | DrcLook:
    """Return a drizzled image to look at; few of its pixels are read, as a rule.

    What is compressed, or lacks a plane, is read as a whole; see `read_drc` for what it raises.
    """
    path, input_settings = Path(path), settings or InputSettings()
    if path.suffix == ".fits" and wht_path is None and ctx_path is None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with fits.open(path, memmap=True) as hdus:
                    look = _look(path, hdus, input_settings)
        except DAMAGED:
            look = None
        if look:
            return look
    return read_drc(path, input_settings, wht_path, ctx_path)


def _look(path: Path, hdus: fits.HDUList, settings: InputSettings) -> DrcLook | None:
    """Return the planes of an open file; None if not all are there, and of one shape."""
    headers = headers_of(path, hdus)
    planes: list[Any] = [find_plane(hdus, name) for name in PLANES]
    if any(plane is None or isinstance(plane, fits.CompImageHDU) for plane in planes):
        return None
    refuse_several(hdus, path)
    sci, wht, ctx = (plane.data for plane in planes)
    if not (sci.ndim == wht.ndim == 2 and sci.shape == wht.shape == ctx.shape[-2:]):
        return None
    bits = usable_context(ctx, path, image_meta(headers, settings), sci.shape)
    if isinstance(bits, str):
        return None

    def rates(part: tuple[slice, slice]) -> Image:
        pixels = np.array(sci[part], dtype=np.float32)
        mark_no_data(pixels, np.array(wht[part], dtype=np.float32))
        return pixels

    def exposures(part: tuple[slice, slice]) -> NDArray[np.int16]:
        counts = np.maximum(exposure_counts(bits[..., part[0], part[1]]), np.int16(1))
        counts[~np.isfinite(rates(part))] = 0
        return counts

    return DrcLook(Plane(sci.shape, rates), Plane(sci.shape, exposures))
