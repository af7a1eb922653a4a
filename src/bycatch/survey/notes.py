"""The record of a survey: ``survey.json``."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import Any

from bycatch.errors import SettingsError
from bycatch.products.content import UNREADABLE, read_state, reason_of
from bycatch.survey.sky import Cell
from bycatch.survey.sources import Group

NOTES = "survey.json"
FORMAT = 1
MOST_ROWS = 500_000
MARGIN_ARCSEC = 5.0


@dataclass
class Leaf:
    """A partition of a table.

    Attributes
    ----------
    order, pixel : its cell
    rows : how many
    groups : how many of each group
    """

    order: int
    pixel: int
    rows: int
    groups: dict[str, int] = member(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """Its cell."""
        return Cell(self.order, self.pixel)


@dataclass
class Layout:
    """How a table lies on the disk.

    Attributes
    ----------
    columns : their names, in order
    leaves : its partitions, in the order of the sky
    margins : those of its margins: the rows beyond the edge of each partition
    """

    columns: list[str] = member(default_factory=list)
    leaves: list[Leaf] = member(default_factory=list)
    margins: list[Leaf] = member(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(leaf.rows for leaf in self.leaves)


@dataclass
class Notes:
    """The content of ``survey.json``.

    Attributes
    ----------
    name : of the survey
    made : when, UTC
    creator : program and version
    most_rows : of a partition
    margin_arcsec : of the tables of objects and epochs
    groups : by their labels
    tables : by their names
    files : what else we made, at the top of its folder
    summary : numbers for the page
    format : of the file
    """

    name: str
    made: str = ""
    creator: str = ""
    most_rows: int = MOST_ROWS
    margin_arcsec: float = MARGIN_ARCSEC
    groups: list[Group] = member(default_factory=list)
    tables: dict[str, Layout] = member(default_factory=dict)
    files: list[str] = member(default_factory=list)
    summary: dict[str, Any] = member(default_factory=dict)
    format: int = FORMAT


def is_survey(path: Path) -> bool:
    """Tell whether a folder is a survey."""
    return (path / NOTES).is_file()


def read_notes(survey: Path) -> Notes:
    """Read the notes of a survey.

    Raises
    ------
    SettingsError
        It is no survey, one of a later version, or damaged.
    """
    path = survey / NOTES
    if not path.is_file():
        raise SettingsError(
            f"{survey}: no survey", hint="make one with 'bycatch survey build OUT -o SURVEY'"
        )
    try:
        notes: Notes = read_state(path, Notes, FORMAT)
    except UNREADABLE as err:
        raise SettingsError(
            f"{path}: not readable ({reason_of(err)})",
            hint="remove the folder and build the survey again",
        ) from err
    return notes
