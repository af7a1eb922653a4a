"""Work on an image that may fail: a failure stays with this image, and is logged."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bycatch.errors import BycatchError, UnusableData, is_expected
from bycatch.errors import reason as reason_of
from bycatch.pipeline.outcomes import Outcome, StepResult

logger = logging.getLogger("bycatch")


def begin(name: str, stage: str) -> None:
    """Log that a step begins, on an image or on a field."""
    logger.debug("%s: %s begins", name, stage, extra={"at_work": (name, stage)})


def step_over(label: str, stage: str, seconds: float | None = None) -> dict[str, Any]:
    """Return what the record says that logs a step's end; no seconds: it was up to date."""
    return {"step_over": True, "at_work": (label, stage), "seconds": seconds}


def attempt(label: str, out: Path, work: Callable[[], None]) -> StepResult:
    """Do some work on an image; a failure stays with this image.

    The only place that catches everything.

    Parameters
    ----------
    label : of the image
    out : output folder, for the hint
    work : the work
    """
    start_s = time.perf_counter()
    outcome, reason, trace = Outcome.DONE, "", ""
    try:
        work()
    except UnusableData as err:
        outcome, reason = Outcome.DROPPED, str(err)
    except BycatchError as err:
        outcome, reason = Outcome.FAILED, str(err)
    except OSError as err:
        outcome = Outcome.FAILED
        reason = f"{err} - check disk space and permissions of {out}"
    except Exception as err:  # it must not stop the other images  # noqa: BLE001
        outcome, reason = Outcome.FAILED, reason_of(err)
        trace = "" if is_expected(err) else traceback.format_exc()
    if outcome is not Outcome.DONE:
        log_loss(label, outcome, reason, trace)
    return StepResult(outcome, reason, trace, seconds=time.perf_counter() - start_s)


def log_loss(label: str, outcome: Outcome, reason: str, trace: str = "") -> None:
    """Log that nothing more will be done on an image."""
    extra = {"lost": True, "at_work": (label, "")}
    logger.error("%s: %s: %s", label, outcome, reason, extra=extra)
    for line in trace.splitlines():
        logger.debug("%s", line)
