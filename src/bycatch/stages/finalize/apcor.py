"""Aperture corrections: the published curve and the image's own stars, by likelihood.

The logarithms of a star's corrected fluxes, less that in the reference aperture of 0.5 arcsec, are
what the published curve lacks.  They have a prior (see `bycatch.stages.finalize.prior`) with focus
and smear as free terms, and each good star of the image adds what it knows: its noise ring by
ring, and a scatter between stars that is fitted along.  A star may have other light in its
apertures, of a neighbour or a cosmic ray, or be no star: a mixture gives the probability, and
such stars lose their say.  The result goes smoothly from the published curve without stars to the
stars' own with many.

Over the field the focus may change: as many terms as the stars show by the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.tables import floats
from bycatch.stages.finalize import prior
from bycatch.stages.finalize.closure import reference_index, star_fluxes
from bycatch.stages.finalize.starfit import Stars, maximum

FIELD_SIGMA = 0.5
"""Prior of the field's terms, in units of the focus mode, from the middle to the edge."""
FIELD_TERMS = (0, 2, 5)
"""Constant, tilted, tilted and bent."""
MOST_STARS = 120
"""The brightest stars are enough."""
MIN_EVIDENCE = 2.0
"""A field with more terms must be more probable by this, as a logarithm."""


@dataclass(frozen=True, eq=False)
class Corrections:
    """What the published shares of light are multiplied by, R radii.

    Attributes
    ----------
    radii_px : radii of the apertures
    n_stars : good stars of the image; 0 where they were not asked
    log_factor, scatter : (R,) at the mean place, and the scatter of ratios between stars
    amplitudes : (P,) of the terms of the field, which times ``mode`` add to the logarithm
    covariance : (R + P, R + P) of ``log_factor`` and ``amplitudes``
    mode : (R,) the focus mode
    frame : middle (x, y) and half size of the field, px; means of the terms
    """

    radii_px: tuple[float, ...]
    n_stars: int
    log_factor: Floats
    scatter: Floats
    amplitudes: Floats
    covariance: Floats
    mode: Floats
    frame: Frame

    @property
    def factor(self) -> Floats:
        """Factors at the mean place, (R,)."""
        return np.asarray(np.exp(self.log_factor))

    @property
    def error(self) -> Floats:
        """Their relative errors, (R,)."""
        n = len(self.radii_px)
        return np.asarray(np.sqrt(np.diag(self.covariance)[:n]))

    @property
    def star_scatter(self) -> Floats:
        """Scatter of stars' light in each aperture, with what is alike in all of them, (R,)."""
        return np.hypot(self.scatter, prior.COMMON_SCATTER)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return the factors and their relative errors at places, (N, R) each.

        Places that are not known count as the mean place.
        """
        n, n_terms = len(self.radii_px), len(self.amplitudes)
        terms = self.frame.terms(x, y, n_terms)
        terms[~(np.isfinite(x) & np.isfinite(y))] = 0.0
        log = self.log_factor + np.outer(terms @ self.amplitudes, self.mode)
        own = np.diag(self.covariance)[:n]
        cross = (terms @ self.covariance[n:, :n]) * self.mode
        wide = np.einsum("ij,jk,ik->i", terms, self.covariance[n:, n:], terms)
        variance = own + 2.0 * cross + np.outer(wide, self.mode**2)
        return np.exp(log), np.sqrt(np.maximum(variance, 0.0))

    def metadata(self) -> dict[str, Any]:
        """Return what varies over the field, for a table's metadata; empty if nothing does."""
        if len(self.amplitudes) == 0:
            return {}
        return {
            "terms": ["x", "y", "xx", "xy", "yy"][: len(self.amplitudes)],
            "amplitudes": [round(float(a), 5) for a in self.amplitudes],
            "mode": {
                f"{r:g}": round(float(m), 5) for r, m in zip(self.radii_px, self.mode, strict=True)
            },
            "middle_px": [round(self.frame.x, 2), round(self.frame.y, 2)],
            "half_size_px": round(self.frame.half_size, 2),
            "means": [round(float(m), 5) for m in self.frame.means[: len(self.amplitudes)]],
        }


@dataclass(frozen=True)
class Frame:
    """Coordinates of a field, -1 to 1, and the means of their terms over its sources."""

    x: float = 0.0
    y: float = 0.0
    half_size: float = 1.0
    means: tuple[float, ...] = (0.0,) * 5

    @classmethod
    def of(cls, x: Floats, y: Floats) -> Frame:
        """Return the frame of sources, (N,)."""
        is_finite = np.isfinite(x) & np.isfinite(y)
        if not is_finite.any():
            return cls()
        x, y = x[is_finite], y[is_finite]
        middle = 0.5 * (x.min() + x.max()), 0.5 * (y.min() + y.max())
        half_size = float(max(0.5 * np.ptp(x), 0.5 * np.ptp(y), 1.0))
        frame = cls(float(middle[0]), float(middle[1]), half_size)
        return replace(frame, means=tuple(map(float, frame.terms(x, y, 5).mean(axis=0))))

    def terms(self, x: Floats, y: Floats, n: int) -> Floats:
        """Return the terms without their means, (N, n)."""
        u, v = (x - self.x) / self.half_size, (y - self.y) / self.half_size
        terms = np.column_stack([u, v, u * u, u * v, v * v])[:, :n] - np.array(self.means[:n])
        return np.asarray(terms)


def published_corrections(
    radii_px: tuple[float, ...], scale_arcsec: float, filter_name: str
) -> Corrections:
    """Return the published curve, with what is known of its errors.

    Parameters
    ----------
    radii_px : R radii of the apertures, px
    scale_arcsec : arcsec per pixel
    filter_name : such as F606W
    """
    radius = np.array(radii_px) * scale_arcsec
    n = len(radii_px)
    return Corrections(
        radii_px,
        0,
        np.zeros(n),
        prior.in_log_radius(radius, prior.SCATTER),
        np.zeros(0),
        prior.covariance(filter_name, radius),
        prior.light_modes(filter_name, radius)[0],
        Frame(),
    )


def corrections(
    phot: Table,
    radii_px: tuple[float, ...],
    fractions: Floats,
    scale_arcsec: float,
    filter_name: str,
    detector_px: float = 1.0,
) -> Corrections:
    """Combine the published curve with the image's own stars.

    Parameters
    ----------
    phot : table of `measure` (photometry_columns.PHOT)
    radii_px : its aperture radii
    fractions : (R,) float
        Published share of a star's light in each, after the subtraction of the sky.
    scale_arcsec : float
        Pixel scale.
    filter_name : str
    detector_px : float
        Side of a detector pixel, pixels.
    """
    prior = published_corrections(radii_px, scale_arcsec, filter_name)
    reference = reference_index(radii_px, scale_arcsec)
    inner = np.array(radii_px) < radii_px[reference]
    free = np.diag(prior.covariance) > 0
    if not (inner & free).any():
        return prior
    frame = Frame.of(floats(phot, "x"), floats(phot, "y"))
    stars = _stars(phot, radii_px, fractions, reference, inner, frame, detector_px)
    n_stars = len(stars.excess)
    if n_stars == 0:
        return prior
    best, best_evidence = prior, -np.inf
    # Two starts: the published curve, and the middle of the stars.
    middle = np.zeros(len(radii_px))
    middle[inner & free] = np.median(stars.excess, axis=0)[free[inner]]
    starts = [np.zeros(len(radii_px)), middle]
    for n_terms in FIELD_TERMS:
        if n_stars <= n_terms:
            break
        result, evidence = _fit(stars, prior, frame, inner, reference, n_terms, starts)
        if evidence > best_evidence + MIN_EVIDENCE:
            best, best_evidence = result, evidence
        starts = [result.log_factor]
    return best


def _stars(
    phot: Table,
    radii_px: tuple[float, ...],
    fractions: Floats,
    reference: int,
    inner: Bools,
    frame: Frame,
    detector_px: float,
) -> Stars:
    flux, error, good = star_fluxes(phot, radii_px, fractions, reference, detector_px)
    good &= (flux > 0).all(axis=1)
    bright = np.flatnonzero(good)
    bright = bright[np.argsort(-flux[bright, int(np.argmin(radii_px))], kind="stable")][:MOST_STARS]
    flux, error = flux[bright], error[bright]
    excess = np.log(flux[:, inner] / flux[:, [reference]])
    # Apertures are nested: two rings up to the reference share the noise of the smaller ring.
    ring = np.maximum(error[:, [reference]] ** 2 - error[:, inner] ** 2, 0.0)
    ring /= flux[:, [int(np.argmin(radii_px))]] ** 2
    noise = np.minimum(ring[:, :, None], ring[:, None, :])
    terms = frame.terms(floats(phot, "x")[bright], floats(phot, "y")[bright], 5)
    outer = 1.0 - (np.array(radii_px)[inner] / radii_px[reference]) ** 2
    return Stars(excess, noise, terms, outer)


def _fit(
    stars: Stars,
    prior: Corrections,
    frame: Frame,
    inner: Bools,
    reference: int,
    n_terms: int,
    starts: list[Floats],
) -> tuple[Corrections, float]:
    """Return the corrections with so many terms of the field, and the logarithm of the evidence."""
    n = len(stars.excess)
    free = np.flatnonzero(np.diag(prior.covariance) > 0)
    # From the parameters, logarithms at the free radii and amplitudes, to what a star shows.
    level = (np.eye(len(inner))[inner] - np.eye(len(inner))[reference])[:, free]
    mode = prior.mode[inner] - prior.mode[reference]
    field = mode[None, :, None] * stars.terms[:, None, :n_terms]
    design = np.concatenate([np.broadcast_to(level, (n, *level.shape)), field], axis=2)
    n_free = design.shape[2]
    before = np.zeros((n_free, n_free))
    before[: len(free), : len(free)] = prior.covariance[np.ix_(free, free)]
    before[len(free) :, len(free) :] = FIELD_SIGMA**2 * np.eye(n_terms)
    before += 1e-10 * np.eye(n_free)
    usual = prior.scatter[inner]
    maxima = [
        maximum(stars, design, before, usual, np.concatenate([start[free], np.zeros(n_terms)]))
        for start in starts
    ]
    best = max(maxima, key=lambda one: one.height)
    evidence = best.height - 0.5 * np.linalg.slogdet(best.precision)[1]
    covariance = np.asarray(np.linalg.inv(best.precision), dtype=float)
    return _result(prior, frame, n, free, best.parameters, covariance, best.scatter, inner), float(
        evidence
    )


def _result(
    prior: Corrections,
    frame: Frame,
    n_stars: int,
    free: Any,
    parameters: Floats,
    covariance: Floats,
    inner_scatter: Floats,
    inner: Bools,
) -> Corrections:
    """Put what was found at the free radii among all."""
    n_radii, n_terms = len(prior.radii_px), len(parameters) - len(free)
    place = np.concatenate([free, n_radii + np.arange(n_terms)])
    whole = np.zeros((n_radii + n_terms,) * 2)
    whole[np.ix_(place, place)] = covariance
    log_factor, scatter = np.zeros(n_radii), prior.scatter.copy()
    log_factor[free], scatter[inner] = parameters[: len(free)], inner_scatter
    return replace(
        prior,
        n_stars=n_stars,
        log_factor=log_factor,
        scatter=scatter,
        amplitudes=parameters[len(free) :],
        covariance=whole,
        frame=frame,
    )
