"""Names of products and where they lie: ``OUT/<field>/<filter>/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bycatch.errors import UnreadableFile
from bycatch.images.files import root_of

STAGES = ("detect", "crmask", "align", "measure", "finalize")


@dataclass(frozen=True)
class ImagePaths:
    """Where the products of one image lie: ``OUT/<field>/<filter>/``."""

    folder: Path
    stem: str

    @property
    def root(self) -> str:
        """The stem without _drc."""
        return root_of(self.stem)

    def product(self, kind: str, suffix: str = ".ecsv") -> Path:
        """Return ``<root>_<kind><suffix>``."""
        return self.folder / f"{self.root}_{kind}{suffix}"

    @property
    def mask(self) -> Path:
        """The cosmic-ray mask, what the image covers, and which sources lie on the mask."""
        return self.folder / f"{self.stem}.mask.fits"

    @property
    def segmentation(self) -> Path:
        """The segmentation image, and the detections that were removed."""
        return self.product("segm", ".fits.gz")

    @property
    def sky(self) -> Path:
        """Background and noise, box by box."""
        return self.product("sky", ".fits")

    @property
    def wcs(self) -> Path:
        """The aligned WCS."""
        return self.product("wcs", ".fits")

    @property
    def depth(self) -> Path:
        """How deep the image is, block by block, and the blank places that it rests on."""
        return self.product("depth", ".fits")

    @property
    def psf(self) -> Path:
        """The PSF, on a grid of places."""
        return self.product("psf", ".fits")

    @property
    def aligned_image(self) -> Path:
        """The copy of the drizzled image that has the aligned WCS."""
        kind = self.stem.removeprefix(self.root)
        return self.folder / f"{self.root}_aligned{kind}.fits"


def own_folder(path: Path) -> Path:
    """Return a folder of ours in an output folder, which no link leads elsewhere.

    Raises
    ------
    UnreadableFile
        It is a link.
    """
    if path.is_symlink():
        raise UnreadableFile(
            f"{path} is a link, and nothing is written through links",
            hint="remove it, or choose another output folder",
        )
    return path


def is_plain_name(name: str) -> bool:
    """Tell whether a name is that of a file in a folder, and leads nowhere else."""
    return name not in {"", ".", ".."} and not {"/", os.sep, "\0"} & set(name)
