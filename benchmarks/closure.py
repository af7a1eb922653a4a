"""Do aperture-corrected fluxes close, and are they total?  Markdown tables.

    python benchmarks/closure.py VISIT OUT [VISIT OUT ...]
    python benchmarks/closure.py --stamps FOLDER

The first takes pairs of folders: a simulated visit with ``raw/`` and ``truth/``, and what
``bycatch run`` made of it.  The detections are measured and calibrated afresh, with the published
aperture corrections and with those tied to the image's own stars.  Counted are rows within 1 px
of a true star from half a magnitude below saturation to 24 mag, with no other true object of more
than 1 % of its light within 15 px and no true cosmic ray within 11 px.

The second compares magnitudes of real galaxies, in stamps of drizzled ACS/WFC F814W images with
0.03 arcsec per pixel (AB zero point 25.94), with the published ones.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.kron import kron_shapes
from bycatch.kernels.neighbourhood import any_within
from bycatch.products import ImagePaths, find_records
from bycatch.settings import Settings
from bycatch.stages import finalize, measure

FAINT_MAG = 24.0
BELOW_SATURATION_MAG = 0.5
MATCH_PX, ALONE_PX, CLEAR_PX = 1.0, 15.0, 11.0
OTHER_SHARE = 0.01
STAMP_ZEROPOINT = 25.94
STAMPS = (
    (
        "BTK_real_galaxy_catalog_26_extension_example.fits",
        "BTK_real_galaxy_images_extension.fits",
    ),
    ("paltas_real_galaxy_catalog_23.5.fits", "paltas_real_galaxy_images_23.5_n1.fits"),
)
STAMP_MAG_EDGES = (18.0, 23.0, 24.0, 25.0, 26.0)
Floats = NDArray[np.float64]


def filled(column: Floats) -> Floats:
    """Return a column with NaN where it is masked."""
    return np.asarray(np.ma.filled(np.ma.asarray(column).astype(float), np.nan))


def cosmic_rays(folder: Path, root: str, width: int) -> NDArray[np.bool_]:
    """Return the pixels with charge of a cosmic ray."""
    packed = folder / "truth" / f"{root}_cr.npy"
    if packed.exists():
        return np.unpackbits(np.load(packed), axis=1)[:, :width].astype(bool)
    return np.asarray(fits.getdata(folder / "truth" / f"{root}_cr.fits.gz")) & 1 > 0


def true_stars(truth: Table, charge: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the true stars that count, as row numbers."""
    x, y = np.asarray(truth["x"], dtype=float), np.asarray(truth["y"], dtype=float)
    rate, mag = np.asarray(truth["rate"], dtype=float), np.asarray(truth["mag"], dtype=float)
    star = np.asarray(truth["star"], dtype=bool)
    places = np.column_stack([x, y])
    near = KDTree(places).query_ball_point(places, ALONE_PX)
    others = np.array([rate[n].sum() for n in near]) - rate
    good = star & (others < OTHER_SHARE * rate) & (mag < FAINT_MAG)
    if "saturated" in truth.colnames and np.asarray(truth["saturated"], dtype=bool).any():
        saturated = np.asarray(truth["saturated"], dtype=bool)
        good &= mag > mag[saturated & star].max() + BELOW_SATURATION_MAG
    good &= ~any_within(charge, x, y, CLEAR_PX)
    return np.flatnonzero(good)


def measured(image: DrcImage, paths: ImagePaths, settings: Settings) -> Table:
    """Return the photometry of the detections of an image."""
    sources = read_table(paths.product("sources"))
    mask = None
    if image.meta.n_exposures == 1:
        mask = np.asarray(fits.getdata(paths.mask)) > 0
    return measure.run(
        image,
        measure.Targets(sources["x"], sources["y"], sources["id"]),
        settings.measure,
        pixels=measure.Pixels(cr_mask=mask),
    ).table


def visit_tables(pairs: list[tuple[Path, Path]]) -> None:
    """Print the flux bias of the stars of simulated visits, and the closure of each image."""
    settings = Settings.load(preset="deep")
    radii = settings.measure.radii_px
    names = [f"{r:g}" for r in radii]
    ratios: dict[tuple[str, str], list[Floats]] = defaultdict(list)
    lines = []
    for visit, out in pairs:
        for record in find_records(out):
            paths = record.paths(out)
            image = read_drc(paths.folder / record.name, settings.input)
            phot = measured(image, paths, settings)
            truth = Table.read(visit / "truth" / f"{record.root}.ecsv")
            mine = true_stars(truth, cosmic_rays(visit, record.root, image.shape[1]))
            tree = KDTree(np.column_stack([phot["x"], phot["y"]]))
            places = np.column_stack([truth["x"], truth["y"]])[mine]
            distance, row = tree.query(places)
            mine, row = mine[distance < MATCH_PX], row[distance < MATCH_PX]
            annulus = (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px)
            label = f"{visit.name} {image.meta.filter} x{image.meta.n_exposures}"
            for kind, empirical in (("published", False), ("own stars", True)):
                chosen = settings.finalize.replace(empirical_apcor=empirical)
                got = finalize.run(phot, radii, image.meta, image.scale_arcsec, annulus, chosen)
                flux = np.column_stack(
                    [
                        np.ma.filled(got.table[f"flux_{r}_apcor"].astype(float), np.nan)
                        for r in names
                    ]
                )
                true = np.asarray(truth["rate"], dtype=float)[mine] * image.meta.photflam
                ratio = np.asarray(flux[row] / true[:, np.newaxis]) - 1.0
                ratios[kind, "all"].append(ratio)
                cells = [f"{100 * v:+.2f}" for v in np.median(ratio, axis=0)]
                lines.append(f"| {label} | {kind} | {len(ratio)} | " + " | ".join(cells) + " |")
                if not empirical:
                    continue
                state = got.closure
                cells = [
                    f"{100 * d:+.2f} +- {100 * e:.2f} ({100 * s:.2f})"
                    for d, e, s in zip(state.deviation, state.error, state.scatter, strict=True)
                ]
                lines.append(
                    f"| {label} | closure (scatter) | {state.n_stars} | " + " | ".join(cells) + " |"
                )
    head = "| image | correction | stars | " + " | ".join(f"r = {r} px" for r in names) + " |"
    print("\nMedian flux bias, percent\n")
    print(head)
    print("|" + "---|" * (3 + len(names)))
    print("\n".join(lines))
    for (kind, _), values in ratios.items():
        ratio = np.concatenate(values)
        error = 1.2533 * 1.4826 * np.median(np.abs(ratio - np.median(ratio, axis=0)), axis=0)
        error /= np.sqrt(len(ratio))
        cells = [
            f"{100 * v:+.2f} +- {100 * e:.2f}"
            for v, e in zip(np.median(ratio, axis=0), error, strict=True)
        ]
        print(f"| all | {kind} | {len(ratio)} | " + " | ".join(cells) + " |")


def stamp_tables(folder: Path) -> None:
    """Print offset and scatter of the magnitudes of real galaxies from the published ones."""
    print("\nKron magnitude less the published one\n")
    print("| catalog | mag AB | galaxies | median | robust scatter |")
    print("|---|---|---|---|---|")
    for catalog, images in STAMPS:
        rows = fits.getdata(folder / catalog, 1)
        with fits.open(folder / images) as hdus:
            stamps = [np.asarray(hdus[int(r["GAL_HDU"])].data, dtype=np.float32) for r in rows]
        found = [kron_magnitude(s, r) for s, r in zip(stamps, rows, strict=True)]
        mag = np.asarray(rows["MAG"], dtype=float)
        off = np.array(found) - mag
        for low, high in itertools.pairwise(STAMP_MAG_EDGES):
            here = off[(mag > low) & (mag <= high) & np.isfinite(off)]
            if len(here):
                middle = np.median(here)
                width = 1.4826 * np.median(np.abs(here - middle))
                name = catalog.split("_")[0]
                print(f"| {name} | {low:g}-{high:g} | {len(here)} | {middle:+.3f} | {width:.3f} |")


def kron_magnitude(stamp: NDArray[np.float32], row: np.record) -> float:
    """Return the magnitude of the galaxy in the middle of a stamp, in its Kron ellipse."""
    sky, noise = float(row["NOISE_MEAN"]), float(np.sqrt(row["NOISE_VARIANCE"]))
    smooth = ndimage.gaussian_filter(stamp - sky, 2.0)
    # Two standard deviations of the smoothed noise, which is correlated to begin with.
    labels, _ = ndimage.label(smooth > 2 * 2 * noise / np.sqrt(16 * np.pi))
    ny, nx = stamp.shape
    centre = labels[ny // 2 - 3 : ny // 2 + 4, nx // 2 - 3 : nx // 2 + 4]
    if not (centre > 0).any():
        return float("nan")
    own = int(np.bincount(centre[centre > 0]).argmax())
    y, x = ndimage.center_of_mass(np.where(labels == own, smooth, 0))
    valid = np.isfinite(stamp)
    shape = kron_shapes(stamp, valid, sky, [x], [y], labels.astype(np.int32), [own])
    return float(STAMP_ZEROPOINT - 2.5 * np.log10(shape.flux[0]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="closure of the aperture corrections")
    parser.add_argument("folders", nargs="*", type=Path, metavar="VISIT OUT")
    parser.add_argument("--stamps", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    if chosen.folders:
        visit_tables(list(zip(chosen.folders[::2], chosen.folders[1::2], strict=True)))
    if chosen.stamps:
        stamp_tables(chosen.stamps)


if __name__ == "__main__":
    main()
