"""Answers of the Gaia services, kept on disk: a second run needs no network.

One file per answer.  Its name says for which table and circle it is, so that
looking for a circle that covers another one opens no file.  Files lie in a folder per cell of the
sky of about a degree, so that it lists few of them.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bycatch.catalogs.tables import read_table, write_table
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.sky.answers import misfit, separation_deg
from bycatch.sky.gaia import ReferenceStars, from_table
from bycatch.system.disk import atomic
from bycatch.system.locks import Lock, LockHeld, lock

logger = logging.getLogger("bycatch")

OFF = "off"
N_STARS = "n_stars"
TURN_POLL_S = 0.2
VARIABLE = "BYCATCH_CACHE"
NAME = re.compile(
    r"(?P<release>.+)_G(?P<limit>[\d.]+)_(?P<ra>[\d.]+)_(?P<dec>[+-][\d.]+)_(?P<radius>[\d.]+)\.ecsv$"
)


CELLS, WIDE = "cells", "wide"
"""Folders of answers by the cell of their centre, and of those that reach beyond the next cells."""
WIDEST_DEG = 0.9


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
    folder = setting or os.environ.get(VARIABLE, "")
    if folder == OFF:
        return None
    if folder:
        return Path(folder).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("bycatch")) / "gaia"


def cached_stars(folder: Path | None, region_to_cover: Region) -> ReferenceStars | None:
    """Return the stars of a kept answer that covers a region; None if there is none."""
    for path, region in _kept_near(folder, region_to_cover):
        if region.covers(_as_named(region_to_cover)):
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
        raise SettingsError(
            f"{len(table)} of {table.meta.get(N_STARS)} stars are there", hint="fetch them again"
        )
    stars = from_table(table, str(path))
    circle = (region.ra_deg, region.dec_deg, region.radius_deg)
    problem = misfit(stars, circle, region.limit_mag) if len(stars) else "no star in it"
    if problem:
        raise SettingsError(problem, hint="it is removed and fetched again")
    return stars


def keep(folder: Path | None, region: Region, stars: ReferenceStars) -> None:
    """Keep an answer; a folder that can't be written to is no reason to stop.

    No star at all is the answer of a service in trouble more often than of an empty sky: it is
    asked for again the next time.
    """
    if folder is None or not len(stars):
        return
    path = _place(folder, region)
    table = stars.table.copy(copy_data=False)
    table.meta[N_STARS] = len(table)
    try:
        with atomic(path) as partial:
            write_table(table, partial)
    except OSError as err:
        logger.info("Gaia stars are not kept for later runs: %s", err)


def _place(folder: Path, region: Region) -> Path:
    """Return where the answer of a region is kept."""
    if region.radius_deg > WIDEST_DEG:
        return folder / CELLS / WIDE / region.file_name
    row = _row(region.dec_deg)
    return folder / CELLS / f"{row:03d}-{_column(row, region.ra_deg):03d}" / region.file_name


def _row(dec_deg: float) -> int:
    """Return the number of the row of cells, of one degree in declination; 0 to 179."""
    return min(max(math.floor(dec_deg + 90), 0), 179)


def _n_columns(row: int) -> int:
    """Return how many cells of at least a degree a row has; near the poles one."""
    edge = max(abs(row - 90), abs(row - 89))
    return max(math.floor(360 * math.cos(math.radians(edge))), 1)


def _column(row: int, ra_deg: float) -> int:
    return min(math.floor(ra_deg % 360 / 360 * _n_columns(row)), _n_columns(row) - 1)


def _cells_near(region: Region) -> Iterator[str]:
    """Give the cells that can hold a circle that covers a region."""
    row = _row(region.dec_deg)
    for near in range(max(row - 1, 0), min(row + 1, 179) + 1):
        n, column = _n_columns(near), _column(near, region.ra_deg)
        # A degree of the next row may be a bit more than one of its own columns.
        for k in sorted({(column + step) % n for step in (-2, -1, 0, 1, 2)}):
            yield f"{near:03d}-{k:03d}"


def _kept_near(folder: Path | None, region: Region) -> Iterator[tuple[Path, Region]]:
    """Give the kept answers that may cover a region."""
    if folder is None or not folder.is_dir():
        return
    if not (folder / CELLS).is_dir():
        _sort_into_cells(folder)
        if not (folder / CELLS).is_dir():  # it is read-only
            yield from _answers_in(folder)
    for cell in (*_cells_near(region), WIDE):
        place = folder / CELLS / cell
        if place.is_dir():
            yield from _answers_in(place)


def _sort_into_cells(folder: Path) -> None:
    """Give the answers that earlier versions kept in one folder their places."""
    for path, region in _answers_in(folder):
        place = _place(folder, region).with_name(path.name)
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)


def _answers_in(folder: Path) -> Iterator[tuple[Path, Region]]:
    """Give the answers in a folder."""
    for path in sorted(folder.iterdir()):
        match = NAME.match(path.name)
        if match and path.is_file():
            with contextlib.suppress(ValueError):  # 1.2.3 is no number
                ra, dec, radius, limit = (float(match[k]) for k in ("ra", "dec", "radius", "limit"))
                yield path, Region(ra, dec, radius, match["release"], limit)


@contextlib.contextmanager
def turn(folder: Path | None, n_turns: int) -> Iterator[None]:
    """Wait for one of so many turns to ask a service, among all processes that share a cache.

    Parameters
    ----------
    folder : of the cache, on this host or shared; None: one of this host's user
    n_turns : how many may ask at once
    """
    place = folder or Path(tempfile.gettempdir()) / f"bycatch-{getpass.getuser()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        mine = _turn_in(place, n_turns)
    except OSError:  # who can't write there asks without a turn
        yield
        return
    with mine:
        yield


def _turn_in(place: Path, n_turns: int) -> Lock:
    while True:
        for number in range(n_turns):
            with contextlib.suppress(LockHeld):
                return lock(place / f".turn-{number}")
        time.sleep(TURN_POLL_S)


def _as_named(region: Region) -> Region:
    """Return a region as its file's name has it."""
    match = NAME.match(region.file_name)
    assert match is not None
    return Region(
        region.ra_deg,
        region.dec_deg,
        region.radius_deg,
        match["release"],
        float(match["limit"]),
    )
