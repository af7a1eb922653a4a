"""Count rates of sources and of the sky through a filter."""

from __future__ import annotations

import csv
import functools
from importlib import resources

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.errors import SettingsError
from bycatch.settings import SimulateSettings
from bycatch.simulate.scene import Scene

# Widths of the band passes (ACS Instrument Handbook), angstrom rms.
PHOTBW = {"F475W": 420.0, "F606W": 672.3, "F625W": 415.5, "F775W": 434.6, "F814W": 652.0}


def photflam_photplam(filter_name: str) -> tuple[float, float]:
    """Return PHOTFLAM and PHOTPLAM of a WFC filter.

    Raises
    ------
    SettingsError
        The bundled table does not hold the filter.
    """
    zeropoint = photcal.bundled_zeropoint("WFC", filter_name)
    if zeropoint is None:
        raise SettingsError(f"simulate.filters: no zero point for {filter_name}")
    return zeropoint.photflam, zeropoint.photplam


def sky_rate(filter_name: str, settings: SimulateSettings) -> float:
    """Return the brightness of the sky, e/s per nominal pixel.

    Raises
    ------
    SettingsError
        The bundled table does not hold the filter.
    """
    rates = _sky_rates()
    if filter_name not in rates:
        raise SettingsError(
            f"simulate.filters: no sky brightness for {filter_name}",
            hint=f"the table holds {', '.join(rates)}",
        )
    return rates[filter_name] * settings.sky_percent / 100.0


@functools.cache
def _sky_rates() -> dict[str, float]:
    text = (resources.files("bycatch") / "data" / "sky_rate_wfc.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["filter"]: float(row["rate"]) for row in rows}


def true_rates(scene: Scene, filter_name: str) -> tuple[Floats, Floats]:
    """Return the objects' AB magnitudes and total count rates (e/s) in a filter."""
    flam, plam = photflam_photplam(filter_name)
    mag = scene.mag_at(plam)
    return mag, 10 ** (-0.4 * (mag - photcal.ab_zeropoint(flam, plam)))
