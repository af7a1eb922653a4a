"""The threads of linear algebra, which numpy and scipy leave to a library."""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read when numpy is first imported."""


def use_one_thread() -> None:
    """Let linear algebra use one thread, here and in child processes, unless set otherwise.

    Its matrices are small.  The threads of OpenBLAS wait for one another in loops: on two cores
    that others use, the alignment of 750 stars took 5 to 20 s of processor time instead of 0.5 s.
    Results then don't depend on the number of cores either.  For processes of our own only, and
    before numpy is imported.
    """
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
