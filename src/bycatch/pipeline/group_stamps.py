"""What the colours of a group's extended objects need of an image: its PSF and stamps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.tables import floats
from bycatch.errors import UnsupportedImage
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.stages.objects.stamps import Noise, SkyEllipses, Stamps, pixels_per_arcsec, stamps
from bycatch.stages.psf.of_image import PSF_HALF, StarPsf, on_sky

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from bycatch.images.drc import DrcImage
    from bycatch.stages.measure import MeasureResult
    from bycatch.stages.psf.model import PsfModel

AREAS_PX2 = np.geomspace(10.0, 1e4, 7)


def psf_and_stamps(
    image: DrcImage,
    wcs: WCS,
    cr_mask: Bools,
    segmentation: Any,
    measurement: MeasureResult,
    model: PsfModel,
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
    measurement : what was measured at the K objects that it covers
    model : its PSF
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
    psf = None
    if len(matrix):
        share = _share_within(meta, step_arcsec)
        psf = on_sky(model, np.nanmedian(matrix, axis=0), step_arcsec, share=share)
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


def _share_within(meta: Any, step_arcsec: float) -> float:
    """Return the share of a star's light that a PSF of the group holds."""
    try:
        curve = photcal.encircled_energy(meta.detector, meta.filter)
    except UnsupportedImage:
        return 1.0
    return float(curve.at((PSF_HALF - 2) * step_arcsec))
