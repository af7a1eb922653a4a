"""How faint an image's catalog goes, and how many of its rows are false, for the page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.report.products import ReportedImage, values

CLOSE_MAG = 0.4
"""Room that a label takes: those of lines that are closer go to both sides."""
PLURAL = {"star": "stars", "galaxy": "galaxies"}


def limits(image: ReportedImage, catalog: Table, radius: str) -> list[dict[str, Any]]:
    """Return the limits of the image in magnitudes: depth, and completeness where it is known.

    Those of stars are drawn; for other artificial sources only the numbers are given.
    """
    lines = []
    depth = image.number("measure", "depth_mag")  # as the table of images says
    limit = values(catalog, f"maglim_{radius}")
    if depth is None and np.isfinite(limit).any():
        depth = float(np.nanmedian(limit))
    if depth is not None:
        lines.append({"mag": round(depth, 2), "label": "5-sigma depth", "of": "", "drawn": True})
    reach = image.number("detect", "reach_mag")
    table = image.table("completeness")
    injection_limits = table.meta.get("LIMITS", ()) if table is not None else ()
    if reach is not None:
        # Artificial sources measure it better, at nearly the same magnitude.
        label = "half found"
        lines.append({"mag": reach, "label": label, "of": "", "drawn": not injection_limits})
    for row in injection_limits:
        if row.get("n_exp") == 0:
            size = f' {row["re_arcsec"]:g}"' if row.get("re_arcsec") else ""
            kind = f"{PLURAL.get(row['kind'], row['kind'])}{size}"
            lines += [
                {
                    "mag": round(float(row[f"mag_{level}_kept"]), 2),
                    "label": f"{level} %",
                    "error": row.get(f"mag_{level}_kept_err"),
                    "of": kind,
                    "drawn": row["kind"] == "star",
                }
                for level in (90, 50)
                if row.get(f"mag_{level}_kept") is not None
            ]
    place_labels([line for line in lines if line["drawn"]])
    return lines


def place_labels(lines: list[dict[str, Any]]) -> None:
    """Set on which side of each line its label lies: 'left' where a fainter one is close."""
    in_order = sorted(lines, key=lambda line: line["mag"])
    for line in in_order:
        line["side"] = "right"
    for line, fainter in reversed(list(pairwise(in_order))):
        # Between two lines there is room for the labels of both, or of the fainter one.
        n_labels = 2 if fainter["side"] == "left" else 1
        if fainter["mag"] - line["mag"] < n_labels * CLOSE_MAG:
            line["side"] = "left"


def false_share(image: ReportedImage) -> str:
    """Return in words how many rows are false by the negative image, and what it can't see."""
    table = image.table("purity")
    if table is None or not len(table):
        return ""
    n_rows = float(np.sum(values(table, "n_kept")))
    false = float(np.sum(values(table, "n_negative") + values(table, "n_cosmic_ray")))
    if not n_rows:
        return ""
    return (
        f"About {100 * min(false / n_rows, 1.0):.1f} % of the rows that are not called cosmic rays "
        f"are false ({table.meta.get('NOTE', 'noise and cosmic rays only')})."
    )
