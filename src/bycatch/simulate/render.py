"""The light that each detector pixel collects from the scene, before any noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.simulate.geometry import NATIVE_SCALE_ARCSEC, Chip, Detector
from bycatch.simulate.psf import BOX_VARIANCE, PROFILE_END_RE, Local, Mixture, Psf, sersic
from bycatch.simulate.scene import Scene

FAINTEST_E = 0.02
"""A stamp ends where an object gives less than this to a pixel, electrons."""
MAX_STAR_RADIUS_PX, MAX_GALAXY_RADIUS_PX, MIN_RADIUS_PX = 120, 100, 8
LARGE_RE_ARCSEC = 0.8
"""Galaxies larger than this may have stamps of any size."""
Focus = tuple[float, float]
_LADDER_PX = np.array([8.0, 12, 16, 24, 32, 48, 64, 90, 120])


@dataclass(frozen=True, eq=False)
class Aim:
    """Where the objects of a scene fall in one exposure, (N,) each.

    Attributes
    ----------
    x, y : detector pixels
    ux, uy, vx, vy : Jacobian of the distortion there, nominal pixels per pixel
    width : factor to the PSF's width there
    focus_waves : defocus there, waves rms at 547 nm
    """

    x: Floats
    y: Floats
    ux: Floats
    uy: Floats
    vx: Floats
    vy: Floats
    width: Floats
    focus_waves: Floats

    def at(self, k: int) -> Local:
        """Return what the PSF of one object depends on."""
        return Local(
            float(self.ux[k]),
            float(self.uy[k]),
            float(self.vx[k]),
            float(self.vy[k]),
            float(self.width[k]),
            float(self.focus_waves[k]),
        )


def aim(
    scene: Scene,
    detector: Detector,
    shift: tuple[float, float],
    psf_variation: float,
    focus: Focus = (0.0, 0.0),
) -> Aim:
    """Return where the objects fall in an exposure that is shifted by (u, v) arcsec.

    Parameters
    ----------
    psf_variation : amplitude of the PSF's width over the field
    focus : defocus in the middle, and what it gains towards a corner, waves rms at 547 nm
    """
    x, y = detector.from_plane(scene.u - shift[0], scene.v - shift[1])
    cx, cy = detector.centre
    xi, eta = (x - cx) / detector.half_size, (y - cy) / detector.half_size
    # A saddle: its mean over the field is 0, so the mean PSF is the published one.
    width = 1.0 + psf_variation * np.clip(xi**2 - eta**2, -1.0, 1.0)
    # Tilted and bent, as the focal surface is.
    bend = np.clip(0.5 * (xi + eta) + 0.5 * (xi**2 + eta**2 - 0.5), -1.5, 1.5)
    return Aim(x, y, *detector.jacobian(x, y), width, focus[0] + focus[1] * bend)


def electrons(
    scene: Scene, totals_e: Floats, where: Aim, chip: Chip, psf: Psf, galaxy_psf: Mixture
) -> tuple[Floats, Floats]:
    """Return the expected electrons per pixel of a chip, and the peak of each object.

    Parameters
    ----------
    scene : Scene
    totals_e : (N,) electrons of each object in this exposure
    where : Aim
    chip : Chip
    psf : of the stars
    galaxy_psf : that galaxies are convolved with; few components do

    Returns
    -------
    image : (rows, columns) float
    peak_e : (N,) brightest pixel of each object, 0 off the chip
    """
    image = np.zeros((chip.rows, chip.columns))
    peak = np.zeros(totals_e.size)
    profile = psf.surface_brightness(_LADDER_PX)
    near = _reachable(where, chip, scene.re_arcsec / NATIVE_SCALE_ARCSEC)
    for k in map(int, np.flatnonzero(near)):
        x, y = where.x[k], where.y[k] - chip.first_row
        radius = _stamp_radius(scene, k, totals_e[k], profile)
        columns, rows = _window(x, radius, chip.columns), _window(y, radius, chip.rows)
        if columns.size == 0 or rows.size == 0:
            continue
        if scene.is_star[k]:
            stamp = psf.star(columns - x, rows - y, where.at(k))
        else:
            stamp = _galaxy_stamp(scene, k, where, galaxy_psf, columns - x, rows - y)
        stamp *= totals_e[k]
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += stamp
        peak[k] = stamp.max()
    return image, peak


def _reachable(where: Aim, chip: Chip, size_px: Floats) -> NDArray[np.bool_]:
    far = np.maximum(MAX_STAR_RADIUS_PX, PROFILE_END_RE * size_px)
    row = where.y - chip.first_row
    return (
        (where.x > -far) & (where.x < chip.columns + far) & (row > -far) & (row < chip.rows + far)
    )


def _stamp_radius(scene: Scene, k: int, total_e: float, profile: Floats) -> int:
    """Return the radius (px) beyond which an object adds less than `FAINTEST_E` per pixel."""
    wide = int(np.count_nonzero(profile * total_e > FAINTEST_E))
    radius = _LADDER_PX[min(wide, _LADDER_PX.size - 1)]
    if scene.is_star[k]:
        return int(max(radius, MIN_RADIUS_PX))
    extent = 6.0 * scene.re_arcsec[k] / NATIVE_SCALE_ARCSEC
    if scene.re_arcsec[k] > LARGE_RE_ARCSEC:
        return int(PROFILE_END_RE / 6.0 * extent)
    return int(np.clip(max(0.6 * radius, extent), MIN_RADIUS_PX, MAX_GALAXY_RADIUS_PX))


def _window(centre: float, radius: int, size: int) -> NDArray[np.int64]:
    middle = round(centre)
    return np.arange(max(0, middle - radius), min(size, middle + radius + 1))


def _galaxy_stamp(scene: Scene, k: int, where: Aim, psf: Mixture, dx: Floats, dy: Floats) -> Floats:
    """Return the share of a galaxy's light in each pixel, (ny, nx).

    Its Sersic profile and the PSF are sums of round Gaussians, so their
    convolution is one of elliptical Gaussians: variances add.  A pixel counts
    as a Gaussian of the variance of a box.
    """
    sigma, share = sersic(float(scene.sersic_index[k]))
    re = scene.re_arcsec[k] / NATIVE_SCALE_ARCSEC
    q, cos, sin = scene.axis_ratio[k], np.cos(scene.angle_rad[k]), np.sin(scene.angle_rad[k])
    # Shape on the sky; the area of the ellipse is that of the circle.
    major, minor = re**2 / q, re**2 * q
    shape = np.array(
        [
            [major * cos**2 + minor * sin**2, (major - minor) * cos * sin],
            [(major - minor) * cos * sin, major * sin**2 + minor * cos**2],
        ]
    )
    to_sky = np.array([[where.ux[k], where.uy[k]], [where.vx[k], where.vy[k]]])
    to_detector = np.linalg.inv(to_sky)
    shape = to_detector @ shape @ to_detector.T
    round_area = where.width[k] ** 2 * abs(np.linalg.det(to_detector))
    xx, yy, xy = (dx * dx)[None, :], (dy * dy)[:, None], dx[None, :] * dy[:, None]
    stamp = np.zeros((dy.size, dx.size))
    for width, weight in zip(psf.sigma_x, psf.weight, strict=True):
        base = width**2 * round_area + BOX_VARIANCE
        for square, w in _components_of(sigma, share, re, width):
            a, b, c = square * shape[0, 0] + base, square * shape[1, 1] + base, square * shape[0, 1]
            det = a * b - c * c
            stamp += (weight * w / (2.0 * np.pi * np.sqrt(det))) * np.exp(
                -0.5 * (b * xx + a * yy - 2.0 * c * xy) / det
            )
    return stamp


def _components_of(
    sigma: Floats, share: Floats, re_px: float, width_px: float
) -> list[tuple[float, float]]:
    """Return (variance, weight) of a profile's components, those merged that look alike.

    Once convolved with a Gaussian of ``width_px``, components much narrower
    than it differ by their variance only.
    """
    alike = sigma * re_px < 0.5 * width_px
    parts = [(float(s * s), float(w)) for s, w in zip(sigma[~alike], share[~alike], strict=True)]
    total = float(share[alike].sum())
    if total > 0:
        parts.append((float((share[alike] * sigma[alike] ** 2).sum()) / total, total))
    return parts
