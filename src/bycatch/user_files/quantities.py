"""The words and numbers of a column as numbers in a unit, and as positions on the sky."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from astropy import units
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.errors import SettingsError
from bycatch.tangent import MAS_PER_DEG

MISSING = frozenset(
    [
        *("", '""', "null", "nan", "none", "n/a", "na", "-", "--", "---", "...", "…", "masked"),
        *("<na>", "\\n", "indef", "nil", "undef", "inf", "-inf", "+inf"),
    ]
)
"""Words for no value, in lower case."""
TRUTH = {"true": "1", "false": "0"}
SEXAGESIMAL = re.compile(
    r"([+-]?)\s*(\d+)\s*(h|d|°|:|\s)\s*(\d+)\s*(m|'|′|:|\s)\s*(\d+\.?\d*|\.\d+)\s*(s|\"|″|'')?"
)
SIMPLE_ANGLE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(h|d|deg|°)")
DEG_PER_HOUR = 15.0
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

SEXAGESIMAL_UNITS = {"h:m:s": "hourangle", "hms": "hourangle", "d:m:s": "deg", "dms": "deg",
                     "hh:mm:ss": "hourangle", "dd:mm:ss": "deg"}  # fmt: skip
ALIASES = SEXAGESIMAL_UNITS | {
    "degree": "deg", "degrees": "deg", "degs": "deg", "°": "deg", "d": "deg", "day": "deg",
    "radian": "rad", "radians": "rad", "hours": "hourangle", "hour": "hourangle", "hr": "hourangle",
    "h": "hourangle", "hrs": "hourangle", "arcseconds": "arcsec", "arcsecs": "arcsec",
    '"': "arcsec", "arcseconds/yr": "arcsec / yr", "milliarcsec": "mas", "milliarcseconds": "mas",
    "microarcsec": "uas", "µas": "uas", "arcminutes": "arcmin", "'": "arcmin",
    "pixels": "pix", "px": "pix", "pixel": "pix", "year": "yr", "years": "yr", "jyear": "yr",
    "mags": "mag", "magnitude": "mag", "magnitudes": "mag", "mas/year": "mas / yr",
    "msec": "mas",
}  # fmt: skip
"""Names of units that are common in tables, and not astropy's.  No angle is in days."""
NO_UNIT = frozenset({"", "-", "--", "none", "null", "dimensionless", "unitless"})
SKY_SYSTEMS = re.compile(r"(?i)(icrs|(eq_)?fk5( *j?2000(\.0)?)?|)$")


def known_unit(text: str) -> units.UnitBase | None:
    """Return the unit that a word names; None where it names none."""
    word = text.strip()
    if word.lower() in NO_UNIT:
        return None
    word = ALIASES.get(word.lower(), word)
    for spelling in (word, word.lower()):
        try:
            unit = units.Unit(spelling)
        except (ValueError, TypeError):
            continue
        return unit if unit.bases else None  # 2000 is a scale, and no unit
    return None


def _unit_text(column: Any) -> str:
    """Return how the table writes the unit of a column; '' for none."""
    meta = getattr(column.info, "meta", None) or {}
    own = getattr(column, "unit", None)
    text = str(meta.get("unit") or ("" if own is None else own)).strip()
    return "" if text.lower() in NO_UNIT else text


def has_unit(table: Table, name: str) -> bool:
    """Tell whether a column says what its numbers are in."""
    return bool(_unit_text(table[name]))


def number_or_none(word: str) -> float | None:
    """Return the number that a word is, NaN for one that stands for none; None for other words."""
    text = word.strip().replace("−", "-")
    if text.lower() in MISSING:
        return float("nan")
    try:
        # Python takes 1_000 for a number, Fortran writes 1.0D+03.
        if "_" not in text and text.isascii():
            return float(re.sub(r"[dD](?=[+-]?\d+$)", "e", text))
    except ValueError:
        pass
    return None


def is_value(word: str) -> bool:
    """Tell whether a word is a number or an angle, and no name of a column."""
    text = word.strip().replace("−", "-")
    return text.lower() not in MISSING and (
        number_or_none(text) is not None
        or SEXAGESIMAL.fullmatch(text.lower()) is not None
        or DECIMAL_COMMA.fullmatch(text) is not None
    )


def words_of(table: Table, name: str, label: str) -> tuple[list[str], Any] | None:
    """Return a column of text as words and which are missing; None for a column of numbers."""
    column = table[name]
    data = np.ma.asarray(column)
    if data.ndim != 1:
        raise SettingsError(
            f"{label}: column {name} holds more than one value per row",
            hint="give a column of numbers",
        )
    if data.dtype.kind not in "USO":
        return None
    words = [
        (v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)).strip()
        for v in np.ma.getdata(data).tolist()
    ]
    no_value = np.array([word.lower() in MISSING for word in words], dtype=bool)
    missing = np.ma.getmaskarray(data) | no_value
    return words, missing


def numbers(table: Table, name: str, unit: str, label: str) -> Floats:
    """Return a column as numbers in a unit, NaN where missing.

    Parameters
    ----------
    table, name : the table and the name of its column
    unit : what the numbers are wanted in; '' for plain numbers
    label : what messages call the table

    Raises
    ------
    SettingsError
        A word that is no number (named with its row), or a unit of another kind.
    """
    factor = _factor(table[name], name, unit, label)
    text = words_of(table, name, label)
    if text is None:
        data: Any = np.ma.asarray(getattr(table[name], "value", table[name]))
        if data.dtype.kind not in "biuf":
            raise SettingsError(
                f"{label}: column {name} does not hold numbers ({data.dtype})",
                hint="give a column of numbers",
            )
        return np.ma.filled(data.astype(np.float64), np.nan) * factor
    words, missing = text
    return _numbers_of(words, missing, name, label) * factor


def _numbers_of(words: list[str], missing: NDArray[np.bool_], name: str, label: str) -> Floats:
    values = np.full(len(words), np.nan)
    rows = np.flatnonzero(~missing)
    try:
        if not any("_" in word for word in words):
            values[rows] = np.array([words[row] for row in rows], dtype="U").astype(np.float64)
            return values
    except ValueError:  # word by word, then
        pass
    for row in rows:
        value = number_or_none(TRUTH.get(words[row].lower(), words[row]))
        if value is None:
            comma = DECIMAL_COMMA.fullmatch(words[row]) is not None
            raise SettingsError(
                f"{label}: column {name} does not hold numbers "
                f"(row {row + 1}: '{words[row][:40]}')",
                hint="write decimal points, not commas" if comma else "correct this row",
            )
        values[row] = value
    return values


def _factor(column: Any, name: str, target: str, label: str) -> float:
    """Return what turns a column's own unit into the one that is wanted."""
    text = _unit_text(column)
    if not text or not target:
        return 1.0
    if target == "mag":
        if "mag" not in text.lower():
            raise _wrong_unit(label, name, text, target)
        return 1.0
    own = known_unit(text)
    if own is None or not own.is_equivalent(target):
        raise _wrong_unit(label, name, text, target)
    return float(own.to(target))


def _wrong_unit(label: str, name: str, unit: str, target: str) -> SettingsError:
    return SettingsError(
        f"{label}: column {name} is in '{unit[:40]}', which can't be converted to {target}",
        hint=f"correct its unit, or give it in {target}",
    )


def rounding_note(table: Table, names: tuple[str, str], label: str) -> str:
    """Return what single precision costs positions on the sky, in words; '' where it is double."""
    for name in names:
        data = np.ma.asarray(getattr(table[name], "value", table[name]))
        if data.dtype.kind == "f" and data.dtype.itemsize < 8 and len(data):
            step_deg = float(np.max(np.ma.filled(np.spacing(np.abs(data)), 0)))
            step_mas = step_deg * _factor(table[name], name, "deg", label) * MAS_PER_DEG
            return f"{label}: column {name} has single precision: rounded to {step_mas:.2g} mas"
    return ""


def sky_positions(table: Table, ra_name: str, dec_name: str, label: str) -> tuple[Floats, Floats]:
    """Return right ascension in [0, 360) and declination, degrees; NaN where missing.

    Numbers are degrees unless the column has another unit; words are degrees, or hours (right
    ascension) and degrees, minutes and seconds.  Right ascensions from -180 to 540 are brought
    into the circle.

    Raises
    ------
    SettingsError
        What is no position, named by column and row.
    """
    ra = _angles(table, ra_name, label, is_ra=True)
    dec = _angles(table, dec_name, label, is_ra=False)
    for name, values, low, high in ((ra_name, ra, -180.0, 540.0), (dec_name, dec, -90.0, 90.0)):
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise SettingsError(
                f"{label}: column {name} has {values[wrong[0]]:.9g} degrees in row {wrong[0] + 1}: "
                "no positions in degrees",
                hint="give degrees, or name the unit; leave missing values empty",
            )
    return np.where((ra < 0) | (ra >= 360), ra % 360.0, ra), dec


def _angles(table: Table, name: str, label: str, *, is_ra: bool) -> Floats:
    """Return a column of angles in degrees, NaN where missing."""
    meta = getattr(table[name].info, "meta", None) or {}
    if not SKY_SYSTEMS.match(str(meta.get("system", ""))):
        raise SettingsError(
            f"{label}: column {name} is in the system {meta['system']}", hint="give ICRS positions"
        )
    text = words_of(table, name, label)
    if text is None or all(number_or_none(word) is not None for word in text[0]):
        return numbers(table, name, "deg", label)
    words, missing = text
    factor = _factor(table[name], name, "deg", label)
    in_hours = bool(np.isclose(factor, DEG_PER_HOUR)) if has_unit(table, name) else is_ra
    values = np.full(len(words), np.nan)
    for row in np.flatnonzero(~missing):
        value = _angle(words[row], factor, in_hours=in_hours)
        if value is None:
            comma = DECIMAL_COMMA.fullmatch(words[row]) is not None
            raise SettingsError(
                f"{label}: column {name} does not hold numbers or angles "
                f"(row {row + 1}: '{words[row][:40]}')",
                hint="write decimal points, not commas" if comma else
                "write degrees, or h:m:s for right ascension and d:m:s for declination",
            )  # fmt: skip
        values[row] = value
    return values


def _angle(word: str, factor: float, *, in_hours: bool) -> float | None:
    """Return the degrees that a word means; None if it means none."""
    text = word.lower().replace("−", "-").strip()
    match = SEXAGESIMAL.fullmatch(text)
    if match:
        sign, whole, mark, minutes, _, seconds, _ = match.groups()
        in_hours = mark == "h" or (mark not in "d°" and in_hours)
        if float(minutes) >= 60 or float(seconds) > 60 or (in_hours and int(whole) > 24):
            return None
        value = int(whole) + float(minutes) / 60 + float(seconds) / 3600
        return (-value if sign == "-" else value) * (DEG_PER_HOUR if in_hours else 1.0)
    match = SIMPLE_ANGLE.fullmatch(text)
    if match:
        return float(match[1]) * (DEG_PER_HOUR if match[2] == "h" else 1.0)
    number = number_or_none(text)
    return None if number is None else number * factor


def sky_position(ra: str, dec: str) -> tuple[float, float]:
    """Return a position in degrees, from degrees or sexagesimal text (hours and degrees).

    Raises
    ------
    SettingsError
        It can't be read, or is no position.
    """
    from astropy.coordinates import Angle

    try:
        # Only text with colons, blanks or letters is sexagesimal: '10.5' is degrees.
        unit = "hourangle" if re.search(r"[:hms ]", str(ra).strip()) else "deg"
        ra_deg = float(Angle(str(ra), unit=unit).deg)
        dec_deg = float(Angle(str(dec), unit="deg").deg)
    except (ValueError, TypeError) as err:
        raise SettingsError(
            f"--radec {ra} {dec}: not a position ({err})",
            hint="write degrees (150.1 2.2), or 10:00:24 +02:12:00",
        ) from err
    if not (np.isfinite(ra_deg) and abs(dec_deg) <= 90):
        raise SettingsError(
            f"--radec {ra} {dec}: the declination is beyond the poles",
            hint="give right ascension and declination in degrees",
        )
    return ra_deg % 360.0, dec_deg
