"""Numerical work on plain arrays: no files, no settings, no units, no policy."""
