"""What a run shows while it goes on, on a terminal and in a pipe, and how long it has to go."""

import io
import logging
import re

import pytest
from rich.console import Console

from bycatch import pipeline
from bycatch.cli import console as printer
from bycatch.cli.progress import (
    SECONDS_PER_MB,
    ProgressHandler,
    RunProgress,
    Workload,
    in_words,
)
from bycatch.cli.session import TerminalHandler
from bycatch.pipeline import Inputs
from bycatch.products import STAGES

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
ONE, TWO = "abc_01/F775W jabc01010", "abc_01/F475W jabc01020"


def work_of(n_images=2, size_mb=200.0, steps=STAGES):
    return Workload.of({f"abc_01/F775W jabc010{k}0": size_mb for k in range(n_images)}, steps)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


# ---------------------------------------------------------------- how long it will take


def test_every_step_of_the_chain_has_an_expected_time():
    assert set(SECONDS_PER_MB) >= set(STAGES)


def test_there_is_an_estimate_before_anything_is_done():
    small, large = work_of(1, 50.0), work_of(10, 220.0)
    # docs/speed_tables.md: 6 to 8 s for a full frame.
    assert 2 < small.seconds_left(0) < 6
    assert 50 < large.seconds_left(0) < 120


@pytest.mark.parametrize("slowness", [0.5, 1.0, 4.0])
def test_the_estimate_follows_the_pace(slowness):
    work = work_of(20)
    now, total = 0.0, slowness * work.seconds_left(0)
    images = sorted({image for image, _ in work.pending})
    estimates = {}
    for step in STAGES:  # as a field is done: step by step
        for image in images:
            seconds = slowness * work.pending[image, step]
            work.begin(image, step, now)
            now += seconds
            work.end(image, step, seconds)
            estimates[now / total] = work.seconds_left(now) / max(total - now, 1.0)
    for share, ratio in estimates.items():
        if 0.2 < share < 0.9:
            assert ratio == pytest.approx(1, rel=0.3)
    assert not work.pending
    assert work.seconds_left(now) == 0


def test_the_estimate_counts_down_within_a_step_and_never_below_what_follows():
    work = work_of(2)
    image, _ = next(iter(work.pending))
    later = sum(work.pending.values()) - work.pending[image, "detect"]
    work.begin(image, "detect", 0.0)
    left = [work.seconds_left(t) for t in (0.0, 0.5, 1.5, 60.0)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[2] > left[3] >= later


def test_two_at_a_time_take_half_the_time():
    alone, pair = work_of(8), work_of(8)
    for work, n in ((alone, 1), (pair, 2)):
        for image in sorted({image for image, _ in work.pending})[:n]:
            work.begin(image, "detect", 0.0)
    assert pair.seconds_left(0.0) == pytest.approx(alone.seconds_left(0.0) / 2)


def test_what_is_up_to_date_says_nothing_of_the_pace():
    work = work_of(2)
    before = work.seconds_left(0.0)
    for image, step in list(work.pending):
        if step in ("detect", "crmask"):
            work.end(image, step, None)
    assert work.worked_s == 0
    assert work.seconds_left(0.0) < before
    assert work.n_over == 4


def test_a_lost_image_takes_no_more_time():
    work = work_of(2)
    (image, *_) = sorted({image for image, _ in work.pending})
    half = work.seconds_left(0.0) / 2
    work.begin(image, "crmask", 0.0)
    work.lose(image)
    assert not work.at_work
    assert (work.n_images_over, work.n_over) == (1, 5)
    assert work.seconds_left(0.0) == pytest.approx(half)


def test_work_without_images_is_over():
    work = Workload.of({}, STAGES)
    assert (work.share, work.seconds_left(0.0), work.n_images) == (1.0, 0.0, 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "some seconds"), (9.9, "some seconds"), (12, "about 10 s"), (28, "about 30 s"),
        (44, "about 40 s"), (94, "about 90 s"), (96, "about 2 min"), (600, "about 10 min"),
        (5400, "about 1 h 30 min"), (7190, "about 2 h 0 min"),
    ],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


# ---------------------------------------------------------------- what is shown


def logged(terminal, clock=None):
    """Return a logger that shows what it is told, the display, and what was written."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system="standard")
    progress = RunProgress(console, disable=not terminal, clock=clock or Clock())
    logger = logging.getLogger("bycatch")
    return logger, progress, stream, console


@pytest.fixture
def shown(monkeypatch):
    """Return a function that logs a few records of a run, and returns what was written."""

    def show(terminal, *, level=logging.INFO):
        clock = Clock()
        logger, progress, stream, console = logged(terminal, clock)
        monkeypatch.setattr(printer, "stderr", console)
        handlers = [TerminalHandler(level), ProgressHandler(progress, plain=not terminal)]
        monkeypatch.setattr(logger, "handlers", handlers)
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger._cache.clear()
        with progress:
            logger.info("2 image(s)", extra={"sizes_mb": {ONE: 200.0, TWO: 200.0}, "steps": STAGES})
            for image in (ONE, TWO):
                for step in STAGES:
                    logger.debug("%s: %s begins", image, step, extra={"at_work": (image, step)})
                    clock.now += 2.0
                    progress.refresh()
                    extra = {"at_work": (image, step), "step_over": True, "seconds": 2.0}
                    logger.info("%s: %s: [1.0] sources", image, step, extra=extra)
        logger._cache.clear()
        return stream.getvalue()

    return show


def test_a_terminal_shows_field_image_step_and_time_left(shown):
    text = shown(terminal=True)
    assert "\x1b[" in text
    lines = CONTROL.sub("\n", COLOUR.sub("", text)).splitlines()
    for image in (ONE, TWO):
        for step in STAGES:
            assert f"  {image}: {step}, 2 s" in lines
    bars = [line for line in lines if " steps " in line]
    assert any(re.search(r"0 of 2 images .* 0/10 steps .* about \d+ s left", b) for b in bars)
    assert any(re.search(r"1 of 2 images .* 5/10 steps 0:00:12 .* left", b) for b in bars)
    assert not any("image" not in bar for bar in bars)


def test_a_pipe_gets_plain_lines(shown):
    text = shown(terminal=False)
    assert not CONTROL.search(text)
    lines = text.splitlines()
    assert lines[0] == "2 image(s)"
    assert lines[1] == f"{ONE}: detect: [1.0] sources"
    assert len(lines) == 1 + 2 * len(STAGES) + 1
    assert re.fullmatch(r"1 of 2 images done, (about 10 s|some seconds) left", lines[6])


def test_details_are_for_those_who_ask(shown):
    assert "begins" not in shown(terminal=False)
    assert f"{ONE}: crmask begins" in shown(terminal=False, level=logging.DEBUG)


def test_a_record_before_the_run_is_no_matter():
    logger, progress, stream, _ = logged(terminal=False)
    handler = ProgressHandler(progress, plain=True)
    extra = {"at_work": (ONE, "detect")}
    handler.handle(logger.makeRecord("bycatch", logging.INFO, "", 0, "x", (), None, extra=extra))
    assert stream.getvalue() == ""


# ---------------------------------------------------------------- what the pipeline tells of


def taken_down(monkeypatch, work):
    """Return the display after some work of the pipeline, and the names that were at work."""
    logger, progress, _, _ = logged(terminal=False)
    names = []

    class Names(logging.Handler):
        def emit(self, record):
            if hasattr(record, "at_work") and not hasattr(record, "step_over"):
                names.append(record.at_work)

    monkeypatch.setattr(logger, "handlers", [ProgressHandler(progress, plain=False), Names()])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger._cache.clear()
    work()
    logger._cache.clear()
    return progress.workload, names


def test_the_pipeline_reports_every_step(monkeypatch, visit, tmp_path):
    def work():
        pipeline.run(visit.raw, tmp_path / "out", inputs=Inputs(gaia=visit.gaia))

    done, names = taken_down(monkeypatch, work)
    assert (done.n_images_over, done.n_over, done.share) == (2, 10, 1.0)
    assert not done.at_work
    assert done.worked_s > 0
    own = [step for step in STAGES if step != "align"]
    assert sorted(names) == sorted(
        [("abc_01", "align"), *((image, step) for image in (ONE, TWO) for step in own)]
    )


def test_the_pipeline_reports_what_is_up_to_date(monkeypatch, visit, done):
    def work():
        pipeline.run(visit.raw, done, inputs=Inputs(gaia=visit.gaia))

    known, names = taken_down(monkeypatch, work)
    assert (known.n_over, known.worked_s, names) == (10, 0.0, [])


def test_the_pipeline_reports_a_lost_image(monkeypatch, visit, done):
    next((done / "abc_01" / "F775W").glob("*_segm.fits.gz")).unlink()

    def work():
        pipeline.run_stages(done, ["align", "measure"])

    known, names = taken_down(monkeypatch, work)
    assert (ONE, "") in names
    assert (known.n_images_over, known.n_over) == (2, 4)
    assert not known.at_work


def test_processes_report_as_well(monkeypatch, visit, tmp_path):
    def work():
        pipeline.run(visit.raw, tmp_path / "out", inputs=Inputs(gaia=visit.gaia), workers=2)

    done, names = taken_down(monkeypatch, work)
    assert (done.n_images_over, done.n_over) == (2, 10)
    assert {name for name, _ in names} == {ONE, TWO, "abc_01"}
