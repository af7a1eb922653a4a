"""Our own catalogs: their columns and flags, and how they are written and read."""
