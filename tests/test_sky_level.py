"""The sky of total fluxes: where it is free, its level, and its error; fluxes beyond ellipses."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.special import gammainc, gammaincinv

from bycatch.catalogs.flags import Flag
from bycatch.kernels.skylevel import (
    free_boxes,
    grown_segments,
    labels_nearby,
    level_surface,
)
from bycatch.kernels.skystats import LEAST_FREE, annulus_stats
from bycatch.kernels.surfaces import surface_at
from bycatch.settings import Settings
from bycatch.stages import detect, measure
from bycatch.stages.finalize.totals import light_beyond
from bycatch.stages.measure import blank_sky, sky_noise
from bycatch.stages.measure.level import UNKNOWN_LEVEL, TotalNoise, sky_level, total_noise


def slow_growth(labels, factor, margin, most):
    rows, columns = np.indices(labels.shape)
    near = labels > 0
    for k in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == k)
        wide, high = 0.5 * (np.ptp(x) + 1), 0.5 * (np.ptp(y) + 1)
        wide, high = (v + min((factor - 1) * v + margin, most) for v in (wide, high))
        middle = 0.5 * (x.min() + x.max()), 0.5 * (y.min() + y.max())
        near |= ((columns - middle[0]) / wide) ** 2 + ((rows - middle[1]) / high) ** 2 <= 1
    return near


@pytest.mark.parametrize(("factor", "margin", "most"), [(1, 0, 9), (3, 8, 100), (3, 8, 4.63)])
def test_segments_grow_as_the_slow_twin_lets_them(factor, margin, most):
    rng = np.random.default_rng(1)
    labels = np.zeros((90, 113), np.int32)
    for k in (1, 2, 3, 5):
        y, x = rng.integers(0, 80), rng.integers(0, 100)
        labels[y : y + rng.integers(1, 14), x : x + rng.integers(1, 20)] = k
    labels[0, 0] = 6
    before = labels.copy()
    segments = grown_segments(labels, factor, margin, most)
    np.testing.assert_array_equal(segments, slow_growth(labels, factor, margin, most))
    np.testing.assert_array_equal(labels, before)
    assert segments[labels > 0].all()


def test_no_segment_grows_from_nothing():
    assert not grown_segments(np.zeros((5, 7), np.int32), 3, 8, 100).any()
    assert grown_segments(np.zeros((0, 7), np.int32), 3, 8, 100).shape == (0, 7)


def test_boxes_count_by_their_free_pixels():
    free = np.zeros((25, 30), bool)
    free[:10, :10] = True
    free[:5, 10:12] = True  # just a tenth
    free[20:, 20:] = True  # cut by the edge: half of a box
    np.testing.assert_array_equal(
        free_boxes(free, 10, 0.1), [[True, False, False], [False] * 3, [False, False, True]]
    )


def test_the_level_is_that_of_free_pixels():
    rng = np.random.default_rng(2)
    rows, columns = np.indices((400, 500))
    sky = 0.2 + 1e-4 * columns - 5e-5 * rows
    data = (sky + rng.normal(0, 0.01, sky.shape)).astype(np.float32)
    free = np.hypot(columns - 250, rows - 200) > 60
    data[~free] += 5
    x, y = np.array([250.0, 160.0, 340.0]), np.array([200.0, 250.0, 150.0])
    surface = level_surface(data, free, 100, 3.0, 0.1)
    result = surface_at(surface, data.shape, x, y)
    np.testing.assert_allclose(result, 0.2 + 1e-4 * x - 5e-5 * y, atol=1e-3)
    far = np.array([-5.0, np.nan, 499.4, 1e12]), np.array([3.0, 3.0, 399.4, 2.0])
    lost = surface_at(surface, data.shape, *far)
    np.testing.assert_array_equal(np.isnan(lost), [True, True, False, True])
    with pytest.raises(ValueError, match="no box"):
        level_surface(data, np.zeros_like(free), 100, 3.0, 0.1)


def galaxy(shape, x, y, scale, total):
    """Return an exponential disc."""
    rows, columns = np.indices(shape)
    return total / (2 * np.pi * scale**2) * np.exp(-np.hypot(columns - x, rows - y) / scale)


def test_a_large_galaxy_keeps_its_light(as_image):
    """The annulus of 10 to 15 px lies in it: its sky would take a third of it."""
    rng = np.random.default_rng(3)
    shape = (450, 450)
    noise = rng.normal(0.03, 0.004, shape)
    light = galaxy(shape, 220.3, 230.1, 9.0, 40.0)
    image = as_image(noise + light)
    segments = (light > 0.008).astype(np.int32)
    targets = measure.Targets([220.3], [230.1])
    settings = Settings().measure.replace(n_blank=600)
    measurement = measure.run(image, targets, settings, pixels=measure.Pixels(None, segments))
    row = measurement.table[0]
    assert row["sky_median"] > 0.045
    assert row["sky_level"] == pytest.approx(0.03, abs=3e-4)
    # 2.5 Kron radii of a disc, found in noise, hold about 95 % of its light.
    assert row["countrate_kron"] == pytest.approx(38.0, rel=0.04)
    assert row["half_light_px"] == pytest.approx(1.678 * 9.0, rel=0.05)
    assert 0 < row["countrate_err_kron"] < 2.0
    assert row["flags"] & int(Flag.SKY_ON_SOURCE)
    assert not row["flags"] & int(Flag.TOTAL_BLENDED)


def test_segments_grow_less_where_there_is_little_sky(as_image):
    image = as_image(np.full((300, 300), 0.1) + 1e-3 * np.indices((300, 300)).sum(axis=0) % 7)
    alone, crowded = np.zeros((2, 300, 300), np.int32)
    alone[140:160, 140:160] = 1
    for k, (y, x) in enumerate(np.indices((10, 10)).reshape(2, -1).T * 30):
        crowded[y + 5 : y + 20, x + 5 : x + 20] = k + 1
    assert sky_level(image, alone, None).growth == 3.0
    little = sky_level(image, crowded, None)
    assert little.growth < 3.0
    assert little.free.any()
    assert sky_level(image, None, None).growth == 0.0
    nothing = sky_level(image, np.ones((300, 300), np.int32), None)
    assert np.isnan(nothing.at([150.0], [150.0]))[0]


def test_cosmic_rays_are_no_sky(as_image):
    image = as_image(np.ones((120, 130)))
    mask = np.zeros((120, 130), bool)
    mask[4, 5] = True
    assert not sky_level(image, None, mask).free[4, 5]
    assert image.valid[4, 5]


def test_the_error_of_the_level_is_measured(as_image):
    """Noise of pixels, and ripples longer than annuli but shorter than boxes."""
    rng = np.random.default_rng(4)
    shape = (700, 700)
    rows, columns = np.indices(shape)
    ripple = 0.001 * np.sqrt(2) * np.sin(columns / 16) * np.sqrt(2) * np.sin(rows / 15)
    image = as_image(rng.normal(0, 0.01, shape) + ripple)
    settings = Settings().measure.replace(n_blank=3000)
    nowhere = np.zeros(shape, np.int32)
    blank = blank_sky.blank_sky(image, nowhere > 0, settings)
    model = sky_noise.noise_model(image, blank, settings)
    far = sky_level(image, nowhere, None)
    result = total_noise(blank, far, model, 15.0)
    # Circle and annulus smooth it a little.
    assert 0.0006 < result.level_error < 0.0012
    assert result.scale == pytest.approx(1.0, abs=0.25)
    smooth = as_image(rng.normal(0, 0.01, shape))
    blank = blank_sky.blank_sky(smooth, nowhere > 0, settings)
    model = sky_noise.noise_model(smooth, blank, settings)
    result = total_noise(blank, sky_level(smooth, nowhere, None), model, 15.0)
    assert result.level_error < 0.0004
    assert result.scale == pytest.approx(1.0, abs=0.1)


def test_errors_of_totals():
    noise = TotalNoise(scale=1.5, typical=0.2, level_error=1e-3)
    # Scatter of 0.01 in 400 s: 1.5 x 0.01 x 10 and 1e-3 x 100.
    result = noise.sky_error_in(np.array([100.0, 100.0, np.nan]), [400.0, 0.0, 400.0])
    np.testing.assert_allclose(result, [np.hypot(0.15, 0.1), np.nan, np.nan])
    unknown = TotalNoise(1.5, 0.2, np.nan)
    expected = np.hypot(0.15, UNKNOWN_LEVEL * 0.01 * 100)
    np.testing.assert_allclose(unknown.sky_error_in(np.array([100.0]), [400.0]), expected)
    assert unknown.summary()["sky_level_err"] is None


@pytest.mark.parametrize("index", [1.0, 1.5, 2.5])
def test_light_beyond_is_that_of_a_sersic_profile(index):
    b = gammaincinv(2 * index, 0.5)
    for radius in (0.5, 1.3, 2.5, 4.0):
        within = gammainc(2 * index, b * radius ** (1 / index))
        half = (gammaincinv(2 * index, within / 2) / b) ** index
        assert light_beyond(radius / half, index) == pytest.approx(1 / within - 1, rel=5e-3)
    assert np.isnan(light_beyond(np.nan, index))
    assert light_beyond([1e9, np.inf], index) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.realdata
def test_magnitudes_of_real_galaxies_are_the_published_ones(shared, as_image):
    """Through detection and measurement: they know neither the sky nor where the galaxies are."""
    folder = shared / "data" / "real_galaxies"
    values_of_paper = fits.getdata(folder / "paltas_real_galaxy_catalog_23.5.fits", 1)
    sci = np.random.default_rng(5).normal(0.02, 0.006, (1100, 900))
    places = np.indices((4, 3)).reshape(2, -1).T * 260 + 160
    with fits.open(folder / "paltas_real_galaxy_images_23.5_n1.fits") as hdus:
        for (y, x), galaxy in zip(places, values_of_paper, strict=False):
            light = hdus[int(galaxy["GAL_HDU"])].data - galaxy["NOISE_MEAN"]
            ny, nx = (n // 2 for n in light.shape)
            light = light[: 2 * ny, : 2 * nx].reshape(ny, 2, nx, 2).sum(axis=(1, 3))
            sci[y - ny // 2 : y - ny // 2 + ny, x - nx // 2 : x - nx // 2 + nx] += light
    image, settings = as_image(sci), Settings.load(preset="deep")
    detection = detect.run(image, settings.detect)
    pixels = measure.Pixels(None, detection.segmentation)
    table = measure.run(image, measure.Targets.of(detection.sources), pixels=pixels).table
    off = []
    for (y, x), galaxy in zip(places, values_of_paper, strict=False):
        far = np.hypot(table["x"] - x, table["y"] - y)
        row = table[int(np.argmin(far))]
        if far.min() < 4 and not row["flags"] & int(Flag.TOTAL_BLENDED):
            off.append(25.94 - 2.5 * np.log10(row["countrate_kron"]) - galaxy["MAG"])
    assert len(off) >= 6
    assert abs(np.median(off)) < 0.05
    assert np.abs(off).max() < 0.4


def test_labels_nearby_are_where_segments_have_grown():
    labels = np.zeros((60, 80), np.int32)
    labels[20:26, 20:30] = 1
    labels[22:30, 40:44] = 2
    near = labels_nearby(labels, 1.5, 2.0, 100.0)
    np.testing.assert_array_equal(near > 0, grown_segments(labels, 1.5, 2.0, 100.0))
    np.testing.assert_array_equal(near[labels > 0], labels[labels > 0])
    assert near[23, 32] == 1
    assert not labels_nearby(np.zeros((5, 7), np.int32), 1.5, 2.0, 100.0).any()


def test_an_annulus_leaves_out_what_belongs_to_others():
    """Wings of a neighbour lift the annulus; those of the source's own segment stay in it."""
    rng = np.random.default_rng(3)
    data = rng.normal(0.0, 1.0, (60, 60)).astype(np.float32)
    valid, labels = np.ones(data.shape, bool), np.zeros(data.shape, np.int32)
    labels[:, 38:] = 1
    data[:, 38:] += 2.0
    free = annulus_stats(data, valid, [28.0, 45.0], [30.0, 30.0], (10.0, 15.0), 3.0, labels)
    plain = annulus_stats(data, valid, [28.0, 45.0], [30.0, 30.0], (10.0, 15.0), 3.0)
    assert plain.median[0] > 0.2
    assert abs(free.median[0]) < 0.15
    assert free.n_pixels[0] < plain.n_pixels[0]
    assert free.median[1] == plain.median[1]
    # Where hardly anything is free, all counts.
    labels[:] = 1
    labels[29:32, 27:30] = 0
    none = annulus_stats(data, valid, [28.0], [30.0], (10.0, 15.0), 3.0, labels)
    assert none.median[0] == plain.median[0]


def test_what_forced_photometry_leaves_out():
    assert measure.NEARBY == (1.5, 2.0)  # docs/objects.md
    assert LEAST_FREE == 0.25
