"""Products are whole, or they are made again; what can't be told is not promised."""

import json
import os
import re
import shutil
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bycatch.errors import UnreadableFile
from bycatch.pipeline import saved_settings
from bycatch.pipeline.status import status
from bycatch.products import (
    FIELD_FILE,
    FOLDER_FILE,
    FieldFolder,
    LastRun,
    find_records,
    is_product_current,
    last_run,
    read_field,
    remember_product,
    write_json,
)
from bycatch.system.disk import Batch, Proof, atomic, is_whole, proof_of, remove_leftovers

DAMAGES = ("gone", "empty", "cut", "longer", "flipped", "foreign", "link", "folder")
OWN_FILES = {
    "summary.json", "run.json", "settings.toml", "bycatch.log", "report.html", FOLDER_FILE,
    FIELD_FILE,
}  # fmt: skip
VARIES = re.compile(rb"DATE: '?\d{4}-[^\n]*|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
"""When a product was made."""


def run(bycatch, visit, out):
    words = ("--formats", "fits,csv,votable", "--write-wcs", "--gaia", visit.gaia)
    result = bycatch("run", visit.raw, "-o", out, *words)
    assert result.status == 0, result.out + result.err
    return result


@pytest.fixture(scope="module")
def made(bycatch, visit, tmp_path_factory):
    """The output folder of a run that makes everything; do not write into it."""
    out = tmp_path_factory.mktemp("made") / "out"
    run(bycatch, visit, out)
    return out


@pytest.fixture
def whole(made, tmp_path):
    """A copy of it, to be damaged."""
    out = tmp_path / "out"
    shutil.copytree(made, out, symlinks=True)
    return out


def products(out):
    """Return the products of the images and of the fields."""
    return sorted(
        path
        for path in out.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in OWN_FILES
    )


def undated(path):
    return VARIES.sub(b"", path.read_bytes())


def steps(out):
    return {
        (image.filter, step): state
        for image in status(out, saved_settings(out)).images
        for step, state in image.steps.items()
    }


# ---------------------------------------------------------------- every product has an owner


def test_every_product_belongs_to_a_step(made):
    noted = {made / "abc_01" / name for name in read_field(made, "abc_01").products}
    for record in find_records(made):
        folder = record.paths(made).folder
        noted |= {folder / name for stage in record.stages.values() for name in stage.outputs}
    assert noted == set(products(made))
    assert {"alignment.png", "gaia.ecsv"} <= {path.name for path in noted}


def test_a_damaged_product_is_not_counted_as_done(whole, harm, tmp_path):
    """The link leads to a copy: right content in the wrong place is no product of ours."""
    assert set(steps(whole).values()) == {"done"}
    for path, damage in zip(products(whole), cycle(DAMAGES), strict=False):
        content = path.read_bytes()
        other = tmp_path / "other"
        other.write_bytes(content if damage == "link" else b"foreign")
        harm(path, damage, other)
        assert "outdated" in steps(whole).values(), path.name
        if damage == "folder":
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        assert set(steps(whole).values()) == {"done"}, path.name


@settings(
    max_examples=4,
    phases=[Phase.generate],  # each example is a run: to search for a smaller one takes long
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_is_damaged_is_made_again(bycatch, visit, made, harm, tmp_path, data):
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out, symlinks=True)
    before = {path: undated(path) for path in products(out)}
    chosen = data.draw(st.lists(st.sampled_from(sorted(before)), min_size=1, max_size=4))
    for path in dict.fromkeys(chosen):
        other = data.draw(st.sampled_from(sorted(set(before) - set(chosen))))
        harm(path, data.draw(st.sampled_from(DAMAGES)), other)
    run(bycatch, visit, out)
    assert {path: undated(path) for path in before} == before
    assert status(out, saved_settings(out)).is_done
    kept = [path for path in out.rglob("kept.txt") if path.read_text() == "of the user"]
    assert len(kept) == len(list(out.rglob("*.aside-*")))


def test_a_step_of_its_own_does_not_read_a_damaged_product(bycatch, whole):
    path = whole / "abc_01/F775W/jabc01010_phot.ecsv"
    path.write_bytes(path.read_bytes()[:-1])
    result = bycatch("finalize", whole)
    assert result.status == 1
    assert "jabc01010_phot.ecsv was truncated, changed or replaced" in result.err
    assert "bycatch measure" in result.err


def test_damaged_stars_of_a_field_are_not_used_by_a_step_of_its_own(bycatch, whole):
    path = whole / "abc_01/gaia.ecsv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    result = bycatch("align", whole, "--offline", "--set", "align.gaia_cache=off")
    assert "no reference stars" in result.err


def test_another_image_with_damaged_products_takes_no_part(bycatch, visit, whole):
    path = whole / "abc_01/F475W/jabc01020_wcs.fits"
    path.write_bytes(path.read_bytes()[:-2880])
    red = visit.raw / "jabc01010_drc.fits"
    words = ("--gaia", visit.gaia, "--set", "measure.cr_radius_px=3")
    result = bycatch("run", red, "-o", whole, *words)
    assert result.status == 0
    words = " ".join(result.err.split())
    assert "F475W/jabc01020: not compared: " in words
    assert "jabc01020_wcs.fits was truncated, changed or replaced after it was written" in words


# ---------------------------------------------------------------- the figure of a field


def test_a_lost_figure_is_drawn_again_the_same(bycatch, visit, whole):
    figure = whole / "abc_01/alignment.png"
    drawn = figure.read_bytes()
    figure.unlink()
    state = read_field(whole, "abc_01")
    del state.products["alignment.png"]  # killed before it was noted
    FieldFolder(whole, state).write()
    result = run(bycatch, visit, whole)
    assert result.err.count("up to date") == 10
    assert figure.read_bytes() == drawn


def test_the_figure_of_another_alignment_is_drawn_again(bycatch, visit, whole):
    figure = whole / "abc_01/alignment.png"
    drawn = figure.read_bytes()
    figure.write_bytes(b"that of an alignment of before")
    FieldFolder(whole, read_field(whole, "abc_01")).remember(figure, "another key")
    assert steps(whole)["F775W", "align"] == "outdated"
    run(bycatch, visit, whole)
    assert figure.read_bytes() == drawn


def test_without_matplotlib_no_figure_is_missed(whole, monkeypatch):
    (whole / "abc_01/alignment.png").unlink()
    monkeypatch.setattr("bycatch.pipeline.figure.find_spec", lambda _: None)
    assert steps(whole)["F775W", "align"] == "done"


# ---------------------------------------------------------------- proofs


def test_a_file_is_whole_until_it_changes(tmp_path, harm):
    path = tmp_path / "product"
    for damage in DAMAGES:
        path.write_bytes(b"0123456789")
        proof = proof_of(path)
        assert is_whole(path, proof)
        harm(path, damage)
        assert not is_whole(path, proof), damage
        if damage == "folder":
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def test_a_copy_is_whole_and_read_once(tmp_path, monkeypatch):
    path, copy = tmp_path / "product", tmp_path / "copy"
    path.write_bytes(b"0123456789")
    proof = proof_of(path)
    shutil.copy(path, copy)
    assert is_whole(copy, proof)
    monkeypatch.setattr("bycatch.system.disk.checksum", lambda _: pytest.fail("read again"))
    assert is_whole(copy, proof)


def test_files_of_other_sizes_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "product"
    path.write_bytes(b"0123456789")
    proof = proof_of(path)
    path.write_bytes(b"0")
    monkeypatch.setattr("bycatch.system.disk.checksum", lambda _: pytest.fail("read"))
    assert not is_whole(path, proof)


def test_a_copied_folder_is_up_to_date_and_read_once(bycatch, visit, whole, monkeypatch):
    result = run(bycatch, visit, whole)
    assert result.err.count("up to date") == 10
    stamps = [record.stages["measure"].outputs for record in find_records(whole)]
    for path in whole.rglob("*_phot.ecsv"):
        status = path.stat()
        assert any(
            proof.stamp.startswith(f"{status.st_size}:{status.st_mtime_ns}:")
            for outputs in stamps
            for proof in outputs.values()
        )
    monkeypatch.setattr("bycatch.pipeline.keys.checksum", lambda path: pytest.fail(f"{path}"))
    run(bycatch, visit, whole)


def test_products_of_an_earlier_version_are_made_again_and_its_stars_kept(bycatch, visit, whole):
    state = whole / "abc_01" / FIELD_FILE
    for content in json.loads(state.read_text())["images"]:
        folder = whole / "abc_01" / content["filter"]
        root = content["stem"].removesuffix("_drc")
        for stage in content["stages"].values():
            stage["key"] = "of an earlier version"
            stage["outputs"] = [*stage["outputs"], f"{root}_crshare.ecsv"]
        for name in ("facts", "facts_key", "last"):
            del content[name]
        (folder / f"{root}_state.json").write_text(json.dumps(content))
        (folder / f"{root}_crshare.ecsv").touch()
    state.unlink()
    (whole / "abc_01" / FOLDER_FILE).touch()
    assert set(steps(whole).values()) == {"outdated"}
    was = (whole / "abc_01/gaia.ecsv").stat().st_mtime_ns
    result = run(bycatch, visit, whole)
    assert "up to date" not in result.err
    assert (whole / "abc_01/gaia.ecsv").stat().st_mtime_ns == was
    left = ("_state.json", "_crshare.ecsv", FOLDER_FILE)
    assert not [path for path in (whole / "abc_01").rglob("*") if path.name.endswith(left)]
    assert status(whole, saved_settings(whole)).is_done


# ---------------------------------------------------------------- writing


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told = []
    sync = os.fsync

    def synced(number):
        told.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        sync(number)

    monkeypatch.setattr(os, "fsync", synced)
    path = tmp_path / "product"
    with atomic(path) as partial:
        partial.write_text("content")
    before, after = told
    assert before.endswith("/product")
    assert before != str(path)
    assert after == str(tmp_path)


def test_a_batch_appears_together(tmp_path):
    batch = Batch(tmp_path)
    for name in ("a", "b"):
        batch.partial(tmp_path / name).write_text(name)
    assert not list(tmp_path.glob("[ab]"))
    batch.commit()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_batch_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "product"
    path.write_text("of before")

    def write_half():
        with atomic(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "of before"
    assert [p.name for p in tmp_path.iterdir()] == ["product"]


def test_a_full_disk_fails_the_image_and_leaves_no_record_of_the_step(visit, tmp_path, monkeypatch):
    import bycatch

    commit = Batch.commit

    def full(self):
        if any(path.name.endswith("_phot.ecsv") for path in self.paths):
            raise OSError(28, "No space left on device")
        commit(self)

    monkeypatch.setattr(Batch, "commit", full)
    out = tmp_path / "out"
    (report,) = bycatch.run(visit.raw / "jabc01010_drc.fits", out).images
    assert report.outcome == "failed"
    assert "No space left" in report.reason
    (record,) = find_records(out)
    assert set(record.stages) == {"detect", "crmask", "align"}
    assert not list(out.rglob(".part-*"))


def test_planted_links_in_the_place_of_products_are_replaced(bycatch, visit, whole, tmp_path):
    theirs = tmp_path / ".bashrc"
    theirs.write_text("of the user")
    names = ["summary.json", "settings.toml", "bycatch.log", "abc_01/F775W/jabc01010_cat.ecsv"]
    for name in names:
        (whole / name).unlink()
        (whole / name).symlink_to(theirs)
    run(bycatch, visit, whole)
    assert theirs.read_text() == "of the user"
    assert not any((whole / name).is_symlink() for name in names)


def test_a_log_that_has_another_name_too_is_begun_anew(bycatch, visit, whole, tmp_path):
    theirs = tmp_path / ".bashrc"
    theirs.write_text("of the user")
    (whole / "bycatch.log").unlink()
    os.link(theirs, whole / "bycatch.log")
    run(bycatch, visit, whole)
    assert theirs.read_text() == "of the user"


@pytest.mark.parametrize("name", ["abc_01", "abc_01/F775W"])
def test_nothing_is_written_into_a_folder_behind_a_link(bycatch, visit, tmp_path, name):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    theirs.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(theirs)
    result = bycatch("sort", visit.raw, "-o", out)
    assert result.status == 1
    assert "nothing is written through links" in result.err
    assert not list(theirs.iterdir())


@pytest.mark.parametrize("name", ["export", "figures"])
def test_exports_and_figures_do_not_follow_a_planted_link(bycatch, whole, tmp_path, name):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (whole / name).symlink_to(theirs)
    words = ("report", whole, "--figures") if name == "figures" else ("export", whole)
    result = bycatch(*words)
    assert result.status in {1, 2}
    assert "nothing is written through links" in result.err
    assert not list(theirs.iterdir())


def test_leftovers_of_a_killed_run_are_removed_and_their_links_not_followed(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    (tmp_path / ".part-1").symlink_to(theirs)
    (tmp_path / ".part-2").mkdir()
    (tmp_path / ".part-2/half").touch()
    (tmp_path / ".part-3").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert list(theirs.iterdir())


# ---------------------------------------------------------------- foreign records


def state_of(out):
    return out / "abc_01" / FIELD_FILE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(field="../esc"), "another image"),
        (lambda r: r.update(filter="../esc"), "another image"),
        (lambda r: r.update(stem="../jabc01030_drc"), "not a file in"),
        (lambda r: r.update(name="../../../jabc01010_drc.fits"), "not a file in"),
        (lambda r: r.update(name=None), "name"),
        (lambda r: r.update(stages=[]), "list"),
        (lambda r: r.update(stages={"detect": 3}), "int"),
        (lambda r: r["stages"]["detect"].update(outputs=7), "outputs"),
        (lambda r: r["stages"]["detect"].update(seconds="long"), "seconds"),
        (
            lambda r: r["stages"]["detect"]["outputs"].update({"../x": None}),
            "not a file in",
        ),
        (lambda r: r["stages"]["detect"]["outputs"].update({"x": {"stamp": 1}}), "stamp"),
    ],
)
def test_a_foreign_record_costs_what_its_field_has_done(bycatch, visit, whole, change, reason):
    path = state_of(whole)
    content = json.loads(path.read_text())
    change(next(image for image in content["images"] if image["filter"] == "F775W"))
    path.write_text(json.dumps(content))
    with pytest.raises(UnreadableFile, match=reason):
        read_field(whole, "abc_01")
    state = status(whole, saved_settings(whole))
    assert state.images == ()
    assert [name for name, _ in state.lost] == [str(path)]


def test_a_field_of_a_damaged_state_is_done_again(bycatch, visit, whole):
    before = {path: undated(path) for path in products(whole)}
    state_of(whole).write_text("{")
    result = run(bycatch, visit, whole)
    assert "everything is done again" in result.err
    assert {path: undated(path) for path in products(whole)} == before
    assert status(whole, saved_settings(whole)).is_done


def test_a_state_of_a_later_version_is_refused(bycatch, visit, whole):
    content = json.loads(state_of(whole).read_text())
    state_of(whole).write_text(json.dumps(content | {"format": 3}))
    with pytest.raises(UnreadableFile, match="made by a later version of bycatch"):
        read_field(whole, "abc_01")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "\xff", "{}"])
def test_what_is_no_record_is_reported(whole, text):
    state_of(whole).write_bytes(text.encode("latin-1"))
    state = status(whole, saved_settings(whole))
    assert (state.images, len(state.lost)) == ((), 1)


def test_a_pipe_in_the_place_of_a_record_is_not_opened(whole):
    path = state_of(whole)
    path.unlink()
    os.mkfifo(path)
    assert len(status(whole, saved_settings(whole)).lost) == 1


@pytest.mark.parametrize(
    "content",
    [[], 3, {"inputs": 3}, {"skipped": [3]}, {"skipped": [{"path": 1}]}, {"skipped": {"a": 1}},
     {"inputs": []}, {"seconds": "long"}],
)  # fmt: skip
def test_foreign_notes_of_a_run_are_left_out(whole, content):
    (whole / "run.json").write_text(json.dumps(content))
    assert last_run(whole) == LastRun()
    assert status(whole, saved_settings(whole)).is_done


@pytest.mark.parametrize("content", [[], {"gaia.ecsv": 3}, {"gaia.ecsv": {"key": ""}}])
def test_foreign_notes_of_a_folder_are_no_notes(tmp_path, content):
    path = tmp_path / "gaia.ecsv"
    path.write_text("stars")
    (tmp_path / FOLDER_FILE).write_text(json.dumps(content))
    assert not is_product_current(path)
    remember_product(path)
    assert is_product_current(path)


def test_json_that_says_the_same_is_left_alone(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    was = path.stat().st_mtime_ns
    write_json(path, {"a": 1})
    assert path.stat().st_mtime_ns == was
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}


def test_a_proof_is_plain_values():
    assert Proof("1:2:3", "sha256:0") == Proof(stamp="1:2:3", checksum="sha256:0")
