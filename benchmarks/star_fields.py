"""Fields of stars whose PSF is not the program's own, as drizzled images.

The PSF is that of a pupil with vanes and aberrations (`bycatch.simulate.optics`), smeared by drop
and output pixel, with a focus that differs from star to star (phases, breathing), over the field
and with colour, and a jitter.  Noise is correlated as drizzling does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import (
    convolve1d,
    gaussian_filter,
    map_coordinates,
    spline_filter,
    uniform_filter,
)

from bycatch.photcal import ab_zeropoint
from bycatch.simulate.optics import SAMPLES_PER_PX, Optics, focal_plane, halo
from bycatch.testing.scene import drc_hdus

FILTER, PHOTFLAM = "F775W", 9.93e-20
EXPTIME_S, SKY_RATE, SKY_NOISE = 1500.0, 0.03, 0.006
SMEAR = np.array([0.1, 0.8, 0.1])
"""Of the noise, per axis: that of a large area is 1.5 times that of independent pixels, as the
formula of Casertano et al. (2000) has it for drops as large as the output pixel."""
STAMP_PX = 40
OPTICS = Optics(FILTER, 0.17, 0.027, -0.009, 0.45)
MAGNITUDES = (18.5, 28.0)
SLOPE = 0.25
"""Of the logarithm of the number of stars with magnitude."""


@dataclass(frozen=True)
class Field:
    """A field: its stars, and its image's file."""

    x: np.ndarray
    y: np.ndarray
    rate: np.ndarray
    focus: np.ndarray
    splines: Splines
    noise: np.ndarray
    path: Path

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.noise.shape[0], self.noise.shape[1]

    def part(self, which: np.ndarray) -> Field:
        """Return the same image, of which only those stars are asked for."""
        x, y, rate, focus = (v[which] for v in (self.x, self.y, self.rate, self.focus))
        return replace(self, x=x, y=y, rate=rate, focus=focus)

    def light(self) -> np.ndarray:
        """Return the light of the stars."""
        height, breadth = self.shape
        light = np.zeros(self.shape)
        for column, row, flux, focus in zip(self.x, self.y, self.rate, self.focus, strict=True):
            reach = STAMP_PX if flux > 5 else 14
            left, low = (max(round(v) - reach, 0) for v in (column, row))
            across = np.arange(left, min(round(column) + reach + 1, breadth), dtype=float)
            up = np.arange(low, min(round(row) + reach + 1, height), dtype=float)
            if len(across) and len(up):
                stamp = self.splines.stamp(across - column, up - row, focus)
                light[low : low + len(up), left : left + len(across)] += flux * stamp
        return light

    def write(self, light: np.ndarray) -> Field:
        """Write the image, and return its field."""
        data = (light + self.noise + SKY_RATE).astype(np.float32)
        drc_hdus(data, exptime_s=EXPTIME_S).writeto(self.path, overwrite=True)
        return self


class Splines:
    """Drizzled PSFs by focus: the light in an output pixel, finely sampled."""

    def __init__(self, jitter_px: float) -> None:
        self.jitter_px = jitter_px
        self.by_step: dict[int, tuple[np.ndarray, float]] = {}

    def at(self, step: int) -> tuple[np.ndarray, float]:
        """Return spline coefficients of a focus, and the share of the light in them."""
        if step not in self.by_step:
            light, share = focal_plane(OPTICS, step)
            for _ in range(2):  # the drop, and the output pixel
                light = uniform_filter(light, SAMPLES_PER_PX)
            light = gaussian_filter(light, self.jitter_px * SAMPLES_PER_PX)
            self.by_step[step] = spline_filter(light, order=3), share
        return self.by_step[step]

    def stamp(self, dx: np.ndarray, dy: np.ndarray, focus: float) -> np.ndarray:
        """Return the light of a star of rate 1 at distances (n,) and (m,)."""
        low = int(np.floor(focus / 0.01))
        total = np.zeros((len(dy), len(dx)))
        for step, weight in ((low, low + 1 - focus / 0.01), (low + 1, focus / 0.01 - low)):
            spline, share = self.at(step)
            middle = spline.shape[0] // 2
            place = np.meshgrid(
                dy * SAMPLES_PER_PX + middle, dx * SAMPLES_PER_PX + middle, indexing="ij"
            )
            total += weight * map_coordinates(spline, place, order=3, prefilter=False)
            total += weight * (1 - share) * halo(OPTICS).stamp(dx, dy, 1.0, 1.0)
        return total


def stars_of(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return rates of n stars, ever more of them towards the faint end."""
    low, high = MAGNITUDES
    share = rng.random(n)
    span = 10 ** (SLOPE * (high - low)) - 1
    magnitude = low + np.log10(1 + span * share) / SLOPE
    return 10 ** (-0.4 * (magnitude - zeropoint()))


def zeropoint() -> float:
    """Return the AB zero point of the field."""
    return ab_zeropoint(PHOTFLAM, 7693.0)


def make_field(
    folder: Path, seed: int, density: float, side: int = 600, pairs: bool = False
) -> Field:
    """Make a field of so many stars per square arcmin, or one of pairs of equal stars."""
    rng = np.random.default_rng(seed)
    n = round(density * (side * 0.05 / 60) ** 2)
    if density < 60:  # else there is nothing to count
        n = 40
    rate, x, y = stars_of(rng, n), *rng.uniform(0, side - 1, (2, n))
    if pairs:
        step = 26
        place = np.arange(step, side - step, step, dtype=float)
        x, y = (v.ravel() for v in np.meshgrid(place, place))
        x, y = x + rng.uniform(-2, 2, len(x)), y + rng.uniform(-2, 2, len(y))
        rate = 10 ** (-0.4 * (rng.uniform(20, 25.5, len(x)) - zeropoint()))
        angle = rng.uniform(0, 2 * np.pi, len(x))
        two = rng.random(len(x)) < 0.6
        x = np.append(x, (x + 3 * np.cos(angle))[two])
        y = np.append(y, (y + 3 * np.sin(angle))[two])
        rate = np.append(rate, rate[two])
    middle = 0.02 + rng.normal(0, 0.008)
    tilt = rng.normal(0, 0.008, 2)
    splines = Splines(jitter_px=rng.uniform(0.0, 0.25))
    # Field, colour and phase move the focus, as they move the width of the core.
    focus = middle + tilt @ (np.array([x, y]) / side - 0.5) + rng.normal(0, 0.004, len(x))
    path = folder / f"jabc{seed % 100:02d}010_drc.fits"
    dark = Field(x, y, rate, focus, splines, np.zeros((side, side)), path)
    light = dark.light()
    narrow = float((SMEAR**2).sum())
    white = rng.normal(size=light.shape) * np.sqrt(
        (SKY_NOISE / narrow) ** 2 + np.maximum(light, 0) / EXPTIME_S
    )
    for axis in (0, 1):
        white = convolve1d(white, SMEAR, axis=axis, mode="wrap")
    return replace(dark, noise=white).write(light)
