"""What is known of the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.stages.measure.trust import SkyStructure


@dataclass(frozen=True, eq=False)
class Pixels:
    """What is known of the pixels.

    Attributes
    ----------
    cr_mask : (ny, nx) bool, the grown cosmic-ray mask; without it no ``cr_flag`` is set
    segmentation : (ny, nx) int; shapes leave out the pixels of other segments, and it says where
        the sky is blank.  Without it neighbours count, and the noise follows from the drizzling
        parameters
    star_energy : (4,) share of a star's light within 1, 2, 3 and 4 native pixels, by the image's
        PSF; without it stars are looked for where the published encircled energy has them
    star_light : (ny, nx) float32, light of fitted stars, e/s
    frees_sky : leave the segments of other sources, and what is near to them, out of the annuli
    structure : of the sky, if it is known; without it, it is looked for
    """

    cr_mask: Bools | None = None
    segmentation: NDArray[np.integer[Any]] | None = None
    star_energy: Floats | None = None
    star_light: Image | None = None
    frees_sky: bool = False
    structure: SkyStructure | None = None
