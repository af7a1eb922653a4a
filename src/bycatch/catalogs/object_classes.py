"""Classes of objects: pages, regions and releases draw the same line and use the same colours."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Floats

REAL = 0.5
"""Objects with a p_real of at least this are more likely real than not."""
POINT = 0.5
"""Sources and objects with a p_star of at least this are points, those with less are extended."""
MOVES_CHI2 = 25.0
"""Motions of 5 sigma are drawn: of 100,000 objects at rest, none."""
CLASS_COLOURS = {
    "point": "#009E73",
    "extended": "#0072B2",
    "unclassified": "#CC79A7",
    "not real": "#D55E00",
}
"""Of Okabe & Ito, which colour-blind people can tell apart."""


def object_classes(p_real: Floats, p_star: Floats) -> list[str]:
    """Return the class of each object, a key of `CLASS_COLOURS`.

    Parameters
    ----------
    p_real, p_star : (N,); NaN where unknown
    """
    is_real = np.asarray(p_real) >= REAL
    classes = np.select(
        [~is_real, np.isnan(p_star), np.asarray(p_star) >= POINT],
        ["not real", "unclassified", "point"],
        "extended",
    )
    return [str(name) for name in classes]
