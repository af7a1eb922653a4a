"""Are fluxes right whatever the focus?  Markdown tables from simulated visits.

    python benchmarks/focus.py FOLDER [--confirm] [--seed N] [--focus WAVES ...] [--table-only]

Makes visits of aberrated optics (simulate/optics.py) in FOLDER, unless they are there, sends them
through ``bycatch run``, and sets the catalogs against the truth: median bias of the unsaturated
stars with S/N above 50, no cosmic ray within 3 px and other objects of less than 1 % of their light
within 15 px, and half the distance of the 15.87th and 84.13th percentiles of their pulls,
(measured - true) / err_{r}_apcor, about the median of each image.  The systematic errors
are tested image by image: the median bias in units of err_{r}_sys and its own error.  Seeds from
100 on confirm (``--confirm``), on other recipes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import command, head, row
from families import OPTICS, STACK, TRAINING, Recipe, visit_folder
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bycatch.pipeline.assessment import assess_visit
from bycatch.settings import Settings

Floats = NDArray[np.float64]
FOCUS_WAVES = (-0.06, -0.03, 0.0, 0.03, 0.06)
BASE: Recipe = STACK | OPTICS | {"filters": ("F435W", "F475W", "F606W", "F814W")}
FIRST, SECOND = {"n_exposures": (1, 2, 1, 2)}, {"n_exposures": (2, 1, 2, 1)}
SPARSE, RICH = {"stars_per_arcmin2": 30.0}, {"stars_per_arcmin2": 200.0}
CHOOSING: dict[str, Recipe] = {
    "sparse, pixfrac 0.8": BASE | FIRST | SPARSE | {"pixfrac": 0.8},
    "rich, pixfrac 1": BASE | SECOND | RICH,
}
CONFIRMING: dict[str, Recipe] = {
    "sparse, pixfrac 1": BASE | SECOND | SPARSE | {"exptime_s": 900.0},
    "rich, pixfrac 0.8": BASE | FIRST | RICH | {"pixfrac": 0.8, "exptime_s": 400.0},
}
ALONE_PX, OTHER_SHARE = 15.0, 0.01
FEWEST = 3
"""Images with fewer good stars have no median."""


@dataclass(frozen=True, eq=False)
class Stars:
    """Good stars of one image: measured / true - 1, and both errors as shares, (N, R) each."""

    visit: str
    focus_waves: float
    filter: str
    n_exposures: int
    excess: Floats
    error: Floats
    systematic: Floats


def stars_of(folder: Path, out: Path, visit: str, focus: float) -> list[Stars]:
    """Return the good stars of all images of a visit."""
    found = []
    for assessment in assess_visit(out, folder):
        c = assessment.comparison
        rows = c.good_stars()
        places = np.column_stack([c.truth["x"], c.truth["y"]])
        rate = np.asarray(c.truth["rate"])
        near = KDTree(places).query_ball_point(places[c.match[rows]], ALONE_PX)
        light = np.array([rate[n].sum() for n in near]) / rate[c.match[rows]]
        rows = rows[light < 1.0 + OTHER_SHARE]
        true = np.asarray(c.truth["rate"])[c.match[rows]] * c.photflam
        flux, error, systematic = (
            np.column_stack(
                [np.ma.filled(c.catalog[name.format(r=r)], np.nan)[rows] for r in c.radii]
            )
            / true[:, None]
            for name in ("flux_{r}_apcor", "err_{r}_apcor", "err_{r}_sys")
        )
        found.append(
            Stars(
                visit, focus, assessment.filter, assessment.n_exposures, flux - 1, error, systematic
            )
        )
    return found


def width(values: Floats) -> float:
    """Return half the distance of the 15.87th and 84.13th percentiles."""
    low, high = np.percentile(values, (15.87, 84.13))
    return float(0.5 * (high - low))


def middle_error(values: Floats) -> Floats:
    """Return the error of the median of each column."""
    return np.array([1.2533 * width(v) / np.sqrt(len(v)) for v in values.T])


def bias_table(found: list[Stars], label: str, group: Callable[[Stars], str]) -> None:
    """Print the bias and the widths of the pulls by group."""
    groups: dict[str, list[Stars]] = defaultdict(list)
    for stars in found:
        groups[group(stars)].append(stars)
    groups["all"] = found
    radii = [f"{r:g} px" for r in Settings().measure.radii_px]
    names = [f"bias % {r}" for r in radii] + [f"pull {r}" for r in radii]
    print("\n" + head(label, "stars", *names, n_words=1))
    for name, some in groups.items():
        excess = np.concatenate([s.excess for s in some])
        if len(excess) == 0:
            continue
        kept = [s for s in some if len(s.excess) >= FEWEST]
        # n - 1 of n residuals about a median are free.
        pulls = [
            (s.excess - np.median(s.excess, axis=0))
            / s.error
            * np.sqrt(len(s.excess) / (len(s.excess) - 1))
            for s in kept
        ]
        widths = [f"{width(p):.2f}" for p in np.concatenate(pulls).T] if pulls else ["-"] * 5
        bias = [
            f"{100 * b:+.2f} ± {100 * e:.2f}"
            for b, e in zip(np.median(excess, axis=0), middle_error(excess), strict=True)
        ]
        print(row(name, len(excess), *bias, *widths))


def image_table(found: list[Stars]) -> None:
    """Print how far the medians of single images lie off, and in units of the stated error."""
    names = [f"{r:g} px" for r in Settings().measure.radii_px]
    kept = [s for s in found if len(s.excess) >= FEWEST]
    medians = np.array([np.median(s.excess, axis=0) for s in kept])
    own = np.array([middle_error(s.excess) for s in kept])
    stated = np.array([np.median(s.systematic, axis=0) for s in kept])
    # Neither the zero point nor the light within 10 px is wrong in a simulation.
    print("\n" + head(f"{len(kept)} images", *names, n_words=1))
    for name, values, digits in (
        ("rms of the medians, %", 100 * np.sqrt(np.mean(medians**2, axis=0)), 2),
        ("farthest median, %", 100 * np.abs(medians).max(axis=0), 2),
        ("median err_sys, %", 100 * np.median(stated, axis=0), 2),
        ("rms of median / errors", np.sqrt(np.mean(medians**2 / (stated**2 + own**2), axis=0)), 2),
    ):
        print(row(name, *(f"{v:.{digits}f}" for v in values)))
    pulls = np.concatenate([s.excess / np.hypot(s.error, s.systematic) for s in found])
    print(row("pulls with both errors", *(f"{width(p):.2f}" for p in pulls.T)))


def main() -> None:
    """Make what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--confirm", action="store_true", help="other recipes and seeds")
    parser.add_argument("--seed", type=int, help="of the visits; 1, or 101 to confirm")
    parser.add_argument("--focus", type=float, nargs="+", default=FOCUS_WAVES, metavar="WAVES")
    parser.add_argument("--out", default="out", help="name of the folders of the products")
    parser.add_argument("--table-only", action="store_true", help="of what is there already")
    given = parser.parse_args()
    recipes = CONFIRMING if given.confirm else CHOOSING
    seed = given.seed or (101 if given.confirm else 1)
    found = []
    for name, recipe in recipes.items():
        for focus in given.focus:
            label = f"{name} {focus:+.2f} seed {seed}"
            folder = given.folder / label.replace(", ", " ").replace(" ", "_")
            if not given.table_only:
                family = TRAINING | {label: recipe | {"focus_waves": focus}}
                visit_folder(family, label, seed, folder)
                command(
                    "run", folder / "raw", "-o", folder / given.out,
                    "--gaia", folder / "gaia.ecsv", "--quiet",
                )  # fmt: skip
            if (folder / given.out / "run.json").is_file():
                found += stars_of(folder, folder / given.out, name, focus)
    bias_table(found, "focus, waves", lambda s: f"{s.focus_waves:+.2f}")
    bias_table(found, "visit", lambda s: s.visit)
    bias_table(found, "exposures", lambda s: "1" if s.n_exposures == 1 else "2")
    bias_table(
        found, "filter, exposures", lambda s: f"{s.filter}, {'1' if s.n_exposures == 1 else '2'}"
    )
    image_table(found)


if __name__ == "__main__":
    main()
