"""What Gaia DR3 would list of known objects: errors, motions, gaps and mistakes like Gaia's.

Everything starts from true positions at the epoch of the images.  The catalog
holds positions at 2016.0, off by errors of the stated size, with motions and
parallaxes that are off, too: carried back to the images they have the errors
that Gaia's have there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import MaskedColumn, Table

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.reference_columns import REFERENCE
from bycatch.simulate.scene import REFERENCE_WAVELENGTH
from bycatch.sky.gaia import parallax_shift
from bycatch.tangent import MAS_PER_DEG

if TYPE_CHECKING:
    from bycatch.simulate.scene import Scene


GAIA_EPOCH = 2016.0
FIRST_ID = 6_000_000_000_000_000
"""Identifiers are this plus the object's row."""

G_WAVELENGTH = 6218.0
"""Pivot wavelength of G, angstrom (Riello et al. 2021, A&A 649, A3)."""
G_VEGA_MINUS_AB = -0.114
"""Difference of the zero points 25.6874 and 25.8010 (Riello et al. 2021, table 3)."""
G_SCATTER_MAG, G_COLOUR_SCATTER = 0.03, 0.05
"""G against a straight spectrum: scatter, and how much of it each magnitude of colour adds."""

# Position errors per axis at 2016.0 by G, mas (Gaia EDR3 summary: Gaia Collaboration, Brown et
# al. 2021, A&A 649, A1, table 3, after Lindegren et al. 2021, A&A 649, A2).
_ERROR_G = (15.0, 17.0, 20.0, 21.0)
_ERROR_MAS = (0.02, 0.05, 0.4, 1.0)
# Motions and parallaxes are less well known than positions, by the same tables (mas/yr and mas).
MOTION_ERROR_RATIO, PARALLAX_ERROR_RATIO = 1.3, 1.3
# Solutions with positions only: medians of the extract of M 92 from the archive.
_SHORT_ERROR_G = (17.0, 19.0, 20.0, 20.5, 21.0)
_SHORT_ERROR_MAS = (0.9, 1.1, 1.8, 2.3, 3.4)
# Their share by G, away from crowding.
_SHORT_G = (16.0, 19.0, 20.0, 20.5, 21.0, 21.3)
_SHORT_SHARE = (0.002, 0.01, 0.04, 0.2, 0.85, 1.0)
# Stars that Gaia lists, by G: half of them near 20.9 (Cantat-Gaudin et al. 2023, A&A 669, A55).
_LISTED_G = (19.0, 20.0, 20.5, 20.9, 21.2, 21.4)
_LISTED_SHARE = (0.995, 0.98, 0.9, 0.5, 0.1, 0.0)
MAX_GALAXY_RE_ARCSEC, MAX_GALAXY_G, GALAXY_SHARE = 0.4, 20.9, 0.4
GALAXY_ERROR_MAS = 5.0
"""Gaia's centroids of galaxies follow their brightest knot."""

RUWE_LIMIT = 1.4
BAD_RUWE_SHARE = 0.06
"""Share of stars whose motion is not that of a single star."""
BAD_RUWE_FACTOR = 2.0
"""Their errors, in units of the stated ones."""
DUPLICATED_SHARE, DUPLICATED_FACTOR = 0.007, 3.0
TYPICAL_PARALLAX_MAS, PARALLAX_SPREAD = 0.5, 0.7
"""Median of the stars of G 18 to 21 at high latitude, and the scatter of its logarithm."""
LEAST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class SkyObjects:
    """The truth about objects on the sky; (N,) each.

    Attributes
    ----------
    ra_deg, dec_deg : where they are seen at ``epoch``
    g_mag : their G magnitude (Vega)
    is_star : bool
    re_arcsec : half-light radius of galaxies, 0 for stars
    pm_ra, pm_dec : proper motion, mas/yr (in RA times cos Dec)
    parallax : mas
    epoch : of the positions, Julian year
    """

    ra_deg: Floats
    dec_deg: Floats
    g_mag: Floats
    is_star: Bools
    re_arcsec: Floats
    pm_ra: Floats
    pm_dec: Floats
    parallax: Floats
    epoch: float

    def __len__(self) -> int:
        return len(self.ra_deg)


def sky_objects(
    scene: Scene, ra_deg: Floats, dec_deg: Floats, epoch: float, random: np.random.Generator
) -> SkyObjects:
    """Return the objects of a scene as Gaia would see them.

    Parameters
    ----------
    scene : magnitudes, colours and motions
    ra_deg, dec_deg : (N,) true positions of its objects at the epoch
    epoch : of the visit, Julian year
    random : of the G magnitudes' scatter and of the parallaxes
    """
    n = len(scene.mag)
    slope = scene.mag_at(G_WAVELENGTH) - scene.mag_at(REFERENCE_WAVELENGTH)
    width = G_SCATTER_MAG + G_COLOUR_SCATTER * np.abs(scene.colour)
    g_mag = scene.mag + slope + G_VEGA_MINUS_AB + width * random.normal(size=n)
    parallax = TYPICAL_PARALLAX_MAS * np.exp(PARALLAX_SPREAD * random.normal(size=n))
    return SkyObjects(
        ra_deg,
        dec_deg,
        g_mag,
        scene.is_star,
        scene.re_arcsec,
        scene.pm_ra,
        scene.pm_dec,
        np.where(scene.is_star, parallax, 0.0),
        epoch,
    )


def position_error_mas(g_mag: Floats) -> Floats:
    """Return the median error of a position per axis at 2016.0, mas: 0.05 at G = 17, 0.4 at 20."""
    return np.asarray(_power_law(g_mag, _ERROR_G, _ERROR_MAS))


def _power_law(g_mag: Floats, at: tuple[float, ...], values: tuple[float, ...]) -> Floats:
    """Interpolate logarithms, and go on with the last slope: errors grow with magnitude."""
    logs = np.log10(values)
    slope = (logs[-1] - logs[-2]) / (at[-1] - at[-2])
    beyond = slope * np.maximum(g_mag - at[-1], 0.0)
    return np.asarray(10 ** (np.interp(g_mag, at, logs) + beyond), dtype=np.float64)


def gaia_like(objects: SkyObjects, random: np.random.Generator, crowding: float = 0.0) -> Table:
    """Return what Gaia DR3 lists of objects, in the form of the archive's ``gaia_source``.

    Stars down to G = 21.4, the faint ones with gaps; some with positions only,
    most of them faint; some with a bad ``ruwe`` or ``duplicated_source``, and
    errors larger than stated; and compact galaxies.

    Parameters
    ----------
    objects : the truth
    random : decides everything
    crowding : share of stars of any magnitude that have positions only: 0.15 in globular clusters
    """
    n, g = len(objects), objects.g_mag
    chance, short = random.uniform(size=n), random.uniform(size=n)
    is_in_gaia = objects.is_star & (chance < np.interp(g, _LISTED_G, _LISTED_SHARE))
    compact = ~objects.is_star & (objects.re_arcsec < MAX_GALAXY_RE_ARCSEC) & (g < MAX_GALAXY_G)
    is_in_gaia |= compact & (chance < GALAXY_SHARE)
    two_parameters = short < np.maximum(np.interp(g, _SHORT_G, _SHORT_SHARE), crowding)
    two_parameters |= ~objects.is_star & (short < 0.5)

    ruwe = random.normal(1.02, 0.05, n)
    bad = (random.uniform(size=n) < BAD_RUWE_SHARE) | ~objects.is_star
    ruwe = np.where(bad, RUWE_LIMIT + random.exponential(0.8, n), ruwe)
    is_duplicate = random.uniform(size=n) < DUPLICATED_SHARE

    error_scatter = np.exp(0.15 * random.normal(size=(2, n)))
    error = error_scatter * np.where(
        two_parameters,
        _power_law(g, _SHORT_ERROR_G, _SHORT_ERROR_MAS),
        position_error_mas(g) * np.maximum(ruwe, 1.0),
    )
    factor = np.where(bad & ~two_parameters, BAD_RUWE_FACTOR, 1.0)
    factor = np.where(is_duplicate, DUPLICATED_FACTOR, factor)
    actual = factor * error
    knot = np.where(objects.is_star, 0.0, GALAXY_ERROR_MAS)
    deviation = actual * random.normal(size=(2, n)) + knot * random.normal(size=(2, n))
    motion_error, parallax_error = MOTION_ERROR_RATIO * error, PARALLAX_ERROR_RATIO * error[0]
    motion_noise = MOTION_ERROR_RATIO * actual * random.normal(size=(2, n))
    parallax_noise = PARALLAX_ERROR_RATIO * actual[0] * random.normal(size=n)

    east, north = parallax_shift(objects.ra_deg, objects.dec_deg, objects.epoch)
    years = GAIA_EPOCH - objects.epoch
    d_ra = years * objects.pm_ra - east * objects.parallax + deviation[0]
    d_dec = years * objects.pm_dec - north * objects.parallax + deviation[1]
    values = {
        "source_id": FIRST_ID + np.arange(n),
        "ra": objects.ra_deg + d_ra / MAS_PER_DEG / np.cos(np.radians(objects.dec_deg)),
        "ra_error": error[0],
        "dec": objects.dec_deg + d_dec / MAS_PER_DEG,
        "dec_error": error[1],
        "parallax": MaskedColumn(objects.parallax + parallax_noise, mask=two_parameters),
        "parallax_error": MaskedColumn(parallax_error, mask=two_parameters),
        "pmra": MaskedColumn(objects.pm_ra + motion_noise[0], mask=two_parameters),
        "pmra_error": MaskedColumn(motion_error[0], mask=two_parameters),
        "pmdec": MaskedColumn(objects.pm_dec + motion_noise[1], mask=two_parameters),
        "pmdec_error": MaskedColumn(motion_error[1], mask=two_parameters),
        "ref_epoch": np.full(n, GAIA_EPOCH),
        "phot_g_mean_mag": g + 0.005 * random.normal(size=n),
        "ruwe": MaskedColumn(ruwe, mask=two_parameters),
        "duplicated_source": is_duplicate,
    }
    table = Table(values)[is_in_gaia]
    for column in REFERENCE:
        table[column.name].unit = column.unit or None
    return table


def object_rows(stars: Table) -> Ints:
    """Return the rows of the objects that listed stars are."""
    return np.asarray(stars["source_id"], dtype=np.int64) - FIRST_ID


def is_reliable(stars: Table, objects: SkyObjects) -> Bools:
    """Tell which listed stars have errors like those stated: single stars, seen once."""
    good_ruwe = np.ma.filled(np.ma.asarray(stars["ruwe"]), 1.0) <= RUWE_LIMIT
    single = ~np.asarray(stars["duplicated_source"], dtype=bool)
    return np.asarray(good_ruwe & single & objects.is_star[object_rows(stars)])


def with_n_usable(stars: Table, usable: Bools, n: int, random: np.random.Generator) -> Table:
    """Return the stars without some of the usable ones, so that ``n`` of these are left.

    As large a share of the others is taken away, but a fifth of them always stays:
    stars that are not usable must still be recognised.

    Raises
    ------
    ValueError
        There are fewer usable stars.
    """
    rows = np.flatnonzero(usable)
    if len(rows) < n:
        msg = f"{n} usable stars wanted, but there are {len(rows)}"
        raise ValueError(msg)
    keep = ~usable & (random.uniform(size=len(stars)) < max(n / max(len(rows), 1), LEAST_SHARE))
    keep[random.choice(rows, n, replace=False)] = True
    return stars[keep]
