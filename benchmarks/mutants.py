"""Change the code in one place at a time, and see whether a test fails.

    python benchmarks/mutants.py --sample 300 --seed 1      # a sample of all changes
    python benchmarks/mutants.py --kinds constant           # all numbers at the head of modules
    python benchmarks/mutants.py --only stages/sort.py      # all changes of one module
    python benchmarks/mutants.py --again                    # what survived, with the tests of now

The changes (*mutants*) are small: a number a fifth larger or smaller, ``<`` for ``<=`` or ``>=``,
``+`` for ``-``, ``and`` for ``or``, a condition turned round, the hint of an error left out.
Kernels are not changed (each change would compile them anew), nor annotations, texts, logging and
what only notebooks show.

The work is done in a copy of the repository below ``--folder``, so that the sources stay as they
are.  First each file of tests is run once, and it is noted which functions each test calls.  A
mutant then meets the tests that call its function, those that call little else first, until one
fails or ``--budget`` seconds of tests are over.  Results are appended to ``results.jsonl`` in the
folder: a run that is started again goes on where it was.  The end is a table in Markdown, and the
list of the mutants that live.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

HOME = Path(__file__).resolve().parents[1]
PACKAGE = "src/bycatch"
MODULES = (
    "stages/**/*.py", "pipeline/**/*.py", "catalogs/*columns.py", "catalogs/flags.py",
    "photcal.py",
)  # fmt: skip
# Tests of kernels and processes, and those that take long and look at one page or picture.
LEFT_OUT = re.compile(
    r"test_(real_data|report_browser|notebook|simulate|compiled|precompile|threads|memory"
    r"|figure_process|engines"
    r"|detect_kernels|measure_kernels|kernels|kron|lacosmic|deblend|matching|tiefit|noise_image"
    r"|sextractor)\.py"
)
COPIED = (
    "src", "tests", "benchmarks", "docs", "pyproject.toml", "README.md", "CONTRIBUTING.md",
    "CHANGELOG.md", "Makefile",
)  # fmt: skip
LIBRARIES = (
    "astropy.coordinates", "astropy.io.fits", "astropy.table", "astropy.time", "astropy.wcs",
    "numba", "pydantic", "scipy.ndimage", "scipy.optimize",
    "scipy.sparse", "scipy.spatial", "scipy.stats", "typer.testing",
)  # fmt: skip
KEPT = ("bycatch.kernels", "bycatch.system.subprocesses", "bycatch.version")
NO_TESTS = 5
SURVIVED = ("alive", "no test")

# ---- what is changed -----------------------------------------------------------------------

COMPARISONS = {
    ast.Lt: ("<", ("<=", ">=")), ast.LtE: ("<=", ("<", ">")), ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")), ast.Eq: ("==", ("!=",)), ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)), ast.NotIn: ("not in", ("in",)), ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.Pow: ("**", "*"), ast.FloorDiv: ("//", "*"),
}  # fmt: skip
OPPOSITES = {
    "min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum",
    "maximum": "minimum", "argmin": "argmax", "argmax": "argmin", "floor": "ceil", "ceil": "floor",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A change of one place: the text from ``start`` to ``end`` (bytes) becomes ``new``."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    old: str
    new: str
    functions: tuple[str, ...]
    """Names of the functions that the change is felt in; empty: any of the module."""

    @property
    def key(self) -> str:
        """A name that stays as long as the line does not move."""
        return f"{self.path}:{self.line}:{self.start}:{self.old}->{self.new}"


class Finder(ast.NodeVisitor):
    """Finds the mutants of one module."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text.encode()
        self.lines = [0]
        for raw in text.encode().splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(raw))
        self.tree = ast.parse(text)
        self.found: list[Mutant] = []
        self.function = ""
        self.holder = ""
        self.constants: tuple[str, ...] = ()
        self.users = self._users()

    def mutants(self) -> list[Mutant]:
        """Return all of them, in the order of the text."""
        self.visit(self.tree)
        return self.found

    def _users(self) -> dict[str, set[str]]:
        """Return the functions, and methods of classes, that use each name."""
        users: dict[str, set[str]] = defaultdict(set)
        for node in self.tree.body:
            holder = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
            for function in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(function, ast.FunctionDef):
                    for part in ast.walk(function):
                        if isinstance(part, ast.Name):
                            users[part.id].add(holder + function.name)
        return users

    def _place(self, line: int, column: int) -> int:
        return self.lines[line - 1] + column

    def _span(self, node: Any) -> tuple[int, int]:
        return (
            self._place(node.lineno, node.col_offset),
            self._place(node.end_lineno, node.end_col_offset),
        )

    def _add(self, node: Any, kind: str, start: int, end: int, new: str) -> None:
        functions: tuple[str, ...] = (self.function,) if self.function else ()
        if not self.function and self.constants:
            kind = "constant" if kind in {"number", "switch"} else kind
            functions = tuple(sorted(set().union(*(self.users[n] for n in self.constants))))
        old = self.text[start:end].decode()
        self.found.append(Mutant(self.path, node.lineno, kind, start, end, old, new, functions))

    def _between(self, left: ast.AST, right: ast.AST, symbol: str, new: str, kind: str) -> None:
        """Change an operator, which has no place of its own, between its sides."""
        start, end = self._span(left)[1], self._span(right)[0]
        words = symbol.replace(" ", r"\s+") if symbol[0].isalpha() else re.escape(symbol)
        found = re.search(
            words, re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), self.text[start:end].decode())
        )
        if found:
            self._add(left, kind, start + found.start(), start + found.end(), new)

    # -- where nothing is changed

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Go through the body only: defaults too, annotations and decorators not."""
        if node.name in {"_repr_html_", "__repr__"}:
            return
        outer = self.function
        self.function = outer or self.holder + node.name
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(part)
        self.function = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Note whose methods they are."""
        self.holder = f"{node.name}."
        for part in node.body:
            self.visit(part)
        self.holder = ""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Leave the annotation."""
        self._assigned([node.target], node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Note the names of constants."""
        self._assigned(node.targets, node.value)

    def _assigned(self, targets: list[Any], value: ast.AST | None) -> None:
        outer = self.constants
        self.constants = tuple(
            n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)
        )
        if value is not None:
            self.visit(value)
        self.constants = outer

    def visit_If(self, node: ast.If) -> None:
        """Leave blocks for type checkers; turn the condition round."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._turned(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Turn the condition round."""
        self._turned(node.test)
        self.generic_visit(node)

    def _turned(self, test: ast.AST) -> None:
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return  # the comparison itself is changed
        start, end = self._span(test)
        self._add(test, "condition", start, end, f"(not ({self.text[start:end].decode()}))")

    def visit_Call(self, node: ast.Call) -> None:
        """Leave calls of the log, and what cannot be seen from outside."""
        name = ast.unparse(node.func)
        if name.startswith("logger.") or name in {"re.compile", "np.errstate", "cast", "TypeVar"}:
            return
        for word in node.keywords:
            if word.arg == "hint":
                start, end = self._span(word.value)
                self._add(word.value, "hint", start, end, '""')
        part = node.func
        if isinstance(part, ast.Attribute | ast.Name):
            word_of = part.attr if isinstance(part, ast.Attribute) else part.id
            end = self._span(part)[1]
            if word_of in OPPOSITES:
                self._add(part, "opposite", end - len(word_of), end, OPPOSITES[word_of])
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        """Leave options that change nothing but speed, checks and order of what is equal."""
        if node.arg not in {
            "strict",
            "kind",
            "copy",
            "stacklevel",
            "extra",
            "dtype",
            "frozen",
            "eq",
            "in_place",
        }:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Change indices only where they are no part of a type."""
        if not ast.unparse(node.value).startswith(("NDArray", "tuple", "list", "dict")):
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts."""

    # -- what is changed

    def visit_Constant(self, node: ast.Constant) -> None:
        """Make a number a fifth larger or smaller; turn a switch."""
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self._add(node, "switch", start, end, str(not node.value))
        elif isinstance(node.value, int | float):
            for new in changed(node.value):
                self._add(node, "number", start, end, new)

    def visit_Compare(self, node: ast.Compare) -> None:
        """One comparison for another."""
        sides = (node.left, *node.comparators)
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            symbol, others = COMPARISONS[type(operator)]
            for other in others:
                self._between(left, right, symbol, other, "comparison")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """One operator for another."""
        if type(node.op) in ARITHMETIC:
            symbol, other = ARITHMETIC[type(node.op)]
            self._between(node.left, node.right, symbol, other, "arithmetic")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """``and`` for ``or``."""
        symbol, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, symbol, other, "logic")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Without the sign, or without ``not``."""
        start = self._span(node)[0]
        width = 3 if isinstance(node.op, ast.Not) else 1
        self._add(node, "sign", start, start + width, " ")
        self.generic_visit(node)


def changed(value: float) -> Iterator[str]:
    """Yield the numbers that stand in for one."""
    if isinstance(value, int):
        step = max(1, round(abs(value) / 5))
        yield str(value + step)
        if value > 1:
            yield str(value - step)
    elif value == 0:
        yield "1.0"
    else:
        yield f"{1.2 * value:.6g}"
        yield f"{0.8 * value:.6g}"


def all_mutants(home: Path) -> list[Mutant]:
    """Return the mutants of all modules."""
    package = home / PACKAGE
    paths = sorted({p for pattern in MODULES for p in package.glob(pattern)})
    return [
        mutant
        for path in paths
        for mutant in Finder(
            path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")
        ).mutants()
    ]


# ---- which tests call which functions: a plugin of pytest ------------------------------------


class Recorder:
    """Notes which functions of the package the tests of one file call, and how long they take."""

    def __init__(self, out: Path) -> None:
        self.out, self.prefix = out, f"{Path.cwd() / PACKAGE}{os.sep}"
        self.calls: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}
        self.costs: dict[str, float] = defaultdict(float)
        self.now: set[str] = set()
        self.names: dict[CodeType, str] = {}

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> None:
        code = frame.f_code
        name = self.names.get(code)
        if name is None:
            path = code.co_filename
            inside = path.startswith(self.prefix)
            outermost = code.co_qualname.partition(".<locals>")[0]
            name = f"{path[len(self.prefix) :]}:{outermost}" if inside else ""
            self.names[code] = name
        if name:
            self.now.add(name)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin with a test."""
        self.now = self.calls[nodeid]
        self.seconds[nodeid] = -time.perf_counter()
        threading.settrace(self._called)
        sys.settrace(self._called)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """End with it."""
        sys.settrace(None)
        self.seconds[nodeid] += time.perf_counter()

    def pytest_runtest_setup(self, item: Any) -> None:
        """Note which fixtures a test needs."""
        self.fixtures[item.nodeid] = list(item.fixturenames)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """Note what a fixture of many tests calls, and its time, apart from the tests."""
        if fixturedef.scope == "function":
            return (yield)
        before, began = self.now, time.perf_counter()
        self.now = self.calls[fixturedef.argname]
        result = yield
        self.now = before
        self.costs[fixturedef.argname] += time.perf_counter() - began
        return result

    def pytest_sessionfinish(self) -> None:
        """Write what was noted: what a test calls, and how long it and its fixtures take."""
        notes = {}
        for name, seconds in self.seconds.items():
            waits = {f: self.costs[f] for f in self.fixtures.get(name, ()) if f in self.costs}
            calls = self.calls[name].union(*(self.calls[f] for f in waits))
            notes[name] = {"calls": sorted(calls), "seconds": seconds, "waits": waits}
        self.out.write_text(json.dumps(notes), encoding="utf-8")


# ---- the copy of the repository, and runs of its tests ---------------------------------------


class Copy:
    """A copy of the repository in which one place is changed at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "copy"
        self.notes: dict[str, dict[str, Any]] = {}

    def fill(self) -> None:
        """Copy what is there now, with the machine code of the kernels."""
        for name in COPIED:
            source, target = HOME / name, self.root / name
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def record(self, wanted: re.Pattern[str]) -> None:
        """Run each file of tests once, unless that is done, and note what its tests call."""
        for path in sorted((self.root / "tests").glob("test_*.py")):
            if LEFT_OUT.fullmatch(path.name) or not wanted.search(path.name):
                continue
            text = path.read_bytes()
            out = (
                self.folder / "calls" / f"{path.stem}-{hashlib.sha256(text).hexdigest()[:12]}.json"
            )
            if not out.exists():
                out.parent.mkdir(exist_ok=True)
                status = self.tests([f"tests/{path.name}"], 1800.0, out)
                if status != "alive":
                    out.unlink(missing_ok=True)
                    print(f"{path.name} fails as the code is: it is left out", flush=True)
                    continue
            self.notes |= json.loads(out.read_text(encoding="utf-8"))

    def tests(self, names: list[str], timeout_s: float, record: Path | None = None) -> str:
        """Run tests until the first one fails; return 'alive', 'killed' or 'timeout'.

        In a copy of this process, which has the libraries and kernels loaded already.
        """
        child = os.fork()
        if child == 0:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
            os.chdir(self.root)
            plugins = [Recorder(record)] if record else []
            words = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
            words.append(f"--basetemp={self.folder / 'tmp'}")
            status = pytest.main([*words, *names], plugins=plugins)
            os._exit(int(status))
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "alive" if os.waitstatus_to_exitcode(status) in {0, NO_TESTS} else "killed"
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"

    def preload(self) -> None:
        """Load what no mutant changes, once for all tests: libraries and compiled kernels."""
        paths = [str(self.root / "src"), str(self.root / "tests")]
        sys.path[:0] = paths
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        # Tests are compiled once; a changed module is told from the old one by its time.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False
        for name in LIBRARIES:
            importlib.import_module(name)
        from bycatch import precompile
        from bycatch.kernels.threads import at_most

        with at_most(1):  # threads do not survive a fork
            precompile.compile_all()
        package = sys.modules["bycatch"]
        for name in [n for n in sys.modules if n.startswith("bycatch.")]:
            if not name.startswith(KEPT):
                del sys.modules[name]
                vars(package).pop(name.split(".")[1], None)

    def tests_of(self, mutant: Mutant, budget_s: float) -> list[str]:
        """Return the tests that call a mutant's function, those that call little else first."""
        places = {f"{mutant.path}:{name}" for name in mutant.functions}

        def calls(note: dict[str, Any]) -> bool:
            if places:
                return not places.isdisjoint(note["calls"])
            return any(name.startswith(f"{mutant.path}:") for name in note["calls"])

        chosen, paid, left_s = [], set[str](), budget_s
        for name, note in sorted(self.notes.items(), key=lambda item: len(item[1]["calls"])):
            if calls(note):
                # A fixture of many tests is made once.
                waits = {f: s for f, s in note["waits"].items() if f not in paid}
                left_s -= note["seconds"] + sum(waits.values())
                if left_s < 0:
                    break
                paid |= set(waits)
                chosen.append(name)
        return chosen

    def outcome(self, mutant: Mutant, budget_s: float) -> str:
        """Change one place, run the tests, and change it back."""
        names = self.tests_of(mutant, budget_s)
        if not names:
            return "no test"
        path, whole = self.root / PACKAGE / mutant.path, HOME / PACKAGE / mutant.path
        text = path.read_bytes()
        try:
            path.write_bytes(text[: mutant.start] + mutant.new.encode() + text[mutant.end :])
            return self.tests(names, 60.0 + 4.0 * budget_s)
        finally:
            path.write_bytes(text)
            shutil.copystat(whole, path)


# ---- the command -----------------------------------------------------------------------------


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that the options ask for, in an order that only seed and mutant decide."""
    found = [m for m in all_mutants(HOME) if options.only in m.path]
    if options.kinds:
        found = [m for m in found if m.kind in options.kinds]
    found.sort(key=lambda m: hashlib.sha256(f"{options.seed} {m.key}".encode()).digest())
    return found[: options.sample or None]


def table(outcomes: dict[Mutant, str]) -> str:
    """Return the numbers by module, as Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in outcomes.items():
        for path in (mutant.path, "all"):
            counts[path][outcome] += 1
    lines = ["| module | mutants | killed | alive | no test |", "| --- | --- | --- | --- | --- |"]
    for path, found in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0])):
        killed = found["killed"] + found["timeout"]
        lines.append(
            f"| {path} | {found.total()} | {killed} | {found['alive']} | {found['no test']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the options, and try the mutants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(".mutants"), help="of copy and results")
    parser.add_argument("--sample", type=int, default=0, help="number of mutants; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the path of modules")
    parser.add_argument("--kinds", nargs="*", help="constant, number, comparison, hint, ...")
    parser.add_argument("--tests", type=re.compile, default="", help="names of test files: a regex")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for each")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    options = parser.parse_args()
    copy = Copy(options.folder.resolve())
    copy.folder.mkdir(parents=True, exist_ok=True)
    copy.fill()
    copy.preload()
    copy.record(options.tests)
    log = copy.folder / "results.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    known = {row["key"]: row["outcome"] for row in map(json.loads, lines)}
    outcomes: dict[Mutant, str] = {}
    for mutant in chosen(options):
        outcome = known.get(mutant.key, "")
        if not outcome or (options.again and outcome in SURVIVED):
            outcome = copy.outcome(mutant, options.budget)
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"key": mutant.key, "outcome": outcome}) + "\n")
        outcomes[mutant] = outcome
    print(table(outcomes))
    for mutant in sorted((m for m, o in outcomes.items() if o in SURVIVED), key=lambda m: m.key):
        print(f"{outcomes[mutant]}: {mutant.path}:{mutant.line}: {mutant.kind}: "
              f"{mutant.old!r} -> {mutant.new!r}")  # fmt: skip


if __name__ == "__main__":
    main()
