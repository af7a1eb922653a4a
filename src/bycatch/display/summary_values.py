"""What ``summary.json`` holds, and how cards in notebooks show it: one registry.

The page of the documentation is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SummaryValue:
    """A value of the summary.

    Attributes
    ----------
    path : names joined by dots; ``[]`` for each of a list, ``*`` for any name
    unit : '' for counts, texts and ratios
    meaning : in words
    words : its name on a card; '' where cards show it by its own or not at all
    card_unit : its unit on a card where that is another one
    """

    path: str
    unit: str
    meaning: str
    words: str = ""
    card_unit: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def _group(prefix: str, *rows: tuple[str, ...]) -> tuple[SummaryValue, ...]:
    """Return values whose paths begin alike; a row holds the rest of the path, and what follows."""
    return tuple(SummaryValue(f"{prefix}{name}", *about) for name, *about in rows)


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
    ("skipped[].dropped", "", "true if it should have been used but could not be"),
    ("references.*", "", "by field: why there are no reference stars; '' where there are"),
)  # fmt: skip

FIELDS = _group(
    "fields.*.",
    ("grade", "", "best grade of the alignment of its images"),
    ("grades", "", "grades of all of them", "grades of the images"),
    ("n_images", "", "images", "images"),
    ("n_aligned", "", "images on Gaia or tied to those that are", "on Gaia"),
    ("n_stars", "", "Gaia stars in the fit", "Gaia stars"),
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
    ("notes[]", "", "assumptions and problems"),
    ("folder", "", "folder of its products"),
    ("cost.*.seconds", "s", "by step: its time in the last run that did it"),
    ("cost.*.peak_mb", "MB", "peak memory of the process during the step (Linux)"),
)

DETECT = _group(
    "images[].summary.detect.",
    ("n_exposures", "", "exposures that were drizzled together", "exposures"),
    ("n_sources", "", "detections", "sources"),
    ("n_removed", "", "detections removed by the coverage rule", "removed, with the reason"),
    (
        "background_median", "electron / s", "median of the background, per pixel",
        "background, median", "e/s per px",
    ),
    (
        "noise_median", "electron / s", "median of the noise of a pixel",
        "noise of a pixel, median", "e/s",
    ),
    (
        "background_box_px", "pix", "side of the boxes that the background comes from",
        "boxes of the background", "px",
    ),
    (
        "n_oversubtracted", "",
        "boxes of detect.fine_box_px whose sky lies far below the background of detect.box_px",
        "boxes with too much sky subtracted",
    ),
    (
        "reach_mag", "mag", "AB magnitude at which half of the stars are found, by area and noise",
        "half found", "AB mag",
    ),
    ("reach_of_presets_mag.*", "mag", "the same, had the run used this preset"),
)  # fmt: skip
CRMASK = _group(
    "images[].summary.crmask.",
    ("n_cr_pixels", "", "pixels on the cosmic-ray mask, not grown", "pixels on the mask"),
    ("n_cr_tracks", "", "connected groups of them", "cosmic-ray tracks"),
    (
        "share_of_single", "", "fraction of the pixels of one exposure that are on the mask",
        "of the area with one exposure", "%",
    ),
    ("share_of_single_grown", "", "the same of the grown mask", "the same, mask grown", "%"),
    (
        "noise_scale", "", "measured noise over the noise expected from the counts",
        "noise, measured over expected",
    ),
    (
        "sky_added_e", "electron", "sky added back for the noise, per pixel",
        "sky put back", "e per px",
    ),
)  # fmt: skip
ALIGN = _group(
    "images[].summary.align.",
    ("aligned", "", "true if the WCS was changed"),
    ("grade", "", "A (best) to F, as in the products' page", "grade"),
    ("reason", "", "reason for the grade", "because"),
    (
        "geometry", "", "none, shift, rshift (and roll), rscale (and scale), general, sip",
        "what was fitted",
    ),
    ("n_matches", "", "Gaia stars of this image in the fit", "Gaia stars in this image"),
    ("n_field_matches", "", "Gaia stars of the field in the fit", "Gaia stars in the fit"),
    (
        "n_tied", "", "sources that tie the image to the others of its field",
        "sources shared with other images",
    ),
    ("n_reference", "", "reference stars within the image's array", "reference stars in the array"),
    (
        "rms_ra_mas", "mas", "weighted residuals of this image's stars, RA times cos(Dec)",
        "residuals in RA, rms",
    ),
    ("rms_dec_mas", "mas", "the same, declination", "residuals in Dec, rms"),
    (
        "loo_rms_mas", "mas", "rms per axis with each star left out of the fit in turn",
        "the same, star left out of the fit",
    ),
    (
        "distortion_mas", "mas", "residual distortion, rms per axis; 0 without evidence",
        "distortion, rms",
    ),
    ("distortion_arcsec", "arcsec", "length over which it is correlated", "correlated over"),
    ("odds", "", "probability that a match this good is chance", "odds of chance"),
    (
        "shift_ra_mas", "mas", "shift at the centre of the image, RA times cos(Dec)",
        "shift in RA",
    ),
    ("shift_dec_mas", "mas", "the same, declination", "shift in Dec"),
    ("roll_deg", "deg", "change of the position angle of the y axis", "roll"),
    ("scale_ppm", "1e-6", "change of the pixel scale", "change of scale", "ppm"),
    (
        "astrom_err_mas", "mas", "error of the frame per axis, typical over the image",
        "frame error",
    ),
    ("release", "", "catalog of the reference stars", "reference"),
    ("epoch", "yr", "epoch to which they were moved", "epoch of the image"),
)  # fmt: skip
MEASURE = _group(
    "images[].summary.measure.",
    ("n_measured", "", "rows of the photometry", "sources"),
    ("n_cosmic_ray", "", "rows with cr_flag", "on the cosmic-ray mask (cr_flag)"),
    (
        "n_likely_cosmic_ray", "", "rows with the flag LIKELY_COSMIC_RAY (p_cr)",
        "likely cosmic rays (p_cr)",
    ),
    ("n_gaia", "", "rows with a Gaia match", "Gaia matches"),
    ("n_gaia_chance", "", "matches expected by chance", "Gaia matches by chance, expected"),
    ("n_point", "", "rows with p_star of 0.5 or more", "point-like"),
    ("fwhm_median", "pix", "median FWHM", "FWHM, median", "px"),
    (
        "noise_correlation", "", "noise of large areas over that of independent pixels",
        "noise of large areas, over that of pixels",
    ),
    ("noise_origin", "", "blank sky, or the drizzling parameters", "noise of the apertures from"),
    ("noise_n_places", "", "blank places that were measured", "places of blank sky"),
    ("noise_scale.*", "", "by aperture: noise of blank places over that of independent pixels"),
    ("noise_slope", "", "how that changes from few to many exposures"),
    ("noise_pull.*", "", "by aperture: width of blank places' pulls by the noise of other places"),
    ("total_noise_scale", "", "noise of total fluxes over that of independent pixels",
     "noise of total fluxes, over that of pixels"),
    (
        "sky_level_err", "electron / s", "error of sky_level, per pixel; null if not measured",
        "error of the sky of total fluxes", "e/s per px",
    ),
    ("sky_growth", "", "growth of the segments that are left out of sky_level; 0: none",
     "growth of segments for that sky"),
    ("depth_mag", "mag", "median 5-sigma limiting AB magnitude, point source, middle aperture",
     "5-sigma depth", "AB mag"),
    ("limit_mag.*.*", "mag", "the same at blank places, by number of exposures and by aperture"),
    ("locus_concentration[]", "mag", "concentrations of the image's stars"),
    ("locus_n_stars", "", "sources that look like stars", "stars that define the point sources"),
    (
        "locus_origin", "", "stars; with fewer than 5 the image's PSF, or the published curve",
        "p_star rests on",
    ),
    ("psf_origin", "", "stars, or the published curve", "PSF from"),
    ("psf_n_stars", "", "stars that the PSF was made from", "stars of the PSF"),
    ("psf_fwhm_px", "pix", "FWHM of the PSF", "FWHM of the PSF", "px"),
    ("psf_residual", "", "qfit of these stars, median"),
    ("psf_n_found", "", "rows that what the fitted stars leave shows", "found in the residual"),
    ("psf_noise_correlation", "", "noise of large sums over that of independent pixels"),
    ("n_nebulous", "", "rows with the flag NEBULOUS, likely cosmic rays aside",
     "sources on nebulosity"),
    ("n_in_large_object", "", "the same with IN_LARGE_OBJECT", "sources in large objects"),
    ("n_on_trail", "", "the same with TRAIL", "sources on trails"),
    ("n_trails", "", "straight trails across the image", "trails"),
    (
        "nebulous_percent", "%", "fraction of the sky with structure at the scale of apertures",
        "sky with structure", "%",
    ),
    ("large_object_percent", "%", "fraction of the image under large objects",
     "covered by large objects", "%"),
    (
        "covered_percent", "%", "fraction of the image that sources and their wings cover",
        "covered by sources", "%",
    ),
    ("merged_percent", "%", "fraction of the rows that hide a peak without a row of its own",
     "sources with a peak that has no row", "%"),
    (
        "cte_loss_percent", "%", ("charge of 1,000 electrons that is lost at the gap between the "
        "chips, by trails; null if not measured"), "charge lost in transfer", "%",
    ),
    ("cte_loss_err_percent", "%", "its 1-sigma error", "error of the charge lost", "%"),
    ("cte_n_sources", "", "sources used to measure it", "sources that show the charge lost"),
    ("trust_notes[]", "", "where the catalog is unreliable, and what helps"),
)  # fmt: skip
FINALIZE = _group(
    "images[].summary.finalize.",
    ("n_catalog", "", "rows of the catalog", "sources"),
    ("n_clean", "", "rows of the clean catalog", "clean"),
    ("n_snr5_*", "", "rows of S/N 5 or more in the aperture of that name"),
    ("zeropoint_ab", "mag", "AB zero point, for electrons per second", "AB zero point"),
    (
        "zeropoint_audit_mmag", "mmag", "zero point of the header minus that of the tables",
        "zero point, header minus tables",
    ),
    ("exptime_s", "s", "exposure time of the image, as its pixels show", "exposure time"),
    ("calibration_notes[]", "", "assumptions and problems in the calibration"),
    ("closure.reference_px", "pix", "aperture to which the others are compared"),
    ("closure.n_stars", "", "stars of the image that were compared"),
    ("closure.percent.*.published", "%", "by aperture: excess of stars, published corrections"),
    ("closure.percent.*.used", "%", "the same with the corrections in use"),
    ("closure.percent.*.error", "%", "error of the latter"),
    ("closure.percent.*.scatter", "%", "scatter from star to star beyond their noise"),
    ("closure.percent.*.closes", "", "false if stars contradict it; none if not checked"),
)  # fmt: skip

GROUPS = _group(
    "groups.*.",
    ("outcome", "", "of the objects of the group, as of an image"),
    ("reason", "", "why they were not made; ''"),
    ("images", "", "its images, <field>/<filter>/<root>"),
    ("seconds", "s", "time that its objects took"),
    ("summary.n_objects", "", "objects", "objects"),
    ("summary.n_real", "", "objects with p_real of objects.min_p_real or more", "real"),
    ("summary.n_in_several", "", "objects detected in two or more images", "in several images"),
    ("summary.n_only_combined", "", "objects found only in the combined image", "in the sum only"),
    (
        "summary.n_epoch_rows",
        "",
        "rows of the table of epochs: an object in an image or exposure",
        "rows of epochs",
    ),
    (
        "summary.n_single_cosmic_rays",
        "",
        "detections left out: cosmic rays by their image, and no other shows them",
        "cosmic rays left out",
    ),
    ("summary.n_group_images", "", "images that were measured", "images"),
    ("summary.filters", "", "filters, from blue to red"),
)

SECTIONS: tuple[tuple[str, tuple[SummaryValue, ...]], ...] = (
    ("The run", RUN),
    ("Fields", FIELDS),
    ("Images", IMAGES),
    ("Images: detect", DETECT),
    ("Images: crmask", CRMASK),
    ("Images: align", ALIGN),
    ("Images: measure", MEASURE),
    ("Images: finalize", FINALIZE),
    ("Groups of images, and their objects", GROUPS),
)
SUMMARY_VALUES = tuple(value for _, values in SECTIONS for value in values)
WORDS = {v.name: (v.words, v.card_unit or v.unit) for v in SUMMARY_VALUES if v.words}
"""Words and unit by which cards show scalars."""

HEAD = """# `summary.json`

All images of an output folder in numbers, and what became of each in the last run that worked on
it. The file is put together from the states of the fields (`<field>/field.json`) and of the groups
(`objects/<group>/group.json`) at the end of each run and step, and by `bycatch summarize OUT`.
Paths below join names by dots; `[]` stands for each entry of a list, `*` for any name. What is not
known is null; the values of steps that were not done are left out. The page `report.html` (`bycatch
report OUT`) shows the same.

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
