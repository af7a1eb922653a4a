"""The point-spread function of a telescope with aberrations, and the chip's charge diffusion.

The pupil (secondary mirror, vanes, pads of the primary) with its aberrations gives the core and
the spikes; beyond `JOIN_RADIUS_PX` a smooth halo is added, so that the published encircled energy
comes out there.  Closer in it is what the optics make of it: not what the chain believes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.simulate.psf import Local, Mixture

# Pupil of the OTA in units of the primary's radius (Krist, Hook & Stoehr 2011, Proc. SPIE 8127,
# 81270J: Tiny Tim): secondary, width of the vanes, and the three pads (x, y, radius).
SECONDARY, VANE_WIDTH = 0.330, 0.022
PADS = ((0.8921, 0.0, 0.065), (-0.4615, 0.7555, 0.065), (-0.4564, -0.7606, 0.065))
VANES_TURN_DEG = 3.0
"""Of the vanes from the chip's rows and columns: ACS's spikes run nearly along them."""
DIAMETER_M, REFERENCE_M = 2.4, 547e-9
SAMPLES_PER_PX = 5
REACH_PX = 120
N_FFT = 2560
N_WAVELENGTHS = 5
JOIN_RADIUS_PX = 10.0
"""Where the published encircled energy (Bohlin 2016) begins to hold, whatever the focus."""
FOCUS_STEP = 0.01
"""PSFs are made at whole multiples of this defocus (waves rms), and interpolated between."""
USUAL_FOCUS_WAVES = 0.0262
"""Of Tiny Tim's models of the middle of WFC, rms at 547 nm."""
# Aberrations besides focus, waves rms at 547 nm, at the middle of WFC (headers of Tiny Tim's
# models): 45 degree astigmatism, x and y clover, spherical.
ASTIGMATISM_45, CLOVER_X, CLOVER_Y, SPHERICAL = -0.0004, 0.0070, 0.0180, -0.0250
# Of the charge that leaves a pixel: to a neighbour at a side, and at a corner (Tiny Tim's kernel
# for F435W: 0.109 and 0.037 of 0.586).
SIDE_SHARE, CORNER_SHARE = 0.18657, 0.06343


@dataclass(frozen=True)
class Optics:
    """What the PSF depends on.

    Attributes
    ----------
    filter : name of a WFC filter
    bandwidth : full width of the band in units of its pivot wavelength
    astigmatism_waves, coma_waves : rms at 547 nm
    diffusion : share of the charge that leaves its pixel
    """

    filter: str
    bandwidth: float
    astigmatism_waves: float
    coma_waves: float
    diffusion: float


@dataclass(frozen=True, eq=False)
class AberratedPsf:
    """PSFs of one filter by focus; each is the light in a detector pixel, finely sampled."""

    optics: Optics

    def surface_brightness(self, radius_px: Floats) -> Floats:
        """Return the mean profile per square pixel, (R,)."""
        grid, share = focal_plane(self.optics, 0)
        step = np.rint(radius_px * SAMPLES_PER_PX).astype(int)
        middle = grid.shape[0] // 2
        reach = np.minimum(step, middle - 1)
        ring = 0.25 * sum(
            grid[middle + dy, middle + dx]
            for dy, dx in ((0 * reach, reach), (0 * reach, -reach), (reach, 0 * reach),
                           (-reach, 0 * reach))
        )  # fmt: skip
        inside = np.where(step < middle, ring, 0.0)
        return np.asarray(inside + (1.0 - share) * halo(self.optics).surface_brightness(radius_px))

    def star(self, x: Floats, y: Floats, local: Local) -> Floats:
        """Return the light in each pixel, (ny, nx), of a star of total 1.

        Parameters
        ----------
        x, y : (nx,), (ny,) distances of the pixel centres from the star
        local : the distortion and the focus there
        """
        from scipy.ndimage import map_coordinates

        u = local.ux * x[None, :] + local.uy * y[:, None]
        v = local.vx * x[None, :] + local.vy * y[:, None]
        low = int(np.floor(local.focus_waves / FOCUS_STEP))
        upper = local.focus_waves / FOCUS_STEP - low
        stamp = np.zeros(u.shape)
        halo_share = 0.0
        for step, weight in ((low, 1.0 - upper), (low + 1, upper)):
            if weight == 0.0:
                continue
            _, share = focal_plane(self.optics, step)
            coefficients = _spline(self.optics, step)
            middle = coefficients.shape[0] // 2
            place = np.array([v, u]) * SAMPLES_PER_PX + middle
            stamp += weight * map_coordinates(coefficients, place, order=3, prefilter=False)
            halo_share += weight * (1.0 - share)
        area = local.area
        scale = 1.0 / np.sqrt(area)
        return np.asarray(stamp * area + halo_share * halo(self.optics).stamp(x, y, scale, scale))


@functools.lru_cache(maxsize=64)
def _spline(optics: Optics, step: int) -> Floats:
    from scipy.ndimage import spline_filter

    return np.asarray(spline_filter(focal_plane(optics, step)[0], order=3), dtype=np.float32)


@functools.lru_cache(maxsize=64)
def focal_plane(optics: Optics, step: int) -> tuple[Floats, float]:
    """Return a star's light per detector pixel, and its share of the total within the array.

    Parameters
    ----------
    optics : Optics
    step : defocus in units of `FOCUS_STEP`

    Returns
    -------
    light : (n, n), n odd; `SAMPLES_PER_PX` samples per nominal pixel, the star on the middle one
    share : the halo has the rest
    """
    from scipy.ndimage import convolve

    light = core_light(optics, step * FOCUS_STEP)
    share = _core_share(optics, light)
    return convolve(light, _diffusion_kernel(optics.diffusion), mode="constant") * share, share


def core_light(optics: Optics, focus_waves: float) -> Floats:
    """Return what the optics make of a star's light per pixel, before diffusion, total 1."""
    from scipy.ndimage import uniform_filter

    light = sum(_monochromatic(optics, focus_waves, length) for length in _wavelengths(optics))
    reach, middle = REACH_PX * SAMPLES_PER_PX, N_FFT // 2
    core = slice(middle - reach, middle + reach + 1)
    light = np.asarray(light)[core, core]
    return np.asarray(uniform_filter(light / light.sum(), SAMPLES_PER_PX) * SAMPLES_PER_PX**2)


def _wavelengths(optics: Optics) -> Floats:
    pivot = photcal.bundled_zeropoint("WFC", optics.filter)
    if pivot is None:
        msg = f"no pivot wavelength for {optics.filter}"
        raise ValueError(msg)
    offset = (np.arange(N_WAVELENGTHS) + 0.5) / N_WAVELENGTHS - 0.5
    return np.asarray(pivot.photplam * 1e-10 * (1.0 + optics.bandwidth * offset))


def _monochromatic(optics: Optics, focus_waves: float, wavelength_m: float) -> Floats:
    """Return the intensity at one wavelength, total 1, (N_FFT, N_FFT)."""
    sample_rad = np.radians(0.05 / SAMPLES_PER_PX / 3600.0)
    radius = 0.5 * N_FFT * sample_rad * DIAMETER_M / wavelength_m
    half = int(np.ceil(radius)) + 1
    axis = np.arange(-half, half + 1) / radius
    opening, waves = _opening(axis), _wavefront(optics, focus_waves, axis)
    field = np.zeros((N_FFT, N_FFT), dtype=complex)
    middle = slice(N_FFT // 2 - half, N_FFT // 2 + half + 1)
    field[middle, middle] = opening * np.exp(2j * np.pi * waves * REFERENCE_M / wavelength_m)
    amplitude = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(field)))
    light = np.square(amplitude.real) + np.square(amplitude.imag)
    return np.asarray(light / light.sum())


def _opening(axis: Floats) -> Floats:
    """Return the transmission of the pupil, (n, n)."""
    x, y = axis[None, :], axis[:, None]
    r = np.hypot(x, y)
    edge = 0.5 * (axis[1] - axis[0])
    opening = np.clip((1.0 - r) / (2 * edge) + 0.5, 0, 1)
    opening = opening * np.clip((r - SECONDARY) / (2 * edge) + 0.5, 0, 1)
    turn = np.radians(VANES_TURN_DEG)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    for distance in (along, across):
        opening = opening * np.clip((np.abs(distance) - 0.5 * VANE_WIDTH) / (2 * edge) + 0.5, 0, 1)
    for px, py, size in PADS:
        opening = opening * np.clip((np.hypot(x - px, y - py) - size) / (2 * edge) + 0.5, 0, 1)
    return np.asarray(opening)


def _wavefront(optics: Optics, focus_waves: float, axis: Floats) -> Floats:
    """Return the aberration in waves at 547 nm: Zernike's, orthogonal on the annulus, rms each."""
    x, y = axis[None, :] + 0.0 * axis[:, None], axis[:, None] + 0.0 * axis[None, :]
    square, e = x * x + y * y, SECONDARY**2
    terms = (
        (focus_waves, square),
        (optics.astigmatism_waves, x * x - y * y),
        (ASTIGMATISM_45, 2 * x * y),
        (optics.coma_waves, y * (square - 2.0 / 3.0 * (1 + e + e * e) / (1 + e))),
        (CLOVER_X, x * (x * x - 3 * y * y)),
        (CLOVER_Y, y * (3 * x * x - y * y)),
        (SPHERICAL, square * square - (1 + e) * square),
    )
    open_ = (square <= 1) & (square >= e)
    waves = np.zeros(square.shape)
    for rms, term in terms:
        zero_mean = term - term[open_].mean()
        waves += rms * zero_mean / zero_mean[open_].std()
    return waves


def _diffusion_kernel(share: float) -> Floats:
    """Return the 3 x 3 kernel of charge diffusion, its pixels `SAMPLES_PER_PX` apart."""
    kernel = np.zeros((2 * SAMPLES_PER_PX + 1,) * 2)
    small = np.full((3, 3), CORNER_SHARE * share)
    small[1, :] = small[:, 1] = SIDE_SHARE * share
    small[1, 1] = 1.0 - share
    kernel[::SAMPLES_PER_PX, ::SAMPLES_PER_PX] = small
    return kernel


@functools.lru_cache(maxsize=16)
def halo(optics: Optics) -> Mixture:
    """Return the light that is scattered beyond the core, as round Gaussians, total 1.

    Fitted to the published encircled energy beyond `JOIN_RADIUS_PX`, together with the core at
    `USUAL_FOCUS_WAVES`.
    """
    from scipy.optimize import nnls

    radii = np.array([10.0, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 110])
    sigma = np.geomspace(8.0, 60.0, 12)
    core = enclosed_share(core_light(optics, USUAL_FOCUS_WAVES), radii)
    rows = np.column_stack([core, 1.0 - np.exp(-0.5 * (radii[:, None] / sigma) ** 2)])
    # The heavy last row makes the weights add up.
    rows = np.vstack([rows, np.full(rows.shape[1], 100.0)])
    weight, _ = nnls(rows, np.append(_published_energy(optics, radii), 100.0))
    keep = weight[1:] > 1e-6
    return Mixture(sigma[keep], sigma[keep], weight[1:][keep] / weight[1:][keep].sum())


def _core_share(optics: Optics, light: Floats) -> float:
    """Return the share of the core that makes the published energy at the join."""
    at = np.array([JOIN_RADIUS_PX])
    core, wide = enclosed_share(light, at)[0], halo(optics).energy(at)[0]
    return float((_published_energy(optics, at)[0] - wide) / (core - wide))


def _published_energy(optics: Optics, radii_px: Floats) -> Floats:
    return photcal.encircled_energy("WFC", optics.filter).at(radii_px * 0.05)


def enclosed_share(light: Floats, radii_px: Floats) -> Floats:
    """Return the share of a finely sampled PSF (see `focal_plane`) in circles, (R,)."""
    middle = light.shape[0] // 2
    axis = (np.arange(light.shape[0]) - middle) / SAMPLES_PER_PX
    distance = np.hypot(axis[:, None], axis[None, :])
    order = np.argsort(distance, axis=None)
    total = np.cumsum(light.ravel()[order]) / SAMPLES_PER_PX**2
    return np.asarray(np.interp(radii_px, distance.ravel()[order], total))
