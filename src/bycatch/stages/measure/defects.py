"""Pixels that lie: saturation, hot pixels, bad columns.

From the drizzled image alone, and from the data quality of the exposures (flc
files) where these are available.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.chips import DQ_BAD, DQ_HOT, DQ_SATURATED, ChipQuality
from bycatch.images.drc import DrcImage
from bycatch.kernels.columnruns import column_runs
from bycatch.kernels.neighbourhood import any_within, neighbourhood

STAR_SHARE = 0.50
"""Share of a star's light within about 2.5 px that two by two detector pixels can hold: of the
encircled energy of Bohlin (2016) at r = 1.1 px over that at 2.8 px, 0.45 to 0.55."""
HOT_SHARE = 0.80
"""Drizzling spreads one detector pixel over two by two pixels, all but what distortion takes."""
HOT_SIGMA = 4.0
COLUMN_REACH_PX, COLUMN_CORE_PX = 52, 4
"""How far a column is followed, and how near to the source that begins; detector pixels."""
COLUMN_SIGMA = 3.0
COLUMN_TILTS_DEG = np.arange(-3.2, 3.3, 0.8)
"""Detector columns in a drizzled image, against its y axis (WFC's two axes meet at 85 degrees)."""

SATURATED_RADIUS_PX, DEFECT_RADIUS_PX = 2.0, 0.75


@dataclass(frozen=True, eq=False)
class Defects:
    """Which of N sources have which blemish, (N,) bool each."""

    saturated: Bools
    hot_pixel: Bools
    bad_column: Bools

    def __or__(self, other: Defects) -> Defects:
        """Return what either says."""
        return Defects(
            self.saturated | other.saturated,
            self.hot_pixel | other.hot_pixel,
            self.bad_column | other.bad_column,
        )


def defects(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    sky: ArrayLike,
    sky_std: ArrayLike,
    n_exp: ArrayLike,
    peak_rate: ArrayLike,
) -> Defects:
    """Find the defects that the drizzled image shows.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float
        0-based pixel centres; without effect where off the image, or not finite.
    sky, sky_std : (N,) float
        Level and scatter of the sky per pixel, e/s.
    n_exp : (N,) int
        Number of exposures: defects survive in single ones, where no dither shows them.
    peak_rate : (N,) float
        Highest pixel within 2 px, e/s.
    """
    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    single = np.asarray(n_exp) == 1
    is_saturated = np.nan_to_num(np.asarray(peak_rate, float)) > image.meta.saturation_rate
    hot = np.zeros(len(columns), dtype=bool)
    column = np.zeros(len(columns), dtype=bool)
    if single.any():
        level, scatter = np.asarray(sky, float)[single], np.asarray(sky_std, float)[single]
        where = columns[single], rows[single]
        box_px = image.meta.native_scale_arcsec / image.scale_arcsec
        hot[single] = one_pixel_sources(image, *where, level, scatter, box_px)
        column[single] = on_bad_columns(image.sci, *where, scatter, box_px)
    return Defects(is_saturated, hot & ~is_saturated, column)


def one_pixel_sources(
    image: DrcImage,
    x: Floats,
    y: Floats,
    sky: Floats,
    sky_std: Floats,
    detector_pixel_px: float = 1.0,
) -> Bools:
    """Return which sources are the light of one detector pixel.

    Such a pixel fills the smallest square that holds its shadow on the output grid;
    a star fills it with half of its light.  In a single exposure a hot pixel looks like a cosmic
    ray that hit one pixel.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float
    sky, sky_std : (N,) float
        Level and scatter per pixel, e/s.
    detector_pixel_px : float
        Side of a detector pixel, output pixels.
    """
    if not len(x):
        return np.zeros(0, dtype=bool)
    # The shadow of a pixel covers one more output pixel than its side has.
    side = int(np.ceil(detector_pixel_px * image.meta.pixfrac - 0.15)) + 1
    reach = side + 1
    patch, valid = _patches(image, x, y, reach)
    patch = patch - sky[:, None, None]
    whole = patch[:, 1:-1, 1:-1].sum(axis=(1, 2))
    boxes = np.lib.stride_tricks.sliding_window_view(patch, (side, side), axis=(1, 2))
    # The box must hold the brightest pixel, which the patch has in its middle.
    boxes = boxes[:, 2 : 2 + side, 2 : 2 + side]
    best = boxes.sum(axis=(3, 4)).max(axis=(1, 2))
    n_outside = (2 * reach - 1) ** 2 - side**2
    # Photons of the source count little here: what is outside decides.
    error = np.sqrt(n_outside) * sky_std
    with np.errstate(divide="ignore", invalid="ignore"):
        outside = (whole - best) / np.where(best > 0, best, np.nan)
        error = error / best
        star = 1.0 / STAR_SHARE - 1.0
        hot = (outside < 1.0 / HOT_SHARE - 1.0) & (outside > -3.0 * error - 0.1)
        hot &= star - outside > HOT_SIGMA * error
    return np.asarray(hot & valid)


def _patches(image: DrcImage, x: Floats, y: Floats, reach: int) -> tuple[Floats, Bools]:
    """Return squares about the brightest pixel near positions, and which are whole, (N,)."""
    near = neighbourhood(image.shape, x, y, 1.0)
    light = np.where(np.isfinite(near.distance), near.take(image.sci), np.nan)
    light = np.where(np.isfinite(light), light, -np.inf)
    top = light.argmax(axis=1)[:, None]
    row = np.take_along_axis(near.rows, top, axis=1)[:, 0]
    column = np.take_along_axis(near.columns, top, axis=1)[:, 0]
    step = np.arange(-reach, reach + 1)
    ny, nx = image.shape
    rows, columns = row[:, None] + step, column[:, None] + step
    inside = (rows >= 0) & (rows < ny), (columns >= 0) & (columns < nx)
    values = image.sci[
        np.clip(rows, 0, ny - 1)[:, :, None], np.clip(columns, 0, nx - 1)[:, None, :]
    ].astype(float)
    is_finite = np.isfinite(values) & inside[0][:, :, None] & inside[1][:, None, :]
    whole = is_finite.all(axis=(1, 2)) & np.isfinite(light.max(axis=1))
    return np.where(is_finite, values, 0.0), whole


def on_bad_columns(
    sci: NDArray[np.float32],
    x: Floats,
    y: Floats,
    sky_std: Floats,
    detector_pixel_px: float = 1.0,
    tilts_deg: Floats = COLUMN_TILTS_DEG,
) -> Bools:
    """Return which sources lie on a detector column that deviates above and below them.

    See `kernels.columnruns`: wings and spikes of stars fade away from them, a column does not.

    Parameters
    ----------
    sci : (ny, nx) float32
        NaN where there are no data.
    x, y : (N,) float
    sky_std : (N,) float
        Scatter of the sky per pixel, e/s.
    detector_pixel_px : float
        Side of a detector pixel, output pixels.
    tilts_deg : (T,) float
        Angles of a column against the y axis that are tried, positive towards +x.
    """
    gap_px = max(2, round(2 * detector_pixel_px))
    slopes = np.tan(np.radians(tilts_deg))
    # The mean of two pixels against that of four.
    noise = np.sqrt(0.75) * np.asarray(sky_std, float)
    # The side of a detector pixel differs by distortion: lengths need not be exact.
    core_px, reach_px = (round(n * detector_pixel_px) for n in (COLUMN_CORE_PX, COLUMN_REACH_PX))
    return column_runs(sci, gap_px, x, y, noise, slopes, COLUMN_SIGMA, core_px, reach_px)


def flagged_exposures(
    wcs: WCS,
    x: ArrayLike,
    y: ArrayLike,
    chips: tuple[ChipQuality, ...],
    bits: int,
    radius_px: float,
) -> tuple[Ints, Ints]:
    """Count the exposures that have a DQ bit near positions, and those that cover them.

    Parameters
    ----------
    wcs : WCS
        Of the drizzled image, in the frame of the chips (as drizzled, not as aligned).
    x, y : (N,) float
        0-based pixels of the drizzled image.
    chips : of all exposures; chips of one exposure do not overlap
    bits : any of them counts
    radius_px : float
        How near the centre of a detector pixel must lie, detector pixels.

    Returns
    -------
    flagged, covering : (N,) int
    """
    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    n_with_flag, covering = np.zeros((2, len(columns)), dtype=np.int64)
    rows_on_image = np.flatnonzero(np.isfinite(columns) & np.isfinite(rows))
    if not len(rows_on_image):
        return n_with_flag, covering
    sky = wcs.all_pix2world(columns[rows_on_image], rows[rows_on_image], 0)
    for chip in chips:
        # Far off the chip its polynomial has no inverse: such positions end off the chip.
        place = chip.wcs.all_world2pix(*sky, 0, quiet=True)
        cx, cy = (np.asarray(values, float) for values in place)
        ny, nx = chip.dq.shape
        on_chip = (cx > -0.5) & (cx < nx - 0.5) & (cy > -0.5) & (cy < ny - 0.5)
        covering[rows_on_image] += on_chip
        n_with_flag[rows_on_image] += on_chip & any_within((chip.dq & bits) != 0, cx, cy, radius_px)
    return n_with_flag, covering


def defects_from_quality(
    wcs: WCS, x: ArrayLike, y: ArrayLike, chips: tuple[ChipQuality, ...]
) -> Defects:
    """Return the defects in the data quality of the exposures (see `flagged_exposures`).

    One saturated exposure spoils the mean; defects count where half of the exposures or
    more have them under the source.

    Parameters
    ----------
    wcs : of the drizzled image
    x, y : (N,) float, 0-based pixel centres
    chips : data quality of the chips of all exposures
    """
    n_saturated, _ = flagged_exposures(wcs, x, y, chips, DQ_SATURATED, SATURATED_RADIUS_PX)
    hot, covering = flagged_exposures(wcs, x, y, chips, DQ_HOT, DEFECT_RADIUS_PX)
    bad, _ = flagged_exposures(wcs, x, y, chips, DQ_BAD, DEFECT_RADIUS_PX)
    least = np.maximum(0.5 * covering, 0.5)
    return Defects(n_saturated > 0, hot >= least, bad >= least)
