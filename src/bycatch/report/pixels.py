"""Pictures for the report: small, made for looking at, not for measuring."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bytes8 = NDArray[np.uint8]

ASINH_REACH = 25.0
"""Ranges of zscale between the sky and black: linear in the sky, logarithmic above."""
QUALITIES = (80, 65, 50, 35, 20)
CUTOUT_PX = 41
EXPOSURE_SIDE_PX = 240
EXPOSURE_COLOURS = ("#ffffff", "#fde0a6", "#e69f00", "#56b4e9", "#0072b2", "#4b2e83", "#000000")
"""No data, 1, 2, 3, 4, 5 to 8, more exposures: from light to dark, good in grey as well."""
EXPOSURE_STEPS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 99999))
MAX_OUTLINE_ROWS = 40


def picture(sci: NDArray[np.float32], side_px: int) -> Bytes8:
    """Return a down-sampled picture, (ny, nx) uint8: sky light, sources dark, no data white.

    Means of blocks, between the limits of zscale, then asinh above them.  The
    first row is the top, as in picture files.

    Parameters
    ----------
    sci : (ny, nx), electrons per second; NaN where there are no data
    side_px : largest side of the picture
    """
    means = block_means(sci, max(1, -(-max(sci.shape) // side_px)))
    return np.ascontiguousarray(stretched(means)[::-1])


def block_means(image: NDArray[Any], block_px: int) -> Floats:
    """Return the means of square blocks, NaN for blocks without any value."""
    ny, nx = image.shape
    padded = np.pad(
        np.asarray(image, dtype=np.float32),
        ((0, -ny % block_px), (0, -nx % block_px)),
        constant_values=np.nan,
    )
    blocks = padded.reshape(padded.shape[0] // block_px, block_px, -1, block_px)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def stretched(image: NDArray[Any]) -> Bytes8:
    """Return an image as greys: zscale limits, asinh above, dark sources on a light sky."""
    from astropy.visualization import ZScaleInterval

    known = np.isfinite(image)
    if not known.any():
        return np.full(image.shape, 255, np.uint8)
    low, high = ZScaleInterval().get_limits(image[known])
    span = max(float(high - low), 1e-12)
    scaled = np.arcsinh(np.clip((image - low) / span, 0, ASINH_REACH)) / np.arcsinh(ASINH_REACH)
    grey = np.where(known, 250.0 * (1.0 - scaled), 255.0)
    return np.asarray(np.nan_to_num(grey, nan=255.0), dtype=np.uint8)


def webp(grey: Bytes8, most_bytes: int) -> bytes:
    """Return a grey picture as WebP, in the best quality that is small enough.

    A tenth of a PNG, in which noise does not compress.
    """
    from PIL import Image

    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "WEBP", quality=quality)
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


def exposure_map(n_exp: NDArray[Any]) -> ExposureMap:
    """Return the map of the exposures: every k-th pixel, as a coarse look needs no more."""
    step = max(1, -(-max(n_exp.shape) // EXPOSURE_SIDE_PX))
    counts = np.asarray(n_exp)[step // 2 :: step, step // 2 :: step][::-1]
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


def cutout(sci: NDArray[np.float32], x: float, y: float) -> Bytes8:
    """Return the pixels around a position, (41, 41) uint8, first row on top; white off the image.

    The range is that of the cutout itself, so that a cosmic ray shows its shape.
    """
    half = CUTOUT_PX // 2
    x0, y0 = round(x) - half, round(y) - half
    patch = np.full((CUTOUT_PX, CUTOUT_PX), np.nan)
    ys, xs = slice(max(y0, 0), max(y0 + CUTOUT_PX, 0)), slice(max(x0, 0), max(x0 + CUTOUT_PX, 0))
    part = sci[ys, xs]
    patch[ys.start - y0 : ys.start - y0 + part.shape[0], xs.start - x0 :][:, : part.shape[1]] = part
    known = patch[np.isfinite(patch)]
    if not len(known):
        return np.full(patch.shape, 255, np.uint8)
    sky, top = np.percentile(known, 25), known.max()
    noise = max(1.4826 * float(np.median(np.abs(known - np.median(known)))), 1e-12)
    reach = max(float(top - sky) / (3 * noise), 3.0)
    scaled = np.arcsinh(np.clip((patch - sky + noise) / (3 * noise), 0, reach)) / np.arcsinh(reach)
    grey = np.where(np.isfinite(patch), 250 * (1 - scaled), 255)
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
    from scipy import ndimage

    boxes = ndimage.find_objects(segmentation)
    found = {}
    for number in ids:
        box = boxes[number - 1] if 0 < number <= len(boxes) else None
        if box is not None:
            found[number] = _outline(segmentation[box] == number, box[1].start, box[0].start)
    return found


def _outline(inside: NDArray[np.bool_], x0: int, y0: int) -> tuple[list[float], list[float]]:
    rows = np.flatnonzero(inside.any(axis=1))
    if len(rows) > MAX_OUTLINE_ROWS:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, MAX_OUTLINE_ROWS).astype(int))]
    left = inside[rows].argmax(axis=1) - 0.5
    right = inside.shape[1] - inside[rows, ::-1].argmax(axis=1) - 0.5
    # The ends are closed at the pixels' borders, the sides pass through the rows' middles.
    y = np.concatenate([[rows[0] - 0.5], rows, [rows[-1] + 0.5]])
    left = np.concatenate([left[:1], left, left[-1:]])
    right = np.concatenate([right[:1], right, right[-1:]])
    xs = np.concatenate([left, right[::-1]]) + x0
    ys = np.concatenate([y, y[::-1]]) + y0
    return xs.tolist(), ys.tolist()
