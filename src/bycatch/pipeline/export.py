"""The tables of a finished run in other formats, as ds9 regions, or as one table of all images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_classes import POINT
from bycatch.catalogs.tables import SUFFIXES, read_table, write_table
from bycatch.errors import SettingsError
from bycatch.pipeline.object_regions import object_regions
from bycatch.products import ImageRecord, find_records, own_folder
from bycatch.products.group_state import group_folder, group_names, table_path
from bycatch.system.disk import atomic
from bycatch.system.each import of_each
from bycatch.system.words import printable

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.compare import Comparison

REGIONS = "reg"
FORMATS = (*SUFFIXES, REGIONS)
FOLDER = "export"
GROUP_KINDS = ("objects", "objects_clean", "epochs", "images")
"""Tables of groups, not of images."""
CIRCLE_ARCSEC = 0.2
# Colours of Okabe & Ito, which colour-blind people can tell apart.
COLOURS = {"cosmic ray": "#D55E00", "flagged": "#E69F00", "extended": "#0072B2", "point": "#009E73"}


@dataclass(frozen=True, eq=False)
class Product:
    """A table of one image, or of one group.

    Attributes
    ----------
    name : of the file
    table : its rows
    of : columns that say what it is of, in a table of several
    """

    name: str
    table: Table
    of: tuple[tuple[str, str], ...] = ()


def export(
    out: str | Path,
    formats: Sequence[str],
    kind: str = "cat",
    folder: str | Path | None = None,
    *,
    merged: bool = False,
) -> list[Path]:
    """Write the tables of a finished run in other formats; return the files.

    Parameters
    ----------
    out : output folder of the run
    formats : of ecsv, fits, csv, parquet, votable, and reg for ds9 regions
    kind : which tables: cat, cat_noCRs, phot, sources, ...: the end of the product's name; of the
        groups of overlapping images objects, objects_clean, epochs, images
    folder : where the files go; ``OUT/export`` by default
    merged : one table of all images, ``<kind>.<format>``, that says field, filter and image of
        each row; of groups, which group it is of

    Raises
    ------
    SettingsError
        There is no such format or product.
    """
    bad_formats = [name for name in formats if name not in FORMATS]
    if bad_formats or not formats:
        raise SettingsError(
            f"there is no format '{', '.join(bad_formats)}'",
            hint=f"choose from {', '.join(FORMATS)}",
        )
    out = Path(out)
    of_groups = kind in GROUP_KINDS
    products = list((_group_products if of_groups else _image_products)(out, kind))
    if not products:
        what = "group of images" if of_groups else "image"
        raise SettingsError(
            f"{out}: no {what} has a product *_{kind}.ecsv",
            hint="run 'bycatch run' first; 'cat', 'phot', 'sources' and 'objects' are kinds",
        )
    target = Path(folder) if folder else own_folder(out / FOLDER)
    if merged:
        products = [Product(kind, merged_table(products))]
    paths = []
    for product in products:
        for form in dict.fromkeys(formats):
            path = target / f"{product.name}{SUFFIXES.get(form, f'.{form}')}"
            _write(product.table, path, form)
            paths.append(path)
    return paths


def _write(table: Table, path: Path, form: str) -> None:
    with atomic(path) as partial:
        if form == REGIONS:
            partial.write_text(_regions(table), encoding="utf-8")
        else:
            write_table(table, partial, form)


def _image_products(out: Path, kind: str) -> Iterator[Product]:
    """Give the table of each image, if it has one."""

    def product(record: ImageRecord) -> list[Product]:
        path = record.paths(out).product(kind)
        if not path.exists():
            return []
        of = (("image", record.root), ("filter", record.filter), ("field", record.field))
        return [Product(path.stem, read_table(path), of)]

    for products in of_each(find_records(out), product, lambda record: record.label):
        yield from products


def _group_products(out: Path, kind: str) -> Iterator[Product]:
    """Give the table of each group, if it has one."""
    for name in group_names(out):
        path = table_path(group_folder(out, name), name, kind)
        if path.exists():
            yield Product(f"{name}_{kind}", read_table(path), (("group", name),))


def merged_table(products: Sequence[Product]) -> Table:
    """Return the rows of several images as one table.

    Columns that only some images have are missing in the rows of the others.  Of the metadata
    what all images have in common is kept.
    """
    from astropy.table import Column, vstack

    parts = []
    for product in products:
        part = product.table.copy(copy_data=False)
        for name, value in product.of:
            words = np.full(len(part), printable(value))
            column = Column(words, name=name, description=f"{name} of the row")
            part.add_column(column, index=0)
        part.meta = {}
        parts.append(part)
    table = vstack(parts, join_type="outer", metadata_conflicts="silent")
    metas = [product.table.meta for product in products]
    table.meta = {
        key: value
        for key, value in metas[0].items()
        if all(key in meta and meta[key] == value for meta in metas)
    }
    return table


def _regions(table: Table) -> str:
    """Return the rows of a table as ds9 regions."""
    return object_regions(table) if "object_id" in table.colnames else ds9_regions(table)


def ds9_regions(table: Table) -> str:
    """Return the rows of a table as ds9 regions: on the sky where it has positions there.

    Colours distinguish cosmic rays, flagged, extended and point sources; the text is the row's id.
    Pixel positions of ds9 count from 1.
    """
    sky = "RA_GAIA_WCS" in table.colnames
    x, y = ("RA_GAIA_WCS", "DEC_GAIA_WCS") if sky else _pixel_names(table)
    first, second = _values(table, x, np.nan), _values(table, y, np.nan)
    size = f'{CIRCLE_ARCSEC}"' if sky else "4"
    lines = ["# Region file format: DS9 version 4.1", "icrs" if sky else "image"]
    for number, a, b, what in zip(table["id"], first, second, kinds(table), strict=True):
        if np.isfinite(a) and np.isfinite(b):
            place = f"{a:.8f},{b:.8f}" if sky else f"{a + 1:.3f},{b + 1:.3f}"
            lines.append(f"circle({place},{size}) # color={COLOURS[what]} text={{{number}}}")
    return "\n".join(lines) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the tables of a comparison and its figure; return the files."""
    from importlib.util import find_spec

    tables = {
        "matches": comparison.matches,
        "only_a": comparison.only_a,
        "only_b": comparison.only_b,
        "bins": comparison.bins,
    }
    paths = []
    for name, table in tables.items():
        path = folder / f"compare_{name}.ecsv"
        table.meta |= {
            "A": comparison.a.name,
            "B": comparison.b.name,
            "SUMMARY": comparison.summary(),
        }
        with atomic(path) as partial:
            write_table(table, partial)
        paths.append(path)
    if find_spec("matplotlib") is not None:
        from bycatch.figures.comparison import comparison_figure

        path = folder / "compare.png"
        with atomic(path) as partial:
            comparison_figure(comparison).savefig(partial, format="png", dpi=150)
        paths.append(path)
    return paths


def _pixel_names(table: Table) -> tuple[str, str]:
    for names in (("x_center", "y_center"), ("x", "y")):
        if set(names) <= set(table.colnames):
            return names
    raise SettingsError("the table has no positions", hint="export cat, phot or sources as regions")


def kinds(table: Table) -> list[str]:
    """Return the kind of each row, a key of `COLOURS`."""
    n = len(table)
    flags = _values(table, "flags", np.zeros(n)).astype(np.int64)
    cosmic = _values(table, "p_cr", (flags & int(Flag.COSMIC_RAY)) > 0) > 0.5
    is_extended = _values(table, "p_star", np.ones(n)) < POINT
    harmless = int(Flag.SINGLE_EXPOSURE | Flag.NO_EXPOSURE_MAP | Flag.FALLBACK_ZEROPOINT)
    has_flag = (flags & ~harmless) > 0
    names = np.select(
        [cosmic, has_flag, is_extended], ["cosmic ray", "flagged", "extended"], "point"
    )
    return [str(name) for name in names]


def _values(table: Table, name: str, default: Any) -> Any:
    if name not in table.colnames:
        return np.asarray(default, dtype=float)
    return np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)
