"""What a chip makes of the light: cosmic rays, saturation, noise, defects, and what is masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import Chip

# Cosmic rays of ACS (ACS ISR 2002-07): events of 4-5 pixels and about 1000 electrons, none below
# 500, and a tail of long tracks.
CR_MEDIAN_E, CR_SCATTER_DEX, CR_LEAST_E = 1000.0, 0.30, 500.0  # the first and last by default
CR_PIXELS_PER_EVENT = 4.6
CR_MEAN_LENGTH_PX, CR_LONG_SHARE, CR_LONG_LENGTH_PX = 1.9, 0.06, 12.0
CR_SPREAD_PX = 0.12
CR_E_PER_LENGTH = 90.0
_STEPS_PER_PX = 6
# Rejection as in driz_cr (STScI drizzlepac: driz_cr_snr '3.5 3.0', driz_cr_scale '1.2 0.7'): a
# first pass, and a second, deeper one beside what the first has found.
REJECT_SIGMA, REJECT_SLOPE = (3.5, 3.0), (1.2, 0.7)
DEAD_COLUMN_RESPONSE = 0.4


@dataclass(frozen=True, eq=False)
class ChipDefects:
    """Defects of a chip, the same in all exposures of a visit, (rows, columns).

    Attributes
    ----------
    hot_rate : dark current above the normal one, e/s
    dead : bool, pixels of dead columns
    """

    hot_rate: Floats
    dead: Bools

    @property
    def bad(self) -> Bools:
        """Pixels that the calibration masks."""
        return self.dead | (self.hot_rate > 0)


def chip_defects(
    settings: SimulateSettings, chip: Chip, random: np.random.Generator
) -> ChipDefects:
    """Draw the hot pixels and dead columns of a chip."""
    shape = (chip.rows, chip.columns)
    hot = np.zeros(shape)
    n_hot = int(random.poisson(settings.hot_pixel_share * hot.size))
    hot.ravel()[random.integers(0, hot.size, n_hot)] = random.lognormal(-0.5, 0.8, n_hot)
    dead = np.zeros(shape, dtype=bool)
    dead[:, random.integers(0, chip.columns, settings.n_dead_columns)] = True
    return ChipDefects(hot, dead)


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
    column = np.rint(x0[track] + along * np.cos(angle[track]) + jitter[0]).astype(int)
    row = np.rint(y0[track] + along * np.sin(angle[track]) + jitter[1]).astype(int)
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    place = (row * nx + column)[inside]
    points_e = (charge / n_points)[track[inside]]
    return np.bincount(place, points_e, minlength=nx * ny).reshape(shape).astype(float)


def bled(image_e: Floats, full_well_e: float) -> Floats:
    """Return an image with the charge above the full well spread along the columns.

    The charge is conserved (but for what runs off the chip): each saturated
    run of a column fills the nearest pixels up and down.
    """
    from scipy.ndimage import label

    image = image_e.copy()
    runs, n_runs = label(image > full_well_e, structure=[[0, 1, 0]] * 3)
    if n_runs == 0:
        return image
    rows, columns = np.nonzero(runs)
    number = runs[rows, columns]
    order = np.argsort(number, kind="stable")
    for run in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        _bleed_run(image[:, columns[run[0]]], rows[run], full_well_e)
    return image


def _bleed_run(column: Floats, rows: NDArray[np.int64], full_well_e: float) -> None:
    """Spread the excess of one saturated run along its column, in place."""
    excess = float((column[rows] - full_well_e).clip(0.0).sum())
    column[rows] = np.minimum(column[rows], full_well_e)
    nearest = np.argsort(np.abs(np.arange(column.size) - rows.mean()), kind="stable")
    room = np.maximum(full_well_e - column[nearest], 0.0)
    before = np.cumsum(room) - room
    column[nearest] += np.clip(excess - before, 0.0, room)


def observed_electrons(
    light_e: Floats,
    charge_e: Floats,
    defects: ChipDefects,
    settings: SimulateSettings,
    random: np.random.Generator,
) -> Floats:
    """Return what is read from a chip: Poisson and read noise, the mean dark current subtracted.

    Parameters
    ----------
    light_e : (ny, nx) expected electrons from sky and objects
    charge_e : (ny, nx) electrons from cosmic rays
    defects : ChipDefects
    settings : SimulateSettings
    random : Generator
    """
    time = settings.exptime_s
    dark = settings.dark_rate * time
    expected = np.where(defects.dead, DEAD_COLUMN_RESPONSE, 1.0) * light_e
    expected += dark + defects.hot_rate * time
    collected = random.poisson(expected) + charge_e
    full = bled(collected, settings.full_well_e)
    return full + random.normal(0.0, settings.read_noise_e, light_e.shape) - dark


def noise_e(light_e: Floats, settings: SimulateSettings) -> Floats:
    """Return the standard deviation of each pixel of one exposure, electrons."""
    variance = light_e + settings.dark_rate * settings.exptime_s + settings.read_noise_e**2
    return np.sqrt(np.maximum(variance, 1.0))


def rejectable(charge_e: Floats, light_e: Floats, settings: SimulateSettings) -> Bools:
    """Return the cosmic-ray pixels that a comparison with another exposure finds.

    As in driz_cr, the charge must exceed a multiple of the noise plus a
    multiple of the steepest slope of the image: the latter protects the cores
    of stars, and lets faint hits beside them survive.
    """
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

    # The largest difference from a neighbour, of light that drizzling has smoothed.
    slope = 0.5 * (maximum_filter(light_e, 3) - minimum_filter(light_e, 3))
    noise = noise_e(light_e, settings)
    first, second = (
        (charge_e > n_sigma * noise + factor * slope) & (charge_e > 0)
        for n_sigma, factor in zip(REJECT_SIGMA, REJECT_SLOPE, strict=True)
    )
    return first | (second & binary_dilation(first, np.ones((3, 3), dtype=bool)))
