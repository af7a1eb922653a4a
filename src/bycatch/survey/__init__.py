"""A survey: the tables of all groups of images as one catalog of the sky.

`build.py` makes it from output folders, `query.py` asks it, `publish/` writes what archives want.
"""
