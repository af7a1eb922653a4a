"""One field through its alignment: all its images at once, from their detections and headers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bycatch.errors import BycatchError
from bycatch.pipeline.attempts import attempt, begin, step_over
from bycatch.pipeline.field_image import field_image
from bycatch.pipeline.figure import FieldFigure
from bycatch.pipeline.frames import write_frame
from bycatch.pipeline.keys import align_key, is_current, key_of_records
from bycatch.pipeline.outcomes import StepResult
from bycatch.pipeline.steps import stage_entry, strike
from bycatch.pipeline.workbench import Workbench
from bycatch.pipeline.writing import remove
from bycatch.products import FieldFolder
from bycatch.products.field_state import FIELD
from bycatch.settings import AlignSettings
from bycatch.system import memory
from bycatch.system.disk import proof_of

if TYPE_CHECKING:
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.align import AlignResult, FieldAlignment, FieldImage

logger = logging.getLogger("bycatch")


@dataclass(frozen=True, eq=False)
class AlignedField:
    """The outcome of the images of a run, by place, and the key of the alignment."""

    results: Mapping[str, StepResult]
    key: str


def align_field(
    folder: FieldFolder,
    images: Mapping[str, Workbench],
    others: Mapping[str, Workbench],
    reference: Callable[[], ReferenceStars | None],
    figure: FieldFigure,
) -> AlignedField:
    """Align the images of a field, unless all of them are up to date.

    An image that can't take part is left out; the others are aligned without it.

    Parameters
    ----------
    folder : of the field
    images : those of the run, by place; at least one
    others : those of earlier runs that have detections: they take part, and keep their products
    reference : gives the Gaia stars
    figure : shows the result
    """
    return _Alignment(folder, images, others, reference, figure).run()


class _Alignment:
    """The images of a field during the alignment, by place."""

    def __init__(
        self,
        folder: FieldFolder,
        images: Mapping[str, Workbench],
        others: Mapping[str, Workbench],
        reference: Callable[[], ReferenceStars | None],
        figure: FieldFigure,
    ) -> None:
        self.folder, self.figure, self.reference = folder, figure, reference
        self.benches, self.others = dict(images), dict(others)
        self.first = next(iter(self.benches.values())).job
        self.results: dict[str, StepResult] = {}
        self.loaded: dict[str, FieldImage] = {}

    def run(self) -> AlignedField:
        """Do the work."""
        records = [bench.record for bench in (self.benches | self.others).values()]
        are_searched = all({"detect", "crmask"} <= set(record.stages) for record in records)
        key = key_of_records(records) if are_searched else ""
        for place, bench in self.benches.items():
            self.results[place] = StepResult()
            if self._is_stale(bench, key):  # else what it was made from may be gone, as in surveys
                self._attempt(place, lambda bench=bench: _check(bench))  # type: ignore[misc]
        key = self._key()
        stale = [place for place in self._going() if self._is_stale(self.benches[place], key)]
        for place in self._going():
            if place not in stale:
                self.results[place] = replace(self.results[place], kept=("align",))
                label = self.benches[place].job.label
                logger.info("%s: align: up to date", label, extra=step_over(label, "align"))
        if stale:
            key = self._align(stale)
        elif self._going():
            self._draw_again(key)
        return AlignedField(self.results, key)

    def _attempt(self, place: str, work: Callable[[], None]) -> StepResult:
        """Do some work on an image and record the outcome."""
        job = self.benches[place].job
        self.results[place] = attempt(job.label, job.out, work)
        return self.results[place]

    def _going(self) -> list[str]:
        """Return the images of this run that have not failed so far."""
        return [place for place, result in self.results.items() if result.ok]

    def _key(self) -> str:
        return key_of_records(bench.record for bench in self._part_takers().values())

    def _is_stale(self, bench: Workbench, key: str) -> bool:
        return bench.job.forced or not _is_aligned(bench, key)

    def _part_takers(self) -> dict[str, Workbench]:
        return {place: self.benches[place] for place in self._going()} | self.others

    def _align(self, stale: list[str]) -> str:
        """Align the field, write the results of the outdated images, and return the field's key."""
        begin(self.folder.state.name, "align")
        self.figure.prepare()
        memory.forget_peak()
        start_s = time.perf_counter()
        for place in self._going():
            result, bench = self.results[place], self.benches[place]
            if self._attempt(place, lambda bench=bench: self._load(bench)).ok:  # type: ignore[misc]
                self.results[place] = result
        self._load_others()
        key = self._key()
        stale = [place for place in stale if place in self.loaded]
        alignment = self._fit(stale)
        if alignment is None:
            return key
        results = dict(zip(self.loaded, alignment.images, strict=True))
        seconds = (time.perf_counter() - start_s) / len(results)
        for place in stale:
            bench = self.benches[place]
            bench.take(field_key=key)
            part = _Part(results[place], alignment.summary(), seconds)
            result = self._attempt(place, lambda bench=bench, part=part: _write(bench, part))  # type: ignore[misc]
            steps_done = ("align",) if result.ok else ()
            self.results[place] = replace(result, done=steps_done, seconds=seconds)
        self.figure.begin(self._figure_key(key), list(self.loaded.values()), alignment.images)
        self._name_stale(key)
        return key

    def _figure_key(self, key: str) -> str:
        return self.figure.key(replace(self.first, field_key=key))

    def _draw_again(self, key: str) -> None:
        """Draw a figure that is lost or damaged from the products of the aligned images."""
        figure_key = self._figure_key(key)
        if self.figure.is_current(figure_key):
            return
        self.figure.prepare()
        benches = sorted(self._part_takers().items())
        current_benches = [bench for _, bench in benches if _is_aligned(bench, key)]
        self.figure.begin_again(figure_key, current_benches)

    def _name_stale(self, key: str) -> None:
        """Log which images of earlier runs took part in an alignment without these."""
        for bench in self.others.values():
            align = bench.record.stages.get("align")
            if align and align.key != align_key(bench.job, key):
                logger.warning(
                    "%s: align: done before with other images of its field: run it again",
                    bench.job.label,
                )

    def _load(self, bench: Workbench) -> None:
        self.loaded[bench.record.place] = field_image(bench)

    def _load_others(self) -> None:
        """Load the field's images of earlier runs; those that can't be read take no part."""
        for place, bench in list(self.others.items()):
            try:
                self._load(bench)
            except (BycatchError, OSError) as err:
                del self.others[place]
                logger.warning("%s: aligned without %s: %s", self.folder.state.name, place, err)

    def _fit(self, stale: list[str]) -> FieldAlignment | None:
        """Return the alignment; what goes wrong there concerns all images of the field."""
        from bycatch.stages import align

        if not stale:
            return None
        # In one order, whatever the order of the files: the same field gives the same bits.
        self.loaded = dict(sorted(self.loaded.items()))
        results: list[FieldAlignment] = []
        settings: AlignSettings = self.first.settings.align

        def fit() -> None:
            results.append(align.run([*self.loaded.values()], self.reference(), settings))

        for place in stale:
            # Once, if it works; each image has its own report of a failure.
            if not results:
                self._attempt(place, fit)
        return results[0] if results else None


def _is_aligned(bench: Workbench, key: str) -> bool:
    """Tell whether the alignment of an image is up to date for a key of its field."""
    return is_current(bench.record, bench.paths.folder, "align", align_key(bench.job, key))


def _check(bench: Workbench) -> None:
    """Check that an image has what it needs, in memory or on disk."""
    for name, path, stage in (
        ("sources", bench.paths.product("sources"), "detect"),
        ("segmentation", bench.paths.segmentation, "detect"),
        ("cr_mask", bench.paths.mask, "crmask"),
    ):
        in_memory = name in bench.__dict__ or (name != "sources" and "cr_share" in bench.__dict__)
        if not in_memory or stage not in bench.record.stages:
            bench.need(path, stage)


@dataclass(frozen=True, eq=False)
class _Part:
    """The alignment of one image of a field."""

    found: AlignResult
    field_summary: dict[str, Any]
    seconds: float


def _write(bench: Workbench, part: _Part) -> None:
    """Write the frame of an image and log how it was found."""
    from bycatch.stages.align import IN_DOUBT

    bench.wait_until_synced()
    before = strike(bench, "align")
    bench.forget("frame")
    write_frame(part.found, bench.paths.wcs)
    summary = part.found.summary()
    entry = stage_entry(bench, "align", {**summary, FIELD: part.field_summary}, part.seconds)
    entry.outputs = {bench.paths.wcs.name: proof_of(bench.paths.wcs)}
    bench.record.stages["align"] = entry
    bench.folder.write()
    remove(before - {bench.paths.wcs})
    poor = part.found.grade in "DEF" and bench.job.settings.align.enabled
    poor = poor or IN_DOUBT in part.found.reason
    logger.log(
        logging.WARNING if poor else logging.INFO,
        "%s: align: %s (%.1f s)",
        bench.job.label,
        _in_words(summary),
        part.seconds,
        extra=step_over(bench.job.label, "align", part.seconds),
    )


def _in_words(summary: dict[str, Any]) -> str:
    """Return the result of the alignment of an image, as the end of its log line."""
    from bycatch.stages.align import IN_DOUBT

    grade, reason = summary["grade"], summary["reason"]
    if grade == "F":
        return f"grade F, WCS of the header kept: {reason}"
    shift = f"shift {round(summary['shift_ra_mas'])}, {round(summary['shift_dec_mas'])} mas"
    if grade == "E":
        return f"grade E, tied by {summary['n_tied']} sources, but not to Gaia: {reason}; {shift}"
    own = f"{summary['n_matches']} of {summary['n_reference']} Gaia stars"
    if summary["n_field_matches"] != summary["n_matches"]:
        own += f" ({summary['n_field_matches']} in the field)"
    rms = f"rms {summary['rms_ra_mas']:.1f}, {summary['rms_dec_mas']:.1f} mas, "
    return (
        f"grade {grade}, {own}, {rms if summary['n_matches'] else ''}"
        f"odds {summary['odds']:.1g}, {shift}, frame error {summary['astrom_err_mas']:.1f} mas"
        + (f"; {reason[reason.index(IN_DOUBT) :]}" if IN_DOUBT in reason else "")
    )
