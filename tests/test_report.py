"""The report, from the products' side: what it says is what the products hold."""

import base64
import gzip
import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import quoted_radius, read_table
from bycatch.cli.steps import is_news
from bycatch.cli.steps import write_page as write_at_the_end
from bycatch.display.summary_values import SUMMARY_VALUES, summary_page
from bycatch.errors import SettingsError
from bycatch.pipeline import FieldResult, ImageReport, Outcome, RunReport
from bycatch.products import find_records
from bycatch.report import empty_plots, page, pixels, static_figures
from bycatch.report.group_plots import group_plots
from bycatch.report.image import (
    COSMIC,
    DOUBT,
    EXTENDED,
    OPEN,
    POINT,
    Budget,
    chosen_rows,
    error_curve,
    histogram,
    kinds_of,
    payload,
)
from bycatch.report.limits import place_labels
from bycatch.report.overview import BAD, WARN, overview
from bycatch.report.products import read_folder, values
from bycatch.settings import Settings

BUDGET = Budget(side_px=400, n_sources=1000)


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    """The page of the finished run, in a copy of its folder."""
    out = tmp_path_factory.mktemp("report") / "out"
    shutil.copytree(finished, out, symlinks=True)
    return page.write_report(out)


def contents(path):
    """Return what the page holds of its images."""
    matches = re.findall(r'id="packed-\d+">([^<]+)<', path.read_text("utf-8"))
    return [json.loads(gzip.decompress(base64.b64decode(text))) for text in matches]


def table(**columns):
    """Return a catalog of these columns; magnitudes are in 6 px."""
    return Table({k: np.ma.masked_invalid(v) for k, v in columns.items()})


# ---------------------------------------------------------------- the page


def test_page_is_one_file_that_asks_no_network(report):
    text = report.read_text("utf-8")
    assert not (report.parent / "abc_01" / page.FIELD_PAGE).exists()
    own = text[text.index("</head>") :]
    links = re.findall(r'(?:src|href)="([^"]{1,40})', own)
    assert all(link.startswith("#image") for link in links)
    # In the head: the icon, and the library itself.
    assert re.findall(r"<link[^>]*>", text) == ['<link rel="icon" href="data:,">']
    assert not re.findall(r"<script[^>]+src=", text)
    assert not re.findall(r"@import|url\(", text[: text.index("</style>")])


def test_page_names_every_image_and_its_numbers(report, finished):
    text = report.read_text("utf-8")
    for record in find_records(finished):
        assert f'data-key="{record.field}/{record.filter}/{record.root}"' in text
        assert f"{record.stages['finalize'].summary['n_catalog']}</td>" in text


def test_content_is_that_of_the_catalog(report, finished):
    for content, record in zip(contents(report), find_records(finished), strict=True):
        catalog = read_table(record.paths(finished).product("cat"))
        columns = {c["name"]: c for c in content["sources"]["columns"]}
        assert content["sources"]["total"] == len(catalog) > 0
        assert {"id", "mag_ab_4", "p_cr", "flags"} <= set(columns)
        for name, column in columns.items():
            truth = values(catalog, name)
            rows = np.array([np.nan if v is None else v for v in column["values"]], float)
            np.testing.assert_allclose(rows, truth, atol=0.5001 * 10.0 ** -column["digits"])
            assert column["unit"] == str(catalog[name].unit or "")


def test_every_source_of_a_segment_has_its_outline(report):
    for content in contents(report):
        sources = content["sources"]
        columns = {c["name"]: c["values"] for c in sources["columns"]}
        assert sources["outlines"]["row"] == list(range(len(sources["kind"])))
        outlines = sources["outlines"]
        for row, dx, dy in zip(*(outlines[k] for k in ("row", "xs", "ys")), strict=True):
            xs, ys = np.cumsum(dx) / 2, np.cumsum(dy) / 2
            assert min(xs) <= columns["x_center"][row] <= max(xs)
            assert min(ys) <= columns["y_center"][row] <= max(ys)


def test_many_images_lie_beside_the_page(done, monkeypatch, change_record):
    monkeypatch.setattr(page, "MAX_INSIDE", 1)
    path = page.write_report(done)
    file = done / "abc_01" / page.FIELD_PAGE
    assert page.is_current(done)
    assert contents(path) == []
    lines = file.read_text().splitlines()
    assert len(lines) == 2
    match = re.fullmatch(
        r'bycatchReport\.arrived\("abc_01/F775W/jabc01010", "([^"]+)"\);', lines[1]
    )
    assert json.loads(gzip.decompress(base64.b64decode(match[1])))["root"] == "jabc01010"
    was = file.stat().st_mtime_ns
    page.write_report(done)
    assert file.stat().st_mtime_ns == was  # nothing has changed
    change_record(done, "jabc01010", lambda record: record["last"].update(outcome="failed"))
    page.write_report(done)
    assert file.stat().st_mtime_ns != was
    monkeypatch.setattr(page, "MAX_INSIDE", 2)
    assert len(contents(page.write_report(done))) == 2


def test_fields_of_a_large_run_write_their_parts_of_the_page(bycatch, visit, done, monkeypatch):
    monkeypatch.setattr("bycatch.pipeline.runner.MAX_INSIDE", 1)
    monkeypatch.setattr(page, "MAX_INSIDE", 1)
    written = []
    real = page.write_field_page
    for place in ("bycatch.pipeline.field", "bycatch.report.page"):
        noted = partial(lambda place, *args: written.append(place) or real(*args), place)
        monkeypatch.setattr(f"{place}.write_field_page", noted)
    assert bycatch("run", visit.raw, "-o", done, "--gaia", visit.gaia).status == 0
    assert written[0] == "bycatch.pipeline.field"
    assert (done / "abc_01" / page.FIELD_PAGE).exists()


def test_names_and_reasons_are_only_text(done, change_record):
    change_record(done, "jabc01010", lambda r: r["notes"].append("</script><b>odd & bold</b>"))
    text = page.write_report(done).read_text("utf-8")
    assert "&lt;/script&gt;&lt;b&gt;odd &amp; bold&lt;/b&gt;" in text
    assert "<b>odd" not in text


def test_page_without_the_other_products(done):
    for path in done.glob("*/*/jabc01010_*"):
        path.unlink()
    (content,) = [c for c in contents(page.write_report(done)) if c["root"] == "jabc01010"]
    assert content["problem"] == "There is nothing to show."
    assert [content[k] for k in ("picture", "exposures", "removed", "sources")] == [None] * 4


def test_damaged_products_cost_only_themselves(done, caplog):
    for kind in ("segm.fits.gz", "wcs.fits", "depth.fits"):
        (path,) = done.glob(f"*/*/jabc01010_{kind}")
        path.write_bytes(b"no such thing")
    result_of = {c["root"]: c for c in contents(page.write_report(done))}
    assert result_of["jabc01010"]["sources"]["outlines"]["row"] == []
    assert result_of["jabc01010"]["removed"] is None
    assert result_of["jabc01020"]["removed"]
    assert "left out of the report" in caplog.text


def test_a_catalog_of_another_kind_is_named(done, caplog):
    (path,) = done.glob("*/*/jabc01010_cat.ecsv")
    Table({"x_center": ["a", "b"]}).write(path, format="ascii.ecsv", overwrite=True)
    result_of = {c["root"]: c for c in contents(page.write_report(done))}
    assert "can't be shown" in result_of["jabc01010"]["problem"]
    assert "left out of the report" in caplog.text


def test_folder_without_images(tmp_path):
    with pytest.raises(SettingsError, match="no image in it"):
        page.write_report(tmp_path)


def test_missing_library_is_named(done, monkeypatch):
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"bokeh and jinja2 - pip install 'bycatch\[report\]'"):
        page.write_report(done)


def test_command_writes_page_and_figures(bycatch, done):
    result = bycatch("report", done, "--figures", "--format", "pdf")
    assert result.status == 0, result.err
    paths = result.out.split()
    assert paths[-1] == str(done / "report.html")
    assert len(paths) == len(set(paths)) == len(list((done / "figures").glob("*.pdf"))) + 1 > 10


def test_empty_plots_are_made_once(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    made = empty_plots.empty_plots()
    assert {"picture", "counts", "errors", "shapes", "residuals"} <= set(made.places)
    (kept,) = tmp_path.rglob("plots-*.json")
    with monkeypatch.context() as patch:
        patch.setattr(empty_plots, "_make_plots", lambda: pytest.fail("they were made again"))
        assert empty_plots.empty_plots() == made
    kept.write_text("{")
    assert set(empty_plots.empty_plots().places) == set(made.places)


def test_empty_plots_of_another_version_are_made_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    for number in ("3.0", "3.1"):
        monkeypatch.setattr(empty_plots, "version", lambda name, number=number: number)
        empty_plots.empty_plots()
    assert len(list(tmp_path.rglob("plots-*.json"))) == 2


def test_what_a_cache_folder_holds_is_not_executed(done, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "code"))
    empty_plots.empty_plots()
    (kept,) = tmp_path.rglob("plots-*.json")
    cache = tmp_path / "cache"
    for folder in (cache, cache / "gaia"):
        folder.mkdir()
        planted = dict.fromkeys(("library", "script"), "alert('planted')") | {"places": {}}
        (folder / kept.name).write_text(json.dumps(planted))
    monkeypatch.setenv("BYCATCH_CACHE", str(cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert "planted" not in page.write_report(done).read_text("utf-8")


def test_empty_plots_without_a_place_to_keep_them(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(sys, "pycache_prefix", str(blocked))
    assert empty_plots.empty_plots().script
    assert list(tmp_path.iterdir()) == [blocked]


# ---------------------------------------------------------------- what is wrong stands out


def problems(out):
    """Return level and text of what the page says is wrong."""
    return [(level, text) for level, _, text in overview(read_folder(out)).problems]


def test_poor_alignment_is_reported(done, change_record):
    def spoil(record):
        record["stages"]["align"]["summary"] |= {"grade": "F", "reason": "2 stars are too few"}

    def mend(record):
        record["stages"]["align"]["summary"] |= {"grade": "A", "reason": ""}

    change_record(done, "jabc01010", spoil)
    change_record(done, "jabc01020", mend)
    assert (BAD, "alignment of grade F: 2 stars are too few") in problems(done)
    rows = {row.key.split("/")[-1]: row for row in overview(read_folder(done)).images}
    assert rows["jabc01010"].cells["grade"].level == BAD
    assert rows["jabc01020"].cells["grade"].level == ""


def test_open_closure_is_reported(done, change_record):
    def spoil(record):
        part = {"published": 3.0, "used": -2.5, "error": 0.4, "scatter": 1.0, "closes": False}
        record["stages"]["finalize"]["summary"]["closure"] = {
            "reference_px": 10.0, "n_stars": 31, "percent": {"4": part},
        }  # fmt: skip

    change_record(done, "jabc01010", spoil)
    text = "aperture corrections do not close in 4 px: -2.5 ± 0.4 % (31 stars)"
    assert (WARN, text) in problems(done)


def cells_of(done, root="jabc01010"):
    return {row.key.split("/")[-1]: row for row in overview(read_folder(done)).images}[root].cells


def test_a_closure_without_stars_is_not_checked(done, change_record):
    def spoil(record):
        part = dict.fromkeys(("published", "used", "error", "scatter", "closes"))
        record["stages"]["finalize"]["summary"]["closure"] = {
            "reference_px": 10.0, "n_stars": 0, "percent": {"4": part},
        }  # fmt: skip

    change_record(done, "jabc01010", spoil)
    cell = cells_of(done)["closure"]
    assert (cell.text, cell.value, cell.level) == ("not checked", None, "")
    assert cell.why == "0 good stars are too few"
    checked = sum(r.cells["closure"].value is not None for r in overview(read_folder(done)).images)
    assert f"aperture corrections in {checked} of" in overview(read_folder(done)).checks


@pytest.mark.parametrize(
    ("n_stars", "origin", "level"), [(2, "published curve", WARN), (31, "stars", "")]
)
def test_a_locus_from_the_published_curve_is_reported(done, change_record, n_stars, origin, level):
    def state(record):
        record["stages"]["measure"]["summary"] |= {
            "locus_n_stars": n_stars, "locus_origin": origin,
        }  # fmt: skip

    def told_by_stars(record):
        record["stages"]["measure"]["summary"] |= {"locus_n_stars": 31, "locus_origin": "stars"}

    change_record(done, "jabc01020", told_by_stars)
    change_record(done, "jabc01010", state)
    assert cells_of(done)["points"].level == level
    text = "p_star uses the published curve of the filter: 2 stars are too few to define the"
    assert any(said.startswith(text) for _, said in problems(done)) == bool(level)


def test_lost_images_and_files_are_reported(done, change_record):
    lost = {"outcome": "failed", "reason": "disk full"}
    change_record(done, "jabc01010", lambda record: record["last"].update(lost))
    notes = json.loads((done / "run.json").read_text())
    notes["skipped"] = [{"path": "x_drc.fits", "reason": "not FITS", "dropped": True}]
    (done / "run.json").write_text(json.dumps(notes))
    messages = problems(done)
    assert messages[0] == (BAD, "not FITS")
    assert (BAD, "failed: disk full") in messages


def test_errors_that_are_off_are_reported(done, change_record):
    def spoil(record):
        widths = record["stages"]["measure"]["summary"]["noise_pull"]
        assert set(widths) == {"2", "4", "6", "8", "10"}
        widths["6"] = 2.0

    change_record(done, "jabc01010", spoil)
    result_of = {row.key.split("/")[-1]: row for row in overview(read_folder(done)).images}
    cell = result_of["jabc01010"].cells["pulls"]
    assert cell.value == 2.0
    assert cell.level == WARN


# ---------------------------------------------------------------- sources


def test_kinds_in_order_of_what_matters():
    flags = [0, 0, 0, Flag.EXTENDED, Flag.SATURATED, Flag.SATURATED | Flag.LIKELY_COSMIC_RAY]
    catalog = table(
        flags=np.array(flags, int), p_star=[0.9, 0.2, np.nan, np.nan, 0.9, 0.9], p_cr=[0.0] * 6
    )
    kinds = kinds_of(catalog)
    assert kinds.tolist() == [POINT, EXTENDED, OPEN, EXTENDED, DOUBT, COSMIC]


def test_kinds_without_the_probabilities():
    catalog = table(flags=np.array([0, Flag.COSMIC_RAY], int), cr_flag=np.array([0, 1]))
    assert kinds_of(catalog).tolist() == [OPEN, COSMIC]


def test_rows_of_the_page_are_the_brightest_and_rays_the_last():
    catalog = table(snr_6=[5.0, 900.0, 7.0, np.nan, 6.0])
    kinds = np.array([POINT, COSMIC, POINT, OPEN, EXTENDED])
    assert chosen_rows(catalog, kinds, "6", 3).tolist() == [0, 2, 4]
    assert chosen_rows(catalog, kinds, "6", 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("names", "radius"), [
    (("mag_ab_2", "mag_ab_4", "mag_ab_10", "mag_ab_kron", "mag_ab_err_4"), "4"),
    (("mag_ab_2.5",), "2.5"), (("flux",), ""),
])  # fmt: skip
def test_quoted_radius(names, radius):
    assert quoted_radius(Table({name: [1.0] for name in names})) == radius


def test_histogram_counts_every_row_once():
    mag = np.array([20.1, 20.1, 22.3, 23.9, np.nan])
    rows = histogram(table(mag_ab_6=mag), np.array([POINT, COSMIC, OPEN, COSMIC, POINT]), "6")
    assert (sum(rows["all"]), sum(rows["clean"])) == (4, 2)
    assert histogram(table(mag_ab_6=[np.nan]), np.array([OPEN]), "6") is None


def test_expected_error_is_a_fifth_at_the_limit():
    catalog = table(maglim_6=[26.0] * 3, mag_ab_6=[20.0, 24.0, 28.0], exptime=[500.0] * 3)
    catalog.meta |= {"ZPAB": 25.7, "APCOR": {"6": 0.87}}
    curve = error_curve(catalog, "6")
    at_limit = np.interp(26.0, curve["mag"], curve["err"])
    assert at_limit == pytest.approx(1.0857 / 5, rel=0.01)
    # A bright source has the noise of its own electrons.
    electrons = 0.87 * 10 ** (0.4 * (25.7 - curve["mag"][0])) * 500
    assert curve["err"][0] == pytest.approx(1.0857 / np.sqrt(electrons), rel=0.05)


# ---------------------------------------------------------------- pixels


def test_block_means_leave_out_what_is_missing():
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    image[0, 0] = np.nan
    image[2:, 4] = np.nan
    result = pixels.block_means(image, 2)
    truth = [[(1 + 5 + 6) / 3, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2],
             [(10 + 11 + 15 + 16) / 4, (12 + 13 + 17 + 18) / 4, np.nan]]  # fmt: skip
    np.testing.assert_allclose(result, truth)


def test_picture_has_dark_sources_a_light_sky_and_its_first_row_on_top():
    rng = np.random.default_rng(4)
    sci = rng.normal(0, 1, (120, 200)).astype(np.float32)
    sci[10:14, 150:154] = 500.0
    sci[:, :20] = np.nan
    image = pixels.picture(sci, 100)
    assert image.shape == (60, 100)
    assert image[60 - 6, 76] < 10
    assert np.median(image[:, 12:]) > 200
    assert np.all(image[:, :9] == 255)


def test_picture_of_nothing_is_white():
    assert np.all(pixels.as_greys(np.full((3, 4), np.nan)) == 255)


@pytest.mark.parametrize(("x", "y"), [(50.2, 40.1), (0.0, 0.0), (99.0, 79.0), (-4.0, 82.0)])
def test_cutout_is_centred_on_its_source(x, y):
    sci = np.random.default_rng(2).normal(0, 1, (80, 100)).astype(np.float32)
    inside = 0 <= x < 100 and 0 <= y < 80
    if inside:
        sci[round(y), round(x)] = 1000.0
    image = pixels.cutout(sci, x, y)
    assert image.shape == (41, 41)
    assert (image[20, 20] < 5) == inside


def test_cutout_far_off_is_white():
    assert np.all(pixels.cutout(np.ones((50, 50), np.float32), 500.0, 20.0) == 255)


def test_outlines_pass_around_their_segments():
    from matplotlib.path import Path as Polygon

    yy, xx = np.indices((60, 70))
    segments = np.zeros((60, 70), np.int32)
    segments[(xx - 20) ** 2 + (yy - 30) ** 2 < 150] = 1
    segments[5, 60] = 3  # one pixel
    segments[40:60, 69] = 4  # on the border
    result = pixels.outlines(segments, [1, 2, 3, 4, 9, 0])
    assert sorted(result) == [1, 3, 4]
    centres = np.column_stack([xx.ravel(), yy.ravel()])
    for number, (xs, ys) in result.items():
        inside = Polygon(np.column_stack([xs, ys])).contains_points(centres, radius=1e-6)
        inside |= Polygon(np.column_stack([xs, ys])).contains_points(centres, radius=-1e-6)
        np.testing.assert_array_equal(inside.reshape(segments.shape), segments == number)


def test_no_segment_has_no_outline():
    assert pixels.outlines(np.zeros((3, 4), np.int32), [1, 2]) == {}
    assert pixels.outlines(np.ones((3, 4), np.int32), []) == {}


def test_outline_of_a_tall_segment_is_short():
    xs, _ = pixels.outlines(np.ones((500, 9), np.int32), [1])[1]
    assert len(xs) == 2 * (pixels.MAX_OUTLINE_ROWS + 2)


def test_map_of_exposures():
    n_exp = np.zeros((500, 400), np.int16)
    n_exp[:250] = 1
    n_exp[250:300] = 12
    image = pixels.exposure_map(n_exp)
    assert [text for text, _, _ in image.legend] == ["1", "9 +"]
    assert sum(share for _, _, share in image.legend) == pytest.approx(1.0)
    assert image.legend[0][2] == pytest.approx(250 / 300, abs=0.01)
    assert image.rgb[-1, 0].tolist() == [0xFD, 0xE0, 0xA6]  # the lower half
    assert image.rgb[0, 0].tolist() == [255, 255, 255]


# ---------------------------------------------------------------- limits, figures


def test_completeness_limits_are_shown(done):
    (path,) = done.glob("*/*/jabc01010_cat.ecsv")
    completeness = Table({"kind": ["star"]})
    completeness.meta["LIMITS"] = [
        {"kind": "star", "re_arcsec": 0.0, "n_exp": 0, "mag_90_kept": 25.51, "mag_50_kept": 26.2},
        {"kind": "galaxy", "re_arcsec": 0.3, "n_exp": 0, "mag_90_kept": None, "mag_50_kept": 25.3},
        {"kind": "star", "re_arcsec": 0.0, "n_exp": 2, "mag_90_kept": 25.6, "mag_50_kept": 26.3},
    ]
    completeness.write(path.with_name("jabc01010_completeness.ecsv"), format="ascii.ecsv")
    (content,) = [c for c in contents(page.write_report(done)) if c["root"] == "jabc01010"]
    depth, reach, *limits = content["limits"]
    assert (depth["label"], depth["drawn"]) == ("5-sigma depth", True)
    assert (reach["label"], reach["drawn"]) == ("half found", False)
    for limit in limits:
        assert limit.pop("error") is None
        assert limit.pop("side", "right") in ("left", "right")
    assert limits == [
        {"label": "90 %", "of": "stars", "mag": 25.51, "drawn": True},
        {"label": "50 %", "of": "stars", "mag": 26.2, "drawn": True},
        {"label": "50 %", "of": 'galaxies 0.3"', "mag": 25.3, "drawn": False},
    ]


def test_figures_show_what_is_there(finished):
    pytest.importorskip("matplotlib")
    (image,) = [i for i in read_folder(finished).images if i.record.root == "jabc01010"]
    content = payload(image, image.table("cat"), BUDGET)
    result = dict(static_figures.figures(content))
    assert set(result) >= {"picture", "counts", "errors", "shapes", "exposures"}
    (axes,) = result["errors"].axes
    assert axes.get_xlabel() == "AB magnitude"
    drawn = sum(len(part.get_offsets()) for part in axes.collections)
    assert drawn == np.isfinite(values(image.table("cat"), "mag_ab_err_4")).sum()


def test_figures_of_an_image_without_products(done):
    pytest.importorskip("matplotlib")
    for path in done.glob("*/*/jabc01010_*"):
        path.unlink()
    names = [path.name for path in static_figures.write_figures(done)]
    assert names
    assert all("jabc01020" in name or "residuals" in name for name in names)


def test_unknown_format_of_figures(done):
    with pytest.raises(SettingsError, match="--format tiff: not a format - use png or pdf"):
        static_figures.write_figures(done, "tiff")


# ---------------------------------------------------------------- summary.json


def test_its_page_is_made_from_the_registry():
    path = Path(__file__).resolve().parents[1] / "docs" / "summary.md"
    assert path.read_text("utf-8") == summary_page(), "run python docs/make_reference.py"


def unknown_paths(summary):
    """Return the paths of a summary that the registry does not know."""
    return {
        ".".join(path)
        for path in set(_paths(summary))
        if not any(_fits(path, v.path.split(".")) for v in SUMMARY_VALUES)
    }


def _fits(path, pattern):
    return len(path) == len(pattern) and all(
        want in {"*", name} or (want.endswith("*") and name.startswith(want[:-1]))
        for name, want in zip(path, pattern, strict=True)
    )


def _paths(value, above=()):
    """Give the path of each value that has no parts."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, (*above, str(name).replace(".", "_")))
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part, (*above[:-1], f"{above[-1]}[]"))
    else:
        yield above


def test_every_value_of_the_summary_is_documented(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert unknown_paths(summary) == set()
    assert unknown_paths({"seconds": 1, "images": [{"root": "a", "odd": [{"b": 1}]}]}) == {
        "images[].odd[].b"
    }


# ---------------------------------------------------------------- at the end of a run


def test_a_run_ends_with_its_page(done):
    (done / page.PAGE).unlink(missing_ok=True)
    write_at_the_end(done, Settings(), changed=True)
    assert "jabc01010" in (done / page.PAGE).read_text("utf-8")


def test_a_page_that_is_up_to_date_is_left_alone(done):
    path = page.write_report(done)
    was = path.stat().st_mtime_ns
    write_at_the_end(done, Settings(), changed=False)
    assert path.stat().st_mtime_ns == was


@pytest.mark.parametrize("damage", ["empty", "cut", "foreign", "link", "folder"])
def test_a_damaged_page_is_written_again(done, harm, damage):
    path = page.write_report(done)
    text = path.read_bytes()
    harm(path, damage)
    write_at_the_end(done, Settings(), changed=False)
    assert path.read_bytes() == text
    assert not path.is_symlink()


def test_a_lost_file_beside_the_page_is_written_again(done, monkeypatch):
    monkeypatch.setattr(page, "MAX_INSIDE", 1)
    page.write_report(done)
    file = done / "abc_01" / page.FIELD_PAGE
    text = file.read_text()
    file.unlink()
    write_at_the_end(done, Settings(), changed=True)
    assert file.read_text() == text


def test_a_planted_link_in_the_place_of_a_field_page_is_replaced(done, monkeypatch, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("their own")
    (done / "abc_01" / page.FIELD_PAGE).symlink_to(theirs)
    monkeypatch.setattr(page, "MAX_INSIDE", 1)
    page.write_report(done)
    assert theirs.read_text() == "their own"
    assert not (done / "abc_01" / page.FIELD_PAGE).is_symlink()


def test_a_page_that_nobody_wants_is_not_written(done):
    (done / page.PAGE).unlink(missing_ok=True)
    write_at_the_end(done, Settings.load(assignments=["output.report=false"]), changed=True)
    assert not (done / page.PAGE).exists()


@pytest.mark.parametrize(("outcome", "steps", "news"), [
    (Outcome.DONE, ("detect",), True), (Outcome.DONE, (), False), (Outcome.DROPPED, (), True),
])  # fmt: skip
def test_what_is_news_to_a_page(outcome, steps, news):
    image = ImageReport("jabc01010", "abc_01", "F775W", "x_drc.fits", outcome, done=steps)
    assert is_news(RunReport(Path("out"), (FieldResult("abc_01", (image,)),))) == news


def test_without_its_libraries_a_run_says_so_and_is_no_worse(done, monkeypatch, caplog):
    (done / page.PAGE).unlink(missing_ok=True)
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    write_at_the_end(done, Settings(), changed=True)
    assert "no report: the report needs bokeh and jinja2" in caplog.text
    assert "bycatch[report]" in caplog.text
    assert not (done / page.PAGE).exists()


def test_a_run_without_images_writes_no_page(tmp_path):
    write_at_the_end(tmp_path, Settings(), changed=True)
    assert not list(tmp_path.iterdir())


def test_a_step_of_its_own_writes_the_page_anew(bycatch, done, monkeypatch):
    monkeypatch.setattr("bycatch.cli.steps.write_page", write_at_the_end)
    (done / page.PAGE).write_text("as it was")
    assert bycatch("finalize", done, "--set", "finalize.empirical_apcor=false").status == 0
    assert "jabc01010" in (done / page.PAGE).read_text("utf-8")


def test_what_the_user_says_of_a_file_holds_for_the_page_and_for_explain(
    bycatch, visit, tmp_path, caplog
):
    path = tmp_path / "bare_drc.fits"
    shutil.copy(min(visit.raw.glob("*_drc.fits")), path)
    with fits.open(path, "update") as hdus:
        del hdus[0].header["INSTRUME"], hdus[0].header["DETECTOR"]
    out = tmp_path / "out"
    words = ["run", path, "-o", out, "--field", "bare", "--gaia", visit.gaia]
    assert bycatch(*words, "--set", "input.detector=WFC").status == 0
    (content,) = contents(page.write_report(out))
    assert content["picture"]
    assert "no picture" not in caplog.text
    result = bycatch("explain", out, "--xy", 100, 100)
    assert result.status == 0, result.err


def test_labels_of_close_limits_lie_on_both_sides():
    lines = [{"mag": 27.0}, {"mag": 25.1}, {"mag": 26.8}, {"mag": 25.8}]
    place_labels(lines)
    assert [line["side"] for line in lines] == ["right", "right", "left", "right"]
    facing = [{"mag": mag} for mag in (27.66, 27.39, 26.71)]
    place_labels(facing)
    assert [line["side"] for line in facing] == ["right", "left", "left"]
    place_labels([])


def test_nothing_of_a_diagram_lies_outside_its_frame():
    """bokeh draws what has the level 'overlay' over axes and tools, too."""
    plots = group_plots().values()
    levels = {renderer.level for plot in plots for renderer in plot.renderers}
    assert levels == {"image", "glyph"}
