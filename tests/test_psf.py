"""PSF photometry: the PSF from the image's stars, fits of all stars at once, and what becomes of
them in the catalog."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from photutils.psf import GriddedPSFModel
from scipy.ndimage import convolve1d

import bycatch
from bycatch import Settings, read_table
from bycatch.catalogs.flags import Flag
from bycatch.images.drc import read_drc
from bycatch.kernels import psf_fit, psf_grid, psf_search, psf_solve
from bycatch.pipeline.stored_psf import stored_psf
from bycatch.report.image import Budget, payload
from bycatch.report.products import read_folder
from bycatch.report.psf import psf_pictures
from bycatch.settings import PsfSettings
from bycatch.simulate import recovery
from bycatch.simulate.completeness import inject_image
from bycatch.simulate.trial import trial
from bycatch.stages import psf, star_rows
from bycatch.stages.finalize.psf_total import PsfScale, psf_scale
from bycatch.stages.psf import choice, fit, noise
from bycatch.stages.psf.model import published_psf
from bycatch.stages.psf.table import columns_of
from bycatch.stages.star_rows import with_places
from bycatch.testing.scene import drc_hdus, moffat

SHAPE = (300, 320)
NOISE, EXPTIME_S = 0.01, 1000.0
SMEAR = [0.1, 0.8, 0.1]


def stars_on(shape, x, y, rate):
    """Return stars whose PSF is not the program's: Moffat, wider towards the right, with a tail."""
    light = np.zeros(shape)
    for column, row, flux in zip(x, y, rate, strict=True):
        left, low = (max(round(v) - 20, 0) for v in (column, row))
        box = np.s_[low : low + 41, left : left + 41]
        size = light[box].shape
        fwhm = 2.0 + 0.1 * column / shape[1]
        at = (column - left, row - low)
        star = 0.9 * moffat(size, *at, fwhm, 3.0) + 0.1 * moffat(size, at[0] + 1.5, at[1], 3.5, 3.0)
        light[box] += flux * star
    return light


def observed(light, seed):
    """Return an image with noise that is correlated as drizzling does."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=light.shape) * np.sqrt(
        (NOISE / 0.66) ** 2 + np.maximum(light, 0) / EXPTIME_S
    )
    for axis in (0, 1):
        white = convolve1d(white, SMEAR, axis=axis, mode="wrap")
    return (light + white + 0.02).astype(np.float32)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A field with isolated stars, and fifteen pairs of equal stars 3 px apart."""
    rng = np.random.default_rng(5)
    n = 110
    grid = np.array([(i, j) for j in range(10) for i in range(11)], float)
    x = 22 + 27.5 * grid[:, 0] + rng.uniform(-4, 4, n)
    y = 22 + 28.0 * grid[:, 1] + rng.uniform(-4, 4, n)
    rate = rng.permutation(np.geomspace(0.6, 60, n))
    pairs = np.flatnonzero((rate > 3) & (rate < 20))[:15]
    angle = rng.uniform(0, 2 * np.pi, len(pairs))
    x = np.append(x, x[pairs] + 3 * np.cos(angle))
    y = np.append(y, y[pairs] + 3 * np.sin(angle))
    rate = np.append(rate, rate[pairs])
    path = tmp_path_factory.mktemp("psf") / "jabc01010_drc.fits"
    drc_hdus(observed(stars_on(SHAPE, x, y, rate), 1), exptime_s=EXPTIME_S).writeto(path)
    is_isolated = np.ones(len(x), bool)
    is_isolated[[*pairs, *range(n, len(x))]] = False
    return path, x, y, rate, is_isolated


@pytest.fixture(scope="module")
def found(crowd):
    path, x, y, *_ = crowd
    image = read_drc(path)
    # The second star of a pair is not given: the residual shows it.
    is_known = np.arange(len(x)) < 110
    result = psf.run(image, x[is_known], y[is_known])
    return image, result, is_known


def nearest(result, x, y):
    distance = np.hypot(result.stars.x - x[:, None], result.stars.y - y[:, None])
    return np.argmin(distance, axis=1), distance.min(axis=1)


def test_isolated_stars_have_their_fluxes_and_errors(crowd, found):
    _, x, y, rate, is_isolated = crowd
    _, result, _ = found
    rows, distance = nearest(result, x[is_isolated], y[is_isolated])
    assert (distance < 0.5).all()
    flux, error = result.stars.flux[rows], result.fits.flux_err[rows]
    # The scale is that of the published encircled energy, not of this Moffat.
    scale = np.median((flux / rate[is_isolated])[rate[is_isolated] > 5])
    assert scale == pytest.approx(1.09, abs=0.04)
    pull = (flux / scale - rate[is_isolated]) / error
    assert np.median(pull) == pytest.approx(0, abs=0.35)
    assert 0.75 < np.std(pull[np.abs(pull) < 5]) < 1.35
    assert (np.abs(pull) < 5).mean() > 0.96
    offset = (result.stars.x[rows] - x[is_isolated]) / result.fits.x_err[rows]
    assert 0.6 < np.nanstd(offset[np.abs(offset) < 6]) < 2.0


def test_a_neighbour_takes_nothing(crowd, found):
    _, x, y, rate, is_isolated = crowd
    _, result, _ = found
    rows, distance = nearest(result, x[~is_isolated], y[~is_isolated])
    assert (distance < 1.0).mean() > 0.9
    close = distance < 1.0
    alone, _ = nearest(result, x[is_isolated], y[is_isolated])
    bright = rate[is_isolated] > 5
    scale = np.median(result.stars.flux[alone][bright] / rate[is_isolated][bright])
    ratio = result.stars.flux[rows][close] / rate[~is_isolated][close] / scale
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert (result.fits.crowding[rows[close]] > 0.01).all()


def test_the_residual_is_searched(crowd, found):
    _, result, known = found
    assert result.n_given == known.sum()
    assert 15 <= result.n_found <= 25
    none = psf.run(found[0], crowd[1][known], crowd[2][known], PsfSettings(n_passes=0))
    assert none.n_found == 0


def test_the_psf_is_that_of_the_stars(crowd, found):
    _, _, result, _ = (None, *found)
    model = result.model
    assert model.is_of_stars
    assert model.n_stars > 25
    # A pixel's light is sampled, not integrated, here: the width is the Moffat's.
    assert model.fwhm_px == pytest.approx(2.1, abs=0.12)
    narrow, wide = (model.at(x, 150)[model.grids.shape[1] // 2].max() for x in (0, 319))
    assert 1.02 < narrow / wide < 1.2
    assert np.median(result.fits.qfit[result.psf_rows]) < 0.08


def test_correlated_noise_is_seen(crowd, found):
    _, result, _ = found
    assert result.correlation == pytest.approx(1 / 0.66, rel=0.15)


def test_stars_that_rest_and_a_coarse_sky_change_nothing_that_matters(crowd, found, monkeypatch):
    _, x, y, *_ = crowd
    image, quick, known = found
    fine = noise.put_sky
    monkeypatch.setattr(noise, "put_sky", lambda image, pixels, coarse=False: fine(image, pixels))
    monkeypatch.setattr(fit, "_with_partners", lambda which, first, second: np.ones_like(which))
    slow = psf.run(image, x[known], y[known])
    n = known.sum()
    change = (quick.stars.flux[:n] - slow.stars.flux[:n]) / slow.fits.flux_err[:n]
    assert np.abs(np.median(change)) < 0.1
    assert np.percentile(np.abs(change), 95) < 0.25
    assert quick.n_found == slow.n_found
    assert quick.fits.flux_err[:n] == pytest.approx(slow.fits.flux_err[:n], rel=0.05)


def test_forced_positions_are_kept(crowd):
    path, x, y, _, _ = crowd
    result = psf.run(read_drc(path), x, y, PsfSettings(forced=True, n_passes=0))
    np.testing.assert_array_equal(result.stars.x, x)
    assert np.isnan(result.fits.x_err).all()
    assert np.isfinite(result.fits.flux_err).all()


def test_few_stars_leave_the_published_psf():
    rng = np.random.default_rng(3)
    x, y, rate = rng.uniform(30, 90, 3), np.array([30.0, 60, 90]), np.full(3, 20.0)
    hdus = drc_hdus(observed(stars_on((120, 120), x, y, rate), 2), exptime_s=EXPTIME_S)
    image = as_image(hdus)
    result = psf.run(image, x, y)
    assert not result.model.is_of_stars
    assert result.flags[Flag.PSF_OF_MODEL].all()
    assert result.summary()["psf_origin"] == "published curve"
    assert result.stars.flux / rate == pytest.approx(1.0, abs=0.15)
    nothing = psf.run(image, [], [], PsfSettings(n_passes=0))
    assert len(nothing.stars) == 0


def as_image(hdus):
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = f"{folder}/jabc01010_drc.fits"
        hdus.writeto(path)
        return read_drc(path)


def test_a_cosmic_ray_beside_a_star_is_passed_over():
    x, y, rate = np.array([40.0, 80.2]), np.array([50.3, 60.0]), np.array([8.0, 8.0])
    sci = observed(stars_on((110, 120), x, y, rate), 4)
    clean = psf.run(as_image(drc_hdus(sci, exptime_s=EXPTIME_S)), x, y)
    sci[51:53, 42] += 1.5
    mask = np.zeros(sci.shape, bool)
    mask[50:54, 41:44] = True
    hit = psf.run(as_image(drc_hdus(sci, exptime_s=EXPTIME_S)), x, y, cr_mask=mask)
    change = hit.stars.flux[0] / clean.stars.flux[0] - 1
    assert abs(change) < 0.05


# ---------------------------------------------------------------- the chain


@pytest.fixture(scope="module")
def products(crowd, tmp_path_factory):
    out = tmp_path_factory.mktemp("psf_run")
    settings = Settings.load(
        preset="crowded",
        assignments=["align.enabled=false", "objects.enabled=false", "output.report=false"],
    )
    report = bycatch.run([crowd[0]], out, settings)
    assert report.all_done
    (path,) = out.glob("*/*/*_cat.ecsv")
    return path, read_table(path), settings


def test_the_objects_take_the_psf_that_the_run_has_made(crowd, products):
    path = products[0].with_name(products[0].name.replace("_cat.ecsv", "_psf.fits"))
    image = read_drc(crowd[0])
    stages = {"measure": SimpleNamespace(outputs={path.name: ""})}
    record = SimpleNamespace(stages=stages, has_whole=lambda place: place == path)
    bench = SimpleNamespace(paths=SimpleNamespace(psf=path), record=record, image=image)
    model = stored_psf(bench)
    with fits.open(path) as hdus:
        cube, header = hdus[0].data, hdus[0].header
        ny, nx = image.shape
        assert header["NXPSFS"] == 3
        for k, (column, row) in {2: (nx - 1, 0), 4: ((nx - 1) / 2, (ny - 1) / 2)}.items():
            np.testing.assert_allclose(model.at(column, row), cube[k], atol=1e-6 * cube.max())
        assert model.n_stars == header["NSTARS"]
    assert model.shape == image.shape
    record.stages = {}
    assert stored_psf(bench) is None


def test_the_catalog_has_psf_fluxes_on_the_scale_of_apertures(crowd, products):
    _, x, y, rate, is_isolated = crowd
    _, catalog, _ = products
    distance = np.hypot(np.ma.filled(catalog["x_psf"], -99) - x[:, None],
                        np.ma.filled(catalog["y_psf"], -99) - y[:, None])  # fmt: skip
    rows, near = np.argmin(distance, axis=1), distance.min(axis=1) < 0.7
    assert near.mean() > 0.93
    bright = near & is_isolated & (rate > 5)
    ratio = catalog["flux_psf"][rows[bright]] / catalog["flux_4_apcor"][rows[bright]]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    pairs = near & ~is_isolated
    alone = np.median(catalog["flux_psf"][rows[bright]] / rate[bright])
    assert np.median(catalog["flux_psf"][rows[pairs]] / rate[pairs]) == pytest.approx(
        alone, rel=0.02
    )
    # Apertures of 4 px have the neighbour's light as well.
    assert np.median(catalog["flux_4_apcor"][rows[pairs]] / rate[pairs]) > 1.3 * alone
    assert catalog.meta["PSFSCALE"]["n_stars"] > 5
    stars = catalog["p_star"][rows[near & (rate > 3)]]
    assert np.mean(np.ma.filled(stars, 0) > 0.5) > 0.9


def test_stars_lie_where_their_fits_put_them(crowd, products):
    _, x, y, _, _ = crowd
    path, catalog, _ = products
    values = {n: np.ma.filled(catalog[n], np.nan) for n in ("x_psf", "x_center", "flux_psf",
                                                            "flux_psf_err")}  # fmt: skip
    bright = values["flux_psf"] / values["flux_psf_err"] > 20
    bright &= catalog["flags"] & int(Flag.PSF_MISFIT) == 0
    np.testing.assert_allclose(values["x_center"][bright], values["x_psf"][bright], atol=1e-3)
    sources = read_table(path.with_name(path.name.replace("_cat", "_sources")))
    moved = with_places(sources, psf.run(read_drc(crowd[0]), sources["x"], sources["y"]))
    told = np.isfinite(moved["psf_err_px"])
    assert told.mean() > 0.6
    off = {}
    for name, table in (("moments", sources[told]), ("fits", moved[told])):
        distance = np.hypot(table["x"][:, None] - x, table["y"][:, None] - y)
        off[name] = np.percentile(distance.min(axis=1), [50, 90])
    assert (off["fits"] < 0.8 * off["moments"]).all()


def test_the_alignment_and_the_measurement_share_the_fits(crowd, products, tmp_path, monkeypatch):
    calls = []
    fit_stars = star_rows.fit_stars
    monkeypatch.setattr(star_rows, "fit_stars", lambda *a: calls.append(1) or fit_stars(*a))
    settings = products[2].replace(align=products[2].align.replace(enabled=True))
    assert bycatch.run([crowd[0]], tmp_path, settings, workers=1).all_done
    assert len(calls) == 1
    (path,) = tmp_path.glob("*/*/*_cat.ecsv")
    np.testing.assert_array_equal(read_table(path)["flux_psf"], products[1]["flux_psf"])


def test_rows_of_the_residual_are_flagged_and_numbered(products):
    path, catalog, _ = products
    from_residual = (catalog["flags"] & int(Flag.FOUND_IN_RESIDUAL)) > 0
    sources = read_table(path.with_name(path.name.replace("_cat", "_sources")))
    assert len(catalog) == len(sources) + from_residual.sum()
    assert len(set(catalog["id"])) == len(catalog)
    assert not set(catalog["id"][from_residual]) & set(sources["id"])


def test_photutils_reads_the_psf(products, found):
    path, _, _ = products
    file = path.with_name(path.name.replace("_cat.ecsv", "_psf.fits"))
    grid = GriddedPSFModel.read(file, format="stdpsf")
    assert grid.oversampling == pytest.approx(psf_grid.OVERSAMPLING)
    model = found[1].model
    yy, xx = np.mgrid[140:161, 140:161]
    theirs = grid.evaluate(xx, yy, 1.0, 150.3, 149.8)
    ours = np.zeros((300, 320), np.float32)
    psf_grid.add_stars(
        ours, model.grids, model.terms([150.3], [149.8]), [150.3], [149.8], [1.0], [12.0]
    )
    assert theirs == pytest.approx(ours[140:161, 140:161], abs=0.012)
    assert fits.getheader(file)["NSTARS"] >= 5


def test_the_page_shows_what_the_psf_leaves(products, found):
    path, catalog, _ = products
    (image,) = read_folder(path.parents[2]).images
    pictures = psf_pictures(image)
    assert len(pictures["left"]) == 9
    assert pictures["n_stars"] == sum(part["n"] for part in pictures["left"]) > 15
    assert np.median([part["share"] for part in pictures["left"] if part["n"]]) < 6
    assert all(
        part["url"].startswith("data:image/png") == (part["n"] > 0) for part in pictures["left"]
    )
    file = path.with_name(path.name.replace("_cat.ecsv", "_psf.fits"))
    piece = fits.getdata(file, "PIECE")
    assert piece.shape == (2, 121, 121)
    assert np.nanstd(piece[1]) < 0.3 * np.nanstd(piece[0])
    assert payload(image, catalog, Budget(100, 10))["psf"] == pictures
    whole = file.read_bytes()
    with fits.open(file) as hdus:
        hdus[:1].writeto(file, overwrite=True)
    without = psf_pictures(image)
    file.write_bytes(whole)
    assert without is None


def test_settings_that_matter_make_the_measurement_stale(crowd, products):
    path, _, settings = products
    out = path.parents[2]
    again = bycatch.run([crowd[0]], out, settings)
    assert again.all_done
    assert not any("measure" in image.done for image in again.images)
    other = settings.replace(psf=settings.psf.replace(n_passes=1))
    changed = bycatch.run([crowd[0]], out, other)
    assert any("measure" in image.done for image in changed.images)


def test_the_preset_turns_it_on_and_classic_does_not():
    assert not Settings().psf.enabled
    crowded = Settings.load(preset="crowded")
    assert crowded.psf.enabled
    assert crowded.detect == Settings.load(preset="deep").detect


def test_a_galaxy_is_measured_without_the_star_beside_it(tmp_path):
    rng = np.random.default_rng(8)
    shape = (220, 240)
    grid = np.array([(i, j) for j in range(5) for i in range(5)], float)
    x, y = 30 + 44 * grid[:, 0] + rng.uniform(-3, 3, 25), 25 + 42 * grid[:, 1]
    rate = np.geomspace(5, 60, 25)
    x[12], y[12], rate[12] = 118.4, 110.2, 12.0
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(xx - 110.0, (yy - 110.0) / 0.8)
    galaxy = np.exp(-radius / 2.5)
    galaxy *= 25.0 / galaxy.sum()
    fluxes = {}
    settings = Settings.load(
        preset="crowded",
        assignments=["align.enabled=false", "objects.enabled=false", "output.report=false"],
    )
    for name, some in (("with", x > 0), ("without", x != 118.4)):
        folder = tmp_path / name
        folder.mkdir()
        light = stars_on(shape, x[some], y[some], rate[some]) + galaxy
        hdus = drc_hdus(observed(light, 3), exptime_s=EXPTIME_S)
        hdus.writeto(folder / "jabc01010_drc.fits")
        assert bycatch.run([folder / "jabc01010_drc.fits"], folder / "out", settings).all_done
        (path,) = folder.glob("out/*/*/*_cat.ecsv")
        catalog = read_table(path)
        row = np.argmin(np.hypot(catalog["x_center"] - 110, catalog["y_center"] - 110))
        assert catalog["flags"][row] & int(Flag.PSF_MISFIT)
        assert catalog["flags"][row] & int(Flag.EXTENDED)
        fluxes[name] = [catalog[c][row] for c in ("flux_8_apcor", "flux_10_apcor", "flux_kron")]
    # The star has half the galaxy's light, and lies within 10 px of it.
    assert fluxes["with"] == pytest.approx(fluxes["without"], rel=0.06)


def test_artificial_stars_go_through_the_fits(crowd):
    image = read_drc(crowd[0])
    words = ["inject.n_sources=40", "inject.false_detections=false", "inject.galaxy_share=0"]
    words += ["inject.max_runs=1", "inject.spacing_px=40"]
    result = inject_image(image, Settings.load(preset="crowded", assignments=words))
    sources = result.sources[result.sources["found"]]
    assert len(sources) > 10
    after = trial(image, Settings.load(preset="crowded"))
    assert "mag_ab_psf" in after.catalog.colnames
    is_finite = np.isfinite(np.ma.filled(after.catalog["mag_ab_psf"], np.nan))
    stars = recovery.magnitudes(after.catalog, "4")
    holds = is_finite & (after.catalog["flags"] & int(Flag.PSF_MISFIT) == 0)
    np.testing.assert_array_equal(stars[holds], after.catalog["mag_ab_psf"][holds])
    pull = (sources["mag_measured"] - sources["mag"]) / sources["mag_err"]
    assert np.abs(np.ma.median(pull)) < 1.0


# ---------------------------------------------------------------- kernels


def gaussian_grid(sigma_px):
    side = psf_grid.grid_side(8)
    away = (np.arange(side) - side // 2) / psf_grid.OVERSAMPLING
    one = np.exp(-0.5 * (away / sigma_px) ** 2) / np.sqrt(2 * np.pi) / sigma_px
    return np.outer(one, one)[np.newaxis]


def test_grids_are_interpolated():
    image = np.zeros((25, 27), np.float32)
    x, y, sigma = 13.37, 11.81, 1.1
    psf_grid.add_stars(image, gaussian_grid(sigma), [[1.0]], [x], [y], [5.0], [7.0])
    yy, xx = np.mgrid[:25, :27]
    distance2 = (xx - x) ** 2 + (yy - y) ** 2
    expected = 5.0 / (2 * np.pi * sigma**2) * np.exp(-0.5 * distance2 / sigma**2)
    np.testing.assert_allclose(image, np.where(distance2 <= 49, expected, 0), atol=1e-3)


def test_stamps_hold_the_derivatives():
    grid, sigma, x, y = gaussian_grid(1.2), 1.2, 20.3, 18.9
    stamps, column, row = psf_grid.star_stamps(grid, [[1.0]], [x], [y], 5.0)
    size = stamps.shape[2]
    dx = np.arange(size) + column[0] - x
    dy = np.arange(size)[:, None] + row[0] - y
    inside = dx**2 + dy**2 <= 25
    light = np.exp(-0.5 * (dx**2 + dy**2) / sigma**2) / (2 * np.pi * sigma**2)
    expected = [light, light * dx / sigma**2, light * dy / sigma**2,
                light * ((dx**2 + dy**2) / sigma**2 - 2)]  # fmt: skip
    for part, wanted in zip(stamps[0], expected, strict=True):
        np.testing.assert_allclose(part, np.where(inside, wanted, 0), atol=2e-3)


def test_equations_are_solved_as_dense_ones():
    rng = np.random.default_rng(0)
    n = 6
    first, second = np.array([0, 0, 1, 4]), np.array([1, 2, 2, 5])
    blocks = np.array([a @ a.T + 4 * np.eye(4) for a in rng.normal(size=(n, 4, 4))])
    ties = 0.3 * rng.normal(size=(4, 4, 4))
    gradient = rng.normal(size=(n, 4))
    dense = np.zeros((4 * n, 4 * n))
    for k in range(n):
        dense[4 * k : 4 * k + 4, 4 * k : 4 * k + 4] = blocks[k]
    for tie, i, j in zip(ties, first, second, strict=True):
        dense[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = tie
        dense[4 * j : 4 * j + 4, 4 * i : 4 * i + 4] = tie.T
    result = psf_solve.solve_stars(blocks, ties, first, second, gradient, 1e-9)
    np.testing.assert_allclose(result.ravel(), np.linalg.solve(dense, gradient.ravel()), rtol=1e-6)
    variances = psf_solve.joint_variances(blocks, ties, first, second, np.ones(n, bool))
    # Ties of the fluxes alone decide which neighbours count: all of them here.
    np.testing.assert_allclose(variances.ravel(), np.diag(np.linalg.inv(dense)), rtol=1e-9)


def test_the_filter_is_a_fit_of_the_flux():
    rng = np.random.default_rng(1)
    data = rng.normal(0, 0.1, (30, 33)).astype(np.float32)
    none = np.zeros_like(data)
    pixels = psf_fit.Pixels(data, none, none, none + np.float32(0.1), none,
                            np.zeros(data.shape, np.uint8))  # fmt: skip
    template = rng.uniform(0, 1, (5, 5))
    result = psf_search.matched_filter(pixels, template)
    part = data[10:15, 20:25]
    expected = (template * part).sum() / np.sqrt((template**2).sum()) / 0.1
    assert result[12, 22] == pytest.approx(expected, rel=1e-4)
    cut = data[:3, 20:25]
    expected = (template[2:] * cut).sum() / np.sqrt((template[2:] ** 2).sum()) / 0.1
    assert result[0, 22] == pytest.approx(expected, rel=1e-4)


def test_the_published_psf_has_the_published_light(found):
    start = published_psf(found[0])
    from bycatch import photcal

    curve = photcal.encircled_energy("WFC", "F775W")
    grid = psf.PsfModel(start.grid()[np.newaxis], (9, 9), 0, 1.0, start.wings(), 0.04, None)
    for radius in (3.0, 5.0, 10.0):
        assert grid.energy(radius) == pytest.approx(float(curve.at(radius * 0.05)), abs=0.015)


def test_the_densest_window_is_found():
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0.1, 0.01, 30), rng.uniform(-1, 1, 40)])
    assert choice.densest(values, 0.06) == pytest.approx(0.1, abs=0.02)


def test_the_correlation_of_white_noise_is_none(found):
    rng = np.random.default_rng(3)
    image = found[0]
    data = rng.normal(0, 1, image.shape).astype(np.float32)
    none = np.zeros_like(data)
    pixels = psf_fit.Pixels(data, none, none, none + 1, none, np.zeros(image.shape, np.uint8))
    rho = noise.correlation(image, pixels)
    assert rho.shape == (5, 5)
    assert noise.noise_of_sums(rho) == pytest.approx(1, abs=0.1)


def test_a_scale_says_what_it_rests_on():
    assert PsfScale(1.01, 0.004, 0.02, 12).metadata() == {
        "factor": 1.01, "error": 0.004, "scatter": 0.02, "n_stars": 12,
    }  # fmt: skip


def test_errors_grow_where_something_else_lies_beside_a_star(crowd, found):
    image, result, _ = found
    fits = result.fits
    n = len(result.columns["countrate_psf"])
    stars, pixels = result.stars, noise.first_pixels(image, None)
    unlike = replace(
        fits,
        chi2=np.where(np.arange(n) == 0, 6.25, 1.0),
        chi2_of_psf=np.zeros(n),
        lost_core=np.zeros(n, bool),
    )
    columns = columns_of(stars, unlike, pixels, np.empty(0, int))
    own_errors = {"countrate_psf": fits.flux_err, "x_psf": fits.x_err, "y_psf": fits.y_err}
    for name, own in own_errors.items():
        error = columns[f"{name}_err"]
        assert error[0] == pytest.approx(5.0 * own[0])
        np.testing.assert_array_equal(error[1:], own[1:])
    # What the PSF leaves of all bright stars is no misfit of one, whatever its share is.
    left = fits.chi2_of_psf
    usual = replace(unlike, chi2=1.0 + 3.0 * left, chi2_of_psf=left)
    columns = columns_of(stars, usual, pixels, result.psf_rows)
    np.testing.assert_allclose(columns["countrate_psf_err"], fits.flux_err, rtol=1e-12)
    np.testing.assert_allclose(columns["chi2_psf"], 1.0, rtol=1e-12)


def test_chi_square_of_stars_like_those_of_the_psf_is_one(crowd, found):
    """Of faint ones and of bright ones, of which the PSF leaves more than noise."""
    _, x, y, _, is_isolated = crowd
    _, result, _ = found
    rows, _ = nearest(result, x[is_isolated], y[is_isolated])
    chi2, left = result.columns["chi2_psf"][rows], result.fits.chi2_of_psf[rows]
    bright = left > np.median(left)
    assert np.median(left[bright]) > 3.0 * np.median(left[~bright])
    for some in (bright, ~bright):
        assert np.median(chi2[some]) == pytest.approx(1.0, abs=0.25)


def test_the_scatter_of_bright_stars_is_not_hidden_by_the_noise_of_faint_ones():
    rng = np.random.default_rng(3)
    n = 400
    noise_share = np.where(np.arange(n) < n // 2, 0.003, 0.018)
    rate = 100.0 * np.exp(rng.normal(0, np.hypot(noise_share, 0.01)))
    columns = {"countrate_psf": rate, "countrate_psf_err": noise_share * rate}
    phot = Table(
        columns
        | {"flags": np.zeros(n, int), "crowding": np.zeros(n), "blend_share": np.zeros(n)}
        | {"p_star": np.ones(n)}
    )
    scale = psf_scale(phot, np.full(n, 100.0), np.full(n, 1e-6))
    assert scale.n_stars == n
    assert scale.scatter == pytest.approx(0.01, abs=0.0015)
    assert scale.factor == pytest.approx(1.0, abs=4 * scale.error)


def test_fits_expect_of_the_psf_what_it_leaves_of_its_stars(found):
    model = found[1].model
    radius, light = model.profile
    places = np.arange(len(model.leftover)) / psf_grid.OVERSAMPLING
    for share, expected in ((0.001, 0.02), (0.04, 0.03), (0.5, 0.05)):
        left = share * np.interp(places, radius, light)
        assert replace(model, leftover=left).error_share == pytest.approx(expected, rel=0.01)
