"""The figure of the completeness that `inject` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Floats
from bycatch.figures.style import COLOURS, FAINT, INK, MARKERS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FigureCurve:
    """What the figure of the completeness shows of one kind and size, by magnitude (N,).

    Attributes
    ----------
    label : of the kind and size
    mag : middles of the bins
    found, kept : completeness of the detection, and without those called cosmic rays
    low, high : 68 % interval of the latter
    bias, scatter : of the magnitudes; NaN where there are none
    """

    label: str
    mag: Floats
    found: Floats
    kept: Floats
    low: Floats
    high: Floats
    bias: Floats
    scatter: Floats


def completeness_figure(title: str, curves: Sequence[FigureCurve]) -> Figure:
    """Return the figure of the completeness: shares above, errors of the magnitudes below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 6.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    shares, errors = figure.subplots(2, 1, sharex=True, height_ratios=(2.0, 1.0))
    for level in (0.5, 0.9):
        shares.axhline(level, color=FAINT, lw=0.8, zorder=0)
    errors.axhline(0.0, color=FAINT, lw=0.8, zorder=0)
    for k, curve in enumerate(curves):
        colour, shape = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        bar = [np.maximum(curve.kept - curve.low, 0), np.maximum(curve.high - curve.kept, 0)]
        shares.errorbar(
            curve.mag, curve.kept, yerr=bar, color=colour, marker=shape, ms=4.5, lw=1.4,
            elinewidth=0.9, label=curve.label,
        )  # fmt: skip
        shares.plot(curve.mag, curve.found, color=colour, lw=1.0, ls=(0, (2, 2)))
        has_bias = np.isfinite(curve.bias)
        errors.errorbar(
            curve.mag[has_bias] + 0.03 * k, curve.bias[has_bias], yerr=curve.scatter[has_bias],
            color=colour, marker=shape, ms=4, lw=0, elinewidth=0.9,
        )  # fmt: skip
    if not curves:
        shares.text(0.5, 0.5, "no artificial sources", ha="center", transform=shares.transAxes)
    shares.set_ylim(-0.03, 1.05)
    shares.set_ylabel("completeness", color=INK)
    errors.set_ylim(-0.5, 0.5)
    errors.set_ylabel("measured - expected (mag)", color=INK)
    errors.set_xlabel("true AB magnitude", color=INK)
    if curves:
        shares.legend(
            frameon=False, fontsize=9.5, labelcolor=INK, loc="lower left",
            title="dashed: detected\nsolid: and not called a cosmic ray", title_fontsize=8.5,
        )  # fmt: skip
    for axes in (shares, errors):
        tidy(axes)
    figure.suptitle(title, fontsize=12, color=INK, x=0.012, ha="left", parse_math=False)
    return figure
