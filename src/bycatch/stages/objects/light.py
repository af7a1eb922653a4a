"""The light of objects, look by look: in each image, and in its exposures where these are at hand.

An object has one kind of light in all images: that of its colours, by fits of the PSF or in the
apertures of one radius.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.tables import floats
from bycatch.stages.objects.model import (
    ImageExposures,
    ImagePhotometry,
)
from bycatch.stages.objects.photometry import ObjectFluxes

COLUMNS = ("flux", "flux_err", "mag", "mag_err", "maglim")
_OF_PSF = ("flux_psf", "flux_psf_err", "mag_ab_psf", "mag_ab_psf_err", "")
_IN_APERTURE = (
    "flux_{r}_apcor", "err_{r}_apcor", "mag_ab_{r}", "mag_ab_err_{r}", "maglim_{r}",
)  # fmt: skip


def light_of_image(image: ImagePhotometry, fluxes: ObjectFluxes) -> dict[str, Floats]:
    """Return `COLUMNS` of the K objects that an image covers.

    Parameters
    ----------
    image : what it measured
    fluxes : of all objects
    """
    radius, of_psf = fluxes.radius_px[image.rows], fluxes.of_psf[image.rows]
    light: dict[str, Floats] = {}
    for name, by_psf, in_aperture in zip(COLUMNS, _OF_PSF, _IN_APERTURE, strict=True):
        values = np.full(len(radius), np.nan)
        for r in np.unique(radius[np.isfinite(radius)]):
            column = floats(image.table, in_aperture.replace("{r}", f"{r:g}"))
            values = np.where(radius == r, column, values)
        if by_psf in image.table.colnames:
            values = np.where(of_psf, floats(image.table, by_psf), values)
        light[name] = values
    return light


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks of an image at K objects, each an epoch: its exposures, or the image as a whole.

    Attributes
    ----------
    flux, err : (K, E) float; flux density (f_lambda), erg / (Angstrom s cm2)
    is_spoilt : (K, E) bool; by a cosmic ray, or a full pixel
    """

    flux: Floats
    err: Floats
    is_spoilt: Bools


def looks_of_exposures(exposures: ImageExposures, flux: Floats) -> Looks:
    """Return the fluxes of K objects in the exposures of an image.

    What an exposure differs by from the mean of them all is taken for the light of a point, and
    added to the flux in the image.  So their mean is that of the image, and a supernova in a galaxy
    varies by its own light.

    Parameters
    ----------
    exposures : what they show of the objects
    flux : (K,) in the image
    """
    light, per_rate = exposures.light, exposures.flux_per_rate
    fluxes = flux[:, np.newaxis] + per_rate * light.departures()
    return Looks(fluxes, per_rate * light.err, ~light.counts)
