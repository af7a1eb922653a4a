"""What an object looks like where objects are drawn: its kind, shape and colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats
from bycatch.pipeline.export import COLOURS as IMAGE_COLOURS

if TYPE_CHECKING:
    from astropy.table import Table

RADIUS_ARCSEC = 0.25
COLOURS = {**IMAGE_COLOURS, "not real": "#999999", "listed": "#CC79A7"}
WORDS = {
    "point": "a point source: circle",
    "extended": "an extended object: its ellipse",
    "flagged": "saturated or at an edge: square",
    "cosmic ray": "more likely a cosmic ray than real: cross",
    "not real": "not real more likely than not: cross",
    "listed": "of the user's list only: diamond",
}
_OF_LIST = 4
_HALF = 0.5


@dataclass(frozen=True)
class Shape:
    """An object to be drawn.

    Attributes
    ----------
    object_id : of the table
    kind : one of `WORDS`
    ra_deg, dec_deg : where it is
    major_arcsec, minor_arcsec : half axes; of a circle, square or cross both are its radius
    pa_deg : position angle of the major axis, east of north
    """

    object_id: int
    kind: str
    ra_deg: float
    dec_deg: float
    major_arcsec: float
    minor_arcsec: float
    pa_deg: float


def shapes_of(objects: Table) -> list[Shape]:
    """Return the shapes of a table of objects."""
    kinds = kinds_of(objects)
    major, minor, angle = (
        floats(objects, name) for name in ("semimajor_arcsec", "semiminor_arcsec", "pa_deg")
    )
    shapes = []
    for k, kind in enumerate(kinds):
        a, b, pa = RADIUS_ARCSEC, RADIUS_ARCSEC, 0.0
        if kind == "extended" and np.isfinite(major[k] + minor[k] + angle[k]):
            a, b, pa = float(major[k]), float(minor[k]), float(angle[k])
        ra, dec = float(objects["ra"][k]), float(objects["dec"][k])
        shapes.append(Shape(int(objects["object_id"][k]), kind, ra, dec, a, b, pa))
    return shapes


def kinds_of(objects: Table) -> list[str]:
    """Return what each object is, of the keys of `WORDS`."""
    flags = np.asarray(objects["flags"], dtype=np.int64)
    p_real, p_cr = (
        np.nan_to_num(floats(objects, n), nan=v) for n, v in (("p_real", 1.0), ("p_cr", 0.0))
    )
    is_extended = np.isfinite(floats(objects, "semimajor_arcsec"))
    has_flag = (flags & int(Flag.SATURATED | Flag.EDGE)) > 0
    is_of_list = np.asarray(objects["origin"]) == _OF_LIST
    kinds = np.select(
        [is_of_list, p_cr > _HALF, p_real < _HALF, has_flag, is_extended],
        ["listed", "cosmic ray", "not real", "flagged", "extended"],
        "point",
    )
    return [str(name) for name in kinds]
