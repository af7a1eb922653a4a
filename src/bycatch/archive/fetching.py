"""A fetch: what the archive has, what is on disk, and the rest downloaded by several threads."""

from __future__ import annotations

import errno
import logging
import math
import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bycatch.archive.download import Download, WrongFile, fault_of
from bycatch.archive.ledger import Ledger
from bycatch.archive.mast import Mast
from bycatch.archive.model import (
    FetchedFile,
    FetchReport,
    FetchRequest,
    Product,
    State,
    in_mb,
    total_bytes,
)
from bycatch.archive.overlap import groups_on_sky
from bycatch.archive.tally import Tally
from bycatch.archive.tokens import token_for
from bycatch.archive.web import Problem, Stopping, Web
from bycatch.errors import NoAnswer, log_traceback, reason
from bycatch.settings import FetchSettings
from bycatch.system.disk import place_new
from bycatch.system.locks import lock

logger = logging.getLogger("bycatch")

DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
"""What is no better with the next file."""
POLL_S = 0.5
ENDING_S = 2.0
DECIDING = ("PRIMESI", "INSTRUME", "FILTER1", "FILTER2")
"""Cards that decide whether a file is wanted."""


class Fetching:
    """A fetch in progress, as a context: its threads and files end with it.

    Parameters
    ----------
    wanted : what to look for
    data : where the images go: ``<data>/<program>_<visit>/<name>``
    settings : of fetch
    cloud : take files from the archive's public bucket, as far as they are there
    tally : counts bytes as they come

    Raises
    ------
    LockHeld
        Another fetch works in the same folder.
    """

    def __init__(
        self,
        request: FetchRequest,
        data: str | Path,
        settings: FetchSettings | None = None,
        *,
        cloud: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self.wanted, self.data = request.validate(), Path(data)
        self.settings, self.cloud = settings or FetchSettings(), cloud
        self.tally = tally or Tally()
        self.ledger = Ledger(self.data)
        self.web = Web(self.settings, token_for(self.settings.server))
        self.mast = Mast(self.web)
        self.files: dict[str, FetchedFile] = {}
        self.refused: list[tuple[str, str]] = []
        self.n_waiting_bytes = 0
        """Of images that have come and wait for the run."""
        self.most_waiting_bytes = math.inf
        """Downloads wait while there are more of them."""
        self._started = time.perf_counter()
        self._places: dict[str, list[str]] = {}
        self._foreign: list[Product] = []
        self._addresses: dict[str, str] = {}
        self._fatal: Exception | None = None

    # ---- the plan ----------------------------------------------------------------------------

    def look(self) -> None:
        """Ask the archive what it has, and see what is there already.

        Raises
        ------
        NoAnswer
            It does not answer.
        """
        try:
            products, self.refused = self.mast.products(self.wanted)
        except Problem as problem:
            raise NoAnswer(f"{self.settings.server}: {problem}") from None
        self.files = {product.place: self._state(product) for product in products}
        self._places = {}
        for place, file in self.files.items():
            self._places.setdefault(file.product.field, []).append(place)

    def of_field(self, name: str) -> list[FetchedFile]:
        """Return the files of a field."""
        return [self.files[place] for place in self._places.get(name, ())]

    def release(self, fields: Iterable[str]) -> None:
        """Record that the images of these fields are no longer waited for."""
        self.n_waiting_bytes -= sum(self._bytes_of(field) for field in fields)

    def _bytes_of(self, field: str) -> int:
        there = {State.THERE, State.FETCHED, State.DISCARDED}
        return sum(f.product.n_bytes or 0 for f in self.of_field(field) if f.state in there)

    def _state(self, product: Product) -> FetchedFile:
        """Return what is on disk of a listed file."""
        path, entry = self.ledger.path(product), self.ledger.entry(product)
        if path.is_symlink() or path.exists():
            return self._there(product)
        if entry is not None and entry.discarded:
            return FetchedFile(product, State.DISCARDED)
        if not product.public and not self.web.token:
            return FetchedFile(product, State.LEFT_OUT, "not public: it needs a token")
        cards = self.ledger.head(product)
        if cards is not None and (why := self._reason_to_skip(cards)):
            return FetchedFile(product, State.LEFT_OUT, why)
        has_part = self.ledger.part(product).exists()
        return FetchedFile(product, State.STARTED if has_part else State.TO_FETCH)

    def _there(self, product: Product) -> FetchedFile:
        """Return the state of a file whose name is taken: nothing is ever overwritten."""
        path, entry = self.ledger.path(product), self.ledger.entry(product)
        if self.ledger.is_known(product):
            assert entry is not None
            if entry.listed_bytes == product.n_bytes:
                return FetchedFile(product, State.THERE)
            return FetchedFile(
                product, State.THERE,
                f"the archive now lists a different size ({in_mb(product.n_bytes)} MB): move the "
                "file away to fetch it again",
            )  # fmt: skip
        fault = "no file" if not path.is_file() else fault_of(path, product)
        if fault:
            why = f"a file of this name exists and is left alone: {fault}"
            return FetchedFile(product, State.FAILED, why)
        self._foreign.append(product)
        return FetchedFile(product, State.THERE)

    def _reason_to_skip(self, cards: Mapping[str, str]) -> str:
        """Return why a file is not wanted, from its header; '' if it is wanted."""
        prime, instrument = (cards.get(name, "").upper() for name in ("PRIMESI", "INSTRUME"))
        if self.wanted.parallels and not prime:
            return "its header does not name the prime instrument"
        if self.wanted.parallels and prime == instrument:
            return f"not a parallel: {instrument} was prime"
        filters = {cards.get(name, "").upper() for name in ("FILTER1", "FILTER2")} - {""}
        if self.wanted.filters and filters and not filters & set(self.wanted.filters):
            return f"taken through {' and '.join(sorted(filters))}"
        return ""

    def report(self, *, is_plan: bool = False) -> FetchReport:
        """Return what became of all files so far."""
        seconds = time.perf_counter() - self._started
        return FetchReport(self.data, self.wanted, tuple(self.files.values()), seconds, is_plan)

    # ---- the work ----------------------------------------------------------------------------

    def batches(self) -> Iterator[tuple[str, ...]]:
        """Fetch, and give the names of fields as they come; those without an image are left out.

        A field comes when all its files are over, and those of all fields near it on the sky.

        Raises
        ------
        OSError
            The disk is full, or can't be written to.
        LockHeld
            Another fetch works in the same folder.
        """
        self.ledger.folder.mkdir(parents=True, exist_ok=True)
        with lock(self.ledger.folder / ".lock"):
            yield from self._batches()

    def _batches(self) -> Iterator[tuple[str, ...]]:
        groups = groups_on_sky([file.product for file in self.files.values()])
        batch_of = {field: k for k, group in enumerate(groups) for field in group}
        n_left = [0] * len(groups)
        todo = [f for f in self.files.values() if f.state in {State.TO_FETCH, State.STARTED}]
        todo.sort(key=lambda file: batch_of[file.product.field])
        for file in todo:
            n_left[batch_of[file.product.field]] += 1
        self._prepare(todo)
        results: queue.SimpleQueue[FetchedFile] = queue.SimpleQueue()
        threads = self._start([file.product for file in todo], results)
        try:
            for k, n in enumerate(n_left):
                if n == 0:
                    yield self._come(groups[k])
            for _ in todo:
                over = self._next(results, threads)
                if over is None:
                    return
                self.files[over.product.place] = over
                self.tally.over(over)
                _log(over)
                k = batch_of[over.product.field]
                n_left[k] -= 1
                if n_left[k] == 0 and over.state != State.STARTED:
                    yield self._come(groups[k])
        finally:
            self.web.stop.set()
            for thread in threads:
                thread.join(ENDING_S)

    def _come(self, fields: Iterable[str]) -> tuple[str, ...]:
        """Return the fields that have images; waits for processes that work on them."""
        there = {State.THERE, State.FETCHED}
        names = tuple(
            field for field in fields if any(file.state in there for file in self.of_field(field))
        )
        self.n_waiting_bytes += sum(self._bytes_of(field) for field in names)
        return names

    def _prepare(self, todo: list[FetchedFile]) -> None:
        """Report what is to be done, and find the places in the bucket."""
        self.tally.begin(todo)
        for product in self._foreign:
            self.ledger.enter(product)
        n_bytes, free = total_bytes(todo), shutil.disk_usage(self.data).free
        logger.info(
            "%d file(s) to fetch, %s MB; %d there", len(todo), in_mb(n_bytes),
            sum(file.state == State.THERE for file in self.files.values()),
        )  # fmt: skip
        if n_bytes > free:
            logger.warning(
                "up to %s MB to fetch, but only %s MB are free in %s",
                in_mb(n_bytes),
                in_mb(free),
                self.data,
            )
        if self.cloud and todo:
            try:
                self._addresses = self.mast.bucket_addresses([file.product for file in todo])
            except Problem as problem:
                logger.warning(
                    "the public bucket gives no addresses (%s): fetching from the archive", problem
                )

    def _start(
        self, products: list[Product], results: queue.SimpleQueue[FetchedFile]
    ) -> list[threading.Thread]:
        waiting: queue.SimpleQueue[Product] = queue.SimpleQueue()
        for product in products:
            waiting.put(product)

        def work() -> None:
            while not self.web.stop.wait(POLL_S if self._has_enough() else 0.0):
                if self._has_enough():
                    continue
                try:
                    product = waiting.get_nowait()
                except queue.Empty:
                    return
                results.put(self._fetch(product))

        n_threads = min(self.settings.downloads, len(products))
        threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        return threads

    def _has_enough(self) -> bool:
        return self.n_waiting_bytes > self.most_waiting_bytes

    def _next(
        self, results: queue.SimpleQueue[FetchedFile], threads: list[threading.Thread]
    ) -> FetchedFile | None:
        """Return the next file that is over; None when the fetch has been stopped."""
        while True:
            file: FetchedFile | None = None
            with suppress(queue.Empty):
                file = results.get(timeout=POLL_S)
            if self._fatal is not None:
                raise self._fatal
            if file is not None:
                return file
            if results.empty() and not any(thread.is_alive() for thread in threads):
                return None

    def _fetch(self, product: Product) -> FetchedFile:
        """Fetch one file; whatever goes wrong with it is in what is returned."""
        head: dict[str, str] = {}

        def gate(cards: Mapping[str, str], is_all: bool) -> bool:
            if not is_all and not all(name in cards for name in DECIDING):
                return False
            head.update({name: cards[name] for name in DECIDING if name in cards})
            if why := self._reason_to_skip(head):
                raise WrongFile(why)
            return True

        is_decided = not (self.wanted.parallels or self.wanted.filters)
        download = Download(
            self.web, product, self._addresses.get(product.uri) or self.mast.address(product),
            self.ledger.part(product), None if is_decided else gate, self.tally.came,
        )  # fmt: skip
        try:
            self._bring(download)
        except WrongFile as unwanted:
            self.ledger.enter_head(product, head)
            return FetchedFile(product, State.LEFT_OUT, str(unwanted), download.n_received)
        except Problem as problem:
            return FetchedFile(product, State.FAILED, str(problem), download.n_received)
        except FileExistsError:
            return replace(self._there(product), n_bytes=download.n_received)
        except Stopping:
            return FetchedFile(product, State.STARTED, "", download.n_received)
        except Exception as err:  # the other files are fetched all the same  # noqa: BLE001
            if isinstance(err, OSError) and err.errno in DISK:
                self._fatal = err
                self.web.stop.set()
            else:
                log_traceback(err)
            return FetchedFile(product, State.FAILED, reason(err), download.n_received)
        return FetchedFile(product, State.FETCHED, "", download.n_received)

    def _bring(self, download: Download) -> None:
        """Fetch a file and give it its name."""
        product = download.product
        try:
            download.run()
        except Problem as problem:
            if product.uri not in self._addresses or not _is_missing(problem):
                raise
            self._addresses.pop(product.uri, None)  # not in the bucket: from the archive
            download.address = self.mast.address(product)
            download.run()
        self.ledger.enter(product, download.part)
        path = self.ledger.path(product)
        path.parent.mkdir(exist_ok=True)
        place_new(download.part, path)
        self.ledger.is_known(product)  # with the stamp of its name
        self.ledger.field(product.field).write()
        download.note_path.unlink(missing_ok=True)


def _is_missing(problem: Problem) -> bool:
    return not problem.passing and str(problem)[:3] in {"403", "404"}


def _log(file: FetchedFile) -> None:
    name = file.product.place
    if file.state == State.FAILED:
        logger.error("%s: failed: %s", name, file.reason)
    elif file.state == State.LEFT_OUT:
        logger.info("%s: left out: %s", name, file.reason)
    else:
        logger.debug("%s: %s", name, file.state)
