"""Places where nothing is, measured as sources are measured."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bycatch.arrays import Bools, Floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import all_within, any_within, coverage
from bycatch.kernels.skystats import SkyStats
from bycatch.settings import MeasureSettings
from bycatch.stages.measure.annuli import Annuli
from bycatch.stages.measure.photometry import (
    Exposures,
    aperture_sums,
    exposures_at,
)

SEED = 20_160_101
TRIES = 12
"""Places that are tried for each one that is wanted."""
MARGIN_PX = 2.0
"""Between the largest aperture and the pixels of sources and cosmic rays, detector pixels."""
STANDS_OUT_SIGMA = 5.0
"""Blank sky has no pixel so far above its annulus, in units of the scatter there."""


@dataclass(frozen=True, eq=False)
class SkyObjects:
    """Blank places, measured like sources: M places, R radii.

    Attributes
    ----------
    x, y : (M,) 0-based pixel centres
    net, areas : (M, R) sky-subtracted sums, e/s, and areas, px^2
    sky : statistics of their annuli
    exposures : exposure bookkeeping
    """

    x: Floats
    y: Floats
    net: Floats
    areas: Floats
    sky: SkyStats
    exposures: Exposures


def blank_places(
    valid: Bools, has_light: Bools, reach_px: float, n_places: int, seed: int = SEED
) -> tuple[Floats, Floats]:
    """Return places whose surroundings have data, and neither source nor cosmic ray.

    Parameters
    ----------
    valid, has_light : (ny, nx) bool
    reach_px : float
        Radius that must be free.
    n_places : int
        Wanted; fewer where there is no room, so that they seldom overlap.
    seed : int

    Returns
    -------
    x, y : (M,) float; the same for the same image
    """
    ny, nx = valid.shape
    room = nx * ny / (np.pi * reach_px**2)
    n_needed = int(min(n_places, room))
    rng = np.random.default_rng(seed)
    places = np.empty((0, 2))
    for _ in range(TRIES):
        if len(places) >= n_needed:
            break
        candidates = rng.uniform(0.0, (nx - 1.0, ny - 1.0), (n_needed, 2))
        candidates = candidates[all_within(valid, candidates[:, 0], candidates[:, 1], reach_px)]
        candidates = candidates[
            ~any_within(has_light, candidates[:, 0], candidates[:, 1], reach_px)
        ]
        places = np.concatenate([places, candidates])
    return places[:n_needed, 0], places[:n_needed, 1]


def blank_sky(
    image: DrcImage,
    has_light: Bools,
    settings: MeasureSettings,
    annuli: Annuli | None = None,
) -> SkyObjects:
    """Find places where nothing is, and measure them as sources are measured.

    Detection goes by area, and drops sources of few exposures: what it leaves out can be bright.
    So places where a pixel stands out of its surroundings are no blank sky either.

    Parameters
    ----------
    image : DrcImage
    has_light : (ny, nx) bool; pixels of sources and cosmic rays
    settings : ``n_blank`` places are tried
    annuli : how the sky is measured; by default with all light in the annuli
    """
    reach_px = settings.radii_px[-1] + MARGIN_PX * image.detector_px
    places = blank_places(image.valid, has_light, reach_px, settings.n_blank)
    blank = sky_objects(image, *places, settings, annuli)
    planes = (image.sci, image.valid, image.n_exp, image.exptime_map_s)
    peak = coverage(planes, blank.x, blank.y, reach_px, reach_px).peak_rate
    return _rows_of(blank, peak - blank.sky.median < STANDS_OUT_SIGMA * blank.sky.std)


def _rows_of(blank: SkyObjects, rows: Bools) -> SkyObjects:
    """Return some of the places."""
    sky = SkyStats(*(getattr(blank.sky, column.name)[rows] for column in fields(SkyStats)))
    exposures = Exposures(
        *(getattr(blank.exposures, column.name)[rows] for column in fields(Exposures))
    )
    return SkyObjects(
        blank.x[rows], blank.y[rows], blank.net[rows], blank.areas[rows], sky, exposures
    )


def sky_objects(
    image: DrcImage, x: Floats, y: Floats, settings: MeasureSettings, annuli: Annuli | None = None
) -> SkyObjects:
    """Measure blank places as sources are measured.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    settings : MeasureSettings
    annuli : how the sky is measured; by default with all light in the annuli
    """
    sums, areas = aperture_sums(image.sci, image.valid, x, y, settings.radii_px)
    sky = (annuli or Annuli.of(image, settings)).beneath(x, y)
    net = sums - sky.median[:, np.newaxis] * areas
    return SkyObjects(x, y, net, areas, sky, exposures_at(image, x, y))
