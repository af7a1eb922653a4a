"""The sky of total fluxes: its level where no object is, and how well it is known there.

The annulus of the fixed apertures lies within large galaxies.  Total fluxes take the level of the
pixels that are far from all segments, in boxes as wide as those of the detection.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import all_within, points
from bycatch.kernels.skylevel import free_boxes, grown_segments, level_surface
from bycatch.kernels.surfaces import Surface, surface_at
from bycatch.stages.measure.blank_sky import SkyObjects
from bycatch.stages.measure.sky_noise import MIN_PLACES, NoiseModel, width

BOX_PX = 100
CLIP_SIGMA = 3.0
MIN_SHARE = 0.1
"""Of a box's pixels, which must be far from sources for the box to count."""
MOST_GROWTH_PX = 100.0
GROWTHS = ((3.0, 8.0), (2.0, 8.0), (1.0, 2.0))
"""Factor to the size of a segment and margin (px) of what counts as near to it.  The first leaves
totals of galaxies of 1.5 arcsec 0.01 mag from what the true level gives (benchmarks/totals.py)."""
MIN_BOXES = 0.5
"""Share of the boxes with data that must count; else segments grow less."""
UNKNOWN_LEVEL = 0.03
"""Error of the level where it can't be measured, in units of the scatter of pixels."""


@dataclass(frozen=True, eq=False)
class SkyLevel:
    """Where the sky is free of sources.

    Attributes
    ----------
    free : (ny, nx) bool, pixels with data far from sources and without cosmic rays
    growth : factor by which segments have grown; 0 if the sources are not known
    surface : the level, e/s per pixel; None where too few pixels are free
    """

    free: Bools
    growth: float
    surface: Surface | None

    def at(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """Return the level at positions, (N,) in e/s per pixel; NaN where it is not known."""
        if self.surface is None:
            return np.full(np.size(x), np.nan)
        return surface_at(self.surface, self.free.shape, *points(x, y))


def sky_level(
    image: DrcImage, segmentation: NDArray[np.integer[Any]] | None, cr_mask: Bools | None
) -> SkyLevel:
    """Find the pixels far from all sources; in crowded images those a little less far.

    Parameters
    ----------
    image : DrcImage
    segmentation : (ny, nx) int, 0 for sky
    cr_mask : (ny, nx) bool, the grown mask
    """
    free, growth = image.valid, 0.0
    if segmentation is not None:
        n_boxes = np.count_nonzero(free_boxes(image.valid, BOX_PX, MIN_SHARE))
        for growth, margin_px in GROWTHS:
            free = image.valid & ~grown_segments(segmentation, growth, margin_px, MOST_GROWTH_PX)
            if np.count_nonzero(free_boxes(free, BOX_PX, MIN_SHARE)) >= MIN_BOXES * n_boxes:
                break
    if cr_mask is not None:
        free = free & ~cr_mask
    surface = None
    with suppress(ValueError):
        surface = level_surface(image.sci, free, BOX_PX, CLIP_SIGMA, MIN_SHARE)
    return SkyLevel(free, growth, surface)


@dataclass(frozen=True, eq=False)
class TotalNoise:
    """The noise of sums in apertures of any size, less the `SkyLevel`.

    Attributes
    ----------
    scale : scatter of large sums over that of independent pixels
    typical : scatter of pixels times the root of the exposure time
    level_error : of the level, e/s per pixel; NaN if not measured
    """

    scale: float
    typical: float
    level_error: float

    def sky_error_in(self, area_px2: Floats, exptime_s: ArrayLike) -> Floats:
        """Return the errors of the sky and of its level together, (N,) in e/s."""
        seconds = np.asarray(exptime_s, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            scatter = np.where(seconds > 0, self.typical / np.sqrt(seconds), np.nan)
        has_level = np.isfinite(self.level_error)
        level = self.level_error if has_level else UNKNOWN_LEVEL * scatter
        return np.asarray(np.hypot(self.scale * scatter * np.sqrt(area_px2), level * area_px2))

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the summary."""
        has_level = np.isfinite(self.level_error)
        return {
            "total_noise_scale": round(self.scale, 4),
            "sky_level_err": self.level_error if has_level else None,
        }


def total_noise(
    blank: SkyObjects, level: SkyLevel, model: NoiseModel, annulus_px: float
) -> TotalNoise:
    """Return the noise of sums less the level, from blank places and their annuli.

    Of the places those count whose annuli, out to ``annulus_px``, are free: nearer to sources they
    hold the light of these.

    What a circle and the annulus about it deviate by from the level has two parts: noise, which
    they do not share, and the error of the level, which they do.  Its variance is the covariance
    of the two.

    Parameters
    ----------
    blank : SkyObjects, blank places
    level : SkyLevel
    model : NoiseModel of the apertures
    annulus_px : outer radius of the annulus, px
    """
    if not model.is_measured:
        return TotalNoise(float(model.scale[-1]), model.typical, np.nan)
    area, annulus = blank.areas[:, -1], blank.sky.median - level.at(blank.x, blank.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        circle = blank.net[:, -1] / area + annulus
        scatter = model.typical / np.sqrt(blank.exposures.exptime_s)
    far = all_within(level.free, blank.x, blank.y, annulus_px)
    good = far & np.isfinite(circle) & np.isfinite(scatter)
    if np.count_nonzero(good) < MIN_PLACES:
        return TotalNoise(float(model.scale[-1]), model.typical, np.nan)
    circle, annulus, area, scatter = (v[good] for v in (circle, annulus, area, scatter))
    common_variance = 0.25 * (width(circle + annulus) ** 2 - width(circle - annulus) ** 2)
    common_variance = max(common_variance, 0.0)
    pull2 = width(circle * np.sqrt(area) / scatter) ** 2
    own = pull2 - common_variance * float(np.median(area / scatter**2))
    return TotalNoise(
        float(np.sqrt(max(own, 0.25 * pull2))), model.typical, float(np.sqrt(common_variance))
    )
