"""What a paper says of a run: a paragraph with its numbers, its settings, and the works to cite."""

from __future__ import annotations

import textwrap
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

LIBRARIES = ("numpy", "scipy", "astropy", "numba")
WORKS = {
    "bycatch": (
        "software", "{{The bycatch developers}}",
        "bycatch: photometry catalogs from HST/ACS parallel fields", "2026", {},
    ),
    "numpy": (
        "article", "Harris, C. R. and others", "Array programming with NumPy", "2020",
        {"journal": "Nature", "volume": "585", "pages": "357", "doi": "10.1038/s41586-020-2649-2"},
    ),
    "scipy": (
        "article", "Virtanen, P. and others", "SciPy 1.0: fundamental algorithms for scientific "
        "computing in Python", "2020",
        {
            "journal": "Nature Methods", "volume": "17", "pages": "261",
            "doi": "10.1038/s41592-019-0686-2",
        },
    ),
    "astropy": (
        "article", "{{Astropy Collaboration}}", "The Astropy Project: Sustaining and Growing a "
        "Community-oriented Open-source Project", "2022",
        {"journal": "ApJ", "volume": "935", "pages": "167", "doi": "10.3847/1538-4357/ac7c74"},
    ),
    "numba": (
        "inproceedings", "Lam, S. K. and Pitrou, A. and Seibert, S.",
        "Numba: a LLVM-based Python JIT compiler", "2015",
        {"booktitle": "Proc. LLVM-HPC", "pages": "7", "doi": "10.1145/2833157.2833162"},
    ),
    "lacosmic": (
        "article", "van Dokkum, P. G.", "Cosmic-Ray Rejection by Laplacian Edge Detection", "2001",
        {"journal": "PASP", "volume": "113", "pages": "1420", "doi": "10.1086/323894"},
    ),
    "bohlin": (
        "article", "Bohlin, R. C.", "Perfecting the Photometric Calibration of the ACS CCD Cameras",
        "2016", {"journal": "AJ", "volume": "152", "pages": "60"},
    ),
    "budavari": (
        "article", "Budavari, T. and Szalay, A. S.",
        "Probabilistic Cross-Identification of Astronomical Sources", "2008",
        {"journal": "ApJ", "volume": "679", "pages": "301", "doi": "10.1086/587156"},
    ),
    "kron": (
        "article", "Kron, R. G.", "Photometry of a complete sample of faint galaxies", "1980",
        {"journal": "ApJS", "volume": "43", "pages": "305", "doi": "10.1086/190669"},
    ),
    "healpix": (
        "article", "G{{\\'o}}rski, K. M. and others", "HEALPix: A Framework for High-Resolution "
        "Discretization and Fast Analysis of Data Distributed on the Sphere", "2005",
        {"journal": "ApJ", "volume": "622", "pages": "759", "doi": "10.1086/427976"},
    ),
    "gaia": (
        "article", "{{Gaia Collaboration}}",
        "Gaia Data Release 3: Summary of the content and survey properties", "2023",
        {
            "journal": "A&A", "volume": "674", "pages": "A1",
            "doi": "10.1051/0004-6361/202243940",
        },
    ),
}  # fmt: skip
"""Kind, authors, title, year, and the rest, by the key of the entry."""
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
    n_aligned = sum(grade in ALIGNED for grade in grades)
    frame = floats(images, "frame_err")
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
        f"We used {counted(numbers['n_images'], 'drizzled image')} of HST/ACS in "
        f"{', '.join(numbers['filters'])} with a total exposure time of {hours:.2f} h, "
        "taken between MJD "
        f"{_number(numbers['first_mjd'], '.2f')} and {_number(numbers['last_mjd'], '.2f')}; "
        f"they cover {3600 * numbers['area_deg2']:.2f} square arcmin in "
        f"{counted(numbers['n_groups'], 'group')} of overlapping images.",
        f"They were processed with bycatch {__version__}. Sources were detected in each image "
        f"above {first.detect.n_sigma:g} sigma of the local background on at least "
        f"{first.detect.n_pixels} pixels ({first.detect.n_pixels_single} in single exposures), "
        "cosmic rays masked with LAcosmic (van Dokkum 2001), and fluxes measured in apertures of "
        f"{radii} pixels, corrected with the encircled energy of Bohlin (2016) and the images' own "
        "stars. Magnitudes are AB.",
        f"{n_aligned} of {len(grades)} images are aligned to Gaia DR3 (Gaia Collaboration 2023); "
        f"the median error of a frame is {_number(_median(frame), '.1f')} mas per axis."
        if n_aligned
        else "No image could be aligned to Gaia: positions are in the frame of the headers.",
        "Detections of all overlapping images were joined by likelihood (Budavari & Szalay 2008), "
        "together with what only the sum of the images shows, and each object measured in every "
        f"image that covers it. This gave {len(objects)} objects"
        + (
            f" with a probability of 0.5 or more to be real, of {numbers['n_objects']} in all."
            if len(objects) != numbers["n_objects"]
            else "."
        ),
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
    left_out = set() if any(grade in ALIGNED for grade in grades) else {"gaia"}
    entries = []
    for key, (kind, author, title, year, rest) in WORKS.items():
        if key in left_out:
            continue
        values: dict[str, Any] = {"author": author.format(), "title": title, "year": year, **rest}
        if key == "bycatch":
            values["version"] = notes.creator.removeprefix("bycatch ")
        lines = [f"  {name} = {{{value}}}," for name, value in values.items()]
        entries.append("\n".join([f"@{kind}{{{key}{year},", *lines, "}"]))
    return "\n\n".join(entries) + "\n"


def settings_text(notes: Notes) -> str:
    """Return the settings of the folders that the survey is made of, as TOML."""
    outs_and_settings = _settings(notes)
    if not outs_and_settings:
        return "# the settings are not known any more\n"
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
