"""What is published of a survey: its tables, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.object_classes import REAL
from bycatch.catalogs.survey_columns import filter_order
from bycatch.survey.arrow import about_field, astropy_table
from bycatch.survey.describe import whole_table
from bycatch.survey.digits import format_of
from bycatch.survey.notes import Notes, read_notes

if TYPE_CHECKING:
    from astropy.table import Table

NAMES = {"object": "objects", "epoch": "epochs", "image": "images"}
HIDDEN = ("_healpix_29",)


@dataclass(frozen=True)
class Release:
    """What is said of what is published.

    Attributes
    ----------
    name : of the field or survey, in names of files; '': that of the survey
    title : the same as its author writes it; '': the name
    project : identifier of the collection (MAST agrees on one)
    version : such as v1.0
    everything : objects that are not real (p_real below 0.5) and duplicates, too
    """

    name: str = ""
    title: str = ""
    project: str = "bycatch"
    version: str = "v1.0"
    everything: bool = False


@dataclass(frozen=True, eq=False)
class Content:
    """What is published.

    Attributes
    ----------
    release : what is said of it
    notes : of the survey
    tables : objects, epochs, images
    formats : of the columns with floating point, by table
    filters : from blue to red
    path : of the survey
    """

    release: Release
    notes: Notes
    tables: dict[str, Table]
    formats: dict[str, dict[str, str]]
    filters: list[str]
    path: Path


def content_of(survey: Path, release: Release) -> Content:
    """Read what is published."""
    notes = read_notes(survey)
    tables: dict[str, Table] = {}
    formats: dict[str, dict[str, str]] = {}
    for table, name in NAMES.items():
        rows = whole_table(survey, notes, table)
        about = {field.name: about_field(field) for field in rows.schema}
        tables[name] = astropy_table(rows, about, HIDDEN)
        formats[name] = {
            k: format_of(k, about[k]["unit"], about[k].get("format", ""))
            for k in tables[name].colnames
            if tables[name][k].dtype.kind == "f"
        }
    objects, epochs = tables["objects"], tables["epochs"]
    if not release.everything:
        real = np.ma.filled(np.ma.asarray(objects["p_real"]), 0.0) >= REAL
        tables["objects"] = objects[real & (np.asarray(objects["duplicate_of"]) == 0)]
        is_of_object = np.isin(epochs["object_id"], tables["objects"]["object_id"])
        tables["epochs"] = epochs[is_of_object]
    filters = sorted(notes.summary["filters"], key=filter_order)
    return Content(release, notes, tables, formats, filters, survey)
