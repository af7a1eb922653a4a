"""What the commands print: closing tables, and the lines below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bycatch.cli.console import Rows, put, say

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.archive import FetchReport
    from bycatch.compare import Comparison
    from bycatch.pipeline import RunReport
    from bycatch.pipeline.object_comparison import ObjectComparison
    from bycatch.pipeline.outcomes import GroupReport
    from bycatch.pipeline.status import Status

ASSESSMENT_LEGEND = """\
found      detected fraction of true sources with enough pixels above the threshold
real       fraction of rows with two or more exposures that are true sources
stars      isolated, S/N > 50: median flux bias at 4 px, rms position error per axis
CRs        fraction of detected cosmic rays in single exposures that have cr_flag
false CRs  fraction of stars without a cosmic ray within 3 px that have cr_flag
"""
STATE_STYLES = {
    "outdated": "yellow",
    "to do": "yellow",
    "dropped": "red",
    "failed": "red",
    "to fetch": "yellow",
}
"""Colours of what is left to do or lost."""

RUN_HEADINGS = (
    "place", "image", "outcome", "n_exp", "sources", "clean", "grade", "Gaia stars",
    "frame error, mas", "time, s",
)  # fmt: skip
"""Words of the glossary, as on the page; the columns of `ImageReport.row`."""
GROUP_HEADINGS = (
    "group", "outcome", "images", "objects", "real", "in several", "sum only", "time, s",
)  # fmt: skip
COMPARED = {
    "rows_a": ("rows of A", "d"),
    "rows_b": ("rows of B", "d"),
    "matched": ("pairs", "d"),
    "fraction_of_a_in_b": ("fraction of A in B, in the common area", ".3f"),
    "fraction_of_b_in_a": ("fraction of B in A, in the common area", ".3f"),
    "offset_ra_mas": ("B - A in right ascension, median, mas", ".2f"),
    "offset_dec_mas": ("B - A in declination, median, mas", ".2f"),
    "scatter_mas": ("scatter of positions per axis, mas", ".2f"),
    "offset_mag": ("B - A in magnitude, median", ".3f"),
    "scatter_mag": ("scatter of magnitudes", ".3f"),
    "strange": ("pairs with outlying magnitudes (5 widths)", "d"),
}
"""Words and digits of the main numbers of a comparison."""
COMPARED_OBJECTS = {
    "objects_a": ("objects of A", "d"),
    "objects_b": ("objects of B", "d"),
    "matched": ("pairs", "d"),
    "same_id": ("  with the same object_id", "d"),
    "renamed": ("  with different object_ids", "d"),
    "joined": ("objects of A merged into others in B", "d"),
    "lost": ("objects of A that B lacks", "d"),
    "lost_real": ("  of these real (p_real of 0.5 or more)", "d"),
    "split": ("objects of B split from others in A", "d"),
    "new": ("objects of B that A lacks", "d"),
    "new_real": ("  of these real", "d"),
    "offset_ra_mas": ("B - A in right ascension, median, mas", ".2f"),
    "offset_dec_mas": ("B - A in declination, median, mas", ".2f"),
    "scatter_mas": ("scatter of positions per axis, mas", ".2f"),
}
"""The same of a comparison of objects."""
MOST_ROWS = 30
"""Lines of a survey's answer that are printed, its heading among them."""
MOST_COLUMNS = 16
"""Of an answer with more, the columns that are read first are printed."""


def print_report(report: RunReport) -> None:
    """Print the closing table of a run, what was lost, and where to look."""
    table = Rows(RUN_HEADINGS[:3], RUN_HEADINGS[3:])
    for row in report.rows():
        table.add(*row.values())
    if report.images:
        table.show()
    print_groups(report.groups)
    for name, outcome, reason in report.losses():
        say(f"{outcome}: {name}: {reason}", "red")
    images = [image for image in report.images if image.outcome == "done"]
    say(
        f"{len(images)} of {report.n_images} image(s) done in {report.seconds:.1f} s; "
        f"{_where_to_look(report.out)}",
    )


def print_groups(groups: Sequence[GroupReport]) -> None:
    """Print the closing table of the objects: a row per group."""
    table = Rows(GROUP_HEADINGS[:2], GROUP_HEADINGS[2:])
    names = ("n_group_images", "n_objects", "n_real", "n_in_several", "n_only_combined")
    for group in groups:
        numbers = group.summary or {}
        cells = (_number(numbers.get(name), "d") for name in names)
        table.add(group.name, group.outcome, *cells, f"{group.seconds:.1f}")
    if groups:
        table.show()


def print_profile(report: RunReport) -> None:
    """Print time and memory of the steps of this run, summed over images."""
    table = Rows(["step"], ["images", "s", "s / image", "peak, MB"])
    for cost in report.profile():
        row = (f"{cost.n_images}", f"{cost.seconds:.2f}", f"{cost.seconds / cost.n_images:.2f}")
        table.add(cost.step, *row, _number(cost.peak_mb, ".0f"))
    table.show()


def _where_to_look(out: Path) -> str:
    page = out / "report.html"
    return f"look at {page}" if page.exists() else f"summary in {out / 'summary.json'}"


def print_comparison(comparison: Comparison) -> None:
    """Print the comparison of two catalogs, by magnitude and in total."""
    table = Rows([], ["mag", "A", "in B", "B", "in A", "B - A, mag", "width, mag"])
    for row in comparison.bins:
        table.add(
            f"{row['mag_low']:g} to {row['mag_high']:g}",
            *(str(row[name]) for name in ("n_a", "a_in_b", "n_b", "b_in_a")),
            *(_number(row[name], ".3f") for name in ("dmag", "dmag_width")),
        )
    table.show()
    for letter, catalog in (("A", comparison.a), ("B", comparison.b)):
        facts = (catalog.name, catalog.filter, catalog.columns[2])
        say(f"{letter}: {', '.join(fact for fact in facts if fact)}")
    for name, value in comparison.summary().items():
        words, digits = COMPARED[name]
        say(f"{words:<44} {_number(value, digits)}")


def print_object_comparison(comparison: ObjectComparison) -> None:
    """Print the comparison of the objects of two folders."""
    table = Rows(["filter"], ["pairs", "B - A, mag", "width, mag", "width / errors"])
    for row in comparison.filters:
        numbers = (_number(row[name], ".4f") for name in ("dmag", "width"))
        table.add(row["filter"], str(row["n"]), *numbers, _number(row["pull_width"], ".2f"))
    table.show()
    for name, value in comparison.summary().items():
        words, digits = COMPARED_OBJECTS[name]
        say(f"{words:<44} {_number(value, digits)}")


def _number(value: float | None, digits: str) -> str:
    """Return a number as text; '-' if unknown."""
    return "-" if value is None or value != value else f"{value:{digits}}"  # noqa: PLR0124


def print_answer(table: Table) -> None:
    """Print the result of a query: the columns that are read first, one line per row."""
    from bycatch.catalogs.survey_columns import read_first
    from bycatch.survey.digits import format_of

    is_wide = len(table.colnames) > MOST_COLUMNS
    shown = table[read_first(table.colnames)] if is_wide else table.copy(copy_data=False)
    for column in shown.itercols():
        if column.dtype.kind == "f" and column.description:  # one of ours, not computed by SQL
            column.info.format = format_of(column.name, str(column.unit or ""))
    put("\n".join(shown.pformat(max_lines=MOST_ROWS, max_width=-1, show_unit=True)) + "\n")
    if not len(table):
        say("no rows")
    if len(shown.colnames) < len(table.colnames):
        say(f"{len(shown.colnames)} of {len(table.colnames)} columns; -o FILE writes all")


def print_status(status: Status) -> None:
    """Print the state of each image, what was lost, and what to do next."""
    steps = list(status.images[0].steps) if status.images else []
    table = Rows(["place", "image", *steps, "last run"], [])
    for image in status.images:
        place = f"{image.field}/{image.filter}"
        words = (*image.steps.values(), image.outcome or "-")
        table.add(place, image.root, *words, styles=STATE_STYLES)
    table.show()
    _print_group_status(status)
    losses = [(f"{i.field}/{i.filter} {i.root}", i.reason) for i in status.images if i.reason]
    losses += [(f"objects {g.name}", g.reason) for g in status.groups if g.reason]
    for name, why in [*losses, *status.lost]:
        say(f"{name}: {why}", "red")
    n_done = sum(image.is_done for image in status.images)
    say(
        f"{n_done} of {len(status.images)} image(s) up to date, {len(status.lost)} file(s) lost",
    )
    if n_done < len(status.images):
        say(_what_next(status))
    elif any(group.state != "done" for group in status.groups):
        say("run 'bycatch objects OUT' to make missing or outdated objects")


def _print_group_status(status: Status) -> None:
    """Print the state of the objects of each group."""
    table = Rows(["group", "objects", "last run"], ["images", "rows", "real"])
    for group in status.groups:
        counts = (_number(n, "d") for n in (group.n_images, group.n_objects, group.n_real))
        words = (group.name, group.state, group.outcome or "-")
        table.add(*words, *counts, styles=STATE_STYLES)
    if status.groups:
        table.show()


def _what_next(status: Status) -> str:
    """Return how to get the rest done: a run of its own would begin with the default settings."""
    steps_to_do = dict.fromkeys(
        step for image in status.images for step, state in image.steps.items() if state != "done"
    )
    if not 0 < len(steps_to_do) < len(status.images[0].steps):
        return "run 'bycatch run' to finish"
    steps = ", ".join(
        f"'bycatch {step} OUT'" for step in status.images[0].steps if step in steps_to_do
    )
    return f"run {steps} to finish with these settings, or 'bycatch run' with its own"


def print_limits(reports: list[Any]) -> None:
    """Print the completeness limits of all depths together, and where the rest lies."""
    table = Rows(["place", "image", "sources"], ["number", "90 %", "50 %"])
    for report in reports:
        for row in report.summary.get("limits", ()):
            if row["n_exp"] == 0:
                size = f' {row["re_arcsec"]:g}"' if row["re_arcsec"] else ""
                table.add(
                    f"{report.field}/{report.filter}",
                    report.root,
                    f"{row['kind']}{size}",
                    str(row["n"]),
                    *(_limit(row, level) for level in (90, 50)),
                )
    table.show()
    say("total AB magnitudes from a fitted curve; sources called cosmic rays count as lost")
    if any(path.stem.endswith("_purity") for report in reports for path in report.files):
        from bycatch.simulate.recovery import NEGATIVE_IS_BLIND_TO

        say(
            f"false fractions (_purity) include noise and cosmic rays, but not "
            f"{NEGATIVE_IS_BLIND_TO}"
        )
    for report in reports:
        for path in report.files:
            say(f"  {path}")
        if report.reason:
            text = f"{report.outcome}: {report.root}: {report.reason}"
            say(text, "red")


def _limit(row: dict[str, Any], level: int) -> str:
    value, error = row[f"mag_{level}_kept"], row[f"mag_{level}_kept_err"]
    if value is None:
        return "-"
    return f"{value:.2f}" if error is None else f"{value:.2f} ±{error:.2f}"


def print_plan(images: list[Any], skipped: tuple[Any, ...]) -> None:
    """Print what a run would do."""
    steps = list(images[0].steps) if images else []
    table = Rows(["place", "image", *steps], ["MB"])
    for image in images:
        place = f"{image.field}/{image.filter}"
        table.add(place, image.stem, *image.steps.values(), f"{image.megabytes:.1f}")
    table.show()
    for skip in skipped:
        word = "would be dropped" if skip.bad else "would be skipped"
        reason = skip.reason.removeprefix(f"{skip.path}: ")
        say(f"{word}: {skip.path}: {reason}")
    total = sum(image.megabytes for image in images)
    say(
        f"{len(images)} image(s), about {total:.0f} MB of products; nothing was written",
    )


def print_fetch(report: FetchReport) -> None:
    """Print the files of a fetch, or of its plan, and what came of them."""
    from bycatch.archive import State
    from bycatch.archive.model import in_mb, total_bytes

    files = report.files if report.is_plan else report.of(State.FAILED, State.THERE)
    table = Rows(["field", "file", "filter", "state"], ["MB"])
    for row in report.rows() if report.is_plan else ():
        table.add(*row.values(), styles=STATE_STYLES)
    if files and report.is_plan:
        table.show()
    for file in files:
        if file.reason:
            style = "red" if file.state == State.FAILED else ""
            say(f"{file.state}: {file.product.place}: {file.reason}", style)
    counts = ", ".join(f"{n} {state}" for state, n in report.counts().items())
    if not report.files:
        say(f"{report.wanted.words}: the archive lists no image")
    elif report.is_plan:
        files_to_fetch = report.of(State.TO_FETCH, State.STARTED)
        say(f"{counts}; {in_mb(total_bytes(files_to_fetch))} MB to fetch; nothing was written")
        if files_to_fetch and (report.wanted.parallels or report.wanted.filters):
            say("their headers will show whether they are wanted")
    else:
        say(f"{counts}; {in_mb(report.n_bytes)} MB in {report.elapsed_s:.1f} s; in {report.data}")


def print_assessment(assessments: list[Any], out: Path) -> None:
    """Print the comparison of a simulated visit with its truth."""
    names = list(assessments[0].row()) if assessments else []
    table = Rows([], names)
    for assessment in assessments:
        table.add(*assessment.row().values())
    table.show()
    for line in (*ASSESSMENT_LEGEND.splitlines(), ""):
        say(line)
    say("Open these:")
    for assessment in assessments:
        say(f"  {assessment.catalog}")
    say(f"  {out / 'summary.json'}")
