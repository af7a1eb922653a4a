"""Pieces: what deblending cuts off galaxies, joined again where they are noise, and named else.

Many levels and a low contrast find faint stars beside bright ones, and cut galaxies where noise
or knots make peaks on them.  A peak that hardly stands out from the pass to a brighter
neighbour, and lies within its light, is no source: the two are joined (as the cleaning of
SExtractor does by another test).  One that stands out may be a knot or a star in
front; one image can't decide, so it keeps its row, which says whose piece it may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.labelling import Segments
from bycatch.kernels.pieces import Contacts, contacts, rename_labels

REACH = 4.0
"""Within that many rms radii of a brighter source, along the ellipse of its moments, lies its own
light: pieces of simulated galaxies with knots lie at 1.5 to 3.9, other objects mostly beyond."""
JOIN_REACH = 3.0
"""So far out they are joined: of 497 faint stars near galaxies this costs 3, a reach of 4 13."""
STAR_PEAK = 0.045
"""Smoothed peak over sum of the sharpest sources that have pieces, per square detector pixel:
stars have 0.06 to 0.08, saturated ones 0.045, galaxies that are cut 0.006 to 0.04."""
MOST_SHARE = 0.6
"""Of two neighbours whose fluxes differ by less neither is a piece."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Sources after joining.

    Attributes
    ----------
    segments : with labels 1, 2, ...
    piece_of : (N + 1,) int; by label the source that it may be a piece of, else 0
    """

    segments: Segments
    piece_of: Ints


def join_pieces(
    image: DrcImage, segments_apart: Segments, noise: Image, least_prominence: float
) -> Pieces:
    """Join pieces that do not stand out, and find others that may be pieces.

    Parameters
    ----------
    image : DrcImage
    segments_apart : Segments
        After deblending; the labels are changed in place.
    noise : (ny, nx) float32
        Of unsmoothed sky pixels, e/s.
    least_prominence : float
        In units of that noise; 0 joins none.
    """
    borders = contacts(segments_apart.smooth, segments_apart.labels, segments_apart.n_labels)
    if not len(borders.first):
        return Pieces(segments_apart, np.zeros(segments_apart.n_labels + 1, np.int64))
    work = _Joining(image, borders, noise)
    work.join(least_prominence)
    host = work.hosts()
    root = np.array([work.root(k) for k in range(segments_apart.n_labels + 1)])
    is_left = root == np.arange(len(root))
    is_left[0] = False
    names = np.where(is_left, np.cumsum(is_left), 0)[root]
    piece_of = names[host][is_left]
    labels = (
        segments_apart.labels if is_left[1:].all() else rename_labels(segments_apart.labels, names)
    )
    segments = Segments(labels, int(is_left.sum()), segments_apart.smooth)
    return Pieces(segments, np.concatenate([[0], piece_of]))


class _Joining:
    """Sources that touch, joined step by step: moments of those joined are those of both."""

    def __init__(self, image: DrcImage, borders: Contacts, noise: Image) -> None:
        size = len(borders.flux)
        self.parent = np.arange(size)
        self.flux, self.peak = borders.flux.copy(), borders.peak.copy()
        self.x, self.y = borders.peak_x, borders.peak_y
        self.moments = np.stack([borders.xx, borders.yy, borders.xy])
        seconds = np.maximum(image.exptime_map_s[self.y, self.x], 1e-9)
        self.noise = np.hypot(noise[self.y, self.x], np.sqrt(self.peak / seconds))
        self.star_peak = STAR_PEAK / image.detector_px**2
        self.doubtful: dict[int, int] = {}
        # Of those that touch, by label: so many empty ones would take longer than all else.
        touches = np.unique(np.concatenate([borders.first, borders.second]))
        self.passes: dict[int, dict[int, float]] = {k: {} for k in touches.tolist()}
        for a, b, height in zip(
            borders.first.tolist(), borders.second.tolist(), borders.saddle.tolist(), strict=True
        ):
            self.passes[a][b] = self.passes[b][a] = height

    def root(self, k: int) -> int:
        """Return the source that a label has become."""
        while self.parent[k] != k:
            self.parent[k] = self.parent[self.parent[k]]
            k = int(self.parent[k])
        return k

    def join(self, least_prominence: float) -> None:
        """Join the faintest first, each with the neighbour to which the highest pass leads."""
        touches = [k for k, passes in self.passes.items() if passes]
        for k in sorted(touches, key=lambda k: self.flux[k]):
            brighter = {h: v for h, v in self.passes[k].items() if self.flux[h] > self.flux[k]}
            if not brighter:
                continue
            host = max(brighter, key=lambda h: brighter[h])
            if self.peak[k] - brighter[host] >= least_prominence * self.noise[k]:
                continue
            distance = self.distance(k, host)
            if distance < JOIN_REACH:
                self._merge(k, host)
            elif distance < REACH:
                self.doubtful[k] = host

    def distance(self, k: int, host: int) -> float:
        """Return how far a peak is from its host's, in rms radii along the host's ellipse."""
        xx, yy, xy = self.moments[:, host]
        dx, dy = float(self.x[k] - self.x[host]), float(self.y[k] - self.y[host])
        area = xx * yy - xy * xy
        if area <= 0:
            return np.inf
        square = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / area
        return float(np.sqrt(max(square, 0.0)))

    def hosts(self) -> NDArray[np.int64]:
        """Return by label of what it may be a piece, else 0."""
        out = np.zeros(len(self.parent), np.int64)
        for k, passes in self.passes.items():
            if self.parent[k] != k or not passes:
                continue
            usable = [
                h
                for h in passes
                if self.flux[k] < MOST_SHARE * self.flux[h]
                and self.peak[h] < self.star_peak * self.flux[h]
                and self.distance(k, h) < REACH
            ]
            if usable:
                out[k] = min(usable, key=lambda h: self.distance(k, h))
            elif k in self.doubtful:
                out[k] = self.root(self.doubtful[k])
        return out

    def _merge(self, k: int, host: int) -> None:
        """Let a source become part of another."""
        self.parent[k] = host
        total = self.flux[k] + self.flux[host]
        dx, dy = float(self.x[k] - self.x[host]), float(self.y[k] - self.y[host])
        about_host = self.moments[:, k] + np.array([dx * dx, dy * dy, dx * dy])
        self.moments[:, host] += (about_host - self.moments[:, host]) * (self.flux[k] / total)
        self.flux[host] = total
        self.peak[host] = max(self.peak[host], self.peak[k])
        for other, height in self.passes[k].items():
            del self.passes[other][k]
            if other != host:
                pass_height = max(height, self.passes[host].get(other, 0.0))
                self.passes[host][other] = self.passes[other][host] = pass_height
        self.passes[k] = {}
