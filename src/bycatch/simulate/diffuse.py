"""Light that is no object of the truth: nebulosity, ghosts of bright stars, a satellite's trail."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Floats
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import Chip, Detector
from bycatch.simulate.render import Aim
from bycatch.simulate.scene import random_stream

NEBULA_CELL_ARCSEC = 0.1
NEBULA_SLOPE = -2.9
"""Of the power spectrum of clouds (Miville-Deschenes et al. 2007, A&A 469, 595)."""
NEBULA_CONTRAST = 1.2
"""Scatter of the logarithm of the brightness: bright filaments on a smooth ground."""
GHOST_RADIUS_PX, GHOST_HOLE = 32.0, 0.33
"""A ghost is an image of the pupil out of focus."""
BRIGHTEST_GHOSTS = 20
TRAIL_REACH = 4.0
"""A trail is drawn to this many widths."""


def nebula(
    settings: SimulateSettings, detector: Detector, u: Floats, v: Floats, index: int
) -> Floats:
    """Return the brightness of nebulosity at places (u, v) in arcsec; its mean is about 1.

    The same clouds in all exposures and filters, but for a tenth that is each filter's own.
    """
    from scipy.ndimage import map_coordinates

    reach = 1.1 * detector.half_size * 0.05 * np.sqrt(2.0)
    n = int(np.ceil(2 * reach / NEBULA_CELL_ARCSEC))
    clouds = _clouds(n, settings, random_stream(settings, "nebula"))
    clouds = clouds + 0.1 * _clouds(n, settings, random_stream(settings, "nebula", index + 1))
    brightness = np.exp(NEBULA_CONTRAST * clouds - 0.5 * NEBULA_CONTRAST**2)
    place = (np.array([v, u]) + reach) / NEBULA_CELL_ARCSEC
    return np.asarray(map_coordinates(brightness, place, order=1, mode="nearest"))


def _clouds(n: int, settings: SimulateSettings, random: np.random.Generator) -> Floats:
    """Return a Gaussian random field of scatter 1 with a power law, flat beyond the scale."""
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]) / NEBULA_CELL_ARCSEC
    least = 1.0 / settings.nebula_scale_arcsec
    amplitude = (k**2 + least**2) ** (0.25 * NEBULA_SLOPE)
    amplitude[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(random.normal(size=(n, n))) * amplitude, s=(n, n))
    return np.asarray(field / field.std())


def ghosts(totals_e: Floats, where: Aim, chip: Chip, detector: Detector, share: float) -> Floats:
    """Return the ghosts of the brightest objects, mirrored at the detector's centre, electrons."""
    image = np.zeros((chip.rows, chip.columns))
    cx, cy = detector.centre
    outer = GHOST_RADIUS_PX
    size = np.pi * outer**2 * (1.0 - GHOST_HOLE**2)
    for k in np.argsort(-totals_e, kind="stable")[:BRIGHTEST_GHOSTS]:
        x, y = 2.0 * cx - where.x[k], 2.0 * cy - where.y[k] - chip.first_row
        columns = np.arange(max(0, int(x - outer) - 1), min(chip.columns, int(x + outer) + 2))
        rows = np.arange(max(0, int(y - outer) - 1), min(chip.rows, int(y + outer) + 2))
        if columns.size and rows.size:
            r = np.hypot(rows[:, None] - y, columns[None, :] - x)
            ring = (r < outer) & (r > GHOST_HOLE * outer)
            image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += (
                share * totals_e[k] / size * ring
            )
    return image


def trails(settings: SimulateSettings, chip: Chip, detector: Detector, stream: int) -> Floats:
    """Return the trails of satellites through the first exposure of an image, electrons.

    Straight, smeared by the defocus of something near, brightness as a sum of two Gaussians.
    """
    random = random_stream(settings, "trails", stream)
    x = np.arange(chip.columns)[None, :] - detector.centre[0]
    y = np.arange(chip.rows)[:, None] + chip.first_row - detector.centre[1]
    image = np.zeros((chip.rows, chip.columns))
    for _ in range(settings.n_trails):
        angle = random.uniform(0.0, np.pi)
        offset = random.uniform(-0.6, 0.6) * detector.half_size
        distance = np.abs(np.cos(angle) * y - np.sin(angle) * x - offset)
        width = settings.trail_width_px
        near = distance < TRAIL_REACH * width
        shape = np.exp(-0.5 * (distance[near] / width) ** 2)
        image[near] += settings.trail_e * shape
    return image
