"""Alignment against known pointing errors, and refusal where there is nothing to align to."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS, Sip

from bycatch.settings import AlignSettings
from bycatch.sky.gaia import ReferenceStars, from_table, read_local
from bycatch.stages import align

SIM_VISIT = Path(__file__).resolve().parents[2] / "shared" / "data" / "sim_visit"
MJD = 57402.0
SETTINGS = AlignSettings()


# ---------------------------------------------------------------- truth


def tan_wcs(shape, ra=36.92, dec=-8.47, scale=0.05, pa=31.05, crpix=None):
    """An undistorted WCS with a CD matrix, like that of a drizzled image."""
    ny, nx = shape
    c, s, d = np.cos(np.deg2rad(pa)), np.sin(np.deg2rad(pa)), scale / 3600
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": ra,
            "CRVAL2": dec,
            "CD1_1": -d * c,
            "CD1_2": d * s,
            "CD2_1": d * s,
            "CD2_2": d * c,
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "RADESYS": "ICRS",
            "WCSNAME": "IDC_0461802ej",
            "LTV1": 0.0,
            "LTV2": 0.0,
        }
    )
    header["CRPIX1"], header["CRPIX2"] = crpix or ((nx + 1) / 2, (ny + 1) / 2)
    return WCS(header)


def mispointed(wcs, dra_arcsec, ddec_arcsec, roll_deg):
    """The same WCS with an error of pointing and of the position angle of y."""
    wrong = wcs.deepcopy()
    ra, dec = wcs.wcs.crval
    wrong.wcs.crval = [ra + dra_arcsec / 3600 / np.cos(np.deg2rad(dec)), dec + ddec_arcsec / 3600]
    t = np.deg2rad(roll_deg)
    wrong.wcs.cd = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) @ wcs.wcs.cd
    wrong.wcs.set()
    return wrong


def make_field(
    seed,
    n_star,
    n_det,
    *,
    n_missing=0,
    shape=(4300, 4200),
    noise_px=0.0,
    sigma_pm=0.0,
    error_mas=0.0,
    years=None,
    places=None,
    **wcs_options,
):
    """Detections, true WCS and reference stars.

    ``n_star`` reference stars are detected, ``n_missing`` are not; the other
    detections have no counterpart.
    """
    rng = np.random.default_rng([seed, n_star, n_det])
    ny, nx = shape
    truth = tan_wcs(shape, **wcs_options)
    n = n_star + n_missing
    xy = rng.uniform([0, 0], [nx - 1, ny - 1], (n, 2)) if places is None else places
    ra, dec = truth.wcs_pix2world(xy, 0).T if n else np.empty((2, 0))
    pm = rng.normal(0, sigma_pm, (2, n))
    epoch = 2000.0 + (MJD - 51544.5) / 365.25 - (0.04 if years is None else years)
    error = rng.normal(0, 1, (2, n)) * error_mas
    cos_dec = np.cos(np.deg2rad(dec))
    moved = -pm * (0.04 if years is None else years) + error
    table = Table(
        {
            "source_id": np.arange(n) + 6 * 10**15,
            "ra": ra + moved[0] / 3.6e6 / cos_dec,
            "dec": dec + moved[1] / 3.6e6,
            "ra_error": np.full(n, error_mas),
            "dec_error": np.full(n, error_mas),
            "pmra": pm[0],
            "pmdec": pm[1],
            "pmra_error": np.full(n, error_mas),
            "pmdec_error": np.full(n, error_mas),
            "ref_epoch": np.full(n, epoch),
        }
    )
    n_other = n_det - n_star
    stars = xy[:n_star] + rng.normal(0, 1, (n_star, 2)) * noise_px
    others = rng.uniform([0, 0], [nx - 1, ny - 1], (n_other, 2))
    positions = np.vstack([stars, others])
    sources = Table(
        {
            "x": positions[:, 0],
            "y": positions[:, 1],
            "flux": np.r_[10 ** rng.normal(2, 0.4, n_star), 10 ** rng.normal(1, 0.6, n_other)],
            "ellipticity": np.r_[rng.uniform(0, 0.25, n_star), rng.uniform(0, 0.8, n_other)],
        }
    )
    return sources[rng.permutation(n_det)], truth, from_table(table, "test")


def worst_mas(wcs, truth, shape):
    """Largest distance on the sky between two WCS over an image."""
    ny, nx = shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, nx - 1, 5), np.linspace(0, ny - 1, 5)))
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    ra0, dec0 = truth.wcs_pix2world(x, y, 0)
    dra = ((ra - ra0 + 180) % 360 - 180) * np.cos(np.deg2rad(dec0))
    return float(np.hypot(dra, dec - dec0).max() * 3.6e6)


def field_image(sources, wcs, shape, mjd=MJD, name="image", **given):
    """One image of a field."""
    values = {"wcsname": "IDC_0461802ej", "exptime_s": 500.0, "zeropoint_ab": np.nan}
    values |= {"filter": "F814W", "saturation_rate": np.inf} | given
    return align.FieldImage(name=name, sources=sources, wcs=wcs, shape=shape, mjd=mjd, **values)


def aligned(sources, wcs, shape, reference, mjd, settings):
    """The result for a field of one image."""
    return align.run([field_image(sources, wcs, shape, mjd)], reference, settings).images[0]


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    "error", [(0, 0, 0), (0.42, -0.31, 0.05), (2.1, 2.1, 0.3), (-3, 0, -0.3), (0, 3, 0)]
)
def test_known_offsets_are_recovered_without_noise(error):
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 300, shape=shape)
    header_wcs = mispointed(truth, *error)
    result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert result.aligned, result.reason
    assert result.geometry == "rshift"
    assert worst_mas(result.wcs, truth, shape) < 0.01
    # North itself turns with the shift in right ascension, by 1e-4 deg here.
    assert result.roll_deg == pytest.approx(-error[2], abs=2e-4)
    assert result.shift_ra_mas == pytest.approx(-1000 * error[0], abs=0.5)
    assert result.shift_dec_mas == pytest.approx(-1000 * error[1], abs=0.5)
    assert result.n_reference == 20
    assert max(result.rms_ra_mas, result.rms_dec_mas) < 0.01


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1100, 1300), {}),
        ((1300, 900), {"crpix": (3000.0, -500.0)}),
        ((2000, 2000), {"ra": 0.005, "dec": 0.0, "pa": -170.0}),
        ((2000, 2000), {"ra": 359.99, "dec": 80.0}),
        ((1024, 1024), {"scale": 0.025}),
        ((6600, 4200), {"pa": 90.0, "dec": -72.0}),
    ],
)
def test_any_frame_is_aligned(shape, options):
    sources, truth, reference = make_field(2, 12, 100, shape=shape, **options)
    header_wcs = mispointed(truth, 0.8, -0.6, 0.1)
    result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert result.aligned, result.reason
    assert worst_mas(result.wcs, truth, shape) < 0.01


def test_positions_are_zero_based():
    shape = (2000, 2100)
    sources, truth, reference = make_field(3, 20, 50, shape=shape)
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    assert abs(result.shift_ra_mas) < 1e-3
    assert abs(result.shift_dec_mas) < 1e-3
    # The stars lie where the aligned WCS puts them, counted from 0.
    row, star = result.matches["source"][0], result.matches["source_id"][0]
    k = int(np.flatnonzero(reference.table["source_id"] == star)[0])
    ra, dec = (v[k] for v in reference.positions_at(MJD))
    x, y = result.wcs.all_world2pix(ra, dec, 0)
    assert (x, y) == pytest.approx((sources["x"][row], sources["y"][row]), abs=1e-5)
    # The same detections counted from 1 would be one pixel (50 mas per axis) off.
    sources["x"] += 1
    sources["y"] += 1
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    assert np.hypot(result.shift_ra_mas, result.shift_dec_mas) == pytest.approx(70.7, abs=0.1)


@pytest.mark.parametrize(("n_star", "limit_mas"), [(5, 20.0), (10, 12.0), (20, 8.0)])
def test_noisy_fields_are_aligned_within_their_formal_error(n_star, limit_mas):
    # 0.1 px of centroid noise is 5 mas per axis; at the corner the fit's error is about
    # 5 mas * sqrt(2/n + 3/n), and the limits are four times that or more.
    shape = (4300, 4200)
    for seed in range(12):
        sources, truth, reference = make_field(
            seed, n_star, 300, n_missing=3, noise_px=0.1, error_mas=0.3, sigma_pm=8.0
        )
        rng = np.random.default_rng(seed)
        error = (*rng.uniform(-2, 2, 2), rng.uniform(-0.3, 0.3))
        result = aligned(sources, mispointed(truth, *error), shape, reference, MJD, SETTINGS)
        assert result.aligned, result.reason
        assert worst_mas(result.wcs, truth, shape) < limit_mas
        assert result.odds < 1e-4


def test_crowded_field():
    shape = (4300, 4200)
    sources, truth, reference = make_field(
        4, 1600, 2000, n_missing=400, noise_px=0.1, error_mas=0.3
    )
    result = aligned(sources, mispointed(truth, 1, 2, 0.2), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert result.n_matches > 1300
    assert worst_mas(result.wcs, truth, shape) < 2.0


def test_proper_motions_are_applied():
    shape = (2000, 2000)
    # Motions of 30 mas/yr over four years: 120 mas, more than the tolerance.
    sources, truth, reference = make_field(5, 20, 100, shape=shape, sigma_pm=30.0, years=4.0)
    header_wcs = mispointed(truth, 0.5, 0.5, 0.0)
    moving = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert moving.aligned
    assert worst_mas(moving.wcs, truth, shape) < 0.02
    table = reference.table.copy()
    table["pmra"] = table["pmdec"] = np.nan
    frozen = aligned(sources, header_wcs, shape, ReferenceStars(table, "t"), MJD, SETTINGS)
    # What scatters like places anywhere within the tolerance tells no more than the tolerance.
    assert frozen.grade == "D"
    assert frozen.astrom_err_mas > 90.0


def test_stars_without_motion_count_for_less():
    shape = (2000, 2000)
    sources, truth, reference = make_field(6, 24, 100, shape=shape, error_mas=0.01)
    table = reference.table.copy()
    # Half of the stars have no motion in the catalog, and have drifted by 12 mas.
    table["pmra"][::2] = table["pmdec"][::2] = np.nan
    table["ref_epoch"] -= 4.0
    table["dec"][::2] += 12.0 / 3.6e6
    result = aligned(sources, truth, shape, ReferenceStars(table, "t"), MJD, SETTINGS)
    assert result.aligned
    # Equal weights would give half of the drift, 6 mas.
    assert worst_mas(result.wcs, truth, shape) < 1.5


def test_outliers_are_clipped():
    shape = (2000, 2000)
    sources, truth, reference = make_field(7, 20, 20, shape=shape, noise_px=0.02)
    sources["x"][:4] += 0.6  # blends, 30 mas off
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert not set(result.matches["source"]) & {0, 1, 2, 3}
    assert worst_mas(result.wcs, truth, shape) < 3.0


# ---------------------------------------------------------------- few stars, no stars


@pytest.mark.parametrize("n_star", [0, 1, 2])
def test_too_few_stars_keep_the_header(n_star):
    shape = (4300, 4200)
    for seed in range(10):
        sources, truth, reference = make_field(seed, n_star, 300, noise_px=0.1)
        header_wcs = mispointed(truth, 1.0, -0.5, 0.1)
        result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
        assert not result.aligned
        assert result.wcs is header_wcs
        assert result.geometry == "none"
        assert result.n_matches == len(result.matches) == 0
        assert result.reason


@pytest.mark.parametrize("n_star", [3, 5])
def test_three_stars_among_hundreds_are_enough(n_star):
    shape = (4300, 4200)
    for seed in range(10):
        sources, truth, reference = make_field(seed, n_star, 300, noise_px=0.1, error_mas=0.3)
        header_wcs = mispointed(truth, 1.5, -2.0, 0.25)
        result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
        assert result.aligned, result.reason
        assert result.n_matches == n_star
        # Three stars on one side leave the far corner to the error of the roll.
        assert worst_mas(result.wcs, truth, shape) < 80.0


@pytest.mark.parametrize(("n_ref", "n_det", "n_seeds"), [(3, 60, 60), (8, 300, 60), (60, 1500, 15)])
def test_reference_from_another_part_of_the_sky_is_refused(n_ref, n_det, n_seeds):
    shape = (4300, 4200)
    for seed in range(n_seeds):
        sources, truth, reference = make_field(seed, 0, n_det, n_missing=n_ref)
        result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
        assert not result.aligned, seed
        assert result.wcs is truth


def test_crowded_reference_from_another_part_of_the_sky_is_refused():
    sources, truth, reference = make_field(1, 0, 2000, n_missing=2000)
    result = aligned(sources, truth, (4300, 4200), reference, MJD, SETTINGS)
    assert not result.aligned


def test_pointing_error_beyond_the_search_is_refused():
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 100)
    result = aligned(sources, mispointed(truth, 4.0, 0, 0), shape, reference, MJD, SETTINGS)
    assert not result.aligned
    wider = SETTINGS.replace(max_shift_arcsec=5.0)
    result = aligned(sources, mispointed(truth, 4.0, 0, 0), shape, reference, MJD, wider)
    assert result.aligned


def test_scattered_pairs_are_better_than_a_header_and_no_good_frame():
    shape = (4300, 4200)
    sources, truth, reference = make_field(8, 20, 20, noise_px=0.7)
    header_wcs = mispointed(truth, 1.0, 0.5, 0.0)
    result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS.replace(max_rms_mas=15))
    assert result.grade == "D"
    assert "scatter" in result.reason
    centre = (2100.0, 2150.0)
    outcome, true = (np.array(w.wcs_pix2world(*centre, 0)) for w in (result.wcs, truth))
    assert np.abs(outcome - true).max() * 3.6e6 < 3 * result.astrom_err_mas
    assert result.astrom_err_mas < 100.0


def test_stars_close_together_do_not_determine_a_roll():
    shape = (4300, 4200)
    near = 1000.0 + np.random.default_rng(1).uniform(-300, 300, (6, 2))
    sources, truth, reference = make_field(9, 6, 60, noise_px=0.05, places=near)
    header_wcs = mispointed(truth, 1.0, 0.5, 0.0)
    result = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    far = result.frame_error.at(*(np.array([v]) for v in truth.wcs_pix2world(4100, 4200, 0)))
    close = result.frame_error.at(*(np.array([v]) for v in truth.wcs_pix2world(1000, 1000, 0)))
    assert result.aligned
    assert close[0] < 3 < far[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reference": None}, "no reference stars"),
        ({"mjd": np.nan}, "time of the observation"),
        ({"settings": SETTINGS.replace(enabled=False)}, "switched off"),
        ({"wcs": WCS(naxis=2)}, "no celestial WCS"),
    ],
)
def test_obstacles_are_named(change, reason):
    sources, truth, reference = make_field(1, 20, 50)
    inputs = {"reference": reference, "mjd": MJD, "settings": SETTINGS, "wcs": truth} | change
    result = aligned(
        sources, inputs["wcs"], (4300, 4200), inputs["reference"], inputs["mjd"], inputs["settings"]
    )
    assert not result.aligned
    assert reason in result.reason


def test_nothing_detected_and_stars_elsewhere():
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 50)
    result = aligned(sources[:0], truth, shape, reference, MJD, SETTINGS)
    assert "no detections" in result.reason
    empty = from_table(reference.table[:0], "test")
    assert "no reference" in aligned(sources, truth, shape, empty, MJD, SETTINGS).reason
    for ra, dec in [(36.92, 30.0), (216.92, 8.47)]:  # elsewhere, and the antipode
        far = tan_wcs(shape, ra=ra, dec=dec)
        result = aligned(sources, far, shape, reference, MJD, SETTINGS)
        assert "no reference stars" in result.reason
        assert result.n_reference == 0


# ---------------------------------------------------------------- detections


def test_only_positions_are_needed():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    bare = sources["x", "y"]
    result = aligned(bare, mispointed(truth, 1, 1, 0.1), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert worst_mas(result.wcs, truth, shape) < 0.01


def test_missing_values_do_no_harm():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    is_unknown = np.arange(60) % 3 == 0
    for name in ("flux", "ellipticity"):
        sources[name] = MaskedColumn(sources[name], mask=is_unknown)
    is_missing = np.arange(60) % 5 == 4
    sources["x"] = MaskedColumn(sources["x"], mask=is_missing)
    sources["y"][is_missing] = np.nan
    result = aligned(sources, mispointed(truth, 1, 1, 0.1), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert not set(result.matches["source"]) & set(np.flatnonzero(is_missing))


def test_cosmic_rays_of_a_single_exposure_are_left_out():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    sources["n_exp"] = 1.0
    sources["on_cr_mask"] = np.where(np.arange(60) < 30, 0.9, 0.0)
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    assert result.matches["source"].min() >= 30
    # Combined exposures have no cosmic rays: there the mask holds the cores of stars.
    sources["n_exp"] = 2.0
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    assert result.matches["source"].min() < 30


def test_inputs_stay_as_they_are_and_runs_repeat():
    shape = (4300, 4200)
    sources, truth, reference = make_field(3, 10, 100, noise_px=0.1)
    header_wcs = mispointed(truth, 1, 1, 0.1)
    before = pickle.dumps((sources, reference.table)), header_wcs.to_header_string()
    first = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    second = aligned(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert (pickle.dumps((sources, reference.table)), header_wcs.to_header_string()) == before
    assert first.summary() == second.summary()


# ---------------------------------------------------------------- what comes out


def test_pc_matrix_and_old_frame_become_cd_and_icrs():
    shape = (2000, 2100)
    sources, truth, reference = make_field(3, 20, 50, shape=shape)
    header = mispointed(truth, 1, 1, 0.1).to_header()  # PC and CDELT
    header["RADESYS"], header["EQUINOX"] = "FK5", 2000.0
    result = aligned(sources, WCS(header), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert worst_mas(result.wcs, truth, shape) < 0.01
    assert result.wcs.wcs.radesys == "ICRS"
    assert np.isnan(result.wcs.wcs.equinox)
    assert result.wcs.wcs.name == "BYCATCH-GAIADR3"


def test_rms_and_matches_belong_together():
    shape = (4300, 4200)
    sources, truth, reference = make_field(3, 15, 100, noise_px=0.1)
    result = aligned(sources, truth, shape, reference, MJD, SETTINGS)
    matches = result.matches
    for axis, rms in (("ra", result.rms_ra_mas), ("dec", result.rms_dec_mas)):
        weight = matches["weight"] / matches[f"d{axis}_err_mas"] ** 2
        squares = weight * matches[f"d{axis}_mas"] ** 2
        assert rms == pytest.approx(np.sqrt(squares.sum() / weight.sum()))
    assert len(set(matches["source"])) == len(set(matches["source_id"])) == len(matches)
    assert np.isin(matches["source_id"], reference.table["source_id"]).all()
    again = pickle.loads(pickle.dumps(result))
    assert again.summary() == result.summary()


# ---------------------------------------------------------------- the images of a field


def make_visit(seed, n_star, n_filters=2, *, n_common=150, n_own=200, n_seen=None, noise_px=0.05):
    """Images of one field with common sources, own cosmic rays, and reference stars.

    Only the first ``n_seen[k]`` stars are detected in image k; the headers share a pointing error
    and differ from one another by 50 mas.
    """
    rng = np.random.default_rng(seed)
    shape = (4300, 4200)
    ny, nx = shape
    truth = tan_wcs(shape)
    _, _, reference = make_field(seed, n_star, n_star, error_mas=0.3, sigma_pm=5.0)
    stars = np.column_stack(truth.wcs_world2pix(*reference.positions_at(MJD), 0))
    galaxies = rng.uniform([0, 0], [nx - 1, ny - 1], (n_common, 2))
    error = (*rng.uniform(-2, 2, 2), rng.uniform(-0.3, 0.3))
    images = []
    for k in range(n_filters):
        seen = stars[: (n_seen or {}).get(k, n_star)]
        cosmic_rays = rng.uniform([0, 0], [nx - 1, ny - 1], (n_own, 2))
        real = np.vstack([seen, galaxies])
        xy = np.vstack([real + rng.normal(0, noise_px, real.shape), cosmic_rays])
        flux = np.r_[np.full(len(seen), 300.0), np.geomspace(100, 2, n_common), np.full(n_own, 5.0)]
        sources = Table({"x": xy[:, 0], "y": xy[:, 1], "flux": flux, "n_exp": np.ones(len(xy))})
        own = rng.normal(0, 0.05, 2)
        header_wcs = mispointed(truth, error[0] + own[0], error[1] + own[1], error[2])
        images.append(field_image(sources, header_wcs, shape, name=str(k), zeropoint_ab=25.9))
    return images, truth, reference, shape


def between_mas(a, b, shape):
    """Largest distance between the frames of two images."""
    return worst_mas(a.wcs, b.wcs, shape)


def test_a_filter_without_gaia_stars_inherits_from_the_others():
    for seed in range(6):
        images, truth, reference, shape = make_visit(seed, 12, 3, n_seen={1: 0, 2: 1})
        result = align.run(images, reference, SETTINGS).images
        assert [image.grade for image in result] == ["A"] * 3
        assert [image.n_matches for image in result] == [12, 0, 1]
        assert [image.n_field_matches for image in result] == [12] * 3
        for image in result:
            assert worst_mas(image.wcs, truth, shape) < 8.0
            # Colours of the same object match to a few mas.
            assert between_mas(image, result[0], shape) < 3.0
        assert result[0].astrom_err_mas < result[1].astrom_err_mas < result[0].astrom_err_mas + 1


def test_without_gaia_the_images_agree_with_one_another():
    images, _, _, shape = make_visit(3, 0, 3)
    for reference in (None, from_table(Table({"ra": [10.0], "dec": [10.0]}), "far")):
        result = align.run(images, reference, SETTINGS).images
        assert [image.grade for image in result] == ["E"] * 3
        assert not any(image.aligned for image in result)
        assert "no reference stars" in result[0].reason
        for image in result[1:]:
            assert between_mas(image, result[0], shape) < 3.0
        # The absolute error is that of a pointing, and the table says so.
        assert min(image.astrom_err_mas for image in result) > 900
        # One header decides: its image stays where it was.
        assert 0.0 in [image.shift_ra_mas for image in result]


def test_an_image_that_nothing_ties_searches_around_the_field_correction():
    images, truth, reference, shape = make_visit(5, 12, 2)
    other = images[1].sources.copy()
    common = slice(12, 162)  # an image of the same pointing with no source in common but 4 stars
    rng = np.random.default_rng(1)
    other["x"][common] = rng.uniform(0, shape[1] - 1, 150)
    other["y"][common] = rng.uniform(0, shape[0] - 1, 150)
    other["x"][4:12] = rng.uniform(0, shape[1] - 1, 8)
    lonely = field_image(other, images[1].wcs, shape, zeropoint_ab=25.9)
    result = align.run([images[0], lonely], reference, SETTINGS).images
    assert result[0].grade == "A"
    assert result[1].n_tied == 0
    assert result[1].aligned
    assert worst_mas(result[1].wcs, truth, shape) < 30.0


def test_broken_members_of_a_field_do_not_touch_the_others():
    images, _, reference, shape = make_visit(4, 10, 2)
    empty = field_image(images[0].sources[:0], images[0].wcs, shape)
    plain = field_image(images[0].sources, WCS(naxis=2), shape)
    result = align.run([empty, images[0], plain, images[1]], reference, SETTINGS).images
    assert [image.grade for image in result] == ["F", "A", "F", "A"]
    assert "no detections" in result[0].reason
    assert "no celestial" in result[2].reason
    alone = align.run(images, reference, SETTINGS).images
    assert between_mas(alone[0], result[1], shape) == 0.0


def test_the_order_of_the_images_does_not_matter():
    images, _, reference, shape = make_visit(6, 10, 3)
    forth = align.run(images, reference, SETTINGS).images
    back = align.run(images[::-1], reference, SETTINGS).images[::-1]
    for a, b in zip(forth, back, strict=True):
        assert between_mas(a, b, shape) < 0.5


def test_stated_errors_are_honest():
    ratios = []
    for seed in range(60):
        images, truth, reference, _ = make_visit(seed + 100, 8, 1, n_own=100, noise_px=0.03)
        image = align.run(images, reference, SETTINGS).images[0]
        assert image.aligned
        for x, y in ((100, 100), (2100, 2150), (4100, 4200)):
            ra, dec = truth.wcs_pix2world(x, y, 0)
            errors = image.frame_error.at(np.array([ra]), np.array([dec]))
            new_ra, new_dec = image.wcs.wcs_pix2world(x, y, 0)
            ratios += [
                (new_ra - ra) * np.cos(np.deg2rad(dec)) * 3.6e6 / errors[0][0],
                (new_dec - dec) * 3.6e6 / errors[1][0],
            ]
    # 360 ratios, of which 180 are independent: the width is known to 6 %.
    assert 1.4826 * np.median(np.abs(ratios)) == pytest.approx(1.0, abs=0.2)


def test_saturated_stars_and_their_halos_do_not_enter():
    images, truth, reference, shape = make_visit(7, 12, 1)
    sources = images[0].sources.copy()
    sources["peak"] = sources["flux"] * 0.2
    sources["peak"][:4] = 200.0
    sources["x"][:4] += 2.0  # 100 mas: what bleeding does to a centroid
    image = field_image(sources, images[0].wcs, shape, zeropoint_ab=25.9, saturation_rate=150.0)
    result = align.run([image], reference, SETTINGS).images[0]
    assert result.n_matches == 8
    assert not set(result.matches["source"]) & {0, 1, 2, 3}
    assert worst_mas(result.wcs, truth, shape) < 15.0


def test_a_magnitude_far_from_the_stars_is_no_match():
    images, _, reference, _ = make_visit(8, 10, 1)
    table = reference.table.copy()
    table["phot_g_mean_mag"] = 19.7  # 300 e/s at a zero point of 25.9
    bright = align.run(images, ReferenceStars(table, "t"), SETTINGS).images[0]
    table["phot_g_mean_mag"] = 15.0
    other = align.run(images, ReferenceStars(table, "t"), SETTINGS).images[0]
    assert bright.grade == "A"
    assert bright.odds < 1e-20
    assert not other.aligned


def test_leaving_a_star_out_shows_its_own_error():
    images, _, reference, _ = make_visit(9, 6, 1, noise_px=0.01)
    table = reference.table.copy()
    table["dec"][2] += 15.0 / 3.6e6
    result = align.run(images, ReferenceStars(table, "t"), SETTINGS).images[0]
    matches = result.matches
    wrong = matches["source_id"] == table["source_id"][2]
    # In the fit the star pulls the frame; left out, all of its error shows.
    assert matches["ddec_loo_mas"][wrong][0] == pytest.approx(-15.0, abs=1.5)
    assert abs(matches["ddec_mas"][wrong][0]) < abs(matches["ddec_loo_mas"][wrong][0])
    assert matches["weight"][wrong][0] < 0.3


def test_scale_and_skew_are_fitted_only_with_evidence():
    images, truth, reference, shape = make_visit(10, 60, 1)
    assert align.run(images, reference, SETTINGS).images[0].geometry == "rshift"
    stretched = images[0].wcs.deepcopy()
    stretched.wcs.cd = stretched.wcs.cd * (1 + 5e-5)  # 5 mas at 100 arcsec
    image = field_image(images[0].sources, stretched, shape, zeropoint_ab=25.9)
    result = align.run([image], reference, SETTINGS).images[0]
    assert result.geometry == "rscale"
    assert result.scale_ppm == pytest.approx(-50, abs=10)
    skewed = images[0].wcs.deepcopy()
    skewed.wcs.cd = skewed.wcs.cd @ np.diag([1 + 1e-4, 1 - 1e-4])
    image = field_image(images[0].sources, skewed, shape, zeropoint_ab=25.9)
    result = align.run([image], reference, SETTINGS).images[0]
    assert result.geometry == "general"
    assert worst_mas(result.wcs, truth, shape) < 5.0


# ---------------------------------------------------------------- doubt


def siblings(seed=5, n_images=3, n_star=25, n_other=120, shape=(2000, 2100)):
    """Images of the same objects with a common pointing error, their true WCS, and stars."""
    sources, truth, reference = make_field(
        seed, n_star, n_star + n_other, shape=shape, error_mas=0.3
    )
    rng = np.random.default_rng(seed)
    wrong, images = mispointed(truth, 0.3, -0.2, 0.02), []
    for k in range(n_images):
        table = sources.copy()
        for axis in "xy":
            table[axis] = table[axis] + rng.normal(0, 0.04, len(table))
        table["ellipticity"] = 0.1
        images.append(field_image(table, wrong, shape, name=f"image {k}"))
    return images, truth, reference


def with_wrong_wcs(image, how):
    """The image with a WCS that is wrong; the error is of a kind and size."""
    kind, size = how
    wcs = image.wcs.deepcopy()
    if kind == "crval":
        wcs.wcs.crval = wcs.wcs.crval + np.array([size / 3600, 0.0])
    elif kind == "roll":
        wcs = mispointed(wcs, 0, 0, size)
    elif kind == "scale":
        wcs.wcs.cd = wcs.wcs.cd * (1 + size)
    elif kind == "shear":
        wcs.wcs.cd = wcs.wcs.cd @ np.array([[1.0, size], [0.0, 1.0]])
    else:
        bent = np.zeros((2, 3, 3))
        bent[0, 2, 0], bent[1, 1, 1] = size, -size
        wcs.sip = Sip(*bent, None, None, wcs.wcs.crpix)
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.set()
    return replace(image, wcs=wcs)


@pytest.mark.parametrize(
    ("bad", "how"),
    [(0, ("scale", 3e-4)), (2, ("shear", 1e-2)), (0, ("bent", 5e-6)), (2, ("crval", 1.0)),
     (0, ("crval", 90.0))],
)  # fmt: skip
def test_an_image_in_doubt_has_no_say(bad, how):
    images, _, reference = siblings()
    good = [image for k, image in enumerate(images) if k != bad]
    without = align.run(good, reference, SETTINGS).images
    images[bad] = replace(with_wrong_wcs(images[bad], how), doubt="a card is odd")
    result = align.run(images, reference, SETTINGS).images
    for one, other in zip(without, (r for k, r in enumerate(result) if k != bad), strict=True):
        assert worst_mas(one.wcs, other.wcs, images[0].shape) == 0
        assert one.grade == other.grade == "A"
        assert align.IN_DOUBT not in other.reason
    assert result[bad].grade != "A"
    assert f"{align.IN_DOUBT}: a card is odd" in result[bad].reason


def test_an_image_in_doubt_takes_what_the_others_know():
    images, truth, reference = siblings()
    images[1] = replace(images[1], sources=images[1].sources[25:], doubt="odd")  # galaxies alone
    result = align.run(images, reference, SETTINGS).images[1]
    assert (result.grade, result.n_tied > 50) == ("B", True)
    assert worst_mas(result.wcs, truth, images[1].shape) < 5
    # Without Gaia its header does not count either.
    images[1] = with_wrong_wcs(images[1], ("crval", 1.0))
    result = align.run(images, None, SETTINGS).images
    assert [image.grade for image in result] == ["E", "E", "E"]
    assert worst_mas(result[1].wcs, result[0].wcs, images[1].shape) < 10
    assert worst_mas(result[0].wcs, images[0].wcs, images[0].shape) < 10


def test_an_image_in_doubt_says_nothing_to_another_one():
    images, _, reference = siblings(n_images=2)
    images = [replace(image, doubt="odd") for image in images]
    alone = [align.run([image], reference, SETTINGS).images[0] for image in images]
    for one, other in zip(alone, align.run(images, reference, SETTINGS).images, strict=True):
        assert worst_mas(one.wcs, other.wcs, images[0].shape) == 0
        assert other.grade == "B"


@pytest.mark.parametrize(("n_images", "bad"), [(2, 1), (3, 0)])
@pytest.mark.parametrize(
    "how",
    [("crval", 2.0), ("crval", 30.0), ("roll", 0.2), ("roll", 5.0), ("scale", 3e-4),
     ("scale", 3e-3), ("shear", 5e-4), ("shear", 3e-3), ("bent", 1e-6), ("bent", 5e-6)],
)  # fmt: skip
def test_a_wrong_wcs_without_a_sign_moves_no_neighbour(how, n_images, bad):
    images, truth, reference = siblings(n_images=n_images)
    images[bad] = with_wrong_wcs(images[bad], how)
    image_result = align.run(images, reference, SETTINGS).images
    for k, result in enumerate(image_result):
        off = worst_mas(result.wcs, truth, images[0].shape)
        if k != bad:
            assert off < 5 * result.astrom_err_mas
        elif how[0] != "crval" and how[0] != "roll":
            # Right, or said to be in doubt.
            assert align.IN_DOUBT in result.reason
            assert result.grade != "A"
        else:
            assert result.grade == "F" or off < 5


@pytest.mark.parametrize(("misfit_mas", "tied"), [(2.6, True), (3.5, False)])
def test_images_that_differ_by_3_mas_are_not_tied(misfit_mas, tied):
    images, _, reference = siblings(n_images=3)
    # A scale moves uniform positions by rms size / sqrt(12) of the image per axis.
    size_mas = np.sqrt((2000**2 + 2100**2) / 2) * 50
    images[1] = with_wrong_wcs(images[1], ("scale", misfit_mas / (size_mas / np.sqrt(12))))
    result = align.run(images, reference, SETTINGS).images[1]
    assert (result.n_tied > 100) == tied
    assert (align.IN_DOUBT in result.reason) != tied
    assert (f"differs from others of the field by {misfit_mas:.0f} mas" in result.reason) != tied


@pytest.mark.parametrize(("apart_deg", "together"), [(0.24, True), (0.26, False)])
def test_images_a_quarter_of_a_degree_apart_have_nothing_in_common(apart_deg, together):
    images, truth, reference = siblings(n_images=2)
    other = replace(
        images[1], wcs=mispointed(truth, 0, apart_deg * 3600, 0), sources=images[1].sources[:40]
    )
    results = align.run([images[0], other], reference, SETTINGS).images
    alone = align.run(images[:1], reference, SETTINGS).images[0]
    # Together they share a plane, whose point is between them: another rounding.
    same = np.array_equal(results[0].wcs.wcs.crval, alone.wcs.wcs.crval)
    assert same != together


def test_images_elsewhere_are_a_field_of_their_own():
    images, _, reference = siblings(n_images=2)
    far = replace(images[0], wcs=tan_wcs(images[0].shape, ra=216.92, dec=8.47))
    result = align.run([far, *images], reference, SETTINGS).images
    assert result[0].grade == "F"
    for one, other in zip(result[1:], align.run(images, reference, SETTINGS).images, strict=True):
        assert worst_mas(one.wcs, other.wcs, images[0].shape) == 0


@pytest.mark.parametrize(
    ("name", "error_mas"),
    [
        ("IDC_0461802ej-FIT_SVM_GAIAeDR3", 30.0),
        ("IDC_0461802ej-GSC240", 200.0),
        ("IDC_0461802ej", 1000.0),
        ("", 1000.0),
    ],
)
def test_the_header_shows_what_error_to_expect(name, error_mas):
    assert align.pointing_error_mas(name) == error_mas


def test_grades_are_ordered_by_what_is_known():
    assert list(align.GRADES) == list("ABCDEF")
    field = align.FieldAlignment(())
    assert field.summary()["grade"] == "F"


# ---------------------------------------------------------------- another simulator's visit


def detections(image, exposures):
    """Segment centroids of a background-subtracted image, without the project's own detection."""
    from photutils.background import Background2D
    from photutils.segmentation import SourceCatalog, detect_sources

    bad = ~np.isfinite(image)
    background = Background2D(image, 100, mask=bad)
    clean = np.where(bad, 0.0, image - background.background)
    segments = detect_sources(clean, 2 * background.background_rms, n_pixels=40, mask=bad)
    catalog = SourceCatalog(clean, segments)
    x, y = np.asarray(catalog.x_centroid), np.asarray(catalog.y_centroid)
    return Table(
        {
            "x": x,
            "y": y,
            "flux": np.asarray(catalog.segment_flux),
            "ellipticity": np.asarray(catalog.ellipticity),
            "n_exp": exposures[np.rint(y).astype(int), np.rint(x).astype(int)].astype(float),
        }
    )


@pytest.mark.realdata
@pytest.mark.parametrize("root", ["jcmdp9010", "jcmdp9020", "jcmdp9030"])
def test_visit_of_another_simulator(root):
    if not SIM_VISIT.exists():
        pytest.skip(f"{SIM_VISIT} is not there")
    with fits.open(SIM_VISIT / "raw" / f"{root}_drc.fits.gz") as hdus:
        image = hdus["SCI"].data.astype(float)
        exposures = np.bitwise_count(hdus["CTX"].data.view(np.uint32))
        wcs = WCS(hdus["SCI"].header)
        mjd = (hdus[0].header["EXPSTART"] + hdus[0].header["EXPEND"]) / 2
    reference = read_local(SIM_VISIT / "gaia.ecsv")
    result = aligned(detections(image, exposures), wcs, image.shape, reference, mjd, SETTINGS)
    assert result.aligned, result.reason
    assert result.n_matches >= 10
    truth = Table.read(SIM_VISIT / "truth" / f"{root}.ecsv")
    ra, dec = result.wcs.wcs_pix2world(truth["x"], truth["y"], 0)
    dra = (ra - truth["ra"]) * np.cos(np.deg2rad(truth["dec"])) * 3.6e6
    ddec = (dec - truth["dec"]) * 3.6e6
    assert np.sqrt(np.mean(dra**2 + ddec**2)) < 5.0
    error = [float(v) for v in (SIM_VISIT / "truth" / "wcs_error.txt").read_text()[1:-1].split(",")]
    assert result.shift_ra_mas == pytest.approx(-1000 * error[0], abs=5.0)
    assert result.shift_dec_mas == pytest.approx(-1000 * error[1], abs=5.0)
    assert abs(result.roll_deg) == pytest.approx(error[2], abs=0.01)
