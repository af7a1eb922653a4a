"""Detection: background, per-pixel threshold, segmentation, deblending, coverage rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.catalogs.source_columns import REMOVED, SOURCES
from bycatch.catalogs.tables import empty_table, make_table
from bycatch.display import notebook
from bycatch.images.drc import DrcImage
from bycatch.kernels.deblend import deblend
from bycatch.kernels.exposures import box_fraction
from bycatch.kernels.labelling import Segments, segments_above
from bycatch.kernels.moments import segment_properties
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.kernels.smoothing import gaussian_kernel
from bycatch.settings import DetectSettings
from bycatch.stages.detect import hits, pieces, saturated_stars
from bycatch.stages.detect.centres import bright_centres, noise_errors_px
from bycatch.stages.detect.pieces import Pieces
from bycatch.stages.detect.reach import reach
from bycatch.stages.detect.sky import Sky, SkyModel, exclude_percent, sky_maps, sky_of

__all__ = [
    "DetectResult",
    "Sky",
    "SkyModel",
    "exclude_percent",
    "run",
    "segment",
    "sky_maps",
    "sky_of",
]


@dataclass(frozen=True, eq=False)
class DetectResult:
    """What was found.

    Attributes
    ----------
    sources : table of the kept sources (source_columns.SOURCES)
    removed : table of the removed ones with the reason (source_columns.REMOVED)
    segmentation : (ny, nx) int32; 0 sky, else the source's id; removed sources keep theirs
    sky : background and noise
    reach_mag : AB magnitude at which half of the stars are found, as `reach` returns it
    """

    sources: Table
    removed: Table
    segmentation: NDArray[np.int32]
    sky: Sky
    reach_mag: dict[str, float] = field(default_factory=dict)

    @property
    def background(self) -> Image:
        """(ny, nx) float32, e/s per pixel."""
        return self.sky.background

    @property
    def noise(self) -> Image:
        """(ny, nx) float32, e/s, of a pixel of the sky."""
        return self.sky.noise

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        # The maps are smooth: some of their pixels are enough.
        step = max(1, int(np.sqrt(self.noise.size / 1e6)))
        noise, background = self.noise[::step, ::step], self.background[::step, ::step]
        has_noise = noise > 0
        return {
            "n_sources": len(self.sources),
            "n_removed": len(self.removed),
            "background_median": float(np.median(background[has_noise]))
            if has_noise.any()
            else None,
            "noise_median": float(np.median(noise[has_noise])) if has_noise.any() else None,
            "background_box_px": self.sky.box_px,
            "n_oversubtracted": self.sky.n_oversubtracted,
            "reach_mag": self.reach_mag.get("settings"),
            "reach_of_presets_mag": {k: v for k, v in self.reach_mag.items() if k != "settings"},
        }

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        look = notebook.mask_picture(self.segmentation, "segments of the sources")
        names = ("id", "x", "y", "area", "flux", "peak", "ellipticity", "n_exp", "coverage")
        rows = notebook.first_rows(self.sources, names)
        return notebook.card("Detections", self.summary(), table=rows, picture=look)


def run(
    image: DrcImage,
    settings: DetectSettings | None = None,
    sky: Sky | None = None,
    *,
    with_reach: bool = True,
) -> DetectResult:
    """Find the sources of an image.

    A pixel belongs to a source where the smoothed, background-subtracted image
    exceeds ``n_sigma`` times the noise of *unsmoothed* sky pixels of its own
    depth, and enough such pixels are connected.

    Parameters
    ----------
    image : its pixels, e/s
    settings : of the step
    sky : background and noise, if `sky_of` has measured them with these settings
    with_reach : say how faint a star the detection finds
    """
    detect_settings = (settings or DetectSettings()).at(image.detector_px)
    sky = sky or sky_of(image, detect_settings)
    segments = segment(image, sky.background, sky.noise, detect_settings)
    parts = pieces.join_pieces(image, segments, sky.noise, detect_settings.deblend_prominence)
    sources = _source_table(image, parts, sky.background, sky.noise, detect_settings)
    sources = saturated_stars.centre_on_wings(image, sources, parts.segments.labels)
    labels = parts.segments.labels
    result = _sorted_out(sources, labels, sky, detect_settings)
    if not with_reach:
        return result
    limit = reach(image, sky.background, sky.noise, labels, detect_settings)
    return replace(result, reach_mag=limit)


def segment(image: DrcImage, background: Image, noise: Image, settings: DetectSettings) -> Segments:
    """Return the deblended segmentation, with labels 1, 2, ...

    Parameters
    ----------
    image : DrcImage
    background, noise : (ny, nx) float32, e/s
    settings : DetectSettings in pixels of the image
    """
    single = image.meta.n_exposures == 1
    segments = segments_above(
        image.sci,
        background,
        noise,
        image.valid,
        gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px),
        settings.n_sigma,
        settings.n_pixels_single if single else settings.n_pixels,
    )
    if not (settings.deblend and segments.n_labels):
        return segments
    labels = deblend(
        segments.smooth,
        segments.labels,
        segments.n_labels,
        settings.deblend_n_pixels,
        settings.deblend_n_levels,
        settings.deblend_contrast,
        in_place=True,
    )
    return Segments(labels, int(labels.max()), segments.smooth)


def _source_table(
    image: DrcImage,
    parts: Pieces,
    background: Image,
    noise: Image,
    settings: DetectSettings,
) -> Table:
    """Return the table of all segments, kept or not."""
    segments = parts.segments
    if not segments.n_labels:
        return empty_table(SOURCES)
    properties = segment_properties(
        image.sci,
        background,
        segments.smooth,
        image.valid,
        segments.labels,
        segments.n_labels,
        image.n_exp,
    )
    # The windowed centroid (SExtractor's XWIN) is the more precise one; where it strays out of
    # the segment's box it has followed a neighbour.
    offset = np.hypot(
        properties.x_window - properties.x_segment, properties.y_window - properties.y_segment
    )
    is_near = offset <= np.maximum(2.0, properties.semimajor_px)
    x = np.where(is_near, properties.x_window, properties.x_segment)
    y = np.where(is_near, properties.y_window, properties.y_segment)
    local: Any = noise[pixels_at(image.shape, x, y)]
    x, y = bright_centres(image, background, local, segments.labels, properties, (x, y))
    centres = hits.without_charge(image, background, local, segments.labels, properties, (x, y))
    x, y = centres.x, centres.y
    row, column = pixels_at(image.shape, x, y)
    local = noise[row, column]
    noise_px = noise_errors_px(image, properties, (row, column), local)
    return make_table(
        SOURCES,
        {
            "id": np.arange(1, segments.n_labels + 1),
            "x": x,
            "y": y,
            "centre_err_px": np.full(segments.n_labels, np.nan),
            "centre_shared_err_px": np.full(segments.n_labels, np.nan),
            "hit_err_px": centres.error_px,
            "centroid_err_px": np.hypot(noise_px, np.nan_to_num(centres.error_px)),
            "x_segment": properties.x_segment,
            "y_segment": properties.y_segment,
            "x_min": properties.x_min,
            "x_max": properties.x_max,
            "y_min": properties.y_min,
            "y_max": properties.y_max,
            "area": properties.area,
            "flux": properties.flux,
            "peak": properties.peak,
            "semimajor_px": properties.semimajor_px,
            "semiminor_px": properties.semiminor_px,
            "theta_deg": properties.theta_deg,
            "ellipticity": 1 - properties.semiminor_px / properties.semimajor_px,
            "background": background[row, column],
            "noise": local,
            "n_exp": properties.median_count,
            "piece_of": parts.piece_of[1:],
            "coverage": box_fraction(image.valid, x, y, settings.coverage_box_px),
        },
    )


def _sorted_out(
    sources: Table,
    segments: NDArray[np.int32],
    sky: Sky,
    settings: DetectSettings,
) -> DetectResult:
    """Split the table by the coverage rule."""
    poor = np.asarray(sources["coverage"] < settings.min_coverage, dtype=bool)
    poor_rows = sources[poor]
    shares, number = np.unique(np.asarray(poor_rows["coverage"]), return_inverse=True)
    words = [f"coverage {c:.3f} < {settings.min_coverage:g} in box" for c in shares.tolist()]
    reasons = np.array(words, dtype="U")[number]
    rejects = make_table(
        REMOVED, {**{n: poor_rows[n] for n in poor_rows.colnames}, "reason": reasons}
    )
    return DetectResult(sources[~poor], rejects, segments, sky)
