"""Positions on the sky: the frame of an image, its error, and the match with Gaia."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.columns import MISSING_GAIA
from bycatch.gaia import ReferenceStars
from bycatch.kernels.matching import match_one_to_one

Floats = NDArray[np.float64]

MAS_PER_DEG = 3.6e6


def sky_positions(
    x: Floats,
    y: Floats,
    wcs: WCS,
    mjd: float,
    reference: ReferenceStars | None,
    radius_mas: float,
) -> dict[str, Any]:
    """Return the sky coordinates and Gaia columns of each position."""
    n = len(x)
    ra, dec = wcs.all_pix2world(x, y, 0) if n else (np.empty(0), np.empty(0))
    out: dict[str, Any] = {
        "RA_GAIA_WCS": ra,
        "DEC_GAIA_WCS": dec,
        "GAIA_CAT_RA": np.full(n, MISSING_GAIA),
        "GAIA_CAT_DEC": np.full(n, MISSING_GAIA),
        "gaia_source_id": np.zeros(n, dtype=np.int64),
        "gaia_separation": np.full(n, np.nan),
        "gaia_g": np.full(n, np.nan),
    }
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if reference is None or not len(reference) or not len(known):
        return out
    star_ra, star_dec = reference.positions_at(mjd)
    # Not one of the positions: a user's list may hold some far off the image.
    centre = (float(wcs.wcs.crval[wcs.wcs.lng]), float(wcs.wcs.crval[wcs.wcs.lat]))
    ours = tangent_mas(ra[known], dec[known], *centre)
    theirs = tangent_mas(np.asarray(star_ra), np.asarray(star_dec), *centre)
    mine, star = match_one_to_one(ours, theirs, radius_mas)
    rows = known[mine]
    catalog = reference.table
    out["GAIA_CAT_RA"][rows] = np.asarray(catalog["ra"])[star]
    out["GAIA_CAT_DEC"][rows] = np.asarray(catalog["dec"])[star]
    out["gaia_source_id"][rows] = np.asarray(catalog["source_id"])[star]
    out["gaia_separation"][rows] = np.hypot(*(ours[mine] - theirs[star]).T)
    out["gaia_g"][rows] = np.ma.filled(catalog["phot_g_mean_mag"], np.nan)[star]
    return out


def tangent_mas(ra_deg: Floats, dec_deg: Floats, ra0_deg: float, dec0_deg: float) -> Floats:
    """Project onto the plane tangent at a point; (N, 2) in mas, NaN on the far hemisphere."""
    d_ra, dec, dec0 = np.radians(ra_deg - ra0_deg), np.radians(dec_deg), np.radians(dec0_deg)
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
    scale = np.degrees(1.0 / np.where(cosine > 0, cosine, np.nan)) * MAS_PER_DEG
    xi = scale * np.cos(dec) * np.sin(d_ra)
    eta = scale * (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra))
    return np.column_stack([xi, eta])
