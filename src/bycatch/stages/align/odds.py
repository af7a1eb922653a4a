"""Whether a fit to the reference stars may be chance, and whether its pairs agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.kernels.matching import Brightness
from bycatch.kernels.offset_search import expected_chance_peaks, extent_of
from bycatch.stages.align.distortion import Residual
from bycatch.stages.align.plane import Stars
from bycatch.stages.align.relative import Group
from bycatch.stages.align.search import Search, area_arcsec2, middle_of, scrambled_counts
from bycatch.stages.align.star_fit import (
    StarFit,
    left_out_residuals,
    pair_residuals,
    pair_weights,
    weighted_rms,
)

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings

# So unlikely that a few scrambles suffice.
_CERTAIN = 1e-12
_FEW_SCRAMBLES = 4
_LEAST_LEFT_OUT = 4


def odds_of_chance(
    group: Group, stars: Stars, search: Search, star_fit: StarFit, settings: AlignSettings
) -> float:
    """Return the probability that chance gives as many pairs in as small a radius.

    The number of alignments expected by chance follows from the density of
    pairs.  The same search with scrambled stars of the same field (shifted by
    much more than the pointing error) says what that density effectively is:
    clustering raises it.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    stars : Stars in reach
    search : Search that the fit began with
    star_fit : StarFit
    settings : AlignSettings
    """
    area, limit = area_arcsec2(group), settings.max_mag_difference
    extent = extent_of((stars.xy - middle_of(group)) / 1000.0)

    def expected(n_pairs: int, density: float, radius_mas: float) -> float:
        return search.n_tried * expected_chance_peaks(
            n_pairs,
            pair_density=density,
            tolerance=radius_mas / 1000.0,
            max_shift=search.range_arcsec,
            max_roll_rad=search.range_rad,
            extent=extent,
        )

    few, catalog = search.stars, search.used
    search_density = (
        len(few) * len(catalog) * Brightness(few.mag, catalog.mag, limit).share() / area
    )
    share = Brightness(stars.mag, search.pool.mag, limit).share()
    density = len(stars) * len(search.pool) * share / area
    clustering = max(search.offset.pair_density / max(search_density, 1e-300), 1.0)
    n = len(star_fit.star)
    certain = expected(n, density * clustering, star_fit.radius_mas) < _CERTAIN
    counts = scrambled_counts(
        group, search, _FEW_SCRAMBLES if certain else settings.n_scrambles, settings
    )
    typical = round(float(np.mean(counts))) if counts else 0
    # The usual best count of scrambled stars is one of which about one is expected.
    while typical and expected(typical, search_density * clustering, settings.tolerance_mas) < 0.5:
        clustering *= 1.1
    odds = -np.expm1(-expected(n, density * clustering, star_fit.radius_mas))
    as_good = sum(count >= search.offset.n_pairs for count in counts)
    return float(max(odds, (as_good + 1) / (len(counts) + 1)) if as_good else odds)


def doubt_of(group: Group, star_fit: StarFit, odds: float, settings: AlignSettings) -> str:
    """Return why a fit may be chance, or ''.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    star_fit : StarFit
    odds : float, of `odds_of_chance`
    settings : AlignSettings
    """
    n = len(star_fit.star)
    pairs = "1 pair" if n == 1 else f"{n} pairs"
    middle = middle_of(group)
    shift_arcsec = float(np.hypot(*(star_fit.correction(middle) - middle))) / 1000.0
    matrix = star_fit.correction.matrix
    roll_deg = abs(float(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))))
    slack = settings.tolerance_mas / 1000.0
    reach = np.hypot(*(group.views[0].corners[0] - group.views[0].centre)) / 1000.0
    slack_deg = float(np.rad2deg(slack / reach))
    outside = shift_arcsec > settings.max_shift_arcsec + slack
    if outside or roll_deg > settings.max_roll_deg + slack_deg:
        return (
            f"a shift of {shift_arcsec:.2f} arcsec and a roll of {roll_deg:.2f} deg are too large"
        )
    if not odds <= settings.max_chance:
        return f"{pairs} may be chance: odds {odds:.1g} (allowed: {settings.max_chance:g})"
    return ""


def disagreement_of(star_fit: StarFit, settings: AlignSettings) -> str:
    """Return how much the pairs of a match that is no chance disagree, or ''.

    The image, or some of its positions, are off by that much: no reason to keep a header that is
    off by ten times more.

    Parameters
    ----------
    star_fit : StarFit
    settings : AlignSettings
    """
    rms = weighted_rms(pair_residuals(star_fit.fit, star_fit.data), pair_weights(star_fit))
    good = f"(a good frame: {settings.max_rms_mas:g})"
    if rms.max() > settings.max_rms_mas:
        return f"they scatter by {rms.max():.0f} mas {good}"
    # A few precise stars can make a fit that the others deny: leaving each out in turn shows it.
    enough = len(star_fit.star) >= _LEAST_LEFT_OUT
    left_out = weighted_rms(*left_out_residuals(star_fit)) if enough else np.zeros(2)
    if left_out.max() > settings.max_rms_mas:
        return f"left out in turn they scatter by {left_out.max():.0f} mas {good}"
    return ""


def unexplained_mas(star_fit: StarFit, residual: Residual, settings: AlignSettings) -> float:
    """Return the error that disagreeing pairs add to a frame, mas per axis.

    Where a distortion explains the scatter, the distortion's errors hold.  Otherwise its cause is
    unknown, and more pairs do not average it down.  Pairs end at the tolerance: a scatter near
    that of random places in such a circle says nothing about the stars beyond.

    Parameters
    ----------
    star_fit : StarFit
    residual : Residual that it leaves
    settings : AlignSettings
    """
    rms = weighted_rms(pair_residuals(star_fit.fit, star_fit.data), pair_weights(star_fit))
    n = 2 * len(star_fit.star)
    scatter = float(rms.max()) * np.sqrt(n / max(n - len(star_fit.fit.common), 1))
    if residual.size_mas > 0.5 * scatter:
        return 0.0
    anywhere = settings.tolerance_mas / 2.0
    rest = 1.0 - min(scatter / anywhere, 1.0) ** 2
    return float(min(scatter / np.sqrt(max(rest, 1e-6)), settings.tolerance_mas))
