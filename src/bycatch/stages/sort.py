"""Sorting: which files are used, and where each goes.

A plan is made from names and headers; the pipeline carries it out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bycatch.images.files import FITS_SUFFIX, number_stem, root_of, shorten, stem_of
from bycatch.images.headers import Headers
from bycatch.images.meta import ImageMeta
from bycatch.settings import SortSettings

# ipppssoot: instrument, program, visit, observation; ACS is 'j'.
OBSERVATION = re.compile(
    r"^j(?P<program>[a-z0-9]{3})(?P<visit>[a-z0-9]{2})[a-z0-9]{3}(_|$)", re.IGNORECASE
)
HAP = re.compile(
    r"^hst_(?P<proposal>\d+)_(?P<visit>\w+?)_acs_(?P<detector>\w+?)_(?P<element>\w+?)"
    r"_j(?P<ipppss>[a-z0-9]{5})(?P<exposure>[a-z0-9]{2,3})?_dr[cz]$",
    re.IGNORECASE,
)
IN_EXPOSURE = re.compile(r"j([a-z0-9]{3})([a-z0-9]{2})[a-z0-9]{3}$", re.IGNORECASE)
# Other kinds of files that an archive folder, or an earlier run, holds besides the images.
OTHER_KIND = re.compile(
    r"_(flt|flc|raw|asn|spt|trl|trx|jit|jif|crj|crc|cal|wht|ctx|hlet|log|seq|prb|pdq|blv_tmp"
    r"|ima|c0m|c0f|c1m|c1f|d0m|d0f|q0m|q1m|x1d|x2d|sx1|sx2|x1dsum|corrtag|counts|rawtag"
    r"|epc|rwb|rwf|rawaccum|shm|i2d|s3d"  # other instruments' files, next to a parallel
    r"|segm|segment|wcs|cat|cat_nocrs|cat_clean|phot|phot_nocrs|sources|removed|gaia|cr|psf|coverage|sky|depth|inject"
    r"|aligned_dr[cz])$|\.mask$",
    re.IGNORECASE,
)


FILTER = re.compile(r"[A-Za-z0-9]{1,16}")
"""What may be the name of a filter's folder: headers are untrusted input."""


@dataclass(frozen=True)
class ImageFacts:
    """What sorting needs to know of an image.

    Attributes
    ----------
    root : of the file's name
    filter, rootname : of the headers
    is_cte_corrected : of its exposures
    exposures : their names, each once
    times : exposure time in seconds, first and last MJD, as text: identifies copies
    """

    root: str
    filter: str
    rootname: str
    is_cte_corrected: bool
    exposures: tuple[str, ...]
    times: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageFacts:
        """Return the facts of plain values."""
        return cls(**{**values, "exposures": tuple(values["exposures"])})


def facts_of(meta: ImageMeta) -> ImageFacts:
    """Return what sorting needs of the metadata of an image.

    Parameters
    ----------
    meta : ImageMeta
    """
    return ImageFacts(
        meta.root,
        meta.filter,
        meta.rootname,
        meta.is_cte_corrected,
        tuple(exposure.name for exposure in meta.exposures),
        repr((meta.exptime_s, meta.mjd_start, meta.mjd_end)),
    )


@dataclass(frozen=True)
class Candidate:
    """A file that may be an image: what its headers gave, or why they gave nothing."""

    path: Path
    facts: ImageFacts | None
    problem: str = ""
    content: str = ""
    """Checksum of the file, if another one has the same name; identifies true copies."""


@dataclass(frozen=True)
class Placement:
    """An image that will be used: its place is ``<field>/<filter>/<stem><suffix>``."""

    path: Path
    field: str
    filter: str
    stem: str
    suffix: str
    note: str = ""
    exposures: tuple[str, ...] = ()
    """What was drizzled together, as far as the file says."""

    @property
    def name(self) -> str:
        """File name in its place."""
        return self.stem + self.suffix

    @property
    def folder(self) -> Path:
        """Folder below the output folder."""
        return Path(self.field) / self.filter


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not used, and why; ``bad`` ones count as dropped."""

    path: Path
    reason: str
    bad: bool = False


def needs_of_field(headers: Headers, settings: SortSettings | None = None) -> list[str]:
    """Return, in words, that the field of a file must be named.

    Parameters
    ----------
    headers : Headers of the file
    settings : SortSettings; the defaults without them
    """
    if settings and settings.field:
        return []
    field = field_of(
        stem_of(headers.path),
        [chip.exposure for chip in headers.chips],
        str(headers.get("ROOTNAME", "")),
    )
    return [] if field else [f"{NO_FIELD} (for a run: --field NAME)"]


@dataclass(frozen=True)
class SortPlan:
    """What to do with the files."""

    placements: tuple[Placement, ...]
    skipped: tuple[SkippedFile, ...]


def is_image_name(path: Path) -> bool:
    """Tell from the name whether a file found in a folder may be a drizzled image.

    Parameters
    ----------
    path : of the file
    """
    return bool(FITS_SUFFIX.search(path.name)) and not OTHER_KIND.search(stem_of(path))


def hap_product(stem: str) -> str:
    """Return why a Hubble Advanced Product is not used; '' if it is used, or is not one.

    Parameters
    ----------
    stem : name of the file without its suffixes
    """
    if stem.lower().startswith("hst_skycell"):
        return "a mosaic of a sky cell (multi-visit product): use the visit's drc files"
    match = HAP.match(stem)
    if match and match["element"].lower() == "total":
        return "a 'total' product (all filters together): use the filter products"
    if match and match["exposure"]:
        return "a drizzle of one exposure of a visit: use the filter product"
    return ""


def is_archive_name(stem: str) -> bool:
    """Tell whether the archive gave a file its name: it is a whole image then, no cutout.

    Parameters
    ----------
    stem : name of the file without its suffixes
    """
    return bool(OBSERVATION.match(stem) or HAP.match(stem))


NO_FIELD = "neither name nor header gives program and visit"


def field_of(stem: str, exposures: Iterable[str], rootname: str = "") -> str:
    """Return ``<program>_<visit>`` from name, ROOTNAME or exposures; '' if none has it.

    Parameters
    ----------
    stem : name of the file without its suffixes
    exposures : names of the drizzled exposures
    rootname : of the header
    """
    name_match = OBSERVATION.match(stem)
    if name_match:
        return f"{name_match['program']}_{name_match['visit']}".lower()
    hap = HAP.match(stem)
    if hap:
        return f"{hap['ipppss'][:3]}_{hap['ipppss'][3:]}".lower()
    name_match = OBSERVATION.match(rootname)
    if name_match:
        return f"{name_match['program']}_{name_match['visit']}".lower()
    visits = {
        f"{match[1]}_{match[2]}".lower()
        for exposure in exposures
        if (match := IN_EXPOSURE.search(exposure))
    }
    return visits.pop() if len(visits) == 1 else ""


def run(candidates: Sequence[Candidate], settings: SortSettings | None = None) -> SortPlan:
    """Decide which files are used and where they go.

    Skipped with a reason: HAP total, mosaic and per-exposure products; a drz
    whose drc is there; a drizzle of one exposure that another file contains;
    a HAP product of the exposures of the pipeline's images;
    a second copy of a file; what is no usable image, or fits no field.

    Parameters
    ----------
    candidates : Sequence of Candidate, files with their facts
    settings : SortSettings; the defaults without them
    """
    sort_settings = settings or SortSettings()
    skips: list[SkippedFile] = []
    placements: list[tuple[Placement, Candidate]] = []
    for candidate in _preferred(candidates, skips):
        facts = candidate.facts
        assert facts is not None
        stem = stem_of(candidate.path)
        field = sort_settings.field or field_of(stem, facts.exposures, facts.rootname)
        if not field:
            reason = f"{NO_FIELD} - give --field NAME"
            skips.append(SkippedFile(candidate.path, reason, bad=True))
            continue
        if not FILTER.fullmatch(facts.filter):
            reason = f"{facts.filter!r} is not the name of a filter"
            skips.append(SkippedFile(candidate.path, reason, bad=True))
            continue
        suffix = candidate.path.name[len(stem) :]
        short_stem = shorten(stem)
        note = (
            ""
            if short_stem == stem
            else f"products are named {root_of(short_stem)}: its name is long"
        )
        placement = Placement(
            candidate.path, field, facts.filter, short_stem, suffix, note, exposures=facts.exposures
        )
        placements.append((placement, candidate))
    return SortPlan(tuple(_apart(placements, skips)), tuple(skips))


def _preferred(candidates: Sequence[Candidate], skips: list[SkippedFile]) -> list[Candidate]:
    """Return the usable candidates; the others go to ``skips``."""
    usable = []
    for candidate in candidates:
        reason = hap_product(stem_of(candidate.path))
        if reason:
            skips.append(SkippedFile(candidate.path, reason))
        elif candidate.facts is None:
            skips.append(SkippedFile(candidate.path, candidate.problem, bad=True))
        else:
            usable.append(candidate)
    repeats = _repeats(usable)
    for path, names in repeats.items():
        skips.append(SkippedFile(path, f"its exposures are those of {', '.join(names)}"))
    usable = [candidate for candidate in usable if candidate.path not in repeats]
    corrected_roots = {
        root_of(stem_of(c.path)) for c in usable if c.facts and c.facts.is_cte_corrected
    }
    best_candidates = []
    for candidate in usable:
        facts = candidate.facts
        assert facts is not None
        if not facts.is_cte_corrected and facts.root in corrected_roots:
            skips.append(SkippedFile(candidate.path, "its CTE-corrected twin (drc) is used"))
        elif (whole := _containing(facts, usable)) is not None:
            reason = f"its one exposure is part of {whole.path.name}"
            skips.append(SkippedFile(candidate.path, reason))
        else:
            best_candidates.append(candidate)
    return best_candidates


def _containing(facts: ImageFacts, others: Sequence[Candidate]) -> Candidate | None:
    """Return an image of more exposures that contains this one's only exposure."""
    exposures = set(facts.exposures)
    if len(exposures) != 1:
        return None
    for other in others:
        assert other.facts is not None
        theirs = set(other.facts.exposures)
        if other.facts.filter == facts.filter and len(theirs) > 1 and exposures <= theirs:
            return other
    return None


def _repeats(candidates: Sequence[Candidate]) -> dict[Path, list[str]]:
    """Return the Hubble Advanced Products whose exposures the pipeline's images hold, and these."""
    holders: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    products = []
    for candidate in candidates:
        assert candidate.facts is not None
        if HAP.match(stem_of(candidate.path)):
            products.append((candidate.path, candidate.facts))
        else:
            for exposure in candidate.facts.exposures:
                holders[candidate.facts.filter, exposure].append(candidate)
    repeats = {}
    for path, facts in products:
        names_of_each = [
            {
                holder.path.name
                for holder in holders[facts.filter, exposure]
                if holder.facts and holder.facts.is_cte_corrected >= facts.is_cte_corrected
            }
            for exposure in facts.exposures
        ]
        if names_of_each and all(names_of_each):
            repeats[path] = sorted(set().union(*names_of_each))
    return repeats


def _apart(
    placements: Sequence[tuple[Placement, Candidate]], skips: list[SkippedFile]
) -> list[Placement]:
    """Keep two different files apart that would land in one place; skip true copies."""
    occupants: dict[tuple[str, str, str], list[tuple[Placement, Candidate]]] = {}
    contents: dict[str, Path] = {}
    out = []
    for placement, candidate in placements:
        # Copies have other names at times: each would confirm the other's cosmic rays.
        content = candidate.content or str(candidate.path)
        if content in contents:
            skips.append(SkippedFile(placement.path, f"the same file as {contents[content]}"))
            continue
        contents[content] = candidate.path
        rivals = occupants.setdefault(_place(placement, placement.stem), [])
        if rivals:
            note = f"another file has the same name: {rivals[0][0].path}; both are kept"
            number = len(rivals) + 1
            while _place(placement, stem := number_stem(placement.stem, number)) in occupants:
                number += 1
            placement = replace(placement, stem=stem, note=note)  # noqa: PLW2901
            occupants[_place(placement, stem)] = [(placement, candidate)]
        rivals.append((placement, candidate))
        out.append(placement)
    return out


def _place(placement: Placement, stem: str) -> tuple[str, str, str]:
    return place_key(placement.field, placement.filter, stem)


def place_key(field: str, filter_name: str, stem: str) -> tuple[str, str, str]:
    """Return what two images must not share: products are named after the root.

    There are file systems to which small and capital letters, or an accent and its letter in two
    characters, are the same.

    Parameters
    ----------
    field, filter_name : names of the folders
    stem : name of the file without its suffixes
    """
    field, filter_name, root = (
        unicodedata.normalize("NFC", name).casefold()
        for name in (field, filter_name, root_of(stem))
    )
    return field, filter_name, root
