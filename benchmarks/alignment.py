"""How well fields are aligned: many trials on simulated visits, as a Markdown table.

    python benchmarks/alignment.py [--trials N] [--quick] [--workers N] [--pool FOLDER]
    python benchmarks/alignment.py --only SEED [SEED ...]      # these trials, in detail

A pool of visits is simulated at pixel level and taken through the real
detection and cosmic-ray mask (once per ``--pool`` folder: minutes).  Each trial takes one of
them, draws new reference stars like Gaia's (errors, motions, gaps) of which a
given number are usable, gives the headers new errors, runs `align`, and
compares its frames with the true ones on a 5 x 5 grid of each image.

From Python, one trial by its seed::

    pool = load_pool(folder, PLANS)          # or QUICK_PLANS
    trial = make_trial(pool, seed)           # .images, .reference: the arguments of align.run
    outcome = run_trial(trial, settings)     # errors, grades, what failed

A star is usable if its errors are those stated, and an image of the trial has a detection within
0.5 px of its true place that is not near saturation.  The exit status is 1 if a criterion fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.images.drc import read_drc
from bycatch.kernels.exposures import mask_shares
from bycatch.photcal import ab_zeropoint
from bycatch.settings import AlignSettings, Settings, SimulateSettings
from bycatch.simulate import simulate_scene, write_visit
from bycatch.simulate.reference import (
    SkyObjects,
    gaia_like,
    is_reliable,
    object_rows,
    sky_objects,
    with_n_usable,
)
from bycatch.simulate.scene import Scene, make_scene
from bycatch.simulate.visit import epoch_jyear, sky_positions
from bycatch.sky.gaia import ReferenceStars, from_table
from bycatch.stages import align, crmask, detect
from bycatch.tangent import sky_of_tangent, tangent_mas

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "gaia"
NUMBERS_OF_STARS = (0, 1, 2, 3, 5, 8, 20, 100)
KINDS = ("elsewhere", "single", "crowded", "field", "field")
"""The trials take turns: a fifth each, and two fifths ordinary fields."""

MAX_SHIFT_ARCSEC, MAX_ROLL_DEG = 3.0, 0.3
DIFFERENCE_MAS, DIFFERENCE_DEG = 50.0, 0.003
LARGE_DIFFERENCE_MAS, LARGE_DIFFERENCE_SHARE = 1000.0, 0.1

USABLE_PX, USABLE_PEAK, HALO_PX = 0.5, 0.6, 20.0
MARGIN_ARCSEC = 70.0
"""How far the reference stars reach beyond the images."""
WRONG_MAS, WRONG_FACTOR = 30.0, 5.0
MOTION_TAIL_SHARE, MOTION_TAIL_MAS_YR = 0.1, 20.0


# ---- the pool --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A visit of the pool.

    Attributes
    ----------
    name : of the visit
    simulate : settings that differ from the defaults
    crowded : counts as crowded
    presets : of the detection; each makes its own detection lists
    real : (file, east, north) of real stars, arcmin from the file's median position
    """

    name: str
    simulate: dict[str, Any]
    crowded: bool = False
    presets: tuple[str, ...] = ("classic",)
    real: tuple[str, float, float] | None = None

    def settings(self) -> SimulateSettings:
        """Return the settings of the simulation."""
        return SimulateSettings(**self.simulate)


def _chips(columns: int, rows: int) -> dict[str, int]:
    return {"n_columns": columns, "n_rows": rows}


_QUARTER = _chips(2000, 950)
_SPARSE = {"stars_per_arcmin2": 25.0, "galaxies_per_arcmin2": 200.0}
_TWO = {"filters": ("F475W", "F775W"), "n_exposures": (2, 3)}
_MIXED = {"filters": ("F475W", "F625W", "F775W"), "n_exposures": (2, 1, 3)}
_SINGLES = {"filters": ("F475W", "F775W"), "n_exposures": (1, 1)}
_BOTH = ("classic", "deep")
_TUC = ("gaia_dr3_47tuc_10000.csv", -4.0, -1.0)
_M92 = ("gaia_dr3_M92.csv", 0.0, 1.0)

PLANS = (
    Plan("sparse", {**_QUARTER, **_SPARSE, **_MIXED, "seed": 11}, presets=_BOTH),
    Plan("medium", {**_QUARTER, **_MIXED, "seed": 12, "mjd_start": 55200.0}, presets=_BOTH),
    Plan("north", {**_QUARTER, **_TWO, "seed": 13, "grid": "north", "dec_deg": 71.0}),
    Plan(
        "long single",
        {
            **_QUARTER,
            "stars_per_arcmin2": 90.0,
            "filters": ("F606W",),
            "n_exposures": (1,),
            "exptime_s": 1200.0,
            "seed": 14,
            "mjd_start": 58400.0,
        },
        presets=_BOTH,
    ),
    Plan("short singles", {**_QUARTER, **_SINGLES, "exptime_s": 300.0, "seed": 15}),
    Plan(
        "crowded",
        {**_QUARTER, **_MIXED, "stars_per_arcmin2": 500.0, "seed": 16},
        crowded=True,
        presets=_BOTH,
    ),
    Plan("47 Tuc", {**_QUARTER, **_MIXED, "seed": 17}, crowded=True, real=_TUC),
    Plan("M 92", {**_QUARTER, **_TWO, "seed": 18}, crowded=True, presets=_BOTH, real=_M92),
    Plan("full frame", {**_chips(4096, 2048), **_SINGLES, "stars_per_arcmin2": 130.0, "seed": 19}),
)
QUICK_PLANS = (
    Plan("small", {**_chips(1000, 475), **_MIXED, "stars_per_arcmin2": 300.0, "seed": 21}),
    Plan(
        "small crowded",
        {
            **_chips(800, 380),
            "filters": ("F475W", "F625W"),
            "n_exposures": (2, 1),
            "stars_per_arcmin2": 900.0,
            "seed": 22,
        },
        crowded=True,
    ),
)


@dataclass(frozen=True, eq=False)
class PoolImage:
    """One image of the pool: its detections, and which objects they show well.

    Attributes
    ----------
    filter, n_exposures, sources, shape, mjd, exptime_s, zeropoint_ab, saturation_rate : as for
        `align.FieldImage`
    crval, crpix, cd : of the true WCS (TAN)
    shows : (M,) the object has a good detection: near, unsaturated
    """

    filter: str
    n_exposures: int
    sources: Table
    shape: tuple[int, int]
    mjd: float
    exptime_s: float
    zeropoint_ab: float
    saturation_rate: float
    crval: Floats
    crpix: Floats
    cd: Floats
    shows: Bools

    def wcs(self, east_mas: float = 0.0, north_mas: float = 0.0, roll_deg: float = 0.0) -> WCS:
        """Return the true WCS, or one off by a shift and a roll about the field's centre."""
        ra, dec = sky_of_tangent(np.array([[east_mas, north_mas]]), *self.crval)
        c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [ra[0], dec[0]]
        wcs.wcs.crpix = self.crpix
        wcs.wcs.cd = np.array([[c, s], [-s, c]]) @ self.cd
        wcs.pixel_shape = self.shape[::-1]
        wcs.wcs.set()
        return wcs


@dataclass(frozen=True, eq=False)
class PoolVisit:
    """A visit of the pool with one detection list per image."""

    name: str
    crowded: bool
    real: bool
    images: tuple[PoolImage, ...]
    objects: SkyObjects


@cache
def capacity(visit: PoolVisit, images: tuple[int, ...]) -> int:
    """Return about how many stars are usable when some of a visit's images are taken."""
    stars = _listed(visit.objects, visit, np.random.default_rng(0))
    return int(_usable(stars, visit.objects, [visit.images[k] for k in images]).sum())


def load_pool(
    folder: Path, plans: Sequence[Plan], workers: int = 1, say: Any = None
) -> list[PoolVisit]:
    """Read the visits of the pool; those that are not in the folder are simulated first."""
    folder.mkdir(parents=True, exist_ok=True)
    possible = [p for p in plans if p.real is None or (DATA / p.real[0]).exists()]
    lacking = [p for p in possible if not _file(folder, p).exists()]
    if lacking and say:
        say(f"simulating {', '.join(p.name for p in lacking)}")
    # Long ones first, so that no worker is left waiting for one.
    lacking.sort(key=lambda p: -_size(p))
    if workers > 1 and len(lacking) > 1:
        with ProcessPoolExecutor(workers) as executor:
            list(executor.map(partial(_build, folder), lacking))
    else:
        for plan in lacking:
            _build(folder, plan)
    visits = []
    for plan in possible:
        visits += pickle.loads(_file(folder, plan).read_bytes())["visits"]
    return [_visit_of(v) for v in visits]


def _size(plan: Plan) -> float:
    s = plan.settings()
    return s.n_columns * s.n_rows * sum(s.n_exposures) * (3.0 if plan.crowded else 1.0)


def _file(folder: Path, plan: Plan) -> Path:
    key = hashlib.sha1(json.dumps([repr(plan), plan.settings().model_dump()]).encode()).hexdigest()
    return folder / f"{plan.name.replace(' ', '_')}-{key[:12]}.pickle"


def _visit_of(values: dict[str, Any]) -> PoolVisit:
    images = tuple(PoolImage(**image) for image in values["images"])
    return PoolVisit(**{**values, "images": images, "objects": SkyObjects(**values["objects"])})


def _plain(thing: Any) -> dict[str, Any]:
    """Return the members of a dataclass: pickled so, they do not depend on where it is defined."""
    return {f.name: getattr(thing, f.name) for f in fields(thing)}


def _build(folder: Path, plan: Plan) -> None:
    """Simulate a visit, detect its sources with each preset, and keep what trials need."""
    started = time.process_time()
    visits = [
        {**_plain(v), "images": [_plain(i) for i in v.images], "objects": _plain(v.objects)}
        for v in build_visits(plan)
    ]
    target = _file(folder, plan)
    partial_file = target.with_suffix(f".{os.getpid()}.part")
    partial_file.write_bytes(pickle.dumps({"visits": visits}))
    partial_file.replace(target)
    print(f"{plan.name}: {time.process_time() - started:.0f} s of CPU", file=sys.stderr, flush=True)


def build_visits(plan: Plan) -> list[PoolVisit]:
    """Return a visit of the pool, once per preset."""
    settings = plan.settings()
    random = np.random.default_rng([settings.seed, 77])
    if plan.real is not None:
        settings, scene = _real_scene(plan, settings, random)
    else:
        scene = make_scene(settings)
    visit = simulate_scene(settings, scene)
    objects = sky_objects(scene, *sky_positions(settings, scene), epoch_jyear(settings), random)
    images: dict[str, list[PoolImage]] = {preset: [] for preset in plan.presets}
    with tempfile.TemporaryDirectory() as name:
        files = write_visit(visit, Path(name))
        for path, simulated in zip(files.images, visit.images, strict=True):
            image = read_drc(path)
            rays = crmask.run(image).grown
            for preset in plan.presets:
                found = detect.run(image, Settings.load(preset=preset).detect)
                sources = found.sources.copy()
                sources["on_cr_mask"] = mask_shares(found.segmentation, rays, sources["id"])
                true = simulated.wcs_true.wcs
                images[preset].append(
                    PoolImage(
                        filter=image.meta.filter,
                        n_exposures=image.meta.n_exposures,
                        sources=sources,
                        shape=image.shape,
                        mjd=image.meta.mjd_mid,
                        exptime_s=image.meta.exptime_s,
                        zeropoint_ab=ab_zeropoint(image.meta.photflam, image.meta.photplam),
                        saturation_rate=image.meta.saturation_rate,
                        crval=np.array(true.crval),
                        crpix=np.array(true.crpix),
                        cd=np.array(true.cd),
                        shows=_shown(simulated.truth, sources, image.meta.saturation_rate),
                    )
                )
    return [
        PoolVisit(
            f"{plan.name}, {preset}", plan.crowded, plan.real is not None, tuple(taken), objects
        )
        for preset, taken in images.items()
    ]


def _shown(truth: Table, sources: Table, saturation_rate: float) -> Bools:
    """Tell which objects have a detection on their true place that is far from saturation."""
    from scipy.spatial import cKDTree

    place = np.column_stack([truth["x"], truth["y"]])
    shown = np.zeros(len(truth), dtype=bool)
    if not len(sources):
        return shown
    distance, row = cKDTree(np.column_stack([sources["x"], sources["y"]])).query(place)
    peak = np.asarray(sources["peak"])[row]
    shown = (distance <= USABLE_PX) & (peak < USABLE_PEAK * saturation_rate)
    saturated = place[np.asarray(truth["saturated"])]
    if len(saturated):
        shown &= cKDTree(saturated).query(place)[0] > HALO_PX
    return np.asarray(shown)


def _real_scene(
    plan: Plan, settings: SimulateSettings, random: np.random.Generator
) -> tuple[SimulateSettings, Scene]:
    """Return a scene of real stars of Gaia, with fainter ones that Gaia does not see."""
    assert plan.real is not None
    file, east, north = plan.real
    table = Table.read(DATA / file, fill_values=[("", "0"), ("null", "0")])
    stars = from_table(table, file)
    ra, dec = np.asarray(stars.table["ra"]), np.asarray(stars.table["dec"])
    middle = (float(np.median(ra)), float(np.median(dec)))
    ra0, dec0 = sky_of_tangent(np.array([[east, north]]) * 60_000.0, *middle)
    settings = settings.replace(ra_deg=float(ra0[0]), dec_deg=float(dec0[0]), stars_per_arcmin2=0.0)
    # The stars as they are when the images are taken.
    ra, dec = stars.positions_at(settings.mjd_start)
    xi, eta = tangent_mas(ra, dec, settings.ra_deg, settings.dec_deg).T / 1000.0
    angle = np.radians(settings.position_angle_deg)
    u = -np.cos(angle) * xi + np.sin(angle) * eta
    v = np.sin(angle) * xi + np.cos(angle) * eta
    galaxies = make_scene(settings)
    reach = np.array([np.abs(galaxies.u).max(), np.abs(galaxies.v).max()])
    inside = (np.abs(u) < reach[0]) & (np.abs(v) < reach[1])
    motion = [np.nan_to_num(np.asarray(stars.table[n]))[inside] for n in ("pmra", "pmdec")]
    mag = np.asarray(stars.table["phot_g_mean_mag"])[inside] + 0.1
    n_real = int(inside.sum())
    faint = random.choice(n_real, n_real)
    places = np.vstack(
        [
            np.column_stack([u[inside], v[inside]]),
            np.column_stack([u[inside], v[inside]])[faint] + random.normal(0, 5.0, (n_real, 2)),
        ]
    )
    n = 2 * n_real
    nothing = np.zeros(n)
    cluster = Scene(
        u=places[:, 0],
        v=places[:, 1],
        mag=np.concatenate([np.nan_to_num(mag, nan=20.0), random.uniform(21.0, 26.0, n_real)]),
        colour=random.uniform(0.3, 2.0, n),
        is_star=np.ones(n, dtype=bool),
        re_arcsec=nothing,
        axis_ratio=nothing + 1.0,
        angle_rad=nothing,
        sersic_index=nothing,
        pm_ra=np.concatenate([motion[0], motion[0][faint]]),
        pm_dec=np.concatenate([motion[1], motion[1][faint]]),
    )
    both = {
        name: np.concatenate([getattr(cluster, name), getattr(galaxies, name)])
        for name in vars(cluster)
    }
    return settings, Scene(**both)


# ---- one trial -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """A field to align, and the truth.

    Attributes
    ----------
    seed, kind : of the trial
    visit : of the pool
    images, reference : what `align.run` gets
    true_wcs : of each image
    n_stars : usable reference stars
    formal_mas : error per axis of the mean of their positions at the epoch
    n_exposures : of each image
    """

    seed: int
    kind: str
    visit: str
    images: tuple[align.FieldImage, ...]
    reference: ReferenceStars
    true_wcs: tuple[WCS, ...]
    n_stars: int
    formal_mas: float
    n_exposures: tuple[int, ...]


def make_trial(pool: Sequence[PoolVisit], seed: int) -> Trial:
    """Return the trial of a seed: the same from the same pool, whatever was done before."""
    random = np.random.default_rng([seed, 4])
    kind = KINDS[seed % len(KINDS)]
    wanted = NUMBERS_OF_STARS[(seed // len(KINDS)) % len(NUMBERS_OF_STARS)]
    choices = _choices(pool, kind)
    if not choices:  # a small pool
        kind = "field"
        choices = _choices(pool, kind)
    possible = np.array([capacity(pool[v], i) for v, i in choices])
    fits = np.flatnonzero(possible >= 1.2 * wanted)
    if not fits.size:
        fits = np.flatnonzero(possible == possible.max())
    at, taken = choices[int(random.choice(fits))]
    visit = pool[at]
    chosen = [visit.images[k] for k in taken]
    if kind == "elsewhere":
        stars = _stars_from_elsewhere(pool, at, random)
        usable = np.zeros(len(stars), dtype=bool)
    else:
        stars, usable = _drawn_stars(visit, chosen, wanted, random)
    reference = from_table(stars, "simulated stars, Gaia DR3")
    return Trial(
        seed=seed,
        kind=kind,
        visit=visit.name,
        images=_with_wrong_headers(chosen, random),
        reference=reference,
        true_wcs=tuple(image.wcs() for image in chosen),
        n_stars=int(usable.sum()),
        formal_mas=_formal_error_mas(reference, usable, chosen[0].mjd),
        n_exposures=tuple(image.n_exposures for image in chosen),
    )


def _choices(pool: Sequence[PoolVisit], kind: str) -> list[tuple[int, tuple[int, ...]]]:
    """Return the (visit, images) that may serve for a kind of trial."""
    out = []
    for v, visit in enumerate(pool):
        every = tuple(range(len(visit.images)))
        alone = [(k,) for k in every if visit.images[k].n_exposures == 1]
        if kind == "single":
            out += [(v, k) for k in alone]
        elif kind == "elsewhere":
            out += [(v, every), *((v, k) for k in alone)]
        elif visit.crowded == (kind == "crowded"):
            out += [(v, every), *((v, pair) for pair in pairwise(every))]
    return out


def _listed(objects: SkyObjects, visit: PoolVisit, random: np.random.Generator) -> Table:
    return gaia_like(objects, random, crowding=0.15 if visit.crowded else 0.0)


def _usable(stars: Table, objects: SkyObjects, images: Sequence[PoolImage]) -> Bools:
    rows = object_rows(stars)
    shown = np.any([image.shows for image in images], axis=0)
    known = rows < len(shown)
    return is_reliable(stars, objects) & known & shown[np.where(known, rows, 0)]


def _drawn_stars(
    visit: PoolVisit, images: Sequence[PoolImage], wanted: int, random: np.random.Generator
) -> tuple[Table, Bools]:
    """Return reference stars of which as many are usable as wanted (or possible)."""
    objects = visit.objects
    if not visit.real:
        n = len(objects)
        tail = random.uniform(size=n) < MOTION_TAIL_SHARE
        sigma = np.where(tail, MOTION_TAIL_MAS_YR, 5.0) * objects.is_star
        objects = replace(
            objects, pm_ra=sigma * random.normal(size=n), pm_dec=sigma * random.normal(size=n)
        )
    everything = _with_surroundings(objects, visit, images, random)
    stars = _listed(everything, visit, random)
    usable = _usable(stars, everything, images)
    n = max(k for k in NUMBERS_OF_STARS if k <= min(wanted, int(usable.sum())))
    left = with_n_usable(stars, usable, n, random)
    return left, np.isin(left["source_id"], stars["source_id"][usable])


def _with_surroundings(
    objects: SkyObjects,
    visit: PoolVisit,
    images: Sequence[PoolImage],
    random: np.random.Generator,
) -> SkyObjects:
    """Add stars around the images, as dense as those in them."""
    centre = images[0].crval
    corners = np.vstack([_outline(image, centre) for image in images])
    low, high = corners.min(axis=0) - MARGIN_ARCSEC, corners.max(axis=0) + MARGIN_ARCSEC
    bright = np.flatnonzero(objects.is_star & (objects.g_mag < 21.4))
    ny, nx = images[0].shape
    area = nx * ny * abs(np.linalg.det(images[0].cd)) * 3600.0**2
    if not bright.size:
        return objects
    n = random.poisson(len(bright) / area * float(np.prod(high - low)))
    ra, dec = sky_of_tangent(1000.0 * random.uniform(low, high, (n, 2)), *centre)
    away = np.ones(n, dtype=bool)
    for image in visit.images:
        x, y = image.wcs().all_world2pix(ra, dec, 0)
        ny, nx = image.shape
        away &= (x < -60) | (x > nx + 60) | (y < -60) | (y > ny + 60)
    like = random.choice(bright, int(away.sum()))
    added = {"ra_deg": ra[away], "dec_deg": dec[away]}
    values = {
        f.name: np.concatenate(
            [getattr(objects, f.name), added.get(f.name, getattr(objects, f.name)[like])]
        )
        for f in fields(objects)
        if f.name != "epoch"
    }
    return SkyObjects(**values, epoch=objects.epoch)


def _outline(image: PoolImage, centre: Floats) -> Floats:
    """Return the corners of an image in the plane tangent at a point, arcsec."""
    ny, nx = image.shape
    ra, dec = image.wcs().all_pix2world([0, nx - 1, nx - 1, 0], [0, 0, ny - 1, ny - 1], 0)
    return tangent_mas(ra, dec, *centre) / 1000.0


def _stars_from_elsewhere(pool: Sequence[PoolVisit], at: int, random: np.random.Generator) -> Table:
    """Return reference stars that have nothing to do with the images.

    Those of another visit brought here, or those of this one mirrored: the latter are
    as dense and as clustered as the right ones.
    """
    source = pool[at] if random.uniform() < 0.5 else pool[int(random.integers(len(pool)))]
    objects = source.objects
    there = source.images[0].crval
    xy = tangent_mas(objects.ra_deg, objects.dec_deg, *there)
    angle = random.uniform(0.0, 2.0 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    mirrored = xy @ np.array([[c, s], [s, -c]])
    ra, dec = sky_of_tangent(mirrored, *pool[at].images[0].crval)
    stars = _listed(replace(objects, ra_deg=ra, dec_deg=dec), source, random)
    share = float(random.choice([0.05, 0.2, 0.5, 1.0]))
    return stars[random.uniform(size=len(stars)) < share]


def _with_wrong_headers(
    images: Sequence[PoolImage], random: np.random.Generator
) -> tuple[align.FieldImage, ...]:
    """Give the images headers that are off: together, and a little from one another."""
    size = MAX_SHIFT_ARCSEC * 1000.0 * np.sqrt(random.uniform())
    angle = random.uniform(0.0, 2.0 * np.pi)
    common = size * np.array([np.cos(angle), np.sin(angle)])
    roll = random.uniform(-MAX_ROLL_DEG, MAX_ROLL_DEG)
    large = random.uniform() < LARGE_DIFFERENCE_SHARE
    spread = LARGE_DIFFERENCE_MAS if large else DIFFERENCE_MAS
    out = []
    for k, image in enumerate(images):
        own = random.uniform(-1, 1, 2) / np.sqrt(2.0) * spread * (k > 0)
        own_roll = random.uniform(-1, 1) * DIFFERENCE_DEG * (k > 0)
        shift = common + own
        # No image is off by more than was promised.
        shift *= min(1.0, MAX_SHIFT_ARCSEC * 1000.0 / float(np.hypot(*shift)))
        out.append(
            align.FieldImage(
                name=f"{image.filter}-{k}",
                filter=image.filter,
                sources=image.sources,
                wcs=image.wcs(*shift, float(np.clip(roll + own_roll, -MAX_ROLL_DEG, MAX_ROLL_DEG))),
                wcsname="IDC_0461802ej",
                shape=image.shape,
                mjd=image.mjd,
                exptime_s=image.exptime_s,
                zeropoint_ab=image.zeropoint_ab,
                saturation_rate=image.saturation_rate,
            )
        )
    return tuple(out)


def _formal_error_mas(reference: ReferenceStars, usable: Bools, mjd: float) -> float:
    """Return the error per axis of the weighted mean of the usable stars at an epoch."""
    errors = reference.errors_at(mjd, AlignSettings().typical_motion_mas_yr)
    if not usable.any():
        return float("inf")
    variance = [1.0 / np.sum(np.asarray(e)[usable] ** -2.0) for e in errors]
    return float(np.sqrt(np.mean(variance)))


# ---- what came out ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a trial gave.

    Attributes
    ----------
    seed, kind, visit, n_stars, n_exposures, formal_mas : of the trial
    grades : one letter per image
    error_mas : length of the error of each image's frame, rms over the image
    stated_mas : its stated error, both axes
    field_mas : error of the field's mean frame, rms per axis
    image_mas : the largest of the images' errors, rms per axis
    pulls : errors over ``astrom_err`` on the grids of the images that are on Gaia
    apart_mas : largest distance of two images' mean frames from each other
    seconds : per image
    reasons : of the images
    """

    seed: int
    kind: str
    visit: str
    n_stars: int
    n_exposures: tuple[int, ...]
    formal_mas: float
    grades: str
    error_mas: tuple[float, ...]
    stated_mas: tuple[float, ...]
    field_mas: float
    image_mas: float
    apart_mas: float
    pulls: Floats
    seconds: float
    reasons: tuple[str, ...]

    @property
    def aligned(self) -> bool:
        """All images have grade A to C."""
        return set(self.grades) <= set("ABC")

    @property
    def wrong(self) -> bool:
        """An image's frame is off by much more than stated, and it is not graded F.

        With stars from elsewhere no frame can be Gaia's at all.
        """
        if self.kind == "elsewhere" and set(self.grades) & set("ABCD"):
            return True
        return any(
            grade != "F" and error > max(WRONG_MAS, WRONG_FACTOR * stated)
            for grade, error, stated in zip(
                self.grades, self.error_mas, self.stated_mas, strict=True
            )
        )

    @property
    def criterion_mas(self) -> float:
        """What the field's error may be, by the number of stars; infinite below 5."""
        if self.n_stars < 5:
            return float("inf")
        return max(1.0 if self.n_stars >= 20 else 4.0, 1.2 * self.formal_mas)


def run_trial(trial: Trial, settings: AlignSettings) -> Outcome:
    """Align the field of a trial and compare the frames with the truth."""
    started = time.perf_counter()
    found = align.run(trial.images, trial.reference, settings)
    seconds = (time.perf_counter() - started) / len(trial.images)
    offsets, pulls = [], []
    for image, result, true in zip(trial.images, found.images, trial.true_wcs, strict=True):
        offset, stated = frame_errors_mas(result, true, image.shape)
        offsets.append(offset)
        if result.grade in "ABCD":
            pulls.append((offset / stated[:, np.newaxis]).ravel())
    rms = [float(np.sqrt(np.mean(np.sum(o**2, axis=1)))) for o in offsets]
    mean = np.mean([o.mean(axis=0) for o in offsets], axis=0)
    apart = [
        float(np.hypot(*(a.mean(axis=0) - b.mean(axis=0))))
        for i, a in enumerate(offsets)
        for b in offsets[:i]
    ]
    return Outcome(
        seed=trial.seed,
        kind=trial.kind,
        visit=trial.visit,
        n_stars=trial.n_stars,
        n_exposures=trial.n_exposures,
        formal_mas=trial.formal_mas,
        grades="".join(result.grade for result in found.images),
        error_mas=tuple(rms),
        stated_mas=tuple(float(np.sqrt(2.0) * r.astrom_err_mas) for r in found.images),
        field_mas=float(np.sqrt(np.mean(mean**2))),
        image_mas=max(rms) / np.sqrt(2.0),
        apart_mas=max(apart, default=0.0),
        pulls=np.concatenate(pulls) if pulls else np.empty(0),
        seconds=seconds,
        reasons=tuple(result.reason for result in found.images),
    )


def frame_errors_mas(
    result: align.AlignResult, true: WCS, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Return the errors (25, 2) of a frame on a grid of an image, and those stated (25,), mas."""
    ny, nx = shape
    y, x = (v.ravel() for v in np.mgrid[0:1:5j, 0:1:5j])
    x, y = x * (nx - 1), y * (ny - 1)
    ra, dec = true.all_pix2world(x, y, 0)
    got_ra, got_dec = result.wcs.all_pix2world(x, y, 0)
    d_ra = (got_ra - ra + 180.0) % 360.0 - 180.0
    offset = np.column_stack([d_ra * np.cos(np.radians(dec)), got_dec - dec]) * 3.6e6
    along = result.frame_error.at(np.asarray(got_ra), np.asarray(got_dec))
    return offset, np.sqrt(0.5 * (along[0] ** 2 + along[1] ** 2))


# ---- tables and criteria ---------------------------------------------------------------------


def robust_width(values: Floats) -> float:
    """Return half of the range that holds 68.3 % of the values around 0; NaN without any."""
    return float(np.percentile(np.abs(values), 68.27)) if values.size else float("nan")


def group_of(outcome: Outcome) -> tuple[int, str]:
    """Return the number of stars as the table has it (-1: elsewhere), and the exposures."""
    stars = max(n for n in NUMBERS_OF_STARS if n <= outcome.n_stars)
    if outcome.kind == "elsewhere":
        stars = -1
    if len(outcome.n_exposures) == 1:
        exposures = "1, one image"
    elif outcome.kind == "crowded":
        exposures = "crowded"
    else:
        exposures = "1" if max(outcome.n_exposures) == 1 else "1 to 3"
    return stars, exposures


COLUMNS = (
    "Gaia stars",
    "exposures per filter",
    "trials",
    "grades A to C",
    "wrong",
    "error of the field, mas: median",
    "99 %",
    "over the criterion, rms",
    "worst image over twice the criterion, rms",
    "images from each other, mas: 99 %",
    "error / stated, width",
    "s per image",
)


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the Markdown table by number of stars and exposures."""
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(group_of(outcome), []).append(outcome)
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
    ]
    for (stars, exposures), some in sorted(groups.items()):
        lines.append(f"| {'elsewhere' if stars < 0 else stars} | {exposures} | {_cells(some)} |")
    return lines


def _cells(some: list[Outcome]) -> str:
    aligned = [o for o in some if o.aligned]
    errors = np.array([o.field_mas for o in aligned])
    ratio, image_ratio = ratios(aligned)
    width = robust_width(np.concatenate([o.pulls for o in some]))
    apart = [o.apart_mas for o in some if len(o.grades) > 1 and "F" not in o.grades]
    seconds = np.median([o.seconds for o in some])
    known = bool(aligned) and aligned[0].kind != "elsewhere"
    return " | ".join(
        [
            f"{len(some)}",
            f"{len(aligned)}",
            f"{sum(o.wrong for o in some)}",
            f"{np.median(errors):.2f}" if known else "",
            f"{np.percentile(errors, 99):.2f}" if known else "",
            _number(_rms(ratio)),
            _number(_rms(image_ratio)),
            f"{np.percentile(apart, 99):.1f}" if apart else "",
            _number(width),
            f"{seconds:.2f}",
        ]
    )


def ratios(outcomes: Iterable[Outcome]) -> tuple[Floats, Floats]:
    """Return errors of the fields over the criterion, and of their worst images over twice it."""
    known = [o for o in outcomes if np.isfinite(o.criterion_mas)]
    return (
        np.array([o.field_mas / o.criterion_mas for o in known]),
        np.array([o.image_mas / (2.0 * o.criterion_mas) for o in known]),
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


@dataclass(frozen=True)
class Criterion:
    """One demand: what was found, what is wanted, and the seeds that count against it."""

    name: str
    found: str
    met: bool
    seeds: tuple[int, ...] = field(default=())


def criteria(outcomes: Sequence[Outcome]) -> list[Criterion]:
    """Return all demands on a set of trials."""
    out = []
    enough = [o for o in outcomes if o.n_stars >= 5 and o.kind != "elsewhere"]
    lost = [o for o in enough if not o.aligned]
    if enough:
        share = 1.0 - len(lost) / len(enough)
        out.append(
            Criterion(
                "grades A to C with 5 or more stars: at least 99 %",
                f"{len(enough) - len(lost)} of {len(enough)} = {100 * share:.1f} %",
                share >= 0.99,
                tuple(o.seed for o in lost),
            )
        )
    wrong = [o for o in outcomes if o.wrong]
    out.append(
        Criterion(
            "wrong alignments: none",
            f"{len(wrong)} of {len(outcomes)}",
            not wrong,
            tuple(o.seed for o in wrong),
        )
    )
    for low, high, text in ((20, 10**6, "20 or more stars"), (5, 19, "5 to 19 stars")):
        some = [o for o in enough if low <= o.n_stars <= high and o.aligned]
        if not some:
            continue
        for values, what in zip(ratios(some), ("field", "worst image"), strict=True):
            far = tuple(o.seed for o, v in zip(some, values, strict=True) if v > 3.0)
            out.append(
                Criterion(
                    f"error of the {what} over the criterion with {text}, rms: at most 1",
                    f"{_rms(values):.2f} (99 %: {np.percentile(values, 99):.2f})",
                    _rms(values) <= 1.0,
                    far,
                )
            )
    pulls = [o.pulls for o in outcomes if o.kind != "elsewhere" and not o.wrong]
    width = robust_width(np.concatenate(pulls)) if pulls else float("nan")
    out.append(
        Criterion(
            "error over stated error, robust width: 0.9 to 1.1", f"{width:.2f}", 0.9 <= width <= 1.1
        )
    )
    return out


# ---- speed -----------------------------------------------------------------------------------


def crowd(n_detections: int, n_stars: int, seed: int = 1) -> Trial:
    """Return a field of two full frames with many detections and stars, without pixels."""
    random = np.random.default_rng(seed)
    ny, nx = 4300, 4200
    wcs = PoolImage(
        "F625W", 2, Table(), (ny, nx), 56200.0, 1200.0, 26.0, 60.0,
        np.array([150.0, 2.0]), np.array([2100.0, 2150.0]),
        np.array([[-1.0, 0.0], [0.0, 1.0]]) * 0.05 / 3600.0, np.empty(0, bool),
    )  # fmt: skip
    # Half as many stars as Gaia has lie on the images and are seen there.
    half = n_stars // 2
    place = random.uniform(0, 1, (n_detections, 2)) * [nx - 1, ny - 1]
    mag = np.sort(random.uniform(19.0, 26.0, n_detections))
    images = []
    for k in range(2):
        at = place + 0.03 * random.normal(size=place.shape)
        rate = 10 ** (-0.4 * (mag - 26.0))
        images.append(
            replace(
                wcs,
                sources=Table(
                    {
                        "id": np.arange(1, n_detections + 1), "x": at[:, 0], "y": at[:, 1],
                        "flux": rate, "peak": 0.1 * rate,
                        "semimajor_px": np.full(n_detections, 1.2),
                        "semiminor_px": np.full(n_detections, 1.1),
                        "ellipticity": np.full(n_detections, 0.05),
                        "noise": np.full(n_detections, 0.01),
                        "n_exp": np.full(n_detections, 2.0),
                        "on_cr_mask": np.zeros(n_detections),
                    }
                ),
                filter=f"F{k}",
            )
        )  # fmt: skip
    seen = random.choice(min(n_detections // 3, 2 * half), half, replace=False)
    ra, dec = wcs.wcs().all_pix2world(*place[seen].T, 0)
    low, high = np.array([-150.0, -150.0]), np.array([150.0, 150.0])
    more = sky_of_tangent(1000.0 * random.uniform(low, high, (n_stars - half, 2)), *wcs.crval)
    n = n_stars
    stars = Table(
        {
            "source_id": np.arange(1, n + 1),
            "ra": np.concatenate([ra, more[0]]), "dec": np.concatenate([dec, more[1]]),
            "ra_error": np.full(n, 0.4), "dec_error": np.full(n, 0.4),
            "pmra": np.zeros(n), "pmdec": np.zeros(n),
            "pmra_error": np.full(n, 0.5), "pmdec_error": np.full(n, 0.5),
            "ref_epoch": np.full(n, 2016.0),
            "phot_g_mean_mag": np.concatenate([mag[seen], random.uniform(18, 21, n - half)]),
        }
    )  # fmt: skip
    usable = np.arange(n) < half
    reference = from_table(stars, "many stars, Gaia DR3")
    return Trial(
        -1, "crowd", "", _with_wrong_headers(images, random), reference,
        tuple(i.wcs() for i in images), half, _formal_error_mas(reference, usable, 56200.0), (2, 2),
    )  # fmt: skip


def timing(settings: AlignSettings) -> list[Criterion]:
    """Return how long 5,000 detections and 3,000 stars take, and twice as many."""
    seconds = []
    for factor in (1, 2):
        trial = crowd(5000 * factor, 3000 * factor)
        seconds.append(min(run_trial(trial, settings).seconds for _ in range(3)))
    growth = seconds[1] / seconds[0]
    return [
        Criterion(
            "seconds per image for 5,000 detections and 3,000 stars: below 1",
            f"{seconds[0]:.2f}",
            seconds[0] < 1.0,
        ),
        Criterion(
            "growth for twice as many of both: below 3 (a product would give 4)",
            f"{growth:.2f} ({seconds[1]:.2f} s)",
            growth < 3.0,
        ),
    ]


# ---- command line ----------------------------------------------------------------------------


def describe(outcome: Outcome) -> str:
    """Return a trial in one line."""
    errors = ", ".join(
        f"{e:.1f} ({s:.1f})" for e, s in zip(outcome.error_mas, outcome.stated_mas, strict=True)
    )
    return (
        f"--only {outcome.seed}: {outcome.kind}, {outcome.visit}, {outcome.n_stars} stars, "
        f"exposures {outcome.n_exposures}, grades {outcome.grades}, error (stated) {errors} mas, "
        f"criterion {outcome.criterion_mas:.1f}, {outcome.reasons[0]}"
    )


def print_details(outcome: Outcome) -> None:
    """Print all that is known of a trial, each image's result included."""
    print(describe(outcome) + (" WRONG" if outcome.wrong else ""))
    print(
        f"  field {outcome.field_mas:.2f}, worst image {outcome.image_mas:.2f}, formal "
        f"{outcome.formal_mas:.2f}, apart {outcome.apart_mas:.2f} mas, "
        f"{outcome.seconds:.2f} s per image"
    )
    trial = make_trial(_POOL, outcome.seed)
    found = align.run(trial.images, trial.reference, AlignSettings())
    for image, result in zip(trial.images, found.images, strict=True):
        print(f"  {image.name}, {len(image.sources)} detections:")
        for name, value in result.summary().items():
            print(
                f"    {name} = {value:.6g}" if isinstance(value, float) else f"    {name} = {value}"
            )


_POOL: list[PoolVisit] = []


def _start(folder: Path, plans: Sequence[Plan]) -> None:
    """Read the pool once per worker."""
    _POOL[:] = load_pool(folder, plans)


def _outcome(seed: int) -> Outcome:
    return run_trial(make_trial(_POOL, seed), AlignSettings())


def outcomes_of(
    folder: Path, plans: Sequence[Plan], seeds: Sequence[int], workers: int
) -> list[Outcome]:
    """Return the outcomes of trials, in the order of their seeds."""
    if workers == 1:
        _start(folder, plans)
        return [_outcome(seed) for seed in seeds]
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(folder, plans)) as executor:
        return list(executor.map(_outcome, seeds, chunksize=5))


def main() -> int:
    """Parse the arguments, run the trials, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, help="number of trials (1000, with --quick 40)")
    parser.add_argument("--quick", action="store_true", help="a small pool")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--pool", type=Path, help="folder in which the simulated visits are kept")
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    parser.add_argument("--only", type=int, nargs="+", metavar="SEED", help="these trials alone")
    chosen = parser.parse_args()
    plans = QUICK_PLANS if chosen.quick else PLANS
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.pool or Path(name)
        load_pool(folder, plans, chosen.workers, partial(print, file=sys.stderr, flush=True))
        if chosen.only:
            for outcome in outcomes_of(folder, plans, chosen.only, 1):
                print_details(outcome)
            return 0
        n = chosen.trials or (40 if chosen.quick else 1000)
        seeds = range(chosen.first, chosen.first + n)
        started = time.perf_counter()
        outcomes = outcomes_of(folder, plans, seeds, chosen.workers)
        print(f"{n} trials in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print("\n".join(table(outcomes)))
    demands = criteria(outcomes) + timing(AlignSettings())
    print("\n| demand | found | met |\n| --- | --- | --- |")
    for demand in demands:
        print(f"| {demand.name} | {demand.found} | {'yes' if demand.met else '**no**'} |")
    failing = dict.fromkeys(seed for demand in demands for seed in demand.seeds)
    by_seed = {outcome.seed: outcome for outcome in outcomes}
    for seed in failing:
        print(describe(by_seed[seed]), file=sys.stderr)
    return 0 if all(demand.met for demand in demands) else 1


if __name__ == "__main__":
    sys.exit(main())
