"""Requests to an archive, its listings, and the outcome for each file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from bycatch.display import notebook
from bycatch.errors import SettingsError

MOST_RADIUS_DEG = 5.0
"""A larger circle is a slip of the pen: arcminutes taken for degrees."""
FILTER_NAME = re.compile(r"F\d{3}(W|LP|N|M)|G800L")
PROGRAM_CODE = re.compile(r"j?([a-z0-9]{3})", re.IGNORECASE)
VISIT_CODE = re.compile(r"[a-z0-9]{2}", re.IGNORECASE)
HINT = "such as 'bycatch fetch 13711', '--visit jcmd p9' or '--cone 36.92 -8.47 0.1'"


@dataclass(frozen=True)
class FetchRequest:
    """What to look for: programs, or a visit, or a circle on the sky.

    Attributes
    ----------
    programs : numbers of proposals
    visit : program (number, or its letters in names of files, as jcmd) and visit
    cone : right ascension, declination, radius; degrees
    filters : names; all if empty
    parallels : only images of which another instrument was the prime one
    products : of the standard pipeline, or Hubble Advanced Products of a visit
    """

    programs: tuple[str, ...] = ()
    visit: tuple[str, str] | None = None
    cone: tuple[float, float, float] | None = None
    filters: tuple[str, ...] = ()
    parallels: bool = False
    products: Literal["pipeline", "hap"] = "pipeline"

    def validate(self) -> FetchRequest:
        """Return the request in the archive's spelling.

        Raises
        ------
        SettingsError
            It asks for nothing, for two things at once, or for what can't be.
        """
        if bool(self.programs) + bool(self.visit) + bool(self.cone) != 1:
            raise SettingsError("what to fetch: a program, a visit or a cone", hint=HINT)
        for program in self.programs:
            if not re.fullmatch(r"\d{4,5}", program):
                raise SettingsError(f"{program!r} is not a program number", hint=HINT)
        if self.products not in {"pipeline", "hap"}:
            raise SettingsError(f"--products {self.products}: pipeline or hap", hint=HINT)
        filters = tuple(name.strip().upper() for name in self.filters if name.strip())
        for name in filters:
            if not FILTER_NAME.fullmatch(name):
                raise SettingsError(f"{name!r} is not an ACS filter", hint="such as F606W,F814W")
        self._check_place()
        visit = self.visit and (self.visit[0].lower(), self.visit[1].lower())
        return replace(self, filters=filters, visit=visit)

    def _check_place(self) -> None:
        if self.visit is not None:
            program, visit = self.visit
            is_program = program.isdecimal() or PROGRAM_CODE.fullmatch(program)
            if not (is_program and VISIT_CODE.fullmatch(visit)):
                raise SettingsError(
                    f"--visit {program} {visit}: not a program and visit", hint=HINT
                )
        if self.cone is not None:
            ra, dec, radius = self.cone
            if not (0 <= ra <= 360 and -90 <= dec <= 90 and 0 < radius <= MOST_RADIUS_DEG):
                raise SettingsError(
                    f"--cone {ra:g} {dec:g} {radius:g}: right ascension 0 to 360, declination -90 "
                    f"to 90, radius up to {MOST_RADIUS_DEG:g}, all in degrees",
                    hint=HINT,
                )

    @property
    def words(self) -> str:
        """What is looked for."""
        if self.visit:
            return f"visit {' '.join(self.visit)}"
        if self.cone:
            return "cone " + " ".join(f"{value:g}" for value in self.cone)
        return "program " + ", ".join(self.programs)


@dataclass(frozen=True)
class Product:
    """A file that the archive lists.

    Attributes
    ----------
    name : of the file
    uri : what the archive calls it
    n_bytes : as listed; None where the listing does not say, or says two things
    filters : as listed
    ra_deg, dec_deg : of the observation; None where the listing does not say
    public : anybody may have it
    """

    name: str
    uri: str
    field: str
    n_bytes: int | None = None
    filters: tuple[str, ...] = ()
    ra_deg: float | None = None
    dec_deg: float | None = None
    public: bool = True

    @property
    def place(self) -> str:
        """Its name below the folder of the data."""
        return f"{self.field}/{self.name}"


class State(StrEnum):
    """The outcome for a listed file, actual or planned."""

    TO_FETCH = "to fetch"
    STARTED = "started"
    THERE = "there"
    FETCHED = "fetched"
    LEFT_OUT = "left out"
    DISCARDED = "discarded"
    FAILED = "failed"


@dataclass(frozen=True)
class FetchedFile:
    """A listed file and its outcome.

    Attributes
    ----------
    product : as listed
    state : what became of it, or would
    reason : why it was left out, or failed
    n_bytes : that came for it
    """

    product: Product
    state: State
    reason: str = ""
    n_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.product.place,
            "uri": self.product.uri,
            "bytes": self.product.n_bytes,
            "state": str(self.state),
            "reason": self.reason,
            "bytes_received": self.n_bytes,
        }


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did, or would do.

    Attributes
    ----------
    data : folder of the images
    wanted : what was asked for
    files : all that the archive lists for it, in the order of fields and names
    elapsed_s : time of the fetch
    is_plan : nothing was fetched
    """

    data: Path
    wanted: FetchRequest
    files: tuple[FetchedFile, ...]
    elapsed_s: float = 0.0
    is_plan: bool = False

    @property
    def all_done(self) -> bool:
        """True if the archive listed something, and no file failed."""
        return bool(self.files) and not self.of(State.FAILED, State.TO_FETCH, State.STARTED)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images on disk."""
        there = self.of(State.FETCHED, State.THERE)
        return tuple(self.data / file.product.place for file in there)

    @property
    def n_bytes(self) -> int:
        """Bytes downloaded."""
        return sum(file.n_bytes for file in self.files)

    def of(self, *states: State) -> list[FetchedFile]:
        """Return the files in some states."""
        return [file for file in self.files if file.state in states]

    def counts(self) -> dict[str, int]:
        """Return the number of files by state."""
        counts = Counter(file.state for file in self.files)
        return {str(state): counts[state] for state in State if counts[state]}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "data": str(self.data),
            "wanted": self.wanted.words,
            "seconds": round(self.elapsed_s, 2),
            "bytes_received": self.n_bytes,
            "files": [file.to_dict() for file in self.files],
        }

    def rows(self) -> list[dict[str, str]]:
        """Return a row per file, in words."""
        return [
            {
                "field": file.product.field,
                "file": file.product.name,
                "filter": ",".join(file.product.filters),
                "state": str(file.state),
                "MB": in_mb(file.product.n_bytes),
            }
            for file in self.files
        ]

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        facts: dict[str, Any] = {
            "asked for": self.wanted.words,
            **self.counts(),
            "received": f"{in_mb(self.n_bytes)} MB",
            "time": f"{self.elapsed_s:.1f} s",
            "in": str(self.data),
        }
        notes = [f"{f.product.name}: {f.reason}" for f in self.of(State.FAILED)]
        table = notebook.rows_table(self.rows())
        return notebook.card("Plan" if self.is_plan else "Fetch", facts, table=table, notes=notes)


def in_mb(n_bytes: int | None) -> str:
    """Return a size in MB; '?' where it is not known."""
    return (
        "?"
        if n_bytes is None
        else f"{n_bytes / 1e6:.3g}"
        if n_bytes < 1e8
        else f"{n_bytes / 1e6:.0f}"
    )


def total_bytes(files: Sequence[FetchedFile]) -> int:
    """Return the listed sizes of files, added up."""
    return sum(file.product.n_bytes or 0 for file in files)
