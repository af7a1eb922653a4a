"""What the images measured of the objects, as matrices: objects by images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.sky_parts import parts_of_sky
from bycatch.catalogs.tables import floats
from bycatch.stages.objects.model import ImagePhotometry


@dataclass(frozen=True, eq=False)
class Matrices:
    """N objects in M images.

    Attributes
    ----------
    n : number of objects
    images : what each image measured
    radii_px : of the apertures
    """

    n: int
    images: Sequence[ImagePhotometry]
    radii_px: tuple[float, ...]

    def of(self, name: str) -> Floats:
        """Return a column of the images' tables, (N, M); NaN where an image does not cover."""
        values = np.full((self.n, len(self.images)), np.nan)
        for k, image in enumerate(self.images):
            values[image.rows, k] = floats(image.table, name)
        return values

    def per_radius(self, name: str) -> Floats:
        """Return the columns of all radii, (N, M, R); ``name`` holds ``{r}``."""
        layers = [self.of(name.replace("{r}", f"{r:g}")) for r in self.radii_px]
        return np.stack(layers, axis=-1) if layers else np.empty((self.n, len(self.images), 0))

    @cached_property
    def covered(self) -> Bools:
        """(N, M) bool; True where an image covers an object."""
        is_covered = np.zeros((self.n, len(self.images)), dtype=bool)
        for k, image in enumerate(self.images):
            is_covered[image.rows, k] = True
        return is_covered

    @cached_property
    def detected(self) -> Bools:
        """(N, M) bool; True where an image itself detected it."""
        has_detection = np.zeros((self.n, len(self.images)), dtype=bool)
        for k, image in enumerate(self.images):
            has_detection[image.rows, k] = image.detected
        return has_detection

    @cached_property
    def flags(self) -> Ints:
        """(N, M) int; the flags of the measurements, 0 where there is none."""
        flags = np.zeros((self.n, len(self.images)), dtype=np.int64)
        for k, image in enumerate(self.images):
            flags[image.rows, k] = np.asarray(image.table["flags"])
        return flags

    @cached_property
    def parts_of_sky(self) -> Bools:
        """(N, M) bool; where an image takes an object for a part of its sky (`sky_parts`)."""
        are_parts = [parts_of_sky(self.flags[:, k]) for k in range(len(self.images))]
        return np.column_stack(are_parts) if are_parts else np.zeros((self.n, 0), dtype=bool)

    @cached_property
    def filter_of(self) -> Ints:
        """(M,) int; the filter of each image, as its place in `filters`."""
        return np.array([self.filters.index(image.filter) for image in self.images], np.int64)

    @cached_property
    def filters(self) -> tuple[str, ...]:
        """The filters, from blue to red."""
        pivots = {image.filter: image.pivot_angstrom for image in self.images}
        return tuple(sorted(pivots, key=lambda name: (pivots[name], name)))

    def in_filter(self, name: str) -> NDArray[np.intp]:
        """Return the columns of a filter's images."""
        return np.flatnonzero([image.filter == name for image in self.images])
