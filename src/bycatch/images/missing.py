"""What a file does not say: all of it in one error, with the line that states it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bycatch.errors import MissingKeyword
from bycatch.images.files import stem_of


@dataclass
class Missing:
    """Facts that a file lacks, and how to state them."""

    path: Path
    reasons: list[str] = field(default_factory=list)
    statements: dict[str, str] = field(default_factory=dict)
    """Setting of ``input`` and its value: a sensible one, or a placeholder in <>."""

    def add(self, reason: str, name: str, value: str) -> None:
        """Note that a fact is missing, and which setting states it."""
        self.reasons.append(reason)
        self.statements[name] = value

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def error(self) -> MissingKeyword:
        """Return one error with all that is missing."""
        line = " ".join(f"--set input.{name}={value}" for name, value in self.statements.items())
        toml = "; ".join(f"{name} = {_toml(value)}" for name, value in self.statements.items())
        side = f"{stem_of(self.path)}.bycatch.toml"
        hint = f"state it: {line} (or, one per line, in {side} beside it: {toml})"
        return MissingKeyword(
            f"{self.path}: {'; '.join(self.reasons)}", hint=hint, missing=list(self.statements)
        )


def _toml(value: str) -> str:
    if value in ("true", "false") or value.startswith("<"):
        return value
    try:
        float(value)
    except ValueError:
        return f'"{value}"'
    return value
