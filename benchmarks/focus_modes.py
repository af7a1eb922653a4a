"""How light shifts between apertures with focus and smear: makes data/focus_modes_wfc.csv.

    python benchmarks/focus_modes.py > src/bycatch/data/focus_modes_wfc.csv

The optics are those of the simulator (bycatch.simulate.optics: pupil and aberrations of Tiny Tim),
seen by detector pixels with charge diffusion and drizzled with whole drops.  A mode is a relative
change of the light within a radius, in percent, where that within 0.5 arcsec stays:

- ``focus``: what defocus by 0.06 waves either way has in common,
- ``side``: half of what differs between the two sides, as there are other aberrations,
- ``smear``: drops of a whole pixel more: variance 1/12 pixel^2 per axis.
"""

from __future__ import annotations

import csv
import sys
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from bycatch.settings import SimulateSettings
from bycatch.simulate.optics import SAMPLES_PER_PX, Optics, enclosed_share, focal_plane, halo
from bycatch.simulate.psf import BOX_VARIANCE
from bycatch.simulate.visit import optics_of

RADII_PX = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
STEPS = 6
"""Defocus in 0.01 waves."""
N_DRIZZLE_BOXES = 3
"""The drop, an output pixel, and once more as an aperture takes its light as spread evenly."""
Floats = NDArray[np.float64]


def growth(optics: Optics, step: int, smear: float = 0.0) -> Floats:
    """Return the light within the radii, in units of that within the last."""
    light, share = focal_plane(optics, step)
    for _ in range(N_DRIZZLE_BOXES):
        light = uniform_filter(light, SAMPLES_PER_PX, mode="constant")
    if smear > 0:
        light = gaussian_filter(light, np.sqrt(smear) * SAMPLES_PER_PX, mode="constant")
    total = enclosed_share(light, RADII_PX) + (1.0 - share) * halo(optics).energy(RADII_PX)
    return np.asarray(total / total[-1])


def modes(filter_name: str) -> dict[str, Floats]:
    """Return the modes of a filter, percent."""
    optics = optics_of(SimulateSettings(), filter_name)
    best = growth(optics, 0)
    minus, plus, smeared = (
        100.0 * (light / best - 1.0)
        for light in (
            growth(optics, -STEPS),
            growth(optics, STEPS),
            growth(optics, 0, BOX_VARIANCE),
        )
    )
    return {"focus": 0.5 * (plus + minus), "side": 0.5 * (plus - minus), "smear": smeared}


def main() -> None:
    """Print the table."""
    text = (resources.files("bycatch") / "data" / "ee_bohlin2016_wfc.csv").read_text()
    filters = [name for name in text.splitlines()[0].split(",") if name.startswith("F")]
    found = {name: modes(name) for name in filters}
    print(
        "# Relative change of the light within a radius, in percent, that within 0.5 arcsec kept:"
    )
    print(
        "# focus: defocus by 0.06 waves rms at 547 nm, the mean of both sides; side: half of their"
    )
    print(
        "# difference; smear: 1/12 pixel^2 more variance per axis.  Source: the optics of Tiny Tim"
    )
    print("# (Krist, Hook & Stoehr 2011), made by benchmarks/focus_modes.py.")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["mode", "radius_arcsec", *filters])
    for mode in ("focus", "side", "smear"):
        for k, radius in enumerate(RADII_PX):
            values = [f"{found[name][mode][k] + 0.0:.3f}" for name in filters]
            writer.writerow([mode, f"{0.05 * radius:.3f}", *values])


if __name__ == "__main__":
    main()
