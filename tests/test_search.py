"""What lies in folders: names and kinds decide, each file is used once, and nothing hangs."""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bycatch.catalogs.tables import make_table, read_table, write_table
from bycatch.cli.session import LogFile
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.images import files
from bycatch.images.files import not_a_file, open_fits, shorten
from bycatch.pipeline import sort_only
from bycatch.pipeline.intake import scan
from bycatch.pipeline.search import find_files
from bycatch.products import find_records
from bycatch.settings import Settings
from bycatch.stages import sort
from bycatch.system.words import all_printable, ascii_words, cell_words, printable

NAME = "jabc01010_drc.fits"


@pytest.fixture
def raw(tmp_path):
    """A folder with one file that has the name of an image."""
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / NAME).write_bytes(b"no FITS")
    return folder


def names(found, folder):
    return [path.relative_to(folder).as_posix() for path in found.files]


def reasons(found):
    return {skip.path.name: skip.reason for skip in found.skipped}


# ---------------------------------------------------------------- links


def test_links_to_folders_are_followed_once(raw, tmp_path):
    (raw / "more").mkdir()
    (raw / "more/jabc01020_drc.fits").touch()
    (raw / "again").symlink_to(raw / "more")
    (raw / "more/up").symlink_to(raw)
    (raw / "self").symlink_to("self")
    away = tmp_path / "away"
    away.mkdir()
    (away / "jabc01030_drc.fits").touch()
    (raw / "away").symlink_to(away)
    files = find_files([raw, raw / "more", away], tmp_path / "out")
    assert names(files, tmp_path) == [
        f"raw/{NAME}",
        "raw/more/jabc01020_drc.fits",
        "away/jabc01030_drc.fits",
    ]
    assert files.skipped == []


def test_a_file_of_two_names_is_used_once(raw, tmp_path):
    os.link(raw / NAME, raw / "jabc01020_drc.fits")
    (raw / "jabc01030_drc.fits").symlink_to(NAME)
    files = find_files([raw], tmp_path / "out")
    assert names(files, raw) == [NAME]
    assert reasons(files) == dict.fromkeys(
        ("jabc01020_drc.fits", "jabc01030_drc.fits"), f"the same file as {raw / NAME}"
    )


def test_a_broken_link_is_kept_for_who_opens_it(raw, tmp_path):
    (raw / "jabc01020_drc.fits").symlink_to("gone")
    assert names(find_files([raw], tmp_path / "out"), raw) == [NAME, "jabc01020_drc.fits"]


@pytest.mark.parametrize("link", ["out", "out/abc_01"])
def test_the_output_folder_is_not_searched_by_any_way(raw, link):
    out = raw / "out"
    (out / "abc_01").mkdir(parents=True)
    (out / "abc_01/jabc01090_drc.fits").touch()
    (raw / "way").symlink_to(raw / link)
    assert names(find_files([raw], out), raw) == [NAME]


def test_what_the_user_names_in_the_output_folder_is_searched(raw, tmp_path):
    (tmp_path / "raw/.part-1").mkdir()
    (tmp_path / "raw/.part-1/jabc01080_drc.fits").touch()
    assert names(find_files([raw], tmp_path), raw) == [NAME]
    assert names(find_files([tmp_path], tmp_path), raw) == [NAME]


# ---------------------------------------------------------------- what is no file


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # their names are short
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(path.name)
    os.chdir(here)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_giant(path):
    path.touch()
    os.truncate(path, 10**12)


ODD = {
    "pipe": (make_pipe, "a pipe (FIFO), not a file"),
    "socket": (make_socket, "a socket, not a file"),
    "device": (make_device, "a device, not a file"),
    "giant": (make_giant, "1000 GB: more than"),
    "folder": (lambda path: path.mkdir(), "a folder with the name of an image"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["jabc01020_drc.fits", "jabc01020_drz.fits.gz"])
def test_what_is_no_file_is_named_and_not_opened(raw, tmp_path, monkeypatch, kind, name):
    make, reason = ODD[kind]
    make(raw / name)
    monkeypatch.setattr(files.fits, "open", lambda *_, **__: pytest.fail("opened"))
    paths = find_files([raw], tmp_path / "out")
    assert names(paths, raw) == [NAME]
    assert reason in reasons(paths)[name]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "giant"])
def test_what_is_no_file_is_dropped_if_the_user_names_it(tmp_path, bycatch, kind):
    path = tmp_path / "x_drc.fits"
    make, reason = ODD[kind]
    make(path)
    (skip,) = find_files([path], tmp_path / "out").skipped
    assert skip.bad
    assert reason in skip.reason
    with pytest.raises(UnreadableFile, match=r"x_drc\.fits"), open_fits(path):
        pass
    assert bycatch("inspect", path).status == 1


def test_a_sparse_file_that_memory_could_hold_is_read(tmp_path, monkeypatch):
    path = tmp_path / NAME
    path.touch()
    os.truncate(path, 5_000_000)
    assert not_a_file(path) == ""
    monkeypatch.setattr(files.memory, "installed_bytes", lambda: 4e6)
    assert "more than 0 GB" in not_a_file(path)


def test_the_largest_file_has_64_gb(tmp_path, monkeypatch):
    path = tmp_path / NAME
    monkeypatch.setattr(files.memory, "installed_bytes", lambda: 1e15)
    path.touch()
    os.truncate(path, 64_000_000_000)
    assert not_a_file(path) == ""
    os.truncate(path, 64_000_000_001)
    assert "64 GB: more than 64 GB" in not_a_file(path)


def test_a_folder_that_can_not_be_entered_is_reported(raw, tmp_path, monkeypatch):
    (raw / "closed").mkdir()
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    files = find_files([raw], tmp_path / "out")
    assert names(files, raw) == [NAME]
    assert reasons(files) == {"closed": "the folder can't be entered (Permission denied)"}


def test_folders_may_be_deep(tmp_path):
    top = folder = tmp_path / "deep"
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    (top / NAME).touch()
    try:
        assert names(find_files([top], tmp_path / "out"), top) == [NAME]
    finally:  # pytest's own cleaning is recursive, and would fail in a later session
        subprocess.run(["rm", "-r", "d"], cwd=top, check=True)


@pytest.mark.parametrize("mark", ["survey.json", "wcs_error.json"])
def test_maps_and_truth_of_ours_are_no_images(raw, tmp_path, mark):
    """A project folder holds the survey that was made of it: its maps are FITS files, too."""
    own = raw / "mine"
    own.mkdir()
    (own / mark).write_text("{}")
    (own / "depth_F775W.fits").write_bytes(b"a map")
    found = find_files([raw], tmp_path / "out")
    assert [path.name for path in found.files] == [NAME]
    assert found.passed_over["folder of bycatch"] == 1
    assert find_files([own / "depth_F775W.fits"], tmp_path / "out").files


def test_hidden_files_are_counted(raw, tmp_path):
    (raw / f"._{NAME}").touch()
    files = find_files([raw], tmp_path / "out")
    assert names(files, raw) == [NAME]
    assert files.passed_over == {"hidden": 1}


@pytest.mark.parametrize("name", ["gone", "x" * 300, "a/" * 3000])
def test_a_path_that_is_not_there_is_reported(tmp_path, name):
    with pytest.raises(SettingsError, match="no such file or folder"):
        find_files([tmp_path / name], tmp_path / "out")


# ---------------------------------------------------------------- names


ODD_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    | st.sampled_from("\n\r\t[]*?'\"<>&;#%\\ \x1b\u2028-=+@$~")
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),  # bytes that are not UTF-8
    max_size=12,
)


@pytest.fixture(scope="module")
def image(new_drc):
    """The bytes of a small drizzled image."""
    import io

    stream = io.BytesIO()
    new_drc(np.ones((40, 50), dtype=np.float32)).writeto(stream)
    return stream.getvalue()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(folder=ODD_NAMES, end=ODD_NAMES)
@example(folder="", end="a\\b")  # no separator here, only on Windows
def test_an_odd_name_is_placed_as_a_plain_one(image, tmp_path, folder, end):
    top = tmp_path / "all"
    shutil.rmtree(top, ignore_errors=True)
    raw, out = top / f"raw{folder}", top / f"out{folder}"
    raw.mkdir(parents=True)
    path = raw / f"jabc01010{end}_drc.fits"
    path.write_bytes(image)
    settings_ = Settings.load(assignments=["sort.field=abc_01"])
    records, problems = sort_only([raw], out, settings_)
    assert problems == ()
    (record,) = records
    assert (record.field, record.filter, record.source) == ("abc_01", "F775W", str(path))
    link = record.paths(out).folder / record.name
    assert link.samefile(path)
    (again,) = find_records(out)
    assert again == record
    (file,) = scan([raw], out, settings_).files.values()
    assert file.key == record.facts_key  # it was not opened again


@pytest.mark.parametrize("length", [160, 161, 245])
@pytest.mark.parametrize("letter", ["x", "\N{GREEK SMALL LETTER ALPHA}", "\udcff"])
def test_long_names_leave_room_for_products(length, letter):
    n = (length - 13) // len(os.fsencode(letter))
    stem = f"jabc0101{letter * n}_drc"
    short = shorten(stem)
    assert len(os.fsencode(short)) <= 160
    assert short.endswith("_drc")
    if len(os.fsencode(stem)) <= 160:
        assert short == stem
    else:
        assert short != shorten(stem.replace("0101", "0102"))


def test_products_of_a_long_name_have_names_that_fit(image, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / f"jabc01010_{'x' * 235}_drc.fits").write_bytes(image)
    settings = Settings()
    records, problems = sort_only([raw], out, settings)
    assert not problems
    paths = records[0].paths(out)
    figure = f"{'f' * 64}_{'F' * 16}_{records[0].root}_completeness.png"
    for name in (paths.product("cat_noCRs", ".parquet").name, figure, paths.aligned_image.name):
        assert len(os.fsencode(name)) <= 255


def test_names_that_differ_in_case_do_not_share_a_place():
    one = sort.place_key("abc_01", "F775W", "JABC01010_drc")
    assert one == sort.place_key("ABC_01", "F775W", "jabc01010_drc")
    assert sort.place_key("a", "b", "e\u0301") == sort.place_key("a", "b", "\u00e9")


def test_copies_of_other_names_are_used_once(image, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / NAME).write_bytes(image)
    (raw / "jabc01020_drc.fits").write_bytes(image)
    plan = scan([raw], tmp_path / "out", Settings()).plan
    assert [p.path.name for p in plan.placements] == [NAME]
    assert [s.reason for s in plan.skipped] == [f"the same file as {raw / NAME}"]
    with fits.open(raw / "jabc01020_drc.fits", mode="update") as hdus:
        hdus["SCI"].data[3, 3] += 1
    assert len(scan([raw], tmp_path / "out", Settings()).plan.placements) == 2


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "a/b", ".", "..", ".x", "a\nb", "a\x00b", "x" * 65, "Report.html", "export",
     "products.json", "a\\b"],
)  # fmt: skip
def test_a_field_is_a_plain_folder_name(name):
    with pytest.raises(SettingsError, match=r"sort\.field"):
        Settings.load(base={"sort": {"field": name}})


def test_a_field_may_have_64_bytes():
    assert len(Settings.load(assignments=[f"sort.field={'x' * 64}"]).sort.field) == 64


@pytest.mark.parametrize("name", ["../x", "", "F775W/x", "x" * 17, "F775W\n"])
def test_a_filter_is_a_plain_folder_name(image, tmp_path, name):
    from dataclasses import replace

    path = tmp_path / NAME
    path.write_bytes(image)
    (placement,) = scan([path], tmp_path / "out", Settings()).plan.placements
    from bycatch.images.headers import read_headers
    from bycatch.images.meta import image_meta

    facts = replace(sort.facts_of(image_meta(read_headers(placement.path))), filter=name)
    (skip,) = sort.run([sort.Candidate(path, facts)]).skipped
    assert skip.bad
    assert "not the name of a filter" in skip.reason


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("F775W é α", "F775W é α"),
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        ("caf\udce9.fits", r"caf\xe9.fits"),
        ("a\u2028b\u202eb", r"a\u2028b\u202eb"),
        ("", ""),
    ],
)
def test_words_can_be_printed(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_words_of_a_card_are_ascii():
    assert ascii_words("é\n\udcff") == r"\xe9\n\xff"


def test_nested_words_can_be_printed():
    assert all_printable({"a\n": ["b\n", ("c\n", 3)], "d": None}) == {
        r"a\n": [r"b\n", (r"c\n", 3)],
        "d": None,
    }


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"), ("\t=1", "'\t=1"), ("＝1", "'＝1"), ("-", "'-"),
        ("-1.5", "-1.5"), ("+3e4", "+3e4"), ("a=b", "a=b"), ("", ""),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(text, cell):
    assert cell_words(text) == cell


@pytest.mark.parametrize("form", ["ecsv", "fits", "csv", "votable", "parquet"])
def test_words_of_others_survive_in_every_format(tmp_path, form):
    from bycatch.catalogs.source_columns import EXCLUDED

    evil = "=cmd|' /C calc'!A0\n\udcff\x07</script>"
    meta = {"FILENAME": evil, "NOTES": [evil], "EXPTIME": -1.5}
    data = {"id": [1, 2], "x": [-1.0, 2.0], "y": [-3.0, 4.0], "reason": [evil, "plain"]}
    path = tmp_path / f"table.{form}"
    write_table(make_table(EXCLUDED, data, meta=meta), path, form)
    path.read_bytes().decode("utf-8", "strict" if form in {"ecsv", "csv", "votable"} else "ignore")
    back = read_table(path if form != "votable" else path.rename(path.with_suffix(".vot")))
    assert back["x"].tolist() == [-1.0, 2.0]
    expected = printable(evil)
    assert str(back["reason"][0]) == (f"'{expected}" if form == "csv" else expected)


def test_a_log_that_the_user_names_may_be_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "log")
    LogFile(tmp_path / "link", is_ours=False).close()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "log").exists()


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "log")
    LogFile(tmp_path / "log", is_ours=True).close()
    assert (tmp_path / "log").is_file()


def test_a_run_on_odd_names_gives_what_plain_names_give(bycatch, visit, finished, tmp_path):
    raw, out = tmp_path / "a[b]\n\udcff =x", tmp_path / "o[*]\udcfe$x$"
    raw.mkdir()
    shutil.copy(visit.raw / NAME, raw / "jabc01010 [é]\n\udcff=<script>_drc.fits")
    shutil.copy(visit.raw / "jabc01020_drc.fits", raw)
    result = bycatch(
        "run", raw, "-o", out, "--gaia", visit.gaia, "--formats", "fits,csv,votable,parquet",
        "--write-wcs", "-q",
    )  # fmt: skip
    assert result.status == 0, result.err
    (path,) = out.glob("abc_01/F775W/*_cat.ecsv")
    theirs = read_table(path)
    ours = read_table(finished / "abc_01/F775W/jabc01010_cat.ecsv")
    for name in ours.colnames:
        np.testing.assert_array_equal(np.asarray(theirs[name]), np.asarray(ours[name]))
    assert theirs.meta["FILENAME"] == r"jabc01010 [é]\n\xff=<script>_drc.fits"
    from bycatch.pipeline import saved_settings
    from bycatch.pipeline.export import export
    from bycatch.pipeline.status import status
    from bycatch.report import write_report

    assert status(out, saved_settings(out)).is_done
    assert export(out, ["csv", "fits", "reg"], merged=True)
    text = write_report(out).read_text("utf-8")
    assert "=<script>_drc" not in text
    assert "&lt;script&gt;" in text
    assert json.loads((out / "summary.json").read_text())["images"]
