"""What holds for the code as a whole: imports, printing, registries, portability."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bycatch import catalogs
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.columns import Column, expand
from bycatch.catalogs.flags import FLAGS, Flag, decode
from bycatch.products import STAGES
from bycatch.settings import Settings

HOME = Path(__file__).resolve().parents[1]
SOURCE = HOME / "src" / "bycatch"
MODULES = sorted(SOURCE.rglob("*.py"))
PATTERNS = (
    "src/**/*.py", "tests/*.py", "docs/**/*.md", "benchmarks/**/*.py", "*.md", "Makefile",
    "pyproject.toml",
)  # fmt: skip
TEXTS = [path for pattern in PATTERNS for path in sorted(HOME.glob(pattern))]


def name_of(path):
    return path.relative_to(HOME).as_posix()


def test_import_contracts_hold():
    """The direction of imports, as pyproject.toml draws it."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    process = subprocess.run(
        [sys.executable, "-c", code],
        check=False, cwd=HOME, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_console_of_the_command_line_prints(path):
    if path == SOURCE / "cli" / "console.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        assert not (isinstance(called, ast.Name) and called.id in {"print", "input"})
        written = node.attr if isinstance(node, ast.Attribute) else ""
        # The process that draws answers by its output, which is a pipe.
        assert path.parts[-2:] == ("figures", "process.py") or written not in {"stdout", "stderr"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_no_path_of_one_machine(path):
    """A home directory or mount point in a text would work on one machine only."""
    text = path.read_text(encoding="utf-8")
    roots = "|".join(("ho" + "me", "Us" + "ers", "wo" + "rk", "mn" + "t", "ro" + "ot"))
    assert not re.findall(rf"(?<![\w.~/])/(?:{roots})/\w+", text)


# ---------------------------------------------------------------- flags


def test_every_flag_has_a_meaning_and_an_owner():
    assert [m.flag for m in FLAGS] == list(Flag)
    for entry in FLAGS:
        assert len(entry.meaning) > 10
        assert entry.owner in STAGES


def test_flags_are_single_bits_and_decode():
    values = [int(flag) for flag in Flag]
    assert values == [1 << k for k in range(len(values))]
    assert decode(0) == []
    assert decode(int(Flag.EDGE | Flag.SATURATED)) == ["edge", "saturated"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_flag_bits_are_written_in_the_registry_only(path):
    if path.name == "flags.py":
        return
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"""flags(?:\[?["']?\]?)\s*[&|]=?\s*\d""", text)


# ---------------------------------------------------------------- columns


TABLES = {
    name: value
    for module in pkgutil.iter_modules(catalogs.__path__)
    if module.name.endswith("columns")
    for name, value in vars(importlib.import_module(f"bycatch.catalogs.{module.name}")).items()
    if isinstance(value, tuple) and value and all(isinstance(c, Column) for c in value)
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_described_once_and_in_full(name):
    written_out = expand(TABLES[name], (2.0, 4.5))
    names = [c.name for c in written_out]
    assert len(names) == len(set(names))
    for column in written_out:
        assert column.meaning
        assert column.ucd
        assert "{r}" not in column.name + column.meaning


def test_units_are_ones_that_astropy_knows():
    from astropy.units import Unit

    for table in TABLES.values():
        for column in table:
            if column.unit:
                Unit(column.unit)


def test_ucds_are_words_of_the_vocabulary_in_their_places():
    """UCD1+, as astropy has it: some words come first only, others never."""
    from astropy.io.votable.ucd import parse_ucd

    for table in TABLES.values():
        for column in table:
            parse_ucd(column.ucd, check_controlled_vocabulary=True)


def test_radii_in_names_are_written_with_g():
    names = [c.name for c in expand(CAT, (2.0, 4.5, 10.0))]
    assert {"flux_2_apcor", "flux_4.5_apcor", "flux_10_apcor"} <= set(names)


def test_written_tables_hold_registered_columns_only(finished):
    from bycatch import read_table

    registered = {c.name for t in TABLES.values() for c in expand(t, Settings().measure.radii_px)}
    tables = list(finished.rglob("*.ecsv"))
    assert "gaia.ecsv" in {path.name for path in tables}
    assert len(tables) >= 13
    for path in tables:
        assert set(read_table(path).colnames) <= registered
