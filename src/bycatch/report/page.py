"""``OUT/report.html``: one file that opens by a double click and asks no network."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from astropy.table import Table

from bycatch.catalogs.flags import FLAGS
from bycatch.errors import SettingsError
from bycatch.products import (
    folder_products,
    forget_products,
    is_product_current,
    own_folder,
    remember_product,
)
from bycatch.report import pixels
from bycatch.report.embedded import embedded_plots
from bycatch.report.image import Budget, compact, payload
from bycatch.report.overview import key_of, overview
from bycatch.report.plots import kind_styles
from bycatch.report.products import Folder, ReportedImage, read_folder
from bycatch.system.disk import atomic
from bycatch.system.words import printable
from bycatch.version import __version__

logger = logging.getLogger("bycatch")

PAGE, BESIDE = "report.html", "report_files"
HERE = Path(__file__).parent
MAX_INSIDE = 50
"""Images that the page itself holds; those of a larger run lie in a folder beside it."""
BUDGETS = (
    (6, Budget(1500, 6000)),
    (16, Budget(1150, 2500, picture_bytes=160_000, n_removed=200)),
    (MAX_INSIDE, Budget(760, 700, picture_bytes=56_000, n_removed=120, n_cutouts=6)),
)
"""What an image may take in a page of up to so many: the page stays below 10 MB."""
BUDGET_BESIDE = Budget(1500, 6000)


@dataclass(frozen=True)
class Held:
    """An image of the page: its key, its title, and where its content lies.

    Attributes
    ----------
    key, title : of the image
    packed : its content, JSON, gzip, base64; '' if it is in a file of its own
    file : that file, from the page's folder; '' if the page holds the content
    """

    key: str
    title: str
    packed: str = ""
    file: str = ""


def write_report(out: str | Path) -> Path:
    """Write the page of an output folder and return its path.

    Up to 50 images are in the page itself; the content of more lies in
    ``report_files`` beside it, which has to be moved with it.

    Raises
    ------
    SettingsError
        No image in the folder, or bokeh or jinja2 is not there.
    UnreadableFile
        ``report_files`` is a link.
    """
    _check_libraries()
    folder = read_folder(out)
    own_folder(folder.out / BESIDE)
    metas: dict[str, dict[str, Any]] = {}
    held = list(_held(folder, metas))
    _forget_others(folder.out / BESIDE, held)
    text = _page(folder, metas, held)
    path = folder.out / PAGE
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    remember_product(path)
    return path


def is_current(out: Path) -> bool:
    """Tell whether the page and the files beside it are there and whole."""
    beside = [out / BESIDE / name for name in folder_products(out / BESIDE)]
    return all(is_product_current(path) for path in (out / PAGE, *beside))


def _check_libraries() -> None:
    missing = [name for name in ("bokeh", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"the report needs {' and '.join(missing)}", hint="pip install 'bycatch[report]'"
        )


def _forget_others(beside: Path, held: list[Held]) -> None:
    """Remove the files of an earlier page that this one does not need."""
    needed = {Path(image.file).name for image in held}
    for path in beside.glob("[0-9][0-9][0-9][0-9]*.js"):
        if path.name not in needed:
            path.unlink()
    forget_products(beside, needed)
    if beside.is_dir() and not any(beside.iterdir()):
        beside.rmdir()


def _held(folder: Folder, metas: dict[str, dict[str, Any]]) -> Iterator[Held]:
    """Give the content of the images one by one: only one catalog is in memory at a time."""
    n_images = len(folder.images)
    inside = n_images <= MAX_INSIDE
    budget = next((b for most, b in BUDGETS if n_images <= most), BUDGET_BESIDE)
    for number, image in enumerate(folder.images):
        catalog = image.table("cat")
        if catalog is not None:
            metas[key_of(image)] = dict(catalog.meta)
        packed = _packed(_content(image, catalog, budget))
        if inside:
            yield Held(key_of(image), image.place, packed)
            continue
        name = f"{BESIDE}/{number:04d}.js"
        with atomic(folder.out / name) as partial:
            partial.write_text(f'bycatchReport.arrived({number}, "{packed}");\n', encoding="ascii")
        remember_product(folder.out / name)
        yield Held(key_of(image), image.place, file=name)


def _content(image: ReportedImage, catalog: Table | None, budget: Budget) -> dict[str, Any]:
    """Return what the page shows of an image; of a damaged one what could be read."""
    try:
        found = payload(image, catalog, budget)
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
    if not found["picture"] and not found["sources"]:
        found["problem"] = printable(f"There is nothing to show. {image.reason}".strip())
    if found["picture"]:
        grey = found["picture"].pop("grey")
        found["picture"]["url"] = pixels.data_uri(pixels.webp(grey, budget.picture_bytes), "webp")
    if found["sources"]:
        outlines = found["sources"]["outlines"]
        outlines |= {axis: compact(outlines[axis]) for axis in ("xs", "ys")}
    if found["exposures"]:
        rgb = found["exposures"].pop("rgb")
        found["exposures"]["url"] = pixels.data_uri(pixels.png(rgb), "png")
    return found


def _packed(content: dict[str, Any]) -> str:
    """Return content as base64 of gzipped JSON: a third of its size; null for NaN."""
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode("ascii")


def _page(folder: Folder, metas: dict[str, dict[str, Any]], held: list[Held]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    drawn = embedded_plots()
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
        "images": [{"key": h.key, "title": h.title, "file": h.file} for h in held],
        "first": next((k for k, h in enumerate(held) if h.key in metas), 0),
    }
    return environment.get_template("page.html.j2").render(
        name=printable(folder.out.resolve().name),
        version=__version__,
        made=_newest(folder),
        seconds=folder.summary.get("seconds"),
        overview=overview(folder, metas),
        held=held,
        about=json.dumps(about).replace("<", "\\u003c"),
        flags=about["flags"],
        styles=(HERE / "page.css").read_text(encoding="utf-8"),
        code=(HERE / "page.js").read_text(encoding="utf-8"),
        bokeh=drawn.library,
        plots=drawn.places,
        plot_script=drawn.script,
        kinds=kind_styles(),
    )


def _newest(folder: Folder) -> str:
    """Return when the newest product was made, UTC: the page of the same products is the same."""
    from datetime import UTC, datetime

    times = [i.paths.record.stat().st_mtime for i in folder.images if i.paths.record.exists()]
    if not times:
        return "unknown"
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M UTC")
