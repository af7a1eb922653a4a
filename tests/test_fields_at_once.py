"""Fields as tasks: many at once, by any engine, in shards, in two runs, with workers that die."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from astropy.io import fits

import bycatch
from bycatch import Inputs, Settings, read_table
from bycatch.engines import LostTask
from bycatch.pipeline import Outcome, runner, summarize
from bycatch.pipeline.field import CRASH, lost_field, run_field
from bycatch.products import LOCK, find_records, read_field
from bycatch.report import write_report
from bycatch.system.locks import lock
from bycatch.testing.same_products import damaged_products, differences, leftovers

NAMES = ["abc_01", "abd_02", "abe_03"]


@pytest.fixture(scope="module")
def fields(visit, tmp_path_factory):
    """The visit three times, as visits of other programs."""
    raw = tmp_path_factory.mktemp("fields") / "raw"
    raw.mkdir()
    for name in NAMES:
        program, number = name.split("_")
        for path in sorted(visit.raw.glob("*.fits")):
            root = f"j{program}{number}{path.name[6:9]}"
            with fits.open(path) as hdus:
                hdus[0].header["ROOTNAME"] = root
                hdus.writeto(raw / f"{root}_drc.fits")
    return raw


ALONE = ("--set", "objects.enabled=false")
"""These tests are about fields: their groups are those of test_objects.py."""


def go(visit, raw, out, settings=None, **options):
    settings = settings or Settings.load(assignments=["objects.enabled=false"])
    return bycatch.run(raw, out, settings, Inputs(gaia=visit.gaia), **options)


@pytest.fixture(scope="module")
def serial(visit, fields, tmp_path_factory):
    """What a run without any other process gives."""
    out = tmp_path_factory.mktemp("serial") / "out"
    report = go(visit, fields, out)
    assert report.all_done
    assert [field.name for field in report.results] == NAMES
    return out


# ---------------------------------------------------------------- engines


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_every_engine_gives_the_same_bytes(visit, fields, serial, tmp_path, engine):
    report = go(visit, fields, tmp_path / "out", workers=2, executor=engine)
    assert report.all_done
    assert differences(serial, tmp_path / "out") == []


def test_an_engine_of_the_users_own(visit, fields, serial, tmp_path):
    class Backwards:
        closed = False

        def work(self, function, items):
            for number, item in reversed(list(enumerate(items))):
                yield number, function(item)

        def close(self):
            self.closed = True

    own = Backwards()
    report = go(visit, fields, tmp_path / "out", executor=own)
    assert own.closed
    assert [field.name for field in report.results] == NAMES
    assert differences(serial, tmp_path / "out") == []


def test_the_task_of_a_field_is_small(visit, fields, tmp_path, monkeypatch):
    import pickle

    sizes = []

    class Noting:
        def work(self, function, items):
            sizes.extend(len(pickle.dumps((function, item))) for item in items)
            return ((number, function(item)) for number, item in enumerate(items))

        def close(self):
            """Keep nothing."""

    go(visit, fields, tmp_path / "out", executor=Noting())
    assert len(sizes) == 3
    assert max(sizes) < 16_000


# ---------------------------------------------------------------- workers that die


def test_a_field_that_kills_its_worker_is_lost_and_the_others_are_done(
    bycatch, visit, fields, serial, tmp_path, monkeypatch
):
    monkeypatch.setenv(CRASH, "abd_02")
    out = tmp_path / "out"
    words = ["run", fields, "-o", out, "--gaia", visit.gaia, *ALONE, "-j", "2"]
    result = bycatch(*words)
    assert result.status == 1
    text = "abd_02: its worker process was killed by signal 9 (SIGKILL); it is tried once more"
    assert text in result.err
    assert result.out.count("lost: jabd020") == 2
    summary = json.loads((out / "summary.json").read_text())
    outcomes = {(i["field"], i["outcome"]) for i in summary["images"]}
    assert outcomes == {("abc_01", "done"), ("abd_02", "lost"), ("abe_03", "done")}
    assert "its worker died twice" in next(i for i in summary["images"] if i["reason"])["reason"]
    assert "its worker died twice" in write_report(out).read_text()
    monkeypatch.delenv(CRASH)
    assert bycatch(*words).status == 0
    assert differences(serial, out) == []


class Scripted:
    """Runs fields here; as a script says, a worker dies before or after its work."""

    def __init__(self, script):
        self.script, self.asked = script, []

    def work(self, function, items):
        self.asked.append([item.name for item in items])
        for number, item in enumerate(items):
            losses = self.script.get(item.name, [])
            if losses:
                may_be_memory, is_over = losses.pop(0)
                if is_over:
                    function(item)
                yield number, LostTask("killed", may_be_memory)
            else:
                yield number, function(item)

    def close(self):
        """Keep nothing."""


@pytest.mark.parametrize("is_over", [True, False])
def test_a_lost_field_is_tried_once_more(visit, fields, serial, tmp_path, is_over):
    engine = Scripted({"abc_01": [(False, is_over)], "abe_03": [(False, is_over)]})
    report = go(visit, fields, tmp_path / "out", executor=engine)
    assert report.all_done
    assert engine.asked == [NAMES, ["abc_01", "abe_03"]]
    assert differences(serial, tmp_path / "out") == []


def test_one_that_may_have_lacked_memory_is_tried_alone(visit, fields, tmp_path):
    engine = Scripted({name: [(True, False)] for name in NAMES})
    assert go(visit, fields, tmp_path / "out", executor=engine).all_done
    assert engine.asked == [NAMES, *([name] for name in NAMES)]


def test_after_a_second_loss_it_is_lost(visit, fields, serial, tmp_path):
    engine = Scripted({"abd_02": [(False, False), (False, False)]})
    report = go(visit, fields, tmp_path / "out", executor=engine)
    outcomes = {image.field: image.outcome for image in report.images}
    assert outcomes == {"abc_01": "done", "abd_02": "lost", "abe_03": "done"}
    assert not report.all_done
    (state,) = (read_field(tmp_path / "out", "abd_02"),)
    assert [image.last.outcome for image in state.images] == ["lost"] * 2
    assert all("its worker died twice: killed" in image.last.reason for image in state.images)


def test_what_is_known_of_a_lost_field_is_kept(visit, fields, serial, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(serial, out, symlinks=True)
    jobs = jobs_of(visit, fields, out)
    report = lost_field(jobs[0], "as the test has it")
    assert {image.outcome for image in report.images} == {Outcome.LOST}
    state = read_field(out, "abc_01")
    assert {len(image.stages) for image in state.images} == {5}
    assert run_field(jobs[0]).images[0].kept == tuple(state.images[0].stages)
    assert differences(serial, out) == []


def jobs_of(visit, raw, out):
    """Return the tasks that a run would have."""
    from bycatch.engines import Serial
    from bycatch.pipeline import intake

    settings = Settings.load(assignments=["objects.enabled=false"])
    result = intake.scan([raw], out, settings, Serial())
    return runner._jobs(result, out, settings, Inputs(gaia=visit.gaia))


# ---------------------------------------------------------------- shards and two runs at once


def command(*words):
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bycatch", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_shards_at_once_give_what_one_run_gives(bycatch, visit, fields, serial, tmp_path):
    out = tmp_path / "out"
    words = ["run", fields, "-o", out, "--gaia", visit.gaia, *ALONE, "-q"]
    shards = [command(*words, "--shard", f"{k}/4") for k in (1, 2, 3, 4)]
    for shard in shards:
        _, err = shard.communicate(timeout=120)
        assert shard.returncode == 0, err  # the fourth has no field
    assert not (out / "summary.json").exists()
    summarized = command("summarize", out)
    assert summarized.communicate(timeout=60)[1] == ""
    assert (out / "report.html").exists()
    assert differences(serial, out) == []
    assert leftovers(out) == []
    assert [path.name for path in sorted(out.glob("*.log"))] == [
        f"bycatch-{k}-of-4.log" for k in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none(bycatch, visit, fields, tmp_path, text):
    result = bycatch("run", fields, "-o", tmp_path / "out", "--shard", text)
    assert result.status == 2
    assert "3/12" in result.err


def test_two_runs_at_once_into_one_folder(visit, fields, serial, tmp_path):
    out = tmp_path / "out"
    words = ["run", fields, "-o", out, "--gaia", visit.gaia, *ALONE]
    runs = [command(*words) for _ in range(2)]
    for run in runs:
        _, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
    assert differences(serial, out) == []
    assert leftovers(out) == []
    assert len(json.loads((out / "summary.json").read_text())["images"]) == 6


def test_a_field_that_another_process_has_is_waited_for_when_all_others_are_done(
    visit, fields, serial, tmp_path
):
    out = tmp_path / "out"
    (out / "abc_01").mkdir(parents=True)
    with lock(out / "abc_01" / LOCK):
        run = command("run", fields, "-o", out, "--gaia", visit.gaia, *ALONE)
        deadline = time.monotonic() + 60
        while not (out / "abe_03/F775W/jabe03010_cat.ecsv").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not list(out.glob("abc_01/*/*"))
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "abc_01: skipped for now, in use by host " in err
    assert f"process {os.getpid()}, since" in err
    assert differences(serial, out) == []


# ---------------------------------------------------------------- the parent dies


def test_a_run_whose_parent_is_killed_leaves_nothing_half_done(visit, fields, serial, tmp_path):
    out = tmp_path / "out"
    words = ["run", fields, "-o", out, "--gaia", visit.gaia, *ALONE, "-q", "-j", "2"]
    for after_s in (1.2, 1.8, 2.4, 3.0):
        run = command(*words)
        try:
            run.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.communicate()
        assert damaged_products(out) == []
    run = command(*words)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert differences(serial, out) == []
    assert leftovers(out) == []


# ---------------------------------------------------------------- the summary, and what is kept


def test_the_summary_holds_every_image_of_the_folder(visit, fields, serial, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(serial, out, symlinks=True)
    report = go(visit, sorted(fields.glob("jabd*")), out)
    assert [field.name for field in report.results] == ["abd_02"]
    summary = json.loads((out / "summary.json").read_text())
    assert [image["field"] for image in summary["images"]] == [n for n in NAMES for _ in (1, 2)]
    assert set(summary["fields"]) == set(summary["references"]) == set(NAMES)
    assert all(image["summary"]["finalize"] for image in summary["images"])
    (out / "summary.json").unlink()
    assert json.loads(summarize(out).read_text()) == summary


def test_a_finished_folder_is_not_opened_again(visit, fields, serial, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("it was opened")

    monkeypatch.setattr("bycatch.pipeline.intake.read_headers", fail)
    monkeypatch.setattr("bycatch.images.drc.read_drc", fail)
    before = {p: p.stat().st_mtime_ns for p in serial.rglob("*_*/*") if p.is_file()}
    report = go(visit, fields, serial)
    assert report.all_done
    assert {image.done for image in report.images} == {()}
    assert before == {p: p.stat().st_mtime_ns for p in serial.rglob("*_*/*") if p.is_file()}


def test_a_survey_keeps_six_files_an_image(visit, fields, serial, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    survey = Settings.load(assignments=["output.products=survey"])
    assert go(visit, fields, out, survey).all_done
    assert sorted(path.name for path in (out / "abc_01").rglob("jabc01010*")) == [
        "jabc01010_cat.parquet", "jabc01010_drc.fits", "jabc01010_drc.mask.fits",
        "jabc01010_segm.fits.gz", "jabc01010_sky.fits", "jabc01010_wcs.fits",
    ]  # fmt: skip
    assert {path.name for path in (out / "abc_01").glob("*.*")} == {"field.json", "gaia.ecsv"}
    ours = read_table(out / "abc_01/F775W/jabc01010_cat.parquet")
    theirs = read_table(serial / "abc_01/F775W/jabc01010_cat.ecsv")
    assert ours.colnames == theirs.colnames
    assert list(ours["RA_GAIA_WCS"]) == list(theirs["RA_GAIA_WCS"])
    again = go(visit, fields, out, survey)
    assert again.all_done
    assert {image.done for image in again.images} == {()}
    # What comes in between was not kept: a change of one step does all again.
    other = Settings.load(assignments=["output.products=survey", "measure.cr_radius_px=3"])
    changed = go(visit, fields, out, other)
    assert {image.done for image in changed.images} == {
        ("detect", "crmask", "align", "measure", "finalize")
    }


def test_a_folder_has_twelve_files_an_image(serial):
    files = [path for path in serial.rglob("*") if not path.is_dir()]
    assert len(list(find_records(serial))) == 6
    per_field = [path for path in files if path.parent.parent == serial]
    per_image = [path for path in files if path.parent.parent.parent == serial]
    assert len(per_image) == 6 * 12
    assert len(per_field) == 3 * 3  # and page.js in a large run
