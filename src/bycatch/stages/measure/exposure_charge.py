"""Charge in the exposures: what the flc or flt files of an image say of its sources.

Before drizzling a cosmic ray is as sharp as it fell on the detector, and it is in one exposure
only.  Each source is looked up in every exposure that covers it; the brightest of them says how
much of its light LAcosmic (van Dokkum 2001, PASP 113, 1420), or the drizzling itself,
takes for a cosmic ray, and whether its pixels are those of light or of charge
(`patterns`); the others say whether the light is there as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.images.chips import ChipQuality
from bycatch.images.drc import DrcImage
from bycatch.kernels import sharpness
from bycatch.kernels.apertures import circle_sums
from bycatch.stages.measure import patterns

WINDOW_PX, RING_PX, SEARCH_PX = 1.2, (3.5, 5.5), 1.5
"""Of the moments, detector pixels, as in the drizzled image."""
APERTURE_PX = 2.0
"""Radius in which exposures are compared, detector pixels."""
FLUX_ERROR = 0.15
"""Two exposures have the same flux to within that, as a share of it: phases and distortion."""
UNDRIZZLED = 0.01
"""The pixfrac of pixels that were not drizzled."""


@dataclass(frozen=True, eq=False)
class ExposureCharge:
    """What the exposures say of N sources.

    Attributes
    ----------
    n_looking : (N,) int; exposures that cover them
    marked : (N,) share of the light on cosmic rays, in the exposure where it is brightest
    charge : (N,) log likelihood of charge over light there (`patterns.Fits`)
    alone : (N,) log likelihood that the others have nothing, over that they have the same;
        0 where no other looks
    """

    n_looking: Ints
    marked: Floats
    charge: Floats
    alone: Floats


@dataclass(eq=False)
class _Sums:
    """The exposures seen so far, (N,) each."""

    rate: Floats
    marked: Floats
    charge: Floats
    log_none: Floats
    of_brightest: Floats
    n: Ints = field(init=False)

    def __init__(self, n: int) -> None:
        self.rate = np.full(n, -np.inf)
        self.marked, self.charge, self.log_none, self.of_brightest = np.zeros((4, n))
        self.n = np.zeros(n, np.int64)


def charge_of_exposures(
    image: DrcImage, x: ArrayLike, y: ArrayLike, chips: Sequence[ChipQuality], star_fwhm_px: float
) -> ExposureCharge | None:
    """Look up sources in the exposures; None without any that has pixels.

    Parameters
    ----------
    image : DrcImage
        With the WCS that it was drizzled with, in whose frame the exposures are.
    x, y : (N,) float
        0-based pixels of the drizzled image.
    chips : of all exposures
    star_fwhm_px : float
        FWHM of drizzled stars as the moments have it, detector pixels.
    """
    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    usable = [chip for chip in chips if chip.has_light]
    is_finite = np.isfinite(columns) & np.isfinite(rows)
    if not usable or not is_finite.any():
        return None
    expected = _drizzled_rates(image, columns, rows)
    sky = np.full((2, len(columns)), np.nan)
    sky[:, is_finite] = image.wcs.all_pix2world(columns[is_finite], rows[is_finite], 0)
    sums = _Sums(len(columns))
    for chip in usable:
        *place, on_chip = chip.places(*sky)
        if on_chip.any():
            seen = np.flatnonzero(on_chip)
            _look(chip, seen, (place[0][seen], place[1][seen]), expected[seen], star_fwhm_px, sums)
    alone = np.where(sums.n > 1, sums.log_none - sums.of_brightest, 0.0)
    return ExposureCharge(sums.n, sums.marked, sums.charge, alone)


def _drizzled_rates(image: DrcImage, x: Floats, y: Floats) -> Floats:
    """Return the rates within the aperture in the drizzled image, their surroundings off."""
    scale = image.meta.native_scale_arcsec / image.scale_arcsec
    radii = (APERTURE_PX * scale, RING_PX[0] * scale, RING_PX[1] * scale)
    sums, areas = circle_sums(image.sci, image.valid, x, y, radii)
    return _net(sums, areas)


def _net(sums: Floats, areas: Floats) -> Floats:
    """Return what the innermost of three circles has above the ring between the others."""
    ring = areas[:, 2] - areas[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(ring > 0, (sums[:, 2] - sums[:, 1]) / ring, 0.0)
    return np.asarray(sums[:, 0] - level * areas[:, 0])


def _look(
    chip: ChipQuality,
    rows: Ints,
    place: tuple[Floats, Floats],
    expected: Floats,
    star_fwhm_px: float,
    sums: _Sums,
) -> None:
    """Add what one chip of one exposure says of some sources."""
    x, y = place
    sci, good = chip.light, chip.good
    values = sharpness.sharpness(
        sci, chip.rays, x, y, window_px=WINDOW_PX, ring_px=RING_PX, search_px=SEARCH_PX, box_px=1
    )
    level = values[:, sharpness.LEVEL]
    circles = circle_sums(sci, good, x, y, (APERTURE_PX, *RING_PX))
    net = circles[0][:, 0] - level * circles[1][:, 0]
    seconds = chip.exptime_s
    sky2 = chip.readnoise_e**2 + np.maximum(level, 0.0)
    error2 = circles[1][:, 0] * sky2 + np.maximum(net, 0.0)
    electrons = np.maximum(expected, 0.0) * seconds
    same2 = error2 + (FLUX_ERROR * electrons) ** 2 + electrons
    none = 0.5 * ((net - electrons) ** 2 / same2 - net**2 / same2)
    sums.n[rows] += 1
    sums.log_none[rows] += none
    rate = net / seconds
    brighter = rate > sums.rate[rows]
    at = rows[brighter]
    sums.rate[at] = rate[brighter]
    sums.of_brightest[at] = none[brighter]
    sums.marked[at] = values[brighter, sharpness.MASKED]
    sums.charge[at] = _charge(sci, good, values[brighter], sky2[brighter], star_fwhm_px)


def _charge(sci: Image, good: Bools, values: Floats, sky2: Floats, star_fwhm_px: float) -> Floats:
    """Return the log likelihood of charge over light about the brightest pixels."""
    templates = patterns.patterns(star_fwhm_px, 1.0, UNDRIZZLED)
    x, y = (values[:, k].astype(np.int64) for k in (sharpness.PEAK_X, sharpness.PEAK_Y))
    light = patterns.stamps(sci, x, y, templates.dx, templates.dy) - values[:, [sharpness.LEVEL]]
    light[~patterns.stamps(good, x, y, templates.dx, templates.dy)] = np.nan
    planes = patterns.with_errors(light, sky2[:, np.newaxis], 1.0)
    return patterns.fit_patterns(*planes, templates).charge
