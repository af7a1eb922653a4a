"""How well the PSF of an image fits, as pictures: the model, and what it leaves."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch.report import pixels
from bycatch.report.products import ReportedImage
from bycatch.robust import robust_sigma

logger = logging.getLogger("bycatch")

SHOWN_LEFT = 0.05
"""What is left of the brightest pixel of a star, as a share of it, that has the deepest colour."""
FAINTEST = 1e-4
"""Light of the model against its maximum that is still shown."""
LEFT_RADIUS_PX = 4.0
"""The share of a star's light that is left counts within this radius, detector pixels."""
RED, BLUE = (178, 24, 43), (33, 102, 172)


def psf_pictures(image: ReportedImage) -> dict[str, Any] | None:
    """Return pictures of the PSF and what it leaves; None where no PSF was fitted.

    Parameters
    ----------
    image : ReportedImage
    """
    path = image.paths.psf
    if image.number("measure", "psf_n_stars") is None or not path.exists():
        return None
    try:
        with fits.open(path, memmap=False) as hdus:
            if "LEFT" not in hdus or "PIECE" not in hdus:
                return None
            header, cube = hdus[0].header, np.asarray(hdus[0].data, float)
            n_stars, residual = (
                np.asarray(hdus["NSTARS"].data),
                np.asarray(hdus["LEFT"].data, float),
            )
            piece = np.asarray(hdus["PIECE"].data, float)
            corner = [int(hdus["PIECE"].header[name]) for name in ("X0", "Y0")]
    except (OSError, ValueError, TypeError, KeyError) as err:
        logger.warning("%s: no PSF in the report: %s", image.place, err)
        return None
    model = cube[len(cube) // 2]
    peak = float(model.max())
    reach = residual.shape[-1] // 2
    away = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    core = away <= LEFT_RADIUS_PX * float(header["DETPX"])
    return {
        "model": _uri(_logarithmic(model / peak)),
        "left": [
            {
                "url": _uri(_residual_colours(residual[k] / peak)) if n_stars.flat[k] else "",
                "n": int(n_stars.flat[k]),
                "share": round(100 * float(np.abs(residual[k][core]).sum()), 1),
            }
            for k in _from_the_top(n_stars.shape)
        ],
        "piece": _uri(_sky_light(piece[0], piece[0])),
        "rest": _uri(_sky_light(piece[1], piece[0] - np.nanmedian(piece[0]))),
        "corner": corner,
        "side": piece.shape[-1],
        "n_stars": int(n_stars.sum()),
        "fwhm": image.number("measure", "psf_fwhm_px"),
        "origin": image.number("measure", "psf_origin"),
    }


def _from_the_top(shape: tuple[int, ...]) -> list[int]:
    """Return the parts of the image in the order of the page: the last row is on top."""
    rows, columns = shape
    return [row * columns + column for row in reversed(range(rows)) for column in range(columns)]


def _uri(picture: NDArray[np.uint8]) -> str:
    return pixels.data_uri(pixels.png(np.ascontiguousarray(picture[::-1])), "png")


def _logarithmic(light: NDArray[Any]) -> NDArray[np.uint8]:
    levels = 1.0 - np.log10(np.clip(light, FAINTEST, 1.0)) / np.log10(FAINTEST)
    return np.asarray(250.0 * (1.0 - levels), np.uint8)


def _residual_colours(residual: NDArray[Any]) -> NDArray[np.uint8]:
    """Return too little light in red, too much in blue, as the model has it; none is white."""
    share = np.clip(np.nan_to_num(residual) / SHOWN_LEFT, -1.0, 1.0)[..., np.newaxis]
    colour = np.where(share > 0, np.array(RED), np.array(BLUE))
    return np.asarray(255.0 + (colour - 255.0) * np.abs(share), np.uint8)


def _sky_light(data: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.uint8]:
    """Return greys of one range, that of the piece before stars were subtracted."""
    finite_scale = scale[np.isfinite(scale)]
    if not len(finite_scale):
        return np.full(data.shape, 255, np.uint8)
    sky = float(np.median(finite_scale))
    noise = max(robust_sigma(finite_scale, sky), 1e-12)
    top = np.arcsinh(max(float(np.percentile(finite_scale, 99.8)) - sky, 5 * noise) / (3 * noise))
    levels = np.arcsinh(np.clip(data - sky + 2 * noise, 0, None) / (3 * noise)) / top
    return np.asarray(np.nan_to_num(250 * (1 - np.clip(levels, 0, 1)), nan=255), np.uint8)
