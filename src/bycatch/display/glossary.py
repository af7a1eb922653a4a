"""The words of bycatch and what they mean: one registry, ``data/glossary.md``.

The glossary of the documentation, the tooltips of the page, and the headings of the terminal's
tables come from it: a word means the same everywhere.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


def glossary_page() -> str:
    """Return the glossary, Markdown: the page of the documentation."""
    return (files("bycatch") / "data" / "glossary.md").read_text(encoding="utf-8")


@cache
def meanings() -> dict[str, str]:
    """Return what each word means, as plain text."""
    meaning_of: dict[str, str] = {}
    for block in re.findall(r"```\{glossary\}\n(.*?)\n```", glossary_page(), re.DOTALL):
        for entry in block.split("\n\n"):
            names, *lines = entry.splitlines()
            text = " ".join(line.strip() for line in lines)
            text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text).replace("`", "").replace("*", "")
            meaning_of |= dict.fromkeys(names.split(", "), text)
    return meaning_of


def term_of(heading: str) -> str:
    """Return the word of a heading, which may be a plural and have a unit behind it.

    Raises
    ------
    KeyError
        The glossary has no such word.
    """
    word = heading.partition(", ")[0]
    for name in (word, word.removesuffix("s"), word.lower(), word.lower().removesuffix("s")):
        if name in meanings():
            return name
    raise KeyError(heading)


def meaning_of(heading: str) -> str:
    """Return what a heading means, as plain text.

    Raises
    ------
    KeyError
        The glossary has no such word.
    """
    return meanings()[term_of(heading)]
