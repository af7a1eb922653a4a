"""The documentation agrees with the program."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from typer.main import get_command
from typer.testing import CliRunner

import bycatch
from bycatch.cli.app import app
from bycatch.settings import Settings, walk
from bycatch.testing.scene import drc_hdus, make_scene

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


def load_script(path: Path) -> ModuleType:
    """Import a script by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name", ["products.md", "summary.md", "settings.md", "commands.md", "glossary.md"]
)
def test_reference_pages_are_made_from_the_program(name: str) -> None:
    script = load_script(REPOSITORY / "docs" / "make_reference.py")
    assert (REPOSITORY / "docs" / name).read_text(encoding="utf-8") == script.PAGES[name](), (
        "run python docs/make_reference.py"
    )


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the examples of a page, in order: language and text."""
    return re.findall(
        r"^```(sh|python)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


DEMO = "bycatch simulate demo"
SMALL_DEMO = f"{DEMO} --set simulate.n_columns=700 --set simulate.n_rows=330"
INTERPRETER = """
import json, sys, traceback
names = {}
for line in sys.stdin:
    problem = ""
    try:
        exec(json.loads(line), names)
    except BaseException:
        problem = traceback.format_exc()
    print("\\x00" + json.dumps(problem), flush=True)
"""


@contextmanager
def interpreter(folder: Path, environment: dict[str, str]) -> Iterator[Callable[[str], str]]:
    """Give a function that runs Python in one process, and returns the traceback of an error."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERPRETER], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(text: str) -> str:
            stdin.write(json.dumps(text) + "\n")
            stdin.flush()
            said = next(line for line in stdout if line.startswith("\x00"))
            return str(json.loads(said[1:]))

        yield run
        stdin.close()


def commands(page: Path) -> list[list[str]]:
    """Return the words of all commands of bycatch that a page shows."""
    found = re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [
        shlex.split(re.sub(r"\$\w+", "4", line.removeprefix("$ ")), comments=True)[1:]
        for line in lines
        if line.removeprefix("$ ").startswith("bycatch ")
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_commands_of_every_page_are_such_as_the_program_takes(page: Path) -> None:
    for words in commands(page):
        command = get_command(app)
        context = command.make_context("bycatch", [*words])
        while rest := hasattr(command, "resolve_command") and _rest(context):
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
        assert context.params, words


def _rest(context: Any) -> list[str]:
    """Return the words that are left for the commands of a group."""
    return [*context._protected_args, *context.args]


def test_the_example_of_a_bare_header_runs(
    tmp_path: Path, bycatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rates = make_scene((200, 240), n_stars=9)
    header = WCS(drc_hdus(rates)["SCI"].header).to_header()
    fits.PrimaryHDU((60 * rates).astype(np.float32), header).writeto(tmp_path / "image.fits")
    monkeypatch.chdir(tmp_path)
    (words,) = commands(DOCS / "input.md")
    result = bycatch(*words, "--offline")
    assert result.status == 0, result.err
    assert (tmp_path / "out/tuc_47/F606W/image_cat.ecsv").exists()


@pytest.mark.slow
def test_every_example_of_the_tutorial_and_the_how_to_pages_runs(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BYCATCH_CACHE": "off",
    }
    count = 0
    for page in ("tutorial", "howto", "api", "installation"):
        with interpreter(tmp_path, environment) as run_python:  # the examples follow one another
            for language, text in blocks(DOCS / f"{page}.md"):
                if language == "python":
                    problem = run_python(text)
                    assert not problem, f"{text}\n{problem}"
                else:
                    process = subprocess.run(
                        ["bash", "-ec", text.replace(DEMO, SMALL_DEMO)], cwd=tmp_path,
                        env=environment, capture_output=True, text=True, check=False,
                    )  # fmt: skip
                    assert process.returncode == 0, f"{text}\n{process.stdout}\n{process.stderr}"
                count += 1
    assert count > 15


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    # test_notebook.py runs the notebook; `make docs` does both.
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "-D", "nb_execution_mode=off"]
    words += ["-b", "html", DOCS, tmp_path / "site"]
    process = subprocess.run(words, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    pages = {path.stem for kind in ("md", "ipynb") for path in DOCS.glob(f"*.{kind}")}
    assert pages <= {path.stem for path in (tmp_path / "site").glob("*.html")}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_named_in_the_pages_exist(page: Path) -> None:
    names = {f"{section}.{name}" for section, name, _ in walk()}
    sections = "|".join(Settings.model_fields)
    modules = r"run|read_drc|py|ecsv|md"
    named = set(
        re.findall(rf"(?<![\w/.])((?:{sections})\.(?!{modules})[a-z_0-9]+)", page.read_text())
    )
    assert named <= names


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


def test_the_design_page_names_every_module_and_no_other() -> None:
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    package = REPOSITORY / "src" / "bycatch"
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    named = {path.name for path in modules if not path.name.startswith("__")}
    words = set(re.findall(r"\b[a-z_]+\.py\b", page))
    assert named <= words
    assert words <= {path.name for path in modules}
    folders = {path.parts[0] for path in modules if len(path.parts) > 1}
    assert folders <= set(re.findall(r"^### ([a-z_]+)/", page, re.MULTILINE))


def test_the_design_page_has_the_layers_of_the_contract() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "containers" not in contract
    )
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    layers = "\n".join(contract["layers"]).replace("bycatch.", "")
    assert f"```\n{layers}\n```" in page


def undescribed_arguments(function: ast.stmt) -> list[str]:
    """Return the arguments of a public function that its section Parameters does not name."""
    if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
        return []
    section = (ast.get_docstring(function) or "").partition("Parameters\n---")[2]
    section = re.split(r"\n\w[\w ]*\n---", section)[0]
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if not re.search(rf"\b{name}\b", section)]


@pytest.mark.parametrize("package", ["kernels", "stages"])
def test_public_functions_describe_their_parameters(package: str) -> None:
    lacking = [
        f"{path.name}: {statement.name}: {', '.join(names)}"
        for path in sorted((REPOSITORY / "src" / "bycatch" / package).rglob("*.py"))
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if (names := undescribed_arguments(statement))
    ]
    assert lacking == []


def test_one_line_helps_fit_80_columns() -> None:
    lines = (DOCS / "commands.md").read_text(encoding="utf-8").splitlines()
    helps = [line for line in lines if re.match(r"  [a-z]+ {2,}[A-Z]", line)]
    assert len(helps) >= 20
    assert [line for line in helps if len(line) > 80 or line.endswith("...")] == []


def test_the_api_pages_have_every_public_name() -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "fetch.md"))
    directives = re.findall(r"^\.\. auto\w+:: bycatch\.([\w.]+)", text, re.MULTILINE)
    words = {word for directive in directives for word in directive.split(".")}
    assert set(bycatch.__all__) - {"__version__", "simulate", "sort"} <= words


def slug(heading: str) -> str:
    """Return the anchor of a heading, as MyST and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        linked = (page.parent / target) if target else page
        text = linked.read_text(encoding="utf-8")
        anchors = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert anchor in anchors | set(re.findall(r"^\((\S+)\)=$", text, re.MULTILINE)), anchor
