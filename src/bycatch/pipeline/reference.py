"""Reference stars of each field: from the user's table, an earlier run, or the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bycatch.catalogs.tables import read_table, write_table
from bycatch.errors import NoReferenceStars, UnreadableFile, UnusableData
from bycatch.images.headers import read_headers
from bycatch.images.wcs import celestial_wcs
from bycatch.pipeline.jobs import UserFile
from bycatch.pipeline.keys import file_fingerprint
from bycatch.products import FieldFolder, ImageRecord, combined_digest
from bycatch.settings import AlignSettings
from bycatch.sky import gaia
from bycatch.sky.answers import separation_deg
from bycatch.sky.star_cache import Region, cache_folder, cached_stars, keep, turn
from bycatch.sky.tap import Services, release_of
from bycatch.system.disk import atomic, checksum, is_whole
from bycatch.tangent import SAME_PLACE_DEG, clusters, direction, unit_vectors

logger = logging.getLogger("bycatch")

STARS = "gaia.ecsv"


@dataclass(frozen=True)
class FieldStars:
    """The reference stars of a field: their file, and a key that changes with them."""

    path: Path | None
    key: str
    problem: str = ""


@dataclass(frozen=True)
class Cone:
    """A circle on the sky, degrees."""

    ra: float
    dec: float
    radius: float


def field_cone(images: Sequence[Path], margin_arcsec: float) -> Cone:
    """Return a circle that covers all images of a field and a margin.

    An image that can't be read or has no WCS is left out: it is not aligned.  So is one
    that lies far from the others: a wrong CRVAL must not make a circle of half the sky.

    Raises
    ------
    UnusableData
        No image of the field has a celestial WCS; the first one's reason.
    """
    corners, problems = {}, []
    for path in images:
        try:
            corners[path] = unit_vectors(*_corners(path))
        except UnusableData as err:
            problems.append(err)
    if not corners:
        raise problems[0] if problems else UnusableData("the field has no images")
    centres = np.array([direction(points) for points in corners.values()])
    here, *elsewhere = clusters(centres[:, 0], centres[:, 1], SAME_PLACE_DEG)
    paths = list(corners)
    for k in (k for group in elsewhere for k in group):
        ra, dec = centres[k]
        logger.warning(
            "%s lies at RA %.5f, Dec %.5f by its WCS, far from the other images of its field: "
            "no Gaia stars are requested there",
            paths[k].name,
            ra,
            dec,
        )
    points = np.ascontiguousarray(np.concatenate([corners[paths[k]] for k in here]).T)
    middle = points.mean(axis=1)
    middle /= np.linalg.norm(middle)
    radius = np.degrees(np.arccos(np.clip(middle @ points, -1, 1)).max()) + margin_arcsec / 3600
    return Cone(
        float(np.degrees(np.arctan2(middle[1], middle[0])) % 360),
        float(np.degrees(np.arcsin(middle[2]))),
        float(radius),
    )


def _corners(path: Path) -> NDArray[np.float64]:
    """Return right ascension and declination of an image's corners, degrees; (2, 4)."""
    headers = read_headers(path)
    wcs = celestial_wcs(headers).wcs
    ny, nx = headers.shapes["SCI"][-2:]
    corners = wcs.all_pix2world([0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1], 0)
    if not np.all(np.isfinite(corners)):
        raise UnusableData(f"{path.name}: its WCS gives no positions in its corners")
    return np.asarray(corners)


MARGIN_ARCSEC = 10.0
"""How far beyond the pointing error the circle reaches: stars move, too."""
GUIDE_STAR_DEG = 0.3
"""Farthest guide star: a roll error turns the image about it."""


def margin_arcsec(settings: AlignSettings) -> float:
    """Return how far a field's image may lie from where its header has it."""
    roll_arcsec = np.deg2rad(settings.max_roll_deg) * GUIDE_STAR_DEG * 3600
    return float(settings.max_shift_arcsec + roll_arcsec + MARGIN_ARCSEC)


def reference_stars(
    folder: FieldFolder,
    records: Sequence[ImageRecord],
    local: UserFile | None,
    services: Services,
    *,
    keep_stored: bool = False,
) -> FieldStars:
    """Return the reference stars of a field, in ``gaia.ecsv`` of its folder.

    The user's table wins; else an earlier run's answer that covers the field is
    kept; else the cache and then the services are asked.  If nothing answers,
    stars that at least cover the images are used.  ``keep_stored`` takes the stars that
    are there wherever they come from, as a step on its own does.  Without stars
    the images keep their own WCS, and the problem says why.
    """
    settings, at_hand = services.settings, stars_at_hand(folder)
    if keep_stored and local is None and at_hand.path:
        return at_hand
    if not settings.enabled and local is None:
        return FieldStars(None, "none", "switched off (align.enabled = false)")
    images = [r.paths(folder.out).folder / r.name for r in records]
    key = stars_key(images, settings, local)
    if folder.state.stars_key == key and at_hand.path:
        return at_hand
    source = local.checksum if local else ""
    try:
        cone = field_cone(images, margin_arcsec(settings))
        field_stars = _field_stars(folder, cone, local, services)
    except (NoReferenceStars, UnusableData) as err:
        logger.warning("%s: no reference stars: %s", folder.path.name, err)
        return FieldStars(None, "none", str(err))
    if field_stars is not None:
        _write(field_stars, folder, settings, source)
        origin = field_stars.stars.origin
        logger.info("%s: %d Gaia stars from %s", folder.path.name, len(field_stars.stars), origin)
    elif STARS not in folder.state.products:  # a run was killed before it could take note of them
        folder.remember(folder.path / STARS)
    stars_on_disk = _stored_stars(folder)
    if stars_on_disk is not None and stars_on_disk.serves(cone, source, settings):
        folder.state.stars_key = key
    return stars_at_hand(folder)


def stars_key(images: Sequence[Path], settings: AlignSettings, local: UserFile | None) -> str:
    """Return what stays the same while a field needs the same stars."""
    files = [f"{path.name} {file_fingerprint(path)}" for path in images if path.exists()]
    return combined_digest(files, settings.digest(), local.checksum if local else "")


@dataclass(frozen=True)
class _FieldStars:
    """Stars, and the circle of which they are all."""

    stars: gaia.ReferenceStars
    cone: Cone


def _field_stars(
    folder: FieldFolder, cone: Cone, local: UserFile | None, services: Services
) -> _FieldStars | None:
    """Return the stars of a field; None if those that are stored will do."""
    settings = services.settings
    stars_on_disk, source = _stored_stars(folder), local.checksum if local else ""
    if stars_on_disk is not None and stars_on_disk.serves(cone, source, settings):
        return None
    if local is not None:
        return _FieldStars(_local_stars(local.path, cone), cone)
    try:
        return _FieldStars(_query_stars(folder.path.name, cone, services), cone)
    except NoReferenceStars as err:
        # Better stars of the images alone than none.
        bare = replace(cone, radius=cone.radius - margin_arcsec(settings) / 3600)
        own = stars_on_disk is not None and stars_on_disk.serves(bare, "", settings)
        cached = None if own else _cached_stars(bare, settings)
        if not own and cached is None:
            raise
        logger.warning(
            "%s: stars of an earlier run are used, which cover the images but not all possible "
            "pointing errors: %s",
            folder.path.name,
            err,
        )
        return None if cached is None else _FieldStars(cached, bare)


def _write(
    field_stars: _FieldStars, folder: FieldFolder, settings: AlignSettings, source: str
) -> None:
    """Write the stars of a field, and what they are all of."""
    table = field_stars.stars.table
    table.meta |= {
        "ra_deg": field_stars.cone.ra,
        "dec_deg": field_stars.cone.dec,
        "radius_deg": field_stars.cone.radius,
        "limit_mag": settings.gaia_faint_limit_mag,
        "source": source,
    }
    target = folder.path / STARS
    with atomic(target) as partial:
        write_table(table, partial)
    folder.remember(target)


@dataclass(frozen=True)
class _StoredStars:
    """What an earlier run's stars of a field are good for."""

    region: Region
    source: str

    def serves(self, cone: Cone, source: str, settings: AlignSettings) -> bool:
        """Tell whether they are the stars that a run would get for a circle."""
        if source or self.source:
            circle = replace(self.region, ra_deg=cone.ra, dec_deg=cone.dec, radius_deg=cone.radius)
            return source == self.source and self.region.covers(circle)
        return any(self.region.covers(region) for region in _regions(cone, settings))


def _stored_stars(folder: FieldFolder) -> _StoredStars | None:
    """Return what an earlier run has left; None if that is nothing, or no longer what it was."""
    if stars_at_hand(folder).path is None:
        return None
    try:
        table = read_table(folder.path / STARS)
        meta = table.meta
        names = ("ra_deg", "dec_deg", "radius_deg", "limit_mag")
        ra, dec, radius, limit = (float(meta[name]) for name in names)
        region = Region(ra, dec, radius, str(meta["release"]), limit)
    except (UnreadableFile, KeyError, TypeError, ValueError):
        return None
    if not len(table):  # a service said so; the next one may know better
        return None
    return _StoredStars(region, str(meta.get("source", "")))


def _regions(cone: Cone, settings: AlignSettings) -> list[Region]:
    """Return the regions that would do, one for each release that the services offer."""
    releases = dict.fromkeys(release_of(service) for service in settings.gaia_services)
    limit = settings.gaia_faint_limit_mag
    return [Region(cone.ra, cone.dec, cone.radius, release, limit) for release in releases]


def _query_stars(name: str, cone: Cone, services: Services) -> gaia.ReferenceStars:
    """Return the stars of a circle from the cache, or else from the services."""
    settings = services.settings
    cached = _cached_stars(cone, settings)
    if cached is not None:
        return cached
    if settings.offline:
        raise NoReferenceStars(
            f"no Gaia stars around RA {cone.ra:.5f}, Dec {cone.dec:.5f} without the network",
            hint="run once without --offline, or give a table with --gaia FILE",
        )
    logger.info("%s: requesting Gaia stars within %.2f arcmin", name, cone.radius * 60)
    folder = cache_folder(settings.gaia_cache)
    with turn(folder, settings.gaia_requests):
        cached = _cached_stars(cone, settings)  # by a process that asked meanwhile
        stars = cached or services.stars(cone.ra, cone.dec, cone.radius)
    if cached is not None:
        return cached
    release = str(stars.table.meta["release"])
    keep(
        folder,
        Region(cone.ra, cone.dec, cone.radius, release, settings.gaia_faint_limit_mag),
        stars,
    )
    return stars


def _cached_stars(cone: Cone, settings: AlignSettings) -> gaia.ReferenceStars | None:
    """Return the stars of a circle from the cache; None if it does not have all of them."""
    folder = cache_folder(settings.gaia_cache)
    for region in _regions(cone, settings):
        cached = cached_stars(folder, region)
        if cached is not None:
            # A kept answer may be of a larger circle: each run gets the same stars.
            inside = _within(cached, cone)
            return gaia.ReferenceStars(cached.table[inside], f"the cache ({cached.origin})")
    return None


def _local_stars(path: Path, cone: Cone) -> gaia.ReferenceStars:
    """Return the stars of the user's table that lie in the circle."""
    stars = gaia.read_local(path)
    near = _within(stars, cone)
    if not near.any():
        raise NoReferenceStars(
            f"{path}: none of its {len(stars)} stars lies within {cone.radius * 60:.1f} arcmin of "
            f"RA {cone.ra:.4f}, Dec {cone.dec:.4f}",
            hint="give a table that covers the field",
        )
    return gaia.ReferenceStars(stars.table[near], stars.origin)


def _within(stars: gaia.ReferenceStars, cone: Cone) -> NDArray[np.bool_]:
    """Return which stars lie in a circle."""
    ra, dec = np.asarray(stars.table["ra"]), np.asarray(stars.table["dec"])
    return np.asarray(separation_deg(ra, dec, cone.ra, cone.dec) <= cone.radius)


def stars_at_hand(folder: FieldFolder) -> FieldStars:
    """Return a field's stars, if they are there and, as far as is known, as they were made.

    Versions before this one took note of them in another file.
    """
    path = folder.path / STARS
    product = folder.state.products.get(STARS)
    if not (path.is_file() if product is None else is_whole(path, product.proof)):
        return FieldStars(None, "none")
    return FieldStars(path, product.proof.checksum if product else checksum(path))
