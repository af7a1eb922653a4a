"""One query of a survey, as `bycatch query` makes it, and the file of its result."""

from __future__ import annotations

from pathlib import Path

from astropy.table import Table

from bycatch.catalogs.tables import write_by_suffix
from bycatch.pipeline.lists import read_positions
from bycatch.survey.places import sky_table
from bycatch.survey.query import open_survey


def ask(
    path: Path,
    *,
    sql: str = "",
    cone: tuple[float, float, float] | None = None,
    light_curve: int | None = None,
    match: Path | None = None,
    radius_arcsec: float = 0.5,
    output: Path | None = None,
) -> Table:
    """Return the result of one query, and write it to a file if one is named.

    Parameters
    ----------
    path : folder of the survey
    sql : a SELECT; asked if there is nothing of what follows
    cone : right ascension and declination, deg, and radius, arcsec
    light_curve : object_id
    match : file with positions
    radius_arcsec : of the match
    output : file of the answer; its suffix is the format
    """
    with open_survey(path) as survey:
        if cone is not None:
            table = survey.cone(*cone)
        elif light_curve is not None:
            table = survey.light_curve(light_curve)
        elif match is not None:
            table = survey.crossmatch(sky_table(read_positions(match, "--match")), radius_arcsec)
        else:
            table = survey.sql(sql)
    if output is not None:
        write_by_suffix(table, output)
    return table
