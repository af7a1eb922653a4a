"""The plots of the groups: made once, empty; the page fills them with the group that is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bycatch.figures.style import INK
from bycatch.report.plots import PLOT_HEIGHT, plot_figure, put_legend_below

EXTENDED_COLOUR, BETWEEN_COLOUR, POINT_COLOUR = "#E69F00", "#9A9A9A", "#0072B2"
"""Of p_star 0, 0.5 and 1 on white (Okabe & Ito)."""
ON_DARK = ("#FFC04D", "#DDDDDD", "#6CC5F5")
"""The same on the picture, whose sky is black."""
UNKNOWN_COLOUR = "#777777"
N_COLOURS = 64
SIDE_PX = 560
CHOSEN = "#F0E442"
SELECTION = "pan,wheel_zoom,lasso_select,box_select,reset"
COLUMNS = (
    "row", "id", "x", "y", "p_star", "p_real", "marker", "text", "line",
    "cmd_x", "cmd_y", "cmd_lx", "cmd_tip", "cmd_turn",
    "ccd_x", "ccd_y", "ccd_lx", "ccd_ly", "ccd_tip_x", "ccd_tip_y", "ccd_turn_x", "ccd_turn_y",
)  # fmt: skip
"""Of an object: where it lies in each plot, NaN where it does not; tips are those of arrows."""


def group_plots() -> dict[str, Any]:
    """Return the empty plots by the name of their place on the page."""
    from bokeh.models import ColumnDataSource, CustomJS

    objects = ColumnDataSource({name: [] for name in COLUMNS}, name="objects")
    code = "if (window.bycatchGroups) window.bycatchGroups.picked(cb_obj.indices)"
    objects.selected.js_on_change("indices", CustomJS(code=code))
    return {
        "group_picture": _picture(objects),
        "cmd": _magnitudes(objects),
        "ccd": _colours(objects),
        "light_curve": _light_curve(),
    }


def palette(ends: Sequence[str] = (EXTENDED_COLOUR, BETWEEN_COLOUR, POINT_COLOUR)) -> list[str]:
    """Return colours from p_star 0 to 1."""
    low, middle, high = ([int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in ends)
    colours = []
    for k in range(N_COLOURS):
        share = 2.0 * k / (N_COLOURS - 1)
        first, last, part = (low, middle, share) if share < 1 else (middle, high, share - 1)
        rgb = (round(a + (b - a) * part) for a, b in zip(first, last, strict=True))
        colours.append("#" + "".join(f"{v:02x}" for v in rgb))
    return colours


def _mapper(ends: Sequence[str]) -> Any:
    from bokeh.transform import linear_cmap

    return linear_cmap("p_star", palette(ends), 0.0, 1.0, nan_color=UNKNOWN_COLOUR)


def _highlight_selection(points: Any, size: int, *, dark: bool = False) -> Any:
    """Let what is chosen stand out, and the rest step back."""
    selection, rest = points.glyph.clone(), points.glyph.clone()
    selection.update(size=size, line_color=CHOSEN if dark else "#000000", line_width=2.2)
    if not dark:
        selection.update(fill_color=CHOSEN, fill_alpha=1.0)
    rest.update(line_alpha=0.25, fill_alpha=0.0 if dark else 0.12)
    points.selection_glyph, points.nonselection_glyph = selection, rest
    return points


def _tools(plot: Any, points: list[Any]) -> None:
    from bokeh.models import HoverTool, TapTool

    tooltips = [("object", "@id"), ("p_star", "@p_star{0.00}"), ("", "@text")]
    plot.add_tools(
        HoverTool(renderers=points, tooltips=tooltips, mode="mouse", limit=2),
        TapTool(renderers=points, mode="replace"),
    )


def _picture(objects: Any) -> Any:
    from bokeh.models import BoxZoomTool, ColumnDataSource, ImageURL, Range1d, WheelZoomTool

    plot = plot_figure(
        "group_picture", "east of the centre, arcsec", "north of the centre, arcsec", SELECTION,
        sizing_mode="fixed", width=SIDE_PX + 80, height=SIDE_PX + 90,
        x_range=Range1d(1, -1), y_range=Range1d(-1, 1),
    )  # fmt: skip
    plot.frame_width = plot.frame_height = SIDE_PX
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible = False
    plot.background_fill_color = "#282828"
    # At once: the caption says so.
    plot.toolbar.active_scroll = next(t for t in plot.tools if isinstance(t, WheelZoomTool))
    picture = ColumnDataSource({"url": [], "x": [], "y": [], "w": [], "h": []}, name="group_image")
    below = ImageURL(url="url", x="x", y="y", w="w", h="h", anchor="center")
    plot.add_glyph(picture, below, level="image").nonselection_glyph = None
    points = plot.scatter(
        "x", "y", source=objects, size=14, marker="marker", fill_alpha=0.0, line_width=1.3,
        line_color=_mapper(ON_DARK), name="group_objects",
    )  # fmt: skip
    _highlight_selection(points, 20, dark=True)
    arrows = ColumnDataSource({name: [] for name in ("x", "y", "x1", "y1", "turn")}, name="motions")
    style = {"source": arrows, "line_color": "#FF5CA8"}
    for renderer in (
        plot.segment("x", "y", "x1", "y1", line_width=2, name="motion", **style),
        plot.scatter(
            "x1", "y1", marker="triangle", angle="turn", size=7, fill_color="#FF5CA8", **style
        ),
    ):
        renderer.nonselection_glyph = None
    _tools(plot, [points])
    return plot


def _diagram(name: str, x: str, y: str) -> Any:
    from bokeh.models import Range1d

    ranges = {"x_range": Range1d(-1, 2), "y_range": Range1d(28, 18)}
    return plot_figure(name, x, y, SELECTION, height=PLOT_HEIGHT + 110, **ranges)


def _scatter_objects(plot: Any, objects: Any) -> Any:
    points = plot.scatter(
        f"{plot.name}_x", f"{plot.name}_y", source=objects, size=6, marker="marker",
        line_color=_mapper((EXTENDED_COLOUR, BETWEEN_COLOUR, POINT_COLOUR)),
        fill_color=_mapper((EXTENDED_COLOUR, BETWEEN_COLOUR, POINT_COLOUR)), fill_alpha=0.45,
        name=f"{plot.name}_points",
    )  # fmt: skip
    return _highlight_selection(points, 11)


def _arrow(plot: Any, objects: Any, at: tuple[str, str], tip: tuple[str, str], turn: str) -> Any:
    """Draw limits as arrows that begin at a point."""
    line = plot.segment(*at, *tip, source=objects, line_color="line", line_width=1.2)
    head = plot.scatter(
        *tip, source=objects, marker="triangle", angle=turn, size=6, line_color="line",
        fill_color="line", name=f"{plot.name}_limits",
    )  # fmt: skip
    line.selection_glyph, line.nonselection_glyph = line.glyph.clone(), line.glyph.clone()
    line.selection_glyph.update(line_color="#000000", line_width=2.5)
    line.nonselection_glyph.update(line_alpha=0.2)
    _highlight_selection(head, 9)
    return head


def _error_bars(plot: Any) -> None:
    """Draw the median errors by magnitude, behind the points."""
    from bokeh.models import ColumnDataSource

    names = ("x", "y", "left", "right", "low", "high")
    bars = ColumnDataSource({name: [] for name in names}, name=f"{plot.name}_bars")
    style = {"source": bars, "line_color": INK, "line_width": 1.3}
    for renderer in (
        plot.segment("left", "y", "right", "y", **style),
        plot.segment("x", "low", "x", "high", **style),
    ):
        renderer.nonselection_glyph = None


def _isochrones(plot: Any) -> None:
    """Draw the user's isochrones: on the points, which would hide them."""
    from bokeh.models import ColumnDataSource

    curves = ColumnDataSource({"xs": [], "ys": [], "label": []}, name=f"{plot.name}_isochrones")
    for colour, width in (("white", 4.5), ("#D55E00", 2)):
        plot.multi_line(
            "xs", "ys", source=curves, line_color=colour, line_width=width, line_alpha=0.9
        ).nonselection_glyph = None


def _magnitudes(objects: Any) -> Any:
    plot = _diagram("cmd", "colour, AB mag", "AB magnitude")
    _error_bars(plot)
    points = _scatter_objects(plot, objects)
    limits = _arrow(plot, objects, ("cmd_lx", "cmd_y"), ("cmd_tip", "cmd_y"), "cmd_turn")
    _isochrones(plot)
    _tools(plot, [points, limits])
    return plot


def _colours(objects: Any) -> Any:
    plot = _diagram("ccd", "colour, AB mag", "colour, AB mag")
    _error_bars(plot)
    points = _scatter_objects(plot, objects)
    across = ("ccd_lx", "ccd_ly"), ("ccd_tip_x", "ccd_ly"), "ccd_turn_x"
    along = ("ccd_lx", "ccd_ly"), ("ccd_lx", "ccd_tip_y"), "ccd_turn_y"
    limits = [_arrow(plot, objects, *way) for way in (across, along)]
    _isochrones(plot)
    _tools(plot, [points, *limits])
    return plot


def _light_curve() -> Any:
    from bokeh.models import ColumnDataSource, HoverTool, Range1d

    plot = plot_figure(
        "light_curve", "MJD", "AB magnitude", "pan,wheel_zoom,box_zoom,reset",
        height=PLOT_HEIGHT, x_range=Range1d(0, 1), y_range=Range1d(28, 18),
    )  # fmt: skip
    names = ("mjd", "mag", "low", "high", "colour", "marker", "filter", "said")
    source = ColumnDataSource({name: [] for name in names}, name="epochs")
    plot.segment("mjd", "low", "mjd", "high", source=source, line_color="colour", line_width=1.5)
    points = plot.scatter(
        "mjd", "mag", source=source, marker="marker", size=9, line_color="colour",
        fill_color="colour", fill_alpha=0.6, legend_field="filter",
    )  # fmt: skip
    tooltips = [("filter", "@filter"), ("MJD", "@mjd{0.0000}"), ("", "@said")]
    plot.add_tools(HoverTool(renderers=[points], tooltips=tooltips))
    put_legend_below(plot, hides=False)
    plot.min_border_bottom = 72  # the legend has no entries, and so no height, until one is chosen
    return plot
