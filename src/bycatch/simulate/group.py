"""Several visits of one sky: other epochs, pointings, rolls, filters and depths.

The sky is that of the first visit (`make_scene`), over all that the visits see.  Between them stars
move, by their proper motions and parallaxes, and some of them vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import plane_to_sky, sky_to_plane
from bycatch.simulate.reference import gaia_like, sky_objects
from bycatch.simulate.scene import Scene, extent, make_scene, random_stream
from bycatch.simulate.throughput import photflam_photplam
from bycatch.simulate.visit import (
    SimulatedVisit,
    epoch_jyear,
    simulate_scene,
)
from bycatch.sky.gaia import parallax_shift

GOLDEN_DEG = 137.508
"""Between the directions in which visits are offset, and their pointing errors."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAS = 1.0 / 3.6e6


@dataclass(frozen=True, eq=False)
class Sky:
    """What the visits of a group look at: N objects, on the plane of the first visit.

    Attributes
    ----------
    scene : where they are at the epoch of the first visit, without parallax
    parallax_mas : (N,) float; 0 of galaxies
    variation_mag : (K, N) float; to add to the magnitudes in each of K visits
    """

    scene: Scene
    parallax_mas: Floats
    variation_mag: Floats


@dataclass(frozen=True, eq=False)
class SimulatedGroup:
    """The visits of a simulated group.

    Attributes
    ----------
    settings : of the first
    visits : each with the same objects in its truth tables, row by row
    truth : the objects (see `sky_table`)
    gaia : what Gaia knows of the stars
    """

    settings: SimulateSettings
    visits: tuple[SimulatedVisit, ...]
    truth: Table
    gaia: Table


def simulate_group(settings: SimulateSettings, sky: Sky | None = None) -> SimulatedGroup:
    """Make all visits of a sky, by default that of `make_sky`.

    Raises
    ------
    SettingsError, BycatchError
        As for `simulate_visit`.
    """
    sky = make_sky(settings) if sky is None else sky
    settings_of_visits = visits_of(settings)
    visits = [
        simulate_scene(one, scene_of_visit(sky, settings_of_visits, k))
        for k, one in enumerate(settings_of_visits)
    ]
    ra, dec = places_at(sky, settings, epoch_jyear(settings_of_visits[0]))
    random = random_stream(settings, "gaia")
    objects = sky_objects(sky.scene, ra, dec, epoch_jyear(settings_of_visits[0]), random)
    gaia = gaia_like(replace(objects, parallax=sky.parallax_mas), random)
    return SimulatedGroup(
        settings,
        tuple(replace(visit, gaia=gaia) for visit in visits),
        sky_table(settings, sky),
        gaia,
    )


def visits_of(settings: SimulateSettings) -> tuple[SimulateSettings, ...]:
    """Return the settings of each visit of a group.

    The first is that of the settings themselves, but for its filters.
    """
    error = math.hypot(settings.pointing_error_ra_arcsec, settings.pointing_error_dec_arcsec)
    first = math.degrees(
        math.atan2(settings.pointing_error_dec_arcsec, settings.pointing_error_ra_arcsec)
    )
    cosine = math.cos(math.radians(settings.dec_deg))
    visits = []
    for k in range(settings.n_epochs):
        east, north = _towards(settings.epoch_offset_arcsec * (k > 0), GOLDEN_DEG * k)
        off = _towards(error, first + GOLDEN_DEG * k)
        number = (int(settings.visit, 36) + k) % 36**2
        which = _filters_of(settings, k)
        depth = settings.epoch_depths[k % len(settings.epoch_depths)]
        visits.append(
            settings.replace(
                visit=_DIGITS[number // 36] + _DIGITS[number % 36],
                mjd_start=settings.mjd_start + k * settings.epoch_years * DAYS_PER_YEAR,
                position_angle_deg=_within(
                    settings.position_angle_deg + k * settings.epoch_roll_deg
                ),
                ra_deg=(settings.ra_deg + east / 3600.0 / cosine) % 360.0,
                dec_deg=settings.dec_deg + north / 3600.0,
                pointing_error_ra_arcsec=off[0],
                pointing_error_dec_arcsec=off[1],
                roll_error_deg=settings.roll_error_deg * (-1) ** k,
                exptime_s=settings.exptime_s * depth,
                filters=tuple(settings.filters[i] for i in which),
                n_exposures=tuple(settings.n_exposures[i] for i in which),
            )
        )
    return tuple(visits)


def make_sky(settings: SimulateSettings) -> Sky:
    """Draw the objects that the visits of a group look at."""
    settings_of_visits = visits_of(settings)
    corners = np.array([_corners(settings, one) for one in settings_of_visits])
    scene = make_scene(settings, (corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)))
    random = random_stream(settings, "epochs")
    n = len(scene.mag)
    parallax = sky_objects(scene, scene.u, scene.v, 2000.0, random).parallax
    varies = scene.is_star & (random.uniform(size=n) < settings.variable_percent / 100.0)
    variation = random.normal(size=(len(settings_of_visits), n))
    variation -= variation.mean(axis=0)
    rms = np.sqrt(np.mean(variation**2, axis=0))
    variation *= settings.variable_mag / np.where(rms > 0, rms, 1.0)
    return Sky(scene, parallax, np.where(varies, variation, 0.0))


def places_at(sky: Sky, settings: SimulateSettings, jyear: float) -> tuple[Floats, Floats]:
    """Return where the objects are seen at a time, (ra, dec) in degrees."""
    scene = sky.scene
    ra, dec = plane_to_sky(settings, scene.u, scene.v)
    years = jyear - epoch_jyear(visits_of(settings)[0])
    east, north = parallax_shift(ra, dec, jyear)
    d_ra = years * scene.pm_ra + east * sky.parallax_mas
    d_dec = years * scene.pm_dec + north * sky.parallax_mas
    return ra + d_ra * _MAS / np.cos(np.radians(dec)), dec + d_dec * _MAS


def scene_of_visit(sky: Sky, visits: tuple[SimulateSettings, ...], k: int) -> Scene:
    """Return the objects as the k-th visit sees them, on its plane."""
    scene, own = sky.scene, visits[k]
    u, v = sky_to_plane(own, *places_at(sky, visits[0], epoch_jyear(own)))
    turn = math.radians(visits[0].position_angle_deg - own.position_angle_deg)
    return replace(
        scene, u=u, v=v, angle_rad=scene.angle_rad + turn, mag=scene.mag + sky.variation_mag[k]
    )


def sky_table(settings: SimulateSettings, sky: Sky) -> Table:
    """Return the true objects of a group, the rows of all its truth tables.

    Positions are those at ``mjd`` (the first visit) without parallax, magnitudes the means.
    """
    scene, first = sky.scene, visits_of(settings)[0]
    ra, dec = plane_to_sky(settings, scene.u, scene.v)
    columns: dict[str, NDArray[np.generic]] = {
        "id": np.arange(1, len(ra) + 1),
        "ra": ra,
        "dec": dec,
        "mjd": np.full(len(ra), 51544.5 + (epoch_jyear(first) - 2000.0) * DAYS_PER_YEAR),
        "star": scene.is_star,
        "re": scene.re_arcsec,
        "pmra": scene.pm_ra,
        "pmdec": scene.pm_dec,
        "parallax": sky.parallax_mas,
        "variable": (sky.variation_mag != 0).any(axis=0),
    }
    for name in settings.filters:
        columns[f"mag_{name}"] = scene.mag_at(photflam_photplam(name)[1])
    table = Table(columns)
    units = {"ra": "deg", "dec": "deg", "mjd": "d", "re": "arcsec", "pmra": "mas / yr"}
    units |= {"pmdec": "mas / yr", "parallax": "mas"}
    for name in table.colnames:
        unit = units.get(name, "mag" if name.startswith("mag_") else None)
        if unit:
            table[name].unit = unit
    return table


def _corners(first: SimulateSettings, own: SimulateSettings) -> Floats:
    """Return the lower left and upper right corner of a visit on the plane of the first."""
    low, high = extent(own)
    u, v = (
        np.array(w)
        for w in zip(*[(a, b) for a in (low[0], high[0]) for b in (low[1], high[1])], strict=True)
    )
    on = np.column_stack(sky_to_plane(first, *plane_to_sky(own, u, v)))
    return np.stack([on.min(axis=0), on.max(axis=0)])


def _filters_of(settings: SimulateSettings, k: int) -> list[int]:
    """Return which of the filters the k-th visit has."""
    n, most = settings.epoch_n_filters, len(settings.filters)
    return [*range(most)] if n == 0 else sorted({(k * n + i) % most for i in range(n)})


def _towards(size: float, angle_deg: float) -> tuple[float, float]:
    angle = math.radians(angle_deg)
    return size * math.cos(angle), size * math.sin(angle)


def _within(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0
