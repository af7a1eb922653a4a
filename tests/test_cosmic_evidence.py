"""Light or charge: patterns, holes of the weight, and what the exposures say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from bycatch.images.chips import ChipQuality, rays_of
from bycatch.images.drc import read_drc
from bycatch.pipeline.quality import exposure_files, read_quality
from bycatch.settings import SimulateSettings
from bycatch.simulate import simulate_visit, write_visit
from bycatch.simulate.files import read_truth
from bycatch.stages.measure import patterns
from bycatch.stages.measure.exposure_charge import charge_of_exposures
from bycatch.stages.measure.remains import remains

KNOWN = patterns.patterns(2.2, 1.0, 1.0)


def fit(stamp, noise=1.0):
    light, variance = patterns.with_errors(stamp, np.full((len(stamp), 1), noise**2), 1e9)
    return patterns.fit_patterns(light, variance, KNOWN)


def test_patterns_of_light_are_light_and_those_of_charge_are_charge():
    result = fit(50.0 * KNOWN.values)
    assert (result.charge[KNOWN.is_charge] > 3).all()
    assert (result.charge[~KNOWN.is_charge] < 0).mean() > 0.95
    assert (result.misfit[~KNOWN.is_charge] < 0.1).all()


def test_noise_alone_says_little():
    noise = np.random.default_rng(1).normal(0, 1, (200, KNOWN.values.shape[1]))
    result = fit(noise)
    assert abs(np.median(result.charge)) < 1.0
    assert np.median(result.misfit) == pytest.approx(0.75, abs=0.25)


def test_a_level_changes_nothing_and_missing_pixels_are_left_out():
    star = 50.0 * KNOWN.values[:3].astype(float)
    before = fit(star)
    image = star.astype(np.float32)
    variance = np.ones_like(image)
    with_level = patterns.fit_patterns(image + np.float32(7.0), variance, KNOWN)
    assert with_level.gain == pytest.approx(
        patterns.fit_patterns(image, variance, KNOWN).gain, rel=1e-3
    )
    holed = star.copy()
    holed[:, 0] = np.nan
    assert np.isfinite(fit(holed).charge).all()
    assert fit(holed).charge == pytest.approx(before.charge, rel=0.3)


@pytest.mark.parametrize("native_px", [1.0, 5 / 3])
@pytest.mark.parametrize("pixfrac", [0.6, 1.0])
def test_drizzling_keeps_a_level_and_the_light_of_a_pixel(native_px, pixfrac):
    flat = np.ones((9, 9))
    image = patterns.drizzled(flat, (0.2, -0.3), native_px, pixfrac, 3)
    assert image[image > 0] == pytest.approx(1.0)
    one = np.zeros((9, 9))
    one[4, 4] = 1.0
    if pixfrac == 1.0:
        spread = patterns.drizzled(one, (0.2, -0.3), native_px, pixfrac, 4)
        assert spread.sum() == pytest.approx(native_px**2)


def test_what_was_not_drizzled_has_no_phases_of_the_output():
    raw = patterns.patterns(2.2, 1.0, 0.01)
    assert raw.is_charge.sum() * len(patterns.PHASES) ** 2 == KNOWN.is_charge.sum()


# ---------------------------------------------------------------- holes of the weight


def stacked(as_image, hole, light):
    image = as_image(light)
    seconds = np.full(light.shape, 1000.0, np.float32)
    seconds[hole] = 500.0
    n_exp = np.full(light.shape, 2, np.int16)
    return replace(image, exptime_map_s=seconds, n_exp=n_exp)


def remains_of(image, x=20, y=20):
    at = np.array([x]), np.array([y])
    stamp = patterns.stamps(image.sci, *at, KNOWN.dx, KNOWN.dy)
    light, variance = patterns.with_errors(stamp, np.full((1, 1), 1e-4), 1e9)
    fits = patterns.fit_patterns(light, variance, KNOWN)
    return remains(image, *at, light, variance, KNOWN, fits)


def star_at(x, y, shape=(41, 41), flux=10.0):
    v, u = np.mgrid[: shape[0], : shape[1]]
    profile = np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / 0.95**2)
    return (flux * profile / profile.sum()).astype(np.float32)


def test_a_star_shines_in_the_hole_and_a_skirt_does_not(as_image):
    hole = np.s_[20:22, 21:23]
    star = remains_of(stacked(as_image, hole, star_at(20, 20)))
    ring = np.zeros((41, 41), np.float32)
    ring[19:23, 20:24] = 1.0
    ring[hole] = 0.0
    skirt = remains_of(stacked(as_image, hole, ring))
    assert star.near[0] == skirt.near[0] > 0
    assert skirt.contrast[0] < -2 < star.contrast[0]
    assert skirt.ring[0] > -1 > star.ring[0] + 5
    assert skirt.beside[0] > star.beside[0]


def test_a_whole_weight_and_a_single_exposure_have_no_holes(as_image):
    light = star_at(20, 20)
    whole = stacked(as_image, np.s_[0:0, 0:0], light)
    one = replace(whole, n_exp=np.ones(light.shape, np.int16))
    for image in (whole, one):
        result = remains_of(image)
        values = (result.core, result.near, result.ring, result.contrast)
        assert [float(v[0]) for v in values] == [0.0] * 4


# ---------------------------------------------------------------- exposures


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    home = tmp_path_factory.mktemp("visit")
    settings = SimulateSettings(
        filters=("F606W",), n_exposures=(2,), n_columns=300, n_rows=140, seed=5,
        stars_per_arcmin2=400.0, mag_bright=21.0, mag_faint=23.0, galaxies_per_arcmin2=0.0,
        cosmic_ray_tracks="silicon", reject_sigma=1000.0, reject_beside_sigma=1000.0,
        write_exposures=True,
    )  # fmt: skip
    files = write_visit(simulate_visit(settings), home)
    assert len(files.exposures) == 2
    image = read_drc(files.images[0])
    paths = exposure_files([chip.exposure for chip in image.meta.chips], [home / "exposures"])
    assert paths == list(files.exposures)
    return home, image, read_quality(paths, image.meta.readnoise_e)


def test_written_exposures_have_the_distortion_and_the_frame_of_the_image(visit):
    """SIP of a quadratic is exact: stars lie where the drizzled image has them."""
    home, image, chips = visit
    objects = read_truth(home, image.meta.root).table
    x, y = np.asarray(objects["x"]), np.asarray(objects["y"])
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    offsets = []
    for chip in chips:
        cx, cy = chip.wcs.all_world2pix(ra, dec, 0, quiet=True)
        back = chip.wcs.all_pix2world(cx, cy, 0)
        assert back[0] == pytest.approx(ra, abs=1e-8)
        ny, nx = chip.dq.shape
        for u, v in zip(cx, cy, strict=True):
            if 6 < u < nx - 6 and 6 < v < ny - 6:
                i, j = round(v), round(u)
                box = chip.sci[i - 2 : i + 3, j - 2 : j + 3]
                weight = np.maximum(box - np.median(chip.sci), 0)
                rows, columns = np.mgrid[-2:3, -2:3]
                offsets.append(
                    (
                        j + (weight * columns).sum() / weight.sum() - u,
                        i + (weight * rows).sum() / weight.sum() - v,
                    )
                )
    assert len(offsets) > 20
    assert np.abs(np.median(offsets, axis=0)).max() < 0.1


def test_exposures_distinguish_stars_from_charge(visit):
    home, image, chips = visit
    truth = read_truth(home, image.meta.root)
    stars = np.asarray(truth.table["x"]), np.asarray(truth.table["y"])
    ny, nx = image.shape
    inside = (stars[0] > 40) & (stars[0] < nx - 40) & (stars[1] > 40) & (stars[1] < ny - 40)
    reference = charge_of_exposures(image, stars[0][inside], stars[1][inside], chips, 2.2)
    both = reference.n_looking == 2
    assert both.sum() > 10
    assert np.median(reference.alone[both]) < -3
    assert np.median(reference.charge[both]) < -3
    assert np.median(reference.marked[both]) < 0.1
    light = np.where(truth.cosmic_rays & (truth.model < 0.002), image.sci, 0)
    rows, columns = np.unravel_index(np.argsort(light, axis=None)[::-1][:40], image.shape)
    rays = charge_of_exposures(image, columns, rows, chips, 2.2)
    both = rays.n_looking == 2
    assert both.sum() > 10
    assert np.median(rays.alone[both]) > 3
    assert np.median(rays.charge[both]) > 3
    assert np.median(rays.marked[both]) > 0.8


def test_exposures_without_pixels_or_time_say_nothing(visit):
    _, image, chips = visit
    assert charge_of_exposures(image, [10.0], [10.0], (), 2.2) is None
    assert charge_of_exposures(image, [np.nan], [10.0], chips, 2.2) is None
    for change in ({"sci": None}, {"exptime_s": 0.0}):
        silent = [replace(chip, **change) for chip in chips]
        assert charge_of_exposures(image, [10.0], [10.0], silent, 2.2) is None
    off = charge_of_exposures(image, [-500.0], [10.0], chips, 2.2)
    assert off.n_looking.tolist() == [0]
    assert off.alone.tolist() == [0.0]


def test_lacosmic_finds_the_charge_of_an_exposure():
    random = np.random.default_rng(1)
    sci = random.normal(50, 8, (80, 80)).astype(np.float32)
    sci += 3000 * star_at(40, 40, sci.shape, 1.0)
    sci[20, 20:23] += 400
    result = rays_of(sci, np.zeros(sci.shape, bool), 16.0)
    assert result[20, 20:23].all()
    assert not result[38:43, 38:43].any()


def test_bad_pixels_of_an_exposure_do_not_count():
    chip_sci = np.full((5, 5), 10.0, np.float32)
    chip_sci[2, 2] = np.nan
    dq = np.zeros((5, 5), np.int32)
    dq[0, 0], dq[1, 1] = 4, 16
    chip = ChipQuality(dq, WCS(naxis=2), chip_sci, 100.0)
    plane, good = chip.light, chip.good
    assert not good[2, 2]
    assert not good[0, 0]
    assert good[1, 1]
    assert plane[2, 2] == 0
