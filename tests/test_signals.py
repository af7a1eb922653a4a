"""A run that is ended at any moment, by whatever: no process is left, and the next run completes.

``BYCATCH_KILLS=100`` in the environment tries so many random moments instead of a few.
"""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from bycatch.catalogs.tables import read_table
from bycatch.cli.console import Outlet
from bycatch.cli.signals import SIGNALS, Stopped, Watch

N_KILLS = int(os.environ.get("BYCATCH_KILLS", "3"))
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}
LONGEST_S = 5.0
"""By then a run of the small visit has ended, or is in the middle of its work."""
PATIENCE_S = 10.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


class Command:
    """A command in a process of its own, which finds all processes that it has begun."""

    def __init__(self, *words, **options):
        self.mark = f"BYCATCH_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bycatch", *map(str, words)],
            env=os.environ | {name: value, "BYCATCH_COMPILE_ALONE": ""},
            text=True,
            start_new_session=True,
            **streams,
        )

    def left(self):
        """Return the processes that are there: number and words."""
        result_of = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (path / "environ").read_bytes():
                    words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if words.strip():
                        result_of[int(path.name)] = words
            except OSError:
                continue
        return result_of

    def workers(self):
        return [n for n, words in self.left().items() if "spawn_main" in words]

    def end(self, number=None, after_s=0.0):
        """Wait, send a signal, and return status, output and messages."""
        if number is not None:
            try:
                self.process.wait(after_s)
            except subprocess.TimeoutExpired:
                self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def wait_for(self, what, patience_s=60.0):
        """Return the first true answer of a call."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if result := what():
                return result
            time.sleep(0.02)
        raise AssertionError("it never came")

    def is_gone(self):
        """Tell whether none of its processes is left, after a while at the latest."""
        self.wait_for(lambda: not self.left(), PATIENCE_S)
        return True


@pytest.fixture
def begin(visit, tmp_path):
    """Return a function that begins a run on the visit."""
    starts = []

    def run(*words, **options):
        out = tmp_path / "out"
        command = Command("run", visit.raw, "-o", out, "--gaia", visit.gaia, *words, **options)
        starts.append(command)
        return command

    yield run
    for command in starts:
        for number in command.left():
            os.kill(number, signal.SIGKILL)
        command.process.communicate()


def check_products(out):
    """Assert that nothing is half-written."""
    assert not list(out.rglob(".part-*"))
    for path in out.rglob("*.ecsv"):
        read_table(path)


def test_a_run_that_is_ended_at_any_moment(begin, tmp_path):
    seed = random.randrange(10**6)
    chosen = random.Random(seed)
    for _ in range(N_KILLS):
        number, after_s = chosen.choice(list(STATUS)), chosen.uniform(0.0, LONGEST_S)
        command = begin("-j", chosen.choice("12"))
        status, _, err = command.end(number, after_s)
        told = f"{number!r} after {after_s:.2f} s (seed {seed}): {status}\n{err}"
        # Before Python watches signals, they end it without a word.
        assert status in (0, STATUS[number], -number), told
        assert "Traceback" not in err or number is signal.SIGKILL or after_s < 0.5, told
        assert command.is_gone(), told
    status, _, err = begin("-j", "1").end()
    assert status == 0, err
    check_products(tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_run_with_its_workers(begin, tmp_path, number):
    command = begin("-j", "2", "--engine", "processes")
    command.wait_for(command.workers)
    status, out, err = command.end(number)
    assert status == STATUS[number]
    assert out == ""
    assert err.splitlines()[-1].startswith("bycatch: interrupted; finished work is kept")
    assert "Traceback" not in err
    assert command.is_gone()
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_workers_end_with_a_parent_that_was_killed(begin):
    command = begin("-j", "2", "--engine", "processes")
    command.wait_for(command.workers)  # one: there is one field
    command.process.kill()
    assert command.is_gone()


# ---------------------------------------------------------------- readers that go away


@pytest.mark.parametrize("words", ["2>&1 | head -1", ">&- 2>&- <&-"])
def test_a_reader_that_goes_away_costs_no_run(visit, tmp_path, words):
    out = tmp_path / "out"
    command = (
        f"set -o pipefail; '{sys.executable}' -m bycatch run '{visit.raw}' -o '{out}' "
        f"--gaia '{visit.gaia}' {words}"
    )
    process = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    for text in ("Traceback", "Exception ignored", "rror"):
        assert text not in process.stderr
    assert (out / "summary.json").exists()
    assert (out / "report.html").exists()
    check_products(out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_costs_the_log(bycatch, visit, done):
    words = ["run", visit.raw, "-o", done, "--gaia", visit.gaia, "--log-file", "/dev/full"]
    result = bycatch(*words)
    assert result.status == 0
    assert result.err.count("the log has stopped: /dev/full can't be written") == 1
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", ["--help", "config", "status ."])
@pytest.mark.parametrize("target", ["/dev/full", "a closed pipe"])
def test_small_commands_lose_their_readers_without_a_traceback(tmp_path, words, target):
    to = ">/dev/full" if target == "/dev/full" else "| true"
    process = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m bycatch {words} {to}"],
        check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr
    if target == "/dev/full" and words == "config":
        lost = "bycatch: the output is incomplete: [Errno 28] No space left on device"
        assert (process.returncode, process.stderr.strip()) == (1, lost)


# ---------------------------------------------------------------- in this process


def test_a_stream_that_fails_goes_quiet(monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        flush = isatty = write

    for name in ("stdout", "stderr"):
        outlet = Outlet(name)
        monkeypatch.setattr(sys, name, Full())
        outlet.write("lost")
        assert "No space left" in outlet.problem
    monkeypatch.setattr(sys, "stdout", None)
    Outlet("stdout").write("nowhere")


def send(number):
    """Send this process a signal and wait for it."""
    os.kill(os.getpid(), number)
    time.sleep(1)


@pytest.fixture
def handlers():
    """Leave the handlers of this process as they were."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_watch_raises_once_and_leaves_no_trace(number):
    before = signal.getsignal(number)
    watch = Watch()
    with watch, pytest.raises(Stopped) as raised:
        send(number)
    assert raised.value.status == 128 + number
    with watch:  # anew
        watch.check()
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("handlers")
def test_two_signals_at_once_are_one_and_a_later_one_ends_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr("bycatch.cli.signals.os._exit", ended.append)
    with Watch() as watch:
        with pytest.raises(Stopped):
            send(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` does: process, then group
        assert ended == []
        with pytest.raises(Stopped):
            watch.check()
        monkeypatch.setattr("bycatch.cli.signals.GRACE_S", -1.0)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended == [130]


@pytest.mark.usefixtures("handlers")
def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    with Watch():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_in_a_finalizer_says_nothing_and_counts_later(handlers, capsys):
    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(100):
                pass

    with Watch() as watch:
        Finalized()
        with pytest.raises(Stopped):
            watch.check()
    assert capsys.readouterr().err == ""


def test_an_error_that_a_signal_caused_is_the_signal(bycatch, monkeypatch, tmp_path, visit):
    def fail(*_, **__):
        try:
            send(signal.SIGTERM)
        except BaseException as err:
            raise ImportError("numpy failed to import") from err

    monkeypatch.setattr("bycatch.pipeline.run", fail)
    result = bycatch("run", visit.raw, "-o", tmp_path / "out")
    assert result.status == 143
    assert "numpy" not in result.err


def test_a_signal_amid_code_that_bears_no_exception_waits_a_moment():
    """Compiled code of numba that calls Python ended with a segmentation fault."""
    ended = []

    def call_in(module, function):
        scope = {"__name__": module, "function": function}
        exec("def call():\n    function()\n    return True", scope)
        return scope["call"]()

    def interrupted():
        send(signal.SIGTERM)
        ended.append("whole")

    with Watch() as watch:
        assert call_in("numba.core.typing", interrupted)
        assert ended == ["whole"]
        assert watch.stop is None
        with pytest.raises(Stopped):
            time.sleep(2.0)
    with Watch(), pytest.raises(Stopped):
        call_in("numpy", interrupted)
    assert ended == ["whole"]


STARTED_AMID = """
import os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor

import bycatch.cli

start = threading.Thread.start


def interrupted_start(self):
    threading.Thread.start = start
    start(self)
    os.kill(os.getpid(), signal.SIGINT)


def work():
    pool = ThreadPoolExecutor(1)
    threading.Thread.start = interrupted_start
    pool.submit(int).result()
    threading.Event().wait(5)
    return 0


bycatch.cli._status = work
signal.signal(signal.SIGINT, signal.default_int_handler)
bycatch.cli.main()
"""


def test_ctrl_c_amid_the_start_of_a_thread_ends_the_process():
    """A pool's thread that was started but not yet in the pool's books held the exit for ever."""
    process = subprocess.run(
        [sys.executable, "-c", STARTED_AMID],
        check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert process.returncode == STATUS[signal.SIGINT], process.stderr
    assert "Traceback" not in process.stderr
