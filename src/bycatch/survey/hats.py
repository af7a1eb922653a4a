"""The files of a HATS catalog: partitions in Parquet, and what says where they are and what of.

HATS (Hierarchical Adaptive Tiling Scheme) is the layout that ``lsdb`` and ``hats`` read.  We write
its few small files ourselves: the library's writers drop units, UCDs and descriptions of columns,
and to import it takes seconds.  The tests read all of it with ``lsdb``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bycatch.stages.objects.identity import ORDER
from bycatch.survey.arrow import library
from bycatch.survey.notes import Layout, Leaf, Notes
from bycatch.survey.sky import Cell
from bycatch.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 4_096
"""Rows that are read at once: few for a cone, and enough for a pass over all of them."""
HATS_VERSION = "v1.0"
KIND = {"object": "object", "epoch": "source", "image": "object", "exposure": "object"}


def leaf_path(root: Path, cell: Cell) -> Path:
    """Return where a partition of a catalog lies."""
    name = f"Norder={cell.order}/Dir={cell.pixel // 10_000 * 10_000}/Npix={cell.pixel}.parquet"
    return root / "dataset" / name


def catalog_folder(survey: Path, table: str) -> Path:
    """Return where the partitions of a table lie."""
    return survey / table / table


def margin_folder(survey: Path, table: str) -> Path:
    """Return where the margins of a table lie."""
    return survey / table / f"{table}_margin"


def write_leaf(table: pa.Table, path: Path) -> None:
    """Write a partition: sorted rows, with minimum and maximum of each row group."""
    parquet = library("pyarrow.parquet", "a survey")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        parquet.write_table(
            table, stream, compression="zstd", row_group_size=ROW_GROUP, write_page_index=True
        )


def read_leaf(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a partition."""
    parquet = library("pyarrow.parquet", "a survey")
    with path.open("rb") as stream:
        return parquet.read_table(stream, columns=columns, use_threads=False)


def read_schema(folder: Path) -> pa.Schema:
    """Return the schema of a catalog."""
    parquet = library("pyarrow.parquet", "a survey")
    with (folder / "dataset" / "_common_metadata").open("rb") as stream:
        return parquet.read_schema(stream)


def write_catalog(
    survey: Path, table: str, layout: Layout, schema: pa.Schema, notes: Notes
) -> list[str]:
    """Write what describes a table; return the names of what is in its collection."""
    builder = {
        "hats_builder": f"bycatch v{__version__}",
        "hats_creation_date": notes.made,
        "hats_version": HATS_VERSION,
    }
    common = {
        "obs_collection": table,
        "hats_nrows": str(layout.rows),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": str(ORDER),
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": str(notes.most_rows),
        "hats_order": str(max((leaf.order for leaf in layout.leaves), default=0)),
        "obs_title": f"{notes.name}: {table}",
    }
    folder = catalog_folder(survey, table)
    _describe(folder, {**common, "dataproduct_type": KIND[table], **builder}, layout.leaves, schema)
    collection = {"obs_collection": table, "hats_primary_table_url": table, **builder}
    if layout.margins:
        rows = sum(leaf.rows for leaf in layout.margins)
        margin = {
            **common,
            "obs_collection": f"{table}_margin",
            "hats_nrows": str(rows),
            "dataproduct_type": "margin",
            "hats_primary_table_url": table,
            "hats_margin_threshold": f"{notes.margin_arcsec:g}",
            **builder,
        }
        _describe(margin_folder(survey, table), margin, layout.margins, schema)
        collection |= {"all_margins": f"{table}_margin", "default_margin": f"{table}_margin"}
    _properties(survey / table / "collection.properties", collection)
    return [table, *([f"{table}_margin"] if layout.margins else [])]


def _describe(
    folder: Path, properties: Mapping[str, str], leaves: Iterable[Leaf], schema: pa.Schema
) -> None:
    parquet = library("pyarrow.parquet", "a survey")
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    for name in ("hats.properties", "properties"):
        _properties(folder / name, properties)
    lines = ["Norder,Npix", *(f"{leaf.order},{leaf.pixel}" for leaf in leaves)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n", encoding="ascii")
    with (folder / "dataset" / "_common_metadata").open("wb") as stream:
        parquet.write_metadata(schema, stream)


def _properties(path: Path, values: Mapping[str, str]) -> None:
    """Write a file of properties, as Java reads it."""
    lines = [f"{key}={_escape(value)}" for key, value in values.items()]
    path.write_text("#HATS catalog\n" + "\n".join(lines) + "\n", encoding="ascii")


def _escape(text: str) -> str:
    r"""Return a value for a file of properties: all but ASCII as \uXXXX."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")
