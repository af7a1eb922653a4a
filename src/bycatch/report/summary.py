"""What ``summary.json`` holds: one registry, from which its page of the documentation is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SummaryValue:
    """A value of the summary.

    Attributes
    ----------
    path : names joined by dots; ``[]`` for each of a list, ``*`` for any name
    unit : '' for counts, texts and ratios
    meaning : in words
    """

    path: str
    unit: str
    meaning: str


def _group(prefix: str, *rows: tuple[str, str, str]) -> tuple[SummaryValue, ...]:
    return tuple(SummaryValue(f"{prefix}{name}", unit, meaning) for name, unit, meaning in rows)


RUN = _group(
    "",
    ("bycatch", "", "version of the program"),
    ("out", "", "output folder"),
    (
        "inputs.*",
        "",
        "the user's files (gaia, sources, exclude, wht) and the sources_image, or ''",
    ),
    ("seconds", "s", "time of the last run"),
    ("skipped[].path", "", "a file that was not used"),
    ("skipped[].reason", "", "why"),
    ("skipped[].dropped", "", "true if it should have been used, but could not be"),
    ("references.*", "", "by field: why there are no reference stars; '' where there are"),
)  # fmt: skip

FIELDS = _group(
    "fields.*.",
    ("grade", "", "best grade of the alignment of its images"),
    ("grades", "", "grades of all of them"),
    ("n_images", "", "images"),
    ("n_aligned", "", "images on Gaia or tied to those that are"),
    ("n_stars", "", "Gaia stars in the fit"),
    ("odds", "", "probability that a match this good is chance"),
    ("astrom_err_mas", "mas", "error of the frame per axis"),
    ("release", "", "catalog of the reference stars"),
)

IMAGES = _group(
    "images[].",
    ("root", "", "root name of the image"),
    ("field", "", "field"),
    ("filter", "", "filter"),
    ("source", "", "the file that came in"),
    (
        "outcome",
        "",
        "done, dropped (its data can't be used), failed (disk, a bug) or lost (its worker died)",
    ),
    ("reason", "", "why it was dropped, failed or lost"),
    ("traceback", "", "of a failure"),
    ("done[]", "", "steps done in that run"),
    ("kept[]", "", "steps whose products were up to date"),
    ("seconds", "s", "time of that run for the image"),
    ("notes[]", "", "what was assumed, or looked wrong"),
    ("folder", "", "where its products lie"),
    ("cost.*.seconds", "s", "by step: its time when it was done last"),
    ("cost.*.peak_mb", "MB", "the most memory that the process had meanwhile (Linux)"),
)

DETECT = _group(
    "images[].summary.detect.",
    ("n_exposures", "", "exposures that were drizzled together"),
    ("n_sources", "", "detections"),
    ("n_removed", "", "detections that the coverage rule took out"),
    ("background_median", "electron / s", "median of the background, per pixel"),
    ("noise_median", "electron / s", "median of the noise of a pixel"),
)
CRMASK = _group(
    "images[].summary.crmask.",
    ("n_cr_pixels", "", "pixels on the cosmic-ray mask, not grown"),
    ("n_cr_tracks", "", "connected groups of them"),
    ("share_of_single", "", "share of the pixels of one exposure that are on the mask"),
    ("share_of_single_grown", "", "the same of the grown mask"),
    ("noise_scale", "", "noise that the image shows over that expected of its counts"),
    ("sky_added_e", "electron", "sky that was put back for the noise, per pixel"),
)
ALIGN = _group(
    "images[].summary.align.",
    ("aligned", "", "true if the WCS was changed"),
    ("grade", "", "A (best) to F, as in the products' page"),
    ("reason", "", "what the grade rests on"),
    ("geometry", "", "none, shift, rshift (and roll), rscale (and scale), general"),
    ("n_matches", "", "Gaia stars of this image in the fit"),
    ("n_field_matches", "", "Gaia stars of the field in the fit"),
    ("n_tied", "", "sources that tie the image to the others of its field"),
    ("n_reference", "", "Gaia stars in the image's array"),
    ("rms_ra_mas", "mas", "weighted residuals of this image's stars, RA times cos(Dec)"),
    ("rms_dec_mas", "mas", "the same, declination"),
    ("loo_rms_mas", "mas", "rms per axis with each star left out of the fit in turn"),
    ("odds", "", "probability that a match this good is chance"),
    ("shift_ra_mas", "mas", "what was added at the centre of the image, RA times cos(Dec)"),
    ("shift_dec_mas", "mas", "the same, declination"),
    ("roll_deg", "deg", "what was added to the position angle of the y axis"),
    ("scale_ppm", "1e-6", "change of the pixel scale"),
    ("astrom_err_mas", "mas", "error of the frame per axis, typical over the image"),
    ("release", "", "catalog of the reference stars"),
    ("epoch", "yr", "epoch to which they were moved"),
)
MEASURE = _group(
    "images[].summary.measure.",
    ("n_measured", "", "rows of the photometry"),
    ("n_cosmic_ray", "", "rows with cr_flag"),
    ("n_likely_cosmic_ray", "", "rows with the flag LIKELY_COSMIC_RAY (p_cr)"),
    ("n_gaia", "", "rows with a Gaia match"),
    ("n_gaia_chance", "", "matches expected by chance"),
    ("n_point", "", "rows with p_star of 0.5 and more"),
    ("fwhm_median", "pix", "median FWHM"),
    ("noise_correlation", "", "noise of large areas over that of independent pixels"),
    ("noise_origin", "", "blank sky, or the drizzling parameters"),
    ("noise_n_places", "", "blank places that were measured"),
    ("noise_scale.*", "", "by aperture: noise of blank places over that of independent pixels"),
    ("noise_slope", "", "how that changes from few to many exposures"),
    ("noise_pull.*", "", "by aperture: width of blank places' pulls by the noise of other places"),
    ("depth_mag", "mag", "AB magnitude of a point source of 5 sigma, middle aperture, median"),
    ("limit_mag.*.*", "mag", "the same at blank places, by number of exposures and by aperture"),
    ("locus_concentration[]", "mag", "concentrations of the image's stars"),
    ("locus_n_stars", "", "stars that say so"),
)  # fmt: skip
FINALIZE = _group(
    "images[].summary.finalize.",
    ("n_catalog", "", "rows of the catalog"),
    ("n_snr5_*", "", "rows of S/N 5 and more in the aperture of that name"),
    ("zeropoint_ab", "mag", "AB zero point, for electrons per second"),
    ("zeropoint_audit_mmag", "mmag", "zero point of the header minus that of the tables"),
    ("exptime_s", "s", "exposure time of the image, as its pixels have it"),
    ("calibration_notes[]", "", "what was assumed, or looked wrong, in the calibration"),
    ("closure.reference_px", "pix", "aperture to which the others are compared"),
    ("closure.n_stars", "", "stars of the image that were compared"),
    ("closure.percent.*.published", "%", "by aperture: excess of stars, published corrections"),
    ("closure.percent.*.used", "%", "the same with the corrections that were used"),
    ("closure.percent.*.error", "%", "its error"),
    ("closure.percent.*.scatter", "%", "scatter from star to star beyond their noise"),
    ("closure.percent.*.closes", "", "false if the corrections contradict the stars"),
)  # fmt: skip

SECTIONS: tuple[tuple[str, tuple[SummaryValue, ...]], ...] = (
    ("The run", RUN),
    ("Fields", FIELDS),
    ("Images", IMAGES),
    ("Images: detect", DETECT),
    ("Images: crmask", CRMASK),
    ("Images: align", ALIGN),
    ("Images: measure", MEASURE),
    ("Images: finalize", FINALIZE),
)
SUMMARY_VALUES = tuple(value for _, values in SECTIONS for value in values)

HEAD = """# `summary.json`

All images of an output folder in numbers, and what became of each in the last run that worked on
it. The file is put together from the states of the fields (`<field>/field.json`) at the end of each
run and step, and by `bycatch summarize OUT`. Paths below join names by dots; `[]` stands for each
entry of a list, `*` for any name. What is not known is null; what a step that was not done would
say is left out. The page `report.html` (`bycatch report OUT`) shows the same.

```python
import json

with open("out/summary.json") as stream:
    summary = json.load(stream)
for image in summary["images"]:
    print(image["root"], image["outcome"], image["summary"]["align"]["grade"])
```
"""


def summary_page() -> str:
    """Return the page of the documentation, Markdown."""
    parts = [HEAD]
    for title, values in SECTIONS:
        rows = [f"| `{v.path}` | {v.unit} | {v.meaning} |" for v in values]
        lines = [f"## {title}\n", "| value | unit | meaning |", "| --- | --- | --- |", *rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def undocumented(summary: dict[str, Any]) -> set[str]:
    """Return the paths of a summary that the registry does not know."""
    return {
        ".".join(path)
        for path in set(_paths(summary))
        if not any(_fits(path, v.path.split(".")) for v in SUMMARY_VALUES)
    }


def _fits(path: tuple[str, ...], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(
        want in {"*", name} or (want.endswith("*") and name.startswith(want[:-1]))
        for name, want in zip(path, pattern, strict=True)
    )


def _paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the path of each value that has no parts."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, (*above, str(name).replace(".", "_")))
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part, (*above[:-1], f"{above[-1]}[]"))
    else:
        yield above
