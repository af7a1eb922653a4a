"""Charge in apertures: what masked pixels have beyond the light around them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture

from bycatch.catalogs.rates import net_rates
from bycatch.kernels.ring_excess import MIN_RING_PIXELS, ring_excess
from bycatch.settings import MeasureSettings
from bycatch.stages import measure
from bycatch.stages.measure.photometry import CORE_PX

SHAPE = (60, 70)
RADII = (2.0, 4.0, 6.0, 8.0, 10.0)
X, Y = 33.3, 28.8
HITS = [(28, 39), (29, 39), (22, 30), (36, 36)]
"""Rows and columns of pixels 5 to 8 px away."""


def share(row: int, column: int, radius_px: float) -> float:
    """What a circle has of a pixel, by photutils."""
    one = np.zeros(SHAPE)
    one[row, column] = 1.0
    return float(CircularAperture((X, Y), radius_px).do_photometry(one)[0][0])


def masked(hits) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for hit in hits:
        mask[hit] = True
    return mask


def expected_excess(data, valid, mask, labels, x, y, core_px) -> np.ndarray:
    """The same by whole images: rings of a pixel's width, shares by photutils."""
    rows, columns = np.indices(data.shape)
    away = np.hypot(columns - x, rows - y)
    ring = np.floor(away + 0.5).astype(int)
    at = int(np.rint(y)), int(np.rint(x))
    good = valid & ~mask & ((labels == 0) | (labels == labels[at]))
    excess = np.zeros(data.shape)
    for row, column in np.argwhere(valid & mask & (away >= core_px)):
        near = good & (ring == ring[row, column])
        if near.sum() < MIN_RING_PIXELS:
            near = good & (abs(ring - ring[row, column]) <= 1)
        if near.sum() >= MIN_RING_PIXELS:
            excess[row, column] = data[row, column] - data[near].mean()
    return np.array([CircularAperture((x, y), r).do_photometry(excess)[0][0] for r in RADII])


def test_charge_on_a_flat_sky_is_what_was_put_there():
    data = np.full(SHAPE, 0.25, np.float32)
    for k, hit in enumerate(HITS):
        data[hit] += 2.0 + k
    found = ring_excess(data, np.ones(SHAPE, bool), masked(HITS), [X], [Y], RADII, 2.0)
    truth = [sum((2.0 + k) * share(*hit, r) for k, hit in enumerate(HITS)) for r in RADII]
    np.testing.assert_allclose(found[0], truth, rtol=1e-6, atol=1e-9)
    assert truth[0] == 0
    assert truth[-1] == pytest.approx(sum(2.0 + k for k in range(len(HITS))))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    x=st.floats(12, 57),
    y=st.floats(12, 47),
    part=st.floats(0, 1),
    core_px=st.floats(0, 6),
)
@example(seed=1, x=13.0, y=12.5, part=0.5, core_px=0.0)
@example(seed=1, x=12.5, y=13.5, part=0.5, core_px=2.5)
def test_it_is_that_of_whole_images(seed, x, y, part, core_px):
    rng = np.random.default_rng(seed)
    data = rng.normal(1, 1, SHAPE).astype(np.float32)
    valid, mask = rng.random(SHAPE) < 0.9, rng.random(SHAPE) < part
    labels = rng.integers(0, 3, SHAPE)
    data[~valid] = np.nan
    found = ring_excess(data, valid, mask, [x], [y], RADII, core_px, labels)
    clean = np.where(valid, data, 0).astype(float)
    expected = expected_excess(clean, valid, mask, labels, x, y, core_px)
    # photutils' ring at the rim is whole, the kernel's ends with the box around the circle.
    inner = slice(0, 4)
    np.testing.assert_allclose(found[0][inner], expected[inner], atol=1e-4)


def test_the_core_keeps_what_is_masked():
    data = np.ones(SHAPE, np.float32)
    mask = masked([(29, 33), (29, 34), (28, 33)])
    data[mask] = 50.0
    yes = np.ones(SHAPE, bool)
    assert not ring_excess(data, yes, mask, [X], [Y], RADII, 2.0).any()
    assert ring_excess(data, yes, mask, [X], [Y], RADII, 0.0)[0, -1] == pytest.approx(147, rel=1e-5)


def test_where_all_is_masked_nothing_is_known():
    data, yes = np.ones(SHAPE, np.float32), np.ones(SHAPE, bool)
    assert not ring_excess(data, yes, yes, [X], [Y], RADII, 2.0).any()
    assert ring_excess(data, yes, yes, [], [], RADII, 2.0).shape == (0, 5)
    assert ring_excess(data, yes, yes, [X], [Y], (), 2.0).shape == (1, 0)


def test_neighbours_are_no_part_of_a_ring():
    data, labels = np.ones(SHAPE, np.float32), np.zeros(SHAPE, int)
    labels[20:40, 37:] = 7
    data[labels == 7] = 30.0
    data[22, 30] = 4.0
    mask, yes = masked([(22, 30)]), np.ones(SHAPE, bool)
    alone = ring_excess(data, yes, mask, [X], [Y], RADII, 2.0, labels)
    assert alone[0, -1] == pytest.approx(3.0, rel=1e-5)
    assert ring_excess(data, yes, mask, [X], [Y], RADII, 2.0)[0, -1] < 0


# ---------------------------------------------------------------- in photometry


@pytest.fixture
def hit_star(as_image, psf):
    """An image of a star with its sky and noise, and the same with cosmic rays beside it."""

    def make(n_exp=1):
        shape = (100, 120)
        noise = np.random.default_rng(3).normal(0, 0.02, shape)
        sci = 0.3 + 50 * psf(shape, 60.3, 50.8) + noise
        hit = np.zeros(shape, bool)
        for row, column in ((50, 65), (51, 65), (44, 58), (57, 66), (60, 61)):
            hit[row, column] = True
        planes = (sci, np.where(hit, sci + 20.0, sci))
        return [as_image(plane, n_exposures=n_exp) for plane in planes], hit

    return make


def net_and_charge(image, mask):
    table = measure.run(
        image,
        measure.Targets([60.3], [50.8]),
        MeasureSettings(n_blank=0),
        pixels=measure.Pixels(cr_mask=mask),
    ).table
    charge = np.array([table[f"countrate_cr_{r:g}"][0] for r in RADII])
    net = np.array([net_rates(table, r)[0] for r in RADII])
    return net, charge


def test_a_star_keeps_its_light_and_loses_the_charge(hit_star):
    (clean, struck), mask = hit_star()
    truth, nothing = net_and_charge(clean, np.zeros(clean.shape, bool))
    net, charge = net_and_charge(struck, mask)
    assert not nothing.any()
    # Five pixels of 20 e/s; their rings know the star's light to a hundredth of it.
    assert charge[-1] == pytest.approx(100, rel=0.005)
    np.testing.assert_allclose(net, truth, rtol=0.005)


def test_a_mask_on_the_star_alone_costs_no_light(hit_star):
    (clean, _), _ = hit_star()
    truth, _ = net_and_charge(clean, np.zeros(clean.shape, bool))
    rows, columns = np.indices(clean.shape)
    core = np.hypot(columns - 60.3, rows - 50.8) < CORE_PX
    net, charge = net_and_charge(clean, core)
    assert not charge.any()
    np.testing.assert_array_equal(net, truth)


def test_stacks_keep_all_light(hit_star):
    (_, struck), mask = hit_star(n_exp=2)
    net, charge = net_and_charge(struck, mask)
    assert not charge.any()
    assert net[-1] > 140


def test_a_full_core_keeps_its_spikes(hit_star):
    (_, struck), mask = hit_star()
    full = struck.sci.copy()
    full[51, 60] = 0.81 * struck.meta.saturation_rate
    _, charge = net_and_charge(type(struck)(**{**vars(struck), "sci": full}), mask)
    assert not charge.any()
