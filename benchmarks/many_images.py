"""How the command grows with the number of images: time, memory and files, as Markdown tables.

    python benchmarks/many_images.py [scaling] [nothing] [memory]
        [--images 100 300 1000 3000] [--finished 1020] [--jobs 2] [--folder FOLDER]

Fields of three small images (``field_files.py``), all in one folder, run by the command into a new
one, offline.  ``scaling``: seconds, files and bytes for each image.  ``nothing``: the same command
again on a finished folder.  ``memory``: the most that the first process has, and what a line
through those points gives for 10,000 images; the processes that it starts are not in it.  The exit
status is 1 if a demand is not met.  About 40 minutes on 2 cores and 10 GB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from common import CommandCost, command, timed
from field_files import IMAGES, Fields, first_fields, write_fields

MODES = ("scaling", "nothing", "memory")
MOST_NOTHING_S = 5.0
MANY, MOST_MEMORY_MB = 10_000, 400.0
REPEATS = 3


@dataclass(frozen=True)
class Growth:
    """A run into a new folder: its number of images, what it took and what it left."""

    n_images: int
    ended: CommandCost
    n_files: int
    n_bytes: int


def run(fields: Fields, out: Path, jobs: int | None) -> CommandCost:
    """Run the command on all fields."""
    words = ["run", fields.raw, "-o", out, "--gaia", fields.gaia, "--offline", "-q"]
    words += [] if jobs is None else ["-j", jobs]
    return command(*words)


def grown(fields: Fields, out: Path, jobs: int | None) -> Growth:
    """Run the command into a new folder, and count what is there then."""
    ended = run(fields, out, jobs)
    files = [path for path in out.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    return Growth(len(IMAGES) * len(fields.names), ended, len(files), size)


def print_scaling(runs: list[Growth]) -> None:
    """Print what each further image costs."""
    print("\n| images | s | ms per image | ratio | peak, MB | files per image | kB per image |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    first = runs[0].ended.seconds / runs[0].n_images
    for run in runs:
        each = run.ended.seconds / run.n_images
        print(
            f"| {run.n_images} | {run.ended.seconds:.1f} | {1e3 * each:.0f} | {each / first:.2f} "
            f"| {run.ended.peak_mb:.0f} | {run.n_files / run.n_images:.1f} "
            f"| {run.n_bytes / run.n_images / 1e3:.0f} |"
        )


def is_memory_small(runs: list[Growth]) -> bool:
    """Print the memory of the first process as a line, and tell whether it meets the demand."""
    n_images = np.array([run.n_images for run in runs], dtype=float)
    peaks = np.array([run.ended.peak_mb for run in runs])
    slope, start = np.polyfit(n_images, peaks, 1)
    expected = start + slope * MANY
    print("\n| images | peak of the first process, MB |")
    print("|---:|---:|")
    for n, peak in zip(n_images, peaks, strict=True):
        print(f"| {n:.0f} | {peak:.0f} |")
    print(f"| {MANY} by a line | {expected:.0f} (demand: {MOST_MEMORY_MB:.0f}) |")
    print(f"\n{start:.0f} MB, and {1e3 * slope:.1f} kB for each image")
    return bool(expected <= MOST_MEMORY_MB)


def is_nothing_fast(fields: Fields, small: Fields, folder: Path, jobs: int | None) -> bool:
    """Print what it takes to find that nothing is to be done, and tell whether it is little."""
    print("\n| images, all done | s | ms for each image beyond the first field | peak, MB |")
    print("|---:|---:|---:|---:|")
    seconds = []
    for chosen in (small, fields):
        out, n = folder / f"finished{len(chosen.names)}", len(IMAGES) * len(chosen.names)
        run(chosen, out, jobs)
        again = [run(chosen, out, jobs) for _ in range(REPEATS)]
        shutil.rmtree(out)
        seconds.append(float(np.median([ended.seconds for ended in again])))
        further = 1e3 * (seconds[-1] - seconds[0]) / max(n - len(IMAGES), 1)
        peak = max(ended.peak_mb for ended in again)
        print(f"| {n} | {seconds[-1]:.2f} | {further:.1f} | {peak:.0f} |")
    print(f"\nmedians of {REPEATS}; demand: {MOST_NOTHING_S} s")
    return seconds[-1] <= MOST_NOTHING_S


def main() -> None:
    """Make the fields, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("modes", nargs="*", help=f"of {', '.join(MODES)}; all by default")
    parser.add_argument("--images", type=int, nargs="*", default=[100, 300, 1000, 3000])
    parser.add_argument("--finished", type=int, default=1020, help="images of 'nothing'")
    parser.add_argument("--jobs", type=int, help="as -j of the command; none by default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    modes = given.modes or MODES
    if unknown := set(modes) - set(MODES):
        parser.error(f"no mode: {', '.join(sorted(unknown))}")
    fields_of = [max(n // len(IMAGES), 1) for n in given.images]
    n_finished = max(given.finished // len(IMAGES), 1)
    demands = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        n = max(*fields_of, n_finished)
        seconds, fields = timed(lambda: write_fields(folder / "all", n))
        print(f"{len(IMAGES) * len(fields.names)} images made in {seconds:.1f} s")

        @cache
        def chosen(n: int) -> Fields:
            return first_fields(fields, n, folder / f"first{n}")

        grown(chosen(1), folder / "compiled", given.jobs)
        if {"scaling", "memory"} & set(modes):
            runs = []
            for n in fields_of:
                runs.append(grown(chosen(n), folder / "out", given.jobs))
                shutil.rmtree(folder / "out")
            if "scaling" in modes:
                print_scaling(runs)
            if "memory" in modes:
                demands.append(is_memory_small(runs))
        if "nothing" in modes:
            demands.append(is_nothing_fast(chosen(n_finished), chosen(1), folder, given.jobs))
    sys.exit(0 if all(demands) else 1)


if __name__ == "__main__":
    main()
