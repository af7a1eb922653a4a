"""Alignment to Gaia: find the pointing error and fit it; without proof, keep the header's WCS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bycatch.kernels.matching import (
    Offset,
    expected_chance_peaks,
    extent_of,
    find_offset,
    match_one_to_one,
    move,
)

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.gaia import ReferenceStars
    from bycatch.settings import AlignSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WCSNAME_ALIGNED = "BYCATCH-GAIADR3"
_MAS_PER_DEG = 3.6e6
# The first search takes this many of the brightest star-like detections per
# reference star: Gaia ends where HST detections begin, so its stars are among the
# brightest, and fewer detections make fewer chance pairs.
_BRIGHT_PER_STAR = 2
_BRIGHT_LEAST = 30
_MAX_ROUNDS = 10
_N_CLIP = 5
# With fewer pairs the median of the residuals says little, and only the matching
# radius takes outliers out.
_LEAST_CLIPPED = 6


@dataclass(frozen=True)
class AlignResult:
    """The WCS of an image after alignment, and the evidence for it.

    Attributes
    ----------
    wcs : `~astropy.wcs.WCS`
        The aligned WCS, or the header's own where ``aligned`` is false.
    aligned : bool
        Whether the fit was accepted.
    reason : str
        In words, why it was or was not.
    geometry : str
        ``'none'``, ``'shift'`` or ``'rshift'`` (shift and rotation).
    n_matches : int
        Pairs in the accepted fit.
    n_reference : int
        Reference stars inside the array.
    rms_ra_mas, rms_dec_mas : float
        Root mean square residuals of the pairs per axis (RA times cos(dec)); NaN without a fit.
    shift_ra_mas, shift_dec_mas : float
        What the alignment added to the sky position of the image's centre.
    roll_deg : float
        What it added to the position angle of the image's y axis (north through east).
    chance : float
        Number of equally good alignments expected by chance; NaN without a fit.
    matches : `~astropy.table.Table`
        One row per pair of the accepted fit: ``source`` (row of the detections),
        ``source_id``, residuals ``dra_mas``, ``ddec_mas`` (detection minus reference)
        and ``separation_mas``.
    """

    wcs: WCS
    aligned: bool
    reason: str
    geometry: str
    n_matches: int
    n_reference: int
    rms_ra_mas: float
    rms_dec_mas: float
    shift_ra_mas: float
    shift_dec_mas: float
    roll_deg: float
    chance: float
    matches: Table

    def header(self) -> fits.Header:
        """Return the WCS and the numbers of the fit as FITS cards, in HST's CD form."""
        header = _wcs_cards(self.wcs)
        cards: list[tuple[str, Any, str]] = [
            ("NMATCHES", self.n_matches, "reference stars in the fit"),
            ("FITGEOM", self.geometry, "geometry of the fit"),
        ]
        if self.aligned:
            cards += [
                ("RMS_RA", self.rms_ra_mas, "[mas] rms residual in RA*cos(Dec)"),
                ("RMS_DEC", self.rms_dec_mas, "[mas] rms residual in Dec"),
                ("SHIFT_RA", self.shift_ra_mas, "[mas] RA*cos(Dec) added at the image centre"),
                ("SHIFTDEC", self.shift_dec_mas, "[mas] Dec added at the image centre"),
                ("ROLL", self.roll_deg, "[deg] added to the position angle of y"),
                ("CHANCE", self.chance, "equally good fits expected by chance"),
            ]
        for card in cards:
            header.append(card)
        return header

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log, the report and the summary file."""
        return {
            "aligned": self.aligned,
            "reason": self.reason,
            "geometry": self.geometry,
            "n_matches": self.n_matches,
            "n_reference": self.n_reference,
            "rms_ra_mas": self.rms_ra_mas,
            "rms_dec_mas": self.rms_dec_mas,
            "shift_ra_mas": self.shift_ra_mas,
            "shift_dec_mas": self.shift_dec_mas,
            "roll_deg": self.roll_deg,
            "chance": self.chance,
        }


def run(
    sources: Table,
    wcs: WCS,
    shape: tuple[int, int],
    reference: ReferenceStars | None,
    mjd: float,
    settings: AlignSettings,
) -> AlignResult:
    """Align an image to reference stars.

    The reference stars, at the epoch of the image, are projected with the header's
    WCS; the offset and roll between them and the detections are searched by
    votes; the pairs are fitted with tweakwcs and matched again until nothing
    changes.  The fit is accepted on its number of pairs, its residuals, and the
    number of equally good alignments that chance would give.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        Detections: ``x``, ``y`` (0-based pixel centres); where there, ``flux``,
        ``ellipticity``, ``n_exp`` and ``on_cr_mask`` tell star-like detections from others.
    wcs : `~astropy.wcs.WCS`
        The header's WCS; not modified.
    shape : (ny, nx)
        Shape of the image.
    reference : ReferenceStars or None
        Stars around the image.
    mjd : float
        Mid-time of the exposures.
    settings : AlignSettings
        Ranges of the search and limits of acceptance.

    Returns
    -------
    AlignResult
        With the header's WCS and the reason when the image can't be aligned.
    """
    obstacle = _obstacle(sources, wcs, reference, mjd, settings)
    if obstacle or reference is None:
        return _kept(wcs, obstacle, 0)
    field = _project(sources, wcs, shape, reference, mjd, settings)
    n_inside = int(field.inside.sum())
    if not field.star_ids.size:
        return _kept(wcs, "no reference star in reach of the image", 0)
    search = _search(field, settings)
    if search.offset.n_pairs < settings.min_matches:
        n = search.offset.n_pairs
        return _kept(
            wcs, f"{n} reference stars agree on an offset, {settings.min_matches} needed", n_inside
        )
    fit = _fit_until_stable(field, search, settings)
    if fit is None:
        return _kept(wcs, f"fewer than {settings.min_matches} pairs agree with one fit", n_inside)
    chance = _chance(field, search, fit, settings)
    doubt = _doubt(field, fit, chance, settings)
    if doubt:
        return _kept(wcs, doubt, n_inside)
    return _accepted(field, fit, chance, reference, wcs)


def _obstacle(
    sources: Table, wcs: WCS, reference: ReferenceStars | None, mjd: float, settings: AlignSettings
) -> str:
    """Return why alignment can't be tried at all, or ''."""
    if not settings.enabled:
        return "alignment is switched off"
    if reference is None or not len(reference):
        return "no reference stars"
    if not len(sources):
        return "no detections"
    if not np.isfinite(mjd):
        return "the time of the observation is unknown"
    if wcs.naxis != 2 or not wcs.is_celestial:
        return "the header has no celestial WCS"
    return ""


@dataclass(frozen=True)
class _Field:
    """Detections and reference stars in one plane.

    ``*_px`` are 0-based pixels of the header's WCS without distortions; `plane` turns
    them into arcsec from the image's centre, where the offset is searched.
    """

    corrector: Any
    centre_px: Floats
    scale_arcsec: float
    half_diagonal_arcsec: float
    area_arcsec2: float
    source_px: Floats
    starlike: Ints  # rows of the detections, brightest first
    finite: Ints  # the same without the cuts of star-like ones
    star_ids: Ints  # rows of the reference table, of the stars in reach
    star_px: Floats
    star_weights: Floats
    star_ra_deg: Floats
    star_dec_deg: Floats
    inside: Bools  # in the array, by the header's WCS

    def plane(self, xy_px: Floats) -> Floats:
        """Return pixel positions as arcsec from the image's centre."""
        return (xy_px - self.centre_px) * self.scale_arcsec


def _project(
    sources: Table,
    wcs: WCS,
    shape: tuple[int, int],
    reference: ReferenceStars,
    mjd: float,
    settings: AlignSettings,
) -> _Field:
    """Bring detections and reference stars into the plane of the header's WCS."""
    from astropy.wcs.utils import proj_plane_pixel_scales
    from tweakwcs import FITSWCSCorrector

    ny, nx = shape
    own = wcs.deepcopy()
    own.pixel_shape = (nx, ny)
    corrector = FITSWCSCorrector(own)
    scale = float(np.mean(proj_plane_pixel_scales(wcs.celestial))) * 3600.0
    centre = np.array([(nx - 1) / 2.0, (ny - 1) / 2.0])
    half_diagonal = float(np.hypot(nx, ny)) / 2.0 * scale

    source_px = np.column_stack(corrector.det_to_tanp(_values(sources, "x"), _values(sources, "y")))
    by_flux = _brightest_first(sources)
    finite = by_flux[np.isfinite(source_px[by_flux]).all(axis=1)]
    starlike = _starlike(sources, settings)

    ra, dec = reference.positions_at(mjd)
    margin = settings.max_shift_arcsec + np.deg2rad(settings.max_roll_deg) * half_diagonal + 1.0
    centre_ra, centre_dec = corrector.tanp_to_world(*centre)
    distance = _separation_deg(ra, dec, float(centre_ra), float(centre_dec)) * 3600.0
    near = np.flatnonzero(distance < half_diagonal + margin)
    star_px = np.column_stack(corrector.world_to_tanp(ra[near], dec[near]))
    outside = np.abs(star_px - centre) - np.array([nx, ny]) / 2.0
    in_reach = (outside < margin / scale).all(axis=1)
    near, star_px, outside = near[in_reach], star_px[in_reach], outside[in_reach]
    return _Field(
        corrector=corrector,
        centre_px=centre,
        scale_arcsec=scale,
        half_diagonal_arcsec=half_diagonal,
        area_arcsec2=nx * ny * scale**2,
        source_px=source_px,
        starlike=finite[starlike[finite]],
        finite=finite,
        star_ids=near.astype(np.int64),
        star_px=star_px,
        star_weights=_star_weights(reference, mjd, settings)[near],
        star_ra_deg=ra[near],
        star_dec_deg=dec[near],
        inside=(outside <= 0).all(axis=1),
    )


def _values(table: Table, name: str) -> Floats:
    """Return a column as floats, NaN where masked and where the table has no such column."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    column = np.ma.asarray(getattr(table[name], "value", table[name])).astype(np.float64)
    return np.array(np.ma.filled(column, np.nan), dtype=np.float64)


def _starlike(sources: Table, settings: AlignSettings) -> Bools:
    """Mark the detections that may be stars; a number that is missing speaks for them."""
    round_enough = ~(_values(sources, "ellipticity") > settings.max_ellipticity)
    # Where exposures were combined the cosmic rays are gone, and what the mask
    # still holds there is the sharp cores of stars.
    single = ~(_values(sources, "n_exp") > 1)
    cosmic_ray = single & (_values(sources, "on_cr_mask") > settings.max_cr_share)
    return np.asarray(round_enough & ~cosmic_ray, dtype=np.bool_)


def _brightest_first(sources: Table) -> Ints:
    """Return the rows from the brightest on; in their own order where no flux is known."""
    flux = np.nan_to_num(_values(sources, "flux"), nan=-np.inf)
    return np.argsort(-flux, kind="stable").astype(np.int64)


def _star_weights(reference: ReferenceStars, mjd: float, settings: AlignSettings) -> Floats:
    """Return inverse variances in mas^-2: position at epoch plus centroid."""
    ra_err, dec_err = reference.errors_at(mjd, settings.typical_motion_mas_yr)
    variance = np.nan_to_num((ra_err**2 + dec_err**2) / 2.0, nan=settings.centroid_error_mas**2)
    return np.asarray(1.0 / (variance + settings.centroid_error_mas**2), dtype=np.float64)


@dataclass(frozen=True)
class _Search:
    """The offset found, and the detections that may be paired."""

    offset: Offset
    pool: Ints
    density: float  # chance pairs per arcsec2 between these detections and the stars
    n_tried: int


def _search(field: _Field, settings: AlignSettings) -> _Search:
    """Search the offset with few good detections first, then with more."""
    n_bright = max(_BRIGHT_LEAST, _BRIGHT_PER_STAR * field.star_ids.size)
    attempts = [
        (field.starlike[:n_bright], field.starlike),
        (field.starlike, field.starlike),
        (field.finite, field.finite),
    ]
    best: _Search | None = None
    best_key = (False, -np.inf)
    n_tried = 0
    previous = -1
    for used, pool in attempts:
        if used.size == previous:
            continue
        previous = used.size
        n_tried += 1
        offset = find_offset(
            field.plane(field.star_px),
            field.plane(field.source_px[used]),
            max_shift=settings.max_shift_arcsec,
            max_roll_rad=float(np.deg2rad(settings.max_roll_deg)),
            tolerance=settings.tolerance_mas / 1000.0,
            area=field.area_arcsec2,
        )
        density = offset.pair_density * pool.size / max(used.size, 1)
        # Two pairs among few detections are rarer than three among many, but no use.
        key = (offset.n_pairs >= settings.min_matches, -offset.chance)
        if best is None or key > best_key:
            best, best_key = _Search(offset, pool, density, n_tried), key
        if key[0] and offset.chance * n_tried <= settings.max_chance:
            break
    assert best is not None
    return _Search(best.offset, best.pool, best.density, n_tried)


@dataclass(frozen=True)
class _Fit:
    """A linear map of detections onto reference stars, in pixels, and its pairs."""

    geometry: str
    matrix: Floats
    shift_px: Floats
    star: Ints  # indices into the field's stars
    source: Ints  # rows of the detections
    used: Bools  # not clipped
    residual_mas: Floats  # (n, 2), along the pixel axes
    radius_mas: float
    n_in_radius: int


def _fit_until_stable(field: _Field, search: _Search, settings: AlignSettings) -> _Fit | None:
    """Pair, fit, and pair again within a radius that follows the scatter, until nothing changes."""
    offset = search.offset
    pool_plane = field.plane(field.source_px[search.pool])
    radius_mas = settings.tolerance_mas
    moved = move(field.plane(field.star_px), offset.dx, offset.dy, offset.roll_rad)
    star, pooled = match_one_to_one(moved, pool_plane, radius_mas / 1000.0)
    fit: _Fit | None = None
    for _ in range(_MAX_ROUNDS):
        if star.size < settings.min_matches:
            return None
        fit = _fit_pairs(field, star, search.pool[pooled], radius_mas, settings)
        radius_mas = _next_radius_mas(fit, settings)
        on_sky = field.plane(_apply(fit, field.source_px[search.pool]))
        previous = (star, pooled)
        star, pooled = match_one_to_one(field.plane(field.star_px), on_sky, radius_mas / 1000.0)
        if np.array_equal(previous[0], star) and np.array_equal(previous[1], pooled):
            # The same pairs lie in the smaller radius, which is the better evidence.
            return replace(fit, radius_mas=radius_mas)
    return fit


def _fit_pairs(
    field: _Field, star: Ints, source: Ints, radius_mas: float, settings: AlignSettings
) -> _Fit:
    """Fit matched pairs with tweakwcs, clipping outliers."""
    from tweakwcs.linearfit import iter_linear_fit

    star_px, source_px = field.star_px[star], field.source_px[source]
    geometry = _geometry(field, star_px, settings)
    result = iter_linear_fit(
        star_px,
        source_px,
        wxy=field.star_weights[star],
        fitgeom=geometry,
        center=field.centre_px,
        nclip=_N_CLIP if len(star) >= _LEAST_CLIPPED else 0,
        # Blended and saturated stars have centroids off by several times the usual
        # error: the median ignores them.  tweakwcs scales it to the error of both
        # axes together; the setting is per axis.
        sigma=(settings.clip_sigma / np.sqrt(2.0), "mad"),
    )
    matrix = np.asarray(result["matrix"], dtype=np.float64)
    # The fit's shift is that of its centre; ours is the constant term.
    shift = np.asarray(result["shift"], dtype=np.float64)
    shift = shift + field.centre_px - matrix @ field.centre_px
    residual_px = source_px @ matrix.T + shift - star_px
    return _Fit(
        geometry=geometry,
        matrix=matrix,
        shift_px=shift,
        star=star,
        source=source,
        used=np.asarray(result["fitmask"], dtype=np.bool_),
        residual_mas=residual_px * field.scale_arcsec * 1000.0,
        radius_mas=radius_mas,
        n_in_radius=star.size,
    )


def _geometry(field: _Field, star_px: Floats, settings: AlignSettings) -> str:
    """Return the fit that the number and the spread of the pairs can carry."""
    spread = np.sqrt(np.mean(np.sum((star_px - star_px.mean(axis=0)) ** 2, axis=1)))
    wide = spread * field.scale_arcsec >= settings.min_spread_share * field.half_diagonal_arcsec
    return "rshift" if len(star_px) >= settings.min_matches_rotation and wide else "shift"


def _next_radius_mas(fit: _Fit, settings: AlignSettings) -> float:
    """Return the clipping limit for the scatter of a fit, between the settings' bounds."""
    separation = np.hypot(fit.residual_mas[fit.used, 0], fit.residual_mas[fit.used, 1])
    n_parameters = 2 if fit.geometry == "shift" else 3
    n_free = max(2 * separation.size - n_parameters, 1)
    # The median of a Rayleigh distribution is 1.177 sigma per axis.
    sigma = float(np.median(separation)) / 1.177 * np.sqrt(2 * separation.size / n_free)
    return float(
        np.clip(settings.clip_sigma * sigma, settings.min_radius_mas, settings.tolerance_mas)
    )


def _apply(fit: _Fit, xy_px: Floats) -> Floats:
    return xy_px @ fit.matrix.T + fit.shift_px


def _chance(field: _Field, search: _Search, fit: _Fit, settings: AlignSettings) -> float:
    """Return how many fits with as many pairs in as small a radius chance would give."""
    density = max(search.density, field.star_ids.size * search.pool.size / field.area_arcsec2)
    return search.n_tried * expected_chance_peaks(
        fit.n_in_radius,
        pair_density=density,
        tolerance=fit.radius_mas / 1000.0,
        max_shift=settings.max_shift_arcsec,
        max_roll_rad=float(np.deg2rad(settings.max_roll_deg)),
        extent=extent_of(field.plane(field.star_px)),
    )


def _doubt(field: _Field, fit: _Fit, chance: float, settings: AlignSettings) -> str:
    """Return why a fit does not convince, or ''."""
    if fit.used.sum() < settings.min_matches:
        return f"fewer than {settings.min_matches} pairs agree with one fit"
    rms = _rms(fit.residual_mas[fit.used])
    if rms.max() > settings.max_rms_mas:
        return (
            f"{fit.used.sum()} pairs scatter by {rms.max():.0f} mas "
            f"(allowed: {settings.max_rms_mas:g})"
        )
    moved = _apply(fit, field.centre_px[np.newaxis, :])[0] - field.centre_px
    shift_arcsec = float(np.hypot(*moved)) * field.scale_arcsec
    roll_deg = abs(float(np.rad2deg(np.arctan2(fit.matrix[1, 0], fit.matrix[0, 0]))))
    slack = settings.tolerance_mas / 1000.0
    slack_deg = float(np.rad2deg(slack / field.half_diagonal_arcsec))
    outside = shift_arcsec > settings.max_shift_arcsec + slack
    if outside or roll_deg > settings.max_roll_deg + slack_deg or np.linalg.det(fit.matrix) < 0:
        return (
            f"a shift of {shift_arcsec:.2f} arcsec and a roll of {roll_deg:.2f} deg are too large"
        )
    if not chance <= settings.max_chance:
        return (
            f"{fit.used.sum()} pairs may be chance: {chance:.1g} such fits expected "
            f"(allowed: {settings.max_chance:g})"
        )
    return ""


def _accepted(
    field: _Field, fit: _Fit, chance: float, reference: ReferenceStars, wcs: WCS
) -> AlignResult:
    """Return the result with the fit put into the WCS."""
    aligned = _corrected(field, fit)
    star, source = fit.star[fit.used], fit.source[fit.used]
    ra, dec = aligned.wcs_pix2world(*field.source_px[source].T, 0)
    dra, ddec = _offsets_mas(ra, dec, field.star_ra_deg[star], field.star_dec_deg[star])
    rms_ra, rms_dec = _rms(np.column_stack([dra, ddec]))
    shift_ra, shift_dec, roll = _change(wcs, aligned, field.centre_px)
    inside = np.abs(_unapply(fit, field.star_px) - field.centre_px) <= field.centre_px + 0.5
    return AlignResult(
        wcs=aligned,
        aligned=True,
        reason=f"{source.size} pairs, {chance:.1g} such fits expected by chance",
        geometry=fit.geometry,
        n_matches=source.size,
        n_reference=int(inside.all(axis=1).sum()),
        rms_ra_mas=float(rms_ra),
        rms_dec_mas=float(rms_dec),
        shift_ra_mas=shift_ra,
        shift_dec_mas=shift_dec,
        roll_deg=roll,
        chance=chance,
        matches=_match_table(
            source, np.asarray(reference.table["source_id"])[field.star_ids[star]], dra, ddec
        ),
    )


def _unapply(fit: _Fit, xy_px: Floats) -> Floats:
    return np.asarray((xy_px - fit.shift_px) @ np.linalg.inv(fit.matrix).T, dtype=np.float64)


def _corrected(field: _Field, fit: _Fit) -> WCS:
    """Return the header's WCS with the fit applied to CRVAL and the CD matrix."""
    corrector = type(field.corrector)(field.corrector.wcs.deepcopy())
    corrector.set_correction(matrix=fit.matrix, shift=fit.shift_px)
    wcs = corrector.wcs
    wcs.wcs.name = WCSNAME_ALIGNED
    # Whatever frame the header named, the sky positions are Gaia's now.
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.equinox = np.nan
    wcs.wcs.set()
    return wcs


def _kept(wcs: WCS, reason: str, n_reference: int) -> AlignResult:
    """Return the result of an image that keeps its own WCS."""
    empty = np.empty(0, np.int64)
    return AlignResult(
        wcs=wcs,
        aligned=False,
        reason=reason,
        geometry="none",
        n_matches=0,
        n_reference=n_reference,
        rms_ra_mas=np.nan,
        rms_dec_mas=np.nan,
        shift_ra_mas=0.0,
        shift_dec_mas=0.0,
        roll_deg=0.0,
        chance=np.nan,
        matches=_match_table(empty, empty, np.empty(0), np.empty(0)),
    )


def _match_table(source: Ints, source_id: Ints, dra_mas: Floats, ddec_mas: Floats) -> Table:
    """Return the pairs of a fit."""
    from astropy.table import Table

    table = Table()
    table["source"] = source
    table["source_id"] = source_id
    table["dra_mas"] = dra_mas
    table["ddec_mas"] = ddec_mas
    table["separation_mas"] = np.hypot(dra_mas, ddec_mas)
    for name in table.colnames[2:]:
        table[name].unit = "mas"
    table["source"].description = "row of the detections, from 0"
    table["source_id"].description = "identifier of the reference star"
    table["dra_mas"].description = "detection minus reference, right ascension times cos(dec)"
    table["ddec_mas"].description = "detection minus reference, declination"
    table["separation_mas"].description = "distance of detection and reference"
    return table


def _rms(residuals: Floats) -> Floats:
    return np.asarray(np.sqrt(np.mean(residuals**2, axis=0)), dtype=np.float64)


def _change(before: WCS, after: WCS, xy: Floats) -> tuple[float, float, float]:
    """Return what was added to a pixel's RA*cos(dec), Dec [mas] and to the angle of y [deg]."""
    ra, dec = (float(v) for v in after.wcs_pix2world(*xy, 0))
    old_ra, old_dec = (float(v) for v in before.wcs_pix2world(*xy, 0))
    dra, ddec = _offsets_mas(
        np.array([ra]), np.array([dec]), np.array([old_ra]), np.array([old_dec])
    )
    turned = _y_angle_deg(after, xy) - _y_angle_deg(before, xy)
    return float(dra[0]), float(ddec[0]), (turned + 180.0) % 360.0 - 180.0


def _y_angle_deg(wcs: WCS, xy: Floats) -> float:
    """Return the position angle of the y axis at a pixel, from north through east."""
    from astropy.coordinates import position_angle

    start = np.deg2rad(wcs.wcs_pix2world(*xy, 0))
    end = np.deg2rad(wcs.wcs_pix2world(xy[0], xy[1] + 100.0, 0))
    return float(position_angle(start[0], start[1], end[0], end[1]).to_value("deg"))


def _offsets_mas(ra: Floats, dec: Floats, ra0: Floats, dec0: Floats) -> tuple[Floats, Floats]:
    """Return small differences of positions in degrees as RA*cos(dec) and Dec in mas."""
    dra = (ra - ra0 + 180.0) % 360.0 - 180.0
    return dra * np.cos(np.deg2rad(dec0)) * _MAS_PER_DEG, (dec - dec0) * _MAS_PER_DEG


def _separation_deg(ra: Floats, dec: Floats, ra0: float, dec0: float) -> Floats:
    """Return the distance on the sky from one position."""
    from astropy.coordinates import angular_separation

    radians = angular_separation(np.deg2rad(ra), np.deg2rad(dec), np.deg2rad(ra0), np.deg2rad(dec0))
    return np.asarray(np.rad2deg(radians), dtype=np.float64)


def _wcs_cards(wcs: WCS) -> fits.Header:
    """Return a WCS as header cards, with CD instead of PC and CDELT, at full precision.

    astropy writes PC and CDELT and 14 digits; HST's tools read CD, and 14 digits
    of a right ascension are a micro-arcsecond.
    """
    header = wcs.to_header(relax=True)
    if not wcs.is_celestial or wcs.naxis != 2:
        return header
    matrix = wcs.pixel_scale_matrix
    for i in (1, 2):
        for j in (1, 2):
            header.remove(f"PC{i}_{j}", ignore_missing=True)
        header.remove(f"CDELT{i}", ignore_missing=True)
        header[f"CRVAL{i}"] = float(wcs.wcs.crval[i - 1])
        header[f"CRPIX{i}"] = float(wcs.wcs.crpix[i - 1])
    for i in (1, 2):
        for j in (1, 2):
            header[f"CD{i}_{j}"] = (float(matrix[i - 1, j - 1]), "[deg] linear transformation")
    header.remove("MJDREF", ignore_missing=True)
    return header
