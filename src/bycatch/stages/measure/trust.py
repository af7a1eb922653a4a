"""Where a catalog can't be trusted: nebulosity, large objects and their pieces, trails, crowds.

From the image and the segmentation alone.  Cells of a few pixels, clipped, measure the sky.  Their
scatter beyond noise is structure that apertures and annuli can't distinguish from sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.sky_parts import MERGED_SHARE, is_nebulous
from bycatch.images.drc import DrcImage
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.cells import at_one_depth, clipped_means, grown_labels
from bycatch.kernels.lines import Line, Trace, lines_across, trace
from bycatch.kernels.structure import local_scatter
from bycatch.kernels.surfaces import fill_gaps, median_filter
from bycatch.stages.measure.stellarity import MIN_STARS

CELL_PX = 16
CLIP_SIGMA = 3.0
LEAST_KNOWN = 0.5
"""Share of a cell's pixels that hold data."""
GROW_PX = 3
"""Wings of sources around their segments."""
LAG_CELLS, BLOCK_CELLS, MARGIN_CELLS = 2, 4, 3
NEBULOUS_SIGMA = 0.3
"""Scatter of cells (in units of the noise of a pixel) from which on the sky has structure: 0.2 on
ordinary fields, at most 0.26 in 99 % of their blocks; 0.5 in nebulae (benchmarks/families.py)."""
CROWDED_SHARE = 0.15
"""Area that sources cover from which on the page warns: 3 to 9 % on ordinary fields, 25 % with 2000
stars per square arcmin."""
LEAST_ROWS, BLENDED_SHARE = 50, 0.5
"""Fewer rows do not tell whether stars are merged; and the share of blended rows from which on too
few isolated stars mean a crowd and not an empty field."""
STAR_CELLS = 3
"""A large object with a saturated pixel so near to its peak is a star's halo."""
TRAIL_CELL_PX, TRAIL_SIGMA, TRAIL_MARGIN_PX, TRAIL_BLOCK_CELLS = 8, 0.9, 2.0, 8
LARGE_SIGMA, LARGE_CELLS, LARGE_PEAK_SIGMA, LARGE_CONTRAST = 1.0, 25, 10.0, 5.0
"""A large object: so many cells together above so many times the noise of a pixel, whose peak is
that bright and stands out of its middle that much."""


@dataclass(frozen=True, eq=False)
class SkyStructure:
    """What the sky of an image holds besides noise and small sources.

    Attributes
    ----------
    scatter : (by, bx) of blocks of cells, in units of the noise of a pixel; NaN where unknown
    large : (cy, cx) int32 number of the large object that a cell lies on, 0 for none
    trails : straight trails across the image
    """

    scatter: Floats
    large: NDArray[np.int32]
    trails: tuple[Trace, ...]

    def is_nebulous(self, x: Floats, y: Floats) -> Bools:
        """Return at which positions the sky has structure at the scale of apertures.

        Where the segments of knots hide the sky, it is as most of it is.
        """
        is_rough = self.scatter > NEBULOUS_SIGMA
        is_unknown = np.isnan(self.scatter)
        if 2 * np.count_nonzero(is_rough) > np.count_nonzero(~is_unknown):
            is_rough |= is_unknown
        return np.asarray(_at(is_rough, x, y, CELL_PX * BLOCK_CELLS), np.bool_)

    def large_object(self, x: Floats, y: Floats) -> NDArray[np.int32]:
        """Return on which large object positions lie, 0 for none."""
        return np.asarray(_at(self.large, x, y, CELL_PX))

    def on_trail(self, x: Floats, y: Floats) -> Bools:
        """Return which positions lie on a trail."""
        is_on_trail = np.zeros(len(x), dtype=bool)
        for trail in self.trails:
            is_on_trail |= trail.holds(x, y, TRAIL_MARGIN_PX)
        return is_on_trail


NO_STRUCTURE = SkyStructure(np.full((1, 1), np.nan), np.zeros((1, 1), np.int32), ())


def sky_structure(
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
    cr_mask: Bools | None,
    noise: float,
) -> SkyStructure:
    """Look for structure, large objects and trails.

    Parameters
    ----------
    image : DrcImage
    segmentation, cr_mask : (ny, nx), or None
    noise : scatter of pixels times the root of the exposure time (`NoiseModel.typical`)
    """
    if not (noise > 0 and image.valid.any()):
        return NO_STRUCTURE
    sci = _in_noise_units(image, noise)
    free = image.valid.copy()
    if segmentation is not None:
        free &= ~grown_labels(segmentation, GROW_PX)
    if cr_mask is not None:
        free &= ~cr_mask
    sky = box_statistics(sci, free, (CELL_PX, CELL_PX), CLIP_SIGMA, 0.25).mode
    blocks = local_scatter(sky, LAG_CELLS, BLOCK_CELLS, MARGIN_CELLS)
    is_finite = np.isfinite(blocks)
    if is_finite.any():
        blocks = np.where(is_finite, median_filter(fill_gaps(blocks.astype(np.float32)), 3), np.nan)
    return SkyStructure(blocks, _large_objects(image, sci), _trails(image, sci))


def _in_noise_units(image: DrcImage, noise: float) -> Image:
    """Return the image less its level, in units of the noise of a pixel of its own depth."""
    some = image.sci[::16, ::16][image.valid[::16, ::16]]
    level = float(np.median(some)) if len(some) else 0.0
    return at_one_depth(image.sci, image.exptime_map_s, level, noise)


def _at(values: NDArray[Any], x: Floats, y: Floats, cell_px: int) -> NDArray[Any]:
    """Return the values of the cells that positions lie in; off the image those of the nearest."""
    ny, nx = values.shape
    column, row = (np.where(np.isfinite(v), np.clip(v, -1.0, 1e9), 0.0) // cell_px for v in (x, y))
    rows, columns = np.clip(row, 0, ny - 1).astype(int), np.clip(column, 0, nx - 1).astype(int)
    return np.asarray(values[rows, columns])


def _blocks(values: Image, has_data: Bools, side: int, blank: float = np.nan) -> Image:
    """Return the values of square blocks, (by, bx, side^2); what is unknown is ``blank``."""
    ny, nx = values.shape
    rows, columns = -(-ny // side), -(-nx // side)
    whole = np.full((rows * side, columns * side), blank, np.float32)
    np.copyto(whole[:ny, :nx], values, where=has_data)
    parts = whole.reshape(rows, side, columns, side).swapaxes(1, 2)
    return parts.reshape(rows, columns, side * side)


def _medians(rows: Image) -> Image:
    """Return the medians of rows of an even number of values, which are finite."""
    # Few values are sorted faster than `np.median` finds their middle.
    middle = rows.shape[1] // 2
    low, high = np.sort(rows, axis=1)[:, middle - 1 : middle + 1].T
    return np.asarray(np.float32(0.5) * (low + high))


def _large_objects(image: DrcImage, sci: Image) -> NDArray[np.int32]:
    """Return the numbers of large objects by cells."""
    from scipy.ndimage import label

    # One pixel in four along both axes: what is looked for is far larger.
    few = slice(None, None, 4)
    blocks = _blocks(sci[few, few], image.valid[few, few], CELL_PX // 4)
    has_data = np.isfinite(blocks).mean(axis=2) >= LEAST_KNOWN
    level = np.zeros(has_data.shape, np.float32)
    if not has_data.any():
        return np.zeros(has_data.shape, np.int32)
    # Without data counts as 0, the level of the image.
    level[has_data] = _medians(np.nan_to_num(blocks[has_data]))
    level[has_data] -= np.float32(np.percentile(level[has_data], 25.0))
    smooth = np.where(has_data, median_filter(level, 5), 0.0)
    regions, n = label(smooth > LARGE_SIGMA, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=n + 1)
    out = np.zeros(regions.shape, np.int32)
    for number in range(1, n + 1):
        if sizes[number] < LARGE_CELLS:
            continue
        here = regions == number
        peak = float(smooth[here].max())
        row, column = np.unravel_index(int(np.where(here, smooth, -np.inf).argmax()), here.shape)
        rows, columns = (
            slice(max(k - STAR_CELLS, 0) * CELL_PX, (k + STAR_CELLS + 1) * CELL_PX)
            for k in (int(row), int(column))
        )
        with np.errstate(invalid="ignore"):
            is_star = bool((image.sci[rows, columns] > image.meta.saturation_rate).any())
        stands_out = peak >= LARGE_CONTRAST * float(np.median(smooth[here]))
        if peak >= LARGE_PEAK_SIGMA and stands_out and not is_star:
            out[here] = number
    return out


def _trails(image: DrcImage, sci: Image) -> tuple[Trace, ...]:
    """Return the straight trails across the image."""
    cells, has_data = clipped_means(sci, image.valid, TRAIL_CELL_PX, CLIP_SIGMA, LEAST_KNOWN)
    if not has_data.any():
        return ()
    blocks = _blocks(cells, has_data, TRAIL_BLOCK_CELLS, blank=0.0)
    around = _medians(blocks.reshape(-1, TRAIL_BLOCK_CELLS**2)).reshape(blocks.shape[:2])
    ny, nx = cells.shape
    around = around.repeat(TRAIL_BLOCK_CELLS, 0).repeat(TRAIL_BLOCK_CELLS, 1)[:ny, :nx]
    traces = []
    for line in lines_across(has_data & (cells - around > TRAIL_SIGMA), has_data):
        middle = 0.5 * (TRAIL_CELL_PX - 1) * (np.cos(line.angle_rad) + np.sin(line.angle_rad))
        in_pixels = Line(line.angle_rad, TRAIL_CELL_PX * line.offset + float(middle))
        trail = trace(in_pixels, sci, image.valid, 1.0)
        if trail is not None:
            traces.append(trail)
    return tuple(traces)


@dataclass(frozen=True, eq=False)
class Trust:
    """What stands against a catalog as a whole; rows that are likely cosmic rays don't count.

    Attributes
    ----------
    n_rows, n_nebulous, n_in_large_object, n_on_trail : rows, and those with the flags
    n_trails : trails across the image
    nebulous_percent : of the sky, with structure at the scale of apertures
    large_object_percent : of the image, under large objects
    covered_percent : of the image, by sources and their wings; None where it is not known where
        sources are
    n_merged : rows with a peak that has no row of its own
    n_blended : rows with light of neighbours in the middle aperture
    n_isolated : stars that show where stars lie in concentration
    fits_psf : True where stars are fitted
    """

    n_rows: int
    n_nebulous: int
    n_in_large_object: int
    n_on_trail: int
    n_trails: int
    nebulous_percent: float
    large_object_percent: float
    covered_percent: float | None
    n_merged: int = 0
    n_blended: int = 0
    n_isolated: int = MIN_STARS
    fits_psf: bool = False

    @property
    def merged_percent(self) -> float:
        """Share of the rows that hide a peak without a row of its own."""
        return 100.0 * self.n_merged / max(self.n_rows, 1)

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the summary."""
        percents = (self.nebulous_percent, self.large_object_percent, self.covered_percent)
        nebulous, large, cover = (None if p is None else round(p, 2) for p in percents)
        return {
            "n_nebulous": self.n_nebulous,
            "n_in_large_object": self.n_in_large_object,
            "n_on_trail": self.n_on_trail,
            "n_trails": self.n_trails,
            "nebulous_percent": nebulous,
            "large_object_percent": large,
            "covered_percent": cover,
            "merged_percent": round(self.merged_percent, 1),
            "trust_notes": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """Return in words what is not to be trusted, and what helps."""
        sentences = []
        nebulous = is_nebulous(self.n_nebulous, self.n_merged, self.n_rows)
        if nebulous:
            sentences.append(
                f"nebulosity: {self.n_nebulous} of {self.n_rows} rows that are not cosmic rays may "
                "be parts of it: leave out rows flagged nebulous (the clean catalog does), or "
                "raise detect.n_sigma"
            )
        if self.n_in_large_object and not (nebulous and self.nebulous_percent > 50):
            sentences.append(
                f"a large object covers {self.large_object_percent:.1f} % of the image: "
                f"{self.n_in_large_object} rows on it may be parts of it, and its light is in "
                "their sky: leave out rows flagged in_large_object, or mask it with --exclude"
            )
        if self.n_trails:
            trails = "a trail crosses" if self.n_trails == 1 else f"{self.n_trails} trails cross"
            sentences.append(
                f"{trails} the image, with {self.n_on_trail} rows on it: leave out rows flagged "
                "trail (the clean catalog keeps points alone)"
            )
        cover = self.covered_percent
        is_merged = self.n_rows >= LEAST_ROWS and self.merged_percent >= 100 * MERGED_SHARE
        is_covered = cover is not None and cover >= 100 * CROWDED_SHARE and not nebulous
        remedy = "measure the loss with 'bycatch inject'"
        if not self.fits_psf:
            remedy = f"fit the PSF with --preset crowded, and {remedy}"
        if is_merged and not self.fits_psf:
            sentences.append(
                f"crowded: {self.merged_percent:.0f} % of the rows hide other stars: {remedy}"
            )
        elif is_covered:
            sentences.append(
                f"crowded: sources cover {cover:.0f} % of the image, which hides about as many "
                f"of the faint ones, and blends go undetected: {remedy}"
            )
        elif self.n_isolated < MIN_STARS and self._is_blended() and not self.fits_psf:
            sentences.append(
                f"crowded: {self.n_isolated} isolated stars are too few to tell stars from "
                f"galaxies and to correct apertures: {remedy}"
            )
        return sentences

    def _is_blended(self) -> bool:
        """Tell whether many of the rows have light of neighbours."""
        return self.n_rows >= LEAST_ROWS and self.n_blended >= BLENDED_SHARE * self.n_rows


def judge(
    image: DrcImage,
    structure: SkyStructure,
    segmentation: NDArray[np.integer[Any]] | None,
    table: Table,
    is_light: Bools,
    *,
    n_isolated: int = MIN_STARS,
    fits_psf: bool = False,
) -> Trust:
    """Return what stands against the catalog as a whole.

    Parameters
    ----------
    image, structure, segmentation : as in `sky_structure`
    table : (N,) rows with x, y and flags
    is_light : (N,) bool; false for likely cosmic rays
    n_isolated : stars that show where stars lie in concentration (`Locus.n_stars`)
    fits_psf : True where stars are fitted as well
    """
    flags = np.asarray(table["flags"], np.int64)[is_light]
    nebulous, large, trail, n_merged, n_blended = (
        int(np.count_nonzero(flags & int(flag)))
        for flag in (
            Flag.NEBULOUS, Flag.IN_LARGE_OBJECT, Flag.TRAIL, Flag.UNLISTED_PEAK, Flag.BLENDED,
        )
    )  # fmt: skip
    is_finite = np.isfinite(structure.scatter)
    rough = int((structure.scatter[is_finite] > NEBULOUS_SIGMA).sum())
    n_valid = max(int(np.count_nonzero(image.valid)), 1)
    cover = None
    if segmentation is not None:
        x, y = (np.asarray(table[name], float)[is_light] for name in "xy")
        inside = _inside(segmentation.shape, x, y)
        labels = segmentation[
            np.rint(y[inside]).astype(np.int64), np.rint(x[inside]).astype(np.int64)
        ]
        is_source = np.zeros(int(segmentation.max(initial=0)) + 1, dtype=bool)
        is_source[labels[labels > 0]] = True
        wide = grown_labels(segmentation, GROW_PX, is_source) & image.valid
        cover = 100.0 * int(np.count_nonzero(wide)) / n_valid
    return Trust(
        len(flags),
        nebulous,
        large,
        trail,
        len(structure.trails),
        100.0 * rough / max(int(is_finite.sum()), 1),
        min(100.0, 100.0 * int(np.count_nonzero(structure.large)) * CELL_PX**2 / n_valid),
        cover,
        n_merged,
        n_blended,
        n_isolated,
        fits_psf,
    )


def _inside(shape: tuple[int, ...], x: Floats, y: Floats) -> Bools:
    ny, nx = shape
    return np.asarray((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))
