"""The planes of a drizzled image, read the same way by everyone: SCI, WHT and CTX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch.errors import UnreadableFile
from bycatch.images.files import opened

Image = NDArray[np.float32]


def find_plane(hdus: fits.HDUList, name: str) -> Any | None:
    """Return the first image extension of a name, or None; a 2-D image in PRIMARY counts as SCI."""
    for hdu in hdus:
        if hdu.name == name and hdu.is_image and len(getattr(hdu, "shape", ())) >= 2:
            return hdu
    primary = hdus[0]
    if name == "SCI" and len(getattr(primary, "shape", ())) == 2:
        return primary
    return None


def weight_sibling(path: Path) -> Path | None:
    """Return ``<stem>_wht.fits`` beside ``<stem>_sci.fits``, if it exists."""
    if not re.search(r"_sci\.fits", path.name):
        return None
    sibling = path.with_name(path.name.replace("_sci.fits", "_wht.fits"))
    return sibling if sibling.exists() else None


def pixels_of(hdu: Any | None, path: Path) -> Image | None:
    """Return an extension's pixels as native numbers, if possible in the memory they are in."""
    if hdu is None:
        return None
    data = data_of(hdu, path)
    if data.dtype == np.dtype(">f4") and data.flags.writeable and data.flags.c_contiguous:
        return data.byteswap(inplace=True).view(np.dtype(np.float32))
    return np.array(data, dtype=np.float32, order="C")


def data_of(hdu: Any, path: Path) -> NDArray[Any]:
    """Return an extension's pixels as the file holds them, and let go of them."""
    data = hdu.data
    del hdu.data
    if data is None:
        raise UnreadableFile(f"{path}: extension {hdu.name} holds no pixels")
    return np.asarray(data)


def sibling_weight(path: Path) -> Image:
    """Return the weight that is in a file of its own."""
    with opened(path) as hdus:
        for name in ("WHT", "SCI"):
            found = pixels_of(find_plane(hdus, name), path)
            if found is not None:
                return found
    raise UnreadableFile(f"{path}: no weight image in it")
