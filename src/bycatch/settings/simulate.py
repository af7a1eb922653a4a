"""Settings of the simulated visit and of artificial sources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from bycatch.settings.limits import (
    MOST_BOX_PX,
    MOST_DITHER_PX,
    MOST_MAG,
    MOST_MAS,
    MOST_MJD,
    MOST_PER_ARCMIN2,
    MOST_SEED,
    MOST_STARS,
)
from bycatch.settings.section import Section, setting


class SimulateSettings(Section):
    """The simulated visit."""

    seed: int = setting(1, "seed of the random numbers", ge=0, le=MOST_SEED)
    program: str = setting(
        "sim", "program, three characters of the file names", pattern=r"^[a-z0-9]{3}$"
    )
    visit: str = setting("01", "visit, two characters of the file names", pattern=r"^[a-z0-9]{2}$")
    filters: tuple[str, ...] = setting(
        ("F475W", "F625W", "F775W"), "filters, one image each", min_length=1, max_length=9
    )
    n_exposures: tuple[Annotated[int, Field(ge=1, le=36)], ...] = setting(
        (2, 1, 3), "number of exposures of each image", min_length=1, max_length=9
    )
    exptime_s: float = setting(600.0, "duration of one exposure", "s", ge=0.1, le=100_000)
    mjd_start: float = setting(56200.0, "start of the first exposure", "d", ge=48_000, le=MOST_MJD)
    ra_deg: float = setting(150.1, "right ascension of the field", "deg", ge=0, lt=360)
    dec_deg: float = setting(2.2, "declination of the field", "deg", gt=-90, lt=90)
    position_angle_deg: float = setting(
        31.0, "position angle of the detector's columns, north through east", "deg", ge=-360, le=360
    )
    grid: Literal["detector", "north"] = setting(
        "detector", "orientation of the output grid: along the detector, or north up"
    )
    scale_arcsec: float = setting(0.05, "pixel scale of the output", "arcsec", gt=0.01, le=0.2)
    pixfrac: float = setting(
        1.0, "size of a drop, as a fraction of a detector pixel", ge=0.01, le=1
    )
    n_columns: int = setting(1000, "width of a chip; 4096 is a full frame", "px", ge=32, le=4096)
    n_rows: int = setting(475, "height of a chip; 2048 is a full frame", "px", ge=32, le=2048)
    gap_px: int = setting(50, "gap between the two chips", "px", ge=0, le=1000)
    distortion_percent: float = setting(
        9.0, "deviation of the area of a detector pixel in the corners", "%", ge=0, le=20
    )
    skew_deg: float = setting(
        5.1, "90 degrees minus the angle between the detector's axes", "deg", ge=0, le=15
    )
    dither_x_px: float = setting(
        7.37, "step from exposure to exposure along x", "px", ge=-MOST_DITHER_PX, le=MOST_DITHER_PX
    )
    dither_y_px: float = setting(
        21.61, "step from exposure to exposure along y", "px", ge=-MOST_DITHER_PX, le=MOST_DITHER_PX
    )
    pointing_error_ra_arcsec: float = setting(
        0.35, "error of the header's WCS towards east", "arcsec", ge=-60, le=60
    )
    pointing_error_dec_arcsec: float = setting(
        -0.28, "error of the header's WCS towards north", "arcsec", ge=-60, le=60
    )
    roll_error_deg: float = setting(
        0.03, "error of the header's position angle", "deg", ge=-10, le=10
    )
    stars_per_arcmin2: float = setting(
        100.0, "number density of the stars", "arcmin-2", ge=0, le=MOST_PER_ARCMIN2
    )
    mag_bright: float = setting(
        17.0, "AB magnitude of the brightest stars", "mag", ge=0, le=MOST_MAG
    )
    mag_faint: float = setting(27.0, "AB magnitude of the faintest stars", "mag", ge=0, le=MOST_MAG)
    galaxies_per_arcmin2: float = setting(
        150.0, "number density of the galaxies", "arcmin-2", ge=0, le=MOST_PER_ARCMIN2
    )
    galaxy_bright_mag: float = setting(
        19.0, "AB magnitude of the brightest galaxies", "mag", ge=0, le=MOST_MAG
    )
    galaxy_faint_mag: float = setting(
        27.0, "AB magnitude of the faintest galaxies", "mag", ge=0, le=MOST_MAG
    )
    min_separation_arcsec: float = setting(
        0.0, "minimum distance between two objects", "arcsec", ge=0, le=5
    )
    motion_mas_yr: float = setting(
        5.0, "scatter of the stars' proper motions per axis", "mas/yr", ge=0, le=MOST_MAS
    )
    sky_percent: float = setting(
        100.0, "brightness of the sky, compared with average zodiacal light", "%", ge=0, le=1e6
    )
    dark_rate: float = setting(0.01, "dark current", "electron s-1 pixel-1", ge=0, le=1e4)
    read_noise_e: float = setting(4.2, "read noise", "electron", ge=0, le=1e4)
    full_well_e: float = setting(
        77000.0, "charge above which a pixel bleeds along its column", "electron", gt=0, le=1e9
    )
    hot_pixel_share: float = setting(2e-4, "fraction of hot pixels", ge=0, le=0.1)
    n_dead_columns: int = setting(1, "dead columns per chip", "columns", ge=0, le=1000)
    cosmic_ray_share: float = setting(
        0.02, "fraction of the pixels that cosmic rays hit in 1000 s", ge=0, le=0.2
    )
    cosmic_ray_charge_e: float = setting(
        1000.0, "median charge of a short cosmic ray", "electron", gt=0, le=1e6
    )
    cosmic_ray_least_e: float = setting(
        500.0, "minimum charge of a cosmic ray", "electron", ge=0, le=1e6
    )
    psf_variation_percent: float = setting(
        2.0, "variation of the PSF's width over the field, as an amplitude", "%", ge=0, le=20
    )
    spike_percent: float = setting(
        0.6, "fraction of a star's light in its diffraction spikes", "%", ge=0, le=3
    )
    # What the chain does not assume: all of it is off by default.
    psf: Literal["published", "optics"] = setting(
        "published",
        "the stars' PSF: round with the published encircled energy, or of a pupil with vanes and "
        "aberrations, which has the published energy only beyond 10 px",
    )
    focus_waves: float = setting(
        0.026, "defocus of the optics, rms at 547 nm", "waves", ge=-0.2, le=0.2
    )
    focus_field_waves: float = setting(
        0.0, "change of the focus from the middle to a corner", "waves", ge=-0.1, le=0.1
    )
    breathing_waves: float = setting(
        0.0, "scatter of the focus from exposure to exposure", "waves", ge=0, le=0.1
    )
    astigmatism_waves: float = setting(
        0.027, "astigmatism along the axes, rms at 547 nm", "waves", ge=-0.1, le=0.1
    )
    coma_waves: float = setting(-0.009, "coma, rms at 547 nm", "waves", ge=-0.1, le=0.1)
    diffusion_percent: float = setting(
        45.0,
        "fraction of the charge that diffuses out of its pixel, with the PSF of the optics",
        "%",
        ge=0,
        le=70,
    )
    galaxy_largest_arcsec: float = setting(
        0.8, "half-light radius of the largest galaxies", "arcsec", ge=0.1, le=5
    )
    galaxy_knot_percent: float = setting(
        0.0, "fraction of a galaxy's light in star-like knots", "%", ge=0, le=90
    )
    n_large_galaxies: int = setting(0, "large galaxies in the frame", "galaxies", ge=0, le=100)
    large_galaxy_mag: float = setting(
        16.5, "typical AB magnitude of the large galaxies", "mag", ge=5, le=25
    )
    large_galaxy_re_arcsec: float = setting(
        4.0, "typical half-light radius of the large galaxies", "arcsec", ge=0.8, le=30
    )
    nebula_percent: float = setting(
        0.0, "mean brightness of nebulosity, compared with the sky", "%", ge=0, le=1e5
    )
    nebula_scale_arcsec: float = setting(
        8.0, "scale beyond which nebulosity is smooth", "arcsec", ge=0.5, le=100
    )
    n_trails: int = setting(
        0, "trails of satellites in the first exposure of each image", "trails", ge=0, le=100
    )
    trail_e: float = setting(
        150.0, "charge of a trail's brightest pixels", "electron", ge=0, le=1e6
    )
    trail_width_px: float = setting(3.0, "width of a trail, as a sigma", "px", ge=0.3, le=50)
    ghost_percent: float = setting(
        0.0, "light of a bright star in its ghost across the detector", "%", ge=0, le=10
    )
    cte_loss_percent: float = setting(
        0.0, "charge of 1000 electrons that traps hold back at the far edge of a chip", "%",
        ge=0, le=50,
    )  # fmt: skip
    residual_distortion_mas: float = setting(
        0.0, "smooth distortion that the WCS does not describe, rms per axis", "mas", ge=0, le=500
    )
    chip_shift_mas: float = setting(
        0.0, "shift of the upper chip against the lower one", "mas", ge=-500, le=500
    )
    cosmic_ray_tracks: Literal["points", "silicon"] = setting(
        "points", "form of cosmic rays: rows of points, or particles that cross a layer of silicon"
    )
    cosmic_ray_depth_px: float = setting(1.0, "depth of the silicon, in pixels", "px", gt=0, le=20)
    cosmic_ray_diffusion_px: float = setting(
        0.28, "diffusion of charge from the full depth, as a sigma", "px", ge=0, le=2
    )
    reject_sigma: float = setting(
        3.5, "threshold at which stacks reject a pixel of a cosmic ray", "sigma", gt=0, le=1000
    )
    reject_beside_sigma: float = setting(
        3.0, "threshold for pixels next to a rejected one", "sigma", gt=0, le=1000
    )
    reject_missed_percent: float = setting(
        0.0, "fraction of such pixels that are missed", "%", ge=0, le=100
    )
    write_exposures: bool = setting(
        False, "write the exposures as flc files, too: SCI, ERR and DQ of each chip"
    )
    n_epochs: int = setting(1, "visits of one sky: more than one make a group", ge=1, le=99)
    epoch_years: float = setting(1.25, "time from visit to visit", "yr", ge=0, le=20)
    epoch_roll_deg: float = setting(
        0.0, "roll of each visit relative to the one before", "deg", ge=-180, le=180
    )
    epoch_offset_arcsec: float = setting(
        0.0, "offset of later visits from the first, each in another direction", "arcsec",
        ge=0, le=600,
    )  # fmt: skip
    epoch_n_filters: int = setting(
        0, "filters of each visit, which take turns; 0: all", "filters", ge=0, le=9
    )
    epoch_depths: tuple[Annotated[float, Field(gt=0, le=100)], ...] = setting(
        (1.0,), "exptime_s of the visits, as fractions of the first, in turn", min_length=1,
        max_length=99,
    )  # fmt: skip
    variable_percent: float = setting(
        0.0, "fraction of the stars that vary from visit to visit", "%", ge=0, le=100
    )
    variable_mag: float = setting(0.1, "rms of their variation over the visits", "mag", ge=0, le=3)

    @field_validator("mag_faint", "galaxy_faint_mag")
    @classmethod
    def _beyond_bright(cls, value: float, info: ValidationInfo) -> float:
        bright = "mag_bright" if info.field_name == "mag_faint" else "galaxy_bright_mag"
        if value <= info.data.get(bright, -99.0):
            msg = "the faint limit must be fainter than the bright limit"
            raise ValueError(msg)
        return value


class InjectSettings(Section):
    """Artificial sources in the real image: completeness, bias, lost stars, false detections."""

    seed: int = setting(1, "seed of the random numbers", ge=0, le=MOST_SEED)
    n_sources: int = setting(2000, "number of artificial sources in an image", ge=1, le=1_000_000)
    galaxy_share: float = setting(0.5, "fraction of galaxies among them", ge=0, le=1)
    half_light_arcsec: tuple[Annotated[float, Field(gt=0, le=2)], ...] = setting(
        (0.1, 0.2, 0.4),
        "half-light radii of the galaxies, in equal numbers",
        "arcsec",
        max_length=20,
    )
    sersic_index: float = setting(1.0, "Sersic index of the galaxies", ge=0.5, le=4)
    brighter_mag: float = setting(
        5.0,
        "magnitudes by which the brightest sources are above the expected limit",
        "mag",
        ge=0.5,
        le=15,
    )
    fainter_mag: float = setting(
        1.5,
        "magnitudes by which the faintest sources are below the expected limit",
        "mag",
        ge=0.5,
        le=5,
    )
    spacing_px: float = setting(
        100.0,
        "side of the grid cells, which hold one source each; more sources need more runs",
        "px",
        ge=24,
        le=MOST_BOX_PX,
    )
    max_runs: int = setting(
        30, "maximum number of runs per image; a small image holds fewer sources", ge=1, le=10_000
    )
    match_radius_px: float = setting(
        1.5, "a source is found where a detection lies within this radius", "px", gt=0, le=10
    )
    match_mag: float = setting(
        1.0, "and has the expected magnitude to within this", "mag", gt=0, le=MOST_MAG
    )
    bin_mag: float = setting(0.5, "width of the magnitude bins", "mag", gt=0, le=5)
    min_stars: int = setting(
        5,
        "minimum number of stars for the image's own PSF; with fewer the published one is used",
        ge=3,
        le=MOST_STARS,
    )
    false_detections: bool = setting(
        True, "search the negative image, too, for the rate of false detections"
    )
