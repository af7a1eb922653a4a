"""The steps of an image: what is outdated is done again, everything else is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bycatch.arrays import Bools, Floats
from bycatch.errors import MissingProduct
from bycatch.pipeline.attempts import begin, step_over
from bycatch.pipeline.keys import is_current, quality_files, stage_key
from bycatch.pipeline.provenance import metadata, note_of_no_source, plain_settings, settings_of
from bycatch.pipeline.workbench import Workbench
from bycatch.pipeline.writing import Products, remove
from bycatch.products import StageRecord, json_ready
from bycatch.system import memory
from bycatch.system.disk import Batch, proof_of

if TYPE_CHECKING:
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.measure.elsewhere import OtherImage

logger = logging.getLogger("bycatch")

Summary = dict[str, Any]


def do_stage(bench: Workbench, stage: str, work: Callable[[Products], Summary]) -> bool:
    """Do a step, unless its products are up to date; return whether it was done.

    Parameters
    ----------
    bench : the image
    stage : name of the step
    work : does it and writes its products
    """
    job = bench.job
    if not job.forced and is_step_current(bench, stage):
        logger.info("%s: %s: up to date", job.label, stage, extra=step_over(job.label, stage))
        return False
    begin(job.label, stage)
    memory.forget_peak()
    start_s = time.perf_counter()
    if stage in bench.record.stages:
        bench.wait_until_synced()
    before = strike(bench, stage)
    sections = ("input", *SECTIONS[stage])
    meta = metadata(bench.image, bench.record, job.settings, sections)
    products = Products(bench.paths, meta, is_survey=job.settings.output.is_survey)
    try:
        summary = work(products)
        seconds = time.perf_counter() - start_s
        bench.wait_until_synced()
    except BaseException:
        products.batch.discard()
        raise
    entry = bench.record.stages[stage] = stage_entry(bench, stage, summary, seconds)
    if stage == "detect":
        _note_nothing(bench)
    # A disk takes its time, in which the next step can begin.
    bench.sealing = _in_a_thread(_seal, bench, products.batch, entry, before)
    logger.info(
        "%s: %s: %s (%.1f s)",
        job.label,
        stage,
        WORDS[stage].format(**summary),
        seconds,
        extra=step_over(job.label, stage, seconds),
    )
    return True


def _note_nothing(bench: Workbench) -> None:
    """Say so where nothing was detected, and no longer where something is."""
    nothing = note_of_no_source(bench.record)
    bench.record.notes = [*bench.image.meta.notes, *nothing]
    for note in nothing:
        logger.warning("%s: %s", bench.job.label, note)


SECTIONS = {
    "detect": ("detect",),
    "crmask": ("detect", "crmask"),
    "measure": ("detect", "crmask", "align", "measure"),
    "finalize": ("detect", "crmask", "align", "measure", "finalize"),
}
"""The steps that the tables of a step come from."""

WORDS = {
    "detect": "{n_sources} sources, {n_removed} removed",
    "crmask": "{n_cr_tracks} tracks, {n_cr_pixels} pixels",
    "measure": "{n_measured} sources, {n_likely_cosmic_ray} likely cosmic rays, "
    "{n_gaia} Gaia matches ({n_gaia_chance:.1f} by chance)",
    "finalize": "{n_catalog} rows, {n_clean} of them clean, AB zero point {zeropoint_ab:.3f}",
}
"""What a step found, as the end of its log line."""


def is_step_current(bench: Workbench, stage: str) -> bool:
    """Tell whether the products of a step are up to date and whole."""
    return is_current(bench.record, bench.paths.folder, stage, bench.keys[stage])


def strike(bench: Workbench, stage: str) -> set[Path]:
    """Strike a step from the record before its products change; return the old ones."""
    record = bench.record.stages.pop(stage, None)
    if record is None:
        return set()
    bench.folder.write()
    return {bench.paths.folder / name for name in record.outputs}


def stage_entry(bench: Workbench, stage: str, summary: Summary, seconds: float) -> StageRecord:
    """Return the entry of a finished step, without its products."""
    # A step on its own may build on products of other settings: its key says which.
    built_on = {name: record.key for name, record in bench.record.stages.items()}
    peak_mb = memory.peak_mb()
    return StageRecord(
        stage_key(bench.job, stage, built_on),
        {},
        round(seconds, 3),
        json_ready(summary),
        plain_settings(bench.job.settings, stage),
        None if peak_mb is None else float(round(peak_mb)),
    )


def _seal(bench: Workbench, batch: Batch, entry: StageRecord, before: set[Path]) -> None:
    """Give the products of a step their names, enter them, and remove those of before."""
    record = bench.record
    try:
        batch.commit()
        entry.outputs = {path.name: proof_of(path) for path in batch.paths}
    except BaseException:
        batch.discard()
        record.stages = {k: v for k, v in record.stages.items() if v is not entry}
        raise
    bench.folder.write()
    remove(before - set(batch.paths))


def _in_a_thread(function: Callable[..., None], *args: Any) -> Future[None]:
    """Begin a call that waits for the disk: it needs no core of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)
    pool.shutdown(wait=False)
    return future


# ---- the steps ---------------------------------------------------------------------------------


def detect(bench: Workbench, products: Products) -> Summary:
    """Find the sources."""
    from bycatch.kernels.threads import in_background
    from bycatch.stages import detect

    detection = detect.run(bench.image, bench.job.settings.detect)
    bench.forget("cr_share", "coverage", "exposure_sets")
    bench.sources, bench.segmentation = detection.sources, detection.segmentation
    bench.sources.meta["EXPTIME"] = bench.image.meta.exptime_s  # as the pixels have it
    labels = in_background(
        products.segmentation, detection.segmentation, bench.image.wcs, detection.removed
    )
    products.table(detection.sources, "sources")
    products.sky(detection.sky.model)
    labels.result()
    return {"n_exposures": bench.image.meta.n_exposures} | detection.summary()


def crmask(bench: Workbench, products: Products) -> Summary:
    """Mask the cosmic rays."""
    from bycatch.catalogs.source_columns import CR_SHARE
    from bycatch.catalogs.tables import make_table
    from bycatch.stages import crmask

    result = crmask.run(bench.image, bench.job.settings.crmask)
    bench.forget("cr_share")
    bench.cr_mask = result.grown
    share = None
    if "detect" in bench.record.stages and _is_at_hand(bench):
        values = {"id": bench.sources["id"], "on_cr_mask": bench.cr_share}
        share = make_table(CR_SHARE, values, meta={"KEY": bench.share_key})
    products.mask(result.grown, bench.image.wcs, bench.coverage, share)
    return result.summary()


def _is_at_hand(bench: Workbench) -> bool:
    """Tell whether the detections are in memory or whole on the disk."""
    if {"sources", "segmentation"} <= set(bench.__dict__):
        return True
    paths = (bench.paths.product("sources"), bench.paths.segmentation)
    return all(path.exists() and bench.record.has_whole(path) for path in paths)


class FieldKnowledge(Protocol):
    """What the measurement of an image needs of its field."""

    @property
    def reference(self) -> ReferenceStars | None:
        """Its Gaia stars."""
        ...

    def others_of(self, bench: Workbench, x: Floats, y: Floats) -> Sequence[OtherImage]:
        """Return its other images, as one of them sees them at some positions."""
        ...


def measure(bench: Workbench, products: Products, field: FieldKnowledge) -> Summary:
    """Measure the sources.

    Parameters
    ----------
    bench, products : the image, and where its products go
    field : Gaia stars and the other images
    """
    from bycatch.pipeline.quality import read_quality
    from bycatch.stages import measure, star_rows

    job = bench.job
    targets, fits = measure.Targets.of(bench.sources, bench.exposure_sets), None
    if job.settings.psf.enabled:
        fits = bench.star_fits
        targets = star_rows.targets_of(targets, fits, bench.image, bench.segmentation)
    inside = in_user_regions(bench, targets.x, targets.y)
    targets_to_measure, rejects = targets.take(~inside), targets.take(inside)
    measurement = measure.run(
        bench.image,
        targets_to_measure,
        job.settings.measure,
        pixels=star_rows.pixels_with(measure.Pixels(bench.cr_mask, bench.segmentation), fits),
        frame=measure.SkyFrame(bench.frame.wcs, bench.frame.error),
        field=measure.FieldContext(
            field.reference,
            read_quality(quality_files(job.settings, job.record), bench.image.meta.readnoise_e),
            field.others_of(bench, targets_to_measure.x, targets_to_measure.y),
        ),
    )
    table, summary = measurement.table, measurement.summary()
    if fits:
        table = star_rows.add_columns(table, fits, np.flatnonzero(~inside))
        products.psf(fits.model, fits.look)
        summary |= fits.summary()
    bench.phot = table
    for warning in measurement.warnings():
        logger.warning("%s: %s", job.label, warning)
    extra = {"NOISECOR": measurement.correlation, "GAIACHNC": round(summary["n_gaia_chance"], 4)}
    good = table["cr_flag"] == 0
    products.parts(table, {"phot": None, "phot_noCRs": good}, ["ecsv"], **extra)
    products.depth(measurement.depth, measurement.sky)
    if job.files.exclude:
        from bycatch.catalogs.source_columns import EXCLUDED
        from bycatch.catalogs.tables import make_table

        reasons = [f"in a region of {job.files.exclude.path.name}"] * len(rejects)
        rows = {"id": rejects.ids, "x": rejects.x, "y": rejects.y, "reason": reasons}
        products.table(make_table(EXCLUDED, rows), "excluded")
    return summary


def finalize(bench: Workbench, products: Products) -> Summary:
    """Calibrate the photometry."""
    from bycatch.stages import finalize

    settings = bench.job.settings
    radii_px = settings.measure.radii_px
    lacking = [f"{r:g}" for r in radii_px if f"countrate_{r:g}" not in bench.phot.colnames]
    if lacking:
        raise MissingProduct(
            f"{bench.job.label}: nothing was measured in {', '.join(lacking)} px",
            hint=f"run 'bycatch measure {bench.job.out}' with these radii first",
        )
    with_settings = settings_of(bench.record, settings, "measure")
    calibration = finalize.run(
        bench.phot,
        radii_px,
        bench.image.meta,
        bench.image.scale_arcsec,
        (with_settings["annulus_inner_px"], with_settings["annulus_outer_px"]),
        settings.finalize,
    )
    for warning in calibration.warnings():
        logger.warning("%s: %s", bench.job.label, warning)
    stage = bench.record.stages.get("measure")
    chance = stage.summary.get("n_gaia_chance") if stage else None
    extra = calibration.metadata() | ({} if chance is None else {"GAIACHNC": round(chance, 4)})
    clean = calibration.clean_rows(settings.finalize.clean_min_snr, settings.psf.n_sigma)
    parts: Mapping[str, Bools | None] = {
        "cat": None,
        "cat_noCRs": calibration.table["cr_flag"] == 0,
        "cat_clean": clean,
    }
    forms: Iterable[str] = dict.fromkeys(["ecsv", *settings.output.formats])
    if products.is_survey:
        parts, forms = {"cat": None}, ["parquet"]
    products.parts(calibration.table, parts, forms, **extra)
    notes = {"calibration_notes": list(extra.get("CALNOTES", ()))}
    numbers = {"n_clean": int(clean.sum()), "exptime_s": bench.image.meta.exptime_s}
    return calibration.summary() | notes | numbers


def in_user_regions(bench: Workbench, x: Floats, y: Floats) -> Bools:
    """Return which positions lie in the user's regions."""
    exclude = bench.job.files.exclude
    if exclude is None:
        return np.zeros(len(x), dtype=bool)
    from bycatch.images.headers import read_headers
    from bycatch.pipeline.lists import read_regions
    from bycatch.user_files.regions import PhysicalFrame

    regions = read_regions(exclude.path)
    physical = None
    if regions.needs_physical:
        headers = read_headers(bench.record.image_file(bench.job.out))
        physical = PhysicalFrame.of_header(headers.sci)
    return regions.contain(x, y, bench.frame.wcs, physical)


def write_aligned(bench: Workbench) -> None:
    """Write the copy of the image that has the aligned WCS, unless it is there."""
    from bycatch.pipeline.frames import write_aligned_copy

    target, align = bench.paths.aligned_image, bench.record.stages.get("align")
    if align is None or (target.name in align.outputs and bench.record.has_whole(target)):
        return
    if bench.frame.grade == "F":
        logger.info("%s: no aligned copy: its WCS is the header's", bench.job.label)
        return
    write_aligned_copy(bench.record.image_file(bench.job.out), bench.frame, target)
    bench.record.add_output("align", target)
    bench.folder.write()
    logger.info("%s: aligned copy: %s", bench.job.label, target.name)
