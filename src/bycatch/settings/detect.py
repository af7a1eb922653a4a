"""Settings of detection and of the cosmic-ray mask."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_validator

from bycatch.settings.limits import (
    LEAST_CLIP_SIGMA,
    MOST_AREA_PX,
    MOST_BOX_PX,
    MOST_KERNEL_PX,
    MOST_SIGMA,
)
from bycatch.settings.section import Section, setting

LEAST_PX = 3
"""Least connected pixels, and side of the smoothing kernel, of pixels larger than the detector's:
with fewer most sources are peaks of noise."""


class DetectSettings(Section):
    """Background, threshold, segmentation, deblending, coverage rule."""

    in_detector_pixels: bool = setting(
        True,
        "lengths and areas of this section count pixels of the detector (WFC 0.05, HRC 0.025 "
        "arcsec) and are scaled to those of the image; false: they count pixels of the image",
    )
    box_px: int = setting(
        100, "side of the boxes of the background and noise maps", "px", ge=8, le=MOST_BOX_PX
    )
    filter_boxes: int = setting(3, "side of the median filter over the boxes", "boxes", ge=1, le=99)
    background: Literal["auto", "coarse", "fine"] = setting(
        "auto",
        "background of boxes of box_px (coarse), of fine_box_px (fine), or of the smaller ones "
        "where the sky changes within the larger, as in nebulae, large galaxies and crowds",
    )
    fine_box_px: int = setting(16, "side of the smaller boxes", "px", ge=8, le=MOST_BOX_PX)
    clip_sigma: float = setting(
        3.0, "clipping of the pixels in a box", "sigma", ge=LEAST_CLIP_SIGMA, le=MOST_SIGMA
    )
    n_sigma: float = setting(
        2.0,
        "threshold above the background, in units of the unsmoothed local noise",
        "sigma",
        ge=0.1,
        le=MOST_SIGMA,
    )
    kernel_fwhm_px: float = setting(
        2.5, "FWHM of the smoothing Gaussian", "px", ge=0.1, le=MOST_KERNEL_PX
    )
    kernel_size_px: int = setting(
        3, "side of the smoothing kernel (odd)", "px", ge=1, le=MOST_KERNEL_PX
    )
    n_pixels: int = setting(
        75, "minimum number of connected pixels above the threshold", "px", ge=1, le=MOST_AREA_PX
    )
    n_pixels_single: int = setting(
        150, "the same for an image made of a single exposure", "px", ge=1, le=MOST_AREA_PX
    )
    deblend: bool = setting(True, "separate overlapping sources")
    deblend_n_pixels: int = setting(
        60, "minimum number of pixels of a deblended source", "px", ge=1, le=MOST_AREA_PX
    )
    deblend_n_levels: int = setting(3, "number of deblending levels", ge=1, le=1000)
    deblend_contrast: float = setting(
        0.4, "minimum fraction of the blend's flux for a separate source", ge=0, le=1
    )
    deblend_prominence: float = setting(
        0.0,
        "a source is merged with a brighter one that it touches, and in whose light it lies, if "
        "its peak is less than this above the saddle between them, in units of the pixel noise; "
        "0: never",
        ge=0,
        le=1000,
    )
    coverage_box_px: int = setting(
        100, "side of the box of the coverage rule", "px", ge=1, le=MOST_BOX_PX
    )
    min_coverage: float = setting(
        0.98,
        "minimum fraction of covered pixels in that box; sources below are removed",
        ge=0,
        le=1,
    )

    LENGTHS: ClassVar[tuple[str, ...]] = ("box_px", "coverage_box_px", "fine_box_px")
    AREAS: ClassVar[tuple[str, ...]] = ("n_pixels", "n_pixels_single", "deblend_n_pixels")

    def at(self, detector_px: float) -> DetectSettings:
        """Return the settings in pixels of an image, so that they mean the same on the sky.

        Parameters
        ----------
        detector_px : float
            Side of a detector pixel in pixels of the image (`DrcImage.detector_px`).
        """
        if not self.in_detector_pixels:
            return self
        changes: dict[str, Any] = {"in_detector_pixels": False}
        if detector_px != 1:
            changes |= {n: max(8, round(getattr(self, n) * detector_px)) for n in self.LENGTHS}
            # On coarse pixels one or two of them, unsmoothed, would be sources: peaks of noise.
            for name in self.AREAS:
                area = getattr(self, name)
                changes[name] = max(min(area, LEAST_PX), round(area * detector_px**2))
            changes["kernel_fwhm_px"] = self.kernel_fwhm_px * detector_px
            # The nearest odd number.
            size = 2 * round((self.kernel_size_px * detector_px - 1) / 2) + 1
            changes["kernel_size_px"] = max(min(self.kernel_size_px, LEAST_PX), size)
        return self.model_copy(update=changes)

    @field_validator("kernel_size_px", "filter_boxes")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            msg = "must be odd"
            raise ValueError(msg)
        return value


class CrmaskSettings(Section):
    """LAcosmic on the drizzled image."""

    sigclip: float = setting(
        3.0, "Laplacian-to-noise limit of a cosmic ray", "sigma", ge=0.1, le=MOST_SIGMA
    )
    sigfrac: float = setting(
        0.3, "limit for neighbouring pixels, as a fraction of sigclip", ge=0.01, le=10
    )
    objlim: float = setting(
        1.0, "minimum contrast between Laplacian and fine structure", ge=0.01, le=MOST_SIGMA
    )
    n_iterations: int = setting(2, "number of LAcosmic iterations", ge=1, le=100)
    cleantype: Literal["meanmask", "medmask", "median", "idw"] = setting(
        "meanmask", "how the pixels of a cosmic ray are replaced before the next iteration"
    )
    fsmode: Literal["median", "convolve"] = setting(
        "median", "how the fine structure is computed: median filters, or convolution with the PSF"
    )
    psf_fwhm_px: float = setting(
        2.1, "FWHM of that PSF (fsmode 'convolve' only)", "px", ge=0.1, le=MOST_KERNEL_PX
    )
    max_track_fwhm_px: float = setting(
        1.75,
        "FWHM in the narrowest direction above which a candidate is light and not a cosmic ray; "
        "in detector pixels",
        "px",
        ge=0.1,
        le=MOST_KERNEL_PX,
    )
    snr_floor: float = setting(
        3.0,
        "signal-to-noise ratio s below which a width is meaningless; the limit above is "
        "multiplied by 1 - (snr_floor/s)^2",
        ge=0,
        le=MOST_SIGMA,
    )
    grow_sigma_px: float = setting(
        0.5, "width of the Gaussian that grows the mask; 0: not grown", "px", ge=0, le=20
    )
    grow_threshold: float = setting(
        0.05,
        "value of the convolved mask above which a pixel belongs to the grown mask",
        gt=0,
        lt=1,
    )
