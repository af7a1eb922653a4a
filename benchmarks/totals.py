"""Are total fluxes total?  Galaxies through `bycatch run`, beside SExtractor, as Markdown tables.

    python benchmarks/totals.py [--seeds 1 2 ...] [--other] [--stamps FOLDER]

Visits of galaxies with half-light radii of 0.1 to 1.5 arcsec, Sersic indices of 0.5 to 4 and 18 to
25 mag, on a grid of 8 arcsec among stars and small galaxies, are simulated, run as users run
them, and measured by SExtractor (AUTO) on the same pixels.  Truth is the simulated rate.  A row
belongs to a galaxy within 2 px or 0.3 half-light radii.  Isolated galaxies have less than 5 % of
their light in others near by.  ``--other`` takes other exposure times, drops, filters and densities
than those that anything was chosen with.

Pulls are (measured - true) / error: within the ellipse against the noiseless image (the
statistical error alone), and of the total, corrected by ``kron_fraction``, against the true rate
(with the systematic error).  Their widths are half the distance of the percentiles that enclose
68 %.

Positions are set against the centres of isolated galaxies, ours with the error that the catalog
states and SExtractor's windowed ones with its own.

With ``--stamps`` stamps of real galaxies (drizzled ACS/WFC F814W, 0.03 arcsec per pixel, AB zero
point 25.94) are put into simulated visits of that pixel size, and, binned 2 x 2, of twice
that; magnitudes are compared with the published ones, which are AUTO's.

Needs SExtractor: ``apt-get install -y source-extractor``.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from common import command, head, row, source_extractor
from numpy.typing import NDArray
from photutils.aperture import EllipticalAperture
from scipy.spatial import KDTree

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats, read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.products import find_records, read_pixels
from bycatch.settings import Settings, SimulateSettings
from bycatch.simulate import SimulatedVisit, read_truth, simulate_scene, write_visit
from bycatch.simulate.scene import Scene, extent, make_scene
from bycatch.stages.measure.sky_noise import width

Floats = NDArray[np.float64]

FIELD = {
    "n_columns": 1600, "n_rows": 760, "filters": ("F775W",), "n_exposures": (3,),
    "stars_per_arcmin2": 40.0, "galaxies_per_arcmin2": 40.0,
}  # fmt: skip
OTHERS: tuple[dict[str, Any], ...] = (
    {"filters": ("F606W",), "n_exposures": (2,), "exptime_s": 350.0, "pixfrac": 0.8},
    {"filters": ("F814W",), "n_exposures": (4,), "exptime_s": 900.0, "sky_percent": 180.0},
    {"filters": ("F475W",), "n_exposures": (2,), "stars_per_arcmin2": 150.0,
     "galaxies_per_arcmin2": 250.0},
)  # fmt: skip
GRID_ARCSEC, MARGIN_ARCSEC = 8.0, 4.0
RE_ARCSEC, MAG, INDICES = (0.1, 1.5), (18.0, 25.0), (0.5, 1.0, 2.0, 4.0)
MATCH_PX, MATCH_RE = 2.0, 0.3
ISOLATED, NEAR_PX = 0.05, 100.0
SIZE_EDGES = (0.1, 0.2, 0.4, 0.6, 0.9, 1.5)
MAG_EDGES = (18.0, 21.0, 23.0, 25.0)
FEWEST = 5
STAMP_ZEROPOINT, STAMP_SCALE_ARCSEC = 25.94, 0.03
STAMPS = (
    ("BTK_real_galaxy_catalog_26_extension_example.fits",
     "BTK_real_galaxy_images_extension.fits"),
    ("paltas_real_galaxy_catalog_23.5.fits", "paltas_real_galaxy_images_23.5_n1.fits"),
)  # fmt: skip
STAMP_EDGES = (18.0, 23.0, 24.0, 25.0, 26.0)
STAMP_MATCH_PX, STAMP_GAP_PX = 4.0, 40
FAINT_RATE, TAKEN_SHARE, DEEP_SHARE, ROOM_SHARE = 1e-3, 0.05, 0.6, 0.97
SEX_COLUMNS = ("X_IMAGE", "Y_IMAGE", "FLUX_AUTO", "FLUX_RADIUS", "XWIN_IMAGE", "YWIN_IMAGE",
               "ERRAWIN_IMAGE", "ERRBWIN_IMAGE")  # fmt: skip
SNR_EDGES = (5.0, 10.0, 20.0, 50.0, 200.0, 1e9)
SEX_SETTINGS = {
    "DETECT_MINAREA": "7", "DETECT_THRESH": "1.5", "ANALYSIS_THRESH": "1.5",
    "CATALOG_TYPE": "ASCII_HEAD", "WEIGHT_TYPE": "MAP_WEIGHT", "WEIGHT_IMAGE": "weight.fits",
    "BACK_SIZE": "64", "BACK_FILTERSIZE": "3", "PHOT_AUTOPARAMS": "2.5,3.5",
    "MASK_TYPE": "CORRECT", "PHOT_FLUXFRAC": "0.5", "VERBOSE_TYPE": "QUIET",
    "MEMORY_PIXSTACK": "3000000",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measurement:
    """Galaxies of truth with what was measured of them, (N,) each; rates in e/s.

    ``in_ellipse`` is the noiseless light in the Kron ellipse, NaN where other segments reach into
    it; ``others`` the light of others near by over the galaxy's own; SExtractor's values are NaN
    where it has no such source.
    """

    mag: Floats
    re_arcsec: Floats
    rate: Floats
    others: Floats
    in_ellipse: Floats
    kron: Floats
    error: Floats
    error_sys: Floats
    fraction: Floats
    flags: NDArray[np.int64]
    half_light_px: Floats
    sex: Floats
    sex_half_light_px: Floats
    snr: Floats
    dx_px: Floats
    dy_px: Floats
    place_err_px: Floats
    sex_dx_px: Floats
    sex_dy_px: Floats
    sex_place_err_px: Floats

    def of(self, which: NDArray[np.bool_]) -> Measurement:
        """Return some of them."""
        return Measurement(*(getattr(self, field.name)[which] for field in fields(self)))


def joined(parts: list[Measurement]) -> Measurement:
    """Return all of several images."""
    return Measurement(
        *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Measurement))
    )


# ---- the chain ---------------------------------------------------------------------------------


def galaxies_on_a_grid(settings: SimulateSettings) -> Scene:
    """Return galaxies of all sizes, magnitudes and profiles, away from one another."""
    rng = np.random.default_rng([settings.seed, 77])
    low, high = (v + s * MARGIN_ARCSEC for v, s in zip(extent(settings), (1, -1), strict=True))
    n = ((high - low) // GRID_ARCSEC).astype(int)
    cells = np.indices(n).reshape(2, -1)
    place = (
        low[:, None]
        + (cells + 0.5 + rng.uniform(-0.2, 0.2, cells.shape)) * (((high - low) / n)[:, None])
    )
    count, nothing = cells.shape[1], np.zeros(cells.shape[1])
    return Scene(
        *place,
        mag=rng.uniform(*MAG, count),
        colour=nothing,
        is_star=np.zeros(count, bool),
        re_arcsec=10 ** rng.uniform(*np.log10(RE_ARCSEC), count),
        axis_ratio=rng.uniform(0.3, 1.0, count),
        angle_rad=rng.uniform(0.0, np.pi, count),
        sersic_index=rng.choice(INDICES, count),
        pm_ra=nothing,
        pm_dec=nothing,
    )


def visit_of(settings: SimulateSettings) -> SimulatedVisit:
    """Simulate a visit of the galaxies among stars and galaxies as they come."""
    parts = galaxies_on_a_grid(settings), make_scene(settings)
    scene = Scene(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scene)))
    return simulate_scene(settings, scene)


def run_chain(folder: Path) -> Path:
    """Run a written visit as users run it, and return the folder of products."""
    out = folder / "out"
    gaia = folder / "gaia.ecsv"
    command("run", folder / "raw", "-o", out, "--gaia", gaia, "--preset", "deep", "--quiet")
    return out


def sextractor(image: DrcImage) -> Table:
    """Run SExtractor on the pixels of an image, weighted by exposure time; 0-based positions."""
    program = source_extractor()
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        fits.writeto(here / "image.fits", np.nan_to_num(image.sci))
        seconds = np.where(image.valid, image.exptime_map_s, 0.0).astype(np.float32)
        fits.writeto(here / "weight.fits", seconds)
        (here / "columns.param").write_text("\n".join(SEX_COLUMNS) + "\n")
        (here / "filter.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        (here / "empty.sex").write_text("")
        given = {
            **SEX_SETTINGS, "PARAMETERS_NAME": "columns.param", "FILTER_NAME": "filter.conv",
            "CATALOG_NAME": "out.cat", "PIXEL_SCALE": f"{image.scale_arcsec:.3f}",
        }  # fmt: skip
        options = [word for key, value in given.items() for word in (f"-{key}", value)]
        subprocess.run([program, "image.fits", "-c", "empty.sex", *options], cwd=here, check=True)
        found = Table.read(here / "out.cat", format="ascii.sextractor")
    for name in ("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE"):
        found[name] -= 1.0
    return found


def compared(folder: Path) -> Measurement:
    """Run a written visit and SExtractor, and set both against the truth."""
    out = run_chain(folder)
    (record,) = find_records(out)
    paths, truth = record.paths(out), read_truth(folder, record.root)
    image = read_drc(paths.folder / record.name, Settings().input)
    phot, cat = (read_table(paths.product(name)) for name in ("phot", "cat"))
    theirs, table, segments = sextractor(image), truth.table, read_pixels(paths.segmentation)
    x, y, rate = (np.asarray(table[name], float) for name in ("x", "y", "rate"))
    size_px = np.asarray(table["re"], float) / image.scale_arcsec
    reach = np.maximum(MATCH_PX, MATCH_RE * size_px)
    places = KDTree(np.column_stack([x, y]))
    far, k = KDTree(np.column_stack([floats(phot, "x"), floats(phot, "y")])).query(places.data)
    far_sex, j = KDTree(np.column_stack([theirs["X_IMAGE"], theirs["Y_IMAGE"]])).query(places.data)
    rows = np.flatnonzero(~np.asarray(table["star"]) & (far <= reach))
    rows = rows[np.isfinite(floats(phot, "countrate_kron")[k[rows]])]
    k, j, seen = k[rows], j[rows], far_sex[rows] <= reach[rows]
    flam, scale_mas = image.meta.photflam, 1000.0 * image.scale_arcsec
    errors = floats(theirs, "ERRAWIN_IMAGE"), floats(theirs, "ERRBWIN_IMAGE")
    return Measurement(
        np.asarray(table["mag"], float)[rows],
        np.asarray(table["re"], float)[rows],
        rate[rows],
        np.array([_others(x, y, rate, size_px, n, places) for n in rows]),
        _in_ellipses(np.where(image.valid, truth.model, 0.0).astype(float), segments, phot, k),
        floats(cat, "flux_kron")[k] / flam,
        floats(cat, "err_kron")[k] / flam,
        floats(cat, "err_kron_sys")[k] / flam,
        floats(cat, "kron_fraction")[k],
        np.asarray(cat["flags"])[k],
        floats(cat, "half_light_px")[k],
        np.where(seen, theirs["FLUX_AUTO"][j], np.nan),
        np.where(seen, theirs["FLUX_RADIUS"][j], np.nan),
        floats(cat, "snr_4")[k],
        floats(phot, "x")[k] - x[rows],
        floats(phot, "y")[k] - y[rows],
        floats(cat, "RA_GAIA_WCS_err")[k] / scale_mas,
        np.where(seen, theirs["XWIN_IMAGE"][j] - x[rows], np.nan),
        np.where(seen, theirs["YWIN_IMAGE"][j] - y[rows], np.nan),
        np.where(seen, np.hypot(*errors)[j] / np.sqrt(2.0), np.nan),
    )


def _others(x: Floats, y: Floats, rate: Floats, size_px: Floats, n: int, places: KDTree) -> float:
    """Return about how much light of others lies on an object, over its own."""
    near = [m for m in places.query_ball_point((x[n], y[n]), NEAR_PX) if m != n]
    far = np.hypot(x[near] - x[n], y[near] - y[n])
    return float((rate[near] * np.exp(-far / (2 * size_px[near] + 10.0))).sum() / rate[n])


def _in_ellipses(
    model: Floats, segments: NDArray[np.int32], phot: Table, rows: NDArray[np.intp]
) -> Floats:
    """Return the light of a model in Kron ellipses; NaN where other segments reach into them."""
    names = ("x", "y", "kron_radius", "semimajor_px", "semiminor_px", "theta_deg")
    values = np.column_stack([floats(phot, name)[rows] for name in names])
    found = []
    for x, y, kron, a, b, degrees in values:
        at, size = (x, y), 2.5 * kron
        ellipse = EllipticalAperture(at, size * a, size * b, theta=np.radians(degrees))
        cut = ellipse.to_mask().cutout(segments)
        own = segments[round(y), round(x)]
        inside = ellipse.to_mask().data > 0
        alone = cut is not None and not ((cut > 0) & (cut != own) & inside).any()
        found.append(ellipse.do_photometry(model)[0][0] if alone else np.nan)
    return np.array(found)


# ---- real galaxies -----------------------------------------------------------------------------


def stamps_of(folder: Path, bin_px: int) -> list[tuple[str, float, NDArray[np.float32]]]:
    """Return set, published magnitude and light of each real galaxy."""
    found = []
    for catalog, images in STAMPS:
        with fits.open(folder / images) as hdus:
            for galaxy in fits.getdata(folder / catalog, 1):
                light = np.asarray(hdus[int(galaxy["GAL_HDU"])].data, np.float32)
                light = light - np.float32(galaxy["NOISE_MEAN"])
                ny, nx = (size // bin_px * bin_px for size in light.shape)
                parts = light[:ny, :nx].reshape(ny // bin_px, bin_px, nx // bin_px, bin_px)
                name = catalog.split("_")[0]
                found.append((name, float(galaxy["MAG"]), parts.sum(axis=(1, 3))))
    return found


def stamp_offsets(folder: Path, bin_px: int, seed: int) -> list[tuple[str, float, Floats]]:
    """Put real galaxies into simulated visits; return set, magnitude and (ours, theirs, flagged).

    Ours and SExtractor's are AB magnitudes less the published one, NaN where nothing is found.
    """
    left = sorted(stamps_of(folder, bin_px), key=lambda stamp: -stamp[2].shape[0])
    found: list[tuple[str, float, Floats]] = []
    while left:
        settings = Settings().simulate.replace(
            **FIELD | {"filters": ("F814W",), "scale_arcsec": STAMP_SCALE_ARCSEC * bin_px,
                       "galaxies_per_arcmin2": 0.0, "mag_bright": 19.0, "seed": seed}
        )  # fmt: skip
        seed += 1
        with tempfile.TemporaryDirectory() as name:
            visit = Path(name)
            (path,) = write_visit(simulate_scene(settings, make_scene(settings)), visit).images
            centres, rest = put_in(path, read_truth(visit, path.name[:9]).model, left)
            done, left = left[: len(left) - len(rest)], rest
            if not done:
                raise SystemExit("no room for the largest stamp")
            out = run_chain(visit)
            (record,) = find_records(out)
            paths = record.paths(out)
            image, cat = read_drc(path), read_table(paths.product("cat"))
            phot, theirs = read_table(paths.product("phot")), sextractor(image)
        mine = _at(centres, phot["x"], phot["y"], floats(cat, "flux_kron") / image.meta.photflam)
        sex = _at(centres, theirs["X_IMAGE"], theirs["Y_IMAGE"], floats(theirs, "FLUX_AUTO"))
        with np.errstate(invalid="ignore", divide="ignore"):
            mags = STAMP_ZEROPOINT - 2.5 * np.log10(np.column_stack([mine, sex]))
        bit = np.asarray(cat["flags"]) & int(Flag.TOTAL_BLENDED) > 0
        flagged = _at(centres, phot["x"], phot["y"], bit.astype(float)) == 1
        found += [
            (s[0], s[1], np.append(m - s[1], f))
            for s, m, f in zip(done, mags, flagged, strict=True)
        ]
    return found


def put_in(
    path: Path, model: NDArray[np.float32], stamps: list[tuple[str, float, NDArray[np.float32]]]
) -> tuple[Floats, list[tuple[str, float, NDArray[np.float32]]]]:
    """Add stamps, the first ones first, to an image's pixels; return centres and what is left."""
    taken = model > FAINT_RATE
    centres: list[tuple[float, float]] = []
    with fits.open(path, mode="update") as hdus:
        sci, wht = hdus["SCI"].data, hdus["WHT"].data
        room = wht >= DEEP_SHARE * wht.max()
        side = STAMP_GAP_PX + stamps[0][2].shape[0]
        cells = itertools.product(
            range(0, sci.shape[0] - side, side), range(0, sci.shape[1] - side, side)
        )
        free = [
            (y, x) for y, x in cells
            if room[y : y + side, x : x + side].mean() > ROOM_SHARE
            and taken[y : y + side, x : x + side].mean() < TAKEN_SHARE
        ]  # fmt: skip
        for (y, x), (_, _, light) in zip(free, stamps, strict=False):
            y0, x0 = (v + (side - n) // 2 for v, n in zip((y, x), light.shape, strict=True))
            sci[y0 : y0 + light.shape[0], x0 : x0 + light.shape[1]] += light
            centres.append((x0 + (light.shape[1] - 1) / 2, y0 + (light.shape[0] - 1) / 2))
    return np.array(centres), stamps[len(centres) :]


def _at(centres: Floats, x: Any, y: Any, values: Floats) -> Floats:
    far, k = KDTree(np.column_stack([np.asarray(x), np.asarray(y)])).query(centres)
    return np.where(far <= STAMP_MATCH_PX, values[k], np.nan)


# ---- tables ------------------------------------------------------------------------------------


def offset(flux: Floats, true: Floats) -> str:
    """Return the median offset in magnitudes with its error; what is not positive counts as 9."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mags = -2.5 * np.log10(flux / true)
    mags = np.where(flux > 0, mags, 9.0)[np.isfinite(flux)]
    if len(mags) < FEWEST:
        return "-"
    return f"{np.median(mags):+.3f} ± {1.25 * width(mags) / np.sqrt(len(mags)):.3f}"


def pull_of(pulls: Floats) -> str:
    """Return median and width of the pulls that are known."""
    known = pulls[np.isfinite(pulls)]
    return f"{np.median(known):+.2f}, {width(known):.2f}" if len(known) >= FEWEST else "-"


def print_bias(found: Measurement, title: str) -> None:
    """Print the bias by size and magnitude, and the pulls."""
    print(f"\n{title}\n")
    print(head("re, arcsec", "mag", "n", "flux_kron", "SExtractor AUTO", "/ kron_fraction",
               "half-light px, ours / SExtractor", "pull in ellipse: median, width",
               "pull of total"))  # fmt: skip
    for size in itertools.pairwise(SIZE_EDGES):
        for mag in (*itertools.pairwise(MAG_EDGES), (MAG_EDGES[0], MAG_EDGES[-1])):
            here = (found.re_arcsec >= size[0]) & (found.re_arcsec < size[1])
            part = found.of(here & (found.mag >= mag[0]) & (found.mag < mag[1]))
            if len(part.mag) < FEWEST:
                continue
            total = part.kron / part.fraction
            pulls = (
                (part.kron - part.in_ellipse) / part.error,
                (total - part.rate) / np.hypot(part.error / part.fraction, part.error_sys),
            )
            sizes = part.half_light_px / part.sex_half_light_px
            print(row(
                f"{size[0]:g}-{size[1]:g}", f"{mag[0]:g}-{mag[1]:g}", len(part.mag),
                offset(part.kron, part.rate), offset(part.sex, part.rate),
                offset(total, part.rate), f"{np.nanmedian(sizes):.3f}",
                *(pull_of(p) for p in pulls),
            ))  # fmt: skip


def print_places(found: Measurement, title: str) -> None:
    """Print scatter and pulls of positions by signal-to-noise, both axes together."""
    print(f"\n{title}\n")
    print(head("S/N", "n", "scatter, px", "pulls: median, width", "beyond 3 sigma, %",
               "SExtractor: scatter, px", "pulls: median, width", "beyond 3 sigma, %"))  # fmt: skip
    for low, high in itertools.pairwise(SNR_EDGES):
        part = found.of((found.snr >= low) & (found.snr < high))
        if len(part.snr) < FEWEST:
            continue
        cells = []
        for dx, dy, error in (
            (part.dx_px, part.dy_px, part.place_err_px),
            (part.sex_dx_px, part.sex_dy_px, part.sex_place_err_px),
        ):
            apart = np.concatenate([dx, dy])
            pulls = apart / np.tile(error, 2)
            known = np.isfinite(pulls)
            far = 100.0 * np.mean(np.abs(pulls[known]) > 3.0)
            cells += [f"{width(apart[known]):.3f}", pull_of(pulls), f"{far:.1f}"]
        name = f"{low:g}-{high:g}" if high < SNR_EDGES[-1] else f"{low:g}-"
        print(row(name, len(part.snr), *cells))


def print_stamps(folder: Path, seed: int) -> None:
    """Print the offsets of real galaxies from their published magnitudes."""
    print(head("arcsec per px", "mag", "total_blended", "n", "flux_kron", "SExtractor AUTO",
               "median deviation: ours, theirs"))  # fmt: skip
    for bin_px in (1, 2):
        rows = stamp_offsets(folder, bin_px, seed)
        for mag, flagged in itertools.product(itertools.pairwise(STAMP_EDGES), (False, True)):
            here = [r[2] for r in rows if mag[0] < r[1] <= mag[1] and bool(r[2][2]) == flagged]
            values = np.array(here).reshape(-1, 3)[:, :2]
            values = values[np.isfinite(values).all(axis=1)]
            if len(values):
                cells = (f"{np.median(v):+.3f}" for v in values.T)
                near = ", ".join(f"{np.median(np.abs(v - np.median(v))):.3f}" for v in values.T)
                scale, which = f"{STAMP_SCALE_ARCSEC * bin_px:g}", f"{mag[0]:g}-{mag[1]:g}"
                print(row(scale, which, "yes" if flagged else "no", len(values), *cells, near))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--other", action="store_true", help="other recipes, to confirm with")
    parser.add_argument("--stamps", type=Path, metavar="FOLDER", help="real galaxies instead")
    given = parser.parse_args()
    if source_extractor() is None:
        raise SystemExit("no SExtractor: apt-get install -y source-extractor")
    if given.stamps:
        print_stamps(given.stamps, given.seeds[0])
        return
    for recipe in OTHERS if given.other else ({},):
        parts = []
        for seed in given.seeds:
            settings = Settings().simulate.replace(**FIELD | recipe | {"seed": seed})
            with tempfile.TemporaryDirectory() as name:
                write_visit(visit_of(settings), Path(name))
                parts.append(compared(Path(name)))
        found = joined(parts)
        flagged = found.flags & int(Flag.TOTAL_BLENDED) > 0
        alone = found.others < ISOLATED
        words = ", ".join(f"{k} {v}" for k, v in recipe.items()) or "as chosen with"
        print_bias(found.of(alone & ~flagged), f"Isolated, not total_blended ({words})")
        print_bias(found.of(~alone & ~flagged), f"With neighbours, not total_blended ({words})")
        print_bias(found.of(flagged), f"Flagged total_blended ({words})")
        print_places(found.of(alone), f"Positions of isolated galaxies ({words})")


if __name__ == "__main__":
    main()
