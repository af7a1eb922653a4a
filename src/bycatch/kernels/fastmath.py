"""Exponential and logarithm in plain arithmetic, for loops over many numbers.

A call of the C library's functions keeps a loop from working on four numbers
at a time; these don't, and they give the same digits on every machine.
"""

from __future__ import annotations

import numpy as np

from bycatch.kernels.compiled import compiled

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 in two parts: multiples of the first, up to 2^11, are exact."""
HALF_LN2 = 0.34657359027997264
SQRT2 = 1.4142135623730951
ROUNDING = 6755399441055744.0
"""1.5 x 2^52: a number added to it is rounded to the integer in its lowest bits."""
TWO_52, BITS_OF_TWO_52 = 4503599627370496.0, 0x4330000000000000
BIAS = 1023.0
EXPONENT_BITS = 52
MANTISSA, BITS_OF_ONE = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000


@compiled
def fast_exp(x: float) -> float:
    """Return exp(x) to 1e-14 of it, for -700 < x < 700; nothing is checked.

    Parameters
    ----------
    x : float, between -700 and 700
    """
    power_of_two = x * LOG2_E + ROUNDING
    whole = power_of_two - ROUNDING
    f = (x - whole * LN2_HIGH) - whole * LN2_LOW
    # Taylor's series of exp(f), |f| < 0.35, to f^12.
    p = 1 / 39916800 + f * (1 / 479001600)
    p = 1 / 362880 + f * (1 / 3628800 + f * p)
    p = 1 / 5040 + f * (1 / 40320 + f * p)
    p = 1 / 120 + f * (1 / 720 + f * p)
    p = 1 / 6 + f * (1 / 24 + f * p)
    p = 1 + f * (1 + f * (0.5 + f * p))
    # Times 2^whole: its lowest bits are moved to the exponent.
    power = np.float64(power_of_two).view(np.int64) << EXPONENT_BITS
    return np.int64(np.float64(p).view(np.int64) + power).view(np.float64)


@compiled
def fast_log(x: float) -> float:
    """Return ln(x), for finite x of at least 1; errs by 1e-15 of it, and by 1e-15.

    Parameters
    ----------
    x : finite float, at least 1
    """
    bits = np.float64(x).view(np.int64)
    exponent = np.int64((bits >> EXPONENT_BITS) | BITS_OF_TWO_52).view(np.float64)
    exponent -= TWO_52 + BIAS
    mantissa = np.int64((bits & MANTISSA) | BITS_OF_ONE).view(np.float64)
    # ln m = ln(sqrt 2) + 2 artanh t, |t| < 0.172, to t^19.
    t = (mantissa - SQRT2) / (mantissa + SQRT2)
    q = t * t
    p = 1 / 17 + q * (1 / 19)
    p = 1 / 13 + q * (1 / 15 + q * p)
    p = 1 / 9 + q * (1 / 11 + q * p)
    p = 1 / 5 + q * (1 / 7 + q * p)
    p = 1 + q * (1 / 3 + q * p)
    return exponent * LN2_HIGH + (exponent * LN2_LOW + (HALF_LN2 + 2.0 * t * p))
