"""Objects as ds9 regions: shapes and colours by what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.object_classes import MOVES_CHI2, POINT, REAL
from bycatch.catalogs.tables import floats
from bycatch.errors import SettingsError

if TYPE_CHECKING:
    from astropy.table import Table

POINT_ARCSEC = 0.2
LEAST_ARCSEC = 0.1
VECTOR_YEARS = 100.0
"""A motion of 10 mas a year is an arrow of an arcsecond."""
COLOURS = {
    "point": "#009E73",
    "extended": "#0072B2",
    "unclassified": "#CC79A7",
    "not real": "#D55E00",
}
"""Of Okabe & Ito, which colour-blind people can tell apart."""


def object_regions(table: Table) -> str:
    """Return objects as ds9 regions on the sky.

    Points are circles, extended objects ellipses, unclassified ones boxes, what is not real
    more likely than not crosses; positions of the user's list are diamonds around these.  Motions
    of 5 sigma are arrows of 100 years.  The text is the object_id.

    Raises
    ------
    SettingsError
        The table has no positions on the sky.
    """
    if "ra" not in table.colnames:
        raise SettingsError(
            "the table has no positions on the sky",
            hint="export objects or objects_clean as regions",
        )
    lines = ["# Region file format: DS9 version 4.1", "icrs"]
    names = ("ra", "dec", "p_real", "p_star", "semimajor_arcsec", "semiminor_arcsec", "pa_deg")
    columns = [floats(table, name) for name in (*names, "pmra", "pmdec", "pmra_err", "pmdec_err")]
    is_of_user = np.asarray(table["list_row"]) > 0
    for number, mine, row in zip(
        np.asarray(table["object_id"]).tolist(), is_of_user, np.column_stack(columns), strict=True
    ):
        ra, dec, p_real, p_star, major, minor, pa, *motion = row.tolist()
        at = f"{ra:.8f},{dec:.8f}"
        kind = _kind(p_real, p_star)
        mark = "point=x 10 " if kind == "not real" else ""
        about = f"# {mark}color={COLOURS[kind]} text={{{number}}}"
        lines.append(f"{_shape(kind, at, major, minor, pa)} {about}")
        if mine:
            lines.append(f"point({at}) # point=diamond 18 color={COLOURS[kind]}")
        lines += _vector(at, motion, COLOURS[kind])
    return "\n".join(lines) + "\n"


def _kind(p_real: float, p_star: float) -> str:
    if not p_real >= REAL:
        return "not real"
    if np.isnan(p_star):
        return "unclassified"
    return "point" if p_star >= POINT else "extended"


def _shape(kind: str, at: str, major: float, minor: float, pa: float) -> str:
    """Return the region of an object, without its properties."""
    if kind == "not real":
        return f"point({at})"
    if kind == "unclassified":
        return f'box({at},{2 * POINT_ARCSEC}",{2 * POINT_ARCSEC}",0)'
    if kind == "extended" and np.isfinite(major + minor + pa):
        # ds9 counts anticlockwise from the west, where the x axis of north-up images points.
        long, short = (max(v, LEAST_ARCSEC) for v in (major, minor))
        return f'ellipse({at},{long:.3f}",{short:.3f}",{(pa + 90.0) % 180.0:.1f})'
    return f'circle({at},{POINT_ARCSEC}")'


def _vector(at: str, motion: list[float], colour: str) -> list[str]:
    """Return the motion of an object as an arrow, where it is one of 5 sigma."""
    pmra, pmdec, ra_err, dec_err = motion
    if not (pmra / ra_err) ** 2 + (pmdec / dec_err) ** 2 > MOVES_CHI2:
        return []
    length = np.hypot(pmra, pmdec) * VECTOR_YEARS / 1000.0
    angle = np.degrees(np.arctan2(pmdec, -pmra)) % 360.0
    return [f'# vector({at},{length:.3f}",{angle:.1f}) vector=1 color={colour}']
