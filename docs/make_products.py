"""Write docs/products.md from the registries of columns and flags.

Usage: python docs/make_products.py  (a test fails while the page is out of date)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bycatch.columns import CAT, EXCLUDED, PHOT, REMOVED, SOURCES, Column
from bycatch.flags import FLAGS

PAGE = Path(__file__).with_name("products.md")

HEAD = """# Products

The tables below are made from the registries in `columns.py` and `flags.py`.
`{r}` stands for an aperture radius in pixels, written with `%g`: 2, 4, 6, 8 and 10 by default.

Positions are 0-based pixel centres: the centre of the first pixel is (0, 0). In ds9, and in FITS
headers, it is (1, 1).

Aperture-corrected fluxes are right for point sources. For extended ones they hold the light in the
aperture, scaled as if it were a star's.
"""

TABLES = (
    ("`<root>_cat.ecsv` (and `_cat_noCRs`): the calibrated catalog", CAT),
    ("`<root>_phot.ecsv` (and `_phot_noCRs`): count rates", PHOT),
    ("`<root>_sources.ecsv`: detections", SOURCES),
    ("`<root>_removed.ecsv`: detections that the coverage rule took out", REMOVED[-1:]),
    ("`<root>_excluded.ecsv`: rows in the regions of `--exclude`", EXCLUDED),
)


def column_rows(columns: Iterable[Column]) -> list[str]:
    """Return the rows of a Markdown table."""
    lines = ["| column | unit | meaning |", "| --- | --- | --- |"]
    return lines + [f"| `{c.name}` | {c.unit} | {c.meaning} |" for c in columns]


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for title, columns in TABLES:
        parts.append(f"## {title}\n")
        if columns == REMOVED[-1:]:
            parts.append("The columns of `_sources`, and:\n")
        parts.append("\n".join(column_rows(columns)) + "\n")
    parts.append("## Flags\n\nBits of the column `flags`; `bycatch.decode(value)` names them.\n")
    rows = [f"| {int(f.flag)} | {str(f.flag.name).lower()} | {f.meaning} |" for f in FLAGS]
    parts.append("\n".join(["| bit | name | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    parts.append(TAIL)
    return "\n".join(parts)


TAIL = """## Images

- `<stem>.mask.fits`: uint8, 1 where the grown cosmic-ray mask is set.
- `<root>_segm.fits.gz`: int32, 0 for sky, else the `id` of the source (removed ones as well).
- `<root>_wcs.fits`: no pixels; a header whose WCS astropy reads, with the rms of the fit (RMS_RA,
  RMS_DEC), the number of stars (NMATCHES) and its geometry (FITGEOM). WCSNAME is BYCATCH-GAIADR3
  only if the alignment was accepted.

## Metadata of the tables

FITS names where they exist: FILTER, DETECTOR, EXPTIME, NEXP, PHOTFLAM, PHOTPLAM, PROPOSID,
ROOTNAME; APCOR, the share of a star's light in each aperture; ALIGNMENT, the result of the
alignment; NOTES, what was assumed or looked wrong; SETTINGS of the steps that made the table;
INSHA256, the checksum of the input; VERSIONS; DATE.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
