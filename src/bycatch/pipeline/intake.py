"""From paths to images in their places: sorting, linking."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bycatch.errors import BycatchError, SettingsError, UnreadableFile, UnusableData
from bycatch.images.files import root_of, stem_of
from bycatch.images.headers import read_headers
from bycatch.images.kinds import is_aligned_copy
from bycatch.images.meta import image_meta
from bycatch.images.planes import context_sibling, weight_sibling
from bycatch.pipeline.search import find_files
from bycatch.products import ImageRecord, find_records, own_folder
from bycatch.settings import InputSettings, Settings, build, read_sidecar
from bycatch.stages import sort
from bycatch.stages.sort import Candidate, Placement, Skipped, SortPlan
from bycatch.system.disk import atomic, checksum

logger = logging.getLogger("bycatch")

SIDECAR = ".bycatch.toml"


@dataclass(frozen=True)
class Intake:
    """The files that will be used, and those that will not."""

    plan: SortPlan
    sidecars: dict[Path, dict[str, Any]]
    occupied: dict[Path, ImageRecord]
    """Images of earlier runs that have this source."""


def scan(paths: Iterable[Path], out: Path, settings: Settings) -> Intake:
    """Find the drizzled images among files and folders, and plan their places.

    Raises
    ------
    SettingsError
        A path does not exist, a sidecar is wrong, or there is no image at all.
    """
    paths = list(paths)
    found = find_files(paths, out)
    if found.passed_over:
        kinds = ", ".join(f"{n} {kind}" for kind, n in found.passed_over.most_common())
        logger.info("passed over: %s", kinds)
    sidecars = {
        path: read_sidecar(side) for path in found.files if _is_file(side := sidecar_of(path))
    }
    candidates = [_candidate(path, settings, sidecars.get(path, {})) for path in found.files]
    if not candidates:
        also = "".join(f"; {skip.path}: {skip.reason}" for skip in found.skipped)
        raise SettingsError(
            f"no drizzled image (drc.fits or drz.fits) in {', '.join(str(p) for p in paths)}{also}",
            hint="give drc files or a folder that holds some, such as mastDownload/",
        )
    earlier = {Path(r.source): r for r in find_records(out)} if out.exists() else {}
    plan = sort.run(_with_content(candidates, earlier), settings.sort)
    plan = replace(plan, skipped=(*found.skipped, *plan.skipped))
    return Intake(_beside_earlier(plan, earlier), sidecars, earlier)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113, unlike Path's it is False for a name too long


def sidecar_of(path: Path) -> Path:
    """Return where the user may state what the headers do not say: ``<stem>.bycatch.toml``."""
    return path.with_name(stem_of(path) + SIDECAR)


def _candidate(path: Path, settings: Settings, sidecar: dict[str, Any]) -> Candidate:
    """Read the headers of a file; what can't be used says why."""
    given = build(
        InputSettings, {**settings.input.model_dump(), **sidecar}, where=str(sidecar_of(path))
    )
    try:
        headers = read_headers(path)
        if is_aligned_copy(headers.sci):
            problem = "a copy with the aligned WCS, written by bycatch: use its original"
            return Candidate(path, None, problem=f"{path}: {problem}")
        needs = sort.needs_of_field(headers, settings.sort)
        return Candidate(path, image_meta(headers, given, other_needs=needs))
    except UnusableData as err:
        return Candidate(path, None, problem=str(err))
    except OSError as err:
        return Candidate(path, None, problem=f"{path}: can't be read ({err}) - check permissions")


def _with_content(
    candidates: Sequence[Candidate], earlier: dict[Path, ImageRecord]
) -> list[Candidate]:
    """Add checksums to files that share a name or all facts: true copies are told by them."""
    roots = Counter(root_of(stem_of(c.path)) for c in candidates)
    facts = Counter(_facts(c) for c in candidates)
    taken = {record.root: path for path, record in earlier.items() if _is_file(path)}
    out = []
    for candidate in candidates:
        root = root_of(stem_of(candidate.path))
        rival = roots[root] > 1 or taken.get(root, candidate.path) != candidate.path
        rival |= facts[_facts(candidate)] > 1
        if candidate.meta is not None and rival:
            candidate = replace(candidate, content=checksum(candidate.path))  # noqa: PLW2901
        out.append(candidate)
    return out


def _facts(candidate: Candidate) -> str:
    """Return what a copy under another name has in common with its original."""
    meta = candidate.meta
    if meta is None or not _is_file(candidate.path):
        return str(candidate.path)
    exposures = [exposure.name for exposure in meta.exposures]
    size = candidate.path.stat().st_size
    return repr((size, meta.filter, meta.exptime_s, meta.mjd_start, meta.mjd_end, exposures))


def _beside_earlier(plan: SortPlan, earlier: dict[Path, ImageRecord]) -> SortPlan:
    """Leave images where earlier runs put them, and give other files of the same name a number."""
    owners = {
        sort.place_key(r.field, r.filter, r.stem): p for p, r in earlier.items() if _is_file(p)
    }
    placements = []
    for placement in plan.placements:
        known = earlier.get(placement.path)
        if known and (known.field, known.filter) == (placement.field, placement.filter):
            placements.append(replace(placement, stem=known.stem))
            continue
        stem, note, number = placement.stem, placement.note, 1
        while (
            owner := owners.get(sort.place_key(placement.field, placement.filter, stem))
        ) and checksum(owner) != checksum(placement.path):
            number += 1
            stem = sort.numbered(placement.stem, number)
            note = f"another file has the same name: {owner}; both are kept"
        owners[sort.place_key(placement.field, placement.filter, stem)] = placement.path
        placements.append(replace(placement, stem=stem, note=note))
    return replace(plan, placements=tuple(placements))


def place(
    intake: Intake, out: Path, settings: Settings, wht_path: Path | None
) -> tuple[list[ImageRecord], list[Skipped]]:
    """Link, copy or move the images to their places and write their records."""
    records: list[ImageRecord] = []
    problems: list[Skipped] = []
    for placement in intake.plan.placements:
        try:
            record = planned_record(placement, intake, out, wht_path)
            folder = record.paths(out).folder
            own_folder(folder.parent)
            own_folder(folder).mkdir(parents=True, exist_ok=True)
            if settings.sort.mode == "move":
                _put_all(record, folder, placement, _move)
                record.source = str(folder / placement.name)
            else:
                _put_all(
                    record, folder, placement, _link if settings.sort.mode == "link" else _copy
                )
            record.write(out)
            records.append(record)
        except (OSError, BycatchError) as err:
            problems.append(Skipped(placement.path, f"can't be placed: {err}", bad=True))
    return records, problems


def planned_record(
    placement: Placement, intake: Intake, out: Path, wht_path: Path | None
) -> ImageRecord:
    """Return the record of an image, continuing an earlier run's."""
    earlier = intake.occupied.get(placement.path)
    weight = wht_path or weight_sibling(placement.path)
    context = context_sibling(placement.path)
    record = ImageRecord(
        stem=placement.stem,
        name=placement.name,
        field=placement.field,
        filter=placement.filter,
        source=str(placement.path),
        wht_source=str(weight.absolute()) if weight else "",
        ctx_source=str(context.absolute()) if context else "",
        input=intake.sidecars.get(placement.path, {}),
        exposures=list(placement.exposures),
        notes=[placement.note] if placement.note else [],
    )
    if earlier and earlier.paths(out) == record.paths(out):
        record.checksum, record.fingerprint = earlier.checksum, earlier.fingerprint
        record.verified = earlier.verified
        record.stages = earlier.stages
    return record


def _put_all(record: ImageRecord, folder: Path, placement: Placement, put: Any) -> None:
    put(placement.path, folder / placement.name, record.checksum)
    for source, name in (
        (record.wht_source, record.wht_name),
        (record.ctx_source, record.ctx_name),
    ):
        if source:
            put(Path(source), folder / name, record.checksum)
    if put is _move:
        record.wht_source, record.ctx_source = (
            str(folder / name) if name else "" for name in (record.wht_name, record.ctx_name)
        )


def _link(source: Path, place: Path, _known: str) -> None:
    if source == place or (place.is_symlink() and place.readlink() == source):
        return
    if place.exists() and not place.is_symlink():
        if place.samefile(source):
            return
        raise UnreadableFile(
            f"{place} exists and is not a link", hint="remove it, or choose another output folder"
        )
    with atomic(place) as partial:
        partial.symlink_to(source)


def _copy(source: Path, place: Path, known: str) -> None:
    if place.exists() and not place.is_symlink():
        there = checksum(place)
        if there == checksum(source):
            return
        # What an earlier run copied here may follow its changed original.
        if there not in known.split():
            raise UnreadableFile(
                f"{place} exists with other content",
                hint="remove it, or choose another output folder",
            )
    with atomic(place) as partial:
        shutil.copy2(source, partial)


def _move(source: Path, place: Path, _known: str) -> None:
    """Move without ever overwriting; across devices the original goes last."""
    if place == source:
        return
    if place.is_symlink() and place.exists() and place.samefile(source):
        place.unlink()  # an earlier run's link gives way to the file itself
    try:
        os.link(source, place)  # fails if the place is taken, atomically
    except FileExistsError:
        raise UnreadableFile(
            f"{place} exists: nothing is overwritten",
            hint="remove it, or choose another output folder",
        ) from None
    except OSError:
        if place.exists():
            raise
        with atomic(place) as partial:
            shutil.copy2(source, partial)
    source.unlink()
