"""Alignment against known pointing errors, and refusal where there is nothing to align to."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

from bycatch.gaia import ReferenceStars, from_table, read_local
from bycatch.settings import AlignSettings
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
    xy = rng.uniform([0, 0], [nx - 1, ny - 1], (n, 2))
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


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    "error", [(0, 0, 0), (0.42, -0.31, 0.05), (2.1, 2.1, 0.3), (-3, 0, -0.3), (0, 3, 0)]
)
def test_known_offsets_are_recovered_without_noise(error):
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 300, shape=shape)
    header_wcs = mispointed(truth, *error)
    result = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert result.aligned, result.reason
    assert result.geometry == "rshift"
    assert worst_mas(result.wcs, truth, shape) < 0.01
    assert result.roll_deg == pytest.approx(-error[2], abs=1e-4)
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
    result = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert result.aligned, result.reason
    assert worst_mas(result.wcs, truth, shape) < 0.01


def test_positions_are_zero_based():
    shape = (2000, 2100)
    sources, truth, reference = make_field(3, 20, 50, shape=shape)
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
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
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
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
        result = align.run(sources, mispointed(truth, *error), shape, reference, MJD, SETTINGS)
        assert result.aligned, result.reason
        assert worst_mas(result.wcs, truth, shape) < limit_mas
        assert result.chance < 1e-4


def test_crowded_field():
    shape = (4300, 4200)
    sources, truth, reference = make_field(
        4, 1600, 2000, n_missing=400, noise_px=0.1, error_mas=0.3
    )
    result = align.run(sources, mispointed(truth, 1, 2, 0.2), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert result.n_matches > 1300
    assert worst_mas(result.wcs, truth, shape) < 2.0


def test_proper_motions_are_applied():
    shape = (2000, 2000)
    # Motions of 30 mas/yr over four years: 120 mas, more than the tolerance.
    sources, truth, reference = make_field(5, 20, 100, shape=shape, sigma_pm=30.0, years=4.0)
    header_wcs = mispointed(truth, 0.5, 0.5, 0.0)
    moving = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert moving.aligned
    assert worst_mas(moving.wcs, truth, shape) < 0.02
    table = reference.table.copy()
    table["pmra"] = table["pmdec"] = np.nan
    frozen = align.run(sources, header_wcs, shape, ReferenceStars(table, "t"), MJD, SETTINGS)
    assert not frozen.aligned


def test_stars_without_motion_count_for_less():
    shape = (2000, 2000)
    sources, truth, reference = make_field(6, 24, 100, shape=shape, error_mas=0.01)
    table = reference.table.copy()
    # Half of the stars have no motion in the catalog, and have drifted by 12 mas.
    table["pmra"][::2] = table["pmdec"][::2] = np.nan
    table["ref_epoch"] -= 4.0
    table["dec"][::2] += 12.0 / 3.6e6
    result = align.run(sources, truth, shape, ReferenceStars(table, "t"), MJD, SETTINGS)
    assert result.aligned
    # Equal weights would give half of the drift, 6 mas.
    assert worst_mas(result.wcs, truth, shape) < 1.5


def test_outliers_are_clipped():
    shape = (2000, 2000)
    sources, truth, reference = make_field(7, 20, 20, shape=shape, noise_px=0.02)
    sources["x"][:4] += 0.6  # blends, 30 mas off
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
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
        result = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
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
        result = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
        assert result.aligned, result.reason
        assert result.n_matches == n_star
        # Three stars on one side leave the far corner to the error of the roll.
        assert worst_mas(result.wcs, truth, shape) < 80.0


@pytest.mark.parametrize(("n_ref", "n_det", "n_seeds"), [(3, 60, 60), (8, 300, 60), (60, 1500, 15)])
def test_reference_from_another_part_of_the_sky_is_refused(n_ref, n_det, n_seeds):
    shape = (4300, 4200)
    for seed in range(n_seeds):
        sources, truth, reference = make_field(seed, 0, n_det, n_missing=n_ref)
        result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
        assert not result.aligned, seed
        assert result.wcs is truth


def test_crowded_reference_from_another_part_of_the_sky_is_refused():
    sources, truth, reference = make_field(1, 0, 2000, n_missing=2000)
    result = align.run(sources, truth, (4300, 4200), reference, MJD, SETTINGS)
    assert not result.aligned


def test_pointing_error_beyond_the_search_is_refused():
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 100)
    result = align.run(sources, mispointed(truth, 4.0, 0, 0), shape, reference, MJD, SETTINGS)
    assert not result.aligned
    wider = SETTINGS.replace(max_shift_arcsec=5.0)
    result = align.run(sources, mispointed(truth, 4.0, 0, 0), shape, reference, MJD, wider)
    assert result.aligned


def test_scattered_pairs_are_refused():
    shape = (4300, 4200)
    sources, truth, reference = make_field(8, 20, 20, noise_px=0.7)
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS.replace(max_rms_mas=15))
    assert not result.aligned
    assert "scatter" in result.reason


def test_pairs_close_together_or_few_get_a_shift_only():
    shape = (4300, 4200)
    sources, truth, reference = make_field(9, 12, 60, noise_px=0.02)
    header_wcs = mispointed(truth, 1.0, 0.5, 0.0)
    shift_only = SETTINGS.replace(min_matches_rotation=13)
    result = align.run(sources, header_wcs, shape, reference, MJD, shift_only)
    assert (result.aligned, result.geometry) == (True, "shift")
    assert worst_mas(result.wcs, truth, shape) < 2.0
    assert abs(result.roll_deg) < 1e-4
    wide = SETTINGS.replace(min_spread_share=1.0)
    assert align.run(sources, header_wcs, shape, reference, MJD, wide).geometry == "shift"


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
    result = align.run(
        sources, inputs["wcs"], (4300, 4200), inputs["reference"], inputs["mjd"], inputs["settings"]
    )
    assert not result.aligned
    assert reason in result.reason
    assert isinstance(result.header(), fits.Header)


def test_nothing_detected_and_stars_elsewhere():
    shape = (4300, 4200)
    sources, truth, reference = make_field(1, 20, 50)
    result = align.run(sources[:0], truth, shape, reference, MJD, SETTINGS)
    assert "no detections" in result.reason
    empty = from_table(reference.table[:0], "test")
    assert "no reference" in align.run(sources, truth, shape, empty, MJD, SETTINGS).reason
    for ra, dec in [(36.92, 30.0), (216.92, 8.47)]:  # elsewhere, and the antipode
        far = tan_wcs(shape, ra=ra, dec=dec)
        result = align.run(sources, far, shape, reference, MJD, SETTINGS)
        assert "in reach" in result.reason
        assert result.n_reference == 0


# ---------------------------------------------------------------- detections


def test_only_positions_are_needed():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    bare = sources["x", "y"]
    result = align.run(bare, mispointed(truth, 1, 1, 0.1), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert worst_mas(result.wcs, truth, shape) < 0.01


def test_missing_values_do_no_harm():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    unknown = np.arange(60) % 3 == 0
    for name in ("flux", "ellipticity"):
        sources[name] = MaskedColumn(sources[name], mask=unknown)
    lost = np.arange(60) % 5 == 4
    sources["x"] = MaskedColumn(sources["x"], mask=lost)
    sources["y"][lost] = np.nan
    result = align.run(sources, mispointed(truth, 1, 1, 0.1), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert not set(result.matches["source"]) & set(np.flatnonzero(lost))


def test_cosmic_rays_of_a_single_exposure_are_left_out():
    shape = (2000, 2000)
    sources, truth, reference = make_field(2, 12, 60, shape=shape)
    sources["n_exp"] = 1.0
    sources["on_cr_mask"] = np.where(np.arange(60) < 30, 0.9, 0.0)
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
    assert result.matches["source"].min() >= 30
    # Combined exposures have no cosmic rays: there the mask holds the cores of stars.
    sources["n_exp"] = 2.0
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
    assert result.matches["source"].min() < 30


def test_inputs_stay_as_they_are_and_runs_repeat():
    shape = (4300, 4200)
    sources, truth, reference = make_field(3, 10, 100, noise_px=0.1)
    header_wcs = mispointed(truth, 1, 1, 0.1)
    before = pickle.dumps((sources, reference.table)), header_wcs.to_header_string()
    first = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    second = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    assert (pickle.dumps((sources, reference.table)), header_wcs.to_header_string()) == before
    assert first.summary() == second.summary()
    assert first.header() == second.header()


# ---------------------------------------------------------------- what is written


def test_header_of_an_aligned_image():
    shape = (4300, 4200)
    sources, truth, reference = make_field(3, 10, 100, noise_px=0.1)
    header_wcs = mispointed(truth, 1, 1, 0.1)
    result = align.run(sources, header_wcs, shape, reference, MJD, SETTINGS)
    header = fits.Header.fromstring(result.header().tostring())
    assert worst_mas(WCS(header), result.wcs, shape) < 1e-5
    assert header["WCSNAME"] == "BYCATCH-GAIADR3"
    assert header["NMATCHES"] == result.n_matches == len(result.matches)
    assert header["FITGEOM"] == "rshift"
    assert header["RMS_RA"] == pytest.approx(result.rms_ra_mas)
    assert header["RMS_DEC"] == pytest.approx(result.rms_dec_mas)
    assert header["ROLL"] == pytest.approx(-0.1, abs=0.01)
    assert header["SHIFT_RA"] == pytest.approx(-1000, abs=20)
    assert header["SHIFTDEC"] == pytest.approx(-1000, abs=20)
    assert (header["CTYPE1"], header["CTYPE2"]) == ("RA---TAN", "DEC--TAN")
    assert "CD1_1" in header
    assert not [k for k in header if k.startswith(("NAXIS", "PC1", "CDELT", "LTV"))]
    assert all(header.comments[k] for k in ("RMS_RA", "RMS_DEC", "NMATCHES", "FITGEOM", "ROLL"))
    # A pure TAN projection, shifted and turned: no change of scale or skew.
    cd, old = result.wcs.wcs.cd, truth.wcs.cd
    assert np.linalg.det(cd) == pytest.approx(np.linalg.det(old), rel=1e-6)
    np.testing.assert_allclose(cd @ cd.T, old @ old.T, rtol=0, atol=1e-6 * np.abs(old).max() ** 2)


def test_pc_matrix_and_old_frame_become_cd_and_icrs():
    shape = (2000, 2100)
    sources, truth, reference = make_field(3, 20, 50, shape=shape)
    header = mispointed(truth, 1, 1, 0.1).to_header()  # PC and CDELT
    header["RADESYS"], header["EQUINOX"] = "FK5", 2000.0
    result = align.run(sources, WCS(header), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert worst_mas(result.wcs, truth, shape) < 0.01
    written = result.header()
    assert worst_mas(WCS(written), truth, shape) < 0.01
    assert written["RADESYS"] == "ICRS"
    assert "EQUINOX" not in written
    assert "PC1_1" not in written


def test_size_of_the_original_header_does_not_matter():
    shape = (2000, 2100)
    sources, truth, reference = make_field(3, 20, 50, shape=shape)
    header = truth.to_header()
    for k in range(3000):
        header[f"PAD{k:05d}"] = (0.5 * k, "pipeline keyword")
    result = align.run(sources, WCS(header), shape, reference, MJD, SETTINGS)
    assert result.aligned
    assert len(result.header()) < 40


def test_header_of_an_image_that_keeps_its_wcs():
    shape = (4300, 4200)
    sources, truth, _ = make_field(3, 10, 100)
    result = align.run(sources, truth, shape, None, MJD, SETTINGS)
    header = fits.Header.fromstring(result.header().tostring())
    assert worst_mas(WCS(header), truth, shape) < 1e-5
    assert header["WCSNAME"] == "IDC_0461802ej"
    assert header["NMATCHES"] == 0
    assert header["FITGEOM"] == "none"
    assert "RMS_RA" not in header


def test_rms_and_matches_belong_together():
    shape = (4300, 4200)
    sources, truth, reference = make_field(3, 15, 100, noise_px=0.1)
    result = align.run(sources, truth, shape, reference, MJD, SETTINGS)
    matches = result.matches
    assert result.rms_ra_mas == pytest.approx(np.sqrt(np.mean(matches["dra_mas"] ** 2)))
    assert result.rms_dec_mas == pytest.approx(np.sqrt(np.mean(matches["ddec_mas"] ** 2)))
    assert len(set(matches["source"])) == len(set(matches["source_id"])) == len(matches)
    assert np.isin(matches["source_id"], reference.table["source_id"]).all()
    again = pickle.loads(pickle.dumps(result))
    assert again.summary() == result.summary()


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
    result = align.run(detections(image, exposures), wcs, image.shape, reference, mjd, SETTINGS)
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
