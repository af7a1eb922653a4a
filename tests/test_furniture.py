"""What stands around the program agrees with pyproject.toml: versions, Pythons, names, extras."""

import datetime as dt
import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from bycatch.version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
ABOUT, TOOLS = PROJECT["project"], PROJECT["tool"]
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
LOWEST_PYTHON = ABOUT["requires-python"].removeprefix(">=")
NEWEST_PYTHON = "3.13"
"""Of `make test-newest` in .ci/run."""
CONDA_NAMES = {
    "astropy": "astropy-base",
    "matplotlib": "matplotlib-base",
    "duckdb": "python-duckdb",
}


def text(path):
    return (REPOSITORY / path).read_text("utf-8")


def loaded(path):
    return yaml.safe_load(text(path))


def words_of(path):
    return " ".join(text(path).split())


def needs(*extras):
    """Names and lowest versions of what users install."""
    arguments = [n for extra in extras for n in ABOUT["optional-dependencies"][extra]]
    return dict(need.split(">=") for need in (arguments if extras else ABOUT["dependencies"]))


# ---- names and versions -------------------------------------------------------------------------


def test_citation_and_codemeta_have_the_version_name_and_licence():
    citation, meta = loaded("CITATION.cff"), json.loads(text("codemeta.json"))
    assert citation["version"] == meta["version"] == __version__
    assert citation["license"] == ABOUT["license"]
    assert meta["license"].endswith(f"/{ABOUT['license']}")
    assert citation["title"].startswith(f"{ABOUT['name']}:")
    assert meta["name"] == ABOUT["name"]
    assert meta["description"] == ABOUT["description"]
    assert meta["keywords"] == ABOUT["keywords"]


def test_codemeta_names_every_requirement():
    meta = json.loads(text("codemeta.json"))
    assert dict(need.split(">=") for need in meta["softwareRequirements"]) == needs()
    assert meta["programmingLanguage"]["version"] == ABOUT["requires-python"]
    for key in ("softwareHelp", "readme", "referencePublication"):
        assert (REPOSITORY / meta[key]).exists()


# ---- packaging ----------------------------------------------------------------------------------


def test_the_conda_recipe_agrees_with_the_project():
    recipe = loaded("packaging/conda/recipe.yaml")
    context = recipe["context"]
    assert context["name"] == ABOUT["name"]
    assert context["version"] == __version__
    assert context["python_min"] == LOWEST_PYTHON
    wanted = {CONDA_NAMES.get(name, name): lowest for name, lowest in needs().items()}
    names = dict(need.split(" >=") for need in recipe["requirements"]["run"])
    assert names.pop("python") == "${{ python_min }}"
    assert names == wanted
    extras = set(ABOUT["optional-dependencies"]) - {"all", "docs", "dev", "release"}
    optional = needs(*sorted(extras))
    wanted = {CONDA_NAMES.get(name, name): lowest for name, lowest in optional.items()}
    assert dict(n.split(" >=") for n in recipe["requirements"]["run_constraints"]) == wanted
    host = [need.replace(" ", "") for need in recipe["requirements"]["host"]]
    assert PROJECT["build-system"]["requires"][0] in host
    (script,) = recipe["build"]["python"]["entry_points"]
    assert dict([script.split(" = ")]) == ABOUT["scripts"]
    assert recipe["about"]["license"] == ABOUT["license"]
    assert (REPOSITORY / recipe["about"]["license_file"]).exists()
    assert re.fullmatch(r"[0-9a-f]{64}", recipe["source"]["sha256"])


def test_the_container_file_is_well_formed():
    lines = re.sub(r"\\\n", " ", text("packaging/Containerfile")).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    values = {"FROM", "COPY", "RUN", "LABEL", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in steps} <= values
    assert steps[0][0] == "FROM"
    pythons = {re.search(r"python:([\d.]+)", rest)[1] for word, rest in steps if word == "FROM"}
    assert pythons == {NEWEST_PYTHON}
    assert f'image.version="{__version__}"' in text("packaging/Containerfile")
    assert f'licenses="{ABOUT["license"]}"' in text("packaging/Containerfile")
    assert ["ENTRYPOINT", f'["{ABOUT["name"]}"]'] in steps
    # Nothing runs as root.
    words = [word for word, _ in steps]
    assert words.index("USER") < words.index("ENTRYPOINT")
    # Kernels are compiled by a user of the container, where all of them may write: else numba does
    # not use what is there.
    compiles = next(k for k, (_, rest) in enumerate(steps) if "bycatch.precompile" in rest)
    assert words.index("USER") < compiles
    assert "chmod -R a+rwX /opt/bycatch/numba" in steps[compiles][1]
    assert ["ENV", "NUMBA_CACHE_DIR=/opt/bycatch/numba"] in steps


def test_all_extras_are_those_of_users():
    extras = ABOUT["optional-dependencies"]
    names = re.fullmatch(r"bycatch\[(.+)\]", extras["all"][0])[1].split(",")
    assert set(names) == set(extras) - {"all", "docs", "dev", "release"}


# ---- workflows, hooks, templates ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["ci.yml", "weekly.yml"])
def test_workflows_call_targets_that_exist_on_supported_pythons(name):
    flow = loaded(f".github/workflows/{name}")
    assert flow["permissions"] == {"contents": "read"}
    called, pythons = set(), set()
    for job in flow["jobs"].values():
        if "uses" in job:
            assert (REPOSITORY / job["uses"]).exists()
            continue
        assert job["timeout-minutes"] <= 60
        rows = job.get("strategy", {}).get("matrix", {}).get("include", [])
        called |= {row["target"] for row in rows}
        pythons |= {row["python"] for row in rows}
        for step in job["steps"]:
            called |= set(re.findall(r"\bmake ([a-z-]+)", step.get("run", "")))
            python = str(step.get("with", {}).get("python-version", ""))
            pythons |= {python} - {"", "${{ matrix.python }}"}
    assert called <= TARGETS
    assert pythons <= {LOWEST_PYTHON, NEWEST_PYTHON}


def test_workflows_and_the_other_definition_run_the_same_targets():
    here = set(re.findall(r"^\s*make ([a-z-]+)", text(".ci/run"), re.MULTILINE))
    flow = text(".github/workflows/ci.yml")
    there = set(re.findall(r"\bmake ([a-z-]+)|target: ([a-z-]+)", flow))
    # The demo is part of release-check there.
    assert here - {"demo"} <= {name for pair in there for name in pair}


def test_hooks_run_what_make_check_runs():
    hooks = loaded(".pre-commit-config.yaml")["repos"][0]["hooks"]
    entries = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    check = re.search(r"^check:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)[1]
    assert set(re.findall(r"\$\(BIN\)/(\S+)", check)) <= entries


def test_issue_templates_ask_for_what_the_commands_print():
    requests = {}
    for path in sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text("utf-8"))
        if path.stem == "config":
            continue
        assert form["name"]
        assert form["description"]
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids))
        requests[path.stem] = path.read_text("utf-8")
    assert "bycatch explain" in requests["wrong_result"]
    assert all("bycatch inspect" in words for words in requests.values())
    assert all("bycatch --version" in words for words in requests.values())


# ---- change log ---------------------------------------------------------------------------------


def test_fragments_belong_to_a_section():
    config = TOOLS["towncrier"]
    assert (REPOSITORY / config["template"]).exists()
    kinds = [kind["directory"] for kind in config["type"]]
    assert kinds == ["added", "changed", "fixed", "removed", "api"]
    for path in (REPOSITORY / config["directory"]).iterdir():
        if path.name in config["ignore"]:
            continue
        assert re.fullmatch(rf"[\w+-]+\.({'|'.join(kinds)})(\.\d+)?\.md", path.name), path.name
        assert path.read_text("utf-8").strip()
    changes = text(config["filename"])
    assert config["start_string"] in changes
    assert re.search(rf"^## {re.escape(__version__)}\b", changes, re.MULTILINE)


# ---- paper --------------------------------------------------------------------------------------

FIGURES = [
    ("{} % of the detectable sources are found", r"\| deep \| all \| \S+ = (\S+) %"),
    ("{} % of the rows are real.", r"\| deep \| all \| [^|]+\| \S+ = (\S+) %"),
    ("right to {} % in an aperture of 4 px", r"\| all \| 390 \| [^|]+ \| (\S+ ± \S+) \|"),
    ("Of 400 fields with five or more Gaia stars {} are", r"at least 99 % \| (\d+) of 400 ="),
    ("none of {} alignments is wrong", r"wrong alignments: none \| 0 of (\d+) \|"),
    ("those stated has a width of {}.", r"robust width: 0.9 to 1.1 \| (\S+) \|"),
    ("{} % of the rows of the clean catalog", r"\| single \| drc alone \|(?: \S+ \|){3} (\S+) \|"),
    ("above 5 are real; {} % if", r"\| single \| other images \|(?: \S+ \|){3} (\S+) \|"),
    ("It loses {} %", r"\| single \| drc alone \|(?: \S+ \|){4} (\S+) % of \d+"),
    ("and {} % of the stars.", r"\| single \| other images \|(?: \S+ \|){4} (\S+) % \|"),
    ("In crowded fields {} to", r"\| crowded \| F814W, 3 \|.* \| (\S+) / \S+ / \S+ \|"),
    ("to {} % of the stars of 24", r"\| crowded \| F475W, 2 \|.* \| (\S+) / \S+ / \S+ \|"),
    ("{} times less than the same", r"\| classic \| these steps .*\| (\d+) \|"),
    ("and {} times less", r"\| deep \| these steps .*\| (\d+) \|"),
    ("{} times faster than astroscrappy", r"\| those of the chain \| \S+ \| \S+ \| (\d+) \|"),
]
"""A phrase of the paper, and where a table of the documentation has its number."""


@pytest.mark.parametrize(("phrase", "row"), FIGURES, ids=[phrase for phrase, _ in FIGURES])
def test_the_papers_figures_are_those_of_the_documentation(phrase, row):
    pages = sorted((REPOSITORY / "docs").rglob("*.md"))
    matches = [m for page in pages for m in re.findall(row, page.read_text("utf-8"))]
    assert matches, f"no table has {row}"
    text = [words for value in matches for words in [phrase.format(value)]]
    if phrase.startswith("{} times less"):
        text = [f"{value} and " for value in matches]
    assert any(words in words_of("paper/paper.md") for words in text), text


def test_the_paper_has_what_a_journal_asks_for():
    paper = text("paper/paper.md")
    _, header, body = paper.split("---\n", 2)
    about = yaml.safe_load(header)
    assert about["title"].startswith("bycatch:")
    assert {"authors", "affiliations", "date", "tags", "bibliography"} <= set(about)
    dt.datetime.strptime(about["date"], "%d %B %Y").replace(tzinfo=dt.UTC)
    for heading in ("Summary", "Statement of need", "State of the field", "References"):
        assert f"# {heading}\n" in body
    cited = set(re.findall(r"@(\w+)", body))
    keys = set(re.findall(r"^@\w+\{(\w+),", text("paper/paper.bib"), re.MULTILINE))
    assert cited == keys
    assert 250 <= len(body.split()) <= 1750


# ---- policies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "packaging/README.md"]
)
def test_links_of_the_policies_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)", text(path)):
        assert link.startswith("https://") or ((REPOSITORY / path).parent / link).exists(), link


def test_the_policy_names_targets_and_files_that_exist():
    policy = text("docs/policy.md")
    assert set(re.findall(r"make ([a-z-]+)", policy)) <= TARGETS
    for name in ("CITATION.cff", "codemeta.json", "src/bycatch/version.py", "changelog.d/"):
        assert name in policy
        assert (REPOSITORY / name).exists()


# ---- the gate -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gate():
    path = REPOSITORY / "benchmarks" / "gate.py"
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location("gate", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["gate"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(path.parent))
        sys.modules.pop("gate", None)


def busy(n):
    return lambda: sum(range(n))


@pytest.mark.parametrize(
    ("now", "failed"),
    [
        ({"ratio": 0.129, "peak_mb": 109.0}, []),
        ({"ratio": 0.131, "peak_mb": 100.0}, ["time over the library's"]),
        ({"ratio": 0.100, "peak_mb": 111.0}, ["peak, MB"]),
        ({"ratio": 0.200, "peak_mb": 200.0}, ["time over the library's", "peak, MB"]),
    ],
)
def test_the_gate_fails_at_a_factor_of_time_and_a_tenth_of_memory(gate, now, failed):
    before = {"ratio": 0.1, "peak_mb": 100.0}
    assert [failure.what for failure in gate.failures("a", before, now)] == failed
    assert gate.failures("new", {}, now) == []


def test_a_slower_kernel_fails_the_gate(gate, monkeypatch, capsys):
    monkeypatch.setattr(gate, "MIN_S", 0.003)
    before = {"a": {"ratio": 0.5}, "b": {"ratio": 0.5}}
    numbers, worse = gate.gate(
        [
            gate.Case("a", busy(20_000), busy(40_000)),
            gate.Case("b", busy(40_000), busy(40_000)),
        ],
        before,
        tries=2,
    )
    assert [failure.name for failure in worse] == ["b"]
    assert numbers["b"]["ratio"] > 0.65
    assert "FAILS" in capsys.readouterr().out


def test_the_history_keeps_what_was_not_measured(gate, tmp_path):
    path = tmp_path / "history.json"
    gate.record(path, {"a": {"ratio": 1.0}, "b": {"ratio": 2.0}})
    gate.record(path, {"b": {"ratio": 3.0}})
    entries = gate.read_history(path)
    assert entries[-1]["cases"] == {"a": {"ratio": 1.0}, "b": {"ratio": 3.0}}
    assert len(entries) == 2


def test_the_gate_compares_with_the_last_entry_of_the_same_processor(gate):
    entries = [
        {"commit": "a"},
        {"commit": "b", "processor": "x"},
        {"commit": "c", "processor": "y"},
    ]
    assert gate.baseline(entries, "x") == (entries[1], gate.SLOWER)
    assert gate.baseline(entries, "z") == (entries[2], gate.SLOWER_ELSEWHERE)


def test_the_history_of_the_repository_has_every_stage(gate):
    cases = gate.read_history(gate.HISTORY)[-1]["cases"]
    stages = ("detect", "crmask", "align", "measure", "finalize")
    assert {f"stage {name}" for name in stages} <= set(cases)
    assert all(numbers["ratio"] > 0 for numbers in cases.values())
