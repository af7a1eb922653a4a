"""How time and memory grow with pixels, sources and processes, and what the first run costs.

    python benchmarks/scaling.py [--sizes 1075 2150 4300 6080]
        [--sources 500 5000 12500 25000 50000] [--mosaic 12000] [--repeats 3] [--images 6] [--quick]

The images are those of ``speed.py``.  Seconds of the steps are medians over repeats in one process,
after one image that is not counted; memory is the peak of the process, which does nothing else, in
any step.  The command on two and on more images tells what a further image costs on one core, on
all cores, and in two processes.  The first run is the command on a small image with an empty cache
of compiled kernels; beside it stands the second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from statistics import median

import speed

import bycatch
from bycatch.settings import Settings


def whole_run(
    path: Path, folder: Path, settings: Settings, repeats: int
) -> tuple[dict[str, float], float, int]:
    """Return seconds of the steps and of all, peak memory in MB, and the number of sources."""
    out, inputs = folder / "out", bycatch.Inputs(gaia=folder / "gaia.csv")
    runs = []
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        report = bycatch.run(path, out, settings, inputs)
        seconds = time.perf_counter() - start
        if not report.all_done:
            sys.exit(f"{path.name}: {report.images}")
        runs.append({cost.step: cost.seconds for cost in report.profile()} | {"all": seconds})
    peak = max(cost.peak_mb or 0 for cost in report.profile())
    middle = {name: median(run[name] for run in runs) for name in runs[0]}
    return middle, peak, len(report.images[0].catalog())


def row(
    label: str, size: int, n: int, folder: Path, settings: Settings, repeats: int, runner: Executor
) -> None:
    """Simulate an image, run it, and print its row; the image goes."""
    path = speed.write_image(folder, 1, size, n)
    seconds, peak, found = runner.submit(whole_run, path, folder, settings, repeats).result()
    path.unlink()
    steps = " | ".join(f"{seconds[step]:.2f}" for step in (*speed.STAGES, "all"))
    print(f"| {label} | {size} | {n} | {found} | {steps} | {peak:.0f} |", flush=True)


def first_run(folder: Path) -> tuple[float, float]:
    """Return seconds of the command on a small image: with an empty cache of kernels, and again."""
    path = speed.write_image(folder, 1, 1200)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "kernels")}
    words = ["run", path, "-o", folder / "out", "--gaia", folder / "gaia.csv", "-q"]
    took = []
    for _ in range(2):
        shutil.rmtree(folder / "out", ignore_errors=True)
        start = time.perf_counter()
        command = [sys.executable, "-m", "bycatch", *map(str, words)]
        subprocess.run(command, env=environment, check=True)
        took.append(time.perf_counter() - start)
    path.unlink()
    return took[0], took[1]


def processes(folder: Path, size: int, n_images: int) -> None:
    """Print seconds of the command on two and on more images, and of each further one."""
    paths = [speed.write_image(folder, number, size) for number in range(1, n_images + 1)]
    print(f"\n| images of {size} px | 2, s | {n_images}, s | a further image, s |")
    print("|---|---:|---:|---:|")
    for how, jobs in (("on one core", 1), ("each on all cores", None), ("in two processes", 2)):
        few, many = (
            speed.command(part, folder / "gaia.csv", folder, "deep", jobs)[0]
            for part in (paths[:2], paths)
        )
        further = (many - few) / (n_images - 2)
        print(f"| {how} | {few:.1f} | {many:.1f} | {further:.2f} |", flush=True)
    for path in paths:
        path.unlink()


def main() -> None:
    """Simulate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1075, 2150, 4300, 6080])
    parser.add_argument("--sources", type=int, nargs="*", default=[500, 5000, 12500, 25000, 50000])
    parser.add_argument("--mosaic", type=int, default=12000, help="side, px; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=6, help="of the command; at least 3")
    parser.add_argument("--quick", action="store_true", help="small images only")
    given = parser.parse_args()
    if given.quick:
        given.sizes, given.sources, given.mosaic = [600, 1200], [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty, kept = first_run(folder)
        print(f"first run on a machine: {empty:.1f} s; the second: {kept:.1f} s\n")
        settings = Settings.load(preset="deep")
        runner = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        first = speed.write_image(folder, 1, 1075)
        runner.submit(whole_run, first, folder, settings, 1).result()
        first.unlink()
        names = " | ".join((*speed.STAGES, "all"))
        print(f"| growing | side, px | sources | found | {names} | peak, MB |")
        print("|---|" + "---:|" * (len(speed.STAGES) + 5))
        for size in given.sizes:
            n = round(1500 * (size / 4300) ** 2)
            row("pixels and sources", size, n, folder, settings, given.repeats, runner)
        for n in given.sources:
            row("sources", 4300, n, folder, settings, given.repeats, runner)
        if given.mosaic:
            row("a mosaic", given.mosaic, 10000, folder, settings, 1, runner)
        runner.shutdown()
        processes(folder, 1200 if given.quick else 4300, given.images)


if __name__ == "__main__":
    main()
