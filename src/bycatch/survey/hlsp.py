"""A High Level Science Product of MAST: its names of files, cards, README and manifest.

``hlsp_<project>_hst_acs_<target>_<filters>_<version>_<product>.<ext>``: lower case, 90 characters
(outerspace.stsci.edu, MASTDOCS, File Naming Convention).
"""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from astropy.io import fits
from astropy.table import Table

from bycatch.catalogs.tables import write_table
from bycatch.errors import SettingsError
from bycatch.system.disk import Batch, checksum
from bycatch.system.words import cell_words, printable

if TYPE_CHECKING:
    from bycatch.survey.release import Content

MOST_LETTERS = 90
PRODUCTS = {"objects": "cat", "epochs": "epoch-cat", "images": "image-list"}
LICENCE = ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")


def file_name(content: Content, product: str, filters: str = "") -> str:
    """Return the name of a file.

    Parameters
    ----------
    content : what is published
    product : kind and extension, such as ``cat.fits``
    filters : '' for all of them: their names while they are few, else ``multi``
    """
    release = content.release
    filters_in_name = "-".join(name.lower() for name in content.filters)
    element = filters.lower() or (filters_in_name if len(content.filters) <= 3 else "multi")
    name = f"hlsp_{release.project}_hst_acs_{release.name}_{element}_{release.version}_{product}"
    if len(name) > MOST_LETTERS:
        raise SettingsError(
            f"{name} has more than {MOST_LETTERS} letters", hint="give a shorter --name"
        )
    return name


def write(content: Content, batch: Batch) -> None:
    """Write catalogs, maps, footprints, and the README."""
    for table, product in PRODUCTS.items():
        path = batch.partial(batch.folder / file_name(content, f"{product}.fits"))
        write_table(content.tables[table], path, "fits", meta={})
        _add_cards(path, content, product)
    for name in content.filters:
        for source, product in (
            (f"depth_{name}.fits", "depth-map"),
            (f"footprint_{name}.fits", "moc"),
        ):
            if (content.path / source).is_file():
                own = file_name(content, f"{product}.fits", name)
                path = batch.partial(batch.folder / own)
                shutil.copyfile(content.path / source, path)
                _add_cards(path, content, product, name)
    readme = batch.partial(batch.folder / file_name(content, "readme.txt"))
    readme.write_text(_readme(content, batch), encoding="utf-8")


def _add_cards(path: Path, content: Content, product: str, filters: str = "") -> None:
    """Enter what MAST wants in the first header of each file."""
    release, numbers = content.release, content.notes.summary
    cards = {
        "HLSPID": (release.project, "identifier of the collection"),
        "HLSPNAME": (f"{release.title}: photometry of HST/ACS images", "title"),
        "HLSPTARG": (release.name, "target or field"),
        "HLSPVER": (release.version.lstrip("v"), "version"),
        "HLSPLEAD": ("", "lead: fill in before it is sent"),
        "DOI": ("", "of the collection: MAST gives it"),
        "LICENSE": (LICENCE[0], ""),
        "LICENURL": (LICENCE[1], ""),
        "TELESCOP": ("HST", "telescope"),
        "INSTRUME": ("ACS", "instrument"),
        "FILTER": (filters or ",".join(content.filters), "filters"),
        "RADESYS": ("ICRS", "frame of the positions"),
        "PRODUCT": (product, "kind of product"),
        "CREATOR": (content.notes.creator, "program"),
        "MJD-BEG": (numbers["first_mjd"], "[d] first image"),
        "MJD-END": (numbers["last_mjd"], "[d] last image"),
    }
    with fits.open(path, mode="update") as hdus:
        for key, (value, comment) in cards.items():
            if value is not None:
                hdus[0].header[key] = (value, comment)
        for hdu in hdus:
            hdu.add_checksum()


def _readme(content: Content, batch: Batch) -> str:
    release, numbers = content.release, content.notes.summary
    file_list = "\n".join(f"  {path.name}" for path in sorted(batch.paths))
    columns = [
        f"  {name:<28} {column.unit or '':<24} {column.description or ''}"
        for name, column in content.tables["objects"].columns.items()
    ]
    return (
        f"{release.title}: photometry of HST/ACS images, {release.version}\n\n"
        f"Contact: (fill in before it is sent)\nDate: {content.notes.made[:10]}\n"
        f"Version: {release.version}\nMade by: {content.notes.creator}\n\n"
        f"{len(content.tables['objects'])} objects in {numbers['n_images']} images, filters "
        f"{', '.join(content.filters)}. What the images show, how they were measured, and how deep "
        "they are is in the file methods.txt, the works to cite in references.bib.\n\n"
        f"Files\n{file_list}\n\n"
        "cat: a star or galaxy per row. epoch-cat: each of them in each image and exposure "
        "(object_id joins them). image-list: the images. depth-map: HEALPix, 5 sigma of a point "
        "source. moc: what is covered. manifest.csv: all files with their checksums, and the HST "
        "images that they come from.\n\n"
        "Columns of cat\n" + "\n".join(columns) + "\n"
    )


def write_manifest(content: Content, batch: Batch) -> None:
    """Write the list of all files with their checksums, and of the images that they come from."""
    paths = sorted(batch.paths)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("file", "bytes", "sha256", "from"))
    for path in paths:
        partial = batch.beside(path)
        digest = checksum(partial).removeprefix("sha256:")
        words = (path.name, partial.stat().st_size, digest, "")
        lines.writerow(words)
    for row in _images(content.tables["images"]):
        lines.writerow(row)
    name = file_name(content, "manifest.csv")
    batch.partial(batch.folder / name).write_text(text.getvalue(), encoding="utf-8")


def _images(images: Table) -> list[tuple[str, str, str, str]]:
    images_and_digests = {
        (printable(str(row["image"])), str(row["checksum"]).removeprefix("sha256:"))
        for row in images
    }
    return [("", "", digest, cell_words(image)) for image, digest in sorted(images_and_digests)]
