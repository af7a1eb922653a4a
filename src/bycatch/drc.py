"""A drizzled image in memory: rates, weight, exposures and effective time per pixel."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from bycatch import notebook, photcal
from bycatch.errors import (
    InconsistentImage,
    MissingKeyword,
    UnreadableFile,
    UnsupportedImage,
)
from bycatch.headers import (
    DAMAGED,
    Headers,
    ImageMeta,
    find_plane,
    headers_of,
    image_meta,
    opened,
)
from bycatch.kernels.exposures import exposure_counts
from bycatch.kernels.smoothing import noise_correlation
from bycatch.settings import InputSettings

Image = NDArray[np.float32]

WCS_CARD = re.compile(
    r"WCSAXES|WCSNAME|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT)[12]|(CD|PC)[12]_[12]"
    r"|RADESYS|EQUINOX|LONPOLE|LATPOLE|[AB]P?_(ORDER|\d_\d)"
)
ROWS = 64
SAMPLED_SIDE = 500
"""Pixels per side that are enough to tell what is typical of an image."""
MIN_SCALE_ARCSEC, MAX_SCALE_ARCSEC = 0.001, 10.0
DARK_RATE = 0.012
"""Dark current of ACS/WFC, e/s per pixel, middle of its range since 2009."""


@dataclass(frozen=True, eq=False)
class DrcImage:
    """One drizzled image, ready for the stages.  Arrays are (ny, nx) and read-only.

    Attributes
    ----------
    path : Path
    meta : ImageMeta
    wht_path : file of the weight, where it has one of its own
    sci : float32, electrons per second; NaN where there are no data
    n_exp : int16, exposures that contribute
    exptime_map_s : float32, effective exposure time, seconds
    wcs : astropy WCS of the header
    wht_type : 'exptime', 'ivm', 'relative', or 'none' (uniform depth assumed)
    has_context : bool; False where n_exp is a guess from WHT
    """

    path: Path
    meta: ImageMeta
    wht_path: Path | None
    sci: Image
    n_exp: NDArray[np.int16]
    exptime_map_s: Image
    wcs: WCS
    wht_type: str
    has_context: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.sci.shape[0], self.sci.shape[1]

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """True where there are data."""
        return np.isfinite(self.sci)

    @cached_property
    def wht(self) -> Image:
        """The weight as the file holds it, float32; 0 where there are no data.

        No step needs it beside the exposure times: it is read again, not kept.
        """
        with opened(self.path) as hdus:
            weight = _pixels(find_plane(hdus, "WHT"), self.path)
        if self.wht_path:
            weight = _sibling_weight(self.wht_path)
        if weight is None:
            weight = self.valid.astype(np.float32)
        weight[~self.valid] = 0
        weight.flags.writeable = False
        return weight

    @cached_property
    def scale_arcsec(self) -> float:
        """Pixel scale, arcsec per pixel."""
        return pixel_scale_arcsec(self.wcs)

    def facts(self) -> dict[str, Any]:
        """Return what a look at the image should tell, in words, from a sample of its pixels."""
        ny, nx = self.shape
        step = max(1, max(ny, nx) // SAMPLED_SIDE)
        seconds, n_exp = self.exptime_map_s[::step, ::step], self.n_exp[::step, ::step]
        covered = seconds > 0
        ra, dec = (float(v) for v in self.wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
        minutes = self.scale_arcsec / 60
        low, middle, high = np.percentile(seconds[covered], (5, 50, 95))
        depth = rough_depth(self)
        return {
            "instrument": f"ACS/{self.meta.detector}, {self.meta.filter}",
            "target": self.meta.target or None,
            "observed": _date(self.meta.mjd_mid),
            "exposures": f"{self.meta.n_exposures}, {self.meta.exptime_s:g} s together",
            "size": f"{nx} x {ny} px of {self.scale_arcsec:.3f} arcsec",
            "on the sky": f"{nx * minutes:.2f} x {ny * minutes:.2f} arcmin",
            "centre": f"RA {ra:.5f}, Dec {dec:.5f} deg",
            "with data": f"{100 * float(covered.mean()):.0f} % of the array",
            "one exposure only": f"{100 * float((n_exp[covered] == 1).mean()):.0f} % of that",
            "time of a pixel": f"{middle:.0f} s (median; {low:.0f} to {high:.0f} s)",
            "depth": f"about {depth:.1f} AB mag (point source, 5 sigma)" if depth else None,
        }

    @notebook.never_raising
    def _repr_html_(self) -> str:
        look = notebook.image_picture(self.sci, f"{self.meta.root}, {self.meta.filter}")
        return notebook.card(self.meta.root, self.facts(), picture=look, notes=self.meta.notes)


def _date(mjd: float) -> str | None:
    return f"{Time(mjd, format='mjd').iso[:16]} (MJD {mjd:.3f})" if np.isfinite(mjd) else None


def rough_depth(image: DrcImage) -> float | None:
    """Return the AB magnitude of 5 sigma of a point source, from the scatter of the sky.

    Good to 0.2 mag, for a first look; None for a filter of which no encircled energy is known.
    """
    meta = image.meta
    step = max(1, max(image.shape) // SAMPLED_SIDE)
    sky = image.sci[::step, ::step]
    sky = sky[np.isfinite(sky)]
    scatter = 1.4826 * float(np.median(np.abs(sky - np.median(sky))))
    radius_arcsec = 0.2
    try:
        share = float(photcal.encircled_energy(meta.detector, meta.filter).at(radius_arcsec))
    except UnsupportedImage:
        return None
    area_px = np.pi * (radius_arcsec / image.scale_arcsec) ** 2
    ratio = image.scale_arcsec / meta.native_scale_arcsec
    rate = 5.0 * scatter * np.sqrt(area_px) * noise_correlation(meta.pixfrac, ratio) / share
    if not rate > 0:
        return None
    return float(photcal.ab_zeropoint(meta.photflam, meta.photplam) - 2.5 * np.log10(rate))


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Return the mean pixel scale of a celestial WCS, arcsec per pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs.celestial))) * 3600.0)


def read_drc(
    path: str | Path, settings: InputSettings | None = None, wht_path: Path | None = None
) -> DrcImage:
    """Read a drizzled image (``.fits``, ``.fits.gz`` or ``.fits.fz``).

    Parameters
    ----------
    path : path of a drc or drz file, or of a cutout with the image in PRIMARY
    settings : what the user states about the input, in place of the headers
    wht_path : the weight, if it is in a file of its own; ``<stem>_wht.fits``
        beside ``<stem>_sci.fits`` is found without it

    Raises
    ------
    UnreadableFile
        Not FITS, truncated, or without an image.
    InconsistentImage
        Planes of different shapes, or no valid pixel.
    UnsupportedImage
        Not ACS, or a polarizer, ramp, grism or prism.
    MissingKeyword
        Exposure time, calibration, unit or celestial WCS is missing.
    """
    path, given = Path(path), settings or InputSettings()
    with opened(path) as hdus:
        headers = headers_of(path, hdus)
        meta = image_meta(headers, given)
        sci = _pixels(find_plane(hdus, "SCI"), path)
        wht = _pixels(find_plane(hdus, "WHT"), path)
        context = _context(find_plane(hdus, "CTX"), path, meta, headers.shapes["SCI"])
    assert sci is not None
    beside = wht_path or (weight_sibling(path) if wht is None else None)
    if beside:
        wht = _sibling_weight(beside)
    if wht is not None and wht.shape != sci.shape:
        raise InconsistentImage(f"{path}: SCI is {sci.shape} but WHT is {wht.shape}")
    notes = _scale_to_rates(sci, headers, meta, given)
    valid = np.isfinite(sci)
    valid &= (sci != 0) if wht is None else (wht > 0)
    if not valid.any():
        raise InconsistentImage(
            f"{path}: no valid pixel (all NaN, or no weight anywhere)",
            hint="leave it out, or fetch it again",
        )
    wcs = celestial_wcs(headers)
    missing = ~valid
    sci[missing] = np.nan
    if wht is not None:
        wht[missing] = 0
    wht_type, time_map, wht_notes = _exposure_time(wht, valid, meta, wcs, headers, given)
    n_exp, ctx_notes = _exposures(context, time_map, meta)
    planes: dict[str, Any] = {
        "sci": sci,
        "n_exp": n_exp,
        "exptime_map_s": time_map,
    }
    for plane in planes.values():
        plane.flags.writeable = False
    return DrcImage(
        path=path,
        wht_path=beside,
        meta=meta.noting(*notes, *ctx_notes, *wht_notes),
        wcs=wcs,
        wht_type=wht_type,
        has_context=isinstance(context, np.ndarray),
        **planes,
    )


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of pixels that are read where they are looked at: ``plane[ys, xs]``."""

    shape: tuple[int, int]
    read: Callable[[tuple[slice, slice]], NDArray[Any]]

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        return self.read(part)


@dataclass(frozen=True, eq=False)
class DrcLook:
    """A drizzled image for looking at, not for measuring.

    Attributes
    ----------
    sci : float32, in the unit of the file; NaN where there are no data
    n_exp : int16, exposures that contribute
    has_context : bool; always True
    """

    sci: Plane
    n_exp: Plane
    has_context: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.sci.shape


def look_at(
    path: str | Path, settings: InputSettings | None = None, wht_path: Path | None = None
) -> DrcImage | DrcLook:
    """Return a drizzled image to look at; few of its pixels are read, as a rule.

    What is compressed, or lacks a plane, is read as a whole; see `read_drc` for what it raises.
    """
    path, given = Path(path), settings or InputSettings()
    if path.suffix == ".fits" and wht_path is None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with fits.open(path, memmap=True) as hdus:
                    found = _look(path, hdus, given)
        except DAMAGED:
            found = None
        if found:
            return found
    return read_drc(path, given, wht_path)


def _look(path: Path, hdus: fits.HDUList, given: InputSettings) -> DrcLook | None:
    """Return the planes of an open file; None if not all are there, and of one shape."""
    headers = headers_of(path, hdus)
    planes: list[Any] = [find_plane(hdus, name) for name in ("SCI", "WHT", "CTX")]
    if any(plane is None or isinstance(plane, fits.CompImageHDU) for plane in planes):
        return None
    sci, wht, ctx = (plane.data for plane in planes)
    if not (sci.ndim == wht.ndim == 2 and sci.shape == wht.shape == ctx.shape[-2:]):
        return None
    if isinstance(_told(ctx, image_meta(headers, given), sci.shape), str):
        return None

    def rates(part: tuple[slice, slice]) -> Image:
        found = np.array(sci[part], dtype=np.float32)
        found[~(wht[part] > 0)] = np.nan
        return found

    def exposures(part: tuple[slice, slice]) -> NDArray[np.int16]:
        counts = np.maximum(exposure_counts(ctx[..., part[0], part[1]]), np.int16(1))
        counts[~np.isfinite(rates(part))] = 0
        return counts

    return DrcLook(Plane(sci.shape, rates), Plane(sci.shape, exposures))


def weight_sibling(path: Path) -> Path | None:
    """Return ``<stem>_wht.fits`` beside ``<stem>_sci.fits``, if it exists."""
    if not re.search(r"_sci\.fits", path.name):
        return None
    sibling = path.with_name(path.name.replace("_sci.fits", "_wht.fits"))
    return sibling if sibling.exists() else None


def _pixels(hdu: Any | None, path: Path) -> Image | None:
    """Return an extension's pixels as native numbers, if possible in the memory they are in."""
    if hdu is None:
        return None
    data = _data(hdu, path)
    if data.dtype == np.dtype(">f4") and data.flags.writeable and data.flags.c_contiguous:
        return data.byteswap(inplace=True).view(np.dtype(np.float32))
    return np.array(data, dtype=np.float32, order="C")


def _data(hdu: Any, path: Path) -> NDArray[Any]:
    """Return an extension's pixels as the file holds them, and let go of them."""
    data = hdu.data
    del hdu.data
    if data is None:
        raise UnreadableFile(f"{path}: extension {hdu.name} holds no pixels")
    return np.asarray(data)


def _sibling_weight(path: Path) -> Image:
    with opened(path) as hdus:
        for name in ("WHT", "SCI"):
            pixels = _pixels(find_plane(hdus, name), path)
            if pixels is not None:
                return pixels
    raise UnreadableFile(f"{path}: no weight image in it")


def _scale_to_rates(
    sci: Image, headers: Headers, meta: ImageMeta, given: InputSettings
) -> list[str]:
    """Turn the image into electrons per second, in place, and return notes.

    BUNIT alone can't be trusted: mosaics that hold rates say ELECTRONS. The
    unit that drizzle noted for its output (D001OUUN) decides then.
    """
    bunit = str(headers.get("BUNIT", "")).upper().replace(" ", "")
    drizzled = str(headers.get("D001OUUN", "")).lower()
    notes: list[str] = []
    if given.bunit:
        is_rate = given.bunit == "electrons/s"
    elif bunit in ("ELECTRONS/S", "ELECTRON/S", "E/S", "E-/S", "ELECTRONS/SEC"):
        is_rate = True
    elif drizzled in ("cps", "counts"):
        is_rate = drizzled == "cps"
        notes = [
            f"BUNIT is '{bunit}', but drizzle wrote {drizzled}: "
            + ("taken for electrons/s" if is_rate else "divided by the exposure time")
        ]
    else:
        raise MissingKeyword(
            f"{headers.path}: BUNIT is '{bunit or 'missing'}', not ELECTRONS/S",
            hint="say what the pixels are: --set input.bunit=electrons/s, or "
            "--set input.bunit=electrons to have them divided by the exposure time",
        )
    if not is_rate:
        sci /= np.float32(meta.exptime_s)
    return notes


def celestial_wcs(headers: Headers) -> WCS:
    """Return the WCS of the SCI image.

    Raises
    ------
    MissingKeyword
        There is none, or it can't be read.
    """
    # From the WCS cards alone: a mosaic's header can hold 33,000 others.
    cards = fits.Header()
    has_cd = "CD1_1" in headers.sci
    shape = headers.shapes["SCI"]
    try:
        for key in headers.sci:
            if key and WCS_CARD.fullmatch(key) and not (has_cd and key.startswith(("CDELT", "PC"))):
                cards[key] = headers.sci[key]
        cards["NAXIS1"], cards["NAXIS2"] = shape[-1], shape[-2]
        wcs = WCS(cards)
    except Exception as err:  # wcslib raises many kinds, and so do damaged cards
        raise MissingKeyword(
            f"{headers.path}: its WCS can't be read ({err})",
            hint="repair the WCS cards of the SCI header",
        ) from err
    if not wcs.has_celestial:
        raise MissingKeyword(
            f"{headers.path}: no celestial WCS (CTYPE1, CRVAL1, CD1_1 ...)",
            hint="drizzled images carry one; fetch the file again",
        )
    scale = pixel_scale_arcsec(wcs)
    if not MIN_SCALE_ARCSEC < scale < MAX_SCALE_ARCSEC:
        raise MissingKeyword(
            f"{headers.path}: its WCS gives pixels of {scale:.3g} arcsec",
            hint="repair the CD matrix of the SCI header",
        )
    return wcs


def _context(
    hdu: Any | None, path: Path, meta: ImageMeta, shape: tuple[int, ...]
) -> NDArray[np.int16] | str:
    """Return exposures per pixel from the context image, or why it does not tell them."""
    if hdu is None:
        return "no context image"
    told = _told(_data(hdu, path), meta, shape)
    return told if isinstance(told, str) else exposure_counts(told)


def _told(ctx: NDArray[Any], meta: ImageMeta, shape: tuple[int, ...]) -> NDArray[Any] | str:
    """Return a context image, or why it does not tell the exposures."""
    if ctx.dtype.kind not in "iu" or ctx.ndim not in (2, 3) or ctx.shape[-2:] != shape[-2:]:
        return f"context image of shape {ctx.shape}"
    n_planes = 1 if ctx.ndim == 2 else ctx.shape[0]
    if len(meta.chips) > 32 * n_planes:
        return f"the context image has {n_planes} plane(s) for {len(meta.chips)} inputs"
    return ctx


def _exposures(
    context: NDArray[np.int16] | str, time_map_s: Image, meta: ImageMeta
) -> tuple[NDArray[np.int16], list[str]]:
    """Return exposures per pixel, 0 where there are no data, and notes."""
    notes = []
    if isinstance(context, str):
        guess = np.rint(time_map_s / np.float32(meta.exptime_per_exposure_s))
        counts = np.clip(guess, 1, meta.n_exposures).astype(np.int16)
        notes = [f"{context}: number of exposures guessed from the exposure time per pixel (WHT)"]
    else:
        counts = np.maximum(context, np.int16(1), out=context)
    counts[time_map_s <= 0] = 0
    return counts, notes


def _exposure_time(
    wht: Image | None,
    valid: NDArray[np.bool_],
    meta: ImageMeta,
    wcs: WCS,
    headers: Headers,
    given: InputSettings,
) -> tuple[str, Image, list[str]]:
    """Return the type of WHT, the effective exposure time per pixel (s), and notes.

    The exposure times take the place of the weights.
    """
    if wht is None:
        uniform = np.where(valid, meta.exptime_s, 0).astype(np.float32)
        return "none", uniform, ["no weight: uniform depth assumed"]
    area = (meta.native_scale_arcsec / pixel_scale_arcsec(wcs)) ** 2
    # Drizzle spreads a weight of EXPTIME per native pixel: WHT = EXPTIME x (output / native
    # scale)^2 with 9 % of distortion, so seconds are WHT x area.
    factor = np.float32(area)
    # The weight is smooth: some of the pixels of a large image are enough.
    step = max(1, int(np.sqrt(np.count_nonzero(valid) / 1e6)))
    typical = float(np.percentile(every_nth(wht, valid, step**2) * factor, 99))
    kind = given.wht_type or _wht_type(typical, meta, headers)
    notes: list[str] = []
    if kind == "ivm":
        # 1/WHT is the background variance of a rate; per second of exposure that variance is
        # sky + dark + readnoise^2 / duration of one exposure, spread over the pixel's area.
        sky = meta.subtracted_sky_rate
        if not np.isfinite(sky):
            sky = 0.05
            notes.append("sky rate unknown: 0.05 e/s per native pixel assumed")
        per_second = sky + DARK_RATE + meta.readnoise_e**2 / meta.exptime_per_exposure_s
        wht *= np.float32(per_second / area)
        np.minimum(wht, np.float32(meta.exptime_s), out=wht)
        notes.append("WHT holds inverse variances: exposure times derived from them")
    else:
        wht *= factor
    if kind == "relative":
        wht *= np.float32(meta.exptime_s / typical)
    return kind, wht, notes


def every_nth(values: Image, used: NDArray[np.bool_], n: int) -> Image:
    """Return the first of the values that are used, row by row, and every n-th after it."""
    parts, first = [], 0
    for y in range(0, len(values), ROWS):  # some rows at a time: no copy of all values
        part = values[y : y + ROWS][used[y : y + ROWS]]
        parts.append(part[first::n])
        first = (first - len(part)) % n
    return np.concatenate(parts)


def _wht_type(typical_s: float, meta: ImageMeta, headers: Headers) -> str:
    # AstroDrizzle notes the factor of its weight: 1 for exposure times,
    # (exposure time)^2 x (scale ratio)^4 for inverse variances.
    weight_factor = headers.number("D001WTSC")
    if weight_factor > 1.5 or typical_s > 1.5 * meta.exptime_s:
        return "ivm"
    return "exptime" if typical_s > 0.5 * meta.exptime_per_exposure_s else "relative"
