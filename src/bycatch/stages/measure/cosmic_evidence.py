"""What the pixels of a source, and other exposures, say for a cosmic ray and against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.chips import ChipQuality
from bycatch.images.drc import DrcImage
from bycatch.kernels import sharpness
from bycatch.stages.measure import patterns, stellarity
from bycatch.stages.measure.elsewhere import Elsewhere, seen_elsewhere
from bycatch.stages.measure.exposure_charge import ExposureCharge, charge_of_exposures
from bycatch.stages.measure.photometry import Photometry
from bycatch.stages.measure.remains import Remains, remains

WINDOW_PX, RING_PX, SEARCH_PX = 1.2, (3.5, 5.5), 1.5
"""Of the moments, as in the cosmic-ray mask; and how far the peak may lie from the position;
detector pixels."""
STAR_FWHM_PX, STAR_BOX_SHARE = 2.2, 0.48
"""Width and box share of drizzled stars (detector pixels), where an image has too few."""
DEFAULT_WEIGHT = 3.0
"""Number of stars whose median counts as much as the default."""
STAR_SNR = 15.0
"""Stars brighter than that show how sharp stars are."""
MASK_SHARE_OF_STARS = 0.1
"""Those with a larger share of their light on the mask do not."""
SHARP_WIDTH, SHARP_OFFSET = 0.85, -0.15
"""A saturated source is charge rather than a star where it is as narrow, in units of the stars, or
its light ends as early (magnitudes of 2 to 4 px)."""
AROUND_PX = (2.6, 7.0)
"""Ring in which the mask is counted, detector pixels."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for and against cosmic rays, of N sources; NaN where it could not be measured.

    Attributes
    ----------
    width : (N,) FWHM across the narrowest direction, in units of that of the image's stars
    elongation : (N,) widest over narrowest FWHM
    box : (N,) share of the light that one detector pixel's shadow holds, minus that of stars
    concentration : (N, 2) of `stellarity.Concentration`, minus those of stars
    mask_share : (N,) share of the light on the cosmic-ray mask
    snr : (N,) signal-to-noise ratio under the window of the moments
    n_exp : (N,) int; number of exposures
    elsewhere : what other images see
    n_stars : sources that define how sharp stars are
    charge : (N,) log likelihood of patterns of charge over those of light (`patterns.Fits`)
    misfit : (N,) reduced chi-square of the best pattern of light
    mask_around : (N,) share of the pixels from 2.6 to 7 px that are on the cosmic-ray mask
    remains : holes of the weight about the sources
    exposures : what the exposures say, where they are available
    """

    width: Floats
    elongation: Floats
    box: Floats
    concentration: Floats
    mask_share: Floats
    snr: Floats
    n_exp: Ints
    elsewhere: Elsewhere
    n_stars: int
    charge: Floats
    misfit: Floats
    mask_around: Floats
    remains: Remains
    exposures: ExposureCharge | None = None


def evidence(
    image: DrcImage,
    phot: Photometry,
    concentration: stellarity.Concentration,
    locus: stellarity.Locus,
    *,
    cr_mask: Bools | None = None,
    elsewhere: Elsewhere | None = None,
    is_saturated: Bools | None = None,
    chips: Sequence[ChipQuality] = (),
) -> Evidence:
    """Gather the evidence for cosmic rays and hot pixels against light.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry
        Of the N sources.
    concentration, locus
        Of the same sources and of the image's stars (`stellarity`).
    cr_mask : (ny, nx) bool, optional
        The grown cosmic-ray mask.
    elsewhere : Elsewhere, optional
        What the field's other images see (`seen_elsewhere`); nothing looks by default.
    is_saturated : (N,) bool, optional
        Their cores are flat and bleed: what they say of sharpness is left out, unless they are
        sharper than stars, which a hit that fills the well is.
    chips : sequence of ChipQuality
        The exposures, as far as they are available.
    """
    size_px = image.meta.native_scale_arcsec / image.scale_arcsec
    mask = np.zeros(image.shape, dtype=bool) if cr_mask is None else cr_mask
    values = _sharpness(image, phot, mask, size_px)
    flux, mask_share = values[:, sharpness.FLUX], values[:, sharpness.MASKED]
    with np.errstate(divide="ignore", invalid="ignore"):
        sky = phot.correlation * phot.sky.std * values[:, sharpness.NOISE]
        # The window holds about half of a source's light.
        photons = 0.5 * np.maximum(flux, 0) / phot.exposures.exptime_s
        snr = flux / np.sqrt(sky**2 + photons)
        offset = concentration.index - locus.index
        elongation = values[:, sharpness.MAJOR] / values[:, sharpness.MINOR]
        near = np.abs(offset) < 3 * np.sqrt(np.diag(locus.covariance))
    near = near.all(axis=1) & (snr > STAR_SNR) & (mask_share < MASK_SHARE_OF_STARS)
    box = values[:, sharpness.BOX]
    width = values[:, sharpness.MINOR] / size_px
    fwhm_px = _typical(width[near], STAR_FWHM_PX)
    width = width / fwhm_px
    box = box - _typical(box[near], STAR_BOX_SHARE)
    fits, around, holes = _pixels_about(image, phot, mask, values, fwhm_px)
    charge, misfit = fits.charge, fits.misfit
    if is_saturated is not None:
        with np.errstate(invalid="ignore"):
            is_flat = is_saturated & ~((width < SHARP_WIDTH) | (offset[:, 1] < SHARP_OFFSET))
        width, box, elongation, charge, misfit = (
            np.where(is_flat, np.nan, v) for v in (width, box, elongation, charge, misfit)
        )
        offset = np.where(is_flat[:, np.newaxis], np.nan, offset)
    return Evidence(
        width,
        elongation,
        box,
        offset,
        mask_share,
        snr,
        phot.exposures.count,
        elsewhere or seen_elsewhere(phot.x, phot.y, ()),
        int(near.sum()),
        charge,
        misfit,
        around,
        holes,
        charge_of_exposures(image, phot.x, phot.y, chips, _round_width(fwhm_px)),
    )


def _sharpness(image: DrcImage, phot: Photometry, mask: Bools, size_px: float) -> Floats:
    """Return the columns of `sharpness.sharpness`, in windows of native pixels."""
    return sharpness.sharpness(
        image.sci,
        mask,
        phot.x,
        phot.y,
        window_px=WINDOW_PX * size_px,
        ring_px=(RING_PX[0] * size_px, RING_PX[1] * size_px),
        search_px=SEARCH_PX * size_px,
        box_px=int(np.ceil(size_px * image.meta.pixfrac - 0.15)) + 1,
    )


def _pixels_about(
    image: DrcImage, phot: Photometry, mask: Bools, values: Floats, fwhm_px: float
) -> tuple[patterns.Fits, Floats, Remains]:
    """Return what the pixels about the peaks say: patterns, mask nearby, holes of the weight."""
    size_px = image.meta.native_scale_arcsec / image.scale_arcsec
    templates = patterns.patterns(_round_width(fwhm_px), round(size_px, 3), image.meta.pixfrac)
    at = np.nan_to_num(values[:, [sharpness.PEAK_X, sharpness.PEAK_Y]]).astype(np.int64)
    x, y, level = at[:, 0], at[:, 1], np.nan_to_num(values[:, [sharpness.LEVEL]])
    sky2 = np.nan_to_num(phot.sky.std, nan=1.0)[:, np.newaxis] ** 2
    seconds = np.maximum(np.nan_to_num(phot.exposures.exptime_s), 1.0)[:, np.newaxis]
    stamp = patterns.stamps(image.sci, x, y, templates.dx, templates.dy) - level
    light, variance = patterns.with_errors(stamp, sky2, seconds)
    fits = patterns.fit_patterns(light, variance, templates)
    reach = int(np.ceil(AROUND_PX[1] * size_px))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(dx, dy) / size_px
    ring = (radius > AROUND_PX[0]) & (radius <= AROUND_PX[1])
    around = patterns.stamps(mask, x, y, dx[ring], dy[ring]).mean(axis=1)
    return fits, around, remains(image, x, y, light, variance, templates, fits)


def _round_width(fwhm_px: float) -> float:
    """Return a width rounded, so that images alike share their patterns."""
    return round(fwhm_px, 2)


def _typical(values: Floats, default: float) -> float:
    """Return the median, pulled towards a default where there are few."""
    values = values[np.isfinite(values)]
    own = float(np.median(values)) if len(values) else default
    return (len(values) * own + DEFAULT_WEIGHT * default) / (len(values) + DEFAULT_WEIGHT)
