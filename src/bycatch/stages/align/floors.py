"""How well the centroids of bright stars agree between the images of a field.

No number of photons takes away the phase of the pixels, nor a PSF whose lopsidedness varies over
the field and from filter to filter: 0.01 px in stacks of the published PSF, 0.05 in blue exposures
of real optics.  Stars in two images show it, once linear frames and photon noise are removed.
Only Gaia's stars show what all images of a visit share, such as a PSF that is lopsided in all of
them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.sky.astrometry import CENTROID_FLOOR_PX
from bycatch.stages.align.plane import View
from bycatch.stages.align.relative import SAME_EPOCH_DAYS, Group, typical

BRIGHT_PX = 0.02
"""Stars whose photon noise leaves this error measure the floor: `detect` centres them alike."""
LEAST_STARS = 5
"""Of two images, or of one and Gaia."""
PRIOR_VALUES = 3.0
"""Positions that what is expected of an image counts as."""
PAIR_VALUES = 8.0
"""Weight, as a number of positions, of the scatter between images beside that about Gaia: images
agree too well where they share errors."""
PHASE_PX = 0.016
"""Least floor of a single exposure: its filters see a star at the same phase of the pixels, and
agree in what they are off.  Exposures at other phases average it."""
_MOST_PX = 0.1
_FRAME_TERMS = 4
"""Terms that the fit of the frame takes out of the residuals, which are too small by them."""
_MOST_SQUARE, _N_HALVINGS = 4.0, 40
"""Distance squared over the variance per axis, of outliers."""


@dataclass(frozen=True, eq=False)
class GaiaPairs:
    """The Gaia stars of an image.

    Attributes
    ----------
    row : (N,) of the image's table of detections
    apart_mas : (N, 2) detection minus star
    variance_mas2 : (N,) of the stars' positions, per axis
    """

    row: Ints
    apart_mas: Floats
    variance_mas2: Floats


def centroid_floors_mas(group: Group, pairs: Sequence[GaiaPairs] = ()) -> list[float]:
    """Return the error per axis of the brightest stars of each image, mas; NaN where not measured.

    Parameters
    ----------
    group : Group, images that are tied to one another
    pairs : the Gaia stars of each image; empty if they are not to be used
    """
    bright = [_bright(view) for view in group.views]
    scale = np.array([_scale_mas(view) for view in group.views])
    least = (PHASE_PX * scale) ** 2 / np.array([_n_exposures(view) for view in group.views])
    variance = _between_images_mas2(group, bright, least)
    weight = np.where(np.isfinite(variance), PAIR_VALUES, PRIOR_VALUES)
    is_measured = np.isfinite(variance)
    variance = np.where(is_measured, variance, (CENTROID_FLOOR_PX * scale) ** 2)
    for k, of_image in enumerate(pairs):
        about_gaia, expected, n_values = _about_gaia_mas2(group.views[k], of_image, bright[k])
        if n_values:
            larger = max(about_gaia, float(variance[k]))
            counts = n_values * (larger / (larger + expected)) ** 2
            variance[k] = np.average([variance[k], about_gaia], weights=[weight[k], counts])
            is_measured[k] = True
    floors = np.sqrt(np.clip(variance, least, (_MOST_PX * scale) ** 2))
    return [float(f) if t else np.nan for f, t in zip(floors, is_measured, strict=True)]


def _between_images_mas2(group: Group, bright: list[Ints], least: Floats) -> Floats:
    """Return the variances per axis of centroids from pairs of images, mas^2; or NaN."""
    n = len(group.views)
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
        return np.full(n, np.nan)
    from scipy.optimize import nnls

    expected = (CENTROID_FLOOR_PX * np.array([_scale_mas(view) for view in group.views])) ** 2
    # Each image has a variance of its own; a pair of images shows the sum of two.  How well a
    # variance is known goes with its size.
    design = np.concatenate([np.array(rows), np.eye(n)])
    target = np.concatenate([variances, expected])
    weight = np.concatenate([weights, np.full(n, PRIOR_VALUES)])
    weight = np.sqrt(weight) / np.maximum(target, np.median(least))
    variance = nnls(design * weight[:, np.newaxis], target * weight)[0]
    return np.where(np.sum(rows, axis=0) > 0, np.maximum(variance, least), np.nan)


def _about_gaia_mas2(view: View, pairs: GaiaPairs, bright: Ints) -> tuple[float, float, int]:
    """Return the variance per axis of centroids about Gaia's stars, that of all else, and its N.

    With it the squared distances over their variance, clipped at `_MOST_SQUARE`, have the mean
    that is expected of a Gaussian.
    """
    place = np.full(len(view.image.sources), -1, dtype=np.int64)
    place[view.rows[bright]] = bright
    at = place[pairs.row]
    is_bright = at >= 0
    n_stars = int(is_bright.sum())
    if n_stars < LEAST_STARS:
        return 0.0, 0.0, 0
    n_free = 2 * n_stars - _FRAME_TERMS
    other_mas2 = _photons_mas2(view)[at[is_bright]] + pairs.variance_mas2[is_bright]
    apart_mas2 = (pairs.apart_mas[is_bright] ** 2).sum(axis=1) * 2 * n_stars / n_free
    expected = 2.0 * (1.0 - np.exp(-0.5 * _MOST_SQUARE))
    low, high = 0.0, float(apart_mas2.max())
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (low + high)
        if np.minimum(apart_mas2 / (other_mas2 + middle), _MOST_SQUARE).mean() > expected:
            low = middle
        else:
            high = middle
    return high, float(np.median(other_mas2)), n_free


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
    """Return the detections that measure the floor."""
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
