"""Reference stars: from a TAP service or a local table, at any epoch.

The only module that asks the network.  It knows tables and the sky, not images.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bycatch.errors import NoReferenceStars, SettingsError

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.settings import AlignSettings

Floats = npt.NDArray[np.float64]

EPOCH_DR3 = 2016.0
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
    def usable(self) -> npt.NDArray[np.bool_]:
        """Stars that may be used."""
        return np.ones(len(self), dtype=np.bool_)

    def positions_at(self, mjd: float) -> tuple[Floats, Floats]:
        """Return right ascension and declination at an epoch, in degrees.

        Each star moves along its great circle from ``ref_epoch`` on; a star without a
        measured proper motion stays.  Parallax is left out (below 1 mas for nearly
        all stars faint enough to be unsaturated).

        Parameters
        ----------
        mjd : float
            Modified Julian date; the time scale does not matter at this level.
        """
        ra, dec = np.deg2rad(self._values("ra")), np.deg2rad(self._values("dec"))
        years = self._years_to(mjd)
        east = _moved_rad(self._values("pmra"), years)
        north = _moved_rad(self._values("pmdec"), years)
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
        """
        years = np.abs(self._years_to(mjd))
        errors = []
        for axis in ("ra", "dec"):
            position = self._values(f"{axis}_error")
            motion = self._values(f"pm{axis}_error")
            motion = np.where(np.isfinite(motion), motion, np.nan_to_num(position))
            measured = np.isfinite(self._values(f"pm{axis}"))
            motion = np.where(measured, motion, typical_motion_mas_yr)
            errors.append(np.hypot(position, motion * years))
        return errors[0], errors[1]

    def _values(self, name: str) -> Floats:
        return np.asarray(self.table[name], dtype=np.float64)

    def _years_to(self, mjd: float) -> Floats:
        if not np.isfinite(mjd):  # time unknown: the stars stay where the catalog has them
            return np.zeros(len(self))
        return 2000.0 + (mjd - _MJD_J2000) / 365.25 - self._values("ref_epoch")


def _moved_rad(motion_mas_yr: Floats, years: Floats) -> Floats:
    return np.nan_to_num(motion_mas_yr) * years / _MAS_PER_RAD


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
    stars.meta = {"origin": origin, "release": _release(table, origin)}
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
        data = np.ma.asarray(getattr(column, "value", column)).astype(np.float64)
        values: Floats = np.array(np.ma.filled(data, np.nan), dtype=np.float64)
        return values * _unit_factor(column, unit)
    except (ValueError, TypeError) as err:
        raise SettingsError(f"{origin}: column {name} does not hold numbers ({err})") from err


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
        numbers[known] = [int(v) for v in column.data[known].tolist()]
    except (ValueError, TypeError, OverflowError) as err:
        raise SettingsError(f"{origin}: column {name} does not hold identifiers ({err})") from err
    return numbers


def _release(table: Table, origin: str) -> str:
    """Return the release as far as the table or its origin names it."""
    given = table.meta.get("release")
    if given:
        return str(given)
    text = origin.lower()
    return "Gaia DR3" if any(t in text for t in ("dr3", "i/355")) else "unknown"


def read_local(path: Path) -> ReferenceStars:
    """Read reference stars from a local ECSV, FITS, CSV or VOTable file.

    Raises
    ------
    SettingsError
        The file can't be read, or lacks positions.
    """
    from astropy.table import Table

    options: dict[str, Any] = {"format": _table_format(path)}
    if options["format"] == "ascii.csv":
        options["fill_values"] = [("", "0"), ("null", "0"), ("NULL", "0"), ("nan", "0")]
    if options["format"] == "votable":
        # The first table; a VizieR file may hold several.
        options |= {"table_id": 0, "use_names_over_ids": True}
    try:
        with _quiet():
            table = Table.read(path, **options)
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
        raise SettingsError(
            f"{path}: can't be read ({err})", hint="check the path given with --gaia"
        ) from err
    if head.startswith(b"SIMPLE"):
        return "fits"
    if head.startswith(b"# %ECSV"):
        return "ascii.ecsv"
    if head.startswith((b"<?xml", b"<VOTABLE", b"<!--")):
        return "votable"
    return "ascii.csv"


def query_tap(
    ra_deg: float, dec_deg: float, radius_deg: float, settings: AlignSettings
) -> ReferenceStars:
    """Ask the TAP services in turn for the stars in a circle.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Centre of the circle (ICRS).
    radius_deg : float
        Its radius.
    settings : AlignSettings
        Services, limits, timeout and repeats.

    Raises
    ------
    NoReferenceStars
        No service gave a complete answer; the message says why, for each.
    """
    reasons = []
    for service in settings.gaia_services:
        url, _, name = service.strip().partition(" ")
        name = name.strip()
        if not name:
            reasons.append(f"{service}: write a service as 'address table'")
            continue
        try:
            table = _ask_service(url, name, (ra_deg, dec_deg, radius_deg), settings)
            stars = from_table(table, f"{url} {name}")
        except _ServiceError as err:
            reasons.append(f"{url}: {err}")
            continue
        except SettingsError as err:
            # Not the user's doing here: the service sent other columns than asked for.
            reasons.append(err.message)
            continue
        stars.table.meta |= {"ra_deg": ra_deg, "dec_deg": dec_deg, "radius_deg": radius_deg}
        return stars
    raise NoReferenceStars(
        f"no Gaia stars around RA {ra_deg:.5f}, Dec {dec_deg:.5f}: " + "; ".join(reasons),
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        radius_deg=radius_deg,
    )


class _ServiceError(Exception):
    """Why one service gave nothing; passing troubles are worth a repeat."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


def adql_query(
    table: str,
    circle: tuple[float, float, float],
    faint_limit_mag: float = 0.0,
    *,
    count: bool = False,
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
    """
    vizier = "/" in table
    names = {name: column.vizier if vizier else name for name, column in COLUMNS.items()}
    quoted = {k: f'"{v}"' if vizier else v for k, v in names.items() if v}
    columns = "COUNT(*) AS n" if count else ", ".join(quoted.values())
    ra, dec, radius = circle
    query = (
        f"SELECT {columns} FROM {_quoted_table(table)} WHERE 1 = CONTAINS("  # noqa: S608
        f"POINT('ICRS', {quoted['ra']}, {quoted['dec']}), "
        f"CIRCLE('ICRS', {ra:.9f}, {dec:.9f}, {radius:.9f}))"
    )
    if faint_limit_mag > 0:
        query += f" AND {quoted['phot_g_mean_mag']} <= {faint_limit_mag:g}"
    return query


def _quoted_table(table: str) -> str:
    return f'"{table.strip(chr(34))}"' if "/" in table else table


def _ask_service(
    url: str, name: str, circle: tuple[float, float, float], settings: AlignSettings
) -> Table:
    """Return all rows of a service in a circle, or raise _ServiceError."""
    query = adql_query(name, circle, settings.gaia_faint_limit_mag)
    table, overflow = _repeated(url, query, settings)
    n = len(table)
    overflow = overflow or n >= settings.gaia_max_rows
    if not overflow and n and n % 50 == 0:
        # Some servers cut at a round number of rows (50, 2000) and do not say so.
        counted, _ = _repeated(
            url, adql_query(name, circle, settings.gaia_faint_limit_mag, count=True), settings
        )
        overflow = len(counted) != 1 or int(counted[0][0]) > n
    if overflow:
        raise _ServiceError(
            f"the answer was cut off after {n} stars (set align.gaia_faint_limit_mag)"
        )
    return table


def _repeated(url: str, query: str, settings: AlignSettings) -> tuple[Table, bool]:
    """Return table and overflow mark; passing failures are repeated with growing waits."""
    wait_s = settings.gaia_retry_wait_s
    for attempt in range(settings.gaia_retries + 1):
        try:
            return _ask_once(url, query, settings)
        except _ServiceError as err:
            if not err.passing or attempt == settings.gaia_retries:
                raise
        time.sleep(wait_s)
        wait_s *= 2
    raise AssertionError("unreachable")


def _ask_once(url: str, query: str, settings: AlignSettings) -> tuple[Table, bool]:
    """Send one synchronous query."""
    from pyvo.dal import TAPService
    from pyvo.dal.exceptions import DALAccessError

    session = _session(settings.gaia_timeout_s)
    try:
        with _quiet(), session:
            service = TAPService(url, session=session)
            results = service.run_sync(query, maxrec=settings.gaia_max_rows)
            table = results.to_table()
            overflow = str(results.status[0]).upper() == "OVERFLOW"
    except DALAccessError as err:
        raise _ServiceError(_one_line(err), passing=_is_passing(err)) from err
    except OSError as err:  # what requests raises, too
        raise _ServiceError(_one_line(err), passing=True) from err
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as err:
        # A VOTable so broken that the parser stumbles.
        raise _ServiceError(f"no valid answer ({_one_line(err)})") from err
    return table, overflow


def _is_passing(err: Any) -> bool:
    """Tell whether a failed query is worth a repeat: a busy server, a lost connection.

    A refused query or an answer that is no VOTable would come back the same.
    """
    from urllib3.exceptions import HTTPError

    code = getattr(err, "code", None) or 0
    # pyvo reports a timeout or a broken connection as a wrong format, with its cause.
    lost = isinstance(getattr(err, "cause", None), (OSError, HTTPError))
    return lost and (code in {0, 429} or code >= 500)


def _one_line(err: Exception) -> str:
    text = " ".join(str(err).split())
    if "NameResolutionError" in text or "Failed to establish" in text:
        return "can't be reached (no network?)"
    return (text[:200] + "...") if len(text) > 200 else text or type(err).__name__


def _session(timeout_s: float) -> Any:
    """Return an HTTP session whose every request has a timeout (requests has none by default)."""
    import requests

    class Session(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("timeout", timeout_s)
            return super().request(*args, **kwargs)

    session = Session()
    session.headers["User-Agent"] = "bycatch"
    return session


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore the warnings of table readers: odd units and missing metadata do no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
