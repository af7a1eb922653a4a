"""What the stage of objects gives: the tables of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Bools
from bycatch.catalogs.tables import floats
from bycatch.stages.objects.identity import Identity
from bycatch.stages.objects.model import (
    ORIGIN_COMBINED,
)


@dataclass(frozen=True, eq=False)
class Objects:
    """The tables of a group.

    Attributes
    ----------
    objects : Table (object_columns.OBJECTS, IN_FILTER and COLOUR)
    epochs : Table (object_columns.EPOCHS)
    images : Table (object_columns.GROUP_IMAGES)
    filters : from blue to red
    n_cosmic_rays : detections of one image that are no objects
    min_p_real : of the clean table
    identity : what they are called
    """

    objects: Table
    epochs: Table
    images: Table
    filters: tuple[str, ...]
    n_cosmic_rays: int
    min_p_real: float
    identity: Identity

    @property
    def is_clean(self) -> Bools:
        """Which objects are real more likely than not, (N,)."""
        return np.asarray(floats(self.objects, "p_real") >= self.min_p_real)

    @property
    def clean(self) -> Table:
        """The objects that are real more likely than not."""
        return self.objects[self.is_clean]

    def products(self) -> dict[str, Table]:
        """Return the tables by the end of their file names."""
        return {
            "objects": self.objects,
            "objects_clean": self.clean,
            "epochs": self.epochs,
            "images": self.images,
        }

    def summary(self) -> dict[str, Any]:
        """Return the numbers for the log, the page and the summary."""
        origin = np.asarray(self.objects["origin"])
        return {
            "n_objects": len(self.objects),
            "n_real": int(self.is_clean.sum()),
            "n_in_several": int((np.asarray(self.objects["n_detected"]) > 1).sum()),
            "n_only_combined": int((origin == ORIGIN_COMBINED).sum()),
            "n_epoch_rows": len(self.epochs),
            "n_single_cosmic_rays": self.n_cosmic_rays,
            "n_group_images": len(self.images),
            "filters": list(self.filters),
        }

    def in_words(self) -> str:
        """Return what was found, as the end of a log line."""
        facts = self.summary()
        return (
            f"{facts['n_objects']} objects in {facts['n_group_images']} images, "
            f"{facts['n_real']} real, {facts['n_only_combined']} seen in the sum of the images only"
        )
