"""The table of objects against truth: what is real, what is joined, and colours.

    python benchmarks/objects.py [RECIPE ...] [--seeds N ...]           # recipes of families.py
    python benchmarks/objects.py --visit FOLDER                         # one with raw/, truth/

Runs `bycatch run --preset deep` on visits of the training family with seeds that confirm, and
compares the objects with the truth.  An object is **real** if a true object's centre lies within
0.15 arcsec, **part** of one if it lies within two half-light radii and 0.3 arcsec of it, or within
1.5 arcsec of a star brighter than 22 mag; else it is **false**.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from astropy.table import Table
from common import command, head, is_alone, row
from families import CONFIRMING, TRAINING, visit_folder
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bycatch import photcal
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats, read_table
from bycatch.robust import MEDIAN_ERROR, robust_sigma

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

RECIPES = ("silicon", "stack", "skirts", "clean", "galaxies")
SAME_ARCSEC, STAR_ARCSEC, BRIGHT_MAG = 0.15, 1.5, 22.0
FAINTEST_MAG = 28.5
SNR_EDGES = (-np.inf, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0, np.inf)
COLOUR_SNR = (5.0, 10.0, 20.0, 50.0, 200.0)
P_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.01)


@dataclass(frozen=True, eq=False)
class Verdict:
    """The objects of a visit beside the truth."""

    name: str
    objects: Table
    truth: Table
    nearest: NDArray[np.int64]
    real: Bools
    part: Bools

    @property
    def snr(self) -> Floats:
        """Of the filter that shows an object best."""
        names = [name for name in self.objects.colnames if name.startswith("snr_")]
        with np.errstate(invalid="ignore"):
            return np.nanmax([floats(self.objects, n) for n in names] + [self.none], axis=0)

    @property
    def none(self) -> Floats:
        """No signal."""
        return np.zeros(len(self.objects))

    @property
    def p_real(self) -> Floats:
        """As the catalog says."""
        return np.nan_to_num(floats(self.objects, "p_real"))


def judged(name: str, out: Path, truth: Path) -> Verdict:
    """Compare the one group of a run with the truth tables of its images."""
    objects = read_table(next(out.glob("objects/*/*_objects.ecsv")))
    tables = {p.stem: Table.read(p, format="ascii.ecsv") for p in sorted(truth.glob("*.ecsv"))}
    images = read_table(next(out.glob("objects/*/*_images.ecsv")))
    true = next(iter(tables.values())).copy()
    for label, band in zip(images["image"], images["filter"], strict=True):
        found = tables[next(stem for stem in tables if stem.startswith(label.split("/")[-1]))]
        true[f"mag_{band}"] = found["mag"]
    bands = [n for n in true.colnames if n.startswith("mag_")]
    true["best"] = np.min([np.asarray(true[n], float) for n in bands], axis=0)
    plane = _plane(objects, true)
    centres, places = plane(true), plane(objects)
    there = np.asarray(true["best"]) < FAINTEST_MAG
    rows = np.flatnonzero(there)
    distance, k = cKDTree(centres[there]).query(places)
    nearest = rows[k]
    real = distance < SAME_ARCSEC
    part = np.zeros(len(objects), dtype=bool)
    size, is_star = np.asarray(true["re"], float), np.asarray(true["star"], bool)
    bright = there & (np.asarray(true["best"]) < BRIGHT_MAG)
    for reach, which in (
        (np.full(len(true), STAR_ARCSEC), bright & is_star),
        (2.0 * size + 0.3, there & ~is_star & (np.asarray(true["best"]) < 26.0)),
    ):
        for i in np.flatnonzero(which):
            part |= np.hypot(*(places - centres[i]).T) < reach[i]
    return Verdict(name, objects, true, nearest, real, part & ~real)


def _plane(*tables: Table) -> Callable[[Table], Floats]:
    ra0, dec0 = np.mean(tables[0]["ra"]), np.mean(tables[0]["dec"])

    def places(table: Table) -> Floats:
        x = (np.asarray(table["ra"]) - ra0) * np.cos(np.radians(dec0)) * 3600
        return np.column_stack([x, (np.asarray(table["dec"]) - dec0) * 3600])

    return places


def print_clean(found: list[Verdict]) -> None:
    """Print what the rows of the clean tables are, by signal-to-noise."""
    print("\n## Objects with p_real of 0.5 or more: real / part of an object / false, %\n")
    names = [f"S/N {a:g} to {b:g}" for a, b in pairwise(SNR_EDGES)]
    lost_names = ("stars lost, %", "galaxies lost, %", "lost of those that two images detect, %")
    print(head("visit", "objects", *names, *lost_names, n_words=1))
    counts = [_counts(one) for one in found]
    for one, (kinds, lost) in zip(found, counts, strict=True):
        _print_counts(one.name, kinds, lost)
    if len(found) > 1:
        _print_counts("all", *(np.sum(values, axis=0) for values in zip(*counts, strict=True)))


def _counts(one: Verdict) -> tuple[Ints, Ints]:
    """Return (real, part, false) by S/N, and (lost, real): stars, galaxies, what two detect."""
    clean, snr = one.p_real >= 0.5, one.snr
    kinds = [
        [
            np.count_nonzero(clean & (snr >= a) & (snr < b) & which)
            for which in (one.real, one.part, ~one.real & ~one.part)
        ]
        for a, b in pairwise(SNR_EDGES)
    ]
    star = np.asarray(one.truth["star"], bool)[one.nearest]
    several = np.asarray(one.objects["n_detected"]) > 1
    lost = [
        [np.count_nonzero(one.real & ~clean & which), np.count_nonzero(one.real & which)]
        for which in (star, ~star, several)
    ]
    return np.array(kinds), np.array(lost)


def _print_counts(name: str, kinds: Ints, lost: Ints) -> None:
    cells = []
    for by_kind in kinds:
        n = int(by_kind.sum())
        cells.append(" / ".join(f"{100 * k / max(n, 1):.0f}" for k in by_kind) + f" of {n}")
    lost_percent = (f"{100 * k / max(n, 1):.1f}" for k, n in lost)
    print(row(name, int(kinds.sum()), *cells, *lost_percent))


def print_reliability(found: list[Verdict]) -> None:
    """Print what p_real promises, and what is true (parts left out)."""
    print("\n## Calibration of p_real: mean p_real and fraction that is real\n")
    print(head("visit", *(f"{a:g} to {b:g}" for a, b in pairwise(P_EDGES)), n_words=1))
    for one in found:
        cells = []
        for a, b in pairwise(P_EDGES):
            here = (one.p_real >= a) & (one.p_real < b) & ~one.part
            if here.sum() < 10:
                cells.append("-")
                continue
            cells.append(f"{one.p_real[here].mean():.2f}: {one.real[here].mean():.2f}")
        print(row(one.name, *cells))


def print_joins(found: list[Verdict]) -> None:
    """Print how often one true object is two rows, and what only the sum of the images shows."""
    print("\n## Association\n")
    print(
        head(
            "visit",
            "true stars",
            "split, %",
            "only in the combined image",
            "of them real, %",
            n_words=1,
        )
    )
    for one in found:
        clean = one.p_real >= 0.5
        star = np.asarray(one.truth["star"], bool)
        rows = Counter(one.nearest[one.real & clean].tolist())
        stars = [n for i, n in rows.items() if star[i]]
        split = 100 * sum(n > 1 for n in stars) / max(len(stars), 1)
        summed = (np.asarray(one.objects["origin"]) == 2) & clean
        real = 100 * one.real[summed].mean() if summed.any() else np.nan
        print(row(one.name, len(stars), f"{split:.1f}", int(summed.sum()), f"{real:.0f}"))


def pulls(one: Verdict) -> Iterator[tuple[str, str, Floats, Floats, Floats]]:
    """Give the pulls of colours, their errors and S/N, of stars and galaxies that are alone."""
    objects, truth = one.objects, one.truth
    alone = is_alone(np.asarray(truth["best"], float), _plane(truth)(truth))
    star = np.asarray(truth["star"], bool)[one.nearest]
    is_blend = (np.asarray(objects["flags"]) & int(Flag.BLENDED)) != 0
    good = one.real & (one.p_real >= 0.5) & ~is_blend & alone[one.nearest]
    for name in [n for n in objects.colnames if n.startswith("colour_F")]:
        _, f, g = name.split("_")
        true = np.asarray(truth[f"mag_{f}"] - truth[f"mag_{g}"], float)[one.nearest]
        # The simulator takes the published encircled energy for true: its error is not tested.
        taken = photcal.MAG_PER_FRACTION * np.hypot(*map(photcal.ee_systematic, (f, g)))
        colour = floats(objects, name)
        err = np.sqrt(floats(objects, f"colour_err_{f}_{g}") ** 2 - taken**2)
        measured = np.asarray(objects[f"colour_limit_{f}_{g}"]) == 0
        known = good & measured & np.isfinite(colour) & (err < 0.3)
        snr = np.minimum(floats(objects, f"snr_{f}"), floats(objects, f"snr_{g}"))
        for kind, which in (("stars", star), ("galaxies", ~star)):
            here = known & which
            off = colour - true
            yield f"{f} - {g}", kind, (off / err)[here], off[here], snr[here]


def print_colours(found: list[Verdict]) -> None:
    """Print pulls and errors of the colours."""
    print("\n## Colours: measured minus true\n")
    names = ("median, mag", "width, mag", "pulls, median", "width", "beyond 3 sigma, %")
    print(head("visit", "colour", "of", "objects", *names, n_words=3))
    for one in found:
        for colour, kind, pull, error, _ in pulls(one):
            if len(pull) < 10:
                continue
            width = [0.5 * np.diff(np.percentile(v, [15.87, 84.13]))[0] for v in (error, pull)]
            print(
                row(
                    one.name, colour, kind, len(pull), f"{np.median(error):+.3f}",
                    f"{width[0]:.3f}", f"{np.median(pull):+.2f}", f"{width[1]:.2f}",
                    f"{100 * (np.abs(pull) > 3).mean():.1f}",
                )
            )  # fmt: skip


def print_all_colours(found: list[Verdict]) -> None:
    """Print the same of all visits and colours together, by the S/N of the fainter filter."""
    print("\n## Colours of all visits: measured minus true\n")
    print(head("of", "S/N", "colours", "median, mmag", "pulls", "beyond 3 sigma, %", n_words=2))
    for kind in ("stars", "galaxies"):
        parts = [part[2:] for one in found for part in pulls(one) if part[1] == kind]
        if not parts:  # images of one filter
            continue
        pull, off, snr = (np.concatenate(values) for values in zip(*parts, strict=True))
        for low, high in pairwise(COLOUR_SNR):
            here = (snr >= low) & (snr < high)
            if here.sum() < 10:
                continue
            scatter = robust_sigma(off[here])
            error = MEDIAN_ERROR * scatter / np.sqrt(here.sum())
            print(
                row(
                    kind, f"{low:g} to {high:g}", int(here.sum()),
                    f"{1e3 * np.median(off[here]):+.1f} +- {1e3 * error:.1f}",
                    f"{robust_sigma(pull[here]):.2f}",
                    f"{100 * (np.abs(pull[here]) > 3).mean():.1f}",
                )
            )  # fmt: skip


def main() -> int:
    """Run the visits and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[CONFIRMING[0] + 1])
    parser.add_argument("--visit", type=Path, action="append", default=[])
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        visits = {v.name: v for v in given.visit}
        for recipe, seed in () if given.visit else product(given.recipes, given.seeds):
            name = recipe if len(given.seeds) == 1 else f"{recipe} {seed}"
            place = Path(folder) / name.replace(" ", "-")
            visits[name] = visit_folder(TRAINING, recipe, seed, place)
        for k, (name, place) in enumerate(visits.items()):
            out = Path(folder) / f"out{k}"
            gaia = place / "gaia.ecsv"
            command("run", place / "raw", "-o", out, "--gaia", gaia, "--preset", "deep", "-q")
            verdict = judged(name, out, place / "truth")
            if not np.isin(np.ma.filled(verdict.objects["grade"], ""), list("ABCD")).any():
                print(f"{name}: left out, not on the frame of Gaia", flush=True)
                continue
            found.append(verdict)
    print_clean(found)
    print_reliability(found)
    print_joins(found)
    print_colours(found)
    print_all_colours(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
