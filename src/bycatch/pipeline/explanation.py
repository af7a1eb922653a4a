"""Why a position is, or is not, in a catalog: from the products and the drizzled image.

Where nothing was found, the sky maps and the smoothed image of detection are made again, with the
settings that it was done with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bycatch.catalogs.flags import FLAGS, Flag
from bycatch.catalogs.sky_parts import parts_of_sky
from bycatch.errors import SettingsError
from bycatch.pipeline.case import Case, distance_words
from bycatch.products import (
    ImageRecord,
    find_records,
)
from bycatch.settings import DetectSettings
from bycatch.system.each import of_each
from bycatch.user_files.quantities import sky_position

if TYPE_CHECKING:
    from astropy.table import Row, Table


MATCH_PX = 3.0
"""A row within this is the position's own."""
NEAR_PX = 2.0
"""How far a position given by hand may be off: the best pixel within counts."""
MOST_FAR = 3
"""Images that say how far a position is that none covers: the nearest ones."""
AROUND_PX = 60
"""How far connected pixels are followed."""


class Verdict(StrEnum):
    """The outcome at a position."""

    IN_CATALOG = "in the catalog"
    OFF_IMAGE = "off the image"
    NO_DATA = "no data"
    EXCLUDED = "in an excluded region"
    REMOVED = "removed"
    MERGED = "merged with a neighbour"
    TOO_SMALL = "too few connected pixels"
    TOO_FAINT = "below the threshold"
    NOT_MEASURED = "detected, not measured"


@dataclass(frozen=True)
class Explanation:
    """Why a position is, or is not, in the catalog of one image.

    Attributes
    ----------
    image : root of the image
    place : ``<field>/<filter>``
    x, y : 0-based pixels of the position
    verdict : what became of it
    sentences : the reasons, in words
    source_id : row of the catalog, or segment, that has the position; 0 without
    """

    image: str
    place: str
    x: float
    y: float
    verdict: Verdict
    sentences: tuple[str, ...]
    source_id: int = 0


def explain(
    out: Path,
    *,
    xy: tuple[float, float] | None = None,
    radec: tuple[str, str] | None = None,
    image: str = "",
) -> list[Explanation]:
    """Explain why a position is or is not in the catalogs of a run.

    Parameters
    ----------
    out : output folder of a run
    xy : 0-based pixel centres; needs ``image`` where there are several images
    radec : right ascension and declination, degrees or sexagesimal (hours, degrees), in the frame
        of the aligned WCS.  Without ``image``: all images that cover the position.
    image : root or filter of an image; a filter may name several

    Returns
    -------
    list of Explanation
        One per image; with ``radec`` and no image that covers it, those of the nearest ones.

    Raises
    ------
    SettingsError
        Not exactly one position; an unknown image; several images and pixels.
    MissingProduct
        An image was not detected yet.
    """
    if (xy is None) == (radec is None):
        raise SettingsError("give one position", hint="--xy X Y, or --radec RA DEC")
    records = _records_of(out, image)
    if xy is not None:
        if not np.isfinite(xy).all():
            raise SettingsError(f"--xy {xy[0]} {xy[1]}: not a position", hint="give two numbers")
        if len(records) > 1:
            names = ", ".join(record.root for record in records)
            raise SettingsError(
                f"{len(records)} images have pixels {xy[0]:g} {xy[1]:g}: {names}",
                hint="choose one with --image ROOT, or give --radec RA DEC",
            )
        return [explain_case(Case(out, record), *xy) for record in records]
    assert radec is not None
    place = sky_position(*radec)

    def at_place(record: ImageRecord) -> tuple[float, Explanation]:
        case = Case(out, record)
        explanation = explain_case(case, *case.pixel_of(*place))
        away_deg = case.distance_deg(*place)
        if explanation.verdict is Verdict.OFF_IMAGE:
            text = f"The centre of the image is {distance_words(away_deg)} away."
            explanation = replace(explanation, sentences=(*explanation.sentences, text))
        return away_deg, explanation

    distances_and_explanations = sorted(
        of_each(records, at_place, lambda record: record.label), key=lambda pair: pair[0]
    )
    covering = [
        e
        for _, e in distances_and_explanations
        if e.verdict not in (Verdict.OFF_IMAGE, Verdict.NO_DATA)
    ]
    return covering or [e for _, e in distances_and_explanations[:MOST_FAR]]


def _records_of(out: Path, image: str) -> list[ImageRecord]:
    """Return the records of the images that a name stands for."""
    records = list(find_records(out))
    if not records:
        raise SettingsError(f"{out}: no image in it", hint="give the OUT of a run")
    if not image:
        return records
    name = image.casefold()
    matches = [r for r in records if name in (r.root.casefold(), r.stem.casefold())]
    matches = matches or [r for r in records if name == r.filter.casefold()]
    if not matches:
        names = ", ".join(f"{r.root} ({r.filter})" for r in records)
        raise SettingsError(f"no image '{image}' in {out}", hint=f"there are {names}")
    return matches


@dataclass(frozen=True)
class _Reason:
    """A verdict on a position, with sentences that explain it."""

    verdict: Verdict
    sentences: tuple[str, ...]
    source_id: int = 0


def explain_case(case: Case, x: float, y: float) -> Explanation:
    """Return the explanation of a position in one image: the first reason that holds."""
    case.require_detection()
    reasons = (_off_image, _in_catalog, _without_data, _left_out, _in_segment)
    reason_found = next((r for reason in reasons if (r := reason(case, x, y))), None)
    reason_found = reason_found or _why_not_found(case, x, y)
    place = f"{case.record.field}/{case.record.filter}"
    sentences = (*reason_found.sentences, *_on_mask(case, x, y))
    return Explanation(
        case.record.root, place, x, y, reason_found.verdict, sentences, reason_found.source_id
    )


def _off_image(case: Case, x: float, y: float) -> _Reason | None:
    ny, nx = case.image.shape
    if -0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5:
        return None
    text = f"The position is outside the image of {nx} x {ny} pixels"
    if np.isfinite([x, y]).all():
        beyond = np.hypot(max(-0.5 - x, x - nx + 0.5, 0.0), max(-0.5 - y, y - ny + 0.5, 0.0))
        away = distance_words(beyond * case.image.scale_arcsec / 3600)
        text += f", {beyond:.{int(beyond < 10)}f} px ({away}) from its nearest edge"
    return _Reason(Verdict.OFF_IMAGE, (f"{text}.",))


def _in_catalog(case: Case, x: float, y: float) -> _Reason | None:
    nearest = _nearest(_catalog(case), x, y)
    if nearest is None:
        return None
    return _Reason(Verdict.IN_CATALOG, tuple(_catalog_words(case, *nearest)), _id(case, x, y))


def _without_data(case: Case, x: float, y: float) -> _Reason | None:
    if case.image.valid[pixel_at(y), pixel_at(x)]:
        return None
    text = "No exposure has data at this pixel (chip gap, or beyond the edges of the chips)."
    return _Reason(Verdict.NO_DATA, (text,))


def _left_out(case: Case, x: float, y: float) -> _Reason | None:
    """Return why a detection at the position was left out."""
    for table, verdict in (
        (case.table("excluded"), Verdict.EXCLUDED),
        (case.removed_detections, Verdict.REMOVED),
    ):
        nearest = _nearest(table, x, y)
        if nearest is not None:
            row, distance = nearest
            text = f"Detection {row['id']}, {distance:.1f} px away, was left out: {row['reason']}."
            return _Reason(verdict, (text,), int(row["id"]))
    return None


def _in_segment(case: Case, x: float, y: float) -> _Reason | None:
    """Return the explanation of a position that belongs to a detection or segment."""
    match = _nearest(case.detections, x, y)
    if match is not None:
        text = (
            f"Detection {match[0]['id']} lies {match[1]:.1f} px away, but the catalog has no such "
            "row: later steps are not done, or they measured a list of positions."
        )
        return _Reason(Verdict.NOT_MEASURED, (text,), int(match[0]["id"]))
    segments = case.pixels(case.paths.segmentation)
    label = 0 if segments is None else int(segments[pixel_at(y), pixel_at(x)])
    if not label:
        return None
    return _Reason(Verdict.MERGED, tuple(_merged_words(case, label, x, y)), label)


def pixel_at(position: float) -> int:
    """Return the pixel that a position on the image lies in; halves belong to the next one."""
    return int(np.floor(position + 0.5))


def _catalog(case: Case) -> Table | None:
    """Return the final catalog, else the photometry, with positions as x and y."""
    table = case.table("cat")
    if table is None:
        return case.table("phot")
    table.rename_columns(["x_center", "y_center"], ["x", "y"])
    return table


def _id(case: Case, x: float, y: float) -> int:
    nearest = _nearest(case.table("phot"), x, y)
    return int(nearest[0]["id"]) if nearest else 0


def _nearest(table: Table | None, x: float, y: float) -> tuple[Row, float] | None:
    """Return the row nearest to a position and its distance, None beyond `MATCH_PX`."""
    if table is None or not len(table):
        return None
    dx, dy = np.ma.asarray(table["x"] - x), np.ma.asarray(table["y"] - y)
    distance: NDArray[np.float64] = np.ma.filled(np.ma.hypot(dx, dy), np.inf)
    distance = np.nan_to_num(distance, nan=np.inf)
    best = int(np.argmin(distance))
    return (table[best], float(distance[best])) if distance[best] <= MATCH_PX else None


def _catalog_words(case: Case, row: Row, distance: float) -> Iterator[str]:
    name = case.paths.product("cat").name
    number = f"id {row['id']}" if "id" in row.colnames else f"row {row.index}, from 0,"
    yield f"{name}: {number} lies {distance:.2f} px away, at x {row['x']:.2f}, y {row['y']:.2f}."
    flags = int(row["flags"])
    meanings = [
        f"{str(entry.flag.name).lower()} ({entry.meaning})" for entry in FLAGS if flags & entry.flag
    ]
    yield f"Flags {flags}: {'; '.join(meanings)}." if meanings else "No flag is set."
    numbers = [
        f"{name} {float(row[name]):.3g}"
        for name in ("cr_flag", "p_cr", "p_star", "blend_share")
        if name in row.colnames and row[name] is not np.ma.masked
    ]
    if numbers:
        yield f"Numbers: {', '.join(numbers)}."
    if int(row["cr_flag"]) == 1:
        yield "It is not in the tables without cosmic rays (_noCRs)."
    clean = case.table("cat_clean")
    if clean is not None and "id" in row.colnames and row["id"] not in clean["id"]:
        yield f"It is not in the clean table (_clean): {_not_clean(row, flags)}."


def _not_clean(row: Row, flags: int) -> str:
    """Return why a row of the catalog is not in the clean table."""
    if flags & Flag.LIKELY_COSMIC_RAY:
        return "it is a likely cosmic ray"
    if parts_of_sky(np.asarray(row.table["flags"], np.int64))[row.index]:
        return "it is more likely a part of a nebula, a trail or a spike than a source"
    return (
        "its light in the smallest aperture or of its PSF fit is too uncertain "
        "(finalize.clean_min_snr, psf.n_sigma), or the PSF left it of another source"
    )


def _merged_words(case: Case, label: int, x: float, y: float) -> Iterator[str]:
    table = case.detections
    rows = table[table["id"] == label]
    yield f"The pixel belongs to segment {label}; it was not separated from that source."
    if len(rows):
        other = rows[0]
        distance = np.hypot(other["x"] - x, other["y"] - y)
        yield (
            f"Its centre is x {other['x']:.1f}, y {other['y']:.1f}, {distance:.1f} px away; "
            f"it has {other['area']} pixels."
        )
    yield (
        "Deblending needs a saddle between two peaks; more levels (detect.deblend_n_levels), a "
        "lower detect.deblend_contrast or detect.deblend_n_pixels would split more."
    )


def _on_mask(case: Case, x: float, y: float) -> list[str]:
    from bycatch.kernels.neighbourhood import any_within

    mask = case.pixels(case.paths.mask)
    if mask is None or not any_within(mask.astype(bool), [x], [y], NEAR_PX)[0]:
        return []
    return [f"A pixel of the cosmic-ray mask lies within {NEAR_PX:g} px."]


def _why_not_found(case: Case, x: float, y: float) -> _Reason:
    """Return why nothing was found at a position: too faint, or too few pixels."""
    settings = case.settings.at(case.image.detector_px)
    ratio, (x0, y0) = _smoothed_ratio(case, settings, pixel_at(x), pixel_at(y))
    best, area = _best_near(ratio, pixel_at(x) - x0, pixel_at(y) - y0)
    if not np.isfinite(best):
        text = "The noise of the sky is not known here: too few pixels around have data."
        return _Reason(Verdict.NO_DATA, (text,))
    limit = settings.n_sigma
    level = f"The smoothed image reaches {best:.2f} times the noise within {NEAR_PX:g} px"
    if best <= limit:
        need = "detect.n_sigma would have to be below " + f"{np.floor(100 * best) / 100:.2f}"
        text = need if best >= 0.01 else "no threshold would find a source"
        return _Reason(Verdict.TOO_FAINT, (f"{level}; the threshold is {limit:g}: {text}.",))
    single = case.image.meta.n_exposures == 1
    name = "n_pixels_single" if single else "n_pixels"
    n_least, n = getattr(settings, name), area(limit)
    if n < n_least:
        return _Reason(
            Verdict.TOO_SMALL,
            (
                f"{level}, above the threshold of {limit:g}.",
                f"But only {n} connected pixels are above it, of {n_least} that are needed.",
                f"detect.{name} would have to be {_setting_for(n, case)} or less.",
            ),
        )
    text = f"{level}, and {n} connected pixels are above the threshold of {limit:g}: "
    return _Reason(Verdict.MERGED, (text + "they belong to segments that start farther away.",))


def _setting_for(n_pixels: int, case: Case) -> int:
    """Return the largest setting that so many pixels of the image satisfy."""
    area = case.image.detector_px**2 if case.settings.in_detector_pixels else 1.0
    return int((n_pixels + 0.5) / area) if area != 1 else n_pixels


def _smoothed_ratio(
    case: Case, settings: DetectSettings, column: int, row: int
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return smoothed, background-subtracted image over noise around a pixel, and its corner.

    The maps are those of the whole image, as detection makes them; NaN where there are no data.
    """
    from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
    from bycatch.stages.detect import sky_maps

    background, noise = sky_maps(case.image, settings)
    x0, y0 = max(0, column - AROUND_PX), max(0, row - AROUND_PX)
    window = np.s_[y0 : row + AROUND_PX + 1, x0 : column + AROUND_PX + 1]
    valid, sigma = case.image.valid[window], noise[window]
    light = np.where(valid, case.image.sci[window] - background[window], 0).astype(np.float32)
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    smooth = smooth_image(light, valid, kernel)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(valid & (sigma > 0), smooth / sigma, np.nan).astype(float), (x0, y0)


def _best_near(
    ratio: NDArray[np.float64], column: int, row: int
) -> tuple[float, Callable[[float], int]]:
    """Return the highest value near a pixel, and a function: connected pixels above a level."""
    from scipy.ndimage import label

    rows, columns = np.ogrid[: ratio.shape[0], : ratio.shape[1]]
    near = np.hypot(rows - row, columns - column) <= NEAR_PX
    values = np.where(near & np.isfinite(ratio), ratio, -np.inf)
    top = np.unravel_index(int(np.argmax(values)), values.shape)

    def area(level: float) -> int:
        labels, _ = label(np.nan_to_num(ratio, nan=-np.inf) > level, structure=np.ones((3, 3)))
        return int((labels == labels[top]).sum()) if labels[top] else 0

    best = float(values[top])
    return best, area
