"""Downloads from an archive on this machine that misbehaves, as Markdown tables.

    python benchmarks/fetch.py [--files 1000] [--kills 20] [--seed 1] [--folder FOLDER]

Small files (95 kB, with CHECKSUM and DATASUM) of many fields (``bycatch.testing.archive``).  Each
file meets up to three faults, one after the other, of the 23 that there are; half of the files are
asked for as parallels, by their headers first.  Then the same with the process killed now and then
(SIGKILL), and the command given again.  What has the name of a file must be the file, to the last
byte, at every moment that is looked at and in the end.  The exit status is 1 if one is not.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bycatch import fetch
from bycatch.settings import Settings
from bycatch.testing.archive import FAULTS, FakeArchive
from bycatch.testing.archive_files import StoredFile, archive_of

MOST_FAULTS = 3
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def names(n: int) -> list[str]:
    """Return names of files, four of each visit."""
    visits = (f"j{a}{b}a{c}{d}" for a in DIGITS for b in DIGITS for c in DIGITS for d in DIGITS)
    return [f"{visit}0{k}0_drc.fits" for visit in _first(visits, -(-n // 4)) for k in range(1, 5)][
        :n
    ]


def _first(visits, n: int) -> list[str]:
    return [next(visits) for _ in range(n)]


class Faulty:
    """The faults that the requests for each file meet, and how many there were of each."""

    def __init__(self, stored: dict[str, StoredFile], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.plan = {
            name: [*map(str, rng.choice(FAULTS, rng.integers(1, MOST_FAULTS + 1)))]
            for name in stored
        }
        self.met: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str, n: int) -> str:
        """Return the fault of a request; '' without one."""
        fault = self.plan[name][n] if n < len(self.plan[name]) else ""
        with self._lock:
            self.met[fault] += 1
        return fault


def bad_files(data: Path, archive: FakeArchive) -> list[Path]:
    """Return the files that have a name and are not what the archive has, or had, under it."""
    return [
        path
        for path in data.glob("*/*.fits")
        if path.read_bytes() not in versions(archive, path.name)
    ]


def versions(archive: FakeArchive, name: str) -> set[bytes]:
    """Return the file as it is in the archive, and as it was before."""
    return archive.history.get(name, set()) | {archive.files[name].content}


def print_faults(met: Counter[str]) -> None:
    """Print how often each fault was met."""
    print("\n| fault | met |\n|---|---:|")
    for fault in FAULTS:
        print(f"| {fault} | {met[fault]} |")


def disturbed(archive: FakeArchive, data: Path, n_kills: int, seed: int) -> tuple[int, int, int]:
    """Fetch with a command that is killed now and then; return kills, bad files, and status."""
    rng, seen = random.Random(seed), 0
    words = [
        sys.executable,
        "-m",
        "bycatch",
        "fetch",
        "13711",
        "-q",
        "--parallels",
        "-o",
        str(data),
    ]
    for text in archive.settings:
        words += ["--set", text]
    for _ in range(n_kills):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(2.5, 5.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        seen += len(bad_files(data, archive))
    ended = subprocess.run(words, check=False, capture_output=True)
    return n_kills, seen, ended.returncode


def main() -> None:
    """Fetch, look, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    stored = archive_of(names(given.files))
    n_bad, demands = 0, []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        faulty = Faulty(stored, given.seed)
        with FakeArchive(stored, faulty) as archive:
            chosen = Settings.load(assignments=[*archive.settings, "fetch.downloads=8"])
            started, used = time.perf_counter(), time.process_time()
            half = fetch(13711, f"{folder}/a", settings=chosen, parallels=True)
            seconds, used = time.perf_counter() - started, time.process_time() - used
            bad = bad_files(Path(folder) / "a", archive)
            n_bad += len(bad)
            demands += [not bad, half.all_done, len(half.paths) == given.files]
            print(
                "| downloads | faults met | requests | there | failed | bad | s | s of processor |"
            )
            print("|---:|---:|---:|---:|---:|---:|---:|---:|")
            n_faults = sum(faulty.met.values()) - faulty.met[""]
            print(
                f"| {given.files} | {n_faults} | {len(archive.downloads())} | {len(half.paths)} "
                f"| {half.counts().get('failed', 0)} | {len(bad)} | {seconds:.0f} | {used:.0f} |"
            )
        print_faults(faulty.met)
        if given.kills:
            faulty = Faulty(stored, given.seed + 1)
            with FakeArchive(stored, faulty) as archive:
                data = Path(folder) / "b"
                n_kills, seen, status = disturbed(archive, data, given.kills, given.seed)
                there = len([*data.glob("*/*.fits")])
                n_bad += seen + len(bad_files(data, archive))
                demands += [status == 0, there == given.files]
                print("\n| kills | bad files seen | exit status in the end | there in the end |")
                print("|---:|---:|---:|---:|")
                print(f"| {n_kills} | {seen} | {status} | {there} of {given.files} |")
    print(f"\nbad files under their names: {n_bad}")
    sys.exit(0 if n_bad == 0 and all(demands) else 1)


if __name__ == "__main__":
    main()
