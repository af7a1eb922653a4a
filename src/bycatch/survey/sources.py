"""What goes into a survey: groups of output folders, and which of their objects are the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from bycatch.arrays import Floats, Ints
from bycatch.errors import BycatchError, SettingsError
from bycatch.products.group_state import GroupState, group_folder, read_groups, table_path
from bycatch.survey.arrow import arrow_names, read_arrow
from bycatch.tangent import direction, unit_vectors

logger = logging.getLogger("bycatch")

REVISION = 1
"""To be raised with each change of a survey's tables: all groups are read again."""
SAME_ARCSEC = 0.15
"""Objects of two output folders that are nearer are one; as for the user's list of positions."""
_SAME_CHORD = float(2.0 * np.sin(np.radians(SAME_ARCSEC / 3600.0) / 2.0))
KINDS = {"object": "objects", "epoch": "epochs", "image": "images"}


@dataclass
class Group:
    """A group of images as a survey knows it.

    Attributes
    ----------
    label : its name in the survey, which no other group has
    out, name : where it is
    content : stands for its tables
    key : stands for its rows in the survey, which depend on better groups of other folders, too
    images : ``<field>/<filter>/<root>``
    ra_deg, dec_deg, radius_deg : a circle around its objects
    n_same_id, n_duplicates : objects that a better group has under the same name, which are left
        out, and under another, which say so
    rows : of each table
    columns : names of the columns of its tables
    """

    label: str
    out: str
    name: str
    content: str
    key: str = ""
    images: list[str] = member(default_factory=list)
    ra_deg: float = 0.0
    dec_deg: float = 0.0
    radius_deg: float = -1.0
    n_same_id: int = 0
    n_duplicates: int = 0
    rows: dict[str, int] = member(default_factory=dict)
    columns: list[str] = member(default_factory=list)

    def path(self, table: str) -> Path:
        """Return where its own table lies."""
        folder = group_folder(Path(self.out), self.name)
        path = folder / f"{self.name}_{KINDS[table]}.parquet"
        return path if path.exists() else table_path(folder, self.name, KINDS[table])


def found_groups(outs: Sequence[Path], old_groups: Iterable[Group]) -> list[Group]:
    """Return the groups of output folders, with the labels that a survey has given before.

    A group of a folder that is gone, with the same name and content as one of these, has moved.

    Raises
    ------
    SettingsError
        A folder has no groups.
    """
    before = {(group.out, group.name): group for group in old_groups}
    lost = {(g.name, g.content): g for g in before.values() if not Path(g.out).is_dir()}
    labels_in_use = {group.label for group in before.values()}
    groups: dict[tuple[str, str], Group] = {}
    for out in dict.fromkeys(Path(out).absolute() for out in outs):
        states = [state for state in read_groups(out) if state.outputs]
        if not states:
            raise SettingsError(
                f"{out}: no objects in it", hint="run 'bycatch run', then 'bycatch objects OUT'"
            )
        for state in states:
            content = _content(out, state)
            old = before.get((str(out), state.name)) or lost.pop((state.name, content), None)
            label = old.label if old else _free(state.name, labels_in_use)
            labels_in_use.add(label)
            group = Group(label, str(out), state.name, content, images=state.images)
            if old and old.content == group.content:
                group.columns = old.columns
                group.ra_deg, group.dec_deg = old.ra_deg, old.dec_deg
                group.radius_deg = old.radius_deg
            else:
                _look(group)
            groups[str(out), state.name] = group
    return list(groups.values())


def _content(out: Path, state: GroupState) -> str:
    proofs = sorted((name, proof.checksum) for name, proof in state.outputs.items() if proof)
    facts = (
        REVISION,
        state.key,
        proofs,
        [_completeness_stamp(out, label) for label in state.images],
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _completeness_stamp(out: Path, label: str) -> tuple[int, int] | None:
    """Return size and time of the completeness of an image, where it was measured."""
    try:
        status = (out / f"{label}_completeness.ecsv").stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _free(name: str, labels_in_use: set[str]) -> str:
    number, label = 1, name
    while label in labels_in_use:
        number += 1
        label = f"{name}_{number}"
    return label


def _look(group: Group) -> None:
    """Enter where a group is, and the columns that it has."""
    objects = read_arrow(group.path("object"))
    group.columns = sorted({*objects.column_names, *arrow_names(group.path("epoch"))})
    ra, dec = (np.asarray(objects[name], dtype=float) for name in ("ra", "dec"))
    if len(ra):
        group.ra_deg, group.dec_deg = direction(unit_vectors(ra, dec))
        at = unit_vectors(np.array([group.ra_deg]), np.array([group.dec_deg]))[0]
        chord = np.sqrt(((unit_vectors(ra, dec) - at) ** 2).sum(axis=-1).max())
        group.radius_deg = float(np.degrees(2.0 * np.arcsin(min(chord / 2.0, 1.0))))


@dataclass(frozen=True)
class Duplicates:
    """Objects of a group that a better group of another folder has, too.

    Attributes
    ----------
    same_id : their names, where both groups call them the same
    other_id : the name in the better group by that in this one, where they differ
    images : of the better groups: what they say of objects of the same name is taken from there
    """

    same_id: frozenset[int] = frozenset()
    other_id: Mapping[int, int] = member(default_factory=dict)
    images: frozenset[str] = frozenset()


def better_groups(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return, by label, the groups of other folders that show the same sky and are better.

    Better is what has more images; among equals, what comes first by folder and name.
    """
    with_sky = [group for group in groups if group.radius_deg >= 0]
    better: dict[str, list[Group]] = {group.label: [] for group in groups}
    if len({group.out for group in with_sky}) < 2:
        return better
    at = unit_vectors(
        np.array([g.ra_deg for g in with_sky]), np.array([g.dec_deg for g in with_sky])
    )
    radius = np.radians([group.radius_deg for group in with_sky])
    for i, j in cKDTree(at).query_pairs(float(2.0 * radius.max() + 1e-5), output_type="ndarray"):
        a, b = with_sky[i], with_sky[j]
        if a.out == b.out or np.linalg.norm(at[i] - at[j]) > radius[i] + radius[j] + 1e-5:
            continue
        first, second = sorted((a, b), key=_worth)
        better[second.label].append(first)
    for others in better.values():
        others.sort(key=_worth)
    return better


def _worth(group: Group) -> tuple[int, str, str]:
    return -len(group.images), group.out, group.name


def set_keys(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Enter the keys of groups; return what `better_groups` does."""
    better = better_groups(groups)
    for group in groups:
        others = [(other.label, other.content) for other in better[group.label]]
        group.key = hashlib.sha256(repr((group.label, group.content, others)).encode()).hexdigest()[
            :16
        ]
    return better


def duplicates(group: Group, better: Sequence[Group]) -> Duplicates:
    """Return which objects of a group better ones have, too."""
    if not better:
        return Duplicates()
    ids, at = _places(group)
    same: set[int] = set()
    other: dict[int, int] = {}
    images: set[str] = set()
    for candidate in better:
        try:
            their_ids, there = _places(candidate)
        except (BycatchError, OSError, KeyError) as err:
            logger.warning("%s: not compared with %s: %s", group.label, candidate.label, err)
            continue
        images.update(candidate.images)
        same.update(np.intersect1d(ids, their_ids).tolist())
        if not len(there) or not len(at):
            continue
        far, nearest = cKDTree(there).query(at, distance_upper_bound=_SAME_CHORD)
        for row in np.flatnonzero(np.isfinite(far)).tolist():
            other.setdefault(int(ids[row]), int(their_ids[np.asarray(nearest)[row]]))
    partner_of = {own: their for own, their in other.items() if own not in same}
    return Duplicates(frozenset(same), partner_of, frozenset(images))


def _places(group: Group) -> tuple[Ints, Floats]:
    table = read_arrow(group.path("object"), ["object_id", "ra", "dec"])
    at = unit_vectors(*(np.asarray(table[name], dtype=float) for name in ("ra", "dec")))
    return np.asarray(table["object_id"], dtype=np.int64), at
