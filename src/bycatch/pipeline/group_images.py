"""The images of a group: search for detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_classes import POINT
from bycatch.catalogs.tables import floats
from bycatch.kernels.exposures import mask_shares
from bycatch.pipeline.group_frames import GroupFrame, label_of
from bycatch.pipeline.other_images import in_covered_blocks
from bycatch.pipeline.workbench import Workbench
from bycatch.settings import MOST_SIGMA
from bycatch.sky.astrometry import CENTROID_FLOOR_PX
from bycatch.stages import detect
from bycatch.stages.objects.model import (
    ImageDetections,
)
from bycatch.stages.objects.stamps import SkyEllipses

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.meta import ImageMeta
    from bycatch.settings import Settings
    from bycatch.stages.objects.combined import Combination

SAME_SOURCE_PX = 1.0
"""A detection of a second search this near to one of the first is the same."""
SHAPE = ("semimajor_px", "semiminor_px", "kron_radius", "pa_deg")
SURE_CR = 0.95
"""From this p_cr on an image alone is all but sure of a cosmic ray."""
MASK_SHARE = 0.5
"""A detection without p_cr is held for a cosmic ray where so much of it is on the mask."""


@dataclass(eq=False)
class GroupImage:
    """An image of a group.

    Attributes
    ----------
    bench : its pixels and products
    meta, scale_arcsec : of its headers
    frame : its frame in the group
    sources : the detections that go into the list (source_columns.SOURCES)
    source_ids : (N,) their numbers in the image's own catalog; 0: not in it
    ellipses : (N,) of their total fluxes there; NaN of points
    is_blended : (N,) where much of these ellipses is of others
    is_cosmic_ray : (N,) where the image alone is all but sure of it
    """

    bench: Workbench
    meta: ImageMeta
    scale_arcsec: float
    frame: GroupFrame
    sources: Table
    source_ids: Ints
    ellipses: SkyEllipses
    is_blended: Bools
    is_cosmic_ray: Bools

    @property
    def label(self) -> str:
        """``<field>/<filter>/<root>``."""
        return label_of(self.bench)

    def covers(self, ra_deg: Floats, dec_deg: Floats) -> Bools:
        """Return whether positions on the sky lie in blocks that are covered."""
        x, y = self.frame.wcs.all_world2pix(ra_deg, dec_deg, 0, quiet=True)
        is_finite = np.isfinite(x) & np.isfinite(y)
        is_inside = np.zeros(len(x), dtype=bool)
        is_inside[is_finite] = in_covered_blocks(self.bench.coverage, x[is_finite], y[is_finite])
        return is_inside


def search_image(
    bench: Workbench,
    frame: GroupFrame,
    settings: Settings,
    combination: Combination | None,
    *,
    is_alone: bool = False,
) -> GroupImage:
    """Return an image with the detections for the list; its pixels are added and put aside.

    Parameters
    ----------
    bench : the image, whose steps up to `finalize` are done
    frame : its frame in the group
    settings : of the run
    combination : the sum of the images of the group, if one is made
    is_alone : the image is the only one of its group: its pixels stay in memory
    """
    bench.read_again()
    detect_settings, image = settings.objects.detect(settings.detect), bench.image
    # A survey keeps no detections.
    has_list = detect_settings == settings.detect and bench.record.has_whole(
        bench.paths.product("sources")
    )
    sky = None
    if combination is not None or not has_list:
        sky = bench.sky(detect_settings)
    if has_list:  # the mask's file has the shares: neither segments nor mask are read for them
        sources, share = bench.sources, bench.cr_share
    else:
        detection = detect.run(image, detect_settings, sky, with_reach=False)
        sources, bench.__dict__["segmentation"] = detection.sources, detection.segmentation
        share = mask_shares(bench.segmentation, bench.cr_mask, sources["id"])
    ids, p_cr, ellipses, is_blended = _in_own_catalog(bench, sources, image.scale_arcsec)
    on_mask = (share > MASK_SHARE) & (np.asarray(sources["n_exp"]) <= 1)
    if combination is not None and sky is not None:
        zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
        combination.add(
            image,
            frame.wcs,
            sky.background,
            sky.noise,
            microjansky=photcal.microjansky(zeropoint),
            without=bench.cr_mask,  # in stacks, too: what the rejection has left
        )
    _ = bench.coverage  # while the pixels are in memory
    result = GroupImage(
        bench, image.meta, image.scale_arcsec, frame, sources, ids, ellipses,
        is_blended, np.where(np.isfinite(p_cr), p_cr >= SURE_CR, on_mask),
    )  # fmt: skip
    if not is_alone:
        bench.put_aside()
    return result


def _in_own_catalog(
    bench: Workbench, sources: Table, scale_arcsec: float
) -> tuple[Ints, Floats, SkyEllipses, Bools]:
    """Return numbers in the image's own catalog (0: not in it), p_cr, ellipses, what they hold."""
    ids, p_cr = np.zeros(len(sources), dtype=np.int64), np.full(len(sources), np.nan)
    shape = {name: np.full(len(sources), np.nan) for name in SHAPE}
    is_blended = np.zeros(len(sources), dtype=bool)
    names = ("id", "x_center", "y_center", "p_cr", "p_star", "flags", *SHAPE)
    catalog = bench.catalog_with(*names)
    if len(catalog) and len(sources):
        own = np.column_stack([floats(catalog, "x_center"), floats(catalog, "y_center")])
        is_finite = np.isfinite(own).all(axis=1)
        tree = cKDTree(own[is_finite])
        here = np.column_stack([floats(sources, "x"), floats(sources, "y")])
        distance, row = tree.query(here)
        near = distance <= SAME_SOURCE_PX
        row = np.flatnonzero(is_finite)[np.asarray(row)[near]]
        ids[near] = np.asarray(catalog["id"])[row]
        p_cr[near] = floats(catalog, "p_cr")[row]
        is_blended[near] = (np.asarray(catalog["flags"])[row] & int(Flag.TOTAL_BLENDED)) != 0
        with np.errstate(invalid="ignore"):
            is_extended = floats(catalog, "p_star")[row] < POINT
        for name, values in shape.items():
            values[near] = np.where(is_extended, floats(catalog, name)[row], np.nan)
    return ids, p_cr, SkyEllipses.of_kron(**shape, scale_arcsec=scale_arcsec), is_blended


def detections_of(image: GroupImage) -> ImageDetections:
    """Return what an image shows, on the sky."""
    sources = image.sources
    x, y, flux, noise = (floats(sources, name) for name in ("x", "y", "flux", "noise"))
    ra, dec = image.frame.wcs.all_pix2world(x, y, 0) if len(x) else (np.empty(0), np.empty(0))
    size_px = np.sqrt(floats(sources, "semimajor_px") * floats(sources, "semiminor_px"))
    floor_px = image.frame.error.centroid_floor_mas / (1000.0 * image.scale_arcsec)
    floor_px = floor_px if np.isfinite(floor_px) else CENTROID_FLOOR_PX
    error_px = np.hypot(_centroid_errors_px(sources), floor_px)
    own = floats(sources, "centre_err_px")
    error_px = np.where(np.isfinite(own), own, error_px)
    scale_arcsec = image.scale_arcsec
    star_px = np.nanpercentile(size_px, 20) if len(size_px) else 0.0
    wider_px = np.sqrt(np.maximum(size_px**2 - star_px**2, 0.0))
    return ImageDetections(
        image.label,
        image.meta.filter,
        image.meta.mjd_mid,
        np.asarray(ra),
        np.asarray(dec),
        error_px * scale_arcsec * 1000.0,
        image.frame.relative_mas,
        flux / np.maximum(noise * np.sqrt(np.maximum(floats(sources, "area"), 1.0)), 1e-30),
        wider_px * scale_arcsec,
        image.is_cosmic_ray,
        image.source_ids,
        image.ellipses,
        image.is_blended,
        1000.0 * floor_px * scale_arcsec,
    )


def detections_in_all(combination: Combination, settings: Settings) -> Floats:
    """Return what the sum of the images of a group shows.

    Where pixels are interpolated, their noise is lower than that of the images, but correlated: the
    threshold is in units of the noise before.

    Returns
    -------
    (K, 3) float
        Right ascension, declination (degrees), error per axis (mas).
    """
    image = combination.image()
    detect_settings = settings.objects.detect(settings.detect)
    sky = detect.sky_of(image, detect_settings)
    median_noise = float(np.median(sky.noise[sky.noise > 0]))
    n_sigma = min(detect_settings.n_sigma / min(median_noise, 1.0), MOST_SIGMA)
    detect_settings = detect_settings.replace(n_sigma=n_sigma)
    sources = detect.run(image, detect_settings, sky, with_reach=False).sources
    if not len(sources):
        return np.empty((0, 3))
    ra, dec = image.wcs.all_pix2world(floats(sources, "x"), floats(sources, "y"), 0)
    return np.column_stack([ra, dec, _centroid_errors_px(sources) * image.scale_arcsec * 1000.0])


def _centroid_errors_px(sources: Table) -> Floats:
    """Return the errors per axis of N centroids by noise, pixels.

    Without light in its window a source is known to its own width.
    """
    size_px = np.sqrt(floats(sources, "semimajor_px") * floats(sources, "semiminor_px"))
    error_px = floats(sources, "centroid_err_px")
    return np.where(np.isfinite(error_px), error_px, size_px)
