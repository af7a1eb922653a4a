"""Small drizzled images of stars, made without the simulator, and tables of their stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from bycatch import photcal
from bycatch.arrays import Floats, Image


@dataclass(frozen=True)
class Scene:
    """What a synthetic image holds: star positions (0-based) and total rates, e/s."""

    x: Floats
    y: Floats
    rate: Floats
    sky_rate: float
    noise: float


def moffat(
    shape: tuple[int, int], x: float, y: float, fwhm_px: float = 2.1, alpha: float = 3.0
) -> Floats:
    """Return a Moffat profile of unit integral over the plane, sampled at pixel centres."""
    gamma = fwhm_px / (2 * np.sqrt(2 ** (1 / alpha) - 1))
    yy, xx = np.indices(shape)
    norm = (alpha - 1) / (np.pi * gamma**2)
    return np.asarray(norm * (1 + ((xx - x) ** 2 + (yy - y) ** 2) / gamma**2) ** -alpha)


def make_scene(
    shape: tuple[int, int] = (260, 320), n_stars: int = 12, seed: int = 3
) -> tuple[Scene, Image]:
    """Return a scene of well separated stars on a noisy, sky-subtracted image."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    columns = int(np.ceil(np.sqrt(n_stars * nx / ny)))
    rows = -(-n_stars // columns)
    grid = [(i, j) for j in range(rows) for i in range(columns)][:n_stars]
    x = np.array([(i + 0.5) * nx / columns for i, _ in grid]) + rng.uniform(-5, 5, n_stars)
    y = np.array([(j + 0.5) * ny / rows for _, j in grid]) + rng.uniform(-5, 5, n_stars)
    rate = np.geomspace(15, 200, n_stars)
    noise = 0.008
    image = rng.normal(0, noise, shape)
    for xi, yi, ri in zip(x, y, rate, strict=True):
        image += ri * moffat(shape, xi, yi)
    return Scene(x, y, rate, 0.0, noise), image.astype(np.float32)


def drc_hdus(
    sci: Image,
    *,
    n_exposures: int = 2,
    exptime_s: float = 1000.0,
    filters: tuple[str, str] = ("F775W", "CLEAR2L"),
    primary: dict[str, Any] | None = None,
    sci_cards: dict[str, Any] | None = None,
) -> fits.HDUList:
    """Return a drizzled image as the archive delivers it: PRIMARY, SCI, WHT, CTX."""
    shape = sci.shape
    head = fits.Header()
    head["TELESCOP"], head["INSTRUME"], head["DETECTOR"] = "HST", "ACS", "WFC"
    head["FILTER1"], head["FILTER2"] = filters
    head["EXPTIME"] = head["TEXPTIME"] = exptime_s
    head["EXPSTART"], head["EXPEND"] = 57402.0, 57402.02
    head["PROPOSID"], head["PRIMESI"], head["TARGNAME"] = 13711, "WFC3", "ANY"
    head["NDRIZIM"] = 2 * n_exposures
    head["CCDGAIN"] = 2.0
    for amp in "ABCD":
        head[f"READNSE{amp}"], head[f"ATODGN{amp}"] = 4.2, 2.0
    for k in range(2 * n_exposures):
        name = f"jabc01{chr(97 + k // 2)}aq_flc.fits[sci,{k % 2 + 1}]"
        head[f"D{k + 1:03d}DATA"] = name
        head[f"D{k + 1:03d}DEXP"] = exptime_s / n_exposures
        head[f"D{k + 1:03d}OUUN"], head[f"D{k + 1:03d}PIXF"] = "cps", 1.0
    head.update(primary or {})
    card = fits.Header()
    card["CTYPE1"], card["CTYPE2"] = "RA---TAN", "DEC--TAN"
    card["CRVAL1"], card["CRVAL2"] = 36.92, -8.47
    card["CRPIX1"], card["CRPIX2"] = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    scale = 0.05 / 3600
    card["CD1_1"], card["CD1_2"] = -scale * np.cos(0.5), scale * np.sin(0.5)
    card["CD2_1"], card["CD2_2"] = scale * np.sin(0.5), scale * np.cos(0.5)
    card["WCSNAME"], card["BUNIT"] = "IDC_0461802ej", "ELECTRONS/S"
    name = next((f.upper() for f in filters if f[:1].upper() == "F"), "F775W")
    table = photcal.bundled_zeropoint("WFC", name) if name != "F775W" else None
    flam, plam = (table.photflam, table.photplam) if table else (9.93e-20, 7693.0)
    card["PHOTFLAM"], card["PHOTPLAM"], card["PHOTZPT"] = flam, plam, -21.1
    card["PHOTMODE"] = f"ACS WFC1 {name} MJD#57402.0"
    card.update(sci_cards or {})
    wht = np.where(np.isfinite(sci), np.float32(exptime_s), np.float32(0))
    ctx = np.where(np.isfinite(sci), sum(1 << (2 * k) for k in range(n_exposures)), 0)
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=head),
            fits.ImageHDU(sci, card, name="SCI"),
            fits.ImageHDU(wht, name="WHT"),
            fits.ImageHDU(ctx.astype(np.int32), name="CTX"),
        ]
    )


def star_table(
    ra_deg: Floats,
    dec_deg: Floats,
    mag: Floats,
    error_mas: float = 0.1,
    motion_error_mas_yr: float = 0.0,
    first_id: int = 4711,
) -> Table:
    """Return stars without proper motions, in the names of the Gaia archive.

    Parameters
    ----------
    ra_deg, dec_deg, mag : (N,) float
    error_mas, motion_error_mas_yr : errors per axis of all positions and motions
    first_id : their identifiers go up from here
    """
    n = len(ra_deg)
    motion, error = np.zeros(n), np.full(n, error_mas)
    motion_error = np.full(n, motion_error_mas_yr)
    return Table(
        {
            "source_id": np.arange(n) + first_id,
            "ra": ra_deg,
            "dec": dec_deg,
            "ra_error": error,
            "dec_error": error,
            "pmra": motion,
            "pmdec": motion,
            "pmra_error": motion_error,
            "pmdec_error": motion_error,
            "phot_g_mean_mag": mag,
        }
    )
