"""Time detection and each of its kernels against the libraries, on the same image in one run.

    python benchmarks/speed_detect.py [--size 4300] [--sources 1500] [--repeats 5]
        [--presets classic deep]

The libraries' calls are those of ``tests/reference_detect.py``.  Times are medians
over the repeats after one call for the compilation, which is listed; the libraries'
are single calls above ``--library-repeats``.  Memory is the highest resident size of
the process while the stage runs, above what it held before (the image itself, and the
libraries).  ``source-extractor`` is run at the same threshold and area if it is installed.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import reference_detect as reference
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.labelling import segments_above
from bycatch.kernels.moments import segment_properties
from bycatch.kernels.smoothing import gaussian_kernel, smoothed
from bycatch.settings import Settings
from bycatch.stages import detect

NOISE = 0.01


def simulated(size, n_sources, seed=1):
    """Return an image of stars and galaxies in two depths, with a border and a gap."""
    rng = np.random.default_rng(seed)
    depth = np.full((size, size), 1000.0, np.float32)
    depth[:, size // 2 :] *= 0.5
    sci = rng.standard_normal((size, size), np.float32)
    sci *= np.float32(NOISE) * np.sqrt(1000.0 / depth)
    sci += np.float32(0.02)
    yy, xx = np.mgrid[-30:31, -30:31]
    for _ in range(n_sources):
        x, y = rng.uniform(31, size - 32, 2)
        a, b, turn = rng.uniform(1, 4), rng.uniform(1, 2), rng.uniform(0, np.pi)
        dx, dy = xx - (x - round(x)), yy - (y - round(y))
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        rate = min(0.25 * (rng.pareto(1.0) + 1), 50)
        stamp = rate * (1 + (u / a) ** 2 + (v / b) ** 2) ** -2.5
        sci[round(y) - 30 : round(y) + 31, round(x) - 30 : round(x) + 31] += stamp
    rows, columns = np.ogrid[:size, :size]
    off = (columns + 0.06 * rows < 0.06 * size) | (rows - 0.06 * columns < 0)
    off |= np.abs(rows - 0.5 * size) < 0.004 * size
    sci[off], depth[off] = np.nan, 0
    counts = np.where(depth > 600, 2, 1).astype(np.int16)
    return SimpleNamespace(
        sci=sci,
        valid=np.isfinite(sci),
        exptime_map_s=depth,
        n_exp=counts,
        shape=sci.shape,
        meta=SimpleNamespace(n_exposures=2),
    )


def timed(function, repeats):
    """Return the median seconds of calls, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        result = None
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def compare(name, ours, theirs, agreement, options):
    """Print one line: our time, the library's, their ratio, and how well they agree."""
    start = time.perf_counter()
    ours()
    first = time.perf_counter() - start
    seconds, mine = timed(ours, options.repeats)
    library, other = timed(theirs, options.library_repeats)
    print(
        f"{name:28s} {1e3 * seconds:9.1f} {1e3 * library:10.0f} {library / seconds:7.1f} "
        f"{first - seconds:7.1f}   {agreement(mine, other)}",
        flush=True,
    )
    return mine, other


def peak_mb(function):
    """Return by how much the resident size rises at most, or None where it can't be told."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        clear.write_text("5")
        before = _field(status, "VmRSS")
        function()
        return (_field(status, "VmHWM") - before) / 1024
    except OSError:
        return None


def _field(status, name):
    return int(status.read_text().split(f"{name}:")[1].split()[0])


def largest(ours, theirs):
    return f"{np.nanmax(np.abs(np.asarray(ours, float) - np.asarray(theirs, float))):.1e}"


def maps_agree(ours, theirs):
    return f"largest difference {largest(ours[0], theirs[0])}, {largest(ours[1], theirs[1])}"


def labels_agree(ours, theirs):
    return f"{ours.n_labels} segments, {np.count_nonzero(ours.labels != theirs)} pixels differ"


def properties_agree(ours, theirs):
    window = np.hypot(ours.x_window - theirs["x_window"], ours.y_window - theirs["y_window"])
    return (
        f"barycentre {largest(ours.x_segment, theirs['x_segment'])} px, "
        f"axes {largest(ours.semimajor_px, theirs['semimajor_px'])} px, "
        f"window {np.nanmax(window):.1e} px"
    )


def stages_agree(ours, theirs):
    differ = np.count_nonzero(ours.segmentation != theirs.segmentation)
    if len(ours.sources) != len(theirs.columns["x"]):
        return f"{len(ours.sources)} and {len(theirs.columns['x'])} sources"
    offset = np.hypot(
        ours.sources["x"] - theirs.columns["x"], ours.sources["y"] - theirs.columns["y"]
    )
    return f"{len(offset)} sources, {differ} pixels differ, positions {np.max(offset):.1e} px"


def source_extractor(image, chosen, repeats):
    """Print the time of source-extractor at the same settings, if it is installed."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    if not program:
        print("source-extractor             not installed")
        return
    from astropy.io import fits

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        fits.writeto(place / "image.fits", np.nan_to_num(image.sci))
        fits.writeto(place / "weight.fits", image.exptime_map_s)
        kernel = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in gaussian_kernel(2.5, 3))
        (place / "gauss.conv").write_text(f"CONV NORM\n{kernel}\n")
        (place / "wanted.param").write_text(
            "NUMBER\nXWIN_IMAGE\nYWIN_IMAGE\nFLUX_ISO\nA_IMAGE\nB_IMAGE\nTHETA_IMAGE\n"
            "ISOAREA_IMAGE\nFLUX_RADIUS\n"
        )
        options = {
            "DETECT_MINAREA": chosen.n_pixels,
            "DETECT_THRESH": chosen.n_sigma,
            "DEBLEND_NTHRESH": chosen.deblend_n_levels,
            "DEBLEND_MINCONT": chosen.deblend_contrast,
            "BACK_SIZE": 100,
            "BACK_FILTERSIZE": 3,
            "WEIGHT_TYPE": "MAP_WEIGHT",
            "WEIGHT_IMAGE": "weight.fits",
            "FILTER_NAME": "gauss.conv",
            "PARAMETERS_NAME": "wanted.param",
            "CATALOG_NAME": "found.cat",
            "VERBOSE_TYPE": "QUIET",
        }
        words = [word for key, value in options.items() for word in (f"-{key}", str(value))]
        command = [program, "image.fits", *words]
        run = lambda: subprocess.run(command, cwd=place, check=True, capture_output=True)  # noqa: E731
        seconds, _ = timed(run, repeats)
        lines = (place / "found.cat").read_text().splitlines()
        found = sum(not line.startswith("#") for line in lines)
        print(f"source-extractor, whole run  {1e3 * seconds:9.0f} ms, {found} sources")


def compare_preset(image, preset, options):
    """Print the rows of one preset."""
    sci, valid = image.sci, image.valid
    chosen = Settings.load(preset=preset).detect.replace(min_coverage=0.0)
    kernel = gaussian_kernel(chosen.kernel_fwhm_px, chosen.kernel_size_px)
    print(f"\n{preset}: {chosen.n_sigma:g} sigma, {chosen.n_pixels} px")
    print(f"{'':28s} {'ms':>9s} {'library':>10s} {'ratio':>7s} {'first':>7s}   agreement")
    (background, noise), _ = compare(
        "background and noise",
        lambda: detect.sky_maps(image, chosen),
        lambda: reference.sky_maps(image, chosen),
        maps_agree,
        options,
    )
    residual = np.where(valid, sci - background, np.float32(0))
    _, smooth = compare(
        "smoothing alone",
        lambda: smoothed(residual, valid, kernel),
        lambda: reference.smoothed(residual, valid, kernel),
        lambda a, b: f"{np.count_nonzero(a != b)} pixels differ",
        options,
    )
    limits = (chosen.n_sigma, chosen.n_pixels)
    found, _ = compare(
        "smoothing and labels",
        lambda: segments_above(sci, background, noise, valid, kernel, *limits),
        lambda: reference.segments(
            reference.smoothed(residual, valid, kernel), noise, valid, *limits
        ),
        labels_agree,
        options,
    )
    properties, _ = compare(
        "properties",
        lambda: segment_properties(
            sci, background, found.smooth, valid, found.labels, found.n_labels, image.n_exp
        ),
        lambda: reference.properties(residual, smooth, valid, found.labels),
        properties_agree,
        options,
    )
    seconds, _ = timed(
        lambda: box_fraction(valid, properties.x_segment, properties.y_segment, 100),
        options.repeats,
    )
    print(f"{'coverage':28s} {1e3 * seconds:9.1f}")
    for name, settings in (
        ("stage without deblending", chosen.replace(deblend=False)),
        ("stage", chosen),
    ):
        compare(
            name,
            lambda settings=settings: detect.run(image, settings),
            lambda settings=settings: reference.detect(image, settings),
            stages_agree,
            options,
        )
    ours, theirs = (
        peak_mb(lambda: detect.run(image, chosen)),
        peak_mb(lambda: reference.detect(image, chosen)),
    )
    if ours is not None:
        print(f"{'peak memory of the stage, MB':28s} {ours:9.0f} {theirs:10.0f}")
    source_extractor(image, chosen, options.repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=4300, help="side of the image, px")
    parser.add_argument("--sources", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--library-repeats", type=int, default=1)
    parser.add_argument("--presets", nargs="+", default=["classic", "deep"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{options.size} x {options.size} px, {options.sources} simulated sources")
    image = simulated(options.size, options.sources)
    for preset in options.presets:
        compare_preset(image, preset, options)


if __name__ == "__main__":
    main()
