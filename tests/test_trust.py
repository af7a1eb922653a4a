"""Structure of the sky, large objects, trails, and the background that follows them."""

from dataclasses import replace

import numpy as np
import pytest

from bycatch.catalogs.flags import Flag
from bycatch.kernels.lines import Line, lines_across, trace
from bycatch.kernels.structure import local_scatter, most_in_window, surface_of_blocks
from bycatch.settings import DetectSettings
from bycatch.stages import detect, measure
from bycatch.stages.measure import trust

NOISE, SIDE, EXPTIME_S = 0.01, 640, 1000.0


@pytest.fixture(name="sky")
def _sky():
    return np.random.default_rng(1).normal(0.0, NOISE, (SIDE, SIDE)).astype(np.float32)


def _clouds(rms):
    """Structure of about 40 px, of a scatter in units of the noise."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(2).normal(size=(SIDE, SIDE)), 12.0)
    return (rms * NOISE * field / field.std()).astype(np.float32)


def _galaxy(scale_px=30.0):
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(x - 300, 1.5 * (y - 320))
    return (300 * NOISE * np.exp(-radius / scale_px)).astype(np.float32)


def _trail(height, width=3.0):
    line = Line(1.2, 420.0)
    y, x = np.mgrid[:SIDE, :SIDE]
    return line, (height * np.exp(-0.5 * (line.across(x, y) / width) ** 2)).astype(np.float32)


@pytest.fixture(name="structure")
def _structure(as_image):
    def found(sci):
        return trust.sky_structure(as_image(sci), None, None, NOISE * np.sqrt(EXPTIME_S))

    return found


def test_local_scatter_is_that_of_cells():
    cells = np.random.default_rng(0).normal(0, 2.0, (60, 60)) + np.arange(60) * 3.0
    result = local_scatter(cells, 2, 4, 3)
    assert result.shape == (15, 15)
    assert np.median(result) == pytest.approx(2.0, rel=0.05)
    cells[:, :30] = np.nan
    result = local_scatter(cells, 2, 4, 3)
    assert np.isnan(result[:, :5]).all()
    assert np.isfinite(result[:, 9:]).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (50, 3)])
def test_local_scatter_of_few_cells(shape):
    assert local_scatter(np.zeros(shape), 2, 4, 3).shape == tuple(-(-n // 4) for n in shape)


def test_no_surface_goes_through_unknown_blocks():
    assert surface_of_blocks(np.full((1, 1), np.nan), 64) is None


def test_most_in_window_counts_the_fullest_square():
    which = np.zeros((40, 40), bool)
    assert most_in_window(which, 5) == 0
    which[10:13, 10:13] = which[30, 30] = True
    assert most_in_window(which, 5) == 9
    assert most_in_window(which, 100) == 10


def test_lines_across_need_a_whole_line():
    rows, columns = np.mgrid[:80, :80]
    line = Line(0.7, 60.0)
    bright = np.abs(line.across(columns, rows)) < 0.8
    known = np.ones_like(bright)
    (result,) = lines_across(bright, known)
    assert result.angle_rad == pytest.approx(0.7, abs=0.02)
    assert result.offset == pytest.approx(60.0, abs=1.0)
    half = bright & (columns < 40)
    assert lines_across(half, known) == []
    wide = np.abs(line.across(columns, rows)) < 8
    assert lines_across(wide, known) == []
    assert lines_across(np.random.default_rng(3).random((80, 80)) < 0.08, known) == []


def test_a_trail_is_traced(sky):
    line, light = _trail(6 * NOISE)
    result = trace(Line(line.angle_rad + 0.003, line.offset + 2.0), sky + light, sky > -1, NOISE)
    assert result is not None
    along = np.array([-200.0, 0.0, 200.0])
    assert result.holds(*line.at(along), 0.0).all()
    assert not result.holds(*line.at(along, 20.0), 2.0).any()
    assert 4 < result.half_width_px < 10
    assert trace(line, sky, sky > -1, NOISE) is None


def test_plain_sky_is_trusted(sky, structure):
    sky_structure = structure(sky)
    assert np.nanmax(sky_structure.scatter) < trust.NEBULOUS_SIGMA
    assert not sky_structure.large.any()
    assert sky_structure.trails == ()


def test_nebulosity_is_structure(sky, structure):
    sky_structure = structure(sky + _clouds(1.0))
    assert np.nanmedian(sky_structure.scatter) > trust.NEBULOUS_SIGMA
    assert sky_structure.is_nebulous(np.array([300.0]), np.array([300.0])).all()
    assert sky_structure.trails == ()


def test_a_galaxy_is_a_large_object_and_a_star_is_none(sky, structure, as_image):
    sky_structure = structure(sky + _galaxy())
    assert sky_structure.large_object(
        np.array([300.0, 20.0]), np.array([320.0, 20.0])
    ).tolist() == [1, 0]
    image = as_image(sky + _galaxy())
    # Saturated, it is a star's halo.
    assert image.meta.saturation_rate > 300 * NOISE
    short = replace(image, meta=replace(image.meta, exptime_s=1e8))
    assert short.meta.saturation_rate < 200 * NOISE
    assert not trust.sky_structure(short, None, None, NOISE * np.sqrt(EXPTIME_S)).large.any()


def test_a_trail_is_found(sky, structure):
    line, light = _trail(4 * NOISE)
    sky_structure = structure(sky + light)
    assert len(sky_structure.trails) == 1
    x, y = line.at(np.array([-100.0, 50.0]), np.array([0.0, 0.0]))
    assert sky_structure.on_trail(x, y).all()


def test_structure_that_is_known_sets_the_flags(sky, structure, as_image):
    line, light = _trail(4 * NOISE)
    known = structure(sky + light)
    at = measure.Targets(*line.at(np.array([0.0]), np.array([0.0])))
    for of, n_flagged in ((known, 1), (measure.NO_STRUCTURE, 0)):
        result = measure.run(as_image(sky + light), at, pixels=measure.Pixels(structure=of))
        assert np.count_nonzero(result.table["flags"] & int(Flag.TRAIL)) == n_flagged


def test_without_noise_nothing_is_reported(sky, as_image):
    structure = trust.sky_structure(as_image(sky), None, None, np.nan)
    assert not structure.is_nebulous(np.array([5.0]), np.array([5.0])).any()


def test_the_plain_background_is_the_same_to_the_bit(sky, as_image):
    image = as_image(sky)
    auto, coarse = (
        detect.sky_of(image, DetectSettings(background=name)) for name in ("auto", "coarse")
    )
    assert auto.box_px == coarse.box_px == 100
    assert np.array_equal(auto.background, coarse.background)
    assert np.array_equal(auto.noise, coarse.noise)


def test_the_background_follows_a_galaxy(sky, as_image):
    image = as_image(sky + _galaxy(60.0))
    model = detect.sky_of(image, DetectSettings())
    assert model.box_px == 16
    assert model.n_oversubtracted >= detect.sky.LEAST_CELLS
    coarse = detect.sky_of(image, DetectSettings(background="coarse"))
    assert coarse.box_px == 100
    ring = np.s_[250:390, 100:500]
    off, far = (np.abs(s.background - _galaxy(60.0))[ring].mean() for s in (model, coarse))
    assert off < 0.5 * far


def test_words_of_warnings():
    quiet = trust.Trust(100, 0, 0, 0, 0, 0.0, 0.0, 5.0)
    assert quiet.warnings() == []
    loud = [
        replace(quiet, n_nebulous=50),
        replace(quiet, n_in_large_object=5, large_object_percent=20.0),
        replace(quiet, n_trails=1, n_on_trail=30),
        replace(quiet, covered_percent=25.0),
    ]
    words = ("nebulous", "in_large_object", "flagged trail", "crowded")
    for result, word in zip(loud, words, strict=True):
        (text,) = result.warnings()
        assert word in text
    assert replace(quiet, n_nebulous=9).warnings() == []


def test_where_knots_hide_the_sky_it_is_as_most_of_it_is():
    """Blocks of 64 px: rough, rough, hidden; and smooth, smooth, hidden."""
    x, y = np.array([32.0, 96.0, 160.0]), np.full(3, 32.0)
    rough, smooth = (
        trust.SkyStructure(np.array([[s, s, np.nan]]), np.zeros((4, 12), np.int32), ())
        for s in (0.5, 0.2)
    )
    assert rough.is_nebulous(x, y).tolist() == [True, True, True]
    assert not smooth.is_nebulous(x, y).any()


@pytest.mark.parametrize(
    ("n_isolated", "n_blended", "fits_psf", "is_said"),
    [(4, 50, False, True), (5, 50, False, False), (4, 49, False, False), (4, 50, True, False)],
)
def test_too_few_isolated_stars_among_blends_mean_a_crowd(n_isolated, n_blended, fits_psf, is_said):
    sparse = trust.Trust(100, 0, 0, 0, 0, 0.0, 0.0, 5.0, 0, n_blended, n_isolated, fits_psf)
    assert any("isolated stars are too few" in text for text in sparse.warnings()) == is_said


def test_merged_stars_are_a_crowd_and_no_nebula():
    (text,) = trust.Trust(100, 50, 0, 0, 0, 0.0, 0.0, 5.0, 80).warnings()
    assert text.startswith("crowded: 80 % of the rows hide other stars")
