"""The calibration: each documented number, and each decision about its limit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from bycatch import photcal
from bycatch.catalogs.flags import Flag
from bycatch.images.headers import headers_of
from bycatch.images.meta import image_meta
from bycatch.stages.finalize import apcor, prior
from bycatch.stages.finalize.closure import Closure, closure, reference_index

RADII = (2.0, 4.0, 6.0, 8.0, 10.0)
FRACTIONS = np.array([0.65, 0.83, 0.87, 0.89, 0.9])
REPAIR, COOLING = 54967.0, 53920.0


# ---------------------------------------------------------------- zero points


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("mjd", "mmag", "is_off"),
    [
        (57000.0, 3.9, False),
        (57000.0, 4.1, True),
        (REPAIR, 4.1, True),
        (REPAIR - 0.1, 4.1, False),
        (REPAIR - 0.1, 14.9, False),
        (REPAIR - 0.1, 15.1, True),
    ],
)
def test_a_zero_point_is_off_by_4_mmag_since_the_repair_of_2009_and_by_15_before(
    sign, mjd, mmag, is_off
):
    expected = photcal.expected_photflam("WFC", "F606W", mjd)
    used = expected * 10 ** (-0.4e-3 * sign * mmag)
    audit = photcal.zeropoint_audit("WFC", "F606W", used, mjd)
    assert audit.difference_mmag == pytest.approx(sign * mmag)
    assert audit.is_off == is_off


def test_the_sensitivity_falls_by_0_061_percent_a_year():
    bundled = photcal.bundled_zeropoint("WFC", "F606W").photflam
    at = {years: photcal.expected_photflam("WFC", "F606W", 57479.0 + 365.25 * years)
          for years in (-6.0, 0.0, 5.0)}  # fmt: skip
    assert at[0.0] == bundled
    assert at[5.0] / bundled == pytest.approx(1 + 5 * 0.00061, abs=1e-9)
    assert at[-6.0] / bundled == pytest.approx(1 - 6 * 0.00061, abs=1e-9)
    # Nothing is known between the failure of 2007 and the repair.
    before = photcal.expected_photflam("WFC", "F606W", COOLING)
    assert before == photcal.expected_photflam("WFC", "F606W", REPAIR)


@pytest.mark.parametrize("filter_name", ["F435W", "F606W", "F850LP"])
def test_the_cooling_of_2006_cost_what_the_report_says(filter_name):
    """0.026 mag at 4330, 0.011 at 6312 and 0.024 at 9032 Angstrom."""
    warm, cold = (photcal.expected_photflam("WFC", filter_name, COOLING + d) for d in (-0.1, 0.1))
    wavelength = photcal.bundled_zeropoint("WFC", filter_name).photplam
    losses = np.interp(wavelength, [4330, 6312, 9032], [0.026, 0.011, 0.024])
    assert 2.5 * np.log10(cold / warm) == pytest.approx(losses, abs=1e-9)


@pytest.mark.parametrize(("percent", "is_said"), [(2.9, False), (3.1, True), (-3.1, True)])
def test_a_header_that_differs_by_three_percent_from_the_table_is_reported(
    new_drc, percent, is_said
):
    bundled = photcal.bundled_zeropoint("WFC", "F775W").photflam
    cards = {"PHOTFLAM": bundled * (1 + percent / 100)}
    hdus = new_drc(np.ones((4, 5), dtype=np.float32), sci_cards=cards)
    notes = image_meta(headers_of(Path("jabc01010_drc.fits"), hdus)).notes
    assert any("2016-04-01" in note for note in notes) == is_said


def test_ab_and_st_magnitudes_have_their_published_zero_points():
    zero = -2.5 * np.log10(1e-19) - 21.10
    assert photcal.st_zeropoint(1e-19) == pytest.approx(zero, abs=1e-9)
    expected = zero - 5 * np.log10(6000) + 18.6921
    assert photcal.ab_zeropoint(1e-19, 6000.0) == pytest.approx(expected, abs=1e-9)


# ---------------------------------------------------------------- systematic errors


@pytest.mark.parametrize(
    ("filter_name", "error"),
    [("F435W", 0.01), ("F814W", 0.01), ("F850LP", 0.025), ("F892N", 0.025)],
)
def test_the_encircled_energy_is_known_to_one_percent_and_in_the_reddest_to_2_5(filter_name, error):
    assert photcal.ee_systematic(filter_name) == error
    # Plus 1 % of the absolute scale, and the error of the aperture correction.
    total = np.sqrt(error**2 + 0.01**2 + 0.002**2)
    result = photcal.systematic_fraction(filter_name, np.array([0.002]))
    assert result == pytest.approx([total], rel=1e-9)


def test_what_is_not_known_of_the_light_at_the_radii_of_the_table():
    radii = np.array([0.05, 0.10, 0.15, 0.20, 0.50])
    curve, scatter = (0.05, 0.02, 0.012, 0.01, 0.0), (0.03, 0.01, 0.004, 0.003, 0.001)
    assert prior.in_log_radius(radii, prior.CURVE_ERROR) == pytest.approx(curve)
    assert prior.in_log_radius(radii, prior.SCATTER) == pytest.approx(scatter)
    assert prior.AMPLITUDES == (1.0, 1.0, 1.0)
    # Variances add: the curve and three modes.
    modes = prior.light_modes("F606W", radii)
    expected = np.square(curve) + np.square(modes).sum(axis=0)
    assert np.diag(prior.covariance("F606W", radii)) == pytest.approx(expected)
    assert 0.05 < np.sqrt(expected[1]) < 0.07
    # Between them straight in the logarithm of the radius, and the same beyond.
    between = prior.in_log_radius(np.sqrt(radii[:1] * radii[1:2]), prior.SCATTER)
    assert between == pytest.approx([0.02])
    assert prior.in_log_radius(np.array([0.01, 3.0]), prior.SCATTER).tolist() == [0.03, 0.001]


@pytest.mark.parametrize("detector", ["WFC", "HRC"])
def test_all_light_is_within_5_5_arcsec(detector):
    curve = photcal.encircled_energy(detector, "F606W")
    inside, at, beyond = curve.at([5.3, 5.5, 9.0])
    assert inside < 1.0
    assert at == pytest.approx(1.0, abs=1e-12)
    assert beyond == pytest.approx(1.0, abs=1e-12)


def test_within_the_table_a_gaussian_core_meets_it():
    curve = photcal.encircled_energy("WFC", "F606W")
    inner, first = curve.radius_arcsec[0], curve.fraction[0]
    assert curve.at([0.0, inner]) == pytest.approx([0.0, first])
    half = 1 - (1 - first) ** 0.25
    assert curve.at(0.5 * inner) == pytest.approx(half, rel=1e-9)


def test_the_sky_is_the_surface_brightness_where_the_annulus_is_halved():
    """A light of 1 - exp(-r): its brightness is exp(-r) / (2 pi r)."""
    radius = np.geomspace(0.01, 6, 4000)
    curve = photcal.EncircledEnergy("WFC", "F606W", radius, 1 - np.exp(-radius))
    middle = np.sqrt((0.5**2 + 0.75**2) / 2)
    result = curve.annulus_share(0.5, 0.75)
    assert result == pytest.approx(np.exp(-middle) / (2 * np.pi * middle), rel=2e-4)
    net = photcal.aperture_fractions(curve, [4.0], 0.05, (10.0, 15.0))
    assert net == pytest.approx(curve.at([0.2]) - np.pi * 0.2**2 * result)


# ---------------------------------------------------------------- closure


def stars(n=60, lost=0.0, error=1e-4, spacing=40.0):
    """A table of measure with equal stars of 100 e/s that lack a share of light in 2 px."""
    area = np.pi * np.square(RADII)
    net = 100.0 * FRACTIONS * np.array([1 + lost, 1, 1, 1, 1])
    side = int(np.ceil(np.sqrt(n)))
    table = Table(
        {
            "x": spacing * (np.arange(n) % side) + 20.0,
            "y": spacing * (np.arange(n) // side) + 20.0,
            "flags": np.zeros(n, dtype=int),
            "cr_flag": np.zeros(n, dtype=int),
            "fwhm": np.full(n, 2.0),
            "sky_median": np.full(n, 0.4),
            "p_star": np.full(n, 0.9),
            "p_cr": np.full(n, 0.1),
        }
    )
    for k, r in enumerate(RADII):
        table[f"area_{r:g}"] = np.full(n, area[k])
        table[f"countrate_{r:g}"] = np.full(n, net[k] + 0.4 * area[k])
        table[f"countrate_cr_{r:g}"] = np.zeros(n)
        table[f"countrate_err_{r:g}"] = np.full(n, error * FRACTIONS[k])
    return table


def found(phot, **options):
    return closure(phot, RADII, FRACTIONS, 0.05, **options)


@pytest.mark.parametrize(
    ("column", "row", "n_stars"),
    [
        ("p_star", 0.51, 60),
        ("p_star", 0.49, 59),
        ("p_star", np.nan, 60),
        ("p_cr", 0.49, 60),
        ("p_cr", 0.51, 59),
        ("cr_flag", 1, 59),
        ("fwhm", 2.0 + 4 * 0.1 - 0.01, 60),
        ("fwhm", 2.0 + 4 * 0.1 + 0.01, 59),
        ("fwhm", 2.0 - 4 * 0.1 - 0.01, 59),
        ("countrate_err_10", 0.9 * 3.01, 59),
        ("countrate_err_10", 0.9 * 2.99, 60),
    ],
)
def test_which_stars_show_whether_apertures_close(column, row, n_stars):
    """Points (p_star, p_cr), of the usual FWHM to 4 x 5 %, known to 3 %."""
    phot = stars()
    phot[column][7] = row
    assert found(phot).n_stars == n_stars


@pytest.mark.parametrize("flag", list(Flag), ids=lambda flag: flag.name)
def test_every_flag_that_spoils_a_flux_spoils_a_star(flag):
    # Three are about total fluxes, sources that are extended anyway, and fluxes by the PSF.
    harmless = (
        Flag.SINGLE_EXPOSURE, Flag.FALLBACK_ZEROPOINT, Flag.NO_EXPOSURE_MAP, Flag.TOTAL_BLENDED,
        Flag.SKY_ON_SOURCE, Flag.PSF_OF_MODEL,
    )  # fmt: skip
    phot = stars()
    phot["flags"][7] = int(flag)
    assert found(phot).n_stars == (60 if flag in harmless else 59)


@pytest.mark.parametrize(
    ("apart", "share", "n_stars"),
    [(13.9, 0.0031, 60), (13.9, 0.0029, 61), (14.1, 0.5, 61), (13.9, 0.5, 60)],
)
def test_a_neighbour_within_four_pixels_of_the_reference_with_0_3_percent_spoils_a_star(
    apart, share, n_stars
):
    phot = stars(62)
    phot["x"][61], phot["y"][61] = phot["x"][7] + apart, phot["y"][7]
    for k, r in enumerate(RADII):
        phot[f"countrate_{r:g}"][61] = share * 100 * FRACTIONS[k] + 0.4 * phot[f"area_{r:g}"][61]
    phot["flags"][61] = int(Flag.EXTENDED)
    assert found(phot).n_stars == n_stars


def test_of_few_stars_the_scatter_is_mostly_the_usual_one_and_it_limits_their_say():
    """Of n stars alike s^2 = 4 s0^2 / (4 + n), and the error of their mean is s / sqrt(n)."""
    for n in (1, 4, 19):
        result = apcor.corrections(stars(n), RADII, FRACTIONS, 0.05, "F606W")
        assert result.n_stars == n
        assert result.scatter[0] == pytest.approx(0.01 * np.sqrt(4 / (4 + n)), rel=0.15)
        assert result.error[0] == pytest.approx(result.scatter[0] / np.sqrt(n), rel=0.15)


@pytest.mark.parametrize(
    ("left", "error", "closes"),
    [(0.0101, 0.001, False), (0.0099, 0.001, True), (0.03, 0.0099, False), (0.03, 0.0101, True)],
)
def test_an_aperture_does_not_close_beyond_one_percent_and_three_sigma(left, error, closes):
    one, zero = np.ones(1), np.zeros(1)
    for sign in (-1, 1):
        result = Closure((2.0,), 10.0, 30, zero, sign * left * one, error * one, zero)
        assert result.fails.tolist() == [not closes]
        assert len(result.warnings()) == (not closes)


@pytest.mark.parametrize("lost", [-0.0495, -0.0505, -0.15])
def test_there_is_no_bound_to_what_stars_correct(lost):
    result = apcor.corrections(stars(400, lost=lost), RADII, FRACTIONS, 0.05, "F606W")
    assert result.factor[0] == pytest.approx(1 + lost, abs=0.002)


@pytest.mark.parametrize(("n", "is_widened"), [(7, True), (8, False)])
def test_the_scatter_of_less_than_eight_stars_is_at_least_one_percent(n, is_widened):
    """An error of a median of equal stars: sqrt(pi / 2 n) of their scatter."""
    result = found(stars(n))
    expected = 0.01 * np.sqrt(0.5 * np.pi / n) if is_widened else 0.0
    assert result.error[0] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_a_small_aperture_shares_its_noise_with_the_reference():
    """What is left of errors of 4 and 5 % is that of the ring, 3 %: an error of a median of it."""
    phot = stars(400)
    phot["countrate_err_2"] = 4.0 * FRACTIONS[0]
    for r, fraction in zip((4, 6, 8), FRACTIONS[1:], strict=False):
        phot[f"countrate_err_{r}"] = 4.5 * fraction
    phot["countrate_err_10"] = 2.9 * FRACTIONS[4]
    quiet = found(phot).error[0]  # less in the reference than in the small one: no noise is left
    assert quiet < 1e-6
    phot["countrate_err_2"] = 2.5 * FRACTIONS[0]
    ring = np.sqrt(2.9**2 - 2.5**2) / 100
    assert found(phot).error[0] == pytest.approx(ring * np.sqrt(0.5 * np.pi / 400), rel=1e-3)


@pytest.mark.parametrize(("scale", "reference"), [(0.05, 10.0), (0.0501, 8.0), (0.0625, 8.0)])
def test_the_reference_is_the_largest_aperture_up_to_half_an_arcsec(scale, reference):
    assert RADII[reference_index(RADII, scale)] == reference


def test_kron_fluxes_are_calibrated_without_a_correction(new_drc):
    from bycatch.catalogs.columns import expand
    from bycatch.catalogs.photometry_columns import PHOT
    from bycatch.catalogs.tables import make_table
    from bycatch.stages import finalize

    meta = image_meta(
        headers_of(Path("jabc01010_drc.fits"), new_drc(np.ones((4, 5), dtype=np.float32)))
    )
    specs = expand(PHOT, (6.0,))
    data = {c.name: np.zeros(2) for c in specs} | {"id": np.arange(1, 3)}
    data |= {"countrate_kron": np.array([20.0, -1.0]), "countrate_err_kron": np.full(2, 0.5)}
    table = finalize.run(make_table(specs, data), (6.0,), meta, 0.05, (10.0, 15.0)).table
    assert table["flux_kron"].tolist() == pytest.approx([20 * meta.photflam, -meta.photflam])
    assert table["err_kron"].tolist() == pytest.approx([0.5 * meta.photflam] * 2)
    zero = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    assert table["mag_ab_kron"][0] == pytest.approx(zero - 2.5 * np.log10(20.0))
    assert table["mag_ab_kron"].mask.tolist() == [False, True]


def test_the_summary_counts_stars_of_five_sigma(new_drc):
    from bycatch.catalogs.columns import expand
    from bycatch.catalogs.photometry_columns import PHOT
    from bycatch.catalogs.tables import make_table
    from bycatch.stages import finalize

    meta = image_meta(
        headers_of(Path("jabc01010_drc.fits"), new_drc(np.ones((4, 5), dtype=np.float32)))
    )
    meta = replace(meta, filter="F775W")
    specs = expand(PHOT, (6.0,))
    data = {c.name: np.zeros(3) for c in specs} | {"id": np.arange(1, 4)}
    data |= {"countrate_6": np.array([4.99, 5.01, 50.0]), "countrate_err_6": np.ones(3)}
    result = finalize.run(make_table(specs, data), (6.0,), meta, 0.05, (10.0, 15.0))
    assert result.summary()["n_snr5_6px"] == 2
