"""What a file is, judged by its content: only drizzled images of ACS are measured.

This comes before any keyword is read, and no setting changes it: a distorted
exposure, a spectrum or a mask must not pass as an image for want of a fact.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from astropy.io import fits

from bycatch.errors import UnreadableFile, UnsupportedImage

DETECTORS = ("WFC", "HRC")
LEAVE_OUT = "leave it out"
USE_DRC = "use the drc (or drz) file of the same observation"
OTHER_INSTRUMENTS = (
    "WFC3", "WFPC", "WFPC2", "NICMOS", "STIS", "COS", "FOC", "FOS", "GHRS", "HRS", "HSP",
    "NIRCAM", "NIRISS", "NIRSPEC", "MIRI", "FGS", "VIS", "NISP", "WFI",
)  # fmt: skip
DISPERSERS = {"G800L": "grism", "PR200L": "prism", "PR110L": "prism", "PR130L": "prism"}
FILE_TYPES = {
    "WHT": "a weight image",
    "CTX": "a context image",
    "SPT": "telemetry of an observation (spt)",
    "SHP": "telemetry of an observation (spt)",
    "ASN": "a table of associated exposures (asn)",
    "ASN_TABLE": "a table of associated exposures (asn)",
    "JIT": "a record of the telescope's jitter (jit)",
    "JIF": "a record of the telescope's jitter (jif)",
    "SDQ": "a data-quality mask",
    "ERR": "an error image",
    "SEGM": "a segmentation image",
}
"""What FILETYPE says of files that are no images to measure."""
OWN_PRODUCTS = {
    "CRMASK": "a cosmic-ray mask made by bycatch",
    "SEGM": "a segmentation image made by bycatch",
    "SEGMENTATION": "a segmentation image made by bycatch",
    "COVERAGE": "a coverage map made by bycatch",
    "DEPTH": "a depth map made by bycatch",
    "SKY": "a sky map made by bycatch",
}
"""EXTNAME of the pixels that earlier runs wrote."""
WEIGHT_NAME = re.compile(r"_(wht|weight)\.fits", re.IGNORECASE)
EXPOSURE_PLANES = {"ERR", "DQ", "SAMP", "TIME", "VAR_POISSON"}
DISTORTION_CARDS = ("A_ORDER", "OCX10", "CPDIS1", "D2IMDIS1", "DP1", "NPOLEXT", "D2IMEXT")
"""Cards of a frame whose pixels are still the detector's."""


def require_drizzled(path: Path, hdus: fits.HDUList) -> None:
    """Raise for what is not a drizzled direct image of ACS.

    Raises
    ------
    UnsupportedImage
        It is something else; the message says what.
    UnreadableFile
        There is no image in it.
    """
    cards = _Cards(hdus)
    for kind_by in (_own, _by_type, _other_telescope, _other_instrument, _spectrum):
        kind = kind_by(cards)
        if kind:
            raise UnsupportedImage(f"{path}: {kind}", hint=_way_out(kind))
    if not cards.images:
        kinds = ", ".join(h.name or "unnamed" for h in hdus)
        columns: list[str] = next((h.columns.names for h in hdus if hasattr(h, "columns")), [])
        table = f"; a table of {', '.join(columns[:4])} ..." if columns else ""
        raise UnreadableFile(
            f"{path}: no image in it (extensions: {kinds}{table})",
            hint="give a drizzled image (drc or drz) with a SCI extension",
        )
    for kind_by in (_exposure, _other_plane, _stamps):
        kind = kind_by(cards)
        if kind:
            raise UnsupportedImage(f"{path}: {kind}", hint=_way_out(kind))


def is_aligned_copy(header: fits.Header) -> bool:
    """Tell a copy with the aligned WCS, which bycatch wrote, from its drizzled original."""
    # HST's pipeline names the exposure's headerlet here, bycatch the drizzled image's.
    return bool(re.search(r"_dr[cz]_.*-hlet\.fits$", str(header.get("HDRNAME", ""))))


def instrument_of(value: Any, detector: Any) -> tuple[str, str]:
    """Return instrument and detector; both may stand in INSTRUME, as in 'ACS/WFC'."""
    name, _, rest = str(value or "").strip().upper().partition("/")
    return name, str(detector or "").strip().upper() or rest


class _Cards:
    """The headers of a file, for looking at its kind."""

    def __init__(self, hdus: fits.HDUList) -> None:
        self.hdus = hdus
        self.images = [h for h in hdus if h.is_image and len(getattr(h, "shape", ()) or ()) >= 2]
        sci_images = [h for h in self.images if h.name == "SCI"]
        self.image = (sci_images or self.images or [hdus[0]])[0]
        self.names = {h.name for h in hdus}

    def get(self, name: str) -> Any:
        for header in (self.image.header, self.hdus[0].header):
            try:
                value = header.get(name)
            except fits.VerifyError:
                continue
            if value is not None and not isinstance(value, fits.card.Undefined) and value != "":
                return value.strip() if isinstance(value, str) else value
        return None

    def text(self, name: str) -> str:
        return str(self.get(name) or "").upper()

    @property
    def is_drizzled(self) -> bool:
        """True where drizzling left its traces."""
        planes = {h.name for h in self.images} & {"WHT", "CTX"}
        return bool(planes or self.get("D001DATA") or self.get("NDRIZIM"))


def _own(cards: _Cards) -> str:
    made_here = cards.text("CREATOR").startswith("BYCATCH") or "BLOCKPX" in cards.hdus[0].header
    if "FRAMEERR" in cards.names:
        return "the frame of an image (_wcs.fits), written by bycatch"
    if not made_here:
        return ""
    return OWN_PRODUCTS.get(cards.hdus[0].name, "")


def _by_type(cards: _Cards) -> str:
    kind = cards.text("FILETYPE")
    if kind in FILE_TYPES:
        return FILE_TYPES[kind]
    tables = [h for h in cards.hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
    if not cards.images and any("MEMNAME" in h.columns.names for h in tables):
        return FILE_TYPES["ASN"]
    return ""


def _other_telescope(cards: _Cards) -> str:
    telescope = cards.text("TELESCOP")
    if not telescope or telescope.startswith(("HST", "HUBBLE")):
        return ""
    return f"taken with {telescope} {cards.text('INSTRUME')}".strip() + ", not with HST's ACS"


def _other_instrument(cards: _Cards) -> str:
    name, detector = instrument_of(cards.get("INSTRUME"), cards.get("DETECTOR"))
    if name in OTHER_INSTRUMENTS or (name in ("", "ACS") and detector == "SBC"):
        product = _product_of(cards)
        also = f" ({product})" if product else ""
        return f"taken with {name} {detector}, not with ACS/WFC or ACS/HRC{also}"
    return ""


def _spectrum(cards: _Cards) -> str:
    elements = [cards.text(key) for key in ("FILTER1", "FILTER2", "FILTER")]
    for element in elements:
        if element in DISPERSERS:
            return f"taken through {element}, a {DISPERSERS[element]}: spectra, not an image"
    if cards.text("OBSTYPE").startswith("SPECTRO"):
        return "spectra (OBSTYPE is SPECTROSCOPIC), not an image"
    axis = cards.text("CTYPE1").split("-")[0]
    return "a spectrum" if axis in ("WAVE", "LAMBDA", "FREQ", "VELO", "AWAV") else ""


def _exposure(cards: _Cards) -> str:
    """Name a frame that was never drizzled."""
    if cards.is_drizzled:
        return ""
    product = _product_of(cards)
    if product == "raw":
        return "a raw exposure: neither calibrated nor drizzled"
    if product:
        return f"an exposure ({product}) with the detector's distortion, not drizzled"
    return ""


def _product_of(cards: _Cards) -> str:
    """Return 'raw', 'crj', 'crc', 'flc', 'flt' or 'distorted'; '' for a drizzled or bare image."""
    planes = {h.name for h in cards.hdus} & EXPOSURE_PLANES
    sip = "-SIP" in cards.text("CTYPE1")
    cards_of_exposures = sip or any(
        key in cards.image.header for key in DISTORTION_CARDS if cards.image.header.get(key)
    )
    is_undrizzled = cards.text("DRIZCORR") == "PERFORM"
    if cards.is_drizzled or not (planes or cards_of_exposures or is_undrizzled):
        return ""
    if "PERFORM" in (cards.text("BLEVCORR"), cards.text("BIASCORR")) or cards.text("BUNIT") in (
        "COUNTS", "DN", "ADU",
    ):  # fmt: skip
        return "raw"
    is_cte_corrected = cards.text("PCTECORR") == "COMPLETE"
    # WFC3's infrared channel rejects cosmic rays in every exposure.
    if cards.text("CRCORR") == "COMPLETE" and cards.text("INSTRUME") == "ACS":
        return "crc" if is_cte_corrected else "crj"
    if planes or is_undrizzled:
        return "flc" if is_cte_corrected else "flt"
    return "distorted"


def _other_plane(cards: _Cards) -> str:
    """Name a file whose only pixels are a weight, a context image or whole numbers."""
    names = {h.name for h in cards.images}
    if names == {"WHT"}:
        return "a weight image"
    if names == {"CTX"}:
        return "a context image"
    # Weights in files of their own say so by their names only, and have no noise about zero.
    match = WEIGHT_NAME.search(cards.hdus.filename() or "")
    if match and len(cards.images) == 1 and not (cards.image.data < 0).any():
        return "a weight image"
    header = cards.image.header
    whole = header.get("BITPIX", -32) > 0 and header.get("BSCALE", 1) == 1
    if whole and not cards.is_drizzled:
        return (
            f"its pixels are integers (BITPIX {header['BITPIX']}): a mask, a segmentation or "
            "context image, or raw counts"
        )
    return ""


def _stamps(cards: _Cards) -> str:
    nameless = [h for h in cards.images if h.name in ("", "PRIMARY")]
    if len(nameless) > 1 and not any(h.name == "SCI" for h in cards.images):
        return f"{len(nameless)} images without names, none of them SCI"
    return ""


def _way_out(kind: str) -> str:
    if "exposure" in kind or "weight" in kind or "context" in kind:
        return USE_DRC
    return LEAVE_OUT + "; bycatch measures drizzled images of ACS/WFC and ACS/HRC only"
