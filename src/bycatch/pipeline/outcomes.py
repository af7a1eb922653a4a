"""What became of images and fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bycatch.display import notebook
from bycatch.products import FIELD_FILE, FieldState, ImageOutcome, ImageRecord, read_field
from bycatch.products.field_state import FIELD
from bycatch.products.group_state import table_path

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.timeseries import TimeSeries


class Outcome(StrEnum):
    """What became of an image."""

    DONE = "done"
    DROPPED = "dropped"
    """The data can't be used: the reason says why."""
    FAILED = "failed"
    """Not the data's fault: disk, memory, or a bug (then with its traceback)."""
    LOST = "lost"
    """Twice the process that worked on its field died: memory, a crash, a machine that is gone."""


@dataclass(frozen=True)
class StepResult:
    """What became of an image in some of its steps."""

    outcome: Outcome = Outcome.DONE
    reason: str = ""
    traceback: str = ""
    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True if the next steps can follow."""
        return self.outcome is Outcome.DONE

    def then(self, later: StepResult) -> StepResult:
        """Return both parts as one."""
        return replace(
            later,
            done=(*self.done, *later.done),
            kept=(*self.kept, *later.kept),
            seconds=self.seconds + later.seconds,
        )

    def entry(self) -> ImageOutcome:
        """Return what the record of the image keeps of it."""
        return ImageOutcome(
            str(self.outcome), self.reason, self.traceback, self.done, self.kept,
            round(self.seconds, 3),
        )  # fmt: skip


@dataclass(frozen=True)
class ImageReport:
    """What was done to an image; its numbers are read from the field's state when asked for."""

    root: str
    field: str
    filter: str
    source: str
    outcome: str
    """One of `Outcome`; '' for an image that no run took note of."""
    reason: str = ""
    traceback: str = ""
    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Steps whose products were up to date."""
    seconds: float = 0.0
    folder: str = ""

    @classmethod
    def of(cls, record: ImageRecord, result: StepResult | ImageOutcome, out: Path) -> ImageReport:
        """Return the report of an image after a run, or of what its record keeps of the last."""
        return cls(
            record.root, record.field, record.filter, record.source, result.outcome, result.reason,
            result.traceback, result.done, result.kept, result.seconds,
            str(record.paths(out).folder),
        )  # fmt: skip

    @cached_property
    def _numbers(self) -> dict[str, Any]:
        folder = Path(self.folder)
        if not self.folder or not (folder.parent / FIELD_FILE).exists():
            return numbers_of(None)
        images = _state_of(folder.parent, (folder.parent / FIELD_FILE).stat().st_mtime_ns).images
        place = f"{self.filter}/{self.root}"
        return numbers_of(next((image for image in images if image.place == place), None))

    @property
    def summary(self) -> dict[str, Any]:
        """Numbers of the steps, by step."""
        return dict(self._numbers["summary"])

    @property
    def cost(self) -> dict[str, dict[str, float | None]]:
        """Seconds and peak memory (MB) of the steps, by step, when they were done last."""
        return dict(self._numbers["cost"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, or looked wrong."""
        return tuple(self._numbers["notes"])

    @property
    def catalog_path(self) -> Path:
        """The final catalog."""
        for suffix in (".ecsv", ".parquet"):
            path = Path(self.folder) / f"{self.root}_cat{suffix}"
            if path.exists():
                break
        return path

    def catalog(self) -> Table:
        """Read the final catalog."""
        from bycatch.catalogs.tables import read_table

        return read_table(self.catalog_path)

    def row(self) -> dict[str, str]:
        """Return the image's row of the closing table, in words."""
        numbers = {k: v for part in self.summary.values() for k, v in part.items()}
        numbers.setdefault("n_catalog", numbers.get("n_measured"))
        counts = ("n_exposures", "n_catalog", "n_clean")
        words = ["-" if numbers.get(name) is None else str(numbers[name]) for name in counts]
        frame = numbers.get("astrom_err_mas")
        return {
            "place": f"{self.field}/{self.filter}",
            "image": self.root,
            "outcome": str(self.outcome),
            **dict(zip(("n_exp", "sources", "clean"), words, strict=True)),
            "grade": str(numbers.get("grade", "-")),
            "Gaia stars": str(numbers.get("n_field_matches", "-")),
            "frame error, mas": "-" if frame is None or isnan(frame) else f"{frame:.1f}",
            "time, s": f"{self.seconds:.{0 if self.seconds >= 100 else 1}f}",
        }

    def to_dict(self, record: ImageRecord | None = None) -> dict[str, Any]:
        """Return everything as plain values, as in ``summary.json``.

        Parameters
        ----------
        record : of the image, if it is loaded; else it is read
        """
        return {
            "root": self.root,
            "field": self.field,
            "filter": self.filter,
            "source": self.source,
            "outcome": str(self.outcome),
            "reason": self.reason,
            "traceback": self.traceback,
            "done": self.done,
            "kept": self.kept,
            "seconds": self.seconds,
            **(numbers_of(record) if record else self._numbers),
            "folder": self.folder,
        }

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        title = f"{self.field}/{self.filter} {self.root}: {self.outcome}"
        notes = [*([self.reason] if self.reason else []), *self.notes]
        return notebook.card(title, {}, groups=self.summary, notes=notes)


@lru_cache(maxsize=4)
def _state_of(folder: Path, _changed_ns: int) -> FieldState:
    return read_field(folder.parent, folder.name)


def numbers_of(record: ImageRecord | None) -> dict[str, Any]:
    """Return summary, cost and notes of an image, as its report has them."""
    stages = record.stages if record else {}
    summary = {
        name: {k: v for k, v in stage.summary.items() if k != FIELD}
        for name, stage in stages.items()
    }
    cost = {
        name: {"seconds": stage.seconds, "peak_mb": stage.peak_mb} for name, stage in stages.items()
    }
    return {"summary": summary, "cost": cost, "notes": record.all_notes if record else []}


@dataclass(frozen=True)
class FieldResult:
    """What became of a field.

    Attributes
    ----------
    name : of the field
    images : of this run
    references : why there are no reference stars; '' where there are
    alignment : how its alignment went
    unplaced : files that could not be placed, and why
    holder : who else has the field, if it was passed over
    """

    name: str
    images: tuple[ImageReport, ...] = ()
    references: str = ""
    alignment: Mapping[str, Any] | None = None
    unplaced: tuple[tuple[str, str], ...] = ()
    holder: str = ""


@dataclass(frozen=True)
class GroupReport:
    """What became of a group.

    Attributes
    ----------
    name : of the group
    outcome, reason : as of an image
    summary : its numbers
    seconds : the time it took
    is_new : its tables were made now
    holder : who else has the group, if it was passed over
    folder : of its tables
    """

    name: str
    outcome: str
    reason: str = ""
    summary: dict[str, Any] | None = None
    seconds: float = 0.0
    is_new: bool = False
    holder: str = ""
    folder: str = ""

    def table(self, kind: str = "objects") -> Table:
        """Read a table of the group: objects, objects_clean, epochs or images."""
        from bycatch.catalogs.tables import read_table

        return read_table(table_path(Path(self.folder), self.name, kind))

    def objects(self, *, clean: bool = False) -> Table:
        """Read the objects; with ``clean`` those that are real more likely than not."""
        return self.table("objects_clean" if clean else "objects")

    def epochs(self) -> Table:
        """Read what each image measured of each object."""
        return self.table("epochs")

    def light_curve(self, object_id: int, radius_px: float | None = None) -> TimeSeries:
        """Return the fluxes of an object in time: over its exposures where they are at hand.

        Images whose exposures are not at hand are an epoch each.

        Parameters
        ----------
        object_id : of the table of objects
        radius_px : of the aperture, in which only images are measured; by default the light is
            that of its colours: of PSF fits (column ``psf_flux``), or in their aperture

        Raises
        ------
        KeyError
            There is no such object, or nothing was measured in this radius.
        """
        import numpy as np
        from astropy.time import Time
        from astropy.timeseries import TimeSeries

        from bycatch.catalogs.object_columns import looks
        from bycatch.catalogs.tables import floats

        objects, epochs = self.objects(), self.epochs()
        own = objects[np.asarray(objects["object_id"]) == object_id]
        if not len(own):
            raise KeyError(f"no object {object_id} in {self.name}")
        light = {name: name for name in ("flux", "flux_err", "mag", "mag_err", "maglim")}
        rows = epochs[np.asarray(epochs["object_id"]) == object_id]
        if radius_px is None:
            rows = rows[looks(rows["image"], rows["exposure"])]
        else:
            light = _in_aperture(object_id, radius_px, epochs.colnames)
            rows = rows[np.asarray(rows["exposure"]) == ""]
        has_time = np.isfinite(np.ma.filled(np.ma.asarray(rows["mjd"], dtype=float), np.nan))
        rows = rows[has_time]
        rows.sort("mjd")
        first, last = ("filter", "image", "exposure"), ("detected", "zeropoint_shift", "flags")
        names = {name: name for name in first} | light | {name: name for name in last}
        time = Time(np.asarray(rows["mjd"], dtype=float), format="mjd", scale="utc")
        series = TimeSeries(time=time, data={new: rows[old] for new, old in names.items()})
        series.meta = {
            "object_id": int(object_id),
            "radius_px": float(floats(own, "radius_px")[0] if radius_px is None else radius_px),
            "psf_flux": radius_px is None and bool(own["psf_flux"][0]),
            "group": self.name,
        }
        return series

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        """Return a card with the numbers and the brightest real objects."""
        numbers = self.summary or {}
        facts = {name: value for name, value in numbers.items() if not isinstance(value, list)}
        facts |= {"filters": ", ".join(numbers.get("filters", ())), "tables in": self.folder}
        notes = [self.reason] if self.reason else []
        title = f"Objects {self.name}: {self.outcome}"
        return notebook.card(title, facts, table=self._brightest(), notes=notes)

    def _brightest(self) -> str:
        """Return the brightest real objects as HTML; nothing where there is no table."""
        import numpy as np

        from bycatch.catalogs.tables import floats

        filters = (self.summary or {}).get("filters", ())
        if not self.folder or not filters or self.outcome != Outcome.DONE:
            return ""
        table = self.objects(clean=True)
        order = np.argsort(floats(table, f"mag_{filters[-1]}"), kind="stable")
        columns = ["object_id", "ra", "dec", *(f"mag_{f}" for f in filters), "p_real", "p_star"]
        return notebook.first_rows(table[order], columns)


def _in_aperture(object_id: int, radius_px: float, names: Collection[str]) -> dict[str, str]:
    """Return which columns of the epochs have the light in an aperture."""
    r = f"{radius_px:g}"
    if f"flux_{r}_apcor" not in names:
        radii = ", ".join(n[5:-6] for n in names if re.fullmatch(r"flux_[\d.]+_apcor", n))
        raise KeyError(f"object {object_id}: no aperture of {r} px; there are {radii}")
    return {
        "flux": f"flux_{r}_apcor", "flux_err": f"err_{r}_apcor", "mag": f"mag_ab_{r}",
        "mag_err": f"mag_ab_err_{r}", "maglim": f"maglim_{r}",
    }  # fmt: skip
