"""Speed of the cosmic-ray mask on a simulated single exposure, as a Markdown table.

    python benchmarks/speed_crmask.py [--columns 4096] [--rows 2048] [--repeats 5]
        [--no-reference]

The LAcosmic kernel against ``astroscrappy.detect_cosmics(sepmed=False)`` on the same
pixels in the same run, at astroscrappy's default settings and at those of the stage,
with the number of pixels that differ; and seconds and peak memory of the whole stage.
Seconds are medians of repeats after one that is not counted; astroscrappy runs once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from common import head, median_timed, peak_mb, row, timed

from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.lacosmic import lacosmic
from bycatch.settings import CrmaskSettings, SimulateSettings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.stages import crmask


def simulated(n_columns: int, n_rows: int) -> DrcImage:
    """Return one exposure of 600 s; a full frame has chips of 4096 x 2048 px."""
    settings = SimulateSettings(
        filters=("F775W",), n_exposures=(1,), exptime_s=600.0, n_columns=n_columns, n_rows=n_rows
    )
    with tempfile.TemporaryDirectory() as folder:
        files = write_visit(simulate_visit(settings), Path(folder))
        return read_drc(files.images[0])


def compare(charge: crmask.Charge, name: str, repeats: int, **options: float) -> str:
    """Return a row: seconds of the kernel and of astroscrappy, ratio, differing pixels."""
    import astroscrappy

    bad = ~charge.good | charge.saturated
    n_iterations = int(options.pop("n_iterations"))
    fast_s, found = median_timed(
        lambda: lacosmic(charge.counts, charge.variance, bad, n_iterations=n_iterations, **options),
        repeats,
    )
    slow_s, (expected, _) = timed(
        lambda: astroscrappy.detect_cosmics(
            charge.counts, inmask=bad, invar=charge.variance, satlevel=np.inf, sepmed=False,
            niter=n_iterations, **options,
        )
    )  # fmt: skip
    differ = f"{int((found != expected).sum())} of {int(expected.sum())}"
    return row(name, f"{fast_s:.3f}", f"{slow_s:.1f}", f"{slow_s / fast_s:.0f}", differ)


def main() -> None:
    """Simulate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-reference", action="store_true", help="leave astroscrappy out")
    given = parser.parse_args()
    image = simulated(given.columns, given.rows)
    before_mb = peak_mb(os.getpid())
    first_s, _ = timed(lambda: crmask.run(image))
    stage_s, result = median_timed(lambda: crmask.run(image), given.repeats)
    ny, nx = image.shape
    print(f"{ny} x {nx} px, {result.n_tracks} tracks, {result.n_pixels} pixels of cosmic rays\n")
    print(f"crmask.run: {stage_s:.3f} s (first call {first_s:.1f} s)")
    print(f"peak memory: {before_mb:.0f} MB before, {peak_mb(os.getpid()):.0f} MB after\n")
    if given.no_reference:
        return
    charge = crmask.charge_of(image, image.valid & (image.exptime_map_s > 0))
    own = CrmaskSettings()
    print(head("settings", "kernel, s", "astroscrappy, s", "ratio", "pixels that differ"))
    default = {"sigclip": 4.5, "sigfrac": 0.3, "objlim": 5.0, "n_iterations": 4}
    print(compare(charge, "astroscrappy's default", given.repeats, **default))
    names = ("sigclip", "sigfrac", "objlim", "n_iterations")
    print(compare(charge, "stage", given.repeats, **{n: getattr(own, n) for n in names}))


if __name__ == "__main__":
    main()
