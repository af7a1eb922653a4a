"""The alignment on a small simulated visit, by the benchmark's own trials and criteria."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bycatch.settings import AlignSettings
from bycatch.simulate.geometry import header_wcs, output_grid
from bycatch.tangent import tangent_mas


def _benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "alignment.py"
    spec = importlib.util.spec_from_file_location("alignment_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


alignment = _benchmark()

TINY = alignment.Plan(
    "tiny",
    {
        "n_columns": 700,
        "n_rows": 330,
        "filters": ("F475W", "F625W"),
        "n_exposures": (2, 1),
        "stars_per_arcmin2": 700.0,
        "galaxies_per_arcmin2": 50.0,
        "mag_faint": 25.0,
        "seed": 31,
    },
)
# All kinds, and every number of stars up to 8 that the visit has.
SEEDS = (0, 1, 3, 6, 8, 11, 13, 16, 18, 21, 23, 26, 28)


@pytest.fixture(scope="module")
def pool():
    return alignment.build_visits(TINY)


@pytest.fixture(scope="module")
def outcomes(pool):
    return [
        alignment.run_trial(alignment.make_trial(pool, seed), AlignSettings()) for seed in SEEDS
    ]


# ---------------------------------------------------------------- quality


def test_no_alignment_is_wrong_unnoticed(outcomes):
    assert [alignment.describe(o) for o in outcomes if o.wrong] == []


def test_stars_from_elsewhere_align_nothing(pool):
    for seed in (0, 5, 10, 15):
        trial = alignment.make_trial(pool, seed)
        assert trial.kind == "elsewhere"
        outcome = alignment.run_trial(trial, AlignSettings())
        assert set(outcome.grades) <= set("EF"), alignment.describe(outcome)


def test_five_stars_suffice(outcomes):
    enough = [o for o in outcomes if o.n_stars >= 5 and o.kind != "elsewhere"]
    assert len(enough) >= 4
    assert [alignment.describe(o) for o in enough if not o.aligned] == []


def test_frames_are_as_right_as_the_stars_allow(outcomes):
    fields, images = alignment.ratios([o for o in outcomes if o.aligned])
    # The larger of 4 mas and 1.2 times the formal error; twice that for each image.
    assert len(fields) >= 4
    assert np.sqrt(np.mean(fields**2)) < 1.0
    assert np.sqrt(np.mean(images**2)) < 1.0


def test_stated_errors_are_honest(outcomes):
    pulls = np.concatenate([o.pulls for o in outcomes if o.kind != "elsewhere"])
    # A dozen trials with the centroids of one visit: the width is good to a factor of 1.7; with few
    # stars the stated error holds what a distortion may still be, too.
    assert 0.4 < alignment.robust_width(pulls) < 1.7


def test_images_agree_with_each_other(outcomes):
    pairs = [o for o in outcomes if len(o.grades) == 2 and o.aligned]
    assert pairs
    assert max(o.apart_mas for o in pairs) < 5.0


# ---------------------------------------------------------------- the benchmark itself


def test_a_trial_is_the_same_whatever_was_done_before(pool):
    first, again = alignment.make_trial(pool, 13), alignment.make_trial(pool, 13)
    np.testing.assert_array_equal(first.reference.table["ra"], again.reference.table["ra"])
    np.testing.assert_array_equal(first.images[0].wcs.wcs.crval, again.images[0].wcs.wcs.crval)
    assert not np.array_equal(
        first.images[0].wcs.wcs.crval, alignment.make_trial(pool, 18).images[0].wcs.wcs.crval
    )


def test_trials_have_the_numbers_of_stars_that_were_asked_for(pool):
    seeds = (3, 8, 13, 18, 23)
    field_alignment = [alignment.make_trial(pool, seed).n_stars for seed in seeds]
    assert field_alignment == [0, 1, 2, 3, 5]
    # This pool has nothing crowded.
    kinds = [alignment.make_trial(pool, seed).kind for seed in range(5)]
    assert kinds == ["elsewhere", "single", "field", "field", "field"]


def test_headers_are_off_by_what_was_promised(pool):
    shifts, rolls, differences, largest = [], [], [], []
    for seed in range(3, 203, 5):
        trial = alignment.make_trial(pool, seed)
        own = []
        for image, true in zip(trial.images, trial.true_wcs, strict=True):
            at = [*(true.wcs.crpix - 1.0)]
            up = [at[0], at[1] + 1000.0]
            (ra, dec), (ra0, dec0) = (w.all_pix2world(*at, 0) for w in (image.wcs, true))
            own.append(tangent_mas(ra, dec, ra0, dec0)[0])
            angles = []
            for wcs in (image.wcs, true):
                start, end = wcs.all_pix2world(*at, 0), wcs.all_pix2world(*up, 0)
                angles.append(np.arctan2(*tangent_mas(*end, *start)[0]))
            rolls.append(np.degrees(angles[0] - angles[1]))
        shifts.append(np.hypot(*own[0]) / 1000.0)
        differences.append(np.hypot(*(own[1] - own[0])))
        largest += [np.hypot(*one) / 1000.0 for one in own]
    assert 2.0 < max(shifts) <= 3.0
    assert 0.2 < np.abs(rolls).max() <= 0.3001
    assert np.mean(np.array(differences) > 50.1) == pytest.approx(0.1, abs=0.1)
    assert max(differences) <= 1000.1
    assert max(largest) <= 3.001


def test_the_wrong_wcs_is_that_of_the_simulator(pool):
    settings = TINY.settings().replace(
        pointing_error_ra_arcsec=1.5, pointing_error_dec_arcsec=-2.0, roll_error_deg=0.25
    )
    image = pool[0].images[0]
    mine = image.wcs(1500.0, -2000.0, 0.25)
    theirs = header_wcs(settings, output_grid(settings, 2))
    x, y = np.array([0.0, 690.0, 350.0]), np.array([0.0, 30.0, 650.0])
    np.testing.assert_allclose(
        mine.all_pix2world(x, y, 0), theirs.all_pix2world(x, y, 0), rtol=0, atol=1e-9
    )


def test_errors_of_a_frame_are_those_it_was_given(pool):
    trial = alignment.make_trial(pool, 8)
    nothing = alignment.run_trial(trial, AlignSettings(enabled=False))
    assert set(nothing.grades) == {"F"}
    assert not nothing.wrong
    assert not nothing.aligned
    true = trial.true_wcs[0]
    image = pool[0].images[0]
    result = replace(
        alignment.align.run(trial.images, None, AlignSettings(enabled=False)).images[0],
        wcs=image.wcs(40.0, -30.0),
    )
    offset, _ = alignment.frame_errors_mas(result, true, image.shape)
    np.testing.assert_allclose(offset, np.tile([40.0, -30.0], (25, 1)), atol=0.05)


def test_wrong_alignments_are_counted(outcomes):
    good = next(o for o in outcomes if o.aligned)
    n = len(good.grades)
    far = replace(good, error_mas=(31.0,) * n, stated_mas=(2.0,) * n)
    assert far.wrong
    assert not replace(far, grades="F" * n).wrong
    assert not replace(far, stated_mas=(7.0,) * n).wrong
    assert not replace(far, error_mas=(29.0,) * n).wrong
    assert replace(good, kind="elsewhere").wrong
    failed = [c for c in alignment.criteria([good, far]) if not c.met]
    assert any("wrong" in c.name and far.seed in c.seeds for c in failed)


def test_lost_and_inaccurate_fields_fail_the_criteria(outcomes):
    good = next(o for o in outcomes if o.aligned and o.n_stars >= 5)
    n = len(good.grades)
    lost = replace(good, grades="F" * n)
    assert any("at least 99 %" in c.name and not c.met for c in alignment.criteria([good, lost]))
    off = replace(good, field_mas=2.0 * good.criterion_mas)
    assert any("of the field" in c.name and not c.met for c in alignment.criteria([off]))
    off = replace(good, image_mas=3.0 * good.criterion_mas)
    assert any("worst image" in c.name and not c.met for c in alignment.criteria([off]))
    bragging = replace(good, pulls=np.random.default_rng(1).normal(0, 2, 500))
    assert any("width" in c.name and not c.met for c in alignment.criteria([bragging]))


def test_the_criterion_follows_from_the_stars(outcomes):
    one = outcomes[0]
    for n, formal, limit in ((4, 1.0, np.inf), (5, 1.0, 4.0), (8, 10.0, 12.0), (20, 0.3, 1.0)):
        assert replace(one, n_stars=n, formal_mas=formal).criterion_mas == pytest.approx(limit)


def test_the_robust_width_is_that_of_a_gaussian_core():
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(0, 1.3, 20_000), random.normal(0, 300, 100)])
    assert alignment.robust_width(values) == pytest.approx(1.3, rel=0.03)
    assert np.isnan(alignment.robust_width(np.empty(0)))


def test_the_table_has_a_line_per_group(outcomes):
    lines = alignment.table(outcomes)
    assert len({line.count("|") for line in lines}) == 1
    groups = {alignment.group_of(o) for o in outcomes}
    assert len(lines) == 2 + len(groups)
    assert sum(int(line.split("|")[3]) for line in lines[2:]) == len(outcomes)


def test_many_stars_without_pixels_are_aligned():
    trial = alignment.crowd(600, 200)
    outcome = alignment.run_trial(trial, AlignSettings())
    assert outcome.grades == "AA"
    assert outcome.field_mas < 1.0


def test_the_pool_is_simulated_once(tmp_path, monkeypatch):
    plan = replace(TINY, simulate={**TINY.simulate, "n_columns": 200, "n_rows": 150, "gap_px": 0})
    first = alignment.load_pool(tmp_path, [plan])
    monkeypatch.setattr(alignment, "_build", None)
    again = alignment.load_pool(tmp_path, [plan])
    assert len(list(tmp_path.iterdir())) == 1
    assert again[0].images[0].shape == first[0].images[0].shape
    np.testing.assert_array_equal(again[0].objects.ra_deg, first[0].objects.ra_deg)
