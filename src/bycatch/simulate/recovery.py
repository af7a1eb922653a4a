"""Results of artificial sources: which were recovered, completeness, limits, and false detections.

An artificial source is *found* if the detection on the changed image has
something at its place, with the brightness that is expected there, that was
not there before.  What lies on a brighter real source is lost, as it would be in
a catalog.  It is *kept* if it has no cosmic-ray flag either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.injection_columns import COMPLETENESS, INJECT, PURITY
from bycatch.catalogs.tables import empty_table, floats, make_table
from bycatch.images.drc import DrcImage
from bycatch.robust import robust_sigma
from bycatch.settings import Settings
from bycatch.simulate.falling_curve import fit_curve
from bycatch.simulate.trial import Trial, aperture_of, trial

KEPT, RAY, BLENDED, LOST = "kept", "cosmic ray", "blended", "lost"
P_CR_LIMIT = 0.5
"""Where a catalog has p_cr: a source above it is called a cosmic ray."""
CHANGE_SHARE = 0.5
"""Least share of a source's light by which a detection that was there before must have changed."""
MIN_FOR_LIMIT = 20
NEGATIVE_IS_BLIND_TO = (
    "pieces of real sources, blends, spikes, halos, trails, nebulosity, hot pixels"
)
"""False detections that the negative of an image does not have."""


def recovery_columns(
    sources: Table, after: Trial, before: Trial, image: DrcImage, settings: Settings
) -> dict[str, Any]:
    """Return the columns of INJECT for the sources of one run."""
    inject_settings = settings.inject
    r = f"{aperture_of(settings):g}"
    catalog = after.catalog
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    share = after.aperture_share
    x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
    expected = zeropoint - 2.5 * np.log10(np.asarray(sources["aperture_rate"]) / share)
    # The centre of an extended source is known less well.
    size_px = np.asarray(sources["re_arcsec"]) / image.scale_arcsec
    reach = np.hypot(inject_settings.match_radius_px, 0.5 * size_px)
    mag = magnitudes(catalog, r)
    row = matches(x, y, expected, reach, catalog, mag, inject_settings.match_mag)
    is_there = row >= 0
    at = np.where(is_there, row, 0)

    old = matches(x, y, None, reach, before.catalog, magnitudes(before.catalog, r), 0.0)
    had = old >= 0
    old_rate = np.where(had, _rates(before.catalog, r, old, zeropoint), 0.0)
    new_rate = _rates(catalog, r, at, zeropoint) if len(catalog) else np.zeros(len(x))
    full = 10 ** (-0.4 * (expected - zeropoint))
    is_blended = had & (
        (old_rate > full) | (is_there & (new_rate - old_rate < CHANGE_SHARE * full))
    )
    is_found = is_there & ~is_blended
    is_called_ray = is_found & is_cosmic_ray(catalog)[at] if len(catalog) else is_found
    outcome = np.full(len(x), LOST, dtype="U10")
    outcome[is_blended], outcome[is_found], outcome[is_called_ray] = BLENDED, KEPT, RAY

    def of_found(values: Floats) -> Floats:
        return np.where(is_found, values[at], np.nan) if len(catalog) else np.full(len(x), np.nan)

    def taken(name: str) -> Floats:
        numbers = name in catalog.colnames
        return of_found(floats(catalog, name)) if numbers else np.full(len(x), np.nan)

    offset = np.hypot(taken("x_center") - x, taken("y_center") - y)
    return {
        "x": x,
        "y": y,
        "kind": np.asarray(sources["kind"]),
        "mag": np.asarray(sources["mag"]),
        "re_arcsec": np.asarray(sources["re_arcsec"]),
        "axis_ratio": np.asarray(sources["axis_ratio"]),
        "n_exp": np.asarray(sources["n_exp"]),
        "mag_expected": expected,
        "outcome": outcome,
        "found": is_found,
        "kept": is_found & ~is_called_ray,
        "called_cr": is_called_ray,
        "saturated": np.asarray(sources["saturated"]),
        "mag_measured": of_found(mag),
        "mag_err": of_found(magnitudes(catalog, r, "_err")),
        "offset_px": offset,
        "fwhm": taken("fwhm"),
        "p_cr": taken("p_cr"),
        "p_star": taken("p_star"),
    }


def magnitudes(catalog: Table, r: str, of: Literal["", "_err"] = "") -> Floats:
    """Return the AB magnitudes of a catalog, or their errors, (N,).

    Of the PSF fits where there are any that hold; else in the aperture of a radius, whose name is
    ``r``.
    """
    aperture = floats(catalog, f"mag_ab{of}_{r}")
    if "mag_ab_psf" not in catalog.colnames:
        return aperture
    fit = floats(catalog, f"mag_ab_psf{of}")
    holds = np.isfinite(fit) & (np.asarray(catalog["flags"]) & int(Flag.PSF_MISFIT) == 0)
    return np.where(holds, fit, aperture)


def matches(
    x: Floats,
    y: Floats,
    mag: Floats | None,
    reach_px: Floats,
    catalog: Table,
    catalog_mag: Floats,
    within_mag: float,
) -> NDArray[np.int64]:
    """Return the row of a catalog that each source is, -1 where there is none.

    The nearest one within reach; with ``mag``, of those that have it to within ``within_mag``.
    Without, the brightest.
    """
    from scipy.spatial import KDTree

    row = np.full(len(x), -1, dtype=np.int64)
    rows = np.flatnonzero(np.isfinite(catalog_mag))
    if not len(rows) or not len(x):
        return row
    places_px = np.column_stack([floats(catalog, "x_center"), floats(catalog, "y_center")])
    near = KDTree(places_px[rows]).query_ball_point(np.column_stack([x, y]), reach_px)
    for k, neighbours in enumerate(near):
        some = rows[np.asarray(neighbours, dtype=int)]
        if mag is not None:
            some = some[np.abs(catalog_mag[some] - mag[k]) <= within_mag]
        if not len(some):
            continue
        if mag is None:
            row[k] = some[np.argmin(catalog_mag[some])]
        else:
            dx, dy = places_px[some].T - np.array([[x[k]], [y[k]]])
            row[k] = some[np.argmin(dx**2 + dy**2)]
    return row


def _rates(catalog: Table, r: str, rows: NDArray[np.int64], zeropoint: float) -> Floats:
    if not len(catalog):
        return np.zeros(len(rows))
    mag = magnitudes(catalog, r)[np.maximum(rows, 0)]
    return np.asarray(np.nan_to_num(10 ** (-0.4 * (mag - zeropoint))))


def is_cosmic_ray(catalog: Table) -> Bools:
    """Return which rows the catalog calls cosmic rays."""
    is_ray: Bools = np.asarray(catalog["cr_flag"]) == 1
    if "p_cr" in catalog.colnames:
        is_ray = is_ray | (floats(catalog, "p_cr") > P_CR_LIMIT)
    return is_ray


def join_runs(parts: Sequence[dict[str, Any]]) -> Table:
    """Return the rows of several runs as one table, numbered from 1."""
    if not parts:
        return empty_table(INJECT)
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return make_table(INJECT, {"id": np.arange(1, len(data["x"]) + 1), **data})


# ---- tables ------------------------------------------------------------------------------


def wilson(n_yes: Floats, n: Floats, z: float = 1.0) -> tuple[Floats, Floats]:
    """Return the Wilson (1927) interval of a share, ``z`` sigma; (0, 1) where n is 0."""
    n, yes = np.asarray(n, float), np.asarray(n_yes, float)
    safe = np.maximum(n, 1.0)
    share = yes / safe
    middle = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2))
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)


def groups(sources: Table) -> list[tuple[str, float, int, Bools]]:
    """Return (kind, half-light radius, exposures or 0 for all, rows), a size and depth each."""
    out: list[tuple[str, float, int, Bools]] = []
    kind, size = np.asarray(sources["kind"]), np.asarray(sources["re_arcsec"])
    n_exp = np.asarray(sources["n_exp"])
    pairs = sorted(set(zip(kind.tolist(), size.tolist(), strict=True)), key=lambda p: p[1])
    for name, re_arcsec in pairs:
        rows = (kind == name) & (size == re_arcsec)
        depths = np.unique(n_exp[rows]).tolist()
        out.append((name, re_arcsec, 0, rows))
        if len(depths) > 1:
            out += [(name, re_arcsec, depth, rows & (n_exp == depth)) for depth in depths]
    return out


def completeness_table(sources: Table, bin_mag: float) -> Table:
    """Return the completeness by kind, size, number of exposures and magnitude (COMPLETENESS)."""
    rows: list[dict[str, Any]] = []
    for kind, size, depth, of_group in groups(sources):
        bins = np.floor(np.asarray(sources["mag"])[of_group] / bin_mag).astype(int)
        for k in np.unique(bins):
            part = sources[of_group][bins == k]
            recoveries = part[np.asarray(part["kept"])]
            difference = floats(recoveries, "mag_measured") - np.asarray(recoveries["mag_expected"])
            bias = float(np.median(difference)) if len(recoveries) else np.nan
            n, n_found, n_kept = len(part), np.count_nonzero(part["found"]), len(recoveries)
            rows.append(
                {
                    "kind": kind, "re_arcsec": size, "n_exp": depth,
                    "mag_low": k * bin_mag, "mag_high": (k + 1) * bin_mag,
                    "n": n, "n_found": n_found, "n_kept": n_kept,
                    "found": n_found / n, "kept": n_kept / n,
                    "called_cr": 1 - n_kept / n_found if n_found else np.nan,
                    "mag_bias": bias,
                    "mag_scatter": robust_sigma(difference, bias)
                    if len(recoveries) > 2 else np.nan,
                }
            )  # fmt: skip
    data = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    if not rows:
        return empty_table(COMPLETENESS)
    for what in ("found", "kept"):
        data[f"{what}_low"], data[f"{what}_high"] = wilson(data[f"n_{what}"], data["n"])
    return make_table(COMPLETENESS, data)


def limits_of(sources: Table) -> list[dict[str, Any]]:
    """Return the magnitudes where completeness falls to 50 and 90 %, per group of `groups`.

    Of the detection (``mag_50_found``) and without those called cosmic rays (``mag_50_kept``),
    with their errors; None where it does not fall so far, or never was so high.
    """
    out = []
    for kind, size, depth, rows in groups(sources):
        mag = np.asarray(sources["mag"])[rows]
        row: dict[str, Any] = {"kind": kind, "re_arcsec": size, "n_exp": depth, "n": len(mag)}
        for what in ("found", "kept"):
            yes = np.asarray(sources[what])[rows]
            curve = fit_curve(mag, yes) if len(mag) >= MIN_FOR_LIMIT else None
            for percent in (50, 90):
                limit = curve.limit(percent / 100) if curve else (None, None)
                row[f"mag_{percent}_{what}"], row[f"mag_{percent}_{what}_err"] = limit
        out.append(row)
    return out


def limit_and_error(mag: Floats, yes: Bools, level: float) -> tuple[float | None, float | None]:
    """Return where completeness falls to a level, and its 1-sigma error, of a fitted curve.

    Parameters
    ----------
    mag : (N,) float
    yes : (N,) bool
    level : share

    Returns
    -------
    tuple
        None for a level that is not reached within the magnitudes.
    """
    curve = fit_curve(mag, yes) if len(mag) >= MIN_FOR_LIMIT else None
    return curve.limit(level) if curve else (None, None)


def purity_table(image: DrcImage, before: Trial, settings: Settings) -> Table:
    """Return false detections by magnitude (PURITY), from the negative of the image.

    The noise of the sky is nearly symmetric, so the negative holds as many false
    sources as the image.  It holds no cosmic rays: of these, and what their rejection leaves
    behind, there are as many among the kept rows as their p_cr add up to.  In crowded
    fields the sky is no sky.
    """
    mirror = 2 * before.background - image.sci
    mirror.flags.writeable = False
    negative = trial(replace(image, sci=mirror), settings)
    r = f"{aperture_of(settings):g}"
    p_cr = floats(before.catalog, "p_cr") if "p_cr" in before.catalog.colnames else None
    return purity_of(
        magnitudes(before.catalog, r),
        ~is_cosmic_ray(before.catalog),
        magnitudes(negative.catalog, r),
        settings.inject.bin_mag,
        p_cr,
    )


def purity_of(
    mag: Any, is_source: Any, negative_mag: Any, bin_mag: float, p_cr: Floats | None = None
) -> Table:
    """Return the share of false detections by magnitude.

    Parameters
    ----------
    mag, is_source : (N,) magnitudes of the detections, and which are not called cosmic rays
    negative_mag : (M,) magnitudes of the detections in the negative image
    bin_mag : width of the bins
    p_cr : (N,) probability that they are cosmic rays; none are by default
    """
    mag, negative_mag = np.asarray(mag, float), np.asarray(negative_mag, float)
    is_source = np.asarray(is_source, bool)
    finite_mag = np.concatenate([mag[np.isfinite(mag)], negative_mag[np.isfinite(negative_mag)]])
    if not len(finite_mag):
        return empty_table(PURITY)
    first = int(np.floor(finite_mag.min() / bin_mag))
    edges = bin_mag * np.arange(first, int(np.floor(finite_mag.max() / bin_mag)) + 2)
    n, n_kept, n_negative = (
        np.histogram(values[np.isfinite(values)], edges)[0]
        for values in (mag, mag[is_source], negative_mag)
    )
    chance = np.nan_to_num(p_cr) if p_cr is not None else np.zeros(len(mag))
    mask = is_source & np.isfinite(mag)
    n_rays = np.histogram(mag[mask], edges, weights=chance[mask])[0]
    share = np.minimum((n_negative + n_rays) / np.maximum(n_kept, 1), 1.0)
    return make_table(
        PURITY,
        {
            "mag_low": edges[:-1], "mag_high": edges[1:],
            "n": n, "n_kept": n_kept, "n_negative": n_negative,
            "n_cosmic_ray": n_rays,
            "false_share": np.where(n_kept > 0, share, np.nan),
        },
        meta={"NOTE": f"noise and cosmic rays only; not counted: {NEGATIVE_IS_BLIND_TO}"},
    )  # fmt: skip
