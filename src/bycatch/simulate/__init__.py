"""Synthetic visits with truth, drizzled as the archive's products are."""

from __future__ import annotations

from bycatch.simulate.files import Truth, VisitFiles, read_truth, write_visit
from bycatch.simulate.visit import (
    SimulatedImage,
    SimulatedVisit,
    simulate_scene,
    simulate_visit,
)

__all__ = [
    "SimulatedImage",
    "SimulatedVisit",
    "Truth",
    "VisitFiles",
    "read_truth",
    "simulate_scene",
    "simulate_visit",
    "write_visit",
]
