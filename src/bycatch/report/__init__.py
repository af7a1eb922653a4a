"""The report of a run: one page to look at, made from the products alone; figures as files.

The page reads what the steps have written, and computes nothing that a step
should have computed.
"""

from __future__ import annotations

from bycatch.report.isochrones import Isochrone, read_isochrone
from bycatch.report.objects import filters_of_groups
from bycatch.report.page import PAGE, is_current, write_report
from bycatch.report.static_figures import write_figures

__all__ = [
    "PAGE",
    "Isochrone",
    "filters_of_groups",
    "is_current",
    "read_isochrone",
    "write_figures",
    "write_report",
]
