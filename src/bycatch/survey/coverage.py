"""Coverage and depth of a survey: MOCs of the footprints, depth maps, completeness."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from bycatch.arrays import Floats, Ints
from bycatch.catalogs.survey_columns import COVERAGE, SURVEY_COMPLETENESS, filters_in
from bycatch.catalogs.tables import arrow_table, read_table
from bycatch.errors import BycatchError
from bycatch.images.files import open_fits
from bycatch.pipeline.frames import read_frame
from bycatch.stages.objects.identity import healpix_ids
from bycatch.survey.arrow import conform, library, read_arrow, schema_of
from bycatch.survey.rows import corners_of, records_of
from bycatch.survey.sky import cells_at
from bycatch.survey.sources import Group

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("bycatch")

DEPTH_ORDER = 14
"""Cells of the maps of the depth: 13 arcsec."""
MOC_ORDER = 17
"""Smallest cells of a MOC: 1.6 arcsec."""


def coverage_of(group: Group) -> pa.Table:
    """Return how deep the images of a group are, cell by cell; from its objects without maps."""
    values: dict[str, list[Any]] = {column.name: [] for column in COVERAGE}

    def enter(image: str, filter_name: str, cells: Ints, depth: Floats) -> None:
        for name, value in (("group", group.label), ("image", image), ("filter", filter_name)):
            values[name] += [value] * len(cells)
        values["cell"] += cells.tolist()
        values["depth"] += depth.tolist()

    for label, record in sorted(records_of(group).items()):
        paths = record.paths(Path(group.out))
        try:
            with open_fits(paths.depth) as hdus:
                depth, block_px = np.asarray(hdus[0].data, float), int(hdus[0].header["BLOCKPX"])
            y, x = np.nonzero(np.isfinite(depth) & (depth > 0))
            middle = (block_px - 1) / 2.0
            ra, dec = read_frame(paths.wcs).wcs.all_pix2world(
                x * block_px + middle, y * block_px + middle, 0
            )
            enter(label, record.filter, *_by_cells(ra, dec, depth[y, x]))
        except (BycatchError, OSError, KeyError, ValueError, TypeError) as err:
            logger.debug("%s: no map of its depth: %s", label, err)
    for name in sorted(set(filters_in(group.columns)) - set(values["filter"])):
        objects = read_arrow(group.path("object"), ["ra", "dec", f"maglim_{name}"])
        ra, dec, depth = (
            np.array(objects[k].to_pylist(), dtype=float) for k in objects.column_names
        )
        has_depth = np.isfinite(depth)
        enter("", name, *_by_cells(ra[has_depth], dec[has_depth], depth[has_depth]))
    schema = schema_of(COVERAGE, {})
    return conform(library("pyarrow", "a survey").table(values), schema, values)


def _by_cells(ra: Floats, dec: Floats, depth: Floats) -> tuple[Ints, Floats]:
    """Return cells, and the mean weight of positions in them as a magnitude."""
    cells = cells_at(healpix_ids(ra, dec), DEPTH_ORDER)
    unique, inverse = np.unique(cells, return_inverse=True)
    weight = np.bincount(inverse, 10.0 ** (0.8 * depth), len(unique))
    n = np.bincount(inverse, minlength=len(unique))
    return unique, 1.25 * np.log10(weight / n)


def completeness_of(group: Group) -> pa.Table:
    """Return the completeness of the images of a group, of those where it was measured."""
    pa = library("pyarrow", "a survey")
    schema = schema_of(SURVEY_COMPLETENESS, {})
    parts = []
    for label, record in sorted(records_of(group).items()):
        path = record.paths(Path(group.out)).product("completeness")
        if not path.is_file():
            continue
        try:
            table = arrow_table(read_table(path))
        except BycatchError as err:
            logger.warning("%s: no completeness: %s", label, err)
            continue
        n = len(table)
        values = {"group": [group.label] * n, "image": [label] * n, "filter": [record.filter] * n}
        parts.append(conform(table, schema, values))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def depth_maps(coverage: pa.Table) -> dict[str, tuple[Ints, Floats, Ints]]:
    """Return, by filter, cells, the depth of all their images together, and how many there are.

    An image that several groups hold counts once.
    """
    columns = coverage.to_pydict()
    order = np.lexsort([columns["group"], columns["cell"], columns["image"], columns["filter"]])
    names = np.array(columns["filter"], dtype=str)[order]
    images = np.array(columns["image"], dtype=str)[order]
    groups = np.array(columns["group"], dtype=str)[order]
    cells = np.array(columns["cell"], dtype=np.int64)[order]
    weight = 10.0 ** (0.8 * np.array(columns["depth"], dtype=float)[order])
    maps = {}
    for name in sorted(set(names.tolist())):
        own = names == name
        # What has no image is of a group, and of that one only.
        _, key = np.unique(
            np.where(images[own] == "", groups[own], images[own]), return_inverse=True
        )
        _, first = np.unique(np.column_stack([key, cells[own]]), axis=0, return_index=True)
        unique, inverse = np.unique(cells[own][first], return_inverse=True)
        total = np.bincount(inverse, weight[own][first], len(unique))
        n = np.bincount(inverse, minlength=len(unique))
        maps[name] = unique, 1.25 * np.log10(total), n
    return maps


def depth_hdus(name: str, cells: Ints, depth: Floats, n_images: Ints) -> fits.HDUList:
    """Return a map as HEALPix in FITS: cells that hold nothing are left out."""
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("PIXEL", "K", array=cells),
            fits.Column("DEPTH", "E", unit="mag", array=depth.astype(np.float32)),
            fits.Column("N_IMAGES", "J", array=n_images.astype(np.int32)),
        ],
        name="DEPTH",
    )
    cards: Mapping[str, tuple[Any, str]] = {
        "PIXTYPE": ("HEALPIX", "HEALPix pixels"),
        "ORDERING": ("NESTED", "order of the pixels"),
        "COORDSYS": ("C", "equatorial: ICRS"),
        "NSIDE": (2**DEPTH_ORDER, "resolution"),
        "INDXSCHM": ("EXPLICIT", "PIXEL holds the numbers"),
        "OBS_NPIX": (len(cells), "pixels in the table"),
        "FILTER": (name, "filter"),
        "TCOMM2": ("5-sigma limiting AB magnitude, all images together", ""),
    }
    for key, (value, comment) in cards.items():
        table.header[key] = (value, comment)
    return fits.HDUList([fits.PrimaryHDU(), table])


def footprint_moc(outlines: Iterable[str]) -> Any:
    """Return the MOC of polygons in STC-S."""
    mocpy = library("mocpy", "a survey")
    polygons = []
    for text in sorted(set(outlines)):
        ra, dec = corners_of(text)
        polygons.append(SkyCoord(ra * units.deg, dec * units.deg))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not polygons:
            return mocpy.MOC.new_empty(MOC_ORDER)
        mocs = mocpy.MOC.from_polygons(polygons, max_depth=MOC_ORDER)
        first, *others = mocs
        return first.union(*others) if others else first


def write_moc(moc: Any, path: Path) -> None:
    """Write a MOC as FITS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moc.save(path, format="fits", overwrite=True)


def area_deg2(moc: Any) -> float:
    """Return the area of a MOC, square degrees."""
    return float(moc.sky_fraction) * 41252.96125


def completeness_at(table: pa.Table) -> dict[str, float]:
    """Return, by filter, where half of the stars are found, AB: of the median image."""
    limits: dict[str, list[float]] = {}
    rows = table.to_pylist()
    for image in sorted({row["image"] for row in rows}):
        own = [
            row for row in rows
            if row["image"] == image and row["kind"] == "star" and not row["n_exp"]
        ]  # fmt: skip
        own.sort(key=lambda row: row["mag_low"])
        for row in own:
            if row["found"] is not None and row["found"] < 0.5:
                limits.setdefault(row["filter"], []).append(float(row["mag_low"]))
                break
    return {name: float(np.median(values)) for name, values in sorted(limits.items())}
