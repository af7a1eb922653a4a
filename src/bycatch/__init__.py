"""Photometry catalogs from HST/ACS parallel fields.

::

    import bycatch

    report = bycatch.run("mastDownload/", "out")
    catalog = report.images[0].catalog()

Everything heavy is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bycatch.version import __version__

if TYPE_CHECKING:
    from bycatch import simulate
    from bycatch.archive import fetch
    from bycatch.catalogs.flags import decode
    from bycatch.catalogs.tables import read_table
    from bycatch.images.drc import DrcImage, read_drc
    from bycatch.pipeline import Inputs, RunReport, run, run_stages
    from bycatch.settings import Settings
    from bycatch.sky import gaia
    from bycatch.stages import align, crmask, detect, finalize, measure, sort
    from bycatch.survey.build import build_survey
    from bycatch.survey.query import Survey, open_survey

_HOMES = {
    "DrcImage": "bycatch.images.drc",
    "Inputs": "bycatch.pipeline",
    "RunReport": "bycatch.pipeline",
    "Settings": "bycatch.settings",
    "Survey": "bycatch.survey.query",
    "align": "bycatch.stages.align",
    "build_survey": "bycatch.survey.build",
    "crmask": "bycatch.stages.crmask",
    "decode": "bycatch.catalogs.flags",
    "detect": "bycatch.stages.detect",
    "fetch": "bycatch.archive",
    "finalize": "bycatch.stages.finalize",
    "gaia": "bycatch.sky.gaia",
    "measure": "bycatch.stages.measure",
    "open_survey": "bycatch.survey.query",
    "read_drc": "bycatch.images.drc",
    "read_table": "bycatch.catalogs.tables",
    "run": "bycatch.pipeline",
    "run_stages": "bycatch.pipeline",
    "simulate": "bycatch.simulate",
    "sort": "bycatch.stages.sort",
}

__all__ = [
    "DrcImage",
    "Inputs",
    "RunReport",
    "Settings",
    "Survey",
    "__version__",
    "align",
    "build_survey",
    "crmask",
    "decode",
    "detect",
    "fetch",
    "finalize",
    "gaia",
    "measure",
    "open_survey",
    "read_drc",
    "read_table",
    "run",
    "run_stages",
    "simulate",
    "sort",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'bycatch' has no attribute '{name}'"
        raise AttributeError(msg)
    home = importlib.import_module(_HOMES[name])
    return home if home.__name__.endswith(f".{name}") else getattr(home, name)


def __dir__() -> list[str]:
    return __all__
