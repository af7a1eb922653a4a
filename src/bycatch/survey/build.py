"""Building a survey from the objects of output folders, or updating it.

The new survey is put together next to the old one, whose files it shares where they stay as they
are, and takes its place in one step: a killed build leaves the survey as it was.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from bycatch.catalogs.survey_columns import TABLES, survey_columns
from bycatch.engines import Executor, executor_of
from bycatch.errors import SettingsError
from bycatch.products.content import json_bytes
from bycatch.survey.arrow import library, schema_of
from bycatch.survey.describe import describe, write_part
from bycatch.survey.hats import catalog_folder, leaf_path, margin_folder, write_catalog
from bycatch.survey.leaves import (
    OF_IMAGES,
    EdgeTask,
    MarginTask,
    SpoolResult,
    SpoolTask,
    changed_margins,
    link,
    make_leaf,
    make_margin,
    of_tasks,
    plan_leaves,
    spool,
    spool_edges,
    spool_path,
)
from bycatch.survey.notes import (
    MARGIN_ARCSEC,
    MOST_ROWS,
    NOTES,
    Layout,
    Leaf,
    Notes,
    is_survey,
    read_notes,
)
from bycatch.survey.sky import MOST_MARGIN_ARCSEC
from bycatch.survey.sources import Group, found_groups, set_keys
from bycatch.system.disk import PARTIAL
from bycatch.system.locks import lock
from bycatch.version import __version__

logger = logging.getLogger("bycatch")

WITH_MARGIN = ("object", "epoch")
_EXCHANGE = 2


@dataclass(frozen=True)
class BuildResult:
    """The outcome of a build.

    Attributes
    ----------
    path : its folder
    notes : what it knows of itself
    taken, gone : labels of the groups that were taken (again), and of those that were removed
    n_made, n_kept : partitions that were made, and those that stayed as they were
    """

    path: Path
    notes: Notes
    taken: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    n_made: int = 0
    n_kept: int = 0

    @property
    def is_new(self) -> bool:
        """Whether anything has changed."""
        return bool(self.n_made or self.taken or self.gone)


def build_survey(
    outs: Sequence[str | Path],
    survey: str | Path,
    *,
    most_rows: int = MOST_ROWS,
    margin_arcsec: float = MARGIN_ARCSEC,
    only: bool = False,
    workers: int | None = None,
    executor: Any = None,
) -> BuildResult:
    """Build a survey from the objects of output folders, or update one.

    Groups that are new or changed touch their own partitions only; those of folders that are not
    given stay.

    Parameters
    ----------
    outs : output folders with objects
    survey : folder of the survey
    most_rows : of a partition
    margin_arcsec : how far beyond a partition its margin reaches
    only : remove groups of folders that are not given
    workers, executor : as for `bycatch.run`; a partition is a task

    Raises
    ------
    SettingsError
        A folder holds no objects, the survey's folder is something else, or pyarrow or mocpy is
        not there.
    LockHeld
        Another process builds the same survey.
    """
    library("pyarrow", "a survey")
    library("mocpy", "a survey")
    if not (0 < margin_arcsec <= MOST_MARGIN_ARCSEC and most_rows > 0):
        raise SettingsError(
            f"a margin of {margin_arcsec:g} arcsec, {most_rows} rows",
            hint=f"a margin is at most {MOST_MARGIN_ARCSEC:g} arcsec, a partition has rows",
        )
    path = Path(survey).absolute()
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise SettingsError(f"{path}: not a folder", hint="choose another place for the survey")
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_name(f".{path.name}.lock")):
        _recover(path)
        if path.is_dir() and any(path.iterdir()) and not is_survey(path):
            raise SettingsError(
                f"{path}: neither empty nor a survey", hint="choose another place for the survey"
            )
        old = read_notes(path) if is_survey(path) else Notes(path.name)
        engine = executor_of(executor, workers)
        try:
            work = _Build(path, old, engine, most_rows, margin_arcsec)
            return work.make([Path(out) for out in outs], only=only)
        finally:
            engine.close()


class _Build:
    """The work on a survey."""

    def __init__(
        self, path: Path, old: Notes, engine: Executor, most_rows: int, margin_arcsec: float
    ) -> None:
        self.path, self.old, self.engine = path, old, engine
        self.notes = replace(old, most_rows=most_rows, margin_arcsec=margin_arcsec, tables={})
        self.n_made = self.n_kept = 0

    def make(self, outs: Sequence[Path], *, only: bool) -> BuildResult:
        """Make what is not up to date."""
        folders = {str(out.absolute()) for out in outs}
        groups = found_groups(outs, self.old.groups)
        labels = {group.label for group in groups}  # those of folders that have moved among them
        old_groups = [g for g in self.old.groups if g.out not in folders and g.label not in labels]
        groups += [] if only else old_groups
        groups.sort(key=lambda group: group.label)
        before = {group.label: group for group in self.old.groups}
        groups = [replace(group) for group in groups]
        better = set_keys(groups)
        updates = []
        for k, group in enumerate(groups):
            old = before.get(group.label)
            if old is not None and old.key == group.key:
                groups[k] = replace(old, out=group.out)
            elif old is not None and not group.path("object").exists():
                logger.warning("%s: its tables are gone, its rows stay", group.label)
                groups[k] = old
            else:
                updates.append(group)
        missing = set(before) - {group.label for group in groups}
        names = {name for group in groups for name in group.columns}
        columns = {table: survey_columns(table, names) for table in TABLES}
        remake = {
            table: [c.name for c in columns[table]] != self.old.tables.get(table, Layout()).columns
            for table in TABLES
        }
        same = (self.old.most_rows, self.old.margin_arcsec, self.old.creator) == (
            self.notes.most_rows, self.notes.margin_arcsec, f"bycatch {__version__}",
        )  # fmt: skip
        same = same and all(before[g.label].out == g.out for g in groups if g.label in before)
        if not (updates or missing or any(remake.values())) and same and self._is_whole():
            return BuildResult(self.path, self.old, n_kept=self._n_leaves())
        self.notes.groups = groups
        self.notes.made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.notes.creator = f"bycatch {__version__}"
        schemas = {
            table: schema_of(columns[table], {"survey": self.notes.name, "table": table})
            for table in TABLES
        }
        beside = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{self.path.name}-", dir=self.path.parent))
        try:
            new = beside / "new"
            new.mkdir()
            self._tables(beside, updates, better, missing, schemas, remake)
            describe(new, self.notes, schemas)
            _carry_over(self.path, new, self.old, self.notes)
            (new / NOTES).write_bytes(json_bytes(self.notes))
            _sync(new)
            _exchange(new, self.path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return BuildResult(
            self.path, self.notes, tuple(group.label for group in updates), tuple(sorted(missing)),
            self.n_made, self.n_kept,
        )  # fmt: skip

    def _is_whole(self) -> bool:
        """Tell whether all files of the survey are there."""
        files = [self.path / name for name in self.old.files]
        for table, layout in self.old.tables.items():
            root, margin = catalog_folder(self.path, table), margin_folder(self.path, table)
            files += [leaf_path(root, leaf.cell) for leaf in layout.leaves]
            files += [leaf_path(margin, leaf.cell) for leaf in layout.margins]
        return all(file.is_file() for file in files)

    def _n_leaves(self) -> int:
        return sum(len(layout.leaves) for layout in self.old.tables.values())

    def _tables(
        self,
        beside: Path,
        updates: Sequence[Group],
        better: dict[str, list[Group]],
        missing: set[str],
        schemas: dict[str, Any],
        remake: dict[str, bool],
    ) -> None:
        """Make the four tables."""
        tasks = [
            SpoolTask(beside / "rows", k, group, tuple(better[group.label]), schemas)
            for k, group in enumerate(updates)
        ]
        results: list[SpoolResult] = of_tasks(self.engine.work(spool, tasks))
        logger.info("%d group(s) taken, %d removed", len(updates), len(missing))
        for group, one in zip(updates, results, strict=True):
            group.n_same_id, group.n_duplicates = one.n_same_id, one.n_duplicates
            group.rows = {table: sum(cells.values()) for table, cells in one.counts.items()}
        left_out = frozenset(missing | {group.label for group in updates})
        for table in TABLES:
            before = self.old.tables.get(table, Layout())
            new = [
                (spool_path(beside / "rows", table, k), one.counts[table])
                for k, one in enumerate(results)
            ]
            roots = (catalog_folder(self.path, table), catalog_folder(beside / "new", table))
            plan = plan_leaves(
                roots, before, left_out, new, schemas[table], self.notes.most_rows,
                remake=remake[table] or not self._are_there(table, before),
            )  # fmt: skip
            new_leaves: list[Leaf] = of_tasks(self.engine.work(make_leaf, plan.tasks))
            for leaf in plan.kept:
                link(*(leaf_path(root, leaf.cell) for root in roots))
            leaves = sorted([*plan.kept, *new_leaves], key=lambda leaf: leaf.cell.limits())
            layout = Layout([field.name for field in schemas[table]], leaves)
            self.n_made, self.n_kept = self.n_made + len(new_leaves), self.n_kept + len(plan.kept)
            if table in WITH_MARGIN and len(leaves) > 1:
                layout.margins = self._margins(
                    beside, table, layout, new_leaves, before, schemas[table]
                )
            self.notes.tables[table] = layout
            write_catalog(beside / "new", table, layout, schemas[table], self.notes)
            shutil.rmtree(beside / "rows" / table, ignore_errors=True)
        for name in OF_IMAGES:
            files = [spool_path(beside / "rows", name, k) for k in range(len(updates))]
            write_part(beside / "new", self.path, name, files, left_out)

    def _are_there(self, table: str, before: Layout) -> bool:
        root = catalog_folder(self.path, table)
        missing = [leaf for leaf in before.leaves if not leaf_path(root, leaf.cell).is_file()]
        if missing:
            raise SettingsError(
                f"{self.path}: {len(missing)} file(s) of the table {table} are gone",
                hint="remove the survey and build it again",
            )
        return True

    def _margins(
        self,
        beside: Path,
        table: str,
        layout: Layout,
        new_leaves: Sequence[Leaf],
        before: Layout,
        schema: Any,
    ) -> list[Leaf]:
        """Make the margins of partitions that are changed, or touch one that is."""
        cells = [leaf.cell for leaf in layout.leaves]
        receivers, touching = changed_margins(before, cells, [leaf.cell for leaf in new_leaves])
        if self.old.margin_arcsec != self.notes.margin_arcsec or not before.margins:
            receivers = set(range(len(cells)))
        givers = sorted({k for receiver in receivers for k in touching[receiver]})
        tasks = [
            EdgeTask(
                catalog_folder(beside / "new", table), beside / "edges" / table, k, tuple(cells),
                frozenset(touching[k] & receivers), self.notes.margin_arcsec,
            )
            for k in givers
        ]  # fmt: skip
        parts: dict[int, list[Path]] = {}
        for files in of_tasks(self.engine.work(spool_edges, tasks)):
            for receiver, path in files.items():
                parts.setdefault(receiver, []).append(path)
        root = margin_folder(beside / "new", table)
        margins = [
            MarginTask(leaf_path(root, cells[k]), cells[k], tuple(paths), schema)
            for k, paths in sorted(parts.items())
        ]
        leaves: list[Leaf] = of_tasks(self.engine.work(make_margin, margins))
        old_root = margin_folder(self.path, table)
        cells_to_keep = {cell for k, cell in enumerate(cells) if k not in receivers}
        for leaf in before.margins:
            if leaf.cell in cells_to_keep:
                link(leaf_path(old_root, leaf.cell), leaf_path(root, leaf.cell))
                leaves.append(leaf)
        return sorted(leaves, key=lambda leaf: leaf.cell.limits())


# ---- one step from the old survey to the new one ---------------------------------------------


def _carry_over(path: Path, new: Path, old: Notes, notes: Notes) -> None:
    """Keep files of the user: notes, published tables."""
    ours = {NOTES, *old.files, *notes.files, *TABLES}
    for path_there in path.iterdir() if path.is_dir() else ():
        if path_there.name in ours or path_there.name.startswith(PARTIAL):
            continue
        if path_there.is_dir() and not path_there.is_symlink():
            shutil.copytree(path_there, new / path_there.name, symlinks=True, copy_function=_link)
        else:
            _link(str(path_there), str(new / path_there.name))


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _sync(folder: Path) -> None:
    """Sync all files of a folder to the disk."""
    for where, _, names in os.walk(folder):
        for name in (*names, "."):
            try:
                number = os.open(Path(where) / name, os.O_RDONLY)
            except OSError:  # a link to nowhere; a folder, on Windows
                continue
            try:
                os.fsync(number)
            except OSError:
                logger.debug("not synced: %s/%s", where, name)
            finally:
                os.close(number)


def _exchange(new: Path, path: Path) -> None:
    """Exchange two folders.

    In one step where the system can (Linux); else there is a moment without any, and `_recover`
    sets right what is killed in it.
    """
    if not path.exists():
        new.rename(path)
        return
    if not _swap(new, path):
        aside = _aside(path)
        path.rename(aside)
        new.rename(path)
        shutil.rmtree(aside, ignore_errors=True)


def _swap(a: Path, b: Path) -> bool:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here = -100
    return bool(rename(here, os.fsencode(a), here, os.fsencode(b), _EXCHANGE) == 0)


def _aside(path: Path) -> Path:
    return path.with_name(f"{PARTIAL}{path.name}.old")


def _recover(path: Path) -> None:
    """Clean up after a killed process: restore the old survey, remove temporary folders."""
    aside = _aside(path)
    if aside.is_dir():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(path)
    for leftover in path.parent.glob(f"{PARTIAL}{escape(path.name)}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
