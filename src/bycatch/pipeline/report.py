"""What a run did: fields and their images, and the files that were not used."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bycatch.display import notebook
from bycatch.pipeline.jobs import Inputs
from bycatch.pipeline.outcomes import FieldResult, GroupReport, ImageReport, Outcome
from bycatch.products import STAGES
from bycatch.stages.sort import SkippedFile
from bycatch.version import __version__


@dataclass(frozen=True)
class StepCost:
    """What a step took in a run: seconds over its images, and the most memory of any, MB."""

    step: str
    n_images: int
    seconds: float
    peak_mb: float | None


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    out : output folder
    results : by field, in the order of their names
    skipped : files that were not used
    seconds : time of the run
    inputs : the user's files other than images
    groups : what became of the tables of objects, by group
    """

    out: Path
    results: tuple[FieldResult, ...]
    skipped: tuple[SkippedFile, ...] = ()
    seconds: float = 0.0
    inputs: Inputs = field(default_factory=Inputs)
    groups: tuple[GroupReport, ...] = ()

    @property
    def images(self) -> tuple[ImageReport, ...]:
        """The images, field by field."""
        return tuple(image for field in self.results for image in field.images)

    @property
    def references(self) -> dict[str, str]:
        """Per field: why there are no reference stars; '' where there are."""
        return {field.name: field.references for field in self.results}

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        """Per field: how its alignment went."""
        return {field.name: dict(field.alignment) for field in self.results if field.alignment}

    @property
    def all_done(self) -> bool:
        """True if there were images, and all of them were done."""
        return (
            any(field.images for field in self.results)
            and all(image.outcome == Outcome.DONE for image in self.images)
            and not any(s.bad for s in self.skipped)
            and all(group.outcome == Outcome.DONE for group in self.groups)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as in ``summary.json``."""
        return {
            "bycatch": __version__,
            "out": str(self.out),
            "inputs": {k: str(v) if v else "" for k, v in asdict(self.inputs).items()},
            "seconds": round(self.seconds, 2),
            "images": [image.to_dict() for image in self.images],
            "skipped": [
                {"path": str(s.path), "reason": s.reason, "dropped": s.bad} for s in self.skipped
            ],
            "references": self.references,
            "fields": self.fields,
        }

    def rows(self) -> list[dict[str, str]]:
        """Return the closing table: one row per image, in words."""
        return [image.row() for image in self.images]

    def profile(self) -> list[StepCost]:
        """Return what each step that was done in this run took, over all images."""
        costs_of_steps = []
        for step in STAGES:
            costs = [image.cost[step] for image in self.images if step in image.done]
            if costs:
                seconds = sum(cost["seconds"] or 0.0 for cost in costs)
                peaks = [peak for cost in costs if (peak := cost["peak_mb"]) is not None]
                costs_of_steps.append(StepCost(step, len(costs), seconds, max(peaks, default=None)))
        return costs_of_steps

    @property
    def n_images(self) -> int:
        """Images that were to be done, those without a place among them."""
        return len(self.images) + sum(file.bad for file in self.skipped)

    def losses(self) -> list[tuple[str, str, str]]:
        """Return what was dropped, failed or lost: name, outcome, reason."""
        images = [(i.root, str(i.outcome), i.reason) for i in self.images if i.reason]
        groups = [(f"objects {g.name}", g.outcome, g.reason) for g in self.groups if g.reason]
        files = [
            (s.path.name, "dropped", s.reason.removeprefix(f"{s.path}: "))
            for s in self.skipped
            if s.bad
        ]
        return images + groups + files

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        n_done = sum(image.outcome == Outcome.DONE for image in self.images)
        facts = {
            "images done": f"{n_done} of {self.n_images}",
            "time": f"{self.seconds:.1f} s",
            "products in": str(self.out),
        }
        notes = [f"{outcome}: {name}: {why}" for name, outcome, why in self.losses()]
        notes += [f"{name}: {why}" for name, why in self.references.items() if why]
        return notebook.card("Run", facts, table=notebook.rows_table(self.rows()), notes=notes)
