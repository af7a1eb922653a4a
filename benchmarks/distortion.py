"""How well the error of a frame is known where images are distorted, as a Markdown table.

    python benchmarks/distortion.py [--trials N] [--first SEED] [--quick] [--pool FOLDER]

The trials of benchmarks/alignment.py (its pool, its stars, its wrong headers), with their
detections displaced by what no linear WCS holds:

- ``none``: nothing;
- ``warped``: waves of 20 mas rms per axis, as ``simulate.residual_distortion_mas`` makes them,
  with random phases and up to a third shorter or longer;
- ``chips``: the upper half of each image shifted by 20 mas in a random direction;
- ``apart``: the upper half shifted by 300 mas: none of its stars can match;
- ``mirrored``: the upper half mirrored in x.

The errors are those of the frame on a grid of 25 positions of each image that is on Gaia.  Of the
last two, what counts is the grade.  The exit status is 1 if a demand is not met.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import alignment
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.settings import AlignSettings
from bycatch.stages import align

Floats = NDArray[np.float64]
Displacement = Callable[[Floats, Floats], tuple[Floats, Floats]]
SIZE_MAS, APART_MAS = 20.0, 300.0
SCALE_MAS = 50.0
NUMBERS = (2, 3, 5, 8, 20, 100)


def waves(random: np.random.Generator) -> Displacement:
    """Return waves of SIZE_MAS rms per axis, like those of `simulate.geometry.displaced`."""
    phase, stretch = random.uniform(0, 2 * np.pi, 2), random.uniform(0.67, 1.33, 2)
    size = SIZE_MAS * np.sqrt(2.0)

    def moved(a: Floats, b: Floats) -> tuple[Floats, Floats]:
        return (
            size * np.sin(stretch[0] * (2.6 * a + 1.1 * b) + phase[0]),
            size * np.sin(stretch[1] * (1.3 * a - 2.9 * b) + phase[1]),
        )

    return moved


def upper_half(random: np.random.Generator, size_mas: float) -> Displacement:
    """Return a shift of the upper half in a random direction."""
    angle = random.uniform(0, 2 * np.pi)

    def moved(_: Floats, b: Floats) -> tuple[Floats, Floats]:
        upper = size_mas * (b > 0)
        return upper * np.cos(angle), upper * np.sin(angle)

    return moved


def mirrored(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Mirror the upper half of an image of 2000 pixels or so in x."""
    return np.where(b > 0, -2.0 * a, 0.0), np.zeros_like(b)


def displacement(kind: str, random: np.random.Generator) -> Displacement:
    """Return what displaces the detections of a trial: mas along x and y by place in (-1, 1)."""
    if kind == "warped":
        return waves(random)
    if kind in ("chips", "apart"):
        return upper_half(random, SIZE_MAS if kind == "chips" else APART_MAS)
    return mirrored if kind == "mirrored" else lambda a, b: (0.0 * a, 0.0 * b)


KINDS = ("none", "warped", "chips", "apart", "mirrored")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one image: errors of its frame and stated ones (25, 2), mas; and its grade."""

    kind: str
    n_stars: int
    seed: int
    grade: str
    geometry: str
    offset: Floats
    stated: Floats


def outcomes_of(pool: Sequence[alignment.PoolVisit], kind: str, seed: int) -> list[Outcome]:
    """Return what the displaced trial of a seed gave; nothing for stars from elsewhere."""
    trial = alignment.make_trial(pool, seed)
    if trial.kind == "elsewhere":
        return []
    moved = displacement(kind, np.random.default_rng([seed, 9]))
    images = []
    for image in trial.images:
        ny, nx = image.shape
        sources = image.sources.copy()
        a, b = 2.0 * sources["x"] / nx - 1.0, 2.0 * sources["y"] / ny - 1.0
        dx, dy = moved(np.asarray(a), np.asarray(b))
        unit = nx / 2.0 if kind == "mirrored" else 1.0 / SCALE_MAS
        sources["x"] += dx * unit
        sources["y"] += dy * unit
        images.append(replace(image, sources=sources))
    found = align.run(images, trial.reference, AlignSettings())
    n_stars = max(n for n in (0, 1, *NUMBERS) if n <= trial.n_stars)
    out = []
    for image, result, true in zip(images, found.images, trial.true_wcs, strict=True):
        offset, stated = _errors_mas(result, true, image.shape, kind, moved)
        out.append(Outcome(kind, n_stars, seed, result.grade, result.geometry, offset, stated))
    return out


def _errors_mas(
    result: align.AlignResult, true: WCS, shape: tuple[int, int], kind: str, moved: Displacement
) -> tuple[Floats, Floats]:
    """Return errors and stated errors (25, 2) on a grid of an image."""
    ny, nx = shape
    y, x = (v.ravel() for v in np.mgrid[0.02:0.98:5j, 0.02:0.98:5j])
    x, y = x * (nx - 1), y * (ny - 1)
    dx, dy = moved(2.0 * x / nx - 1.0, 2.0 * y / ny - 1.0)
    unit = nx / 2.0 if kind == "mirrored" else 1.0 / SCALE_MAS
    # What is seen at a pixel is what would be a little aside without the displacement.
    ra, dec = true.all_pix2world(x - dx * unit, y - dy * unit, 0)
    got_ra, got_dec = result.wcs.all_pix2world(x, y, 0)
    d_ra = (got_ra - ra + 180.0) % 360.0 - 180.0
    offset = np.column_stack([d_ra * np.cos(np.radians(dec)), got_dec - dec]) * 3.6e6
    return offset, np.column_stack(result.frame_error.at(np.asarray(got_ra), np.asarray(got_dec)))


COLUMNS = (
    "detections",
    "Gaia stars",
    "images",
    "grades A, B, C, other",
    "SIP",
    "error, mas per axis: median image",
    "stated",
    "error / stated, width",
    "beyond 3, %",
)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the Markdown table by kind and number of stars."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for kind in KINDS:
        for n in NUMBERS:
            some = [o for o in outcomes if o.kind == kind and o.n_stars == n]
            if some:
                lines.append(f"| {kind} | {n} | {_cells(some)} |")
    return lines


def _pulls(outcomes: Sequence[Outcome]) -> Floats:
    on_gaia = [(o.offset / o.stated).ravel() for o in outcomes if o.grade in "ABCD"]
    return np.concatenate(on_gaia) if on_gaia else np.empty(0)


def _cells(some: Sequence[Outcome]) -> str:
    grades = [sum(o.grade in g for o in some) for g in ("A", "B", "C", "DEF")]
    good = [o for o in some if o.grade in "ABCD"]
    if not good:
        return f"{len(some)} | {', '.join(map(str, grades))} | | | | |"
    pulls = _pulls(some)
    return " | ".join(
        [
            f"{len(some)}",
            ", ".join(map(str, grades)),
            f"{sum(o.geometry == 'sip' for o in some)}",
            f"{np.median([np.sqrt(np.mean(o.offset**2)) for o in good]):.1f}",
            f"{np.median([np.sqrt(np.mean(o.stated**2)) for o in good]):.1f}",
            f"{alignment.robust_width(pulls):.2f}",
            f"{100 * np.mean(np.abs(pulls) > 3):.1f}",
        ]
    )


def demands(outcomes: Sequence[Outcome]) -> list[alignment.Criterion]:
    """Return what is demanded of displaced detections with 5 or more stars."""
    out = []
    for kind in ("none", "warped", "chips"):
        pulls = _pulls([o for o in outcomes if o.kind == kind and o.n_stars >= 5])
        if pulls.size:
            width, far = alignment.robust_width(pulls), 100 * float(np.mean(np.abs(pulls) > 3))
            out += [
                alignment.Criterion(
                    f"{kind}: error / stated, width: 0.8 to 1.3",
                    f"{width:.2f}",
                    0.8 <= width <= 1.3,
                ),
                alignment.Criterion(f"{kind}: beyond 3: at most 1 %", f"{far:.1f} %", far <= 1.0),
            ]
    best = [o for o in outcomes if o.kind in ("apart", "mirrored") and o.grade == "A"]
    lost = [o for o in outcomes if o.kind in ("apart", "mirrored")]
    if lost:
        seeds = tuple(sorted({o.seed for o in best}))
        out.append(
            alignment.Criterion(
                "half of the image elsewhere: never an A",
                f"{len(best)} of {len(lost)}",
                not best,
                seeds,
            )
        )
    return out


def main() -> int:
    """Parse the arguments, run the trials, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="number of trials of each kind")
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    parser.add_argument("--quick", action="store_true", help="a small pool")
    parser.add_argument("--pool", type=Path, help="folder in which the simulated visits are kept")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    chosen = parser.parse_args()
    plans = alignment.QUICK_PLANS if chosen.quick else alignment.PLANS
    with tempfile.TemporaryDirectory() as name:
        pool = alignment.load_pool(chosen.pool or Path(name), plans)
        outcomes = [
            outcome
            for kind in chosen.kinds
            for seed in range(chosen.first, chosen.first + chosen.trials)
            for outcome in outcomes_of(pool, kind, seed)
        ]
    print("\n".join(table(outcomes)))
    found = demands(outcomes)
    print("\n| demand | found | met |\n| --- | --- | --- |")
    for demand in found:
        print(f"| {demand.name} | {demand.found} | {'yes' if demand.met else '**no**'} |")
        if demand.seeds:
            print(demand.name, demand.seeds, file=sys.stderr)
    return 0 if all(demand.met for demand in found) else 1


if __name__ == "__main__":
    sys.exit(main())
