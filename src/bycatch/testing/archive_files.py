"""Files of an archive on this machine, and the rows of its listings.

The rows have the keys that astropy's astroquery 0.4.11 keeps of the real ones in its tests.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bycatch.archive.names import field_of_name, kind_of


@dataclass
class StoredFile:
    """A file in the archive.

    Attributes
    ----------
    content : its bytes
    listed_bytes : what the listing says; the true size by default
    public : anybody may have it
    """

    content: bytes
    filter: str = "F606W"
    program: str = "13711"
    ra_deg: float = 36.92
    dec_deg: float = -8.47
    listed_bytes: int | None = None
    public: bool = True
    version: int = 1
    uri: str = ""

    @property
    def etag(self) -> str:
        """A strong validator."""
        return f'"v{self.version}-{hashlib.sha256(self.content).hexdigest()[:16]}"'


def with_other_pixels(content: bytes) -> bytes:
    """Return a file with other pixels, and the same length and header."""
    at = len(content) // 2
    return content[:at] + bytes(b ^ 0x5A for b in content[at : at + 100]) + content[at + 100 :]


def reprocess(content: bytes) -> bytes:
    """Return a file with other pixels and the same length, as if the archive had made it again."""
    from astropy.io import fits

    file = io.BytesIO()
    with fits.open(io.BytesIO(content)) as hdus:
        hdus["SCI"].data = hdus["SCI"].data + np.float32(1)
        hdus.writeto(file, checksum="CHECKSUM" in hdus["SCI"].header)
    return file.getvalue()


def small_drc(
    name: str,
    *,
    prime: str = "WFC3",
    filters: tuple[str, str] = ("CLEAR1L", "F606W"),
    seed: int = 1,
    size_px: int = 64,
    sums: bool = True,
    n_more_cards: int = 400,
) -> bytes:
    """Return a small drizzled image as the archive keeps it, of some 90 kB.

    Parameters
    ----------
    name : of the file; its header repeats it
    prime : the prime instrument
    filters : of both wheels
    sums : with CHECKSUM and DATASUM, which real products lack
    n_more_cards : in PRIMARY, which has 840 in a real product
    """
    from astropy.io import fits

    random = np.random.default_rng(seed)
    head = fits.Header()
    head["NEXTEND"], head["FILENAME"], head["ROOTNAME"] = 3, name, name
    head["TELESCOP"], head["INSTRUME"], head["DETECTOR"] = "HST", "ACS", "WFC"
    head["PRIMESI"], head["PROPOSID"] = prime, 13711
    head["FILTER1"], head["FILTER2"] = filters
    for k in range(n_more_cards):
        head[f"HIERARCH MORE {k}"] = k
    shape = (size_px, size_px)
    planes = [
        fits.ImageHDU(random.normal(size=shape).astype(np.float32), name="SCI"),
        fits.ImageHDU(np.full(shape, 1000, dtype=np.float32), name="WHT"),
        fits.ImageHDU(np.ones(shape, dtype=np.int32), name="CTX"),
    ]
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(header=head), *planes]).writeto(file, checksum=sums)
    return file.getvalue()


def observation_row(name: str, file: StoredFile) -> dict[str, Any]:
    """Return an observation, as advSearch.json has them."""
    obs_id = name.removesuffix(".fits").rsplit("_", 1)[0]
    number = int(hashlib.sha256(obs_id.encode()).hexdigest()[:8], 16)
    return {
        "dataproduct_type": "image", "calib_level": 3, "obs_collection": "HST", "obs_id": obs_id,
        "target_name": "ANY", "s_ra": file.ra_deg, "s_dec": file.dec_deg, "t_min": 57402.0,
        "t_max": 57402.1, "t_exptime": 1550.0, "wavelength_region": "OPTICAL",
        "filters": file.filter, "em_min": 0, "em_max": 0, "target_classification": "",
        "obs_title": "", "t_obs_release": 57767.0, "instrument_name": "ACS/WFC",
        "proposal_pi": "", "proposal_id": file.program, "project": "HST", "s_region": "",
        "jpegURL": None, "dataURL": None, "dataRights": _rights(file), "obsid": number,
        "objID": number + 1,
    }  # fmt: skip


def _rights(file: StoredFile) -> str:
    return "PUBLIC" if file.public else "EXCLUSIVE_ACCESS"


def product_rows(
    name: str, file: StoredFile, observation: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the products of an observation, as products.json has them."""
    rows = []
    root = name.removesuffix(".fits").rsplit("_", 1)[0]
    for kind, size in (("flc", 168_000_000), ("spt", 90_000), ("drc", 0)):
        filename = name if kind == "drc" else f"{root}_{kind}.fits"
        n_bytes = file.listed_bytes
        rows.append(
            {
                "_selected_": None,
                "obsID": observation["obsid"],
                "obs_collection": "HST",
                "dataproduct_type": "image",
                "obs_id": observation["obs_id"],
                "description": f"DADS {kind.upper()} file",
                "type": "D",
                "dataURI": (kind == "drc" and file.uri) or f"mast:HST/product/{filename}",
                "productType": "SCIENCE",
                "productGroupDescription": None,
                "productSubGroupDescription": kind.upper(),
                "productDocumentationURL": None,
                "project": "HAP-SVM" if kind_of(name) == "hap" else "CALACS",
                "prvversion": None,
                "productFilename": filename,
                "size": size or (len(file.content) if n_bytes is None else n_bytes),
                "parent_obsid": observation["obsid"],
                "dataRights": _rights(file),
            }
        )
    return rows


def passes(row: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Tell whether an observation passes a filter of a search."""
    value = str(row[one["paramName"]])
    pattern = one.get("freeText")
    if pattern and re.fullmatch(re.escape(pattern).replace("%", ".*"), value, re.IGNORECASE):
        return True
    return value in one["values"]


def is_inside(row: Mapping[str, Any], words: Mapping[str, Any]) -> bool:
    """Tell whether an observation lies in the circle of a search; without one, it does."""
    if "position" not in words:
        return True
    ra, dec, radius = (float(word) for word in words["position"].split(","))
    east = (row["s_ra"] - ra) * np.cos(np.radians(dec))
    return bool(np.hypot(east, row["s_dec"] - dec) <= radius)


def archive_of(names: Iterable[str], **options: Any) -> dict[str, StoredFile]:
    """Return small files of some names; fields lie apart on the sky."""
    files = {}
    for k, name in enumerate(names):
        number = int(hashlib.sha256(field_of_name(name).encode()).hexdigest()[:6], 16)
        ra_deg, dec_deg = 360 * number / 2**24, 60 * ((number * 0.618) % 1) - 30
        content = small_drc(name, seed=k, **options)
        files[name] = StoredFile(content, ra_deg=ra_deg, dec_deg=dec_deg)
    return files
