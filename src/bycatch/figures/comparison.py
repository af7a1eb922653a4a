"""The figure of two catalogs of one field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.figures.style import COLOURS, FAINT, INK, MARKERS, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bycatch.compare import Comparison


def comparison_figure(comparison: Comparison) -> Figure:
    """Return the figure of two catalogs: offsets on the sky, of magnitudes, and completeness."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    sky, mags, fractions = figure.subplots(1, 3)
    pairs, bins = comparison.matches, comparison.bins
    size = float(np.clip(4000 / max(len(pairs), 1), 2, 20))
    sky.scatter(pairs["dra_mas"], pairs["ddec_mas"], s=size, color=COLOURS[0], lw=0, alpha=0.6)
    sky.axhline(0, color=FAINT, lw=0.8, zorder=0)
    sky.axvline(0, color=FAINT, lw=0.8, zorder=0)
    sky.plot(*comparison.offset_mas, "+", color=COLOURS[1], ms=14, mew=2)
    sky.set(
        title="B minus A on the sky (+: median)", xlabel="ΔRA cos Dec  [mas]", ylabel="ΔDec  [mas]"
    )
    sky.set_aspect("equal", adjustable="datalim")

    has_dmag = np.isfinite(pairs["dmag"])
    odd = np.asarray(pairs["strange"])
    plain = {"s": size, "lw": 0, "alpha": 0.6}
    mags.scatter(
        pairs["mag_a"][has_dmag & ~odd], pairs["dmag"][has_dmag & ~odd], color=COLOURS[0], **plain
    )
    mags.scatter(pairs["mag_a"][odd], pairs["dmag"][odd], color=COLOURS[1], marker="s", s=14)
    middle = (bins["mag_low"] + bins["mag_high"]) / 2
    mags.errorbar(
        middle, bins["dmag"], yerr=bins["dmag_width"], color=INK, fmt="o", ms=4, lw=0, elinewidth=1
    )
    mags.axhline(0, color=FAINT, lw=0.8, zorder=0)
    mags.set(
        title="magnitudes (squares: outliers)",
        xlabel=f"{comparison.a.columns[2]} of A",
        ylabel="B minus A  [mag]",
    )

    for k, (n, both, label) in enumerate(
        (("n_a", "a_in_b", "of A, found in B"), ("n_b", "b_in_a", "of B, found in A"))
    ):
        with np.errstate(invalid="ignore", divide="ignore"):
            fraction = np.asarray(bins[both]) / np.asarray(bins[n])
        fractions.plot(
            middle, fraction, color=COLOURS[k], marker=MARKERS[k], ms=5, lw=1.4, label=label
        )
    fractions.set(
        title="in the common area", xlabel="magnitude", ylabel="fraction", ylim=(-0.03, 1.05)
    )
    fractions.legend(frameon=False, fontsize=9)
    for axes in (sky, mags, fractions):
        tidy(axes)
    figure.suptitle(
        f"A: {comparison.a.name}, {len(comparison.a)} rows   ·   "
        f"B: {comparison.b.name}, {len(comparison.b)} rows   ·   {len(pairs)} in common",
        x=0.01, ha="left", fontsize=11, color=INK, parse_math=False,
    )  # fmt: skip
    return figure
