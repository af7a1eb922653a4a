"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bycatch.errors import UnreadableFile
from bycatch.pipeline import intake
from bycatch.pipeline.figure import FieldFigure
from bycatch.pipeline.jobs import ImageJob, Inputs, UserFiles
from bycatch.pipeline.keys import (
    field_key,
    image_keys,
    is_as_recorded,
    is_current,
    stage_keys,
    takes_part,
)
from bycatch.pipeline.placing import planned_record
from bycatch.pipeline.reference import stars_at_hand
from bycatch.pipeline.runner import as_paths
from bycatch.products import STAGES, FieldFolder, FieldState, read_field
from bycatch.settings import Settings
from bycatch.stages.sort import Placement, SkippedFile

PRODUCT_BYTES_PER_PIXEL = 1.5
"""Disk space of the products and objects of an image: 0.5 for planes, the rest for tables.

It was 0.9 to 1.1 with `classic`, 1.4 to 4 with `deep`, and 5 where a deep list of a single exposure
holds its cosmic rays, on simulated visits.
"""


@dataclass(frozen=True)
class PlannedImage:
    """What a run would do with one image.

    Attributes
    ----------
    field, filter, stem, source : as they will be
    steps : 'done', 'outdated' or 'to do' by step; after a step that is to be done, all are
    megabytes : disk space that it will take, products and copies
    """

    field: str
    filter: str
    stem: str
    source: Path
    steps: dict[str, str]
    megabytes: float


def dry_run(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
) -> tuple[list[PlannedImage], tuple[SkippedFile, ...]]:
    """Return what `run` would do, touching nothing."""
    run_settings, run_inputs, out = (
        settings or Settings(),
        (inputs or Inputs()).check(),
        Path(out),
    )
    input_files = intake.scan(as_paths(paths), out, run_settings)
    fields: dict[str, list[Placement]] = {}
    for placement in input_files.plan.placements:
        fields.setdefault(placement.field, []).append(placement)
    files = UserFiles.of(run_inputs)
    folders = {name: FieldFolder(out, _state(out, name)) for name in fields}
    records = {
        p.path: planned_record(
            input_files.new_image(p, run_inputs.wht), folders[p.field].state.images
        )
        for p in input_files.plan.placements
    }
    run_inputs.image_of_list(records.values(), out)  # refused now if it is of none
    images: dict[Path, PlannedImage] = {}
    for name, placements in fields.items():
        folder, jobs = folders[name], []
        stars = stars_at_hand(folder)
        for placement in placements:
            record = records[placement.path]
            # A file that has changed is another input, whatever its record says.
            if not is_as_recorded(record, placement.path):
                record.checksum = ""
            jobs.append(
                ImageJob(
                    out, record, run_settings, gaia_file=stars.path, gaia_key=stars.key,
                    files=files,
                )
            )  # fmt: skip
        key = _planned_key(jobs, folder.state, out)
        for placement, job in zip(placements, jobs, strict=True):
            images[placement.path] = _plan_image(placement, replace(job, field_key=key), folder)
    return [images[p.path] for p in input_files.plan.placements], input_files.plan.skipped


def _state(out: Path, name: str) -> FieldState:
    try:
        return read_field(out, name)
    except UnreadableFile:
        return FieldState(name)


def _planned_key(jobs: list[ImageJob], state: FieldState, out: Path) -> str:
    """Return the key that a field's detections would have after a run."""
    keys = {}
    for record in state.images:
        if takes_part(record, out):
            keys[record.place] = image_keys(record)
    for job in jobs:
        keys_of_stages = stage_keys(job)
        keys[job.record.place] = (keys_of_stages["detect"], keys_of_stages["crmask"])
    return field_key(keys)


def _plan_image(placement: Placement, job: ImageJob, folder: FieldFolder) -> PlannedImage:
    from bycatch.images.headers import read_headers

    settings = job.settings
    ny, nx = read_headers(placement.path).shapes["SCI"][-2:]
    size = ny * nx * PRODUCT_BYTES_PER_PIXEL
    copies = (settings.sort.mode != "link") + settings.output.write_wcs
    size += copies * placement.path.stat().st_size
    return PlannedImage(
        placement.field,
        placement.filter,
        placement.stem,
        placement.path,
        step_states(job, folder),
        size / 1e6,
    )


def step_states(job: ImageJob, folder: FieldFolder) -> dict[str, str]:
    """Return 'done', 'outdated' or 'to do' by step; the figure of the field is part of align."""
    keys, record = stage_keys(job), job.record
    states = {
        stage: "done"
        if is_current(record, job.paths.folder, stage, keys[stage])
        else ("outdated" if stage in record.stages else "to do")
        for stage in STAGES
    }
    figure = FieldFigure(folder, is_wanted=not job.settings.output.is_survey)
    if states["align"] == "done" and not figure.is_current(figure.key(job)):
        states["align"] = "outdated"
    return states
