"""The columns that only the tables of a survey have, besides those of `object_columns.py`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from bycatch.catalogs.columns import Column, expand
from bycatch.catalogs.injection_columns import COMPLETENESS
from bycatch.catalogs.object_columns import (
    EPOCHS,
    GROUP_IMAGES,
    IN_FILTER,
    OBJECT_ID,
    OBJECTS,
    in_filters,
    of_colours,
)
from bycatch.catalogs.tables import nearest_radius

HEALPIX = Column(
    "_healpix_29", "i8", "", "pos.healpix",
    "HEALPix cell (order 29, nested, ICRS) of ra and dec; the tables are sorted by it",
)  # fmt: skip
GROUP = Column("group", "U64", "", "meta.id;meta.dataset", "group of images that the row is from")
IMAGE = Column("image", "U64", "", "meta.id;obs.image", "<field>/<filter>/<root> of the image")
DUPLICATE_OF = Column(
    "duplicate_of", "i8", "", "meta.id.cross",
    "object_id of the same object in a group with more images from another output folder; 0: not "
    "a duplicate",
)  # fmt: skip
_CENTRE = (
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension of the image's centre"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination of the image's centre"),
)
_OBJECT_PLACE = (
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension of the object, at its mjd"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination, as ra"),
)
SURVEY_IMAGES: tuple[Column, ...] = (
    Column("field", "U32", "", "meta.id", "program and visit"),
    Column("zeropoint_ab", "f8", "mag", "phot.mag;arith.zp", "AB zero point, e-/s", nullable=True),
    Column(
        "depth", "f8", "mag", "phot.mag;stat.min",
        "median 5-sigma limiting AB magnitude of a point source in the deepest aperture",
        nullable=True,
    ),
    Column("area", "f8", "arcmin2", "phys.angArea", "footprint, a convex polygon", True),
    Column("footprint", "U512", "", "pos.outline;obs.field", "the footprint as STC-S"),
    Column("checksum", "U80", "", "meta.checksum", "SHA-256 of the drizzled image"),
)  # fmt: skip
SURVEY_EXPOSURES: tuple[Column, ...] = (
    Column("exposure", "U32", "", "meta.id;obs.exposure", "root name of the exposure"),
    IMAGE,
    Column("filter", "U8", "", "meta.id;instr.filter", "its filter"),
    Column("mjd", "f8", "d", "time.epoch", "its mid-time; missing if not known", nullable=True),
    Column("exptime", "f8", "s", "time.duration;obs.exposure", "its duration", nullable=True),
)

_FILTER = Column("filter", "U8", "", "meta.id;instr.filter", "filter of the image")
COVERAGE: tuple[Column, ...] = (
    GROUP,
    Column("image", "U64", "", "meta.id;obs.image", "<field>/<filter>/<root>; '': of all"),
    _FILTER,
    Column("cell", "i8", "", "pos.healpix", "HEALPix cell (order 14, nested, ICRS)"),
    Column(
        "depth", "f8", "mag", "phot.mag;stat.min",
        "5-sigma limiting AB magnitude of a point source there",
    ),
)  # fmt: skip
"""How deep images are, cell by cell: what the maps of the depth are made of."""
SURVEY_COMPLETENESS: tuple[Column, ...] = (GROUP, IMAGE, _FILTER, *COMPLETENESS)

TABLES = ("object", "epoch", "image", "exposure")
"""In the order of their making."""
IS_DOUBLE = frozenset({"ra", "dec", "mjd", "x", "y"})
_FILTER_OF = re.compile(r"n_images_(F\w+)")
_RADIUS_OF = re.compile(r"flux_([\d.]+)_apcor")


def survey_columns(table: str, names: Collection[str]) -> tuple[Column, ...]:
    """Return the columns of a table of a survey.

    Parameters
    ----------
    table : of `TABLES`
    names : of the columns that the groups' tables have: they say which filters and apertures
    """
    own: tuple[Column, ...]
    if table == "object":
        filters = filters_in(names)
        pairs = [(f, g) for k, f in enumerate(filters) for g in filters[k + 1 :]]
        colours = [c for pair in pairs for c in of_colours(pair) if c.name in names]
        own = (*OBJECTS, DUPLICATE_OF, *in_filters(IN_FILTER, filters), *colours)
    elif table == "epoch":
        rest = [column for column in EPOCHS if column is not OBJECT_ID]
        own = (OBJECT_ID, *_OBJECT_PLACE, *expand(rest, radii_in(names)))
    elif table == "image":
        own = (GROUP_IMAGES[0], *_CENTRE, *GROUP_IMAGES[1:], *SURVEY_IMAGES)
    else:
        own = (*SURVEY_EXPOSURES[:2], *_CENTRE, *SURVEY_EXPOSURES[2:])
    return (HEALPIX, *own, GROUP)


def filter_order(name: str) -> tuple[int, str]:
    """Return what sorts filters from blue to red: the number in their names."""
    digits = re.sub(r"\D", "", name)
    return int(digits or 0), name


def filters_in(names: Iterable[str]) -> list[str]:
    """Return the filters that the columns of a table of objects name, from blue to red."""
    filters = {match[1] for name in names if (match := _FILTER_OF.fullmatch(name))}
    return sorted(filters, key=filter_order)


def radii_in(names: Iterable[str]) -> list[float]:
    """Return the apertures that the columns of a table of epochs name, pixels."""
    return sorted({float(match[1]) for name in names if (match := _RADIUS_OF.fullmatch(name))})


def read_first(names: Collection[str]) -> list[str]:
    """Return the columns of a table that are read first.

    Parameters
    ----------
    names : of the table's columns
    """
    if "p_real" in names:
        filters = filters_in(names)
        wanted = ["row", "object_id", "ra", "dec", "p_real", "p_star", "flags", "duplicate_of"]
        wanted += [f"{name}_{f}" for f in filters for name in ("mag", "mag_err")]
        wanted += ["separation"]
    elif "p_cr_alone" in names:
        radii = radii_in(names)
        radius = nearest_radius(radii) if radii else ""
        of_aperture = [f"{name}_{radius}" for name in ("mag_ab", "mag_ab_err", "maglim")]
        wanted = ["object_id", "image", "filter", "mjd", "detected", *of_aperture]
        wanted += ["mag_ab_psf", "mag_ab_psf_err", "p_cr_alone", "flags", "separation"]
    else:
        return [name for name in names if name not in ("_healpix_29", "footprint", "checksum")]
    return [name for name in wanted if name in names]
