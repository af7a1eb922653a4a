"""What the weight of an image means: effective exposure times per pixel."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.images.headers import Headers
from bycatch.images.meta import ImageMeta
from bycatch.images.wcs import pixel_scale_arcsec
from bycatch.settings import InputSettings

ROWS = 64
DARK_RATE = 0.012
"""Dark current of ACS/WFC, e/s per pixel, middle of its range since 2009."""


def exposure_time(
    wht: Image | None,
    valid: NDArray[np.bool_],
    meta: ImageMeta,
    wcs: WCS,
    headers: Headers,
    settings: InputSettings,
) -> tuple[str, Image, list[str]]:
    """Return the type of WHT, the effective exposure time per pixel (s), and notes.

    The exposure times take the place of the weights.
    """
    if wht is None:
        uniform = np.where(valid, meta.exptime_s, 0).astype(np.float32)
        return "none", uniform, ["no weight: uniform depth assumed"]
    area = (meta.native_scale_arcsec / pixel_scale_arcsec(wcs)) ** 2
    # Drizzle spreads a weight of EXPTIME per native pixel: WHT = EXPTIME x (output / native
    # scale)^2 with 9 % of distortion, so seconds are WHT x area.
    factor = np.float32(area)
    # The weight is smooth: some of the pixels of a large image are enough.
    step = max(1, int(np.sqrt(np.count_nonzero(valid) / 1e6)))
    typical = float(np.percentile(every_nth(wht, valid, step**2) * factor, 99))
    kind = settings.wht_type or _wht_type(typical, meta, headers)
    notes: list[str] = []
    if kind == "ivm":
        # 1/WHT is the background variance of a rate; per second of exposure that variance is
        # sky + dark + readnoise^2 / duration of one exposure, spread over the pixel's area.
        sky = meta.subtracted_sky_rate
        if not np.isfinite(sky):
            sky = 0.05
            notes.append("sky rate unknown: 0.05 e/s per native pixel assumed")
        per_second = sky + DARK_RATE + meta.readnoise_e**2 / meta.exptime_per_exposure_s
        wht *= np.float32(per_second / area)
        np.minimum(wht, np.float32(meta.exptime_s), out=wht)
        notes.append("WHT holds inverse variances: exposure times derived from them")
    else:
        wht *= factor
    if kind == "relative":
        wht *= np.float32(meta.exptime_s / typical)
    return kind, wht, notes


def every_nth(values: Image, mask: NDArray[np.bool_], n: int) -> Image:
    """Return the first of the values that are used, row by row, and every n-th after it."""
    parts, first = [], 0
    for y in range(0, len(values), ROWS):  # some rows at a time: no copy of all values
        part = values[y : y + ROWS][mask[y : y + ROWS]]
        parts.append(part[first::n])
        first = (first - len(part)) % n
    return np.concatenate(parts)


def _wht_type(typical_s: float, meta: ImageMeta, headers: Headers) -> str:
    # AstroDrizzle notes the factor of its weight: 1 for exposure times,
    # (exposure time)^2 x (scale ratio)^4 for inverse variances.
    weight_factor = headers.number("D001WTSC")
    if weight_factor > 1.5:
        return "ivm"
    if typical_s > 1.5 * meta.exptime_s:
        return "relative" if weight_factor == 1 else "ivm"
    return "exptime" if typical_s > 0.5 * meta.exptime_per_exposure_s else "relative"
