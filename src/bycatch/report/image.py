"""What the page shows of one image, as plain values: its picture, its sources, its plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Floats, Ints
from bycatch.catalogs import object_classes
from bycatch.catalogs.flags import Flag, decode
from bycatch.catalogs.tables import quoted_radius
from bycatch.images.drc import DrcImage
from bycatch.images.look import DrcLook
from bycatch.kernels.threads import in_background
from bycatch.report import pixels
from bycatch.report.limits import false_share, limits
from bycatch.report.products import ReportedImage, integers, values
from bycatch.report.psf import psf_pictures
from bycatch.system.words import printable

Looked = DrcImage | DrcLook

POINT, EXTENDED, COSMIC, DOUBT, OPEN = "point", "extended", "cosmic ray", "in doubt", "unknown"
KINDS = {
    POINT: "p_star of 0.5 and more",
    EXTENDED: "p_star below 0.5",
    COSMIC: "p_cr above 0.7",
    DOUBT: "a flag casts doubt on it",
    OPEN: "p_star is missing",
}
"""Kinds of sources, and what they mean on the page."""
DOUBTFUL = (
    Flag.OFF_IMAGE
    | Flag.PARTIAL_APERTURE
    | Flag.BAD_SKY
    | Flag.SATURATED
    | Flag.SPIKE
    | Flag.HALO
    | Flag.HOT_PIXEL
    | Flag.BAD_COLUMN
    | Flag.NEBULOUS
    | Flag.IN_LARGE_OBJECT
    | Flag.TRAIL
)
"""Flags that speak against the flux or the reality of a source."""

SHOWN: tuple[tuple[str, int], ...] = (
    ("id", 0),
    ("x_center", 2),
    ("y_center", 2),
    ("RA_GAIA_WCS", 6),
    ("DEC_GAIA_WCS", 6),
    ("mag_ab_{r}", 3),
    ("mag_ab_err_{r}", 4),
    ("snr_{r}", 1),
    ("maglim_{r}", 2),
    ("mag_ab_kron", 3),
    ("fwhm", 2),
    ("concentration", 3),
    ("half_light_px", 2),
    ("p_star", 2),
    ("p_cr", 2),
    ("blend_share", 2),
    ("n_exp", 0),
    ("n_covering", 0),
    ("n_seen", 0),
    ("gaia_g", 2),
    ("gaia_separation", 1),
    ("cr_flag", 0),
    ("flags", 0),
)
"""Columns that the page holds of each source, and their digits, where the catalog has them."""
NUMBER = re.compile(r"\W*[<>=]*\s*[-+]?\d.*")
"""Where the numbers of a reason begin: what stands before is its kind."""
BIN_MAG = 0.25
CURVE_STEPS = 60


@dataclass(frozen=True)
class Budget:
    """How much of each image the page may hold.

    Attributes
    ----------
    side_px : largest side of the picture
    n_sources : most sources with a row
    picture_bytes : the quality of the picture is what leaves it so small
    n_removed : most detections that were left out with a row
    n_cutouts : most cutouts of a kind
    """

    side_px: int
    n_sources: int
    picture_bytes: int = 600_000
    n_removed: int = 400
    n_cutouts: int = 8


def payload(image: ReportedImage, catalog: Table | None, budget: Budget) -> dict[str, Any]:
    """Return all that the page shows of an image; parts without a product are None.

    Plain values, but for the pixels of ``picture`` and ``exposures``.
    """
    data = image.pixels()
    # Most of their time is that of libraries in C: it passes while tables are read here.
    picture, detection = (
        in_background(_picture, data, budget),
        in_background(image.plane_and_table, image.paths.segmentation, "REMOVED"),
    )
    content: dict[str, Any] = {
        "field": printable(image.record.field),
        "filter": printable(image.record.filter),
        "root": printable(image.record.root),
        "exposures": _exposures(data),
        "residuals": residuals(image),
        "psf": psf_pictures(image),
        "sources": None,
    }
    segments, removed = detection.result()
    content["removed"] = removed_detections(removed, budget.n_removed)
    if catalog is None or not len(catalog):
        return content | {"picture": picture.result()}
    radius = quoted_radius(catalog)
    kinds = kinds_of(catalog)
    rows = chosen_rows(catalog, kinds, radius, budget.n_sources)
    part, part_kinds = catalog[rows], kinds[rows]
    content["sources"] = {
        "columns": shown_columns(part, radius),
        "kind": part_kinds.tolist(),
        "radius": radius,
        "total": len(catalog),
        "counts": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "outlines": _outlines(segments, part),
    }
    content["histogram"] = histogram(catalog, kinds, radius)
    content["limits"] = limits(image, catalog, radius)
    content["false_share"] = false_share(image)
    content["curve"] = error_curve(catalog, radius)
    content["shape"] = shape_locus(image, catalog)
    content["cutouts"] = _cutouts(data, part, part_kinds, radius, budget.n_cutouts)
    return content | {"picture": picture.result()}


def kinds_of(catalog: Table) -> NDArray[np.str_]:
    """Return what each row is taken for: cosmic ray before doubtful before point or extended."""
    flags = integers(catalog, "flags")
    p_star = values(catalog, "p_star")
    kinds = np.full(len(catalog), OPEN, dtype="U10")
    kinds[p_star >= object_classes.POINT] = POINT
    kinds[(flags & int(Flag.EXTENDED) > 0) | (p_star < object_classes.POINT)] = EXTENDED
    kinds[flags & int(DOUBTFUL) > 0] = DOUBT
    if "p_cr" in catalog.colnames:
        rays = flags & int(Flag.LIKELY_COSMIC_RAY) > 0
    else:
        rays = integers(catalog, "cr_flag") == 1
    kinds[rays] = COSMIC
    return kinds


def chosen_rows(catalog: Table, kinds: NDArray[np.str_], radius: str, limit: int) -> Ints:
    """Return the rows that the page holds: all if they fit, else the brightest, rays last."""
    snr = np.nan_to_num(values(catalog, f"snr_{radius}"), nan=-np.inf)
    order = np.lexsort((-snr, kinds == COSMIC))[:limit]
    return np.sort(order)


def shown_columns(catalog: Table, radius: str) -> list[dict[str, Any]]:
    """Return name, unit, meaning and rounded values of the columns that are there."""
    columns = []
    for pattern, digits in SHOWN:
        name = pattern.replace("{r}", radius)
        if name not in catalog.colnames:
            continue
        column = catalog[name]
        columns.append(
            {
                "name": name,
                "unit": str(column.unit or ""),
                "meaning": str(column.description or ""),
                "digits": digits,
                "values": round_values(values(catalog, name), digits),
            }
        )
    return columns


def round_values(numbers: Floats, digits: int) -> list[Any]:
    """Return numbers with so many digits; None for NaN."""
    is_finite, plain = np.isfinite(numbers), np.nan_to_num(numbers, posinf=0.0, neginf=0.0)
    numbers_or_none = (plain.astype(np.int64) if digits == 0 else np.round(plain, digits)).tolist()
    for row in np.flatnonzero(~is_finite):
        numbers_or_none[row] = None
    return list(numbers_or_none)


def histogram(catalog: Table, kinds: NDArray[np.str_], radius: str) -> dict[str, Any] | None:
    """Return the numbers of rows by magnitude: all, and those that are no cosmic rays."""
    mag = values(catalog, f"mag_ab_{radius}")
    finite_mag = mag[np.isfinite(mag)]
    if not len(finite_mag):
        return None
    low, high = np.floor(np.percentile(finite_mag, 0.1)), np.ceil(np.percentile(finite_mag, 99.9))
    edges = np.arange(low, high + BIN_MAG / 2, BIN_MAG)
    clean = mag[np.isfinite(mag) & (kinds != COSMIC)]
    return {
        "edges": np.round(edges, 3).tolist(),
        "all": np.histogram(finite_mag, edges)[0].tolist(),
        "clean": np.histogram(clean, edges)[0].tolist(),
    }


def error_curve(catalog: Table, radius: str) -> dict[str, Any] | None:
    """Return the magnitude error that a point source should have: sky and its own photons.

    From the limit of 5 sigma, the exposure time, zero point and aperture share of
    the image: what the limit leaves after the source's own photons is the sky's.
    """
    limit, mag = values(catalog, f"maglim_{radius}"), values(catalog, f"mag_ab_{radius}")
    seconds = values(catalog, "exptime")
    zeropoint = catalog.meta.get("ZPAB")
    share = (catalog.meta.get("APCOR") or {}).get(radius)
    has_limit = np.isfinite(limit) & np.isfinite(seconds) & (seconds > 0)
    if zeropoint is None or share is None or not has_limit.any() or not np.isfinite(mag).any():
        return None
    time_s = float(np.median(seconds[has_limit]))
    rate_limit = share * 10 ** (-0.4 * (float(np.median(limit[has_limit])) - zeropoint))
    sky = max((rate_limit / 5) ** 2 - rate_limit / time_s, 0.0)
    grid = np.linspace(np.nanpercentile(mag, 0.1), np.nanpercentile(mag, 99.9), CURVE_STEPS)
    rate = share * 10 ** (-0.4 * (grid - zeropoint))
    error = 1.0857 * np.sqrt(sky + rate / time_s) / rate
    return {"mag": np.round(grid, 3).tolist(), "err": np.round(error, 5).tolist()}


def shape_locus(image: ReportedImage, catalog: Table) -> dict[str, Any]:
    """Return which shape is plotted, and where the stars lie in it."""
    index = image.number("measure", "locus_concentration")
    if "concentration" in catalog.colnames and index:
        return {
            "name": "concentration",
            "label": "concentration, mag (within 1 px minus within 3 px)",
            "locus": float(index[0]),
            "n_stars": image.number("measure", "locus_n_stars"),
        }
    fwhm = image.number("measure", "fwhm_median")
    return {"name": "fwhm", "label": "FWHM, px", "locus": fwhm, "n_stars": None}


def residuals(image: ReportedImage) -> dict[str, Any] | None:
    """Return the Gaia pairs of the alignment, mas, and what was made of them."""
    pairs = image.pairs()
    grade = image.number("align", "grade")
    if pairs is None and grade is None:
        return None
    names = {
        "dra": "dra_mas",
        "ddec": "ddec_mas",
        "dra_err": "dra_err_mas",
        "ddec_err": "ddec_err_mas",
        "g": "gaia_g",
        "weight": "weight",
    }
    table = pairs if pairs is not None else Table()
    return {
        **{key: round_values(values(table, name), 2) for key, name in names.items()},
        "star": [str(v) for v in table["source_id"]] if "source_id" in table.colnames else [],
        "grade": grade,
        "reason": image.number("align", "reason") or "",
        "rms": [image.number("align", "rms_ra_mas"), image.number("align", "rms_dec_mas")],
        "error": image.number("align", "astrom_err_mas"),
    }


def removed_detections(table: Table | None, limit: int) -> dict[str, Any] | None:
    """Return the detections that were left out: how many for which reason, and the brightest."""
    if table is None:
        return None
    kinds = [NUMBER.sub("", str(reason)).strip() for reason in table["reason"]]
    reasons, counts = np.unique(kinds, return_counts=True)
    brightest = np.argsort(-values(table, "flux"), kind="stable")[:limit]
    part = table[np.sort(brightest)]
    return {
        "total": len(table),
        "reasons": [[str(r), int(n)] for r, n in zip(reasons, counts, strict=True)],
        "id": round_values(values(part, "id"), 0),
        "x": round_values(values(part, "x"), 1),
        "y": round_values(values(part, "y"), 1),
        "area": round_values(values(part, "area"), 0),
        "flux": round_values(values(part, "flux"), 3),
        "reason": [str(r) for r in part["reason"]],
    }


def _picture(data: Looked | None, budget: Budget) -> dict[str, Any] | None:
    if data is None:
        return None
    ny, nx = data.shape
    grey = pixels.picture(data.sci, budget.side_px)
    # The last blocks reach beyond the image: the picture is so much larger.
    block = max(1, -(-max(data.shape) // budget.side_px))
    return {
        "grey": grey,
        "nx": nx,
        "ny": ny,
        "width": grey.shape[1] * block,
        "height": grey.shape[0] * block,
    }


def _exposures(data: Looked | None) -> dict[str, Any] | None:
    if data is None:
        return None
    exposure_map = pixels.exposure_map(data.n_exp)
    return {
        "rgb": exposure_map.rgb,
        "legend": [[text, colour, round(share, 4)] for text, colour, share in exposure_map.legend],
        "guessed": not data.has_context,
    }


def _outlines(segments: NDArray[Any] | None, part: Table) -> dict[str, Any]:
    """Return the outlines of the rows' segments; a row measured elsewhere has none."""
    outlines: dict[str, Any] = {"row": [], "xs": [], "ys": []}
    if segments is None:
        return outlines
    ids = integers(part, "id").tolist()
    shapes = pixels.outlines(segments, ids)
    x, y = values(part, "x_center"), values(part, "y_center")
    for row, number in enumerate(ids):
        xs, ys = shapes.get(number, ([], []))
        # Positions of the user's own have numbers of their own.
        if xs and min(xs) <= x[row] + 3 and max(xs) >= x[row] - 3 and (
            min(ys) <= y[row] + 3 and max(ys) >= y[row] - 3
        ):  # fmt: skip
            outlines["row"].append(row)
            outlines["xs"].append(xs)
            outlines["ys"].append(ys)
    return outlines


def compact(lines: Sequence[Sequence[float]]) -> list[list[int]]:
    """Return corners as whole numbers that compress well: twice the first, then the steps."""
    end = np.cumsum([len(line) for line in lines], dtype=np.int64)
    half_px = np.round(2.0 * np.fromiter(chain.from_iterable(lines), np.float64))
    steps = np.diff(half_px, prepend=0.0)
    first = np.append(0, end[:-1])[: len(end)]
    starts = first[first < end]
    steps[starts] = half_px[starts]
    numbers = steps.astype(np.int64).tolist()
    return [numbers[i:j] for i, j in zip(first.tolist(), end.tolist(), strict=True)]


def _cutouts(
    data: Looked | None, part: Table, kinds: NDArray[np.str_], radius: str, limit: int
) -> list[dict[str, Any]]:
    """Return cutouts of the sources with the worst flags and of the brightest cosmic rays."""
    if data is None:
        return []
    flags = integers(part, "flags")
    snr = np.nan_to_num(values(part, f"snr_{radius}"), nan=0.0)
    n_bad = np.array([(int(value) & int(DOUBTFUL)).bit_count() for value in flags], dtype=int)
    doubtful = np.lexsort((-snr, -n_bad))
    doubtful = doubtful[(n_bad[doubtful] > 0) & (kinds[doubtful] != COSMIC)][:limit]
    rays = np.argsort(-snr, kind="stable")
    rays = rays[kinds[rays] == COSMIC][:limit]
    return [
        *_cutouts_of("worst flags", data, part, doubtful, flags),
        *_cutouts_of("brightest cosmic-ray candidates", data, part, rays, flags),
    ]


def _cutouts_of(
    group: str, data: Looked, part: Table, rows: Sequence[int] | Ints, flags: Ints
) -> list[dict[str, Any]]:
    x, y, ids = values(part, "x_center"), values(part, "y_center"), integers(part, "id")
    cutouts = []
    for row in rows:
        if not (np.isfinite(x[row]) and np.isfinite(y[row])):
            continue
        grey = pixels.cutout(data.sci, float(x[row]), float(y[row]))
        cutouts.append(
            {
                "group": group,
                "row": int(row),
                "id": int(ids[row]),
                "flags": ", ".join(decode(int(flags[row]))).replace("_", " "),
                "url": pixels.data_uri(pixels.png(grey), "png"),
            }
        )
    return cutouts
