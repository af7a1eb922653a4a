"""What the stage of objects takes and gives: detections, the list, and what is measured at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.stages.exposure_light import ExposureLight
from bycatch.stages.objects.stamps import SkyEllipses, Stamps
from bycatch.stages.psf.of_image import StarPsf
from bycatch.tangent import MAS_PER_DEG

ORIGIN_IMAGE, ORIGIN_COMBINED, ORIGIN_USER = 1, 2, 4
"""Bits of the column ``origin``."""


def field_of(label: str) -> str:
    """Return the field of an image.

    Parameters
    ----------
    label : ``<field>/<filter>/<root>``
    """
    return label.split("/", maxsplit=1)[0]


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What one image of a group shows, on the sky.

    Attributes
    ----------
    label : ``<field>/<filter>/<root>``
    filter : its filter
    mjd : mid-time of its exposures
    ra_deg, dec_deg : (N,) float, in the group's frame
    err_mas : (N,) float, errors of the centres per axis, without the frame's
    frame_err_mas : error of the frame per axis
    snr : (N,) float
    size_arcsec : (N,) float, rms radii; 0 of points
    is_cosmic_ray : (N,) bool; where the image alone is all but sure of it
    source_id : (N,) int, numbers in the image's own catalog; 0: not in it
    ellipses : of its total fluxes; NaN of points, and where its catalog has none
    is_blended : (N,) bool; these ellipses hold much of what is not the source (flag total_blended)
    floor_mas : error of the centres of bright stars, which is part of ``err_mas``
    """

    label: str
    filter: str
    mjd: float
    ra_deg: Floats
    dec_deg: Floats
    err_mas: Floats
    frame_err_mas: float
    snr: Floats
    size_arcsec: Floats
    is_cosmic_ray: Bools
    source_id: Ints
    ellipses: SkyEllipses
    is_blended: Bools
    floor_mas: float = 0.0


@dataclass(frozen=True, eq=False)
class Motion:
    """Motions of N objects; NaN where the epochs are not enough.

    Attributes
    ----------
    pm_mas_yr, pm_err_mas_yr : (N, 2) float; along RA (times cos(dec)) and Dec
    parallax_mas, parallax_err_mas : (N,) float
    chi2_dof : (N,) float
    """

    pm_mas_yr: Floats
    pm_err_mas_yr: Floats
    parallax_mas: Floats
    parallax_err_mas: Floats
    chi2_dof: Floats

    @staticmethod
    def none(n: int) -> Motion:
        """Return that of objects of which nothing is known."""
        two, one = np.full((n, 2), np.nan), np.full(n, np.nan)
        return Motion(two, two.copy(), one, one.copy(), one.copy())

    def take(self, which: Bools) -> Motion:
        """Return that of some of them."""
        return Motion(*(value[which] for value in vars(self).values()))

    def and_of(self, n: int) -> Motion:
        """Return that of these and of more objects of which nothing is known."""
        pairs = zip(vars(self).values(), vars(Motion.none(n)).values(), strict=True)
        return Motion(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class ObjectList:
    """The objects of a group: N of them, in M images.

    Attributes
    ----------
    ra_deg, dec_deg : (N,) float; at ``mjd``
    err_mas : (N,) float; per axis, without what the frames of the group have in common
    chi2_dof : (N,) float; of the positions in the images; NaN of one
    mjd : (N,) float; mean time of the images that detected it; NaN of none
    origin : (N,) int; sum of `ORIGIN_IMAGE`, `ORIGIN_COMBINED` and `ORIGIN_USER`
    detection : (N, M) int; row in the detections of each image; -1: not detected there
    list_row : (N,) int; row in the user's list, from 1; 0: not in it
    motion : of the objects
    n_cosmic_rays : detections that were left out, as cosmic rays that one image alone shows
    """

    ra_deg: Floats
    dec_deg: Floats
    err_mas: Floats
    chi2_dof: Floats
    mjd: Floats
    origin: Ints
    detection: Ints
    list_row: Ints
    motion: Motion
    n_cosmic_rays: int = 0

    def __len__(self) -> int:
        return len(self.ra_deg)

    def take(self, which: Bools) -> ObjectList:
        """Return some of the objects."""
        rows: dict[str, Any] = {name: value[which] for name, value in self.arrays().items()}
        return replace(self, **rows, motion=self.motion.take(which))

    def and_of(self, more: ObjectList) -> ObjectList:
        """Return these objects and more."""
        others = more.arrays()
        rows: dict[str, Any] = {
            name: np.concatenate([value, others[name]]) for name, value in self.arrays().items()
        }
        return replace(self, **rows, motion=self.motion.and_of(len(more)))

    def arrays(self) -> dict[str, Any]:
        """Return what is one row for each object."""
        return {k: v for k, v in vars(self).items() if k not in {"motion", "n_cosmic_rays"}}

    def positions_at(self, mjd: float) -> tuple[Floats, Floats]:
        """Return right ascensions and declinations at a time, degrees."""
        years = np.nan_to_num((mjd - self.mjd) / DAYS_PER_YEAR)
        shift = np.nan_to_num(self.motion.pm_mas_yr) * years[:, np.newaxis] / MAS_PER_DEG
        dec = self.dec_deg + shift[:, 1]
        return self.ra_deg + shift[:, 0] / np.cos(np.radians(dec)), dec


@dataclass(frozen=True, eq=False)
class ColourGrid:
    """What the colours of a group's extended objects are measured in.

    Attributes
    ----------
    ellipses : of the N objects; NaN of points
    step_arcsec : of the stamps of all images
    """

    ellipses: SkyEllipses
    step_arcsec: float

    def without(self, points: Bools) -> ColourGrid:
        """Return it without the ellipses of what all images together take for points, (N,)."""
        return replace(self, ellipses=self.ellipses.where(~points))


@dataclass(frozen=True, eq=False)
class PsfFluxes:
    """What an image's PSF makes of the K objects that it covers: as of points.

    Attributes
    ----------
    flux, err : (K,) float; flux density (f_lambda), erg / (Angstrom s cm2), on the scale of the
        corrected apertures, and its random error
    sky_err : (K,) float; the error of a source without light
    width_err : (K,) float; the part of ``err`` by which widths scatter from star to star
    holds : (K,) bool; the core has data and is not full
    scale_err : relative error of the scale, common to all objects
    radius_px : of the apertures that gave the scale
    """

    flux: Floats
    err: Floats
    sky_err: Floats
    width_err: Floats
    holds: Bools
    scale_err: float
    radius_px: float


@dataclass(frozen=True, eq=False)
class ImageExposures:
    """The exposures of an image, of which the flc or flt files are at hand: E of them.

    Attributes
    ----------
    light : of the K objects that the image covers
    mjd : (E,) float; mid-times, NaN where the image does not say
    ra_deg, dec_deg : (K, E) float; where the light is, in the group's frame
    flux_per_rate : flux density (f_lambda) of a point of 1 e/s in the aperture
    """

    light: ExposureLight
    mjd: Floats
    ra_deg: Floats
    dec_deg: Floats
    flux_per_rate: float


@dataclass(frozen=True, eq=False)
class ImagePhotometry:
    """The objects of a group as one image measures them.

    Attributes
    ----------
    label, filter, mjd : of the image
    exptime_s, n_exposures : likewise
    scale_arcsec : of its pixels
    grade, frame_err_mas : of its alignment
    pivot_angstrom : of its filter
    microjansky : f_nu of a flux density (f_lambda) of 1 erg / (Angstrom s cm2)
    rate_per_microjansky : e/s of an f_nu of 1 microjansky
    rows : (K,) int; the objects that it covers
    table : K rows of `finalize` (catalog_columns.CAT)
    own_ra_deg, own_dec_deg, own_err_mas : (K,) float; where the image itself detected it; NaN else
    source_id : (K,) int
    area_arcsec2 : that holds data
    n_cosmic_rays : detections that the image alone is all but sure are cosmic rays
    psf : of its stars; None without one
    stamps : of the extended objects; None where no colours are made of them
    psf_fluxes : of the objects; None where they were not fitted
    exposures : of the image; None where fewer than two are at hand
    """

    label: str
    filter: str
    mjd: float
    exptime_s: float
    n_exposures: int
    scale_arcsec: float
    grade: str
    frame_err_mas: float
    pivot_angstrom: float
    microjansky: float
    rate_per_microjansky: float
    rows: Ints
    table: Table
    own_ra_deg: Floats
    own_dec_deg: Floats
    own_err_mas: Floats
    source_id: Ints
    area_arcsec2: float = 0.0
    n_cosmic_rays: int = 0
    psf: StarPsf | None = None
    stamps: Stamps | None = None
    psf_fluxes: PsfFluxes | None = None
    exposures: ImageExposures | None = None

    @property
    def detected(self) -> Bools:
        """(K,) bool; True where the image itself detected the object."""
        return np.isfinite(self.own_ra_deg)

    def offsets_mas(self, objects: ObjectList) -> tuple[Floats, Floats]:
        """Return its own positions minus the objects' at its time, along RA and Dec, (K,) each."""
        return offsets_mas(objects, self.rows, self.mjd, self.own_ra_deg, self.own_dec_deg)


def offsets_mas(
    objects: ObjectList, rows: Ints, mjd: float, ra_deg: Floats, dec_deg: Floats
) -> tuple[Floats, Floats]:
    """Return positions minus those of objects at a time, along RA and Dec, (K,) mas each.

    Parameters
    ----------
    objects : the list
    rows : (K,) which of them
    mjd : the time
    ra_deg, dec_deg : (K,) float
    """
    ra, dec = (v[rows] for v in objects.positions_at(mjd))
    return (
        (ra_deg - ra) * np.cos(np.radians(dec)) * MAS_PER_DEG,
        (dec_deg - dec) * MAS_PER_DEG,
    )
