"""What the other images of a field see at the places of sources.

A detection there is a yes.  Where there is none, the light within a small aperture says whether one
was to be expected: no star or galaxy has no light at all in another filter, but drop-outs
and the reddest stars in bluer ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.kernels.skystats import annulus_stats

SEEN_PX = 1.5
"""Two images see the same source if their positions differ by no more, detector pixels."""
APERTURE_PX, RING_PX, CLIP_SIGMA = 2.0, (4.0, 7.0), 3.0
"""Where light is asked for, and the sky around it; detector pixels."""
LIGHT_ERROR = 0.2
"""Of the ratio of two images' light in such an aperture: PSFs, frames, motions."""
COLOURS = np.linspace(-3.0, 14.0, 69)
"""Change of the AB magnitude with ln(wavelength), negated: 0 for a flat spectrum in f_nu, about -2
for the hottest stars, 8 and more for L and T dwarfs."""
USUAL_COLOUR, WIDE_COLOUR, WIDE_SHARE = (1.7, 1.2), (4.5, 2.5), 0.3
"""Mean and scatter of most stars and galaxies, of the others, and how many these are: M dwarfs have
4 to 8 (g - i of 2 to 4)."""
DROPOUT_SHARE = 0.01
"""Sources without any light in a bluer filter."""
STRAY_SHARE = 0.03
"""Places where an image has light of something else, as strong."""
MOST_ABSENT = 6.0
"""No image counts more than that, as a log likelihood: models have tails."""


class OtherImage(Protocol):
    """Another image of the field, in the pixels of this one.

    Attributes
    ----------
    x, y : (M,) float; its detections
    covers : (N,) bool; True where it has data around a position of this image
    light : what it has at the positions of this image; None where that is not known
    """

    @property
    def x(self) -> Floats:
        """Columns of its detections."""
        ...

    @property
    def y(self) -> Floats:
        """Rows of its detections."""
        ...

    @property
    def covers(self) -> Bools:
        """Where it has data, of the positions of this image."""
        ...

    @property
    def light(self) -> Light | None:
        """What it has at the positions of this image."""
        ...


@dataclass(frozen=True, eq=False)
class Light:
    """Light within 2 detector pixels of N positions in one image.

    Attributes
    ----------
    flux, err : (N,) float, f_nu in microjansky; NaN where nothing was measured
    wavelength : pivot of the filter, angstrom
    """

    flux: Floats
    err: Floats
    wavelength: float


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """What other images of the field see at N positions.

    Attributes
    ----------
    n_covering : (N,) int; images that look
    n_seen : (N,) int; of these, the ones that have a detection there
    chance : of an unrelated detection of an image there
    absent : (N,) log likelihood that the others have no light there over that they have that of a
        star or galaxy; 0 where no other image looks
    """

    n_covering: Ints
    n_seen: Ints
    chance: float
    absent: Floats


def light_at(image: DrcImage, x: Floats, y: Floats) -> Light:
    """Measure the light at positions of an image, (N,) 0-based pixels, on it or not.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float, 0-based pixel centres
    """
    size = image.detector_px
    ring = (RING_PX[0] * size, RING_PX[1] * size)
    sums, areas = circle_sums(image.sci, image.valid, x, y, (APERTURE_PX * size,))
    sky = annulus_stats(image.sci, image.valid, x, y, ring, CLIP_SIGMA)
    area = areas[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        net = np.where(area > 0.9 * np.pi * (APERTURE_PX * size) ** 2, sums[:, 0], np.nan)
        net = net - sky.median * area
        seconds = _seconds(image, x, y)
        variance = np.maximum(net, 0.0) / seconds
        variance += image.noise_correlation**2 * area * sky.std**2
        variance *= 1.0 + area / np.maximum(sky.n_pixels, 1)
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    unit = photcal.microjansky(zeropoint)
    return Light(net * unit, np.sqrt(variance) * unit, image.meta.photplam)


def _seconds(image: DrcImage, x: Floats, y: Floats) -> Floats:
    seconds = np.asarray(image.exptime_map_s[pixels_at(image.shape, x, y)], float)
    return np.asarray(np.where(seconds > 0, seconds, np.nan))


def absence(own: Light, other: Light) -> Floats:
    """Return the log likelihood that there is nothing, over that of light of any colour, (N,).

    Of a source of whose own flux nothing is known but its error, that of the other image is
    expected at the ratio that its colour gives; colours are those of stars and galaxies.

    Parameters
    ----------
    own, other : Light of N sources in two images
    """
    width = np.log(other.wavelength / own.wavelength)
    ratio = 10 ** (0.4 * COLOURS * width)  # other over own flux
    chance = (1 - WIDE_SHARE) * _bell(COLOURS, *USUAL_COLOUR)
    chance += WIDE_SHARE * _bell(COLOURS, *WIDE_COLOUR)
    dropout = DROPOUT_SHARE if width < 0 else 0.0
    flux = np.maximum(own.flux, 0.0)[:, np.newaxis]
    expected = flux * ratio
    width_flux = np.sqrt(
        other.err[:, np.newaxis] ** 2
        + (ratio * own.err[:, np.newaxis]) ** 2
        + (LIGHT_ERROR * expected) ** 2
    )
    other_flux = other.flux[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        colours = _normal(other_flux - expected, width_flux) @ chance
        nothing = _normal(other.flux, other.err)
        # Something else there: of any brightness up to a few times the source's.
        stray = 1.0 / (4.0 * np.maximum(own.flux, own.err))
        light = (1 - dropout) * colours + dropout * nothing + 1e-6 * stray
        charge = (1 - STRAY_SHARE) * nothing + STRAY_SHARE * stray
        log_ratio = np.log(charge / light)
    return np.asarray(np.clip(np.nan_to_num(log_ratio, nan=0.0), -MOST_ABSENT, MOST_ABSENT))


def _bell(values: Floats, mean: float, sigma: float) -> Floats:
    weight = np.exp(-0.5 * ((values - mean) / sigma) ** 2)
    return np.asarray(weight / weight.sum())


def _normal(off: Floats, sigma: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * (off / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma))


def seen_elsewhere(
    x: ArrayLike,
    y: ArrayLike,
    others: Sequence[OtherImage],
    radius_px: float = SEEN_PX,
    own: Light | None = None,
) -> Elsewhere:
    """Count the other images that cover positions, and those that have a detection there.

    Parameters
    ----------
    x, y : (N,) float
        Positions in this image.
    others : sequence of OtherImage
        In its pixels.
    radius_px : float
    own : Light, optional
        Of this image at the positions; without it nothing is said of absence.
    """
    from scipy.spatial import KDTree

    places = np.column_stack([np.asarray(x, float).ravel(), np.asarray(y, float).ravel()])
    finite = np.isfinite(places).all(axis=1)
    covering, n_detections = np.zeros((2, len(places)), dtype=np.int64)
    absent = np.zeros(len(places))
    expected, n_covers = 0.0, 0
    for other in others:
        points = np.column_stack([other.x, other.y])
        points = points[np.isfinite(points).all(axis=1)]
        covers = np.asarray(other.covers, dtype=bool) & finite
        covering += covers
        if own is not None and other.light is not None:
            absent += np.where(covers, absence(own, other.light), 0.0)
        if not len(points) or not covers.any():
            continue
        near = np.zeros(len(places), dtype=bool)
        near[finite] = KDTree(points).query(places[finite], distance_upper_bound=radius_px)[0] < (
            radius_px
        )
        n_detections += near & covers
        area = max(float(np.prod(np.ptp(points, axis=0))), 1.0)
        expected += len(points) * np.pi * radius_px**2 / max(area, np.pi * radius_px**2)
        n_covers += 1
    chance = 1.0 - np.exp(-expected / n_covers) if n_covers and len(places) else 0.0
    return Elsewhere(covering, n_detections, float(chance), absent)
