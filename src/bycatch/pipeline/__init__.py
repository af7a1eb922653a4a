"""From a folder of files to the products of every field.

The only place that reads and writes products, decides what is already done,
and catches what goes wrong with an image.
"""

from __future__ import annotations

from bycatch.pipeline.jobs import Inputs
from bycatch.pipeline.outcomes import FieldResult, ImageReport, Outcome
from bycatch.pipeline.plan import PlannedImage, dry_run
from bycatch.pipeline.report import RunReport
from bycatch.pipeline.runner import run, run_stages, sort_only
from bycatch.pipeline.summary import summarize
from bycatch.products import STAGES, saved_settings, saved_values

__all__ = [
    "STAGES",
    "FieldResult",
    "ImageReport",
    "Inputs",
    "Outcome",
    "PlannedImage",
    "RunReport",
    "dry_run",
    "run",
    "run_stages",
    "saved_settings",
    "saved_values",
    "sort_only",
    "summarize",
]
