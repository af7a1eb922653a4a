"""Stars that cosmic rays have hit: where they are, and what is said of the error."""

import numpy as np
import pytest
from scipy.special import erf

from bycatch.kernels import star_hits
from bycatch.settings import DetectSettings
from bycatch.stages import detect

NOISE = 0.01
SIDE = 360
STEP = 40


def scene(n_hit, rng):
    """Stars on a grid, the first of them with three pixels of charge beside; their centres."""
    sci = rng.normal(0, NOISE, (SIDE, SIDE))
    k = np.arange(64)
    at = 40.0 + STEP * np.column_stack([k % 8, k // 8]) + rng.uniform(-0.5, 0.5, (64, 2))
    edge = np.arange(SIDE + 1) - 0.5
    for number, (x, y) in enumerate(at):
        for width, light in ((0.85, 6.0), (1.8, 2.0)):
            across, up = (np.diff(erf((edge - c) / (width * np.sqrt(2)))) / 2 for c in (x, y))
            sci += light * np.outer(up, across)
        if number < n_hit:
            angle = rng.uniform(0, 2 * np.pi)
            row, column = round(y + 2.5 * np.sin(angle)), round(x + 2.5 * np.cos(angle))
            sci[row, column - 1 : column + 2] += 1.0
    return sci, at


def offsets(found, at):
    """Offsets of the nearest detections from the centres, and their rows."""
    rows = [int(np.argmin(np.hypot(found["x"] - x, found["y"] - y))) for x, y in at]
    places = np.column_stack([np.asarray(found["x"]), np.asarray(found["y"])])
    return places[rows] - at, rows


def test_charge_beside_stars_does_not_move_them_and_the_error_is_honest(as_image):
    sci, at = scene(32, np.random.default_rng(3))
    settings = DetectSettings(n_pixels=8, n_pixels_single=8, deblend=False)
    found = detect.run(as_image(sci), settings).sources
    apart, rows = offsets(found, at)
    error = np.asarray(np.ma.filled(np.ma.asarray(found["hit_err_px"], float), np.nan))[rows]
    assert np.isfinite(error[:32]).mean() > 0.9
    known = np.isfinite(error[:32])
    assert np.sqrt(np.mean(apart[:32][known] ** 2)) < 0.03  # where charge counts: 0.1 and more
    segment = np.column_stack([np.asarray(found[f"{name}_segment"]) for name in "xy"])[rows] - at
    assert np.sqrt(np.mean(segment[:32] ** 2)) > 0.1
    pulls = apart[:32][known] / np.hypot(error[:32][known, np.newaxis], 0.016)
    assert np.percentile(np.abs(pulls), 68) < 1.3
    assert np.mean(np.abs(pulls) > 3) < 0.02
    assert np.median(error[:32][known]) < 0.15
    # Those without charge stay where they are.
    assert np.isnan(error[32:]).mean() > 0.9
    assert np.sqrt(np.mean(apart[32:] ** 2)) < 0.02


def test_inclined_galaxies_keep_their_centres(as_image):
    rng = np.random.default_rng(6)
    sci = rng.normal(0, NOISE, (SIDE, SIDE))
    k = np.arange(64)
    at = 40.0 + STEP * np.column_stack([k % 8, k // 8]) + rng.uniform(-0.5, 0.5, (64, 2))
    yy, xx = np.indices(sci.shape)
    for x, y in at:
        long, short, angle = rng.uniform(2, 6), rng.uniform(1.6, 2), rng.uniform(0, np.pi)
        dx, dy = xx - x, yy - y
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        sci += (1 + (u / long) ** 2 + (v / short) ** 2) ** -2.5
    settings = DetectSettings(n_pixels=8, n_pixels_single=8, deblend=False)
    apart, _ = offsets(detect.run(as_image(sci), settings).sources, at)
    assert np.abs(apart).max() < 0.15


def test_a_cosmic_ray_alone_is_no_star(as_image):
    rng = np.random.default_rng(4)
    sci, _ = scene(0, rng)
    for _ in range(60):
        row, column, angle = rng.integers(30, 330), rng.integers(30, 330), rng.uniform(0, np.pi)
        for step in range(rng.integers(2, 7)):
            sci[round(row + step * np.sin(angle)), round(column + step * np.cos(angle))] += 1.5
    settings = DetectSettings(n_pixels=4, n_pixels_single=4, deblend=False)
    found = detect.run(as_image(sci), settings).sources
    from_star = [np.abs((np.asarray(found[name]) - 20) % STEP - 20) for name in "xy"]
    lone = np.hypot(*from_star) > 8
    moved = np.isfinite(np.ma.filled(np.ma.asarray(found["hit_err_px"], float), np.nan))
    assert lone.sum() > 30
    assert moved[lone].mean() < 0.1


def test_the_kernel_names_what_it_can_not_fit():
    image = np.zeros((20, 20), np.float32)
    planes = image, image, np.ones(image.shape, bool), np.zeros(image.shape, np.int32)
    given = [1], [9.0], [9.0], [0.01], [500.0]
    fit = star_hits.hit_centres(planes, *given, window_px=1.6, profile=star_hits.Profile(2.1))
    assert np.isnan(fit.x).all()
    with pytest.raises(ValueError, match="1 labels, 1 positions, 0"):
        star_hits.hit_centres(planes, *given, window_px=0.0, profile=star_hits.Profile(2.1))
