"""Two output folders compared object by object: identifiers, positions, magnitudes, losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table, vstack

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.object_classes import REAL
from bycatch.catalogs.tables import floats, read_table, write_table
from bycatch.compare import robust_width
from bycatch.errors import SettingsError
from bycatch.kernels.matching import closest_first, pairs_within
from bycatch.products.group_state import group_folder, read_groups, table_path
from bycatch.system.disk import atomic
from bycatch.tangent import direction, tangent_mas, unit_vectors

LEAST_SNR = 5.0
"""Of objects whose magnitudes give an offset."""
DESCRIPTIONS = {
    "ra": "right ascension in A",
    "dec": "declination in A",
    "dra_mas": "right ascension times cos(Dec), B - A",
    "ddec_mas": "declination, B - A",
    "same_id": "the object_id is the same in both",
    "kind": "joined, split: its partner within the radius belongs to another object; lost, new: "
    "no object of the other folder lies within the radius",
}


@dataclass(frozen=True, eq=False)
class ObjectComparison:
    """What the objects of two folders have in common.

    Attributes
    ----------
    matches : Table
        Pairs: ``object_id_a``, ``object_id_b``, ``same_id``, offsets B - A in mas, p_real of both;
        in each filter the magnitudes of both with errors, and B - A with its error.
    only_a, only_b : Table
        Objects without a partner; ``kind`` is joined or lost (of A), split or new (of B).
    filters : Table
        Per filter: number of pairs above S/N 5, median and width of B - A, width in units of the
        errors of both as if they were independent.
    n_a, n_b : objects of each
    """

    matches: Table
    only_a: Table
    only_b: Table
    filters: Table
    n_a: int
    n_b: int

    def summary(self) -> dict[str, Any]:
        """Return the most important numbers."""
        offsets = np.concatenate([self.matches["dra_mas"], self.matches["ddec_mas"]])
        kinds_a, kinds_b = (np.asarray(t["kind"]) for t in (self.only_a, self.only_b))
        real_a = floats(self.only_a, "p_real") >= REAL
        real_b = floats(self.only_b, "p_real") >= REAL
        same = np.asarray(self.matches["same_id"], dtype=bool)
        return {
            "objects_a": self.n_a,
            "objects_b": self.n_b,
            "matched": len(self.matches),
            "same_id": int(same.sum()),
            "renamed": int((~same).sum()),
            "joined": int((kinds_a == "joined").sum()),
            "lost": int((kinds_a == "lost").sum()),
            "lost_real": int(((kinds_a == "lost") & real_a).sum()),
            "split": int((kinds_b == "split").sum()),
            "new": int((kinds_b == "new").sum()),
            "new_real": int(((kinds_b == "new") & real_b).sum()),
            "offset_ra_mas": _median(self.matches["dra_mas"]),
            "offset_dec_mas": _median(self.matches["ddec_mas"]),
            "scatter_mas": robust_width(offsets),
        }


def compare_objects(a: Path, b: Path, radius_mas: float = 150.0) -> ObjectComparison:
    """Compare the objects of two output folders.

    Objects of one identifier that lie within the radius are pairs; of the others those that are
    closest to one another.

    Parameters
    ----------
    a, b : output folders
    radius_mas : largest separation of a pair

    Raises
    ------
    SettingsError
        A folder has no objects, or the two lie apart on the sky.
    """
    first, second = _objects(a), _objects(b)
    at_a, at_b = _plane(first, second)
    pairs = pairs_within(at_a, at_b, radius_mas)
    ia, ib = _rows_of_pairs(first, second, pairs)
    if not len(ia):
        raise SettingsError(
            f"{a} and {b}: no object of one within {radius_mas:g} mas of one of the other",
            hint="are they of the same field? A larger --radius allows for larger offsets",
        )
    near_a, near_b = np.zeros(len(first), bool), np.zeros(len(second), bool)
    near_a[pairs[0]], near_b[pairs[1]] = True, True
    filters = sorted({n[4:] for n in first.colnames if n.startswith("mag_F")} & {
        n[4:] for n in second.colnames if n.startswith("mag_F")
    })  # fmt: skip
    matches = _pairs_table(first[ia], second[ib], at_b[ib] - at_a[ia], filters)
    return ObjectComparison(
        matches,
        _rest(first, ia, near_a, ("joined", "lost"), filters),
        _rest(second, ib, near_b, ("split", "new"), filters),
        _filters_table(matches, first[ia], second[ib], filters),
        len(first),
        len(second),
    )


def _objects(out: Path) -> Table:
    """Return the objects of all groups of a folder."""
    tables = []
    for state in read_groups(out):
        path = table_path(group_folder(out, state.name), state.name, "objects")
        if path.exists():
            table = read_table(path)
            table.meta = {}
            tables.append(table)
    if not any(map(len, tables)):
        raise SettingsError(f"{out}: no objects in it", hint="run 'bycatch objects OUT' first")
    return vstack(tables, metadata_conflicts="silent")


def _plane(a: Table, b: Table) -> tuple[Floats, Floats]:
    """Return the positions in one tangent plane, mas; NaN for those on the far side of the sky."""
    ra, dec = floats(a, "ra"), floats(a, "dec")
    at = direction(unit_vectors(ra, dec))
    return tangent_mas(ra, dec, *at), tangent_mas(floats(b, "ra"), floats(b, "dec"), *at)


def _rows_of_pairs(a: Table, b: Table, pairs: tuple[Ints, Ints, Floats]) -> tuple[Ints, Ints]:
    """Return the rows of the pairs: those of one identifier first."""
    ia, ib = pairs[0], pairs[1]
    id_a, id_b = (np.asarray(t["object_id"]) for t in (a, b))
    same = id_a[ia] == id_b[ib]
    by_id_a, by_id_b = ia[same], ib[same]
    free = ~np.isin(ia, by_id_a) & ~np.isin(ib, by_id_b)
    more_a, more_b = closest_first(ia[free], ib[free], pairs[2][free])
    return np.append(by_id_a, more_a), np.append(by_id_b, more_b)


def _pairs_table(a: Table, b: Table, apart: Floats, filters: list[str]) -> Table:
    id_a, id_b = (np.asarray(t["object_id"]) for t in (a, b))
    table = Table(
        {
            "object_id_a": id_a,
            "object_id_b": id_b,
            "same_id": id_a == id_b,
            "ra": floats(a, "ra"),
            "dec": floats(a, "dec"),
            "dra_mas": apart[:, 0],
            "ddec_mas": apart[:, 1],
            "p_real_a": floats(a, "p_real"),
            "p_real_b": floats(b, "p_real"),
        },
        units={"ra": "deg", "dec": "deg", "dra_mas": "mas", "ddec_mas": "mas"},
        descriptions={k: v for k, v in DESCRIPTIONS.items() if k != "kind"},
    )
    for f in filters:
        for letter, whose in (("a", a), ("b", b)):
            for name, words in ((f"mag_{f}", "AB magnitude"), (f"mag_err_{f}", "its random error")):
                table[f"{name}_{letter}"] = Column(
                    floats(whose, name), unit="mag", description=f"{words} in {f}, {letter.upper()}"
                )
        off = floats(b, f"mag_{f}") - floats(a, f"mag_{f}")
        error = np.hypot(floats(a, f"mag_err_{f}"), floats(b, f"mag_err_{f}"))
        table[f"dmag_{f}"] = Column(off, unit="mag", description=f"AB magnitude in {f}, B - A")
        table[f"dmag_err_{f}"] = Column(
            error, unit="mag", description="its error, as if those of A and B were independent"
        )
    return table


def _rest(
    table: Table, partners: Ints, near: Bools, kinds: tuple[str, str], filters: list[str]
) -> Table:
    """Return the objects without a partner, and whether one that is another's lies near."""
    alone = np.ones(len(table), bool)
    alone[partners] = False
    magnitudes = [f"{name}_{f}" for f in filters for name in ("mag", "mag_err")]
    names = ["object_id", "ra", "dec", "p_real", "n_detected", *magnitudes]
    rest = table[names][alone]
    rest["kind"] = np.where(near[alone], *kinds) if alone.any() else np.empty(0, "U6")
    rest["kind"].description = DESCRIPTIONS["kind"]
    return rest


def _filters_table(matches: Table, a: Table, b: Table, filters: list[str]) -> Table:
    rows = []
    for f in filters:
        bright = (floats(a, f"snr_{f}") > LEAST_SNR) & (floats(b, f"snr_{f}") > LEAST_SNR)
        off = floats(matches, f"dmag_{f}")
        bright &= np.isfinite(off)
        pulls = off[bright] / floats(matches, f"dmag_err_{f}")[bright]
        width, pull = robust_width(off[bright]), robust_width(pulls)
        nothing = np.nan
        rows.append(
            (
                f, int(bright.sum()), _median(off[bright]) or 0.0,
                nothing if width is None else width, nothing if pull is None else pull,
            )
        )  # fmt: skip
    names, kinds = ("filter", "n", "dmag", "width", "pull_width"), ("U8", "i8", "f8", "f8", "f8")
    return Table(rows=rows or None, names=names, dtype=kinds)


def _median(values: Any) -> float | None:
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    return float(np.median(array)) if len(array) else None


def write_object_comparison(comparison: ObjectComparison, folder: Path) -> list[Path]:
    """Write the tables of a comparison; return the files."""
    paths = []
    tables = {
        "matches": comparison.matches,
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "filters": comparison.filters,
    }
    for name, table in tables.items():
        path = folder / f"compare_objects_{name}.ecsv"
        table.meta |= {"SUMMARY": comparison.summary()}
        with atomic(path) as partial:
            write_table(table, partial)
        paths.append(path)
    return paths
