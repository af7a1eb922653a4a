"""What `inspect` says of a file's calibration."""

import numpy as np
import pytest
from astropy.io import fits

from bycatch import photcal
from bycatch.pipeline.inspection import inspect

# PHOTFLAM of jcmdp9010 (F475W, 2016-01-15), as it was calibrated in 2018.
REAL = 1.8267445e-19


def lines(path):
    inspection = inspect(path)
    return dict(inspection.facts), inspection.warnings


def test_an_outdated_calibration_is_reported_with_its_amount(write_drc):
    cards = {"PHOTFLAM": REAL, "PHOTPLAM": 4747.0, "PHOTMODE": "ACS WFC1 F475W"}
    facts, warnings = lines(
        write_drc("jcmdp9010_drc.fits", filters=("F475W", "CLEAR2L"), sci_cards=cards)
    )
    assert facts["calibration"] == "outdated, see below"
    (text,) = [w for w in warnings if "outdated calibration" in w]
    assert "-0.98 %: magnitudes 11 mmag too faint" in text


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
    assert facts["calibration"] == "no reference value"
    assert not any("PHOTFLAM" in w for w in warnings)


def with_rows(path, *values):
    """Give a file a HDRTAB with PCTECORR of its exposures."""
    rows = fits.BinTableHDU.from_columns(
        [fits.Column("PCTECORR", "12A", array=np.array(values))], name="HDRTAB"
    )
    with fits.open(path, mode="append") as hdus:
        hdus.append(rows)
    return path


@pytest.mark.parametrize(
    ("name", "card", "rows", "said", "warns"),
    [
        ("jabc01010_drc.fits", "COMPLETE", (), "corrected (PCTECORR COMPLETE)", False),
        ("jabc01010_drc.fits", None, ("COMPLETE", "COMPLETE"), "corrected (PCTECORR COMPLETE)",
         False),
        ("jabc01010_drc.fits", None, (), "corrected, by its name (PCTECORR is missing)", False),
        ("mosaic.fits", None, (), "unknown (PCTECORR is missing)", False),
        ("jabc01010_drz.fits", None, (), "drz: not corrected (PCTECORR is missing)", True),
        ("jabc01010_drz.fits", "OMIT", (), "drz: not corrected (PCTECORR OMIT)", True),
        ("jabc01010_drz.fits", "COMPLETE", (),
         "corrected (PCTECORR COMPLETE), though it is named drz", True),
        ("jabc01010_drc.fits", "OMIT", (), "not corrected (PCTECORR OMIT)", True),
        ("jabc01010_drc.fits", None, ("COMPLETE", "OMIT"),
         "not corrected in all exposures (PCTECORR COMPLETE, OMIT)", True),
    ],
)  # fmt: skip
def test_the_correction_of_charge_transfer_is_shown(write_drc, name, card, rows, said, warns):
    primary = {} if card is None else {"PCTECORR": card}
    path = write_drc(name, primary=primary)
    facts, warnings = lines(with_rows(path, *rows) if rows else path)
    assert facts["charge transfer"] == said
    assert any("charge-transfer losses" in w for w in warnings) == warns


def test_a_table_is_called_text_and_not_damaged(tmp_path, bycatch):
    (tmp_path / "gaia.ecsv").write_text("# %ECSV 1.0\n# ---\nra dec\n1 2\n")
    said = bycatch("inspect", tmp_path / "gaia.ecsv").out
    assert "a text file, not FITS (it begins with '# %ECSV 1.0')" in said
    (tmp_path / "noise.fits").write_bytes(bytes(range(256)) * 20)
    assert "not FITS, or damaged" in bycatch("inspect", tmp_path / "noise.fits").out
