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
        Flag.COSMIC_RAY, "cr_flag is 1: single exposure and near the cosmic-ray mask", "measure"
    ),
    FlagMeaning(
        Flag.PARTIAL_APERTURE, "pixels without data lie in the largest aperture", "measure"
    ),
    FlagMeaning(Flag.OFF_IMAGE, "no pixel with data at the position: nothing measured", "measure"),
    FlagMeaning(Flag.BAD_SKY, "fewer than 20 sky pixels survived the clipping", "measure"),
    FlagMeaning(Flag.FIT_FAILED, "the profile fit did not converge: fwhm is missing", "measure"),
    FlagMeaning(Flag.FIT_PINNED, "the profile fit ended at the border of its range", "measure"),
    FlagMeaning(Flag.BLENDED, "another detection lies within the largest aperture", "measure"),
    FlagMeaning(Flag.SATURATED, "the peak is near the full well of one exposure", "measure"),
    FlagMeaning(
        Flag.FALLBACK_ZEROPOINT,
        "calibrated with the bundled zero point, not the header's",
        "finalize",
    ),
    FlagMeaning(
        Flag.NO_EXPOSURE_MAP,
        "no context image: the number of exposures is a guess from WHT",
        "measure",
    ),
)


def decode(value: int) -> list[str]:
    """Return the names of the bits that are set, lowest bit first."""
    return [str(flag.name).lower() for flag in Flag if value & flag]
