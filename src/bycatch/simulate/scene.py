"""What is on the sky: stars, galaxies, their colours and motions."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import detector_of, dithers_arcsec, outline

REFERENCE_WAVELENGTH = 6300.0
"""Wavelength of the scene's magnitudes, angstrom."""
SERSIC_INDICES = (1.0, 1.5, 2.0, 3.0, 4.0)
MARGIN_ARCSEC = 3.0
STAR_SLOPE, GALAXY_SLOPE = 0.08, 0.28
"""d log10 N / d mag of the luminosity functions."""
# Purposes of the random numbers: each is a stream of its own.
STREAMS = ("stars", "galaxies", "gaia", "exposure", "cosmic rays", "defects", "large galaxies",
           "knots", "nebula", "trails", "focus", "rejection", "epochs")  # fmt: skip
LARGE_MAG_SCATTER, LARGE_COLOUR = 0.5, 1.2
KNOTS_PER_GALAXY = 12
KNOT_COLOUR = 0.3
"""Knots are young and blue."""


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


def make_scene(settings: SimulateSettings, corners: tuple[Floats, Floats] | None = None) -> Scene:
    """Draw the objects of a visit: uniform positions, rising luminosity functions.

    They lie between two corners (u, v); by default those of the visit's own `extent`.
    """
    low, high = extent(settings) if corners is None else corners
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
        re_arcsec=np.concatenate([nothing, np.clip(size, 0.1, settings.galaxy_largest_arcsec)]),
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
    small = take(scene, _are_separated(scene, settings.min_separation_arcsec))
    return join_scenes(small, _large_galaxies(settings, low, high))


def _large_galaxies(settings: SimulateSettings, low: Floats, high: Floats) -> Scene:
    """Draw galaxies that fill much of a frame."""
    random, n = random_stream(settings, "large galaxies"), settings.n_large_galaxies
    middle, half = 0.5 * (low + high), 0.35 * (high - low)
    place = random.uniform(middle - half, middle + half, (n, 2))
    nothing = np.zeros(n)
    return Scene(
        u=place[:, 0],
        v=place[:, 1],
        mag=settings.large_galaxy_mag + LARGE_MAG_SCATTER * random.normal(size=n),
        colour=nothing + LARGE_COLOUR,
        is_star=np.zeros(n, dtype=bool),
        re_arcsec=settings.large_galaxy_re_arcsec * random.uniform(0.7, 1.3, n),
        axis_ratio=random.uniform(0.35, 0.95, n),
        angle_rad=random.uniform(0.0, np.pi, n),
        sersic_index=random.choice((1.0, 2.0, 4.0), n),
        pm_ra=nothing,
        pm_dec=nothing,
    )


def with_knots(settings: SimulateSettings, scene: Scene) -> tuple[Scene, Floats, Ints]:
    """Return the scene with star-like knots in its galaxies, shares of light, and whose it is.

    A galaxy gives ``simulate.galaxy_knot_percent`` of its light (at the scene's wavelength) to
    `KNOTS_PER_GALAXY` knots within about its half-light radius.  Knots come after the objects;
    their light is their galaxy's, which is bluer by it.
    """
    own = np.arange(scene.u.size)
    share = settings.galaxy_knot_percent / 100.0
    galaxies = np.flatnonzero(~scene.is_star)
    if share == 0 or not galaxies.size:
        return scene, np.ones(scene.u.size), own
    random = random_stream(settings, "knots")
    host = np.repeat(galaxies, KNOTS_PER_GALAXY)
    n = host.size
    parts = random.exponential(size=(galaxies.size, KNOTS_PER_GALAXY))
    parts /= parts.sum(axis=1, keepdims=True)
    radius, angle = np.sqrt(random.uniform(size=n)), random.uniform(0.0, 2.0 * np.pi, n)
    root = np.sqrt(scene.axis_ratio[host])
    along = 1.2 * scene.re_arcsec[host] * radius * np.cos(angle) / root
    across = 1.2 * scene.re_arcsec[host] * radius * np.sin(angle) * root
    cos, sin = np.cos(scene.angle_rad[host]), np.sin(scene.angle_rad[host])
    knots = take(scene, host)
    knots = replace(
        knots,
        u=knots.u + cos * along - sin * across,
        v=knots.v + sin * along + cos * across,
        colour=np.full(n, KNOT_COLOUR),
        is_star=np.ones(n, dtype=bool),
        re_arcsec=np.zeros(n),
        mag=knots.mag - 2.5 * np.log10(share * parts.ravel()),
    )
    shares = np.concatenate([np.where(scene.is_star, 1.0, 1.0 - share), np.ones(n)])
    return join_scenes(scene, knots), shares, np.concatenate([own, host])


def join_scenes(first: Scene, second: Scene) -> Scene:
    """Return the objects of two scenes."""
    return Scene(
        **{name: np.concatenate([v, getattr(second, name)]) for name, v in vars(first).items()}
    )


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


def _are_separated(scene: Scene, least_arcsec: float) -> Bools:
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
