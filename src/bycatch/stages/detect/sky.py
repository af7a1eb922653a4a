"""The sky of an image: background and noise, as surfaces through the statistics of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from bycatch.arrays import Bools, Image
from bycatch.errors import InconsistentImage
from bycatch.images.drc import DrcImage
from bycatch.kernels import background
from bycatch.kernels.background import SkyMaps, sky_surfaces
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.structure import at_cells, local_scatter, most_in_window, surface_of_blocks
from bycatch.kernels.surfaces import (
    Surface,
    fill_gaps,
    median_filter,
    surface_map,
    surface_through,
    write_noise,
)
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions
from bycatch.settings import DetectSettings

SETTINGS = ("box_px", "filter_boxes", "background", "fine_box_px", "clip_sigma")
"""What of the settings of `detect` the sky depends on."""
FILTER_CELLS = 3
OVERSUBTRACTED_SIGMA = 0.4
"""A cell whose sky lies so far below the background of the boxes, in units of the noise of a pixel,
is no chance: its own noise is below 0.1, and nothing in the sky is negative."""
WINDOW_CELLS, LEAST_CELLS = 21, 15
"""So many of them in a square of so many show light that boxes can't follow: none to 9 on the
ordinary fields of benchmarks/families.py, 24 and more with nebulae, large galaxies and crowds."""
LAG_CELLS, BLOCK_CELLS, MARGIN_CELLS = 2, 4, 3
WHITE = 0.2
"""Scatter of cells of sky without structure, in units of the noise of a pixel."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What the noise holds of a sky that changes within boxes.

    Attributes
    ----------
    share : of `coarse`
    coarse : the noise of the large boxes, at a second of exposure
    """

    share: Surface
    coarse: Surface


@dataclass(frozen=True, eq=False)
class SkyModel:
    """The surfaces of background and noise: small, and all that the maps need.

    Attributes
    ----------
    background : e/s
    noise : of a pixel with a second of exposure, e/s
    structure : of a sky that changes within boxes; None of an ordinary one
    n_oversubtracted : as in `Sky`
    """

    background: Surface
    noise: Surface
    structure: Structure | None
    n_oversubtracted: int

    def on(self, image: DrcImage) -> Sky:
        """Return the maps.

        Parameters
        ----------
        image : the one that the surfaces were measured on
        """
        coarse = None if self.structure is None else _noise_map(image, self.structure.coarse)
        return self.with_maps(image, surface_map(self.background, image.valid), coarse)

    def with_maps(self, image: DrcImage, level: Image, coarse: Image | None) -> Sky:
        """Return the maps, of which that of the background and the coarse noise are known.

        Parameters
        ----------
        image : the one that the surfaces were measured on
        level, coarse : (ny, nx) float32, e/s
        """
        noise = _noise_map(image, self.noise)
        if self.structure is not None and coarse is not None:
            share = surface_map(self.structure.share, image.valid)

            def add(first: int, last: int) -> None:
                rows = slice(first, last)
                np.multiply(share[rows], coarse[rows], out=share[rows])
                np.hypot(noise[rows], share[rows], out=noise[rows])

            in_portions(add, len(noise), ROWS_WORTH_A_THREAD)
        return Sky(level, noise, self)


@dataclass(frozen=True, eq=False)
class Sky:
    """Background and noise of unsmoothed pixels.

    Attributes
    ----------
    background, noise : (ny, nx) float32, e/s
    model : the surfaces that they come from
    """

    background: Image
    noise: Image
    model: SkyModel

    @property
    def box_px(self) -> int:
        """Side of the boxes that the background comes from."""
        return max(self.model.background.box_px)

    @property
    def n_oversubtracted(self) -> int:
        """Cells of ``detect.fine_box_px`` whose sky lies far below the large boxes' background."""
        return self.model.n_oversubtracted


def sky_of(image: DrcImage, settings: DetectSettings) -> Sky:
    """Return background and noise of unsmoothed pixels.

    Both are splines through clipped statistics of boxes.  A box mixes depths at
    chip gaps and dither edges; the noise is therefore measured on the image
    scaled to a common depth, by sqrt(exposure time), and scaled back per pixel.
    Settings in detector pixels are taken to those of the image.

    Where the sky changes within a box, as in nebulae, large galaxies and crowds, the boxes' surface
    lies above what is between; where that is so in many cells that lie together, the background
    comes from the cells, and the noise holds what structure they have.

    Parameters
    ----------
    image : DrcImage
    settings : DetectSettings

    Raises
    ------
    InconsistentImage
        Too few pixels hold data.
    """
    settings = settings.at(image.detector_px)
    coarse = _box_maps(image, settings)

    def ordinary(n_oversubtracted: int) -> Sky:
        surfaces = coarse.background_surface, coarse.noise_surface
        return Sky(coarse.background, coarse.noise, SkyModel(*surfaces, None, n_oversubtracted))

    box = settings.fine_box_px
    if settings.background == "coarse" or box >= settings.box_px:
        return ordinary(0)
    cells = box_statistics(image.sci, image.valid, (box, box), settings.clip_sigma, 0.5).mode
    level, scatter = at_cells(coarse.background, box), at_cells(coarse.noise, box)
    has_level = np.isfinite(cells) & (scatter > 0)
    if not has_level.any():
        return ordinary(0)
    excess = np.full(cells.shape, np.nan, np.float32)
    excess[has_level] = (cells[has_level] - level[has_level]) / scatter[has_level]
    near = binary_dilation(has_level, np.ones((FILTER_CELLS, FILTER_CELLS), np.bool_))
    smooth = median_filter(fill_gaps(excess, near), FILTER_CELLS)
    below = (smooth < -OVERSUBTRACTED_SIGMA) & has_level
    is_structured = most_in_window(below, WINDOW_CELLS) >= LEAST_CELLS
    n_below = int(below.sum())
    if settings.background == "auto" and not is_structured:
        return ordinary(n_below)
    fine = surface_through(median_filter(fill_gaps(cells), FILTER_CELLS), (box, box))
    fine_level = surface_map(fine, image.valid)

    def without_level(rows: slice) -> tuple[Image, Bools, Image]:
        return image.sci[rows] - fine_level[rows], image.valid[rows], image.exptime_map_s[rows]

    _, white = sky_surfaces(without_level, image.shape, *_box_settings(image, settings))
    blocks = local_scatter(excess, LAG_CELLS, BLOCK_CELLS, MARGIN_CELLS)
    share = surface_of_blocks(np.sqrt(np.maximum(blocks**2 - WHITE**2, 0.0)), BLOCK_CELLS * box)
    # Of the coarse noise, which the excess is in units of.
    structure = Structure(share, coarse.noise_surface) if share else None
    return SkyModel(fine, white, structure, n_below).with_maps(image, fine_level, coarse.noise)


def sky_maps(image: DrcImage, settings: DetectSettings) -> tuple[Image, Image]:
    """Return background and noise of `sky_of`, each (ny, nx) in e/s.

    Parameters
    ----------
    image : DrcImage
    settings : DetectSettings
    """
    sky = sky_of(image, settings)
    return sky.background, sky.noise


def _box_maps(image: DrcImage, settings: DetectSettings) -> SkyMaps:
    """Return background and noise in the large boxes."""
    try:
        return background.sky_maps(
            image.sci,
            image.valid,
            image.exptime_map_s,
            *_box_settings(image, settings),
        )
    except ValueError as err:
        share = 100 * float(image.valid.mean())
        raise InconsistentImage(
            f"{image.path}: the background can't be measured: {err} ({share:.3g} % of the pixels "
            "hold data)",
            hint="leave it out, or fetch it again",
        ) from err


def _box_settings(image: DrcImage, settings: DetectSettings) -> tuple[int, int, float, float]:
    """Return what the statistics of the large boxes go by."""
    least = 1 - exclude_percent(image.valid, settings.box_px) / 100
    return settings.box_px, settings.filter_boxes, settings.clip_sigma, least


def _noise_map(image: DrcImage, surface: Surface) -> Image:
    out = np.empty(image.shape, np.float32)
    write_noise(image.exptime_map_s, image.valid, surface, out)
    return out


def exclude_percent(valid: NDArray[np.bool_], box_px: int) -> float:
    """Return the share of missing pixels above which a box is left out, in percent.

    A box may lose up to nine tenths to gaps and borders: it still has 1000
    pixels, and a narrow image has no better one.

    Parameters
    ----------
    valid : (ny, nx) bool
    box_px : side of a box, px
    """
    height, width = (min(box_px, size) for size in valid.shape)
    n_boxes = -(-valid.shape[0] // height) * -(-valid.shape[1] // width)
    missing = 100.0 * (1.0 - np.count_nonzero(valid) / valid.size)
    return 90.0 if n_boxes >= 4 and missing < 50 else 100.0
