"""The family that judges: recipes and seeds that no constant, weight or threshold was chosen with.

They differ from those of families.py in what can be different: aberrations and diffusion, depth and
charge of the tracks, exposure time, drop size, filters, rejection, densities, sizes.
"""

from __future__ import annotations

from families import JUDGING_SEED, Recipe

OPTICS: Recipe = {
    "psf": "optics", "focus_waves": -0.02, "focus_field_waves": -0.03, "breathing_waves": 0.008,
    "astigmatism_waves": 0.012, "coma_waves": 0.02, "diffusion_percent": 52.0,
}  # fmt: skip
TRACKS: Recipe = {
    "cosmic_ray_tracks": "silicon", "cosmic_ray_depth_px": 1.4, "cosmic_ray_diffusion_px": 0.34,
    "cosmic_ray_charge_e": 800.0, "cosmic_ray_share": 0.025,
}  # fmt: skip
SKY: Recipe = OPTICS | TRACKS | {"pixfrac": 0.8, "sky_percent": 130.0, "hot_pixel_share": 5e-4}
SINGLE: Recipe = SKY | {"filters": ("F475W", "F606W", "F814W"), "n_exposures": (1, 1, 1)}
STACK: Recipe = SKY | {"filters": ("F475W", "F625W", "F814W"), "n_exposures": (2, 2, 3)}
SPARSE: Recipe = {"stars_per_arcmin2": 15.0, "galaxies_per_arcmin2": 60.0}

JUDGING: dict[str, Recipe] = {
    "single, 500 s": SINGLE | {"exptime_s": 500.0},
    "single, 1100 s": SINGLE | {"exptime_s": 1100.0, "cosmic_ray_depth_px": 0.8},
    "stack, clean": STACK
    | {"reject_beside_sigma": 2.0, "reject_missed_percent": 1.5, "exptime_s": 550.0},
    "stack, skirts": STACK | {"reject_sigma": 12.0, "reject_beside_sigma": 7.0},
    "focus -0.05": STACK | {"focus_waves": -0.05, "exptime_s": 700.0},
    "focus +0.05": STACK | {"focus_waves": 0.05, "stars_per_arcmin2": 40.0},
    "galaxies": STACK
    | {"galaxy_largest_arcsec": 2.5, "galaxy_knot_percent": 35.0, "galaxy_bright_mag": 18.0},
    "nebula": SINGLE | {"nebula_percent": 45.0, "nebula_scale_arcsec": 5.0},
    "large galaxy": STACK
    | {"n_large_galaxies": 1, "large_galaxy_mag": 14.8, "large_galaxy_re_arcsec": 6.0},
    "trail": SINGLE | {"n_trails": 1, "trail_e": 90.0, "trail_width_px": 5.0},
    "crowded": STACK | {"stars_per_arcmin2": 3000.0, "galaxies_per_arcmin2": 20.0},
    "warped": STACK | {"residual_distortion_mas": 25.0, "stars_per_arcmin2": 150.0},
    "chips": STACK | {"chip_shift_mas": 25.0, "stars_per_arcmin2": 60.0},
    "saturated": STACK
    | SPARSE
    | {"mag_bright": 14.0, "mag_faint": 24.0, "exptime_s": 900.0, "roll_error_deg": 0.25,
       "pointing_error_ra_arcsec": 2.0, "pointing_error_dec_arcsec": 1.6},
    "losses in transfer": STACK | {"cte_loss_percent": 6.0},
}  # fmt: skip
SEEDS = (JUDGING_SEED + 9, JUDGING_SEED + 10)
"""1007 and 1008 have been looked at too often: what they lost on spikes made us choose less, on
training visits."""
