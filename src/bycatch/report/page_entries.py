"""Content of the page: packed, in the page itself or in a file next to it."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import orjson

FIELD_PAGE = "page.js"
"""Name of a file next to the page, with the content of a field or a group."""


@dataclass(frozen=True)
class Entry:
    """An image or a group of the page: its key, its title, and where its content lies.

    Attributes
    ----------
    key, title : of the image or group
    packed : its content, JSON, gzip, base64; '' if it is in a file of its own
    file : that file, from the page's folder; '' if the page holds the content
    """

    key: str
    title: str
    packed: str = ""
    file: str = ""

    def plain(self) -> dict[str, str]:
        """Return what the page needs to know before it has the content."""
        return {"key": self.key, "title": self.title, "file": self.file}


def pack(content: dict[str, Any]) -> str:
    """Return content as base64 of gzipped JSON: a third of its size; null for NaN."""
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode("ascii")
