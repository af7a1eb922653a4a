"""Completeness of the images of a run, by artificial sources that go through its steps.

An artificial source is *found* if the detection on the changed image has
something at its place, with the brightness that is expected there, that was
not there before.  What lies on a brighter real source is lost, as it would be in
a catalog.  It is *kept* if it has no cosmic-ray flag either.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Bools, Floats
from bycatch.catalogs.columns import Column
from bycatch.catalogs.tables import make_table, write_table
from bycatch.errors import SettingsError
from bycatch.executors import executor_for
from bycatch.images.drc import DrcImage, read_drc
from bycatch.pipeline.image import (
    ImageJob,
    Outcome,
    Worked,
    attempt,
    begin,
    died,
    plain_settings,
    sizes_mb,
    step_over,
)
from bycatch.products import find_records, input_settings
from bycatch.settings import Settings
from bycatch.simulate import injection
from bycatch.stages import crmask, detect, finalize, measure
from bycatch.system.disk import atomic
from bycatch.version import __version__

logger = logging.getLogger("bycatch")


KEPT, RAY, BLENDED, LOST = "kept", "cosmic ray", "blended", "lost"
P_CR_LIMIT = 0.5
"""Where a catalog has p_cr: a source above it is called a cosmic ray."""
CHANGE_SHARE = 0.5
"""Least share of a source's light by which a detection that was there before must have changed."""
MIN_FOR_LIMIT, N_BOOTSTRAP = 20, 100

INJECT: tuple[Column, ...] = (
    Column("id", "i8", "", "meta.id;meta.main", "number of the artificial source, from 1"),
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "true position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "true position, 0-based pixel centres"),
    Column("kind", "U8", "", "src.class", "star or galaxy"),
    Column("mag", "f8", "mag", "phot.mag;em.opt", "true total AB magnitude"),
    Column("re_arcsec", "f8", "arcsec", "phys.angSize", "half-light radius; 0 for a star"),
    Column("axis_ratio", "f8", "", "src.ellipticity", "minor over major axis"),
    Column("n_exp", "i4", "", "meta.number", "number of exposures at its place"),
    Column(
        "mag_expected", "f8", "mag", "phot.mag;em.opt",
        "AB magnitude that the catalog's aperture and correction give it without noise and "
        "neighbours: fainter than the true one for galaxies",
    ),
    Column("outcome", "U10", "", "meta.code", "kept, cosmic ray, blended or lost"),
    Column("found", "bool", "", "meta.code", "detected: kept, or called a cosmic ray"),
    Column("kept", "bool", "", "meta.code", "detected, and not called a cosmic ray"),
    Column("called_cr", "bool", "", "meta.code.qual", "detected, but called a cosmic ray"),
    Column("saturated", "bool", "", "meta.code.qual", "its peak is above the full well"),
    Column(
        "mag_measured", "f8", "mag", "phot.mag;em.opt", "AB magnitude of the catalog", nullable=True
    ),
    Column(
        "mag_err", "f8", "mag", "stat.error;phot.mag;em.opt", "its error, statistical",
        nullable=True,
    ),
    Column(
        "offset_px", "f8", "pix", "pos.angDistance", "detected minus true position", nullable=True
    ),
    Column("fwhm", "f8", "pix", "phys.angSize", "FWHM in the catalog", nullable=True),
    Column(
        "p_cr", "f8", "", "stat.probability", "p_cr of the catalog, if it has one", nullable=True
    ),
    Column(
        "p_star", "f8", "", "stat.probability", "p_star of the catalog, if it has one",
        nullable=True,
    ),
)  # fmt: skip

COMPLETENESS: tuple[Column, ...] = (
    Column("kind", "U8", "", "src.class", "star or galaxy"),
    Column("re_arcsec", "f8", "arcsec", "phys.angSize", "half-light radius; 0 for stars"),
    Column("n_exp", "i4", "", "meta.number", "number of exposures there; 0: all places"),
    Column("mag_low", "f8", "mag", "phot.mag;stat.min", "bright end of the bin, true magnitude"),
    Column("mag_high", "f8", "mag", "phot.mag;stat.max", "faint end of the bin"),
    Column("n", "i4", "", "meta.number", "artificial sources"),
    Column("n_found", "i4", "", "meta.number", "of them detected"),
    Column("n_kept", "i4", "", "meta.number", "of them detected and not called a cosmic ray"),
    Column("found", "f8", "", "stat.probability", "completeness of the detection"),
    Column("found_low", "f8", "", "stat.min", "lower end of its 68 % interval (Wilson)"),
    Column("found_high", "f8", "", "stat.max", "upper end"),
    Column("kept", "f8", "", "stat.probability", "completeness without those called cosmic rays"),
    Column("kept_low", "f8", "", "stat.min", "lower end of its 68 % interval (Wilson)"),
    Column("kept_high", "f8", "", "stat.max", "upper end"),
    Column(
        "called_cr", "f8", "", "stat.probability",
        "share of the detected that is called a cosmic ray; missing where nothing is detected",
        nullable=True,
    ),
    Column(
        "mag_bias", "f8", "mag", "stat.mean;phot.mag",
        "median of measured minus expected magnitude of the kept ones", nullable=True,
    ),
    Column(
        "mag_scatter", "f8", "mag", "stat.stdev;phot.mag",
        "1.4826 x median absolute deviation of the same", nullable=True,
    ),
)  # fmt: skip

PURITY: tuple[Column, ...] = (
    Column("mag_low", "f8", "mag", "phot.mag;stat.min", "bright end of the bin, catalog magnitude"),
    Column("mag_high", "f8", "mag", "phot.mag;stat.max", "faint end of the bin"),
    Column("n", "i4", "", "meta.number", "detections"),
    Column("n_kept", "i4", "", "meta.number", "of them not called a cosmic ray"),
    Column("n_negative", "i4", "", "meta.number", "detections in the negative image"),
    Column(
        "false_share", "f8", "", "stat.probability",
        "n_negative / n_kept, at most 1: the share of noise in the catalog", nullable=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Catalogued:
    """An image through detect, crmask, measure and finalize."""

    phot: Table
    catalog: Table
    aperture_share: float
    """Share of a star's light that counts in the aperture of `aperture_of`."""
    noise_rate: float
    background: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class InjectionResult:
    """What artificial sources tell about an image.

    Attributes
    ----------
    sources : one row per artificial source (INJECT)
    completeness : by kind, size, number of exposures and magnitude (COMPLETENESS)
    purity : false detections by magnitude (PURITY); without rows if they were not looked for
    psf : the PSF of the image
    limits : 50 and 90 % limits and the like, per kind and size
    n_runs : times that the image went through the steps
    """

    sources: Table
    completeness: Table
    purity: Table
    psf: injection.ImagePsf
    limits: list[dict[str, Any]]
    n_runs: int

    def summary(self) -> dict[str, Any]:
        """Return the numbers for the summary."""
        stars = self.sources[self.sources["kind"] == injection.STAR]
        found = np.count_nonzero(stars["found"])
        return {
            "n_injected": len(self.sources),
            "n_runs": self.n_runs,
            "psf": self.psf.note,
            "psf_fwhm_px": self.psf.fwhm_px,
            "n_psf_stars": self.psf.n_stars,
            "stars_called_cr": np.count_nonzero(stars["called_cr"]) / found if found else None,
            "limits": self.limits,
        }


@dataclass(frozen=True)
class InjectionReport:
    """What became of an image of a run."""

    root: str
    field: str
    filter: str
    outcome: Outcome
    reason: str
    summary: dict[str, Any]
    files: tuple[Path, ...]
    seconds: float


def inject(out: Path, settings: Settings, workers: int | None = None) -> list[InjectionReport]:
    """Put artificial sources into every image below ``out`` and write what became of them.

    Writes ``<root>_inject.ecsv``, ``<root>_completeness.ecsv``, ``<root>_purity.ecsv`` and
    ``<root>_completeness.png`` beside the other products.

    Raises
    ------
    SettingsError
        The folder holds no images.
    """
    records = find_records(out)
    if not records:
        raise SettingsError(f"{out}: no image in it", hint="run 'bycatch run' first")
    extra = {"sizes_mb": sizes_mb(records, out), "steps": ("inject",)}
    logger.info("%d image(s) in %s", len(records), out, extra=extra)
    executor = executor_for(workers)
    try:
        jobs = [ImageJob(out, record, settings) for record in records]
        return executor.map(_reported, jobs, _lost)
    finally:
        executor.close()


def _reported(job: ImageJob) -> InjectionReport:
    summary: dict[str, Any] = {}
    files: list[Path] = []

    def work() -> None:
        begin(job.label, "inject")
        record, folder = job.record, job.paths.folder
        given = input_settings(job.settings, record)
        image = read_drc(folder / record.name, given, *record.apart(folder))
        result = inject_image(image, job.settings)
        files.extend(_written(job, image, result))
        summary.update(result.summary())

    worked = attempt(job, work)
    if worked.ok:
        logger.info(
            "%s: inject: %d sources, PSF of %s (%.1f s)",
            job.label, summary["n_injected"], summary["psf"], worked.seconds,
            extra=step_over(job.label, "inject", worked.seconds),
        )  # fmt: skip
    return _report(job, worked, summary, files)


def _lost(job: ImageJob) -> InjectionReport:
    """Return what is told of an image whose process died, alone with it."""
    return _report(job, died(job), {}, [])


def _report(
    job: ImageJob, worked: Worked, summary: dict[str, Any], files: list[Path]
) -> InjectionReport:
    record = job.record
    return InjectionReport(
        record.root, record.field, record.filter, worked.outcome, worked.reason, summary,
        tuple(files), worked.seconds,
    )  # fmt: skip


def inject_image(
    image: DrcImage, settings: Settings, population: Table | None = None
) -> InjectionResult:
    """Put artificial sources into an image and see which of them its catalog would hold.

    Parameters
    ----------
    image : DrcImage
    settings : of all steps
    population : table, optional
        Sources to use instead of those of the settings, as `injection.artificial_sources`
        gives them.

    Notes
    -----
    The image goes through the steps once as it is, once for every grid of sources,
    and once as its negative.  The position error of the frame plays no part.
    """
    chosen = settings.inject
    random = np.random.default_rng([chosen.seed, zlib.crc32(image.meta.stem.encode())])
    before = catalogued(image, settings)
    psf = psf_of(image, before, settings)
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    planned = population
    if planned is None:
        planned = injection.artificial_sources(
            image, psf, before.noise_rate, zeropoint, settings.detect, chosen, random
        )
    done, runs, parts = 0, 0, []
    while done < len(planned) and runs < chosen.max_runs:
        x, y = injection.places(
            image.valid, chosen.spacing_px, settings.detect.coverage_box_px,
            settings.detect.min_coverage, random,
        )  # fmt: skip
        if not len(x):
            break
        some = planned[done : done + len(x)]
        some["x"], some["y"] = x[: len(some)], y[: len(some)]
        changed, some = injection.with_sources(
            image, some, psf, before.noise_rate, random, aperture_of(settings),
            (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px),
        )  # fmt: skip
        parts.append(recovered(some, catalogued(changed, settings), before, image, settings))
        done, runs = done + len(some), runs + 1
    sources = _joined(parts)
    purity = (
        purity_table(image, before, settings) if chosen.false_detections else _purity([], [], [], 1)
    )
    completeness = completeness_table(sources, chosen.bin_mag)
    return InjectionResult(sources, completeness, purity, psf, limits_of(sources), runs)


def catalogued(image: DrcImage, settings: Settings) -> Catalogued:
    """Send an image through the steps, in memory."""
    found = detect.run(image, settings.detect)
    rays = crmask.run(image, settings.crmask)
    table = found.sources
    measured = measure.run(
        image,
        np.asarray(table["x"]),
        np.asarray(table["y"]),
        ids=np.asarray(table["id"]),
        cr_mask=rays.grown,
        segmentation=found.segmentation,
        settings=settings.measure,
    )
    annulus = (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px)
    final = finalize.run(
        measured.table, settings.measure.radii_px, image.meta, image.scale_arcsec, annulus,
        settings.finalize,
    )  # fmt: skip
    noise = found.noise[image.valid & (found.noise > 0)]
    typical = float(np.median(noise[:: max(1, noise.size // 100_000)])) if noise.size else np.nan
    shares = dict(zip(final.radii_px, final.aperture_fractions, strict=True))
    share = shares[aperture_of(settings)]
    return Catalogued(measured.table, final.table, share, typical, found.background)


def aperture_of(settings: Settings) -> float:
    """Return the aperture radius whose magnitudes are compared, pixels: that nearest to 4."""
    return min(settings.measure.radii_px, key=lambda r: abs(r - injection.CENTRE_RADIUS_PX))


def psf_of(image: DrcImage, made: Catalogued, settings: Settings) -> injection.ImagePsf:
    """Return the PSF of an image from the stars of its catalog."""
    scale = image.scale_arcsec
    curve = photcal.encircled_energy(image.meta.detector, image.meta.filter)
    inner, outer = settings.measure.annulus_inner_px, settings.measure.annulus_outer_px
    stars = injection.psf_stars(
        made.catalog, made.phot, settings.measure.radii_px, image.meta.photflam, scale,
        curve.annulus_share(inner * scale, outer * scale) * scale**2,
    )  # fmt: skip
    return injection.image_psf(image, stars, made.noise_rate, settings.inject.min_stars)


def recovered(
    sources: Table, after: Catalogued, before: Catalogued, image: DrcImage, settings: Settings
) -> dict[str, Any]:
    """Return the columns of INJECT for the sources of one run."""
    chosen = settings.inject
    r = f"{aperture_of(settings):g}"
    catalog = after.catalog
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    share = after.aperture_share
    x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
    expected = zeropoint - 2.5 * np.log10(np.asarray(sources["aperture_rate"]) / share)
    # The centre of an extended source is known less well.
    size_px = np.asarray(sources["re_arcsec"]) / image.scale_arcsec
    reach = np.hypot(chosen.match_radius_px, 0.5 * size_px)
    mag = _values(catalog, f"mag_ab_{r}")
    row = matches(x, y, expected, reach, catalog, mag, chosen.match_mag)
    is_there = row >= 0
    at = np.where(is_there, row, 0)

    old = matches(x, y, None, reach, before.catalog, _values(before.catalog, f"mag_ab_{r}"), 0.0)
    had = old >= 0
    old_rate = np.where(had, _rates(before.catalog, r, old, zeropoint), 0.0)
    new_rate = _rates(catalog, r, at, zeropoint) if len(catalog) else np.zeros(len(x))
    full = 10 ** (-0.4 * (expected - zeropoint))
    blended = had & ((old_rate > full) | (is_there & (new_rate - old_rate < CHANGE_SHARE * full)))
    found = is_there & ~blended
    called = found & _is_ray(catalog)[at] if len(catalog) else found
    outcome = np.full(len(x), LOST, dtype="U10")
    outcome[blended], outcome[found], outcome[called] = BLENDED, KEPT, RAY

    def taken(name: str) -> Floats:
        if name not in catalog.colnames or not len(catalog):
            return np.full(len(x), np.nan)
        return np.where(found, _values(catalog, name)[at], np.nan)

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
        "found": found,
        "kept": found & ~called,
        "called_cr": called,
        "saturated": np.asarray(sources["saturated"]),
        "mag_measured": taken(f"mag_ab_{r}"),
        "mag_err": taken(f"mag_ab_err_{r}"),
        "offset_px": offset,
        "fwhm": taken("fwhm"),
        "p_cr": taken("p_cr"),
        "p_star": taken("p_star"),
    }


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
    known = np.flatnonzero(np.isfinite(catalog_mag))
    if not len(known) or not len(x):
        return row
    places_px = np.column_stack([_values(catalog, "x_center"), _values(catalog, "y_center")])
    near = KDTree(places_px[known]).query_ball_point(np.column_stack([x, y]), reach_px)
    for k, neighbours in enumerate(near):
        some = known[np.asarray(neighbours, dtype=int)]
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
    mag = _values(catalog, f"mag_ab_{r}")[np.maximum(rows, 0)]
    return np.asarray(np.nan_to_num(10 ** (-0.4 * (mag - zeropoint))))


def _is_ray(catalog: Table) -> Bools:
    """Return which rows the catalog calls cosmic rays."""
    called: Bools = np.asarray(catalog["cr_flag"]) == 1
    if "p_cr" in catalog.colnames:
        called = called | (_values(catalog, "p_cr") > P_CR_LIMIT)
    return called


def _joined(parts: Sequence[dict[str, Any]]) -> Table:
    if not parts:
        return make_table(INJECT, {column.name: [] for column in INJECT})
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
            kept = part[np.asarray(part["kept"])]
            difference = _values(kept, "mag_measured") - np.asarray(kept["mag_expected"])
            bias = float(np.median(difference)) if len(kept) else np.nan
            n, n_found, n_kept = len(part), np.count_nonzero(part["found"]), len(kept)
            rows.append(
                {
                    "kind": kind, "re_arcsec": size, "n_exp": depth,
                    "mag_low": k * bin_mag, "mag_high": (k + 1) * bin_mag,
                    "n": n, "n_found": n_found, "n_kept": n_kept,
                    "found": n_found / n, "kept": n_kept / n,
                    "called_cr": 1 - n_kept / n_found if n_found else np.nan,
                    "mag_bias": bias,
                    "mag_scatter": float(1.4826 * np.median(np.abs(difference - bias)))
                    if len(kept) > 2 else np.nan,
                }
            )  # fmt: skip
    data = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    if not rows:
        return make_table(COMPLETENESS, {column.name: [] for column in COMPLETENESS})
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
            for percent in (50, 90):
                limit = limit_and_error(mag, np.asarray(sources[what])[rows], percent / 100)
                row[f"mag_{percent}_{what}"], row[f"mag_{percent}_{what}_err"] = limit
        out.append(row)
    return out


def limit_and_error(mag: Floats, yes: Bools, level: float) -> tuple[float | None, float | None]:
    """Return where completeness falls to a level, and its 1-sigma error by bootstrap.

    Parameters
    ----------
    mag : (N,) float
    yes : (N,) bool
    level : share

    Notes
    -----
    Completeness is the best curve of all that fall with magnitude (isotonic
    regression): no shape is assumed, since in a single exposure cosmic rays take
    faint sources away long before the noise does.
    """
    limit = _limit(mag, yes, level)
    if limit is None:
        return None, None
    random = np.random.default_rng(len(mag))
    draws = (random.integers(0, len(mag), len(mag)) for _ in range(N_BOOTSTRAP))
    limits = [value for rows in draws if (value := _limit(mag[rows], yes[rows], level)) is not None]
    return limit, float(np.std(limits)) if len(limits) > N_BOOTSTRAP // 2 else None


def _limit(mag: Floats, yes: Bools, level: float) -> float | None:
    from scipy.optimize import isotonic_regression

    if len(mag) < MIN_FOR_LIMIT:
        return None
    order = np.argsort(mag, kind="stable")
    share = isotonic_regression(yes[order].astype(float), increasing=False).x
    n_above = int(np.count_nonzero(share >= level))
    if n_above == 0 or n_above == len(mag):
        return None
    return float(0.5 * (mag[order][n_above - 1] + mag[order][n_above]))


def purity_table(image: DrcImage, before: Catalogued, settings: Settings) -> Table:
    """Return false detections by magnitude (PURITY), from the negative of the image.

    The noise of the sky is nearly symmetric, so the negative holds as many false
    sources as the image.  It holds no cosmic rays: what their rejection leaves
    behind is not counted here.  In crowded fields the sky is no sky.
    """
    flipped = 2 * before.background - image.sci
    flipped.flags.writeable = False
    negative = catalogued(replace(image, sci=flipped), settings)
    name = f"mag_ab_{aperture_of(settings):g}"
    return _purity(
        _values(before.catalog, name),
        ~_is_ray(before.catalog),
        _values(negative.catalog, name),
        settings.inject.bin_mag,
    )


def _purity(mag: Any, kept: Any, negative_mag: Any, bin_mag: float) -> Table:
    mag, negative_mag = np.asarray(mag, float), np.asarray(negative_mag, float)
    kept = np.asarray(kept, bool)
    known = np.concatenate([mag[np.isfinite(mag)], negative_mag[np.isfinite(negative_mag)]])
    if not len(known):
        return make_table(PURITY, {column.name: [] for column in PURITY})
    first = int(np.floor(known.min() / bin_mag))
    edges = bin_mag * np.arange(first, int(np.floor(known.max() / bin_mag)) + 2)
    n, n_kept, n_negative = (
        np.histogram(values[np.isfinite(values)], edges)[0]
        for values in (mag, mag[kept], negative_mag)
    )
    share = np.minimum(n_negative / np.maximum(n_kept, 1), 1.0)
    return make_table(
        PURITY,
        {
            "mag_low": edges[:-1], "mag_high": edges[1:],
            "n": n, "n_kept": n_kept, "n_negative": n_negative,
            "false_share": np.where(n_kept > 0, share, np.nan),
        },
    )  # fmt: skip


def _values(table: Table, name: str) -> Floats:
    return np.asarray(np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan))


# ---- products ----------------------------------------------------------------------------


def _written(job: ImageJob, image: DrcImage, result: InjectionResult) -> list[Path]:
    """Write the products of an image; return their paths."""
    from bycatch.figures.pictures import completeness_figure

    summary = result.summary()
    meta = {
        "CREATOR": f"bycatch {__version__}",
        "ROOTNAME": image.meta.root,
        "FIELD": job.record.field,
        "FILTER": image.meta.filter,
        "INSHA256": job.record.checksum,
        "PSF": summary["psf"],
        "PSFFWHM": round(result.psf.fwhm_px, 4),
        "LIMITS": result.limits,
        "SETTINGS": {
            name: plain_settings(job.settings, name)
            for name in ("detect", "crmask", "measure", "finalize", "inject")
        },
    }
    tables = {"inject": result.sources, "completeness": result.completeness}
    tables |= {"purity": result.purity} if job.settings.inject.false_detections else {}
    paths = []
    for kind, table in tables.items():
        path = job.paths.product(kind)
        table.meta = meta
        with atomic(path) as partial:
            write_table(table, partial)
        paths.append(path)
    figure = completeness_figure(
        f"{job.record.field}  {image.meta.filter}  {image.meta.root}",
        figure_curves(result.completeness),
    )
    path = job.paths.product("completeness", ".png")
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    return [*paths, path]


def figure_curves(completeness: Table) -> list[Any]:
    """Return what the figure shows: a curve per kind and size, all depths together."""
    from bycatch.figures.pictures import FigureCurve

    curves = []
    whole = completeness[completeness["n_exp"] == 0]
    pairs = sorted({(str(row["kind"]), float(row["re_arcsec"])) for row in whole})
    for kind, size in sorted(pairs, key=lambda pair: pair[1]):
        part = whole[(whole["kind"] == kind) & (whole["re_arcsec"] == size)]
        label = "stars" if kind == injection.STAR else f'galaxies, {size:g}"'
        curves.append(
            FigureCurve(
                label,
                mag=0.5 * (_values(part, "mag_low") + _values(part, "mag_high")),
                found=_values(part, "found"),
                kept=_values(part, "kept"),
                low=_values(part, "kept_low"),
                high=_values(part, "kept_high"),
                bias=_values(part, "mag_bias"),
                scatter=_values(part, "mag_scatter"),
            )
        )
    return curves
