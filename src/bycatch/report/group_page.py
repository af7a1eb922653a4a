"""The groups of the page: their content in the page itself, or in files of their folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bycatch.products import (
    LOCK,
    combined_digest,
    find_records,
    is_product_current,
    remember_product,
)
from bycatch.products.group_state import OBJECTS_FOLDER, GroupState, group_folder, read_groups
from bycatch.report.group import GroupBudget, group_payload
from bycatch.report.isochrones import Isochrone
from bycatch.report.page_entries import FIELD_PAGE, Entry, pack
from bycatch.report.products import MAX_INSIDE, ReportedImage, read_reported
from bycatch.settings import Settings
from bycatch.stages.objects.model import field_of
from bycatch.system.disk import atomic
from bycatch.system.locks import LockHeld as HeldLock
from bycatch.system.locks import lock
from bycatch.system.words import printable

logger = logging.getLogger("bycatch")

GROUP_PAGE_REVISION = 1
"""Bumped when the page shows other things of the same tables."""
BUDGETS = (
    (3, GroupBudget(1200, 4000, 320_000)),
    (12, GroupBudget(900, 1500, 90_000, n_curves=8)),
    (MAX_INSIDE, GroupBudget(600, 500, 32_000, n_curves=6)),
)
"""What a group may take in a page of up to so many."""
BUDGET_BESIDE = GroupBudget(1200, 4000, 320_000)


def held_groups(
    out: Path, settings: Settings, *, inside: bool, isochrones: Sequence[Isochrone] = ()
) -> list[Entry]:
    """Return the groups of the page; those without tables are left out.

    Parameters
    ----------
    out : output folder
    settings : of the last run
    inside : in the page itself; else each in a file of its folder, which is made if it is stale
    isochrones : the user's
    """
    states = [state for state in read_groups(out) if state.outputs]
    if inside and len(states) <= MAX_INSIDE:
        budget = next(b for most, b in BUDGETS if len(states) <= most)
        return [
            Entry(key_of(s), _title(s), pack(_content(out, s, settings, budget, isochrones)))
            for s in states
        ]
    for state in states:
        with suppress(HeldLock, OSError), lock(group_folder(out, state.name) / LOCK):
            write_group_page(out, state, settings, isochrones)
    return [
        Entry(key_of(s), _title(s), file=f"{OBJECTS_FOLDER}/{s.name}/{FIELD_PAGE}") for s in states
    ]


def write_group_page(
    out: Path, state: GroupState, settings: Settings, isochrones: Sequence[Isochrone] = ()
) -> None:
    """Write what the page of a large run shows of a group, unless it is there."""
    path = group_folder(out, state.name) / FIELD_PAGE
    key = combined_digest(GROUP_PAGE_REVISION, state.key, [i.content() for i in isochrones])
    if is_product_current(path, key):
        return
    content = pack(_content(out, state, settings, BUDGET_BESIDE, isochrones))
    with atomic(path) as partial:
        line = f'bycatchReport.arrived({json.dumps(key_of(state))}, "{content}");\n'
        partial.write_text(line, encoding="ascii")
    remember_product(path, key)


def key_of(state: GroupState) -> str:
    """Return the name by which the page knows a group."""
    return printable(f"{OBJECTS_FOLDER}/{state.name}")


def _title(state: GroupState) -> str:
    filters = ", ".join(str(f) for f in state.summary.get("filters", ()))
    return printable(f"{state.name} ({filters})")


def images_of(out: Path, state: GroupState, settings: Settings) -> list[ReportedImage]:
    """Return the images of a group that are there."""
    fields = sorted({field_of(label) for label in state.images})
    return [
        read_reported(record, out, settings)
        for record in find_records(out, fields)
        if record.full_place in state.images
    ]


def _content(
    out: Path,
    state: GroupState,
    settings: Settings,
    budget: GroupBudget,
    isochrones: Sequence[Isochrone],
) -> dict[str, Any]:
    """Return what the page shows of a group; of a damaged one why it shows nothing."""
    try:
        images = images_of(out, state, settings)
        return group_payload(out, state, images, budget, isochrones)
    except Exception as err:  # noqa: BLE001
        # A table of another version, or cut short: the page shows all the others.
        text = f"{type(err).__name__}: {err}"
        logger.warning("objects %s: left out of the report: %s", state.name, text)
        problem = printable(f"its tables can't be shown ({text})")
        return {"name": printable(state.name), "problem": problem}
