"""Limits between classes of objects: pages, regions and releases draw the same line."""

from __future__ import annotations

REAL = 0.5
"""Objects with a p_real of at least this are real more likely than not."""
POINT = 0.5
"""Objects with a p_star of at least this are point sources."""
MOVES_CHI2 = 25.0
"""Motions of 5 sigma are drawn: of 100,000 objects at rest, none."""
