"""The content of products: JSON, pixels, and hashes of values."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bycatch.errors import UnreadableFile
from bycatch.images.files import open_fits
from bycatch.system.disk import atomic

OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def json_bytes(content: Any) -> bytes:
    """Return content as JSON: dataclasses as objects, NaN as null, lone surrogates as '?'."""
    try:
        return orjson.dumps(content, default=str, option=OPTIONS) + b"\n"
    except TypeError:  # a name that is not UTF-8
        text = json.dumps(json_ready(content), indent=2, allow_nan=False)
        return text.encode("ascii") + b"\n"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, unless the file says the same already; NaN becomes null."""
    text = json_bytes(content)
    if not path.is_symlink() and _bytes_of(path) == text:
        return
    with atomic(path) as partial:
        partial.write_bytes(text)


def parse_json(text: bytes) -> Any:
    """Return what JSON says.

    Raises
    ------
    ValueError
        It is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # such as a name that is not UTF-8
        return json.loads(text)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it is not there or holds no object."""
    try:
        content = json.loads(_bytes_of(path))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""


@cache
def schema(kind: Any) -> TypeAdapter[Any]:
    """Return a validator that checks plain values against a dataclass."""
    return TypeAdapter(kind)


UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError)
"""What `read_state` raises of a damaged file."""


def read_state(path: Path, kind: Any, latest: int) -> Any:
    """Return the dataclass whose values a JSON file holds; raise one of `UNREADABLE` otherwise.

    Parameters
    ----------
    path : of the file
    kind : of the dataclass
    latest : format that this version writes
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError("not a file")
    content = parse_json(path.read_bytes())
    if content["format"] > latest:
        raise ValueError("made by a later version of bycatch")
    return schema(kind).validate_python(content)


def unreadable_state(path: Path, err: Exception) -> UnreadableFile:
    """Return the error that explains why a state can't be read."""
    return UnreadableFile(
        f"{path}: not a readable record ({reason_of(err)})", hint="remove it and run again"
    )


def reason_of(err: Exception) -> str:
    """Return the first lines of an error as one."""
    return " ".join(str(err).split("\n")[:3])


def json_ready(value: Any) -> Any:
    """Return plain Python values, with None for numbers that are not finite."""
    if hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, Path) else value


def read_pixels(path: Path) -> NDArray[Any]:
    """Return the pixels of a product, the first image of a FITS file.

    Raises
    ------
    UnreadableFile
        Missing, damaged, or without an image.
    """
    with open_fits(path) as hdus:
        pixels = first_image(hdus)
    if pixels is None:
        raise UnreadableFile(f"{path}: no image in it", hint="remove it and run the step again")
    return pixels


def first_image(hdus: Any) -> NDArray[Any] | None:
    """Return the pixels of the first image of an open FITS file; None where there is none."""
    for hdu in hdus:
        # The pixels of a compressed image are a table to the header.
        if hdu.is_image and hdu.data is not None:
            return np.asarray(hdu.data, dtype=hdu.data.dtype.newbyteorder("="))
    return None


def combined_digest(*parts: Any) -> str:
    """Return a short hash of several values."""
    try:
        text = orjson.dumps(parts, default=str, option=OPTIONS | orjson.OPT_SORT_KEYS)
    except TypeError:  # a name that is not UTF-8
        text = json.dumps([json_ready(p) for p in parts], sort_keys=True).encode("ascii")
    return hashlib.sha256(text).hexdigest()[:16]
