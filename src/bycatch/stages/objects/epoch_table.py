"""The table of epochs: each object in each image, and in the exposures that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Floats, Ints
from bycatch.catalogs.columns import expand
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_columns import EPOCHS
from bycatch.catalogs.tables import floats, make_table
from bycatch.photcal import AB_MICROJANSKY, MAG_PER_FRACTION
from bycatch.stages.objects.epochs import Epochs
from bycatch.stages.objects.light import Looks
from bycatch.stages.objects.matrices import Matrices
from bycatch.stages.objects.model import ImagePhotometry, ObjectList, offsets_mas
from bycatch.stages.objects.photometry import LIMIT_SIGMA


def epoch_table(
    objects: ObjectList,
    matrices: Matrices,
    light: Sequence[dict[str, Floats]],
    variability: Epochs,
    object_id: Ints,
) -> Table:
    """Return the table of what each image and each exposure measured, object by object.

    Parameters
    ----------
    objects : the list
    matrices : measurements of the objects in the images
    light : of each image, as `light_of_image` has it
    variability : with the looks of exposures
    object_id : (N,) int
    """
    blocks: list[dict[str, Any]] = []
    for k, image in enumerate(matrices.images):
        of_image = _rows_of_image(image, objects)
        of_image["zeropoint_shift"] = variability.shift_mag[image.rows, k]
        blocks.append(of_image | light[k] | _names(image, object_id[image.rows]))
        looks, shift_mag = variability.looks[k], variability.look_shift_mag[k]
        for column in range(0 if looks is None else looks.flux.shape[1]):
            assert looks is not None
            shown, of_exposure = _rows_of_exposure(image, looks, column, objects)
            if shift_mag is not None:
                of_exposure["zeropoint_shift"] = shift_mag[shown, column]
            blocks.append(of_exposure | _names(image, object_id[image.rows[shown]]))
    specs = expand(EPOCHS, matrices.radii_px)
    data = {spec.name: _joined(blocks, spec.name) for spec in specs}
    order = np.lexsort([np.asarray(data[name]) for name in ("exposure", "image", "object_id")])
    return make_table(specs, {name: values[order] for name, values in data.items()})


def _names(image: ImagePhotometry, object_id: Ints) -> dict[str, Any]:
    n = len(object_id)
    return {
        "object_id": object_id,
        "image": np.full(n, image.label),
        "filter": np.full(n, image.filter),
    }


def _joined(blocks: Sequence[dict[str, Any]], name: str) -> Any:
    """Return a column of all blocks, NaN in those that do not have it."""
    if not blocks:
        return np.empty(0)
    values = [
        block[name] if name in block else np.full(len(block["object_id"]), np.nan)
        for block in blocks
    ]
    return np.ma.concatenate(values)  # type: ignore[no-untyped-call]


def _rows_of_image(image: ImagePhotometry, objects: ObjectList) -> dict[str, Any]:
    """Return the columns of the K objects that an image covers."""
    table, n = image.table, len(image.rows)
    dra, ddec = image.offsets_mas(objects)
    return {name: np.ma.asarray(table[name]) for name in table.colnames} | {
        "exposure": np.full(n, ""),
        "ccdchip": np.zeros(n, dtype=np.int64),
        "detected": image.detected,
        "source_id": image.source_id,
        "x": floats(table, "x_center"),
        "y": floats(table, "y_center"),
        "dra": dra,
        "ddec": ddec,
        "dpos_err": image.own_err_mas,
        "p_cr_alone": np.where(image.detected, floats(table, "p_cr"), np.nan),
    }


def _rows_of_exposure(
    image: ImagePhotometry, looks: Looks, column: int, objects: ObjectList
) -> tuple[Ints, dict[str, Any]]:
    """Return which of the K objects of an image an exposure shows, and their columns."""
    assert image.exposures is not None
    seen, light = image.exposures, image.exposures.light
    shown = np.flatnonzero(np.isfinite(looks.flux[:, column]))
    flux, err = looks.flux[shown, column], looks.err[shown, column]
    positive = np.where(flux > 0, flux, np.nan)
    zeropoint = AB_MICROJANSKY - 2.5 * np.log10(image.microjansky)
    limit = LIMIT_SIGMA * seen.flux_per_rate * light.sky_err[shown, column]
    dra, ddec = offsets_mas(
        objects, image.rows[shown], seen.mjd[column],
        seen.ra_deg[shown, column], seen.dec_deg[shown, column],
    )  # fmt: skip
    flags = np.where(light.is_hit[shown, column], int(Flag.LIKELY_COSMIC_RAY), 0)
    flags |= np.where(light.is_full[shown, column], int(Flag.SATURATED), 0)
    n = len(shown)
    return shown, {
        "exposure": np.full(n, light.exposures[column]),
        "ccdchip": light.chip[shown, column],
        "mjd": np.full(n, seen.mjd[column]),
        "detected": np.zeros(n, dtype=bool),
        "source_id": np.zeros(n, dtype=np.int64),
        "x": light.x[shown, column],
        "y": light.y[shown, column],
        "dra": dra,
        "ddec": ddec,
        "dpos_err": 1000.0 * image.scale_arcsec * light.centroid_err_px[shown, column],
        "flux": flux,
        "flux_err": err,
        "mag": zeropoint - 2.5 * np.log10(positive),
        "mag_err": MAG_PER_FRACTION * err / positive,
        "maglim": zeropoint - 2.5 * np.log10(limit),
        "n_exp": np.ones(n, dtype=np.int64),
        "n_exp_min": np.ones(n, dtype=np.int64),
        "exptime": np.full(n, light.exptime_s[column]),
        "flags": flags,
    }
