"""Exposure time and unit of an image: what headers, weights and the noise of the pixels say.

The scatter of the sky gives an exposure time to a factor of two, and rates from counts with
certainty.  Where the headers disagree, what the pixels support is used, with a note; where
they agree and the pixels do not allow it, the exposure time is estimated from the scatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Image
from bycatch.errors import InconsistentImage
from bycatch.images.calibration import unit_of
from bycatch.images.headers import Headers, plausible
from bycatch.images.meta import ImageMeta
from bycatch.images.skynoise import LEAST_BLOCKS, Sample, noise_ratio, sample_of
from bycatch.images.times import TimeClaim, longest_s, span_note, time_claims
from bycatch.images.wcs import pixel_scale_arcsec
from bycatch.images.weights import exposure_time
from bycatch.settings import InputSettings

TOO_QUIET, TOO_LOUD = 1.0 / 3.0, 4.0
"""The variance of the sky may be this share of the expected.  On real and simulated images it is
0.5 to 1.4 of it; exposures that are exactly aligned make it 2.3 times as large."""
CLOSER = 2.0
"""Of exposure times that fit, one that fits better by this factor of the variance is used;
otherwise the number of witnesses decides."""
BRIGHTER_SKY = 10.0
"""A sky of which the file says nothing may be this much brighter than any (a nebula, a
galaxy) rather than that headers and weights err alike."""
SAME_WEIGHT = 0.25
"""Weights in seconds are those of an exposure time within this: distortion changes them by 9 %."""
FULL_WELLS = 3.0
"""No pixel collects more than this many full wells in one exposure."""
SHARE = 0.1
"""Weights that are off by more than this factor are no seconds."""
WHOLE_TIME = 0.9
"""Pixels with this share of the exposure time were seen by all exposures but the shortest ones."""
FEW = 0.7
"""The context image corrects a number of exposures that exceeds its own by more than this."""
LONGEST_S = 1e6
"""No exposure time is estimated to be longer, as only the deepest mosaics are: such pixels were
smoothed or simulated, and their scatter is not that of photons."""


@dataclass(frozen=True)
class Verdict:
    """What the pixels say of an exposure time and a unit."""

    claim: TimeClaim
    unit: str
    weight_kind: str
    local_s: float
    """Effective exposure time of a typical pixel."""
    ratio: float
    """Measured over expected variance of the sky; NaN where it can't be measured."""
    estimate: float
    """By which factor to change the exposure time for a ratio of 1."""
    is_refuted: bool
    is_supported: bool
    ignores_sky: bool = False
    """The noise is less than that of the sky that drizzling noted."""

    @property
    def distance(self) -> float:
        """How far the ratio is from 1, as a factor."""
        return float(np.exp(abs(np.log(self.ratio)))) if self.ratio > 0 else math.inf


def settle(
    meta: ImageMeta,
    headers: Headers,
    settings: InputSettings,
    planes: tuple[Image, Image | None, NDArray[np.int16] | str],
    wcs: WCS,
) -> tuple[ImageMeta, InputSettings]:
    """Return the metadata and the facts that all witnesses together support.

    Parameters
    ----------
    meta : from the headers alone
    headers, settings : what the file and the user say
    planes : SCI in the unit of the file, WHT, and exposures per pixel (or why unknown)
    wcs : gives the pixel scale

    Returns
    -------
    ImageMeta, InputSettings
        With exposure time, number of exposures, unit and type of the weight in use.

    Raises
    ------
    InconsistentImage
        The exposure times disagree, and nothing decides between them.
    """
    drop_px = meta.pixfrac * meta.native_scale_arcsec / pixel_scale_arcsec(wcs)
    with np.errstate(all="ignore"):  # pixels and weights may be anything yet
        image = Witnesses(meta, headers, settings, sample_of(*planes, drop_px), wcs)
        best, claims = image.judge()
    notes = image.unit_notes(best.unit)
    if len(claims) > 1:
        notes.append(_disagreement(claims, best))
    new_meta, kind = replace(meta, exptime_s=best.claim.seconds), best.weight_kind
    if best.ignores_sky:
        notes.append(
            f"MDRIZSKY ({meta.subtracted_sky_rate:.3g} e/s) implies more noise than the image has"
        )
        new_meta = _without_sky(new_meta)
    if best.is_refuted:
        new_meta, kind, note = image.estimate(best, new_meta)
        notes.append(note)
    elif kind == "relative" and not settings.wht_type:
        notes.append("WHT holds no seconds: taken for a fraction of the full depth")
    wht_type = kind if kind in ("exptime", "ivm", "relative") else settings.wht_type
    facts = settings.model_copy(update={"bunit": best.unit, "wht_type": wht_type})
    notes += span_note(headers, new_meta.exptime_s)
    n_exposures, count_notes = image.exposures(best, new_meta)
    return replace(new_meta, n_exposures=n_exposures).with_notes(*notes, *count_notes), facts


@dataclass(frozen=True, eq=False)
class Witnesses:
    """All evidence of the exposure time and unit of one image."""

    meta: ImageMeta
    headers: Headers
    given: InputSettings
    sample: Sample
    wcs: WCS

    def judge(self) -> tuple[Verdict, list[TimeClaim]]:
        """Return the exposure time and unit to believe, and what is claimed of the time."""
        unit = unit_of(self.headers, self.given)[0]
        if self.given.exptime_s:
            user = TimeClaim(self.given.exptime_s, ("input.exptime_s",), frozenset({"user"}))
            claims, weight = [user], None
            verdicts = [self._verdict(user, unit)]
        else:
            claims = time_claims(self.headers)
            verdicts = [self._verdict(claim, unit) for claim in claims]
            weight = self._weight_claim(verdicts)
        if weight is not None:
            claims = _with_weight(claims, weight)
            verdicts = [self._verdict(claim, unit) for claim in claims]
        if all(v.is_refuted for v in verdicts) and not self.given.bunit:
            other = "electrons" if unit == "electrons/s" else "electrons/s"
            verdicts += [self._verdict(claim, other) for claim in claims]
        return self._best(verdicts), claims

    def _best(self, verdicts: Sequence[Verdict]) -> Verdict:
        possible = [v for v in verdicts if not v.is_refuted]
        if not possible:
            return min(verdicts, key=lambda v: v.distance)
        fits = [v for v in possible if v.is_supported]
        if fits:
            near = min(v.distance for v in fits) * CLOSER
            return max(
                (v for v in fits if v.distance <= near),
                key=lambda v: (self._votes(v.claim), -v.distance),
            )
        by_votes = sorted(possible, key=lambda v: -self._votes(v.claim))
        if len(by_votes) > 1 and self._votes(by_votes[0].claim) == self._votes(by_votes[1].claim):
            claimed_times = "; ".join(v.claim.in_words() for v in verdicts)
            raise InconsistentImage(
                f"{self.headers.path}: exposure times disagree ({claimed_times}), and the pixels "
                "do not show which is right",
                hint="state it: --set input.exptime_s=<seconds>",
            )
        return by_votes[0]

    def _verdict(self, claim: TimeClaim, unit: str) -> Verdict:
        """Compare the noise that an exposure time and a unit would make with the measured."""
        meta, sample = replace(self.meta, exptime_s=claim.seconds), self.sample
        if not len(sample):
            return Verdict(claim, unit, "", claim.seconds, math.nan, 1.0, False, False)
        verdict = self._judge(claim, meta, unit, "")
        if verdict.is_refuted and meta.subtracted_sky_rate > 0:
            other = self._judge(claim, _without_sky(meta), unit, "")
            verdict = replace(other, ignores_sky=True) if other.is_supported else verdict
        if (
            verdict.is_refuted
            and verdict.weight_kind in ("exptime", "ivm")
            and not self.given.wht_type
        ):
            other = self._judge(claim, meta, unit, "relative")
            verdict = other if other.is_supported else verdict
        return verdict

    def _judge(self, claim: TimeClaim, meta: ImageMeta, unit: str, kind: str) -> Verdict:
        sample = self.sample
        kind, seconds = self._seconds(meta, kind)
        scale = pixel_scale_arcsec(self.wcs)
        per_unit = 1.0 if unit == "electrons/s" else 1.0 / claim.seconds
        ratio = noise_ratio(sample, meta, scale, per_unit, seconds)
        is_measurable = len(sample) >= LEAST_BLOCKS and ratio.typical > 0
        quiet = is_measurable and ratio.most < TOO_QUIET
        limit = TOO_LOUD
        if kind == "exptime" and ratio.least < ratio.most and claim.seconds <= self._span_s:
            limit *= BRIGHTER_SKY
        loud = is_measurable and sample.is_noise and ratio.least > limit
        charge = sample.bright * per_unit * self._shortest_s(meta)
        charge /= max((scale / meta.native_scale_arcsec) ** 2, 1.0)
        overfull = not sample.is_noise and charge > FULL_WELLS * meta.full_well_e
        return Verdict(
            claim,
            unit,
            kind,
            float(np.median(seconds)),
            ratio.typical,
            ratio.estimate,
            is_refuted=bool(quiet or loud or overfull),
            is_supported=bool(is_measurable and sample.is_noise and not (quiet or loud)),
        )

    @property
    def _span_s(self) -> float:
        return longest_s(self.headers)

    def _votes(self, claim: TimeClaim) -> int:
        """Return how many witnesses a time has: one less if it exceeds the span of the dates."""
        return len(claim.origins) - (claim.seconds > self._span_s)

    def _shortest_s(self, meta: ImageMeta) -> float:
        times = [chip.exptime_s for chip in meta.chips if chip.exptime_s > 0]
        return min([*times, meta.exptime_per_exposure_s])

    def _seconds(self, meta: ImageMeta, kind: str) -> tuple[str, NDArray[np.float64]]:
        """Return the type of the weight, and the time of each block, for an exposure time."""
        n, settings = len(self.sample), self.given
        if kind:
            settings = settings.model_copy(update={"wht_type": kind})
        weight = None if self.sample.wht is None else self.sample.wht.reshape(n, -1).copy()
        valid = np.ones((n, 1) if weight is None else weight.shape, dtype=bool)
        kind, times, _ = exposure_time(weight, valid, meta, self.wcs, self.headers, settings)
        full_s = self._time_of_all
        is_other = full_s > 0 and abs(full_s / meta.exptime_s - 1.0) > SAME_WEIGHT
        if kind == "exptime" and is_other and not settings.wht_type:
            return self._seconds(meta, "relative")
        return kind, times.mean(axis=1, dtype=np.float64)

    def _weight_seconds(self) -> NDArray[np.float32] | None:
        """Return the weights as seconds of exposure; None where they are something else."""
        if self.sample.wht is None or not len(self.sample):
            return None
        if self.given.wht_type not in ("", "exptime") or self.headers.number("D001WTSC") > 1.5:
            return None
        area = (self.meta.native_scale_arcsec / pixel_scale_arcsec(self.wcs)) ** 2
        return self.sample.wht * np.float32(area)

    @cached_property
    def _time_of_all(self) -> float:
        """Return the weight in seconds where all exposures look; NaN if there is no such place."""
        seconds, counts = self._weight_seconds(), self.sample.counts
        if seconds is None or counts is None or not (counts >= self.meta.n_exposures).any():
            return math.nan
        return float(np.median(seconds[counts >= self.meta.n_exposures]))

    def _weight_claim(self, verdicts: Sequence[Verdict]) -> TimeClaim | None:
        """Return the exposure time of the weights, if they are to be used."""
        seconds = self._weight_seconds()
        if seconds is None:
            return None
        of_all = self._time_of_all
        full_s = of_all if of_all > 0 else float(np.percentile(seconds, 99))
        full_s = plausible("EXPTIME", full_s)
        is_needed = len(verdicts) > 1 or all(v.is_refuted for v in verdicts)
        # Weights of about the exposure time that are not quite it; shares of it are far from it.
        ratio = of_all / verdicts[0].claim.seconds
        are_seconds = SHARE < ratio < 1.0 / SHARE or self.headers.number("D001WTSC") == 1
        is_needed |= are_seconds and abs(ratio - 1.0) > SAME_WEIGHT
        if not is_needed or math.isnan(full_s):
            return None
        return TimeClaim(full_s, ("WHT",), frozenset({"WHT"}))

    def unit_notes(self, unit: str) -> list[str]:
        """Return the notes on the unit that is used."""
        header_unit, notes = unit_of(self.headers, self.given)
        if unit == header_unit:
            return notes
        action = "divided by the exposure time" if unit == "electrons" else "taken for electrons/s"
        bunit = self.headers.get("BUNIT", "missing")
        return [f"BUNIT is '{bunit}', but the pixels have the noise of {unit}: {action}"]

    def estimate(self, best: Verdict, meta: ImageMeta) -> tuple[ImageMeta, str, str]:
        """Return exposure time and type of the weight for the noise that there is, and a note."""
        claim_words = best.claim.in_words()
        scatter = (
            f"the scatter of the sky is {best.ratio:.2g} times that of {claim_words} (in variance)"
        )
        kind = self.given.wht_type
        if self.given.exptime_s or self.given.bunit:
            return meta, kind, f"{scatter}: your exposure time and unit are used"
        seconds = best.local_s * best.estimate
        if not self.sample.is_noise or not seconds < LONGEST_S:
            return meta, kind, f"{scatter}, but this is not photon noise (smoothed pixels?)"
        seconds = float(f"{seconds:.2g}")
        n_exposures = meta.n_exposures
        if best.weight_kind == "none":
            if self.sample.counts is None and seconds < meta.exptime_s:  # a part of a mosaic
                seconds = float(f"{best.local_s / best.ratio:.2g}")
                n_exposures = max(1, round(n_exposures * seconds / meta.exptime_s))
        else:
            kind = kind or "relative"
        note = f"{scatter}: an exposure time of {seconds:g} s is estimated from it"
        return replace(meta, exptime_s=seconds, n_exposures=n_exposures), kind, note

    def exposures(self, best: Verdict, meta: ImageMeta) -> tuple[int, list[str]]:
        """Return the number of exposures as the context image has it, and notes."""
        counts, n = self.sample.counts, meta.n_exposures
        if counts is None or self.given.n_exposures or len(counts) < LEAST_BLOCKS:
            return n, []
        most = int(counts.max(initial=0))
        if most > n:
            return most, [
                f"the headers name {n} exposure(s), but up to {most} contribute to a pixel (CTX)"
            ]
        seconds = self._weight_seconds() if best.weight_kind == "exptime" else None
        if seconds is not None:
            whole = int(counts[seconds > WHOLE_TIME * meta.exptime_s].max(initial=0))
            if 0 < whole <= FEW * n:
                note = (
                    f"the headers name {n} exposures, but {whole} account for the whole time (CTX)"
                )
                return whole, [note]
        return n, []


def _without_sky(meta: ImageMeta) -> ImageMeta:
    """Return the metadata without the sky that drizzling noted."""
    chips = tuple(replace(chip, mdrizsky_e=math.nan) for chip in meta.chips)
    return replace(meta, chips=chips)


def _with_weight(claims: Sequence[TimeClaim], weight: TimeClaim) -> list[TimeClaim]:
    """Return the claims with the weights as a witness of the nearest, or of a time of their own."""
    near = min(claims, key=lambda c: abs(weight.seconds / c.seconds - 1.0))
    if abs(weight.seconds / near.seconds - 1.0) > SAME_WEIGHT:
        return [*claims, weight]
    sum_claim = TimeClaim(near.seconds, (*near.cards, *weight.cards), near.origins | weight.origins)
    return [sum_claim if claim is near else claim for claim in claims]


def _disagreement(claims: Sequence[TimeClaim], best: Verdict) -> str:
    claimed_times = "; ".join(claim.in_words() for claim in claims)
    why = "most of them agree"
    if best.is_supported:
        why = "the noise of the pixels supports"
    return f"exposure times disagree ({claimed_times}): {best.claim.seconds:g} s is used, as {why}"
