"""Asking TAP services for reference stars.  The only module that uses the network."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.errors import NoReferenceStars, SettingsError
from bycatch.sky.adql import OPTIONAL, adql_query
from bycatch.sky.answers import Circle, misfit
from bycatch.sky.gaia import ReferenceStars, from_table, quiet, release_name
from bycatch.user_files.votables import VOTableError, read_votable

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.settings import AlignSettings

logger = logging.getLogger("bycatch")

MAX_SPLITS = 7
"""How often a region is halved for an answer that was cut off."""
SAY_EVERY_S = 5.0
MAX_ANSWER_BYTES = 256_000_000
"""Larger than any answer of the most stars that are asked for, at 1 kB each."""
CONNECT_TIMEOUT_S = 10.0
"""A host that drops packets, as behind a firewall, is not waited for as long as a busy one."""


class Services:
    """The TAP services of a run, in the order in which they are asked.

    One that can't be reached, or stays silent or busy in spite of all repeats, is not asked
    again for the next fields.
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
        reasons, empty = [], None
        end = time.monotonic() + self.settings.gaia_total_s
        n_left = len(self.settings.gaia_services)
        for service in self.settings.gaia_services:
            # What one service does not use is left for the others.
            now = time.monotonic()
            deadline = now + max(end - now, 0.0) / n_left
            n_left -= 1
            try:
                stars = self._ask(service, (ra_deg, dec_deg, radius_deg), deadline)
            except _ServiceError as err:
                reasons.append(str(err))
                continue
            circle = {"ra_deg": ra_deg, "dec_deg": dec_deg, "radius_deg": radius_deg}
            stars.table.meta |= {"release": release_of(service), **circle}
            if len(stars):
                return stars
            logger.info("%s: no star there: asking the next service", service.split()[0])
            empty = empty or stars
        if empty is not None:
            return empty
        raise NoReferenceStars(
            f"no Gaia stars around RA {ra_deg:.5f}, Dec {dec_deg:.5f}: " + "; ".join(reasons),
            hint="give a table with --gaia FILE, or run again when the services answer",
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            radius_deg=radius_deg,
        )

    def _ask(self, service: str, circle: Circle, deadline: float) -> ReferenceStars:
        """Return the stars of one service, or say why it has none to give."""
        url, _, name = service.strip().partition(" ")
        name = name.strip()
        if not name:
            raise _ServiceError(f"{service}: write a service as 'address table'")
        if url in self.lost:
            raise _ServiceError(f"{url}: {self.lost[url]}, not asked again")
        try:
            rows = _Asking(url, name, self.settings, deadline).rows(circle)
            return _in_order(from_table(rows, f"{url} {name}"))
        except _ServiceError as err:
            if err.passing or err.unreachable:
                self.lost[url] = str(err)
            raise _ServiceError(f"{url}: {err}") from err
        except SettingsError as err:
            # Not the user's doing here: the service sent other columns than asked for.
            raise _ServiceError(err.message) from err


def _in_order(stars: ReferenceStars) -> ReferenceStars:
    """Return each star once, by its identifier: the same from every service, however asked."""
    _, first = np.unique(np.asarray(stars.table["source_id"]), return_index=True)
    return ReferenceStars(stars.table[first], stars.origin)


def release_of(service: str) -> str:
    """Return the release that a service's table ('address table') holds, or the table's name."""
    table = service.strip().partition(" ")[2].strip()
    return release_name(table) or table


class _ServiceError(Exception):
    """Why one service gave nothing.

    Passing troubles are worth a repeat; an unreachable service is not; a refused query may do
    in another form.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = False,
        unreachable: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(reason)
        self.passing = passing
        self.unreachable = unreachable
        self.refused = refused


@dataclass
class _Asking:
    """The queries to one service about one circle, and when they have to end."""

    url: str
    table: str
    settings: AlignSettings
    deadline: float
    without: tuple[str, ...] = ()

    def rows(self, circle: Circle) -> Table:
        """Return all rows in a circle, or raise _ServiceError.

        An answer that was cut off is asked for again in bands of declination.
        """
        from astropy.table import vstack

        table, is_cut = self.band(circle, None)
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
                    f"the answer was cut off after {len(table)} stars, in parts of the field as "
                    "well (set align.gaia_faint_limit_mag)"
                )
            middle = (low + high) / 2
            for band in ((low, middle), (middle, high)):
                part, is_cut = self.band(circle, band)
                if is_cut:
                    waiting.append((*band, depth + 1))
                else:
                    parts.append(part)
        with quiet():
            return vstack(parts, metadata_conflicts="silent")

    def band(self, circle: Circle, band: tuple[float, float] | None) -> tuple[Table, bool]:
        """Return the rows of a band of a circle, and whether some were cut off."""
        try:
            table, overflow = self.answer(self.query(circle, band))
        except _ServiceError as err:
            if not err.refused or self.without:
                raise
            self.without = OPTIONAL
            logger.info("%s: refused (%s): asking for fewer columns", self.url, err)
            table, overflow = self.answer(self.query(circle, band))
        n = len(table)
        stars = from_table(table, f"{self.url} {self.table}")
        problem = misfit(stars, circle, self.settings.gaia_faint_limit_mag, band)
        if problem:
            raise _ServiceError(f"its answer is rejected: {problem}")
        if overflow or n >= self.settings.gaia_max_rows:
            return table, True
        if n == 0 and band is None and self.count_rows(circle, band) not in {0, None}:
            raise _ServiceError("it counts stars but sends none")
        # Some servers cut at a round number of rows (50, 2000, 2048) and do not say so.
        if n and (n % 50 == 0 or (n >= 64 and n & (n - 1) == 0)):
            n_counted = self.count_rows(circle, band)
            return table, n_counted is None or n_counted > n
        return table, False

    def count_rows(self, circle: Circle, band: tuple[float, float] | None) -> int | None:
        """Return how many rows a service says there are; None if it doesn't know."""
        try:
            table, _ = self.answer(self.query(circle, band, count=True))
            return int(table[0][0]) if len(table) == 1 else None
        except (_ServiceError, ValueError, TypeError):
            return None

    def query(
        self, circle: Circle, band: tuple[float, float] | None, *, count: bool = False
    ) -> str:
        """Return the query for a band."""
        return adql_query(
            self.table,
            circle,
            self.settings.gaia_faint_limit_mag,
            count=count,
            between_dec_deg=band,
            without=self.without,
        )

    def answer(self, query: str) -> tuple[Table, bool]:
        """Return table and overflow mark; passing failures are repeated with growing waits."""
        wait_s = self.settings.gaia_retry_wait_s
        for attempt in range(self.settings.gaia_retries + 1):
            try:
                return _patiently(self.url, query, self.settings, self.deadline)
            except _ServiceError as err:
                last = attempt == self.settings.gaia_retries
                if not err.passing or last or time.monotonic() + wait_s >= self.deadline:
                    raise
                logger.info("%s: %s: asking again in %.0f s", self.url, err, wait_s)
            time.sleep(wait_s)
            wait_s *= 2
        raise AssertionError("unreachable")


def _patiently(
    url: str, query: str, settings: AlignSettings, deadline: float
) -> tuple[Table, bool]:
    """Send one query, say now and then that its answer is waited for, and give up in time.

    The answer comes in a thread of its own: a server that sends a byte now and then
    keeps a connection alive for as long as it likes.
    """
    answers: queue.SimpleQueue[tuple[Table, bool] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_ask_once(url, query, settings, deadline))
        except Exception as err:  # noqa: BLE001  # raised again where it is waited for
            answers.put(err)

    start_s = time.monotonic()
    with quiet():  # here, not in the thread: filters of warnings belong to the whole process
        threading.Thread(target=ask, daemon=True).start()
        while True:
            seconds_left = deadline - time.monotonic()
            try:
                answer = answers.get(timeout=min(max(seconds_left, 0.0), SAY_EVERY_S))
            except queue.Empty:
                waiting_s = time.monotonic() - start_s
                if seconds_left <= SAY_EVERY_S:
                    raise _ServiceError(
                        f"timed out: no complete answer within {waiting_s:.0f} s "
                        "(align.gaia_total_s is shared by the services)",
                        passing=True,
                    ) from None
                logger.info("still waiting for %s (%.0f s)", url, waiting_s)
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer


def _ask_once(url: str, query: str, settings: AlignSettings, deadline: float) -> tuple[Table, bool]:
    """Send one synchronous query (TAP 1.1, 2.3); return its table, and whether it is cut."""
    form = {
        "REQUEST": "doQuery",
        "LANG": "ADQL",
        "QUERY": query,
        "MAXREC": str(settings.gaia_max_rows),
    }
    try:
        status, reason, content = _post(f"{url.rstrip('/')}/sync", form, settings, deadline)
    except OSError as err:  # what requests raises, too
        reason = _one_line(err)
        is_offline = reason == NO_NETWORK
        # Without a network another attempt would fail too.
        raise _ServiceError(reason, passing=not is_offline, unreachable=is_offline) from err
    try:
        answer = read_votable(content)
    except VOTableError as err:
        if status != 200:
            passing = status == 429 or status >= 500
            raise _ServiceError(f"{status} {reason}", passing=passing) from err
        raise _ServiceError(f"{url}: no valid answer ({_one_line(err)})") from err
    if status != 200 or answer.status == "ERROR":
        message = _one_line(answer.message or f"{status} {reason}")
        # Each service has its own words: "unknown column", "unresolved identifiers".
        is_refused = any(word in message.lower() for word in ("column", "identifier"))
        raise _ServiceError(
            message, passing=status == 429 or status >= 500, refused=is_refused and status < 500
        )
    if len(answer.tables) != 1:
        raise _ServiceError(f"{url}: no valid answer ({len(answer.tables)} tables)")
    return answer.tables[0][1], answer.status == "OVERFLOW"


def _post(
    address: str, form: dict[str, str], settings: AlignSettings, deadline: float
) -> tuple[int, str, bytes]:
    """Return status, reason and content of an answer, of which no more is read than can be true.

    Raises
    ------
    OSError
        No server, a broken connection, or no complete answer in time.
    _ServiceError
        An answer that is too large.
    """
    import requests

    timeout = (min(settings.gaia_timeout_s, CONNECT_TIMEOUT_S), settings.gaia_timeout_s)
    content = bytearray()
    with (
        requests.Session() as session,
        session.post(
            address, data=form, timeout=timeout, stream=True, headers={"User-Agent": "bycatch"}
        ) as answer,
    ):
        # Decompressed as it comes: a small answer can hold gigabytes.
        for part in answer.iter_content(1 << 16):
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise _ServiceError(
                    f"its answer is larger than {MAX_ANSWER_BYTES / 1e6:.0f} MB "
                    "(set align.gaia_faint_limit_mag)"
                )
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
        return answer.status_code, str(answer.reason), bytes(content)


NO_NETWORK = "can't be reached (no network?)"


_SIGNS_OF_NO_NETWORK = (
    "NameResolutionError",
    "Failed to establish",
    "ConnectTimeoutError",
    "connect to proxy",
)


def _one_line(err: Exception | str) -> str:
    text = " ".join(str(err).split())
    if any(sign in text for sign in _SIGNS_OF_NO_NETWORK):
        return NO_NETWORK
    return (text[:200] + "...") if len(text) > 200 else text or type(err).__name__
