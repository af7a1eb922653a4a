"""Reference stars: their table, wherever it comes from, and their positions at any epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bycatch import ecsv
from bycatch.errors import SettingsError

if TYPE_CHECKING:
    from astropy.table import Table

Floats = npt.NDArray[np.float64]

EPOCH_DR3 = 2016.0
GOOD_RUWE = 1.4
SIGNIFICANT = 3.0
"""A parallax counts where it exceeds this many of its errors."""
_MAS_PER_RAD = 180.0 / np.pi * 3.6e6
_MJD_J2000 = 51544.5


@dataclass(frozen=True)
class _Column:
    """A column of the reference table: unit, meaning, and the names it comes under."""

    unit: str
    description: str
    vizier: str
    variants: tuple[str, ...] = ()


# Names of the Gaia archive (gaiadr3.gaia_source) and of VizieR's copy (I/355/gaiadr3).
# RAJ2000/DEJ2000 are no variants on purpose: they are at another epoch than ref_epoch.
COLUMNS: dict[str, _Column] = {
    "source_id": _Column("", "Gaia source identifier", "Source", ("sourceid", "gaia_id")),
    "ra": _Column("deg", "right ascension (ICRS) at ref_epoch", "RA_ICRS", ("radeg",)),
    "dec": _Column("deg", "declination (ICRS) at ref_epoch", "DE_ICRS", ("dedeg", "dec_icrs")),
    "ra_error": _Column("mas", "error of ra, times cos(dec)", "e_RA_ICRS", ("e_radeg", "e_ra")),
    "dec_error": _Column("mas", "error of dec", "e_DE_ICRS", ("e_dedeg", "e_dec", "e_dec_icrs")),
    "pmra": _Column("mas / yr", "proper motion in ra, times cos(dec)", "pmRA", ("pm_ra",)),
    "pmdec": _Column("mas / yr", "proper motion in dec", "pmDE", ("pm_dec",)),
    "pmra_error": _Column("mas / yr", "error of pmra", "e_pmRA", ("pm_ra_error",)),
    "pmdec_error": _Column("mas / yr", "error of pmdec", "e_pmDE", ("pm_dec_error", "e_pmdec")),
    "parallax": _Column("mas", "parallax", "Plx"),
    "parallax_error": _Column("mas", "error of the parallax", "e_Plx", ("e_parallax",)),
    "ref_epoch": _Column("yr", "epoch of ra and dec (Julian year)", "", ("epoch", "refepoch")),
    "phot_g_mean_mag": _Column("mag", "mean G magnitude (Vega)", "Gmag", ("g_mag",)),
    "ruwe": _Column("", "renormalised unit weight error of the astrometry", "RUWE"),
    "duplicated_source": _Column("", "1: Gaia found it twice; its data may be mixed up", "Dup"),
}


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

    def errors_at(self, mjd: float, typical_motion_mas_yr: float) -> tuple[Floats, Floats]:
        """Return the errors of the positions at an epoch, in mas; NaN where unknown.

        The error of the proper motion grows with the years from ``ref_epoch``; a
        star without a measured motion gets ``typical_motion_mas_yr`` instead.  A motion
        without an error gets the error of the position, which in Gaia DR3 is the
        same number within 30 % (Lindegren et al. 2021, A&A 649, A2, table 4).
        Errors are multiplied by ``ruwe`` where it exceeds 1.4, the limit of good fits: it is the
        root of the normalised chi square of the star's own fit (Lindegren 2018,
        GAIA-C3-TN-LU-LL-124).
        """
        years = np.abs(self._years_to(mjd))
        shifts = self._seen(mjd)
        parallax_error = np.nan_to_num(self._values("parallax_error"))
        ruwe = self._values("ruwe")
        worse = np.where(ruwe > GOOD_RUWE, ruwe, 1.0)
        errors = []
        for axis, shift in zip(("ra", "dec"), shifts, strict=True):
            position = self._values(f"{axis}_error")
            motion = self._values(f"pm{axis}_error")
            motion = np.where(np.isfinite(motion), motion, np.nan_to_num(position))
            measured = np.isfinite(self._values(f"pm{axis}"))
            known = np.hypot(position, parallax_error * shift)
            errors.append(
                np.where(
                    measured,
                    worse * np.hypot(known, motion * years),
                    np.hypot(worse * known, typical_motion_mas_yr * years),
                )
            )
        return errors[0], errors[1]

    def _values(self, name: str) -> Floats:
        return np.asarray(self.table[name], dtype=np.float64)

    def _years_to(self, mjd: float) -> Floats:
        if not np.isfinite(mjd):  # time unknown: the stars stay where the catalog has them
            return np.zeros(len(self))
        return _julian_year(mjd) - self._values("ref_epoch")

    def _seen(self, mjd: float) -> tuple[Floats, Floats]:
        """Return how far east and north a parallax of 1 shifts each star."""
        if not np.isfinite(mjd):
            return np.zeros(len(self)), np.zeros(len(self))
        return parallax_shift(self._values("ra"), self._values("dec"), _julian_year(mjd))

    def _parallax_shift(self, mjd: float) -> tuple[Floats, Floats]:
        """Return the shifts by the significant parallaxes, mas."""
        parallax = self._values("parallax")
        known = parallax > SIGNIFICANT * self._values("parallax_error")
        if not known.any():
            return np.zeros(len(self)), np.zeros(len(self))
        east, north = self._seen(mjd)
        value = np.where(known, parallax, 0.0)
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
    return 2000.0 + (mjd - _MJD_J2000) / 365.25


def from_table(table: Table, origin: str) -> ReferenceStars:
    """Bring a table of stars into the columns of `COLUMNS`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns under the names of the Gaia archive, of VizieR's copy, or common
        variants, in any case; units are converted where they are given.  Only
        right ascension and declination are needed: missing errors and motions
        become NaN, the epoch 2016.0, the identifier the row number from 1.
        Rows without a position are left out.
    origin : str
        What to call the table in messages and in the metadata.

    Raises
    ------
    SettingsError
        No usable positions, or values that are not numbers.
    """
    from astropy.table import Table

    found = _found_columns(table.colnames)
    lacking = {"ra", "dec"} - set(found)
    if lacking:
        raise SettingsError(
            f"{origin}: no column for {' and '.join(sorted(lacking))} among the columns found: "
            f"{', '.join(table.colnames) or 'none'}",
            hint="name the ICRS positions ra and dec, in degrees",
        )
    stars = Table()
    for name, column in COLUMNS.items():
        if name == "source_id":
            stars[name] = _identifiers(table, found.get(name), origin)
        elif name in found:
            stars[name] = _float_values(table, found[name], column.unit, origin)
        else:
            stars[name] = np.full(len(table), np.nan)
        stars[name].unit = column.unit or None
        stars[name].description = column.description
    epoch = np.asarray(stars["ref_epoch"])
    stars["ref_epoch"][~np.isfinite(epoch)] = EPOCH_DR3
    stars = stars[np.isfinite(stars["ra"]) & np.isfinite(stars["dec"])]
    if len(table) and not len(stars):
        raise SettingsError(f"{origin}: none of its {len(table)} rows has a position")
    if np.any(np.abs(stars["dec"]) > 90.0) or np.any(np.abs(stars["ra"]) > 360.0):
        raise SettingsError(
            f"{origin}: columns {found['ra']}, {found['dec']} are no positions in degrees"
        )
    sent_by = str(table.meta.get("origin") or origin)  # of a table that was stored
    stars.meta = {"origin": sent_by, "release": _release(table, origin)}
    return ReferenceStars(table=stars, origin=origin)


def _found_columns(names: list[str]) -> dict[str, str]:
    """Return the name in the table of each known column that it has."""
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    found = {}
    for name, column in COLUMNS.items():
        for variant in (name, column.vizier.lower(), *column.variants):
            if variant and variant in by_lower:
                found[name] = by_lower[variant]
                break
    return found


def _float_values(table: Table, name: str, unit: str, origin: str) -> Floats:
    """Return a column as floats in a unit, NaN where masked."""
    column = table[name]
    try:
        data: Any = np.ma.asarray(getattr(column, "value", column))
        if data.dtype.kind == "U":  # some tables write true and false
            data = np.ma.array(_as_numbers(data), mask=np.ma.getmaskarray(data))
        data = data.astype(np.float64)
        values: Floats = np.array(np.ma.filled(data, np.nan), dtype=np.float64)
        return values * _unit_factor(column, unit)
    except (ValueError, TypeError) as err:
        raise SettingsError(f"{origin}: column {name} does not hold numbers ({err})") from err


def _as_numbers(words: Any) -> Any:
    """Return words with truth values written as numbers."""
    plain = np.strings.lower(np.strings.strip(words.data))
    return np.select([plain == "true", plain == "false", plain == ""], ["1", "0", "nan"], plain)


def _unit_factor(column: Any, unit: str) -> float:
    """Return what turns a column's own unit into ours; 1 where it names none that can be read."""
    from astropy import units

    own = getattr(column, "unit", None)
    if own is None or not unit or isinstance(own, units.UnrecognizedUnit):
        return 1.0
    if unit == "mag" or not own.is_equivalent(unit):
        return 1.0
    return float(own.to(unit))


def _identifiers(table: Table, name: str | None, origin: str) -> npt.NDArray[np.int64]:
    """Return the source identifiers, or row numbers from 1 where the table has none."""
    numbers = np.arange(1, len(table) + 1, dtype=np.int64)
    if name is None:
        return numbers
    column = np.ma.asarray(getattr(table[name], "value", table[name]))
    known = ~np.ma.getmaskarray(column)
    try:
        # Text as well as integers; never by way of floats, which lose the last digits.
        if column.dtype.kind == "f" and not np.isfinite(column.data[known]).all():
            raise ValueError("not all are finite")
        numbers[known] = column.data[known].astype(np.int64)
    except (ValueError, TypeError, OverflowError) as err:
        raise SettingsError(f"{origin}: column {name} does not hold identifiers ({err})") from err
    return numbers


def _release(table: Table, origin: str) -> str:
    """Return the release as far as the table or its origin names it."""
    return str(table.meta.get("release") or release_name(origin) or "unknown")


def release_name(text: str) -> str:
    """Return the Gaia release that a name of a table, a file or a service contains, or ''."""
    return "Gaia DR3" if any(t in text.lower() for t in ("dr3", "i/355")) else ""


def read_local(path: str | Path) -> ReferenceStars:
    """Read reference stars from a local ECSV, FITS, CSV or VOTable file.

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
    from astropy.table import Table

    options: dict[str, Any] = {"format": _table_format(path)}
    if options["format"] == "ascii.csv":
        options["fill_values"] = [("", "0"), ("null", "0"), ("NULL", "0"), ("nan", "0")]
    if options["format"] == "votable":
        # The first table; a VizieR file may hold several.
        options |= {"table_id": 0, "use_names_over_ids": True}
    try:
        with quiet():
            is_ecsv = options["format"] == "ascii.ecsv"
            table = ecsv.read(path) if is_ecsv else Table.read(path, **options)
    except Exception as err:  # each format's reader has errors of its own
        raise SettingsError(
            f"{path}: can't be read as a table of stars ({options['format']}): "
            f"{type(err).__name__}: {err}",
            hint="give an ECSV, FITS, CSV or VOTable file",
        ) from err
    return from_table(table, str(path))


def _table_format(path: Path) -> str:
    """Tell the format from the first bytes, which a wrong suffix can't spoil."""
    import gzip

    try:
        with path.open("rb") as file:
            head = file.read(2)
        with gzip.open(path) if head == b"\x1f\x8b" else path.open("rb") as file:
            head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, EOFError) as err:
        raise _unreadable(path, err) from err
    if head.startswith(b"SIMPLE"):
        return "fits"
    if head.startswith(b"# %ECSV"):
        return "ascii.ecsv"
    if head.startswith((b"<?xml", b"<VOTABLE", b"<!--")):
        return "votable"
    return "ascii.csv"


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings of table readers: odd units and missing metadata do no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
