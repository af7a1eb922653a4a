"""What PSF photometry gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.catalogs.flags import Flag
from bycatch.stages.psf.fit import light_of
from bycatch.stages.psf.look import PsfLook
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.quality import Fits
from bycatch.stages.psf.stars import Stars


@dataclass(frozen=True, eq=False)
class PsfResult:
    """The PSF of an image, and its stars: those given, row for row, then those found.

    Attributes
    ----------
    model : the PSF
    stars, fits : all N stars
    n_given : how many were given
    psf_rows : (S,) int; the stars that the PSF was made from
    look : what the PSF leaves of its stars
    columns : of photometry_columns.PSF_RATES, row for row
    flags : which rows have them
    x, y : (N,) where apertures belong: where fits put stars, or where others were found
    place_err_px : (N,) error of these per axis where they are of a fit; else NaN
    neighbours_rate : (N, 4) light of other stars within 1, 2, 3 and 4 native pixels, e/s
    star_energy : (4,) share of a star's light there
    correlation : by how much the noise of sums exceeds that of independent pixels
    is_wide : (N,) bool; wider than the PSF, as galaxies are
    is_lone : (N,) bool; stars: detected, and neither wider nor sharper than the PSF
    noise : of a typical sky pixel, e/s
    """

    model: PsfModel
    stars: Stars
    fits: Fits
    n_given: int
    psf_rows: Ints
    look: PsfLook
    columns: dict[str, Any]
    flags: dict[Flag, Bools]
    x: Floats
    y: Floats
    place_err_px: Floats
    neighbours_rate: Floats
    star_energy: Floats
    correlation: float
    is_wide: Bools
    is_lone: Bools
    noise: float

    def star_light(self) -> Image | None:
        """Return the light of the stars, (ny, nx) float32 in e/s; None where no source is wide."""
        if not self.is_wide.any():
            return None
        return light_of(self.model, self.stars.take(self.is_lone), self.noise, self.model.shape)

    def take(self, which: Bools) -> PsfResult:
        """Return it with some of the stars."""
        number = np.cumsum(which) - 1
        return replace(
            self,
            stars=self.stars.take(which),
            fits=self.fits.take(which),
            n_given=int(which[: self.n_given].sum()),
            psf_rows=number[self.psf_rows[which[self.psf_rows]]],
            columns={name: values[which] for name, values in self.columns.items()},
            flags={flag: where[which] for flag, where in self.flags.items()},
            x=self.x[which],
            y=self.y[which],
            place_err_px=self.place_err_px[which],
            neighbours_rate=self.neighbours_rate[which],
            is_wide=self.is_wide[which],
            is_lone=self.is_lone[which],
        )

    @property
    def n_found(self) -> int:
        """Return the number of stars that the residual showed."""
        return len(self.stars) - self.n_given

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        qfit = self.fits.qfit[self.psf_rows]
        return {
            "psf_origin": "stars" if self.model.is_of_stars else "published curve",
            "psf_n_stars": self.model.n_stars,
            "psf_fwhm_px": round(self.model.fwhm_px, 3),
            "psf_residual": round(float(np.median(qfit)), 4) if len(qfit) else None,
            "psf_n_found": self.n_found,
            "psf_noise_correlation": round(self.correlation, 3),
        }
