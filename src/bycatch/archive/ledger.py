"""What a fetch records beside the images: which it downloaded, and facts from headers.

One file per field below ``DATA/.part-fetch``, a name that no search for images enters.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bycatch.archive.model import Product
from bycatch.system.disk import PARTIAL, Proof, atomic, is_whole, proof_of

FOLDER = f"{PARTIAL}fetch"


@dataclass
class Entry:
    """An image on disk that was complete.

    Attributes
    ----------
    uri : what the archive calls it
    stamp, checksum : proof of the file
    listed_bytes : its size in the listing, which may be wrong
    discarded : it was removed, after a run was done with it
    brought : a fetch brought it; else it was there before
    """

    uri: str
    stamp: str
    checksum: str
    listed_bytes: int | None = None
    discarded: bool = False
    brought: bool = True


@dataclass
class Head:
    """Facts from the header of a file that was not fetched."""

    uri: str
    listed_bytes: int | None
    cards: dict[str, str]


@dataclass
class FieldLedger:
    """What is known of the files of one field."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)

    def write(self) -> None:
        """Write it."""
        values = {
            "files": {name: asdict(entry) for name, entry in sorted(self.entries.items())},
            "heads": {name: asdict(head) for name, head in sorted(self.heads.items())},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(self.path) as partial:
            partial.write_text(json.dumps(values, indent=1), encoding="utf-8")


class Ledger:
    """The ledger of a folder of data; threads may use it at the same time."""

    def __init__(self, data: Path) -> None:
        self.data, self.folder = data, data / FOLDER
        self._fields: dict[str, FieldLedger] = {}
        self._lock = threading.RLock()

    def path(self, product: Product) -> Path:
        """Return the path of an image."""
        return self.data / product.field / product.name

    def part(self, product: Product) -> Path:
        """Return the path of its part file."""
        return self.folder / f"{product.field}-{product.name}.part"

    def field(self, name: str) -> FieldLedger:
        """Return what is known of a field; nothing of what can't be read."""
        with self._lock:
            if name not in self._fields:
                self._fields[name] = _read(self.folder / f"{name}.json")
            return self._fields[name]

    def entry(self, product: Product) -> Entry | None:
        """Return what is known of an image; None if nothing."""
        return self.field(product.field).entries.get(product.name)

    def enter(self, product: Product, part: Path | None = None) -> None:
        """Record a complete file, so that it need not be verified again.

        Parameters
        ----------
        product : as listed
        part : where it lies that a fetch brought; it is entered before it gets its name: who finds
            it there knows it then.  Without it, the file was there before.
        """
        proof = proof_of(part or self.path(product))
        entry = Entry(product.uri, proof.stamp, proof.checksum, product.n_bytes)
        entry.brought = part is not None
        with self._lock:
            own = self.field(product.field)
            own.entries[product.name] = entry
            own.heads.pop(product.name, None)
            own.write()

    def is_known(self, product: Product) -> bool:
        """Return whether a file is the recorded one and unchanged."""
        entry = self.entry(product)
        if entry is None:
            return False
        proof = Proof(entry.stamp, entry.checksum)
        if not is_whole(self.path(product), proof):
            return False
        entry.stamp = proof.stamp
        return True

    def head(self, product: Product) -> dict[str, str] | None:
        """Return the recorded facts of a header, if the file has not changed since."""
        head = self.field(product.field).heads.get(product.name)
        same = head and (head.uri, head.listed_bytes) == (product.uri, product.n_bytes)
        return head.cards if head and same else None

    def enter_head(self, product: Product, cards: dict[str, str]) -> None:
        """Record the header of an unwanted file, so that it need not be read again."""
        with self._lock:
            own = self.field(product.field)
            own.heads[product.name] = Head(product.uri, product.n_bytes, cards)
            own.write()

    def discard(self, product: Product) -> bool:
        """Remove an image that a fetch brought and that is unchanged; return whether it was."""
        own = self.field(product.field)
        if not (self.is_known(product) and own.entries[product.name].brought):
            return False
        with self._lock:
            own.entries[product.name].discarded = True
            own.write()
            self.path(product).unlink()
        return True


def _read(path: Path) -> FieldLedger:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = {name: Entry(**entry) for name, entry in values["files"].items()}
        heads = {name: Head(**head) for name, head in values["heads"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return FieldLedger(path)
    return FieldLedger(path, entries, heads)
