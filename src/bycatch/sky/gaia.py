"""Reference stars: their table, wherever it comes from, and their positions at any epoch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bycatch.arrays import Floats
from bycatch.catalogs.reference_columns import REFERENCE
from bycatch.errors import SettingsError
from bycatch.tangent import MAS_PER_DEG
from bycatch.user_files.quantities import has_unit, numbers, rounding_note, sky_positions, words_of
from bycatch.user_files.user_tables import find_column, read_user_table

if TYPE_CHECKING:
    from astropy.table import Table


EPOCH_DR3 = 2016.0
GOOD_RUWE = 1.4
SIGNIFICANT = 3.0
"""A parallax counts where it exceeds this many of its errors."""
EPOCHS = (1900.0, 2100.0)
"""Julian years that an epoch may have: a Julian date in its place moves stars by arcminutes."""
LEAST_ERROR_MAS = 0.002
"""Gaia's best errors are 0.007 mas: a column without a unit all below this is not in mas."""
MOST_NAMES = 8
"""Columns of a table that a message names."""
IDENTIFIER = re.compile(r"(?i)(?:gaia\s*e?dr\d+\s*)?([+-]?\d+)")
LARGEST_EXACT = 2**53
"""Whole numbers above this are rounded in double precision."""
_MAS_PER_RAD = 180.0 / np.pi * MAS_PER_DEG
MJD_J2000 = 51544.5


COLUMNS = {column.name: column for column in REFERENCE}
"""By the names of the Gaia archive (gaiadr3.gaia_source)."""
VIZIER = {
    "source_id": "Source",
    "ra": "RA_ICRS",
    "dec": "DE_ICRS",
    "ra_error": "e_RA_ICRS",
    "dec_error": "e_DE_ICRS",
    "pmra": "pmRA",
    "pmdec": "pmDE",
    "pmra_error": "e_pmRA",
    "pmdec_error": "e_pmDE",
    "parallax": "Plx",
    "parallax_error": "e_Plx",
    "phot_g_mean_mag": "Gmag",
    "ruwe": "RUWE",
    "duplicated_source": "Dup",
}
"""Their names in VizieR's copy (I/355/gaiadr3), which has no epoch."""
# RAJ2000/DEJ2000 are no variants on purpose: they are at another epoch than ref_epoch.
VARIANTS: dict[str, tuple[str, ...]] = {
    "source_id": ("sourceid", "gaia_id"),
    "ra": ("radeg", "ra_deg", "_ra_icrs", "right_ascension", "alpha"),
    "dec": (
        "dedeg", "decdeg", "dec_deg", "de_deg", "dec_icrs", "_de_icrs", "declination", "decl",
        "de", "delta",
    ),
    "ra_error": ("e_radeg", "e_ra"),
    "dec_error": ("e_dedeg", "e_dec", "e_dec_icrs"),
    "pmra": ("pm_ra",),
    "pmdec": ("pm_dec",),
    "pmra_error": ("pm_ra_error",),
    "pmdec_error": ("pm_dec_error", "e_pmdec"),
    "parallax_error": ("e_parallax",),
    "ref_epoch": ("epoch", "refepoch"),
    "phot_g_mean_mag": ("g_mag", "mag_g"),
}  # fmt: skip
"""Their names in other tables."""


@dataclass(frozen=True)
class ReferenceStars:
    """Reference stars with one known set of columns.

    Attributes
    ----------
    table : `~astropy.table.Table`
        The columns of `COLUMNS`, with units and descriptions; what is missing is NaN.
    origin : str
        Service and table, or name of the file.
    """

    table: Table
    origin: str

    def __len__(self) -> int:
        return len(self.table)

    @property
    def release(self) -> str:
        """The release of the catalog; 'unknown' where nothing names it."""
        return str(self.table.meta.get("release", "unknown"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the table is in doubt."""
        return tuple(str(note) for note in self.table.meta.get("notes", ()))

    @property
    def epoch(self) -> float:
        """The Julian year of the positions as the catalog gives them; NaN without stars."""
        return float(np.median(self._values("ref_epoch"))) if len(self) else float("nan")

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Stars that may be used: not those of which Gaia has mixed up two."""
        return np.asarray(self._values("duplicated_source") != 1, dtype=np.bool_)

    def positions_at(self, mjd: float) -> tuple[Floats, Floats]:
        """Return right ascension and declination at an epoch as seen from the Earth, in degrees.

        Each star moves along its great circle from ``ref_epoch`` on, and by its parallax
        where it has a significant one; a star without a measured proper motion stays.

        Parameters
        ----------
        mjd : float
            Modified Julian date; the time scale does not matter at this level.
        """
        ra, dec = np.deg2rad(self._values("ra")), np.deg2rad(self._values("dec"))
        years = self._years_to(mjd)
        seen_east, seen_north = self._parallax_shift(mjd)
        east = (np.nan_to_num(self._values("pmra")) * years + seen_east) / _MAS_PER_RAD
        north = (np.nan_to_num(self._values("pmdec")) * years + seen_north) / _MAS_PER_RAD
        sin_ra, cos_ra, sin_dec, cos_dec = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
        # Unit vectors, so that the poles need no special care.
        x = cos_dec * cos_ra - east * sin_ra - north * sin_dec * cos_ra
        y = cos_dec * sin_ra + east * cos_ra - north * sin_dec * sin_ra
        z = sin_dec + north * cos_dec
        moved_ra = np.rad2deg(np.arctan2(y, x)) % 360.0
        moved_dec = np.rad2deg(np.arctan2(z, np.hypot(x, y)))
        return moved_ra, moved_dec

    def errors_at(
        self, mjd: float, typical_motion_mas_yr: float, spread_yr: float = 0.0
    ) -> tuple[Floats, Floats]:
        """Return the errors of the positions at an epoch, in mas; NaN where unknown.

        The error of the proper motion grows with the years from ``ref_epoch``; a
        star without a measured motion gets ``typical_motion_mas_yr`` instead.  Its motion
        times ``spread_yr``, the rms spread of the times of the exposures, is added.  A motion
        without an error gets the error of the position, which in Gaia DR3 is the
        same number within 30 % (Lindegren et al. 2021, A&A 649, A2, table 4).
        Errors are multiplied by ``ruwe`` where it exceeds 1.4, the limit of good fits: it is the
        root of the normalised chi square of the star's own fit (Lindegren 2018,
        GAIA-C3-TN-LU-LL-124).
        """
        years = np.abs(self._years_to(mjd))
        shifts = self._parallax_factors(mjd)
        parallax_error = np.nan_to_num(self._values("parallax_error"))
        ruwe = self._values("ruwe")
        worse = np.where(ruwe > GOOD_RUWE, ruwe, 1.0)
        errors = []
        for axis, shift in zip(("ra", "dec"), shifts, strict=True):
            position = self._values(f"{axis}_error")
            motion = self._values(f"pm{axis}_error")
            motion = np.where(np.isfinite(motion), motion, np.nan_to_num(position))
            has_motion = np.isfinite(self._values(f"pm{axis}"))
            position_error = np.hypot(position, parallax_error * shift)
            motion_in_spread = np.nan_to_num(self._values(f"pm{axis}")) * spread_yr
            errors.append(
                np.where(
                    has_motion,
                    np.hypot(worse * np.hypot(position_error, motion * years), motion_in_spread),
                    np.hypot(
                        worse * position_error, typical_motion_mas_yr * np.hypot(years, spread_yr)
                    ),
                )
            )
        return errors[0], errors[1]

    def _values(self, name: str) -> Floats:
        return np.asarray(self.table[name], dtype=np.float64)

    def _years_to(self, mjd: float) -> Floats:
        if not np.isfinite(mjd):  # time unknown: the stars stay where the catalog has them
            return np.zeros(len(self))
        return _julian_year(mjd) - self._values("ref_epoch")

    def _parallax_factors(self, mjd: float) -> tuple[Floats, Floats]:
        """Return how far east and north a parallax of 1 shifts each star."""
        if not np.isfinite(mjd):
            return np.zeros(len(self)), np.zeros(len(self))
        return parallax_shift(self._values("ra"), self._values("dec"), _julian_year(mjd))

    def _parallax_shift(self, mjd: float) -> tuple[Floats, Floats]:
        """Return the shifts by the significant parallaxes, mas."""
        parallax = self._values("parallax")
        is_significant = parallax > SIGNIFICANT * self._values("parallax_error")
        if not is_significant.any():
            return np.zeros(len(self)), np.zeros(len(self))
        east, north = self._parallax_factors(mjd)
        value = np.where(is_significant, parallax, 0.0)
        return value * east, value * north


def parallax_shift(ra_deg: Floats, dec_deg: Floats, epoch: float) -> tuple[Floats, Floats]:
    """Return how far east and north a parallax of 1 shifts stars, seen from the Earth.

    Parameters
    ----------
    ra_deg, dec_deg : (N,) float
    epoch : Julian year
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    # The time scale and the satellite's orbit make no difference of 0.001. The ephemeris is part
    # of astropy; quiet, as it complains of years before 1900 and after 2100.
    with quiet():
        time = Time(epoch, format="jyear", scale="tdb")
        earth = get_body_barycentric("earth", time, ephemeris="builtin")
    x, y, z = earth.xyz.to_value("au")
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    east = x * np.sin(ra) - y * np.cos(ra)
    north = (x * np.cos(ra) + y * np.sin(ra)) * np.sin(dec) - z * np.cos(dec)
    return np.asarray(east), np.asarray(north)


def _julian_year(mjd: float) -> float:
    return 2000.0 + (mjd - MJD_J2000) / 365.25


def from_table(table: Table, origin: str) -> ReferenceStars:
    """Bring a table of stars into the columns of `COLUMNS`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns under the names of the Gaia archive, of VizieR's copy, or common
        variants, in any case; units are converted where they are given, and angles may be
        written as h:m:s and d:m:s.  Only
        right ascension and declination are needed: missing errors and motions
        become NaN, the epoch 2016.0, the identifier the row number from 1.
        Rows without a position are left out.
    origin : str
        What to call the table in messages and in the metadata.

    Raises
    ------
    SettingsError
        No usable positions, values that are not numbers, or units of another kind.
    """
    from astropy.table import Table

    column_of = _column_names(table, origin)
    lacking = [name for name in ("ra", "dec") if name not in column_of]
    if lacking:
        raise SettingsError(
            f"{origin}: not a table of stars: no column for {' and '.join(lacking)} "
            f"among its columns ({_shortened(table.colnames)})",
            hint="name the ICRS positions ra and dec, in degrees",
        )
    identifiers, notes = _identifiers(table, column_of.get("source_id"), origin)
    notes += filter(None, [rounding_note(table, (column_of["ra"], column_of["dec"]), origin)])
    positions = dict(
        zip(
            ("ra", "dec"),
            sky_positions(table, column_of["ra"], column_of["dec"], origin),
            strict=True,
        )
    )
    stars = Table()
    for name, column in COLUMNS.items():
        if name == "source_id":
            stars[name] = identifiers
        elif name in positions:
            stars[name] = positions[name]
        elif name in column_of:
            stars[name] = _values_of(table, name, column_of[name], origin)
        else:
            stars[name] = np.full(len(table), np.nan)
        stars[name].unit = column.unit or None
        stars[name].description = column.meaning
    epoch = np.asarray(stars["ref_epoch"])
    stars["ref_epoch"][~np.isfinite(epoch)] = EPOCH_DR3
    stars = stars[np.isfinite(stars["ra"]) & np.isfinite(stars["dec"])]
    if len(table) and not len(stars):
        raise SettingsError(
            f"{origin}: none of its {len(table)} rows has a position",
            hint="give right ascension and declination in degrees",
        )
    sent_by = str(table.meta.get("origin") or origin)  # of a table that was stored
    stars.meta = {"origin": sent_by, "release": _release(table, origin)}
    if notes:
        stars.meta["notes"] = notes
    return ReferenceStars(table=stars, origin=origin)


def _shortened(names: list[str]) -> str:
    """Return the first of many names."""
    more = len(names) - MOST_NAMES
    listed = ", ".join(names[:MOST_NAMES]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed


def _column_names(table: Table, origin: str) -> dict[str, str]:
    """Return the name in the table of each known column that it has."""
    column_of = {}
    for name in COLUMNS:
        vizier = [VIZIER[name]] if name in VIZIER else []
        own = find_column(table, [name, *vizier, *VARIANTS.get(name, ())], origin)
        if own is not None:
            column_of[name] = own
    return column_of


def _values_of(table: Table, name: str, own_name: str, origin: str) -> Floats:
    """Return a column in the unit of `COLUMNS`, NaN where missing; what can't be is refused."""
    values = numbers(_plain_epoch(table, own_name) if name == "ref_epoch" else table,
                     own_name, COLUMNS[name].unit, origin)  # fmt: skip
    wrong, why = np.zeros(len(values), dtype=bool), ""
    if name == "ref_epoch":
        wrong, why = (values < EPOCHS[0]) | (values > EPOCHS[1]), "no Julian year"
    elif name.endswith("_error"):
        wrong, why = values < 0, "no error"
        largest = np.max(values[np.isfinite(values)], initial=0.0)
        if not has_unit(table, own_name) and 0 < largest < LEAST_ERROR_MAS:
            wrong, why = values > 0, "too small for an error in mas"
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise SettingsError(
            f"{origin}: column {own_name} has {values[rows[0]]:g} in row {rows[0] + 1}: {why}",
            hint=f"name its unit, or give it in {COLUMNS[name].unit}",
        )
    return values


def _plain_epoch(table: Table, name: str) -> Table:
    """Return the column of epochs alone, without the J of words like J2016.0."""
    from astropy.table import Table

    text = words_of(table, name, "")
    if text is None:
        return table
    words, missing = text
    years = [word.lstrip("Jj") for word in words]
    return Table({name: np.ma.array(years, mask=missing, dtype="U")})


def _identifiers(
    table: Table, name: str | None, origin: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the source identifiers, or row numbers from 1 where there are none; and notes."""
    ids = np.arange(1, len(table) + 1, dtype=np.int64)
    notes = [str(note) for note in table.meta.get("notes", [])]
    if name is None:
        return ids, notes
    text = words_of(table, name, origin)
    if text is None:
        column = np.ma.asarray(getattr(table[name], "value", table[name]))
        missing = np.ma.getmaskarray(column)
        if column.dtype.kind == "f":
            missing = missing | np.isnan(column.data)
        values = column.data.tolist()
    else:
        values, missing = text
    is_rounded = False
    for row in np.flatnonzero(~missing):
        try:
            # Never by way of floats, which lose the last digits.
            match = IDENTIFIER.fullmatch(values[row]) if text else None
            number = int(match[1]) if match else int(float(values[row]) if text else values[row])
            ids[row] = number
        except (ValueError, OverflowError) as err:
            raise SettingsError(
                f"{origin}: column {name} does not hold identifiers "
                f"(row {row + 1}: '{str(values[row])[:40]}')",
                hint="write whole numbers, or leave the column out",
            ) from err
        is_float = isinstance(values[row], float) or (text is not None and match is None)
        is_rounded = is_rounded or (is_float and abs(number) > LARGEST_EXACT)
    if is_rounded:
        notes.append(
            f"{origin}: column {name} holds rounded numbers: the last digits of source_id are lost"
        )
    return ids, notes


def _release(table: Table, origin: str) -> str:
    """Return the release as far as the table or its origin names it."""
    return str(table.meta.get("release") or release_name(origin) or "unknown")


def release_name(text: str) -> str:
    """Return the Gaia release that a name of a table, a file or a service contains, or ''."""
    return "Gaia DR3" if any(t in text.lower() for t in ("dr3", "i/355")) else ""


def read_local(path: str | Path) -> ReferenceStars:
    """Read reference stars from a table of any format that `read_user_table` knows.

    Raises
    ------
    SettingsError
        The file can't be read, or lacks positions.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as err:
        raise _unreadable(path, err) from err
    return _read_version(path, status.st_size, status.st_mtime_ns)


def _unreadable(path: Path, err: Exception) -> SettingsError:
    return SettingsError(f"{path}: can't be read ({err})", hint="check the path given with --gaia")


@lru_cache(maxsize=4)
def _read_version(path: Path, size: int, changed_ns: int) -> ReferenceStars:  # noqa: ARG001
    """Read a file once for each of its versions: each step of each image asks for it."""
    return from_table(read_user_table(path).table, str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings of table readers: odd units and missing metadata do no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
