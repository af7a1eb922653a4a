"""A drizzled image in memory: rates, weight, exposures and effective time per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.time import Time
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch import notebook, photcal
from bycatch.errors import InconsistentImage, MissingKeyword, UnsupportedImage
from bycatch.images.context import context_counts, exposures_per_pixel
from bycatch.images.files import opened
from bycatch.images.headers import Headers, headers_of
from bycatch.images.meta import ImageMeta, image_meta
from bycatch.images.planes import find_plane, pixels_of, sibling_weight, weight_sibling
from bycatch.images.wcs import celestial_wcs, pixel_scale_arcsec
from bycatch.images.weights import exposure_time
from bycatch.kernels.smoothing import noise_correlation
from bycatch.settings import InputSettings

Image = NDArray[np.float32]

SAMPLED_SIDE = 500
"""Pixels per side that are enough to tell what is typical of an image."""


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
            weight = pixels_of(find_plane(hdus, "WHT"), self.path)
        if self.wht_path:
            weight = sibling_weight(self.wht_path)
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
        sci = pixels_of(find_plane(hdus, "SCI"), path)
        wht = pixels_of(find_plane(hdus, "WHT"), path)
        context = context_counts(find_plane(hdus, "CTX"), path, meta, headers.shapes["SCI"])
    assert sci is not None
    beside = wht_path or (weight_sibling(path) if wht is None else None)
    if beside:
        wht = sibling_weight(beside)
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
    wht_type, time_map, wht_notes = exposure_time(wht, valid, meta, wcs, headers, given)
    n_exp, ctx_notes = exposures_per_pixel(context, time_map, meta)
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
