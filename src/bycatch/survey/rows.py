"""The rows of a group in the four tables of a survey."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.arrays import Floats
from bycatch.errors import BycatchError
from bycatch.images.headers import read_headers
from bycatch.pipeline.objects import footprint_of
from bycatch.products import ImageRecord, read_field
from bycatch.sky.footprints import Footprint, shared_area_arcmin2
from bycatch.stages.objects.identity import healpix_ids
from bycatch.stages.objects.model import field_of
from bycatch.survey.arrow import conform, library, read_arrow
from bycatch.survey.sources import Duplicates, Group

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("bycatch")


def rows_of(group: Group, table: str, schema: pa.Schema, doubles: Duplicates) -> pa.Table:
    """Return the rows of a group in a table of a survey, in its schema.

    Parameters
    ----------
    group : where they are
    table : object, epoch, image, or exposure
    schema : of the table
    doubles : objects that better groups have
    """
    making: dict[str, Callable[[Group, Duplicates], tuple[pa.Table, dict[str, Any]]]] = {
        "object": _objects,
        "epoch": _epochs,
        "image": _images,
        "exposure": _exposures,
    }
    rows, values = making[table](group, doubles)
    values["group"] = [group.label] * len(rows)
    values["_healpix_29"] = healpix_ids(_numbers(rows, values, "ra"), _numbers(rows, values, "dec"))
    return conform(rows, schema, values)


def _numbers(rows: pa.Table, values: Mapping[str, Any], name: str) -> Floats:
    return np.asarray(values[name] if name in values else rows[name], dtype=float)


def _objects(group: Group, doubles: Duplicates) -> tuple[pa.Table, dict[str, Any]]:
    table = read_arrow(group.path("object"))
    ids = np.asarray(table["object_id"], dtype=np.int64)
    stays = ~np.isin(ids, list(doubles.same_id))
    table, ids = table.filter(stays), ids[stays]
    return table, {"duplicate_of": [doubles.other_id.get(int(k), 0) for k in ids]}


def _epochs(group: Group, doubles: Duplicates) -> tuple[pa.Table, dict[str, Any]]:
    objects = read_arrow(group.path("object"), ["object_id", "ra", "dec"])
    table = read_arrow(group.path("epoch"))
    ids = np.asarray(table["object_id"], dtype=np.int64)
    images = np.asarray(table["image"].to_pylist(), dtype=str)
    # Of an object that has its row from elsewhere: what images say that are nowhere else.
    twice = np.isin(ids, list(doubles.same_id)) & np.isin(images, list(doubles.images))
    table, ids = table.filter(~twice), ids[~twice]
    names = np.asarray(objects["object_id"], dtype=np.int64)
    order = np.argsort(names)
    rows = order[np.searchsorted(names, ids, sorter=order)] if len(names) else ids
    return table, {name: np.asarray(objects[name], dtype=float)[rows] for name in ("ra", "dec")}


def _images(group: Group, _: Duplicates) -> tuple[pa.Table, dict[str, Any]]:
    table = read_arrow(group.path("image"))
    records = records_of(group)
    values: dict[str, list[Any]] = {
        name: []
        for name in ("ra", "dec", "field", "zeropoint_ab", "depth", "area", "footprint", "checksum")
    }
    for label in table["image"].to_pylist():
        record = records.get(label)
        footprint = image_footprint(group, label, record)
        ra, dec = footprint.centre if footprint else (group.ra_deg, group.dec_deg)
        summary = _summary(record)
        for name, value in {
            "ra": ra,
            "dec": dec,
            "field": field_of(label),
            "zeropoint_ab": summary.get("zeropoint_ab"),
            "depth": summary.get("depth_mag"),
            "area": shared_area_arcmin2(footprint, footprint) if footprint else None,
            "footprint": stc_s(footprint) if footprint else "",
            "checksum": record.checksum if record else "",
        }.items():
            values[name].append(value)
    return table, values


def _exposures(group: Group, _: Duplicates) -> tuple[pa.Table, dict[str, Any]]:
    pa = library("pyarrow", "a survey")
    names = ("exposure", "image", "filter", "ra", "dec", "mjd", "exptime")
    values: dict[str, list[Any]] = {name: [] for name in names}
    for label, record in sorted(records_of(group).items()):
        footprint = image_footprint(group, label, record)
        ra, dec = footprint.centre if footprint else (group.ra_deg, group.dec_deg)
        times = _times(record.image_file(Path(group.out)))
        for name in record.exposures:
            mjd, exptime = (_or_none(v) for v in times.get(name, (np.nan, np.nan)))
            row = (name, label, record.filter, ra, dec, mjd, exptime)
            for key, value in zip(names, row, strict=True):
                values[key].append(value)
    n = len(values["exposure"])
    dummy = pa.table({"row": np.arange(n)})
    if not n:
        values = {name: np.empty(0) if name in {"ra", "dec"} else [] for name in names}  # type: ignore[misc]
    return dummy, dict(values)


def records_of(group: Group) -> dict[str, ImageRecord]:
    """Return the records of the images of a group, by their names; of those that can be read."""
    records = {}
    for field in sorted({field_of(label) for label in group.images}):
        try:
            state = read_field(Path(group.out), field)
        except (BycatchError, OSError) as err:
            logger.warning("%s: nothing is known of its images: %s", group.label, err)
            continue
        for record in state.images:
            if record.full_place in group.images:
                records[record.full_place] = record
    return records


def image_footprint(group: Group, label: str, record: ImageRecord | None) -> Footprint | None:
    """Return what an image covers; None where that is no longer known."""
    if record is None:
        return None
    try:
        return footprint_of(label, record, Path(group.out))
    except (BycatchError, OSError, ValueError, KeyError) as err:
        logger.warning("%s: its footprint is not known: %s", label, err)
        return None


def stc_s(footprint: Footprint) -> str:
    """Return a footprint as STC-S, as the VO writes polygons."""
    corners = zip(footprint.ra_deg, footprint.dec_deg, strict=True)
    return "POLYGON ICRS " + " ".join(f"{ra:.6f} {dec:.6f}" for ra, dec in corners)


def corners_of(text: str) -> tuple[Floats, Floats]:
    """Return right ascension and declination of the corners of `stc_s`, degrees."""
    numbers = np.array(text.split()[2:], dtype=float).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1]


def _summary(record: ImageRecord | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name in ("measure", "finalize"):
        stage = record.stages.get(name) if record else None
        numbers |= stage.summary if stage else {}
    return numbers


def _times(path: Path) -> dict[str, tuple[float, float]]:
    """Return mid-time and duration of the exposures of an image, as far as it is still there."""
    try:
        chips = read_headers(path).chips
    except (BycatchError, OSError):
        return {}
    return {chip.exposure: (chip.mjd_mid, chip.exptime_s) for chip in reversed(chips)}


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def merged_rows(parts: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return rows of several groups in the order of the sky."""
    pa = library("pyarrow", "a survey")
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    keys = [("_healpix_29", "ascending")]
    keys += [(n, "ascending") for n in ("object_id", "image", "exposure") if n in schema.names]
    return table.sort_by([*keys, ("group", "ascending")]).combine_chunks()
