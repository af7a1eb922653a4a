"""Settings as TOML: files, ``--set section.name=value`` and sidecars, read and written."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bycatch.errors import SettingsError
from bycatch.settings.input import InputSettings
from bycatch.settings.limits import MOST_TOML_BYTES
from bycatch.settings.section import Section, unit_of
from bycatch.settings.sections import Sections, walk
from bycatch.settings.suggestion import suggestion

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Read sections of settings from a TOML file and check their names, with line numbers."""
    text, values = _parse_file(path)
    for section, content in values.items():
        line = _line_of(text, section)
        if section not in Sections.model_fields and (home := _home_of(section)):
            raise SettingsError(f"{path}:{line}: '{section}' belongs to [{home}]")
        model = _section_model(section, f"{path}:{line}")
        if not isinstance(content, dict):
            raise SettingsError(f"{path}:{line}: '{section}' is a section: write [{section}]")
        for name in content:
            if name not in model.model_fields:
                _check_name(model, section, name, f"{path}:{_line_of(text, name, section)}")
    build(Sections, values, where=str(path))
    return values


def _parse_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_TOML_BYTES + 1)
        text = content.decode("utf-8-sig")  # as some editors begin a file
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path}: can't be read ({err})", hint="check the path") from err
    if len(content) > MOST_TOML_BYTES:
        raise SettingsError(f"{path}: more than {MOST_TOML_BYTES} bytes are not a settings file")
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        why = "nested too deeply" if isinstance(err, RecursionError) else err
        raise SettingsError(f"{path}: not valid TOML: {why}") from err


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Split ``section.name=value``; the value is read as TOML, else as a plain string."""
    left, equals, right = text.partition("=")
    section, dot, name = left.strip().partition(".")
    if not (equals and dot):
        raise SettingsError(f"--set {text}: write it as section.name=value")
    model = _section_model(section, f"--set {text}")
    _check_name(model, section, name, f"--set {text}")
    default, raw = model.model_fields[name].default, right.strip()
    value = _toml_value(raw)
    if isinstance(default, str) and not isinstance(value, str):
        value = raw  # a field may be called 2024, or true
    elif isinstance(default, tuple) and not isinstance(value, list):
        value = [value]
    return section, name, value


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a sidecar file: ``name = value`` lines of the ``input`` section."""
    if not path.is_file():  # a pipe without a writer would keep us waiting
        raise SettingsError(f"{path}: can't be read (not a file)", hint="check the path")
    _, values = _parse_file(path)
    input_values: Any = values.get("input", values)
    others = [] if input_values is values else [name for name in values if name != "input"]
    if others or not isinstance(input_values, dict):
        what = f"not [{others[0]}]" if others else "under [input]"
        raise SettingsError(f"{path}: a sidecar holds settings of the input, {what}")
    for name in input_values:
        _check_name(InputSettings, "input", name, str(path))
    build(InputSettings, input_values, where=str(path))
    return dict(input_values)


def build(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """Validate values into a settings model; every mistake is named in one message."""
    try:
        return model.model_validate(values)
    except ValidationError as err:
        places = [e["loc"] for e in err.errors()]
        lines = [
            f"{where}: {'.'.join(str(part) for part in e['loc'])}: {e['msg']} "
            f"(got {_short(e['input'])})"
            for e in err.errors()
            # Without an element that is wrong a list may seem too short.
            if not any(place[:-1] == e["loc"] for place in places)
        ]
        raise SettingsError("; ".join(lines)) from err


def _short(value: Any) -> str:
    """Return a value as it was given; of a long one its beginning."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of thousands of digits, or levels
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else f"{text[:60]}..."


def to_toml(settings: Sections) -> str:
    """Write settings as TOML, with meaning, unit and default of each as comments."""
    lines: list[str] = []
    current = ""
    for section, name, info in walk():
        if section != current:
            current = section
            model = typing.cast("type[Section]", Sections.model_fields[section].annotation)
            lines += ["", f"# {model.__doc__}", f"[{section}]"]
        value = getattr(getattr(settings, section), name)
        unit = f" [{unit_of(info)}]" if unit_of(info) else ""
        lines += [
            f"# {info.description}{unit}{_choices(info)}",
            f"# default: {_toml_text(info.default)}",
            f"{name} = {_toml_text(value)}",
        ]
    return "\n".join(lines).lstrip("\n") + "\n"


def _choices(info: FieldInfo) -> str:
    annotation = info.annotation
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is not Literal:
        return ""
    return "; one of " + ", ".join(f'"{v}"' for v in typing.get_args(annotation))


def _toml_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_text(v) for v in value) + "]"
    return repr(value)


def _toml_value(text: str) -> Any:
    """Read one TOML value; what is not TOML is a string, so that quotes are optional."""
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        values = {}
    if list(values) == ["value"]:  # a line break in it may begin another setting
        return values["value"]
    return [_toml_value(t) for t in text.split(",")] if "," in text else text


def _section_model(section: str, where: str) -> type[Section]:
    if section not in Sections.model_fields:
        raise SettingsError(
            f"{where}: there is no section '{section}'{suggestion(section, Sections.model_fields)}"
        )
    return typing.cast("type[Section]", Sections.model_fields[section].annotation)


def _check_name(model: type[Section], section: str, name: str, where: str) -> None:
    if name in model.model_fields:
        return
    nearest = suggestion(name, model.model_fields)
    if not nearest:
        home = _home_of(name)
        nearest = f"; it belongs to [{home}]" if home else ""
    raise SettingsError(f"{where}: [{section}] has no '{name}'{nearest}")


def _home_of(name: str) -> str:
    """Return the section that holds a setting of this name; '' if none does."""
    return next((s for s, n, _ in walk() if n == name), "")


def _line_of(text: str, name: str, section: str = "") -> int:
    """Return the line (from 1) of a section header or of a name within a section."""
    current = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("["):
            current = line.strip("[").partition("]")[0].strip()
            key = current
        else:
            key = ".".join(filter(None, (current, line.partition("=")[0])))
        parts = [part.strip(" \t\"'") for part in key.split(".")]
        if parts == [section, name] or (not section and parts[0] == name):
            return number
    return 1
