"""From a folder of files to the products of every field.

The only place that reads and writes products, decides what is already done,
and catches what goes wrong with an image.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bycatch import gaia
from bycatch.errors import SettingsError
from bycatch.executors import Executor, executor_for
from bycatch.pipeline import fields, intake, lists
from bycatch.pipeline.image import (
    ImageJob,
    ImageReport,
    Outcome,
    file_fingerprint,
    is_current,
    run_image,
    stage_keys,
)
from bycatch.products import (
    PARTIAL,
    STAGES,
    ImageRecord,
    atomic,
    damaged_records,
    find_records,
    remove_leftovers,
    write_json,
)
from bycatch.settings import Settings, read_toml, to_toml
from bycatch.stages.sort import Skipped
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
    "sort_only",
]

logger = logging.getLogger("bycatch")

SETTINGS_FILE = "settings.toml"
PRODUCT_BYTES_PER_PIXEL = 1.3
"""Disk space of the products: a mask of one byte, a compressed segmentation, tables."""


@dataclass(frozen=True)
class Inputs:
    """Files of the user's beside the images."""

    gaia: Path | None = None
    sources: Path | None = None
    exclude: Path | None = None
    wht: Path | None = None

    def checked(self) -> Inputs:
        """Read all of them once, so that a mistake stops the run before any data are read."""
        for name in ("gaia", "sources", "exclude", "wht"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(
                    f"--{name} {path}: there is no such file", hint="check the path"
                )
        if self.gaia:
            gaia.read_local(self.gaia)
        if self.sources:
            lists.read_positions(self.sources)
        if self.exclude:
            lists.read_regions(self.exclude)
        return self


@dataclass(frozen=True)
class RunReport:
    """What a run did: one report per image, and the files that were not used."""

    out: Path
    images: tuple[ImageReport, ...]
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    references: dict[str, str] = field(default_factory=dict)
    """Per field: why there are no reference stars; '' where there are."""

    @property
    def all_done(self) -> bool:
        """True if no image was dropped and none failed."""
        return all(i.outcome is Outcome.DONE for i in self.images) and not any(
            s.bad for s in self.skipped
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as in ``summary.json``."""
        return {
            "bycatch": __version__,
            "out": str(self.out),
            "seconds": round(self.seconds, 2),
            "images": [asdict(image) for image in self.images],
            "skipped": [
                {"path": str(s.path), "reason": s.reason, "dropped": s.bad} for s in self.skipped
            ],
            "references": self.references,
        }


def run(
    paths: Iterable[str | Path] | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    inputs: Inputs | None = None,
    workers: int = 1,
) -> RunReport:
    """Run the whole chain on files and folders.

    Parameters
    ----------
    paths : drc files, or folders that are searched for them
    out : output folder; what is up to date in it is kept
    settings : all settings; the preset 'classic' by default
    inputs : files of the user's beside the images (Gaia table, positions, regions)
    workers : number of parallel processes

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
    workers: int = 1,
) -> RunReport:
    """Do some steps again on images that an earlier run has sorted into ``out``."""
    started = time.perf_counter()
    out, given = Path(out), (inputs or Inputs()).checked()
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


def saved_settings(out: Path) -> Settings:
    """Return the settings of the last run into a folder; the defaults if there are none."""
    path = out / SETTINGS_FILE
    return Settings.load(config=path) if path.exists() else Settings()


def saved_values(out: Path) -> dict[str, dict[str, Any]]:
    """Return the same as plain values, for other settings to be laid over."""
    path = out / SETTINGS_FILE
    return read_toml(path) if path.exists() else {}


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
    probe = out / f"{PARTIAL}writable"
    probe.touch()
    probe.unlink()


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
        extra={"n_steps": len(records) * len(stages)},
    )
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
            exclude_file=inputs.exclude,
        )
        for record in records
    ]
    images = _done(executor, jobs)
    report = RunReport(
        out,
        images,
        skipped,
        time.perf_counter() - started,
        {name: found.problem for name, found in stars.items()},
    )
    write_json(out / "summary.json", report.to_dict())
    return report


def _done(executor: Executor, jobs: Sequence[ImageJob]) -> tuple[ImageReport, ...]:
    # Before and after all the work, never during it: images can share a folder. Workers that were
    # stopped or killed can't tidy up for themselves.
    _tidy(jobs)
    try:
        return tuple(executor.map(run_image, jobs))
    finally:
        _tidy(jobs)


def _tidy(jobs: Sequence[ImageJob]) -> None:
    for job in jobs:
        remove_leftovers(job.paths.folder)


def _references(
    out: Path,
    records: Sequence[ImageRecord],
    settings: Settings,
    inputs: Inputs,
    stages: tuple[str, ...],
) -> dict[str, fields.FieldStars]:
    """Return the reference stars of each field; only the steps that need them ask for them."""
    names = list(dict.fromkeys(record.field for record in records))
    if not {"align", "measure"} & set(stages):
        return {name: fields.FieldStars(None, "none") for name in names}
    return {
        name: fields.reference_stars(
            out / name,
            [r for r in records if r.field == name],
            settings.align,
            inputs.gaia,
            keep=stages != STAGES,
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
    images = [
        _planned(placement, found, Path(out), chosen, given) for placement in found.plan.placements
    ]
    return images, found.plan.skipped


def _planned(
    placement: Any, found: intake.Intake, out: Path, settings: Settings, inputs: Inputs
) -> PlannedImage:
    from bycatch.headers import read_headers

    record = intake.planned_record(placement, found, out, inputs.wht)
    current = file_fingerprint(placement.path)
    if record.fingerprint.split(" ")[0] != current:
        record.checksum = ""
    gaia_path = out / placement.field / "gaia.ecsv"
    job = ImageJob(
        out,
        record,
        settings,
        gaia_file=gaia_path if gaia_path.exists() else None,
        gaia_key=fields.known_key(gaia_path),
        sources_file=inputs.sources,
        exclude_file=inputs.exclude,
    )
    keys = stage_keys(job)
    steps = {
        stage: "done"
        if is_current(record, job.paths.folder, stage, keys[stage])
        else ("stale" if stage in record.stages else "to do")
        for stage in STAGES
    }
    ny, nx = read_headers(placement.path).shapes["SCI"][-2:]
    size = ny * nx * PRODUCT_BYTES_PER_PIXEL
    if settings.sort.mode != "link":
        size += placement.path.stat().st_size
    return PlannedImage(
        placement.field, placement.filter, placement.stem, placement.path, steps, size / 1e6
    )
