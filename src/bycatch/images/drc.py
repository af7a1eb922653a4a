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

from bycatch import photcal
from bycatch.arrays import Image
from bycatch.display import notebook
from bycatch.errors import InconsistentImage, UnsupportedImage
from bycatch.images.context import NO_CONTEXT, context_counts, exposures_of, exposures_per_pixel
from bycatch.images.files import open_fits
from bycatch.images.headers import Headers, headers_of
from bycatch.images.integrity import WAY_OUT
from bycatch.images.meta import ImageMeta, image_meta
from bycatch.images.planes import (
    context_sibling,
    find_plane,
    native,
    pixels_of,
    read_apart,
    refuse_several,
    weight_sibling,
)
from bycatch.images.validity import (
    mark_no_data,
    mark_no_time,
    refuse_constant,
    refuse_empty,
    refuse_lost_parts,
)
from bycatch.images.wcs import celestial_wcs, pixel_scale_arcsec
from bycatch.images.weights import exposure_time
from bycatch.images.witnesses import settle
from bycatch.kernels.smoothing import noise_correlation
from bycatch.robust import robust_sigma
from bycatch.settings import InputSettings

COARSE_PX = 0.55
"""Side of a detector pixel, in those of an image, below which p_cr fails: of stars above S/N 10 in
stacks none is called a cosmic ray at 0.08 arcsec, 1 % at 0.09 and 17 % at 0.1."""
SAMPLED_SIDE = 500
"""Pixels per side that suffice for what is typical of an image."""


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
    exptime_map_s : float32, effective exposure time in seconds
    wcs : its WCS on the sky, in ICRS (`images.wcs.CelestialWcs`)
    wht_type : 'exptime', 'ivm', 'relative', or 'none' (uniform depth assumed)
    has_context : bool; False where n_exp is a guess from WHT
    ctx_path : file of the context image, where it has one of its own
    wcs_doubts : why the WCS may be wrong; with any, its field is aligned without the image
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
    ctx_path: Path | None = None
    wcs_doubts: tuple[str, ...] = ()

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

        No step needs it besides the exposure times: it is read again, not kept.
        """
        weight = self._stored_weight()
        if weight is None:
            weight = self.valid.astype(np.float32)
        weight[~self.valid] = 0
        weight.flags.writeable = False
        return weight

    def _stored_weight(self) -> Image | None:
        if self.wht_path:
            return native(read_apart(self.wht_path, "WHT"), self.wht_path, "WHT")
        with open_fits(self.path) as hdus:
            return pixels_of(find_plane(hdus, "WHT"), self.path)

    @cached_property
    def scale_arcsec(self) -> float:
        """Pixel scale, arcsec per pixel."""
        return pixel_scale_arcsec(self.wcs)

    @cached_property
    def detector_px(self) -> float:
        """Side of a detector pixel in pixels of the image (see `ImageMeta.detector_px`)."""
        return self.meta.detector_px(self.scale_arcsec)

    @cached_property
    def noise_correlation(self) -> float:
        """Factor by which drizzling raises the noise of large areas (see the kernel)."""
        ratio = self.scale_arcsec / self.meta.native_scale_arcsec
        return noise_correlation(self.meta.pixfrac, ratio)

    def facts(self) -> dict[str, Any]:
        """Return remarks on the image, in words, from a sample of its pixels."""
        ny, nx = self.shape
        step = max(1, max(ny, nx) // SAMPLED_SIDE)
        seconds, n_exp = self.exptime_map_s[::step, ::step], self.n_exp[::step, ::step]
        has_time = seconds > 0
        ra, dec = (float(v) for v in self.wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
        minutes = self.scale_arcsec / 60
        low, middle, high = np.percentile(seconds[has_time], (5, 50, 95))
        depth = rough_depth(self)
        return {
            "instrument": f"ACS/{self.meta.detector}, {self.meta.filter}",
            "target": self.meta.target or None,
            "observed": _date(self.meta.mjd_mid),
            "exposures": f"{self.meta.n_exposures}, {self.meta.exptime_s:g} s together",
            "size": f"{nx} x {ny} px of {self.scale_arcsec:.3f} arcsec",
            "on the sky": f"{nx * minutes:.2f} x {ny * minutes:.2f} arcmin",
            "centre": f"RA {ra:.5f}, Dec {dec:.5f} deg",
            "with data": f"{100 * float(has_time.mean()):.0f} % of the array",
            "one exposure only": f"{100 * float((n_exp[has_time] == 1).mean()):.0f} % of that",
            "time of a pixel": f"{middle:.0f} s (median; {low:.0f} to {high:.0f} s)",
            "depth": f"about {depth:.1f} AB mag (point source, 5 sigma)" if depth else None,
        }

    @notebook.safe_repr
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
    scatter = robust_sigma(sky)
    radius_arcsec = 0.2
    try:
        share = float(photcal.encircled_energy(meta.detector, meta.filter).at(radius_arcsec))
    except UnsupportedImage:
        return None
    area_px = np.pi * (radius_arcsec / image.scale_arcsec) ** 2
    rate = 5.0 * scatter * np.sqrt(area_px) * image.noise_correlation / share
    if not rate > 0:
        return None
    return float(photcal.ab_zeropoint(meta.photflam, meta.photplam) - 2.5 * np.log10(rate))


def read_drc(
    path: str | Path,
    settings: InputSettings | None = None,
    wht_path: Path | None = None,
    ctx_path: Path | None = None,
) -> DrcImage:
    """Read a drizzled image (``.fits``, ``.fits.gz`` or ``.fits.fz``).

    Parameters
    ----------
    path : path of a drc or drz file, or of a cutout with the image in PRIMARY
    settings : what the user states about the input, in place of the headers
    wht_path, ctx_path : weight and context, if they are in files of their own;
        ``<stem>_wht.fits`` and ``<stem>_ctx.fits`` next to ``<stem>_sci.fits`` are found without

    Raises
    ------
    UnreadableFile
        Not FITS, not whole, or without an image.
    InconsistentImage
        Planes of different shapes, a cube, or nothing in it.
    UnsupportedImage
        Not ACS, or a polarizer, ramp, grism or prism.
    MissingKeyword
        Exposure time, calibration, unit or celestial WCS is missing.
    """
    path, input_settings = Path(path), settings or InputSettings()
    wht_path, ctx_path = wht_path or weight_sibling(path), ctx_path or context_sibling(path)
    with open_fits(path, verify=input_settings.verify) as hdus:
        headers = headers_of(path, hdus)
        meta = image_meta(headers, input_settings)
        refuse_several(hdus, path)
        sci = pixels_of(find_plane(hdus, "SCI"), path)
        wht = None if wht_path else pixels_of(find_plane(hdus, "WHT"), path)
        ctx = None if ctx_path else find_plane(hdus, "CTX")
        assert sci is not None
        context = context_counts(ctx, path, meta, sci.shape)
    if wht_path:
        wht = native(read_apart(wht_path, "WHT", verify=input_settings.verify), wht_path, "WHT")
    if ctx_path:
        apart = read_apart(ctx_path, "CTX", verify=input_settings.verify)
        context = exposures_of(apart, ctx_path, meta, sci.shape)
    if wht is not None and wht.shape != sci.shape:
        raise InconsistentImage(f"{wht_path or path}: SCI is {sci.shape} but WHT is {wht.shape}")
    if input_settings.verify:
        _refuse_missing(path, headers, wht, context)
        if wht is not None:
            refuse_lost_parts(path, sci, wht, context)
    sky = celestial_wcs(headers)
    meta, input_settings = settle(meta, headers, input_settings, (sci, wht, context), sky.wcs)
    if input_settings.bunit == "electrons":
        with np.errstate(over="ignore"):  # what gets infinite is no data
            sci /= np.float32(meta.exptime_s)
    valid, pixel_notes = mark_no_data(sci, wht)
    refuse_empty(path, valid, wht is not None)
    if input_settings.verify:
        refuse_constant(path, sci, valid)
    wht_type, time_map, wht_notes = exposure_time(
        wht, valid, meta, sky.wcs, headers, input_settings
    )
    time_notes = mark_no_time(sci, time_map, valid, meta.exptime_s)
    n_exp, ctx_notes = exposures_per_pixel(context, time_map, meta)
    notes = [*pixel_notes, *time_notes, *ctx_notes, *wht_notes, *sky.remarks]
    scale_arcsec = pixel_scale_arcsec(sky.wcs)
    if meta.detector_px(scale_arcsec) < COARSE_PX:
        notes.append(
            f"pixels of {scale_arcsec:.2f} arcsec are too coarse to distinguish stars from cosmic "
            "rays: p_cr is too high, and the clean catalog lacks stars"
        )
    for plane in (sci, n_exp, time_map):
        plane.flags.writeable = False
    return DrcImage(
        path=path,
        meta=meta.with_notes(*notes),
        wht_path=wht_path,
        sci=sci,
        n_exp=n_exp,
        exptime_map_s=time_map,
        wcs=sky.wcs,
        wcs_doubts=sky.doubts,
        wht_type=wht_type,
        has_context=isinstance(context, np.ndarray),
        ctx_path=ctx_path,
    )


def _refuse_missing(
    path: Path, headers: Headers, wht: Image | None, context: NDArray[np.int16] | str
) -> None:
    """Complain where PRIMARY says that drizzle wrote a plane that is not there.

    A cutout has its image in PRIMARY, and cards that were copied: they are believed only where
    the image is an extension.
    """
    is_present = {
        "D001OUWE": wht is not None,
        "D001OUCO": not (isinstance(context, str) and context == NO_CONTEXT),
    }
    for key, is_there in is_present.items():
        name = str(headers.primary.get(key, "")).strip()
        if name and not is_there and headers.sci is not headers.primary:
            raise InconsistentImage(
                f"{path}: its {'weight (WHT)' if key == 'D001OUWE' else 'context image (CTX)'} is "
                f"missing: drizzle wrote one ({key} is '{name}')",
                hint=WAY_OUT,
            )
