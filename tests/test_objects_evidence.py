"""What all images of an object say: real, cosmic ray, noise or star; calibrated by Monte Carlo."""

import numpy as np
import pytest

from bycatch.stages.objects.evidence import combined_p_star, object_evidence
from bycatch.stages.objects.likelihoods import FLARE_SHARE, RAY_CHANCE, Places

PIVOT = np.array([4750.0, 6300.0, 7690.0])


def evidence(flux, err=1.0, detected=None, p_cr=0.5, n_exp=1.0, pivot=PIVOT, **kwargs):
    flux = np.atleast_2d(np.asarray(flux, float))
    err = np.where(np.isfinite(flux), err, np.nan)
    detected = flux / err > 5 if detected is None else np.atleast_2d(detected).astype(bool)
    p_cr = np.where(detected, p_cr, np.nan)
    kwargs.setdefault("cr_share", np.full(flux.shape[1], 0.5))
    return object_evidence(
        p_cr, np.full(flux.shape, np.nan), detected, flux, err, np.full(flux.shape, n_exp),
        np.asarray(pivot)[: flux.shape[1]], **kwargs,
    )  # fmt: skip


def test_what_three_filters_see_is_no_cosmic_ray():
    clues = evidence([[20, 25, 30], [8, 9, 8], [2.0, 8.0, 12.0]], p_cr=0.9, cr_share=0.6)
    assert (clues.p_real[:2] > 0.98).all()
    assert clues.p_real[2] > 0.85


def test_what_one_sees_although_others_are_deep_is_a_cosmic_ray():
    clues = evidence([[0.3, 30, -0.5], [100, 1.0, 1.0], [0, 0, 50]], p_cr=0.3)
    assert (clues.p_cr > 0.95).all()


def test_where_nothing_else_covers_shape_decides():
    nan = np.nan
    for p in (0.03, 0.5, 0.97):
        clues = evidence([[nan, 30, nan]], p_cr=p)
        assert clues.p_cr[0] == pytest.approx(p, abs=1e-3)
        assert clues.p_real[0] == pytest.approx(1 - p, abs=1e-3)
    # Nor do images that can't see it tell.
    shallow = evidence([[0.0, 30.0, 0.0]], err=np.array([60.0, 1.0, 60.0]), p_cr=0.5)
    assert shallow.p_real[0] == pytest.approx(0.5, abs=0.12)
    nothing = evidence([[nan, nan, nan]])
    assert np.isnan(nothing.p_real).all()


def places_of(x_mas, err_mas=8.0, rays=0.5):
    x = np.atleast_2d(np.asarray(x_mas, float))
    return Places(x, np.zeros_like(x), np.full(x.shape, err_mas), np.full(3, rays), 0.03)


def test_what_lies_apart_is_two_cosmic_rays():
    """Of a thousand rays per arcmin2 and image many lie by chance within reach of another."""
    near, apart = places_of([0.0, 6.0, np.nan]), places_of([0.0, 70.0, np.nan])
    arguments = {"p_cr": 0.9, "cr_share": 0.8}
    flux = [[22.0, 18.0, 2.0]]
    assert evidence(flux, places=near, **arguments).p_real[0] > 0.8
    assert evidence(flux, places=apart, **arguments).p_real[0] < 0.3
    # Of three that see it one may be struck.
    flux, struck = [[12.0, 14.0, 60.0]], places_of([0.0, 5.0, 80.0])
    assert evidence(flux, places=struck, p_cr=[[0.05, 0.05, 0.999]], cr_share=0.5).p_real[0] > 0.9


def test_a_source_beneath_a_cosmic_ray_is_real():
    """The brightest detection is charge for sure, and the others show a faint star, or nothing."""
    arguments = {
        "p_cr": [[0.02, 0.9999, 0.02]],
        "cr_share": 0.6,
        "places": places_of([0.0, 50.0, 4.0]),
    }
    assert evidence([[7.0, 60.0, 8.0]], **arguments).p_real[0] > 0.9
    assert evidence([[0.5, 60.0, 0.2]], **arguments).p_real[0] < 0.01


def test_hot_pixels_are_recognized_by_their_rate_even_where_one_is_struck():
    arguments = {"p_cr": 0.998, "cr_share": 0.7, "rate_per_flux": [7.0, 6.0, 6.5]}
    rate = np.array([100.0, 100.0, 100.0])
    for extra in (1.0, 1.6):
        flux = rate / arguments["rate_per_flux"] * [1.0, 1.0, extra]
        clues = evidence([flux], **arguments, places=places_of([0.0, 1.0, 1.0]))
        assert clues.p_real[0] < 0.2


def test_red_sources_and_dropouts_are_kept():
    clues = evidence([[1.5, 8.0, 30.0], [0.0, 0.5, 8.0]], p_cr=0.1)
    assert clues.p_real[0] > 0.9
    assert 0.1 < clues.p_real[1] < 0.5  # in doubt


def test_noise_fades_with_brightness_and_company():
    """Half of the list holds little light, the other half are sources above a threshold of 5."""
    rng = np.random.default_rng(2)
    snr = np.append(rng.gamma(4.0, 0.5, 500), 5.0 / rng.random(500) + rng.normal(size=500))
    clues = evidence(snr[:, None], p_cr=1e-6, detected=np.ones((1000, 1)), pivot=[6300.0])
    assert clues.p_noise[:500].mean() > 0.9
    assert clues.p_noise[500:].mean() < 0.08
    assert clues.p_noise.mean() == pytest.approx(0.5, abs=0.05)
    assert (clues.p_noise[snr > 6.5] < 0.01).all()


@pytest.mark.parametrize("threshold", [3.5, 5.0, 8.0])
def test_the_threshold_of_the_detections_follows_from_them(threshold):
    """What lies below it by three of its errors and more is no source, whatever it is."""
    rng = np.random.default_rng(3)
    sources = threshold / rng.random(1500) + rng.normal(size=1500)
    snr = np.append(rng.gamma(4.0, 0.5, 300), sources)
    clues = evidence(snr[:, None], p_cr=1e-6, detected=np.ones((1800, 1)), pivot=[6300.0])
    assert (clues.p_real[snr < threshold - 3] < 0.1).all()
    assert (clues.p_real[300:] > 0.5).mean() > 0.92


def test_a_list_without_noise_loses_no_source():
    rng = np.random.default_rng(4)
    snr = 4.5 / rng.random(1000) + rng.normal(size=1000)
    clues = evidence(snr[:, None], p_cr=1e-6, detected=np.ones((1000, 1)), pivot=[6300.0])
    assert (clues.p_real > 0.5).mean() > 0.98
    faint = evidence([[3.8, 3.9, 4.2]], detected=[1, 1, 1], p_cr=0.01)
    assert faint.p_real[0] > 0.99


def test_stars():
    p = np.array([[0.9, 0.9, 0.9], [0.9, np.nan, np.nan], [0.1, 0.1, 0.1], [np.nan] * 3])
    star = combined_p_star(p, np.isfinite(p))
    assert star[0] > star[1] == pytest.approx(0.9, abs=0.05)
    assert star[2] < 0.1
    assert np.isnan(star[3])


# ---------------------------------------------------------------- an independent Monte Carlo


def planck(wavelength, temperature):
    x = 1.4388e8 / (wavelength * temperature[:, None])
    return wavelength**-3.0 / np.expm1(x)  # f_nu


def mixture(seed, n=12000, share_cr=0.5, share_noise=0.1, n_images=3):
    """Return the arguments of object_evidence, cr_share, and which are real and which charge.

    Stars are black bodies of 2800 to 20000 K with dust, galaxies have slopes and breaks; neither
    follows the prior.  Shapes tell little: 1.5 sigma between light and charge.
    """
    rng = np.random.default_rng(seed)
    pivot = np.array([4750.0, 6300.0, 7690.0, 6300.0])[:n_images]
    kind = rng.choice(3, n, p=[1 - share_cr - share_noise, share_cr, share_noise])
    shape = planck(pivot, np.exp(rng.uniform(np.log(2800), np.log(20000), n)))
    shape *= (pivot / 6300.0) ** rng.exponential(0.5, (n, 1))
    galaxy = rng.random(n) < 0.6
    slope = rng.gamma(2.0, 0.8, n)
    broken = np.where(
        (rng.random(n) < 0.25)[:, None] & (pivot < rng.uniform(4000, 8000, (n, 1))), 0.4, 1.0
    )
    broken = np.where((rng.random(n) < 0.01)[:, None] & (pivot < 5000), 0.0, broken)
    shape[galaxy] = ((pivot / 6300.0) ** slope[:, None] * broken)[galaxy]
    shape[shape.max(axis=1) == 0] = 1.0
    shape /= shape.max(axis=1, keepdims=True)
    err = np.array([1.3, 1.0, 1.6, 0.8])[:n_images] * rng.uniform(0.9, 1.1, (n, n_images))
    true = shape * 3.0 * rng.pareto(0.9, n)[:, None]
    true *= np.exp(rng.normal(0, 0.05, true.shape))
    one = rng.integers(0, n_images, n)
    true[kind > 0] = 0.0
    charge = np.flatnonzero(kind == 1)
    true[charge, one[charge]] = (
        5 * err[charge, one[charge]] * 10 ** rng.uniform(-0.1, 1.5, charge.size)
    )
    # 3 % of the fluxes have the light of neighbours.
    wide = np.where(rng.random(true.shape) < 0.03, 3.0, 1.0)
    flux = true + rng.normal(size=true.shape) * np.hypot(err * wide, 0.03 * true)
    peak = np.flatnonzero(kind == 2)
    # Noise was not detected by what a small aperture holds of it.
    flux[peak, one[peak]] = rng.gamma(4.0, 0.5, peak.size) * err[peak, one[peak]]
    has_detection = flux / err > rng.normal(4.5, 0.2, flux.shape)
    has_detection[peak, one[peak]] = True
    z = rng.normal(np.where((kind == 1)[:, None], 0.75, -0.75), 1.0, flux.shape)
    # As bycatch.stages.measure.cosmics has it: the share of charge by signal-to-noise ratio.
    share = np.full(flux.shape, 0.5)
    for m in range(n_images):
        seen = has_detection[:, m]
        snr = np.clip(flux[seen, m] / err[seen, m], 1, 200)
        bins = np.floor(np.log10(snr) / 0.15).astype(int)
        hits = np.bincount(bins, (kind[seen] == 1) & (one[seen] == m))
        share[seen, m] = ((hits + 1) / (np.bincount(bins) + 2))[bins]
    odds = share / (1 - share) * np.exp(1.5 * z)
    p_cr = np.where(has_detection, odds / (1 + odds), np.nan)
    mask = has_detection.any(axis=1)
    arrays = [p_cr, p_cr, has_detection, flux, err, np.ones_like(flux)]
    return [a[mask] for a in arrays] + [pivot], share[mask], (kind == 0)[mask], (kind == 1)[mask]


def miscalibration(p, truth, least=100):
    """Return the largest difference of a bin's mean probability and its true share.

    Two standard errors of the share are taken off: a bin may hold a hundred objects.
    """
    off = [0.0]
    for k in range(10):
        own = np.minimum((p * 10).astype(int), 9) == k
        if own.sum() >= least:
            share = truth[own].mean()
            chance = 2 * np.sqrt(max(share * (1 - share), 1e-3) / own.sum())
            off.append(abs(p[own].mean() - share) - chance)
    return max(off)


@pytest.mark.parametrize(
    ("case", "most_real", "most_cr"),
    [
        ({}, 0.05, 0.12),
        ({"share_cr": 0.75}, 0.05, 0.12),
        ({"share_cr": 0.1}, 0.05, 0.12),
        ({"n_images": 2}, 0.05, 0.05),
        ({"n_images": 4, "share_noise": 0.2}, 0.05, 0.12),
        ({"n_images": 1}, 0.12, 0.05),
    ],
)
def test_probabilities_are_calibrated(case, most_real, most_cr):
    arguments, share, real, charge = mixture(11, **case)
    clues = object_evidence(*arguments, cr_share=share)
    assert miscalibration(clues.p_real, real) <= most_real
    assert miscalibration(clues.p_cr, charge) <= most_cr
    np.testing.assert_allclose(clues.p_real + clues.p_cr + clues.p_noise, 1.0, atol=1e-9)


def test_three_single_exposures_of_three_filters():
    """The demand: 97 % real at p_real > 0.5, and 2 % lost of those that two filters detect."""
    arguments, share, real, _ = mixture(12)
    mask = object_evidence(*arguments, cr_share=share).p_real > 0.5
    assert real[mask].mean() > 0.98
    assert mask[real & (arguments[2].sum(axis=1) > 1)].mean() > 0.995


def test_nothing():
    empty = np.empty((0, 3))
    clues = object_evidence(empty, empty, empty > 0, empty, empty, empty, PIVOT)
    assert clues.p_real.size == 0


def test_numbers_that_the_documentation_states():
    assert RAY_CHANCE == 0.005
    assert FLARE_SHARE == 0.001
