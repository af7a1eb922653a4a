"""A setting, and the base class of the settings of one step."""

from __future__ import annotations

import hashlib
import json
import typing
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from bycatch.display import notebook


def setting(default: Any, doc: str, unit: str = "", **limits: Any) -> Any:
    """Declare a setting: its default, its meaning, its unit and its range."""
    return Field(default, description=doc, json_schema_extra={"unit": unit}, **limits)


class Section(BaseModel):
    """Base of the settings of one step: frozen, and no unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what would be taken for something else: true for 1, a line break for a name.

        Of a choice of words, capitals do not matter: headers say ELECTRONS/S, we electrons/s.
        """
        annotation = cls.model_fields[info.field_name or ""].annotation
        numeric = annotation in (int, float)
        choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
        for word in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(word, bool) and (numeric or value is not word):
                msg = "must be a number, not true or false"
                raise ValueError(msg)
            if isinstance(word, str) and any(unicodedata.category(c) == "Cc" for c in word):
                msg = "must not hold control characters"
                raise ValueError(msg)
        if isinstance(value, str):
            return next((word for word in choices if word.lower() == value.lower()), value)
        return value

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some values changed."""
        return type(self).model_validate({**self.model_dump(), **changes})

    NOT_IN_DIGEST: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how the products are made, not the products."""

    def digest(self) -> str:
        """Return a short hash of all values that matter: it shows whether a product is stale."""
        values = self.model_dump(mode="json", exclude=set(self.NOT_IN_DIGEST))
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def rows(self) -> list[dict[str, str]]:
        """Return name, value, unit and meaning of each setting, those of sections one by one."""
        rows = []
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                rows += [{**row, "setting": f"{name}.{row['setting']}"} for row in value.rows()]
            else:
                meaning = info.description or ""
                words = {"value": str(value), "unit": unit_of(info), "meaning": meaning}
                rows.append({"setting": name, **words})
        return rows

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        return notebook.card(type(self).__name__, {}, table=notebook.rows_table(self.rows()))


def unit_of(info: FieldInfo) -> str:
    """Return the unit of a setting, '' for a pure number or a choice."""
    extra = typing.cast("Mapping[str, Any]", info.json_schema_extra or {})
    return str(extra.get("unit", ""))


def range_of(info: FieldInfo) -> str:
    """Return the range of a number, such as '1 to 100' or 'above 0, to 20'; '' without limits."""
    limits = {
        name: f"{getattr(rule, name):,}".replace(",", " ").removesuffix(".0")
        for rule in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(rule, name, None) is not None
    }
    low = limits.get("ge") or (f"above {limits['gt']}," if "gt" in limits else "")
    high = limits.get("le") or (f"below {limits['lt']}" if "lt" in limits else "")
    return f"{low} to {high}".replace("to below", "below") if low and high else ""
