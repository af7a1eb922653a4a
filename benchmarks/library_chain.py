"""The chain made of library calls: astroscrappy, photutils, scipy and astropy, step by step.

A readable reference for ``benchmarks/speed.py``: the same steps at the same settings on the same
file, without the alignment.  Detection is that of ``bycatch.testing.reference_detect``; the calls
for apertures, annuli and profiles are those of ``speed_measure.py``.

    python benchmarks/library_chain.py FILE_drc.fits OUT.ecsv [--preset deep]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from common import timed
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from speed_measure import library_fits, library_sky, library_sums

from bycatch.images.drc import DrcImage, read_drc
from bycatch.settings import CrmaskSettings, Settings
from bycatch.stages import crmask
from bycatch.testing import reference_detect


@dataclass
class Clock:
    """Seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, function: Any, *args: Any) -> Any:
        """Return what a call returns, and take its time."""
        self.seconds[step], result = timed(lambda: function(*args))
        return result


def cosmic_ray_mask(image: DrcImage, settings: CrmaskSettings) -> NDArray[np.bool_]:
    """Return the grown mask of LAcosmic; charge and noise are the stage's own."""
    import astroscrappy

    good = image.valid & (image.exptime_map_s > 0)
    charge = crmask.charge_of(image, good)
    mask, _ = astroscrappy.detect_cosmics(
        charge.counts, inmask=~good | charge.saturated, invar=charge.variance, satlevel=np.inf,
        sepmed=False, sigclip=settings.sigclip, sigfrac=settings.sigfrac, objlim=settings.objlim,
        niter=settings.n_iterations, cleantype=settings.cleantype,
    )  # fmt: skip
    grown = gaussian_filter(mask.astype(np.float32), settings.grow_sigma_px)
    return np.asarray((grown > settings.grow_threshold) & good)


def photometry(image: DrcImage, x: NDArray[np.float64], y: NDArray[np.float64]) -> Table:
    """Return sums, areas, clipped sky and FWHM of the sources."""
    data = np.nan_to_num(image.sci).astype(np.float64)
    sums, areas = library_sums(data, image.valid.astype(np.float64), x, y)
    median, std, n_sky = library_sky(data, ~image.valid, x, y)
    fwhm, cost, _ = library_fits(data, image.valid, x, y, 1e-8)
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    columns = {"x": x, "y": y, "ra": ra, "dec": dec, "sky": median, "std": std, "n_sky": n_sky}
    columns |= {f"sum_{k}": sums[:, k] for k in range(sums.shape[1])}
    columns |= {f"area_{k}": areas[:, k] for k in range(areas.shape[1])}
    return Table(columns | {"fwhm": fwhm, "cost": cost})


def chain(path: Path, out: Path, settings: Settings) -> tuple[dict[str, float], int]:
    """Do all steps on a file, write the table, and return the seconds of each and the sources."""
    clock = Clock()
    image = clock.timed("read", read_drc, path)
    found = clock.timed("detect", reference_detect.detect, image, settings.detect)
    clock.timed("crmask", cosmic_ray_mask, image, settings.crmask)
    table = clock.timed("measure", photometry, image, found.columns["x"], found.columns["y"])
    clock.timed("write", lambda: table.write(out, format="ascii.ecsv", overwrite=True))
    return clock.seconds, len(table)


def main() -> None:
    """Run it on a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="classic")
    given = parser.parse_args()
    seconds, n = chain(given.path, given.out, Settings.load(preset=given.preset))
    print(f"{n} sources, {sum(seconds.values()):.1f} s", seconds)


if __name__ == "__main__":
    main()
