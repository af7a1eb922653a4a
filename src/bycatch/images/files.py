"""FITS files: their names, and opening them so that damage becomes an error with a name."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import warnings
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits

from bycatch.errors import UnreadableFile
from bycatch.images.integrity import GZIP_MAGIC, refuse_if_altered, refuse_if_cut, unpack
from bycatch.system import memory

TEXT_BYTES = 512
"""Of a file that show whether it is text."""
MOST_SHOWN = 40
BLANK = ord(" ")
FITS_SUFFIX = re.compile(r"\.fits(\.gz|\.fz)?$", re.IGNORECASE)


def stem_of(path: Path) -> str:
    """Return the file name without ``.fits``, ``.fits.gz`` or ``.fits.fz``."""
    return FITS_SUFFIX.sub("", path.name)


def root_of(stem: str) -> str:
    """Return the stem without its kind: ``jdgq11020_drc`` gives ``jdgq11020``."""
    return re.sub(r"_(drc|drz|sci)(_sci)?$", "", stem, flags=re.IGNORECASE)


IMAGE = re.compile(r"_(drc|drz|sci)$", re.IGNORECASE)
MAX_STEM_BYTES = 160
"""Longest name of an image: those of its products and figures are up to 90 bytes longer, and file
systems take 255."""


def shorten(stem: str) -> str:
    """Return a stem that leaves room for the names of products; a digest distinguishes long ones.

    Parameters
    ----------
    stem : name of the file without its suffixes
    """
    name = os.fsencode(stem)
    if len(name) <= MAX_STEM_BYTES:
        return stem
    kind = IMAGE.search(stem)
    end = f"-{hashlib.sha256(name).hexdigest()[:8]}{kind[0] if kind else ''}"
    return name[: MAX_STEM_BYTES - len(end)].decode(errors="ignore") + end


def number_stem(stem: str, number: int) -> str:
    """Return ``jdgq11020-2_drc`` for the second ``jdgq11020_drc``.

    Parameters
    ----------
    stem : name of the file without its suffixes
    number : 2 or more
    """
    kind = IMAGE.search(stem)
    return f"{stem[: kind.start()]}-{number}{kind[0]}" if kind else f"{stem}-{number}"


KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MAX_BYTES = 64e9
"""Largest file that is read: a mosaic of 65,000 x 65,000 px in SCI, WHT and CTX has 51 GB."""


def not_a_file(path: Path) -> str:
    """Return why a path can't be read as a FITS file, in words, without opening it.

    '' if it can, or if there is nothing: opening it raises the error.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return f"{KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file"
    # A file of holes (sparse) has any size, but so has none that can be read.
    most = min(MAX_BYTES, memory.installed_bytes())
    if status.st_size > most:
        return f"{status.st_size / 1e9:.0f} GB: more than {most / 1e9:.0f} GB are not read"
    return ""


DAMAGED = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError,
    zlib.error, fits.VerifyError, Warning,
)  # fmt: skip
"""What astropy raises when it meets bytes that it does not expect."""


class open_fits:  # noqa: N801 - reads like the built-in open
    """Context manager: an open FITS file, with astropy's complaints turned into errors.

    ``memmap`` is for those who need few of the pixels, and none after it is closed.  With
    ``verify`` the file has to be whole, with the sums that its headers state.  A gzipped file is
    unpacked once, in memory, and always checked.
    """

    def __init__(self, path: Path, *, memmap: bool = False, verify: bool = False) -> None:
        self.path, self.memmap, self.verify = path, memmap, verify

    def __enter__(self) -> fits.HDUList:
        problem = not_a_file(self.path)
        if problem:
            raise UnreadableFile(f"{self.path}: {problem}", hint="give the drc file itself")
        self._stack = ExitStack()
        try:
            self._stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*truncated.*")
            # Bytes after the last extension that are no header: one that was cut.
            warnings.filterwarnings("error", message="(?s).*Error validating header")
            # Opened here, so that it is closed whatever astropy finds in it.
            file = self._stack.enter_context(self.path.open("rb"))
            hdus = self._stack.enter_context(self._hdus(file))
            len(hdus)  # reads the headers of all extensions
        except FileNotFoundError as err:
            self._stack.close()
            raise UnreadableFile(
                f"{self.path}: there is no such file",
                hint="check the path; a link may point to a file that moved",
            ) from err
        except PermissionError as err:
            self._stack.close()
            raise UnreadableFile(
                f"{self.path}: no permission to read it ({err.strerror})",
                hint="check its permissions",
            ) from err
        except UnreadableFile:
            self._stack.close()
            raise
        except DAMAGED as err:
            self._stack.close()
            if text := _text_of(self.path):
                raise UnreadableFile(
                    f"{self.path}: a text file, not FITS (it begins with '{text}')",
                    hint="give a drizzled image (drc or drz), or fetch the file again",
                ) from err
            raise UnreadableFile(f"{self.path}: not FITS, or damaged ({_first_line(err)})") from err
        return hdus

    def _hdus(self, file: BinaryIO) -> fits.HDUList:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        content = unpack(self.path, file) if is_packed else file
        if self.verify:
            refuse_if_altered(self.path, content, refuse_if_cut(self.path, content))
            content.seek(0)
        # None maps the file where that can be done: scaled integers can't be mapped.
        return fits.open(content, memmap=None if self.memmap and not is_packed else False)

    def __exit__(self, kind: Any, err: BaseException | None, trace: Any) -> None:
        self._stack.close()
        if isinstance(err, DAMAGED):
            raise UnreadableFile(f"{self.path}: truncated or damaged ({_first_line(err)})") from err


def _text_of(path: Path) -> str:
    """Return how a text file begins; '' of any other file, FITS among them."""
    with path.open("rb") as file:
        head = file.read(TEXT_BYTES)
    if head.startswith((b"SIMPLE", b"XTENSION")) or not head.isascii():
        return ""
    line = (head.decode("ascii").strip().splitlines() or [""])[0][:MOST_SHOWN]
    return line if all(byte >= BLANK or byte in b"\t\r\n" for byte in head) else ""


def _first_line(err: BaseException) -> str:
    line = (str(err).splitlines() or [type(err).__name__])[0]
    return line.split(" If this is really a FITS file")[0]  # astropy's advice to programmers
