"""The sky of annuli, without the wings of sources.

The wings of a star fall ever less steeply, so that an annulus holds more of them than its middle,
by an eighth and more within a second of arc.  Where stars are many that is 0.1 to 0.3 of the error
of a faint flux.  So the light of all sources beyond a few pixels is subtracted before the sky of an
annulus is measured, and what others bring to its middle is added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from bycatch.arrays import Floats, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import nearest_pixel, pixels_at
from bycatch.kernels.psf_grid import OVERSAMPLING, add_wings
from bycatch.kernels.skystats import SkyStats, annulus_stats
from bycatch.settings import MeasureSettings
from bycatch.stages.measure.neighbours import RadialProfile, blends, star_profile
from bycatch.stages.measure.photometry import Photometry

HOLE_PX = 5.0
"""Light that is nearer to its source is left alone, detector pixels: it is part of a blend."""
MIN_SNR = 5.0
"""In the smallest aperture, of the sources whose wings count."""
PSF_REACH_PX = 12.0
"""So far fits of the PSF subtract the light of neighbours themselves, detector pixels."""
FAINT_SHARE = 0.005
"""Wings are followed as far as a pixel of them has this share of the sky noise."""


class Sources(NamedTuple):
    """Sources whose wings are known, (N,) each: 0-based pixel centres, and all their light, e/s."""

    x: Floats
    y: Floats
    rate: Floats


@dataclass(frozen=True, eq=False)
class Annuli:
    """How the sky around places is measured.

    Attributes
    ----------
    image : DrcImage
    radii_px, clip_sigma : of the annuli
    labels : (ny, nx) int, pixels whose sources are left out of the annuli of others; None: all
        pixels count
    residual : (ny, nx) float32, the image without wings; None: they are part of the sky
    """

    image: DrcImage
    radii_px: tuple[float, float]
    clip_sigma: float
    labels: NDArray[np.int32] | None = None
    residual: Image | None = None

    @staticmethod
    def of(
        image: DrcImage, settings: MeasureSettings, labels: NDArray[np.int32] | None = None
    ) -> Annuli:
        """Return the annuli of the settings, with all light in them."""
        radii_px = settings.annulus_inner_px, settings.annulus_outer_px
        return Annuli(image, radii_px, settings.sky_clip_sigma, labels)

    def without_wings(self, sources: Sources, scatter: Floats) -> Annuli:
        """Return the same on the image without the light of sources beyond `HOLE_PX`.

        Parameters
        ----------
        sources : Sources
        scatter : (N,) float; noise of a sky pixel at the sources, e/s
        """
        known, profile = scatter[scatter > 0], self.wings
        faint = FAINT_SHARE * float(np.median(known)) if len(known) else 0.0
        reach = _reach_px(profile, sources.rate, faint)
        residual = np.array(self.image.sci, np.float32, order="C")
        hole = HOLE_PX * self.image.detector_px
        add_wings(residual, profile, sources.x, sources.y, -sources.rate, hole, reach)
        return replace(self, residual=residual)

    @property
    def wings(self) -> Floats:
        """Light of a pixel at 0, 1, ... quarters of a pixel from a star of 1 e/s."""
        meta = self.image.meta
        return _surface(star_profile(meta.detector, meta.filter, self.image.scale_arcsec))

    def stats(self, x: ArrayLike, y: ArrayLike) -> SkyStats:
        """Return the sky at places, of the annuli as they are.

        Parameters
        ----------
        x, y : (N,) float, 0-based pixel centres
        """
        return self._stats(self.image.sci, x, y)

    def beneath(self, x: Floats, y: Floats, plain: SkyStats | None = None) -> SkyStats:
        """Return the sky at places, with what the wings of sources add there.

        Its scatter is that of the annuli as they are: real wings differ from the published ones.

        Parameters
        ----------
        x, y : (N,) float, 0-based pixel centres
        plain : `stats`, if they are known
        """
        sky = self.stats(x, y) if plain is None else plain
        if self.residual is None:
            return sky
        bare = self._stats(self.residual, x, y)
        return replace(sky, median=bare.median + self.wings_at(x, y))

    def _stats(self, data: Image, x: ArrayLike, y: ArrayLike) -> SkyStats:
        return annulus_stats(
            data, self.image.valid, x, y, self.radii_px, self.clip_sigma, self.labels
        )

    def wings_at(self, x: Floats, y: Floats) -> Floats:
        """Return the light of wings at places, (N,) e/s per pixel; 0 where it is not known.

        Parameters
        ----------
        x, y : (N,) float, 0-based pixel centres
        """
        if self.residual is None:
            return np.zeros(len(x))
        ny, nx = self.residual.shape
        column, row = nearest_pixel(x), nearest_pixel(y)
        inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
        at = pixels_at((ny, nx), x, y)
        light = self.image.sci[at].astype(float) - self.residual[at]
        return np.where(inside, np.nan_to_num(light), 0.0)


class SkyOfSources(NamedTuple):
    """The sky of N sources, with as much of their own light as an annulus holds.

    That light the aperture correction expects, and the scale of PSF fluxes: it need not be known.

    Attributes
    ----------
    sky : as it is in their apertures, with the wings of others
    star_level : (N,) float, e/s per pixel; without those of others within `PSF_REACH_PX`
    """

    sky: SkyStats
    star_level: Floats


def sky_of_sources(annuli: Annuli, sources: Sources, plain: SkyStats) -> SkyOfSources:
    """Return the sky of sources.

    Parameters
    ----------
    annuli : of the image without wings
    sources : all of the image
    plain : of their annuli with all light
    """
    sky, wings = annuli.beneath(sources.x, sources.y, plain), annuli.wings
    middle_px = np.sqrt(0.5 * (annuli.radii_px[0] ** 2 + annuli.radii_px[1] ** 2))
    sky = replace(sky, median=sky.median + sources.rate * _at(wings, middle_px))
    return SkyOfSources(sky, sky.median - _near(sources, wings, annuli.image.detector_px))


def bright_sources(image: DrcImage, phot: Photometry) -> Sources:
    """Return the sources of a photometry with all their light; 0 of those that are faint.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry of N sources
    """
    meta, small_px = image.meta, phot.radii_px[0]
    profile, net = star_profile(meta.detector, meta.filter, image.scale_arcsec), phot.net
    rate = blends(
        phot.x, phot.y, net[:, 0], phot.fits.fwhm_px, profile,
        scale_arcsec=image.scale_arcsec, small_px=small_px, aperture_px=small_px,
        detector_px=image.detector_px,
    ).total_rate  # fmt: skip
    with np.errstate(invalid="ignore"):
        # Most light of these has run along the column.
        is_full = phot.exposures.peak_rate > meta.full_rate
        is_bright = net[:, 0] > MIN_SNR * phot.sky.std * np.sqrt(phot.areas[:, 0])
    rate = np.where(is_full, net[:, -1] / profile.within(phot.radii_px[-1]), rate)
    return Sources(phot.x, phot.y, np.where(is_bright, np.maximum(np.nan_to_num(rate), 0.0), 0.0))


def _surface(profile: RadialProfile) -> Floats:
    """Return the light of a pixel at 0, 1, ... quarters of a pixel."""
    radius = np.arange(int(profile.radius_px[-1] * OVERSAMPLING)) / OVERSAMPLING
    step = 1.0 / OVERSAMPLING
    low, high = np.maximum(radius - step, 0.0), radius + step
    return np.asarray((profile.within(high) - profile.within(low)) / (np.pi * (high**2 - low**2)))


def _reach_px(profile: Floats, rate: Floats, faint: float) -> Floats:
    """Return how far wings count, (N,) px."""
    outer = np.maximum.accumulate(profile[::-1])[::-1]
    with np.errstate(divide="ignore"):
        return np.searchsorted(-outer, -faint / np.maximum(rate, 0.0)) / OVERSAMPLING


def _at(profile: Floats, radius_px: Any) -> Any:
    return np.interp(np.asarray(radius_px) * OVERSAMPLING, np.arange(len(profile)), profile)


def _near(sources: Sources, profile: Floats, detector_px: float) -> Floats:
    """Return the light of others between the hole and the reach of fits, (N,) e/s per pixel."""
    at = np.column_stack([sources.x, sources.y])
    light = np.zeros(len(at))
    rows = np.flatnonzero(np.isfinite(at).all(axis=1))
    if len(rows) < 2:
        return light
    pairs = cKDTree(at[rows]).query_pairs(PSF_REACH_PX * detector_px, output_type="ndarray")
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    away = np.hypot(*(at[first] - at[second]).T)
    beyond = away > HOLE_PX * detector_px
    for one, other in ((first, second), (second, first)):
        share = _at(profile, away[beyond]) * sources.rate[other[beyond]]
        light += np.bincount(one[beyond], share, len(light))
    return light
