"""The chain on disk: products, resuming, single steps, lists of positions, formats, provenance."""

import json
import os
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from astropy.wcs import WCS

from bycatch import Settings, read_table
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.columns import expand
from bycatch.catalogs.photometry_columns import PHOT, SKY
from bycatch.catalogs.source_columns import CR_SHARE, REMOVED, SOURCES
from bycatch.products import STAGES, read_extension

PRODUCTS = {
    "_drc.mask.fits", "_sources.ecsv", "_segm.fits.gz", "_wcs.fits", "_phot.ecsv",
    "_phot_noCRs.ecsv", "_cat.ecsv", "_cat_noCRs.ecsv", "_cat_clean.ecsv", "_depth.fits",
    "_sky.fits",
}  # fmt: skip
OF_STEP = {
    "detect": ("_sources.ecsv", "_segm.fits.gz", "_sky.fits"),
    "crmask": ("_drc.mask.fits",),
    "align": ("_wcs.fits",),
    "measure": ("_phot.ecsv", "_phot_noCRs.ecsv", "_depth.fits"),
    "finalize": ("_cat.ecsv", "_cat_noCRs.ecsv", "_cat_clean.ecsv"),
}
RED = ("abc_01/F775W", "jabc01010")
BLUE = ("abc_01/F475W", "jabc01020")


def product(out, suffix, image=RED):
    return out / image[0] / f"{image[1]}{suffix}"


def times(out, image=RED):
    """Return the time of change of each product of an image."""
    return {s: product(out, s, image).stat().st_mtime_ns for s in PRODUCTS}


def redone(before, after):
    """Return the steps whose products are all new; the others must be untouched."""
    steps = set()
    for step, suffixes in OF_STEP.items():
        new = {before[s] != after[s] for s in suffixes}
        assert len(new) == 1, f"{step} was redone in part"
        if new.pop():
            steps.add(step)
    return steps


def same_tables(one, other):
    """Assert that two tables hold the same bits, and the same metadata but for the date."""
    assert one.colnames == other.colnames
    for name in one.colnames:
        a, b = np.ma.asarray(one[name]), np.ma.asarray(other[name])
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
        assert a.filled().tobytes() == b.filled().tobytes(), name
    differing = {k for k in one.meta | other.meta if one.meta.get(k) != other.meta.get(k)}
    assert differing <= {"DATE"}


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("image", [RED, BLUE])
def test_a_run_makes_every_product_and_nothing_else(finished, image):
    names = {p.name for p in (finished / image[0]).iterdir()}
    extra = {f"{image[1]}_drc.fits"}
    assert names == {image[1] + s for s in PRODUCTS} | extra


def test_the_link_leads_to_the_users_file(finished, visit):
    link = finished / "abc_01/F775W/jabc01010_drc.fits"
    assert link.is_symlink()
    assert link.samefile(visit.raw / "jabc01010_drc.fits")


@pytest.mark.parametrize("image", [RED, BLUE])
def test_catalogs_hold_the_true_stars(finished, visit, image):
    catalog = read_table(product(finished, "_cat.ecsv", image))
    assert len(catalog) >= 7
    scene = visit.scene
    factor = 1.0 if image is RED else 10.0
    flam = catalog.meta["PHOTFLAM"]
    for row in catalog:
        distance = np.hypot(scene.x - row["x_center"], scene.y - row["y_center"])
        k = distance.argmin()
        assert distance[k] < 0.1
        # Countrates follow a Moffat profile, not ACS's, so the bound is loose.
        assert row["flux_10_apcor"] == pytest.approx(factor * scene.rate[k] * flam, rel=0.1)


@pytest.mark.parametrize(
    ("suffix", "columns"),
    [
        ("_sources.ecsv", SOURCES), ("_phot.ecsv", PHOT),
        ("_phot_noCRs.ecsv", PHOT), ("_cat.ecsv", CAT), ("_cat_noCRs.ecsv", CAT),
    ],
)  # fmt: skip
def test_tables_hold_the_registered_columns_with_units_and_meanings(finished, suffix, columns):
    table = read_table(product(finished, suffix))
    specs = expand(columns, Settings().measure.radii_px)
    assert table.colnames == [c.name for c in specs]
    for spec in specs:
        column = table[spec.name]
        assert column.description == spec.meaning
        assert column.unit == (Unit(spec.unit) if spec.unit else None)
        assert column.info.meta["ucd"] == spec.ucd
        assert column.dtype.kind == np.dtype(spec.dtype).kind


@pytest.mark.parametrize(
    ("suffix", "name", "columns"),
    [("_segm.fits.gz", "REMOVED", REMOVED), ("_depth.fits", "SKY", SKY),
     ("_drc.mask.fits", "CRSHARE", CR_SHARE)],
)  # fmt: skip
def test_small_tables_lie_in_the_files_that_they_belong_to(finished, suffix, name, columns):
    table = read_extension(product(finished, suffix), name)
    specs = expand(columns, Settings().measure.radii_px)
    assert table.colnames == [c.name for c in specs]
    for spec in specs:
        column = table[spec.name]
        assert column.description == spec.meaning
        assert column.unit == (Unit(spec.unit) if spec.unit else None)
        assert column.dtype.kind == np.dtype(spec.dtype).kind


def test_tables_carry_their_provenance(finished):
    for suffix in ("_sources.ecsv", "_phot.ecsv", "_cat.ecsv", "_cat_noCRs.ecsv"):
        meta = read_table(product(finished, suffix)).meta
        assert meta["CREATOR"].startswith("bycatch ")
        assert {"bycatch", "numpy", "astropy", "numba"} <= set(meta["VERSIONS"])
        assert meta["INSHA256"].startswith("sha256:")
        assert meta["FILENAME"] == "jabc01010_drc.fits"
        assert meta["SETTINGS"]["detect"]["n_pixels"] == 75
        assert (meta["FILTER"], meta["DETECTOR"], meta["EXPTIME"]) == ("F775W", "WFC", 1000.0)
        assert (meta["PHOTFLAM"], meta["PHOTPLAM"], meta["NEXP"]) == (9.93e-20, 7693.0, 2)
        assert meta["FIELD"] == "abc_01"
    meta = read_table(product(finished, "_cat.ecsv")).meta
    assert meta["ALIGNMENT"]["aligned"] is True
    assert set(meta["APCOR"]) == {"2", "4", "6", "8", "10"}
    assert set(meta["SETTINGS"]) >= {"detect", "crmask", "align", "measure", "finalize"}


def test_the_mask_is_uint8_on_the_images_grid(finished):
    with fits.open(product(finished, "_drc.mask.fits")) as hdus:
        assert hdus["CRMASK"].data.dtype == np.uint8
        assert hdus["CRMASK"].data.shape == (200, 240)
        assert set(np.unique(hdus["CRMASK"].data)) <= {0, 1}
        assert WCS(hdus["CRMASK"].header).has_celestial
        assert hdus["COVERAGE"].data.shape == (13, 15)
    # As anybody reads it, and small: a byte per pixel would be 48 kB.
    assert fits.getdata(product(finished, "_drc.mask.fits")).shape == (200, 240)
    assert product(finished, "_drc.mask.fits").stat().st_size < 25_000


def test_the_segmentation_numbers_the_sources(finished):
    sources = read_table(product(finished, "_sources.ecsv"))
    labels = fits.getdata(product(finished, "_segm.fits.gz"))
    assert set(np.unique(labels)) - {0} == set(sources["id"])
    for row in sources:
        assert (labels == row["id"]).sum() == row["area"]


def test_the_wcs_file_gives_the_positions_of_the_catalog(finished):
    """By any reader: nothing of ours is needed."""
    header = fits.getheader(product(finished, "_wcs.fits"))
    header.remove("NAXIS")
    catalog = read_table(product(finished, "_cat.ecsv"))
    ra, dec = WCS(header).all_pix2world(catalog["x_center"], catalog["y_center"], 0)
    np.testing.assert_allclose(catalog["RA_GAIA_WCS"], ra, rtol=0, atol=1e-10)
    np.testing.assert_allclose(catalog["DEC_GAIA_WCS"], dec, rtol=0, atol=1e-10)


def test_summary_shows_what_was_done(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert [i["outcome"] for i in summary["images"]] == ["done", "done"]
    assert summary["images"][0]["done"] == list(STAGES)
    assert summary["references"] == {"abc_01": ""}


def test_a_matched_star_carries_the_gaia_entry(finished, visit):
    catalog = read_table(product(finished, "_cat.ecsv"))
    gaia = Table.read(visit.gaia)
    matched = catalog[catalog["gaia_source_id"] > 0]
    assert len(matched) == len(catalog)
    for row in matched:
        star = gaia[gaia["source_id"] == row["gaia_source_id"]][0]
        assert (row["GAIA_CAT_RA"], row["GAIA_CAT_DEC"]) == (star["ra"], star["dec"])
        assert row["gaia_separation"] < 20


# ---------------------------------------------------------------- Python


def test_the_same_from_python(visit, done):
    import bycatch

    file = visit.raw / "jabc01010_drc.fits"
    report = bycatch.run(file, done, inputs=bycatch.Inputs(gaia=visit.gaia))
    assert report.all_done
    assert report.images[0].kept == STAGES
    catalog = report.images[0].catalog()
    assert len(catalog) == len(read_table(product(done, "_cat.ecsv")))
    again = bycatch.run_stages(done, ["finalize"])
    assert [image.done for image in again.images] == [("finalize",)]


# ---------------------------------------------------------------- resuming


@pytest.fixture(scope="module")
def red_alone(bycatch, visit, tmp_path_factory):
    """A finished output folder of the red image alone; do not write into it."""
    out = tmp_path_factory.mktemp("red") / "out"
    run(bycatch, visit, out)
    return out


@pytest.fixture
def done(red_alone, tmp_path):
    """A copy of it, to be changed."""
    out = tmp_path / "done"
    shutil.copytree(red_alone, out, symlinks=True)
    return out


def run(bycatch, visit, out, *words):
    red = visit.raw / "jabc01010_drc.fits"
    result = bycatch("run", red, "-o", out, "--gaia", visit.gaia, *words)
    assert result.status == 0, result.out + result.err
    return result


def test_a_second_run_redoes_nothing(bycatch, visit, done):
    before = times(done)
    run(bycatch, visit, done)
    assert times(done) == before


@pytest.mark.parametrize(
    ("assignment", "steps"),
    [
        ("detect.n_sigma=2.5", {"detect", "align", "measure", "finalize"}),
        ("crmask.grow_sigma_px=0.8", {"crmask", "align", "measure", "finalize"}),
        ("align.clip_sigma=3.5", {"align", "measure", "finalize"}),
        ("measure.cr_radius_px=3", {"measure", "finalize"}),
        ("finalize.annulus_correction=false", {"finalize"}),
        ("output.formats=['ecsv','csv']", {"finalize"}),
        ("input.exptime_s=999", set(STAGES)),
        ("simulate.seed=3", set()),
    ],
)
def test_a_changed_setting_redoes_its_step_and_what_builds_on_it(
    bycatch, visit, done, assignment, steps
):
    before = times(done)
    run(bycatch, visit, done, "--set", assignment)
    assert redone(before, times(done)) == steps


def test_a_changed_input_is_redone_and_its_field_is_aligned_again(bycatch, visit, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(visit.raw, raw)
    out = tmp_path / "out"
    bycatch("run", raw, "-o", out, "--gaia", visit.gaia)
    before, other = times(out), times(out, BLUE)
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        hdus["SCI"].data[100, 100] += 1
    bycatch("run", raw, "-o", out, "--gaia", visit.gaia)
    assert redone(before, times(out)) == set(STAGES)
    assert redone(other, times(out, BLUE)) == {"align", "measure", "finalize"}


def test_a_touched_but_unchanged_input_is_kept(bycatch, visit, tmp_path, done):
    # Only the checksum can tell: the date is new.
    before = times(done)
    file = visit.raw / "jabc01010_drc.fits"
    was = file.stat().st_mtime_ns
    file.touch()
    run(bycatch, visit, done)
    os.utime(file, ns=(was, was))  # other tests look at the same visit
    assert times(done) == before


@pytest.mark.parametrize("step", STAGES)
def test_a_deleted_product_is_made_again(bycatch, visit, done, step):
    catalog = read_table(product(done, "_cat.ecsv"))
    before = times(done)
    for suffix in OF_STEP[step]:
        product(done, suffix).unlink()
    run(bycatch, visit, done)
    after = times(done)
    assert step in redone(before, after)
    same_tables(read_table(product(done, "_cat.ecsv")), catalog)


def test_other_gaia_stars_redo_the_alignment(bycatch, visit, done, tmp_path):
    stars = Table.read(visit.gaia)
    stars["ra"] += 0.1 / 3600
    stars.write(tmp_path / "moved.csv")
    before = times(done)
    file = visit.raw / "jabc01010_drc.fits"
    result = bycatch("run", file, "-o", done, "--gaia", tmp_path / "moved.csv")
    assert result.status == 0
    assert redone(before, times(done)) == {"align", "measure", "finalize"}


def test_formats_that_are_no_longer_wanted_do_not_stay_behind_stale(bycatch, visit, done):
    run(bycatch, visit, done, "--formats", "fits,csv")
    assert product(done, "_cat.csv").exists()
    run(bycatch, visit, done, "--set", "measure.cr_radius_px=3")
    assert not product(done, "_cat.csv").exists()
    assert not product(done, "_cat_noCRs.fits").exists()


def test_an_interrupted_redo_is_not_taken_for_finished(bycatch, visit, done, monkeypatch):
    """The record is struck before the first product of a step changes."""

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("bycatch.pipeline.writing.write_table", stop)
    words = ["run", visit.raw / "jabc01010_drc.fits", "-o", done, "--gaia", visit.gaia]
    assert bycatch(*words, "--set", "detect.n_sigma=9").status == 130
    monkeypatch.undo()
    run(bycatch, visit, done)
    assert read_table(product(done, "_sources.ecsv")).meta["SETTINGS"]["detect"]["n_sigma"] == 2.0


# ---------------------------------------------------------------- single steps


@pytest.mark.parametrize("step", STAGES)
def test_a_step_alone_is_redone_even_if_nothing_changed(bycatch, done, step):
    before = times(done)
    result = bycatch(step, done)
    assert result.status == 0, result.out + result.err
    assert redone(before, times(done)) == {step}


def test_a_step_alone_keeps_the_saved_settings_of_the_rest(bycatch, visit, done):
    run(bycatch, visit, done, "--set", "measure.radii_px=[3,5]", "--set", "detect.n_sigma=2.5")
    assert bycatch("measure", done, "--set", "measure.cr_radius_px=4").status == 0
    phot = read_table(product(done, "_phot.ecsv"))
    assert "countrate_5" in phot.colnames
    assert phot.meta["SETTINGS"]["measure"]["cr_radius_px"] == 4.0
    assert phot.meta["SETTINGS"]["detect"]["n_sigma"] == 2.5
    settings = Settings.load(done / "settings.toml")
    assert (settings.measure.cr_radius_px, settings.detect.n_sigma) == (4.0, 2.5)


def test_a_step_alone_keeps_the_reference_stars_and_asks_no_service(bycatch, done, monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a service was asked")

    monkeypatch.setattr("bycatch.sky.tap._ask_once", fail)
    ids = list(read_table(product(done, "_phot.ecsv"))["gaia_source_id"])
    for step in ("align", "measure"):
        assert bycatch(step, done).status == 0
    assert list(read_table(product(done, "_phot.ecsv"))["gaia_source_id"]) == ids


def test_steps_one_by_one_give_what_a_run_gives(bycatch, visit, red_alone, tmp_path):
    out = tmp_path / "out"
    assert bycatch("sort", visit.raw / "jabc01010_drc.fits", "-o", out).status == 0
    for step in STAGES:
        gaia = ["--gaia", visit.gaia] if step in ("align", "measure") else []
        result = bycatch(step, out, *gaia)
        assert result.status == 0, result.out + result.err
    for suffix in ("_sources.ecsv", "_phot.ecsv", "_cat.ecsv"):
        same_tables(read_table(product(out, suffix)), read_table(product(red_alone, suffix)))
    before = times(out)
    run(bycatch, visit, out)
    assert redone(before, times(out)) == set()


@pytest.mark.parametrize(
    ("step", "missing"),
    [("align", "_sources.ecsv"), ("measure", "_sources.ecsv"), ("finalize", "_phot.ecsv")],
)
def test_a_step_without_its_predecessor_says_what_to_run(bycatch, visit, tmp_path, step, missing):
    out = tmp_path / "out"
    bycatch("sort", visit.raw, "-o", out)
    result = bycatch(step, out, *(["--gaia", visit.gaia] if step != "finalize" else []))
    assert result.status == 1
    assert f"jabc01010{missing} is missing" in result.out
    before = "measure" if step == "finalize" else "detect"
    assert f"run 'bycatch {before} {out}' first" in result.out
    assert "Traceback" not in result.out + result.err


def test_a_catalog_of_stale_photometry_is_not_taken_for_current(bycatch, visit, done):
    """Detect with other settings, finalize without measuring again, then run: all follows."""
    changed = ["--set", "detect.n_sigma=4"]
    assert bycatch("detect", done, *changed).status == 0
    assert bycatch("finalize", done).status == 0
    before = times(done)
    run(bycatch, visit, done, *changed)
    assert redone(before, times(done)) == {"align", "measure", "finalize"}


def test_finalize_with_radii_that_were_not_measured_says_so(bycatch, done):
    result = bycatch("finalize", done, "--set", "measure.radii_px=[3]")
    assert result.status == 1
    assert "bug" not in result.out
    assert "bycatch measure" in result.out


# ---------------------------------------------------------------- parallel


def test_parallel_gives_the_same_bits_as_serial(bycatch, visit, finished, tmp_path):
    out = tmp_path / "out"
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia, "-j", "2")
    assert result.status == 0, result.out + result.err
    assert "F475W jabc01020: finalize: " in result.err
    for image in (RED, BLUE):
        for suffix in PRODUCTS:
            one, other = product(out, suffix, image), product(finished, suffix, image)
            if suffix.endswith(".ecsv"):
                same_tables(read_table(one), read_table(other))
            elif suffix == "_wcs.fits":
                assert one.read_bytes() == other.read_bytes()
            else:
                np.testing.assert_array_equal(fits.getdata(one), fits.getdata(other))
    figure = "abc_01/alignment.png"
    if (finished / figure).exists():
        assert (out / figure).read_bytes() == (finished / figure).read_bytes()


# ---------------------------------------------------------------- the user's own lists


def test_a_list_without_positions_is_refused_before_anything_is_done(bycatch, visit, tmp_path):
    list_file = tmp_path / "mine.csv"
    list_file.write_text("a,b\n1,2\n")
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--sources", list_file)
    assert result.status == 2
    assert "no position columns among a, b" in result.err


def test_ds9_regions_are_one_based(bycatch, visit, done):
    """A ds9 circle on image position (x + 1, y + 1) takes out the source at (x, y)."""
    table = read_table(product(done, "_cat.ecsv"))
    star = table[3]
    x, y = star["x_center"] + 1, star["y_center"] + 1
    regions = done / "mine.reg"
    regions.write_text(f"# Region file format: DS9\nimage\ncircle({x},{y},0.5)\n")
    run(bycatch, visit, done, "--exclude", regions)
    catalog = read_table(product(done, "_cat.ecsv"))
    assert set(table["id"]) - set(catalog["id"]) == {star["id"]}
    rejects = read_table(product(done, "_excluded.ecsv"))
    assert list(rejects["id"]) == [star["id"]]
    assert rejects["reason"][0] == "in a region of mine.reg"


def test_ds9_regions_on_the_sky(bycatch, visit, done):
    table = read_table(product(done, "_cat.ecsv"))
    star = table[2]
    regions = done / "mine.reg"
    regions.write_text(f'icrs\ncircle({star["RA_GAIA_WCS"]:.8f},{star["DEC_GAIA_WCS"]:.8f},0.3")\n')
    run(bycatch, visit, done, "--exclude", regions)
    catalog = read_table(product(done, "_cat.ecsv"))
    assert set(table["id"]) - set(catalog["id"]) == {star["id"]}


def test_the_excluded_table_goes_with_the_regions(bycatch, visit, done):
    regions = done / "mine.reg"
    regions.write_text("image\ncircle(50,50,20)\n")
    run(bycatch, visit, done, "--exclude", regions)
    run(bycatch, visit, done)
    assert not product(done, "_excluded.ecsv").exists()


# ---------------------------------------------------------------- formats


@pytest.fixture(scope="module")
def all_formats(bycatch, visit, red_alone, tmp_path_factory):
    pytest.importorskip("pyarrow")
    out = tmp_path_factory.mktemp("formats") / "out"
    shutil.copytree(red_alone, out, symlinks=True)
    run(bycatch, visit, out, "--formats", "ecsv, fits,csv,parquet,votable")
    return out, read_table(product(out, "_cat.ecsv"))


def same_values(column, reference):
    """Assert that another reader found the same numbers; NaN stands for missing."""
    missing = np.ma.getmaskarray(np.ma.asarray(reference))
    result = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    want = np.ma.filled(np.ma.asarray(reference, dtype=float), np.nan)
    np.testing.assert_array_equal(result[~missing], want[~missing])


def test_fits_catalog_for_other_readers(all_formats):
    out, catalog = all_formats
    with fits.open(product(out, "_cat.fits")) as hdus:
        table = hdus[1]
        assert table.columns.names == catalog.colnames
        for name in catalog.colnames:
            same_values(table.data[name], catalog[name])
        units = dict(zip(table.columns.names, table.columns.units, strict=True))
        assert units["RA_GAIA_WCS"] == "deg"
        assert "Angstrom" in units["flux_2_apcor"]
        header = table.header
        assert (header["PHOTFLAM"], header["PHOTPLAM"]) == (9.93e-20, 7693.0)
        assert (header["FILTER"], header["EXPTIME"]) == ("F775W", 1000.0)


def test_votable_catalog_for_other_readers(all_formats):
    from astropy.io.votable import parse_single_table

    out, catalog = all_formats
    table = parse_single_table(str(product(out, "_cat.vot")))
    fields = {f.name: f for f in table.fields}
    assert list(fields) == catalog.colnames
    for spec in expand(CAT, Settings().measure.radii_px):
        field = fields[spec.name]
        assert field.ucd == spec.ucd
        # Lines are broken at hyphens, too.
        assert "".join((field.description or "").split()) == "".join(spec.meaning.split())
        same_values(table.array[spec.name], catalog[spec.name])
    assert str(fields["RA_GAIA_WCS"].unit) == "deg"


def test_parquet_catalog_for_other_readers(all_formats):
    import pyarrow.parquet

    out, catalog = all_formats
    table = pyarrow.parquet.read_table(product(out, "_cat.parquet"))
    assert table.column_names == catalog.colnames
    for name in catalog.colnames:
        same_values(table.column(name).to_numpy(), catalog[name])


def test_csv_catalog_for_other_readers(all_formats):
    out, catalog = all_formats
    first = product(out, "_cat.csv").read_text().splitlines()
    assert first[0].split(",") == catalog.colnames
    assert len(first) == len(catalog) + 1


def test_formats_hold_for_both_catalogs(all_formats):
    out, _ = all_formats
    for suffix in (".fits", ".csv", ".parquet", ".vot"):
        assert product(out, f"_cat_noCRs{suffix}").exists()


def test_tables_record_the_settings_that_made_them(bycatch, done):
    place = done / "abc_01/F775W/jabc01010_cat.ecsv"
    before = read_table(place)
    result = bycatch(
        "finalize", done, "--set", "detect.n_sigma=6", "--set", "measure.annulus_inner_px=30",
        "--set", "measure.annulus_outer_px=40",
    )  # fmt: skip
    assert result.status == 0, result.err
    after = read_table(place)
    assert after.meta["SETTINGS"]["detect"]["n_sigma"] == 2.0
    assert after.meta["SETTINGS"]["measure"]["annulus_inner_px"] == 10.0
    # The correction is that of the annulus in which the sky was measured.
    assert after.meta["APCOR"] == before.meta["APCOR"]


@pytest.mark.parametrize("name", ["../esc", "a/b", ".."])
def test_a_field_can_not_lead_out_of_the_output_folder(bycatch, visit, tmp_path, name):
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--field", name)
    assert result.status == 2
    assert "sort.field" in result.err
    assert list(tmp_path.iterdir()) == []


def test_several_cores_give_the_same(visit, tmp_path, monkeypatch):
    from bycatch import pipeline
    from bycatch.kernels import threads

    image = next(visit.raw.glob("*_drc.fits"))
    outs = [tmp_path / "one", tmp_path / "three"]
    for n, out in zip((1, 3), outs, strict=True):
        monkeypatch.setattr(threads, "n_cores", lambda n=n: n)
        report = pipeline.run(image, out)
        assert report.images[0].done == STAGES
    assert len(list(outs[0].rglob("*_cat.ecsv"))) == 1
    for one in outs[0].rglob("*.ecsv"):
        same_tables(read_table(one), read_table(outs[1] / one.relative_to(outs[0])))


def test_a_failing_step_keeps_those_before(visit, tmp_path, monkeypatch):
    from bycatch import pipeline
    from bycatch.stages import crmask

    def broken(*_):
        raise ValueError("no mask today")

    monkeypatch.setattr(crmask, "run", broken)
    report = pipeline.run(next(visit.raw.glob("*_drc.fits")), tmp_path / "out")
    assert "no mask today" in report.images[0].reason
    assert report.images[0].done == ("detect",)


def test_what_the_steps_took_is_reported(bycatch, visit, tmp_path):
    image = next(visit.raw.glob("*_drc.fits"))
    result = bycatch("run", image, "-o", tmp_path / "out", "--profile")
    assert result.status == 0
    assert "peak, MB" in result.out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    cost = summary["images"][0]["cost"]
    assert tuple(cost) == STAGES
    for step in STAGES:
        assert step in result.out
        assert 0 < cost[step]["seconds"] < 600
        assert 20 < cost[step]["peak_mb"] < 20_000
    # Nothing is done again: nothing to tell, and what it once took stays known.
    again = bycatch("run", image, "-o", tmp_path / "out", "--profile")
    assert "detect " not in again.out
    later = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert later["images"][0]["cost"] == cost
