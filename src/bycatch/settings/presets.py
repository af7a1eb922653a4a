"""Presets: named sets of changes to the defaults."""

from __future__ import annotations

from typing import Any

from bycatch.errors import SettingsError
from bycatch.settings.suggestion import suggestion

_DEEP = {
    "n_pixels": 7,
    "n_pixels_single": 9,
    "deblend_n_pixels": 7,
    "deblend_n_levels": 32,
    "deblend_contrast": 0.005,
    "deblend_prominence": 2.0,
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "classic": {},
    "deep": {"detect": _DEEP},
    "crowded": {"detect": _DEEP, "psf": {"enabled": True}},
}


def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """Return the values that a preset changes."""
    if name not in PRESETS:
        raise SettingsError(
            f"there is no preset '{name}'{suggestion(name, PRESETS)}",
            hint=f"there are {', '.join(PRESETS)}",
        )
    return PRESETS[name]
