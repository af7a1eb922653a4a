"""The state of a group: ``OUT/objects/<group>/group.json``, that only its task writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as member
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bycatch.errors import UnreadableFile
from bycatch.products.content import (
    UNREADABLE,
    json_bytes,
    read_state,
    unreadable_state,
)
from bycatch.products.paths import is_plain_name, own_folder
from bycatch.system.disk import Proof, atomic, is_whole

OBJECTS_FOLDER = "objects"
GROUP_FILE = "group.json"
FORMAT = 1


@dataclass
class GroupState:
    """What is known of a group.

    Attributes
    ----------
    name : of the group
    images : ``<field>/<filter>/<root>`` of its images, sorted
    key : stands for all that its tables were made from
    outputs : its products, by name
    summary : numbers for the page and the terminal
    outcome, reason : what became of it in the last run
    seconds : that it took
    format : of the file
    """

    name: str
    images: list[str] = member(default_factory=list)
    key: str = ""
    outputs: dict[str, Proof | None] = member(default_factory=dict)
    summary: dict[str, Any] = member(default_factory=dict)
    outcome: str = ""
    reason: str = ""
    seconds: float = 0.0
    format: int = FORMAT

    def is_current(self, folder: Path, key: str) -> bool:
        """Tell whether the products are whole and made for a key."""
        return (
            self.key == key
            and bool(self.outputs)
            and all(
                proof is not None and is_whole(folder / name, proof)
                for name, proof in self.outputs.items()
            )
        )


def group_folder(out: Path, name: str) -> Path:
    """Return the folder of a group."""
    return own_folder(own_folder(out / OBJECTS_FOLDER) / name)


def table_path(folder: Path, name: str, kind: str) -> Path:
    """Return where a table of a group lies: Parquet, which holds all digits, or ECSV."""
    path = folder / f"{name}_{kind}.ecsv"
    other = path.with_suffix(".parquet")
    readable = find_spec("pyarrow") is not None or not path.exists()
    return other if other.exists() and readable else path


def group_names(out: Path) -> list[str]:
    """Return the names of the groups that an output folder holds, sorted."""
    folder = out / OBJECTS_FOLDER
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208, bears that folders go meanwhile
    except OSError:
        return []
    return [name for name in names if os.path.lexists(folder / name / GROUP_FILE)]


def read_group(out: Path, name: str) -> GroupState:
    """Read the state of a group; an empty one where there is none.

    Raises
    ------
    UnreadableFile
        It is damaged, of another place, or of a later version.
    """
    path = group_folder(out, name) / GROUP_FILE
    if not path.is_symlink() and not path.exists():
        return GroupState(name)
    try:
        state: GroupState = read_state(path, GroupState, FORMAT)
        if state.name != name or not all(map(is_plain_name, state.outputs)):
            raise ValueError("it is that of another group")
    except UNREADABLE as err:
        raise unreadable_state(path, err) from err
    return state


def write_group(out: Path, state: GroupState) -> None:
    """Write the state of a group."""
    with atomic(group_folder(out, state.name) / GROUP_FILE) as partial:
        partial.write_bytes(json_bytes(state))


def read_groups(out: Path, names: Iterable[str] | None = None) -> Iterator[GroupState]:
    """Give the states of the groups; damaged ones are passed over."""
    for name in group_names(out) if names is None else names:
        try:
            yield read_group(out, name)
        except UnreadableFile:
            continue
