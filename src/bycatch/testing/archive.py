"""An archive on this machine that answers as MAST does, and misbehaves on wish.

Answers have the forms that astroquery 0.4.11 keeps of the real ones in its tests
(``advSearch.json``, ``products.json``, ``mast_relative_path.json``).  How a file comes is decided
request by request.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from bycatch.testing.archive_files import (
    StoredFile,
    is_inside,
    observation_row,
    passes,
    product_rows,
    reprocess,
    with_other_pixels,
)

FAULTS = (
    "slow", "cut", "reset", "429", "503", "date", "redirect", "short", "long", "bytes", "foreign",
    "html", "html of the length", "no range", "other part", "changed", "mixed", "gzip", "empty",
    "no length", "no validator", "weak", "flipped",
)  # fmt: skip
"""What can be wrong with the answer to one request for a file."""
PAGE = b"<!DOCTYPE html><html><body>Down for maintenance</body></html>"
FITS_TYPE = "application/fits"


@dataclass
class Request:
    """A request that came: its path, headers, status, and how many bytes were sent for it."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    n_bytes: int


Faulty = Callable[[str, int], str]
"""The fault, or '', of the n-th request (from 0) for the file of some name."""


@dataclass
class FakeArchive:
    """An archive at `address`; a context.

    Attributes
    ----------
    files : by name
    faulty : how it misbehaves
    extra_rows : more rows of the listing, as they come
    token : what private files need
    executing : how many times a search is still under way
    page_rows : rows of a page, at the most
    in_bucket : which files the bucket has
    pace_bytes_per_s : how fast it sends files; 0 for as fast as it can
    asked : all requests that came
    history : earlier versions of files that have changed
    """

    files: dict[str, StoredFile]
    faulty: Faulty = lambda _name, _n: ""
    extra_rows: list[dict[str, Any]] = field(default_factory=list)
    token: str = ""
    executing: int = 0
    page_rows: int = 10_000
    in_bucket: Callable[[str], bool] = lambda _name: True
    pace_bytes_per_s: float = 0.0
    asked: list[Request] = field(default_factory=list)
    history: dict[str, set[bytes]] = field(default_factory=dict)

    def __enter__(self) -> FakeArchive:
        self._lock, self._counts = threading.Lock(), dict[str, int]()
        archive = self

        class Handler(_Handler):
            home = archive

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def settings(self) -> list[str]:
        """What makes the command ask it, without long waits."""
        return [
            f"fetch.server={self.address}",
            f"fetch.bucket={self.address}/bucket",
            "fetch.retry_wait_s=0.01",
            "fetch.timeout_s=5",
        ]

    def downloads(self, name: str = "") -> list[Request]:
        """Return the requests for files, or for one file."""
        return [
            a
            for a in self.asked
            if ("Download" in a.path or "/bucket" in a.path) and name in a.path
        ]

    def count(self, name: str) -> int:
        """Return the number of earlier requests for a file."""
        with self._lock:
            number = self._counts.get(name, 0)
            self._counts[name] = number + 1
        return number

    # ---- the search --------------------------------------------------------------------------

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a search."""
        if self.executing > 0:
            self.executing -= 1
            return {"status": "EXECUTING", "msg": "", "data": [], "fields": []}
        service, words = request["service"], request["params"]
        if service == "Mast.Caom.Products":
            rows = self._products(words["obsid"].split(","))
        elif service in {"Mast.Caom.Filtered", "Mast.Caom.Filtered.Position"}:
            rows = self._observations(words)
        else:
            return {"status": "ERROR", "msg": f"no service {service}", "data": [], "fields": []}
        size = min(int(request["pagesize"]), self.page_rows)
        page, n_pages = int(request["page"]), max(-(-len(rows) // size), 1)
        part = rows[(page - 1) * size : page * size]
        paging = {
            "page": page, "pageSize": size, "pagesFiltered": n_pages, "rows": len(part),
            "rowsFiltered": len(rows), "rowsTotal": len(rows),
        }  # fmt: skip
        return {"status": "COMPLETE", "msg": "", "data": part, "fields": [], "paging": paging}

    def _observations(self, words: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = {}
        for name, file in self.files.items():
            row = observation_row(name, file)
            if all(passes(row, one) for one in words["filters"]) and is_inside(row, words):
                rows[row["obsid"]] = row
        return list(rows.values())

    def _products(self, obsids: Iterable[str]) -> list[dict[str, Any]]:
        ids, rows = set(obsids), []
        for name, file in self.files.items():
            observation = observation_row(name, file)
            if str(observation["obsid"]) in ids:
                rows += product_rows(name, file, observation)
        return rows + (self.extra_rows if rows else [])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    home: FakeArchive

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (of the library)
        """Print nothing."""

    def do_POST(self) -> None:
        """Answer a search."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = self.home.answer(json.loads(parse_qs(body)["request"][0]))
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def do_GET(self) -> None:
        """Send a file, or where it lies in the bucket."""
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        if address.path == "/api/v0.1/path_lookup/":
            answer = {uri: self._path_of(uri) for uri in query["uri"]}
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
            return
        uri = query.get("uri", [address.path])[0]
        name = unquote(uri).rsplit("/", 1)[-1]
        file = self.home.files.get(name)
        if file is None or ("/bucket/" in self.path and not self.home.in_bucket(name)):
            self._send(404, b"no such file", {})
            return
        if not file.public and self.headers.get("Authorization") != f"token {self.home.token}":
            self._send(401, b"unauthorized", {})
            return
        is_redirect = "moved" in query
        fault = "" if is_redirect else self.home.faulty(name, self.home.count(name))
        _Sending(self, name, file, fault).send()

    def _path_of(self, uri: str) -> dict[str, Any]:
        name = uri.rsplit("/", 1)[-1]
        if name not in self.home.files:
            return {"status_code": 404, "path": None}
        return {"status_code": 200, "path": f"/hst/public/{name[:4]}/{name[:9]}/{name}"}

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], stop: int = -1) -> None:
        """Send an answer; with ``stop`` the connection ends after so many bytes of it."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(key, value)
        if "Content-Length" in headers and not headers["Content-Length"]:
            self.send_header("Connection", "close")
            self.close_connection = True
        n_sent = 0
        end = len(body) if stop < 0 else min(stop, len(body))
        pace = self.home.pace_bytes_per_s if status in {200, 206} and "uri=" in self.path else 0
        step = 4096 if pace else 1 << 16
        request = Request(self.command, self.path, dict(self.headers), status, 0)
        self.home.asked.append(request)
        try:
            self.end_headers()
            while n_sent < end:
                piece = body[n_sent : min(n_sent + step, end)]
                n_sent = request.n_bytes = n_sent + len(piece)
                self.wfile.write(piece)
                if pace:
                    time.sleep(len(piece) / pace)
        except OSError:
            self.close_connection = True
        if stop >= 0:
            self.close_connection = True


class _Sending:
    """The answer to a request for a file, with a fault or without."""

    def __init__(self, handler: _Handler, name: str, file: StoredFile, fault: str) -> None:
        self.handler, self.name, self.stored, self.fault = handler, name, file, fault
        self.random = np.random.default_rng(abs(hash((name, fault))) % 2**32)

    def send(self) -> None:
        """Send it."""
        handler, fault = self.handler, self.fault
        if fault in {"429", "503", "date"}:
            wait = "Thu, 01 Jan 1970 00:00:00 GMT" if fault == "date" else "0"
            status = 503 if fault == "date" else int(fault)
            handler._send(status, b"busy", {"Retry-After": wait})
        elif fault == "redirect":
            place = f"{handler.path}{'&' if '?' in handler.path else '?'}moved=1"
            handler._send(302, b"", {"Location": place})
        elif fault == "reset":
            handler.close_connection = True
        elif fault == "html":
            handler._send(200, PAGE, {"Content-Type": "text/html"})
        else:
            self._file()

    def _file(self) -> None:
        if self.fault == "changed":  # a new version, from now on
            self.stored.version += 1
            self.handler.home.history.setdefault(self.name, set()).add(self.stored.content)
            self.stored.content = reprocess(self.stored.content)
        body, headers = self._body(), self._headers()
        status, start, stop = 200, 0, len(body)
        range_match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.handler.headers.get("Range", ""))
        condition = self.handler.headers.get("If-Range", "")
        is_same_version = not condition or condition in {
            headers.get("ETag"),
            headers.get("Last-Modified"),
        }
        if range_match and (is_same_version or self.fault == "mixed") and self.fault != "no range":
            start = int(range_match[1])
            stop = min(int(range_match[2]) + 1, stop) if range_match[2] else stop
            if start >= len(body):
                headers["Content-Range"] = f"bytes */{len(body)}"
                self.handler._send(416, b"", headers)
                return
            shift = 7 if self.fault == "other part" else 0
            start = max(start - shift, 0)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        part = body[start:stop]
        cut_at = len(part) // 3 if self.fault == "cut" else -1
        if self.fault == "slow":
            time.sleep(0.05)
        if self.fault == "no length":
            headers["Content-Length"] = ""
        self.handler._send(status, part, headers, cut_at)

    def _body(self) -> bytes:
        """Return what is sent in place of the file, or the file."""
        content, fault = self.stored.content, self.fault
        others: dict[str, Callable[[], bytes]] = {
            "short": lambda: content[: len(content) // 2],
            "long": lambda: content + bytes(2880),
            "bytes": lambda: self.random.bytes(len(content)),
            "html of the length": lambda: PAGE + b" " * (len(content) - len(PAGE)),
            "foreign": lambda: content.replace(self.name.encode(), self.name[::-1].encode()),
            "flipped": lambda: with_other_pixels(content),
            "mixed": lambda: with_other_pixels(content),
            "empty": bytes,
        }
        return others[fault]() if fault in others else content

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": FITS_TYPE, "Accept-Ranges": "bytes", "ETag": self.stored.etag}
        if self.fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        if self.fault in {"no validator", "no length"}:
            del headers["ETag"]
        if self.fault == "weak":
            headers["ETag"] = f"W/{headers['ETag']}"
        return headers
