"""What photometry and astrometry need to know of an image, from its headers and the user."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from bycatch import photcal
from bycatch.errors import MissingKeyword, UnsupportedImage
from bycatch.images.files import root_of, stem_of
from bycatch.images.headers import Chip, Exposure, Headers
from bycatch.settings import InputSettings

PHOTOMETRIC_FILTER = re.compile(r"F\d{3}(W|M|N|LP)")
DEFAULT_READNOISE_E = 4.2
"""Typical read noise of ACS/WFC and HRC (ACS Data Handbook: 3.75 to 5.65 e)."""
NATIVE_SCALE_ARCSEC = {"WFC": 0.05, "HRC": 0.025}
SATURATION_SHARE = 0.73
"""A pixel above this share of the full well counts as saturated: drizzling averages a full pixel
with its neighbours."""
FULL_WELL_E = {"WFC": 77400.0, "HRC": 155000.0}
"""Charge at which a pixel saturates (ACS Instrument Handbook; WFC: 72-82 ke over the field)."""


@dataclass(frozen=True)
class ImageMeta:
    """What photometry and astrometry need to know of an image."""

    root: str
    stem: str
    filter: str
    detector: str
    exptime_s: float
    n_exposures: int
    photflam: float
    photplam: float
    zeropoint_origin: str
    """'header', 'settings' or 'table'."""
    mjd_start: float
    mjd_mid: float
    mjd_end: float
    chips: tuple[Chip, ...]
    readnoise_e: float
    gain: float
    pixfrac: float
    native_scale_arcsec: float
    is_cte_corrected: bool
    proposal: str
    target: str
    prime_instrument: str
    photmode: str
    rootname: str
    wcsname: str
    pa_v3_deg: float = math.nan
    """Position angle of HST's V3 axis, which spikes follow; NaN if the file does not say."""
    notes: tuple[str, ...] = ()
    """What looks wrong or was assumed; goes to the log and into every table."""

    def noting(self, *notes: str) -> ImageMeta:
        """Return a copy with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """The exposures that the file names, in the order of their first chips."""
        firsts: dict[str, Chip] = {}
        for chip in self.chips:
            firsts.setdefault(chip.exposure, chip)
        return tuple(Exposure(n, c.exptime_s, c.mjd_mid) for n, c in firsts.items())

    @property
    def exptime_per_exposure_s(self) -> float:
        """Mean duration of one exposure, seconds."""
        return self.exptime_s / max(self.n_exposures, 1)

    @property
    def full_well_e(self) -> float:
        """Charge at which a pixel of this detector saturates, electrons."""
        return FULL_WELL_E[self.detector]

    @property
    def saturation_rate(self) -> float:
        """Rate of a pixel that is near saturation in an exposure of mean duration, e/s."""
        return SATURATION_SHARE * self.full_well_e / self.exptime_per_exposure_s

    @property
    def subtracted_sky_rate(self) -> float:
        """Sky that drizzling subtracted, e/s per native pixel; NaN if the file does not say."""
        known = [c for c in self.chips if c.mdrizsky_e >= 0 and c.exptime_s > 0]
        if not known:
            return float("nan")
        return sum(c.mdrizsky_e for c in known) / sum(c.exptime_s for c in known)


def image_meta(headers: Headers, settings: InputSettings | None = None) -> ImageMeta:
    """Collect the metadata of an image; the user's ``input`` settings win over the headers.

    Raises
    ------
    UnsupportedImage
        Not ACS/WFC or HRC, a polarizer, ramp, grism or prism, or two filters.
    MissingKeyword
        Exposure time or calibration is absent or zero.
    """
    given = settings or InputSettings()
    path = headers.path
    detector = _detector(headers, given)
    n_exposures, notes = _n_exposures(headers, given, detector)
    start, mid, end, time_notes = _times(headers, given)
    filter_name = _filter(headers, given)
    photflam, photplam, origin, calibration_notes = _calibration(
        headers, given, detector, filter_name
    )
    stem = stem_of(path)
    cte = not re.search(r"_drz(_|$)", stem)
    if not cte:
        notes.append("a drz file: not corrected for charge-transfer losses (use the drc)")
    return ImageMeta(
        root=root_of(stem),
        stem=stem,
        filter=filter_name,
        detector=detector,
        exptime_s=_exptime(headers, given),
        n_exposures=n_exposures,
        photflam=photflam,
        photplam=photplam,
        zeropoint_origin=origin,
        mjd_start=start,
        mjd_mid=mid,
        mjd_end=end,
        chips=headers.chips,
        readnoise_e=_mean_of(headers, "READNSE", DEFAULT_READNOISE_E),
        gain=_mean_of(headers, "ATODGN", 2.0),
        pixfrac=_positive(headers.number("D001PIXF"), 1.0),
        native_scale_arcsec=NATIVE_SCALE_ARCSEC[detector],
        is_cte_corrected=cte,
        proposal=str(headers.get("PROPOSID", "")),
        target=str(headers.get("TARGNAME", "")),
        prime_instrument=str(headers.get("PRIMESI", "")),
        photmode=str(headers.get("PHOTMODE", "")),
        rootname=str(headers.get("ROOTNAME", "")),
        wcsname=str(headers.get("WCSNAME", "")),
        pa_v3_deg=headers.number("PA_V3"),
        notes=(*notes, *time_notes, *calibration_notes),
    )


def _positive(value: float, default: float) -> float:
    return value if value > 0 else default


def _mean_of(headers: Headers, prefix: str, default: float) -> float:
    values = [v for amp in "ABCD" if (v := headers.number(prefix + amp)) > 0]
    return sum(values) / len(values) if values else default


def _detector(headers: Headers, given: InputSettings) -> str:
    if given.detector:
        return given.detector
    instrument = headers.get("INSTRUME")
    if instrument is None:
        raise MissingKeyword(
            f"{headers.path}: INSTRUME is missing, so the detector is unknown",
            hint="if it is ACS: --set input.detector=WFC (or HRC), or in <stem>.bycatch.toml",
        )
    detector = str(headers.get("DETECTOR", ""))
    if instrument != "ACS" or detector not in NATIVE_SCALE_ARCSEC:
        raise UnsupportedImage(
            f"{headers.path}: taken with {instrument} {detector}, not with ACS/WFC or ACS/HRC",
            hint="leave it out; bycatch knows the calibration of these two detectors only",
        )
    return detector


def filter_names(headers: Headers) -> list[str]:
    """Return the elements in the two filter wheels that are not CLEAR*."""
    names = [str(headers.get(key, "")).upper() for key in ("FILTER1", "FILTER2")]
    return [n for n in names if n and not n.startswith("CLEAR")]


def _filter(headers: Headers, given: InputSettings) -> str:
    if given.filter:
        return given.filter.upper()
    names = filter_names(headers)
    if not names and (found := PHOTOMETRIC_FILTER.search(str(headers.get("FILTER", "")).upper())):
        names = [found[0]]
    if not names:
        raise MissingKeyword(
            f"{headers.path}: no filter in FILTER1 or FILTER2",
            hint="give it with --set input.filter=F606W",
        )
    if len(names) == 2 or not PHOTOMETRIC_FILTER.fullmatch(names[0]):
        raise UnsupportedImage(
            f"{headers.path}: taken through {' + '.join(names)}; polarizers, ramps, grisms and "
            "pairs of filters are not calibrated here",
            hint="leave it out",
        )
    return names[0]


def _exptime(headers: Headers, given: InputSettings) -> float:
    value = given.exptime_s or _positive(headers.number("TEXPTIME"), headers.number("EXPTIME"))
    if not value > 0:
        raise MissingKeyword(
            f"{headers.path}: EXPTIME is missing or 0",
            hint="give it with --set input.exptime_s=600",
        )
    return value


def _n_exposures(headers: Headers, given: InputSettings, detector: str) -> tuple[int, list[str]]:
    if given.n_exposures:
        return given.n_exposures, []
    names = {chip.exposure for chip in headers.chips}
    if names:
        return len(names), []
    # NDRIZIM counts chips: two per full-frame WFC exposure.
    n_chips = headers.number("NDRIZIM")
    if n_chips >= 1:
        n = max(1, round(n_chips / (2 if detector == "WFC" else 1)))
        return n, [f"no D00nDATA cards: {n} exposures taken from NDRIZIM = {n_chips:.0f}"]
    return 1, ["neither D00nDATA nor NDRIZIM: taken for a single exposure"]


def _times(headers: Headers, given: InputSettings) -> tuple[float, float, float, list[str]]:
    start, end = headers.number("EXPSTART"), headers.number("EXPEND")
    if given.mjd:
        return start, given.mjd, end, []
    if start > 0 and end >= start:
        return start, 0.5 * (start + end), end, []
    date = headers.get("DATE-OBS")
    if date:
        from astropy.time import Time

        clock = headers.get("TIME-OBS", "00:00:00")
        text = date if "T" in str(date) else f"{date}T{clock}"
        try:
            mjd = float(Time(text, format="isot", scale="utc").mjd)
        except ValueError:
            pass
        else:
            return mjd, mjd, mjd, ["no EXPSTART/EXPEND: time of observation from DATE-OBS"]
    nan = float("nan")
    return nan, nan, nan, ["time of observation unknown: proper motions are not applied"]


def _calibration(
    headers: Headers, given: InputSettings, detector: str, filter_name: str
) -> tuple[float, float, str, list[str]]:
    """Return PHOTFLAM, PHOTPLAM, where they come from, and notes."""
    table = photcal.bundled_zeropoint(detector, filter_name)
    flam, origin = given.photflam or headers.number("PHOTFLAM"), "header"
    if given.photflam:
        origin = "settings"
    elif not flam > 0:
        if not (given.zeropoint_fallback and table):
            raise MissingKeyword(
                f"{headers.path}: PHOTFLAM is missing or 0",
                hint="give --set input.photflam=VALUE"
                + (
                    ", or take the bundled value with --set input.zeropoint_fallback=true"
                    if table
                    else ""
                ),
            )
        flam, origin = table.photflam, "table"
    plam = given.photplam or headers.number("PHOTPLAM")
    notes = []
    if origin == "table":
        notes.append(f"PHOTFLAM is missing: bundled value of {photcal.ZEROPOINT_DATE} used")
    if not plam > 0:
        if not table:
            raise MissingKeyword(
                f"{headers.path}: PHOTPLAM is missing or 0",
                hint="give it with --set input.photplam=VALUE",
            )
        plam = table.photplam
        notes.append("PHOTPLAM is missing: bundled value used")
    if table and abs(flam / table.photflam - 1) > photcal.ZEROPOINT_TOLERANCE:
        notes.append(
            f"PHOTFLAM {flam:.4g} differs by {100 * (flam / table.photflam - 1):+.1f} % from the "
            f"{photcal.ZEROPOINT_DATE} value {table.photflam:.4g}"
        )
    return flam, plam, origin, notes
