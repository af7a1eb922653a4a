"""Errors of centroids against truth: the same sources in many draws of the noise."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import shift

from bycatch.kernels.moments import segment_properties
from bycatch.kernels.smoothing import noise_correlation
from bycatch.stages.detect.centres import noise_errors_px, window_correlation

SIDE, SPACING, N = 512, 64, 64
PLACES = SPACING * (0.5 + np.arange(8))


def light(profile, size_px, rate):
    """One source at the middle of each cell of 64 px: (512, 512) e/s."""
    axis = np.arange(SPACING) - SPACING / 2
    radius = np.hypot(axis, axis[:, np.newaxis])
    shape = np.exp(-0.5 * (radius / size_px) ** 2 if profile == "gaussian" else -radius / size_px)
    return np.tile(rate * shape / shape.sum(), (8, 8)).astype(np.float32)


def measured(sky, noise, exptime_s, rng, *, correlated=False):
    """Centroids and their errors of the sources of an image with noise."""
    sci = rng.poisson(sky * exptime_s) / exptime_s
    pixels = rng.normal(0.0, noise, sci.shape)
    if (
        correlated
    ):  # neighbours share half of their variance, as drizzled at a phase of half a pixel
        pixels = shift(pixels, 0.5, order=1, mode="grid-wrap")
    sci = np.asarray(sci + pixels, np.float32)
    # Segments are the bright parts of the sources; labels run along the rows of cells.
    cells = (np.arange(SIDE) // SPACING)[np.newaxis] + 8 * (np.arange(SIDE) // SPACING)[
        :, np.newaxis
    ]
    labels = np.where(sky > 0.1 * sky.max(), cells + 1, 0).astype(np.int32)
    valid, zero = np.ones(sci.shape, bool), np.zeros_like(sci)
    properties = segment_properties(sci, zero, sky, valid, labels, N, np.ones(sci.shape, np.int16))
    image = SimpleNamespace(
        exptime_map_s=np.full(sci.shape, exptime_s, np.float32),
        noise_correlation=2.0 if correlated else 1.0,
    )
    rows = np.repeat(PLACES, 8).astype(int)
    columns = np.tile(PLACES, 8).astype(int)
    sigma = float(np.std(pixels))
    errors = noise_errors_px(image, properties, (rows, columns), np.full(N, sigma))
    offsets = np.column_stack([properties.x_window - columns, properties.y_window - rows])
    return offsets, errors


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize(
    ("profile", "size_px", "rate", "noise"),
    [
        ("gaussian", 1.1, 0.6, 0.02),
        ("gaussian", 3.0, 3.0, 0.02),
        ("exponential", 2.5, 3.0, 0.02),
        ("exponential", 4.0, 60.0, 0.02),
    ],
)
def test_errors_are_the_scatter_of_the_centroids(profile, size_px, rate, noise, correlated):
    rng = np.random.default_rng(11)
    sky = light(profile, size_px, rate)
    pulls = []
    for _ in range(12):
        offsets, errors = measured(sky, noise, 500.0, rng, correlated=correlated)
        pulls.append(offsets / errors[:, np.newaxis])
    pulls = np.concatenate(pulls)
    width = 0.5 * np.subtract(*np.nanpercentile(pulls, [84, 16]))
    assert 0.88 < width < 1.12
    assert np.mean(np.abs(pulls) > 4) < 0.01


def test_the_correlation_is_that_of_large_areas_in_wide_windows():
    narrow, wide = window_correlation(np.array([0.9, 1000.0]), noise_correlation(1.0, 1.0))
    assert wide == pytest.approx(1.5**2, rel=1e-5)
    assert 1.4 < narrow < 1.7
    assert window_correlation(np.array([2.0]), 1.0) == pytest.approx([1.0])
