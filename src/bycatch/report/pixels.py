"""Pictures for the report: small, made for looking at, not for measuring."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Ints
from bycatch.display.stretch import block_means, grey_levels
from bycatch.images.look import Plane
from bycatch.robust import robust_sigma

Bytes8 = NDArray[np.uint8]

QUALITIES = (80, 65, 50, 35, 20)
CUTOUT_PX = 41
EXPOSURE_SIDE_PX = 240
EXPOSURE_COLOURS = ("#ffffff", "#fde0a6", "#e69f00", "#56b4e9", "#0072b2", "#4b2e83", "#000000")
"""No data, 1, 2, 3, 4, 5 to 8, more exposures: from light to dark, good in grey as well."""
EXPOSURE_STEPS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 99999))
MAX_OUTLINE_ROWS = 40


def picture(sci: NDArray[np.float32] | Plane, side_px: int) -> Bytes8:
    """Return a down-sampled picture, (ny, nx) uint8: sky light, sources dark, no data white.

    Means of blocks, as `bycatch.display.stretch.stretched` has them.  The first row is the top, as
    in picture files.

    Parameters
    ----------
    sci : (ny, nx), electrons per second; NaN where there are no data
    side_px : largest side of the picture
    """
    means = block_means(sci, max(1, -(-max(sci.shape) // side_px)))
    return np.ascontiguousarray(as_greys(means)[::-1])


def as_greys(image: NDArray[Any]) -> Bytes8:
    """Return an image as greys: dark sources on a light sky."""
    grey = 250.0 * (1.0 - grey_levels(image))
    return np.asarray(np.nan_to_num(grey, nan=255.0), dtype=np.uint8)


def webp(grey: Bytes8, most_bytes: int) -> bytes:
    """Return a grey picture as WebP, in the best quality that is small enough.

    A tenth of a PNG, in which noise does not compress.
    """
    from PIL import Image

    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        # The library's own effort takes twice as long for a file smaller by a hundredth.
        Image.fromarray(grey).save(stream, "WEBP", quality=quality, method=2)
        content = stream.getvalue()
        if len(content) <= most_bytes:
            break
    return content


def png(pixels: Bytes8) -> bytes:
    """Return a grey or RGB picture as PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return a picture as a URI that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True, eq=False)
class ExposureMap:
    """The number of exposures over the image, coarsely.

    Attributes
    ----------
    rgb : (ny, nx, 3) uint8, first row on top
    legend : label, colour and share of the area with data, of the numbers that occur
    """

    rgb: Bytes8
    legend: list[tuple[str, str, float]]


def exposure_map(n_exp: NDArray[Any] | Plane) -> ExposureMap:
    """Return the map of the exposures: every k-th pixel, as a coarse look needs no more."""
    step = max(1, -(-max(n_exp.shape) // EXPOSURE_SIDE_PX))
    some = slice(step // 2, None, step)
    counts = n_exp[some, some][::-1]
    rgb = np.zeros((*counts.shape, 3), np.uint8)
    legend = []
    total = max(int(np.count_nonzero(counts)), 1)
    for (low, high), colour in zip(EXPOSURE_STEPS, EXPOSURE_COLOURS, strict=True):
        inside = (counts >= low) & (counts <= high)
        rgb[inside] = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        if low and inside.any():
            text = f"{low}" if low == high else f"{low} to {high}" if high < 99 else f"{low} +"
            legend.append((text, colour, float(inside.sum() / total)))
    return ExposureMap(rgb, legend)


def cutout(sci: NDArray[np.float32] | Plane, x: float, y: float) -> Bytes8:
    """Return the pixels around a position, (41, 41) uint8, first row on top; white off the image.

    The range is that of the cutout itself, so that a cosmic ray shows its shape.
    """
    half = CUTOUT_PX // 2
    x0, y0 = round(x) - half, round(y) - half
    patch = np.full((CUTOUT_PX, CUTOUT_PX), np.nan)
    ys, xs = slice(max(y0, 0), max(y0 + CUTOUT_PX, 0)), slice(max(x0, 0), max(x0 + CUTOUT_PX, 0))
    part = sci[ys, xs]
    patch[ys.start - y0 : ys.start - y0 + part.shape[0], xs.start - x0 :][:, : part.shape[1]] = part
    finite_patch = patch[np.isfinite(patch)]
    if not len(finite_patch):
        return np.full(patch.shape, 255, np.uint8)
    sky, top = np.percentile(finite_patch, 25), finite_patch.max()
    noise = max(robust_sigma(finite_patch), 1e-12)
    reach = max(float(top - sky) / (3 * noise), 3.0)
    levels = np.arcsinh(np.clip((patch - sky + noise) / (3 * noise), 0, reach)) / np.arcsinh(reach)
    grey = np.where(np.isfinite(patch), 250 * (1 - levels), 255)
    return np.ascontiguousarray(np.nan_to_num(grey, nan=255).astype(np.uint8)[::-1])


def outlines(
    segmentation: NDArray[Any], ids: Iterable[int]
) -> dict[int, tuple[list[float], list[float]]]:
    """Return the outlines of segments: the first and last pixel of each row, joined.

    Hollows in the side of a segment are bridged; a long one takes every k-th row.

    Parameters
    ----------
    segmentation : (ny, nx) int, 0 for sky
    ids : the segments

    Returns
    -------
    dict
        x and y of the corners, 0-based pixel centres, by id; what is not there is left out.
    """
    label, y, left, right = _rows(segmentation)
    labels = np.unique(np.fromiter(ids, np.int64))
    labels = labels[labels > 0]
    begin, end = np.searchsorted(label, labels), np.searchsorted(label, labels, side="right")
    labels, begin, end = (v[begin < end] for v in (labels, begin, end))
    row_index, n_rows = _some_rows(begin, end)
    # The ends are closed at the pixels' borders, the sides pass through the rows' middles.
    last = np.cumsum(n_rows) - 1
    first = last - n_rows + 1
    often = np.ones(len(row_index), np.int64)
    often[first] += 1
    often[last] += 1
    up = np.repeat(row_index, often)
    first += 2 * np.arange(len(first))
    last = first + n_rows + 1
    ys = y[up].astype(np.float64)
    ys[first] -= 0.5
    ys[last] += 0.5
    lows, highs = (left[up] - 0.5).tolist(), (right[up] + 0.5).tolist()
    heights = ys.tolist()
    outline_of = {}
    for number, i, j in zip(labels.tolist(), first.tolist(), (last + 1).tolist(), strict=True):
        side = heights[i:j]
        outline_of[number] = (lows[i:j] + highs[i:j][::-1], side + side[::-1])
    return outline_of


def _some_rows(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Return which rows of segments to draw, one after the other, and how many each has."""
    n_all = end - begin
    n_rows = np.minimum(n_all, MAX_OUTLINE_ROWS)
    step = np.arange(n_rows.sum()) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    # Evenly from the first to the last; all of them where there are no more.
    offset = step * np.repeat(n_all - 1, n_rows) // np.repeat(np.maximum(n_rows - 1, 1), n_rows)
    return np.repeat(begin, n_rows) + offset, n_rows


def _rows(segmentation: NDArray[Any]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return label, row, first and last column of each row of each segment."""
    label, y, left, right = _runs(segmentation)
    begins = np.ones(len(label), np.bool_)
    begins[1:] = (label[1:] != label[:-1]) | (y[1:] != y[:-1])
    first, last = np.flatnonzero(begins), np.flatnonzero(np.roll(begins, -1))
    return label[first], y[first], left[first], right[last]


def _runs(segmentation: NDArray[Any]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return label, row, first and last column of the runs of pixels, by label and then row."""
    begins = np.ones(segmentation.shape, np.bool_)
    begins[:, 1:] = segmentation[:, 1:] != segmentation[:, :-1]
    begin = np.flatnonzero(begins)
    label = segmentation.ravel()[begin].astype(np.int64)
    end = np.append(begin[1:], begins.size) - 1
    order = np.argsort(label, kind="stable")
    order = order[np.searchsorted(label[order], 1) :]  # without the sky
    nx = segmentation.shape[1]
    return label[order], begin[order] // nx, begin[order] % nx, end[order] % nx
