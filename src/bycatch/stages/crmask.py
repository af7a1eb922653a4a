"""Cosmic rays: LAcosmic on the drizzled image, and a test of what it finds against the PSF.

LAcosmic (van Dokkum 2001, PASP 113, 1420) tells a cosmic ray from a star by the
ratio of the Laplacian to the fine structure (``objlim``).  On a drizzled image
that ratio fails: drizzling spreads a track over its neighbours by its sub-pixel
phase, which varies over the frame, so that tracks and the undersampled cores of
stars have the same ratios.  LAcosmic therefore only proposes here, with a low
limit.  What decides is the width: light has passed the optics, charge has not,
so a track is narrower than the PSF in at least one direction.

DEPARTS from van Dokkum (2001) in four ways: the noise is a model scaled to the
measured scatter, in place of a median of the image; ``objlim`` is low; sources
as wide as the PSF are given back; the mask is grown by a Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.drc import DARK_RATE, DrcImage
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.settings import CrmaskSettings

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

BOX_PX = 64
"""Side of the boxes in which the level and the scatter of the sky are measured."""
MIN_BOX_PX = 50
PAD_PX = 8
"""LAcosmic leaves the outermost pixels alone (its medians reach 4 px)."""
SATURATION_SHARE = 0.8
"""Of the full well: drizzling averages a saturated pixel with its neighbours."""
WINDOW_SIGMA_PX = 1.2
"""Gaussian weight of the moments, in native pixels: about the PSF."""


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

    mask: Mask
    grown: Mask
    noise_scale: float
    sky_added_e: float
    single: Mask
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


@dataclass(frozen=True, eq=False)
class Charge:
    """An image in electrons per pixel, with its sky, and the noise it shows.

    ``good`` is False where there are no data; ``counts`` and ``variance`` hold
    the level of the sky there.
    """

    counts: Image
    variance: Image
    good: Mask
    sky_e: float
    sky_added_e: float
    noise_scale: float
    smoothing: float
    """Share of the scatter of single pixels that drizzling leaves."""


def run(image: DrcImage, settings: CrmaskSettings | None = None) -> CrmaskResult:
    """Find the cosmic rays of an image.

    Returns masks for the whole image; where two or more exposures look,
    drizzling has removed the cosmic rays and few are left to find.
    """
    chosen = settings or CrmaskSettings()
    good = image.valid & (image.exptime_map_s > 0)
    if not good.any():
        nothing = np.zeros(image.shape, dtype=bool)
        return CrmaskResult(nothing, nothing, float("nan"), 0.0, nothing, 0)
    charge = charge_of(image, good)
    candidates = lacosmic_mask(charge, saturation_e(image), chosen)
    native_px = image.meta.native_scale_arcsec / image.scale_arcsec
    mask = narrow_part(
        candidates, charge, chosen.max_track_fwhm_px * native_px, native_px, chosen.snr_floor
    )
    return CrmaskResult(
        mask=mask,
        grown=grown_mask(mask, chosen) & good,
        noise_scale=charge.noise_scale,
        sky_added_e=charge.sky_added_e,
        single=good & (image.n_exp == 1),
        n_tracks=n_groups(mask),
    )


def saturation_e(image: DrcImage) -> float:
    """Return the charge of a pixel that is saturated in all exposures, electrons."""
    return SATURATION_SHARE * image.meta.full_well_e * image.meta.n_exposures


def charge_of(image: DrcImage, good: Mask) -> Charge:
    """Return the image in electrons with its sky and its noise.

    The sky that drizzling subtracted is put back where the level of the image
    shows that it is missing: MDRIZSKY says what was measured, not whether it
    was taken off.  Without MDRIZSKY the sky follows from the scatter.
    """
    seconds = np.where(good, image.exptime_map_s, np.float32(1))
    counts = np.where(good, image.sci * seconds, np.float32(np.nan))
    area = (image.scale_arcsec / image.meta.native_scale_arcsec) ** 2
    fixed = area * (DARK_RATE * seconds + image.meta.readnoise_e**2 * np.maximum(image.n_exp, 1))
    level, scatter = level_and_scatter(counts)
    typical_s = float(np.median(seconds[good]))
    smoothing = drizzle_smoothing(image.meta.pixfrac, np.sqrt(area))
    expected = image.meta.subtracted_sky_rate * area * typical_s
    if not np.isfinite(expected):
        expected = max((scatter / smoothing) ** 2 - float(np.median(fixed[good])), 0.0)
    added = expected - level if level < 0.5 * expected else 0.0
    sky = level + added
    counts = np.where(good, counts + np.float32(added), np.float32(sky))
    variance = np.maximum(counts, 0.5 * sky) + fixed
    variance = np.where(good, variance, np.median(variance[good]))
    _, scale = level_and_scatter(np.where(good, (counts - sky) / np.sqrt(variance), np.nan))
    scale = scale if scale > 0 else 1.0
    return Charge(
        counts.astype(np.float32),
        (variance * scale**2).astype(np.float32),
        good,
        sky,
        added,
        scale,
        smoothing,
    )


def drizzle_smoothing(pixfrac: float, scale_ratio: float) -> float:
    """Return by how much drizzling lowers the scatter of single pixels.

    Casertano et al. (2000, AJ 120, 2747), equation A20, for the square kernel
    and all sub-pixel phases; ``scale_ratio`` is output over native pixel.
    """
    r = pixfrac / scale_ratio
    return (1 - 1 / (3 * r)) / r if r >= 1 else 1 - r / 3


def level_and_scatter(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the typical median and scatter of boxes; NaN pixels are left out.

    The scatter is the half width of the lower side of the distribution (median
    minus 15.87th percentile): sources and cosmic rays sit on the upper side.
    """
    ny, nx = values.shape
    levels, scatters = [], []
    for y in range(0, ny, BOX_PX):
        for x in range(0, nx, BOX_PX):
            box = values[y : y + BOX_PX, x : x + BOX_PX]
            box = box[np.isfinite(box)]
            if box.size >= min(MIN_BOX_PX, values.size // 4):
                low, middle = np.percentile(box, [15.87, 50.0])
                levels.append(middle)
                scatters.append(middle - low)
    if not levels:
        return float(np.nanmedian(values)), 0.0
    return float(np.median(levels)), float(np.median(scatters))


def lacosmic_mask(charge: Charge, saturation: float, settings: CrmaskSettings) -> Mask:
    """Return the pixels that LAcosmic marks."""
    import astroscrappy

    # The border is mirrored outwards: cutouts have cosmic rays there too.
    counts, variance, bad = (
        np.ascontiguousarray(np.pad(plane, PAD_PX, mode="symmetric"))
        for plane in (charge.counts, charge.variance, ~charge.good)
    )
    found, _ = astroscrappy.detect_cosmics(
        counts,
        inmask=bad,
        invar=variance,
        sigclip=settings.sigclip,
        sigfrac=settings.sigfrac,
        objlim=settings.objlim,
        niter=settings.n_iterations,
        satlevel=saturation,
        sepmed=True,
        cleantype=settings.cleantype,
        fsmode=settings.fsmode,
        psffwhm=settings.psf_fwhm_px,
    )
    inner = found[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]
    return np.asarray(inner, dtype=bool) & charge.good


def narrow_part(
    candidates: Mask, charge: Charge, max_fwhm_px: float, native_px: float, snr_floor: float
) -> Mask:
    """Return the candidates that belong to a peak narrower than light can be.

    Every candidate pixel belongs to the nearest local maximum of the image.

    Parameters
    ----------
    candidates : (ny, nx) bool
    charge : the image
    max_fwhm_px : FWHM across the narrowest direction from which on a peak is a source
    native_px : size of a detector pixel in pixels of the image
    snr_floor : signal-to-noise ratio below which widths tell nothing
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter

    if not candidates.any():
        return candidates
    signal = np.where(charge.good, charge.counts - charge.sky_e, 0.0)
    near = maximum_filter(candidates, 3) & charge.good
    peak = near & (signal >= maximum_filter(signal, 3))
    if not peak.any():
        return np.zeros_like(candidates)
    y, x = np.nonzero(peak)
    # Drizzling correlates pixels: sums over several are noisier than their scatter says.
    noise = np.sqrt(charge.variance) / charge.smoothing
    fwhm_px, snr = widths(signal, noise, x, y, WINDOW_SIGMA_PX * native_px)
    limit_px = max_fwhm_px * np.maximum(1 - (snr_floor / np.maximum(snr, 1e-9)) ** 2, 0)
    narrow = np.zeros_like(candidates)
    narrow[y, x] = fwhm_px < limit_px
    _, nearest = distance_transform_edt(~peak, return_indices=True)
    return candidates & narrow[nearest[0], nearest[1]]


def widths(
    signal: NDArray[np.floating[Any]],
    noise: NDArray[np.floating[Any]],
    x: NDArray[np.intp],
    y: NDArray[np.intp],
    window_sigma_px: float,
) -> tuple[Floats, Floats]:
    """Return the FWHM of peaks across their narrowest direction, and their signal-to-noise ratio.

    Second moments under a Gaussian window that follows the centroid; the window
    is taken out as for a Gaussian profile: 1/observed = 1/true + 1/window.

    Parameters
    ----------
    signal : (ny, nx) image without its sky
    x, y : (N,) pixels of the peaks
    window_sigma_px : width of the window

    Returns
    -------
    (N,) float
        0 where the moments are not positive (narrower than can be told), infinite where the
        profile is as wide as the window allows.
    """
    reach = int(np.ceil(2.5 * window_sigma_px))
    offset = np.arange(-reach, reach + 1)
    rows = y[:, np.newaxis, np.newaxis] + reach + offset[:, np.newaxis]
    columns = x[:, np.newaxis, np.newaxis] + reach + offset[np.newaxis, :]
    stamps = np.pad(signal, reach)[rows, columns]
    variances = np.pad(noise, reach)[rows, columns] ** 2
    centre = np.zeros((2, len(x), 1, 1))
    for _ in range(6):
        dx, dy = offset[np.newaxis, :] - centre[0], offset[:, np.newaxis] - centre[1]
        window = np.exp(-0.5 * (dx**2 + dy**2) / window_sigma_px**2)
        weighted = stamps * window
        total = weighted.sum(axis=(1, 2))
        total = np.where(total > 0, total, np.inf)
        # The window halves the step of the centroid.
        step = 2 * np.stack([(weighted * d).sum(axis=(1, 2)) / total for d in (dx, dy)])
        centre = np.clip(centre + step[:, :, np.newaxis, np.newaxis], -1.5, 1.5)
    xx, yy, xy = (
        (weighted * a * b).sum(axis=(1, 2)) / total for a, b in ((dx, dx), (dy, dy), (dx, dy))
    )
    minor = 0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy)
    with np.errstate(divide="ignore"):
        excess = 1.0 / np.maximum(minor, 1e-9) - 1.0 / window_sigma_px**2
        fwhm_px = np.sqrt(np.where(excess > 0, 1.0 / excess, np.inf)) / SIGMA_PER_FWHM
        snr = (weighted.sum(axis=(1, 2))) / np.sqrt((window**2 * variances).sum(axis=(1, 2)))
    return fwhm_px, snr


def grown_mask(mask: Mask, settings: CrmaskSettings) -> Mask:
    """Return the mask convolved with a Gaussian, above a threshold."""
    from scipy.ndimage import gaussian_filter

    if settings.grow_sigma_px == 0:
        return mask
    blurred = gaussian_filter(mask.astype(np.float32), settings.grow_sigma_px, mode="constant")
    return mask | (blurred > settings.grow_threshold)


def n_groups(mask: Mask) -> int:
    """Return the number of groups of touching pixels, diagonals included."""
    from scipy.ndimage import label

    return int(label(mask, np.ones((3, 3)))[1])
