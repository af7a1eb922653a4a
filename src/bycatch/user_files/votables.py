"""VOTables, read so that none can make the program fetch an address."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

if TYPE_CHECKING:
    from astropy.table import Table

MAX_CELL_VALUES = 1_000_000
"""Most values that a cell may be declared to hold: memory is taken before any is read."""


class VOTableError(ValueError):
    """A VOTable that is not read: damaged, or not to be trusted."""


@dataclass(frozen=True, eq=False)
class VOTable:
    """What is read of a VOTable.

    Attributes
    ----------
    tables : every table in it, by its name
    status : the last QUERY_STATUS of a service's answer ('OK', 'OVERFLOW', 'ERROR', or '')
    message : the text of the status
    """

    tables: list[tuple[str, Table]]
    status: str = ""
    message: str = ""


def read_votable(content: bytes) -> VOTable:
    """Read every table of a VOTable.

    Raises
    ------
    VOTableError
        It is damaged, refers to an address for its data, or declares entities.
    """
    from astropy.io.votable import parse

    scan = _scan(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd units and missing metadata do no harm
            tree = parse(BytesIO(content), verify="ignore")
            tables = [
                (str(part.name or part.ID or f"table {k}"), _table(part, scan.systems))
                for k, part in enumerate(tree.iter_tables(), start=1)
            ]
    except Exception as err:  # the reader raises what it stumbles over
        raise VOTableError(f"a damaged VOTable ({type(err).__name__}: {err})") from err
    return VOTable(tables, scan.status, " ".join("".join(scan.words).split()))


class _Scan:
    """One pass over the XML before astropy sees it: what it refers to, and a service's status."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.status = ""
        self.words: list[str] = []
        self.systems: dict[str, str] = {}
        self._in_status = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Look at an element."""
        element = name.rpartition(":")[2].upper()
        value_of = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
        # LINK and schemaLocation name addresses too, which are never opened.
        if element in {"STREAM", "INCLUDE", "PARQUET"} and "href" in value_of:
            raise VOTableError(f"its data lie at another address ({value_of['href'][:100]})")
        if element == "TABLE" and _number(value_of.get("nrows", "")) > self.size:
            raise VOTableError(f"it declares {value_of['nrows'][:20]} rows")
        if element == "COOSYS":
            system = f"{value_of.get('system', '')} {value_of.get('equinox', '')}"
            self.systems[value_of.get("id", "")] = system.strip()
        if element in {"FIELD", "PARAM"}:
            self._check_cell(value_of.get("arraysize", ""))
        if element == "INFO" and value_of.get("name", "").upper() == "QUERY_STATUS":
            self.status, self.words, self._in_status = value_of.get("value", "").upper(), [], True

    def _check_cell(self, array_size: str) -> None:
        values = 1
        for part in array_size.replace("*", "").split("x"):
            values *= max(_number(part), 1)
        if values > MAX_CELL_VALUES:
            raise VOTableError(f"it declares cells of {array_size[:30]} values")

    def end(self, name: str) -> None:
        """Leave an element."""
        self._in_status = self._in_status and name.rpartition(":")[2].upper() != "INFO"

    def text(self, words: str) -> None:
        """Keep what the status says."""
        if self._in_status:
            self.words.append(words)

    @staticmethod
    def entity(name: str, *_: Any) -> None:
        """Refuse any entity of its own: they nest without end, and name files."""
        raise VOTableError(f"it declares an entity ({name[:40]})")


def _scan(content: bytes) -> _Scan:
    parser = expat.ParserCreate()
    scan = _Scan(len(content))
    parser.StartElementHandler = scan.start
    parser.EndElementHandler = scan.end
    parser.CharacterDataHandler = scan.text
    parser.EntityDeclHandler = scan.entity
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except expat.ExpatError as err:
        raise VOTableError(f"a damaged VOTable ({err})") from err
    return scan


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


def _table(part: Any, systems: dict[str, str]) -> Table:
    """Return a table under the names of its fields; a name that comes twice is numbered."""
    names: list[str] = []
    for name in (field.name or field.ID for field in part.fields):
        names.append(f"{name}#{names.count(name) + 1}" if name in names else name)
    table = part.to_table()
    columns = list(table.itercols())
    for column, field in zip(columns, part.fields, strict=True):
        column.info.meta = {"system": systems.get(field.ref or "", "")}
    return type(table)(columns, names=names, meta=table.meta, copy=False)
