"""Families of simulated skies: those that choices are made with, and those that judge.

A recipe is a name and what it changes of ``[simulate]``.  Recipes of `TRAINING` with seeds below
100 may choose constants and weights; with seeds from 100 to 199 they confirm.  Recipes of
`JUDGING`, with seeds from 1000 on, influence no choice.  The tables of docs/accuracy_tables.md name
the family that they come from.

    python benchmarks/families.py                      # lists them
    python benchmarks/families.py training silicon 1 FOLDER    # makes one
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bycatch.settings import SimulateSettings
from bycatch.simulate import write_visit
from bycatch.simulate.visit import simulate_visit

Recipe = dict[str, Any]
CHOOSING, CONFIRMING, JUDGING_SEED = range(1, 100), range(100, 200), 1000

SINGLE: Recipe = {"n_exposures": (1, 1, 1), "filters": ("F475W", "F625W", "F814W")}
STACK: Recipe = {"n_exposures": (2, 3, 2), "filters": ("F475W", "F606W", "F775W")}
OPTICS: Recipe = {"psf": "optics", "focus_field_waves": 0.02, "breathing_waves": 0.01}
TRACKS: Recipe = {"cosmic_ray_tracks": "silicon"}

TRAINING: dict[str, Recipe] = {
    # The simulator as it always was: single exposures, and stacks.
    "points": SINGLE,
    "stack": STACK,
    # Stars and tracks as they are.
    "silicon": SINGLE | OPTICS | TRACKS,
    "thick": SINGLE | OPTICS | TRACKS | {"cosmic_ray_depth_px": 2.0, "exptime_s": 900.0},
    "faint tracks": SINGLE
    | TRACKS
    | {"cosmic_ray_charge_e": 450.0, "cosmic_ray_depth_px": 0.7, "cosmic_ray_diffusion_px": 0.4},
    # Stacks with much left of tracks, and with little.
    "cores": STACK | OPTICS | TRACKS | {"reject_sigma": 20.0, "reject_beside_sigma": 20.0},
    "skirts": STACK | OPTICS | TRACKS | {"reject_sigma": 8.0, "reject_beside_sigma": 5.0},
    "clean": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 3.5, "reject_beside_sigma": 2.0, "reject_missed_percent": 1.0},
    # Tracks of other charge and number, and rejections that leave most and few of them.
    "dense tracks": SINGLE
    | OPTICS
    | TRACKS
    | {"cosmic_ray_share": 0.03, "cosmic_ray_depth_px": 1.4, "cosmic_ray_diffusion_px": 0.36}
    | {"cosmic_ray_charge_e": 700.0},
    "weak tracks": SINGLE
    | OPTICS
    | TRACKS
    | {"cosmic_ray_charge_e": 180.0, "cosmic_ray_depth_px": 0.6, "exptime_s": 500.0},
    "stars and tracks": SINGLE | OPTICS | TRACKS | {"stars_per_arcmin2": 1200.0},
    "whole tracks": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 40.0, "reject_beside_sigma": 30.0, "cosmic_ray_diffusion_px": 0.4},
    "soft tracks": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 10.0, "reject_beside_sigma": 10.0}
    | {"cosmic_ray_depth_px": 2.0, "cosmic_ray_diffusion_px": 0.55},
    "thick cores": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 12.0, "reject_beside_sigma": 10.0, "reject_missed_percent": 0.5}
    | {"cosmic_ray_depth_px": 2.0},
    # Charge that spreads so far that it looks like light.
    "diffuse 1": SINGLE
    | OPTICS
    | TRACKS
    | {"cosmic_ray_charge_e": 300.0, "cosmic_ray_depth_px": 1.0, "cosmic_ray_diffusion_px": 0.6},
    "diffuse 2": SINGLE
    | OPTICS
    | TRACKS
    | {"cosmic_ray_charge_e": 150.0, "cosmic_ray_depth_px": 2.0, "cosmic_ray_diffusion_px": 0.8},
    "diffuse 3": SINGLE
    | OPTICS
    | TRACKS
    | {"cosmic_ray_charge_e": 100.0, "cosmic_ray_depth_px": 0.5, "cosmic_ray_diffusion_px": 0.45},
    "diffuse stack 1": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 40.0, "reject_beside_sigma": 40.0}
    | {"cosmic_ray_charge_e": 800.0, "cosmic_ray_depth_px": 1.5, "cosmic_ray_diffusion_px": 0.6},
    "diffuse stack 2": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 20.0, "reject_beside_sigma": 20.0}
    | {"cosmic_ray_charge_e": 2000.0, "cosmic_ray_depth_px": 2.0, "cosmic_ray_diffusion_px": 0.8},
    "diffuse stack 3": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 60.0, "reject_beside_sigma": 60.0}
    | {"cosmic_ray_charge_e": 300.0, "cosmic_ray_depth_px": 1.0, "cosmic_ray_diffusion_px": 0.5},
    "diffuse stack 4": STACK
    | OPTICS
    | TRACKS
    | {"reject_sigma": 15.0, "reject_beside_sigma": 15.0}
    | {"cosmic_ray_charge_e": 3000.0, "cosmic_ray_depth_px": 3.0, "cosmic_ray_diffusion_px": 1.0},
    # Focus.
    "focus -0.06": STACK | OPTICS | {"focus_waves": -0.06},
    "focus +0.06": STACK | OPTICS | {"focus_waves": 0.06},
    # Galaxies of all sizes, with knots.
    "galaxies": STACK
    | OPTICS
    | {"galaxy_largest_arcsec": 2.0, "galaxy_knot_percent": 20.0, "stars_per_arcmin2": 30.0},
    # Skies that a catalog can't be trusted on.
    "nebula": SINGLE | OPTICS | TRACKS | {"nebula_percent": 60.0},
    "large galaxy": STACK | OPTICS | TRACKS | {"n_large_galaxies": 1, "large_galaxy_mag": 15.5},
    "trail": SINGLE | OPTICS | TRACKS | {"n_trails": 1},
    "crowded": STACK | OPTICS | TRACKS | {"stars_per_arcmin2": 2000.0},
    # The frame.
    "warped": STACK | OPTICS | {"residual_distortion_mas": 20.0},
    "chips": STACK | OPTICS | {"chip_shift_mas": 20.0},
    "saturated": STACK | OPTICS | {"mag_bright": 14.5, "stars_per_arcmin2": 25.0},
    "cte": STACK | OPTICS | {"cte_loss_percent": 8.0},
}

FRAME: Recipe = TRACKS | {"n_columns": 600, "n_rows": 290, "gap_px": 20, "dither_y_px": 11.61}
CHANGES: Recipe = {
    "filters": ("F475W", "F606W", "F775W", "F814W"),
    "n_exposures": (2, 3, 2, 3),
    "exptime_s": 500.0,
    "n_epochs": 4,
    "epoch_n_filters": 2,
    "epoch_years": 0.7,
    "epoch_roll_deg": 35.0,
    "epoch_offset_arcsec": 5.0,
    "epoch_depths": (1.0, 0.5, 1.5),
}
GROUPS: dict[str, Recipe] = {
    # Visits of one sky (benchmarks/groups.py): five epochs with variables and moving stars, visits
    # of other filters, depths, rolls and pointings, and those of a dense sky.
    "epochs": FRAME
    | {"filters": ("F606W", "F814W"), "n_exposures": (4, 4), "exptime_s": 400.0}
    | {"n_epochs": 5, "epoch_years": 1.25, "epoch_roll_deg": 20.0, "epoch_offset_arcsec": 2.0}
    | {"stars_per_arcmin2": 800.0, "galaxies_per_arcmin2": 120.0, "min_separation_arcsec": 0.8}
    | {"mag_bright": 18.0, "mag_faint": 26.5, "motion_mas_yr": 3.0, "variable_percent": 30.0},
    "mixed": FRAME | CHANGES | OPTICS | {"breathing_waves": 0.0},
    "dense": FRAME | CHANGES | {"stars_per_arcmin2": 700.0, "galaxies_per_arcmin2": 300.0},
}


def settings_of(recipe: Recipe, seed: int, **changes: Any) -> SimulateSettings:
    """Return the settings of a recipe; its visit bears the seed's last two digits."""
    return SimulateSettings(**({"seed": seed, "visit": f"{seed % 100:02d}"} | recipe | changes))


def visit_folder(family: dict[str, Recipe], name: str, seed: int, folder: Path) -> Path:
    """Return a folder with a visit of a recipe, made unless it is there."""
    if not (folder / "gaia.ecsv").is_file():
        write_visit(simulate_visit(settings_of(family[name], seed)), folder)
    return folder


def main() -> int:
    """List the recipes, or make a visit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", nargs="?", choices=list(FAMILIES))
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    if given.folder is None:
        for title, family in FAMILIES.items():
            for name, recipe in family.items():
                print(f"{title:9} {name:14} {recipe}")
        return 0
    visit_folder(FAMILIES[given.family], given.recipe, given.seed, given.folder)
    return 0


FAMILIES = {"training": TRAINING, "groups": GROUPS}

if __name__ == "__main__":
    sys.exit(main())
