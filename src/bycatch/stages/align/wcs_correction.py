"""The WCS of an image with its correction applied, and what that has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.wcs import Sip
from numpy.polynomial.polynomial import polyval2d

from bycatch.arrays import Floats
from bycatch.images.wcs import tangent_fit
from bycatch.sky.astrometry import VarianceMap
from bycatch.stages.align.coverage import Coverage
from bycatch.stages.align.distortion import Bend, Residual
from bycatch.stages.align.model import FieldImage
from bycatch.stages.align.plane import IDENTITY, Affine, Plane, View, pixels_of
from bycatch.tangent import MAS_PER_DEG, sky_of_tangent, tangent_mas

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from bycatch.sky.astrometry import FrameError


_MAP_POINTS = 13


def typical_error(error: FrameError, image: FieldImage, wcs: WCS) -> float:
    """Return the rms error per axis of a frame over an image.

    Parameters
    ----------
    error : FrameError
    image : FieldImage
    wcs : of the image
    """
    ny, nx = image.shape
    y, x = np.mgrid[0:1:5j, 0:1:5j]
    along = error.at(*wcs.all_pix2world(x.ravel() * (nx - 1), y.ravel() * (ny - 1), 0))
    return float(np.sqrt(np.mean(np.square(along))))


def variance_map(
    error: FrameError,
    view: View,
    wcs: WCS,
    residual: Residual,
    coverage: Coverage,
    denied_mas: float,
) -> VarianceMap:
    """Return what the error of a frame lacks of that of its residual distortion.

    A half of the image whose stars match nothing is off by ``denied_mas`` at least.

    Parameters
    ----------
    error : FrameError
    view : View of the image
    wcs : of the image, aligned
    residual : Residual, what the fit leaves
    coverage : Coverage, which halves have pairs
    denied_mas : mas
    """
    ny, nx = view.image.shape
    edge = np.array([[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]])
    ra, dec = wcs.all_pix2world(*edge.T, 0)
    box = tangent_mas(ra, dec, error.ra_deg, error.dec_deg) / 1000.0
    axes = np.linspace(box.min(axis=0), box.max(axis=0), _MAP_POINTS, axis=1)
    at = np.column_stack([v.ravel() for v in np.meshgrid(*axes)]) * 1000.0
    xy = view.plane.positions(*sky_of_tangent(at, error.ra_deg, error.dec_deg))
    extra = residual.extra_variance(xy)
    extra[coverage.is_denied(*pixels_of(xy, view, wcs)[:2])] += denied_mas**2
    extra = extra.T.reshape(2, _MAP_POINTS, _MAP_POINTS)
    return VarianceMap(axes[:, 0], axes[:, 1] - axes[:, 0], extra)


def centre_of(image: FieldImage, wcs: WCS) -> tuple[float, float]:
    """Return right ascension and declination of the middle of an image.

    Parameters
    ----------
    image : FieldImage
    wcs : of the image
    """
    ny, nx = image.shape
    ra, dec = wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    return float(ra), float(dec)


def corrected_wcs(
    wcs: WCS, plane: Plane, frame: Affine, move: Affine | Bend, shape: tuple[int, int]
) -> WCS:
    """Return the WCS of an image's header, corrected.

    Parameters
    ----------
    wcs : of the header
    plane : in which it is corrected
    frame : a map of the plane, applied to CRVAL and the CD matrix
    move : what comes after it; a polynomial is written as SIP
    shape : (ny, nx) of the image
    """
    if isinstance(move, Bend):
        return _wcs_with_sip(wcs, plane, frame, move, shape)
    frame = frame if move is IDENTITY else move.after(frame)
    return wcs if frame is IDENTITY else _wcs_with_move(wcs, plane, frame)


def _wcs_with_sip(wcs: WCS, plane: Plane, frame: Affine, bend: Bend, shape: tuple[int, int]) -> WCS:
    """Return a TAN-SIP of what a WCS becomes by a map and a polynomial of the plane."""

    def sky(x: Floats, y: Floats) -> Floats:
        positions = plane.positions(*wcs.all_pix2world(x, y, 0))
        return np.stack(plane.sky(bend(frame(positions))))

    ny, nx = shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, 17), np.linspace(0, ny - 1, 17)))
    point = (float(wcs.wcs.crpix[0]) - 1.0, float(wcs.wcs.crpix[1]) - 1.0)
    tangent = sky(*np.array(point)[:, np.newaxis])[:, 0]
    order = max(bend.order, 1 if wcs.sip is None else wcs.sip.a_order)
    new = tangent_fit(x, y, sky(x, y), point, tangent, order)
    assert new is not None, "a WCS that gave a fit has positions all over the image"
    new.sip = _with_inverse(new.sip, x - point[0], y - point[1])
    new.pixel_shape = (nx, ny)
    new.wcs.name = wcs.wcs.name
    return new


def _with_inverse(sip: Sip, u: Floats, v: Floats) -> Sip:
    """Return a SIP with AP and BP, which undo A and B at pixels: some readers do not iterate."""
    n = sip.a.shape[0]
    offsets = np.stack([polyval2d(u, v, sip.a), polyval2d(u, v, sip.b)], axis=1)
    at = np.column_stack([u, v]) + offsets
    unit = float(np.abs(at).max())
    powers = [(p, m - p) for m in range(n) for p in range(m, -1, -1)]
    terms = np.stack([np.prod((at / unit) ** pair, axis=1) for pair in powers], axis=1)
    back = np.zeros((2, n, n))
    for (p, q), term in zip(powers, np.linalg.lstsq(terms, -offsets, rcond=None)[0], strict=True):
        back[:, p, q] = term / unit ** (p + q)
    return Sip(sip.a, sip.b, *back, sip.crpix)


def _wcs_with_move(wcs: WCS, plane: Plane, frame: Affine) -> WCS:
    """Return a header's WCS with a map of the plane applied to CRVAL and the CD matrix."""
    new = wcs.deepcopy()
    pixel = wcs.wcs.crpix - 1.0
    step = 500.0
    points = pixel + step * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    ra, dec = plane.sky(frame(plane.positions(*wcs.wcs_pix2world(*points.T, 0))))
    # In the plane tangent at the new reference point the map is linear again, to 0.01 mas.
    local = tangent_mas(ra, dec, float(ra[0]), float(dec[0])) / MAS_PER_DEG
    matrix = np.column_stack([local[1] - local[2], local[3] - local[4]]) / (2.0 * step)
    new.wcs.crval = [ra[0], dec[0]]
    if new.wcs.has_cd():
        new.wcs.cd = matrix
    else:
        new.wcs.cdelt = [1.0, 1.0]
        new.wcs.pc = matrix
    # Whatever frame the header named, the sky positions are Gaia's now.
    new.wcs.radesys = "ICRS"
    new.wcs.equinox = np.nan
    new.wcs.set()
    return new


def change_at_centre(image: FieldImage, after: WCS) -> tuple[float, float, float, float]:
    """Return what was added at the image's centre [mas], to the angle of y [deg], to the scale.

    Parameters
    ----------
    image : FieldImage, with its WCS before the alignment
    after : WCS after it
    """
    before = image.wcs
    if after is before:
        return 0.0, 0.0, 0.0, 0.0
    ny, nx = image.shape
    x, y = (nx - 1) / 2.0, (ny - 1) / 2.0
    points = np.array([[x, y], [x, y + 100.0], [x + 100.0, y]])
    frames = [np.stack(w.all_pix2world(*points.T, 0), axis=1) for w in (before, after)]
    ra0, dec0 = (float(v) for v in frames[0][0])
    old, new = (tangent_mas(sky[:, 0], sky[:, 1], ra0, dec0) for sky in frames)
    angles = [np.degrees(np.arctan2(p[1, 0] - p[0, 0], p[1, 1] - p[0, 1])) for p in (old, new)]
    areas = [abs(np.linalg.det(np.array([p[1] - p[0], p[2] - p[0]]))) for p in (old, new)]
    turn = (angles[1] - angles[0] + 180.0) % 360.0 - 180.0
    dra, ddec = new[0] - old[0]
    return float(dra), float(ddec), float(turn), float(0.5e6 * (areas[1] / areas[0] - 1.0))
