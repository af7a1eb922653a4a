"""What is done with the objects of a run: page, explain, compare, status, export, Python."""

import base64
import gzip
import json
import re
import shutil

import numpy as np
import pytest
from astropy.table import Table

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from bycatch import photcal
from bycatch.catalogs.tables import floats, read_table
from bycatch.errors import SettingsError
from bycatch.pipeline import object_explanation, saved_settings
from bycatch.pipeline.export import export
from bycatch.pipeline.object_comparison import compare_objects
from bycatch.pipeline.object_explanation import explain_objects
from bycatch.pipeline.object_regions import object_regions
from bycatch.pipeline.outcomes import GroupReport
from bycatch.pipeline.status import group_statuses
from bycatch.products import last_run
from bycatch.products.group_state import read_groups
from bycatch.report import group_page, page, read_isochrone, three_colours
from bycatch.report.group import light_curves, motions, picture_grid
from bycatch.report.three_colours import PictureGrid
from bycatch.user_files.regions import read_regions


@pytest.fixture(scope="module")
def out(finished, tmp_path_factory, bycatch):
    """A finished run of a visit in two filters, with its objects; do not write into it."""
    folder = tmp_path_factory.mktemp("tools") / "out"
    shutil.copytree(finished, folder, symlinks=True)
    assert bycatch("objects", folder).status == 0
    return folder


@pytest.fixture(scope="module")
def group(out):
    """Return the report of its group."""
    (state,) = read_groups(out)
    return GroupReport(
        state.name, "done", summary=state.summary, folder=str(out / "objects" / state.name)
    )


def group_contents(path):
    """Return what the page holds of its groups."""
    matches = re.findall(r'id="group-packed-\d+">([^<]+)<', path.read_text("utf-8"))
    return [json.loads(gzip.decompress(base64.b64decode(text))) for text in matches]


@pytest.fixture(scope="module")
def content(out):
    """Return what the page holds of the group."""
    (result,) = group_contents(page.write_report(out))
    return result


# ---------------------------------------------------------------- the page


def test_the_page_holds_the_objects_as_the_table_has_them(content, group):
    table = group.objects()
    assert content["filters"] == ["F475W", "F775W"]
    assert content["id"] == [str(v) for v in table["object_id"]]
    columns = {c["name"]: c for c in content["columns"]}
    assert {"mag_F475W", "colour_F475W_F775W", "colour_limit_F475W_F775W", "p_star"} <= set(columns)
    for name, column in columns.items():
        values = np.array([np.nan if v is None else v for v in column["values"]], float)
        np.testing.assert_allclose(
            values, floats(table, name), atol=0.5001 * 10 ** -column["digits"]
        )
        assert column["meaning"] == table[name].description
    assert content["picture"]["colours"] == ["F775W", "F475W + F775W", "F475W"]
    assert content["curves"] == []
    assert "problem" not in content


def test_objects_lie_where_the_picture_shows_them(out, content, group):
    """The picture and the places of the objects in it have one grid."""
    table = group.objects(clean=True)
    grid = picture_grid(group.objects(), 1200)
    (state,) = read_groups(out)
    images = group_page.images_of(out, state, saved_settings(out))
    shown = [three_colours.PictureImage(i, np.zeros(2), np.empty(0), np.empty(0)) for i in images]
    rgb, _ = three_colours.three_colours(shown, content["filters"], grid)
    row = content["id"].index(str(table["object_id"][int(np.argmin(floats(table, "mag_F775W")))]))
    half = content["picture"]["half"]
    x = (half[0] - content["x"][row]) / grid.step_arcsec - 0.5
    y = (half[1] - content["y"][row]) / grid.step_arcsec - 0.5
    light = rgb.astype(float).sum(axis=2)
    yy, xx = np.indices(light.shape)
    near = np.hypot(xx - x, yy - y) < 10
    weight = light[near] - np.median(light)
    centre = [np.sum(weight * v[near]) / weight.sum() for v in (xx, yy)]
    assert np.hypot(centre[0] - x, centre[1] - y) < 1.0


def test_pixels_of_the_grid_are_on_the_sky():
    grid = PictureGrid(150.0, 60.0, 0.5, 5, 3)
    ra, dec = grid.sky()
    assert ra.shape == (3, 5)
    assert (ra[1, 2], dec[1, 2]) == (pytest.approx(150.0), pytest.approx(60.0))
    assert (dec[0, 2] - dec[1, 2]) * 3600 == pytest.approx(0.5)  # north is up
    assert (ra[1, 1] - ra[1, 2]) * 3600 * np.cos(np.radians(60)) == pytest.approx(0.5, rel=1e-5)


def test_a_damaged_table_costs_only_its_group(out, tmp_path, caplog):
    copy = tmp_path / "out"
    shutil.copytree(out, copy, symlinks=True)
    for path in copy.glob("objects/*/*_objects.*"):
        path.write_bytes(b"no table")
    (content,) = group_contents(page.write_report(copy))
    assert "can't be shown" in content["problem"]
    assert "left out of the report" in caplog.text


def test_groups_of_a_large_run_lie_beside_the_page(out, tmp_path, monkeypatch, bycatch):
    copy = tmp_path / "out"
    shutil.copytree(out, copy, symlinks=True)
    monkeypatch.setattr(page, "MAX_INSIDE", 1)
    monkeypatch.setattr(group_page, "MAX_INSIDE", 0)
    assert group_contents(page.write_report(copy)) == []
    (file,) = copy.glob("objects/*/page.js")
    assert file.read_text().startswith(f'bycatchReport.arrived("objects/{file.parent.name}", "')
    was = file.stat().st_mtime_ns
    page.write_report(copy)
    assert file.stat().st_mtime_ns == was  # nothing has changed
    file.unlink()
    monkeypatch.setattr("bycatch.pipeline.objects.MAX_INSIDE", 1)
    assert bycatch("objects", copy).status == 0  # the group's own task writes it
    assert file.exists()


def test_light_curves_are_those_of_the_most_variable():
    names = {"object_id": [7, 8, 9], "p_real": [1.0, 1.0, 0.2]}
    names |= {"p_variable_F606W": [0.1, 0.99, 0.999], "chi2_F606W": [1.0, 30.0, 90.0]}
    epochs = {"object_id": [8, 8, 7], "filter": ["F606W"] * 3, "mjd": [60001.0, 60000.0, 60000.0]}
    epochs |= {"image": ["a", "b", "a"], "exposure": [""] * 3}
    epochs |= {"mag": [24.0, np.nan, 25.0], "mag_err": [0.1, np.nan, 0.1]}
    epochs |= {"maglim": [27.0] * 3, "detected": [True, False, True]}
    epochs |= {"zeropoint_shift": [0.02, np.nan, 0.0]}
    groups = light_curves(Table(names), Table(epochs), ["F606W"], 1)
    assert [curve["row"] for curve in groups] == [1]  # what is not real varies as noise does
    assert groups[0]["mjd"] == [60000.0, 60001.0]
    assert groups[0]["mag"] == [None, 24.02]
    assert groups[0]["limit"] == [27.0, 27.0]
    # Of an image whose exposures are at hand, these are drawn.
    epochs["image"], epochs["exposure"] = ["a", "a", "a"], ["", "one", ""]
    (curve,) = light_curves(Table(names), Table(epochs), ["F606W"], 1)
    assert curve["mjd"] == [60000.0]


def test_motions_of_five_sigma_are_drawn():
    table = Table({"p_real": [1.0, 1.0, 0.1], "pmra": [5.0, 1.0, 50.0], "pmdec": [0.0, 1.0, 0.0]})
    table["pmra_err"] = table["pmdec_err"] = 0.9
    assert motions(table) == {"row": [0], "pmra": [5.0], "pmdec": [0.0]}


# ---------------------------------------------------------------- isochrones


ISOCHRONE = """\
# Zini MH logAge Mini F475Wmag F775Wmag
0.01 -0.1 10.1 0.1 5.0 4.0
0.01 -0.1 10.1 0.2 4.0 3.5
"""


def test_an_isochrone_is_moved_and_reddened(tmp_path):
    path = tmp_path / "iso.dat"
    path.write_text(ISOCHRONE)
    result = read_isochrone(path, ["F475W", "F606W", "F775W"], 20.0, 0.1)
    np.testing.assert_allclose(result.magnitudes["F475W"], [25.3268, 24.3268])
    np.testing.assert_allclose(result.magnitudes["F775W"], [24.1629, 23.6629])
    vega = read_isochrone(path, ["F475W", "F775W"], 20.0, 0.0, "vega")
    np.testing.assert_allclose(vega.magnitudes["F775W"], [24.398, 23.898])


def test_what_is_no_isochrone_is_named(tmp_path):
    path = tmp_path / "iso.csv"
    path.write_text("F475W,B\n1,2\n")
    with pytest.raises(SettingsError, match=r"magnitudes in 1 of the filters F475W, F775W"):
        read_isochrone(path, ["F475W", "F775W"])
    path.write_text("F475W_a,F475W_b,F775W\n1,2,3\n")
    with pytest.raises(SettingsError, match="could all be F475W"):
        read_isochrone(path, ["F475W", "F775W"])
    path.write_text("F475W,F502N\n1,2\n")
    with pytest.raises(SettingsError, match="the extinction in F502N is not known"):
        read_isochrone(path, ["F475W", "F502N"], 0.0, 0.1)
    with pytest.raises(SettingsError, match="not a number"):
        read_isochrone(path, ["F475W", "F502N"], np.nan)
    with pytest.raises(SettingsError, match="dust makes no star bluer"):
        read_isochrone(path, ["F475W", "F775W"], 20.0, -5.0)
    with pytest.raises(SettingsError, match="no such file"):
        read_isochrone(tmp_path / "none.csv", ["F475W", "F502N"])


def test_coefficients_of_the_extinction_are_those_that_were_published():
    """Schlafly & Finkbeiner 2011, Table 6, R_V = 3.1."""
    values_of_paper = {
        "F435W": 3.610, "F475W": 3.268, "F550M": 2.620, "F555W": 2.792, "F606W": 2.471,
        "F625W": 2.219, "F775W": 1.629, "F814W": 1.526, "F850LP": 1.243,
    }  # fmt: skip
    assert {name: photcal.extinction(name) for name in values_of_paper} == values_of_paper


def test_the_command_draws_an_isochrone(out, tmp_path, bycatch):
    path = tmp_path / "iso.dat"
    path.write_text(ISOCHRONE)
    words = ("--isochrone", path, "--distance-modulus", "20", "--reddening", "0.1")
    assert bycatch("report", out, *words).status == 0
    (content,) = group_contents(out / page.PAGE)
    (drawn,) = content["isochrones"]
    assert drawn["label"] == "iso.dat"
    assert drawn["magnitudes"]["F475W"] == [25.3268, 24.3268]
    result = bycatch("report", out, "--reddening", "0.1")
    assert result.status == 2
    assert "need an --isochrone" in result.err


# ---------------------------------------------------------------- explain, compare, status, export


def test_an_object_is_explained(out, group, bycatch):
    table = group.objects(clean=True)
    star = table[int(np.argmin(floats(table, "mag_F775W")))]
    result = bycatch("explain", out, "--object", star["object_id"])
    assert result.status == 0, result.err
    assert f"object {star['object_id']}: a point, real" in result.out
    for image in ("abc_01/F475W/jabc01020", "abc_01/F775W/jabc01010"):
        assert f"{image} detected it (row id" in result.out
    (explanation,) = explain_objects(out, radec=(float(star["ra"]), float(star["dec"])))
    text = " ".join(explanation.sentences)
    assert explanation.object_id == star["object_id"]
    assert "2 images show it at the same position" in text
    assert f"F775W {star['mag_F775W']:.3f} ±" in text
    assert "Its motion is not known" in text
    assert "It is Gaia DR3" in text
    here = bycatch("explain", out, "--radec", star["ra"], star["dec"]).out
    assert f"object {star['object_id']}: a point" in here
    assert "jabc01010_cat.ecsv: id" in here  # the images' own answers follow


@pytest.mark.parametrize(
    ("n_detected", "n", "why"),
    [
        (0, 3, "no single image shows it"),
        (1, 3, "one image shows it"),
        (1, 1, "no other image covers it"),
        (2, 3, "2 images show it at the same position"),
    ],
)
def test_the_evidence_counts_the_images_that_show_an_object(n_detected, n, why):
    own = Table({"p_real": [0.3], "flags": [0], "position_chi2": [np.nan]})[0]
    epochs = Table({"detected": np.arange(n) < n_detected})
    assert why in next(object_explanation._evidence(own, epochs))


def test_no_object_is_explained(out, group):
    table = group.objects()
    ra, dec = floats(table, "ra"), floats(table, "dec")
    middle = (float(np.mean(ra)) + 1e-3 / 3600, float(np.mean(dec)))
    away = np.hypot((ra - middle[0]) * np.cos(np.radians(middle[1])), dec - middle[1]) * 3600
    (explanation,) = explain_objects(out, radec=middle)
    if away.min() > 0.5:
        assert explanation.verdict == "no object here"
        assert f"lies {away.min():.2f} arcsec away" in explanation.sentences[0]
    with pytest.raises(SettingsError, match="no object 5"):
        explain_objects(out, object_id=5)
    with pytest.raises(SettingsError, match="give one object"):
        explain_objects(out)


def changed(out, target, change):
    """Return a copy of a folder whose table of objects is changed."""
    shutil.copytree(out, target, symlinks=True)
    for path in target.glob("objects/*/*_objects.parquet"):
        path.unlink()
    (path,) = target.glob("objects/*/*_objects.ecsv")
    change(read_table(path)).write(path, format="ascii.ecsv", overwrite=True)
    return target


def test_objects_of_two_folders_are_compared(out, tmp_path, bycatch):
    def change(table):
        table["dec"] += 2.0 / 3.6e6
        table["mag_F775W"] += 0.01
        table["object_id"][1] += 1  # another name
        double = table[2:3].copy()
        double["object_id"] += 7
        double["ra"] += 60.0 / 3.6e6
        from astropy.table import vstack

        return vstack([table[[k for k in range(len(table)) if k != 4]], double])

    other = changed(out, tmp_path / "other", change)
    comparison = compare_objects(out, other)
    numbers = comparison.summary()
    n = numbers["objects_a"]
    assert numbers["objects_b"] == n
    counts = ("matched", "same_id", "renamed", "joined", "lost", "split", "new")
    assert [numbers[k] for k in counts] == [n - 1, n - 2, 1, 0, 1, 1, 0]
    assert numbers["offset_dec_mas"] == pytest.approx(2.0, abs=0.01)
    row = comparison.filters[list(comparison.filters["filter"]).index("F775W")]
    assert row["dmag"] == pytest.approx(0.01, abs=2e-4)
    assert compare_objects(other, out).summary()["joined"] == 1
    result = bycatch("compare", out, other, "-o", tmp_path / "tables")
    assert result.status == 0, result.err
    assert f"  with the same object_id                    {n - 2}" in result.out
    assert len(list((tmp_path / "tables").glob("compare_objects_*.ecsv"))) == 4
    pairs = read_table(tmp_path / "tables/compare_objects_matches.ecsv")
    errors = [pairs[f"mag_err_F775W_{letter}"] for letter in "ab"]
    np.testing.assert_allclose(pairs["dmag_err_F775W"], np.hypot(*errors), atol=1e-6)
    assert "B - A" in pairs["dmag_F775W"].description
    with pytest.raises(SettingsError, match="no objects in it"):
        compare_objects(out, tmp_path / "tables")


def test_status_knows_the_objects(out, tmp_path, monkeypatch, bycatch):
    copy = tmp_path / "out"
    shutil.copytree(out, copy, symlinks=True)
    settings, last = saved_settings(copy), last_run(copy)
    (status,) = group_statuses(copy, settings, last)
    assert (status.state, status.n_images, status.outcome) == ("done", 2, "done")
    assert status.n_objects >= status.n_real > 0
    other = settings.replace(objects=settings.objects.replace(combined=False))
    assert group_statuses(copy, other, last)[0].state == "outdated"
    monkeypatch.setattr("bycatch.pipeline.status.group_statuses", group_statuses)
    result = bycatch("status", copy)
    assert result.status == 0
    assert re.search(rf"{status.name} +done +done +2", result.out)
    shutil.rmtree(copy / "objects")
    assert group_statuses(copy, settings, last)[0].state == "to do"
    assert bycatch("status", copy).status == 1


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_objects_are_exported(out, group, tmp_path, form):
    (path,) = export(out, [form], "objects", tmp_path)
    again, table = read_table(path), group.objects()
    assert again.colnames == table.colnames
    assert (np.asarray(again["object_id"]) == np.asarray(table["object_id"])).all()
    (path,) = export(out, ["ecsv"], "epochs", tmp_path, merged=True)
    merged = read_table(path)
    assert merged.colnames[0] == "group"
    assert set(merged["group"]) == {group.name}


def test_regions_of_objects_have_shapes_by_what_they_are(tmp_path):
    n = 5
    table = Table({"object_id": np.arange(1, n + 1), "ra": np.full(n, 150.0)})
    table["dec"] = 2.0 + np.arange(n) / 360
    table["p_real"] = [1.0, 1.0, 1.0, 0.1, 1.0]
    table["p_star"] = [1.0, 0.0, np.nan, 1.0, 1.0]
    for name, value in (("semimajor_arcsec", 2.0), ("semiminor_arcsec", 0.5), ("pa_deg", 0.0)):
        table[name] = np.where(np.arange(n) == 1, value, np.nan)
    table["list_row"] = [1, 0, 0, 0, 0]
    for name, value in (("pmra", 0.0), ("pmdec", 10.0), ("pmra_err", 1.0), ("pmdec_err", 1.0)):
        table[name] = np.where(np.arange(n) == 4, value, np.nan)
    text = object_regions(table)
    words = [line.split("(")[0] for line in text.splitlines()[2:]]
    assert words == ["circle", "point", "ellipse", "box", "point", "circle", "# vector"]
    assert "text={2}" in text.splitlines()[4]
    assert '1.000",90.0' in text  # 100 years of 10 mas, to the north
    # A position angle of 0 is north, as the reader of regions has it, too.
    path = tmp_path / "objects.reg"
    path.write_text("\n".join([*text.splitlines()[:2], text.splitlines()[4]]))
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, table["dec"][1]]
    wcs.wcs.crpix, wcs.wcs.cdelt = [51, 51], [-0.1 / 3600, 0.1 / 3600]
    regions = read_regions(path)
    x, y = np.array([50.0, 65.0]), np.array([65.0, 50.0])  # 1.5 arcsec to the north, to the west
    assert regions.contain(x, y, wcs).tolist() == [True, False]


# ---------------------------------------------------------------- Python


def test_a_group_shows_itself_and_its_light_curves(group):
    from astropy.timeseries import TimeSeries

    html = group._repr_html_()
    assert group.name in html
    assert "objects" in html
    assert "can't be shown" not in html
    star = int(group.objects(clean=True)["object_id"][0])
    curve = group.light_curve(star)
    assert isinstance(curve, TimeSeries)
    assert curve.colnames[:3] == ["time", "filter", "image"]
    assert curve.meta["object_id"] == star
    assert (np.diff(curve.time.mjd) >= 0).all()
    objects, epochs = group.objects(), group.epochs()
    of_psf = objects["object_id"][np.asarray(objects["psf_flux"])]
    curve = group.light_curve(int(of_psf[0]))
    fits = epochs[np.asarray(epochs["object_id"]) == of_psf[0]]
    assert sorted(np.asarray(curve["flux"]).tolist()) == sorted(
        np.asarray(fits["flux_psf"]).tolist()
    )
    in_aperture = group.light_curve(int(of_psf[0]), 4)
    assert sorted(np.asarray(in_aperture["mag"]).tolist()) == sorted(
        np.asarray(fits["mag_ab_4"]).tolist()
    )
    with pytest.raises(KeyError, match="no aperture of 99 px; there are 2, 4"):
        group.light_curve(star, 99)
