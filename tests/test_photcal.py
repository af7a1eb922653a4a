"""Calibration: the tables as they were published, and the numbers derived from them."""

import csv

import numpy as np
import pytest

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
    got = photcal.aperture_fractions(curve, radii, scale)
    np.testing.assert_allclose(got, curve.at(radii * scale), rtol=1e-14)
    same = photcal.aperture_fractions(curve, radii * 2, scale / 2)
    np.testing.assert_allclose(got, same, rtol=1e-12)


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
