"""Why a position is, or is not, in a catalog: every verdict on finished products."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits

from bycatch import read_table
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import write_table
from bycatch.errors import MissingProduct, SettingsError
from bycatch.pipeline.case import distance_words
from bycatch.pipeline.explanation import Verdict, explain, pixel_at
from bycatch.products import table_extension
from bycatch.user_files.quantities import sky_position

ROOT = "jabc01010"


def one(out, x, y, image=ROOT):
    (explanation,) = explain(out, xy=(x, y), image=image)
    return explanation


def first_row(out):
    (path,) = out.rglob(f"{ROOT}_cat.ecsv")
    return read_table(path)[0]


def test_a_row_of_the_catalog(finished):
    row = first_row(finished)
    result = one(finished, row["x_center"] + 0.5, row["y_center"])
    assert result.verdict is Verdict.IN_CATALOG
    assert result.source_id > 0
    assert "0.50 px away" in result.sentences[0]
    assert "cr_flag 0" in " ".join(result.sentences)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (Flag.LIKELY_COSMIC_RAY, "a likely cosmic ray"),
        (Flag.SPIKE | Flag.SPIKE_PIECE, "a nebula, a trail or a spike"),
        (0, "finalize.clean_min_snr"),
    ],
)
def test_a_row_that_is_not_clean_says_why(done, flags, reason):
    (path,) = done.rglob(f"{ROOT}_cat.ecsv")
    table = read_table(path)
    table["flags"][0] = int(flags)
    write_table(table, path)
    write_table(table[1:], path.with_name(f"{ROOT}_cat_clean.ecsv"))
    text = " ".join(one(done, table["x_center"][0], table["y_center"][0]).sentences)
    assert "not in the clean table" in text
    assert reason in text
    assert "clean table" not in " ".join(
        one(done, table["x_center"][1], table["y_center"][1]).sentences
    )


@pytest.mark.parametrize(("x", "y"), [(-3, 20), (20, 1e6), (239.6, 4)])
def test_off_the_image(finished, x, y):
    result = one(finished, x, y)
    assert result.verdict is Verdict.OFF_IMAGE
    assert "240 x 200" in result.sentences[0]


def test_blank_sky_says_which_threshold_it_would_need(finished, visit):
    yy, xx = np.mgrid[40:160, 40:200]
    places = zip(visit.scene.x, visit.scene.y, strict=True)
    far = np.min([np.hypot(xx - a, yy - b) for a, b in places], axis=0)
    row, column = np.unravel_index(far.argmax(), far.shape)
    result = one(finished, float(xx[row, column]), float(yy[row, column]))
    assert result.verdict is Verdict.TOO_FAINT
    assert "the threshold is 2" in result.sentences[0]
    assert "detect.n_sigma" in result.sentences[0]


def test_a_star_that_was_too_small(done, tmp_path, bycatch):
    """With more pixels needed than a star has, the explanation names the number it has."""
    before = first_row(done)
    result = bycatch("detect", done, "--set", "detect.n_pixels=3000")
    assert result.status == 0, result.err
    for kind in ("cat", "phot"):
        next(done.rglob(f"{ROOT}_{kind}.ecsv")).unlink()
    outcome = one(done, before["x_center"], before["y_center"])
    assert outcome.verdict is Verdict.TOO_SMALL
    text = " ".join(outcome.sentences)
    n = int(text.split("detect.n_pixels would have to be ")[1].split()[0])
    assert f"only {n} connected pixels" in text
    assert bycatch("detect", done, "--set", f"detect.n_pixels={n}").status == 0
    assert one(done, before["x_center"], before["y_center"]).verdict is Verdict.NOT_MEASURED


@pytest.mark.parametrize(
    ("kind", "verdict"), [("removed", Verdict.REMOVED), ("excluded", Verdict.EXCLUDED)]
)
def test_what_was_left_out_has_its_reason(done, kind, verdict):
    from bycatch.catalogs.source_columns import EXCLUDED, REMOVED
    from bycatch.catalogs.tables import empty_table, make_table

    place = {"id": [77], "x": [120.0], "y": [60.0], "reason": ["a good reason"]}
    folder = next(done.rglob(f"{ROOT}_cat.ecsv")).parent
    if kind == "removed":
        blank = {c.name: np.zeros(1) for c in REMOVED if c.name not in place}
        table = make_table(REMOVED, {**blank, **place})
    else:
        table = make_table(EXCLUDED, place)
    assert empty_table(EXCLUDED).colnames
    if kind == "removed":
        with fits.open(folder / f"{ROOT}_segm.fits.gz", mode="update") as hdus:
            hdus["REMOVED"] = table_extension(table, "REMOVED")
    else:
        write_table(table, folder / f"{ROOT}_{kind}.ecsv")
    for name in ("cat", "phot"):
        there = folder / f"{ROOT}_{name}.ecsv"
        rows = read_table(there)
        there.unlink()
        write_table(rows[:0], there)
    result = one(done, 120.4, 60.0)
    assert result.verdict is verdict
    assert result.source_id == 77
    assert "a good reason" in result.sentences[0]


def test_a_pixel_of_another_source(done):
    """A position within a segment, but far from its centre, was not told apart."""
    row = first_row(done)
    path = next(done.rglob(f"{ROOT}_segm.fits.gz"))
    segments = fits.getdata(path)
    label = segments[pixel_at(row["y_center"]), pixel_at(row["x_center"])]
    rows, columns = np.nonzero(segments == label)
    far = np.argmax(np.hypot(columns - row["x_center"], rows - row["y_center"]))
    result = one(done, float(columns[far]), float(rows[far]))
    assert result.verdict is Verdict.MERGED
    assert result.source_id == label
    assert f"segment {label}" in result.sentences[0]


def test_gaps_have_no_data(tmp_path, new_drc, bycatch, scene):
    sci = scene[1].copy()
    sci[100:110] = np.nan
    (tmp_path / "raw").mkdir()
    new_drc(sci).writeto(tmp_path / "raw" / f"{ROOT}_drc.fits")
    out = tmp_path / "out"
    assert bycatch("sort", tmp_path / "raw", "-o", out).status == 0
    with pytest.raises(MissingProduct, match="not detected yet"):
        one(out, 50, 105)
    assert bycatch("detect", out).status == 0
    assert one(out, 50, 105).verdict is Verdict.NO_DATA


def test_the_mask_is_mentioned(done):
    path = next(done.rglob(f"{ROOT}_drc.mask.fits"))
    with fits.open(path) as hdus:
        mask = hdus["CRMASK"].data.copy()
        header = hdus["CRMASK"].header
    mask[:] = 1
    path.unlink()
    fits.PrimaryHDU(mask, header).writeto(path)
    assert "cosmic-ray mask" in one(done, 100, 100).sentences[-1]


# ---------------------------------------------------------------- positions on the sky, images


def test_a_direction_is_looked_up_in_all_images(finished, visit):
    ra, dec = (float(v) for v in visit.wcs.all_pix2world(visit.scene.x[3], visit.scene.y[3], 0))
    explanation = explain(finished, radec=(str(ra), str(dec)))
    assert sorted(e.image for e in explanation) == [ROOT, "jabc01020"]
    assert {e.verdict for e in explanation} == {Verdict.IN_CATALOG}
    only = explain(finished, radec=(str(ra), str(dec)), image="F475W")
    assert [e.image for e in only] == ["jabc01020"]


@pytest.mark.parametrize("where", [("10.0", "40.0"), ("216.92", "8.47")])
def test_a_direction_that_no_image_covers(finished, where):
    explanation = explain(finished, radec=where)
    assert [e.verdict for e in explanation] == [Verdict.OFF_IMAGE] * 2
    # It says how far, and the nearest image first.
    far = [float(re.search(r"centre of the image is ([\d.]+) deg away", e.sentences[-1])[1])
           for e in explanation]  # fmt: skip
    assert far == sorted(far)
    assert far[0] > 1


def test_a_position_beside_the_image_says_how_far(finished):
    (explanation,) = explain(finished, xy=(-30.5, 40), image=ROOT)
    assert re.search(r"30 px \(1\.5 arcsec\) from its nearest edge", explanation.sentences[0])
    (explanation,) = explain(finished, xy=(-1, 40), image=ROOT)
    assert "0.5 px" in explanation.sentences[0]
    assert distance_words(0.5) == "30.0 arcmin"
    assert distance_words(2.25) == "2.2 deg"


def test_positions_may_be_sexagesimal():
    assert sky_position("10:00:24", "+02:12:00") == pytest.approx((150.1, 2.2))
    assert sky_position("10h00m24s", "-2d12m") == pytest.approx((150.1, -2.2))
    assert sky_position("150.1", "-0.5") == pytest.approx((150.1, -0.5))
    assert sky_position("-10", "0") == pytest.approx((350.0, 0.0))


@pytest.mark.parametrize(
    ("ra", "dec", "match"),
    [("here", "there", "not a position"), ("10", "95", "poles"), ("", "1", "not a position")],
)
def test_what_is_no_position(ra, dec, match):
    with pytest.raises(SettingsError, match=match):
        sky_position(ra, dec)


def test_wrong_questions(finished, tmp_path):
    with pytest.raises(SettingsError, match="2 images have pixels"):
        explain(finished, xy=(3, 4))
    with pytest.raises(SettingsError, match="no image 'F999W'"):
        explain(finished, xy=(3, 4), image="F999W")
    with pytest.raises(SettingsError, match="give one position"):
        explain(finished)
    with pytest.raises(SettingsError, match="give one position"):
        explain(finished, xy=(1, 2), radec=("1", "2"))
    with pytest.raises(SettingsError, match="no image in it"):
        explain(tmp_path, xy=(3, 4))


def test_the_command(finished, bycatch):
    row = first_row(finished)
    where = ("--xy", row["x_center"], row["y_center"])
    result = bycatch("explain", finished, *where, "--image", ROOT)
    assert result.status == 0
    assert "in the catalog" in result.out
    away = bycatch("explain", finished, "--radec", "10:00:00", "-20:00:00")
    assert away.status == 0
    assert "off the image" in away.out
    assert bycatch("explain", finished, *where).status == 2
    assert bycatch("explain", finished).status == 2


def test_nothing_is_changed(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    one(finished, 100, 100)
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
    assert all(json.loads(p.read_text()) for p in finished.rglob("field.json"))
