"""Positions in queries of a survey, and distances from them."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from bycatch.arrays import Floats
from bycatch.catalogs.tables import floats
from bycatch.errors import SettingsError
from bycatch.pipeline.lists import Positions

_RA = ("ra", "ra_deg", "raj2000", "ra_icrs", "ra_gaia_wcs", "alpha_j2000")
_DEC = ("dec", "dec_deg", "dej2000", "de_icrs", "dec_gaia_wcs", "delta_j2000")


def separation_arcsec(ra_deg: Floats, dec_deg: Floats, ra0_deg: float, dec0_deg: float) -> Floats:
    """Return the distance of positions from one, arcsec (haversines: exact for small ones)."""
    ra, dec, ra0, dec0 = (np.radians(v) for v in (ra_deg, dec_deg, ra0_deg, dec0_deg))
    square = np.sin((dec - dec0) / 2.0) ** 2
    square = square + np.cos(dec) * np.cos(dec0) * np.sin((ra - ra0) / 2.0) ** 2
    return np.asarray(np.degrees(2.0 * np.arcsin(np.sqrt(np.minimum(square, 1.0)))) * 3600.0)


SEPARATION_SQL = (
    "(2 * degrees(asin(least(1.0, sqrt(pow(sin(radians(o.dec - p.dec0) / 2), 2) + "
    "cos(radians(o.dec)) * cos(radians(p.dec0)) * "
    "pow(sin(radians(o.ra - p.ra0) / 2), 2))))) * 3600)"
)
"""The same as SQL: of an object o and a place p."""


def sky_table(positions: Positions) -> Table:
    """Return a user's positions as a table of ra and dec.

    Raises
    ------
    SettingsError
        They are pixels of an image.
    """
    if not positions.on_sky:
        raise SettingsError("the positions are pixels", hint="give ra and dec in degrees")
    return Table({"ra": positions.first, "dec": positions.second})


def positions_of(positions: Table | SkyCoord) -> tuple[Floats, Floats]:
    """Return right ascension and declination of positions, degrees.

    Raises
    ------
    SettingsError
        The table has no columns of positions.
    """
    if isinstance(positions, SkyCoord):
        at = positions.icrs
        return np.atleast_1d(at.ra.deg), np.atleast_1d(at.dec.deg)
    lower = {name.lower(): name for name in positions.colnames}
    for ra, dec in zip(_RA, _DEC, strict=True):
        if ra in lower and dec in lower:
            return floats(positions, lower[ra]), floats(positions, lower[dec])
    raise SettingsError(
        f"no positions among the columns {', '.join(positions.colnames)}",
        hint="call them ra and dec, in degrees",
    )
