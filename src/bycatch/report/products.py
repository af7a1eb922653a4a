"""What the report needs of an output folder, read from the products that are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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
from bycatch.images.files import open_fits
from bycatch.images.look import DrcLook, look_at
from bycatch.products import (
    STAGES,
    ImagePaths,
    ImageRecord,
    find_records,
    first_image,
    input_settings,
    last_run,
    read_fields,
    read_pixels,
    saved_settings,
    table_in,
)
from bycatch.settings import Settings
from bycatch.system.words import printable

logger = logging.getLogger("bycatch")

MAX_INSIDE = 50
"""Images that the page itself holds, and whose records are kept in memory; those of a larger run
lie in the folders of their fields, and are read when they are asked for."""


@dataclass(frozen=True)
class ReportedImage:
    """An image of the output folder and what the last run said of it.

    Attributes
    ----------
    record : of the image
    out : the output folder
    settings : of the last run
    outcome : done, dropped, failed; 'unknown' if no run took note of it
    reason : why it was dropped or failed
    """

    record: ImageRecord
    out: Path
    settings: Settings
    outcome: str = "unknown"
    reason: str = ""

    @property
    def paths(self) -> ImagePaths:
        """Where its products lie."""
        return self.record.paths(self.out)

    @property
    def place(self) -> str:
        """Field, filter and root, as in the log."""
        return printable(f"{self.record.field}/{self.record.filter} {self.record.root}")

    @property
    def has_catalog(self) -> bool:
        """True if there is a final catalog to show."""
        return any(self.paths.product("cat", end).exists() for end in (".ecsv", ".parquet"))

    @property
    def seconds(self) -> float:
        """Time that its steps took, in whichever runs they were done."""
        return sum(stage.seconds for stage in self.record.stages.values())

    def number(self, step: str, name: str) -> Any:
        """Return a value of a step's summary; None if it is not there."""
        record_of_step = self.record.stages.get(step)
        return record_of_step.summary.get(name) if record_of_step else None

    def table(self, kind: str) -> Table | None:
        """Read ``<root>_<kind>``, ECSV or Parquet; None if it is missing or damaged."""
        paths = [self.paths.product(kind, suffix) for suffix in (".ecsv", ".parquet")]
        path = next((path for path in paths if path.exists()), None)
        try:
            return read_table(path) if path else None
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

    def plane_and_table(self, path: Path, name: str) -> tuple[NDArray[Any] | None, Table | None]:
        """Read the first image and a table of a FITS file, which is unpacked once."""
        if not path.exists():
            return None, None
        try:
            with open_fits(path) as hdus:
                return first_image(hdus), table_in(hdus, name)
        except UnreadableFile as err:
            logger.warning("%s: left out of the report: %s", self.place, err)
            return None, None

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
        """Return the drizzled image in its place; None if it can no longer be read."""
        record = self.record
        try:
            settings = input_settings(self.settings, record)
            return look_at(record.image_file(self.out), settings, *record.apart(self.out))
        except (BycatchError, OSError) as err:
            logger.warning("%s: no picture in the report: %s", self.place, err)
            return None


@dataclass(frozen=True)
class ReportedField:
    """A field: why it has no reference stars ('' where it has), and how its alignment went."""

    references: str
    alignment: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """An output folder.

    Attributes
    ----------
    out : its path
    settings : of the last run
    images : sorted by place
    fields : by name
    seconds : time of the last run; None where that is not known
    lost : files that were dropped before they had a place, and damaged records; why
    """

    out: Path
    settings: Settings
    images: Sequence[ReportedImage]
    fields: dict[str, ReportedField]
    seconds: float | None = None
    lost: tuple[tuple[str, str], ...] = ()


def read_folder(out: str | Path) -> Folder:
    """Read what a report is about.

    Raises
    ------
    SettingsError
        There is no image in the folder, and nothing was lost.
    """
    out, settings = Path(out), saved_settings(Path(out))
    last = last_run(out)
    fields: dict[str, ReportedField] = {}
    damages: list[tuple[str, str]] = []
    homeless: list[tuple[str, str]] = []
    n_images = 0
    for path, state in read_fields(out):
        if isinstance(state, UnreadableFile):
            damages.append((str(path), str(state)))
        else:
            fields[state.name] = ReportedField(state.references, state.alignment)
            homeless += state.unplaced.items()
            n_images += len(state.images)
    drops = [(skip.path, skip.reason) for skip in last.skipped if skip.dropped]
    losses = (*damages, *drops, *homeless)
    if not n_images and not losses:
        raise SettingsError(f"{out}: no image in it", hint="run 'bycatch run' first")
    images: Sequence[ReportedImage] = ImagesOnDisk(out, tuple(fields), settings, n_images)
    if n_images <= MAX_INSIDE:
        images = tuple(images)
    return Folder(out, settings, images, fields, last.seconds, losses)


class ImagesOnDisk(Sequence[ReportedImage]):
    """The images of some fields, read field by field each time that they are gone through."""

    def __init__(
        self, out: Path, fields: tuple[str, ...], settings: Settings, n_images: int
    ) -> None:
        self.out, self.fields, self.settings, self.n_images = out, fields, settings, n_images

    def __iter__(self) -> Iterator[ReportedImage]:
        for record in find_records(self.out, self.fields):
            yield read_reported(record, self.out, self.settings)

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, number: Any) -> Any:
        return list(self)[number]


def read_reported(record: ImageRecord, out: Path, settings: Settings) -> ReportedImage:
    """Return an image as the report takes it."""
    complete = set(STAGES) <= set(record.stages)
    outcome = record.last.outcome or ("done" if complete else "unknown")
    return ReportedImage(record, out, settings, outcome, record.last.reason)


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
