"""The frame of an image on disk: ``<root>_wcs.fits``, and the copy of the image that has it."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.errors import UnreadableFile
from bycatch.images.files import FITS_SUFFIX, open_fits
from bycatch.images.headers import headers_of
from bycatch.images.planes import find_plane, name_of
from bycatch.images.wcs import celestial_wcs
from bycatch.products import table_in
from bycatch.sky.astrometry import FrameError, VarianceMap, wcs_header
from bycatch.system.disk import atomic
from bycatch.system.words import ascii_words
from bycatch.tangent import MAS_PER_DEG
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.stages.align import AlignResult

FRAME_TERMS = "t_xi t_eta a b c d"
TIED_NAME = "BYCATCH-TIED"
"""WCSNAME of an image that is tied to the others of its field, but not to Gaia."""

_MOVED_PART = re.compile(
    r"(WCSAXES|WCSNAME|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CRDER|CSYER)[12]|(CD|PC)[12]_[12]"
    r"|PV[12]_\d+|RADESYS|EQUINOX|LONPOLE|LATPOLE)$"
)
"""Cards that make up a linear celestial WCS, and may exist once per letter."""
_SIP_PART = re.compile(r"[AB]P?_(ORDER|DMAX|\d_\d)$")
_ONCE_ONLY_PART = re.compile(r"(CROTA\d|RADECSYS|EPOCH|(CD|PC)00\d00\d|WAT\d_\d+|PS[12]_\d+)$")
"""Cards of old forms, which have no letter."""
_OBSOLETE_PART = re.compile(
    rf"{_MOVED_PART.pattern}|{_SIP_PART.pattern}|{_ONCE_ONLY_PART.pattern}"
    r"|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT)[3-9]$|(CD|PC)\d_\d$"
)
"""Cards of a WCS that another one replaces."""
_FIT_CARDS = ("RMS_RA", "RMS_DEC", "NMATCHES", "FITGEOM", "HDRNAME", "WCSTYPE")


@dataclass(frozen=True, eq=False)
class Frame:
    """What ``<root>_wcs.fits`` holds.

    Attributes
    ----------
    wcs : the aligned WCS
    error : its error
    header : the cards of the WCS and of the fit
    pairs : the Gaia stars of the fit (``AlignResult.matches``)
    """

    wcs: WCS
    error: FrameError
    header: fits.Header
    pairs: Table

    @property
    def grade(self) -> str:
        """'A' to 'F'."""
        return str(self.header["GRADE"])


def write_frame(result: AlignResult, path: Path) -> None:
    """Write the result of an alignment: WCS and fit, the error of the frame, and the pairs."""
    from astropy.io import fits

    primary = fits.PrimaryHDU(header=frame_header(result))
    error = fits.ImageHDU(np.asarray(result.frame_error.covariance, dtype=float), name="FRAMEERR")
    error.header["RA_PNT"] = (result.frame_error.ra_deg, "[deg] point of the tangent plane")
    error.header["DEC_PNT"] = (result.frame_error.dec_deg, "[deg] point of the tangent plane")
    floor_mas = result.frame_error.centroid_floor_mas
    if np.isfinite(floor_mas):
        error.header["CENFLOOR"] = (floor_mas, "[mas] centroids of the brightest stars")
    error.header["TERMS"] = (FRAME_TERMS, "covariance: mas, mas per arcsec")
    extra = [_map_hdu(result.frame_error.extra)] if result.frame_error.extra is not None else []
    pairs = fits.table_to_hdu(_plain(result.matches))
    pairs.name = "PAIRS"
    with atomic(path) as partial:
        fits.HDUList([primary, error, *extra, pairs]).writeto(partial, output_verify="silentfix")


_MAP_CARDS = (("XI_0", "XI_STEP"), ("ETA_0", "ETA_STEP"))


def _map_hdu(extra: VarianceMap) -> fits.ImageHDU:
    from astropy.io import fits

    hdu = fits.ImageHDU(np.asarray(extra.values, dtype=float), name="FRAMEVAR")
    hdu.header["BUNIT"] = "mas2"
    for (first, step), start, width in zip(_MAP_CARDS, extra.lower, extra.step, strict=True):
        hdu.header[first] = (float(start), "[arcsec] of the first pixel in that plane")
        hdu.header[step] = (float(width), "[arcsec]")
    return hdu


def _read_map(hdus: fits.HDUList) -> VarianceMap | None:
    """Return the map of a file; None where it has none."""
    if "FRAMEVAR" not in hdus:
        return None
    hdu = hdus["FRAMEVAR"]
    lower, step = (np.array([float(hdu.header[c[k]]) for c in _MAP_CARDS]) for k in (0, 1))
    return VarianceMap(lower, step, np.asarray(hdu.data, dtype=float))


def _plain(table: Table) -> Table:
    """Return a copy without descriptions and metadata, which FITS has no place for."""
    from astropy.table import Table

    plain = Table({name: np.asarray(table[name]) for name in table.colnames})
    for name in table.colnames:
        plain[name].unit = table[name].unit
    return plain


def frame_header(result: AlignResult) -> fits.Header:
    """Return WCS and fit as FITS cards, the WCS in HST's CD form."""
    header = wcs_header(result.wcs)
    header["WCSNAME"] = _name_of(result, str(header.get("WCSNAME", "")))
    error_ra, error_dec = result.frame_error.at(
        np.array([result.frame_error.ra_deg]), np.array([result.frame_error.dec_deg])
    )
    cards: list[tuple[str, Any, str]] = [
        ("GRADE", result.grade, "A (best) to F (WCS of the header kept)"),
        ("NMATCHES", result.n_matches, "Gaia stars matched in this image"),
        ("NFIELD", result.n_field_matches, "Gaia stars matched in the field"),
        ("NTIED", result.n_tied, "sources that tie it to the field's other images"),
        ("FITGEOM", result.geometry, "geometry of the fit"),
        ("RMS_RA", result.rms_ra_mas, "[mas] rms residual in RA*cos(Dec)"),
        ("RMS_DEC", result.rms_dec_mas, "[mas] rms residual in Dec"),
        ("LOO_RMS", result.loo_rms_mas, "[mas] the same with each star left out"),
        ("DISTMAS", result.distortion_mas, "[mas] rms distortion beyond a linear frame"),
        ("DISTLEN", result.distortion_arcsec, "[arcsec] over which it is correlated"),
        ("ODDS", result.odds, "probability that the match is chance"),
        ("SHIFT_RA", result.shift_ra_mas, "[mas] RA*cos(Dec) added at the centre"),
        ("SHIFTDEC", result.shift_dec_mas, "[mas] Dec added at the centre"),
        ("ROLL", result.roll_deg, "[deg] added to the position angle of y"),
        ("SCALEPPM", result.scale_ppm, "[1e-6] change of the pixel scale"),
        ("CRDER1", float(error_ra[0]) / MAS_PER_DEG, "[deg] error of the frame along RA"),
        ("CRDER2", float(error_dec[0]) / MAS_PER_DEG, "[deg] error of the frame along Dec"),
        ("ASTRMERR", result.astrom_err_mas, "[mas] error of the frame, per axis"),
        ("RELEASE", result.release, "catalog of the reference stars"),
        ("EPOCH", result.epoch, "[yr] Julian epoch of the positions"),
        ("CREATOR", f"bycatch {__version__}", ""),
    ]
    for name, value, comment in cards:
        # FITS knows no NaN in a header: what is not known is left out.
        if not isinstance(value, float) or np.isfinite(value):
            header[name] = (value, comment)
    return header


def _name_of(result: AlignResult, name: str) -> str:
    return TIED_NAME if result.grade == "E" else name


def read_frame(path: Path) -> Frame:
    """Read ``<root>_wcs.fits`` back.

    Raises
    ------
    UnreadableFile
        It is damaged, or of an older version.
    """
    from astropy.wcs import WCS

    with open_fits(path) as hdus:
        header = hdus[0].header.copy()
        try:
            error = FrameError(
                float(hdus["FRAMEERR"].header["RA_PNT"]),
                float(hdus["FRAMEERR"].header["DEC_PNT"]),
                np.asarray(hdus["FRAMEERR"].data, dtype=float),
                _read_map(hdus),
                float(hdus["FRAMEERR"].header.get("CENFLOOR", np.nan)),
            )
            pairs = table_in(hdus, "PAIRS")
            if pairs is None:
                raise KeyError("PAIRS")
        except (KeyError, ValueError) as err:
            raise UnreadableFile(
                f"{path}: has no error of the frame ({err})",
                hint="remove it and run 'bycatch align' again",
            ) from err
    celestial = header.copy()
    celestial.remove("NAXIS")  # 0: it has no pixels of its own, which WCS finds odd
    return Frame(WCS(celestial), error, header, pairs)


# ---- the copy of the image ---------------------------------------------------------------------


def write_aligned_copy(source: Path, frame: Frame, target: Path) -> None:
    """Write a copy of a drizzled image with the aligned WCS in SCI, WHT and CTX.

    The pixels are copied as they are, bit for bit.  The WCS of the header is kept
    as an alternate one under the next free letter ('O' is left to the original
    WCS of HST's pipeline, as stwcs does), under its own name; the new one has the
    names and the cards of the fit that HST's pipeline writes.
    """
    from astropy.io import fits

    with (
        open_fits(source) as whole,  # complains of damage in words
        fits.open(
            source,
            memmap=False,
            do_not_scale_image_data=True,
            disable_image_compression=True,
        ) as hdus,
    ):
        # Compressed images are tables here; fpack leaves one that was in PRIMARY without a name.
        tables = [h for h in hdus[1:] if name_of(h) == "SCI"] or list(hdus[1:2])
        sci = find_plane(hdus, "SCI") or tables[0]
        old = wcs_header(celestial_wcs(headers_of(source, whole)).wcs)
        if sci is not hdus[0]:
            _remove_obsolete(hdus[0].header)  # describes no pixels
        ids_done = set()
        for hdu in [sci, *(h for h in hdus if name_of(h) in {"WHT", "CTX"})]:
            if id(hdu) not in ids_done and ("CTYPE1" in hdu.header or hdu is sci):
                ids_done.add(id(hdu))
                realign_header(hdu.header, frame, old)
                fit = fit_cards(frame, FITS_SUFFIX.sub("", source.name))
                for name, value in (fit if hdu is sci else {}).items():
                    hdu.header[name] = value
        with atomic(target) as partial:
            hdus.writeto(partial, output_verify="silentfix+ignore")


def realign_header(header: fits.Header, frame: Frame, before: fits.Header) -> None:
    """Put the aligned WCS into an image's header and keep the old one under the next free letter.

    ``before`` is the old one as `images.wcs` reads it: it is kept where the header's own cards have
    a form that can't have a letter.  Checksums are removed: they would be those of the old header.
    """
    has_letters = not any(_ONCE_ONLY_PART.fullmatch(key) for key in header)
    source = header if has_letters and str(header.get("CTYPE1", "")).isupper() else before
    old = {key: source[key] for key in source if key and _MOVED_PART.fullmatch(key)}
    if "WCSAXES" in old:
        old["WCSAXES"] = 2
    if "CD1_1" in old:  # what stands beside it means nothing
        old = {key: value for key, value in old.items() if not key.startswith(("PC", "CDELT"))}
    letter = next_letter(header)
    if old and letter:
        old.setdefault("WCSNAME", "DEFAULT")
        for key, value in old.items():
            # RADESYS and the like have seven letters: the eighth is the WCS's own.
            header[f"{key[:7]}{letter}"] = value
    _remove_obsolete(header)
    for key in (*_FIT_CARDS, "CHECKSUM", "DATASUM"):
        header.remove(key, ignore_missing=True)
    for card in frame.header.cards:
        is_wcs = _MOVED_PART.fullmatch(card.keyword) or _SIP_PART.fullmatch(card.keyword)
        if is_wcs and not card.keyword.startswith("CRDER"):
            header[card.keyword] = (card.value, card.comment)
    if "ORIENTAT" in header:
        matrix = frame.wcs.pixel_scale_matrix
        header["ORIENTAT"] = float(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))


def _remove_obsolete(header: fits.Header) -> None:
    """Remove the cards that a new WCS makes obsolete, all that there are of a name."""
    for key in {key for key in header if _OBSOLETE_PART.fullmatch(key)}:
        header.remove(key, remove_all=True)


def next_letter(header: fits.Header) -> str:
    """Return the first letter that no alternate WCS has; '' where all are taken."""
    letters_in_use = {
        key[-1]
        for key in header
        if key
        and (
            re.fullmatch(r"(WCSNAME|WCSAXES|C(TYPE|RVAL|RPIX|UNIT)[12])[A-Z]", key)
            or re.fullmatch(r"(CD|PC)[12]_[12][A-Z]", key)
        )
    }
    return next((c for c in string.ascii_uppercase if c != "O" and c not in letters_in_use), "")


def fit_cards(frame: Frame, stem: str) -> dict[str, tuple[Any, str]]:
    """Return the cards of the fit, by the names of HST's pipeline."""
    header = frame.header
    name = str(header.get("WCSNAME", ""))
    cards = {
        key: (header[key], header.comments[key])
        for key in ("RMS_RA", "RMS_DEC", "NMATCHES", "FITGEOM", "CRDER1", "CRDER2")
        if key in header
    }
    stars = str(header.get("RELEASE", "")).replace(" ", "")
    stars = stars if stars.startswith("Gaia") else "Gaia"  # a table of the user's may not say
    kind = (
        f"undistorted a posteriori solution aligned to {stars}"
        if frame.grade in "ABCD"
        else "undistorted a priori solution, tied to the images of the visit"
    )
    cards["WCSTYPE"] = (kind[:68], "")
    cards["HDRNAME"] = (ascii_words(f"{stem}_{name}-hlet.fits")[:68], "")
    return cards
