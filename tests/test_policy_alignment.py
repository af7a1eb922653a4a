"""The alignment: each documented number, and each decision about its limit."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.kernels.tiefit import REFERENCE
from bycatch.settings import AlignSettings
from bycatch.sky.astrometry import centroid_errors_px
from bycatch.sky.gaia import from_table
from bycatch.stages import align
from bycatch.stages.align import star_fit
from bycatch.stages.align.plane import Plane, stars_near, view_of
from bycatch.stages.align.relative import typical

SETTINGS = AlignSettings()
MJD = 57402.0
SHAPE = (1000, 1000)


def north_up(shape=SHAPE, stretch=1.0, wcsname="IDC_0461802ej", crval=(36.92, -8.47)):
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": crval[0], "CRVAL2": crval[1],
            "CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2, "CUNIT1": "deg",
            "CUNIT2": "deg", "CD1_1": -0.05 / 3600 * stretch, "CD1_2": 0.0, "CD2_1": 0.0,
            "CD2_2": 0.05 / 3600 * stretch, "WCSNAME": wcsname,
        }
    )  # fmt: skip
    return WCS(header)


def sources(x, y, **columns):
    n = len(x)
    values = {"flux": np.full(n, 300.0), "ellipticity": np.full(n, 0.1), "n_exp": np.full(n, 1.0)}
    return Table({"x": np.asarray(x, float), "y": np.asarray(y, float)} | values | columns)


def field_image(table, wcs=None, shape=SHAPE, **given):
    values = {"name": "one", "filter": "F814W", "wcsname": "IDC_0461802ej", "mjd": MJD}
    values |= {"exptime_s": 500.0, "zeropoint_ab": np.nan, "saturation_rate": np.inf} | given
    return align.FieldImage(sources=table, wcs=wcs or north_up(shape), shape=shape, **values)


def stars_at(ra, dec, error_mas=0.1):
    n = len(ra)
    return from_table(
        Table(
            {
                "source_id": np.arange(n) + 1, "ra": ra, "dec": dec, "pmra": np.zeros(n),
                "pmdec": np.zeros(n), "ra_error": np.full(n, error_mas),
                "dec_error": np.full(n, error_mas), "pmra_error": np.full(n, 0.01),
                "pmdec_error": np.full(n, 0.01), "ref_epoch": np.full(n, 2016.0),
            }
        ),
        "test",
    )  # fmt: skip


def random_places(n, seed=1, shape=SHAPE):
    ny, nx = shape
    return np.random.default_rng(seed).uniform([20, 20], [nx - 20, ny - 20], (n, 2)).T


# ---------------------------------------------------------------- grades and errors


@pytest.mark.parametrize(
    ("n_stars", "error_mas", "grade"),
    [
        (5, 5.0, "A"), (5, 5.01, "B"), (4, 1.0, "B"), (3, 15.0, "B"), (5, 15.01, "C"),
        (2, 1.0, "C"), (2, 50.0, "C"), (9, 50.01, "D"), (1, 1.0, "D"),
    ],
)  # fmt: skip
def test_grades_are_given_as_the_documentation_says(n_stars, error_mas, grade):
    """A: 5 stars and 5 mas; B: 3 and 15; C: 2 and 50; D: one star, or worse than 50 mas."""
    assert align._grade(n_stars, error_mas, True, False) == grade
    # Pairs that disagree are worth no more than a C.
    assert align._grade(n_stars, error_mas, True, True) == max(grade, "C")
    assert align._grade(n_stars, error_mas, False, False) == grade.replace("A", "B")


@pytest.mark.parametrize(
    ("wcsname", "error_mas"),
    [("IDC_0461802ej", 1000.0), ("IDC_X-GSC240", 200.0), ("IDC_X-HSC30", 200.0),
     ("IDC_X-FIT_REL_GAIAeDR3", 30.0)],
)  # fmt: skip
def test_a_frame_of_the_pointing_has_its_error_and_that_of_guide_stars_ten_arcmin_apart(
    wcsname, error_mas
):
    image = field_image(sources(*random_places(9)), wcsname=wcsname)
    (result,) = align.run([image], None, SETTINGS).images
    assert result.grade == "F"
    ra, dec = 36.92, -8.47
    centre = result.frame_error.at(np.array([ra]), np.array([dec]))
    assert np.ravel(centre) == pytest.approx([error_mas] * 2, rel=1e-3)
    # Ten arcmin off the roll adds as much again: along RA in declination, and the other way.
    north = result.frame_error.at(np.array([ra]), np.array([dec + 600 / 3600]))
    assert np.ravel(north) == pytest.approx([error_mas * np.sqrt(2), error_mas], rel=1e-3)
    # No more than the largest roll that is searched.
    narrow = SETTINGS.replace(max_roll_deg=0.001)
    (held,) = align.run([image], None, narrow).images
    roll = min(np.deg2rad(0.001) * 600e3, error_mas)
    north = held.frame_error.at(np.array([ra]), np.array([dec + 600 / 3600]))
    assert north[0] == pytest.approx([np.hypot(error_mas, roll)], rel=1e-3)


def test_no_number_of_stars_makes_a_frame_better_than_its_floor():
    x, y = random_places(200)
    ra, dec = north_up().all_pix2world(x, y, 0)
    (result,) = align.run([field_image(sources(x, y))], stars_at(ra, dec, 0.01), SETTINGS).images
    assert result.grade == "A"
    centre = result.frame_error.at(np.array([36.92]), np.array([-8.47]))[0][0]
    more = SETTINGS.replace(frame_floor_mas=3.0)
    (worse,) = align.run([field_image(sources(x, y))], stars_at(ra, dec, 0.01), more).images
    assert worse.frame_error.at(np.array([36.92]), np.array([-8.47]))[0][0] == pytest.approx(
        np.sqrt(centre**2 - 0.15**2 + 3.0**2), rel=1e-3
    )


def test_the_error_of_a_centroid_is_a_floor_and_the_noise_of_photons_and_sky():
    bright = centroid_errors_px(np.array([1e9]), np.array([0.0]), np.array([1.5]), 500.0)
    assert bright == pytest.approx([0.03], rel=1e-6)
    n, sky = 400.0 * 500.0, 2 * (0.01 * 500.0) ** 2
    result = centroid_errors_px(np.array([400.0]), np.array([0.01]), np.array([1.5]), 500.0)
    variance = 0.03**2 + 1.5**2 / n + 8 * np.pi * 1.5**4 * sky / n**2
    assert result == pytest.approx([np.sqrt(variance)], rel=1e-9)
    # What is narrower than a pixel, or has no width, counts as one pixel wide.
    narrow = centroid_errors_px(np.full(2, 4.0), np.full(2, 0.01), np.array([0.5, np.nan]), 500.0)
    one = centroid_errors_px(np.array([4.0]), np.array([0.01]), np.array([1.0]), 500.0)
    assert narrow == pytest.approx([one[0]] * 2)


# ---------------------------------------------------------------- candidates


def view(table, **given):
    image = field_image(table, **given)
    return view_of(0, image, Plane.of([image]), SETTINGS)


def test_round_sources_that_are_not_on_the_mask_are_starlike():
    """Up to an ellipticity of 0.4, and with half of their pixels on the mask at most."""
    table = sources(
        np.arange(6) * 50.0 + 20,
        np.full(6, 40.0),
        ellipticity=np.array([0.4, 0.41, np.nan, 0.1, 0.1, 0.1]),
        on_cr_mask=np.array([0.0, 0.0, 0.0, 0.5, 0.51, 0.51]),
        n_exp=np.array([1.0, 1.0, 1.0, 1.0, 1.0, 2.0]),
    )
    result = view(table)
    starlike = result.starlike[np.argsort(result.rows)]
    assert starlike.tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize(("peak", "n"), [(79.0, 2), (81.0, 1)])
def test_sources_near_saturation_stay_out(peak, n):
    """From 0.8 of the rate at which a pixel counts as saturated."""
    table = sources([100, 400], [100, 400], peak=np.array([peak, 1.0]), semimajor_px=np.ones(2))
    assert len(view(table, saturation_rate=100.0).rows) == n


@pytest.mark.parametrize(("apart", "n"), [(18.9, 1), (19.1, 2)])
def test_sources_within_15_pixels_and_two_lengths_of_a_saturated_one_stay_out(apart, n):
    table = sources(
        [100, 100 + apart, 400],
        [100, 100, 400],
        peak=np.array([99.0, 1.0, 1.0]),
        semimajor_px=np.array([2.0, 1.0, 1.0]),
    )
    assert len(view(table, saturation_rate=100.0).rows) == n


@pytest.mark.parametrize(("beyond", "is_near"), [(0.98, True), (1.02, False)])
def test_stars_count_as_far_from_an_image_as_its_pointing_may_be_off(beyond, is_near):
    """3 arcsec of shift, the roll of 0.3 deg over half the diagonal, and 1 arcsec."""
    shape = (4300, 4200)
    roll = np.deg2rad(0.3) * 0.5 * 0.05 * np.hypot(*shape)
    margin_px = (3.0 + roll + 1.0) * beyond / 0.05
    image = field_image(sources(*random_places(9, shape=shape)), shape=shape)
    for x, y in ((-0.5 - margin_px, 2000.0), (2000.0, shape[0] - 0.5 + margin_px)):
        ra, dec = image.wcs.all_pix2world([x], [y], 0)
        (result,) = align.run([image], stars_at(ra, dec), SETTINGS).images
        assert (result.reason != "no reference stars near the image") == is_near


@pytest.mark.parametrize(("n", "grade"), [(4, "F"), (5, "E")])
def test_five_common_sources_tie_two_images(n, grade):
    x, y = random_places(n)
    shift = np.array([0.2 / 3600, 0.1 / 3600])
    images = [
        field_image(sources(x, y), name="a"),
        field_image(sources(x, y), north_up(crval=np.array([36.92, -8.47]) + shift), name="b"),
    ]
    image_result = align.run(images, None, SETTINGS).images
    assert [result.grade for result in image_result] == [grade] * 2


def test_without_gaia_the_header_of_the_image_with_most_candidates_decides():
    x, y = random_places(40)
    other = north_up(crval=(36.92 + 0.3 / 3600, -8.47))
    few = field_image(sources(x[:30], y[:30]), name="few")
    many = field_image(sources(x, y), other, name="many")
    for images in ([few, many], [many, few]):
        result_of = {i.name: r for i, r in zip(images, align.run(images, None, SETTINGS).images,
                                           strict=True)}  # fmt: skip
        assert result_of["many"].shift_ra_mas == 0.0
        assert abs(result_of["few"].shift_ra_mas) == pytest.approx(
            300 * np.cos(np.deg2rad(8.47)), abs=1
        )


def test_what_two_images_see_is_no_cosmic_ray_and_what_one_sees_pairs_with_no_star():
    """Four stars of Gaia are in one image only, five in both: the first may be cosmic rays."""
    x, y = random_places(60)
    ra, dec = north_up().all_pix2world(x[:9], y[:9], 0)
    both = field_image(sources(x, y), name="both")
    less = field_image(sources(x[4:], y[4:]), name="less")
    for image in align.run([both, less], stars_at(ra, dec), SETTINGS).images:
        assert image.n_field_matches == 5
    (alone,) = align.run([both], stars_at(ra, dec), SETTINGS).images
    assert alone.n_field_matches == 9


def test_no_star_is_known_better_than_0_05_mas_and_one_without_errors_to_50():
    image = field_image(sources(*random_places(9)), mjd=57388.5)  # 2016.0, the stars' own epoch
    results = []
    for error in (0.01, 0.049, 0.2, np.nan):
        stars = stars_at([36.92], [-8.47], error)
        plane = Plane.of([image])
        near = stars_near(stars, plane, [view_of(0, image, plane, SETTINGS)], SETTINGS)
        results.append(float(np.sqrt(near.variance[0, 0])))
    assert results == pytest.approx([0.05, 0.05, 0.2, 50.0], rel=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "n"),
    [(-0.4, 500, 1), (-0.6, 500, 0), (999.4, 500, 1), (999.6, 500, 0), (500, -0.4, 1),
     (500, -0.6, 0), (500, 799.4, 1), (500, 799.6, 0)],
)  # fmt: skip
def test_stars_in_the_array_are_counted_to_the_edges_of_its_pixels(x, y, n):
    shape = (800, 1000)
    image = field_image(sources(*random_places(9, shape=shape)), shape=shape)
    ra, dec = image.wcs.all_pix2world([x], [y], 0)
    (result,) = align.run([image], stars_at(ra, dec), SETTINGS).images
    assert result.n_reference == n


@pytest.mark.parametrize(("axis", "name"), [("ra", "dra_loo_mas"), ("dec", "ddec_loo_mas")])
def test_a_star_that_is_off_shows_it_along_its_own_axis(axis, name):
    x, y = random_places(12)
    ra, dec = north_up().all_pix2world(x, y, 0)
    stars = stars_at(ra, dec, 1.0)
    stars.table[axis][4] += 12.0 / 3.6e6 / (np.cos(np.deg2rad(8.47)) if axis == "ra" else 1.0)
    (result,) = align.run([field_image(sources(x, y))], stars, SETTINGS).images
    (row,) = result.matches[result.matches["source_id"] == 5]
    other = {"dra_loo_mas": "ddec_loo_mas", "ddec_loo_mas": "dra_loo_mas"}[name]
    assert row[name] == pytest.approx(-12.0, abs=0.5)
    assert row[other] == pytest.approx(0.0, abs=0.5)


def test_a_field_without_gaia_is_named_by_the_image_that_nothing_ties():
    x, y = random_places(30)
    far = field_image(sources(*random_places(30, seed=9)), north_up(crval=(36.95, -8.4)))
    images = [field_image(sources(x, y)), field_image(sources(x, y)), far]
    result = align.run(images, None, SETTINGS)
    assert [image.grade for image in result.images] == ["E", "E", "F"]
    assert result.summary()["grade"] == "F"


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("n_stars", "distortion", "geometry"),
    [
        (11, "scale", "rshift"), (12, "scale", "rscale"), (29, "skew", "sip"),
        (30, "skew", "general"),
    ],
)  # fmt: skip
def test_twelve_stars_may_show_a_scale_and_thirty_a_skew(n_stars, distortion, geometry):
    shape = (4300, 4200)
    x, y = random_places(n_stars, shape=shape)
    wcs = north_up(shape)
    ra, dec = wcs.all_pix2world(x, y, 0)
    change = np.eye(2) if distortion == "scale" else np.diag([1.0, -1.0])
    wcs.wcs.cd = wcs.wcs.cd @ (np.eye(2) + 2e-4 * change)
    image = field_image(sources(x, y), wcs, shape)
    (result,) = align.run([image], stars_at(ra, dec), SETTINGS).images
    assert result.n_field_matches == n_stars
    # Too few for a general map: to 29 a skew is a distortion like any other.
    assert result.geometry == geometry


@pytest.mark.parametrize(("gain", "geometry"), [(0.8, "rshift"), (1.25, "rscale")])
def test_a_scale_needs_twelve_of_chi_square(gain, geometry):
    """A scale of s moves a star at r by s r; its weight is that of star and centroid."""
    shape, n = (4300, 4200), 40
    x, y = random_places(n, shape=shape)
    wcs = north_up(shape)
    ra, dec = wcs.all_pix2world(x, y, 0)
    centred = np.column_stack([x - x.mean(), y - y.mean()]) * 0.05  # arcsec
    # Without any scatter the stars' errors shrink to their least weight, which is measured here.
    table = sources(x, y)
    (plain,) = align.run([field_image(table, wcs, shape)], stars_at(ra, dec), SETTINGS).images
    sigma_mas = float(np.median(plain.matches["dra_err_mas"]))
    per_ppm = np.sum((centred / sigma_mas * 1e-3) ** 2)  # chi square of 1 ppm
    ppm = np.sqrt(12.0 * gain / per_ppm)
    wcs.wcs.cd = wcs.wcs.cd * (1 + ppm * 1e-6)
    (result,) = align.run([field_image(table, wcs, shape)], stars_at(ra, dec), SETTINGS).images
    assert result.geometry == geometry


@pytest.mark.parametrize(("shift", "is_aligned"), [(3.0, True), (3.3, False)])
def test_a_shift_beyond_the_searched_range_is_not_believed(shift, is_aligned):
    x, y = random_places(40)
    ra, dec = north_up().all_pix2world(x, y, 0)
    wcs = north_up(crval=(36.92, -8.47 + shift / 3600))
    (result,) = align.run([field_image(sources(x, y), wcs)], stars_at(ra, dec), SETTINGS).images
    assert result.aligned == is_aligned


@pytest.mark.parametrize(("rms_mas", "grades"), [(24.0, "AB"), (36.0, "CD")])
def test_pairs_that_scatter_by_more_than_30_mas_make_no_good_frame(rms_mas, grades):
    rng = np.random.default_rng(3)
    x, y = random_places(60)
    ra, dec = north_up().all_pix2world(x, y, 0)
    off = rng.uniform(-1, 1, (2, 60))
    off *= rms_mas / 0.05 / 1000 / np.sqrt(np.mean(off**2, axis=1, keepdims=True))
    (result,) = align.run([field_image(sources(x + off[0], y + off[1]))], stars_at(ra, dec, 20.0),
                         SETTINGS).images  # fmt: skip
    assert result.grade in grades, result.reason
    assert ("scatter" in result.reason) == (grades == "CD")
    assert (result.astrom_err_mas > rms_mas) == (grades == "CD")


# ---------------------------------------------------------------- scales of errors


@pytest.mark.parametrize(("n", "ratio"), [(1, 9.0), (9, 2.0), (9, 0.5), (4000, 2.0)])
def test_the_expected_errors_of_the_stars_count_as_much_as_eight_of_them(n, ratio):
    """Residuals of ``ratio`` times their errors, of n pairs, of which a shift takes 1.5."""
    standard = ratio * np.sqrt(np.log(2.0)) * np.ones(n)  # the median of a residual over its error
    data = SimpleNamespace(image=np.full(n, REFERENCE))
    result = star_fit._error_scale(SimpleNamespace(standard=standard), data, 1.0)
    free = max(n - 1.5, 0.0)
    measured = ratio**2 * n / max(free, 1.0)
    assert result == pytest.approx(np.sqrt((free * measured + 8) / (free + 8)))
    if n == 1:
        assert result == 1.0


def test_the_scatter_of_distances_is_that_of_one_axis():
    rng = np.random.default_rng(1)
    assert typical(np.hypot(*rng.normal(0, 3.0, (2, 200_000)))) == pytest.approx(3.0, rel=0.005)
    assert typical(np.empty(0)) == 0.0


@pytest.mark.parametrize(("off_mas", "grades"), [(0.0, "ABC"), (95.0, "CD")])
def test_four_stars_of_which_one_disagrees_are_left_out_in_turn(off_mas, grades):
    x, y = np.array([[150.0, 150.0], [850.0, 200.0], [200.0, 800.0], [800.0, 850.0]]).T
    ra, dec = north_up().all_pix2world(x, y, 0)
    x[3] += off_mas / 50.0
    (result,) = align.run([field_image(sources(x, y))], stars_at(ra, dec, 30.0), SETTINGS).images
    assert result.grade in grades, result.reason
    assert ("scatter" in result.reason) == (off_mas > 0)
    true = result.wcs.all_world2pix(ra, dec, 0) - np.stack([x, y])
    assert np.abs(true[:, :3]).max() * 50.0 < 3 * result.astrom_err_mas + 1e-3
