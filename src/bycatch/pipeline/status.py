"""What is done in an output folder, what is stale, and what was lost; from the products alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bycatch.errors import SettingsError, UnreadableFile
from bycatch.pipeline.group import key_of_group
from bycatch.pipeline.jobs import ImageJob, Inputs, UserFiles
from bycatch.pipeline.keys import key_of_records, refresh_checksum, takes_part
from bycatch.pipeline.objects import group_jobs
from bycatch.pipeline.outcomes import Outcome
from bycatch.pipeline.plan import step_states
from bycatch.pipeline.reference import stars_at_hand
from bycatch.products import FieldFolder, last_run, read_fields
from bycatch.products.folder import LastRun
from bycatch.products.group_state import GroupState, group_folder, read_groups
from bycatch.settings import Settings


@dataclass(frozen=True)
class ImageStatus:
    """How far an image is.

    Attributes
    ----------
    field, filter, root, source : as in the summary
    steps : 'done', 'outdated' or 'to do' by step
    outcome : of the last run; '' if the image took no part in it
    reason : why it was dropped or failed, or why its input can't be found
    """

    field: str
    filter: str
    root: str
    source: str
    steps: dict[str, str]
    outcome: str = ""
    reason: str = ""

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do."""
        return not self.reason and set(self.steps.values()) == {"done"}


@dataclass(frozen=True)
class GroupStatus:
    """How far the objects of a group are.

    Attributes
    ----------
    name : of the group
    n_images : that it has
    state : 'done', 'outdated' or 'to do'
    outcome, reason : of the last run
    n_objects, n_real : in its tables; None without
    """

    name: str
    n_images: int
    state: str
    outcome: str = ""
    reason: str = ""
    n_objects: int | None = None
    n_real: int | None = None


@dataclass(frozen=True)
class Status:
    """The images of an output folder, the files that it has lost, and its groups."""

    images: tuple[ImageStatus, ...]
    lost: tuple[tuple[str, str], ...] = ()
    """Files that were dropped before they had a place, and records that can't be read; why."""
    groups: tuple[GroupStatus, ...] = ()

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do, and nothing was lost."""
        is_complete = all(image.is_done for image in self.images)
        return is_complete and not self.lost and all(group.state == "done" for group in self.groups)


def status(out: str | Path, settings: Settings) -> Status:
    """Return how far the images of an output folder are.

    A step is outdated where its input, a setting or a step before it has changed since.

    Parameters
    ----------
    out : output folder
    settings : what a run would use; those of the last one as a rule

    Raises
    ------
    SettingsError
        There is no image in it, and nothing was lost.
    """
    out = Path(out)
    last = last_run(out)
    images: list[ImageStatus] = []
    damages: list[tuple[str, str]] = []
    homeless: list[tuple[str, str]] = []
    for path, state in read_fields(out):
        if isinstance(state, UnreadableFile):
            damages.append((str(path), str(state)))
        else:
            images += _of_field(FieldFolder(out, state), settings, last.inputs)
            homeless += state.unplaced.items()
    drops = [(file.path, file.reason) for file in last.skipped if file.dropped]
    losses = tuple(
        (name, why.removeprefix(f"{name}: ")) for name, why in (*damages, *drops, *homeless)
    )
    if not images and not losses:
        raise SettingsError(
            f"{out}: no image in it", hint="run 'bycatch sort' or 'bycatch run' first"
        )
    return Status(tuple(images), losses, group_statuses(out, settings, last))


def group_statuses(out: Path, settings: Settings, last: LastRun) -> tuple[GroupStatus, ...]:
    """Return how far the groups are; none where no objects are wanted and none were made."""
    there = {k: v for k, v in last.inputs.items() if not v or Path(v).is_file()}
    inputs = Inputs().with_those_of(replace(last, inputs=there))
    states = {state.name: state for state in read_groups(out)}
    if not settings.objects.enabled and not states:
        return ()
    statuses = []
    before = {name: set(state.images) for name, state in states.items()}
    jobs, old_groups = group_jobs(out, settings, inputs, before)
    for job in jobs:
        state = states.pop(job.name, GroupState(job.name))
        is_current = state.is_current(group_folder(out, job.name), key_of_group(job))
        word = "done" if is_current else "outdated" if state.outputs else "to do"
        statuses.append(_of_group(state, len(job.images), word))
    # What is left can't be made again, or belongs to images that make up other groups now.
    statuses += [
        _of_group(state, len(state.images), "done" if name in old_groups else "outdated")
        for name, state in states.items()
    ]
    return tuple(sorted(statuses, key=lambda group: group.name))


def _of_group(state: GroupState, n_images: int, word: str) -> GroupStatus:
    numbers = (state.summary.get(name) for name in ("n_objects", "n_real"))
    return GroupStatus(state.name, n_images, word, state.outcome, state.reason, *numbers)


def _of_field(
    folder: FieldFolder, settings: Settings, inputs: Mapping[str, str]
) -> Iterator[ImageStatus]:
    """Give the status of the images of a field."""
    out, records = folder.out, folder.state.images
    exclude = Path(inputs.get("exclude") or "")
    files = UserFiles.of(Inputs(exclude=exclude) if exclude.is_file() else Inputs())
    key = key_of_records(record for record in records if takes_part(record, out))
    stars = stars_at_hand(folder)
    for record in records:
        job = ImageJob(
            out,
            record,
            settings,
            field_key=key,
            gaia_file=stars.path,
            gaia_key=stars.key,
            files=files,
        )
        steps, problem = _steps(job, folder)
        last = record.last
        reason = problem or (last.reason if last.outcome != Outcome.DONE else "")
        yield ImageStatus(
            record.field, record.filter, record.root, record.source, steps, last.outcome, reason
        )


def _steps(job: ImageJob, folder: FieldFolder) -> tuple[dict[str, str], str]:
    """Return the state of each step, and what is wrong with the input."""
    files = job.record.input_files(job.out)
    missing = [path for path in files if not path.exists()]
    if missing:
        return step_states(job, folder), f"{missing[0]} no longer points to a file"
    record = replace(job.record)  # a copy: to look changes nothing
    refresh_checksum(record, job.out)
    return step_states(replace(job, record=record), folder), ""
