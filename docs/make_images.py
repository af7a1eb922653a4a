"""Make the pictures of the documentation from the demo and from the tables of its pages.

Usage: python docs/make_images.py [FOLDER]  (a finished demo there is used again; needs chromium)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import sync_playwright

from bycatch import read_table

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
COLOURS = 96
"""Of a picture's palette: pictures stay below 150 kB."""


def make_demo(folder: Path) -> None:
    """Simulate a visit, reduce it, and measure its completeness, unless that is done."""
    words = [
        ["simulate", folder / "demo", "--replace"],
        ["run", folder / "demo/raw", "-o", folder / "out", "--gaia", folder / "demo/gaia.ecsv"],
        ["inject", folder / "out", "--set", "inject.n_sources=400"],
    ]
    words[1] += ["--preset", "deep"]
    if any((folder / "out").glob("*/*/*_completeness.ecsv")):
        return
    for command in words:
        subprocess.run([sys.executable, "-m", "bycatch", *map(str, command)], check=True)


def shrink(path: Path, width: int | None = None) -> None:
    """Give a picture few colours and, on request, another width."""
    picture = Image.open(path).convert("RGB")
    if width is not None:
        size = width, round(picture.height * width / picture.width)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(COLOURS).save(path, optimize=True)


def photograph_report(page: Path, path: Path) -> None:
    """Take a picture of the upper part of the report."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1366, "height": 1100})
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(8000)
        tab.evaluate("document.querySelector('h1').textContent = 'out'")  # no path of ours
        tab.screenshot(path=path)
        browser.close()
    shrink(path, 1000)


def draw_colour_magnitude(out: Path, path: Path) -> None:
    """Draw point sources of the objects, with the magnitude of half completeness."""
    objects = read_table(next(out.glob("objects/*/*_objects_clean.ecsv")))
    points = objects[np.ma.filled(objects["p_star"], 0) > 0.5]
    blue, red = points["mag_F475W"], points["mag_F775W"]
    colour_err = np.hypot(points["mag_err_F475W"], points["mag_err_F775W"])
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.errorbar(blue - red, red, xerr=colour_err, fmt=".", ms=5, lw=0.5, color="C0")
    limit = half_complete(out)
    if np.isfinite(limit):
        axes.axhline(limit, ls="--", color="C3", lw=1)
        axes.text(0.02, limit - 0.08, "half of the stars recovered", color="C3", fontsize=8,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.invert_yaxis()
    axes.set(xlabel="F475W - F775W [AB mag]", ylabel="F775W [AB mag]", title="point sources")
    figure.savefig(path, dpi=120)
    shrink(path)


def recovered(out: Path, name: str = "F775W"):
    """Return the completeness of stars in one filter: magnitude, fraction, its 68 % interval."""
    table = read_table(next(out.glob(f"*/{name}/*_completeness.ecsv")))
    table = table[(table["kind"] == "star") & (table["n_exp"] == 0)]
    middle = (table["mag_low"] + table["mag_high"]) / 2
    return (*(np.asarray(v, float) for v in (middle, table["kept"], table["kept_low"])),
            np.asarray(table["kept_high"], float))  # fmt: skip


def half_complete(out: Path) -> float:
    """Return the magnitude where the recovered fraction falls through one half."""
    mag, kept, _, _ = recovered(out)
    below = np.flatnonzero(kept < 0.5)
    if not len(below) or below[0] == 0:
        return np.nan
    k = below[0]
    return float(np.interp(0.5, kept[[k, k - 1]], mag[[k, k - 1]]))


def rows_below(page: str, header: str) -> list[list[str]]:
    """Return the cells of the table of a page that starts with a header."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith(header))
    cells = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return cells


def draw_pulls(axes: Axes) -> None:
    """Draw the widths of the pulls by radius."""
    radii = np.array([2, 4, 6, 8, 10])
    for dither, n, kind, _, *widths, _ in rows_below("accuracy_tables.md", "| dither |"):
        shift = (-0.3 if kind == "stars" else 0.3) + 0.04 * int(n)
        marker = "o" if dither == "whole" else "s"
        colour = "C0" if kind == "stars" else "C7"
        axes.plot(radii + shift, [float(w) for w in widths], marker, ms=3.5, color=colour)
    axes.axhline(1, lw=0.8, color="0.3")
    axes.plot([], [], "o", color="C0", label="stars")
    axes.plot([], [], "o", color="C7", label="blank sky")
    axes.set(xlabel="aperture radius [px]", ylabel="width of the pulls", ylim=(0.85, 1.15))
    axes.legend(fontsize=8)


def draw_completeness(axes: Axes, out: Path) -> None:
    """Draw the recovered fraction of stars in the demo field."""
    for name in ("F475W", "F625W", "F775W"):
        mag, kept, low, high = recovered(out, name)
        axes.errorbar(
            mag,
            kept,
            np.maximum((kept - low, high - kept), 0),
            marker="o",
            ms=3.5,
            lw=1,
            label=name,
        )
    axes.set(xlabel="true magnitude [AB]", ylabel="recovered fraction", ylim=(0, 1.03))
    axes.legend(fontsize=8)


def draw_colours(axes: Axes) -> None:
    """Draw measured minus true colours with their scatter."""
    rows = rows_below("objects.md", "| visit | colour |")
    names = [f"{visit}, {colour.replace(' - ', '-')}" for visit, colour, *_ in rows]
    for k, (_, _, of, _, median, width, *_) in enumerate(rows):
        colour = "C0" if of == "stars" else "C1"
        axes.errorbar(k, float(median), float(width), marker="o", ms=3.5, lw=1, color=colour)
    axes.set_xticks(range(len(rows)), names, rotation=90, fontsize=6)
    axes.plot([], [], "o", color="C0", label="stars")
    axes.plot([], [], "o", color="C1", label="galaxies")
    axes.axhline(0, lw=0.8, color="0.3")
    axes.set(ylabel="colour: measured - true [mag]", ylim=(-0.3, 0.3))
    axes.legend(fontsize=8)


def draw_alignment(axes: Axes) -> None:
    """Draw the error of the field's frame against the number of stars."""
    for column, label in ((5, "median"), (6, "99 %")):
        points = [
            (float(cells[0]), float(cells[column]))
            for cells in rows_below("accuracy_tables.md", "| Gaia stars |")
            if re.fullmatch(r"[\d.]+", cells[0]) and float(cells[0]) > 0 and cells[column]
        ]
        axes.loglog(*np.array(points).T, "o", ms=4, label=label)
    axes.set(xlabel="usable Gaia stars", ylabel="error of the field's frame [mas]")
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    axes.minorticks_off()
    axes.legend(fontsize=8)


def draw_accuracy(out: Path, path: Path) -> None:
    """Draw the four panels of the page on accuracy."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(2, 2)
    draw_pulls(panels[0, 0])
    draw_completeness(panels[0, 1], out)
    draw_colours(panels[1, 0])
    draw_alignment(panels[1, 1])
    figure.savefig(path, dpi=100)
    shrink(path)


def draw_steps(axes: Axes) -> None:
    """Draw the seconds of the steps at the preset deep, with those of library calls."""
    rows = [
        (what.split(",")[0].split(" (")[0], float(s), float(libraries))
        for preset, what, s, libraries, _ in rows_below("speed_tables.md", "| preset | what | s |")
        if preset == "deep" and libraries
    ]
    names, own, theirs = zip(*rows, strict=True)
    place = np.arange(len(rows))
    axes.bar(place - 0.2, own, 0.4, label="bycatch")
    axes.bar(place + 0.2, theirs, 0.4, label="library calls")
    axes.set_xticks(
        place, [name.replace("these steps of a further image", "all") for name in names]
    )
    axes.set(yscale="log", ylabel="time for 4300 x 4300 px [s]", ylim=(0.1, 100))
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.legend(fontsize=8, loc="upper left")


def draw_growth(axes: Axes) -> None:
    """Draw the seconds of the chain against the pixels and against the sources."""
    header = "| growing | side, px |"
    for growing, marker in (("pixels and sources", "o"), ("sources", "s")):
        points = [
            (float(found), float(seconds))
            for name, _, _, found, *_, seconds, _ in rows_below("speed_tables.md", header)
            if name == growing
        ]
        axes.loglog(*np.array(points).T, marker + "-", ms=4, lw=1, label=f"growing: {growing}")
    axes.set(xlabel="sources found", ylabel="time with objects and page [s]")
    axes.set_xticks([300, 1000, 3000, 10000, 30000], ["300", "1000", "3000", "10,000", "30,000"])
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.legend(fontsize=8)


def draw_performance(path: Path) -> None:
    """Draw the two panels of the page on performance."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_steps(left)
    draw_growth(right)
    figure.savefig(path, dpi=100)
    shrink(path)


def main() -> None:
    """Make all pictures."""
    mpl.rcParams["axes.unicode_minus"] = False
    IMAGES.mkdir(exist_ok=True)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    make_demo(folder)
    out = folder / "out"
    photograph_report(out / "report.html", IMAGES / "report.png")
    draw_colour_magnitude(out, IMAGES / "cmd.png")
    draw_accuracy(out, IMAGES / "accuracy.png")
    draw_performance(IMAGES / "performance.png")


if __name__ == "__main__":
    main()
