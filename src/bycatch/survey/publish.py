"""What archives want of a survey: files for MAST, for CDS, for the VO, with methods and BibTeX."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.survey_columns import filter_order
from bycatch.errors import SettingsError
from bycatch.survey import cds, hlsp, votable
from bycatch.survey.arrow import about_field, astropy_table
from bycatch.survey.build import build_survey
from bycatch.survey.describe import whole_table
from bycatch.survey.digits import format_of
from bycatch.survey.methods import bibtex, methods, settings_text
from bycatch.survey.notes import Notes, is_survey, read_notes
from bycatch.system.disk import Batch

if TYPE_CHECKING:
    from astropy.table import Table

LEAST_P_REAL = 0.5
NAMES = {"object": "objects", "epoch": "epochs", "image": "images"}
HIDDEN = ("_healpix_29",)


@dataclass(frozen=True)
class Release:
    """What is said of what is published.

    Attributes
    ----------
    name : of the field or survey, in names of files; '': that of the survey
    project : identifier of the collection (MAST agrees on one)
    version : such as v1.0
    everything : objects that are not real (p_real below 0.5) and duplicates, too
    """

    name: str = ""
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


WRITERS: dict[str, Callable[[Content, Batch], None]] = {
    "hlsp": hlsp.write,
    "cds": cds.write,
    "votable": votable.write,
}


def publish_survey(
    path: str | Path,
    kind: str,
    folder: str | Path | None = None,
    release: Release | None = None,
) -> list[Path]:
    """Write what an archive wants of a survey, or of an output folder; return the files.

    Parameters
    ----------
    path : of a survey, or an output folder with objects
    kind : hlsp (MAST), cds, or votable
    folder : where they go; ``<path>_<kind>`` by default
    release : what is said of it

    Raises
    ------
    SettingsError
        There is no such kind, or a name can't stand in names of files.
    """
    path, release = Path(path).absolute(), release or Release()
    if kind not in WRITERS:
        raise SettingsError(f"nothing is written as '{kind}'", hint=f"use {', '.join(WRITERS)}")
    release = replace(release, name=_plain(release.name or path.name))
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", release.project):
        raise SettingsError(
            f"a collection can't be called '{release.project}'",
            hint="use up to 20 lower-case letters and digits",
        )
    if not re.fullmatch(r"v\d[\d.]{0,7}", release.version):
        raise SettingsError(f"a release can't be called '{release.version}'", hint="such as v1.0")
    target = Path(folder).absolute() if folder else path.with_name(f"{path.name}_{kind}")
    if is_survey(path):
        return _write(_content(path, release), kind, target)
    with tempfile.TemporaryDirectory() as scratch:
        built = build_survey([path], Path(scratch) / release.name)
        return _write(_content(built.path, release), kind, target)


def _plain(name: str) -> str:
    """Return a name in the letters that MAST allows for a target."""
    found = re.sub(r"[^a-z0-9.+-]+", "-", name.lower()).strip("-.")[:30]
    if not found:
        raise SettingsError(f"'{name}' can't stand in names of files", hint="give --name")
    return found


def _content(survey: Path, release: Release) -> Content:
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
        real = np.ma.filled(np.ma.asarray(objects["p_real"]), 0.0) >= LEAST_P_REAL
        tables["objects"] = objects[real & (np.asarray(objects["duplicate_of"]) == 0)]
        known = np.isin(epochs["object_id"], tables["objects"]["object_id"])
        tables["epochs"] = epochs[known]
    filters = sorted(notes.summary["filters"], key=filter_order)
    return Content(release, notes, tables, formats, filters, survey)


def _write(content: Content, kind: str, target: Path) -> list[Path]:
    batch = Batch(target)
    try:
        WRITERS[kind](content, batch)
        texts: dict[str, Any] = {
            "methods.txt": methods(content.notes, content.tables, content.path),
            "references.bib": bibtex(content.notes, content.tables),
            "settings.toml": settings_text(content.notes),
        }
        for name, text in texts.items():
            own = hlsp.file_name(content, name) if kind == "hlsp" else name
            batch.partial(target / own).write_text(text, encoding="utf-8")
        if kind == "hlsp":
            hlsp.write_manifest(content, batch)
        batch.commit()
    except BaseException:
        batch.discard()
        raise
    return sorted(batch.paths)
