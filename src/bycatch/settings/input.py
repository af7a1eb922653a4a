"""Settings of the input and of its sorting."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator

from bycatch.settings.limits import MOST_ANGSTROM, MOST_EXPOSURES, MOST_LETTERS, MOST_MJD, MOST_S
from bycatch.settings.section import Section, setting


class InputSettings(Section):
    """What the headers say, for files whose headers do not say it (or say it wrongly)."""

    filter: str = setting(
        "",
        "filter name such as F606W; empty: from FILTER1/FILTER2",
        pattern=r"^[A-Za-z0-9]*$",
        max_length=MOST_LETTERS,
    )
    detector: Literal["", "WFC", "HRC"] = setting("", "ACS detector; empty: from DETECTOR")
    exptime_s: float = setting(0.0, "total exposure time; 0: from EXPTIME", "s", ge=0, le=MOST_S)
    n_exposures: int = setting(
        0, "number of exposures; 0: from the D00nDATA cards", ge=0, le=MOST_EXPOSURES
    )
    photflam: float = setting(
        0.0, "inverse sensitivity; 0: from PHOTFLAM", "erg cm-2 angstrom-1 electron-1", ge=0, le=1
    )
    photplam: float = setting(
        0.0, "pivot wavelength; 0: from PHOTPLAM", "angstrom", ge=0, le=MOST_ANGSTROM
    )
    bunit: Literal["", "electrons/s", "electrons"] = setting(
        "", "unit of the pixels; 'electrons' are divided by the exposure time; empty: from BUNIT"
    )
    mjd: float = setting(
        0.0, "mid-time of the exposures; 0: from EXPSTART and EXPEND", "d", ge=0, le=MOST_MJD
    )
    wht_type: Literal["", "exptime", "ivm", "relative"] = setting(
        "",
        "what WHT holds: 'exptime' seconds, 'ivm' inverse variances, 'relative' a fraction of the "
        "full depth; empty: inferred from its values",
    )
    exposures_dir: str = setting(
        "",
        "folder with the exposures (flc or flt files): their data quality marks saturated "
        "and bad pixels, cosmic rays are found in them, and objects have an epoch in each; the "
        "folder of the image is always searched, too",
        max_length=MOST_LETTERS,
    )
    zeropoint_fallback: bool = setting(
        False, "use the bundled zero points where PHOTFLAM is missing (rows are flagged)"
    )
    verify: bool = setting(
        True,
        "refuse a file that is not whole (fewer extensions than NEXTEND counts, data that do not "
        "add up to DATASUM or CHECKSUM, rows of zeros that have weight) or all of one value",
    )

    NOT_IN_DIGEST: ClassVar[frozenset[str]] = frozenset({"verify"})


MAX_FIELD_BYTES = 64
OWN_NAMES = frozenset({
    "bycatch.log", "export", "figures", "products.json", "report.html", "run.json",
    "settings.toml", "summary.json",
})  # fmt: skip
"""Names that are taken in an output folder."""


class SortSettings(Section):
    """Finding the files and placing them under program/visit and filter."""

    mode: Literal["link", "copy", "move"] = setting(
        "link", "'link' leaves your files unchanged; 'copy' and 'move' copy and move them"
    )
    field: str = setting(
        "",
        "name of the field for all files, a folder name; empty: <program>_<visit>",
        pattern=r"^([^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*)?$",
    )

    @field_validator("field")
    @classmethod
    def _free(cls, value: str) -> str:
        if len(value.encode()) > MAX_FIELD_BYTES:
            msg = f"must have {MAX_FIELD_BYTES} bytes at most, because products are named after it"
            raise ValueError(msg)
        if value.casefold() in OWN_NAMES:
            msg = "is what bycatch calls something else in the output folder"
            raise ValueError(msg)
        return value
