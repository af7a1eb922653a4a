"""How well ``p_star`` tells stars from galaxies, on simulated visits, as Markdown tables.

    python benchmarks/point_sources.py [--seeds N] [--jobs N] [VISIT OUT ...]

Without arguments it simulates visits of several settings and runs the chain with the deep
preset.  Else it takes pairs of folders: a visit with ``raw/`` and ``truth/`` (as
``bycatch simulate`` writes them, or of another generator with the same columns: x, y, mag,
star, re), and what ``bycatch run`` made of it.  Counted are catalog rows within 2 px of a
star, or of a galaxy with a half-light radius above 0.1 arcsec, that are on their side of 0.5:
all of them, and those without a pixel of a true cosmic ray within 3 px.  A row without a value
is on the wrong side.  ``p_star`` is that of the catalog where it has one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.neighbourhood import any_within
from bycatch.products import find_records
from bycatch.settings import Settings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.stages.measure import stellarity

FIELD = {"n_columns": 2000, "n_rows": 950}
VISITS = (
    {"filters": ("F475W", "F625W", "F814W"), "n_exposures": (1, 1, 1), "exptime_s": 300.0},
    {"filters": ("F475W", "F625W", "F814W"), "n_exposures": (1, 1, 1), "exptime_s": 1200.0},
    {"filters": ("F435W", "F606W", "F814W"), "n_exposures": (2, 3, 6), "exptime_s": 600.0},
)
MATCH_PX, CLEAR_PX = 2.0, 3.0
RESOLVED_ARCSEC = 0.1
LIMIT_MAG = 24.0
MAG_EDGES = (16.0, 20.0, 22.0, 23.0, 24.0, 25.0, 26.0)
Counts = dict[tuple[str, int, str, str], NDArray[np.int64]]


def filled(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column with NaN where it is masked."""
    return np.asarray(np.ma.filled(np.ma.asarray(column).astype(float), np.nan))


def p_star(image: DrcImage, phot: Table) -> NDArray[np.float64]:
    """Return the catalog's p_star, or what `stellarity` makes of it."""
    if "p_star" in phot.colnames:
        return filled(phot["p_star"])
    sky = (filled(phot["sky_median"]), filled(phot["sky_std"]), filled(phot["exptime"]))
    found = stellarity.concentration(
        image, filled(phot["x"]), filled(phot["y"]), *sky, image.noise_correlation
    )
    expected = stellarity.expectation(image.meta.detector, image.meta.filter)
    saturated = (np.asarray(phot["flags"]) & int(Flag.SATURATED)) > 0
    usable = ~saturated & (np.asarray(phot["cr_flag"]) == 0)
    known = np.asarray(phot["gaia_source_id"]) != 0
    stars = stellarity.locus(found, expected, usable=usable, known_star=known)
    return stellarity.probability(found, stars, is_saturated=saturated, usable=usable)


def cosmic_rays(folder: Path, root: str, width: int) -> NDArray[np.bool_]:
    """Return the pixels with charge of a cosmic ray."""
    packed = folder / "truth" / f"{root}_cr.npy"
    if packed.exists():
        return np.unpackbits(np.load(packed), axis=1)[:, :width].astype(bool)
    return np.asarray(fits.getdata(folder / "truth" / f"{root}_cr.fits.gz")) & 1 > 0


def brightest_within(phot: Table, truth: Table) -> NDArray[np.int64]:
    """Return for each row the brightest object within 2 px; -1 if there is none."""
    places = np.column_stack([truth["x"], truth["y"]])
    rows = np.nan_to_num(np.column_stack([filled(phot["x"]), filled(phot["y"])]), nan=-1e6)
    near = KDTree(places).query_ball_point(rows, MATCH_PX)
    mag = np.asarray(truth["mag"])
    return np.array([min(n, key=mag.__getitem__) if n else -1 for n in near], dtype=int)


def count(visit: Path, out: Path, counts: Counts) -> None:
    """Add the (right, total) numbers of all images of a visit."""
    for record in find_records(out):
        paths = record.paths(out)
        image = read_drc(paths.folder / record.name, Settings().input)
        phot = read_table(paths.product("phot"))
        truth = Table.read(visit / "truth" / f"{record.root}.ecsv")
        mine = brightest_within(phot, truth)
        p, mag = p_star(image, phot), np.asarray(truth["mag"])[mine]
        star = np.asarray(truth["star"], dtype=bool)[mine]
        large = ~star & (np.asarray(truth["re"])[mine] > RESOLVED_ARCSEC)
        charge = cosmic_rays(visit, record.root, image.shape[1])
        clear = ~any_within(charge, filled(phot["x"]), filled(phot["y"]), CLEAR_PX)
        n_exp = image.meta.n_exposures
        bins = [(f"{a:g}-{b:g}", (mag > a) & (mag <= b)) for a, b in pairwise(MAG_EDGES)]
        bins.append((f"to {LIMIT_MAG:g}", mag <= LIMIT_MAG))
        kinds = (("stars", star, p > 0.5), ("galaxies", large, p < 0.5))
        for name, within in bins:
            for kind, is_kind, right in kinds:
                for which, those in (("all", mine >= 0), ("clear", (mine >= 0) & clear)):
                    chosen = those & is_kind & within
                    for exposures in (n_exp, 0):
                        key = (name, exposures, kind, which)
                        counts[key] += np.array([(right & chosen).sum(), chosen.sum()])


def table(counts: Counts, title: str) -> None:
    """Print one table: a row per number of exposures and magnitude bin."""
    print(f"\n### {title}\n")
    columns = [(k, w) for k in ("stars", "galaxies") for w in ("all", "clear")]
    print("| exposures | mag AB | " + " | ".join(f"{k}, {w}" for k, w in columns) + " |")
    print("|" + "---|" * (2 + len(columns)))
    for exposures in sorted({key[1] for key in counts}, key=lambda n: n or 99):
        for name in dict.fromkeys(key[0] for key in counts):
            cells = []
            for kind, which in columns:
                right, total = counts.get((name, exposures, kind, which), (0, 0))
                cells.append(f"{right}/{total} = {100 * right / total:.1f} %" if total else "-")
            if any(cell != "-" for cell in cells):
                print(f"| {exposures or 'any'} | {name} | " + " | ".join(cells) + " |")


def simulated(folder: Path, seeds: int, jobs: int) -> list[tuple[Path, Path]]:
    """Simulate visits, run the chain, and return their folders."""
    pairs = []
    for number, changes in enumerate(VISITS):
        for seed in range(1, seeds + 1):
            visit = folder / f"visit{number}-{seed}"
            chosen = Settings().simulate.replace(seed=seed + 50, **FIELD, **changes)
            write_visit(simulate_visit(chosen), visit)
            inputs = bycatch.Inputs(gaia=visit / "gaia.ecsv")
            bycatch.run(visit / "raw", visit / "out", Settings.load(preset="deep"), inputs, jobs)
            pairs.append((visit, visit / "out"))
    return pairs


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="p_star of stars and galaxies")
    parser.add_argument("folders", nargs="*", type=Path, metavar="VISIT OUT")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if len(args.folders) % 2:
        parser.error("folders come in pairs: a visit, and what was made of it")
    counts: Counts = defaultdict(lambda: np.zeros(2, dtype=np.int64))
    with tempfile.TemporaryDirectory() as temporary:
        pairs = list(zip(args.folders[::2], args.folders[1::2], strict=True))
        pairs = pairs or simulated(Path(temporary), args.seeds, args.jobs)
        for visit, out in pairs:
            count(visit, out, counts)
    table(counts, f"On their side of p_star = 0.5, {len(pairs)} visits")


if __name__ == "__main__":
    main()
