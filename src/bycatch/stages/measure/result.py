"""The result of photometry: the table, and what holds for the image as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_classes import POINT
from bycatch.catalogs.tables import nearest_radius
from bycatch.display import notebook
from bycatch.stages.measure import level, sky_noise, stellarity, transfer, trust
from bycatch.stages.measure.depth import Depth


@dataclass(frozen=True, eq=False)
class MeasureResult:
    """Photometry of the positions (photometry_columns.PHOT), row for row.

    ``radii_px`` and ``correlation`` (the factor of the sky noise, see
    `DrcImage.noise_correlation`) say how it was measured; ``locus`` where the image's stars are
    in concentration.
    """

    table: Table
    radii_px: tuple[float, ...]
    correlation: float
    locus: stellarity.Locus
    noise: sky_noise.NoiseModel
    total_noise: level.TotalNoise
    sky_growth: float
    """Factor by which segments have grown where the sky of total fluxes was measured."""
    sky: Table
    """The blank places (photometry_columns.SKY)."""
    limits: dict[int, Floats]
    """Rates of 5 sigma in each radius where the sky is blank, (R,) in e/s, by exposures."""
    depth: Depth
    """The same in AB magnitudes, and a map of them."""
    n_gaia_chance: float
    """Number of matches with Gaia that are expected by chance."""
    trust: trust.Trust
    """Reasons to distrust the catalog as a whole."""
    transfer: transfer.Transfer
    """Charge lost in transfer to the readout."""
    has_psf: bool = False
    """True where the locus of stars comes from the image's PSF."""
    star_level: Floats | None = None
    """Sky beneath the stars of which fits of the PSF subtract the light, (N,) e/s per pixel."""

    def warnings(self) -> list[str]:
        """Return what in the catalog can't be trusted, and what helps, in words."""
        return [*self.trust.warnings(), *self.transfer.warnings()]

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        fwhm = np.ma.compressed(self.table["fwhm"])
        p_star = np.ma.compressed(self.table["p_star"])
        return {
            "n_measured": len(self.table),
            "n_cosmic_ray": int((self.table["cr_flag"] == 1).sum()),
            "n_likely_cosmic_ray": int(
                np.sum(np.asarray(self.table["flags"]) & int(Flag.LIKELY_COSMIC_RAY) > 0)
            ),
            "n_gaia": int((self.table["gaia_source_id"] != 0).sum()),
            "n_point": int((p_star >= POINT).sum()),
            "fwhm_median": float(np.median(fwhm)) if len(fwhm) else None,
            "noise_correlation": self.correlation,
            **self.noise.summary(),
            **self.total_noise.summary(),
            "sky_growth": self.sky_growth,
            "locus_concentration": [round(float(v), 4) for v in self.locus.index],
            "locus_n_stars": self.locus.n_stars,
            "locus_origin": self._locus_origin(),
            "n_gaia_chance": self.n_gaia_chance,
            "depth_mag": self.depth.median_mag,
            "limit_mag": self.depth.limits_mag,
            **self.trust.summary(),
            **self.transfer.summary(),
            "trust_notes": self.warnings(),
        }

    def _locus_origin(self) -> str:
        if self.locus.is_measured:
            return "stars"
        return "PSF" if self.has_psf else "published curve"

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        rate = f"countrate_{nearest_radius(self.radii_px)}"
        names = ("id", "x", "y", rate, "sky_median", "fwhm", "p_star", "p_cr", "flags")
        rows = notebook.first_rows(self.table, names)
        return notebook.card("Photometry", self.summary(), table=rows)
