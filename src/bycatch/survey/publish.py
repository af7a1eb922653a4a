"""Release of a survey: files for MAST, CDS and the VO, with methods and BibTeX."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bycatch.errors import SettingsError
from bycatch.survey import cds, hlsp, votable
from bycatch.survey.build import build_survey
from bycatch.survey.methods import bibtex, methods, settings_text
from bycatch.survey.notes import is_survey
from bycatch.survey.release import Content, Release, content_of
from bycatch.system.disk import Batch
from bycatch.system.words import ascii_words

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
    """Write the release of a survey or an output folder for an archive; return the files.

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
    name = release.name or path.name
    release = replace(release, name=_plain(name), title=release.title or ascii_words(name)[:30])
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", release.project):
        raise SettingsError(
            f"a collection can't be called '{release.project}'",
            hint="use up to 20 lower-case letters and digits",
        )
    if not re.fullmatch(r"v\d[\d.]{0,7}", release.version):
        raise SettingsError(f"a release can't be called '{release.version}'", hint="such as v1.0")
    target = Path(folder).absolute() if folder else path.with_name(f"{path.name}_{kind}")
    if is_survey(path):
        return _write(content_of(path, release), kind, target, path)
    with tempfile.TemporaryDirectory() as scratch:
        survey = build_survey([path], Path(scratch) / release.name)
        return _write(content_of(survey.path, release), kind, target)


def _plain(name: str) -> str:
    """Return a name in the letters that MAST allows for a target."""
    plain = re.sub(r"[^a-z0-9.+-]+", "-", name.lower()).strip("-.")[:30]
    if not plain:
        raise SettingsError(f"'{name}' can't stand in names of files", hint="give --name")
    return plain


def _write(content: Content, kind: str, target: Path, survey: Path | None = None) -> list[Path]:
    batch = Batch(target)
    try:
        WRITERS[kind](content, batch)
        texts: dict[str, Any] = {
            "methods.txt": methods(content.notes, content.tables, survey),
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
