"""The PSF that a run with PSF photometry has made of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.images.files import open_fits
from bycatch.stages.psf.build import first_model
from bycatch.stages.psf.model import PsfModel, place_terms, published_psf

if TYPE_CHECKING:
    from bycatch.pipeline.workbench import Workbench


def stored_psf(bench: Workbench) -> PsfModel | None:
    """Return the PSF of an image's product; None where the run has made none.

    Parameters
    ----------
    bench : the image, with its pixels
    """
    path, record = bench.paths.psf, bench.record
    # What lies there may be of another run: a step of this one must have made it.
    is_made = any(path.name in stage.outputs for stage in record.stages.values())
    if not is_made or not record.has_whole(path):
        return None
    with open_fits(path) as hdus:
        header, cube = hdus[0].header, hdus[0].data.astype(float)
    start = published_psf(bench.image)
    model = first_model(start, bench.image.shape)
    if "WIDTHSC" not in header or cube.shape[1:] != model.grids.shape[1:]:  # of an older version
        return None
    n = header["NXPSFS"]
    # As they are written (`writing.Products.psf`); the header has whole pixels.
    y, x = (np.linspace(0, size - 1, n) for size in bench.image.shape)
    columns, rows = (np.ravel(v) for v in np.meshgrid(x, y))
    terms = place_terms(columns, rows, bench.image.shape, 3 if n > 1 else 1)
    grids = np.linalg.lstsq(terms, cube.reshape(len(cube), -1), rcond=None)[0]
    return replace(
        model,
        grids=grids.reshape(-1, *cube.shape[1:]),
        n_stars=header["NSTARS"],
        width_scatter=header["WIDTHSC"],
    )
