"""Are errors in exposures honest, and stars that vary within a visit found?  As Markdown tables.

    python benchmarks/exposures.py [--seeds 110 111 112]

Visits of the training family with their flc files (`simulate.write_exposures`), of confirming seeds
by default, run as users run them with ``input.exposures_dir``.  In one exposure some lonely stars
are made brighter by `VARIATION`; all others are constant.  The first table has the deviations of
constant stars and galaxies from their mean over their errors, cosmic rays left out; the second, how
many stars are called variable.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from common import head, row
from families import TRAINING, settings_of
from numpy.typing import NDArray
from scipy.spatial import KDTree

import bycatch
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats
from bycatch.images.drc import DrcImage, read_drc
from bycatch.pipeline.objects import make_objects
from bycatch.settings import Settings
from bycatch.simulate import read_truth, simulate_visit, write_visit

Floats = NDArray[np.float64]
Calls = dict[tuple[float, bool], list[bool]]
"""Who is called variable, by the least S/N and by whether it is."""

RECIPES = ("stack", "clean", "cores")
VARIATION = 0.2
"""Share of its light by which a variable star is brighter in one exposure."""
EVERY = 8
"""One of so many lonely stars varies."""
LONELY_PX, LIGHT_PX, SAME_ARCSEC = 15.0, 6.0, 0.1
SNR_BINS = (0.0, 5.0, 20.0, 50.0, 200.0, np.inf)
SURE = 0.9
"""Stars of this p_variable or more are called variable."""
SPOILT = int(Flag.LIKELY_COSMIC_RAY | Flag.SATURATED)


@dataclass(frozen=True, eq=False)
class Found:
    """The looks at objects of all visits: what they are, and how they deviate."""

    is_star: NDArray[np.bool_]
    snr: Floats
    sigma: Floats
    is_hit: NDArray[np.bool_]


def lonely(truth: Table) -> NDArray[np.intp]:
    """Return the stars without a neighbour."""
    xy = np.column_stack([truth["x"], truth["y"]])
    away = KDTree(xy).query(xy, k=2)[0][:, 1]
    return np.flatnonzero(np.asarray(truth["star"]) & (away > LONELY_PX))


def brighten(path: Path, image: DrcImage, stars: Table) -> None:
    """Raise the light of stars in one exposure."""
    sky = image.wcs.all_pix2world(stars["x"], stars["y"], 0)
    with fits.open(path, mode="update") as hdus:
        for number in (1, 2):
            plane = hdus["SCI", number]
            level = np.median(plane.data)
            places = np.transpose(WCS(plane.header, hdus).all_world2pix(*sky, 0, quiet=True))
            rows, columns = np.indices(plane.data.shape)
            for x, y in places:
                near = np.hypot(columns - x, rows - y) < LIGHT_PX
                plane.data[near] += VARIATION * (plane.data[near] - level)


def reduced(home: Path, recipe: str, seed: int) -> tuple[Found, Calls]:
    """Simulate, vary and run a visit; return its looks, and who is called variable."""
    settings = settings_of(TRAINING[recipe], seed).replace(write_exposures=True)
    files = write_visit(simulate_visit(settings), home)
    images = [read_drc(path) for path in files.images]
    truths = [read_truth(home, image.meta.root).table for image in images]
    varies = lonely(truths[0])[::EVERY]
    first = 0
    for image, truth in zip(images, truths, strict=True):
        brighten(files.exposures[first], image, truth[varies])
        first += len(image.meta.exposures)
    run_settings = Settings.load(
        assignments=[f"input.exposures_dir={home / 'exposures'}"], preset="deep"
    )
    inputs = bycatch.Inputs(gaia=home / "gaia.ecsv")
    bycatch.run(files.images, home / "out", run_settings, inputs)
    (group,) = make_objects(home / "out", run_settings)
    return looked_at(group.objects(), group.epochs(), truths[0], varies)


def looked_at(
    objects: Table, epochs: Table, truth: Table, varies: NDArray[np.intp]
) -> tuple[Found, Calls]:
    """Return the looks at constant objects, and whether stars are called variable."""
    cosine = np.cos(np.radians(np.mean(truth["dec"])))
    sky = [np.column_stack([np.asarray(t["ra"]) * cosine, t["dec"]]) for t in (truth, objects)]
    away, which = KDTree(sky[0]).query(sky[1])
    is_true = (away * 3600 < SAME_ARCSEC) & (floats(objects, "p_real") > 0.5)
    is_variable = is_true & np.isin(which, varies)
    is_alone = is_true & np.isin(which, lonely(truth))
    called: Calls = {}
    for name in (n for n in objects.colnames if n.startswith("p_variable_")):
        p, snr = floats(objects, name), floats(objects, name.replace("p_variable", "snr"))
        for low, high in pairwise(SNR_BINS):
            known = np.isfinite(p) & (snr >= low) & (snr < high) & is_alone
            for varying in (False, True):
                calls = (p > SURE)[known & (is_variable == varying)]
                called.setdefault((low, varying), []).extend(calls.tolist())
    exposure = np.asarray(epochs["exposure"]).astype(str)
    rows = epochs[exposure != ""]
    flux = floats(rows, "flux") * 10 ** (-0.4 * np.nan_to_num(floats(rows, "zeropoint_shift")))
    err, hit = floats(rows, "flux_err"), (np.asarray(rows["flags"]) & SPOILT) != 0
    key = np.char.add(np.asarray(rows["object_id"]).astype(str), np.asarray(rows["image"]))
    _, look_of = np.unique(key, return_inverse=True)
    weight = np.where(hit | ~np.isfinite(flux), 0.0, 1.0 / err**2)
    total = np.bincount(look_of, weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(look_of, weight * np.nan_to_num(flux)) / total
        left = 1.0 - weight / total[look_of]
        sigma = (flux - mean[look_of]) / err / np.sqrt(left)
    sigma = np.where((weight > 0) & (left > 1e-6), sigma, np.nan)
    order = np.argsort(np.asarray(objects["object_id"]))
    of = order[np.searchsorted(objects["object_id"], rows["object_id"], sorter=order)]
    constant = is_true[of] & ~is_variable[of]
    is_star = np.asarray(truth["star"])[which[of]]
    return Found(*(v[constant] for v in (is_star, mean[look_of] / err, sigma, hit))), called


def width(values: Floats) -> float:
    """Return half the distance of the percentiles that enclose 68 %."""
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2.0


def main() -> None:
    """Simulate, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[110, 111, 112])
    seeds = parser.parse_args().seeds
    parts: list[Found] = []
    called: Calls = {}
    for recipe in RECIPES:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as name:
                found, calls = reduced(Path(name), recipe, seed)
            parts.append(found)
            for key, values in calls.items():
                called.setdefault(key, []).extend(values)
    all_looks = Found(*(np.concatenate([getattr(p, n) for p in parts]) for n in vars(parts[0])))
    names = ("S/N of an exposure", "of", "looks", "width", "beyond 3 sigma, %", "hit, %")
    print(head(*names, n_words=2))
    for low, high in pairwise(SNR_BINS):
        for kind, is_kind in (("stars", all_looks.is_star), ("galaxies", ~all_looks.is_star)):
            here = is_kind & (all_looks.snr >= low) & (all_looks.snr < high)
            sigma = all_looks.sigma[here & np.isfinite(all_looks.sigma)]
            if len(sigma) < 10:
                continue
            print(row(f"{low:g} to {high:g}", kind, len(sigma), f"{width(sigma):.2f}",
                      f"{100 * np.mean(np.abs(sigma) > 3):.1f}",
                      f"{100 * np.mean(all_looks.is_hit[here]):.0f}"))  # fmt: skip
    print()
    print(head("S/N in the filter", "constant called variable", "variable found", n_words=1))
    for low, high in pairwise(SNR_BINS):
        counts = [called.get((low, varying), []) for varying in (False, True)]
        print(row(f"{low:g} to {high:g}", *(f"{sum(c)} of {len(c)}" for c in counts)))


if __name__ == "__main__":
    main()
