"""One file from an archive: it comes in parts, goes on at its byte, and is whole, or is not there.

What has come lies in a part file, with a note of what it is a part of.  A part is continued only
while the server says that the file is still the same (If-Range with its ETag, else Last-Modified);
if it can't say so, or says otherwise, the file is fetched from its first byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bycatch.archive.model import Product
from bycatch.archive.names import field_of_name, root_of_name
from bycatch.archive.web import PIECE_BYTES, Patience, Problem, Web
from bycatch.errors import UnreadableFile
from bycatch.images.integrity import RECORD, Unit, refuse_if_altered, refuse_if_cut
from bycatch.system.running import boot

if TYPE_CHECKING:
    from requests import Response

HEAD_BYTES = 10 * RECORD
"""What is asked for first where the header decides.  Of the primary header of a real drc, which
has 67 kB, PRIMESI is card 14 and FILTER1 card 58."""
SMALL_PIECE_BYTES = RECORD
MOST_HEAD_BYTES = 400 * RECORD
"""A longer header is not one."""
BEGIN = b"SIMPLE  ="
MOST_DAMAGED = 3
"""Times that a file may come damaged."""
PROGRESS_BYTES, PROGRESS_SHARE = 1_000_000, 0.05
"""A try that brings so much, or that share of the file, counts as progress."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
MD5 = re.compile(r'"([0-9a-f]{32})"')
STORES = ("x-amz-request-id", "x-amz-id-2")
"""Headers of an object store, whose ETag of a file that was stored in one piece is its MD5."""


class WrongFile(Exception):
    """The header shows that this is not the requested file."""


Gate = Callable[[Mapping[str, str], bool], bool]
"""Looks at the cards that have come, and whether these are all; returns whether it has decided.
Raises `Unwanted`."""


@dataclass
class Note:
    """What a part file is a part of.

    Attributes
    ----------
    address, uri : where it comes from, and what it is
    validator : the ETag or the date by which the server knows it again; '' without one
    n_bytes : of the whole file; None where the server does not say
    md5 : of the whole file, as the server says; '' where it does not
    boot : of the system that wrote it: after a power cut the end of a part may be zeros
    """

    address: str
    uri: str
    validator: str = ""
    n_bytes: int | None = None
    md5: str = ""
    boot: str = ""


class Download:
    """A download in progress.

    Parameters
    ----------
    web : connections
    product : as listed
    address : where it is to be had
    part : where its bytes go
    gate : decides by the header whether it is wanted
    came : called with the number of bytes as they arrive; negative to take back wasted ones
    """

    def __init__(
        self,
        web: Web,
        product: Product,
        address: str,
        part: Path,
        gate: Gate | None = None,
        came: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.web, self.product, self.address = web, product, address
        self.part, self.gate, self.came = part, gate, came
        self.note_path = part.with_name(f"{part.name}.json")
        self.n_received = 0
        self._decided = gate is None
        self._had_head = False
        self._n_damaged = 0

    def run(self) -> None:
        """Fetch what is missing until the part file is complete and verified.

        Raises
        ------
        Unwanted
            The header says so; nothing of it is kept.
        Problem
            It could not be had; what came of it is kept for the next time.
        Stopping
            The fetch ends.
        OSError
            The disk is full, or can't be written to.
        """
        patience = Patience(self.web)
        self.came(self.size)
        while True:
            before = self.size
            try:
                while not self._is_complete():
                    self._request()
                self._check()
            except Problem as problem:
                if not patience.again(problem, progress=self._has_grown(before)):
                    raise
            except WrongFile:
                self.forget()
                raise
            else:
                return

    def _has_grown(self, before: int) -> bool:
        note = self._note()
        whole = (note and note.n_bytes) or math.inf
        return self.size - before >= min(PROGRESS_BYTES, PROGRESS_SHARE * whole)

    @property
    def size(self) -> int:
        """Bytes of the part file."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def forget(self) -> None:
        """Remove what was downloaded."""
        self.came(-self.size)
        self._decided = self.gate is None
        self.part.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    # ---- one request -------------------------------------------------------------------------

    def _is_complete(self) -> bool:
        note = self._note()
        return note is not None and note.n_bytes is not None and self.size == note.n_bytes

    def _request(self) -> None:
        """Ask for what is missing, and write what comes."""
        note = self._note()
        start = self.size if note else 0
        if note is None and self.size:
            self.forget()
        headers, is_head = {}, False
        if note and start:
            self._look_at_part(whole=False)  # what an earlier fetch began may not be wanted now
            headers = {"Range": f"bytes={start}-", "If-Range": note.validator}
        elif not (self._decided or self._had_head):
            self._had_head = is_head = True
            headers = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
        with self.web.answer("GET", self.address, headers) as answer:
            if answer.status_code == 416 or (answer.status_code == 206 and not headers):
                self.forget()
                raise Problem("the server sent a byte range that does not fit")
            total: int | None
            if answer.status_code == 206:
                start, total = self._partial_range(answer, note, start)
            else:
                start, total, is_head = 0, _length(answer), False
            if start == 0:
                note = self._begin(answer, total)
            assert note is not None
            self._write(answer, start, note, is_head=is_head)

    def _partial_range(self, answer: Response, note: Note | None, start: int) -> tuple[int, int]:
        """Return where a partial response begins, and the length of the file."""
        match = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start:
            self.forget()
            raise Problem("the server sent the wrong byte range; starting again")
        total = int(match[3])
        if note is not None and start:
            is_changed = note.n_bytes not in {None, total} or note.validator != _validator(answer)
            if is_changed:
                self.forget()
                raise Problem("the file has changed on the server; starting again")
        return start, total

    def _begin(self, answer: Response, total: int | None) -> Note:
        """Start the part again, and note of what it is a part."""
        if self.size:
            self.forget()
        validator = _validator(answer)
        note = Note(self.address, self.product.uri, validator, total, _md5(answer), boot())
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self.part.write_bytes(b"")
        self._keep(note)
        return note

    def _keep(self, note: Note) -> None:
        # Half a note is useless: then the file is fetched from its first byte.
        self.note_path.write_text(json.dumps(asdict(note)), encoding="utf-8")

    def _write(self, answer: Response, start: int, note: Note, *, is_head: bool) -> None:
        """Write the body of a response, checking its first bytes and its header."""
        if note.n_bytes == 0:
            self.forget()
            raise Problem("an empty answer")
        if start == 0 and "html" in answer.headers.get("Content-Type", "").lower():
            self.forget()
            raise Problem("the server sent a web page instead of the file")
        n_bytes = start
        with self.part.open("ab") as file:
            for piece in self.web.pieces(answer, self._piece_bytes):
                file.write(piece)
                n_bytes += len(piece)
                self.n_received += len(piece)
                self.came(len(piece))
                if note.n_bytes is not None and n_bytes > note.n_bytes:
                    break
                self._look(file, n_bytes, whole=n_bytes == note.n_bytes)
        if note.n_bytes is None:  # the server did not say: its answer has come to its end
            note.n_bytes = n_bytes
            self._keep(note)
        if n_bytes > note.n_bytes:
            self.forget()
            raise Problem(f"{n_bytes} bytes or more received, of {note.n_bytes}; starting again")
        if n_bytes < note.n_bytes and not is_head:
            raise Problem(f"stopped after {n_bytes} of {note.n_bytes} bytes")
        if n_bytes == start:
            raise Problem("an empty answer")

    def _piece_bytes(self) -> int:
        """Return how much to take at a time: little, while the next card may end it."""
        return PIECE_BYTES if self._decided else SMALL_PIECE_BYTES

    def _look(self, file: BinaryIO, n_bytes: int, *, whole: bool) -> None:
        """Refuse content that does not begin like FITS; ask the gate as early as possible."""
        if self._decided and n_bytes > PROGRESS_BYTES:
            return
        file.flush()
        self._look_at_part(whole=whole)

    def _look_at_part(self, *, whole: bool) -> None:
        with self.part.open("rb") as stream:
            head = stream.read(len(BEGIN) if self._decided else MOST_HEAD_BYTES)
        if not head.startswith(BEGIN[: len(head)]):
            self.forget()
            raise Problem(f"not a FITS file from the server: {head[:60]!r}")
        if not self._decided and self.gate is not None:
            cards, is_all = _cards(head)
            is_all = is_all or whole or len(head) >= MOST_HEAD_BYTES
            self._decided = self.gate(cards, is_all)

    # ---- the part file -----------------------------------------------------------------------

    def _note(self) -> Note | None:
        """Return what the part is a part of; None if it can't be continued."""
        try:
            note = Note(**json.loads(self.note_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        is_ours = (note.address, note.uri, note.boot) == (self.address, self.product.uri, boot())
        complete = note.n_bytes is not None and self.size == note.n_bytes
        fits = note.n_bytes is None or self.size <= note.n_bytes
        return note if is_ours and fits and (note.validator or complete) else None

    def _check(self) -> None:
        """Verify that the part is the whole file.

        Raises
        ------
        Problem
            It is not; nothing of it is kept.
        """
        note = self._note()
        assert note is not None
        fault = fault_of(self.part, self.product, note.md5)
        if not fault:
            self._look_at_part(whole=True)
            return
        self._n_damaged += 1
        self.forget()
        raise Problem(fault, passing=self._n_damaged < MOST_DAMAGED)


def fault_of(path: Path, product: Product, md5: str = "") -> str:
    """Return what is wrong with a file that should be a product; '' if it is whole and the one.

    Its extensions fill it to the last byte and are as many as NEXTEND counts; sums agree where
    there are some (CHECKSUM, DATASUM; MD5 of the server); the name in its header is its own.  Where
    its length is not the listed one, which may be wrong, it has to have a NEXTEND.
    """
    n_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            units = refuse_if_cut(path, file)
            refuse_if_altered(path, file, units)
        with path.open("rb") as file:
            if md5 and hashlib.file_digest(file, "md5").hexdigest() != md5:
                return "its MD5 differs from the server's"
    except UnreadableFile as err:
        return err.message.removeprefix(f"{path}: ")
    if units[-1].stop != n_bytes:
        return f"{n_bytes - units[-1].stop} bytes follow its last extension"
    if product.n_bytes not in {None, n_bytes} and not units[0].number_of("NEXTEND"):
        return f"{n_bytes} bytes received, {product.n_bytes} expected, and NEXTEND is missing"
    return _foreign(units[0], product)


def _foreign(primary: Unit, product: Product) -> str:
    """Return what is wrong with the name in a header; '' if it is that of the product."""
    cards = primary.cards
    names = {cards[key] for key in ("FILENAME", "ROOTNAME") if cards.get(key)}
    roots = {root_of_name(name if "." in name else f"{name}.fits") for name in names}
    if not roots or root_of_name(product.name) in roots:
        return ""
    if not cards.get("FILENAME"):
        fields = {field_of_name(f"{root}.fits") for root in roots} - {""}
        if not fields or product.field in fields:
            return ""  # ROOTNAME of a HAP product is that of an exposure
    return f"the wrong file: its header names {', '.join(sorted(names))}"


def _cards(head: bytes) -> tuple[Mapping[str, str], bool]:
    """Return the cards of the part of a header that has arrived, and whether it is complete."""
    end = next((k for k in range(0, len(head) - 79, 80) if head[k : k + 8] == b"END     "), -1)
    whole = head[: end if end >= 0 else len(head) // 80 * 80]
    return Unit(whole, 0, 0, 0).cards, end >= 0


def _validator(answer: Response) -> str:
    """Return the server's validator of the file; '' if it gives none that identifies its bytes.

    A weak ETag may stay the same while bytes change.
    """
    etag = answer.headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified", "").strip()


def _length(answer: Response) -> int | None:
    text = answer.headers.get("Content-Length", "").strip()
    return int(text) if text.isdecimal() else None


def _md5(answer: Response) -> str:
    """Return the MD5 of the file that the server states; '' if it states none."""
    headers: Mapping[str, Any] = answer.headers
    if answer.status_code == 200 and headers.get("Content-MD5"):
        try:
            return base64.b64decode(headers["Content-MD5"], validate=True).hex()
        except ValueError:
            return ""
    match = MD5.fullmatch(headers.get("ETag", "").strip())
    return match[1] if match and any(name in headers for name in STORES) else ""
