"""Light in the exposures: forced apertures at the places of objects in the flc or flt files.

Drizzling averages the exposures of an image.  Each of them is a look at the sky at its own time:
with the files at hand it is an epoch of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.images.chips import DQ_SATURATED, ChipQuality
from bycatch.images.drc import DrcImage
from bycatch.images.meta import ImageMeta
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.skystats import annulus_stats
from bycatch.kernels.windows import wide_centroids
from bycatch.robust import MEDIAN_ERROR
from bycatch.sky.astrometry import photon_variance_px2

APERTURE_PX, SKY_PX = 2.5, (7.0, 12.0)
"""Radii in detector pixels."""
BRIGHT_SNR, LEAST_BRIGHT, LEAST_SHARE = 20.0, 5, 0.7
"""So many objects of such a signal-to-noise ratio tell whether an exposure shows them where the
image does: it has so much of their light at least (undrizzled stars are sharper: 1.0 to 1.1)."""
CLIP_SIGMA = 3.0
WHOLE_SHARE = 0.98
"""An aperture with less than that of its area on good pixels is not measured."""
FULL_PX = 2.0
"""How near a full pixel lies to a saturated source, detector pixels."""
STEADY = 0.004
"""Scatter of bright constant stars from exposure to exposure beyond their noise: phase, focus."""
CENTROID_SNR = 10.0
WINDOW_PX = 1.6
PHASE_PX = 0.03
"""Error of the centre of a bright star in undrizzled pixels, per axis."""


@dataclass(frozen=True, eq=False)
class ExposureLight:
    """N positions in the E exposures of an image; NaN where an exposure does not show one.

    Attributes
    ----------
    exposures : root names
    exptime_s : (E,) float
    chip : (N, E) int; number of the chip, 0 where none looks
    x, y : (N, E) float; 0-based pixels of the chip
    rate, err : (N, E) float; e/s within `APERTURE_PX`, sky off, and their error
    sky_err : (N, E) float; the error of an object without light
    dx_px, dy_px, centroid_err_px : (N, E) float; offset of the light from the position, pixels of
        the drizzled image; of what is brighter than `CENTROID_SNR`
    is_hit : (N, E) bool; a cosmic ray lies in the aperture
    is_full : (N, E) bool; a pixel of the core is saturated
    """

    exposures: tuple[str, ...]
    exptime_s: Floats
    chip: Ints
    x: Floats
    y: Floats
    rate: Floats
    err: Floats
    sky_err: Floats
    dx_px: Floats
    dy_px: Floats
    centroid_err_px: Floats
    is_hit: Bools
    is_full: Bools

    @property
    def counts(self) -> Bools:
        """(N, E) bool; where the rate is that of the object."""
        return np.asarray(np.isfinite(self.rate) & ~self.is_hit & ~self.is_full)

    def departures(self) -> Floats:
        """Return what the rates differ from the mean of those that count, (N, E) e/s.

        The mean is weighted by exposure time, as drizzling weights.  NaN where none counts.
        """
        weight = np.where(self.counts, self.exptime_s, 0.0)
        total = weight.sum(axis=1)
        sums = (weight * np.nan_to_num(self.rate)).sum(axis=1)
        mean = np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0)
        return np.asarray(self.rate - mean[:, np.newaxis])

    def take(self, which: Bools) -> ExposureLight:
        """Return some of the exposures, (E,) bool."""
        names = tuple(name for name, is_one in zip(self.exposures, which, strict=True) if is_one)
        matrices = [v[..., which] for v in vars(self).values() if isinstance(v, np.ndarray)]
        return ExposureLight(names, *matrices)


def share_of_light(meta: ImageMeta) -> float:
    """Return the share of a star's light that the apertures hold, by the published curve.

    Parameters
    ----------
    meta : of the drizzled image
    """
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    return float(
        photcal.aperture_fractions(curve, [APERTURE_PX], meta.native_scale_arcsec, SKY_PX)[0]
    )


def light_of_exposures(
    image: DrcImage, x: ArrayLike, y: ArrayLike, chips: Sequence[ChipQuality]
) -> ExposureLight | None:
    """Measure positions in the exposures; None where fewer than two have pixels.

    Parameters
    ----------
    image : DrcImage
        With the WCS that it was drizzled with, in whose frame the exposures are.
    x, y : (N,) float
        0-based pixels of the drizzled image.
    chips : of all exposures
    """
    usable = [chip for chip in chips if chip.has_light]
    seconds = {chip.exposure: chip.exptime_s for chip in usable}
    if len(seconds) < 2:
        return None
    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    shape = len(columns), len(seconds)
    values = [np.full(shape, np.nan) for _ in range(8)]
    spoilt = [np.zeros(shape, dtype=bool) for _ in range(2)]
    found = ExposureLight(
        tuple(seconds), np.array([*seconds.values()]), np.zeros(shape, np.int64), *values, *spoilt
    )
    # One pixel to the right and one up: how large and how turned the pixels of a chip are there.
    sky = [
        np.full((2, len(columns)), np.nan) if not len(columns) else
        np.array(image.wcs.all_pix2world(columns + right, rows + up, 0))
        for right, up in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    ]  # fmt: skip
    for chip in usable:
        at_x, at_y, on_chip = chip.places(*sky[0])
        if on_chip.any():
            _measure(chip, image, np.flatnonzero(on_chip), (at_x, at_y), sky[1:], found)
    return found


def shows_the_same(image: DrcImage, x: ArrayLike, y: ArrayLike, light: ExposureLight) -> Bools:
    """Return which exposures show the light of bright objects where the image has it, (E,) bool.

    One that does not has a WCS of another frame than that which the image was drizzled with.  With
    fewer than `LEAST_BRIGHT` objects to tell, it is believed.

    Parameters
    ----------
    image, x, y : as in `light_of_exposures`
    light : what that gave
    """
    detector_px = image.meta.native_scale_arcsec / image.scale_arcsec
    radius, inner, outer = (r * detector_px for r in (APERTURE_PX, *SKY_PX))
    sky = annulus_stats(image.sci, image.valid, x, y, (inner, outer), CLIP_SIGMA)
    sums, areas = circle_sums(image.sci, image.valid, x, y, (radius,))
    expected = (sums[:, 0] - sky.median * areas[:, 0])[:, np.newaxis]
    is_bright = np.isfinite(light.rate) & (expected > BRIGHT_SNR * light.err)
    shares = np.where(
        is_bright & ~light.is_hit, light.rate / np.where(is_bright, expected, 1.0), np.nan
    )
    return np.array([
        np.isfinite(column).sum() < LEAST_BRIGHT or np.nanmedian(column) > LEAST_SHARE
        for column in shares.T
    ])  # fmt: skip


def _measure(
    chip: ChipQuality,
    image: DrcImage,
    rows: Ints,
    at: tuple[Floats, Floats],
    beside: Sequence[Floats],
    found: ExposureLight,
) -> None:
    """Enter what one chip of one exposure shows of some positions."""
    column = found.exposures.index(chip.exposure)
    x, y = (v[rows] for v in at)
    # Columns: what a pixel of the drizzled image along x, and along y, is on the chip.
    steps = np.array([
        [there - here for there, here in zip(chip.places(*sky[:, rows])[:2], (x, y), strict=True)]
        for sky in beside
    ]).transpose(2, 1, 0)  # fmt: skip
    detector_px = image.scale_arcsec / image.meta.native_scale_arcsec
    area = detector_px**2 / np.abs(np.linalg.det(steps))
    sci, free, full = chip.light, chip.good & ~chip.rays, np.asarray(chip.dq & DQ_SATURATED > 0)
    sky = annulus_stats(sci, free, x, y, SKY_PX, CLIP_SIGMA)
    sums, areas = circle_sums(sci, chip.good, x, y, (APERTURE_PX,))
    clean = circle_sums(sci, free, x, y, (APERTURE_PX,))[1]
    net = sums[:, 0] - sky.median * areas[:, 0]
    noise2 = areas[:, 0] * sky.std**2
    noise2 = noise2 * (1.0 + MEDIAN_ERROR**2 * areas[:, 0] / np.maximum(sky.n_pixels, 1))
    error = np.sqrt(noise2 + np.maximum(net, 0.0) + (STEADY * net) ** 2)
    is_whole = areas[:, 0] > WHOLE_SHARE * np.pi * APERTURE_PX**2
    found.chip[rows, column] = chip.number
    found.x[rows, column], found.y[rows, column] = x, y
    found.is_full[rows, column] = circle_sums(sci, full, x, y, (FULL_PX,))[1][:, 0] > 0
    found.is_hit[rows, column] = clean[:, 0] < areas[:, 0]
    found.rate[rows, column] = np.where(is_whole, net * area, np.nan) / chip.exptime_s
    found.err[rows, column] = np.where(is_whole, error * area, np.nan) / chip.exptime_s
    found.sky_err[rows, column] = np.sqrt(noise2) * area / chip.exptime_s
    bright = np.flatnonzero(is_whole & (net > CENTROID_SNR * error))
    if not len(bright):
        return
    level = float(np.median(sky.median[bright]))
    offset = _centroids(sci, free, level, x[bright], y[bright])
    at_bright = rows[bright], column
    found.dx_px[at_bright], found.dy_px[at_bright] = np.linalg.solve(
        steps[bright], offset[:, :, np.newaxis]
    )[:, :, 0].T
    variance = photon_variance_px2(
        net[bright], sky.std[bright], np.full(len(bright), WINDOW_PX), 1.0
    )
    found.centroid_err_px[at_bright] = np.sqrt((variance + PHASE_PX**2) * area[bright])


def _centroids(sci: Image, free: Bools, level: float, x: Floats, y: Floats) -> Floats:
    """Return what windowed centroids are off from some positions, (N, 2) pixels of the chip."""
    background, labels = np.full(sci.shape, level, np.float32), np.zeros(sci.shape, np.int32)
    number = np.zeros(len(x), np.int64)
    centroids = wide_centroids(sci, background, free, labels, number, x, y, WINDOW_PX)
    return np.column_stack(centroids) - np.column_stack([x, y])
