"""What is done in an output folder, what is stale, and what was lost; from the products alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bycatch.errors import SettingsError
from bycatch.pipeline.alignment import (
    field_key,
    place_of,
    record_keys,
    step_states,
    takes_part,
)
from bycatch.pipeline.image import ImageJob, Outcome, file_fingerprint
from bycatch.pipeline.lists import image_of_list
from bycatch.pipeline.reference import kept_stars, known_key
from bycatch.products import ImageRecord, damaged_records, find_records, last_summary
from bycatch.settings import Settings


@dataclass(frozen=True)
class ImageStatus:
    """How far an image is.

    Attributes
    ----------
    field, filter, root, source : as in the summary
    steps : 'done', 'stale' or 'to do' by step
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
class Status:
    """The images of an output folder, and the files that it has lost."""

    images: tuple[ImageStatus, ...]
    lost: tuple[tuple[str, str], ...] = ()
    """Files that were dropped before they had a place, and records that can't be read; why."""

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do, and nothing was lost."""
        return not self.lost and all(image.is_done for image in self.images)


def status(out: str | Path, settings: Settings) -> Status:
    """Return how far the images of an output folder are.

    A step is stale where its input, a setting or a step before it has changed since.

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
    records, last = find_records(out), last_summary(out)
    lost = [(str(path), why) for path, why in damaged_records(out).items()]
    lost += [(s["path"], s["reason"]) for s in last.get("skipped", []) if s.get("dropped")]
    if not records and not lost:
        raise SettingsError(
            f"{out}: no image in it", hint="run 'bycatch sort' or 'bycatch run' first"
        )
    inputs = last.get("inputs", {})
    ended = {(i["field"], i["filter"], i["root"]): i for i in last.get("images", [])}
    images = []
    for record in records:
        then = ended.get((record.field, record.filter, record.root), {})
        steps, problem = _steps(_job(record, records, out, settings, inputs), records)
        outcome = str(then.get("outcome", ""))
        reason = problem or (str(then.get("reason", "")) if outcome != Outcome.DONE else "")
        images.append(
            ImageStatus(
                record.field, record.filter, record.root, record.source, steps, outcome, reason
            )
        )
    return Status(tuple(images), tuple(lost))


def _job(
    record: ImageRecord,
    records: list[ImageRecord],
    out: Path,
    settings: Settings,
    inputs: dict[str, Any],
) -> ImageJob:
    """Return the job that a run would make of an image."""
    stars = kept_stars(out / record.field)
    given = {
        name: Path(path)
        for name, path in inputs.items()
        if name in {"sources", "exclude"} and path and Path(path).is_file()
    }
    frame = None
    if "sources" in given:
        with suppress(SettingsError):  # the list has changed: the step is stale in any case
            name = str(inputs.get("sources_image") or "") or None
            own = image_of_list(given["sources"], name, records, out)
            frame = own.paths(out).wcs if own is not None and own is not record else None
    return ImageJob(
        out,
        record,
        settings,
        gaia_file=stars,
        gaia_key=known_key(stars),
        sources_file=given.get("sources"),
        sources_frame=frame,
        exclude_file=given.get("exclude"),
    )


def _steps(job: ImageJob, records: list[ImageRecord]) -> tuple[dict[str, str], str]:
    """Return the state of each step, and what is wrong with the input."""
    record, problem = job.record, ""
    files = [job.paths.folder / name for name in record.names]
    gone = [path for path in files if not path.exists()]
    if gone:
        problem = f"{gone[0]} leads to no file any more"
    elif record.fingerprint != " ".join(file_fingerprint(path) for path in files):
        job = replace(job, record=replace(record, checksum=""))  # changed: all is stale
    companions = [r for r in records if r.field == record.field and takes_part(r, job.out)]
    key = field_key({place_of(r): record_keys(r) for r in companions})
    return step_states(replace(job, field_key=key)), problem
