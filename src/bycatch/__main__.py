"""``python -m bycatch``: the command line without its script."""

from __future__ import annotations

from bycatch.cli import main

if __name__ == "__main__":
    main()
