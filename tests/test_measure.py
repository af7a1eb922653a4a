"""Photometry: analytic sums, errors that are the scatter, flags, positions, Gaia matches."""

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.catalogs.columns import expand
from bycatch.catalogs.flags import Flag, decode
from bycatch.catalogs.photometry_columns import PHOT
from bycatch.settings import MeasureSettings
from bycatch.sky.gaia import from_table
from bycatch.stages import measure
from bycatch.stages.measure import sky_noise

MJD = 57402.01
PLAIN = MeasureSettings(correlated_noise=False)


def noise(shape, sigma=0.01, seed=1):
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def names_of(table, row=0):
    return set(decode(int(table["flags"][row])))


# ---------------------------------------------------------------- apertures


def test_sums_of_a_constant_are_areas(as_image):
    image = as_image(np.full((80, 110), 0.25))
    x, y = np.array([50.0, 50.3, 61.77]), np.array([40.0, 39.6, 38.41])
    table = measure.run(image, measure.Targets(x, y)).table
    for r in (2, 4, 6, 8, 10):
        np.testing.assert_allclose(table[f"area_{r}"], np.pi * r**2, rtol=1e-9)
        np.testing.assert_allclose(table[f"countrate_{r}"], 0.25 * np.pi * r**2, rtol=1e-7)
        np.testing.assert_allclose(table[f"countrate_err_{r}"], 0, atol=1e-9)
    np.testing.assert_allclose(table["sky_median"], 0.25, rtol=1e-7)
    np.testing.assert_allclose(table["sky_std"], 0, atol=1e-9)


def test_partial_pixels_are_exact():
    # One bright pixel; the circle's share of it is known.
    data, valid = np.zeros((9, 9), dtype=np.float32), np.ones((9, 9), dtype=bool)
    data[4, 4] = 1
    x, y = np.array([4.0, 4.5, 3.0]), np.array([4.0, 4.0, 4.0])
    sums, areas = measure.aperture_sums(data, valid, x, y, (0.5, 2.0))
    np.testing.assert_allclose(sums[0], [np.pi / 4, 1], rtol=1e-12)
    np.testing.assert_allclose(sums[1], [np.pi / 8, 1], rtol=1e-12)
    np.testing.assert_allclose(sums[2], [0, 1], atol=1e-12)
    np.testing.assert_allclose(areas[:, 1], np.pi * 4, rtol=1e-12)


def test_invalid_pixels_do_not_count(as_image):
    sci = np.full((80, 110), 0.25)
    sci[40, 50] = np.nan
    image = as_image(sci)
    table = measure.run(image, measure.Targets([50.0, 50.5], [40.0, 40.0])).table
    np.testing.assert_allclose(table["area_2"], np.pi * 4 - 1, rtol=1e-9)
    np.testing.assert_allclose(table["countrate_2"], 0.25 * (np.pi * 4 - 1), rtol=1e-7)
    assert "partial_aperture" in names_of(table)


def test_a_star_is_measured_above_its_sky(as_image, psf):
    shape = (100, 120)
    image = as_image(0.3 + 50 * psf(shape, 60.3, 50.8))
    table = measure.run(image, measure.Targets([60.3], [50.8])).table
    gamma2 = (2.1 / (2 * np.sqrt(2 ** (1 / 3) - 1))) ** 2
    for r in (4, 6, 8, 10):
        net = table[f"countrate_{r}"][0] - table["sky_median"][0] * table[f"area_{r}"][0]
        light_within = 1 - (1 + r**2 / gamma2) ** -2.0
        assert net == pytest.approx(50 * light_within, rel=0.003)
    assert table["fwhm"][0] == pytest.approx(2.1, abs=2e-3)


@pytest.mark.parametrize("fwhm", [1.5, 2.1, 3.0])
def test_the_width_of_known_stars(as_image, psf, fwhm):
    shape = (90, 200)
    sci = noise(shape, 0.005)
    x, y = np.array([30.2, 70.5, 110.8, 150.1]), np.array([40.0, 45.5, 44.7, 42.2])
    for xi, yi in zip(x, y, strict=True):
        sci += (100 * psf(shape, xi, yi, fwhm)).astype(np.float32)
    table = measure.run(as_image(sci), measure.Targets(x, y)).table
    np.testing.assert_allclose(table["fwhm"], fwhm, rtol=0.02)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("rate", [0.5, 20.0, 200.0])
def test_errors_are_the_scatter(as_image, psf, rate):
    # Independent pixels, Poisson source and Gaussian sky, 2500 stars of one brightness.
    rng = np.random.default_rng(5)
    t, step, n = 600.0, 34, 50
    shape = (step * n, step * n)
    star = psf((step, step), 17.0, 17.0, alpha=6.0)
    sci = rng.poisson(np.tile(star * rate * t, (n, n))) / t + rng.normal(0, 0.01, shape)
    gx, gy = np.meshgrid(17.0 + step * np.arange(n), 17.0 + step * np.arange(n))
    image = as_image(sci, exptime_s=t)
    table = measure.run(image, measure.Targets(gx.ravel(), gy.ravel()), PLAIN).table
    for r in (2, 4, 6, 10):
        net = np.asarray(table[f"countrate_{r}"] - table["sky_median"] * table[f"area_{r}"])
        pull = (net - np.median(net)) / np.asarray(table[f"countrate_err_{r}"])
        # The form takes the sky for a mean; a median scatters by up to sqrt(pi/2) more, which
        # shows in faint sources where the sky's level matters: 14 % at 10 px.
        largest = {6: 1.09, 10: 1.17}.get(r, 1.05)
        assert 0.94 < np.std(pull) < largest


def test_each_source_has_its_own_exposure_time(as_image, psf):
    shape = (90, 200)
    sci = noise(shape) + 80 * psf(shape, 45, 45) + 80 * psf(shape, 155, 45)

    def half(hdus):
        hdus["WHT"].data[:, 100:] = 500
        hdus["CTX"].data[:, 100:] = 1

    image = as_image(sci, half)
    table = measure.run(image, measure.Targets([45.0, 155.0], [45.0, 45.0]), PLAIN).table
    np.testing.assert_allclose(table["exptime"], [1000, 500], rtol=1e-5)
    assert table["n_exp"].tolist() == [2, 1]
    for r in (4, 10):
        net = table[f"countrate_{r}"] - table["sky_median"] * table[f"area_{r}"]
        area = np.pi * r**2
        sky = area * table["sky_std"] ** 2 * (1 + area / table["n_sky"])
        (share,) = sky_noise.photon_shares(image, (float(r),))
        expected = np.sqrt(share * net / [1000, 500] + sky)
        np.testing.assert_allclose(table[f"countrate_err_{r}"], expected, rtol=1e-5)
    assert table["countrate_err_10"][1] > 1.25 * table["countrate_err_10"][0]


def test_the_number_of_sky_pixels_is_the_actual_one(as_image):
    sci = noise((90, 120))
    sci[:, 70:] = np.nan
    image = as_image(sci)
    table = measure.run(image, measure.Targets([40.0, 62.0], [45.0, 45.0])).table
    yy, xx = np.indices(sci.shape)
    for k, x in enumerate((40.0, 62.0)):
        d = np.hypot(xx - x, yy - 45.0)
        inside = (d >= 10) & (d <= 15) & np.isfinite(sci)
        assert 0.98 * inside.sum() <= table["n_sky"][k] <= inside.sum()
    assert table["n_sky"][1] < 0.8 * table["n_sky"][0]


@pytest.mark.parametrize(
    ("pixfrac", "scale", "factor"),
    [(1.0, 0.05, 1.5), (0.8, 0.05, 1.3636), (1.0, 0.03, 2.0833), (0.8, 0.03, 1.7778)],
)  # fmt: skip
def test_the_correlation_of_drizzled_noise(as_image, pixfrac, scale, factor):
    def change(hdus):
        hdus[0].header["D001PIXF"] = pixfrac
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[key] *= scale / 0.05

    image = as_image(noise((90, 100)), change)
    assert image.noise_correlation == pytest.approx(factor, abs=1e-3)
    loose = measure.run(image, measure.Targets([50.0], [45.0]))
    plain = measure.run(image, measure.Targets([50.0], [45.0]), PLAIN)
    assert (loose.correlation, plain.correlation) == (pytest.approx(factor, abs=1e-3), 1.0)
    assert loose.table["countrate_err_10"][0] > plain.table["countrate_err_10"][0]


# ---------------------------------------------------------------- cosmic rays and flags


def test_cosmic_rays_are_flagged_where_one_exposure_looks(as_image):
    def two_halves(hdus):
        hdus["CTX"].data[:, :60] = 1

    image = as_image(noise((90, 120)), two_halves)
    mask = np.zeros(image.shape, dtype=bool)
    mask[45, [30, 90]] = True
    x = np.array([30.0, 32.0, 32.01, 31.5, 90.0, 30.0])
    y = np.array([45.0, 45.0, 45.0, 46.2, 45.0, 60.0])
    table = measure.run(image, measure.Targets(x, y), pixels=measure.Pixels(cr_mask=mask)).table
    assert table["cr_flag"].tolist() == [1, 1, 0, 1, 0, 0]
    assert [("cosmic_ray" in names_of(table, k)) for k in range(6)] == [True, True, False, True] + [
        False
    ] * 2
    assert table["n_exp"].tolist() == [1, 1, 1, 1, 2, 1]
    wide = measure.run(
        image,
        measure.Targets(x, y),
        MeasureSettings(cr_radius_px=15.0),
        pixels=measure.Pixels(cr_mask=mask),
    )
    assert wide.table["cr_flag"].tolist() == [1, 1, 1, 1, 0, 1]
    assert measure.run(image, measure.Targets(x, y)).table["cr_flag"].sum() == 0
    exact = measure.run(
        image,
        measure.Targets(x, y),
        MeasureSettings(cr_radius_px=0.0),
        pixels=measure.Pixels(cr_mask=mask),
    )
    assert exact.table["cr_flag"].tolist() == [1, 0, 0, 0, 0, 0]


def test_a_source_between_one_and_two_exposures_is_not_single(as_image):
    # Half of its 12 pixels have one exposure, half two: the median is 1.5.
    def half(hdus):
        hdus["CTX"].data[:, :60] = 1

    image = as_image(noise((90, 120)), half)
    mask = np.ones(image.shape, dtype=bool)
    table = measure.run(
        image,
        measure.Targets([59.5, 58.4, 60.6], [45.5, 45.5, 45.5]),
        pixels=measure.Pixels(cr_mask=mask),
    ).table
    assert table["n_exp"].tolist() == [2, 1, 2]
    assert table["n_exp"].dtype.kind == "i"
    assert table["cr_flag"].tolist() == [0, 1, 0]
    assert ["single_exposure" in names_of(table, k) for k in range(3)] == [False, True, False]


@pytest.fixture
def star_image(as_image, psf):
    shape = (120, 160)
    return as_image(noise(shape) + 30 * psf(shape, 80, 60))


def test_a_good_star_has_no_flags(star_image):
    assert names_of(measure.run(star_image, measure.Targets([80.0], [60.0])).table) == set()


@pytest.mark.parametrize(
    ("x", "y", "flags"),
    [
        (14.0, 60.0, {"edge"}),
        (80.0, 105.5, {"edge"}),
        (5.0, 60.0, {"edge", "partial_aperture"}),
        (-5.0, 60.0, {"edge", "partial_aperture", "fit_failed"}),
        (-40.0, 60.0, {"edge", "partial_aperture", "off_image", "bad_sky", "fit_failed"}),
        (1e7, 60.0, {"edge", "partial_aperture", "off_image", "bad_sky", "fit_failed"}),
        (np.nan, 60.0, {"edge", "partial_aperture", "off_image", "bad_sky", "fit_failed"}),
        (80.0, np.inf, {"edge", "partial_aperture", "off_image", "bad_sky", "fit_failed"}),
    ],
)
def test_flags_of_places(star_image, x, y, flags):
    table = measure.run(star_image, measure.Targets([x], [y])).table
    ignored = {"fit_pinned"} if "fit_failed" in flags else {"fit_pinned", "fit_failed"}
    assert names_of(table) - ignored == flags - ignored
    if "off_image" in flags:
        for name in ("countrate_2", "countrate_err_10", "sky_median", "fwhm"):
            assert table[name].mask[0]
        assert table["n_sky"][0] == table["n_exp"][0] == table["exptime"][0] == 0


def test_an_aperture_without_a_pixel_has_no_value(star_image):
    # 5 px off the image: the circles of 6 px and more reach it, the smaller ones do not.
    table = measure.run(star_image, measure.Targets([-5.6], [60.0])).table
    assert table["countrate_2"].mask[0]
    assert table["countrate_err_4"].mask[0]
    assert not np.ma.is_masked(table["countrate_8"][0])
    assert table["area_2"][0] == 0


def test_flags_of_gaps(as_image, psf):
    sci = noise((120, 160)) + 30 * psf((120, 160), 80, 60)
    sci[:, 92:95] = np.nan
    assert names_of(measure.run(as_image(sci), measure.Targets([80.0], [60.0])).table) == {"edge"}
    sci[:, 85:95] = np.nan
    assert names_of(measure.run(as_image(sci), measure.Targets([80.0], [60.0])).table) >= {
        "edge",
        "partial_aperture",
    }


def test_a_sky_of_few_pixels_is_flagged(as_image):
    sci = np.full((60, 60), np.nan)
    sci[25:36, 25:36] = noise((11, 11))
    sci[30, 41:51] = 0.01
    table = measure.run(as_image(sci), measure.Targets([30.0], [30.0])).table
    assert "bad_sky" in names_of(table)


def test_neighbours_are_flagged(star_image):
    table = measure.run(
        star_image, measure.Targets([80.0, 90.0, 80.0, np.nan], [60.0, 60.0, 80.0, 3.0])
    ).table
    blended = [bool(f & Flag.BLENDED) for f in table["flags"]]
    # Beside the star there is nothing but its light: that does not spoil the star itself.
    assert blended[:2] == [False, True]
    assert not blended[3]
    assert table["blend_share"][0] < 0.02
    again = measure.run(star_image, measure.Targets([80.0, 80.0], [60.0, 60.0])).table
    assert all(f & Flag.BLENDED for f in again["flags"])


def test_saturated_peaks_are_flagged(as_image, psf):
    # 77,400 e in 500 s: 155 e/s in a pixel, flagged from 80 % on.
    shape = (90, 100)
    peak = psf(shape, 50, 45).max()
    for share, has_flag in ((0.7, False), (0.9, True)):
        sci = share * 154.8 / peak * psf(shape, 50, 45) + noise(shape)
        table = measure.run(as_image(sci), measure.Targets([50.0], [45.0])).table
        assert ("saturated" in names_of(table)) is has_flag


def test_a_guessed_number_of_exposures_is_flagged(as_image):
    def no_context(hdus):
        del hdus["CTX"]

    table = measure.run(
        as_image(noise((90, 100)), no_context), measure.Targets([50.0], [45.0])
    ).table
    assert "no_exposure_map" in names_of(table)


def test_single_exposures_and_odd_fits_are_flagged(as_image):
    sci = noise((90, 100), 1e-4)
    sci[45, 50] = 5.0
    image = as_image(sci, n_exposures=1)
    assert {"single_exposure", "fit_pinned"} <= names_of(
        measure.run(image, measure.Targets([50.0], [45.0])).table
    )
    hole = noise((90, 100), 1e-4)
    hole[44:47, 49:52] = -5
    table = measure.run(as_image(hole), measure.Targets([50.0], [45.0])).table
    assert "fit_failed" in names_of(table)
    assert table["fwhm"].mask[0]


# ---------------------------------------------------------------- positions


def test_positions_count_from_zero(as_image, psf):
    image = as_image(noise((120, 160)))
    ra, dec = 36.9203, -8.4698
    x, y = image.wcs.all_world2pix(ra, dec, 0)
    star = np.asarray(image.sci) + 40 * psf((120, 160), float(x), float(y))
    image = as_image(star)
    table = measure.run(image, measure.Targets([float(x)], [float(y)])).table
    assert table["RA_GAIA_WCS"][0] == pytest.approx(ra, abs=1e-9)
    assert table["DEC_GAIA_WCS"][0] == pytest.approx(dec, abs=1e-9)
    # the star is where the position says: its profile is that of the star
    assert table["fwhm"][0] == pytest.approx(2.1, abs=0.05)
    shifted = measure.run(image, measure.Targets([float(x) + 1], [float(y) + 1])).table
    assert shifted["countrate_2"][0] < 0.9 * table["countrate_2"][0]


def test_an_aligned_wcs_is_used(star_image):
    aligned = WCS(star_image.wcs.to_header())
    aligned.wcs.crval = [150.0, 2.0]
    table = measure.run(
        star_image, measure.Targets([80.0], [60.0]), frame=measure.SkyFrame(aligned)
    ).table
    expected = aligned.all_pix2world(80.0, 60.0, 0)
    assert table["RA_GAIA_WCS"][0] == pytest.approx(float(expected[0]), abs=1e-12)
    assert table["DEC_GAIA_WCS"][0] == pytest.approx(float(expected[1]), abs=1e-12)


def gaia_at(image, x, y, *, moved_mas=(0.0, 0.0), pm=(0.0, 0.0), **columns):
    ra, dec = image.wcs.all_pix2world(np.asarray(x, float), np.asarray(y, float), 0)
    n = len(ra)
    ra = ra + moved_mas[0] / 3.6e6 / np.cos(np.radians(dec))
    table = Table(
        {
            "source_id": 6123456789012345671 + np.arange(n, dtype=np.int64),
            "ra": ra,
            "dec": dec + moved_mas[1] / 3.6e6,
            "pmra": np.full(n, pm[0]),
            "pmdec": np.full(n, pm[1]),
            "phot_g_mean_mag": np.linspace(18, 20, n),
            **columns,
        }
    )
    return from_table(table, "test"), table


def test_gaia_columns_keep_the_catalogs_epoch(star_image):
    # A fast star: at the epoch of the image it is at the detection, in the catalog it is not.
    years = (MJD - 51544.5) / 365.25 + 2000 - 2016.0
    motion = (4000.0, -3000.0)
    stars, table = gaia_at(
        star_image,
        [80.0],
        [60.0],
        moved_mas=(-motion[0] * years, -motion[1] * years),
        pm=motion,
    )
    measurement = measure.run(
        star_image, measure.Targets([80.0], [60.0]), field=measure.FieldContext(reference=stars)
    ).table
    assert measurement["GAIA_CAT_RA"][0] == table["ra"][0]
    assert measurement["GAIA_CAT_DEC"][0] == table["dec"][0]
    assert measurement["gaia_source_id"][0] == table["source_id"][0]
    assert measurement["gaia_separation"][0] < 0.5
    assert measurement["gaia_g"][0] == 18
    unmoved = np.hypot(*np.array(motion) * years)
    assert unmoved > 50


def test_no_match_is_minus_999(star_image):
    stars, _ = gaia_at(star_image, [20.0], [20.0])
    measurement = measure.run(
        star_image,
        measure.Targets([80.0, np.nan, -500.0], [60.0, 60.0, 60.0]),
        field=measure.FieldContext(reference=stars),
    )
    table = measurement.table
    assert table["GAIA_CAT_RA"].tolist() == table["GAIA_CAT_DEC"].tolist() == [-999.0] * 3
    assert table["gaia_source_id"].tolist() == [0, 0, 0]
    assert all(table["gaia_separation"].mask)
    assert all(table["gaia_g"].mask)
    assert measurement.summary()["n_gaia"] == 0
    alone = measure.run(star_image, measure.Targets([80.0], [60.0])).table
    assert alone["GAIA_CAT_RA"][0] == -999


def test_matches_are_one_to_one(star_image):
    # Two detections compete for one star: the nearer one has it.
    stars, _ = gaia_at(star_image, [80.0], [60.0])
    measurement = measure.run(
        star_image,
        measure.Targets([81.5, 80.4, 120.0], [60.0, 60.0, 60.0]),
        field=measure.FieldContext(reference=stars),
    ).table
    assert [bool(i) for i in measurement["gaia_source_id"]] == [False, True, False]
    # Two stars compete for one detection.
    stars, table = gaia_at(star_image, [81.5, 80.4], [60.0, 60.0])
    measurement = measure.run(
        star_image, measure.Targets([80.0], [60.0]), field=measure.FieldContext(reference=stars)
    ).table
    assert measurement["gaia_source_id"][0] == table["source_id"][1]


def test_the_radius_of_the_match(star_image):
    stars, _ = gaia_at(star_image, [80.0], [60.0], moved_mas=(0.0, 150.0))
    near = measure.run(
        star_image, measure.Targets([80.0], [60.0]), field=measure.FieldContext(reference=stars)
    ).table
    assert near["gaia_separation"][0] == pytest.approx(150, abs=0.01)
    strict = MeasureSettings(gaia_radius_mas=149.0)
    far = measure.run(
        star_image,
        measure.Targets([80.0], [60.0]),
        strict,
        field=measure.FieldContext(reference=stars),
    ).table
    assert far["gaia_source_id"][0] == 0


def test_one_stray_position_does_not_disturb_the_matches(star_image):
    # The first position of a user's list may lie anywhere.
    stars, table = gaia_at(star_image, [80.0], [60.0], moved_mas=(0.0, 150.0))
    measurement = measure.run(
        star_image,
        measure.Targets([4e6, 80.0], [0.0, 60.0]),
        field=measure.FieldContext(reference=stars),
    ).table
    assert measurement["gaia_source_id"][1] == table["source_id"][0]
    assert measurement["gaia_separation"][1] == pytest.approx(150, abs=0.01)


def test_matches_across_ra_zero_and_near_the_pole(as_image):
    for ra, dec in ((0.0, 10.0), (200.0, 89.99)):
        image = as_image(noise((90, 100)), sci_cards={"CRVAL1": ra, "CRVAL2": dec})
        x, y = np.array([20.0, 49.5, 80.0]), np.array([30.0, 44.5, 60.0])
        stars, table = gaia_at(image, x, y)
        measurement = measure.run(
            image, measure.Targets(x, y), field=measure.FieldContext(reference=stars)
        ).table
        assert measurement["gaia_source_id"].tolist() == table["source_id"].tolist()
        assert measurement["gaia_separation"].max() < 0.01


# ---------------------------------------------------------------- the table


def test_nothing_to_measure_gives_an_empty_table(star_image):
    stars, _ = gaia_at(star_image, [80.0], [60.0])
    for reference in (None, stars):
        result = measure.run(
            star_image,
            measure.Targets([], []),
            pixels=measure.Pixels(cr_mask=np.zeros(star_image.shape, dtype=bool)),
            field=measure.FieldContext(reference=reference),
        )
        assert result.table.colnames == [c.name for c in expand(PHOT, result.radii_px)]
        assert len(result.table) == 0
        assert result.summary()["fwhm_median"] is None


def test_rows_keep_their_order_and_ids(star_image):
    x, y = [80.0, -500.0, 20.0], [60.0, 3.0, 30.0]
    assert measure.run(star_image, measure.Targets(x, y)).table["id"].tolist() == [1, 2, 3]
    table = measure.run(star_image, measure.Targets(x, y, [7, 3, 5])).table
    assert table["id"].tolist() == [7, 3, 5]
    assert table["x"].tolist() == x
    np.testing.assert_allclose(table["mjd"], MJD)


def test_any_radii(star_image):
    settings = MeasureSettings(radii_px=(0.5, 2.5, 12))
    result = measure.run(star_image, measure.Targets([80.0], [60.0]), settings)
    assert result.radii_px == (0.5, 2.5, 12)
    assert {"countrate_0.5", "countrate_err_2.5", "area_12"} <= set(result.table.colnames)
    assert result.table["area_0.5"][0] == pytest.approx(np.pi / 4)


def test_sources_do_not_depend_on_the_others_in_the_list(star_image):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-20, 180, 50), rng.uniform(-20, 140, 50)
    whole = measure.run(star_image, measure.Targets(x, y)).table
    alone = measure.run(star_image, measure.Targets(x[17:18], y[17:18])).table
    for name in alone.colnames:
        if name not in ("id", "flags"):
            np.testing.assert_array_equal(
                np.ma.filled(whole[name][17:18], -1), np.ma.filled(alone[name], -1)
            )


def test_crowds_of_many_sources(star_image):
    rng = np.random.default_rng(3)
    n = 5000
    x, y = rng.uniform(0, 159, n), rng.uniform(0, 119, n)
    x[-1], y[-1] = 80.0, 60.0
    assert measure.run(star_image, measure.Targets(x, y)).table["fwhm"][-1] == pytest.approx(
        2.1, abs=0.05
    )
