"""The planes of a drizzled image, read the same way by everyone: SCI, WHT and CTX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.errors import InconsistentImage, UnreadableFile
from bycatch.images.files import open_fits

PLANES = ("SCI", "WHT", "CTX")


def name_of(hdu: Any) -> str:
    """Return the name of an extension, without blanks and in capitals."""
    return str(hdu.name).strip().upper()


def find_plane(hdus: fits.HDUList, name: str, *, apart: bool = False) -> Any | None:
    """Return the first image extension of a name, or None.

    An image in PRIMARY counts as SCI; in a file ``apart``, which holds one plane, as that plane.
    """
    for hdu in hdus:
        if name_of(hdu) == name and _is_image(hdu):
            return hdu
    if apart and name != "SCI":
        return find_plane(hdus, "SCI")
    if name != "SCI":
        return None
    # fpack moves an image from PRIMARY to the first extension.
    lone = hdus[1] if len(hdus) == 2 and isinstance(hdus[1], fits.CompImageHDU) else hdus[0]
    return (
        lone if _is_image(lone) and name_of(lone) in ("", "PRIMARY", "COMPRESSED_IMAGE") else None
    )


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(getattr(hdu, "shape", ())) >= 2


def refuse_several(hdus: fits.HDUList, path: Path) -> None:
    """Complain of a plane that is there more than once.

    Raises
    ------
    InconsistentImage
        Which of them is meant is not known.
    """
    for name in PLANES:
        versions = [str(hdu.ver) for hdu in hdus if name_of(hdu) == name and _is_image(hdu)]
        if len(versions) > 1:
            raise InconsistentImage(
                f"{path}: {len(versions)} {name} extensions (EXTVER {', '.join(versions)}), "
                "and nothing shows which to use",
                hint="write each image with its WHT and CTX to a separate file",
            )


def weight_sibling(path: Path) -> Path | None:
    """Return ``<stem>_wht.fits`` next to ``<stem>_sci.fits``, if it exists."""
    return _sibling(path, "wht")


def context_sibling(path: Path) -> Path | None:
    """Return ``<stem>_ctx.fits`` next to ``<stem>_sci.fits``, if it exists."""
    return _sibling(path, "ctx")


def _sibling(path: Path, kind: str) -> Path | None:
    match = re.search(r"_(sci)(\.fits(\.gz|\.fz)?)$", path.name, re.IGNORECASE)
    if not match:
        return None
    stem = f"{path.name[: match.start()]}_{kind.upper() if match[1].isupper() else kind}"
    for suffix in dict.fromkeys([match[2], ".fits", ".fits.gz", ".fits.fz"]):
        if (sibling := path.with_name(stem + suffix)).exists():
            return sibling
    return None


def pixels_of(hdu: Any | None, path: Path) -> Image | None:
    """Return an image's pixels as native numbers; None without an image (see `native`)."""
    return None if hdu is None else native(data_of(hdu, path), path, name_of(hdu))


def native(data: NDArray[Any], path: Path, name: str) -> Image:
    """Return pixels as native numbers, if possible in the memory they are in.

    Raises
    ------
    InconsistentImage
        They are a cube of several images.
    """
    if data.ndim != 2:
        raise InconsistentImage(
            f"{path}: {name} is a cube of {np.prod(data.shape[:-2])} planes {data.shape}, not "
            f"an image",
            hint="write the plane to use, with its WHT and CTX, to a separate file",
        )
    if data.dtype == np.dtype(">f4") and data.flags.writeable and data.flags.c_contiguous:
        return data.byteswap(inplace=True).view(np.dtype(np.float32))
    with np.errstate(over="ignore"):  # what single precision can't hold becomes infinite: no data
        return np.array(data, dtype=np.float32, order="C")


def data_of(hdu: Any, path: Path) -> NDArray[Any]:
    """Return an extension's pixels, scaled as its header says, and let go of them.

    Axes of length 1 that stand before y and x are left out.
    """
    pixels = hdu.data
    del hdu.data
    if pixels is None:
        raise UnreadableFile(f"{path}: extension {hdu.name} has no pixels")
    data: NDArray[Any] = np.asarray(pixels)
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    return data


def read_apart(path: Path, name: str, *, verify: bool = False) -> NDArray[Any]:
    """Return the pixels of a plane that is in a file of its own.

    Raises
    ------
    UnreadableFile
        Not FITS, damaged, or no image in it.
    """
    with open_fits(path, verify=verify) as hdus:
        refuse_several(hdus, path)
        plane = find_plane(hdus, name, apart=True)
        if plane is not None:
            return data_of(plane, path)
    kind = {"WHT": "weight", "CTX": "context"}[name]
    raise UnreadableFile(f"{path}: no {kind} image in it")
