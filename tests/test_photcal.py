"""Calibration: the tables as they were published, and the numbers derived from them."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from bycatch import photcal
from bycatch.errors import UnsupportedImage

FILTERS = (
    "F435W", "F475W", "F502N", "F555W", "F550M", "F606W", "F625W", "F658N", "F660N", "F775W",
    "F814W", "F892N", "F850LP",
)  # fmt: skip
DETECTORS = {"WFC": 0.05, "HRC": 0.025}


@pytest.fixture(params=[(d, f) for d in DETECTORS for f in FILTERS], ids="-".join)
def curve(request):
    return photcal.encircled_energy(*request.param)


def test_the_bundled_tables_are_the_published_ones(shared):
    for detector in ("wfc", "hrc"):
        name = f"ee_bohlin2016_{detector}.csv"
        with (shared / "facts" / name).open() as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        for filter_name in FILTERS:
            ours = photcal.encircled_energy(detector.upper(), filter_name)
            for row in rows:
                radius, fraction = float(row["radius_arcsec"]), float(row[filter_name])
                assert float(ours.at(radius)) == pytest.approx(fraction, abs=1e-12)


@pytest.mark.parametrize(
    ("detector", "filter_name", "arcsec", "fraction"),
    [
        ("WFC", "F606W", 0.2, 0.839),
        ("WFC", "F775W", 0.1, 0.625),
        ("WFC", "F850LP", 0.5, 0.893),
        ("HRC", "F606W", 0.05, 0.526),
        ("HRC", "F775W", 0.25, 0.826),
    ],
)
def test_numbers_of_bohlin_2016(detector, filter_name, arcsec, fraction):
    curve = photcal.encircled_energy(detector, filter_name)
    assert float(curve.at(arcsec)) == pytest.approx(fraction, abs=1e-12)


def test_curves_are_exact_at_their_radii_and_monotone_between(curve):
    np.testing.assert_allclose(curve.at(curve.radius_arcsec), curve.fraction, atol=1e-12)
    radius = np.linspace(0, 6, 5000)
    values = curve.at(radius)
    assert (np.diff(values) >= 0).all()
    assert (values >= 0).all()
    assert (values <= 1).all()
    # no step where the inner core meets the table
    assert np.diff(values).max() < 0.03


def test_the_ends_of_the_curve(curve):
    np.testing.assert_allclose(curve.at([0.0, 5.5, 5.6, 100.0]), [0, 1, 1, 1], atol=1e-12)
    assert np.isnan(curve.at(np.nan))
    assert float(curve.at(1e-6)) < 1e-6


def test_interpolation_reproduces_left_out_radii():
    # Leave each inner radius out and predict it from the others.
    for detector in DETECTORS:
        curve = photcal.encircled_energy(detector, "F606W")
        for k in range(3, len(curve.fraction) - 4):
            rest = photcal.EncircledEnergy(
                detector, "F606W", np.delete(curve.radius_arcsec, k), np.delete(curve.fraction, k)
            )
            assert float(rest.at(curve.radius_arcsec[k])) == pytest.approx(
                curve.fraction[k], abs=0.006
            )


def test_unknown_filters_are_refused_with_the_known_ones():
    with pytest.raises(UnsupportedImage, match=r"WFC F999W - .*F435W.*F850LP"):
        photcal.encircled_energy("WFC", "F999W")
    with pytest.raises(UnsupportedImage, match="HRC F220W"):
        photcal.encircled_energy("HRC", "F220W")


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("scale", [0.025, 0.03, 0.05, 0.06])
def test_fractions_are_looked_up_in_arcsec(detector, scale):
    curve = photcal.encircled_energy(detector, "F606W")
    radii = np.array([2.0, 4.0, 10.0])
    result = photcal.aperture_fractions(curve, radii, scale)
    np.testing.assert_allclose(result, curve.at(radii * scale), rtol=1e-14)
    same = photcal.aperture_fractions(curve, radii * 2, scale / 2)
    np.testing.assert_allclose(result, same, rtol=1e-12)


def test_the_annulus_takes_back_what_it_measures_as_sky():
    # 10 to 15 px: 0.017-0.018 mag at r = 10 px, 0.003 mag at r = 4 px.
    for filter_name in ("F475W", "F625W", "F775W"):
        curve = photcal.encircled_energy("WFC", filter_name)
        plain = photcal.aperture_fractions(curve, [4, 10], 0.05)
        less = photcal.aperture_fractions(curve, [4, 10], 0.05, (10, 15))
        loss = -2.5 * np.log10(less / plain)
        assert loss[0] == pytest.approx(0.003, abs=0.002)
        assert loss[1] == pytest.approx(0.0175, abs=0.002)


def test_the_annulus_share_is_the_slope_of_the_curve():
    # A curve of constant surface brightness c has c in every annulus.
    radius = np.geomspace(0.05, 2.0, 200)
    flat = photcal.EncircledEnergy("WFC", "F606W", radius, 0.2 * radius**2)
    assert flat.annulus_share(0.5, 0.75) == pytest.approx(0.2 / np.pi, rel=1e-3)
    # and an aperture on it holds nothing above the sky.
    net = photcal.aperture_fractions(flat, [4.0, 10.0], 0.05, (10, 15))
    np.testing.assert_allclose(net, 0, atol=1e-3)


# ---------------------------------------------------------------- zero points


@pytest.mark.parametrize("filter_name", FILTERS)
def test_zero_points_follow_from_photflam(filter_name):
    table = photcal.bundled_zeropoint("WFC", filter_name)
    name = f"zeropoints_wfc_{photcal.ZEROPOINT_DATE}.csv"
    row = next(r for r in photcal._rows(name) if r["filter"] == filter_name)
    assert photcal.ab_zeropoint(table.photflam, table.photplam) == pytest.approx(
        float(row["ABmag"]), abs=0.002
    )
    assert photcal.st_zeropoint(table.photflam) == pytest.approx(float(row["STmag"]), abs=0.002)
    assert table.vega_minus_ab == pytest.approx(
        float(row["VEGAmag"]) - float(row["ABmag"]), abs=0.0015
    )


def test_a_flat_spectrum_has_its_ab_magnitude():
    # AB = -2.5 log10(f_nu) - 48.60, f_nu = f_lambda x pivot^2 / c
    photflam, photplam = 1e-19, 6000.0
    f_nu = photflam * photplam**2 / 2.99792458e18
    assert photcal.ab_zeropoint(photflam, photplam) == pytest.approx(
        -2.5 * np.log10(f_nu) - 48.60, abs=2e-3
    )


def test_no_zero_point_where_the_table_has_none():
    assert photcal.bundled_zeropoint("HRC", "F606W") is None
    assert photcal.bundled_zeropoint("WFC", "F999W") is None


def test_systematic_errors_are_larger_in_the_reddest_filters():
    assert photcal.ee_systematic("F850LP") > photcal.ee_systematic("F606W") > 0


def test_the_systematic_error_adds_its_parts_in_quadrature():
    errors = np.array([0.0, 0.002, 0.05])
    result = photcal.systematic_fraction("F606W", errors)
    np.testing.assert_allclose(result, np.sqrt(errors**2 + 0.01**2 + 0.01**2), rtol=1e-12)
    assert photcal.systematic_fraction("F850LP", errors)[0] > 0.025


@pytest.mark.parametrize("filter_name", FILTERS)
def test_vega_zero_points_are_the_published_ones(filter_name):
    row = next(
        r
        for r in photcal._rows(f"zeropoints_wfc_{photcal.ZEROPOINT_DATE}.csv")
        if r["filter"] == filter_name
    )
    table = photcal.bundled_zeropoint("WFC", filter_name)
    ab = photcal.ab_zeropoint(table.photflam, table.photplam)
    vega = photcal.vega_zeropoint("WFC", filter_name, ab)
    assert vega == pytest.approx(float(row["VEGAmag"]), abs=0.002)
    assert photcal.vega_zeropoint("HRC", filter_name, ab) is None


# ---------------------------------------------------------------- zero points at other dates


def test_the_known_loss_gives_the_zero_points_of_other_dates():
    for row in photcal._rows("photflam_history_f435w.csv"):
        mjd, photflam = float(row["mjd"]), float(row["PHOTFLAM"])
        audit = photcal.zeropoint_audit("WFC", "F435W", photflam, mjd)
        # 0.2 mmag since the repair of 2009; 5 mmag before the cooling of 2006.
        assert abs(audit.difference_mmag) < (0.3 if mjd > photcal.REPAIR_MJD else 6)
        assert not audit.is_off


def test_the_bundled_history_is_the_published_one(shared):
    from astropy.time import Time

    with (shared / "facts" / "zeropoints_wfc_f435w_history.csv").open() as file:
        values_of_paper = {r["date"]: float(r["PHOTFLAM"]) for r in csv.DictReader(file)}
    ours = photcal._rows("photflam_history_f435w.csv")
    assert {r["date"]: float(r["PHOTFLAM"]) for r in ours} == values_of_paper
    for row in ours:
        assert Time(row["date"]).mjd == float(row["mjd"])
    assert Time(photcal.ZEROPOINT_DATE).mjd == photcal.ZEROPOINT_MJD


# Programs 12967, 13711 and 15113: middle of the years in which they were observed.
PROGRAM_MJD = {"byn": 56500.0, "cmd": 57250.0, "dgq": 58200.0}


def test_files_calibrated_in_2018_are_found_to_be_outdated(shared):
    with (shared / "facts" / "wd_original_photflam_by_file.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 125
    for row in rows:
        audit = photcal.zeropoint_audit(
            "WFC", row["filt"], float(row["K"]), PROGRAM_MJD[row["prog"]]
        )
        assert audit.is_off
        # 0.8 to 1.0 % too low; the date is known to a year, which is 0.7 mmag.
        assert 7.5 < audit.difference_mmag < 11.5
        assert "outdated" in audit.in_words()
        assert "too faint" in audit.in_words()


def test_a_file_of_today_agrees():
    table = photcal.bundled_zeropoint("WFC", "F775W")
    audit = photcal.zeropoint_audit("WFC", "F775W", table.photflam, photcal.ZEROPOINT_MJD)
    assert audit.difference_mmag == pytest.approx(0, abs=1e-9)
    assert "agrees with" in audit.in_words()
    assert audit.metadata()["outdated"] is False
    higher = photcal.zeropoint_audit("WFC", "F775W", 1.02 * table.photflam, 57479.0)
    assert higher.difference_mmag == pytest.approx(-21.5, abs=0.1)
    assert higher.is_off
    assert "outdated" not in higher.in_words()
    assert "too bright" in higher.in_words()


@pytest.mark.parametrize(
    ("filter_name", "ab"),
    [
        ("F435W", 25.684),
        ("F606W", 26.505),
        ("F775W", 25.678),
        ("F814W", 25.959),
        ("F850LP", 24.867),
    ],
)
def test_zero_points_before_the_cooling_are_those_of_the_early_surveys(filter_name, ab):
    # The zero points of the deep fields of 2002 to 2004, at -77 C.
    plam = photcal.bundled_zeropoint("WFC", filter_name).photplam
    expected = photcal.ab_zeropoint(photcal.expected_photflam("WFC", filter_name, 53000.0), plam)
    assert expected == pytest.approx(ab, abs=0.013)


def test_nothing_is_audited_where_nothing_is_known():
    assert photcal.zeropoint_audit("HRC", "F606W", 1e-19, 53000.0) is None
    assert photcal.zeropoint_audit("WFC", "F999W", 1e-19, 57000.0) is None
    assert photcal.zeropoint_audit("WFC", "F606W", 1e-19, float("nan")) is None


@given(
    steps=st.lists(st.floats(0.01, 10), min_size=2, max_size=12),
    rises=st.lists(st.floats(-5, 5).map(lambda v: round(v, 3)), min_size=12, max_size=12),
)
def test_monotone_cubic_is_that_of_scipy(steps, rises):
    x = np.cumsum([0.0, *steps])
    y = np.cumsum([1.0, *rises[: len(steps)]])
    at = np.linspace(x[0], x[-1], 57)
    expected = PchipInterpolator(x, y)(at)
    assert photcal.monotone_cubic(x, y, at) == pytest.approx(expected, rel=1e-9, abs=1e-9)
