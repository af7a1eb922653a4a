"""The pixels around many positions at once, as rectangular arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FAR = 1e8


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Pixels near N positions: K candidates each, in one order for all positions.

    Attributes
    ----------
    rows, columns : (N, K) int
        Pixel indices, clipped to the image.
    distance : (N, K) float
        From the position to the pixel's centre, pixels; infinite off the image.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    distance: NDArray[np.float64]

    def take(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the (N, K) pixel values; what is off the image repeats its border."""
        return image[self.rows, self.columns]


def neighbourhood(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike, radius_px: float
) -> Neighbourhood:
    """Return all pixels whose centres can lie within a radius of each position.

    Parameters
    ----------
    shape : (ny, nx) of the image
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    radius_px : float
    """
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    reach = int(np.ceil(radius_px + 0.5))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # Candidates of any sub-pixel position: centre of the nearest pixel plus half a diagonal.
    near = np.hypot(dx, dy) <= radius_px + np.sqrt(0.5)
    column0, row0 = nearest_pixel(x)[:, np.newaxis], nearest_pixel(y)[:, np.newaxis]
    columns, rows = column0 + dx[near], row0 + dy[near]
    ny, nx = shape
    on_image = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    distance = np.hypot(columns - x[:, np.newaxis], rows - y[:, np.newaxis])
    return Neighbourhood(
        np.clip(rows, 0, ny - 1),
        np.clip(columns, 0, nx - 1),
        np.where(on_image, distance, np.inf),
    )


def nearest_pixel(position: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the nearest index; what is no position, or beyond any image, is far off it."""
    return np.rint(np.clip(np.nan_to_num(position, nan=-FAR), -FAR, FAR)).astype(np.intp)
