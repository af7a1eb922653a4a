"""Seconds that the objects of a group of full frames take, and how they grow, as a Markdown table.

    python benchmarks/speed_objects.py [--quick] [--repeats 3]

Simulated visits of one field (`bycatch simulate`), a third of the images single exposures: three
and six filters, and three filters of a sky of fewer stars and galaxies, at the preset `deep`.  The
step is done anew in a running process, on all cores, after once that is not counted; its pages are
left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import common

import bycatch
from bycatch.pipeline.objects import make_objects
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.system.memory import forget_peak

FILTERS = ("F475W", "F625W", "F775W", "F435W", "F606W", "F814W")
N_EXPOSURES = (2, 1, 3, 2, 1, 3)
FULL, QUICK = (4096, 2048), (1000, 475)
SPARSE = 0.4
"""Stars and galaxies of the sparse sky, as a share of the usual ones."""


def simulated(folder: Path, n_images: int, share: float, shape: tuple[int, int]) -> list[Path]:
    """Write a visit into a folder, and return its images in the order of the filters."""
    usual = Settings.load().simulate
    settings = usual.replace(
        filters=FILTERS[:n_images],
        n_exposures=N_EXPOSURES[:n_images],
        n_columns=shape[0],
        n_rows=shape[1],
        stars_per_arcmin2=share * usual.stars_per_arcmin2,
        galaxies_per_arcmin2=share * usual.galaxies_per_arcmin2,
    )
    write_visit(simulate_visit(settings), folder)
    return sorted((folder / "raw").glob("*.fits"))


def row(paths: list[Path], folder: Path, repeats: int) -> None:
    """Run the chain on some images, time the objects, and print their row."""
    settings = Settings.load(preset="deep")
    out = folder / f"out{len(paths)}"
    run = bycatch.run(paths, out, settings, bycatch.Inputs(gaia=folder / "gaia.ecsv"))
    if not run.all_done:
        raise SystemExit(f"{folder}: {run.images}")
    clock, work = [], []
    for _ in range(repeats + 1):
        shutil.rmtree(out / "objects", ignore_errors=True)
        forget_peak()
        before_s = time.process_time()
        seconds, reports = common.timed(lambda: make_objects(out, settings))
        clock.append(seconds)
        work.append(time.process_time() - before_s)
    n = sum((report.summary or {})["n_objects"] for report in reports)
    cells = f"{median(clock[1:]):.1f}", f"{median(work[1:]):.1f}"
    print(common.row(len(paths), n, *cells, f"{common.peak_mb(os.getpid()):.0f}"), flush=True)
    shutil.rmtree(out)


def main() -> None:
    """Simulate, run, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small images")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    shape = QUICK if given.quick else FULL
    print(common.head("images", "objects", "s", "processor, s", "peak, MB", n_words=0), flush=True)
    with tempfile.TemporaryDirectory() as name:
        usual, sparse = Path(name) / "usual", Path(name) / "sparse"
        row(simulated(sparse, 3, SPARSE, shape), sparse, given.repeats)
        shutil.rmtree(sparse)
        paths = simulated(usual, 6, 1.0, shape)
        row(paths[:3], usual, given.repeats)
        row(paths, usual, given.repeats)


if __name__ == "__main__":
    main()
