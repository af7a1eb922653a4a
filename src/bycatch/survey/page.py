"""The front page of a survey: where it is on the sky, numbers by filter, examples of queries."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from bycatch.arrays import Floats
from bycatch.catalogs.survey_columns import TABLES
from bycatch.survey.notes import Notes
from bycatch.survey.readme import MEANING, examples
from bycatch.survey.rows import corners_of
from bycatch.system.words import counted
from bycatch.tangent import direction, unit_vectors

WIDTH, HEIGHT = 640, 320
MOST_SHAPES = 4000
STYLE = """
body{font:16px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;
text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child,.words{text-align:left}
pre{background:#f4f4f4;padding:.6rem;white-space:pre-wrap}svg{max-width:100%;height:auto}.grid{fill:none;stroke:#ccc}
.edge{fill:#fafafa;stroke:#888}.seen{fill:#0072B2}text{font-size:11px;fill:#666}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#262626}
.edge{fill:#202020}.grid{stroke:#444}td,th{border-color:#444}text{fill:#aaa}.seen{fill:#56B4E9}}
"""


def front_page(notes: Notes, outlines: Sequence[str]) -> str:
    """Return the page, which needs no other file.

    Parameters
    ----------
    notes : of the survey
    outlines : footprints of its images, STC-S
    """
    numbers = notes.summary
    name = escape(notes.name)
    heads = "".join(f"<th>{head}</th>" for head in (
        "filter", "images", "exposure, h", "arcmin<sup>2</sup>", "depth, AB", "half found, AB",
        "real objects detected",
    ))  # fmt: skip
    rows = "".join(
        f"<tr><td>{escape(f)}</td><td>{n['n_images']}</td><td>{n['exptime_h']:.2f}</td>"
        f"<td>{3600 * n['area_deg2']:.2f}</td><td>{_number(n['median_depth_mag'])}</td>"
        f"<td>{_number(n['half_found_mag'])}</td><td>{n['n_detected']}</td></tr>"
        for f, n in numbers["filters"].items()
    )
    tables = "".join(
        f"<tr><td><a href='{t}/'>{t}</a></td><td>{numbers['n_rows'][t]}</td>"
        f"<td>{len(notes.tables[t].leaves)}</td><td class='words'>{escape(MEANING[t])}</td></tr>"
        for t in TABLES
    )
    questions = "".join(
        f'<p>{escape(question)}</p><pre>bycatch query {name} "{escape(sql)}"</pre>'
        for question, sql in examples(notes)
    )
    files = ", ".join(f"<a href='{escape(f)}'>{escape(f)}</a>" for f in notes.files[:-1])
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>{name}</h1>
<p>{numbers["n_objects"]} objects, {numbers["n_real"]} of them real (p_real of 0.5 or more), in
{counted(numbers["n_images"], "image")} of {counted(numbers["n_groups"], "group")}.
{escape(notes.creator)}, {escape(notes.made[:10])}.</p>
{sky_map(outlines)}
<h2>Filters</h2><table><tr>{heads}</tr>{rows}</table>
<p>Depth: 5 sigma of a point source, all images together, median of the map. Half found: where half
of the artificial stars are found, if they were put in (<code>bycatch inject</code>).</p>
<h2>Tables</h2><table><tr><th>table</th><th>rows</th><th>partitions</th>
<th class='words'>a row is</th></tr>
{tables}</table><p>{files}</p>
<h2>Questions</h2>{questions}
<p>In Python: <code>bycatch.open_survey("{name}").cone(ra, dec, radius_arcsec)</code>.</p>
</body></html>
"""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def sky_map(outlines: Sequence[str]) -> str:
    """Return the sky (Mollweide, RA to the left, 180 degrees in the middle) with images, SVG."""
    hours = (60.0, 120.0, 180.0, 240.0, 300.0)
    lines = [
        _path(np.linspace(0, 359.99, 90), np.full(90, dec))
        for dec in (-60.0, -30.0, 0.0, 30.0, 60.0)
    ]
    lines += [_path(np.full(60, ra), np.linspace(-90, 90, 60)) for ra in hours]
    centres = np.array(
        [direction(unit_vectors(*corners_of(text))) for text in sorted(set(outlines))]
    ).reshape(-1, 2)
    x, y = mollweide(centres[:, 0], centres[:, 1])
    places = sorted({(round(float(a), 1), round(float(b), 1)) for a, b in zip(x, y, strict=True)})
    dots = "".join(
        f'<circle class="seen" cx="{a}" cy="{b}" r="2.5"/>' for a, b in places[:MOST_SHAPES]
    )
    labels = "".join(
        f'<text x="{float(mollweide(np.array([ra]), np.array([0.0]))[0][0]):.0f}" '
        f'y="{HEIGHT / 2 - 3:.0f}" text-anchor="middle">{ra / 15:.0f}h</text>'
        for ra in hours
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="images on the sky"><ellipse class="edge" cx="{WIDTH / 2}" cy="{HEIGHT / 2}" '
        f'rx="{WIDTH / 2 - 2}" ry="{HEIGHT / 2 - 2}"/>{"".join(lines)}{labels}{dots}</svg>'
    )


def _path(ra: Floats, dec: Floats) -> str:
    x, y = mollweide(ra, dec)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="grid" points="{points}"/>'


def mollweide(ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
    """Return places in the map, RA 0 at its right edge."""
    dec = np.radians(dec_deg)
    theta = np.array(dec, dtype=float)
    for _ in range(30):  # Newton's steps, damped at the poles
        slope = np.maximum(2.0 + 2.0 * np.cos(2.0 * theta), 1e-6)
        theta = theta - (2.0 * theta + np.sin(2.0 * theta) - np.pi * np.sin(dec)) / slope
    theta = np.clip(theta, -np.pi / 2, np.pi / 2)
    longitude = np.radians(np.asarray(ra_deg) % 360.0 - 180.0)
    x = WIDTH / 2 - (WIDTH / 2 - 2) * longitude / np.pi * np.cos(theta)
    y = HEIGHT / 2 - (HEIGHT / 2 - 2) * np.sin(theta)
    return np.asarray(x), np.asarray(y)
