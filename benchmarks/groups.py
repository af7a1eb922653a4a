"""Objects over visits against truth: joins, identifiers, colours, limits, motions, variables.

    python benchmarks/groups.py [RECIPE ...] [--seeds 100 101] [--keep FOLDER]

Simulates groups of visits of one sky (`bycatch simulate --epochs`), whose pointings, rolls,
filters, depths and epochs differ, runs `bycatch run --preset deep` on all visits but the last, and
again with it, and compares the objects with the truth.  Beside the sky's own objects there are
faint stars, near the 5-sigma limit of a filter, and blank places; both are in the list of positions
(`--sources`).

A true object is **shown** by an image where the nearest detection lies within 0.15 arcsec and the
nearest true object to that is this one.  It is **split** if two images show it in different rows of
the table, and two are **joined** if one row holds detections of both, 0.15 arcsec or more apart.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from common import command, head, is_alone, row
from families import CONFIRMING, GROUPS, settings_of
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bycatch import photcal
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats, read_table
from bycatch.settings import SimulateSettings
from bycatch.simulate import simulate_group, write_group
from bycatch.simulate.geometry import detector_of, plane_to_sky, sky_to_plane
from bycatch.simulate.group import Sky, make_sky, visits_of
from bycatch.simulate.scene import join_scenes, take
from bycatch.simulate.throughput import photflam_photplam, sky_rate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

RECIPES = ("epochs", "mixed", "dense")
SAME_ARCSEC = 0.15
BLANK_ARCSEC = 0.9
"""From all true objects, and from one another; twice as far from those brighter than 22 mag."""
LIMIT_MAG = 0.75
"""Faint stars this near to the limit tell how many at the limit exceed it: by how many fluxes are
above the true ones, which does not depend on how near they are."""
OFF = ("E", "F")
"""Grades of frames that are off by the pointing error: nothing lies at the places of a list."""
UNUSUAL = Flag.BLENDED | Flag.SATURATED | Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.SPIKE | Flag.HALO
SNR_BINS = (5.0, 20.0, 50.0, 200.0)
DAYS_PER_YEAR = 365.25
AXES = ("pmra", "pmdec")


# ---- the groups ---------------------------------------------------------------------------------


def group_folder(settings: SimulateSettings, folder: Path) -> Path:
    """Return a folder with a group and a list of blank places and faint stars; made if need be."""
    if (folder / "list.ecsv").is_file():
        return folder
    sky, places = with_faint_stars(settings, make_sky(settings))
    write_group(simulate_group(settings, sky), folder)
    places.write(folder / "list.ecsv", format="ascii.ecsv", overwrite=True)
    return folder


def with_faint_stars(settings: SimulateSettings, sky: Sky) -> tuple[Sky, Table]:
    """Return the sky with stars near the limit in half of its blank places, and all of these."""
    visits = visits_of(settings)
    random = np.random.default_rng([settings.seed, 18])
    scene = sky.scene
    detector = detector_of(settings)
    size = 0.5 * detector.half_size * 0.05 * 2
    tries = random.uniform(-size, size, (4000, 2))
    ra, dec = plane_to_sky(settings, *tries.T)
    for visit in visits:
        x, y = detector.from_plane(*sky_to_plane(visit, ra, dec))
        margin = 30.0
        inside = (x > margin) & (x < detector.columns - margin) & (y > margin)
        inside &= y < 2 * detector.rows + detector.gap - margin
        tries, ra, dec = tries[inside], ra[inside], dec[inside]
    bright = np.where(scene.mag < 22.0, 2.0 * BLANK_ARCSEC, BLANK_ARCSEC) + 1.5 * scene.re_arcsec
    known = [np.column_stack([scene.u, scene.v])]
    reach = [bright]
    chosen = []
    for k, place in enumerate(tries):
        if all((np.hypot(*(at - place).T) > r).all() for at, r in zip(known, reach, strict=True)):
            chosen.append(k)
            known.append(place[np.newaxis])
            reach.append(np.array([BLANK_ARCSEC]))
    places = Table({"ra": ra[chosen], "dec": dec[chosen]})
    is_star = np.arange(len(chosen)) % 2 == 0
    # Each near the limit in one filter: all of one colour.
    which = np.array(chosen, dtype=np.int64)[is_star]
    limits = [expected_limit(visits, name) for name in settings.filters]
    n = len(which)
    pivots = [photflam_photplam(name)[1] for name in settings.filters]
    filter_of = np.arange(n) % len(limits)
    colour = 1.0
    mag = np.array(limits)[filter_of] - colour * np.log(6300.0 / np.array(pivots)[filter_of])
    mag = mag + random.uniform(-0.15, 0.15, n)
    template = take(scene, np.zeros(n, dtype=np.int64))
    nothing = np.zeros(n)
    stars = replace(
        template, u=tries[which, 0], v=tries[which, 1], mag=mag, colour=nothing + colour,
        is_star=np.ones(n, dtype=bool), re_arcsec=nothing, axis_ratio=nothing + 1.0,
        angle_rad=nothing, sersic_index=nothing, pm_ra=nothing, pm_dec=nothing,
    )  # fmt: skip
    object_id = np.zeros(len(places), dtype=np.int64)
    object_id[is_star] = len(scene.mag) + 1 + np.arange(n)
    places["id"] = object_id
    variation = np.hstack([sky.variation_mag, np.zeros((len(visits), n))])
    parallax = np.concatenate([sky.parallax_mas, nothing])
    return Sky(join_scenes(scene, stars), parallax, variation), places


def expected_limit(visits: Sequence[SimulateSettings], name: str) -> float:
    """Return about the 5-sigma limit of a star in all images of a filter, AB mag."""
    flam, plam = photflam_photplam(name)
    variance = 0.0
    for visit in visits:
        for band, n in zip(visit.filters, visit.n_exposures, strict=True):
            if band == name:
                sky_e = (sky_rate(name, visit) + visit.dark_rate) * visit.exptime_s
                one = 28.0 * (sky_e + visit.read_noise_e**2) / (0.8 * visit.exptime_s) ** 2
                variance += n / one
    return photcal.ab_zeropoint(flam, plam) - 2.5 * np.log10(5.0 / np.sqrt(variance))


def run_group(folder: Path, out: Path, n_visits: int) -> None:
    """Run the chain on all visits but the last, then on all."""
    raw = folder / "raw"
    roots = sorted(raw.glob("*.fits"))
    last = sorted({path.name[4:6] for path in roots})[n_visits - 1]
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    words = ("-o", out, "--gaia", folder / "gaia.ecsv", "--preset", "deep", "-q")
    for name, keeps in (("before", False), ("after", True)):
        for path in roots:
            if (path.name[4:6] == last) == keeps:
                shutil.copy(path, part / path.name)
        command("run", part, *words, *(("--sources", folder / "list.ecsv") if keeps else ()))
        if name == "before":
            shutil.copy(_table(out, "objects"), folder / "before.ecsv")


def _table(out: Path, kind: str) -> Path:
    (path,) = out.glob(f"objects/*/*_{kind}.ecsv")
    return path


# ---- the truth beside the objects ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Verdict:
    """A group beside its truth.

    Attributes
    ----------
    objects, epochs, images, before : tables of the run; before: without the last visit
    sky : the truth
    true : the true objects in each image, by label
    row_of : (K,) the object of each epoch row
    shown : for each true object (from 0) the images that show it, and in which row of `objects`
    nearest : (N,) the true object that most images show in a row, or which is nearest; -1: none
    """

    name: str
    objects: Table
    epochs: Table
    images: Table
    before: Table
    sky: Table
    places: Table
    true: dict[str, Table]
    row_of: Ints
    shown: dict[int, dict[str, int]]
    nearest: Ints
    alone: Bools
    own: tuple[Floats, Floats]


def judged(name: str, folder: Path, out: Path) -> Verdict:
    """Compare a run with the truth."""
    objects, epochs, images = (read_table(_table(out, k)) for k in ("objects", "epochs", "images"))
    sky = Table.read(folder / "truth" / "sky.ecsv")
    true = {
        label: Table.read(folder / "truth" / f"{label.split('/')[-1]}.ecsv")
        for label in images["image"]
    }
    index = {int(v): k for k, v in enumerate(objects["object_id"])}
    row_of = np.array([index[int(v)] for v in epochs["object_id"]])
    own = own_positions(objects, epochs, images, row_of)
    to_plane = _plane(sky)
    shown: dict[int, dict[str, int]] = defaultdict(dict)
    for label in images["image"]:
        here = np.flatnonzero((epochs["image"] == label) & np.asarray(epochs["detected"]))
        truth = true[label]
        limit = np.nanmedian(
            floats(epochs, f"maglim_{radius_of(epochs)}")[epochs["image"] == label]
        )
        bright = np.flatnonzero(np.asarray(truth["mag"]) < limit + 1.0)
        places = to_plane(own[0][here], own[1][here])
        centres = to_plane(np.asarray(truth["ra"])[bright], np.asarray(truth["dec"])[bright])
        distance, k = cKDTree(centres).query(places)
        _, back = cKDTree(places).query(centres)
        for row_number, (d, j) in enumerate(zip(distance, k, strict=True)):
            if d < SAME_ARCSEC and back[j] == row_number:
                shown[int(bright[j])][label] = int(row_of[here[row_number]])
    nearest = _nearest(objects, sky, to_plane)
    return Verdict(
        name, objects, epochs, images, read_table(folder / "before.ecsv"), sky,
        Table.read(folder / "list.ecsv"), true, row_of, dict(shown), nearest,
        is_alone(
            np.asarray(sky[next(n for n in sky.colnames if n.startswith("mag_"))]),
            to_plane(sky["ra"], sky["dec"]),
        ),
        own,
    )  # fmt: skip


def radius_of(epochs: Table) -> str:
    """Return the smallest aperture."""
    return min((n[7:] for n in epochs.colnames if n.startswith("maglim_")), key=float)


def epoch_snr(one: Verdict) -> Floats:
    """Return the signal-to-noise ratio of each epoch row in the smallest aperture."""
    r = radius_of(one.epochs)
    return floats(one.epochs, f"flux_{r}_apcor") / floats(one.epochs, f"err_{r}_apcor")


def own_positions(
    objects: Table, epochs: Table, images: Table, row_of: Ints
) -> tuple[Floats, Floats]:
    """Return the positions of the detections of images themselves, degrees."""
    mjd_of = dict(zip(images["image"], images["mjd"], strict=True))
    mjd = np.array([mjd_of[label] for label in epochs["image"]])
    years = np.nan_to_num((mjd - floats(objects, "mjd")[row_of]) / DAYS_PER_YEAR)
    ra, dec = (floats(objects, n)[row_of] for n in ("ra", "dec"))
    pm = [np.nan_to_num(floats(objects, n)[row_of]) * years / 3.6e6 for n in ("pmra", "pmdec")]
    cosine = np.cos(np.radians(dec))
    return (
        ra + (pm[0] + floats(epochs, "dra") / 3.6e6) / cosine,
        dec + pm[1] + floats(epochs, "ddec") / 3.6e6,
    )


def _plane(sky: Table) -> Callable[[Floats, Floats], Floats]:
    ra0, dec0 = float(np.mean(sky["ra"])), float(np.mean(sky["dec"]))

    def places(ra: Floats, dec: Floats) -> Floats:
        x = (np.asarray(ra) - ra0) * np.cos(np.radians(dec0)) * 3600
        return np.column_stack([x, (np.asarray(dec) - dec0) * 3600])

    return places


def _nearest(objects: Table, sky: Table, to_plane: Callable[..., Floats]) -> Ints:
    """Return the nearest true object of each row at the row's own time; -1: none."""
    best = np.min([np.asarray(sky[n]) for n in sky.colnames if n.startswith("mag_")], axis=0)
    there = np.flatnonzero(best < 29.0)
    mjd = np.where(np.isfinite(floats(objects, "mjd")), floats(objects, "mjd"), sky["mjd"][0])
    years = (mjd - sky["mjd"][0]) / DAYS_PER_YEAR
    centres = to_plane(np.asarray(sky["ra"])[there], np.asarray(sky["dec"])[there])
    places = to_plane(floats(objects, "ra"), floats(objects, "dec"))
    motion = np.column_stack([sky["pmra"], sky["pmdec"]])[there] / 1e3
    k = np.asarray(cKDTree(centres).query(places, k=6)[1])
    at = centres[k] + motion[k] * years[:, None, None]
    away = np.hypot(*(at - places[:, None]).transpose(2, 0, 1))
    pick = away.argmin(axis=1)
    rows = np.arange(len(k))
    return np.where(away[rows, pick] < SAME_ARCSEC, there[k[rows, pick]], -1)


# ---- figures ------------------------------------------------------------------------------------


def width(values: Iterable[float]) -> float:
    """Return half of the range of the middle 68.3 %."""
    found = np.asarray(list(values), float)
    found = found[np.isfinite(found)]
    if len(found) < 10:
        return np.nan
    return float(0.5 * np.diff(np.percentile(found, [15.87, 84.13]))[0])


def joins(one: Verdict) -> dict[str, Any]:
    """Return splits, joins and identifiers that survive."""
    several = {t: rows for t, rows in one.shown.items() if len(rows) > 1}
    split = [t for t, rows in several.items() if len(set(rows.values())) > 1]
    held: dict[int, set[int]] = defaultdict(set)
    for t, rows in one.shown.items():
        for number in rows.values():
            held[number].add(t)
    at = _plane(one.sky)(one.sky["ra"], one.sky["dec"])
    joined_rows = [
        number
        for number, members in held.items()
        if any(np.hypot(*(at[a] - at[b])) > SAME_ARCSEC for a, b in combinations(members, 2))
    ]
    # Of the rows of before that are a true object's, those whose identifier it has still.
    plane = _plane(one.sky)
    nearest = _nearest(one.before, one.sky, plane)
    now = defaultdict(set)
    for k, t in enumerate(one.nearest):
        now[int(t)].add(int(one.objects["object_id"][k]))
    real = floats(one.before, "p_real") >= 0.5
    old = [
        (int(i), int(t))
        for i, t in zip(one.before["object_id"][real], nearest[real], strict=True)
        if t >= 0 and now[int(t)]
    ]
    lost = [i for i, t in old if i not in now[t]]
    return {
        "several": len(several), "split": split, "rows": len(held), "joined": joined_rows,
        "old": len(old), "lost": lost,
    }  # fmt: skip


def colour_errors(one: Verdict) -> list[tuple[str, str, float, float, float]]:
    """Return (filters, kind, least S/N, error, stated error) of the colours of what is alone."""
    objects, sky = one.objects, one.sky
    t = one.nearest
    good = (t >= 0) & one.alone[t] & (floats(objects, "p_real") >= 0.5)
    good &= (np.asarray(objects["flags"]) & int(UNUSUAL)) == 0
    good &= ~np.asarray(sky["variable"])[t]
    found = []
    for name in [n for n in objects.colnames if n.startswith("colour_F")]:
        _, f, g = name.split("_")
        true = np.asarray(sky[f"mag_{f}"] - sky[f"mag_{g}"], float)[t]
        error = floats(objects, name) - true
        # The simulator takes the published encircled energy for true: its error is not tested.
        taken = photcal.MAG_PER_FRACTION * np.hypot(*map(photcal.ee_systematic, (f, g)))
        stated = np.sqrt(floats(objects, f"colour_err_{f}_{g}") ** 2 - taken**2)
        snr = np.fmin(floats(objects, f"snr_{f}"), floats(objects, f"snr_{g}"))
        known = good & (np.asarray(objects[f"colour_limit_{f}_{g}"]) == 0) & np.isfinite(error)
        for k in np.flatnonzero(known & (snr >= SNR_BINS[0]) & (snr < SNR_BINS[-1])):
            kind = "stars" if sky["star"][t[k]] else "galaxies"
            found.append((f"{f} - {g}", kind, snr[k], error[k], stated[k]))
    return found


def places(one: Verdict) -> tuple[list[float], list[float], list[bool]]:
    """Return pulls at blank places, in images and filters; and which stars exceed the limit."""
    objects, listed = one.objects, one.places
    own = np.asarray(objects["list_row"])
    in_images, in_filters, exceed = [], [], []
    if np.isin(one.images["grade"], OFF).all():
        return in_images, in_filters, exceed
    rows = {int(r): k for k, r in enumerate(own) if r}
    usual = (np.asarray(objects["flags"]) & int(Flag.EDGE | Flag.PARTIAL_APERTURE)) == 0
    blank = np.array([rows[r + 1] for r in range(len(listed)) if listed["id"][r] == 0])
    blank = blank[usual[blank]]
    names = [n[5:] for n in objects.colnames if n.startswith("flux_F")]
    for f in names:
        in_filters += list((floats(objects, f"flux_{f}") / floats(objects, f"flux_err_{f}"))[blank])
    in_images += list(epoch_snr(one)[np.isin(one.row_of, blank)])
    for r in range(len(listed)):
        if listed["id"][r] == 0 or not usual[rows[r + 1]]:
            continue
        k, t = rows[r + 1], int(listed["id"][r]) - 1
        for f in names:
            true = float(one.sky[f"mag_{f}"][t])
            if abs(true - float(objects[f"maglim_{f}"][k])) < LIMIT_MAG:
                mag = floats(objects, f"mag_{f}")[k]
                exceed.append(bool(mag < true))  # not where the flux is negative
    return in_images, in_filters, exceed


def motion_errors(
    one: Verdict, axes: Sequence[str] = AXES
) -> list[tuple[bool, float, float, float]]:
    """Return (star, magnitude, error, stated error) of motions."""
    t = one.nearest
    good = (t >= 0) & one.alone[t] & (floats(one.objects, "p_real") >= 0.5)
    good &= (np.asarray(one.objects["flags"]) & int(UNUSUAL)) == 0
    found = []
    best = np.min([np.asarray(one.sky[n]) for n in one.sky.colnames if n[:4] == "mag_"], axis=0)
    for axis in axes:
        error = floats(one.objects, axis) - np.asarray(one.sky[axis])[t]
        stated = floats(one.objects, f"{axis}_err")
        for k in np.flatnonzero(good & np.isfinite(error)):
            found.append((bool(one.sky["star"][t[k]]), float(best[t[k]]), error[k], stated[k]))
    return found


def shared_motions(one: Verdict) -> tuple[list[float], list[float]]:
    """Return pulls of stars about what their motions share, and of that itself on each axis.

    What they share is the error of the frames; the rest is each star's own.
    """
    images = one.images
    _, first = np.unique([label.split("/")[0] for label in images["image"]], return_index=True)
    years = (floats(images, "mjd")[first] - floats(images, "mjd").mean()) / DAYS_PER_YEAR
    years -= years.mean()
    frames = np.sqrt(((floats(images, "frame_err")[first] * years) ** 2).sum()) / (years**2).sum()
    within, shared = [], []
    for axis in AXES:
        stars = np.array([m[2:] for m in motion_errors(one, (axis,)) if m[0]]).reshape(-1, 2)
        if len(stars) < 10:
            continue
        error, stated = stars.T
        own = np.sqrt(np.maximum(stated**2 - frames**2, (0.1 * stated) ** 2))
        near = np.abs(error - np.median(error)) < 4.0 * own
        mean = np.average(error[near], weights=own[near] ** -2)
        within += list((error - mean) / own / np.sqrt(1.0 - 1.0 / len(error)))
        shared.append(mean / np.hypot(frames, (own[near] ** -2).sum() ** -0.5))
    return within, shared


def variability(one: Verdict) -> list[tuple[bool, float, float]]:
    """Return (varies, S/N of an epoch, false rate) of stars that are alone, by filter."""
    t, objects = one.nearest, one.objects
    good = (t >= 0) & one.alone[t] & np.asarray(one.sky["star"])[t]
    good &= (np.asarray(objects["flags"]) & int(UNUSUAL)) == 0
    found = []
    for name in [n for n in objects.colnames if n.startswith("false_rate_")]:
        f = name.split("_")[-1]
        n = np.maximum(np.asarray(objects[f"n_images_{f}"], float), 1.0)
        snr, rate = floats(objects, f"snr_{f}") / np.sqrt(n), floats(objects, name)
        for k in np.flatnonzero(good & np.isfinite(rate) & (n >= 5)):
            found.append((bool(one.sky["variable"][t[k]]), snr[k], rate[k]))
    return found


def residuals(one: Verdict) -> list[float]:
    """Return own positions less true ones about each star's mean, mas: of S/N above 50."""
    snr = epoch_snr(one)
    t = one.nearest[one.row_of]
    good = np.asarray(one.epochs["detected"]) & (snr > 50) & (t >= 0)
    good &= one.alone[t] & np.asarray(one.sky["star"])[t]
    good &= (np.asarray(one.epochs["flags"]) & int(UNUSUAL)) == 0
    by_star: dict[int, list[Floats]] = defaultdict(list)
    for k in np.flatnonzero(good):
        truth = one.true[one.epochs["image"][k]]
        cosine = np.cos(np.radians(truth["dec"][t[k]]))
        by_star[int(t[k])].append(
            3.6e6
            * np.array(
                [
                    (one.own[0][k] - truth["ra"][t[k]]) * cosine,
                    one.own[1][k] - truth["dec"][t[k]],
                ]
            )
        )
    found: list[float] = []
    for values in by_star.values():
        if len(values) > 2:
            off = np.array(values) - np.mean(values, axis=0)
            found += list((off * np.sqrt(len(values) / (len(values) - 1))).ravel())
    return found


def are_parts(one: Verdict) -> Bools:
    """Return the rows in the outskirts of a galaxy, or in the halo of a bright star."""
    plane, sky = _plane(one.sky), one.sky
    at = plane(floats(one.objects, "ra"), floats(one.objects, "dec"))
    centres = plane(sky["ra"], sky["dec"])
    mag = np.min([np.asarray(sky[n]) for n in sky.colnames if n.startswith("mag_")], axis=0)
    star, size = np.asarray(sky["star"]), np.asarray(sky["re"])
    reach = np.where(star, np.where(mag < 19.0, 3.0, 1.5), 2.0 * size + 0.3)
    reach[mag > np.where(star, 22.0, 26.0)] = 0.0
    found = np.zeros(len(at), dtype=bool)
    for k in np.flatnonzero(reach):
        found |= np.hypot(*(at - centres[k]).T) < reach[k]
    return found


def realness(one: Verdict) -> dict[str, float]:
    """Return shares of real objects at S/N of 8 and more, and of real ones that are lost."""
    objects = one.objects
    names = [n for n in objects.colnames if n.startswith("snr_F")]
    snr = np.nanmax([np.nan_to_num(floats(objects, n)) for n in names], axis=0)
    clean = floats(objects, "p_real") >= 0.5
    listed = np.asarray(objects["list_row"]) > 0
    detected = np.asarray(objects["n_detected"])
    in_filters = sum(
        (np.asarray(objects[n]) > 0).astype(int)
        for n in objects.colnames
        if n.startswith("n_detected_")
    )
    real = one.nearest >= 0
    part = are_parts(one) & ~real
    bright = clean & (snr >= 8) & (detected > 0) & ~listed & ~part
    two = real & (np.asarray(in_filters) > 1)
    return {
        "bright": int(bright.sum()), "real": int((bright & real).sum()),
        "two": int(two.sum()), "lost": int((two & ~clean).sum()),
    }  # fmt: skip


# ---- tables -------------------------------------------------------------------------------------


def share(part: float, whole: float) -> str:
    """Return a share in percent, with how many it is of."""
    return f"{100 * part / max(whole, 1):.2f} of {int(whole)}"


def print_joins(found: dict[str, list[Verdict]]) -> None:
    """Print joins, splits, identifiers, and what is real."""
    print("\n## Joins\n")
    print(head(
        "group", "objects per arcmin2", "split, %", "join two, %", "identifiers lost, %",
        "false at S/N 8 and more, %", "lost of those in two filters, %", n_words=1,
    ))  # fmt: skip
    for name, groups in found.items():
        all_joins = [joins(one) for one in groups]
        real = [realness(one) for one in groups]
        n = sum(len(one.shown) for one in groups) / sum(_area(one) for one in groups)
        print(row(
            name, f"{n:.0f}",
            share(sum(len(j["split"]) for j in all_joins), sum(j["several"] for j in all_joins)),
            share(sum(len(j["joined"]) for j in all_joins), sum(j["rows"] for j in all_joins)),
            share(sum(len(j["lost"]) for j in all_joins), sum(j["old"] for j in all_joins)),
            share(sum(r["bright"] - r["real"] for r in real), sum(r["bright"] for r in real)),
            share(sum(r["lost"] for r in real), sum(r["two"] for r in real)),
        ))  # fmt: skip


def _area(one: Verdict) -> float:
    """Return the area on which detections lie, arcmin2."""
    from scipy.spatial import ConvexHull

    return float(ConvexHull(_plane(one.sky)(*one.own)[np.isfinite(one.own[0])]).volume) / 3600.0


def print_colours(found: dict[str, list[Verdict]]) -> None:
    """Print errors and pulls of colours."""
    print("\n## Colours: measured minus true\n")
    bins = [f"pulls at S/N {a:g} to {b:g}" for a, b in pairwise(SNR_BINS)]
    print(
        head(
            "group", "of", "colours", "median, mmag", "pulls", "beyond 3 sigma, %", *bins, n_words=2
        )
    )
    for name, groups in found.items():
        rows = [values for one in groups for values in colour_errors(one)]
        for kind in ("stars", "galaxies"):
            snr, error, stated = (np.array([v[k] for v in rows if v[1] == kind]) for k in (2, 3, 4))
            if len(snr) < 10:
                continue
            pull = error / stated
            weight = np.minimum(stated, 1.0) ** -2
            order = np.argsort(error)
            half = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
            cells = []
            for a, b in pairwise(SNR_BINS):
                here = (snr >= a) & (snr < b)
                cells.append(
                    f"{width(pull[here]):.2f} ({np.median(pull[here]):+.2f}) of {here.sum()}"
                    if here.sum() > 9
                    else "-"
                )
            spread = 1.25 * np.sqrt(len(weight)) / np.sqrt(weight).sum()
            print(row(
                name, kind, len(snr),
                f"{1e3 * error[order][half]:+.1f} +- {1e3 * spread:.1f}",
                f"{width(pull):.2f}", f"{100 * (np.abs(pull) > 3).mean():.1f}", *cells,
            ))  # fmt: skip


def print_places(found: dict[str, list[Verdict]]) -> None:
    """Print pulls at blank places, and how many injected stars exceed their limit."""
    print("\n## Places of the list\n")
    print(
        head(
            "group",
            "pulls in images, blank",
            "in filters",
            "median",
            "stars at the limit that exceed it, %",
            n_words=1,
        )
    )
    for name, groups in found.items():
        parts = [places(one) for one in groups]
        images, filters, exceed = ([v for p in parts for v in p[k]] for k in range(3))
        print(row(
            name, f"{width(images):.3f} of {len(images)}",
            f"{width(filters):.3f} of {len(filters)}",
            f"{np.nanmedian(images):+.2f}, {np.nanmedian(filters):+.2f}",
            f"{100 * np.mean(exceed):.1f} +- {50 / np.sqrt(max(len(exceed), 1)):.1f}",
        ))  # fmt: skip


def print_epochs(found: dict[str, list[Verdict]]) -> None:
    """Print motions, variables, and residuals of positions."""
    print("\n## Epochs\n")
    print(head(
        "group", "pulls of motions, stars", "about what a group shares", "of that, rms",
        "galaxies", "error at 21.5 to 22.5 mag, mas/yr",
        "stated", "0.1 mag found at S/N 25 to 40, %", "constant stars found, %",
        "residuals at S/N above 50, mas",
        n_words=1,
    ))  # fmt: skip
    for name, groups in found.items():
        motions = [m for one in groups for m in motion_errors(one)]
        stars = np.array([m[1:] for m in motions if m[0]]).reshape(-1, 3)
        galaxies = np.array([m[1:] for m in motions if not m[0]]).reshape(-1, 3)
        mid = stars[np.abs(stars[:, 0] - 22.0) < 0.5]
        within, shared = ([v for one in groups for v in shared_motions(one)[k]] for k in range(2))
        varies = [v for one in groups for v in variability(one)]
        yes = [rate < 0.01 for is_so, snr, rate in varies if is_so and 25 <= snr < 40]
        no = [rate < 0.01 for is_so, snr, rate in varies if not is_so]
        print(row(
            name,
            f"{width(stars[:, 1] / stars[:, 2]):.2f} of {len(stars)}",
            f"{width(within):.2f} of {len(within)}",
            f"{np.sqrt(np.mean(np.square(shared))) if shared else np.nan:.2f} of {len(shared)}",
            f"{width(galaxies[:, 1] / galaxies[:, 2]):.2f} of {len(galaxies)}",
            f"{width(mid[:, 1]):.2f}", f"{np.median(mid[:, 2]) if len(mid) else np.nan:.2f}",
            share(sum(yes), len(yes)), share(sum(no), len(no)),
            f"{width(v for one in groups for v in residuals(one)):.2f}",
        ))  # fmt: skip


def main() -> int:
    """Run the groups and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[*CONFIRMING[:2]])
    parser.add_argument("--keep", type=Path, help="folder of the groups and their runs")
    parser.add_argument("--judge", action="store_true", help="only judge what is kept")
    given = parser.parse_args()
    found: dict[str, list[Verdict]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        home = given.keep or Path(temporary)
        for name in given.recipes:
            for seed in given.seeds:
                settings = settings_of(GROUPS[name], seed)
                folder = group_folder(settings, home / f"{name}-{seed}")
                if not (given.judge and (folder / "out").is_dir()):
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    run_group(folder, folder / "out", settings.n_epochs)
                found[name].append(judged(name, folder, folder / "out"))
    print_joins(found)
    print_colours(found)
    print_places(found)
    print_epochs(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
