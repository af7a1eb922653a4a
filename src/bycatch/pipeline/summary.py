"""``summary.json``: the states of all fields of a folder, put together one by one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, BinaryIO

from bycatch.errors import SettingsError, UnreadableFile
from bycatch.pipeline.outcomes import ImageReport
from bycatch.products import (
    SUMMARY,
    field_names,
    last_run,
    read_fields,
)
from bycatch.products.content import json_bytes
from bycatch.products.folder import UnusedFile
from bycatch.products.group_state import read_groups
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
        skips = list(last.skipped)
        references: dict[str, str] = {}
        fields: dict[str, Any] = {}
        head: dict[str, Any] = {"bycatch": __version__, "out": str(out), "inputs": last.inputs}
        head["seconds"] = last.seconds
        stream.write(json_bytes(head).rstrip(b"}\n ") + b',\n  "images": [')
        first = True
        for state_path, state in read_fields(out):
            if isinstance(state, UnreadableFile):
                skips.append(UnusedFile(str(state_path.parent), str(state), dropped=True))
                continue
            references[state.name] = state.references
            if state.alignment:
                fields[state.name] = state.alignment
            skips += [UnusedFile(p, why, dropped=True) for p, why in state.unplaced.items()]
            for record in state.images:
                entry = ImageReport.of(record, record.last, out).to_dict(record)
                first = _write_next(stream, entry, first=first)
        tail = {"skipped": skips, "references": references, "fields": fields}
        tail["groups"] = {
            state.name: {
                "outcome": state.outcome,
                "reason": state.reason,
                "images": state.images,
                "seconds": state.seconds,
                "summary": state.summary,
            }
            for state in read_groups(out)
        }
        stream.write(b"\n  ],\n" + json_bytes(tail)[2:])
    return path


def _write_next(stream: BinaryIO, entry: dict[str, Any], *, first: bool) -> bool:
    stream.write(b"\n" if first else b",\n")
    stream.write(b"    " + json_bytes(entry).rstrip().replace(b"\n", b"\n    "))
    return False
