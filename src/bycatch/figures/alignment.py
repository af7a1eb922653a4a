"""The figure of a field's alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.figures.style import COLOURS, FAINT, INK, MARKERS, WEAK, tidy
from bycatch.tangent import tangent_mas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MIN_REACH_MAS = 2.0
MANY = 150
"""Pairs of an image above which error bars and single arrows would hide one another."""
N_CELLS, MIN_IN_CELL = 9, 3
LEGEND_COLUMNS = 4


@dataclass(frozen=True, eq=False)
class FigureImage:
    """What the figure of an alignment shows of one image.

    Attributes
    ----------
    filter, grade, reason : as in the alignment
    n_stars : Gaia stars of the whole field
    odds : that the match is chance; NaN without a match
    error_mas : of the frame per axis
    corners_deg : (4, 2) float; right ascension and declination of the corners of the array
    ra_deg, dec_deg : (N,) float; the pairs
    dra_mas, ddec_mas : (N,) float; detection minus star
    error_pair_mas : (N,) float; expected error per axis
    weight : (N,) float; 0 (outlier) to 1
    mag : (N,) float; G
    """

    filter: str
    grade: str
    reason: str
    n_stars: int
    odds: float
    error_mas: float
    corners_deg: Floats
    ra_deg: Floats
    dec_deg: Floats
    dra_mas: Floats
    ddec_mas: Floats
    error_pair_mas: Floats
    weight: Floats
    mag: Floats

    @property
    def rms_mas(self) -> float:
        """Rms of the residuals per axis, by weights and expected errors; NaN without pairs."""
        weight = self.weight / np.maximum(self.error_pair_mas, 1e-3) ** 2
        if not weight.sum() > 0:
            return float("nan")
        squares = weight * (self.dra_mas**2 + self.ddec_mas**2)
        return float(np.sqrt(0.5 * squares.sum() / weight.sum()))


def alignment_figure(name: str, images: Sequence[FigureImage]) -> Figure:
    """Return the figure of a field's alignment.

    Three panels: the residuals as arrows on the sky, their scatter with circles
    of the rms of each image, and their size against magnitude.  A field without
    pairs shows its images on the sky, and why there are none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Margins by hand: matplotlib's layout engines draw everything twice.
    figure = Figure(figsize=(13.2, 5.2), facecolor="white")
    FigureCanvasAgg(figure)
    legend_rows = -(-len(images) // LEGEND_COLUMNS)
    bottom = 0.115 + 0.05 * legend_rows
    figure.subplots_adjust(left=0.05, right=0.99, top=0.84, bottom=bottom, wspace=0.2)
    styles = _styles(images)
    if any(len(image.dra_mas) for image in images):
        panels = figure.subplots(1, 3)
        _draw_sky(panels[0], images, styles)
        _draw_scatter(panels[1], images, styles)
        _draw_sizes(panels[2], images, styles)
    else:
        panels = figure.subplots(1, 2, width_ratios=(1.0, 1.6))
        _draw_sky(panels[0], images, styles)
        _draw_reasons(panels[1], images)
    for axes in panels:
        tidy(axes)
    title = _title(name, images)
    figure.suptitle(title, fontsize=12.5, color=INK, x=0.012, ha="left", parse_math=False)
    handles = [_handle(style, _label(image)) for image, style in zip(images, styles, strict=True)]
    if handles:
        figure.legend(
            handles=handles, loc="lower left", ncols=min(len(handles), LEGEND_COLUMNS),
            frameon=False, fontsize=9.5, handletextpad=0.4, columnspacing=2.0, labelcolor=INK,
        )  # fmt: skip
    return figure


def _styles(images: Sequence[FigureImage]) -> list[tuple[str, str]]:
    """Return colour and marker of each image: a colour per filter, from blue to red."""
    filters = sorted({image.filter for image in images}, key=lambda f: (f[1:4], f))
    count = dict.fromkeys(filters, 0)
    styles = []
    for image in images:
        k = filters.index(image.filter)
        # A second image in a filter keeps the colour and takes another shape.
        shape = MARKERS[(k + count[image.filter] * len(filters)) % len(MARKERS)]
        count[image.filter] += 1
        styles.append((COLOURS[k % len(COLOURS)], shape))
    return styles


def _title(name: str, images: Sequence[FigureImage]) -> str:
    n_stars = max((image.n_stars for image in images), default=0)
    odds = [image.odds for image in images if np.isfinite(image.odds)]
    grades = "".join(image.grade for image in images) or "none"
    parts = [name, f"grade{'s' if len(images) > 1 else ''} {grades}"]
    parts.append(f"Gaia: {_stars(n_stars)}")
    if odds:
        parts.append(f"odds of chance {_odds_text(min(odds))}")
    return "   ·   ".join(parts)


def _stars(n: int) -> str:
    return "1 star" if n == 1 else f"{n} stars"


def _odds_text(odds: float) -> str:
    return "below 1e-12" if odds < 1e-12 else f"{odds:.1g}"


def _label(image: FigureImage) -> str:
    text = f"{image.filter}  grade {image.grade}"
    if len(image.dra_mas):
        return f"{text}, {_stars(len(image.dra_mas))}, rms {image.rms_mas:.1f} mas"
    return f"{text}, no stars of its own"


def _handle(style: tuple[str, str], label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=style[0], marker=style[1], linestyle="", markersize=6,
        markeredgecolor="white", markeredgewidth=0.5, label=label,
    )  # fmt: skip


def _centre(images: Sequence[FigureImage]) -> tuple[float, float]:
    """Return the middle of the images' corners, good near 0 h and the poles as well."""
    if not images:
        return 0.0, 0.0
    ra, dec = np.radians(np.concatenate([image.corners_deg for image in images])).T
    x, y, z = (
        float(np.mean(v)) for v in (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
    )
    return float(np.degrees(np.arctan2(y, x)) % 360), float(
        np.degrees(np.arctan2(z, np.hypot(x, y)))
    )


def _draw_sky(axes: Axes, images: Sequence[FigureImage], styles: Sequence[tuple[str, str]]) -> None:
    """Draw footprints, and residuals as arrows, north up and east to the left."""
    centre = _centre(images)
    reach = 1.0
    for image, (colour, _) in zip(images, styles, strict=True):
        ra, dec = image.corners_deg.T
        corners = tangent_mas(ra, dec, *centre) / 1000.0
        reach = max(reach, float(np.abs(corners).max()))
        ring = np.vstack([corners, corners[:1]])
        axes.plot(*ring.T, color=colour, lw=1.0, alpha=0.55, zorder=1)
    axes.set_xlim(1.08 * reach, -1.08 * reach)
    axes.set_ylim(-1.08 * reach, 1.08 * reach)
    axes.set_aspect("equal")
    arrows = [_arrows(image, *centre) for image in images]
    lengths = np.concatenate([np.empty(0), *(np.hypot(*a.residual_mas.T) for a in arrows)])
    key_mas = _round_length(2.0 * float(np.median(lengths))) if len(lengths) else 0.0
    for arrow, (colour, marker) in zip(arrows, styles, strict=True):
        for strong in (True, False):
            some = arrow.strong == strong
            shade = colour if strong else FAINT
            if not some.any():
                continue
            axes.plot(
                *arrow.xy[some].T, marker, ms=3.4, mfc=shade, mec="white", mew=0.3, ls="", zorder=3
            )
            axes.quiver(
                *arrow.xy[some].T, *arrow.residual_mas[some].T, color=shade, alpha=0.9,
                angles="xy", scale_units="xy", scale=key_mas / (0.14 * reach), width=0.0042,
                headwidth=3.6, headlength=4.2, headaxislength=3.8, minlength=0.5, zorder=2,
            )  # fmt: skip
    if key_mas:
        x, y = 1.0 * reach, -1.0 * reach
        axes.plot([x, x - 0.14 * reach], [y, y], color=INK, lw=2, solid_capstyle="butt")
        axes.text(
            x - 0.17 * reach, y, f"{key_mas:g} mas", ha="left", va="center", fontsize=9, color=INK
        )
    has_means = any(arrow.averaged for arrow in arrows)
    what = "residuals on the sky" if len(lengths) else "the images on the sky"
    axes.set_title(f"{what} (means of cells)" if has_means else what)
    axes.set_xlabel('east  ←  offset ["]')
    axes.set_ylabel('offset ["]  →  north')


@dataclass(frozen=True, eq=False)
class _Arrows:
    """Residuals at places of the sky plane (arcsec); weak ones are outliers."""

    xy: Floats
    residual_mas: Floats
    strong: NDArray[np.bool_]
    averaged: bool


def _arrows(image: FigureImage, ra0_deg: float, dec0_deg: float) -> _Arrows:
    """Return the residuals of an image; of many stars, their means in the cells of a grid."""
    xy = tangent_mas(image.ra_deg, image.dec_deg, ra0_deg, dec0_deg) / 1000.0
    residual = np.column_stack([image.dra_mas, image.ddec_mas])
    strong = image.weight > WEAK
    if len(xy) <= MANY:
        return _Arrows(xy, residual, strong, averaged=False)
    xy, residual = xy[strong], residual[strong]
    low, size = xy.min(axis=0), np.ptp(xy, axis=0)
    cells = np.minimum((N_CELLS * (xy - low) / size).astype(int), N_CELLS - 1)
    _, cell = np.unique(cells @ [1, N_CELLS], return_inverse=True)
    count = np.bincount(cell)
    means = [
        np.column_stack([np.bincount(cell, values[:, k]) / count for k in (0, 1)])
        for values in (xy, residual)
    ]
    enough = count >= MIN_IN_CELL
    return _Arrows(means[0][enough], means[1][enough], np.ones(enough.sum(), bool), averaged=True)


def _round_length(value: float) -> float:
    """Return the nearest of 1, 2, 5, 10, ..."""
    steps = np.outer(10.0 ** np.arange(-2, 5), [1, 2, 5]).ravel()
    return float(steps[np.argmin(np.abs(np.log(steps / max(value, 0.01))))])


def _draw_scatter(
    axes: Axes, images: Sequence[FigureImage], styles: Sequence[tuple[str, str]]
) -> None:
    """Draw the residuals in right ascension and declination, with circles of the rms."""
    from matplotlib.patches import Circle

    with_pairs = [image for image in images if len(image.dra_mas)]
    size = np.concatenate(
        [np.maximum(np.abs(i.dra_mas), np.abs(i.ddec_mas))[i.weight > WEAK] for i in with_pairs]
    )
    reach = 1.15 * max(
        float(size.max(initial=0.0)),
        2.0 * float(np.nanmax([i.rms_mas for i in with_pairs] + [0.0])),
        MIN_REACH_MAS,
    )
    axes.axhline(0, color=FAINT, lw=0.6, zorder=0)
    axes.axvline(0, color=FAINT, lw=0.6, zorder=0)
    for image, (colour, marker) in zip(images, styles, strict=True):
        if not len(image.dra_mas):
            continue
        strong = image.weight > WEAK
        many = len(strong) > MANY
        for some, shade in ((strong, colour), (~strong, FAINT)):
            x, y, error = image.dra_mas[some], image.ddec_mas[some], image.error_pair_mas[some]
            if not many:
                axes.errorbar(
                    x, y, xerr=error, yerr=error, fmt="none", ecolor=shade, elinewidth=0.6,
                    alpha=0.45, zorder=1,
                )  # fmt: skip
            axes.plot(x, y, marker, **_point(shade, many=many), zorder=2)
        if np.isfinite(image.rms_mas):
            axes.add_patch(Circle((0, 0), image.rms_mas, fill=False, ec="white", lw=2.6, zorder=3))
            axes.add_patch(
                Circle((0, 0), image.rms_mas, fill=False, ec=colour, lw=1.4, ls="--", zorder=4)
            )
    axes.set_xlim(reach, -reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("ΔRA cos Dec  [mas]")
    axes.set_ylabel("ΔDec  [mas]")
    axes.set_title("detection minus star (circles: rms)")


def _draw_sizes(
    axes: Axes, images: Sequence[FigureImage], styles: Sequence[tuple[str, str]]
) -> None:
    """Draw the size of the residuals against magnitude, and what the errors predict."""
    everything = []
    for image, (colour, marker) in zip(images, styles, strict=True):
        if not len(image.dra_mas):
            continue
        size = np.hypot(image.dra_mas, image.ddec_mas)
        everything.append(size)
        strong = image.weight > WEAK
        for some, shade in ((strong, colour), (~strong, FAINT)):
            style = _point(shade, many=len(strong) > MANY)
            axes.plot(image.mag[some], size[some], marker, **style, zorder=2)
        order = np.argsort(image.mag)
        # The size of a residual of two axes is on average 1.25 times its error per axis.
        axes.plot(
            image.mag[order],
            1.25 * image.error_pair_mas[order],
            color=colour,
            lw=1.1,
            alpha=0.7,
            zorder=3,
        )
    sizes = np.concatenate(everything)
    axes.set_yscale("log")
    axes.set_box_aspect(1)
    low = max(float(np.nanpercentile(sizes, 2)) / 2.0, 0.05)
    axes.set_ylim(low, max(2.0 * float(np.nanmax(sizes)), 10.0 * low))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("G  [mag]")
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylabel("residual  [mas]")
    axes.set_title("size of the residuals (lines: expected)")


def _point(colour: str, *, many: bool) -> dict[str, Any]:
    """Return the style of a point: small and translucent where there are many."""
    if many:
        return {"ms": 2.2, "mfc": colour, "mec": "none", "alpha": 0.5, "ls": ""}
    return {"ms": 4.8, "mfc": colour, "mec": "white", "mew": 0.5, "ls": ""}


def _draw_reasons(axes: Axes, images: Sequence[FigureImage]) -> None:
    """Write why there are no pairs where they would be."""
    import textwrap

    axes.set_axis_off()
    lines = ["No Gaia star in the fit.", ""]
    for image in images:
        lines += [f"{image.filter}, grade {image.grade}:", *textwrap.wrap(image.reason, 72), ""]
    axes.text(
        0.0, 0.96, "\n".join(lines if images else ["no images"]), transform=axes.transAxes,
        va="top", fontsize=10, color=INK, linespacing=1.4,
    )  # fmt: skip
