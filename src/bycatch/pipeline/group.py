"""A group is one task: its objects, from the images and products of the fields that it holds.

The fields are done by then; nothing of theirs is changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from bycatch.arrays import Bools, Floats
from bycatch.catalogs import ecsv
from bycatch.catalogs.tables import SUFFIXES, read_table, write_table
from bycatch.errors import BycatchError
from bycatch.images.wcs import pixel_scale_arcsec
from bycatch.pipeline.attempts import attempt, begin, log_loss, step_over
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.group_frames import GroupFrame, group_frames, label_of, shape_of
from bycatch.pipeline.group_images import (
    GroupImage,
    detections_in_all,
    detections_of,
    search_image,
)
from bycatch.pipeline.group_photometry import measure_objects
from bycatch.pipeline.jobs import ImageJob, UserFile, UserFiles
from bycatch.pipeline.keys import takes_part
from bycatch.pipeline.outcomes import GroupReport, Outcome, StepResult
from bycatch.pipeline.provenance import plain_settings
from bycatch.pipeline.reference import stars_at_hand
from bycatch.pipeline.steps import in_user_regions
from bycatch.pipeline.workbench import Workbench
from bycatch.products import LOCK, FieldFolder, ImageRecord, combined_digest, read_field
from bycatch.products.group_state import (
    GroupState,
    group_folder,
    read_group,
    table_path,
    write_group,
)
from bycatch.report.group_page import write_group_page
from bycatch.settings import Settings
from bycatch.sky import gaia
from bycatch.sky.footprints import Tile
from bycatch.stages import objects
from bycatch.stages.objects.combined import Combination, grid_over
from bycatch.stages.objects.model import ColourGrid, ImagePhotometry, ObjectList
from bycatch.system.disk import Batch, proof_of, remove_leftovers
from bycatch.system.locks import LockHeld, lock, wait_for
from bycatch.system.memory import keep_blocks
from bycatch.version import __version__

logger = logging.getLogger("bycatch")

REVISION = 22
"""To be raised with each change of what the tables of objects hold."""


@dataclass(frozen=True)
class GroupJob:
    """All that a worker needs to know of a group.

    Attributes
    ----------
    out : output folder
    name : of the group
    images : field and place of each
    settings : of all steps
    tile : the part of the sky whose objects are wanted; None: all
    sources : the user's list of positions
    exclude : the user's regions without objects
    sources_frame : the WCS of the image whose pixels it has, if it is of one
    earlier : groups of before that had some of the images: their identifiers are kept
    waits : wait for another process that has the group
    with_page : write what the page of a large run shows of the group
    """

    out: Path
    name: str
    images: tuple[tuple[str, str], ...]
    settings: Settings
    tile: Tile | None = None
    sources: UserFile | None = None
    exclude: UserFile | None = None
    sources_frame: Path | None = None
    earlier: tuple[str, ...] = ()
    waits: bool = False
    with_page: bool = False

    @property
    def title(self) -> str:
        """The group in messages."""
        return f"objects {self.name}"


def run_group(job: GroupJob) -> GroupReport:
    """Make the tables of a group; failures are in the report."""
    folder = group_folder(job.out, job.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        group_lock = (wait_for if job.waits else lock)(folder / LOCK)
    except LockHeld as err:
        return GroupReport(job.name, "", holder=err.holder.words())
    except (BycatchError, OSError) as err:
        return GroupReport(job.name, str(Outcome.FAILED), f"{err} - check disk space")
    with group_lock:
        work = _GroupWork(job)
        with keep_blocks():
            result = attempt(f"objects {job.name}", job.out, work.do)
        report = work.entered(result)
        if job.with_page and work.state.outputs:
            attempt(f"page of {job.name}", job.out, work.write_page)  # must not cost the tables
        return report


def key_of_group(job: GroupJob) -> str:
    """Return the key of everything that the tables of a group are made from."""
    work = _GroupWork(job)
    return work._key(work._benches())


class _GroupWork:
    """The work on a group."""

    def __init__(self, job: GroupJob) -> None:
        self.job, self.settings = job, job.settings
        self.folder = group_folder(job.out, job.name)
        self.state = GroupState(job.name)
        self.is_new = False

    def do(self) -> None:
        """Make the tables, unless they are up to date."""
        remove_leftovers(self.folder)
        self.state = read_group(self.job.out, self.job.name)
        benches = self._benches()
        key = self._key(benches)
        label = f"objects {self.job.name}"
        if self.state.is_current(self.folder, key):
            logger.info("%s: up to date", label, extra=step_over(label, "objects"))
            return
        begin(label, "objects")
        start_s = time.perf_counter()
        group_tables = self._make_tables(benches)
        outputs = self._write(group_tables)
        self.is_new = True
        self.state = GroupState(
            self.job.name,
            [label_of(bench) for bench in benches],
            key,
            outputs,
            group_tables.summary(),
        )
        seconds = time.perf_counter() - start_s
        logger.info(
            "%s: %s (%.1f s)", label, group_tables.in_words(), seconds,
            extra=step_over(label, "objects", seconds),
        )  # fmt: skip

    def write_page(self) -> None:
        """Write what the page of a large run shows of the group."""
        write_group_page(self.job.out, self.state, self.settings)

    def entered(self, result: StepResult) -> GroupReport:
        """Record the outcome of the group, and return it."""
        state = self.state
        state.outcome, state.reason = str(result.outcome), result.reason
        if self.is_new or not result.ok:
            state.seconds = round(result.seconds, 3)
            try:
                write_group(self.job.out, state)
            except OSError as err:
                return GroupReport(self.job.name, str(Outcome.FAILED), str(err))
        return GroupReport(
            self.job.name, str(result.outcome), result.reason, state.summary, state.seconds,
            self.is_new, folder=str(self.folder),
        )  # fmt: skip

    # ---- the images ----------------------------------------------------------------------

    def _benches(self) -> list[Workbench]:
        """Return the images, sorted; those whose steps are not done take no part."""
        benches = []
        for field in sorted({field for field, _ in self.job.images}):
            folder = FieldFolder(self.job.out, read_field(self.job.out, field))
            stars = stars_at_hand(folder)
            for record in folder.state.images:
                if (field, record.place) in self.job.images and is_done(record, self.job.out):
                    job = ImageJob(
                        self.job.out, record, self.settings,
                        gaia_file=stars.path, gaia_key=stars.key,
                        files=UserFiles(exclude=self.job.exclude),
                    )  # fmt: skip
                    benches.append(Workbench(folder, job))
        return sorted(benches, key=label_of)

    def _key(self, benches: list[Workbench]) -> str:
        job, settings = self.job, self.settings
        images = [
            [
                label_of(b),
                b.job.gaia_key,
                *(stage.key for _, stage in sorted(b.record.stages.items())),
            ]
            for b in benches
        ]
        sections = [
            getattr(settings, name).digest()
            for name in ("objects", "detect", "align", "measure", "finalize")
        ]
        sources = [file.checksum if file else "" for file in (job.sources, job.exclude)]
        sources += [str(job.sources_frame or "")]
        outputs = [settings.output.products, settings.output.formats]
        return combined_digest(REVISION, images, sections, sources, outputs, repr(job.tile))

    def _make_tables(self, benches: list[Workbench]) -> objects.Objects:
        """Return the tables of the group."""
        stars = self._stars(benches)
        frames = group_frames(benches, stars, self.settings.align)
        combination = self._combination(benches, frames)
        images: list[GroupImage] = []
        for bench in benches:

            def search(bench: Workbench = bench) -> None:
                frame = frames[label_of(bench)]
                found = search_image(
                    bench, frame, self.settings, combination, is_alone=len(benches) == 1
                )
                images.append(found)

            attempt(bench.job.label, self.job.out, search)
        if not images:
            raise BycatchError("no image could be searched", hint="the log says why")
        detections = [detections_of(image) for image in images]
        more = None
        if combination is not None and combination.n_images > 1:
            more = detections_in_all(combination, self.settings)
        combination = None  # a quarter of the memory
        object_list = objects.list_of(
            detections, [image.covers for image in images], more, self._users()
        )
        if self.job.tile is not None:
            object_list = object_list.take(
                self.job.tile.owns(object_list.ra_deg, object_list.dec_deg)
            )
        object_list = object_list.take(~self._in_user_regions(images, object_list))
        grid = None
        if len({image.meta.filter for image in images}) > 1:
            step_arcsec = min(image.scale_arcsec for image in images)
            grid = ColourGrid(objects.ellipses_of(object_list, detections), step_arcsec)
        photometry: list[ImagePhotometry] = []
        for k, image in reversed([*enumerate(images)]):

            def measure(k: int = k, image: GroupImage = image) -> None:
                own = object_list.detection[:, k]
                one = measure_objects(
                    image, detections[k], own, object_list, self.settings, stars, grid,
                    is_alone=len(images) == 1,
                )  # fmt: skip
                photometry.append(one)

            attempt(image.bench.job.label, self.job.out, measure)
            image.bench.release()
        if not photometry:
            raise BycatchError("no image could be measured", hint="the log says why")
        photometry.sort(key=lambda one: one.label)
        return objects.tables(object_list, photometry, self.settings, grid, self._earlier())

    def _in_user_regions(self, images: list[GroupImage], object_list: ObjectList) -> Bools:
        """Return which objects lie in the user's regions, in any image."""
        is_inside = np.zeros(len(object_list), dtype=bool)
        for image in images if self.job.exclude else ():
            x, y = image.frame.wcs.all_world2pix(
                object_list.ra_deg, object_list.dec_deg, 0, quiet=True
            )
            is_inside |= in_user_regions(image.bench, x, y)
        return is_inside

    def _combination(
        self, benches: list[Workbench], frames: Mapping[str, GroupFrame]
    ) -> Combination | None:
        """Return the empty sum of the images of the group, if it is wanted and possible."""
        if not self.settings.objects.combined or len(benches) < 2:
            return None
        all_wcs = [frames[label_of(bench)].wcs for bench in benches]
        corners = [
            wcs.calc_footprint(axes=shape_of(bench.record, self.job.out)[::-1])
            for bench, wcs in zip(benches, all_wcs, strict=True)
        ]
        try:
            finest = min(all_wcs, key=pixel_scale_arcsec)
            return Combination(grid_over(finest, *np.concatenate(corners).T))
        except ValueError as err:
            logger.warning(
                "objects %s: the sum of the images is not searched: %s", self.job.name, err
            )
            return None

    def _stars(self, benches: list[Workbench]) -> gaia.ReferenceStars | None:
        """Return the Gaia stars of all fields of the group, each once."""
        paths = sorted({bench.job.gaia_file for bench in benches if bench.job.gaia_file})
        lists = [gaia.read_local(path) for path in paths if path.exists()]
        if len(lists) < 2:
            return lists[0] if lists else None
        table = vstack([stars.table for stars in lists], metadata_conflicts="silent")
        _, first = np.unique(np.asarray(table["source_id"]), return_index=True)
        return gaia.ReferenceStars(table[np.sort(first)], lists[0].origin)

    def _earlier(self) -> Table | None:
        """Return the objects of earlier groups, as far as they can be read."""
        names = ("object_id", "ra", "dec")
        parts = []
        for name in self.job.earlier:
            path = table_path(group_folder(self.job.out, name), name, "objects")
            try:
                if path.exists():
                    table = read_table(path)
                    parts.append(Table({n: np.asarray(table[n]) for n in names}))
            except (BycatchError, OSError, KeyError) as err:
                logger.warning("objects %s: identifiers are new: %s", self.job.name, err)
        return vstack(parts) if parts else None

    def _users(self) -> Floats | None:
        """Return the user's positions on the sky, degrees."""
        job = self.job
        if job.sources is None:
            return None
        from bycatch.pipeline.lists import read_positions

        positions = read_positions(job.sources.path)
        first, second = positions.first, positions.second
        if not positions.on_sky:
            if job.sources_frame is None:
                return None
            first, second = read_frame(job.sources_frame).wcs.all_pix2world(first, second, 0)
        return np.column_stack([first, second])

    # ---- the products --------------------------------------------------------------------

    def _write(self, group_tables: objects.Objects) -> dict[str, Any]:
        """Write the tables; return their names and proofs."""
        output, batch = self.settings.output, Batch(self.folder)
        forms = ["parquet"] if output.is_survey else [*dict.fromkeys(["ecsv", *output.formats])]
        if find_spec("pyarrow") is not None and "parquet" not in forms:
            forms.append("parquet")  # for machines: a tenth of the time to read
        meta = {
            "CREATOR": f"bycatch {__version__}",
            "DATE": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "GROUP": self.job.name,
            "FILTERS": list(group_tables.filters),
            "IMAGES": group_tables.images["image"].tolist(),
            "MERGED": {str(k): v for k, v in group_tables.identity.merged.items()},
            "SPLIT": {str(k): v for k, v in group_tables.identity.split.items()},
            "SETTINGS": {
                name: plain_settings(self.settings, name)
                for name in ("objects", "detect", "measure", "finalize")
            },
        }
        lines = {}
        if "ecsv" in forms:
            rows = ecsv.rows(group_tables.objects)
            lines = {"objects": rows.lines(), "objects_clean": rows.lines(group_tables.is_clean)}
        try:
            for kind, table in group_tables.products().items():
                for form in forms:
                    path = self.folder / f"{self.job.name}_{kind}{SUFFIXES[form]}"
                    own = lines.get(kind) if form == "ecsv" else None
                    write_table(table, batch.partial(path), form, own, meta)
            batch.commit()
        except BaseException:
            batch.discard()
            raise
        for name in set(self.state.outputs) - {path.name for path in batch.paths}:
            (self.folder / name).unlink(missing_ok=True)
        return {path.name: proof_of(path) for path in batch.paths}


def is_done(record: ImageRecord, out: Path) -> bool:
    """Tell whether an image has what its objects need: frame, photometry, calibration."""
    return {"align", "measure", "finalize"} <= set(record.stages) and takes_part(record, out)


def lost_group(job: GroupJob, reason: str) -> GroupReport:
    """Return the report of a group whose worker died."""
    log_loss(job.title, Outcome.LOST, reason)
    return GroupReport(job.name, str(Outcome.LOST), reason)
