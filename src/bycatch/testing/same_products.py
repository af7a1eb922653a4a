"""Whether two output folders hold the same products, whenever and in how many runs they were made.

What differs between any two runs is left out: the moment of the making (DATE), seconds and memory,
which steps the last run found done, the times of files, the name of the output folder; and logs and
pages.  All else must be the same to the last byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATES = ("*_state.json", "field.json", "products.json")
"""Files that say what was made, with proofs."""
OF_A_RUN = frozenset(
    {"seconds", "peak_mb", "done", "kept", "out", "folder", "fingerprint", "facts_key", "stars_key"}
)
"""Values that belong to a run, its place and the times of its files, not to what it made."""
DATE = re.compile(rb"(\bDATE\b['\": =]+)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?")
PAGES = re.compile(r"report\.html|page\.js|products\.json|.*\.log|\..*")
"""Logs, pages, and hidden files, which `leftovers` gives."""


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two output folders, in words; nothing if they are the same."""
    first, second = _files(one), _files(other)
    lines = [f"{name}: only in {one}" for name in sorted(first - second)]
    lines += [f"{name}: only in {other}" for name in sorted(second - first)]
    for name in sorted(first & second):
        if _content(one / name, one) != _content(other / name, other):
            lines.append(f"{name}: differs")
    return lines


def damaged_products(out: Path) -> list[str]:
    """Return the products that the state files of a folder name and that are not as they say."""
    return [
        f"{path.relative_to(out)}: {'not what was made' if path.is_file() else 'missing'}"
        for path, checksum in sorted(_products(out))
        if not path.is_file() or _checksum(path) != checksum
    ]


def leftovers(out: Path) -> list[str]:
    """Return what killed runs have left: drafts, locks."""
    return sorted(str(path.relative_to(out)) for path in out.rglob(".*"))


def _files(out: Path) -> set[str]:
    return {
        str(path.relative_to(out))
        for path in out.rglob("*")
        if (path.is_symlink() or path.is_file())
        and not any(PAGES.fullmatch(part) for part in path.relative_to(out).parts)
    }


def _content(path: Path, out: Path) -> Any:
    """Return the content of a file without what differs between any two runs."""
    if path.is_symlink():
        return path.readlink()
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)  # its head holds the time
    if path.suffix == ".parquet":
        return _rows(content)
    if path.suffix == ".json":
        return _plain(json.loads(content.replace(os.fsencode(out), b"OUT")))
    return DATE.sub(rb"\1", content.replace(os.fsencode(out), b"OUT"))


def _rows(content: bytes) -> Any:
    """Return the rows of a Parquet file, and its metadata; packed, they hold the moment, too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    stream = io.BytesIO()
    bare = table.replace_schema_metadata(None)
    with pa.ipc.new_stream(stream, bare.schema) as writer:
        writer.write_table(bare)
    metadata = {**(table.schema.metadata or {})}
    metadata.pop(b"DATE", None)
    return stream.getvalue(), {key: DATE.sub(rb"\1", value) for key, value in metadata.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if {"stamp", "checksum"} <= value.keys():
            return "proof"  # of a file that is compared itself
        return {k: _plain(v) for k, v in value.items() if k not in OF_A_RUN}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _products(out: Path) -> Iterator[tuple[Path, str]]:
    """Give the products that the state files name, and their checksums."""
    for pattern in STATES:
        for path in out.rglob(pattern):
            if not any(part.startswith(".") for part in path.relative_to(out).parts):
                yield from _products_in(json.loads(path.read_bytes()), path.parent)


def _products_in(value: Any, folder: Path) -> Iterator[tuple[Path, str]]:
    """Give the products that a state names: by name, with a proof or with an entry that has one."""
    if isinstance(value, list):
        for entry in value:
            yield from _products_in(entry, folder)
    elif isinstance(value, dict):
        if "filter" in value and folder.name != value["filter"]:
            folder /= value["filter"]  # an image in the state of its field
        for name, entry in value.items():
            proof = entry.get("proof", entry) if isinstance(entry, dict) else {}
            if isinstance(proof, dict) and {"stamp", "checksum"} <= proof.keys():
                yield folder / name, proof["checksum"]
            else:
                yield from _products_in(entry, folder)


def _checksum(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
