"""Tying the images of a field to one another by the sources that they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.kernels.matching import Brightness, match_one_to_one
from bycatch.kernels.offset_search import Offset, find_offset
from bycatch.kernels.tiefit import (
    REFERENCE,
    Observations,
    fitted_frames,
    image_affine,
)
from bycatch.stages.align.plane import IDENTITY, Affine, Stars, View

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings


_TIE_BRIGHT = (400, 1600)
"""Numbers of the brightest sources that are tried."""
_MAX_MISFIT_MAS = 3.0
"""Images whose positions differ by more in scale or shape are not tied: one WCS is wrong."""
_MISFIT_SIGMA = 4.0
_N_CLIPS, _CLIP_SIGMA = 5, 5.0
SAME_EPOCH_DAYS = 30.0
"""Between images of that time nothing moves that matters: 0.7 mas at 8 mas/yr."""
MEDIAN_STANDARD = np.sqrt(np.log(2.0))
"""Median of the size of a residual over its error, per axis (Rayleigh)."""


@dataclass(frozen=True, eq=False)
class Group:
    """Images that are tied to one another; the first is the hub, whose frame stays.

    ``frames`` carry each image's positions to the hub's frame; ``obj`` numbers the object of each
    detection; ``error_scale`` is what the scatter between images makes of the expected errors;
    ``doubt`` says why it is not tied to a group of as many images or more that sees the same.
    """

    views: tuple[View, ...]
    frames: tuple[Affine, ...]
    obj: tuple[Ints, ...]
    n_tied: tuple[int, ...]
    error_scale: float
    doubt: str = ""

    @property
    def n_objects(self) -> int:
        """Number of objects."""
        return 1 + max((int(o.max(initial=-1)) for o in self.obj), default=-1)


def tied_groups(views: Sequence[View], settings: AlignSettings) -> list[Group]:
    """Return the images in groups that have enough in common, the largest group first.

    The hub of a group is an image whose WCS is not in doubt, if there is one.

    Parameters
    ----------
    views : View of each image
    settings : AlignSettings
    """
    waiting = sorted(views, key=lambda v: (bool(v.image.doubt), -v.starlike.sum(), v.index))
    groups = []
    misfits: dict[tuple[int, int], float] = {}
    while waiting:
        members, frames = [waiting.pop(0)], [IDENTITY]
        n_before = 0
        while len(members) > n_before:
            n_before = len(members)
            for view in list(waiting):
                frame = _tie(view, members, frames, misfits, settings)
                if frame is not None:
                    members.append(view)
                    frames.append(frame)
                    waiting.remove(view)
        groups.append(_group_of(members, frames, settings))
    groups = [replace(g, doubt=_doubt(g, groups, misfits)) for g in groups] if misfits else groups
    return sorted(groups, key=lambda g: (-len(g.views), g.views[0].index))


def _doubt(group: Group, groups: Sequence[Group], misfits: Mapping[tuple[int, int], float]) -> str:
    """Return what speaks against a group: another one of as many images or more, or ''."""
    size_of = {v.index: len(g.views) for g in groups for v in g.views}
    own = {v.index for v in group.views}
    rivals = [
        misfit
        for pair, misfit in misfits.items()
        for mine, theirs in (pair, pair[::-1])
        if mine in own and theirs not in own and size_of[theirs] >= len(own)
    ]
    if not rivals:
        return ""
    return f"its scale or shape differs from others of the field by {max(rivals):.0f} mas (rms)"


def _tie(
    view: View,
    members: Sequence[View],
    frames: Sequence[Affine],
    misfits: dict[tuple[int, int], float],
    settings: AlignSettings,
) -> Affine | None:
    """Return the frame of an image in a group, from the sources that it shares with one of them.

    Members with which it shares sources, but neither scale nor shape, are entered in ``misfits``.
    """
    for member, frame in zip(members, frames, strict=True):
        tie, misfit_mas = _tie_to(view, member, frame, settings)
        if tie is not None and not misfit_mas:
            return tie
        if misfit_mas:
            misfits[view.index, member.index] = misfit_mas
    return None


def _tie_to(
    view: View, member: View, frame: Affine, settings: AlignSettings
) -> tuple[Affine | None, float]:
    """Return the frame of an image by the sources shared with another one; how little it fits."""
    for n in _TIE_BRIGHT:
        mine, theirs = _brightest(view, n), _brightest(member, n)
        here, there = view.xy[mine], frame(member.xy[theirs])
        offset = find_offset(
            (here - view.centre) / 1000.0,
            (there - view.centre) / 1000.0,
            max_shift=settings.max_shift_arcsec,
            max_roll_rad=float(np.deg2rad(settings.max_roll_deg)),
            tolerance=settings.tolerance_mas / 1000.0,
            area=view.area_arcsec2,
            brightness=Brightness(view.mag[mine], member.mag[theirs], settings.max_mag_difference),
        )
        if offset.n_pairs >= settings.min_ties and offset.chance <= settings.max_chance:
            tie = affine_of(offset, view.centre)
            first, second = match_one_to_one(tie(here), there, settings.tolerance_mas)
            return tie, _misfit_mas(tie(here[first]), there[second])
        if max(len(mine), len(theirs)) < n:
            break
    return None, 0.0


def _misfit_mas(here: Floats, there: Floats) -> float:
    """Return by how much two lists of the same objects differ in scale or shape; 0 if they may not.

    A polynomial of second order, or a linear one for few pairs, is fitted to the differences,
    outliers are left out, and what a shift and a roll can do is taken away (rms per axis).
    """
    n_terms = next((n for n, least in ((6, 18), (3, 5)) if len(here) >= least), 0)
    if not n_terms:
        return 0.0
    middle, size = here.mean(axis=0), max(float(np.ptp(here, axis=0).max()), 1.0)
    u, v = (here - middle).T / size
    one, none = np.ones(len(u)), np.zeros(len(u))
    terms = np.stack([one, u, v, u * u, u * v, v * v], axis=1)[:, :n_terms]
    rigid = np.concatenate([np.stack([one, none, -v], axis=1), np.stack([none, one, u], axis=1)])
    apart, is_inlier = here - there, np.ones(len(u), dtype=np.bool_)
    for _ in range(_N_CLIPS):
        model = terms @ np.linalg.lstsq(terms[is_inlier], apart[is_inlier], rcond=None)[0]
        separation = np.hypot(*(apart - model).T)
        scatter = typical(separation[is_inlier])
        is_inlier = separation <= _CLIP_SIGMA * max(scatter, 1e-3)
    target = model.T.ravel()
    inside = np.tile(is_inlier, 2)
    rest = target - rigid @ np.linalg.lstsq(rigid[inside], target[inside], rcond=None)[0]
    misfit = float(np.sqrt(np.mean(rest[inside] ** 2)))
    noise = scatter * np.sqrt(n_terms / max(is_inlier.sum() - n_terms, 1))
    return misfit if misfit > max(_MAX_MISFIT_MAS, _MISFIT_SIGMA * noise) else 0.0


def _brightest(view: View, n: int) -> Ints:
    """Return the brightest detections that are no cosmic rays: galaxies too."""
    round_enough = view.starlike
    return np.flatnonzero(round_enough)[:n].astype(np.int64)


def affine_of(offset: Offset, centre: Floats) -> Affine:
    """Return an offset, in arcsec about a point, as a map of the plane.

    Parameters
    ----------
    offset : Offset, arcsec and rad
    centre : (2,) float, mas, about which it turns
    """
    return Affine.turn(offset.roll_rad, np.array([offset.dx, offset.dy]) * 1000.0, centre)


def _group_of(members: Sequence[View], frames: Sequence[Affine], settings: AlignSettings) -> Group:
    """Return a group with its detections linked to objects, and its frames fitted."""
    frames, radius_mas = list(frames), settings.tolerance_mas
    obj = _objects(members, frames, radius_mas, settings)
    scale = 1.0
    times = np.array([view.image.mjd for view in members])
    moved_mas = settings.typical_motion_mas_yr * np.nan_to_num(np.ptp(times)) / DAYS_PER_YEAR
    moved_mas *= moved_mas > settings.typical_motion_mas_yr * SAME_EPOCH_DAYS / DAYS_PER_YEAR
    for _ in range(4 if len(members) > 1 else 0):
        group = Group(tuple(members), tuple(frames), obj, (), scale)
        data = observations(group, motion_mas_yr=settings.typical_motion_mas_yr)
        # The hub's frame is given: only the others are to be found.
        fit = fitted_frames(data, 3, np.full(3, 1e-12))
        has_several = _seen_by_several(obj)[1]
        # What has moved is half the way from the mean of the epochs.
        scatter_mas = np.hypot(typical(np.hypot(*fit.residuals[has_several].T)), 0.5 * moved_mas)
        radius_mas = float(
            np.clip(
                settings.clip_sigma * 1.5 * scatter_mas,
                settings.min_radius_mas,
                settings.tolerance_mas,
            )
        )
        scale *= float(np.clip(np.median(fit.standard[has_several]) / MEDIAN_STANDARD, 0.3, 3.0))
        moves = [Affine(*image_affine(fit, data, k)) for k in range(len(members))]
        frames = [move.after(frame) for move, frame in zip(moves, frames, strict=True)]
        obj, before = _objects(members, frames, radius_mas, settings), obj
        if all(np.array_equal(a, b) for a, b in zip(obj, before, strict=True)):
            break
    has_others = _seen_by_several(obj)[0]
    return Group(
        tuple(members),
        tuple(frames),
        obj,
        tuple(int(has_others[o].sum()) if len(members) > 1 else 0 for o in obj),
        float(np.clip(scale, 0.3, 10.0)),
    )


def typical(values: Floats) -> float:
    """Return the 1-sigma scatter per axis of distances, from their median.

    Parameters
    ----------
    values : (N,) float, distances
    """
    return float(np.median(values)) / 1.177 if values.size else 0.0


def _seen_by_several(obj: Sequence[Ints]) -> tuple[Bools, Bools]:
    """Return which objects several images see, and which detections are of such objects."""
    every = np.concatenate(obj)
    has_several = np.bincount(every) > 1
    return has_several, has_several[every]


def _objects(
    members: Sequence[View],
    frames: Sequence[Affine],
    radius_mas: float,
    settings: AlignSettings,
) -> tuple[Ints, ...]:
    """Return the number of the object of each detection of each image."""
    xy, mag = frames[0](members[0].xy), members[0].mag
    numbers = [np.arange(len(xy), dtype=np.int64)]
    for view, frame in zip(members[1:], frames[1:], strict=True):
        here = frame(view.xy)
        mine, theirs = match_one_to_one(
            here, xy, radius_mas, Brightness(view.mag, mag, settings.max_mag_difference)
        )
        number = np.full(len(here), -1, dtype=np.int64)
        number[mine] = theirs
        new = np.flatnonzero(number < 0)
        number[new] = len(xy) + np.arange(new.size)
        xy, mag = np.concatenate([xy, here[new]]), np.concatenate([mag, view.mag[new]])
        numbers.append(number)
    return tuple(numbers)


def observations(
    group: Group,
    stars: Stars | None = None,
    star: Ints | None = None,
    star_obj: Ints | None = None,
    star_scale: float = 1.0,
    *,
    motion_mas_yr: float,
) -> Observations:
    """Return all positions of the group's objects, and of the stars that are linked to some.

    Where the images are of several epochs, objects that are no galaxies move.

    Parameters
    ----------
    group : Group
    stars : Stars
    star : (K,) int, rows of the stars
    star_obj : (K,) int, objects of the group that they are
    star_scale : factor of the stars' errors
    motion_mas_yr : typical motion of an object that is not a galaxy
    """
    xy = [frame(view.xy) for view, frame in zip(group.views, group.frames, strict=True)]
    variance = [np.repeat(v.variance[:, np.newaxis], 2, axis=1) for v in group.views]
    image = [np.full(len(p), k, dtype=np.int64) for k, p in enumerate(xy)]
    obj = list(group.obj)
    scales = [np.where(v.is_measured, 1.0, group.error_scale**2) for v in group.views]
    variance = [v * scale[:, np.newaxis] for v, scale in zip(variance, scales, strict=True)]
    if stars is not None and star is not None and star_obj is not None:
        star_of = np.full(group.n_objects, -1, dtype=np.int64)
        star_of[star_obj] = star
        for k, view in enumerate(group.views):
            # Each image sees a star at its own time.
            if view.index in stars.motion:
                mine = np.flatnonzero(star_of[obj[k]] >= 0)
                xy[k][mine] -= stars.motion[view.index][star_of[obj[k][mine]]]
        xy.append(stars.xy[star])
        variance.append(stars.variance[star] * star_scale**2)
        image.append(np.full(len(star), REFERENCE, dtype=np.int64))
        obj.append(star_obj)
    centres = np.array([f(v.centre) for v, f in zip(group.views, group.frames, strict=True)])
    data = Observations(
        np.concatenate(xy),
        np.concatenate(variance),
        np.concatenate(image),
        np.concatenate(obj),
        centres,
        0,
    )
    times = np.array([view.image.mjd for view in group.views])
    if not np.ptp(times) > SAME_EPOCH_DAYS:  # nor where one is unknown
        return data
    years = (times - times.mean()) / DAYS_PER_YEAR
    motion = np.where(_at_rest(group), 0.0, motion_mas_yr**2)
    if stars is not None and star is not None and star_obj is not None:
        motion[star_obj] = stars.motion_variance[star]
    # The catalog's positions are those at the mean time of the images.
    return replace(
        data,
        years=np.where(data.image == REFERENCE, 0.0, years[data.image]),
        motion_variance=motion,
    )


def _at_rest(group: Group) -> Bools:
    """Return which objects are galaxies in most of the images that show them."""
    n = group.n_objects
    votes = np.concatenate([np.where(view.at_rest, 1.0, -1.0) for view in group.views])
    return np.asarray(np.bincount(np.concatenate(group.obj), votes, n) > 0, dtype=np.bool_)
