"""How well ``p_cr`` tells cosmic rays and hot pixels from stars and galaxies, as Markdown tables.

    python benchmarks/cosmic_rays.py [VISIT ...] [--faint] [--train [VISIT ...]]

A VISIT is a folder that `bycatch simulate` wrote, with the products of
``bycatch run --preset deep`` in its folder ``deep``.  Without any, visits of single
exposures are simulated, with seeds of their own for training and for the test; with
``--faint`` the test has cosmic rays of a fourth of the charge, down to 50 electrons.
``--train`` replaces the coefficients of ``src/bycatch/data/cosmics.csv`` by those
that fit best.

A detection is real if more than half of its light within 2 px is that of true objects; if
not, it is a cosmic ray where charge of one lies within 2 px, and else a hot pixel (or noise).
Stars and galaxies count only without true charge within 3 px; blends of star and cosmic ray are
left out of the losses, but not of the calibration.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.neighbourhood import any_within
from bycatch.photcal import ab_zeropoint
from bycatch.pipeline import saved_settings
from bycatch.pipeline.other_images import Companion
from bycatch.products import find_records
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.simulate.files import read_truth
from bycatch.stages.measure import cosmics, stellarity
from bycatch.stages.measure.photometry import photometry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TABLE = Path(bycatch.__file__).parent / "data" / "cosmics.csv"
REAL_SHARE, RAY_PX, CLEAR_PX = 0.5, 2.0, 3.0
MAX_CR_SHARE = 0.5
RIDGE = 1e-6
MAG_EDGES = (17, 20, 22, 23, 24, 25, 26, 27, 28)
P_EDGES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0001)
TRAINING = ((300.0, 101), (600.0, 102), (1200.0, 103))
FAINT = {"cosmic_ray_charge_e": 250.0, "cosmic_ray_least_e": 50.0}
TEST = ((300.0, 201), (600.0, 202), (1200.0, 203))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Detections of an image, and what they are."""

    name: str
    evidence: cosmics.Evidence
    magnitude: Floats
    charge: Bools
    hot: Bools
    star: Bools
    galaxy: Bools
    single: Bools


def simulated(exptime_s: float, seed: int, folder: Path, **change: Any) -> Path:
    """Simulate a visit of single exposures and run it; return its folder."""
    settings = Settings().simulate.replace(
        seed=seed,
        filters=("F475W", "F625W", "F814W"),
        n_exposures=(1, 1, 1),
        exptime_s=exptime_s,
        n_columns=2000,
        n_rows=950,
        stars_per_arcmin2=200.0,
        **change,
    )
    home = folder / f"{exptime_s:.0f}s_{seed}"
    write_visit(simulate_visit(settings), home)
    inputs = bycatch.Inputs(gaia=home / "gaia.ecsv")
    bycatch.run(home / "raw", home / "deep", Settings.load(preset="deep"), inputs, 1)
    return home


def labelled(visit: Path) -> list[Labelled]:
    """Return the detections of all images of a visit."""
    out = visit / "deep"
    settings = saved_settings(out)
    records = find_records(out)
    images = [read_drc(r.paths(out).folder / r.name, settings.input) for r in records]
    sources = [read_table(r.paths(out).product("sources")) for r in records]
    trusted = [
        s[np.asarray(read_table(r.paths(out).cr_share)["on_cr_mask"]) <= MAX_CR_SHARE]
        for r, s in zip(records, sources, strict=True)
    ]
    result = []
    for k, (record, image, table) in enumerate(zip(records, images, sources, strict=True)):
        x, y = np.asarray(table["x"], float), np.asarray(table["y"], float)
        others = [
            companion(image, x, y, images[j], trusted[j]) for j in range(len(images)) if j != k
        ]
        mask = fits.getdata(next(record.paths(out).folder.glob(f"{record.root}*mask.fits"))) > 0
        share = np.asarray(read_table(record.paths(out).cr_share)["on_cr_mask"])
        found = photometry(image, x, y, settings.measure)
        concentration = stellarity.concentration(
            image,
            x,
            y,
            found.sky.median,
            found.sky.std,
            found.exposures.exptime_s,
            found.correlation,
        )
        expected = stellarity.expectation(image.meta.detector, record.filter)
        locus = stellarity.locus(concentration, expected, usable=share < 0.01)
        evidence = cosmics.evidence(
            image,
            found,
            concentration,
            locus,
            cr_mask=mask,
            elsewhere=cosmics.seen_elsewhere(x, y, others),
            saturated=np.nan_to_num(found.exposures.peak_rate) > image.meta.saturation_rate,
        )
        truth = read_truth(visit, record.root)
        net = found.net[:, 0]
        radius = settings.measure.radii_px[:1]
        light, _ = circle_sums(truth.model, np.ones(image.shape, bool), x, y, radius)
        real = light[:, 0] > REAL_SHARE * net
        ray = any_within(truth.cosmic_rays, x, y, RAY_PX)
        clear = ~any_within(truth.cosmic_rays, x, y, CLEAR_PX)
        objects = truth.table
        distance, nearest = KDTree(np.column_stack([objects["x"], objects["y"]])).query(
            np.column_stack([x, y])
        )
        is_star = np.asarray(objects["star"], bool)[nearest] & (distance < RAY_PX)
        is_galaxy = ~np.asarray(objects["star"], bool)[nearest]
        zero = ab_zeropoint(image.meta.photflam, image.meta.photplam)
        result.append(
            Labelled(
                f"{visit.name} {record.filter}",
                evidence,
                zero - 2.5 * np.log10(np.maximum(net, 1e-9)),
                ~real & ray,
                ~real & ~ray,
                real & is_star & clear,
                real & is_galaxy & clear,
                found.exposures.count <= 1,
            )
        )
    return result


def companion(image: DrcImage, x: Floats, y: Floats, other: DrcImage, table: Table) -> Companion:
    """Return another image in the pixels of this one."""
    sky = other.wcs.all_pix2world(np.asarray(table["x"]), np.asarray(table["y"]), 0)
    column, row = image.wcs.all_world2pix(*sky, 0)
    there = other.wcs.all_world2pix(*image.wcs.all_pix2world(x, y, 0), 0)
    covers = any_within(other.valid, there[0], there[1], 0.75)
    return Companion(other.meta.filter, column, row, covers)


def alone(found: cosmics.Evidence) -> cosmics.Evidence:
    """Return the evidence without that of other images."""
    nothing = np.zeros(len(found.n_exp), np.int64)
    return replace(found, elsewhere=cosmics.Elsewhere(nothing, nothing, 0.0))


def trained(rows: Iterable[Labelled]) -> tuple[Floats, float]:
    """Fit the regression to single exposures, with other images and without: (weights, share).

    Each image and class has the same total weight; a ridge keeps terms that say the same apart.
    """
    terms, is_charge, weight = [], [], []
    for row in rows:
        charge = (row.charge | row.hot)[row.single]
        for found in (row.evidence, alone(row.evidence)):
            terms.append(cosmics.features(found)[row.single])
            is_charge.append(charge)
            weight.append(np.where(charge, 1 / charge.sum(), 1 / (~charge).sum()))
    a, b, w = np.concatenate(terms), np.concatenate(is_charge), np.concatenate(weight)
    w *= len(w) / w.sum()
    known = np.isfinite(a).all(axis=1)
    a, b, w = a[known], b[known].astype(float), w[known]
    ridge = np.full(a.shape[1], RIDGE * len(b))
    ridge[0] = 0.0
    beta = np.zeros(a.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(a @ beta, -30, 30)))
        hessian = (a.T * (w * p * (1 - p) + 1e-9)) @ a + np.diag(ridge + 1e-9)
        step = np.linalg.solve(hessian, a.T @ (w * (b - p)) - ridge * beta)
        beta += step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-9))
    return beta, 0.5


def write_table(weights: Floats, share: float, names: list[str]) -> None:
    """Write the coefficients where the package reads them."""
    lines = [
        "# Terms of the probability of a cosmic ray (bycatch.stages.measure.cosmics), trained by",
        "# benchmarks/cosmic_rays.py --train on simulated single exposures:",
        *(f"# {name}" for name in names),
        "# share: of cosmic rays in the training, which weighs both kinds alike.",
        "term,weight",
        *(f"{n},{w:.4f}" for n, w in zip(cosmics.FEATURES, weights, strict=True)),
        f"share,{share:.4f}",
    ]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cosmics.coefficients.cache_clear()


def provenance(visit: Path) -> str:
    """Return what a visit was simulated with, in words."""
    headers = [fits.getheader(path) for path in sorted((visit / "raw").glob("*_drc.fits*"))]
    parts = [
        f"{h['FILTER1']} {h['NDRIZIM'] // 2} x {h['EXPTIME'] / (h['NDRIZIM'] // 2):.0f} s"
        for h in headers
        if h["NDRIZIM"] == 2
    ]
    return f"seed {headers[0]['SIMSEED']}: {', '.join(parts)}"


def percent(chosen: Bools, of: Bools) -> str:
    """Return a share as text, with the number that it is of."""
    return f"{100 * (chosen & of).sum() / of.sum():.2f} % of {of.sum()}" if of.any() else "-"


def print_tables(rows: list[Labelled]) -> None:
    """Print rates per image, the calibration, and the clean catalog by magnitude."""
    print("\n| image | evidence | cosmic rays | hot pixels | stars lost | galaxies lost |")
    print("|---|---|---|---|---|---|")
    kept = []
    for row in rows:
        for label, found in (("all", row.evidence), ("alone", alone(row.evidence))):
            p = cosmics.probability(found)
            bad = p > cosmics.LIKELY
            cells = [percent(bad, m) for m in (row.charge, row.hot, row.star, row.galaxy)]
            print(f"| {row.name} | {label} | " + " | ".join(cells) + " |")
            if label == "all":
                kept.append(p)
    p = np.concatenate(kept)
    charge = np.concatenate([r.charge | r.hot for r in rows])
    light = ~charge
    print("\n| p_cr | number | mean p_cr | cosmic rays |\n|---|---|---|---|")
    for low, high in pairwise(P_EDGES):
        here = (p >= low) & (p < high)
        if here.any():
            print(f"| {low}-{high:.2f} | {here.sum()} | {p[here].mean():.3f} | "
                  f"{charge[here].mean():.3f} |")  # fmt: skip
    magnitude = np.concatenate([r.magnitude for r in rows])
    stars = np.concatenate([r.star for r in rows])
    galaxies = np.concatenate([r.galaxy for r in rows])
    clean = ~(p > cosmics.LIKELY)
    print("\n| mag (AB, 2 px) | stars kept | galaxies kept | all real kept | purity before | "
          "purity of the clean catalog |\n|---|---|---|---|---|---|")  # fmt: skip
    for low, high in pairwise(MAG_EDGES):
        here = (magnitude >= low) & (magnitude < high)
        cells = [percent(clean, here & m) for m in (stars, galaxies, light)]
        cells += [percent(light, here), percent(light, here & clean)]
        print(f"| {low}-{high} | " + " | ".join(cells) + " |")


def main() -> None:
    """Train if asked to, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("visits", nargs="*", type=Path)
    parser.add_argument("--train", nargs="*", type=Path, metavar="VISIT")
    parser.add_argument("--faint", action="store_true", help="test on faint cosmic rays")
    options = parser.parse_args()
    change = FAINT if options.faint else {}
    with tempfile.TemporaryDirectory() as folder:
        if options.train is not None:
            homes = options.train or [simulated(*case, Path(folder)) for case in TRAINING]
            rows = [row for home in homes for row in labelled(home) if row.single.mean() > 0.5]
            write_table(*trained(rows), [provenance(home) for home in homes])
        homes = options.visits or [simulated(*case, Path(folder), **change) for case in TEST]
        print_tables([row for home in homes for row in labelled(home)])


if __name__ == "__main__":
    main()
