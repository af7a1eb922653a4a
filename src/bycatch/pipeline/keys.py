"""What is outdated: each step has a key made of its input, its settings and the steps before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bycatch.errors import UnreadableFile
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.quality import exposure_files
from bycatch.products import STAGES, ImageRecord, combined_digest
from bycatch.settings import Section, Settings
from bycatch.system.disk import checksum, is_whole

REVISIONS = {"detect": 6, "crmask": 1, "align": 6, "measure": 14, "finalize": 7}
"""To be raised with each change of a step's results: only then are older products outdated.
`tests/test_revisions.py` fails when results change and these numbers do not."""
PSF_REVISION = 5
"""The same for PSF photometry, which align and measure build on where it is enabled."""

BUILDS_ON = {
    "detect": (),
    "crmask": (),
    "align": (),  # on the field's detections and masks: the field's key stands for them
    "measure": ("detect", "crmask", "align"),
    "finalize": ("measure",),
}


def stage_keys(job: ImageJob) -> dict[str, str]:
    """Return the key of each step: it changes when its input or one of its settings does.

    A key holds the keys of the steps that it builds on, so that what is
    downstream of a change is redone as well.
    """
    keys: dict[str, str] = {}
    for stage in STAGES:
        keys[stage] = stage_key(job, stage, keys)
    return keys


def stage_key(job: ImageJob, stage: str, earlier: Mapping[str, str]) -> str:
    """Return the key of a step that builds on products of the ``earlier`` keys."""
    settings, record = job.settings, job.record
    inputs = [REVISIONS[stage], record.checksum, record.input, _digest(settings.input)]
    exclude = job.files.exclude.checksum if job.files.exclude else ""
    own: dict[str, list[Any]] = {
        "detect": [settings.output.products],
        "crmask": [],
        "align": [job.field_key, job.gaia_key],
        "measure": [settings.output.products, job.gaia_key, exclude],
        "finalize": [settings.output.products, settings.output.formats],
    }
    if stage == "measure":
        own["measure"] += quality_key(job)
    if settings.psf.enabled and stage in {"align", "measure"}:
        own[stage] += [PSF_REVISION, _digest(settings.psf)]
    section = _digest(getattr(settings, stage))
    built_on = [earlier.get(name, "") for name in BUILDS_ON[stage]]
    return combined_digest(stage, inputs, built_on, [section, *own[stage]])


@cache
def _digest(section: Section) -> str:
    return section.digest()


def image_keys(record: ImageRecord) -> tuple[str, str]:
    """Return the keys of the detections and of the mask that an image has."""
    return record.stages["detect"].key, record.stages["crmask"].key


def field_key(keys: Mapping[str, tuple[str, str]]) -> str:
    """Return the key of a field's detections.

    Parameters
    ----------
    keys : of detect and crmask, by the place of the image
    """
    return combined_digest(sorted((place, *both) for place, both in keys.items()))


def key_of_records(records: Iterable[ImageRecord]) -> str:
    """Return the key of the detections that the images of a field have."""
    return field_key({record.place: image_keys(record) for record in records})


def quality_files(settings: Settings, record: ImageRecord) -> list[Path]:
    """Return the exposures of an image whose data quality can be read.

    They lie in the folder of the settings, or next to the drizzled image of the user.
    """
    folder_name = record.input.get("exposures_dir", settings.input.exposures_dir)
    folders = [Path(folder_name).expanduser()] if folder_name else []
    return exposure_files(record.exposures, [*folders, Path(record.source).parent])


def align_key(job: ImageJob, field_key: str) -> str:
    """Return the key of an image's alignment, for a key of the field's detections."""
    return stage_key(replace(job, field_key=field_key), "align", {})


def quality_key(job: ImageJob) -> list[str]:
    """Return what changes when other exposures are available."""
    files = quality_files(job.settings, job.record)
    return [f"{path.name} {file_fingerprint(path)}" for path in files]


def is_current(record: ImageRecord, folder: Path, stage: str, key: str) -> bool:
    """Tell whether a step's products are there, whole, and made of the same input and settings."""
    stage_record = record.stages.get(stage)
    return (
        stage_record is not None
        and stage_record.key == key
        and all(
            proof is not None and is_whole(folder / name, proof)
            for name, proof in stage_record.outputs.items()
        )
    )


def refresh_checksum(record: ImageRecord, out: Path) -> None:
    """Compute the checksum of an image's input again if its size or time changed.

    Raises
    ------
    UnreadableFile
        The input is gone.
    """
    files = record.input_files(out)
    for path in files:
        if not path.exists():
            raise UnreadableFile(
                f"{record.source}: {path} no longer points to a file",
                hint="run 'bycatch run' on the file where it is now",
            )
    fingerprint = " ".join(file_fingerprint(p) for p in files)
    if not record.checksum or fingerprint != record.fingerprint:
        sums = [checksum(p) for p in files]
        record.checksum = sums[0] if len(sums) == 1 else " ".join(sums)
        record.fingerprint = fingerprint


def is_as_recorded(record: ImageRecord, path: Path) -> bool:
    """Tell whether an image is the one of its record: not touched since, or of the same content."""
    fingerprint, content = record.fingerprint.split(" ")[0], record.checksum.split(" ")[0]
    return bool(content) and (fingerprint == file_fingerprint(path) or content == checksum(path))


def file_fingerprint(path: Path) -> str:
    """Return size and time of a file: if they are the same, so is its content."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def takes_part(record: ImageRecord, out: Path) -> bool:
    """Tell whether an image has what the alignment needs: its input, detections and mask, whole."""
    steps = {"detect", "crmask"}
    return (
        steps <= set(record.stages)
        and record.image_file(out).exists()
        and all(
            record.has_whole(record.paths(out).folder / name)
            for step in steps
            for name in record.stages[step].outputs
        )
    )
