"""How results show themselves in a notebook: pure functions from facts to HTML.

A card holds a title, facts, and where it helps the first rows of a table and a
small picture.  Cards are safe to make (`safe_repr`), quick also for full
frames, and plain: no script, no style sheet, colours of the notebook's theme.
"""

from __future__ import annotations

import base64
import functools
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from bycatch.display.summary_values import WORDS

if TYPE_CHECKING:
    import numpy as np
    from astropy.table import Table
    from numpy.typing import NDArray

T = TypeVar("T")

PICTURE_SIDE_PX = 360
GREY_LEVELS = 64
"""Noise does not compress: fewer greys make the picture half as large and look the same."""
SAMPLES = 4
"""Pixels per side of a block that are enough for its mean."""
N_ROWS = 5
N_COLUMNS = 10
FORMATS = {"%": ".2f", "mag": ".3f", "mag(AB)": ".3f", "mas": ".1f", "deg": ".6f", "yr": ".2f"}
FORMATS |= {"pix": ".2f", "px": ".2f"}
"""How numbers of a unit are shown; others have four digits."""

NOT_SHOWN = frozenset({"aligned", "noise_slope"})
"""What a card leaves out."""

CARD = '<div style="margin:0.3em 0">'
PARTS = '<div style="display:flex;flex-wrap:wrap;gap:1.2em;align-items:flex-start">'
LEFT = 'style="text-align:left;font-weight:normal;opacity:0.75;padding:1px 0.8em 1px 0"'
VALUE = 'style="text-align:left;padding:1px 0"'
CELL = 'style="text-align:left;padding:1px 0.8em 1px 0"'
TABLE = '<table style="margin:0 0 0.3em 0">'
NOTE = 'style="margin:0.2em 0"'
UNIT = 'style="text-align:left;font-weight:normal;opacity:0.75"'


def safe_repr(show: Callable[[T], str]) -> Callable[[T], str]:
    """Return a ``_repr_html_`` that says what went wrong instead of raising it."""

    @functools.wraps(show)
    def shown(self: T) -> str:
        try:
            return show(self)
        except Exception as err:  # looking must not stop the work  # noqa: BLE001
            name = escape(type(self).__name__)
            return (
                f"<p><b>{name}</b>: can't be shown ({escape(f'{type(err).__name__}: {err}')})</p>"
            )

    return shown


def card(
    title: str,
    facts: Mapping[str, Any],
    *,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    table: str = "",
    picture: str = "",
    notes: Iterable[str] = (),
) -> str:
    """Return a card.

    Parameters
    ----------
    title : in words
    facts : values by name; names of summaries are put into words (`WORDS`)
    groups : more facts, side by side under headings of their own
    table, picture : HTML of `first_rows`, `rows_table`, `image_picture` or `mask_picture`
    notes : what to mind, in words
    """
    parts = [f"<div>{picture}</div>"] if picture else []
    parts += [_facts_table(facts)] if facts else []
    parts += [
        f"<div><p {NOTE}><i>{escape(name)}</i></p>{_facts_table(part)}</div>"
        for name, part in (groups or {}).items()
    ]
    notes_html = "".join(f"<p {NOTE}>! {escape(note)}</p>" for note in notes)
    head = f"<p {NOTE}><b>{escape(title)}</b></p>"
    return f"{CARD}{head}{PARTS}{''.join(parts)}</div>{notes_html}{table}</div>"


def _facts_table(facts: Mapping[str, Any]) -> str:
    """Return names and values as a table; what has parts of its own is left out."""
    lines = []
    for key, value in facts.items():
        if key not in NOT_SHOWN and not isinstance(value, (dict, list, tuple)):
            name, unit = _name_of(key)
            is_share = unit == "%" and isinstance(value, float) and not key.endswith("_percent")
            text = escape(in_words(100 * value if is_share else value, unit))
            lines.append(f"<tr><th {LEFT}>{escape(name)}</th><td {VALUE}>{text}</td></tr>")
    return f"{TABLE}{''.join(lines)}</table>"


def _name_of(key: str) -> tuple[str, str]:
    """Return a scalar's name in words, and its unit."""
    if key.startswith("n_snr5_"):
        return f"rows of S/N 5 or more, {key.removeprefix('n_snr5_').removesuffix('px')} px", ""
    return WORDS.get(key, (key.replace("_", " "), ""))


def in_words(value: Any, unit: str = "") -> str:
    """Return a value with its unit; '-' for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value, unit)
    return f"{text} {unit}".strip()


def number(value: Any, unit: str = "") -> str:
    """Return a value without its unit; a number with as many digits as one looks at."""
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if unit in FORMATS:
        return f"{value:z{FORMATS[unit]}}"
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:.4g}"


def first_rows(table: Table, columns: Iterable[str] = (), n_rows: int = N_ROWS) -> str:
    """Return the first rows of a table, and how many more there are.

    Parameters
    ----------
    table : any table
    columns : those to show, as far as they are there; the first ones by default
    """
    names = [name for name in columns if name in table.colnames] or table.colnames[:N_COLUMNS]
    if not len(table):
        return f"<p {NOTE}>no rows</p>"
    units = [str(table[name].unit or "") for name in names]
    head = "".join(f"<th {CELL}>{escape(name)}</th>" for name in names)
    below = "".join(f"<th {UNIT}>{escape(unit)}</th>" for unit in units)
    body = "".join(
        f"<tr>{''.join(_cell(value, unit) for value, unit in zip(row, units, strict=True))}</tr>"
        for row in zip(*(table[name][:n_rows].tolist() for name in names), strict=True)
    )
    n_more = len(table) - n_rows
    more = f"<p {NOTE}>and {n_more} more row{'s' if n_more > 1 else ''}</p>" if n_more > 0 else ""
    return (
        f"{TABLE}<thead><tr>{head}</tr><tr>{below}</tr></thead><tbody>{body}</tbody></table>{more}"
    )


def _cell(value: Any, unit: str) -> str:
    """Return a cell of a table; what is masked is empty."""
    return f"<td {CELL}>{'' if value is None else escape(number(value, unit))}</td>"


def rows_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a table; the keys of the first are the names of the columns."""
    rows = list(rows)
    if not rows:
        return ""
    head = "".join(f"<th {CELL}>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td {CELL}>{escape(in_words(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    return f"{TABLE}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def image_picture(image: NDArray[np.floating[Any]], label: str) -> str:
    """Return a picture of an image: asinh of the light above the sky; sources dark, no data white.

    Parameters
    ----------
    image : (ny, nx), NaN where there are no data
    label : what it shows, for those who can't see it
    """
    import numpy as np

    from bycatch.display.stretch import grey_levels

    means = small(image)
    has_data = np.isfinite(means)
    if not has_data.any():
        return ""
    steps = np.round((1 - grey_levels(means)) * GREY_LEVELS) / GREY_LEVELS
    return _img(np.where(has_data, 250 * steps, 255).astype(np.uint8), label)


def mask_picture(mask: NDArray[Any], label: str) -> str:
    """Return a picture of what is not 0: (ny, nx) of any type, dark where anything is set."""
    import numpy as np

    block = _block(mask.shape)
    inside = np.asarray(mask != 0)
    rows = np.logical_or.reduceat(inside, np.arange(0, inside.shape[0], block), axis=0)
    blocks = np.logical_or.reduceat(rows, np.arange(0, inside.shape[1], block), axis=1)
    return _img(np.where(blocks, 0, 255).astype(np.uint8), label)


def small(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return means of square blocks, at most 360 of them along a side; NaN without any data."""
    from bycatch.display.stretch import block_means

    block = _block(image.shape)
    step = max(1, block // SAMPLES)
    return block_means(image[::step, ::step], -(-block // step))


def _block(shape: tuple[int, ...]) -> int:
    """Return the side of the blocks that a pixel of the picture stands for."""
    return max(1, -(-max(shape) // PICTURE_SIDE_PX))


def _img(grey: NDArray[np.uint8], label: str) -> str:
    """Return a grey picture as an element; rows count upwards, as in ds9."""
    content = base64.b64encode(png(grey[::-1])).decode("ascii")
    side = 'style="max-width:360px;image-rendering:auto;border:1px solid #8888"'
    return f'<img alt="{escape(label)}" {side} src="data:image/png;base64,{content}">'


def png(grey: NDArray[np.uint8]) -> bytes:
    """Return a grey picture, (ny, nx) with the first row on top, as a PNG file."""
    import numpy as np

    ny, nx = grey.shape
    lines = np.zeros((ny, nx + 1), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = grey
    header = struct.pack(">IIBBBBB", nx, ny, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
