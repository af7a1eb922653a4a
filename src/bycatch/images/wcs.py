"""The WCS of a drizzled image, and what it means on the sky.

Whatever projection, frame and form of the matrix a header has, the program sees one thing: the
tangent plane in ICRS with a CD matrix, first RA, then Dec.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import BaseCoordinateFrame, SkyCoord, Supergalactic
from astropy.io import fits
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from bycatch.arrays import Floats
from bycatch.errors import InconsistentImage, MissingKeyword, UnsupportedImage
from bycatch.images.headers import Headers
from bycatch.images.wcscards import REPAIR, wcs_cards
from bycatch.tangent import MAS_PER_DEG, tangent_mas

MIN_SCALE_ARCSEC, MAX_SCALE_ARCSEC = 0.001, 10.0
MAX_MISFIT_MAS = 0.05
"""A tangent plane stands for a header's WCS if it has the same sky to this, all over the image."""
MAX_SIP_ORDER = 5
DOUBTFUL_SHEAR = 1e-3
"""Pixels of a drizzled image are squares: beyond this the WCS is in doubt ..."""
MAX_SHEAR = 0.15
"""... and beyond this (more than ACS's own distortion) it is refused."""
DOUBTFUL_SCALE = 1e-3
"""Largest difference from the scale that drizzling noted (D001SCAL), as a share."""
STEPS = ((0, 1, -1, 0, 0), (0, 0, 0, 1, -1))
FRAMES = {"RA": ("ICRS", "FK5", "FK4", "FK4-NO-E"), "GLON": (), "SLON": ()}
"""Longitudes that have one meaning, and what RADESYS may be.  Not so the ecliptic: which
obliquity is meant makes 0.04 arcsec."""


@dataclass(frozen=True, eq=False)
class CelestialWcs:
    """The WCS of an image on the sky.

    Attributes
    ----------
    wcs : astropy WCS: ICRS, RA first, tangent plane (TAN or TAN-SIP), CD matrix
    notes : what was converted or, as the FITS standard has it, ignored
    doubts : why it may be wrong all the same; its field is aligned without such an image
    """

    wcs: WCS
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes and doubts, as they go to the log and into the tables."""
        return *self.notes, *(f"the WCS is in doubt: {doubt}" for doubt in self.doubts)


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Return the mean pixel scale of a celestial WCS, arcsec per pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs.celestial))) * 3600.0)


def celestial_wcs(headers: Headers) -> CelestialWcs:
    """Return the WCS of the SCI image, in ICRS.

    Raises
    ------
    MissingKeyword
        There is none, or it can't be read.
    InconsistentImage
        Its cards contradict one another.
    UnsupportedImage
        A frame or a projection that no tangent plane stands for to 0.05 mas.
    """
    cards, path = wcs_cards(headers), headers.path
    ny, nx = headers.shapes["SCI"][-2:]
    wcs, fixes = _read(cards.header, path)
    frame = _frame(wcs, path)
    notes, doubts = [*cards.notes, *fixes], list(cards.doubts)
    longitude = float(wcs.wcs.crval[wcs.wcs.lng])
    if not 0 <= longitude <= 360:
        notes.append(f"WCS: a longitude of {longitude:g} deg in CRVAL is {longitude % 360:g} deg")
    if not _is_tangent_icrs(wcs, cards.header):
        pv = [key for key in cards.header if key.startswith("PV")]
        if pv and wcs.wcs.ctype[0].endswith("TAN") and "TPV" not in cards.header["CTYPE1"]:
            doubts.append(f"{pv[0]} and similar cards with CTYPE1 = {cards.header['CTYPE1']}")
        wcs, changes = _tangent_icrs(wcs, frame, (ny, nx), cards.header, path)
        notes += changes
    doubts += _doubts(wcs, (ny, nx), headers)
    return CelestialWcs(wcs, tuple(notes), tuple(doubts))


def _read(cards: fits.Header, path: Path) -> tuple[WCS, list[str]]:
    """Return what astropy makes of the cards, and what it mended."""
    try:
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            wcs = WCS(cards)
            wcs.wcs.set()
    except Exception as err:  # wcslib raises many kinds, and so do damaged cards
        # The last line of wcslib's trace has the card.
        reason = str(err).strip().splitlines()[-1] if str(err).strip() else type(err).__name__
        names = ", ".join(f"{k} = {cards[k]}" for k in ("CTYPE1", "CTYPE2", "CUNIT1") if k in cards)
        raise MissingKeyword(
            f"{path}: its WCS can't be read ({reason}; {names})", hint=REPAIR
        ) from err
    return wcs, [f"WCS: {' '.join(str(w.message).split())}" for w in messages]


def _frame(wcs: WCS, path: Path) -> BaseCoordinateFrame:
    """Return the frame of a WCS on the sky."""
    types = f"CTYPE1 = {wcs.wcs.ctype[0]}, CTYPE2 = {wcs.wcs.ctype[1]}"
    if {wcs.wcs.lng, wcs.wcs.lat} != {0, 1}:
        raise MissingKeyword(f"{path}: no celestial WCS ({types})", hint=REPAIR)
    names = FRAMES.get(wcs.wcs.lngtyp)
    if names is None:
        raise UnsupportedImage(
            f"{path}: its WCS is neither in RA and Dec nor in galactic coordinates ({types})",
            hint="write the WCS in RA and Dec",
        )
    if names and wcs.wcs.radesys not in names:
        raise UnsupportedImage(
            f"{path}: RADESYS is '{wcs.wcs.radesys}', not one of {', '.join(names)}",
            hint="set RADESYS in the SCI header to the right frame",
        )
    if wcs.wcs.lngtyp == "SLON":
        return Supergalactic()
    return wcs_to_celestial_frame(wcs)


def _is_tangent_icrs(wcs: WCS, cards: fits.Header) -> bool:
    """Tell whether a WCS is what the program wants already."""
    return bool(
        wcs.wcs.radesys == "ICRS"
        and wcs.wcs.lngtyp == "RA"
        and wcs.wcs.lng == 0
        and cards["CTYPE1"] == ("RA---TAN" if wcs.sip is None else "RA---TAN-SIP")
        and wcs.wcs.has_cd()
        and wcs.wcs.lonpole == 180
        and not any(key.startswith("PV") for key in cards)
        and all(cards.get(f"CUNIT{i}", "deg") == "deg" for i in (1, 2))
    )


# ---- conversion --------------------------------------------------------------------------------


def _tangent_icrs(
    wcs: WCS, frame: BaseCoordinateFrame, shape: tuple[int, int], cards: fits.Header, path: Path
) -> tuple[WCS, list[str]]:
    """Return the tangent plane in ICRS that has the same sky, and what changed in words.

    The tangent plane of one frame is that of another, turned: around the same point it fits to
    rounding.  FK4 (its aberration) and other projections fit around the same point or the middle
    of the image, most without distortion: within 2 arcmin SIN and TAN differ by 0.02 mas.
    """
    ny, nx = shape
    points = ((wcs.wcs.crpix[0] - 1, wcs.wcs.crpix[1] - 1), ((nx - 1) / 2, (ny - 1) / 2))
    grid = np.meshgrid(np.linspace(0, nx - 1, 17), np.linspace(0, ny - 1, 17))
    x, y = (values.ravel() for values in grid)
    sky = _icrs(wcs, frame, x, y)
    least = np.inf
    for order in range(1, MAX_SIP_ORDER + 1) if np.isfinite(sky).all() else ():
        for point in points:
            fit = tangent_fit(x, y, sky, point, _icrs(wcs, frame, *point), order)
            if fit is None:
                continue
            misfit = _misfit_mas(fit, x, y, sky)
            least = min(least, misfit)
            if misfit < MAX_MISFIT_MAS:
                fit.wcs.name = wcs.wcs.name
                fit.pixel_shape = (nx, ny)
                return fit, _changes(wcs, cards, misfit)
    raise UnsupportedImage(
        f"{path}: CTYPE1 = {cards['CTYPE1']}, CRPIX1 = {cards['CRPIX1']:g}: no tangent plane "
        f"fits it (off by {least:.3g} mas at least)",
        hint="drizzle the image onto a tangent plane (RA---TAN, DEC--TAN)",
    )


def _icrs(wcs: WCS, frame: BaseCoordinateFrame, x: Floats | float, y: Floats | float) -> Floats:
    """Return right ascension and declination of pixels, degrees; (2, ...)."""
    world = wcs.all_pix2world(x, y, 0)
    sky = SkyCoord(world[wcs.wcs.lng], world[wcs.wcs.lat], unit="deg", frame=frame).icrs
    return np.stack([sky.ra.deg, sky.dec.deg])


def tangent_fit(
    x: Floats, y: Floats, sky: Floats, point: tuple[float, float], tangent: Floats, order: int
) -> WCS | None:
    """Return the TAN-SIP of an order about a point that fits the sky of pixels; None without.

    Parameters
    ----------
    x, y : (N,) 0-based pixels all over the image
    sky : (2, N) their right ascensions and declinations, degrees
    point, tangent : the pixel of CRPIX, 0-based, and its place on the sky
    order : of the polynomials; 1 gives a TAN
    """
    plane = tangent_mas(*sky, *tangent) / MAS_PER_DEG
    if not np.isfinite(plane).all():
        return None
    unit = max(np.abs(x - point[0]).max(), np.abs(y - point[1]).max(), 1.0)
    u, v = (x - point[0]) / unit, (y - point[1]) / unit
    powers = [(p, n - p) for n in range(1, order + 1) for p in range(n, -1, -1)]
    terms = np.stack([u**p * v**q for p, q in powers], axis=1)
    fit = np.linalg.lstsq(terms, plane, rcond=None)[0]
    matrix = fit[:2].T / unit
    if not abs(np.linalg.det(matrix)) > 0:
        return None
    new = WCS(naxis=2)
    suffix = "-SIP" if order > 1 else ""
    new.wcs.ctype = ["RA---TAN" + suffix, "DEC--TAN" + suffix]
    new.wcs.cunit = ["deg", "deg"]
    new.wcs.radesys = "ICRS"
    new.wcs.crval, new.wcs.crpix, new.wcs.cd = tangent, np.add(point, 1.0), matrix
    if order > 1:
        coefficients = np.zeros((2, order + 1, order + 1))
        for (p, q), term in zip(powers[2:], fit[2:], strict=True):
            coefficients[:, p, q] = np.linalg.solve(matrix, term) / unit ** (p + q)
        new.sip = Sip(*coefficients, None, None, new.wcs.crpix)
    new.wcs.set()
    return new


def _misfit_mas(wcs: WCS, x: Floats, y: Floats, sky: Floats) -> float:
    """Return the largest distance on the sky from where pixels should be."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    d_ra = ((ra - sky[0] + 180) % 360 - 180) * np.cos(np.radians(sky[1]))
    return float(np.hypot(d_ra, dec - sky[1]).max()) * MAS_PER_DEG


def _changes(wcs: WCS, cards: fits.Header, misfit_mas: float) -> list[str]:
    """Return in words what was converted; the forms of the matrix go without mention."""
    inner, changes = wcs.wcs, []
    if inner.lngtyp != "RA":
        changes.append(f"{inner.ctype[inner.lng]} converted to ICRS")
    elif inner.radesys != "ICRS":
        changes.append(f"{inner.radesys} (equinox {inner.equinox:g}) converted to ICRS")
    if inner.lng != 0:
        changes.append("axes put in the order RA, Dec")
    if cards["CTYPE1"][5:8] != "TAN":
        changes.append(f"projection {cards['CTYPE1'][5:]} written as TAN")
    if inner.lonpole != 180 and inner.lngtyp == "RA":
        changes.append(f"LONPOLE of {inner.lonpole:g} deg included in the matrix")
    return [f"WCS: {', '.join(changes)} (the same sky to {misfit_mas:.1g} mas)"] if changes else []


# ---- doubt -------------------------------------------------------------------------------------


def _doubts(wcs: WCS, shape: tuple[int, int], headers: Headers) -> list[str]:
    """Return what speaks against a WCS; raise if that is too much."""
    path = headers.path
    largest, least, is_mirrored = _pixel_sides_arcsec(wcs, shape)
    if not np.isfinite([largest, least]).all():
        raise MissingKeyword(f"{path}: its WCS gives no positions in the image", hint=REPAIR)
    scale = float(np.sqrt(largest[0] * least[0]))
    if not MIN_SCALE_ARCSEC < scale < MAX_SCALE_ARCSEC:
        raise MissingKeyword(
            f"{path}: its WCS gives pixels of {scale:.3g} arcsec",
            hint="repair the CD matrix (or CDELT, CUNIT, CRPIX) of the SCI header",
        )
    shear = float(largest.max() / max(least.min(), 1e-9)) - 1.0
    if shear > MAX_SHEAR:
        raise InconsistentImage(
            f"{path}: its WCS gives pixels of {largest.max():.3g} x {least.min():.3g} arcsec, "
            "not squares of one size",
            hint="repair the CD matrix (or CDELT, CRPIX) of the SCI header",
        )
    doubts = []
    if shear > DOUBTFUL_SHEAR:
        doubts.append(f"its pixels are not squares of one size (by {100 * shear:.2g} %)")
    if is_mirrored:
        doubts.append("it mirrors the sky (its determinant is positive)")
    # Older programs wrote a ratio into D001SCAL, and no D001ISCL.
    header_scale = headers.number("D001SCAL") if headers.number("D001ISCL") > 0 else np.nan
    if abs(header_scale / scale - 1.0) > DOUBTFUL_SCALE:
        doubts.append(f"its pixels are {scale:.5g} arcsec, but D001SCAL is {header_scale:g}")
    return doubts


def _pixel_sides_arcsec(wcs: WCS, shape: tuple[int, int]) -> tuple[Floats, Floats, bool]:
    """Return the longest and shortest side of a pixel, and whether the sky is mirrored.

    In the middle and the corners of the image: its reference pixel may lie far off.
    """
    ny, nx = shape
    x = np.array([(nx - 1) / 2, 0.0, nx - 1, 0.0, nx - 1])
    y = np.array([(ny - 1) / 2, 0.0, 0.0, ny - 1, ny - 1])
    ra, dec = wcs.all_pix2world(x + np.array(STEPS[0])[:, None], y + np.array(STEPS[1])[:, None], 0)
    matrix = np.empty((len(x), 2, 2))
    for k in range(len(x)):
        at = tangent_mas(ra[:, k], dec[:, k], float(ra[0, k]), float(dec[0, k])) / 1000.0
        matrix[k] = 0.5 * np.column_stack([at[1] - at[2], at[3] - at[4]])
    if not np.isfinite(matrix).all():
        return np.array([np.nan]), np.array([np.nan]), False
    sides: Floats = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    return sides[:, 0], sides[:, 1], bool(np.linalg.det(matrix[0]) > 0)
