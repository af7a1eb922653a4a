"""The rehearsal compiles what runs need, and a first run begins it beside itself."""

import json
import os
import subprocess
import sys

import pytest

from bycatch import precompile
from bycatch.settings import SimulateSettings
from bycatch.simulate import simulate_visit, write_visit

RUN = """
import importlib, json, pkgutil, sys
from numba.core.dispatcher import Dispatcher
import bycatch, bycatch.kernels
from bycatch.precompile import compile_all
from bycatch.settings import Settings

def signatures():
    found = set()
    for known in pkgutil.iter_modules(bycatch.kernels.__path__):
        module = importlib.import_module(f"bycatch.kernels.{known.name}")
        for name, value in vars(module).items():
            if isinstance(value, Dispatcher):
                found |= {f"{known.name}.{name}{types}" for types in value.overloads}
    return found

compile_all()
rehearsed = signatures()
out, gaia, paths = sys.argv[1], sys.argv[2], sys.argv[3:]
for preset in ("classic", "deep"):
    settings, inputs = Settings.load(preset=preset), bycatch.Inputs(gaia=gaia)
    report = bycatch.run(paths, f"{out}/{preset}", settings, inputs)
    assert report.all_done
print(json.dumps([len(rehearsed), sorted(signatures() - rehearsed)]))
"""


@pytest.fixture
def begun(monkeypatch):
    """Return the calls by which processes were begun."""
    calls = []

    class Process:
        def __init__(self, words, **options):
            calls.append((words, options))

        def terminate(self):
            """Nothing runs."""

        wait = terminate

    monkeypatch.setattr(precompile.subprocess, "Popen", Process)
    monkeypatch.setattr(precompile, "n_cores", lambda: 2)
    monkeypatch.delenv(precompile.ALONE, raising=False)
    return calls


@pytest.mark.slow
def test_runs_need_no_kernel_that_was_not_rehearsed(tmp_path):
    settings = SimulateSettings(
        filters=("F606W", "F775W"), n_exposures=(1, 2), n_columns=500, n_rows=300, exptime_s=600.0
    )
    write_visit(simulate_visit(settings), tmp_path / "visit")
    folder = tmp_path / "visit"
    words = [sys.executable, "-c", RUN, tmp_path, folder / "gaia.ecsv", folder / "raw"]
    environment = os.environ | {precompile.ALONE: "1"}
    process = subprocess.run(
        [str(word) for word in words],
        check=False, capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    n_rehearsed, left = json.loads(process.stdout.splitlines()[-1])
    assert n_rehearsed > 50
    assert left == [], left


def test_a_first_run_lets_another_process_compile(begun):
    precompile.compile_aside()
    ((words, options),) = begun
    assert words[1:] == ["-P", "-m", "bycatch.precompile"]
    assert options["env"][precompile.ALONE] == "1"  # which starts no third one
    assert set(filter(None, sys.path)) <= set(options["env"]["PYTHONPATH"].split(os.pathsep))


def test_one_core_or_a_wish_to_compile_alone(begun, monkeypatch):
    monkeypatch.setenv(precompile.ALONE, "1")
    precompile.compile_aside()
    monkeypatch.delenv(precompile.ALONE)
    monkeypatch.setattr(precompile, "n_cores", lambda: 1)
    precompile.compile_aside()
    assert begun == []


def test_workers_start_no_process_of_their_own(begun, monkeypatch):
    monkeypatch.setattr(precompile.multiprocessing, "parent_process", object)
    precompile.compile_aside()
    assert begun == []


def test_a_system_without_room_for_a_process_goes_on(begun, monkeypatch):
    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(precompile.subprocess, "Popen", fail)
    precompile.compile_aside()
