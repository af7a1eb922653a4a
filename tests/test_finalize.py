"""Calibration: a star's flux closes, and the published catalogs follow from one another."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from scipy.special import gammainc, gammaincinv

from bycatch import photcal
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.columns import expand
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.photometry_columns import PHOT
from bycatch.catalogs.tables import empty_table, make_table
from bycatch.images.headers import headers_of
from bycatch.images.meta import image_meta
from bycatch.settings import FinalizeSettings, MeasureSettings
from bycatch.stages import finalize, measure
from bycatch.stages.measure import sky_noise
from bycatch.testing.growth import star_photometry

RADII = (2.0, 4.0, 6.0, 8.0, 10.0)
ANNULUS = (10.0, 15.0)
PLAIN = FinalizeSettings(annulus_correction=False)


@pytest.fixture
def meta(new_drc):
    from pathlib import Path

    return image_meta(
        headers_of(Path("jabc01010_drc.fits"), new_drc(np.ones((4, 5), dtype=np.float32)))
    )


def phot_table(net, error, radii=RADII, sky=0.0, **columns):
    """Return a table of measure: net rates and errors, (N, R), on a sky."""
    net, error = np.atleast_2d(net), np.atleast_2d(error)
    n = len(net)
    specs = expand(PHOT, radii)
    data = {c.name: np.zeros(n) for c in specs} | {"id": np.arange(1, n + 1)}
    data["sky_median"] = np.full(n, sky)
    for k, r in enumerate(radii):
        area = np.pi * r**2
        data[f"area_{r:g}"] = np.full(n, area)
        data[f"countrate_{r:g}"] = net[:, k] + sky * area
        data[f"countrate_err_{r:g}"] = error[:, k]
    return make_table(specs, data | columns)


@pytest.mark.parametrize("detector", ["WFC", "HRC"])
@pytest.mark.parametrize("scale", [0.025, 0.03, 0.05, 0.06])
@pytest.mark.parametrize("correct", [True, False])
def test_the_flux_of_a_star_closes(meta, detector, scale, correct):
    meta = replace(meta, detector=detector)
    curve = photcal.encircled_energy(detector, meta.filter)
    light_within = photcal.aperture_fractions(curve, RADII, scale, ANNULUS if correct else None)
    rate = np.array([[250.0], [3.0]])
    phot = phot_table(rate * light_within, rate * light_within * 0.01, sky=0.7)
    result = finalize.run(
        phot, RADII, meta, scale, ANNULUS, FinalizeSettings(annulus_correction=correct)
    )
    zeropoint = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    for r in RADII:
        table = result.table
        flux = table[f"flux_{r:g}_apcor"]
        np.testing.assert_allclose(flux, rate[:, 0] * meta.photflam, rtol=1e-9)
        # The noise, and the scatter from star to star.
        error = np.hypot(0.01, result.corrections.star_scatter[RADII.index(r)])
        np.testing.assert_allclose(table[f"err_{r:g}_apcor"] / flux, error, rtol=1e-9)
        np.testing.assert_allclose(table[f"snr_{r:g}"], 1 / error, rtol=1e-9)
        np.testing.assert_allclose(
            table[f"mag_ab_{r:g}"], zeropoint - 2.5 * np.log10(rate[:, 0]), atol=1e-9
        )
        np.testing.assert_allclose(table[f"mag_ab_err_{r:g}"], 1.0857362 * error, rtol=1e-6)


def test_an_analytic_star_in_an_image_closes(meta):
    # Without the correction, at the radii of the published table: hot star, F775W, WFC.
    phot = phot_table([62.5, 83.6, 87.7, 90.4, 91.6], np.ones(5))
    table = finalize.run(phot, RADII, meta, 0.05, ANNULUS, PLAIN).table
    for r in RADII:
        assert table[f"flux_{r:g}_apcor"][0] == pytest.approx(100 * 9.93e-20, rel=1e-9)


def test_detectors_and_scales_have_their_own_fractions(meta):
    phot = phot_table(np.full(5, 50.0), np.ones(5))
    for detector, scale in (("WFC", 0.05), ("WFC", 0.03), ("HRC", 0.025), ("WFC", 0.06)):
        its = replace(meta, detector=detector)
        result = finalize.run(phot, RADII, its, scale, ANNULUS, PLAIN)
        curve = photcal.encircled_energy(detector, "F775W")
        expected = curve.at(np.array(RADII) * scale)
        np.testing.assert_allclose(result.aperture_fractions, expected, rtol=1e-12)
    hrc = finalize.run(phot, RADII, replace(meta, detector="HRC"), 0.025, ANNULUS, PLAIN)
    np.testing.assert_allclose(hrc.aperture_fractions, [0.468, 0.65, 0.783, 0.807, 0.826])


def test_any_radii_give_their_names(meta):
    radii = (1.0, 2.5, 12.75)
    result = finalize.run(
        phot_table([1.0, 2.0, 3.0], np.ones(3), radii), radii, meta, 0.05, ANNULUS
    )
    assert result.table.colnames == [c.name for c in expand(CAT, radii)]
    assert {"flux_2.5_apcor", "err_12.75_apcor", "mag_ab_1", "snr_2.5"} <= set(
        result.table.colnames
    )
    assert list(result.metadata()["APCOR"]) == ["1", "2.5", "12.75"]
    assert "n_snr5_2.5px" in result.summary()


def test_negative_fluxes_have_no_magnitude(meta):
    phot = phot_table([[-1.0] * 5, [0.0] * 5, [1.0] * 5], np.full((3, 5), 0.5))
    table = finalize.run(phot, RADII, meta, 0.05, ANNULUS).table
    assert table["flux_4_apcor"][0] < 0
    assert table["snr_4"].tolist()[:2] == [-2.0, 0.0]
    assert table["mag_ab_4"].mask.tolist() == [True, True, False]
    assert table["mag_ab_err_4"].mask.tolist() == [True, True, False]
    assert not np.ma.is_masked(table["flux_4_apcor"])


def test_what_was_not_measured_stays_missing(meta):
    phot = Table(phot_table(np.full((3, 5), 9.0), np.full((3, 5), 1.0)), masked=True)
    phot["countrate_4"].mask = [True, False, False]
    phot["sky_median"].mask = [False, True, False]
    phot["countrate_err_6"][2] = 0.0
    table = finalize.run(phot, RADII, meta, 0.05, ANNULUS).table
    for name in ("flux_4_apcor", "mag_ab_4", "snr_4"):
        assert table[name].mask.tolist() == [True, True, False]
    assert table["snr_6"].mask.tolist() == [False, True, True]


def test_clean_rows_hold_light_of_their_own(meta):
    """S/N 2 and 9, a full star with a hole of S/N -1, what can't be measured, a cosmic ray."""
    rates = np.repeat([[2.0], [9.0], [-1.0], [9.0], [9.0]], 5, axis=1)
    flags = [0, 0, int(Flag.SATURATED), 0, int(Flag.LIKELY_COSMIC_RAY)]
    phot = Table(phot_table(rates, np.ones((5, 5)), flags=flags), masked=True)
    phot["countrate_2"].mask = [False, False, False, True, False]
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    assert result.clean_rows(3.0).tolist() == [False, True, True, True, False]
    assert result.clean_rows(0.0).tolist() == [True, True, True, True, False]


def test_clean_rows_of_psf_fits_are_stars(meta):
    """A faint and a bright fit, none, and a star and a piece of a galaxy from the residual."""
    found = int(Flag.FOUND_IN_RESIDUAL)
    flags = [0, 0, 0, found, found | int(Flag.EXTENDED)]
    phot = phot_table(np.full((5, 5), 9.0), np.ones((5, 5)), flags=flags)
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    result.table["flux_psf"] = np.ma.masked_invalid([2.0, 4.0, np.nan, 6.0, 6.0])
    result.table["flux_psf_err"] = np.ones(5)
    result.table["chi2_psf"] = np.ma.masked_invalid([0.5, 1.0, np.nan, 1.0, 1.0])
    assert result.clean_rows(3.0, 3.0).tolist() == [False, True, True, True, False]
    assert result.clean_rows(3.0, 5.0).tolist() == [False, False, True, True, False]
    assert result.clean_rows(0.0, 0.0).tolist() == [True, True, True, True, False]
    # Errors have grown in proportion to chi-square; here its root counts.
    result.table["chi2_psf"] = np.ma.masked_invalid([2.2, 1.5, np.nan, 1.0, 4.0])
    assert result.clean_rows(3.0, 3.0).tolist() == [False, True, True, True, False]
    assert result.clean_rows(3.0, 4.5).tolist() == [False, True, True, True, False]


def test_clean_rows_are_no_parts_of_a_trail(meta):
    """A piece of a trail, and a star on it."""
    phot = phot_table(
        np.full((2, 5), 9.0), np.ones((2, 5)), flags=[int(Flag.TRAIL | Flag.EXTENDED), Flag.TRAIL]
    )
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    assert result.clean_rows(3.0).tolist() == [False, True]


def test_columns_are_carried_over_and_flags_added(meta):
    phot = phot_table(
        np.full((2, 5), 9.0), np.ones((2, 5)), x=[3.0, 4.0], y=[5.0, 6.0], flags=[1, 4],
        RA_GAIA_WCS=[10.0, np.nan], GAIA_CAT_RA=[-999.0, 10.0], cr_flag=[0, 1],
        gaia_source_id=[0, 6123456789012345671],
    )  # fmt: skip
    own = finalize.run(phot, RADII, meta, 0.05, ANNULUS).table
    assert own["x_center"].tolist() == [3.0, 4.0]
    assert own["y_center"].tolist() == [5.0, 6.0]
    assert own["flags"].tolist() == [1, 4]
    assert own["RA_GAIA_WCS"].mask.tolist() == [False, True]
    assert own["GAIA_CAT_RA"].tolist() == [-999.0, 10.0]
    assert own["gaia_source_id"][1] == 6123456789012345671
    fallback = finalize.run(phot, RADII, replace(meta, zeropoint_origin="table"), 0.05, ANNULUS)
    bit = int(Flag.FALLBACK_ZEROPOINT)
    assert fallback.table["flags"].tolist() == [1 | bit, 4 | bit]
    assert phot["flags"].tolist() == [1, 4]


def test_nothing_gives_an_empty_catalog(meta):
    result = finalize.run(empty_table(PHOT, RADII), RADII, meta, 0.05, ANNULUS)
    assert result.table.colnames == [c.name for c in expand(CAT, RADII)]
    assert len(result.table) == 0
    assert result.summary()["n_catalog"] == 0


def test_systematic_errors_are_fractions_of_the_flux(meta):
    phot = phot_table([[9.0] * 5, [-9.0] * 5], np.ones((2, 5)))
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    expected = photcal.systematic_fraction(meta.filter, result.corrections.error)
    assert result.systematics == tuple(expected)
    for r, fraction in zip(RADII, result.systematics, strict=True):
        table = result.table
        np.testing.assert_allclose(
            table[f"err_{r:g}_sys"], fraction * np.abs(table[f"flux_{r:g}_apcor"]), rtol=1e-12
        )
    assert result.systematics[0] > 2 * result.systematics[-1]


def test_magnitudes_of_other_systems_on_request(meta):
    phot = phot_table([[9.0] * 5, [-9.0] * 5], np.ones((2, 5)))
    settings = FinalizeSettings(magnitude_systems=("AB", "ST", "Vega"))
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS, settings)
    table, zero = result.table, result.metadata()
    for r in RADII:
        ab = table[f"mag_ab_{r:g}"][0]
        assert table[f"mag_st_{r:g}"][0] - ab == pytest.approx(zero["ZPST"] - zero["ZPAB"])
        assert table[f"mag_vega_{r:g}"][0] - ab == pytest.approx(zero["ZPVEGA"] - zero["ZPAB"])
        assert table[f"mag_st_{r:g}"].mask.tolist() == [False, True]
    # F775W: Vega is 0.398 mag brighter than AB
    assert zero["ZPVEGA"] - zero["ZPAB"] == pytest.approx(-0.398, abs=1e-9)
    plain = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    assert not [n for n in plain.table.colnames if "st_" in n or "vega" in n]
    assert plain.metadata()["ZPVEGA"] == zero["ZPVEGA"]


def test_no_vega_magnitudes_without_a_zero_point(meta):
    settings = FinalizeSettings(magnitude_systems=("Vega",))
    hrc = replace(meta, detector="HRC")
    phot = phot_table([9.0] * 5, np.ones(5))
    result = finalize.run(phot, RADII, hrc, 0.025, ANNULUS, settings)
    assert result.table["mag_vega_4"].mask.all()
    assert "ZPVEGA" not in result.metadata()
    assert "ZPAUDIT" not in result.metadata()


def test_parts_of_the_errors_on_request(meta, as_image, psf):
    scene = 500.0 * psf((61, 61), 30.3, 29.8)
    rng = np.random.default_rng(3)
    image = as_image(scene + rng.normal(0, 0.02, scene.shape))
    x, y = [30.3, -40.0], [29.8, 5.0]
    plain = measure.run(image, measure.Targets(x, y))
    measurement = measure.run(image, measure.Targets(x, y), MeasureSettings(error_components=True))
    assert set(measurement.table.colnames) - set(plain.table.colnames) == {
        f"countrate_err_{r:g}_{part}" for r in RADII for part in ("poisson", "sky", "level")
    }
    table = finalize.run(measurement.table, RADII, meta, 0.05, ANNULUS).table
    for r in RADII:
        rates = [f"countrate_err_{r:g}_{part}" for part in ("poisson", "sky", "level")]
        fluxes = [f"err_{r:g}_{part}" for part in ("poisson", "sky", "level")]
        for made, parts, total in (
            (measurement.table, rates, f"countrate_err_{r:g}"),
            (table, [*fluxes, f"err_{r:g}_scatter"], f"err_{r:g}_apcor"),
        ):
            squares = sum(made[name][0] ** 2 for name in parts)
            assert squares == pytest.approx(made[total][0] ** 2, rel=1e-12)
            assert all(made[name].mask[1] for name in parts)
        net = (
            measurement.table[f"countrate_{r:g}"]
            - measurement.table["sky_median"] * measurement.table[f"area_{r:g}"]
        )
        seconds, n_sky = measurement.table["exptime"][0], measurement.table["n_sky"][0]
        (share,) = sky_noise.photon_shares(image, (r,))
        photons = np.sqrt(share * net[0] / seconds)
        assert measurement.table[rates[0]][0] == pytest.approx(photons, rel=1e-12)
        level, sky = measurement.table[rates[2]][0], measurement.table[rates[1]][0]
        assert level / sky == pytest.approx(np.sqrt(np.pi * r**2 / n_sky), rel=1e-9)
    assert not [n for n in finalize.run(plain.table, RADII, meta, 0.05, ANNULUS).table.colnames
                if n.endswith(("_poisson", "_level", "_scatter"))]  # fmt: skip


def test_limits_become_magnitudes_of_point_sources(meta):
    phot = phot_table(np.full((2, 5), 9.0), np.ones((2, 5)))
    for r in RADII:
        phot[f"limit_{r:g}"] = [0.5, np.nan]
    result = finalize.run(phot, RADII, meta, 0.05, ANNULUS)
    for r, fraction in zip(RADII, result.aperture_fractions, strict=True):
        expected = result.zeropoint_ab - 2.5 * np.log10(0.5 / fraction)
        assert result.table[f"maglim_{r:g}"][0] == pytest.approx(expected, abs=1e-9)
        assert result.table[f"maglim_{r:g}"].mask.tolist() == [False, True]


def test_the_audit_of_the_zero_point_is_written_down(meta):
    phot = phot_table([9.0] * 5, np.ones(5))
    today = photcal.expected_photflam("WFC", meta.filter, meta.mjd_mid)
    for share, is_off in ((1.0, False), (0.991, True)):
        result = finalize.run(phot, RADII, replace(meta, photflam=share * today), 0.05, ANNULUS)
        audit = result.metadata()["ZPAUDIT"]
        assert audit["outdated"] is is_off
        assert audit["mmag"] == pytest.approx(-2500 * np.log10(share), abs=0.01)
        assert any("outdated" in w for w in result.warnings()) is is_off
        assert ("CALNOTES" in result.metadata()) is is_off


# ---------------------------------------------------------------- the published catalogs


@pytest.fixture(scope="module")
def published(shared):
    """Return {(program, visit, filter): (table, PHOTFLAM)} of all published catalogs."""
    with (shared / "facts" / "wd_original_photflam_by_file.csv").open() as file:
        photflam = {(r["prog"], r["visit"], r["filt"]): float(r["K"]) for r in csv.DictReader(file)}
    out = {}
    for path in sorted((shared / "data" / "published").glob("*_phot_tab.csv")):
        key = tuple(path.name.split("_")[:3])
        out[key] = (Table.read(path, format="ascii.csv"), photflam[key])
    assert len(out) == 125
    return out


def column(table, name):
    return np.column_stack([table[name.replace("{r}", f"{r:g}")] for r in RADII])


@pytest.mark.realdata
def test_the_published_catalogs_follow_from_one_another(published, meta):
    # They used HRC's table at the same pixel numbers: 0.025 arcsec/px instead of 0.05.
    for (_, _, filter_name), (table, photflam) in published.items():
        theirs = replace(meta, detector="HRC", filter=filter_name, photflam=photflam)
        hrc = photcal.aperture_fractions(photcal.encircled_energy("HRC", filter_name), RADII, 0.025)
        flux, error = column(table, "flux_{r}_apcor"), column(table, "err_{r}_apcor")
        net = flux * hrc / photflam
        # Their errors were divided by the fraction of 2 px at every radius.
        their_error = error * hrc[0] / photflam
        # The same numbers from our arithmetic, on any sky.
        phot = phot_table(net, their_error, sky=0.3)
        result = finalize.run(phot, RADII, theirs, 0.025, ANNULUS, PLAIN)
        ours = result.table
        scale = np.abs(flux).max(axis=1, keepdims=True)
        assert (np.abs(column(ours, "flux_{r}_apcor") - flux) / scale).max() < 1e-5
        # Ours hold the scatter between stars, too, where there is light.
        light = np.maximum(column(ours, "flux_{r}_apcor"), 0.0)
        expected = np.hypot(error * hrc[0] / hrc, light * result.corrections.star_scatter)
        is_finite = np.isfinite(expected)
        ours_error = np.ma.filled(np.ma.asarray(column(ours, "err_{r}_apcor")), np.nan)
        np.testing.assert_allclose(ours_error[is_finite], expected[is_finite], rtol=1e-5)
        # ... and they are those of net + A s^2 (1 + A / n_sky): one scatter s fits all radii.
        areas = np.pi * np.array(RADII) ** 2
        annulus = np.pi * (ANNULUS[1] ** 2 - ANNULUS[0] ** 2)
        sky_variance = (their_error**2 - net) / (areas * (1 + areas / annulus))
        clean = (net > 0).all(axis=1)
        scatter = np.ptp(sky_variance, axis=1) / np.abs(sky_variance).mean(axis=1)
        assert np.median(scatter[clean]) < 1e-6


@pytest.mark.realdata
def test_with_the_right_table_they_change_by_the_known_factors(published, meta, shared):
    with (shared / "facts" / "wd_original_apcor_used.csv").open() as file:
        factors = {
            (r["filter"], float(r["radius_px"])): (
                float(r["multiply_published_flux_by"]),
                float(r["published_too_bright_mag"]),
            )
            for r in csv.DictReader(file)
        }
    for (_, _, filter_name), (table, photflam) in published.items():
        hrc = photcal.encircled_energy("HRC", filter_name).at(np.array(RADII) * 0.025)
        flux = column(table, "flux_{r}_apcor")
        phot = phot_table(flux * hrc / photflam, np.abs(flux))
        right = replace(meta, filter=filter_name, photflam=photflam)
        ours = finalize.run(phot, RADII, right, 0.05, ANNULUS, PLAIN).table
        for k, r in enumerate(RADII):
            ratio = np.asarray(ours[f"flux_{r:g}_apcor"]) / flux[:, k]
            factor, too_bright = factors[filter_name, r]
            np.testing.assert_allclose(ratio, factor, atol=1e-4)
            assert -2.5 * np.log10(ratio[0]) == pytest.approx(too_bright, abs=1e-3)


def as_phot(phot):
    """Return a whole table of measure with the columns of sure stars."""
    ones = np.ones((len(phot), 5))
    return phot_table(ones, ones, p_star=ones[:, 0], **{n: phot[n] for n in phot.colnames})


def test_the_correction_can_be_switched_off(meta):
    phot = star_photometry(lost=(-0.12, 0, 0, 0, 0))
    whole = as_phot(phot)
    own = finalize.run(whole, RADII, meta, 0.05, ANNULUS)
    assert own.aperture_fractions[0] < 0.96 * own.published_fractions[0]
    off = finalize.run(whole, RADII, meta, 0.05, ANNULUS, FinalizeSettings(empirical_apcor=False))
    assert off.aperture_fractions == off.published_fractions == own.published_fractions
    assert off.closure.n_stars == own.closure.n_stars > 50
    assert off.closure.deviation[0] == pytest.approx(own.closure.deviation[0])
    assert off.correction_errors[0] > 5 * own.correction_errors[0]
    assert set(off.metadata()["APCOR"]) == {"2", "4", "6", "8", "10"}


def test_each_row_has_the_correction_of_its_place(meta):
    phot = star_photometry(n=100, noise=0.02)
    net = phot["countrate_2"] - phot["sky_median"] * phot["area_2"]
    slope = 0.1 * (np.asarray(phot["x"]) / 400 - 0.5)
    phot["countrate_2"] += net * slope
    whole = as_phot(phot)
    result = finalize.run(whole, RADII, meta, 0.05, ANNULUS)
    ratio = np.asarray(result.table["flux_2_apcor"] / result.table["flux_10_apcor"])
    assert np.std(ratio) < 0.2 * np.std(slope)
    assert "APCORFIELD" in result.metadata()


def ellipse_row(radius_px, half_px, p_star, net=100.0):
    """Return a table of measure with a round Kron ellipse of a radius, and half of its light."""
    kron = {"countrate_kron": [net], "countrate_err_kron": [1.0], "kron_radius": [2.0]}
    size = radius_px / 5.0  # 2.5 Kron radii of 2
    shape = {"semimajor_px": [size], "semiminor_px": [size], "half_light_px": [half_px]}
    rates = np.full((1, len(RADII)), net)
    return phot_table(rates, rates * 0.01, p_star=[p_star], **kron, **shape)


@pytest.mark.parametrize(("index", "tolerance"), [(0.5, 0.04), (1.0, 0.015), (2.5, 0.12)])
@pytest.mark.parametrize("reach", [2.1, 2.5, 3.5])
def test_a_total_flux_has_the_light_beyond_its_ellipse(meta, index, tolerance, reach):
    re_px, scale = 20.0, 0.05
    b = gammaincinv(2 * index, 0.5)
    within = gammainc(2 * index, b * reach ** (1 / index))
    half = (gammaincinv(2 * index, 0.5 * within) / b) ** index
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    psf_px, light = (
        curve.half_light_arcsec / scale,
        100.0 * within * curve.at(reach * re_px * scale),
    )
    phot = ellipse_row(reach * re_px, np.hypot(half * re_px, psf_px), 0.0, light)
    cat = finalize.run(phot, RADII, meta, scale, ANNULUS, PLAIN).table
    total = cat["flux_kron"][0] / cat["kron_fraction"][0] / meta.photflam
    error = cat["err_kron_sys"][0] / meta.photflam
    # Near the core profiles differ by most, and the error says so.
    assert abs(total - 100.0) < max(100.0 * tolerance, 1.2 * error)
    if index == 1.0:
        assert total == pytest.approx(100.0, rel=tolerance)
        assert error > 2.0


def test_the_total_flux_of_a_star_has_the_wings_of_the_psf(meta):
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    assert curve.at(curve.half_light_arcsec) == pytest.approx(0.5, abs=0.002)
    for half_px in (1.0, curve.half_light_arcsec / 0.05, 3.0):
        cat = finalize.run(ellipse_row(8.0, half_px, 1.0), RADII, meta, 0.05, ANNULUS, PLAIN).table
        assert cat["kron_fraction"][0] == pytest.approx(curve.at(0.4), rel=1e-6)
    # What has no profile of a galaxy, since its light grows to the end, has a bound.
    flat = finalize.run(ellipse_row(8.0, 6.0, 0.0), RADII, meta, 0.05, ANNULUS, PLAIN).table
    assert flat["kron_fraction"][0] > 0.8 * curve.at(0.4)
    # So has a compact galaxy, whose own size can't be told from a point's.
    compact = finalize.run(ellipse_row(8.0, 1.0, 0.0), RADII, meta, 0.05, ANNULUS, PLAIN).table
    assert compact["kron_fraction"][0] == pytest.approx(curve.at(0.4), rel=1e-4)
