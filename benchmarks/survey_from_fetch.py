"""From an archive on this machine to a survey of many fields that answers queries, killed twice.

    python benchmarks/survey_from_fetch.py [--fields 3000] [--reference 300] [--images 3]
        [--kills 2] [--jobs 2] [--discard] [--folder FOLDER]

Fields of up to three small images (``field_files.py``), served by ``bycatch.testing.archive`` with
the faults of a normal day: every tenth answer is one of "cut", "503", "slow", "redirect".  One
command, ``bycatch fetch --and-run``, once without disturbance and once with as many kills (SIGKILL)
at random moments, after each of which it is given again.  The folders must be the same in the end,
to the last byte (``bycatch.testing.same_products``).  Then ``bycatch survey build`` makes a survey
of each, and both must give the same answers.  The exit status is 1 if anything differs.

With ``--reference`` only so many of the fields are made without disturbance.  The same fields of
the disturbed run must be theirs to the last byte; all others must be whole by their checksums, and
must hold as many objects, as all fields show the same stars.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from field_files import IMAGES, Fields, centre_deg, first_fields, write_fields

from bycatch.testing.archive import FakeArchive
from bycatch.testing.archive_files import StoredFile
from bycatch.testing.same_products import damaged_products, differences, leftovers

DAILY = ("cut", "503", "slow", "redirect")


@dataclass(frozen=True)
class Survey:
    """A survey that was made: how often the command was killed, how long it took, how it ended."""

    out: Path
    data: Path
    kills_s: tuple[float, ...]
    seconds: float
    status: int


class OnDisk(dict[str, StoredFile]):
    """Files that are read when they are asked for: thousands do not fit into memory."""

    def __init__(self, fields: Fields, n_images: int) -> None:
        super().__init__()
        numbers = {name: k for k, name in enumerate(fields.names)}
        for path in sorted(fields.raw.glob("*_drc.fits")):
            if int(path.name[7]) > n_images:
                continue
            ra_deg, dec_deg = centre_deg(numbers[f"{path.name[1:4]}_{path.name[4:6]}"])
            size = path.stat().st_size
            self[path.name] = File(path, ra_deg, dec_deg, size)


class File(StoredFile):
    """A file on the disk."""

    def __init__(self, path: Path, ra_deg: float, dec_deg: float, size: int) -> None:
        self.path = path
        super().__init__(b"", ra_deg=ra_deg, dec_deg=dec_deg, listed_bytes=size)

    @property
    def content(self) -> bytes:  # type: ignore[override]
        """Its bytes."""
        return self.path.read_bytes()

    @content.setter
    def content(self, _: bytes) -> None:
        """Nothing is kept."""

    @property
    def etag(self) -> str:
        """A strong validator."""
        return f'"{self.path.name}-{self.version}"'


def daily(name: str, n: int) -> str:
    """Return the fault of a request: one in ten has one."""
    number = zlib.crc32(f"{name} {n}".encode())
    return DAILY[number // 10 % len(DAILY)] if number % 10 == 0 else ""


def survey_of(
    fields: Fields, folder: Path, given: argparse.Namespace, kills_s: list[float]
) -> Survey:
    """Make a survey with one command, killed after so many seconds each time.

    It is made in a folder of one name, as states and links hold it, and moved to ``folder`` then.
    """
    work = folder.with_name("work")
    out, data = work / "out", work / "data"
    with FakeArchive(OnDisk(fields, given.images), daily) as archive:
        words = [sys.executable, "-m", "bycatch", "fetch", "13711", "--parallels", "-o", str(data)]
        words += ["--and-run", str(out), "--gaia", str(fields.gaia), "--offline", "-q"]
        words += ["--set", "output.report=false"]
        words += ["-j", str(given.jobs)] if given.jobs else []
        words += ["--discard"] if given.discard else []
        for text in archive.settings:
            words += ["--set", text]
        started, killed_s = time.perf_counter(), []
        for seconds in kills_s:
            process = subprocess.Popen(words)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed_s.append(seconds)
        ended = subprocess.run(words, check=False)
    seconds = time.perf_counter() - started
    work.rename(folder)
    return Survey(folder / "out", folder / "data", tuple(killed_s), seconds, ended.returncode)


QUESTIONS = (
    "SELECT count(*) AS n, count(DISTINCT object_id) AS ids, sum(ra) AS ra FROM object",
    "SELECT filter, count(*) AS n, sum(exptime) AS s FROM image GROUP BY filter ORDER BY filter",
    "SELECT count(*) AS n, count(DISTINCT object_id) AS ids FROM epoch",
)


def answers(one: Survey) -> tuple[float, list[list[tuple[object, ...]]]]:
    """Build the survey of a folder and ask it; return the seconds and the rows of each answer."""
    from bycatch import open_survey

    folder = one.out.with_name("survey")
    started = time.perf_counter()
    words = [sys.executable, "-m", "bycatch", "survey", "build", str(one.out), "-o", str(folder)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    with open_survey(folder) as survey:
        found = [[tuple(row) for row in survey.sql(sql)] for sql in QUESTIONS]
    return time.perf_counter() - started, found


def faults(
    one: Survey, other: Survey, fields: Fields, n_images: int, *, discard: bool
) -> list[str]:
    """Return what is wrong with a survey that was disturbed, beside one that was not.

    ``fields`` are those of the undisturbed one; the other has more, perhaps.
    """
    lines = [f"exit status {survey.status}" for survey in (one, other) if survey.status]
    n_catalogs = len([*other.out.glob("*/*/*_cat.ecsv")])
    if n_catalogs != n_images:
        lines.append(f"{n_catalogs} catalogs of {n_images} images")
    places = [*fields.names, *(f"objects/{path.name}" for path in one.out.glob("objects/*"))]
    for place in places:
        lines += [f"{place}/{text}" for text in differences(one.out / place, other.out / place)]
    lines += damaged_products(other.out) + leftovers(other.out)
    n_left = len([*other.data.glob("*/*.fits")])
    if n_left != (0 if discard else n_images):
        lines.append(f"{n_left} images in the folder of the data")
    return lines + [f"a part is left: {path.name}" for path in other.data.rglob("*.part")]


def main() -> None:
    """Make the fields, the survey twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--fields", type=int, default=3000)
    parser.add_argument("--reference", type=int, help="fields without disturbance; all by default")
    parser.add_argument("--images", type=int, default=len(IMAGES), help="of each field")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, help="as -j of the command; none by default")
    parser.add_argument("--discard", action="store_true", help="images go when a field is done")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        fields = write_fields(folder / "archive", given.fields)
        n_reference = given.reference or given.fields
        reference = first_fields(fields, n_reference, folder / "reference")
        reference = replace(reference, gaia=fields.gaia)  # tables name the file
        first = survey_of(reference, folder / "one", given, [])
        share, rng = given.fields / n_reference, random.Random(given.seed)
        kills_s = [share * first.seconds * rng.uniform(0.2, 0.5) for _ in range(given.kills)]
        second = survey_of(fields, folder / "two", given, kills_s)
        n_images = given.images * given.fields
        lines = faults(first, second, reference, n_images, discard=given.discard)
        _, expected = answers(first)
        survey_s, rows = answers(second)
        if n_reference == given.fields and repr(rows) != repr(expected):
            lines.append("the surveys answer differently")
        n_objects = round(share * expected[0][0][0])
        if rows[0][0][:2] != (n_objects, n_objects):
            lines.append(f"{rows[0][0][0]} objects with {rows[0][0][1]} names, not {n_objects}")
        print(
            "| fields | images | kills after, s | s without | s with | survey, s | objects "
            "| what is wrong |"
        )
        print("|---:|---:|---|---:|---:|---:|---:|---:|")
        moments = ", ".join(f"{s:.0f}" for s in second.kills_s) or "-"
        print(
            f"| {given.fields} | {n_images} | {moments} | {first.seconds:.0f} "
            f"| {second.seconds:.0f} | {survey_s:.0f} | {rows[0][0][0]} | {len(lines)} |"
        )
        for text in lines[:20]:
            print(f"\n{text}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
