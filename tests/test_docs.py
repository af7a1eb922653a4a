"""The documentation agrees with the program."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from bycatch.cli import app
from bycatch.settings import Settings, walk

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


def load_script(path: Path) -> ModuleType:
    """Import a script by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_products_page_is_made_from_the_registries() -> None:
    script = load_script(REPOSITORY / "docs" / "make_products.py")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        "run python docs/make_products.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_named_in_the_pages_exist(page: Path) -> None:
    known = {f"{section}.{name}" for section, name, _ in walk()}
    sections = "|".join(Settings.model_fields)
    modules = r"run|read_drc|py|ecsv|md"
    named = set(re.findall(rf"(?<![\w/.])((?:{sections})\.(?!{modules})[a-z_]+)", page.read_text()))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_named_in_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"^ *(?:\.venv/bin/)?bycatch ([a-z]+)", text, flags=re.MULTILINE))
    for command in commands:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0, command


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)", readme, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
