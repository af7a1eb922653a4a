"""Requests to an archive over HTTP: responses, refusals, waits.  `sky.tap` asks for stars.

What can pass (no connection, a busy server, an answer that breaks off) is tried again, with waits
that double and are never shorter than the server asks for (Retry-After).  All threads share a wait.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bycatch.archive.tokens import Token
from bycatch.settings import FetchSettings
from bycatch.system.words import printable

if TYPE_CHECKING:
    from requests import Response, Session

logger = logging.getLogger("bycatch")

CONNECT_TIMEOUT_S = 10.0
MOST_REDIRECTS = 5
PIECE_BYTES = 1 << 16
MOST_JSON_BYTES = 500_000_000
"""A page of 50,000 listed observations has 100 MB."""
LEAST_BYTES = 1024
"""Fewer in the time of ``fetch.timeout_s`` are as good as none: the connection is dropped."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
MOST_WORDS = 200


class Problem(Exception):
    """Why a response can't be used.

    Attributes
    ----------
    passing : it may be another one next time
    wait_s : how long the server wants to be left alone
    """

    def __init__(self, reason: str, *, passing: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(printable(reason)[:500])
        self.passing = passing
        self.wait_s = wait_s


class Stopping(Exception):
    """The fetch is ending before its work is done."""


class Web:
    """Connections to an archive, one set for each thread.

    Parameters
    ----------
    settings : of fetch
    token : of the user
    stop : set when the fetch ends: all waits end then
    """

    def __init__(
        self, settings: FetchSettings, token: Token, stop: threading.Event | None = None
    ) -> None:
        self.settings, self.token = settings, token
        self.stop = stop or threading.Event()
        self._own = threading.local()
        self._quiet_until: dict[str, float] = {}

    def session(self) -> Session:
        """Return the connections of this thread."""
        import requests

        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = requests.Session()
            session.max_redirects = MOST_REDIRECTS
            session.auth = self.token
            # Compressed on its way, a file would have another length than the server says.
            session.headers.update({"User-Agent": "bycatch", "Accept-Encoding": "identity"})
        return session

    @contextmanager
    def answer(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **words: Any
    ) -> Iterator[Response]:
        """Yield the response to one request, with its body unread.

        Raises
        ------
        Problem
            No connection, or a status that is none of 200, 206 and 416.
        """
        import requests

        host = urlsplit(address).hostname or ""
        self.pause(self._quiet_until.get(host, 0.0) - time.monotonic())
        timeout = (min(CONNECT_TIMEOUT_S, self.settings.timeout_s), self.settings.timeout_s)
        try:
            answer = self.session().request(
                method, address, headers=headers, timeout=timeout, stream=True, **words
            )
        except (requests.RequestException, ValueError) as err:
            raise Problem(_one_line(err)) from None
        with answer:
            if answer.status_code not in {200, 206, 416}:
                problem = _problem_of(answer)
                until = time.monotonic() + problem.wait_s
                self._quiet_until[host] = max(self._quiet_until.get(host, 0.0), until)
                raise problem
            if address.startswith("https:") and not answer.url.startswith("https:"):
                raise Problem("redirected to an address without https", passing=False)
            yield answer

    def pieces(
        self, answer: Response, most_bytes: Callable[[], int] = lambda: PIECE_BYTES
    ) -> Iterator[bytes]:
        """Yield the body of a response in pieces of limited size.

        Raises
        ------
        Problem
            It breaks off, stalls, or is compressed though this was not asked for.
        """
        import requests
        import urllib3

        if answer.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise Problem("the server compressed the file, although asked not to")
        since, n_bytes = time.monotonic(), 0
        while True:
            try:  # unlike read, read1 gives what is there, however slowly it comes
                part = answer.raw.read1(most_bytes(), decode_content=False)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as err:
                raise Problem(_one_line(err)) from None
            if not part:
                return
            if self.stop.is_set():
                raise Stopping
            n_bytes += len(part)
            if time.monotonic() - since > self.settings.timeout_s:
                if n_bytes < LEAST_BYTES:
                    raise Problem(
                        f"fewer than {LEAST_BYTES} bytes in {self.settings.timeout_s:g} s"
                    )
                since, n_bytes = time.monotonic(), 0
            yield part

    def value(self, method: str, address: str, **words: Any) -> Any:
        """Return the JSON of a response, with retries.

        Raises
        ------
        Problem
            All attempts failed.
        """
        patience = Patience(self, urlsplit(address).hostname or address)
        while True:
            try:
                return self._value_once(method, address, **words)
            except Problem as problem:
                if not patience.again(problem):
                    raise

    def _value_once(self, method: str, address: str, **words: Any) -> Any:
        content = bytearray()
        with self.answer(method, address, **words) as answer:
            for part in self.pieces(answer):
                content += part
                if len(content) > MOST_JSON_BYTES:
                    raise Problem("its answer is too large for a list", passing=False)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            begin = content[:MOST_WORDS].decode("utf-8", "replace")
            raise Problem(f"no JSON in its answer: {begin!r}") from None

    def pause(self, seconds: float) -> None:
        """Wait, unless the fetch is ending.

        Raises
        ------
        Stopping
            It does.
        """
        if self.stop.wait(max(seconds, 0.0)):
            raise Stopping


class Patience:
    """How often and after which wait something is tried again.

    Parameters
    ----------
    web : its settings, and what ends a wait
    name : who is waited for, if the user is to know; ''
    """

    def __init__(self, web: Web, name: str = "") -> None:
        self.web, self.name = web, name
        self.n_tries = 0

    def again(self, problem: Problem, *, progress: bool = False) -> bool:
        """Wait, and return whether to try again; progress resets the patience."""
        settings = self.web.settings
        self.n_tries = 0 if progress else self.n_tries + 1
        if not problem.passing or self.n_tries > settings.retries:
            return False
        if problem.wait_s > settings.most_wait_s:
            return False
        wait_s = settings.retry_wait_s * 2 ** max(self.n_tries - 1, 0)
        wait_s *= 1 + random.random() / 4  # noqa: S311  # not all at the same moment
        wait_s = max(min(wait_s, settings.most_wait_s), problem.wait_s)
        if self.name:
            logger.info("%s: %s; trying again in %.0f s", self.name, problem, wait_s)
        self.web.pause(wait_s)
        return True


def _problem_of(answer: Response) -> Problem:
    """Return what a status means."""
    status = answer.status_code
    words = f"{status} {answer.reason or ''}".strip()
    if status in {401, 403}:
        return Problem(
            f"{words}: not public, or the token (MAST_API_TOKEN) is not valid", passing=False
        )
    return Problem(words, passing=status in BUSY, wait_s=retry_after_s(answer.headers))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the wait that an answer asks for (Retry-After: seconds, or a date)."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isdecimal():
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        moment = email.utils.parsedate_to_datetime(text)
        return max(moment.timestamp() - time.time(), 0.0)
    return 0.0


def _one_line(err: Exception) -> str:
    """Return what a library says; no part of a request is in it."""
    text = " ".join(str(err).split())
    if any(
        sign in text for sign in ("NameResolutionError", "Failed to establish", "ConnectTimeout")
    ):
        return "can't be reached (no network?)"
    return f"{type(err).__name__}: {text[:MOST_WORDS]}"
