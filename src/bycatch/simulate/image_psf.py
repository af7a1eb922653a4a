"""The PSF of an image, from its own stars.

It is a sum of Gaussians fitted to the pixels of the stars at their sub-pixel
positions, so it holds what focus, detector and drizzling did.  Beyond 10 px,
where a star is lost in the sky, it follows the published encircled energy, to
which it is normalised.  The PSF of a drizzled single exposure varies with the
sub-pixel phase of drizzling from place to place; the widths of the stars show by
how much, but not the tie of width, noise and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats
from bycatch.images.drc import DrcImage
from bycatch.robust import robust_sigma
from bycatch.simulate.psf import BOX_VARIANCE, Mixture

FIT_RADIUS_PX = 10
"""A star's pixels give the PSF out to here, the published encircled energy from here on."""
CENTRE_RADIUS_PX = 4.0
"""A star's own flux, place and width come from within this."""
ISOLATION_PX, ISOLATION_SHARE = 12.0, 0.05
"""No neighbour of more than this share of a PSF star's flux lies this near."""
MIN_SNR = 50.0
MAX_STARS = 150
FWHM_ARCSEC = (0.08, 0.15)
"""Range of the FWHM of drizzled stars: 0.09 to 0.125 in the published catalogs of ACS/WFC."""
LOCUS_WIDTH = 0.12
"""Stars have the FWHM of the typical star to within this share."""
CLIP_SIGMA, MODEL_ERROR = 4.0, 0.05
"""A pixel is clipped if it deviates by so many times its noise and this share of the star."""
CORE_SHARE, CORE_SIGMA_PX = 0.9, 0.75
"""Without stars: the share of the published light within 1 px that drizzling leaves there, and the
narrowest Gaussian."""
SIGMAS_PX = np.geomspace(0.35, 40.0, 19)
CURVE_RADII_PX = np.array([10.0, 12, 15, 20, 30, 40, 60, 80, 110])
CORE_RADII_PX = np.array([1.0, 2, 3, 4, 5, 6, 8])
WIDTHS = np.linspace(0.85, 1.15, 13)


@dataclass(frozen=True, eq=False)
class ImagePsf:
    """The PSF of an image, as a drizzled pixel shows it.

    Attributes
    ----------
    mixture : pixel-integrated Gaussians, in pixels of the image; total 1 in the infinite aperture
    widths : (M,) float; factors to the widths of the Gaussians, one for each star
    n_stars : stars that it was made of; 0 for the published curve
    note : where it comes from, in words
    """

    mixture: Mixture
    widths: Floats
    n_stars: int
    note: str

    def star(self, dx_px: Floats, dy_px: Floats, width: float = 1.0) -> Floats:
        """Return the light in each pixel of a star of total 1, (ny, nx)."""
        return self.mixture.stamp(dx_px, dy_px, width, width)

    @property
    def fwhm_px(self) -> float:
        """Full width at half maximum of the mean profile."""
        radius = np.linspace(0.0, 10.0, 1001)
        profile = self.mixture.surface_brightness(radius)
        return float(2.0 * np.interp(-0.5, -profile / profile[0], radius))


@dataclass(frozen=True, eq=False)
class PsfStars:
    """Stars that the PSF is made of, (N,) each: positions, total rates (e/s), sky (e/s per px)."""

    x: Floats
    y: Floats
    rate: Floats
    sky_rate: Floats

    def take(self, which: NDArray[np.intp] | Bools) -> PsfStars:
        """Return some of them."""
        return PsfStars(*(values[which] for values in vars(self).values()))


def psf_stars(
    catalog: Table,
    phot: Table,
    radii_px: Sequence[float],
    photflam: float,
    scale_arcsec: float,
    annulus_share: float,
) -> PsfStars:
    """Return the bright, isolated, unsaturated stars of a catalog.

    Parameters
    ----------
    catalog, phot : tables of catalog_columns.CAT and photometry_columns.PHOT, row for row
    radii_px : aperture radii of both
    photflam : of the image
    scale_arcsec : pixel scale
    annulus_share : share of a star's light per px^2 that its sky annulus takes for sky
    """
    r = f"{min(radii_px, key=lambda radius: abs(radius - CENTRE_RADIUS_PX)):g}"
    bad = int(
        Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.OFF_IMAGE | Flag.BAD_SKY | Flag.SATURATED
        | Flag.FIT_FAILED | Flag.FIT_PINNED | Flag.COSMIC_RAY
    )  # fmt: skip
    fwhm_arcsec = floats(catalog, "fwhm") * scale_arcsec
    rate = floats(catalog, f"flux_{r}_apcor") / photflam
    good = (np.asarray(catalog["flags"]) & bad == 0) & (np.asarray(catalog["cr_flag"]) == 0)
    good &= (fwhm_arcsec > FWHM_ARCSEC[0]) & (fwhm_arcsec < FWHM_ARCSEC[1])
    good &= floats(catalog, f"snr_{r}") > MIN_SNR
    if "p_cr" in catalog.colnames:
        good &= ~(floats(catalog, "p_cr") > 0.1)
    if "p_star" in catalog.colnames:
        good &= ~(floats(catalog, "p_star") < 0.9)
    if good.any():
        typical = np.median(fwhm_arcsec[good])
        good &= np.abs(fwhm_arcsec / typical - 1) < LOCUS_WIDTH
    x, y = np.asarray(catalog["x_center"], float), np.asarray(catalog["y_center"], float)
    rows = np.flatnonzero(good & np.isfinite(x) & np.isfinite(y))
    rows = rows[_is_isolated(x, y, rate, rows)]
    rows = rows[np.argsort(-rate[rows], kind="stable")][:MAX_STARS]
    sky = floats(phot, "sky_median")[rows] - rate[rows] * annulus_share
    return PsfStars(x[rows], y[rows], rate[rows], sky)


def _is_isolated(x: Floats, y: Floats, rate: Floats, rows: NDArray[np.intp]) -> Bools:
    from scipy.spatial import KDTree

    rows_with_flux = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & np.isfinite(rate))
    alone = np.ones(len(rows), dtype=bool)
    if not len(rows_with_flux) or not len(rows):
        return alone
    near = KDTree(np.column_stack([x[rows_with_flux], y[rows_with_flux]])).query_ball_point(
        np.column_stack([x[rows], y[rows]]), ISOLATION_PX
    )
    for k, row in enumerate(rows):
        others = rows_with_flux[np.asarray(near[k], dtype=int)]
        others = others[others != row]
        alone[k] = not np.any(rate[others] > ISOLATION_SHARE * rate[row])
    return alone


def curve_psf(image: DrcImage) -> ImagePsf:
    """Return the PSF of the published encircled energy alone: all that is known without stars."""
    radii = np.concatenate([CORE_RADII_PX, CURVE_RADII_PX])
    target = _curve(image).at(radii * image.scale_arcsec)
    target[0] *= CORE_SHARE
    wide = SIGMAS_PX >= CORE_SIGMA_PX
    rows = _curve_rows(radii, SIGMAS_PX[wide])
    mixture = _mixture(rows.T @ rows, rows.T @ target, SIGMAS_PX[wide])
    return ImagePsf(_normalise(mixture, image), np.ones(1), 0, "published encircled energy")


def image_psf(image: DrcImage, stars: PsfStars, noise_rate: float, min_stars: int = 5) -> ImagePsf:
    """Fit the PSF of an image to the pixels of its stars.

    Parameters
    ----------
    image : DrcImage
    stars : PsfStars
    noise_rate : typical noise of a sky pixel, e/s
    min_stars : with fewer good ones the published curve is used

    Notes
    -----
    By turns, the flux and the place of each star follow from the PSF, and the PSF
    from all stars, by non-negative least squares (after Cappellari 2002, MNRAS 333,
    400).  Pixels that deviate (neighbours, cosmic rays) are clipped.
    """
    start = curve_psf(image)
    if len(stars.x) < min_stars:
        return replace(start, note=f"published encircled energy: {len(stars.x)} good stars only")
    pixels = _StarPixels.around(image, stars, noise_rate)
    mixture = start.mixture
    for _ in range(4):
        pixels = pixels.placed(mixture)
        mixture = pixels.mixture(mixture, image)
    widths, is_like = pixels.widths(mixture)
    if is_like.sum() < min_stars:
        return replace(start, note=f"published encircled energy: {is_like.sum()} good stars only")
    pixels = pixels.take(is_like).placed(mixture)
    mixture = pixels.mixture(mixture, image)
    widths, _ = pixels.widths(mixture)
    return ImagePsf(mixture, widths, len(widths), f"{len(widths)} stars of the image")


@dataclass(frozen=True, eq=False)
class _StarPixels:
    """Pixels of N stars, (N, P) each, without their sky, and flux and place of the stars."""

    value: Floats
    variance: Floats
    column: Floats
    row: Floats
    good: Bools
    x: Floats
    y: Floats
    rate: Floats

    @staticmethod
    def around(image: DrcImage, stars: PsfStars, noise_rate: float) -> _StarPixels:
        reach = FIT_RADIUS_PX + 1
        dy, dx = (d.ravel() for d in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        column = np.rint(stars.x)[:, None] + dx
        row = np.rint(stars.y)[:, None] + dy
        ny, nx = image.shape
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        at = (np.clip(row, 0, ny - 1).astype(int), np.clip(column, 0, nx - 1).astype(int))
        good = inside & image.valid[at]
        value = np.where(good, image.sci[at], 0.0) - stars.sky_rate[:, None]
        seconds = np.maximum(image.exptime_map_s[at].astype(float), 1e-3)
        variance = noise_rate**2 + np.maximum(value, 0) / seconds
        return _StarPixels(value, variance, column, row, good, stars.x, stars.y, stars.rate)

    def take(self, which: Bools) -> _StarPixels:
        return _StarPixels(*(values[which] for values in vars(self).values()))

    def model(
        self, mixture: Mixture, dx: float = 0.0, dy: float = 0.0, width: float = 1.0
    ) -> Floats:
        """Return stars of total 1, moved by (dx, dy) px."""
        x = self.column - self.x[:, None] - dx
        y = self.row - self.y[:, None] - dy
        total = np.zeros_like(x)
        for sigma, weight in zip(mixture.sigma_x * width, mixture.weight, strict=True):
            total += weight * _in_pixel(x, sigma) * _in_pixel(y, sigma)
        return total

    @property
    def radius(self) -> Floats:
        return np.hypot(self.column - self.x[:, None], self.row - self.y[:, None])

    def unclipped(self, model: Floats) -> Bools:
        """Return the pixels that a star's own light and noise explain."""
        light = self.rate[:, None] * model
        limit = CLIP_SIGMA * np.sqrt(self.variance + (MODEL_ERROR * light) ** 2)
        return self.good & (np.abs(self.value - light) < limit)

    def placed(self, mixture: Mixture) -> _StarPixels:
        """Return the same with flux and place of each star fitted."""
        step = 0.05
        model = self.model(mixture)
        along_x = (self.model(mixture, step) - self.model(mixture, -step)) / (2 * step)
        along_y = (self.model(mixture, 0, step) - self.model(mixture, 0, -step)) / (2 * step)
        mask = self.unclipped(model) & (self.radius <= CENTRE_RADIUS_PX)
        weight = np.where(mask, 1.0 / (self.variance + (0.03 * self.value) ** 2), 0.0)
        terms = np.stack([model, along_x, along_y], axis=-1)
        normal = np.einsum("npi,np,npj->nij", terms, weight, terms)
        right = np.einsum("npi,np,np->ni", terms, weight, self.value)
        enough = mask.sum(axis=1) >= 12
        normal[~enough] = np.eye(3)
        solution = np.linalg.solve(normal, right[..., None])[..., 0]
        enough &= solution[:, 0] > 0
        rate = np.where(enough, solution[:, 0], self.rate)
        move = np.clip(solution[:, 1:] / rate[:, None], -0.2, 0.2) * enough[:, None]
        return replace(self, rate=rate, x=self.x + move[:, 0], y=self.y + move[:, 1])

    def mixture(self, before: Mixture, image: DrcImage) -> Mixture:
        """Return the PSF that fits all stars, and the published curve outside of them."""
        mask = self.unclipped(self.model(before)) & (self.radius <= FIT_RADIUS_PX)
        x = (self.column - self.x[:, None])[mask]
        y = (self.row - self.y[:, None])[mask]
        scale = np.broadcast_to(self.rate[:, None], mask.shape)[mask]
        value = self.value[mask] / scale
        # The errors of the model itself keep the brightest pixels from being all that counts.
        error = np.sqrt(self.variance[mask] / scale**2 + (0.02 * value) ** 2)
        rows = np.stack([_in_pixel(x, s) * _in_pixel(y, s) for s in SIGMAS_PX], axis=1)
        rows /= error[:, None]
        curve = _curve(image).at(CURVE_RADII_PX * image.scale_arcsec)
        # To 0.02 %: the published curve is what the calibration refers to.
        outer = _curve_rows(CURVE_RADII_PX, SIGMAS_PX) / 2e-4
        weights = _mixture(
            rows.T @ rows + outer.T @ outer,
            rows.T @ (value / error) + outer.T @ (curve / 2e-4),
            SIGMAS_PX,
        )
        return _normalise(weights, image)

    def widths(self, mixture: Mixture) -> tuple[Floats, Bools]:
        """Return the factor to the width that fits each star best, and which stars are alike."""
        cost = np.empty((len(self.x), len(WIDTHS)))
        mask = self.good & (self.radius <= CENTRE_RADIUS_PX) & self.unclipped(self.model(mixture))
        weight = np.where(mask, 1.0 / (self.variance + (0.02 * self.value) ** 2), 0.0)
        for k, width in enumerate(WIDTHS):
            model = self.model(mixture, width=width)
            rate = (weight * model * self.value).sum(axis=1)
            rate /= np.maximum((weight * model**2).sum(axis=1), 1e-300)
            cost[:, k] = (weight * (self.value - rate[:, None] * model) ** 2).sum(axis=1)
        best = np.clip(np.argmin(cost, axis=1), 1, len(WIDTHS) - 2)
        rows = np.arange(len(best))
        left, middle, right = cost[rows, best - 1], cost[rows, best], cost[rows, best + 1]
        bend = np.maximum(left - 2 * middle + right, 1e-12)
        offset = np.clip(0.5 * (left - right) / bend, -1, 1)
        width = WIDTHS[best] + offset * (WIDTHS[1] - WIDTHS[0])
        is_like = np.abs(width - np.median(width)) < max(3.5 * robust_sigma(width), 0.02)
        # A star whose core lost its pixels to the clipping was none.
        core = self.good & (self.radius <= 2.5)
        is_like &= (mask & core).sum(axis=1) >= 0.85 * core.sum(axis=1)
        return width, is_like


def _in_pixel(distance: Floats, sigma: float) -> Floats:
    """Return the share of a Gaussian in a pixel whose centre is so far from its own."""
    from scipy.special import ndtr

    return np.asarray(ndtr((distance + 0.5) / sigma) - ndtr((distance - 0.5) / sigma))


def _curve(image: DrcImage) -> photcal.EncircledEnergy:
    return photcal.encircled_energy(image.meta.detector, image.meta.filter)


def _curve_rows(radius_px: Floats, sigma_px: Floats) -> Floats:
    """Return the encircled energy of each Gaussian, (R, K)."""
    return np.asarray(1.0 - np.exp(-0.5 * radius_px[:, None] ** 2 / (sigma_px**2 + BOX_VARIANCE)))


def _normalise(mixture: Mixture, image: DrcImage) -> Mixture:
    """Return a PSF that has the published share of the light within 10 px."""
    radius = np.array([float(FIT_RADIUS_PX)])
    has = float((_curve_rows(radius, mixture.sigma_x) @ mixture.weight)[0])
    should = float(_curve(image).at(radius * image.scale_arcsec)[0])
    return replace(mixture, weight=mixture.weight * should / has)


def _mixture(normal: Floats, right: Floats, sigma_px: Floats) -> Mixture:
    """Return the non-negative solution of normal equations as a sum of Gaussians."""
    from scipy.optimize import nnls

    # The wings are 1e-4 of the core: columns of one length let the solver see both.
    size = np.sqrt(np.diag(normal))
    values, vectors = np.linalg.eigh(normal / np.outer(size, size))
    keep = values > 1e-13 * values.max()
    root = vectors[:, keep].T * np.sqrt(values[keep])[:, None]
    weight, _ = nnls(root, (vectors[:, keep].T @ (right / size)) / np.sqrt(values[keep]))
    weight = weight / size
    some = weight > 1e-6 * weight.sum()
    return Mixture(sigma_px[some], sigma_px[some], weight[some])
