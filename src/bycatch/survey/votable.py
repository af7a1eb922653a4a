"""Objects, epochs and images as one VOTable: frame, time scale, UCDs, units of the VO."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from bycatch.system.disk import Batch
from bycatch.system.words import printable

if TYPE_CHECKING:
    from bycatch.survey.release import Content

MEANING = {
    "objects": "stars and galaxies",
    "epochs": "each object in each image and exposure",
    "images": "the images",
}


def write(content: Content, batch: Batch) -> None:
    """Write the file."""
    path = batch.folder / f"{content.release.name}.vot"
    title = f"{content.release.title} {content.release.version}"
    write_votable(batch.partial(path), content.tables, title, content.notes.creator)


def write_votable(path: Path, tables: dict[str, Table], title: str, creator: str) -> None:
    """Write tables as a document of the VO.

    Parameters
    ----------
    path : of the file
    tables : by name
    title, creator : what it says of itself
    """
    from astropy.io.votable.tree import CooSys, Info, Resource, TableElement, TimeSys, VOTableFile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the VO finds erg and Angstrom old, and the field does not
        file = VOTableFile(version="1.4")
        file.description = printable(title)
        resource = Resource(type="results")
        resource.infos.append(Info(name="CREATOR", value=printable(creator)))
        resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
        resource.time_systems.append(
            TimeSys(ID="mjd", timeorigin="MJD-origin", timescale="UTC", refposition="GEOCENTER")
        )
        file.resources.append(resource)
        for name, table in tables.items():
            element = TableElement.from_table(file, _plain(table))
            element.name = element.ID = name
            element.description = MEANING.get(name, name)
            for field in element.fields:
                _describe(field, table[field.name])
            resource.tables.append(element)
        file.to_xml(str(path))


def _describe(field: Any, column: Any) -> None:
    """Enter in a field what a column is."""
    field.ID = None  # readers go by the names
    field.ucd = (column.info.meta or {}).get("ucd") or None
    field.description = column.description or None
    field.unit = str(column.unit.to_string("vounit")) if column.unit else None
    if field.name in {"ra", "dec"}:
        field.ref = "icrs"
    elif "mjd" in field.name:
        field.ref = "mjd"


def _plain(table: Table) -> Table:
    """Return a table without units, which are entered in the words of the VO."""
    plain = table.copy(copy_data=False)
    for name in plain.colnames:
        column = plain[name]
        if column.dtype.kind == "U":  # of any length: one letter has a form of its own
            plain[name] = np.asarray(column, dtype=object)
            continue
        column.unit = None
        column.meta = {}
    plain.meta = {}
    return plain
