"""What keeps compiled code inside its arrays, whatever it is given.

Compiled code doesn't look where it reads and writes.  Shapes, lengths and labels are therefore
checked before it is called, once per call; a number that is to be an index goes through `index_in`
(or `neighbourhood.span`), since NaN and what is too large for an integer make any index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.kernels.compiled import compiled

FAR = 1e8
"""Pixels.  No image is as large; its square is still an exact integer."""
MOST_LABELS = 1 << 24
"""More than there are sources on any image: a larger label is damage, not worth the memory."""


@compiled
def index_in(value: float, n: int) -> int:
    """Return the index from 0 to ``n`` - 1 that a number is truncated to; 0 for NaN.

    Parameters
    ----------
    value : any float, also NaN or infinite
    n : length of the axis, at least 1
    """
    if not value > 0:
        return 0
    return int(value) if value < n else n - 1


def check_shapes(*images: NDArray[Any]) -> None:
    """Raise a ValueError unless all are images of one shape."""
    shapes = [image.shape for image in images]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ValueError(f"images of one shape are needed, not {', '.join(map(str, shapes))}")


def length_px(value: float) -> float:
    """Return a radius or another length; raise a ValueError if no image has room for it.

    Parameters
    ----------
    value : px
    """
    if not 0 <= value <= FAR:
        raise ValueError(f"{value} is no length in pixels")
    return float(value)


def label_plane(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return labels as int32, C-contiguous; raise a ValueError where they are too large for it.

    Parameters
    ----------
    labels : (ny, nx) of any integer type
    """
    limits = np.iinfo(np.int32)
    if labels.dtype != np.int32 and labels.size:
        least, most = int(labels.min()), int(labels.max())
        if least < limits.min or most > limits.max:
            raise ValueError(f"labels from {least} to {most} are no labels of segments")
    return np.ascontiguousarray(labels, dtype=np.int32)


def highest_label(labels: NDArray[np.int32]) -> int:
    """Return the highest label, for which there has to be memory; raise a ValueError if absurd.

    Parameters
    ----------
    labels : (ny, nx) int32; may be empty
    """
    most = int(labels.max(initial=0))
    if most > MOST_LABELS:
        raise ValueError(f"{most} is no label of a segment: the most is {MOST_LABELS}")
    return most


def check_pixels(x: ArrayLike, y: ArrayLike, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless (x, y) are pixels of an image.

    Parameters
    ----------
    x, y : (N,) int, columns and rows
    shape : (ny, nx) of the image
    """
    column, row = np.asarray(x), np.asarray(y)
    if column.shape != row.shape or column.ndim != 1:
        raise ValueError(f"{column.shape} columns and {row.shape} rows are no list of pixels")
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    if not inside.all():
        raise ValueError(f"{(~inside).sum()} of {len(column)} pixels are off the image")
