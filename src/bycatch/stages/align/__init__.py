"""Alignment of a field: its images to one another, and all of them together to Gaia.

One pointing error is common to all images of a field to first order, so they
are one problem.  First the images are tied to one another by everything they
have in common, galaxies too.  Then the offset and roll between their objects
and the reference stars are searched by votes, and one least-squares fit finds
the frames of all images: a filter with two Gaia stars inherits from one with
twenty.  A fit is accepted on the odds that chance would do as well, for which
the same search is done with scrambled stars.  Without proof nothing is moved.
Pairs that are no chance but disagree make the error larger and the grade worse.

An image whose WCS is in doubt is aligned with the others, but they are aligned without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.kernels.tiefit import REFERENCE, image_covariance
from bycatch.sky.astrometry import FrameError
from bycatch.stages.align.absolute import Anchor, anchor_of
from bycatch.stages.align.coverage import coverage_of
from bycatch.stages.align.floors import GaiaPairs, centroid_floors_mas
from bycatch.stages.align.model import (
    GRADES,
    IN_DOUBT,
    AlignResult,
    FieldAlignment,
    FieldImage,
)
from bycatch.stages.align.plane import (
    IDENTITY,
    Affine,
    Plane,
    Stars,
    pixels_of,
    stars_near,
    view_of,
)
from bycatch.stages.align.relative import Group, tied_groups
from bycatch.stages.align.star_fit import pair_residuals, weighted_rms
from bycatch.stages.align.wcs_correction import (
    centre_of,
    change_at_centre,
    corrected_wcs,
    typical_error,
    variance_map,
)
from bycatch.tangent import SAME_PLACE_DEG, clusters

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.settings import AlignSettings
    from bycatch.sky.gaia import ReferenceStars

__all__ = [
    "GRADES",
    "IN_DOUBT",
    "AlignResult",
    "FieldAlignment",
    "FieldImage",
    "pointing_error_mas",
    "run",
]


WCSNAME_ALIGNED = "BYCATCH-GAIADR3"

POINTING_ERRORS_MAS = (("GAIA", 30.0), ("GSC240", 200.0), ("HSC30", 200.0))
"""Errors to expect of a header's WCS by what its WCSNAME contains."""
POINTING_ERROR_MAS = 1000.0
GUIDE_STAR_ARCSEC = 600.0
"""Distance of the guide stars from each other: it turns their errors into one of the roll."""


def run(
    images: Sequence[FieldImage], reference: ReferenceStars | None, settings: AlignSettings
) -> FieldAlignment:
    """Align the images of a field with one another and with reference stars.

    Parameters
    ----------
    images : FieldImage
        In any order; the result keeps it.
    reference : ReferenceStars or None
        Stars around the field; without them the images are only tied to one another.
    settings : AlignSettings
        Ranges of the search and limits of acceptance.

    Returns
    -------
    FieldAlignment
        An image for which nothing convinces keeps its header's WCS, with the reason.
    """
    results: dict[int, AlignResult] = {}
    usable = []
    for k, image in enumerate(images):
        obstacle = _obstacle(image, settings)
        if obstacle:
            results[k] = _header_result(image, obstacle, settings)
        else:
            usable.append(k)
    centres = np.array([centre_of(images[k], images[k].wcs) for k in usable]).reshape(-1, 2)
    for place in clusters(centres[:, 0], centres[:, 1], SAME_PLACE_DEG):
        here = {usable[k]: images[usable[k]] for k in place}
        without_doubt = {k: image for k, image in here.items() if not image.doubt}
        results |= _align_together(without_doubt, reference, settings)
        for k in here.keys() - without_doubt.keys():
            # Its own result only: the others have theirs without it.
            result = _align_together({**without_doubt, k: images[k]}, reference, settings)[k]
            results[k] = _in_doubt(result, images[k].doubt)
    return FieldAlignment(tuple(results[k] for k in range(len(images))))


def _align_together(
    images: Mapping[int, FieldImage], reference: ReferenceStars | None, settings: AlignSettings
) -> dict[int, AlignResult]:
    """Align images that lie together, by their numbers."""
    if not images:
        return {}
    results: dict[int, AlignResult] = {}
    plane = Plane.of([*images.values()])
    views = [view_of(k, image, plane, settings) for k, image in images.items()]
    stars = stars_near(reference, plane, views, settings)
    correction: Affine | None = None
    for group in tied_groups(views, settings):
        anchor = anchor_of(group, stars, correction, settings)
        if anchor.frames is not None:
            correction = correction or anchor.correction
        of_group = [_result(group, k, anchor, stars, settings) for k in range(len(group.views))]
        # A distortion is the frame's, not the centroids'.
        is_distorted = any(result.distortion_mas > 0 for result in of_group)
        pairs = [] if is_distorted else [_gaia_pairs(result, stars) for result in of_group]
        floors = centroid_floors_mas(group, pairs)
        for view, result, floor_mas in zip(group.views, of_group, floors, strict=True):
            error = replace(result.frame_error, centroid_floor_mas=floor_mas)
            results[view.index] = _in_doubt(replace(result, frame_error=error), group.doubt)
    return results


def _gaia_pairs(result: AlignResult, stars: Stars) -> GaiaPairs:
    """Return the Gaia stars of an image, with the errors that Gaia states."""
    table = result.matches
    variance = dict(zip(stars.source_id.tolist(), stars.variance.mean(axis=1), strict=True))
    return GaiaPairs(
        np.asarray(table["source"], dtype=np.int64),
        np.column_stack([table["dra_mas"], table["ddec_mas"]]),
        np.array([variance[k] for k in np.asarray(table["source_id"]).tolist()], dtype=float),
    )


def _in_doubt(result: AlignResult, doubt: str) -> AlignResult:
    """Return the result of an image whose WCS is in doubt: its grade is not an A."""
    if not doubt:
        return result
    reason = f"{result.reason}; {IN_DOUBT}: {doubt}"
    return replace(result, grade="B" if result.grade == "A" else result.grade, reason=reason)


def _obstacle(image: FieldImage, settings: AlignSettings) -> str:
    """Return why alignment can't be tried at all, or ''."""
    if not settings.enabled:
        return "alignment is switched off"
    if not len(image.sources):
        return "no detections"
    if image.wcs.naxis != 2 or not image.wcs.is_celestial:
        return "the header has no celestial WCS"
    return ""


def pointing_error_mas(wcsname: str) -> float:
    """Return the error to expect of a header's WCS per axis (HST's WCSNAME conventions).

    Parameters
    ----------
    wcsname : of the header
    """
    name = wcsname.upper()
    return next((e for part, e in POINTING_ERRORS_MAS if part in name), POINTING_ERROR_MAS)


def _pointing_covariance(error_mas: float, settings: AlignSettings) -> Floats:
    """Return the (6, 6) covariance of a frame that nothing but the pointing determines."""
    limit = np.deg2rad(settings.max_roll_deg) * 1000.0
    roll = min(error_mas / GUIDE_STAR_ARCSEC, limit)
    covariance = np.diag([error_mas**2, error_mas**2, 0.0, roll**2, roll**2, 0.0])
    covariance[3, 4] = covariance[4, 3] = -(roll**2)
    return covariance


def _header_result(image: FieldImage, reason: str, settings: AlignSettings) -> AlignResult:
    """Return the result of an image that keeps its own WCS."""
    return _without_gaia(
        image, image.wcs, reason, 0, 0, pointing_error_mas(image.wcsname), settings
    )


def _without_gaia(
    image: FieldImage,
    wcs: WCS,
    reason: str,
    n_tied: int,
    n_reference: int,
    error_mas: float,
    settings: AlignSettings,
) -> AlignResult:
    """Return the result of an image whose absolute frame is some header's."""
    change = change_at_centre(image, wcs)
    covariance = _pointing_covariance(error_mas, settings)
    frame_error = FrameError(*centre_of(image, wcs), covariance)
    return AlignResult(
        wcs=wcs,
        grade="E" if n_tied else "F",
        reason=reason,
        geometry="none",
        n_matches=0,
        n_field_matches=0,
        n_tied=n_tied,
        n_reference=n_reference,
        rms_ra_mas=np.nan,
        rms_dec_mas=np.nan,
        loo_rms_mas=np.nan,
        odds=np.nan,
        shift_ra_mas=change[0],
        shift_dec_mas=change[1],
        roll_deg=change[2],
        scale_ppm=change[3],
        astrom_err_mas=typical_error(frame_error, image, wcs),
        frame_error=frame_error,
        distortion_mas=np.nan,
        distortion_arcsec=np.nan,
        release="",
        epoch=_julian_year(image.mjd),
        matches=_match_table(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), _NO_PAIRS),
    )


def _result(
    group: Group, member: int, anchor: Anchor, stars: Stars, settings: AlignSettings
) -> AlignResult:
    """Return the result of one image of a group."""
    view = group.views[member]
    image = view.image
    frame = (anchor.frames or group.frames)[member]
    move = anchor.residual.move if anchor.residual is not None else IDENTITY
    wcs = corrected_wcs(image.wcs, view.plane, frame, move, image.shape)
    star_x, star_y, inside = pixels_of(stars.xy, view, wcs)
    n_reference = int(inside.sum())
    n_tied = group.n_tied[member]
    if anchor.frames is None or anchor.data is None or anchor.fit is None:
        # The hub's header decides for all of them.
        error = pointing_error_mas(group.views[0].image.wcsname)
        return _without_gaia(image, wcs, anchor.reason, n_tied, n_reference, error, settings)
    wcs.wcs.name = WCSNAME_ALIGNED
    covariance = image_covariance(anchor.fit, anchor.data, member)
    covariance[[0, 1], [0, 1]] += settings.frame_floor_mas**2 + anchor.unexplained_mas**2
    frame_error = FrameError(*centre_of(image, wcs), covariance)
    is_believed = anchor.is_believed(len(stars))[inside]
    coverage = coverage_of(star_x[inside], star_y[inside], is_believed, image.shape)
    if anchor.residual is not None:
        extra = variance_map(
            frame_error, view, wcs, anchor.residual, coverage, settings.tolerance_mas
        )
        frame_error = replace(frame_error, extra=extra)
    matches, weights = _matches(group, member, anchor, stars)
    change = change_at_centre(image, wcs)
    own = np.column_stack([matches["dra_mas"], matches["ddec_mas"]])
    left_out = np.column_stack([matches["dra_loo_mas"], matches["ddec_loo_mas"]])
    rms = weighted_rms(own, weights) if len(own) else np.full(2, np.nan)
    loo = left_out[np.isfinite(left_out).all(axis=1) & (matches["weight"] > 0.3)]
    error_mas = typical_error(frame_error, image, wcs)
    n_field = len(anchor.star) if anchor.star is not None else 0
    return AlignResult(
        wcs=wcs,
        grade=_grade(n_field, error_mas, not coverage.reason, bool(anchor.disagreement)),
        reason="; ".join(filter(None, [anchor.reason, coverage.reason])),
        geometry=anchor.geometry,
        n_matches=len(matches),
        n_field_matches=n_field,
        n_tied=n_tied,
        n_reference=n_reference,
        rms_ra_mas=float(rms[0]),
        rms_dec_mas=float(rms[1]),
        loo_rms_mas=float(np.sqrt(np.mean(loo**2))) if len(loo) else np.nan,
        odds=anchor.odds,
        shift_ra_mas=change[0],
        shift_dec_mas=change[1],
        roll_deg=change[2],
        scale_ppm=change[3],
        astrom_err_mas=error_mas,
        frame_error=frame_error,
        distortion_mas=anchor.residual.size_mas if anchor.residual else np.nan,
        distortion_arcsec=anchor.residual.length_arcsec if anchor.residual else np.nan,
        release=stars.release,
        epoch=_julian_year(image.mjd),
        matches=matches,
    )


def _grade(n_stars: int, error_mas: float, is_covered: bool, has_disagreement: bool) -> str:
    """Return the grade of an image that is on Gaia."""
    if n_stars >= 5 and error_mas <= 5 and is_covered and not has_disagreement:
        return "A"
    if n_stars >= 3 and error_mas <= 15 and not has_disagreement:
        return "B"
    return "C" if n_stars >= 2 and error_mas <= 50 else "D"


def _matches(group: Group, member: int, anchor: Anchor, stars: Stars) -> tuple[Table, Floats]:
    """Return the pairs of an image, and their weights per axis."""
    data, fit = anchor.data, anchor.fit
    assert data is not None
    assert fit is not None
    assert anchor.star is not None
    assert anchor.obj is not None
    row_of = np.full(group.n_objects, -1, dtype=np.int64)
    row_of[group.obj[member]] = np.arange(len(group.obj[member]))
    here = row_of[anchor.obj]
    is_here = here >= 0
    rows = np.flatnonzero(data.image == member)[here[is_here]]
    star_rows = np.flatnonzero(data.image == REFERENCE)[is_here]
    own = fit.residuals[rows] - fit.residuals[star_rows]
    left_out = own + fit.left_out[star_rows] - pair_residuals(fit, data)[is_here]
    if anchor.residual is not None and anchor.residual.size_mas:
        # The frames are those before the fit, and what was added to them.
        own = anchor.residual.move(data.xy[rows]) - data.xy[star_rows]
        if anchor.residual.left_out is not None:
            left_out = anchor.residual.left_out[is_here]
    variance = data.variance[rows] + data.variance[star_rows]
    star = anchor.star[is_here]
    values = {
        "dra_mas": own[:, 0],
        "ddec_mas": own[:, 1],
        "dra_loo_mas": left_out[:, 0],
        "ddec_loo_mas": left_out[:, 1],
        "dra_err_mas": np.sqrt(variance[:, 0]),
        "ddec_err_mas": np.sqrt(variance[:, 1]),
        "weight": fit.weights[star_rows],
    }
    detections = group.views[member].rows[here[is_here]]
    table = _match_table(detections, stars.source_id[star], stars.mag[star], values)
    return table, fit.weights[star_rows, np.newaxis] / variance


_NO_PAIRS: dict[str, Floats] = {
    name: np.empty(0)
    for name in (
        "dra_mas",
        "ddec_mas",
        "dra_loo_mas",
        "ddec_loo_mas",
        "dra_err_mas",
        "ddec_err_mas",
        "weight",
    )
}


def _match_table(source: Ints, source_id: Ints, gaia_g: Floats, values: dict[str, Floats]) -> Table:
    """Return the pairs of a fit."""
    from astropy.table import Table

    meanings = {
        "source": "row of the detections, from 0",
        "source_id": "identifier of the reference star",
        "gaia_g": "G magnitude of the reference star",
        "dra_mas": "detection minus reference, right ascension times cos(dec)",
        "ddec_mas": "detection minus reference, declination",
        "dra_loo_mas": "dra_mas in a fit without this star",
        "ddec_loo_mas": "ddec_mas in a fit without this star",
        "dra_err_mas": "expected error of dra_mas",
        "ddec_err_mas": "expected error of ddec_mas",
        "weight": "0 (outlier) to 1",
    }
    table = Table({"source": source, "source_id": source_id, "gaia_g": gaia_g, **values})
    for name, meaning in meanings.items():
        table[name].description = meaning
        if name.endswith("_mas"):
            table[name].unit = "mas"
    table["gaia_g"].unit = "mag"
    return table


def _julian_year(mjd: float) -> float:
    return 2000.0 + (mjd - 51544.5) / 365.25
