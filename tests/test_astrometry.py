"""Sky positions, their errors, and the match with Gaia."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.settings import MeasureSettings
from bycatch.sky.astrometry import (
    CENTROID_FLOOR_PX,
    FrameError,
    centroid_errors_px,
    expected_chance_matches,
    sky_positions,
    wcs_header,
)
from bycatch.sky.gaia import from_table
from bycatch.tangent import sky_of_tangent, tangent_mas

SCALE = 0.05 / 3600
MJD = 57388.5
"""2016.0, the epoch of the catalog."""


def make_wcs(ra=150.1, dec=2.2, angle=0.4, shape=(1000, 1200)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [shape[1] / 2, shape[0] / 2]
    c, s = np.cos(angle), np.sin(angle)
    wcs.wcs.cd = SCALE * np.array([[-c, s], [s, c]])
    wcs.wcs.set()
    return wcs


def stars_at(ra, dec, error_mas=1.0, **columns):
    n = len(ra)
    table = Table({"source_id": np.arange(n) + 100, "ra": ra, "dec": dec})
    table["ra_error"] = table["dec_error"] = np.full(n, error_mas)
    table["pmra"] = table["pmdec"] = np.zeros(n)
    table["pmra_error"] = table["pmdec_error"] = np.zeros(n)
    table["phot_g_mean_mag"] = np.full(n, 19.0)
    for name, values in columns.items():
        table[name] = values
    return from_table(table, "test")


def matched(x, y, wcs, reference, error_px=0.02, mjd=MJD, frame_error=None, **settings):
    """Return the columns of positions with errors of 1 mas."""
    errors = np.broadcast_to(np.asarray(error_px, dtype=float), np.shape(x))
    return sky_positions(
        np.asarray(x, dtype=float), np.asarray(y, dtype=float), errors, wcs, mjd,
        frame_error=frame_error, reference=reference, settings=MeasureSettings(**settings),
    )  # fmt: skip


def grid(step=100):
    x, y = np.meshgrid(np.arange(50.0, 1150, step), np.arange(50.0, 950, step))
    return x.ravel(), y.ravel()


# ---------------------------------------------------------------- the plane


@pytest.mark.parametrize("dec", [0.0, -8.5, 70.0, 89.999])
def test_the_tangent_plane_is_that_of_astropy(dec):
    rng = np.random.default_rng(1)
    centre = SkyCoord(359.999, dec, unit="deg")
    sky = centre.directional_offset_by(
        rng.uniform(0, 360, 50) * units.deg, rng.uniform(0, 0.1, 50) * units.deg
    )
    wcs = make_wcs(centre.ra.deg, dec, angle=0.0)
    x, y = wcs.all_world2pix(sky.ra.deg, sky.dec.deg, 0)
    expected = np.column_stack([-(x - 599), y - 499]) * 50.0
    positions = tangent_mas(sky.ra.deg, sky.dec.deg, 359.999, dec)
    np.testing.assert_allclose(positions, expected, atol=1e-3)


def test_there_and_back_again():
    rng = np.random.default_rng(2)
    xy = rng.uniform(-2e5, 2e5, (100, 2))
    for dec in (-60.0, 0.0, 89.9):
        back = tangent_mas(*sky_of_tangent(xy, 0.01, dec), 0.01, dec)
        np.testing.assert_allclose(back, xy, atol=1e-5)


def test_the_far_hemisphere_is_nowhere():
    assert np.isnan(tangent_mas(np.array([180.0]), np.array([0.0]), 0.0, 0.0)).all()


# ---------------------------------------------------------------- errors


def test_a_frames_error_follows_its_covariance():
    """Against random frames drawn from the covariance."""
    rng = np.random.default_rng(3)
    root = rng.normal(0, 1, (6, 6)) * np.array([3, 3, 0.02, 0.02, 0.02, 0.02])[:, np.newaxis]
    error = FrameError(150.1, 2.2, root @ root.T)
    ra, dec = sky_of_tangent(np.array([[0, 0], [9e4, 0], [-3e4, 7e4]]), 150.1, 2.2)
    draws = rng.normal(0, 1, (40_000, 6)) @ root.T
    xi, eta = np.array([[0, 0], [90, 0], [-30, 70]]).T
    moved_xi = draws[:, :1] + draws[:, 2:3] * xi + draws[:, 3:4] * eta
    moved_eta = draws[:, 1:2] + draws[:, 4:5] * xi + draws[:, 5:] * eta
    along_ra, along_dec = error.at(ra, dec)
    np.testing.assert_allclose(along_ra, moved_xi.std(axis=0), rtol=0.02)
    np.testing.assert_allclose(along_dec, moved_eta.std(axis=0), rtol=0.02)


def test_centroid_errors_are_those_of_simulated_stars():
    """A Gaussian star fitted by its own profile, with photon and sky noise."""
    rng = np.random.default_rng(4)
    size, flux, sky_e = 1.5, 4000.0, 6.0
    y, x = np.mgrid[-10:11, -10:11]
    profile = np.exp(-0.5 * (x**2 + y**2) / size**2) / (2 * np.pi * size**2)
    slope = flux * profile * x / size**2
    variance = flux * profile + sky_e**2
    noise = rng.normal(0, 1, (4000, *x.shape)) * np.sqrt(variance)
    weight = slope / variance
    shifts = (noise * weight).sum(axis=(1, 2)) / (slope * weight).sum()
    # Uncorrelated pixels here: the formula allows for twice the variance of the sky.
    expected = centroid_errors_px(
        np.array([flux]), np.array([sky_e / np.sqrt(2)]), np.array([size]), 1.0
    )
    floor_free = np.sqrt(expected[0] ** 2 - CENTROID_FLOOR_PX**2)
    assert shifts.std() == pytest.approx(floor_free, rel=0.12)


def test_centroid_errors_fall_with_brightness_to_the_floor_and_bear_bad_values():
    flux = np.array([0.1, 1.0, 10.0, 1e5, np.nan, -3.0])
    errors = centroid_errors_px(flux, np.full(6, 0.01), np.array([1.0, 1, 1, 1, 1, np.nan]), 500.0)
    assert (np.diff(errors[:4]) < 0).all()
    assert errors[3] == pytest.approx(CENTROID_FLOOR_PX, rel=0.01)
    assert np.isnan(errors[4])
    assert errors[5] > 1


def test_errors_of_positions_are_frame_and_centroid_together():
    wcs, covariance = make_wcs(), np.diag([9.0, 16.0, 0, 0, 0, 0])
    frame = FrameError(150.1, 2.2, covariance)
    out = matched([10.0, 900.0], [20.0, 30.0], wcs, None, [0.08, np.nan], frame_error=frame)
    assert out["RA_GAIA_WCS_err"][0] == pytest.approx(5.0)
    assert out["DEC_GAIA_WCS_err"][0] == pytest.approx(np.hypot(4.0, 4.0))
    assert np.isnan(out["RA_GAIA_WCS_err"][1])
    np.testing.assert_allclose(out["astrom_err"], np.sqrt(12.5))


def test_without_a_frames_error_only_the_centroid_counts():
    out = matched([10.0], [20.0], make_wcs(), None, 0.1)
    assert out["RA_GAIA_WCS_err"][0] == pytest.approx(5.0)
    assert np.isnan(out["astrom_err"][0])


# ---------------------------------------------------------------- the match


def test_every_star_is_matched_with_its_catalog_entry():
    wcs = make_wcs()
    x, y = grid()
    ra, dec = wcs.all_pix2world(x, y, 0)
    rng = np.random.default_rng(5)
    order = rng.permutation(len(x))
    out = matched(x + rng.normal(0, 0.02, len(x)), y, wcs, stars_at(ra[order], dec[order]))
    np.testing.assert_array_equal(out["gaia_source_id"][order], np.arange(len(x)) + 100)
    np.testing.assert_array_equal(out["GAIA_CAT_RA"], ra)
    np.testing.assert_array_equal(out["GAIA_CAT_DEC"], dec)
    assert np.nanmax(out["gaia_separation"]) < 5.0
    assert (out["gaia_g"] == 19.0).all()


@pytest.mark.parametrize(
    ("separation_mas", "star_error", "error_px", "is_match"),
    [
        (19.0, 0.1, 0.002, True),  # below the least radius
        (21.0, 0.1, 0.002, False),
        (60.0, 10.0, 0.2, True),  # 5 sigma of both: 70 mas
        (80.0, 10.0, 0.2, False),
        (199.0, 500.0, 0.2, True),
        (201.0, 500.0, 0.2, False),  # beyond the largest radius
    ],
)
def test_the_radius_follows_from_both_errors(separation_mas, star_error, error_px, is_match):
    wcs = make_wcs()
    x, y = np.array([300.0]), np.array([400.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    reference = stars_at(ra, dec + separation_mas / 3.6e6, star_error)
    out = matched(x, y, wcs, reference, error_px)
    assert (out["gaia_source_id"][0] != 0) == is_match
    if is_match:
        assert out["gaia_separation"][0] == pytest.approx(separation_mas, abs=0.01)
    else:
        assert out["GAIA_CAT_RA"][0] == -999.0
        assert np.isnan(out["gaia_separation"][0])


def test_the_match_is_at_the_epoch_of_the_image():
    wcs = make_wcs()
    x, y = np.array([300.0]), np.array([400.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    years = 5.0
    # In 2016 the star was 100 mas/yr x 5 yr away from where the image of 2021 shows it.
    reference = stars_at(ra, dec - 500.0 / 3.6e6, pmdec=np.array([100.0]))
    then = matched(x, y, wcs, reference, mjd=MJD + years * 365.25)
    assert then["gaia_source_id"][0] == 100
    assert then["gaia_separation"][0] < 1.0
    assert then["GAIA_CAT_DEC"][0] == dec[0] - 500.0 / 3.6e6
    assert matched(x, y, wcs, reference)["gaia_source_id"][0] == 0


def test_a_star_of_unknown_motion_may_have_moved():
    wcs = make_wcs()
    x, y = np.array([300.0]), np.array([400.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    nan = np.array([np.nan])
    reference = stars_at(ra, dec + 100.0 / 3.6e6, pmra=nan, pmdec=nan)
    assert matched(x, y, wcs, reference)["gaia_source_id"][0] == 0
    later = matched(x, y, wcs, reference, mjd=MJD + 4 * 365.25)
    assert later["gaia_source_id"][0] == 100


def test_a_poor_frame_widens_the_match_up_to_the_limit():
    wcs = make_wcs()
    x, y = np.array([300.0]), np.array([400.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    reference = stars_at(ra, dec + 150.0 / 3.6e6)
    frame = FrameError(150.1, 2.2, np.diag([1e6, 1e6, 0, 0, 0, 0]))
    assert matched(x, y, wcs, reference)["gaia_source_id"][0] == 0
    assert matched(x, y, wcs, reference, frame_error=frame)["gaia_source_id"][0] == 100


def test_the_match_is_one_to_one_and_the_closest_wins():
    wcs = make_wcs()
    x, y = np.array([300.0, 300.2, 300.6]), np.full(3, 400.0)
    ra, dec = wcs.all_pix2world(np.array([300.25]), np.array([400.0]), 0)
    out = matched(x, y, wcs, stars_at(ra, dec, 20.0))
    assert list(out["gaia_source_id"]) == [0, 100, 0]


def test_a_near_source_with_small_errors_does_not_bar_a_far_one_with_large_errors():
    wcs = make_wcs()
    x, y = np.array([300.0, 302.0]), np.full(2, 400.0)
    ra, dec = wcs.all_pix2world(np.array([300.9]), np.array([400.0]), 0)
    out = matched(x, y, wcs, stars_at(ra, dec), error_px=[0.01, 1.0])
    assert list(out["gaia_source_id"]) == [0, 100]


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([np.nan], [3.0]), ([1e7], [1e7]), ([np.nan, 5.0], [np.nan, 5.0])]
)
def test_odd_positions_match_nothing(x, y):
    wcs = make_wcs()
    ra, dec = wcs.all_pix2world([600.0], [500.0], 0)
    frame = FrameError(150.1, 2.2, np.eye(6))
    out = matched(x, y, wcs, stars_at(ra, dec), frame_error=frame)
    assert all(len(values) == len(x) for values in out.values())
    assert not np.any(out["gaia_source_id"])


def test_no_stars_at_all():
    wcs = make_wcs()
    for reference in (None, stars_at(np.empty(0), np.empty(0))):
        out = matched([3.0], [4.0], wcs, reference)
        assert out["gaia_source_id"][0] == 0
        assert expected_chance_matches(out, MJD, reference, MeasureSettings()) == 0.0


# ---------------------------------------------------------------- chance


def test_chance_matches_are_as_many_as_random_stars_give():
    """Sources and stars that have nothing to do with one another."""
    rng = np.random.default_rng(6)
    wcs = make_wcs()
    counts, expected = [], []
    for _ in range(40):
        x, y = rng.uniform(0, 1200, 800), rng.uniform(0, 1000, 800)
        ra, dec = wcs.all_pix2world(rng.uniform(-100, 1300, 700), rng.uniform(-100, 1100, 700), 0)
        reference = stars_at(ra, dec, 20.0)
        out = matched(x, y, wcs, reference, 0.4)
        counts.append((out["gaia_source_id"] != 0).sum())
        expected.append(expected_chance_matches(out, MJD, reference, MeasureSettings()))
    assert np.mean(counts) > 5
    assert np.mean(expected) == pytest.approx(np.mean(counts), rel=0.15)


def test_true_matches_are_not_taken_for_chance():
    wcs = make_wcs()
    x, y = grid()
    reference = stars_at(*wcs.all_pix2world(x, y, 0))
    out = matched(x, y, wcs, reference)
    assert (out["gaia_source_id"] != 0).all()
    assert expected_chance_matches(out, MJD, reference, MeasureSettings()) < 0.5


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("dec", [2.2, -89.5])
def test_a_wcs_comes_back_from_its_cards(dec):
    wcs = make_wcs(dec=dec)
    wcs.wcs.name = "SOME-NAME"
    header = wcs_header(wcs)
    assert header["WCSNAME"] == "SOME-NAME"
    assert "CD1_1" in header
    assert not [key for key in header if key.startswith(("PC", "CDELT"))]
    x, y = grid()
    again = WCS(header)
    np.testing.assert_allclose(
        tangent_mas(*again.all_pix2world(x, y, 0), 150.1, dec),
        tangent_mas(*wcs.all_pix2world(x, y, 0), 150.1, dec),
        atol=1e-5,
    )


def test_a_wcs_of_pc_and_cdelt_is_written_as_cd():
    wcs = make_wcs()
    other = WCS(naxis=2)
    other.wcs.ctype, other.wcs.crval = wcs.wcs.ctype, wcs.wcs.crval
    other.wcs.crpix, other.wcs.cdelt = wcs.wcs.crpix, [2.0, 0.5]
    other.wcs.pc = np.diag([0.5, 2.0]) @ wcs.wcs.cd
    header = wcs_header(other)
    assert [header[f"CD{i}_{j}"] for i in (1, 2) for j in (1, 2)] == pytest.approx(
        wcs.wcs.cd.ravel(), rel=1e-12
    )
