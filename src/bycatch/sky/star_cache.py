"""Answers of the Gaia services, kept on disk: a second run needs no network.

One file per answer.  Its name says for which table and circle it is, so that
looking for a circle that covers another one opens no file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bycatch.catalogs.tables import read_table, write_table
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.sky.answers import misfit, separation_deg
from bycatch.sky.gaia import ReferenceStars, from_table
from bycatch.system.disk import atomic

logger = logging.getLogger("bycatch")

OFF = "off"
N_STARS = "n_stars"
VARIABLE = "BYCATCH_CACHE"
NAME = re.compile(
    r"(?P<release>.+)_G(?P<limit>[\d.]+)_(?P<ra>[\d.]+)_(?P<dec>[+-][\d.]+)_(?P<radius>[\d.]+)\.ecsv$"
)


@dataclass(frozen=True)
class Region:
    """A circle on the sky, and which stars of it: all of a release down to a limit.

    Attributes
    ----------
    ra_deg, dec_deg, radius_deg : float
    release : name of release or table
    limit_mag : faintest G magnitude; 0 for no limit
    """

    ra_deg: float
    dec_deg: float
    radius_deg: float
    release: str
    limit_mag: float = 0.0

    def covers(self, other: Region) -> bool:
        """Tell whether all stars of another region are in this one."""
        apart = float(separation_deg(self.ra_deg, self.dec_deg, other.ra_deg, other.dec_deg))
        same = (self.release, self.limit_mag) == (other.release, other.limit_mag)
        # File names and headers round to 1e-5 deg.
        return same and apart + other.radius_deg <= self.radius_deg + 3e-5

    @property
    def file_name(self) -> str:
        """Name of its file."""
        release = re.sub(r"[^a-z0-9]+", "-", self.release.lower()).strip("-")
        return (
            f"{release}_G{self.limit_mag:g}_{self.ra_deg:.5f}_{self.dec_deg:+.5f}_"
            f"{self.radius_deg:.5f}.ecsv"
        )


def cache_folder(setting: str) -> Path | None:
    """Return where answers are kept; None if nowhere.

    Parameters
    ----------
    setting : a folder, 'off', or '' for the variable BYCATCH_CACHE and then the user's cache
    """
    chosen = setting or os.environ.get(VARIABLE, "")
    if chosen == OFF:
        return None
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("bycatch")) / "gaia"


def cached_stars(folder: Path | None, wanted: Region) -> ReferenceStars | None:
    """Return the stars of a kept answer that covers a region; None if there is none."""
    for path, region in _kept(folder):
        if region.covers(_as_named(wanted)):
            try:
                return _whole(path, region)
            except (SettingsError, UnreadableFile) as err:
                logger.warning("%s: damaged or foreign, not used: %s", path, err)
                with contextlib.suppress(OSError):
                    path.unlink()
    return None


def _whole(path: Path, region: Region) -> ReferenceStars:
    """Read a kept answer, of which a full disk may have left a part, or that is of elsewhere."""
    table = read_table(path)
    if table.meta.get(N_STARS) != len(table):
        raise SettingsError(f"{len(table)} of {table.meta.get(N_STARS)} stars are there")
    stars = from_table(table, str(path))
    circle = (region.ra_deg, region.dec_deg, region.radius_deg)
    problem = misfit(stars, circle, region.limit_mag) if len(stars) else "no star in it"
    if problem:
        raise SettingsError(problem, hint="it is removed, and asked for again")
    return stars


def keep(folder: Path | None, region: Region, stars: ReferenceStars) -> None:
    """Keep an answer; a folder that can't be written to is no reason to stop.

    No star at all is the answer of a service in trouble more often than of an empty sky: it is
    asked for again the next time.
    """
    if folder is None or not len(stars):
        return
    path = folder / region.file_name
    table = stars.table.copy(copy_data=False)
    table.meta[N_STARS] = len(table)
    try:
        with atomic(path) as partial:
            write_table(table, partial)
    except OSError as err:
        logger.info("Gaia stars are not kept for later runs: %s", err)


def _kept(folder: Path | None) -> Iterator[tuple[Path, Region]]:
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        found = NAME.match(path.name)
        if found and path.is_file():
            with contextlib.suppress(ValueError):  # 1.2.3 is no number
                ra, dec, radius, limit = (float(found[k]) for k in ("ra", "dec", "radius", "limit"))
                yield path, Region(ra, dec, radius, found["release"], limit)


def _as_named(region: Region) -> Region:
    """Return a region as its file's name has it."""
    found = NAME.match(region.file_name)
    assert found is not None
    return Region(
        region.ra_deg,
        region.dec_deg,
        region.radius_deg,
        found["release"],
        float(found["limit"]),
    )
