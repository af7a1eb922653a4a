"""Cosmic rays: LAcosmic on the drizzled image, and a test of what it finds against the PSF.

LAcosmic (van Dokkum 2001, PASP 113, 1420) distinguishes a cosmic ray from a star by the
ratio of the Laplacian to the fine structure (``objlim``).  On a drizzled image
that ratio fails: drizzling spreads a track by its sub-pixel phase, which varies
over the frame, so that tracks and the undersampled cores of stars have the same
ratios.  LAcosmic therefore only proposes here, with a low limit.  What decides
is width: light has passed the optics, charge has not, so a track is narrower
than the PSF in at least one direction.

DEPARTS from van Dokkum (2001): the noise is a model scaled to the measured
scatter, not a median of the image; ``objlim`` is so low that star cores pass,
and candidates as wide as the PSF are given back; the mask is grown by a Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.display import notebook
from bycatch.images.drc import DrcImage
from bycatch.images.meta import SATURATION_SHARE
from bycatch.images.weights import DARK_RATE
from bycatch.kernels import labelling, peak_widths
from bycatch.kernels import noise_image as charges
from bycatch.kernels.box_scatter import level_and_scatter, residual_scatter
from bycatch.kernels.lacosmic import lacosmic
from bycatch.kernels.large_medians import median
from bycatch.kernels.mask_growth import grow_by_blur, grow_by_one
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.noise_image import NoiseModel
from bycatch.kernels.peak_basins import narrow_basins
from bycatch.kernels.peaks import is_cut_off, maxima
from bycatch.kernels.smoothing import gaussian_kernel, noise_correlation
from bycatch.settings import CrmaskSettings

PSF_PX = 7
"""Side of the PSF of fsmode 'convolve'."""
PAD_PX = 8
"""LAcosmic leaves the outermost pixels alone (its medians reach 4 px)."""
WINDOW_SIGMA_PX = 1.2
"""Gaussian weight of the moments, in detector pixels.  Wider ones let neighbours in, narrower
ones show less."""
RING_PX = (3.5, 5.5)
"""Radii of the ring whose median is a candidate's background, in detector pixels."""
EDGE_PX = 2.3
"""A peak this near to missing pixels is cut off, and its width means nothing; detector pixels."""
SAMPLE_ROWS, MAX_ROW_STEP = 1000, 4
"""Typical values come from at least so many rows of a larger image, or one in four: the scatter
of a full frame differs by 1 % from that of all its rows, a fifth of what it differs over the
frame with the phase of drizzling."""
MAX_SKY_RATE = 0.5
"""Brightest sky that scatter is taken for, e/s per detector pixel: crowding scatters too."""


@dataclass(frozen=True, eq=False)
class CrmaskResult:
    """Cosmic-ray masks.

    Attributes
    ----------
    mask : (ny, nx) bool; pixels of cosmic rays
    grown : (ny, nx) bool; the same, grown
    noise_scale : measured over modelled scatter of the sky pixels
    sky_added_e : sky that was put back, electrons per pixel
    single : (ny, nx) bool; pixels with data of one exposure, where the mask means most
    n_tracks : connected groups of masked pixels
    """

    mask: Bools
    grown: Bools
    noise_scale: float
    sky_added_e: float
    single: Bools
    n_tracks: int

    @cached_property
    def n_pixels(self) -> int:
        """Number of pixels of the mask that is not grown."""
        return int(self.mask.sum())

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        n_single = int(self.single.sum())
        return {
            "n_cr_pixels": self.n_pixels,
            "n_cr_tracks": self.n_tracks,
            "share_of_single": float(self.mask[self.single].mean()) if n_single else None,
            "share_of_single_grown": float(self.grown[self.single].mean()) if n_single else None,
            "noise_scale": self.noise_scale,
            "sky_added_e": self.sky_added_e,
        }

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        look = notebook.mask_picture(self.grown, "pixels of cosmic rays, grown")
        return notebook.card("Cosmic-ray mask", self.summary(), picture=look)


@dataclass(frozen=True, eq=False)
class Charge:
    """An image in electrons per pixel, with its sky, and the noise it shows.

    Attributes
    ----------
    counts, variance : (ny, nx) float32; counts contain the sky, and are the sky where not good
    seconds : (ny, nx) float32; effective exposure time where good
    good : (ny, nx) bool; False where there are no data
    saturated : (ny, nx) bool; saturated stars and bleeding columns, with their borders
    sky_rate : e/s per pixel, whole
    sky_added_e : sky that was put back in a pixel of typical depth
    noise_scale : measured over modelled scatter of the sky pixels
    smoothing : share of the scatter of single pixels that drizzling leaves
    """

    counts: Image
    variance: Image
    seconds: Image
    good: Bools
    saturated: Bools
    sky_rate: float
    sky_added_e: float
    noise_scale: float
    smoothing: float


def run(image: DrcImage, settings: CrmaskSettings | None = None) -> CrmaskResult:
    """Find the cosmic rays of an image.

    Returns masks for the whole image; where two or more exposures look,
    drizzling has removed the cosmic rays and few are left to find.

    Parameters
    ----------
    image : DrcImage
    settings : CrmaskSettings; the defaults without them
    """
    crmask_settings = settings or CrmaskSettings()
    good = image.valid & (image.exptime_map_s > 0)
    if not good.any():
        nothing = np.zeros(image.shape, dtype=bool)
        return CrmaskResult(nothing, nothing, float("nan"), 0.0, nothing, 0)
    charge = charge_of(image, good)
    candidates = lacosmic_mask(charge, crmask_settings)
    native_px = image.meta.native_scale_arcsec / image.scale_arcsec
    # The counts are needed no more, and another plane would cost time and memory.
    charges.take_sky_off(charge.counts, charge.seconds, good, charge.sky_rate)
    mask = narrow_part(candidates, charge.counts, charge, native_px, crmask_settings)
    noise_scale, sky_added_e = charge.noise_scale, charge.sky_added_e
    del charge, candidates  # the largest of images have to fit
    return CrmaskResult(
        mask=mask,
        grown=grown_mask(mask, crmask_settings, good),
        noise_scale=noise_scale,
        sky_added_e=sky_added_e,
        single=good & (image.n_exp == 1),
        n_tracks=labelling.n_groups(mask),
    )


def charge_of(image: DrcImage, good: Bools) -> Charge:
    """Return the image in electrons with its sky and its noise.

    The sky that drizzling subtracted is put back where the level of the image
    shows that it is missing: MDRIZSKY says what was measured, not whether it
    was taken off.  Without MDRIZSKY the sky follows from the scatter.

    Parameters
    ----------
    image : DrcImage
    good : (ny, nx) bool, pixels with data and exposure time
    """
    seconds, n_exp = image.exptime_map_s, image.n_exp
    rows = sampled_rows(good)
    sample = good[rows]
    typical_s = median(seconds[rows], sample)
    area = (image.scale_arcsec / image.meta.native_scale_arcsec) ** 2
    smoothing = drizzle_smoothing(image.meta.pixfrac, np.sqrt(area))
    model = NoiseModel(area, DARK_RATE, image.meta.readnoise_e, typical_s=typical_s)

    level, scatter = level_and_scatter(image.sci[rows], sample)
    expected = image.meta.subtracted_sky_rate * area
    if not np.isfinite(expected):
        constant = model.typical_fixed(seconds[rows], n_exp[rows], sample)
        from_scatter = (scatter * typical_s / smoothing) ** 2 - constant
        expected = min(max(from_scatter / typical_s, 0.0), MAX_SKY_RATE * area)
    added_level = expected - level if level < 0.5 * expected else 0.0
    model = replace(model, sky_rate=level + added_level, added_rate=added_level)

    counts, is_saturated = charges.electrons(
        image.sci, seconds, n_exp, good, model, SATURATION_SHARE * image.meta.full_well_e
    )
    scale = residual_scatter(counts[rows], seconds[rows], n_exp[rows], sample, model)
    scale = scale if scale > 0 else 1.0
    return Charge(
        counts=counts,
        variance=charges.variance_plane(counts, seconds, n_exp, good, model, scale**2),
        seconds=seconds,
        good=good,
        saturated=is_saturated,
        sky_rate=model.sky_rate,
        sky_added_e=added_level * typical_s,
        noise_scale=scale,
        smoothing=smoothing,
    )


def sampled_rows(good: Bools) -> slice:
    """Return the rows that are a sample of an image: all of a small one.

    Parameters
    ----------
    good : (ny, nx) bool
    """
    step = min(max(len(good) // SAMPLE_ROWS, 1), MAX_ROW_STEP)
    rows = slice(step // 2, None, step)
    return rows if good[rows].any() else slice(None)


def drizzle_smoothing(pixfrac: float, scale_ratio: float) -> float:
    """Return by how much drizzling lowers the scatter of single pixels (see the kernel).

    Parameters
    ----------
    pixfrac : of the drop, in native pixels
    scale_ratio : output over native pixel
    """
    return 1 / noise_correlation(pixfrac, scale_ratio)


def lacosmic_mask(charge: Charge, settings: CrmaskSettings) -> Bools:
    """Return the pixels that LAcosmic marks, saturated ones left out.

    Parameters
    ----------
    charge : Charge, the image in electrons with its noise
    settings : CrmaskSettings
    """
    is_matched = settings.fsmode == "convolve"
    rays = lacosmic(
        charge.counts,
        charge.variance,
        ~charge.good | charge.saturated,
        sigclip=settings.sigclip,
        sigfrac=settings.sigfrac,
        objlim=settings.objlim,
        n_iterations=settings.n_iterations,
        cleantype=settings.cleantype,
        psf=gaussian_kernel(settings.psf_fwhm_px, PSF_PX).astype(np.float32)
        if is_matched
        else None,
        mirror_px=PAD_PX,  # cutouts have cosmic rays at their edge, too
    )
    rays &= charge.good
    rays &= ~charge.saturated
    return rays


def narrow_part(
    candidates: Bools, signal: Image, charge: Charge, native_px: float, settings: CrmaskSettings
) -> Bools:
    """Return the candidates that belong to a peak narrower than light can be.

    Candidate pixels are shared out among the local maxima of the image by a
    watershed, so that a cosmic ray beside a star does not take its pixels.

    Parameters
    ----------
    candidates : (ny, nx) bool
    signal : (ny, nx) float32; the image without its sky, 0 where not good
    charge : its noise
    native_px : size of a detector pixel in pixels of the image
    settings : limits of width and signal-to-noise ratio
    """
    near = grow_by_one(candidates, charge.good)
    x, y = maxima(signal, near)
    fwhm_px, snr = minor_widths(signal, charge.variance, x, y, native_px)
    # Drizzling correlates pixels: sums over several are noisier than their scatter says.
    snr *= charge.smoothing
    trust = np.maximum(1.0 - (settings.snr_floor / np.maximum(snr, 1e-9)) ** 2, 0.0)
    limit_px = settings.max_track_fwhm_px * native_px * trust
    narrow = (fwhm_px < limit_px) & ~is_cut_off(plane(charge.good, bool), x, y, EDGE_PX * native_px)
    narrow_pixels = narrow_basins(signal, near, x, y, narrow)
    narrow_pixels &= candidates
    return narrow_pixels


def minor_widths(
    signal: Image, variance: Image, x: Ints, y: Ints, native_px: float
) -> tuple[Floats, Floats]:
    """Return the FWHM of peaks across their narrowest direction, and their signal-to-noise ratio.

    So measured (see the kernel), drizzled stars of ACS/WFC have 1.84 px (F475W,
    sub-pixel phase 0) to 2.45 px (F814W, phase one half), wherever in a pixel they
    lie; a charge of one pixel has 0 to 1.2 px.

    Parameters
    ----------
    signal, variance : (ny, nx)
        Image without its sky; squared error of a pixel.
    x, y : (N,) int
        Pixels of the peaks.
    native_px : float
        Size of a detector pixel in pixels of the image.

    Returns
    -------
    fwhm_px, snr : (N,) float
        FWHM is 0 where the moments are not positive, infinite where the window limits it.
    """
    inner, outer = (radius * native_px for radius in RING_PX)
    ring_px = (inner, outer)
    return peak_widths.minor_widths(signal, variance, x, y, WINDOW_SIGMA_PX * native_px, ring_px)


def grown_mask(mask: Bools, settings: CrmaskSettings, good: Bools | None = None) -> Bools:
    """Return the mask convolved with a Gaussian, above a threshold, where good.

    Parameters
    ----------
    mask : (ny, nx) bool
    settings : CrmaskSettings
    good : (ny, nx) bool; everywhere without it
    """
    may_grow = np.ones(mask.shape, bool) if good is None else good
    sigma = settings.grow_sigma_px
    if sigma == 0:
        return mask & may_grow
    offset = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offset / sigma) ** 2)
    return grow_by_blur(mask, weights / weights.sum(), settings.grow_threshold, may_grow)
