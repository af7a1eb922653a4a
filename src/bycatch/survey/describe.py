"""Description of a survey: maps, completeness, numbers, schema, README, front page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.survey_columns import TABLES, filter_order
from bycatch.products.content import json_bytes
from bycatch.survey.arrow import about_field, library
from bycatch.survey.coverage import (
    area_deg2,
    completeness_at,
    depth_hdus,
    depth_maps,
    footprint_moc,
    write_moc,
)
from bycatch.survey.hats import catalog_folder, leaf_path, read_leaf, read_schema, write_leaf
from bycatch.survey.notes import Notes
from bycatch.survey.page import front_page
from bycatch.survey.readme import readme

if TYPE_CHECKING:
    import pyarrow as pa


def write_part(
    new: Path, old: Path, name: str, files: Sequence[Path], left_out: frozenset[str]
) -> None:
    """Write a small table of all groups: rows that stay, and those of new groups."""
    pa, compute = (
        library("pyarrow", "a survey"),
        library("pyarrow.compute", "a survey"),
    )
    parts = [read_leaf(path) for path in files]
    before = old / f"{name}.parquet"
    if before.is_file():
        rows = read_leaf(before)
        is_missing = compute.is_in(rows["group"], value_set=pa.array(sorted(left_out), pa.string()))
        parts.insert(0, rows.filter(compute.invert(is_missing)))
    if not parts:
        return
    table = pa.concat_tables(parts)
    keys = [
        key for key in ("group", "image", "filter", "cell", "kind") if key in table.column_names
    ]
    more = [key for key in ("re_arcsec", "n_exp", "mag_low") if key in table.column_names]
    table = table.sort_by([(key, "ascending") for key in (*keys, *more)])
    write_leaf(table.combine_chunks(), new / f"{name}.parquet")


def describe(new: Path, notes: Notes, schemas: Mapping[str, pa.Schema]) -> None:
    """Write everything but the tables, and record files and numbers in the notes."""
    images = whole_table(new, notes, "image")
    coverage = read_leaf(new / "coverage.parquet")
    completeness = read_leaf(new / "completeness.parquet")
    files = ["coverage.parquet", "completeness.parquet"]
    maps = depth_maps(coverage)
    filters = sorted(set(images["filter"].to_pylist()), key=filter_order)
    outlines = [text for text in images["footprint"].to_pylist() if text]
    moc = footprint_moc(outlines)
    write_moc(moc, new / "footprint.fits")
    files.append("footprint.fits")
    numbers: dict[str, dict[str, Any]] = {}
    limits = completeness_at(completeness)
    counts = _counts(new, notes, filters)
    rows = images.to_pylist()
    for name in filters:
        own = {row["image"]: row for row in rows if row["filter"] == name}
        moc_of_filter = footprint_moc(row["footprint"] for row in own.values() if row["footprint"])
        write_moc(moc_of_filter, new / f"footprint_{name}.fits")
        files.append(f"footprint_{name}.fits")
        depth = None
        if name in maps:
            depth_hdus(name, *maps[name]).writeto(new / f"depth_{name}.fits")
            files.append(f"depth_{name}.fits")
            depth = round(float(np.median(maps[name][1])), 3)
        numbers[name] = {
            "n_images": len(own),
            "exptime_h": round(sum(row["exptime"] or 0.0 for row in own.values()) / 3600.0, 4),
            "area_deg2": round(area_deg2(moc_of_filter), 6),
            "median_depth_mag": depth,
            "half_found_mag": round(limits[name], 3) if name in limits else None,
            **counts.pop(name),
        }
    mjd = [row["mjd"] for row in rows if row["mjd"] is not None]
    notes.summary = {
        **counts,
        "n_groups": len(notes.groups),
        "n_images": len({row["image"] for row in rows}),
        "n_rows": {table: notes.tables[table].rows for table in TABLES},
        "area_deg2": round(area_deg2(moc), 6),
        "first_mjd": min(mjd, default=None),
        "last_mjd": max(mjd, default=None),
        "n_same_id": sum(group.n_same_id for group in notes.groups),
        "n_duplicates": sum(group.n_duplicates for group in notes.groups),
        "filters": numbers,
    }
    notes.files = [*files, "schema.json", "README.md", "index.html"]
    (new / "schema.json").write_bytes(json_bytes(_schema(schemas)))
    (new / "README.md").write_text(readme(notes), encoding="utf-8")
    (new / "index.html").write_text(front_page(notes, outlines), encoding="utf-8")


def whole_table(survey: Path, notes: Notes, table: str) -> pa.Table:
    """Return all rows of a table, in the order of the sky."""
    pa = library("pyarrow", "a survey")
    root = catalog_folder(survey, table)
    parts = [read_leaf(leaf_path(root, leaf.cell)) for leaf in notes.tables[table].leaves]
    return pa.concat_tables(parts) if parts else read_schema(root).empty_table()


def _counts(new: Path, notes: Notes, filters: Sequence[str]) -> dict[str, Any]:
    """Return how many objects there are, are real, and were detected in each filter."""
    columns = set(notes.tables["object"].columns)
    column_of = {name: f"n_detected_{name}" for name in filters if f"n_detected_{name}" in columns}
    total = {"n_objects": 0, "n_real": 0}
    n_detected = dict.fromkeys(filters, 0)
    root = catalog_folder(new, "object")
    for leaf in notes.tables["object"].leaves:
        rows = read_leaf(
            leaf_path(root, leaf.cell), ["p_real", "duplicate_of", *column_of.values()]
        )
        own = np.asarray(rows["duplicate_of"], dtype=np.int64) == 0
        real = np.asarray(rows["p_real"].fill_null(0.0), dtype=float) >= 0.5
        total["n_objects"] += int(own.sum())
        total["n_real"] += int((own & real).sum())
        for name, column in column_of.items():
            has_detection = np.asarray(rows[column].fill_null(0), dtype=np.int64) > 0
            n_detected[name] += int((own & real & has_detection).sum())
    return total | {name: {"n_detected": n} for name, n in n_detected.items()}


def _schema(schemas: Mapping[str, pa.Schema]) -> dict[str, Any]:
    """Return the columns of all tables: names, types, units, UCDs and descriptions."""
    return {
        table: [{"name": f.name, "type": str(f.type), **about_field(f)} for f in schema]
        for table, schema in schemas.items()
    }
