"""Tables of a finished run in other formats, read by others than their writers."""

import shutil
import subprocess

import numpy as np
import pytest
from astropy.table import Table

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import read_table
from bycatch.errors import SettingsError
from bycatch.pipeline.export import COLOURS, FORMATS, ds9_regions, export, kinds

RED = "abc_01/F775W/jabc01010"
STILTS = shutil.which("stilts")


def test_each_format_holds_the_catalog(finished, tmp_path):
    files = export(finished, FORMATS, folder=tmp_path)
    assert len(files) == 2 * len(FORMATS)
    catalog = read_table(finished / f"{RED}_cat.ecsv")
    for path in files:
        if path.name.startswith("jabc01010") and path.suffix != ".reg":
            back = read_table(path)
            assert len(back) == len(catalog)
            np.testing.assert_allclose(back["flux_4_apcor"], catalog["flux_4_apcor"], rtol=1e-12)


@pytest.mark.parametrize("form", ["fits", "votable"])
@pytest.mark.skipif(STILTS is None, reason="stilts is not installed")
def test_stilts_reads_what_was_written(finished, tmp_path, form):
    path = next(p for p in export(finished, [form], folder=tmp_path) if "jabc01010" in p.name)
    columns = "id flux_4_apcor mag_ab_4 RA_GAIA_WCS gaia_source_id flags"
    command = [STILTS, "tpipe", f"in={path}", f"cmd=keepcols '{columns}'", "ofmt=csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    back = Table.read(text.splitlines(), format="ascii.csv")
    catalog = read_table(finished / f"{RED}_cat.ecsv")
    for name in columns.split():
        theirs = np.ma.filled(np.ma.asarray(back[name], dtype=float), np.nan)
        ours = np.ma.filled(np.ma.asarray(catalog[name], dtype=float), np.nan)
        np.testing.assert_allclose(theirs, ours, rtol=1e-12)
    command = [STILTS, "tpipe", f"in={path}", "cmd=meta name units ucd description", "ofmt=csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    meta = Table.read(text.splitlines(), format="ascii.csv")
    row = meta[list(meta["Name"]).index("flux_4_apcor")]
    assert "flux density in the infinite aperture" in row["Description"]
    assert "Angstrom" in row["Units"]
    assert row["UCD"] == "phot.flux.density;em.wl"


def test_pyarrow_reads_what_was_written(finished, tmp_path):
    from pyarrow import parquet

    path = next(p for p in export(finished, ["parquet"], folder=tmp_path) if "jabc01010" in p.name)
    catalog = read_table(finished / f"{RED}_cat.ecsv")
    back = parquet.read_table(path).to_pydict()
    assert back["id"] == catalog["id"].tolist()
    assert back["RA_GAIA_WCS"] == catalog["RA_GAIA_WCS"].tolist()


def test_one_table_of_all_images(finished, tmp_path):
    (path,) = export(finished, ["ecsv"], folder=tmp_path, merged=True)
    table = read_table(path)
    assert table.colnames[:3] == ["field", "filter", "image"]
    assert set(table["filter"]) == {"F775W", "F475W"}
    parts = [read_table(p) for p in sorted(finished.glob("*/*/*_cat.ecsv"))]
    assert len(table) == sum(map(len, parts))
    assert table["flux_4_apcor"].unit == parts[0]["flux_4_apcor"].unit
    assert table.meta["FIELD"] == "abc_01"
    assert "FILTER" not in table.meta  # each image has its own


def test_regions_lie_on_the_sources(finished, tmp_path):
    from regions import Regions

    path = next(p for p in export(finished, ["reg"], folder=tmp_path) if "jabc01010" in p.name)
    catalog = read_table(finished / f"{RED}_cat.ecsv")
    regions = Regions.read(path, format="ds9")
    assert len(regions) == len(catalog)
    assert [int(r.meta["text"]) for r in regions] == catalog["id"].tolist()
    ra = [r.center.ra.deg for r in regions]
    np.testing.assert_allclose(ra, catalog["RA_GAIA_WCS"], atol=1e-8)


def test_pixel_regions_count_from_one():
    from regions import Regions

    text = ds9_regions(Table({"id": [7], "x": [10.25], "y": [0.0]}))
    assert "circle(11.250,1.000,4)" in text
    (region,) = Regions.parse(text, format="ds9")
    assert (region.center.x, region.center.y) == (10.25, 0.0)


def test_rows_without_a_position_get_no_region():
    text = ds9_regions(Table({"id": [1, 2], "x": [np.nan, 3.0], "y": [1.0, 3.0]}))
    assert text.count("circle") == 1


def test_kinds_follow_flags_and_probabilities():
    table = Table({"flags": [0, int(Flag.COSMIC_RAY), int(Flag.EDGE), 0, 0]})
    assert kinds(table)[:3] == ["point", "cosmic ray", "flagged"]
    table["p_cr"] = [0.0, 0.0, 0.9, 0.0, 0.0]
    table["p_star"] = [1.0, 1.0, 1.0, 0.1, np.nan]
    assert kinds(table) == ["point", "flagged", "cosmic ray", "extended", "point"]
    assert set(kinds(table)) <= set(COLOURS)


def test_an_unknown_format_is_named(finished, tmp_path):
    with pytest.raises(SettingsError, match="no format 'xls'"):
        export(finished, ["fits", "xls"], folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_named(finished, tmp_path):
    with pytest.raises(SettingsError, match=r"no image has a product \*_nothing"):
        export(finished, ["fits"], "nothing", folder=tmp_path)


def test_the_command_names_the_files(bycatch, done):
    result = bycatch("export", done, "--formats", "csv,reg")
    assert result.status == 0
    assert str(done / "export" / "jabc01010_cat.csv") in result.out
    assert len(list((done / "export").iterdir())) == 4
