"""Saturated stars: how good their centres are, and how well fields align that have no others.

    python benchmarks/saturated.py [--first SEED] [--visits N] [--fields N] [--workers N]

**Centres.** Visits of bright stars, far from one another, amid the usual faint stars and galaxies,
are simulated, bleeding columns included, and go through `detect.run`.  In every second visit the
charge runs twice as far down a column as up.  Positions are compared with the truth, by magnitude
above saturation and by number of exposures.

**Fields.** Five Gaia stars on an image, three or all of them saturated, the rest of the sky too
faint for Gaia; the header is off by 2.6 arcsec and 0.25 deg.  The frame that `align.run` finds is
compared with the true one on a 5 x 5 grid, with the saturated stars and without.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
from alignment import frame_errors_mas
from astropy.table import Table
from common import head, row
from numpy.typing import NDArray

from bycatch.catalogs.tables import floats
from bycatch.images.drc import read_drc
from bycatch.settings import AlignSettings, SimulateSettings
from bycatch.simulate import detector as simulated_detector
from bycatch.simulate import simulate_scene, write_visit
from bycatch.simulate.scene import Scene, make_scene
from bycatch.sky.gaia import from_table
from bycatch.stages import align, crmask, detect

Floats = NDArray[np.float64]

FAINT_MAG = 21.8
"""The other stars begin here: Gaia has none of them."""
SAME_STAR_PX = 15.0
OFFSET_ARCSEC, ROLL_DEG = (2.2, -1.4), 0.25
"""2.6 arcsec in all."""
UP_SHARE = 1.0 / 3.0
"""Of the bleeding charge, where it does not run to both sides alike."""
STEPS_MAG = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class Recipe:
    """One filter and exposure time, and the magnitude at which a star there is full."""

    filter: str
    exptime_s: float
    full_mag: float
    pixfrac: float = 1.0


RECIPES = (
    Recipe("F606W", 600.0, 19.3),
    Recipe("F814W", 1000.0, 19.0),
    Recipe("F475W", 350.0, 18.4, pixfrac=0.8),
)
OTHER_RECIPES = (
    Recipe("F775W", 800.0, 18.5, pixfrac=0.9),
    Recipe("F435W", 700.0, 18.8),
    Recipe("F625W", 500.0, 18.5, pixfrac=0.7),
)
"""From seed 100 on: constants were chosen with the first ones."""


def recipe_of(seed: int) -> Recipe:
    """Return the recipe of a seed."""
    return (RECIPES if seed < 100 else OTHER_RECIPES)[seed % len(RECIPES)]


# ---- scenes ----------------------------------------------------------------------------------


def scene_with(settings: SimulateSettings, mags: Floats, random: np.random.Generator) -> Scene:
    """Return a scene in which the first stars have these magnitudes and lie far from one another.

    They lie where the detector has its two chips, far from borders and gap.
    """
    scene = make_scene(settings)
    bright = np.flatnonzero(scene.is_star)[: len(mags)]
    if len(bright) < len(mags):
        msg = f"{len(mags)} stars wanted, but there are {len(bright)}"
        raise ValueError(msg)
    rows_per_chip = -(-len(mags) // 2)
    n_across = max(int(np.ceil(np.sqrt(2 * rows_per_chip))), 1)
    n_up = -(-rows_per_chip // n_across)
    cells = random.permutation(2 * n_across * n_up)[: len(mags)]
    chip, cell = cells % 2, cells // 2
    # The margin keeps stars and their boxes of the coverage rule on the image.
    low, high = 0.12, 0.88
    across = low + (high - low) * (cell % n_across + random.uniform(0.3, 0.7, len(mags))) / n_across
    up = 0.2 + 0.6 * (cell // n_across + random.uniform(0.3, 0.7, len(mags))) / n_up
    span_u, span_v = np.ptp(scene.u), np.ptp(scene.v)
    u, v, mag, colour = (w.copy() for w in (scene.u, scene.v, scene.mag, scene.colour))
    u[bright] = scene.u.min() + across * span_u
    v[bright] = scene.v.min() + (0.5 * chip + 0.5 * up) * span_v
    mag[bright], colour[bright] = mags, 0.0
    return replace(scene, u=u, v=v, mag=mag, colour=colour)


def _settings(recipe: Recipe, seed: int, n_exposures: int, **more: float) -> SimulateSettings:
    return SimulateSettings(
        seed=seed,
        filters=(recipe.filter,),
        n_exposures=(n_exposures,),
        exptime_s=recipe.exptime_s,
        pixfrac=recipe.pixfrac,
        mag_bright=FAINT_MAG,
        galaxy_bright_mag=20.0,
        **more,
    )


@contextmanager
def uneven_bleeding() -> Iterator[None]:
    """Let the charge of a full column run down twice as far as up."""

    def bleed(column: Floats, rows: NDArray[np.int64], full_well_e: float) -> None:
        excess = float((column[rows] - full_well_e).clip(0.0).sum())
        column[rows] = np.minimum(column[rows], full_well_e)
        for share, way in ((UP_SHARE, np.arange(rows.max() + 1, column.size)),
                           (1 - UP_SHARE, np.arange(rows.min() - 1, -1, -1))):  # fmt: skip
            room = np.maximum(full_well_e - column[way], 0.0)
            before = np.cumsum(room) - room
            column[way] += np.clip(share * excess - before, 0.0, room)

    with mock.patch.object(simulated_detector, "_bleed_run", bleed):
        yield


# ---- centres ---------------------------------------------------------------------------------


def centres(seed: int) -> Floats:
    """Return what became of the saturated stars of a visit.

    (N, 6): magnitudes above saturation, number of exposures, errors in x and y, stated error (NaN
    where there was no centre), px, and by how much the plain centroid is off.
    """
    random = np.random.default_rng([seed, 17])
    recipe, n_exposures = recipe_of(seed), 1 + seed // 3 % 3
    settings = _settings(recipe, seed, n_exposures)
    mags = recipe.full_mag - random.uniform(0.0, 5.0, 16)
    found = []
    with tempfile.TemporaryDirectory() as name:
        if seed % 2:
            with uneven_bleeding():
                visit = simulate_scene(settings, scene_with(settings, mags, random))
        else:
            visit = simulate_scene(settings, scene_with(settings, mags, random))
        image = read_drc(write_visit(visit, Path(name)).images[0])
        sources = detect.run(image).sources
        with mock.patch.object(
            detect.saturated_stars, "centre_on_wings", lambda _, table, __: table
        ):
            plain = detect.run(image).sources
    truth = visit.images[0].truth
    stars = truth[np.asarray(truth["star"]) & np.asarray(truth["saturated"])]
    x, y = floats(sources, "x"), floats(sources, "y")
    stated = floats(sources, "centre_err_px")
    for star in stars:
        distance = np.hypot(x - star["x"], y - star["y"])
        near = np.flatnonzero(distance < SAME_STAR_PX)
        if not near.size:
            continue  # off the image, or left out by the coverage rule
        known = near[np.isfinite(stated[near])]
        best = (known if known.size else near)[0]
        was = np.hypot(floats(plain, "x") - star["x"], floats(plain, "y") - star["y"]).min()
        found.append(
            [
                recipe.full_mag - star["mag"],
                n_exposures,
                x[best] - star["x"],
                y[best] - star["y"],
                stated[best],
                was if was < SAME_STAR_PX else np.nan,
            ]
        )
    return np.array(found).reshape(-1, 6)


def centres_table(all_stars: Floats) -> list[str]:
    """Return the table of centres as lines of Markdown."""
    lines = [head("Saturated stars", "number", "centred", "rms error px", "stated px", "pull rms",
                  "largest pull", "plain centroid px", n_words=1)]  # fmt: skip
    excess, n_exposures = all_stars[:, 0], all_stars[:, 1]
    groups = [
        (f"{low:g} to {high:g} mag above", (excess >= low) & (excess < high))
        for low, high in pairwise(STEPS_MAG)
    ]
    groups += [(f"{n} exposure{'s' * (n > 1)}", n_exposures == n) for n in (1, 2, 3)]
    for name, group in [*groups, ("all", np.ones(len(all_stars), dtype=bool))]:
        some = all_stars[group]
        known = some[np.isfinite(some[:, 4])]
        if not len(known):
            continue
        pulls = known[:, 2:4] / known[:, 4:5]
        lines.append(
            row(
                name,
                len(some),
                f"{100 * len(known) / len(some):.0f} %",
                f"{np.sqrt(np.mean(known[:, 2:4] ** 2)):.3f}",
                f"{np.median(known[:, 4]):.3f}",
                f"{np.sqrt(np.mean(pulls**2)):.2f}",
                f"{np.abs(pulls).max():.1f}",
                f"{np.sqrt(np.nanmean(some[:, 5] ** 2) / 2):.2f}",
            )
        )
    return lines


# ---- fields ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A trial: how many of the five Gaia stars are saturated, and what came of it."""

    seed: int
    n_saturated: int
    n_exposures: int
    grades: tuple[str, str]
    error_mas: tuple[float, float]
    stated_mas: float
    n_matches: int
    reason: str


def field(seed: int) -> Field:
    """Align a field with the centres of saturated stars, and without them."""
    random = np.random.default_rng([seed, 18])
    recipe, n_exposures = recipe_of(seed), 1 + seed // 3 % 3
    n_saturated = 3 if seed % 2 else 5
    settings = _settings(
        recipe, seed, n_exposures,
        pointing_error_ra_arcsec=OFFSET_ARCSEC[0], pointing_error_dec_arcsec=OFFSET_ARCSEC[1],
        roll_error_deg=ROLL_DEG,
    )  # fmt: skip
    mags = recipe.full_mag - random.uniform(0.3, 4.0, 5)
    mags[n_saturated:] = random.uniform(recipe.full_mag + 0.5, 20.5, 5 - n_saturated)
    with tempfile.TemporaryDirectory() as name:
        visit = simulate_scene(settings, scene_with(settings, mags, random))
        image = read_drc(write_visit(visit, Path(name)).images[0])
        found = detect.run(image)
        rays = crmask.run(image).grown
    reference = from_table(visit.gaia, "simulated")
    results = []
    for forgotten in (False, True):
        sources: Table = found.sources.copy()
        if forgotten:
            sources["centre_err_px"] = np.nan
        one = align.FieldImage.of(image, sources, found.segmentation, rays)
        results.append(align.run([one], reference, AlignSettings()).images[0])
    errors = [
        frame_errors_mas(result, visit.images[0].wcs_true, image.shape)[0] for result in results
    ]
    rms = [float(np.sqrt(np.mean(error**2))) for error in errors]
    return Field(
        seed, n_saturated, n_exposures, (results[0].grade, results[1].grade), (rms[0], rms[1]),
        results[0].astrom_err_mas, results[0].n_matches, results[0].reason,
    )  # fmt: skip


def fields_table(trials: list[Field]) -> list[str]:
    """Return the table of fields as lines of Markdown."""
    lines = [head("Fields of five Gaia stars", "fields", "aligned", "without them", "median mas",
                  "largest mas", "stated mas", "error over stated, rms", n_words=1)]  # fmt: skip
    groups = [
        (f"{n_saturated} saturated, {n} exposure{'s' * (n > 1)}",
         [t for t in trials if (t.n_saturated, t.n_exposures) == (n_saturated, n)])
        for n_saturated in (3, 5) for n in (1, 2, 3)
    ]  # fmt: skip
    for name, some in [*groups, ("all", trials)]:
        good = [t for t in some if t.grades[0] in "ABCD"]
        if not some:
            continue
        errors = np.array([t.error_mas[0] for t in good])
        stated = np.array([t.stated_mas for t in good])
        lines.append(
            row(
                name,
                len(some),
                f"{len(good)}",
                f"{sum(t.grades[1] in 'ABCD' for t in some)}",
                *(
                    f"{v:.1f}" if good else ""
                    for v in (
                        np.median(errors) if good else 0,
                        errors.max(initial=0.0),
                        np.median(stated) if good else 0,
                    )
                ),
                f"{np.sqrt(np.mean((errors / stated) ** 2)):.2f}" if good else "",
            )
        )
    return lines


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=int, default=100, help="first seed")
    parser.add_argument("--visits", type=int, default=18, help="visits of bright stars")
    parser.add_argument("--fields", type=int, default=36, help="fields of five Gaia stars")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--details", action="store_true", help="a line for each field")
    asked = parser.parse_args()
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    with ProcessPoolExecutor(asked.workers) as pool:
        stars = list(pool.map(centres, range(asked.first, asked.first + asked.visits)))
        if stars:
            print("\n".join(centres_table(np.concatenate(stars))), flush=True)
        trials = list(pool.map(field, range(asked.first, asked.first + asked.fields)))
    if asked.details:
        for trial in trials:
            print(trial)
    if trials:
        print("\n" + "\n".join(fields_table(trials)))


if __name__ == "__main__":
    main()
