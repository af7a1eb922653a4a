"""Do aperture-corrected fluxes close?  Markdown tables.

    python benchmarks/closure.py VISIT OUT [VISIT OUT ...]

It takes pairs of folders: a simulated visit with ``raw/`` and ``truth/``, and what
``bycatch run`` made of it.  The detections are measured and calibrated afresh, with the published
aperture corrections and with those tied to the image's own stars.  Counted are rows within 1 px
of a true star from half a magnitude below saturation to 24 mag, with no other true object of more
than 1 % of its light within 15 px and no true cosmic ray within 11 px.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bycatch.catalogs.tables import read_table
from bycatch.images.drc import DrcImage, read_drc
from bycatch.kernels.neighbourhood import any_within
from bycatch.products import ImagePaths, find_records
from bycatch.settings import Settings
from bycatch.stages import finalize, measure

FAINT_MAG = 24.0
BELOW_SATURATION_MAG = 0.5
MATCH_PX, ALONE_PX, CLEAR_PX = 1.0, 15.0, 11.0
OTHER_SHARE = 0.01
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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="closure of the aperture corrections")
    parser.add_argument("folders", nargs="+", type=Path, metavar="VISIT OUT")
    folders = parser.parse_args().folders
    visit_tables(list(zip(folders[::2], folders[1::2], strict=True)))


if __name__ == "__main__":
    main()
