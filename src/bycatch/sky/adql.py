"""The query for the stars in a circle, as TAP services want it."""

from __future__ import annotations

from bycatch.sky.answers import Circle
from bycatch.sky.gaia import COLUMNS, VIZIER

OPTIONAL = ("ruwe", "duplicated_source")
"""Columns that a copy of the catalog may lack: it is asked again without them."""


def adql_query(
    table: str,
    circle: Circle,
    faint_limit_mag: float = 0.0,
    *,
    count: bool = False,
    between_dec_deg: tuple[float, float] | None = None,
    without: tuple[str, ...] = (),
) -> str:
    """Return the ADQL of a cone search, in the column names of the table's host.

    Parameters
    ----------
    table : str
        Name of the table; one that starts with a VizieR catalogue number (``I/355/gaiadr3``)
        is asked by VizieR's column names.
    circle : tuple of three floats
        Right ascension and declination of the centre, radius; degrees.
    faint_limit_mag : float
        Faintest G magnitude; 0 for no limit.
    count : bool
        Ask for the number of rows only.
    between_dec_deg : tuple of two floats, optional
        Declinations of a band of the circle: the first included, the second not.
    without : tuple of str
        Names in `COLUMNS` that are not asked for.
    """
    vizier = "/" in table
    quoted_name = {k: f'"{v}"' for k, v in VIZIER.items()} if vizier else {k: k for k in COLUMNS}
    names = [v for k, v in quoted_name.items() if k not in without]
    columns = "COUNT(*) AS n" if count else ", ".join(names)
    ra, dec, radius = circle
    query = (
        f"SELECT {columns} FROM {_quoted_table(table)} WHERE 1 = CONTAINS("  # noqa: S608
        f"POINT('ICRS', {quoted_name['ra']}, {quoted_name['dec']}), "
        f"CIRCLE('ICRS', {ra:.9f}, {dec:.9f}, {radius:.9f}))"
    )
    if between_dec_deg is not None:
        low, high = between_dec_deg
        query += f" AND {quoted_name['dec']} >= {low:.9f} AND {quoted_name['dec']} < {high:.9f}"
    if faint_limit_mag > 0:
        query += f" AND {quoted_name['phot_g_mean_mag']} <= {faint_limit_mag:g}"
    return query


def _quoted_table(table: str) -> str:
    return f'"{table.strip(chr(34))}"' if "/" in table else table
