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

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from bycatch.arrays import Floats
from bycatch.stages.measure.cosmic_evidence import Evidence
from bycatch.stages.measure.exposure_charge import ExposureCharge
from bycatch.stages.measure.remains import Remains

LIKELY = 0.7
"""Sources with a higher ``p_cr`` are left out of the clean catalog: the least at which about 1 %
of the stars of the training family are lost where neither exposures nor other images help
(``benchmarks/cosmic_rays.py`` says how pure that leaves the catalog)."""
USUAL_CHANCE = 0.01
"""Chance of a detection within that radius; others' detections count less where it is higher."""
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
