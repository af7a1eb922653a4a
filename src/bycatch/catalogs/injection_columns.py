"""The columns of artificial sources, completeness and purity (`columns.py`)."""

from __future__ import annotations

from bycatch.catalogs.columns import Column

INJECT: tuple[Column, ...] = (
    Column("id", "i8", "", "meta.id;meta.main", "number of the artificial source, from 1"),
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "true position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "true position, 0-based pixel centres"),
    Column("kind", "U8", "", "src.class", "star or galaxy"),
    Column("mag", "f8", "mag", "phot.mag;em.opt", "true total AB magnitude"),
    Column("re_arcsec", "f8", "arcsec", "phys.angSize", "half-light radius; 0 for a star"),
    Column("axis_ratio", "f8", "", "src.ellipticity", "minor over major axis"),
    Column("n_exp", "i4", "", "meta.number", "number of exposures at its position"),
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
    Column(
        "found_low", "f8", "", "stat.probability;stat.min",
        "lower end of its 68 % interval (Wilson)",
    ),
    Column("found_high", "f8", "", "stat.probability;stat.max", "upper end"),
    Column("kept", "f8", "", "stat.probability", "completeness without those called cosmic rays"),
    Column(
        "kept_low", "f8", "", "stat.probability;stat.min",
        "lower end of its 68 % interval (Wilson)",
    ),
    Column("kept_high", "f8", "", "stat.probability;stat.max", "upper end"),
    Column(
        "called_cr", "f8", "", "stat.probability",
        "fraction of the detected sources that are called cosmic rays; missing where nothing is "
        "detected",
        nullable=True,
    ),
    Column(
        "mag_bias", "f8", "mag", "phot.mag;arith.diff;stat.median",
        "median of measured minus expected magnitude of the kept ones", nullable=True,
    ),
    Column(
        "mag_scatter", "f8", "mag", "stat.stdev;phot.mag;arith.diff",
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
        "n_cosmic_ray", "f8", "", "meta.number",
        "cosmic rays that are expected among n_kept: the sum of their p_cr",
    ),
    Column(
        "false_share", "f8", "", "stat.probability",
        "(n_negative + n_cosmic_ray) / n_kept, at most 1: noise and cosmic rays in the catalog",
        nullable=True,
    ),
)  # fmt: skip
