"""What the page says to look at: equal warnings of many images in one line, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

BAD, WARN, NOTE = "bad", "warn", "note"
"""Levels, the worst first: data are lost or wrong; look at it; worth knowing."""
ORDER = (BAD, WARN, NOTE)

VARIABLE = re.compile(
    r"[-+±]?(?<![A-Za-z])\d[\d.,:e+-]*|\bF\d{3}[A-Z]+\b|'[^']*'|\S*/\S*|\S+\.fits\S*"
)
"""What differs between equal warnings of two images: numbers, filters, names of files."""
COUNTED = re.compile(r"(?<=# )(pair|star|pixel|exposure|row)s\b")
"""Words that are plural after most numbers."""
DETAILS = "; tried: "
"""Begins what was searched for an alignment, which is of one image alone."""

REMEDIES = {
    r"PHOTFLAM .*(differs|outdated)": "fetch the file again, or --set input.photflam=VALUE",
    r"a drz file": "fetch the drc file of the same name",
    r"alignment of grade .*no reference stars": "give stars with --gaia FILE",
    r"alignment of grade": "give stars with --gaia FILE, or raise align.max_shift_arcsec",
    r"reference stars:": "run again with a network, or give stars with --gaia FILE",
    r"aperture corrections do not close": "use one aperture for all; total fluxes are off as much",
    r"errors of blank apertures are off": "multiply the errors by the width of the pulls",
    r"p_star uses": "look at the plot of shapes before you use p_star",
    r"time of observation unknown": "give it with --set input.mjd=VALUE",
    r"(dropped|failed): ": "see what 'bycatch inspect FILE' says about it",
    r"(lost|unknown): ": "run again: what is done stays",
    r"the preset deep reaches": "run with --preset deep",
}
"""Beginnings of warnings (regular expressions), and what helps; others say so themselves."""


@dataclass(frozen=True)
class Place:
    """Where something was found: an image's key ('' for a field or file), its name, the words."""

    key: str
    name: str
    text: str


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes
    ----------
    level : BAD, WARN or NOTE
    text : of the first place
    remedy : what to do; '' where the text says so
    places : where; those of one finding differ in numbers and names only
    """

    level: str
    text: str
    remedy: str
    places: tuple[Place, ...]

    @property
    def is_same(self) -> bool:
        """True if the text of all places is identical."""
        return all(place.text == self.text for place in self.places)


def remedy_of(text: str) -> str:
    """Return what to do about a warning; '' if none is known."""
    return next((help_ for begin, help_ in REMEDIES.items() if re.match(begin, text)), "")


def kind_of(text: str) -> str:
    """Return a warning without what differs between images."""
    return COUNTED.sub(r"\1", VARIABLE.sub("#", text.partition(DETAILS)[0]))


def group_findings(warnings: Iterable[tuple[str, Place]]) -> tuple[Finding, ...]:
    """Return equal warnings as one finding each: the worst first, then in the order of places."""
    members: dict[tuple[str, str], list[Place]] = {}
    for level, place in warnings:
        members.setdefault((level, kind_of(place.text)), []).append(place)
    findings = [
        Finding(level, places[0].text, remedy_of(places[0].text), tuple(places))
        for (level, _), places in members.items()
    ]
    return tuple(sorted(findings, key=lambda finding: ORDER.index(finding.level)))
