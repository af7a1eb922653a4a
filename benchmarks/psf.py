"""PSF photometry against truth, apertures, and photutils' IterativePSFPhotometry.

Fields of stars whose PSF is not the program's own (`star_fields.py`) are written as drizzled images
and go through `bycatch.run` with the preset crowded; photutils gets the same images, the same PSFs
(products of the run), and the same detections to begin with.

    python benchmarks/psf.py table --seeds 1 2          # densities: completeness, scatter, bias
    python benchmarks/psf.py pairs --seeds 1            # an equal neighbour at 3 px
    python benchmarks/psf.py known --seeds 1            # half completeness, neighbours taken away
    python benchmarks/psf.py speed                      # 1,000 to 50,000 stars
    python benchmarks/psf.py peer --seeds 1             # photutils in the same run
    python benchmarks/psf.py fits --seeds 1             # the fits alone, against photutils' alone
    python benchmarks/psf.py stacks --seeds 1           # simulated stacks of exposures
    python benchmarks/psf.py clean                      # clean catalogs of visits against truth
    python benchmarks/psf.py tuc --shared FOLDER        # the real frame of 47 Tuc, and its peers

Seeds below 100 choose, those from 101 on are for the tables of docs/psf.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from astropy.io import fits as fits_io
from astropy.table import QTable, Table
from common import in_coverage, is_alone
from families import TRAINING, visit_folder
from peers import sextractor
from scipy.spatial import cKDTree
from star_fields import (
    EXPTIME_S,
    PHOTFLAM,
    SKY_NOISE,
    Field,
    Splines,
    make_field,
    stars_of,
    zeropoint,
)

import bycatch
from bycatch import Settings, read_table
from bycatch.catalogs.flags import Flag
from bycatch.images.drc import DrcImage, read_drc
from bycatch.simulate.falling_curve import fit_curve
from bycatch.testing.scene import drc_hdus

DENSITIES = (10.0, 100.0, 500.0, 1500.0, 5000.0)
VISITS = (
    ("stars and tracks", 2),
    ("stars and tracks", 101),
    ("silicon", 2),
    ("silicon", 101),
    ("stack", 101),
)
"""Of `clean`: recipes of the training family, and seeds, of which those from 100 on confirm."""
TRUE_MAG = 28.5
"""A row is real if a source of at most this lies within its reach."""


def catalog_of(field: Field, preset: str = "crowded") -> tuple[Table, Path, float]:
    """Return the catalog of a run, its path, and the processor time."""
    out = field.path.parent / preset
    words = ["align.enabled=false", "objects.enabled=false", "output.report=false"]
    started = time.process_time()
    report = bycatch.run([field.path], out, Settings.load(preset=preset, assignments=words))
    seconds = time.process_time() - started
    if not report.all_done:
        raise SystemExit(f"{field.path}: {report}")
    (path,) = out.glob("*/*/*_cat.ecsv")
    return read_table(path), path, seconds


def values(table: Table, name: str) -> np.ndarray:
    """Return a column; NaN where missing."""
    return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)


@dataclass(frozen=True)
class Measurement:
    """Positions, rates and errors, on the scale of total rates."""

    x: np.ndarray
    y: np.ndarray
    rate: np.ndarray
    error: np.ndarray


def measured(catalog: Table, kind: str) -> Measurement:
    """Return what the PSF fits say, or an aperture of a radius."""
    if kind == "psf":
        names = ("x_psf", "y_psf", "flux_psf", "flux_psf_err")
    else:
        names = ("x_center", "y_center", f"flux_{kind}_apcor", f"err_{kind}_apcor")
    x, y, flux, error = (values(catalog, name) for name in names)
    good = np.isfinite(x) & np.isfinite(flux) & (error > 0)
    return Measurement(x[good], y[good], flux[good] / PHOTFLAM, error[good] / PHOTFLAM)


def matched(field: Field, found: Measurement) -> np.ndarray:
    """Return for each star the row that is its own, or -1: nearest, and within a factor 2."""
    row = np.full(len(field.x), -1)
    if not len(found.x):
        return row
    tree = cKDTree(np.column_stack([found.x, found.y]))
    taken = np.zeros(len(found.x), bool)
    for k in np.argsort(-field.rate):
        for j in tree.query_ball_point((field.x[k], field.y[k]), 1.0):
            if not taken[j] and 0.5 < found.rate[j] / field.rate[k] < 2.0:
                row[k] = j if row[k] < 0 else row[k]
        if row[k] >= 0:
            taken[row[k]] = True
    return row


def width(data: np.ndarray) -> float:
    """Return half of the range that holds 68 %."""
    return float(0.5 * np.diff(np.percentile(data, [15.87, 84.13]))[0]) if len(data) > 3 else np.nan


BINS = np.arange(19.0, 28.5, 1.0)


def stars_found(field: Field, found: Measurement) -> np.ndarray:
    """Return of each star, (N, 3): magnitude, flux over the true one, pull; NaN if not found.

    Stars near edges are left out.
    """
    magnitude = zeropoint() - 2.5 * np.log10(field.rate)
    row = matched(field, found)
    ratio = np.where(row >= 0, found.rate[row] / field.rate, np.nan)
    pull = np.where(row >= 0, (found.rate[row] - field.rate) / found.error[row], np.nan)
    return np.column_stack([magnitude, ratio, pull])[is_inside(field)]


def is_inside(field: Field) -> np.ndarray:
    """Return which stars are not near edges, (N,)."""
    x, y = field.x, field.y
    return (np.minimum(x, y) > 12) & (np.maximum(x, y) < field.shape[0] - 13)


UNSEEN_PX = 2.4
"""Within it a star that nobody finds changes the flux of another one."""


def without_unseen(field: Field, stars: np.ndarray) -> np.ndarray:
    """Return those rows of `stars_found` near which no star was missed."""
    at = np.column_stack([field.x, field.y])[is_inside(field)]
    missed = ~np.isfinite(stars[:, 1])
    if not missed.any():
        return stars
    return stars[~missed][cKDTree(at[missed]).query(at[~missed])[0] > UNSEEN_PX]


def rows_of(stars: np.ndarray) -> dict[float, tuple[int, int, float, float, float]]:
    """Return by magnitude: stars, found, and bias, scatter and pull's width of these."""
    out = {}
    for low in BINS[:-1]:
        chosen = stars[(stars[:, 0] >= low) & (stars[:, 0] < low + 1)]
        _, ratio, pull = chosen[np.isfinite(chosen[:, 1])].T
        bias = float(np.median(ratio) - 1) if len(ratio) else np.nan
        out[low] = len(chosen), len(ratio), bias, width(ratio), width(pull)
    return out


def show(title: str, table: dict[float, tuple[int, int, float, float, float]]) -> None:
    """Print a table by magnitude."""
    print(title)
    for low, (n, n_found, bias, scatter, pull) in table.items():
        if n:
            share = n_found / n
            print(f"  {low + 0.5:5.1f} n {n:5d} found {share:5.2f} bias {100 * bias:+6.1f} % "
                  f"scatter {100 * scatter:5.1f} % pull {pull:4.2f}")  # fmt: skip


def photutils_fit(field: Field, catalog_path: Path, sources: Table) -> tuple[Measurement, float]:
    """Return what photutils makes of the image with the same PSF, and its processor time."""
    from photutils.background import LocalBackground
    from photutils.detection import DAOStarFinder
    from photutils.psf import GriddedPSFModel, IterativePSFPhotometry, SourceGrouper

    image = read_drc(field.path)
    model = GriddedPSFModel.read(
        catalog_path.with_name(catalog_path.name.replace("_cat.ecsv", "_psf.fits")), format="stdpsf"
    )
    scatter = 1.4826 * np.median(np.abs(image.sci - np.median(image.sci)))
    data = np.array(image.sci, float) - np.median(image.sci)
    error = np.sqrt(scatter**2 + np.maximum(data, 0) / EXPTIME_S / 2.3)
    finder = DAOStarFinder(threshold=4 * scatter, fwhm=2.1)
    fit = IterativePSFPhotometry(
        model, (7, 7), finder, grouper=SourceGrouper(5), aperture_radius=3, maxiters=3,
        mode="new", local_bkg_estimator=LocalBackground(8, 15), sub_shape=(21, 21),
    )  # fmt: skip
    begin = QTable({"x": values(sources, "x"), "y": values(sources, "y")})
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(data, error=error, init_params=begin)
    seconds = time.process_time() - started
    columns = (np.asarray(found[n], float) for n in ("x_fit", "y_fit", "flux_fit", "flux_err"))
    return Measurement(*columns), seconds


def table(seeds: list[int], densities: list[float], peer: bool) -> None:
    """Print completeness, bias, scatter and pulls by density and magnitude."""
    for density in densities:
        all_stars: dict[str, list[np.ndarray]] = {}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                field = make_field(Path(folder), seed, density, 600)
                catalog, path, seconds = catalog_of(field)
                print(
                    f"== {density:g} stars per arcmin2, seed {seed}: {len(field.x)} stars, "
                    f"{len(catalog)} rows, {seconds:.1f} s"
                )
                for kind in ("psf", "2", "4"):
                    stars = stars_found(field, measured(catalog, kind))
                    all_stars.setdefault(kind, []).append(stars)
                    show(kind, rows_of(stars))
                    if kind == "psf":
                        rest = without_unseen(field, stars)
                        all_stars.setdefault("psf, no star missed within 2.4 px", []).append(rest)
                false = measured(catalog, "psf")
                near = cKDTree(np.column_stack([field.x, field.y])).query(
                    np.column_stack([false.x, false.y])
                )[0]
                print(f"  rows without a star within 1.5 px: {(near > 1.5).sum()}")
                stars = (values(catalog, "snr_4") > 30) & (values(catalog, "blend_share") < 0.1)
                called = values(catalog, "p_star")[stars] > 0.5
                print(f"  bright unblended rows called stars: {called.mean():.3f} of {stars.sum()}")
                if peer:
                    sources = read_table(path.with_name(path.name.replace("_cat", "_sources")))
                    theirs, cost = photutils_fit(field, path, sources)
                    scale = float(catalog.meta["PSFSCALE"]["factor"])
                    theirs = Measurement(
                        theirs.x, theirs.y, theirs.rate * scale, theirs.error * scale
                    )
                    stars = stars_found(field, theirs)
                    all_stars.setdefault("photutils", []).append(stars)
                    show(f"photutils: {cost:.1f} s", rows_of(stars))
        if len(seeds) > 1:
            for kind, parts in all_stars.items():
                title = f"== {density:g} stars per arcmin2, {len(seeds)} seeds: {kind}"
                show(title, rows_of(np.concatenate(parts)))


def pairs(seeds: list[int]) -> None:
    """Print bias and pulls of stars with an equal neighbour at 3 px, and of those without."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            field = make_field(Path(folder), seed, 100.0, 600, pairs=True)
            catalog, _, _ = catalog_of(field)
            distance = cKDTree(np.column_stack([field.x, field.y])).query(
                np.column_stack([field.x, field.y]), k=2
            )[0][:, 1]
            for title, which in (("pairs", distance < 5), ("alone", distance > 14)):
                part = field.part(which)
                for kind in ("psf", "4"):
                    stars = stars_found(part, measured(catalog, kind))
                    show(f"{title} {kind}, seed {seed}", rows_of(stars))


APART_PX = 24.0
"""Stars so far from one another do not disturb each other's fits."""


def known(seeds: list[int], densities: list[float]) -> None:
    """Print where half of the stars are found, and where they are without others' light.

    What perfect knowledge of the neighbours allows: the chain on the same image, noise of the
    neighbours' photons included, less the true light of all but a few stars far from one another;
    so often that each star has its turn.
    """
    print(common.head("stars per arcmin2", "of the image", "without neighbours", "difference"))
    for density in densities:
        pairs_of = [found_with_and_without(seed, density) for seed in seeds]
        magnitude, crowd, alone = (np.concatenate(v) for v in zip(*pairs_of, strict=True))
        rng = np.random.default_rng(1)
        draws = [rng.integers(0, len(magnitude), len(magnitude)) for _ in range(200)]
        of_image, without = (half_completeness(magnitude, found) for found in (crowd, alone))
        differences = [
            half_completeness(magnitude[rows], crowd[rows])
            - half_completeness(magnitude[rows], alone[rows])
            for rows in draws
        ]
        difference = f"{of_image - without:+.2f} +- {np.nanstd(differences):.2f}"
        count = f"{density:g} ({len(magnitude)})"
        print(common.row(count, f"{of_image:.2f}", f"{without:.2f}", difference), flush=True)


def found_with_and_without(seed: int, density: float) -> list[np.ndarray]:
    """Return of stars: magnitude, whether they are found, and whether without neighbours."""
    with tempfile.TemporaryDirectory() as folder:
        field = make_field(Path(folder), seed, density)
        crowd = stars_found(field, measured(catalog_of(field)[0], "psf"))
        alone = []
        for k, which in enumerate(sets_apart(field)):
            path = Path(folder) / str(k) / field.path.name
            path.parent.mkdir()
            part = replace(field.part(which), path=path)
            part.write(part.light())
            alone.append(stars_found(part, measured(catalog_of(part)[0], "psf")))
    rows = np.concatenate(alone)
    # The sets hold the stars of the field in another order.
    crowd, rows = crowd[np.argsort(crowd[:, 0])], rows[np.argsort(rows[:, 0])]
    return [crowd[:, 0], np.isfinite(crowd[:, 1]), np.isfinite(rows[:, 1])]


def sets_apart(field: Field) -> list[np.ndarray]:
    """Return the indices of all stars, in sets whose stars lie apart from one another."""
    at = np.column_stack([field.x, field.y])
    near = cKDTree(at).query_ball_point(at, APART_PX)
    of = np.full(len(at), -1)
    for k in range(len(at)):
        taken = {int(of[j]) for j in near[k]}
        of[k] = next(n for n in range(len(at)) if n not in taken)
    return [np.flatnonzero(of == n) for n in range(of.max() + 1)]


def half_completeness(magnitude: np.ndarray, is_found: np.ndarray) -> float:
    """Return the magnitude at which half of the stars are found; NaN if it is not known."""
    curve = fit_curve(magnitude, is_found)
    limit = curve.limit(0.5)[0] if curve else None
    return np.nan if limit is None else limit


def speed(numbers: list[int]) -> None:
    """Print the processor time of the fits for ever more stars in a full frame."""
    from bycatch.stages import psf

    rng = np.random.default_rng(7)
    splines = Splines(0.1)
    away = np.arange(-14, 15, dtype=float)
    stamps = {
        (i, j): splines.stamp(away - i / 8, away - j / 8, 0.02) for i in range(8) for j in range(8)
    }
    for n in numbers:
        side = 4200
        x, y = rng.uniform(20, side - 21, (2, n))
        rate = stars_of(rng, n)
        light = np.zeros((side, side), np.float32)
        for column, row, flux in zip(x, y, rate, strict=True):
            i, j = int(column), int(row)
            stamp = stamps[int(8 * (column - i)), int(8 * (row - j))]
            light[j - 14 : j + 15, i - 14 : i + 15] += flux * stamp
        light += rng.normal(0, SKY_NOISE, light.shape).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            drc_hdus(light, exptime_s=EXPTIME_S).writeto(f"{folder}/jabc01010_drc.fits")
            image = read_drc(f"{folder}/jabc01010_drc.fits")
            for k in range(2):
                wall, started = time.perf_counter(), time.process_time()
                found = psf.run(image, x, y)
                spent = time.process_time() - started, time.perf_counter() - wall
                if k:
                    print(f"{n} stars: {spent[0]:.2f} s of processor time, {spent[1]:.2f} s; "
                          f"{found.summary()}")  # fmt: skip


def fits(seeds: list[int], densities: list[float]) -> None:
    """Print the processor time of fits alone: one PSF, and one list of stars and their places.

    Of ours all iterations, from no fluxes on, and the errors; of photutils' the fit of groups
    (`PSFPhotometry`), and with two more searches of the residual (`IterativePSFPhotometry`).
    """
    for density in densities:
        for seed in seeds:
            fits_of(seed, density)


def fits_of(seed: int, density: float) -> None:
    """Print what `fits` does of one field."""
    from photutils.detection import DAOStarFinder
    from photutils.psf import (
        GriddedPSFModel,
        IterativePSFPhotometry,
        PSFPhotometry,
        SourceGrouper,
    )

    from bycatch.stages.psf import fit, noise
    from bycatch.stages.psf import run as run_psf
    from bycatch.stages.psf.quality import judge
    from bycatch.stages.psf.stars import Stars

    with tempfile.TemporaryDirectory() as folder:
        field = make_field(Path(folder), seed, density, 600)
        _, path, _ = catalog_of(field)
        psf_path = path.with_name(path.name.replace("_cat.ecsv", "_psf.fits"))
        theirs = GriddedPSFModel.read(psf_path, format="stdpsf")
        sources = read_table(path.with_name(path.name.replace("_cat", "_sources")))
        image = read_drc(field.path)
    x, y = values(sources, "x"), values(sources, "y")
    model = run_psf(image, x, y).model
    pixels = noise.first_pixels(image, None)
    level = noise.typical_noise(pixels)
    rho = noise.correlation(image, pixels)

    def ours() -> Any:
        stars = Stars.at(x, y, np.ones(len(x), bool), (x, y))
        lit = pixels._replace(light=np.zeros_like(pixels.light))
        stars = fit.fit_all(lit, model, stars, fit.EARLY_TRUST, 3, level)
        stars = fit.fit_all(lit, model, stars, fit.late_trust(model), 8, level)
        errors = judge(lit, model, stars, rho)
        return stars.x, stars.y, stars.flux, errors.flux_err

    data = np.asarray(pixels.data - pixels.background, float)
    error = np.sqrt(pixels.noise**2 + np.maximum(data, 0) * pixels.photons)
    begin = QTable({"x": x, "y": y})
    words: Any = {"grouper": SourceGrouper(5), "aperture_radius": 3}
    finder = DAOStarFinder(threshold=4 * level, fwhm=2.1)
    single = PSFPhotometry(theirs, (7, 7), **words)
    iterative = IterativePSFPhotometry(
        theirs, (7, 7), finder, maxiters=3, mode="new", sub_shape=(21, 21), **words
    )

    def columns(table: Any) -> Any:
        return [np.asarray(table[n], float) for n in
                ("x_fit", "y_fit", "flux_fit", "flux_err")]  # fmt: skip

    print(f"== {density:g} stars per arcmin2, seed {seed}: {len(x)} in the list")
    first = 0.0
    for name, call, repeats in (
        ("bycatch", ours, 5),
        ("PSFPhotometry", lambda: columns(single(data, error=error, init_params=begin)), 1),
        ("IterativePSFPhotometry",
         lambda: columns(iterative(data, error=error, init_params=begin)), 1),
    ):  # fmt: skip
        spent = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(repeats):
                started = time.process_time()
                result = call()
                spent.append(time.process_time() - started)
        cost = float(np.median(spent))
        first = first or cost
        measurement = Measurement(*(np.asarray(v) for v in result))
        row = matched(field, measurement)
        bright = (row >= 0) & (zeropoint() - 2.5 * np.log10(field.rate) < 25)
        ratio = measurement.rate[row[bright]] / field.rate[bright]
        print(f"  {name:24s} {cost:8.3f} s  {cost / first:6.0f} x  {len(result[0])} rows, "
              f"scatter to 25 mag {100 * width(ratio):.2f} % of {bright.sum()}")  # fmt: skip


STACKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("clean", {"stars_per_arcmin2": 600.0}),
    ("skirts", {"stars_per_arcmin2": 600.0}),
    ("crowded", {}),
)
"""Of `stacks`: recipes of the training family, and what is changed of them."""
PX_ARCSEC = 0.05


def stacks(seeds: list[int]) -> None:
    """Print bias, scatter and pulls of isolated stars in visits of stacks of exposures."""
    everything = []
    for name, changes in STACKS:
        parts = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as temporary:
                visit, out = Path(temporary) / "visit", Path(temporary) / "out"
                recipe = {name: TRAINING[name] | changes}
                visit_folder(recipe, name, seed, visit)
                run_crowded(visit, out)
                parts += [lonely_stars(path, visit) for path in sorted(out.glob("*/*/*_cat.ecsv"))]
        show(f"{name}, {len(seeds)} seeds", rows_of(np.concatenate(parts)))
        everything += parts
    show("all", rows_of(np.concatenate(everything)))


def lonely_stars(path: Path, visit: Path) -> np.ndarray:
    """Return what `stars_found` does of the isolated stars of an image that are not saturated."""
    root = path.name.removesuffix("_cat.ecsv")
    truth, catalog = Table.read(visit / "truth" / f"{root}.ecsv"), read_table(path)
    at = np.column_stack([truth["x"], truth["y"]])
    mag = np.asarray(truth["mag"], float)
    (image,) = visit.glob(f"raw/**/{root}_drc.fits")
    lonely = is_alone(mag, at * PX_ARCSEC) & in_coverage(read_drc(image).valid, *at.T)
    lonely &= np.asarray(truth["star"]) & ~np.asarray(truth["saturated"])
    good = np.asarray(catalog["flags"]) & int(Flag.SATURATED | Flag.EDGE) == 0
    names = ("x_psf", "y_psf", "mag_ab_psf", "mag_ab_psf_err")
    x, y, found, error = (values(catalog, name)[good] for name in names)
    use = np.isfinite(x) & np.isfinite(found)
    away, row = cKDTree(np.column_stack([x[use], y[use]])).query(at[lonely])
    flux = 10 ** (-0.4 * (found[use][row] - mag[lonely]))
    err = np.log(10) / 2.5 * error[use][row] * flux
    ratio = np.where((away < 1.0) & (np.abs(np.log(flux)) < np.log(2)), flux, np.nan)
    return np.column_stack([mag[lonely], ratio, (ratio - 1) / err])


@dataclass
class CleanCounts:
    """Rows of clean catalogs with and without what is asked of PSF fits, and real ones of both."""

    n_before: int = 0
    n_real_before: int = 0
    n: int = 0
    n_real: int = 0
    n_real_lost: int = 0

    def add(self, catalog: Table, clean: Table, truth: Table, reach_px: float) -> None:
        """Add an image: a row is real if a true source of `TRUE_MAG` lies within its reach."""
        flags = np.asarray(catalog["flags"])
        radius = min(float(n[4:]) for n in catalog.colnames if n.startswith("snr_"))
        least = Settings().finalize.clean_min_snr
        is_faint = values(catalog, f"snr_{radius:g}") < least
        is_full = flags & int(Flag.SATURATED) > 0
        before = (flags & int(Flag.LIKELY_COSMIC_RAY) == 0) & (is_full | ~is_faint)
        after = np.isin(np.asarray(catalog["id"]), np.asarray(clean["id"]))
        bright = truth[np.asarray(truth["mag"]) < TRUE_MAG]
        distance = cKDTree(np.column_stack([bright["x"], bright["y"]])).query(
            np.column_stack([values(catalog, "x_center"), values(catalog, "y_center")])
        )[0]
        is_real = distance < reach_px
        self.n_before += int(before.sum())
        self.n_real_before += int((before & is_real).sum())
        self.n += int(after.sum())
        self.n_real += int((after & is_real).sum())
        self.n_real_lost += int((before & is_real & ~after).sum())

    def line(self, title: str) -> str:
        """Return a row of the table in docs/psf.md."""
        return (
            f"| {title} | {self.n_before:,} | {100 * self.n_real_before / self.n_before:.0f} "
            f"| {self.n:,} | {100 * self.n_real / self.n:.0f} "
            f"| {self.n_real_lost} of {self.n_real_before:,} |"
        )


def clean(shared: Path | None) -> None:
    """Print how many rows of clean catalogs are real, with and without what PSF fits say."""
    print("| visit | rows, before | real, % | rows | real, % | real ones lost |")
    with tempfile.TemporaryDirectory() as folder:
        for k, (name, seed) in enumerate(VISITS):
            visit = visit_folder(TRAINING, name, seed, Path(folder) / str(k))
            counts = CleanCounts()
            add_visit(counts, visit, Path(folder) / f"out{k}", 2.0)
            print(counts.line(f"{name}, seed {seed}"), flush=True)
        if shared:
            counts = CleanCounts()
            for name in ("sim_visit", "sim_visit_b"):
                add_visit(counts, shared / name, Path(folder) / name, 3.0)
            print(counts.line("sim_visit and sim_visit_b"))


def add_visit(counts: CleanCounts, visit: Path, out: Path, reach_px: float) -> None:
    """Run a visit with the preset crowded, and count the rows of its images."""
    run_crowded(visit, out)
    for path in sorted(out.glob("*/*/*_cat.ecsv")):
        root = path.name.removesuffix("_cat.ecsv")
        clean_rows = read_table(path.with_name(f"{root}_cat_clean.ecsv"))
        truth = Table.read(visit / "truth" / f"{root}.ecsv")
        counts.add(read_table(path), clean_rows, truth, reach_px)


def run_crowded(visit: Path, out: Path) -> None:
    """Run a visit with the preset crowded."""
    words = ["objects.enabled=false", "output.report=false"]
    settings = Settings.load(preset="crowded", assignments=words)
    inputs = bycatch.Inputs(gaia=visit / "gaia.ecsv")
    if not bycatch.run([visit / "raw"], out, settings, inputs).all_done:
        raise SystemExit(f"{visit}: not all images are done")


TUC_PIECE = (slice(60, 360), slice(60, 360))
"""Rows and columns of the frame of 47 Tuc that photutils fits, too: away from the core."""


def tuc(shared: Path) -> None:
    """Print what the real HRC frame of 47 Tuc gives, against SExtractor and photutils."""
    with tempfile.TemporaryDirectory() as folder:
        path = tuc_image(shared / "real_hrc", Path(folder))
        words = ["align.enabled=false", "objects.enabled=false", "output.report=false"]
        out = Path(folder) / "out"
        bycatch.run([path], out, Settings.load(preset="crowded", assignments=words))
        (cat_path,) = out.glob("*/*/*_cat.ecsv")
        catalog = read_table(cat_path)
        psf_path = cat_path.with_name(cat_path.name.replace("_cat.ecsv", "_psf.fits"))
        show_stars_called_stars(catalog)
        show_rings(psf_path)
        show_peers(read_drc(path), catalog, psf_path)


def tuc_image(frames: Path, folder: Path) -> Path:
    """Write STScI's drizzle of the frame with the header of its exposure."""
    path = folder / "j8bt06nyq_drc.fits"
    with (
        fits_io.open(frames / "j8bt06nyq_flt.fits") as flt,
        fits_io.open(frames / "reference_square_image.fits") as drizzled,
    ):
        for name in ("TELESCOP", "INSTRUME", "DETECTOR", "FILTER1", "FILTER2", "EXPTIME",
                     "EXPSTART", "EXPEND", "DATE-OBS", "ROOTNAME", "TARGNAME"):  # fmt: skip
            drizzled[0].header[name] = flt[0].header[name]
        for name in ("PHOTFLAM", "PHOTPLAM", "PHOTMODE"):
            drizzled[1].header[name] = flt[1].header[name]
        drizzled[1].header["BUNIT"] = "ELECTRONS/S"
        drizzled.writeto(path)
    return path


def show_stars_called_stars(catalog: Table) -> None:
    """Print how many bright unblended rows are called stars."""
    bright = (values(catalog, "snr_4") > 30) & (values(catalog, "blend_share") < 0.1)
    called = values(catalog, "p_star")[bright] > 0.5
    n_found = np.count_nonzero(np.asarray(catalog["flags"]) & int(Flag.FOUND_IN_RESIDUAL))
    print(f"{len(catalog)} rows, {n_found} of them from the residual; {100 * called.mean():.1f} % "
          f"of {bright.sum()} bright unblended rows are called stars")  # fmt: skip


def show_rings(psf_path: Path) -> None:
    """Print what rings of the mean residual hold, of a star's light and of the PSF's there."""
    with fits_io.open(psf_path) as hdus:
        n, left, grid = hdus["NSTARS"].data, hdus["LEFT"].data, hdus[0].data.mean(axis=0)
    mean = np.average(left, axis=0, weights=n.ravel())
    reach, middle = len(mean) // 2, len(grid) // 2
    points = middle + 4 * np.arange(-reach, reach + 1)
    light = grid[np.ix_(points, points)]
    away = np.arange(-reach, reach + 1)
    ring = np.rint(np.hypot(away, away[:, np.newaxis])).astype(int)
    for k in range(reach + 1):
        rest, own = mean[ring == k].sum(), light[ring == k].sum()
        print(f"  ring of {k} px: {100 * rest:+.2f} % of the star's light are left, "
              f"{100 * rest / own:+.1f} % of what the PSF has there")  # fmt: skip


def show_peers(image: DrcImage, catalog: Table, psf_path: Path) -> None:
    """Print offset and scatter of magnitudes against SExtractor's, and photutils' PSF fits."""
    from photutils.psf import GriddedPSFModel, PSFPhotometry, SourceGrouper

    ours = measured_rates(catalog, image)
    theirs = sextractor(image.path)
    if theirs is not None:
        alone = values(catalog, "blend_share") < 0.05
        auto = np.asarray(theirs["FLUX_AUTO"], float)
        show_differences("SExtractor's AUTO, rows with less than 5 % of others' light",
                         ours, alone, (theirs["x"], theirs["y"], auto))  # fmt: skip
    rows, columns = TUC_PIECE
    photometry = read_table(psf_path.with_name(psf_path.name.replace("_psf.fits", "_phot.ecsv")))
    inside = (ours.x > columns.start) & (ours.x < columns.stop - 1)
    inside &= (ours.y > rows.start) & (ours.y < rows.stop - 1)
    data = np.array(image.sci[TUC_PIECE], float)
    data -= np.nanmedian(values(photometry, "sky_psf")[inside])
    noise = 1.4826 * np.median(np.abs(data - np.median(data)))
    error = np.sqrt(noise**2 + np.maximum(data, 0) / image.meta.exptime_s)
    begin = QTable({"x": ours.x[inside] - columns.start, "y": ours.y[inside] - rows.start})
    model = GriddedPSFModel.read(psf_path, format="stdpsf")
    fit = PSFPhotometry(model, (7, 7), grouper=SourceGrouper(5), aperture_radius=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(data, error=error, init_params=begin)
    places = (np.asarray(found["x_fit"], float) + columns.start,
              np.asarray(found["y_fit"], float) + rows.start)  # fmt: skip
    flux = np.asarray(found["flux_fit"], float)
    show_differences("photutils' PSFPhotometry", ours, inside, (*places, flux))


def measured_rates(catalog: Table, image: DrcImage) -> Measurement:
    """Return PSF fits in e/s, row for row; NaN where there is none."""
    names = ("x_psf", "y_psf", "flux_psf", "flux_psf_err")
    x, y, flux, error = (values(catalog, name) for name in names)
    photflam = image.meta.photflam
    return Measurement(x, y, flux / photflam, error / photflam)


def show_differences(title: str, ours: Measurement, which: np.ndarray, theirs: Any) -> None:
    """Print theirs minus ours, in mag, by signal-to-noise ratio."""
    x, y, flux = (np.asarray(column, float) for column in theirs)
    good = which & np.isfinite(ours.x) & (ours.rate > 0)
    known = np.isfinite(x) & (flux > 0)
    distance, nearest = cKDTree(np.column_stack([x[known], y[known]])).query(
        np.column_stack([ours.x[good], ours.y[good]])
    )
    difference = -2.5 * np.log10(flux[known][nearest] / ours.rate[good])
    snr = ours.rate[good] / ours.error[good]
    print(title)
    for low, high in ((5, 10), (10, 20), (20, 50), (50, np.inf)):
        part = difference[(distance < 1.0) & (snr >= low) & (snr < high)]
        if len(part) > 3:
            print(f"  S/N {low:g} to {high:g}: {len(part)} rows, {np.median(part):+.3f} mag, "
                  f"scatter {width(part):.3f}")  # fmt: skip


WHAT = ("table", "pairs", "known", "speed", "peer", "fits", "stacks", "clean", "tuc")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*WHAT])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--densities", type=float, nargs="+", default=list(DENSITIES))
    parser.add_argument("--stars", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--shared", type=Path, help="folder of sim_visit, sim_visit_b, real_hrc")
    given: Any = parser.parse_args()
    if given.what == "pairs":
        pairs(given.seeds)
    elif given.what == "known":
        known(given.seeds, given.densities)
    elif given.what == "stacks":
        stacks(given.seeds)
    elif given.what == "speed":
        speed(given.stars)
    elif given.what == "fits":
        fits(given.seeds, given.densities)
    elif given.what == "clean":
        clean(given.shared)
    elif given.what == "tuc":
        tuc(given.shared)
    else:
        table(given.seeds, given.densities, given.what == "peer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
