"""Sorting: names, headers, products to leave out, and files that collide."""

from pathlib import Path

import pytest

from bycatch.images.headers import headers_of
from bycatch.images.meta import image_meta
from bycatch.settings import SortSettings
from bycatch.stages import sort
from bycatch.stages.sort import Candidate, facts_of, field_of, hap_product, is_image_name


@pytest.fixture
def candidate(new_drc):
    """Return a function that makes a candidate; nothing is written to disk."""
    import numpy as np

    def make(name, exposures=("jabc01aaq",), folder="in", content="", rootname="", **options):
        hdus = new_drc(np.ones((4, 5), dtype=np.float32), **options)
        head = hdus[0].header
        for key in [k for k in head if k.startswith("D00")]:
            del head[key]
        for k, exposure in enumerate(exposures):
            head[f"D{k + 1:03d}DATA"] = f"{exposure}_flc.fits[sci,1]"
        if rootname:
            head["ROOTNAME"] = rootname
        path = Path(folder) / name
        return Candidate(path, facts_of(image_meta(headers_of(path, hdus))), content=content)

    return make


def placed(plan):
    return {str(p.path): f"{p.folder.as_posix()}/{p.name}" for p in plan.placements}


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("jdgq11020_drc.fits", "dgq_11/F775W/jdgq11020_drc.fits"),
        ("jcmdp9010_drc.fits.gz", "cmd_p9/F775W/jcmdp9010_drc.fits.gz"),
        ("jbyn02030_drz.fits.fz", "byn_02/F775W/jbyn02030_drz.fits.fz"),
        ("JDGQ11020_DRC.FITS", "dgq_11/F775W/JDGQ11020_DRC.FITS"),
        ("jdgq11a1q_drc.fits", "dgq_11/F775W/jdgq11a1q_drc.fits"),
        ("jdgq11020.fits", "dgq_11/F775W/jdgq11020.fits"),
        (
            "hst_13711_p9_acs_wfc_f775w_jcmdp9_drc.fits",
            "cmd_p9/F775W/hst_13711_p9_acs_wfc_f775w_jcmdp9_drc.fits",
        ),
    ],
)
def test_names_give_program_and_visit(candidate, name, place):
    plan = sort.run([candidate(name)])
    assert list(placed(plan).values()) == [place]
    assert plan.skipped == ()


@pytest.mark.parametrize(
    "stem",
    [
        "cosmos_147246_F814W_sci",
        "jewel_box_sci",
        "jdgq1102_drc",
        "xjdgq11020_drc",
        "hst_9822_0l_acs_wfc_f814w_drz",
        "jdgq110200_drc",
    ],
)
def test_other_names_say_nothing(candidate, stem):
    facts = candidate(stem + ".fits", exposures=()).facts
    assert field_of(stem, facts.exposures) == ""


def test_the_header_decides_where_the_name_says_nothing(candidate):
    by_rootname = candidate("any.fits", rootname="jdgq11020_drc.fits")
    by_exposures = candidate("other.fits", exposures=("jdgq12a1q", "jdgq12a3q"))
    plan = sort.run([by_rootname, by_exposures])
    assert [p.field for p in plan.placements] == ["dgq_11", "dgq_12"]


def test_exposures_of_hap_names_show_the_visit(candidate):
    one = candidate("cut_sci.fits", exposures=("12440_07_acs_wfc_f606w_01_jboa07y3q",))
    assert sort.run([one]).placements[0].field == "boa_07"


def test_exposures_of_several_visits_show_nothing(candidate):
    mixed = candidate("mosaic.fits", exposures=("jdgq12a1q", "jdgq13a3q"))
    plan = sort.run([mixed])
    assert plan.placements == ()
    assert plan.skipped[0].bad
    assert "--field NAME" in plan.skipped[0].reason
    named = sort.run([mixed], SortSettings(field="my_field"))
    assert named.placements[0].field == "my_field"


def test_a_name_of_the_user_wins(candidate):
    plan = sort.run([candidate("jdgq11020_drc.fits")], SortSettings(field="ngc"))
    assert list(placed(plan).values()) == ["ngc/F775W/jdgq11020_drc.fits"]


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("jdgq11020_drc.fits", True),
        ("jdgq11020_drz.fits.gz", True),
        ("JDGQ11020_DRC.FITS", True),
        ("anything.fits", True),
        ("a_sci.fits", True),
        ("a_wht.fits", False),
        ("jdgq11a1q_flc.fits", False),
        ("jdgq11a1q_flt.fits.gz", False),
        ("jdgq11020_asn.fits", False),
        ("jdgq11020_trl.fits", False),
        ("jdgq11020_drc.jpg", False),
        ("jdgq11020_drc.mask.fits", False),
        ("jdgq11020_segm.fits.gz", False),
        ("jdgq11020_wcs.fits", False),
        ("jdgq11020_cat.fits", False),
        ("jdgq11020_cat_noCRs.fits", False),
        ("jdgq11020_sources.ecsv", False),
        ("jdgq11020_drc.fits.part", False),
        ("hlet_jdgq11a1q_hlet.fits", False),
    ],
)
def test_what_may_be_an_image(name, is_image):
    assert is_image_name(Path("x") / name) is is_image


# ---------------------------------------------------------------- products to leave out


@pytest.mark.parametrize(
    ("stem", "why"),
    [
        ("hst_13711_p9_acs_wfc_f475w_jcmdp9_drc", ""),
        ("hst_13711_p9_acs_wfc_total_jcmdp9_drc", "'total'"),
        ("HST_13711_P9_ACS_WFC_TOTAL_JCMDP9_DRC", "'total'"),
        ("hst_13711_p9_acs_wfc_f475w_jcmdp9zj_drc", "one exposure"),
        ("hst_13711_p9_acs_wfc_f475w_jcmdp9zjq_drc", "one exposure"),
        ("hst_skycell-p1889x07y19_acs_wfc_f606w_all_drc", "sky cell"),
        ("jcmdp9010_drc", ""),
    ],
)
def test_hap_products(stem, why):
    reason = hap_product(stem)
    assert bool(reason) is bool(why)
    assert why in reason


def test_products_are_skipped_without_being_bad(candidate):
    total = Candidate(Path("hst_1_p9_acs_wfc_total_jcmdp9_drc.fits"), None, "no filter")
    plan = sort.run([total, candidate("jcmdp9010_drc.fits")])
    assert len(plan.placements) == 1
    assert [s.bad for s in plan.skipped] == [False]


def test_unusable_files_are_skipped_as_bad_with_their_problem(candidate):
    broken = Candidate(Path("jdgq11020_drc.fits"), None, "truncated")
    plan = sort.run([broken, candidate("jcmdp9010_drc.fits")])
    assert len(plan.placements) == 1
    assert (plan.skipped[0].reason, plan.skipped[0].bad) == ("truncated", True)


def test_of_a_drc_and_a_drz_the_drc_is_used(candidate):
    pair = [candidate("jdgq11020_drz.fits"), candidate("jdgq11020_drc.fits")]
    for order in (pair, pair[::-1]):
        plan = sort.run(order)
        assert [p.name for p in plan.placements] == ["jdgq11020_drc.fits"]
        assert plan.skipped[0].path.name == "jdgq11020_drz.fits"
        assert not plan.skipped[0].bad


def test_a_drz_alone_is_used(candidate):
    plan = sort.run([candidate("jdgq11020_drz.fits"), candidate("jdgq11030_drc.fits")])
    assert len(plan.placements) == 2


def test_a_broken_drc_does_not_hide_its_drz(candidate):
    broken = Candidate(Path("jdgq11020_drc.fits"), None, "truncated")
    plan = sort.run([broken, candidate("jdgq11020_drz.fits")])
    assert [p.name for p in plan.placements] == ["jdgq11020_drz.fits"]


def test_one_exposure_that_another_image_contains_is_skipped(candidate):
    whole = candidate("jdgq11020_drc.fits", exposures=("jdgq11a1q", "jdgq11a3q"))
    part = candidate("jdgq11a1q_drc.fits", exposures=("jdgq11a1q", "jdgq11a1q"))
    other_filter = candidate(
        "jdgq11a3q_drc.fits", exposures=("jdgq11a3q",), filters=("F475W", "CLEAR2L")
    )
    plan = sort.run([part, whole, other_filter])
    assert [p.name for p in plan.placements] == ["jdgq11020_drc.fits", "jdgq11a3q_drc.fits"]
    assert "part of jdgq11020_drc.fits" in plan.skipped[0].reason


def test_a_single_exposure_alone_is_used(candidate):
    assert len(sort.run([candidate("jdgq11a1q_drc.fits")]).placements) == 1


def test_a_hap_product_of_the_same_exposures_is_left_out(candidate):
    """MAST offers both, and objects took them for independent: errors too small by a root of 2."""
    exposures = ("jcmdp9a1q", "jcmdp9a3q", "jcmdp9a5q")
    hap = candidate("hst_13711_p9_acs_wfc_f775w_jcmdp9_drc.fits", exposures=exposures)
    one = candidate("jcmdp9010_drc.fits", exposures=exposures[:2])
    two = candidate("jcmdp9020_drc.fits", exposures=exposures[2:])
    assert [p.path for p in sort.run([hap]).placements] == [hap.path]
    plan = sort.run([hap, one, two])
    assert [p.path for p in plan.placements] == [one.path, two.path]
    assert "those of jcmdp9010_drc.fits, jcmdp9020_drc.fits" in plan.skipped[0].reason
    assert [p.path for p in sort.run([one, hap]).placements] == [one.path, hap.path]


# ---------------------------------------------------------------- collisions


def test_true_copies_are_used_once(candidate):
    one = candidate("jdgq11020_drc.fits", folder="a", content="abc")
    two = candidate("jdgq11020_drc.fits", folder="b", content="abc")
    plan = sort.run([one, two, one])
    assert len(plan.placements) == 1
    assert [s.reason for s in plan.skipped] == ["the same file as a/jdgq11020_drc.fits"] * 2


def test_different_files_of_one_name_are_both_kept_and_reported(candidate):
    files = [
        candidate("jdgq11020_drc.fits", folder=f, content=c)
        for f, c in (("a", "1"), ("b", "2"), ("c", "3"))
    ]
    plan = sort.run(files)
    names = [p.name for p in plan.placements]
    assert names == ["jdgq11020_drc.fits", "jdgq11020-2_drc.fits", "jdgq11020-3_drc.fits"]
    assert plan.placements[0].note == ""
    assert "a/jdgq11020_drc.fits; both are kept" in plan.placements[1].note


def test_one_root_in_two_compressions_lands_in_two_places(candidate):
    # Products are named after the root, so two of a kind would overwrite each other.
    files = [
        candidate("jdgq11020_drc.fits", content="1"),
        candidate("jdgq11020_drc.fits.gz", content="2"),
    ]
    stems = [p.stem for p in sort.run(files).placements]
    assert len(set(stems)) == 2


def test_names_that_a_collision_would_get_are_not_taken_twice(candidate):
    files = [
        candidate("jdgq11020-2_drc.fits", folder="a", content="0", rootname="jdgq11020"),
        candidate("jdgq11020_drc.fits", folder="b", content="1"),
        candidate("jdgq11020_drc.fits", folder="c", content="2"),
    ]
    places = list(placed(sort.run(files)).values())
    assert len(set(places)) == 3


def test_the_same_name_in_two_filters_does_not_collide(candidate):
    plan = sort.run(
        [
            candidate("jdgq11020_drc.fits", folder="a"),
            candidate("jdgq11020_drc.fits", folder="b", filters=("F475W", "CLEAR2L")),
        ]
    )
    assert [p.note for p in plan.placements] == ["", ""]


def test_nothing_gives_an_empty_plan():
    plan = sort.run([])
    assert plan.placements == plan.skipped == ()


def test_the_plan_is_pure(candidate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [candidate("jdgq11020_drc.fits"), candidate("any.fits", exposures=())]
    assert sort.run(files) == sort.run(list(files))
    assert not list(tmp_path.iterdir())
