"""What `measure.run` is given besides the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.tables import floats
from bycatch.images.chips import ChipQuality
from bycatch.sky.astrometry import FrameError
from bycatch.sky.gaia import ReferenceStars
from bycatch.stages.measure.elsewhere import OtherImage

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS


@dataclass(frozen=True, eq=False)
class Targets:
    """Positions to measure.

    Attributes
    ----------
    x, y : (N,) float, 0-based pixel centres; positions off the image, or NaN, give flagged rows
        without values
    ids : (N,) int; 1, 2, ... by default
    exposure_sets : (N,) int, which exposures look at them
        (`bycatch.images.exposures.exposure_sets`); 0 where that is not known
    centre_err_px : (N,) float, errors per axis of the positions where `detect` has measured them;
        NaN: what is expected of a centroid
    may_be_piece : (N,) bool, within the light of a larger source that they were deblended from
    neighbours_rate : (N, 4) light of other stars within 1, 2, 3 and 4 native pixels, e/s, as fits
        of the PSF; 0 where there is none
    sky_rate : (N,) sky beneath all stars, e/s per pixel, likewise; NaN: that of the annulus
    is_wide : (N,) bool, wider than the PSF by its fits: apertures and shapes are those of
        the image without `Pixels.star_light`
    centroid_err_px : (N,) float, errors per axis of centroids by their noise, where `detect` has
        measured them; NaN: what is expected of a source of this flux

    Raises
    ------
    ValueError
        They are not of one length.
    """

    x: Floats
    y: Floats
    ids: Ints
    exposure_sets: Ints
    centre_err_px: Floats
    may_be_piece: Bools
    neighbours_rate: Floats
    sky_rate: Floats
    is_wide: Bools
    centroid_err_px: Floats

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        ids: ArrayLike | None = None,
        exposure_sets: ArrayLike | None = None,
        centre_err_px: ArrayLike | None = None,
        may_be_piece: ArrayLike | None = None,
        neighbours_rate: ArrayLike | None = None,
        sky_rate: ArrayLike | None = None,
        is_wide: ArrayLike | None = None,
        *,
        centroid_err_px: ArrayLike | None = None,
    ) -> None:
        columns = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
        number = np.arange(1, len(columns[0]) + 1) if ids is None else np.asarray(ids)
        sets = np.zeros(len(number), np.int64) if exposure_sets is None else exposure_sets
        errors = np.full(len(number), np.nan) if centre_err_px is None else centre_err_px
        centroids = np.full(len(number), np.nan) if centroid_err_px is None else centroid_err_px
        pieces = np.zeros(len(number), bool) if may_be_piece is None else may_be_piece
        light = np.zeros((len(number), 4)) if neighbours_rate is None else neighbours_rate
        sky = np.full(len(number), np.nan) if sky_rate is None else sky_rate
        wide = np.zeros(len(number), bool) if is_wide is None else is_wide
        names = (
            "x", "y", "ids", "exposure_sets", "centre_err_px", "may_be_piece", "neighbours_rate",
            "sky_rate", "is_wide", "centroid_err_px",
        )  # fmt: skip
        values = (
            *columns,
            number,
            np.asarray(sets),
            np.asarray(errors, dtype=float),
            np.asarray(pieces, dtype=bool),
            np.asarray(light, dtype=float),
            np.asarray(sky, dtype=float),
            np.asarray(wide, dtype=bool),
            np.asarray(centroids, dtype=float),
        )
        if len({len(value) for value in values}) > 1:
            lengths = ", ".join(f"{n}: {len(v)}" for n, v in zip(names, values, strict=True))
            msg = f"targets are of different lengths: {lengths}"
            raise ValueError(msg)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, table: Table, exposure_sets: ArrayLike | None = None) -> Targets:
        """Return the positions of a table of detections."""
        x, y, ids = (np.asarray(table[name]) for name in ("x", "y", "id"))
        names = table.colnames
        errors, centroids = (
            floats(table, name) if name in names else None
            for name in ("centre_err_px", "centroid_err_px")
        )
        pieces = np.asarray(table["piece_of"]) > 0 if "piece_of" in names else None
        return cls(x, y, ids, exposure_sets, errors, pieces, centroid_err_px=centroids)

    def take(self, which: Bools) -> Targets:
        """Return some of them."""
        return Targets(**{name: values[which] for name, values in vars(self).items()})

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class SkyFrame:
    """Where the pixels lie on the sky.

    Attributes
    ----------
    wcs : the aligned WCS
    error : the error of that frame
    """

    wcs: WCS
    error: FrameError | None = None


@dataclass(frozen=True, eq=False)
class FieldContext:
    """What the field knows besides the image.

    Attributes
    ----------
    reference : Gaia stars to match with, and whose light reaches far
    chips : data quality of the exposures, as far as it is known
    others : the field's other images, in the pixels of this one: light is seen there, too
    """

    reference: ReferenceStars | None = None
    chips: tuple[ChipQuality, ...] = ()
    others: Sequence[OtherImage] = field(default=())
