"""File names from an archive: which are images for bycatch, and which are safe.

A listing is untrusted input: a name becomes that of a file only if it has the form of the
archive's own names, with no folder in it.
"""

from __future__ import annotations

import re
from pathlib import Path

from bycatch.images.files import root_of, stem_of
from bycatch.stages.sort import HAP, OBSERVATION, field_of, hap_product

IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}_dr[cz]\.fits")
"""Of a drizzled image; ``re.fullmatch``."""
MAST_URI = re.compile(r"mast:[A-Za-z0-9_.+/-]{1,400}")
OTHER_ELEMENT = re.compile(r"_(g800l|pr\d+l|pol\w*)_", re.IGNORECASE)
"""Of names of HAP products: a grism, a prism, a polarizer."""


def is_image(name: str) -> bool:
    """Tell whether a listed name ends as that of a drizzled image does, safe or not."""
    return name.endswith(("_drc.fits", "_drz.fits"))


def refusal(name: str, uri: str) -> str:
    """Return why a listed file name is refused; '' if it is not."""
    if not IMAGE_NAME.fullmatch(name):
        return "not a file name of the archive"
    if not MAST_URI.fullmatch(uri) or ".." in uri or not uri.endswith(f"/{name}"):
        return f"its address is not one of the archive's ({uri[:80]})"
    return "" if field_of_name(name) else "its name has no program and visit"


def kind_of(name: str) -> str:
    """Return 'pipeline' or 'hap', by the name of a drizzled image; '' for others."""
    stem = stem_of(Path(name))
    if OBSERVATION.match(stem):
        return "pipeline"
    return "hap" if HAP.match(stem) else ""


def reason_to_skip(name: str) -> str:
    """Return why a product is of no use to a run; '' if it is of use."""
    stem = stem_of(Path(name))
    if OTHER_ELEMENT.search(stem):
        return "not a direct image"
    return hap_product(stem)


def field_of_name(name: str) -> str:
    """Return ``<program>_<visit>`` of a file's name; '' if it has none."""
    return field_of(stem_of(Path(name)), ())


def root_of_name(name: str) -> str:
    """Return a name without its suffixes and _drc, in lower case."""
    return root_of(stem_of(Path(name))).lower()
