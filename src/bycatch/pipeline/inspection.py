"""What a file holds, and what looks wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bycatch import photcal
from bycatch.images.drc import DrcImage, read_drc
from bycatch.images.headers import Headers, read_headers
from bycatch.images.kinds import is_aligned_copy
from bycatch.images.meta import ImageMeta, image_meta
from bycatch.pipeline.intake import sidecar_of
from bycatch.settings import InputSettings, build, read_sidecar
from bycatch.stages.sort import field_of, needs_of_field

UNALIGNED_NAMES = ("", "NONE", "OPUS")


@dataclass(frozen=True)
class Inspection:
    """Facts of a file as (name, text) pairs, and warnings in words."""

    path: Path
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def inspect(path: Path, settings: InputSettings | None = None) -> Inspection:
    """Read a file and say what it holds.

    Raises
    ------
    UnusableData
        It can't be used at all; the message says why.
    """
    values = (settings or InputSettings()).model_dump()
    side = sidecar_of(path)
    if side.exists():
        values |= read_sidecar(side)
    facts = build(InputSettings, values, where=str(path))
    headers = read_headers(path)
    image_meta(headers, facts, other_needs=needs_of_field(headers))  # says at once what is missing
    image = read_drc(path, facts)
    return Inspection(path, tuple(_facts(headers, image)), tuple(_warnings(headers, image)))


def _facts(headers: Headers, image: DrcImage) -> list[tuple[str, str]]:
    meta = image.meta
    ny, nx = image.shape
    counts_inside = image.n_exp[image.n_exp > 0]
    number, count = np.unique(counts_inside, return_counts=True)
    depth = ", ".join(
        f"{n}: {100 * c / counts_inside.size:.1f} %" for n, c in zip(number, count, strict=True)
    )
    if len(number) > 8:
        depth = f"{number[0]} to {number[-1]}, median {int(np.median(counts_inside))}"
    ab = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    vega = photcal.vega_zeropoint(meta.detector, meta.filter, ab)
    centre = image.wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    sky = image.sci[image.valid]
    when = f"MJD {meta.mjd_mid:.5f}, program {meta.proposal or 'unknown'}"
    time = np.median(image.exptime_map_s[image.valid])
    header_sky = meta.subtracted_sky_rate
    sky_words = (
        f"drizzling noted {header_sky:.4f} e/s per native px"
        if np.isfinite(header_sky)
        else "none noted"
    )
    audit = photcal.zeropoint_audit(meta.detector, meta.filter, meta.photflam, meta.mjd_mid)
    zero_points = f"AB {ab:.4f}, ST {photcal.st_zeropoint(meta.photflam):.4f}"
    if vega is not None:
        zero_points += f", Vega {vega:.4f}"
    audit_words = "no reference value"
    if audit:
        audit_words = "outdated, see below" if audit.is_off else audit.in_words()
    origin = f"PHOTFLAM {meta.photflam:.5g} from {meta.zeropoint_origin}"
    pointing = f"centre RA {float(centre[0]):.6f} Dec {float(centre[1]):.6f} deg"
    return [
        (
            "field",
            field_of(meta.stem, [c.exposure for c in meta.chips], meta.rootname)
            or "unknown (give --field NAME)",
        ),
        ("instrument", f"ACS/{meta.detector}, prime: {meta.prime_instrument or 'unknown'}"),
        ("filter", meta.filter),
        ("observed", f"{when}, target {meta.target or 'unknown'}"),
        ("exposures", f"{meta.n_exposures}, {meta.exptime_s:g} s together"),
        ("size", f"{nx} x {ny} px of {image.scale_arcsec:.4f} arcsec"),
        ("coverage", f"{100 * image.valid.mean():.1f} % of the array; exposures: {depth}"),
        ("weight", f"type {image.wht_type}, {time:.0f} s per pixel (median)"),
        ("sky", f"median {np.median(sky):.5f} e/s per px; {sky_words}"),
        ("zero points", f"{zero_points} ({origin})"),
        ("calibration", audit_words),
        ("charge transfer", _cte(headers, meta)),
        ("WCS", f"{meta.wcsname or 'unnamed'}, {pointing}"),
    ]


def _cte(headers: Headers, meta: ImageMeta) -> str:
    """Return whether the losses of charge transfer are corrected, and who says so."""
    states = headers.cte_corrections
    if not states:
        if not meta.is_cte_corrected:
            return "drz: not corrected (PCTECORR is missing)"
        answer = "corrected, by its name" if re.search(r"_drc(_|$)", meta.stem) else "unknown"
        return f"{answer} (PCTECORR is missing)"
    if set(states) == {"COMPLETE"}:
        though = "" if meta.is_cte_corrected else ", though it is named drz"
        return f"corrected (PCTECORR {states[0]}){though}"
    if "COMPLETE" in states:
        return f"not corrected in all exposures (PCTECORR {', '.join(states)})"
    name_words = "" if meta.is_cte_corrected else "drz: "
    return f"{name_words}not corrected (PCTECORR {', '.join(states)})"


def _has_sky(image: DrcImage) -> bool:
    """Tell whether the image's level is nearer to the sky that drizzling noted than to zero."""
    level = float(np.median(image.sci[image.valid]))
    area = (image.scale_arcsec / image.meta.native_scale_arcsec) ** 2
    header_sky = image.meta.subtracted_sky_rate * area
    return level > 0.5 * header_sky if np.isfinite(header_sky) and header_sky > 0 else level > 0.01


def _warnings(headers: Headers, image: DrcImage) -> list[str]:
    meta = image.meta
    sentences = list(meta.notes)
    if is_aligned_copy(headers.sci):
        sentences.append(
            "a copy with the aligned WCS, written by bycatch: a run takes its original"
        )
    name = meta.wcsname.upper()
    if name in UNALIGNED_NAMES:
        sentences.append(
            "the WCS name gives no origin: its pointing may be off by an arcsecond or more"
        )
    elif "FIT_" not in name and "GAIA" not in name:
        sentences.append(
            f"WCS {meta.wcsname} is not tied to Gaia: pointing errors of 0.1 to 1 arcsec"
        )
    if meta.n_exposures == 1:
        sky = "and the sky is not subtracted" if _has_sky(image) else "the sky is subtracted"
        sentences.append(f"a single exposure: no cosmic ray was rejected, {sky}")
    elif image.has_context and (share := float((image.n_exp == 1).sum() / image.valid.sum())) > 0.2:
        sentences.append(
            f"{100 * share:.0f} % of the area has one exposure only: cosmic rays remain there"
        )
    sentences += _calibration_warnings(headers, meta)
    if str(headers.get("EXPFLAG", "NORMAL")) not in ("NORMAL", "MULTIPLE"):
        sentences.append(f"EXPFLAG is {headers.get('EXPFLAG')}: an exposure was interrupted")
    if str(headers.get("FGSLOCK", "FINE")) not in ("FINE", "MULTIPLE"):
        sentences.append(f"FGSLOCK is {headers.get('FGSLOCK')}: guiding was not on fine lock")
    limit = meta.saturation_rate
    n_full = int((image.sci > limit).sum())
    if n_full:
        sentences.append(f"{n_full} pixels near saturation or above")
    return sentences


def _calibration_warnings(headers: Headers, meta: ImageMeta) -> list[str]:
    sentences = []
    if meta.is_cte_corrected and set(headers.cte_corrections) - {"COMPLETE"}:
        sentences.append("charge-transfer losses are not corrected, though it is not named drz")
    audit = photcal.zeropoint_audit(meta.detector, meta.filter, meta.photflam, meta.mjd_mid)
    if audit and audit.is_off:
        sentences.append(audit.in_words())
    return sentences
