"""Every exception that bycatch raises on purpose.

::

    BycatchError
    ├── SettingsError          wrong usage or settings: stop before any data are read (status 2)
    ├── UnusableData           this image can't be used: it is dropped, the others go on
    │   ├── UnreadableFile     not FITS, truncated, no image in it
    │   ├── InconsistentImage  planes of different shapes, no valid pixel
    │   ├── UnsupportedImage   not ACS, polarizer, ramp, a product of another kind
    │   └── MissingKeyword     a number that photometry needs is absent, zero or ambiguous
    ├── MissingProduct         a step was asked for, but an earlier step's product is not there
    ├── NoAnswer               the archive of images can't be asked
    ├── LockHeld               another run works in the same folder (bycatch.system.locks)
    └── NoReferenceStars       no Gaia star could be had: the image keeps its own WCS

Each error carries the numbers that explain it (``metadata``) and a hint that
says what the user can do.  Anything else that is raised was not expected: `reason` puts it into
one line, and the log holds its traceback.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

MOST_WORDS = 500
"""Characters of a library's message that are shown: compilers write pages."""
TRACEBACK = "BYCATCH_TRACEBACK"
DETAILS = f"{TRACEBACK}=1 in the environment shows the details"
"""Where the traceback of an unexpected error is, without a log."""
MORE_MEMORY = "use a smaller -j, smaller images, or a machine with more of it"


class BycatchError(Exception):
    """Base of all errors of bycatch: a message, numbers and a way out.

    Parameters
    ----------
    message : str
        What is wrong, naming the file or setting.
    hint : str, optional
        The way out; the class's own hint when empty.
    **metadata
        Flat numbers and strings that explain the failure.
    """

    hint: str = "see the message"

    def __init__(self, message: str, *, hint: str = "", **metadata: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or type(self).hint
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.message} - {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send errors back by pickle, keyword arguments included.
        return _rebuild, (type(self), self.message, self.hint, self.metadata)


def _rebuild(
    cls: type[BycatchError], message: str, hint: str, meta: dict[str, Any]
) -> BycatchError:
    return cls(message, hint=hint, **meta)


class SettingsError(BycatchError):
    """A setting or an argument is wrong; nothing has been read or written yet."""

    hint = "'bycatch config' lists every setting with its unit and default"


class UnusableData(BycatchError):
    """The image can't be used; it is dropped with this reason and the run goes on."""

    hint = "'bycatch inspect FILE' shows what the file holds"


class UnreadableFile(UnusableData):
    """The file is not FITS, is truncated, or holds no image."""

    hint = "fetch the file again from the archive"


class InconsistentImage(UnusableData):
    """The planes of the image do not fit one another, or no pixel is valid."""


class UnsupportedImage(UnusableData):
    """A kind of image that bycatch does not calibrate."""


class MissingKeyword(UnusableData):
    """A header keyword that the photometry needs is absent, zero or ambiguous."""

    hint = "give it with --set input.NAME=VALUE, or in a sidecar file <stem>.bycatch.toml"


class MissingProduct(BycatchError):
    """A product of an earlier step is needed and is not there."""

    hint = "run the earlier step first, or 'bycatch run'"


class NoAnswer(BycatchError):
    """The archive of images could not be asked."""

    hint = "check the network, or try again when the archive answers"


class NoReferenceStars(BycatchError):
    """No reference stars could be had for a field."""

    hint = "give a local table with --gaia FILE, or check the network"


def is_expected(err: BaseException) -> bool:
    """Tell whether an error explains itself: one of ours, of the disk, or lack of memory."""
    return isinstance(err, (BycatchError, OSError, MemoryError))


def reason(err: BaseException, *, details: str = "the log holds the details") -> str:
    """Return what went wrong and the way out, in one line.

    Parameters
    ----------
    err : whatever was raised
    details : where the traceback is, for an unexpected error
    """
    if isinstance(err, BycatchError):
        return str(err)
    text = " ".join(str(err).split())[:MOST_WORDS]
    if isinstance(err, FileNotFoundError):
        return f"{text} - check the path"
    if isinstance(err, OSError):
        return f"{text} - check disk space and permissions, then run again"
    if isinstance(err, MemoryError):
        return f"not enough memory{f' ({text})' if text else ''} - {MORE_MEMORY}"
    return f"unexpected error: {type(err).__name__}: {text} - {details}; please report it"


def log_traceback(err: BaseException) -> None:
    """Log where an error comes from, line by line: a log has a record per line."""
    logger = logging.getLogger("bycatch")
    for part in traceback.format_exception(err):
        for line in part.splitlines():
            logger.debug("%s", line)
