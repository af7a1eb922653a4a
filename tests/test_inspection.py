"""What `inspect` says of a file's calibration."""

import pytest

from bycatch import photcal
from bycatch.pipeline.inspection import inspect

# PHOTFLAM of jcmdp9010 (F475W, 2016-01-15), as it was calibrated in 2018.
REAL = 1.8267445e-19


def lines(path):
    found = inspect(path)
    return dict(found.facts), found.warnings


def test_an_outdated_calibration_is_told_with_its_amount(write_drc):
    cards = {"PHOTFLAM": REAL, "PHOTPLAM": 4747.0, "PHOTMODE": "ACS WFC1 F475W"}
    facts, warnings = lines(
        write_drc("jcmdp9010_drc.fits", filters=("F475W", "CLEAR2L"), sci_cards=cards)
    )
    assert facts["calibration"] == "outdated, as said below"
    (said,) = [w for w in warnings if "outdated calibration" in w]
    assert "-0.98 %: magnitudes 11 mmag too faint" in said


def test_a_calibration_of_today_is_no_cause_for_alarm(write_drc):
    photflam = photcal.expected_photflam("WFC", "F775W", 57402.01)
    path = write_drc("jabc01010_drc.fits", sci_cards={"PHOTFLAM": photflam})
    facts, warnings = lines(path)
    assert "agrees with" in facts["calibration"]
    assert not any("PHOTFLAM" in w for w in warnings)


def test_zero_points_are_given_in_all_systems(write_drc):
    facts, _ = lines(write_drc("jabc01010_drc.fits"))
    values = dict(part.split() for part in facts["zero points"].split(" (")[0].split(", "))
    assert float(values["Vega"]) - float(values["AB"]) == pytest.approx(-0.398, abs=2e-4)
    assert float(values["ST"]) == pytest.approx(photcal.st_zeropoint(9.93e-20), abs=1e-4)


def test_nothing_is_compared_where_nothing_is_known(write_drc):
    small = {"CD1_1": -7e-6, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7e-6}
    hrc = {"PHOTMODE": "ACS HRC F775W", "PHOTFLAM": 1.9e-19, **small}
    path = write_drc("jabc01010_drc.fits", primary={"DETECTOR": "HRC"}, sci_cards=hrc)
    facts, warnings = lines(path)
    assert facts["calibration"] == "no value known to compare with"
    assert not any("PHOTFLAM" in w for w in warnings)
