"""Detection: background, per-pixel threshold, segmentation, deblending, coverage rule."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.columns import REMOVED, SOURCES
from bycatch.drc import DrcImage
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.smoothing import gaussian_kernel, smoothed
from bycatch.settings import DetectSettings
from bycatch.tables import empty_table, make_table

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DetectResult:
    """What was found.

    Attributes
    ----------
    sources : table of the kept sources (columns.SOURCES)
    removed : table of the removed ones with the reason (columns.REMOVED)
    segmentation : (ny, nx) int32; 0 sky, else the source's id; removed sources keep theirs
    background, noise : (ny, nx) float32, e/s per pixel
    """

    sources: Table
    removed: Table
    segmentation: NDArray[np.int32]
    background: Image
    noise: Image

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        sky = self.noise > 0
        return {
            "n_sources": len(self.sources),
            "n_removed": len(self.removed),
            "background_median": float(np.median(self.background[sky])) if sky.any() else None,
            "noise_median": float(np.median(self.noise[sky])) if sky.any() else None,
        }


def run(image: DrcImage, settings: DetectSettings | None = None) -> DetectResult:
    """Find the sources of an image.

    A pixel belongs to a source where the smoothed, background-subtracted image
    exceeds ``n_sigma`` times the noise of *unsmoothed* sky pixels of its own
    depth, and enough such pixels are connected.
    """
    chosen = settings or DetectSettings()
    background, noise = sky_maps(image, chosen)
    residual = np.where(image.valid, image.sci - background, np.float32(0))
    kernel = gaussian_kernel(chosen.kernel_fwhm_px, chosen.kernel_size_px)
    smooth = smoothed(residual, image.valid, kernel)
    segments = segment(smooth, noise, image, chosen)
    found = _measured(image, segments, residual, smooth, background, noise, chosen)
    return _sorted_out(found, segments, background, noise, chosen)


def sky_maps(image: DrcImage, settings: DetectSettings) -> tuple[Image, Image]:
    """Return background and noise of unsmoothed pixels, each (ny, nx) in e/s.

    Both are maps over boxes (Background2D of photutils).  A box mixes depths at
    chip gaps and dither edges; the noise is therefore measured on the image
    scaled to a common depth, by sqrt(exposure time), and scaled back per pixel.
    """
    background, _ = _box_maps(image.sci, image.valid, settings)
    typical = np.median(image.exptime_map_s[image.valid])
    depth = np.sqrt(np.maximum(image.exptime_map_s, 0) / typical).astype(np.float32)
    scaled = np.where(image.valid, (image.sci - background) * depth, np.float32(0))
    _, rms = _box_maps(scaled, image.valid, settings)
    noise = np.divide(rms, depth, out=np.zeros_like(rms), where=image.valid & (depth > 0))
    return background, noise


def _box_maps(
    data: Image, valid: NDArray[np.bool_], settings: DetectSettings
) -> tuple[Image, Image]:
    from astropy.stats import SigmaClip
    from photutils.background import Background2D

    box = (min(settings.box_px, data.shape[0]), min(settings.box_px, data.shape[1]))
    n_boxes = min(-(-data.shape[0] // box[0]), -(-data.shape[1] // box[1]))
    filter_size = min(settings.filter_boxes, n_boxes - (n_boxes + 1) % 2)
    maps = Background2D(
        np.where(valid, data, np.float32(0)),
        box,
        coverage_mask=~valid,
        # A box may lose up to nine tenths to gaps and borders: it still has 1000 pixels, and a
        # narrow image has no better one.
        exclude_percentile=_exclude_percent(valid, box),
        filter_size=filter_size,
        sigma_clip=SigmaClip(sigma=settings.clip_sigma, maxiters=10),
    )
    return maps.background.astype(np.float32), maps.background_rms.astype(np.float32)


def _exclude_percent(valid: NDArray[np.bool_], box: tuple[int, int]) -> float:
    """Return the share of missing pixels above which a box is left out, in percent."""
    largest = np.ceil(valid.shape[0] / box[0]) * np.ceil(valid.shape[1] / box[1])
    typical = 100.0 * (1.0 - valid.mean())
    return 90.0 if largest >= 4 and typical < 50 else 100.0


def segment(
    smooth: Image, noise: Image, image: DrcImage, settings: DetectSettings
) -> NDArray[np.int32]:
    """Return the deblended segmentation: 0 for sky, else 1, 2, ..."""
    from photutils.segmentation import deblend_sources, detect_sources
    from photutils.utils.exceptions import NoDetectionsWarning

    single = image.meta.n_exposures == 1
    n_pixels = settings.n_pixels_single if single else settings.n_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = detect_sources(smooth, settings.n_sigma * noise, n_pixels, mask=~image.valid)
    if found is None:
        return np.zeros(image.shape, dtype=np.int32)
    if settings.deblend:
        with warnings.catch_warnings():
            # Segments with negative pixels fall back to linear levels: harmless.
            warnings.simplefilter("ignore")
            found = deblend_sources(
                smooth,
                found,
                settings.deblend_n_pixels,
                n_levels=settings.deblend_n_levels,
                contrast=settings.deblend_contrast,
                progress_bar=False,
            )
    return np.asarray(found.data, dtype=np.int32)


def _measured(
    image: DrcImage,
    segments: NDArray[np.int32],
    residual: Image,
    smooth: Image,
    background: Image,
    noise: Image,
    settings: DetectSettings,
) -> Table:
    """Return the table of all segments, kept or not."""
    if not segments.any():
        return empty_table(SOURCES)
    from photutils.segmentation import SegmentationImage, SourceCatalog

    found = SourceCatalog(
        residual, SegmentationImage(segments), convolved_data=smooth, mask=~image.valid
    )
    barycentre, window = np.atleast_2d(found.centroid), np.atleast_2d(found.centroid_win)
    # The windowed centroid (SExtractor's XWIN) is the more precise one; where it strays out of
    # the segment's box it has followed a neighbour.
    strayed = ~np.isfinite(window).all(axis=1) | (
        np.hypot(*(window - barycentre).T) > np.maximum(2.0, found.semimajor_axis.value)
    )
    x, y = np.where(strayed[:, np.newaxis], barycentre, window).T
    column = np.clip(np.rint(x).astype(int), 0, image.shape[1] - 1)
    row = np.clip(np.rint(y).astype(int), 0, image.shape[0] - 1)
    return make_table(
        SOURCES,
        {
            "id": found.labels,
            "x": x,
            "y": y,
            "x_segment": barycentre[:, 0],
            "y_segment": barycentre[:, 1],
            "x_min": found.bbox_xmin,
            "x_max": found.bbox_xmax,
            "y_min": found.bbox_ymin,
            "y_max": found.bbox_ymax,
            "area": np.rint(found.area.value),
            "flux": found.segment_flux,
            "peak": found.max_value,
            "semimajor_px": found.semimajor_axis.value,
            "semiminor_px": found.semiminor_axis.value,
            "theta_deg": found.orientation.value,
            "ellipticity": found.ellipticity.value,
            "background": background[row, column],
            "noise": noise[row, column],
            "n_exp": _median_exposures(image, segments, found.labels),
            "coverage": box_fraction(image.valid, x, y, settings.coverage_box_px),
        },
    )


def _median_exposures(
    image: DrcImage, segments: NDArray[np.int32], labels: NDArray[np.int_]
) -> NDArray[np.float64]:
    from scipy.ndimage import median

    return np.atleast_1d(median(image.n_exp, segments, labels))


def _sorted_out(
    found: Table,
    segments: NDArray[np.int32],
    background: Image,
    noise: Image,
    settings: DetectSettings,
) -> DetectResult:
    """Split the table by the coverage rule."""
    poor = np.asarray(found["coverage"] < settings.min_coverage, dtype=bool)
    removed = found[poor]
    reasons = [f"coverage {c:.3f} < {settings.min_coverage:g} in box" for c in removed["coverage"]]
    gone = make_table(REMOVED, {**{n: removed[n] for n in removed.colnames}, "reason": reasons})
    return DetectResult(found[~poor], gone, segments, background, noise)
