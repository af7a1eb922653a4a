"""How long and when: what the cards of exposure times and dates say, and whether they agree."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bycatch.images.headers import Exposure, Headers, number_in, plausible
from bycatch.settings import InputSettings

SAME_TIME = 0.03
"""Exposure times that differ by less are the same: errors of fluxes change by half of it."""
SPAN_MARGIN = 1.05
"""Exposures can't last longer than from EXPSTART to EXPEND; cards are rounded, so by this factor
and `SPAN_MARGIN_S`."""
SPAN_MARGIN_S = 10.0
SAME_DATE_D = 2.0
"""Dates that differ by less are of one visit: DATE-OBS may be of its first exposure."""
LONG_SPAN_D = 30.0
"""A longer span from EXPSTART to EXPEND has no single epoch: stars move while it lasts."""
DAYS_PER_YEAR = 365.25
MJD_ZERO = datetime(1858, 11, 17)


@dataclass(frozen=True)
class TimeClaim:
    """A total exposure time and the cards that claim it.

    Cards of one origin are one vote: TEXPTIME is a copy of EXPTIME.
    """

    seconds: float
    cards: tuple[str, ...]
    origins: frozenset[str]

    def in_words(self) -> str:
        """Return 'EXPTIME 1 s'."""
        return f"{' = '.join(self.cards)} = {self.seconds:g} s"


def exposures_of(headers: Headers) -> dict[str, Exposure]:
    """Return the exposures that were drizzled, each with the longest time of its chips."""
    exposures: dict[str, Exposure] = {}
    for chip in headers.chips:
        longest = exposures.get(chip.exposure)
        if longest is None or chip.exptime_s > longest.exptime_s:
            exposures[chip.exposure] = Exposure(chip.exposure, chip.exptime_s, chip.mjd_mid)
    return exposures


def time_claims(headers: Headers) -> list[TimeClaim]:
    """Return the total exposure times that the headers claim, those with most votes first."""
    statements = [
        ("TEXPTIME", headers.number("TEXPTIME"), "EXPTIME"),
        ("EXPTIME", number_in(headers.primary, "EXPTIME"), "EXPTIME"),
    ]
    if headers.sci is not headers.primary:
        statements.append(("EXPTIME of SCI", number_in(headers.sci, "EXPTIME"), "EXPTIME"))
    exposures = exposures_of(headers)
    statements.append(("sum of DnnnDEXP", sum(e.exptime_s for e in exposures.values()), "DEXP"))
    statements.append(("sum of HDRTAB", _hdrtab_time(headers, len(exposures)), "HDRTAB"))
    claims: list[TimeClaim] = []
    for card, seconds, origin in statements:
        if not seconds > 0:
            continue
        at = next((k for k, c in enumerate(claims) if same_time(c.seconds, seconds)), None)
        if at is None:
            claims.append(TimeClaim(seconds, (card,), frozenset({origin})))
        else:
            old = claims[at]
            claims[at] = TimeClaim(old.seconds, (*old.cards, card), old.origins | {origin})
    span_s = longest_s(headers)
    # Sorting is stable: of equal ones drizzle's own times (DnnnDEXP) come first.
    return sorted(
        claims,
        key=lambda c: (-len(c.origins), c.seconds > span_s, "DEXP" not in c.origins),
    )


def same_time(one: float, other: float) -> bool:
    """Tell whether two exposure times are the same."""
    return abs(one / other - 1.0) <= SAME_TIME


def _hdrtab_time(headers: Headers, n_exposures: int) -> float:
    """Return the exposure times of the table of headers, once per exposure; NaN if unclear."""
    times = {
        str(row.get("ROOTNAME")): plausible("DnnnDEXP", row.get("EXPTIME"))
        for row in headers.hdrtab
    }
    return sum(times.values()) if len(times) == n_exposures else math.nan


def longest_s(headers: Headers) -> float:
    """Return the longest time that EXPSTART and EXPEND leave room for; infinite if unknown."""
    span = (headers.number("EXPEND") - headers.number("EXPSTART")) * 86400.0
    return span * SPAN_MARGIN + SPAN_MARGIN_S if span > 0 else math.inf


def span_note(headers: Headers, exptime_s: float) -> list[str]:
    """Say where exposures last longer than from their start to their end."""
    span_s = longest_s(headers)
    if exptime_s <= span_s:
        return []
    span = f"{(span_s - SPAN_MARGIN_S) / SPAN_MARGIN:.0f} s"
    note = f"{exptime_s:g} s of exposure do not fit between EXPSTART and EXPEND ({span})"
    return [f"{note}: the dates do not cover all exposures"]


# ---- dates -------------------------------------------------------------------------------------


def epochs(headers: Headers, settings: InputSettings) -> tuple[float, float, float, list[str]]:
    """Return start, middle and end of the exposures (MJD; NaN if unknown), and notes."""
    start, end = headers.number("EXPSTART"), headers.number("EXPEND")
    if settings.mjd:
        return start, settings.mjd, end, []
    dates = {"DATE-OBS": _date_obs(headers), "PHOTMODE": _photmode_mjd(headers)}
    dates = {name: mjd for name, mjd in dates.items() if math.isfinite(mjd)}
    if math.isfinite(start) and end >= start:
        return _consistent_dates(start, end, dates)
    notes = []
    if math.isfinite(start) and math.isfinite(end):
        notes.append(f"EXPSTART {start:.5f} is after EXPEND {end:.5f}: neither is used")
    for name, mjd in dates.items():
        return mjd, mjd, mjd, [*notes, f"no EXPSTART/EXPEND: time of observation from {name}"]
    nan = math.nan
    return nan, nan, nan, [*notes, "time of observation unknown: proper motions are not applied"]


def _consistent_dates(
    start: float, end: float, dates: dict[str, float]
) -> tuple[float, float, float, list[str]]:
    """Return EXPSTART and EXPEND, or the dates that agree with each other against them."""
    middle, notes = 0.5 * (start + end), []
    others = {
        name: mjd
        for name, mjd in dates.items()
        if not start - SAME_DATE_D <= mjd <= end + SAME_DATE_D
    }
    if others:
        words = " and ".join(f"{name} {mjd:.1f}" for name, mjd in others.items())
        span = f"EXPSTART to EXPEND {start:.1f} to {end:.1f}"
        values = list(others.values())
        if len(values) == 2 and abs(values[0] - values[1]) <= SAME_DATE_D:
            mjd = others["DATE-OBS"]
            note = f"{words} are not within {span} (MJD): DATE-OBS is used"
            return mjd, mjd, mjd, [note]
        notes.append(f"{words} is not within {span} (MJD): EXPSTART and EXPEND are used")
    if end - start > LONG_SPAN_D:
        notes.append(
            f"the exposures span {(end - start) / DAYS_PER_YEAR:.1f} years (MJD {start:.1f} to "
            f"{end:.1f}): positions are averages over that time, with larger errors for moving "
            f"stars"
        )
    return start, middle, end, notes


def _date_obs(headers: Headers) -> float:
    date = headers.get("DATE-OBS")
    if not isinstance(date, str):
        return math.nan
    clock = headers.get("TIME-OBS", "00:00:00")
    text = date if "T" in date else f"{date}T{clock}"
    try:
        since = datetime.fromisoformat(text).replace(tzinfo=None) - MJD_ZERO
    except ValueError:
        return math.nan
    return plausible("EXPSTART", since / timedelta(days=1))


def _photmode_mjd(headers: Headers) -> float:
    match = re.search(r"MJD#\s*(\d+(\.\d*)?)", str(headers.get("PHOTMODE", "")))
    return plausible("EXPSTART", match[1]) if match else math.nan


def epoch_spread_yr(start: float, end: float, exposures: tuple[Exposure, ...]) -> float:
    """Return the rms spread of the times of exposure, years; 0 within `LONG_SPAN_D` days.

    Of the exposures where their times are known, else of times evenly over the span.
    """
    if not end - start > LONG_SPAN_D:
        return 0.0
    times = np.array([e.mjd_mid for e in exposures])
    if len(times) > 1 and np.isfinite(times).all():
        return float(np.std(times) / DAYS_PER_YEAR)
    return float((end - start) / math.sqrt(12.0) / DAYS_PER_YEAR)
