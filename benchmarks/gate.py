"""Fail if a kernel or stage has become slower relative to its library, or needs more memory.

    python benchmarks/gate.py [--record] [--only NAME ...] [--history FILE]

Each case runs ours and the library's call in turn, on the same pixels, and takes the least
processor time of each: their ratio does not depend on how busy the machine is.
Stages without a library (align, finalize) are compared with a median filter of scipy's. Memory is
the most that a stage adds to that of the process.

The baseline is the last entry of ``history.json`` from the same kind of processor. A ratio 1.3
times larger, or a peak that is 10 % larger, fails: a case that seems to fail is measured again, and
the best counts. On a processor without an entry the last one of all serves, with a factor of 2: one
commit had ratios 1.7 times larger on another processor.
``--record`` adds what was measured to the history, with the commit; do so when a change of speed is
meant, and say why in the commit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from common import growth_mb
from llvmlite.binding import get_host_cpu_name

HISTORY = Path(__file__).with_name("history.json")
SLOWER, MORE_MEMORY = 1.3, 1.1
"""How much larger a ratio of times and a peak of memory may be than those of the baseline."""
SLOWER_ELSEWHERE = 2.0
"""The same of times if the baseline is from another kind of processor."""
SLACK_MB = 4.0
"""What the allocator alone moves a peak by."""
SIZE_PX, N_SOURCES = 800, 400
REPEATS, LIBRARY_REPEATS, TRIES = 7, 3, 3
MIN_S = 0.02
"""Calls are repeated until they take so long: the processor's clock is coarse."""


@dataclass(frozen=True)
class Case:
    """What is measured: ours, the library's call beside it, and whether memory counts as well."""

    name: str
    ours: Callable[[], object]
    library: Callable[[], object]
    memory: bool = False


@dataclass(frozen=True)
class Failure:
    """What is worse than before."""

    name: str
    what: str
    before: float
    now: float

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.what} {self.now:.4g}, was {self.before:.4g} "
            f"({self.now / self.before:.2f} times)"
        )


# ---- measuring ----------------------------------------------------------------------------------


def processor_s(function: Callable[[], object], calls: int) -> float:
    """Return the processor time of one of some calls, all threads together."""
    start = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - start) / calls


def enough_calls(function: Callable[[], object]) -> int:
    """Return how many calls take `MIN_S`, after one that may compile."""
    first_s = processor_s(function, 1)
    if first_s > 50 * MIN_S:
        return 1
    return max(1, round(MIN_S / max(processor_s(function, 1), 1e-6)))


def ratio_of(case: Case, repeats: int = REPEATS) -> float:
    """Return our processor time over the library's: the least of some, in turn."""
    n_ours, n_library = enough_calls(case.ours), enough_calls(case.library)
    ours, library = [], []
    for k in range(repeats):
        ours.append(processor_s(case.ours, n_ours))
        if k < LIBRARY_REPEATS:
            library.append(processor_s(case.library, n_library))
    return min(ours) / min(library)


def measured(case: Case) -> dict[str, float]:
    """Return the numbers of a case."""
    found = {"ratio": round(ratio_of(case), 5)}
    if case.memory:
        found["peak_mb"] = round(min(growth_mb(case.ours) for _ in range(3)), 1)
    return found


def failures(
    name: str, before: dict[str, float], now: dict[str, float], slower: float = SLOWER
) -> list[Failure]:
    """Return what is worse than it may be."""
    found = []
    if now["ratio"] > slower * before.get("ratio", float("inf")):
        found.append(Failure(name, "time over the library's", before["ratio"], now["ratio"]))
    peak = before.get("peak_mb", float("inf"))
    if now.get("peak_mb", 0.0) > max(MORE_MEMORY * peak, peak + SLACK_MB):
        found.append(Failure(name, "peak, MB", peak, now["peak_mb"]))
    return found


def gate(
    cases: Iterable[Case],
    before: dict[str, dict[str, float]],
    tries: int = TRIES,
    slower: float = SLOWER,
) -> tuple[dict[str, dict[str, float]], list[Failure]]:
    """Measure the cases; return their numbers and what is worse than before.

    What seems worse is measured again: the best of all tries counts.
    """
    numbers: dict[str, dict[str, float]] = {}
    worse: list[Failure] = []
    for case in cases:
        was, now, bad = before.get(case.name, {}), measured(case), []
        for _ in range(tries):
            bad = failures(case.name, was, now, slower)
            if not bad:
                break
            again = measured(case)
            now = {key: min(now[key], again[key]) for key in now}
        numbers[case.name] = now
        worse += bad
        change = f"{now['ratio'] / was['ratio']:6.2f}" if was else "   new"
        memory = f"{now['peak_mb']:8.0f}" if "peak_mb" in now else " " * 8
        print(f"{case.name:28s} {now['ratio']:9.5f} {change} {memory}  {'FAILS' if bad else ''}")
    return numbers, worse


# ---- history ------------------------------------------------------------------------------------


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the entries, oldest first."""
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def processor() -> str:
    """Return the kind of processor, as the compiler of the kernels names it."""
    return str(get_host_cpu_name())


def baseline(entries: list[dict[str, Any]], own: str) -> tuple[dict[str, Any], float]:
    """Return the entry to compare with, and how much larger a ratio of times may be."""
    same = [entry for entry in entries if entry.get("processor") == own]
    return (same[-1], SLOWER) if same else (entries[-1], SLOWER_ELSEWHERE)


def record(path: Path, numbers: dict[str, dict[str, float]]) -> None:
    """Add an entry; cases that were not measured keep their numbers."""
    entries = read_history(path)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()  # fmt: skip
    own = processor()
    kept = baseline(entries, own)[0]["cases"] if entries else {}
    entry = {
        "commit": commit,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": own,
        "cases": kept | numbers,
    }
    path.write_text(json.dumps([*entries, entry], indent=1) + "\n", encoding="utf-8")


# ---- the cases ----------------------------------------------------------------------------------


def cases(size_px: int = SIZE_PX, n_sources: int = N_SOURCES) -> list[Case]:
    """Return the kernels and stages beside their libraries, on one simulated image."""
    from scene import read_field

    from bycatch.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        image, x, y = read_field(Path(folder), size_px, n_sources)
    settings = Settings.load(preset="deep")
    detection = settings.detect.replace(min_coverage=0.0)
    return [
        *_of_detection(image, detection),
        *_of_deblending(),
        *_of_rays(image, settings),
        *_of_photometry(image, x, y),
        *_of_calibration(image, x, y, settings),
    ]


def _of_detection(image: Any, chosen: Any) -> list[Case]:
    import numpy as np

    from bycatch.kernels.labelling import segments_above
    from bycatch.kernels.moments import segment_properties
    from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
    from bycatch.stages import detect
    from bycatch.testing import reference_detect as reference

    kernel = gaussian_kernel(chosen.kernel_fwhm_px, chosen.kernel_size_px)
    background, noise = detect.sky_maps(image, chosen)
    sci, valid = image.sci, image.valid
    residual = np.where(valid, sci - background, np.float32(0))
    smooth = reference.smooth_image(residual, valid, kernel)
    limits = (chosen.n_sigma, chosen.n_pixels)
    found = segments_above(sci, background, noise, valid, kernel, *limits)
    return [
        Case(
            "background and noise",
            lambda: detect.sky_maps(image, chosen),
            lambda: reference.sky_maps(image, chosen),
        ),
        Case(
            "smoothing",
            lambda: smooth_image(residual, valid, kernel),
            lambda: reference.smooth_image(residual, valid, kernel),
        ),
        Case(
            "smoothing and labels",
            lambda: segments_above(sci, background, noise, valid, kernel, *limits),
            lambda: reference.segments(
                reference.smooth_image(residual, valid, kernel), noise, valid, *limits
            ),
        ),
        Case(
            "properties of segments",
            lambda: segment_properties(
                sci, background, found.smooth, valid, found.labels, found.n_labels, image.n_exp
            ),
            lambda: reference.properties(residual, smooth, valid, found.labels),
        ),
        Case(
            "stage detect",
            lambda: detect.run(image, chosen),
            lambda: reference.detect(image, chosen),
            memory=True,
        ),
    ]


def _of_deblending() -> list[Case]:
    from speed_deblend import SETTINGS, field, photutils_labels, segments

    from bycatch.kernels.deblend import deblend

    smooth = field(500, 500)
    labels = segments(smooth, 2.0)
    return [
        Case(
            "deblending",
            lambda: deblend(smooth, labels, int(labels.max()), *SETTINGS[0]),
            lambda: photutils_labels(smooth, labels, SETTINGS[0]),
        )
    ]


def _of_rays(image: Any, settings: Any) -> list[Case]:
    import astroscrappy
    import numpy as np

    from bycatch.kernels.lacosmic import lacosmic
    from bycatch.stages import crmask

    chosen = settings.crmask
    charge = crmask.charge_of(image, image.valid & (image.exptime_map_s > 0))
    bad = ~charge.good | charge.saturated
    limits = {"sigclip": chosen.sigclip, "sigfrac": chosen.sigfrac, "objlim": chosen.objlim}
    n = chosen.n_iterations

    def library() -> object:
        return astroscrappy.detect_cosmics(
            charge.counts, inmask=bad, invar=charge.variance, satlevel=np.inf, sepmed=False,
            niter=n, **limits,
        )  # fmt: skip

    return [
        Case(
            "lacosmic",
            lambda: lacosmic(charge.counts, charge.variance, bad, n_iterations=n, **limits),
            library,
        ),
        Case("stage crmask", lambda: crmask.run(image, chosen), library, memory=True),
    ]


def _of_photometry(image: Any, x: Any, y: Any) -> list[Case]:
    import numpy as np
    import speed_measure as libraries

    from bycatch.kernels.apertures import circle_sums
    from bycatch.kernels.moffat import fit_moffat_at
    from bycatch.kernels.skystats import annulus_stats
    from bycatch.stages import measure

    data, weight = np.nan_to_num(image.sci).astype(np.float64), image.valid.astype(np.float64)
    sci, valid, few = image.sci, image.valid, slice(0, 100)
    radii, annulus = libraries.RADII_PX, libraries.ANNULUS_PX
    return [
        Case(
            "apertures",
            lambda: circle_sums(sci, valid, x, y, radii),
            lambda: libraries.library_sums(data, weight, x[few], y[few]),
        ),
        Case(
            "annulus",
            lambda: annulus_stats(sci, valid, x, y, annulus, libraries.CLIP_SIGMA),
            lambda: libraries.library_sky(data, ~valid, x[few], y[few]),
        ),
        Case(
            "profiles",
            lambda: fit_moffat_at(sci, valid, x, y, libraries.FIT_RADIUS_PX),
            lambda: libraries.library_fits(data, valid, x[few], y[few], 1e-8),
        ),
        Case(
            "stage measure",
            lambda: measure.run(image, measure.Targets(x, y)),
            lambda: libraries.library_sums(data, weight, x[few], y[few]),
            memory=True,
        ),
    ]


def _of_calibration(image: Any, x: Any, y: Any, settings: Any) -> list[Case]:
    """Return the stages that no library has, beside a median filter."""
    import numpy as np
    from scipy.ndimage import median_filter

    from bycatch.sky.gaia import from_table
    from bycatch.stages import align, detect, finalize, measure
    from bycatch.testing.scene import star_table

    pixels = np.ascontiguousarray(np.nan_to_num(image.sci[:400, :400]))
    yardstick = partial(median_filter, pixels, 5)
    found = measure.run(image, measure.Targets(x, y))
    chosen = settings.measure
    annulus = (chosen.annulus_inner_px, chosen.annulus_outer_px)
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    stars = from_table(star_table(ra, dec, np.full(len(x), 20.0), 0.1), "gate")
    field = [align.FieldImage.of(image, detect.run(image, settings.detect).sources)]
    return [
        Case("stage align", lambda: align.run(field, stars, settings.align), yardstick),
        Case(
            "stage finalize",
            lambda: finalize.run(
                found.table, chosen.radii_px, image.meta, image.scale_arcsec, annulus,
                settings.finalize,
            ),
            yardstick,
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure, compare with the last entry, print, and end with status 1 if anything is worse."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--record", action="store_true", help="add the numbers to the history")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these cases")
    parser.add_argument("--history", type=Path, default=HISTORY, metavar="FILE")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    entries = read_history(given.history)
    if not entries and not given.record:
        sys.exit(f"{given.history}: no history to compare with; begin one with --record")
    entry, slower = baseline(entries, processor()) if entries else ({"cases": {}}, SLOWER)
    if slower > SLOWER:
        print(f"no entry of this processor ({processor()}): ratios may be {slower:g} times larger")
    chosen = [case for case in cases() if not given.only or case.name in given.only]
    print(f"{'case':28s} {'ratio':>9s} {'change':>6s} {'peak, MB':>8s}")
    numbers, worse = gate(chosen, entry["cases"], 0 if given.record else TRIES, slower)
    if given.record:
        record(given.history, numbers)
        return
    for failure in worse:
        print(f"worse: {failure}")
    if worse:
        sys.exit(1)
    print(f"{len(numbers)} cases: none is worse than at {entry['commit']}")


if __name__ == "__main__":
    main()
