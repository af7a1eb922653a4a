"""Files that appear whole or not at all, and the proof that they are still what they were."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".part-"
NO_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS})
"""The error of a file system that does not support fsync."""
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""The errors of a file system without hard links, such as exFAT."""

logger = logging.getLogger("bycatch")


class Batch:
    """Files of one folder that get their names together, once all are safe on the disk.

    Until then they lie in a folder of their own that only this user may enter and whose name
    can't be foreseen: no link planted there leads the writing astray, and names get no longer.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.paths: list[Path] = []
        self._beside = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))

    def partial(self, path: Path) -> Path:
        """Return where to write what will be ``path``."""
        self.paths.append(path)
        return self.beside(path)

    def beside(self, path: Path) -> Path:
        """Return where a file lies that has no name yet."""
        return self._beside / path.name

    def commit(self) -> None:
        """Give the files their names.  A link or a file that has a name already is replaced."""
        partials = [self._beside / path.name for path in self.paths]
        for partial in partials:
            if not partial.is_symlink():
                _sync(partial)
        for partial, path in zip(partials, self.paths, strict=True):
            _make_room(path)
            partial.replace(path)
        _sync(self.folder)
        self.discard()

    def discard(self) -> None:
        """Remove what has no name yet."""
        shutil.rmtree(self._beside, ignore_errors=True)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a place to write to; it becomes ``path`` on success, else it goes.

    A half-written file is never visible, whatever interrupts the writing, a power cut included.
    """
    batch = Batch(path.parent)
    try:
        yield batch.partial(path)
        batch.commit()
    finally:
        batch.discard()


def place_new(partial: Path, path: Path) -> None:
    """Give a file that is complete its name, which no other file may have yet.

    Raises
    ------
    FileExistsError
        There is something of this name; it is left as it is, and so is the file.
    """
    _sync(partial)
    try:
        os.link(partial, path)  # atomic, and unlike a renaming it replaces nothing
    except OSError as err:
        if err.errno not in NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists already", str(path)) from err
        partial.rename(path)
    else:
        partial.unlink()
    _sync(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in folder.glob(f"{PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Return when a file or the names in a folder are on the disk itself."""
    try:
        number = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(number)
    except OSError as err:
        if err.errno not in NO_SYNC:
            raise
    finally:
        os.close(number)


def _make_room(path: Path) -> None:
    """Move a folder that has a file's name aside: its content is unknown."""
    if path.is_symlink() or not path.is_dir():
        return
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)
    logger.warning("%s was a folder; it is now %s", path, aside.name)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 'sha256:...'."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass
class Proof:
    """What distinguishes a file that we made from an empty, cut, changed or foreign one.

    Attributes
    ----------
    stamp : its size, and the times of the last change of its content and of the file as such
    checksum : of its content
    """

    stamp: str
    checksum: str


def proof_of(path: Path) -> Proof:
    """Return the proof of a file that was just made."""
    stamp = _stamp(path.lstat())
    return Proof(stamp, checksum(path))


def is_whole(path: Path, proof: Proof) -> bool:
    """Tell whether a file is what it was when its proof was made.

    With the same stamp it is: no program can change a file and set back the time of its last change
    (ctime).  With another one, as of a copy, the checksum decides, and the proof gets
    the new stamp.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        stamp = _stamp(status)
        if stamp == proof.stamp:
            return True
        if stamp.split(":")[0] != proof.stamp.split(":")[0] or checksum(path) != proof.checksum:
            return False
    except OSError:
        return False
    proof.stamp = stamp
    return True


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
