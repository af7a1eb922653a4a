"""Why an object is in the table of its group: detections, forced measurements, classification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.flags import decode
from bycatch.catalogs.object_classes import POINT, REAL
from bycatch.catalogs.tables import floats, read_table
from bycatch.errors import SettingsError
from bycatch.products.group_state import GroupState, group_folder, read_groups, table_path
from bycatch.system.words import printable
from bycatch.tangent import tangent_mas

if TYPE_CHECKING:
    from astropy.table import Row, Table

MATCH_ARCSEC = 0.5
"""A position given by hand may be off by so much."""
ORIGINS = {1: "an image", 2: "the sum of all images", 4: "your list"}


@dataclass(frozen=True)
class ObjectExplanation:
    """What is known of an object.

    Attributes
    ----------
    group : its group
    object_id : 0 where there is none at the position
    ra, dec : degrees
    verdict : in few words
    sentences : the evidence, in words
    """

    group: str
    object_id: int
    ra: float
    dec: float
    verdict: str
    sentences: tuple[str, ...]


def explain_objects(
    out: Path, *, radec: tuple[float, float] | None = None, object_id: int | None = None
) -> list[ObjectExplanation]:
    """Explain the objects at a position, or one object.

    Parameters
    ----------
    out : output folder of a run
    radec : right ascension and declination, degrees
    object_id : of the tables of objects

    Returns
    -------
    list of ObjectExplanation
        One for each group that has an object within 0.5 arcsec; without one, for each group that
        covers the position.

    Raises
    ------
    SettingsError
        Not one of position and object, or there is no such object.
    """
    if (radec is None) == (object_id is None):
        raise SettingsError("give one object", hint="--object ID, or --radec RA DEC")
    explanations = []
    for state in read_groups(out):
        path = table_path(group_folder(out, state.name), state.name, "objects")
        if not path.exists():
            continue
        table = read_table(path)
        if object_id is not None:
            rows = np.flatnonzero(np.asarray(table["object_id"]) == object_id)
            explanations += [_explain_row(out, state, table, int(row), 0.0) for row in rows[:1]]
            explanations += _successors(state, table, object_id) if not len(rows) else []
        elif radec is not None and len(table):
            explanations += _at(out, state, table, *radec)
    if object_id is not None and not explanations:
        raise SettingsError(
            f"{out}: no object {object_id}", hint="object_id is a column of the tables of objects"
        )
    near = [one for one in explanations if one.object_id]
    return near or explanations


def _at(
    out: Path, state: GroupState, table: Table, ra: float, dec: float
) -> Iterator[ObjectExplanation]:
    """Give the object of a group that is nearest to a position, or that there is none."""
    xy = tangent_mas(floats(table, "ra"), floats(table, "dec"), ra, dec) / 1000.0
    away = np.nan_to_num(np.hypot(*xy.T), nan=np.inf)
    row = int(np.argmin(away))
    if away[row] <= MATCH_ARCSEC:
        yield _explain_row(out, state, table, row, float(away[row]))
    elif ((xy.min(axis=0) < 0) & (xy.max(axis=0) > 0)).all():
        name = table["object_id"][row]
        text = f"The nearest one, {name}, lies {away[row]:.2f} arcsec away."
        yield ObjectExplanation(state.name, 0, ra, dec, "no object here", (text,))


def _successors(state: GroupState, table: Table, object_id: int) -> list[ObjectExplanation]:
    """Return what became of an object of an earlier table that was merged with another."""
    now = dict(table.meta.get("MERGED") or {}).get(str(object_id))
    if now is None:
        return []
    text = f"The object there is now {printable(str(now))}."
    return [
        ObjectExplanation(state.name, object_id, np.nan, np.nan, "merged with another", (text,))
    ]


def _explain_row(
    out: Path, state: GroupState, table: Table, row: int, away: float
) -> ObjectExplanation:
    """Return what is known of an object."""
    own = table[row]
    epochs = read_table(table_path(group_folder(out, state.name), state.name, "epochs"))
    is_own = np.asarray(epochs["object_id"]) == own["object_id"]
    epochs = epochs[is_own & (np.asarray(epochs["exposure"]) == "")]
    filters = [str(f) for f in state.summary.get("filters", ())]
    near = [f"It lies {away:.2f} arcsec from the position."] if away else []
    sentences = (
        *near,
        *_who(own, epochs),
        *_evidence(own, epochs),
        *_light(own, filters),
        *_motion(own, epochs),
        *_variation(own, filters),
        *_neighbourhood(own),
        *_split(own, table),
    )
    return ObjectExplanation(
        state.name, int(own["object_id"]), float(own["ra"]), float(own["dec"]), _verdict(own),
        sentences,
    )  # fmt: skip


def _number(row: Row, name: str) -> float:
    """Return a value of a row; NaN where it is missing, or where there is no such column."""
    if name not in row.colnames or row[name] is np.ma.masked:
        return float("nan")
    return float(row[name])


def _verdict(own: Row) -> str:
    p_real, p_star = _number(own, "p_real"), _number(own, "p_star")
    if np.isnan(p_real):
        return "an object that no image can classify"
    if p_real < REAL:
        return f"probably not real (p_real {p_real:.3g})"
    kind = "an object" if np.isnan(p_star) else "a point" if p_star >= POINT else "extended"
    return f"{kind}, real (p_real {p_real:.3g})"


def _who(own: Row, epochs: Table) -> Iterator[str]:
    """Yield how it was found, which images detected it, and forced measurements in the others."""
    bits = [word for bit, word in ORIGINS.items() if int(own["origin"]) & bit]
    yield f"Found in {' and '.join(bits)}."
    saw = np.asarray(epochs["detected"]).astype(bool)
    for row in epochs[saw]:
        number = int(row["source_id"])
        catalog = f"row id {number} of its catalog" if number else "not in its own catalog"
        p_cr = _number(row, "p_cr_alone")
        alone = "" if np.isnan(p_cr) else f"; on its own it gives p_cr {p_cr:.2g}"
        yield f"{row['image']} detected it ({catalog}; {_strength(row)}){alone}."
    for row in epochs[~saw]:
        yield f"{row['image']} did not detect it; measured at its position: {_strength(row)}."


def _strength(row: Row) -> str:
    """Return magnitude or limit of an object in an image."""
    flux, err = (_number(row, name) for name in ("flux", "flux_err"))
    if not err > 0:
        return "no flux"
    words = f"S/N {flux / err:.1f}"
    mag, limit = _number(row, "mag"), _number(row, "maglim")
    if np.isfinite(mag):
        words += f", {mag:.2f} mag"
    return f"{words}, 5-sigma limit {limit:.2f}" if np.isfinite(limit) else words


def _evidence(own: Row, epochs: Table) -> Iterator[str]:
    numbers = {name: _number(own, name) for name in ("p_real", "p_cr", "p_star")}
    words = ", ".join(f"{name} {v:.3g}" for name, v in numbers.items() if np.isfinite(v))
    n = int(np.asarray(epochs["detected"]).sum())
    if words:
        if n == 0:
            why = "no single image shows it"
        elif n > 1:
            why = f"{n} images show it at the same position, unlike a cosmic ray"
        elif len(epochs) > 1:
            why = "one image shows it; the measurements of the others count for or against it"
        else:
            why = "no other image covers it: its shape in this one decides"
        yield f"All images together: {words} ({why})."
    chi2 = _number(own, "position_chi2")
    if np.isfinite(chi2):
        yield f"Its positions agree with a chi-square of {chi2:.2f} per degree of freedom."
    flags = [name.replace("_", " ") for name in decode(int(own["flags"]))]
    yield f"Flags: {', '.join(flags)}." if flags else "No flag is set."


def _light(own: Row, filters: list[str]) -> Iterator[str]:
    parts = []
    for f in filters:
        mag, err, limit = (_number(own, f"{n}_{f}") for n in ("mag", "mag_err", "maglim"))
        if _number(own, f"snr_{f}") >= 3 and np.isfinite(mag):
            parts.append(f"{f} {mag:.3f} ± {err:.3f}")
        elif np.isfinite(limit):
            parts.append(f"{f} not detected (5-sigma limit {limit:.2f})")
    if parts:
        yield f"AB magnitudes as a point source: {', '.join(parts)}."


def _motion(own: Row, epochs: Table) -> Iterator[str]:
    pm, err = ([_number(own, n + end) for n in ("pmra", "pmdec")] for end in ("", "_err"))
    if not np.isfinite(pm).all():
        mjd = floats(epochs, "mjd")
        years = np.ptp(mjd[np.isfinite(mjd)]) / 365.25 if np.isfinite(mjd).any() else 0.0
        yield f"Its motion is not known: the images span {years:.2f} years."
        return
    sigma = np.sqrt(sum((v / e) ** 2 for v, e in zip(pm, err, strict=True)))
    yield (
        f"It moves by {pm[0]:.2f} ± {err[0]:.2f} mas/yr in right ascension and {pm[1]:.2f} ± "
        f"{err[1]:.2f} in declination ({sigma:.1f} sigma)."
    )
    parallax = _number(own, "parallax")
    if np.isfinite(parallax):
        yield f"Its parallax is {parallax:.2f} ± {_number(own, 'parallax_err'):.2f} mas."


def _variation(own: Row, filters: list[str]) -> Iterator[str]:
    for f in filters:
        chance = _number(own, f"p_variable_{f}")
        if np.isfinite(chance):
            amplitude, rate = _number(own, f"amplitude_{f}"), _number(own, f"false_rate_{f}")
            yield (
                f"{f}: variable with a probability of {chance:.3g} (rms {amplitude:.3f} mag "
                f"beyond the errors; {rate:.2g} of constant objects look as variable)."
            )


def _neighbourhood(own: Row) -> Iterator[str]:
    nearest = _number(own, "nearest_arcsec")
    if np.isfinite(nearest):
        yield f"The nearest other real object lies {nearest:.2f} arcsec away."
    star: Any = own["gaia_source_id"]
    if star is not np.ma.masked and int(star):
        yield f"It is Gaia DR3 {int(star)} (G {_number(own, 'gaia_g'):.2f})."
    row = int(own["list_row"])
    if row:
        yield f"It is row {row} of your list."


def _split(own: Row, table: Table) -> Iterator[str]:
    other = dict(table.meta.get("SPLIT") or {}).get(str(int(own["object_id"])))
    if other is not None:
        yield f"Before images changed it was part of object {printable(str(other))}."
