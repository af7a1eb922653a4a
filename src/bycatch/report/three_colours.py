"""The three-colour picture of a group: its images on one grid, north up, each filter a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.display.stretch import block_means
from bycatch.images.look import Plane
from bycatch.report.products import ReportedImage
from bycatch.tangent import sky_of_tangent

if TYPE_CHECKING:
    from astropy.wcs import WCS

MOST_IMAGES = 4
"""Of a filter; those of the longest exposures."""
SAMPLES = 4
"""Pixels per side of a block that are enough for its mean."""
STRETCH_SIGMA, SOFTENING = 9.0, 8.0
"""Linear up to so many times the noise of the sky, and the Q of Lupton et al. (2004)."""
LIGHT_SIGMA, BRIGHT_SIGMA = 4.0, 200.0
"""What is above the first is light whose mean colour is white; a few stars must not decide."""
NO_DATA = 40
"""Grey of what no image covers."""
KEPT_PX = 4
"""The mask of cosmic rays does not count so near an object: cores of stars lie on it, too."""


@dataclass(frozen=True)
class PictureGrid:
    """The pixels of the picture, on the plane that touches the sky at its centre.

    Attributes
    ----------
    ra_deg, dec_deg : the centre
    step_arcsec : of its pixels
    nx, ny : of them
    """

    ra_deg: float
    dec_deg: float
    step_arcsec: float
    nx: int
    ny: int

    @property
    def half(self) -> tuple[float, float]:
        """Half of its width and of its height, arcsec."""
        return 0.5 * self.nx * self.step_arcsec, 0.5 * self.ny * self.step_arcsec

    def sky(self) -> tuple[Floats, Floats]:
        """Return the positions of the pixels, (ny, nx) each, degrees; the first row is the top."""
        (width, height), step = self.half, self.step_arcsec
        east = width - step * (np.arange(self.nx) + 0.5)
        north = height - step * (np.arange(self.ny) + 0.5)
        xi, eta = np.meshgrid(east, north)
        plane = np.column_stack([xi.ravel(), eta.ravel()]) * 1000.0
        ra, dec = sky_of_tangent(plane, self.ra_deg, self.dec_deg)
        return ra.reshape(xi.shape), dec.reshape(xi.shape)


@dataclass(frozen=True, eq=False)
class PictureImage:
    """An image of a group as the picture takes it.

    Attributes
    ----------
    image : its products
    shift_px : (2,) what to add to pixels of its WCS: what its frame in the group differs by
    x, y : (K,) pixels of its objects
    """

    image: ReportedImage
    shift_px: Floats
    x: Floats
    y: Floats

    @property
    def filter(self) -> str:
        """Its filter."""
        return self.image.record.filter

    @property
    def exptime_s(self) -> float:
        """Its exposure time; 0 where it is not known."""
        return float(self.image.number("finalize", "exptime_s") or 0.0)


def three_colours(
    images: Sequence[PictureImage], filters: Sequence[str], grid: PictureGrid
) -> tuple[NDArray[np.uint8], tuple[str, ...]] | None:
    """Return the picture and the filters that are its red, green and blue; None without images.

    The reddest filter is red, the bluest blue, the mean of those between green; of two filters
    green is the mean of both, and one filter is grey.  Colours as Lupton et al. (2004, PASP 116,
    133) have them: what is bright keeps its colour.  The mean colour of all light is white.

    Parameters
    ----------
    images : of the group
    filters : from blue to red
    grid : of the picture

    Returns
    -------
    (ny, nx, 3) uint8, first row on top; and the names
    """
    ra, dec = grid.sky()
    planes, names = [], []
    for name in filters:
        plane = _mean_plane([i for i in images if i.filter == name], ra, dec, grid.step_arcsec)
        if plane is not None:
            planes.append(plane)
            names.append(name)
    if not planes:
        return None
    has_data = np.isfinite(planes).any(axis=0)
    levels = _white_balance([_in_sigmas(plane) for plane in planes])
    blue, red = levels[0], levels[-1]
    between = levels[1:-1] or [blue, red]
    green: Floats = np.mean(np.asarray(between), axis=0)
    from astropy.visualization import make_lupton_rgb

    rgb = make_lupton_rgb(red, green, blue, minimum=-2.0, stretch=STRETCH_SIGMA, Q=SOFTENING)
    picture = np.asarray(rgb, np.uint8).copy()
    picture[~has_data] = NO_DATA
    return picture, (
        names[-1],
        " + ".join(names[1:-1] or dict.fromkeys((names[0], names[-1]))),
        names[0],
    )


def _in_sigmas(plane: Floats) -> Floats:
    """Return the light above the sky in units of its noise, 0 where there are no data."""
    finite_light = plane[np.isfinite(plane)]
    sky, dark = np.percentile(finite_light, (50, 15.87))
    return np.asarray(np.nan_to_num((plane - sky) / max(float(sky - dark), 1e-12)))


def _white_balance(levels: Sequence[Floats]) -> list[Floats]:
    """Return planes in which all light together is white, in units of their mean noise."""
    has_light = np.mean(levels, axis=0) > LIGHT_SIGMA
    light = np.array([float(np.clip(level, 0, BRIGHT_SIGMA)[has_light].sum()) for level in levels])
    if not (light > 0).all():
        return list(levels)
    scale = 1.0 / light
    return [level * factor for level, factor in zip(levels, scale / scale.mean(), strict=True)]


def _mean_plane(
    images: Sequence[PictureImage], ra: Floats, dec: Floats, step_arcsec: float
) -> Floats | None:
    """Return the mean of the images of a filter on the grid, f_nu; None if none can be read."""
    total, weight = np.zeros(ra.shape), np.zeros(ra.shape)
    for one in sorted(images, key=lambda i: -i.exptime_s)[:MOST_IMAGES]:
        plane = _resample(one, ra, dec, step_arcsec)
        if plane is not None:
            has_data = np.isfinite(plane)
            seconds = max(one.exptime_s, 1.0)
            total[has_data] += seconds * plane[has_data]
            weight[has_data] += seconds
    if not weight.any():
        return None
    return np.where(weight > 0, total / np.maximum(weight, 1e-30), np.nan)


def _resample(one: PictureImage, ra: Floats, dec: Floats, step_arcsec: float) -> Floats | None:
    """Return an image on the grid, means of blocks of about its pixels; NaN off the image."""
    from bycatch.images.wcs import pixel_scale_arcsec

    data, wcs = one.image.pixels(), _wcs_of(one.image)
    if data is None or wcs is None:
        return None
    x, y = wcs.all_world2pix(ra.ravel(), dec.ravel(), 0, quiet=True)
    x, y = x + one.shift_px[0], y + one.shift_px[1]
    block = max(1, round(step_arcsec / pixel_scale_arcsec(wcs)))
    step = max(1, block // SAMPLES)
    clean = _without_cosmic_rays(one, data)
    means = block_means(SparsePlane(clean, step), -(-block // step))
    side = step * -(-block // step)
    values = _interpolate(means, *((v - 0.5 * (side - step)) / side for v in (x, y)))
    zeropoint = one.image.number("finalize", "zeropoint_ab")
    scale = photcal.microjansky(zeropoint) if zeropoint else 1.0
    return scale * values.reshape(ra.shape)


def _interpolate(image: Floats, x: Floats, y: Floats) -> Floats:
    """Return the values of an image at positions, linear between pixels; NaN where most is."""
    from scipy.ndimage import map_coordinates

    ny, nx = image.shape
    inside = (x > -0.5) & (y > -0.5) & (x < nx - 0.5) & (y < ny - 0.5)  # not NaN either
    at = np.where(inside, (y, x), 0.0)
    is_known = np.isfinite(image)
    total, weight = (
        map_coordinates(plane, at, order=1, mode="nearest")
        for plane in (np.where(is_known, image, 0.0), is_known.astype(float))
    )
    has_value = inside & (weight > 0.5)
    return np.where(has_value, total / np.maximum(weight, 0.5), np.nan)


@dataclass(frozen=True, eq=False)
class SparsePlane:
    """Every k-th pixel of a plane, read strip by strip."""

    plane: Any
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = (-(-n // self.step) for n in self.plane.shape)
        return ny, nx

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = part
        first, last = rows.start or 0, min(rows.stop, self.shape[0])
        strip = self.plane[slice(first * self.step, last * self.step), :]
        return np.asarray(strip[:: self.step, :: self.step][:, columns])


def _without_cosmic_rays(one: PictureImage, data: Any) -> Any:
    """Return the pixels of an image; those on the mask of a single exposure are NaN."""
    if (one.image.number("detect", "n_exposures") or 1) > 1:
        return data.sci
    mask = one.image.plane(one.image.paths.mask)
    if mask is None or mask.shape != data.shape:
        return data.sci
    is_hit = mask.astype(bool)
    for x, y in zip(np.rint(one.x).astype(int), np.rint(one.y).astype(int), strict=True):
        rows = slice(max(y - KEPT_PX, 0), max(y + KEPT_PX + 1, 0))
        is_hit[rows, max(x - KEPT_PX, 0) : max(x + KEPT_PX + 1, 0)] = False

    def read(part: tuple[slice, slice]) -> NDArray[Any]:
        return np.where(is_hit[part], np.nan, data.sci[part])

    return Plane(data.shape, read)


def _wcs_of(image: ReportedImage) -> WCS | None:
    """Return the aligned WCS of an image; None if there is none."""
    from astropy.wcs import WCS

    if not image.paths.wcs.exists():
        return None
    try:
        header = fits.getheader(image.paths.wcs).copy()
        header.remove("NAXIS", ignore_missing=True)
        return WCS(header)
    except (OSError, ValueError, TypeError):
        return None


def frame_shift(image: ReportedImage, ra: Floats, dec: Floats, x: Floats, y: Floats) -> Floats:
    """Return by how much the pixels of objects in a group differ from those of the image's WCS.

    A group of several fields has frames of its own.
    """
    wcs = _wcs_of(image)
    if wcs is None or not len(ra):
        return np.zeros(2)
    own_x, own_y = wcs.all_world2pix(ra, dec, 0, quiet=True)
    off = np.array([np.nanmedian(x - own_x), np.nanmedian(y - own_y)])
    return np.asarray(np.nan_to_num(off))
