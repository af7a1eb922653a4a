"""The partitions of a table: which ones a changed group touches, and how they are made.

Rows of new and changed groups wait in files of their own (`Spool`), so that memory holds one
partition at a time.  What is not touched is a hard link to the file of before.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.stages.objects.identity import ORDER
from bycatch.survey.arrow import conform, library
from bycatch.survey.coverage import completeness_of, coverage_of
from bycatch.survey.hats import leaf_path, read_leaf, write_leaf
from bycatch.survey.notes import Layout, Leaf
from bycatch.survey.rows import merged_rows, rows_of
from bycatch.survey.sky import (
    MOST_ORDER,
    Cell,
    Partitions,
    cells_at,
    margin_rows,
    neighbours_of,
    partition,
)
from bycatch.survey.sources import Duplicates, Group, duplicates

if TYPE_CHECKING:
    import pyarrow as pa


OF_IMAGES = {"coverage": coverage_of, "completeness": completeness_of}
"""Small tables, of which a survey has one file each."""


@dataclass(frozen=True)
class SpoolTask:
    """The rows of one group, for all tables."""

    folder: Path
    number: int
    group: Group
    better: tuple[Group, ...]
    schemas: dict[str, pa.Schema]


@dataclass
class SpoolResult:
    """What was found in a group: rows of each table by cells of `MOST_ORDER`, and duplicates."""

    counts: dict[str, dict[int, int]]
    n_same_id: int = 0
    n_duplicates: int = 0


def spool(task: SpoolTask) -> SpoolResult:
    """Write the rows of a group to files of their own."""
    doubles: Duplicates = duplicates(task.group, task.better)
    counts = {}
    for table, schema in task.schemas.items():
        rows = merged_rows([rows_of(task.group, table, schema, doubles)], schema)
        ids = np.asarray(rows["_healpix_29"], dtype=np.int64)
        cells, n = np.unique(cells_at(ids, MOST_ORDER), return_counts=True)
        counts[table] = dict(zip(cells.tolist(), n.tolist(), strict=True))
        write_leaf(rows, spool_path(task.folder, table, task.number))
    for name, making in OF_IMAGES.items():
        write_leaf(making(task.group), spool_path(task.folder, name, task.number))
    return SpoolResult(counts, len(doubles.same_id), len(doubles.other_id))


def spool_path(folder: Path, table: str, number: int) -> Path:
    """Return where the rows of a group wait."""
    return folder / table / f"{number}.parquet"


@dataclass(frozen=True)
class LeafTask:
    """The making of a partition.

    Attributes
    ----------
    path : where it goes
    cell : its cell
    old : partitions of before that may hold rows of it
    gone : groups whose rows are left out of those
    new : files with rows of groups that are new or changed
    schema : of the table
    """

    path: Path
    cell: Cell
    old: tuple[Path, ...]
    gone: frozenset[str]
    new: tuple[Path, ...]
    schema: pa.Schema


def make_leaf(task: LeafTask) -> Leaf:
    """Write a partition."""
    pa, compute = (
        library("pyarrow", "a survey"),
        library("pyarrow.compute", "a survey"),
    )
    low, high = task.cell.limits()
    parts = []
    for path in (*task.old, *task.new):
        rows = read_leaf(path)
        at = np.asarray(rows["_healpix_29"], dtype=np.int64)
        is_inside = (at >= low) & (at < high)
        if path in task.old and task.gone:
            is_of_missing = compute.is_in(rows["group"], value_set=pa.array(sorted(task.gone)))
            is_inside &= ~np.asarray(is_of_missing, dtype=bool)
        parts.append(conform(rows.filter(is_inside), task.schema, {}))
    table = merged_rows(parts, task.schema)
    write_leaf(table, task.path)
    return Leaf(task.cell.order, task.cell.pixel, len(table), _rows_by_group(table))


def _rows_by_group(table: pa.Table) -> dict[str, int]:
    counts = Counter(table["group"].to_pylist())
    return {str(label): n for label, n in sorted(counts.items())}


@dataclass
class Plan:
    """What is to be done for a table.

    Attributes
    ----------
    tasks : partitions to be made
    kept : partitions that stay as they are
    """

    tasks: list[LeafTask] = member(default_factory=list)
    kept: list[Leaf] = member(default_factory=list)


def plan_leaves(
    roots: tuple[Path, Path],
    before: Layout,
    missing: frozenset[str],
    new: Sequence[tuple[Path, Mapping[int, int]]],
    schema: pa.Schema,
    most_rows: int,
    *,
    remake: bool,
) -> Plan:
    """Return which partitions of a table are made, and which stay.

    Parameters
    ----------
    roots : folders of the catalog before and of the new one
    before : how it was
    missing : groups whose rows of before are left out: removed and changed ones
    new : files with new rows, and their numbers of rows by cells of `MOST_ORDER`
    schema : of the table
    most_rows : of a partition
    remake : make all partitions again, since the columns differ
    """
    old_root, root = roots
    new_counts: Counter[int] = Counter()
    for _, counts in new:
        new_counts.update(counts)
    partitions = Partitions([leaf.cell for leaf in before.leaves])
    new_cells = np.array(sorted(new_counts), dtype=np.int64)
    stale = set(partitions.of(new_cells << (2 * (ORDER - MOST_ORDER))).tolist()) - {-1}
    stale |= {
        k for k, leaf in enumerate(before.leaves) if remake or not missing.isdisjoint(leaf.groups)
    }
    counts = new_counts
    for k, leaf in enumerate(_in_sky_order(before.leaves)):
        if k in stale:
            counts.update(_remaining(leaf_path(old_root, leaf.cell), missing))
        else:  # as one cell in it: it has no more rows than a partition may have
            counts[leaf.pixel << (2 * (MOST_ORDER - leaf.order))] += leaf.rows
    plan = Plan()
    same = {
        leaf.cell: leaf for k, leaf in enumerate(_in_sky_order(before.leaves)) if k not in stale
    }
    for cell in partition({c: n for c, n in counts.items() if n > 0}, most_rows):
        if cell in same:
            plan.kept.append(same[cell])
            continue
        low, high = cell.limits()
        old = [
            leaf_path(old_root, leaf.cell)
            for leaf in before.leaves
            if leaf.cell.limits()[0] < high and leaf.cell.limits()[1] > low
        ]
        shift = 2 * (MOST_ORDER - cell.order)
        files = [path for path, cells in new if any(c >> shift == cell.pixel for c in cells)]
        plan.tasks.append(
            LeafTask(leaf_path(root, cell), cell, tuple(old), missing, tuple(files), schema)
        )
    return plan


def _in_sky_order(leaves: Iterable[Leaf]) -> list[Leaf]:
    return sorted(leaves, key=lambda leaf: leaf.cell.limits())


def _remaining(path: Path, missing: frozenset[str]) -> dict[int, int]:
    """Return how many rows of a partition stay, by cells of `MOST_ORDER`."""
    rows = read_leaf(path, ["_healpix_29", "group"])
    cells = cells_at(np.asarray(rows["_healpix_29"], dtype=np.int64), MOST_ORDER)
    stays = ~np.isin(np.asarray(rows["group"].to_pylist(), dtype=str), sorted(missing))
    unique_cells, n = np.unique(cells[stays], return_counts=True)
    return dict(zip(unique_cells.tolist(), n.tolist(), strict=True))


def link(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, or a copy where there are none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


# ---- margins -------------------------------------------------------------------------------


@dataclass(frozen=True)
class EdgeTask:
    """The rows near the edge of a partition, for the margins of its neighbours."""

    root: Path
    folder: Path
    own: int
    cells: tuple[Cell, ...]
    receivers: frozenset[int]
    margin_arcsec: float


def spool_edges(task: EdgeTask) -> dict[int, Path]:
    """Write a partition's rows in margins of other partitions; return files by receivers."""
    partitions = Partitions(task.cells)
    rows = read_leaf(leaf_path(task.root, task.cells[task.own]))
    ra, dec = (np.asarray(rows[name], dtype=float) for name in ("ra", "dec"))
    near = margin_rows(ra, dec, task.own, partitions, task.margin_arcsec)
    files = {}
    for receiver, which in sorted(near.items()):
        if receiver in task.receivers:
            path = task.folder / f"{task.own}_{receiver}.parquet"
            write_leaf(rows.take(which), path)
            files[receiver] = path
    return files


@dataclass(frozen=True)
class MarginTask:
    """The making of a margin."""

    path: Path
    cell: Cell
    parts: tuple[Path, ...]
    schema: pa.Schema


def make_margin(task: MarginTask) -> Leaf:
    """Write the margin of a partition."""
    table = merged_rows([read_leaf(path).cast(task.schema) for path in task.parts], task.schema)
    write_leaf(table, task.path)
    return Leaf(task.cell.order, task.cell.pixel, len(table), _rows_by_group(table))


def neighbours(partitions: Partitions) -> list[set[int]]:
    """Return which partitions touch each one."""
    sets: list[set[int]] = [set() for _ in partitions.cells]
    for order in {cell.order for cell in partitions.cells}:
        own = [k for k, cell in enumerate(partitions.cells) if cell.order == order]
        around = neighbours_of(np.array([partitions.cells[k].pixel for k in own]), order)
        # Cells as large or larger; smaller ones find this one from their side.
        there = partitions.of(around.ravel() << (2 * (ORDER - order))).reshape(around.shape)
        for k, others in zip(own, np.where(around >= 0, there, -1).T, strict=True):
            for other in set(others.tolist()) - {-1, k}:
                sets[k].add(other)
                sets[other].add(k)
    return sets


def changed_margins(
    before: Layout, cells: Sequence[Cell], new_cells: Iterable[Cell]
) -> tuple[set[int], list[set[int]]]:
    """Return the numbers of the partitions whose margins are made, and who touches whom."""
    partitions = Partitions(cells)
    touching = neighbours(partitions)
    number = {cell: k for k, cell in enumerate(partitions.cells)}
    numbers = {number[cell] for cell in new_cells}
    # Where a partition went away, its neighbours lose what they had of it.
    away = {leaf.cell for leaf in before.leaves} - set(cells)
    if away:
        old = Partitions([*cells, *away]) if _are_apart([*cells, *away]) else None
        numbers |= set(number.values()) if old is None else _beside(old, away, number)
    receivers = set(numbers)
    for k in numbers:
        receivers |= touching[k]
    return receivers, touching


def _are_apart(cells: Sequence[Cell]) -> bool:
    limits = sorted(cell.limits() for cell in cells)
    return all(a[1] <= b[0] for a, b in pairwise(limits))


def _beside(old: Partitions, away: set[Cell], number: Mapping[Cell, int]) -> set[int]:
    touching = neighbours(old)
    return {
        number[old.cells[k]]
        for j, cell in enumerate(old.cells)
        if cell in away
        for k in touching[j]
        if old.cells[k] in number
    }


def of_tasks(results: Iterable[tuple[int, Any]]) -> list[Any]:
    """Return results in the order of their tasks.

    Raises
    ------
    OSError
        A worker died.
    """
    from bycatch.engines import LostTask

    result_of = {}
    for number, result in results:
        if isinstance(result, LostTask):
            raise OSError(f"a worker died: {result.reason}")
        result_of[number] = result
    return [result_of[number] for number in sorted(result_of)]
