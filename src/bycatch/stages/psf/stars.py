"""The stars that fits work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.stages.psf.build import Places


@dataclass(frozen=True, eq=False)
class Stars:
    """Stars of an image, (N,) each.

    Attributes
    ----------
    x, y, flux : 0-based pixel centres, e/s
    width : logarithm of the PSF's width at the star, over the PSF's
    start_x, start_y : where fits begin
    found_x, found_y : where they were found
    moves : bool; False where the position is given
    returned : bool; it went astray, and was put back
    n_iter : int; iterations until it had settled, 0: it has not
    """

    x: Floats
    y: Floats
    flux: Floats
    width: Floats
    start_x: Floats
    start_y: Floats
    found_x: Floats
    found_y: Floats
    moves: Bools
    returned: Bools
    n_iter: Ints

    @staticmethod
    def at(x: Floats, y: Floats, moves: Bools, positions: tuple[Floats, Floats]) -> Stars:
        """Return stars without flux."""
        n = len(x)
        return Stars(
            x=x.copy(),
            y=y.copy(),
            flux=np.zeros(n),
            width=np.zeros(n),
            start_x=x.copy(),
            start_y=y.copy(),
            found_x=positions[0].copy(),
            found_y=positions[1].copy(),
            moves=moves.copy(),
            returned=np.zeros(n, bool),
            n_iter=np.zeros(n, np.int64),
        )

    def take(self, which: Bools | Ints) -> Stars:
        """Return some of them."""
        return Stars(*(values[which] for values in vars(self).values()))

    def join(self, others: Stars) -> Stars:
        """Return these and others."""
        both = zip(vars(self).values(), vars(others).values(), strict=True)
        return Stars(*(np.concatenate(pair) for pair in both))

    def put(self, which: Bools, others: Stars) -> Stars:
        """Return these with some of them replaced, in order."""
        out = self.take(np.arange(len(self)))
        for name, values in vars(out).items():
            values[which] = getattr(others, name)
        return out

    def places(self, which: Bools | Ints) -> Places:
        """Return places and fluxes of some of them."""
        return Places(self.x[which], self.y[which], self.flux[which], self.width[which])

    def __len__(self) -> int:
        return len(self.x)
