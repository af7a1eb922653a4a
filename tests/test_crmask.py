"""Cosmic-ray mask: injected tracks, stars, galaxies, sky, noise, borders, real images."""

import itertools
import pickle

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter

from bycatch.images.drc import read_drc
from bycatch.kernels.neighbourhood import neighbourhood
from bycatch.settings import CrmaskSettings, InputSettings
from bycatch.stages import crmask

EXPTIME_S = 600.0
SKY_RATE = 0.06
READ_NOISE_E = 4.2


def smeared(native):
    """Resample as drizzle does (pixfrac 1, same scale); the phase varies over the frame."""
    ny, nx = native.shape
    yy, xx = np.indices(native.shape)
    a, b = 0.5 - 0.5 * np.cos(xx / 17 + yy / 60), 0.5 - 0.5 * np.cos(yy / 23 - xx / 70)
    canvas = np.pad(native, ((1, 0), (1, 0)), mode="edge")
    here, left, below, both = (
        canvas[j : j + ny, i : i + nx] for j, i in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    return (1 - b) * ((1 - a) * here + a * left) + b * ((1 - a) * below + a * both)


def tracks(shape, n, rng):
    """Return the charge of n tracks of 500 e and more, e per pixel, and their middle pixels."""
    charge = np.zeros(shape)
    x, y = (rng.integers(12, size - 12, n) for size in (shape[1], shape[0]))
    for xi, yi in zip(x, y, strict=True):
        angle, length = rng.uniform(0, np.pi), min(rng.exponential(2.5), 9)
        along = rng.uniform(-0.5, 0.5, 200) * length
        px = np.rint(xi + along * np.cos(angle) + rng.normal(0, 0.3, 200)).astype(int)
        py = np.rint(yi + along * np.sin(angle) + rng.normal(0, 0.3, 200)).astype(int)
        np.add.at(charge, (py, px), max(1000 * np.exp(0.7 * rng.normal()), 500) / 200)
    return charge, x, y


def observed(source_e, rng, cosmic_e=0.0):
    """Return a drizzled image, e/s, of what falls on native pixels."""
    sky = SKY_RATE * EXPTIME_S
    native = rng.poisson(source_e + sky + 0.012 * EXPTIME_S) - 0.012 * EXPTIME_S
    native = native + cosmic_e + rng.normal(0, READ_NOISE_E, source_e.shape)
    return (smeared(native) / EXPTIME_S).astype(np.float32)


def pixel_moffat(shape, x, y, fwhm_px):
    """Return a star of unit flux, averaged over pixels."""
    fine = (np.arange(7) - 3) / 7
    yy, xx = np.indices(shape)
    gamma = fwhm_px / (2 * np.sqrt(2 ** (1 / 3) - 1))
    total = np.zeros(shape)
    for dy in fine:
        for dx in fine:
            total += (1 + ((xx + dx - x) ** 2 + (yy + dy - y) ** 2) / gamma**2) ** -3
    return total * 2 / (np.pi * gamma**2) / fine.size**2


def flagged(mask, x, y, radius_px=2.0):
    near = neighbourhood(mask.shape, x, y, radius_px)
    return (near.take(mask) & (near.distance <= radius_px)).any(axis=1)


@pytest.fixture
def image_of(write_drc):
    """Return a function that makes a DrcImage of a single exposure from its pixels."""
    number = itertools.count()

    def make(sci, **options):
        options = {"n_exposures": 1, "exptime_s": EXPTIME_S} | options
        path = write_drc(f"jabc01{next(number):02d}0_drc.fits", sci, **options)
        return read_drc(path, InputSettings(verify=False))  # one is of one value

    return make


def test_injected_tracks_are_found(image_of):
    rng = np.random.default_rng(1)
    charge, x, y = tracks((500, 420), 300, rng)
    rays = crmask.run(image_of(observed(np.zeros(charge.shape), rng, charge)))
    assert flagged(rays.grown, x, y).mean() >= 0.97
    far_from_charge = distance_transform_edt(smeared(charge) < 1e-9) > 3
    assert rays.grown[far_from_charge].mean() < 1e-4
    assert rays.n_tracks == pytest.approx(300, rel=0.15)


def test_tracks_near_stars_and_galaxies_are_found_and_these_are_spared(image_of):
    rng = np.random.default_rng(2)
    shape = (400, 400)
    grid = np.divmod(np.arange(64), 8)
    xs, ys = (25 + 50 * k + rng.uniform(-1, 1, 64) for k in grid)
    sources, charge = np.zeros(shape), np.zeros(shape)
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        x0, y0 = round(x) - 20, round(y) - 20
        star = 10 ** rng.uniform(2.7, 4.3) * pixel_moffat((41, 41), x - x0, y - y0, 2.0)
        source = star if k % 2 else gaussian_filter(star, rng.uniform(1, 3))
        sources[y0 : y0 + 41, x0 : x0 + 41] += source
    rays = rng.permutation(64)[:20]
    for k in rays:  # hits of one pixel, 6 px beside sources
        charge[round(ys[k]), round(xs[k]) + 6] += 1500
    mask_result = crmask.run(image_of(observed(sources, rng, charge)))
    assert not flagged(mask_result.grown, xs, ys).any()
    assert flagged(mask_result.grown, np.rint(xs[rays]) + 6, np.rint(ys[rays])).mean() >= 0.95


@pytest.mark.parametrize("fwhm_px", [1.9, 2.1, 2.3])
def test_star_cores_are_not_flagged_up_to_saturation(image_of, fwhm_px):
    rng = np.random.default_rng(3)
    shape = (420, 420)
    flux = np.geomspace(300, 4.5e5, 100)  # 4.5e5 e: peak at the full well
    grid = np.divmod(np.arange(100), 10)
    x, y = (30 + 40 * k + rng.uniform(-0.5, 0.5, 100) for k in grid)
    sources = np.zeros(shape)
    for xi, yi, fi in zip(x, y, flux, strict=True):
        x0, y0 = round(xi) - 18, round(yi) - 18
        star = fi * pixel_moffat((37, 37), xi - x0, yi - y0, fwhm_px)
        sources[y0 : y0 + 37, x0 : x0 + 37] += star
    rays = crmask.run(image_of(observed(sources, rng)))
    # Stars below 1000 e may fall to noise; 1 of 100 is the stated rate.
    is_hit = flagged(rays.grown, x, y)
    assert not is_hit[flux > 1000].any()
    assert is_hit.sum() <= 1


def test_a_saturated_star_and_its_bleeding_are_spared(image_of):
    rng = np.random.default_rng(4)
    shape = (160, 160)
    native = 3e6 * pixel_moffat(shape, 80.2, 79.9, 2.1)
    native[60:100, 80] = 77_000
    sci = observed(np.minimum(native, 77_000), rng)
    rays = crmask.run(image_of(sci))
    assert not flagged(rays.grown, np.array([80.2]), np.array([79.9])).any()


def test_empty_sky_gives_an_empty_mask(image_of):
    rays = crmask.run(image_of(observed(np.zeros((300, 350)), np.random.default_rng(5))))
    assert rays.mask.sum() <= 5
    assert rays.noise_scale == pytest.approx(0.74, abs=0.1)  # mean of 1 - 2 phi (1 - phi)
    assert rays.sky_added_e == 0


def test_missing_pixels_and_their_border_are_not_masked(image_of):
    rng = np.random.default_rng(6)
    charge, x, y = tracks((200, 240), 60, rng)
    sci = observed(np.zeros(charge.shape), rng, charge)
    yy, xx = np.indices(sci.shape)
    sci[(yy < 30) | (xx + 0.3 * yy > 220) | (abs(yy - 100) < 4)] = np.nan
    rays = crmask.run(image_of(sci))
    assert not rays.grown[np.isnan(sci)].any()
    inside = distance_transform_edt(np.isfinite(sci))[y, x] > 8
    assert flagged(rays.grown, x[inside], y[inside]).mean() >= 0.9
    assert not rays.single[np.isnan(sci)].any()


def test_subtracted_sky_is_put_back(image_of):
    rng = np.random.default_rng(7)
    charge, _, _ = tracks((220, 220), 60, rng)
    sci = observed(np.zeros(charge.shape), rng, charge)
    sky_e = SKY_RATE * EXPTIME_S
    cards = {"sci_cards": {"MDRIZSKY": sky_e / 2}, "n_exposures": 2}
    whole = crmask.run(image_of(sci, **cards))
    taken = crmask.run(image_of((sci - np.float32(SKY_RATE)).astype(np.float32), **cards))
    assert whole.sky_added_e == 0
    assert taken.sky_added_e == pytest.approx(sky_e, abs=1)
    assert taken.noise_scale == pytest.approx(whole.noise_scale, rel=0.01)
    assert (taken.mask ^ whole.mask).sum() <= 0.01 * whole.n_pixels


def test_unknown_sky_follows_from_the_scatter(image_of):
    rng = np.random.default_rng(8)
    sci = observed(np.zeros((300, 300)), rng) - np.float32(SKY_RATE)
    rays = crmask.run(image_of(sci))
    # The smoothing depends on the phases: the sky is right within half, its noise much better.
    assert rays.sky_added_e == pytest.approx(SKY_RATE * EXPTIME_S, rel=0.5)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (1, 1), (9, 2)])
def test_tiny_images(image_of, shape):
    sci = observed(np.zeros(shape), np.random.default_rng(9))
    rays = crmask.run(image_of(sci))
    assert rays.mask.shape == rays.grown.shape == shape
    assert rays.mask.dtype == rays.grown.dtype == bool


def test_a_constant_image_gives_an_empty_mask(image_of):
    rays = crmask.run(image_of(np.full((40, 30), 0.1, np.float32)))
    assert not rays.mask.any()
    assert np.isfinite(rays.noise_scale)


def test_input_is_unchanged_and_the_result_repeats(image_of):
    rng = np.random.default_rng(10)
    charge, _, _ = tracks((150, 130), 30, rng)
    image = image_of(observed(np.zeros(charge.shape), rng, charge))
    before = pickle.dumps((image.sci, image.wht, image.n_exp, image.exptime_map_s))
    first, second = crmask.run(image), crmask.run(image)
    assert pickle.dumps((image.sci, image.wht, image.n_exp, image.exptime_map_s)) == before
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.grown, second.grown)
    assert first.summary() == second.summary()


def test_summary_holds_scalars(image_of):
    rng = np.random.default_rng(11)
    charge, _, _ = tracks((150, 130), 30, rng)
    rays = crmask.run(image_of(observed(np.zeros(charge.shape), rng, charge)))
    summary = rays.summary()
    assert summary["n_cr_pixels"] == rays.mask.sum()
    assert summary["share_of_single"] == pytest.approx(rays.mask[rays.single].mean())
    assert summary["share_of_single_grown"] > summary["share_of_single"] > 0
    assert all(isinstance(value, int | float) for value in summary.values())


def test_growing_only_adds_and_can_be_switched_off():
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    assert crmask.grown_mask(mask, CrmaskSettings(grow_sigma_px=0)).sum() == 1
    grown = crmask.grown_mask(mask, CrmaskSettings(grow_sigma_px=0.5, grow_threshold=0.05))
    assert grown.sum() == 5  # the pixel and its four neighbours
    wide = CrmaskSettings(grow_sigma_px=0.5, grow_threshold=0.01)
    assert crmask.grown_mask(mask, wide).sum() == 9
    high = CrmaskSettings(grow_sigma_px=3.0, grow_threshold=0.5)
    assert crmask.grown_mask(mask, high).sum() == 1


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
def test_width_of_gaussians_is_their_narrowest_fwhm(angle):
    yy, xx = np.indices((41, 41)) - 20.3
    along, across = (
        xx * np.cos(angle) + yy * np.sin(angle),
        -xx * np.sin(angle) + yy * np.cos(angle),
    )
    for fwhm in (1.8, 2.5):
        sigma = fwhm / 2.3548
        signal = 1e4 * np.exp(-0.5 * ((along / (1.5 * sigma)) ** 2 + (across / sigma) ** 2))
        peak = np.array([20])
        width, snr = crmask.minor_widths(signal, np.full(signal.shape, 10.0), peak, peak, 1.0)
        assert width[0] == pytest.approx(fwhm, rel=0.04)
        assert snr[0] > 100


def test_width_scales_with_the_pixels():
    yy, xx = np.indices((81, 81)) - 40.0
    signal = np.exp(-0.5 * (xx**2 + yy**2) / 1.8**2)
    peak, noise = np.array([40]), np.ones(signal.shape)
    width, _ = crmask.minor_widths(signal, noise, peak, peak, 2.0)
    assert width[0] == pytest.approx(2.3548 * 1.8, rel=0.04)


def test_width_of_one_pixel_and_of_nothing():
    signal = np.zeros((21, 21))
    signal[10, 10] = 100
    noise, peak = np.ones(signal.shape), np.array([10])
    assert crmask.minor_widths(signal, noise, peak, peak, 1.0)[0][0] < 0.5
    width, snr = crmask.minor_widths(0 * signal, noise, peak, peak, 1.0)
    assert snr[0] == 0
    assert np.isfinite(width[0])


def test_drizzle_smoothing_follows_casertano():
    # Correlated noise R of pixfrac, scale: 1, 1 -> 1.5; 0.8, 1 -> 1.364; 1, 0.6 -> 2.083.
    for pixfrac, scale, ratio in ((1, 1, 1.5), (0.8, 1, 1.364), (0.8, 0.6, 1.778), (1, 0.6, 2.083)):
        assert 1 / crmask.drizzle_smoothing(pixfrac, scale) == pytest.approx(ratio, abs=1e-3)


def test_real_stars_of_a_crowded_core_are_spared(shared):
    settings = InputSettings(
        detector="HRC", filter="F606W", exptime_s=60, photflam=1.278e-19, photplam=5888,
        bunit="electrons",
    )  # fmt: skip
    image = read_drc(shared / "data/real_hrc/reference_square_image.fits", settings)
    rays = crmask.run(image)
    counts = np.nan_to_num(image.sci * 60)
    y, x = np.nonzero((counts == maximum_filter(counts, 5)) & (counts > 1500))
    # 5000 local maxima, some of them cosmic rays and ends of bleeding columns.
    assert len(x) > 4000
    assert flagged(rays.grown, x, y).mean() < 0.025
    # ACS: 1.5 to 3 % of the pixels in 1000 s, so 0.09 to 0.18 % in 60 s.
    assert 0.0004 < rays.mask[image.valid].mean() < 0.003


def test_field_of_another_generator(shared):
    from astropy.table import Table

    folder = shared / "data/sim_visit"
    image = read_drc(folder / "raw/jcmdp9020_drc.fits.gz")
    truth = Table.read(folder / "truth/jcmdp9020.ecsv")
    rays = np.unpackbits(np.load(folder / "truth/jcmdp9020_cr.npy"), axis=1)[:, : image.shape[1]]
    mask_result = crmask.run(image)
    assert mask_result.sky_added_e == 0  # a single exposure keeps its sky
    assert 0.55 < mask_result.noise_scale < 0.8
    star = np.asarray(truth["star"]) & (np.asarray(truth["mag"]) < 25.5)
    x, y = np.asarray(truth["x"])[star], np.asarray(truth["y"])[star]
    clean = ~flagged(rays.astype(bool), x, y, 3.0) & flagged(image.valid, x, y, 1.0)
    assert clean.sum() > 40
    assert flagged(mask_result.grown, x, y)[clean].mean() <= 0.02
    bright = (rays == 1) & (image.sci * EXPTIME_S > 250)
    assert mask_result.grown[bright].mean() > 0.9


def test_depth_that_varies_over_the_image(new_drc, tmp_path):
    rng = np.random.default_rng(13)
    charge = np.zeros((200, 300))
    x, y = rng.integers(10, 140, 40), rng.integers(10, 190, 40)
    charge[y, x] = 1500  # all in the half that one exposure sees
    deep = np.zeros(charge.shape, dtype=bool)
    deep[:, 150:] = True
    single = observed(np.zeros(charge.shape), rng, charge)
    second = observed(np.zeros(charge.shape), rng)
    sci = np.where(deep, 0.5 * (single + second), single) - np.float32(SKY_RATE)
    hdus = new_drc(
        sci.astype(np.float32),
        n_exposures=2,
        exptime_s=2 * EXPTIME_S,
        sci_cards={"MDRIZSKY": SKY_RATE * EXPTIME_S},
    )
    hdus["WHT"].data = np.where(deep, 2 * EXPTIME_S, EXPTIME_S).astype(np.float32)
    hdus["CTX"].data = np.where(deep, 5, 1).astype(np.int32)
    hdus.writeto(tmp_path / "jabc01010_drc.fits")
    rays = crmask.run(read_drc(tmp_path / "jabc01010_drc.fits"))
    assert rays.single.sum() == (~deep).sum()
    assert flagged(rays.grown, x, y).mean() >= 0.97
    assert rays.mask[deep].mean() < 1e-4
