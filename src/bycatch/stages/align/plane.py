"""The plane tangent at the field's centre, with the detections and the stars in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.meta import FULL_SHARE
from bycatch.kernels.matching import pairs_within
from bycatch.sky.astrometry import CENTROID_FLOOR_PX, centroid_errors_px
from bycatch.stages.align.model import FieldImage
from bycatch.tangent import sky_of_tangent, tangent_mas

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.settings import AlignSettings
    from bycatch.sky.gaia import ReferenceStars


_LEAST_ERROR_MAS = 0.05
"""No star's position is better than Gaia's own frame at the time of an HST image."""
_HALO_PX = 15.0
_GALAXY = 0.2
"""p_star of what is no star that moves."""
"""Least radius around a saturated source in which no centroid is trusted."""


@dataclass(frozen=True, eq=False)
class Affine:
    """A map of the plane: matrix (2, 2) and shift (2,) in mas."""

    matrix: Floats
    shift: Floats

    def __call__(self, xy: Floats) -> Floats:
        """Return positions (N, 2) or (2,) mapped."""
        return np.asarray(xy @ self.matrix.T + self.shift, dtype=np.float64)

    def after(self, first: Affine) -> Affine:
        """Return the map that does ``first`` and then this one."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    def inverse(self) -> Affine:
        """Return the map back."""
        back = np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        return Affine(back, -back @ self.shift)

    @staticmethod
    def turn(roll_rad: float, shift: Floats, centre: Floats) -> Affine:
        """Return a rotation about a point, and then a shift."""
        c, s = float(np.cos(roll_rad)), float(np.sin(roll_rad))
        matrix: Floats = np.array([[c, -s], [s, c]])
        return Affine(matrix, centre - matrix @ centre + shift)


IDENTITY = Affine(np.eye(2), np.zeros(2))


@dataclass(frozen=True)
class Plane:
    """The plane tangent at the field's centre; positions in it are (xi, eta) in mas."""

    ra_deg: float
    dec_deg: float

    @staticmethod
    def of(images: Sequence[FieldImage]) -> Plane:
        """Return the plane tangent at the mean of the images' centres."""
        corners = []
        for image in images:
            ny, nx = image.shape
            ra, dec = np.radians(image.wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
            corners.append([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        x, y, z = np.mean(corners, axis=0)
        return Plane(
            float(np.degrees(np.arctan2(y, x)) % 360.0),
            float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
        )

    def positions(self, ra_deg: Floats, dec_deg: Floats) -> Floats:
        """Return (N, 2) positions in the plane."""
        return tangent_mas(np.asarray(ra_deg), np.asarray(dec_deg), self.ra_deg, self.dec_deg)

    def sky(self, xy: Floats) -> tuple[Floats, Floats]:
        """Return right ascension and declination of positions in the plane."""
        return sky_of_tangent(xy, self.ra_deg, self.dec_deg)


@dataclass(frozen=True, eq=False)
class View:
    """The detections of an image that may be used, brightest first, in the plane."""

    index: int
    image: FieldImage
    plane: Plane
    rows: Ints
    xy: Floats
    variance: Floats
    is_measured: Bools  # the variance, by `detect`; others are expected and may be scaled
    mag: Floats
    starlike: Bools
    at_rest: Bools  # extended, as far as is known: no star that moves
    corners: Floats  # (4, 2), mas

    @property
    def centre(self) -> Floats:
        """The middle of the image."""
        return np.asarray(self.corners.mean(axis=0))

    @property
    def area_arcsec2(self) -> float:
        """Its area."""
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self.corners / 1000.0
        return float(abs((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0)) / 2.0)


def view_of(index: int, image: FieldImage, plane: Plane, settings: AlignSettings) -> View:
    """Bring the detections of an image into the plane, by its header's WCS.

    Parameters
    ----------
    index : number of the image in the field
    image : FieldImage
    plane : Plane, tangent to the sky
    settings : AlignSettings
    """
    table = image.sources
    x, y = _values(table, "x"), _values(table, "y")
    flux = _values(table, "flux")
    rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & ~have_unreliable_centres(image))
    rows = rows[np.argsort(-np.nan_to_num(flux[rows], nan=-np.inf), kind="stable")]
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = image.zeropoint_ab - 2.5 * np.log10(flux[rows])
    size = np.hypot(_values(table, "semimajor_px"), _values(table, "semiminor_px")) / np.sqrt(2.0)
    error_px = centroid_errors_px(
        np.nan_to_num(flux[rows], nan=1e6),
        _values(table, "noise")[rows],
        size[rows],
        image.exptime_s,
    )
    measured = _values(table, "centroid_err_px")[rows]
    error_px = np.where(np.isfinite(measured), np.hypot(measured, CENTROID_FLOOR_PX), error_px)
    fits = _values(table, "psf_err_px")[rows]
    error_px = np.where(np.isfinite(fits), fits, error_px)
    wings = _wing_errors_px(table)[rows]
    error_px = np.where(np.isfinite(wings), wings, error_px)
    ny, nx = image.shape
    edge = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]])
    corners = plane.positions(*image.wcs.all_pix2world(edge[:, 0], edge[:, 1], 0))
    scale_mas = float(np.hypot(*(corners[1] - corners[0]))) / nx
    xy = plane.positions(*image.wcs.all_pix2world(x[rows], y[rows], 0))
    return View(
        index=index,
        image=image,
        plane=plane,
        rows=rows.astype(np.int64),
        xy=xy,
        variance=(error_px * scale_mas) ** 2,
        is_measured=np.isfinite(wings),
        mag=np.where(np.isfinite(mag), mag, np.nan),
        starlike=_starlike(table, settings)[rows],
        at_rest=np.asarray(_values(table, "p_star")[rows] < _GALAXY),
        corners=corners,
    )


def _values(table: Table, name: str) -> Floats:
    """Return a column as floats, NaN where masked and where the table has no such column."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    column = np.ma.asarray(getattr(table[name], "value", table[name])).astype(np.float64)
    return np.array(np.ma.filled(column, np.nan), dtype=np.float64)


def are_saturated(image: FieldImage) -> Bools:
    """Return the detections that are near saturation.

    Parameters
    ----------
    image : FieldImage with N detections
    """
    return np.asarray(_values(image.sources, "peak") > FULL_SHARE * image.saturation_rate)


def _have_wings(sources: Table) -> Bools:
    """Return the saturated stars whose positions are those of their wings (`detect`)."""
    return np.asarray(_values(sources, "centre_err_px") > 0)


def _wing_errors_px(sources: Table) -> Floats:
    """Return the errors of the positions from wings as if they were independent; NaN elsewhere.

    What the stars of an image share does not average out: each gets it as many times as there are
    stars, so that their mean has it once.
    """
    error, common_error = (
        _values(sources, name) for name in ("centre_err_px", "centre_shared_err_px")
    )
    n_more = max(int(np.count_nonzero(error > 0)) - 1, 0)
    total_error = np.sqrt(error**2 + n_more * np.nan_to_num(common_error) ** 2)
    return np.where(error > 0, total_error, np.nan)


def have_unreliable_centres(image: FieldImage) -> Bools:
    """Return the detections whose positions can't be trusted: saturated ones and their halos.

    A saturated star centred by its wings is not among them.

    Parameters
    ----------
    image : FieldImage with N detections
    """
    table, bad = image.sources, are_saturated(image)
    at = np.column_stack([_values(table, "x"), _values(table, "y")])
    bright = np.flatnonzero(bad & np.isfinite(at).all(axis=1))
    if bright.size:
        radius = 2.0 * np.nan_to_num(_values(table, "semimajor_px")[bright]) + _HALO_PX
        star, source, separation = pairs_within(at[bright], at, float(radius.max()))
        bad[source[separation <= radius[star]]] = True
    return np.asarray(bad & ~_have_wings(table))


def are_elongated(sources: Table, settings: AlignSettings) -> Bools:
    """Return the detections that are too elongated for a star.

    Parameters
    ----------
    sources : table of N detections
    settings : AlignSettings
    """
    return np.asarray(_values(sources, "ellipticity") > settings.max_ellipticity)


def are_cosmic_rays(sources: Table, settings: AlignSettings) -> Bools:
    """Return the detections of single exposures that are on the cosmic-ray mask.

    Where exposures were combined the cosmic rays are gone, and what the mask still
    holds there is the sharp cores of stars.

    Parameters
    ----------
    sources : table of N detections
    settings : AlignSettings
    """
    single = ~(_values(sources, "n_exp") > 1)
    return np.asarray(single & (_values(sources, "on_cr_mask") > settings.max_cr_share))


def _starlike(sources: Table, settings: AlignSettings) -> Bools:
    """Mark the detections that may be stars; a number that is missing speaks for them.

    What has the wings of a saturated star is one, however long its bleeding column.
    """
    other = are_elongated(sources, settings) | are_cosmic_rays(sources, settings)
    return np.asarray(~other | _have_wings(sources), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Stars:
    """The usable reference stars in reach, in the plane, at the mean time of the images."""

    rows: Ints  # of the reference table
    xy: Floats
    motion: dict[int, Floats]  # by image: what has been added since, at its own time
    variance: Floats
    motion_variance: Floats  # of the motion that they are carried with, (mas/yr)^2 per axis
    mag: Floats
    source_id: Ints
    release: str
    problem: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, n: int) -> Stars:
        """Return about n of the stars, of all magnitudes."""
        step = -(-len(self) // n)
        keep = np.sort(np.argsort(self.mag, kind="stable")[::step])
        motion = {k: values[keep] for k, values in self.motion.items()}
        return Stars(
            self.rows[keep],
            self.xy[keep],
            motion,
            self.variance[keep],
            self.motion_variance[keep],
            self.mag[keep],
            self.source_id[keep],
            self.release,
        )


def stars_near(
    reference: ReferenceStars | None,
    plane: Plane,
    views: Sequence[View],
    settings: AlignSettings,
) -> Stars:
    """Bring the reference stars near the images into the plane.

    Parameters
    ----------
    reference : ReferenceStars; None without any
    plane : Plane, tangent to the sky
    views : View of each image
    settings : AlignSettings
    """
    times = [view.image.mjd for view in views if np.isfinite(view.image.mjd)]
    if reference is None or not len(reference):
        return _no_stars("no reference stars")
    if not times:
        return _no_stars("the time of the observation is unknown")
    mjd = float(np.mean(times))
    xy = plane.positions(*reference.positions_at(mjd))
    corners = np.concatenate([view.corners for view in views])
    margin = _margin_mas(settings, corners)
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    near = ((xy >= low) & (xy <= high)).all(axis=1) & reference.usable
    rows = np.flatnonzero(near).astype(np.int64)
    spread_yr = max(view.image.epoch_spread_yr for view in views)
    motion = settings.typical_motion_mas_yr
    errors = np.column_stack(reference.errors_at(mjd, motion, spread_yr))[rows]
    table = reference.table
    return Stars(
        rows=rows,
        xy=xy[rows],
        motion={
            v.index: plane.positions(*reference.positions_at(v.image.mjd))[rows] - xy[rows]
            for v in views
            if np.isfinite(v.image.mjd)
        },
        variance=np.maximum(
            np.where(np.isfinite(errors), errors, settings.unknown_error_mas), _LEAST_ERROR_MAS
        )
        ** 2,
        motion_variance=_motion_variance(table, motion)[rows],
        mag=np.asarray(np.ma.filled(table["phot_g_mean_mag"], np.nan), dtype=np.float64)[rows],
        source_id=np.asarray(table["source_id"], dtype=np.int64)[rows],
        release=str(table.meta.get("release", "")),
        problem="" if rows.size else "no reference stars near the image",
    )


def _no_stars(problem: str) -> Stars:
    nothing, none = np.empty((0, 2)), np.empty(0, np.int64)
    return Stars(none, nothing, {}, nothing, np.empty(0), np.empty(0), none, "", problem)


def _motion_variance(table: Table, typical_mas_yr: float) -> Floats:
    """Return the variance of each star's motion per axis; of one without, that of the stars."""
    errors = [_values(table, name) for name in ("pmra_error", "pmdec_error")]
    variance = 0.5 * (errors[0] ** 2 + errors[1] ** 2)
    return np.where(np.isfinite(variance), variance, typical_mas_yr**2)


def _margin_mas(settings: AlignSettings, corners: Floats) -> float:
    """Return how far a star may lie from where the headers have it."""
    half_diagonal = float(np.hypot(*(np.ptp(corners, axis=0)))) / 2.0
    roll = np.deg2rad(settings.max_roll_deg) * half_diagonal
    return float(settings.max_shift_arcsec * 1000.0 + roll + 1000.0)


def pixels_of(xy: Floats, view: View, wcs: WCS) -> tuple[Floats, Floats, Bools]:
    """Return the pixels of positions (N, 2) in the true plane, and which lie in the array.

    Parameters
    ----------
    xy : (N, 2) float, mas in the plane
    view : View of the image
    wcs : of the image
    """
    if not len(xy):
        return np.empty(0), np.empty(0), np.zeros(0, dtype=np.bool_)
    x, y = wcs.all_world2pix(*view.plane.sky(xy), 0, quiet=True)
    ny, nx = view.image.shape
    return x, y, np.asarray((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5))
