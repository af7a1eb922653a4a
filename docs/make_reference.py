"""Write the pages that come from the registries and the command line: those of PAGES.

Usage: python docs/make_reference.py  (a test fails while a page is out of date)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import typer
from typer.testing import CliRunner

from bycatch.catalogs.catalog_columns import CAT, FLUX_ERROR_PARTS, MAG_ST, MAG_VEGA, PSF_FLUXES
from bycatch.catalogs.columns import Column
from bycatch.catalogs.flags import FLAGS
from bycatch.catalogs.injection_columns import COMPLETENESS, INJECT, PURITY
from bycatch.catalogs.object_columns import (
    COLOUR,
    COLOUR_PAIR,
    EPOCHS,
    GROUP_IMAGES,
    IN_FILTER,
    OBJECTS,
)
from bycatch.catalogs.photometry_columns import PHOT, PSF_RATES, RATE_ERROR_PARTS, SKY
from bycatch.catalogs.reference_columns import REFERENCE
from bycatch.catalogs.source_columns import CR_SHARE, EXCLUDED, REMOVED, SOURCES
from bycatch.cli.app import app
from bycatch.display.glossary import glossary_page
from bycatch.display.summary_values import summary_page
from bycatch.settings import PRESETS, Settings, range_of, unit_of, walk
from bycatch.stages.align import GRADES

FOLDER = Path(__file__).parent

HEAD = """# Products

What a run writes: the columns of its tables, the flags, the images, and the records.

**Where to start.** `_objects_clean` has one row per star or galaxy for all images. `_cat_clean` has
the sources of one image without likely cosmic rays and noise. Begin with `mag_ab_4`
and `mag_ab_err_4` (in the objects `mag_{f}`), `p_star`, `flags`, and the grade of the image.

**Names.** `<root>` is the root name of an image, `<field>` its program and visit. `{r}` stands for
an aperture radius in pixels: 2, 4, 6, 8 and 10 by default. `{f}` stands for a filter.

**Positions** are 0-based: the centre of the first pixel is (0, 0). In ds9 and in FITS headers it is
(1, 1).

**Fluxes in apertures** are corrected to the total light of a point source. For extended sources
they are too low: use `flux_kron`, or in the objects `mag_total_{f}`.

The tables of columns and flags are generated from the program
(`catalogs/*_columns.py`, `flags.py`).
"""

TABLES = (
    ("`<root>_cat.ecsv` (and `_cat_noCRs`, `_cat_clean`): the calibrated catalog", CAT),
    ("Catalog columns on request (`finalize.magnitude_systems`)", (MAG_ST, MAG_VEGA)),
    ("Catalog columns on request (`measure.error_components`)", FLUX_ERROR_PARTS),
    ("Catalog columns with PSF photometry (`psf.enabled`)", PSF_FLUXES),
    ("`<group>_objects.ecsv` (and `_objects_clean`): the objects of all images", OBJECTS),
    ("The same table, for each filter `{f}`", IN_FILTER),
    ("The same table, for each filter `{f}` and the next redder one `{g}`", COLOUR),
    ("The same table, for each three filters that follow one another", COLOUR_PAIR),
    ("`<group>_epochs.ecsv`: each object in each image and exposure", EPOCHS),
    ("`<group>_images.ecsv`: the images of the group", GROUP_IMAGES),
    ("`<root>_phot.ecsv` (and `_phot_noCRs`): count rates", PHOT),
    ("Columns of the photometry on request (`measure.error_components`)", RATE_ERROR_PARTS),
    ("Columns of the photometry with PSF photometry (`psf.enabled`)", PSF_RATES),
    ("`<root>_sources.ecsv`: detections", SOURCES),
    (
        "`<root>_segm.fits.gz`, table REMOVED: detections removed by the coverage rule",
        REMOVED[-1:],
    ),
    ("`<root>_depth.fits`, table SKY: blank places, which set the noise of apertures", SKY),
    ("`<stem>.mask.fits`, table CRSHARE: fraction of the detections' light on the mask", CR_SHARE),
    ("`<root>_excluded.ecsv`: rows in the regions of `--exclude`", EXCLUDED),
    ("`<root>_inject.ecsv`: artificial sources (`bycatch inject`)", INJECT),
    ("`<root>_completeness.ecsv`: the recovered fraction, by magnitude", COMPLETENESS),
    ("`<root>_purity.ecsv`: false detections, by magnitude", PURITY),
    ("`<field>/gaia.ecsv`: reference stars, with the column names of the Gaia archive", REFERENCE),
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

`<root>` is the root name of the image, `<stem>` the same with `_drc`. Tables in FITS files have
names, units (TUNIT) and descriptions (TCOMM) of their columns. NaN is missing.

- `<stem>.mask.fits`: the grown cosmic-ray mask in the extension CRMASK (uint8, 1 where it is set),
  compressed by tiles (PLIO_1); astropy and ds9 read it as an image. COVERAGE (uint8) has a pixel
  per block of BLOCKPX x BLOCKPX px (16): 1 for blocks that have data in every pixel. The table
  CRSHARE is there if the image has detections.
- `<root>_segm.fits.gz`: int32, 0 for sky, else the `id` of the source (removed ones too). The table
  REMOVED lists the detections removed by the coverage rule.
- `<root>_sky.fits`: the sky, a pixel per box of BOXX x BOXY px: BACKGROUND (e/s) and NOISE (of a
  pixel with one second of exposure), after the median filter; the maps are cubic splines through
  them. Where the background follows small boxes, NOISE lacks the structure of the sky: COARSE is
  the noise in large boxes, and STRUCTURE the share of it that is added in quadrature.
- `<root>_wcs.fits`: the aligned WCS, see below.
- `<root>_depth.fits`: DEPTH (float32) has a pixel per block of 16 x 16 px: the AB magnitude of a
  point source of 5 sigma in the middle aperture (RADIUS) for typical sky. It is empty for a filter
  without a known encircled energy. The table SKY lists the blank places.
- `<root>_psf.fits` (with `psf.enabled`): the PSF at 3 x 3 places of the image, or at one, float32,
  four points per pixel: the light in a pixel of a star of flux 1, by the distance from it. In the
  form of STScI's standard PSFs (STDPSF): `photutils.psf.GriddedPSFModel.read(path,
  format="stdpsf")` takes it. NSTARS tells from how many stars it was made.
- `<root>_aligned_drc.fits` (with `--write-wcs`): a copy of the image with the aligned WCS in SCI,
  WHT and CTX. The pixels are the same bits. The old WCS becomes an alternate WCS under the next
  free letter (WCSNAMEA, CRVAL1A, ...; O is left to HST's original WCS), in ICRS if its cards have a
  form that can't have a letter (CROTA2). WCSNAME, WCSTYPE, HDRNAME, RMS_RA, RMS_DEC (mas),
  NMATCHES, FITGEOM, CRDER1 and CRDER2 (deg) have the same meaning as in HST's own products. An
  image that keeps its WCS (grade F) is not copied.
- `<field>/alignment.png`: residuals of the field's Gaia stars on the sky, their scatter, and their
  size against magnitude. A field without Gaia stars says why. Needs matplotlib
  (`bycatch[figures]`).
- `<root>_completeness.png` (`bycatch inject`): completeness and magnitude errors against magnitude.

In `csv`, a text cell that a spreadsheet would take for a formula (it starts with `=`, `+`, `-` or
`@`) gets an apostrophe before it; numbers are unchanged. Characters that can't be shown, such as a
line feed or a byte that is not UTF-8 in a file name, are escaped in every format (`\\n`, `\\xff`);
in FITS all that are not ASCII.

## Large surveys

`--set output.products=survey` keeps of each image the catalog as Parquet (`<root>_cat.parquet`),
the mask, the segmentation and the aligned WCS, and of each field `gaia.ecsv` and `field.json`.
There are no other tables, no depth map and no `alignment.png`. The catalog has all rows:
`_cat_noCRs` are those with `cr_flag = 0`, `_cat_clean` those without the
flag `likely_cosmic_ray` and with a signal-to-noise ratio of `finalize.clean_min_snr` in the
smallest aperture. If there is a PSF flux, its ratio is at least `psf.n_sigma`, and the row is not
both `found_in_residual` and `extended`. Rows that are `extended` and on a `trail` are left out, and
so are those that are `nebulous` or `in_large_object` [in nebulous images](method.md#measure), and
each `spike_piece`.
Single steps (`bycatch measure`), `explain` and `export` need the files that are left out, and say
so.

## Records of a run

- `<field>/field.json`: the state of the field. Later runs, `status` and the summary read from it
  what is done. For each image it has source and checksum, exposures, notes, the steps with their
  key, settings, numbers and products (size, times, SHA-256), and the outcome of the last run that
  worked on it. While a run works on the field there is also `.lock`.
- `settings.toml`: the settings of the last run. `run.json`: its input, its time, and the files that
  it did not use. `products.json`: size, times and SHA-256 of the report.
- `summary.json`: [the numbers of all images](summary.md), collected from the fields' states.
- `bycatch.log`, or `bycatch-3-of-40.log` of a shard.

## The report

`bycatch run` writes `report.html` at its end, and so does every single step. `bycatch report OUT`
writes it again from the existing products. `output.report = false` turns it off. The report opens
with a double click and needs no network. It has at the top what to look at, then tables of fields
and images, then the chosen image: its picture with the sources and their outlines, plots, cutouts,
tables. Click a source in a plot to see its row, and a row to see its source.

Up to 50 images are in the file itself. With more, the images of a field are in `<field>/page.js`,
which the report needs. The report has the brightest sources of an image (6000 with few images, 700
with many), with likely cosmic rays last. `--figures` writes the same plots as
`figures/<field>_<filter>_<root>_<plot>.png`, or with `--format pdf` as PDF. The report needs
`bycatch[report]`, the figures need `bycatch[figures]`. The numbers are in
[`summary.json`](summary.md), too.

## The aligned WCS

`<root>_wcs.fits` has no pixels. astropy reads the WCS from its primary header, with these cards of
the fit (unknown values are left out):

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
| SHIFT_RA, SHIFTDEC | mas | shift applied at the centre of the image (RA times cos Dec) |
| ROLL | deg | change of the position angle of the y axis |
| SCALEPPM | 1e-6 | change of the pixel scale |
| CRDER1, CRDER2 | deg | error of the frame at its best known point, per axis |
| ASTRMERR | mas | error of the frame per axis, typical over the image |
| RELEASE, EPOCH | , yr | catalog of the reference stars; epoch to which they were moved |

The extension FRAMEERR holds the covariance (6 x 6) of the frame's error. The frame may be off by
(t_xi + a xi + b eta, t_eta + c xi + d eta) in the plane tangent at RA_PNT, DEC_PNT; terms t_xi,
t_eta in mas, a to d in mas per arcsec. The extension PAIRS lists the Gaia stars of the fit:
`source` (row of `_sources`, from 0), `source_id`, `gaia_g`, detection minus star (`dra_mas`,
`ddec_mas`), the same with the star left out (`_loo_`), expected errors, and `weight` (from 0 for an
outlier to 1).

| grade | meaning |
| --- | --- |
{grades}

## The match with Gaia

Matches are one to one, closest first, at the epoch of the image. The radius is
`measure.gaia_n_sigma` times the error of both positions (star at the epoch, frame, centroid), at
least `measure.gaia_min_radius_mas` and at most `measure.gaia_radius_mas`. GAIACHNC in the metadata
and `n_gaia_chance` in `summary.json` give the number of matches expected by chance: the mean number
of matches with shifted stars.

## Metadata of the tables

FITS names where they exist: FILTER, DETECTOR, EXPTIME, NEXP, PHOTFLAM, PHOTPLAM, PROPOSID,
ROOTNAME. APCOR is the share of a star's light in each aperture, ALIGNMENT the result of the
alignment, GAIACHNC the number of Gaia matches expected by chance. NOTES lists assumptions and
problems. SETTINGS are those of the steps that made the table, INSHA256 is the checksum of the
input. VERSIONS and DATE complete the record.
"""


SETTINGS_HEAD = """# Settings

All settings, by step. `bycatch config` prints the same as TOML. Set them with
`--set detect.n_pixels=60`, in a file with `--config my.toml`, or in Python with
`bycatch.Settings.load(assignments=["detect.n_pixels=60"])`. A misspelt name is refused with the
nearest name, and a number out of range with the limit.
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
    names = [""]
    for name, command in group.commands.items():
        names += [name, *(f"{name} {below}" for below in getattr(command, "commands", ()))]
    for name in names:
        words = [*name.split(), "--help"]
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
    "glossary.md": glossary_page,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
