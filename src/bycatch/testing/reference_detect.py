"""Detection made of library calls: the slow, readable twin of ``bycatch.stages.detect``.

Background2D, detect_sources, deblend_sources and SourceCatalog of photutils, and
scipy's filters, in the order in which the stage needs them.  The stage's kernels
are compared with it, piece by piece and as a whole.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.stats import SigmaClip
from numpy.typing import NDArray
from photutils.background import Background2D
from photutils.segmentation import (
    SegmentationImage,
    SourceCatalog,
    deblend_sources,
    detect_sources,
)
from scipy.ndimage import convolve, median

from bycatch.arrays import Bools, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.smoothing import gaussian_kernel
from bycatch.settings import DetectSettings
from bycatch.stages.detect import exclude_percent

Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Reference:
    """All that the chain of library calls makes of an image."""

    background: Image
    noise: Image
    smooth: Image
    segmentation: Labels
    columns: dict[str, NDArray[Any]]


def box_maps(
    data: Image, valid: Bools, box_px: int, filter_boxes: int, clip_sigma: float, percent: float
) -> tuple[Image, Image]:
    """Return the maps of background and rms, and the box maps that they come from."""
    box = (min(box_px, data.shape[0]), min(box_px, data.shape[1]))
    n_boxes = min(-(-data.shape[0] // box[0]), -(-data.shape[1] // box[1]))
    maps = Background2D(
        np.where(valid, data, np.float32(0)),
        box,
        coverage_mask=~valid,
        exclude_percentile=percent,
        filter_size=min(filter_boxes, n_boxes - (n_boxes + 1) % 2),
        sigma_clip=SigmaClip(sigma=clip_sigma, maxiters=10),
    )
    return maps.background, maps.background_rms


def sky_maps(image: DrcImage, settings: DetectSettings) -> tuple[Image, Image]:
    """Return background and noise."""
    settings = settings.at(image.detector_px)
    common = (settings.box_px, settings.filter_boxes, settings.clip_sigma)
    percent = exclude_percent(image.valid, settings.box_px)
    background, _ = box_maps(image.sci, image.valid, *common, percent)
    typical = np.median(image.exptime_map_s[image.valid])
    depth = np.sqrt(np.maximum(image.exptime_map_s, 0) / typical).astype(np.float32)
    at_full_depth = np.where(image.valid, (image.sci - background) * depth, np.float32(0))
    _, rms = box_maps(at_full_depth, image.valid, *common, percent)
    noise = np.divide(rms, depth, out=np.zeros_like(rms), where=image.valid & (depth > 0))
    return background.astype(np.float32), noise.astype(np.float32)


def smooth_image(data: Image, valid: Bools, kernel: NDArray[Any]) -> Image:
    """Return the convolved image, averaged over valid pixels."""
    weights = kernel.astype(np.float32)
    total = convolve(np.where(valid, data, np.float32(0)), weights, mode="constant")
    norm = convolve(valid.astype(np.float32), weights, mode="constant")
    return np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-6)


def segments(
    smooth: Image, noise: Image, valid: Bools, n_sigma: float, n_pixels: int
) -> Labels | None:
    """Return the connected pixels above the threshold; None where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = detect_sources(smooth, n_sigma * noise, n_pixels, mask=~valid)
    return None if segmentation is None else np.asarray(segmentation.data, dtype=np.int32)


def deblend(smooth: Image, labels: Labels, settings: DetectSettings) -> Labels:
    """Return the labels of deblended sources."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = deblend_sources(
            smooth,
            SegmentationImage(labels),
            settings.deblend_n_pixels,
            n_levels=settings.deblend_n_levels,
            contrast=settings.deblend_contrast,
            progress_bar=False,
        )
    return np.asarray(segmentation.data, dtype=np.int32)


def properties(
    residual: Image, smooth: Image, valid: Bools, labels: Labels
) -> dict[str, NDArray[Any]]:
    """Return photutils' properties of all segments, by the names of the kernel's result."""
    catalog = SourceCatalog(residual, SegmentationImage(labels), convolved_data=smooth, mask=~valid)
    barycentre, window = np.atleast_2d(catalog.centroid), np.atleast_2d(catalog.centroid_win)
    return {
        "labels": np.atleast_1d(catalog.labels),
        "x_segment": barycentre[:, 0],
        "y_segment": barycentre[:, 1],
        "x_window": window[:, 0],
        "y_window": window[:, 1],
        "x_min": np.atleast_1d(catalog.bbox_xmin),
        "x_max": np.atleast_1d(catalog.bbox_xmax),
        "y_min": np.atleast_1d(catalog.bbox_ymin),
        "y_max": np.atleast_1d(catalog.bbox_ymax),
        "area": np.atleast_1d(catalog.area.value),
        "flux": np.atleast_1d(catalog.segment_flux),
        "peak": np.atleast_1d(catalog.max_value),
        "semimajor_px": np.atleast_1d(catalog.semimajor_axis.value),
        "semiminor_px": np.atleast_1d(catalog.semiminor_axis.value),
        "theta_deg": np.atleast_1d(catalog.orientation.value),
        "half_light_px": np.atleast_1d(catalog.flux_radius(0.5).value),
    }


def detect(image: DrcImage, settings: DetectSettings) -> Reference:
    """Return all that the stage finds, before the coverage rule."""
    settings = settings.at(image.detector_px)
    background, noise = sky_maps(image, settings)
    residual = np.where(image.valid, image.sci - background, np.float32(0))
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    smooth = smooth_image(residual, image.valid, kernel)
    single = image.meta.n_exposures == 1
    n_pixels = settings.n_pixels_single if single else settings.n_pixels
    labels = segments(smooth, noise, image.valid, settings.n_sigma, n_pixels)
    if labels is None:
        return Reference(background, noise, smooth, np.zeros(image.shape, np.int32), {})
    if settings.deblend:
        labels = deblend(smooth, labels, settings)
    sources = properties(residual, smooth, image.valid, labels)
    sources["n_exp"] = np.atleast_1d(median(image.n_exp, labels, sources["labels"]))
    barycentre = np.stack([sources["x_segment"], sources["y_segment"]])
    window = np.stack([sources["x_window"], sources["y_window"]])
    is_astray = ~np.isfinite(window).all(axis=0) | (
        np.hypot(*(window - barycentre)) > np.maximum(2.0, sources["semimajor_px"])
    )
    sources["x"], sources["y"] = np.where(is_astray, barycentre, window)
    return Reference(background, noise, smooth, labels, sources)
