"""A simulated visit: one scene, several exposures per filter, drizzled as the archive does it."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Image
from bycatch.errors import BycatchError, SettingsError
from bycatch.settings import SimulateSettings
from bycatch.simulate.detector import (
    ChipDefects,
    chip_defects,
    cosmic_rays,
    noise_e,
    observed_electrons,
    rejectable,
)
from bycatch.simulate.geometry import (
    NATIVE_SCALE_ARCSEC,
    Chip,
    Detector,
    Grid,
    detector_of,
    dithers_arcsec,
    header_wcs,
    output_grid,
    true_wcs,
)
from bycatch.simulate.psf import psf
from bycatch.simulate.reference import gaia_like, sky_objects
from bycatch.simulate.render import Aim, aim, electrons
from bycatch.simulate.scene import Scene, make_scene, random_stream

CR_TRUTH_SIGMA = 0.5
"""A pixel counts as hit where the surviving charge exceeds this share of the local noise."""
DRIZZLED_NOISE = 0.7
"""Noise of a drizzled pixel compared with that of a detector pixel (pixfrac 1, same scale)."""


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
    _drizzle_class()
    for name in settings.filters:
        photflam_photplam(name)
        sky_rate(name, settings)
    images = tuple(
        _simulated_image(settings, scene, index) for index in range(len(settings.filters))
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
    grid = output_grid(settings, 1)
    ra, dec = true_wcs(settings, grid).all_pix2world(*grid.from_plane(scene.u, scene.v), 0)
    return np.asarray(ra), np.asarray(dec)


def photflam_photplam(filter_name: str) -> tuple[float, float]:
    """Return PHOTFLAM and PHOTPLAM of a WFC filter.

    Raises
    ------
    SettingsError
        The bundled table does not hold the filter.
    """
    zeropoint = photcal.bundled_zeropoint("WFC", filter_name)
    if zeropoint is None:
        raise SettingsError(f"simulate.filters: no zero point for {filter_name}")
    return zeropoint.photflam, zeropoint.photplam


def sky_rate(filter_name: str, settings: SimulateSettings) -> float:
    """Return the brightness of the sky, e/s per nominal pixel.

    Raises
    ------
    SettingsError
        The bundled table does not hold the filter.
    """
    rates = _sky_rates()
    if filter_name not in rates:
        raise SettingsError(
            f"simulate.filters: no sky brightness for {filter_name}",
            hint=f"the table holds {', '.join(rates)}",
        )
    return rates[filter_name] * settings.sky_percent / 100.0


@functools.cache
def _sky_rates() -> dict[str, float]:
    text = (resources.files("bycatch") / "data" / "sky_rate_wfc.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["filter"]: float(row["rate"]) for row in rows}


def true_rates(scene: Scene, filter_name: str) -> tuple[Floats, Floats]:
    """Return the objects' AB magnitudes and total count rates (e/s) in a filter."""
    flam, plam = photflam_photplam(filter_name)
    mag = scene.mag_at(plam)
    return mag, 10 ** (-0.4 * (mag - photcal.ab_zeropoint(flam, plam)))


@dataclass(frozen=True, eq=False)
class _ChipExposure:
    """One chip of one exposure, calibrated: electrons per nominal pixel."""

    chip: Chip
    exposure: int
    shift: tuple[float, float]
    data_e: Floats
    good: Bools
    model_e: Floats
    charge_share: Floats
    """Surviving cosmic-ray charge in units of the noise."""
    defects: Bools
    """Hot pixels and dead columns that were not masked."""


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


def _simulated_image(settings: SimulateSettings, scene: Scene, index: int) -> SimulatedImage:
    name, n = settings.filters[index], settings.n_exposures[index]
    mag, rates = true_rates(scene, name)
    grid = output_grid(settings, n)
    setup = _Setup(
        settings,
        detector_of(settings),
        scene,
        rates,
        name,
        index,
        dithers_arcsec(settings, n),
        sky_rate(name, settings),
        grid,
    )
    planes = _Planes(grid.shape, n)
    saturated = np.zeros(rates.size, dtype=bool)
    for exposure in range(n):
        where = aim(
            scene, setup.detector, setup.shifts[exposure], settings.psf_variation_percent / 100.0
        )
        for chip in setup.detector.chips:
            exposed, peak = _exposed(setup, exposure, chip, where)
            saturated |= peak > settings.full_well_e
            planes.add(setup, exposed)
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
        truth=truth_table(settings, scene, grid, mag, rates, saturated),
        grid=grid,
        wcs_true=true_wcs(settings, grid),
        wcs_header=header_wcs(settings, grid),
    )


def truth_table(
    settings: SimulateSettings,
    scene: Scene,
    grid: Grid,
    mag: Floats,
    rates: Floats,
    saturated: Bools,
) -> Table:
    """Return the true objects of an image; positions are at its epoch, in the Gaia frame."""
    x, y = grid.from_plane(scene.u, scene.v)
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
            "saturated": saturated,
        }
    )
    units = {"x": "pix", "y": "pix", "ra": "deg", "dec": "deg"}
    units |= {"rate": "electron / s", "mag": "mag", "re": "arcsec"}
    for name, unit in units.items():
        table[name].unit = unit
    return table


def _exposed(setup: _Setup, exposure: int, chip: Chip, where: Aim) -> tuple[_ChipExposure, Floats]:
    """Expose one chip; also return the objects' peaks (electrons, sky included)."""
    settings, time = setup.settings, setup.settings.exptime_s
    mixture = _psf_of(setup)
    objects, peak = electrons(setup.scene, setup.rates * time, where, chip, mixture)
    area = _area(setup.detector, chip)
    light = objects + setup.sky * time * area
    stream = 10 * setup.index + chip.number
    rays = cosmic_rays(
        light.shape,
        time,
        settings.cosmic_ray_share,
        random_stream(settings, "cosmic rays", stream, exposure),
        median_e=settings.cosmic_ray_charge_e,
        least_e=settings.cosmic_ray_least_e,
    )
    defects = _defects(settings, chip)
    observed = observed_electrons(
        light, rays, defects, settings, random_stream(settings, "exposure", stream, exposure)
    )
    n_exposures = len(setup.shifts)
    rejected = _rejected(setup, exposure, chip, rays, light)
    # Single exposures keep everything, as those of the archive do; else the defects are masked.
    good = ~rejected & ~defects.bad if n_exposures > 1 else np.ones(light.shape, dtype=bool)
    # Flat-fielding makes the sky uniform, which undoes the pixels' areas.
    sky = setup.sky * time if n_exposures > 1 else 0.0
    return _ChipExposure(
        chip,
        exposure,
        setup.shifts[exposure],
        observed / area - sky,
        good,
        objects / area,
        np.where(good, rays, 0.0) / noise_e(light, settings),
        good & defects.bad,
    ), np.where(peak > 0, peak + setup.sky * time, 0.0)


def _psf_of(setup: _Setup) -> Any:
    settings = setup.settings
    return psf(
        setup.filter,
        settings.pixfrac,
        settings.scale_arcsec / NATIVE_SCALE_ARCSEC,
        settings.spike_percent / 100.0,
    )


def _defects(settings: SimulateSettings, chip: Chip) -> ChipDefects:
    return chip_defects(settings, chip, random_stream(settings, "defects", chip.number))


def _pixels(chip: Chip) -> tuple[Floats, Floats]:
    """Return detector positions (x, y) of a chip's pixels, (rows, columns) each."""
    y, x = np.mgrid[: chip.rows, : chip.columns].astype(float)
    return x, y + chip.first_row


def _area(detector: Detector, chip: Chip) -> Floats:
    return detector.area(*_pixels(chip))


def _rejected(setup: _Setup, exposure: int, chip: Chip, rays: Floats, light: Floats) -> Bools:
    """Return the hit pixels that are masked: found, and seen by another exposure, too."""
    rejected = np.zeros(light.shape, dtype=bool)
    if len(setup.shifts) == 1:
        return rejected
    rows, columns = np.nonzero(rejectable(rays, light, setup.settings))
    u, v = setup.detector.to_plane(columns.astype(float), rows.astype(float) + chip.first_row)
    mine = setup.shifts[exposure]
    covered = np.zeros(rows.size, dtype=bool)
    for other, shift in enumerate(setup.shifts):
        if other != exposure:
            place = setup.detector.from_plane(u + mine[0] - shift[0], v + mine[1] - shift[1])
            covered |= setup.detector.on_chip(*place)
    rejected[rows[covered], columns[covered]] = True
    return rejected


class _Planes:
    """The drizzled planes of one image: data, noiseless objects, cosmic rays."""

    def __init__(self, shape: tuple[int, int], n_exposures: int) -> None:
        drizzle = _drizzle_class()
        self.data = drizzle(kernel="square", out_shape=shape, max_ctx_id=2 * n_exposures - 1)
        self.model = drizzle(kernel="square", out_shape=shape, disable_ctx=True)
        self.rays = drizzle(kernel="square", out_shape=shape, disable_ctx=True)
        self.flaws = drizzle(kernel="square", out_shape=shape, disable_ctx=True)

    def add(self, setup: _Setup, exposed: _ChipExposure) -> None:
        """Drizzle one chip; the values become electrons per second and output pixel."""
        settings = setup.settings
        ratio = settings.scale_arcsec / NATIVE_SCALE_ARCSEC
        u, v = setup.detector.to_plane(*_pixels(exposed.chip))
        pixmap = np.dstack(setup.grid.from_plane(u + exposed.shift[0], v + exposed.shift[1]))
        weight = exposed.good.astype(np.float32)
        drizzled: list[tuple[Any, Floats]] = [
            (self.data, exposed.data_e),
            (self.model, exposed.model_e),
            (self.rays, exposed.charge_share * settings.exptime_s),
        ]
        if exposed.defects.any():
            drizzled.append((self.flaws, exposed.defects.astype(float) * settings.exptime_s))
        for plane, values in drizzled:
            plane.add_image(
                (values / settings.exptime_s).astype(np.float32),
                exptime=settings.exptime_s,
                pixmap=pixmap,
                weight_map=weight,
                wht_scale=settings.exptime_s,
                iscale=ratio**2,
                pixel_scale_ratio=ratio,
                pixfrac=settings.pixfrac,
                in_units="cps",
            )

    def results(
        self, settings: SimulateSettings
    ) -> tuple[Image, Image, NDArray[np.int32], Image, Bools]:
        """Return SCI, WHT, CTX, the noiseless objects, and the map of cosmic rays."""
        wht = np.asarray(self.data.out_wht)
        covered = wht > 0
        ctx = np.asarray(self.data.out_ctx)
        sci = np.where(covered, self.data.out_img, np.float32(np.nan)).astype(np.float32)
        model = np.where(covered, self.model.out_img, 0).astype(np.float32)
        # The mean over n exposures of (charge / noise) is that of one diluted n times, against
        # noise that falls with the root of n.
        ratio = settings.scale_arcsec / NATIVE_SCALE_ARCSEC
        depth = np.sqrt(np.maximum(wht / (settings.exptime_s * ratio**2), 0.0))
        rays = np.where(covered, self.rays.out_img, 0) / ratio**2 * depth
        return (
            sci,
            wht,
            ctx[0] if len(ctx) == 1 else ctx,
            model,
            rays > (CR_TRUTH_SIGMA * DRIZZLED_NOISE),
        )

    def defects(self) -> Bools:
        """Return where a pixel holds some of a hot pixel or a dead column."""
        return np.asarray(np.nan_to_num(self.flaws.out_img) > 0)


def _drizzle_class() -> Any:
    try:
        from drizzle.resample import Drizzle
    except ImportError as err:
        raise BycatchError(
            "the package drizzle is not installed", hint="pip install 'bycatch[simulate]'"
        ) from err
    return Drizzle
