"""Tying a group of images to the reference stars: search, fit, odds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Bools, Ints
from bycatch.kernels.tiefit import REFERENCE, Frames, Observations
from bycatch.stages.align.account import search_account
from bycatch.stages.align.distortion import Residual
from bycatch.stages.align.odds import disagreement_of, doubt_of, odds_of_chance, unexplained_mas
from bycatch.stages.align.plane import IDENTITY, Affine, Stars
from bycatch.stages.align.relative import Group, affine_of
from bycatch.stages.align.search import Search, middle_of, search_offset
from bycatch.stages.align.star_fit import fit_to_stars, with_residual

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings

# More stars than this make the search slower and no more certain.
_SEARCH_STARS = 1000
_OUTLIER_WEIGHT = 0.1


@dataclass(frozen=True, eq=False)
class Anchor:
    """A group's tie to Gaia: the frames in the true frame, and the evidence; or why there is none.

    Attributes
    ----------
    reason : in words
    frames : by image, from the header's positions in the plane to the true ones; None without
    correction : what was added to all of them
    data, fit : the fit
    star, obj : the pairs: rows of the stars and numbers of the objects
    odds : probability that chance would do as well
    geometry : of the correction
    residual : what the linear frames leave
    disagreement : of the pairs, beyond ``max_rms_mas``, in words; '' without
    unexplained_mas : what that adds to the error of the frame, per axis
    """

    reason: str
    frames: tuple[Affine, ...] | None = None
    correction: Affine = IDENTITY
    data: Observations | None = None
    fit: Frames | None = None
    star: Ints | None = None
    obj: Ints | None = None
    odds: float = np.nan
    geometry: str = "none"
    residual: Residual | None = None
    disagreement: str = ""
    unexplained_mas: float = 0.0

    def is_believed(self, n_stars: int) -> Bools:
        """Tell which of all stars have a pair that is no outlier."""
        out = np.zeros(n_stars, dtype=np.bool_)
        if self.star is not None and self.fit is not None and self.data is not None:
            weights = self.fit.weights[self.data.image == REFERENCE]
            out[self.star[weights > _OUTLIER_WEIGHT]] = True
        return out


def anchor_of(
    group: Group, stars: Stars, first_guess: Affine | None, settings: AlignSettings
) -> Anchor:
    """Tie a group to the reference stars.

    Where another group of the field is tied already, its correction is the
    first guess, and the search is narrow: one pointing error is common to all.

    Parameters
    ----------
    group : Group, images that are tied to one another
    stars : Stars in reach
    first_guess : correction of another group of the field, if there is one
    settings : AlignSettings
    """
    if not len(stars):
        return Anchor(stars.problem)
    reason = ""
    tries = [(IDENTITY, settings.max_shift_arcsec, settings.max_roll_deg)]
    if first_guess is not None:
        tries.insert(0, (first_guess, 0.5, 0.02))
    for guess, range_arcsec, range_deg in tries:
        guessed_group = replace(group, frames=tuple(guess.after(frame) for frame in group.frames))
        search = search_offset(
            guessed_group,
            stars.sample(_SEARCH_STARS),
            len(stars),
            range_arcsec,
            float(np.deg2rad(range_deg)),
            settings,
        )
        anchor = _anchor_from(guessed_group, stars, search, settings)
        if anchor.frames is not None:
            return replace(anchor, correction=anchor.correction.after(guess))
        reason = anchor.reason
    return Anchor(f"{reason}; {search_account(group, stars, settings)}")


def _anchor_from(group: Group, stars: Stars, search: Search, settings: AlignSettings) -> Anchor:
    """Return the fit that starts from an offset, if it convinces."""
    if search.offset.n_pairs < 1:
        return Anchor("no reference star near any source")
    # The offset carries stars onto objects; the frames are moved the other way.
    correction = affine_of(search.offset, middle_of(group)).inverse()
    star_fit = fit_to_stars(group, stars, search, correction, settings)
    if star_fit is None:
        return Anchor("no pair of star and source agrees with one fit")
    odds = odds_of_chance(group, stars, search, star_fit, settings)
    doubt = doubt_of(group, star_fit, odds, settings)
    if doubt:
        return Anchor(doubt)
    disagreement = disagreement_of(star_fit, settings)
    first = star_fit
    star_fit, residual = with_residual(group, stars, search, star_fit, settings)
    parts = [f"{len(star_fit.star)} Gaia stars, odds of chance {odds:.1g}", disagreement]
    return Anchor(
        "; ".join(filter(None, parts)) + residual.in_words,
        star_fit.frames,
        star_fit.correction,
        star_fit.data,
        star_fit.fit,
        star_fit.star,
        star_fit.obj,
        odds,
        star_fit.geometry,
        residual,
        disagreement,
        unexplained_mas(first, residual, settings) if disagreement else 0.0,
    )
