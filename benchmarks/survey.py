"""How long questions to a survey take, as it grows: rows of real objects, cloned over the sky.

Usage: python benchmarks/survey.py OUT [--rows 100000 1000000 10000000] [--folder /tmp]

OUT holds objects (``bycatch run``).  Fields of 3,000 objects lie at random on the sky; each object
is one of OUT with other values by a few per cent.  10^7 rows take 8 GB of disk while they are made.
Warm: the same kind of question was asked before, at another place.  Each time is given twice: by
the clock, and that of the processor (of all threads), which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from astropy.table import Table

from bycatch.catalogs.survey_columns import TABLES
from bycatch.products.content import json_bytes
from bycatch.stages.objects.identity import healpix_ids
from bycatch.survey.build import build_survey
from bycatch.survey.describe import whole_table
from bycatch.survey.hats import catalog_folder, write_catalog, write_leaf
from bycatch.survey.leaves import make_leaf, plan_leaves
from bycatch.survey.notes import MOST_ROWS, NOTES, Layout, read_notes
from bycatch.survey.query import Survey, open_survey
from bycatch.survey.sky import MOST_ORDER, cells_at

PER_FIELD = 3000
FIELDS_A_CHUNK = 34
FIELD_DEG = 0.055


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    print("| rows | made, s | GB | cone, ms (cpu) | colour cut | rows of it | match of 10^4 |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n in given.rows:
        folder = Path(tempfile.mkdtemp(prefix="bycatch-survey-", dir=given.folder))
        try:
            small = build_survey([given.out], folder / "small").path
            started = time.perf_counter()
            centres = cloned(small, folder / "large", n)
            made = time.perf_counter() - started
            size = sum(f.stat().st_size for f in (folder / "large").rglob("*") if f.is_file())
            with open_survey(folder / "large") as survey:
                print(row(survey, centres, n, made, size), flush=True)
        finally:
            shutil.rmtree(folder)


def cloned(small: Path, large: Path, n_rows: int) -> np.ndarray:
    """Make a survey of many objects like those of a small one; return the centres of its fields."""
    rng = np.random.default_rng(1)
    notes = read_notes(small)
    shutil.copytree(small, large)
    shutil.rmtree(large / "object")
    objects = whole_table(small, notes, "object")
    n_fields = max(1, n_rows // PER_FIELD)
    ra, dec = rng.uniform(0, 360, n_fields), np.degrees(np.arcsin(rng.uniform(-1, 1, n_fields)))
    order = np.argsort(healpix_ids(ra, dec))
    ra, dec = ra[order], dec[order]
    new = []
    for first in range(0, n_fields, FIELDS_A_CHUNK):
        last = min(first + FIELDS_A_CHUNK, n_fields)
        table = chunk(objects, ra[first:last], dec[first:last], rng)
        path = large / "rows" / f"{first}.parquet"
        write_leaf(table, path)
        cells = cells_at(np.asarray(table["_healpix_29"]), MOST_ORDER)
        new.append(
            (
                path,
                dict(zip(*(v.tolist() for v in np.unique(cells, return_counts=True)), strict=True)),
            )
        )
    schema = objects.schema
    root = catalog_folder(large, "object")
    plan = plan_leaves((root, root), Layout(), frozenset(), new, schema, MOST_ROWS, remake=False)
    layout = Layout(schema.names, [make_leaf(task) for task in plan.tasks])
    shutil.rmtree(large / "rows")
    write_catalog(large, "object", layout, schema, notes)
    tables = {t: layout if t == "object" else notes.tables[t] for t in TABLES}
    (large / NOTES).write_bytes(json_bytes(replace(notes, tables=tables)))
    return np.column_stack([ra, dec])


def chunk(objects: pa.Table, ra: np.ndarray, dec: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Return the objects of some fields, in the order of the sky."""
    n = len(ra) * PER_FIELD
    at_dec = np.repeat(dec, PER_FIELD) + rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, n)
    at_dec = np.clip(at_dec, -89.99, 89.99)
    at_ra = np.repeat(ra, PER_FIELD) + rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, n) / np.cos(
        np.radians(at_dec)
    )
    table = objects.take(rng.integers(0, len(objects), n))
    ids = healpix_ids(at_ra % 360.0, at_dec)
    values: dict[str, Any] = {
        "_healpix_29": ids, "object_id": ids, "ra": at_ra % 360.0, "dec": at_dec,
        "group": pa.array([f"f{k}" for k in range(len(ra)) for _ in range(PER_FIELD)]),
    }  # fmt: skip
    arrays = []
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if field.name in values:
            column = pa.array(values[field.name])
        elif pa.types.is_float32(field.type):
            factor = pa.array(rng.normal(1.0, 0.03, n).astype(np.float32))
            column = pa.compute.multiply(column, factor)
        arrays.append(column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=table.schema).take(np.argsort(ids))


def row(survey: Survey, centres: np.ndarray, n: int, made: float, size: int) -> str:
    """Ask, and return the line of the table."""
    rng = np.random.default_rng(2)
    f, g = survey.filters[:2]  # there are colours of neighbours only
    cut = f"colour_{f}_{g} BETWEEN 0.4 AND 0.6 AND mag_{g} < 24 AND p_real > 0.5"

    def cone() -> None:
        ra, dec = centres[rng.integers(len(centres))]
        survey.cone(ra, dec, 10.0)

    def match() -> None:
        k = rng.integers(0, len(centres), 10_000)
        off = rng.uniform(-FIELD_DEG / 2, FIELD_DEG / 2, (2, 10_000))
        dec = np.clip(centres[k, 1] + off[1], -89.9, 89.9)
        ra = (centres[k, 0] + off[0] / np.cos(np.radians(dec))) % 360.0
        survey.crossmatch(Table({"ra": ra, "dec": dec}), 0.5)

    questions: tuple[tuple[Callable[[], object], int], ...] = (
        (cone, 9),
        (lambda: survey.sql(f"SELECT count(*) FROM object WHERE {cut}"), 3),
        (lambda: survey.sql(f"SELECT object_id, ra, dec FROM object WHERE {cut}"), 3),
        (match, 3),
    )
    times = " | ".join(words(*median(work, repeats)) for work, repeats in questions)
    return f"| {n} | {made:.0f} | {size / 1e9:.2f} | {times} |"


def words(clock: float, processor: float) -> str:
    return f"{1e3 * clock:.0f} ({1e3 * processor:.0f})"


def median(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median times that a question takes, the first one left out."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    clock, processor = np.median(times, axis=0)
    return float(clock), float(processor)


if __name__ == "__main__":
    main()
