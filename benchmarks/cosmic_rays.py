"""How well ``p_cr`` tells cosmic rays and hot pixels from stars and galaxies, as Markdown tables.

    python benchmarks/cosmic_rays.py [VISIT ...] [--work FOLDER] [--train [VISIT ...]]

A VISIT is a folder that `bycatch simulate` wrote with ``simulate.write_exposures``; the chain runs
on it, and what it gathers of each detection is noted.  Without any, visits of
families.py are made: recipes of `SINGLE` and `STACK` with `TRAINING_SEEDS` for ``--train``, which
replaces ``src/bycatch/data/cosmics.csv``, and with `TEST_SEEDS` for the tables.

The weights that ship were trained likewise on seeds 1 to 5 of more recipes; those of seed 1 alone
are no better on seed 101, and let more cosmic rays through on other simulators.

A detection is real if more than half of its light within 2 px is that of true objects; if
not, it is a cosmic ray where charge of one lies within 2 px, and else a hot pixel (or noise).
Stars and galaxies count only without true charge within 3 px; blends of star and cosmic ray are
left out of the losses, but not of the calibration.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import families
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.neighbourhood import any_within
from bycatch.products import find_records
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.simulate.files import read_truth
from bycatch.stages.measure import cosmic_evidence, cosmics
from bycatch.stages.measure.elsewhere import Elsewhere

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TABLE = Path(bycatch.__file__).parent / "data" / "cosmics.csv"
REAL_SHARE, RAY_PX, CLEAR_PX = 0.5, 2.0, 3.0
MAX_CR_SHARE = 0.5
P_EDGES = (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.98, 1.0001)
SNR_EDGES = (5.0, 8.0, 10.0, 20.0, 50.0, np.inf)
SINGLE = ("silicon", "weak tracks", "thick", "faint tracks", "dense tracks", "points")
STACK = ("skirts", "cores", "clean", "whole tracks", "thick cores", "soft tracks")
DIFFUSE = ("diffuse 1", "diffuse 3", "diffuse stack 1", "diffuse stack 2", "diffuse stack 3")
"""Extreme tracks: they teach what charge can be like, but have no say in how often it is so."""
TRAINING_SEEDS, TEST_SEEDS = (1,), (101,)
MORE = {"stars_per_arcmin2": 250.0, "galaxies_per_arcmin2": 350.0, "write_exposures": True}
"""More stars and galaxies than the recipes have, where these have the usual number."""
N_SUMS, RIDGE = 8, 5.0
"""Size of the networks, and what large weights cost."""
VARIANTS = ("drc alone", "other images", "exposures", "exposures and other images")


@dataclass(frozen=True, eq=False)
class LabelledSources:
    """Detections of an image, and what they are."""

    name: str
    evidence: cosmic_evidence.Evidence
    snr: Floats
    real: Bools
    star: Bools
    galaxy: Bools


def simulated(name: str, seed: int, folder: Path) -> Path:
    """Return the folder of a visit of the training family, made unless it is there."""
    home = folder / f"{name.replace(' ', '_')}_{seed}"
    if not (home / "gaia.ecsv").is_file():
        settings = families.settings_of(MORE | families.TRAINING[name], seed)
        write_visit(simulate_visit(settings), home)
    return home


def labelled(visit: Path) -> list[LabelledSources]:
    """Run the chain on a visit, and return what it gathers of its detections, with the truth.

    The evidence is kept in ``<visit>/evidence.pickle`` as long as the code that gathers it is the
    same.
    """
    kept, stamp = visit / "evidence.pickle", _stamp()
    if kept.is_file():
        known: tuple[str, list[LabelledSources]] = pickle.loads(kept.read_bytes())
        if known[0] == stamp:
            return known[1]
    found: dict[str, cosmic_evidence.Evidence] = {}
    gather = cosmic_evidence.evidence

    def noted(image: DrcImage, *args: Any, **options: Any) -> cosmic_evidence.Evidence:
        found[image.path.name[:9]] = evidence = gather(image, *args, **options)
        return evidence

    def unknown(evidence: cosmic_evidence.Evidence) -> Floats:
        return np.zeros(len(evidence.snr))  # weights are not needed, nor need they fit the terms

    chosen = Settings.load(
        preset="deep", assignments=[f"input.exposures_dir={visit / 'exposures'}"]
    )
    with (
        tempfile.TemporaryDirectory(dir=visit) as out,
        patch.object(cosmics, "evidence", noted),
        patch.object(cosmics, "probability", unknown),
    ):
        inputs = bycatch.Inputs(gaia=visit / "gaia.ecsv")
        bycatch.run(visit / "raw", Path(out), chosen, inputs, 1)
        rows = [
            _with_truth(visit, record.root, f"{visit.name} {record.filter}", found[record.root],
                        read_table(record.paths(Path(out)).product("phot")))
            for record in find_records(Path(out))
        ]  # fmt: skip
    kept.write_bytes(pickle.dumps((stamp, rows)))
    return rows


def _stamp() -> str:
    """Return what stands for the code that the evidence comes from."""
    places = ("stages/measure", "stages/detect", "stages/crmask", "kernels", "stages/align")
    home = Path(bycatch.__file__).parent
    files = sorted(path for place in places for path in (home / place).glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _with_truth(
    visit: Path, root: str, name: str, evidence: cosmic_evidence.Evidence, phot: Table
) -> LabelledSources:
    """Return detections with what they are."""
    truth = read_truth(visit, root)
    x, y, sky = (np.ma.filled(phot[n].astype(float), np.nan) for n in ("x", "y", "sky_median"))
    net = {
        r: np.ma.filled(phot[f"countrate_{r}"].astype(float), np.nan)
        - sky * np.asarray(phot[f"area_{r}"], float)
        for r in ("2", "4")
    }
    light, _ = circle_sums(truth.model, np.ones(truth.model.shape, bool), x, y, (2.0,))
    real = light[:, 0] > REAL_SHARE * net["2"]
    clear = ~any_within(truth.cosmic_rays, x, y, CLEAR_PX)
    objects = truth.table
    places = np.column_stack([objects["x"], objects["y"]])
    distance, nearest = KDTree(places).query(np.column_stack([x, y]))
    is_star = np.asarray(objects["star"], bool)[nearest]
    error = np.ma.filled(phot["countrate_err_4"].astype(float), np.nan)
    return LabelledSources(
        name,
        evidence,
        np.nan_to_num(net["4"] / error),
        real,
        real & is_star & (distance < RAY_PX) & clear,
        real & ~is_star & clear,
    )


def with_less(found: cosmic_evidence.Evidence, variant: str) -> cosmic_evidence.Evidence:
    """Return the evidence without what a variant does not have."""
    nothing = np.zeros(len(found.n_exp), np.int64)
    if "other images" not in variant:
        found = replace(found, elsewhere=Elsewhere(nothing, nothing, 0.0, np.zeros(len(nothing))))
    return found if "exposures" in variant else replace(found, exposures=None)


def training_set(rows: Iterable[LabelledSources], kind: str) -> tuple[Floats, Floats, Floats]:
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
        cost, np.concatenate(first), jac=True, method="L-BFGS-B", options={"maxiter": 400}
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


def print_tables(title: str, rows: list[LabelledSources]) -> None:
    """Print the purity of the clean catalog and its losses, and how well p_cr is calibrated."""
    real, star, galaxy = (
        np.concatenate([getattr(row, name) for row in rows]) for name in ("real", "star", "galaxy")
    )
    snr = np.concatenate([row.snr for row in rows])
    found = {
        v: np.concatenate([cosmics.probability(with_less(r.evidence, v)) for r in rows])
        for v in VARIANTS
    }
    ranges = [*pairwise(SNR_EDGES), (20.0, np.inf), (10.0, np.inf), (5.0, np.inf)]
    bins = [f"S/N {a:g} to {b:g}" if np.isfinite(b) else f"> {a:g}" for a, b in ranges]
    print(f"\n{title}: purity of the clean catalog, and what it loses\n")
    print("| evidence | " + " | ".join(bins) + " | stars lost | galaxies lost |")
    print("|---" * (len(bins) + 3) + "|")
    for variant, p in found.items():
        clean = ~(p > cosmics.LIKELY)
        cells = [percent(real, clean & (snr >= a) & (snr < b)) for a, b in ranges]
        cells += [percent(~clean, star), percent(~clean, galaxy)]
        print(f"| {variant} | " + " | ".join(cells) + " |")
    print(f"\n{title}: mean p_cr, fraction of cosmic rays, and number\n")
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
