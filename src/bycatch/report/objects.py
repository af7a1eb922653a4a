"""The objects of the page: a line per group, and its colour-magnitude diagrams."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.tables import floats, read_table
from bycatch.errors import UnreadableFile
from bycatch.products.group_state import (
    OBJECTS_FOLDER,
    GroupState,
    group_folder,
    read_groups,
    table_path,
)
from bycatch.system.words import printable

logger = logging.getLogger("bycatch")

MOST_GROUPS, MOST_POINTS = 12, 1500
"""Groups with a diagram, and objects in one: the page stays small."""
WIDTH, HEIGHT, MARGIN = 340, 300, 46
LEAST_SNR = 5.0
POINT_ABOVE = 0.5


@dataclass(frozen=True)
class ReportedGroup:
    """A group of overlapping images on the page.

    Attributes
    ----------
    name : of the group
    cells : its numbers, in words
    files : names and places of its tables, from the page's folder
    diagrams : SVG
    """

    name: str
    cells: dict[str, str]
    files: tuple[tuple[str, str], ...]
    diagrams: tuple[str, ...]


HEADINGS = (
    ("images", "images that overlap"),
    ("filters", "their filters, from blue to red"),
    ("objects", "everything that was detected at one place, or asked for"),
    ("real", "objects that are stars or galaxies more likely than not (p_real)"),
    ("in several", "objects that two images or more have detected"),
    ("sum only", "objects that only the sum of all images shows"),
    ("outcome", "of the last run"),
)


def reported_groups(out: Path) -> list[ReportedGroup]:
    """Return what the page shows of the objects; nothing where none were made."""
    states = list(read_groups(out))
    return [_group(out, state, with_diagrams=k < MOST_GROUPS) for k, state in enumerate(states)]


def _group(out: Path, state: GroupState, *, with_diagrams: bool) -> ReportedGroup:
    found = state.summary
    cells = {
        "images": str(len(state.images)),
        "filters": ", ".join(map(printable, found.get("filters", ()))),
        "objects": str(found.get("n_objects", "-")),
        "real": str(found.get("n_real", "-")),
        "in several": str(found.get("n_in_several", "-")),
        "sum only": str(found.get("n_only_combined", "-")),
        "outcome": printable(f"{state.outcome} {state.reason}".strip()),
    }
    files = tuple(
        (printable(name.removeprefix(f"{state.name}_")), f"{OBJECTS_FOLDER}/{state.name}/{name}")
        for name in sorted(state.outputs)
    )
    diagrams = _diagrams(out, state) if with_diagrams else ()
    return ReportedGroup(printable(state.name), cells, files, diagrams)


def _diagrams(out: Path, state: GroupState) -> tuple[str, ...]:
    """Return a colour-magnitude diagram for each pair of neighbouring filters."""
    try:
        table = read_table(table_path(group_folder(out, state.name), state.name, "objects"))
        filters = [str(f) for f in state.summary.get("filters", ())]
        return tuple(_diagram(table, f, g) for f, g in pairwise(filters))
    except (UnreadableFile, KeyError, OSError) as err:
        logger.warning("objects %s: no diagram: %s", state.name, err)
        return ()


def _diagram(table: Any, f: str, g: str) -> str:
    """Return the colour and magnitude of the real objects as SVG: points and extended ones."""
    colour, magnitude = floats(table, f"colour_{f}_{g}"), floats(table, f"mag_{g}")
    with np.errstate(invalid="ignore"):
        shown = (floats(table, "p_real") >= POINT_ABOVE) & np.isfinite(colour + magnitude)
        shown &= np.asarray(table[f"colour_limit_{f}_{g}"]) == 0
        shown &= (floats(table, f"snr_{f}") > LEAST_SNR) & (floats(table, f"snr_{g}") > LEAST_SNR)
        is_point = floats(table, "p_star") >= POINT_ABOVE
    rows = np.flatnonzero(shown)
    if len(rows) < 2:
        return ""
    rows = rows[np.argsort(magnitude[rows], kind="stable")][:MOST_POINTS]
    return _svg(colour[rows], magnitude[rows], is_point[rows], f"{f} - {g}", g)


def _svg(x: Floats, y: Floats, is_point: Bools, x_name: str, y_name: str) -> str:
    low, high = np.percentile(x, [1, 99]) + np.array([-0.2, 0.2])
    bright, faint = float(y.min()) - 0.3, float(y.max()) + 0.3

    def at(values: Floats, first: float, last: float, start: float, end: float) -> Floats:
        return np.asarray(start + (values - first) / (last - first) * (end - start))

    left, right, top, bottom = MARGIN, WIDTH - 8, 10, HEIGHT - 38
    px, py = at(x, low, high, left, right), at(y, bright, faint, top, bottom)
    inside = (px >= left) & (px <= right)
    marks = []
    for which, style in ((~is_point, "extended"), (is_point, "point")):
        for cx, cy in zip(px[which & inside], py[which & inside], strict=True):
            marks.append(f'<circle class="{style}" cx="{cx:.1f}" cy="{cy:.1f}" r="2"/>')
    ticks = []
    for value in _ticks(low, high):
        place = float(at(np.array([value]), low, high, left, right)[0])
        ticks.append(f'<path d="M{place:.1f} {bottom}v4"/>')
        ticks.append(
            f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>'
        )
    for value in _ticks(bright, faint):
        place = float(at(np.array([value]), bright, faint, top, bottom)[0])
        ticks.append(f'<path d="M{left} {place:.1f}h-4"/>')
        ticks.append(f'<text x="{left - 7}" y="{place + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    return (
        f'<svg class="diagram" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="magnitude in {y_name} against the colour {x_name}">'
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
        f"{''.join(marks)}{''.join(ticks)}"
        f'<text x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">{x_name}, AB mag</text>'
        f'<text transform="translate(12 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{y_name}, AB mag</text></svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values in a range."""
    span = high - low
    step = next((s for s in (0.2, 0.5, 1.0, 2.0, 5.0) if span / s <= 7), 10.0)
    first = np.ceil(low / step) * step
    return [round(float(v), 6) for v in np.arange(first, high, step)]
