"""How right the chain is, on simulated visits: the tables of docs/accuracy_tables.md.

Usage: python benchmarks/accuracy.py [--seeds N] [--jobs N] [--only multi single deep]

Simulates visits with distortion and sub-pixel dithers, runs the whole chain
through the command line's own functions at both presets, and prints Markdown
tables with counts.  About half an hour on 2 cores with the default of 2 seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import bycatch
from bycatch.pipeline.assessment import Assessment, assess_visit
from bycatch.robust import MEDIAN_ERROR, robust_sigma
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit

# A quarter of a full frame per image, like a crop with ACS's distortion.
FIELD = {"n_columns": 2000, "n_rows": 950, "stars_per_arcmin2": 100.0}
MULTI = {"filters": ("F475W", "F606W", "F775W"), "n_exposures": (2, 3, 2), "exptime_s": 600.0}
SINGLE = {"filters": ("F475W", "F625W", "F814W"), "n_exposures": (1, 1, 1)}
SINGLE_EXPTIMES = (300.0, 600.0, 1200.0)
MAG_BINS = ((16, 20), (20, 22), (22, 24), (24, 26), (26, 27))
DEEP_CHOICES = (
    {"n_pixels": 5, "n_pixels_single": 7},
    {"n_pixels": 7, "n_pixels_single": 9},
    {"n_pixels": 10, "n_pixels_single": 12},
    {"n_pixels": 15, "n_pixels_single": 18},
    {"n_pixels": 7, "n_pixels_single": 9, "deblend_contrast": 0.001},
    {"n_pixels": 7, "n_pixels_single": 9, "deblend_contrast": 0.02},
)


def assessed(
    folder: Path, seed: int, changes: dict[str, object], settings: list[Settings], jobs: int
) -> list[list[Assessment]]:
    """Simulate one visit and return its assessments, one list per settings."""
    simulation = Settings().simulate.replace(seed=seed, **FIELD, **changes)
    place = folder / f"visit{seed}-{changes.get('exptime_s')}-{len(settings)}"
    write_visit(simulate_visit(simulation), place)
    out = []
    for number, chosen in enumerate(settings):
        target = place / f"out{number}"
        inputs = bycatch.Inputs(gaia=place / "gaia.ecsv")
        bycatch.run(place / "raw", target, chosen, inputs, jobs)
        out.append(assess_visit(target, place))
    return out


def total(assessments: Iterable[Assessment]) -> dict[str, int]:
    """Add up the counts of several images."""
    sums: dict[str, int] = defaultdict(int)
    for assessment in assessments:
        for name, value in assessment.comparison.summary().items():
            if name.startswith("n_"):
                sums[name] += value
    return sums


def share(part: int, whole: int) -> str:
    """Return 'part/whole = percent'."""
    return f"{part}/{whole} = {100 * part / whole:.1f} %" if whole else "0/0"


def bias_text(assessments: list[Assessment], radius: str) -> str:
    """Return the median flux bias of all good stars and its standard error, percent."""
    ratio = np.concatenate([a.comparison.flux_ratio(radius) for a in assessments])
    # A few stars have a galaxy in the large apertures, and are flagged: robust.
    error = MEDIAN_ERROR * robust_sigma(ratio) / np.sqrt(max(len(ratio), 1))
    return f"{100 * (np.median(ratio) - 1):+.2f} ± {100 * error:.2f}"


def multi_tables(folder: Path, seeds: int, jobs: int) -> None:
    """Print the tables of images of two and more exposures."""
    presets = ["classic", "deep"]
    runs = [
        assessed(folder, seed, MULTI, [Settings.load(preset=p) for p in presets], jobs)
        for seed in range(1, seeds + 1)
    ]
    print("\n### Two and more exposures: completeness and purity\n")
    print("| preset | filter, exposures | detectable sources found | rows that are real |")
    print("| --- | --- | --- | --- |")
    for k, preset in enumerate(presets):
        images = [a for run in runs for a in run[k]]
        for name in dict.fromkeys((a.filter, a.n_exposures) for a in images):
            s = total(a for a in images if (a.filter, a.n_exposures) == name)
            found = share(s["n_found"], s["n_detectable"])
            print(
                f"| {preset} | {name[0]}, {name[1]} | {found} "
                f"| {share(s['n_deep_real'], s['n_deep_rows'])} |"
            )
        s = total(images)
        print(
            f"| {preset} | all | {share(s['n_found'], s['n_detectable'])} "
            f"| {share(s['n_deep_real'], s['n_deep_rows'])} |"
        )
    print("\n### Fluxes and positions of isolated, unsaturated stars with S/N > 50\n")
    print(
        "| filter, exposures | stars | flux bias in % at 2 px | 4 px | 6 px | 8 px | 10 px "
        "| position error, mas rms per axis |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    images = [a for run in runs for a in run[1]]
    for name in [*dict.fromkeys((a.filter, a.n_exposures) for a in images), None]:
        some = [a for a in images if name is None or (a.filter, a.n_exposures) == name]
        errors = np.concatenate([e for a in some for e in a.comparison.position_errors_mas()])
        cells = " | ".join(bias_text(some, r) for r in ("2", "4", "6", "8", "10"))
        label = "all" if name is None else f"{name[0]}, {name[1]}"
        print(f"| {label} | {len(errors) // 2} | {cells} | {np.sqrt(np.mean(errors**2)):.2f} |")


def single_tables(folder: Path, seeds: int, jobs: int) -> None:
    """Print the tables of single exposures."""
    presets = ["classic", "deep"]
    settings = [Settings.load(preset=p) for p in presets]
    runs = {
        seconds: [
            assessed(folder, 100 + seed, {**SINGLE, "exptime_s": seconds}, settings, jobs)
            for seed in range(1, seeds + 1)
        ]
        for seconds in SINGLE_EXPTIMES
    }
    print("\n### Single exposures: cosmic rays and stars that carry cr_flag\n")
    print(
        "| preset | exposure | cosmic-ray detections flagged | stars without a cosmic ray within "
        "3 px flagged | detectable sources found |"
    )
    print("| --- | --- | --- | --- | --- |")
    for k, preset in enumerate(presets):
        for seconds, visits in runs.items():
            s = total(a for run in visits for a in run[k])
            print(
                f"| {preset} | {seconds:g} s "
                f"| {share(s['n_cosmic_rays_flagged'], s['n_cosmic_rays'])} "
                f"| {share(s['n_single_stars_flagged'], s['n_single_stars'])} "
                f"| {share(s['n_found'], s['n_detectable'])} |"
            )
    print("\n### Single exposures, preset deep: by magnitude\n")
    print(
        "| AB magnitude | stars flagged by mistake | rows of that magnitude that are real, "
        "all rows | rows with cr_flag = 0 |"
    )
    print("| --- | --- | --- | --- |")
    images = [a for visits in runs.values() for run in visits for a in run[1]]
    for low, high in MAG_BINS:
        print(f"| {low} to {high} | {' | '.join(magnitude_cells(images, low, high))} |")


def magnitude_cells(images: list[Assessment], low: float, high: float) -> list[str]:
    """Return the cells of one magnitude bin: false flags, purity before and after the flag."""
    sums = np.zeros(6, dtype=int)
    for image in images:
        c = image.comparison
        single = np.asarray(c.catalog["n_exp"]) == 1
        flagged = np.asarray(c.catalog["cr_flag"]) == 1
        matched = c.match >= 0
        true_mag = np.asarray(c.truth["mag"])[np.where(matched, c.match, 0)]
        is_star = np.asarray(c.truth["star"])[np.where(matched, c.match, 0)]
        star = single & matched & is_star & c.clear_of_cosmic_rays
        star &= (true_mag >= low) & (true_mag < high)
        measured = np.ma.filled(c.catalog["mag_ab_4"], np.nan)
        rows = single & (measured >= low) & (measured < high)
        sums += [
            (star & flagged).sum(), star.sum(), (rows & c.is_real).sum(), rows.sum(),
            (rows & ~flagged & c.is_real).sum(), (rows & ~flagged).sum(),
        ]  # fmt: skip
    return [share(int(sums[i]), int(sums[i + 1])) for i in (0, 2, 4)]


def deep_table(folder: Path, jobs: int) -> None:
    """Print completeness and purity for several choices of the preset deep."""
    base = Settings.load(preset="deep")
    settings = [base.replace(detect=base.detect.replace(**c)) for c in DEEP_CHOICES]
    runs = assessed(folder, 50, MULTI, settings, jobs)
    print("\n### The choice of the preset deep (one visit, two and more exposures)\n")
    print("| changed | real sources in the catalog | rows that are real |")
    print("| --- | --- | --- |")
    for change, images in zip(DEEP_CHOICES, runs, strict=True):
        s = total(images)
        text = ", ".join(f"{k} = {v}" for k, v in change.items())
        print(f"| {text} | {s['n_deep_real']} | {share(s['n_deep_real'], s['n_deep_rows'])} |")


def main() -> None:
    """Parse the arguments and print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="visits of each kind")
    parser.add_argument("--jobs", type=int, default=2)
    kinds = ["multi", "single", "deep"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "multi" in chosen.only:
            multi_tables(folder, chosen.seeds, chosen.jobs)
        if "single" in chosen.only:
            single_tables(folder, max(1, chosen.seeds // 2), chosen.jobs)
        if "deep" in chosen.only:
            deep_table(folder, chosen.jobs)


if __name__ == "__main__":
    main()
