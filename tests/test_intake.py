"""From files to their places: what is found, linked, copied, moved, and kept apart."""

import json
import re
import shutil

import numpy as np
import pytest
from astropy.io import fits

from bycatch import read_table
from bycatch.products import damaged_fields, find_records

FAST = ("--set", "align.enabled=false")
PLACE = "abc_01/F775W/jabc01010_drc.fits"


def tree(folder):
    """Return the files below a folder, with their content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.fits")}


@pytest.fixture
def raw(visit, tmp_path):
    """A copy of the red image, to be moved about."""
    folder = tmp_path / "raw"
    folder.mkdir()
    shutil.copy(visit.raw / "jabc01010_drc.fits", folder)
    return folder


def changed(path, value=1.0):
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data[100, 100] += value


# ---------------------------------------------------------------- link, copy, move


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_link_and_copy_leave_the_users_files_alone(bycatch, raw, tmp_path, mode):
    before = tree(raw)
    out = tmp_path / "out"
    assert bycatch("run", raw, "-o", out, "--mode", mode, *FAST).status == 0
    assert tree(raw) == before
    assert (out / PLACE).is_symlink() == (mode == "link")
    assert (out / PLACE).read_bytes() == before["jabc01010_drc.fits"]


def test_move_moves_and_the_output_folder_can_be_run_again(bycatch, raw, tmp_path):
    content = (raw / "jabc01010_drc.fits").read_bytes()
    out = tmp_path / "out"
    assert bycatch("run", raw, "-o", out, "--mode", "move", *FAST).status == 0
    assert not list(raw.iterdir())
    assert (out / PLACE).read_bytes() == content
    assert not (out / PLACE).is_symlink()
    again = bycatch("run", out, "-o", out, "--mode", "move", *FAST)
    assert again.status == 0, again.err
    assert again.err.count("up to date") == 5
    assert (out / PLACE).read_bytes() == content


def test_move_never_overwrites(bycatch, raw, tmp_path):
    place = tmp_path / "out" / PLACE
    place.parent.mkdir(parents=True)
    place.write_text("something else of that name")
    result = bycatch("sort", raw, "-o", tmp_path / "out", "--mode", "move")
    assert result.status == 1
    assert "nothing is overwritten" in result.err
    assert place.read_text() == "something else of that name"
    assert (raw / "jabc01010_drc.fits").exists()


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_a_strange_file_in_the_place_is_kept(bycatch, raw, tmp_path, mode):
    place = tmp_path / "out" / PLACE
    place.parent.mkdir(parents=True)
    place.write_text("something else of that name")
    result = bycatch("sort", raw, "-o", tmp_path / "out", "--mode", mode)
    assert result.status == 1
    assert "choose another output folder" in result.err
    assert place.read_text() == "something else of that name"


def test_a_link_gives_way_to_the_moved_file(bycatch, raw, tmp_path):
    out = tmp_path / "out"
    bycatch("sort", raw, "-o", out)
    assert bycatch("sort", raw, "-o", out, "--mode", "move").status == 0
    assert (out / PLACE).is_file()
    assert not (out / PLACE).is_symlink()
    assert not list(raw.iterdir())


def test_a_copy_follows_its_changed_original(bycatch, raw, tmp_path):
    out = tmp_path / "out"
    words = ["run", raw, "-o", out, "--mode", "copy", *FAST]
    bycatch(*words)
    changed(raw / "jabc01010_drc.fits")
    result = bycatch(*words)
    assert result.status == 0, result.err
    assert "up to date" not in result.err
    assert (out / PLACE).read_bytes() == (raw / "jabc01010_drc.fits").read_bytes()


def test_a_copy_can_do_without_its_original(bycatch, raw, tmp_path):
    out = tmp_path / "out"
    bycatch("sort", raw, "-o", out, "--mode", "copy")
    shutil.rmtree(raw)
    assert bycatch("detect", out).status == 0


def test_running_on_the_output_folder_of_links_keeps_the_links(bycatch, raw, tmp_path):
    out = tmp_path / "out"
    bycatch("run", raw, "-o", out, *FAST)
    result = bycatch("run", out, "-o", out, *FAST)
    assert result.status == 0, result.err
    assert (out / PLACE).samefile(raw / "jabc01010_drc.fits")
    assert result.err.count("up to date") == 5


def test_the_spelling_of_a_path_does_not_matter(bycatch, raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    bycatch("run", raw, "-o", out, *FAST)
    monkeypatch.chdir(raw)
    result = bycatch("run", "../raw/./jabc01010_drc.fits", "-o", "../out", *FAST)
    assert result.err.count("up to date") == 5


# ---------------------------------------------------------------- names that collide


def test_two_different_files_of_one_name_are_both_kept_and_reported(bycatch, raw, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(raw, other)
    changed(other / "jabc01010_drc.fits")
    out = tmp_path / "out"
    result = bycatch("run", raw, other, "-o", out, *FAST)
    assert result.status == 0, result.err
    assert "another file has the same name" in result.err
    assert (out / PLACE).samefile(raw / "jabc01010_drc.fits")
    assert (out / "abc_01/F775W/jabc01010-2_drc.fits").samefile(other / "jabc01010_drc.fits")
    one = read_table(out / "abc_01/F775W/jabc01010_cat.ecsv")
    two = read_table(out / "abc_01/F775W/jabc01010-2_cat.ecsv")
    assert one.meta["INSHA256"] != two.meta["INSHA256"]
    # The order of the files does not make them change places.
    again = bycatch("run", other, raw, "-o", out, *FAST)
    assert again.err.count("up to date") == 10


def test_a_file_of_the_same_name_in_a_later_run_is_kept_beside_the_first(bycatch, raw, tmp_path):
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(raw, other)
    changed(other / "jabc01010_drc.fits")
    bycatch("run", raw, "-o", out, *FAST)
    first = (out / "abc_01/F775W/jabc01010_cat.ecsv").read_bytes()
    result = bycatch("run", other, "-o", out, *FAST)
    assert result.status == 0
    assert "both are kept" in result.err
    assert (out / PLACE).samefile(raw / "jabc01010_drc.fits")
    assert (out / "abc_01/F775W/jabc01010_cat.ecsv").read_bytes() == first
    assert (out / "abc_01/F775W/jabc01010-2_cat.ecsv").exists()


def test_the_same_file_twice_is_used_once(bycatch, raw, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(raw, copy)
    out = tmp_path / "out"
    words = ["sort", raw, raw / "jabc01010_drc.fits", copy, "-o", out]
    result = bycatch(*words)
    assert result.status == 0
    assert "1 image(s)" in result.out
    assert re.search(r"jabc01010_drc.fits: skipped: the same file as .*raw/jabc01010", result.err)
    assert len(list((out / "abc_01/F775W").glob("*_drc.fits"))) == 1


def test_of_drc_and_drz_the_drc_is_used(bycatch, raw, tmp_path):
    shutil.copy(raw / "jabc01010_drc.fits", raw / "jabc01010_drz.fits")
    changed(raw / "jabc01010_drz.fits")
    result = bycatch("sort", raw, "-o", tmp_path / "out")
    assert result.status == 0
    assert "jabc01010_drz.fits: skipped: its CTE-corrected twin (drc) is used" in result.err
    assert (tmp_path / "out" / PLACE).exists()


def test_a_drz_alone_is_used_with_a_warning(bycatch, raw, tmp_path):
    (raw / "jabc01010_drc.fits").rename(raw / "jabc01010_drz.fits")
    result = bycatch("run", raw, "-o", tmp_path / "out", *FAST)
    assert result.status == 0
    assert "not corrected for charge-transfer losses" in result.err
    table = read_table(tmp_path / "out/abc_01/F775W/jabc01010_cat.ecsv")
    assert table.meta["CTECORR"] is False
    assert any("charge-transfer" in note for note in table.meta["NOTES"])


# ---------------------------------------------------------------- what a folder holds


def test_a_download_tree_is_searched_and_the_rest_counted(bycatch, raw, tmp_path):
    deep = tmp_path / "mastDownload" / "HST" / "jabc01010"
    deep.mkdir(parents=True)
    shutil.move(raw / "jabc01010_drc.fits", deep)
    for name in ("jabc01aaq_flt.fits", "jabc01aaq_flc.fits", "jabc01abq_flc.fits",
                 "jabc01010_asn.fits", "jabc01010_drc.jpg", "manifest.csv"):  # fmt: skip
        (deep.parent / name).write_text("not read")
    result = bycatch("sort", tmp_path / "mastDownload", "-o", tmp_path / "out")
    assert result.status == 0
    log = (tmp_path / "out" / "bycatch.log").read_text()
    counts = log.split("passed over: ")[1].splitlines()[0]
    assert set(counts.split(", ")) == {"2 flc", "1 flt", "1 asn", "1 jpg", "1 csv"}
    assert (tmp_path / "out" / PLACE).exists()


def test_hap_products(bycatch, raw, tmp_path):
    file = raw / "jabc01010_drc.fits"
    single = raw / "hst_13711_01_acs_wfc_f775w_jabc01_drc.fits"
    file.rename(single)
    shutil.copy(single, raw / "hst_13711_01_acs_wfc_total_jabc01_drc.fits")
    shutil.copy(single, raw / "hst_13711_01_acs_wfc_f775w_jabc01aa_drc.fits")
    result = bycatch("sort", raw, "-o", tmp_path / "out")
    assert result.status == 0
    assert "total_jabc01_drc.fits: skipped: a 'total' product" in result.err
    assert "jabc01aa_drc.fits: skipped: a drizzle of one exposure" in result.err
    assert [p.name for p in (tmp_path / "out/abc_01/F775W").glob("*.fits")] == [single.name]


def test_an_image_with_the_exposures_of_another_one_is_noted(bycatch, raw, tmp_path):
    """Objects took them for independent images: errors too small by a root of 2."""
    again = raw / "jabc01020_drc.fits"
    with fits.open(raw / "jabc01010_drc.fits") as hdus:
        hdus[0].header["HISTORY"] = "drizzled again"
        hdus.writeto(again)
    out = tmp_path / "out"
    assert "jabc01020: sort" not in bycatch("sort", raw / "jabc01010_drc.fits", "-o", out).err
    for _ in range(2):
        err = bycatch("sort", again, "-o", out).err
        assert "shares exposures with jabc01010: leave one out, or objects count both" in err
    both = tmp_path / "both"
    for _ in range(2):
        assert bycatch("run", raw, "-o", both, *FAST).status == 0
        summary = json.loads((both / "summary.json").read_text())
        shared = [note for image in summary["images"] for note in image["notes"]]
        assert sum("shares exposures with" in note for note in shared) == 1
    (table,) = [t for p in both.rglob("*_cat.ecsv") if "01020" in p.name for t in [read_table(p)]]
    assert any("shares exposures with" in note for note in table.meta["NOTES"])


def test_a_file_without_program_needs_a_field(bycatch, raw, tmp_path):
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        del hdus[0].header["D???DATA"]
    (raw / "jabc01010_drc.fits").rename(raw / "mosaic.fits")
    result = bycatch("sort", raw, "-o", tmp_path / "out")
    assert result.status == 1
    assert "mosaic.fits: dropped: neither name nor header gives program and visit" in result.err
    assert "--field NAME" in result.err
    assert bycatch("sort", raw, "-o", tmp_path / "out", "--field", "cosmos").status == 0
    assert (tmp_path / "out/cosmos/F775W/mosaic.fits").exists()


def test_the_output_folder_inside_the_input_is_not_searched(bycatch, raw):
    out = raw / "out"
    bycatch("run", raw, "-o", out, *FAST)
    result = bycatch("run", raw, "-o", out, *FAST)
    assert result.status == 0
    assert "1 of 1 image(s) done" in result.out


# ---------------------------------------------------------------- weights and sidecars


@pytest.fixture
def apart(raw, tmp_path):
    """A folder with <stem>_sci.fits and <stem>_wht.fits; a quarter has no data."""
    folder = tmp_path / "apart"
    folder.mkdir()
    with fits.open(raw / "jabc01010_drc.fits") as hdus:
        head = hdus[0].header + hdus["SCI"].header
        weight = hdus["WHT"].data.copy()
        weight[:, :60] = 0
        fits.PrimaryHDU(hdus["SCI"].data, head).writeto(folder / "deep_sci.fits")
        fits.PrimaryHDU(weight).writeto(folder / "deep_wht.fits")
    return folder


def covered(out):
    return np.count_nonzero(read_table(next(out.rglob("*_cat.ecsv")))["x_center"] < 60)


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_weight_beside_the_image_is_found(bycatch, apart, tmp_path, mode):
    out = tmp_path / "out"
    result = bycatch("run", apart, "-o", out, "--field", "deep", "--mode", mode, *FAST)
    assert result.status == 0, result.err
    assert "no weight" not in result.err
    assert covered(out) == 0
    assert (out / "deep/F775W/deep_wht.fits").exists()


def test_a_weight_can_be_named(bycatch, apart, tmp_path):
    (apart / "deep_wht.fits").rename(tmp_path / "w.fits")
    out = tmp_path / "out"
    words = ["run", apart / "deep_sci.fits", "-o", out, "--field", "deep", *FAST]
    assert bycatch(*words, "--wht", tmp_path / "w.fits").status == 0
    assert covered(out) == 0


def test_one_weight_for_two_images_is_refused(bycatch, visit, apart, tmp_path):
    result = bycatch(
        "run", visit.raw, "-o", tmp_path / "out", "--wht", apart / "deep_wht.fits", *FAST
    )
    assert result.status == 2
    assert "one weight for 2 images" in result.err


def test_a_changed_weight_redoes_the_image(bycatch, apart, tmp_path):
    out = tmp_path / "out"
    words = ["run", apart, "-o", out, "--field", "deep", *FAST]
    bycatch(*words)
    with fits.open(apart / "deep_wht.fits", mode="update") as hdus:
        hdus[0].data[:, :60] = 1000
    result = bycatch(*words)
    assert "up to date" not in result.err
    assert covered(out) > 0


@pytest.fixture
def three(raw, tmp_path):
    """A folder with <stem>_drc_sci.fits, _wht and _ctx: one exposure at x < 120, two elsewhere."""
    folder = tmp_path / "three"
    folder.mkdir()
    with fits.open(raw / "jabc01010_drc.fits") as hdus:
        context = hdus["CTX"].data.copy()
        context[:, :120] = 4
        for kind, data in (("sci", hdus["SCI"].data), ("wht", hdus["WHT"].data), ("ctx", context)):
            head = hdus[0].header + hdus["SCI"].header
            fits.PrimaryHDU(data, head).writeto(folder / f"jabc01010_drc_{kind}.fits")
    return folder


def n_exposures(out):
    """Return the numbers of exposures of the sources, left and right of x = 120."""
    table = read_table(next(out.rglob("*_cat.ecsv")))
    left = table["x_center"] < 118
    right = table["x_center"] > 122
    return set(table["n_exp"][left]), set(table["n_exp"][right])


@pytest.mark.parametrize("mode", ["link", "copy", "move"])
def test_a_context_beside_the_image_is_used_by_every_step(bycatch, three, tmp_path, mode):
    out = tmp_path / "out"
    words = ["-o", out, "--mode", mode, *FAST]
    result = bycatch("run", *sorted(three.iterdir()), *words)  # as a shell's * gives them
    assert result.status == 0, result.err
    assert "no context" not in result.err
    assert n_exposures(out) == ({1}, {2})
    names = {path.name for path in (out / "abc_01/F775W").glob("jabc01010_drc_*.fits")}
    assert names >= {f"jabc01010_drc_{kind}.fits" for kind in ("sci", "wht", "ctx")}
    assert bycatch("explain", out, "--xy", 60, 60).status == 0
    again = bycatch("measure", out)
    assert again.status == 0, again.err


def test_a_changed_context_redoes_the_image(bycatch, three, tmp_path):
    out = tmp_path / "out"
    words = ["run", three, "-o", out, *FAST]
    bycatch(*words)
    with fits.open(three / "jabc01010_drc_ctx.fits", mode="update") as hdus:
        hdus[0].data[:, :120] = 5
    result = bycatch(*words)
    assert "up to date" not in result.err
    assert n_exposures(out) == ({2}, {2})
    (three / "jabc01010_drc_ctx.fits").unlink()
    assert "no longer points to a file" in bycatch("detect", out).err


# ---------------------------------------------------------------- files that are not whole


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_a_cut_file_costs_itself_only(bycatch, visit, tmp_path, command):
    folder = tmp_path / "in"
    shutil.copytree(visit.raw, folder)
    cut = folder / "jabc01010_drc.fits"
    with fits.open(cut, mode="update") as hdus:
        hdus[0].header["NEXTEND"] = 3
        starts = [hdu.fileinfo()["hdrLoc"] for hdu in hdus]
    cut.write_bytes(cut.read_bytes()[: starts[3]])
    out = tmp_path / "out"
    words = [folder, "-o", out, *FAST] if command == "run" else sorted(folder.iterdir())
    result = bycatch(command, *words)
    assert result.status != 0
    assert "NEXTEND is 3, 2 are there (SCI, WHT)" in " ".join((result.out + result.err).split())
    if command == "run":
        assert [path.name for path in out.rglob("*_cat.ecsv")] == ["jabc01020_cat.ecsv"]


def test_a_file_is_verified_once_for_each_content(bycatch, raw, tmp_path, monkeypatch):
    from bycatch.images import files

    looked = []
    monkeypatch.setattr(files, "refuse_if_altered", lambda path, *_: looked.append(path.name))
    out = tmp_path / "out"
    words = ["run", raw, "-o", out, *FAST]
    assert bycatch(*words).status == 0
    assert len(looked) == 1
    assert "up to date" not in bycatch(*words, "--set", "detect.n_sigma=3").err.split("crmask")[0]
    assert bycatch("explain", out, "--xy", 60, 60).status == 0
    assert len(looked) == 1
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        hdus["SCI"].data[5, 5] += 1
    assert bycatch(*words).status == 0
    assert len(looked) == 2
    unchecked = bycatch(*words, "--set", "input.verify=false")
    assert unchecked.err.count("up to date") == 5  # what is made does not depend on it


@pytest.mark.parametrize(("value", "reason"), [
    (0.0, "SCI is exactly 0"),
    (2.5, "every pixel with data is 2.5"),
    (np.nan, "no valid pixel"),
])  # fmt: skip
def test_an_image_with_nothing_in_it_is_dropped_with_the_reason(
    bycatch, raw, tmp_path, value, reason
):
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        hdus["SCI"].data[:] = value
    result = bycatch("run", raw, "-o", tmp_path / "out", *FAST)
    assert result.status != 0
    assert reason in " ".join(result.err.split())
    assert "dropped" in result.out + result.err


def test_an_image_without_a_source_is_done_with_a_note(bycatch, raw, tmp_path):
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        noise = np.random.default_rng(4).normal(0, 0.008, hdus["SCI"].data.shape)
        hdus["SCI"].data[:] = noise
    out = tmp_path / "out"
    for word in ("no source: nothing is above the noise", "up to date"):
        result = bycatch("run", raw, "-o", out, *FAST)
        assert result.status == 0, result.err
        assert word in " ".join(result.err.split())
    table = read_table(next(out.rglob("*_cat.ecsv")))
    assert len(table) == 0
    assert "no source" in " ".join(table.meta["NOTES"])


def test_detections_that_the_coverage_rule_removes_are_not_called_noise(bycatch, raw, tmp_path):
    with fits.open(raw / "jabc01010_drc.fits", mode="update") as hdus:
        for name in ("SCI", "WHT"):
            hdus[name].data[:, ::20] = 0
            hdus[name].data[::20] = 0
    out = tmp_path / "out"
    result = bycatch("run", raw, "-o", out, *FAST, "--set", "detect.min_coverage=1")
    words = " ".join(result.err.split())
    assert "no source: too little of the box around each of" in words
    assert "nothing is above the noise" not in words


def test_a_sidecar_states_what_the_header_does_not(bycatch, raw, tmp_path):
    (raw / "jabc01010_drc.bycatch.toml").write_text('photflam = 5e-20\nfilter = "F606W"\n')
    out = tmp_path / "out"
    assert bycatch("run", raw, "-o", out, *FAST).status == 0
    meta = read_table(out / "abc_01/F606W/jabc01010_cat.ecsv").meta
    assert (meta["PHOTFLAM"], meta["ZPORIGIN"]) == (5e-20, "settings")
    assert meta["SETTINGS"]["file"] == {"photflam": 5e-20, "filter": "F606W"}


def test_a_changed_sidecar_redoes_the_image(bycatch, raw, tmp_path):
    side = raw / "jabc01010_drc.bycatch.toml"
    side.write_text("photflam = 5e-20\n")
    out = tmp_path / "out"
    bycatch("run", raw, "-o", out, *FAST)
    side.write_text("photflam = 6e-20\n")
    assert "up to date" not in bycatch("run", raw, "-o", out, *FAST).err
    assert read_table(out / "abc_01/F775W/jabc01010_cat.ecsv").meta["PHOTFLAM"] == 6e-20


def test_a_wrong_sidecar_is_refused_with_its_name(bycatch, raw, tmp_path):
    (raw / "jabc01010_drc.bycatch.toml").write_text("photflamm = 5e-20\n")
    result = bycatch("run", raw, "-o", tmp_path / "out", *FAST)
    assert result.status == 2
    assert "jabc01010_drc.bycatch.toml" in result.err
    assert "photflam" in result.err


def test_a_damaged_state_costs_its_field_only(done):
    shutil.copytree(done / "abc_01", done / "abc_02")
    other = json.loads((done / "abc_01/field.json").read_text().replace("abc_01", "abc_02"))
    (done / "abc_02/field.json").write_text(json.dumps(other))
    assert [r.field for r in find_records(done)] == ["abc_01"] * 2 + ["abc_02"] * 2
    bad_path = done / "abc_01/field.json"
    bad_path.write_text("{", encoding="utf-8")
    assert [r.field for r in find_records(done)] == ["abc_02"] * 2
    assert list(damaged_fields(done)) == [bad_path]
    assert "remove it and run again" in damaged_fields(done)[bad_path]


def test_an_image_that_has_moved_holds_its_own_exposures(bycatch, raw, tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    assert bycatch("run", raw, "-o", out, *FAST).status == 0
    shutil.copytree(raw, moved)
    for folder in (moved, raw):
        shutil.move(folder, tmp_path / "away")
        assert bycatch("run", tmp_path / "away", "-o", out, *FAST).status == 0
        summary = json.loads((out / "summary.json").read_text())
        assert not any("holds exposures" in n for i in summary["images"] for n in i["notes"])
        shutil.rmtree(tmp_path / "away")
