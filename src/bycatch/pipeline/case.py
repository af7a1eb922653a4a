"""One image and its products, for an explanation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.errors import MissingProduct
from bycatch.products import ImagePaths, ImageRecord, read_image, saved_settings
from bycatch.settings import DetectSettings, build

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.drc import DrcImage
    from bycatch.pipeline.frames import Frame


class Case:
    """One image and its products, read when they are needed."""

    def __init__(self, out: Path, record: ImageRecord) -> None:
        self.out, self.record = out, record
        self.paths: ImagePaths = record.paths(out)

    def require_detection(self) -> None:
        """Raise `MissingProduct` where the image was not detected yet."""
        if "detect" not in self.record.stages:
            raise MissingProduct(
                f"{self.record.root}: not detected yet", hint="run 'bycatch run' first"
            )

    @property
    def settings(self) -> DetectSettings:
        """The settings that the image was detected with."""
        stage = self.record.stages["detect"]
        return build(DetectSettings, stage.settings, where=self.record.label)

    @cached_property
    def image(self) -> DrcImage:
        """The drizzled image."""
        return read_image(self.record, self.out, saved_settings(self.out))

    @cached_property
    def frame(self) -> Frame | None:
        """The aligned WCS, if there is one."""
        from bycatch.pipeline.frames import read_frame

        return read_frame(self.paths.wcs) if self.paths.wcs.exists() else None

    def pixel_of(self, ra_deg: float, dec_deg: float) -> tuple[float, float]:
        """Return the 0-based pixel of a direction; NaN on the far side of the sky."""
        from bycatch.tangent import tangent_mas

        wcs = self.frame.wcs if self.frame is not None else self.image.wcs
        place = np.array([ra_deg]), np.array([dec_deg])
        # A projection has a second solution on the far hemisphere.
        if not np.isfinite(tangent_mas(*place, *(float(v) for v in wcs.wcs.crval))).all():
            return float("nan"), float("nan")
        x, y = wcs.all_world2pix(ra_deg, dec_deg, 0, quiet=True)
        return float(x), float(y)

    def distance_deg(self, ra_deg: float, dec_deg: float) -> float:
        """Return how far a direction is from the centre of the image, degrees."""
        wcs = self.frame.wcs if self.frame is not None else self.image.wcs
        ny, nx = self.image.shape
        ra, dec = wcs.all_pix2world(0.5 * (nx - 1), 0.5 * (ny - 1), 0)
        a, b, c, d = np.deg2rad([float(ra), float(dec), ra_deg, dec_deg])
        # Haversine: exact for small distances, too.
        root = np.sin(0.5 * (d - b)) ** 2 + np.cos(b) * np.cos(d) * np.sin(0.5 * (c - a)) ** 2
        return float(np.rad2deg(2 * np.arcsin(np.sqrt(min(root, 1.0)))))

    def table(self, kind: str) -> Table | None:
        """Return a table of the image, None where it is not there."""
        from bycatch.catalogs.tables import read_table

        path = self.paths.product(kind)
        return read_table(path) if path.exists() else None

    def pixels(self, path: Path) -> NDArray[Any] | None:
        """Return an image product, None where it is not there."""
        from bycatch.products import read_pixels

        return read_pixels(path) if path.exists() else None

    @cached_property
    def removed_detections(self) -> Table | None:
        """The detections that were removed; None before the detection."""
        from bycatch.products import read_extension

        path = self.paths.segmentation
        return read_extension(path, "REMOVED") if path.exists() else None

    @cached_property
    def detections(self) -> Table:
        """All segments, those removed as well."""
        from astropy.table import vstack

        sources, rejects = self.table("sources"), self.removed_detections
        if sources is None or rejects is None:
            raise MissingProduct(
                f"{self.record.root}: its detections are missing",
                hint="run 'bycatch detect OUT' first",
            )
        names = sources.colnames
        return vstack([sources, rejects[names]], metadata_conflicts="silent")


def distance_words(distance_deg: float) -> str:
    """Return a distance on the sky in the unit that suits it."""
    if distance_deg >= 1:
        return f"{distance_deg:.1f} deg"
    if distance_deg >= 1 / 60:
        return f"{60 * distance_deg:.1f} arcmin"
    return f"{3600 * distance_deg:.1f} arcsec"
