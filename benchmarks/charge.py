"""Fluxes of stars in single exposures, with cosmic rays in the apertures and without them.

    python benchmarks/charge.py [RECIPE ...] [--seeds N ...]      # recipes of families.py

Runs `bycatch run --preset deep` on visits of single exposures of the training family and compares
clean rows of isolated stars with the truth: no other true source brighter than 27 mag within 14 px,
fainter than 18.7 mag, S/N above 5 in 4 px.  "With" counts the whole sums (`countrate_{r}`),
"without" leaves out `countrate_cr_{r}`, as the catalog does; sky and corrections are the same.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import Table, join
from common import command, head, row
from families import TRAINING, visit_folder
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bycatch.catalogs.rates import net_rates
from bycatch.catalogs.tables import floats, read_table

RECIPES = ("silicon", "dense tracks", "faint tracks")
SAME_PX, ALONE_PX, ALONE_MAG, FULL_MAG = 2.0, 14.0, 27.0, 18.7
SNR_EDGES = (5.0, 20.0, 50.0, 200.0)
RADII = (2, 4, 6, 8, 10)


def stars_of(folder: Path, out: Path) -> list[NDArray[np.float64]]:
    """Return S/N, and per radius the relative excess of light and its pull, with and without."""
    found = []
    for path in sorted(out.glob("*/F*/*_cat_clean.ecsv")):
        root = path.name.split("_")[0]
        phot = read_table(path.with_name(f"{root}_phot.ecsv"))
        both = join(read_table(path), phot, keys="id", metadata_conflicts="silent")
        truth = Table.read(folder / "truth" / f"{root}.ecsv", format="ascii.ecsv")
        places = np.column_stack([truth["x"], truth["y"]])
        away, k = cKDTree(places).query(np.column_stack([both["x"], both["y"]]))
        visible = places[truth["mag"] < ALONE_MAG]
        alone = cKDTree(visible).query(places[k], k=2)[0][:, 1] > ALONE_PX
        good = (away < SAME_PX) & alone & truth["star"][k] & (truth["mag"][k] > FULL_MAG)
        values = [floats(both, "snr_4")]
        for r in RADII:
            without, charge = net_rates(both, r), floats(both, f"countrate_cr_{r}")
            with np.errstate(invalid="ignore", divide="ignore"):
                flux = floats(both, f"flux_{r}_apcor")
                total = flux * 10 ** (-0.4 * (truth["mag"][k] - floats(both, f"mag_ab_{r}")))
                for net in (without + charge, without):
                    excess = net / without * flux / total - 1.0
                    values += [excess, excess * total / floats(both, f"err_{r}_apcor")]
        found.append(np.column_stack(values)[good])
    return found


def summary(excess: NDArray[np.float64], pulls: NDArray[np.float64]) -> str:
    """Return bias, width of the pulls and how many are beyond 3 sigma, in words."""
    low, high = np.nanpercentile(pulls, (15.87, 84.13))
    beyond = 100 * np.mean(np.abs(pulls) > 3)
    return f"{100 * np.nanmedian(excess):+.1f} %, {0.5 * (high - low):.2f}, {beyond:.0f} %"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    given = parser.parse_args()
    found = []
    for recipe in given.recipes:
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as name:
                folder, out = Path(name, "visit"), Path(name, "out")
                visit_folder(TRAINING, recipe, seed, folder)
                gaia = folder / "gaia.ecsv"
                words = ["--preset", "deep", "--gaia", gaia, "--set", "objects.enabled=false", "-q"]
                command("run", folder / "raw", "-o", out, *words)
                found += stars_of(folder, out)
    stars = np.concatenate(found)
    print(head("S/N", "stars", *(f"{r} px, {w}" for r in RADII for w in ("with", "without"))))
    for low, high in pairwise(SNR_EDGES):
        some = stars[(stars[:, 0] >= low) & (stars[:, 0] < high)]
        cells = [summary(some[:, i], some[:, i + 1]) for i in range(1, stars.shape[1], 2)]
        print(row(f"{low:g} to {high:g}", len(some), *cells))


if __name__ == "__main__":
    main()
