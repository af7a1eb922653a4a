"""The state of a field: one small file, ``OUT/<field>/field.json``, that only its task writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import Any

from bycatch.errors import UnreadableFile
from bycatch.products.content import (
    UNREADABLE,
    json_bytes,
    parse_json,
    read_state,
    schema,
    unreadable_state,
)
from bycatch.products.paths import is_plain_name, own_folder
from bycatch.products.records import FolderProduct, ImageRecord
from bycatch.system.disk import atomic, is_whole, proof_of

FIELD_FILE = "field.json"
LOCK = ".lock"
"""The lock of the folder of a field."""
FORMAT = 2
"""Of the file; the versions before it had a file per image, ``<root>_state.json``."""
EARLIER = "_state.json"


@dataclass
class FieldState:
    """What is known of a field.

    Attributes
    ----------
    name : program and visit
    images : its images
    products : those that are no image's own (reference stars, figure), by name
    references : why there are no reference stars; '' where there are
    stars_key : stands for what the stored reference stars were asked for
    unplaced : files that could not be placed, and why
    format : of the file
    """

    name: str
    images: list[ImageRecord] = member(default_factory=list)
    products: dict[str, FolderProduct] = member(default_factory=dict)
    references: str = ""
    stars_key: str = ""
    unplaced: dict[str, str] = member(default_factory=dict)
    format: int = FORMAT

    @property
    def alignment(self) -> dict[str, Any]:
        """How the alignment of the field went; empty before it."""
        # What an image that was lost remembers of an earlier alignment comes last.
        for record in sorted(self.images, key=lambda image: image.last.outcome != "done"):
            stage = record.stages.get("align")
            if stage and FIELD in stage.summary:
                return dict(stage.summary[FIELD])
        return {}


FIELD = "field"
"""Where the summary of a field's alignment stands in that of its images."""


class FieldFolder:
    """The folder of a field while its task works in it, and its state.

    Parameters
    ----------
    out : output folder
    state : of the field
    """

    def __init__(self, out: Path, state: FieldState) -> None:
        self.out, self.state = out, state
        self.path = out / state.name
        self._lock = threading.Lock()  # a step's products are entered while the next one works
        self._written = _content_of(self.path / FIELD_FILE)
        self._outdated = _earlier(self.path)

    def write(self) -> None:
        """Write the state, unless the file says the same already."""
        with self._lock:
            text = json_bytes(self.state)
            if text != self._written:
                with atomic(self.path / FIELD_FILE) as partial:
                    partial.write_bytes(text)
                self._written = text
                if self._outdated:
                    for old in (*self._outdated, self.path / "products.json"):
                        old.unlink(missing_ok=True)
                    self._outdated = []

    def enter(self, record: ImageRecord) -> None:
        """Take in an image, in the place of one that had its name."""
        others = [image for image in self.state.images if image.place != record.place]
        self.state.images = sorted([*others, record], key=lambda image: image.place)

    def remember(self, path: Path, key: str = "") -> None:
        """Take note of a product of the field, made for a key."""
        self.state.products[path.name] = FolderProduct(key, proof_of(path))
        self.write()

    def is_current(self, name: str, key: str = "") -> bool:
        """Tell whether a product of the field is there, whole, and made for a key."""
        record = self.state.products.get(name)
        return record is not None and record.key == key and is_whole(self.path / name, record.proof)


def _content_of(path: Path) -> bytes:
    try:
        return b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return b""


def read_field(out: Path, name: str) -> FieldState:
    """Read the state of a field; one without images where there is none yet.

    What versions before this one left is understood as images all of whose steps are stale.

    Raises
    ------
    UnreadableFile
        It is damaged, of another place, or of a later version.
    """
    path = own_folder(out / name) / FIELD_FILE
    if not path.is_symlink() and not path.exists():
        earlier = [_earlier_record(old) for old in _earlier(path.parent)]
        return FieldState(name, [_safe_record(record, name, out) for record in earlier])
    try:
        state: FieldState = read_state(path, FieldState, FORMAT)
        if state.name != name:
            raise ValueError("it is that of another field")
        for record in state.images:
            _safe_record(record, name, out)
        for product in state.products:
            _plain(product)
    except UnreadableFile:
        raise
    except UNREADABLE as err:
        raise unreadable_state(path, err) from err
    return state


def _earlier(folder: Path) -> list[Path]:
    """Return the files of versions before this one in the folder of a field."""
    return [
        path
        for place in _members(folder)
        if not place.name.startswith(".")
        for path in _members(place)
        if path.name.endswith(EARLIER)
    ]


def _members(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted; unlike glob it bears that folders go meanwhile."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]  # noqa: PTH208
    except OSError:
        return []


def _earlier_record(path: Path) -> ImageRecord:
    """Return what a version before this one knew of an image."""
    try:
        content = parse_json(path.read_bytes())
        for stage in content["stages"].values():
            if isinstance(stage["outputs"], list):
                stage["outputs"] = dict.fromkeys(stage["outputs"])
        record: ImageRecord = schema(ImageRecord).validate_python(content)
        if path.name != f"{record.root}_state.json":
            raise ValueError("it is that of another image")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise unreadable_state(path, err) from err
    return record


def _safe_record(record: ImageRecord, name: str, out: Path) -> ImageRecord:
    """Refuse a record that would have us read, write or remove anything elsewhere."""
    if record.field != name or not is_plain_name(record.filter):
        raise ValueError("it is that of another image")
    own_folder(record.paths(out).folder)
    outputs = [product for stage in record.stages.values() for product in stage.outputs]
    for product in (record.name, record.stem, *outputs):
        _plain(product)
    return record


def _plain(name: str) -> None:
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is not a file in its folder")


def field_names(out: Path) -> list[str]:
    """Return the names of the fields that an output folder holds, sorted."""
    return [
        path.name
        for path in _members(out)
        if os.path.lexists(path / FIELD_FILE) or (path.is_dir() and _earlier(path))
    ]


def read_fields(
    out: Path, names: Iterable[str] | None = None
) -> Iterator[tuple[Path, FieldState | UnreadableFile]]:
    """Give the file of each field and its state, one at a time; what is wrong if it is damaged."""
    for name in field_names(out) if names is None else names:
        try:
            yield out / name / FIELD_FILE, read_field(out, name)
        except UnreadableFile as err:
            yield out / name / FIELD_FILE, err


def find_records(out: Path, fields: Iterable[str] | None = None) -> Iterator[ImageRecord]:
    """Give the images of an output folder, field by field; damaged fields are passed over."""
    for _, state in read_fields(out, fields):
        if isinstance(state, FieldState):
            yield from state.images


def damaged_fields(out: Path) -> dict[Path, str]:
    """Return the fields whose state can't be read, and why."""
    states = read_fields(out)
    return {path: str(state) for path, state in states if isinstance(state, UnreadableFile)}
