"""Which pixels of a drizzled image hold data: decided once, when it is read, for all its planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.errors import InconsistentImage
from bycatch.images.integrity import WAY_OUT
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

MAX_RATE = 1e8
"""Electrons per second beyond which a value, of either sign, is no data.  The fullest pixel in the
shortest exposure (HRC: 155,000 e in 0.1 s) has 1.6e6, and an output pixel may hold the light of
some tens of them.  What marks missing values (1.6e38 is IRAF's INDEF, 1e30, ...) is far beyond, and
sums of squared electrons over a whole image stay within single precision below it."""
MIN_WEIGHT, MAX_WEIGHT = 1e-20, 1e20
"""Weights beyond are not valid: no sky is known to 1e-10 e/s, none as badly as to 1e10 e/s."""
MAX_SHARE_OF_TIME = 10.0
"""Exposure times of pixels beyond this multiple of EXPTIME are not valid; distortion makes 1.1."""
LOST_PIXELS = 64
"""Fewer zeros in a plane, where another one holds something, are no lost part of a file."""
ROWS = 16
"""Rows of pixels that are judged at a time: their copies stay in the processor's cache."""
SPACING = 500
"""Pixels between those that are looked at first: one value makes a row one with values."""


def mark_no_data(sci: Image, wht: Image | None) -> tuple[Bools, list[str]]:
    """Set SCI to NaN and WHT to 0 where there are no data, in place.

    Parameters
    ----------
    sci : (ny, nx) float32; electrons per second
    wht : (ny, nx) float32, any weight; without it what is exactly 0 holds no data

    Returns
    -------
    valid : (ny, nx) bool
    notes : of pixels that surprise; NaN, and no weight, are how no data are marked
    """
    valid = np.empty(sci.shape, dtype=bool)
    odd_rates: list[int] = []
    odd_weights: list[int] = []
    no_weights: list[int] = []

    def work(first: int, last: int) -> None:
        for y in range(first, last, ROWS):
            strip = slice(y, min(y + ROWS, last))
            rate, good = sci[strip], valid[strip]
            is_rate = np.abs(rate) <= MAX_RATE
            weight = None if wht is None else wht[strip]
            has_weight = (
                rate != 0 if weight is None else ((weight >= MIN_WEIGHT) & (weight <= MAX_WEIGHT))
            )
            np.logical_and(is_rate, has_weight, out=good)
            n_good = np.count_nonzero(good)
            if n_good == good.size:
                continue
            if np.count_nonzero(has_weight) > n_good:
                odd_rates.append(int(np.sum(has_weight & ~is_rate & ~np.isnan(rate))))
            if weight is not None and np.count_nonzero(is_rate) > n_good:
                surplus = is_rate & ~has_weight & (rate != 0)
                no_weights.append(int(np.sum(surplus & (weight == 0))))
                odd_weights.append(int(np.sum(surplus & (weight != 0) & ~np.isnan(weight))))
            missing = ~good
            rate[missing] = np.nan
            if weight is not None:
                weight[missing] = 0

    in_portions(work, len(sci), ROWS_WORTH_A_THREAD)
    n_pixels = {
        f"infinite, or beyond {MAX_RATE:g} e/s": sum(odd_rates),
        f"whose weight is not between {MIN_WEIGHT:g} and {MAX_WEIGHT:g}": sum(odd_weights),
    }
    n_weightless = sum(no_weights)
    if n_weightless >= LOST_PIXELS:
        n_pixels["with a value but weight 0"] = n_weightless
    return valid, [_left_out(n, what) for what, n in n_pixels.items() if n]


def mark_no_time(sci: Image, time_map_s: Image, valid: Bools, exptime_s: float) -> list[str]:
    """Do the same, in all three arrays, where an exposure time is not valid; return notes."""
    longest = np.float32(MAX_SHARE_OF_TIME * exptime_s)
    if time_map_s.max() <= longest:  # as in nearly all images; NaN is not
        return []
    bad = valid & ~(time_map_s <= longest)
    sci[bad], time_map_s[bad], valid[bad] = np.nan, 0, False
    what = f"whose weight implies more than {MAX_SHARE_OF_TIME:g} times EXPTIME"
    return [_left_out(int(bad.sum()), what)]


def _left_out(n: int, what: str) -> str:
    """Return a note of pixels that are left out."""
    return f"{n} {'pixel' if n == 1 else 'pixels'} {what}: taken as missing"


def refuse_lost_parts(
    path: Path, sci: Image, wht: Image, n_inputs: NDArray[np.int16] | str
) -> None:
    """Complain of planes that hold zeros where there is weight: parts of the file were lost.

    Raises
    ------
    InconsistentImage
        Whole rows, or all pixels from some place to the last, are exactly 0 in SCI or CTX.
    """
    planes: dict[str, NDArray[Any]] = {"SCI": sci}
    if not isinstance(n_inputs, str):
        planes["CTX"] = n_inputs
    for name, plane in planes.items():
        if (n_lost := lost_pixels(plane, wht)) >= LOST_PIXELS:
            raise InconsistentImage(
                f"{path}: {name} is exactly 0 in whole rows or up to its end, in {n_lost} pixels "
                "with weight: data were lost",
                hint=WAY_OUT,
            )


def lost_pixels(plane: NDArray[Any], wht: Image) -> int:
    """Count pixels with weight in rows of zeros, and after the last pixel that is not 0."""
    has_values: Bools = np.asarray(plane[:, ::SPACING].any(axis=1))  # NaN is a value
    for y in np.flatnonzero(~has_values):
        has_values[y] = plane[y].any()
    if not has_values.any():
        return int(np.count_nonzero(wht > 0))
    n_lost = sum(np.count_nonzero(wht[y] > 0) for y in np.flatnonzero(~has_values))
    last_row = int(np.flatnonzero(has_values)[-1])
    last = int(np.flatnonzero(plane[last_row])[-1])
    return int(n_lost + np.count_nonzero(wht[last_row, last + 1 :] > 0))


def refuse_empty(path: Path, valid: Bools, has_weight: bool) -> None:
    """Complain of an image without any data.

    Raises
    ------
    InconsistentImage
        No pixel is valid.
    """
    if not valid.any():
        lacking = "weight" if has_weight else "a value other than 0"
        raise InconsistentImage(
            f"{path}: no valid pixel (none has both a rate and {lacking})",
            hint="leave it out, or fetch it again",
        )


def refuse_constant(path: Path, sci: Image, valid: Bools) -> None:
    """Complain of an image of one value: no telescope made it.

    Raises
    ------
    InconsistentImage
        All valid pixels, of which there are several, hold the same value.
    """
    value: float | None = None
    n_valid = 0
    for rates, good in zip(sci, valid, strict=True):  # of a real image it takes a row
        there = rates[good]
        n_valid += len(there)
        if len(there):
            value = there[0] if value is None else value
            if np.any(there != value):
                return
    if n_valid > 1:
        raise InconsistentImage(f"{path}: every pixel with data is {value:g}", hint=WAY_OUT)
