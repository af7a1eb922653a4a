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
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

import bycatch
from bycatch.report import write_report
from bycatch.settings import Settings
from bycatch.tangent import MAS_PER_DEG

HOME = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOME / "tests"), str(HOME / "benchmarks")]

NOISE, DEPTH_S, REACH, STAR_ERROR_MAS = 0.01, 1000.0, 30, 0.1
STAGES = ("detect", "crmask", "align", "measure", "finalize")


def write_image(folder: Path, number: int, size: int, n: int | None = None) -> Path:
    """Write an image of ``n`` sources, the table of its stars beside it, and return its path.

    Half of it is covered by one exposure, where it has cosmic-ray tracks.  All have the same
    sources, in noise and tracks of their own.
    """
    from conftest import drc_hdus  # late: its libraries are no part of our memory

    rng = np.random.default_rng(0)
    n = round(1500 * (size / 4300) ** 2) if n is None else n
    depth = np.full((size, size), np.float32(DEPTH_S))
    depth[:, size // 2 :] *= 0.5
    sci = np.random.default_rng(number).standard_normal((size, size), np.float32)
    sci *= np.float32(NOISE) * np.sqrt(np.float32(DEPTH_S) / depth)
    places = rng.uniform(REACH + 1, size - REACH - 2, (n, 2))
    rates = np.minimum(0.25 * (rng.pareto(1.0, n) + 1), 50)
    is_star = rng.random(n) < 0.5
    rates[is_star] *= 8  # bright enough for the classic preset, which the alignment needs
    yy, xx = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    for (x, y), rate, round_ in zip(places, rates, is_star, strict=True):
        a, b = (1.9, 1.9) if round_ else rng.uniform(1, 5, 2)
        dx, dy = xx - (x - round(x)), yy - (y - round(y))
        turn = rng.uniform(0, np.pi)
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        rows = slice(round(y) - REACH, round(y) + REACH + 1)
        columns = slice(round(x) - REACH, round(x) + REACH + 1)
        sci[rows, columns] += rate * (1 + (u / a) ** 2 + (v / b) ** 2) ** -2.5
    rng = np.random.default_rng(number)
    for _ in range(round(4500 * (size / 4300) ** 2)):
        x, y = rng.uniform(size / 2 + 20, size - 20), rng.uniform(20, size - 20)
        step, angle = np.arange(rng.integers(1, 12)), rng.uniform(0, np.pi)
        track = (y + step * np.sin(angle)).astype(int), (x + step * np.cos(angle)).astype(int)
        sci[track] += rng.uniform(0.5, 4)
    rows, columns = np.ogrid[:size, :size]
    off = (columns + 0.06 * rows < 0.06 * size) | (rows - 0.06 * columns < 0)
    sci[off] = np.nan
    hdus = drc_hdus(sci, n_exposures=2, exptime_s=DEPTH_S, primary={"PROPOSID": 13711 + number})
    hdus["WHT"].data[:] = np.where(off, np.float32(0), depth)
    hdus["CTX"].data[:, size // 2 :] &= 1
    path = folder / f"jabc0{number}010_drc.fits"
    hdus.writeto(path)
    ra, dec = WCS(hdus["SCI"].header).all_pix2world(*places[is_star].T, 0)
    nothing, error = np.zeros(len(ra)), np.full(len(ra), STAR_ERROR_MAS)
    shift_deg = np.random.default_rng(1).normal(0, STAR_ERROR_MAS / MAS_PER_DEG, (2, len(ra)))
    stars = {
        "source_id": np.arange(len(ra)) + 4711, "ra_error": error, "dec_error": error,
        "ra": ra + shift_deg[0] / np.cos(np.deg2rad(dec)), "dec": dec + shift_deg[1],
        "pmra": nothing, "pmdec": nothing, "pmra_error": nothing, "pmdec_error": nothing,
        "phot_g_mean_mag": 20.5 - 2.5 * np.log10(rates[is_star]),
    }  # fmt: skip
    Table(stars).write(folder / "gaia.csv", overwrite=True)
    return path


def further_image(
    paths: list[Path], gaia: Path, folder: Path, preset: str, repeats: int
) -> tuple[dict[str, float], float, int]:
    """Return seconds of a further image of a running process, peak memory (MB), and its sources.

    Seconds are medians, by step and of all.
    """
    settings, inputs, runs = Settings.load(preset=preset), bycatch.Inputs(gaia=gaia), []
    for k in range(repeats + 1):
        path = paths[(k + repeats + 1) % len(paths)]  # the last one is that of the libraries
        out = folder / f"out_{preset}_{path.stem}"
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        report = bycatch.run(path, out, settings, inputs)
        seconds = time.perf_counter() - start
        if not report.all_done:
            sys.exit(f"{path.name}: {report.images}")
        runs.append({cost.step: cost.seconds for cost in report.profile()} | {"all": seconds})
    peak = max(cost.peak_mb or 0 for cost in report.profile())
    middle = {name: median(run[name] for run in runs[1:]) for name in runs[0]}
    return middle, peak, len(report.images[0].catalog())


def report(out: Path) -> tuple[float, float]:
    """Return seconds of `bycatch report` on one image, and of a further one in this process."""
    write_report(out)  # what the page of every image needs is kept from now on
    start = time.perf_counter()
    words = [sys.executable, "-m", "bycatch", "report", out]
    subprocess.run(words, check=True, capture_output=True)
    middle = time.perf_counter()
    write_report(out)
    return middle - start, time.perf_counter() - middle


def command(
    paths: list[Path], gaia: Path, folder: Path, preset: str, processes: int | None
) -> tuple[float, float]:
    """Return seconds of the command, and peak memory of its first process, MB.

    No number of processes: one image after the other, each on all cores.
    """
    out = folder / "out_command"
    shutil.rmtree(out, ignore_errors=True)
    words = ["run", *paths, "-o", out, "--gaia", gaia, "--preset", preset, "-q"]
    words += [] if processes is None else ["-j", processes]
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "bycatch", *map(str, words)])
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, peak_mb(child.pid))
        time.sleep(0.02)
    if child.returncode:
        sys.exit(f"bycatch {words} ended with {child.returncode}")
    return time.perf_counter() - start, peak


def peak_mb(process: int) -> float:
    """Return the peak of a process since it forgot it last; getrusage would tell ours if higher."""
    with suppress(OSError, IndexError):
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return 0.0


def source_extractor(path: Path, folder: Path, n_pixels: int) -> float | None:
    """Return seconds of source-extractor with a minimum area; None where it is not installed."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if program is None:
        return None
    (folder / "default.param").write_text("NUMBER\nX_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUX_APER(5)\n")
    words = [
        program, f"{path}[1]", "-c", "/dev/null", "-FILTER", "N", "-PHOT_APERTURES", "4,8,12,16,20",
        "-CATALOG_NAME", "sextractor.cat", "-DETECT_MINAREA", str(n_pixels),
        "-VERBOSE_TYPE", "QUIET",
    ]  # fmt: skip
    start = time.perf_counter()
    ended = subprocess.run(words, check=False, cwd=folder, capture_output=True)
    return None if ended.returncode else time.perf_counter() - start


def compare(
    preset: str,
    paths: list[Path],
    folder: Path,
    with_library: bool,
    measured: tuple[dict[str, float], float, int],
) -> None:
    """Print the rows of one preset; ``measured`` is what `further_image` returned."""
    settings, gaia = Settings.load(preset=preset), folder / "gaia.csv"
    seconds, peak, n = measured
    theirs: dict[str, float] = {}
    their_n: int | str = ""
    if with_library:
        from library_chain import chain  # late: its libraries are no part of our memory

        theirs, their_n = chain(paths[-1], folder / "library.ecsv", settings)

    def row(what: str, ours: float, library: float | None) -> None:
        cells = ("", "") if library is None else (f"{library:.1f}", f"{library / ours:.0f}")
        print(f"| {preset} | {what} | {ours:.2f} | {cells[0]} | {cells[1]} |", flush=True)

    for stage in STAGES:
        row(f"{stage}, with its reading and writing", seconds[stage], theirs.get(stage))
    row(
        f"a further image in a running process ({n} sources, {peak:.0f} MB at most; "
        f"libraries: {their_n} sources)",
        seconds["all"],
        sum(theirs.values()) if theirs else None,
    )
    alone, further = report(folder / f"out_{preset}_{paths[-1].stem}")
    row("report.html of one image, by `bycatch report`", alone, None)
    row("report.html of a further image in a running process", further, None)
    took, memory = command(paths[:1], gaia, folder, preset, None)
    row(f"the command on one image, {memory:.0f} MB at most", took, None)
    for processes, how in ((None, "all cores"), (1, "one core"), (2, "two processes")):
        took, _ = command(paths, gaia, folder, preset, processes)
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
        print("| preset | what | s | libraries, s | ratio |\n|---|---|---:|---:|---:|", flush=True)
        # Before the libraries are loaded, which would count as our memory.
        ours = {
            preset: further_image(paths, folder / "gaia.csv", folder, preset, given.repeats)
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
