"""The steps of the chain: each a pure function of in-memory objects and frozen settings."""
