"""Feed bycatch thousands of damaged headers, files and tables, and list what it takes badly.

Each example is a small healthy image with one to three random changes: cards set to
hostile values, removed, or replaced by another legal form of the WCS; pixels that are
infinite, huge or constant; planes of other types and shapes; files cut, zeroed or with
flipped bits; tables and regions of the user with other units, separators and garbage.
Every example goes through ``inspect``; every tenth through a whole ``run`` as well.

What counts as a finding:

crash
    a process died, or did not answer within a minute
exception
    anything but an error of bycatch's own, or a "failed" image
silence
    a message without the file's name, a position on the sky that is more than 1 mas from
    what astropy makes of the header, or a flux or an error that is more than 30 % from the
    healthy image's: each without a note

``python benchmarks/fuzz.py --examples 20000`` takes about half an hour on two cores;
``--only K`` does example K alone and shows what became of it.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import json
import logging
import multiprocessing
import os
import queue
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

os.environ.setdefault("BYCATCH_CACHE", "off")
os.environ.setdefault("BYCATCH_COMPILE_ALONE", "1")

NAME = "jabc01010_drc.fits"
HANG_S = 60
MAX_SHIFT_MAS = 1.0
MAX_RATIO = 1.3


@dataclass
class Example:
    """A changed input: what was done to it, and the files that a run gets."""

    number: int
    changes: list[str] = field(default_factory=list)
    gaia: Path | None = None
    sources: Path | None = None
    exclude: Path | None = None


def healthy() -> tuple[fits.HDUList, Table]:
    """Return the small image that all examples begin with, and its stars."""
    from fuzz_changes import SHAPE

    from bycatch.testing.scene import drc_hdus, make_scene, star_table

    scene, sci = make_scene(SHAPE, n_stars=9)
    hdus = drc_hdus(sci)
    ra, dec = WCS(hdus["SCI"].header).all_pix2world(scene.x, scene.y, 0)
    return hdus, star_table(ra, dec, 25.66 - 2.5 * np.log10(scene.rate), 0.3)


def make(number: int, seed: int, folder: Path, *, runs: bool) -> Example:
    """Write the files of an example."""
    from fuzz_changes import (
        change_bytes,
        change_pixels,
        change_plane,
        change_table,
        other_wcs,
        set_card,
        write_regions,
    )  # fmt: skip

    rng = np.random.default_rng([seed, number])
    hdus, stars = healthy()
    example = Example(number)
    edits = [set_card, set_card, set_card, other_wcs, change_pixels, change_plane]
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        edit = edits[rng.integers(len(edits))]
        try:
            example.changes.append(edit(hdus, rng))
        except (KeyError, ValueError, TypeError, IndexError, OverflowError):
            continue  # an earlier change has taken what this one needs
    file = folder / NAME
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus.writeto(file, output_verify="ignore", checksum=bool(rng.random() < 0.3))
    if rng.random() < 0.15:
        packed = rng.random() < 0.4
        content = gzip.compress(file.read_bytes(), 1) if packed else file.read_bytes()
        content, how = change_bytes(content, rng)
        file.unlink()
        (folder / (NAME + ".gz" if packed else NAME)).write_bytes(content)
        example.changes.append(how)
    example.gaia = folder / "gaia.csv"
    if runs and rng.random() < 0.3:
        example.changes.append(change_table(stars, example.gaia, rng))
    else:
        stars.write(example.gaia, format="ascii.csv")
    if runs and rng.random() < 0.15:
        example.sources = folder / "sources.csv"
        example.changes.append(change_table(stars["ra", "dec"], example.sources, rng))
    if runs and rng.random() < 0.15:
        example.exclude = folder / "exclude.reg"
        example.changes.append(write_regions(example.exclude, rng))
    return example


# ---------------------------------------------------------------- what becomes of them


def sky_shift_mas(file: Path, wcs: WCS) -> float:
    """Return how far bycatch's sky is from astropy's reading of the same header, mas."""
    from astropy.wcs.utils import pixel_to_skycoord

    from bycatch.images.headers import read_headers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headers = read_headers(file)
        theirs = WCS(headers.sci).celestial
        x, y = np.array([0.0, 150, 75, 0]), np.array([0.0, 130, 65, 130])
        expected = pixel_to_skycoord(x, y, theirs, origin=0).icrs
        ours = pixel_to_skycoord(x, y, wcs, origin=0).icrs
        return float(expected.separation(ours).mas.max())


def inspect_example(file: Path) -> tuple[str, list[str]]:
    """Return what `inspect` makes of a file, and what is bad about it."""
    from bycatch.errors import BycatchError
    from bycatch.images.drc import read_drc
    from bycatch.pipeline.inspection import inspect

    try:
        found = inspect(file)
    except BycatchError as err:
        named = file.name in str(err)
        return "refused", [] if named else [f"silence: message names no file: {err}"]
    bad = []
    image = read_drc(file)
    try:
        shift = sky_shift_mas(file, image.wcs)
    except Exception:  # noqa: BLE001 - cards that astropy trips over can't be compared
        return "unknown to astropy", bad
    else:
        if not shift < MAX_SHIFT_MAS and not image.meta.notes:
            bad.append(f"silence: {shift:.1f} mas from astropy's sky")
    return ("noted" if found.warnings else "read"), bad


def run_example(example: Example, folder: Path, reference: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what `run` makes of an example, and what is bad about it."""
    import bycatch
    from bycatch.errors import BycatchError
    from bycatch.settings import Settings

    settings = Settings.load(assignments=["align.offline=true", "output.report=false"])
    inputs = bycatch.Inputs(example.gaia, example.sources, example.exclude)
    files = [f for f in folder.iterdir() if f.name.startswith(NAME)]
    try:
        report = bycatch.run(files, folder / "out", settings, inputs, workers=1)
    except BycatchError:
        return "run refused", []
    bad = [f"exception: {i.reason}" for i in report.images if i.outcome == "failed"]
    outcome = "run done" if report.all_done else "run dropped"
    for image in report.images:
        if image.outcome == "done" and not image.notes and not example.sources:
            bad += compare(image.catalog(), reference)
    return outcome, bad


def compare(catalog: Table, reference: dict[str, Any]) -> list[str]:
    """Return which numbers of a catalog are not those of the healthy image."""
    now, bad = numbers(catalog), []
    separation = np.hypot(*(now[k][:, None] - reference[k][None] for k in ("x_center", "y_center")))
    mine, theirs = np.nonzero(separation < 1.0)
    for name in ("flux_4_apcor", "err_4_apcor") if len(mine) > 2 else ():
        ratio = float(np.median(now[name][mine] / reference[name][theirs]))
        if not 1 / MAX_RATIO < ratio < MAX_RATIO:
            bad.append(f"silence: {name} is {ratio:.2f} of the healthy image's")
    return bad


def numbers(catalog: Table) -> dict[str, Any]:
    """Return positions, fluxes and errors."""
    names = ("x_center", "y_center", "flux_4_apcor", "err_4_apcor")
    return {name: np.ma.filled(np.ma.asarray(catalog[name], float), np.nan) for name in names}


def work(number: int, seed: int, reference: dict[str, Any], run_every: int) -> dict[str, Any]:
    """Do one example; everything that goes wrong is a finding."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    result: dict[str, Any] = {"number": number, "outcomes": [], "bad": [], "changes": []}
    signal.alarm(HANG_S)
    try:
        runs = number % run_every == 0
        example = make(number, seed, folder, runs=runs)
        result["changes"] = example.changes
        file = next(f for f in folder.iterdir() if f.name.startswith(NAME))
        steps = [lambda: inspect_example(file)]
        if runs:
            steps.append(lambda: run_example(example, folder, reference))
        for step in steps:
            outcome, bad = step()
            result["outcomes"].append(outcome)
            result["bad"] += bad
    except BaseException as err:  # noqa: BLE001 - that is what we look for
        trace = traceback.format_exc().splitlines()
        result["bad"].append(f"exception: {type(err).__name__}: {err} | {trace[-3].strip()}")
        result["trace"] = trace
    finally:
        signal.alarm(0)
        shutil.rmtree(folder, ignore_errors=True)
    return result


def reference_numbers() -> dict[str, Any]:
    """Return the numbers of the healthy image's catalog."""
    import bycatch
    from bycatch.settings import Settings

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    hdus, stars = healthy()
    hdus.writeto(folder / NAME)
    stars.write(folder / "gaia.csv")
    settings = Settings.load(assignments=["align.offline=true", "output.report=false"])
    inputs = bycatch.Inputs(folder / "gaia.csv")
    report = bycatch.run(folder / NAME, folder / "out", settings, inputs, workers=1)
    found = numbers(report.images[0].catalog())
    shutil.rmtree(folder)
    return found


def begin_worker() -> None:
    """Keep a worker quiet, and make what hangs raise."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer within {HANG_S} s")

    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, stop)


def serve(todo: Any, done: Any, *how: Any) -> None:
    """Do examples until there are none; the last number that was begun says who crashed."""
    begin_worker()
    while (number := todo.get()) is not None:
        done.put((os.getpid(), number, None))
        done.put((os.getpid(), number, work(number, *how)))


class Workers:
    """Processes that do examples; one that dies costs one of them."""

    def __init__(self, count: int, n_workers: int, *how: Any) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.todo, self.done = self.context.Queue(), self.context.Queue()
        self.args = (self.todo, self.done, *how)
        for number in (*range(count), *[None] * n_workers):
            self.todo.put(number)
        self.at_work: dict[int | None, int] = {}
        self.processes = [self.start() for _ in range(n_workers)]

    def start(self) -> Any:
        """Start a process."""
        process = self.context.Process(target=serve, args=self.args)
        process.start()
        return process

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield results as they come, until all processes have ended."""
        while any(process.is_alive() for process in self.processes) or not self.done.empty():
            try:
                pid, number, result = self.done.get(timeout=2)
            except queue.Empty:
                yield from self.crashes()
                continue
            if result is None:
                self.at_work[pid] = number
            else:
                self.at_work.pop(pid, None)
                yield result

    def crashes(self) -> Iterator[dict[str, Any]]:
        """Yield what processes died of, and start others in their place."""
        for k, process in enumerate(self.processes):
            if not process.is_alive() and process.pid in self.at_work:
                bad = [f"crash: a process ended with {process.exitcode}"]
                number = self.at_work.pop(process.pid)
                yield {"number": number, "outcomes": ["crash"], "bad": bad}
                self.processes[k] = self.start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-every", type=int, default=10, help="take each N-th through a run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="do this example alone and show it")
    parser.add_argument("--output", type=Path, help="write the findings here, as JSON lines")
    given = parser.parse_args()
    how = (given.seed, reference_numbers(), given.run_every)
    if given.only is not None:
        begin_worker()
        found = work(given.only, *how)
        print(
            "\n".join(
                [*found["changes"], *found["outcomes"], *found["bad"], *found.get("trace", [])]
            )
        )
        return
    results = []
    began = time.monotonic()
    for result in Workers(given.examples, given.workers, *how).results():
        results.append(result)
        if result["bad"]:
            print(f"{result['number']}: {result.get('changes')}: {result['bad'][0]}", flush=True)
        if len(results) % 1000 == 0:
            n_bad = sum(bool(r["bad"]) for r in results)
            print(
                f"{len(results)} in {time.monotonic() - began:.0f} s, {n_bad} findings", flush=True
            )
    bad = [r for r in results if r["bad"]]
    if given.output:
        given.output.write_text("".join(json.dumps(r) + "\n" for r in bad))
    outcomes = Counter(outcome for r in results for outcome in r["outcomes"])
    kinds = Counter(finding.partition(":")[0] for r in bad for finding in r["bad"])
    print(f"{len(results)} examples, seed {given.seed}: {dict(outcomes.most_common())}")
    print(f"findings: {dict(kinds) or 'none'}")


if __name__ == "__main__":
    main()
