"""Peaks without a row: what detection has left in the segment of another source, or left out.

Deblending by few levels gives one row to close stars, and no deblending splits those whose saddle
the smoothing fills.  Here the image itself is asked: its sharp peaks (`kernels.sharp_peaks`)
that no row accounts for take part in the blends as if they had one (`neighbours`), and a row is
told when its segment holds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import all_within, any_within
from bycatch.kernels.peak_widths import minor_widths
from bycatch.kernels.sharp_peaks import response, sharp_peaks
from bycatch.stages.measure.photometry import Photometry, aperture_sums

INNER_PX, OUTER_PX = 0.8, 2.0
"""Widths of the Gaussians between which peaks stand out, detector pixels."""
N_SIGMA = 5.0
"""Significance of a peak."""
LISTED_PX = 1.5
"""A peak this near to a row is that row, detector pixels."""
STRAYED_PX = 4.0
"""So far from a row its own peak may lie, where none is that near: the centroid of a lopsided
source does not lie on its peak, nor that of two."""
SATURATED_PX = 12.0
"""No peak is believed this near to a saturated source: flat and bled cores have many; detector
pixels."""
REACH_PX = 5.0
"""Peaks on no row's segment count this far beyond the aperture, detector pixels."""
EDGE_PX = 3.0
"""Peaks this near to missing pixels are left out, detector pixels."""
LEAST_FWHM_PX = 1.75
"""Peaks of single exposures that are narrower across are charge (as in the cosmic-ray mask)."""
WINDOW_PX, RING_PX = 1.2, (3.5, 5.5)
FEW = 5000
LEAST_SHARE = 0.03
"""Light of an unlisted peak, of that of the brightest row of its segment: rings and spikes of
stars are fainter."""


@dataclass(frozen=True, eq=False)
class UnlistedPeaks:
    """Peaks of an image that no row accounts for.

    Attributes
    ----------
    x, y : (M,) 0-based pixel centres
    net_rate : (M,) sky-subtracted sums in the smallest aperture, e/s; the sky of the nearest row
    error : (M,) their errors, of the sky alone
    label : (M,) int, segment on which they lie; 0 on none
    """

    x: Floats
    y: Floats
    net_rate: Floats
    error: Floats
    label: Ints


def unlisted_peaks(
    image: DrcImage,
    phot: Photometry,
    *,
    segmentation: NDArray[np.integer[Any]] | None = None,
    cr_mask: Bools | None = None,
    is_saturated: Bools | None = None,
    reach_px: float,
) -> UnlistedPeaks:
    """Find the sharp peaks that no row accounts for, on the segments of rows and near them.

    Parameters
    ----------
    image, phot : the image, and what was measured at N positions
    segmentation : (ny, nx) int, optional
    cr_mask : (ny, nx) bool, optional
        In single exposures, peaks on it are left out.
    is_saturated : (N,) bool, optional
    reach_px : float
        Peaks that are on no row's segment count if a row is as near.
    """
    from scipy.spatial import KDTree

    nothing = np.empty(0)
    none = UnlistedPeaks(nothing, nothing, nothing, nothing, np.empty(0, np.int64))
    places = np.column_stack([phot.x, phot.y])
    rows = np.flatnonzero(np.isfinite(places).all(axis=1) & (phot.sky.std > 0))
    if not len(rows):
        return none
    size = image.detector_px
    inner, outer = INNER_PX * size, OUTER_PX * size
    noise = phot.correlation * phot.sky.std * response(inner, outer)
    least = N_SIGMA * float(np.min(noise[rows]))
    x, y, height = sharp_peaks(image.sci, image.valid, inner, outer, least)
    distance, nearest = KDTree(places[rows]).query(np.column_stack([x, y]))
    near, row = np.asarray(distance), rows[nearest]
    column, line = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    seconds = np.maximum(image.exptime_map_s[line, column], 1e-9)
    photons = np.maximum(image.sci[line, column] - phot.sky.median[row], 0) / seconds
    error = np.hypot(noise[row], response(inner, outer) * np.sqrt(photons))
    labels = np.zeros(len(x), np.int64)
    on_row = np.zeros(len(x), bool)
    if segmentation is not None:
        labels = segmentation[line, column].astype(np.int64)
        on_row = np.isin(labels, labels_at(segmentation, phot)[rows]) & (labels > 0)
    keep = (height > N_SIGMA * error) & (on_row | (near < reach_px))
    keep &= all_within(image.valid, x, y, EDGE_PX * size)
    keep &= ~_are_listed(near, row, keep, len(phot.x), size)
    single = image.n_exp[line, column] <= 1
    keep &= ~(single & _is_charge(image, column, line, cr_mask, keep & single))
    if is_saturated is not None and is_saturated[rows].any():
        bright = places[rows][is_saturated[rows]]
        keep &= KDTree(bright).query(np.column_stack([x, y]))[0] > SATURATED_PX * size
    x, y, row, labels = x[keep], y[keep], row[keep], labels[keep]
    sums, areas = aperture_sums(image.sci, image.valid, x, y, phot.radii_px[:1])
    net = sums[:, 0] - phot.sky.median[row] * areas[:, 0]
    scatter = phot.correlation * phot.sky.std[row] * np.sqrt(areas[:, 0])
    return UnlistedPeaks(x, y, net, scatter, labels)


def labels_at(segmentation: NDArray[np.integer[Any]], phot: Photometry) -> Ints:
    """Return the segment on which each position lies, (N,); 0 for none.

    Parameters
    ----------
    segmentation : (ny, nx) int, 0 for sky
    phot : Photometry of N sources
    """
    out = np.zeros(len(phot.x), np.int64)
    is_on_image = np.isfinite(phot.x) & np.isfinite(phot.y)
    column = np.rint(np.where(is_on_image, phot.x, -1)).astype(np.int64)
    row = np.rint(np.where(is_on_image, phot.y, -1)).astype(np.int64)
    ny, nx = segmentation.shape
    is_on_image &= (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    out[is_on_image] = segmentation[row[is_on_image], column[is_on_image]]
    return out


def _are_listed(near: Floats, row: Ints, counts: Bools, n_rows: int, size: float) -> Bools:
    """Return which peaks are those of rows: all within 1.5 px, else the nearest within 4 px."""
    is_listed = near < LISTED_PX * size
    has_peak = np.zeros(n_rows, bool)
    has_peak[row[is_listed & counts]] = True
    stray_peaks = np.flatnonzero(counts & ~has_peak[row] & (near < STRAYED_PX * size))
    order = stray_peaks[np.lexsort([near[stray_peaks], row[stray_peaks]])]
    first = np.ones(len(order), bool)
    first[1:] = row[order][1:] != row[order][:-1]
    is_listed[order[first]] = True
    return np.asarray(is_listed)


def _is_charge(
    image: DrcImage, column: Ints, line: Ints, cr_mask: Bools | None, which: Bools
) -> Bools:
    """Return which of the peaks that are asked about are cosmic rays or hot pixels."""
    out = np.zeros(len(column), bool)
    if cr_mask is not None:
        at = np.flatnonzero(which)
        out[at] = any_within(cr_mask, column[at].astype(float), line[at].astype(float), 1.1)
    # The mask has marked most of them.
    at = np.flatnonzero(which & ~out)
    if not len(at):
        return out
    size = image.meta.native_scale_arcsec / image.scale_arcsec
    ring = (RING_PX[0] * size, RING_PX[1] * size)
    sci = _without_gaps(image, column[at], line[at], int(np.ceil(ring[1])) + 2)
    # Any plane will do for the variance, on which no width depends.
    width, _ = minor_widths(sci, sci, column[at], line[at], WINDOW_PX * size, ring)
    out[at] = width < LEAST_FWHM_PX * size
    return out


def _without_gaps(image: DrcImage, column: Ints, line: Ints, reach_px: int) -> Image:
    """Return the image with 0 where there are no data; about a few pixels, only near these."""
    if len(line) > FEW:
        return np.where(image.valid, image.sci, np.float32(0))
    # Untouched memory costs nothing.
    sci = np.empty(image.shape, np.float32)
    for x, y in zip(column.tolist(), line.tolist(), strict=True):
        near = np.s_[
            max(y - reach_px, 0) : y + reach_px + 1, max(x - reach_px, 0) : x + reach_px + 1
        ]
        sci[near] = np.where(image.valid[near], image.sci[near], np.float32(0))
    return sci


def has_unlisted_peak(
    segmentation: NDArray[np.integer[Any]] | None,
    phot: Photometry,
    peaks: UnlistedPeaks,
    row_rate: Floats,
    peak_rate: Floats,
) -> Bools:
    """Return which rows have a peak in their segment that is no row, (N,).

    Parameters
    ----------
    segmentation : (ny, nx) int, optional
        Without it no row has.
    phot, peaks : what was measured, and the peaks
    row_rate, peak_rate : (N,) and (M,) float
        All the light of each, e/s, without that of its neighbours.
    """
    out = np.zeros(len(phot.x), bool)
    if segmentation is None or not len(peaks.x):
        return out
    label = labels_at(segmentation, phot)
    brightest = np.zeros(int(max(label.max(initial=0), peaks.label.max(initial=0))) + 1)
    np.maximum.at(brightest, label, np.nan_to_num(row_rate))
    real = (peaks.label > 0) & (peak_rate > LEAST_SHARE * brightest[peaks.label])
    real &= peak_rate > N_SIGMA * peaks.error
    return np.asarray((label > 0) & np.isin(label, peaks.label[real]))
