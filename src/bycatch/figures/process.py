"""The figures of alignments, drawn in the background by a process of their own.

matplotlib holds Python's lock while it is imported and while it draws: in the process of the
work it would cost a tenth of a command's time, and 40 MB.  ``python -m bycatch.figures.process``
reads what is to be drawn from its input, and answers each with a picture.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from bycatch.figures.alignment import FigureImage, alignment_figure
from bycatch.figures.style import FAST_PNG
from bycatch.kernels.threads import n_threads
from bycatch.system.subprocesses import process_of


def png(name: str, images: Sequence[FigureImage]) -> bytes:
    """Return the figure of a field's alignment as a PNG file, drawn here."""
    stream = io.BytesIO()
    alignment_figure(name, images).savefig(stream, **FAST_PNG)
    return stream.getvalue()


class DrawingProcess:
    """A process that draws one figure after the other, until this one ends."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._turn = threading.Lock()
        self._process = process_of(
            "bycatch.figures.process",
            {},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.close)

    def png(self, name: str, images: Sequence[FigureImage]) -> bytes:
        """Return the figure of a field's alignment as a PNG file.

        Raises
        ------
        RuntimeError
            It could not be drawn.
        EOFError, OSError, pickle.UnpicklingError
            The process has ended.
        """
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None or requests.closed:
            raise EOFError
        with self._turn:
            pickle.dump((name, tuple(images)), requests)
            requests.flush()
            answer = pickle.load(answers)  # noqa: S301, of a process of ours
        if isinstance(answer, bytes):
            return answer
        raise RuntimeError(answer)

    def close(self) -> None:
        """End the process."""
        if self.pid == os.getpid():  # not in a fork
            self._process.terminate()
            self._process.communicate()


_known: list[DrawingProcess] = []


def drawing_process() -> DrawingProcess | None:
    """Return the process that draws, started now if there is none; None without a core for it."""
    if n_threads() < 2 or not sys.executable:
        return None
    if not (_known and _known[0].pid == os.getpid()):
        try:
            _known[:] = [DrawingProcess()]
        except OSError:
            return None
    return _known[0]


def png_beside(name: str, images: Sequence[FigureImage]) -> bytes:
    """Return the same as `png`, drawn by the other process if there is one."""
    other = drawing_process()
    if other is not None:
        with suppress(EOFError, OSError, pickle.UnpicklingError):  # it was stopped
            return other.png(name, images)
    return png(name, images)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each request with a picture, or with the reason why there is none, until they end."""
    while True:
        try:
            name, images = pickle.load(requests)  # noqa: S301, of the process that started this one
        except EOFError:
            return
        try:
            answer: bytes | str = png(name, images)
        except Exception as err:  # returned to the caller  # noqa: BLE001
            answer = f"{type(err).__name__}: {err}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401, now, while nothing is asked

    serve(sys.stdin.buffer, sys.stdout.buffer)
