"""What an object looks like where objects are drawn: in ds9, and on the page of `bycatch view`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bycatch.catalogs.object_classes import object_classes
from bycatch.catalogs.tables import floats

if TYPE_CHECKING:
    from astropy.table import Table

RADIUS_ARCSEC = 0.2
"""Of all that has no ellipse."""
LEGEND = {
    "point": "a point source: circle",
    "extended": "an extended object: its ellipse",
    "unclassified": "point or extended, unknown: square",
    "not real": "more likely not real than real: cross",
}
"""By class of `object_classes`."""


class Ellipse(NamedTuple):
    """Half axes of an object, and the position angle of the longer one, east of north."""

    major_arcsec: float
    minor_arcsec: float
    pa_deg: float


CIRCLE = Ellipse(RADIUS_ARCSEC, RADIUS_ARCSEC, 0.0)


@dataclass(frozen=True)
class Shape:
    """An object to be drawn.

    Attributes
    ----------
    object_id : of the table
    object_class : a key of `LEGEND`
    ra_deg, dec_deg : position
    ellipse : of an extended object; `CIRCLE` for all others, and where it is not known
    is_listed : on the list of the user
    """

    object_id: int
    object_class: str
    ra_deg: float
    dec_deg: float
    ellipse: Ellipse
    is_listed: bool


def shapes_of(objects: Table) -> list[Shape]:
    """Return the shapes of a table of objects."""
    classes = object_classes(floats(objects, "p_real"), floats(objects, "p_star"))
    names = ("ra", "dec", "semimajor_arcsec", "semiminor_arcsec", "pa_deg")
    rows = np.column_stack([floats(objects, name) for name in names]).tolist()
    is_listed = (np.asarray(objects["list_row"]) > 0).tolist()
    ids = np.asarray(objects["object_id"]).tolist()
    shapes = []
    for number, of_class, (ra, dec, *axes), is_of_user in zip(
        ids, classes, rows, is_listed, strict=True
    ):
        has_ellipse = of_class == "extended" and np.isfinite(axes).all()
        ellipse = Ellipse(*axes) if has_ellipse else CIRCLE
        shapes.append(Shape(number, of_class, ra, dec, ellipse, is_of_user))
    return shapes
