"""What the page shows of a group of overlapping images, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.object_classes import MOVES_CHI2, REAL
from bycatch.catalogs.object_columns import looks
from bycatch.catalogs.tables import read_table
from bycatch.products.group_state import GroupState, group_folder, table_path
from bycatch.report import pixels
from bycatch.report.image import round_values
from bycatch.report.isochrones import Isochrone
from bycatch.report.products import ReportedImage, integers, values
from bycatch.report.three_colours import PictureGrid, PictureImage, frame_shift, three_colours
from bycatch.system.words import printable
from bycatch.tangent import direction, tangent_mas, unit_vectors

MARGIN_ARCSEC = 1.0
"""Around the objects, in the picture."""
LEAST_STEP_ARCSEC = 0.04
"""Finer pixels of the picture would show nothing more."""
MOST_ARROWS = 300
VARIABLE = 0.5
"""p_variable of objects that are said to vary."""


@dataclass(frozen=True)
class GroupBudget:
    """How much of each group the page may hold.

    Attributes
    ----------
    side_px : largest side of the picture
    n_objects : most objects
    picture_bytes : the quality of the picture is what leaves it so small
    n_curves : most light curves
    """

    side_px: int
    n_objects: int
    picture_bytes: int
    n_curves: int = 12


SHOWN: tuple[tuple[str, int], ...] = (
    ("ra", 7),
    ("dec", 7),
    ("p_real", 3),
    ("p_star", 2),
    ("n_images", 0),
    ("n_detected", 0),
    ("half_light_arcsec", 3),
    ("nearest_arcsec", 2),
    ("mag_{f}", 3),
    ("mag_err_{f}", 3),
    ("maglim_{f}", 2),
    ("mag_total_{f}", 3),
    ("colour_{f}_{g}", 3),
    ("colour_err_{f}_{g}", 3),
    ("colour_limit_{f}_{g}", 0),
    ("p_variable_{f}", 3),
    ("amplitude_{f}", 3),
    ("pmra", 2),
    ("pmra_err", 2),
    ("pmdec", 2),
    ("pmdec_err", 2),
    ("gaia_g", 2),
    ("flags", 0),
)
"""Columns that the page holds of each object, and their digits; those without a value are left out.
"""


def group_payload(
    out: Path,
    state: GroupState,
    images: Sequence[ReportedImage],
    budget: GroupBudget,
    isochrones: Sequence[Isochrone] = (),
) -> dict[str, Any]:
    """Return all that the page shows of a group, as plain values.

    Parameters
    ----------
    out : output folder
    state : of the group
    images : those of the group that are there
    budget : how much it may be
    isochrones : the user's, to be drawn over its diagrams
    """
    folder = group_folder(out, state.name)
    objects = read_table(table_path(folder, state.name, "objects"))
    epochs = read_table(table_path(folder, state.name, "epochs"))
    filters = [printable(str(f)) for f in state.summary.get("filters", ())]
    rows = chosen_objects(objects, filters, budget.n_objects)
    part = objects[rows]
    grid = picture_grid(objects, budget.side_px)
    x, y = _plane(part, grid)
    return {
        "name": printable(state.name),
        "filters": filters,
        "images": [printable(image) for image in state.images],
        "total": len(objects),
        "n_real": int((values(objects, "p_real") >= REAL).sum()),
        "id": [str(v) for v in integers(part, "object_id").tolist()],
        "x": round_values(x, 3),
        "y": round_values(y, 3),
        "columns": _columns(part, filters),
        "picture": _picture(images, epochs, objects, filters, grid, budget),
        "curves": light_curves(part, epochs, filters, budget.n_curves),
        "moving": motions(part),
        "isochrones": [i.content() for i in isochrones if set(i.magnitudes) & set(filters)],
    }


def chosen_objects(objects: Table, filters: Sequence[str], limit: int) -> Ints:
    """Return the rows that the page holds: real ones first, the user's own, then the brightest."""
    snr = np.max([np.nan_to_num(values(objects, f"snr_{f}")) for f in filters], axis=0, initial=0.0)
    real = values(objects, "p_real") >= REAL
    is_first_choice = real | (integers(objects, "list_row") > 0)
    order = np.lexsort((-snr, ~is_first_choice))
    return np.sort(order[:limit])


def picture_grid(objects: Table, side_px: int) -> PictureGrid:
    """Return the grid that holds all objects, north up."""
    ra, dec = values(objects, "ra"), values(objects, "dec")
    if not len(ra):
        return PictureGrid(0.0, 0.0, 1.0, 1, 1)
    centre = direction(unit_vectors(ra, dec))
    for _ in range(2):  # the middle of what they span, not their mean
        xy = tangent_mas(ra, dec, *centre) / 1000.0
        low, high = xy.min(axis=0) - MARGIN_ARCSEC, xy.max(axis=0) + MARGIN_ARCSEC
        off = 0.5 * (low + high) / 3600.0
        centre = (centre[0] + off[0] / np.cos(np.radians(centre[1])), centre[1] + off[1])
    span = np.maximum(high - low, 0.1)
    step = max(float(span.max() / side_px), LEAST_STEP_ARCSEC)
    nx, ny = (int(np.ceil(s / step)) for s in span)
    return PictureGrid(float(centre[0]), float(centre[1]), step, nx, ny)


def _plane(part: Table, grid: PictureGrid) -> tuple[Floats, Floats]:
    """Return where objects lie in the picture, arcsec to the east and north of its centre."""
    xy = tangent_mas(values(part, "ra"), values(part, "dec"), grid.ra_deg, grid.dec_deg) / 1000.0
    return xy[:, 0], xy[:, 1]


def _columns(part: Table, filters: Sequence[str]) -> list[dict[str, Any]]:
    """Return name, unit, meaning and rounded values of the columns that hold any value."""
    columns = []
    for name, digits in _names(filters):
        if name not in part.colnames:
            continue
        numbers = values(part, name)
        if len(part) and not np.isfinite(numbers).any():
            continue
        columns.append(
            {
                "name": name,
                "unit": str(part[name].unit or ""),
                "meaning": str(part[name].description or ""),
                "digits": digits,
                "values": round_values(numbers, digits),
            }
        )
    return columns


def _names(filters: Sequence[str]) -> list[tuple[str, int]]:
    """Return the names of `SHOWN` with filters written out."""
    names_and_digits = []
    for pattern, digits in SHOWN:
        if "{g}" in pattern:
            names = [pattern.format(f=f, g=g) for f, g in pairwise(filters)]
        elif "{f}" in pattern:
            names = [pattern.format(f=f) for f in filters]
        else:
            names = [pattern]
        names_and_digits += [(name, digits) for name in names]
    return names_and_digits


def _picture(
    images: Sequence[ReportedImage],
    epochs: Table,
    objects: Table,
    filters: Sequence[str],
    grid: PictureGrid,
    budget: GroupBudget,
) -> dict[str, Any] | None:
    """Return the three-colour picture; None if there are no pixels."""
    if not len(objects):
        return None
    picture_images = [_with_positions(image, epochs, objects) for image in images]
    picture = three_colours(picture_images, filters, grid)
    if picture is None:
        return None
    rgb, names = picture
    content = pixels.webp(rgb, budget.picture_bytes)
    width, height = grid.half
    return {
        "url": pixels.data_uri(content, "webp"),
        "half": [round(width, 3), round(height, 3)],
        "colours": [printable(name) for name in names],
        "ra": round(grid.ra_deg, 6),
        "dec": round(grid.dec_deg, 6),
    }


def _with_positions(image: ReportedImage, epochs: Table, objects: Table) -> PictureImage:
    """Return an image with the places of the real objects in it."""
    own = np.flatnonzero(np.asarray(epochs["image"]).astype(str) == image.record.full_place)
    row = _rows_of(integers(objects, "object_id"), integers(epochs, "object_id")[own])
    x, y = values(epochs, "x")[own], values(epochs, "y")[own]
    is_real = (values(objects, "p_real")[row] >= REAL) & np.isfinite(x) & np.isfinite(y)
    x, y, row = x[is_real], y[is_real], row[is_real]
    ra, dec = (values(objects, name)[row] for name in ("ra", "dec"))
    return PictureImage(image, frame_shift(image, ra, dec, x, y), x, y)


def _rows_of(ids: NDArray[np.int64], ids_to_find: NDArray[np.int64]) -> Ints:
    """Return the rows in which some identifiers stand; all of them are there."""
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids[order], ids_to_find)
    return np.asarray(order[np.minimum(place, max(len(ids) - 1, 0))], np.int64)


def variable_rows(part: Table, filters: Sequence[str], limit: int) -> Ints:
    """Return the rows of real objects in several images of a filter, the most variable first."""
    n = len(part)
    chance = np.full((n, max(len(filters), 1)), np.nan)
    chi2 = np.full_like(chance, np.nan)
    for k, f in enumerate(filters):
        chance[:, k], chi2[:, k] = values(part, f"p_variable_{f}"), values(part, f"chi2_{f}")
    top, largest_chi2 = (
        np.max(np.nan_to_num(v, nan=-1.0), axis=1, initial=-1.0) for v in (chance, chi2)
    )
    order = np.lexsort((-largest_chi2, -top))
    order = order[(top[order] >= 0) & (values(part, "p_real")[order] >= REAL)]
    return np.asarray(order[:limit], np.int64)


def light_curves(
    part: Table, epochs: Table, filters: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """Return the light curves of the most variable objects, the most variable first.

    The light is that of the object's colours, by the PSF or in their aperture, corrected by what
    the constant stars around say of each look; where there is none, the limit is given.
    """
    curves = []
    rows = variable_rows(part, filters, limit)
    if not len(rows):
        return []
    # Tables are slow to take rows of: each column once.
    ids, mjd = integers(epochs, "object_id"), values(epochs, "mjd")
    names, is_detected = np.asarray(epochs["filter"]).astype(str), np.asarray(epochs["detected"])
    shift = np.nan_to_num(values(epochs, "zeropoint_shift"))
    images, exposures = (np.asarray(epochs[name]) for name in ("image", "exposure"))
    mag, err, faintest = (values(epochs, name) for name in ("mag", "mag_err", "maglim"))
    chance = np.column_stack([np.nan_to_num(values(part, f"p_variable_{f}")) for f in filters])
    for row in rows.tolist():
        own = np.flatnonzero((ids == integers(part, "object_id")[row]) & np.isfinite(mjd))
        own = own[looks(images[own], exposures[own])]
        own = own[np.argsort(mjd[own], kind="stable")]
        best = int(np.argmax(chance[row]))
        curves.append(
            {
                "row": row,
                "filter": names[own].tolist(),
                "mjd": round_values(mjd[own], 5),
                "mag": round_values((mag + shift)[own], 3),
                "err": round_values(err[own], 3),
                "limit": round_values(faintest[own], 2),
                "detected": is_detected[own].astype(bool).tolist(),
                "p_variable": round(float(chance[row, best]), 3),
                "varies_in": printable(filters[best]),
            }
        )
    return curves


def motions(part: Table) -> dict[str, Any]:
    """Return the rows of the objects that move by 5 sigma, and their motions, mas per year."""
    motion = np.column_stack([values(part, "pmra"), values(part, "pmdec")])
    error = np.column_stack([values(part, "pmra_err"), values(part, "pmdec_err")])
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2 = ((motion / error) ** 2).sum(axis=1)
        moves: Bools = (chi2 > MOVES_CHI2) & (values(part, "p_real") >= REAL)
    rows = np.flatnonzero(moves)
    rows = np.sort(rows[np.argsort(-chi2[rows], kind="stable")][:MOST_ARROWS])
    return {
        "row": rows.tolist(),
        "pmra": round_values(motion[rows, 0], 2),
        "pmdec": round_values(motion[rows, 1], 2),
    }
