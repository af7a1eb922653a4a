"""What is on the sky: stars, galaxies, their colours and motions."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import detector_of, dithers_arcsec, outline

REFERENCE_WAVELENGTH = 6300.0
"""Wavelength of the scene's magnitudes, angstrom."""
SERSIC_INDICES = (1.0, 1.5, 2.0, 3.0, 4.0)
MARGIN_ARCSEC = 3.0
STAR_SLOPE, GALAXY_SLOPE = 0.08, 0.28
"""d log10 N / d mag of the luminosity functions."""
# Purposes of the random numbers: each is a stream of its own.
STREAMS = ("stars", "galaxies", "gaia", "exposure", "cosmic rays", "defects")


def random_stream(
    settings: SimulateSettings, purpose: str, image: int = 0, exposure: int = 0
) -> np.random.Generator:
    """Return the random numbers of one purpose; the order of work can't change them."""
    field = zlib.crc32(f"{settings.program}_{settings.visit}".encode())
    return np.random.default_rng([settings.seed, field, STREAMS.index(purpose), image, exposure])


@dataclass(frozen=True, eq=False)
class Scene:
    """All objects, (N,) each; positions are those at the epoch of the visit.

    Attributes
    ----------
    u, v : tangent plane along the detector's axes, arcsec
    mag : AB magnitude at `REFERENCE_WAVELENGTH`
    colour : d mag / d ln(wavelength), negated: larger is redder
    is_star : bool
    re_arcsec, axis_ratio, angle_rad, sersic_index : shapes of the galaxies, 0 for stars
    pm_ra, pm_dec : proper motion, mas/yr (in RA times cos Dec)
    """

    u: Floats
    v: Floats
    mag: Floats
    colour: Floats
    is_star: Bools
    re_arcsec: Floats
    axis_ratio: Floats
    angle_rad: Floats
    sersic_index: Floats
    pm_ra: Floats
    pm_dec: Floats

    def mag_at(self, wavelength: float) -> Floats:
        """Return AB magnitudes at a wavelength (angstrom)."""
        return np.asarray(self.mag + self.colour * np.log(REFERENCE_WAVELENGTH / wavelength))


def make_scene(settings: SimulateSettings) -> Scene:
    """Draw the objects of a visit: uniform positions, rising luminosity functions."""
    low, high = extent(settings)
    area_arcmin2 = float(np.prod(high - low)) / 3600.0
    stars = random_stream(settings, "stars")
    galaxies = random_stream(settings, "galaxies")
    n_star = int(stars.poisson(settings.stars_per_arcmin2 * area_arcmin2))
    n_galaxy = int(galaxies.poisson(settings.galaxies_per_arcmin2 * area_arcmin2))
    star_mag = _magnitudes(stars, n_star, settings.mag_bright, settings.mag_faint, STAR_SLOPE)
    galaxy_mag = _magnitudes(
        galaxies, n_galaxy, settings.galaxy_bright_mag, settings.galaxy_faint_mag, GALAXY_SLOPE
    )
    place = np.vstack(
        [stars.uniform(low, high, (n_star, 2)), galaxies.uniform(low, high, (n_galaxy, 2))]
    )
    nothing = np.zeros(n_star)
    size = 0.35 * 10 ** (-0.06 * (galaxy_mag - 22.0)) * galaxies.lognormal(0.0, 0.35, n_galaxy)
    scene = Scene(
        u=place[:, 0],
        v=place[:, 1],
        mag=np.concatenate([star_mag, galaxy_mag]),
        colour=np.concatenate(
            [stars.uniform(0.0, 3.5, n_star), galaxies.uniform(0.0, 2.5, n_galaxy)]
        ),
        is_star=np.arange(n_star + n_galaxy) < n_star,
        re_arcsec=np.concatenate([nothing, np.clip(size, 0.1, 0.8)]),
        axis_ratio=np.concatenate([nothing + 1.0, galaxies.uniform(0.25, 1.0, n_galaxy)]),
        angle_rad=np.concatenate([nothing, galaxies.uniform(0.0, np.pi, n_galaxy)]),
        sersic_index=np.concatenate([nothing, galaxies.choice(SERSIC_INDICES, n_galaxy)]),
        pm_ra=np.concatenate(
            [stars.normal(0.0, settings.motion_mas_yr, n_star), np.zeros(n_galaxy)]
        ),
        pm_dec=np.concatenate(
            [stars.normal(0.0, settings.motion_mas_yr, n_star), np.zeros(n_galaxy)]
        ),
    )
    return take(scene, _separated(scene, settings.min_separation_arcsec))


def take(scene: Scene, which: NDArray[np.bool_] | NDArray[np.intp]) -> Scene:
    """Return some of the objects of a scene."""
    return Scene(**{name: values[which] for name, values in vars(scene).items()})


def extent(settings: SimulateSettings) -> tuple[Floats, Floats]:
    """Return the lower left and upper right corner of all exposures and a margin, (u, v)."""
    u, v = outline(detector_of(settings))
    shifts = np.vstack([dithers_arcsec(settings, n) for n in settings.n_exposures])
    low = np.array([u.min(), v.min()]) + shifts.min(axis=0) - MARGIN_ARCSEC
    high = np.array([u.max(), v.max()]) + shifts.max(axis=0) + MARGIN_ARCSEC
    return low, high


def _magnitudes(
    random: np.random.Generator, n: int, bright: float, faint: float, slope: float
) -> Floats:
    """Draw magnitudes whose log-number rises by ``slope`` per magnitude."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.log10(random.uniform(low, high, n)) / slope


def _separated(scene: Scene, least_arcsec: float) -> Bools:
    """Tell which objects to keep so that none is nearer to another than ``least_arcsec``."""
    from scipy.spatial import cKDTree

    keep = np.ones(scene.u.size, dtype=bool)
    if least_arcsec <= 0 or scene.u.size == 0:
        return keep
    pairs = cKDTree(np.column_stack([scene.u, scene.v])).query_pairs(least_arcsec)
    for first, second in sorted(pairs):
        if keep[first]:
            keep[second] = False
    return keep
