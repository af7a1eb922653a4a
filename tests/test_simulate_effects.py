"""Effects that the chain does not assume: optics, tracks, skirts, nebulosity, trails, CTE, ..."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bycatch import photcal
from bycatch.settings import SimulateSettings
from bycatch.simulate import simulate_visit
from bycatch.simulate.detector import CTE_EXPONENT, rejectable, transfer_charge
from bycatch.simulate.diffuse import GHOST_HOLE, GHOST_RADIUS_PX, ghosts, nebula, trails
from bycatch.simulate.geometry import Chip, detector_of, displace
from bycatch.simulate.optics import (
    FOCUS_STEP,
    SAMPLES_PER_PX,
    AberratedPsf,
    Optics,
    enclosed_share,
    focal_plane,
    halo,
)
from bycatch.simulate.psf import Local
from bycatch.simulate.render import Aim
from bycatch.simulate.scene import KNOTS_PER_GALAXY, make_scene, with_knots
from bycatch.simulate.tracks import charge_e

SMALL = {"n_columns": 200, "n_rows": 100, "filters": ("F606W",), "n_exposures": (1,)}
OPTICS = Optics("F606W", 0.3, 0.027, -0.009, 0.45)


def small(**values):
    return SimulateSettings(**(SMALL | values))


# ---------------------------------------------------------------- optics


def energy(step, radii):
    light, share = focal_plane(OPTICS, step)
    return enclosed_share(light, radii) + (1.0 - share) * halo(OPTICS).energy(radii)


def test_optics_have_the_published_energy_beyond_ten_pixels_at_any_focus():
    radii = np.array([10.0, 20.0, 40.0])
    values_of_paper = photcal.encircled_energy("WFC", "F606W").at(radii * 0.05)
    for step in (-6, 0, 6):
        assert_allclose(energy(step, radii), values_of_paper, atol=0.004)


def test_focus_moves_light_out_of_the_core():
    core = [float(energy(step, np.array([2.0]))[0]) for step in (-6, 0, 6)]
    assert core[1] > core[0] + 0.01
    assert core[1] > core[2] + 0.01


def test_an_aberrated_star_keeps_its_light_at_any_phase_and_focus():
    axis = np.arange(-40.0, 41.0)
    for phase in (0.0, 0.37, 0.5):
        for focus in (0.02, 0.025):  # at a step, and between two
            stamp = AberratedPsf(OPTICS).star(
                axis - phase, axis + phase, Local(1.0, 0.0, 0.0, 1.0, 1.0, focus)
            )
            inside = np.hypot(axis[:, None] + phase, axis[None, :] - phase) < 30
            assert stamp[inside].sum() == pytest.approx(
                float(energy(2, np.array([30.0]))[0]), abs=0.003
            )
            x, y = (
                (stamp * v).sum() / stamp.sum()
                for v in (axis[None, :] - phase, axis[:, None] + phase)
            )
            assert abs(x) < 0.1
            assert abs(y) < 0.1


def test_a_larger_pixel_collects_more_of_an_aberrated_star():
    """Per pixel; the total stays."""
    axis = np.arange(-60.0, 61.0)
    plain, wide = (
        AberratedPsf(OPTICS).star(axis, axis, Local(u, 0.0, 0.0, u, 1.0, 0.02)) for u in (1.0, 1.05)
    )
    assert wide.max() > 1.05 * plain.max()
    assert wide.sum() == pytest.approx(plain.sum(), abs=0.007)  # it reaches 3 px farther


def test_vanes_make_four_spikes_near_rows_and_columns():
    light, _ = focal_plane(OPTICS, 0)
    middle = light.shape[0] // 2
    r = 60 * SAMPLES_PER_PX
    angle = np.radians(np.arange(0, 360, 0.5))
    ring = light[
        np.rint(middle + r * np.sin(angle)).astype(int),
        np.rint(middle + r * np.cos(angle)).astype(int),
    ]
    bright = np.degrees(angle[ring > 4 * np.median(ring)])
    apart = np.abs((bright + 45.0) % 90.0 - 45.0)
    assert apart.max() < 8.0
    assert len(np.unique(np.rint(bright / 90.0) % 4)) == 4


def test_focus_steps_are_fine_enough():
    """Halfway between two steps the interpolated core is that of the focus itself to 0.1 %."""
    axis = np.arange(-5.0, 6.0)
    local = Local(1.0, 0.0, 0.0, 1.0, 1.0, 0.05)
    exact = AberratedPsf(OPTICS).star(axis, axis, local)
    low, high = (
        AberratedPsf(OPTICS).star(axis, axis, Local(1.0, 0.0, 0.0, 1.0, 1.0, 0.05 + d))
        for d in (-FOCUS_STEP, FOCUS_STEP)
    )
    # Steps of twice the size err four times as much.
    assert np.abs(0.5 * (low + high) - exact).max() < 4e-3 * exact.max()


def test_a_visit_of_the_optics_is_another_one():
    plain = simulate_visit(small()).images[0]
    optics = simulate_visit(small(psf="optics", focus_waves=0.06)).images[0]
    assert_allclose(plain.model.sum(), optics.model.sum(), rtol=0.02)
    assert np.abs(plain.model - optics.model).max() > 0.05 * plain.model.max()


# ---------------------------------------------------------------- cosmic rays


def test_tracks_in_silicon_are_wide_at_one_end_and_hold_the_charge_of_their_path():
    settings = small(cosmic_ray_tracks="silicon", cosmic_ray_share=0.0002, exptime_s=1000.0)
    charge = charge_e((1500, 1500), settings, np.random.default_rng(1))
    from scipy.ndimage import label, sum_labels

    events, n = label(charge > 0, structure=np.ones((3, 3)))
    totals = sum_labels(charge, events, np.arange(1, n + 1))
    pixels = sum_labels(charge > 30.0, events, np.arange(1, n + 1))
    assert n > 60
    # Isotropic paths are sqrt(2) layers long in the median, with losses above 1 in the mean.
    assert 1200 < np.median(totals) < 2200
    assert 2 <= np.median(pixels) <= 7
    assert pixels.max() > 15
    none = small(cosmic_ray_tracks="silicon", cosmic_ray_share=0.0)
    assert not charge_e((30, 20), none, np.random.default_rng(0)).any()


def test_diffusion_spreads_the_tracks_in_silicon():
    def share_in_peaks(diffusion):
        settings = small(
            cosmic_ray_tracks="silicon", cosmic_ray_share=0.0003, cosmic_ray_diffusion_px=diffusion
        )
        charge = charge_e((800, 800), settings, np.random.default_rng(2))
        return (charge**2).sum() / charge.sum() ** 2

    assert share_in_peaks(0.1) > 1.2 * share_in_peaks(0.6)


def test_a_rejection_of_cores_only_leaves_skirts():
    charge = np.zeros((9, 9))
    charge[4, 2:7] = [30.0, 60.0, 2000.0, 60.0, 30.0]
    light = np.full((9, 9), 36.0)
    noise = np.sqrt(36.0 + 4.2**2 + 0.01 * 600)
    both = rejectable(charge, light, small(reject_beside_sigma=2.0))
    assert both[4, 3:6].all()
    cores = rejectable(charge, light, small(reject_sigma=20.0, reject_beside_sigma=20.0))
    assert cores.sum() == 1
    assert 20 * noise > 60.0


def test_some_of_what_is_found_stays():
    charge = np.full((200, 200), 1e4)
    light = np.full((200, 200), 36.0)
    settings = small(reject_missed_percent=10.0)
    mask = rejectable(charge, light, settings, np.random.default_rng(1))
    assert mask.mean() == pytest.approx(0.9, abs=0.01)
    assert rejectable(charge, light, small(), np.random.default_rng(1)).all()


# ---------------------------------------------------------------- light that is no object


def test_nebulosity_has_a_mean_of_one_and_moves_with_the_sky():
    settings = small(nebula_percent=30.0)
    detector = detector_of(settings)
    u, v = (np.asarray(a) for a in np.meshgrid(np.linspace(-4, 4, 200), np.linspace(-4, 4, 200)))
    first = nebula(settings, detector, u, v, 0)
    other = nebula(settings, detector, u, v, 1)
    assert 0.4 < first.mean() < 2.5
    assert first.min() > 0
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] > 0.9
    bare, cloudy = (simulate_visit(small(nebula_percent=p)).images[0] for p in (0.0, 300.0))
    assert_allclose(bare.model, cloudy.model)
    assert np.nanmedian(cloudy.sci) > 1.5 * np.nanmedian(bare.sci)


def test_a_ghost_lies_across_the_centre_and_is_a_ring():
    settings = small()
    detector = detector_of(settings)
    chip = Chip(2, 0, settings.n_columns, settings.n_rows)
    cx, cy = detector.centre
    one = np.ones(1)
    where = Aim(one * (cx + 20), one * (2 * cy - 50), one, 0 * one, 0 * one, one, one, one)
    image = ghosts(one * 1e6, where, chip, detector, 0.01)
    y, x = np.nonzero(image)
    assert x.mean() == pytest.approx(cx - 20, abs=0.6)
    assert y.mean() == pytest.approx(50, abs=0.6)
    r = np.hypot(x - cx + 20, y - 50)
    assert r.max() <= GHOST_RADIUS_PX
    assert r.min() > GHOST_HOLE * GHOST_RADIUS_PX - 1
    assert image.sum() == pytest.approx(1e4, rel=0.02)


def test_a_trail_is_a_straight_line_through_both_chips():
    settings = small(n_trails=1, trail_e=100.0, trail_width_px=2.0, seed=5)
    detector = detector_of(settings)
    points = []
    for chip in detector.chips:
        image = trails(settings, chip, detector, 0)
        y, x = np.nonzero(image > 80)
        points.append(np.column_stack([x, y + chip.first_row]))
        assert image.max() <= 100.0
    xy = np.vstack(points) - np.vstack(points).mean(axis=0)
    assert np.linalg.svd(xy, full_matrices=False)[1][1] / np.sqrt(len(xy)) < 2.0
    assert not trails(small(), detector.chips[0], detector, 0).any()


# ---------------------------------------------------------------- transfer of charge


def test_transfer_keeps_charge_but_moves_it_away_from_the_readout():
    settings = small(cte_loss_percent=8.0)
    for number, row, far in ((2, 40, 90), (1, 59, 9)):
        chip = Chip(number, 0, 5, 100)
        image = np.full((100, 5), 50.0)
        image[row, 2] = 1050.0
        moved = transfer_charge(image, chip, settings)
        assert moved.sum() == pytest.approx(image.sum(), abs=1.0)
        loss = image[row, 2] - moved[row, 2]
        assert loss == pytest.approx(0.08 * 1000.0 * (40.5 / 100), rel=1e-6)
        behind = row + 1 if number == 2 else row - 1
        assert moved[behind, 2] > 50.0
        image[far, 3] = 1050.0
        assert image[far, 3] - transfer_charge(image, chip, settings)[far, 3] > 2 * loss
    assert transfer_charge(image, chip, small()) is image


def test_small_packets_lose_a_larger_share():
    chip = Chip(2, 0, 5, 100)
    settings = small(cte_loss_percent=5.0)
    share = []
    for charge in (100.0, 10_000.0):
        image = np.zeros((100, 5))
        image[99, 2] = charge
        share.append(1.0 - transfer_charge(image, chip, settings)[99, 2] / charge)
    assert share[0] / share[1] == pytest.approx(100 ** (1 - CTE_EXPONENT), rel=1e-6)


# ---------------------------------------------------------------- geometry and scene


def test_a_residual_distortion_has_the_stated_size_and_is_in_the_truth():
    settings = small(residual_distortion_mas=20.0, n_columns=1000, n_rows=475)
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(-25, 25, 80), np.linspace(-25, 25, 80)))
    du, dv = (1e3 * (b - a) for a, b in zip((u, v), displace(settings, u, v), strict=True))
    for moved in (du, dv):
        assert np.sqrt(np.mean(moved**2)) == pytest.approx(20.0, rel=0.25)
    image = simulate_visit(small(residual_distortion_mas=100.0)).images[0]
    x, y = image.wcs_true.all_world2pix(image.truth["ra"], image.truth["dec"], 0)
    apart_mas = 50.0 * np.hypot(image.truth["x"] - x, image.truth["y"] - y)
    assert 20 < np.median(apart_mas) < 300


def test_one_chip_can_be_shifted_alone():
    settings = small(chip_shift_mas=30.0)
    u, v = np.array([0.0, 0.0]), np.array([-3.0, 3.0])
    du, dv = (b - a for a, b in zip((u, v), displace(settings, u, v), strict=True))
    assert_allclose(1e3 * du, [0.0, 30.0], atol=1e-9)
    assert_allclose(1e3 * dv, [0.0, -15.0], atol=1e-9)


def test_knots_take_their_share_of_the_light_and_are_no_objects():
    settings = small(galaxy_knot_percent=30.0, stars_per_arcmin2=50.0)
    scene = make_scene(settings)
    shown, share, whose = with_knots(settings, scene)
    n = int((~scene.is_star).sum())
    assert n > 3
    assert len(shown.u) == len(scene.u) + KNOTS_PER_GALAXY * n
    light = share * 10 ** (-0.4 * shown.mag)
    assert light.sum() == pytest.approx((10 ** (-0.4 * scene.mag)).sum())
    of_objects = np.bincount(whose, weights=light, minlength=len(scene.u))
    assert_allclose(of_objects, 10 ** (-0.4 * scene.mag))
    image = simulate_visit(settings).images[0]
    assert len(image.truth) == len(scene.u)


@pytest.mark.parametrize("filter_name", ["F435W", "F814W"])
def test_light_of_knots_is_in_the_truth_in_each_filter(filter_name):
    """Knots are blue: with half of the light they change a galaxy's magnitude by 0.08 and more."""
    settings = small(
        filters=(filter_name,), stars_per_arcmin2=0.0, galaxies_per_arcmin2=60.0,
        n_columns=600, n_rows=300,
    )  # fmt: skip
    smooth, knotty = (
        simulate_visit(settings.replace(galaxy_knot_percent=percent)).images[0]
        for percent in (0.0, 50.0)
    )
    truth = smooth.truth
    rows, columns = np.indices(smooth.model.shape)
    for k in np.argsort(truth["mag"]):  # the brightest one that lies on a chip
        near = np.hypot(columns - truth["x"][k], rows - truth["y"][k]) < 40
        if near.sum() > 5000 and np.all(smooth.wht[near] > 0):
            break
    found = [image.model[near].sum() / image.truth["rate"][k] for image in (smooth, knotty)]
    assert found[1] == pytest.approx(found[0], abs=0.02)
    change_mag = knotty.truth["mag"][k] - truth["mag"][k]
    assert abs(change_mag) > 0.07
    rate_ratio = knotty.truth["rate"][k] / truth["rate"][k]
    assert change_mag == pytest.approx(-2.5 * np.log10(rate_ratio))


def test_large_galaxies_are_in_the_truth_and_reach_far():
    settings = small(n_large_galaxies=1, stars_per_arcmin2=0.0, galaxies_per_arcmin2=0.0)
    image = simulate_visit(settings).images[0]
    assert len(image.truth) == 1
    assert image.truth["re"][0] > 2.0
    assert (image.model > 0)[image.wht > 0].mean() > 0.9
