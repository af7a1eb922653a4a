"""Deblending against photutils, label for label, and against its own definition."""

import warnings

import numpy as np
import pytest
from photutils.segmentation import SegmentationImage, deblend_sources
from scipy.ndimage import gaussian_filter, label

from bycatch.kernels.deblend import deblend, thresholds

EIGHT = np.ones((3, 3), dtype=int)


def by_photutils(smooth, labels, n_pixels, n_levels, contrast):
    with warnings.catch_warnings():
        # It says so where it changes to equally spaced levels.
        warnings.simplefilter("ignore")
        return deblend_sources(
            smooth,
            SegmentationImage(labels),
            n_pixels,
            n_levels=n_levels,
            contrast=contrast,
            progress_bar=False,
        ).data


def segments_above(image, threshold):
    labels, n_labels = label(image > threshold, EIGHT)
    return labels.astype(np.int32), n_labels


def assert_same(image, threshold, n_pixels=5, n_levels=32, contrast=0.005):
    """Compare with photutils; return the number of segments and of sources."""
    smooth = image.astype(np.float32)
    labels, n_labels = segments_above(smooth, threshold)
    if n_labels == 0:
        return 0, 0
    segments = deblend(smooth, labels, n_labels, n_pixels, n_levels, contrast)
    np.testing.assert_array_equal(
        segments, by_photutils(smooth, labels, n_pixels, n_levels, contrast)
    )
    return n_labels, segments.max()


def blobs(rng, shape, n, brightest=1000.0):
    """Return a field of Gaussians and Moffats without noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for _ in range(n):
        square = (x - rng.uniform(-1, shape[1])) ** 2 + (y - rng.uniform(-1, shape[0])) ** 2
        peak, width = brightest ** rng.uniform(0, 1), rng.uniform(0.8, 3.0)
        if rng.random() < 0.5:
            image += peak * np.exp(-0.5 * square / width**2)
        else:
            image += peak * (1 + square / width**2) ** -2.5
    return image


def noisy(rng, image):
    return gaussian_filter(image + rng.normal(0, 1, image.shape), 0.8)


CLASSIC = [(5, 32, 0.001), (7, 32, 0.005), (10, 32, 0.005)]
OTHERS = [(1, 32, 0.0), (3, 64, 0.05), (60, 3, 0.4), (5, 1, 0.001), (2, 2, 0.1), (1, 200, 0.0)]


# ---------------------------------------------------------------- the same as photutils


@pytest.mark.parametrize(("n_pixels", "n_levels", "contrast"), CLASSIC + OTHERS)
def test_blends_of_2_to_20_stars(n_pixels, n_levels, contrast):
    n_segments = n_sources = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(15, 70, 2))
        image = noisy(rng, blobs(rng, shape, rng.integers(2, 21)))
        counts = assert_same(image, rng.choice([0.5, 1.0, 2.0]), n_pixels, n_levels, contrast)
        n_segments, n_sources = n_segments + counts[0], n_sources + counts[1]
    assert n_segments > 100
    assert n_pixels > 50 or n_levels == 1 or n_sources > n_segments


@pytest.mark.parametrize(("n_pixels", "n_levels", "contrast"), CLASSIC)
def test_a_crowded_field(n_pixels, n_levels, contrast):
    rng = np.random.default_rng(5)
    image = noisy(rng, blobs(rng, (160, 210), 500, 300.0))
    n_segments, n_sources = assert_same(image, 3.0, n_pixels, n_levels, contrast)
    assert n_sources > n_segments + 20


KINDS = {
    # Values with many ties, within and between sources.
    "whole numbers": (lambda rng, image: np.round(noisy(rng, image) / 2), 0.5),
    "few numbers": (lambda rng, image: rng.integers(0, 4, image.shape), 0.5),
    "saturated": (lambda rng, image: np.minimum(noisy(rng, image), rng.choice([5, 20, 60])), 1.0),
    "spikes": (lambda rng, image: noisy(rng, image) + 500 * (rng.random(image.shape) < 0.03), 1.0),
    "noise alone": (lambda rng, image: rng.normal(0, 1, image.shape), 0.5),
    "negative": (lambda rng, image: noisy(rng, image) - 5, -5.5),
    "from zero on": (lambda rng, image: np.maximum(noisy(rng, image), 0), -1.0),
    "high background": (lambda rng, image: noisy(rng, image) + 1e4, 1e4 + 1),
    "no noise": (lambda rng, image: image, 0.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_many_kinds(kind):
    make, threshold = KINDS[kind]
    n_segments = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(1, 70, 2))
        settings = (CLASSIC + OTHERS)[seed % len(CLASSIC + OTHERS)]
        image = make(rng, blobs(rng, shape, rng.integers(1, 20)))
        n_segments += assert_same(image, threshold, *settings)[0]
    assert n_segments >= 25


def test_more_than_200_markers_change_to_equally_spaced_levels():
    rng = np.random.default_rng(2)
    image = rng.uniform(1, 100, (90, 100))
    for contrast in (0.0, 1e-4):
        n_segments, n_sources = assert_same(image, 0.5, 1, 32, contrast)
        assert n_segments == 1
        assert n_sources > 200


def test_of_equal_pixels_the_layout_of_the_queue_decides():
    # Two marked plateaus of the same height, one dry moat of the same depth around both.
    image = np.ones((9, 14))
    image[2:7, 2:5] = image[2:7, 8:12] = 5
    image[4, 5:8] = 3
    assert assert_same(image, 0.5, 3, 32, 0.001) == (1, 2)


def test_thresholds_are_those_of_one_segment_at_a_time():
    rng = np.random.default_rng(3)
    low = np.concatenate([rng.uniform(1e-3, 5, 300), rng.uniform(-5, 0, 50)]).astype(np.float32)
    high = (low + 10 ** rng.uniform(-3, 4, 350)).astype(np.float32)
    equal, exponential = thresholds(low, high, 32)
    for k in range(350):
        line = np.linspace(low[k], high[k], 34)
        np.testing.assert_array_equal(equal[k], line[1:-1])
        if low[k] > 0:
            line = low[k] * (high[k] / low[k]) ** ((line - low[k]) / (high[k] - low[k]))
        np.testing.assert_array_equal(exponential[k], line[1:-1])


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("seed", range(8))
def test_segments_are_partitioned_into_connected_sources(seed):
    rng = np.random.default_rng(seed)
    smooth = noisy(rng, blobs(rng, (60, 80), 40)).astype(np.float32)
    labels, n_labels = segments_above(smooth, 1.0)
    segments = deblend(smooth, labels, n_labels, 5, 32, 0.001)
    np.testing.assert_array_equal(segments > 0, labels > 0)
    assert set(np.unique(segments)) == set(range(segments.max() + 1))
    for source in range(1, segments.max() + 1):
        assert len(np.unique(labels[segments == source])) == 1
        assert label(segments == source, EIGHT)[1] == 1
    for segment in range(1, n_labels + 1):
        sources, n_pixels = np.unique(segments[labels == segment], return_counts=True)
        flux = np.array([smooth[segments == source].sum(dtype=float) for source in sources])
        if len(sources) > 1:
            assert n_pixels.min() >= 5
            assert (flux >= 0.001 * flux.sum() * (1 - 1e-9)).all()


def test_whole_segments_come_first_in_their_order():
    smooth = np.ones((5, 30), dtype=np.float32)
    labels = np.zeros((5, 30), dtype=np.int32)
    for number, left in ((3, 0), (1, 10), (2, 20)):
        labels[:, left : left + 9] = number
    smooth[1:4, 11:13] = smooth[1:4, 15:17] = 9  # the segment with label 1
    segments = deblend(smooth, labels, 3, 3, 32, 0.001)
    assert segments[0, 20] == 1
    assert segments[0, 0] == 2
    assert segments[2, 11] == 3
    assert segments[2, 16] == 4


def test_the_inputs_are_left_alone_and_the_result_repeats():
    rng = np.random.default_rng(1)
    smooth = noisy(rng, blobs(rng, (50, 40), 20)).astype(np.float32)
    labels, n_labels = segments_above(smooth, 1.0)
    before = smooth.copy(), labels.copy()
    first = deblend(smooth, labels, n_labels, 5, 32, 0.001)
    np.testing.assert_array_equal(smooth, before[0])
    np.testing.assert_array_equal(labels, before[1])
    np.testing.assert_array_equal(first, deblend(smooth, labels, n_labels, 5, 32, 0.001))


@pytest.mark.parametrize("seed", range(10))
def test_in_place_the_labels_become_the_result(seed):
    rng = np.random.default_rng(seed)
    smooth = noisy(rng, blobs(rng, (60, 50), 15)).astype(np.float32)
    labels, n_labels = segments_above(smooth, 1.0)
    expected = deblend(smooth, labels, n_labels, 5, 32, 0.001)
    segments = deblend(smooth, labels, n_labels, 5, 32, 0.001, in_place=True)
    assert segments is labels
    np.testing.assert_array_equal(segments, expected)
    assert expected.max() > n_labels


def test_contrast_1_splits_nothing_and_does_not_renumber():
    rng = np.random.default_rng(1)
    smooth = noisy(rng, blobs(rng, (50, 40), 20)).astype(np.float32)
    labels = segments_above(smooth, 1.0)[0] * 2
    segments = deblend(smooth, labels, int(labels.max()), 5, 32, 1.0)
    np.testing.assert_array_equal(segments, labels)
    assert segments is not labels


def test_the_flux_of_a_dissolved_source_goes_to_its_neighbour():
    y, x = np.mgrid[:40, :60]
    image = np.full((40, 60), 0.1)
    for column, peak in ((15, 100.0), (30, 20.0), (45, 80.0)):
        image += peak * np.exp(-0.5 * ((x - column) ** 2 + (y - 20) ** 2) / 3**2)
    labels = np.ones(image.shape, dtype=np.int32)
    kept = deblend(image, labels, 1, 5, 32, 0.05)
    assert len(np.unique(kept[20, [15, 30, 45]])) == 3
    merged = deblend(image, labels, 1, 5, 32, 0.2)
    assert merged.max() == 2
    assert merged[20, 15] != merged[20, 45]


# ---------------------------------------------------------------- edges and bad input


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 7), (6, 1), (4, 3)])
def test_images_without_segments(shape):
    labels = deblend(np.ones(shape), np.zeros(shape, dtype=np.int32), 0, 5, 32, 0.005)
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert not labels.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (4, 3)])
def test_a_segment_that_fills_the_image(shape):
    labels = deblend(np.ones(shape), np.ones(shape, dtype=np.int32), 1, 1, 32, 0.0)
    np.testing.assert_array_equal(labels, np.ones(shape))


def test_sources_at_the_borders_do_not_meet_around_the_edge():
    image = np.ones((12, 13))
    image[:, 0] = image[:, -1] = 10
    image[0] = image[-1] = 2
    assert assert_same(image, 0.5, 3, 32, 0.0) == (1, 2)
    assert assert_same(image.T, 0.5, 3, 32, 0.0) == (1, 2)


def test_labels_without_pixels_are_closed_up():
    labels = np.array([[0, 5, 5], [0, 0, 0], [2, 0, 9]])
    segments = deblend(np.ones((3, 3)), labels, 9, 1, 32, 0.0)
    np.testing.assert_array_equal(segments, [[0, 2, 2], [0, 0, 0], [1, 0, 3]])


def test_other_types_and_layouts():
    rng = np.random.default_rng(4)
    smooth = noisy(rng, blobs(rng, (50, 40), 20)).astype(np.float32)
    labels, n_labels = segments_above(smooth, 1.0)
    expected = deblend(smooth, labels, n_labels, 5, 32, 0.001)
    swapped = np.asfortranarray(smooth.astype(">f8")), np.asfortranarray(labels.astype("i8"))
    np.testing.assert_array_equal(deblend(*swapped, n_labels, 5, 32, 0.001), expected)


def test_a_segment_in_pieces_is_refused():
    smooth = np.ones((5, 12))
    smooth[1:4, 1] = smooth[1:4, 4] = 9
    labels = np.ones((5, 12), dtype=np.int32)
    labels[:, 6:8] = 0
    with pytest.raises(ValueError, match="segment 1 is in several pieces"):
        deblend(smooth, labels, 1, 3, 32, 0.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"smooth": np.ones((3, 4))}, "images of one shape"),
        ({"smooth": np.ones(9), "labels": np.ones(9, dtype=int)}, "images of one shape"),
        ({"n_labels": 0}, "from 0 to n_labels = 0"),
        ({"labels": np.full((3, 3), -1)}, "from 0 to n_labels = 1"),
        ({"n_pixels": 0}, "n_pixels = 0"),
        ({"n_levels": 0}, "n_levels = 0"),
        ({"contrast": -0.1}, "contrast = -0.1"),
        ({"contrast": 1.1}, "contrast = 1.1"),
        ({"contrast": np.nan}, "contrast = nan"),
    ],
)
def test_arguments_out_of_range(changed, message):
    arguments = {
        "smooth": np.ones((3, 3)),
        "labels": np.ones((3, 3), dtype=int),
        "n_labels": 1,
        "n_pixels": 1,
        "n_levels": 32,
        "contrast": 0.005,
    }
    with pytest.raises(ValueError, match=message):
        deblend(**(arguments | changed))
