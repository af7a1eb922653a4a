"""What the report needs of an output folder, read from the products that are there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.catalogs.tables import read_table
from bycatch.errors import BycatchError, SettingsError, UnreadableFile
from bycatch.images.drc import DrcImage
from bycatch.images.look import DrcLook, look_at
from bycatch.products import (
    STAGES,
    ImagePaths,
    ImageRecord,
    damaged_records,
    find_records,
    input_settings,
    last_summary,
    read_pixels,
    saved_settings,
)
from bycatch.settings import Settings
from bycatch.system.words import printable

logger = logging.getLogger("bycatch")


@dataclass(frozen=True)
class ReportedImage:
    """An image of the output folder and what the last run said of it.

    Attributes
    ----------
    record : of the image
    paths : where its products lie
    settings : of the last run
    outcome : done, dropped, failed; 'unknown' if no run took note of it
    reason : why it was dropped or failed
    """

    record: ImageRecord
    paths: ImagePaths
    settings: Settings
    outcome: str = "unknown"
    reason: str = ""

    @property
    def place(self) -> str:
        """Field, filter and root, as in the log."""
        return printable(f"{self.record.field}/{self.record.filter} {self.record.root}")

    @property
    def seconds(self) -> float:
        """Time that its steps took, in whichever runs they were done."""
        return sum(stage.seconds for stage in self.record.stages.values())

    def number(self, step: str, name: str) -> Any:
        """Return a value of a step's summary; None if it is not there."""
        found = self.record.stages.get(step)
        return found.summary.get(name) if found else None

    def table(self, kind: str) -> Table | None:
        """Read ``<root>_<kind>.ecsv``; None if it is missing or damaged."""
        path = self.paths.product(kind)
        try:
            return read_table(path) if path.exists() else None
        except UnreadableFile as err:
            logger.warning("%s: left out of the report: %s", self.place, err)
            return None

    def plane(self, path: Path) -> NDArray[Any] | None:
        """Read the first image of a FITS file; None if it is missing or damaged."""
        try:
            return read_pixels(path) if path.exists() else None
        except UnreadableFile as err:
            logger.warning("%s: left out of the report: %s", self.place, err)
            return None

    def pairs(self) -> Table | None:
        """Read the Gaia pairs of the alignment; None if there is no aligned WCS."""
        if not self.paths.wcs.exists():
            return None
        try:
            with fits.open(self.paths.wcs, memmap=False) as hdus:
                return Table(hdus["PAIRS"].data) if "PAIRS" in hdus else None
        except (OSError, ValueError, TypeError) as err:
            logger.warning("%s: left out of the report: %s", self.place, err)
            return None

    def pixels(self) -> DrcImage | DrcLook | None:
        """Return the drizzled image in its place; None if it can't be read any more."""
        record = self.record
        try:
            given = input_settings(self.settings, record)
            folder = self.paths.folder
            return look_at(folder / record.name, given, *record.apart(folder))
        except (BycatchError, OSError) as err:
            logger.warning("%s: no picture in the report: %s", self.place, err)
            return None


@dataclass(frozen=True)
class Folder:
    """An output folder.

    Attributes
    ----------
    out : its path
    images : sorted by place
    summary : of the last run, as in ``summary.json``
    lost : files that were dropped before they had a place, and damaged records; why
    """

    out: Path
    images: tuple[ReportedImage, ...]
    summary: dict[str, Any]
    lost: tuple[tuple[str, str], ...] = ()


def read_folder(out: str | Path) -> Folder:
    """Read what a report is about.

    Raises
    ------
    SettingsError
        There is no image in the folder, and nothing was lost.
    """
    out = Path(out)
    records, summary = find_records(out), last_summary(out)
    lost = [(str(path), why) for path, why in damaged_records(out).items()]
    lost += [(s["path"], s["reason"]) for s in summary.get("skipped", []) if s.get("dropped")]
    if not records and not lost:
        raise SettingsError(f"{out}: no image in it", hint="run 'bycatch run' first")
    ended = {(i["field"], i["filter"], i["root"]): i for i in summary.get("images", [])}
    images, settings = [], saved_settings(out)
    for record in records:
        last = ended.get((record.field, record.filter, record.root), {})
        complete = set(STAGES) <= set(record.stages)
        outcome = str(last.get("outcome") or ("done" if complete else "unknown"))
        images.append(
            ReportedImage(record, record.paths(out), settings, outcome, str(last.get("reason", "")))
        )
    return Folder(out, tuple(images), summary, tuple(lost))


def values(table: Table, name: str) -> Floats:
    """Return a column as floats with NaN for what is missing; all NaN without the column."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    return np.ma.filled(np.ma.asarray(table[name]).astype(np.float64), np.nan)


def integers(table: Table, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers; 0 for what is missing, and without the column."""
    if name not in table.colnames:
        return np.zeros(len(table), np.int64)
    return np.asarray(np.ma.filled(np.ma.asarray(table[name]), 0), dtype=np.int64)


def middle_radius(table: Table) -> str:
    """Return the middle aperture radius as the column names write it; '' without magnitudes."""
    radii = [
        name.removeprefix("mag_ab_")
        for name in table.colnames
        if name.startswith("mag_ab_") and name.removeprefix("mag_ab_").replace(".", "").isdigit()
    ]
    return sorted(radii, key=float)[len(radii) // 2] if radii else ""
