"""Pages and messages are in plain English: words and turns of another language's syntax.

proselint and its like were tried: of 60 remarks about the pages none was a mistake.  What readers
stumbled over was this.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
         *sorted((REPOSITORY / "docs").glob("*.md"))]  # fmt: skip
ODD = re.compile(
    r"\b(anew|befall\w*|befell|heed\w*|in vain|lest|thereof|wherein|whither|hither"
    r"|ha[sd]n?'?t? (?:no|a) say|come by|nobody tells|more likely than not"
    r"|goes? astray|went astray|take down that|is told (?:of|by)|of its own accord"
    r"|(?:holds?|has) the PSF|which exposures look|sees? it best|is there to see)\b",
    re.IGNORECASE,
)
MOST_WORDS = 35
"""In a sentence of the pages that a newcomer reads first."""


def messages() -> list[tuple[str, str]]:
    """Return place and text of the strings of the program that are not docstrings."""
    found = []
    for path in sorted((REPOSITORY / "src" / "bycatch").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            (f"{path.name}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in alone
        ]
    return found


def without_code(page: str) -> str:
    """Return the text of a page without code, tables and headings."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "    "))]
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_no_odd_words(page: Path) -> None:
    assert [m[0] for m in ODD.finditer(page.read_text(encoding="utf-8"))] == []


def test_messages_have_no_odd_words() -> None:
    assert [(place, m[0]) for place, text in messages() for m in ODD.finditer(text)] == []


@pytest.mark.parametrize(
    "name", ["README.md", "docs/index.md", "docs/installation.md", "docs/tutorial.md"]
)
def test_the_first_pages_have_short_sentences(name: str) -> None:
    text = without_code((REPOSITORY / name).read_text(encoding="utf-8"))
    blocks = re.split(r"\n\s*\n|\n(?=[-*\d])", text)
    sentences = [s for block in blocks for s in re.split(r"(?<=[.!?:;])\s+", block)]
    assert [s for s in sentences if len(s.split()) > MOST_WORDS] == []
