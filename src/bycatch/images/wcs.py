"""The WCS of a drizzled image, and what it means on the sky."""

from __future__ import annotations

import re

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from bycatch.errors import MissingKeyword
from bycatch.images.headers import Headers

WCS_CARD = re.compile(
    r"WCSAXES|WCSNAME|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT)[12]|(CD|PC)[12]_[12]"
    r"|RADESYS|EQUINOX|LONPOLE|LATPOLE|[AB]P?_(ORDER|\d_\d)"
)
MIN_SCALE_ARCSEC, MAX_SCALE_ARCSEC = 0.001, 10.0


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Return the mean pixel scale of a celestial WCS, arcsec per pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs.celestial))) * 3600.0)


def celestial_wcs(headers: Headers) -> WCS:
    """Return the WCS of the SCI image.

    Raises
    ------
    MissingKeyword
        There is none, or it can't be read.
    """
    # From the WCS cards alone: a mosaic's header can hold 33,000 others.
    cards = fits.Header()
    has_cd = "CD1_1" in headers.sci
    shape = headers.shapes["SCI"]
    try:
        for key in headers.sci:
            if key and WCS_CARD.fullmatch(key) and not (has_cd and key.startswith(("CDELT", "PC"))):
                cards[key] = headers.sci[key]
        cards["NAXIS1"], cards["NAXIS2"] = shape[-1], shape[-2]
        wcs = WCS(cards)
    except Exception as err:  # wcslib raises many kinds, and so do damaged cards
        raise MissingKeyword(
            f"{headers.path}: its WCS can't be read ({err})",
            hint="repair the WCS cards of the SCI header",
        ) from err
    if not wcs.has_celestial:
        raise MissingKeyword(
            f"{headers.path}: no celestial WCS (CTYPE1, CRVAL1, CD1_1 ...)",
            hint="drizzled images carry one; fetch the file again",
        )
    scale = pixel_scale_arcsec(wcs)
    if not MIN_SCALE_ARCSEC < scale < MAX_SCALE_ARCSEC:
        raise MissingKeyword(
            f"{headers.path}: its WCS gives pixels of {scale:.3g} arcsec",
            hint="repair the CD matrix of the SCI header",
        )
    return wcs
