"""Artificial stars and galaxies in a real image, with its own PSF, noise and exposures.

Each source takes the width of one of the stars that the image's PSF is made of, so
the spread is right.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Row, Table

from bycatch.arrays import Bools, Floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.settings import DetectSettings, InjectSettings
from bycatch.simulate.image_psf import CENTRE_RADIUS_PX, ImagePsf
from bycatch.simulate.psf import BOX_VARIANCE, compact_psf, sersic

STAR, GALAXY = "star", "galaxy"

STAMP_RADII_PX = (8, 12, 16, 24, 32, 48, 64)
FAINTEST_SIGMA = 0.05
"""A stamp ends where a source is fainter than this share of the noise of a pixel."""
MARGIN_SHARE = 0.25
"""Of a grid cell, on each side: neighbours are half a cell apart at least."""
NEAR_LIMIT_SHARE, NEAR_LIMIT_MAG = 0.6, 1.5
"""So many of the sources have magnitudes this near to the expected limit."""


# ---- which sources, and where ------------------------------------------------------------


def limiting_rate(
    profile: Floats, noise_rate: float, settings: DetectSettings, *, single: bool
) -> float:
    """Return the total rate at which a source without noise is just detected, e/s.

    Parameters
    ----------
    profile : (ny, nx) light of a source of total 1 in each pixel
    noise_rate : noise of an unsmoothed sky pixel, e/s
    settings : of the detection
    single : the image is made of one exposure
    """
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    light = smooth_image(profile.astype(np.float32), np.ones(profile.shape, dtype=bool), kernel)
    n_least = settings.n_pixels_single if single else settings.n_pixels
    brightest_first = np.sort(light.ravel())[::-1]
    faintest = float(brightest_first[min(n_least, brightest_first.size) - 1])
    return settings.n_sigma * noise_rate / max(faintest, 1e-12)


def artificial_sources(
    image: DrcImage,
    psf: ImagePsf,
    noise_rate: float,
    zeropoint: float,
    detect: DetectSettings,
    settings: InjectSettings,
    random: np.random.Generator,
) -> Table:
    """Draw artificial stars and galaxies, without places.

    Magnitudes lie about the limit that is expected for each kind and size, most
    of them near it; stars that would saturate are left out.

    Returns
    -------
    Table
        kind, mag, rate (e/s, total), re_arcsec, sersic_index, axis_ratio, angle_deg, width.
    """
    n = settings.n_sources
    n_galaxies = round(n * settings.galaxy_share) if settings.half_light_arcsec else 0
    sizes = np.zeros(n)
    sizes[:n_galaxies] = np.resize(settings.half_light_arcsec, n_galaxies)
    random.shuffle(sizes)
    is_star = sizes == 0
    single = image.meta.n_exposures == 1
    limit = np.zeros(n)
    for size in np.unique(sizes):
        profile = _example(psf, float(size) / image.scale_arcsec, settings.sersic_index)
        rate = limiting_rate(profile, noise_rate, detect, single=single)
        limit[sizes == size] = zeropoint - 2.5 * np.log10(rate)
    near = random.uniform(-NEAR_LIMIT_MAG, NEAR_LIMIT_MAG, n)
    anywhere = random.uniform(-settings.brighter_mag, settings.fainter_mag, n)
    offset = np.where(random.uniform(size=n) < NEAR_LIMIT_SHARE, near, anywhere)
    peak = float(psf.star(np.arange(-1.0, 2), np.arange(-1.0, 2)).max())
    # The cores of the brightest sources are not yet full.
    brightest = zeropoint - 2.5 * np.log10(image.meta.full_rate / peak)
    mag = limit + np.clip(offset, -settings.brighter_mag, settings.fainter_mag)
    floor = brightest + 0.3 * random.uniform(size=n)
    mag = np.where(is_star, np.maximum(mag, floor), mag)
    return Table(
        {
            "kind": np.where(is_star, STAR, GALAXY),
            "mag": mag,
            "rate": 10 ** (-0.4 * (mag - zeropoint)),
            "re_arcsec": sizes,
            "sersic_index": np.where(is_star, 0.0, settings.sersic_index),
            "axis_ratio": np.where(is_star, 1.0, random.uniform(0.3, 1.0, n)),
            "angle_deg": np.where(is_star, 0.0, random.uniform(0.0, 180.0, n)),
            "width": random.choice(psf.widths, n),
        }
    )


def _example(psf: ImagePsf, re_px: float, index: float) -> Floats:
    axis = np.arange(-40.0, 41.0)
    return galaxy(psf, axis, axis, re_px, index) if re_px > 0 else psf.star(axis, axis)


def galaxy(
    psf: ImagePsf,
    dx_px: Floats,
    dy_px: Floats,
    re_px: float,
    index: float,
    axis_ratio: float = 1.0,
    angle_deg: float = 0.0,
) -> Floats:
    """Return the light in each pixel of a Sersic galaxy of total 1, (ny, nx).

    Profile and PSF are sums of Gaussians, so their convolution is one, too:
    variances add.  ``re_px`` is the radius of a circle of the area of the half-light ellipse.
    """
    sigma, share = sersic(index)
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    major, minor = re_px**2 / axis_ratio, re_px**2 * axis_ratio
    a, b = major * cos**2 + minor * sin**2, major * sin**2 + minor * cos**2
    c = (major - minor) * cos * sin
    xx, yy, xy = (dx_px**2)[None, :], (dy_px**2)[:, None], dx_px[None, :] * dy_px[:, None]
    light = np.zeros((len(dy_px), len(dx_px)))
    narrow = compact_psf(psf.mixture)
    for width, weight in zip(narrow.sigma_x, narrow.weight, strict=True):
        base = width**2 + BOX_VARIANCE
        for s, w in zip(sigma, share, strict=True):
            va, vb, vc = a * s**2 + base, b * s**2 + base, c * s**2
            det = va * vb - vc**2
            norm = weight * w / (2.0 * np.pi * np.sqrt(det))
            light += norm * np.exp(-0.5 * (vb * xx + va * yy - 2.0 * vc * xy) / det)
    return light


def places(
    valid: Bools, spacing_px: float, coverage_box_px: int, min_coverage: float,
    random: np.random.Generator,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return the places of a jittered grid that have data, in random order.

    They avoid one another, not the real sources.  What the coverage rule removes
    is no part of the catalog's area, and gets no places.
    """
    ny, nx = valid.shape
    start = random.uniform(-0.5, 0.5, 2) * spacing_px
    y, x = np.mgrid[start[0] : ny : spacing_px, start[1] : nx : spacing_px]
    reach = (0.5 - MARGIN_SHARE) * spacing_px
    x = x.ravel() + random.uniform(-reach, reach, x.size)
    y = y.ravel() + random.uniform(-reach, reach, y.size)
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    x, y = x[inside], y[inside]
    has_data = valid[np.rint(y).astype(int), np.rint(x).astype(int)]
    coverage = np.nan_to_num(np.asarray(box_fraction(valid, x, y, coverage_box_px)))
    rows = np.flatnonzero(has_data & (coverage >= min_coverage))
    order = random.permutation(rows)
    return x[order], y[order]


# ---- into the image ----------------------------------------------------------------------


def with_sources(
    image: DrcImage,
    sources: Table,
    psf: ImagePsf,
    noise_rate: float,
    random: np.random.Generator,
    aperture_px: float = CENTRE_RADIUS_PX,
    annulus_px: tuple[float, float] = (10.0, 15.0),
) -> tuple[DrcImage, Table]:
    """Return an image with sources added, and their table with what can be expected of them.

    Parameters
    ----------
    image : DrcImage
    sources : table of `artificial_sources`, with x and y
    psf : ImagePsf
    noise_rate : typical noise of a sky pixel, e/s
    random : for the Poisson noise of the added light
    aperture_px, annulus_px : radii of the aperture and the sky annulus of the expected rate

    Returns
    -------
    image : DrcImage
        Pixels above the full well of an exposure are cut there.
    table : Table
        With ``aperture_rate`` (e/s in the aperture, less what the annulus takes for sky, without
        noise), ``n_exp`` and ``is_saturated``.

    Notes
    -----
    The noise of the added light is drawn per exposure on pixels the size of the
    detector's, as many electrons as the effective exposure time there gives, and
    shared out over the image's pixels as drizzling would from a random sub-pixel
    phase.  So sums have the Poisson scatter, and single pixels less, as in the image.
    """
    sci = image.sci.copy()
    n = len(sources)
    expected, n_exp = np.zeros(n), np.zeros(n, dtype=np.int64)
    is_saturated = np.zeros(n, dtype=bool)
    # A pixel fills up in one exposure; depths are equal shares of it.
    full_rate = image.meta.full_well_e / image.meta.exptime_per_exposure_s
    x, y = np.asarray(sources["x"], float), np.asarray(sources["y"], float)
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    for k in range(n):
        reach = max(_reach(psf, sources[k], image, noise_rate), int(annulus_px[1]) + 2)
        offset = np.arange(-reach, reach + 1)
        dx, dy = offset - (x[k] - column[k]), offset - (y[k] - row[k])
        light = stamp(psf, sources[k], dx, dy, image.scale_arcsec)
        expected[k] = net_rate(light, dx, dy, aperture_px, annulus_px)
        n_exp[k] = image.n_exp[row[k], column[k]]
        rows, columns = row[k] + offset, column[k] + offset
        on_image = np.ix_(
            (rows >= 0) & (rows < image.shape[0]), (columns >= 0) & (columns < image.shape[1])
        )
        here = np.ix_(rows[on_image[0][:, 0]], columns[on_image[1][0]])
        seconds = np.zeros(light.shape)
        seconds[on_image] = image.exptime_map_s[here]
        noise = poisson_noise(light, seconds, max(int(n_exp[k]), 1), image, random)
        sci[here] += (light + noise)[on_image]  # no data stay no data
        is_saturated[k] = bool(sci[row[k], column[k]] > full_rate)
    np.minimum(sci, np.maximum(full_rate, image.sci), out=sci, where=image.valid)
    sci.flags.writeable = False
    table = sources.copy()
    table["aperture_rate"], table["n_exp"], table["saturated"] = expected, n_exp, is_saturated
    return replace(image, sci=sci), table


def stamp(psf: ImagePsf, source: Row, dx_px: Floats, dy_px: Floats, scale_arcsec: float) -> Floats:
    """Return the rate of a source in each pixel, (ny, nx) in e/s."""
    if source["kind"] == STAR:
        return float(source["rate"]) * psf.star(dx_px, dy_px, float(source["width"]))
    index, ratio, angle = (float(source[n]) for n in ("sersic_index", "axis_ratio", "angle_deg"))
    re_px = float(source["re_arcsec"]) / scale_arcsec
    return float(source["rate"]) * galaxy(psf, dx_px, dy_px, re_px, index, ratio, angle)


def net_rate(
    light: Floats, dx: Floats, dy: Floats, aperture_px: float, annulus_px: tuple[float, float]
) -> float:
    """Return the sum in an aperture less the median of the annulus, as it will be measured."""
    whole = np.ones(light.shape, dtype=bool)
    centre = np.array([-dx[0]]), np.array([-dy[0]])
    sums, areas = circle_sums(light.astype(np.float32), whole, *centre, (aperture_px,))
    radius = np.hypot(dx[None, :], dy[:, None])
    sky = np.median(light[(radius >= annulus_px[0]) & (radius <= annulus_px[1])])
    return float(sums[0, 0] - sky * areas[0, 0])


def poisson_noise(
    light: Floats, seconds: Floats, n_exposures: int, image: DrcImage, random: np.random.Generator
) -> Floats:
    """Return the noise of added light as drizzling would leave it, (ny, nx) in e/s.

    Parameters
    ----------
    light : (ny, nx) added rate, e/s per pixel
    seconds : (ny, nx) effective exposure time; no noise where it is 0
    n_exposures : that share it
    image : for the size of its drops and pixels
    random : Generator
    """
    from scipy.ndimage import convolve1d

    electrons = light * seconds / n_exposures
    drop_px = image.meta.pixfrac * image.meta.native_scale_arcsec / image.scale_arcsec
    noise = np.zeros(light.shape)
    for _ in range(n_exposures):
        counts = random.poisson(electrons) - electrons
        for axis in (0, 1):
            counts = convolve1d(counts, _overlaps(drop_px, random.uniform(-0.5, 0.5)), axis=axis,
                               mode="constant")  # fmt: skip
        noise += counts
    return np.divide(noise, seconds, out=np.zeros(light.shape), where=seconds > 0)


def _overlaps(drop_px: float, phase_px: float) -> Floats:
    """Return the shares of a drop's length that fall on the pixels about it; they add up to 1."""
    reach = int(np.ceil(0.5 * drop_px + 0.5))
    edges = np.arange(-reach - 0.5, reach + 1)
    low, high = phase_px - 0.5 * drop_px, phase_px + 0.5 * drop_px
    return np.asarray(np.diff(np.clip(edges, low, high)) / drop_px)


def _reach(psf: ImagePsf, source: Row, image: DrcImage, noise_rate: float) -> int:
    """Return the radius beyond which a source is lost in the noise, pixels."""
    radii = np.array(STAMP_RADII_PX, dtype=float)
    re_px = float(source["re_arcsec"]) / image.scale_arcsec
    # A galaxy's light is spread wider than a star's.
    nearer = np.maximum(radii - 2.5 * re_px, 0.5 * radii)
    light = psf.mixture.surface_brightness(nearer) * float(source["rate"])
    first = int(np.count_nonzero(light > FAINTEST_SIGMA * noise_rate))
    return STAMP_RADII_PX[min(first, len(STAMP_RADII_PX) - 1)]
