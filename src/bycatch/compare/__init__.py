"""Two catalogs of the same field: how far apart, how complete, and what differs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.compare.catalog import Catalog, read_catalog
from bycatch.errors import SettingsError
from bycatch.kernels.matching import closest_first, pairs_within
from bycatch.tangent import tangent_mas

__all__ = ["Catalog", "Comparison", "compare", "read_catalog", "robust_width"]

MIN_MATCHES = 3
STRANGE_SIGMA = 5.0
"""A pair whose magnitudes differ by more than this many robust widths of its bin is listed."""
LEAST_WIDTH_MAG = 0.02
MOST_RADIUS_MAS = 60_000.0
"""An arcminute: within more of it all rows of a field would be pairs."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two catalogs have in common.

    Attributes
    ----------
    a, b : the catalogs
    matches : table of the pairs: rows, identifiers, positions, magnitudes with errors, offsets
        B - A in mas and mag, ``strange``
    only_a, only_b : tables of the rows without a partner that lie in the area of the other catalog
    bins : table by magnitude: rows of each catalog, how many the other has, offset and scatter
    offset_mas : (RA cos Dec, Dec); median of B - A, taken off before the matching
    """

    a: Catalog
    b: Catalog
    matches: Table
    only_a: Table
    only_b: Table
    bins: Table
    offset_mas: tuple[float, float]

    def summary(self) -> dict[str, Any]:
        """Return the most important numbers."""
        dmag = np.asarray(self.matches["dmag"])
        finite_dmag = dmag[np.isfinite(dmag)]
        n_a, n_b = (len(self.matches) + len(t) for t in (self.only_a, self.only_b))
        return {
            "rows_a": len(self.a),
            "rows_b": len(self.b),
            "matched": len(self.matches),
            "fraction_of_a_in_b": len(self.matches) / n_a if n_a else None,
            "fraction_of_b_in_a": len(self.matches) / n_b if n_b else None,
            "offset_ra_mas": self.offset_mas[0],
            "offset_dec_mas": self.offset_mas[1],
            "scatter_mas": robust_width(
                np.concatenate([self.matches["dra_mas"], self.matches["ddec_mas"]])
            ),
            "offset_mag": float(np.median(finite_dmag)) if len(finite_dmag) else None,
            "scatter_mag": robust_width(finite_dmag),
            "strange": int(np.sum(self.matches["strange"])),
        }


def robust_width(values: Any) -> float | None:
    """Return half the range that holds 68 % of the values; None without two of them."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if len(array) < 2:
        return None
    low, high = np.percentile(array, [15.865, 84.135])
    return float(high - low) / 2


def compare(a: Catalog, b: Catalog, radius_mas: float = 150.0, bin_mag: float = 1.0) -> Comparison:
    """Match two catalogs and say how they differ.

    Pairs are the mutually closest within the radius, once the median offset of all
    pairs is taken off.  A row counts as missing in the other catalog only where that has data:
    inside the convex hull of its positions.

    Parameters
    ----------
    a, b : the catalogs
    radius_mas : largest separation of a pair
    bin_mag : width of the bins of magnitude

    Raises
    ------
    SettingsError
        Fewer than three rows match, or the radius is not valid.
    """
    if not 0 < radius_mas <= MOST_RADIUS_MAS:
        raise SettingsError(
            f"--radius {radius_mas:g}: not a separation in mas",
            hint=f"give a number from 0 to {MOST_RADIUS_MAS:g}",
        )
    if not (len(a) and len(b)):
        empty = a if not len(a) else b
        raise SettingsError(
            f"{empty.name}: it has no row with a position", hint="there is nothing to compare"
        )
    at_a, at_b = _planes(a, b)
    offset = np.zeros(2)
    for _ in range(3):
        ia, ib = closest_first(*pairs_within(at_a + offset, at_b, radius_mas))
        if len(ia) < MIN_MATCHES:
            raise SettingsError(
                f"{a.name} and {b.name}: {len(ia)} of {len(a)} and {len(b)} rows match within "
                f"{radius_mas:g} mas",
                hint="check that both show the same field; a larger --radius allows larger offsets",
            )
        offset = np.median(at_b[ib] - at_a[ia], axis=0)
    matches = _matches(a, b, (ia, ib), at_b[ib] - at_a[ia], bin_mag)
    in_b, in_a = _inside(at_a + offset, at_b), _inside(at_b - offset, at_a)
    in_b[ia], in_a[ib] = True, True
    return Comparison(
        a,
        b,
        matches,
        _rows(a, in_b & ~_at(ia, len(a))),
        _rows(b, in_a & ~_at(ib, len(b))),
        _bins(a, b, (ia, ib), (in_b, in_a), bin_mag),
        (float(offset[0]), float(offset[1])),
    )


def _planes(a: Catalog, b: Catalog) -> tuple[Floats, Floats]:
    """Return both catalogs' positions in one tangent plane, mas; (N, 2)."""
    # By the first row, wherever on the circle the field lies.
    ra0 = b.ra[0] + float(np.median((b.ra - b.ra[0] + 180.0) % 360.0 - 180.0))
    dec0 = float(np.median(b.dec))
    return tangent_mas(a.ra, a.dec, ra0, dec0), tangent_mas(b.ra, b.dec, ra0, dec0)


def _inside(points: Floats, others: Floats) -> Bools:
    """Return whether points lie in the convex hull of other points."""
    from scipy.spatial import Delaunay, QhullError

    others = others[np.isfinite(others).all(axis=1)]
    is_inside = np.zeros(len(points), dtype=bool)
    is_finite = np.isfinite(points).all(axis=1)
    with contextlib.suppress(QhullError, ValueError):  # fewer than three, or all on a line
        is_inside[is_finite] = Delaunay(others).find_simplex(points[is_finite]) >= 0
    return is_inside


def _at(index: NDArray[np.int64], n: int) -> Bools:
    mask = np.zeros(n, dtype=bool)
    mask[index] = True
    return mask


def _matches(
    a: Catalog,
    b: Catalog,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    apart: Floats,
    bin_mag: float,
) -> Table:
    ia, ib = pairs
    dmag = b.mag[ib] - a.mag[ia]
    table = Table(
        {
            **{f"{name}_a": values for name, values in _columns_of(a, ia).items()},
            **{f"{name}_b": values for name, values in _columns_of(b, ib).items()},
            "ra": a.ra[ia],
            "dec": a.dec[ia],
            "dra_mas": apart[:, 0],
            "ddec_mas": apart[:, 1],
            "dmag": dmag,
            "strange": _strange(a.mag[ia], dmag, bin_mag),
        },
        units={"ra": "deg", "dec": "deg", "dra_mas": "mas", "ddec_mas": "mas", "dmag": "mag"},
        descriptions={
            "ra": "right ascension in A",
            "dec": "declination in A",
            "dra_mas": "right ascension times cos(Dec), B - A",
            "ddec_mas": "declination, B - A",
            "dmag": "magnitude, B - A",
            "strange": "dmag differs by more than 5 widths from the median of its bin",
        },
    )
    for catalog, letter in ((a, "a"), (b, "b")):
        _describe(table, catalog, f"_{letter}", f" of {letter.upper()}")
    return table


def _columns_of(catalog: Catalog, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return row, identifier, magnitude and its error, as far as the file has them."""
    columns: dict[str, NDArray[Any] | None] = {
        "row": catalog.row,
        "id": catalog.number,
        "mag": catalog.mag,
        "mag_err": catalog.mag_err,
    }
    return {name: values[rows] for name, values in columns.items() if values is not None}


def _describe(table: Table, catalog: Catalog, suffix: str = "", whose: str = "") -> None:
    """Give the columns of `_columns_of` their units and descriptions, in place."""
    mag = ", ".join(word for word in (catalog.columns[2], catalog.filter) if word)
    words = {
        "row": f"row{whose} ({catalog.name}), from 0",
        "id": f"identifier{whose}",
        "mag": f"magnitude{whose} ({mag})",
        "mag_err": f"error of mag{suffix}",
    }
    for name, description in words.items():
        if name + suffix in table.colnames:
            column = table[name + suffix]
            column.description = description
            column.unit = "mag" if name.startswith("mag") else None


def _strange(mag: Floats, dmag: Floats, bin_mag: float) -> Bools:
    """Return the pairs whose magnitudes differ by much more than those of their bin."""
    is_strange = np.zeros(len(mag), dtype=bool)
    for inside in _in_bins(mag, bin_mag).values():
        has_dmag = inside & np.isfinite(dmag)
        width = robust_width(dmag[has_dmag])
        if width is not None:
            limit = STRANGE_SIGMA * max(width, LEAST_WIDTH_MAG)
            is_strange |= has_dmag & (np.abs(dmag - np.median(dmag[has_dmag])) > limit)
    return is_strange


def _in_bins(mag: Floats, bin_mag: float) -> dict[float, Bools]:
    """Return which magnitudes lie in each bin, by the bright end of the bin."""
    number = np.floor(mag / bin_mag)
    return {float(n * bin_mag): number == n for n in np.unique(number[np.isfinite(number)])}


def _rows(catalog: Catalog, mask: Bools) -> Table:
    order = np.flatnonzero(mask)[np.argsort(catalog.mag[mask], kind="stable")]
    table = Table(
        {"ra": catalog.ra[order], "dec": catalog.dec[order], **_columns_of(catalog, order)},
        units={"ra": "deg", "dec": "deg"},
    )
    _describe(table, catalog)
    return table


def _bins(
    a: Catalog,
    b: Catalog,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    in_overlap: tuple[Bools, Bools],
    bin_mag: float,
) -> Table:
    """Return counts and differences by the magnitude of each catalog."""
    ia, ib = pairs
    found_a, found_b = _at(ia, len(a)), _at(ib, len(b))
    dmag = np.full(len(a), np.nan)
    dmag[ia] = b.mag[ib] - a.mag[ia]
    bins_a, bins_b = _in_bins(a.mag, bin_mag), _in_bins(b.mag, bin_mag)
    nothing_a, nothing_b = np.zeros(len(a), bool), np.zeros(len(b), bool)
    rows = []
    for bright in sorted({*bins_a, *bins_b}):
        in_a, in_b = bins_a.get(bright, nothing_a), bins_b.get(bright, nothing_b)
        finite_dmag = dmag[in_a & np.isfinite(dmag)]
        rows.append(
            (
                bright,
                bright + bin_mag,
                int((in_a & in_overlap[0]).sum()),
                int((in_a & found_a).sum()),
                int((in_b & in_overlap[1]).sum()),
                int((in_b & found_b).sum()),
                float(np.median(finite_dmag)) if len(finite_dmag) else np.nan,
                robust_width(finite_dmag) or np.nan,
            )
        )
    names = ("mag_low", "mag_high", "n_a", "a_in_b", "n_b", "b_in_a", "dmag", "dmag_width")
    kinds = ("f8", "f8", "i8", "i8", "i8", "i8", "f8", "f8")
    return Table(rows=rows or None, names=names, dtype=kinds)
