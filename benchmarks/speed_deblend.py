"""Speed of deblending against photutils, label for label, as a Markdown table.

    python benchmarks/speed_deblend.py [--size 4300] [--crowded-size 1500] [--repeats 5]

A sparse field (stars and noise, some 1500 segments) and a crowded one (stars 12 px apart on
average, in segments of up to thousands of pixels), both smoothed and thresholded; the same data
in the same run, in one thread, warm.  Photutils runs once.  Seconds are medians of the repeats;
also the share of labelled pixels whose label differs, and the difference of the numbers of
sources.  The last table is one segment as large as the image, which is beyond photutils.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from common import head, median_timed, row, timed
from numpy.typing import NDArray
from photutils.segmentation import SegmentationImage, deblend_sources
from scipy.ndimage import gaussian_filter, label

from bycatch.kernels.deblend import deblend

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

# n_pixels, n_levels, contrast
SETTINGS = ((7, 32, 0.005), (7, 32, 0.001), (60, 3, 0.4))
EIGHT = np.ones((3, 3), dtype=int)


def field(size: int, n_stars: int, seed: int = 1) -> Image:
    """Return Moffat stars of a power law of fluxes in noise of 1 per pixel, smoothed."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (size, size)).astype(np.float32)
    peaks = np.minimum(2 * (1 - rng.random(n_stars)) ** -1.6, 1e4)
    for peak, x, y in zip(peaks, *rng.uniform(0, size - 1, (2, n_stars)), strict=True):
        reach = int(min(60, 8 + 4 * peak**0.33))
        top, left = max(round(y) - reach, 0), max(round(x) - reach, 0)
        cut = image[top : round(y) + reach + 1, left : round(x) + reach + 1]
        row, column = np.mgrid[top : top + cut.shape[0], left : left + cut.shape[1]]
        cut += peak * (1 + ((row - y) ** 2 + (column - x) ** 2) / 2.2**2) ** -2.5
    return gaussian_filter(image, 1.06, truncate=1.0)


def segments(smooth: Image, threshold: float, n_pixels: int = 7) -> Labels:
    """Return the segments above the threshold that have enough pixels, numbered without gaps."""
    labels, n_labels = label(smooth > threshold, EIGHT)
    large = np.bincount(labels.ravel(), minlength=n_labels + 1) >= n_pixels
    large[0] = False
    return np.asarray(np.where(large, np.cumsum(large), 0)[labels], dtype=np.int32)


def seconds_and_labels(
    smooth: Image, labels: Labels, settings: tuple[int, int, float], repeats: int
) -> tuple[float, Labels]:
    """Return the median time of several runs, after one that may compile, and the labels."""
    n_labels = int(labels.max())
    return median_timed(lambda: deblend(smooth, labels, n_labels, *settings), repeats)


def photutils_labels(smooth: Image, labels: Labels, settings: tuple[int, int, float]) -> Labels:
    """Return the segmentation of photutils."""
    n_pixels, n_levels, contrast = settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = deblend_sources(
            smooth,
            SegmentationImage(labels),
            n_pixels,
            n_levels=n_levels,
            contrast=contrast,
            progress_bar=False,
        )
    return np.asarray(found.data)


def compare(name: str, smooth: Image, labels: Labels, repeats: int) -> None:
    """Print the rows of one image."""
    areas = np.bincount(labels.ravel())[1:]
    what = f"{name}, {smooth.shape[1]} x {smooth.shape[0]}"
    for settings in SETTINGS:
        here, ours = seconds_and_labels(smooth, labels, settings, repeats)
        there, theirs = timed(lambda s=settings: photutils_labels(smooth, labels, s))
        differ = (ours != theirs).sum() / areas.sum()
        cells = (
            what, len(areas), areas.sum(), areas.max(), " / ".join(map(str, settings)), ours.max(),
            f"{here:.3f}", f"{there:.2f}", f"{there / here:.0f}", f"{100 * differ:.4f} %",
            f"{int(ours.max()) - int(theirs.max()):+d}",
        )  # fmt: skip
        print(row(*cells), flush=True)


def one_segment(sizes: tuple[int, ...], settings: tuple[int, int, float]) -> None:
    """Print how the time grows with the pixels of a single segment."""
    for size in sizes:
        smooth = field(size, size * size // 400)
        smooth += np.float32(0.01) - smooth.min()
        labels = np.ones(smooth.shape, dtype=np.int32)
        here, ours = seconds_and_labels(smooth, labels, settings, 1)
        cells = (size**2, ours.max(), f"{here:.2f}", f"{1e9 * here / size**2:.0f}")
        print(row(*cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4300)
    parser.add_argument("--crowded-size", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    names = (
        "image", "segments", "pixels", "largest", "n_pixels / levels / contrast", "sources", "s",
        "photutils, s", "ratio", "pixels that differ", "sources, difference",
    )  # fmt: skip
    print(head(*names, n_words=1))
    size = arguments.size
    sparse = field(size, round(2700 * (size / 4300) ** 2))
    compare("sparse", sparse, segments(sparse, 1.5), arguments.repeats)
    size = arguments.crowded_size
    crowded = field(size, size * size // 144)
    compare("crowded", crowded, segments(crowded, 1.0), arguments.repeats)
    print(f"\n{head('pixels of one segment', 'sources', 's', 'ns/px', n_words=0)}")
    one_segment((500, 1000, 2000), (7, 32, 1e-5))


if __name__ == "__main__":
    main()
