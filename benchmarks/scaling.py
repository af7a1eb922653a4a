"""How time and memory grow with pixels, sources and processes, and what the first run costs.

    python benchmarks/scaling.py [--sizes 1075 2150 4300 6080]
        [--sources 500 5000 12500 25000 50000] [--mosaic 12000] [--repeats 3] [--images 6] [--quick]

The images are those of ``scene.py``.  Seconds of the steps are medians over repeats in one process,
after one image that is not counted; memory is the peak of the process, which does nothing else, in
any step.  The command on two and on more images tells what a further image costs on one core, on
all cores, and in two processes.  The first run is the command on a small image with an empty cache
of compiled kernels; beside it stands the second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import common
from scene import GAIA, n_sources, write_image
from speed import STAGES, chain_command, timed_runs

from bycatch.settings import Settings


def whole_run(
    path: Path, folder: Path, settings: Settings, repeats: int
) -> tuple[dict[str, float], float, int]:
    """Return what an image takes (see `timed_runs`)."""
    paths, outs = [path] * repeats, [folder / "out"] * repeats
    return timed_runs(paths, outs, folder / GAIA, settings, repeats)


def row(
    label: str, size: int, n: int, folder: Path, settings: Settings, repeats: int, runner: Executor
) -> None:
    """Simulate an image, run it, and print its row; the image goes."""
    path = write_image(folder, 1, size, n)
    seconds, peak, found = runner.submit(whole_run, path, folder, settings, repeats).result()
    path.unlink()
    steps = (f"{seconds[step]:.2f}" for step in (*STAGES, "objects", "all"))
    print(common.row(label, size, n, found, *steps, f"{peak:.0f}"), flush=True)


def first_run(folder: Path) -> tuple[float, float]:
    """Return seconds of the command on a small image: with an empty cache of kernels, and again."""
    path = write_image(folder, 1, 1200)
    variables = {"NUMBA_CACHE_DIR": str(folder / "kernels")}
    words = ["run", path, "-o", folder / "out", "--gaia", folder / GAIA, "-q"]
    took = []
    for _ in range(2):
        shutil.rmtree(folder / "out", ignore_errors=True)
        took.append(common.command(*words, variables=variables).seconds)
    path.unlink()
    return took[0], took[1]


def processes(folder: Path, size: int, n_images: int) -> None:
    """Print seconds of the command on two and on more images, and of each further one."""
    paths = [write_image(folder, number, size) for number in range(1, n_images + 1)]
    names = (f"images of {size} px", "2, s", f"{n_images}, s", "a further image, s")
    print(f"\n{common.head(*names, n_words=1)}")
    for how, jobs in (("on one core", 1), ("each on all cores", None), ("in two processes", 2)):
        few, many = (
            chain_command(part, folder / GAIA, folder, "deep", jobs).seconds
            for part in (paths[:2], paths)
        )
        further = (many - few) / (n_images - 2)
        print(common.row(how, f"{few:.1f}", f"{many:.1f}", f"{further:.2f}"), flush=True)
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
        first = write_image(folder, 1, 1075)
        runner.submit(whole_run, first, folder, settings, 1).result()
        first.unlink()
        names = ("growing", "side, px", "sources", "found", *STAGES, "objects", "all", "peak, MB")
        print(common.head(*names, n_words=1))
        for size in given.sizes:
            row(
                "pixels and sources", size, n_sources(size), folder, settings, given.repeats, runner
            )
        for n in given.sources:
            row("sources", 4300, n, folder, settings, given.repeats, runner)
        if given.mosaic:
            row("a mosaic", given.mosaic, 10000, folder, settings, 1, runner)
        runner.shutdown()
        processes(folder, 1200 if given.quick else 4300, given.images)


if __name__ == "__main__":
    main()
