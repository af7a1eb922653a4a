"""Reference stars of each field: from the user's table, an earlier run, or the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bycatch import gaia
from bycatch.drc import celestial_wcs
from bycatch.errors import NoReferenceStars, UnusableData
from bycatch.headers import read_headers
from bycatch.products import ImageRecord, atomic, checksum, combined
from bycatch.settings import AlignSettings
from bycatch.tables import read_table, write_table

logger = logging.getLogger("bycatch")


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

    Raises
    ------
    UnusableData
        No image of the field has a celestial WCS.
    """
    corners = []
    for path in images:
        headers = read_headers(path)
        wcs = celestial_wcs(headers)
        ny, nx = headers.shapes["SCI"][-2:]
        corners.append(wcs.all_pix2world([0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1], 0))
    ra, dec = np.radians(np.concatenate(corners, axis=1))
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    middle = points.mean(axis=1)
    middle /= np.linalg.norm(middle)
    radius = np.degrees(np.arccos(np.clip(middle @ points, -1, 1)).max()) + margin_arcsec / 3600
    return Cone(
        float(np.degrees(np.arctan2(middle[1], middle[0])) % 360),
        float(np.degrees(np.arcsin(middle[2]))),
        float(radius),
    )


def reference_stars(
    folder: Path,
    records: Sequence[ImageRecord],
    settings: AlignSettings,
    local: Path | None,
    *,
    keep: bool = False,
) -> FieldStars:
    """Return the reference stars of a field, in ``<folder>/gaia.ecsv``.

    The user's table wins; else an earlier run's answer for the same sky is
    kept; else the services are asked.  ``keep`` takes the stars that are there
    wherever they come from, as a step on its own does.  Without stars the
    images keep their own WCS, and the problem says why.
    """
    target = folder / "gaia.ecsv"
    if keep and local is None and target.exists():
        return FieldStars(target, known_key(target))
    if not settings.enabled and local is None:
        return FieldStars(None, "none", "switched off (align.enabled = false)")
    try:
        images = [folder / r.filter / r.name for r in records]
        cone = field_cone(images, 60.0 + settings.max_shift_arcsec)
        wanted = combined(
            [round(v, 4) for v in (cone.ra, cone.dec, cone.radius)],
            checksum(local) if local else [settings.gaia_services, settings.gaia_faint_limit_mag],
        )
        if target.exists() and read_table(target).meta.get("QUERY") == wanted:
            return FieldStars(target, known_key(target))
        stars = _local_stars(local, cone) if local else _asked(folder.name, cone, settings)
    except (NoReferenceStars, UnusableData) as err:
        logger.warning("%s: no reference stars: %s", folder.name, err)
        return FieldStars(None, "none", str(err))
    table = stars.table
    table.meta["QUERY"] = wanted
    with atomic(target) as partial:
        write_table(table, partial)
    logger.info("%s: %d Gaia stars from %s", folder.name, len(stars), stars.origin)
    return FieldStars(target, known_key(target))


def _asked(name: str, cone: Cone, settings: AlignSettings) -> gaia.ReferenceStars:
    logger.info("%s: asking for Gaia stars within %.2f arcmin", name, cone.radius * 60)
    return gaia.query_tap(cone.ra, cone.dec, cone.radius, settings)


def _local_stars(path: Path, cone: Cone) -> gaia.ReferenceStars:
    """Return the stars of the user's table that lie in the circle."""
    stars = gaia.read_local(path)
    ra, dec = np.radians(np.asarray(stars.table["ra"])), np.radians(np.asarray(stars.table["dec"]))
    ra0, dec0 = np.radians([cone.ra, cone.dec])
    sine2 = np.sin((dec - dec0) / 2) ** 2 + np.cos(dec) * np.cos(dec0) * np.sin((ra - ra0) / 2) ** 2
    near = np.degrees(2 * np.arcsin(np.sqrt(np.clip(sine2, 0, 1)))) <= cone.radius
    if not near.any():
        raise NoReferenceStars(
            f"{path}: none of its {len(stars)} stars lies within {cone.radius * 60:.1f} arcmin of "
            f"RA {cone.ra:.4f}, Dec {cone.dec:.4f}",
            hint="give a table that covers the field",
        )
    return gaia.ReferenceStars(stars.table[near], stars.origin)


def known_key(path: Path) -> str:
    """Return the key of stars that are already there."""
    return checksum(path) if path.exists() else "none"
