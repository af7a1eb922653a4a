"""What the tables say of how they were made, under FITS names where they exist."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.products import ImageRecord
from bycatch.products.field_state import FIELD
from bycatch.settings import Settings
from bycatch.version import __version__

if TYPE_CHECKING:
    from bycatch.images.drc import DrcImage

LIBRARIES = ("numpy", "astropy", "scipy", "numba")


def metadata(
    image: DrcImage, record: ImageRecord, settings: Settings, sections: Sequence[str]
) -> dict[str, Any]:
    """Return calibration and provenance of a table.

    Parameters
    ----------
    image, record : of the image
    settings : of the run
    sections : the steps that the table comes from, and 'input'
    """
    meta = image.meta
    # Detections made again know nothing of the alignment that was made of those before.
    align = record.stages.get("align") if "align" in sections else None
    align_summary: Mapping[str, Any] = align.summary if align else {}
    alignment = {k: v for k, v in align_summary.items() if v is not None and k != FIELD}
    made_with = {name: settings_of(record, settings, name) for name in sections}
    return {
        "CREATOR": f"bycatch {__version__}",
        "DATE": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "VERSIONS": _versions(),
        "FILENAME": Path(record.source).name,
        "INSHA256": record.checksum,
        "ROOTNAME": meta.root,
        "FIELD": record.field,
        "INSTRUME": "ACS",
        "DETECTOR": meta.detector,
        "FILTER": meta.filter,
        "PROPOSID": meta.proposal,
        "TARGNAME": meta.target,
        "EXPTIME": meta.exptime_s,
        "NEXP": meta.n_exposures,
        "EXPSTART": _or_none(meta.mjd_start),
        "EXPEND": _or_none(meta.mjd_end),
        "MJD-AVG": _or_none(meta.mjd_mid),
        "EXPOSURES": [exposure.name for exposure in meta.exposures],
        "PHOTFLAM": meta.photflam,
        "PHOTPLAM": meta.photplam,
        "PHOTMODE": meta.photmode,
        "ZPORIGIN": meta.zeropoint_origin,
        "PIXSCALE": round(image.scale_arcsec, 6),
        "WHTTYPE": image.wht_type,
        "CTECORR": meta.is_cte_corrected,
        "WCSNAME": meta.wcsname,
        "ALIGNMENT": alignment,
        "NOTES": [*filter(None, [record.remark]), *meta.notes, *note_of_no_source(record)],
        "SETTINGS": made_with | ({"file": record.input} if record.input else {}),
    }


@cache
def _versions() -> dict[str, str]:
    return {"bycatch": __version__} | {name: version(name) for name in LIBRARIES}


def settings_of(record: ImageRecord, settings: Settings, section: str) -> dict[str, Any]:
    """Return the settings that a step was done with, which may differ from the present ones."""
    stage = record.stages.get(section)
    return (stage.settings if stage else {}) or plain_settings(settings, section)


def plain_settings(settings: Settings, section: str) -> dict[str, Any]:
    """Return the settings of a step as plain values."""
    values = getattr(settings, section).model_dump()
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


NO_SOURCE = (
    "no source: nothing is above the noise on enough pixels (detect.n_sigma, detect.n_pixels)"
)

NONE_KEPT = (
    "no source: too little of the box around each of {} detections has data "
    "(detect.coverage_box_px, detect.min_coverage)"
)


def note_of_no_source(record: ImageRecord) -> list[str]:
    """Return the note of an image in which nothing was detected, or nothing kept."""
    detection = record.stages.get("detect")
    if not detection or detection.summary.get("n_sources") != 0:
        return []
    n_removed = detection.summary.get("n_removed", 0)
    return [NONE_KEPT.format(n_removed) if n_removed else NO_SOURCE]


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
