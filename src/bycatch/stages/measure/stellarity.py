"""Point or extended: the concentration of sources against the stars of their own image.

The steps are `concentration`, `locus` and `probability`.  Two concentrations are
used: from 1 to 3 px, the index of the Hubble Source Catalog (Whitmore et al. 2016,
AJ 151, 134), which feels little of a neighbour; and from 2 to 4 px, which feels little
of the sub-pixel phase.  Where both are near those of the image's stars, within
photon noise and the stars' own scatter, a source is a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.images.meta import NATIVE_SCALE_ARCSEC
from bycatch.kernels.apertures import circle_sums
from bycatch.photcal import MAG_PER_FRACTION, encircled_energy

RADII_PX = (1.0, 2.0, 3.0, 4.0)
"""In native pixels of the detector: the PSF of a finer drizzle is as wide on the sky."""
SMEAR = (0.13, 0.02)
"""Added to the concentrations of the encircled-energy table: the index of stars in drizzled
images peaks at 1.08 where the table has 0.95; of 2 to 4 px, Gaia stars in published catalogs of
F475W, F625W and F775W have 0.28, 0.31 and 0.34, the table 0.25, 0.27 and 0.32.  Drop and output
pixel make 0.13 to 0.14 of the index of HRC as well (``benchmarks/hrc_core.py``)."""
UNKNOWN_FILTER = {"WFC": (1.08, 0.30), "HRC": (1.27, 0.43)}
EXPECTATION_SIGMA = (0.08, 0.03)
"""How far focus, phase and colour move an image's stars from the expectation."""
STAR_SIGMA = (0.05, 0.018)
"""Scatter among the stars of an image, from sub-pixel phases, until the image shows its own."""
STAR_CORRELATION = 0.5
STAR_SIGMA_WEIGHT = 10.0
"""Number of stars whose scatter counts as much as that."""
MOST_SIGMA = (0.08, 0.03)
"""No stars scatter more: what does is cosmic rays that were taken for them."""
SEARCH = (0.35, 0.15)
"""Half the box about the expectation in which the stars of an image are looked for."""
MAX_ERROR = 0.08
"""Error of the first concentration up to which a source helps to find them, mag."""
NEAR = 12.0
"""Squared distance, in units of scatter and noise, within which 99.8 % of stars are."""
MIN_STARS = 5
"""Fewer do not define the locus of stars: a galaxy and a cosmic ray may be near by chance."""
KNOWN_WEIGHT = 5.0
MIN_KNOWN = 5
UNINFORMATIVE_ERROR = 0.75
"""Error of the first concentration beyond which nothing can be decided, mag: S/N below 1.5."""
WIDE_SHARE, WIDE_FACTOR = 0.1, 4.0
"""Stars in the wings of the scatter, which is not quite normal: their share and its variance."""
BLEND_SHARE, BLEND_SHIFT, BLEND_SIGMA = 0.1, (0.05, 0.08), (0.07, 0.12)
"""Stars with light of a neighbour: their share, and what it does to them."""
SHARP_SHARE = 0.05
STRANGE = (1e-7, 1e-4)
"""Density of stars and of all else that fit no description."""
MAG_STEP, N_ROUNDS, PSEUDO_COUNT = 0.5, 12, 4.0
PRIOR = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class Concentration:
    """How concentrated N sources are.

    Attributes
    ----------
    magnitude : (N,) -2.5 log10 of the net rate within 3 px
    index : (N, 2) magnitude within the smaller minus that in the larger radius, of 1 and 3 px and
        of 2 and 4; NaN where pixels are missing, or a flux is not positive
    covariance : (N, 2, 2) of photon and sky noise
    """

    magnitude: Floats
    index: Floats
    covariance: Floats

    @property
    def known(self) -> Bools:
        """True where there is any evidence."""
        error = self.covariance[:, 0, 0]
        return np.asarray(np.isfinite(self.index).all(axis=1) & (error < UNINFORMATIVE_ERROR**2))


@dataclass(frozen=True, eq=False)
class Locus:
    """Where the stars of an image are.

    Attributes
    ----------
    index : (2,) their concentrations
    covariance : (2, 2) of their scatter, without noise, and of the error of ``index``
    n_stars : number of sources that look like stars; of fewer than 5 none has a say, and the
        locus is the filter's expectation
    """

    index: Floats
    covariance: Floats
    n_stars: int

    @property
    def is_measured(self) -> bool:
        """True where the image's own stars count."""
        return self.n_stars >= MIN_STARS


def concentration(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    sky: ArrayLike,
    sky_std: ArrayLike,
    exptime_s: ArrayLike,
    correlation: float = 1.0,
    neighbours_rate: ArrayLike = 0.0,
) -> Concentration:
    """Measure how concentrated sources are.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float
        0-based pixel centres; those off the image, or not finite, have none.
    sky, sky_std : (N,) float
        Level and scatter of the sky per pixel, e/s.
    exptime_s : (N,) float
        Effective exposure time.
    correlation : float
        Factor of the sky noise for the correlation that drizzling makes.
    neighbours_rate : (N, 4) float
        Light of other stars within the radii, e/s.
    """
    radii = np.array(RADII_PX) * image.meta.native_scale_arcsec / image.scale_arcsec
    sums, areas = circle_sums(image.sci, image.valid, x, y, tuple(radii))
    level, scatter, seconds = (np.asarray(v, float)[:, None] for v in (sky, sky_std, exptime_s))
    net = sums - level * areas - np.asarray(neighbours_rate)
    whole = np.all((areas > np.pi * radii**2 * (1 - 1e-6)) & (net > 0), axis=1)
    net[~whole] = np.nan
    rings = np.diff(net, axis=1, prepend=0.0)
    ring_areas = np.diff(areas, axis=1, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.maximum(rings, 0) / seconds + ring_areas * (correlation * scatter) ** 2
        variance[~(seconds[:, 0] > 0)] = np.nan
    slopes = np.zeros((len(net), 2, 4))
    for k in (0, 1):
        inner, outer = net[:, k, None], net[:, k + 2, None]
        slopes[:, k, : k + 3] = MAG_PER_FRACTION / outer
        slopes[:, k, : k + 1] -= MAG_PER_FRACTION / inner
    magnitudes = -MAG_PER_FRACTION * np.log(net)
    return Concentration(
        magnitudes[:, 2],
        magnitudes[:, :2] - magnitudes[:, 2:],
        np.einsum("nik,nk,njk->nij", slopes, variance, slopes),
    )


def expectation(detector: str, filter_name: str) -> Floats:
    """Return the two concentrations that stars have in drizzled images of a filter.

    From the encircled energy of Bohlin (2016, AJ 152, 60) at 1 to 4 pixels of the detector,
    and the smear of drizzling.

    Parameters
    ----------
    detector : WFC or HRC
    filter_name : such as F606W
    """
    try:
        curve = encircled_energy(detector, filter_name)
    except UnsupportedImage:
        return np.array(UNKNOWN_FILTER[detector])
    mag_within = -MAG_PER_FRACTION * np.log(
        curve.at(np.array(RADII_PX) * NATIVE_SCALE_ARCSEC[detector])
    )
    return np.asarray(mag_within[:2] - mag_within[2:] + SMEAR)


def expectation_of(star_energy: Floats) -> Floats:
    """Return the two concentrations of stars with shares of their light within 1 to 4 px.

    Parameters
    ----------
    star_energy : (4,) float, within 1, 2, 3 and 4 detector pixels
    """
    mag_within = -MAG_PER_FRACTION * np.log(star_energy)
    return np.asarray(mag_within[:2] - mag_within[2:])


def locus(
    concentration: Concentration,
    expected: Floats,
    *,
    usable: Bools | None = None,
    known_star: Bools | None = None,
) -> Locus:
    """Find the stars of an image among its sources.

    Parameters
    ----------
    concentration : Concentration
    expected : (2,) float
        Where they should be (`expectation`).
    usable : (N,) bool, optional
        Sources that are neither saturated nor likely cosmic rays, or near edges.
    known_star : (N,) bool, optional
        Those known to be stars, as from Gaia: with 5 of them the search starts there.

    Returns
    -------
    Locus
        The mean of expectation and stars, each with the weight that its error gives it; the
        expectation alone with fewer than 5 stars.
    """
    is_candidate = concentration.known & (concentration.covariance[:, 0, 0] < MAX_ERROR**2)
    is_candidate &= (np.abs(concentration.index - expected) < SEARCH).all(axis=1)
    if usable is not None:
        is_candidate &= usable
    stars = np.zeros(len(is_candidate), bool) if known_star is None else known_star
    index, noise, stars = (
        concentration.index[is_candidate],
        concentration.covariance[is_candidate],
        stars[is_candidate],
    )
    weight = np.where(stars, KNOWN_WEIGHT, 1.0)
    default = _covariance(np.array(STAR_SIGMA), STAR_CORRELATION)
    centre, scatter = _first_guess(index, weight, stars, expected), default
    near = np.zeros(len(index), bool)
    for _ in range(N_ROUNDS):
        near = _distance2(index - centre, scatter + noise) < NEAR
        if not near.any():
            break
        centre = np.median(index[near], axis=0)
        scatter = _scatter(index[near] - centre, noise[near], scatter, default)
    n = int(near.sum())
    if n < MIN_STARS:
        return Locus(expected, default + np.diag(np.array(EXPECTATION_SIGMA) ** 2), n)
    # A median's error is 1.25 times that of a mean.
    own = np.linalg.inv(1.57 * scatter / n)
    prior = np.linalg.inv(np.diag(np.array(EXPECTATION_SIGMA) ** 2))
    error = np.linalg.inv(own + prior)
    return Locus(error @ (own @ centre + prior @ expected), scatter + error, n)


def _first_guess(index: Floats, weight: Floats, stars: Bools, expected: Floats) -> Floats:
    """Return the densest place, or that of the known stars."""
    from scipy.ndimage import gaussian_filter

    if stars.sum() >= MIN_KNOWN:
        return np.asarray(np.median(index[stars], axis=0))
    if not len(index):
        return expected
    steps = np.array(STAR_SIGMA) / 3
    edges = [
        np.arange(-reach, reach + step, step) + middle
        for reach, step, middle in zip(SEARCH, steps, expected, strict=True)
    ]
    counts = np.histogram2d(index[:, 0], index[:, 1], bins=edges, weights=weight)[0]
    density = np.asarray(gaussian_filter(counts, 2.0))
    places = [0.5 * (e[1:] + e[:-1]) for e in edges]
    for k, place in enumerate(places):
        likely = np.exp(-0.5 * ((place - expected[k]) / (2 * EXPECTATION_SIGMA[k])) ** 2)
        density *= likely[:, None] if k == 0 else likely
    top = np.unravel_index(np.argmax(density), density.shape)
    return np.array([places[0][top[0]], places[1][top[1]]])


def _covariance(sigma: Floats, correlation: float) -> Floats:
    product = correlation * sigma[0] * sigma[1]
    return np.array([[sigma[0] ** 2, product], [product, sigma[1] ** 2]])


def _scatter(offset: Floats, noise: Floats, scatter: Floats, default: Floats) -> Floats:
    """Return a better covariance of what is not noise, pulled towards the default.

    One round of EM: the expected square of each star's own offset, given its noise.
    """
    n = len(offset)
    part = scatter @ np.linalg.inv(scatter + noise)
    own = np.einsum("nij,nj->ni", part, offset)
    total = own.T @ own + (scatter - part @ scatter).sum(axis=0)
    covariance = (total + STAR_SIGMA_WEIGHT * default) / (n + STAR_SIGMA_WEIGHT)
    shrink = np.minimum(1.0, np.array(MOST_SIGMA) / np.sqrt(np.diag(covariance)))
    return np.asarray(covariance * np.outer(shrink, shrink))


def _distance2(offset: Floats, covariance: Floats) -> Floats:
    """Return squared Mahalanobis distances of (N, 2) offsets."""
    xx, yy, xy = covariance[..., 0, 0], covariance[..., 1, 1], covariance[..., 0, 1]
    u, v = offset[..., 0], offset[..., 1]
    return np.asarray((yy * u * u - 2 * xy * u * v + xx * v * v) / (xx * yy - xy * xy))


def _density(offset: Floats, covariance: Floats) -> Floats:
    """Return the density of a normal distribution in two dimensions."""
    det = covariance[..., 0, 0] * covariance[..., 1, 1] - covariance[..., 0, 1] ** 2
    return np.asarray(np.exp(-0.5 * _distance2(offset, covariance)) / (2 * np.pi * np.sqrt(det)))


def probability(
    concentration: Concentration,
    stars: Locus,
    *,
    is_saturated: Bools | None = None,
    usable: Bools | None = None,
) -> Floats:
    """Return the probability that sources are points, among real sources.

    Parameters
    ----------
    concentration : Concentration
    stars : Locus
    is_saturated : (N,) bool, optional
        Their cores are flat; but no galaxy's core saturates, so those not sharper than
        stars are points (1).
    usable : (N,) bool, optional
        Sources to learn the share of points from, per magnitude: no cosmic rays.

    Returns
    -------
    (N,) float
        NaN where a pixel within 4 px is missing, a flux is not positive, or the
        concentration's error exceeds 0.75 mag.  Sources sharper than stars, as cosmic
        rays are, have low values; a cosmic ray as wide as a star has not.

    Notes
    -----
    Points: normal about the locus, one in ten with the light of a neighbour.  Resolved
    sources: spread up to 1.3 mag less concentrated, along the curve of galaxies,
    ever fewer towards the locus within 0.4 mag of it.  The share of points at a
    magnitude is that which maximises the likelihood (EM), between 0.1 and 0.9, and
    one half where there are few.
    """
    has_index = concentration.known
    out = np.full(len(has_index), np.nan)
    if has_index.any():
        offset, noise = (
            concentration.index[has_index] - stars.index,
            concentration.covariance[has_index],
        )
        point = _point_density(offset, noise, stars.covariance)
        wide, sharp = _other_densities(offset, noise + stars.covariance)
        learn = np.ones(len(has_index), bool) if usable is None else usable
        if is_saturated is not None:
            learn = learn & ~is_saturated
        share = _point_share(
            concentration.magnitude[has_index], point, wide, sharp, learn[has_index]
        )
        out[has_index] = share * point / (share * point + (1 - share) * wide + SHARP_SHARE * sharp)
    if is_saturated is not None:
        bar = stars.index[0] - 3 * np.sqrt(stars.covariance[0, 0])
        with np.errstate(invalid="ignore"):
            out[is_saturated & ~(concentration.index[:, 0] < bar)] = 1.0
    return out


def is_flat(concentration: Concentration, stars: Locus) -> Bools:
    """Return which sources are less concentrated than stars by more than 3 sigma, (N,).

    None, where the image's own stars do not show how concentrated stars are.

    Parameters
    ----------
    concentration : Concentration
    stars : Locus
    """
    sigma = np.sqrt(concentration.covariance[:, 0, 0] + stars.covariance[0, 0])
    with np.errstate(invalid="ignore"):
        is_flatter = concentration.index[:, 0] - stars.index[0] > 3.0 * sigma
    return np.asarray(is_flatter & stars.is_measured)


def _point_density(offset: Floats, noise: Floats, scatter: Floats) -> Floats:
    """Return the density of points: those alone, in the wings of their scatter, and in blends."""
    alone = _density(offset, noise + scatter)
    wings = _density(offset, noise + WIDE_FACTOR * scatter)
    covariance = noise + scatter + np.diag(np.square(BLEND_SIGMA))
    blend = _density(offset - np.array(BLEND_SHIFT), covariance)
    rest = 1 - WIDE_SHARE - BLEND_SHARE
    return rest * alone + WIDE_SHARE * wings + BLEND_SHARE * blend + STRANGE[0]


def _other_densities(offset: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Return the densities of resolved sources, and of what is sharper than a star."""
    steps = np.arange(0.05, 1.35, 0.1)
    # Of galaxies, how the second concentration follows the first.
    wide = _along(offset, covariance, steps, 0.75 * steps + 0.15 * steps**2)
    steps = np.arange(-0.95, -0.2, 0.1)
    return wide, _along(offset, covariance, steps, 0.4 * steps)


def _along(offset: Floats, covariance: Floats, first: Floats, second: Floats) -> Floats:
    """Return the density along a curve; it rises from 0 at the stars to be flat from 0.4 mag on."""
    weight = np.minimum(np.abs(first) / 0.4, 1.0)
    covariance_wide = covariance + np.diag(np.square([0.06, 0.10]))
    parts = [
        w * _density(offset - place, covariance_wide)
        for w, *place in zip(weight, first, second, strict=True)
    ]
    return np.asarray(np.sum(parts, axis=0) / weight.sum() + STRANGE[1])


def _point_share(
    magnitude: Floats, point: Floats, wide: Floats, sharp: Floats, learn: Bools
) -> Floats:
    """Return the share of points among real sources at each magnitude."""
    low = np.floor(magnitude.min() / MAG_STEP)
    place = magnitude / MAG_STEP - low
    bins = place.astype(np.int64)
    n_bins = int(bins.max()) + 1
    middle = np.arange(n_bins) + 0.5
    share = np.full(n_bins, 0.5)
    for _ in range(N_ROUNDS):
        at = np.interp(place, middle, share)
        total = at * point + (1 - at) * wide + SHARP_SHARE * sharp
        points = _sums_in_bins(bins, learn * at * point / total, n_bins)
        others = _sums_in_bins(bins, learn * (1 - at) * wide / total, n_bins)
        share = (points + PSEUDO_COUNT / 2) / (points + others + PSEUDO_COUNT)
        share = np.clip(share, *PRIOR)
    return np.asarray(np.interp(place, middle, share))


def _sums_in_bins(bins: NDArray[np.int64], weights: Floats, n_bins: int) -> Floats:
    """Return sums of weights in bins, and half of those of the neighbouring bins."""
    sums = np.pad(np.bincount(bins, weights, n_bins).astype(np.float64), 1)
    return np.asarray(sums[1:-1] + 0.5 * (sums[:-2] + sums[2:]))
