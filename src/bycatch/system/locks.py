"""One run at a time in a folder: a lock file, for runs on one host or on several that share a disk.

The library ``filelock`` does not serve: flock is unreliable on NFS, and its lock of a mere file has
no heartbeat, so that one which a killed run leaves behind on another host would last for ever.

A lock file is complete as soon as it has its name (a link to a file that was written before), says
who holds it, and is touched every `HEARTBEAT_S`.  It is stale, and the next run takes it over, if
its process has ended, as far as this host can know, or else if its last heartbeat is more than
`STALE_S` ago by the clock of the file system: those of two hosts differ.

Only one process at a time may remove a given stale lock: the one that holds the claim on it, which
is again a lock, named after the content of the stale one.  Otherwise a second process, which judged
the same lock a moment ago, could move the first one's new lock away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import socket
import stat
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from bycatch.errors import BycatchError
from bycatch.system.disk import NO_LINKS
from bycatch.system.running import boot, is_running, start_ticks
from bycatch.system.words import printable

HEARTBEAT_S = 30.0
STALE_S = 600.0
"""Twenty heartbeats: a client of NFS may show the time of a file a minute late."""

MOST_BYTES = 4096
MOST_ATTEMPTS, PAUSE_S = 100, 0.02
"""While another process takes over a stale lock."""
POLL_S = 0.2
"""How often a process that waits for a lock looks again."""
AUXILIARY = re.compile(r"\.[0-9a-f]{16}\.(new|old|claim|clock)")
"""How the names of our other files go on after that of the lock."""
SINCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

logger = logging.getLogger("bycatch")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes
    ----------
    host, pid : its process; '' and 0 where the lock file does not say
    since : when it took the lock, UTC as in 2026-11-29T12:03:05Z
    boot : the boot of the system and the name space in which the process has its number, '' where
        the system has no /proc
    started : when the process started, clock ticks after the boot; None likewise
    """

    host: str
    pid: int
    since: str
    boot: str = ""
    started: int | None = None

    def words(self) -> str:
        """Return who it is, as in 'host n12, process 4711, since 2026-11-29 12:03 UTC'."""
        since = f"since {self.since[:16].replace('T', ' ')} UTC"
        if not self.host:
            return f"unknown (the lock file is damaged), {since}"
        return f"host {printable(self.host)}, process {self.pid}, {since}"


class LockHeld(BycatchError):
    """Somebody else holds a lock."""

    hint = "wait until it has ended"

    @classmethod
    def by(cls, holder: Holder, path: Path) -> LockHeld:
        """Return the error for a lock file and its holder."""
        return cls(
            f"{path.parent}: in use by another run: {holder.words()}",
            hint=f"wait until it ends; if you are sure that it has, remove {path}",
            path=str(path),
            **asdict(holder),
        )

    @property
    def holder(self) -> Holder:
        """Who holds it."""
        return Holder(**{k: v for k, v in self.metadata.items() if k != "path"})


class Lock:
    """A lock that this process holds until `release`, or the end of the ``with`` block.

    Attributes
    ----------
    path : the lock file
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._content = content
        self._pid = os.getpid()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name=f"heartbeat of {path}", daemon=True).start()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self.release()

    def is_ours(self) -> bool:
        """Tell whether the lock is still ours: after a long pause another host may have it.

        Raises
        ------
        OSError
            The lock file can't be read now.
        """
        sight = _look(self.path)
        return sight is not None and sight.content == self._content

    def release(self) -> None:
        """Give the lock back, if it is still ours; a forked process has none to give back."""
        self._ended.set()
        if os.getpid() == self._pid:
            _give_back(self.path, self._content)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # the disk may be there again at the next beat
                if self.is_ours():
                    # Without a time of ours: the file server takes its own.
                    os.utime(self.path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
                elif not self._ended.is_set():
                    logger.warning("%s: another run has taken over this lock", self.path)
                    return


def lock(path: Path) -> Lock:
    """Take a lock, at once or not at all.

    Parameters
    ----------
    path : the lock file, in a folder that exists

    Raises
    ------
    LockHeld
        Somebody else has it: another process, or this one.
    OSError
        The folder is not there, or can't be written to.
    """
    content = _new_content()
    for _ in range(MOST_ATTEMPTS):
        try:
            if _attempt(path, path.name, content):
                break
            busy = LockHeld.by(_holder(_look(path)), path)
        except LockHeld as err:
            if err.metadata["path"] == str(path):
                raise
            busy = err  # somebody takes over a stale lock, and has done so in a moment
        time.sleep(PAUSE_S)
    else:
        raise busy
    try:
        _sweep(path)
        return Lock(path, content)
    except BaseException:
        _give_back(path, content)
        raise


def wait_for(path: Path, patience_s: float = math.inf) -> Lock:
    """Take a lock as soon as it is free.

    Parameters
    ----------
    path : the lock file, in a folder that exists
    patience_s : how long to wait

    Raises
    ------
    LockHeld
        It was not free in that time.
    OSError
        The folder is not there, or can't be written to.
    """
    is_announced, until_s = False, time.monotonic() + patience_s
    while True:
        try:
            return lock(path)
        except LockHeld as err:
            if time.monotonic() > until_s:
                raise
            if not is_announced:
                logger.info("%s: waiting for another run: %s", path.parent, err.holder.words())
                is_announced = True
        time.sleep(POLL_S)


@dataclass(frozen=True)
class _Sight:
    """A lock file as it was seen: its content, and the time of its last heartbeat, ns."""

    content: bytes
    beat_ns: int


def _attempt(path: Path, name: str, content: bytes) -> bool:
    """Tell whether the lock was had; if not, it has just changed.

    Parameters
    ----------
    path : the lock file, or a claim
    name : that of the lock file, with which the names of all claims begin
    content : of the new lock file

    Raises
    ------
    LockHeld
        Somebody has the lock, or the claim on the stale one.
    """
    if _appears(path, content):
        return True
    sight = _look(path)
    if sight is None:
        return False
    if not _is_stale(path, sight):
        raise LockHeld.by(_holder(sight), path)
    claim = path.with_name(f"{name}.{hashlib.sha256(sight.content).hexdigest()[:16]}.claim")
    claim_content = _new_content()
    if not _attempt(claim, name, claim_content):
        return False
    try:
        is_ours = _look(path) == sight and _is_removed(path, sight) and _appears(path, content)
    finally:
        _give_back(claim, claim_content)
    if is_ours:
        logger.warning("%s: taken over from a run that has ended: %s", path, _holder(sight).words())
    return is_ours


def _is_stale(path: Path, sight: _Sight) -> bool:
    holder = _holder(sight)
    if holder.host and (holder.host, holder.boot) == (socket.gethostname(), boot()):
        running = is_running(holder.pid, holder.started)
        if running is not None:
            return not running
    # Either sign: a heartbeat in the future is no heartbeat of a holder that goes on.
    return abs(_now_ns(path) - sight.beat_ns) > STALE_S * 1e9


def _new_content() -> bytes:
    """Return the content of a lock file of this process, which no other lock file has."""
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    pid = os.getpid()
    holder = Holder(socket.gethostname(), pid, since, boot(), start_ticks(pid))
    return json.dumps(asdict(holder) | {"token": secrets.token_hex(16)}).encode() + b"\n"


def _holder(sight: _Sight | None) -> Holder:
    """Return who holds a lock that was seen; if it does not say, somebody unknown."""
    try:
        record: Any = json.loads(sight.content) if sight else {}
        holder = Holder(*(record[name] for name in Holder.__dataclass_fields__))
        if (
            _is_text(holder.host)
            and holder.host
            and _is_text(holder.boot)
            and type(holder.pid) is int
            and 0 < holder.pid < 2**31
            and (holder.started is None or type(holder.started) is int)
            and SINCE.fullmatch(holder.since)
        ):
            return holder
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    moment = datetime.fromtimestamp(sight.beat_ns / 1e9 if sight else time.time(), UTC)
    return Holder("", 0, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 256


def _look(path: Path) -> _Sight | None:
    """Return a lock file as it is now; None if there is none.

    What can't be read, or is no file, has no content; a link is never followed.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return _Sight(b"", status.st_mtime_ns)
        number = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as err:
        if err.errno not in {errno.EACCES, errno.EPERM, errno.ELOOP}:
            raise
        return _Sight(b"", status.st_mtime_ns)
    with os.fdopen(number, "rb") as stream:
        return _Sight(stream.read(MOST_BYTES), os.fstat(number).st_mtime_ns)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.{kind}")


def _create(path: Path, content: bytes) -> int:
    """Make a file that was not there, and return its time, ns."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(number, "wb") as stream:
        stream.write(content)
        stream.flush()
        return os.fstat(number).st_mtime_ns


def _now_ns(path: Path) -> int:
    """Return the time by the clock of the file system where a path lies."""
    probe = _beside(path, "clock")
    try:
        return _create(probe, b"")
    finally:
        probe.unlink(missing_ok=True)


def _appears(path: Path, content: bytes) -> bool:
    """Tell whether a file with some content got its name; if not, something has it already."""
    draft = _beside(path, "new")
    try:
        _create(draft, content)
        return _is_linked(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _is_linked(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        # Over NFS that is also the answer to a question that was repeated.
        return draft.stat().st_nlink == 2
    except OSError as err:
        if err.errno not in NO_LINKS:
            raise
        try:
            _create(path, draft.read_bytes())
        except FileExistsError:
            return False
    return True


def _is_removed(path: Path, sight: _Sight) -> bool:
    """Remove a stale lock; return whether it was still the same one, untouched."""
    aside = _beside(path, "old")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    removed_sight = _look(aside)
    if removed_sight != sight:  # its holder goes on, or has released it and another one has it
        with contextlib.suppress(OSError):
            _is_linked(aside, path)
    with contextlib.suppress(OSError):  # a folder is moved aside and kept: its content is unknown
        aside.unlink()
    return removed_sight == sight


def _give_back(path: Path, content: bytes) -> None:
    sight = _look(path)
    if sight is not None and sight.content == content:
        path.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove, after the lock has been taken, what killed processes have left next to it."""
    now_ns = path.lstat().st_mtime_ns
    for other in path.parent.iterdir():
        if other.name.startswith(path.name) and AUXILIARY.fullmatch(other.name[len(path.name) :]):
            with contextlib.suppress(OSError):
                if now_ns - other.lstat().st_mtime_ns > STALE_S * 1e9:
                    other.unlink()
