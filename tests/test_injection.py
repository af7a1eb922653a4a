"""Artificial sources: their PSF, light and noise, what counts as found, true completeness."""

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

from bycatch import photcal
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.injection_columns import INJECT
from bycatch.catalogs.tables import make_table, read_table
from bycatch.errors import SettingsError
from bycatch.images.drc import read_drc
from bycatch.kernels.exposures import box_fraction
from bycatch.pipeline import injection as pipe
from bycatch.settings import DetectSettings, Settings
from bycatch.simulate import (
    completeness,
    image_psf,
    injection,
    recovery,
    simulate_visit,
    trial,
    write_visit,
)
from bycatch.simulate.falling_curve import fit_curve
from bycatch.simulate.files import read_truth
from bycatch.simulate.psf import Mixture

SKY = 0.008
DEEP = ["inject.false_detections=false"]


@pytest.fixture
def blank(as_image):
    """Return a function that makes an image of noise, two exposures of 500 s by default."""

    def make(shape=(300, 320), noise=SKY, seed=1, hole=None, **options):
        sci = np.random.default_rng(seed).normal(0, noise, shape)
        if hole is not None:
            sci[hole] = np.nan
        return as_image(sci, **options)

    return make


def stars_table(x, y, rate, width=1.0):
    n = len(x)
    return Table(
        {
            "kind": np.full(n, injection.STAR),
            "mag": 25 - 2.5 * np.log10(rate),
            "rate": np.asarray(rate, float),
            "re_arcsec": np.zeros(n),
            "sersic_index": np.zeros(n),
            "axis_ratio": np.ones(n),
            "angle_deg": np.zeros(n),
            "width": np.full(n, width),
            "x": np.asarray(x, float),
            "y": np.asarray(y, float),
        }
    )


# ---------------------------------------------------------------- the PSF


def true_psf(image):
    """Return a PSF unlike the published one in its core, and like it from 10 px on."""
    start = image_psf.curve_psf(image).mixture
    sigma = np.where(start.sigma_x < 2, start.sigma_x * 1.08, start.sigma_x)
    return image_psf._normalise(Mixture(sigma, sigma, start.weight), image)


def field_of_stars(blank, n=40, spoiled=0, widths=None):
    image = blank((420, 440))
    mixture = true_psf(image)
    random = np.random.default_rng(5)
    yy, xx = np.mgrid[30:400:50, 30:420:50]
    x = xx.ravel()[:n] + random.uniform(-3, 3, n)
    y = yy.ravel()[:n] + random.uniform(-3, 3, n)
    rate = np.geomspace(20, 200, n)
    sci = image.sci.copy()
    axis_x, axis_y = np.arange(sci.shape[1]), np.arange(sci.shape[0])
    for k in range(n):
        width = 1.0 if widths is None else widths[k]
        sci += rate[k] * mixture.stamp(axis_x - x[k], axis_y - y[k], width, width)
    for k in range(spoiled):  # a cosmic ray of four pixels beside the core, and one in the wing
        column, row = round(x[k]) + 3, round(y[k]) - 2
        sci[row, column : column + 4] += 0.1 * rate[k]
        sci[row + 8, column - 6] += 3.0
    from dataclasses import replace

    return replace(image, sci=sci), mixture, x, y, rate


@pytest.mark.parametrize("spoiled", [0, 12])
def test_the_psf_of_an_image_is_that_of_its_stars(blank, spoiled):
    image, truth, x, y, rate = field_of_stars(blank, spoiled=spoiled)
    random = np.random.default_rng(8)
    n = len(x)
    stars = image_psf.PsfStars(
        x + random.normal(0, 0.05, n), y + random.normal(0, 0.05, n),
        rate * random.normal(1, 0.03, n), np.zeros(n),
    )  # fmt: skip
    psf = image_psf.image_psf(image, stars, SKY)
    assert psf.n_stars >= n - 3
    axis = np.arange(-15.0, 16)
    for dx, dy in ((0.0, 0.0), (0.5, 0.5), (-0.3, 0.2)):
        result, true = psf.star(axis - dx, axis - dy), truth.stamp(axis - dx, axis - dy, 1, 1)
        assert_allclose(result, true, atol=0.008 * true.max())
        assert result[11:20, 11:20].sum() == pytest.approx(true[11:20, 11:20].sum(), rel=0.005)
    assert np.std(psf.widths) < 0.012


def test_the_widths_of_the_stars_are_measured(blank):
    wanted = np.random.default_rng(3).normal(1.0, 0.03, 40)
    image, _, x, y, rate = field_of_stars(blank, widths=wanted)
    psf = image_psf.image_psf(image, image_psf.PsfStars(x, y, rate, np.zeros(len(x))), SKY)
    assert len(psf.widths) >= 36
    assert np.std(psf.widths) == pytest.approx(np.std(wanted), abs=0.008)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_with_few_stars_the_psf_is_the_published_one(blank, n):
    image, _, x, y, rate = field_of_stars(blank)
    psf = image_psf.image_psf(image, image_psf.PsfStars(x[:n], y[:n], rate[:n], x[:n] * 0), SKY)
    assert psf.n_stars == 0
    assert "published" in psf.note
    assert f"{n} good" in psf.note
    assert 1.8 < psf.fwhm_px < 2.5
    axis = np.arange(-30.0, 31)
    radius = np.hypot(axis[None, :], axis[:, None])
    curve = photcal.encircled_energy("WFC", "F775W")
    star = psf.star(axis, axis)
    for r in (4, 6, 10, 20):
        edge = np.clip(r + 0.5 - radius, 0, 1)  # the circle's edge, to a pixel's area
        assert (star * edge).sum() == pytest.approx(curve.at(r * 0.05), abs=0.01)


def test_stars_of_the_psf_are_isolated_bright_and_sharp():
    n = 7
    rate = np.array([100.0, 90, 80, 70, 60, 3, 50])
    data = {column.name: np.zeros(n) for column in CAT if "{r}" not in column.name}
    data |= {
        name: np.zeros(n)
        for name in ("err_4_apcor", "err_4_sys", "maglim_4", "mag_ab_4", "mag_ab_err_4")
    }
    data |= {
        "x_center": np.array([50.0, 100, 150, 200, 250, 205, np.nan]),
        "y_center": np.full(n, 50.0),
        "flux_4_apcor": rate * 1e-19,
        "snr_4": np.array([200.0, 200, 30, 200, 200, 60, 200]),
        "fwhm": np.array([2.1, 2.1, 2.1, 2.1, 4.0, 2.1, 2.1]),
        "cr_flag": np.array([0, 1, 0, 0, 0, 0, 0]),
        "p_star": np.ones(n),
    }
    catalog = make_table(CAT, data, (4.0,))
    phot = Table({"sky_median": np.full(n, 0.01)})
    result = image_psf.psf_stars(catalog, phot, (4.0,), 1e-19, 0.05, 1e-4)
    # Row 1 is a cosmic ray, 2 is faint, 4 wide; 5 is faint beside 3, whose neighbour counts little.
    assert 50.0 in result.x
    assert 200.0 in result.x
    assert not {100.0, 150.0, 250.0, 205.0} & set(result.x.tolist())
    assert_allclose(result.sky_rate[0], 0.01 - 100 * 1e-4)


# ---------------------------------------------------------------- light and noise


def test_a_galaxy_has_its_total_its_half_light_radius_and_its_angle(blank):
    psf = image_psf.curve_psf(blank((40, 40)))
    narrow = image_psf.ImagePsf(
        Mixture(np.array([0.35]), np.array([0.35]), np.ones(1)), np.ones(1), 0, ""
    )
    axis = np.arange(-60.0, 61)
    radius = np.hypot(axis[None, :], axis[:, None])
    for index in (1.0, 2.0):
        light = injection.galaxy(narrow, axis, axis, 8.0, index)
        assert light.sum() == pytest.approx(1.0, abs=0.02)
        inner = (light * np.clip(8.5 - radius, 0, 1)).sum()
        assert inner == pytest.approx(0.5, abs=0.02)
    long = injection.galaxy(narrow, axis, axis, 6.0, 1.0, axis_ratio=0.3, angle_deg=90.0)
    assert (long * axis[:, None] ** 2).sum() > 5 * (long * axis[None, :] ** 2).sum()
    # What has no size is a star.
    core = slice(54, 67)
    point = injection.galaxy(psf, axis, axis, 1e-3, 1.0)[core, core]
    assert_allclose(point, psf.star(axis, axis)[core, core], rtol=0.15, atol=2e-3)


def test_added_light_sums_to_what_was_asked_for(blank):
    image = blank(noise=0.0001)
    psf = image_psf.curve_psf(image)
    sources = stars_table([100.3, 200.8], [150.6, 80.1], [50.0, 800.0])
    random = np.random.default_rng(2)
    changed, table = injection.with_sources(image, sources, psf, SKY, random)
    added = changed.sci - image.sci
    curve = photcal.encircled_energy("WFC", "F775W")
    y, x = np.indices(added.shape)
    for row in table:
        near = np.hypot(x - row["x"], y - row["y"]) <= 10
        assert added[near].sum() == pytest.approx(curve.at(0.5) * row["rate"], rel=0.02)
        fraction = photcal.aperture_fractions(curve, [4.0], 0.05, (10.0, 15.0))[0]
        assert row["aperture_rate"] == pytest.approx(fraction * row["rate"], rel=0.025)
    assert not image.sci.flags.writeable
    assert not changed.sci.flags.writeable
    assert table["n_exp"].tolist() == [2, 2]


@pytest.mark.parametrize("n_exposures", [1, 3])
def test_the_noise_of_added_light_is_that_of_counts_in_sums_and_less_in_pixels(blank, n_exposures):
    image = blank((40, 40), n_exposures=n_exposures)
    light, seconds = np.full((40, 40), 0.05), np.full((40, 40), 1000.0)
    random = np.random.default_rng(4)
    draws = np.array([
        injection.poisson_noise(light, seconds, n_exposures, image, random) for _ in range(400)
    ])  # fmt: skip
    sums = draws[:, 8:32, 8:32].sum(axis=(1, 2))
    # The sum of 24 x 24 pixels, less the share of the rim that counts twice.
    expected = np.sqrt(0.05 * 24**2 / 1000.0)
    assert sums.std() == pytest.approx(expected, rel=0.12)
    assert abs(sums.mean()) < 4 * expected / np.sqrt(400)
    single = draws[:, 10:30, 10:30].std()
    # A square drop of one pixel at a random phase keeps 2/3 of the scatter (R = 1.5).
    assert single == pytest.approx(np.sqrt(0.05 / 1000.0) * 2 / 3, rel=0.06)


@pytest.mark.parametrize("drop_px", [0.3, 0.8, 1.0, 1.7])
@pytest.mark.parametrize("phase_px", [-0.5, 0.0, 0.21])
def test_a_drop_is_shared_out_whole(drop_px, phase_px):
    shares = injection._overlaps(drop_px, phase_px)
    assert shares.sum() == pytest.approx(1.0)
    fine = np.linspace(phase_px - drop_px / 2, phase_px + drop_px / 2, 20001)
    n = len(shares) // 2
    counted = np.histogram(fine, np.arange(-n - 0.5, n + 1))[0] / len(fine)
    assert_allclose(shares, counted, atol=2e-4)


def test_sources_at_borders_and_gaps_leave_missing_pixels_missing(blank):
    image = blank((60, 80), hole=np.s_[20:30, :])
    psf = image_psf.curve_psf(image)
    sources = stars_table([0.2, 79.4, 40.0], [0.0, 59.4, 31.0], [50.0, 50.0, 50.0])
    changed, table = injection.with_sources(image, sources, psf, SKY, np.random.default_rng(1))
    assert np.array_equal(np.isnan(changed.sci), np.isnan(image.sci))
    assert (changed.sci - image.sci)[0, 0] > 1
    assert (changed.sci - image.sci)[59, 79] > 1
    assert len(table) == 3
    empty, nothing = injection.with_sources(image, sources[:0], psf, SKY, np.random.default_rng(1))
    assert np.array_equal(empty.sci, image.sci, equal_nan=True)
    assert len(nothing) == 0


def test_pixels_do_not_rise_above_the_full_well(blank):
    image = blank((60, 60))
    psf = image_psf.curve_psf(image)
    sources = stars_table([30.0], [30.0], [5000.0])
    changed, table = injection.with_sources(image, sources, psf, SKY, np.random.default_rng(1))
    full = image.meta.full_well_e / image.meta.exptime_per_exposure_s
    assert changed.sci.max() == pytest.approx(full)
    assert table["saturated"][0]


# ---------------------------------------------------------------- which, and where


def test_the_expected_limit_is_where_enough_pixels_rise_above_the_threshold():
    profile = np.zeros((41, 41))
    y, x = np.indices(profile.shape)
    profile[:] = np.exp(-0.5 * ((x - 20) ** 2 + (y - 20) ** 2) / 9.0)
    profile /= profile.sum()
    settings = DetectSettings(n_pixels=30, n_pixels_single=60, n_sigma=2.0)
    from bycatch.kernels.smoothing import gaussian_kernel, smooth_image

    light = smooth_image(
        profile.astype(np.float32), np.ones((41, 41), bool), gaussian_kernel(2.5, 3)
    )
    for single, needed in ((False, 30), (True, 60)):
        rate = injection.limiting_rate(profile, 0.01, settings, single=single)
        assert (light * rate * 1.0001 >= 0.02).sum() >= needed
        assert (light * rate * 0.99 > 0.02).sum() < needed


def test_sources_lie_about_the_limit_and_do_not_saturate(blank):
    image = blank()
    psf = image_psf.curve_psf(image)
    settings = Settings.load(assignments=["inject.n_sources=400"])
    sources = injection.artificial_sources(
        image, psf, SKY, 25.0, settings.detect, settings.inject, np.random.default_rng(1)
    )
    star = np.asarray(sources["kind"]) == "star"
    assert star.sum() == 200
    assert sorted(set(sources["re_arcsec"].tolist())) == [0.0, 0.1, 0.2, 0.4]
    axis = np.arange(-30.0, 31)
    limit = injection.limiting_rate(psf.star(axis, axis), SKY, settings.detect, single=False)
    offset = np.asarray(sources["mag"])[star] - (25 - 2.5 * np.log10(limit))
    assert offset.max() <= 1.5 + 1e-9
    assert np.mean(np.abs(offset) < 1.5) > 0.55
    peak = np.asarray(sources["rate"])[star] * psf.star(np.zeros(1), np.zeros(1))[0, 0]
    assert peak.max() <= 0.8 * image.meta.saturation_rate * 1.001
    none = settings.inject.replace(half_light_arcsec=())
    only = injection.artificial_sources(
        image, psf, SKY, 25.0, settings.detect, none, np.random.default_rng(1)
    )
    assert set(only["kind"].tolist()) == {"star"}


def test_places_keep_apart_and_stay_on_the_data():
    valid = np.ones((300, 500), dtype=bool)
    valid[100:140] = False
    x, y = injection.places(valid, 40.0, 20, 0.98, np.random.default_rng(3))
    assert len(x) > 40
    assert valid[np.rint(y).astype(int), np.rint(x).astype(int)].all()
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + np.eye(len(x)) * 1e9
    assert distance.min() >= 20
    assert not ((y > 92) & (y < 148)).any()
    x, _ = injection.places(np.zeros((50, 60), dtype=bool), 40.0, 20, 0.98,
                            np.random.default_rng(3))  # fmt: skip
    assert len(x) == 0


# ---------------------------------------------------------------- what counts as found


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([], [], "lost"),
        ([], [(50.4, 50.3, 24.2, 0)], "kept"),
        ([], [(50.4, 50.3, 24.2, 1)], "cosmic ray"),
        ([], [(53.0, 50.3, 24.2, 0)], "lost"),  # too far
        ([], [(50.4, 50.3, 26.0, 0)], "lost"),  # something else
        ([(50.2, 50.0, 22.0, 0)], [(50.2, 50.0, 21.9, 0)], "blended"),
        ([(50.2, 50.0, 23.9, 0)], [(50.2, 50.0, 23.2, 0)], "blended"),  # a brighter one was there
        ([(50.2, 50.0, 26.5, 0)], [(50.2, 50.0, 23.9, 0)], "kept"),  # a fainter one was there
        ([(50.2, 50.0, 24.3, 0)], [(50.2, 50.0, 24.3, 0)], "blended"),  # and nothing changed
        ([(50.2, 50.0, 26.5, 0)], [(50.2, 50.0, 26.5, 0)], "lost"),
        ([(50.2, 50.0, np.nan, 0)], [(50.2, 50.0, np.nan, 0)], "lost"),
    ],
)
def test_found_is_what_was_not_there_before_and_is_as_bright_as_it_should(
    blank, catalogued, before, after, outcome
):
    image = blank((60, 60))
    settings = Settings()
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    sources = stars_table([50.0], [50.0], [10 ** (-0.4 * (24.0 - zeropoint))])
    sources["aperture_rate"] = sources["rate"] * 0.9
    sources["n_exp"], sources["saturated"] = 2, False
    table = recovery.recovery_columns(
        sources, catalogued(after, SKY), catalogued(before, SKY), image, settings
    )
    assert table["outcome"][0] == outcome
    assert table["found"][0] == (outcome in ("kept", "cosmic ray"))
    assert table["kept"][0] == (outcome == "kept")
    assert table["mag_expected"][0] == pytest.approx(24.0)


def test_a_cosmic_ray_by_its_probability_counts_as_one(catalogued):
    made = catalogued([(50.0, 50.0, 24.0, 0), (10.0, 10.0, 24.0, 0)], SKY)
    made.catalog["p_cr"] = [0.9, 0.1]
    assert recovery.is_cosmic_ray(made.catalog).tolist() == [True, False]


# ---------------------------------------------------------------- tables


def made_up(mag, found, kind="star", n_exp=1, size=0.0, kept=None):
    n = len(mag)
    data = {c.name: np.zeros(n) for c in INJECT}
    kept = found if kept is None else kept
    data |= {
        "id": np.arange(n) + 1, "kind": np.full(n, kind), "mag": mag, "found": found, "kept": kept,
        "called_cr": found & ~kept, "outcome": np.full(n, "kept"), "re_arcsec": np.full(n, size),
        "n_exp": np.broadcast_to(n_exp, n), "mag_expected": mag, "mag_measured": mag + 0.1,
    }  # fmt: skip
    return make_table(INJECT, data)


def test_completeness_counts_by_magnitude_and_depth():
    mag = np.array([24.1, 24.2, 24.4, 24.6, 24.9])
    result = np.array([True, True, False, True, False])
    mask = np.array([True, False, False, True, False])
    table = recovery.completeness_table(made_up(mag, result, n_exp=[1, 1, 2, 2, 2], kept=mask), 0.5)
    whole = table[table["n_exp"] == 0]
    assert whole["mag_low"].tolist() == [24.0, 24.5]
    assert whole["n"].tolist() == [3, 2]
    assert whole["n_found"].tolist() == [2, 1]
    assert whole["n_kept"].tolist() == [1, 1]
    assert_allclose(whole["called_cr"], [0.5, 0.0])
    assert_allclose(whole["mag_bias"], 0.1)
    assert set(table["n_exp"].tolist()) == {0, 1, 2}
    assert len(recovery.completeness_table(made_up(mag[:0], result[:0]), 0.5)) == 0


def test_intervals_are_wilsons():
    # 8 of 10 at 95 %: 0.4902 to 0.9433 (Brown, Cai & DasGupta 2001, Statist. Sci. 16, 101).
    low, high = recovery.wilson(np.array([8.0, 0.0, 0.0]), np.array([10.0, 10.0, 0.0]), 1.959964)
    assert_allclose(low[:2], [0.4902, 0.0], atol=2e-4)
    assert_allclose(high[:2], [0.9433, 0.2775], atol=2e-4)
    assert (low[2], high[2]) == (0.0, 1.0)


def test_limits_are_those_of_the_curve_that_the_sources_were_drawn_from():
    random = np.random.default_rng(7)
    pulls = []
    for _ in range(12):
        mag = random.uniform(22, 28, 1500)
        share = 1 / (1 + np.exp((mag - 26.0) / 0.25))
        yes = random.uniform(size=1500) < share
        for level in (0.5, 0.9):
            limit, error = recovery.limit_and_error(mag, yes, level)
            true = 26.0 + 0.25 * np.log(1 / level - 1)
            assert limit == pytest.approx(true, abs=0.35)
            pulls.append((limit - true) / error)
    assert 0.6 < np.std(pulls) < 1.5
    assert abs(np.mean(pulls)) < 0.6


def test_a_few_losses_among_bright_sources_do_not_set_the_limit():
    """Of 400 bright ones 20 are hidden by neighbours: nine in ten are found far fainter."""
    random = np.random.default_rng(5)
    mag = random.uniform(18, 26, 800)
    yes = random.uniform(size=800) < 0.95 / (1 + np.exp((mag - 23.4) / 0.15))
    yes[np.argsort(mag)[:12:3]] = False
    limit, error = recovery.limit_and_error(mag, yes, 0.9)
    true = 23.4 + 0.15 * np.log(0.95 / 0.9 - 1)
    assert limit == pytest.approx(true, abs=0.4)
    assert 0.02 < error < 0.5


def test_a_curve_of_two_steps_is_followed():
    """In single exposures faint sources are called cosmic rays long before the noise hides them."""
    random = np.random.default_rng(6)
    mag = random.uniform(20, 28, 3000)
    share = 0.5 / (1 + np.exp((mag - 23.0) / 0.2)) + 0.5 / (1 + np.exp((mag - 26.0) / 0.2))
    curve = fit_curve(mag, random.uniform(size=3000) < share)
    assert len(curve.parameters) == 6
    assert curve.at(np.array([21.0, 24.5, 27.5])) == pytest.approx([1, 0.5, 0], abs=0.05)
    one = fit_curve(mag, random.uniform(size=3000) < 1 / (1 + np.exp((mag - 24.0) / 0.3)))
    assert len(one.parameters) == 3


def test_limits_that_are_not_reached_are_none():
    mag = np.linspace(22, 28, 100)
    assert recovery.limit_and_error(mag, np.ones(100, bool), 0.5) == (None, None)
    assert recovery.limit_and_error(mag, np.zeros(100, bool), 0.5) == (None, None)
    assert recovery.limit_and_error(mag[:5], mag[:5] < 22.1, 0.5) == (None, None)


def test_false_detections_by_magnitude():
    mag = [24.1, 24.2, 25.1, 25.2, np.nan]
    mask = [True, True, True, False, True]
    table = recovery.purity_of(mag, mask, [25.3, 25.4, np.nan], 0.5)
    assert table["mag_low"].tolist() == [24.0, 24.5, 25.0]
    assert table["n"].tolist() == [2, 0, 2]
    assert table["n_kept"].tolist() == [2, 0, 1]
    assert table["n_negative"].tolist() == [0, 0, 2]
    assert table["false_share"][0] == 0
    assert table["false_share"][2] == 1
    assert table["false_share"].mask[1]
    assert len(recovery.purity_of([], [], [], 0.5)) == 0


def test_cosmic_rays_that_are_kept_count_as_false():
    mag, p_cr = [24.1, 24.2, 24.3, 24.4], np.array([0.1, 0.3, 0.9, np.nan])
    table = recovery.purity_of(mag, [True, True, False, True], [24.4], 0.5, p_cr)
    assert table["n_cosmic_ray"].tolist() == pytest.approx([0.4])
    assert table["false_share"].tolist() == pytest.approx([1.4 / 3])


# ---------------------------------------------------------------- all of it


def small_run(image, **more):
    names = {"n_sources": 40, "spacing_px": 60, **more}
    arguments = [f"inject.{name}={value}" for name, value in names.items()]
    return Settings.load(preset="deep", assignments=[*DEEP, *arguments])


def test_the_same_seed_gives_the_same_sources_and_an_empty_field_is_complete(blank):
    image = blank((330, 360))
    first = completeness.inject_image(image, small_run(image))
    second = completeness.inject_image(image, small_run(image))
    other = completeness.inject_image(image, small_run(image, seed=2))
    assert np.array_equal(first.sources["mag_measured"].filled(-1),
                          second.sources["mag_measured"].filled(-1))  # fmt: skip
    assert not np.array_equal(first.sources["x"], other.sources["x"])
    assert first.psf.n_stars == 0
    assert len(first.sources) == 40
    assert first.n_runs > 1
    mag, result = np.asarray(first.sources["mag"]), np.asarray(first.sources["found"])
    for kind in ("star", "galaxy"):
        rows = np.asarray(first.sources["kind"]) == kind
        bright = rows & (mag < np.sort(mag[rows])[4])
        assert result[bright].all()
    assert len(first.purity) == 0
    assert first.summary()["n_injected"] == 40


def test_the_negative_of_an_image_without_sources_has_as_many_false_ones(blank):
    image = blank((500, 520))
    # A threshold so low that noise is found.
    settings = Settings.load(
        preset="deep", assignments=["inject.n_sources=1", "detect.n_sigma=0.7", "detect.n_pixels=5"]
    )
    table = completeness.inject_image(image, settings).purity
    n, n_negative = int(table["n"].sum()), int(table["n_negative"].sum())
    assert n > 30
    assert abs(n - n_negative) < 5 * np.sqrt(n + n_negative)


def test_an_image_without_room_for_sources_gives_empty_tables(blank):
    image = blank((120, 120), hole=np.s_[::5, :])  # too many gaps for the coverage rule
    result = completeness.inject_image(image, small_run(image))
    assert len(result.sources) == 0
    assert len(result.completeness) == 0
    assert result.limits == []
    assert result.summary()["stars_called_cr"] is None


def test_a_small_image_gets_fewer_sources_than_wanted_rather_than_endless_runs(blank):
    image = blank((150, 150))
    result = completeness.inject_image(image, small_run(image, max_runs=2))
    assert result.n_runs == 2
    assert 0 < len(result.sources) < 40


def test_the_command_writes_tables_and_figure(done, bycatch):
    result = bycatch(
        "inject", done, "--set", "inject.n_sources=20", "--set", "inject.spacing_px=40"
    )
    assert result.status == 0, result.out + result.err
    assert "star" in result.out
    folder = next(done.glob("*/F775W"))
    sources = read_table(next(folder.glob("*_inject.ecsv")))
    assert 0 < len(sources) <= 20
    assert sources.meta["SETTINGS"]["inject"]["n_sources"] == 20
    assert sources.meta["LIMITS"]
    assert next(folder.glob("*_completeness.png")).stat().st_size > 10_000
    assert len(read_table(next(folder.glob("*_completeness.ecsv"))))
    purity = read_table(next(folder.glob("*_purity.ecsv")))
    assert "not counted: pieces of real sources" in purity.meta["NOTE"]


def test_the_command_needs_the_folder_of_a_run(tmp_path, bycatch):
    result = bycatch("inject", tmp_path / "nothing")
    assert result.status == 2
    assert "no such folder" in result.err
    with pytest.raises(SettingsError, match="no image in it"):
        pipe.inject(tmp_path, Settings())


def test_injected_completeness_is_the_true_one(tmp_path):
    """Stars like the true ones are found as often as these are."""
    settings = Settings.load(
        preset="deep",
        assignments=[
            *DEEP, 'simulate.filters=["F606W"]', "simulate.n_exposures=[2]",
            "simulate.n_columns=700", "simulate.n_rows=330", "simulate.stars_per_arcmin2=500",
            "simulate.mag_bright=20", "simulate.mag_faint=28.5",
        ],
    )  # fmt: skip
    visit = write_visit(simulate_visit(settings.simulate), tmp_path)
    image = read_drc(visit.images[0])
    truth = read_truth(tmp_path, image.meta.root).table
    ny, nx = image.shape
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    inside = (x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)
    inside &= box_fraction(image.valid, x, y, 60) >= 0.9
    stars = truth[inside & np.asarray(truth["star"])]
    at = np.rint(stars["y"]).astype(int), np.rint(stars["x"]).astype(int)
    stars = stars[image.valid[at]]
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    mag = zeropoint - 2.5 * np.log10(np.asarray(stars["rate"]))
    random = np.random.default_rng(1)
    rate = np.asarray(stars["rate"])[random.integers(0, len(stars), 350)]
    wanted = stars_table(np.zeros(350), np.zeros(350), rate)
    wanted["mag"] = zeropoint - 2.5 * np.log10(rate)
    settings = settings.replace(
        detect=settings.detect.replace(min_coverage=0.9, coverage_box_px=60)
    )
    result = completeness.inject_image(image, settings, wanted)
    assert result.psf.n_stars >= 5
    made = trial.trial(image, settings)
    true_found = recovery.matches(
        np.asarray(stars["x"]), np.asarray(stars["y"]), mag, np.full(len(mag), 1.5), made.catalog,
        np.ma.filled(made.catalog["mag_ab_4"], np.nan), 1.0,
    ) >= 0  # fmt: skip
    injected, outcome = np.asarray(result.sources["mag"]), np.asarray(result.sources["found"])
    total = 0.0
    for low, high in ((20, 25), (25, 26.5), (26.5, 27.25), (27.25, 28.5)):
        a, b = (mag >= low) & (mag < high), (injected >= low) & (injected < high)
        assert a.sum() >= 8
        assert b.sum() >= 8
        share = (true_found[a].sum() + outcome[b].sum() + 0.5) / (a.sum() + b.sum() + 1)
        variance = share * (1 - share) * (1 / a.sum() + 1 / b.sum())
        total += (true_found[a].mean() - outcome[b].mean()) ** 2 / variance
    assert 0.4 < outcome.mean() < 0.95
    assert total < 18.5  # 0.1 % for 4 bins
    kept = result.sources[np.asarray(result.sources["kept"]) & (injected < 25)]
    bias = np.median(np.asarray(kept["mag_measured"]) - np.asarray(kept["mag_expected"]))
    assert abs(bias) < 0.015
