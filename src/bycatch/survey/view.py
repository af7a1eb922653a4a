"""Looking at the objects of a group over its images: a page, ds9 regions, SAMP."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.object_classes import CLASS_COLOURS
from bycatch.catalogs.survey_columns import filter_order
from bycatch.catalogs.tables import floats, read_table
from bycatch.display.notebook import png
from bycatch.errors import BycatchError, SettingsError
from bycatch.images.files import open_fits
from bycatch.images.wcs import pixel_scale_arcsec
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.object_regions import object_regions
from bycatch.pipeline.object_shapes import LEGEND, Shape, shapes_of
from bycatch.products import ImageRecord, read_field
from bycatch.products.group_state import group_folder, group_names, read_group, table_path
from bycatch.products.paths import own_folder
from bycatch.report.pixels import data_uri, picture
from bycatch.stages.objects.model import field_of
from bycatch.survey.votable import write_votable
from bycatch.system.disk import atomic
from bycatch.system.words import printable
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table

logger = logging.getLogger("bycatch")

FOLDER = "view"
SIDE_PX = 1600
"""Largest side of a picture."""
ALADIN = "https://aladin.cds.unistra.fr/AladinLite/api/v3/latest/aladin.js"
"""Loaded by a click on a button, and never before."""
ANSWER_S = 60
"""A program that has not loaded what it was sent by then may still do so."""


@dataclass(frozen=True, eq=False)
class GroupView:
    """A group to look at: its objects, and the image of the longest exposure in each filter."""

    name: str
    objects: Table
    images: dict[str, tuple[str, ImageRecord]]


def read_view(out: Path, group: str = "") -> GroupView:
    """Read a group; the first one where none is named.

    Raises
    ------
    SettingsError
        There is no such group, or no objects at all.
    """
    names = group_names(out)
    if not names:
        raise SettingsError(f"{out}: no objects in it", hint="run 'bycatch objects OUT' first")
    name = group or names[0]
    if name not in names:
        raise SettingsError(f"{out}: no group '{name}'", hint=f"there are {', '.join(names[:10])}")
    state, folder = read_group(out, name), group_folder(out, name)
    objects = read_table(table_path(folder, name, "objects"))
    image_table = read_table(table_path(folder, name, "images"))
    times = dict(
        zip(image_table["image"].tolist(), floats(image_table, "exptime").tolist(), strict=True)
    )
    images: dict[str, tuple[str, ImageRecord]] = {}
    for label in sorted(state.images, key=lambda label: -times.get(label, 0.0)):
        for record in read_field(out, field_of(label)).images:
            if record.full_place == label:
                images.setdefault(record.filter, (label, record))
    filters = sorted(images, key=filter_order)
    return GroupView(name, objects, {f: images[f] for f in filters})


# ---- regions ---------------------------------------------------------------------------------


def write_regions(out: str | Path, group: str = "") -> Path:
    """Write the objects of a group as ds9 regions, with shapes and colours by kind."""
    out = Path(out)
    view = read_view(out, group)
    path = own_folder(out / FOLDER) / f"{view.name}.reg"
    with atomic(path) as partial:
        partial.write_text(object_regions(view.objects), "utf-8")
    return path


# ---- SAMP ------------------------------------------------------------------------------------


def send_group(out: str | Path, group: str = "") -> list[str]:
    """Send table and images of a group to all programs that listen; return what became of it.

    Parameters
    ----------
    out, group : as for `viewed`

    Raises
    ------
    SettingsError
        No hub runs, or no program listens to it.
    """
    out = Path(out)
    view = read_view(out, group)
    path = own_folder(out / FOLDER) / f"{view.name}.vot"
    with atomic(path) as partial:
        creator = f"bycatch {__version__}"
        write_votable(partial, {"objects": view.objects}, view.name, creator)
    messages = [("table.load.votable", path, view.name)]
    for label, record in view.images.values():
        image = record.image_file(out)
        if image.exists():
            messages.append(("image.load.fits", image, label))
    client = _client()
    sentences = []
    try:
        for kind, file, name in messages:
            words = {"url": file.resolve().as_uri(), "name": name}
            words |= {"table-id": name} if kind.startswith("table") else {"image-id": name}
            message = {"samp.mtype": kind, "samp.params": words}
            sentences += [
                f"{kind}: {name}: {_sent(client, program, message)}"
                for program in client.get_subscribed_clients(kind)
            ]
    finally:
        client.disconnect()
    if not sentences:
        raise SettingsError(
            "a SAMP hub runs, but no program that takes tables or images",
            hint="start TOPCAT, Aladin, or ds9 first",
        )
    return sentences


def _sent(client: Any, program: str, message: Mapping[str, Any]) -> str:
    """Send a message to a program and wait for its answer; return name and answer in words.

    A hub may drop what it has not passed on when the sender leaves: so no notification.
    """
    name = client.get_metadata(program).get("samp.name", program)
    try:
        answer = client.call_and_wait(program, message, str(ANSWER_S))
    except samp().SAMPProxyError as err:
        return printable(f"{name} gives no answer ({err})")
    if answer["samp.status"] == "samp.ok":
        return printable(f"loaded by {name}")
    return printable(f"{name} has a problem: {answer.get('samp.error', {}).get('samp.errortxt')}")


def samp() -> Any:
    """Return the library of SAMP: pyvo's where it is there, else that of astropy."""
    try:
        return importlib.import_module("pyvo.samp")
    except ImportError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy 8 names pyvo
            return importlib.import_module("astropy.samp")


def _client() -> Any:
    library = samp()
    client = library.SAMPIntegratedClient(name="bycatch", description="objects of a group")
    try:
        client.connect()
    except (library.SAMPHubError, OSError) as err:
        raise SettingsError(
            f"no SAMP hub runs ({err})", hint="start TOPCAT, Aladin, or ds9 first"
        ) from err
    return client


# ---- the page --------------------------------------------------------------------------------


def view_group(out: str | Path, group: str = "") -> Path:
    """Write a page that shows the objects of a group over its images; return it."""
    out = Path(out)
    view = read_view(out, group)
    shapes = shapes_of(view.objects)
    panels = [
        _panel(out, label, record, shapes, number)
        for number, (label, record) in enumerate(view.images.values())
    ]
    path = own_folder(out / FOLDER) / f"{view.name}.html"
    with atomic(path) as partial:
        partial.write_text(_page(view, shapes, panels), encoding="utf-8")
    write_regions(out, view.name)
    return path


def _panel(out: Path, label: str, record: ImageRecord, shapes: list[Shape], number: int) -> str:
    """Return an image with the objects on it, as SVG."""
    paths = record.paths(out)
    wcs = read_frame(paths.wcs).wcs
    uri = ""
    try:
        with open_fits(record.image_file(out)) as hdus:
            sci = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2)
            ny, nx = sci.shape
            uri = data_uri(png(picture(np.asarray(sci, np.float32), SIDE_PX)), "png")
    except (BycatchError, OSError, StopIteration) as err:
        logger.warning("%s: shown without its pixels: %s", label, err)
        with open_fits(paths.mask) as hdus:
            ny, nx = hdus["CRMASK"].shape
    ra, dec = (np.array([getattr(s, k) for s in shapes]) for k in ("ra_deg", "dec_deg"))
    x, y = wcs.all_world2pix(ra, dec, 0, quiet=True) if shapes else (ra, dec)
    scale, north = pixel_scale_arcsec(wcs), _north_deg(wcs, nx, ny)
    marks = "".join(
        _mark(one, float(a) + 0.5, ny - float(b) - 0.5, scale, north)
        for one, a, b in zip(shapes, x, y, strict=True)
        if -20 < a < nx + 20 and -20 < b < ny + 20
    )
    image = f'<image href="{uri}" width="{nx}" height="{ny}"/>' if uri else ""
    attribute = "" if number == 0 else " hidden"
    return (
        f'<figure data-number="{number}"{attribute}><figcaption>{escape(label)}</figcaption>'
        f'<svg viewBox="0 0 {nx} {ny}" role="img" aria-label="{escape(label)}">{image}{marks}</svg>'
        "</figure>"
    )


def _north_deg(wcs: Any, nx: int, ny: int) -> float:
    """Return the direction of north in the image, degrees from up towards left."""
    ra, dec = wcs.all_pix2world(nx / 2, ny / 2, 0)
    step = 1.0 / 3600.0 if dec < 89 else -1.0 / 3600.0
    (x0, x1), (y0, y1) = wcs.all_world2pix([ra, ra], [dec, dec + step], 0, quiet=True)
    return float(np.degrees(np.arctan2(-(x1 - x0) * np.sign(step), (y1 - y0) * np.sign(step))))


def _mark(one: Shape, x: float, y: float, scale: float, north_deg: float) -> str:
    """Return an object as SVG, with its number where the mouse rests."""
    major_arcsec, minor_arcsec, pa_deg = one.ellipse
    a, b = max(major_arcsec / scale, 3.0), max(minor_arcsec / scale, 2.0)
    title = f"<title>{one.object_id} {one.object_class}</title>"
    style = f'stroke="{CLASS_COLOURS[one.object_class]}"'
    diamond = f'<path d="{_diamond(x, y, 1.6 * a)}" {style}/>' if one.is_listed else ""
    if one.object_class in {"point", "extended"}:
        turn = -(90.0 + north_deg + pa_deg)
        return (
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{a:.1f}" ry="{b:.1f}" {style} '
            f'transform="rotate({turn:.1f} {x:.1f} {y:.1f})">{title}</ellipse>{diamond}'
        )
    path = _cross(x, y, a) if one.object_class == "not real" else _square(x, y, a)
    return f'<path d="{path}" {style}>{title}</path>{diamond}'


def _cross(x: float, y: float, a: float) -> str:
    side = f"{2 * a:.1f}"
    return f"M{x - a:.1f} {y - a:.1f}l{side} {side}m0 -{side}l-{side} {side}"


def _square(x: float, y: float, a: float) -> str:
    return f"M{x - a:.1f} {y - a:.1f}h{2 * a:.1f}v{2 * a:.1f}h{-2 * a:.1f}z"


def _diamond(x: float, y: float, a: float) -> str:
    return f"M{x:.1f} {y - a:.1f}l{a:.1f} {a:.1f}l{-a:.1f} {a:.1f}l{-a:.1f} {-a:.1f}z"


STYLE = """
body{font:15px system-ui,sans-serif;margin:1rem;color:#222;background:#fff}figure{margin:0}
svg{width:100%;max-height:80vh;background:#f4f4f4}svg ellipse,svg path{fill:transparent;
stroke-width:1.5;vector-effect:non-scaling-stroke}button{margin-right:.5rem}#aladin{height:80vh}
.kind{margin-right:1rem}.kind i{display:inline-block;width:.8em;height:.8em;border:2px solid}
"""
SCRIPT = """
const figures = [...document.querySelectorAll("figure")];
for (const button of document.querySelectorAll("button[data-show]"))
  button.onclick = () => figures.forEach(
    f => { f.hidden = f.dataset.number !== button.dataset.show; });
document.querySelector("#load").onclick = event => {
  event.target.disabled = true;
  const said = document.querySelector("#said");
  said.textContent = "loading Aladin Lite from CDS ...";
  const script = document.createElement("script");
  script.src = ALADIN;
  script.onerror = () => { said.textContent = "no network: Aladin Lite could not be loaded";
                           event.target.disabled = false; };
  script.onload = () => A.init.then(() => {
    said.textContent = "";
    const box = document.querySelector("#aladin");
    box.hidden = false;
    const aladin = A.aladin(box, {target: OBJECTS.centre.join(" "), fov: OBJECTS.fov_deg});
    for (const [kind, colour] of Object.entries(OBJECTS.colours)) {
      const catalog = A.catalog({name: kind, color: colour, sourceSize: 10, onClick: "showTable"});
      catalog.addSources(OBJECTS.sources.filter(s => s[3] === kind)
        .map(s => A.source(s[1], s[2], {object_id: s[0], kind: kind})));
      aladin.addCatalog(catalog);
    }
  });
  document.head.append(script);
};
"""


def _page(view: GroupView, shapes: list[Shape], panels: list[str]) -> str:
    from bycatch.tangent import direction, unit_vectors

    ra, dec = (np.array([getattr(s, k) for s in shapes]) for k in ("ra_deg", "dec_deg"))
    centre = direction(unit_vectors(ra, dec)) if shapes else (0.0, 0.0)
    fov = float(max(np.ptp(dec), 0.01)) * 1.3 if shapes else 0.1
    objects = {
        "centre": [round(v, 6) for v in centre],
        "fov_deg": round(fov, 4),
        "colours": CLASS_COLOURS,
        # Numbers of 64 bits are words: a browser's numbers have 53.
        "sources": [
            [str(s.object_id), round(s.ra_deg, 7), round(s.dec_deg, 7), s.object_class]
            for s in shapes
        ],
    }
    buttons = "".join(
        f'<button data-show="{number}">{escape(name)}</button>'
        for number, name in enumerate(view.images)
    )
    counts = Counter(shape.object_class for shape in shapes)
    legend = "".join(
        f'<span class="kind"><i style="border-color:{CLASS_COLOURS[name]}"></i> {escape(words)} '
        f"({counts[name]})</span>"
        for name, words in LEGEND.items()
        if counts[name]
    )
    if n_listed := sum(shape.is_listed for shape in shapes):
        legend += f'<span class="kind">on your list: diamond ({n_listed})</span>'
    script = (
        f"const ALADIN = {json.dumps(ALADIN)}; const OBJECTS = {json.dumps(objects)};{SCRIPT}"
    ).replace("</", "<\\/")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(view.name)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>{escape(view.name)}</h1><p>{len(shapes)} objects. {legend}</p>
<p>{buttons}<button id="load">Aladin Lite (asks the network)</button> <span id="said"></span></p>
{"".join(panels)}<div id="aladin" hidden></div><script>{script}</script></body></html>
"""
