"""A simulated visit: one scene, several exposures per filter, drizzled as the archive does it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.errors import SettingsError
from bycatch.settings import SimulateSettings
from bycatch.simulate.detector import (
    ChipDefects,
    chip_defects,
    noise_e,
    observed_electrons,
    rejectable,
)
from bycatch.simulate.diffuse import ghosts, nebula, trails
from bycatch.simulate.exposures import RawChip, raw_chip
from bycatch.simulate.geometry import (
    NATIVE_SCALE_ARCSEC,
    Chip,
    Detector,
    Grid,
    detector_of,
    displace,
    dithers_arcsec,
    header_wcs,
    output_grid,
    plane_to_sky,
    true_wcs,
)
from bycatch.simulate.optics import AberratedPsf, Optics
from bycatch.simulate.planes import ChipExposure, Planes, drizzle_class
from bycatch.simulate.psf import Mixture, Psf, compact_psf, psf
from bycatch.simulate.reference import gaia_like, sky_objects
from bycatch.simulate.render import Aim, aim, electrons
from bycatch.simulate.scene import Scene, make_scene, random_stream, with_knots
from bycatch.simulate.throughput import PHOTBW, photflam_photplam, sky_rate, true_rates
from bycatch.simulate.tracks import charge_e


@dataclass(frozen=True, eq=False)
class SimulatedImage:
    """One drizzled image and its truth.  Arrays are (ny, nx).

    Attributes
    ----------
    root : such as ``jsim01010``
    filter : filter name
    n_exposures : number of exposures
    mjd_start : start of the first exposure, days
    subtracted_sky_e : sky that was subtracted from each exposure, electrons per pixel
    sci : float32, electrons per second; NaN where there are no data
    wht : float32, seconds
    ctx : int32, one bit per chip; (n, ny, nx) with more than 32 chips
    model : float32, the objects without noise, sky and saturation, electrons per second
    cosmic_rays : bool, where a cosmic ray has survived
    defects : bool, where hot pixels and dead columns are: in single exposures, which keep them
    truth : the objects (see `truth_table`)
    grid : the output grid
    wcs_true, wcs_header : the right WCS, and the one with the pointing error
    exposures : the chips of each exposure, with ``simulate.write_exposures``
    """

    root: str
    filter: str
    n_exposures: int
    mjd_start: float
    subtracted_sky_e: float
    sci: Image
    wht: Image
    ctx: NDArray[np.int32]
    model: Image
    cosmic_rays: Bools
    defects: Bools
    truth: Table
    grid: Grid
    wcs_true: WCS
    wcs_header: WCS
    exposures: tuple[tuple[RawChip, ...], ...] = ()

    @property
    def name(self) -> str:
        """Name of the product, ``jsim01010_drc``."""
        return f"{self.root}_drc"


@dataclass(frozen=True, eq=False)
class SimulatedVisit:
    """All images of a simulated visit, and what Gaia knows of its stars."""

    settings: SimulateSettings
    scene: Scene
    images: tuple[SimulatedImage, ...]
    gaia: Table


def simulate_visit(settings: SimulateSettings) -> SimulatedVisit:
    """Make a visit with truth; the same settings give the same pixels.

    Raises
    ------
    SettingsError
        A filter without zero point or sky brightness, or not one n_exposures per filter.
    BycatchError
        The optional package drizzle is not installed.
    """
    return simulate_scene(settings, make_scene(settings))


def simulate_scene(settings: SimulateSettings, scene: Scene) -> SimulatedVisit:
    """Make a visit of given objects (see `simulate_visit`)."""
    if len(settings.filters) != len(settings.n_exposures):
        raise SettingsError(
            f"simulate: {len(settings.filters)} filters but {len(settings.n_exposures)} values of "
            "n_exposures",
            hint="give one number of exposures per filter",
        )
    drizzle_class()
    for name in settings.filters:
        photflam_photplam(name)
        sky_rate(name, settings)
    images = tuple(
        _simulate_image(settings, scene, index) for index in range(len(settings.filters))
    )
    # The visit's stars do not move from image to image: one epoch for all.
    ra, dec = sky_positions(settings, scene)
    random = random_stream(settings, "gaia")
    objects = sky_objects(scene, ra, dec, epoch_jyear(settings), random)
    return SimulatedVisit(settings, scene, images, gaia_like(objects, random))


def epoch_jyear(settings: SimulateSettings) -> float:
    """Return the middle of the visit as a Julian year."""
    days = sum(settings.n_exposures) * settings.exptime_s / 86400.0
    return 2000.0 + (settings.mjd_start + 0.5 * days - 51544.5) / 365.25


def sky_positions(settings: SimulateSettings, scene: Scene) -> tuple[Floats, Floats]:
    """Return the true (ra, dec) of the objects at the epoch of the visit, degrees."""
    return plane_to_sky(settings, scene.u, scene.v)


@dataclass(frozen=True, eq=False)
class _Setup:
    """What all chips of one image share."""

    settings: SimulateSettings
    detector: Detector
    scene: Scene
    rates: Floats
    filter: str
    index: int
    shifts: list[tuple[float, float]]
    sky: float
    grid: Grid


def _simulate_image(settings: SimulateSettings, scene: Scene, index: int) -> SimulatedImage:
    name, n = settings.filters[index], settings.n_exposures[index]
    grid = output_grid(settings, n)
    scene_with_knots, shares, whose = with_knots(settings, scene)
    shown_rates = true_rates(scene_with_knots, name)[1] * shares
    mag, smooth_rates = true_rates(scene, name)
    rates = np.bincount(whose, shown_rates, mag.size).astype(float)
    mag = mag - 2.5 * np.log10(rates / smooth_rates)
    setup = _Setup(
        settings,
        detector_of(settings),
        _displaced_scene(settings, scene_with_knots),
        shown_rates,
        name,
        index,
        dithers_arcsec(settings, n),
        sky_rate(name, settings),
        grid,
    )
    planes = Planes(grid.shape, n)
    is_saturated = np.zeros(rates.size, dtype=bool)
    breathing = random_stream(settings, "focus", index).normal(0.0, settings.breathing_waves, n)
    raw_chips: list[tuple[RawChip, ...]] = []
    for exposure in range(n):
        chips = []
        where = aim(
            setup.scene,
            setup.detector,
            setup.shifts[exposure],
            settings.psf_variation_percent / 100.0,
            (settings.focus_waves + float(breathing[exposure]), settings.focus_field_waves),
        )
        for chip in setup.detector.chips:
            exposure_of_chip, peak, raw = _expose(setup, exposure, chip, where)
            is_saturated |= peak[: rates.size] > settings.full_well_e
            planes.add(settings, setup.detector, grid, exposure_of_chip)
            chips.append(raw)
        raw_chips += [tuple(chips)] if settings.write_exposures else []
    start = settings.mjd_start + sum(settings.n_exposures[:index]) * settings.exptime_s / 86400.0
    sci, wht, ctx, model, rays = planes.results(settings)
    defects = planes.defects()
    return SimulatedImage(
        root=f"j{settings.program}{settings.visit}{index + 1:02d}0",
        filter=name,
        n_exposures=n,
        mjd_start=start,
        # AstroDrizzle leaves the sky in single exposures.
        subtracted_sky_e=setup.sky * settings.exptime_s if n > 1 else 0.0,
        sci=sci,
        wht=wht,
        ctx=ctx,
        model=model,
        cosmic_rays=rays,
        defects=defects,
        truth=truth_table(settings, scene, grid, mag, rates, is_saturated),
        grid=grid,
        wcs_true=true_wcs(settings, grid),
        wcs_header=header_wcs(settings, grid),
        exposures=tuple(raw_chips),
    )


def _displaced_scene(settings: SimulateSettings, scene: Scene) -> Scene:
    """Return the scene with the distortion that no WCS knows."""
    u, v = displace(settings, scene.u, scene.v)
    return replace(scene, u=u, v=v)


def truth_table(
    settings: SimulateSettings,
    scene: Scene,
    grid: Grid,
    mag: Floats,
    rates: Floats,
    is_saturated: Bools,
) -> Table:
    """Return the true objects of an image; positions are at its epoch, in the Gaia frame.

    A residual distortion moves x and y, and not ra and dec.
    """
    x, y = grid.from_plane(*displace(settings, scene.u, scene.v))
    ra, dec = sky_positions(settings, scene)
    table = Table(
        {
            "x": x,
            "y": y,
            "ra": ra,
            "dec": dec,
            "rate": rates,
            "mag": mag,
            "star": scene.is_star,
            "re": scene.re_arcsec,
            "saturated": is_saturated,
        }
    )
    units = {"x": "pix", "y": "pix", "ra": "deg", "dec": "deg"}
    units |= {"rate": "electron / s", "mag": "mag", "re": "arcsec"}
    for name, unit in units.items():
        table[name].unit = unit
    return table


def _expose(
    setup: _Setup, exposure: int, chip: Chip, where: Aim
) -> tuple[ChipExposure, Floats, RawChip]:
    """Expose one chip; also return the objects' peaks (electrons, sky included), and its file."""
    settings, time = setup.settings, setup.settings.exptime_s
    totals = setup.rates * time
    stars, galaxies = _psfs_of(setup)
    objects, peak = electrons(setup.scene, totals, where, chip, stars, galaxies)
    area = _area(setup.detector, chip)
    light = objects + setup.sky * time * area + _diffuse(setup, exposure, chip, where, totals)
    stream = 10 * setup.index + chip.number
    rays = charge_e(light.shape, settings, random_stream(settings, "cosmic rays", stream, exposure))
    trail = _trails(setup, exposure, chip)
    defects = _defects(settings, chip)
    electrons_read = observed_electrons(
        light + trail,
        rays,
        defects,
        chip,
        settings,
        random_stream(settings, "exposure", stream, exposure),
    )
    n_exposures = len(setup.shifts)
    is_rejected = _are_rejected(setup, exposure, chip, rays + trail, light)
    # Single exposures keep everything, as those of the archive do; else the defects are masked.
    good = ~is_rejected & ~defects.bad if n_exposures > 1 else np.ones(light.shape, dtype=bool)
    # Flat-fielding makes the sky uniform, which undoes the pixels' areas.
    sky = setup.sky * time if n_exposures > 1 else 0.0
    exposure_of_chip = ChipExposure(
        chip,
        exposure,
        setup.shifts[exposure],
        electrons_read / area - sky,
        good,
        objects / area,
        np.where(good, rays, 0.0) / noise_e(light, settings),
        good & defects.bad,
    )
    raw = raw_chip(
        settings, chip, setup.shifts[exposure], electrons_read, area, defects, is_rejected
    )
    return exposure_of_chip, np.where(peak > 0, peak + setup.sky * time, 0.0), raw


def _diffuse(
    setup: _Setup, exposure: int, chip: Chip, where: Aim, totals_e: Floats
) -> Floats | float:
    """Return the light of nebulosity and ghosts, electrons."""
    settings = setup.settings
    light: Floats | float = 0.0
    if settings.nebula_percent > 0:
        u, v = setup.detector.to_plane(*chip.pixels())
        du, dv = setup.shifts[exposure]
        clouds = nebula(settings, setup.detector, u + du, v + dv, setup.index)
        mean = setup.sky * settings.exptime_s * settings.nebula_percent / 100.0
        light = light + mean * clouds * _area(setup.detector, chip)
    if settings.ghost_percent > 0:
        light = light + ghosts(
            totals_e, where, chip, setup.detector, settings.ghost_percent / 100.0
        )
    return light


def _trails(setup: _Setup, exposure: int, chip: Chip) -> Floats | float:
    if exposure > 0 or setup.settings.n_trails == 0:
        return 0.0
    return trails(setup.settings, chip, setup.detector, setup.index)


def _psfs_of(setup: _Setup) -> tuple[Psf, Mixture]:
    """Return the PSF of the stars, and that of the galaxies."""
    settings = setup.settings
    star_mixture = psf(
        setup.filter,
        settings.pixfrac,
        settings.scale_arcsec / NATIVE_SCALE_ARCSEC,
        settings.spike_percent / 100.0,
    )
    stars: Psf = star_mixture
    if settings.psf == "optics":
        stars = AberratedPsf(optics_of(settings, setup.filter))
    return stars, compact_psf(star_mixture)


def optics_of(settings: SimulateSettings, filter_name: str) -> Optics:
    """Return the optics of a filter."""
    _, plam = photflam_photplam(filter_name)
    # A box of the same rms width.
    width = PHOTBW.get(filter_name, 400.0) * np.sqrt(12.0)
    return Optics(
        filter_name,
        round(float(width / plam), 4),
        settings.astigmatism_waves,
        settings.coma_waves,
        settings.diffusion_percent / 100.0,
    )


def _defects(settings: SimulateSettings, chip: Chip) -> ChipDefects:
    return chip_defects(settings, chip, random_stream(settings, "defects", chip.number))


def _area(detector: Detector, chip: Chip) -> Floats:
    return detector.area(*chip.pixels())


def _are_rejected(setup: _Setup, exposure: int, chip: Chip, rays: Floats, light: Floats) -> Bools:
    """Return the hit pixels that are masked: found, and seen by another exposure, too."""
    is_rejected = np.zeros(light.shape, dtype=bool)
    if len(setup.shifts) == 1:
        return is_rejected
    random = random_stream(setup.settings, "rejection", 10 * setup.index + chip.number, exposure)
    rows, columns = np.nonzero(rejectable(rays, light, setup.settings, random))
    u, v = setup.detector.to_plane(columns.astype(float), rows.astype(float) + chip.first_row)
    mine = setup.shifts[exposure]
    is_on_other = np.zeros(rows.size, dtype=bool)
    for other, shift in enumerate(setup.shifts):
        if other != exposure:
            place = setup.detector.from_plane(u + mine[0] - shift[0], v + mine[1] - shift[1])
            is_on_other |= setup.detector.on_chip(*place)
    is_rejected[rows[is_on_other], columns[is_on_other]] = True
    return is_rejected
