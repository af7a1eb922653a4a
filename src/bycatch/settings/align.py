"""Settings of the alignment."""

from __future__ import annotations

from typing import ClassVar

from bycatch.settings.limits import (
    MOST_LETTERS,
    MOST_MAG,
    MOST_MAS,
    MOST_SIGMA,
    MOST_STARS,
    MOST_WAIT_S,
)
from bycatch.settings.section import Section, setting


class AlignSettings(Section):
    """Alignment to Gaia."""

    # The stars themselves are part of a product's key, whichever service sent them.
    NOT_IN_DIGEST: ClassVar[frozenset[str]] = frozenset(
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
        False, "use no service, only the user's table, stored stars and the cache"
    )
    gaia_cache: str = setting(
        "",
        "folder for the answers of the services; '': the variable BYCATCH_CACHE, or the "
        "user's cache folder; 'off': nowhere",
        max_length=MOST_LETTERS,
    )
    gaia_timeout_s: float = setting(
        60.0, "timeout for a service that sends nothing", "s", gt=0, le=MOST_WAIT_S
    )
    gaia_total_s: float = setting(
        240.0,
        "maximum wait for the stars of a field, all services and retries together",
        "s",
        gt=0,
        le=MOST_WAIT_S,
    )
    gaia_retries: int = setting(
        2, "retries of a query that failed for a temporary reason", ge=0, le=1000
    )
    gaia_retry_wait_s: float = setting(
        2.0,
        "wait before the first retry; doubled for each further one",
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
        "error per axis assumed for the proper motion of a star without a measured one",
        "mas/yr",
        ge=0,
        le=MOST_MAS,
    )
    max_shift_arcsec: float = setting(3.0, "maximum pointing error searched", "arcsec", gt=0, le=20)
    max_roll_deg: float = setting(0.3, "maximum roll error searched", "deg", ge=0, le=5)
    tolerance_mas: float = setting(
        100.0, "maximum separation of a pair in the search for the offset", "mas", ge=5, le=MOST_MAS
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
        0.4, "maximum ellipticity of a star-like detection", gt=0, le=1
    )
    max_cr_share: float = setting(
        0.5, "maximum fraction of cosmic-ray pixels in a star-like detection", ge=0, le=1
    )
    max_mag_difference: float = setting(
        3.0,
        "maximum difference between a star's G and a source's AB magnitude, and between filters",
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
        50.0, "error per axis of a reference star if the table gives none", "mas", gt=0, le=MOST_MAS
    )
    frame_floor_mas: float = setting(
        0.15, "minimum error of a frame, however many stars it has", "mas", ge=0, le=MOST_MAS
    )
    n_scrambles: int = setting(
        16, "number of searches with scrambled stars, for the odds of chance", ge=0, le=1000
    )
    max_rms_mas: float = setting(
        30.0,
        "scatter of the pairs per axis (in the fit, or each left out in turn) beyond which the "
        "grade is C at best",
        "mas",
        gt=0,
        le=MOST_MAS,
    )
    max_chance: float = setting(
        1e-4, "maximum number of equally good alignments expected by chance", gt=0, lt=1
    )
