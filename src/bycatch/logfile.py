"""The log of a run as a file."""

from __future__ import annotations

import logging
import re
import stat
from pathlib import Path

FORM = "%(asctime)s %(levelname)-7s %(message)s"
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LogFile(logging.FileHandler):
    """Appends to a file.

    What messages quote - names of files, cards of headers - can't pass for other lines: further
    lines of a message are indented, other control characters escaped.

    Parameters
    ----------
    path : the file
    own : it is ours, not chosen by the user: what is in its place but no plain file, such as a
        link to another one, gives way

    Raises
    ------
    OSError
        It can't be written.
    """

    def __init__(self, path: Path, *, own: bool) -> None:
        if own:
            _make_plain(path)
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(FORM))

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a message."""
        text = UNSEEN.sub(lambda c: c[0].encode("unicode_escape").decode(), super().format(record))
        return text.replace("\n", "\n    ")


def _make_plain(path: Path) -> None:
    """Remove what is no plain file, or one that has another name as well."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
        return  # opening a folder says what is wrong
    path.unlink()
