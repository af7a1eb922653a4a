"""All settings: one frozen model per step, presets, TOML files and ``--set``.

A setting lives in exactly one place: its field below, with type, default,
range, unit and meaning.  ``bycatch config``, the reference documentation and
the checks of user input are made from these fields.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
import typing
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from bycatch.display import notebook
from bycatch.errors import SettingsError

M = TypeVar("M", bound=BaseModel)

# Beyond these a number is a slip of the pen: the work would not end, or not fit into memory.
MOST_BOX_PX = 10_000
"""Side of a box: more than a mosaic of two ACS fields."""
MOST_AREA_PX = 10_000_000
"""Pixels of a source: half of a full frame."""
MOST_KERNEL_PX = 99
"""Width of a PSF or of a kernel, some 40 times that of ACS."""
MOST_RADIUS_PX = 500
"""Radius of an aperture or annulus: 25 arcsec. The time goes with its square, times all sources."""
MOST_SIGMA = 1000
LEAST_CLIP_SIGMA = 1.5
"""A narrower clipping leaves no pixel to tell a level from."""
MOST_MAS = 10_000
"""Errors, motions and matching radii: the fastest star moves 10 arcsec in a year."""
MOST_MAG = 50
MOST_STARS = 100_000
MOST_S = 1e8
"""An exposure of three years."""
MOST_EXPOSURES = 10_000
MOST_MJD = 100_000
"""The year 2132."""
MOST_ANGSTROM = 100_000
MOST_WAIT_S = 86_400
"""A service that has not answered within a day will not."""
MOST_PER_ARCMIN2 = 100_000
"""A star for every 4 x 4 pixels of 0.05 arcsec."""
MOST_DITHER_PX = 2000
"""Half of a detector: images with no area in common are no dither."""
MOST_SEED = 2**63 - 1
MOST_LETTERS = 4096
"""The longest path of a file system."""
MOST_TOML_BYTES = 1_000_000
"""A file of all settings, with comments, has 20,000."""


def setting(default: Any, doc: str, unit: str = "", **limits: Any) -> Any:
    """Declare a setting: its default, its meaning, its unit and its range."""
    return Field(default, description=doc, json_schema_extra={"unit": unit}, **limits)


class Section(BaseModel):
    """Base of the settings of one step: frozen, and no unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what would be taken for something else: true for 1, a line break for a name."""
        numeric = cls.model_fields[info.field_name or ""].annotation in (int, float)
        for word in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(word, bool) and (numeric or value is not word):
                msg = "must be a number, not true or false"
                raise ValueError(msg)
            if isinstance(word, str) and any(unicodedata.category(c) == "Cc" for c in word):
                msg = "must not hold control characters"
                raise ValueError(msg)
        return value

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some values changed."""
        return type(self).model_validate({**self.model_dump(), **changes})

    NO_MATTER: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how the products are made, not the products."""

    def digest(self) -> str:
        """Return a short hash of all values that matter, to tell whether a product is stale."""
        values = self.model_dump(mode="json", exclude=set(self.NO_MATTER))
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def rows(self) -> list[dict[str, str]]:
        """Return name, value, unit and meaning of each setting, those of sections one by one."""
        found = []
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                found += [{**row, "setting": f"{name}.{row['setting']}"} for row in value.rows()]
            else:
                meaning = info.description or ""
                words = {"value": str(value), "unit": unit_of(info), "meaning": meaning}
                found.append({"setting": name, **words})
        return found

    @notebook.never_raising
    def _repr_html_(self) -> str:
        return notebook.card(type(self).__name__, {}, table=notebook.rows_table(self.rows()))


class InputSettings(Section):
    """What the headers say, for files whose headers do not say it (or say it wrongly)."""

    filter: str = setting(
        "",
        "filter name such as F606W; empty: from FILTER1/FILTER2",
        pattern=r"^[A-Za-z0-9]*$",
        max_length=MOST_LETTERS,
    )
    detector: Literal["", "WFC", "HRC"] = setting("", "ACS detector; empty: from DETECTOR")
    exptime_s: float = setting(0.0, "total exposure time; 0: from EXPTIME", "s", ge=0, le=MOST_S)
    n_exposures: int = setting(
        0, "number of exposures; 0: from the D00nDATA cards", ge=0, le=MOST_EXPOSURES
    )
    photflam: float = setting(
        0.0, "inverse sensitivity; 0: from PHOTFLAM", "erg cm-2 angstrom-1 electron-1", ge=0, le=1
    )
    photplam: float = setting(
        0.0, "pivot wavelength; 0: from PHOTPLAM", "angstrom", ge=0, le=MOST_ANGSTROM
    )
    bunit: Literal["", "electrons/s", "electrons"] = setting(
        "", "unit of the pixels; 'electrons' are divided by the exposure time; empty: from BUNIT"
    )
    mjd: float = setting(
        0.0, "mid-time of the exposures; 0: from EXPSTART and EXPEND", "d", ge=0, le=MOST_MJD
    )
    wht_type: Literal["", "exptime", "ivm", "relative"] = setting(
        "",
        "what WHT holds: 'exptime' seconds, 'ivm' inverse variances, 'relative' a share of the "
        "full depth; empty: inferred from its values",
    )
    exposures_dir: str = setting(
        "",
        "folder with the exposures (flc or flt files): their data quality marks saturated "
        "and bad pixels; the folder of the image is always searched, too",
        max_length=MOST_LETTERS,
    )
    zeropoint_fallback: bool = setting(
        False, "use the bundled zero points where PHOTFLAM is missing (rows are flagged)"
    )
    verify: bool = setting(
        True,
        "refuse a file that is not whole (fewer extensions than NEXTEND counts, data that do not "
        "add up to DATASUM or CHECKSUM, rows of zeros that have weight) or all of one value",
    )

    NO_MATTER: ClassVar[frozenset[str]] = frozenset({"verify"})


MAX_FIELD_BYTES = 64
OWN_NAMES = frozenset({
    "bycatch.log", "export", "figures", "products.json", "report.html", "run.json",
    "settings.toml", "summary.json",
})  # fmt: skip
"""Names that are taken in an output folder."""


class SortSettings(Section):
    """Finding the files and placing them under program/visit and filter."""

    mode: Literal["link", "copy", "move"] = setting(
        "link", "'link' leaves your files unchanged; 'copy' and 'move' copy and move them"
    )
    field: str = setting(
        "",
        "name of the field for all files, a folder name; empty: <program>_<visit>",
        pattern=r"^([^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*)?$",
    )

    @field_validator("field")
    @classmethod
    def _free(cls, value: str) -> str:
        if len(value.encode()) > MAX_FIELD_BYTES:
            msg = f"must have {MAX_FIELD_BYTES} bytes at most, because products are named after it"
            raise ValueError(msg)
        if value.casefold() in OWN_NAMES:
            msg = "is what bycatch calls something else in the output folder"
            raise ValueError(msg)
        return value


class DetectSettings(Section):
    """Background, threshold, segmentation, deblending, coverage rule."""

    in_detector_pixels: bool = setting(
        True,
        "lengths and areas of this section count pixels of the detector (WFC 0.05, HRC 0.025 "
        "arcsec) and are scaled to those of the image; false: they count pixels of the image",
    )
    box_px: int = setting(
        100, "side of the boxes of the background and noise maps", "px", ge=8, le=MOST_BOX_PX
    )
    filter_boxes: int = setting(3, "side of the median filter over the boxes", "boxes", ge=1, le=99)
    background: Literal["auto", "coarse", "fine"] = setting(
        "auto",
        "background of boxes of box_px (coarse), of fine_box_px (fine), or of the smaller ones "
        "where the sky changes within the larger, as in nebulae, large galaxies and crowds",
    )
    fine_box_px: int = setting(16, "side of the smaller boxes", "px", ge=8, le=MOST_BOX_PX)
    clip_sigma: float = setting(
        3.0, "clipping of the pixels in a box", "sigma", ge=LEAST_CLIP_SIGMA, le=MOST_SIGMA
    )
    n_sigma: float = setting(
        2.0,
        "threshold above the background, in units of the unsmoothed local noise",
        "sigma",
        ge=0.1,
        le=MOST_SIGMA,
    )
    kernel_fwhm_px: float = setting(
        2.5, "FWHM of the smoothing Gaussian", "px", ge=0.1, le=MOST_KERNEL_PX
    )
    kernel_size_px: int = setting(
        3, "side of the smoothing kernel (odd)", "px", ge=1, le=MOST_KERNEL_PX
    )
    n_pixels: int = setting(
        75, "minimum number of connected pixels above the threshold", "px", ge=1, le=MOST_AREA_PX
    )
    n_pixels_single: int = setting(
        150, "the same for an image made of a single exposure", "px", ge=1, le=MOST_AREA_PX
    )
    deblend: bool = setting(True, "separate overlapping sources")
    deblend_n_pixels: int = setting(
        60, "minimum number of pixels of a deblended source", "px", ge=1, le=MOST_AREA_PX
    )
    deblend_n_levels: int = setting(3, "number of deblending levels", ge=1, le=1000)
    deblend_contrast: float = setting(
        0.4, "minimum share of the blend's flux for a separate source", ge=0, le=1
    )
    deblend_prominence: float = setting(
        0.0,
        "height over the pass to a brighter source within whose light it lies, in units of the "
        "noise of a pixel, below which a source is joined with that one; 0 joins none",
        ge=0,
        le=1000,
    )
    coverage_box_px: int = setting(
        100, "side of the box of the coverage rule", "px", ge=1, le=MOST_BOX_PX
    )
    min_coverage: float = setting(
        0.98, "minimum share of covered pixels in that box; sources below are removed", ge=0, le=1
    )

    LENGTHS: ClassVar[tuple[str, ...]] = ("box_px", "coverage_box_px", "fine_box_px")
    AREAS: ClassVar[tuple[str, ...]] = ("n_pixels", "n_pixels_single", "deblend_n_pixels")

    def at(self, detector_px: float) -> DetectSettings:
        """Return the settings in pixels of an image, so that they mean the same on the sky.

        Parameters
        ----------
        detector_px : float
            Side of a detector pixel in pixels of the image (`DrcImage.detector_px`).
        """
        if not self.in_detector_pixels:
            return self
        changes: dict[str, Any] = {"in_detector_pixels": False}
        if detector_px != 1:
            changes |= {n: max(8, round(getattr(self, n) * detector_px)) for n in self.LENGTHS}
            changes |= {n: max(1, round(getattr(self, n) * detector_px**2)) for n in self.AREAS}
            changes["kernel_fwhm_px"] = self.kernel_fwhm_px * detector_px
            # The nearest odd number.
            half = max(0, round((self.kernel_size_px * detector_px - 1) / 2))
            changes["kernel_size_px"] = 2 * half + 1
        return self.model_copy(update=changes)

    @field_validator("kernel_size_px", "filter_boxes")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            msg = "must be odd"
            raise ValueError(msg)
        return value


class CrmaskSettings(Section):
    """LAcosmic on the drizzled image."""

    sigclip: float = setting(
        3.0, "Laplacian-to-noise limit of a cosmic ray", "sigma", ge=0.1, le=MOST_SIGMA
    )
    sigfrac: float = setting(
        0.3, "limit of neighbouring pixels, as a share of sigclip", ge=0.01, le=10
    )
    objlim: float = setting(
        1.0, "minimum contrast between Laplacian and fine structure", ge=0.01, le=MOST_SIGMA
    )
    n_iterations: int = setting(2, "number of LAcosmic iterations", ge=1, le=100)
    cleantype: Literal["meanmask", "medmask", "median", "idw"] = setting(
        "meanmask", "how a found cosmic ray is replaced before the next iteration"
    )
    fsmode: Literal["median", "convolve"] = setting(
        "median", "how the fine structure is computed: median filters, or convolution with the PSF"
    )
    psf_fwhm_px: float = setting(
        2.1, "FWHM of that PSF (fsmode 'convolve' only)", "px", ge=0.1, le=MOST_KERNEL_PX
    )
    max_track_fwhm_px: float = setting(
        1.75,
        "FWHM across the narrowest direction above which a candidate is light, not charge; "
        "in detector pixels",
        "px",
        ge=0.1,
        le=MOST_KERNEL_PX,
    )
    snr_floor: float = setting(
        3.0,
        "signal-to-noise ratio s below which a width is meaningless; the limit above is "
        "multiplied by 1 - (snr_floor/s)^2",
        ge=0,
        le=MOST_SIGMA,
    )
    grow_sigma_px: float = setting(
        0.5, "width of the Gaussian that grows the mask; 0: not grown", "px", ge=0, le=20
    )
    grow_threshold: float = setting(
        0.05,
        "value of the convolved mask above which a pixel belongs to the grown mask",
        gt=0,
        lt=1,
    )


class AlignSettings(Section):
    """Alignment to Gaia."""

    # The stars themselves are part of a product's key, whoever sent them.
    NO_MATTER: ClassVar[frozenset[str]] = frozenset(
        {
            "offline",
            "gaia_services",
            "gaia_cache",
            "gaia_timeout_s",
            "gaia_total_s",
            "gaia_retries",
            "gaia_retry_wait_s",
            "gaia_max_rows",
            "gaia_requests",
        }
    )

    enabled: bool = setting(True, "align to Gaia; false: every image keeps its own WCS")
    gaia_services: tuple[str, ...] = setting(
        (
            "https://gea.esac.esa.int/tap-server/tap gaiadr3.gaia_source",
            "https://tapvizier.cds.unistra.fr/TAPVizieR/tap I/355/gaiadr3",
        ),
        "TAP services, queried in turn, each as 'address table'; VizieR's tables (I/...) are "
        "queried by VizieR's column names",
        min_length=1,
        max_length=20,
    )
    offline: bool = setting(
        False, "use no service: only the user's table, stored stars and the cache"
    )
    gaia_cache: str = setting(
        "",
        "folder for the answers of the services; '': the variable BYCATCH_CACHE, or the "
        "user's cache folder; 'off': nowhere",
        max_length=MOST_LETTERS,
    )
    gaia_timeout_s: float = setting(60.0, "longest silence of a service", "s", gt=0, le=MOST_WAIT_S)
    gaia_total_s: float = setting(
        240.0,
        "longest wait for the stars of a field, all services and repeats",
        "s",
        gt=0,
        le=MOST_WAIT_S,
    )
    gaia_retries: int = setting(
        2, "repeats of a query that failed for a temporary reason", ge=0, le=1000
    )
    gaia_retry_wait_s: float = setting(
        2.0,
        "wait before the first repeat; doubled for each further repeat",
        "s",
        ge=0,
        le=MOST_WAIT_S,
    )
    gaia_max_rows: int = setting(100_000, "maximum number of stars in a query", ge=1, le=3_000_000)
    gaia_requests: int = setting(
        4,
        "maximum number of simultaneous queries, of all processes that share the cache",
        ge=1,
        le=64,
    )
    gaia_faint_limit_mag: float = setting(
        0.0, "G magnitude of the faintest stars in a query; 0: no limit", "mag", ge=0, le=MOST_MAG
    )
    typical_motion_mas_yr: float = setting(
        8.0,
        "error per axis that a star without a measured proper motion gets",
        "mas/yr",
        ge=0,
        le=MOST_MAS,
    )
    max_shift_arcsec: float = setting(3.0, "largest pointing error searched", "arcsec", gt=0, le=20)
    max_roll_deg: float = setting(0.3, "largest roll error searched", "deg", ge=0, le=5)
    tolerance_mas: float = setting(
        100.0, "largest separation of a pair in the search for the offset", "mas", ge=5, le=MOST_MAS
    )
    min_radius_mas: float = setting(
        20.0,
        "minimum matching radius of the last fits, however small their scatter",
        "mas",
        gt=0,
        le=MOST_MAS,
    )
    clip_sigma: float = setting(
        3.0, "clipping of the pairs in the fit", "sigma", gt=1, le=MOST_SIGMA
    )
    max_ellipticity: float = setting(
        0.4, "largest ellipticity of a star-like detection", gt=0, le=1
    )
    max_cr_share: float = setting(
        0.5, "largest share of cosmic-ray pixels of a star-like detection", ge=0, le=1
    )
    max_mag_difference: float = setting(
        3.0,
        "largest difference between a star's G and a source's AB magnitude, and between filters",
        "mag",
        gt=0,
        le=MOST_MAG,
    )
    min_ties: int = setting(
        5, "minimum number of common sources that tie two images to each other", ge=3, le=MOST_STARS
    )
    min_matches: int = setting(
        3,
        "number of pairs at which the search among the brightest sources stops",
        ge=1,
        le=MOST_STARS,
    )
    min_stars_scale: int = setting(
        12, "minimum number of stars for a fit of the scale", ge=3, le=MOST_STARS
    )
    min_stars_general: int = setting(
        30, "minimum number of stars for a general linear fit", ge=6, le=MOST_STARS
    )
    min_stars_distortion: int = setting(
        12, "minimum number of stars for a distortion (SIP)", ge=6, le=MOST_STARS
    )
    min_evidence: float = setting(
        12.0, "minimum improvement of chi square per term for scale and skew", gt=0, le=1e6
    )
    unknown_error_mas: float = setting(
        50.0, "error per axis of a reference star whose table gives none", "mas", gt=0, le=MOST_MAS
    )
    frame_floor_mas: float = setting(
        0.15, "error of a frame that no number of stars removes", "mas", ge=0, le=MOST_MAS
    )
    n_scrambles: int = setting(
        16, "searches with scrambled stars, for the odds of chance", ge=0, le=1000
    )
    max_rms_mas: float = setting(
        30.0,
        "scatter of the pairs per axis, as they are or each left out of the fit, beyond which the "
        "grade is C at best",
        "mas",
        gt=0,
        le=MOST_MAS,
    )
    max_chance: float = setting(
        1e-4, "largest number of equally good alignments expected by chance", gt=0, lt=1
    )


class MeasureSettings(Section):
    """Aperture photometry, sky, profile fit, flags, match to Gaia."""

    radii_px: tuple[Annotated[float, Field(ge=0.1, le=MOST_RADIUS_PX)], ...] = setting(
        (2.0, 4.0, 6.0, 8.0, 10.0), "radii of the apertures", "px", min_length=1, max_length=50
    )
    annulus_inner_px: float = setting(
        10.0, "inner radius of the sky annulus", "px", ge=0.1, le=MOST_RADIUS_PX
    )
    annulus_outer_px: float = setting(
        15.0, "outer radius of the sky annulus", "px", ge=0.2, le=MOST_RADIUS_PX
    )
    sky_clip_sigma: float = setting(
        3.0, "clipping of the annulus pixels", "sigma", ge=LEAST_CLIP_SIGMA, le=MOST_SIGMA
    )
    correlated_noise: bool = setting(
        True, "scale the sky noise of an aperture for the correlation that drizzling makes"
    )
    n_blank: int = setting(
        5000,
        "blank places at which the noise of apertures is measured; 0: from the drizzling "
        "parameters alone",
        ge=0,
        le=1_000_000,
    )
    error_components: bool = setting(
        False, "columns for the parts of the errors: the source's photons, sky, level of the sky"
    )
    fwhm_radius_px: float = setting(
        5.0, "radius of the profile fit; in detector pixels", "px", ge=3, le=50
    )
    cr_radius_px: float = setting(
        2.0,
        "cr_flag: how near a pixel of the grown mask must lie; in detector pixels",
        "px",
        ge=0,
        le=50,
    )
    gaia_n_sigma: float = setting(
        5.0,
        "maximum distance of a Gaia counterpart, in units of the errors of both positions",
        "sigma",
        gt=0,
        le=MOST_SIGMA,
    )
    gaia_min_radius_mas: float = setting(
        20.0,
        "minimum radius of the match to Gaia, however small the errors",
        "mas",
        ge=0,
        le=MOST_MAS,
    )
    gaia_radius_mas: float = setting(
        200.0,
        "maximum radius of the match to Gaia, at the epoch of the image",
        "mas",
        gt=0,
        le=MOST_MAS,
    )
    gaia_motion_mas_yr: float = setting(
        8.0,
        "error per axis of the motion of a Gaia star without a measured one",
        "mas/yr",
        ge=0,
        le=MOST_MAS,
    )

    @field_validator("radii_px")
    @classmethod
    def _increasing(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            msg = "must increase, without repeats"
            raise ValueError(msg)
        if len({f"{r:g}" for r in value}) < len(value):
            msg = "two radii would give the same column name"
            raise ValueError(msg)
        return value

    @field_validator("annulus_outer_px")
    @classmethod
    def _beyond_inner(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("annulus_inner_px", 0.0):
            msg = "the outer radius of the sky annulus must be larger than the inner one"
            raise ValueError(msg)
        return value


class PsfSettings(Section):
    """PSF photometry: the PSF from the image's own stars, and all sources fitted at once."""

    enabled: bool = setting(False, "fit the PSF to all sources (the preset crowded does)")
    n_passes: int = setting(
        2, "how often what the fitted stars leave is searched for more stars", ge=0, le=10
    )
    n_sigma: float = setting(
        5.0,
        "least signal-to-noise ratio of a star that is found there",
        "sigma",
        ge=2,
        le=MOST_SIGMA,
    )
    forced: bool = setting(False, "keep the positions of the detections, and fit fluxes alone")


class FinalizeSettings(Section):
    """Aperture correction and calibration."""

    annulus_correction: bool = setting(
        True, "correct for the starlight that falls into the sky annulus"
    )
    empirical_apcor: bool = setting(
        True, "combine the published aperture corrections with those of the image's own stars"
    )
    magnitude_systems: tuple[Literal["AB", "ST", "Vega"], ...] = setting(
        ("AB",), "magnitudes in the catalog; AB is always included", max_length=3
    )


class OutputSettings(Section):
    """What is written, beside ECSV."""

    formats: tuple[Literal["ecsv", "fits", "csv", "parquet", "votable"], ...] = setting(
        ("ecsv",), "formats of the final catalogs", max_length=5
    )
    write_wcs: bool = setting(
        False, "write copies of the drc files with the aligned WCS (<root>_aligned_drc.fits)"
    )
    products: Literal["all", "survey"] = setting(
        "all",
        "what is kept of each image: all, or what a large survey needs (catalog as Parquet, mask, "
        "segmentation, WCS)",
    )
    report: bool = setting(True, "write report.html at the end of a run or of a single step")

    @property
    def is_survey(self) -> bool:
        """True if nothing is kept between the steps."""
        return self.products == "survey"


class ObjectsSettings(Section):
    """The table of objects: all images of overlapping fields together."""

    enabled: bool = setting(True, "make the tables of objects at the end of a run")
    detection: Literal["deep", "run"] = setting(
        "deep",
        "detections that make the list: those of the preset deep, since agreement between images "
        "cleans the list (images are searched once more if the run's are others), or the run's",
    )
    combined: bool = setting(
        True, "search the combined image of a group for sources that no single image shows"
    )
    tile_deg: float = setting(
        0.25, "larger groups are divided into tiles of this size", "deg", ge=0.06, le=10
    )
    margin_arcsec: float = setting(
        20.0, "images contribute to a tile if they reach this close to it", "arcsec", ge=0, le=600
    )
    min_p_real: float = setting(
        0.5, "objects with a lower p_real are not in the clean table", ge=0, le=1
    )

    def detect(self, run: DetectSettings) -> DetectSettings:
        """Return the settings of the search, for those of the run."""
        return run if self.detection == "run" else run.replace(**PRESETS["deep"]["detect"])


class FetchSettings(Section):
    """Images from the archive."""

    server: str = setting(
        "https://mast.stsci.edu", "address of the archive", max_length=MOST_LETTERS
    )
    bucket: str = setting(
        "https://stpubdata.s3.us-east-1.amazonaws.com",
        "address of the archive's public bucket, for --cloud",
        max_length=MOST_LETTERS,
    )
    downloads: int = setting(4, "files that are fetched at a time", ge=1, le=16)
    retries: int = setting(
        6, "further tries of a file, or a question, that brought nothing new", ge=0, le=100
    )
    retry_wait_s: float = setting(
        2.0, "wait before the first of them; each next one is twice as long", "s", ge=0, le=3600
    )
    most_wait_s: float = setting(
        300.0,
        "longest wait; a file for which the server wants a longer one is given up",
        "s",
        ge=0,
        le=MOST_WAIT_S,
    )
    ahead_gb: float = setting(
        20.0,
        "images that may wait for the run of fetch --and-run --discard; downloads pause beyond",
        "GB",
        ge=0,
        le=MOST_S,
    )
    timeout_s: float = setting(
        60.0, "silence, or fewer than 1 kB, after which a connection is dropped", "s", gt=0, le=3600
    )


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
    pixfrac: float = setting(1.0, "size of a drop, as a share of a detector pixel", ge=0.01, le=1)
    n_columns: int = setting(1000, "width of a chip; 4096 is a full frame", "px", ge=32, le=4096)
    n_rows: int = setting(475, "height of a chip; 2048 is a full frame", "px", ge=32, le=2048)
    gap_px: int = setting(50, "gap between the two chips", "px", ge=0, le=1000)
    distortion_percent: float = setting(
        9.0, "deviation of the area of a detector pixel in the corners", "%", ge=0, le=20
    )
    skew_deg: float = setting(
        5.1, "what the angle between the detector's axes lacks to 90 degrees", "deg", ge=0, le=15
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
        0.0, "least distance between two objects", "arcsec", ge=0, le=5
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
    hot_pixel_share: float = setting(2e-4, "share of hot pixels", ge=0, le=0.1)
    n_dead_columns: int = setting(1, "dead columns per chip", "columns", ge=0, le=1000)
    cosmic_ray_share: float = setting(
        0.02, "share of the pixels that cosmic rays hit in 1000 s", ge=0, le=0.2
    )
    cosmic_ray_charge_e: float = setting(
        1000.0, "median charge of a short cosmic ray", "electron", gt=0, le=1e6
    )
    cosmic_ray_least_e: float = setting(
        500.0, "least charge of a cosmic ray", "electron", ge=0, le=1e6
    )
    psf_variation_percent: float = setting(
        2.0, "variation of the PSF's width over the field, as an amplitude", "%", ge=0, le=20
    )
    spike_percent: float = setting(
        0.6, "share of a star's light in its diffraction spikes", "%", ge=0, le=3
    )
    # What the chain does not assume: all of it is off by default.
    psf: Literal["published", "optics"] = setting(
        "published",
        "the stars' PSF: round with the published encircled energy, or of a pupil with vanes and "
        "aberrations, which has the published energy beyond 10 px alone",
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
        45.0, "charge that leaves its pixel, with the PSF of the optics", "%", ge=0, le=70
    )
    galaxy_largest_arcsec: float = setting(
        0.8, "half-light radius of the largest galaxies", "arcsec", ge=0.1, le=5
    )
    galaxy_knot_percent: float = setting(
        0.0, "share of a galaxy's light in star-like knots", "%", ge=0, le=90
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
        0.0, "smooth distortion that the WCS leaves, rms per axis", "mas", ge=0, le=500
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
        3.5, "noise above which stacks lose a cosmic ray's pixel", "sigma", gt=0, le=1000
    )
    reject_beside_sigma: float = setting(
        3.0, "noise above which they lose a pixel beside one", "sigma", gt=0, le=1000
    )
    reject_missed_percent: float = setting(
        0.0, "share of such pixels that stay all the same", "%", ge=0, le=100
    )
    write_exposures: bool = setting(
        False, "write the exposures as flc files, too: SCI, ERR and DQ of each chip"
    )
    n_epochs: int = setting(1, "visits of one sky: more than one make a group", ge=1, le=99)
    epoch_years: float = setting(1.25, "time from visit to visit", "yr", ge=0, le=20)
    epoch_roll_deg: float = setting(
        0.0, "by how much each visit is rolled against the one before", "deg", ge=-180, le=180
    )
    epoch_offset_arcsec: float = setting(
        0.0, "how far the visits after the first point beside it, each to another side", "arcsec",
        ge=0, le=600,
    )  # fmt: skip
    epoch_n_filters: int = setting(
        0, "filters of each visit, which take turns; 0: all", "filters", ge=0, le=9
    )
    epoch_depths: tuple[Annotated[float, Field(gt=0, le=100)], ...] = setting(
        (1.0,), "exptime_s of the visits, as shares of the first; they take turns", min_length=1,
        max_length=99,
    )  # fmt: skip
    variable_percent: float = setting(
        0.0, "share of the stars that vary from visit to visit", "%", ge=0, le=100
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
    galaxy_share: float = setting(0.5, "share of galaxies among them", ge=0, le=1)
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
        "side of the grid cells with one source each; more sources need more runs",
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
        "stars needed for the image's own PSF; with fewer the published one is used",
        ge=3,
        le=MOST_STARS,
    )
    false_detections: bool = setting(
        True, "search the negative image, too, for the rate of false detections"
    )


class Settings(Section):
    """Everything: one section per step."""

    input: InputSettings = InputSettings()
    sort: SortSettings = SortSettings()
    detect: DetectSettings = DetectSettings()
    crmask: CrmaskSettings = CrmaskSettings()
    align: AlignSettings = AlignSettings()
    psf: PsfSettings = PsfSettings()
    measure: MeasureSettings = MeasureSettings()
    finalize: FinalizeSettings = FinalizeSettings()
    objects: ObjectsSettings = ObjectsSettings()
    output: OutputSettings = OutputSettings()
    fetch: FetchSettings = FetchSettings()
    simulate: SimulateSettings = SimulateSettings()
    inject: InjectSettings = InjectSettings()

    @classmethod
    def load(
        cls,
        config: Path | None = None,
        assignments: Iterable[str] = (),
        preset: str | None = None,
        base: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Build the settings from a preset, a TOML file and ``name=value`` strings.

        Later sources win: ``base`` (values of an earlier run), preset, file,
        assignments.  A preset that is named takes back what another one changed
        in ``base``.

        Raises
        ------
        SettingsError
            An unknown name (with the nearest valid one), a wrong value, or an
            unreadable file.
        """
        values: dict[str, dict[str, Any]] = {k: dict(v) for k, v in (base or {}).items()}
        if preset is not None:
            changed = preset_values(preset)
            for section, name in {
                (s, n) for p in PRESETS.values() for s, c in p.items() for n in c
            }:
                values.get(section, {}).pop(name, None)
            _overlay(values, changed)
        if config is not None:
            _overlay(values, read_toml(config))
        for text in assignments:
            section, name, value = parse_assignment(text)
            _overlay(values, {section: {name: value}})
        return build(cls, values, where="settings")


_DEEP = {
    "n_pixels": 7,
    "n_pixels_single": 9,
    "deblend_n_pixels": 7,
    "deblend_n_levels": 32,
    "deblend_contrast": 0.005,
    "deblend_prominence": 2.0,
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "classic": {},
    "deep": {"detect": _DEEP},
    "crowded": {"detect": _DEEP, "psf": {"enabled": True}},
}


def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """Return the values that a preset changes."""
    if name not in PRESETS:
        raise SettingsError(f"there is no preset '{name}'{_nearest(name, PRESETS)}")
    return PRESETS[name]


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Read sections of settings from a TOML file and check their names, with line numbers."""
    text, values = _parsed(path)
    for section, content in values.items():
        line = _line_of(text, section)
        if section not in Settings.model_fields and (home := _home_of(section)):
            raise SettingsError(f"{path}:{line}: '{section}' belongs to [{home}]")
        model = _section_model(section, f"{path}:{line}")
        if not isinstance(content, dict):
            raise SettingsError(f"{path}:{line}: '{section}' is a section: write [{section}]")
        for name in content:
            if name not in model.model_fields:
                _check_name(model, section, name, f"{path}:{_line_of(text, name, section)}")
    build(Settings, values, where=str(path))
    return values


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_TOML_BYTES + 1)
        text = content.decode("utf-8-sig")  # as some editors begin a file
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path}: can't be read ({err})") from err
    if len(content) > MOST_TOML_BYTES:
        raise SettingsError(f"{path}: more than {MOST_TOML_BYTES} bytes are no file of settings")
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        why = "nested too deeply" if isinstance(err, RecursionError) else err
        raise SettingsError(f"{path}: not valid TOML: {why}") from err


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Split ``section.name=value``; the value is read as TOML, else as a plain string."""
    left, equals, right = text.partition("=")
    section, dot, name = left.strip().partition(".")
    if not (equals and dot):
        raise SettingsError(f"--set {text}: write it as section.name=value")
    model = _section_model(section, f"--set {text}")
    _check_name(model, section, name, f"--set {text}")
    default, raw = model.model_fields[name].default, right.strip()
    value = _toml_value(raw)
    if isinstance(default, str) and not isinstance(value, str):
        value = raw  # a field may be called 2024, or true
    elif isinstance(default, tuple) and not isinstance(value, list):
        value = [value]
    return section, name, value


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a sidecar file: ``name = value`` lines of the ``input`` section."""
    if not path.is_file():  # a pipe without a writer would keep us waiting
        raise SettingsError(f"{path}: can't be read (it is no file)")
    _, values = _parsed(path)
    given: Any = values.get("input", values)
    others = [] if given is values else [name for name in values if name != "input"]
    if others or not isinstance(given, dict):
        what = f"not [{others[0]}]" if others else "under [input]"
        raise SettingsError(f"{path}: a sidecar holds settings of the input, {what}")
    for name in given:
        _check_name(InputSettings, "input", name, str(path))
    build(InputSettings, given, where=str(path))
    return dict(given)


def build(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """Validate values into a settings model; every mistake is named in one message."""
    try:
        return model.model_validate(values)
    except ValidationError as err:
        places = [e["loc"] for e in err.errors()]
        lines = [
            f"{where}: {'.'.join(str(part) for part in e['loc'])}: {e['msg']} "
            f"(got {_short(e['input'])})"
            for e in err.errors()
            # Without an element that is wrong a list may seem too short.
            if not any(place[:-1] == e["loc"] for place in places)
        ]
        raise SettingsError("; ".join(lines)) from err


def _short(value: Any) -> str:
    """Return a value as it was given; of a long one its beginning."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of thousands of digits, or levels
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else f"{text[:60]}..."


def walk() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield (section, name, field) of every setting, in order."""
    for section, holder in Settings.model_fields.items():
        model = typing.cast("type[Section]", holder.annotation)
        for name, info in model.model_fields.items():
            yield section, name, info


def unit_of(info: FieldInfo) -> str:
    """Return the unit of a setting, '' for a pure number or a choice."""
    extra = typing.cast("Mapping[str, Any]", info.json_schema_extra or {})
    return str(extra.get("unit", ""))


def range_of(info: FieldInfo) -> str:
    """Return the range of a number, such as '1 to 100' or 'above 0, to 20'; '' without limits."""
    limits = {
        name: f"{getattr(rule, name):,}".replace(",", " ").removesuffix(".0")
        for rule in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(rule, name, None) is not None
    }
    low = limits.get("ge") or (f"above {limits['gt']}," if "gt" in limits else "")
    high = limits.get("le") or (f"below {limits['lt']}" if "lt" in limits else "")
    return f"{low} to {high}".replace("to below", "below") if low and high else ""


def to_toml(settings: Settings, *, comments: bool = True) -> str:
    """Write settings as TOML, with meaning, unit and default of each as comments."""
    lines: list[str] = []
    current = ""
    for section, name, info in walk():
        if section != current:
            current = section
            model = typing.cast("type[Section]", Settings.model_fields[section].annotation)
            lines += ["", *([f"# {model.__doc__}"] if comments else []), f"[{section}]"]
        value = getattr(getattr(settings, section), name)
        if comments:
            unit = f" [{unit_of(info)}]" if unit_of(info) else ""
            lines.append(f"# {info.description}{unit}{_choices(info)}")
            lines.append(f"# default: {_toml_text(info.default)}")
        lines.append(f"{name} = {_toml_text(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _choices(info: FieldInfo) -> str:
    annotation = info.annotation
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is not Literal:
        return ""
    return "; one of " + ", ".join(f'"{v}"' for v in typing.get_args(annotation))


def _toml_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_text(v) for v in value) + "]"
    return repr(value)


def _toml_value(text: str) -> Any:
    """Read one TOML value; what is not TOML is a string, so that quotes are optional."""
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        values = {}
    if list(values) == ["value"]:  # a line break in it may begin another setting
        return values["value"]
    return [_toml_value(t) for t in text.split(",")] if "," in text else text


def _section_model(section: str, where: str) -> type[Section]:
    if section not in Settings.model_fields:
        raise SettingsError(
            f"{where}: there is no section '{section}'{_nearest(section, Settings.model_fields)}"
        )
    return typing.cast("type[Section]", Settings.model_fields[section].annotation)


def _check_name(model: type[Section], section: str, name: str, where: str) -> None:
    if name in model.model_fields:
        return
    nearest = _nearest(name, model.model_fields)
    if not nearest:
        home = _home_of(name)
        nearest = f"; it belongs to [{home}]" if home else ""
    raise SettingsError(f"{where}: [{section}] has no '{name}'{nearest}")


def _home_of(name: str) -> str:
    """Return the section that holds a setting of this name; '' if none does."""
    return next((s for s, n, _ in walk() if n == name), "")


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f". Did you mean '{close[0]}'?" if close else ""


def _line_of(text: str, name: str, section: str = "") -> int:
    """Return the line (from 1) of a section header or of a name within a section."""
    current = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("["):
            current = line.strip("[").partition("]")[0].strip()
            key = current
        else:
            key = ".".join(filter(None, (current, line.partition("=")[0])))
        parts = [part.strip(" \t\"'") for part in key.split(".")]
        if parts == [section, name] or (not section and parts[0] == name):
            return number
    return 1


def _overlay(values: dict[str, dict[str, Any]], changes: Mapping[str, Mapping[str, Any]]) -> None:
    for section, content in changes.items():
        values.setdefault(section, {}).update(content)
