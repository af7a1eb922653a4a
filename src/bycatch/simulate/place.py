"""Where simulated visits go: a new folder, or that of earlier ones that they replace."""

from __future__ import annotations

import re
from pathlib import Path

from astropy.io import fits

from bycatch.errors import SettingsError
from bycatch.simulate.exposures import MAKER

IMAGES = ("raw/*_drc.fits", "exposures/*_flc.fits")
TRUTH = re.compile(r"j[a-z0-9]{8}(\.ecsv|_cr\.fits\.gz|_model\.fits\.gz)|wcs_error\.json|sky\.ecsv")
FOLDERS = ("raw", "truth", "exposures")


def earlier_files(directory: Path, *, replace: bool) -> list[Path]:
    """Return the files of earlier visits in a folder, which have to go before others come.

    Parameters
    ----------
    directory : where visits go; it need not be there
    replace : earlier ones may go; what else is beside them stays

    Raises
    ------
    SettingsError
        The folder holds an earlier visit that is not to be replaced, or other files.
    """
    if not directory.is_dir() or not any(directory.iterdir()):
        return []
    images = [path for one in IMAGES for path in directory.glob(one) if _is_simulated(path)]
    truth = [path for path in directory.glob("truth/*") if TRUTH.fullmatch(path.name)]
    inside = {path for name in FOLDERS for path in (directory / name).glob("*")}
    others = sorted(inside - {*images, *truth}) if images else sorted(directory.iterdir())
    if others:
        raise SettingsError(
            f"{directory}: there are files of another kind, such as {others[0]}",
            hint="choose another folder, or remove them first",
        )
    if not replace:
        raise SettingsError(
            f"{directory}: an earlier visit of {len(images)} simulated image(s) is there",
            hint="choose another folder, or give --replace to remove it first",
        )
    return [*truth, directory / "gaia.ecsv", *images]


def _is_simulated(path: Path) -> bool:
    """Tell whether `write_visit` made an image."""
    try:
        return bool(fits.getheader(path).get("PROD_VER") == MAKER)
    except OSError:
        return False
