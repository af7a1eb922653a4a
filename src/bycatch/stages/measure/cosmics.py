"""The probability that a source is a cosmic ray or a hot pixel.

Light has passed the optics, charge has not: it is sharper than the stars of its own
image.  `evidence` measures by how much, and what else there is to know: whether the pixels are
those of light or of charge (`patterns`), the share of the light that lies on the
cosmic-ray mask, the mask around, holes of the weight (`remains`), the number of exposures, what
the exposures themselves say (`exposure_charge`), and whether the other images of the field
see a source there.  `probability` makes of these a likelihood ratio with a small network
(``data/cosmics.csv``), trained on families of simulated skies by ``benchmarks/cosmic_rays.py``;
the light in other images adds to that (`elsewhere`).
How many of an image's detections are cosmic rays depends on exposure time, threshold, rejection
and stars: that share is found from the image itself at each signal-to-noise ratio
(Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21).  So brightness alone
never speaks for a cosmic ray, nor faintness against one: the ratio says how far the rest
can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels import sharpness
from bycatch.stages.measure import patterns, stellarity
from bycatch.stages.measure.defects import ChipQuality
from bycatch.stages.measure.elsewhere import Elsewhere, seen_elsewhere
from bycatch.stages.measure.exposure_charge import ExposureCharge, charge_of_exposures
from bycatch.stages.measure.photometry import Photometry
from bycatch.stages.measure.remains import Remains, remains

LIKELY = 0.7
"""Sources with a higher ``p_cr`` are left out of the clean catalog: the least at which about 1 %
of the stars of the training family are lost where neither exposures nor other images help
(``benchmarks/cosmic_rays.py`` says how pure that leaves the catalog)."""
WINDOW_PX, RING_PX, SEARCH_PX = 1.2, (3.5, 5.5), 1.5
"""Of the moments, as in the cosmic-ray mask; and how far the peak may lie from the position;
detector pixels."""
STAR_FWHM_PX, STAR_BOX_SHARE = 2.2, 0.48
"""Width and box share of drizzled stars (detector pixels), where an image has too few."""
DEFAULT_WEIGHT = 3.0
"""Number of stars whose median counts as much as the default."""
STAR_SNR = 15.0
"""Stars brighter than that show how sharp stars are."""
MASK_SHARE_OF_STARS = 0.1
"""Those with a larger share of their light on the mask do not."""
USUAL_CHANCE = 0.01
"""Chance of a detection within that radius; others' detections count less where it is higher."""
SHARP_WIDTH, SHARP_OFFSET = 0.85, -0.15
"""A saturated source is charge rather than a star where it is as narrow, in units of the stars, or
its light ends as early (magnitudes of 2 to 4 px)."""
AROUND_PX = (2.6, 7.0)
"""Ring in which the mask is counted, detector pixels."""
LEAST_HOLE_NEAR = 0.01
PRIOR_SINGLE, PRIOR_MULTIPLE = (0.5, 3.0), (0.05, 3.0)
"""Share of cosmic rays among the detections before the image is known, and the number of detections
that this counts for: in single exposures, and where drizzling has rejected them."""
BIN_DEX, MOST_SNR = 0.15, 500.0
"""Bins of the signal-to-noise ratio in which the share is found."""
N_ROUNDS = 40
MOST_LOGIT = 12.0
ABSENCE_WEIGHT, MOST_ABSENCE = 0.5, 6.0
"""What the log likelihood of no light in other images counts, and how much of it at most: a half,
since the network has counted already that they have no detection."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for and against cosmic rays, of N sources; NaN where it could not be measured.

    Attributes
    ----------
    width : (N,) FWHM across the narrowest direction, in units of that of the image's stars
    elongation : (N,) widest over narrowest FWHM
    box : (N,) share of the light that one detector pixel's shadow holds, minus that of stars
    concentration : (N, 2) of `stellarity.Concentration`, minus those of stars
    mask_share : (N,) share of the light on the cosmic-ray mask
    snr : (N,) signal-to-noise ratio under the window of the moments
    n_exp : (N,) int; number of exposures
    elsewhere : what other images see
    n_stars : sources that define how sharp stars are
    charge : (N,) log likelihood of patterns of charge over those of light (`patterns.Fits`)
    misfit : (N,) reduced chi-square of the best pattern of light
    mask_around : (N,) share of the pixels from 2.6 to 7 px that are on the cosmic-ray mask
    remains : holes of the weight about the sources
    exposures : what the exposures say, where they are available
    """

    width: Floats
    elongation: Floats
    box: Floats
    concentration: Floats
    mask_share: Floats
    snr: Floats
    n_exp: Ints
    elsewhere: Elsewhere
    n_stars: int
    charge: Floats
    misfit: Floats
    mask_around: Floats
    remains: Remains
    exposures: ExposureCharge | None = None


def evidence(
    image: DrcImage,
    phot: Photometry,
    concentration: stellarity.Concentration,
    locus: stellarity.Locus,
    *,
    cr_mask: Bools | None = None,
    elsewhere: Elsewhere | None = None,
    is_saturated: Bools | None = None,
    chips: Sequence[ChipQuality] = (),
) -> Evidence:
    """Gather the evidence for cosmic rays and hot pixels against light.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry
        Of the N sources.
    concentration, locus
        Of the same sources and of the image's stars (`stellarity`).
    cr_mask : (ny, nx) bool, optional
        The grown cosmic-ray mask.
    elsewhere : Elsewhere, optional
        What the field's other images see (`seen_elsewhere`); nothing looks by default.
    is_saturated : (N,) bool, optional
        Their cores are flat and bleed: what they say of sharpness is left out, unless they are
        sharper than stars, which a hit that fills the well is.
    chips : sequence of ChipQuality
        The exposures, as far as they are available.
    """
    size_px = image.meta.native_scale_arcsec / image.scale_arcsec
    mask = np.zeros(image.shape, dtype=bool) if cr_mask is None else cr_mask
    values = sharpness.sharpness(
        image.sci,
        mask,
        phot.x,
        phot.y,
        window_px=WINDOW_PX * size_px,
        ring_px=(RING_PX[0] * size_px, RING_PX[1] * size_px),
        search_px=SEARCH_PX * size_px,
        box_px=int(np.ceil(size_px * image.meta.pixfrac - 0.15)) + 1,
    )
    flux, mask_share = values[:, sharpness.FLUX], values[:, sharpness.MASKED]
    with np.errstate(divide="ignore", invalid="ignore"):
        sky = phot.correlation * phot.sky.std * values[:, sharpness.NOISE]
        # The window holds about half of a source's light.
        photons = 0.5 * np.maximum(flux, 0) / phot.exposures.exptime_s
        snr = flux / np.sqrt(sky**2 + photons)
        offset = concentration.index - locus.index
        elongation = values[:, sharpness.MAJOR] / values[:, sharpness.MINOR]
        near = np.abs(offset) < 3 * np.sqrt(np.diag(locus.covariance))
    near = near.all(axis=1) & (snr > STAR_SNR) & (mask_share < MASK_SHARE_OF_STARS)
    box = values[:, sharpness.BOX]
    width = values[:, sharpness.MINOR] / size_px
    fwhm_px = _typical(width[near], STAR_FWHM_PX)
    width = width / fwhm_px
    box = box - _typical(box[near], STAR_BOX_SHARE)
    fits, around, holes = _pixels_about(image, phot, mask, values, fwhm_px)
    charge, misfit = fits.charge, fits.misfit
    if is_saturated is not None:
        with np.errstate(invalid="ignore"):
            is_flat = is_saturated & ~((width < SHARP_WIDTH) | (offset[:, 1] < SHARP_OFFSET))
        width, box, elongation, charge, misfit = (
            np.where(is_flat, np.nan, v) for v in (width, box, elongation, charge, misfit)
        )
        offset = np.where(is_flat[:, np.newaxis], np.nan, offset)
    return Evidence(
        width,
        elongation,
        box,
        offset,
        mask_share,
        snr,
        phot.exposures.count,
        elsewhere or seen_elsewhere(phot.x, phot.y, ()),
        int(near.sum()),
        charge,
        misfit,
        around,
        holes,
        charge_of_exposures(image, phot.x, phot.y, chips, _round_width(fwhm_px)),
    )


def _pixels_about(
    image: DrcImage, phot: Photometry, mask: Bools, values: Floats, fwhm_px: float
) -> tuple[patterns.Fits, Floats, Remains]:
    """Return what the pixels about the peaks say: patterns, mask nearby, holes of the weight."""
    size_px = image.meta.native_scale_arcsec / image.scale_arcsec
    templates = patterns.patterns(_round_width(fwhm_px), round(size_px, 3), image.meta.pixfrac)
    at = np.nan_to_num(values[:, [sharpness.PEAK_X, sharpness.PEAK_Y]]).astype(np.int64)
    x, y, level = at[:, 0], at[:, 1], np.nan_to_num(values[:, [sharpness.LEVEL]])
    sky2 = np.nan_to_num(phot.sky.std, nan=1.0)[:, np.newaxis] ** 2
    seconds = np.maximum(np.nan_to_num(phot.exposures.exptime_s), 1.0)[:, np.newaxis]
    stamp = patterns.stamps(image.sci, x, y, templates.dx, templates.dy) - level
    light, variance = patterns.with_errors(stamp, sky2, seconds)
    fits = patterns.fit_patterns(light, variance, templates)
    reach = int(np.ceil(AROUND_PX[1] * size_px))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(dx, dy) / size_px
    ring = (radius > AROUND_PX[0]) & (radius <= AROUND_PX[1])
    around = patterns.stamps(mask, x, y, dx[ring], dy[ring]).mean(axis=1)
    return fits, around, remains(image, x, y, light, variance, templates, fits)


def _round_width(fwhm_px: float) -> float:
    """Return a width rounded, so that images alike share their patterns."""
    return round(fwhm_px, 2)


def _typical(values: Floats, default: float) -> float:
    """Return the median, pulled towards a default where there are few."""
    values = values[np.isfinite(values)]
    own = float(np.median(values)) if len(values) else default
    return (len(values) * own + DEFAULT_WEIGHT * default) / (len(values) + DEFAULT_WEIGHT)


FEATURES = (
    "log_snr", "charge", "light", "misfit", "width", "narrow", "long", "long_narrow", "box", "c13",
    "c24", "masked", "masked_narrow", "mask_around", "seen", "seen_twice", "missed",
)  # fmt: skip
OF_STACKS = ("hole", "hole_near", "has_hole", "beside_hole", "ring", "dark_hole", "bright_hole")
OF_EXPOSURES = ("exposure_masked", "exposure_charge", "exposure_light", "alone", "is_compared")
KINDS = ("single", "stack", "single, exposures", "stack, exposures")
"""Kinds of evidence: each has a network of its own."""


def terms_of(kind: str) -> tuple[str, ...]:
    """Return the names of the terms of a kind of evidence, in order.

    Parameters
    ----------
    kind : one of KINDS
    """
    stack, exposures = kind.startswith("stack"), kind.endswith("exposures")
    return FEATURES + OF_STACKS * stack + OF_EXPOSURES * exposures


def features(clues: Evidence, kind: str) -> Floats:
    """Return the terms of a kind of evidence, (N, F) in order; 0, or as a star's, where unknown.

    Parameters
    ----------
    clues : Evidence of N sources
    kind : one of KINDS
    """
    snr = np.nan_to_num(clues.snr)
    charge = np.nan_to_num(np.clip(clues.charge, -16.0, 16.0))
    width = np.nan_to_num(np.clip(clues.width, 0.0, 2.0), nan=1.0)
    long = np.nan_to_num(np.log(np.clip(clues.elongation, 1.0, 4.0)))
    offset = np.nan_to_num(np.clip(clues.concentration, -1.0, 1.0))
    mask_share = np.nan_to_num(clues.mask_share)
    narrow = np.maximum(1.0 - width, 0.0)
    n_detections, n_covering = clues.elsewhere.n_seen, clues.elsewhere.n_covering
    weight = np.log(max(clues.elsewhere.chance, 1e-4)) / np.log(USUAL_CHANCE)
    columns = {
        "log_snr": np.log10(np.clip(snr, 3.0, 200.0)),
        "charge": np.sqrt(np.maximum(charge, 0.0)),
        "light": np.sqrt(np.maximum(-charge, 0.0)),
        "misfit": np.log(np.clip(np.nan_to_num(clues.misfit, nan=1.0), 0.35, 60.0)),
        "width": width,
        "narrow": narrow,
        "long": long,
        "long_narrow": long * np.clip((1.4 - width) / 0.3, 0.0, 1.0),
        "box": np.nan_to_num(np.clip(clues.box, -0.3, 0.6)),
        "c13": offset[:, 0],
        "c24": offset[:, 1],
        "masked": mask_share,
        "masked_narrow": mask_share * np.minimum(narrow, 0.5),
        "mask_around": np.sqrt(np.clip(clues.mask_around, 0.0, 0.4)),
        "seen": min(weight, 1.0) * (n_detections > 0),
        "seen_twice": min(weight, 1.0) * (n_detections > 1),
        "missed": np.where(n_detections == 0, np.minimum(n_covering, 2), 0),
    }
    if kind.startswith("stack"):
        columns |= _terms_of_remains(clues.remains)
    if kind.endswith("exposures") and clues.exposures is not None:
        columns |= _terms_of_exposures(clues.exposures)
    return np.column_stack([columns[name] for name in terms_of(kind)]).astype(float)


def _terms_of_remains(holes: Remains) -> dict[str, Floats]:
    return {
        "hole": holes.core,
        "hole_near": np.sqrt(np.clip(holes.near, 0.0, 0.5)),
        "has_hole": (holes.near > LEAST_HOLE_NEAR).astype(float),
        "beside_hole": np.clip(holes.beside, -0.5, 0.8),
        "ring": np.clip(holes.ring, -8.0, 4.0) / 4.0,
        "dark_hole": np.clip(-holes.contrast, 0.0, 4.0),
        "bright_hole": np.clip(holes.contrast, 0.0, 4.0),
    }


def _terms_of_exposures(exposure_charge: ExposureCharge) -> dict[str, Floats]:
    charge = np.clip(exposure_charge.charge, -16.0, 30.0)
    return {
        "exposure_masked": exposure_charge.marked,
        "exposure_charge": np.sqrt(np.maximum(charge, 0.0)),
        "exposure_light": np.sqrt(np.maximum(-charge, 0.0)),
        "alone": np.clip(exposure_charge.alone, -12.0, 12.0) / 4.0,
        "is_compared": (exposure_charge.n_looking > 1).astype(float),
    }


@dataclass(frozen=True, eq=False)
class Network:
    """Terms to a log likelihood ratio: a linear part, and one layer of bent sums.

    Attributes
    ----------
    mean, spread : (F,) of the terms in the training; they are shifted and scaled by these
    direct : (F,) weights of the linear part
    inner, bias, outer : (F, H), (H,), (H,); weights into the sums, their offsets, and those out
    constant : float
    """

    mean: Floats
    spread: Floats
    direct: Floats
    inner: Floats
    bias: Floats
    outer: Floats
    constant: float

    def __call__(self, terms: Floats) -> Floats:
        """Return the log likelihood ratios of N sources from their terms, (N, F)."""
        standard_terms = (terms - self.mean) / self.spread
        layer = np.tanh(standard_terms @ self.inner + self.bias)
        return np.asarray(layer @ self.outer + standard_terms @ self.direct + self.constant)


@cache
def network(kind: str) -> Network:
    """Return the trained network of a kind of evidence.

    Parameters
    ----------
    kind : one of KINDS
    """
    path = files("bycatch") / "data" / "cosmics.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if not line.startswith("#")]
    own = {row[1]: np.array(row[2].split(","), float) for row in rows if row[0] == kind}
    table = np.array([own[name] for name in terms_of(kind)])
    return Network(
        table[:, 0], table[:, 1], table[:, 2], table[:, 3:], own["bias"], own["outer"],
        float(own["constant"][0]),
    )  # fmt: skip


def probability(clues: Evidence) -> Floats:
    """Return the probability that sources are cosmic rays or hot pixels.

    Parameters
    ----------
    clues : Evidence of N sources

    Returns
    -------
    (N,) float
        From 0 to 1; NaN where nothing could be measured.

    Notes
    -----
    The share of cosmic rays among single exposures, and among all others, is at each
    signal-to-noise ratio the one that maximises the likelihood of the image's own sources (EM).
    """
    out = np.full(len(clues.snr), np.nan)
    has_snr = np.isfinite(clues.snr)
    single = clues.n_exp <= 1
    exposures = clues.exposures
    has_exposures = np.zeros(len(out), bool) if exposures is None else exposures.n_looking > 0
    ratio = np.zeros(len(out))
    for kind in KINDS:
        rows = has_snr & (single == kind.startswith("single"))
        rows &= has_exposures == kind.endswith("exposures")
        if rows.any():
            ratio[rows] = network(kind)(features(clues, kind)[rows])
    # Known from the colours of stars and galaxies; those of simulated skies teach nothing.
    ratio += ABSENCE_WEIGHT * np.clip(clues.elsewhere.absent, 0.0, MOST_ABSENCE)
    for which, prior in ((single, PRIOR_SINGLE), (~single, PRIOR_MULTIPLE)):
        rows = which & has_snr
        if rows.any():
            out[rows] = _with_shares(ratio[rows], clues.snr[rows], *prior)
    return out


def _with_shares(ratio: Floats, snr: Floats, prior: float, weight: float) -> Floats:
    """Return probabilities from log likelihood ratios, with the shares that they imply.

    The share changes smoothly with the signal-to-noise ratio.  With few sources there it is that of
    the whole image, with few sources in all the prior.
    """
    place = np.log10(np.clip(snr, 1.0, MOST_SNR)) / BIN_DEX
    low = np.minimum(np.floor(place), np.floor(np.log10(MOST_SNR) / BIN_DEX) - 1).astype(np.int64)
    n_bins = int(low.max()) + 1
    middle = np.arange(n_bins) + 0.5
    smooth = np.exp(-0.5 * (middle[:, np.newaxis] - middle) ** 2)
    number = np.bincount(low, minlength=n_bins)
    odds = np.exp(-np.clip(ratio, -MOST_LOGIT, MOST_LOGIT))
    share, p = np.full(n_bins, prior), np.zeros(len(ratio))
    for _ in range(N_ROUNDS):
        p = 1.0 / (1.0 + (1.0 / np.interp(place, middle, share) - 1.0) * odds)
        rays = np.bincount(low, p, minlength=n_bins)
        whole = (rays.sum() + prior * weight) / (len(p) + weight)
        share = (smooth @ rays + whole * weight) / (smooth @ number + weight)
    return np.asarray(p)
