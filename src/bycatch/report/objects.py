"""The objects of the page: a line per group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bycatch.errors import SettingsError
from bycatch.products.group_state import OBJECTS_FOLDER, GroupState, read_groups
from bycatch.system.words import printable


@dataclass(frozen=True)
class ReportedGroup:
    """A group of overlapping images on the page.

    Attributes
    ----------
    name : of the group
    cells : its numbers, in words
    files : names and places of its tables, from the page's folder
    has_tables : there is something to show
    """

    name: str
    cells: dict[str, str]
    files: tuple[tuple[str, str], ...]
    has_tables: bool


HEADINGS = ("images", "filters", "objects", "real", "in several", "sum only", "outcome")
"""Words of the glossary."""
NUMBERS = ("images", "objects", "real", "in several", "sum only")
"""Those of columns with numbers."""


def reported_groups(out: Path) -> list[ReportedGroup]:
    """Return what the page shows of the objects; nothing where none were made."""
    return [_group(state) for state in read_groups(out)]


def filters_of_groups(out: Path) -> tuple[str, ...]:
    """Return the filters of all groups, sorted.

    Raises
    ------
    SettingsError
        No objects were made.
    """
    filters = {str(f) for state in read_groups(out) for f in state.summary.get("filters", ())}
    if not filters:
        raise SettingsError(f"{out}: no objects in it", hint="run 'bycatch objects OUT' first")
    return tuple(sorted(filters))


def _group(state: GroupState) -> ReportedGroup:
    summary = state.summary
    cells = {
        "images": str(len(state.images)),
        "filters": ", ".join(map(printable, summary.get("filters", ()))),
        "objects": str(summary.get("n_objects", "-")),
        "real": str(summary.get("n_real", "-")),
        "in several": str(summary.get("n_in_several", "-")),
        "sum only": str(summary.get("n_only_combined", "-")),
        "outcome": printable(f"{state.outcome} {state.reason}".strip()),
    }
    files = tuple(
        (printable(name.removeprefix(f"{state.name}_")), f"{OBJECTS_FOLDER}/{state.name}/{name}")
        for name in sorted(state.outputs)
    )
    return ReportedGroup(printable(state.name), cells, files, bool(state.outputs))
