"""Error rates of the cosmic-ray flag on simulated single-exposure fields, as a Markdown table.

    python benchmarks/crmask_rates.py [--seeds N] [--exptime 300 600 1200] [--filters F625W ...]

Two rates, for the detections of both presets, with the flag as `measure` sets it
(a pixel of the grown mask within 2 px of the source):

* *cosmic rays*: the share of the detections that are cosmic rays which carry the flag;
* *stars*, *galaxies*: the share of the real ones that carry it although no pixel with charge of
  a cosmic ray lies within 3 px of their true position or of their detection.

A detection is a cosmic ray if charge of one lies in at least two of its pixels and
no object in its segment has 30 % of its flux.  It is real if it lies within 2 px of an object
that has 40 % of its flux.  A second table gives the flags at the true positions of all
objects, detected or not, by magnitude.  Hot pixels are switched off: they are
charge too, and get the flag.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.neighbourhood import neighbourhood
from bycatch.settings import Settings, SimulateSettings
from bycatch.simulate import SimulatedImage, simulate_visit, write_visit
from bycatch.stages import crmask, detect

FLAG_RADIUS_PX, CLEAN_RADIUS_PX, MATCH_RADIUS_PX = 2.0, 3.0, 2.0
MAG_EDGES = (17, 19, 20, 21, 22, 23, 24, 25, 26, 27)
PRESETS = ("classic", "deep")

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = dict[tuple[str, ...], NDArray[np.int64]]


def simulated(filter_name: str, exptime_s: float, seed: int) -> tuple[SimulatedImage, DrcImage]:
    """Return a single-exposure field with its truth, and what is read from its file."""
    settings = SimulateSettings(
        seed=seed,
        filters=(filter_name,),
        n_exposures=(1,),
        exptime_s=exptime_s,
        stars_per_arcmin2=450,
        mag_bright=18.0,
        hot_pixel_share=0.0,
        min_separation_arcsec=0.9,
    )
    visit = simulate_visit(settings)
    with tempfile.TemporaryDirectory() as folder:
        files = write_visit(visit, Path(folder))
        return visit.images[0], read_drc(files.images[0])


def next_seed(exptime_s: float, seed: int, number: int) -> int:
    """Return a seed of its own for each field, so that no two share a scene."""
    return 10_000 * seed + 1000 * number + int(exptime_s) % 997


def is_near(mask: Bools, x: Floats, y: Floats, radius_px: float) -> Bools:
    """Return whether a true pixel's centre lies within a radius of each position."""
    near = neighbourhood((mask.shape[0], mask.shape[1]), x, y, radius_px)
    return np.asarray((near.take(mask) & (near.distance <= radius_px)).any(axis=1))


def count(counts: Counts, key: tuple[str, ...], flagged: Bools) -> None:
    """Add flagged and all rows to a counter."""
    counts[key] = counts[key] + np.array([flagged.sum(), flagged.size])


def count_detections(
    counts: Counts, preset: str, label: str, truth: SimulatedImage, image: DrcImage, grown: Bools
) -> None:
    """Count the flags of the detections of one preset."""
    found = detect.run(image, Settings.load(preset=preset).detect)
    table, segments = found.sources, found.segmentation
    x, y = np.asarray(table["x"], float), np.asarray(table["y"], float)
    ids, flux = np.asarray(table["id"]), np.asarray(table["flux"], float)
    hit = np.bincount(segments[truth.cosmic_rays], minlength=segments.max() + 1)[ids]
    tx, ty = np.asarray(truth.truth["x"]), np.asarray(truth.truth["y"])
    rate, star = np.asarray(truth.truth["rate"]), np.asarray(truth.truth["star"], bool)
    saturated = np.asarray(truth.truth["saturated"], bool)
    column, row = np.rint(tx).astype(int), np.rint(ty).astype(int)
    ny, nx = segments.shape
    on = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    brightest = np.zeros(segments.max() + 1)
    np.maximum.at(brightest, segments[row[on], column[on]], rate[on])
    distance, nearest = cKDTree(np.column_stack([tx, ty])).query(np.column_stack([x, y]))
    flagged = is_near(grown, x, y, FLAG_RADIUS_PX)
    is_ray = (hit >= 2) & (brightest[ids] < 0.3 * flux)
    count(counts, (preset, label, "cosmic rays"), flagged[is_ray])
    real = (distance < MATCH_RADIUS_PX) & (rate[nearest] > 0.4 * flux)
    real &= ~is_near(truth.cosmic_rays, x, y, CLEAN_RADIUS_PX)
    real &= ~is_near(truth.cosmic_rays, tx[nearest], ty[nearest], CLEAN_RADIUS_PX)
    kinds = {
        "stars": star & ~saturated,
        "saturated stars": star & saturated,
        "galaxies": ~star,
    }
    for kind, member in kinds.items():
        count(counts, (preset, label, kind), flagged[real & member[nearest]])


def count_positions(
    counts: Counts, label: str, truth: SimulatedImage, image: DrcImage, grown: Bools
) -> None:
    """Count the flags at the true positions that lie on the image."""
    table = truth.truth
    x, y, mag = (np.asarray(table[name], float) for name in ("x", "y", "mag"))
    star = np.asarray(table["star"], bool)
    used = ~is_near(truth.cosmic_rays, x, y, CLEAN_RADIUS_PX)
    used &= is_near(image.valid, x, y, 1.0)
    flagged = is_near(grown, x, y, FLAG_RADIUS_PX)
    for low, high in pairwise(MAG_EDGES):
        for kind, member in (("stars", star), ("galaxies", ~star)):
            chosen = used & member & (mag >= low) & (mag < high)
            count(counts, (kind, label, f"{low}-{high}"), flagged[chosen])


def cell(pair: NDArray[np.int64]) -> str:
    """Return a share with its counts."""
    flagged, total = (int(v) for v in pair)
    return f"{100 * flagged / total:.1f} % ({flagged}/{total})" if total else "-"


def rows(counts: Counts, heads: tuple[str, str], columns: list[str]) -> str:
    """Return a Markdown table: two leading columns, then one per ``columns``."""
    lines = [f"| {' | '.join([*heads, *columns])} |", "|---" * (2 + len(columns)) + "|"]
    for first, second in dict.fromkeys(key[:2] for key in counts):
        cells = [cell(counts[first, second, name]) for name in columns]
        lines.append(f"| {' | '.join([first, second, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, detect, mask, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--exptime", type=float, nargs="+", default=[300.0, 600.0, 1200.0])
    parser.add_argument("--filters", nargs="+", default=["F475W", "F625W", "F775W"])
    given = parser.parse_args()
    detections: Counts = defaultdict(lambda: np.zeros(2, dtype=np.int64))
    positions: Counts = defaultdict(lambda: np.zeros(2, dtype=np.int64))
    for exptime_s in given.exptime:
        label = f"{exptime_s:g} s"
        for seed in range(1, given.seeds + 1):
            for k, filter_name in enumerate(given.filters):
                truth, image = simulated(filter_name, exptime_s, next_seed(exptime_s, seed, k))
                grown = crmask.run(image).grown
                for preset in PRESETS:
                    count_detections(detections, preset, label, truth, image, grown)
                count_positions(positions, label, truth, image, grown)
    kinds = ["cosmic rays", "stars", "saturated stars", "galaxies"]
    detections = dict(sorted(detections.items(), key=lambda item: item[0][0]))
    positions = dict(sorted(positions.items(), key=lambda item: item[0][0] == "galaxies"))
    print("Detections that carry the flag\n")
    print(rows(detections, ("preset", "exposure"), kinds))
    print(
        "\nTrue positions without a cosmic ray within 3 px that carry the flag, by AB magnitude\n"
    )
    bins = [f"{a}-{b}" for a, b in pairwise(MAG_EDGES)]
    print(rows(positions, ("objects", "exposure"), bins))


if __name__ == "__main__":
    main()
