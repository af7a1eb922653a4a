"""The images of the benchmarks of speed: stars, galaxies and cosmic-ray tracks in two depths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.images.drc import DrcImage, read_drc
from bycatch.tangent import MAS_PER_DEG
from bycatch.testing.scene import drc_hdus, star_table

Floats = NDArray[np.float64]

FULL_SIZE_PX, FULL_SOURCES, FULL_TRACKS = 4300, 1500, 4500
NOISE, DEPTH_S, REACH, STAR_ERROR_MAS = 0.01, 1000.0, 30, 0.1
GAIA = "gaia.csv"


@dataclass(frozen=True)
class Field:
    """An image as the archive delivers it, and its sources: (N,) positions, amplitudes, kinds."""

    hdus: fits.HDUList
    x: Floats
    y: Floats
    amplitude: Floats
    is_star: NDArray[np.bool_]


def n_sources(size: int) -> int:
    """Return the usual number of sources of an image."""
    return round(FULL_SOURCES * (size / FULL_SIZE_PX) ** 2)


def make_field(number: int, size: int, n: int | None = None) -> Field:
    """Return an image of ``n`` sources with a border, half of it of one exposure.

    There it has cosmic-ray tracks.  All numbers have the same sources, in noise and tracks of their
    own.
    """
    rng = np.random.default_rng(0)
    n = n_sources(size) if n is None else n
    depth = np.full((size, size), np.float32(DEPTH_S))
    depth[:, size // 2 :] *= 0.5
    sci = np.random.default_rng(number).standard_normal((size, size), np.float32)
    sci *= np.float32(NOISE) * np.sqrt(np.float32(DEPTH_S) / depth)
    places = rng.uniform(REACH + 1, size - REACH - 2, (n, 2))
    rates = np.minimum(0.25 * (rng.pareto(1.0, n) + 1), 50)
    is_star = rng.random(n) < 0.5
    rates[is_star] *= 8  # bright enough for the classic preset, which the alignment needs
    yy, xx = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    for (x, y), rate, round_ in zip(places, rates, is_star, strict=True):
        a, b = (1.9, 1.9) if round_ else rng.uniform(1, 5, 2)
        dx, dy = xx - (x - round(x)), yy - (y - round(y))
        turn = rng.uniform(0, np.pi)
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        rows = slice(round(y) - REACH, round(y) + REACH + 1)
        columns = slice(round(x) - REACH, round(x) + REACH + 1)
        sci[rows, columns] += rate * (1 + (u / a) ** 2 + (v / b) ** 2) ** -2.5
    rng = np.random.default_rng(number)
    for _ in range(round(FULL_TRACKS * (size / FULL_SIZE_PX) ** 2)):
        x, y = rng.uniform(size / 2 + 20, size - 20), rng.uniform(20, size - 20)
        step, angle = np.arange(rng.integers(1, 12)), rng.uniform(0, np.pi)
        track = (y + step * np.sin(angle)).astype(int), (x + step * np.cos(angle)).astype(int)
        sci[track] += rng.uniform(0.5, 4)
    rows, columns = np.ogrid[:size, :size]
    off = (columns + 0.06 * rows < 0.06 * size) | (rows - 0.06 * columns < 0)
    sci[off] = np.nan
    hdus = drc_hdus(sci, n_exposures=2, exptime_s=DEPTH_S, primary={"PROPOSID": 13711 + number})
    hdus["WHT"].data[:] = np.where(off, np.float32(0), depth)
    hdus["CTX"].data[:, size // 2 :] &= 1
    return Field(hdus, places[:, 0], places[:, 1], rates, is_star)


def write_image(folder: Path, number: int, size: int, n: int | None = None) -> Path:
    """Write an image, the table of its stars beside it, and return its path."""
    field = make_field(number, size, n)
    path = folder / f"jabc0{number}010_drc.fits"
    field.hdus.writeto(path)
    x, y = field.x[field.is_star], field.y[field.is_star]
    ra, dec = WCS(field.hdus["SCI"].header).all_pix2world(x, y, 0)
    shift_deg = np.random.default_rng(1).normal(0, STAR_ERROR_MAS / MAS_PER_DEG, (2, len(ra)))
    ra, dec = ra + shift_deg[0] / np.cos(np.deg2rad(dec)), dec + shift_deg[1]
    mag = 20.5 - 2.5 * np.log10(field.amplitude[field.is_star])
    star_table(ra, dec, mag, STAR_ERROR_MAS).write(folder / GAIA, overwrite=True)
    return path


def read_field(folder: Path, size: int, n: int) -> tuple[DrcImage, Floats, Floats]:
    """Return an image of ``n`` sources as it comes from a file, and where they are, by row.

    Those beyond the border of the data are left out.
    """
    field = make_field(1, size, n)
    path = folder / f"scene{n}_drc.fits"
    field.hdus.writeto(path)
    image = read_drc(path)
    there = image.valid[np.rint(field.y).astype(int), np.rint(field.x).astype(int)]
    rows = np.flatnonzero(there)[np.argsort(field.y[there], kind="stable")]
    return image, field.x[rows], field.y[rows]
