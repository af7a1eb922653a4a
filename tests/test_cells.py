"""Cells of pixels and grown segments against plain numpy and scipy."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from bycatch.kernels.cells import at_one_depth, clipped_means, grown_labels
from bycatch.kernels.threads import at_most


@pytest.mark.parametrize("shape", [(50, 37), (3, 200), (600, 5)])
def test_segments_grow_by_a_square(shape):
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(shape) < 0.01, rng.integers(1, 6, shape), 0).astype(np.int32)
    wanted = np.array([True, True, False, True, False, True])
    for n_px in (0, 1, 3, 8):
        side = 2 * n_px + 1
        near = maximum_filter(labels > 0, side, mode="constant")
        np.testing.assert_array_equal(grown_labels(labels, n_px), near)
        near = maximum_filter(wanted[labels] & (labels > 0), side, mode="constant")
        np.testing.assert_array_equal(grown_labels(labels, n_px, wanted), near)
    with at_most(1):
        np.testing.assert_array_equal(grown_labels(labels, n_px, wanted), near)


def test_labels_below_zero_are_sky():
    assert not grown_labels(np.full((4, 5), -3), 2).any()


def test_cells_have_the_means_of_clipped_pixels():
    rng = np.random.default_rng(2)
    data, valid = rng.normal(0, 3, (21, 30)).astype(np.float32), rng.random((21, 30)) < 0.6
    data[~valid] = np.nan
    means, known = clipped_means(data, valid, 8, 3.0, 0.5)
    assert means.shape == known.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            part = slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8)
            values = np.clip(data[part][valid[part]].astype(float), -3, 3)
            assert means[i, j] == pytest.approx(values.mean(), rel=1e-6)
            assert known[i, j] == (values.size >= 32)
    means, known = clipped_means(data, np.zeros_like(valid), 8, 3.0, 0.5)
    assert not means.any()
    assert not known.any()


def test_an_image_at_one_depth_has_one_noise():
    rng = np.random.default_rng(3)
    depth = rng.uniform(-1, 9, (40, 50)).astype(np.float32)
    data = rng.normal(2, 1, depth.shape).astype(np.float32)
    data[3, 4] = np.nan
    expected = (data - np.float32(2)) * (np.sqrt(np.maximum(depth, 0)) / np.float32(0.3))
    np.testing.assert_array_equal(at_one_depth(data, depth, 2.0, 0.3), expected)
