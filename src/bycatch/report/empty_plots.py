"""The empty plots as the page holds them, kept on disk: making them takes longer than the rest.

They are the same for all images and all runs; what they depend on is in the
name of the file.  They are code that the page runs, so they lie where Python keeps
this module's own code: who can write there can change the program itself.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path

from bycatch.products import combined_digest
from bycatch.system.disk import atomic, checksum
from bycatch.version import __version__

HERE = Path(__file__).parent
SOURCES = (
    *(HERE / name for name in ("plots.py", "group_plots.py", "image.py")),
    HERE.parent / "figures/style.py",
)
"""What the plots are made of."""


@dataclass(frozen=True)
class EmptyPlots:
    """What the page needs to show the plots.

    Attributes
    ----------
    library : elements of the page's head
    script : code that makes the plots of an image
    places : elements in which they come to lie, by name
    group_script, group_places : the same for the plots of a group of images
    """

    library: str
    script: str
    places: dict[str, str]
    group_script: str
    group_places: dict[str, str]


def empty_plots() -> EmptyPlots:
    """Return the empty plots, from disk if they are there."""
    key = combined_digest(__version__, version("bokeh"), *map(checksum, SOURCES))
    path = Path(cache_from_source(__file__)).with_name(f"plots-{key}.json")
    with contextlib.suppress(OSError, ValueError, TypeError):
        return EmptyPlots(**json.loads(path.read_text(encoding="utf-8")))
    plots = _make_plots()
    # A place that can't be written to costs time only.
    with contextlib.suppress(OSError), atomic(path) as partial:
        partial.write_text(json.dumps(asdict(plots)), encoding="utf-8")
    return plots


def _make_plots() -> EmptyPlots:
    from bokeh.embed import components
    from bokeh.resources import Resources

    from bycatch.report.group_plots import group_plots
    from bycatch.report.plots import plots

    script, places = components(plots(), wrap_script=False)
    group_script, group_places = components(group_plots(), wrap_script=False)
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    return EmptyPlots(library, script, dict(places), group_script, dict(group_places))
