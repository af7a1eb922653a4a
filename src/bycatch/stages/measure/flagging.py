"""The flag bits that the measurement sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_classes import POINT
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import all_within, any_within
from bycatch.settings import MeasureSettings
from bycatch.stages.measure import cosmics
from bycatch.stages.measure.defects import Defects
from bycatch.stages.measure.halos import StarLight
from bycatch.stages.measure.photometry import Photometry
from bycatch.stages.measure.shapes import Shapes
from bycatch.stages.measure.trust import SkyStructure

MIN_SKY_PIXELS = 20
REJECTED_SHARE = 0.03
"""Of the light in the middle aperture: beyond it the flux is off by 5 % and more (`rejection`)."""
SPIKE_FACTOR = 1.2
"""Of 119 pieces of spikes in training visits 101 have less than this times the light that the ridge
has by prediction in the smallest aperture; of 253 stars and galaxies on spikes 10 have."""
SPIKE_POINT_SNR = 6.0
"""Pieces that look like points have a lower S/N in the smallest aperture (98 %); in crowds there
are stars on spikes above it."""
OTHERS_SHARE = 0.1
"""Of a Kron ellipse: of simulated galaxies of 0.6 to 1.5 arcsec with more of it in other segments
two fifths lose more than 0.4 mag, with less of it one in ten."""


def cosmic_ray_flags(phot: Photometry, cr_mask: Bools | None, radius_px: float) -> Bools:
    """Return where a single exposure looks and a masked pixel's centre lies within a radius.

    Parameters
    ----------
    phot : Photometry of N sources
    cr_mask : (ny, nx) bool, the grown mask
    radius_px : px
    """
    single = phot.exposures.count == 1
    if cr_mask is None:
        return np.zeros(len(single), dtype=bool)
    return np.asarray(any_within(cr_mask, phot.x, phot.y, radius_px) & single)


def frame_flags(image: DrcImage, phot: Photometry, settings: MeasureSettings) -> dict[Flag, Bools]:
    """Return what is wrong with the pixels and fits of each source, by flag.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry of N sources
    settings : MeasureSettings
    """
    whole = np.pi * settings.radii_px[-1] ** 2
    net = phot.net[:, len(settings.radii_px) // 2]
    area = phot.areas[:, -1]
    return {
        Flag.EDGE: ~all_within(image.valid, phot.x, phot.y, settings.annulus_outer_px),
        Flag.SINGLE_EXPOSURE: phot.exposures.count == 1,
        Flag.PARTIAL_APERTURE: area < whole * (1 - 1e-6),
        Flag.OFF_IMAGE: area == 0,
        Flag.BAD_SKY: phot.sky.n_pixels < MIN_SKY_PIXELS,
        Flag.FIT_FAILED: phot.fits.failed,
        Flag.FIT_PINNED: phot.fits.pinned,
        Flag.CORE_REJECTED: phot.rejected > REJECTED_SHARE * np.maximum(net, 0.0),
        Flag.NO_EXPOSURE_MAP: np.full(len(area), not image.has_context),
    }


def light_flags(
    defects: Defects, light: StarLight, is_blended: Bools, has_peak: Bools
) -> dict[Flag, Bools]:
    """Return what defects, bright stars and neighbours do to each source, by flag.

    Parameters
    ----------
    defects : Defects of N sources
    light : StarLight at them
    is_blended, has_peak : (N,) bool
    """
    return {
        Flag.BLENDED: is_blended,
        Flag.UNLISTED_PEAK: has_peak,
        Flag.SATURATED: defects.saturated,
        Flag.HOT_PIXEL: defects.hot_pixel,
        Flag.BAD_COLUMN: defects.bad_column,
        Flag.SPIKE: light.spike,
        Flag.HALO: light.halo,
    }


def is_spike_piece(phot: Photometry, light: StarLight, p_star: Floats) -> Bools:
    """Return which sources are likely pieces of spikes, (N,): no brighter than the spike there.

    Pieces of spikes are no points, unless noise makes them look so.

    Parameters
    ----------
    phot : Photometry of N sources
    light : StarLight at them
    p_star : (N,) float, 0 to 1
    """
    net, area = phot.net[:, 0], phot.areas[:, 0]
    with np.errstate(invalid="ignore"):
        is_faint = net < SPIKE_POINT_SNR * phot.correlation * phot.sky.std * np.sqrt(area)
        is_piece = net < SPIKE_FACTOR * light.spike_rate * area
        return np.asarray(light.spike & is_piece & (is_faint | ~(p_star >= POINT)), np.bool_)


def total_flags(
    shape: Shapes, p_star: NDArray[np.float64], annulus_inner_px: float
) -> dict[Flag, Bools]:
    """Return what is wrong with total fluxes, and with the annulus of extended sources, by flag.

    Parameters
    ----------
    shape : Shapes of N sources
    p_star : (N,) float, 0 to 1
    annulus_inner_px : px
    """
    with np.errstate(invalid="ignore"):
        return {
            Flag.TOTAL_BLENDED: shape.others_share > OTHERS_SHARE,
            Flag.SKY_ON_SOURCE: (p_star < POINT) & (shape.reach_px > annulus_inner_px),
        }


def class_flags(
    p_star: NDArray[np.float64], p_cr: NDArray[np.float64], on_mask: Bools
) -> dict[Flag, Bools]:
    """Return what the sources seem to be, by flag; what is unknown sets none.

    Parameters
    ----------
    p_star, p_cr : (N,) float, 0 to 1, NaN where not known
    on_mask : (N,) bool
    """
    with np.errstate(invalid="ignore"):
        return {
            Flag.EXTENDED: p_star < POINT,
            Flag.COSMIC_RAY: on_mask,
            Flag.LIKELY_COSMIC_RAY: p_cr > cosmics.LIKELY,
        }


def structure_flags(
    structure: SkyStructure,
    phot: Photometry,
    p_star: NDArray[np.float64],
    conditions: dict[Flag, Bools],
) -> dict[Flag, Bools]:
    """Return what the structure of the sky makes doubtful, by flag; stars explain their halos.

    Parameters
    ----------
    structure : SkyStructure of the image
    phot : Photometry of N sources
    p_star : (N,) float, 0 to 1
    conditions : (N,) bool by flag, of HALO, SPIKE and OFF_IMAGE
    """
    of_star = conditions[Flag.HALO] | conditions[Flag.SPIKE]
    is_on_image = np.isfinite(phot.x) & np.isfinite(phot.y) & ~conditions[Flag.OFF_IMAGE]
    trail = is_on_image & structure.on_trail(phot.x, phot.y)
    large = is_on_image & ~of_star & (structure.large_object(phot.x, phot.y) > 0)
    with np.errstate(invalid="ignore"):
        is_point = p_star >= POINT
    nebulous = structure.is_nebulous(phot.x, phot.y) & ~is_point
    return {
        Flag.NEBULOUS: nebulous & is_on_image & ~of_star & ~large & ~trail,
        Flag.IN_LARGE_OBJECT: large,
        Flag.TRAIL: trail,
    }


def bits(conditions: dict[Flag, Bools]) -> NDArray[np.int64]:
    """Return the bits of all conditions that are true, (N,).

    Parameters
    ----------
    conditions : (N,) bool by flag
    """
    flags = np.zeros(len(next(iter(conditions.values()))), dtype=np.int64)
    for flag, true in conditions.items():
        flags[true] |= int(flag)
    return flags
