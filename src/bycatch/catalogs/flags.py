"""The registry of source flags: bits are written here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag


class Flag(IntFlag):
    """Bits of the ``flags`` column; 0 means that nothing is wrong."""

    EDGE = 1
    SINGLE_EXPOSURE = 2
    COSMIC_RAY = 4
    PARTIAL_APERTURE = 8
    OFF_IMAGE = 16
    BAD_SKY = 32
    FIT_FAILED = 64
    FIT_PINNED = 128
    BLENDED = 256
    SATURATED = 512
    FALLBACK_ZEROPOINT = 1024
    NO_EXPOSURE_MAP = 2048
    EXTENDED = 4096
    SPIKE = 8192
    HALO = 16384
    HOT_PIXEL = 32768
    BAD_COLUMN = 65536
    LIKELY_COSMIC_RAY = 131072
    UNLISTED_PEAK = 262144
    TOTAL_BLENDED = 524288
    SKY_ON_SOURCE = 1048576
    NEBULOUS = 2097152
    IN_LARGE_OBJECT = 4194304
    TRAIL = 8388608
    PIECE = 16777216
    FOUND_IN_RESIDUAL = 33554432
    PSF_OF_MODEL = 67108864
    PSF_MISFIT = 134217728
    CORE_REJECTED = 268435456
    SPIKE_PIECE = 536870912


@dataclass(frozen=True)
class FlagMeaning:
    """What a bit means and which step sets it."""

    flag: Flag
    meaning: str
    owner: str


FLAGS: tuple[FlagMeaning, ...] = (
    FlagMeaning(Flag.EDGE, "a pixel without data lies within the outer sky radius", "measure"),
    FlagMeaning(Flag.SINGLE_EXPOSURE, "the median number of exposures within 2 px is 1", "measure"),
    FlagMeaning(
        Flag.COSMIC_RAY, "cr_flag is 1: single exposure, near the cosmic-ray mask", "measure"
    ),
    FlagMeaning(
        Flag.PARTIAL_APERTURE, "pixels without data lie in the largest aperture", "measure"
    ),
    FlagMeaning(Flag.OFF_IMAGE, "no data at the position: nothing is measured", "measure"),
    FlagMeaning(Flag.BAD_SKY, "fewer than 20 sky pixels survived the clipping", "measure"),
    FlagMeaning(Flag.FIT_FAILED, "the profile fit did not converge: fwhm is missing", "measure"),
    FlagMeaning(Flag.FIT_PINNED, "the profile fit ended at a limit of its range", "measure"),
    FlagMeaning(
        Flag.BLENDED,
        "more than 10 per cent of the light in the middle aperture belongs to neighbours, "
        "catalogued or not",
        "measure",
    ),
    FlagMeaning(
        Flag.SATURATED,
        "a pixel near the full well of one exposure, or marked as saturated in the data quality "
        "of an exposure",
        "measure",
    ),
    FlagMeaning(
        Flag.FALLBACK_ZEROPOINT,
        "calibrated with the bundled zero point, not the header's",
        "finalize",
    ),
    FlagMeaning(
        Flag.NO_EXPOSURE_MAP,
        "no context image: the number of exposures is estimated from WHT",
        "measure",
    ),
    FlagMeaning(
        Flag.EXTENDED,
        "p_star is below 0.5: fluxes corrected for the aperture miss the outer light",
        "measure",
    ),
    FlagMeaning(Flag.SPIKE, "on a diffraction spike of a bright star", "measure"),
    FlagMeaning(Flag.HALO, "where the wings of a bright star exceed the sky noise", "measure"),
    FlagMeaning(
        Flag.HOT_PIXEL,
        "single exposure: all light comes from one detector pixel, hot or hit by a cosmic ray",
        "measure",
    ),
    FlagMeaning(
        Flag.BAD_COLUMN, "single exposure: a deviating detector column runs through it", "measure"
    ),
    FlagMeaning(Flag.LIKELY_COSMIC_RAY, "p_cr reaches the threshold: not in cat_clean", "measure"),
    FlagMeaning(
        Flag.UNLISTED_PEAK,
        "its segment holds a peak of more than 3 per cent of its light that has no row of its own",
        "measure",
    ),
    FlagMeaning(
        Flag.TOTAL_BLENDED,
        "more than 10 per cent of the Kron ellipse belongs to other segments: neighbours, or "
        "parts that "
        "deblending has cut off; flux_kron and sizes may lack light",
        "measure",
    ),
    FlagMeaning(
        Flag.SKY_ON_SOURCE,
        "extended, and its Kron ellipse reaches the sky annulus: fluxes in fixed apertures lose "
        "what the annulus takes for sky (flux_kron and sizes do not, see sky_level)",
        "measure",
    ),
    FlagMeaning(
        Flag.NEBULOUS,
        "not a point, where the sky has structure at the scale of apertures: perhaps part of it",
        "measure",
    ),
    FlagMeaning(
        Flag.IN_LARGE_OBJECT,
        "on an object much larger than the sources, such as a large galaxy: perhaps part of it",
        "measure",
    ),
    FlagMeaning(Flag.TRAIL, "on a straight trail across the image", "measure"),
    FlagMeaning(
        Flag.PIECE,
        "within the light of a larger extended source that it was deblended from: a knot or arm of "
        "that galaxy, or a fainter object before it (piece_of in the sources names it)",
        "measure",
    ),
    FlagMeaning(
        Flag.FOUND_IN_RESIDUAL,
        "found in the residual image, after subtracting the fitted stars: it has no segment and "
        "no row in the sources",
        "measure",
    ),
    FlagMeaning(
        Flag.PSF_OF_MODEL,
        "too few stars for the image's own PSF: flux_psf uses the published one",
        "measure",
    ),
    FlagMeaning(
        Flag.PSF_MISFIT,
        "the PSF does not fit: flatter or sharper than a star, saturated, or the fit diverged; do "
        "not trust flux_psf",
        "measure",
    ),
    FlagMeaning(
        Flag.CORE_REJECTED,
        "an exposure lost pixels, rejected as cosmic rays or bad, with more than 3 per cent of the "
        "light: the flux may be off by as much, as the errors say",
        "measure",
    ),
    FlagMeaning(
        Flag.SPIKE_PIECE,
        "on a spike and not much brighter than the spike there: likely a piece of it",
        "measure",
    ),
)


def decode(value: int) -> list[str]:
    """Return the names of the bits that are set, lowest bit first."""
    return [str(flag.name).lower() for flag in Flag if value & flag]
