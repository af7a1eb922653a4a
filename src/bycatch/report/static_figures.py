"""The plots of the page as files, for a paper or a talk."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.arrays import Floats
from bycatch.errors import SettingsError
from bycatch.figures.style import COLOURS, FAINT, INK, WEAK
from bycatch.products import own_folder
from bycatch.report.image import COSMIC, KINDS, Budget, payload
from bycatch.report.plots import LEAST_COUNT, STYLES
from bycatch.report.products import ReportedImage, read_folder
from bycatch.system.disk import atomic
from bycatch.system.each import of_each

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FIGURES = "figures"
FORMATS = ("png", "pdf")
BUDGET = Budget(side_px=2000, n_sources=100_000)
DPI = 200
COLUMN_INCH = 4.6
MARKERS = {"circle": "o", "square": "s", "x": "x", "triangle": "^", "diamond": "D"}
MANY_RAYS = 300
"""Cosmic rays above which they are left out of the picture, which they would cover."""


def write_figures(out: str | Path, kind: str = "png") -> list[Path]:
    """Write the plots of each image into ``OUT/figures`` and return their paths.

    Parameters
    ----------
    out : output folder
    kind : 'png' or 'pdf'

    Raises
    ------
    SettingsError
        Another format, no image in the folder, or matplotlib is not there.
    """
    if kind not in FORMATS:
        raise SettingsError(f"--format {kind}: not a format", hint=f"use {' or '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("figures need matplotlib", hint="pip install 'bycatch[figures]'")
    folder = read_folder(out)

    def written(image: ReportedImage) -> list[Path]:
        record, paths = image.record, []
        content = payload(image, image.table("cat"), BUDGET)
        for name, figure in figures(content):
            stem = f"{record.field}_{record.filter}_{record.root}_{name}"
            path = own_folder(folder.out / FIGURES) / f"{stem}.{kind}"
            with atomic(path) as partial:
                figure.savefig(partial, format=kind, dpi=DPI, metadata=_metadata_without_date(kind))
            paths.append(path)
        return paths

    each = of_each(folder.images, written, lambda image: image.record.label)
    return [path for paths in each for path in paths]


def _metadata_without_date(kind: str) -> dict[str, None]:
    """Return metadata without the time: the same products give the same file."""
    return {"CreationDate": None} if kind == "pdf" else {"Software": None}


def figures(content: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Give name and figure of each plot that there are data for."""
    drawings: tuple[tuple[str, str, Callable[[Axes, dict[str, Any]], None], float], ...] = (
        ("picture", "picture", _picture, 1.12),
        ("counts", "histogram", _counts, 0.72),
        ("errors", "sources", _errors, 0.72),
        ("shapes", "sources", _shapes, 0.72),
        ("residuals", "residuals", _residuals, 1.0),
        ("exposures", "exposures", _exposures, 1.05),
    )
    for name, needs, draw, shape in drawings:
        if not content.get(needs) or (name == "residuals" and not content[needs]["dra"]):
            continue
        figure, axes = _empty(COLUMN_INCH * (1.5 if name == "picture" else 1.0), shape)
        draw(axes, content)
        title = f"{content['field']}  {content['filter']}  {content['root']}"
        axes.set_title(title, loc="left", parse_math=False)
        _finish(axes)
        yield name, figure


def _empty(width_inch: float, shape: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width_inch, width_inch * shape), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.title.set(fontsize=10, color=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=10, color=INK)
    for spine in axes.spines.values():
        spine.set(color=FAINT, linewidth=0.8)


def _column(content: dict[str, Any], name: str) -> Floats:
    """Return a column of the sources, NaN for what is missing."""
    sources = content["sources"]
    name = name.replace("{r}", sources["radius"])
    for column in sources["columns"]:
        if column["name"] == name:
            return np.array([np.nan if v is None else v for v in column["values"]], dtype=float)
    return np.full(len(sources["kind"]), np.nan)


def _draw_kinds(
    axes: Axes, content: dict[str, Any], x: Floats, y: Floats, size: float, *, hollow: bool
) -> None:
    """Draw the sources of each kind in its colour and shape, cosmic rays below the others."""
    kinds = np.asarray(content["sources"]["kind"])
    for kind in KINDS:
        some = (kinds == kind) & np.isfinite(x) & np.isfinite(y)
        rays = kind == COSMIC
        if not some.any() or (rays and hollow and some.sum() > MANY_RAYS):
            continue
        colour, shape = STYLES[kind]
        faces: dict[str, Any] = {"c": colour}
        if not rays:
            faces = {"fc": "none" if hollow else colour, "ec": colour}
        axes.scatter(
            x[some], y[some], s=size, marker=MARKERS[shape], lw=0.8, label=kind,
            alpha=0.5 if rays else 0.9, zorder=2 if rays else 3, rasterized=True, **faces,
        )  # fmt: skip


def _legend(axes: Axes, **options: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, handletextpad=0.3, **options)


def _picture(axes: Axes, content: dict[str, Any]) -> None:
    picture = content["picture"]
    reach = (-0.5, picture["width"] - 0.5, -0.5, picture["height"] - 0.5)
    axes.imshow(picture["grey"], cmap="gray", vmin=0, vmax=255, extent=reach, aspect="equal")
    if content["sources"]:
        _outlines(axes, content)
        x, y = _column(content, "x_center"), _column(content, "y_center")
        _draw_kinds(axes, content, x, y, 22, hollow=True)
    axes.set(xlim=(-0.5, picture["nx"] - 0.5), ylim=(-0.5, picture["ny"] - 0.5))
    axes.set(xlabel="x  [px]", ylabel="y  [px]")
    _legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=5)


def _outlines(axes: Axes, content: dict[str, Any]) -> None:
    from matplotlib.collections import PolyCollection

    kinds, outlines = content["sources"]["kind"], content["sources"]["outlines"]
    n_rays = sum(kind == COSMIC for kind in kinds)
    rows_to_draw = [
        k for k, row in enumerate(outlines["row"]) if n_rays <= MANY_RAYS or kinds[row] != COSMIC
    ]
    corners = [np.column_stack([outlines["xs"][k], outlines["ys"][k]]) for k in rows_to_draw]
    colours = [STYLES[kinds[outlines["row"][k]]][0] for k in rows_to_draw]
    axes.add_collection(
        PolyCollection(corners, facecolors="none", edgecolors=colours, linewidths=0.5)
    )


def _counts(axes: Axes, content: dict[str, Any]) -> None:
    histogram = content["histogram"]
    edges = np.asarray(histogram["edges"])
    axes.stairs(
        histogram["all"], edges, baseline=LEAST_COUNT, ec=COLOURS[1], hatch="////",
        label="all",
    )  # fmt: skip
    axes.stairs(
        histogram["clean"],
        edges,
        baseline=LEAST_COUNT,
        fill=True,
        fc=COLOURS[0],
        label="without likely cosmic rays",
    )
    axes.set_yscale("log")
    axes.set_ylim(LEAST_COUNT, 3 * max(10, *histogram["all"]))
    for limit in content["limits"]:
        if not limit["drawn"]:
            continue
        of = f" of {limit['of']}" if limit["of"] else ""
        axes.axvline(limit["mag"], color=INK, lw=1, ls=(0, (4, 2)))
        axes.text(
            limit["mag"], 0.98, f"{limit['label']}{of}  ", transform=axes.get_xaxis_transform(),
            rotation=90, ha="right" if limit["side"] == "left" else "left", va="top", fontsize=8,
            color=INK,
        )  # fmt: skip
    axes.set(xlabel="AB magnitude", ylabel="sources per 0.25 mag")
    _legend(axes, loc="upper left")


def _errors(axes: Axes, content: dict[str, Any]) -> None:
    mag, error = _column(content, "mag_ab_{r}"), _column(content, "mag_ab_err_{r}")
    _draw_kinds(axes, content, mag, error, 10, hollow=False)
    if content.get("curve"):
        axes.plot(
            content["curve"]["mag"], content["curve"]["err"], "k-", lw=1.4, label="expected",
            zorder=1,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set(xlabel="AB magnitude", ylabel="magnitude error")
    _limits(axes, mag, error, error, logarithmic=True)
    _legend(axes, loc="upper left")


def _shapes(axes: Axes, content: dict[str, Any]) -> None:
    shape = content["shape"]
    mag, value = _column(content, "mag_ab_{r}"), _column(content, shape["name"])
    _draw_kinds(axes, content, mag, value, 10, hollow=False)
    if shape["locus"] is not None:
        axes.axhline(shape["locus"], color="k", lw=1.4, label="stars", zorder=1)
    label = "FWHM  [px]" if shape["name"] == "fwhm" else f"{shape['name']}  [mag]"
    axes.set(xlabel="AB magnitude", ylabel=label)
    error = _column(content, "mag_ab_err_{r}")
    # Failed fits give FWHMs of any size.
    _limits(axes, mag, value, error, logarithmic=False, top=95 if shape["name"] == "fwhm" else 99.6)
    _legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=6, columnspacing=1.0)


def _limits(
    axes: Axes, x: Floats, y: Floats, error: Floats, *, logarithmic: bool, top: float = 99.6
) -> None:
    """Let the axes show what is brighter than its noise, but for a few values far off."""
    is_clear = np.isfinite(x) & np.isfinite(y) & (error < 1.0857)
    if not is_clear.any():
        return
    axes.set_xlim(x[is_clear].min() - 0.4, x[is_clear].max() + 0.4)
    low, high = np.percentile(y[is_clear], [0.4, top])
    if logarithmic:
        axes.set_ylim(max(low, 5e-4) / 1.6, max(high, 0.01) * 1.6)
    else:
        pad = 0.08 * (high - low) + 0.01
        axes.set_ylim(low - pad, high + pad)


def _residuals(axes: Axes, content: dict[str, Any]) -> None:
    from matplotlib.patches import Circle

    residuals = content["residuals"]
    x, y, ex, ey, weight = (
        np.array(residuals[name], dtype=float)
        for name in ("dra", "ddec", "dra_err", "ddec_err", "weight")
    )
    strong = weight > WEAK
    for some, colour, marker in ((strong, COLOURS[0], "o"), (~strong, FAINT, "s")):
        axes.errorbar(
            x[some], y[some], xerr=ex[some], yerr=ey[some], fmt=marker, ms=4.5, color=colour,
            mec="white", mew=0.4, elinewidth=0.6,
        )  # fmt: skip
    sizes = np.maximum(np.abs(x), np.abs(y))[strong]
    reach = 1.25 * max(2.0, float(sizes.max(initial=0.0)))
    if residuals["rms"][0] is not None:
        rms = float(np.hypot(*residuals["rms"]) / np.sqrt(2))
        axes.add_patch(Circle((0, 0), rms, fill=False, ec="k", lw=1.2, ls="--", zorder=4))
        reach = max(reach, 2.5 * rms)
    axes.axhline(0, color=FAINT, lw=0.6, zorder=0)
    axes.axvline(0, color=FAINT, lw=0.6, zorder=0)
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach))
    axes.set_aspect("equal")
    axes.set(xlabel="ΔRA cos Dec  [mas]", ylabel="ΔDec  [mas]")


def _exposures(axes: Axes, content: dict[str, Any]) -> None:
    from matplotlib.patches import Patch

    exposures, picture = content["exposures"], content["picture"]
    reach = (-0.5, picture["nx"] - 0.5, -0.5, picture["ny"] - 0.5)
    axes.imshow(exposures["rgb"], extent=reach, interpolation="nearest")
    patches = [
        Patch(fc=colour, ec="#777777", label=f"{label}: {100 * share:.0f} %")
        for label, colour, share in exposures["legend"]
    ]
    axes.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False,
        fontsize=8.5, labelcolor=INK, title="exposures", title_fontsize=8.5,
    )  # fmt: skip
    axes.set(xlabel="x  [px]", ylabel="y  [px]")
