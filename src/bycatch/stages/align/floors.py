"""How well the centroids of bright stars agree between the images of a field.

No number of photons takes away the phase of the pixels, nor a PSF whose lopsidedness varies over
the field and from filter to filter: 0.01 px in stacks of the published PSF, 0.05 in blue exposures
of real optics.  Stars that two images see tell it, when linear frames and photons are taken off.
"""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.sky.astrometry import CENTROID_FLOOR_PX
from bycatch.stages.align.plane import View
from bycatch.stages.align.relative import SAME_EPOCH_DAYS, Group, typical

BRIGHT_PX = 0.02
"""Stars whose photons tell the centroid this well tell the floor: `detect` centres them alike."""
LEAST_STARS = 5
PRIOR_VALUES = 3.0
"""Positions that what is expected of an image counts as."""
PHASE_PX = 0.016
"""Least floor of a single exposure: its filters see a star at the same phase of the pixels, and
agree in what they are off.  Exposures at other phases average it."""
_MOST_PX = 0.1


def centroid_floors_mas(group: Group) -> list[float]:
    """Return the error per axis of the brightest stars of each image, mas; NaN where not measured.

    Parameters
    ----------
    group : Group, images that are tied to one another
    """
    n = len(group.views)
    bright = [_bright(view) for view in group.views]
    rows, variances, weights = [], [], []
    for k in range(n):
        for j in range(k):
            if abs(group.views[k].image.mjd - group.views[j].image.mjd) > SAME_EPOCH_DAYS:
                continue  # stars have moved
            apart_mas2, n_values = _apart_mas2(group, k, j, bright)
            if n_values:
                rows.append(np.eye(n)[k] + np.eye(n)[j])
                variances.append(apart_mas2)
                weights.append(n_values)
    if not rows:
        return [np.nan] * n
    from scipy.optimize import nnls

    scale = np.array([_scale_mas(view) for view in group.views])
    expected = (CENTROID_FLOOR_PX * scale) ** 2
    least = (PHASE_PX * scale) ** 2 / np.array([_n_exposures(view) for view in group.views])
    # Each image has a variance of its own; a pair of images shows the sum of two.  How well a
    # variance is known goes with its size.
    design = np.concatenate([np.array(rows), np.eye(n)])
    target = np.concatenate([variances, expected])
    weight = np.concatenate([weights, np.full(n, PRIOR_VALUES)])
    weight = np.sqrt(weight) / np.maximum(target, np.median(least))
    variance = nnls(design * weight[:, np.newaxis], target * weight)[0]
    floors = np.sqrt(np.clip(variance, least, (_MOST_PX * scale) ** 2))
    is_told = np.sum(rows, axis=0) > 0
    return [float(f) if t else np.nan for f, t in zip(floors, is_told, strict=True)]


def _n_exposures(view: View) -> float:
    """Return the typical number of exposures of an image's detections, 1 where it is not known."""
    if "n_exp" not in view.image.sources.colnames or not len(view.rows):
        return 1.0
    return float(max(np.median(np.asarray(view.image.sources["n_exp"], dtype=float)), 1.0))


def _scale_mas(view: View) -> float:
    """Return the size of a pixel, mas."""
    return float(np.hypot(*(view.corners[1] - view.corners[0]))) / view.image.shape[1]


def _photons_mas2(view: View) -> Floats:
    """Return what the photons alone make of the variances of positions."""
    return np.maximum(view.variance - (CENTROID_FLOOR_PX * _scale_mas(view)) ** 2, 0.0)


def _bright(view: View) -> Ints:
    """Return the detections that tell the floor."""
    good = view.starlike & ~view.is_measured
    return np.flatnonzero(good & (_photons_mas2(view) < (BRIGHT_PX * _scale_mas(view)) ** 2))


def _apart_mas2(group: Group, k: int, j: int, bright: list[Ints]) -> tuple[float, int]:
    """Return the variance per axis between two images without that of photons; and how many."""
    a, b = bright[k], bright[j]
    _, at_a, at_b = np.intersect1d(group.obj[k][a], group.obj[j][b], return_indices=True)
    a, b = a[at_a], b[at_b]
    if len(a) < LEAST_STARS:
        return 0.0, 0
    apart = group.frames[k](group.views[k].xy[a]) - group.frames[j](group.views[j].xy[b])
    apart -= np.median(apart, axis=0)
    # Few stars look closer together than they are: a shift and a roll are theirs.
    scatter_mas2 = typical(np.hypot(*apart.T)) ** 2 * 2 * len(a) / (2 * len(a) - 3)
    photons = _photons_mas2(group.views[k])[a] + _photons_mas2(group.views[j])[b]
    return max(scatter_mas2 - float(np.median(photons)), 0.0), 2 * len(a) - 3
