"""Injected against true completeness on simulated visits.

    .venv/bin/python benchmarks/completeness.py DIR [DIR ...] [--preset deep] [--injected 1500]

DIR holds a simulated visit (``bycatch simulate DIR``).  For each image, artificial
stars and galaxies with the magnitudes and sizes of the true ones are put into it;
the share of them that is found must be that of the true ones: chi-square over
magnitude bins, binomial errors of both, the completeness of each true source being that of the
injected ones of nearly its magnitude and size.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.spatial import KDTree
from scipy.stats import chi2

from bycatch import photcal
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.exposures import box_fraction
from bycatch.settings import Settings
from bycatch.simulate import completeness, injection, recovery, trial
from bycatch.simulate.files import read_truth
from bycatch.simulate.scene import SERSIC_INDICES

N_LIKE = 25
"""Injected sources that tell the completeness of a true one."""
MIN_VARIANCE = 2.0
"""Of the number found in a bin: chi-square is for numbers that are nearly normal."""


def true_sources(image: DrcImage, truth: Table, settings: Settings) -> Table:
    """Return the true objects in the area of the catalog."""
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    ny, nx = image.shape
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    at = np.clip(np.rint(y).astype(int), 0, ny - 1), np.clip(np.rint(x).astype(int), 0, nx - 1)
    inside &= image.valid[at]
    coverage = box_fraction(image.valid, x, y, settings.detect.coverage_box_px)
    return truth[inside & (np.nan_to_num(coverage) >= settings.detect.min_coverage)]


def population(true: Table, psf: Any, zeropoint: float, n: int, seed: int) -> Table:
    """Return sources with the magnitudes and sizes of the true ones."""
    random = np.random.default_rng([seed, 5])
    rows = true[random.integers(0, len(true), n)]
    star = np.asarray(rows["star"])
    mag = zeropoint - 2.5 * np.log10(np.asarray(rows["rate"])) + random.normal(0, 0.1, n)
    return Table(
        {
            "kind": np.where(star, injection.STAR, injection.GALAXY),
            "mag": mag,
            "rate": 10 ** (-0.4 * (mag - zeropoint)),
            "re_arcsec": np.where(star, 0.0, np.asarray(rows["re"])),
            "sersic_index": np.where(star, 0.0, random.choice(SERSIC_INDICES, n)),
            "axis_ratio": np.where(star, 1.0, random.uniform(0.25, 1.0, n)),
            "angle_deg": random.uniform(0, 180, n),
            "width": random.choice(psf.widths, n),
        }
    )


def expected_mags(
    image: DrcImage, true: Table, psf: Any, settings: Settings, made: Any, zeropoint: float
) -> Any:
    """Return the magnitudes that the catalog's aperture gives the true objects.

    The shapes of the galaxies are not in the truth: typical ones are taken.
    """
    star = np.asarray(true["star"])
    typical = Table(
        {
            "kind": np.where(star, injection.STAR, injection.GALAXY),
            "rate": np.asarray(true["rate"]),
            "re_arcsec": np.where(star, 0.0, np.asarray(true["re"])),
            "sersic_index": np.full(len(true), 2.0),
            "axis_ratio": np.full(len(true), 0.6),
            "angle_deg": np.zeros(len(true)),
            "width": np.ones(len(true)),
        }
    )
    axis = np.arange(-20.0, 21)
    annulus = (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px)
    rates = [
        injection.net_rate(
            injection.stamp(psf, row, axis, axis, image.scale_arcsec),
            axis, axis, trial.aperture_of(settings), annulus,
        )
        for row in typical
    ]  # fmt: skip
    return zeropoint - 2.5 * np.log10(np.maximum(rates, 1e-9) / made.aperture_share)


def likeness(mag: Any, re_arcsec: Any) -> Any:
    """Return (N, 2): magnitude, and size so that a factor 2 weighs as much as 0.7 mag."""
    return np.column_stack([mag, np.log(np.maximum(re_arcsec, 0.03))]).astype(float)


def local_share(true: Any, injected: Any, yes: Any) -> Any:
    """Return the completeness of each true source, from the injected ones most like it.

    ``true`` and ``injected`` are (N, 2): magnitude, and size on a like scale.
    """
    n = min(N_LIKE, len(injected))
    like = KDTree(injected).query(true, k=n)[1].reshape(len(true), n)
    return yes[like].mean(axis=1)


def compared(true: Any, true_yes: Any, injected: Any, yes: Any) -> tuple[float, int, list[Any]]:
    """Return chi-square, number of bins, and the bins: low, high, n, true and expected share.

    The number found in a bin scatters by the sum of p (1 - p) over its sources,
    which is less than that of a common p; the injected ones add theirs.
    """
    share = local_share(true, injected, yes)
    total, rows = 0.0, []
    for low, high in itertools.pairwise(_edges(true[:, 0], share)):
        a = (true[:, 0] >= low) & (true[:, 0] < high)
        m = int(((injected[:, 0] >= low) & (injected[:, 0] < high)).sum())
        n, variance = int(a.sum()), float((share[a] * (1 - share[a])).sum())
        if variance < MIN_VARIANCE or m < N_LIKE:
            continue
        total += (true_yes[a].sum() - share[a].sum()) ** 2 / (variance * (1 + n / m))
        rows.append((low, high, n, true_yes[a].mean(), m, share[a].mean()))
    return total, len(rows), rows


def _edges(mag: Any, share: Any) -> Any:
    """Return bins of 0.25 mag or more in which the numbers found scatter enough to be compared."""
    fine = np.arange(np.floor(mag.min()), np.ceil(mag.max()) + 0.2, 0.25)
    edges, variance = [fine[0]], 0.0
    for low, high in itertools.pairwise(fine):
        some = share[(mag >= low) & (mag < high)]
        variance += float((some * (1 - some)).sum())
        if variance >= MIN_VARIANCE:
            edges.append(high)
            variance = 0.0
    if variance > 0 and len(edges) > 1:
        edges[-1] = fine[-1]
    return np.array(edges if len(edges) > 1 else [fine[0], fine[-1]])


def main() -> None:
    """Print a table per image and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("visits", nargs="+", type=Path)
    parser.add_argument("--preset", default="deep")
    parser.add_argument("--injected", type=int, default=2000)
    parser.add_argument("--images", default="", help="part of the names of the images")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--bins", action="store_true")
    given = parser.parse_args()
    settings = Settings.load(
        preset=given.preset, assignments=["inject.false_detections=false", *given.set]
    )
    totals: dict[str, list[float]] = {}
    for visit in given.visits:
        for path in sorted((visit / "raw").glob("*_drc.fits")):
            if given.images not in path.name:
                continue
            started = time.perf_counter()
            image = read_drc(path, settings.input)
            truth = read_truth(visit, image.meta.root).table
            made = trial.trial(image, settings)
            psf = trial.psf_of(image, made, settings)
            zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
            true = true_sources(image, truth, settings)
            wanted = population(true, psf, zeropoint, given.injected, settings.inject.seed)
            result = completeness.inject_image(image, settings, wanted)
            expected = expected_mags(image, true, psf, settings, made, zeropoint)
            size_px = np.asarray(true["re"]) / image.scale_arcsec
            reach = np.hypot(settings.inject.match_radius_px, 0.5 * size_px)
            name = f"mag_ab_{trial.aperture_of(settings):g}"
            catalog_mag = np.ma.filled(made.catalog[name], np.nan)
            at = recovery.matches(
                np.asarray(true["x"]), np.asarray(true["y"]), expected, reach, made.catalog,
                catalog_mag, settings.inject.match_mag,
            )  # fmt: skip
            true_found = at >= 0
            rays = recovery.is_cosmic_ray(made.catalog)
            true_kept = true_found & ~rays[np.maximum(at, 0)]
            true_mag = zeropoint - 2.5 * np.log10(np.asarray(true["rate"]))
            seconds = time.perf_counter() - started
            print(
                f"{visit.name} {image.meta.filter} {image.meta.n_exposures} exp., {given.preset}: "
                f"PSF of {psf.note}, {len(result.sources)} injected in {result.n_runs} runs, "
                f"{seconds:.0f} s"
            )
            injected = result.sources
            for kind, is_kind in (("star", np.asarray(true["star"])),
                                  ("galaxy", ~np.asarray(true["star"]))):  # fmt: skip
                rows = np.asarray(injected["kind"]) == kind
                for what, yes in (("found", true_found), ("kept", true_kept)):
                    total, n, bins = compared(
                        likeness(true_mag, true["re"])[is_kind], yes[is_kind],
                        likeness(injected["mag"], injected["re_arcsec"])[rows],
                        np.asarray(injected[what])[rows],
                    )  # fmt: skip
                    sums = totals.setdefault(f"{kind} {what}", [0.0, 0])
                    sums[0], sums[1] = sums[0] + total, sums[1] + n
                    print(
                        f"  {kind:6s} {what:5s} true {yes[is_kind].mean():.3f} of {is_kind.sum()}, "
                        f"injected {np.asarray(injected[what])[rows].mean():.3f} of {rows.sum()}, "
                        f"chi2 {total:.1f} / {n}, p = {chi2.sf(total, max(n, 1)):.3f}"
                    )
                    if given.bins:
                        for low, high, a, b, c, d in bins:
                            print(f"      {low:.2f}-{high:.2f} {b:.3f} of {a:4d} {d:.3f} of {c}")
    for name, (total, n) in totals.items():
        print(f"all: {name}: chi2 {total:.1f} / {n}, p = {chi2.sf(total, max(n, 1)):.3f}")


if __name__ == "__main__":
    main()
