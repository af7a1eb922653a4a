"""Saturated stars: their centres from the wings, with what the image's other stars say of these.

A full core has no centroid: what is above the full well runs up and down the column.  The wings
do (`kernels.wings`).  They need not be centred on the core, as the telescope has coma and charge
lags in the readout: stars of the image that are not saturated, with their cores cut out, show by
how much the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.tables import floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.wings import fit_wings

MOST_FULL = 0.01
"""More of an image is never full: its exposure time or unit must be wrong."""
WINGS_PX = 6.0
"""Native pixels that enter, outside of the core: farther out the light is less symmetric."""
LEAST_LIGHT = 0.02
"""Share of the full well that the wings of a star show beside the core; a cosmic ray has none."""
MOST_ERROR_PX = 0.3
SCATTER_PX = 0.03
"""Scatter of wings against cores among the stars of an image, for reasons of sub-pixel phase and
noise that is correlated (simulated visits: 0.02 to 0.05)."""
OFFSET_PX = 0.1
"""By how much all wings of an image may be off from their cores, per axis, until its stars show it
(TinyTim's PSFs of ACS/WFC: 0.02 to 0.12 px beyond 1.5 px)."""

HOLE_PX = 2.5
"""Native pixels that are cut out of stars that are not saturated."""
MOST_STARS = 20
MIN_LIGHT_SNR, MIN_CONCENTRATION, LIGHT_SHARE = 10.0, 0.08, 0.07
"""Such a star: light beside the hole over the noise of a pixel, peak over flux, and the most light
beside the hole over the peak (stars: 0.01 to 0.04, galaxies above 0.07)."""
MAX_ELLIPTICITY = 0.4
CLIP_SIGMA = 3.0


@dataclass(frozen=True, eq=False)
class _Cores:
    """The largest full region of each source that has any, (N,) each.

    Attributes
    ----------
    x, y, depth_px : where it is deepest, and how deep it is there
    label : of the source
    """

    x: Floats
    y: Floats
    depth_px: Floats
    label: Ints


def centre_on_wings(image: DrcImage, sources: Table, segmentation: NDArray[np.int32]) -> Table:
    """Return the sources with the positions of saturated stars taken from their wings.

    Parameters
    ----------
    image : DrcImage
    sources : table of source_columns.SOURCES, one row for each label
    segmentation : (ny, nx) labels 1, 2, ...

    Returns
    -------
    Table
        With other ``x`` and ``y`` for saturated stars, whose errors ``centre_err_px`` and
        ``centre_shared_err_px`` state.
    """
    # Such pixels are cut out, and so are their eight neighbours.
    level = image.meta.full_rate
    # By one index: to look for two along both axes takes eight times as long.
    rows, columns = np.divmod(np.flatnonzero(image.sci > level), image.shape[1])
    if not 0 < rows.size < MOST_FULL * image.sci.size:
        return sources
    cores = _cores(rows, columns, segmentation)
    native_px = image.meta.native_scale_arcsec / image.scale_arcsec
    reach = cores.depth_px + 1.0 + WINGS_PX * native_px
    usable = _apart(image.valid, rows, columns)
    fits = fit_wings(image.sci, usable, cores.x, cores.y, np.zeros(len(reach)), reach)
    good = fits.has_centre & (fits.err_px < MOST_ERROR_PX * native_px)
    good &= fits.light > LEAST_LIGHT * level
    good[good] &= _on_core(fits.x[good], fits.y[good], usable)
    if not good.any():
        return sources
    row = cores.label[good] - 1
    offset, offset_err = _offset(image, sources, level, native_px)
    out = sources.copy()
    out["x"][row], out["y"][row] = fits.x[good] - offset[0], fits.y[good] - offset[1]
    least = np.hypot(SCATTER_PX * native_px, offset_err)
    out["centre_err_px"][row] = np.hypot(fits.err_px[good], least)
    out["centre_shared_err_px"][row] = offset_err
    return out


def _cores(rows: Ints, columns: Ints, segmentation: NDArray[np.int32]) -> _Cores:
    """Return the largest connected region of full pixels of each source; holes are of it.

    The others are what its column broke into.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    pairs = KDTree(np.column_stack([columns, rows])).query_pairs(1.5, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(rows.size, rows.size))
    n, number = connected_components(links, directed=False)
    size = np.bincount(number, minlength=n)
    regions = np.split(np.argsort(number, kind="stable"), np.cumsum(size)[:-1])
    core_of: dict[int, tuple[float, float, float]] = {}
    for k in np.argsort(-size, kind="stable"):
        own_rows, own_columns = rows[regions[k]], columns[regions[k]]
        labels = segmentation[own_rows, own_columns]
        if not (labels > 0).any() or int(np.bincount(labels[labels > 0]).argmax()) in core_of:
            continue
        top, left = own_rows.min() - 1, own_columns.min() - 1
        shape = own_rows.max() - top + 2, own_columns.max() - left + 2
        region = np.zeros(shape, dtype=bool)
        region[own_rows - top, own_columns - left] = True
        depth = distance_transform_edt(binary_fill_holes(region))
        row, column = (part.mean() for part in np.nonzero(depth >= depth.max() - 0.5))
        label = int(segmentation[round(top + row), round(left + column)])
        if label > 0 and label not in core_of:
            core_of[label] = (left + column, top + row, float(depth.max()))
    places = np.array(list(core_of.values())).reshape(-1, 3)
    return _Cores(places[:, 0], places[:, 1], places[:, 2], np.array(list(core_of), dtype=np.int64))


def _apart(valid: Bools, rows: Ints, columns: Ints) -> Bools:
    """Return the pixels with data that are neither full nor beside a full one."""
    usable = valid.copy()
    ny, nx = valid.shape
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            usable[np.clip(rows + dy, 0, ny - 1), np.clip(columns + dx, 0, nx - 1)] = False
    return usable


def _on_core(x: Floats, y: Floats, usable: Bools) -> Bools:
    """Return which positions lie on pixels that were cut out."""
    ny, nx = usable.shape
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    inside[inside] = ~usable[row[inside], column[inside]]
    return np.asarray(inside)


def _offset(
    image: DrcImage, sources: Table, level: float, native_px: float
) -> tuple[Floats, float]:
    """Return by how much wings are off from cores in this image, (x, y), and the error per axis.

    The mean of the brightest stars that are not saturated, with 0 +- `OFFSET_PX` as what is known
    before.
    """
    peak, flux = floats(sources, "peak"), floats(sources, "flux")
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = (peak < level) & (peak > MIN_CONCENTRATION / native_px**2 * flux)
    alike &= floats(sources, "ellipticity") < MAX_ELLIPTICITY
    alike &= peak > MIN_LIGHT_SNR / LIGHT_SHARE * floats(sources, "noise")
    brightest = np.flatnonzero(alike)
    brightest = brightest[np.argsort(-peak[brightest], kind="stable")][:MOST_STARS]
    x, y = floats(sources, "x")[brightest], floats(sources, "y")[brightest]
    hole = np.full(len(x), HOLE_PX * native_px)
    fits = fit_wings(image.sci, image.valid, x, y, hole, hole + WINGS_PX * native_px)
    noise = floats(sources, "noise")[brightest]
    good = fits.has_centre & (fits.light > MIN_LIGHT_SNR * noise)
    good &= (fits.light < LIGHT_SHARE * peak[brightest]) & (fits.err_px < MOST_ERROR_PX * native_px)
    apart = np.stack([fits.x - x, fits.y - y])[:, good]
    variance = fits.err_px[good] ** 2 + (SCATTER_PX * native_px) ** 2
    # One farther off than wings ever are is a galaxy or a cosmic ray; then the others decide.
    prior_variance = (OFFSET_PX * native_px) ** 2
    is_inlier = np.abs(apart).max(axis=0, initial=0.0) < CLIP_SIGMA * np.sqrt(
        variance + prior_variance
    )
    apart, variance = apart[:, is_inlier], variance[is_inlier]
    if len(variance):
        far = np.abs(apart - np.median(apart, axis=1, keepdims=True)).max(axis=0)
        is_inlier = far < CLIP_SIGMA * np.sqrt(2 * variance)
        apart, variance = apart[:, is_inlier], variance[is_inlier]
    total = np.sum(1.0 / variance) + 1.0 / prior_variance
    return (apart / variance).sum(axis=1) / total, float(1.0 / np.sqrt(total))
