"""Step 7 of LAcosmic: values from the pixels around for those that were found."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Image, Ints
from bycatch.kernels.compiled import compiled
from bycatch.kernels.lacosmic_planes import ZERO


@compiled
def found_around(places: Ints, rays: Bools) -> Ints:
    """Return the found ones of the 5 x 5 pixels around places: those that are cleaned again.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    rays : (NY, NX) bool, with the edges of `rowmedians.plane_shape`
    """
    nx = rays.shape[1]
    remaining = rays.reshape(-1).copy()
    out, n = np.empty(64, np.int64), 0
    for place in places:
        for row in range(place - 2 * nx, place + 3 * nx, nx):
            for near in range(row - 2, row + 3):
                if remaining[near]:
                    remaining[near] = False
                    if n == len(out):
                        out = np.concatenate((out, out))
                    out[n] = near
                    n += 1
    return out[:n]


@compiled
def masked_means(
    image: Image, variance: Image, places: Ints, mask: Bools, weights: Image, levels: Image
) -> tuple[Image, Image, bool]:
    """Return the weighted means of the pixels around places that are not blocked.

    Places without any get the level of the whole image, and it is said that
    one was needed.  Found pixels lie at least 2 px from the edge.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    places : (N,) int64, flat indices into the padded planes
    mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not used
    weights : (5, 5) float32
    levels : (2,) float32, of image and variance
    """
    nx = image.shape[1]
    values, others = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    pixels, variances, flat_mask = image.reshape(-1), variance.reshape(-1), mask.reshape(-1)
    is_level_needed = False
    for i in range(len(places)):
        total, other, norm = ZERO, ZERO, ZERO
        for j in range(5):
            first = places[i] + (j - 2) * nx - 2
            for k in range(5):
                weight = ZERO if flat_mask[first + k] else weights[j, k]
                total += weight * pixels[first + k]
                other += weight * variances[first + k]
                norm += weight
        if norm == ZERO:
            values[i], others[i], is_level_needed = levels[0], levels[1], True
        else:
            values[i], others[i] = total / norm, other / norm
    return values, others, is_level_needed


@compiled
def masked_medians(
    image: Image, variance: Image, places: Ints, mask: Bools, levels: Image
) -> tuple[Image, Image, bool]:
    """Return the (lower) medians of the pixels around places that are not blocked.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    places : (N,) int64, flat indices into the padded planes
    mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not used
    levels : (2,) float32, of image and variance
    """
    nx = image.shape[1]
    values, others = np.empty(len(places), np.float32), np.empty(len(places), np.float32)
    window, other_window = np.empty(25, np.float32), np.empty(25, np.float32)
    is_level_needed = False
    for i in range(len(places)):
        y, x, n = places[i] // nx, places[i] % nx, 0
        for v in range(y - 2, y + 3):
            for u in range(x - 2, x + 3):
                if not mask[v, u]:
                    window[n], other_window[n] = image[v, u], variance[v, u]
                    n += 1
        if n == 0:
            values[i], others[i], is_level_needed = levels[0], levels[1], True
        else:
            values[i] = np.sort(window[:n])[(n - 1) // 2]
            others[i] = np.sort(other_window[:n])[(n - 1) // 2]
    return values, others, is_level_needed


@compiled
def put(image: Image, variance: Image, places: Ints, values: Image, others: Image) -> Ints:
    """Write values of image and variance; return the places where they are new.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    places : (N,) int64, flat indices into the padded planes
    values, others : (N,) float32, for image and variance
    """
    pixels, variances = image.reshape(-1), variance.reshape(-1)
    out, n = np.empty(len(places), np.int64), 0
    for i in range(len(places)):
        place = places[i]
        if pixels[place] != values[i] or variances[place] != others[i]:
            pixels[place], variances[place] = values[i], others[i]
            out[n] = place
            n += 1
    return out[:n]
