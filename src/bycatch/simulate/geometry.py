"""Where a detector pixel looks: distortion, dithers, output grid, true and erroneous WCS.

Everything is linear algebra in one tangent plane: ``(u, v)`` are arcsec along
the detector's rows and columns, free of distortion, from the field's centre.
Dithers are shifts in it, the output grid is a rotation and a scale of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.settings import SimulateSettings

NATIVE_SCALE_ARCSEC = 0.05
# Shares of the two axes in the change of pixel area, in proportion to ACS/WFC: mostly along the
# columns; they add up to 1 in a corner.
AREA_SHARE_X, AREA_SHARE_Y = 0.33, 0.67


@dataclass(frozen=True)
class Chip:
    """One chip: its number and the row of the detector on which it starts."""

    number: int
    first_row: int
    columns: int
    rows: int

    def pixels(self) -> tuple[Floats, Floats]:
        """Return detector positions (x, y) of the pixels, (rows, columns) each."""
        y, x = np.mgrid[: self.rows, : self.columns].astype(float)
        return x, y + self.first_row


@dataclass(frozen=True)
class Detector:
    """The two chips and the polynomial from detector pixels to the tangent plane.

    ``u = s (X + k Y + L (a xi^2 + b xi eta + c eta^2))`` with ``xi = X / L``,
    ``eta = Y / L``, and the same for ``v``: a rhombus whose pixel area varies
    linearly over the frame, as that of ACS/WFC does (Anderson & King 2006, ACS
    ISR 2006-01).  ``L`` is half of the frame's size, so that a small frame
    shows the whole variation.
    """

    columns: int
    rows: int
    gap: int
    distortion: float
    skew: float

    @property
    def chips(self) -> tuple[Chip, Chip]:
        """The chips in the order of drizzling: WFC2 (bottom) is the first extension."""
        return (
            Chip(2, 0, self.columns, self.rows),
            Chip(1, self.rows + self.gap, self.columns, self.rows),
        )

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the centre, detector pixels."""
        return 0.5 * (self.columns - 1), 0.5 * (2 * self.rows + self.gap - 1)

    @property
    def half_size(self) -> float:
        """Half of the larger side, pixels."""
        return 0.5 * max(self.columns, 2 * self.rows + self.gap)

    def _coefficients(self) -> tuple[Floats, Floats]:
        gx, gy = self.distortion * AREA_SHARE_X, self.distortion * AREA_SHARE_Y
        # The area grows as 1 + (2 a_u + b_v) xi + (b_u + 2 c_v) eta.
        return (
            np.array([0.30 * gx, 0.40 * gy, -0.15 * gx]),
            np.array([-0.10 * gy, 0.40 * gx, 0.30 * gy]),
        )

    def to_plane(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return (u, v) in arcsec of detector pixels."""
        cx, cy = self.centre
        dx, dy, size = x - cx, y - cy, self.half_size
        xi, eta = dx / size, dy / size
        au, av = self._coefficients()
        terms = (xi * xi, xi * eta, eta * eta)
        u = dx + self.skew * dy + size * sum(a * t for a, t in zip(au, terms, strict=True))
        v = dy + self.skew * dx + size * sum(a * t for a, t in zip(av, terms, strict=True))
        return NATIVE_SCALE_ARCSEC * u, NATIVE_SCALE_ARCSEC * v

    def jacobian(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return du/dx, du/dy, dv/dx, dv/dy in units of the nominal pixel."""
        cx, cy = self.centre
        xi, eta = (x - cx) / self.half_size, (y - cy) / self.half_size
        au, av = self._coefficients()
        return (
            1.0 + 2.0 * au[0] * xi + au[1] * eta,
            self.skew + au[1] * xi + 2.0 * au[2] * eta,
            self.skew + 2.0 * av[0] * xi + av[1] * eta,
            1.0 + av[1] * xi + 2.0 * av[2] * eta,
        )

    def area(self, x: Floats, y: Floats) -> Floats:
        """Return the area of detector pixels on the sky, in nominal pixels."""
        ux, uy, vx, vy = self.jacobian(x, y)
        return ux * vy - uy * vx

    def from_plane(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return the detector pixels that look at (u, v): Newton's method on `to_plane`."""
        cx, cy = self.centre
        x, y = u / NATIVE_SCALE_ARCSEC + cx, v / NATIVE_SCALE_ARCSEC + cy
        for _ in range(8):
            fu, fv = self.to_plane(x, y)
            du, dv = (u - fu) / NATIVE_SCALE_ARCSEC, (v - fv) / NATIVE_SCALE_ARCSEC
            ux, uy, vx, vy = self.jacobian(x, y)
            det = ux * vy - uy * vx
            x = x + (vy * du - uy * dv) / det
            y = y + (ux * dv - vx * du) / det
        return x, y

    def on_chip(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Tell which positions lie on either chip."""
        row = y + 0.5
        on_rows = ((row >= 0) & (row < self.rows)) | (
            (row >= self.rows + self.gap) & (row < 2 * self.rows + self.gap)
        )
        return (x >= -0.5) & (x < self.columns - 0.5) & on_rows


@dataclass(frozen=True)
class Grid:
    """The output grid of one image.

    Attributes
    ----------
    shape : (ny, nx)
    centre : (x, y) of the field's centre, pixels
    scale_arcsec : pixel scale
    rotation_deg : angle of the grid's y axis from the detector's, anticlockwise
    """

    shape: tuple[int, int]
    centre: tuple[float, float]
    scale_arcsec: float
    rotation_deg: float

    def from_plane(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return the output pixels (x, y) of (u, v)."""
        cos, sin = _cos_sin(self.rotation_deg)
        x = (cos * u + sin * v) / self.scale_arcsec + self.centre[0]
        y = (cos * v - sin * u) / self.scale_arcsec + self.centre[1]
        return x, y


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    angle = math.radians(angle_deg)
    return math.cos(angle), math.sin(angle)


def detector_of(settings: SimulateSettings) -> Detector:
    """Return the detector of the settings."""
    return Detector(
        columns=settings.n_columns,
        rows=settings.n_rows,
        gap=settings.gap_px,
        distortion=settings.distortion_percent / 100.0,
        # Both axes are tilted towards one another by half of the angle.
        skew=math.tan(math.radians(settings.skew_deg) / 2.0),
    )


def dithers_arcsec(settings: SimulateSettings, n_exposures: int) -> list[tuple[float, float]]:
    """Return the shifts (u, v) of the exposures of an image, around their mean, arcsec."""
    middle = 0.5 * (n_exposures - 1)
    # The mean is rounded to whole steps, so that dithers by whole pixels stay on whole pixels.
    return [
        (
            (k - math.floor(middle)) * settings.dither_x_px * NATIVE_SCALE_ARCSEC,
            (k - math.floor(middle)) * settings.dither_y_px * NATIVE_SCALE_ARCSEC,
        )
        for k in range(n_exposures)
    ]


def displace(settings: SimulateSettings, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return where objects at (u, v) appear, arcsec: distortion that no WCS knows.

    A smooth pattern of ``simulate.residual_distortion_mas`` rms per axis, which a cubic does not
    fit well, and a shift of the upper chip alone.
    """
    detector = detector_of(settings)
    size = NATIVE_SCALE_ARCSEC * detector.half_size
    wave, chip = settings.residual_distortion_mas / 1e3, settings.chip_shift_mas / 1e3
    if wave == 0 and chip == 0:
        return u, v
    a, b = u / size, v / size
    du = wave * math.sqrt(2.0) * np.sin(2.6 * a + 1.1 * b + 0.4)
    dv = wave * math.sqrt(2.0) * np.sin(1.3 * a - 2.9 * b + 1.9)
    _, y = detector.from_plane(u, v)
    upper = y > detector.centre[1]
    return u + du + chip * upper, v + dv - 0.5 * chip * upper


def outline(detector: Detector) -> tuple[Floats, Floats]:
    """Return (u, v) along the outline of the detector, arcsec."""
    t = np.linspace(-0.5, detector.columns - 0.5, 33)
    s = np.linspace(-0.5, 2 * detector.rows + detector.gap - 0.5, 33)
    x = np.concatenate([t, t, np.full(33, t[0]), np.full(33, t[-1])])
    y = np.concatenate([np.full(33, s[0]), np.full(33, s[-1]), s, s])
    return detector.to_plane(x, y)


def output_grid(settings: SimulateSettings, n_exposures: int) -> Grid:
    """Return the grid that holds all exposures of an image, with a border of 5 pixels."""
    rotation = -settings.position_angle_deg if settings.grid == "north" else 0.0
    plain = Grid((0, 0), (0.0, 0.0), settings.scale_arcsec, rotation)
    u, v = outline(detector_of(settings))
    corners = [plain.from_plane(u + du, v + dv) for du, dv in dithers_arcsec(settings, n_exposures)]
    x = np.concatenate([c[0] for c in corners])
    y = np.concatenate([c[1] for c in corners])
    left, bottom = math.floor(x.min()) - 5, math.floor(y.min()) - 5
    shape = (math.ceil(y.max()) + 5 - bottom + 1, math.ceil(x.max()) + 5 - left + 1)
    return Grid(shape, (float(-left), float(-bottom)), settings.scale_arcsec, rotation)


def true_wcs(settings: SimulateSettings, grid: Grid) -> WCS:
    """Return the WCS that is right: in the frame of Gaia, at the epoch of the visit."""
    return _wcs(settings, grid, 0.0, 0.0, 0.0)


def header_wcs(settings: SimulateSettings, grid: Grid) -> WCS:
    """Return the WCS of the header: off by the pointing and roll errors."""
    return _wcs(
        settings,
        grid,
        settings.pointing_error_ra_arcsec,
        settings.pointing_error_dec_arcsec,
        settings.roll_error_deg,
    )


def _wcs(
    settings: SimulateSettings, grid: Grid, east_arcsec: float, north_arcsec: float, roll_deg: float
) -> WCS:
    cos, sin = _cos_sin(settings.position_angle_deg + grid.rotation_deg + roll_deg)
    step = grid.scale_arcsec / 3600.0
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [
        settings.ra_deg + east_arcsec / 3600.0 / math.cos(math.radians(settings.dec_deg)),
        settings.dec_deg + north_arcsec / 3600.0,
    ]
    wcs.wcs.crpix = [grid.centre[0] + 1.0, grid.centre[1] + 1.0]
    wcs.wcs.cd = step * np.array([[-cos, sin], [sin, cos]])
    wcs.pixel_shape = (grid.shape[1], grid.shape[0])
    wcs.wcs.set()
    return wcs


def plane_to_sky(settings: SimulateSettings, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return (ra, dec) in degrees of places on the plane of a visit."""
    grid = output_grid(settings, 1)
    ra, dec = true_wcs(settings, grid).all_pix2world(*grid.from_plane(u, v), 0)
    return np.asarray(ra), np.asarray(dec)


def sky_to_plane(settings: SimulateSettings, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Return the (u, v) of positions on the sky (degrees) on the plane of a visit, arcsec."""
    grid = output_grid(settings, 1)
    x, y = true_wcs(settings, grid).all_world2pix(ra, dec, 0)
    cos, sin = _cos_sin(grid.rotation_deg)
    x, y = ((w - c) * grid.scale_arcsec for w, c in zip((x, y), grid.centre, strict=True))
    return cos * x - sin * y, sin * x + cos * y
