"""What the colours of a group's extended objects need of an image: its PSF and stamps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats
from bycatch.errors import UnsupportedImage
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.stages.objects.stamps import Noise, SkyEllipses, Stamps, pixels_per_arcsec, stamps
from bycatch.stages.objects.star_psf import PSF_HALF, StarPsf, star_psf

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.images.drc import DrcImage
    from bycatch.stages.measure import MeasureResult

STAR, STAR_SNR, ALONE_PX, MOST_STARS = 0.8, 100.0, 20.0, 40
"""The PSF is that of the brightest stars: of this p_star and S/N, without a neighbour so near."""
SPOILED = Flag.SATURATED | Flag.BLENDED | Flag.EDGE | Flag.HOT_PIXEL | Flag.LIKELY_COSMIC_RAY
AREAS_PX2 = np.geomspace(10.0, 1e4, 7)


def psf_and_stamps(
    image: DrcImage,
    wcs: WCS,
    cr_mask: Bools,
    segmentation: Any,
    measurement: MeasureResult,
    catalog: Table,
    *,
    ra_deg: Floats,
    dec_deg: Floats,
    rows: Ints,
    ellipses: SkyEllipses,
    step_arcsec: float,
) -> tuple[StarPsf | None, Stamps]:
    """Return the PSF of an image and its stamps of extended objects.

    Parameters
    ----------
    image, wcs : its pixels, and the aligned WCS
    cr_mask, segmentation : (ny, nx)
    measurement, catalog : what was measured at the K objects that it covers, and calibrated
    ra_deg, dec_deg : (K,) float
    rows : (K,) int; which objects of the group they are
    ellipses : of all of them
    step_arcsec : of the stamps of all images of the group
    """
    table, meta = measurement.table, image.meta
    x, y = floats(table, "x"), floats(table, "y")
    sky = np.where(np.isfinite(floats(table, "sky_level")), floats(table, "sky_level"), 0.0)
    labels = segmentation[pixels_at(image.shape, x, y)]
    good = image.valid & ~cr_mask
    matrix = pixels_per_arcsec(wcs, ra_deg, dec_deg)
    microjansky = photcal.microjansky(photcal.ab_zeropoint(meta.photflam, meta.photplam))
    stars = _stars(catalog, x, y, measurement.radii_px)
    psf = star_psf(
        image.sci, good, x[stars], y[stars], sky[stars], matrix[stars], step_arcsec,
        segmentation=segmentation, labels=labels[stars], share=_share_within(meta, step_arcsec),
    )  # fmt: skip
    seconds = np.maximum(floats(table, "exptime"), 1.0)
    seconds = np.where(np.isfinite(seconds), seconds, meta.exptime_s)
    scale = np.interp(
        np.sqrt(AREAS_PX2 / np.pi), measurement.noise.radii_px, measurement.noise.scale
    )
    level = float(np.nan_to_num(measurement.total_noise.level_error))
    pixel = measurement.total_noise.typical / np.sqrt(seconds)
    errors = np.hypot(scale * pixel[:, np.newaxis] * np.sqrt(AREAS_PX2), level * AREAS_PX2)
    image_stamps = stamps(
        image.sci, good, segmentation, x, y, labels, sky, matrix,
        rows=rows, ellipses=ellipses,
        noise=Noise(AREAS_PX2, microjansky * errors, seconds / microjansky),
        step_arcsec=step_arcsec, scale_arcsec=image.scale_arcsec, microjansky=microjansky,
    )  # fmt: skip
    return psf, image_stamps


def _stars(catalog: Table, x: Floats, y: Floats, radii_px: tuple[float, ...]) -> Ints:
    """Return the rows of the brightest stars that stand alone."""
    snr = floats(catalog, f"snr_{radii_px[len(radii_px) // 2]:g}")
    with np.errstate(invalid="ignore"):
        usable = (floats(catalog, "p_star") > STAR) & (snr > STAR_SNR)
    usable &= (np.asarray(catalog["flags"]) & int(SPOILED)) == 0
    has_place = np.isfinite(x) & np.isfinite(y)
    rows = np.flatnonzero(usable & has_place)
    if len(rows) and has_place.sum() > 1:
        at = np.column_stack([x, y])
        distance, _ = cKDTree(at[has_place]).query(at[rows], k=2)
        rows = rows[np.asarray(distance)[:, 1] > ALONE_PX]
    return rows[np.argsort(-snr[rows], kind="stable")][:MOST_STARS]


def _share_within(meta: Any, step_arcsec: float) -> float:
    """Return the share of a star's light that a PSF of the group holds."""
    try:
        curve = photcal.encircled_energy(meta.detector, meta.filter)
    except UnsupportedImage:
        return 1.0
    return float(curve.at((PSF_HALF - 2) * step_arcsec))
