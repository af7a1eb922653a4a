"""No kernel reads or writes outside its arrays, whatever it is given.

Alone, this file finds crashes and loops without end.  What goes astray without a crash is found
with numba's own checks (CONTRIBUTING.md has the command): then an index beyond an array is an
error, and so is a negative one, which otherwise counts from the end (see conftest.py).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

import bycatch
from bycatch import kernels
from bycatch.kernels import (
    apertures,
    association,
    background,
    blocks,
    bounds,
    box_scatter,
    boxes,
    cells,
    columnruns,
    deblend,
    exposures,
    growth,
    kron,
    labelling,
    lacosmic,
    large_medians,
    lines,
    mask_growth,
    matching,
    mixtures,
    moffat,
    moments,
    neighbourhood,
    noise_image,
    offset_search,
    peak_basins,
    peak_widths,
    peaks,
    pieces,
    psf_fit,
    psf_grid,
    psf_search,
    psf_solve,
    resample,
    ring_excess,
    rowmedians,
    sharp_peaks,
    sharpness,
    skylevel,
    skystats,
    smoothing,
    stamps,
    star_hits,
    structure,
    surfaces,
    text_rows,
    tiefit,
    windows,
)
from bycatch.kernels.compiled import compiled

ODD_NUMBERS = [np.nan, np.inf, -np.inf, 1e38, -1e38, 3e38, 1e-42, -1e-42, 0.0, -0.0, 1e20]
"""What pixels may hold: no numbers, too large for a square or a sum in float32, denormal."""
ODD_POSITIONS = [
    np.nan, np.inf, -np.inf, 1e300, -1e300, 1e19, -1e19, 2.0**31, -(2.0**63), 1e8, -1e8, -1.0, -0.5,
    math.nextafter(0.5, 0), 0.5, 1e-310, -1e-310,
]  # fmt: skip
SHAPES = [(0, 0), (0, 5), (5, 0), (1, 1), (1, 70), (70, 1), (2, 3), (66, 41)]
KERNEL = smoothing.gaussian_kernel(2.0, 5)


@dataclass(frozen=True)
class Scene:
    """Images of one shape, and positions on and off them."""

    data: Any
    others: tuple[Any, ...]
    valid: Any
    mask: Any
    n_exp: Any
    labels: Any
    n_labels: int
    x: Any
    y: Any
    extra: Any

    @property
    def pixels(self) -> tuple[Any, Any]:
        """Return columns and rows of some pixels of the image."""
        rows, columns = np.unravel_index(np.flatnonzero(self.mask)[:40], self.mask.shape)
        return columns, rows


# ---------------------------------------------------------------- what images look like


def _everywhere(value: float) -> Callable[..., Any]:
    return lambda rng, image: np.full(image.shape, value, image.dtype)


def _in_places(*values: float) -> Callable[..., Any]:
    def spoil(rng: np.random.Generator, image: Any) -> Any:
        places = rng.random(image.shape) < 0.1
        image[places] = rng.choice(values, int(places.sum()))
        return image

    return spoil


def _patch(value: float) -> Callable[..., Any]:
    def spoil(rng: np.random.Generator, image: Any) -> Any:
        image[image.shape[0] // 3 :, image.shape[1] // 3 :][:9, :9] = value
        return image

    return spoil


CONTENTS: dict[str, Callable[..., Any]] = {
    "noise": lambda rng, image: image,
    "zeros": _everywhere(0.0),
    "equal": _everywhere(7.0),
    "NaN": _everywhere(np.nan),
    "inf": _everywhere(np.inf),
    "huge": _everywhere(3e38),
    "denormal": _everywhere(1e-42),
    "some NaN": _in_places(np.nan),
    "some inf": _in_places(np.inf, -np.inf),
    "some huge": _in_places(3e38, -3e38),
    "some of all": _in_places(*ODD_NUMBERS),
    "patch of 1e37": _patch(1e37),
    "patch of inf": _patch(np.inf),
}
FORMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda a: a,
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "float64": lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@cache
def scene(content: str, shape: tuple[int, int], form: str = "plain") -> Scene:
    """Return a scene in which all images hold something odd, each at places of its own."""
    rng = np.random.default_rng(len(content) * 1000 + shape[0] * 100 + shape[1])
    spoil, make = CONTENTS[content], FORMS[form]
    images = []
    for level in (0.1, 0.02, 0.01, 600.0, 1.0):
        image = rng.normal(level, 0.2 * level, shape).astype(np.float32)
        image[rng.random(shape) < 0.03] += np.float32(30 * level)
        images.append(make(spoil(rng, image)))
    segments = np.zeros(shape, np.int32)
    for k in range(1, 5):  # touching squares, of which one may hide another
        row, column = (int(rng.integers(0, max(n - 8, 1))) for n in shape)
        segments[row : row + 9, column : column + 9] = k
    steps = [n - 0.5 for n in shape] + [n + 0.0 for n in shape]
    odd = np.array(ODD_POSITIONS + steps)
    x = np.concatenate([odd, np.full(len(odd), 1.0), rng.uniform(-9, shape[1] + 9, 90)])
    y = np.concatenate([np.full(len(odd), 1.0), odd, rng.uniform(-9, shape[0] + 9, 90)])
    return Scene(
        images[0], tuple(images[1:]), make(rng.random(shape) < 0.9), make(rng.random(shape) < 0.05),
        make(rng.choice(np.array([-32768, -1, 0, 1, 2, 32767], np.int16), shape)),
        make(segments), 4, x, y, rng.choice(ODD_NUMBERS, len(x)),
    )  # fmt: skip


def scenes() -> Iterator[tuple[str, Scene]]:
    """Return all contents in one shape, and some in all shapes and forms."""
    for content in CONTENTS:
        yield content, scene(content, SHAPES[-1])
    for content in ("noise", "NaN", "huge", "some of all"):
        for shape in SHAPES[:-1]:
            yield f"{content}, {shape}", scene(content, shape)
    for form in FORMS:
        for content in ("noise", "some of all"):
            yield f"{content}, {form}", scene(content, SHAPES[-1], form)


# ---------------------------------------------------------------- the kernels, one by one


def _surface(s: Scene) -> surfaces.Surface:
    n_boxes = tuple(max(-(-n // 16), 1) for n in s.data.shape)
    mesh = np.resize(np.asarray(s.extra, np.float32), n_boxes)
    coefficients = mesh.astype(np.float64)
    return surfaces.Surface(
        mesh, coefficients, np.float32(mesh.min()), np.float32(mesh.max()), (16, 16)
    )


def _write_scaled(s: Scene) -> Any:
    outputs = [np.empty(s.data.shape, np.float32) for _ in range(2)]
    surfaces.write_scaled(s.data, s.valid, s.others[0], _surface(s), 5, *outputs)
    return outputs


def _write_noise(s: Scene) -> Any:
    out = np.empty(s.data.shape, np.float32)
    surfaces.write_noise(s.data, s.valid, _surface(s), out)
    return out


def _write_level(s: Scene) -> Any:
    out = np.empty(s.data.shape, np.float32)
    surfaces.write_level(_surface(s), s.valid, out)
    return out


def _fill_gaps(s: Scene) -> Any:
    return surfaces.fill_gaps(np.resize(s.extra.astype(np.float32), (4, 5)))


def _median_filter(s: Scene) -> Any:
    mesh = np.resize(s.extra.astype(np.float32), (4, 5))
    return [surfaces.median_filter(mesh, size) for size in (-3, 0, 1, 3, 9)]


def _kinds(s: Scene) -> Any:
    vectors = s.data[:, :3]
    k = vectors.shape[1]
    wide = np.einsum("ij,ik->ijk", vectors, vectors)
    return mixtures.kinds(vectors, wide, np.ones((2, k)), np.ones((2, k, k)), np.ones(2) / 2)


def _box_statistics(s: Scene) -> Any:
    return [
        boxes.box_statistics(s.data, s.valid, box, clip_sigma, min_share)
        for box in ((16, 16), (1, 1), (500, 3))
        for clip_sigma in (3.0, 0.1, 0.0, -1.0, np.nan, np.inf)
        for min_share in (0.1, -1.0)
    ]


def _model(s: Scene) -> noise_image.NoiseModel:
    return noise_image.NoiseModel(1.0, *(float(v) for v in s.extra[:5]))


def _counts(s: Scene) -> tuple[Any, ...]:
    return s.data, s.others[2], s.n_exp, s.valid


def _take_sky_off(s: Scene) -> Any:
    counts = np.array(s.data, np.float32, order="K")
    noise_image.take_sky_off(counts, s.others[2], s.valid, float(s.extra[0]))
    return counts


def _narrow_basins(s: Scene) -> Any:
    x, y = s.pixels
    return peak_basins.narrow_basins(s.data, s.valid, x, y, np.arange(len(x)) % 2 == 0)


def _deblend(s: Scene) -> Any:
    # A segment in pieces is refused; so each pixel that is marked is a segment, and one block more.
    whole = np.ones(s.data.shape, np.int32)
    return [
        deblend.deblend(s.data, labels, s.n_labels, 1, 32, contrast, in_place)
        for labels in (whole, whole * 4)
        for contrast in (0.0, 0.005)
        for in_place in (False, True)
    ]


def _lacosmic(s: Scene) -> Any:
    psf = KERNEL.astype(np.float32)
    limits = [{"sigclip": v} for v in (4.5, 0.0, -1.0, np.nan)] + [{"mirror_px": 3}, {"psf": psf}]
    results = [
        lacosmic.lacosmic(s.data, s.others[0], s.mask, cleantype=name) for name in lacosmic.CLEANING
    ]
    return results + [lacosmic.lacosmic(s.data, s.others[0], **limit) for limit in limits]


def _rows(s: Scene) -> Any:
    return np.resize(s.data, (7, 12)) if s.data.size else np.zeros((0, 12))


def _fit_moffat(s: Scene) -> Any:
    return moffat.fit_moffat(np.abs(np.resize(s.extra, (7, 12))), _rows(s), _rows(s) > -1e30)


def _lists(s: Scene) -> tuple[Any, Any]:
    a, b = np.column_stack([s.x, s.y]), np.column_stack([s.y, s.extra])
    return a, np.concatenate([a[::2] + 0.3, b])


def _likeliest_groups(s: Scene) -> Any:
    n = len(s.x)
    rng = np.random.default_rng(0)
    pairs = [np.sort(rng.integers(0, n, (2, 500)), axis=0), np.zeros((2, 0), np.int64)]
    near = rng.normal(0.0, 1.0, (n, 2))
    return [
        association.likeliest_groups(xy, variance, density, image, pair, np.arange(n + 2.0))
        for xy, variance in ((np.column_stack([s.x, s.y]), s.extra), (near, np.full(n, 0.1)))
        for density in (s.extra, np.full(n, -3.0))
        for image in (np.arange(n) % 5, np.arange(n) * (2**60))
        for pair in pairs
    ]


def _find_offset(s: Scene) -> Any:
    limits = {"max_shift": 1.0, "tolerance": 0.2, "area": 100.0}
    near = [xy[np.abs(xy).max(axis=1) < 1e3] for xy in _lists(s)]
    return [
        offset_search.find_offset(*near, max_roll_rad=1e-3, **limits),
        offset_search.find_offset(*_lists(s), max_roll_rad=0.0, **limits),
    ]


def _closest_first(s: Scene) -> Any:
    rng = np.random.default_rng(0)
    return matching.closest_first(*rng.integers(0, 9, (2, len(s.extra))), s.extra)


def _rows_of_cells(s: Scene) -> Any:
    first = np.searchsorted(np.arange(4.0), s.extra)[:100].reshape(2, -1)
    return text_rows.rows_of_cells(b"12345678", first, first + 3)


def _cells_of_rows(s: Scene) -> Any:
    words = np.array(["1", '"a b"', '""', '"', "x y", "", '"x""y"', "1\n2", "\n", '"\n'])
    which = np.searchsorted(np.arange(9.0), s.extra)
    rows = (" ".join(words[which[k : k + 3]]) + "\n" for k in range(0, len(which), 3))
    texts = ["".join(rows).encode(), *(" ".join(words[: k + 1]).encode() for k in range(9)), b""]
    return [
        text_rows.cells_of_rows(text, min(start, len(text)), n, list(range(n)))
        for text in texts
        for n in (1, 3)
        for start in (0, 2)
    ]


def _joined(s: Scene) -> Any:
    runs = np.array([[0, 0, 2, 0], [1, 1, 3, 1]], np.int32)
    return labelling.join_runs([runs[:0], runs, runs[:0]])


def _thresholds(s: Scene) -> Any:
    low, high = s.extra[:20].astype(np.float32), s.extra[20:40].astype(np.float32)
    return deblend.thresholds(low, high, 32)


def _north_up(s: Scene) -> Any:
    n = len(s.x)
    turned = np.resize(np.array([[-0.8, 0.5], [0.5, 0.8]]), (n, 2, 2))
    return [
        stamps.north_up(
            s.data, s.valid, s.labels, s.x, s.y, np.arange(n), np.resize(sky, n), matrix,
            np.arange(n) % 9,
        )
        for sky, matrix in ((0.5, turned), (s.extra, np.resize(s.extra, (n, 2, 2))))
    ]  # fmt: skip


def _add_resampled(s: Scene) -> Any:
    results = []
    for shape in ((40, 33), (1, 1), (0, 3)):
        total, weight = np.zeros((2, *shape), np.float32)
        places = [
            np.resize(v, (-(-shape[0] // 32) + 1, -(-shape[1] // 32) + 1)).astype(float)
            for v in (s.x if len(s.x) else np.zeros(1), s.y if len(s.y) else np.zeros(1))
        ]
        resample.add_resampled(total, weight, s.data, s.others[0], *places)
        results.append((total, weight))
    return results


def _segment_boxes(s: Scene) -> Any:
    return moments.segment_boxes(neighbourhood.plane(s.labels, np.int32), s.n_labels)


def _segments_above(s: Scene) -> Any:
    labels = labelling.segments_above(s.data, *s.others[:2], s.valid, KERNEL, 1.0, 3)
    return labels, deblend.deblend(labels.smooth, labels.labels, labels.n_labels, 3, 32, 0.005)


def _grids(s: Scene) -> Any:
    return np.resize(s.extra, (2, psf_grid.grid_side(3), psf_grid.grid_side(3)))


def _stars(s: Scene) -> Any:
    n = min(len(s.x), len(s.y))
    return np.resize(s.extra, (n, 2)), np.asarray(s.x)[:n], np.asarray(s.y)[:n]


def _pixels(s: Scene) -> Any:
    images = [np.ascontiguousarray(v, np.float32) for v in (s.data, *s.others[:3], s.data)]
    return psf_fit.Pixels(*images, s.valid.astype(np.uint8) + s.mask)


def _add_stars(s: Scene) -> Any:
    image = np.zeros(s.data.shape, np.float32)
    terms, x, y = _stars(s)
    for reach in (np.resize(s.extra, len(x)), np.full(len(x), 3.0)):
        psf_grid.add_stars(image, _grids(s), terms, x, y, np.resize(s.extra, len(x)), reach)
    return image


def _add_wings(s: Scene) -> Any:
    image = np.zeros(s.data.shape, np.float32)
    _, x, y = _stars(s)
    flux = np.resize(s.extra, len(x))
    for reach in (flux, np.full(len(x), 9.0)):
        psf_grid.add_wings(image, np.resize(s.extra, 30), x, y, flux, 1.0, reach)
    return image


def _equations(s: Scene) -> Any:
    stamps_, column, row = psf_grid.star_stamps(_grids(s), *_stars(s), 2.5)
    trust = psf_fit.Trust(0.1, 4.0)
    blocks_, gradient, weights = psf_fit.normal_equations(_pixels(s), trust, stamps_, column, row)
    first = np.arange(max(len(column) - 1, 0))
    ties = psf_fit.tie_blocks(stamps_, weights, column, row, first, first + 1)
    flux = np.resize(s.extra, len(column))
    how_well = psf_fit.quality(
        _pixels(s), stamps_, weights, column, row, flux, flux, 1.5, np.ones((3, 3))
    )
    solution = psf_solve.solve_stars(blocks_, ties, first, first + 1, gradient, 1e-3)
    variances = psf_solve.joint_variances(blocks_, ties, first, first + 1, flux > 0)
    return blocks_, gradient, weights, ties, how_well, solution, variances


RING: dict[str, Any] = {"window_px": 1.5, "search_px": 2.0, "box_px": 2}

CASES: dict[str, Callable[[Scene], Any]] = {
    "apertures.circle_sums": lambda s: apertures.circle_sums(
        s.data, s.valid, s.x, s.y, [9, 0, 2.5]
    ),
    "association.likeliest_groups": _likeliest_groups,
    "ring_excess.ring_excess": lambda s: ring_excess.ring_excess(
        s.data, s.valid, s.mask, s.x, s.y, [9, 0, 2.5], 1.5, s.labels
    ),
    "association.pair_gain": lambda s: association.pair_gain(s.x, s.extra, s.y),
    "boxes.box_statistics": _box_statistics,
    "surfaces.fill_gaps": _fill_gaps,
    "surfaces.median_filter": _median_filter,
    "background.sky_maps": lambda s: background.sky_maps(
        s.data, s.valid, s.others[2], 16, 3, 3.0, 0.1
    ),
    "background.sky_surfaces": lambda s: background.sky_surfaces(
        lambda rows: (s.data[rows], s.valid[rows], s.others[0][rows]), s.data.shape, 9, 3, 3.0, 0.0
    ),
    "background.level_surface": lambda s: background.level_surface(
        lambda rows: (s.data[rows], s.valid[rows], s.others[0][rows]),
        s.data.shape,
        background.Boxes(9, 3, 3.0, 0.0),
    ),
    "background.noise_surface": lambda s: background.noise_surface(
        lambda rows: (s.data[rows], s.valid[rows], s.others[0][rows]),
        s.data.shape,
        background.Boxes(9, 3, 3.0, 0.0),
        surfaces.surface_through(np.zeros((3, 4), np.float32), (9, 9)),
    ),
    "surfaces.surface_at": lambda s: surfaces.surface_at(
        _surface(s), s.data.shape, np.asarray(s.x, float), np.asarray(s.y, float)
    ),
    "surfaces.surface_map": lambda s: surfaces.surface_map(_surface(s), s.valid),
    "surfaces.surface_through": lambda s: surfaces.surface_through(
        np.resize(s.extra.astype(np.float32), (3, 4)), (16, 16)
    ),
    "surfaces.write_level": _write_level,
    "surfaces.write_noise": _write_noise,
    "surfaces.write_scaled": _write_scaled,
    "lines.lines_across": lambda s: lines.lines_across(s.mask, s.valid),
    "lines.trace": lambda s: lines.trace(lines.Line(0.7, 9.0), s.data, s.valid, 1.0),
    "resample.add_resampled": _add_resampled,
    "resample.flux_and_variance": lambda s: resample.flux_and_variance(
        s.data, s.others[0], s.others[1], s.valid, 2.0
    ),
    "psf_grid.add_stars": _add_stars,
    "psf_grid.add_wings": _add_wings,
    "psf_grid.star_stamps": lambda s: psf_grid.star_stamps(_grids(s), *_stars(s), 2.5),
    "psf_fit.normal_equations": _equations,
    "psf_fit.quality": _equations,
    "psf_fit.tie_blocks": _equations,
    "psf_solve.joint_variances": _equations,
    "psf_solve.solve_stars": _equations,
    "psf_search.matched_filter": lambda s: psf_search.matched_filter(_pixels(s), np.ones((5, 5))),
    "stamps.ellipses_north_up": lambda s: stamps.ellipses_north_up(
        *np.resize(s.extra, (3, 20)), half=6
    ),
    "stamps.north_up": _north_up,
    "structure.at_cells": lambda s: structure.at_cells(s.data, 16),
    "structure.local_scatter": lambda s: structure.local_scatter(s.data, 2, 4, 3),
    "structure.surface_of_blocks": lambda s: structure.surface_of_blocks(
        structure.local_scatter(s.data, 2, 16, 3), 16
    ),
    "structure.most_in_window": lambda s: structure.most_in_window(s.mask, 5),
    "noise_image.NoiseModel.typical_fixed": lambda s: _model(s).typical_fixed(*_counts(s)[1:]),
    "noise_image.electrons": lambda s: noise_image.electrons(*_counts(s), _model(s), 1e4),
    "box_scatter.level_and_scatter": lambda s: box_scatter.level_and_scatter(s.data, s.valid),
    "box_scatter.residual_scatter": lambda s: box_scatter.residual_scatter(*_counts(s), _model(s)),
    "noise_image.variance_plane": lambda s: noise_image.variance_plane(
        *_counts(s), _model(s), 1e30
    ),
    "blocks.covered_blocks": lambda s: blocks.covered_blocks(s.valid),
    "blocks.block_sums": lambda s: blocks.block_sums(s.data.astype(np.float32)),
    "columnruns.column_runs": lambda s: columnruns.column_runs(
        s.data, 4, s.x, s.y, s.extra, [0.0, 0.1, -1e7], 3.0, 2, 9
    ),
    "deblend.deblend": _deblend,
    "deblend.thresholds": _thresholds,
    "exposures.box_fraction": lambda s: exposures.box_fraction(s.mask, s.x, s.y, 7),
    "exposures.exposure_counts": lambda s: exposures.exposure_counts(s.labels),
    "exposures.mask_shares": lambda s: exposures.mask_shares(
        s.labels, s.mask, [-(2**62), -1, 0, 1, 5, 2**31, 2**62]
    ),
    "kron.kron_shapes": lambda s: [
        kron.kron_shapes(s.data, s.valid, s.extra, s.x, s.y),
        kron.kron_shapes(s.data, s.valid, 0.0, s.x, s.y, s.labels, np.arange(len(s.x)) - 9),
    ],
    "skylevel.free_boxes": lambda s: skylevel.free_boxes(s.valid, 16, 0.1),
    "skylevel.grown_segments": lambda s: skylevel.grown_segments(s.labels, 3.0, 8.0, 100.0),
    "skylevel.labels_nearby": lambda s: skylevel.labels_nearby(s.labels, 1.5, 2.0, 100.0),
    "skylevel.level_surface": lambda s: skylevel.level_surface(s.data, s.valid, 16, 3.0, 0.1),
    "cells.at_one_depth": lambda s: cells.at_one_depth(s.data, s.data, 0.1, 2.0),
    "cells.clipped_means": lambda s: cells.clipped_means(s.data, s.valid, 8, 3.0, 0.5),
    "cells.grown_labels": lambda s: [
        cells.grown_labels(s.labels, 3),
        cells.grown_labels(s.labels, 70, np.arange(s.labels.max(initial=0) + 1) % 2 > 0),
    ],
    "mixtures.kinds": _kinds,
    "labelling.join_runs": _joined,
    "labelling.n_groups": lambda s: labelling.n_groups(s.mask),
    "labelling.segments_above": _segments_above,
    "lacosmic.lacosmic": _lacosmic,
    "text_rows.cells_of_rows": _cells_of_rows,
    "text_rows.rows_of_cells": _rows_of_cells,
    "matching.closest_first": _closest_first,
    "offset_search.find_offset": _find_offset,
    "matching.match_one_to_one": lambda s: matching.match_one_to_one(*_lists(s), 1.0),
    "matching.pairs_within": lambda s: matching.pairs_within(*_lists(s), 1.0),
    "moffat.fit_moffat": _fit_moffat,
    "moffat.fit_moffat_at": lambda s: moffat.fit_moffat_at(s.data, s.valid, s.x, s.y, 5.0),
    "moments.segment_boxes": _segment_boxes,
    "moments.segment_properties": lambda s: moments.segment_properties(
        s.data, s.others[0], s.others[1], s.valid, s.labels, s.n_labels, s.n_exp
    ),
    "windows.wide_centroids": lambda s: windows.wide_centroids(
        s.data, s.others[0], s.valid, s.labels, np.arange(len(s.x)), s.x, s.y, 1.6
    ),
    "star_hits.hit_centres": lambda s: star_hits.hit_centres(
        (s.data, s.others[0], s.valid, s.labels),
        np.arange(len(s.x)),
        s.x,
        s.y,
        np.resize(np.abs(s.extra), len(s.x)),
        np.full(len(s.x), 500.0),
        window_px=1.6,
        profile=star_hits.Profile(2.1),
    ),
    "neighbourhood.all_within": lambda s: neighbourhood.all_within(s.valid, s.x, s.y, 3.0),
    "neighbourhood.any_within": lambda s: neighbourhood.any_within(s.mask, s.x, s.y, 3.0),
    "neighbourhood.coverage": lambda s: neighbourhood.coverage(
        (s.data, s.valid, s.n_exp, s.others[2]), s.x, s.y, 3.0, 5.0
    ),
    "neighbourhood.neighbourhood": lambda s: neighbourhood.neighbourhood(
        s.data.shape, s.x, s.y, 3.0
    ),
    "mask_growth.grow_by_blur": lambda s: mask_growth.grow_by_blur(
        s.mask, np.array([0.2, 0.5, 0.2]), 0.1, s.valid
    ),
    "mask_growth.grow_by_one": lambda s: mask_growth.grow_by_one(s.mask, s.valid),
    "peaks.is_cut_off": lambda s: peaks.is_cut_off(s.valid, *s.pixels, 4.0),
    "peaks.maxima": lambda s: peaks.maxima(s.data, s.mask),
    "peak_widths.minor_widths": lambda s: peak_widths.minor_widths(
        s.data, s.others[0], *s.pixels, 1.5, (3.5, 5.5)
    ),
    "peak_basins.narrow_basins": _narrow_basins,
    "noise_image.take_sky_off": _take_sky_off,
    "pieces.contacts": lambda s: pieces.contacts(s.data, s.labels, s.n_labels),
    "pieces.rename_labels": lambda s: pieces.rename_labels(
        np.array(s.labels, np.int32), np.arange(s.n_labels + 1)
    ),
    "sharp_peaks.response": lambda s: sharp_peaks.response(0.8, 2.0),
    "sharp_peaks.sharp_peaks": lambda s: sharp_peaks.sharp_peaks(s.data, s.valid, 0.8, 2.0, 0.0),
    "large_medians.lower_median": lambda s: large_medians.lower_median(s.data, s.valid),
    "large_medians.median": lambda s: large_medians.median(s.data, s.valid),
    "large_medians.neighbours_in_order": lambda s: large_medians.neighbours_in_order(
        s.data, s.valid, 3
    ),
    "sharpness.sharpness": lambda s: [
        sharpness.sharpness(s.data, s.mask, s.x, s.y, ring_px=ring, **RING)
        for ring in ((3.5, 5.5), (0.3, 0.5), (2.1, 2.2))
    ],
    "skystats.annulus_stats": lambda s: [
        skystats.annulus_stats(s.data, s.valid, s.x, s.y, (3.0, 6.0), 3.0, labels)
        for labels in (None, s.labels)
    ],
    "skystats.clipped_rows": lambda s: [skystats.clipped_rows(_rows(s), c) for c in (3.0, np.nan)],
    "smoothing.smooth_image": lambda s: smoothing.smooth_image(s.data, s.valid, KERNEL),
}
"""How each public kernel is called with a scene."""

HARMLESS = {
    "distortion": {"distortion"},
    "kron": {"ellipse_radius_px"},
    "noise_image": {"NoiseModel"},
    "deblend_pixels": {"with_depths"},
    "lacosmic": {"find"},  # with the next two, the steps of `lacosmic`
    "lacosmic_blocks": {"renew"},
    "lacosmic_planes": {"fill", "within_rows"},
    "matching": {"within_reach"},
    "neighbourhood": {"bilinear", "nearest_pixel", "pixels_at", "plane", "points", "positions"},
    "offset_search": {"expected_chance_peaks", "extent_of", "move"},
    "peak_basins": {"with_rim"},
    "peak_widths": {"ring_of"},
    "psf_fit": {"checked_pairs", "checked_pixels"},
    "psf_grid": {"checked_terms", "cubic_weights", "grid_side", "largest_radius_px", "nearest"},
    "rowmedians": {"n_blocks", "plane_shape"},
    "large_medians": {"range_of_median"},
    "smoothing": {"gaussian_kernel", "noise_correlation", "weights_of"},
    "tiefit": {
        "common_terms",
        "common_variance",
        "fitted_frames",
        "image_affine",
        "image_covariance",
    },
    "windows": {"windowed_offset"},
    "wings": {"fit_wings"},
}
"""Public functions that call no compiled code, or are called by those above alone."""
MACHINERY = {"bounds", "compiled", "threads"}


def modules() -> dict[str, Any]:
    """Return the modules of kernels by their names."""
    names = [module.name for module in pkgutil.iter_modules(kernels.__path__)]
    return {name: importlib.import_module(f"bycatch.kernels.{name}") for name in names}


def test_every_public_kernel_is_fuzzed():
    public = {
        f"{name}.{function}"
        for name, module in modules().items()
        for function, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
        if not function.startswith("_") and function not in HARMLESS.get(name, ())
        if name not in MACHINERY
    }
    assert public == {name for name in CASES if name.count(".") == 1}


def test_compiled_code_is_called_by_kernels_alone():
    """Outside, everything goes through the functions that look at what they are given."""
    dispatchers = {
        (name, function)
        for name, module in modules().items()
        for function, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }
    source = Path(bycatch.__file__).parent
    for path in sorted(source.rglob("*.py")):
        if path.parent.name == "kernels":
            continue
        tree, names = ast.parse(path.read_text("utf-8")), {}
        for node in ast.walk(tree):
            home = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if home.startswith("bycatch.kernels"):
                for alias in node.names:
                    assert (home.rpartition(".")[2], alias.name) not in dispatchers, path
                    names[alias.asname or alias.name] = alias.name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (names.get(node.value.id), node.attr) not in dispatchers, path


@compiled
def _element(values: Any, index: int) -> float:
    return float(values[index])


@pytest.mark.skipif(os.environ.get("NUMBA_BOUNDSCHECK") != "1", reason="numba checks no bounds")
@pytest.mark.parametrize("index", [-1, -3, 3, 2**40])
def test_the_checks_of_bounds_are_on(index):
    with pytest.raises(IndexError):
        _element(np.arange(3.0), index)


@pytest.mark.parametrize("name", CASES)
def test_odd_input_leads_no_kernel_outside_its_arrays(name):
    """It returns, or refuses with a ValueError: no crash, no other error, no loop without end."""
    n_done = 0
    for what, images in scenes():
        with np.errstate(all="ignore"):
            try:
                CASES[name](images)
                n_done += 1
            except ValueError:
                continue
            except Exception as err:
                err.add_note(f"the scene: {what}")
                raise
    assert n_done > 10


# ---------------------------------------------------------------- one bad pixel spoils no others


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize(
    "name",
    [
        "apertures.circle_sums", "columnruns.column_runs", "kron.kron_shapes",
        "moffat.fit_moffat_at", "neighbourhood.coverage", "sharpness.sharpness",
        "skystats.annulus_stats",
    ],
)  # fmt: skip
def test_a_bad_pixel_spoils_only_what_is_near(name, value):
    rng = np.random.default_rng(5)
    data = rng.normal(1.0, 0.1, (120, 40)).astype(np.float32)
    yes = np.ones(data.shape, bool)
    y = np.arange(10.0, 30.0)
    x, one = np.full(len(y), 20.0), np.ones(len(y))
    spoilt = data.copy()
    spoilt[110, 20] = value
    spoilt[8, 38] = value if name == "skystats.annulus_stats" and not np.isfinite(value) else 1.0
    data[8, 38] = 1.0

    def measure(image: Any) -> list[Any]:
        others = (np.zeros_like(image), image, image * 0 + 600, image)
        n_exp, labels = np.ones(image.shape, np.int16), np.zeros(image.shape, np.int32)
        found = CASES[name](Scene(image, others, yes, ~yes, n_exp, labels, 0, x, y, one))
        return found if isinstance(found, (list, tuple)) else [found]

    with np.errstate(all="ignore"):
        for before, after in zip(measure(data), measure(spoilt), strict=True):
            fields = vars(before) if hasattr(before, "__dict__") else {"": before}
            for field, values in fields.items():
                other = vars(after)[field] if field else after
                np.testing.assert_array_equal(values, other, err_msg=field)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_data_of_a_box(value):
    rng = np.random.default_rng(1)
    data = rng.normal(5, 1, (64, 96)).astype(np.float32)
    places = rng.random(data.shape) < 0.01
    spoilt = np.where(places, np.float32(value), data)
    yes = np.ones(data.shape, bool)
    ours = boxes.box_statistics(spoilt, yes, (32, 32), 3.0, 0.1)
    expected = boxes.box_statistics(data, ~places, (32, 32), 3.0, 0.1)
    np.testing.assert_array_equal(ours.mode, expected.mode)
    np.testing.assert_array_equal(ours.std, expected.std)
    smooth = smoothing.smooth_image(spoilt, yes, KERNEL)
    np.testing.assert_array_equal(smooth, smoothing.smooth_image(data, ~places, KERNEL))


@pytest.mark.parametrize(("pixel", "depth"), [(1e38, 600.0), (0.02, np.inf), (1e37, 1e6)])
def test_a_product_beyond_float32_is_no_data_of_the_noise(pixel, depth):
    """The image times the root of the depth, as in an image with one infinite weight."""
    rng = np.random.default_rng(2)
    data = rng.normal(0.02, 0.01, (200, 210)).astype(np.float32)
    depth2 = np.full(data.shape, 600, np.float32)
    yes, rest = np.ones(data.shape, bool), np.ones(data.shape, bool)
    rest[70:73, 90:93] = False
    expected = background.sky_maps(data, rest, depth2, 40, 3, 3.0, 0.1)
    data[70:73, 90:93], depth2[70:73, 90:93] = pixel, depth
    with np.errstate(over="ignore"):
        ours = background.sky_maps(data, yes, depth2, 40, 3, 3.0, 0.1)
    for result, wanted in zip(ours[:2], expected[:2], strict=True):
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result[rest], wanted[rest], rtol=0.05)


def test_segments_are_those_around_what_is_not_finite():
    data = np.zeros((40, 40), np.float32)
    data[10:15, 10:15], data[30, 30], data[20, 12] = 5, np.inf, np.nan
    zero, one, yes = np.zeros_like(data), np.ones_like(data), np.ones(data.shape, bool)
    labels = labelling.segments_above(data, zero, one, yes, KERNEL, 1.5, 3)
    assert labels.n_labels == 1
    assert labels.labels[12, 12] == 1
    assert labels.labels[30, 30] == 0
    assert np.isfinite(labels.smooth).all()


# ---------------------------------------------------------------- positions


def test_there_is_nothing_at_positions_far_off():
    data, yes = np.ones((30, 20), np.float32), np.ones((30, 20), bool)
    n_exp, seconds = np.ones((30, 20), np.int16), np.full((30, 20), 9, np.float32)
    far = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, 1e19, -1e19, 2.0**63, 1e9])
    here = np.full(len(far), 5.0)
    for x, y in ((far, here), (here, far), (far, far)):
        sums, areas = apertures.circle_sums(data, yes, x, y, [3.0])
        assert not sums.any()
        assert not areas.any()
        assert not ring_excess.ring_excess(data, yes, yes, x, y, [3.0], 1.0).any()
        assert np.isnan(skystats.annulus_stats(data, yes, x, y, (2, 5), 3.0).median).all()
        assert moffat.fit_moffat_at(data, yes, x, y, 5.0).failed.all()
        assert np.isnan(kron.kron_shapes(data, yes, 0.0, x, y).flux).all()
        assert np.isnan(exposures.box_fraction(yes, x, y, 9)).all()
        assert not neighbourhood.any_within(yes, x, y, 3.0).any()
        assert not neighbourhood.all_within(yes, x, y, 3.0).any()
        result = neighbourhood.coverage((data, yes, n_exp, seconds), x, y, 2.0, 3.0)
        assert not result.n_exp.any()
        assert np.isnan(result.peak_rate).all()
        assert np.isinf(neighbourhood.neighbourhood((30, 20), x, y, 3.0).distance).all()
        assert not columnruns.column_runs(data, 2, x, y, here, [0.0], 3.0, 2, 9).any()
        values = sharpness.sharpness(data, ~yes, x, y, ring_px=(3.5, 5.5), **RING)
        assert np.isnan(values).all()


@given(
    st.floats(allow_nan=True) | st.floats(-30, 30),
    st.sampled_from([np.nan, -1.0, 0.0, bounds.FAR]) | st.floats(0, 20),
    st.integers(0, 25),
)
@example(12.0, -1.0, 25)
@example(np.nan, 3.0, 25)
@example(12.0, bounds.FAR, 25)
@settings(max_examples=300, deadline=None)
def test_a_span_is_what_a_reach_touches(position, reach, size):
    first, end = neighbourhood.span(position, reach, size)
    assert 0 <= first <= end <= size
    if not (np.isfinite(position) and reach >= 0):
        assert first == end
        return
    for pixel in range(size):
        if abs(pixel - position) <= reach:
            assert first <= pixel < end


@given(st.floats(allow_nan=True) | st.floats(-3, 12), st.integers(1, 10))
@settings(max_examples=300, deadline=None)
def test_an_index_is_the_number_cut_to_the_array(value, n):
    index = bounds.index_in(value, n)
    expected = 0 if math.isnan(value) else math.floor(min(max(value, 0), n - 1))
    assert index == expected


def test_a_position_that_rounds_up_to_the_edge_is_on_the_image():
    """0.5 less one bit, plus 0.5, is 1: the column beyond the only one."""
    x = math.nextafter(0.5, 0)
    assert x + 0.5 == 1.0
    image = np.arange(1.0, 10.0, dtype=np.float32)[:, np.newaxis]
    result = sharpness.brightest_near(image, x, 3.0, 2.0)
    assert result == (0, 4)


# ---------------------------------------------------------------- numbers among themselves


@given(
    st.lists(
        st.sampled_from([-np.inf, np.inf, 1e-310, -1e-310, 0.0, 1e300, -1e300, 1.0, 1.5, 2.0])
        | st.floats(-5, 5),
        min_size=1,
        max_size=300,
    )
)
@example([-np.inf] * 4 + list(range(50)) + [np.inf] * 46)
@example([0.0] * 40 + [1e-310] * 40 + [1.0] * 20)
@settings(max_examples=100, deadline=None)
def test_two_percentiles_are_those_of_the_sorted_values(values):
    bins = np.empty(len(values), np.uint8)
    ours = box_scatter.two_percentiles(np.array(values), bins)
    with np.errstate(all="ignore"):
        expected = np.percentile(values, [box_scatter.LOW_PERCENT, box_scatter.MIDDLE_PERCENT])
    for result, wanted in zip(ours, expected, strict=True):
        if np.isfinite(wanted):
            assert result == pytest.approx(wanted, rel=1e-9, abs=1e-9)
        else:
            assert not np.isfinite(result)


def test_a_box_of_which_clipping_leaves_nothing_has_no_statistics():
    data = np.tile(np.array([-1, 1], np.float32), (8, 4))
    clipped = boxes.box_statistics(data, np.ones(data.shape, bool), (8, 8), 0.5, 0.0)
    assert np.isnan(clipped.mode).all()
    assert np.isnan(clipped.std).all()


@pytest.mark.parametrize("xy", [1e9, -1e30, np.inf, np.nan])
def test_moments_of_light_that_cancels_are_no_shape(xy):
    """Adding a pixel's variance until the ellipse is real would take for ever."""
    assert np.isnan(kron._axes(1.0, 1.0, xy)).all()


def test_a_half_light_radius_is_found_or_is_none():
    pixels = np.ones((21, 21), np.float32)
    for value in ODD_NUMBERS:
        spoilt = pixels.copy()
        spoilt[10, 12] = value
        for half in (50.0, 1e-320, np.inf, np.nan):
            radius = growth.half_flux_radius(spoilt, 10.0, 10.0, half, 9.0)
            assert not radius > 9.0
    assert growth.circle_flux(pixels, 10.0, 10.0, np.nan, np.zeros(20)) == 0


def test_a_star_at_the_end_of_the_world_does_not_ask_for_all_memory():
    rng = np.random.default_rng(4)
    a = rng.uniform(-50, 50, (40, 2))
    b = a + np.array([0.7, -0.4])
    far = np.concatenate([a, [[1e12, 3.0]]])
    limits = {"max_shift": 1.5, "max_roll_rad": 1e-3, "tolerance": 0.5, "area": 1e4}
    assert offset_search.find_offset(far, b, **limits) == offset_search.find_offset(a, b, **limits)
    assert offset_search.find_offset(far, b, **limits).n_pairs == 40
    assert len(offset_search._roll_grid(0.01, 1e15, 0.5, 1000)) == 999


# ---------------------------------------------------------------- arguments that make no sense


IMAGE, YES = np.ones((9, 8), np.float32), np.ones((9, 8), bool)
LABELS = np.ones((9, 8), np.int32)
NO_LENGTHS = [np.nan, np.inf, -1.0, 1e9]
REFUSED: dict[str, Callable[[], Any]] = {
    "images of two shapes": lambda: apertures.circle_sums(IMAGE, YES[1:], [1], [1], [2]),
    "a cube": lambda: skystats.annulus_stats(IMAGE[None], YES[None], [1], [1], (1, 2), 3),
    "more x than y": lambda: apertures.circle_sums(IMAGE, YES, [1, 2], [1], [2]),
    "more x than noise": lambda: columnruns.column_runs(
        IMAGE, 2, [1, 2], [1, 2], [1], [0], 3, 2, 9
    ),
    "a table of positions": lambda: kron.kron_shapes(IMAGE, YES, 0, [[1, 2]], [[1, 2]]),
    "a slope without end": lambda: columnruns.column_runs(IMAGE, 2, [1], [1], [1], [1e30], 3, 2, 9),
    "a gap to the left": lambda: columnruns.column_runs(IMAGE, -2, [1], [1], [1], [0], 3, 2, 9),
    "boxes of no size": lambda: boxes.box_statistics(IMAGE, YES, (0, 4), 3, 0.1),
    "an image of no size": lambda: background.sky_maps(
        IMAGE[:0], YES[:0], IMAGE[:0], 4, 3, 3.0, 0.1
    ),
    "an even kernel": lambda: smoothing.smooth_image(IMAGE, YES, np.ones((4, 4))),
    "an oblong kernel": lambda: smoothing.smooth_image(IMAGE, YES, np.ones((5, 3))),
    "no kernel": lambda: labelling.segments_above(
        IMAGE, IMAGE, IMAGE, YES, np.ones((0, 0)), 1.0, 3
    ),
    "an even PSF": lambda: lacosmic.lacosmic(IMAGE, IMAGE, psf=np.ones((4, 4), np.float32)),
    "iterations backwards": lambda: lacosmic.lacosmic(IMAGE, IMAGE, n_iterations=-1),
    "an even convolution": lambda: mask_growth.grow_by_blur(YES, np.ones(4), 0.1, YES),
    "a ring inside out": lambda: peak_widths.minor_widths(
        IMAGE, IMAGE, np.array([1]), np.array([1]), 1.0, (5.0, 3.0)
    ),
    "a peak left of the image": lambda: peaks.is_cut_off(YES, np.array([-1]), np.array([2]), 2),
    "a peak above the image": lambda: peak_basins.narrow_basins(
        IMAGE, YES, np.array([1]), np.array([9]), np.array([True])
    ),
    "a label too many": lambda: moments.segment_properties(
        IMAGE, IMAGE, IMAGE, YES, LABELS + 1, 1, LABELS.astype(np.int16)
    ),
    "a label without a position": lambda: windows.wide_centroids(
        IMAGE, IMAGE, YES, LABELS, np.array([1, 2]), np.array([1.0]), np.array([1.0]), 1.6
    ),
    "a label below 0": lambda: moments.segment_boxes(-LABELS, 3),
    "a label of 64 bits": lambda: deblend.deblend(
        IMAGE, LABELS.astype(np.int64) << 32, 1, 3, 32, 0.1
    ),
    "a label without memory": lambda: kron.kron_shapes(IMAGE, YES, 0, [1], [1], LABELS * 2**30),
    "labels without end": lambda: exposures.mask_shares(LABELS * 2**30, YES, [1]),
    "segments without end": lambda: deblend.deblend(IMAGE, LABELS, 2**40, 3, 32, 0.1),
    "a cell before the text": lambda: text_rows.rows_of_cells(
        b"1", np.array([[-1]]), np.array([[1]])
    ),
    "a cell after the text": lambda: text_rows.rows_of_cells(
        b"1", np.array([[0]]), np.array([[2]])
    ),
    "a cell backwards": lambda: text_rows.rows_of_cells(b"123", np.array([[2]]), np.array([[1]])),
    "no cells": lambda: text_rows.rows_of_cells(b"", *np.zeros((2, 0, 3), np.int64)),
    "lines after the text": lambda: text_rows.cells_of_rows(b"1\n", 3, 1, [0]),
    "a column that lines lack": lambda: text_rows.cells_of_rows(b"1\n", 0, 1, [1]),
    "a column before the first": lambda: text_rows.cells_of_rows(b"1\n", 0, 1, [-1]),
    "columns that fall": lambda: text_rows.cells_of_rows(b"1 2\n", 0, 2, [1, 0]),
    "an index below 0": lambda: matching.closest_first(*np.array([[0, -1], [0, 1]]), np.zeros(2)),
    "a pair without a separation": lambda: matching.closest_first(
        *np.array([[0], [1]]), np.zeros(0)
    ),
    "a search without steps": lambda: offset_search.find_offset(
        IMAGE[:, :2], IMAGE[:, :2], max_shift=3.0, max_roll_rad=0.0, tolerance=0.0, area=9.0
    ),
    "a search without end": lambda: offset_search.find_offset(
        IMAGE[:, :2], IMAGE[:, :2], max_shift=3.0, max_roll_rad=0.0, tolerance=1e-5, area=9.0
    ),
    "cells of no size": lambda: cells.clipped_means(IMAGE, YES, 0, 3.0, 0.5),
    "segments that shrink": lambda: cells.grown_labels(LABELS, -1),
    "segments that grow without end": lambda: cells.grown_labels(LABELS, 10**6),
    "kinds of other vectors": lambda: mixtures.kinds(
        IMAGE, np.ones((9, 8, 8)), np.ones((2, 7)), np.ones((2, 7, 7)), np.ones(2)
    ),
    "a smooth peak": lambda: sharp_peaks.sharp_peaks(IMAGE, YES, 2.0, 0.8, 0.0),
    "a peak without width": lambda: sharp_peaks.sharp_peaks(IMAGE, YES, np.nan, 2.0, 0.0),
    "a rank above all": lambda: large_medians.neighbours_in_order(IMAGE, YES, 72),
    "values of two shapes": lambda: large_medians.median(IMAGE, YES[1:]),
    "rows of two lengths": lambda: moffat.fit_moffat(IMAGE, IMAGE[:, 1:], YES),
}


@pytest.mark.parametrize("what", REFUSED)
def test_impossible_arguments_are_refused(what):
    with pytest.raises(ValueError):  # noqa: PT011, each kernel says what it needs
        REFUSED[what]()


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_a_radius_is_a_length(length):
    n_exp = np.ones(IMAGE.shape, np.int16)
    for call in (
        lambda: apertures.circle_sums(IMAGE, YES, [1], [1], [2, length]),
        lambda: ring_excess.ring_excess(IMAGE, YES, YES, [1], [1], [2, length], 1),
        lambda: ring_excess.ring_excess(IMAGE, YES, YES, [1], [1], [2], length),
        lambda: skystats.annulus_stats(IMAGE, YES, [1], [1], (1, length), 3),
        lambda: moffat.fit_moffat_at(IMAGE, YES, [1], [1], length),
        lambda: neighbourhood.any_within(YES, [1], [1], length),
        lambda: neighbourhood.coverage((IMAGE, YES, n_exp, IMAGE), [1], [1], length, 5),
        lambda: neighbourhood.neighbourhood(IMAGE.shape, [1], [1], length),
        lambda: exposures.box_fraction(YES, [1], [1], length),
        lambda: sharpness.sharpness(IMAGE, YES, [1], [1], ring_px=(3.5, length), **RING),
        lambda: peaks.is_cut_off(YES, np.array([1]), np.array([1]), length),
    ):
        with pytest.raises(ValueError, match="no length in pixels"):
            call()


def test_labels_that_have_no_pixels_have_no_share():
    shares = exposures.mask_shares(LABELS, YES, [-5, -1, 0, 1, 2, 2**40])
    assert shares.tolist() == [0, 0, 0, 1, 0, 0]


def test_a_number_of_exposures_below_zero_counts_as_none():
    """As an index it would count from the end, and stay there for the next segment."""
    labels = np.repeat([[1, 2, 3]], 4, axis=0).astype(np.int32)
    counts = np.repeat([[-7, 2, -32768]], 4, axis=0).astype(np.int16)
    image = np.ones(labels.shape, np.float32)
    segments = moments.segment_properties(image, 0 * image, image, image > 0, labels, 3, counts)
    assert segments.median_count.tolist() == [0, 2, 0]


def test_coarse_pixels_have_a_sharpness():
    """The ring lies among the pixels of the box; the stamp must hold all of it."""
    image = np.zeros((21, 21), np.float32)
    image[10, 10], image[10, 11] = 9.0, 3.0
    mask = image > 5
    values = sharpness.sharpness(image, mask, [10], [10], ring_px=(0.9, 1.4), **RING)
    assert values[0, sharpness.BOX] == 1.0
    assert values[0, sharpness.MASKED] == 1.0


def test_labels_that_can_not_be_written_are_not_replaced():
    labels = np.ones((6, 6), np.int32)
    labels.flags.writeable = False
    out = deblend.deblend(np.ones((6, 6)), labels, 1, 3, 32, 0.005, in_place=True)
    assert out is not labels
    assert (out == 1).all()


def test_rows_are_medians_of_whatever_there_is():
    """The networks only compare and choose: no number makes them leave the window."""
    rng = np.random.default_rng(0)
    shape = rowmedians.plane_shape(9, 40)
    plane = rng.choice(ODD_NUMBERS, shape).astype(np.float32)
    stale = np.ones((9, rowmedians.n_blocks(40)), bool)
    for medians in (rowmedians.median5x5_blocks, rowmedians.median3x3_blocks):
        out = np.zeros(shape, np.float32)
        medians(plane, stale, out)
        words = out[2:-2, 8:-8]
        assert np.isin(words[np.isfinite(words)], plane).all()


def test_frames_of_no_numbers_are_no_fit():
    """Not compiled: numpy refuses what it can't invert."""
    xy = np.full((4, 2), np.nan)
    data = tiefit.Observations(
        xy, np.ones((4, 2)), np.array([0, 0, -1, -1]), np.array([0, 1, 0, 1]), np.zeros((1, 2)), 0
    )
    with pytest.raises(ValueError, match="converge"):
        tiefit.fitted_frames(data, 3, np.full(3, np.inf))
