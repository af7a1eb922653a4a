"""What comes from outside is printed as it is: no markup, no emoji, nothing drives a terminal."""

import ast
import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import bycatch
from bycatch.cli import console, printing
from bycatch.cli.session import LogFile
from bycatch.pipeline import FieldResult, ImageReport, Outcome, RunReport
from bycatch.pipeline.outcomes import GroupReport
from bycatch.system.words import printable

HOME = Path(bycatch.__file__).parent / "cli"
NAMES = (
    "a [old]", "q[/b]", "[red]x", ":smile:", "http://x.y", "tab\there", "new\nline", "\x1b[2J",
    "\x9b2J", "\udcff", "\u202egnp", "caf\xe9", "[", "\\", "[bold]", "100%", "{x}",
)  # fmt: skip
SHOWN = {name: name for name in NAMES} | {
    "tab\there": r"tab\there", "new\nline": r"new\nline", "\x1b[2J": r"\x1b[2J",
    "\x9b2J": r"\x9b2J", "\udcff": r"\xff", "\u202egnp": r"\u202egnp",
}  # fmt: skip


@pytest.fixture
def terminal(monkeypatch):
    """Return what is written on a terminal, in colours."""
    stream = io.StringIO()
    for name in ("stdout", "stderr"):
        output = console._console(console.Outlet(name))
        output._force_terminal, output.file = True, stream
        monkeypatch.setattr(console, name, output)
    return stream


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(terminal, name):
    text = SHOWN[name]
    console.say(f"in {name} it is")
    console.tell(f"in {name} it is")
    assert terminal.getvalue() == f"in {text} it is\n" * 2


@pytest.mark.parametrize("name", NAMES)
def test_names_in_tables_and_reasons_are_printed_as_they_are(monkeypatch, capsys, name):
    image = ImageReport(name, name, name, name, Outcome.FAILED, reason=f"{name}: no")
    monkeypatch.setattr(console, "stdout", Console(width=200, markup=False, highlight=False))
    printing.print_report(RunReport(Path(name), (FieldResult(name, (image,)),)))
    out = capsys.readouterr().out
    text = SHOWN[name]
    assert f"{text}/{text}" in out
    assert f"failed: {text}: {text}: no" in out


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_printable_text_is_one_line_that_any_stream_can_hold(text):
    words = printable(text)
    assert words.isprintable()
    words.encode("utf-8")
    if text.isprintable():
        assert words == text


def test_a_line_of_the_log_is_a_line(tmp_path):
    log = LogFile(tmp_path / "log", is_ours=True)
    record = logging.LogRecord("bycatch", logging.ERROR, "", 0, "%s: %s", ("a\nb", "\x1b[2J"), None)
    log.emit(record)
    log.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.endswith(r"ERROR   a\nb: \x1b[2J")


def test_our_log_goes_through_no_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "log").symlink_to(tmp_path / "precious")
    LogFile(tmp_path / "log", is_ours=True).close()
    assert not (tmp_path / "log").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("path", sorted(HOME.glob("*.py")), ids=lambda p: p.name)
def test_the_console_is_the_one_way_to_print(path):
    if path.name == "console.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {
                "print",
                "add_row",
                "add_column",
                "echo",
                "secho",
                "from_markup",
            }
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"Console", "Table"}
            if node.func.id == "TextColumn":
                assert any(k.arg == "markup" and not k.value.value for k in node.keywords)


def test_no_markup_in_the_consoles():
    for output in (console.stdout, console.stderr):
        assert not output._markup
        assert not output._emoji


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_streams_that_can_not_show_a_character_lose_it_only(tmp_path, environment):
    bad = tmp_path / "caf\xe9 \u2605"
    bad.mkdir()
    known = {
        "PYTHONPATH": ":".join(sys.path),
        "PATH": "",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    for words in (["inspect", bad], ["status", bad], ["config", "--preset", "\u2605"]):
        process = subprocess.run(
            [sys.executable, "-m", "bycatch", *map(str, words)],
            check=False, capture_output=True, timeout=60, env=known | environment,
        )  # fmt: skip
        text = process.stdout + process.stderr
        assert process.returncode in (1, 2)
        assert b"Traceback" not in text
        assert re.search(rb"\\u2605|\\x", text)


def test_objects_that_fail_are_no_image(tmp_path, capsys):
    image = ImageReport("a", "f_1", "F775W", "a_drc.fits", Outcome.DONE)
    group = GroupReport("J1", "failed", "the disk is full")
    report = RunReport(tmp_path, (FieldResult("f_1", (image,)),), groups=(group,))
    printing.print_report(report)
    assert "1 of 1 image(s) done" in capsys.readouterr().out
    assert "1 of 1" in report._repr_html_()
