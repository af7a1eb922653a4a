"""One field through its alignment: all its images at once, from their detections and headers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.errors import BycatchError
from bycatch.pipeline.frames import read_frame, write_frame
from bycatch.pipeline.image import (
    FIELD,
    ImageJob,
    Worked,
    attempt,
    begin,
    died,
    forget,
    is_current,
    known_share,
    need,
    refresh_checksum,
    remember,
    remove,
    stage_key,
    stage_keys,
    step_over,
    write_share,
)
from bycatch.products import (
    STAGES,
    ImageRecord,
    combined,
    input_settings,
    is_product_current,
    read_pixels,
    remember_product,
)
from bycatch.system import memory
from bycatch.system.disk import atomic
from bycatch.system.words import printable
from bycatch.version import __version__

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.figures.pictures import FigureImage
    from bycatch.settings import Settings
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.align import AlignResult, FieldAlignment, FieldImage

logger = logging.getLogger("bycatch")

FIGURE = "alignment.png"


@dataclass(frozen=True)
class FieldJob:
    """All that a worker needs to know of one field."""

    name: str
    jobs: tuple[ImageJob, ...]
    """Its images of this run."""
    others: tuple[ImageRecord, ...] = ()
    """Those of earlier runs that have detections: they take part, and keep their products."""

    @property
    def folder(self) -> Path:
        """Where the field lies."""
        return self.jobs[0].out / self.name


@dataclass(frozen=True)
class FieldWorked:
    """What became of the images of a field, and the key of what they were aligned from."""

    images: tuple[Worked, ...]
    key: str


def takes_part(record: ImageRecord, out: Path) -> bool:
    """Tell whether an image has what the alignment needs: its input, detections and mask, whole."""
    paths = record.paths(out)
    products = [paths.product("sources"), paths.segmentation, paths.mask]
    return (
        {"detect", "crmask"} <= set(record.stages)
        and (paths.folder / record.name).exists()
        and all(record.has_whole(path) for path in products)
    )


def field_key(keys: dict[str, tuple[str, str]]) -> str:
    """Return the key of a field's detections.

    Parameters
    ----------
    keys : of detect and crmask, by the place of the image
    """
    return combined(sorted((place, *both) for place, both in keys.items()))


def record_keys(record: ImageRecord) -> tuple[str, str]:
    """Return the keys of the detections and of the mask that an image has."""
    return record.stages["detect"].key, record.stages["crmask"].key


_figures: list[Thread] = []
"""Figures in the making: other steps go on meanwhile, nobody needs them before the run ends."""


def wait_for_figures() -> None:
    """Return when the figures that this process has begun are written."""
    while _figures:
        _figures.pop().join()


def place_of(record: ImageRecord) -> str:
    """Return what tells an image from the others of its field."""
    return f"{record.filter}/{record.root}"


def run_field(work: FieldJob) -> FieldWorked:
    """Align the images of a field, unless all of them are up to date.

    An image that can't take part is left out; the others are aligned without it.
    """
    return _Alignment(work).done()


def field_died(work: FieldJob) -> FieldWorked:
    """Return what is told of a field whose process died, alone with it."""
    return FieldWorked(tuple(died(job) for job in work.jobs), "")


class _Alignment:
    """The images of a field on their way through the alignment, by their places."""

    def __init__(self, work: FieldJob) -> None:
        self.work = work
        self.jobs = {place_of(job.record): job for job in work.jobs}
        self.states: dict[str, Worked] = {}
        self.images: dict[str, FieldImage] = {}

    def done(self) -> FieldWorked:
        """Do what is to be done."""
        for job in self.jobs.values():
            self._attempt(job, lambda job=job: _check(job))  # type: ignore[misc]
        key = self._key(self.work.others)
        stale = [place for place in self._going() if self._is_stale(place, key)]
        for place in self._going():
            if place not in stale:
                self.states[place] = replace(self.states[place], kept=("align",))
                label = self.jobs[place].label
                logger.info("%s: align: up to date", label, extra=step_over(label, "align"))
        if stale:
            key = self._align(stale)
        elif self._going():
            self._draw_again(key)
        return FieldWorked(tuple(self.states[place] for place in self.jobs), key)

    def _attempt(self, job: ImageJob, work: Callable[[], None]) -> Worked:
        """Do some work on an image and keep how it went; tell whether it went well."""
        state = attempt(job, work)
        self.states[place_of(job.record)] = state
        return state

    def _going(self) -> list[str]:
        """Return the images of this run that nothing has befallen."""
        return [place for place, state in self.states.items() if state.ok]

    def _key(self, others: Sequence[ImageRecord]) -> str:
        records = [self.jobs[place].record for place in self._going()]
        return field_key({place_of(r): record_keys(r) for r in (*records, *others)})

    def _is_stale(self, place: str, key: str) -> bool:
        job = self.jobs[place]
        key = stage_key(replace(job, field_key=key), "align", {})
        return "align" in job.forced or not is_current(job.record, job.paths.folder, "align", key)

    def _align(self, stale: list[str]) -> str:
        """Align the field, write what it gives for the stale images, and return the field's key."""
        begin(self.work.name, "align")
        _prepare_to_draw()
        memory.forget_peak()
        started = time.perf_counter()
        for place in self._going():
            state, job = self.states[place], self.jobs[place]
            if self._attempt(job, lambda job=job: self._load(job.record)).ok:  # type: ignore[misc]
                self.states[place] = state
        key = self._key(self._others())
        stale = [place for place in stale if place in self.images]
        found = self._fitted(stale)
        if found is None:
            return key
        results = dict(zip(self.images, found.images, strict=True))
        seconds = (time.perf_counter() - started) / len(results)
        for place in stale:
            job = replace(self.jobs[place], field_key=key)
            part = _Part(results[place], found.summary(), seconds)
            state = self._attempt(job, lambda job=job, part=part: _write(job, part))  # type: ignore[misc]
            self.states[place] = replace(
                state, done=("align",) if state.ok else (), seconds=seconds
            )
        job = replace(self.work.jobs[0], field_key=key)
        images = [*zip(self.images.values(), found.images, strict=True)]
        _begin_figure(job, lambda: [_shown(i, f.wcs, f.matches, f.summary()) for i, f in images])
        self._name_outdated(key)
        return key

    def _draw_again(self, key: str) -> None:
        """Draw a figure that is lost or damaged from the products of the aligned images."""
        job = replace(self.work.jobs[0], field_key=key)
        if figure_is_current(job):
            return
        _prepare_to_draw()
        records = [self.jobs[place].record for place in self._going()]
        aligned = [
            record
            for record in sorted([*records, *self.work.others], key=place_of)
            if is_current(
                record,
                record.paths(job.out).folder,
                "align",
                stage_key(replace(job, record=record), "align", {}),
            )
        ]
        _begin_figure(job, lambda: [_shown_again(record, job) for record in aligned])

    def _name_outdated(self, key: str) -> None:
        """Say which images of earlier runs took part, but keep an alignment without these ones."""
        first = self.work.jobs[0]
        for record in self.work.others:
            job = replace(first, record=record, field_key=key)
            expected = stage_key(job, "align", {})
            if "align" in record.stages and record.stages["align"].key != expected:
                logger.warning(
                    "%s: align: done before with other images of its field: run it again as well",
                    job.label,
                )

    def _load(self, record: ImageRecord) -> None:
        first = self.work.jobs[0]
        self.images[place_of(record)] = field_image(record, first.out, first.settings)

    def _others(self) -> list[ImageRecord]:
        """Load the field's images of earlier runs; return the records of those that could be."""
        used = []
        for record in self.work.others:
            try:
                self._load(record)
            except (BycatchError, OSError) as err:
                place = place_of(record)
                logger.warning("%s: aligned without %s: %s", self.work.name, place, err)
            else:
                used.append(record)
        return used

    def _fitted(self, stale: list[str]) -> FieldAlignment | None:
        """Return the alignment; what goes wrong there befalls all images of the field."""
        from bycatch.stages import align

        if not stale:
            return None
        # In one order, whatever the order of the files: the same field gives the same bits.
        self.images = dict(sorted(self.images.items()))
        found: list[FieldAlignment] = []

        def fit() -> None:
            settings = self.work.jobs[0].settings.align
            found.append(align.run([*self.images.values()], _reference(self.work), settings))

        for place in stale:
            # Once, if it works; each image has its own report of a failure.
            if not found:
                self._attempt(self.jobs[place], fit)
        return found[0] if found else None


def _reference(work: FieldJob) -> ReferenceStars | None:
    from bycatch.sky import gaia

    path = work.jobs[0].gaia_file
    return gaia.read_local(path) if path and path.exists() else None


def _check(job: ImageJob) -> None:
    """See that an image has what it needs."""
    refresh_checksum(job.record, job.paths.folder)
    for path, stage in (
        (job.paths.product("sources"), "detect"),
        (job.paths.segmentation, "detect"),
        (job.paths.mask, "crmask"),
    ):
        need(job, path, stage)


def field_image(record: ImageRecord, out: Path, settings: Settings) -> FieldImage:
    """Return what the alignment needs of an image, without reading its pixels."""
    from bycatch import photcal
    from bycatch.catalogs.tables import read_table
    from bycatch.images.headers import read_headers
    from bycatch.images.meta import image_meta
    from bycatch.images.wcs import celestial_wcs
    from bycatch.stages.align import FieldImage

    paths = record.paths(out)
    headers = read_headers(paths.folder / record.name)
    meta = image_meta(headers, input_settings(settings, record))
    sources = read_table(paths.product("sources"))
    sources["on_cr_mask"] = _shares(record, out, sources)
    ny, nx = headers.shapes["SCI"][-2:]
    sky = celestial_wcs(headers)
    return FieldImage(
        name=place_of(record),
        filter=meta.filter,
        sources=sources,
        wcs=sky.wcs,
        doubt="; ".join(sky.doubts),
        wcsname=meta.wcsname,
        shape=(ny, nx),
        mjd=meta.mjd_mid,
        # As the pixels had it, where the headers disagree.
        exptime_s=float(sources.meta.get("EXPTIME", meta.exptime_s)),
        zeropoint_ab=photcal.ab_zeropoint(meta.photflam, meta.photplam),
        saturation_rate=meta.saturation_rate,
        epoch_spread_yr=meta.epoch_spread_yr,
    )


def _shares(record: ImageRecord, out: Path, sources: Any) -> Any:
    """Return the share of each source on the mask: known since the mask was made, or made now."""
    paths = record.paths(out)
    known = known_share(record, paths)
    if known is not None and np.array_equal(known["id"], sources["id"]):
        return np.asarray(known["on_cr_mask"])
    mask = read_pixels(paths.mask).astype(bool)
    segmentation = read_pixels(paths.segmentation)
    return np.asarray(write_share(record, out, segmentation, mask, sources)["on_cr_mask"])


@dataclass(frozen=True, eq=False)
class _Part:
    """What the alignment of a field gave for one image."""

    found: AlignResult
    field_summary: dict[str, Any]
    seconds: float


def _write(job: ImageJob, part: _Part) -> None:
    """Write the frame of an image and say how it was found."""
    from bycatch.stages.align import IN_DOUBT

    before = forget(job, "align")
    write_frame(part.found, job.paths.wcs)
    summary = part.found.summary()
    remember(job, "align", [job.paths.wcs], {**summary, FIELD: part.field_summary}, part.seconds)
    remove(before - {job.paths.wcs})
    poor = part.found.grade in "DEF" and job.settings.align.enabled
    poor = poor or IN_DOUBT in part.found.reason
    logger.log(
        logging.WARNING if poor else logging.INFO,
        "%s: align: %s (%.1f s)",
        job.label,
        _in_words(summary),
        part.seconds,
        extra=step_over(job.label, "align", part.seconds),
    )


def _in_words(found: dict[str, Any]) -> str:
    """Return what the alignment of an image gave, as the end of its log line."""
    from bycatch.stages.align import IN_DOUBT

    grade, reason = found["grade"], found["reason"]
    if grade == "F":
        return f"grade F, own WCS kept: {reason}"
    moved = f"moved by {round(found['shift_ra_mas'])}, {round(found['shift_dec_mas'])} mas"
    if grade == "E":
        return f"grade E, tied by {found['n_tied']} sources, but not to Gaia: {reason}; {moved}"
    own = f"{found['n_matches']} of {found['n_reference']} Gaia stars"
    if found["n_field_matches"] != found["n_matches"]:
        own += f" ({found['n_field_matches']} in the field)"
    rms = f"rms {found['rms_ra_mas']:.1f}, {found['rms_dec_mas']:.1f} mas, "
    return (
        f"grade {grade}, {own}, {rms if found['n_matches'] else ''}"
        f"odds {found['odds']:.1g}, {moved}, known to {found['astrom_err_mas']:.1f} mas"
        + (f"; {reason[reason.index(IN_DOUBT) :]}" if IN_DOUBT in reason else "")
    )


def _prepare_to_draw() -> None:
    """Let the process that draws begin: it needs as long for its start as the alignment takes."""
    if find_spec("matplotlib") is not None:
        from bycatch.figures.process import drawing_process

        drawing_process()


def figure_key(job: ImageJob) -> str:
    """Return the key of a field's figure: that of all that its alignment was made from."""
    return combined(__version__, job.settings.align.digest(), job.field_key, job.gaia_key)


def figure_is_current(job: ImageJob) -> bool:
    """Tell whether the figure of an image's field is whole and of this alignment, or can't be."""
    if find_spec("matplotlib") is None:
        return True
    return is_product_current(job.out / job.record.field / FIGURE, figure_key(job))


def step_states(job: ImageJob) -> dict[str, str]:
    """Return 'done', 'stale' or 'to do' by step; the figure of the field is part of align."""
    keys, record = stage_keys(job), job.record
    states = {
        stage: "done"
        if is_current(record, job.paths.folder, stage, keys[stage])
        else ("stale" if stage in record.stages else "to do")
        for stage in STAGES
    }
    if states["align"] == "done" and not figure_is_current(job):
        states["align"] = "stale"
    return states


def _begin_figure(job: ImageJob, shown: Callable[[], list[FigureImage]]) -> None:
    """Begin to draw the figure of a field, of what is shown of its images."""
    figure = Thread(target=_draw, args=(job, shown))
    figure.start()
    _figures.append(figure)


def _draw(job: ImageJob, shown: Callable[[], list[FigureImage]]) -> None:
    """Write the figure of the field; without matplotlib there is none."""
    if find_spec("matplotlib") is None:
        return
    from bycatch.figures.process import png_beside

    name = job.record.field
    path = job.out / name / FIGURE
    try:
        picture = png_beside(printable(name), shown())
        with atomic(path) as partial:
            partial.write_bytes(picture)
        remember_product(path, figure_key(job))
    except Exception as err:  # the figure is not worth an image  # noqa: BLE001
        logger.warning("%s: no figure: %s: %s", name, type(err).__name__, err)


def _shown_again(record: ImageRecord, job: ImageJob) -> FigureImage:
    """Return what the figure shows of an image that is aligned already."""
    frame = read_frame(record.paths(job.out).wcs)
    image = field_image(record, job.out, job.settings)
    return _shown(image, frame.wcs, frame.pairs, record.stages["align"].summary)


def _shown(image: FieldImage, wcs: WCS, pairs: Table, summary: dict[str, Any]) -> FigureImage:
    """Return what the figure shows of an image."""
    from bycatch.figures.pictures import FigureImage

    def number(name: str) -> float:
        return float("nan") if summary[name] is None else float(summary[name])

    ny, nx = image.shape
    corners = wcs.all_pix2world(
        [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5], 0
    )
    star = image.sources[np.asarray(pairs["source"])]
    ra, dec = np.empty(0), np.empty(0)
    if len(star):
        ra, dec = wcs.all_pix2world(star["x"], star["y"], 0)
    return FigureImage(
        filter=image.filter,
        grade=summary["grade"],
        reason=summary["reason"],
        n_stars=summary["n_field_matches"],
        odds=number("odds"),
        error_mas=number("astrom_err_mas"),
        corners_deg=np.column_stack(corners),
        ra_deg=ra,
        dec_deg=dec,
        dra_mas=np.asarray(pairs["dra_mas"]),
        ddec_mas=np.asarray(pairs["ddec_mas"]),
        error_pair_mas=np.asarray(np.hypot(pairs["dra_err_mas"], pairs["ddec_err_mas"]))
        / np.sqrt(2),
        weight=np.asarray(pairs["weight"]),
        mag=np.asarray(pairs["gaia_g"]),
    )
