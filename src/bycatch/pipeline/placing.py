"""Images in their places: linked, copied or moved below their field, and entered there."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from bycatch.errors import BycatchError, UnreadableFile
from bycatch.images.planes import context_sibling, weight_sibling
from bycatch.pipeline.jobs import NewImage
from bycatch.products import FieldFolder, ImageRecord, own_folder
from bycatch.system.disk import atomic, checksum

logger = logging.getLogger("bycatch")

Put = Callable[[Path, Path, str], None]


def place(
    images: Iterable[NewImage], folder: FieldFolder, mode: str
) -> tuple[list[ImageRecord], dict[str, str]]:
    """Link, copy or move the images of a field to their places, and enter them in its state.

    Returns
    -------
    records, problems
        Of the images that have their places; why others have not, by path.
    """
    records: list[ImageRecord] = []
    problems: dict[str, str] = {}
    put_file: Put = {"move": _move, "copy": _copy, "link": _link}[mode]
    for image in images:
        record = planned_record(image, folder.state.images)
        try:
            target = record.paths(folder.out).folder
            own_folder(target.parent)
            own_folder(target).mkdir(parents=True, exist_ok=True)
            is_new = record.place not in {earlier.place for earlier in folder.state.images}
            _put_all(record, target, image, put_file)
            folder.enter(record)
            records.append(record)
        except (OSError, BycatchError) as err:
            path, why = image.placement.path, f"can't be placed: {err}"
            problems[str(path)] = why
            extra = {"lost": True, "at_work": (record.label, "")}
            logger.error("%s: dropped: %s", path.name, why, extra=extra)  # noqa: TRY400
        else:
            _log(record, image.placement.note, is_new=is_new)
    if records:
        folder.write()
    return records, problems


def _log(record: ImageRecord, note: str, *, is_new: bool) -> None:
    if is_new or note:
        level = logging.WARNING if note else logging.INFO
        words = f" ({note})" if note else ""
        logger.log(level, "%s: sort: %s%s", record.label, record.source, words)


def planned_record(image: NewImage, earlier: Iterable[ImageRecord] = ()) -> ImageRecord:
    """Return the record of an image, continuing an earlier run's."""
    placement = image.placement
    weight = image.wht or weight_sibling(placement.path)
    context = context_sibling(placement.path)
    record = ImageRecord(
        stem=placement.stem,
        name=placement.name,
        field=placement.field,
        filter=placement.filter,
        source=str(placement.path),
        wht_source=str(weight.absolute()) if weight else "",
        ctx_source=str(context.absolute()) if context else "",
        input=image.input,
        exposures=list(placement.exposures),
        facts=image.facts,
        facts_key=image.facts_key,
        remark=placement.note,
    )
    for before in earlier:
        if (before.place, before.source) == (record.place, record.source):
            record.checksum, record.fingerprint = before.checksum, before.fingerprint
            record.verified, record.stages, record.last = (
                before.verified,
                before.stages,
                before.last,
            )
            record.notes = before.notes
    return record


def _put_all(record: ImageRecord, folder: Path, image: NewImage, put_file: Put) -> None:
    placement = image.placement
    put_file(placement.path, folder / placement.name, record.checksum)
    for source, name in (
        (record.wht_source, record.wht_name),
        (record.ctx_source, record.ctx_name),
    ):
        if source:
            put_file(Path(source), folder / name, record.checksum)
    if put_file is _move:
        record.source = str(folder / placement.name)
        record.wht_source, record.ctx_source = (
            str(folder / name) if name else "" for name in (record.wht_name, record.ctx_name)
        )


def _link(source: Path, place: Path, _checksums: str) -> None:
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


def _copy(source: Path, place: Path, checksums: str) -> None:
    if place.exists() and not place.is_symlink():
        there = checksum(place)
        if there == checksum(source):
            return
        # What an earlier run copied here may follow its changed original.
        if there not in checksums.split():
            raise UnreadableFile(
                f"{place} exists with other content",
                hint="remove it, or choose another output folder",
            )
    with atomic(place) as partial:
        shutil.copy2(source, partial)


def _move(source: Path, place: Path, _checksums: str) -> None:
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
