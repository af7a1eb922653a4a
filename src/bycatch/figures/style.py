"""Colours, markers and axes that all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours that the colour-blind can tell apart (Okabe & Ito 2008); shapes repeat them."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#333333", "#9a9a9a"
WEAK = 0.3
"""Weight up to which a pair is shown as an outlier, in grey."""
FAST_PNG: dict[str, Any] = {"format": "png", "dpi": 110, "pil_kwargs": {"compress_level": 1}}
"""How the chain writes a figure; the library's own choices take three times as long."""


def tidy(axes: Axes) -> None:
    """Give axes small grey ticks and labels, and two spines."""
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.title.set(fontsize=10.5, color=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9.5, color=INK)
    for side, spine in axes.spines.items():
        spine.set(color=FAINT, linewidth=0.8, visible=side in {"left", "bottom"})
