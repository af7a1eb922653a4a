"""What the page says to look at: equal warnings once, what helps, and how deep the catalog is."""

import pytest

from bycatch.report.findings import (
    BAD,
    NOTE,
    REMEDIES,
    WARN,
    Place,
    group_findings,
    kind_of,
    remedy_of,
)
from bycatch.report.overview import WORTH_MAG, WORTH_MMAG, overview
from bycatch.report.products import read_folder
from bycatch.settings import walk


def test_equal_warnings_of_many_images_are_one_with_a_count():
    crowded = "crowded: sources cover {} % of the image: measure the loss"
    results = [(WARN, Place(f"f/F606W/r{k}", f"r{k}", crowded.format(20 + k))) for k in range(40)]
    results += [
        (BAD, Place("", "x_drc.fits", "not a FITS file")),
        (WARN, Place("f/F475W/a", "a", "a drz file: not corrected for charge-transfer losses")),
    ]
    first, second, third = group_findings(results)
    assert (first.level, len(first.places)) == (BAD, 1)
    assert (second.text, len(second.places)) == (crowded.format(20), 40)
    assert not second.is_same
    assert third.remedy == "fetch the drc file of the same name"
    assert third.is_same


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("grade D: 3 stars, odds 1e-4", "grade D: 12 stars, odds 3.5e-11", True),
        ("grade D: 3 stars", "grade E: 3 stars", False),
        ("the filter card says F606W", "the filter card says F814W", True),
        ("dropped: /data/a_drc.fits: cut short", "dropped: /other/b_drc.fits: cut short", True),
        ("off by +2.5 %", "off by -0.7 %", True),
        ("a trail crosses the image", "2 trails cross the image", False),
        ("p_star of 3 stars", "p_cr of 3 stars", False),
        (
            "grade F: 1 pair may be chance: odds 1; tried: 8 Gaia stars; left out: 1 elongated",
            "grade F: 2 pairs may be chance: odds 0.8; tried: 1 Gaia star",
            True,
        ),
    ],
)
def test_warnings_are_equal_but_for_numbers_filters_and_files(a, b, same):
    assert (kind_of(a) == kind_of(b)) == same


def test_remedies_name_settings_that_exist():
    names = {f"{section}.{name}" for section, name, _ in walk()}
    for text in REMEDIES.values():
        for word in text.replace("=VALUE", "").split():
            if word.count(".") == 1 and word.split(".")[0] in {"input", "align", "detect"}:
                assert word.rstrip(",.") in names, word
    assert remedy_of("lost: its worker died") == "run again: what is done stays"
    assert remedy_of("a trail crosses the image: leave out rows flagged trail") == ""


def summary(stage, **values):
    return lambda record: record["stages"][stage]["summary"].update(values)


@pytest.mark.parametrize(("off_mmag", "said"), [(4.0, False), (-9.9, False), (12.0, True)])
def test_a_zero_point_off_by_less_than_ten_millimagnitudes_is_no_warning(
    done, change_record, off_mmag, said
):
    assert WORTH_MMAG == 10
    note = "PHOTFLAM 7e-20 comes from an outdated calibration: it differs from the expected"
    change_record(
        done, "jabc01010",
        summary("finalize", zeropoint_audit_mmag=off_mmag, calibration_notes=[note]),
    )  # fmt: skip
    results = [f for f in overview(read_folder(done)).findings if f.text == note]
    assert bool(results) == said
    assert all("input.photflam" in f.remedy for f in results)


@pytest.mark.parametrize(("deep", "said"), [(24.0 + WORTH_MAG, True), (24.4, False)])
def test_a_preset_that_would_reach_deeper_is_named(done, change_record, deep, said):
    for root in ("jabc01010", "jabc01020"):
        values = {"reach_mag": 24.0, "reach_of_presets_mag": {"classic": 24.0, "deep": deep}}
        change_record(done, root, summary("detect", **values))
    page = overview(read_folder(done))
    results = [f for f in page.findings if f.text.startswith("the preset deep reaches")]
    assert [(f.level, len(f.places), f.remedy) for f in results] == (
        [(NOTE, 2, "run with --preset deep")] if said else []
    )
    # It is no problem.
    assert not any(text.startswith("the preset") for _, _, text in page.problems)
    assert {row.cells["reach"].text for row in page.images} == {"24.00"}


def test_a_wider_search_is_not_proposed_without_stars():
    words = "alignment of grade E: {}"
    assert "max_shift" in remedy_of(words.format("2 pairs may be chance"))
    assert remedy_of(words.format("no reference stars")) == "give stars with --gaia FILE"
