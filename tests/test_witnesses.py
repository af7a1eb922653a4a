"""Cards, weights, context and pixels are compared: what lies is not used without a word."""

import itertools

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bycatch.errors import UnusableData
from bycatch.images import skynoise, times, witnesses
from bycatch.images.calibration import HRC_RATIO, PHOTFLAM_LIMIT, PHOTPLAM_TOLERANCE
from bycatch.images.drc import read_drc
from bycatch.images.headers import PLAUSIBLE, headers_of, plausible
from bycatch.images.meta import image_meta
from bycatch.settings import InputSettings
from bycatch.sky.gaia import from_table

SHAPE = (150, 160)
TIME_S, SKY, READNOISE_E = 1000.0, 0.062, 4.2
RATE_NOISE = float(np.sqrt(SKY / TIME_S + 2 * READNOISE_E**2 / TIME_S**2) / 1.5)
"""Of two exposures, sky and dark current subtracted, as drizzling at the native scale leaves it."""


@pytest.fixture(scope="module")
def blank():
    """Sky alone: rates with the noise of two exposures of 500 s."""
    return np.random.default_rng(2).normal(0, RATE_NOISE, SHAPE).astype(np.float32)


@pytest.fixture
def read(tmp_path, new_drc, blank):
    """Return a function that reads the image after changes."""
    number = itertools.count()

    def write(*changes, sci=blank, **given):
        hdus = new_drc(sci.copy())
        for k in range(4):
            hdus[0].header[f"D{k + 1:03d}WTSC"] = 1
        for change in changes:
            change(hdus)
        folder = tmp_path / str(next(number))
        folder.mkdir()
        path = folder / "jabc01010_drc.fits"
        hdus.writeto(path, output_verify="ignore")
        return read_drc(path, InputSettings.model_validate(given))

    return write


def primary(**cards):
    return lambda hdus: [put(hdus[0].header, k, v) for k, v in cards.items()]


def science(**cards):
    return lambda hdus: [put(hdus["SCI"].header, k, v) for k, v in cards.items()]


def put(header, name, value):
    header.remove(name, ignore_missing=True)
    if value is not None:
        header[name] = value


def exposures(seconds):
    return primary(**{f"D{k + 1:03d}DEXP": seconds for k in range(4)})


def pixels(plane, factor):
    def change(hdus):
        hdus[plane].data = hdus[plane].data * np.float32(factor)

    return change


def without(*names):
    return lambda hdus: [hdus.__delitem__(name) for name in names]


def no_inputs(hdus):
    for key in [k for k in hdus[0].header if k.startswith("D00")]:
        del hdus[0].header[key]


def notes(image):
    return "; ".join(image.meta.notes)


def seconds_of(image):
    return float(np.median(image.exptime_map_s[image.valid]))


def test_a_good_image_has_no_notes(read, blank):
    image = read()
    assert image.meta.notes == ()
    np.testing.assert_array_equal(image.sci, blank)
    assert (image.meta.exptime_s, image.meta.n_exposures, image.wht_type) == (1000, 2, "exptime")


# ---------------------------------------------------------------- exposure times

FACTORS = [1e-3, 1 / 30, 1 / 3, 3, 30, 1e3]
WRONG_TIMES = {
    "EXPTIME": lambda f: [primary(EXPTIME=1000 * f)],
    "TEXPTIME": lambda f: [primary(TEXPTIME=1000 * f)],
    "EXPTIME of SCI": lambda f: [science(EXPTIME=1000 * f)],
    "EXPTIME = TEXPTIME": lambda f: [primary(EXPTIME=1000 * f, TEXPTIME=1000 * f)],
    "DEXP": lambda f: [exposures(500 * f)],
    "all headers": lambda f: [
        primary(EXPTIME=1000 * f, TEXPTIME=1000 * f), exposures(500 * f),
    ],
    "EXPTIME, no inputs": lambda f: [primary(EXPTIME=1000 * f, TEXPTIME=1000 * f), no_inputs],
    "WHT": lambda f: [pixels("WHT", f)],
}  # fmt: skip


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("where", WRONG_TIMES)
def test_a_wrong_exposure_time_is_found_out(read, blank, where, factor):
    image = read(*WRONG_TIMES[where](factor))
    assert notes(image)
    assert image.meta.exptime_s == pytest.approx(1000, rel=0.3)
    assert seconds_of(image) == pytest.approx(1000, rel=0.3)
    assert image.meta.n_exposures == 2
    np.testing.assert_array_equal(image.sci, blank)


@pytest.mark.parametrize("factor", [1e-3, 1 / 30, 1 / 3, 30, 1e3])
def test_a_time_that_all_agree_on_is_estimated_where_the_pixels_forbid_it(read, factor):
    lie = [primary(EXPTIME=1000 * factor, TEXPTIME=1000 * factor), exposures(500 * factor)]
    for image in (read(*lie, pixels("WHT", factor)), read(*lie, without("WHT"))):
        assert "is estimated from it" in notes(image)
        assert seconds_of(image) == pytest.approx(1000, rel=0.3)


def test_pixels_without_photon_noise_show_no_time(read, blank):
    image = read(sci=blank * np.float32(0.01) + np.float32(0.1))
    assert (image.meta.exptime_s, image.wht_type) == (1000, "exptime")
    assert "is not photon noise" in notes(image)


def test_a_noted_sky_that_makes_more_noise_than_there_is_does_not_change_the_time(read):
    image = read(primary(MDRIZSKY=120.0))
    assert image.meta.exptime_s == 1000
    assert "MDRIZSKY (0.24 e/s) implies more noise than the image has" in notes(image)
    assert np.isnan(image.meta.subtracted_sky_rate)


def test_what_the_user_states_is_believed_but_noted(read):
    image = read(exptime_s=30000)
    assert image.meta.exptime_s == 30000
    assert "your exposure time and unit are used" in notes(image)
    assert notes(read(exptime_s=1000)) == ""


def test_times_that_agree_to_three_percent_are_one(read):
    assert times.SAME_TIME == 0.03
    assert notes(read(primary(EXPTIME=1029.0))) == ""
    assert "exposure times disagree" in notes(read(primary(EXPTIME=1032.0)))


def crowded(sci, seed=4):
    """Add unresolved stars everywhere, of a cluster or a galaxy."""
    stars = np.random.default_rng(seed).pareto(1.2, sci.shape) * (
        np.random.default_rng(seed).uniform(size=sci.shape) < 0.1
    )
    return (sci + gaussian_filter(np.minimum(stars, 500), 0.95)).astype(np.float32)


def test_crowded_fields_are_left_alone(read, blank):
    image = read(sci=crowded(blank))
    assert image.meta.notes == ()
    assert image.meta.exptime_s == 1000


def test_in_crowded_fields_the_number_of_witnesses_decides(read, blank):
    image = read(primary(EXPTIME=1.0, TEXPTIME=1.0), sci=crowded(blank))
    assert image.meta.exptime_s == 1000
    assert "exposure times disagree" in notes(image)


def test_no_remark_is_a_reason_to_drop(read, blank):
    changes = [primary(EXPTIME=3000.0, TEXPTIME=3000.0, EXPEND=57403.0), without("WHT", "CTX")]
    with pytest.raises(UnusableData, match=r"disagree .*3000 s.*input.exptime_s=<seconds>"):
        read(*changes, sci=crowded(blank))


def test_a_sky_that_is_brighter_than_any_is_no_wrong_time(read):
    bright = np.random.default_rng(3).normal(0, np.sqrt(3.0 / TIME_S) / 1.5, SHAPE)
    image = read(sci=bright.astype(np.float32))
    assert image.meta.notes == ()


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("subtracted", [True, False])
def test_the_noise_is_what_sky_dark_and_readout_make(read, new_drc, tmp_path, n, subtracted):
    # The truth: photons and read noise of n exposures, the drops smaller than the pixels' steps.
    rng = np.random.default_rng(n)
    counts = rng.poisson(SKY * TIME_S, SHAPE) + rng.normal(0, READNOISE_E * np.sqrt(n), SHAPE)
    rates = counts / TIME_S - (SKY if subtracted else 0.012)
    cards = {f"D{k + 1:03d}PIXF": 0.01 for k in range(2 * n)}
    hdus = new_drc(rates.astype(np.float32), n_exposures=n, primary=cards)
    hdus[0].header["MDRIZSKY"] = 0.05 * TIME_S / n
    path = tmp_path / "jabc01010_drc.fits"
    hdus.writeto(path)
    headers = headers_of(path, hdus)
    meta = image_meta(headers)
    sample = skynoise.sample_of(hdus["SCI"].data, hdus["WHT"].data, "none", 0.01)
    result = skynoise.noise_ratio(sample, meta, 0.05, 1.0, np.full(len(sample), TIME_S))
    assert result.typical == pytest.approx(1.0, abs=0.1)
    assert result.estimate == pytest.approx(1.0, abs=0.1)
    assert read_drc(path).meta.notes == ()


# ---------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("changes", "truth"),
    [
        ([pixels("SCI", 1000)], "electrons"),
        ([pixels("SCI", 1000), without("WHT")], "electrons"),
        ([pixels("SCI", 1000), primary(D001OUUN="counts")], "electrons"),
        ([pixels("SCI", 1000), science(BUNIT="ELECTRONS")], "electrons"),
        ([primary(D001OUUN="counts")], "electrons/s"),
        ([primary(D001OUUN="counts"), science(BUNIT="ELECTRONS")], "electrons/s"),
        ([science(BUNIT="ELECTRONS")], "electrons/s"),
    ],
)
def test_the_noise_distinguishes_counts_from_rates(read, blank, changes, truth):
    image = read(*changes)
    assert "BUNIT is" in notes(image)
    np.testing.assert_allclose(image.sci, blank, rtol=1e-5)
    assert image.meta.exptime_s == 1000


@pytest.mark.parametrize("unit", ["electrons", "electrons/s"])
def test_a_stated_unit_is_believed_but_noted(read, blank, unit):
    image = read(pixels("SCI", 1000) if unit == "electrons/s" else primary(), bunit=unit)
    assert "your exposure time and unit are used" in notes(image)


def test_counts_in_a_crowded_field_are_known_by_their_charge(read, blank):
    image = read(pixels("SCI", 1000), sci=crowded(blank))
    assert "the pixels have the noise of electrons" in notes(image)


# ---------------------------------------------------------------- other pairs of witnesses

PAIRS = {
    "PHOTFLAM and table": ([science(PHOTFLAM=9.93e-19)], "can't be that of WFC F775W"),
    "PHOTFLAM and table, a little": ([science(PHOTFLAM=1.1e-19)], "differs by +9.6 %"),
    "PHOTPLAM and table": ([science(PHOTPLAM=5921.0)], "PHOTPLAM 5921 is not that of F775W"),
    "PHOTZPT and STMAG": ([science(PHOTZPT=-23.0)], "PHOTZPT is -23"),
    "filter card and photometry": ([primary(FILTER1="F606W")], "F775W is used"),
    "PHOTMODE and filter": ([science(PHOTMODE="ACS WFC1 F606W")], "the card is used"),
    "PHOTMODE and detector": ([science(PHOTMODE="ACS HRC F775W")], "WFC is used"),
    "detector card": ([primary(DETECTOR="HRC")], "WFC is used"),
    "NDRIZIM and inputs": ([primary(NDRIZIM=20)], "but 4 DnnnDATA cards"),
    "gap in the inputs": ([primary(D002DATA=None)], "DnnnDATA cards with gaps"),
    "NDRIZIM and context": ([primary(NDRIZIM=20), no_inputs], "2 account for the whole time"),
    "lost inputs and context": (
        [primary(NDRIZIM=2, D003DATA=None, D004DATA=None)], "2 contribute to a pixel",
    ),
    "EXPSTART after EXPEND": ([primary(EXPSTART=57403.0)], "is after EXPEND"),
    "span and time": ([primary(EXPEND=57402.001)], "do not fit between EXPSTART and EXPEND"),
    "DATE-OBS and EXPSTART": ([primary(**{"DATE-OBS": "2003-01-01"})], "are used"),
    "PHOTMODE and EXPSTART": ([science(PHOTMODE="ACS WFC1 F775W MJD#52640.1")], "are used"),
    "both dates": (
        [primary(**{"DATE-OBS": "2003-01-01"}), science(PHOTMODE="ACS WFC1 F775W MJD#52640.1")],
        "DATE-OBS is used",
    ),
    "WHT factor and WHT": ([primary(D001WTSC=36470.0)], "WHT holds no seconds"),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_witnesses_that_disagree_are_a_note_or_a_reason_to_drop(read, pair):
    changes, words = PAIRS[pair]
    if words.startswith("can't be"):
        with pytest.raises(UnusableData, match=words):
            read(*changes)
        return
    image = read(*changes)
    assert words in notes(image)
    assert image.meta.filter == "F775W"
    assert image.meta.detector == "WFC"
    assert image.meta.n_exposures == 2
    assert seconds_of(image) == pytest.approx(1000, rel=0.3)


def test_the_bundled_value_takes_the_place_of_one_that_can_not_be(read):
    image = read(science(PHOTFLAM=9.93e-19), zeropoint_fallback=True)
    assert (image.meta.photflam, image.meta.zeropoint_origin) == (1.0033e-19, "table")


def test_two_dates_overrule_the_third(read):
    change = [
        primary(**{"DATE-OBS": "2003-01-01"}), science(PHOTMODE="ACS WFC1 F775W MJD#52640.1")
    ]  # fmt: skip
    assert read(*change).meta.mjd_mid == pytest.approx(52640.0)


def test_limits_that_the_documentation_states():
    assert (witnesses.TOO_QUIET, witnesses.TOO_LOUD) == (1 / 3, 4)
    assert (times.LONG_SPAN_D, times.SAME_DATE_D) == (30, 2)
    assert (PHOTFLAM_LIMIT, PHOTPLAM_TOLERANCE, HRC_RATIO) == (0.2, 0.02, (0.8, 4.0))
    assert skynoise.SKY_RATES == (0.01, 0.05, 0.3)
    assert (witnesses.BRIGHTER_SKY, witnesses.LONGEST_S) == (10, 1e6)


# ---------------------------------------------------------------- values that are none

VALUES = st.one_of(
    st.sampled_from(
        [True, False, "inf", "nan", "-inf", "N/A", "INDEF", "", "1e400", "0x10", 0, -1]
    ),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.integers(-(10**18), 10**18),
    st.text("abcXYZ019.+-eE ", max_size=12),
)
CARDS = [n for n in PLAUSIBLE if not n.endswith("x") and not n.startswith("Dnnn")] + [
    "READNSEA", "ATODGNA", "D001DEXP", "D001PIXF", "D001WTSC", "D001SCAL", "CCDGAIN",
    "D99999DATA", "DATE-OBS", "TIME-OBS", "PHOTMODE",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("header", ["PRIMARY", "SCI"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(card=st.sampled_from(CARDS), value=VALUES)
def test_no_value_of_a_card_crashes_or_is_used_silently(
    new_drc, blank, tmp_path, header, card, value
):
    hdus = new_drc(blank[:80, :90].copy())
    for head in (hdus[0].header, hdus["SCI"].header):
        head.remove(card, ignore_missing=True)
    hdus[0 if header == "PRIMARY" else "SCI"].header[card] = value
    path = tmp_path / "jabc01010_drc.fits"
    hdus.writeto(path, overwrite=True, output_verify="ignore")
    try:
        image = read_drc(path)
    except UnusableData:
        return
    meta = image.meta
    assert meta.exptime_s == pytest.approx(1000, rel=0.3)
    assert 0 < meta.pixfrac <= 1.5
    assert 1 <= meta.readnoise_e <= 12
    assert 1 <= meta.n_exposures <= 30000
    assert PLAUSIBLE["PHOTPLAM"][0] <= meta.photplam <= PLAUSIBLE["PHOTPLAM"][1]
    assert np.isnan(meta.mjd_mid) or 52330 <= meta.mjd_mid <= 73050
    assert np.isfinite(image.exptime_map_s).all()
    assert meta.photflam == pytest.approx(1.0e-19, rel=0.2)


@pytest.mark.parametrize("value", [True, False, None, "abc", "", float("nan"), float("inf"), -5])
def test_what_is_no_number_is_no_value(value):
    assert np.isnan(plausible("EXPTIME", value))


@pytest.mark.parametrize(("value", "number"), [(600, 600), ("600.0", 600), (" 6e2 ", 600)])
def test_numbers_in_quotes_are_numbers(value, number):
    assert plausible("EXPTIME", value) == number


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_each_range_is_that_of_the_keyword(name):
    low, high = PLAUSIBLE[name]
    card = name.replace("nnn", "017").replace("READNSEx", "READNSEC").replace("GNx", "GNB")
    assert plausible(card, low) == low
    assert plausible(card, high) == high
    assert np.isnan(plausible(card, low - 0.01 * abs(low) - 1e-30))
    assert np.isnan(plausible(card, high + 0.01 * abs(high)))


def test_values_that_can_not_be_are_named(read):
    said = notes(read(primary(READNSEA=1e30, D001PIXF=1e6, NDRIZIM=10**9)))
    assert "implausible values, not used" in said
    for card in ("READNSEA = 1e+30", "D001PIXF = 1000000.0", "NDRIZIM = 1000000000"):
        assert card in said


# ---------------------------------------------------------------- exposures of many years


def test_exposures_of_many_years_are_reported_and_known_to_the_motions(read):
    image = read(primary(EXPEND=57402.0 + 3652.5))
    assert "the exposures span 10.0 years" in notes(image)
    assert image.meta.epoch_spread_yr == pytest.approx(10 / np.sqrt(12))
    assert read(primary(EXPEND=57402.0 + 29)).meta.epoch_spread_yr == 0


def test_the_spread_of_known_exposures_is_their_own(read):
    def tabled(hdus):
        start = np.array([57402.0, 57402.0, 58863.0, 58863.0])
        rows = Table({"ROOTNAME": ["a", "a", "b", "b"], "EXPSTART": start, "EXPEND": start + 0.01})
        hdus.append(fits.BinTableHDU(rows, name="HDRTAB"))

    image = read(tabled, primary(EXPEND=58863.01))
    assert image.meta.epoch_spread_yr == pytest.approx(2.0, abs=1e-3)


def test_moving_stars_are_known_less_well_over_years():
    stars = from_table(
        Table({
            "source_id": [1, 2], "ra": [10.0, 10.1], "dec": [0.0, 0.0], "ra_error": [0.1, 0.1],
            "dec_error": [0.1, 0.1], "pmra": [30.0, np.nan], "pmdec": [0.0, np.nan],
            "pmra_error": [0.1, np.nan], "pmdec_error": [0.1, np.nan],
            "ref_epoch": [2016.0, 2016.0], "phot_g_mean_mag": [18.0, 18.0],
        }),
        "test",
    )  # fmt: skip
    mjd = 57388.5  # 2016.0
    ra, dec = stars.errors_at(mjd, 5.0, 3.0)
    assert ra == pytest.approx([np.hypot(0.1, 90.0), np.hypot(0.1, 15.0)], rel=1e-3)
    assert dec == pytest.approx([0.1, np.hypot(0.1, 15.0)], rel=1e-2)
    np.testing.assert_array_equal(stars.errors_at(mjd, 5.0, 0.0), stars.errors_at(mjd, 5.0))
