"""What tells points, galaxies and cosmic rays apart: each decision about its limit."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bycatch.kernels import sharpness
from bycatch.photcal import encircled_energy
from bycatch.settings import PRESETS
from bycatch.stages.measure import cosmic_evidence, cosmics, stellarity
from bycatch.stages.measure.exposure_charge import ExposureCharge
from bycatch.stages.measure.remains import Remains
from bycatch.stages.measure.stellarity import Concentration, Locus

PLACE = np.array([1.10, 0.29])
SCATTER = np.array([[0.05**2, 0.0006], [0.0006, 0.018**2]])


# ---------------------------------------------------------------- terms of the regression


def evidence(width=1.0, elongation=1.1, box=0.0, c=(0.0, 0.0), masked=0.0, snr=30.0, n_exp=1,
             of=0, seen=0, chance=0.01, charge=0.0, misfit=1.0, around=0.0, left=(0.0,) * 5,
             told=None, absent=0.0, n=1):  # fmt: skip
    full = np.full
    told = told and ExposureCharge(full(n, told[0]), *(full(n, float(v)) for v in told[1:]))
    return cosmic_evidence.Evidence(
        full(n, width), full(n, elongation), full(n, box), np.tile(np.array(c, float), (n, 1)),
        full(n, masked), full(n, snr), full(n, n_exp),
        cosmic_evidence.Elsewhere(full(n, of), full(n, seen), chance, full(n, float(absent))), 20,
        full(n, charge), full(n, misfit), full(n, around),
        Remains(*(full(n, float(v)) for v in left)), told,
    )  # fmt: skip


NOTHING = {"log_snr": np.log10(30.0), "width": 1.0, "long": np.log(1.1), "long_narrow": np.log(1.1)}


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("single", {}, {}),
        # What is not known is as a star has it.
        (
            "single",
            {"width": np.nan, "elongation": np.nan, "box": np.nan, "c": (np.nan, np.nan),
             "charge": np.nan, "misfit": np.nan},
            {"long": 0.0, "long_narrow": 0.0},
        ),
        # A track.
        (
            "single",
            {"width": 0.45, "elongation": 2.0, "box": 0.4, "c": (-0.6, -0.2), "masked": 1.0,
             "snr": 10.0, "of": 3, "charge": 9.0, "misfit": np.e, "around": 0.09},
            {"log_snr": 1.0, "width": 0.45, "narrow": 0.55, "long": np.log(2),
             "long_narrow": np.log(2), "box": 0.4, "c13": -0.6, "c24": -0.2, "masked": 1.0,
             "masked_narrow": 0.5, "missed": 2, "charge": 3.0, "misfit": 1.0, "mask_around": 0.3},
        ),
        # Beyond all bounds.
        (
            "single",
            {"width": 9.0, "elongation": 99.0, "box": -9.0, "c": (9.0, -9.0), "snr": 1e9,
             "charge": -1e9, "misfit": 1e9, "around": 1.0},
            {"log_snr": np.log10(200), "width": 2.0, "long": np.log(4), "long_narrow": 0.0,
             "box": -0.3, "c13": 1.0, "c24": -1.0, "light": 4.0, "misfit": np.log(60),
             "mask_around": np.sqrt(0.4)},
        ),
        # Detections of others count less where they are common, never more.
        ("single", {"of": 1, "seen": 1, "chance": 0.1}, {"seen": 0.5}),
        ("single", {"of": 3, "seen": 2, "chance": 1e-9}, {"seen": 1.0, "seen_twice": 1.0}),
        (
            "stack",
            {"left": (0.2, 0.09, 0.4, -4.0, -3.0)},
            {"hole": 0.2, "hole_near": 0.3, "has_hole": 1.0, "beside_hole": 0.4, "ring": -1.0,
             "dark_hole": 3.0},
        ),
        (
            "single, exposures",
            {"told": (1, 0.8, -4.0, 0.0)},
            {"exposure_masked": 0.8, "exposure_light": 2.0},
        ),
        (
            "stack, exposures",
            {"told": (2, 0.0, 99.0, 8.0)},
            {"exposure_charge": np.sqrt(30), "alone": 2.0, "is_compared": 1.0},
        ),
    ],
)  # fmt: skip
def test_terms_are_what_the_weights_were_trained_on(kind, given, expected):
    clues = cosmics.features(evidence(**given), kind)[0]
    clues = dict(zip(cosmics.terms_of(kind), clues, strict=True))
    assert clues == pytest.approx(dict.fromkeys(clues, 0.0) | NOTHING | expected)


def ratio_of(found, kind="single"):
    return float(cosmics.network(kind)(cosmics.features(found, kind))[0])


@pytest.mark.parametrize("kind", cosmics.KINDS)
def test_the_network_is_that_of_the_file(kind):
    text = (Path(cosmics.__file__).parents[2] / "data" / "cosmics.csv").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith(f"{kind}|")]
    values = {name: np.array(row.split(","), float) for _, name, row in rows}
    told = (2, 0.3, 5.0, 1.0)
    terms = cosmics.features(evidence(width=0.8, masked=0.6, told=told), kind)[0]
    total, sums = values["constant"][0], values["bias"].copy()
    for name, term in zip(cosmics.terms_of(kind), terms, strict=True):
        mean, spread, direct, *inner = values[name]
        total += direct * (term - mean) / spread
        sums += np.array(inner) * (term - mean) / spread
    total += np.tanh(sums) @ values["outer"]
    assert cosmics.network(kind)(terms[np.newaxis])[0] == pytest.approx(total)


def test_no_light_in_other_images_counts_half_of_its_likelihood_and_light_nothing():
    def logit(absent):
        vague = evidence(width=0.9, masked=0.3, snr=12.0, of=2, absent=absent, n=200)
        known = evidence(width=0.9, masked=0.3, snr=12.0, of=2, n=200)
        ratio = cosmics.network("single")(cosmics.features(known, "single"))
        assert (
            cosmics.features(vague, "single").tolist() == cosmics.features(known, "single").tolist()
        )
        return cosmics.probability(vague)[0], cosmics._with_shares(
            ratio + 0.5 * min(max(absent, 0.0), 6.0), known.snr, *cosmics.PRIOR_SINGLE
        )[0]

    for absent in (-5.0, 0.0, 3.0, 6.0, 99.0):
        result, expected = logit(absent)
        assert result == pytest.approx(expected)


@pytest.mark.parametrize(("n_exp", "kind", "prior"), [(1, "single", 0.5), (2, "stack", 0.05)])
def test_one_row_alone_has_the_share_of_before(n_exp, kind, prior):
    """It counts for three rows, in the image and once more in its bin."""
    one = evidence(width=0.9, masked=0.3, snr=12.0, n_exp=n_exp)
    ratio, p = ratio_of(one, kind), cosmics.probability(one)[0]
    whole = (p + 3 * prior) / 4
    share = (p + 3 * whole) / 4
    limited = np.clip(ratio, -12, 12)
    assert np.log(p / (1 - p)) == pytest.approx(limited + np.log(share / (1 - share)), abs=0.15)


def test_the_share_of_cosmic_rays_has_settled():
    """Where rows are told apart by one sigma, more rounds change no probability by 1e-4."""
    random = np.random.default_rng(1)
    ratio = np.concatenate([random.normal(1, 1, 300), random.normal(-1, 1, 600)])
    result = cosmics._with_shares(ratio, np.full(900, 10.0), *cosmics.PRIOR_SINGLE)
    share = 0.5
    for _ in range(2000):
        p = 1 / (1 + (1 / share - 1) * np.exp(-ratio))
        whole = (p.sum() + 1.5) / 903
        share = (p.sum() + 3 * whole) / 903
    assert result == pytest.approx(p, abs=1e-4)


def test_the_share_differs_with_brightness():
    """One half of the bright rows and few of the faint ones are charge: what is vague follows."""
    ratio = np.concatenate([np.full(50, 9.0), np.full(51, -9.0), np.full(400, -9.0), [0.0, 0.0]])
    snr = np.concatenate([np.full(101, 200.0), np.full(400, 6.0), [200.0, 6.0]])
    p = cosmics._with_shares(ratio, snr, *cosmics.PRIOR_SINGLE)
    assert p[-2] == pytest.approx(0.5, abs=0.05)
    assert p[-1] < 0.01


@pytest.mark.parametrize(("apart", "seen"), [(1.45, 1), (1.55, 0)])
def test_two_images_see_one_source_within_one_and_a_half_pixels(apart, seen):
    other = SimpleNamespace(
        x=np.array([10.0, 500.0]), y=np.array([10.0, 500.0]), covers=np.array([True])
    )
    elsewhere = cosmic_evidence.seen_elsewhere([10.0 + apart], [10.0], [other])
    assert elsewhere.n_seen.tolist() == [seen]
    # Two detections in a square of 490 px.
    assert elsewhere.chance == pytest.approx(2 * np.pi * 1.5**2 / 490**2, rel=1e-3)


def test_a_source_is_seen_whichever_detection_of_the_other_image_is_there():
    places = np.arange(6) * 100.0
    other = SimpleNamespace(x=places, y=places, covers=np.ones(6, bool))
    elsewhere = cosmic_evidence.seen_elsewhere(places + 0.5, places, [other])
    assert elsewhere.n_seen.tolist() == [1] * 6
    assert cosmic_evidence.seen_elsewhere(places + 50.0, places, [other]).n_seen.tolist() == [0] * 6


# ---------------------------------------------------------------- the image's stars


def looked_at(as_image, monkeypatch, *, flux=100.0, offset=(0.0, 0.0), masked=0.0, n=1, minor=2.2):
    """Evidence of sources whose moments are given; a sky of 1 e/s, an exposure without end."""
    values = np.zeros((n, sharpness.N_VALUES))
    values[:, sharpness.FLUX], values[:, sharpness.NOISE] = flux, 1.0
    values[:, sharpness.MINOR], values[:, sharpness.MAJOR] = minor, 2.4
    values[:, sharpness.BOX], values[:, sharpness.MASKED] = 0.48, masked
    monkeypatch.setattr(cosmic_evidence.sharpness, "sharpness", lambda *_, **__: values)
    result = SimpleNamespace(
        x=np.zeros(n), y=np.zeros(n), correlation=1.0, sky=SimpleNamespace(std=np.ones(n)),
        exposures=SimpleNamespace(exptime_s=np.full(n, 1e12), count=np.ones(n, np.int64)),
    )  # fmt: skip
    concentration = Concentration(np.zeros(n), np.tile(PLACE + offset, (n, 1)), np.zeros((n, 2, 2)))
    image = as_image(np.zeros((20, 20)))
    return cosmic_evidence.evidence(image, result, concentration, Locus(PLACE, SCATTER, 100))


@pytest.mark.parametrize(
    ("given", "n_stars"),
    [
        ({"flux": 15.1}, 1),
        ({"flux": 14.9}, 0),
        ({"masked": 0.099}, 1),
        ({"masked": 0.101}, 0),
        ({"offset": (0.149, 0.0)}, 1),
        ({"offset": (0.151, 0.0)}, 0),
        ({"offset": (0.0, -0.053)}, 1),
        ({"offset": (0.0, -0.055)}, 0),
    ],
)
def test_stars_that_show_how_sharp_stars_are(as_image, monkeypatch, given, n_stars):
    """Of S/N 15, with less than a tenth of their light on the mask, within 3 sigma of the locus."""
    assert looked_at(as_image, monkeypatch, **given).n_stars == n_stars


@pytest.mark.parametrize("n", [1, 3, 30])
def test_the_width_of_three_stars_counts_as_much_as_the_usual_one(as_image, monkeypatch, n):
    result = looked_at(as_image, monkeypatch, n=n, minor=2.6)
    assert result.width[0] == pytest.approx(2.6 * (n + 3) / (n * 2.6 + 3 * 2.2))
    assert result.box == pytest.approx([0.0] * n)


def test_photons_count_half_in_the_window(as_image, monkeypatch):
    """It holds half of a source's light: 100 e/s in 200 s are an error of 0.5 e/s.

    Beside them the sky, with what drizzling correlates.
    """
    values = np.zeros((1, sharpness.N_VALUES))
    values[:, [sharpness.FLUX, sharpness.MINOR, sharpness.MAJOR]] = 100.0, 2.2, 2.2
    monkeypatch.setattr(cosmic_evidence.sharpness, "sharpness", lambda *_, **__: values)
    image, locus = as_image(np.zeros((20, 20))), Locus(PLACE, SCATTER, 100)
    concentration = Concentration(np.zeros(1), PLACE[np.newaxis], np.zeros((1, 2, 2)))
    for noise, error in ((0.0, 0.5), (1.5, np.hypot(0.5, 1.2 * 2.0 * 1.5))):
        values[:, sharpness.NOISE] = noise
        outcome = SimpleNamespace(
            x=np.zeros(1), y=np.zeros(1), correlation=1.2, sky=SimpleNamespace(std=np.full(1, 2.0)),
            exposures=SimpleNamespace(exptime_s=np.full(1, 200.0), count=np.ones(1, np.int64)),
        )  # fmt: skip
        result = cosmic_evidence.evidence(image, outcome, concentration, locus)
        assert result.snr == pytest.approx([100.0 / error])


@pytest.mark.parametrize(
    ("scale", "pixfrac", "box_px"), [(0.05, 1.0, 2), (0.03, 1.0, 3), (0.03, 0.6, 2)]
)
def test_lengths_of_the_moments_are_in_pixels_of_the_detector(
    as_image, monkeypatch, scale, pixfrac, box_px
):
    """A window of 1.2 px, a ring of 3.5 to 5.5, a peak within 1.5, the shadow of one pixel."""
    arguments = {}

    def noted(*places, **lengths):
        arguments.update(lengths)
        return np.ones((len(places[2]), sharpness.N_VALUES))

    monkeypatch.setattr(cosmic_evidence.sharpness, "sharpness", noted)

    def change(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= scale / 0.05
        hdus[0].header["D001PIXF"] = pixfrac

    result = SimpleNamespace(
        x=np.zeros(1), y=np.zeros(1), correlation=1.0, sky=SimpleNamespace(std=np.ones(1)),
        exposures=SimpleNamespace(exptime_s=np.ones(1), count=np.ones(1, np.int64)),
    )  # fmt: skip
    concentration = Concentration(np.zeros(1), PLACE[np.newaxis], np.zeros((1, 2, 2)))
    locus = Locus(PLACE, SCATTER, 100)
    cosmic_evidence.evidence(as_image(np.zeros((20, 20)), change), result, concentration, locus)
    size = 0.05 / scale
    assert arguments["window_px"] == pytest.approx(1.2 * size)
    assert arguments["ring_px"] == pytest.approx((3.5 * size, 5.5 * size))
    assert arguments["search_px"] == pytest.approx(1.5 * size)
    assert arguments["box_px"] == box_px


# ---------------------------------------------------------------- points


def concentrations(index, error=0.01, magnitude=-5.0):
    index = np.atleast_2d(index)
    covariance = np.tile(np.diag([error**2, (error / 3) ** 2]), (len(index), 1, 1))
    return Concentration(np.full(len(index), magnitude), index, covariance)


def test_a_concentration_with_an_error_of_three_quarters_decides_nothing():
    for error, is_told in ((0.74, True), (0.76, False)):
        concentration = concentrations(PLACE, error)
        assert concentration.known.tolist() == [is_told]
        p = stellarity.probability(concentration, Locus(PLACE, SCATTER, 100))
        assert np.isfinite(p).tolist() == [is_told]


@pytest.mark.parametrize(("error", "n_stars"), [(0.079, 9), (0.081, 0)])
def test_stars_are_found_from_sources_with_small_errors(error, n_stars):
    concentration = concentrations(np.tile(PLACE, (9, 1)), error)
    assert stellarity.locus(concentration, PLACE).n_stars == n_stars


@pytest.mark.parametrize(
    ("offset", "n_stars"),
    [((0.34, 0), 9), ((0.36, 0), 0), ((-0.34, 0), 9), ((0, 0.14), 9), ((0, 0.16), 0)],
)
def test_stars_are_looked_for_about_the_expectation(offset, n_stars):
    concentration = concentrations(np.tile(PLACE + offset, (9, 1)))
    assert stellarity.locus(concentration, PLACE).n_stars == n_stars


@pytest.mark.parametrize(("n_known", "is_led"), [(4, False), (5, True)])
def test_five_stars_of_gaia_lead_the_search(n_known, is_led):
    crowd = np.tile(PLACE - [0.2, 0.07], (300, 1))
    concentration = concentrations(np.concatenate([np.tile(PLACE, (n_known, 1)), crowd]))
    is_known = np.arange(len(concentration.index)) < n_known
    place = stellarity.locus(concentration, PLACE, known_star=is_known)
    assert (place.n_stars == n_known) == is_led


def test_stars_scatter_no_more_than_is_known():
    rng = np.random.default_rng(4)
    index = PLACE + rng.uniform(-1, 1, (4000, 2)) * [0.34, 0.145]
    concentration = stellarity.locus(concentrations(index, 0.001), PLACE)
    assert np.sqrt(np.diag(concentration.covariance)) == pytest.approx([0.08, 0.03], rel=0.01)


@pytest.mark.parametrize("n", [0, 10, 30])
def test_ten_stars_count_as_much_as_the_usual_scatter(n):
    """Of stars all alike nothing else is left; their place and the expected one share the rest."""
    concentration = stellarity.locus(concentrations(np.tile(PLACE, (n, 1)), 1e-6), PLACE)
    usual = np.array([[0.05**2, 0.5 * 0.05 * 0.018], [0.5 * 0.05 * 0.018, 0.018**2]])
    scatter = usual * 10 / (n + 10)
    # A median's variance is pi / 2 times that of a mean.
    own = np.linalg.inv(0.5 * np.pi * scatter / n) if n else 0.0
    error = np.linalg.inv(own + np.diag([0.08**-2, 0.03**-2]))
    assert concentration.covariance == pytest.approx(scatter + error, rel=2e-3)


@pytest.mark.parametrize(("n_others", "is_led"), [(17, True), (23, False)])
def test_a_star_of_gaia_weighs_as_much_as_five_sources_when_the_densest_place_is_sought(
    n_others, is_led
):
    """Four of them, which do not yet lead alone, against others as near to the expectation."""
    aside = np.array([0.2, 0.0])
    index = np.concatenate([np.tile(PLACE + aside, (4, 1)), np.tile(PLACE - aside, (n_others, 1))])
    concentration = stellarity.locus(
        concentrations(index), PLACE, known_star=np.arange(len(index)) < 4
    )
    assert (concentration.n_stars == 4) == is_led


@pytest.mark.parametrize(("n_aside", "is_led"), [(50, False), (75, True)])
def test_stars_are_sought_where_they_should_be_within_twice_what_focus_does(n_aside, is_led):
    """0.30 mag aside is 1.9 times 2 x 0.08: a place counts exp(-1.9^2 / 2) = 0.17 there."""
    aside = PLACE + np.array([0.30, 0.0])
    index = np.concatenate([np.tile(PLACE, (10, 1)), np.tile(aside, (n_aside, 1))])
    concentration = stellarity.locus(concentrations(index), PLACE)
    assert (concentration.n_stars == n_aside) == is_led


def test_saturated_sources_have_no_say_in_the_share_of_points():
    doubtful = PLACE + np.array([0.24, 0.17])
    index = np.concatenate([[doubtful], np.tile(PLACE, (40, 1))])
    concentration = concentrations(index, 0.1)
    is_saturated = np.arange(41) > 0
    alone = stellarity.probability(concentrations(doubtful, 0.1), Locus(PLACE, SCATTER, 100))
    p = stellarity.probability(concentration, Locus(PLACE, SCATTER, 100), is_saturated=is_saturated)
    with_them = stellarity.probability(concentration, Locus(PLACE, SCATTER, 100))
    assert p[0] == pytest.approx(alone[0], rel=1e-9)
    assert with_them[0] > p[0]


@pytest.mark.parametrize(("sharper", "is_point"), [(2.9, True), (3.1, False)])
def test_a_saturated_source_is_a_point_unless_three_sigma_sharper_than_stars(sharper, is_point):
    concentration = concentrations(PLACE - [sharper * 0.05, 0.5], 1e-3)
    p = stellarity.probability(
        concentration, Locus(PLACE, SCATTER, 100), is_saturated=np.ones(1, bool)
    )
    assert (p[0] == 1.0) == is_point


@pytest.mark.parametrize("filter_name", ["F475W", "F606W", "F814W"])
def test_stars_are_less_concentrated_than_the_table_by_the_smear_of_drizzling(filter_name):
    curve = encircled_energy("WFC", filter_name)
    light = dict(zip((1, 2, 3, 4), curve.at([0.05, 0.10, 0.15, 0.20]), strict=True))
    table = [2.5 * np.log10(light[3] / light[1]), 2.5 * np.log10(light[4] / light[2])]
    result = stellarity.expectation("WFC", filter_name) - table
    assert result == pytest.approx([0.13, 0.02])


# ---------------------------------------------------------------- densities

GRID = np.stack(np.meshgrid(np.arange(-2.5, 3.5, 0.01), np.arange(-2.5, 3.5, 0.01)), -1)
OFFSETS = GRID.reshape(-1, 2)


def moments(density):
    """Total, mean and second moments of a density over the grid."""
    weight = density * 1e-4
    total = weight.sum()
    mean = weight @ OFFSETS / total
    return total, mean, np.einsum("n,ni,nj->ij", weight, OFFSETS, OFFSETS) / total


def test_points_are_normal_with_wings_and_one_in_ten_blended():
    noise = np.zeros((len(OFFSETS), 2, 2)) + np.diag([0.03**2, 0.03**2])
    total, mean, second = moments(stellarity._point_density(OFFSETS, noise, SCATTER) - 1e-7)
    assert total == pytest.approx(1.0, abs=1e-4)
    assert mean == pytest.approx(0.1 * np.array([0.05, 0.08]), abs=1e-5)
    shift = np.outer([0.05, 0.08], [0.05, 0.08])
    blend = SCATTER + np.diag([0.07**2, 0.12**2]) + shift
    expected = noise[0] + 0.8 * SCATTER + 0.1 * 4 * SCATTER + 0.1 * blend
    assert second == pytest.approx(expected, abs=1e-6)
    assert stellarity._point_density(np.array([[30.0, 30.0]]), noise[:1], SCATTER)[0] == (
        pytest.approx(1e-7)
    )


def test_resolved_sources_thin_out_towards_the_stars_and_what_is_sharper_as_well():
    """From 0.4 mag on there are as many of each concentration, up to 1.3 mag."""
    covariances = np.zeros((len(OFFSETS), 2, 2)) + SCATTER
    wide, sharp = stellarity._other_densities(OFFSETS, covariances)
    for density, first, second_of in (
        (wide, np.arange(0.05, 1.3, 0.1), lambda f: 0.75 * f + 0.15 * f**2),
        (sharp, np.arange(-0.95, -0.2, 0.1), lambda f: 0.4 * f),
    ):
        weight = np.minimum(np.abs(first) / 0.4, 1.0)
        weight /= weight.sum()
        curve = np.column_stack([first, second_of(first)])
        total, mean, second = moments(density - 1e-4)
        assert total == pytest.approx(1.0, abs=1e-3)
        assert mean == pytest.approx(weight @ curve, abs=2e-3)
        expected = np.einsum("n,ni,nj->ij", weight, curve, curve) + SCATTER
        assert second == pytest.approx(expected + np.diag([0.06**2, 0.1**2]), abs=2e-3)


def share_of_points(n_points, n_others, magnitude=-5.0):
    """The share of points at a magnitude, from sources of which each is certainly one or other."""
    is_point = np.arange(n_points + n_others) < n_points
    point, wide = np.where(is_point, 1.0, 1e-9), np.where(is_point, 1e-9, 1.0)
    n = len(is_point)
    share = stellarity._point_share(
        np.full(n, magnitude), point, wide, np.zeros(n), np.ones(n, bool)
    )
    return share[0]


@pytest.mark.parametrize(
    ("n_points", "n_others", "share"),
    [(2, 0, 4 / 6), (0, 2, 2 / 6), (3, 1, 5 / 8), (1000, 0, 0.9), (0, 1000, 0.1)],
)
def test_the_share_of_points_is_one_half_for_few_and_never_beyond_nine_tenths(
    n_points, n_others, share
):
    assert share_of_points(n_points, n_others) == pytest.approx(share, abs=1e-6)


def test_magnitudes_half_a_magnitude_apart_count_half():
    """Three points in one bin, three others in the next: each bin has its own and half of those."""
    magnitude = np.array([-4.75] * 3 + [-4.25] * 3)
    point = np.array([1.0] * 3 + [1e-9] * 3)
    share = stellarity._point_share(magnitude, point, point[::-1], np.zeros(6), np.ones(6, bool))
    assert share == pytest.approx([(3 + 2) / (4.5 + 4)] * 3 + [(1.5 + 2) / (4.5 + 4)] * 3)


def test_the_preset_deep_is_what_the_documentation_says():
    assert PRESETS["deep"]["detect"] == {
        "n_pixels": 7,
        "n_pixels_single": 9,
        "deblend_n_pixels": 7,
        "deblend_n_levels": 32,
        "deblend_contrast": 0.005,
        "deblend_prominence": 2.0,
    }
