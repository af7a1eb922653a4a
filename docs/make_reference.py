"""Write the pages that come from the registries and the command line: those of PAGES.

Usage: python docs/make_reference.py  (a test fails while a page is out of date)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import typer
from typer.testing import CliRunner

from bycatch.catalogs.columns import (
    CAT,
    COMPLETENESS,
    CR_SHARE,
    EXCLUDED,
    FLUX_ERROR_PARTS,
    INJECT,
    MAG_ST,
    MAG_VEGA,
    PHOT,
    PSF_FLUXES,
    PSF_RATES,
    PURITY,
    RATE_ERROR_PARTS,
    REFERENCE,
    REMOVED,
    SKY,
    SOURCES,
    Column,
)
from bycatch.catalogs.flags import FLAGS
from bycatch.catalogs.object_columns import COLOUR, GROUP_IMAGES, IN_FILTER, EPOCHS, OBJECTS
from bycatch.cli.app import app
from bycatch.display.summary_values import summary_page
from bycatch.settings import PRESETS, Settings, range_of, unit_of, walk
from bycatch.stages.align import GRADES

FOLDER = Path(__file__).parent

HEAD = """# Products

The tables below are made from the registries in `catalogs/columns.py`, `object_columns.py` and
`flags.py`. `{r}` stands for an aperture radius in pixels, written with `%g`: 2, 4, 6, 8 and 10 by
default; `{f}` for a filter.

Positions are 0-based pixel centres: the centre of the first pixel is (0, 0). In ds9, and in FITS
headers, it is (1, 1).

Aperture-corrected fluxes are right for point sources. For extended ones they hold the light in the
aperture, scaled as if it were a star's.
"""

TABLES = (
    ("`<root>_cat.ecsv` (and `_cat_noCRs`, `_cat_clean`): the calibrated catalog", CAT),
    ("Catalog columns on request (`finalize.magnitude_systems`)", (MAG_ST, MAG_VEGA)),
    ("Catalog columns on request (`measure.error_components`)", FLUX_ERROR_PARTS),
    ("Catalog columns with PSF photometry (`psf.enabled`)", PSF_FLUXES),
    ("`<group>_objects.ecsv` (and `_objects_clean`): the objects of all images", OBJECTS),
    ("The same table, for each filter `{f}`", IN_FILTER),
    ("The same table, for each filter `{f}` and the next redder one `{g}`", COLOUR),
    ("`<group>_epochs.ecsv`: each object in each image", EPOCHS),
    ("`<group>_images.ecsv`: the images of the group", GROUP_IMAGES),
    ("`<root>_phot.ecsv` (and `_phot_noCRs`): count rates", PHOT),
    ("Columns of the photometry on request (`measure.error_components`)", RATE_ERROR_PARTS),
    ("Columns of the photometry with PSF photometry (`psf.enabled`)", PSF_RATES),
    ("`<root>_sources.ecsv`: detections", SOURCES),
    (
        "`<root>_segm.fits.gz`, table REMOVED: detections that the coverage rule took out",
        REMOVED[-1:],
    ),
    ("`<root>_depth.fits`, table SKY: blank places, which tell the noise of apertures", SKY),
    ("`<stem>.mask.fits`, table CRSHARE: the detections' light on the mask", CR_SHARE),
    ("`<root>_excluded.ecsv`: rows in the regions of `--exclude`", EXCLUDED),
    ("`<root>_inject.ecsv`: artificial sources (`bycatch inject`)", INJECT),
    ("`<root>_completeness.ecsv`: how many of them are found, by magnitude", COMPLETENESS),
    ("`<root>_purity.ecsv`: false detections, by magnitude", PURITY),
    ("`<field>/gaia.ecsv`: reference stars, in the names of the Gaia archive", REFERENCE),
)


def column_rows(columns: Iterable[Column]) -> list[str]:
    """Return the rows of a Markdown table."""
    lines = ["| column | unit | meaning |", "| --- | --- | --- |"]
    return lines + [f"| `{c.name}` | {c.unit} | {c.meaning} |" for c in columns]


def products_page() -> str:
    """Return the page of tables, flags and images."""
    parts = [HEAD]
    for title, columns in TABLES:
        parts.append(f"## {title}\n")
        if columns == REMOVED[-1:]:
            parts.append("The columns of `_sources`, and:\n")
        parts.append("\n".join(column_rows(columns)) + "\n")
    parts.append("## Flags\n\nBits of the column `flags`; `bycatch.decode(value)` names them.\n")
    rows = [f"| {int(f.flag)} | {str(f.flag.name).lower()} | {f.meaning} |" for f in FLAGS]
    parts.append("\n".join(["| bit | name | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    grades = "\n".join(f"| {grade} | {meaning} |" for grade, meaning in GRADES.items())
    parts.append(TAIL.replace("{grades}", grades))
    return "\n".join(parts)


TAIL = """## Images

`<root>` is the name of the image, `<stem>` the same with `_drc`. Tables in FITS files have names,
units (TUNIT) and meanings (TCOMM) of their columns; NaN is missing.

- `<stem>.mask.fits`: the grown cosmic-ray mask in the extension CRMASK (uint8, 1 where it is set),
  compressed by tiles (PLIO_1); astropy and ds9 read it as an image. COVERAGE is uint8, a pixel per
  block of BLOCKPX x BLOCKPX px (16): 1 for blocks that have data in every pixel. The table CRSHARE
  is there where the image has detections.
- `<root>_segm.fits.gz`: int32, 0 for sky, else the `id` of the source (removed ones as well). The
  table REMOVED lists the detections that the coverage rule took out.
- `<root>_wcs.fits`: the aligned WCS, see below.
- `<root>_depth.fits`: DEPTH, float32, a pixel per block of 16 x 16 px: the AB magnitude of a point
  source of 5 sigma in the middle aperture (RADIUS) where the sky is typical; empty for a filter
  without a known encircled energy. The table SKY lists the blank places.
- `<root>_psf.fits` (with `psf.enabled`): the PSF at 3 x 3 places of the image, or at one, float32,
  four points per pixel: the light in a pixel of a star of flux 1, by the distance from it. In the
  form of STScI's standard PSFs (STDPSF): `photutils.psf.GriddedPSFModel.read(path,
  format="stdpsf")` takes it. NSTARS tells from how many stars it was made.
- `<root>_aligned_drc.fits` (with `--write-wcs`): a copy of the image with the aligned WCS in SCI,
  WHT and CTX. The pixels are the same bits; the old WCS is kept as an alternate one under the
  next free letter (WCSNAMEA, CRVAL1A, ...; O is left to HST's original WCS), in ICRS where its
  cards have a form that can't have a letter (CROTA2). WCSNAME, WCSTYPE, HDRNAME, RMS_RA, RMS_DEC
  (mas), NMATCHES, FITGEOM, CRDER1 and CRDER2 (deg) have the meaning that they have in HST's own
  products. An image that keeps its WCS (grade F) is not copied.
- `<field>/alignment.png`: residuals of the field's Gaia stars on the sky, their scatter, and
  their size against magnitude; a field without any says why. Needs matplotlib
  (`bycatch[figures]`).
- `<root>_completeness.png` (`bycatch inject`): the completeness and the errors of the magnitudes,
  against magnitude.

In `csv` a text cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or
`@`) has an apostrophe before it; numbers are as they are. Characters that can't be shown, such as a
line feed or a byte that is not UTF-8 in the name of a file, are escaped in every format (`\\n`,
`\\xff`), in FITS all that are not ASCII.

## What is kept of a large survey

`--set output.products=survey` keeps of each image the catalog as Parquet (`<root>_cat.parquet`),
the mask, the segmentation, and the aligned WCS; of each field `gaia.ecsv` and `field.json`. There
are no other tables, no depth map, and no `alignment.png`. The catalog has all rows: `_cat_noCRs`
are those with `cr_flag = 0`, `_cat_clean` those without the flag `likely_cosmic_ray`. Steps of
their own (`bycatch measure`), `explain` and `export` need what was left out, and say so.

## What a run writes down

- `<field>/field.json`: the state of the field, from which a later run, `status` and the summary
  know what is done. Of each image: its source and checksum, its exposures, notes, the steps with
  their key, settings, numbers and products (size, times, SHA-256), and what became of it in the
  last run that worked on it. While a run works on the field there is also `.lock`.
- `settings.toml`: the settings of the last run. `run.json`: what it was given, how long it took,
  and which files it did not use. `products.json`: size, times and SHA-256 of the page.
- `summary.json`: [the numbers of all images](summary.md), put together from the fields' states.
- `bycatch.log`, or `bycatch-3-of-40.log` of a shard.

## The report

`bycatch run` writes `report.html` at its end, and so does every step of its own; `bycatch report
OUT` writes it anew from the products that are there. `output.report = false` leaves it out. It is a
page that opens by a double click and asks no network. On top is what to look at, then tables of the
fields and images, then the chosen image: its picture with the sources and their outlines, plots,
cutouts, tables. A source clicked in a plot shows its row, and a row its source. Up to 50 images are
in the page itself; of more, those of a field lie in `<field>/page.js`, without which the page can't
show them. The page holds the brightest sources of an image (6000 of few images, 700 of many),
likely cosmic rays last. With `--figures` the same plots are written as
`figures/<field>_<filter>_<root>_<plot>.png`, or with `--format pdf` as PDF. The page needs
`bycatch[report]`, the figures `bycatch[figures]`. The numbers are in `summary.json`, too:
[its values](summary.md).

## The aligned WCS

`<root>_wcs.fits` has no pixels. astropy reads the WCS from its primary header, with these cards
of the fit (what is not known is left out):

| card | unit | meaning |
| --- | --- | --- |
| WCSNAME |  | BYCATCH-GAIADR3 (grades A to D), BYCATCH-TIED (E), the header's own (F) |
| GRADE |  | A to F, see below |
| NMATCHES, NFIELD |  | Gaia stars matched in this image, and in the field |
| NTIED |  | sources that tie the image to the others of its field |
| FITGEOM |  | none, shift, rshift (and roll), rscale (and scale), general |
| RMS_RA, RMS_DEC | mas | weighted residuals of this image's stars |
| LOO_RMS | mas | rms per axis with each star left out of the fit in turn |
| ODDS |  | probability that a match this good is chance |
| SHIFT_RA, SHIFTDEC | mas | what was added at the centre of the image (RA times cos Dec) |
| ROLL | deg | what was added to the position angle of the y axis |
| SCALEPPM | 1e-6 | change of the pixel scale |
| CRDER1, CRDER2 | deg | error of the frame at its best known point, per axis |
| ASTRMERR | mas | error of the frame per axis, typical over the image |
| RELEASE, EPOCH | , yr | catalog of the reference stars; epoch to which they were moved |

The extension FRAMEERR holds the covariance (6 x 6) of the frame's error: it may be off by (t_xi +
a xi + b eta, t_eta + c xi + d eta) in the plane tangent at RA_PNT, DEC_PNT; terms t_xi, t_eta in
mas, a to d in mas per arcsec. The extension PAIRS lists the Gaia stars of the fit: `source` (row
of `_sources`, from 0), `source_id`, `gaia_g`, detection minus star (`dra_mas`, `ddec_mas`), the
same with the star left out (`_loo_`), expected errors, and `weight` (0 for an outlier, to 1).

| grade | meaning |
| --- | --- |
{grades}

## The match with Gaia

One to one, closest first, at the epoch of the image. The radius is `measure.gaia_n_sigma` times
the error of both positions (star at the epoch, frame, centroid), at least
`measure.gaia_min_radius_mas`, at most `measure.gaia_radius_mas`. How many of the matches are
expected to be chance is GAIACHNC in the metadata and `n_gaia_chance` in `summary.json`: the mean
number of matches with shifted stars.

## Metadata of the tables

FITS names where they exist: FILTER, DETECTOR, EXPTIME, NEXP, PHOTFLAM, PHOTPLAM, PROPOSID,
ROOTNAME; APCOR, the share of a star's light in each aperture; ALIGNMENT, the result of the
alignment; GAIACHNC, the Gaia matches expected by chance; NOTES, what was assumed or looked wrong;
SETTINGS of the steps that made the table; INSHA256, the checksum of the input; VERSIONS; DATE.
"""


SETTINGS_HEAD = """# Settings

Every setting, by step: `bycatch config` prints the same as TOML. Give them as
`--set detect.n_pixels=60`, in a file with `--config my.toml`, or from Python as
`bycatch.Settings.load(assignments=["detect.n_pixels=60"])`. A misspelt name is refused, with the
nearest one, and a number beyond its range with the limit.
"""


def settings_page() -> str:
    """Return the page of settings."""
    parts, current = [SETTINGS_HEAD], ""
    for section, name, info in walk():
        if section != current:
            current = section
            holder = Settings.model_fields[section].annotation
            parts.append(f"\n## {section}\n\n{holder.__doc__}\n")
            parts.append(
                "| setting | default | range | unit | meaning |\n| --- | --- | --- | --- | --- |"
            )
        default = json.dumps(info.default)
        words = (f"`{section}.{name}`", f"`{default}`", range_of(info), unit_of(info))
        parts.append(f"| {' | '.join(words)} | {info.description} |")
    for name, changes in PRESETS.items():
        parts.append(f"\n## Preset {name}\n")
        values = [f"`{s}.{n} = {json.dumps(v)}`" for s, c in changes.items() for n, v in c.items()]
        parts.append(", ".join(values) or "The defaults.")
    return "\n".join(parts) + "\n"


def commands_page() -> str:
    """Return the page of commands: what --help says."""
    parts = ["# Commands\n", "What `bycatch --help` says, command by command.\n"]
    group = typer.main.get_command(app)
    for name in ["", *group.commands]:
        words = [name, "--help"] if name else ["--help"]
        text = CliRunner().invoke(app, words, env=PLAIN, prog_name="bycatch").output
        lines = [line.rstrip() for line in text.strip("\n").splitlines()]
        parts.append(f"## bycatch {name}".rstrip() + "\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


PLAIN = {"COLUMNS": "90", "TERM": "dumb", "NO_COLOR": "1"}

PAGES = {
    "products.md": products_page,
    "summary.md": summary_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
