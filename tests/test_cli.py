"""The command line: every command and option, what it prints, and how it exits."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from astropy.io import fits
from rich.console import Console

from bycatch import __version__
from bycatch.cli import console, printing
from bycatch.errors import UnreadableFile
from bycatch.pipeline import FieldResult, ImageReport, Outcome, RunReport
from bycatch.settings import PRESETS, Settings, to_toml, walk

ANSI = re.compile(r"\x1b\[")
STEPS = ("detect", "crmask", "align", "measure", "finalize")
COMMANDS = ("run", "sort", *STEPS, "simulate", "assess", "inspect", "config")


def python(*words, **options):
    """Run a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def listing(folder):
    """Return every file below a folder with its time of change."""
    return {p: p.lstat().st_mtime_ns for p in sorted(folder.rglob("*"))}


# ---------------------------------------------------------------- start


@pytest.mark.parametrize("start", ["import bycatch", "import bycatch.cli"])
def test_import_is_light(start):
    heavy = ("numba", "matplotlib", "photutils", "astropy", "scipy", "skimage", "pydantic")
    code = f"{start}; import sys; print([m for m in {heavy} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_steps_load_no_library_that_takes_long():
    """Each takes a tenth of the command's start and more."""
    heavy = ("scipy.stats", "scipy.optimize", "scipy.interpolate", "scipy.signal", "matplotlib")
    code = (
        "from bycatch.pipeline.workbench import import_steps; import_steps()\n"
        f"import bycatch.pipeline, sys; print([m for m in {heavy} if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def test_help_is_light():
    code = (
        "import sys; sys.argv = ['bycatch', '--help']\n"
        "from bycatch.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print('status', end.code)\n"
        "print([m for m in ('numba', 'matplotlib', 'astropy', 'pydantic') if m in sys.modules])"
    )
    lines = python("-c", code).stdout.splitlines()
    assert lines[-2:] == ["status 0", "[]"]


def test_module_is_a_command():
    process = python("-m", "bycatch", "--version")
    assert (process.returncode, process.stdout.strip()) == (0, f"bycatch {__version__}")


def test_help_names_every_command(bycatch):
    result = bycatch("--help")
    assert result.status == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", result.out, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(bycatch, name):
    result = bycatch(name, "--help")
    assert result.status == 0
    assert "Usage: bycatch" in result.out


def test_public_names_exist():
    import bycatch

    for name in bycatch.__all__:
        assert getattr(bycatch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        bycatch.runn  # noqa: B018


# ---------------------------------------------------------------- wrong usage: status 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "detect.n_pixel=60"], "Did you mean 'n_pixels'"),
        (["--set", "detec.n_pixels=60"], "Did you mean 'detect'"),
        (["--set", "n_pixels=60"], "section.name=value"),
        (["--set", "detect.n_pixels"], "section.name=value"),
        (["--set", "detect.n_pixels=none"], "detect.n_pixels"),
        (["--set", "detect.n_pixels=0"], "greater than or equal to 1"),
        (["--preset", "deeep"], "deep"),
        (["--config", "absent.toml"], "absent.toml"),
        (["--mode", "hardlink"], "sort.mode"),
        (["--formats", "fits,xls"], "output.formats"),
        (["--gaia", "absent.csv"], "absent.csv"),
        (["--sources", "absent.csv"], "absent.csv"),
        (["--exclude", "absent.reg"], "absent.reg"),
        (["--wht", "absent.fits"], "absent.fits"),
    ],
)
def test_wrong_settings_stop_before_any_data_are_read(bycatch, tmp_path, words, message):
    bad_path = tmp_path / "raw" / "jabc01010_drc.fits"
    bad_path.parent.mkdir()
    bad_path.write_text("reading this would give another message")
    result = bycatch("run", bad_path.parent, "-o", tmp_path / "out", *words)
    assert result.status == 2
    assert result.err.startswith("bycatch: ")
    assert message in result.err
    assert "Traceback" not in result.err
    assert not list((tmp_path / "out").rglob("*_*/*"))


def test_config_mistake_is_given_with_file_and_line(bycatch, tmp_path, visit):
    file = tmp_path / "mine.toml"
    file.write_text("[measure]\nfwhm_radius_px = 5\n\n[detect]\nn_sigma = 3\nn_pixel = 60\n")
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--config", file)
    assert result.status == 2
    assert f"{file}:6" in result.err
    assert "n_pixels" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["run", "in"],
        ["rum", "in", "-o", "out"],
        ["run", "in", "-o", "out", "-j", "0"],
        ["run", "in", "-o", "out", "--no-such-option"],
        ["detect"],
        ["inspect"],
    ],
)
def test_wrong_usage_is_status_2(bycatch, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bycatch(*words)
    assert result.status == 2
    assert "Usage" in result.err + result.out
    assert not list(tmp_path.iterdir())


def test_missing_path_and_empty_folder_are_wrong_usage(bycatch, tmp_path):
    out = tmp_path / "out"
    result = bycatch("run", tmp_path / "absent", "-o", out)
    assert result.status == 2
    assert "absent: there is no such file or folder" in result.err
    (tmp_path / "empty").mkdir()
    result = bycatch("run", tmp_path / "empty", "-o", out)
    assert result.status == 2
    assert "no drizzled image" in result.err


@pytest.mark.parametrize("step", STEPS)
def test_step_on_an_absent_folder_is_wrong_usage_and_makes_none(bycatch, tmp_path, step):
    result = bycatch(step, tmp_path / "absent")
    assert result.status == 2
    assert "no such folder" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", STEPS)
def test_step_on_a_folder_without_images_says_what_to_run(bycatch, tmp_path, step):
    result = bycatch(step, tmp_path)
    assert result.status == 2
    assert "bycatch run" in result.err


def test_unwritable_places_are_named(bycatch, tmp_path, visit):
    (tmp_path / "taken").write_text("a file, not a folder")
    result = bycatch("run", visit.raw, "-o", tmp_path / "taken")
    assert result.status == 2
    assert "taken" in result.err
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--log-file", tmp_path / "taken/log")
    assert result.status == 2
    assert "--log-file" in result.err


@pytest.mark.parametrize(
    ("raised", "status"),
    [(UnreadableFile("x.fits: [no] image"), 1), (OSError(28, "No space left on device"), 1)],
)
def test_what_stops_a_run_is_one_line(bycatch, monkeypatch, tmp_path, visit, raised, status):
    def fail(*args, **options):
        raise raised

    monkeypatch.setattr("bycatch.pipeline.run", fail)
    result = bycatch("run", visit.raw, "-o", tmp_path / "out")
    assert result.status == status
    assert result.err.count("\n") == 1
    assert str(raised) in result.err


# ---------------------------------------------------------------- config


@pytest.mark.parametrize("preset", ["classic", "deep"])
def test_config_prints_settings_that_load_back(bycatch, tmp_path, preset):
    result = bycatch("config", "--preset", preset)
    assert result.status == 0
    assert tomllib.loads(result.out)["detect"]["n_sigma"] == 2.0
    file = tmp_path / "all.toml"
    assert bycatch("config", "--preset", preset, "-o", file).status == 0
    assert file.read_text() == result.out
    assert Settings.load(file) == Settings.load(preset=preset)


def test_config_says_meaning_unit_and_default(bycatch):
    text = bycatch("config").out
    assert "# radii of the apertures [px]\n# default: " in text
    assert text.count("# default: ") == text.count(" = ") - len(re.findall("# .* = .*", text))


def test_config_keeps_a_file_that_somebody_has_edited(bycatch, tmp_path):
    file = tmp_path / "my.toml"
    for _ in range(2):
        assert bycatch("config", "-o", file).status == 0
    text = file.read_text() + "# mine\n"
    file.write_text(text)
    result = bycatch("config", "-o", file)
    assert result.status == 2
    assert "other settings" in result.err
    assert file.read_text() == text


def test_config_into_an_absent_folder_says_so(bycatch, tmp_path):
    result = bycatch("config", "-o", tmp_path / "absent" / "all.toml")
    assert result.status == 2
    assert "all.toml: can't be written" in result.err


def test_settings_come_from_preset_file_and_assignments_in_this_order(bycatch, tmp_path, visit):
    file = tmp_path / "mine.toml"
    file.write_text("[detect]\nn_pixels = 20\ndeblend_n_levels = 8\n")
    out = tmp_path / "out"
    words = ["--preset", "deep", "--config", file, "--set", "detect.n_pixels=33"]
    assert bycatch("sort", visit.raw, "-o", out, *words).status == 0
    settings = Settings.load(out / "settings.toml").detect
    deep = Settings.load(preset="deep").detect
    assert settings == deep.replace(n_pixels=33, deblend_n_levels=8)


# ---------------------------------------------------------------- inspect


def test_inspect_says_what_the_file_holds(bycatch, visit):
    file = visit.raw / "jabc01020_drc.fits"
    result = bycatch("inspect", file)
    assert result.status == 0
    assert result.err == ""
    text = result.out
    assert text.startswith(f"{file}\n")
    for name in ("filter       F475W", "exposures    1, 1000 s", "coverage", "zero points  AB "):
        assert name in text
    assert "WCS          IDC_0461802ej" in text
    assert "! WCS IDC_0461802ej is not tied to Gaia" in text
    assert "! a single exposure: no cosmic ray was rejected" in text
    assert not ANSI.search(text)


def test_inspect_goes_on_after_a_file_that_cannot_be_used(bycatch, visit, tmp_path):
    bad = tmp_path / "bad_drc.fits"
    bad.write_text("no")
    result = bycatch("inspect", bad, visit.raw / "jabc01010_drc.fits")
    assert result.status == 1
    assert "can't be used" in result.out
    assert "F775W" in result.out


def test_inspect_takes_settings(bycatch, visit):
    file = visit.raw / "jabc01010_drc.fits"
    assert "filter       F606W" in bycatch("inspect", file, "--set", "input.filter=F606W").out


# ---------------------------------------------------------------- what a run prints


@pytest.fixture(scope="module")
def piped(visit, tmp_path_factory):
    """A run in a pipe, as another process, with a strict eye on warnings."""
    out = tmp_path_factory.mktemp("piped") / "out"
    words = ["run", visit.raw, "-o", out, "--gaia", visit.gaia]
    return out, python("-W", "default", "-m", "bycatch", *words)


def test_a_run_in_a_pipe_prints_plain_lines(piped):
    out, process = piped
    assert process.returncode == 0, process.stderr
    assert not ANSI.search(process.stdout + process.stderr)
    assert "\r" not in process.stderr
    assert "Warning" not in process.stderr
    for image in ("F775W jabc01010", "F475W jabc01020"):
        for step in STEPS:
            assert len(re.findall(rf"^abc_01/{image}: {step}: ", process.stderr, re.MULTILINE)) == 1
    assert "2 of 2 image(s) done" in process.stdout
    assert str(out / "report.html") in process.stdout
    assert (out / "summary.json").exists()


def test_the_closing_table_fits_eighty_columns(monkeypatch, tmp_path, capsys):
    numbers = {"n_exposures": 12, "n_measured": 1234, "n_likely_cosmic_ray": 1200}
    aligned = {"aligned": True, "grade": "A", "n_field_matches": 114, "astrom_err_mas": 12.3}
    image = ImageReport(
        "jabcd1010", "abcd_01", "F850LP", "x_drc.fits", Outcome.DONE, seconds=1231.4
    )
    summary = {"measure": numbers, "align": aligned, "finalize": {"n_clean": 1034}}
    vars(image)["_numbers"] = {"summary": summary, "cost": {}, "notes": []}
    monkeypatch.setattr(console, "stdout", Console(width=80))
    printing.print_report(RunReport(tmp_path, (FieldResult("abcd_01", (image,)),)))
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "jabcd1010" in text]
    assert "abcd_01/F850LP" in line
    assert line.split()[3:] == ["12", "1234", "1034", "A", "114", "12.3", "1231"]
    assert len(line) <= 80


def test_the_log_file_holds_the_same_lines(piped):
    out, process = piped
    log = (out / "bycatch.log").read_text()
    for line in process.stderr.splitlines():
        assert line in log


def test_quiet_prints_nothing_when_all_is_well(bycatch, visit, done):
    result = bycatch("run", visit.raw, "-o", done, "--gaia", visit.gaia, "--quiet")
    assert (result.status, result.out, result.err) == (0, "", "")


def test_quiet_still_prints_what_is_lost(bycatch, visit, done, tmp_path):
    bad = tmp_path / "jabc01030_drc.fits"
    bad.write_text("no")
    result = bycatch("run", visit.raw, bad, "-o", done, "--gaia", visit.gaia, "-q")
    assert result.status == 1
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert "jabc01030_drc.fits: dropped" in result.err


def test_verbose_and_log_file(bycatch, visit, done, tmp_path):
    (done / "bycatch.log").unlink()
    log = tmp_path / "logs" / "mine.log"
    words = ["run", visit.raw, "-o", done, "--gaia", visit.gaia, "-v", "--log-file", log]
    result = bycatch(*words)
    assert result.status == 0
    assert "finalize: up to date" in log.read_text()
    assert not (done / "bycatch.log").exists()


def test_the_closing_table_shows_grade_stars_and_error(piped):
    _, process = piped
    line = next(x for x in process.stdout.splitlines() if "jabc01010" in x and "done" in x)
    assert re.search(r" A +\d+ +\d+\.\d +\d", line)
    assert re.search(
        r"F775W jabc01010: align: grade A, \d+ of \d+ Gaia stars, rms .* odds .*, shift",
        process.stderr,
    )


@pytest.mark.parametrize("command", ["run", "align"])
def test_aligned_copies_are_an_option(bycatch, command):
    assert "--write-wcs" in bycatch(command, "--help").out


# ---------------------------------------------------------------- dry run


def test_dry_run_lists_states_and_space_and_writes_nothing(bycatch, visit, tmp_path):
    out = tmp_path / "out"
    result = bycatch("run", visit.raw, "-o", out, "--dry-run")
    assert result.status == 0
    assert not out.exists()
    assert result.out.count("to do") == 10
    assert "MB" in result.out
    assert "nothing was written" in result.out


def test_dry_run_shows_what_is_there_and_what_is_stale(bycatch, visit, done):
    before = listing(done)
    words = ["run", visit.raw, "-o", done, "--gaia", visit.gaia, "--dry-run"]
    assert bycatch(*words).out.count(" done ") == 10
    plan = bycatch(*words, "--set", "measure.cr_radius_px=3").out
    assert plan.count(" done ") == 6
    assert plan.count(" outdated ") == 4
    one_image = ["run", visit.raw / "jabc01010_drc.fits", "-o", done, "--dry-run"]
    assert bycatch(*one_image).out.count(" done ") == 5
    assert listing(done) == before


def test_dry_run_of_sort(bycatch, visit, tmp_path):
    result = bycatch("sort", visit.raw, "-o", tmp_path / "out", "--mode", "copy", "--dry-run")
    assert result.status == 0
    assert not (tmp_path / "out").exists()


def test_dry_run_names_what_would_be_dropped(bycatch, visit, tmp_path):
    bad = tmp_path / "jabc01030_drc.fits"
    bad.write_text("no")
    result = bycatch("run", visit.raw, bad, "-o", tmp_path / "out", "--dry-run")
    assert f"would be dropped: {bad}" in result.out


# ---------------------------------------------------------------- simulate and assess


SMALL_VISIT = (
    "--set", "simulate.n_columns=96", "--set", "simulate.n_rows=64", "--set", "simulate.gap_px=4",
    "--set", "simulate.filters=['F775W']", "--set", "simulate.n_exposures=[2]",
)  # fmt: skip


def test_simulate_names_its_files(bycatch, tmp_path):
    pytest.importorskip("drizzle")
    result = bycatch("simulate", tmp_path / "visit", *SMALL_VISIT)
    assert result.status == 0, result.err
    files = [Path(line) for line in result.out.split()]
    assert len(files) == 1
    assert all(file.exists() for file in files)


def test_simulate_replaces_an_earlier_visit_on_demand_only(bycatch, tmp_path):
    pytest.importorskip("drizzle")
    place, other = tmp_path / "visit", ("--set", "simulate.visit=02")
    exposures = ("--set", "simulate.write_exposures=true")
    assert bycatch("simulate", place, *SMALL_VISIT, *exposures).status == 0
    (place / "out").mkdir()
    (place / "out" / "report.html").write_text("made of the visit")
    before = listing(place)
    result = bycatch("simulate", place, *SMALL_VISIT, *other)
    assert result.status == 2
    assert "an earlier visit of 3 simulated image(s) is there" in result.err
    assert "--replace" in result.err
    assert listing(place) == before
    assert bycatch("simulate", place, *SMALL_VISIT, *other, "--replace").status == 0
    names = {path.name for path in place.rglob("*") if path.is_file()}
    assert names == {
        "jsim02010_drc.fits", "jsim02010.ecsv", "jsim02010_cr.fits.gz", "jsim02010_model.fits.gz",
        "wcs_error.json", "gaia.ecsv", "report.html",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["notes.txt", "raw/jsim01010_drc.fits", "truth/notes.txt"])
def test_simulate_leaves_a_folder_of_other_files(bycatch, visit, tmp_path, name):
    pytest.importorskip("drizzle")
    place = tmp_path / "visit"
    if name.startswith("truth"):
        assert bycatch("simulate", place, *SMALL_VISIT).status == 0
    file = place / name
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(visit.raw / "jabc01010_drc.fits", file)  # an image, but no simulated one
    before = listing(place)
    for more in ((), ("--replace",)):
        result = bycatch("simulate", place, *SMALL_VISIT, *more)
        assert result.status == 2
        assert "files of another kind, such as" in result.err
        assert listing(place) == before


def test_assess_without_truth_is_wrong_usage(bycatch, finished, tmp_path):
    result = bycatch("assess", finished, tmp_path)
    assert result.status == 2
    assert "no simulated visit" in result.err


def test_written_settings_are_those_of_the_run(finished):
    assert (finished / "settings.toml").read_text() == to_toml(Settings())


def test_ctrl_c_that_a_library_swallows_still_stops_the_run(bycatch, monkeypatch, tmp_path, visit):
    from bycatch.stages import detect

    real = detect.run

    def swallowing(*args):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):  # the signal arrives between two instructions
                pass
        except BaseException:  # noqa: BLE001 - as a careless library does
            pass
        return real(*args)

    monkeypatch.setattr(detect, "run", swallowing)
    before = signal.getsignal(signal.SIGINT)
    result = bycatch("run", visit.raw, "-o", tmp_path / "out", "--gaia", visit.gaia)
    assert result.status == 130
    assert "interrupted" in result.err
    assert "crmask" not in result.err.split("steps: ")[1].split("\n", 1)[1]
    assert signal.getsignal(signal.SIGINT) == before


def test_help_names_every_preset(bycatch):
    text = " ".join(bycatch("run", "--help").out.split())
    assert f"[{'|'.join(PRESETS)}]" in text


def test_help_shows_the_choices_of_options(bycatch):
    text = bycatch("run", "--help").out
    (mode,) = (info.annotation for *place, info in walk() if place == ["sort", "mode"])
    assert f"[{'|'.join(get_args(mode))}]" in text
    assert "[serial|processes|dask]" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_one_line_helps_are_whole_in_eighty_columns(bycatch):
    lines = bycatch("--help").out.splitlines()
    commands = lines[lines.index("Commands:") + 1 :]
    assert len(commands) > len(COMMANDS)
    assert all(len(line) <= 80 for line in lines)
    # `compare` says more with its folders.
    assert not [line for line in commands if line.endswith("...") and "compare" not in line]


@pytest.mark.parametrize("made_before", [False, True])
def test_a_run_that_cannot_begin_leaves_no_folder(bycatch, visit, tmp_path, made_before):
    out = tmp_path / "new" / "out"
    if made_before:
        out.mkdir(parents=True)
    table = tmp_path / "stars.csv"
    table.write_text("name,flux\na,1\n")
    result = bycatch("run", visit.raw, "-o", out, "--gaia", table)
    assert result.status == 2
    assert "not a table of stars" in result.err
    assert out.exists() == made_before
    assert (tmp_path / "new").exists() == made_before


def test_assess_says_which_folder_it_wants(bycatch, visit, finished, tmp_path):
    simulation = tmp_path / "simulated"
    (simulation / "truth").mkdir(parents=True)
    (simulation / "raw").mkdir()
    result = bycatch("assess", finished, simulation / "raw")
    assert f"{simulation} has one" in result.err
    result = bycatch("assess", simulation, finished)
    assert "give the output folder of a run first" in result.err


def test_inspect_names_a_weight_in_a_file_of_its_own(bycatch, tmp_path):
    path = tmp_path / "jabc01010_drc_wht.fits"
    fits.writeto(path, np.full((50, 50), 900, np.float32))
    result = bycatch("inspect", path)
    assert "a weight image - use the drc" in result.out
