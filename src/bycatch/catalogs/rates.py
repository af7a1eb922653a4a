"""What a photometry table says of the light of its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bycatch.arrays import Floats
from bycatch.catalogs.tables import floats

if TYPE_CHECKING:
    from astropy.table import Table


def net_rates(phot: Table, radius_px: float) -> Floats:
    """Return the count rates in an aperture without sky and cosmic rays, (N,) e/s.

    Parameters
    ----------
    phot : photometry table of N sources
    radius_px : radius of the aperture, px
    """
    r = f"{radius_px:g}"
    light = floats(phot, f"countrate_{r}") - floats(phot, f"countrate_cr_{r}")
    return light - floats(phot, "sky_median") * floats(phot, f"area_{r}")
