"""The plots of the page: made once, empty; the page fills them with the image that is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from bycatch.figures.style import COLOURS, FAINT, INK
from bycatch.report.image import COSMIC, DOUBT, EXTENDED, KINDS, OPEN, POINT, SHOWN

STYLES: dict[str, tuple[str, str]] = {
    POINT: (COLOURS[0], "circle"),
    EXTENDED: (COLOURS[2], "square"),
    COSMIC: (COLOURS[1], "x"),
    DOUBT: (COLOURS[3], "triangle"),
    OPEN: ("#555555", "diamond"),
}
"""Colour and shape of each kind of source."""
PICTURE_PX = 680
PLOT_HEIGHT = 340
RESIDUALS_PX = 260
LEAST_COUNT = 0.5
"""Where the bars of the histogram begin: its axis is logarithmic."""


def plots() -> dict[str, Any]:
    """Return the empty plots by the name of their place on the page."""
    from bokeh.models import ColumnDataSource

    names = [
        "row", "id", "x", "y", "mag", "err", "shape", "snr", "kind", "text",
    ]  # fmt: skip
    sources = ColumnDataSource({name: [] for name in names}, name="sources")
    _tell(sources)
    return {
        "picture": _picture(sources),
        "counts": _counts(),
        "errors": _errors(sources),
        "shapes": _shapes(sources),
        "residuals": _residuals(),
    }


def _tell(sources: Any) -> None:
    """Tell the page which sources were clicked."""
    from bokeh.models import CustomJS

    code = "if (window.bycatchReport) window.bycatchReport.picked(cb_obj.indices)"
    sources.selected.js_on_change("indices", CustomJS(code=code))


def plot_figure(name: str, x: str, y: str, tools: str, **options: Any) -> Any:
    """Return an empty plot in the page's style."""
    from bokeh.plotting import figure

    plot = figure(
        name=name,
        height=options.pop("height", PLOT_HEIGHT),
        sizing_mode=options.pop("sizing_mode", "stretch_width"),
        tools=tools,
        x_axis_label=x,
        y_axis_label=y,
        toolbar_location="above",
        background_fill_color="white",
        border_fill_color="white",
        outline_line_color=FAINT,
        **options,
    )
    plot.toolbar.logo = None
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = "#e6e6e6"
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
    return plot


def _points(plot: Any, sources: Any, x: str, y: str, size: int) -> list[Any]:
    """Draw the sources of each kind in its colour and shape; the legend hides and shows them."""
    from bokeh.models import CDSView, GroupFilter

    renderers = []
    for kind in KINDS:
        colour, shape = STYLES[kind]
        style = {
            "marker": shape,
            "line_color": colour,
            "fill_color": colour,
            "fill_alpha": 0.0 if plot.name == "picture" else 0.35,
            "line_width": 1.4,
        }
        points = plot.scatter(
            x, y, source=sources, size=size, name=kind,
            view=CDSView(filter=GroupFilter(column_name="kind", group=kind)),
            legend_label=kind, level="underlay" if kind == COSMIC else "glyph", **style,
        )  # fmt: skip
        points.nonselection_glyph = None
        selection = points.glyph.clone()
        selection.update(size=size + 9, line_width=3.5, line_color="#000000", fill_color="#f0e442")
        selection.update(fill_alpha=0.0 if plot.name == "picture" else 0.6)
        points.selection_glyph = selection
        renderers.append(points)
    put_legend_below(plot)
    return renderers


def put_legend_below(plot: Any, *, hides: bool = True) -> None:
    """Put the legend below the plot, where it covers nothing; clicks hide what it names."""
    legend = plot.legend[0]
    legend.click_policy = "hide" if hides else "none"
    legend.orientation = "horizontal"
    legend.label_text_font_size, legend.label_text_color = "12px", INK
    legend.border_line_alpha, legend.background_fill_alpha, legend.spacing = 0, 0.8, 6
    legend.padding = legend.margin = 2
    plot.add_layout(legend, "below")


def _hover(plot: Any, renderers: list[Any]) -> None:
    from bokeh.models import HoverTool, TapTool

    tooltips = [
        ("source", "@id"),
        ("kind", "@kind"),
        ("magnitude", "@mag{0.000} ± @err{0.000}"),
        ("S/N", "@snr{0.0}"),
        ("x, y", "@x{0.0}, @y{0.0}"),
        ("flags", "@text"),
    ]
    plot.add_tools(
        HoverTool(renderers=renderers, tooltips=tooltips, mode="mouse", limit=2),
        TapTool(renderers=renderers, mode="replace"),
    )


def _picture(sources: Any) -> Any:
    from bokeh.models import (
        BoxZoomTool,
        ColumnDataSource,
        ImageURL,
        MultiLine,
        Range1d,
        WheelZoomTool,
    )

    plot = plot_figure(
        "picture", "x, px", "y, px", "pan,wheel_zoom,reset",
        sizing_mode="fixed", width=PICTURE_PX + 80, height=PICTURE_PX + 120,
        x_range=Range1d(0, 1), y_range=Range1d(0, 1),
    )  # fmt: skip
    plot.frame_width = plot.frame_height = PICTURE_PX
    plot.add_tools(BoxZoomTool(match_aspect=True))
    plot.grid.visible = False
    # At once: the caption says so.
    plot.toolbar.active_scroll = next(t for t in plot.tools if isinstance(t, WheelZoomTool))
    picture = ColumnDataSource({"url": [], "x": [], "y": [], "w": [], "h": []}, name="image")
    below = ImageURL(url="url", x="x", y="y", w="w", h="h", anchor="bottom_left")
    plot.add_glyph(picture, below, level="image").nonselection_glyph = None
    outlines = ColumnDataSource({"xs": [], "ys": [], "colour": []}, name="outlines")
    plot.add_glyph(
        outlines,
        MultiLine(xs="xs", ys="ys", line_color="colour", line_width=1.1, line_alpha=0.85),
        name="outline",
    )
    points = _points(plot, sources, "x", "y", 11)
    removals = ColumnDataSource({"x": [], "y": [], "id": [], "reason": []}, name="removed")
    left_out = plot.scatter(
        "x", "y", source=removals, size=9, marker="cross", line_color="#000000", line_width=1,
        legend_label="left out", name="removed", visible=False,
    )  # fmt: skip
    left_out.nonselection_glyph = None
    _hover(plot, points)
    return plot


def _counts() -> Any:
    from bokeh.models import ColumnDataSource, FixedTicker, NumeralTickFormatter, Range1d

    plot = plot_figure(
        "counts", "AB magnitude", "sources per 0.25 mag", "pan,xwheel_zoom,box_zoom,reset",
        x_range=Range1d(18, 30), y_range=Range1d(LEAST_COUNT, 10), y_axis_type="log",
    )  # fmt: skip
    # Counts are whole numbers, and a range of less than ten has ticks, too.
    plot.yaxis.ticker = FixedTicker(ticks=[n * 10**k for k in range(6) for n in (1, 2, 5)])
    plot.yaxis.formatter = NumeralTickFormatter(format="0")
    bins = ColumnDataSource({name: [] for name in ("left", "right", "all", "clean")}, name="bins")
    span = {"left": "left", "right": "right", "bottom": LEAST_COUNT, "source": bins}
    plot.quad(
        top="all", line_color=COLOURS[1], fill_color=COLOURS[1], fill_alpha=0.12,
        hatch_pattern="/", hatch_color=COLOURS[1], hatch_alpha=0.35,
        legend_label="all", **span,
    )  # fmt: skip
    plot.quad(
        top="clean",
        line_color="white",
        fill_color=COLOURS[0],
        legend_label="without likely cosmic rays",
        **span,
    )
    columns = ("x", "y0", "y1", "label", "baseline", "offset")
    lines = ColumnDataSource({name: [] for name in columns}, name="limits")
    plot.segment(
        x0="x", x1="x", y0="y0", y1="y1", source=lines, line_color=INK, line_width=1.6,
        line_dash="dashed",
    )  # fmt: skip
    plot.text(
        x="x", y="y1", text="label", source=lines, angle=np.pi / 2, text_align="right",
        text_baseline={"field": "baseline"}, text_font_size="12px", text_color=INK,
        x_offset="offset", background_fill_color="white", background_fill_alpha=0.75,
    )  # fmt: skip
    put_legend_below(plot)
    return plot


def _errors(sources: Any) -> Any:
    plot = _against_magnitude("errors", "magnitude error", y_axis_type="log")
    _line(plot, "curve", "expected")
    points = _points(plot, sources, "mag", "err", 6)
    _hover(plot, points)
    return plot


def _shapes(sources: Any) -> Any:
    plot = _against_magnitude("shapes", "shape")
    _line(plot, "locus", "stars")
    points = _points(plot, sources, "mag", "shape", 6)
    _hover(plot, points)
    return plot


def _against_magnitude(name: str, y: str, **options: Any) -> Any:
    from bokeh.models import Range1d

    ranges = {"x_range": Range1d(18, 30), "y_range": Range1d(0.01, 1)}
    return plot_figure(
        name, "AB magnitude", y, "pan,wheel_zoom,box_zoom,reset", **ranges, **options
    )


def _line(plot: Any, name: str, label: str) -> None:
    """Draw what is expected, behind the points."""
    from bokeh.models import ColumnDataSource

    line = ColumnDataSource({"x": [], "y": []}, name=name)
    plot.line(
        "x", "y", source=line, line_color="#000000", line_width=2, legend_label=label,
        level="underlay",
    ).nonselection_glyph = None  # fmt: skip


def _residuals() -> Any:
    from bokeh.models import BoxZoomTool, ColumnDataSource, HoverTool, Range1d

    plot = plot_figure(
        "residuals", "ΔRA cos Dec, mas", "ΔDec, mas", "pan,wheel_zoom,reset", sizing_mode="fixed",
        width=RESIDUALS_PX + 80, x_range=Range1d(10, -10), y_range=Range1d(-10, 10),
    )  # fmt: skip
    plot.frame_width = plot.frame_height = RESIDUALS_PX
    plot.add_tools(BoxZoomTool(match_aspect=True))
    zero = ColumnDataSource({"x": [0, -1e5], "y": [-1e5, 0], "x1": [0, 1e5], "y1": [1e5, 0]})
    plot.segment("x", "y", "x1", "y1", source=zero, line_color=FAINT, line_width=1)
    names = ("dra", "ddec", "left", "right", "low", "high", "g", "weight", "star", "marker")
    pairs = ColumnDataSource({name: [] for name in (*names, "colour")}, name="pairs")
    bars = {"source": pairs, "line_color": "colour", "line_alpha": 0.5}
    plot.segment("left", "ddec", "right", "ddec", **bars)
    plot.segment("dra", "low", "dra", "high", **bars)
    points = plot.scatter(
        "dra", "ddec", source=pairs, marker="marker", size=8, line_color="white",
        fill_color="colour", name="pair",
    )  # fmt: skip
    ring = ColumnDataSource({"x": [], "y": [], "r": []}, name="rms")
    plot.circle(
        "x", "y", "r", source=ring, fill_alpha=0, line_color="#000000", line_width=2,
        line_dash="dashed",
    )  # fmt: skip
    plot.add_tools(
        HoverTool(
            renderers=[points],
            tooltips=[
                ("Gaia DR3", "@star"),
                ("G", "@g{0.00}"),
                ("ΔRA, ΔDec", "@dra{0.0}, @ddec{0.0} mas"),
                ("weight", "@weight{0.00}"),
            ],
        )
    )
    return plot


def kind_styles() -> dict[str, dict[str, str]]:
    """Return colours, shapes and meanings for the page's own legends."""
    return {
        kind: {"colour": colour, "shape": shape, "meaning": KINDS[kind]}
        for kind, (colour, shape) in STYLES.items()
    }


def column_names() -> list[str]:
    """Return the patterns of the columns that a source has on the page."""
    return [name for name, _ in SHOWN]
