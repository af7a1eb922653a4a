"""Isochrones of the user's, as they would be seen: at a distance, behind dust, in AB magnitudes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.errors import SettingsError
from bycatch.system.words import printable
from bycatch.user_files.user_tables import plain_name, read_user_table

MOST_POINTS = 600
"""Of a curve on the page: every k-th of more."""
SYSTEMS = ("ab", "vega")


@dataclass(frozen=True, eq=False)
class Isochrone:
    """A curve of stars, or any other locus.

    Attributes
    ----------
    label : of the file
    magnitudes : (N,) apparent AB magnitudes by filter
    """

    label: str
    magnitudes: dict[str, Floats]

    def content(self) -> dict[str, Any]:
        """Return it as the page holds it."""
        return {
            "label": self.label,
            "magnitudes": {
                name: [round(float(v), 4) if np.isfinite(v) else None for v in mags]
                for name, mags in self.magnitudes.items()
            },
        }


def read_isochrone(
    path: str | Path,
    filters: Iterable[str],
    distance_modulus: float = 0.0,
    reddening: float = 0.0,
    system: str = "ab",
) -> Isochrone:
    """Read a table of magnitudes, and move it to where it would be seen.

    Parameters
    ----------
    path : a table of any kind that `read_user_table` knows, with a column for each of two or more
        filters, whose name holds that of the filter (F606W, mag_F606W, ACS_WFC_F606W, F606Wmag)
    filters : which are wanted
    distance_modulus : is added to all magnitudes
    reddening : E(B - V) of Schlegel, Finkbeiner & Davis (1998), mag; see `photcal.extinction`
    system : of the magnitudes: 'ab' or 'vega' (which are made AB by the zero points of ACS/WFC)

    Raises
    ------
    SettingsError
        It is no table, or has magnitudes in less than two of the filters; a filter whose extinction
        or Vega zero point is not known; a number that is none; a negative reddening.
    UnreadableFile
        There is no such file.
    """
    path = Path(path)
    if system not in SYSTEMS:
        raise SettingsError(
            f"magnitudes of the system '{system}' are not known", hint=f"use {' or '.join(SYSTEMS)}"
        )
    for name, value in (("distance modulus", distance_modulus), ("reddening", reddening)):
        if not np.isfinite(value):
            raise SettingsError(f"{name} {value}: not a number", hint="give magnitudes")
    if reddening < 0:
        raise SettingsError(
            f"reddening {reddening:g}: dust makes no star bluer", hint="give E(B-V), 0 or more"
        )
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file", hint="check the path of --isochrone")
    user_table = read_user_table(path, path.name)
    columns = {
        f: column for f in filters if (column := _column(user_table.table.colnames, f, path.name))
    }
    if len(columns) < 2:
        raise SettingsError(
            f"{path.name}: magnitudes in {len(columns)} of the filters {', '.join(filters)}",
            hint="name two columns or more by their filters; there are "
            + printable(", ".join(user_table.table.colnames[:40])),
        )
    step = max(1, -(-len(user_table.table) // MOST_POINTS))
    magnitudes = {}
    for name, column in columns.items():
        magnitude = user_table.numbers(column, "mag") + distance_modulus
        if reddening:
            magnitude = magnitude + reddening * photcal.extinction(name)
        if system == "vega":
            magnitude = magnitude - photcal.vega_minus_ab(name)
        magnitudes[name] = np.asarray(magnitude, float)[::step]
    return Isochrone(printable(path.name), magnitudes)


def _column(names: Iterable[str], filter_name: str, label: str) -> str | None:
    """Return the column of a filter: its very name, else the one that holds it; None without."""
    name_to_find = filter_name.lower()
    exact = [name for name in names if plain_name(name) == name_to_find]
    holding = exact or [name for name in names if name_to_find in plain_name(name).replace("_", "")]
    if len(holding) > 1:
        acs = [name for name in holding if "acs" in name.lower()]
        holding = acs if len(acs) == 1 else holding
    if len(holding) > 1:
        raise SettingsError(
            f"{label}: {printable(', '.join(holding))} could all be {filter_name}",
            hint=f"name one of them {filter_name}",
        )
    return holding[0] if holding else None
