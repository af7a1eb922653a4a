"""Cosmic rays: LAcosmic on the drizzled image, and a test of what it finds against the PSF.

LAcosmic (van Dokkum 2001, PASP 113, 1420) tells a cosmic ray from a star by the
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

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.drc import DARK_RATE, DrcImage
from bycatch.headers import SATURATION_SHARE
from bycatch.kernels.neighbourhood import neighbourhood
from bycatch.kernels.smoothing import SIGMA_PER_FWHM, noise_correlation
from bycatch.settings import CrmaskSettings

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

BOX_PX = 64
"""Side of the boxes in which the level and the scatter of the sky are measured."""
MIN_BOX_PX = 50
PAD_PX = 8
"""LAcosmic leaves the outermost pixels alone (its medians reach 4 px)."""
WINDOW_SIGMA_PX = 1.2
"""Gaussian weight of the moments, in detector pixels.  Wider ones let neighbours in, narrower
ones tell less."""
RING_PX = (3.5, 5.5)
"""Radii of the ring whose median is a candidate's background, in detector pixels."""
EDGE_PX = 2.3
"""A peak this near to missing pixels is cut off, and its width means nothing; detector pixels."""
MAX_SKY_RATE = 0.5
"""Brightest sky that scatter is taken for, e/s per detector pixel: crowding scatters too."""
CHUNK = 20_000
"""Peaks measured at once; bounds the memory."""


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

    Attributes
    ----------
    counts, sky, variance : (ny, nx) float32; counts contain the sky, and are the sky where not good
    good : (ny, nx) bool; False where there are no data
    saturated : (ny, nx) bool; saturated stars and bleeding columns, with their borders
    sky_added_e : sky that was put back in a pixel of typical depth
    noise_scale : measured over modelled scatter of the sky pixels
    smoothing : share of the scatter of single pixels that drizzling leaves
    """

    counts: Image
    sky: Image
    variance: Image
    good: Mask
    saturated: Mask
    sky_added_e: float
    noise_scale: float
    smoothing: float


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
    candidates = lacosmic_mask(charge, chosen)
    native_px = image.meta.native_scale_arcsec / image.scale_arcsec
    mask = narrow_part(candidates, charge, native_px, chosen)
    return CrmaskResult(
        mask=mask,
        grown=grown_mask(mask, chosen) & good,
        noise_scale=charge.noise_scale,
        sky_added_e=charge.sky_added_e,
        single=good & (image.n_exp == 1),
        n_tracks=n_groups(mask),
    )


def charge_of(image: DrcImage, good: Mask) -> Charge:
    """Return the image in electrons with its sky and its noise.

    The sky that drizzling subtracted is put back where the level of the image
    shows that it is missing: MDRIZSKY says what was measured, not whether it
    was taken off.  Without MDRIZSKY the sky follows from the scatter.
    """
    typical_s = float(np.median(image.exptime_map_s[good]))
    seconds = np.where(good, image.exptime_map_s, np.float32(typical_s))
    n_exp = np.maximum(image.n_exp, 1)
    rate = np.where(good, image.sci, np.float32(np.nan))
    area = (image.scale_arcsec / image.meta.native_scale_arcsec) ** 2
    smoothing = drizzle_smoothing(image.meta.pixfrac, np.sqrt(area))
    fixed = area * (DARK_RATE * seconds + image.meta.readnoise_e**2 * n_exp)

    level, scatter = level_and_scatter(rate)
    expected = image.meta.subtracted_sky_rate * area
    if not np.isfinite(expected):
        from_scatter = (scatter * typical_s / smoothing) ** 2 - float(np.median(fixed[good]))
        expected = min(max(from_scatter / typical_s, 0.0), MAX_SKY_RATE * area)
    added = expected - level if level < 0.5 * expected else 0.0
    sky = np.float32(level + added) * seconds
    counts = np.where(good, (rate + np.float32(added)) * seconds, sky)

    model = np.maximum(counts, 0.5 * sky) + fixed
    _, scale = level_and_scatter(np.where(good, (counts - sky) / np.sqrt(model), np.nan))
    scale = scale if scale > 0 else 1.0
    return Charge(
        counts=counts.astype(np.float32),
        sky=sky.astype(np.float32),
        variance=(model * scale**2).astype(np.float32),
        good=good,
        saturated=saturated_area(counts, image.meta.full_well_e * n_exp),
        sky_added_e=added * typical_s,
        noise_scale=scale,
        smoothing=smoothing,
    )


def saturated_area(counts: Image, full_well_e: NDArray[np.floating[Any]]) -> Mask:
    """Return the saturated pixels and those within 3 steps: bleeding columns are narrow too."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(counts > SATURATION_SHARE * full_well_e, iterations=3))


def drizzle_smoothing(pixfrac: float, scale_ratio: float) -> float:
    """Return by how much drizzling lowers the scatter of single pixels (see the kernel)."""
    return 1 / noise_correlation(pixfrac, scale_ratio)


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


def lacosmic_mask(charge: Charge, settings: CrmaskSettings) -> Mask:
    """Return the pixels that LAcosmic marks, saturated ones left out."""
    import astroscrappy

    # The border is mirrored outwards: cutouts have cosmic rays there too.
    counts, variance, bad = (
        np.ascontiguousarray(np.pad(plane, PAD_PX, mode="symmetric"))
        for plane in (charge.counts, charge.variance, ~charge.good | charge.saturated)
    )
    found, _ = astroscrappy.detect_cosmics(
        counts,
        inmask=bad,
        invar=variance,
        sigclip=settings.sigclip,
        sigfrac=settings.sigfrac,
        objlim=settings.objlim,
        niter=settings.n_iterations,
        satlevel=np.inf,  # they are masked already, by the depth of each pixel
        sepmed=True,
        cleantype=settings.cleantype,
        fsmode=settings.fsmode,
        psffwhm=settings.psf_fwhm_px,
    )
    inner = found[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]
    return np.asarray(inner, dtype=bool) & charge.good & ~charge.saturated


def narrow_part(
    candidates: Mask, charge: Charge, native_px: float, settings: CrmaskSettings
) -> Mask:
    """Return the candidates that belong to a peak narrower than light can be.

    Candidate pixels are shared out among the local maxima of the image by a
    watershed, so that a cosmic ray beside a star does not take its pixels.

    Parameters
    ----------
    candidates : (ny, nx) bool
    charge : the image
    native_px : size of a detector pixel in pixels of the image
    """
    from scipy.ndimage import maximum_filter
    from skimage.segmentation import watershed

    if not candidates.any():
        return candidates
    signal = np.where(charge.good, charge.counts - charge.sky, 0.0)
    near = maximum_filter(candidates, 3) & charge.good
    y, x = np.nonzero(near & (signal >= maximum_filter(signal, 3)))
    # Drizzling correlates pixels: sums over several are noisier than their scatter says.
    noise = np.sqrt(charge.variance) / charge.smoothing
    fwhm_px, snr = minor_widths(signal, noise, x, y, native_px)
    trust = np.maximum(1.0 - (settings.snr_floor / np.maximum(snr, 1e-9)) ** 2, 0.0)
    limit_px = settings.max_track_fwhm_px * native_px * trust
    narrow = (fwhm_px < limit_px) & ~cut_off(charge.good, x, y, EDGE_PX * native_px)
    markers = np.zeros(candidates.shape, dtype=np.int32)
    markers[y, x] = np.arange(1, len(x) + 1)
    basins = watershed(-signal, markers, mask=near, connectivity=2)
    return np.asarray(candidates & np.concatenate([[False], narrow])[basins])


def cut_off(good: Mask, x: NDArray[np.intp], y: NDArray[np.intp], radius_px: float) -> Mask:
    """Return whether missing pixels, or the edge of the image, lie within a radius."""
    near = neighbourhood(good.shape, x, y, radius_px)
    reach = int(radius_px)
    ny, nx = good.shape
    at_edge = (x < reach) | (y < reach) | (x >= nx - reach) | (y >= ny - reach)
    missing = (~near.take(good) & (near.distance <= radius_px)).any(axis=1)
    return np.asarray(at_edge | missing)


def minor_widths(
    signal: Floats, noise: Floats, x: NDArray[np.intp], y: NDArray[np.intp], native_px: float
) -> tuple[Floats, Floats]:
    """Return the FWHM of peaks across their narrowest direction, and their signal-to-noise ratio.

    Second moments under a Gaussian window that follows the centroid; the window
    is taken out as for a Gaussian profile: 1/observed = 1/true + 1/window.  So
    measured, drizzled stars of ACS/WFC have 1.84 px (F475W, sub-pixel phase 0) to
    2.45 px (F814W, phase one half), wherever in a pixel they lie; a charge of
    one pixel has 0 to 1.2 px.

    Parameters
    ----------
    signal, noise : (ny, nx)
        Image without its sky; error of a pixel as it counts in sums over many.
    x, y : (N,) int
        Pixels of the peaks.
    native_px : float
        Size of a detector pixel in pixels of the image.

    Returns
    -------
    fwhm_px, snr : (N,) float
        FWHM is 0 where the moments are not positive, infinite where the window limits it.
    """
    parts = [
        _widths(signal, noise, x[i : i + CHUNK], y[i : i + CHUNK], native_px)
        for i in range(0, len(x), CHUNK)
    ]
    fwhm_px, snr = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return fwhm_px, snr


def _widths(
    signal: Floats, noise: Floats, x: NDArray[np.intp], y: NDArray[np.intp], native_px: float
) -> tuple[Floats, Floats]:
    window_px = WINDOW_SIGMA_PX * native_px
    inner, outer = (r * native_px for r in RING_PX)
    reach = int(np.ceil(outer))
    offset = np.arange(-reach, reach + 1)
    rows = np.clip(y[:, np.newaxis, np.newaxis] + offset[:, np.newaxis], 0, signal.shape[0] - 1)
    columns = np.clip(x[:, np.newaxis, np.newaxis] + offset, 0, signal.shape[1] - 1)
    stamps = signal[rows, columns]
    radius = np.hypot(offset, offset[:, np.newaxis])
    ring = (radius >= inner) & (radius <= outer)
    stamps = stamps - np.median(stamps[:, ring], axis=1)[:, np.newaxis, np.newaxis]
    dx0 = dy0 = np.zeros((len(x), 1, 1))
    for _ in range(6):
        dx, dy = offset - dx0, offset[:, np.newaxis] - dy0
        window = np.exp(-0.5 * (dx**2 + dy**2) / window_px**2)
        weighted = np.where(radius < inner, stamps * window, 0.0)
        total = weighted.sum(axis=(1, 2))
        norm = np.where(total > 0, total, np.inf)[:, np.newaxis, np.newaxis]
        # The window halves the step of the centroid, hence the 2.
        dx0, dy0 = (
            np.clip(d0 + 2 * (weighted * d).sum(axis=(1, 2), keepdims=True) / norm, -1.5, 1.5)
            for d0, d in ((dx0, dx), (dy0, dy))
        )
    xx, yy, xy = (
        (weighted * product).sum(axis=(1, 2)) / norm[:, 0, 0]
        for product in (dx * dx, dy * dy, dx * dy)
    )
    minor = np.maximum(0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy), 1e-9)
    inverse = 1.0 / minor - 1.0 / window_px**2
    variance = np.where(inverse > 0, 1.0 / np.where(inverse > 0, inverse, 1.0), np.inf)
    variance = np.where(minor > 1e-9, variance, 0.0)
    snr = total / np.sqrt((window**2 * noise[rows, columns] ** 2).sum(axis=(1, 2)))
    return np.sqrt(variance) / SIGMA_PER_FWHM, snr


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
