"""Peaks without a row: found where the truth has a source, and nowhere else."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bycatch.catalogs.flags import Flag
from bycatch.kernels.sharp_peaks import response, sharp_peaks
from bycatch.stages import measure
from bycatch.stages.measure import Pixels, Targets

NOISE = 0.008
SHAPE = (120, 140)


def scene(psf, *stars, seed=1, fwhm_px=2.1):
    """Return an image of stars (x, y, rate) on noise."""
    sci = np.random.default_rng(seed).normal(0, NOISE, SHAPE)
    for x, y, rate in stars:
        sci += rate * psf(SHAPE, x, y, fwhm_px)
    return sci.astype(np.float32)


def segments(sci):
    """Return one segment for all that is bright: nothing is deblended."""
    return (gaussian_filter(sci, 1.0) > 2 * NOISE).astype(np.int32)


def measured(as_image, sci, x, y, *, cr_mask=None, segmentation=None, **options):
    given = segments(sci) if segmentation is None else segmentation
    measurement = measure.run(as_image(sci, **options), Targets(x, y),
                        pixels=Pixels(cr_mask, given)).table  # fmt: skip
    flags = np.asarray(measurement["flags"])
    share = np.ma.filled(measurement["blend_share"], np.nan)
    return (flags & int(Flag.UNLISTED_PEAK)) > 0, (flags & int(Flag.BLENDED)) > 0, share


# ---------------------------------------------------------------- the kernel


def test_peaks_are_those_of_two_gaussians(psf):
    sci = scene(psf, (40.3, 50.6, 30), (44.0, 50.6, 20), (90.2, 30.7, 10))
    valid = np.ones(SHAPE, bool)
    valid[60:70, 60:70] = False
    x, y, height = sharp_peaks(sci, valid, 0.8, 2.0, 0.2)
    light = np.where(valid, sci, 0)
    expected = gaussian_filter(light, 0.8, mode="constant", truncate=3)
    expected -= gaussian_filter(light, 2.0, mode="constant", truncate=3)
    np.testing.assert_allclose(height, expected[np.rint(y).astype(int), np.rint(x).astype(int)])
    np.testing.assert_allclose(sorted(x), [40.3, 44.0, 90.2], atol=0.15)
    np.testing.assert_allclose(y[np.argsort(x)], [50.6, 50.6, 30.7], atol=0.15)


def test_the_response_is_the_noise_of_the_difference():
    noise = np.random.default_rng(3).normal(size=(400, 400))
    seen = gaussian_filter(noise, 0.8, truncate=3) - gaussian_filter(noise, 2.0, truncate=3)
    assert response(0.8, 2.0) == pytest.approx(seen.std(), rel=0.01)


def test_a_plateau_is_one_peak():
    sci = np.zeros((20, 20), np.float32)
    sci[10, 10:12] = 1
    x, y, _ = sharp_peaks(sci, np.ones((20, 20), bool), 0.8, 2.0, 0.05)
    assert len(x) == 1
    assert (round(y[0]), 10 <= x[0] <= 11) == (10, True)


# ---------------------------------------------------------------- in the measurement


@pytest.mark.parametrize("distance", [3.6, 4.5, 6.0, 14.8])
def test_a_star_without_a_row_is_reported(as_image, psf, distance):
    """As one of 19.2 mag that three levels merge into one of 18.1 at 14.8 px."""
    stars = (60.2, 60.4, 100.0), (60.2 + distance, 60.4, 36.0)
    sci = scene(psf, *stars)
    unlisted, blended, share = measured(as_image, sci, [60.2], [60.4])
    assert unlisted.tolist() == [True]
    # The middle aperture has 6 px.
    assert blended.tolist() == [distance < 7]
    listed = measured(as_image, sci, [60.2, 60.2 + distance], [60.4, 60.4])
    assert listed[0].tolist() == [False, False]
    assert share[0] == pytest.approx(listed[2][0], abs=0.05)


def test_isolated_stars_and_galaxies_are_not(as_image, psf):
    sci = scene(psf, (30.4, 40.2, 200.0), (70.1, 80.7, 5.0))
    sci += scene(psf, (105.0, 60.0, 60.0), fwhm_px=9.0) - scene(psf)
    unlisted, blended, share = measured(as_image, sci, [30.4, 70.1, 105.0], [40.2, 80.7, 60.0])
    assert not (unlisted | blended).any()
    assert (share < 0.1).all()


@pytest.mark.parametrize(("ratio", "is_told"), [(0.01, False), (0.06, True)])
def test_a_peak_counts_from_three_percent_on(as_image, psf, ratio, is_told):
    sci = scene(psf, (60.0, 60.0, 300.0), (68.0, 60.0, 300.0 * ratio))
    assert measured(as_image, sci, [60.0], [60.0])[0].tolist() == [is_told]


def test_a_row_off_its_peak_hides_none(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 100.0))
    assert not measured(as_image, sci, [62.5], [60.0])[0].any()


def test_of_two_peaks_about_a_row_one_is_hidden(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 100.0), (64.0, 60.0, 95.0))
    assert measured(as_image, sci, [62.0], [60.0])[0].tolist() == [True]


def test_charge_in_a_single_exposure_is_no_peak(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 100.0), (66.0, 64.0, 30.0))
    sci[54, 58:60] += 10
    mask = np.zeros(SHAPE, bool)
    mask[62:67, 64:69] = True
    where = [60.0], [60.0]
    assert not measured(as_image, sci, *where, cr_mask=mask, n_exposures=1)[0].any()
    # Without the mask the second star is one; where exposures agree the mask has no say.
    assert measured(as_image, sci, *where, n_exposures=1)[0].all()
    assert measured(as_image, sci, *where, cr_mask=mask, n_exposures=3)[0].all()


def test_saturated_cores_have_no_unlisted_peaks(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 4000.0), (65.0, 60.0, 900.0))
    assert not measured(as_image, sci, [60.0], [60.0])[0].any()


def test_peaks_of_another_segment_are_not_this_row_s(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 100.0), (68.0, 60.0, 30.0))
    labels = segments(sci)
    labels[:, 64:] *= 2
    unlisted, _, share = measured(as_image, sci, [60.0], [60.0], segmentation=labels)
    assert not unlisted.any()
    # Its light is there all the same.
    alone = measured(as_image, scene(psf, (60.0, 60.0, 100.0)), [60.0], [60.0])[2]
    assert share[0] > alone[0] + 0.005


@pytest.mark.parametrize(("x", "y"), [([], []), ([np.nan], [5.0]), ([-50.0], [5.0])])
def test_without_rows_there_is_nothing_to_report(as_image, psf, x, y):
    assert not measured(as_image, scene(psf, (60.0, 60.0, 100.0)), x, y)[0].any()


def test_without_segments_the_light_counts(as_image, psf):
    sci = scene(psf, (60.0, 60.0, 100.0), (64.0, 60.0, 60.0))
    measurement = measure.run(as_image(sci), Targets([60.0], [60.0])).table
    assert measurement["blend_share"][0] > 0.2
    assert not measurement["flags"][0] & int(Flag.UNLISTED_PEAK)
