"""Cosmic rays: LAcosmic on the drizzled image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.drc import DrcImage
from bycatch.settings import CrmaskSettings


@dataclass(frozen=True, eq=False)
class CrmaskResult:
    """Cosmic-ray masks, (ny, nx) bool."""

    mask: NDArray[np.bool_]
    grown: NDArray[np.bool_]
    noise_scale: float

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        return {"n_cr_pixels": int(self.mask.sum()), "noise_scale": self.noise_scale}


def run(image: DrcImage, settings: CrmaskSettings | None = None) -> CrmaskResult:
    """Placeholder body until the tuned one arrives."""
    import astroscrappy
    from scipy.ndimage import gaussian_filter

    chosen = settings or CrmaskSettings()
    t = image.exptime_map_s
    data = np.where(image.valid, image.sci * t, 0).astype(np.float32)
    var = np.where(image.valid, np.maximum(data, 0) + 40.0, 1).astype(np.float32)
    mask, _ = astroscrappy.detect_cosmics(
        data, inmask=~image.valid, invar=var, sigclip=chosen.sigclip, sigfrac=chosen.sigfrac,
        objlim=chosen.objlim, niter=chosen.n_iterations, sepmed=True, satlevel=1e9,
    )
    mask = mask & image.valid
    grown = gaussian_filter(mask.astype(np.float32), 0.5) > 0.01
    return CrmaskResult(mask, grown & image.valid, 1.0)
