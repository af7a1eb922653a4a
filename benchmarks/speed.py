"""Speed of the whole chain against the same chain of library calls, as Markdown tables.

    python benchmarks/speed.py [--size 4300] [--quick] [--no-library]

Simulated images of stars, galaxies and cosmic-ray tracks in two depths, with a border, on disk as
the archive delivers them; a table of their stars in place of the Gaia archive.  At both presets:
seconds of each stage of a further image of a running process (medians), reading and writing
included, and those of ``library_chain.py`` on the same file, once; the command on one image, and
on two on all cores, on one, and in two processes; peak memory; ``source-extractor``, if installed.
``speed_crmask.py``, ``speed_detect.py``, ``speed_deblend.py`` and ``speed_measure.py`` compare the
kernels one by one, ``scaling.py`` tells how time and memory grow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import common
from common import command, timed
from scene import GAIA, write_image

import bycatch
from bycatch.report import write_report
from bycatch.settings import Settings

STAGES = ("detect", "crmask", "align", "measure", "finalize")


def timed_runs(
    paths: list[Path], outs: list[Path], gaia: Path, settings: Settings, repeats: int
) -> tuple[dict[str, float], float, int]:
    """Return seconds of an image in this process, peak memory (MB), and its sources.

    Seconds are medians, by step and of all, of the last ``repeats`` of the runs, each of an image
    into a folder of its own; the peak is that of the last one.
    """
    inputs, runs = bycatch.Inputs(gaia=gaia), []
    for path, out in zip(paths, outs, strict=True):
        shutil.rmtree(out, ignore_errors=True)
        seconds, report = timed(lambda p=path, o=out: bycatch.run(p, o, settings, inputs))
        if not report.all_done:
            sys.exit(f"{path.name}: {report.images}")
        steps = {cost.step: cost.seconds for cost in report.profile()}
        steps["objects"] = sum(group.seconds for group in report.groups)
        runs.append(steps | {"steps": sum(steps[stage] for stage in STAGES), "all": seconds})
    peak = max(cost.peak_mb or 0 for cost in report.profile())
    middle = {name: median(run[name] for run in runs[-repeats:]) for name in runs[0]}
    return middle, peak, len(report.images[0].catalog())


def further_image(
    paths: list[Path], gaia: Path, folder: Path, preset: str, repeats: int
) -> tuple[dict[str, float], float, int]:
    """Return what a further image of a running process takes (see `timed_runs`)."""
    # The last one is that of the libraries.
    chosen = [paths[(k + repeats + 1) % len(paths)] for k in range(repeats + 1)]
    outs = [folder / f"out_{preset}_{path.stem}" for path in chosen]
    return timed_runs(chosen, outs, gaia, Settings.load(preset=preset), repeats)


def report(out: Path) -> tuple[float, float]:
    """Return seconds of `bycatch report` on one image, and of a further one in this process."""
    write_report(out)  # what the page of every image needs is kept from now on
    words = [sys.executable, "-m", "bycatch", "report", out]
    alone, _ = timed(lambda: subprocess.run(words, check=True, capture_output=True))
    return alone, timed(lambda: write_report(out))[0]


def chain_command(
    paths: list[Path], gaia: Path, folder: Path, preset: str, processes: int | None
) -> common.CommandCost:
    """Return what the command takes.

    No number of processes: one image after the other, each on all cores.
    """
    out = folder / "out_command"
    shutil.rmtree(out, ignore_errors=True)
    words = ["run", *paths, "-o", out, "--gaia", gaia, "--preset", preset, "-q"]
    return command(*words, *([] if processes is None else ["-j", processes]))


def source_extractor(path: Path, folder: Path, n_pixels: int) -> float | None:
    """Return seconds of source-extractor with a minimum area; None where it is not installed."""
    program = common.source_extractor()
    if program is None:
        return None
    (folder / "default.param").write_text("NUMBER\nX_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUX_APER(5)\n")
    words = [
        program, f"{path}[1]", "-c", "/dev/null", "-FILTER", "N", "-PHOT_APERTURES", "4,8,12,16,20",
        "-CATALOG_NAME", "sextractor.cat", "-DETECT_MINAREA", str(n_pixels),
        "-VERBOSE_TYPE", "QUIET",
    ]  # fmt: skip
    run = subprocess.run
    seconds, ended = timed(lambda: run(words, check=False, cwd=folder, capture_output=True))
    return None if ended.returncode else seconds


def compare(
    preset: str,
    paths: list[Path],
    folder: Path,
    with_library: bool,
    measured: tuple[dict[str, float], float, int],
) -> None:
    """Print the rows of one preset; ``measured`` is what `further_image` returned."""
    settings, gaia = Settings.load(preset=preset), folder / GAIA
    seconds, peak, n = measured
    theirs: dict[str, float] = {}
    their_n: int | str = ""
    if with_library:
        from library_chain import chain  # late: its libraries are no part of our memory

        theirs, their_n = chain(paths[-1], folder / "library.ecsv", settings)

    def row(what: str, ours: float, library: float | None) -> None:
        cells = ("", "") if library is None else (f"{library:.1f}", f"{library / ours:.0f}")
        print(common.row(preset, what, f"{ours:.2f}", *cells), flush=True)

    for stage in STAGES:
        row(f"{stage}, with its reading and writing", seconds[stage], theirs.get(stage))
    row(
        f"these steps of a further image ({n} sources; libraries: {their_n} sources)",
        seconds["steps"],
        sum(theirs.values()) if theirs else None,
    )
    row("objects of the image, searched at `deep`", seconds["objects"], None)
    row(
        f"a further image in a running process, with objects and page ({peak:.0f} MB at most)",
        seconds["all"],
        None,
    )
    alone, further = report(folder / f"out_{preset}_{paths[-1].stem}")
    row("report.html of one image, by `bycatch report`", alone, None)
    row("report.html of a further image in a running process", further, None)
    one = chain_command(paths[:1], gaia, folder, preset, None)
    row(f"the command on one image, {one.peak_mb:.0f} MB at most", one.seconds, None)
    for processes, how in ((None, "all cores"), (1, "one core"), (2, "two processes")):
        took = chain_command(paths, gaia, folder, preset, processes).seconds
        row(f"the command on two images, {how}", took, None)


def main() -> None:
    """Simulate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=4300, help="side of the images, px")
    parser.add_argument("--quick", action="store_true", help="images of 1200 x 1200 px")
    parser.add_argument("--no-library", action="store_true", help="leave the libraries out")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--presets", nargs="+", default=["classic", "deep"])
    given = parser.parse_args()
    size = 1200 if given.quick else given.size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [write_image(folder, number, size) for number in (1, 2)]
        print(f"{size} x {size} px, {os.cpu_count()} processor cores\n")
        print(common.head("preset", "what", "s", "libraries, s", "ratio", n_words=2), flush=True)
        # Before the libraries are loaded, which would count as our memory.
        ours = {
            preset: further_image(paths, folder / GAIA, folder, preset, given.repeats)
            for preset in given.presets
        }
        for preset in given.presets:
            compare(preset, paths, folder, not given.no_library, ours[preset])
        for n_pixels in (75, 10):
            seconds = source_extractor(paths[1], folder, n_pixels)
            if seconds is not None:
                print(f"\nsource-extractor, {n_pixels} px, without cosmic rays: {seconds:.1f} s")


if __name__ == "__main__":
    main()
