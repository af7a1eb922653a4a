"""The frames of the images of a group: those of their fields, or found together over fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bycatch.catalogs.tables import floats
from bycatch.errors import BycatchError
from bycatch.images.files import open_fits
from bycatch.pipeline.field_image import field_image
from bycatch.pipeline.workbench import Workbench
from bycatch.products import ImageRecord
from bycatch.sky.astrometry import FrameError
from bycatch.stages import align

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from bycatch.settings import AlignSettings
    from bycatch.sky.gaia import ReferenceStars

logger = logging.getLogger("bycatch")


RELATIVE_MAS = {"E": 10.0, "F": 50.0}
"""Of images that were tied to one another but not to Gaia, and of headers of one visit."""


@dataclass(frozen=True, eq=False)
class GroupFrame:
    """The frame of an image in its group.

    Attributes
    ----------
    wcs, error, grade : as the alignment gives them
    """

    wcs: WCS
    error: FrameError
    grade: str

    @property
    def error_mas(self) -> float:
        """Error per axis at the point of its tangent plane."""
        at = np.array([self.error.ra_deg]), np.array([self.error.dec_deg])
        return float(np.hypot(*(v[0] for v in self.error.at(*at))) / np.sqrt(2.0))

    @property
    def relative_mas(self) -> float:
        """Error per axis relative to the other images, which share that of the pointing."""
        return min(self.error_mas, RELATIVE_MAS.get(self.grade, np.inf))


def label_of(bench: Workbench) -> str:
    """Return ``<field>/<filter>/<root>``."""
    return bench.record.full_place


def shape_of(record: ImageRecord, out: Path) -> tuple[int, int]:
    """Return (ny, nx) of an image, as its mask has it: the image itself may be discarded."""
    with open_fits(record.paths(out).mask) as hdus:
        ny, nx = hdus["CRMASK"].shape
    return ny, nx


def group_frames(
    benches: Sequence[Workbench], stars: ReferenceStars | None, settings: AlignSettings
) -> dict[str, GroupFrame]:
    """Return the frames of the images of a group, by label.

    Images of several fields are aligned together, each at its own time; what they have in common
    ties them where Gaia stars are few.  An image whose grade is worse then keeps its field's frame.

    Parameters
    ----------
    benches : the images, aligned by fields
    stars : Gaia stars of all fields
    settings : of the alignment
    """
    own = {label_of(b): GroupFrame(b.frame.wcs, b.frame.error, b.frame.grade) for b in benches}
    if len({bench.record.field for bench in benches}) < 2 or not settings.enabled:
        return own
    field_images = {}
    for bench in benches:
        try:
            field_images[label_of(bench)] = _with_p_star(field_image(bench), bench)
        except (BycatchError, OSError) as err:
            logger.warning("%s: its field's frame is kept: %s", bench.job.label, err)
    alignment = align.run([*field_images.values()], stars, settings)
    together = {
        label: GroupFrame(result.wcs, result.frame_error, result.grade)
        for label, result in zip(field_images, alignment.images, strict=True)
    }
    better = {label: f for label, f in together.items() if f.grade <= own[label].grade}
    return own | better


def _with_p_star(image: align.FieldImage, bench: Workbench) -> align.FieldImage:
    """Return an image whose detections say what is extended: galaxies do not move."""
    catalog = bench.catalog_with("id", "p_star")
    p_star_of = dict(
        zip(np.asarray(catalog["id"]).tolist(), floats(catalog, "p_star"), strict=True)
    )
    image.sources["p_star"] = [
        p_star_of.get(k, np.nan) for k in np.asarray(image.sources["id"]).tolist()
    ]
    return image
