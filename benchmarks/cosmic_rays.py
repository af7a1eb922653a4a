"""How well ``p_cr`` tells cosmic rays and hot pixels from stars and galaxies, as Markdown tables.

    python benchmarks/cosmic_rays.py [VISIT ...] [--work FOLDER] [--train [VISIT ...]]

A VISIT is a folder that `bycatch simulate` wrote with ``simulate.write_exposures``, and the
products of ``bycatch run --preset deep`` in its folder ``deep``.  Without any, visits of
families.py are made: recipes of `SINGLE` and `STACK` with `TRAINING_SEEDS` for ``--train``, which
replaces ``src/bycatch/data/cosmics.csv``, and with `TEST_SEEDS` for the tables.

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

import families
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.exposures import mask_shares
from bycatch.kernels.neighbourhood import any_within
from bycatch.pipeline import saved_settings
from bycatch.pipeline.other_images import OtherImageView
from bycatch.pipeline.quality import exposure_files, read_quality
from bycatch.products import find_records, read_pixels
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.simulate.files import read_truth
from bycatch.stages.measure import cosmics, stellarity
from bycatch.stages.measure.elsewhere import Elsewhere, seen_elsewhere
from bycatch.stages.measure.photometry import photometry, rate_errors

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TABLE = Path(bycatch.__file__).parent / "data" / "cosmics.csv"
REAL_SHARE, RAY_PX, CLEAR_PX = 0.5, 2.0, 3.0
MAX_CR_SHARE = 0.5
P_EDGES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0001)
SNR_EDGES = (5.0, 8.0, 12.0, 20.0, 50.0, np.inf)
SINGLE = ("silicon", "thick", "faint tracks", "points", "dense tracks", "weak tracks",
          "stars and tracks")  # fmt: skip
STACK = ("cores", "clean", "soft tracks", "whole tracks", "thick cores", "stack", "crowded")
DIFFUSE = (
    "diffuse 1", "diffuse 2", "diffuse 3", "diffuse stack 1", "diffuse stack 2", "diffuse stack 3",
    "diffuse stack 4",
)  # fmt: skip
"""Extreme tracks: they teach what charge can be like, but have no say in how often it is so."""
TRAINING_SEEDS, TEST_SEEDS = (1, 2, 3), (101, 102)
MORE = {"stars_per_arcmin2": 250.0, "galaxies_per_arcmin2": 350.0, "write_exposures": True}
"""More stars and galaxies than the recipes have, where these have the usual number."""
N_SUMS, RIDGE = 8, 3.0
"""Size of the networks, and what large weights cost."""
VARIANTS = ("drc alone", "other images", "exposures", "exposures and other images")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Detections of an image, and what they are."""

    name: str
    evidence: cosmics.Evidence
    snr: Floats
    real: Bools
    star: Bools
    galaxy: Bools


def simulated(name: str, seed: int, folder: Path) -> Path:
    """Make a visit of the training family and run it; return its folder."""
    recipe = families.TRAINING[name]
    home = folder / f"{name.replace(' ', '_')}_{seed}"
    if not (home / "deep" / "summary.json").is_file():
        settings = families.settings_of(MORE | recipe, seed)
        write_visit(simulate_visit(settings), home)
        inputs = bycatch.Inputs(gaia=home / "gaia.ecsv")
        chosen = Settings.load(
            preset="deep", assignments=[f"input.exposures_dir={home / 'exposures'}"]
        )
        bycatch.run(home / "raw", home / "deep", chosen, inputs, 1)
    return home


def labelled(visit: Path) -> list[Labelled]:
    """Return the detections of all images of a visit."""
    out = visit / "deep"
    settings = saved_settings(out)
    records = list(find_records(out))
    images = [read_drc(r.paths(out).folder / r.name, settings.input) for r in records]
    sources = [read_table(r.paths(out).product("sources")) for r in records]
    masks = [read_pixels(r.paths(out).mask) > 0 for r in records]
    shares = [
        mask_shares(read_pixels(r.paths(out).segmentation), mask, table["id"])
        for r, mask, table in zip(records, masks, sources, strict=True)
    ]
    trusted = [s[share <= MAX_CR_SHARE] for s, share in zip(sources, shares, strict=True)]
    result = []
    for k, (record, image, table) in enumerate(zip(records, images, sources, strict=True)):
        x, y = np.asarray(table["x"], float), np.asarray(table["y"], float)
        others = [
            companion(image, x, y, images[j], trusted[j]) for j in range(len(images)) if j != k
        ]
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
        locus = stellarity.locus(concentration, expected, usable=shares[k] < 0.01)
        evidence = cosmics.evidence(
            image,
            found,
            concentration,
            locus,
            cr_mask=masks[k],
            elsewhere=seen_elsewhere(x, y, others),
            saturated=np.nan_to_num(found.exposures.peak_rate) > image.meta.saturation_rate,
            chips=read_quality(exposure_files(record.exposures, [visit / "exposures"])),
        )
        truth = read_truth(visit, record.root)
        net = found.net[:, 0]
        radius = settings.measure.radii_px[:1]
        light, _ = circle_sums(truth.model, np.ones(image.shape, bool), x, y, radius)
        real = light[:, 0] > REAL_SHARE * net
        clear = ~any_within(truth.cosmic_rays, x, y, CLEAR_PX)
        objects = truth.table
        distance, nearest = KDTree(np.column_stack([objects["x"], objects["y"]])).query(
            np.column_stack([x, y])
        )
        is_star = np.asarray(objects["star"], bool)[nearest] & (distance < RAY_PX)
        is_galaxy = ~np.asarray(objects["star"], bool)[nearest]
        middle = len(settings.measure.radii_px) // 2
        errors = rate_errors(
            found.sums, found.areas, found.sky, found.exposures.exptime_s, found.correlation
        )
        result.append(
            Labelled(
                f"{visit.name} {record.filter}",
                evidence,
                np.nan_to_num(found.net[:, middle] / errors[:, middle]),
                real,
                real & is_star & clear,
                real & is_galaxy & clear,
            )
        )
    return result


def companion(
    image: DrcImage, x: Floats, y: Floats, other: DrcImage, table: Table
) -> OtherImageView:
    """Return another image in the pixels of this one."""
    sky = other.wcs.all_pix2world(np.asarray(table["x"]), np.asarray(table["y"]), 0)
    column, row = image.wcs.all_world2pix(*sky, 0)
    there = other.wcs.all_world2pix(*image.wcs.all_pix2world(x, y, 0), 0)
    covers = any_within(other.valid, there[0], there[1], 0.75)
    return OtherImageView(other.meta.filter, column, row, covers)


def with_less(found: cosmics.Evidence, variant: str) -> cosmics.Evidence:
    """Return the evidence without what a variant does not have."""
    nothing = np.zeros(len(found.n_exp), np.int64)
    if "other images" not in variant:
        found = replace(found, elsewhere=Elsewhere(nothing, nothing, 0.0))
    return found if "exposures" in variant else replace(found, exposures=None)


def training_set(rows: Iterable[Labelled], kind: str) -> tuple[Floats, Floats, Floats]:
    """Return terms, 1 for cosmic rays, and the log odds of them at that S/N in that image.

    Each row counts twice: with other images, and without.
    """
    terms, is_ray, odds = [], [], []
    for row in rows:
        found = row.evidence
        chosen = (found.n_exp <= 1) == kind.startswith("single")
        chosen &= np.isfinite(found.snr)
        if kind.endswith("exposures"):
            chosen &= found.exposures is not None and found.exposures.n_looking > 0
        if not chosen.any():
            continue
        rays = ~row.real[chosen]
        for variant in ("exposures", "exposures and other images"):
            terms.append(cosmics.features(with_less(found, variant), kind)[chosen])
            is_ray.append(rays.astype(float))
            odds.append(log_odds(rays, found.snr[chosen]))
    return np.concatenate(terms), np.concatenate(is_ray), np.concatenate(odds)


def log_odds(rays: Bools, snr: Floats) -> Floats:
    """Return the log odds of a cosmic ray within a bin of 0.15 dex of each row's S/N."""
    place = np.clip((np.log10(np.maximum(snr, 1.0)) - 0.3) / 0.15, 0, 14).astype(int)
    out = np.zeros(len(rays))
    for k in np.unique(place):
        near = np.abs(place - k) <= 1
        share = (rays[near].sum() + 1) / (near.sum() + 2)
        out[place == k] = np.log(share / (1 - share))
    return out


def trained(terms: Floats, is_ray: Floats, odds: Floats) -> cosmics.Network:
    """Fit a network: the likelihood of the labels, given the odds of the image."""
    mean, spread = terms.mean(axis=0), terms.std(axis=0) + 0.05
    scaled = (terms - mean) / spread
    n = scaled.shape[1]
    random = np.random.default_rng(0)
    first = [
        random.normal(0, n**-0.5, n * N_SUMS), np.zeros(N_SUMS),
        random.normal(0, 0.3, N_SUMS), np.zeros(n + 1),
    ]  # fmt: skip

    def parts(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        inner, bias, outer, direct = np.split(values, np.cumsum([n * N_SUMS, N_SUMS, N_SUMS]))
        return inner.reshape(n, N_SUMS), bias, outer, direct

    def cost(values: Floats) -> tuple[float, Floats]:
        inner, bias, outer, direct = parts(values)
        bent = np.tanh(scaled @ inner + bias)
        logit = bent @ outer + scaled @ direct[:-1] + direct[-1] + odds
        excess = 1 / (1 + np.exp(-np.clip(logit, -30, 30))) - is_ray
        back = np.outer(excess, outer) * (1 - bent**2)
        gradient = [
            (scaled.T @ back + 2 * RIDGE * inner).ravel(), back.sum(axis=0),
            bent.T @ excess + 2 * RIDGE * outer,
            np.append(scaled.T @ excess, excess.sum()) + 2 * RIDGE * direct,
        ]  # fmt: skip
        size = sum(float(np.sum(w**2)) for w in (inner, outer, direct))
        likelihood = float(np.sum(np.logaddexp(0, logit) - is_ray * logit))
        return likelihood + RIDGE * size, np.concatenate(gradient)

    found = minimize(
        cost, np.concatenate(first), jac=True, method="L-BFGS-B", options={"maxiter": 500}
    )
    inner, bias, outer, direct = parts(found.x)
    return cosmics.Network(mean, spread, direct[:-1], inner, bias, outer, float(direct[-1]))


def calibrated(
    network: cosmics.Network, terms: Floats, is_ray: Floats, odds: Floats
) -> cosmics.Network:
    """Return a network with the constant that fits some rows best."""
    logit = network(terms) + odds
    shift = minimize_scalar(
        lambda c: np.sum(np.logaddexp(0, logit + c) - is_ray * (logit + c)),
        bounds=(-3, 3),
        method="bounded",
    ).x
    return replace(network, constant=network.constant + float(shift))


def write_table(networks: dict[str, cosmics.Network]) -> None:
    """Write the networks where the package reads them."""
    lines = [
        "# Networks of the probability of a cosmic ray (stages.measure.cosmics), trained by",
        "# benchmarks/cosmic_rays.py --train on simulated skies of the family training.",
        "# kind of evidence|term|mean, spread, direct weight, weights into the sums",
        "# and for each kind: offsets of the sums (bias), weights out of them (outer), constant",
    ]
    for kind, net in networks.items():
        rows = np.column_stack([net.mean, net.spread, net.direct, net.inner])
        named = dict(zip(cosmics.terms_of(kind), rows, strict=True))
        named |= {"bias": net.bias, "outer": net.outer, "constant": np.array([net.constant])}
        lines += [f"{kind}|{k}|{','.join(f'{x:.4g}' for x in v)}" for k, v in named.items()]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cosmics.network.cache_clear()


def percent(chosen: Bools, of: Bools) -> str:
    """Return a share as text, with the number that it is of."""
    return f"{100 * (chosen & of).sum() / of.sum():.1f} % of {of.sum()}" if of.any() else "-"


def print_tables(title: str, rows: list[Labelled]) -> None:
    """Print the purity of the clean catalog and its losses, and how well p_cr is calibrated."""
    real, star, galaxy = (
        np.concatenate([getattr(row, name) for row in rows]) for name in ("real", "star", "galaxy")
    )
    snr = np.concatenate([row.snr for row in rows])
    found = {
        v: np.concatenate([cosmics.probability(with_less(r.evidence, v)) for r in rows])
        for v in VARIANTS
    }
    bins = [f"S/N {a:g} to {b:g}" for a, b in pairwise(SNR_EDGES)]
    print(f"\n{title}: purity of the clean catalog, and what it loses\n")
    print("| evidence | " + " | ".join(bins) + " | stars lost | galaxies lost |")
    print("|---" * (len(bins) + 3) + "|")
    for variant, p in found.items():
        clean = ~(p > cosmics.LIKELY)
        cells = [percent(real, clean & (snr >= a) & (snr < b)) for a, b in pairwise(SNR_EDGES)]
        cells += [percent(~clean, star), percent(~clean, galaxy)]
        print(f"| {variant} | " + " | ".join(cells) + " |")
    print(f"\n{title}: mean p_cr, share of cosmic rays, and number\n")
    print("| p_cr | " + " | ".join(VARIANTS) + " |\n" + "|---" * (len(VARIANTS) + 1) + "|")
    for low, high in pairwise(P_EDGES):
        cells = []
        for p in found.values():
            here = (p >= low) & (p < high)
            cells.append(
                f"{p[here].mean():.3f}, {(~real)[here].mean():.3f} ({here.sum()})"
                if here.any()
                else "-"
            )
        print(f"| {low}-{high:.2f} | " + " | ".join(cells) + " |")


def main() -> None:
    """Train if asked to, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("visits", nargs="*", type=Path)
    parser.add_argument("--train", nargs="*", type=Path, metavar="VISIT")
    parser.add_argument("--work", type=Path, help="where simulated visits are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)

        def made(names: Iterable[str], seeds: Iterable[int]) -> list[Path]:
            return [simulated(name, seed, folder) for name in names for seed in seeds]

        if options.train is not None:
            homes = options.train or made((*SINGLE, *STACK), TRAINING_SEEDS)
            usual = [row for home in homes for row in labelled(home)]
            extreme = [] if options.train else made(DIFFUSE, TRAINING_SEEDS[:1])
            rows = usual + [row for home in extreme for row in labelled(home)]
            networks = {kind: trained(*training_set(rows, kind)) for kind in cosmics.KINDS}
            write_table({k: calibrated(n, *training_set(usual, k)) for k, n in networks.items()})
        if options.visits:
            print_tables("visits", [row for home in options.visits for row in labelled(home)])
            return
        for title, names in (("single exposures", SINGLE), ("stacks", STACK)):
            homes = made(names, TEST_SEEDS)
            print_tables(title, [row for home in homes for row in labelled(home)])


if __name__ == "__main__":
    main()
