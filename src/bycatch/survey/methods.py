"""Text for a paper: a paragraph with the numbers of a run, its settings, and references."""

from __future__ import annotations

import textwrap
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.catalogs.tables import floats
from bycatch.products import saved_settings
from bycatch.settings import Settings, to_toml
from bycatch.survey.notes import Notes
from bycatch.system.words import counted
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table

LIBRARIES = ("numpy", "scipy", "astropy", "numba", "astropy-healpix", "mocpy", "pyarrow")
"""What results come from; the file of works has an entry of each."""
OF_GAIA = ("gaia2016", "gaia2023")
ALIGNED = ("A", "B", "C", "D")


def methods(notes: Notes, tables: dict[str, Table], survey: Path | None) -> str:
    """Return paragraphs for a paper, with the numbers of this survey.

    Parameters
    ----------
    notes : of the survey
    tables : objects, epochs and images, as they are published
    survey : where it is; None if it was made to be published only
    """
    numbers, images, objects = notes.summary, tables["images"], tables["objects"]
    settings = [settings for _, settings in _settings(notes)] or [Settings()]
    first = settings[0]
    grades = [str(grade) for grade in images["grade"]]
    is_aligned = np.isin(grades, ALIGNED)
    frame = floats(images, "frame_err")[is_aligned]
    n_psf = int(np.count_nonzero(objects["psf_flux"]))
    depth = ", ".join(
        f"{name} {of_filter['median_depth_mag']:.2f}"
        for name, of_filter in numbers["filters"].items()
        if of_filter["median_depth_mag"] is not None
    )
    half = ", ".join(
        f"{name} {of_filter['half_found_mag']:.2f}"
        for name, of_filter in numbers["filters"].items()
        if of_filter["half_found_mag"] is not None
    )
    hours = sum(of_filter["exptime_h"] for of_filter in numbers["filters"].values())
    radii = ", ".join(f"{radius:g}" for radius in first.measure.radii_px)
    parts = [
        f"We used {counted(numbers['n_images'], 'image')} of HST/ACS, drizzled (Fruchter & Hook "
        f"2002), in {', '.join(numbers['filters'])} with a total exposure time of {hours:.2f} h, "
        "taken between MJD "
        f"{_number(numbers['first_mjd'], '.2f')} and {_number(numbers['last_mjd'], '.2f')}; "
        f"they cover {3600 * numbers['area_deg2']:.2f} square arcmin in "
        f"{counted(numbers['n_groups'], 'group')} of overlapping images.",
        f"They were processed with bycatch {__version__}. Sources were detected in each image "
        f"above {first.detect.n_sigma:g} sigma of the local background on at least "
        f"{first.detect.n_pixels} pixels ({first.detect.n_pixels_single} in single exposures), "
        "cosmic rays masked with LAcosmic (van Dokkum 2001), and fluxes measured in apertures of "
        f"{radii} pixels, corrected with the encircled energy of Bohlin (2016) and the images' own "
        "stars; total magnitudes are from ellipses (Kron 1980). Errors count the correlation of "
        "drizzled pixels, as blank sky shows it or, without enough of it, as Casertano et al. "
        "(2000) give it. Magnitudes are AB (Sirianni et al. 2005).",
        f"{is_aligned.sum()} of {len(grades)} images are aligned to Gaia DR3 (Gaia Collaboration "
        "2016, 2023); the median error of their frames is "
        f"{_number(_median(frame), '.1f')} mas per axis."
        if is_aligned.any()
        else "No image could be aligned to Gaia: positions are in the frame of the headers.",
        "Detections of all overlapping images were joined by likelihood (Budavari & Szalay 2008), "
        "together with what only the sum of the images shows, and each object measured in every "
        f"image that covers it. This gave {len(objects)} objects"
        + (
            f" with a probability of 0.5 or more to be real, of {numbers['n_objects']} in all."
            if len(objects) != numbers["n_objects"]
            else "."
        )
        + f" The fluxes of {n_psf} of them are those of fits of the PSF, the others' those of "
        "apertures. Their identifiers are HEALPix cells (Gorski et al. 2005).",
        f"The median 5-sigma limits of a point source are: {depth} mag." if depth else "",
        f"Half of the artificial stars are found at: {half} mag." if half else "",
        "Versions: "
        + ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
        + f", Python libraries of bycatch {__version__}; all settings are in settings.toml"
        + (" (those of the folders of the survey differ)." if len(set(settings)) > 1 else "."),
        f"The tables are those of the survey {survey.name}, made on {notes.made[:10]}; it holds "
        "their schema, too, and maps of the depth."
        if survey
        else "",
    ]
    return "\n\n".join(textwrap.fill(part, 96) for part in parts if part) + "\n"


def bibtex(notes: Notes, tables: dict[str, Table]) -> str:
    """Return the works to cite as BibTeX: of what was used."""
    grades = [str(grade) for grade in tables["images"]["grade"]]
    left_out = () if np.isin(grades, ALIGNED).any() else OF_GAIA
    text = (resources.files("bycatch") / "data" / "references.bib").read_text(encoding="utf-8")
    text = text.replace("VERSION", notes.creator.removeprefix("bycatch "))
    entries = text.rstrip("\n").split("\n\n")
    return "\n\n".join(e for e in entries if _key(e) not in left_out) + "\n"


def _key(entry: str) -> str:
    """Return the key of an entry of BibTeX."""
    return entry.partition("{")[2].partition(",")[0]


def settings_text(notes: Notes) -> str:
    """Return the settings of the folders that the survey is made of, as TOML."""
    outs_and_settings = _settings(notes)
    if not outs_and_settings:
        return "# the settings are no longer known\n"
    parts = []
    for k, (out, settings) in enumerate(outs_and_settings):
        if k and settings == outs_and_settings[0][1]:
            continue
        mark = "" if not k else "# "
        text = to_toml(settings)
        parts.append(f"# settings of {Path(out).name}\n")
        parts.append(text if not mark else "".join(f"# {line}\n" for line in text.splitlines()))
    return "\n".join(parts)


def _settings(notes: Notes) -> list[tuple[str, Settings]]:
    outs = sorted({group.out for group in notes.groups})
    return [(out, saved_settings(Path(out))) for out in outs if Path(out).is_dir()]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _median(values: Any) -> float | None:
    finite_values = values[np.isfinite(values)]
    return float(np.median(finite_values)) if len(finite_values) else None


def _number(value: float | None, digits: str) -> str:
    return "?" if value is None else f"{value:{digits}}"
