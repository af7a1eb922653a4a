"""Detector, filter, unit and zero point of an image; the cards that state them are compared."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from bycatch import photcal
from bycatch.errors import UnsupportedImage
from bycatch.images.headers import Headers
from bycatch.images.kinds import DETECTORS, instrument_of
from bycatch.images.missing import Missing
from bycatch.settings import InputSettings

PHOTOMETRIC_FILTER = re.compile(r"F\d{3}(W|M|N|LP)")
PHOTPLAM_TOLERANCE = 0.02
"""Pivot wavelengths of one filter in WFC and HRC differ by up to 1.3 %, those of one detector by
0.1 %; 2 % are 0.04 mag."""
PHOTFLAM_LIMIT = 0.2
"""PHOTFLAM further from the bundled value than this is no calibration of that filter: all that
ever was published of one filter agrees to 5 %."""
HRC_RATIO = (0.8, 4.0)
"""PHOTFLAM of HRC, of which no table is bundled, over that of WFC: 1.6 for F606W; a wrong power of
ten shows."""
STMAG_ZEROPOINT = -21.10
RATES = ("ELECTRONS/S", "ELECTRON/S", "E/S", "E-/S", "ELECTRONS/SEC", "ELECTRONS/SECOND")
COUNTS = ("ELECTRONS", "ELECTRON", "E", "E-")


@dataclass(frozen=True)
class Calibration:
    """The zero point in use: PHOTFLAM, PHOTPLAM, their origin ('header', 'settings', 'table')."""

    photflam: float
    photplam: float
    origin: str


def filter_names(headers: Headers) -> list[str]:
    """Return the elements in the two filter wheels that are not CLEAR*."""
    names = [str(headers.get(key, "")).upper() for key in ("FILTER1", "FILTER2")]
    return [n for n in names if n and not n.startswith(("CLEAR", "N/A"))]


def detector_of(
    headers: Headers, settings: InputSettings, missing: Missing, notes: list[str]
) -> str:
    """Return 'WFC' or 'HRC'.

    Raises
    ------
    UnsupportedImage
        Another instrument or detector.
    """
    if settings.detector:
        return settings.detector
    name, detector = instrument_of(headers.get("INSTRUME"), headers.get("DETECTOR"))
    photmode = re.search(r"\b(WFC|HRC)", str(headers.get("PHOTMODE", "")).upper())
    if not name or (name == "ACS" and not detector):
        card = "DETECTOR" if name else "INSTRUME"
        missing.add(
            f"{card} is missing, so the detector is unknown",
            "detector",
            photmode[1] if photmode else "<WFC or HRC>",
        )
        return ""
    if name != "ACS" or detector not in DETECTORS:
        raise UnsupportedImage(
            f"{headers.path}: taken with {name} {detector}, not with ACS/WFC or ACS/HRC",
            hint="leave it out; bycatch supports these two detectors only",
        )
    if photmode and photmode[1] != detector:
        # PHOTFLAM of HRC is about 1.6 times that of WFC.
        fits_wfc = "PHOTFLAM" in _supporters(headers, _photmode_filter(headers))
        choice = "WFC" if fits_wfc else "HRC"
        notes.append(
            f"PHOTMODE says {photmode[1]}, DETECTOR {detector}: {choice} is used, as PHOTFLAM "
            f"{'is' if fits_wfc else 'is not'} that of WFC"
        )
        return choice
    return detector


def filter_of(headers: Headers, settings: InputSettings, missing: Missing, notes: list[str]) -> str:
    """Return the filter; PHOTMODE, PHOTPLAM and PHOTFLAM together overrule FILTER1/FILTER2.

    Raises
    ------
    UnsupportedImage
        A polarizer, a ramp or two filters.
    """
    if settings.filter:
        return settings.filter.upper()
    names = filter_names(headers)
    if not names and (match := PHOTOMETRIC_FILTER.search(str(headers.get("FILTER", "")).upper())):
        names = [match[0]]
    of_photmode = _photmode_filter(headers)
    if not names:
        missing.add("no filter in FILTER1 or FILTER2", "filter", of_photmode or "<filter>")
        return ""
    if len(names) == 2 or not PHOTOMETRIC_FILTER.fullmatch(names[0]):
        raise UnsupportedImage(
            f"{headers.path}: taken through {' + '.join(names)}; polarizers, ramps, grisms and "
            "pairs of filters are not supported",
            hint="leave it out",
        )
    card = names[0]
    other = max(
        {of_photmode, _filter_at(headers.number("PHOTPLAM"))} - {card, ""},
        key=lambda name: len(_supporters(headers, name)),
        default="",
    )
    supporters = _supporters(headers, other) if other else []
    if len(supporters) > 1 and not _supporters(headers, card):
        notes.append(
            f"the filter card says {card}, but {', '.join(supporters)} are of {other}: "
            f"{other} is used"
        )
        return other
    if of_photmode and of_photmode != card:
        notes.append(f"PHOTMODE says {of_photmode}, the filter card {card}: the card is used")
    return card


def _photmode_filter(headers: Headers) -> str:
    match = PHOTOMETRIC_FILTER.search(str(headers.get("PHOTMODE", "")).upper())
    return match[0] if match else ""


def _supporters(headers: Headers, name: str) -> list[str]:
    """Return the photometric cards that fit a filter."""
    table = photcal.bundled_zeropoint("WFC", name)
    flam, plam = headers.number("PHOTFLAM"), headers.number("PHOTPLAM")
    fits = {
        "PHOTMODE": _photmode_filter(headers) == name,
        "PHOTPLAM": table and abs(plam / table.photplam - 1) <= PHOTPLAM_TOLERANCE,
        "PHOTFLAM": table and abs(flam / table.photflam - 1) <= photcal.ZEROPOINT_TOLERANCE,
    }
    return [card for card, fit in fits.items() if fit]


def _filter_at(photplam: float) -> str:
    """Return the filter with the nearest pivot wavelength, '' if none is near."""
    pivots = _pivots()
    name = min(pivots, key=lambda n: abs(pivots[n] - photplam), default="")
    near = name and abs(photplam / pivots[name] - 1) <= PHOTPLAM_TOLERANCE
    return name if near else ""


@functools.cache
def _pivots() -> dict[str, float]:
    names = photcal.filters_with_zeropoints()
    zeropoints = {name: photcal.bundled_zeropoint("WFC", name) for name in names}
    return {name: table.photplam for name, table in zeropoints.items() if table}


def unit_of(headers: Headers, settings: InputSettings) -> tuple[str, list[str]]:
    """Return 'electrons/s' or 'electrons' ('' if unknown), and notes.

    BUNIT alone can't be trusted: mosaics that hold rates say ELECTRONS.  The unit that drizzle
    noted of its output (D001OUUN) decides then.
    """
    bunit = str(headers.get("BUNIT", "")).upper().replace(" ", "")
    drizzle_unit = str(headers.get("D001OUUN", "")).lower()
    by_drizzle = {"cps": "electrons/s", "counts": "electrons"}.get(drizzle_unit, "")
    if settings.bunit:
        return settings.bunit, []
    if bunit in RATES:
        if by_drizzle == "electrons":
            return "electrons/s", [f"BUNIT is '{bunit}', but drizzle wrote counts"]
        return "electrons/s", []
    if not by_drizzle:
        return "", []
    action = "taken for electrons/s" if drizzle_unit == "cps" else "divided by the exposure time"
    return by_drizzle, [f"BUNIT is '{bunit}', but drizzle wrote {drizzle_unit}: {action}"]


def require_unit(headers: Headers, settings: InputSettings, missing: Missing) -> None:
    """Note that the unit of the pixels is unknown."""
    if not unit_of(headers, settings)[0]:
        bunit = str(headers.get("BUNIT", "") or "missing")
        value = "electrons" if bunit.upper() in COUNTS else "<electrons/s or electrons>"
        missing.add(f"BUNIT is '{bunit}', not ELECTRONS/S", "bunit", value)


def calibration_of(
    headers: Headers,
    settings: InputSettings,
    detector: str,
    filter_name: str,
    missing: Missing,
    notes: list[str],
) -> Calibration:
    """Return PHOTFLAM and PHOTPLAM; values that the bundled table contradicts are not used."""
    table = photcal.bundled_zeropoint(detector, filter_name)
    flam, origin = _photflam(headers, settings, detector, filter_name, missing, notes)
    plam = settings.photplam or headers.number("PHOTPLAM")
    if not plam > 0 and not table:
        missing.add("PHOTPLAM is missing or 0", "photplam", _known_pivot(filter_name))
    elif not plam > 0:
        assert table
        plam = table.photplam
        notes.append("PHOTPLAM is missing: bundled value used")
    elif table and not settings.photplam and abs(plam / table.photplam - 1) > PHOTPLAM_TOLERANCE:
        notes.append(
            f"PHOTPLAM {plam:g} is not that of {filter_name}: bundled value {table.photplam:g} used"
        )
        plam = table.photplam
    zeropoint = headers.number("PHOTZPT")
    if abs(zeropoint - STMAG_ZEROPOINT) > 0.01:
        notes.append(f"PHOTZPT is {zeropoint:g}, not {STMAG_ZEROPOINT:.2f} (STMAG): not used")
    return Calibration(flam, plam, origin)


def _known_pivot(filter_name: str) -> str:
    """Return the WFC's pivot wavelength of a filter (HRC's is within 1.3 %), or a placeholder."""
    pivot = _pivots().get(filter_name)
    return f"{pivot:g}" if pivot else "<angstrom>"


def _photflam(
    headers: Headers,
    settings: InputSettings,
    detector: str,
    filter_name: str,
    missing: Missing,
    notes: list[str],
) -> tuple[float, str]:
    """Return PHOTFLAM and its origin."""
    if settings.photflam:
        return settings.photflam, "settings"
    flam = headers.number("PHOTFLAM")
    table = photcal.bundled_zeropoint(detector, filter_name)
    problem = "PHOTFLAM is missing or 0"
    if flam > 0:
        problem = _photflam_problem(flam, detector, filter_name)
        if not problem or settings.filter:  # a filter that the user states is used
            if table and abs(flam / table.photflam - 1) > photcal.ZEROPOINT_TOLERANCE:
                notes.append(
                    f"PHOTFLAM {flam:.4g} differs by {100 * (flam / table.photflam - 1):+.1f} % "
                    f"from the {photcal.ZEROPOINT_DATE} value {table.photflam:.4g}"
                )
            return flam, "header"
    if settings.zeropoint_fallback and table:
        cause = "PHOTFLAM is missing" if not flam > 0 else problem
        notes.append(f"{cause}: bundled value of {photcal.ZEROPOINT_DATE} used")
        return table.photflam, "table"
    if table:
        choice = f"--set input.photflam=VALUE states it; {table.photflam:.4g} is bundled"
        missing.add(f"{problem} ({choice})", "zeropoint_fallback", "true")
    else:
        missing.add(problem, "photflam", "<erg/cm2/angstrom/electron>")
    return flam, "header"


def _photflam_problem(flam: float, detector: str, filter_name: str) -> str:
    """Return why a PHOTFLAM can't be right; '' if it can."""
    wfc = photcal.bundled_zeropoint("WFC", filter_name)
    if wfc is None or not detector:
        return ""
    low, high = (
        HRC_RATIO if detector == "HRC" else (1.0 / (1.0 + PHOTFLAM_LIMIT), 1.0 + PHOTFLAM_LIMIT)
    )
    if low <= flam / wfc.photflam <= high:
        return ""
    return f"PHOTFLAM {flam:.4g} can't be that of {detector} {filter_name}"
