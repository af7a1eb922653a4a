"""Time detection and each of its kernels against the libraries, on the same image in one run.

    python benchmarks/speed_detect.py [--size 4300] [--sources 1500] [--repeats 5]
        [--presets classic deep]

The libraries' calls are those of ``bycatch.testing.reference_detect``.  Times are medians
over the repeats after one call for the compilation, which is listed; the libraries'
are single calls.  The image is that of ``scene.py``.  Memory is the highest resident size
of the process while the stage runs, above what it held before (the image itself, and the
libraries).  ``source-extractor`` is run at the same threshold and area if it is installed.
"""

import argparse
import subprocess
import tempfile
import warnings
from pathlib import Path

import common
import numpy as np
from common import growth_mb, median_timed, timed
from scene import read_field

from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.labelling import segments_above
from bycatch.kernels.moments import segment_properties
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.settings import Settings
from bycatch.stages import detect
from bycatch.testing import reference_detect as reference


def compare(name, ours, theirs, agreement, options):
    """Print one line: our time, the library's, their ratio, and how well they agree."""
    first, _ = timed(ours)
    seconds, mine = median_timed(ours, options.repeats)
    library, other = timed(theirs)
    print(
        f"{name:28s} {1e3 * seconds:9.1f} {1e3 * library:10.0f} {library / seconds:7.1f} "
        f"{first - seconds:7.1f}   {agreement(mine, other)}",
        flush=True,
    )
    return mine, other


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
    program = common.source_extractor()
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
        seconds, _ = median_timed(run, repeats)
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
        lambda: smooth_image(residual, valid, kernel),
        lambda: reference.smooth_image(residual, valid, kernel),
        lambda a, b: f"{np.count_nonzero(a != b)} pixels differ",
        options,
    )
    limits = (chosen.n_sigma, chosen.n_pixels)
    found, _ = compare(
        "smoothing and labels",
        lambda: segments_above(sci, background, noise, valid, kernel, *limits),
        lambda: reference.segments(
            reference.smooth_image(residual, valid, kernel), noise, valid, *limits
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
    seconds, _ = median_timed(
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
    ours = growth_mb(lambda: detect.run(image, chosen))
    theirs = growth_mb(lambda: reference.detect(image, chosen))
    print(f"{'peak memory of the stage, MB':28s} {ours:9.0f} {theirs:10.0f}")
    source_extractor(image, chosen, options.repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=4300, help="side of the image, px")
    parser.add_argument("--sources", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["classic", "deep"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{options.size} x {options.size} px, {options.sources} simulated sources")
    with tempfile.TemporaryDirectory() as folder:
        image, _, _ = read_field(Path(folder), options.size, options.sources)
    for preset in options.presets:
        compare_preset(image, preset, options)


if __name__ == "__main__":
    main()
