"""Objects as ds9 regions: shapes and colours by what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.object_classes import CLASS_COLOURS, MOVES_CHI2
from bycatch.catalogs.tables import floats
from bycatch.errors import SettingsError
from bycatch.pipeline.object_shapes import CIRCLE, RADIUS_ARCSEC, Shape, shapes_of

if TYPE_CHECKING:
    from astropy.table import Table

LEAST_ARCSEC = 0.1
VECTOR_YEARS = 100.0
"""A motion of 10 mas a year is an arrow of an arcsecond."""


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
    names = ("pmra", "pmdec", "pmra_err", "pmdec_err")
    motions = np.column_stack([floats(table, name) for name in names]).tolist()
    for shape, motion in zip(shapes_of(table), motions, strict=True):
        at, colour = f"{shape.ra_deg:.8f},{shape.dec_deg:.8f}", CLASS_COLOURS[shape.object_class]
        mark = "point=x 10 " if shape.object_class == "not real" else ""
        about = f"# {mark}color={colour} text={{{shape.object_id}}}"
        lines.append(f"{_region(shape, at)} {about}")
        if shape.is_listed:
            lines.append(f"point({at}) # point=diamond 18 color={colour}")
        lines += _vector(at, motion, colour)
    return "\n".join(lines) + "\n"


def _region(shape: Shape, at: str) -> str:
    """Return the region of an object, without its properties."""
    if shape.object_class == "not real":
        return f"point({at})"
    if shape.object_class == "unclassified":
        return f'box({at},{2 * RADIUS_ARCSEC}",{2 * RADIUS_ARCSEC}",0)'
    if shape.ellipse == CIRCLE:
        return f'circle({at},{RADIUS_ARCSEC}")'
    # ds9 counts anticlockwise from the west, where the x axis of north-up images points.
    major, minor, pa = shape.ellipse
    long, short = (max(v, LEAST_ARCSEC) for v in (major, minor))
    return f'ellipse({at},{long:.3f}",{short:.3f}",{(pa + 90.0) % 180.0:.1f})'


def _vector(at: str, motion: list[float], colour: str) -> list[str]:
    """Return the motion of an object as an arrow, where it is one of 5 sigma."""
    pmra, pmdec, ra_err, dec_err = motion
    if not (pmra / ra_err) ** 2 + (pmdec / dec_err) ** 2 > MOVES_CHI2:
        return []
    length = np.hypot(pmra, pmdec) * VECTOR_YEARS / 1000.0
    angle = np.degrees(np.arctan2(pmdec, -pmra)) % 360.0
    return [f'# vector({at},{length:.3f}",{angle:.1f}) vector=1 color={colour}']
