"""Sums in apertures, their sky and errors, exposures and profile fits at given positions."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.moffat import MoffatFits, fit_moffat_at
from bycatch.kernels.neighbourhood import coverage
from bycatch.kernels.ring_excess import ring_excess
from bycatch.kernels.skystats import SkyStats, annulus_stats
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.settings import MeasureSettings
from bycatch.sky.astrometry import CENTROID_FLOOR_PX, centroid_errors_px
from bycatch.stages.measure.pixels import Pixels
from bycatch.stages.measure.rejection import rejected_rates

Columns = TypeVar("Columns", bound=Any)
EXPOSURE_RADIUS_PX = 2.0
"""The number of exposures of a source is the median within this radius."""
EXPTIME_RADIUS_PX = 4.0
"""Its effective exposure time is the mean within this radius, and the least number that there."""
CENTROID_RADIUS_PX = 4.0
"""The flux in the aperture nearest to this one gives the error of a centroid.  These three are
detector pixels."""
CORE_PX = 2.0
"""Nearer masked pixels stay in the sums: the mask may hold the core of a star.  Detector pixels."""


@dataclass(frozen=True, eq=False)
class Photometry:
    """What was measured at N positions in R radii.

    Attributes
    ----------
    x, y : (N,) 0-based pixel centres
    radii_px : the R radii
    sums, areas : (N, R) sums (e/s, with sky) and areas (px^2) of the valid parts of the circles
    charge : (N, R) what cosmic rays have of the sums, e/s
    rejected : (N,) light that pixels carried which an exposure lost, e/s (see `rejection`)
    sky : clipped statistics of the annulus
    exposures : exposure bookkeeping
    fits : Moffat profiles
    correlation : factor of the sky noise for the correlation between pixels
    """

    x: Floats
    y: Floats
    radii_px: tuple[float, ...]
    sums: Floats
    areas: Floats
    charge: Floats
    rejected: Floats
    sky: SkyStats
    exposures: Exposures
    fits: MoffatFits
    correlation: float

    @property
    def net(self) -> Floats:
        """Sums without sky and charge, (N, R) in e/s."""
        return self.sums - self.charge - self.sky.median[:, np.newaxis] * self.areas


def photometry(
    image: DrcImage,
    x: Floats,
    y: Floats,
    settings: MeasureSettings,
    pixels: Pixels,
    labels: NDArray[np.int32] | None = None,
) -> Photometry:
    """Measure an image at positions, (N,) 0-based pixel centres, on the image or not.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    settings : MeasureSettings
    pixels : Pixels
    labels : (ny, nx) int; pixels whose sources are left out of the annuli of others
    """
    radii_px, annulus = settings.radii_px, (settings.annulus_inner_px, settings.annulus_outer_px)
    sums, areas = aperture_sums(image.sci, image.valid, x, y, radii_px)
    exposures = exposures_at(image, x, y)
    sky = annulus_stats(image.sci, image.valid, x, y, annulus, settings.sky_clip_sigma, labels)
    return Photometry(
        x,
        y,
        radii_px,
        sums,
        areas,
        charge_rates(image, x, y, radii_px, exposures, pixels),
        rejected_rates(image, x, y, sky.median),
        sky,
        exposures,
        profile_fits(image, x, y, settings.fwhm_radius_px * image.detector_px),
        image.noise_correlation if settings.correlated_noise else 1.0,
    )


def without_stars(
    phot: Photometry,
    image: DrcImage,
    star_light: Image,
    which: NDArray[np.bool_],
    settings: MeasureSettings,
    pixels: Pixels,
) -> tuple[Photometry, DrcImage]:
    """Return the photometry, of some positions with the stars subtracted, and the image without.

    Parameters
    ----------
    phot : Photometry of N sources
    image : DrcImage
    star_light : (ny, nx) float32, e/s
    which : (N,) bool
    settings : MeasureSettings
    pixels : Pixels
    """
    clean_image = replace(image, sci=image.sci - star_light)
    rows = np.flatnonzero(which)
    part = photometry(clean_image, phot.x[rows], phot.y[rows], settings, pixels)
    return in_rows(phot, part, rows), clean_image


def in_rows(whole: Columns, part: Columns, rows: NDArray[np.intp]) -> Columns:
    """Return columns with some rows replaced; what has no rows stays.

    Parameters
    ----------
    whole, part : dataclasses of arrays, or of such dataclasses
    rows : (M,) int; those of the part in the whole
    """
    new_values: dict[str, Any] = {}
    for field in fields(whole):
        value, other = getattr(whole, field.name), getattr(part, field.name)
        if is_dataclass(value):
            new_values[field.name] = in_rows(value, other, rows)
        elif isinstance(value, np.ndarray):
            new_values[field.name] = value.copy()
            new_values[field.name][rows] = other
    return replace(whole, **new_values)


def aperture_sums(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    x: Floats,
    y: Floats,
    radii_px: tuple[float, ...],
) -> tuple[Floats, Floats]:
    """Sum an image in circles with exact pixel overlap.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels count.
    x, y : (N,) positions, 0-based pixel centres; may be off the image, or not finite
    radii_px : R radii

    Returns
    -------
    sums, areas : (N, R) float
        The area is that of the valid part, px^2; both are 0 where it is empty.
    """
    return circle_sums(data, valid, x, y, radii_px)


def charge_rates(
    image: DrcImage,
    x: Floats,
    y: Floats,
    radii_px: tuple[float, ...],
    exposures: Exposures,
    pixels: Pixels,
) -> Floats:
    """Return what cosmic rays add to the sums in circles of single exposures, (N, R) in e/s.

    That is what pixels of the mask more than `CORE_PX` away have beyond the mean of their rings.
    Stars with a full core keep all: the mask may lie on their bleeding and spikes.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    radii_px : R radii
    exposures : of the positions
    pixels : Pixels; without a mask there is no charge
    """
    charge = np.zeros((len(x), len(radii_px)))
    if pixels.cr_mask is None:
        return charge
    is_full = np.nan_to_num(exposures.peak_rate) > image.meta.full_rate
    rows = np.flatnonzero((exposures.count == 1) & ~is_full)
    charge[rows] = ring_excess(
        image.sci,
        image.valid,
        pixels.cr_mask,
        x[rows],
        y[rows],
        radii_px,
        CORE_PX * image.detector_px,
        pixels.segmentation,
    )
    return charge


def position_errors_px(
    phot: Photometry,
    centroid_err_px: Floats,
    detector_px: float = 1.0,
    floor_px: float = np.nan,
) -> Floats:
    """Return the errors of the centroids per axis, pixels.

    Where detection has not measured the error, a Gaussian of the source's width and flux gives it;
    NaN where the flux is not positive.

    Parameters
    ----------
    phot : Photometry of N sources
    centroid_err_px : (N,) by the detection, px; NaN: not measured
    detector_px : side of a detector pixel, image px
    floor_px : px, of the brightest stars, if the alignment measures it
    """
    floor_px = floor_px if np.isfinite(floor_px) else CENTROID_FLOOR_PX * detector_px
    radius_px = CENTROID_RADIUS_PX * detector_px
    k = int(np.argmin(np.abs(np.asarray(phot.radii_px) - radius_px)))
    net, sigma_px = phot.net[:, k], phot.fits.fwhm_px * SIGMA_PER_FWHM
    exptime_s = phot.exposures.exptime_s
    expected = centroid_errors_px(net, phot.sky.std, sigma_px, exptime_s, floor_px)
    expected[~(net > 0)] = np.nan
    return np.where(np.isfinite(centroid_err_px), np.hypot(centroid_err_px, floor_px), expected)


@dataclass(frozen=True, eq=False)
class Exposures:
    """Exposure bookkeeping of N positions."""

    count: NDArray[np.int64]
    """Median number within 2 detector pixels, halves rounded up: 1 says that it is exactly 1."""
    least: NDArray[np.int64]
    """Least number within 4 detector pixels."""
    exptime_s: Floats
    """Mean within 4 detector pixels."""
    peak_rate: Floats
    """Highest pixel within 2 detector pixels, e/s; NaN where there is none."""


def exposures_at(image: DrcImage, x: Floats, y: Floats) -> Exposures:
    """Return median number of exposures, mean exposure time and peak around each position.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    """
    planes = (image.sci, image.valid, image.n_exp, image.exptime_map_s)
    radii_px = (r * image.detector_px for r in (EXPOSURE_RADIUS_PX, EXPTIME_RADIUS_PX))
    near = coverage(planes, x, y, *radii_px)
    # Up: where half the pixels have a second exposure, the source is not in a single one.
    count, least = np.ceil(near.n_exp).astype(np.int64), near.n_exp_min.astype(np.int64)
    return Exposures(count, least, near.exptime_s, near.peak_rate)


def profile_fits(image: DrcImage, x: Floats, y: Floats, radius_px: float) -> MoffatFits:
    """Fit Moffat profiles to the pixels within a radius of each position.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    radius_px : px
    """
    return fit_moffat_at(image.sci, image.valid, x, y, radius_px)
