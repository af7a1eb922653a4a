"""Sharp peaks against scipy's filters, bit for bit."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter

from bycatch.kernels.sharp_peaks import BAND_ROWS, sharp_peaks
from bycatch.kernels.threads import at_most


@pytest.mark.parametrize("shape", [(3 * BAND_ROWS + 7, 90), (5, 1100), (1, 1)])
@pytest.mark.parametrize("n_threads", [1, None])
def test_peaks_are_those_of_the_difference_of_gaussians(shape, n_threads):
    rng = np.random.default_rng(4)
    data, valid = rng.normal(size=shape).astype(np.float32), rng.random(shape) < 0.95
    data[rng.random(shape) < 0.01] = np.nan
    is_finite = valid & np.isfinite(data)
    light = np.where(is_finite, data, np.float32(0))
    sharp = gaussian_filter(light, 0.8, mode="constant", truncate=3.0)
    sharp -= gaussian_filter(light, 2.0, mode="constant", truncate=3.0)
    top = maximum_filter(sharp, 3, mode="constant", cval=-np.inf)
    rows, columns = np.nonzero(is_finite & (sharp == top) & (sharp > 0.1))
    with at_most(n_threads):
        x, y, height = sharp_peaks(data, valid, 0.8, 2.0, 0.1)
    np.testing.assert_array_equal(height, sharp[rows, columns])
    np.testing.assert_allclose(x, columns, atol=0.5)
    np.testing.assert_allclose(y, rows, atol=0.5)
