"""What one image says of another, of artificial sources, positions and itself: the limits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from bycatch import photcal
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.injection_columns import INJECT
from bycatch.catalogs.tables import make_table, read_table
from bycatch.kernels.blocks import covered_blocks
from bycatch.pipeline import dry_run, explanation, export, injection, reference
from bycatch.pipeline.explanation import Verdict, explain
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.inspection import inspect
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.other_images import other_images
from bycatch.pipeline.workbench import Workbench
from bycatch.products import (
    FieldFolder,
    find_records,
    read_extension,
    read_field,
    table_extension,
)
from bycatch.report import page
from bycatch.report.overview import BAD, WARN, overview
from bycatch.report.products import read_folder
from bycatch.settings import Settings
from bycatch.simulate import recovery, trial

RED, BLUE = "jabc01010", "jabc01020"


def record_of(out, root):
    return next(record for record in find_records(out) if record.root == root)


# ---------------------------------------------------------------- the field's other images


def seen_of(out, root=BLUE):
    """The detections of one image that count for the other."""
    record = record_of(out, root)
    wcs = read_frame(record.paths(out).wcs).wcs
    (view,) = other_images([bench(out, root)], wcs, np.array([50.0]), np.array([50.0]))
    return view


def bench(out, root):
    """An image with its products, as on the disk."""
    folder = FieldFolder(out, read_field(out, "abc_01"))
    record = next(record for record in folder.state.images if record.root == root)
    return Workbench(folder, ImageJob(out, record, Settings()))


def rewrite_mask(out, root, change):
    """Change the file of the mask, as if it had been written so."""
    image = bench(out, root)
    with fits.open(image.paths.mask, mode="update") as hdus:
        change(hdus)
    image.record.add_output("crmask", image.paths.mask)
    image.folder.write()


def rewrite(out, change):
    """Change the shares on the mask, as if they had been written so."""
    path = record_of(out, BLUE).paths(out).mask
    table = read_extension(path, "CRSHARE")
    change(table)

    def put(hdus):
        hdus["CRSHARE"] = table_extension(table, "CRSHARE", table.meta)

    rewrite_mask(out, BLUE, put)


@pytest.mark.parametrize(("share", "counts"), [(0.5, True), (0.51, False)])
def test_a_detection_of_which_half_is_on_the_mask_says_nothing_of_other_images(done, share, counts):
    rewrite(done, lambda table: table.replace_column("on_cr_mask", np.zeros(len(table))))
    everything = len(seen_of(done).x)

    def first(table):
        table["on_cr_mask"][0] = share

    rewrite(done, first)
    assert len(seen_of(done).x) == everything - (not counts)


def everywhere_on_the_mask(table):
    table["on_cr_mask"] = np.ones(len(table))


def stale(table):
    everywhere_on_the_mask(table)
    table.meta["KEY"] = "of an earlier run"


@pytest.mark.parametrize(("change", "counts"), [(everywhere_on_the_mask, False), (stale, True)])
def test_shares_of_an_earlier_run_are_not_believed(done, change, counts):
    """Then they are computed from segments and mask, on which nothing lies here."""
    paths = record_of(done, BLUE).paths(done)
    n = len(read_table(paths.product("sources")))
    rewrite(done, change)
    assert len(seen_of(done).x) == (n if counts else 0)


def test_blocks_are_sixteen_pixels_wide():
    valid = np.ones((48, 64), bool)
    valid[16, 31] = False
    expected = np.ones((3, 4))
    expected[1, 1] = 0
    np.testing.assert_array_equal(covered_blocks(valid), expected)


def test_a_position_belongs_to_the_block_of_its_pixel(done):
    """Pixel 15 ends the first block at 15.5."""
    paths = record_of(done, BLUE).paths(done)

    def change(hdus):
        hdus["COVERAGE"].data[:] = 0
        hdus["COVERAGE"].data[1, 2] = 1

    rewrite_mask(done, BLUE, change)
    wcs = read_frame(paths.wcs).wcs
    x = np.array([31.45, 31.55, 47.45, 47.55, 40.0, 40.0])
    y = np.array([20.0, 20.0, 20.0, 20.0, 15.45, 31.55])
    (view,) = other_images([bench(done, BLUE)], wcs, x, y)
    assert view.covers.tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("settings", "margin"),
    [({}, 3 + np.deg2rad(0.3) * 1080 + 10), ({"max_roll_deg": 0.0}, 13.0),
     ({"max_shift_arcsec": 1.0, "max_roll_deg": 0.0}, 11.0)],
)  # fmt: skip
def test_stars_are_asked_for_as_far_as_pointing_roll_and_motion_reach(visit, settings, margin):
    """The shift, the roll about a guide star 0.3 deg away, and 10 arcsec."""
    setup = Settings().align.replace(**settings)
    images = sorted(visit.raw.glob("*.fits"))
    bare = reference.field_cone(images, 0.0)
    cone = reference.field_cone(images, reference.margin_arcsec(setup))
    assert 3600 * (cone.radius - bare.radius) == pytest.approx(margin, abs=1e-6)
    # The bare circle ends at the corners' pixels: 200 x 240 of 0.05 arcsec.
    assert 3600 * bare.radius == pytest.approx(0.025 * np.hypot(199, 239), rel=1e-4)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.0), (359.99, 60.0), (200.0, -85.0)])
@pytest.mark.parametrize(("share", "is_near"), [(0.99, True), (1.01, False)])
def test_stars_of_a_table_count_within_the_circle(ra, dec, share, is_near):
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(ra, dec, unit="deg")
    places = centre.directional_offset_by(
        np.arange(0, 360, 45) * u.deg, np.full(8, 0.05 * share) * u.deg
    )
    stars = SimpleNamespace(table={"ra": places.ra.deg, "dec": places.dec.deg})
    near = reference._within(stars, reference.Cone(ra, dec, 0.05))
    assert near.tolist() == [is_near] * 8


def test_the_clean_catalogs_leave_out_what_their_names_say(tmp_path, write_drc, scene, bycatch):
    """Stars, and pixels that cosmic rays hit, of a single exposure."""
    sci = scene[1]
    is_hit = np.array([[37, 55], [120, 90], [200, 160], [240, 250], [90, 250], [10, 100]])
    sci = 10 * sci
    sci[is_hit[:, 1], is_hit[:, 0]] += 40.0
    drc = write_drc("jabc01010_drc.fits", sci, n_exposures=1)
    small = ("--set", "detect.n_pixels_single=1", "--set", "detect.kernel_fwhm_px=0.5")
    result = bycatch(
        "run", drc, "-o", tmp_path / "out", "--offline", "--preset", "deep", *small
    )  # fmt: skip
    assert result.status == 0, result.out + result.err
    paths = record_of(tmp_path / "out", RED).paths(tmp_path / "out")
    every, catalog, clean = (
        read_table(paths.product(kind)) for kind in ("cat", "cat_noCRs", "cat_clean")
    )
    likely = (np.asarray(every["flags"]) & int(Flag.LIKELY_COSMIC_RAY)) > 0
    assert 0 < likely.sum() < len(every)
    np.testing.assert_array_equal(likely, np.ma.filled(every["p_cr"], 0) > 0.9)
    has_light = ~(np.ma.filled(every["snr_2"], np.nan) < 3.0)
    assert clean["id"].tolist() == every["id"][~likely & has_light].tolist()
    assert catalog["id"].tolist() == every["id"][every["cr_flag"] == 0].tolist()
    assert 0 < len(catalog) < len(every)


def test_copies_are_counted_in_the_disk_space(visit, tmp_path):
    sizes = {}
    for words in ((), ("sort.mode=copy",), ("output.write_wcs=true",)):
        settings = Settings.load(assignments=words)
        planned, _ = dry_run(visit.raw, tmp_path / "out", settings)
        sizes[words] = planned[0].megabytes
        source = planned[0].source
    # The products: 1.5 bytes per pixel.
    assert sizes[()] == pytest.approx(200 * 240 * 1.5 / 1e6)
    for words in (("sort.mode=copy",), ("output.write_wcs=true",)):
        assert sizes[words] - sizes[()] == pytest.approx(source.stat().st_size / 1e6)


# ---------------------------------------------------------------- artificial sources


@pytest.fixture
def outcome(as_image, catalogued):
    """Return the function that says what became of a source of 24 mag at (50, 50)."""
    image = as_image(np.zeros((60, 60)))
    return lambda *found, size_arcsec=0.0: outcome_on(image, catalogued, *found, size_arcsec)


def outcome_on(image, catalogued, before, after, size_arcsec):
    zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    rate = 10 ** (-0.4 * (24.0 - zeropoint))
    sources = Table(
        {
            "x": [50.0], "y": [50.0], "kind": ["star"], "mag": [24.0], "re_arcsec": [size_arcsec],
            "axis_ratio": [1.0], "n_exp": [2], "aperture_rate": [0.9 * rate], "saturated": [False],
        }
    )  # fmt: skip
    table = recovery.recovery_columns(
        sources, catalogued(after, 0.01), catalogued(before, 0.01), image, Settings()
    )
    return str(table["outcome"][0])


def plus(share):
    """The magnitude of a source that was there, of 25 mag, and a share of the light of 24 mag."""
    return float(-2.5 * np.log10(10 ** (-0.4 * 25.0) + share * 10 ** (-0.4 * 24.0)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [(51.48, 50.0, 24.0, 0)], "kept"),
        ([], [(51.52, 50.0, 24.0, 0)], "lost"),
        ([], [(50.0, 50.0, 24.99, 0)], "kept"),
        ([], [(50.0, 50.0, 25.01, 0)], "lost"),
        ([], [(50.0, 50.0, 23.01, 0)], "kept"),
        ([], [(50.0, 50.0, 22.99, 0)], "lost"),
        # A fainter one was there: at least half of the source's light must have come.
        ([(50.0, 50.0, 25.0, 0)], [(50.0, 50.0, plus(0.52), 0)], "kept"),
        ([(50.0, 50.0, 25.0, 0)], [(50.0, 50.0, plus(0.48), 0)], "blended"),
        # A brighter one was there, or as bright a one.
        ([(50.0, 50.0, 23.99, 0)], [(50.0, 50.0, 23.2, 0)], "blended"),
        ([(50.0, 50.0, 24.01, 0)], [(50.0, 50.0, 23.2, 0)], "kept"),
        ([(51.52, 50.0, 20.0, 0)], [(50.0, 50.0, 24.0, 0)], "kept"),
    ],
)
def test_what_counts_as_found(outcome, before, after, expected):
    """Within 1.5 px and 1 mag, and brighter than what was there, of which half is new."""
    assert outcome(before, after) == expected


def test_an_extended_source_is_looked_for_farther_away(outcome):
    """By half of its half-light radius, in quadrature: 1.5 and 4 px are 4.27."""
    for apart, expected in ((4.25, "kept"), (4.3, "lost")):
        result = outcome([], [(50.0 + apart, 50.0, 24.0, 0)], size_arcsec=0.4)
        assert result == expected


@pytest.mark.parametrize(("p_cr", "expected"), [(0.49, False), (0.51, True), (np.nan, False)])
def test_a_source_is_called_a_cosmic_ray_above_one_half(catalogued, p_cr, expected):
    made = catalogued([(50.0, 50.0, 24.0, 0)], 0.01)
    made.catalog["p_cr"] = [p_cr]
    assert recovery.is_cosmic_ray(made.catalog).tolist() == [expected]


@pytest.mark.parametrize(("n", "is_told"), [(19, False), (20, True)])
def test_twenty_sources_show_a_limit(n, is_told):
    mag = np.linspace(22, 28, n)
    limit, _ = recovery.limit_and_error(mag, mag < 25.0, 0.5)
    assert (limit is not None) == is_told
    if is_told:
        assert limit == pytest.approx(25.0, abs=0.2)


def test_a_limit_is_where_the_curve_falls_through_the_level():
    """Ten found, ten of which half are, ten lost: 50 % in the middle, 90 % before it."""
    mag = np.arange(30) * 0.1 + 22
    result = np.concatenate([np.ones(10), np.tile([0, 1], 5), np.zeros(10)]).astype(bool)
    limit, error = recovery.limit_and_error(mag, result, 0.5)
    assert limit == pytest.approx(0.5 * (mag[14] + mag[15]), abs=0.03)
    assert 0.1 < error < 0.3
    assert mag[5] < recovery.limit_and_error(mag, result, 0.9)[0] < mag[10]


def test_limits_are_those_of_50_and_90_percent():
    mag = np.linspace(22, 28, 300)
    random = np.random.default_rng(3)
    result = random.uniform(size=300) < 1 / (1 + np.exp((mag - 25.0) / 0.5))
    n = len(mag)
    data = {c.name: np.zeros(n) for c in INJECT}
    data |= {"id": np.arange(n), "kind": np.full(n, "star"), "mag": mag, "found": result,
             "kept": result & (mag < 24.0), "outcome": np.full(n, "kept")}  # fmt: skip
    (row,) = recovery.limits_of(make_table(INJECT, data))
    for percent in (50, 90):
        expected = recovery.limit_and_error(mag, result, percent / 100)
        assert (row[f"mag_{percent}_found"], row[f"mag_{percent}_found_err"]) == expected
    assert row["mag_50_kept"] < row["mag_50_found"]


def test_curves_of_the_figure_lie_in_the_middle_of_the_bins():
    mag = np.array([24.1, 24.2, 24.6, 24.7])
    data = {c.name: np.zeros(4) for c in INJECT}
    data |= {"id": np.arange(4), "kind": np.full(4, "star"), "mag": mag, "mag_expected": mag,
             "mag_measured": mag + 0.1, "found": np.ones(4, bool), "kept": np.ones(4, bool),
             "outcome": np.full(4, "kept")}  # fmt: skip
    table = recovery.completeness_table(make_table(INJECT, data), 0.5)
    (curve,) = injection.figure_curves(table)
    assert (curve.label, curve.mag.tolist()) == ("stars", [24.25, 24.75])
    assert curve.found.tolist() == curve.kept.tolist() == curve.high.tolist() == [1.0, 1.0]
    assert curve.bias == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    ("radii", "nearest"), [((2, 4, 6), 4.0), ((3, 5.5), 3.0), ((1, 3.05, 4.9), 4.9)]
)
def test_magnitudes_are_compared_in_the_aperture_nearest_to_four_pixels(radii, nearest):
    settings = Settings.load(assignments=[f"measure.radii_px={list(radii)}"])
    assert trial.aperture_of(settings) == nearest


def test_one_of_one_is_a_share_between_one_half_and_one():
    """Wilson (1927): (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    low, high = recovery.wilson(np.array([1.0, 0.0]), np.array([1.0, 1.0]))
    assert low.tolist() == pytest.approx([0.5, 0.0])
    assert high.tolist() == pytest.approx([1.0, 0.5])


def test_the_share_of_noise_is_that_of_the_kept_rows():
    table = recovery.purity_of([24.1, 24.2, 24.3, 24.4], [True, True, True, False], [24.2], 0.5)
    assert table["false_share"].tolist() == pytest.approx([1 / 3])


# ---------------------------------------------------------------- why a position is not there


def a_row(out, root=RED):
    (path,) = out.rglob(f"{root}_cat.ecsv")
    return read_table(path)[0]


@pytest.mark.parametrize(
    ("x", "y", "is_on"),
    [(-0.4, 20, True), (-0.6, 20, False), (239.4, 20, True), (239.6, 20, False), (20, -0.4, True),
     (20, -0.6, False), (20, 199.4, True), (20, 199.6, False)],
)  # fmt: skip
def test_an_image_ends_at_the_edges_of_its_pixels(finished, x, y, is_on):
    (explanation,) = explain(finished, xy=(x, y), image=RED)
    assert (explanation.verdict is not Verdict.OFF_IMAGE) == is_on


@pytest.mark.parametrize(("apart", "is_own"), [(2.95, True), (3.05, False)])
def test_a_row_within_three_pixels_is_the_positions_own(finished, apart, is_own):
    row = a_row(finished)
    (explanation,) = explain(finished, xy=(row["x_center"] + apart, row["y_center"]), image=RED)
    assert (explanation.verdict is Verdict.IN_CATALOG) == is_own


@pytest.mark.parametrize(("apart", "is_near"), [(2.0, True), (2.1, False)])
def test_a_pixel_of_the_mask_within_two_pixels_is_mentioned(done, apart, is_near):
    record = record_of(done, RED)
    with fits.open(record.paths(done).mask, mode="update") as hdus:
        plane = next(hdu for hdu in hdus if hdu.data is not None)
        plane.data[:] = 0
        plane.data[150, 100] = 1
    (explanation,) = explain(done, xy=(100.0 + apart, 150.0), image=RED)
    assert any("cosmic-ray mask" in text for text in explanation.sentences) == is_near


def test_the_best_pixel_within_two_pixels_counts_and_its_connected_ones():
    ratio = np.zeros((9, 9))
    ratio[4, 6], ratio[5, 7], ratio[4, 8], ratio[0, 0] = 3.0, 2.5, 9.0, 5.0
    best, area = explanation._best_near(ratio, 4, 4)
    assert best == 3.0
    # Neighbours by a corner are connected; what lies elsewhere is not.
    assert (area(2.0), area(2.7), area(3.5)) == (3, 1, 0)


def test_a_threshold_that_a_position_reaches_finds_nothing_and_one_below_does(finished):
    """The sentence names the threshold, rounded down, that would do."""
    (explanation,) = explain(finished, xy=(120.0, 3.0), image=RED)
    assert explanation.verdict is Verdict.TOO_FAINT
    (text,) = (t for t in explanation.sentences if "threshold" in t)
    best = float(text.split("reaches ")[1].split()[0])
    if "would have to be below" in text:
        assert float(text.rstrip(".").split()[-1]) == pytest.approx(best, abs=0.011)
        assert float(text.rstrip(".").split()[-1]) <= best + 0.005
    else:
        assert best < 0.01
    assert "the threshold is 2:" in text


def test_rows_of_a_region_file_are_distinguished():
    """By p_cr above one half, or the flag without it; by flags; by p_star below one half."""
    flags = [0, int(Flag.COSMIC_RAY), int(Flag.EDGE), int(Flag.SINGLE_EXPOSURE), 0]
    table = Table({"flags": flags, "p_star": [0.5, 0.9, 0.9, 0.9, 0.49]})
    assert export.kinds(table) == ["point", "cosmic ray", "flagged", "point", "extended"]
    table["p_cr"] = [0.5, 0.1, 0.51, 0.51, np.nan]
    assert export.kinds(table) == ["point", "flagged", "cosmic ray", "cosmic ray", "extended"]


# ---------------------------------------------------------------- what inspect warns about


def warnings_of(write_drc, level=0.0, sky_e=None, single=0.0, n_exposures=2, **cards):
    """What `inspect` says of an image of a level, of which a share has one exposure."""
    # Two thirds of the photon noise: enough that the exposure time is believed.
    noise = np.random.default_rng(1).normal(0, 0.65 * np.sqrt(max(level, 0.1) / 1000), (100, 100))
    sci = (level + noise).astype(np.float32)
    path = write_drc(
        f"jabc01{len(cards)}{int(1e4 * level) % 100:02d}_drc.fits", sci, n_exposures=n_exposures,
        sci_cards=cards, primary={} if sky_e is None else {"MDRIZSKY": sky_e},
    )  # fmt: skip
    if single:
        with fits.open(path, mode="update") as hdus:
            hdus["CTX"].data[: round(100 * single)] = 1
    return " ".join(inspect(path).warnings)


@pytest.mark.parametrize(
    ("level", "sky_e", "has_sky"),
    [
        (0.045, 100.0, False),
        (0.055, 100.0, True),
        (0.009, None, False),
        (0.011, None, True),
        (0.009, 0.0, False),
        (0.011, 0.0, True),
    ],
)
def test_a_sky_is_there_where_more_than_half_of_what_was_noted_is(write_drc, level, sky_e, has_sky):
    """Of 100 e in 1000 s; where nothing was noted, from 0.01 e/s on."""
    text = warnings_of(write_drc, level, sky_e, n_exposures=1)
    assert ("the sky is not subtracted" in text) == has_sky
    assert "no cosmic ray was rejected" in text


@pytest.mark.parametrize(("share", "is_said"), [(0.99, False), (1.01, True)])
def test_pixels_near_saturation_are_counted(write_drc, share, is_said):
    """Above 73 % of the full well of one exposure of 500 s."""
    notes = warnings_of(write_drc, share * 0.73 * 77_400 / 500)
    assert ("10000 pixels near saturation" in notes) == is_said


@pytest.mark.parametrize(("share", "is_said"), [(0.19, False), (0.21, True)])
def test_a_fifth_of_single_exposures_is_warned_about(write_drc, share, is_said):
    assert ("of the area has one exposure only" in warnings_of(write_drc, single=share)) == is_said


@pytest.mark.parametrize(
    ("name", "said"),
    [("IDC_X-FIT_REL_GAIAeDR3", ""), ("OPUS", "gives no origin"), ("IDC_X", "not tied to Gaia"),
     ("IDC_X-FIT_SVM_2MASS", ""), ("GAIA", "")],
)  # fmt: skip
def test_a_frame_that_is_not_tied_to_gaia_is_warned_about(write_drc, name, said):
    notes = warnings_of(write_drc, WCSNAME=name)
    for words in ("gives no origin", "not tied to Gaia"):
        assert (words in notes) == (words == said)


# ---------------------------------------------------------------- what the report warns about


def problems(folder, root=RED):
    return [(level, text) for level, place, text in overview(folder).problems if root in place]


def with_summary(folder, step, root=RED, **values):
    """The folder, with numbers of a step changed."""
    images = []
    for image in folder.images:
        if image.record.root == root:
            stage = image.record.stages[step]
            stages = image.record.stages | {step: replace(stage, summary=stage.summary | values)}
            image = replace(image, record=replace(image.record, stages=stages))  # noqa: PLW2901
        images.append(image)
    return replace(folder, images=type(folder.images)(images))


@pytest.mark.parametrize(
    ("width", "is_off"), [(0.84, True), (0.86, False), (1.17, False), (1.19, True), (None, False)]
)
def test_pulls_of_blank_places_are_warned_about_outside_0_85_to_1_18(finished, width, is_off):
    pulls = {"2": 1.0, "4": 1.0, "6": width, "8": 1.0, "10": 1.0}
    folder = with_summary(read_folder(finished), "measure", noise_pull=pulls)
    messages = [
        text for level, text in problems(folder) if "errors of blank" in text and level == WARN
    ]
    assert bool(messages) == is_off


@pytest.mark.parametrize(
    ("grade", "level"), [("A", ""), ("B", ""), ("C", ""), ("D", WARN), ("E", WARN), ("F", BAD)]
)
def test_grades_below_c_are_warned_about_and_f_is_bad(finished, grade, level):
    folder = with_summary(read_folder(finished), "align", grade=grade, reason="so it is")
    messages = [notes for notes, text in problems(folder) if text.startswith("alignment of grade")]
    assert messages == ([level] if level else [])


def closes(used, is_closed):
    part = {"published": used, "used": used, "error": 0.1, "scatter": 0.0, "closes": is_closed}
    return {"reference_px": 10.0, "n_stars": 30, "percent": {"2": part}}


@pytest.mark.parametrize("is_closed", [True, False])
def test_apertures_that_do_not_close_are_warned_about(finished, is_closed):
    folder = with_summary(read_folder(finished), "finalize", closure=closes(-3.0, is_closed))
    messages = [text for _, text in problems(folder) if "do not close in 2 px: -3.0" in text]
    assert len(messages) == (not is_closed)


@pytest.mark.parametrize(
    ("outcome", "level"), [("done", ""), ("dropped", BAD), ("failed", BAD), ("unknown", WARN)]
)
def test_images_that_are_not_done_are_named(finished, outcome, level):
    folder = read_folder(finished)
    images = [
        replace(image, outcome=outcome, reason="why") if image.record.root == RED else image
        for image in folder.images
    ]
    folder = replace(folder, images=type(folder.images)(images))
    messages = [notes for notes, text in problems(folder) if text == f"{outcome}: why"]
    assert messages == ([level] if level else [])


def test_bad_problems_come_first(finished):
    folder = with_summary(read_folder(finished), "align", grade="F", reason="so it is")
    folder = with_summary(folder, "align", BLUE, grade="E", reason="so it is")
    levels = [level for level, _, _ in overview(folder).problems]
    assert levels == sorted(levels, key=lambda level: level != BAD)
    assert {WARN, BAD} <= set(levels)


@pytest.mark.parametrize(
    ("n_images", "n_sources", "is_inside"),
    [(1, 6000, True), (6, 6000, True), (7, 2500, True), (16, 2500, True), (17, 700, True),
     (50, 700, True), (51, 6000, False)],
)  # fmt: skip
def test_fifty_images_are_in_the_page_with_fewer_sources_of_more(
    done, monkeypatch, n_images, n_sources, is_inside
):
    budgets = []
    monkeypatch.setattr(page, "_content", lambda _image, _catalog, budget: budgets.append(budget))
    monkeypatch.setattr(page, "pack", lambda _: "")
    folder = read_folder(done)
    images = [replace(folder.images[0]) for _ in range(n_images)]
    monkeypatch.setattr(type(images[0]), "table", lambda *_: None)
    many = replace(folder, images=type(folder.images)(images))
    entries = page._inside(many) if n_images <= page.MAX_INSIDE else page._in_fields(many)
    assert len(entries) == n_images
    assert {budget.n_sources for budget in budgets} == {n_sources}
    assert all(bool(image.file) != is_inside for image in entries)
