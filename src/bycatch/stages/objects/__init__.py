"""Objects: what the images of a group show together, and what each of them measures of it."""

from __future__ import annotations

from bycatch.stages.objects.listing import ellipses_of, list_of
from bycatch.stages.objects.result import Objects
from bycatch.stages.objects.tables import tables

__all__ = ["Objects", "ellipses_of", "list_of", "tables"]
