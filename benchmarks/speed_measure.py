"""Speed of the photometry against the libraries, as Markdown tables.

    python benchmarks/speed_measure.py [--size 4300] [--sources 500 5000 50000] [--repeats 5]

The images of ``scene.py``; at the same positions, in the same
run, warm, the kernels on all cores, the libraries on the one that they use:

* apertures: 5 radii, sums and areas, against photutils' exact ones;
* annulus: clipped median and standard deviation, against photutils' `ApertureStats` with astropy's
  `SigmaClip` until nothing changes;
* profiles: Moffat fits, against `scipy.optimize.least_squares` with the same model, bounds and
  first guess, and its analytic derivatives;
* the three together, with the flags of the stage (the libraries' are not counted);
* the whole stage, with shapes, noise and probabilities, against the libraries' three.

The libraries' time is linear in the number of sources; it is measured with the first
``--library`` of them, after the copies of the image that their calls need, and scaled up.
Times are medians of the repeats.  Peak memory is what the stage adds to that of the process.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.stats import SigmaClip
from common import growth_mb, head, median_timed, row
from numpy.typing import NDArray
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from scene import read_field
from scipy.optimize import least_squares

from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.moffat import ALPHA, FIRST_ALPHA, GAMMA_PX, MoffatFits, fit_moffat_at
from bycatch.kernels.skystats import annulus_stats
from bycatch.settings import MeasureSettings
from bycatch.stages import measure
from bycatch.stages.measure import flagging
from bycatch.stages.measure.photometry import photometry

Floats = NDArray[np.float64]

RADII_PX = (2.0, 4.0, 6.0, 8.0, 10.0)
ANNULUS_PX = (10.0, 15.0)
CLIP_SIGMA, FIT_RADIUS_PX = 3.0, 5.0


# ---------------------------------------------------------------- the libraries


def library_sums(data: Floats, weight: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return sums and areas by photutils, (N, R)."""
    circles = [CircularAperture(np.column_stack([x, y]), r) for r in RADII_PX]
    sums = [circle.do_photometry(data)[0] for circle in circles]
    areas = [circle.do_photometry(weight)[0] for circle in circles]
    return np.nan_to_num(np.column_stack(sums)), np.nan_to_num(np.column_stack(areas))


def library_sky(data: Floats, masked: NDArray[np.bool_], x: Floats, y: Floats) -> Floats:
    """Return clipped median, standard deviation and count by photutils and astropy, (3, N)."""
    stats = ApertureStats(
        data,
        CircularAnnulus(np.column_stack([x, y]), *ANNULUS_PX),
        mask=masked,
        sigma_clip=SigmaClip(sigma=CLIP_SIGMA, maxiters=None),
        sum_method="center",
    )
    return np.array([stats.median, stats.std, np.nan_to_num(stats.center_aper_area.value)])


def library_fits(
    data: Floats, valid: NDArray[np.bool_], x: Floats, y: Floats, tolerance: float
) -> Floats:
    """Return FWHM, cost and whether the shape is away from its borders by scipy, (3, N)."""
    out = np.full((3, len(x)), np.nan)
    lower = [0.0, np.log(GAMMA_PX[0]), np.log(ALPHA[0]), -np.inf]
    upper = [np.inf, np.log(GAMMA_PX[1]), np.log(ALPHA[1]), np.inf]
    for k in range(len(x)):
        rows = np.arange(max(int(y[k]) - 6, 0), min(int(y[k]) + 8, data.shape[0]))
        columns = np.arange(max(int(x[k]) - 6, 0), min(int(x[k]) + 8, data.shape[1]))
        r2 = (rows[:, np.newaxis] - y[k]) ** 2 + (columns - x[k]) ** 2
        box = np.ix_(rows, columns)
        used = (r2 <= FIT_RADIUS_PX**2) & valid[box]
        first = first_guess(np.sqrt(r2[used]), data[box][used])
        if first is None:
            continue
        fit = least_squares(
            residuals, first, derivatives, bounds=(lower, upper), x_scale="jac",
            args=(r2[used], data[box][used]),
            xtol=tolerance, ftol=tolerance, gtol=tolerance,
        )  # fmt: skip
        if not fit.success:
            continue
        gamma, alpha = np.exp(fit.x[1:3])
        inside = (fit.x[1:3] - lower[1:3] > 1e-3).all() and (upper[1:3] - fit.x[1:3] > 1e-3).all()
        out[:, k] = 2 * gamma * np.sqrt(2 ** (1 / alpha) - 1), 2 * fit.cost, inside
    return out


def first_guess(r: Floats, values: Floats) -> list[float] | None:
    """Return the first amplitude, ln gamma, ln alpha and bias; None where nothing can be fitted."""
    core = values[r <= 1]
    if len(r) < 8 or not len(core):
        return None
    bias = float(values[r >= 0.8 * r.max()].mean())
    amplitude = float(core.max()) - bias
    if amplitude <= 0:
        return None
    half_width = np.sqrt((values - bias > 0.5 * amplitude).sum() / np.pi)
    gamma = np.clip(half_width / np.sqrt(2 ** (1 / FIRST_ALPHA) - 1), 0.6, 10.0)
    return [amplitude, float(np.log(gamma)), float(np.log(FIRST_ALPHA)), bias]


def residuals(p: Floats, r2: Floats, values: Floats) -> Floats:
    """Return model minus data."""
    shape = np.exp(-np.exp(p[2]) * np.log1p(r2 * np.exp(-2 * p[1])))
    return np.asarray(p[3] + p[0] * shape - values)


def derivatives(p: Floats, r2: Floats, _values: Floats) -> Floats:
    """Return the derivatives of the residuals, (K, 4)."""
    scaled, alpha = r2 * np.exp(-2 * p[1]), np.exp(p[2])
    log_base = np.log1p(scaled)
    shape = np.exp(-alpha * log_base)
    by_gamma = p[0] * 2 * alpha * shape * scaled / (1 + scaled)
    return np.column_stack([shape, by_gamma, -p[0] * alpha * log_base * shape, np.ones_like(shape)])


def squares(
    data: Floats, valid: NDArray[np.bool_], x: Floats, y: Floats, found: MoffatFits, rows: Any
) -> Floats:
    """Return the sums of squares that our fits leave."""
    columns, lines = np.meshgrid(np.arange(data.shape[1]), np.arange(data.shape[0]))
    left = np.full(len(x), np.nan)
    for k, place in enumerate(rows):
        r2 = (lines - y[k]) ** 2 + (columns - x[k]) ** 2
        used = (r2 <= FIT_RADIUS_PX**2) & valid
        shape = (1 + r2[used] / found.gamma_px[place] ** 2) ** -found.alpha[place]
        left[k] = ((found.bias[place] + found.amplitude[place] * shape - data[used]) ** 2).sum()
    return left


# ---------------------------------------------------------------- clocks and tables


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, after one to warm up."""
    return median_timed(function, repeats)[0]


def largest(values: Floats) -> float:
    """Return the largest absolute value, 0 for none."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if known.size else 0.0


def compare(image: DrcImage, x: Floats, y: Floats, repeats: int, n_library: int) -> list[str]:
    """Return the rows of one image: what, sources, ours, libraries', ratio, agreement."""
    n, part = len(x), slice(0, min(n_library, len(x)))
    scale = n / len(x[part])
    data, weight = np.nan_to_num(image.sci).astype(np.float64), image.valid.astype(np.float64)
    masked = ~image.valid
    rows, library_total = [], 0.0

    def add(what: str, ours: float, library: float, agreement: str) -> None:
        cells = (f"{ours:.4g}", f"{1e6 * ours / n:.1f}", f"{library:.4g}", f"{library / ours:.0f}")
        rows.append(row(what, n, *cells, agreement))

    def sums() -> tuple[Floats, Floats]:
        return circle_sums(image.sci, image.valid, x, y, RADII_PX)

    theirs = library_sums(data, weight, x[part], y[part])
    spread = [largest((a[part] - b) / np.abs(b)) for a, b in zip(sums(), theirs, strict=True)]
    took = scale * seconds(lambda: library_sums(data, weight, x[part], y[part]), repeats)
    library_total += took
    add("apertures", seconds(sums, repeats), took, f"sums {spread[0]:.0e}, areas {spread[1]:.0e}")

    def sky() -> Any:
        return annulus_stats(image.sci, image.valid, x, y, ANNULUS_PX, CLIP_SIGMA)

    ours, their_sky = sky(), library_sky(data, masked, x[part], y[part])
    same = np.mean(ours.n_pixels[part] == np.rint(their_sky[2]))
    off = largest(ours.median[part] - their_sky[0]), largest(ours.std[part] / their_sky[1] - 1)
    took = scale * seconds(lambda: library_sky(data, masked, x[part], y[part]), 1)
    library_total += took
    text = f"{100 * same:.4g} % same pixels, medians {off[0]:.0e}, std {off[1]:.0e}"
    add("annulus", seconds(sky, repeats), took, text)

    def fits() -> Any:
        return fit_moffat_at(image.sci, image.valid, x, y, FIT_RADIUS_PX)

    exact, found = library_fits(data, image.valid, x[part], y[part], 1e-13), fits()
    known = np.flatnonzero(exact[2] == 1)
    off_px = np.abs(found.fwhm_px[known] - exact[0][known])
    text = (
        f"{100 * np.mean(off_px < 1e-3):.4g} % of {len(known)} within 1e-3 px, "
        f"median {np.nanmedian(off_px):.0e}"
    )
    others = known[~(off_px < 1e-3)]
    if len(others):
        cost = squares(data, image.valid, x[others], y[others], found, others)
        text += f", the others' cost at most {np.max(cost / exact[1][others]):.4f} of scipy's"
    took = scale * seconds(lambda: library_fits(data, image.valid, x[part], y[part], 1e-8), 1)
    library_total += took
    add("profiles", seconds(fits, repeats), took, text)

    cr_mask = np.zeros(image.shape, dtype=bool)
    cr_mask[::97, ::89] = True

    def stage() -> Any:
        return measure.run(image, measure.Targets(x, y), pixels=measure.Pixels(cr_mask=cr_mask))

    chosen = MeasureSettings(radii_px=RADII_PX)

    def core() -> Any:
        found = photometry(image, x, y, chosen)
        flagging.frame_flags(image, found, chosen)
        return flagging.cosmic_ray_flags(found, cr_mask, chosen.cr_radius_px)

    add("the three, and flags", seconds(core, repeats), library_total, "")

    add("whole stage", seconds(stage, repeats), library_total, f"peak {growth_mb(stage):.0f} MB")
    return rows


def main() -> None:
    """Simulate, measure both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=4300, help="side of the image, px")
    parser.add_argument("--sources", type=int, nargs="+", default=[500, 5000, 50000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--library", type=int, default=300, help="sources that libraries measure")
    given = parser.parse_args()
    names = ("what", "sources", "s", "us/source", "libraries, s", "ratio", "agreement")
    print(head(*names))
    with tempfile.TemporaryDirectory() as folder:
        for n in given.sources:
            field = read_field(Path(folder), given.size, n)
            print("\n".join(compare(*field, given.repeats, given.library)), flush=True)


if __name__ == "__main__":
    main()
