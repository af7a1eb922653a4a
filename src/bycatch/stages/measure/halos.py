"""What bright stars do to their surroundings: halos and spikes, of stars off the image too.

The stars are those of Gaia, placed by the aligned WCS, or the saturated sources of
the image itself.  Bleeding needs no prediction: its pixels are at the full well, and
flagged as saturated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.kernels.matching import pairs_within
from bycatch.photcal import ab_zeropoint, encircled_energy
from bycatch.robust import robust_sigma
from bycatch.sky.gaia import ReferenceStars

HALO_SIGMA = 1.0
"""A halo reaches to where the star's light per pixel falls to this many times the sky noise."""
SPIKE_SIGMA = 1.0
SPIKE_RIDGE = 0.035
"""Light per square native pixel on the ridge of a spike is this over the square of the distance in
native pixels, beyond 20 px: 3.6e-5 at 30 px and 2.2e-5 at 40 px in TinyTim's PSFs of ACS/WFC."""
LEAST_REACH_PX = 15.0
"""Smaller halos and spikes are part of the star's own image, native pixels."""
MAX_REACH_ARCSEC = 60.0
SELF_ARCSEC = 0.3
"""The source nearest to a star's place, within this, is the star."""
SPIKE_HALF_WIDTH_PX, SPIKE_OPENING_DEG = 2.5, 1.5
V3_TOLERANCE_DEG = 8.0
"""How far from the expected angle spikes are looked for in the image."""
RING_PX, MOST_SPIKE_STARS = (18.0, 45.0), 12
"""Where spikes show their angle, native pixels; and the brightest stars, so many, that show it."""
MIN_CONTRAST = 5.0
"""Significance from which a spike's angle in the image counts."""

# G (Vega) of a star like the Sun minus its AB magnitude in a band of that pivot wavelength
# (Angstrom), from the Sun's magnitudes in Willmer (2018, ApJS 236, 47), to 0.1 mag.
_SOLAR_PIVOT = np.array([4300.0, 4750.0, 5350.0, 5900.0, 6300.0, 7700.0, 8050.0, 9050.0])
_SOLAR_COLOUR = np.array([-0.7, -0.45, -0.15, -0.05, 0.0, 0.15, 0.15, 0.15])


@dataclass(frozen=True, eq=False)
class BrightStars:
    """Bright stars in the frame of an image, on it or outside it.

    Attributes
    ----------
    x, y : (M,) 0-based pixels
    rate : (M,) e/s in this image's filter
    """

    x: Floats
    y: Floats
    rate: Floats

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class StarLight:
    """Where bright stars disturb N sources.

    Attributes
    ----------
    halo, spike : (N,) bool
    spike_rate : (N,) light on the ridge of the spike there, e/s per pixel; 0 off spikes
    """

    halo: Bools
    spike: Bools
    spike_rate: Floats


@dataclass(frozen=True, eq=False)
class Reach:
    """How far the light of M stars reaches, pixels of the image."""

    halo_px: Floats
    spike_px: Floats


def gaia_stars(reference: ReferenceStars | None, image: DrcImage, wcs: WCS) -> BrightStars:
    """Return the Gaia stars at the image's epoch, in its pixels, with the rates to expect.

    Parameters
    ----------
    reference : the field's stars; those outside the image count as well
    image : gives epoch and calibration
    wcs : the aligned WCS
    """
    empty = np.empty(0)
    if reference is None or not len(reference):
        return BrightStars(empty, empty, empty)
    ra, dec = reference.positions_at(image.meta.mjd_mid)
    g: Floats = np.ma.filled(np.ma.asarray(reference.table["phot_g_mean_mag"], dtype=float), np.nan)
    x, y = wcs.all_world2pix(np.asarray(ra), np.asarray(dec), 0, quiet=True)
    rate = expected_rate(g, image.meta.photflam, image.meta.photplam)
    is_finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(rate)
    return BrightStars(np.asarray(x)[is_finite], np.asarray(y)[is_finite], rate[is_finite])


def expected_rate(gaia_g: ArrayLike, photflam: float, photplam: float) -> Floats:
    """Return the count rate (e/s) of a star like the Sun of a G magnitude, to about 0.5 mag.

    Parameters
    ----------
    gaia_g : (N,) float, mag
    photflam : erg / cm2 / Angstrom / electron
    photplam : Angstrom
    """
    colour = np.interp(photplam, _SOLAR_PIVOT, _SOLAR_COLOUR)
    magnitude = np.asarray(gaia_g, dtype=float) - colour
    return np.asarray(10 ** (-0.4 * (magnitude - ab_zeropoint(photflam, photplam))))


def saturated_stars(
    x: ArrayLike, y: ArrayLike, net_rate: ArrayLike, is_saturated: ArrayLike
) -> BrightStars:
    """Return the saturated sources of an image: they stand in for stars that Gaia does not give.

    Parameters
    ----------
    x, y : (N,) float
    net_rate : (N,) float
        Sky-subtracted sums in the largest aperture, e/s; charge that bled is in it.
    is_saturated : (N,) bool
    """
    rate = np.nan_to_num(np.asarray(net_rate, float))
    is_star = np.asarray(is_saturated, bool) & (rate > 0)
    return BrightStars(np.asarray(x, float)[is_star], np.asarray(y, float)[is_star], rate[is_star])


def join_stars(stars: BrightStars, others: BrightStars, within_px: float) -> BrightStars:
    """Return both lists as one; of the others, those that are not near one of the first.

    Parameters
    ----------
    stars, others : BrightStars
    within_px : px
    """
    from scipy.spatial import KDTree

    new: Bools = np.ones(len(others), dtype=bool)
    if len(stars) and len(others):
        places = np.column_stack([others.x, others.y])
        distance = KDTree(np.column_stack([stars.x, stars.y])).query(places)[0]
        new = np.asarray(distance > within_px)
    return BrightStars(
        *(
            np.concatenate([one, other[new]])
            for one, other in zip(
                (stars.x, stars.y, stars.rate), (others.x, others.y, others.rate), strict=True
            )
        )
    )


def star_light(
    x: ArrayLike,
    y: ArrayLike,
    image: DrcImage,
    stars: BrightStars,
    sky_noise: float,
    angles_deg: ArrayLike,
) -> StarLight:
    """Tell which sources lie in halos and on spikes.

    Parameters
    ----------
    x, y : (N,) float
        0-based pixel centres.
    image : DrcImage
    stars : BrightStars
    sky_noise : float
        Standard deviation of a pixel of the sky, e/s (typical for the image).
    angles_deg : (K,) float
        Directions of the spikes in the image (`spike_angles`), from +x towards +y; each holds for
        both sides of a star.  Empty: no spikes are predicted.
    """
    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    halo, spike = np.zeros((2, len(columns)), dtype=bool)
    spike_rate = np.zeros(len(columns))
    rows_on_image = np.flatnonzero(np.isfinite(columns) & np.isfinite(rows))
    reach = reach_of(stars.rate, sky_noise, image)
    farthest = np.maximum(reach.halo_px, reach.spike_px)
    some = np.flatnonzero(farthest > 0)
    if not (len(rows_on_image) and len(some)):
        return StarLight(halo, spike, spike_rate)
    star, source = _pairs(
        np.column_stack([stars.x, stars.y])[some],
        farthest[some],
        np.column_stack([columns, rows])[rows_on_image],
    )
    star, source = some[star], rows_on_image[source]
    dx, dy = columns[source] - stars.x[star], rows[source] - stars.y[star]
    distance = np.hypot(dx, dy)
    others = ~_is_star_itself(star, distance, SELF_ARCSEC / image.scale_arcsec)
    halo[source[others & (distance <= reach.halo_px[star])]] = True
    on_spike = others & (distance <= reach.spike_px[star])
    on_spike &= _along(dx, dy, np.asarray(angles_deg, float), _native_px(image))
    spike[source[on_spike]] = True
    ridge = SPIKE_RIDGE * stars.rate[star[on_spike]] / distance[on_spike] ** 2
    np.maximum.at(spike_rate, source[on_spike], ridge)
    return StarLight(halo, spike, spike_rate)


def _pairs(
    stars: Floats, reach_px: Floats, sources: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of stars and sources within the reach of each star.

    Stars of similar reach are looked at together: few reach far.
    """
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    size = np.ceil(np.log2(reach_px))
    for step in np.unique(size):
        group = np.flatnonzero(size == step)
        star, source, separation = pairs_within(stars[group], sources, float(2.0**step))
        near = separation <= reach_px[group[star]]
        pairs.append((group[star[near]], source[near]))
    star, source = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return star, source


def _native_px(image: DrcImage) -> float:
    """Return the side of a native pixel in the image's pixels."""
    return image.meta.native_scale_arcsec / image.scale_arcsec


def _is_star_itself(star: NDArray[np.int64], distance: Floats, within_px: float) -> Bools:
    """Return which pairs are a star and the source that it is: the nearest, if near enough."""
    near = np.flatnonzero(distance <= within_px)
    order = near[np.lexsort([distance[near], star[near]])]
    first = np.ones(len(order), dtype=bool)
    first[1:] = star[order][1:] != star[order][:-1]
    out = np.zeros(len(star), dtype=bool)
    out[order[first]] = True
    return out


def _along(dx: Floats, dy: Floats, angles_deg: Floats, native_px: float) -> Bools:
    """Return which offsets lie along one of the directions."""
    out = np.zeros(len(dx), dtype=bool)
    for angle in np.radians(angles_deg):
        along = np.abs(dx * np.cos(angle) + dy * np.sin(angle))
        across = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
        width = SPIKE_HALF_WIDTH_PX * native_px + np.tan(np.radians(SPIKE_OPENING_DEG)) * along
        out |= across <= width
    return out


def reach_of(rate: ArrayLike, sky_noise: float, image: DrcImage) -> Reach:
    """Return how far halos and spikes reach, for stars of given rates; 0 where they do not count.

    A halo: to where the surface brightness, the gradient of the encircled energy
    (Bohlin 2016), falls to `HALO_SIGMA` times the sky noise of a pixel; beyond
    the table's 5.5 arcsec it falls as the cube of the radius.  A spike: to where its
    ridge does.

    Parameters
    ----------
    rate : (N,) float, e/s
    sky_noise : of a pixel, e/s
    image : DrcImage
    """
    rates = np.maximum(np.nan_to_num(np.asarray(rate, float)), 0.0)
    native_px = _native_px(image)
    if not (sky_noise > 0 and np.isfinite(sky_noise)):
        return Reach(np.zeros_like(rates), np.zeros_like(rates))
    radius_px, brightness = _brightness(image)
    # Decreasing brightness: from it to the radius.
    least_brightness = HALO_SIGMA * sky_noise / np.maximum(rates, 1e-30)
    halo = np.interp(-np.log(least_brightness), -np.log(brightness), radius_px, left=0.0)
    spike = np.sqrt(SPIKE_RIDGE * rates / (SPIKE_SIGMA * sky_noise))
    largest = MAX_REACH_ARCSEC / image.scale_arcsec
    least = LEAST_REACH_PX * native_px
    halo, spike = (np.minimum(v, largest) for v in (halo, spike))
    return Reach(np.where(halo >= least, halo, 0.0), np.where(spike >= least, spike, 0.0))


def _brightness(image: DrcImage) -> tuple[Floats, Floats]:
    """Return radii (pixels) and the share of a star's light per pixel there, which decreases."""
    try:
        curve = encircled_energy(image.meta.detector, image.meta.filter)
    except UnsupportedImage:
        curve = encircled_energy(image.meta.detector, "F606W")
    edges = np.geomspace(3.0, curve.radius_arcsec[-1] / image.scale_arcsec, 40)
    energy = curve.at(edges * image.scale_arcsec)
    middle = np.sqrt(edges[1:] * edges[:-1])
    bright = np.diff(energy) / (np.pi * np.diff(edges**2))
    outer = np.geomspace(1.1, 12.0, 20)
    tail = bright[-1] * outer**-3
    radius = np.concatenate([middle, middle[-1] * outer])
    falling = np.minimum.accumulate(np.maximum(np.concatenate([bright, tail]), 1e-30))
    # Strictly, for the inversion.
    return radius, falling * (1.0 - 1e-9 * np.arange(len(falling)))


def spike_angles(image: DrcImage, stars: BrightStars) -> Floats:
    """Return the directions of the spikes in an image, degrees from +x towards +y, 0 to 180.

    The vanes of HST's secondary mirror lie along V2 and V3, so that spikes do as well.
    V3's position angle on the sky is PA_V3 in the header (``image.meta.pa_v3_deg``).
    In TinyTim's PSFs of ACS/WFC, spikes lie at 92.5 and 178.3 degrees in raw detector pixels, whose
    axes meet at 85 degrees: V2 and V3 within a degree.  Where the header has no
    PA_V3, a WCS that is not north-up is taken for the detector's orientation
    (ACS/WFC: V3 is 2.2 degrees from the y axis).  The image's own bright stars
    refine each direction, or give it where nothing else does.

    Parameters
    ----------
    image : DrcImage
    stars : BrightStars
        The brightest of them on the image are looked at.
    """
    expected = expected_spike_angle(image.wcs, image.meta.pa_v3_deg)
    signal = spike_signal(image, stars)
    if signal is None:
        return np.empty(0) if expected is None else np.array([expected, expected + 90.0]) % 180.0
    if expected is None:
        both = signal + np.roll(signal, 90)
        if _significance(both) < MIN_CONTRAST:
            return np.empty(0)
        expected = float(np.argmax(both) % 90)
    angles = []
    for angle in (expected, expected + 90.0):
        near = np.abs((np.arange(180) - angle + 90.0) % 180.0 - 90.0) <= V3_TOLERANCE_DEG
        best = int(np.flatnonzero(near)[np.argmax(signal[near])])
        strong = signal[best] > MIN_CONTRAST * _noise(signal)
        angles.append(float(best) if strong else angle)
    return np.array(angles) % 180.0


def expected_spike_angle(wcs: WCS, pa_v3_deg: float) -> float | None:
    """Return the direction of one spike in the image, degrees; None if unknown.

    Parameters
    ----------
    wcs : of the image
    pa_v3_deg : position angle of the telescope's V3 axis; NaN if not known
    """
    matrix = wcs.pixel_scale_matrix
    if not np.isfinite(pa_v3_deg):
        north_up = abs(matrix[0, 1]) < 1e-3 * abs(matrix[0, 0])
        return None if north_up else V3_FROM_Y_DEG
    # East is xi, north is eta: the direction of V3 in the tangent plane, taken to pixels.
    angle = np.radians(pa_v3_deg)
    dx, dy = np.linalg.solve(matrix, [np.sin(angle), np.cos(angle)])
    return float(np.degrees(np.arctan2(dy, dx)) % 90.0)


V3_FROM_Y_DEG = 2.2
"""V3 against the y axis of ACS/WFC: ORIENTAT is PA_V3 - 182.2 in headers of WFC."""


def spike_signal(image: DrcImage, stars: BrightStars) -> Floats | None:
    """Return the light around bright stars by direction, (180,) from 0 to 179 degrees.

    Each star's ring from 18 to 45 native pixels is divided by its mean, the median over
    directions subtracted, opposite directions are added, and the median of the stars is
    taken.  None without a star that has a whole ring on the image.

    Parameters
    ----------
    image : DrcImage
    stars : BrightStars
    """
    from scipy.ndimage import map_coordinates, uniform_filter1d

    native_px = _native_px(image)
    inner, outer = (r * native_px for r in RING_PX)
    ny, nx = image.shape
    on_image = (stars.x > outer) & (stars.x < nx - 1 - outer)
    on_image &= (stars.y > outer) & (stars.y < ny - 1 - outer)
    best = np.flatnonzero(on_image)
    best = best[np.argsort(-stars.rate[best], kind="stable")[:MOST_SPIKE_STARS]]
    angle = np.radians(np.arange(360))
    radius = np.arange(inner, outer, 1.0)[:, None]
    signals = []
    for k in best:
        around = [stars.y[k] + radius * np.sin(angle), stars.x[k] + radius * np.cos(angle)]
        rings = map_coordinates(image.sci, around, order=1, cval=np.nan)
        if np.isfinite(rings).mean() < 0.95:
            continue
        # Other sources are few pixels of a direction: the median over radii ignores them.
        profile = np.nanmedian(rings - np.nanmedian(rings, axis=1, keepdims=True), axis=0)
        profile = profile / max(stars.rate[k], 1e-30)
        signals.append(profile[:180] + profile[180:])
    if not signals:
        return None
    return np.asarray(uniform_filter1d(np.median(signals, axis=0), 3, mode="wrap"))


def _noise(signal: Floats) -> float:
    return robust_sigma(signal) or 1e-30


def _significance(signal: Floats) -> float:
    return float((signal.max() - np.median(signal)) / _noise(signal))
