"""The alignment as a step of the field: who takes part, what is stale, what is written."""

import json
import shutil
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import bycatch as package
from bycatch import Inputs, Settings, read_table
from bycatch.errors import UnreadableFile
from bycatch.kernels.exposures import mask_shares
from bycatch.pipeline import Outcome, dry_run
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.workbench import Workbench
from bycatch.products import FieldFolder, read_extension, read_field

RED = ("abc_01/F775W", "jabc01010")
BLUE = ("abc_01/F475W", "jabc01020")
STEPS = ("detect", "crmask", "align", "measure", "finalize")


def product(out, suffix, image=RED):
    return out / image[0] / f"{image[1]}{suffix}"


def go(visit, paths, out, settings=None, **options):
    """Run the chain from Python."""
    return package.run(paths, out, settings, Inputs(gaia=visit.gaia), **options)


def of(report, image):
    """Return the report of one image."""
    return next(i for i in report.images if i.root == image[1])


def red(visit):
    return visit.raw / "jabc01010_drc.fits"


def blue(visit):
    return visit.raw / "jabc01020_drc.fits"


@pytest.fixture(scope="module")
def red_alone(visit, tmp_path_factory):
    """A finished run on the red image alone; do not write into it."""
    out = tmp_path_factory.mktemp("red") / "out"
    assert go(visit, red(visit), out).all_done
    return out


@pytest.fixture
def red_out(red_alone, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(red_alone, out, symlinks=True)
    return out


@pytest.fixture
def lines(caplog):
    """Return a function that gives what was logged, level first."""
    caplog.set_level("INFO", logger="bycatch")
    return lambda: [f"{r.levelname} {r.getMessage()}" for r in caplog.records]


# ---------------------------------------------------------------- what is written


def test_the_summary_counts_images_and_fields(finished):
    summary = json.loads((finished / "summary.json").read_text())
    field = summary["fields"]["abc_01"]
    assert field["n_images"] == 2
    assert len(field["grades"]) == 2
    assert field["grade"] == "A"
    for image in summary["images"]:
        assert set(image["summary"]["align"]) >= {
            "grade", "geometry", "n_matches", "rms_ra_mas", "rms_dec_mas", "odds", "shift_ra_mas",
            "shift_dec_mas", "roll_deg", "scale_ppm", "release", "epoch", "reason", "aligned",
        }  # fmt: skip
        assert "field" not in image["summary"]["align"]
        assert image["summary"]["measure"]["n_gaia_chance"] < 1


def test_a_kept_run_still_reports_the_field(visit, red_out):
    report = go(visit, red(visit), red_out)
    assert report.images[0].kept == STEPS
    assert report.fields["abc_01"]["grades"] == "A"


def test_the_frame_holds_the_pairs(finished):
    frame = read_frame(product(finished, "_wcs.fits"))
    sources = read_table(product(finished, "_sources.ecsv"))
    catalog = read_table(product(finished, "_cat.ecsv"))
    assert len(frame.pairs) == frame.header["NMATCHES"] >= 3
    for pair in frame.pairs:
        row = catalog[catalog["id"] == sources["id"][pair["source"]]][0]
        assert row["gaia_source_id"] == pair["source_id"]
        assert row["gaia_separation"] == pytest.approx(
            np.hypot(pair["dra_mas"], pair["ddec_mas"]), abs=0.05
        )


def test_rows_carry_the_errors_of_their_positions(finished):
    frame = read_frame(product(finished, "_wcs.fits"))
    for suffix in ("_phot.ecsv", "_cat.ecsv"):
        table = read_table(product(finished, suffix))
        along = frame.error.at(np.asarray(table["RA_GAIA_WCS"]), np.asarray(table["DEC_GAIA_WCS"]))
        np.testing.assert_allclose(table["astrom_err"], np.sqrt(np.mean(np.square(along), axis=0)))
        assert (table["RA_GAIA_WCS_err"] > along[0]).all()
        assert (table["DEC_GAIA_WCS_err"] < 20).all()


def test_metadata_name_the_chance_matches(finished):
    for suffix in ("_phot.ecsv", "_cat.ecsv"):
        meta = read_table(product(finished, suffix)).meta
        assert 0 <= meta["GAIACHNC"] < 1
        assert meta["ALIGNMENT"]["grade"] == "A"
        assert "field" not in meta["ALIGNMENT"]


def test_the_field_has_a_figure(finished):
    pytest.importorskip("matplotlib")
    assert (finished / "abc_01/alignment.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_run_says_so_once_and_goes_on(visit, red_out, monkeypatch, lines):
    (red_out / "abc_01/alignment.png").unlink(missing_ok=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = package.run_stages(red_out, ["align"])
    assert report.all_done
    assert sum("no figures" in line for line in lines()) == 1
    assert not (red_out / "abc_01/alignment.png").exists()


def test_a_figure_that_fails_costs_no_image(visit, red_out, monkeypatch, lines):
    pytest.importorskip("matplotlib")

    def fail(*args):
        raise RuntimeError("no ink")

    monkeypatch.setattr("bycatch.figures.process.drawing_process", lambda: None)
    monkeypatch.setattr("bycatch.figures.process.alignment_figure", fail)
    assert package.run_stages(red_out, ["align"]).all_done
    assert any("no figure: RuntimeError: no ink" in line for line in lines())


def test_a_process_that_stops_drawing_costs_no_figure(red_out, monkeypatch):
    pytest.importorskip("matplotlib")

    class Stopped:
        def png(self, *_):
            raise EOFError

    monkeypatch.setattr("bycatch.figures.process.drawing_process", Stopped)
    (red_out / "abc_01/alignment.png").unlink(missing_ok=True)
    assert package.run_stages(red_out, ["align"]).all_done
    assert (red_out / "abc_01/alignment.png").exists()


def test_grades_are_logged_and_poor_ones_are_warnings(visit, tmp_path, lines):
    far = Table.read(visit.gaia)
    far["ra"] += 20.0 / 3600
    far.write(tmp_path / "far.csv")
    out = tmp_path / "out"
    package.run([red(visit)], out, inputs=Inputs(gaia=tmp_path / "far.csv"))
    results = [line for line in lines() if ": align: grade" in line]
    assert len(results) == 1
    assert results[0].startswith(
        "WARNING abc_01/F775W jabc01010: align: grade F, WCS of the header kept: "
    )


def test_an_alignment_that_is_switched_off_is_no_warning(visit, tmp_path, lines):
    off = Settings.load(assignments=["align.enabled=false"])
    assert go(visit, red(visit), tmp_path / "out", off).all_done
    assert [line.split()[0] for line in lines() if ": align: " in line] == ["INFO"]


# ---------------------------------------------------------------- who takes part


@pytest.fixture
def with_a_broken_image(visit, tmp_path):
    """A folder with the red image, and a blue one whose pixels are all missing."""
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(red(visit), raw)
    with fits.open(blue(visit)) as hdus:
        hdus["SCI"].data[:] = np.nan
        hdus.writeto(raw / "jabc01020_drc.fits")
    return raw


def test_a_broken_image_is_left_out_and_the_field_goes_on(visit, with_a_broken_image, tmp_path):
    out = tmp_path / "out"
    report = go(visit, with_a_broken_image, out, workers=2)
    assert of(report, BLUE).outcome is Outcome.DROPPED
    assert of(report, BLUE).done == ()
    assert of(report, RED).done == STEPS
    assert report.fields["abc_01"]["grades"] == "A"
    again = go(visit, with_a_broken_image, out)
    assert of(again, RED).kept == STEPS


def test_an_image_that_breaks_later_is_left_out(visit, done):
    # The record is still there, but its input is not: a step alone meets it.
    link = product(done, "_drc.fits", BLUE)
    link.unlink()
    link.symlink_to("gone_drc.fits")
    report = package.run_stages(done, ["align"], inputs=Inputs(gaia=visit.gaia))
    assert of(report, BLUE).outcome is Outcome.DROPPED
    assert "no longer points to a file" in of(report, BLUE).reason
    assert of(report, RED).done == ("align",)
    assert report.fields["abc_01"]["n_images"] == 1


def test_damaged_detections_cost_their_image_only(visit, done):
    product(done, "_sources.ecsv", BLUE).write_text("no table")
    report = package.run_stages(done, ["align"])
    assert of(report, BLUE).outcome is not Outcome.DONE
    assert of(report, RED).done == ("align",)
    assert report.fields["abc_01"]["n_images"] == 1


def test_a_bug_in_the_alignment_fails_the_field_and_no_other(
    visit, tmp_path, monkeypatch, write_drc
):
    other = write_drc("jxyz02010_drc.fits")
    real = package.align.run

    def fail(images, reference, settings):
        if len(images) == 2:
            raise ZeroDivisionError("a bug")
        return real(images, reference, settings)

    monkeypatch.setattr(package.align, "run", fail)
    report = go(visit, [visit.raw, other], tmp_path / "out")
    for image in (RED, BLUE):
        result = of(report, image)
        assert result.outcome is Outcome.FAILED
        assert result.done == ("detect", "crmask")
        assert "ZeroDivisionError: a bug" in result.reason
        assert "Traceback" in result.traceback
    assert of(report, ("", "jxyz02010")).outcome is Outcome.DONE


# ---------------------------------------------------------------- what is stale


def test_another_image_makes_the_alignment_of_all_stale(visit, red_out, lines):
    report = go(visit, visit.raw, red_out)
    assert of(report, RED).kept == ("detect", "crmask")
    assert of(report, RED).done == ("align", "measure", "finalize")
    assert of(report, BLUE).done == STEPS
    assert report.fields["abc_01"]["n_images"] == 2


def test_a_run_on_a_part_aligns_with_all_and_leaves_the_rest(visit, red_out, lines):
    before = product(red_out, "_wcs.fits").read_bytes()
    report = go(visit, blue(visit), red_out)
    assert [i.root for i in report.images] == [BLUE[1]]
    assert report.fields["abc_01"]["n_images"] == 2
    assert product(red_out, "_wcs.fits").read_bytes() == before
    assert any("F775W jabc01010: align: done before with other images" in x for x in lines())
    # The whole field then: only the red one is behind.
    report = go(visit, visit.raw, red_out)
    assert of(report, BLUE).kept == STEPS
    assert of(report, RED).done == ("align", "measure", "finalize")


def test_a_run_on_a_part_of_a_finished_field_redoes_nothing(visit, done):
    report = go(visit, red(visit), done)
    assert report.images[0].kept == STEPS


def test_a_setting_of_the_detection_in_one_image_makes_all_stale(visit, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(visit.raw, raw)
    go(visit, raw, out)
    (raw / "jabc01020_drc.bycatch.toml").write_text("exptime_s = 999\n")
    report = go(visit, raw, out)
    assert of(report, BLUE).done == STEPS
    assert of(report, RED).done == ("align", "measure", "finalize")


def test_a_lost_frame_is_made_again_and_the_others_are_kept(visit, done):
    before = product(done, "_wcs.fits").read_bytes()
    product(done, "_wcs.fits").unlink()
    report = go(visit, visit.raw, done)
    assert of(report, RED).done == ("align",)
    assert of(report, BLUE).kept == STEPS
    assert product(done, "_wcs.fits").read_bytes() == before


def test_align_alone_works_on_whole_fields(visit, done):
    report = package.run_stages(done, ["align"])
    assert [i.done for i in report.images] == [("align",), ("align",)]
    assert go(visit, visit.raw, done).images[0].kept == STEPS


def test_a_dry_run_knows_the_field(visit, red_out):
    def plan(paths):
        images, _ = dry_run(paths, red_out, inputs=Inputs(gaia=visit.gaia))
        return {image.stem: list(image.steps.values()) for image in images}

    assert plan(red(visit)) == {"jabc01010_drc": ["done"] * 5}
    assert plan(visit.raw) == {
        "jabc01010_drc": ["done", "done", "outdated", "outdated", "outdated"],
        "jabc01020_drc": ["to do"] * 5,
    }
    assert plan(blue(visit)) == {"jabc01020_drc": ["to do"] * 5}
    go(visit, blue(visit), red_out)
    assert plan(blue(visit)) == {"jabc01020_drc": ["done"] * 5}
    assert plan(red(visit)) == {
        "jabc01010_drc": ["done", "done", "outdated", "outdated", "outdated"]
    }


# ---------------------------------------------------------------- what is read


def count_reads(monkeypatch):
    """Return a list that grows with every image that is read."""
    import bycatch.images.drc

    real, read = bycatch.images.drc.read_drc, []

    def counting(path, *args):
        read.append(path.name)
        return real(path, *args)

    monkeypatch.setattr(bycatch.images.drc, "read_drc", counting)
    return read


def test_an_image_alone_in_its_field_is_read_once(visit, tmp_path, monkeypatch):
    read = count_reads(monkeypatch)
    assert go(visit, red(visit), tmp_path / "out").all_done
    assert read == ["jabc01010_drc.fits"]


def test_each_image_of_a_field_is_read_once(visit, tmp_path, monkeypatch):
    read = count_reads(monkeypatch)
    assert go(visit, visit.raw, tmp_path / "out").all_done
    assert sorted(read) == ["jabc01010_drc.fits", "jabc01020_drc.fits"]


def test_the_alignment_reads_no_pixels(visit, done, monkeypatch):
    def fail(path, *_):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("bycatch.pipeline.workbench.read_pixels", fail)
    monkeypatch.setattr("bycatch.images.drc.read_drc", fail)
    assert package.run_stages(done, ["align"]).all_done


def test_shares_on_the_mask_follow_detections_and_mask(visit, red_out):
    sources = read_table(product(red_out, "_sources.ecsv"))
    mask = product(red_out, "_drc.mask.fits")
    shares = read_extension(mask, "CRSHARE")
    assert list(shares["id"]) == list(sources["id"])
    package.run_stages(red_out, ["detect"], Settings.load(assignments=["detect.n_sigma=20"]))
    fewer = read_table(product(red_out, "_sources.ecsv"))
    folder = FieldFolder(red_out, read_field(red_out, "abc_01"))
    (record,) = folder.state.images
    bench = Workbench(folder, ImageJob(red_out, record, Settings()))
    # Those in the file are of the detections before: they are made of segments and mask.
    assert shares.meta["KEY"] != bench.share_key
    expected = mask_shares(bench.segmentation, bench.cr_mask, fewer["id"])
    assert list(bench.cr_share) == list(expected)
    package.run_stages(red_out, ["crmask"])
    again = read_extension(mask, "CRSHARE")
    assert list(again["id"]) == list(fewer["id"])
    assert list(again["on_cr_mask"]) == list(expected)


def test_a_mask_alone_needs_no_detections(visit, red_out):
    product(red_out, "_sources.ecsv").unlink()
    assert package.run_stages(red_out, ["crmask"]).all_done


def test_the_order_of_the_files_does_not_matter(visit, finished, tmp_path):
    out = tmp_path / "out"
    go(visit, [blue(visit), red(visit)], out)
    for image in (RED, BLUE):
        same = product(out, "_wcs.fits", image).read_bytes()
        assert same == product(finished, "_wcs.fits", image).read_bytes()


# ---------------------------------------------------------------- copies with the aligned WCS


COPY = "_aligned_drc.fits"


def test_copies_are_written_on_demand_and_hold_both_wcs(bycatch, visit, red_out):
    assert not product(red_out, COPY).exists()
    words = ["run", red(visit), "-o", red_out, "--gaia", visit.gaia]
    assert bycatch(*words, "--write-wcs").status == 0
    frame = read_frame(product(red_out, "_wcs.fits"))
    with fits.open(product(red_out, COPY)) as after, fits.open(red(visit)) as before:
        assert after["SCI"].data.tobytes() == before["SCI"].data.tobytes()
        new, old = WCS(after["SCI"].header), WCS(after["SCI"].header, key="A")
        np.testing.assert_array_equal(new.wcs.crval, frame.wcs.wcs.crval)
        np.testing.assert_array_equal(old.wcs.crval, WCS(before["SCI"].header).wcs.crval)
    report = go(visit, red(visit), red_out)
    assert report.images[0].kept == STEPS  # the copy made nothing stale


def test_a_copy_that_is_there_is_kept_and_one_of_an_old_alignment_goes(visit, red_out):
    with_copies = Settings.load(assignments=["output.write_wcs=true"])
    go(visit, red(visit), red_out, with_copies)
    before = product(red_out, COPY).stat().st_mtime_ns
    go(visit, red(visit), red_out, with_copies)
    assert product(red_out, COPY).stat().st_mtime_ns == before
    go(visit, red(visit), red_out, Settings.load(assignments=["align.clip_sigma=3.5"]))
    assert not product(red_out, COPY).exists()


def test_align_alone_writes_copies(bycatch, visit, red_out):
    result = bycatch("align", red_out, "--write-wcs")
    assert result.status == 0, result.out + result.err
    assert product(red_out, COPY).exists()
    assert Settings.load(red_out / "settings.toml").output.write_wcs


def test_a_wcs_that_was_kept_is_not_copied(visit, tmp_path):
    settings = Settings.load(assignments=["output.write_wcs=true", "align.enabled=false"])
    assert go(visit, red(visit), tmp_path / "out", settings).all_done
    assert not product(tmp_path / "out", COPY).exists()


def test_a_copy_is_not_taken_for_an_input(visit, red_out):
    go(visit, red(visit), red_out, Settings.load(assignments=["output.write_wcs=true"]))
    report = go(visit, [red(visit), red_out], red_out)
    assert [i.root for i in report.images] == [RED[1]]


def test_a_disk_that_is_full_costs_the_image_and_leaves_no_half_copy(visit, red_out, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bycatch.pipeline.frames.write_aligned_copy", fail)
    report = go(visit, red(visit), red_out, Settings.load(assignments=["output.write_wcs=true"]))
    assert report.images[0].outcome is Outcome.FAILED
    assert "No space left" in report.images[0].reason
    assert not product(red_out, COPY).exists()


def test_a_frame_of_an_older_version_says_what_to_do(visit, red_out):
    header = fits.getheader(product(red_out, "_wcs.fits"))
    fits.PrimaryHDU(header=header).writeto(product(red_out, "_wcs.fits"), overwrite=True)
    state = red_out / "abc_01/field.json"
    content = json.loads(state.read_text())
    content["images"][0]["stages"]["align"]["outputs"] = {"jabc01010_wcs.fits": None}  # no proof
    state.write_text(json.dumps(content))
    report = package.run_stages(red_out, ["measure"])
    assert report.images[0].outcome is Outcome.DROPPED
    assert "bycatch align" in report.images[0].reason
    with pytest.raises(UnreadableFile, match="bycatch align"):
        read_frame(product(red_out, "_wcs.fits"))
