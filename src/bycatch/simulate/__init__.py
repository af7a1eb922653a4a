"""Synthetic visits with truth, drizzled as the archive's products are."""

from __future__ import annotations

from bycatch.simulate.files import Truth, VisitFiles, read_truth, write_group, write_visit
from bycatch.simulate.group import SimulatedGroup, simulate_group
from bycatch.simulate.place import earlier_files
from bycatch.simulate.visit import SimulatedImage, SimulatedVisit, simulate_scene, simulate_visit

__all__ = [
    "SimulatedGroup",
    "SimulatedImage",
    "SimulatedVisit",
    "Truth",
    "VisitFiles",
    "earlier_files",
    "read_truth",
    "simulate_group",
    "simulate_scene",
    "simulate_visit",
    "write_group",
    "write_visit",
]
