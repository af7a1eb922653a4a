"""Images from the archive: search, download, verification."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from bycatch.archive.fetching import Fetching
from bycatch.archive.model import FetchedFile, FetchReport, FetchRequest, Product, State
from bycatch.archive.tally import Tally
from bycatch.errors import NoAnswer
from bycatch.settings import Settings

__all__ = [
    "FetchReport",
    "FetchRequest",
    "FetchedFile",
    "Fetching",
    "NoAnswer",
    "Product",
    "State",
    "Tally",
    "fetch",
]


def fetch(
    programs: int | str | Iterable[int | str] = (),
    data: str | Path = "data",
    *,
    visit: tuple[str, str] | None = None,
    cone: tuple[float, float, float] | None = None,
    filters: Iterable[str] = (),
    parallels: bool = False,
    products: Literal["pipeline", "hap"] = "pipeline",
    cloud: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
    tally: Tally | None = None,
) -> FetchReport:
    """Fetch drizzled ACS images from MAST; files that are already there are kept.

    Parameters
    ----------
    programs : number of a program, or several; or else give ``visit`` or ``cone``
    data : where the images go: ``<data>/<program>_<visit>/<name>``
    visit : program (number, or its letters in names of files) and visit: ``("jcmd", "p9")``
    cone : right ascension, declination, radius; degrees
    filters : names; all by default
    parallels : only images of which another instrument was the prime one, by their headers
    products : of the standard pipeline, or Hubble Advanced Products of a visit
    cloud : from the archive's public bucket, as far as they are there
    dry_run : only say what would be done; nothing is written
    settings : all settings, of which ``fetch`` counts
    tally : counts files and bytes on the way

    Raises
    ------
    SettingsError
        What is wanted can't be, or is not clear.
    NoAnswer
        The archive can't be asked.
    LockHeld
        Another fetch works in the same folder.
    OSError
        The disk is full, or can't be written to; what has come is kept.
    """
    several = [programs] if isinstance(programs, (int, str)) else list(programs)
    request = FetchRequest(
        tuple(str(program) for program in several),
        visit,
        cone,
        tuple(filters),
        parallels,
        products,
    )
    fetch_settings = (settings or Settings()).fetch
    work = Fetching(request, data, fetch_settings, cloud=cloud, tally=tally)
    work.look()
    if not dry_run:
        for _ in work.batches():
            pass
    return work.report(is_plan=dry_run)
