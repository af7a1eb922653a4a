"""All settings: one frozen model per step, presets, TOML files and ``--set``.

A setting lives in exactly one place: a field of its section (`input.py`, `detect.py`, ...),
with type, default, range, unit and meaning.  ``bycatch config``, the reference documentation
and the checks of user input are made from these fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bycatch.settings.align import AlignSettings
from bycatch.settings.detect import CrmaskSettings, DetectSettings
from bycatch.settings.input import InputSettings, SortSettings
from bycatch.settings.limits import MOST_SIGMA
from bycatch.settings.measure import FinalizeSettings, MeasureSettings, PsfSettings
from bycatch.settings.output import FetchSettings, ObjectsSettings, OutputSettings
from bycatch.settings.presets import PRESETS, preset_values
from bycatch.settings.section import Section, range_of, unit_of
from bycatch.settings.sections import Sections, walk
from bycatch.settings.simulate import InjectSettings, SimulateSettings
from bycatch.settings.toml import build, parse_assignment, read_sidecar, read_toml, to_toml

__all__ = [
    "MOST_SIGMA",
    "PRESETS",
    "AlignSettings",
    "CrmaskSettings",
    "DetectSettings",
    "FetchSettings",
    "FinalizeSettings",
    "InjectSettings",
    "InputSettings",
    "MeasureSettings",
    "ObjectsSettings",
    "OutputSettings",
    "PsfSettings",
    "Section",
    "Settings",
    "SimulateSettings",
    "SortSettings",
    "build",
    "parse_assignment",
    "preset_values",
    "range_of",
    "read_sidecar",
    "read_toml",
    "to_toml",
    "unit_of",
    "walk",
]


class Settings(Sections):
    """Everything: one section per step."""

    @classmethod
    def load(
        cls,
        config: str | Path | None = None,
        assignments: Iterable[str] = (),
        preset: str | None = None,
        base: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Build the settings from a preset, a TOML file and ``name=value`` strings.

        Later sources win: ``base`` (values of an earlier run), preset, file,
        assignments.  A preset that is named takes back what another one changed
        in ``base``.

        Raises
        ------
        SettingsError
            An unknown name (with the nearest valid one), a wrong value, or an
            unreadable file.
        """
        values: dict[str, dict[str, Any]] = {k: dict(v) for k, v in (base or {}).items()}
        if preset is not None:
            preset_changes = preset_values(preset)
            names = {(s, n) for p in PRESETS.values() for s, c in p.items() for n in c}
            for section, name in names:
                values.get(section, {}).pop(name, None)
            _overlay(values, preset_changes)
        if config is not None:
            _overlay(values, read_toml(Path(config)))
        for text in assignments:
            section, name, value = parse_assignment(text)
            _overlay(values, {section: {name: value}})
        return build(cls, values, where="settings")


def _overlay(values: dict[str, dict[str, Any]], changes: Mapping[str, Mapping[str, Any]]) -> None:
    for section, content in changes.items():
        values.setdefault(section, {}).update(content)
