"""Every command with hostile values: a line that names the thing, a status, and no traceback."""

import json

import pytest

from bycatch.errors import TRACEBACK, BycatchError, is_expected, reason
from bycatch.system import each

NAME = "q[/b] :smile:\x1b[31m\n"
"""A folder's name that would drive a terminal."""
STEPS = ("detect", "crmask", "align", "measure", "finalize", "inject")
ON_OUT = (
    *((step,) for step in STEPS),
    ("status",),
    ("report",),
    ("report", "--figures"),
    ("export",),
    ("explain", "--xy", "1", "1"),
    ("explain", "--radec", "1", "1"),
    ("assess", "."),
)
"""Commands that begin with an output folder."""
FILES = ("absent", "", "empty", "bytes", "folder", "/dev/null", "x" * 300, NAME)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Go to a folder of odd things."""
    (tmp_path / "empty").touch()
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "folder").mkdir()
    (tmp_path / NAME).mkdir(parents=True)  # there is a slash in [/b]
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(ended, *names):
    """Assert that a command was refused in a line that names what is wrong."""
    text = ended.out + ended.err
    assert ended.status in (1, 2), text
    for word in ("Traceback", "this is a bug", "unexpected error", "\x1b"):
        assert word not in text
    lines = [line for line in ended.err.splitlines() if not line.startswith(("Usage", "Try"))]
    assert len([line for line in lines if line]) <= 1, ended.err
    assert any(name in text for name in names), text


def shown(path):
    """Return how messages write a path."""
    return "q[/b] :smile:\\x1b[31m\\n" if path == NAME else path or "empty path"


@pytest.mark.parametrize("out", FILES)
@pytest.mark.parametrize("command", ON_OUT, ids=" ".join)
def test_what_is_no_output_folder_is_named(bycatch, place, command, out):
    before = sorted(place.rglob("*"))
    result = bycatch(command[0], out, *command[1:])
    check(result, shown(out), "File name too long")
    if command[0] not in STEPS:  # steps have a log, where there is a folder
        assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("option", ["--config", "--gaia", "--sources", "--exclude", "--wht"])
def test_what_is_no_such_file_is_named(bycatch, place, visit, option, path):
    if option == "--config" and path in ("empty", "/dev/null"):
        return  # no settings are all settings
    if option == "--wht" and path in ("empty", "bytes"):
        return  # read with its image
    result = bycatch("run", visit.raw / "jabc01010_drc.fits", "-o", "out", option, path)
    check(result, shown(path), "File name too long")


@pytest.mark.parametrize("path", FILES)
def test_what_is_no_image_or_catalog_is_named(bycatch, place, path):
    check(bycatch("inspect", path), shown(path), "File name too long")
    check(bycatch("compare", path, path), shown(path), "File name too long")


@pytest.mark.parametrize(
    "words",
    [
        ["-j", "0"], ["-j", "-1"], ["-j", "100000"], ["-j", "1e3"], ["-j", "\uff11"], ["-j", ""],
        ["-o", ""], ["--log-file", ""], ["--log-file", "folder"], ["--log-file", "empty/x"],
        ["--preset", ""], ["--preset", "[/b]"], ["--preset", "\x1b[31m"], ["--mode", ""],
        ["--formats", ""], ["--formats", ","], ["--formats", "../x"], ["--field", "../x"],
        ["--field", "a/b"], ["--field", "."], ["--field", "x" * 300], ["--field", "a\nb"],
        ["--\x1b[31m"], ["--set", "a"], ["--set", "="], ["--set", ""], ["--set", "\x1b[31m=1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_hostile_options_of_a_run_are_refused(bycatch, place, visit, words):
    result = bycatch("run", visit.raw, "-o", "out", *words)
    check(result, words[0], words[0].removeprefix("--"), words[-1][:20], "no such folder", "\\x1b")
    assert not list(place.glob("out/*_*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "--xy", "nan", "nan"], "--xy nan nan: not a position"),
        (["explain", "--xy", "inf", "1"], "--xy inf 1.0: not a position"),
        (["explain", "--xy", "a", "b"], "--xy"),
        (["explain", "--radec", "nan", "nan"], "--radec nan nan: not a position"),
        (["explain", "--radec", "a", "\x1b"], "not a position"),
        (["explain", "--radec", "", ""], "not a position"),
        (["explain", "--radec", "1", "91"], "beyond the poles"),
        (["explain", "--radec", "10:70:00", "0"], "not a position"),
        (["explain", "--radec", "1 2 3 4", "0"], "not a position"),
        (["explain", "--image", "[/b]", "--xy", "1", "1"], "no image '[/b]'"),
        (["explain"], "give one position"),
        (["export", "--formats", ""], "there is no format"),
        (["export", "--formats", "[/b]"], "there is no format '[/b]'"),
        (["export", "--kind", "../../x"], "no image has a product"),
        (["export", "--kind", "x" * 300], "File name too long"),
        (["export", "-o", "empty"], "empty"),
        (["export", "-o", ""], "an empty path"),
        (["report", "--figures", "--format", "exe"], "--format exe"),
        (["assess", "absent"], "absent: no simulated visit"),
        (["assess", ""], "an empty path"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_hostile_questions_about_a_run_are_refused(bycatch, place, finished, words, message):
    place_of = ["--image", "F775W"] if "--xy" in words and "--image" not in words else []
    check(bycatch(words[0], finished, *words[1:], *place_of), message)


@pytest.mark.parametrize("radius", ["nan", "-1", "0", "inf", "1e300", "x", ""])
def test_hostile_radii_are_refused(bycatch, finished, radius):
    catalog = finished / "abc_01/F775W/jabc01010_cat.ecsv"
    check(bycatch("compare", catalog, catalog, "--radius", radius), "--radius")


@pytest.mark.parametrize(
    "path", ["empty", "", "/dev/null", "empty/x", "x" * 300, "absent/x", "folder"]
)
@pytest.mark.parametrize("command", ["config", "simulate"])
def test_places_that_can_not_be_written_are_named(bycatch, place, command, path):
    if path in ("empty", "/dev/null") and command == "config":
        return
    if path in ("absent/x", "folder") and command == "simulate":
        return
    small = [w for n in ("n_columns=64", "n_rows=64", "filters=F606W", "n_exposures=1")
             for w in ("--set", f"simulate.{n}")]  # fmt: skip
    words = ["config", "-o", path] if command == "config" else ["simulate", path, *small]
    check(bycatch(*words), shown(path), "File name too long")


def test_run_into_what_is_no_folder(bycatch, place, visit):
    for out in ("empty", "/dev/null", "empty/x", "x" * 300):
        check(bycatch("run", visit.raw, "-o", out), out, "File name too long")


# ---------------------------------------------------------------- one image of several


DAMAGES = {
    "a catalog cut short": ("cat.ecsv", lambda path: path.write_bytes(path.read_bytes()[:3000])),
    "an empty catalog": ("cat.ecsv", lambda path: path.write_bytes(b"")),
    "a catalog of other columns": (
        "cat.ecsv",
        lambda path: path.write_text(
            "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n"
        ),
    ),
    "a segmentation cut short": ("segm.fits.gz", lambda path: path.write_bytes(b"\x1f\x8b")),
    "a foreign mask": ("drc.mask.fits", lambda path: path.write_bytes(b"no")),
    "an image that is gone": ("drc.fits", lambda path: path.unlink()),
    "a record that is none": ("state.json", lambda path: path.write_text("[]")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_image_that_is_broken_costs_no_other(bycatch, visit, done, damage):
    name, change = DAMAGES[damage]
    change(done / f"abc_01/F775W/jabc01010_{name}")
    ra, dec = visit.wcs.all_pix2world(visit.scene.x[0], visit.scene.y[0], 0)
    words_of_all = [["export"], ["explain", "--radec", ra, dec], ["status"]]
    if damage == "a catalog of other columns":  # it takes seconds
        words_of_all.append(["report", "--figures"])
    for words in words_of_all:
        result = bycatch(words[0], done, *words[1:])
        text = result.out + result.err
        assert result.status in (0, 1)
        assert "Traceback" not in text
        assert "jabc01020" in result.out or words[0] == "report"
        if result.status == 1 and words[0] in ("export", "explain"):
            assert "F775W jabc01010: left out: " in result.err


def test_where_no_image_is_left_its_error_is_the_answer():
    def fail(number):
        raise BycatchError(f"number {number}")

    with pytest.raises(BycatchError, match="number 1"):
        list(each.of_each([1, 2], fail, str))
    assert list(each.of_each([], fail, str)) == []


# ---------------------------------------------------------------- what nobody expects


def test_an_unexpected_error_of_a_run_is_a_line_and_in_the_log(
    bycatch, visit, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise KeyError("x\ny")

    monkeypatch.setattr("bycatch.pipeline.run", fail)
    out = tmp_path / "out"
    result = bycatch("run", visit.raw, "-o", out)
    assert result.status == 1
    assert result.err == (
        f"bycatch: unexpected error: KeyError: 'x\\ny' - {out}/bycatch.log holds the details; "
        "please report it\n"
    )
    log = (out / "bycatch.log").read_text()
    assert "Traceback (most recent call last):" in log
    assert all("DEBUG" in line for line in log.splitlines())


def test_an_unexpected_error_of_a_look_is_in_the_log(bycatch, done, monkeypatch):
    def fail(*_):
        raise KeyError("x")

    (done / "bycatch.log").unlink()
    monkeypatch.setattr("bycatch.pipeline.status.status", fail)
    result = bycatch("status", done)
    assert result.err.count("\n") == 1
    assert "Traceback" in (done / "bycatch.log").read_text()


def test_without_a_folder_the_environment_shows_it(bycatch, visit, monkeypatch):
    def fail(*_):
        raise KeyError("x")

    monkeypatch.setattr("bycatch.settings.to_toml", fail)
    result = bycatch("config")
    assert result.err == (
        f"bycatch: unexpected error: KeyError: 'x' - {TRACEBACK}=1 in the environment shows the "
        "details; please report it\n"
    )
    monkeypatch.setenv(TRACEBACK, "1")
    assert "Traceback" in bycatch("config").err


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (MemoryError(), "not enough memory - use a smaller -j"),
        (
            MemoryError("Unable to allocate 9. TiB"),
            "not enough memory (Unable to allocate 9. TiB) - ",
        ),
        (
            OSError(28, "No space left"),
            "[Errno 28] No space left - check disk space and permissions",
        ),
        (BycatchError("x", hint="y"), "x - y"),
        (RecursionError("a\n b"), "unexpected error: RecursionError: a b - the log holds"),
        (ValueError("x" * 10_000), "unexpected error: ValueError: x"),
    ],
)
def test_whatever_is_raised_is_a_line(err, words):
    text = reason(err)
    assert text.startswith(words)
    assert "\n" not in text
    assert len(text) < 700
    assert is_expected(err) != text.startswith("unexpected")


def test_an_image_that_needs_too_much_memory_fails_alone(bycatch, visit, tmp_path, monkeypatch):
    from bycatch.stages import detect

    real = detect.run

    def greedy(image, *rest):
        if image.meta.filter == "F775W":
            raise MemoryError("Unable to allocate 102. TiB")
        return real(image, *rest)

    monkeypatch.setattr(detect, "run", greedy)
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--gaia", visit.gaia)
    assert result.status == 1
    assert "failed: jabc01010: not enough memory (Unable to allocate 102. TiB) - " in result.out
    assert "1 of 2 image(s) done" in result.out
    known = json.loads((tmp_path / "out/summary.json").read_text())["images"]
    assert [image["traceback"] for image in known] == ["", ""]
