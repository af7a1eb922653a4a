"""Sizes, orientations and total fluxes of sources that need not be points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.kron import ellipse_radius_px, kron_shapes


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of N sources; NaN where none could be measured.

    Attributes
    ----------
    semimajor_px, semiminor_px : rms lengths of the second moments
    theta_deg : angle of the major axis from +x towards +y, from -90 to 90
    pa_deg : position angle of the major axis on the sky, east of north, from 0 to 180
    kron_radius : first-moment radius in units of the ellipse, 1.4 to 6
    kron_rate : net rate in the ellipse of 2.5 Kron radii, e/s
    kron_area_px2 : area of it that was summed
    reach_px : half its long axis
    others_share : share of it that is of other segments, summed (from opposite) or not
    half_light_px : radius of the circle with half of kron_rate
    windowed : bool, the moments are those of a Gaussian window: there is no segment
    cut : bool, the ellipse was cut to semi-axes of at most 200 px
    """

    semimajor_px: Floats
    semiminor_px: Floats
    theta_deg: Floats
    pa_deg: Floats
    kron_radius: Floats
    kron_rate: Floats
    kron_area_px2: Floats
    reach_px: Floats
    others_share: Floats
    half_light_px: Floats
    windowed: NDArray[np.bool_]
    cut: NDArray[np.bool_]


def measure_shapes(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    sky: ArrayLike,
    *,
    segmentation: NDArray[np.integer[Any]] | None = None,
    labels: ArrayLike | None = None,
    wcs: WCS | None = None,
) -> Shapes:
    """Measure shapes and total fluxes at positions, detections or not.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float
        0-based pixel centres; those off the image, or not finite, have no shape.
    sky : (N,) float
        Level per pixel, e/s.
    segmentation : (ny, nx) int, optional
        Pixels of other segments take the value of the pixel opposite, or the lower one of the two.
        Without it neighbours count.
    labels : (N,) int, optional
        Segment of each position; 0, as without them: that on which the position lies, if any.
    wcs : WCS, optional
        The header's by default.

    Notes
    -----
    Definitions are those of photutils' SourceCatalog (after SExtractor) with
    ``aperture_mask_method='correct'`` and ``kron_params=(2.5, 1.4, 0.0)``, and with the
    apertures laid around the given position; pixels without data are not made up for, and
    the area says how much is left.  Positions without a segment have adaptive moments
    (see `bycatch.kernels.kron`).  The moments hold the PSF and the pixel.
    """
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    kron = kron_shapes(image.sci, image.valid, sky, x, y, segmentation, labels)
    frame = wcs if wcs is not None else image.wcs
    a, b = kron.semimajor_px, kron.semiminor_px
    radius = ellipse_radius_px(kron.kron_radius, a, b)
    return Shapes(
        kron.semimajor_px,
        kron.semiminor_px,
        np.degrees(kron.theta_rad),
        position_angles_deg(x, y, kron.theta_rad, frame),
        kron.kron_radius,
        kron.flux,
        kron.area_px2,
        radius * np.sqrt(a / b),
        kron.others_px2 / (np.pi * radius**2),
        kron.half_light_px,
        kron.windowed,
        kron.cut,
    )


def position_angles_deg(x: ArrayLike, y: ArrayLike, theta_rad: ArrayLike, wcs: WCS) -> Floats:
    """Return position angles on the sky, east of north from 0 to 180, of directions on the image.

    Parameters
    ----------
    x, y : (N,) float
        0-based pixel centres.
    theta_rad : (N,) float
        From +x towards +y.
    wcs : WCS
        Of the image.
    """
    column, row, theta = (np.asarray(v, dtype=float) for v in (x, y, theta_rad))
    angles = np.full(column.shape, np.nan)
    is_finite = np.isfinite(column) & np.isfinite(row) & np.isfinite(theta)
    column, row, theta = column[is_finite], row[is_finite], theta[is_finite]
    if not len(column):
        return angles
    ra, dec = np.radians(wcs.celestial.all_pix2world(column, row, 0))
    far = wcs.celestial.all_pix2world(column + np.cos(theta), row + np.sin(theta), 0)
    far_ra, far_dec = np.radians(far)
    east = np.cos(far_dec) * np.sin(far_ra - ra)
    # cos(dec) sin(far_dec) - sin(dec) cos(far_dec) cos(d_ra), without its cancellation.
    bend = 2.0 * np.sin(dec) * np.cos(far_dec) * np.sin(0.5 * (far_ra - ra)) ** 2
    angles[is_finite] = np.degrees(np.arctan2(east, np.sin(far_dec - dec) + bend)) % 180.0
    return angles
