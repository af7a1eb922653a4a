"""Something that is done image by image, of which one image must not cost the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bycatch.errors import is_expected, log_traceback, reason

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("bycatch")


def of_each(images: Iterable[T], work: Callable[[T], R], label: Callable[[T], str]) -> Iterator[R]:
    """Give the results of all images with which nothing is wrong; the others are logged as errors.

    Raises
    ------
    Exception
        That of the first image, where none was left.
    """
    n_done, failures = 0, []
    for image in images:
        try:
            result = work(image)
        except Exception as err:  # noqa: BLE001
            failures.append((image, err))
            continue
        n_done += 1
        yield result
    if failures and not n_done:
        raise failures[0][1]
    for image, failure in failures:
        logger.error("%s: left out: %s", label(image), reason(failure))
        if not is_expected(failure):
            log_traceback(failure)
