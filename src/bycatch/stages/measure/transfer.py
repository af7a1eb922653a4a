"""Whether charge was lost on its way to the readout: the trails that it leaves behind.

Traps hold back charge and give it back behind the packet, away from the readout, which is at the
outer edges of the two chips.  Whatever was detected, cosmic rays too, is as bright above as below
on average; what it has more on the side of the gap, in proportion to its distance from the readout
and to the charge that traps take (its power of 0.6), is a trail.  Fluxes alone do not show a loss
from a fainter star (Anderson & Bedin 2010, PASP 122, 1035, use the trails of warm pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.images.drc import DrcImage

FIRST_PX, LAST_PX, HALF_WIDTH_PX = 3, 14, 1
"""The strips above and below a source: rows from it, and columns on either side."""
CHARGE_E = (100.0, 30_000.0)
EXPONENT = 0.6
RECOVERED = 0.5
"""Share of the lost charge that the strips hold: benchmarks/families.py, "points" with a loss of
8 % at 1,000 e, shows 3.8 % in them."""
MIN_SIGMA, MIN_LOSS_PERCENT = 4.5, 2.0
"""A loss is reported from this on: images without one reach 2.1 sigma (12 images)."""
LEAST_ROWS = 50
_CLIP_SIGMA, _LEAST_PIXELS, _LEAST_FILLED = 4.0, 0.7, 0.85
LATE_MJD = 53371.0
"""2005-01-01: losses grow with the years in orbit."""


@dataclass(frozen=True)
class Transfer:
    """The loss of 1,000 electrons at the gap between the chips; NaN where it can't be measured.

    Attributes
    ----------
    loss_percent, err_percent : of the charge, and the 1-sigma error
    n_rows : sources whose surroundings were used
    is_late_drz : not corrected, and taken when losses matter
    """

    loss_percent: float
    err_percent: float
    n_rows: int
    is_late_drz: bool

    def summary(self) -> dict[str, Any]:
        """Return the numbers for the summary."""
        has_loss = np.isfinite(self.loss_percent)
        return {
            "cte_loss_percent": self.loss_percent if has_loss else None,
            "cte_loss_err_percent": self.err_percent if has_loss else None,
            "cte_n_sources": self.n_rows,
        }

    def warnings(self) -> list[str]:
        """Return in words what is lost."""
        is_seen = (
            self.loss_percent > MIN_SIGMA * self.err_percent
            and self.loss_percent > MIN_LOSS_PERCENT
        )
        if is_seen:
            loss = f"{self.loss_percent:.0f} +- {self.err_percent:.0f} %"
            text = (
                f"charge transfer: trails away from the readout show that {loss} of 1,000 "
                "electrons are lost at the gap between the chips, and faint stars there are too "
                "faint: use the corrected image (drc), or compare stars at one distance from the "
                "readout"
            )
            return [text]
        if self.is_late_drz:
            text = (
                "charge transfer is not corrected (drz, from 2005 or later): faint stars far from "
                "the readout, near the gap, are too faint by some percent; use the drc"
            )
            return [text]
        return []


def transfer_of(
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
    x: Floats,
    y: Floats,
    rate: Floats,
) -> Transfer:
    """Return the loss of charge transfer that the surroundings of sources show.

    Parameters
    ----------
    image : DrcImage
        Drizzled along the detector, with both chips: else there is no result.
    segmentation : (ny, nx) int, or None
    x, y, rate : (N,) positions and e/s of what was detected, cosmic rays too, parts of the sky not
    """
    meta = image.meta
    late = not meta.is_cte_corrected and meta.detector == "WFC" and meta.mjd_mid > LATE_MJD
    nothing = Transfer(np.nan, np.nan, 0, late)
    if segmentation is None or meta.detector != "WFC" or not _lies_along_the_detector(image):
        return nothing
    ny = image.shape[0]
    time = meta.exptime_s / max(meta.n_exposures, 1)
    charge = np.nan_to_num(rate) * time
    is_faint = (charge > CHARGE_E[0]) & (charge < CHARGE_E[1]) & np.isfinite(x + y)
    x, y, charge = x[is_faint], y[is_faint], charge[is_faint]
    from_middle = (y - 0.5 * (ny - 1)) / (0.5 * ny)
    away = np.where(from_middle > 0, -1.0, 1.0)
    trail = _above_less_below(image, segmentation, x, y) * time * away
    loss = 1000.0 * (charge / 1000.0) ** EXPONENT * (1.0 - np.abs(from_middle))
    # A lopsided PSF goes with the charge itself, and with the chip.
    terms = np.stack([loss, np.ones(len(x)), away, charge * away], axis=1)
    has_trail = np.isfinite(trail)
    if has_trail.sum() >= LEAST_ROWS:
        middle = np.median(trail[has_trail])
        off = np.abs(trail - middle)
        has_trail &= off < _CLIP_SIGMA * 1.4826 * np.median(off[has_trail])
    if has_trail.sum() < LEAST_ROWS:
        return nothing
    terms, trail = terms[has_trail] / np.array([1.0, 1.0, 1.0, 1000.0]), trail[has_trail]
    solution = np.linalg.lstsq(terms, trail, rcond=None)[0]
    scatter = float(np.var(trail - terms @ solution))
    error = np.sqrt(scatter * np.linalg.pinv(terms.T @ terms)[0, 0])
    percent = 100.0 / RECOVERED
    return Transfer(
        float(percent * solution[0]), float(percent * error), int(has_trail.sum()), late
    )


def _lies_along_the_detector(image: DrcImage) -> bool:
    """Tell whether the data fill their box: corners of a turned image are empty."""
    rows, columns = (np.flatnonzero(image.valid.any(axis=k)) for k in (1, 0))
    if not len(rows):
        return False
    box = image.valid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool(box.mean() > _LEAST_FILLED)


def _above_less_below(
    image: DrcImage, segmentation: NDArray[np.integer[Any]], x: Floats, y: Floats
) -> Floats:
    """Return the light of the strip above each source less that below, e/s; NaN if hidden."""
    ny, nx = image.shape
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (row >= LAST_PX) & (row < ny - LAST_PX)
    inside &= (column >= HALF_WIDTH_PX) & (column < nx - HALF_WIDTH_PX)
    row, column = np.where(inside, row, LAST_PX), np.where(inside, column, HALF_WIDTH_PX)
    # By one index each: two take three times as long.
    middle = row * nx + column
    sci, valid, labels = (np.ravel(v) for v in (image.sci, image.valid, segmentation))
    own = labels[middle]
    total, n_pixels = np.zeros(len(x)), np.zeros(len(x))
    for step in range(FIRST_PX, LAST_PX + 1):
        for aside in range(-HALF_WIDTH_PX, HALF_WIDTH_PX + 1):
            free = np.ones(len(x), dtype=np.bool_)
            above, below = middle + step * nx + aside, middle - step * nx + aside
            for at in (above, below):
                label = labels[at]
                free &= valid[at] & ((label == 0) | (label == own))
            apart = sci[above] - sci[below]
            total += np.where(free, apart, 0.0)
            n_pixels += free
    n_all = (LAST_PX - FIRST_PX + 1) * (2 * HALF_WIDTH_PX + 1)
    enough = inside & (n_pixels >= _LEAST_PIXELS * n_all)
    return np.where(enough, total / np.maximum(n_pixels, 1.0) * n_all, np.nan)
