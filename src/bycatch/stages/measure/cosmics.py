"""The probability that a source is a cosmic ray or a hot pixel.

Light has passed the optics, charge has not: it is sharper than the stars of its own
image.  `evidence` measures by how much, and what else there is to know: the share
of the light that lies on the cosmic-ray mask, the signal-to-noise ratio, the number of exposures,
and whether the other images of the field see a source there.  `probability` is a
logistic regression on these, whose coefficients (``data/cosmics.csv``) were trained on
simulated single exposures by ``benchmarks/cosmic_rays.py``.  How many of an image's
detections are cosmic rays depends on exposure time, threshold and stars: that share is
found from the image itself (Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21).

Brightness alone never speaks for a cosmic ray, nor faintness against one (how faint cosmic rays
are is a choice of each simulation): the signal-to-noise ratio only says how far sharpness can
be trusted, and whether other images should see the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels import sharpness
from bycatch.stages.measure import stellarity
from bycatch.stages.measure.photometry import Photometry

LIKELY = 0.9
"""Sources with a higher ``p_cr`` are left out of the clean catalog.  So high, since cosmic rays are
many: in simulated single exposures of 300 to 1200 s that had no say in it, it finds 99.4 % of them
and loses 0.4 % of the stars; without other images 98.6 % and 0.8 % (``benchmarks/cosmic_rays.py``).
Fainter than a signal-to-noise ratio of about 8 many cosmic rays stay below it."""
WINDOW_PX, RING_PX, SEARCH_PX = 1.2, (3.5, 5.5), 1.5
"""Of the moments, as in the cosmic-ray mask; and how far the peak may lie from the position;
detector pixels."""
STAR_FWHM_PX, STAR_BOX_SHARE = 2.2, 0.48
"""Width and box share of drizzled stars (detector pixels), where an image has too few."""
DEFAULT_WEIGHT = 3.0
"""Number of stars whose median counts as much as the default."""
STAR_SNR = 15.0
"""Stars brighter than that tell how sharp stars are."""
MASK_SHARE_OF_STARS = 0.1
"""Those with a larger share of their light on the mask do not."""
HALF_TRUST_SNR = 5.0
"""Signal-to-noise ratio at which sharpness counts half."""
NOISE_OF_SHAPE, USUAL_LOG_ELONGATION = 1.0, 0.10
"""Errors of width and log elongation times the signal-to-noise ratio; log elongation of stars."""
SEEN_PX = 1.5
"""Two images see the same source if their positions differ by no more, detector pixels."""
USUAL_CHANCE = 0.01
"""Chance of a detection within that radius; others' detections count less where it is higher."""
PRIOR_SINGLE, PRIOR_MULTIPLE = (0.5, 10.0), (0.01, 50.0)
"""Share of cosmic rays among the detections before the image is known, and the number of detections
that this counts for: in single exposures, and where drizzling has rejected them."""
N_ROUNDS = 30
MOST_LOGIT = 12.0


class OtherImage(Protocol):
    """Another image of the field, in the pixels of this one.

    Attributes
    ----------
    x, y : (M,) float; its detections
    covers : (N,) bool; True where it has data around a position of this image
    """

    @property
    def x(self) -> Floats:
        """Columns of its detections."""
        ...

    @property
    def y(self) -> Floats:
        """Rows of its detections."""
        ...

    @property
    def covers(self) -> Bools:
        """Where it has data, of the positions of this image."""
        ...


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """What other images of the field see at N positions.

    Attributes
    ----------
    n_covering : (N,) int; images that look
    n_seen : (N,) int; of these, the ones that have a detection there
    chance : of an unrelated detection of an image there
    """

    n_covering: Ints
    n_seen: Ints
    chance: float


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
    n_stars : sources that told how sharp stars are
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


def seen_elsewhere(
    x: ArrayLike, y: ArrayLike, others: Sequence[OtherImage], radius_px: float = SEEN_PX
) -> Elsewhere:
    """Count the other images that cover positions, and those that have a detection there.

    Parameters
    ----------
    x, y : (N,) float
        Positions in this image.
    others : sequence of OtherImage
        In its pixels.
    radius_px : float
    """
    from scipy.spatial import KDTree

    places = np.column_stack([np.asarray(x, float).ravel(), np.asarray(y, float).ravel()])
    finite = np.isfinite(places).all(axis=1)
    covering, seen = np.zeros((2, len(places)), dtype=np.int64)
    expected, n_covers = 0.0, 0
    for other in others:
        points = np.column_stack([other.x, other.y])
        points = points[np.isfinite(points).all(axis=1)]
        covers = np.asarray(other.covers, dtype=bool) & finite
        covering += covers
        if not len(points) or not covers.any():
            continue
        near = np.zeros(len(places), dtype=bool)
        near[finite] = KDTree(points).query(places[finite], distance_upper_bound=radius_px)[0] < (
            radius_px
        )
        seen += near & covers
        area = max(float(np.prod(np.ptp(points, axis=0))), 1.0)
        expected += len(points) * np.pi * radius_px**2 / max(area, np.pi * radius_px**2)
        n_covers += 1
    chance = 1.0 - np.exp(-expected / n_covers) if n_covers and len(places) else 0.0
    return Elsewhere(covering, seen, float(chance))


def evidence(
    image: DrcImage,
    found: Photometry,
    concentration: stellarity.Concentration,
    locus: stellarity.Locus,
    *,
    cr_mask: Bools | None = None,
    elsewhere: Elsewhere | None = None,
    saturated: Bools | None = None,
) -> Evidence:
    """Gather what tells cosmic rays and hot pixels from light.

    Parameters
    ----------
    image : DrcImage
    found : Photometry
        Of the N sources.
    concentration, locus
        Of the same sources and of the image's stars (`stellarity`).
    cr_mask : (ny, nx) bool, optional
        The grown cosmic-ray mask.
    elsewhere : Elsewhere, optional
        What the field's other images see (`seen_elsewhere`); nothing looks by default.
    saturated : (N,) bool, optional
        Their cores are flat and bleed: what they say of sharpness is left out.
    """
    size_px = image.meta.native_scale_arcsec / image.scale_arcsec
    mask = np.zeros(image.shape, dtype=bool) if cr_mask is None else cr_mask
    values = sharpness.sharpness(
        image.sci,
        mask,
        found.x,
        found.y,
        window_px=WINDOW_PX * size_px,
        ring_px=(RING_PX[0] * size_px, RING_PX[1] * size_px),
        search_px=SEARCH_PX * size_px,
        box_px=int(np.ceil(size_px * image.meta.pixfrac - 0.15)) + 1,
    )
    flux, masked = values[:, sharpness.FLUX], values[:, sharpness.MASKED]
    with np.errstate(divide="ignore", invalid="ignore"):
        sky = found.correlation * found.sky.std * values[:, sharpness.NOISE]
        # The window holds about half of a source's light.
        photons = 0.5 * np.maximum(flux, 0) / found.exposures.exptime_s
        snr = flux / np.sqrt(sky**2 + photons)
        offset = concentration.index - locus.index
        elongation = values[:, sharpness.MAJOR] / values[:, sharpness.MINOR]
        near = np.abs(offset) < 3 * np.sqrt(np.diag(locus.covariance))
    near = near.all(axis=1) & (snr > STAR_SNR) & (masked < MASK_SHARE_OF_STARS)
    box = values[:, sharpness.BOX]
    width = values[:, sharpness.MINOR] / size_px
    width = width / _typical(width[near], STAR_FWHM_PX)
    box = box - _typical(box[near], STAR_BOX_SHARE)
    if saturated is not None:
        width, box, elongation = (np.where(saturated, np.nan, v) for v in (width, box, elongation))
        offset = np.where(saturated[:, np.newaxis], np.nan, offset)
    return Evidence(
        width,
        elongation,
        box,
        offset,
        masked,
        snr,
        found.exposures.count,
        elsewhere or seen_elsewhere(found.x, found.y, ()),
        int(near.sum()),
    )


def _typical(values: Floats, default: float) -> float:
    """Return the median, pulled towards a default where there are few."""
    values = values[np.isfinite(values)]
    own = float(np.median(values)) if len(values) else default
    return (len(values) * own + DEFAULT_WEIGHT * default) / (len(values) + DEFAULT_WEIGHT)


FEATURES = (
    "constant",
    "narrower",
    "much_narrower",
    "elongated",
    "box_more",
    "box_less",
    "c13_sharp",
    "c13_wide",
    "c24_sharp",
    "c24_wide",
    "masked",
    "masked_narrow",
    "unmasked_sharp",
    "unmasked_star",
    "unmasked_wide",
    "seen",
    "missed",
)


def features(found: Evidence) -> Floats:
    """Return the terms of the regression, (N, F) in the order of ``FEATURES``; 0 where unknown."""
    snr = np.nan_to_num(np.maximum(found.snr, 0.0))
    trust = snr**2 / (snr**2 + HALF_TRUST_SNR**2)
    width = np.nan_to_num(np.clip(found.width, 0.0, 2.0), nan=1.0)
    box = np.nan_to_num(np.clip(found.box, -0.3, 0.6))
    long = np.nan_to_num(np.log(np.clip(found.elongation, 1.0, 4.0)))
    offset = np.nan_to_num(np.clip(found.concentration, -1.0, 1.0))
    masked = np.nan_to_num(found.mask_share)
    narrow = np.maximum(1.0 - width, 0.0)
    likeness = star_likeness(width, long, offset[:, 0], snr)
    n_seen, n_missed = (
        found.elsewhere.n_seen, found.elsewhere.n_covering - found.elsewhere.n_seen
    )  # fmt: skip
    weight = np.log(max(found.elsewhere.chance, 1e-4)) / np.log(USUAL_CHANCE)
    expected = np.clip(np.log10(np.maximum(snr, 1e-3) / 3.0), 0.0, 1.0)
    columns = {
        "constant": np.ones(len(snr)),
        "narrower": trust * narrow,
        "much_narrower": trust * np.maximum(0.75 - width, 0.0),
        "elongated": trust * long * np.clip((1.4 - width) / 0.3, 0.0, 1.0),
        "box_more": trust * np.maximum(box, 0.0),
        "box_less": trust * np.maximum(-box, 0.0),
        "c13_sharp": trust * np.maximum(-offset[:, 0], 0.0),
        "c13_wide": trust * np.maximum(offset[:, 0], 0.0),
        "c24_sharp": trust * np.maximum(-offset[:, 1], 0.0),
        "c24_wide": trust * np.maximum(offset[:, 1], 0.0),
        "masked": masked,
        "masked_narrow": masked * np.minimum(narrow, 0.5),
        "unmasked_sharp": (1 - masked) * np.maximum(0.9 - width, 0.0),
        "unmasked_star": (1 - masked) * likeness,
        "unmasked_wide": (1 - masked) * np.clip((width - 1.05) / 0.2, 0.0, 1.0),
        "seen": np.minimum(weight, 1.0) * np.minimum(n_seen, 2),
        "missed": np.where(n_seen == 0, np.minimum(n_missed, 2), 0) * expected,
    }
    return np.column_stack([columns[name] for name in FEATURES])


def star_likeness(width: Floats, log_elongation: Floats, offset: Floats, snr: Floats) -> Floats:
    """Return how near sources are to the stars of their image, 1 to 0.

    A normal curve in width, elongation (noise makes all sources a little long) and
    concentration; its spread is that of stars, from sub-pixel phases, and noise.
    """
    noise = (NOISE_OF_SHAPE / np.maximum(snr, 1.0)) ** 2
    long = np.maximum(log_elongation - USUAL_LOG_ELONGATION, 0.0)
    parts = ((width - 1.0, 0.08), (long, 0.10), (offset, 0.08))
    return np.asarray(np.exp(-0.5 * sum(v**2 / (s**2 + noise) for v, s in parts)))


@cache
def coefficients() -> tuple[tuple[float, ...], float]:
    """Return the coefficients of ``FEATURES``, and the share of cosmic rays in the training."""
    path = files("bycatch") / "data" / "cosmics.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = dict(line.split(",") for line in lines if line and not line.startswith("#"))
    return tuple(float(pairs[name]) for name in FEATURES), float(pairs["share"])


def probability(found: Evidence) -> Floats:
    """Return the probability that sources are cosmic rays or hot pixels.

    Returns
    -------
    (N,) float
        From 0 to 1; NaN where nothing could be measured.

    Notes
    -----
    The share of cosmic rays among single exposures, and among all others, is the one that
    maximises the likelihood of the image's own sources (EM).
    """
    weights, share = coefficients()
    logit = features(found) @ np.array(weights) - np.log(share / (1 - share))
    out = np.full(len(logit), np.nan)
    measured = np.isfinite(found.snr)
    single = found.n_exp <= 1
    for chosen, prior in ((single, PRIOR_SINGLE), (~single, PRIOR_MULTIPLE)):
        rows = chosen & measured
        out[rows] = _with_share(np.clip(logit[rows], -MOST_LOGIT, MOST_LOGIT), *prior)
    return out


def _with_share(logit: Floats, share: float, weight: float) -> Floats:
    """Return probabilities from log likelihood ratios, with the share that they imply."""
    start, p = share * weight, np.zeros(len(logit))
    for _ in range(N_ROUNDS):
        p = 1.0 / (1.0 + (1.0 / share - 1.0) * np.exp(-logit))
        share = (p.sum() + start) / (len(p) + weight)
    return np.asarray(p)
