"""The search for the offset between a group of images and the reference stars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.matching import Brightness
from bycatch.kernels.offset_search import Offset, find_offset
from bycatch.stages.align.plane import Stars
from bycatch.stages.align.relative import Group

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings

# The first search takes this many of the brightest star-like objects per
# reference star: Gaia ends where HST detections begin, so its stars are among the
# brightest, and fewer objects make fewer chance pairs.
_BRIGHT_PER_STAR = 2
_BRIGHT_LEAST = 30


@dataclass(frozen=True, eq=False)
class Catalog:
    """The objects of a group, brightest first.

    Attributes
    ----------
    number : (N,) int, of the object in its group
    xy : (N, 2) float, mas in the tangent plane
    mag : (N,) float, AB; NaN without
    starlike : (N,) bool
    """

    number: Ints
    xy: Floats
    mag: Floats
    starlike: Bools

    def first(self, mask: Bools, n: int | None = None) -> Catalog:
        """Return the first n of the chosen ones."""
        keep = np.flatnonzero(mask)[:n]
        return Catalog(self.number[keep], self.xy[keep], self.mag[keep], self.starlike[keep])

    def __len__(self) -> int:
        return len(self.number)


def catalog_of(group: Group) -> Catalog:
    """Return the mean position and magnitude of each object of a group, brightest first.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    """
    n = group.n_objects
    obj = np.concatenate(group.obj)
    xy = np.concatenate([f(v.xy) for v, f in zip(group.views, group.frames, strict=True)])
    weight = 1.0 / np.concatenate([v.variance for v in group.views])
    mag = np.concatenate([v.mag for v in group.views])
    starlike = np.concatenate([v.starlike for v in group.views])
    total = np.bincount(obj, weight, n)
    mean = np.stack([np.bincount(obj, weight * c, n) for c in xy.T], axis=1) / total[:, np.newaxis]
    has_mag = np.isfinite(mag)
    n_mags = np.bincount(obj, has_mag, n)
    mean_mag = np.bincount(obj, np.where(has_mag, mag, 0.0), n) / np.where(n_mags > 0, n_mags, 1)
    mean_mag = np.where(n_mags > 0, mean_mag, np.nan)
    # What two images see is no cosmic ray, whatever its shape in one of them.
    n_detections = np.bincount(obj, minlength=n)
    real = (np.bincount(obj, starlike, n) > 0) & ((n_detections > 1) | (len(group.views) == 1))
    order = np.argsort(np.nan_to_num(mean_mag, nan=np.inf), kind="stable")
    return Catalog(order, mean[order], mean_mag[order], real[order])


@dataclass(frozen=True, eq=False)
class Search:
    """The best offset, and the objects that may be paired.

    Attributes
    ----------
    offset : Offset, from stars to objects
    used : the objects of this search
    pool : the objects that the fit may pair
    n_tried : searches until this one
    range_arcsec, range_rad : how far the search reached
    stars : the reference stars of the search
    """

    offset: Offset
    used: Catalog
    pool: Catalog
    n_tried: int
    range_arcsec: float
    range_rad: float
    stars: Stars


def middle_of(group: Group) -> Floats:
    """Return the mean centre of a group's images: (2,), mas in the tangent plane.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    """
    centres = [f(v.centre) for v, f in zip(group.views, group.frames, strict=True)]
    return np.asarray(np.mean(centres, axis=0))


def area_arcsec2(group: Group) -> float:
    """Return the area of a group's images, or of the box that holds them all, if smaller.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    """
    corners = np.concatenate([f(v.corners) for v, f in zip(group.views, group.frames, strict=True)])
    box = float(np.prod(np.ptp(corners, axis=0))) / 1e6
    return min(box, sum(view.area_arcsec2 for view in group.views))


def search_offset(
    group: Group,
    stars: Stars,
    n_stars: int,
    range_arcsec: float,
    range_rad: float,
    settings: AlignSettings,
) -> Search:
    """Search the offset with few good objects first, then with more.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    stars : Stars, those of the search
    n_stars : number of all stars
    range_arcsec, range_rad : largest shift and rotation
    settings : AlignSettings
    """
    catalog = catalog_of(group)
    starlike = catalog.first(catalog.starlike)
    everything = catalog.first(np.ones(len(catalog), dtype=np.bool_))
    n_bright = max(_BRIGHT_LEAST, _BRIGHT_PER_STAR * n_stars)
    bright = starlike.first(np.ones(len(starlike), dtype=np.bool_), n_bright)
    best: Search | None = None
    best_key = (False, -np.inf)
    n_tries, previous = 0, -1
    for detections, pool in ((bright, starlike), (starlike, starlike), (everything, everything)):
        if len(detections) == previous or not len(detections):
            continue
        previous = len(detections)
        n_tries += 1
        offset = _offset_of(
            group, stars.xy, stars.mag, detections, range_arcsec, range_rad, settings
        )
        # Two pairs among few detections are rarer than three among many, but no use.
        key = (offset.n_pairs >= settings.min_matches, -offset.chance)
        if best is None or key > best_key:
            best = Search(offset, detections, pool, n_tries, range_arcsec, range_rad, stars)
            best_key = key
        if key[0] and offset.chance * n_tries <= settings.max_chance:
            break
    if best is None:
        offset = Offset(0.0, 0.0, 0.0, 0, 0.0, np.inf)
        return Search(offset, catalog, catalog, 1, range_arcsec, range_rad, stars)
    return replace(best, n_tried=n_tries)


def _offset_of(
    group: Group,
    star_xy: Floats,
    star_mag: Floats,
    detections: Catalog,
    range_arcsec: float,
    range_rad: float,
    settings: AlignSettings,
) -> Offset:
    middle = middle_of(group)
    return find_offset(
        (star_xy - middle) / 1000.0,
        (detections.xy - middle) / 1000.0,
        max_shift=range_arcsec,
        max_roll_rad=range_rad,
        tolerance=settings.tolerance_mas / 1000.0,
        area=area_arcsec2(group),
        brightness=Brightness(star_mag, detections.mag, settings.max_mag_difference),
    )


def scrambled_counts(
    group: Group, search: Search, n_scrambles: int, settings: AlignSettings
) -> list[int]:
    """Return the number of pairs that the same search finds with stars scrambled in turn.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    search : Search
    n_scrambles : how many
    settings : AlignSettings
    """
    stars = search.stars
    low, high = stars.xy.min(axis=0), stars.xy.max(axis=0)
    size = np.maximum(high - low, 1.0)
    # Farther than the search reaches, either way around.
    least = np.minimum(2.0 * search.range_arcsec * 1000.0 / size, 0.4)
    counts = []
    for k in range(n_scrambles):
        # Multiples of two irrational numbers: all over the field, and the same in every run.
        step = (np.array([0.7548776662, 0.5698402910]) * (k + 1)) % 1.0
        shift = (least + (1.0 - 2.0 * least) * step) * size
        shifted_xy = low + (stars.xy - low + shift) % size
        offset = _offset_of(
            group,
            shifted_xy,
            stars.mag,
            search.used,
            search.range_arcsec,
            search.range_rad,
            settings,
        )
        counts.append(offset.n_pairs)
    return counts
