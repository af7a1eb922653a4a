"""Chips of exposures drizzled into the planes of one image, with STScI's drizzle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.errors import BycatchError
from bycatch.settings import SimulateSettings
from bycatch.simulate.geometry import NATIVE_SCALE_ARCSEC, Chip, Detector, Grid

CR_TRUTH_SIGMA = 0.5
"""A pixel counts as hit where the surviving charge exceeds this share of the local noise."""
DRIZZLED_NOISE = 0.7
"""Noise of a drizzled pixel compared with that of a detector pixel (pixfrac 1, same scale)."""


@dataclass(frozen=True, eq=False)
class ChipExposure:
    """One chip of one exposure, calibrated: electrons per nominal pixel."""

    chip: Chip
    exposure: int
    shift: tuple[float, float]
    data_e: Floats
    good: Bools
    model_e: Floats
    charge_share: Floats
    """Surviving cosmic-ray charge in units of the noise."""
    defects: Bools
    """Hot pixels and dead columns that were not masked."""


class Planes:
    """The drizzled planes of one image: data, noiseless objects, cosmic rays."""

    def __init__(self, shape: tuple[int, int], n_exposures: int) -> None:
        drizzle = drizzle_class()
        self.data = drizzle(kernel="square", out_shape=shape, max_ctx_id=2 * n_exposures - 1)
        self.model = drizzle(kernel="square", out_shape=shape, disable_ctx=True)
        self.rays = drizzle(kernel="square", out_shape=shape, disable_ctx=True)
        self.flaws = drizzle(kernel="square", out_shape=shape, disable_ctx=True)

    def add(
        self, settings: SimulateSettings, detector: Detector, grid: Grid, exposure: ChipExposure
    ) -> None:
        """Drizzle one chip; the values become electrons per second and output pixel."""
        ratio = settings.scale_arcsec / NATIVE_SCALE_ARCSEC
        u, v = detector.to_plane(*exposure.chip.pixels())
        pixmap = np.dstack(grid.from_plane(u + exposure.shift[0], v + exposure.shift[1]))
        weight = exposure.good.astype(np.float32)
        drizzles: list[tuple[Any, Floats]] = [
            (self.data, exposure.data_e),
            (self.model, exposure.model_e),
            (self.rays, exposure.charge_share * settings.exptime_s),
        ]
        if exposure.defects.any():
            drizzles.append((self.flaws, exposure.defects.astype(float) * settings.exptime_s))
        for plane, values in drizzles:
            plane.add_image(
                (values / settings.exptime_s).astype(np.float32),
                exptime=settings.exptime_s,
                pixmap=pixmap,
                weight_map=weight,
                wht_scale=settings.exptime_s,
                iscale=ratio**2,
                pixel_scale_ratio=ratio,
                pixfrac=settings.pixfrac,
                in_units="cps",
            )

    def results(
        self, settings: SimulateSettings
    ) -> tuple[Image, Image, NDArray[np.int32], Image, Bools]:
        """Return SCI, WHT, CTX, the noiseless objects, and the map of cosmic rays."""
        wht = np.asarray(self.data.out_wht)
        has_data = wht > 0
        ctx = np.asarray(self.data.out_ctx)
        sci = np.where(has_data, self.data.out_img, np.float32(np.nan)).astype(np.float32)
        model = np.where(has_data, self.model.out_img, 0).astype(np.float32)
        # The mean over n exposures of (charge / noise) is that of one diluted n times, against
        # noise that falls with the root of n.
        ratio = settings.scale_arcsec / NATIVE_SCALE_ARCSEC
        depth = np.sqrt(np.maximum(wht / (settings.exptime_s * ratio**2), 0.0))
        rays = np.where(has_data, self.rays.out_img, 0) / ratio**2 * depth
        return (
            sci,
            wht,
            ctx[0] if len(ctx) == 1 else ctx,
            model,
            rays > (CR_TRUTH_SIGMA * DRIZZLED_NOISE),
        )

    def defects(self) -> Bools:
        """Return where a pixel holds some of a hot pixel or a dead column."""
        return np.asarray(np.nan_to_num(self.flaws.out_img) > 0)


def drizzle_class() -> Any:
    """Return the class that drizzles.

    Raises
    ------
    BycatchError
        The optional package drizzle is not installed.
    """
    try:
        from drizzle.resample import Drizzle
    except ImportError as err:
        raise BycatchError(
            "the package drizzle is not installed", hint="pip install 'bycatch[simulate]'"
        ) from err
    return Drizzle
