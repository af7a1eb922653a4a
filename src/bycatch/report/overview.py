"""The tables on top of the report: a row per field and per image, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from bycatch.display.glossary import meaning_of
from bycatch.products.group_state import read_groups
from bycatch.report.findings import BAD, NOTE, WARN, Finding, Place, group_findings
from bycatch.report.products import Folder, ReportedField, ReportedImage
from bycatch.system.words import printable

PULL_RANGE = (0.85, 1.18)
"""Widths of the pulls outside of which the errors are called wrong."""
MOST_GRADES = 12
WORTH_MMAG = 10.0
"""A zero point that is off by less is no warning: other errors are larger."""
WORTH_MAG = 0.5
"""Another preset that reaches so much fainter stars is worth a line."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: the text, what to sort by, and whether something is wrong.

    Attributes
    ----------
    text : as shown
    value : to sort by; None comes last
    level : '', 'warn' or 'bad'
    why : the reason, shown as a tooltip
    """

    text: str
    value: float | str | None = None
    level: str = ""
    why: str = ""


@dataclass(frozen=True)
class Heading:
    """The head of a column: a word of the glossary, perhaps with a unit; ``right`` for numbers."""

    name: str
    text: str
    right: bool = True

    @property
    def meaning(self) -> str:
        """What the word means, as the glossary says."""
        return meaning_of(self.text)


@dataclass(frozen=True)
class Row:
    """A row of a table; ``problems`` in words."""

    key: str
    cells: dict[str, Cell]
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Overview:
    """Tables of the fields and images, and the problems of all."""

    field_headings: tuple[Heading, ...]
    fields: tuple[Row, ...]
    image_headings: tuple[Heading, ...]
    images: tuple[Row, ...]
    problems: tuple[tuple[str, str, str], ...] = field(default=())
    """Level, place, what is wrong."""
    findings: tuple[Finding, ...] = ()
    """The same with equal ones in one line, and what is worth knowing."""

    @property
    def is_fine(self) -> bool:
        """True if nothing looks wrong."""
        return not self.problems

    @property
    def checks(self) -> str:
        """What was looked at, in words: that nothing looks wrong says no more than this."""
        n = len(self.images)
        parts = [
            f"{words} in {sum(row.cells[name].value is not None for row in self.images)} of {n}"
            for name, words in (
                ("grade", "alignment"),
                ("closure", "aperture corrections"),
                ("pulls", "errors of blank apertures"),
                ("points", "locus stars"),
                ("covered", "nebulosity, large objects, trails and crowding"),
            )
        ]
        return f"Checked: {', '.join(parts)} images."


FIELDS = (
    Heading("field", "field", right=False),
    Heading("grades", "grades", right=False),
    Heading("n_images", "images"),
    Heading("n_stars", "Gaia stars"),
    Heading("odds", "odds of chance"),
    Heading("astrom_err", "frame error, mas"),
    Heading("note", "remark", right=False),
)
IMAGES = (
    Heading("field", "field", right=False),
    Heading("filter", "filter", right=False),
    Heading("image", "image", right=False),
    Heading("outcome", "outcome", right=False),
    Heading("grade", "grade", right=False),
    Heading("n_gaia", "Gaia stars"),
    Heading("astrom_err", "frame error, mas"),
    Heading("n_exp", "n_exp"),
    Heading("exptime", "exposure time, s"),
    Heading("sources", "sources"),
    Heading("likely_cr", "likely CR"),
    Heading("clean", "clean"),
    Heading("cr_share", "CR pixels, %"),
    Heading("depth", "depth, AB"),
    Heading("reach", "half found, AB"),
    Heading("closure", "closure, %"),
    Heading("pulls", "pull"),
    Heading("points", "locus stars"),
    Heading("covered", "covered, %"),
    Heading("seconds", "time, s"),
)


def overview(folder: Folder) -> Overview:
    """Return the tables of a folder."""
    fields: list[Row] = []
    images: list[Row] = []
    warnings: list[tuple[str, Place]] = [
        (BAD, Place("", path, why.removeprefix(f"{path}: "))) for path, why in folder.lost
    ]
    of_images: list[tuple[str, Place]] = []
    # Field by field: of a large folder the images of one are in memory at a time.
    for name, members in groupby(folder.images, key=lambda image: image.record.field):
        here = tuple(members)
        rows = [_image_row(image) for image in here]
        images += rows
        fields.append(_field_row(name, here, folder.fields[name]))
        warnings += [(level, Place("", name, text)) for level, text in fields[-1].problems]
        of_images += [
            (level, Place(row.key, image.place, text))
            for image, row in zip(here, rows, strict=True)
            for level, text in row.problems
        ]
    warnings += of_images
    warnings += [
        (
            BAD,
            Place("", printable(f"objects {state.name}"), printable(state.reason or state.outcome)),
        )
        for state in read_groups(folder.out)
        if state.outcome not in {"", "done"}
    ]
    problems = [(level, p.name, p.text) for level, p in warnings if level != NOTE]
    problems.sort(key=lambda problem: problem[0] != BAD)
    return Overview(
        FIELDS, tuple(fields), IMAGES, tuple(images), tuple(problems), group_findings(warnings)
    )


def key_of(image: ReportedImage) -> str:
    """Return the name by which the page knows an image."""
    return printable(image.record.full_place)


def number(value: Any, digits: int = 0, *, level: str = "", why: str = "") -> Cell:
    """Return the cell of a number, '-' if there is none."""
    if value is None or np.isnan(value):
        return Cell("-", None, level, why)
    return Cell(f"{value:.{digits}f}", float(value), level, why)


def _field_row(name: str, members: Sequence[ReportedImage], field: ReportedField) -> Row:
    alignment = first_of(
        field.alignment or None,
        *(image.number("align", "field") for image in members),
        {},
    )
    why = field.references
    grades = "".join(str(image.number("align", "grade") or "-") for image in members)
    worst = max(grades, default="")
    odds = alignment.get("odds")
    cells = {
        "field": Cell(name, name),
        "grades": Cell(_in_short(grades), worst, _grade_level(worst)),
        "n_images": number(len(members)),
        "n_stars": number(alignment.get("n_stars")),
        "odds": Cell("-", None) if odds is None else Cell(_odds(odds), float(odds)),
        "astrom_err": number(alignment.get("astrom_err_mas"), 1),
        "note": Cell(why or "", why, WARN if why else ""),
    }
    return Row(name, cells, ((WARN, f"reference stars: {why}"),) if why else ())


def _in_short(grades: str) -> str:
    """Return the grades of a field's images: each of a few, the numbers of many."""
    if len(grades) <= MOST_GRADES:
        return grades
    return ", ".join(f"{grade} {grades.count(grade)}" for grade in sorted(set(grades)))


def _odds(odds: float) -> str:
    return "< 1e-12" if odds < 1e-12 else f"{odds:.1g}"


def _grade_level(grade: str) -> str:
    return {"D": WARN, "E": WARN, "F": BAD}.get(grade, "")


def _image_row(image: ReportedImage) -> Row:
    record, problems = image.record, []
    outcome = Cell(image.outcome, image.outcome)
    if image.outcome != "done":
        level = BAD if image.outcome in {"dropped", "failed"} else WARN
        why = image.reason or "some steps are not done"
        outcome = Cell(image.outcome, image.outcome, level, why)
        problems.append((level, f"{image.outcome}: {why}"))
    grade = str(image.number("align", "grade") or "")
    level = _grade_level(grade)
    if level:
        problems.append((level, f"alignment of grade {grade}: {image.number('align', 'reason')}"))
    closure, complaints = _closure(image)
    problems += [(WARN, text) for text in complaints]
    problems += [(WARN, str(note)) for note in record.all_notes]
    doubts = [str(note) for note in image.number("measure", "trust_notes") or ()]
    problems += [(WARN, note) for note in doubts]
    crowding_notes = [note for note in doubts if note.startswith("crowded")]
    problems += [(WARN, note) for note in _calibration_notes(image)]
    share = image.number("crmask", "share_of_single")
    width = blank_pull(image)
    pulls = number(width, 2)
    if width is not None and not PULL_RANGE[0] <= width <= PULL_RANGE[1]:
        text = f"errors of blank apertures are off: their pulls are {width:.2f} wide, not 1"
        pulls = number(width, 2, level=WARN, why=text)
        problems.append((WARN, text))
    points, psf_remarks = _points(image)
    problems += [(WARN, text) for text in psf_remarks]
    reach, deeper = _reach(image)
    problems += [(NOTE, text) for text in deeper]
    cells = {
        "field": Cell(record.field, record.field),
        "filter": Cell(record.filter, record.filter),
        "image": Cell(record.root, record.root),
        "outcome": outcome,
        "grade": Cell(grade or "-", grade or None, level, str(image.number("align", "reason"))),
        "n_gaia": number(image.number("align", "n_field_matches")),
        "astrom_err": number(image.number("align", "astrom_err_mas"), 1),
        "n_exp": number(image.number("detect", "n_exposures")),
        "exptime": number(image.number("finalize", "exptime_s")),
        "sources": number(image.number("finalize", "n_catalog")),
        "likely_cr": number(image.number("measure", "n_likely_cosmic_ray")),
        "clean": number(image.number("finalize", "n_clean")),
        "cr_share": number(None if share is None else 100 * share, 1),
        "depth": number(image.number("measure", "depth_mag"), 2),
        "reach": reach,
        "closure": closure,
        "pulls": pulls,
        "points": points,
        "covered": number(
            image.number("measure", "covered_percent"),
            1,
            level=WARN if crowding_notes else "",
            why="; ".join(crowding_notes),
        ),
        "seconds": number(image.seconds, 1),
    }
    return Row(key_of(image), cells, tuple(problems))


def first_of(*candidates: Any) -> Any:
    """Return the first value that is there."""
    return next((value for value in candidates if value is not None), None)


def _closure(image: ReportedImage) -> tuple[Cell, list[str]]:
    """Return the largest remaining departure of the aperture corrections, and complaints."""
    closure = image.number("finalize", "closure")
    if not closure:
        return Cell("-", None), []
    parts = {r: part for r, part in closure["percent"].items() if part["closes"] is not None}
    if not parts:
        return Cell("not checked", None, "", f"{closure['n_stars']} good stars are too few"), []
    off = max(parts, key=lambda r: abs(parts[r]["used"]))
    open_ = [r for r, part in parts.items() if not part["closes"]]
    complaints = [
        f"aperture corrections do not close in {r} px: {parts[r]['used']:+.1f} "
        f"± {parts[r]['error'] or 0:.1f} % ({closure['n_stars']} stars)"
        for r in open_
    ]
    worst = parts[off]["used"]
    text = f"{worst:+.1f}" if abs(worst) >= 0.05 else "0.0"
    return Cell(text, abs(worst), WARN if open_ else "", "; ".join(complaints)), complaints


def _calibration_notes(image: ReportedImage) -> list[str]:
    """Return what looks wrong with the calibration and is not said elsewhere."""
    notes = [str(note) for note in image.number("finalize", "calibration_notes") or ()]
    off_mmag = image.number("finalize", "zeropoint_audit_mmag")
    if off_mmag is not None and abs(off_mmag) < WORTH_MMAG:
        notes = [note for note in notes if not note.startswith("PHOTFLAM")]
    return [note for note in notes if not note.startswith("aper")]


def _reach(image: ReportedImage) -> tuple[Cell, list[str]]:
    """Return what the catalog reaches, and whether the preset deep would find much more."""
    reach = image.number("detect", "reach_mag")
    deep = (image.number("detect", "reach_of_presets_mag") or {}).get("deep")
    if reach is None or deep is None or deep - reach < WORTH_MAG:
        return number(reach, 2), []
    text = (
        f"the preset deep reaches {deep - reach:.1f} mag fainter stars: half of them are found "
        f"at {deep:.1f} mag, with these settings at {reach:.1f}"
    )
    return number(reach, 2), [text]


def _points(image: ReportedImage) -> tuple[Cell, list[str]]:
    """Return how many stars define the locus of points, and a remark if they are too few."""
    n_stars = image.number("measure", "locus_n_stars")
    psf, remarks = _psf(image)
    if image.number("measure", "locus_origin") != "published curve":
        return Cell(str(n_stars), n_stars, WARN if remarks else "", psf) if psf else number(
            n_stars
        ), remarks
    text = (
        f"p_star uses the published curve of the filter: {n_stars} stars are too few to "
        "define the image's own locus"
    )
    return Cell(str(n_stars), None, WARN, text), [text]


def _psf(image: ReportedImage) -> tuple[str, list[str]]:
    """Return what the PSF of an image rests on, and a remark where that is little; '' without."""
    n_stars = image.number("measure", "psf_n_stars")
    if n_stars is None:
        return "", []
    if image.number("measure", "psf_origin") == "published curve":
        text = f"the PSF is the published one: {n_stars} good stars are too few to build one"
        return text, [text]
    rest = image.number("measure", "psf_residual") or 0.0
    return (
        f"PSF of {n_stars} stars, FWHM {image.number('measure', 'psf_fwhm_px')} px, which leaves "
        f"{100 * rest:.1f} % of their light; {image.number('measure', 'psf_n_found')} rows found "
        "in the residual"
    ), []


def blank_pull(image: ReportedImage) -> float | None:
    """Return the width of the pulls of blank places in the middle aperture; None without."""
    widths = list((image.number("measure", "noise_pull") or {}).values())
    return widths[len(widths) // 2] if widths else None
