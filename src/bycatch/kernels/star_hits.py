"""Centres of stars that cosmic rays have hit: a fit of a star's profile that charge does not draw.

A windowed centroid weighs whatever lies in its window: a track beside a star moves it by tens of
mas, one as bright as the star by more than a pixel.  A star has a known profile, and light lies on
both sides of its centre: a pixel above the profile whose opposite is not as far above is charge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.profile_fit import (
    CORE_SHARE,
    FARTHEST_PX,
    FIT_PX,
    HIT,
    N_ITERATIONS,
    OUT,
    OWN,
    SMALL_STEP_PX,
    STEPS,
    Shape,
    fit_profile,
    share_at,
    variance_at,
)
from bycatch.kernels.windows import Counts, Images, windowed_offset

HIT_SIGMA, BESIDE_SIGMA = 4.0, 1.0
"""A hit pixel is that far above profile and opposite pixel; one beside a hit this far."""
HOPELESS = 4.0
"""Charge over light, or rms residual, of what is not tried a second time."""
LEAST_PEAK_SIGMA = 8.0
"""A fitted profile that stands out by less is not used."""
MOST_PX = 100.0
"""No profile or window is as wide."""
N_VALUES = 6


@dataclass(frozen=True)
class Profile:
    """A Moffat profile, ``(1 + (r / gamma)**2) ** -alpha``.

    Attributes
    ----------
    fwhm_px : px
    alpha : 2.1 to 3.8 in the images of benchmarks/families.py
    detector_px : side of a detector pixel, px
    """

    fwhm_px: float
    alpha: float = 2.5
    detector_px: float = 1.0

    @property
    def gamma2(self) -> float:
        """Gamma squared, px^2."""
        return float((0.5 * self.fwhm_px) ** 2 / (2.0 ** (1.0 / self.alpha) - 1.0))

    def shape(self, radius_px: float) -> Shape:
        """Return what kernels take, for radii up to one."""
        radius2 = np.arange(STEPS * (radius_px + 2.0) ** 2 + 2.0) / STEPS
        table = (1.0 + radius2 / self.gamma2) ** -self.alpha
        return table, self.gamma2, float(self.alpha), float(self.detector_px)


@dataclass(frozen=True, eq=False)
class HitCentres:
    """What fits of N sources find; NaN where a fit fails.

    Attributes
    ----------
    x, y : centroid in a Gaussian window without the hit pixels
    n_hit : number of hit pixels in the window
    chi : rms residual of the core over its expected error, hits included
    rest : the same without the hits: large where there is no star
    charge : what hit pixels within `FIT_PX` hold above the profile, over the profile's total
    """

    x: Floats
    y: Floats
    n_hit: Floats
    chi: Floats
    rest: Floats
    charge: Floats


def hit_centres(
    images: Images,
    number: Counts,
    x: Floats,
    y: Floats,
    noise: Floats,
    exptime_s: Floats,
    *,
    window_px: float,
    profile: Profile,
) -> HitCentres:
    """Fit stars' profiles to some segments, and centre their light without charge.

    Parameters
    ----------
    images : data and background (e/s), valid, labels; (ny, nx), as in `segment_properties`
    number : (N,) labels
    x, y : (N,) where the fits begin
    noise : (N,) e/s of a pixel of the sky
    exptime_s : (N,) seconds
    window_px : sigma of the window
    profile : of a star

    Returns
    -------
    HitCentres
        NaN where no star fits, or the fit goes astray.

    Raises
    ------
    ValueError
        Lengths differ, or a width makes no sense.
    """
    data, background, valid, labels = images
    check_shapes(data, background, valid, labels)
    planes = (plane(data), plane(background), plane(valid, np.bool_), plane(labels, np.int32))
    columns = [np.asarray(v, dtype=np.float64) for v in (x, y, noise, exptime_s)]
    given = np.stack(columns, axis=1) if len(columns[0]) else np.empty((0, 4))
    sizes = (window_px, profile.fwhm_px, profile.alpha, profile.detector_px)
    if len(number) != len(given) or not all(0 < size < MOST_PX for size in sizes):
        raise ValueError(f"{len(number)} labels, {len(given)} positions, {window_px}, {profile}")
    out = np.full((len(given), N_VALUES), np.nan)
    shape = profile.shape(max(4.0 * window_px, FIT_PX * profile.detector_px))
    _fit_all(planes, np.asarray(number, np.int64), given, float(window_px), shape, out)
    return HitCentres(*out.T)


@compiled
def _fit_all(
    images: Images, number: Counts, given: Floats, window: float, profile: Shape, out: Floats
) -> None:
    reach = int(max(4.0 * window, FIT_PX * profile[3]) + 2.5)
    size = 2 * reach + 1
    pixels, state = np.empty((size, size), np.float32), np.empty((size, size), np.int8)
    weights = np.empty(size)
    for k in range(number.size):
        if math.isfinite(given[k].sum()) and given[k, 2] > 0 and given[k, 3] > 0:
            _fit_one(
                images, int(number[k]), given[k], window, profile, pixels, state, weights, out[k]
            )


@compiled
def _cut(
    images: Images, label: int, x: float, y: float, pixels: Image, state: NDArray[np.int8]
) -> bool:
    """Fill data - background around a position, and which pixels count; False if it is off."""
    data, background, valid, labels = images
    ny, nx = data.shape
    if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
        return False
    reach = pixels.shape[0] // 2
    x0, y0 = int(x + 0.5) - reach, int(y + 0.5) - reach
    for j in range(pixels.shape[0]):
        for i in range(pixels.shape[1]):
            row, column = y0 + j, x0 + i
            pixels[j, i], state[j, i] = 0.0, OUT
            if not (0 <= row < ny and 0 <= column < nx and valid[row, column]):
                continue
            if labels[row, column] == 0 or labels[row, column] == label:
                pixels[j, i], state[j, i] = data[row, column] - background[row, column], OWN
    return True


@compiled
def _fit_one(
    images: Images,
    label: int,
    given: Floats,
    window: float,
    profile: Shape,
    pixels: Image,
    state: NDArray[np.int8],
    weights: Floats,
    out: Floats,
) -> None:
    x, y, noise, seconds = given
    reach = pixels.shape[0] // 2
    n_hit, x0, y0, u, v, amplitude = 0, 0, 0, 0.0, 0.0, 0.0
    chi = rest = charge = 0.0
    # Twice: hits are found about the centre that does without those of the first time.
    for again in range(2):
        if not _cut(images, label, x, y, pixels, state):
            return
        x0, y0 = int(x + 0.5) - reach, int(y + 0.5) - reach
        u, v, amplitude = fit_profile(pixels, state, x - x0, y - y0, noise, seconds, profile)
        if not amplitude > LEAST_PEAK_SIGMA * noise:
            return
        if not math.hypot(x0 + u - given[0], y0 + v - given[1]) <= FARTHEST_PX * profile[3]:
            return
        n_hit = _mark_hits(pixels, state, u, v, amplitude, noise, seconds, profile, window)
        if n_hit:
            u, v, amplitude = fit_profile(pixels, state, u, v, noise, seconds, profile)
            if not amplitude > LEAST_PEAK_SIGMA * noise:
                return
        x, y = x0 + u, y0 + v
        chi, rest, charge = _rest(pixels, state, u, v, amplitude, noise, seconds, profile)
        if n_hit == 0 or (again == 0 and not (charge < HOPELESS and rest < HOPELESS)):
            break
    _fill(pixels, state, u, v, amplitude, profile)
    wide_x, wide_y = u, v
    for _ in range(N_ITERATIONS):
        dx, dy = windowed_offset(pixels, wide_x, wide_y, window, 4.0 * window, weights)
        wide_x, wide_y = wide_x + 2.0 * dx, wide_y + 2.0 * dy
        if not math.hypot(wide_x - u, wide_y - v) < 1.5:
            return
        if not math.hypot(dx, dy) > SMALL_STEP_PX:
            break
    out[0], out[1], out[2] = x0 + wide_x, y0 + wide_y, n_hit
    out[3], out[4], out[5] = chi, rest, charge


@compiled
def _opposite(centre: float, index: int) -> int:
    """Return the index of the pixel on the other side of a centre."""
    return math.floor(2.0 * centre - index + 0.5)


@compiled
def _mark_hits(
    pixels: Image,
    state: NDArray[np.int8],
    x: float,
    y: float,
    amplitude: float,
    noise: float,
    seconds: float,
    profile: Shape,
    window: float,
) -> int:
    """Mark the pixels that are charge, and return their number."""
    n, radius = pixels.shape[0], max(4.0 * window, FIT_PX * profile[3])
    above = np.zeros((n, n), np.float32)
    for j in range(n):
        for i in range(n):
            r2 = (i - x) ** 2 + (j - y) ** 2
            if state[j, i] != OWN or r2 > radius * radius:
                continue
            share = share_at(profile[0], r2)
            model = amplitude * share
            sigma = math.sqrt(variance_at(model, noise, seconds))
            above[j, i] = (pixels[j, i] - model) / sigma
            column, row = _opposite(x, i), _opposite(y, j)
            if 0 <= column < n and 0 <= row < n and state[row, column] != OUT:
                # As much above the profile as its opposite is no charge, but a sharper star.
                there2 = (column - x) ** 2 + (row - y) ** 2
                value = pixels[row, column] * share / share_at(profile[0], there2)
                above[j, i] = min(above[j, i], (pixels[j, i] - value) / (1.414 * sigma))
    count = 0
    for j in range(n):
        for i in range(n):
            if above[j, i] > HIT_SIGMA:
                state[j, i] = HIT
                count += 1
    if count:
        count += _mark_beside(state, above)
    return count


@compiled
def _mark_beside(state: NDArray[np.int8], above: Image) -> int:
    """Mark what is above the profile beside marked pixels, and return the number."""
    n, first, count = state.shape[0], state.copy(), 0
    for j in range(1, n - 1):
        for i in range(1, n - 1):
            if not (first[j, i] == OWN and above[j, i] > BESIDE_SIGMA):
                continue
            if (first[j - 1 : j + 2, i - 1 : i + 2] == HIT).any():
                state[j, i] = HIT
                count += 1
    return count


@compiled
def _rest(
    pixels: Image,
    state: NDArray[np.int8],
    x: float,
    y: float,
    amplitude: float,
    noise: float,
    seconds: float,
    profile: Shape,
) -> tuple[float, float, float]:
    """Return the core's rms residual over its error, with hits and without; charge over light."""
    g2, n = profile[1], pixels.shape[0]
    total, squares, n_own, own, charge = 0, 0.0, 0, 0.0, 0.0
    for j in range(n):
        for i in range(n):
            r2 = (i - x) ** 2 + (j - y) ** 2
            if state[j, i] == OUT or r2 > (FIT_PX * profile[3]) ** 2:
                continue
            share = share_at(profile[0], r2)
            rest = pixels[j, i] - amplitude * share
            if state[j, i] == HIT:
                charge += rest
            if share > CORE_SHARE:
                above = rest / math.sqrt(variance_at(amplitude * share, noise, seconds))
                square = min(max(above, -9.0), 9.0) ** 2
                squares, total = squares + square, total + 1
                if state[j, i] == OWN:
                    own, n_own = own + square, n_own + 1
    light = amplitude * math.pi * g2 / (profile[2] - 1.0)
    chi, rest = math.sqrt(squares / max(total - 3, 1)), math.sqrt(own / max(n_own - 3, 1))
    return chi, rest, charge / light


@compiled
def _fill(
    pixels: Image, state: NDArray[np.int8], x: float, y: float, amplitude: float, profile: Shape
) -> None:
    """Give hit pixels the profile's light, those without data that of their opposites."""
    n, filled = pixels.shape[0], pixels.copy()
    for j in range(n):
        for i in range(n):
            if state[j, i] == OWN:
                continue
            column, row = _opposite(x, i), _opposite(y, j)
            inside = 0 <= column < n and 0 <= row < n
            if state[j, i] == OUT and inside and state[row, column] == OWN:
                filled[j, i] = pixels[row, column]
            else:
                r2 = (i - x) ** 2 + (j - y) ** 2
                filled[j, i] = amplitude * share_at(profile[0], r2)
    pixels[:] = filled
