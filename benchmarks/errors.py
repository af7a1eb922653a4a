"""Are the errors right?  Pulls of stars and of blank sky on simulated visits, as a Markdown table.

    python benchmarks/errors.py [--quick] [--seeds N]

Visits of two generator settings, each with sub-pixel and with whole-pixel dithers, and images of
1, 2, 3 and 6 exposures.  A pull is (measured - true) / error; its width is half the distance of the
15.87th and 84.13th percentiles.  The stars are isolated and are measured at their true places; the
truth is the same measurement of the noiseless image of the stars alone, so that galaxies count as
noise where they were not detected, as they do at blank places.  Left out are stars near the edge,
saturated ones, those below S/N 5, those with another detection as near as blank places may have
one, and those with a true cosmic ray, hot pixel or dead column within the annulus' inner radius.
Blank places are others than those that the errors are made of.  In the number of pulls beyond 5
the light of all sources is subtracted, and blank places with a true cosmic ray or defect are left
out as well.  Above S/N 200 the scatter of measured / true is set against err_sys.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.catalogs.flags import Flag
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.neighbourhood import any_within
from bycatch.kernels.skystats import annulus_stats
from bycatch.settings import MeasureSettings, Settings
from bycatch.simulate import simulate_scene, write_visit
from bycatch.simulate.files import Truth, read_truth
from bycatch.simulate.scene import Scene, make_scene
from bycatch.stages import crmask, detect, measure
from bycatch.stages.finalize.apcor import published_corrections
from bycatch.stages.measure import blank_sky, sky_noise
from bycatch.stages.measure.photometry import aperture_sums

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Image = NDArray[np.float32]

FIELD = {
    "n_columns": 2000, "n_rows": 950, "stars_per_arcmin2": 400.0, "galaxies_per_arcmin2": 15.0,
    "min_separation_arcsec": 2.2, "mag_bright": 19.5, "mag_faint": 24.5,
    "n_exposures": (1, 2, 3, 6),
}  # fmt: skip
GENERATORS = (
    {"filters": ("F435W", "F606W", "F775W", "F814W"), "exptime_s": 600.0},
    {"filters": ("F475W", "F625W", "F814W", "F606W"), "exptime_s": 300.0, "pixfrac": 0.8},
)
DITHERS = {
    "sub-pixel": {"dither_x_px": 7.37, "dither_y_px": 21.61},
    "whole": {"dither_x_px": 7.0, "dither_y_px": 22.0},
}
BAD = int(Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.SATURATED | Flag.OFF_IMAGE | Flag.BAD_SKY)
MIN_SNR, FAINT_SNR = 5.0, 200.0
OTHER_SEED, FAR = 7, 5.0
MIN_BRIGHT = 20


@dataclass(frozen=True, eq=False)
class Pulls:
    """Of one image: (N, R) each."""

    faint: Floats
    bright: Floats
    """Measured over true, above the S/N limit."""
    sky: Floats
    n_far: tuple[int, int]
    """Pulls beyond 5: stars, and blank places where only noise is left."""
    bright_sys: Floats
    """err_sys as a fraction, (R,)."""


Found = dict[tuple[str, str, int], list[Pulls]]
"""By simulation, dither and number of exposures."""


def pulls(image: DrcImage, truth: Truth, galaxies: Image, settings: MeasureSettings) -> Pulls:
    """Measure an image and set it against its truth, of which ``galaxies`` is a part."""
    found, rays = detect.run(image), crmask.run(image)
    stars = truth.table[np.asarray(truth.table["star"])]
    x, y = np.asarray(stars["x"], float), np.asarray(stars["y"], float)
    got = measure.run(
        image,
        measure.Targets(x, y),
        settings,
        pixels=measure.Pixels(cr_mask=rays.grown, segmentation=found.segmentation),
    )
    radii = settings.radii_px
    table = got.table
    level = np.ma.filled(table["sky_median"], np.nan)
    net, error = (
        np.column_stack([np.ma.filled(table[f"{name}_{r:g}"], np.nan) for r in radii])
        for name in ("countrate", "countrate_err")
    )
    area = np.column_stack([np.ma.filled(table[f"area_{r:g}"], np.nan) for r in radii])
    net = net - level[:, None] * area
    true = true_net(image, truth.model - galaxies, x, y, settings)
    light = true_net(image, truth.model, x, y, settings)
    usable = (np.asarray(table["flags"]) & BAD == 0) & ~np.asarray(stars["saturated"])
    usable &= ~any_within(spoiled(truth), x, y, settings.annulus_inner_px)
    usable &= ~any_within(not_of(found.segmentation, x, y), x, y, radii[-1] + blank_sky.MARGIN_PX)
    snr = (true / error)[:, len(radii) // 2]
    faint = usable & (snr > MIN_SNR) & (snr < FAINT_SNR)
    bright = usable & (snr >= FAINT_SNR)
    left = (net - light)[faint] / error[faint]
    sky_pulls, far = blank_pulls(image, truth, found.segmentation > 0, rays.grown, got.noise)
    return Pulls(
        (net - true)[faint] / error[faint],
        net[bright] / light[bright],
        sky_pulls,
        (int((np.abs(left) > FAR).any(axis=1).sum()), far),
        photcal.systematic_fraction(
            image.meta.filter,
            published_corrections(radii, image.scale_arcsec, image.meta.filter).error,
        ),
    )


def not_of(segmentation: NDArray[np.int32], x: Floats, y: Floats) -> Bools:
    """Return the pixels of segments on which none of the positions lies."""
    ny, nx = segmentation.shape
    column = np.clip(np.round(x).astype(int), 0, nx - 1)
    row = np.clip(np.round(y).astype(int), 0, ny - 1)
    theirs = np.unique(segmentation[row, column])
    return np.asarray((segmentation > 0) & ~np.isin(segmentation, theirs))


def spoiled(truth: Truth) -> Bools:
    """Return the pixels with a true cosmic ray, hot pixel or dead column."""
    return np.asarray(truth.cosmic_rays | truth.defects)


def true_net(
    image: DrcImage, model: Image, x: Floats, y: Floats, settings: MeasureSettings
) -> Floats:
    """Return what the measurement gives without noise, (N, R)."""
    sums, areas = aperture_sums(model, image.valid, x, y, settings.radii_px)
    annulus = (settings.annulus_inner_px, settings.annulus_outer_px)
    sky = annulus_stats(model, image.valid, x, y, annulus, settings.sky_clip_sigma)
    return sums - sky.median[:, None] * areas


def blank_pulls(
    image: DrcImage, truth: Truth, sources: Bools, rays: Bools, noise: sky_noise.NoiseModel
) -> tuple[Floats, int]:
    """Return the pulls of blank places other than those of the model, and how many are beyond 5."""
    settings = Settings().measure
    other = blank_sky.blank_sky(image, sources | rays, settings, OTHER_SEED)
    places = other.x, other.y
    errors = noise.sky_errors(other.areas, other.sky, other.exposures.exptime_s)
    light = true_net(image, truth.model, *places, settings)
    clear = ~any_within(spoiled(truth), *places, settings.annulus_inner_px)
    total = sky_noise.total_errors(light, errors, other.exposures.exptime_s)
    left = (other.net - light)[clear] / total[clear]
    return other.net / errors, int((np.abs(left) > FAR).any(axis=1).sum())


def measured_visit(settings: Any, folder: Path) -> list[tuple[int, Pulls]]:
    """Simulate a visit; return the pulls of its images with their numbers of exposures."""
    scene = make_scene(settings)
    write_visit(simulate_scene(settings, scene), folder)
    galaxies = simulate_scene(settings, galaxies_of(scene)).images
    made = []
    paths = sorted((folder / "raw").glob("*_drc.fits"))
    for path, part in zip(paths, galaxies, strict=True):
        image = read_drc(path)
        truth = read_truth(folder, image.meta.root)
        made.append((image.meta.n_exposures, pulls(image, truth, part.model, Settings().measure)))
    return made


def galaxies_of(scene: Scene) -> Scene:
    """Return the galaxies alone."""
    return Scene(*(getattr(scene, part.name)[~scene.is_star] for part in fields(Scene)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one generator, a small field")
    parser.add_argument("--seeds", type=int, default=6, help="visits of each kind")
    given = parser.parse_args()
    field = FIELD | ({"n_columns": 900, "n_rows": 420} if given.quick else {})
    found: Found = defaultdict(list)
    for seed in range(1, (1 if given.quick else given.seeds) + 1):
        for generator in GENERATORS[: 1 if given.quick else None]:
            name = f"{generator['exptime_s']:g} s, pixfrac {generator.get('pixfrac', 1.0):g}"
            for dither, steps in DITHERS.items():
                change = {**field, **generator, **steps, "seed": seed}
                with tempfile.TemporaryDirectory() as folder:
                    settings = Settings().simulate.replace(**change)
                    for n_exp, made in measured_visit(settings, Path(folder)):
                        found[name, dither, n_exp].append(made)
    radii = [f"{r:g} px" for r in Settings().measure.radii_px]
    print_pulls(found, radii)
    print_bright(found, radii)


def print_pulls(found: Found, radii: list[str]) -> None:
    """Print the widths of the pulls: of each generator, and of both together."""
    print(f"\n| simulation | dither | exposures | objects | n | {' | '.join(radii)} | beyond 5 |")
    print("|" + "---|" * (6 + len(radii)))
    both: Found = defaultdict(list)
    for (_, dither, n_exp), made in found.items():
        both["both", dither, n_exp] += made
    for (name, dither, n_exp), made in [*sorted(both.items()), *sorted(found.items())]:
        for k, kind in enumerate(("stars", "sky")):
            values = np.concatenate([(m.faint, m.sky)[k] for m in made])
            far = sum(m.n_far[k] for m in made)
            widths = " | ".join(f"{sky_noise.width(v):.3f}" for v in values.T)
            print(f"| {name} | {dither} | {n_exp} | {kind} | {len(values)} | {widths} | {far} |")


def print_bright(found: Found, radii: list[str]) -> None:
    """Print the scatter of bright stars and the systematic error, all dithers together."""
    print(f"\n| simulation | exposures | stars | {' | '.join(radii)} |")
    print("|" + "---|" * (3 + len(radii)))
    every: dict[tuple[str, int], list[Pulls]] = defaultdict(list)
    for (name, _, n_exp), made in found.items():
        every[name, n_exp] += made
    for (name, n_exp), made in sorted(every.items()):
        ratio = np.concatenate([m.bright for m in made])
        if len(ratio) >= MIN_BRIGHT:
            cells = [
                f"{sky_noise.width(v):.2%} / {s:.2%}"
                for v, s in zip(ratio.T, made[0].bright_sys, strict=True)
            ]
            print(f"| {name} | {n_exp} | {len(ratio)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
