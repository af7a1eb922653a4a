"""What is lost when processes of a run are killed, as Markdown tables of checks.

    python benchmarks/kills.py [workers] [parent] [crash] [shards] [--engine dask]
        [--fields 60] [--kills 6] [--moments 60] [--jobs 2] [--folder FOLDER]

Fields of three small images (``field_files.py``).  ``workers``: a process that works on a field is
killed every few seconds.  ``parent``: the first process is killed at random moments of a run of six
fields, and the command is given again.  ``crash``: the worker of one field dies each time.
``shards``: twelve parts of a run at once into one folder.  In the end the products must be those of
an undisturbed run to the last byte (``bycatch.testing.same_products``).  The exit status is 1 if a
check fails.  About 20 minutes on 2 cores; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from field_files import IMAGES, Fields, first_fields, write_fields

from bycatch.testing.same_products import damaged_products, differences, leftovers

MODES = ("workers", "parent", "crash", "shards")
PARENT_FIELDS, CRASH_FIELDS, N_SHARDS = 6, 8, 12
CRASH = "BYCATCH_CRASH_FIELD"
WORKER = b"multiprocessing.spawn"
"""In the command line of every worker, of dask's nannies too."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
BUSY_S = 0.05
MOST_ENDING_S = 15.0
"""How long workers may outlive the first process: their task of 3 small images takes 1 s."""


@dataclass
class Checks:
    """Checks of one mode, printed as they are made."""

    mode: str
    n_failed: int = field(default=0)

    def add(self, name: str, found: object, *, ok: bool = True, detail: list[str] | None = None):
        """Print what was found, and the first details of what is wrong."""
        self.n_failed += not ok
        print(f"| {self.mode} | {name} | {found} | {'' if ok else '**fails**'} |", flush=True)
        for line in (detail or [])[:5]:
            print(f"| | | {line} | |")


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    folder: Path
    jobs: int
    engine: str | None

    def start(
        self, fields: Fields, out: Path, *more: str, variables: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the command on some fields."""
        words = ["run", fields.raw, "-o", out, "--gaia", fields.gaia, "--offline", "-q"]
        words += [] if "--shard" in more else ["-j", self.jobs]
        words += ["--engine", self.engine] if self.engine else []
        return started(*words, *more, variables=variables)

    def undisturbed(self, fields: Fields, name: str) -> tuple[Path, float]:
        """Return the output folder of an undisturbed run, and its time, s."""
        out, start = self.folder / name, time.perf_counter()
        if status := self.start(fields, out).wait():
            sys.exit(f"the undisturbed run ended with {status}")
        return out, time.perf_counter() - start


def started(*words: object, variables: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "bycatch", *map(str, words)],
        env=os.environ | {"BYCATCH_CACHE": "off"} | (variables or {}),
        stderr=subprocess.DEVNULL,
    )


# ---- processes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process: its number, when it started, its parent, and what it has had of a core, s."""

    pid: int
    started: int
    parent: int
    busy_s: float
    command: bytes


def processes() -> dict[int, Process]:
    """Return all living processes by number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            words = (path / "stat").read_bytes().rpartition(b")")[2].split()
            if words[0] not in {b"Z", b"X"}:
                busy_s = (int(words[11]) + int(words[12])) * TICK_S
                command = (path / "cmdline").read_bytes()
                pid = int(path.name)
                found[pid] = Process(pid, int(words[19]), int(words[1]), busy_s, command)
    return found


def descendants(pid: int) -> list[Process]:
    """Return the processes that a process has begun, and those that they have."""
    known = processes()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [p for p in known.values() if p.parent in parents]
        found += children
        parents = {child.pid for child in children}
    return found


def workers(pid: int) -> list[Process]:
    """Return the workers of a run."""
    return [process for process in descendants(pid) if WORKER in process.command]


def busy_workers(pid: int) -> list[Process]:
    """Return the workers that had more than half a core for a moment, and have begun long ago."""
    before = {(p.pid, p.started): p.busy_s for p in workers(pid)}
    time.sleep(2 * BUSY_S)
    return [
        process
        for process in workers(pid)
        if process.busy_s > 1
        and process.busy_s - before.get((process.pid, process.started), process.busy_s) > BUSY_S
    ]


def survivors(known: list[Process]) -> list[Process]:
    """Return which of some processes are there still."""
    now = processes()
    return [p for p in known if p.pid in now and now[p.pid].started == p.started]


def ending_s(known: list[Process]) -> float | None:
    """Wait for the end of processes; return how long it took, None if some do not end."""
    start = time.perf_counter()
    while survivors(known):
        if time.perf_counter() - start > MOST_ENDING_S:
            return None
        time.sleep(0.02)
    return time.perf_counter() - start


# ---- results ----------------------------------------------------------------------------------


def images_of(out: Path) -> list[dict[str, Any]]:
    """Return what the summary says of the images; nothing where there is none."""
    try:
        found: list[dict[str, Any]] = json.loads((out / "summary.json").read_bytes())["images"]
    except (OSError, ValueError):
        return []
    return found


def outcomes(out: Path) -> dict[str, str]:
    """Return what became of each field: the outcome of its images, or several."""
    found: dict[str, set[str]] = {}
    for image in images_of(out):
        found.setdefault(image["field"], set()).add(image["outcome"])
    return {name: "+".join(sorted(several)) for name, several in found.items()}


def counted(out: Path) -> str:
    """Return how many fields had which outcome, in words."""
    counts = Counter(outcomes(out).values())
    return ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "no summary"


def check_same(checks: Checks, out: Path, right: Path) -> None:
    """Check that products are there, whole, and those of an undisturbed run."""
    damaged = damaged_products(out)
    checks.add("products that are not as stated", len(damaged), ok=not damaged, detail=damaged)
    other = differences(right, out)
    checks.add("files that differ from the undisturbed run", len(other), ok=not other, detail=other)
    left = leftovers(out)
    checks.add("drafts and locks that are left", len(left), ok=not left, detail=left)


# ---- modes ------------------------------------------------------------------------------------


def kill_workers(setting: Setting, fields: Fields, n_kills: int) -> int:
    """Kill workers amid their tasks; return the number of failed checks."""
    checks = Checks("workers")
    right, usual_s = setting.undisturbed(fields, "undisturbed")
    out, start = setting.folder / "disturbed", time.perf_counter()
    run = setting.start(fields, out)
    pause_s = usual_s / (n_kills + 2)
    killed: list[float] = []
    due_s = pause_s
    while run.poll() is None:
        if len(killed) < n_kills and time.perf_counter() - start > due_s:
            for worker in random.sample(busy := busy_workers(run.pid), min(1, len(busy))):
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(time.perf_counter() - start)
                    due_s = killed[-1] + pause_s * random.uniform(0.5, 1.5)
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    n = len(fields.names)
    checks.add("fields, processes, engine", f"{n}, {setting.jobs}, {setting.engine or 'default'}")
    checks.add("workers killed amid a task", len(killed), ok=len(killed) == n_kills)
    checks.add("at, s", ", ".join(f"{moment:.1f}" for moment in killed))
    checks.add("exit status", run.returncode, ok=run.returncode == 0)
    states = outcomes(out)
    n_done = sum(outcome == "done" for outcome in states.values())
    checks.add("fields", counted(out), ok=n_done == n)
    checks.add("fields without an outcome", n - len(states), ok=len(states) == n)
    check_same(checks, out, right)
    checks.add("undisturbed, s", f"{usual_s:.1f}")
    checks.add("disturbed, s", f"{seconds:.1f} ({seconds - usual_s:+.1f})")
    task_s = setting.jobs * usual_s / n
    if killed:
        checks.add("a task, s of one process", f"{task_s:.2f}")
        expected = len(killed) * task_s / 2 / setting.jobs
        checks.add("expected cost of the lost halves of tasks, s", f"{expected:.1f}")
        checks.add("extra time for each kill, s", f"{(seconds - usual_s) / len(killed):.2f}")
    return checks.n_failed


def kill_parent(setting: Setting, fields: Fields, n_moments: int) -> int:
    """Kill the first process at random moments and run again; return the failed checks."""
    checks = Checks("parent")
    right, usual_s = setting.undisturbed(fields, "right")
    counts: Counter[str] = Counter()
    details: dict[str, list[str]] = {}
    longest_s = 0.0

    def note(name: str, found: list[str]) -> None:
        counts[name] += bool(found)
        details.setdefault(name, []).extend(found)

    while counts["kills"] < n_moments:
        out = setting.folder / "killed"
        run = setting.start(fields, out)
        moment_s = random.uniform(0, usual_s)
        with suppress(subprocess.TimeoutExpired):
            run.wait(moment_s)
        if run.poll() is None:
            counts["kills"] += 1
            counts["kills with an output folder"] += out.exists()
            known = descendants(run.pid)
            run.kill()
            run.wait()
            took_s = ending_s(known)
            longest_s = max(longest_s, took_s or 0.0)
            alive = [] if took_s is not None else survivors(known)
            words = [f"{p.pid}: {p.command.replace(chr(0).encode(), b' ')!r}"[:100] for p in alive]
            note("processes that outlive the first one", words)
            for process in alive:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            note("products that are not as stated, after the kill", damaged_products(out))
            again = setting.start(fields, out).wait()
            note("second run does not end with status 0", [f"{again}"] if again else [])
            note("products that are not as stated, at the end", damaged_products(out))
            note("drafts and locks that are left", leftovers(out))
            note("files that differ from the undisturbed run", differences(right, out))
        shutil.rmtree(out, ignore_errors=True)
    checks.add("fields, s undisturbed", f"{len(fields.names)}, {usual_s:.1f}")
    checks.add("kills, at a random moment each", counts["kills"])
    checks.add("of them with an output folder", counts["kills with an output folder"])
    for name, found in details.items():
        checks.add(f"kills with {name}", counts[name], ok=not found, detail=sorted(set(found)))
    checks.add("longest life of a worker after it, s", f"{longest_s:.2f}")
    return checks.n_failed


def crash_field(setting: Setting, fields: Fields) -> int:
    """Let the worker of one field die each time; return the number of failed checks."""
    checks = Checks("crash")
    right, _ = setting.undisturbed(fields, "whole")
    bad, out = fields.names[len(fields.names) // 2], setting.folder / "crashed"
    status = setting.start(fields, out, variables={CRASH: bad}).wait()
    checks.add("exit status", status, ok=status == 1)
    expected = {name: "lost" if name == bad else "done" for name in fields.names}
    found = outcomes(out)
    wrong = [f"{k}: {found.get(k)}" for k in fields.names if found.get(k) != expected[k]]
    checks.add("fields", counted(out), ok=not wrong, detail=wrong)
    reasons = {image["reason"] for image in images_of(out) if image["field"] == bad}
    checks.add("reason of the lost one", "; ".join(sorted(reasons)), ok=bool(reasons - {""}))
    checks.add("report", (out / "report.html").is_file(), ok=(out / "report.html").is_file())
    status = setting.start(fields, out).wait()
    checks.add("exit status of the next run", status, ok=status == 0)
    check_same(checks, out, right)
    return checks.n_failed


def run_shards(setting: Setting, fields: Fields) -> int:
    """Run twelve parts at once into one folder; return the number of failed checks."""
    checks = Checks("shards")
    right, usual_s = setting.undisturbed(fields, "one")
    out, start = setting.folder / "shards", time.perf_counter()
    parts = [f"{k}/{N_SHARDS}" for k in range(1, N_SHARDS + 1)]
    runs = [setting.start(fields, out, "--shard", part) for part in parts]
    statuses = [run.wait() for run in runs]
    bad = [f"{part}: {status}" for part, status in zip(parts, statuses, strict=True) if status]
    checks.add("fields, parts", f"{len(fields.names)}, {N_SHARDS}")
    checks.add("parts that end with another status than 0", len(bad), ok=not bad, detail=bad)
    status = started("summarize", out).wait()
    checks.add("exit status of summarize", status, ok=status == 0)
    done = Counter(outcomes(out).values())["done"]
    checks.add("fields", counted(out), ok=done == len(fields.names))
    checks.add("report", (out / "report.html").is_file(), ok=(out / "report.html").is_file())
    check_same(checks, out, right)
    checks.add("one run, s", f"{usual_s:.1f}")
    checks.add("all parts and summarize, s", f"{time.perf_counter() - start:.1f}")
    return checks.n_failed


def main() -> None:
    """Make the fields, run, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("modes", nargs="*", help=f"of {', '.join(MODES)}; all by default")
    parser.add_argument("--engine", help="as of the command; its default if not given")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fields", type=int, default=60, help="of 'workers' and 'shards'")
    parser.add_argument("--kills", type=int, default=6, help="of workers")
    parser.add_argument("--moments", type=int, default=60, help="at which the parent is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args()
    modes = given.modes or MODES
    if unknown := set(modes) - set(MODES):
        parser.error(f"no mode: {', '.join(sorted(unknown))}")
    random.seed(given.seed)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        setting = Setting(Path(name), given.jobs, given.engine)
        many = {"workers", "shards"} & set(modes)
        numbers = {"parent": PARENT_FIELDS, "crash": CRASH_FIELDS} | dict.fromkeys(
            many, given.fields
        )
        fields = write_fields(setting.folder / "all", max(numbers[mode] for mode in modes))

        @cache
        def some(n: int) -> Fields:
            return first_fields(fields, n, setting.folder / f"first{n}")

        setting.undisturbed(some(2), "compiled")
        print(f"fields of {len(IMAGES)} images\n\n| mode | what | found | |\n|---|---|---|---|")
        n_failed = 0
        if "workers" in modes:
            n_failed += kill_workers(setting, some(given.fields), given.kills)
        if "parent" in modes:
            n_failed += kill_parent(setting, some(PARENT_FIELDS), given.moments)
        if "crash" in modes:
            n_failed += crash_field(setting, some(CRASH_FIELDS))
        if "shards" in modes:
            n_failed += run_shards(setting, some(given.fields))
        print(f"\n{n_failed} checks fail")
    sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
