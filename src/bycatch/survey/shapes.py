"""What an object looks like where objects are drawn: its class and ellipse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.object_classes import object_classes
from bycatch.catalogs.tables import floats

if TYPE_CHECKING:
    from astropy.table import Table

RADIUS_ARCSEC = 0.25
LEGEND = {
    "point": "a point source: circle",
    "extended": "an extended object: its ellipse",
    "unclassified": "point or extended, unknown: square",
    "not real": "more likely not real than real: cross",
}
"""By class of `object_classes`."""


@dataclass(frozen=True)
class Shape:
    """An object to be drawn.

    Attributes
    ----------
    object_id : of the table
    object_class : a key of `LEGEND`
    ra_deg, dec_deg : position
    major_arcsec, minor_arcsec : half axes; of a circle, square or cross both are its radius
    pa_deg : position angle of the major axis, east of north
    is_listed : on the list of the user
    """

    object_id: int
    object_class: str
    ra_deg: float
    dec_deg: float
    major_arcsec: float
    minor_arcsec: float
    pa_deg: float
    is_listed: bool


def shapes_of(objects: Table) -> list[Shape]:
    """Return the shapes of a table of objects."""
    classes = object_classes(floats(objects, "p_real"), floats(objects, "p_star"))
    major, minor, angle = (
        floats(objects, name) for name in ("semimajor_arcsec", "semiminor_arcsec", "pa_deg")
    )
    listed = np.asarray(objects["list_row"]) > 0
    shapes = []
    for k, of_class in enumerate(classes):
        a, b, pa = RADIUS_ARCSEC, RADIUS_ARCSEC, 0.0
        if of_class == "extended" and np.isfinite(major[k] + minor[k] + angle[k]):
            a, b, pa = float(major[k]), float(minor[k]), float(angle[k])
        ra, dec = float(objects["ra"][k]), float(objects["dec"][k])
        number, is_listed = int(objects["object_id"][k]), bool(listed[k])
        shapes.append(Shape(number, of_class, ra, dec, a, b, pa, is_listed))
    return shapes
