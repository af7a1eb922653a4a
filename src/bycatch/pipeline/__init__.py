"""From a folder of files to the products of every field.

The only place that reads and writes products, decides what is already done,
and catches what goes wrong with an image.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bycatch.display import notebook
from bycatch.errors import SettingsError
from bycatch.executors import Executor, Serial, executor_for
from bycatch.pipeline import intake, lists, reference
from bycatch.pipeline.alignment import (
    FieldJob,
    field_died,
    field_key,
    place_of,
    record_keys,
    run_field,
    step_states,
    takes_part,
    wait_for_figures,
)
from bycatch.pipeline.image import (
    FIELD,
    ImageJob,
    ImageReport,
    Outcome,
    Worked,
    died,
    file_fingerprint,
    forget_last,
    run_image,
    sizes_mb,
    stage_keys,
)
from bycatch.products import (
    SETTINGS_FILE,
    STAGES,
    SUMMARY,
    ImagePaths,
    ImageRecord,
    damaged_records,
    find_records,
    last_summary,
    saved_settings,
    saved_values,
    write_json,
)
from bycatch.settings import Settings, to_toml
from bycatch.sky import gaia
from bycatch.sky.tap import Services
from bycatch.stages.sort import Placement, Skipped
from bycatch.system.disk import atomic, remove_leftovers
from bycatch.version import __version__

__all__ = [
    "STAGES",
    "ImageReport",
    "Inputs",
    "Outcome",
    "PlannedImage",
    "RunReport",
    "dry_run",
    "run",
    "run_stages",
    "saved_settings",
    "saved_values",
    "sort_only",
]

logger = logging.getLogger("bycatch")

FIRST_STEPS, LAST_STEPS = STAGES[: STAGES.index("align")], STAGES[STAGES.index("align") + 1 :]
PRODUCT_BYTES_PER_PIXEL = 1.3
"""Disk space of the products: a mask of one byte, a compressed segmentation, tables."""


@dataclass(frozen=True)
class Inputs:
    """Files of the user's beside the images."""

    gaia: Path | None = None
    sources: Path | None = None
    exclude: Path | None = None
    wht: Path | None = None
    sources_image: str | None = None
    """Root of the image whose pixels ``sources`` holds, where images are of different grids."""

    def __post_init__(self) -> None:
        for name in ("gaia", "sources", "exclude", "wht"):
            value = getattr(self, name)
            if isinstance(value, str):  # as in a notebook
                object.__setattr__(self, name, Path(value))

    def checked(self) -> Inputs:
        """Read all of them once, so that a mistake stops the run before any data are read."""
        for name in ("gaia", "sources", "exclude", "wht"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(
                    f"--{name} {path}: there is no such file", hint="check the path"
                )
        notes: list[str] = []
        if self.gaia:
            notes += [f"--gaia {note}" for note in gaia.read_local(self.gaia).notes]
        if self.sources:
            notes += filter(None, [lists.read_positions(self.sources).note])
        elif self.sources_image:
            raise SettingsError("--sources-image: of which list?", hint="give --sources FILE too")
        if self.exclude:
            found = lists.read_regions(self.exclude).passed_over
            notes += [f"--exclude {self.exclude}: passed over: {shape}" for shape in found]
        for note in notes:
            logger.warning("%s", note)
        return self


@dataclass(frozen=True)
class StepCost:
    """What a step took in a run: seconds over its images, and the most memory of any, MB."""

    step: str
    n_images: int
    seconds: float
    peak_mb: float | None


@dataclass(frozen=True)
class RunReport:
    """What a run did: one report per image, and the files that were not used."""

    out: Path
    images: tuple[ImageReport, ...]
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    references: dict[str, str] = field(default_factory=dict)
    """Per field: why there are no reference stars; '' where there are."""
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per field: how its alignment went."""
    inputs: Inputs = Inputs()
    """Files of the user's beside the images."""

    @property
    def all_done(self) -> bool:
        """True if there were images, none was dropped and none failed."""
        return (
            bool(self.images)
            and all(i.outcome is Outcome.DONE for i in self.images)
            and not any(s.bad for s in self.skipped)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as in ``summary.json``."""
        return {
            "bycatch": __version__,
            "out": str(self.out),
            "inputs": {k: str(v) if v else "" for k, v in asdict(self.inputs).items()},
            "seconds": round(self.seconds, 2),
            "images": [asdict(image) for image in self.images],
            "skipped": [
                {"path": str(s.path), "reason": s.reason, "dropped": s.bad} for s in self.skipped
            ],
            "references": self.references,
            "fields": self.fields,
        }

    def rows(self) -> list[dict[str, str]]:
        """Return the closing table: one row per image, in words."""
        return [image.row() for image in self.images]

    def profile(self) -> list[StepCost]:
        """Return what each step that was done in this run took, over all images."""
        found = []
        for step in STAGES:
            costs = [image.cost[step] for image in self.images if step in image.done]
            if costs:
                seconds = sum(cost["seconds"] or 0.0 for cost in costs)
                peaks = [peak for cost in costs if (peak := cost["peak_mb"]) is not None]
                found.append(StepCost(step, len(costs), seconds, max(peaks, default=None)))
        return found

    def lost(self) -> list[tuple[str, str, str]]:
        """Return what was dropped or failed: name, outcome, reason."""
        images = [(i.root, str(i.outcome), i.reason) for i in self.images if i.reason]
        return images + [(s.path.name, "dropped", s.reason) for s in self.skipped if s.bad]

    @notebook.never_raising
    def _repr_html_(self) -> str:
        n_done = sum(image.outcome is Outcome.DONE for image in self.images)
        facts = {
            "images done": f"{n_done} of {n_done + len(self.lost())}",
            "time": f"{self.seconds:.1f} s",
            "products in": str(self.out),
        }
        notes = [f"{outcome}: {name}: {why}" for name, outcome, why in self.lost()]
        notes += [f"{name}: {why}" for name, why in self.references.items() if why]
        return notebook.card("Run", facts, table=notebook.rows_table(self.rows()), notes=notes)


def run(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int | None = None,
) -> RunReport:
    """Run the whole chain on files and folders.

    Parameters
    ----------
    paths : drc files, or folders that are searched for them
    out : output folder; what is up to date in it is kept
    settings : all settings; the preset 'classic' by default
    inputs : files of the user's beside the images (Gaia table, positions, regions)
    workers : number of parallel processes, which one image alone uses as threads; by default
        images are done one after the other, each on all cores

    Raises
    ------
    SettingsError
        Wrong settings or arguments; nothing was done.
    """
    started = time.perf_counter()
    chosen, given = settings or Settings(), (inputs or Inputs()).checked()
    records, skipped = _sorted(_as_paths(paths), Path(out), chosen, given)
    return _run(Path(out), records, skipped, chosen, given, executor_for(workers), started=started)


def sort_only(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
) -> tuple[list[ImageRecord], tuple[Skipped, ...]]:
    """Place the images below the output folder, and do no more."""
    chosen = settings or Settings()
    records, skipped = _sorted(_as_paths(paths), Path(out), chosen, (inputs or Inputs()).checked())
    _save_settings(Path(out), chosen)
    return records, skipped


def run_stages(
    out: str | Path,
    stages: Sequence[str],
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int | None = None,
) -> RunReport:
    """Do some steps again on images that an earlier run has sorted into ``out``."""
    started = time.perf_counter()
    out = Path(out)
    given = _remembered(out, inputs or Inputs()).checked()
    records = find_records(out)
    lost = tuple(Skipped(path, why, bad=True) for path, why in damaged_records(out).items())
    if not records and not lost:
        raise SettingsError(
            f"{out}: no image in it", hint="run 'bycatch sort' or 'bycatch run' first"
        )
    for skip in lost:
        logger.error("dropped: %s", skip.reason)
    chosen = settings or saved_settings(out)
    return _run(out, records, lost, chosen, given, executor_for(workers), tuple(stages), started)


def _remembered(out: Path, inputs: Inputs) -> Inputs:
    """Return the user's lists: a step on its own keeps those of the last run, as its settings."""
    known = last_summary(out).get("inputs", {})
    kept = {
        name: Path(known[name])
        for name in ("sources", "exclude")
        if known.get(name) and getattr(inputs, name) is None
    }
    if "sources" in kept and known.get("sources_image"):
        inputs = replace(inputs, sources_image=inputs.sources_image or known["sources_image"])
    inputs = replace(inputs, sources=kept.get("sources", inputs.sources))
    return replace(inputs, exclude=kept.get("exclude", inputs.exclude))


def _as_paths(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    return [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]


def _sorted(
    paths: list[Path], out: Path, settings: Settings, inputs: Inputs
) -> tuple[list[ImageRecord], tuple[Skipped, ...]]:
    found = intake.scan(paths, out, settings)
    if inputs.wht and len(found.plan.placements) > 1:
        raise SettingsError(
            f"--wht {inputs.wht}: one weight for {len(found.plan.placements)} images",
            hint="give one image with it, or name the weights <stem>_wht.fits",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_writable(out)
    except OSError as err:
        raise SettingsError(f"can't write to {out} ({err})", hint="choose another folder") from err
    records, problems = intake.place(found, out, settings, inputs.wht)
    skipped = (*found.plan.skipped, *problems)
    for skip in skipped:
        level = logging.ERROR if skip.bad else logging.WARNING
        logger.log(
            level, "%s: %s: %s", skip.path.name, "dropped" if skip.bad else "skipped", skip.reason
        )
    for placement in found.plan.placements:
        logger.log(
            logging.WARNING if placement.note else logging.INFO,
            "%s/%s %s: sort: %s%s",
            placement.field,
            placement.filter,
            placement.stem,
            placement.path,
            f" ({placement.note})" if placement.note else "",
        )
    return records, skipped


def _check_writable(out: Path) -> None:
    with tempfile.TemporaryFile(dir=out):
        pass


def _save_settings(out: Path, settings: Settings) -> None:
    with atomic(out / SETTINGS_FILE) as partial:
        partial.write_text(to_toml(settings), encoding="utf-8")


def _run(
    out: Path,
    records: Sequence[ImageRecord],
    skipped: tuple[Skipped, ...],
    settings: Settings,
    inputs: Inputs,
    executor: Executor,
    stages: tuple[str, ...] = STAGES,
    started: float = 0.0,
) -> RunReport:
    """Do steps on sorted images and write the summary."""
    _save_settings(out, settings)
    logger.info(
        "%d image(s), steps: %s",
        len(records),
        ", ".join(stages),
        extra={"sizes_mb": sizes_mb(records, out), "steps": stages},
    )
    frames = _frames_of_list(records, inputs, out) if "measure" in stages else {}
    stars = _references(out, records, settings, inputs, stages)
    forced = stages if stages != STAGES else ()
    jobs = [
        ImageJob(
            out=out,
            record=record,
            settings=settings,
            stages=stages,
            forced=forced,
            gaia_file=stars[record.field].path,
            gaia_key=stars[record.field].key,
            sources_file=inputs.sources,
            sources_frame=frames.get(record.paths(out).record),
            exclude_file=inputs.exclude,
        )
        for record in records
    ]
    images = _done(executor, jobs)
    wait_for_figures()
    for image in images:
        image.record.write(out)  # new times of what was copied, so that it need not be read again
    report = RunReport(
        out,
        tuple(image.report(out) for image in images),
        skipped,
        time.perf_counter() - started,
        {name: found.problem for name, found in stars.items()},
        _field_summaries(images),
        inputs,
    )
    write_json(out / SUMMARY, report.to_dict() | {"skipped": _skipped(report, stages)})
    return report


def _frames_of_list(records: Sequence[ImageRecord], inputs: Inputs, out: Path) -> dict[Path, Path]:
    """Return the WCS of the image whose pixels the list has, for the records of the others."""
    if inputs.sources is None:
        return {}
    own = lists.image_of_list(inputs.sources, inputs.sources_image, records, out)
    return (
        {}
        if own is None
        else {
            record.paths(out).record: own.paths(out).wcs for record in records if record is not own
        }
    )


def _skipped(report: RunReport, stages: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the files that were not used; a step on its own forgets none of the last run's."""
    found: list[dict[str, Any]] = report.to_dict()["skipped"]
    if stages == STAGES:
        return found
    # A record that was damaged then may be whole by now.
    records = {str(record.paths(report.out).record) for record in find_records(report.out)}
    known = records | {skip["path"] for skip in found}
    before = last_summary(report.out).get("skipped", [])
    return found + [skip for skip in before if skip["path"] not in known]


def _field_summaries(images: Sequence[Worked]) -> dict[str, dict[str, Any]]:
    """Return how the alignment of each field went, from the records of its images."""
    found: dict[str, dict[str, Any]] = {}
    # What a lost image remembers of an earlier alignment comes last.
    for image in sorted(images, key=lambda image: "align" not in (*image.done, *image.kept)):
        align = image.record.stages.get("align")
        if align and FIELD in align.summary:
            found.setdefault(image.record.field, align.summary[FIELD])
    return found


def _done(executor: Executor, jobs: Sequence[ImageJob]) -> tuple[Worked, ...]:
    # Before and after all the work, never during it: images can share a folder. Workers that were
    # stopped or killed can't tidy up for themselves.
    _tidy(jobs)
    try:
        if isinstance(executor, Serial):
            # Field by field: an image alone in its field stays in memory for all its steps.
            done = [_worked(executor, field_jobs) for field_jobs in _by_field(jobs).values()]
            return tuple(image for images in done for image in images)
        return tuple(_worked(executor, jobs))
    finally:
        executor.close()
        forget_last()
        _tidy(jobs)


def _by_field(jobs: Iterable[ImageJob]) -> dict[str, list[ImageJob]]:
    found: dict[str, list[ImageJob]] = {}
    for job in jobs:
        found.setdefault(job.record.field, []).append(job)
    return found


def _worked(executor: Executor, jobs: Sequence[ImageJob]) -> list[Worked]:
    """Do the steps before the alignment, the alignment field by field, and the steps after it."""
    states = [Worked(job.record) for job in jobs]
    keys = {job.record.field: "" for job in jobs}
    for phase in (FIRST_STEPS, ("align",), LAST_STEPS):
        # An image that was lost does not come back; the records are those of the workers.
        going = [k for k, state in enumerate(states) if state.ok]
        todo = [
            _part(replace(jobs[k], record=states[k].record), phase, keys[jobs[k].record.field])
            for k in going
        ]
        if phase == LAST_STEPS:
            todo = _with_companions(todo)
        if phase == ("align",):
            found = _aligned(executor, todo, keys)
        elif todo and (todo[0].stages or todo[0].copies):
            found = executor.map(run_image, todo, died)
        else:
            continue
        for k, state in zip(going, found, strict=True):
            states[k] = states[k].then(state)
    return states


def _with_companions(jobs: Sequence[ImageJob]) -> list[ImageJob]:
    """Return the jobs with the other images of their fields, those of earlier runs too."""
    if not any("measure" in job.stages for job in jobs):
        return list(jobs)
    out = jobs[0].out
    everything = {r.paths(out).record: r for r in (*find_records(out), *(j.record for j in jobs))}
    own = {job.paths.record for job in jobs}
    aligned = [
        record
        for path, record in sorted(everything.items())
        if {"detect", "align"} <= set(record.stages)
        and _serves(record, record.paths(out), told=path in own)
    ]
    return [
        replace(
            job,
            companions=tuple(
                record
                for record in aligned
                if record.field == job.record.field and record.paths(out).record != job.paths.record
            ),
        )
        for job in jobs
    ]


def _serves(record: ImageRecord, paths: ImagePaths, *, told: bool) -> bool:
    """Tell whether what other images need of an image is there and whole.

    ``told`` if the image takes part in the run, which will tell of it.
    """
    products = (paths.coverage, paths.product("sources"), paths.wcs)
    damaged = [path.name for path in products if path.exists() and not record.has_whole(path)]
    if damaged and not told:
        logger.warning(
            "%s/%s: not compared with the field's other images: %s is not what was made; run it "
            "again as well",
            record.filter,
            record.root,
            ", ".join(damaged),
        )
    return not damaged and paths.coverage.exists()


def _part(job: ImageJob, phase: tuple[str, ...], key: str) -> ImageJob:
    """Return what one phase of the run has to do for an image."""
    return replace(
        job,
        stages=tuple(stage for stage in job.stages if stage in phase),
        field_key=key,
        copies=phase == LAST_STEPS and job.settings.output.write_wcs and "align" in job.stages,
    )


def _aligned(executor: Executor, jobs: Sequence[ImageJob], keys: dict[str, str]) -> list[Worked]:
    """Align the fields, and note the key of each."""
    if not jobs or "align" not in jobs[0].stages:
        return [Worked(job.record) for job in jobs]
    _name_missing_figures()
    out = jobs[0].out
    known = find_records(out)
    works = []
    for name, field_jobs in _by_field(jobs).items():
        own = {job.paths.record for job in field_jobs}
        others = [
            r for r in known
            if r.field == name and r.paths(out).record not in own and takes_part(r, out)
        ]  # fmt: skip
        works.append(FieldJob(name, tuple(field_jobs), tuple(others)))
    found = executor.map(run_field, works, field_died)
    states: dict[Path, Worked] = {}
    for work, done in zip(works, found, strict=True):
        keys[work.name] = done.key
        states |= {
            job.paths.record: state for job, state in zip(work.jobs, done.images, strict=True)
        }
    return [states[job.paths.record] for job in jobs]


def _name_missing_figures() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        logger.info("no figures: matplotlib is not there (pip install 'bycatch[figures]')")


def _tidy(jobs: Sequence[ImageJob]) -> None:
    for job in jobs:
        remove_leftovers(job.paths.folder)


def _references(
    out: Path,
    records: Sequence[ImageRecord],
    settings: Settings,
    inputs: Inputs,
    stages: tuple[str, ...],
) -> dict[str, reference.FieldStars]:
    """Return the reference stars of each field; only the steps that need them ask for them."""
    names = list(dict.fromkeys(record.field for record in records))
    if not {"align", "measure"} & set(stages):
        return {name: reference.FieldStars(None, "none") for name in names}
    # All images of a field, whichever of them this run is about: the same stars for all.
    everything = {r.paths(out).record: r for r in (*find_records(out), *records)}
    members = {
        name: [
            r
            for _, r in sorted(everything.items())
            if r.field == name and (r.paths(out).folder / r.name).exists()
        ]
        for name in names
    }
    services = Services(settings.align)
    return {
        name: reference.reference_stars(
            out / name,
            members[name] or [r for r in records if r.field == name],
            settings.align,
            inputs.gaia,
            services,
            keep_stored=stages != STAGES,
        )
        for name in names
    }


@dataclass(frozen=True)
class PlannedImage:
    """What a run would do with one image."""

    field: str
    filter: str
    stem: str
    source: Path
    steps: dict[str, str]
    """'done', 'stale' or 'to do' by step; after a step that is to be done, all are."""
    megabytes: float
    """Disk space that it will take, products and copies."""


def dry_run(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
) -> tuple[list[PlannedImage], tuple[Skipped, ...]]:
    """Return what `run` would do, touching nothing."""
    chosen, given = settings or Settings(), (inputs or Inputs()).checked()
    found = intake.scan(_as_paths(paths), Path(out), chosen)
    jobs = [
        _planned_job(placement, found, Path(out), chosen, given)
        for placement in found.plan.placements
    ]
    frames = _frames_of_list([job.record for job in jobs], given, Path(out))
    jobs = [replace(job, sources_frame=frames.get(job.paths.record)) for job in jobs]
    expected = {name: _planned_key(part, Path(out)) for name, part in _by_field(jobs).items()}
    images = [
        _planned(placement, replace(job, field_key=expected[job.record.field]))
        for placement, job in zip(found.plan.placements, jobs, strict=True)
    ]
    return images, found.plan.skipped


def _planned_job(
    placement: Placement, found: intake.Intake, out: Path, settings: Settings, inputs: Inputs
) -> ImageJob:
    """Return the job of an image as a run would make it."""
    record = intake.planned_record(placement, found, out, inputs.wht)
    current = file_fingerprint(placement.path)
    if record.fingerprint.split(" ")[0] != current:
        record.checksum = ""
    stars = reference.kept_stars(out / placement.field)
    return ImageJob(
        out,
        record,
        settings,
        gaia_file=stars,
        gaia_key=reference.known_key(stars),
        sources_file=inputs.sources,
        exclude_file=inputs.exclude,
    )


def _planned_key(jobs: Sequence[ImageJob], out: Path) -> str:
    """Return the key that a field's detections would have after a run."""
    own = {job.paths.record for job in jobs}
    keys = {}
    for job in jobs:
        planned = stage_keys(job)
        keys[place_of(job.record)] = (planned["detect"], planned["crmask"])
    for record in find_records(out) if out.exists() else []:
        if (
            record.field == jobs[0].record.field
            and record.paths(out).record not in own
            and takes_part(record, out)
        ):
            keys[place_of(record)] = record_keys(record)
    return field_key(keys)


def _planned(placement: Placement, job: ImageJob) -> PlannedImage:
    from bycatch.images.headers import read_headers

    settings = job.settings
    steps = step_states(job)
    ny, nx = read_headers(placement.path).shapes["SCI"][-2:]
    size = ny * nx * PRODUCT_BYTES_PER_PIXEL
    copies = (settings.sort.mode != "link") + settings.output.write_wcs
    size += copies * placement.path.stat().st_size
    return PlannedImage(
        placement.field, placement.filter, placement.stem, placement.path, steps, size / 1e6
    )
