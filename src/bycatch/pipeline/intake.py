"""From paths to a plan: which files are images, and to which field each belongs."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bycatch.engines import Executor, LostTask
from bycatch.errors import SettingsError, UnusableData
from bycatch.images.files import number_stem, root_of, stem_of
from bycatch.images.headers import read_headers
from bycatch.images.kinds import is_aligned_copy
from bycatch.images.meta import image_meta
from bycatch.pipeline.jobs import NewImage
from bycatch.pipeline.keys import file_fingerprint
from bycatch.pipeline.search import find_files
from bycatch.products import combined_digest, find_records
from bycatch.settings import InputSettings, Settings, build, read_sidecar
from bycatch.stages import sort
from bycatch.stages.sort import Candidate, ImageFacts, Placement, SortPlan
from bycatch.system.disk import checksum

logger = logging.getLogger("bycatch")

SIDECAR = ".bycatch.toml"
FILES_PER_TASK = 64
"""Headers that one task reads, where an executor shares them out."""


@dataclass(frozen=True)
class EarlierImage:
    """What an earlier run left of an image: its place, and the facts of its headers."""

    field: str
    filter: str
    stem: str
    facts: dict[str, Any]
    facts_key: str

    @property
    def root(self) -> str:
        """The stem without _drc."""
        return root_of(self.stem)


@dataclass(frozen=True)
class Intake:
    """The files that will be used, and those that will not.

    Attributes
    ----------
    plan : where each file goes
    files : what was read of each, by path
    """

    plan: SortPlan
    files: dict[Path, FileFacts]

    def new_image(self, placement: Placement, wht: Path | None) -> NewImage:
        """Return an image as the task of its field takes it."""
        file = self.files[placement.path]
        facts = {} if file.facts is None else file.facts.to_dict()
        return NewImage(placement, file.sidecar, facts, file.key, wht)


@dataclass(frozen=True)
class FileFacts:
    """What was read of a file that may be an image.

    Attributes
    ----------
    path : of the file
    sidecar : the user's statements about it
    facts : what sorting needs of its headers
    problem : why there are none
    key : stands for the file and the settings that it was read with
    """

    path: Path
    sidecar: dict[str, Any]
    facts: ImageFacts | None
    problem: str = ""
    key: str = ""


def scan(
    paths: Iterable[Path], out: Path, settings: Settings, executor: Executor | None = None
) -> Intake:
    """Find the drizzled images among files and folders, and plan their places.

    Files that an earlier run has placed and that have not changed are not opened.

    Parameters
    ----------
    paths : of the user
    out : output folder
    settings : of the run
    executor : reads the headers of many new files

    Raises
    ------
    SettingsError
        A path does not exist, a sidecar is wrong, or there is no image at all.
    """
    paths = list(paths)
    search = find_files(paths, out)
    if search.passed_over:
        kinds = ", ".join(f"{n} {kind}" for kind, n in search.passed_over.most_common())
        logger.info("passed over: %s", kinds)
    earlier = _earlier(out)
    files = _read(search.files, earlier, settings, executor)
    if not files:
        also = "".join(f"; {skip.path}: {skip.reason}" for skip in search.skipped)
        raise SettingsError(
            f"no drizzled image (drc.fits or drz.fits) in {', '.join(str(p) for p in paths)}{also}",
            hint="give drc files or a folder that holds some, such as mastDownload/",
        )
    candidates = [Candidate(f.path, f.facts, f.problem) for f in files.values()]
    plan = sort.run(_with_content(candidates, earlier), settings.sort)
    plan = replace(plan, skipped=(*search.skipped, *plan.skipped))
    return Intake(_with_repeats(_beside_earlier(plan, earlier), earlier), files)


def _earlier(out: Path) -> dict[Path, EarlierImage]:
    """Return the images of earlier runs by their sources."""
    if not out.exists():
        return {}
    return {
        Path(r.source): EarlierImage(r.field, r.filter, r.stem, r.facts, r.facts_key)
        for r in find_records(out)
    }


def _read(
    paths: Sequence[Path],
    earlier: dict[Path, EarlierImage],
    settings: Settings,
    executor: Executor | None,
) -> dict[Path, FileFacts]:
    """Return the facts of files, by path; those that are known are not read."""
    facts_of, new = {}, []
    for path in paths:
        before = earlier.get(path)
        if before and before.facts and before.facts_key == _facts_key(path, settings):
            facts = ImageFacts.from_dict(before.facts)
            facts_of[path] = FileFacts(path, _sidecar(path), facts, key=before.facts_key)
        else:
            new.append(path)
    read_some = partial(read_files, settings=settings)
    if executor is None or len(new) <= FILES_PER_TASK:
        facts_of |= {file.path: file for file in read_some(new)}
    else:
        parts = [new[k : k + FILES_PER_TASK] for k in range(0, len(new), FILES_PER_TASK)]
        for number, answer in executor.work(read_some, parts):
            part = read_some(parts[number]) if isinstance(answer, LostTask) else answer
            facts_of |= {file.path: file for file in part}
    return {path: facts_of[path] for path in paths}


def read_files(paths: Sequence[Path], settings: Settings) -> list[FileFacts]:
    """Read the headers of files; what can't be used says why.

    Raises
    ------
    SettingsError
        A sidecar is wrong.
    """
    return [_file_facts(path, settings) for path in paths]


def _file_facts(path: Path, settings: Settings) -> FileFacts:
    sidecar = _sidecar(path)
    input_settings = build(
        InputSettings, {**settings.input.model_dump(), **sidecar}, where=str(sidecar_of(path))
    )
    try:
        headers = read_headers(path)
        if is_aligned_copy(headers.sci):
            problem = "a copy with the aligned WCS, written by bycatch: use its original"
            return FileFacts(path, sidecar, None, f"{path}: {problem}")
        needs = sort.needs_of_field(headers, settings.sort)
        facts = sort.facts_of(image_meta(headers, input_settings, other_needs=needs))
    except UnusableData as err:
        return FileFacts(path, sidecar, None, str(err))
    except OSError as err:
        problem = f"{path}: can't be read ({err}) - check permissions"
        return FileFacts(path, sidecar, None, problem)
    return FileFacts(path, sidecar, facts, key=_facts_key(path, settings))


def _facts_key(path: Path, settings: Settings) -> str:
    """Return what stays the same while the facts of a file do; '' for a file that is not there."""
    try:
        file = file_fingerprint(path)
    except OSError:
        return ""
    settings_part = (settings.input.digest(), bool(settings.sort.field))
    return combined_digest(FACTS_REVISION, file, _sidecar(path), *settings_part)


FACTS_REVISION = 1
"""Bumped when the facts of the same headers would be others."""


def _sidecar(path: Path) -> dict[str, Any]:
    side = sidecar_of(path)
    return read_sidecar(side) if _is_file(side) else {}


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113, unlike Path's it is False for a name too long


def sidecar_of(path: Path) -> Path:
    """Return where the user may state what the headers do not say: ``<stem>.bycatch.toml``."""
    return path.with_name(stem_of(path) + SIDECAR)


def _with_content(
    candidates: Sequence[Candidate], earlier: dict[Path, EarlierImage]
) -> list[Candidate]:
    """Add checksums to files that share a name or all facts: they identify true copies."""
    roots = Counter(root_of(stem_of(c.path)) for c in candidates)
    facts = Counter(_facts(c) for c in candidates)
    owner_of = {record.root: path for path, record in earlier.items() if _is_file(path)}
    out = []
    for candidate in candidates:
        root = root_of(stem_of(candidate.path))
        rival = roots[root] > 1 or owner_of.get(root, candidate.path) != candidate.path
        rival |= facts[_facts(candidate)] > 1
        if candidate.facts is not None and rival:
            candidate = replace(candidate, content=checksum(candidate.path))  # noqa: PLW2901
        out.append(candidate)
    return out


def _facts(candidate: Candidate) -> str:
    """Return what a copy under another name has in common with its original."""
    facts = candidate.facts
    if facts is None or not _is_file(candidate.path):
        return str(candidate.path)
    return repr((candidate.path.stat().st_size, facts.filter, facts.times, facts.exposures))


def _beside_earlier(plan: SortPlan, earlier: dict[Path, EarlierImage]) -> SortPlan:
    """Leave images where earlier runs put them, and give other files of the same name a number."""
    owners = {
        sort.place_key(r.field, r.filter, r.stem): p for p, r in earlier.items() if _is_file(p)
    }
    placements = []
    for placement in plan.placements:
        before = earlier.get(placement.path)
        if before and (before.field, before.filter) == (placement.field, placement.filter):
            placements.append(replace(placement, stem=before.stem))
            continue
        stem, note, number = placement.stem, placement.note, 1
        while (
            owner := owners.get(sort.place_key(placement.field, placement.filter, stem))
        ) and checksum(owner) != checksum(placement.path):
            number += 1
            stem = number_stem(placement.stem, number)
            note = f"another file has the same name: {owner}; both are kept"
        owners[sort.place_key(placement.field, placement.filter, stem)] = placement.path
        placements.append(replace(placement, stem=stem, note=note))
    return replace(plan, placements=tuple(placements))


def _with_repeats(plan: SortPlan, earlier: dict[Path, EarlierImage]) -> SortPlan:
    """Note which images hold exposures of another one: objects take both for independent.

    Cutouts of a mosaic have names of their own, and lie apart.
    """
    in_plan = {placement.path for placement in plan.placements}
    owners = {
        (image.filter, exposure): image.root
        for path, image in earlier.items()
        if path not in in_plan and _is_file(path) and sort.is_archive_name(image.stem)
        for exposure in image.facts.get("exposures", ())
    }
    placements = []
    for placement in plan.placements:
        is_whole = sort.is_archive_name(placement.stem)
        keys = [(placement.filter, exposure) for exposure in placement.exposures if is_whole]
        own = root_of(placement.stem)  # had them before, where the file has moved
        names = sorted({owners[key] for key in keys if key in owners} - {own})
        if names:
            repeat = (
                f"shares exposures with {', '.join(names)}: leave one out, or objects count both"
            )
            note = "; ".join(filter(None, (placement.note, repeat)))
            placement = replace(placement, note=note)  # noqa: PLW2901
        owners |= dict.fromkeys(keys, own)
        placements.append(placement)
    return replace(plan, placements=tuple(placements))
