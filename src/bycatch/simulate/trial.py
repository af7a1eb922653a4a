"""An image through detection, mask, photometry and calibration, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.images.drc import DrcImage
from bycatch.settings import Settings
from bycatch.simulate.image_psf import CENTRE_RADIUS_PX, ImagePsf, image_psf, psf_stars
from bycatch.stages import crmask, detect, finalize, measure, star_rows


@dataclass(frozen=True, eq=False)
class Trial:
    """An image through detect, crmask, measure and finalize."""

    phot: Table
    catalog: Table
    aperture_share: float
    """Share of a star's light that counts in the aperture of `aperture_of`."""
    noise_rate: float
    background: NDArray[np.float32]


def trial(image: DrcImage, settings: Settings) -> Trial:
    """Send an image through the steps, in memory."""
    detection = detect.run(image, settings.detect)
    rays = crmask.run(image, settings.crmask)
    table = detection.sources
    targets, pixels = measure.Targets.of(table), measure.Pixels(rays.grown, detection.segmentation)
    fits = None
    if settings.psf.enabled:
        fits = star_rows.fit_stars(image, table, settings, rays.grown, detection.segmentation)
        targets = star_rows.targets_of(targets, fits, image, detection.segmentation)
    pixels = star_rows.pixels_with(pixels, fits)
    phot = measure.run(image, targets, settings.measure, pixels=pixels).table
    if fits:
        phot = star_rows.add_columns(phot, fits, np.arange(len(phot)))
    annulus = (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px)
    final = finalize.run(
        phot, settings.measure.radii_px, image.meta, image.scale_arcsec, annulus,
        settings.finalize,
    )  # fmt: skip
    noise = detection.noise[image.valid & (detection.noise > 0)]
    typical = float(np.median(noise[:: max(1, noise.size // 100_000)])) if noise.size else np.nan
    shares = dict(zip(final.radii_px, final.aperture_fractions, strict=True))
    share = shares[aperture_of(settings)]
    return Trial(phot, final.table, share, typical, detection.background)


def aperture_of(settings: Settings) -> float:
    """Return the aperture radius whose magnitudes are compared, pixels: that nearest to 4."""
    return min(settings.measure.radii_px, key=lambda r: abs(r - CENTRE_RADIUS_PX))


def psf_of(image: DrcImage, result: Trial, settings: Settings) -> ImagePsf:
    """Return the PSF of an image from the stars of its catalog."""
    scale = image.scale_arcsec
    curve = photcal.encircled_energy(image.meta.detector, image.meta.filter)
    inner, outer = settings.measure.annulus_inner_px, settings.measure.annulus_outer_px
    stars = psf_stars(
        result.catalog, result.phot, settings.measure.radii_px, image.meta.photflam, scale,
        curve.annulus_share(inner * scale, outer * scale) * scale**2,
    )  # fmt: skip
    return image_psf(image, stars, result.noise_rate, settings.inject.min_stars)
