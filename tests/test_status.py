"""What is done in an output folder, what is stale, and what was lost."""

import json
import os
import shutil

import pytest

from bycatch.errors import SettingsError
from bycatch.pipeline import saved_settings
from bycatch.pipeline.status import status
from bycatch.products import STAGES

RED = "abc_01/F775W"


def of(out):
    """Return the states of the steps by image."""
    state = status(out, saved_settings(out))
    return {f"{i.field}/{i.filter}": i for i in state.images}


def test_all_is_done_after_a_run(done):
    assert status(done, saved_settings(done)).is_done
    for image in of(done).values():
        assert image.steps == dict.fromkeys(STAGES, "done")
        assert (image.outcome, image.reason) == ("done", "")


def test_a_setting_makes_what_comes_after_it_stale(done):
    settings = saved_settings(done)
    changed = settings.replace(measure=settings.measure.replace(cr_radius_px=4.0))
    (first, *_) = status(done, changed).images
    assert first.steps == dict.fromkeys(STAGES[:3], "done") | dict.fromkeys(STAGES[3:], "outdated")


def test_a_product_that_is_gone_makes_its_step_stale(done):
    next((done / RED).glob("*_phot.ecsv")).unlink()
    image = of(done)[RED]
    assert image.steps["measure"] == "outdated"
    assert not image.is_done
    assert of(done)["abc_01/F475W"].is_done


def test_a_changed_input_makes_everything_stale(done):
    link = next((done / RED).glob("*_drc.fits"))
    target = link.resolve()
    link.unlink()
    link.write_bytes(target.read_bytes().replace(b"EXPSTART", b"EXPSTATT", 1))
    assert set(of(done)[RED].steps.values()) == {"outdated"}


def test_an_input_of_the_same_bytes_makes_nothing_stale(bycatch, visit, done):
    link = next((done / RED).glob("*_drc.fits"))
    target = link.resolve()
    link.unlink()
    link.write_bytes(target.read_bytes())
    os.utime(link, (1e9, 1e9))
    before = (done / "abc_01/field.json").read_bytes()
    assert status(done, saved_settings(done)).is_done
    assert (done / "abc_01/field.json").read_bytes() == before


def test_a_plan_looks_at_the_content_too(bycatch, visit, tmp_path):
    raw = shutil.copytree(visit.raw, tmp_path / "raw")
    words = ["run", raw, "-o", tmp_path / "out", "--gaia", visit.gaia]
    assert bycatch(*words).status == 0
    os.utime(raw / "jabc01010_drc.fits", (1e9, 1e9))
    assert bycatch(*words, "--dry-run").out.count(" done ") == 10
    content = (raw / "jabc01010_drc.fits").read_bytes()
    (raw / "jabc01010_drc.fits").write_bytes(content.replace(b"EXPSTART", b"EXPSTATT", 1))
    plan = bycatch(*words, "--dry-run").out
    assert plan.count(" outdated ") >= 5


def test_an_input_that_is_gone_is_named(done):
    link = next((done / RED).glob("*_drc.fits"))
    link.unlink()
    image = of(done)[RED]
    assert "no longer points to a file" in image.reason
    assert not image.is_done


def test_a_lost_file_is_reported(bycatch, visit, tmp_path):
    bad = tmp_path / "raw" / "jxyz01010_drc.fits"
    bad.parent.mkdir()
    bad.write_bytes(b"no FITS")
    out = tmp_path / "out"
    bycatch("run", bad.parent, "-o", out, "--gaia", visit.gaia)
    result = bycatch("status", out)
    assert result.status == 1
    assert result.out.count("jxyz01010_drc.fits") == 1


def test_a_step_of_its_own_forgets_no_lost_file(bycatch, done):
    path = done / "run.json"
    lost = {"path": "raw/jxyz01010_drc.fits", "reason": "not a FITS file", "dropped": True}
    mended = {"path": str(done / "abc_01/field.json"), "reason": "", "dropped": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"skipped": [lost, mended]}))
    assert bycatch("finalize", done).status == 0
    assert status(done, saved_settings(done)).lost == ((lost["path"], lost["reason"]),)


def test_sorted_images_are_to_be_done(bycatch, visit, tmp_path):
    out = tmp_path / "out"
    bycatch("sort", visit.raw, "-o", out)
    result = bycatch("status", out)
    assert result.status == 1
    assert result.out.count("to do") == 2 * len(STAGES)
    assert "0 of 2 image(s) up to date" in result.out
    assert "run 'bycatch run' to finish" in result.out


def test_what_is_left_after_a_step_keeps_its_settings(bycatch, done):
    assert bycatch("measure", done, "--set", "measure.cr_radius_px=4").status == 0
    result = bycatch("status", done)
    assert "run 'bycatch finalize OUT' to finish with these settings" in result.out
    assert bycatch("finalize", done).status == 0
    assert bycatch("status", done).status == 0


def test_a_damaged_record_is_named(done, bycatch):
    (done / "abc_01/field.json").write_text("{")
    result = bycatch("status", done)
    assert result.status == 1
    assert "not a readable record" in result.out


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="no image in it"):
        status(tmp_path, saved_settings(tmp_path))
