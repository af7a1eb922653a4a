"""Objects in the exposures of an image, against what was simulated and what photutils sums."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from photutils.aperture import CircularAperture

import bycatch
from bycatch.catalogs.object_columns import looks
from bycatch.catalogs.tables import floats, read_table
from bycatch.images.chips import DQ_BAD, DQ_REJECTED, DQ_SATURATED
from bycatch.images.drc import read_drc
from bycatch.pipeline.objects import make_objects
from bycatch.pipeline.quality import exposure_files, read_quality
from bycatch.settings import Settings, SimulateSettings
from bycatch.simulate import read_truth, simulate_visit, write_visit
from bycatch.stages.exposure_light import (
    APERTURE_PX,
    ExposureLight,
    light_of_exposures,
    share_of_light,
    shows_the_same,
)

VARIATION = 0.3
"""By so much the variable star is brighter in one exposure."""


def simulated(home, **changes):
    settings = SimulateSettings(
        filters=("F606W",), n_exposures=(3,), n_columns=900, n_rows=430, seed=8,
        stars_per_arcmin2=120.0, mag_bright=19.0, mag_faint=25.0, galaxies_per_arcmin2=10.0,
        cosmic_ray_tracks="silicon", write_exposures=True,
    )  # fmt: skip
    return write_visit(simulate_visit(settings.replace(**changes)), home)


def chips_of(home, image):
    paths = exposure_files([chip.exposure for chip in image.meta.chips], [home / "exposures"])
    return read_quality(paths, image.meta.readnoise_e)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    home = tmp_path_factory.mktemp("exposures")
    files = simulated(home)
    image = read_drc(files.images[0])
    return home, image, chips_of(home, image), read_truth(home, image.meta.root).table


def lonely(truth, away_px=15.0):
    """Stars with nothing near, inside the image."""
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.diag(np.full(len(x), np.inf))
    return np.asarray(truth["star"]) & (apart.min(axis=1) > away_px)


def test_stars_have_their_rates_in_each_exposure_with_honest_errors(visit):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    light = light_of_exposures(image, stars["x"], stars["y"], chips)
    rate = np.asarray(stars["rate"], float)[:, np.newaxis]
    counts = light.counts
    assert light.rate.shape == (len(stars), 3)
    assert counts.sum() > 40
    bright = counts & (light.rate > 50 * light.err)
    share = np.median((light.rate / rate)[bright])
    assert share == pytest.approx(share_of_light(image.meta), rel=0.05)
    # Distortion changes the size of pixels by several percent over the field; rates not.
    assert np.std((light.rate / rate)[bright]) < 0.02 * share
    pulls = ((light.rate - share * rate) / light.err)[counts]
    low, high = np.percentile(pulls, [16, 84])
    assert 0.75 < (high - low) / 2 < 1.25
    assert np.mean(np.abs(pulls) > 3) < 0.05


def test_blank_places_have_the_error_of_the_sky(visit):
    _, image, chips, truth = visit
    random = np.random.default_rng(3)
    x, y = (random.uniform(20, n - 20, 1500) for n in image.shape[::-1])
    far = np.hypot(x[:, None] - np.asarray(truth["x"]), y[:, None] - np.asarray(truth["y"]))
    blank = far.min(axis=1) > 20
    light = light_of_exposures(image, x[blank], y[blank], chips)
    pulls = (light.rate / light.sky_err)[light.counts]
    low, middle, high = np.percentile(pulls, [16, 50, 84])
    assert len(pulls) > 500
    assert (high - low) / 2 == pytest.approx(1.0, abs=0.1)
    assert abs(middle) < 0.2


def test_hits_of_cosmic_rays_are_found(visit):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    light = light_of_exposures(image, stars["x"], stars["y"], chips)
    rate = share_of_light(image.meta) * np.asarray(stars["rate"], float)[:, np.newaxis]
    too_bright = np.isfinite(light.rate) & (light.rate - rate > 8 * light.err + 0.05 * rate)
    assert too_bright.sum() > 3
    assert light.is_hit[too_bright].mean() > 0.9
    assert light.is_hit[np.isfinite(light.rate)].mean() < 0.35


def test_the_sum_is_that_of_photutils(visit):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    light = light_of_exposures(image, stars["x"], stars["y"], chips)
    chip = next(c for c in chips if c.number == 2)
    column = light.exposures.index(chip.exposure)
    k = next(k for k in np.flatnonzero(light.counts[:, column]) if light.chip[k, column] == 2)
    at = (light.x[k, column], light.y[k, column])
    aperture = CircularAperture(at, APERTURE_PX)
    total = aperture.do_photometry(chip.sci.astype(float), method="exact")[0][0]
    ring = np.hypot(*(np.indices(chip.sci.shape)[::-1] - np.array(at)[:, None, None]))
    sky = np.median(chip.sci[(ring > 7) & (ring < 12)])
    # The pixels' size differs from the native one by a few percent.
    expected = (total - sky * aperture.area) / chip.exptime_s
    assert light.rate[k, column] == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize(
    ("bit", "what"), [(DQ_BAD, "missing"), (DQ_SATURATED, "full"), (DQ_REJECTED, "hit")]
)
def test_quality_of_the_core_is_heeded(visit, bit, what):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    light = light_of_exposures(image, stars["x"], stars["y"], chips)
    k, column = np.argwhere(light.counts & (light.rate > 20 * light.err))[0]
    name, number = light.exposures[column], light.chip[k, column]
    changed = []
    for chip in chips:
        dq = chip.dq.copy()
        if (chip.exposure, chip.number) == (name, number):
            dq[round(light.y[k, column]), round(light.x[k, column])] |= bit & -bit
        changed.append(replace(chip, dq=dq))
    after = light_of_exposures(image, stars["x"], stars["y"], changed)
    assert not after.counts[k, column]
    assert after.is_full[k, column] == (what == "full")
    assert after.is_hit[k, column] == (what == "hit")
    assert np.isfinite(after.rate[k, column]) == (what == "hit")
    others = light.counts.copy()
    others[k, column] = False
    assert (after.counts == others).all()


def test_positions_off_the_chips_and_unknown_ones_are_missing(visit):
    _, image, chips, _ = visit
    light = light_of_exposures(image, [-500.0, np.nan, 1e5], [10.0, 10.0, 1e5], chips)
    assert not light.counts.any()
    assert np.isnan(light.rate).all()
    assert np.isnan(light.departures()).all()
    empty = light_of_exposures(image, [], [], chips)
    assert empty.rate.shape == (0, 3)


def test_one_exposure_is_no_more_than_the_image(visit):
    _, image, chips, _ = visit
    one = [chip for chip in chips if chip.exposure == chips[0].exposure]
    assert light_of_exposures(image, [50.0], [50.0], one) is None
    assert light_of_exposures(image, [50.0], [50.0], ()) is None
    silent = [replace(chip, sci=None) for chip in chips]
    assert light_of_exposures(image, [50.0], [50.0], silent) is None


def test_departures_are_from_the_mean_of_what_counts():
    rate = np.array([[10.0, 13.0, 40.0], [1.0, np.nan, 3.0], [5.0, 6.0, 7.0]])
    hit = np.array([[False, False, True], [False, False, False], [True, True, True]])
    nothing = np.full(rate.shape, np.nan)
    light = ExposureLight(
        ("a", "b", "c"), np.array([100.0, 200.0, 100.0]), np.ones(rate.shape, int), nothing,
        nothing, rate, np.ones(rate.shape), np.ones(rate.shape), nothing, nothing, nothing, hit,
        np.zeros(rate.shape, bool),
    )  # fmt: skip
    assert light.departures()[0] == pytest.approx([-2.0, 1.0, 28.0])
    assert light.departures()[1] == pytest.approx([-1.0, np.nan, 1.0], nan_ok=True)
    assert np.isnan(light.departures()[2]).all()


def test_centres_in_the_exposures_are_those_of_the_stars(visit):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    light = light_of_exposures(image, stars["x"], stars["y"], chips)
    seen = light.counts & np.isfinite(light.dx_px)
    assert seen.sum() > 30
    assert light.counts[~seen & (light.rate > 20 * light.err)].sum() == 0
    for off in (light.dx_px, light.dy_px):
        pulls = (off / light.centroid_err_px)[seen]
        assert np.abs(np.median(off[seen])) < 0.05
        assert np.mean(np.abs(pulls) > 3) < 0.1


def off(chip, arcsec):
    """The chip with a WCS of another frame."""
    wcs = chip.wcs.deepcopy()
    wcs.wcs.crval = wcs.wcs.crval + np.array([0.0, arcsec / 3600.0])
    return replace(chip, wcs=wcs)


@pytest.mark.parametrize(("arcsec", "is_same"), [(0.0, True), (0.02, True), (0.3, False)])
def test_an_exposure_of_another_frame_does_not_show_the_same(visit, arcsec, is_same):
    _, image, chips, truth = visit
    stars = truth[lonely(truth)]
    moved = [off(c, arcsec) if c.exposure == chips[0].exposure else c for c in chips]
    light = light_of_exposures(image, stars["x"], stars["y"], moved)
    same = shows_the_same(image, stars["x"], stars["y"], light)
    assert same.tolist() == [is_same, True, True]
    kept = light.take(same)
    assert kept.exposures == tuple(np.array(light.exposures)[same])
    assert kept.rate.shape == kept.chip.shape == (len(stars), same.sum())
    np.testing.assert_array_equal(kept.rate, light.rate[:, same])
    np.testing.assert_array_equal(kept.exptime_s, light.exptime_s[same])
    few = light_of_exposures(image, stars["x"][:3], stars["y"][:3], moved)
    assert shows_the_same(image, stars["x"][:3], stars["y"][:3], few).all()


# ---------------------------------------------------------------- the chain


@pytest.fixture(scope="module")
def variable(tmp_path_factory):
    """A run on a visit in which one star is brighter in the second exposure."""
    home = tmp_path_factory.mktemp("variable")
    files = simulated(home, seed=9, cosmic_ray_share=0.0)
    image = read_drc(files.images[0])
    truth = read_truth(home, image.meta.root).table
    inside = np.hypot(truth["x"] - image.shape[1] / 2, truth["y"] - image.shape[0] / 4) < 150
    candidates = np.flatnonzero(lonely(truth) & inside & (np.asarray(truth["mag"]) < 23.5))
    star = int(candidates[np.argmax(np.asarray(truth["mag"])[candidates])])
    brighten(files.exposures[1], image, truth[star])
    out = home / "out"
    settings = Settings.load(
        assignments=[f"input.exposures_dir={home / 'exposures'}"], preset="deep"
    )
    run = bycatch.run(files.images, out, settings, bycatch.Inputs(gaia=home / "gaia.ecsv"))
    assert run.all_done
    (group,) = make_objects(out, settings)
    return group, truth, star


def brighten(path, image, star):
    """Raise the light of a star in one exposure."""
    with fits.open(path, mode="update") as hdus:
        for number in (1, 2):
            plane = hdus["SCI", number]
            wcs = WCS(plane.header, hdus)
            sky = image.wcs.all_pix2world([star["x"]], [star["y"]], 0)
            x, y = (float(v[0]) for v in wcs.all_world2pix(*sky, 0, quiet=True))
            ny, nx = plane.data.shape
            if not (10 < x < nx - 10 and 10 < y < ny - 10):
                continue
            rows, columns = np.indices(plane.data.shape)
            near = np.hypot(columns - x, rows - y) < 6
            level = np.median(plane.data)
            plane.data[near] += VARIATION * (plane.data[near] - level)


def test_a_star_that_varies_within_a_visit_is_found(variable):
    group, truth, star = variable
    table, epochs = group.objects(), group.epochs()
    ra, dec = truth["ra"][star], truth["dec"][star]
    away = np.hypot((table["ra"] - ra) * np.cos(np.radians(dec)), table["dec"] - dec) * 3600
    row = int(np.argmin(away))
    assert away[row] < 0.1
    assert table["p_variable_F606W"][row] > 0.9
    others = np.delete(floats(table, "p_variable_F606W"), row)
    assert np.nanmean(others > 0.9) < 0.02
    object_id = int(table["object_id"][row])
    curve = group.light_curve(object_id)
    assert len(curve) == 3
    assert len(set(curve["exposure"].tolist())) == 3
    assert (np.diff(curve.time.mjd) > 0).all()
    flux = np.asarray(curve["flux"], float)
    rest = flux[[0, 2]].mean()
    assert flux[1] / rest == pytest.approx(1 + VARIATION, abs=0.06)
    own = epochs[np.asarray(epochs["object_id"]) == object_id]
    whole = own[np.asarray(own["exposure"]) == ""]
    assert len(whole) == 1
    assert len(own) == 4
    assert flux.mean() == pytest.approx(float(whole["flux"][0]), rel=1e-4)
    in_images = group.light_curve(object_id, radius_px=4.0)
    assert len(in_images) == 1
    assert in_images["exposure"].tolist() == [""]


def test_rows_of_exposures_say_what_they_are(variable):
    group, _, _ = variable
    epochs = group.epochs()
    exposure = np.asarray(epochs["exposure"]).astype(str)
    of_one = epochs[exposure != ""]
    assert set(np.asarray(of_one["n_exp"])) == {1}
    assert not np.asarray(of_one["detected"]).any()
    assert set(np.asarray(of_one["ccdchip"])) == {1, 2}
    assert set(np.asarray(epochs[exposure == ""]["ccdchip"])) == {0}
    assert np.isnan(floats(of_one, "flux_4_apcor")).all()
    # The image is deeper than each of its exposures.
    limit = floats(epochs, "maglim")
    deeper = np.nanmedian(limit[exposure == ""]) - np.nanmedian(limit[exposure != ""])
    assert 0.1 < deeper < 1.0
    again = read_table(next(Path(group.folder).glob("*_epochs.parquet")))
    assert (np.asarray(again["exposure"]).astype(str) == exposure).all()


def test_an_exposure_of_another_frame_is_no_epoch_and_said(tmp_path, caplog):
    files = simulated(tmp_path, seed=9, cosmic_ray_share=0.0)
    with fits.open(files.exposures[0], mode="update") as hdus:
        for number in (1, 2):
            hdus["SCI", number].header["CRVAL2"] += 0.5 / 3600.0
    settings = Settings.load(
        assignments=[f"input.exposures_dir={tmp_path / 'exposures'}"], preset="deep"
    )
    out = tmp_path / "out"
    bycatch.run(files.images, out, settings, bycatch.Inputs(gaia=tmp_path / "gaia.ecsv"))
    with caplog.at_level("WARNING", logger="bycatch"):
        (group,) = make_objects(out, settings)
    name = files.exposures[0].name.split("_")[0]
    (said,) = [m for m in caplog.messages if "another frame" in m]
    assert name in said
    exposures = set(np.asarray(group.epochs()["exposure"]).astype(str).tolist())
    assert len(exposures) == 3  # the image as a whole, and two exposures
    assert name not in exposures


def test_a_light_curve_is_of_exposures_and_of_images_without():
    images = ["a", "a", "a", "b", "c"]
    exposures = ["", "one", "two", "", ""]
    assert looks(images, exposures).tolist() == [False, True, True, True, True]
    assert looks([], []).tolist() == []
