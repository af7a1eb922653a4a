"""What photometry and astrometry need to know of an image, from its headers and the user."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bycatch.errors import UnusableData
from bycatch.images.calibration import calibration_of, detector_of, filter_of, require_unit
from bycatch.images.files import root_of, stem_of
from bycatch.images.headers import Chip, Exposure, Headers
from bycatch.images.missing import Missing
from bycatch.images.times import epoch_spread_yr, epochs, time_claims
from bycatch.images.wcs import celestial_wcs
from bycatch.settings import InputSettings

DEFAULT_READNOISE_E = 4.2
"""Typical read noise of ACS/WFC and HRC (ACS Data Handbook: 3.75 to 5.65 e)."""
NATIVE_SCALE_ARCSEC = {"WFC": 0.05, "HRC": 0.025}
SAME_SCALE = 0.02
"""Distortion changes the size of a detector pixel by more across the field."""
SATURATION_SHARE = 0.73
"""A pixel above this share of the full well counts as saturated: drizzling averages a full pixel
with its neighbours."""
FULL_SHARE = 0.8
"""A core with a pixel above this share of the saturation rate is flat: drizzling spreads a full
pixel over its eight neighbours, and a converter may end before the well is full."""
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

    def detector_px(self, scale_arcsec: float) -> float:
        """Return the side of a detector pixel in pixels of a scale; exactly 1 if within 2 %.

        Lengths of the PSF and of the sky are given in detector pixels, in which the stars of WFC
        and HRC are about as wide.
        """
        ratio = self.native_scale_arcsec / scale_arcsec
        return 1.0 if abs(ratio - 1.0) < SAME_SCALE else ratio

    def with_notes(self, *notes: str) -> ImageMeta:
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
    def epoch_spread_yr(self) -> float:
        """Rms spread of the times of exposure, years; 0 for the exposures of some weeks."""
        return epoch_spread_yr(self.mjd_start, self.mjd_end, self.exposures)

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
    def full_rate(self) -> float:
        """Rate of a pixel from which the core of a star may be flat, e/s."""
        return FULL_SHARE * self.saturation_rate

    @property
    def subtracted_sky_rate(self) -> float:
        """Sky that drizzling subtracted, e/s per native pixel; NaN if the file does not say."""
        chips = [c for c in self.chips if c.mdrizsky_e >= 0 and c.exptime_s > 0]
        if not chips:
            return float("nan")
        return sum(c.mdrizsky_e for c in chips) / sum(c.exptime_s for c in chips)


def image_meta(
    headers: Headers, settings: InputSettings | None = None, *, other_needs: Sequence[str] = ()
) -> ImageMeta:
    """Collect the metadata of an image; the user's ``input`` settings win over the headers.

    Of exposure times that disagree the one with most witnesses is taken; `witnesses.settled` asks
    the pixels.

    Parameters
    ----------
    headers : of the file
    settings : what the user states
    other_needs : what else the caller lacks; said together with the facts that are missing

    Raises
    ------
    UnsupportedImage
        Not ACS/WFC or HRC, a polarizer, ramp, grism or prism, or two filters.
    MissingKeyword
        Facts are missing or implausible: all of them in one error.
    """
    input_settings = settings or InputSettings()
    missing, notes = Missing(headers.path), _doubts(headers)
    detector = detector_of(headers, input_settings, missing, notes)
    filter_name = filter_of(headers, input_settings, missing, notes)
    claims = time_claims(headers)
    exptime_s = input_settings.exptime_s or (claims[0].seconds if claims else math.nan)
    if not (input_settings.exptime_s or any("EXPTIME" in claim.origins for claim in claims)):
        value = f"{exptime_s:g}" if exptime_s > 0 else "<seconds>"
        missing.add("EXPTIME is missing or 0", "exptime_s", value)
    calibration = calibration_of(headers, input_settings, detector, filter_name, missing, notes)
    require_unit(headers, input_settings, missing)
    if missing:
        wcs_problem = _wcs_problem(headers)
        missing.reasons += [*other_needs, *wcs_problem]
        missing.is_no_image = bool(wcs_problem) and set(missing.statements) >= FACTS_OF_AN_IMAGE
        raise missing.error()
    n_exposures, count_notes = _n_exposures(headers, input_settings, detector)
    start, mid, end, time_notes = epochs(headers, input_settings)
    stem = stem_of(headers.path)
    cte = not re.search(r"_drz(_|$)", stem)
    if not cte:
        notes.append("a drz file: not corrected for charge-transfer losses (use the drc)")
    return ImageMeta(
        root=root_of(stem),
        stem=stem,
        filter=filter_name,
        detector=detector,
        exptime_s=exptime_s,
        n_exposures=n_exposures,
        photflam=calibration.photflam,
        photplam=calibration.photplam,
        zeropoint_origin=calibration.origin,
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
        notes=(*count_notes, *notes, *time_notes),
    )


FACTS_OF_AN_IMAGE = {"detector", "filter", "exptime_s"}


def _wcs_problem(headers: Headers) -> list[str]:
    """Return why the image has no place on the sky: no statement mends that."""
    try:
        celestial_wcs(headers)
    except UnusableData as err:
        return [err.message.removeprefix(f"{headers.path}: ")]
    return []


def _doubts(headers: Headers) -> list[str]:
    """Return a note on the cards whose values can't be."""
    doubtful = headers.doubtful()
    return [f"implausible values, not used: {', '.join(doubtful)}"] if doubtful else []


def _positive(value: float, default: float) -> float:
    return value if value > 0 else default


def _mean_of(headers: Headers, prefix: str, default: float) -> float:
    values = [v for amp in "ABCD" if (v := headers.number(prefix + amp)) > 0]
    return sum(values) / len(values) if values else default


def _n_exposures(headers: Headers, settings: InputSettings, detector: str) -> tuple[int, list[str]]:
    if settings.n_exposures:
        return settings.n_exposures, []
    n_chips, n_cards = headers.number("NDRIZIM"), len(headers.chip_numbers)
    if headers.chips:
        notes = []
        if n_chips > 0 and n_chips != n_cards:
            notes = [f"NDRIZIM = {n_chips:.0f}, but {n_cards} DnnnDATA cards: these are used"]
        return len({chip.exposure for chip in headers.chips}), notes
    why = "no DnnnDATA cards"
    if n_cards:
        why = f"DnnnDATA cards with gaps ({n_cards} of {max(headers.chip_numbers)}): not used"
    # NDRIZIM counts chips: two per full-frame WFC exposure.
    if n_chips >= 1:
        n = max(1, round(n_chips / (2 if detector == "WFC" else 1)))
        return n, [f"{why}: {n} exposures taken from NDRIZIM = {n_chips:.0f}"]
    if n_cards:
        return 1, [f"{why}, and no NDRIZIM: taken for a single exposure"]
    return 1, ["neither D00nDATA nor NDRIZIM: taken for a single exposure"]
