"""The table of objects, as a run makes it: filters, visits, limits, motions, lists."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.object_columns import EPOCHS, OBJECTS
from bycatch.catalogs.tables import floats, read_table
from bycatch.errors import SettingsError
from bycatch.pipeline import saved_settings
from bycatch.pipeline.jobs import Inputs
from bycatch.pipeline.objects import group_jobs, make_objects
from bycatch.pipeline.status import group_statuses
from bycatch.products import find_records, last_run
from bycatch.products.group_state import group_names, read_group
from bycatch.testing.scene import drc_hdus, make_scene, moffat, star_table

YEARS = 3.0
MOVING_PX = 0.6
"""How far one star of the second epoch has moved, in x."""


def table_of(out, kind="objects"):
    return read_table(next(out.glob(f"objects/*/*_{kind}.ecsv")))


@pytest.fixture(scope="module")
def two_visits(tmp_path_factory, bycatch):
    """Two visits of two programs, three years apart: one star has moved, one has flared."""
    folder = tmp_path_factory.mktemp("visits")
    (folder / "raw").mkdir()
    scene, sci = make_scene((300, 340), n_stars=30, seed=5)
    # Brighter than the sky by far: a single run of classic finds each.
    stars = zip(scene.x, scene.y, scene.rate, strict=True)
    sci = sci + sum(9 * rate * moffat(sci.shape, x, y) for x, y, rate in stars)
    moved, flared = 10, 17
    later = sci.copy()
    for k, dx, factor in ((moved, MOVING_PX, 1.0), (flared, 0.0, 2.0)):
        rate = 10 * scene.rate[k]
        later -= rate * moffat(sci.shape, scene.x[k], scene.y[k])
        later += factor * rate * moffat(sci.shape, scene.x[k] + dx, scene.y[k])
    rng = np.random.default_rng(2)
    later += rng.normal(0, 0.008, sci.shape)
    mjd = 57402.0 + 365.25 * YEARS
    primary = {"EXPSTART": mjd, "EXPEND": mjd + 0.02, "PROPOSID": 15000}
    for k in range(4):
        primary[f"D{k + 1:03d}DATA"] = f"jdef05{chr(97 + k // 2)}aq_flc.fits[sci,{k % 2 + 1}]"
    drc_hdus(sci.astype(np.float32)).writeto(folder / "raw/jabc01010_drc.fits")
    hdus = drc_hdus(later.astype(np.float32), primary=primary)
    hdus.writeto(folder / "raw/jdef05010_drc.fits")
    wcs = WCS(hdus["SCI"].header)
    still = np.delete(np.arange(30), moved)
    ra, dec = wcs.all_pix2world(scene.x[still], scene.y[still], 0)
    star_table(ra, dec, np.linspace(18, 20, 29), motion_error_mas_yr=0.1).write(folder / "gaia.csv")
    out = folder / "out"
    result = bycatch("run", folder / "raw", "-o", out, "--gaia", folder / "gaia.csv")
    assert result.status == 0, result.err
    assert bycatch("objects", out).status == 0
    return out, scene, wcs, moved, flared


def test_a_star_of_two_filters_is_one_object(with_objects, visit):
    objects, epochs = table_of(with_objects), table_of(with_objects, "epochs")
    wcs = visit.wcs
    x, y = wcs.all_world2pix(objects["ra"], objects["dec"], 0)
    for star_x, star_y, rate in zip(visit.scene.x, visit.scene.y, visit.scene.rate, strict=True):
        near = np.flatnonzero(np.hypot(x - star_x, y - star_y) < 1.0)
        assert len(near) == 1
        row = objects[near[0]]
        assert (row["n_images"], row["n_filters"]) == (2, 2)
        assert row["p_real"] > 0.9
        own = epochs[epochs["object_id"] == row["object_id"]]
        assert sorted(own["filter"]) == ["F475W", "F775W"]
        # The blue image has ten times the rate.
        flux = {f: float(row[f"flux_{f}"]) for f in ("F475W", "F775W")}
        ratio = flux["F475W"] / 1.8e-19 / (flux["F775W"] / 9.93e-20)
        assert ratio == pytest.approx(10.0, rel=0.1), rate
    assert len(set(objects["object_id"])) == len(objects)
    clean = table_of(with_objects, "objects_clean")
    assert len(clean) == (floats(objects, "p_real") >= 0.5).sum()


def test_the_forced_fluxes_are_those_of_the_catalogs(with_objects):
    epochs = table_of(with_objects, "epochs")
    for path in with_objects.glob("abc_01/*/*_cat.ecsv"):
        catalog = read_table(path)
        root = path.name.removesuffix("_cat.ecsv")
        own = epochs[[str(v).endswith(root) for v in epochs["image"]]]
        own = own[own["source_id"] > 0]
        assert len(own) == len(catalog)
        rows = np.searchsorted(catalog["id"], own["source_id"])
        np.testing.assert_allclose(own["flux_6_apcor"], catalog["flux_6_apcor"][rows], rtol=0.005)
        # Annuli of objects leave out the segments of others: that of blank places, too.
        for name in ("err_6_apcor", "maglim_6"):
            np.testing.assert_allclose(own[name], catalog[name][rows], rtol=0.05)


def test_a_single_image_is_not_measured_twice(visit, tmp_path, bycatch, monkeypatch):
    from bycatch.pipeline import group_photometry

    out, preset = tmp_path / "out", ("--preset", "deep", "--gaia", visit.gaia)
    assert bycatch("run", visit.raw / "jabc01010_drc.fits", "-o", out, *preset).status == 0
    shutil.rmtree(out / "objects", ignore_errors=True)
    monkeypatch.setattr(group_photometry.measure, "run", lambda *_, **__: pytest.fail("measured"))
    result = bycatch("objects", out)
    assert result.status == 0, result.err
    (catalog,) = (read_table(path) for path in out.glob("abc_01/*/*_cat.ecsv"))
    own = table_of(out, "epochs")
    assert len(own) == len(catalog) > 5
    rows = np.searchsorted(catalog["id"], own["source_id"])
    for name in ("flux_6_apcor", "err_6_apcor", "maglim_6"):
        np.testing.assert_allclose(own[name], catalog[name][rows], rtol=1e-5)  # digits


def test_what_no_image_detects_has_a_flux_an_error_and_a_limit(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    table = table_of(out)
    blank = tmp_path / "mine.csv"
    ra, dec = float(table["ra"][0]) + 2e-4, float(table["dec"][0]) + 2e-4
    far = float(table["ra"][0]) + 1.0
    Table(
        {
            "ra": [ra, float(table["ra"][1]), far, np.nan],
            "dec": [dec, float(table["dec"][1]), dec, dec],
        }
    ).write(blank)
    assert bycatch("objects", out, "--sources", blank).status == 0
    objects, epochs = table_of(out), table_of(out, "epochs")
    row = objects[objects["list_row"] == 1][0]
    assert row["origin"] == 4
    assert row["n_detected"] == 0
    own = epochs[epochs["object_id"] == row["object_id"]]
    assert len(own) == 2
    for name in ("flux_6_apcor", "err_6_apcor", "maglim_6"):
        assert np.isfinite(floats(own, name)).all()
    assert np.isfinite([row["flux_F475W"], row["maglim_F475W"], row["maglim_F775W"]]).all()
    joined = objects[objects["list_row"] == 2][0]
    assert joined["origin"] & 4
    assert joined["n_detected"] > 0
    assert len(objects) == len(table) + 1  # none of a place that no image covers
    # The detections' own catalogs are as they were.
    for path in out.glob("abc_01/*/*_cat.ecsv"):
        assert path.read_bytes() == (with_objects / path.relative_to(out)).read_bytes()


def test_two_visits_are_one_group_with_motions_and_variables(two_visits):
    out, scene, wcs, moved, flared = two_visits
    assert len(group_names(out)) == 1
    objects, images = table_of(out), table_of(out, "images")
    assert list(images["filter"]) == ["F775W", "F775W"]
    assert set(images["grade"]) <= set("ABC")
    x, y = wcs.all_world2pix(objects["ra"], objects["dec"], 0)

    def row_of(k, reach=1.0):
        near = np.flatnonzero(np.hypot(x - scene.x[k], y - scene.y[k]) < reach)
        assert len(near) == 1
        return objects[near[0]]

    # 0.6 px in x, in three years, with the rotation of the image.
    step = np.array(wcs.all_pix2world([[100, 100], [100 + MOVING_PX, 100]], 0))
    per_year = (step[1] - step[0]) * [np.cos(np.radians(-8.47)), 1.0] * 3.6e6 / YEARS
    star = row_of(moved)
    assert star["pmra"] == pytest.approx(per_year[0], abs=4 * star["pmra_err"])
    assert star["pmdec"] == pytest.approx(per_year[1], abs=4 * star["pmdec_err"])
    assert np.hypot(star["pmra"], star["pmdec"]) > 5 * star["pmra_err"]
    variable = row_of(flared)
    assert variable["p_variable_F775W"] > 0.99
    others = [row_of(k) for k in range(30) if k not in {moved, flared}]
    assert np.mean([row["p_variable_F775W"] > 0.5 for row in others]) < 0.1
    still = np.array(
        [[row["pmra"] / row["pmra_err"], row["pmdec"] / row["pmdec_err"]] for row in others]
    )
    assert np.std(still) < 1.6  # frames and floors of centroids have a share in the errors


def test_what_is_up_to_date_is_kept_and_what_is_not_is_made_again(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    name = group_names(out)[0]
    before = read_group(out, name)
    assert "up to date" in bycatch("objects", out).err
    assert read_group(out, name) == before
    (out / f"objects/{name}/{name}_objects.ecsv").unlink()
    assert "up to date" not in bycatch("objects", out).err
    assert table_of(out).colnames == table_of(with_objects).colnames
    bycatch("objects", out, "--set", "objects.combined=false")
    assert read_group(out, name).key != before.key


def test_identifiers_survive_other_settings_and_another_image(two_visits, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(two_visits[0], out, symlinks=True)
    both = set(table_of(out)["object_id"].tolist())
    assert bycatch("objects", out, "--set", "objects.combined=false").status == 0
    assert set(table_of(out)["object_id"].tolist()) >= both - {0}
    # One visit less: what it shows keeps its identifiers, and again with both.
    away = out / "def_05"
    shutil.move(away, tmp_path / "def_05")
    assert bycatch("objects", out).status == 0
    alone = set(table_of(out)["object_id"].tolist())
    assert len(alone & both) >= 0.97 * len(alone)
    shutil.move(tmp_path / "def_05", away)
    assert bycatch("objects", out).status == 0
    assert len(set(table_of(out)["object_id"].tolist()) & both) >= 0.97 * len(both)


def test_a_light_curve_is_in_time(two_visits, bycatch):
    out, *_ = two_visits
    report = make_objects(out, saved_settings(out))[0]
    objects = report.objects()
    star = objects[np.argmax(floats(objects, "chi2_F775W"))]
    curve = report.light_curve(int(star["object_id"]))
    assert len(curve) == 2
    assert curve.meta["psf_flux"] == bool(star["psf_flux"])
    assert np.diff(curve.time.mjd)[0] == pytest.approx(365.25 * YEARS, abs=0.1)
    first, last = (float(flux) for flux in np.asarray(curve["flux"]))
    assert last / first == pytest.approx(2.0, rel=0.05)
    assert len(report.epochs()) >= len(objects)
    assert len(report.objects(clean=True)) <= len(objects)
    with pytest.raises(KeyError, match="no object 5"):
        report.light_curve(5)


def test_one_bad_image_leaves_the_others(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    record = next(r for r in find_records(out) if r.filter == "F475W")
    record.paths(out).wcs.write_bytes(b"nothing")
    result = bycatch("objects", out)
    assert set(table_of(out, "images")["filter"]) == {"F775W"}
    assert "F475W" in result.err


def test_structure_of_the_sky_is_looked_for_where_the_image_has_some(
    with_objects, tmp_path, bycatch, monkeypatch
):
    from bycatch.stages.measure import trust

    n_looks, real = [], trust.sky_structure
    monkeypatch.setattr(trust, "sky_structure", lambda *given: n_looks.append(1) or real(*given))
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    bycatch("objects", out, "--set", "objects.margin_arcsec=21")
    assert not n_looks
    path = next(out.glob("*/field.json"))
    state = json.loads(path.read_text())
    state["images"][0]["stages"]["measure"]["summary"]["n_trails"] = 1
    path.write_text(json.dumps(state))
    bycatch("objects", out, "--set", "objects.margin_arcsec=22")
    assert len(n_looks) == 1


def test_an_image_that_can_not_be_measured_leaves_the_numbers_of_the_others(
    with_objects, tmp_path, bycatch, monkeypatch
):
    from bycatch.pipeline import group

    real, search = group.measure_objects, group.search_image

    def find_few(bench, *rest, **options):
        """Let the image that fails have detected less than the other."""
        image = search(bench, *rest, **options)
        if image.meta.filter == "F475W":
            few, shape = slice(5), image.ellipses
            image.sources, image.source_ids = image.sources[few], image.source_ids[few]
            image.is_cosmic_ray = image.is_cosmic_ray[few]
            axes = (shape.semimajor_arcsec, shape.semiminor_arcsec, shape.pa_deg)
            image.ellipses = type(shape)(*(values[few] for values in axes))
        return image

    def fail(image, *rest, **options):
        if image.meta.filter == "F475W":
            raise OSError("the disk is gone")
        return real(image, *rest, **options)

    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    monkeypatch.setattr(group, "search_image", find_few)
    monkeypatch.setattr(group, "measure_objects", fail)
    result = bycatch("objects", out, "--set", "objects.margin_arcsec=21")
    assert "the disk is gone" in result.err
    images, epochs = table_of(out, "images"), table_of(out, "epochs")
    assert list(images["filter"]) == ["F775W"]
    assert images["n_detections"][0] == epochs["detected"].sum() > 5


def test_groups_that_are_no_more_are_removed(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    old = group_names(out)[0]
    shutil.move(out / "objects" / old, out / "objects" / "Jother")
    state = json.loads((out / "objects/Jother/group.json").read_text())
    state["name"] = "Jother"
    (out / "objects/Jother/group.json").write_text(json.dumps(state))
    assert bycatch("objects", out).status == 0
    assert group_names(out) == [old]


def test_an_image_that_is_deleted_with_its_catalog_is_forgotten(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    shutil.rmtree(out / "abc_01" / "F475W")
    assert bycatch("objects", out).status == 0
    assert set(table_of(out, "epochs")["filter"]) == {"F775W"}
    assert [g.state for g in group_statuses(out, saved_settings(out), last_run(out))] == ["done"]


def test_a_group_stays_whose_pixels_are_removed_alone(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    (path,) = (out / "abc_01" / "F475W").glob("*_drc.fits")
    path.unlink()
    bycatch("objects", out)
    assert set(table_of(out, "epochs")["filter"]) == {"F475W", "F775W"}
    assert [g.state for g in group_statuses(out, saved_settings(out), last_run(out))] == ["done"]


def test_regions_of_the_user_hold_no_objects(with_objects, tmp_path, bycatch, visit):
    out, regions = tmp_path / "out", tmp_path / "mine.reg"
    table = table_of(with_objects)
    ra, dec = float(table["ra"][0]), float(table["dec"][0])
    regions.write_text(f'fk5\ncircle({ra:.8f},{dec:.8f},0.5")\n')
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia, "--exclude", regions)
    assert result.status == 0, result.err
    assert bycatch("objects", out).status == 0
    objects = table_of(out)
    distance = np.hypot((objects["ra"] - ra) * np.cos(np.radians(dec)), objects["dec"] - dec)
    assert distance.min() * 3600 > 0.5
    assert len(objects) == len(table) - 1


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="no image in it whose steps are done"):
        make_objects(tmp_path, saved_settings(tmp_path))


def test_measure_with_a_list_says_where_lists_are_measured(with_objects, tmp_path, bycatch):
    (tmp_path / "mine.csv").write_text("x,y\n1,1\n")
    result = bycatch("measure", with_objects, "--sources", tmp_path / "mine.csv")
    assert result.status == 2
    assert "bycatch objects" in result.err


def test_the_registry_has_the_columns_that_are_copied():
    names = {column.name for column in EPOCHS}
    copied = {
        "flux_{r}_apcor", "err_{r}_apcor", "err_{r}_sys", "mag_ab_{r}", "mag_ab_err_{r}",
        "maglim_{r}", "flux_kron", "err_kron", "mag_ab_kron", "fwhm", "n_exp", "n_exp_min",
        "exptime", "p_star", "flags",
    }  # fmt: skip
    assert copied <= names
    assert copied <= {column.name for column in CAT}
    assert len({column.name for column in OBJECTS}) == len(OBJECTS)


def test_the_tasks_are_the_same_in_any_order(two_visits):
    out = two_visits[0]
    settings = saved_settings(out)
    jobs, old_groups = group_jobs(out, settings, Inputs(), {})
    assert not old_groups
    assert len(jobs) == 1
    assert {field for field, _ in jobs[0].images} == {"abc_01", "def_05"}
