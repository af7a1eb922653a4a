"""Points and resolved sources: truth of simulated samples and images, and what can't be told."""

import numpy as np
import pytest

from bycatch import photcal
from bycatch.stages.measure import stellarity
from bycatch.stages.measure.stellarity import Concentration, Locus

PLACE = np.array([1.10, 0.29])
SCATTER = np.array([[0.05**2, 0.0006], [0.0006, 0.018**2]])
EXPECTED = np.array([1.05, 0.31])


def sample(rng, n_stars=60, n_galaxies=60, n_rays=0, noise=(0.02, 0.01), size=(0.4, 1.2)):
    """Return concentrations of stars, galaxies and cosmic rays, in this order."""
    wide = rng.uniform(*size, n_galaxies)
    galaxies = PLACE + np.stack([wide, 0.75 * wide + 0.15 * wide**2], axis=1)
    galaxies += rng.normal(0, [0.06, 0.1], (n_galaxies, 2))
    stars = rng.multivariate_normal(PLACE, SCATTER, n_stars)
    rays = np.stack([rng.normal(0.5, 0.35, n_rays), rng.normal(0.06, 0.2, n_rays)], axis=1)
    index = np.concatenate([stars, galaxies, rays])
    index += rng.normal(0, noise, index.shape)
    covariance = np.broadcast_to(np.diag(np.square(noise)), (len(index), 2, 2))
    return Concentration(rng.uniform(-8, -2, len(index)), index, np.array(covariance))


# ---------------------------------------------------------------- concentration


def test_of_a_flat_image(as_image):
    concentration = stellarity.concentration(
        as_image(np.full((60, 70), 2.0)), [30.3], [20.6], [0.0], [0.1], [500.0]
    )
    np.testing.assert_allclose(
        concentration.index, [[2.5 * np.log10(9), 2.5 * np.log10(4)]], rtol=1e-6
    )
    np.testing.assert_allclose(concentration.magnitude, -2.5 * np.log10(18 * np.pi), rtol=1e-6)


def test_of_a_star(as_image, psf):
    concentration = stellarity.concentration(
        as_image(0.2 + 30 * psf((60, 70), 30.3, 20.6)), [30.3], [20.6], [0.2], [0.01], [500.0]
    )
    gamma2 = (2.1 / (2 * np.sqrt(2 ** (1 / 3) - 1))) ** 2
    light_within = 1 - (1 + np.arange(1, 5) ** 2 / gamma2) ** -2.0
    expected = [
        2.5 * np.log10(light_within[2] / light_within[0]),
        2.5 * np.log10(light_within[3] / light_within[1]),
    ]
    # Sampled at the centres of pixels, a narrow profile is a little wider.
    assert (np.abs(concentration.index[0] - expected) < [0.06, 0.025]).all()


def test_the_covariance_is_the_scatter(as_image, psf):
    rng, seconds, sky, n = np.random.default_rng(8), 400.0, 0.05, 24
    tile = 3.0 * psf((21, 21), 10.2, 9.9) + sky
    counts = rng.poisson(np.tile(tile, (n, n)) * seconds)
    x, y = (v.ravel().astype(float) for v in np.meshgrid(np.arange(n), np.arange(n)))
    concentration = stellarity.concentration(
        as_image(counts / seconds),
        10.2 + 21 * x,
        9.9 + 21 * y,
        np.full(n * n, sky),
        np.full(n * n, np.sqrt(sky / seconds)),
        np.full(n * n, seconds),
    )
    expected, real = concentration.covariance.mean(axis=0), np.cov(concentration.index.T)
    ratio = np.diag(real) / np.diag(expected)
    # A sum that has part of independent pixels scatters less than as many photons: in drizzled
    # images pixels are not independent.  That matters at 1 px; 576 stars tell to 6 %.
    assert 0.5 < ratio[0] < 1.1
    assert 0.75 < ratio[1] < 1.1
    sigma = np.sqrt(np.diag(expected))
    assert real[0, 1] / sigma.prod() == pytest.approx(expected[0, 1] / sigma.prod(), abs=0.12)


def test_nothing_is_known_without_pixels_or_flux(as_image):
    sci = np.ones((40, 50))
    sci[10, 12] = np.nan
    image = as_image(sci)
    x = np.array([13.0, 30.0, 30.0, -50.0, np.nan, 1.0])
    y = np.array([10.0, 20.0, 20.0, 20.0, 20.0, 20.0])
    sky = np.array([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    concentration = stellarity.concentration(image, x, y, sky, np.full(6, 0.1), np.full(6, 500.0))
    np.testing.assert_array_equal(concentration.known, [False, True, False, False, False, False])
    dark = stellarity.concentration(image, [30.0], [20.0], [0.0], [0.1], [0.0])
    assert not dark.known[0]
    assert len(stellarity.concentration(image, [], [], [], [], []).known) == 0


# ---------------------------------------------------------------- the image's stars


@pytest.mark.parametrize("filter_name", ["F435W", "F606W", "F814W", "F850LP"])
def test_expectations_are_within_the_published_range(filter_name):
    # Hubble Advanced Products take 0.85 to 1.25 (F850LP 0.95 to 1.35) for stars.
    first, second = stellarity.expectation("WFC", filter_name)
    low, high = (0.95, 1.35) if filter_name == "F850LP" else (0.85, 1.25)
    assert low < first < high
    assert 0.2 < second < 0.55


def test_an_unknown_filter_has_an_expectation():
    np.testing.assert_array_equal(stellarity.expectation("WFC", "F999X"), [1.08, 0.30])
    np.testing.assert_array_equal(stellarity.expectation("HRC", "F220W"), [1.27, 0.43])


def test_the_expectation_is_that_of_the_detectors_own_pixels():
    # Isolated stars of the real HRC frame of 47 Tuc (F606W) have 1.23 and 0.44 mag, scattering by
    # 0.07 and 0.04; ``benchmarks/hrc_core.py`` computes 1.25 and 0.44.
    first, second = stellarity.expectation("HRC", "F606W")
    assert first == pytest.approx(1.23, abs=0.07)
    assert second == pytest.approx(0.44, abs=0.04)
    for name in ("F435W", "F775W", "F850LP"):
        curve = photcal.encircled_energy("HRC", name)
        share = curve.at(np.array([0.025, 0.05, 0.075, 0.1]))
        expected = 2.5 * np.log10(share[2:] / share[:2]) + stellarity.SMEAR
        np.testing.assert_allclose(stellarity.expectation("HRC", name), expected)


@pytest.mark.parametrize("n_stars", [25, 100])
def test_stars_are_found(n_stars):
    result = sample(np.random.default_rng(1), n_stars=n_stars)
    stars = stellarity.locus(result, EXPECTED)
    assert (np.abs(stars.index - PLACE) < [0.04, 0.014]).all()
    sigma = np.sqrt(np.diag(stars.covariance))
    np.testing.assert_allclose(sigma, [0.05, 0.018], rtol=0.35)
    assert 0.8 * n_stars < stars.n_stars < 1.2 * n_stars


def test_cosmic_rays_are_no_stars():
    rng = np.random.default_rng(2)
    result = sample(rng, n_stars=60, n_rays=4000)
    # Nine in ten are recognised.
    usable = np.ones(len(result.known), bool)
    usable[120:] = rng.random(4000) > 0.9
    stars = stellarity.locus(result, EXPECTED, usable=usable)
    assert (np.abs(stars.index - PLACE) < [0.05, 0.02]).all()


def test_known_stars_lead_when_something_else_is_denser():
    rng = np.random.default_rng(3)
    result = sample(rng, n_stars=20, n_galaxies=0)
    crowd = rng.normal(PLACE - np.array([0.25, 0.09]), 0.01, (200, 2))
    both = Concentration(
        np.full(220, -5.0),
        np.concatenate([result.index, crowd]),
        np.array(np.broadcast_to(np.diag([1e-4, 1e-5]), (220, 2, 2))),
    )
    is_known = np.arange(220) < 10
    blind = stellarity.locus(both, EXPECTED)
    led = stellarity.locus(both, EXPECTED, known_star=is_known)
    assert np.abs(led.index - PLACE)[1] < 0.02 < np.abs(blind.index - PLACE)[1]


def test_without_stars_the_expectation_holds():
    nothing = Concentration(np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2, 2)))
    stars = stellarity.locus(nothing, EXPECTED)
    np.testing.assert_allclose(stars.index, EXPECTED, rtol=1e-12)
    assert stars.n_stars == 0
    np.testing.assert_allclose(np.diag(stars.covariance), [0.05**2 + 0.08**2, 0.018**2 + 0.03**2])


@pytest.mark.parametrize(("n", "is_measured"), [(1, False), (4, False), (5, True)])
def test_fewer_than_five_stars_have_no_say(n, is_measured):
    result = sample(np.random.default_rng(5), n_stars=n, n_galaxies=0)
    stars = stellarity.locus(result, EXPECTED)
    assert (stars.n_stars, stars.is_measured) == (n, is_measured)
    if is_measured:
        inside = np.sort([EXPECTED, np.median(result.index, axis=0)], axis=0)
        assert ((inside[0] < stars.index) & (stars.index < inside[1])).all()
    else:
        np.testing.assert_array_equal(stars.index, EXPECTED)
        default = stellarity.locus(sample(np.random.default_rng(5), 0, 0), EXPECTED)
        np.testing.assert_array_equal(stars.covariance, default.covariance)


# ---------------------------------------------------------------- probability


def test_each_on_its_side():
    result = sample(np.random.default_rng(6), n_stars=400, n_galaxies=400)
    stars = stellarity.locus(result, EXPECTED)
    p = stellarity.probability(result, stars)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p[:400] > 0.5).mean() > 0.99
    assert (p[400:] < 0.5).mean() > 0.99


def test_a_probability_is_one():
    # Of noisy sources with p near a value, that share are stars.
    rng = np.random.default_rng(7)
    result = sample(rng, n_stars=3000, n_galaxies=3000, noise=(0.25, 0.2), size=(0.1, 1.35))
    p = stellarity.probability(result, Locus(PLACE, SCATTER, 100))
    truth = np.arange(6000) < 3000
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        near = (p >= low - 0.1) & (p < low + 0.1)
        assert truth[near].mean() == pytest.approx(p[near].mean(), abs=0.12)


def test_the_share_of_stars_matters():
    rng = np.random.default_rng(8)
    doubtful = PLACE + np.array([0.24, 0.17])
    values = []
    for n_stars, n_galaxies in ((300, 30), (30, 300)):
        result = sample(rng, n_stars, n_galaxies)
        index = np.concatenate([result.index, [doubtful]])
        noise = np.concatenate([result.covariance, [np.diag([0.01, 0.01])]])
        magnitude = np.append(np.full(330, -5.0), -5.0)
        both = Concentration(magnitude, index, noise)
        values.append(stellarity.probability(both, Locus(PLACE, SCATTER, 100))[-1])
    assert values[0] > values[1] + 0.2


def test_what_is_sharper_than_a_star_is_none():
    index = PLACE + np.array([[-0.6, -0.25], [-0.4, -0.15], [0.0, 0.0], [0.3, -0.4]])
    concentration = Concentration(np.full(4, -5.0), index, np.array([np.diag([1e-4, 1e-4])] * 4))
    p = stellarity.probability(concentration, Locus(PLACE, SCATTER, 100))
    np.testing.assert_array_equal(p > 0.5, [False, False, True, False])


def test_saturated_cores_are_points_unless_sharp():
    index = np.array([[1.8, 0.8], [0.4, 0.05], [np.nan, np.nan]])
    concentration = Concentration(np.full(3, -9.0), index, np.array([np.diag([1e-6, 1e-6])] * 3))
    stars = Locus(PLACE, SCATTER, 100)
    p = stellarity.probability(concentration, stars, is_saturated=np.ones(3, bool))
    np.testing.assert_array_equal(p > 0.5, [True, False, True])
    assert stellarity.probability(concentration, stars)[0] < 0.5


def test_nan_where_nothing_can_be_measured():
    index = np.array([PLACE, [np.nan, 0.3], PLACE])
    noise = np.array([np.diag([0.1, 0.1]), np.diag([0.1, 0.1]), np.diag([0.8, 0.1])])
    concentration = Concentration(np.array([-5.0, -5.0, -1.0]), index, noise)
    p = stellarity.probability(concentration, Locus(PLACE, SCATTER, 100))
    np.testing.assert_array_equal(np.isnan(p), [False, True, True])
    nothing = Concentration(np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2, 2)))
    assert len(stellarity.probability(nothing, Locus(PLACE, SCATTER, 0))) == 0


def test_on_an_image(as_image, psf):
    from scipy.ndimage import gaussian_filter

    rng, seconds, side = np.random.default_rng(9), 600.0, 31
    tiles, x, y = [], [], []
    for k in range(64):
        dx, dy = rng.uniform(-0.5, 0.5, 2)
        tile = rng.uniform(5, 30) * psf((side, side), 15 + dx, 15 + dy)
        # Half of them resolved: half-light radius of a Gaussian is 1.18 sigma.
        tiles.append(tile if k % 2 else gaussian_filter(tile, rng.uniform(1.6, 3)))
        x.append(15 + dx + side * (k % 8))
        y.append(15 + dy + side * (k // 8))
    light = np.block([[tiles[8 * j + i] for i in range(8)] for j in range(8)]) + 0.05
    image = as_image(rng.poisson(light * seconds) / seconds)
    n = np.ones(64)
    concentration = stellarity.concentration(image, x, y, 0.05 * n, 0.0091 * n, seconds * n)
    stars = stellarity.locus(concentration, stellarity.expectation("WFC", "F606W"))
    p = stellarity.probability(concentration, stars)
    is_star = np.arange(64) % 2 == 1
    assert (p[is_star] > 0.5).all()
    assert (p[~is_star] < 0.5).all()
    assert stars.n_stars == pytest.approx(32, abs=3)


# ---------------------------------------------------------------- real galaxies


@pytest.mark.realdata
def test_real_galaxies_and_the_psf_of_their_field(shared):
    from types import SimpleNamespace

    from astropy.io import fits

    folder = shared / "data" / "real_galaxies"
    if not folder.is_dir():
        pytest.skip("no real galaxies here")

    def measured(stamp, noise, seconds):
        pixels = np.asarray(stamp, dtype=np.float32)
        rows, columns = np.indices(pixels.shape)
        y, x = (0.5 * (n - 1) for n in pixels.shape)
        for sigma in (4.0, 4.0, 3.0, 3.0, 3.0, 3.0):
            weight = pixels * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
            x, y = ((weight * c).sum() / weight.sum() for c in (columns, rows))
        # COSMOS mosaics: 0.03 arcsec per pixel, where the detector has 0.05.
        image = SimpleNamespace(
            sci=pixels,
            valid=np.ones(pixels.shape, bool),
            meta=SimpleNamespace(native_scale_arcsec=0.05),
            scale_arcsec=0.03,
        )
        return stellarity.concentration(image, [x], [y], [0.0], [noise], [seconds])

    name = "BTK_real_galaxy_catalog_26_extension_example.fits"
    rows = fits.getdata(folder / name)
    noise, mag = np.sqrt(rows["NOISE_VARIANCE"]), rows["MAG"]
    with fits.open(folder / "BTK_real_galaxy_images_extension.fits") as stamps:
        results = [measured(s.data, n, 2028.0) for s, n in zip(stamps, noise, strict=True)]
    with fits.open(folder / "BTK_real_galaxy_PSF_images_extension.fits") as stamps:
        results += [measured(s.data, 1e-6, 1e9) for s in stamps]
    everything = Concentration(
        np.append(mag - 26.0, np.full(len(mag), -3.0)),
        np.concatenate([f.index for f in results]),
        np.concatenate([f.covariance for f in results]),
    )
    stars = stellarity.locus(everything, stellarity.expectation("WFC", "F814W"))
    p = stellarity.probability(everything, stars)
    galaxies, psfs = p[: len(mag)], p[len(mag) :]
    assert (psfs > 0.5).all()
    assert (galaxies[mag < 24] < 0.5).all()
    assert (mag < 24).sum() > 15
    assert (galaxies < 0.5).mean() > 0.93
