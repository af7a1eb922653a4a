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

    is_no_image: bool = False
    """True if the file lacks every fact of an image, its WCS included."""

    def add(self, reason: str, name: str, value: str) -> None:
        """Note that a fact is missing, and which setting states it."""
        self.reasons.append(reason)
        self.statements[name] = value

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def error(self) -> MissingKeyword:
        """Return one error with all that is missing.

        For a file that lacks all of them the list would be of no use.
        """
        if self.is_no_image:
            return MissingKeyword(
                f"{self.path}: not an ACS image: its header has neither instrument, filter, "
                "exposure time nor WCS",
                hint="leave it out; 'bycatch inspect FILE' shows what it holds",
                missing=list(self.statements),
            )
        line = " ".join(f"--set input.{name}={value}" for name, value in self.statements.items())
        side = f"{stem_of(self.path)}.bycatch.toml"
        hint = f"add {line}, or write these settings into {side} next to the image"
        return MissingKeyword(
            f"{self.path}: {'; '.join(self.reasons)}", hint=hint, missing=list(self.statements)
        )
