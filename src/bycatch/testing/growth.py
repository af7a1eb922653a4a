"""Photometry of stars with known light in every aperture, for tests of aperture corrections."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

RADII = (2.0, 4.0, 6.0, 8.0, 10.0)
FRACTIONS = np.array([0.65, 0.83, 0.87, 0.89, 0.9])
SKY = 0.4


def star_photometry(
    n: int = 60,
    lost: tuple[float, ...] = (0.0,) * 5,
    seed: int = 1,
    noise: float = 0.05,
    faint: float = 50.0,
    spacing: float = 40.0,
) -> Table:
    """Return a table of measure with ``n`` stars that lack a share of their light per aperture.

    The noise (e/s per pixel) is independent from ring to ring, as in an image.  The stars have from
    ``faint`` e/s to 32 times that, and stand on a square grid of ``spacing`` px.
    """
    rng = np.random.default_rng(seed)
    rate = faint * 10 ** rng.uniform(0, 1.5, n)
    net = rate[:, np.newaxis] * FRACTIONS * (1 + np.array(lost))
    area = np.pi * np.array(RADII) ** 2
    rings = noise * np.sqrt(np.diff(area, prepend=0.0))
    net = net + np.cumsum(rng.normal(size=(n, 5)) * rings, axis=1)
    side = int(np.ceil(np.sqrt(n)))
    table = Table(
        {
            "x": spacing * (np.arange(n) % side) + 20.0,
            "y": spacing * (np.arange(n) // side) + 20.0,
            "flags": np.zeros(n, dtype=int),
            "cr_flag": np.zeros(n, dtype=int),
            "fwhm": rng.normal(2.0, 0.03, n),
            "sky_median": np.full(n, SKY),
        }
    )
    for k, r in enumerate(RADII):
        table[f"area_{r:g}"] = np.full(n, area[k])
        table[f"countrate_{r:g}"] = net[:, k] + SKY * area[k]
        table[f"countrate_cr_{r:g}"] = np.zeros(n)
        table[f"countrate_err_{r:g}"] = np.full(n, noise * np.sqrt(area[k]))
    return table
