"""A survey of the objects of output folders: built, brought up to date, asked."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from astropy_healpix import HEALPix

from bycatch.catalogs.columns import expand
from bycatch.catalogs.object_columns import EPOCHS, GROUP_IMAGES, IN_FILTER, OBJECTS, in_filters
from bycatch.catalogs.survey_columns import TABLES
from bycatch.catalogs.tables import make_table, read_table, write_table
from bycatch.errors import SettingsError
from bycatch.products.group_state import GroupState, group_folder, read_group, write_group
from bycatch.stages.objects.identity import healpix_ids
from bycatch.survey.build import build_survey
from bycatch.survey.hats import catalog_folder, leaf_path, margin_folder, read_leaf
from bycatch.survey.notes import NOTES, read_notes
from bycatch.survey.query import open_survey
from bycatch.survey.sky import MOST_ORDER, Cell, Partitions, cone_ranges, margin_rows, partition
from bycatch.survey.sources import SAME_ARCSEC
from bycatch.system.disk import proof_of

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")
pytest.importorskip("mocpy")

POLES = ((0.001, 0.0), (359.995, 0.0), (45.0, 89.9995), (225.0, -89.999), (180.0, 41.81))
"""Places where spheres go wrong: RA 0, the poles, corners of HEALPix."""
N = 40


def put_group(out, name, ra, dec, *, filters=("F606W",), images=1, seed=1):
    """Write a group of objects at positions, as `bycatch objects` does."""
    rng = np.random.default_rng(seed)
    n = len(ra)
    ids = healpix_ids(np.asarray(ra), np.asarray(dec))
    columns = (*OBJECTS, *in_filters(IN_FILTER, filters))

    def values(spec):
        if spec.dtype.startswith("U"):
            return np.full(n, "A")
        return rng.uniform(0, 1, n) if spec.dtype == "f8" else np.ones(n)

    data = {c.name: values(c) for c in columns}
    data |= {"object_id": ids, "ra": ra, "dec": dec, "p_real": np.full(n, 0.9)}
    objects = make_table(columns, data)
    labels = [f"{name}/{filters[0]}/j{name[:6].lower()}{k:02d}" for k in range(images)]
    epochs = expand(EPOCHS, (4.0,))
    rows = np.tile(np.arange(n), images)
    filled = {
        c.name: np.full(n * images, "F606W" if c.dtype.startswith("U") else 1) for c in epochs
    }
    filled |= {
        "object_id": ids[rows],
        "image": np.repeat(labels, n),
        "exposure": np.full(n * images, ""),
        "flux_4_apcor": rng.uniform(1e-19, 1e-17, n * images),
    }
    folder = group_folder(out, name)
    folder.mkdir(parents=True, exist_ok=True)
    shown = {c.name: np.full(images, "A" if c.dtype.startswith("U") else 1) for c in GROUP_IMAGES}
    shown |= {"image": labels, "filter": np.full(images, filters[0])}
    tables = {
        "objects": objects,
        "epochs": make_table(epochs, filled),
        "images": make_table(GROUP_IMAGES, shown),
    }
    outputs = {}
    for kind, table in tables.items():
        path = folder / f"{name}_{kind}.parquet"
        write_table(table, path, "parquet")
        outputs[path.name] = proof_of(path)
    write_group(out, GroupState(name, labels, f"key{seed}", outputs, outcome="done"))


def scatter(ra0, dec0, n, seed, width=0.012):
    rng = np.random.default_rng(seed)
    dec = dec0 + rng.uniform(-width, width, n)
    ra = ra0 + rng.uniform(-width, width, n) / np.maximum(np.cos(np.radians(dec)), 1e-3)
    beyond = np.abs(dec) > 90  # the pole
    dec = np.where(beyond, np.sign(dec) * 180 - dec, dec)
    return (ra + 180 * beyond) % 360.0, dec


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """An output folder of groups where spheres go wrong, and its survey of small partitions."""
    folder = tmp_path_factory.mktemp("scattered")
    for k, (ra, dec) in enumerate(POLES):
        put_group(folder / "out", f"J{k:06d}", *scatter(ra, dec, N, k), seed=k)
    built = build_survey([folder / "out"], folder / "survey", most_rows=20)
    assert len(built.taken) == len(POLES)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The same of three groups, for what builds it again and again."""
    folder = tmp_path_factory.mktemp("small")
    for k, (ra, dec) in enumerate(((0.0, 10.0), (45.0, 89.9995), (180.0, 41.81))):
        put_group(folder / "out", f"J{k:06d}", *scatter(ra, dec, 24, k), seed=k)
    build_survey([folder / "out"], folder / "survey", most_rows=20)
    return folder


@pytest.fixture(scope="module")
def survey(with_objects, tmp_path_factory, bycatch):
    """A survey of a run; do not write into it."""
    path = tmp_path_factory.mktemp("surveys") / "mine"
    result = bycatch("survey", "build", with_objects, "-o", path)
    assert result.status == 0, result.err
    assert "group(s) new" in result.out
    return path


def rows_of(survey, table, folder=catalog_folder):
    """Return all rows as text, sorted, with the partition that each is in."""
    notes = read_notes(survey)
    layout = notes.tables[table]
    results = []
    for leaf in layout.leaves if folder is catalog_folder else layout.margins:
        rows = read_leaf(leaf_path(folder(survey, table), leaf.cell)).to_pylist()
        assert len(rows) == leaf.rows
        results += [(leaf.cell, repr(row)) for row in rows]
    return sorted(results)


def same(a, b):
    """Tell whether two surveys hold the same rows in the same partitions."""
    for table in TABLES:
        assert rows_of(a, table) == rows_of(b, table)
        assert rows_of(a, table, margin_folder) == rows_of(b, table, margin_folder)
    assert read_notes(a).summary == read_notes(b).summary


# ---------------------------------------------------------------- built


def test_the_survey_holds_the_objects_with_units_in_every_file(survey, with_objects):
    from pyarrow import parquet

    objects = read_table(next(with_objects.glob("objects/*/*_objects.parquet")))
    epochs = read_table(next(with_objects.glob("objects/*/*_epochs.ecsv")))
    with open_survey(survey) as tables:
        table = tables.sql("SELECT * FROM object ORDER BY object_id")
        order = np.argsort(objects["object_id"])
        for name in objects.colnames:
            mine, theirs = table[name], objects[name][order]
            assert (np.ma.getmaskarray(mine) == np.ma.getmaskarray(theirs)).all(), name
            if mine.dtype.kind == "f":
                np.testing.assert_allclose(
                    np.ma.filled(mine, 0), np.ma.filled(theirs, 0), rtol=1e-6, err_msg=name
                )
            else:
                assert (mine == theirs).all()
            assert mine.unit == theirs.unit
            assert mine.description == theirs.description
        assert len(tables.sql("SELECT * FROM epoch")) == len(epochs)
        image = tables.sql("SELECT * FROM image ORDER BY filter")
        assert list(image["filter"]) == ["F475W", "F775W"]
        assert (image["area"] > 0).all()
        assert image["footprint"][0].startswith("POLYGON ICRS ")
        exposures = tables.sql("SELECT * FROM exposure")
        assert len(exposures) == 3
        assert exposures["mjd"].description.startswith("its mid-time")
    for table in TABLES:
        root = catalog_folder(survey, table)
        files = [*(root / "dataset").rglob("*.parquet"), root / "dataset" / "_common_metadata"]
        for file in files:
            field = parquet.read_schema(file).field("ra")
            assert field.metadata[b"unit"] == b"deg"
            assert field.metadata[b"ucd"] == b"pos.eq.ra;meta.main"
            assert field.metadata[b"description"]


def test_maps_say_where_and_how_deep(survey, with_objects):
    from mocpy import MOC

    image = next(with_objects.glob("*/F775W/*_depth.fits"))
    depth = fits.getdata(image)
    with fits.open(survey / "depth_F775W.fits") as hdus:
        result, header = hdus[1].data, hdus[1].header
        assert (header["ORDERING"], header["INDXSCHM"]) == ("NESTED", "EXPLICIT")
        assert np.median(result["DEPTH"]) == pytest.approx(np.median(depth[depth > 0]), abs=0.1)
        assert (result["N_IMAGES"] == 1).all()
    objects = read_table(next(with_objects.glob("objects/*/*_objects.ecsv")))
    moc = MOC.load(survey / "footprint.fits", "fits")
    place = SkyCoord(objects["ra"], objects["dec"])
    assert moc.contains_skycoords(place).mean() > 0.95
    assert not moc.contains_skycoords(place.spherical_offsets_by("0d", "0.1d")).any()
    summary = read_notes(survey).summary
    assert summary["filters"]["F775W"]["area_deg2"] == pytest.approx(
        3.0 * 3.0 * 200 * 240 / 3600**2 / 3600 * 1.0, rel=20
    )


def test_completeness_goes_in_where_it_was_measured(with_objects, tmp_path, bycatch):
    out = tmp_path / "out"
    shutil.copytree(with_objects, out, symlinks=True)
    first = build_survey([out], tmp_path / "s")
    assert len(read_leaf(tmp_path / "s" / "completeness.parquet")) == 0
    result = bycatch("inject", out, "--set", "inject.n_sources=20", "--set", "inject.max_runs=1")
    again = build_survey([out], tmp_path / "s") if result.status == 0 else first
    if result.status:
        pytest.fail(result.err)
    assert again.taken
    rows = read_leaf(tmp_path / "s" / "completeness.parquet").to_pylist()
    assert {row["filter"] for row in rows} == {"F475W", "F775W"}


def test_the_front_page_needs_nothing_else(survey):
    page = (survey / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<svg" in page
    for name in ("F475W", "F775W"):
        assert f"<td>{name}</td>" in page
    text = (survey / "README.md").read_text()
    with open_survey(survey) as tables:
        for sql in text.split("```sql\n")[1:]:
            tables.sql(sql.split("\n```")[0])


def test_partitions_have_no_more_rows_than_they_may(scattered):
    notes = read_notes(scattered / "survey")
    leaves = notes.tables["object"].leaves
    assert all(leaf.rows <= 20 or leaf.order == MOST_ORDER for leaf in leaves)
    assert len(leaves) > len(POLES)
    assert sum(leaf.rows for leaf in leaves) == N * len(POLES)
    for leaf in leaves:
        path = leaf_path(catalog_folder(scattered / "survey", "object"), leaf.cell)
        ids = np.asarray(read_leaf(path)["_healpix_29"])
        low, high = leaf.cell.limits()
        assert ((ids >= low) & (ids < high)).all()
        assert (np.diff(ids) >= 0).all()


def test_margins_hold_what_lies_beyond_the_edge(scattered):
    """Every row within 5 arcsec of a partition's rows, but outside of it, is in its margin."""
    survey = scattered / "survey"
    notes = read_notes(survey)
    with open_survey(survey) as tables:
        everything = tables.sql("SELECT object_id, ra, dec, _healpix_29 AS cell FROM object")
    at = SkyCoord(everything["ra"], everything["dec"], unit="deg")
    root = margin_folder(survey, "object")
    count = 0
    for leaf in notes.tables["object"].leaves:
        low, high = leaf.cell.limits()
        inside = (everything["cell"] >= low) & (everything["cell"] < high)
        near = at[~inside].search_around_sky(at[inside], 5 / 3600 * at.ra.unit)[1]
        wanted = set(np.asarray(everything["object_id"])[~inside][near].tolist())
        path = leaf_path(root, leaf.cell)
        held = set(read_leaf(path)["object_id"].to_pylist()) if path.exists() else set()
        assert wanted <= held
        assert not held & set(np.asarray(everything["object_id"])[inside].tolist())
        count += len(wanted)
    assert count > 0


def test_margin_rows_are_near_the_edge():
    rng = np.random.default_rng(3)
    cells = [Cell(8, 4 * 70000 + k) for k in range(4)]
    grid = HEALPix(nside=2 ** cells[0].order, order="nested")
    edge = grid.boundaries_lonlat([cells[0].pixel], 1)
    ra0, dec0 = (float(np.mean(v.to_value("deg"))) for v in edge)
    ra, dec = ra0 + rng.uniform(-0.2, 0.2, 40000), dec0 + rng.uniform(-0.2, 0.2, 40000)
    partitions = Partitions(cells)
    own = partitions.of(healpix_ids(ra, dec)) == 0
    ra, dec = ra[own], dec[own]
    groups = margin_rows(ra, dec, 0, partitions, 5.0)
    share = sum(map(len, groups.values())) / len(ra)
    # A cell of order 8 is 824 arcsec wide; two or three of its sides have a neighbour here.
    assert 0.5 * 5 * 2 / 824 < share < 1.5 * 5.5 * 3 / 824


def test_partitions_do_not_depend_on_the_order():
    rng = np.random.default_rng(5)
    counts = dict(zip(rng.integers(0, 12 * 4**13, 300).tolist(), [10] * 300, strict=True))
    whole = partition(counts, 100)
    assert sum(whole.values()) == sum(counts.values())
    other = dict(reversed(counts.items()))
    assert partition(other, 100) == whole
    assert max(whole.values()) <= 100


# ---------------------------------------------------------------- brought up to date


def test_a_new_group_touches_its_partitions_only_and_ends_the_same(small, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(small / "out", out)
    build_survey([out], tmp_path / "s", most_rows=20)
    unchanged = build_survey([out], tmp_path / "s", most_rows=20)
    assert not unchanged.is_new
    before = {p: p.stat().st_ino for p in (tmp_path / "s" / "object").rglob("Npix*")}
    put_group(out, "J000009", *scatter(100.0, 10.0, 50, 9), seed=9)
    put_group(out, "J000002", *scatter(180.0, 41.81, 30, 14), seed=14)  # another one of its name
    built = build_survey([out], tmp_path / "s", most_rows=20)
    assert built.taken == ("J000002", "J000009")
    after = {p: p.stat().st_ino for p in (tmp_path / "s" / "object").rglob("Npix*")}
    kept = [p for p in before if after.get(p) == before[p]]
    assert len(kept) > 0.4 * len(before)
    same(tmp_path / "s", build_survey([out], tmp_path / "new", most_rows=20).path)
    shutil.rmtree(group_folder(out, "J000009"))
    shutil.rmtree(group_folder(out, "J000000"))
    built = build_survey([out], tmp_path / "s", most_rows=20)
    assert built.gone == ("J000000", "J000009")
    same(tmp_path / "s", build_survey([out], tmp_path / "new2", most_rows=20).path)


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_every_engine_builds_the_same_survey(small, tmp_path, executor):
    if executor == "dask":
        pytest.importorskip("distributed")
    built = build_survey(
        [small / "out"], tmp_path / "s", most_rows=20, executor=executor, workers=2
    )
    same(small / "survey", built.path)


def test_a_filter_that_is_new_gets_its_columns(tmp_path):
    put_group(tmp_path / "a", "J000001", *scatter(10, 10, 20, 1))
    put_group(tmp_path / "b", "J000002", *scatter(20, 10, 20, 2), filters=("F435W", "F814W"))
    build_survey([tmp_path / "a"], tmp_path / "s")
    build_survey([tmp_path / "b"], tmp_path / "s")  # what was there before stays
    with open_survey(tmp_path / "s") as survey:
        table = survey.sql("SELECT * FROM object")
        assert len(table) == 40
        assert table["mag_F814W"].mask.sum() == 20
        assert survey.filters == ["F435W", "F606W"]
    same(tmp_path / "s", build_survey([tmp_path / "b", tmp_path / "a"], tmp_path / "new").path)
    build_survey([tmp_path / "b"], tmp_path / "s", only=True)
    with open_survey(tmp_path / "s") as survey:
        assert "mag_F606W" not in survey.columns()["name"]


def test_an_object_of_two_folders_stands_once(tmp_path):
    """The same name: one row; another name at the same place: it says so."""
    ra, dec = scatter(10, 10, 40, 1)
    put_group(tmp_path / "few", "J000001", ra, dec, images=1)
    shifted = np.where(np.arange(40) < 20, dec, dec + 0.5 * SAME_ARCSEC / 3600)
    put_group(tmp_path / "many", "J000001", ra, shifted, images=3, seed=2)
    build_survey([tmp_path / "few", tmp_path / "many"], tmp_path / "s")
    with open_survey(tmp_path / "s") as survey:
        table = survey.sql("SELECT * FROM object")
        assert len(set(table["object_id"])) == len(table) == 60
        counted = table[table["duplicate_of"] == 0]
        assert len(counted) == 40
        assert set(counted["group"]) == {"J000001_2"}
        named = table[table["duplicate_of"] > 0]
        assert set(named["duplicate_of"]) <= set(counted["object_id"])
        pairs = survey.sql("SELECT object_id, image, count(*) AS n FROM epoch GROUP BY ALL")
        assert (pairs["n"] == 1).all()
        assert survey.notes.summary["n_objects"] == 40
    assert "20 that lie within 0.15 arcsec" in (tmp_path / "s" / "README.md").read_text()


def test_a_folder_that_has_moved_is_the_same(tmp_path):
    """Else each of its objects would be there twice."""
    ra, dec = scatter(10, 10, 40, 1)
    put_group(tmp_path / "here" / "out", "J000001", ra, dec, images=1)
    build_survey([tmp_path / "here" / "out"], tmp_path / "s")
    (tmp_path / "here").rename(tmp_path / "there")
    result = build_survey([tmp_path / "there" / "out"], tmp_path / "s")
    assert (result.taken, result.gone, result.n_made) == ((), (), 0)
    assert result.notes.summary["n_objects"] == 40
    assert [group.out for group in result.notes.groups] == [str(tmp_path / "there" / "out")]
    assert not build_survey([tmp_path / "there" / "out"], tmp_path / "s").is_new


KILLED = """
import os, signal, sys
from bycatch.survey import build
step = sys.argv[3]
home = {name: getattr(build, name) for name in ("spool", "make_leaf", "describe", "_exchange")}
def dies(*words, **options):
    if step.endswith("+"):
        home[step[:-1]](*words, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(build, step.removesuffix("+"), dies)
build.build_survey([sys.argv[1]], sys.argv[2], most_rows=20)
"""


@pytest.mark.parametrize("step", ["make_leaf+", "_exchange+"])
def test_a_survey_that_is_killed_is_as_before_or_complete(small, tmp_path, step):
    out, survey = tmp_path / "out", tmp_path / "s"
    shutil.copytree(small / "out", out)
    shutil.copytree(small / "survey", survey)
    # It is of the folder that was copied.
    notes = (survey / NOTES).read_text().replace(str(small / "out"), str(out))
    (survey / NOTES).write_text(notes)
    (survey / "mine.txt").write_text("of the user")
    put_group(out, "J000009", *scatter(100.0, 10.0, 50, 9), seed=9)
    process = subprocess.run(
        [sys.executable, "-c", KILLED, out, survey, step], check=False, capture_output=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    with open_survey(survey) as tables:
        n = len(tables.sql("SELECT object_id FROM object"))
        assert n == 24 * 3 + (50 if step == "_exchange+" else 0)
    again = build_survey([out], survey, most_rows=20)
    assert again.is_new == (step != "_exchange+")
    assert (survey / "mine.txt").read_text() == "of the user"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "s"]
    same(survey, build_survey([out], tmp_path / "new", most_rows=20).path)


def test_nothing_is_built_into_a_folder_of_others(scattered, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("")
    with pytest.raises(SettingsError, match="neither empty nor a survey"):
        build_survey([scattered / "out"], tmp_path / "s")
    with pytest.raises(SettingsError, match="no objects in it"):
        build_survey([tmp_path], tmp_path / "t")
    with pytest.raises(SettingsError, match="margin"):
        build_survey([scattered / "out"], tmp_path / "t", margin_arcsec=30)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]


def test_processes_make_the_same_survey(small, tmp_path):
    built = build_survey([small / "out"], tmp_path / "s", most_rows=20, workers=2)
    same(built.path, small / "survey")


# ---------------------------------------------------------------- asked


@pytest.mark.parametrize("place", POLES)
@pytest.mark.parametrize("radius", [10.0, 60.0, 3000.0])
def test_a_cone_holds_what_lies_in_it(scattered, place, radius):
    with open_survey(scattered / "survey") as survey:
        everything = survey.sql("SELECT * FROM object")
        table = survey.cone(*place, radius)
    far = (
        SkyCoord(*place, unit="deg")
        .separation(SkyCoord(everything["ra"], everything["dec"], unit="deg"))
        .arcsec
    )
    assert set(table["object_id"]) == set(everything["object_id"][far <= radius])
    assert len(table) > 0 or radius < 100
    np.testing.assert_allclose(np.sort(far[far <= radius]), table["separation"], atol=1e-6)
    assert table["separation"].unit == "arcsec"
    assert table["ra"].unit == "deg"


def test_cones_of_all_sizes_are_covered_by_their_ranges():
    rng = np.random.default_rng(8)
    for radius in (1e-4, 0.003, 0.1, 2.0, 20.0, 60.0):
        for _ in range(10):
            dec0 = np.degrees(np.arcsin(rng.uniform(-1, 1)))
            ra0 = rng.uniform(0, 360)
            angle = rng.uniform(0, 360, 50)
            at = SkyCoord(ra0, dec0, unit="deg").directional_offset_by(
                angle * SkyCoord(0, 0, unit="deg").ra.unit,
                0.999 * radius * SkyCoord(0, 0, unit="deg").ra.unit,
            )
            ids = healpix_ids(at.ra.deg, at.dec.deg)
            ranges = cone_ranges(ra0, dec0, radius)
            assert np.any([(ids >= a) & (ids < b) for a, b in ranges], axis=0).all()


def test_a_box_goes_over_right_ascension_zero(scattered):
    with open_survey(scattered / "survey") as survey:
        everything = survey.sql("SELECT * FROM object")
        table = survey.box((359.99, 0.01), (-0.01, 0.01))
        ra = (everything["ra"] + 180) % 360 - 180
        wanted = (abs(ra) <= 0.01) & (abs(everything["dec"]) <= 0.01)
        assert set(table["object_id"]) == set(everything["object_id"][wanted])
        assert len(table) > 10
        assert len(survey.box((0, 360), (-90, 90))) == len(everything)
        assert len(survey.box((0, 360), (89, 90))) == N


def test_a_light_curve_is_an_object_in_all_images(survey):
    with open_survey(survey) as tables:
        objects = tables.sql("SELECT * FROM object")
        for row in objects:
            table = tables.light_curve(row["object_id"])
            assert len(table) == row["n_images"]
            assert set(table["object_id"]) == {row["object_id"]}
        assert table["flux_6_apcor"].unit is not None
        assert len(tables.light_curve(12345)) == 0
        with pytest.raises(SettingsError, match="no HEALPix cell"):
            tables.light_curve(-1)


def test_a_light_curve_has_exposures_instead_of_their_image(tmp_path):
    """An image with two exposures, and one without."""
    put_group(tmp_path / "out", "J1", [10.0], [20.0], images=4)  # four rows
    path = group_folder(tmp_path / "out", "J1") / "J1_epochs.parquet"
    epochs = read_table(path)
    first, last = epochs["image"][0], epochs["image"][3]
    epochs["image"] = [first, first, first, last]
    epochs["exposure"] = ["", "j1q", "j2q", ""]
    write_table(epochs, path, "parquet")
    state = read_group(tmp_path / "out", "J1")
    write_group(
        tmp_path / "out", replace(state, outputs=state.outputs | {path.name: proof_of(path)})
    )
    build_survey([tmp_path / "out"], tmp_path / "survey")
    with open_survey(tmp_path / "survey") as survey:
        curve = survey.light_curve(epochs["object_id"][0])
    assert sorted(curve["exposure"].tolist()) == ["", "j1q", "j2q"]
    assert curve["image"][np.asarray(curve["exposure"]) == ""].tolist() == [last]


@pytest.mark.parametrize("form", ["table", "coordinates"])
def test_a_cross_match_finds_the_nearest(scattered, form):
    rng = np.random.default_rng(4)
    with open_survey(scattered / "survey") as survey:
        everything = survey.sql("SELECT * FROM object")
        at = SkyCoord(everything["ra"], everything["dec"], unit="deg")
        moved = at.directional_offset_by(
            rng.uniform(0, 360, len(at)) * at.ra.unit, 0.3 / 3600 * at.ra.unit
        )
        asked = Table({"RA": moved.ra.deg, "Dec": moved.dec.deg}) if form == "table" else moved
        table = survey.crossmatch(asked, 0.5)
        assert (table["row"] == np.arange(len(at))).all()
        nearest, far, _ = moved.match_to_catalog_sky(at)
        assert (table["object_id"] == everything["object_id"][nearest]).all()
        np.testing.assert_allclose(table["separation"], far.arcsec, atol=1e-6)
        assert len(survey.crossmatch(asked, 0.2)) < len(at) / 2
        more = survey.crossmatch(asked, 60.0, nearest=False, columns=["object_id"])
        i, _, _, _ = at.search_around_sky(moved, 60 / 3600 * at.ra.unit)
        assert len(more) == len(i)
        assert len(survey.crossmatch(Table({"ra": [np.nan], "dec": [0.0]}))) == 0
        with pytest.raises(SettingsError, match="no positions"):
            survey.crossmatch(Table({"x": [1.0]}))


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "COPY object TO '{folder}/x.parquet'",
        "SELECT 1; COPY object TO '{folder}/x.csv'",
        "EXPLAIN ANALYZE COPY object TO '{folder}/x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{folder}/../../../survey.json')",
        "SELECT * FROM glob('/etc/*')",
        "SET enable_external_access = true",
        "ATTACH '{folder}/x.db'",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW object",
        "INSTALL httpfs",
        "EXPORT DATABASE '{folder}/x'",
        "PRAGMA database_list",
        "SELECT * FROM secret",
        "SELECT * FROM einzel",
        "SELEC 1",
        "",
    ],
)
def test_sql_reads_the_survey_and_does_nothing_else(survey, sql):
    secret = Table({"a": [1]})
    assert len(secret) == 1
    folder = catalog_folder(survey, "object") / "dataset"
    before = sorted(survey.rglob("*"))
    with open_survey(survey) as tables, pytest.raises(SettingsError):
        tables.sql(sql.format(folder=folder))
    assert sorted(survey.rglob("*")) == before


def test_a_box_upside_down_is_refused(survey):
    with open_survey(survey) as tables, pytest.raises(SettingsError, match="southern one first"):
        tables.box((1, 2), (5, 1))


def test_names_of_columns_are_no_sql(survey):
    with open_survey(survey) as tables:
        for table, columns in (("object", ['ra" FROM object; --']), ("object; --", None)):
            with pytest.raises(SettingsError):
                tables.cone(0, 0, 10, table=table, columns=columns)
        for wrong in ((0, 91, 10), (0, 0, -1), (np.nan, 0, 10)):
            with pytest.raises(SettingsError, match="cone"):
                tables.cone(*wrong)


def test_the_command_prints_and_writes_answers(survey, tmp_path, bycatch):
    result = bycatch("query", survey, "SELECT object_id, mag_F775W FROM object ORDER BY 2 LIMIT 3")
    assert result.status == 0, result.err
    assert "mag" in result.out.splitlines()[1]
    with open_survey(survey) as tables:
        first = tables.sql("SELECT * FROM object LIMIT 1")[0]
    for suffix in ("ecsv", "fits", "vot", "parquet", "csv"):
        file = tmp_path / f"near.{suffix}"
        result = bycatch("query", survey, "--cone", first["ra"], first["dec"], 5, "-o", file)
        assert result.status == 0, result.err
        assert first["object_id"] in read_table(file)["object_id"]
    printed = bycatch("query", survey, "--cone", first["ra"], first["dec"], 5).out.splitlines()
    assert max(map(len, printed)) < 200
    assert printed[-1].endswith(f"of {len(tables.columns())} columns; -o FILE writes all")
    assert f"{first['ra']:.8f}" in printed[3]
    assert "no rows" in bycatch("query", survey, "--light-curve", 5).out
    mine = tmp_path / "mine.csv"
    Table({"ra": [first["ra"]], "dec": [first["dec"]]}).write(mine)
    assert str(first["object_id"]) in bycatch("query", survey, "--match", mine).out
    assert "F475W" in bycatch("query", survey, "--light-curve", first["object_id"]).out
    assert bycatch("query", survey).status == 2
    assert bycatch("query", survey, "SELECT 1", "-o", tmp_path / "x.doc").status == 2
    assert bycatch("query", tmp_path, "SELECT 1").status == 2


def test_the_examples_of_the_how_to_page_run(with_objects, tmp_path, bycatch, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "howto.md").read_text()
    lines = re.findall(r"^\$ bycatch ((?:survey|query|publish) .*)$", page, re.MULTILINE)
    assert len(lines) >= 4
    for name in ("out1", "out2", "out"):
        shutil.copytree(with_objects, tmp_path / name, symlinks=True)
    first = read_table(next(with_objects.glob("objects/*/*_objects.ecsv")))["ra", "dec"][:3]
    write_table(first, tmp_path / "targets.csv")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        result = bycatch(*shlex.split(line))
        assert result.status == 0, f"{line}\n{result.err}"
    assert len(read_table(tmp_path / "matches.ecsv")) == 3
    assert (tmp_path / "out_cds" / "ReadMe").exists()


def test_what_is_not_installed_is_named(survey, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(SettingsError, match=r"needs duckdb - pip install 'bycatch\[survey\]'"):
        open_survey(survey)
    monkeypatch.setitem(sys.modules, "mocpy", None)
    with pytest.raises(SettingsError, match="needs mocpy"):
        build_survey([survey], survey)


@pytest.fixture(scope="module")
def lsdb():
    """The library, working in this process."""
    library = pytest.importorskip("lsdb", reason="lsdb is not installed")
    import dask

    with dask.config.set(scheduler="synchronous"):
        yield library


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("table", ["object", "epoch", "image", "exposure"])
def test_lsdb_reads_the_same_numbers_and_units(lsdb, scattered, survey, table):
    for folder in (scattered / "survey", survey):
        catalog = lsdb.open_catalog(folder / table)
        with open_survey(folder) as tables:
            ours = tables.sql(f'SELECT * FROM "{table}"')
        order = np.lexsort([np.asarray(ours[name]) for name in ("dec", "ra", "_healpix_29")])
        theirs = catalog.compute().reset_index().sort_values(["_healpix_29", "ra", "dec"])
        assert set(theirs.columns) == set(ours.colnames)
        for name in ours.colnames if table == "object" else ("ra", "dec"):
            column = ours[order][name]
            if column.dtype.kind == "f":
                column = np.ma.filled(np.ma.asarray(column), np.nan)
                np.testing.assert_array_equal(theirs[name].to_numpy(dtype=float), column, name)
            elif not np.ma.getmaskarray(column).any():
                assert theirs[name].tolist() == column.tolist(), name
        for name in ours.colnames:
            words = catalog.original_schema.field(name).metadata or {}
            unit = words.get(b"unit", b"").decode()
            assert (Unit(unit) if unit else None) == ours[name].unit, name


@pytest.mark.filterwarnings("ignore")
def test_lsdb_finds_the_same_neighbours(lsdb, scattered):
    catalog = lsdb.open_catalog(scattered / "survey" / "object")
    assert catalog.margin is not None
    with open_survey(scattered / "survey") as tables:
        ours = tables.sql("SELECT * FROM object ORDER BY object_id")
        near = tables.cone(0.0, 0.0, 60.0)
        random = np.random.default_rng(1)
        up = random.normal(0, 0.1, len(ours)) / 3600
        mine = Table({"ra": ours["ra"].value, "dec": np.clip(ours["dec"].value + up, -90, 90)})
        matched = tables.crossmatch(mine, radius_arcsec=0.2)
    cone = catalog.cone_search(ra=0.0, dec=0.0, radius_arcsec=60.0).compute()
    assert set(cone["object_id"]) == set(near["object_id"])
    mine["row"] = np.arange(len(mine))
    list_of_mine = lsdb.from_dataframe(mine.to_pandas(), ra_column="ra", dec_column="dec")
    theirs = list_of_mine.crossmatch(
        catalog, radius_arcsec=0.2, n_neighbors=1, suffixes=("_mine", "_survey")
    ).compute()
    found = dict(zip(theirs["row_mine"].tolist(), theirs["object_id_survey"].tolist(), strict=True))
    assert found == dict(zip(matched["row"].tolist(), matched["object_id"].tolist(), strict=True))
    assert 10 < len(found) < len(mine)


@pytest.mark.filterwarnings("ignore")
def test_hats_finds_the_collection_valid(lsdb, survey):
    import hats
    from hats.io.validation import is_valid_collection

    schema = hats.read_hats(survey / "object").main_catalog.schema
    assert schema.field("mag_F775W").metadata[b"ucd"].startswith(b"phot.mag")
    assert is_valid_collection(survey / "object", verbose=False)
