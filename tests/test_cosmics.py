"""Cosmic rays and hot pixels told from light."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bycatch.kernels import peak_widths, sharpness
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.stages.measure import cosmic_evidence, cosmics
from bycatch.stages.measure.remains import Remains

WINDOW, RING = 1.2, (3.5, 5.5)


def gaussian(shape, x, y, fwhm, flux):
    v, u = np.mgrid[: shape[0], : shape[1]]
    sigma = fwhm / 2.3548
    profile = np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)
    return (flux * profile / profile.sum()).astype(np.float32)


def measured(image, x, y, marked=None):
    mask = np.zeros(image.shape, bool) if marked is None else marked
    return sharpness.sharpness(
        image, mask, x, y, window_px=WINDOW, ring_px=RING, search_px=1.5, box_px=2
    )


def evidence(n, *, width=1.0, box=0.0, c=(0.0, 0.0), masked=0.0, snr=30.0, n_exp=1, seen=0, of=0,
             charge=-9.0, misfit=1.0):  # fmt: skip
    full = np.full
    return cosmic_evidence.Evidence(
        full(n, width), full(n, 1.1), full(n, box), np.tile(np.array(c, float), (n, 1)),
        full(n, masked), full(n, snr), full(n, n_exp),
        cosmic_evidence.Elsewhere(full(n, of), full(n, seen), 0.01, np.zeros(n)), 20,
        full(n, charge), full(n, misfit), full(n, 0.0), Remains(*np.zeros((5, n))),
    )  # fmt: skip


STAR = {"width": 1.0, "box": 0.0, "masked": 0.0}
RAY = {"width": 0.45, "box": 0.4, "c": (-0.6, -0.2), "masked": 1.0, "charge": 16.0, "misfit": 8.0}


def joined(parts):
    return cosmic_evidence.Evidence(
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in (
                "width",
                "elongation",
                "box",
                "concentration",
                "mask_share",
                "snr",
                "n_exp",
            )
        ),
        cosmic_evidence.Elsewhere(
            np.concatenate([p.elsewhere.n_covering for p in parts]),
            np.concatenate([p.elsewhere.n_seen for p in parts]),
            0.01,
            np.concatenate([p.elsewhere.absent for p in parts]),
        ),
        20,
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("charge", "misfit")),
        np.concatenate([p.mask_around for p in parts]),
        Remains(*np.zeros((5, sum(len(p.snr) for p in parts)))),
    )


def test_widths_are_those_of_the_cosmic_ray_stage():
    image = gaussian((41, 53), 20.3, 18.8, 2.3, 100.0)
    values = measured(image, [20.3], [18.8])
    width, _ = peak_widths.minor_widths(
        image, np.ones_like(image), np.array([20]), np.array([19]), WINDOW, RING
    )
    assert values[0, sharpness.MINOR] == pytest.approx(width[0], rel=1e-12)
    assert values[0, sharpness.MAJOR] == pytest.approx(2.3, abs=0.1)


def test_box_holds_all_light_of_two_by_two_pixels():
    image = np.zeros((31, 31), np.float32)
    image[15:17, 14:16] = [[3.0, 1.0], [1.0, 0.5]]
    mask = np.zeros(image.shape, bool)
    mask[15, 14] = True
    values = measured(image, [14.4], [15.2], mask)
    assert values[0, sharpness.BOX] == pytest.approx(1.0, abs=1e-6)
    assert values[0, sharpness.MASKED] == pytest.approx(3.0 / 5.5, abs=1e-6)


@pytest.mark.parametrize(("x", "y"), [(np.nan, 3.0), (-5.0, 3.0), (3.0, 99.0)])
def test_nothing_is_measured_off_the_image(x, y):
    assert np.isnan(measured(np.ones((21, 25), np.float32), [x], [y])).all()


def test_borders_and_empty_input():
    image = gaussian((21, 25), 0.0, 20.0, 2.2, 50.0)
    assert np.isfinite(measured(image, [0.0], [20.0])[0, sharpness.FLUX])
    assert measured(image, [], []).shape == (0, sharpness.N_VALUES)
    assert measured(np.ones((1, 1), np.float32), [0.0], [0.0]).shape == (1, sharpness.N_VALUES)


# ---------------------------------------------------------------- sharpness, position by position


def brightest_pixel(values, x, y, search_px):
    """Return (row, column) of the first brightest pixel near a position; its own, if none is so."""
    rows, columns = np.indices(values.shape)
    near = np.where(np.hypot(columns - x, rows - y) <= search_px, values, -np.inf)
    own = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
    best = np.unravel_index(near.argmax(), values.shape)
    return best if values[best] > values[own] else own


def stamp_around(values, row, column, ring_px):
    """Return the light within the ring, its background taken off; edges repeat."""
    inner, outer = ring_px
    offset = np.arange(-int(np.ceil(outer)), int(np.ceil(outer)) + 1)
    rows, columns = (
        np.clip(at + offset, 0, n - 1) for at, n in zip((row, column), values.shape, strict=True)
    )
    stamp, square = values[np.ix_(rows, columns)], offset**2 + offset[:, None] ** 2
    ring = (square >= inner**2) & (square <= outer**2)
    return np.where(square < inner**2, stamp - np.median(stamp[ring]), 0), offset


def ring_median(values, row, column, ring_px):
    """Return the median of the ring about a pixel; edges repeat."""
    inner, outer = ring_px
    offset = np.arange(-int(np.ceil(outer)), int(np.ceil(outer)) + 1)
    rows, columns = (
        np.clip(at + offset, 0, n - 1) for at, n in zip((row, column), values.shape, strict=True)
    )
    square = offset**2 + offset[:, None] ** 2
    return np.median(values[np.ix_(rows, columns)][(square >= inner**2) & (square <= outer**2)])


def windowed(stamp, offset, window_px):
    """Return the covariance under a window that follows the centroid, its sum and its noise."""
    x0 = y0 = 0.0
    for step in range(6):
        dx, dy = offset - x0, (offset - y0)[:, None]
        window = np.exp(-0.5 * (dx**2 + dy**2) / window_px**2)
        light = stamp * window
        total = light.sum()
        if step < 5 and total > 0:
            x0 = np.clip(x0 + 2 * (light * dx).sum() / total, -1.5, 1.5)
            y0 = np.clip(y0 + 2 * (light * dy).sum() / total, -1.5, 1.5)
    xx, yy, xy = (light * dx * dx).sum(), (light * dy * dy).sum(), (light * dx * dy).sum()
    covariance = np.array([[xx, xy], [xy, yy]]) / (total if total > 0 else np.inf)
    return covariance, total, np.sqrt((window**2).sum())


def fwhm_without_window(variance, window_px):
    if variance <= 1e-9:
        return 0.0
    inverse = 1 / variance - 1 / window_px**2
    return np.sqrt(1 / inverse) / SIGMA_PER_FWHM if inverse > 0 else np.inf


def share_of_the_best_box(stamp, side):
    middle = len(stamp) // 2
    firsts = range(middle - side + 1, middle + 1)
    best = max(stamp[i : i + side, j : j + side].sum() for i in firsts for j in firsts)
    around = slice(middle - side, middle + side + 1)
    total = stamp[around, around].sum()
    return best / total if total > 0 else np.inf


def share_of_marked_light(stamp, marked, row, column):
    on, total, middle = 0.0, 0.0, len(stamp) // 2
    for v, u in np.ndindex(marked.shape):
        i, j = v - row, u - column
        if i * i + j * j <= 5:
            light = max(stamp[middle + i, middle + j], 0)
            on, total = on + light * marked[v, u], total + light
    return on / total if total > 0 else 0.0


def slow_sharpness(image, marked, x, y, *, window_px, ring_px, search_px, box_px):
    """The kernel as plain numpy, position by position."""
    values = np.where(np.isfinite(image), image, 0).astype(float)
    out = np.full((len(x), sharpness.N_VALUES), np.nan)
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        if -0.5 <= a < image.shape[1] - 0.5 and -0.5 <= b < image.shape[0] - 0.5:
            row, column = brightest_pixel(values, a, b, search_px)
            stamp, offset = stamp_around(values, row, column, ring_px)
            covariance, total, noise = windowed(stamp, offset, window_px)
            out[k, sharpness.MINOR], out[k, sharpness.MAJOR] = (
                fwhm_without_window(v, window_px) for v in np.linalg.eigvalsh(covariance)
            )
            out[k, sharpness.FLUX], out[k, sharpness.NOISE] = total, noise
            out[k, sharpness.BOX] = share_of_the_best_box(stamp, box_px)
            out[k, sharpness.MASKED] = share_of_marked_light(stamp, marked, row, column)
            out[k, sharpness.PEAK_X], out[k, sharpness.PEAK_Y] = column, row
            out[k, sharpness.LEVEL] = ring_median(values, row, column, ring_px)
    return out


@pytest.mark.parametrize("shape", [(40, 53), (1, 1), (1, 9), (9, 2), (4, 30)])
@pytest.mark.parametrize(("native_px", "box_px"), [(1.0, 2), (1.67, 3)])
@pytest.mark.parametrize("step", [0, 30])
def test_sharpness_is_that_of_its_slow_twin(shape, native_px, box_px, step):
    rng = np.random.default_rng(2)
    image = gaussian_filter(rng.normal(0, 30, shape), 0.8) + 200 * (rng.random(shape) < 0.03)
    image = (np.rint(image / step) * step if step else image).astype(np.float32)
    image[rng.random(shape) < 0.05] = np.nan
    mask = rng.random(shape) < 0.3
    x, y = rng.uniform(-2, shape[1] + 1, 250), rng.uniform(-2, shape[0] + 1, 250)
    x[:40], y[20:60] = np.rint(x[:40]), np.rint(2 * y[20:60]) / 2
    x[60], y[61], x[62] = np.nan, np.nan, np.inf
    options = {
        "window_px": 1.2 * native_px, "ring_px": (3.5 * native_px, 5.5 * native_px),
        "search_px": 1.5 * native_px, "box_px": box_px,
    }  # fmt: skip
    result = sharpness.sharpness(image, mask, x, y, **options)
    expected = slow_sharpness(image, mask, x, y, **options)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    on_image = ~np.isnan(expected[:, 0])
    assert 10 < on_image.sum() < 240
    widths = (sharpness.MINOR, sharpness.MAJOR)
    rest = [k for k in range(sharpness.N_VALUES) if k not in widths]
    np.testing.assert_allclose(result[:, rest], expected[:, rest], rtol=1e-9, atol=1e-9)
    # Near zero and near the window's own width the FWHM magnifies rounding.
    widths = (v[on_image][:, [sharpness.MINOR, sharpness.MAJOR]] for v in (result, expected))
    ours, theirs = (np.minimum(v, 99) for v in widths)
    assert (abs(ours - theirs) < 1e-5 * (1 + theirs)).mean() > 0.99


# ---------------------------------------------------------------- probabilities


def test_rays_are_distinguished_from_stars():
    p = cosmics.probability(joined([evidence(50, **STAR), evidence(500, **RAY)]))
    assert (p[:50] < 0.1).all()
    assert (p[50:] > 0.9).all()


@pytest.mark.parametrize("snr", [20.0, 100.0, 1000.0, 1e5])
def test_brightness_makes_no_star_a_cosmic_ray(snr):
    p = cosmics.probability(joined([evidence(1, snr=snr), evidence(500, **RAY)]))
    assert p[0] < 0.5


def test_other_images_count():
    faint = {"width": 0.8, "masked": 0.5, "snr": 6.0}
    p = cosmics.probability(
        joined(
            [evidence(1, **faint, of=2), evidence(1, **faint, seen=2, of=2), evidence(99, **RAY)]
        )
    )
    assert p[1] < p[0]


def test_multiple_exposures_have_few_cosmic_rays():
    vague = {"width": 0.85, "masked": 0.3, "snr": 8.0}
    p = cosmics.probability(joined([evidence(1, **vague, n_exp=2), evidence(1, **vague)]))
    assert p[0] < p[1]


def test_what_could_not_be_measured_has_no_probability():
    p = cosmics.probability(evidence(3, snr=np.nan))
    assert np.isnan(p).all()
    assert len(cosmics.probability(evidence(0))) == 0


def test_probabilities_are_probabilities_whatever_the_evidence():
    random = np.random.default_rng(1)
    n = 400
    clues = cosmic_evidence.Evidence(
        np.where(random.random(n) < 0.1, np.inf, random.exponential(1.0, n)),
        np.where(random.random(n) < 0.1, np.nan, random.exponential(2.0, n)),
        random.normal(0, 1, n), random.normal(0, 1, (n, 2)), random.random(n),
        random.normal(5, 20, n), random.integers(0, 4, n),
        cosmic_evidence.Elsewhere(
            random.integers(0, 4, n), np.zeros(n, np.int64), 0.0, random.normal(0, 9, n)
        ), 0,
        random.normal(0, 99, n), random.exponential(9.0, n), random.random(n),
        Remains(*random.normal(0, 9, (5, n))),
    )  # fmt: skip
    p = cosmics.probability(clues)
    assert ((p >= 0) & (p <= 1)).all()


def test_seen_elsewhere_counts_images_that_cover_and_see():
    covers = np.array([True, True, False, True])
    other = SimpleNamespace(
        x=np.array([10.5, 200.0, 30.0, np.nan]), y=np.array([10.0, 200.0, 30.0, 1.0]), covers=covers
    )
    x, y = [10.0, 20.0, 30.0, np.nan], [10.0, 20.0, 30.0, 5.0]
    elsewhere = cosmic_evidence.seen_elsewhere(x, y, [other, other])
    assert elsewhere.n_covering.tolist() == [2, 2, 0, 0]
    assert elsewhere.n_seen.tolist() == [2, 0, 0, 0]
    assert 0 < elsewhere.chance < 0.01
    nobody = cosmic_evidence.seen_elsewhere(x, y, [])
    assert nobody.n_covering.tolist() == [0, 0, 0, 0]
    assert nobody.chance == 0
