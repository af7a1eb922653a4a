"""Whether stars that a service, or the cache, gives can be the answer to what was asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from bycatch.arrays import Floats
from bycatch.sky.gaia import ReferenceStars

Circle = tuple[float, float, float]
"""Right ascension and declination of the centre, radius; degrees."""

CIRCLE_MARGIN_DEG = 1.0 / 3600.0
"""Services round: a star may be this far outside of the circle that was asked for."""
GAIA_EPOCHS = (2013.0, 2030.0)
MAX_MOTION_MAS_YR = 11_000.0
"""Barnard's star moves by 10,400 mas/yr, and no star faster."""
MAX_DENSITY_PER_DEG2 = 5e6
"""Gaia resolves 1.05 million sources per square degree (Gaia Collaboration 2016, A&A 595, A1);
more in small circles."""
MIN_FOR_DENSITY = 1000


def misfit(
    stars: ReferenceStars,
    circle: Circle,
    faint_limit_mag: float = 0.0,
    between_dec_deg: tuple[float, float] | None = None,
) -> str:
    """Return why stars can't be Gaia's answer to a question, in words; '' if they can.

    Parameters
    ----------
    stars : the answer
    circle : what was asked for: right ascension and declination of the centre, radius; degrees
    faint_limit_mag : faintest G magnitude that was asked for; 0 for no limit
    between_dec_deg : declinations of the band that was asked for
    """
    n = len(stars)
    if not n:
        return ""
    ra, dec = np.asarray(stars.table["ra"]), np.asarray(stars.table["dec"])
    low, high = between_dec_deg or (-90.0, 90.0)
    epoch = np.asarray(stars.table["ref_epoch"])
    motion = np.hypot(*(np.nan_to_num(np.asarray(stars.table[k])) for k in ("pmra", "pmdec")))
    mag = np.asarray(stars.table["phot_g_mean_mag"])
    area_deg2 = 41253.0 / 2 * (1 - np.cos(np.radians(min(circle[2], 180.0))))
    problems = (
        (separation_deg(ra, dec, circle[0], circle[1]) > circle[2] + CIRCLE_MARGIN_DEG,
         "lie outside of the circle that was asked for"),
        ((dec < low - CIRCLE_MARGIN_DEG) | (dec > high + CIRCLE_MARGIN_DEG),
         "lie outside of the declinations that were asked for"),
        ((epoch < GAIA_EPOCHS[0]) | (epoch > GAIA_EPOCHS[1]), "are of an epoch that is not Gaia's"),
        (motion > MAX_MOTION_MAS_YR, "move faster than any star"),
        ((mag < -2) | (mag > (faint_limit_mag + 0.01 if faint_limit_mag > 0 else 25.0)),
         "have a magnitude that was not asked for"),
    )  # fmt: skip
    for wrong, why in problems:
        if wrong.any():
            return f"{int(wrong.sum())} of {n} stars {why}"
    n_places = len(np.unique(np.column_stack([ra, dec]), axis=0))
    n_stars = len(np.unique(np.asarray(stars.table["source_id"])))
    if 2 * n_places <= n_stars:
        return f"{n_stars} stars lie at {n_places} position(s)"
    if n_stars > max(MIN_FOR_DENSITY, MAX_DENSITY_PER_DEG2 * area_deg2):
        return f"{n_stars} stars are more than Gaia resolves there"
    return ""


def separation_deg(ra1: Any, dec1: Any, ra2: Any, dec2: Any) -> Floats:
    """Return distances of positions on the sky, degrees."""
    a1, d1, a2, d2 = (np.radians(v) for v in (ra1, dec1, ra2, dec2))
    sine2 = np.sin((d2 - d1) / 2) ** 2 + np.cos(d1) * np.cos(d2) * np.sin((a2 - a1) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.clip(sine2, 0, 1)))))
