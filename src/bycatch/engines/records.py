"""Log records sent by a worker to the process that started the work."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Callable

LOGGER = "bycatch"


class Courier(logging.handlers.QueueHandler):
    """Hands records to a function that sends them, made fit for another process.

    Message and traceback become text; what a record carries besides (``at_work``) stays.
    """

    def __init__(self, send: Callable[[logging.LogRecord], object]) -> None:
        logging.Handler.__init__(self)
        self.send = send
        self.listener = None  # newer versions of Python look for it

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record that is prepared."""
        self.send(record)


def log_only_to(courier: Courier) -> None:
    """Send everything that this process logs to a courier."""
    logger = logging.getLogger(LOGGER)
    logger.handlers = [courier]
    logger.propagate = False


def level() -> int:
    """Return the lowest level of records that is wanted here."""
    return logging.getLogger(LOGGER).getEffectiveLevel()


def set_level(number: int) -> None:
    """Log from this level on."""
    logging.getLogger(LOGGER).setLevel(number)


def handle(record: logging.LogRecord) -> None:
    """Hand a worker's record to the handlers of this process, as if it had been logged here."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
