"""Charge that cosmic rays leave on a chip: straight points, or particles in silicon."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.settings import SimulateSettings

# Cosmic rays of ACS (ACS ISR 2002-07): events of 4-5 pixels and about 1000 electrons, none below
# 500, and a tail of long tracks.
CR_MEDIAN_E, CR_SCATTER_DEX, CR_LEAST_E = 1000.0, 0.30, 500.0  # the first and last by default
CR_PIXELS_PER_EVENT = 4.6
CR_MEAN_LENGTH_PX, CR_LONG_SHARE, CR_LONG_LENGTH_PX = 1.9, 0.06, 12.0
CR_SPREAD_PX = 0.12
CR_E_PER_LENGTH = 90.0
_STEPS_PER_PX = 6
# Particles in silicon.  Energy loss along a path has a long tail (Landau; Moyal's form of it), here
# 13 % wide, and each step a share of its own; some electrons scatter on curly paths ("worms").
LOSS_WIDTH, STEP_SHAPE = 0.13, 1.5
WORM_SHARE, WORM_TURN_RAD, WORM_LENGTH_PX = 0.12, 0.45, 5.0
KNOCK_ON_SHARE, KNOCK_ON_CHARGE = 0.05, 1.5
"""Paths with a knock-on electron, which stops at once; its charge in those of a short path."""
MOST_TANGENT = 60.0


def charge_e(
    shape: tuple[int, int], settings: SimulateSettings, random: np.random.Generator
) -> Floats:
    """Return the charge of all cosmic rays of one exposure, (ny, nx) electrons."""
    if settings.cosmic_ray_tracks == "silicon":
        return silicon_tracks(shape, settings, random)
    return cosmic_rays(
        shape,
        settings.exptime_s,
        settings.cosmic_ray_share,
        random,
        median_e=settings.cosmic_ray_charge_e,
        least_e=settings.cosmic_ray_least_e,
    )


def cosmic_rays(
    shape: tuple[int, int],
    exptime_s: float,
    share_per_1000s: float,
    random: np.random.Generator,
    *,
    median_e: float = CR_MEDIAN_E,
    least_e: float = CR_LEAST_E,
) -> Floats:
    """Return the charge that cosmic rays leave in each pixel, electrons.

    Parameters
    ----------
    shape : (ny, nx)
    exptime_s : float
    share_per_1000s : float
        Share of the pixels that are hit in 1000 s (ACS: 0.015 to 0.03).
    random : Generator
    median_e, least_e : float
        Charge of a short event, electrons.

    Returns
    -------
    (ny, nx) float
    """
    ny, nx = shape
    n = int(random.poisson(share_per_1000s * exptime_s / 1000.0 * nx * ny / CR_PIXELS_PER_EVENT))
    length = random.exponential(CR_MEAN_LENGTH_PX, n)
    long = random.uniform(size=n) < CR_LONG_SHARE
    length = np.where(long, 4.0 + random.exponential(CR_LONG_LENGTH_PX, n), length)
    charge = median_e * 10 ** (CR_SCATTER_DEX * random.normal(size=n))
    charge = np.maximum(charge + CR_E_PER_LENGTH * length, least_e)
    angle = random.uniform(0.0, np.pi, n)
    x0, y0 = random.uniform(-0.5, nx - 0.5, n), random.uniform(-0.5, ny - 0.5, n)
    # Each track is a row of points, spread a little by diffusion.
    n_points = np.maximum(12, np.ceil(_STEPS_PER_PX * length).astype(int))
    track = np.repeat(np.arange(n), n_points)
    step = np.arange(track.size) - np.repeat(np.cumsum(n_points) - n_points, n_points)
    along = (step + 0.5) / n_points[track] * length[track]
    jitter = random.normal(0.0, CR_SPREAD_PX, (2, track.size))
    x = x0[track] + along * np.cos(angle[track]) + jitter[0]
    y = y0[track] + along * np.sin(angle[track]) + jitter[1]
    return _sums_in_pixels(x, y, (charge / n_points)[track], shape)


def silicon_tracks(
    shape: tuple[int, int], settings: SimulateSettings, random: np.random.Generator
) -> Floats:
    """Return the charge of particles that cross a layer of silicon, (ny, nx) electrons.

    Directions are those of an isotropic flux through the surface, so that most paths are short and
    some run along many pixels.  A path's charge is its length in silicon times the loss, which
    varies from path to path and from step to step; charge diffuses the farther, the deeper it is
    made, so that tracks are wide at one end and sharp at the other.
    """
    ny, nx = shape
    share = settings.cosmic_ray_share * settings.exptime_s / 1000.0
    n = int(random.poisson(share * nx * ny / CR_PIXELS_PER_EVENT))
    depth_px, per_depth_e = settings.cosmic_ray_depth_px, settings.cosmic_ray_charge_e
    # Isotropic flux: cos^2 of the angle to the normal is uniform.
    cosine = np.sqrt(np.maximum(random.uniform(size=n), MOST_TANGENT**-2))
    tangent = np.sqrt(1.0 - cosine**2) / cosine
    is_worm = random.uniform(size=n) < WORM_SHARE
    length = np.where(is_worm, random.exponential(WORM_LENGTH_PX, n), depth_px * tangent)
    # A unit is the charge of a path straight through the layer.
    units = np.where(is_worm, 1.0 + length / depth_px, 1.0 / cosine)
    total = per_depth_e * units * np.maximum(1.0 + LOSS_WIDTH * _moyal(random, n), 0.4)

    n_points = np.maximum(12, np.ceil(_STEPS_PER_PX * length).astype(int))
    track = np.repeat(np.arange(n), n_points)
    first = np.repeat(np.cumsum(n_points) - n_points, n_points)
    along = (np.arange(track.size) - first + 0.5) / n_points[track]
    angle = random.uniform(0.0, 2.0 * np.pi, n)[track]
    turns = np.where(is_worm[track], random.normal(0.0, WORM_TURN_RAD, track.size), 0.0)
    angle = angle + _sums_within(turns, first)
    step = (length / n_points)[track]
    x0, y0 = random.uniform(-0.5, nx - 0.5, n), random.uniform(-0.5, ny - 0.5, n)
    x = x0[track] + _sums_within(step * np.cos(angle), first)
    y = y0[track] + _sums_within(step * np.sin(angle), first)
    depth = np.where(is_worm[track], random.uniform(size=n)[track], along)
    x += settings.cosmic_ray_diffusion_px * np.sqrt(depth) * random.normal(size=track.size)
    y += settings.cosmic_ray_diffusion_px * np.sqrt(depth) * random.normal(size=track.size)

    deposit_e = random.gamma(STEP_SHAPE, size=track.size)
    deposit_e *= (total / np.bincount(track, deposit_e, minlength=n))[track] if n else 1.0
    knock_on = (random.uniform(size=n) < KNOCK_ON_SHARE) * random.exponential(KNOCK_ON_CHARGE, n)
    at = np.cumsum(n_points) - 1 - random.integers(0, n_points) if n else np.empty(0, dtype=int)
    deposit_e[at] += knock_on * per_depth_e
    return _sums_in_pixels(x, y, deposit_e, shape)


def _moyal(random: np.random.Generator, n: int) -> Floats:
    """Draw from Moyal's distribution: -ln of chi-square of one degree of freedom."""
    return np.asarray(-np.log(np.maximum(np.square(random.normal(size=n)), 1e-12)))


def _sums_within(values: Floats, first: NDArray[np.int64]) -> Floats:
    """Return cumulative sums that start again with each track, whose first point is given."""
    total = np.cumsum(values)
    before = np.concatenate([[0.0], total])[first]
    return np.asarray(total - before)


def _sums_in_pixels(x: Floats, y: Floats, weight: Floats, shape: tuple[int, int]) -> Floats:
    """Return the charge of points in pixels, those off the chip left out."""
    ny, nx = shape
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    place = (row * nx + column)[inside]
    return np.bincount(place, weight[inside], minlength=nx * ny).reshape(shape).astype(float)
