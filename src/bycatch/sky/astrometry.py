"""Positions on the sky: the frame of an image, its error, and the match with Gaia."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.arrays import Floats, Ints
from bycatch.catalogs.columns import MISSING_GAIA
from bycatch.images.wcs import pixel_scale_arcsec
from bycatch.kernels.matching import closest_first, pairs_within
from bycatch.kernels.neighbourhood import bilinear
from bycatch.settings import MeasureSettings
from bycatch.sky.gaia import ReferenceStars
from bycatch.tangent import tangent_mas

N_SHIFTS = 12
"""Shifted copies of the stars, for the number of chance matches."""


@dataclass(frozen=True, eq=False)
class VarianceMap:
    """Variances along RA and Dec on a grid of the plane tangent at a point.

    Attributes
    ----------
    lower, step : (2,) arcsec
        The grid's first point and its steps in xi and eta.
    values : (2, n_eta, n_xi) mas^2
    """

    lower: Floats
    step: Floats
    values: Floats

    def at(self, xi: Floats, eta: Floats) -> Floats:
        """Return the variances (2, N) at positions, arcsec; bilinear, beyond the edge as there."""
        place = (np.column_stack([xi, eta]) - self.lower) / self.step
        return bilinear(self.values, *place.T)


@dataclass(frozen=True, eq=False)
class FrameError:
    """How well an image's frame is known on the sky.

    The frame may be off by an affine map of the plane tangent at a point:
    (xi, eta) moves by (t_xi + a xi + b eta, t_eta + c xi + d eta).

    Attributes
    ----------
    ra_deg, dec_deg : the point
    covariance : (6, 6) float
        Of (t_xi, t_eta, a, b, c, d): mas, and mas per arcsec.
    extra : VarianceMap or None
        What is added, in the same plane: distortion that no affine map holds.
    centroid_floor_mas : error per axis of the centroids of the image's brightest stars, which is
        each star's own; NaN if not measured
    """

    ra_deg: float
    dec_deg: float
    covariance: Floats
    extra: VarianceMap | None = None
    centroid_floor_mas: float = np.nan

    def at(self, ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
        """Return the 1-sigma errors along RA (times cos(dec)) and Dec at positions, mas."""
        xi, eta = tangent_mas(ra_deg, dec_deg, self.ra_deg, self.dec_deg).T / 1000.0
        terms = np.stack([np.ones_like(xi), xi, eta])
        more = self.extra.at(xi, eta) if self.extra is not None else np.zeros((2, len(xi)))
        errors = []
        for rows, extra_variance in zip(([0, 2, 3], [1, 4, 5]), more, strict=True):
            part = self.covariance[np.ix_(rows, rows)]
            errors.append(np.sqrt(np.einsum("in,ij,jn->n", terms, part, terms) + extra_variance))
        return errors[0], errors[1]


def sky_positions(
    x: Floats,
    y: Floats,
    centroid_err_px: Floats,
    wcs: WCS,
    mjd: float,
    *,
    frame_error: FrameError | None = None,
    reference: ReferenceStars | None = None,
    settings: MeasureSettings | None = None,
    epoch_spread_yr: float = 0.0,
) -> dict[str, Any]:
    """Return the sky coordinates of positions, their errors and their Gaia stars.

    Parameters
    ----------
    x, y : (N,) float
        0-based pixel centres.
    centroid_err_px : (N,) float
        Their errors per axis; NaN where there is no source.
    wcs : the image's WCS
    mjd : epoch of the image
    frame_error : error of the WCS; without it only the centroid's counts
    reference : stars to match with
    settings : how far a star may lie (``gaia_...``)
    epoch_spread_yr : rms spread of the times of the exposures

    Returns
    -------
    dict
        The columns of `columns.SKY_POSITION`, `columns.SKY_ERRORS` and `columns.GAIA_MATCH`.
    """
    n = len(x)
    ra, dec = wcs.all_pix2world(x, y, 0) if n else (np.empty(0), np.empty(0))
    frame = (np.full(n, np.nan), np.full(n, np.nan))
    if frame_error is not None and n:
        frame = frame_error.at(ra, dec)
    centroid_mas = np.asarray(centroid_err_px, dtype=float) * pixel_scale_arcsec(wcs) * 1000.0
    error_ra, error_dec = (np.hypot(np.nan_to_num(f), centroid_mas) for f in frame)
    out: dict[str, Any] = {
        "RA_GAIA_WCS": ra,
        "DEC_GAIA_WCS": dec,
        "RA_GAIA_WCS_err": error_ra,
        "DEC_GAIA_WCS_err": error_dec,
        "astrom_err": np.sqrt(0.5 * (frame[0] ** 2 + frame[1] ** 2)),
        "GAIA_CAT_RA": np.full(n, MISSING_GAIA),
        "GAIA_CAT_DEC": np.full(n, MISSING_GAIA),
        "gaia_source_id": np.zeros(n, dtype=np.int64),
        "gaia_separation": np.full(n, np.nan),
        "gaia_g": np.full(n, np.nan),
    }
    if reference is None or not len(reference):
        return out
    measure_settings = settings or MeasureSettings()
    search = _Search.of(out, mjd, reference, measure_settings, epoch_spread_yr)
    row, star, separation_mas = search.counterparts()
    catalog = reference.table
    out["GAIA_CAT_RA"][row] = np.asarray(catalog["ra"])[star]
    out["GAIA_CAT_DEC"][row] = np.asarray(catalog["dec"])[star]
    out["gaia_source_id"][row] = np.asarray(catalog["source_id"])[star]
    out["gaia_separation"][row] = separation_mas
    out["gaia_g"][row] = np.ma.filled(catalog["phot_g_mean_mag"], np.nan)[star]
    return out


def expected_chance_matches(
    positions: Mapping[str, Any] | Table,
    mjd: float,
    reference: ReferenceStars | None,
    settings: MeasureSettings,
    epoch_spread_yr: float = 0.0,
) -> float:
    """Return how many Gaia matches of a catalog are expected to be chance.

    The mean number of matches with the stars shifted by several times the
    largest radius, in twelve directions: near enough for the same density.

    Parameters
    ----------
    positions : table or mapping
        RA_GAIA_WCS, DEC_GAIA_WCS and their errors.
    mjd : epoch of the image
    reference : the stars
    settings, epoch_spread_yr : as for `sky_positions`
    """
    if reference is None or not len(reference) or not len(positions["RA_GAIA_WCS"]):
        return 0.0
    search = _Search.of(positions, mjd, reference, settings, epoch_spread_yr)
    counts = []
    for k in range(N_SHIFTS):
        angle, steps = 2.0 * np.pi * k / N_SHIFTS, 5.0 + 2.5 * (k % 3)
        shift = steps * settings.gaia_radius_mas * np.array([np.cos(angle), np.sin(angle)])
        counts.append(len(search.counterparts(shift)[0]))
    return float(np.mean(counts))


@dataclass(frozen=True, eq=False)
class _Search:
    """Positions and stars in one tangent plane (mas), with the errors of both."""

    xy_mas: Floats
    error_mas: Floats
    star_xy_mas: Floats
    star_error_mas: Floats
    n_sigma: float
    radii_mas: tuple[float, float]

    @staticmethod
    def of(
        positions: Mapping[str, Any] | Table,
        mjd: float,
        reference: ReferenceStars,
        settings: MeasureSettings,
        epoch_spread_yr: float,
    ) -> _Search:
        """Project positions and stars at the epoch of the image."""
        names = ("RA_GAIA_WCS", "DEC_GAIA_WCS", "RA_GAIA_WCS_err", "DEC_GAIA_WCS_err")
        ra, dec, error_ra, error_dec = (_nan_where_masked(positions[name]) for name in names)
        star_ra, star_dec = reference.positions_at(mjd)
        motion = settings.gaia_motion_mas_yr
        star_error = np.hypot(*reference.errors_at(mjd, motion, epoch_spread_yr))
        # The stars' own middle: a user's list of positions may hold some far off the image.
        centre = _middle(np.asarray(star_ra), np.asarray(star_dec))
        return _Search(
            tangent_mas(ra, dec, *centre),
            np.hypot(error_ra, error_dec) / np.sqrt(2.0),
            tangent_mas(np.asarray(star_ra), np.asarray(star_dec), *centre),
            np.nan_to_num(star_error, nan=np.inf) / np.sqrt(2.0),
            settings.gaia_n_sigma,
            (min(settings.gaia_min_radius_mas, settings.gaia_radius_mas), settings.gaia_radius_mas),
        )

    def counterparts(self, shift_mas: Floats | None = None) -> tuple[Ints, Ints, Floats]:
        """Return rows, stars and separations (mas) of the pairs, one to one, closest first."""
        stars = self.star_xy_mas if shift_mas is None else self.star_xy_mas + shift_mas
        row, star, separation = pairs_within(self.xy_mas, stars, self.radii_mas[1])
        # A position without an error of its own gets the least radius.
        error = np.hypot(np.nan_to_num(self.error_mas[row]), self.star_error_mas[star])
        near = separation <= np.clip(self.n_sigma * error, *self.radii_mas)
        row, star = closest_first(row[near], star[near], separation[near])
        return row, star, np.hypot(*(self.xy_mas[row] - stars[star]).T)


def _nan_where_masked(values: Any) -> Floats:
    """Return values as floats, NaN where masked."""
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan))


def _middle(ra_deg: Floats, dec_deg: Floats) -> tuple[float, float]:
    """Return the mean direction of positions, degrees."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    x, y, z = (
        float(np.mean(v)) for v in (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
    )
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(
        np.degrees(np.arctan2(z, np.hypot(x, y)))
    )


def wcs_header(wcs: WCS) -> fits.Header:
    """Return a WCS as header cards in HST's form: CD instead of PC and CDELT, full precision.

    astropy writes PC and CDELT and 14 digits; HST's tools read CD, and 14 digits
    of a right ascension are a micro-arcsecond.
    """
    header = wcs.to_header(relax=True)
    matrix = wcs.pixel_scale_matrix
    for i in (1, 2):
        for j in (1, 2):
            header.remove(f"PC{i}_{j}", ignore_missing=True)
        header.remove(f"CDELT{i}", ignore_missing=True)
        header[f"CRVAL{i}"] = float(wcs.wcs.crval[i - 1])
        header[f"CRPIX{i}"] = float(wcs.wcs.crpix[i - 1])
    for i in (1, 2):
        for j in (1, 2):
            header[f"CD{i}_{j}"] = (float(matrix[i - 1, j - 1]), "[deg] linear transformation")
    header.remove("MJDREF", ignore_missing=True)
    return header


CENTROID_FLOOR_PX = 0.03
"""Error of the centroid of the brightest stars if images do not show it: phase of the pixels, and
a PSF whose lopsidedness varies over the field."""
MIN_SIZE_PX = 1.0


def centroid_errors_px(
    flux: Floats,
    noise: Floats,
    size_px: Floats,
    exptime_s: Floats | float,
    floor_px: float = CENTROID_FLOOR_PX,
) -> Floats:
    """Return the 1-sigma errors of windowed centroids per axis, in pixels.

    Photons (see `photon_variance_px2`) and a floor.
    """
    variance = photon_variance_px2(flux, noise, size_px, exptime_s)
    return np.asarray(np.sqrt(floor_px**2 + variance))


def photon_variance_px2(
    flux: Floats, noise: Floats, size_px: Floats, exptime_s: Floats | float
) -> Floats:
    """Return the variances of centroids per axis that photons and sky make, px^2.

    Photon noise of the source and noise of the sky for a Gaussian profile
    (Thompson, Larson & Webb 2002, Biophys. J. 82, 2775, eq. 17, without the
    pixel term).

    Parameters
    ----------
    flux : (N,) e/s
    noise : (N,) sky noise of a pixel, e/s
    size_px : (N,) rms radius of the profile per axis
    exptime_s : seconds
    """
    electrons = np.maximum(flux * exptime_s, 1.0)
    size = np.maximum(np.nan_to_num(size_px, nan=MIN_SIZE_PX), MIN_SIZE_PX)
    # Drizzling's correlation of neighbours about doubles the variance of sums over pixels.
    sky = 2.0 * (np.nan_to_num(noise) * exptime_s) ** 2
    return np.asarray(size**2 / electrons + 8.0 * np.pi * size**4 * sky / electrons**2)
