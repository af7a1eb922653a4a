"""The chain that users run, against truth that no choice was made with: docs/judging.md.

    python benchmarks/truth.py [RECIPE ...] [--seeds N] [--keep FOLDER]      # or: make truth

Simulates the visits of benchmarks/judging.py, runs `bycatch run --preset deep` on each, and
compares the catalogs with the truth; source-extractor runs on the same pixels where it is
installed.  What counts as real, lost or isolated is in bycatch.simulate.comparison; a row of the
clean catalog is a cosmic ray where no object's light is and charge of one lies within 2 px.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from common import head, in_coverage, row
from families import visit_folder
from judging import JUDGING, SEEDS
from numpy.typing import NDArray
from peers import astroscrappy_mask, psf_photometry, sextractor
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import read_table
from bycatch.kernels.neighbourhood import any_within
from bycatch.pipeline.assessment import Assessment, assess_visit
from bycatch.report.overview import overview
from bycatch.report.products import read_folder
from bycatch.settings import Settings
from bycatch.simulate.comparison import TruthComparison

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SNR_EDGES = (5.0, 8.0, 10.0, 12.0, 20.0, 50.0, np.inf)
P_EDGES = (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98, 1.0001)
SIZE_EDGES = (0.1, 0.2, 0.4, 0.8, 1.5, 2.6)
MAG_EDGES = (17.0, 20.0, 22.0, 23.0, 24.0, 25.0)
LEAST = 30
"""Rows that a bin of p_cr needs."""
MATCH_PX, NEAR_PX = 2.0, 3.0
AT_HOME: dict[str, Any] = {"preset": "deep"}


@dataclass(frozen=True, eq=False)
class Verdict:
    """One image of a run: its catalogs, the truth, and what the summary says."""

    recipe: str
    seed: int
    assessment: Assessment
    summary: dict[str, Any]
    pixels: Path
    warnings: tuple[str, ...]
    """Of the page."""

    @property
    def comparison(self) -> TruthComparison:
        """Row by row what the catalog holds."""
        return self.assessment.comparison

    @property
    def catalog(self) -> Table:
        """The catalog with every row."""
        return self.comparison.catalog

    @property
    def label(self) -> str:
        """Filter and number of exposures."""
        return f"{self.assessment.filter}, {self.assessment.n_exposures}"

    def column(self, name: str) -> Floats:
        """Return a column of the catalog, NaN where it is blank."""
        return np.asarray(np.ma.filled(np.ma.asarray(self.catalog[name], float), np.nan))

    def has(self, flag: str) -> Bools:
        """Tell which rows carry a flag; none where the flag does not exist."""
        bit = int(Flag.__members__.get(flag, 0))
        return np.asarray(self.catalog["flags"], dtype=np.int64) & bit > 0


def judged(recipe: str, seed: int, folder: Path) -> list[Verdict]:
    """Simulate a visit, run the chain on it, and compare."""
    home = visit_folder(JUDGING, recipe, seed, folder)
    settings = Settings.load(**AT_HOME)
    bycatch.run(home / "raw", home / "out", settings, bycatch.Inputs(gaia=home / "gaia.ecsv"), 1)
    summary = json.loads((home / "out" / "summary.json").read_text())
    by_root = {image["root"]: image for image in summary["images"]}
    problems = overview(read_folder(home / "out")).problems
    return [
        Verdict(
            recipe,
            seed,
            found,
            by_root[found.root]["summary"],
            home / "raw" / f"{found.root}_drc.fits",
            tuple(
                text for _, place, text in problems if found.root in place or found.filter in place
            ),
        )
        for found in assess_visit(home / "out", home)
    ]


# ---- tables -----------------------------------------------------------------------------------


def star_table(images: Sequence[Verdict]) -> None:
    """Print biases and pulls of isolated stars of S/N > 50, errors and systematic ones together."""
    print("\n### Fluxes and positions of isolated, unsaturated stars with S/N > 50\n")
    radii = ("2", "4", "6", "10")
    print(head("recipe", "image", "stars", *(f"bias at {r} px, %" for r in radii),
               "pulls at 2 px", "4 px", "position, mas", n_words=2))  # fmt: skip
    for image in images:
        compared = image.comparison
        rows = compared.good_stars()
        if len(rows) < 5:
            continue
        pulls = []
        true = np.asarray(compared.truth["rate"])[compared.match[rows]] * compared.photflam
        for r in ("2", "4"):
            error = np.hypot(image.column(f"err_{r}_apcor"), image.column(f"err_{r}_sys"))[rows]
            pulls.append(robust_width((image.column(f"flux_{r}_apcor")[rows] - true) / error))
        position = np.sqrt(np.mean(np.concatenate(compared.position_errors_mas()) ** 2))
        biases = (f"{100 * (np.median(compared.flux_ratio(r)) - 1):+.2f}" for r in radii)
        print(row(image.recipe, image.label, len(rows), *biases, *(f"{p:.2f}" for p in pulls),
                  f"{position:.1f}"))  # fmt: skip


def frame_table(images: Sequence[Verdict]) -> None:
    """Print the frames' grades and errors against the truth."""
    print("\n### The frame\n")
    print(head("recipe", "image", "grade", "rows", "stated error, mas", "true error, mas rms",
               "pulls, width", "beyond 3 sigma, %", n_words=3))  # fmt: skip
    for image in images:
        compared = image.comparison
        rows = np.flatnonzero(compared.match >= 0)
        truth = compared.truth[compared.match[rows]]
        star = np.asarray(truth["star"], bool) & (image.column("snr_4")[rows] > 20)
        star &= ~np.asarray(truth["saturated"], bool)
        rows, truth = rows[star], truth[star]
        dec = np.asarray(truth["dec"])
        east = (image.column("RA_GAIA_WCS")[rows] - np.asarray(truth["ra"])) * 3.6e6
        off = np.array(
            [east * np.cos(np.radians(dec)), 3.6e6 * (image.column("DEC_GAIA_WCS")[rows] - dec)]
        )
        error = np.array([image.column(f"{a}_GAIA_WCS_err")[rows] for a in ("RA", "DEC")])
        pulls = off / error
        known = np.isfinite(pulls).all(axis=0)
        if known.sum() < 5:
            print(
                row(
                    image.recipe,
                    image.label,
                    image.summary["align"]["grade"],
                    known.sum(),
                    *["-"] * 4,
                )
            )
            continue
        beyond = 100 * np.mean(np.hypot(*pulls[:, known]) > 3.44)  # 3 sigma of two axes
        stated, true = np.median(error[:, known]), np.sqrt(np.mean(off[:, known] ** 2))
        width = robust_width(pulls[:, known].ravel(), about=0.0)
        print(row(image.recipe, image.label, image.summary["align"]["grade"], known.sum(),
                  f"{stated:.2f}", f"{true:.2f}", f"{width:.2f}", f"{beyond:.1f}"))  # fmt: skip


def purity_table(images: Sequence[Verdict]) -> None:
    """Print what the clean catalog holds by signal-to-noise, and what it has lost."""
    print("\n### The clean catalog\n")
    names = [f"S/N {low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
             for low, high in pairwise(SNR_EDGES)]  # fmt: skip
    print(head("recipe", "image", *(f"real, %: {n}" for n in names), "stars lost, %",
               "galaxies lost, %", n_words=2))  # fmt: skip
    for image in images:
        compared = image.comparison
        snr, clean = image.column("snr_4"), is_clean(image)
        cells = []
        for low, high in pairwise(SNR_EDGES):
            here = clean & (snr >= low) & (snr < high)
            cells.append(
                f"{100 * compared.is_real[here].mean():.1f} of {here.sum()}" if here.any() else "-"
            )
        print(row(image.recipe, image.label, *cells, *(
            share(~clean, lost_from(image, star)) for star in (True, False))))  # fmt: skip


def lost_from(image: Verdict, stars: bool) -> Bools:
    """Return rows of true stars, or galaxies, clear of cosmic rays and of S/N 5 and more."""
    compared = image.comparison
    matched = compared.match >= 0
    is_star = np.asarray(compared.truth["star"], bool)[np.where(matched, compared.match, 0)]
    return (
        matched & (is_star == stars) & compared.clear_of_cosmic_rays & (image.column("snr_4") > 5)
    )


def reliability_table(images: Sequence[Verdict]) -> None:
    """Print how often a row of a given p_cr is no object, by recipe."""
    print("\n### Calibration of p_cr: mean p_cr and fraction that is no object\n")
    print(
        head(
            "recipe",
            *(f"{low:g} to {min(high, 1):g}" for low, high in pairwise(P_EDGES)),
            n_words=1,
        )
    )
    for recipe in dict.fromkeys(image.recipe for image in images):
        members = [image for image in images if image.recipe == recipe]
        p = np.concatenate([image.column("p_cr") for image in members])
        false = np.concatenate([~image.comparison.is_real for image in members])
        cells = []
        for low, high in pairwise(P_EDGES):
            here = (p >= low) & (p < high)
            enough = here.sum() >= LEAST
            cells.append(f"{p[here].mean():.2f}: {false[here].mean():.2f}" if enough else "-")
        print(row(recipe, *cells))


def total_table(images: Sequence[Verdict]) -> None:
    """Print the bias of total magnitudes of galaxies by size and magnitude, with SExtractor's."""
    print(
        "\n### Total magnitudes of galaxies, measured - true: median of mag_ab_kron / corrected by"
        " kron_fraction / SExtractor AUTO\n"
    )
    sizes = list(pairwise(SIZE_EDGES))
    print(head("AB magnitude", *(f'{a:g} to {b:g}"' for a, b in sizes), "pulls, width", n_words=1))
    measured = [totals(image) for image in images]
    size, mag, ours, whole, theirs, pull = (np.concatenate(c) for c in zip(*measured, strict=True))
    for low, high in pairwise(MAG_EDGES):
        cells = []
        for a, b in sizes:
            here = (mag >= low) & (mag < high) & (size >= a) & (size < b)
            both = np.isfinite(ours) & here
            their = np.isfinite(theirs) & here
            medians = (f"{np.median(mags[both]):+.3f}" for mags in (ours, whole))
            text = " / ".join(medians) if both.sum() >= 5 else "-"
            text += f" / {np.median(theirs[their]):+.3f}" if their.sum() >= 5 else ""
            cells.append(f"{text} ({both.sum()})" if both.any() else "-")
        here = (mag >= low) & (mag < high) & np.isfinite(pull)
        cells.append(f"{robust_width(pull[here], about=0.0):.2f}" if here.sum() >= 10 else "-")
        print(row(f"{low:g} to {high:g}", *cells))


def totals(image: Verdict) -> tuple[Floats, ...]:
    """Return half-light radii, true magnitudes, offsets of ours, corrected and theirs, and pulls.

    The pulls are those of the corrected flux, with its statistical and its systematic error.
    """
    truth = image.comparison.truth
    galaxy = ~np.asarray(truth["star"], bool) & alone(truth)
    size, mag = np.asarray(truth["re"])[galaxy], np.asarray(truth["mag"])[galaxy]
    place = np.column_stack([truth["x"], truth["y"]])[galaxy]
    kron = image.column("mag_ab_kron")
    mine = nearest(place, image.column("x_center"), image.column("y_center"))
    ours = np.where(mine >= 0, kron[mine], np.nan) - mag
    flux = np.asarray(truth["rate"])[galaxy] * image.comparison.photflam
    fraction = image.column("kron_fraction")[mine]
    error = np.hypot(image.column("err_kron")[mine] / fraction, image.column("err_kron_sys")[mine])
    pull = (image.column("flux_kron")[mine] / fraction - flux) / error
    table = sextractor(image.pixels)
    theirs = np.full(len(mag), np.nan)
    if table is not None:
        zero = np.median(np.asarray(truth["mag"]) + 2.5 * np.log10(np.asarray(truth["rate"])))
        here = nearest(place, np.asarray(table["x"]), np.asarray(table["y"]))
        auto = zero - 2.5 * np.log10(np.maximum(np.asarray(table["FLUX_AUTO"], float), 1e-9))
        theirs = np.where(here >= 0, auto[here], np.nan) - mag
    whole = ours + 2.5 * np.log10(fraction)
    return size, mag, ours, whole, theirs, np.where(mine >= 0, pull, np.nan)


def trust_table(images: Sequence[Verdict]) -> None:
    """Print false rows, how many of them are flagged, and what the page warns of."""
    print("\n### Rows that are no object, and the warnings\n")
    flags = ("NEBULOUS", "IN_LARGE_OBJECT", "TRAIL", "BLENDED")
    shares = (f"{f.lower()}: of false, of real, %" for f in flags)
    print(head("recipe", "image", "clean rows", "false", *shares, "warnings", n_words=2))
    for image in images:
        clean, real = is_clean(image), image.comparison.is_real
        false = clean & ~real
        cells = [
            f"{share(image.has(f), false)}, {share(image.has(f), clean & real)}" for f in flags
        ]
        said = "; ".join(image.warnings)
        print(row(image.recipe, image.label, clean.sum(), false.sum(), *cells, said))


def crowding_table(images: Sequence[Verdict]) -> None:
    """Print which true stars have a row of their own, with those of SExtractor and photutils."""
    print(
        "\n### Recovered fraction of stars, %: bycatch / SExtractor / photutils' PSF photometry\n"
    )
    edges = (18.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0)
    print(head("recipe", "image", *(f"{a:g} to {b:g}" for a, b in pairwise(edges)), n_words=2))
    for image in images:
        truth = image.comparison.truth
        star = np.asarray(truth["star"], bool) & inside(image)
        place, mag = np.column_stack([truth["x"], truth["y"]]), np.asarray(truth["mag"])
        finds = [nearest(place, image.column("x_center"), image.column("y_center")) >= 0]
        if (table := sextractor(image.pixels)) is not None:
            finds.append(nearest(place, np.asarray(table["x"]), np.asarray(table["y"])) >= 0)
        table = psf_photometry(image.pixels, float(np.nanmedian(image.column("fwhm"))))
        finds.append(nearest(place, np.asarray(table["x_fit"]), np.asarray(table["y_fit"])) >= 0)
        bins = [star & (mag >= low) & (mag < high) for low, high in pairwise(edges)]
        cells = (" / ".join(share(found, here) for found in finds) for here in bins)
        print(row(image.recipe, image.label, *cells))


def mask_table(images: Sequence[Verdict]) -> None:
    """Print which detections the cosmic-ray masks hold, with astroscrappy's."""
    print("\n### Rows on the cosmic-ray mask, %: bycatch / astroscrappy\n")
    print(head("recipe", "image", "cosmic rays", "stars and galaxies", n_words=2))
    for image in images:
        if image.assessment.n_exposures > 1:
            continue
        compared = image.comparison
        real = compared.is_real & compared.clear_of_cosmic_rays
        ours = np.asarray(image.catalog["cr_flag"]) == 1
        theirs = any_within(
            astroscrappy_mask(image.pixels), image.column("x_center"), image.column("y_center"), 2.0
        )
        cells = (f"{share(ours, of)} / {share(theirs, of)} of {of.sum()}"
                 for of in (compared.is_cosmic_ray, real))  # fmt: skip
        print(row(image.recipe, image.label, *cells))


# ---- what the tables share --------------------------------------------------------------------


def robust_width(values: Floats, about: float | None = None) -> float:
    """Return the width that 68 % of the values span around their median, or around a value."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    middle = np.median(known) if about is None else about
    return float(np.percentile(np.abs(known - middle), 68.27))


def is_clean(image: Verdict) -> Bools:
    """Tell which rows the clean catalog keeps."""
    clean = read_table(image.assessment.catalog.with_name(
        image.assessment.catalog.name.replace("_cat.", "_cat_clean.")))  # fmt: skip
    return np.isin(np.asarray(image.catalog["id"]), np.asarray(clean["id"]))


def share(which: Bools, of: Bools) -> str:
    """Return a share in percent."""
    return f"{100 * which[of].mean():.1f}" if of.any() else "-"


def alone(truth: Table) -> Bools:
    """Tell which galaxies have no neighbour of a tenth of their light within 3 half-light radii."""
    place, rate = np.column_stack([truth["x"], truth["y"]]), np.asarray(truth["rate"])
    reach = 10.0 + 3.0 * np.asarray(truth["re"]) / 0.05
    tree = KDTree(place)
    near = tree.query_ball_point(place, reach)
    return np.array([all(rate[j] < 0.1 * rate[k] for j in members if j != k)
                     for k, members in enumerate(near)])  # fmt: skip


def inside(image: Verdict) -> Bools:
    """Tell which true objects lie where detection's coverage rule leaves rows."""
    valid = np.isfinite(fits.getdata(image.pixels, 1)).astype(bool)
    return in_coverage(valid, *(np.asarray(image.comparison.truth[n], float) for n in "xy"))


def nearest(place: Floats, x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the row within `MATCH_PX` of each place, at most one place a row; -1 without."""
    distance, found = KDTree(np.column_stack([x, y])).query(place)
    row_of = np.where(distance < MATCH_PX, found, -1)
    for k in np.argsort(distance, kind="stable"):
        if row_of[k] >= 0 and np.any(distance[row_of == row_of[k]] < distance[k]):
            row_of[k] = -1
    return row_of


TABLES: tuple[tuple[Callable[[Sequence[Verdict]], None], tuple[str, ...]], ...] = (
    (star_table, ()),
    (frame_table, ()),
    (purity_table, ()),
    (reliability_table, ()),
    (total_table, ("galaxies", "stack, clean")),
    (trust_table, ()),
    (crowding_table, ("crowded",)),
    (mask_table, ()),
)


def all_judged(recipes: Sequence[str], n_seeds: int, folder: Path) -> Iterator[Verdict]:
    """Yield the images of all visits."""
    for recipe in recipes:
        for seed in SEEDS[:n_seeds]:
            print(f"{recipe}, seed {seed}", file=sys.stderr, flush=True)
            yield from judged(recipe, seed, folder / recipe.replace(" ", "_") / str(seed))


def main() -> None:
    """Print the tables of all recipes, or of some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="recipes of judging.py; all by default")
    parser.add_argument("--seeds", type=int, default=1, choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--keep", type=Path, help="folder for visits and runs; temporary else")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        images = list(all_judged(given.recipes or list(JUDGING), given.seeds, folder))
        for table, only in TABLES:
            chosen = [image for image in images if not only or image.recipe in only]
            if chosen:
                table(chosen)


if __name__ == "__main__":
    main()
