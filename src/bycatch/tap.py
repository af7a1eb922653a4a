"""Asking TAP services for reference stars.  The only module that uses the network."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from bycatch.errors import NoReferenceStars, SettingsError
from bycatch.gaia import COLUMNS, ReferenceStars, from_table, quiet, release_name

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.settings import AlignSettings

logger = logging.getLogger("bycatch")

Circle = tuple[float, float, float]
"""Right ascension and declination of the centre, radius; degrees."""

MAX_SPLITS = 7
"""How often a region is halved for an answer that was cut off."""
SAY_EVERY_S = 5.0


class Services:
    """The TAP services of a run, in the order in which they are asked.

    One that can't be reached at all is not asked again for the next fields.
    """

    def __init__(self, settings: AlignSettings) -> None:
        self.settings = settings
        self.lost: dict[str, str] = {}

    def stars(self, ra_deg: float, dec_deg: float, radius_deg: float) -> ReferenceStars:
        """Return the stars in a circle, from the first service that answers completely.

        Parameters
        ----------
        ra_deg, dec_deg : float
            Centre of the circle (ICRS).
        radius_deg : float
            Its radius.

        Raises
        ------
        NoReferenceStars
            No service gave a complete answer; the message says why, for each.
        """
        reasons = []
        for service in self.settings.gaia_services:
            url, _, name = service.strip().partition(" ")
            name = name.strip()
            if not name:
                reasons.append(f"{service}: write a service as 'address table'")
                continue
            if url in self.lost:
                reasons.append(f"{url}: {self.lost[url]}, not asked again")
                continue
            try:
                table = _ask_service(url, name, (ra_deg, dec_deg, radius_deg), self.settings)
                stars = from_table(table, f"{url} {name}")
            except _ServiceError as err:
                reasons.append(f"{url}: {err}")
                if err.unreachable:
                    self.lost[url] = str(err)
                continue
            except SettingsError as err:
                # Not the user's doing here: the service sent other columns than asked for.
                reasons.append(err.message)
                continue
            circle = {"ra_deg": ra_deg, "dec_deg": dec_deg, "radius_deg": radius_deg}
            stars.table.meta |= {"release": release_of(service), **circle}
            return stars
        raise NoReferenceStars(
            f"no Gaia stars around RA {ra_deg:.5f}, Dec {dec_deg:.5f}: " + "; ".join(reasons),
            hint="give a table with --gaia FILE, or run again when the services answer",
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            radius_deg=radius_deg,
        )


def release_of(service: str) -> str:
    """Return the release that a service's table ('address table') holds, or the table's name."""
    table = service.strip().partition(" ")[2].strip()
    return release_name(table) or table


def query_tap(
    ra_deg: float, dec_deg: float, radius_deg: float, settings: AlignSettings
) -> ReferenceStars:
    """Return the stars in a circle from the settings' services; see `Services.stars`."""
    return Services(settings).stars(ra_deg, dec_deg, radius_deg)


class _ServiceError(Exception):
    """Why one service gave nothing; passing troubles are worth a repeat."""

    def __init__(self, reason: str, *, passing: bool = False, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing
        self.unreachable = unreachable


def adql_query(
    table: str,
    circle: Circle,
    faint_limit_mag: float = 0.0,
    *,
    count: bool = False,
    between_dec_deg: tuple[float, float] | None = None,
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
    if between_dec_deg is not None:
        low, high = between_dec_deg
        query += f" AND {quoted['dec']} >= {low:.9f} AND {quoted['dec']} < {high:.9f}"
    if faint_limit_mag > 0:
        query += f" AND {quoted['phot_g_mean_mag']} <= {faint_limit_mag:g}"
    return query


def _quoted_table(table: str) -> str:
    return f'"{table.strip(chr(34))}"' if "/" in table else table


def _ask_service(url: str, name: str, circle: Circle, settings: AlignSettings) -> Table:
    """Return all rows of a service in a circle, or raise _ServiceError.

    An answer that was cut off is asked for again in bands of declination.
    """
    from astropy.table import vstack

    table, is_cut = _ask_band(url, name, circle, None, settings)
    if not is_cut:
        return table
    logger.info("the answer was cut off after %d stars: asking in parts", len(table))
    _, dec, radius = circle
    waiting = [(dec - radius - 1e-6, dec + radius + 1e-6, 0)]
    parts = []
    while waiting:
        low, high, depth = waiting.pop()
        if depth == MAX_SPLITS:
            raise _ServiceError(
                f"the answer was cut off after {len(table)} stars, in parts of the field as well "
                "(set align.gaia_faint_limit_mag)"
            )
        middle = (low + high) / 2
        for band in ((low, middle), (middle, high)):
            part, is_cut = _ask_band(url, name, circle, band, settings)
            if is_cut:
                waiting.append((*band, depth + 1))
            else:
                parts.append(part)
    with quiet():
        return vstack(parts, metadata_conflicts="silent")


def _ask_band(
    url: str,
    name: str,
    circle: Circle,
    band: tuple[float, float] | None,
    settings: AlignSettings,
) -> tuple[Table, bool]:
    """Return the rows of a band of a circle, and whether some were cut off."""
    limit = settings.gaia_faint_limit_mag
    table, overflow = _repeated(
        url, adql_query(name, circle, limit, between_dec_deg=band), settings
    )
    n = len(table)
    if overflow or n >= settings.gaia_max_rows:
        return table, True
    if n and n % 50 == 0:
        # Some servers cut at a round number of rows (50, 2000) and do not say so.
        count = adql_query(name, circle, limit, count=True, between_dec_deg=band)
        counted, _ = _repeated(url, count, settings)
        return table, len(counted) != 1 or int(counted[0][0]) > n
    return table, False


def _repeated(url: str, query: str, settings: AlignSettings) -> tuple[Table, bool]:
    """Return table and overflow mark; passing failures are repeated with growing waits."""
    wait_s = settings.gaia_retry_wait_s
    for attempt in range(settings.gaia_retries + 1):
        try:
            return _patiently(url, query, settings)
        except _ServiceError as err:
            if not err.passing or attempt == settings.gaia_retries:
                raise
        time.sleep(wait_s)
        wait_s *= 2
    raise AssertionError("unreachable")


def _patiently(url: str, query: str, settings: AlignSettings) -> tuple[Table, bool]:
    """Send one query, and say now and then that its answer is waited for."""
    done = threading.Event()

    def say() -> None:
        waited = 0.0
        while not done.wait(SAY_EVERY_S):
            waited += SAY_EVERY_S
            logger.info("still waiting for %s (%.0f s)", url, waited)

    teller = threading.Thread(target=say, daemon=True)
    teller.start()
    try:
        return _ask_once(url, query, settings)
    finally:
        done.set()
        teller.join()


def _ask_once(url: str, query: str, settings: AlignSettings) -> tuple[Table, bool]:
    """Send one synchronous query."""
    from pyvo.dal import TAPService
    from pyvo.dal.exceptions import DALAccessError

    session = _session(settings.gaia_timeout_s)
    try:
        with quiet(), session:
            service = TAPService(url, session=session)
            results = service.run_sync(query, maxrec=settings.gaia_max_rows)
            table = results.to_table()
            overflow = str(results.status[0]).upper() == "OVERFLOW"
    except DALAccessError as err:
        reason = _one_line(err)
        lost = reason == NO_NETWORK
        # Without a network a repeat is as vain as the first try.
        passing = _is_passing(err) and not lost
        raise _ServiceError(reason, passing=passing, unreachable=lost) from err
    except OSError as err:  # what requests raises, too
        reason = _one_line(err)
        lost = reason == NO_NETWORK
        raise _ServiceError(reason, passing=not lost, unreachable=lost) from err
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


NO_NETWORK = "can't be reached (no network?)"


def _one_line(err: Exception) -> str:
    text = " ".join(str(err).split())
    if "NameResolutionError" in text or "Failed to establish" in text:
        return NO_NETWORK
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
