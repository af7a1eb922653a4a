"""The objects of an output folder: which images form groups, and each group as one task."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from bycatch.engines import Executor, executor_of
from bycatch.errors import BycatchError, SettingsError
from bycatch.images.files import open_fits
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.kernels.blocks import BLOCK_PX
from bycatch.pipeline.field import prepare_worker
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.group import GroupJob, is_done, lost_group, run_group
from bycatch.pipeline.group_frames import shape_of
from bycatch.pipeline.jobs import Inputs, UserFile
from bycatch.pipeline.outcomes import GroupReport
from bycatch.pipeline.tasks import run_tasks
from bycatch.products import (
    FieldState,
    ImageRecord,
    find_records,
    last_run,
    read_fields,
)
from bycatch.products.folder import FOLDER_FILE
from bycatch.products.group_state import group_folder, group_names, read_groups
from bycatch.report.page import can_be_made
from bycatch.report.page_entries import FIELD_PAGE
from bycatch.report.products import MAX_INSIDE
from bycatch.settings import Settings
from bycatch.sky.footprints import Footprint, Tile, footprint_of_blocks, groups, tiles
from bycatch.sky.gaia import MJD_J2000
from bycatch.system.disk import remove_leftovers

logger = logging.getLogger("bycatch")


def make_objects(
    out: str | Path,
    settings: Settings,
    inputs: Inputs | None = None,
    workers: int | None = None,
    *,
    executor: Any = None,
) -> list[GroupReport]:
    """Make the tables of objects of all groups of overlapping images of an output folder.

    What is up to date is kept; groups that are no more are removed.

    Parameters
    ----------
    out : output folder of a run
    settings : of all steps
    inputs : the user's list of positions
    workers, executor : as for `bycatch.run`

    Raises
    ------
    SettingsError
        The folder holds no image whose steps are done.
    """
    out = Path(out).absolute()
    run_inputs = (inputs or Inputs()).with_those_of(last_run(out)).check()
    engine = executor_of(executor, workers, prepare_worker)
    try:
        reports = objects_of(out, settings, run_inputs, engine)
    finally:
        engine.close()
    if not reports:
        raise SettingsError(
            f"{out}: no image in it whose steps are done", hint="run 'bycatch run' first"
        )
    return reports


def objects_of(
    out: Path, settings: Settings, inputs: Inputs, executor: Executor
) -> list[GroupReport]:
    """Make the tables of all groups with a given executor; none without images."""
    beside = settings.output.report and can_be_made() and _n_images(out) > MAX_INSIDE
    before = {state.name: set(state.images) for state in read_groups(out)}
    jobs, old_groups = group_jobs(out, settings, inputs, before)
    jobs = [replace(job, earlier=_earlier(job, before), with_page=beside) for job in jobs]
    labels = {f"objects {job.name}": float(len(job.images)) for job in jobs}
    logger.info(
        "%d group(s) of overlapping images", len(jobs),
        extra={"sizes_mb": labels, "steps": ("objects",)},
    )  # fmt: skip
    results = run_tasks(executor, run_group, jobs, lost_group)
    reports = sorted(results, key=lambda report: report.name)
    if jobs:  # else the images can't be read: what was made of them stays
        _forget_others(out, {job.name for job in jobs} | set(old_groups))
    return reports


def group_jobs(
    out: Path,
    settings: Settings,
    inputs: Inputs,
    before: dict[str, set[str]],
) -> tuple[list[GroupJob], dict[str, set[str]]]:
    """Return the tasks, and which of the groups of before, with their images, stay as they are.

    A group stays that has an image whose pixels were removed since (`fetch --discard`): its tables
    can't be made again.
    """
    old_groups = _groups_with_removed_images(out, before)
    return _beside(_all_jobs(out, settings, inputs), old_groups), old_groups


def _groups_with_removed_images(out: Path, before: dict[str, set[str]]) -> dict[str, set[str]]:
    missing = {
        record.full_place
        for record in (find_records(out) if before else ())
        if "finalize" in record.stages and _has_lost_pixels(record, out)
    }
    return {name: members for name, members in before.items() if members & missing}


def _has_lost_pixels(record: ImageRecord, out: Path) -> bool:
    """Tell whether an image is gone but not its catalog; without both it is forgotten."""
    return record.paths(out).product("cat").exists() and not record.image_file(out).exists()


def _beside(jobs: list[GroupJob], old_groups: dict[str, set[str]]) -> list[GroupJob]:
    """Return the tasks of images that no group has which is kept, under names that none has."""
    jobs_to_do = []
    for job in jobs:
        images = {f"{field}/{place}" for field, place in job.images}
        if any(images <= members for members in old_groups.values()):
            continue
        name, number = job.name, 1
        while name in old_groups:
            number += 1
            name = f"{job.name}-{number}"
        if name != job.name:
            logger.warning(
                "objects %s: some of its images are gone; the others form %s", job.name, name
            )
        jobs_to_do.append(replace(job, name=name))
    return jobs_to_do


def _n_images(out: Path) -> int:
    """Return how many images the output folder holds."""
    return sum(len(s.images) for _, s in read_fields(out) if isinstance(s, FieldState))


def _earlier(job: GroupJob, before: dict[str, set[str]]) -> tuple[str, ...]:
    """Return the groups of before that had some of the images; its own name first."""
    images = {f"{field}/{place}" for field, place in job.images}
    names = [name for name, members in sorted(before.items()) if members & images]
    return tuple(sorted(names, key=lambda name: name != job.name))


def _all_jobs(out: Path, settings: Settings, inputs: Inputs) -> list[GroupJob]:
    """Return the tasks: a group, or a tile of a large one, each."""
    records = {record.full_place: record for record in find_records(out) if is_done(record, out)}
    footprints = []
    for name, record in records.items():
        try:
            footprints.append(footprint_of(name, record, out))
        except (BycatchError, OSError, ValueError) as err:
            logger.warning("%s: in no group: %s", record.label, err)
    objects_settings = settings.objects
    all_tiles = tiles(
        groups(footprints),
        tile_deg=objects_settings.tile_deg,
        margin_arcsec=objects_settings.margin_arcsec,
    )
    lists = UserFile.of(inputs.sources), UserFile.of(inputs.exclude)
    frame = _frame_of_list(inputs, list(records.values()), out)
    return [_job(tile, records, out, settings, lists, frame) for tile in all_tiles]


def _job(
    tile: Tile,
    records: dict[str, ImageRecord],
    out: Path,
    settings: Settings,
    lists: tuple[UserFile | None, UserFile | None],
    frame: Path | None,
) -> GroupJob:
    images = tuple(sorted((records[n].field, records[n].place) for n in tile.members))
    return GroupJob(out, tile.name, images, settings, tile, *lists, frame)


def _frame_of_list(inputs: Inputs, records: list[ImageRecord], out: Path) -> Path | None:
    own = inputs.image_of_list(records, out)
    return own.paths(out).wcs if own else None


def footprint_of(name: str, record: ImageRecord, out: Path) -> Footprint:
    """Return what an image covers, from its frame and its blocks with data.

    Raises
    ------
    ValueError
        It covers nothing.
    """
    paths = record.paths(out)
    frame = read_frame(paths.wcs)
    with open_fits(paths.mask) as hdus:
        blocks = hdus["COVERAGE"].data > 0
    mjd = MJD_J2000 + (float(frame.header.get("EPOCH", "nan")) - 2000.0) * DAYS_PER_YEAR
    return footprint_of_blocks(name, mjd, blocks, frame.wcs, BLOCK_PX, shape_of(record, out))


def _forget_others(out: Path, names: set[str]) -> None:
    """Remove the tables of groups that are no more: other images make up others."""
    for state in read_groups(out, [name for name in group_names(out) if name not in names]):
        folder = group_folder(out, state.name)
        remove_leftovers(folder)
        for name in (*state.outputs, "group.json", FIELD_PAGE, FOLDER_FILE):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
