"""How likely the measurements of other images are: of one source, of nothing, of a hot pixel.

All is per image and in logarithms.  A measurement is a forced flux; where the image detects
something, also the shape of that (``p_cr``) and its place.  Any image may be struck by a cosmic ray
at an object's place, by chance, whether a source is there or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats, Ints

BLUEST_SLOPE, BEYOND_BLUEST = -2.5, 0.02
"""No continuum is bluer than the Rayleigh-Jeans law (f_nu as the frequency squared): a source that
is has lines, and is rare."""
REACH_ARCSEC = 0.15
"""A cosmic ray this near to an object is taken for it: about the FWHM of a drizzled star."""
MOST_CHANCE = 0.2
BENEATH_SNR = 3.0
"""A source beneath a cosmic ray is at least so bright in another image."""
MOST_UNSEEN_SNR, BESIDE_SHARE = 10.0, 0.05
"""An image that does not detect an object, though there is so much light at its place, may show the
light of a neighbour or of a cosmic ray beside it, of whatever brightness."""
SLOPE_MEAN, SLOPE_SIGMA = 1.0, 1.7
"""Of the power of wavelength that a source's f_nu follows (0: flat; blue stars have -2, red dwarfs
6)."""
WIDE_SHARE, WIDE_SIGMA = 0.2, 4.0
"""Sources of unusual colour: their share, and the scatter of their slopes."""
SCATTER, SCATTER_PER_LN = 0.15, 0.4
"""Natural logarithm of flux about the power law, in one filter (variability, blends) and per unit
of ln wavelength."""
DROPOUT_SHARE, FLARE_SHARE = 0.005, 0.001
"""Sources without any light blueward of the image that shows them best, or in no other."""
RAY_CHANCE, SOURCE_CHANCE = 0.005, 0.005
"""Expected number of false detections of a single-exposure image within an object's reach, and of
sources within reach of a cosmic ray, where `Places` do not have them."""
OUTLIER_SHARE, OUTLIER_SIGMA = 0.05, 3.0
"""Forced fluxes whose errors are larger than said, and by how much: light of neighbours."""
ODD_SHARE = 0.03
"""Sources that look like charge in an image: halfway between the two, in ln."""
APART_SHARE, WIDE_APART_SHARE = 0.02, 0.2
"""Detections of a source whose centres are anywhere within reach (blends, cosmic rays), and those
that are off by three times their errors."""
HOT_SCATTER = 0.15
"""By how much, relatively, the rates of a hot pixel differ between images."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
_FLUX_NODES, _FLUX_WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
_FLUX_WEIGHTS = _FLUX_WEIGHTS / _FLUX_WEIGHTS.sum()


@dataclass(frozen=True, eq=False)
class Places:
    """Where N objects lie in M images, and how many detections lie there by chance.

    Attributes
    ----------
    x_mas, y_mas : (N, M) float
        Places that the images themselves measured, on any plane; NaN where one did not.
    err_mas : (N, M) float
        Per axis.
    rays_per_arcsec2 : (M,) float
        Density of false detections of each image.
    sources_per_arcsec2 : float
        That of sources.
    """

    x_mas: Floats
    y_mas: Floats
    err_mas: Floats
    rays_per_arcsec2: Floats
    sources_per_arcsec2: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What M images say of N objects, each on its own; (N, M) if not said otherwise.

    Attributes
    ----------
    f, e : forced fluxes f_nu and their errors
    detected : bool, where the image itself detects something
    ln_real, ln_ray : of the shape, if it is that of a source, or of a cosmic ray
    chance : expected number of false detections within reach
    source_chance : that of sources
    pivot : (M,) wavelengths
    places : Places, if known
    """

    f: Floats
    e: Floats
    detected: Bools
    ln_real: Floats
    ln_ray: Floats
    chance: Floats
    source_chance: float
    pivot: Floats
    places: Places | None

    def take(self, rows: Ints) -> Seen:
        """Return what they say of some of the objects."""
        names = ("f", "e", "detected", "ln_real", "ln_ray", "chance")
        parts: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        places = self.places
        if places is not None:
            at = {name: getattr(places, name)[rows] for name in ("x_mas", "y_mas", "err_mas")}
            places = replace(places, **at)
        return replace(self, **parts, places=places)


def seen_of(
    f: Floats,
    e: Floats,
    detections: Bools,
    p_cr: Floats,
    share: Floats,
    n_exp: Floats,
    pivot: Floats,
    places: Places | None,
) -> Seen:
    """Return what the images say.

    Parameters
    ----------
    f, e, detections, pivot, places : as in `Seen`
    p_cr, share : (N, M) probability of a cosmic ray by shape, and before the shape was seen
    n_exp : (N, M) number of exposures; where there are two, false detections are ten times rarer
    """
    light, charge = (np.maximum(v, 1e-6) for v in ((1.0 - p_cr) / (1.0 - share), p_cr / share))
    chance = np.where(np.nan_to_num(n_exp) > 1, 0.1, 1.0) * RAY_CHANCE
    source_chance = SOURCE_CHANCE
    if places is not None:
        area = np.pi * REACH_ARCSEC**2
        chance = np.broadcast_to(
            np.clip(places.rays_per_arcsec2 * area, 1e-4, MOST_CHANCE), f.shape
        )
        source_chance = float(np.clip(places.sources_per_arcsec2 * area, 1e-4, MOST_CHANCE))
    ln_real = np.log(ODD_SHARE * np.sqrt(light * charge) + (1.0 - ODD_SHARE) * light)
    ln_ray = np.log(charge)
    return Seen(
        f, e, detections, np.where(detections, ln_real, 0.0), np.where(detections, ln_ray, 0.0),
        chance, source_chance, pivot, places,
    )  # fmt: skip


def ln_agreement(data: Seen, best: Ints) -> Floats:
    """Return ln of the density of each detection's distance from that of an image, (N, M).

    Relative to detections that lie anywhere within reach, as those of different things do.

    Parameters
    ----------
    data : Seen
    best : (N,) int, the image that the others are compared with
    """
    places = data.places
    if places is None:
        return np.zeros(data.f.shape)
    row = np.arange(len(best))
    dx, dy = (v - v[row, best][:, None] for v in (places.x_mas, places.y_mas))
    variance = places.err_mas**2 + (places.err_mas[row, best] ** 2)[:, None]
    has_distance = data.detected & np.isfinite(dx) & np.isfinite(dy) & (variance > 0)
    variance = np.where(has_distance, variance, 1.0)
    half = np.where(has_distance, 0.5 * (dx**2 + dy**2) / variance, 0.0)
    peak = (1000.0 * REACH_ARCSEC) ** 2 / (2.0 * variance)
    density = (1.0 - WIDE_APART_SHARE - APART_SHARE) * peak * np.exp(-half)
    density += WIDE_APART_SHARE * peak / 9.0 * np.exp(-half / 9.0) + APART_SHARE
    return np.where(has_distance, np.log(density), 0.0)


def ln_normal(f: Floats, mean: Floats | float, e: Floats) -> Floats:
    """Return ln of the density of fluxes about a mean, of which some err by more than said.

    Parameters
    ----------
    f, mean, e : (N, M) float, or what broadcasts to it; flux, expectation, error, microjansky
    """
    half = 0.5 * ((f - mean) / e) ** 2
    good = np.log1p(-OUTLIER_SHARE) - half
    bad = np.log(OUTLIER_SHARE / OUTLIER_SIGMA) - half / OUTLIER_SIGMA**2
    return np.asarray(np.logaddexp(good, bad) - np.log(np.sqrt(2 * np.pi) * e))


def ln_struck(data: Seen) -> Floats:
    """Return ln P of what each image shows, where a cosmic ray lies there by chance, (N, M).

    Of any flux over a factor of 1000.  Where nothing is detected, bright light is that of something
    beside.

    Parameters
    ----------
    data : Seen
    """
    any_flux = -np.log(np.log(1e3) * np.maximum(data.f, data.e))
    ln_p = np.log(data.chance) + any_flux + data.ln_ray
    return np.where(data.detected, ln_p, ln_beside(data.f, data.e, data.detected))


def ln_beside(f: Floats, e: Floats, detections: Bools) -> Floats:
    """Return ln P of bright light of something beside, where nothing is detected, (N, M).

    Parameters
    ----------
    f, e, detections : as in `Seen`
    """
    is_bright = ~detections & (f > MOST_UNSEEN_SNR * e)
    with np.errstate(divide="ignore", invalid="ignore"):
        any_flux = np.log(BESIDE_SHARE) - np.log(np.log(1e3) * f)
    return np.where(is_bright, any_flux, -np.inf)


def ln_nothing(data: Seen) -> Floats:
    """Return ln P of what each image shows where no source is, (N, M).

    Parameters
    ----------
    data : Seen
    """
    empty = ln_normal(data.f, 0.0, data.e)
    # A detection of nothing is a peak of noise.
    empty = empty + np.where(data.detected, np.log(data.chance), 0.0)
    return np.asarray(np.logaddexp(empty, ln_struck(data)))


def ln_hot(data: Seen, others: Bools, best: Ints, rate_per_flux: Floats) -> Floats:
    """Return ln P of the other images for a hot pixel: one rate in all of them, (N,).

    Parameters
    ----------
    data : Seen
    others : (N, M) bool, the images that count
    best : (N,) int, the image that is compared with
    rate_per_flux : (M,) float
    """
    f, e, row = data.f, data.e, np.arange(len(data.f))
    same = rate_per_flux[best][:, None] / rate_per_flux[None, :]
    expected = f[row, best][:, None] * same
    error = np.sqrt(e**2 + (e[row, best][:, None] * same) ** 2 + (HOT_SCATTER * expected) ** 2)
    ln_p = ln_normal(f, expected, error) + data.ln_ray + ln_agreement(data, best)
    ln_p = np.logaddexp(np.log1p(-data.chance) + ln_p, ln_struck(data))
    return np.asarray(np.where(others, ln_p, 0.0).sum(axis=1))


def ln_source(data: Seen, others: Bools, best: Ints) -> Floats:
    """Return ln P of the other images for one source of any colour that an image shows, (N,).

    Parameters
    ----------
    data : Seen
    others : (N, M) bool, the images that count
    best : (N,) int, the image that shows the source
    """
    f, e, row = data.f, data.e, np.arange(len(data.f))
    ln_ratio = np.log(data.pivot[None, :] / data.pivot[best][:, None])
    nothing = np.where(others, ln_nothing(data), 0.0)
    ln_hit = ln_struck(data)
    alone = np.log1p(-data.chance) + data.ln_real + ln_agreement(data, best)
    bluer = others & (ln_ratio < -0.02)
    f_best, e_best = f[row, best], e[row, best]
    slopes, weights = _slopes()
    usual, dropouts = [], []
    for node, node_weight in zip(_FLUX_NODES, _FLUX_WEIGHTS, strict=True):
        true = np.maximum(f_best + node * e_best, 0.3 * e_best)
        for slope, weight in zip(slopes, weights, strict=True):
            ln_p = _ln_power_law(f, e, np.log(true)[:, None] + slope * ln_ratio, ln_ratio)
            ln_p = np.where(others, np.logaddexp(ln_p + alone, ln_hit), 0.0)
            ln_weight = np.log(weight * node_weight)
            usual.append(ln_weight + ln_p.sum(axis=1))
            dropouts.append(ln_weight + np.where(bluer, nothing, ln_p).sum(axis=1))
    rest = 1.0 - DROPOUT_SHARE - FLARE_SHARE
    parts = [
        np.log(rest) + np.logaddexp.reduce(usual),
        np.log(DROPOUT_SHARE) + np.logaddexp.reduce(dropouts),
        np.log(FLARE_SHARE) + nothing.sum(axis=1),
    ]
    return np.asarray(np.logaddexp.reduce(parts))


def ln_beneath(
    data: Seen,
    others: Bools,
    ln_share: Floats,
    ln_rest: Callable[[Seen, Bools, Ints], Floats],
) -> Floats:
    """Return ln P of the other images where something lies beneath the cosmic ray of one, (N,).

    The image that shows it best among the others stands for it, of any flux.

    Parameters
    ----------
    data : Seen
    others : (N, M) bool, the images without the struck one
    ln_share : (N, M) float; of how often it is within reach, and of its shape
    ln_rest : of what it is compared with, as `ln_source`: P of the images that are left
    """
    ln_p = np.full(len(data.f), -np.inf)
    snr = np.where(others, data.f / data.e, -np.inf)
    second = np.argmax(np.where(data.detected, snr + 1e6, snr), axis=1)
    row = np.flatnonzero(np.take_along_axis(snr, second[:, None], axis=1)[:, 0] > BENEATH_SNR)
    if not row.size:
        return ln_p
    part, best, own = data.take(row), second[row], np.arange(row.size)
    rest = others[row].copy()
    rest[own, best] = False
    any_flux = -np.log(np.log(1e3) * part.f[own, best])
    ln_p[row] = ln_share[row, best] + any_flux + ln_rest(part, rest, best)
    return ln_p


def _slopes() -> tuple[Floats, Floats]:
    slopes = np.arange(-6.0, 11.0) + SLOPE_MEAN
    density = [
        share / sigma * np.exp(-0.5 * ((slopes - SLOPE_MEAN) / sigma) ** 2)
        for share, sigma in (
            (1.0 - WIDE_SHARE, SLOPE_SIGMA), (WIDE_SHARE, WIDE_SIGMA),
        )
    ]  # fmt: skip
    weights = np.sum(density, axis=0)
    weights[slopes < BLUEST_SLOPE] *= BEYOND_BLUEST
    return slopes, weights / weights.sum()


def _ln_power_law(f: Floats, e: Floats, ln_flux: Floats, ln_ratio: Floats) -> Floats:
    """Return ln P of fluxes that scatter about the given logarithms, (N, M)."""
    scatter = SCATTER + SCATTER_PER_LN * np.abs(ln_ratio)
    flux = np.exp(np.clip(ln_flux, -600, 600))
    total = np.zeros_like(f)
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        true = flux * np.exp(node * scatter)
        # Half a step between nodes is smeared, so that precise fluxes don't fall between.
        variance = e**2 + (0.5 * scatter * true) ** 2
        half = -0.5 * (f - true) ** 2 / variance
        good = (1.0 - OUTLIER_SHARE) * np.exp(half)
        bad = OUTLIER_SHARE / OUTLIER_SIGMA * np.exp(half / OUTLIER_SIGMA**2)
        total += weight * (good + bad) / np.sqrt(2 * np.pi * variance)
    return np.asarray(np.log(np.maximum(total, 1e-300)))
