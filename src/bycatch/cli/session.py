"""The log of a command: on the terminal, with a bar while a run goes on, and in a file."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from bycatch.cli.console import complain, silence, stderr, tell
from bycatch.cli.signals import watch
from bycatch.cli.status import SOME_LOST
from bycatch.errors import BycatchError, SettingsError, is_expected, log_traceback, reason
from bycatch.system.words import printable

LOG = "bycatch.log"

logger = logging.getLogger("bycatch")


@contextmanager
def log_run(out: Path, *, quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Log a run: to the terminal (with a progress bar on a real one) and to a file."""
    from bycatch.cli.progress import ProgressHandler, RunProgress
    from bycatch.precompile import watch_first_compilation

    watch_first_compilation()

    progress = RunProgress(stderr, disable=quiet or not stderr.is_terminal)
    handler = ProgressHandler(progress, plain=not (quiet or stderr.is_terminal))
    level = logging.ERROR if quiet else (logging.DEBUG if verbose else logging.INFO)
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    file = LogFile(log_file or out / LOG, is_ours=log_file is None)
    try:
        with _logging_to([TerminalHandler(level), handler, file], file), progress:
            yield
    except SettingsError:
        _remove_trace(new, file.path)
        raise


def _remove_trace(new: list[Path], log: Path) -> None:
    """Remove the folders of a run that could not begin, if they hold only its log."""
    if not new or any(path != log for path in new[0].glob("*")):
        return
    with suppress(OSError):
        log.unlink(missing_ok=True)
        for folder in new:
            folder.rmdir()


@contextmanager
def log_fetch(data: Path | None, *, quiet: bool, verbose: bool) -> Iterator[None]:
    """Log a fetch: to the terminal, and to ``fetch.log`` in the folder of the data, if given."""
    level = logging.ERROR if quiet else (logging.DEBUG if verbose else logging.INFO)
    handlers: list[logging.Handler] = [TerminalHandler(level)]
    file = None if data is None else LogFile(data / "fetch.log", is_ours=True)
    with _logging_to([*handlers, file] if file else handlers, file):
        yield


@contextmanager
def log_look(out: Path | None = None, *, verbose: bool = False) -> Iterator[None]:
    """Log a command that only looks: problems to the terminal, the unexpected to the log of OUT.

    What is lost with one image of several is logged as an error: then the status says so.
    """
    level = logging.INFO if verbose else logging.WARNING
    handlers: list[logging.Handler] = [TerminalHandler(level)]
    errors = _Errors()
    file = None
    if out is not None:
        folder(out)
        with suppress(SettingsError):  # looking needs no right to write
            file = LogFile(out / LOG, is_ours=True, only_traces=True)
            handlers.append(file)
    with _logging_to([*handlers, errors], file):
        yield
    if errors.were_there:
        raise typer.Exit(SOME_LOST)


def folder(out: Path) -> Path:
    """Return an output folder that has to be there already."""
    if not out.is_dir():
        what = "a file, not a folder" if out.exists() else "there is no such folder"
        raise SettingsError(f"{out}: {what}", hint="give the OUT of a run")
    return out


@contextmanager
def _logging_to(handlers: list[logging.Handler], file: LogFile | None) -> Iterator[None]:
    """Send the log to handlers; an unexpected error is logged with its traceback."""
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [*handlers, _Stopping()]
    try:
        yield
    except Exception as err:
        watch.check()
        if file is None or is_expected(err):
            raise
        log_traceback(err)
        raise _UnexpectedError(reason(err, details=f"{file.path} holds the details")) from err
    finally:
        for handler in handlers:
            handler.close()
        logger.handlers = []


class _UnexpectedError(BycatchError):
    """An unexpected error, whose traceback is in the log."""

    def __str__(self) -> str:
        return self.message


class TerminalHandler(logging.Handler):
    """One plain line per record; colours only on a terminal."""

    STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}  # noqa: RUF012

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        tell(record.getMessage(), self.STYLES.get(record.levelno, ""))


class LogFile(logging.FileHandler):
    """The log of OUT, or of ``--log-file``: a line per record.

    Parameters
    ----------
    path : where it goes
    is_ours : the file is one of OUT: a link, a pipe or a device in its place gives way
    only_traces : the file is written when there is a traceback to keep, and not before
    """

    def __init__(self, path: Path, *, is_ours: bool, only_traces: bool = False) -> None:
        self.path = path
        try:
            if is_ours:
                _make_plain(path)
            if not only_traces:
                path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path, encoding="utf-8", delay=only_traces)
        except OSError as err:
            raise SettingsError(
                f"can't write the log {path} ({err.strerror or err})",
                hint="choose another output folder, or --log-file FILE",
            ) from err
        if only_traces:
            self.addFilter(lambda record: record.levelno == logging.DEBUG)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        time = logging.Formatter().formatTime(record)
        return f"{time} {record.levelname:<7} {printable(record.getMessage())}"

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (of logging)
        """Go on without the log where its disk is full."""
        complain(f"the log has stopped: {self.path} can't be written")
        silence(self.stream)


def _make_plain(path: Path) -> None:
    """Remove anything that is not a plain file, or has another name as well."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
        return  # opening a folder says what is wrong
    path.unlink()


class _Stopping(logging.Handler):
    """Ends a run at the next line of its log where a library has swallowed the signal."""

    def emit(self, _: logging.LogRecord) -> None:
        watch.check()


class _Errors(logging.Handler):
    """Knows whether errors were logged."""

    were_there = False

    def __init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, _: logging.LogRecord) -> None:
        self.were_there = True
