"""``summary.json``: the states of all fields of a folder, put together one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bycatch.errors import SettingsError, UnreadableFile
from bycatch.pipeline.outcomes import numbers_of
from bycatch.products import (
    SUMMARY,
    FieldState,
    ImageRecord,
    field_names,
    last_run,
    read_field,
)
from bycatch.products.content import json_bytes
from bycatch.products.folder import UnusedFile
from bycatch.system.disk import atomic
from bycatch.system.locks import wait_for
from bycatch.version import __version__

logger = logging.getLogger("bycatch")

LOCK = ".summary.lock"


def summarize(out: str | Path) -> Path:
    """Write ``summary.json`` from the states of the fields, and return its path.

    It holds every image of the folder, whichever run worked on it; one field is in memory at a
    time.

    Raises
    ------
    SettingsError
        There is no field in the folder, and nothing was lost.
    """
    out = Path(out)
    last = last_run(out)
    path = out / SUMMARY
    if not field_names(out) and not last.skipped:
        raise SettingsError(f"{out}: no image in it", hint="run 'bycatch run' first")
    # Of two that end at once the second one reads what both have done.
    with wait_for(out / LOCK), atomic(path) as partial, partial.open("wb") as stream:
        skipped = list(last.skipped)
        references: dict[str, str] = {}
        fields: dict[str, Any] = {}
        head: dict[str, Any] = {"bycatch": __version__, "out": str(out), "inputs": last.inputs}
        head["seconds"] = last.seconds
        stream.write(json_bytes(head).rstrip(b"}\n ") + b',\n  "images": [')
        first = True
        for state in _states(out, skipped):
            references[state.name] = state.references
            if state.alignment:
                fields[state.name] = state.alignment
            skipped += [UnusedFile(p, why, dropped=True) for p, why in state.unplaced.items()]
            for record in state.images:
                first = _write_next(stream, _entry(record, out), first=first)
        tail = {"skipped": skipped, "references": references, "fields": fields}
        stream.write(b"\n  ],\n" + json_bytes(tail)[2:])
    return path


def _states(out: Path, skipped: list[UnusedFile]) -> Iterator[FieldState]:
    """Give the states of the fields; one that can't be read is a file that is not used."""
    for name in field_names(out):
        try:
            yield read_field(out, name)
        except UnreadableFile as err:
            skipped.append(UnusedFile(str(out / name), str(err), dropped=True))


def _write_next(stream: BinaryIO, entry: dict[str, Any], *, first: bool) -> bool:
    stream.write(b"\n" if first else b",\n")
    stream.write(b"    " + json_bytes(entry).rstrip().replace(b"\n", b"\n    "))
    return False


def _entry(record: ImageRecord, out: Path) -> dict[str, Any]:
    """Return what the summary says of an image."""
    last = record.last
    return {
        "root": record.root,
        "field": record.field,
        "filter": record.filter,
        "source": record.source,
        "outcome": last.outcome,
        "reason": last.reason,
        "traceback": last.traceback,
        "done": last.done,
        "kept": last.kept,
        "seconds": last.seconds,
        **numbers_of(record),
        "folder": str(record.paths(out).folder),
    }
