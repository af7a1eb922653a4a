"""The simulated visit: light, geometry, noise, cosmic rays, truth, files."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bycatch import photcal
from bycatch.errors import BycatchError, SettingsError
from bycatch.images.drc import read_drc
from bycatch.kernels.exposures import exposure_counts
from bycatch.settings import DetectSettings, SimulateSettings
from bycatch.simulate import Truth, read_truth, simulate_scene, simulate_visit, write_visit
from bycatch.simulate.comparison import compare
from bycatch.simulate.detector import bled, rejectable
from bycatch.simulate.geometry import (
    detector_of,
    dithers_arcsec,
    header_wcs,
    output_grid,
    true_wcs,
)
from bycatch.simulate.psf import BOX_VARIANCE, compact_psf, psf, sersic
from bycatch.simulate.render import aim, electrons
from bycatch.simulate.scene import Scene, make_scene
from bycatch.simulate.throughput import sky_rate, true_rates
from bycatch.simulate.tracks import cosmic_rays
from bycatch.simulate.visit import sky_positions

SMALL = SimulateSettings(n_columns=260, n_rows=110, gap_px=20)
CLEAN = {
    "cosmic_ray_share": 0.0,
    "hot_pixel_share": 0.0,
    "n_dead_columns": 0,
    "galaxies_per_arcmin2": 0.0,
}


def stars_at(u_arcsec, v_arcsec, mag=20.0, colour=0.0, pm=0.0):
    place = np.atleast_1d(np.asarray(u_arcsec, dtype=float))
    n = place.size
    nothing = np.zeros(n)
    return Scene(
        u=place,
        v=np.atleast_1d(np.asarray(v_arcsec, dtype=float)),
        mag=np.full(n, mag),
        colour=np.full(n, colour),
        is_star=np.ones(n, dtype=bool),
        re_arcsec=nothing,
        axis_ratio=nothing + 1,
        angle_rad=nothing,
        sersic_index=nothing,
        pm_ra=np.full(n, pm),
        pm_dec=np.full(n, -pm),
    )


def one_galaxy(re_arcsec, index, axis_ratio=1.0, angle=0.0):
    scene = stars_at(0.0, 6.0)
    return Scene(
        **{
            **vars(scene),
            "is_star": np.array([False]),
            "re_arcsec": np.array([re_arcsec]),
            "axis_ratio": np.array([axis_ratio]),
            "angle_rad": np.array([angle]),
            "sersic_index": np.array([index]),
        }
    )


@pytest.fixture(scope="module")
def visit():
    return simulate_visit(SMALL)


# ---------------------------------------------------------------- point-spread function


@pytest.fixture(scope="module")
def grid_of_stars():
    settings = SimulateSettings(n_columns=900, n_rows=420, **CLEAN)
    offsets = np.random.default_rng(1).uniform(-0.2, 0.2, (2, 20))
    x, y = np.meshgrid([-16.0, -8.0, 0.0, 8.0, 16.0], [-12.5, -6.5, 6.5, 12.5])
    return simulate_scene(settings, stars_at(x.ravel() + offsets[0], y.ravel() + offsets[1]))


def sums_in_circles(pixels, places, radius):
    """The exact sums, by masks: photutils 3.1 deprecates the call that does it in one."""
    from photutils.aperture import CircularAperture

    masks = CircularAperture(places, radius).to_mask(method="exact")
    return np.array([mask.multiply(pixels.astype(float)).sum() for mask in masks])


@pytest.mark.parametrize("index", [0, 1, 2], ids=["F475W-2", "F625W-1", "F775W-3"])
def test_drizzled_stars_have_the_published_encircled_energy(grid_of_stars, index):
    image = grid_of_stars.images[index]
    curve = photcal.encircled_energy("WFC", image.filter)
    place = np.column_stack([image.truth["x"], image.truth["y"]])
    for radius, tolerance in ((4, 0.003), (6, 0.003), (8, 0.003), (10, 0.003), (20, 0.003)):
        total = sums_in_circles(image.model, place, radius)
        share = np.median(total / image.truth["rate"])
        assert share == pytest.approx(float(curve.at(radius * 0.05)), rel=tolerance), radius
    total = sums_in_circles(image.model, place, 2)
    share = np.median(total / image.truth["rate"]) / float(curve.at(0.1))
    assert 0.96 < share < 1.015


@pytest.mark.parametrize("filter_name", ["F475W", "F625W", "F775W", "F814W"])
def test_profile_of_the_drizzled_psf_is_2_to_2_4_px_wide(filter_name):
    mixture = psf(filter_name, 1.0, 1.0, 0.006)
    smeared = mixture.sigma_x * mixture.sigma_y + 3 * BOX_VARIANCE
    radius = np.linspace(0, 3, 601)
    profile = (mixture.weight / smeared * np.exp(-0.5 * radius[:, None] ** 2 / smeared)).sum(axis=1)
    fwhm = 2 * np.interp(0.5, profile[::-1] / profile[0], radius[::-1])
    assert 2.0 < fwhm < 2.4
    assert mixture.weight.sum() == pytest.approx(1.0, abs=1e-6)


def test_a_stamp_holds_all_light_wherever_the_star_is_in_the_pixel():
    mixture = psf("F625W", 1.0, 1.0, 0.006)
    axis = np.arange(-400.0, 401.0)
    for dx, dy in ((0, 0), (0.5, 0.5), (0.3, -0.2)):
        assert mixture.stamp(axis - dx, axis - dy, 1.0, 1.0).sum() == pytest.approx(1, abs=2e-4)


def test_a_stamp_equals_a_finely_sampled_one():
    mixture = psf("F625W", 1.0, 1.0, 0.006)
    axis = np.arange(-3.0, 4.0)
    fine = (np.arange(7 * 40) + 0.5) / 40 - 3.5
    shape = np.exp(-0.5 * (fine[:, None] - 0.3) ** 2 / mixture.sigma_x**2) / mixture.sigma_x
    shape_y = np.exp(-0.5 * (fine[:, None] + 0.2) ** 2 / mixture.sigma_y**2) / mixture.sigma_y
    direct = (shape_y * mixture.weight / (2 * np.pi)) @ shape.T
    direct = direct.reshape(7, 40, 7, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(
        mixture.stamp(axis - 0.3, axis + 0.2, 1.0, 1.0), direct, rtol=2e-3, atol=1e-7
    )


@pytest.mark.parametrize("index", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_sersic_profiles_hold_half_their_light_in_the_half_light_radius(index):
    from scipy.special import gammainc, gammaincinv

    sigma, weight = sersic(index)
    radius = np.array([0.5, 1.0, 2.0])
    share = ((1 - np.exp(-0.5 * (radius[:, None] / sigma) ** 2)) * weight).sum(axis=1)
    assert weight.sum() == pytest.approx(1)
    assert share[1] == pytest.approx(0.5, abs=0.003)
    b = gammaincinv(2 * index, 0.5)
    np.testing.assert_allclose(share, gammainc(2 * index, b * radius ** (1 / index)), atol=0.04)


@pytest.mark.parametrize(("index", "ratio"), [(1.0, 1.0), (1.0, 0.3), (4.0, 0.6)])
def test_rendered_galaxies_keep_their_light_and_size(index, ratio):
    settings = SimulateSettings(n_columns=400, n_rows=300, gap_px=0, **CLEAN)
    detector = detector_of(settings.replace(distortion_percent=0.0, skew_deg=0.0))
    scene = one_galaxy(0.4, index, ratio, angle=0.7)
    where = aim(scene, detector, (0.0, 0.0), 0.0)
    mixture = psf("F625W", 1.0, 1.0, 0.0)
    image, peak = electrons(
        scene, np.array([1e5]), where, detector.chips[1], mixture, compact_psf(mixture)
    )
    assert 0.92e5 < image.sum() < 1.001e5  # the wings end beyond the stamp
    assert peak[0] == image.max()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    row = where.y[0] - detector.chips[1].first_row
    inside = ((x - where.x[0]) ** 2 + (y - row) ** 2) < 8.0**2
    if ratio == 1.0:
        # The PSF moves some light out of the half-light radius.
        assert 0.38 < image[inside].sum() / 1e5 < 0.5


# ---------------------------------------------------------------- geometry


def test_the_distortion_is_inverted_exactly():
    detector = detector_of(SimulateSettings(n_columns=4096, n_rows=2048))
    random = np.random.default_rng(2)
    x, y = random.uniform(0, 4096, 500), random.uniform(0, 4146, 500)
    back = detector.from_plane(*detector.to_plane(x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-8)


def test_the_pixel_area_varies_by_the_distortion_and_is_the_jacobian():
    detector = detector_of(SimulateSettings())
    x, y = np.meshgrid([0.0, 999.0], [0.0, 999.0])
    area = detector.area(x.ravel(), y.ravel())
    assert np.ptp(area) / 2 == pytest.approx(0.09, abs=0.02)
    step = 1e-3
    here = np.array(detector.to_plane(np.array([300.0]), np.array([200.0])))
    right = np.array(detector.to_plane(np.array([300.0 + step]), np.array([200.0])))
    up = np.array(detector.to_plane(np.array([300.0]), np.array([200.0 + step])))
    numeric = np.linalg.det(np.hstack([right - here, up - here])) / (0.05 * step) ** 2
    assert numeric == pytest.approx(
        float(detector.area(np.array([300.0]), np.array([200.0]))[0]), rel=1e-5
    )


def test_the_drizzling_phase_varies_by_many_cycles_over_a_small_frame():
    settings = SimulateSettings()
    grid = output_grid(settings, 1)
    x = np.arange(1000.0)
    out, _ = grid.from_plane(*detector_of(settings).to_plane(x, np.full(1000, 200.0)))
    assert np.ptp(out - x) > 5


@pytest.mark.parametrize("grid_name", ["detector", "north"])
def test_truth_positions_round_trip_through_the_true_wcs(grid_name):
    settings = SMALL.replace(grid=grid_name)
    scene = make_scene(settings)
    grid = output_grid(settings, 2)
    x, y = grid.from_plane(scene.u, scene.v)
    ra, dec = sky_positions(settings, scene)
    np.testing.assert_allclose(
        true_wcs(settings, grid).all_world2pix(ra, dec, 0), (x, y), atol=1e-5
    )


def test_the_grid_holds_every_corner_and_north_is_up_when_asked():
    settings = SMALL.replace(grid="north")
    grid = output_grid(settings, 3)
    detector = detector_of(settings)
    x, y = np.array([0.0, 259.0, 0.0, 259.0]), np.array([0.0, 0.0, 239.0, 239.0])
    plane = detector.to_plane(x, y)
    for du, dv in dithers_arcsec(settings, 3):
        column, row = grid.from_plane(plane[0] + du, plane[1] + dv)
        assert column.min() > 0
        assert row.min() > 0
        assert column.max() < grid.shape[1] - 1
        assert row.max() < grid.shape[0] - 1
    cd = true_wcs(settings, grid).wcs.cd
    assert cd[0, 0] < 0 < cd[1, 1]
    assert abs(cd[0, 1]) < 1e-12


def test_the_header_wcs_is_off_by_the_stated_error():
    settings = SMALL.replace(dec_deg=60.0)
    grid = output_grid(settings, 1)
    centre = [grid.centre[0]], [grid.centre[1]]
    true = SkyCoord(*true_wcs(settings, grid).all_pix2world(*centre, 0), unit="deg")
    header = SkyCoord(*header_wcs(settings, grid).all_pix2world(*centre, 0), unit="deg")
    east, north = true.spherical_offsets_to(header)
    assert east.arcsec[0] == pytest.approx(0.35, abs=1e-4)
    assert north.arcsec[0] == pytest.approx(-0.28, abs=1e-4)


def test_whole_pixel_dithers_stay_on_whole_pixels():
    settings = SMALL.replace(dither_x_px=3.0, dither_y_px=-2.0)
    shifts = np.array(dithers_arcsec(settings, 4)) / 0.05
    np.testing.assert_allclose(shifts, np.rint(shifts), atol=1e-9)
    assert dithers_arcsec(settings.replace(dither_x_px=0.0, dither_y_px=0.0), 2) == [(0.0, 0.0)] * 2


# ---------------------------------------------------------------- drizzled planes


def test_planes_agree_on_what_is_covered(visit):
    for image in visit.images:
        covered = image.wht > 0
        assert np.array_equal(covered, np.isfinite(image.sci))
        assert np.array_equal(covered, exposure_counts(image.ctx) > 0)
        assert not image.cosmic_rays[~covered].any()
        assert 0.6 < covered.mean() < 0.95
        assert (image.sci.dtype, image.wht.dtype, image.ctx.dtype) == ("f4", "f4", "i4")


def test_weights_are_seconds_within_the_distortion(visit):
    for image in visit.images:
        full = exposure_counts(image.ctx) == image.n_exposures
        assert np.median(image.wht[full]) == pytest.approx(600 * image.n_exposures, rel=0.03)
        low, high = np.percentile(image.wht[full], [10, 95]) / (600 * image.n_exposures)
        assert low > 0.85
        assert high < 1.12


def test_the_context_counts_the_exposures_that_cover_a_pixel():
    settings = SMALL.replace(**CLEAN, stars_per_arcmin2=0.0)
    image = simulate_visit(settings).images[2]
    detector, counts = detector_of(settings), exposure_counts(image.ctx)
    rows, columns = np.mgrid[20 : image.ctx.shape[0] - 20 : 7, 20 : image.ctx.shape[1] - 20 : 7]
    u_, v_ = (
        image.grid.scale_arcsec * (columns - image.grid.centre[0]),
        0.05 * (rows - image.grid.centre[1]),
    )
    expected = np.zeros(rows.shape, dtype=int)
    border = np.zeros(rows.shape, dtype=bool)
    for du, dv in dithers_arcsec(settings, 3):
        x, y = detector.from_plane(u_ - du, v_ - dv)
        expected += detector.on_chip(x, y)
        for step in (-1.5, 1.5):
            border |= detector.on_chip(x + step, y) != detector.on_chip(x, y)
            border |= detector.on_chip(x, y + step) != detector.on_chip(x, y)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(counts[rows, columns][~border], expected[~border])


def test_more_than_32_chips_need_a_second_context_plane():
    settings = SimulateSettings(
        n_columns=40, n_rows=32, filters=("F606W",), n_exposures=(17,), dither_y_px=1.3,
        dither_x_px=0.4, **CLEAN,
    )  # fmt: skip
    image = simulate_visit(settings).images[0]
    assert image.ctx.shape == (2, *image.sci.shape)
    assert exposure_counts(image.ctx).max() == 17


@pytest.mark.parametrize("scale", [0.05, 0.06])
def test_the_light_of_a_star_is_conserved(scale):
    settings = SimulateSettings(
        n_columns=300, n_rows=300, gap_px=0, filters=("F625W",), n_exposures=(2,),
        scale_arcsec=scale, **CLEAN,
    )  # fmt: skip
    image = simulate_scene(settings, stars_at(0.4, -7.3)).images[0]
    assert float(image.model.sum()) == pytest.approx(float(image.truth["rate"][0]), rel=0.01)


def test_the_sky_is_subtracted_from_several_exposures_and_left_in_one(visit):
    noise = 0.005
    for image in visit.images:
        median = np.nanmedian(image.sci)
        sky = sky_rate(image.filter, SMALL)
        if image.n_exposures == 1:
            assert median == pytest.approx(sky, abs=noise)
            assert image.subtracted_sky_e == 0
        else:
            assert median == pytest.approx(0.0, abs=noise)
            assert image.subtracted_sky_e == pytest.approx(600 * sky)


def test_the_noise_of_a_blank_single_exposure_is_poisson_and_read_noise():
    settings = SMALL.replace(
        **CLEAN, stars_per_arcmin2=0.0, filters=("F625W",), n_exposures=(1,), pixfrac=0.01,
        n_columns=261, gap_px=21,
        distortion_percent=0.0, skew_deg=0.0,
    )  # fmt: skip
    image = simulate_visit(settings).images[0]
    # Tiny drops keep the detector's pixels apart: no correlation.
    expected = np.sqrt((0.056 + 0.01) * 600 + 4.2**2) / 600
    assert np.nanstd(image.sci) == pytest.approx(expected, rel=0.02)


def test_the_seed_decides_every_bit():
    first, again = simulate_visit(SMALL), simulate_visit(SMALL)
    other = simulate_visit(SMALL.replace(seed=2))
    for a, b, c in zip(first.images, again.images, other.images, strict=True):
        for name in ("sci", "wht", "ctx", "model", "cosmic_rays"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert not np.array_equal(a.sci, c.sci)
    assert first.gaia.pformat() == again.gaia.pformat()


def test_an_image_does_not_depend_on_the_others():
    alone = SMALL.replace(filters=("F475W", "F775W"), n_exposures=(2, 3))
    np.testing.assert_array_equal(
        simulate_visit(alone).images[0].sci, simulate_visit(SMALL).images[0].sci
    )


def test_chips_of_any_shape_and_an_empty_sky_work():
    settings = SimulateSettings(
        n_columns=50, n_rows=120, gap_px=0, stars_per_arcmin2=0.0, galaxies_per_arcmin2=0.0
    )
    visit = simulate_visit(settings)
    assert len(visit.gaia) == 0
    assert "phot_g_mean_mag" in visit.gaia.colnames
    for image in visit.images:
        assert len(image.truth) == 0
        assert image.sci.shape[0] > 2 * image.sci.shape[1]
        assert image.model.max() == 0


# ---------------------------------------------------------------- detector


@pytest.mark.parametrize("share", [0.015, 0.03])
def test_cosmic_rays_hit_the_stated_share_of_the_pixels(share):
    charge = cosmic_rays((700, 600), 1000.0, share, np.random.default_rng(3))
    assert (charge > 25).mean() == pytest.approx(share, rel=0.15)
    assert charge.sum() / (share * charge.size / 4.6) > 1000


def test_no_cosmic_ray_leaves_less_than_500_electrons():
    from scipy.ndimage import label, sum_labels

    charge = cosmic_rays((1500, 1500), 1000.0, 0.0005, np.random.default_rng(4))
    structure, n = label(np.pad(charge, 1) > 0, structure=np.ones((3, 3)))
    totals = sum_labels(np.pad(charge, 1), structure, np.arange(1, n + 1))
    inside = np.ones(n, dtype=bool)
    edge = np.unique(
        np.concatenate([structure[1], structure[-2], structure[:, 1], structure[:, -2]])
    )
    inside[edge[edge > 0] - 1] = False
    # Points of a track that fall apart are fragments; there are few.
    assert (totals[inside] >= 499).mean() > 0.95
    assert 900 < np.median(totals[inside]) < 1600


def test_no_cosmic_rays_at_share_0():
    assert not cosmic_rays((30, 20), 600.0, 0.0, np.random.default_rng(0)).any()


def test_bleeding_keeps_the_charge_and_the_column():
    image = np.full((41, 5), 10.0)
    image[20, 2] = 1000.0
    image[19, 2] = 150.0
    out = bled(image, 100.0)
    assert out.sum() == pytest.approx(image.sum())
    assert out.max() == pytest.approx(100.0)
    np.testing.assert_array_equal(np.delete(out, 2, axis=1), np.delete(image, 2, axis=1))
    full = np.flatnonzero(out[:, 2] > 99.9)
    assert full.size == full[-1] - full[0] + 1
    assert bled(np.full((3, 3), 5.0), 100.0).max() == 5.0


def test_saturated_stars_are_marked(visit):
    settings = SimulateSettings(
        n_columns=200, n_rows=150, gap_px=0, filters=("F625W",), n_exposures=(1,), **CLEAN
    )
    bright, faint = (
        simulate_scene(settings, stars_at(0.0, 3.0, mag=mag)).images[0] for mag in (16.5, 21.0)
    )
    assert bright.truth["saturated"][0]
    assert not faint.truth["saturated"][0]
    assert np.nanmax(bright.sci) < 1.15 * 77000 / 600
    assert float(np.nansum(bright.sci - 0.056)) == pytest.approx(
        float(bright.truth["rate"][0]), rel=0.03
    )


def test_rejection_needs_charge_above_noise_and_spares_star_cores():
    light = np.full((11, 11), 30.0)
    charge = np.zeros((11, 11))
    charge[5, 5] = 200.0
    settings = SimulateSettings()
    assert rejectable(charge, light, settings)[5, 5]
    assert rejectable(charge, light, settings).sum() == 1
    light[5, 5] = 20000.0
    assert not rejectable(charge, light, settings).any()
    assert not rejectable(np.zeros((11, 11)), light, settings).any()


def test_cosmic_rays_survive_where_one_exposure_looks():
    settings = SMALL.replace(filters=("F475W",), n_exposures=(2,), stars_per_arcmin2=0.0)
    image = simulate_visit(settings).images[0]
    counts = exposure_counts(image.ctx)
    alone, pair = image.cosmic_rays[counts == 1].mean(), image.cosmic_rays[counts == 2].mean()
    assert 0.01 < alone < 0.06
    assert pair < alone / 5


def test_defects_survive_in_single_exposures_only():
    settings = SMALL.replace(
        n_exposures=(1, 2), filters=("F606W", "F814W"), stars_per_arcmin2=0.0,
        galaxies_per_arcmin2=0.0, cosmic_ray_share=0.0, hot_pixel_share=0.002,
    )  # fmt: skip
    single, pair = simulate_visit(settings).images
    assert not pair.defects.any()
    sky = np.nanmedian(single.sci)
    odd = np.abs(single.sci - sky) > 8 * 1.4826 * np.nanmedian(np.abs(single.sci - sky))
    assert odd.sum() > 100
    assert single.defects[odd].all()
    assert single.defects.mean() < 0.05


def test_charges_of_cosmic_rays_follow_the_settings():
    draw = np.random.default_rng
    usual = cosmic_rays((500, 400), 1000.0, 0.002, draw(3))
    faint = cosmic_rays((500, 400), 1000.0, 0.002, draw(3), median_e=250.0, least_e=50.0)
    np.testing.assert_array_equal(usual > 0, faint > 0)
    assert 0.2 < faint.sum() / usual.sum() < 0.6


def test_the_map_of_cosmic_rays_marks_what_stands_out():
    settings = SMALL.replace(
        filters=("F625W",), n_exposures=(1,), stars_per_arcmin2=0.0, galaxies_per_arcmin2=0.0,
        hot_pixel_share=0.0, n_dead_columns=0,
    )  # fmt: skip
    image = simulate_visit(settings).images[0]
    residual = image.sci - sky_rate("F625W", settings)
    noise = np.sqrt((0.056 + 0.01) * 600 + 4.2**2) / 600
    bright = np.isfinite(residual) & (residual > 6 * noise)
    assert bright.sum() > 100
    assert image.cosmic_rays[bright].all()


# ---------------------------------------------------------------- scene


def test_magnitudes_follow_the_zero_points():
    scene = stars_at([0.0, 1.0], [0.0, 1.0], mag=22.0, colour=1.0)
    mag, rate = true_rates(scene, "F775W")
    assert mag[0] == pytest.approx(22.0 + np.log(6300 / 7693.5))
    assert -2.5 * np.log10(rate[0]) + 25.658 == pytest.approx(mag[0], abs=0.002)


def test_numbers_of_objects_follow_the_densities_and_rise_to_faint_magnitudes():
    settings = SimulateSettings(n_columns=4096, n_rows=2048)
    scene = make_scene(settings)
    area = 202.0 * 210.0 / 3600
    assert scene.is_star.sum() == pytest.approx(100 * area, rel=0.2)
    assert (~scene.is_star).sum() == pytest.approx(150 * area, rel=0.2)
    assert scene.mag.min() > 17
    assert scene.mag.max() < 27
    counts, _ = np.histogram(scene.mag[~scene.is_star], [23, 24, 25, 26, 27])
    assert (np.diff(counts) > 0).all()
    galaxy = scene.re_arcsec[~scene.is_star]
    assert galaxy.min() >= 0.1
    assert galaxy.max() <= 0.8


def test_objects_keep_their_distance_when_asked():
    from scipy.spatial import cKDTree

    scene = make_scene(SMALL.replace(min_separation_arcsec=1.0, stars_per_arcmin2=2000.0))
    distance, _ = cKDTree(np.column_stack([scene.u, scene.v])).query(
        np.column_stack([scene.u, scene.v]), k=2
    )
    assert distance[:, 1].min() > 1.0


def test_a_visit_comes_with_reference_stars_that_are_its_own(visit):
    from bycatch.sky.gaia import from_table

    stars = from_table(visit.gaia, "simulated")
    ra, dec = stars.positions_at(visit.images[0].mjd_start)
    truth = visit.images[0].truth
    positions = SkyCoord(ra, dec, unit="deg")
    distance = positions.match_to_catalog_sky(SkyCoord(truth["ra"], truth["dec"]))[1]
    assert len(stars) >= 3
    # Medians of motions that are not measured and of faint stars' errors: a few mas.
    assert np.median(distance.to_value(u.mas)) < 5


# ---------------------------------------------------------------- files


def test_written_files_are_read_as_the_archive_s_are(visit, tmp_path):
    files = write_visit(visit, tmp_path)
    assert [p.name for p in files.images] == [f"jsim010{k}0_drc.fits" for k in (1, 2, 3)]
    assert not list(tmp_path.rglob(".part-*"))
    for path, image in zip(files.images, visit.images, strict=True):
        drc = read_drc(path)
        assert drc.meta.notes == ()
        assert drc.meta.filter == image.filter
        assert drc.meta.n_exposures == image.n_exposures
        assert drc.meta.exptime_s == 600 * image.n_exposures
        assert drc.wht_type == "exptime"
        assert drc.has_context
        assert drc.meta.subtracted_sky_rate == pytest.approx(
            sky_rate(image.filter, SMALL) if image.n_exposures > 1 else 0.0
        )
        np.testing.assert_array_equal(drc.sci, image.sci)
        x, y = [3.0, 100.0], [5.0, 70.0]
        np.testing.assert_allclose(
            drc.wcs.all_pix2world(x, y, 0), image.wcs_header.all_pix2world(x, y, 0), atol=1e-10
        )
        truth = read_truth(tmp_path, image.root)
        np.testing.assert_array_equal(truth.cosmic_rays, image.cosmic_rays)
        np.testing.assert_array_equal(truth.defects, image.defects)
        np.testing.assert_allclose(truth.model, image.model, rtol=3e-4)
        assert truth.table.colnames == [
            "x", "y", "ra", "dec", "rate", "mag", "star", "re", "saturated",
        ]  # fmt: skip
    gaia = Table.read(files.gaia)
    assert gaia.colnames == visit.gaia.colnames
    assert json.loads(files.wcs_error.read_text())["roll_deg"] == 0.03


def test_headers_hold_the_archive_s_keywords(visit, tmp_path):
    path = write_visit(visit, tmp_path).images[2]
    with fits.open(path) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "SCI", "WHT", "CTX", "HDRTAB"]
        primary, sci = hdus[0].header, hdus["SCI"].header
        assert primary["NDRIZIM"] == 6
        assert primary["D006DATA"] == "jsim01ccq_flc.fits[sci,2]"
        for card in ("DEXP", "PIXF", "KERN", "OUUN", "SCAL", "ISCL", "WTSC"):
            assert f"D001{card}" in primary
        for card in ("TELESCOP", "INSTRUME", "DETECTOR", "FILTER1", "READNSEA", "ATODGND"):
            assert card in primary
        assert primary["EXPEND"] - primary["EXPSTART"] == pytest.approx(1800 / 86400)
        for card in ("PHOTFLAM", "PHOTPLAM", "PHOTZPT", "PHOTBW", "PHOTMODE", "WCSNAME"):
            assert card in sci
        assert sci["BUNIT"] == "ELECTRONS/S"
        assert (hdus["SCI"].data.dtype.itemsize, hdus["CTX"].data.dtype.kind) == (4, "i")
        assert WCS(sci).wcs.ctype[0] == "RA---TAN"
        table = Table(hdus["HDRTAB"].data)
        assert list(table["CCDCHIP"]) == [2, 1] * 3
        assert table["ROOTNAME"][0] == "jsim01caq"


def test_writing_again_replaces_the_files(visit, tmp_path):
    first = write_visit(visit, tmp_path).images[0].read_bytes()
    assert write_visit(visit, tmp_path).images[0].read_bytes() == first


# ---------------------------------------------------------------- bad settings


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n_exposures": (1, 2)}, "3 filters but 2 values"),
        ({"filters": ("F300X",), "n_exposures": (1,)}, "no zero point for F300X"),
        ({"filters": ("F502N",), "n_exposures": (1,)}, "no sky brightness for F502N"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, match):
    with pytest.raises(SettingsError, match=match):
        simulate_visit(SMALL.replace(**changes))


def test_a_faint_limit_below_the_bright_one_is_refused():
    with pytest.raises(ValueError, match="fainter than the bright limit"):
        SimulateSettings(mag_bright=20.0, mag_faint=19.0)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "drizzle", None)
    monkeypatch.setitem(sys.modules, "drizzle.resample", None)
    with pytest.raises(BycatchError, match=r"pip install 'bycatch\[simulate\]'"):
        simulate_visit(SMALL)


def test_a_truth_position_is_where_the_light_is():
    settings = SimulateSettings(
        n_columns=200, n_rows=150, gap_px=0, filters=("F625W",), n_exposures=(3,), **CLEAN
    )
    image = simulate_scene(settings, stars_at([0.0, 2.1], [3.0, -2.2])).images[0]
    for row in image.truth:
        x, y = round(row["x"]), round(row["y"])
        cut = image.model[y - 6 : y + 7, x - 6 : x + 7].astype(float)
        yy, xx = np.mgrid[-6:7, -6:7]
        inside = xx**2 + yy**2 <= 36
        assert (cut * inside * xx).sum() / (cut * inside).sum() == pytest.approx(
            row["x"] - x, abs=0.03
        )
        assert (cut * inside * yy).sum() / (cut * inside).sum() == pytest.approx(
            row["y"] - y, abs=0.03
        )
    assert SkyCoord(image.truth["ra"], image.truth["dec"], unit=u.deg).size == 2


# ---------------------------------------------------------------- comparison with the truth


@pytest.fixture(scope="module")
def compared():
    """A catalog with known errors: 1 % in flux, 3 mas in RA, one ray flagged, one not."""
    settings = SimulateSettings(
        n_columns=500, n_rows=240, gap_px=0, filters=("F625W",), n_exposures=(1,), **CLEAN
    )
    x, y = np.meshgrid([-9.0, -3.0, 3.0, 9.0], [-7.0, 0.0, 7.0])
    image = simulate_scene(settings, stars_at(x.ravel(), y.ravel(), mag=21.0)).images[0]
    truth = image.truth
    rays = np.zeros(image.sci.shape, dtype=bool)
    rays[50, 60] = rays[150, 260] = True
    n = len(truth) + 2
    true_flux = np.append(np.asarray(truth["rate"]) * 1e-19, [1e-18, 1e-18])
    ra = np.append(truth["ra"], [0.0, 0.0])
    dec = np.append(truth["dec"], [0.0, 0.0])
    catalog = Table(
        {
            "id": np.arange(1, n + 1),
            "x_center": np.append(truth["x"], [60.0, 260.0]),
            "y_center": np.append(truth["y"], [50.0, 150.0]),
            "RA_GAIA_WCS": ra + 3.0 / 3.6e6 / np.cos(np.radians(dec)),
            "DEC_GAIA_WCS": dec,
            "cr_flag": np.append(np.zeros(n - 1, dtype=int), 1),
            "n_exp": np.ones(n, dtype=int),
            "flags": np.zeros(n, dtype=int),
            "flux_4_apcor": true_flux * 1.01,
            "snr_4": np.full(n, 100.0),
        }
    )
    segments = np.zeros(image.sci.shape, dtype=np.int32)
    segments[np.rint(truth["y"]).astype(int), np.rint(truth["x"]).astype(int)] = np.arange(1, n - 1)
    return compare(
        catalog,
        ("4",),
        1e-19,
        Truth(truth, rays, image.defects, image.model),
        segments,
        np.full(image.sci.shape, 0.006, dtype=np.float32),
        image.wht > 0,
        DetectSettings(),
        1,
    )


def test_the_comparison_finds_the_errors_that_were_put_in(compared):
    summary = compared.summary()
    assert summary["n_good_stars"] == 12
    assert summary["flux_bias_4"] == pytest.approx(0.01, abs=1e-6)
    assert summary["position_rms_mas"] == pytest.approx(3.0 / np.sqrt(2), rel=0.01)
    assert summary["n_cosmic_rays"] == 2
    assert summary["n_cosmic_rays_flagged"] == 1
    assert summary["n_single_stars_flagged"] == 0


def test_the_comparison_counts_detectable_objects(compared):
    summary = compared.summary()
    assert 6 <= summary["n_detectable"] <= 12  # the coverage rule takes those near the edges
    assert summary["n_found"] == summary["n_detectable"]
