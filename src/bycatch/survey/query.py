"""Queries of a survey: SQL, cones, boxes, light curves, cross-matches; results have units.

DuckDB reads the Parquet files of the survey where they are.  It may read nothing else, and write
nothing: it has no access to other files, and takes no statements but SELECT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from bycatch.arrays import Ints
from bycatch.catalogs.object_columns import looks
from bycatch.catalogs.survey_columns import TABLES, read_first
from bycatch.errors import SettingsError
from bycatch.stages.objects.identity import ORDER, healpix_ids
from bycatch.survey.arrow import about_field, astropy_table, library
from bycatch.survey.hats import catalog_folder, leaf_path, read_schema
from bycatch.survey.notes import read_notes
from bycatch.survey.places import SEPARATION_SQL, positions_of, separation_arcsec
from bycatch.survey.sky import (
    Cell,
    Partitions,
    cells_at,
    cone_order,
    cone_ranges,
    neighbours_of,
)

SEPARATION = {
    "unit": "arcsec",
    "ucd": "pos.angDistance",
    "description": "distance from the position that was asked for",
}
MOST_RADIUS_ARCSEC = 60.0
"""Of a cross-match."""
_POSITION_OF_EPOCH_ARCSEC = 5.0
"""How far an object may be from where it was first found; else it is looked for everywhere."""


def open_survey(path: str | Path) -> Survey:
    """Open a survey for queries.

    ::

        with bycatch.open_survey("survey") as survey:
            red = survey.sql("SELECT * FROM object WHERE colour_F606W_F814W > 1.5")
            near = survey.cone(150.1, 2.2, 10.0)

    Parameters
    ----------
    path : folder that `bycatch survey build` made

    Raises
    ------
    SettingsError
        It is no survey, or duckdb is not installed.
    """
    return Survey(Path(path))


class Survey:
    """A survey on the disk; use it in a ``with`` block, or call `close`.

    Attributes
    ----------
    path : its folder
    notes : its groups, tables and numbers
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.notes = read_notes(self.path)
        self._partitions = {
            table: Partitions([leaf.cell for leaf in self.notes.tables[table].leaves])
            for table in TABLES
        }
        self._files: dict[tuple[str, Cell], tuple[Any, Ints, Ints]] = {}
        self._connection = self._connect()

    def __enter__(self) -> Survey:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        numbers = self.notes.summary
        return (
            f"<Survey {self.notes.name}: {numbers['n_objects']} objects, "
            f"{numbers['n_images']} images, {', '.join(numbers['filters'])}>"
        )

    def close(self) -> None:
        """Close the files."""
        self._connection.close()
        for file, *_ in self._files.values():
            file.close()
        self._files.clear()

    @property
    def filters(self) -> list[str]:
        """Filters, from blue to red."""
        return list(self.notes.summary["filters"])

    @cached_property
    def footprint(self) -> Any:
        """What the survey covers, a MOC of mocpy."""
        return library("mocpy", "a footprint").MOC.load(self.path / "footprint.fits", "fits")

    @cached_property
    def _about(self) -> dict[str, dict[str, dict[str, str]]]:
        """Unit, UCD and description of the columns of each table."""
        schemas = {table: read_schema(catalog_folder(self.path, table)) for table in TABLES}
        return {table: {f.name: about_field(f) for f in schemas[table]} for table in TABLES}

    def columns(self, table: str = "object") -> Table:
        """Return the names, units, UCDs and descriptions of the columns of a table."""
        about = self._about[self._check_table(table)]
        return Table(
            {
                "name": list(about),
                **{k: [a[k] for a in about.values()] for k in ("unit", "ucd", "description")},
            }
        )

    # ---- questions ---------------------------------------------------------------------

    def sql(self, query: str) -> Table:
        """Return what a SELECT over the tables object, epoch, image and exposure gives.

        A column of the answer that has the name of one of the survey's has its unit.

        Raises
        ------
        SettingsError
            It is not one SELECT, or has an error.
        """
        duckdb = library("duckdb", "a query")
        try:
            statements = self._connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise SettingsError(
                    "only one SELECT can be asked at a time",
                    hint="a survey is read-only",
                )
            words = set(re.findall(r"[a-z]+", query.lower()))
            return self._answer(statements[0], [table for table in TABLES if table in words])
        except duckdb.Error as err:
            text = " ".join(str(err).split("\n\n")[0].split())
            raise SettingsError(f"SQL: {text}", hint="survey.columns() lists the columns") from err

    def cone(
        self,
        ra_deg: float,
        dec_deg: float,
        radius_arcsec: float,
        *,
        table: str = "object",
        columns: Sequence[str] | None = None,
    ) -> Table:
        """Return the rows of a table within a circle, the nearest first.

        Parameters
        ----------
        ra_deg, dec_deg : centre, ICRS
        radius_arcsec : of the circle
        table : object, epoch, image or exposure
        columns : those that are wanted; None: all
        """
        if not (abs(dec_deg) <= 90 and math.isfinite(ra_deg) and 0 < radius_arcsec <= 180 * 3600):
            raise SettingsError(
                f"a cone at {ra_deg:g} {dec_deg:g} of {radius_arcsec:g} arcsec",
                hint="right ascension and declination in degrees, the radius in arcsec",
            )
        ranges = cone_ranges(ra_deg, dec_deg, radius_arcsec / 3600.0)
        rows = self._in_ranges(ranges, self._check_table(table), columns, ("ra", "dec"))
        far = separation_arcsec(np.asarray(rows["ra"]), np.asarray(rows["dec"]), ra_deg, dec_deg)
        order = np.argsort(far, kind="stable")
        order = order[far[order] <= radius_arcsec]
        pa = library("pyarrow", "a survey")
        names = self._column_names(table, columns)
        nearest_first = (
            rows.select(names).take(order).append_column("separation", pa.array(far[order]))
        )
        return self._table_of(nearest_first, [table])

    def box(
        self,
        ra_deg: tuple[float, float],
        dec_deg: tuple[float, float],
        *,
        table: str = "object",
        columns: Sequence[str] | None = None,
    ) -> Table:
        """Return the rows of a table between two right ascensions and two declinations.

        Parameters
        ----------
        ra_deg : from, to (eastward): (359, 1) is two degrees wide
        dec_deg : from, to
        table, columns : as for `cone`
        """
        (west, east), (south, north) = map(_two_numbers, (ra_deg, dec_deg))
        if south > north:
            raise SettingsError(
                f"a box of declinations from {south:g} to {north:g}", hint="the southern one first"
            )
        inside = f"dec BETWEEN {south!r} AND {north!r}"
        if east - west < 360.0:
            west, east = west % 360.0, east % 360.0
            joint = "AND" if west <= east else "OR"
            inside += f" AND (ra >= {west!r} {joint} ra <= {east!r})"
        names = self._names(self._check_table(table), columns)
        return self._answer(
            f'SELECT {names} FROM "{table}" WHERE {inside} ORDER BY _healpix_29', [table]
        )

    def light_curve(self, object_id: int) -> Table:
        """Return an object over its exposures, or images where they were not at hand.

        Sorted by filter and time.

        Parameters
        ----------
        object_id : of the table object
        """
        from astropy import units
        from astropy_healpix import HEALPix

        number = int(object_id)
        if not 0 <= number < 12 << (2 * ORDER):
            raise SettingsError(f"object_id {number}: no HEALPix cell", hint="see survey.cone()")
        grid = HEALPix(nside=2**ORDER, order="nested")
        ra, dec = (v.to_value(units.deg) for v in grid.healpix_to_lonlat(number))
        ranges = cone_ranges(float(ra), float(dec), _POSITION_OF_EPOCH_ARCSEC / 3600.0)
        rows = self._in_ranges(ranges, "epoch", None, ("object_id",))
        rows = rows.filter(np.asarray(rows["object_id"]) == number)
        order = [(name, "ascending") for name in ("filter", "mjd", "image", "exposure")]
        if len(rows):
            table = self._table_of(rows.sort_by(order), ["epoch"])
        else:  # it has moved by more
            names = self._names("epoch", None)
            table = self._answer(
                f"SELECT {names} FROM epoch WHERE object_id = {number} "
                "ORDER BY filter, mjd, image, exposure",
                ["epoch"],
            )
        return table[looks(table["image"], table["exposure"])]

    def crossmatch(
        self,
        positions: Table | SkyCoord,
        radius_arcsec: float = 0.5,
        *,
        columns: Sequence[str] | None = None,
        nearest: bool = True,
    ) -> Table:
        """Return the objects near positions.

        Parameters
        ----------
        positions : a table with columns ra and dec in degrees, or coordinates
        radius_arcsec : of the match
        columns : of the objects; None: identifiers, positions, probabilities and magnitudes
        nearest : only the nearest object of each position

        Returns
        -------
        Table
            ``row`` is the number of the position, from 0, ``separation`` the distance, arcsec.
        """
        if not 0 < radius_arcsec <= MOST_RADIUS_ARCSEC:
            raise SettingsError(
                f"a match within {radius_arcsec:g} arcsec",
                hint=f"at most {MOST_RADIUS_ARCSEC:g} arcsec",
            )
        pa = library("pyarrow", "a cross-match")
        ra, dec = positions_of(positions)
        rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90))
        usual = read_first(self.notes.tables["object"].columns)
        column_names = usual if columns is None else columns
        names = self._names("object", column_names, "o.")
        order = cone_order(radius_arcsec / 3600.0)
        cells = cells_at(healpix_ids(ra[rows], dec[rows]), order)
        around = neighbours_of(cells, order)  # (9, N)
        where, there = np.nonzero(around.T >= 0)
        near = pa.table(
            {
                "row": rows[where],
                "cell": around.T[where, there],
                "ra0": ra[rows][where],
                "dec0": dec[rows][where],
            }
        )
        shift = 2 * (ORDER - order)
        numbers = self._partitions["object"].of_cells(np.unique(near["cell"].to_numpy()), order)
        paths = [self._path("object", k) for k in numbers]
        first = "QUALIFY row_number() OVER (PARTITION BY row ORDER BY separation) = 1"
        source = _source(paths) if paths else '(SELECT * FROM "object" LIMIT 0)'
        self._connection.register("asked", near)
        try:
            return self._answer(
                f"SELECT p.row AS row, {names}, {SEPARATION_SQL} AS separation FROM {source} AS o "
                f"JOIN asked AS p ON (o._healpix_29 >> {shift}) = p.cell "
                f"WHERE separation <= {float(radius_arcsec)!r} {first if nearest else ''} "
                "ORDER BY row, separation"
            )
        finally:
            self._connection.unregister("asked")

    # ---- how they are asked --------------------------------------------------------------

    def _connect(self) -> Any:
        duckdb = library("duckdb", "a query")
        connection = duckdb.connect(":memory:")
        folders = [catalog_folder(self.path, table) / "dataset" for table in TABLES]
        paths_allowed = ", ".join(_quote(str(folder)) for folder in folders)
        for setting in (
            "temp_directory = ''",
            f"allowed_directories = [{paths_allowed}]",
            "python_enable_replacements = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "parquet_metadata_cache = true",
            "enable_external_access = false",
        ):
            connection.execute(f"SET {setting}")
        for table in TABLES:
            paths = [self._path(table, k) for k in range(len(self._partitions[table].cells))]
            # Of a table without rows: its columns.
            paths = paths or [catalog_folder(self.path, table) / "dataset" / "_common_metadata"]
            connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM {_source(paths)}')
        connection.execute("SET lock_configuration = true")
        return connection

    def _path(self, table: str, number: int) -> Path:
        return leaf_path(catalog_folder(self.path, table), self._partitions[table].cells[number])

    def _in_ranges(
        self,
        ranges: Iterable[tuple[int, int]],
        table: str,
        columns: Sequence[str] | None,
        more: Sequence[str],
    ) -> Any:
        """Return the rows in ranges of cells of order 29, as a table of Arrow.

        Not by DuckDB: to take in a query with all columns takes it longer than to answer it.
        """
        pa = library("pyarrow", "a survey")
        names = list(dict.fromkeys([*self._column_names(table, columns), *more]))
        parts = []
        by_leaf: dict[Cell, list[tuple[int, int]]] = {}
        for cell, low, high in self._partitions[table].in_ranges(ranges):
            by_leaf.setdefault(cell, []).append((low, high))
        for cell, within in by_leaf.items():
            file, least, most = self._file(table, cell)
            groups = np.flatnonzero(np.any([(least < b) & (most >= a) for a, b in within], axis=0))
            if not groups.size:
                continue
            ids = np.asarray(file.read_row_groups(groups, ["_healpix_29"])["_healpix_29"])
            is_inside = np.any([(ids >= a) & (ids < b) for a, b in within], axis=0)
            if is_inside.any():
                parts.append(
                    file.read_row_groups(groups, names, use_threads=False).filter(is_inside)
                )
        if parts:
            return pa.concat_tables(parts)
        return read_schema(catalog_folder(self.path, table)).empty_table()

    def _file(self, table: str, cell: Cell) -> tuple[Any, Ints, Ints]:
        """Return a partition, and the least and greatest cell of its row groups."""
        entry = self._files.get((table, cell))
        if entry is None:
            parquet = library("pyarrow.parquet", "a survey")
            file = parquet.ParquetFile(leaf_path(catalog_folder(self.path, table), cell))
            column = file.schema_arrow.get_field_index("_healpix_29")
            limits = [
                file.metadata.row_group(k).column(column).statistics
                for k in range(file.metadata.num_row_groups)
            ]
            low, high = (np.array([getattr(s, k) for s in limits]) for k in ("min", "max"))
            entry = self._files[table, cell] = (file, low, high)
        return entry

    def _answer(self, query: Any, tables: Sequence[str] = TABLES) -> Table:
        """Return the answer to a query over some tables."""
        return self._table_of(self._connection.sql(query).to_arrow_table(), tables)

    def _table_of(self, rows: Any, tables: Sequence[str]) -> Table:
        """Return rows as a table of astropy; what columns mean is what they do in some tables."""
        about = {"separation": SEPARATION}
        for table in reversed(tables):
            about |= self._about[table]
        return astropy_table(rows, about)

    def _check_table(self, table: str) -> str:
        if table not in TABLES:
            raise SettingsError(f"no table '{table}'", hint=f"there are {', '.join(TABLES)}")
        return table

    def _names(self, table: str, columns: Collection[str] | None, prefix: str = "") -> str:
        """Return columns as SQL, quoted."""
        return ", ".join(f'{prefix}"{name}"' for name in self._column_names(table, columns))

    def _column_names(self, table: str, columns: Collection[str] | None) -> list[str]:
        """Return the names of columns that are wanted, and there."""
        columns_there = self.notes.tables[table].columns
        names = (
            [c for c in columns_there if c != "_healpix_29"] if columns is None else list(columns)
        )
        lacking = [name for name in names if name not in columns_there]
        if lacking or not names:
            raise SettingsError(
                f"the table {table} has no column '{', '.join(lacking)}'",
                hint="survey.columns() lists the columns",
            )
        return names


def _source(paths: Sequence[Path]) -> str:
    path_list = ", ".join(_quote(str(path)) for path in paths)
    return f"read_parquet([{path_list}], hive_partitioning = false)"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _two_numbers(pair: tuple[float, float]) -> tuple[float, float]:
    first, second = (float(value) for value in pair)
    if not (math.isfinite(first) and math.isfinite(second)):
        raise SettingsError(f"a box from {first} to {second}", hint="give degrees")
    return first, second
