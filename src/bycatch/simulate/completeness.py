"""The completeness of an image's catalog, by artificial sources that go through its steps."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch import photcal
from bycatch.catalogs.injection_columns import PURITY
from bycatch.catalogs.tables import empty_table
from bycatch.images.drc import DrcImage
from bycatch.settings import Settings
from bycatch.simulate import injection
from bycatch.simulate.image_psf import ImagePsf
from bycatch.simulate.recovery import (
    completeness_table,
    join_runs,
    limits_of,
    purity_table,
    recovery_columns,
)
from bycatch.simulate.trial import aperture_of, psf_of, trial


@dataclass(frozen=True, eq=False)
class InjectionResult:
    """What artificial sources show of an image.

    Attributes
    ----------
    sources : one row per artificial source (INJECT)
    completeness : by kind, size, number of exposures and magnitude (COMPLETENESS)
    purity : false detections by magnitude (PURITY); without rows if they were not looked for
    psf : the PSF of the image
    limits : 50 and 90 % limits and the like, per kind and size
    n_runs : times that the image went through the steps
    """

    sources: Table
    completeness: Table
    purity: Table
    psf: ImagePsf
    limits: list[dict[str, Any]]
    n_runs: int

    def summary(self) -> dict[str, Any]:
        """Return the numbers for the summary."""
        stars = self.sources[self.sources["kind"] == injection.STAR]
        n_found = np.count_nonzero(stars["found"])
        return {
            "n_injected": len(self.sources),
            "n_runs": self.n_runs,
            "psf": self.psf.note,
            "psf_fwhm_px": self.psf.fwhm_px,
            "n_psf_stars": self.psf.n_stars,
            "stars_called_cr": np.count_nonzero(stars["called_cr"]) / n_found if n_found else None,
            "limits": self.limits,
        }


def inject_image(
    image: DrcImage, settings: Settings, population: Table | None = None
) -> InjectionResult:
    """Put artificial sources into an image and see which of them its catalog would hold.

    Parameters
    ----------
    image : DrcImage
    settings : of all steps
    population : table, optional
        Sources to use instead of those of the settings, as `injection.artificial_sources`
        gives them.

    Notes
    -----
    The image goes through the steps once as it is, once for every grid of sources,
    and once as its negative.  The position error of the frame plays no part.
    """
    inject = settings.inject
    random = np.random.default_rng([inject.seed, zlib.crc32(image.meta.stem.encode())])
    before = trial(image, settings)
    detect = settings.detect.at(image.detector_px)
    psf = psf_of(image, before, settings)
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    artificial = population
    if artificial is None:
        artificial = injection.artificial_sources(
            image, psf, before.noise_rate, zeropoint, detect, inject, random
        )
    n_done, runs, parts = 0, 0, []
    while n_done < len(artificial) and runs < inject.max_runs:
        x, y = injection.places(
            image.valid, inject.spacing_px, detect.coverage_box_px, detect.min_coverage, random,
        )  # fmt: skip
        if not len(x):
            break
        some = artificial[n_done : n_done + len(x)]
        some["x"], some["y"] = x[: len(some)], y[: len(some)]
        with_artificial, some = injection.with_sources(
            image, some, psf, before.noise_rate, random, aperture_of(settings),
            (settings.measure.annulus_inner_px, settings.measure.annulus_outer_px),
        )  # fmt: skip
        parts.append(
            recovery_columns(some, trial(with_artificial, settings), before, image, settings)
        )
        n_done, runs = n_done + len(some), runs + 1
    sources = join_runs(parts)
    purity = (
        purity_table(image, before, settings) if inject.false_detections else empty_table(PURITY)
    )
    completeness = completeness_table(sources, inject.bin_mag)
    return InjectionResult(sources, completeness, purity, psf, limits_of(sources), runs)
