"""The sky of an image on disk: background and noise box by box, as SExtractor's MINIBACKGROUND."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.errors import UnreadableFile
from bycatch.images.files import open_fits
from bycatch.kernels.surfaces import Surface, surface_through

if TYPE_CHECKING:
    from astropy.io import fits

    from bycatch.stages.detect import SkyModel


def sky_hdus(model: SkyModel) -> fits.HDUList:
    """Return the values of the boxes, an image for each surface.

    Parameters
    ----------
    model : of `detect`
    """
    from astropy.io import fits

    primary = _image(model.background, "BACKGROUND", "electron/s", fits.PrimaryHDU)
    primary.header["NBELOW"] = (model.n_oversubtracted, "small boxes far below the background")
    hdus = [primary, _image(model.noise, "NOISE", "electron/s(1/2)", fits.ImageHDU)]
    if model.structure is not None:
        hdus += [
            _image(model.structure.share, "STRUCTURE", "", fits.ImageHDU),
            _image(model.structure.coarse, "COARSE", "electron/s(1/2)", fits.ImageHDU),
        ]
    return fits.HDUList(hdus)


def _image(surface: Surface, name: str, unit: str, kind: Any) -> Any:
    hdu = kind(surface.mesh)
    hdu.header["EXTNAME"], hdu.header["BUNIT"] = name, unit
    for axis, size in zip("YX", surface.box_px, strict=True):
        hdu.header[f"BOX{axis}"] = (size, "[pix] side of a box of the image")
    return hdu


def read_sky(path: Path) -> SkyModel:
    """Return what `sky_hdus` put into a file.

    Raises
    ------
    UnreadableFile
        It is damaged.
    """
    from bycatch.stages.detect import SkyModel
    from bycatch.stages.detect.sky import Structure

    with open_fits(path) as hdus:
        try:
            surfaces = {hdu.name: _surface(hdu) for hdu in hdus}
            structure = None
            if "STRUCTURE" in surfaces:
                structure = Structure(surfaces["STRUCTURE"], surfaces["COARSE"])
            n_below = int(hdus[0].header["NBELOW"])
            return SkyModel(surfaces["BACKGROUND"], surfaces["NOISE"], structure, n_below)
        except (KeyError, TypeError, ValueError) as err:
            raise UnreadableFile(
                f"{path}: not the sky of an image ({err})",
                hint="remove it and run the step again",
            ) from err


def _surface(hdu: Any) -> Surface:
    mesh = np.asarray(hdu.data, dtype=np.float32)
    return surface_through(mesh, (int(hdu.header["BOXY"]), int(hdu.header["BOXX"])))
