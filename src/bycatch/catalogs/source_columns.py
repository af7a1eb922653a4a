"""The columns of the detections, and of what was removed or left out (`columns.py`)."""

from __future__ import annotations

from bycatch.catalogs.columns import ID, RATE, Column

SOURCES: tuple[Column, ...] = (
    ID,
    Column(
        "x",
        "f8",
        "pix",
        "pos.cartesian.x;instr.det",
        "windowed centroid, 0-based; of a saturated star the centre of its wings",
    ),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "the same along y"),
    Column(
        "centre_err_px",
        "f8",
        "pix",
        "stat.error;pos.cartesian;instr.det",
        "1-sigma error per axis of x and y where they come from the wings of a saturated star; "
        "missing: a centroid",
        nullable=True,
    ),
    Column(
        "centre_shared_err_px",
        "f8",
        "pix",
        "stat.error.sys;pos.cartesian;instr.det",
        "the part of centre_err_px that all such stars of the image share: the offset between "
        "wings and cores",
        nullable=True,
    ),
    Column(
        "hit_err_px",
        "f8",
        "pix",
        "stat.error;pos.cartesian;instr.det",
        "1-sigma error per axis that a cosmic ray beside or on a star adds to x and y, which leave "
        "its charge out; missing: none was found",
        nullable=True,
    ),
    Column(
        "centroid_err_px",
        "f8",
        "pix",
        "stat.error;pos.cartesian;instr.det",
        "1-sigma error per axis of the windowed centroid: photon and sky noise, and hit_err_px; "
        "missing: no light in the window",
        nullable=True,
    ),
    Column("x_segment", "f8", "pix", "pos.cartesian.x;instr.det", "barycentre of the segment"),
    Column("y_segment", "f8", "pix", "pos.cartesian.y;instr.det", "barycentre of the segment"),
    Column("x_min", "i8", "pix", "pos.cartesian.x;stat.min", "first column of the segment"),
    Column("x_max", "i8", "pix", "pos.cartesian.x;stat.max", "last column of the segment"),
    Column("y_min", "i8", "pix", "pos.cartesian.y;stat.min", "first row of the segment"),
    Column("y_max", "i8", "pix", "pos.cartesian.y;stat.max", "last row of the segment"),
    Column("area", "i8", "pix2", "phys.angArea", "number of pixels of the segment"),
    Column("flux", "f8", RATE, "phot.count", "sum over the segment, background subtracted"),
    Column("peak", "f8", RATE, "phot.count;stat.max", "highest pixel, background subtracted"),
    Column("semimajor_px", "f8", "pix", "phys.angSize.smajAxis", "rms length, second moments"),
    Column("semiminor_px", "f8", "pix", "phys.angSize.sminAxis", "rms width, second moments"),
    Column("theta_deg", "f8", "deg", "pos.posAng", "angle of the major axis from +x towards +y"),
    Column("ellipticity", "f8", "", "src.ellipticity", "1 - width / length"),
    Column("background", "f8", RATE, "phot.count;instr.background", "background at the position"),
    Column(
        "noise",
        "f8",
        RATE,
        "stat.stdev;instr.background",
        "standard deviation of unsmoothed sky pixels at the position",
    ),
    Column("n_exp", "i4", "", "meta.number;obs.exposure", "median exposures of its pixels"),
    Column(
        "piece_of",
        "i8",
        "",
        "meta.id.assoc",
        "id of the larger source of which it may be a piece, such as a knot of a galaxy; 0: none",
    ),
    Column(
        "coverage",
        "f8",
        "",
        "stat.value;obs.field",
        "fraction of pixels with data in the box of the coverage rule",
    ),
)
CR_SHARE: tuple[Column, ...] = (
    ID,
    Column(
        "on_cr_mask",
        "f8",
        "",
        "stat.value",
        "fraction of the segment's pixels on the grown cosmic-ray mask",
    ),
)
REASON = Column("reason", "U200", "", "meta.note", "reason of the removal")
REMOVED = (*SOURCES, REASON)
EXCLUDED = (
    ID,
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    REASON,
)
