"""How faint a point source may be: limits of the apertures, and a map of the depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bycatch import photcal
from bycatch.arrays import Floats, Image
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.kernels.blocks import BLOCK_PX, block_sums
from bycatch.photcal import EncircledEnergy
from bycatch.settings import MeasureSettings
from bycatch.stages.measure.sky_noise import NoiseModel


@dataclass(frozen=True, eq=False)
class Depth:
    """AB magnitudes of point sources of 5 sigma, all their light; empty without a known curve.

    Attributes
    ----------
    limits_mag : by number of exposures and aperture radius, both as text
    map_mag : (ny / 16, nx / 16) float32, in the middle aperture; None where no encircled energy
        is known for the filter
    radius_px : of the middle aperture
    """

    radius_px: float
    limits_mag: dict[str, dict[str, float]] = field(default_factory=dict)
    map_mag: Image | None = None

    @property
    def median_mag(self) -> float | None:
        """Median of the map, where it has values."""
        if self.map_mag is None:
            return None
        finite_mag = self.map_mag[np.isfinite(self.map_mag)]
        return round(float(np.median(finite_mag)), 3) if len(finite_mag) else None


def depth(
    image: DrcImage, noise: NoiseModel, limits: Mapping[int, Floats], settings: MeasureSettings
) -> Depth:
    """Return how deep an image is.

    Parameters
    ----------
    image, noise : the image and its noise
    limits : rates of 5 sigma in each radius where the sky is blank, (R,) in e/s, by exposures
    settings : radii and annulus
    """
    radii = np.array(settings.radii_px)
    radius_px = settings.radii_px[len(radii) // 2]
    try:
        curve = photcal.encircled_energy(image.meta.detector, image.meta.filter)
    except UnsupportedImage:  # finalize says so
        return Depth(radius_px)
    limits_mag = {
        str(n_exp): {
            f"{r:g}": round(float(mag), 3)
            for r, mag in zip(radii, _point_mag(image, rates, radii, curve), strict=True)
        }
        for n_exp, rates in limits.items()
    }
    typical = block_sums(image.exptime_map_s) / np.float32(BLOCK_PX**2)
    annulus = (settings.annulus_inner_px, settings.annulus_outer_px)
    rate = noise.depth_map(typical, radius_px, annulus)
    map_mag = _point_mag(image, rate, radius_px, curve).astype(np.float32)
    return Depth(radius_px, limits_mag, map_mag)


def _point_mag(image: DrcImage, rate: Any, radius_px: Any, curve: EncircledEnergy) -> Floats:
    """Return the AB magnitudes of point sources of net rates in apertures, e/s."""
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    total = np.asarray(rate) / curve.at(radius_px * image.scale_arcsec)
    return np.asarray(zeropoint - 2.5 * np.log10(total))
