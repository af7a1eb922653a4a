"""Artificial sources in the images of a run: a field is one task, as in the run itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.table import Table

from bycatch.catalogs.tables import floats, write_table
from bycatch.engines import LostTask, executor_of
from bycatch.errors import SettingsError
from bycatch.images.drc import DrcImage
from bycatch.pipeline.attempts import attempt, begin, log_loss, step_over
from bycatch.pipeline.outcomes import Outcome, StepResult
from bycatch.pipeline.provenance import plain_settings
from bycatch.products import LOCK, ImageRecord, field_names, find_records, read_image
from bycatch.settings import Settings
from bycatch.simulate import injection
from bycatch.simulate.completeness import InjectionResult, inject_image
from bycatch.system.disk import atomic
from bycatch.system.locks import wait_for
from bycatch.version import __version__

logger = logging.getLogger("bycatch")


@dataclass(frozen=True)
class InjectionReport:
    """The outcome for an image of a run."""

    root: str
    field: str
    filter: str
    outcome: Outcome
    reason: str
    summary: dict[str, Any]
    files: tuple[Path, ...]
    seconds: float


@dataclass(frozen=True)
class InjectionJob:
    """The images of a field, to put artificial sources into."""

    out: Path
    field: str
    settings: Settings


def inject(
    out: Path, settings: Settings, workers: int | None = None, *, executor: Any = None
) -> list[InjectionReport]:
    """Put artificial sources into every image below ``out`` and write what became of them.

    Writes ``<root>_inject.ecsv``, ``<root>_completeness.ecsv``, ``<root>_purity.ecsv`` and
    ``<root>_completeness.png`` beside the other products.

    Parameters
    ----------
    out : output folder of a run
    settings : of all steps
    workers, executor : as for `bycatch.run`

    Raises
    ------
    SettingsError
        The folder holds no images.
    """
    records = list(find_records(out))
    if not records:
        raise SettingsError(f"{out}: no image in it", hint="run 'bycatch run' first")
    files = {record.label: record.image_file(out) for record in records}
    sizes_mb = {k: f.stat().st_size / 1e6 if f.exists() else 0.0 for k, f in files.items()}
    extra = {"sizes_mb": sizes_mb, "steps": ("inject",)}
    logger.info("%d image(s) in %s", len(records), out, extra=extra)
    names = [name for name in field_names(out) if name in {r.field for r in records}]
    jobs = [InjectionJob(out.absolute(), name, settings) for name in names]
    engine = executor_of(executor, workers)
    reports_of: dict[int, list[InjectionReport]] = {}
    try:
        for number, answer in engine.work(inject_field, jobs):
            reports_of[number] = (
                _lost_reports(jobs[number], answer) if isinstance(answer, LostTask) else answer
            )
    finally:
        engine.close()
    return [report for number in sorted(reports_of) for report in reports_of[number]]


def inject_field(job: InjectionJob) -> list[InjectionReport]:
    """Put artificial sources into the images of a field."""
    with wait_for(job.out / job.field / LOCK):
        return [_report_of(job, record) for record in find_records(job.out, [job.field])]


def _report_of(job: InjectionJob, record: ImageRecord) -> InjectionReport:
    summary: dict[str, Any] = {}
    files: list[Path] = []

    def work() -> None:
        begin(record.label, "inject")
        image = read_image(record, job.out, job.settings)
        result = inject_image(image, job.settings)
        files.extend(_write(job, record, image, result))
        summary.update(result.summary())

    result = attempt(record.label, job.out, work)
    if result.ok:
        logger.info(
            "%s: inject: %d sources, PSF of %s (%.1f s)",
            record.label, summary["n_injected"], summary["psf"], result.seconds,
            extra=step_over(record.label, "inject", result.seconds),
        )  # fmt: skip
    return _report(record, result, summary, files)


def _lost_reports(job: InjectionJob, loss: LostTask) -> list[InjectionReport]:
    """Return the reports of the images of a field whose worker died."""
    reports = []
    for record in find_records(job.out, [job.field]):
        log_loss(record.label, Outcome.LOST, loss.reason)
        reports.append(_report(record, StepResult(Outcome.LOST, loss.reason), {}, []))
    return reports


def _report(
    record: ImageRecord, result: StepResult, summary: dict[str, Any], files: list[Path]
) -> InjectionReport:
    return InjectionReport(
        record.root, record.field, record.filter, result.outcome, result.reason, summary,
        tuple(files), result.seconds,
    )  # fmt: skip


def _write(
    job: InjectionJob, record: ImageRecord, image: DrcImage, result: InjectionResult
) -> list[Path]:
    """Write the products of an image; return their paths."""
    from bycatch.figures.completeness import completeness_figure

    summary = result.summary()
    meta = {
        "CREATOR": f"bycatch {__version__}",
        "ROOTNAME": image.meta.root,
        "FIELD": record.field,
        "FILTER": image.meta.filter,
        "INSHA256": record.checksum,
        "PSF": summary["psf"],
        "PSFFWHM": round(result.psf.fwhm_px, 4),
        "LIMITS": result.limits,
        "SETTINGS": {
            name: plain_settings(job.settings, name)
            for name in ("detect", "crmask", "measure", "finalize", "inject")
        },
    }
    tables = {"inject": result.sources, "completeness": result.completeness}
    tables |= {"purity": result.purity} if job.settings.inject.false_detections else {}
    paths = []
    for kind, table in tables.items():
        path = record.paths(job.out).product(kind)
        table.meta = meta | dict(table.meta)
        with atomic(path) as partial:
            write_table(table, partial)
        paths.append(path)
    figure = completeness_figure(
        f"{record.field}  {image.meta.filter}  {image.meta.root}",
        figure_curves(result.completeness),
    )
    path = record.paths(job.out).product("completeness", ".png")
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    return [*paths, path]


def figure_curves(completeness: Table) -> list[Any]:
    """Return what the figure shows: a curve per kind and size, all depths together."""
    from bycatch.figures.completeness import FigureCurve

    curves = []
    whole = completeness[completeness["n_exp"] == 0]
    pairs = sorted({(str(row["kind"]), float(row["re_arcsec"])) for row in whole})
    for kind, size in sorted(pairs, key=lambda pair: pair[1]):
        part = whole[(whole["kind"] == kind) & (whole["re_arcsec"] == size)]
        label = "stars" if kind == injection.STAR else f'galaxies, {size:g}"'
        curves.append(
            FigureCurve(
                label,
                mag=0.5 * (floats(part, "mag_low") + floats(part, "mag_high")),
                found=floats(part, "found"),
                kept=floats(part, "kept"),
                low=floats(part, "kept_low"),
                high=floats(part, "kept_high"),
                bias=floats(part, "mag_bias"),
                scatter=floats(part, "mag_scatter"),
            )
        )
    return curves
