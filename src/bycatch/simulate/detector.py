"""What a chip makes of the light: cosmic rays, saturation, noise, defects, and what is masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import Chip

# Rejection as in driz_cr (STScI drizzlepac: driz_cr_snr '3.5 3.0', driz_cr_scale '1.2 0.7'): a
# first pass, and a second, deeper one beside what the first has found.
REJECT_SLOPE = (1.2, 0.7)
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
    chip: Chip,
    settings: SimulateSettings,
    random: np.random.Generator,
) -> Floats:
    """Return what is read from a chip: Poisson and read noise, the mean dark current subtracted.

    Parameters
    ----------
    light_e : (ny, nx) expected electrons from sky and objects
    charge_e : (ny, nx) electrons from cosmic rays
    defects : ChipDefects
    chip : Chip
    settings : SimulateSettings
    random : Generator
    """
    time = settings.exptime_s
    dark = settings.dark_rate * time
    expected = np.where(defects.dead, DEAD_COLUMN_RESPONSE, 1.0) * light_e
    expected += dark + defects.hot_rate * time
    charge = random.poisson(expected) + charge_e
    full = transfer_charge(bled(charge, settings.full_well_e), chip, settings)
    return full + random.normal(0.0, settings.read_noise_e, light_e.shape) - dark


def noise_e(light_e: Floats, settings: SimulateSettings) -> Floats:
    """Return the standard deviation of each pixel of one exposure, electrons."""
    variance = light_e + settings.dark_rate * settings.exptime_s + settings.read_noise_e**2
    return np.sqrt(np.maximum(variance, 1.0))


def rejectable(
    charge_e: Floats,
    light_e: Floats,
    settings: SimulateSettings,
    random: np.random.Generator | None = None,
) -> Bools:
    """Return the cosmic-ray pixels that a comparison with another exposure finds.

    As in driz_cr, the charge must exceed a multiple of the noise plus a
    multiple of the steepest slope of the image: the latter protects the cores
    of stars, and lets faint hits beside them survive.  What is below, the skirt of
    a track, stays in the stack; so does a share of the pixels by chance.
    """
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

    # The largest difference from a neighbour, of light that drizzling has smoothed.
    slope = 0.5 * (maximum_filter(light_e, 3) - minimum_filter(light_e, 3))
    noise = noise_e(light_e, settings)
    sigmas = (settings.reject_sigma, settings.reject_beside_sigma)
    first, second = (
        (charge_e > n_sigma * noise + factor * slope) & (charge_e > 0)
        for n_sigma, factor in zip(sigmas, REJECT_SLOPE, strict=True)
    )
    is_found = first | (second & binary_dilation(first, np.ones((3, 3), dtype=bool)))
    if random is not None and settings.reject_missed_percent > 0:
        is_found &= random.uniform(size=is_found.shape) >= settings.reject_missed_percent / 100.0
    return is_found


CTE_EXPONENT = 0.6
"""Lost charge grows more slowly than the packet (Massey et al. 2010, MNRAS 401, 371)."""
CTE_TRAIL_PX = (1.5, 15.0)
"""Scales of the release of trapped charge, half of it each."""
CTE_REACH_PX = 60


def transfer_charge(image_e: Floats, chip: Chip, settings: SimulateSettings) -> Floats:
    """Return what arrives after the transfer of the charge along the columns, (rows, columns).

    A packet above the background loses a share to traps, in proportion to the number of
    transfers, and they give it back behind it: away from the readout, which is at the outer
    edge of either chip.  ``simulate.cte_loss_percent`` is the loss of 1000 electrons after all
    transfers of a chip, however small it is.
    """
    loss = settings.cte_loss_percent / 100.0
    if loss == 0:
        return image_e
    # Chip 1 (above) is read at its upper edge, chip 2 (below) at its lower one.
    image = image_e[::-1] if chip.number == 1 else image_e
    excess = np.maximum(image - np.median(image), 0.0)
    transfers = (np.arange(chip.rows) + 0.5) / chip.rows
    loss_e = loss * 1000.0 * (excess / 1000.0) ** CTE_EXPONENT * transfers[:, None]
    loss_e = np.minimum(loss_e, 0.5 * excess)
    after = np.arange(1, CTE_REACH_PX + 1)
    release = sum(np.exp(-after / scale) / np.exp(-after / scale).sum() for scale in CTE_TRAIL_PX)
    trail = np.zeros(image.shape)
    for step, share in zip(after, 0.5 * np.asarray(release), strict=True):
        trail[step:] += share * loss_e[:-step] if step < chip.rows else 0.0
    readout = image - loss_e + trail
    return readout[::-1] if chip.number == 1 else readout
