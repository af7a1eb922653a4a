"""Fluxes and colours of objects from what the images measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.photcal import ABSOLUTE_SYSTEMATIC
from bycatch.stages.objects import colours as colours_of
from bycatch.stages.objects.colours import Colours, colour_systematic, filter_fluxes, radius_by_snr
from bycatch.stages.objects.matrices import Matrices

LIMIT_SIGMA = 5.0
"""Of the limits in the catalogs."""


@dataclass(frozen=True, eq=False)
class ObjectFluxes:
    """Fluxes f_nu (microjansky) of N objects in F filters, and the colours of neighbours.

    Attributes
    ----------
    radius_px : (N,) float; of the apertures of an object, the same in all filters; NaN: none
    flux, err : (N, F) float
    err_sys : (N, F) float; systematic error as a fraction, that of the absolute scale included
    limit : (N, F) float; 5 sigma of blank sky
    chi2_dof : (N, F) float; of the images of a filter against their mean; NaN of one
    n_images : (N, F) int
    colours : of neighbouring filters
    image_flux, image_err : (N, M) float; in each image
    """

    radius_px: Floats
    flux: Floats
    err: Floats
    err_sys: Floats
    limit: Floats
    chi2_dof: Floats
    n_images: Ints
    colours: Colours
    image_flux: Floats
    image_err: Floats

    def colour_columns(self, filters: Sequence[str]) -> dict[str, Any]:
        """Return the columns of the colours (object_columns.COLOUR)."""
        found: dict[str, Any] = {}
        for k, (f, g) in enumerate(pairwise(filters)):
            found[f"colour_{f}_{g}"] = self.colours.colour[:, k]
            found[f"colour_err_{f}_{g}"] = self.colours.err_total[:, k]
            found[f"colour_limit_{f}_{g}"] = self.colours.kind[:, k]
        return found


def object_fluxes(seen: Matrices) -> ObjectFluxes:
    """Return fluxes and colours of points: aperture-corrected, in one radius for all filters."""
    unit = np.array([image.microjansky for image in seen.images])[:, np.newaxis]
    flux, err = (seen.per_radius(f"{n}_{{r}}_apcor") * unit for n in ("flux", "err"))
    sky = 10.0 ** (0.4 * (23.9 - seen.per_radius("maglim_{r}"))) / LIMIT_SIGMA
    names = [image.filter for image in seen.images]
    number = np.array([seen.filters.index(name) for name in names], dtype=np.int64)
    shared = np.array([colour_systematic(name) for name in names])[:, np.newaxis]
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = seen.per_radius("err_{r}_sys") * unit / np.abs(flux)
    own = np.sqrt(np.maximum(np.nan_to_num(whole) ** 2 - shared**2 - ABSOLUTE_SYSTEMATIC**2, 0.0))
    means = filter_fluxes(
        flux, err, number, len(seen.filters), shared_sys=shared, own_sys=own, weight_err=sky
    )
    radius = radius_by_snr(means)
    at, at_err, at_sys = means.at(radius)
    limits = filter_fluxes(sky, sky, number, len(seen.filters)).at(radius)[1] * LIMIT_SIGMA
    rows = np.arange(seen.n)
    chi2 = means.chi2[rows, :, radius] / np.maximum(means.n_images - 1, 1)
    pairs = [(k, k + 1) for k in range(len(seen.filters) - 1)]
    radii = np.array([*seen.radii_px, np.nan])
    return ObjectFluxes(
        radii[radius],
        at,
        at_err,
        np.hypot(at_sys, ABSOLUTE_SYSTEMATIC),
        limits,
        np.where((means.n_images > 1) & (radius >= 0)[:, np.newaxis], chi2, np.nan),
        means.n_images,
        colours_of.colours(at, at_err, at_sys, pairs),
        *(np.where(radius[:, np.newaxis] >= 0, v[rows, :, radius], np.nan) for v in (flux, err)),
    )
