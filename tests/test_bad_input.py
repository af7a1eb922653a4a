"""Bad input: each case has a clear message, costs one image, and leaves nothing half-written."""

import contextlib
import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

from bycatch import Settings, read_table
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.columns import expand
from bycatch.catalogs.photometry_columns import PHOT
from bycatch.catalogs.source_columns import SOURCES

COMMAND = [sys.executable, "-m", "bycatch"]


# ---------------------------------------------------------------- files that can't be used


def not_fits(path, hdus):
    path.write_text("<html>404: the archive is down</html>")


def empty(path, hdus):
    path.touch()


def truncated(path, hdus):
    hdus.writeto(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def truncated_in_the_image(path, hdus):
    hdus.writeto(path)
    path.write_bytes(path.read_bytes()[:100_000])


def truncated_gzip(path, hdus):
    hdus.writeto(path)
    content = gzip.compress(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])


def no_image(path, hdus):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))])
    fits.HDUList([hdus[0], table]).writeto(path)


def other_weight_shape(path, hdus):
    hdus["WHT"].data = hdus["WHT"].data[:-1]
    hdus.writeto(path)


def other_context_shape(path, hdus):
    hdus["CTX"].data = hdus["CTX"].data[:-3, 5:]
    hdus.writeto(path)


def of_one_value(path, hdus):
    hdus["SCI"].data[:] = 0.5
    hdus.writeto(path)


def all_nan(path, hdus):
    hdus["SCI"].data[:] = np.nan
    hdus.writeto(path)


def no_weight_anywhere(path, hdus):
    hdus["WHT"].data[:] = 0
    hdus.writeto(path)


def setting_card(name, value, header="SCI"):
    """Return a maker that sets a card (None: removes it)."""

    def make(path, hdus):
        head = hdus[0 if header == "PRIMARY" else header].header
        if value is None:
            head.remove(name, remove_all=True)
        else:
            head[name] = value
        if name == "EXPTIME":
            head.remove("TEXPTIME", ignore_missing=True)
        hdus.writeto(path)

    return make


def electrons_without_more(path, hdus):
    hdus["SCI"].header["BUNIT"] = "ELECTRONS"
    del hdus[0].header["D???OUUN"]
    hdus.writeto(path)


BAD = {
    # name: (maker, what the message says, the way out)
    "jbad01010_drc.fits": (not_fits, "a text file, not FITS", "fetch the file again"),
    "jbad01020_drc.fits": (empty, "not FITS, or damaged", "fetch the file again"),
    "jbad01030_drc.fits": (truncated, "damaged", "fetch the file again"),
    "jbad01040_drc.fits": (truncated_in_the_image, "damaged", "fetch the file again"),
    "jbad01050_drc.fits.gz": (truncated_gzip, "damaged", "fetch the file again"),
    "jbad01060_drc.fits": (no_image, "no image in it", "give a drizzled image"),
    "jbad01070_drc.fits": (other_weight_shape, "WHT is (199, 240)", "bycatch inspect"),
    "jbad010k0_drc.fits": (other_context_shape, "CTX is (197, 235)", "or remove it"),
    "jbad010l0_drc.fits": (of_one_value, "every pixel with data is 0.5", "input.verify=false"),
    "jbad01080_drc.fits": (all_nan, "no valid pixel", "leave it out"),
    "jbad01090_drc.fits": (no_weight_anywhere, "no valid pixel", "leave it out"),
    "jbad010a0_drc.fits": (
        setting_card("INSTRUME", "WFC3", "PRIMARY"), "taken with WFC3 WFC", "leave it out",
    ),
    "jbad010b0_drc.fits": (
        setting_card("FILTER2", "POL0V", "PRIMARY"), "F775W + POL0V", "leave it out",
    ),
    "jbad010c0_drc.fits": (
        setting_card("FILTER1", "FR656N", "PRIMARY"), "through FR656N; polarizers, ramps",
        "leave it out",
    ),
    "jbad010d0_drc.fits": (
        setting_card("PHOTFLAM", None), "PHOTFLAM is missing or 0", "--set input.photflam",
    ),
    "jbad010e0_drc.fits": (
        setting_card("PHOTFLAM", 0.0), "PHOTFLAM is missing or 0", "--set input.photflam",
    ),
    "jbad010f0_drc.fits": (
        setting_card("EXPTIME", None, "PRIMARY"), "EXPTIME is missing or 0",
        "--set input.exptime_s",
    ),
    "jbad010g0_drc.fits": (
        setting_card("EXPTIME", 0.0, "PRIMARY"), "EXPTIME is missing or 0",
        "--set input.exptime_s",
    ),
    "jbad010h0_drc.fits": (electrons_without_more, "BUNIT is 'ELECTRONS'", "input.bunit=electrons"),
    "jbad010i0_drc.fits": (setting_card("CTYPE1", None), "WCS", "the SCI header"),
    "jbad010j0_drc.fits": (
        setting_card("FILTER1", "CLEAR1L", "PRIMARY"), "no filter in FILTER1", "input.filter",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def hdus_of(visit):
    """Return fresh HDUs of the red image."""
    return lambda: fits.open(visit.raw / "jabc01010_drc.fits", memmap=False)


@pytest.fixture(scope="module")
def mixed(bycatch, visit, hdus_of, tmp_path_factory):
    """One run on a good image and every bad one."""
    folder = tmp_path_factory.mktemp("bad")
    raw = folder / "raw"
    raw.mkdir()
    for name, (make, _, _) in BAD.items():
        with hdus_of() as hdus:
            make(raw / name, hdus)
    shutil.copy(visit.raw / "jabc01010_drc.fits", raw)
    result = bycatch("run", raw, "-o", folder / "out", "--set", "align.enabled=false")
    return folder, result


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_is_named_with_its_reason_and_the_way_out(mixed, name):
    _, says, way_out = BAD[name]
    _, result = mixed
    lines = [line for line in result.err.splitlines() if name.removesuffix("_drc.fits") in line]
    message = next(line for line in lines if "dropped" in line)
    assert name in message
    assert says in message
    assert way_out in message
    assert sum(name in line for line in result.out.splitlines() if "dropped: " in line) == 1


def test_bad_files_cost_themselves_only(mixed):
    folder, result = mixed
    assert result.status == 1
    assert f"1 of {len(BAD) + 1} image(s) done" in result.out
    assert len(read_table(folder / "out/abc_01/F775W/jabc01010_cat.ecsv")) > 0


def test_bad_files_give_no_traceback_and_are_no_bugs(mixed):
    _, result = mixed
    for text in ("Traceback", "this is a bug", "failed: "):
        assert text not in result.out + result.err


def test_bad_files_leave_no_product(mixed):
    folder, _ = mixed
    left = [p for p in (folder / "out").rglob("jbad*") if not p.is_symlink()]
    assert left == []
    assert not list((folder / "out").rglob(".part*"))


def test_the_summary_lists_what_is_lost(mixed):
    folder, _ = mixed
    summary = json.loads((folder / "out" / "summary.json").read_text())
    missing = [i["source"] for i in summary["images"] if i["outcome"] == "dropped"]
    missing += [s["path"] for s in summary["skipped"] if s["dropped"]]
    assert len(missing) == len(BAD)


def test_the_users_statement_mends_a_file(bycatch, hdus_of, tmp_path):
    with hdus_of() as hdus:
        electrons_without_more(tmp_path / "jbad01010_drc.fits", hdus)
    words = ["--set", "input.bunit=electrons", "--set", "align.enabled=false"]
    words += ["--set", "detect.n_pixels=30"]
    out = tmp_path / "out"
    result = bycatch("run", tmp_path / "jbad01010_drc.fits", "-o", out, *words)
    assert result.status == 0
    table = read_table(out / "bad_01/F775W/jbad01010_phot.ecsv")
    assert table.meta["SETTINGS"]["input"]["bunit"] == "electrons"


# ---------------------------------------------------------------- odd files that can be used


def run_odd(bycatch, tmp_path, hdus, *words):
    """Run on changed HDUs; return how it ended and the catalog."""
    file = tmp_path / "jodd01010_drc.fits"
    hdus.writeto(file)
    out = tmp_path / "out"
    result = bycatch("run", file, "-o", out, "--set", "align.enabled=false", *words)
    assert result.status == 0, result.out + result.err
    return result, read_table(out / "odd_01/F775W/jodd01010_cat.ecsv")


@pytest.fixture(scope="module")
def truth(bycatch, visit, tmp_path_factory):
    """The catalog of the unchanged image, not aligned, as those of the changed ones."""
    file, out = visit.raw / "jabc01010_drc.fits", tmp_path_factory.mktemp("truth") / "out"
    assert bycatch("run", file, "-o", out, "--set", "align.enabled=false").status == 0
    return read_table(out / "abc_01/F775W/jabc01010_cat.ecsv")


def same_fluxes(catalog, truth, rtol=1e-6):
    np.testing.assert_allclose(catalog["x_center"], truth["x_center"], atol=1e-3)
    np.testing.assert_allclose(catalog["flux_6_apcor"], truth["flux_6_apcor"], rtol=rtol)


def test_an_image_in_primary_counts(bycatch, hdus_of, tmp_path, truth):
    with hdus_of() as hdus:
        head = hdus[0].header + hdus["SCI"].header
        alone = fits.HDUList([fits.PrimaryHDU(hdus["SCI"].data, head)])
        result, catalog = run_odd(bycatch, tmp_path, alone)
    same_fluxes(catalog, truth)
    assert "no weight: uniform depth assumed" in result.err
    assert "no weight: uniform depth assumed" in catalog.meta["NOTES"]


def test_missing_context_falls_back_to_the_weight_with_a_warning(bycatch, hdus_of, tmp_path, truth):
    with hdus_of() as hdus:
        del hdus["CTX"]
        result, catalog = run_odd(bycatch, tmp_path, hdus)
    same_fluxes(catalog, truth)
    assert "no context image" in result.err
    assert any("no context image" in note for note in catalog.meta["NOTES"])
    assert list(catalog["n_exp"]) == [2] * len(catalog)


def test_no_data_as_zero_is_no_data(bycatch, hdus_of, tmp_path):
    """Zeros under zero weight and NaN under zero weight give the same catalog."""
    catalogs = []
    for k, nothing in enumerate((0.0, np.nan)):
        with hdus_of() as hdus:
            hdus["SCI"].data[:, :60] = nothing
            hdus["WHT"].data[:, :60] = 0
            hdus["CTX"].data[:, :60] = 0
            folder = tmp_path / str(k)
            folder.mkdir()
            catalogs.append(run_odd(bycatch, folder, hdus, "--set", "detect.min_coverage=0")[1])
    assert 0 < len(catalogs[0]) == len(catalogs[1])
    for name in catalogs[0].colnames:
        np.testing.assert_array_equal(
            np.ma.filled(catalogs[0][name], 0), np.ma.filled(catalogs[1][name], 0)
        )


def test_counts_of_electrons_are_divided_by_the_time(bycatch, hdus_of, tmp_path, truth):
    with hdus_of() as hdus:
        hdus["SCI"].data *= 1000
        hdus["SCI"].header["BUNIT"] = "ELECTRONS"
        del hdus[0].header["D???OUUN"]
        _, catalog = run_odd(bycatch, tmp_path, hdus, "--set", "input.bunit=electrons")
    same_fluxes(catalog, truth, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".fits.gz", ".fits.fz"])
def test_compressed_files_give_the_same(bycatch, hdus_of, tmp_path, truth, suffix):
    file = tmp_path / f"jodd01010_drc{suffix}"
    with hdus_of() as hdus:
        if suffix == ".fits.gz":
            hdus.writeto(file)
        else:
            planes = [
                fits.CompImageHDU(h.data, h.header, name=h.name, compression_type="GZIP_1",
                                  quantize_level=0)
                for h in hdus[1:]
            ]  # fmt: skip
            fits.HDUList([hdus[0], *planes]).writeto(file)
    out = tmp_path / "out"
    result = bycatch("run", file, "-o", out, "--set", "align.enabled=false")
    assert result.status == 0, result.out + result.err
    same_fluxes(read_table(out / "odd_01/F775W/jodd01010_cat.ecsv"), truth)
    assert (out / f"odd_01/F775W/jodd01010_drc{suffix}").is_symlink()
    assert (out / "odd_01/F775W/jodd01010_drc.mask.fits").exists()


def test_no_sources_is_a_result(bycatch, hdus_of, tmp_path):
    with hdus_of() as hdus:
        noise = np.random.default_rng(5).normal(0, 0.008, hdus["SCI"].data.shape)
        hdus["SCI"].data = noise.astype(np.float32)
        result, catalog = run_odd(bycatch, tmp_path, hdus)
    assert len(catalog) == 0
    radii = Settings().measure.radii_px
    folder = tmp_path / "out/odd_01/F775W"
    for kind, columns in (("sources", SOURCES), ("phot", PHOT), ("cat", CAT), ("cat_noCRs", CAT)):
        table = read_table(folder / f"jodd01010_{kind}.ecsv")
        assert (len(table), table.colnames) == (0, [c.name for c in expand(columns, radii)])
    assert "detect: 0 sources" in result.err


def test_no_sources_in_every_format(bycatch, hdus_of, tmp_path):
    pytest.importorskip("pyarrow")
    with hdus_of() as hdus:
        noise = np.random.default_rng(1).normal(0, 0.008, hdus["SCI"].shape)
        hdus["SCI"].data = noise.astype(np.float32)
        run_odd(bycatch, tmp_path, hdus, "--formats", "fits,csv,parquet,votable")


# ---------------------------------------------------------------- places


def test_a_place_that_cannot_be_written_costs_its_image_only(bycatch, visit, tmp_path):
    out = tmp_path / "out"
    (out / "abc_01").mkdir(parents=True)
    (out / "abc_01" / "F475W").write_text("a file where a folder should be")
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert result.status == 1
    assert "jabc01020_drc.fits: dropped: can't be placed" in result.err
    assert (out / "abc_01/F775W/jabc01010_cat.ecsv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(bycatch, visit, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert result.status == 2
    assert str(out) in result.err


def test_a_full_disk_fails_the_image_and_leaves_nothing_half_written(
    bycatch, visit, tmp_path, monkeypatch
):
    from bycatch.pipeline import writing

    write = writing.write_table

    def full(table, path, *how):
        write(table, path, *how)
        if "jabc01010_phot" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(writing, "write_table", full)
    out = tmp_path / "out"
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert result.status == 1
    assert "failed: jabc01010: " in result.out
    assert "No space left on device" in result.out
    assert "check disk space and permissions" in result.out
    assert "Traceback" not in result.out + result.err
    assert not list(out.rglob(".part*"))
    assert not (out / "abc_01/F775W/jabc01010_phot.ecsv").exists()
    assert (out / "abc_01/F475W/jabc01020_cat.ecsv").exists()
    monkeypatch.undo()
    again = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert again.status == 0
    assert "F775W jabc01010: detect: up to date" in again.err


def test_a_source_that_went_away_is_explained(bycatch, visit, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(visit.raw, raw)
    bycatch("sort", raw, "-o", out)
    (raw / "jabc01010_drc.fits").unlink()
    result = bycatch("detect", out)
    assert result.status == 1
    assert "jabc01010_drc.fits" in result.out
    assert (
        "no longer points to a file - run 'bycatch run' on the file where it is now" in result.out
    )
    assert (out / "abc_01/F475W/jabc01020_sources.ecsv").exists()


def test_a_bug_is_one_image_and_its_traceback_is_in_the_log(bycatch, visit, tmp_path, monkeypatch):
    from bycatch.stages import detect

    real = detect.run

    def buggy(image, settings):
        if image.meta.filter == "F775W":
            raise ZeroDivisionError("oops")
        return real(image, settings)

    monkeypatch.setattr(detect, "run", buggy)
    out = tmp_path / "out"
    result = bycatch("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert result.status == 1
    assert "failed: jabc01010: unexpected error: ZeroDivisionError: oops - " in result.out
    assert "Traceback" not in result.out + result.err
    assert "Traceback" in (out / "bycatch.log").read_text()
    assert (out / "abc_01/F475W/jabc01020_cat.ecsv").exists()


def test_a_damaged_record_says_what_to_remove(bycatch, done):
    state = done / "abc_01/field.json"
    state.write_text("{")
    result = bycatch("finalize", done)
    assert result.status == 1
    assert str(state) in result.err
    assert "remove it and run again" in result.err


# ---------------------------------------------------------------- Ctrl-C


def readable(path):
    """Read a product to its end."""
    if path.suffix == ".ecsv":
        read_table(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif ".fits" in path.name:
        with fits.open(path) as hdus:
            assert len(hdus) > 0
            _ = [h.data for h in hdus]


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_whole_products_and_the_next_run_goes_on(visit, tmp_path, jobs):
    out = tmp_path / "out"
    words = [*COMMAND, "run", visit.raw, "-o", out, "--gaia", visit.gaia, "-j", str(jobs)]
    # A group of its own, as a terminal gives it: Ctrl-C reaches all its processes.
    # A shell's background job ignores Ctrl-C, and so would what the tests start from there.
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        # By name: glob bears no folder that goes meanwhile, as those of drafts do.
        first = [
            out / f"abc_01/{name}_sources.ecsv" for name in ("F475W/jabc01020", "F775W/jabc01010")
        ]
        while not any(path.exists() for path in first) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 130, stdout + stderr
    assert "interrupted; finished work is kept" in stderr
    assert "Traceback" not in stdout + stderr
    assert not list(out.rglob(".part*"))
    for path in out.rglob("*"):
        if path.is_file():
            readable(path)
    again = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert len(list(out.glob("abc_01/*/*_cat.ecsv"))) == 2
