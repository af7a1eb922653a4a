"""The number of digits of a published number: as many as its error warrants."""

from __future__ import annotations

import re

_BY_NAME = (
    (r"ra|dec", ".8f"),  # 0.04 mas
    (r"(ra|dec|pos|dpos)_err|d(ra|dec)|frame_err|residual_rms", ".2f"),
    (r".*mjd.*", ".6f"),  # 0.1 s
    (r"(mag|colour|maglim|depth|zeropoint|gaia_g|amplitude).*", ".4f"),
    (r"(flux|err)_.*", ".4e"),
    (r"(p_|false_rate|found|kept).*", ".4f"),
    (r"(snr|chi2).*|.*chi2", ".3f"),
    (r"x|y", ".3f"),
    (r"(pm|parallax).*", ".3f"),
)
_BY_UNIT = {
    "arcsec": ".4f", "deg": ".2f", "mas": ".2f", "mag": ".4f", "pix": ".3f", "s": ".2f",
    "arcmin2": ".4f",
}  # fmt: skip
FEW = ".5g"
ANGLE = ".2f"
"""Of position angles: the registry has the digits of positions for all degrees."""


def format_of(name: str, unit: str, form_of_column: str = "") -> str:
    """Return the format of a column of floating point numbers.

    Parameters
    ----------
    name, unit : of the column
    form_of_column : what the registry says of it; it counts
    """
    if name == "pa_deg":
        return ANGLE
    if form_of_column:
        return form_of_column.removeprefix("%")
    for pattern, form in _BY_NAME:
        if re.fullmatch(pattern, name):
            return form
    return _BY_UNIT.get(unit, FEW)
