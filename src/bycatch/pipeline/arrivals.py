"""Reduction of fields while others are still being downloaded."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bycatch.archive import Fetching, State
from bycatch.errors import SettingsError
from bycatch.pipeline.jobs import Inputs
from bycatch.pipeline.outcomes import Outcome
from bycatch.pipeline.report import RunReport
from bycatch.pipeline.runner import run
from bycatch.products import read_field
from bycatch.settings import Settings

logger = logging.getLogger("bycatch")

ENDING_S = 3.0


def run_arrivals(
    work: Fetching,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int | None = None,
    *,
    discard: bool = False,
) -> RunReport | None:
    """Run the whole chain on fields as they arrive; those that arrive meanwhile form the next run.

    Parameters
    ----------
    work : a fetch that knows what there is (`Fetching.look`)
    out : output folder
    settings, inputs, workers : as for `bycatch.run`
    discard : remove the images of a field that this or an earlier fetch brought, once the field,
        and the objects of all images that overlap with it, are done and their products whole

    Returns
    -------
    report
        Of all fields; None where no image came.

    Raises
    ------
    SettingsError
        Images would be moved out of the folder that is fetched into.
    """
    run_settings, out = settings or Settings(), Path(out)
    if run_settings.sort.mode == "move":
        raise SettingsError(
            "sort.mode = move: the next fetch would download the images again",
            hint="use link, and --discard to delete the images",
        )
    places = work.data.resolve(), out.resolve()
    if places[0] in (places[1], *places[1].parents) or places[1] in places[0].parents:
        raise SettingsError(
            f"{work.data} and {out}: images and products in one folder",
            hint="give --and-run a folder outside that of the images",
        )
    # Objects are of all images that overlap: once, in the end, unless the images go before.
    alone = replace_objects(run_settings, enabled=run_settings.objects.enabled and discard)
    if discard:
        work.most_waiting_bytes = run_settings.fetch.ahead_gb * 1e9
    runs: list[RunReport] = []
    names_so_far: list[str] = []
    with closing(_arrivals(work)) as arrivals:
        for names in arrivals:
            logger.info(
                "%s complete, %d of %d file(s) fetched",
                in_words(names), work.tally.n_over, work.tally.n_files,
            )  # fmt: skip
            names_so_far += names
            runs.append(run([work.data / name for name in names], out, alone, inputs, workers))
            if discard:
                _discard(work, out, names, runs[-1])
            work.release(names)
    if runs and alone != run_settings:
        runs.append(
            run([work.data / name for name in names_so_far], out, run_settings, inputs, workers)
        )
    return _together(runs) if runs else None


def in_words(names: list[str]) -> str:
    """Return the names of some fields, or how many there are."""
    return ", ".join(names) if len(names) < 6 else f"{len(names)} fields"


def _together(runs: list[RunReport]) -> RunReport:
    """Merge the reports of several runs: for each field, the one that did the work."""
    fields = {field.name: field for report in reversed(runs) for field in report.results}
    groups = {group.name: group for report in runs for group in report.groups}
    skips = {skip.path: skip for report in runs for skip in report.skipped}
    return replace(
        runs[-1],
        results=tuple(fields[name] for name in sorted(fields)),
        groups=tuple(groups[name] for name in sorted(groups)),
        skipped=tuple(skips.values()),
        seconds=sum(report.seconds for report in runs),
    )


def replace_objects(settings: Settings, *, enabled: bool) -> Settings:
    """Return settings with tables of objects, or without."""
    return settings.replace(objects=settings.objects.replace(enabled=enabled))


def _arrivals(work: Fetching) -> Generator[list[str]]:
    """Yield the fields that have arrived since the last ones were yielded.

    A thread waits for them: files that come while a run goes on are named and counted at once.
    """
    arrivals: queue.SimpleQueue[tuple[str, ...] | BaseException | None] = queue.SimpleQueue()

    def wait() -> None:
        try:
            for names in work.batches():
                arrivals.put(names)
            arrivals.put(None)
        except BaseException as err:  # raised again where it is waited for  # noqa: BLE001
            arrivals.put(err)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        over = False
        while not over:
            names: list[str] = []
            item = arrivals.get()
            while True:
                if isinstance(item, BaseException):
                    raise item
                over = over or item is None
                names += item or ()
                try:
                    item = arrivals.get_nowait()
                except queue.Empty:
                    break
            if names:
                yield names
    finally:
        work.web.stop.set()
        thread.join(ENDING_S)


def _discard(work: Fetching, out: Path, names: list[str], report: RunReport) -> None:
    """Remove the images of fields whose products are all complete."""
    failures = [group.name for group in report.groups if group.outcome != Outcome.DONE]
    for name in names:
        why = (
            f"objects {failures[0]} are not done"
            if failures
            else _reason_to_keep(out, name, report)
        )
        if why:
            logger.warning("%s: its images are kept: %s", name, why)
            continue
        n_discards = 0
        for file in work.of_field(name):
            place = file.product.place
            if file.state not in {State.FETCHED, State.THERE}:
                continue
            if work.ledger.discard(file.product):
                n_discards += 1
                work.files[place] = replace(file, state=State.DISCARDED)
            else:
                logger.info("%s: kept: it was not fetched, or has changed since", place)
        logger.info("%s: %d image(s) discarded", name, n_discards)


def _reason_to_keep(out: Path, name: str, report: RunReport) -> str:
    """Return why the images of a field are still needed; '' if they are not."""
    images = [image for field in report.results if field.name == name for image in field.images]
    bad = [skip for skip in report.skipped if skip.bad and skip.path.parent.name == name]
    if bad or not images or any(image.outcome != Outcome.DONE for image in images):
        return "some were not done"
    for record in read_field(out, name).images:
        folder = record.paths(out).folder
        outputs = [output for stage in record.stages.values() for output in stage.outputs]
        if not outputs or not all(record.has_whole(folder / output) for output in outputs):
            return f"products of {record.label} are incomplete"
    return ""
