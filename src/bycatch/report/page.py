"""``OUT/report.html``: one file that opens by a double click and asks no network."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from astropy.table import Table

from bycatch.catalogs.flags import FLAGS
from bycatch.display.glossary import meaning_of
from bycatch.errors import SettingsError
from bycatch.products import (
    FIELD_FILE,
    LOCK,
    FieldFolder,
    FieldState,
    combined_digest,
    is_product_current,
    read_field,
    remember_product,
)
from bycatch.report import pixels
from bycatch.report.empty_plots import empty_plots
from bycatch.report.group_page import held_groups
from bycatch.report.image import Budget, compact, payload
from bycatch.report.isochrones import Isochrone
from bycatch.report.objects import HEADINGS, NUMBERS, reported_groups
from bycatch.report.overview import key_of, overview
from bycatch.report.page_entries import FIELD_PAGE, Entry, pack
from bycatch.report.plots import kind_styles
from bycatch.report.products import MAX_INSIDE, Folder, ReportedImage, read_folder, read_reported
from bycatch.settings import Settings
from bycatch.system.disk import atomic
from bycatch.system.locks import LockHeld as HeldLock
from bycatch.system.locks import lock
from bycatch.system.words import printable
from bycatch.version import __version__

logger = logging.getLogger("bycatch")

PAGE = "report.html"
FIELD_PAGE_REVISION = 1
"""Bumped when the page shows other things of the same products."""
HERE = Path(__file__).parent
BUDGETS = (
    (6, Budget(1500, 6000)),
    (16, Budget(1150, 2500, picture_bytes=160_000, n_removed=200)),
    (MAX_INSIDE, Budget(760, 700, picture_bytes=56_000, n_removed=120, n_cutouts=6)),
)
"""What an image may take in a page of up to so many: the page stays below 10 MB."""
BUDGET_BESIDE = Budget(1500, 6000)


def write_report(out: str | Path, isochrones: Sequence[Isochrone] = ()) -> Path:
    """Write the page of an output folder and return its path.

    Up to 50 images are in the page itself; the content of more lies in the folders of their fields
    and groups (`write_field_page`, `write_group_page`), with which it has to be moved.

    Parameters
    ----------
    out : output folder
    isochrones : the user's (`read_isochrone`), drawn over the diagrams of the groups

    Raises
    ------
    SettingsError
        No image in the folder, or bokeh or jinja2 is not there.
    """
    _check_libraries()
    folder = read_folder(out)
    inside = len(folder.images) <= MAX_INSIDE
    entries = _inside(folder) if inside else _in_fields(folder)
    groups = held_groups(folder.out, folder.settings, inside=inside, isochrones=isochrones)
    text = _page(folder, entries, groups)
    path = folder.out / PAGE
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    remember_product(path)
    return path


def write_field_page(folder: FieldFolder, settings: Settings) -> None:
    """Write what the page of a large run shows of a field's images, unless it is there.

    The field's own task does so, and no other: the page itself only points there.
    """
    state, path = folder.state, folder.path / FIELD_PAGE
    key = field_page_key(state)
    if folder.is_current(FIELD_PAGE, key):
        return
    with atomic(path) as partial, partial.open("w", encoding="ascii") as stream:
        for record in state.images:
            image = read_reported(record, folder.out, settings)
            text = pack(_content(image, image.table("cat"), BUDGET_BESIDE))
            stream.write(f'bycatchReport.arrived({json.dumps(key_of(image))}, "{text}");\n')
    folder.remember(path, key)


def field_page_key(state: FieldState) -> str:
    """Return what stays the same while the page shows the same of a field."""
    images = [
        (r.place, r.last.outcome, r.last.reason, [(s.key, s.summary) for s in r.stages.values()])
        for r in state.images
    ]
    return combined_digest(FIELD_PAGE_REVISION, images)


def is_current(out: Path) -> bool:
    """Tell whether the page is there and whole."""
    return is_product_current(out / PAGE)


def can_be_made() -> bool:
    """Tell whether the libraries of the page are there."""
    return not _missing_libraries()


def _missing_libraries() -> list[str]:
    return [name for name in ("bokeh", "jinja2") if importlib.util.find_spec(name) is None]


def _check_libraries() -> None:
    missing = _missing_libraries()
    if missing:
        raise SettingsError(
            f"the report needs {' and '.join(missing)}", hint="pip install 'bycatch[report]'"
        )


def _inside(folder: Folder) -> list[Entry]:
    """Return the images with their content, read one by one."""
    n_images = len(folder.images)
    budget = next(b for most, b in BUDGETS if n_images <= most)
    return [
        Entry(key_of(image), image.place, pack(_content(image, image.table("cat"), budget)))
        for image in folder.images
    ]


def _in_fields(folder: Folder) -> list[Entry]:
    """Return the images with the files of their content; what the fields lack is made now."""
    for name in folder.fields:
        with suppress(HeldLock, OSError), lock(folder.out / name / LOCK):
            state = read_field(folder.out, name)
            write_field_page(FieldFolder(folder.out, state), folder.settings)
    return [
        Entry(key_of(image), image.place, file=f"{image.record.field}/{FIELD_PAGE}")
        for image in folder.images
    ]


def _content(image: ReportedImage, catalog: Table | None, budget: Budget) -> dict[str, Any]:
    """Return what the page shows of an image; of a damaged one what could be read."""
    try:
        content = payload(image, catalog, budget)
    except Exception as err:  # noqa: BLE001
        # A product of another version, or cut short: the page shows all the others.
        logger.warning("%s: left out of the report: %s: %s", image.place, type(err).__name__, err)
        record = image.record
        return {
            "field": printable(record.field),
            "filter": printable(record.filter),
            "root": printable(record.root),
            "problem": printable(f"its products can't be shown ({type(err).__name__}: {err})"),
        }
    if not content["picture"] and not content["sources"]:
        content["problem"] = printable(f"There is nothing to show. {image.reason}".strip())
    if content["picture"]:
        grey = content["picture"].pop("grey")
        content["picture"]["url"] = pixels.data_uri(pixels.webp(grey, budget.picture_bytes), "webp")
    if content["sources"]:
        outlines = content["sources"]["outlines"]
        outlines |= {axis: compact(outlines[axis]) for axis in ("xs", "ys")}
    if content["exposures"]:
        rgb = content["exposures"].pop("rgb")
        content["exposures"]["url"] = pixels.data_uri(pixels.png(rgb), "png")
    return content


def _page(folder: Folder, entries: list[Entry], groups: list[Entry]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    plots = empty_plots()
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about = {
        "flags": [
            {"bit": int(f.flag), "name": str(f.flag.name).lower(), "meaning": f.meaning}
            for f in FLAGS
        ],
        "kinds": kind_styles(),
        "images": [h.plain() for h in entries],
        "groups": [h.plain() for h in groups],
        "first": next((k for k, image in enumerate(folder.images) if image.has_catalog), 0),
    }
    return environment.get_template("page.html.j2").render(
        place=printable(str(folder.out.resolve())),
        version=__version__,
        made=_newest(folder),
        seconds=folder.seconds,
        overview=overview(folder),
        held=entries,
        about=json.dumps(about).replace("<", "\\u003c"),
        flags=about["flags"],
        styles=(HERE / "page.css").read_text(encoding="utf-8"),
        code=(HERE / "page.js").read_text(encoding="utf-8"),
        group_code=(HERE / "group.js").read_text(encoding="utf-8"),
        bokeh=plots.library,
        plots=plots.places,
        plot_script=plots.script,
        group_plots=plots.group_places,
        group_script=plots.group_script,
        held_groups=groups,
        kinds=kind_styles(),
        groups=reported_groups(folder.out),
        group_headings=HEADINGS,
        group_numbers=NUMBERS,
        meaning_of=meaning_of,
        own_search=folder.settings.objects.detection == "deep",
    )


def _newest(folder: Folder) -> str:
    """Return when the newest product was made, UTC: the page of the same products is the same."""
    from datetime import UTC, datetime

    files = [folder.out / name / FIELD_FILE for name in folder.fields]
    times = [path.stat().st_mtime for path in files if path.exists()]
    if not times:
        return "unknown"
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M UTC")
