"""Detection against known stars, another implementation, and awkward images."""

import numpy as np
import pytest
from astropy.io import fits
from photutils.segmentation import detect_sources

from bycatch.catalogs.source_columns import REMOVED, SOURCES
from bycatch.errors import InconsistentImage
from bycatch.kernels import background
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.settings import DetectSettings, Settings
from bycatch.stages import detect

SMALL = DetectSettings(box_px=50, coverage_box_px=21)


def noise(shape, sigma=0.01, seed=1):
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def test_known_stars_are_found_at_their_positions(scene, as_image):
    truth, sci = scene
    result = detect.run(as_image(sci), DetectSettings(n_pixels=20))
    table = result.sources
    assert len(table) == len(truth.x)
    for x, y, rate in zip(truth.x, truth.y, truth.rate, strict=True):
        k = np.argmin(np.hypot(table["x"] - x, table["y"] - y))
        assert table["x"][k] == pytest.approx(x, abs=0.05)
        assert table["y"][k] == pytest.approx(y, abs=0.05)
        # the segment of a star holds most of its light
        assert 0.75 * rate < table["flux"][k] < 1.02 * rate
        assert table["x_min"][k] < x < table["x_max"][k]
        assert table["y_min"][k] < y < table["y_max"][k]
        assert result.segmentation[round(y), round(x)] == table["id"][k]
        assert table["ellipticity"][k] < 0.15
        assert table["n_exp"][k] == 2
        assert table["noise"][k] == pytest.approx(truth.noise, rel=0.15)
        assert table["coverage"][k] == 1
    assert result.segmentation.dtype == np.int32
    assert len(result.removed) == 0
    summary = result.summary()
    assert summary["n_sources"] == len(truth.x)
    assert summary["noise_median"] == pytest.approx(truth.noise, rel=0.1)


def test_elongated_sources_have_their_shape(as_image):
    yy, xx = np.indices((120, 160))
    along, across = (xx - 80) * 0.8 + (yy - 60) * 0.6, -(xx - 80) * 0.6 + (yy - 60) * 0.8
    galaxy = 5 * np.exp(-0.5 * ((along / 8) ** 2 + (across / 4) ** 2))
    table = detect.run(as_image(galaxy + noise(galaxy.shape)), SMALL).sources
    assert len(table) == 1
    assert table["semimajor_px"][0] == pytest.approx(8, rel=0.05)
    assert table["semiminor_px"][0] == pytest.approx(4, rel=0.05)
    assert table["theta_deg"][0] == pytest.approx(np.degrees(np.arctan2(0.6, 0.8)), abs=1)
    assert table["ellipticity"][0] == pytest.approx(0.5, abs=0.03)


def test_the_input_is_not_changed_and_the_answer_is_the_same(scene, as_image):
    image = as_image(scene[1])
    before = image.sci.copy()
    one, two = detect.run(image), detect.run(image)
    np.testing.assert_array_equal(image.sci, before)
    np.testing.assert_array_equal(one.segmentation, two.segmentation)
    for name in one.sources.colnames:
        np.testing.assert_array_equal(one.sources[name], two.sources[name])


# ---------------------------------------------------------------- threshold


def test_segments_are_those_of_the_same_threshold_in_photutils(scene, as_image):
    image = as_image(scene[1])
    settings = DetectSettings(deblend=False)
    result = detect.run(image, settings)
    smooth = smooth_image(image.sci - result.background, image.valid, gaussian_kernel(2.5, 3))
    theirs = detect_sources(smooth, 2.0 * result.noise, 75)
    np.testing.assert_array_equal(result.segmentation, theirs.data)


def test_the_noise_is_that_of_unsmoothed_pixels(as_image):
    result = detect.run(as_image(noise((200, 300), 0.02)))
    assert np.median(result.noise) == pytest.approx(0.02, rel=0.03)
    # Two sigma of unsmoothed noise is five sigma of the smoothed one: nothing is found,
    # however small the area, but single peaks.
    loose = detect.run(as_image(noise((200, 300), 0.02)), DetectSettings(n_pixels=3))
    assert len(loose.sources) <= 2
    assert len(result.sources) == 0


def deep_and_shallow(shape, seed=2):
    """Return noise that follows a weight: full depth left, a quarter of it right."""
    image = noise(shape, 0.01, seed)
    image[:, shape[1] // 2 :] *= 2
    return image


def quarter_depth(hdus):
    half = hdus["WHT"].data.shape[1] // 2
    hdus["WHT"].data[:, half:] *= 0.25


def test_the_threshold_follows_the_depth(as_image):
    shape = (200, 400)
    sci = deep_and_shallow(shape)
    for x in (60, 340):
        sci[94:106, x - 6 : x + 6] += 0.04
    image = as_image(sci, quarter_depth)
    result = detect.run(image)
    assert np.median(result.noise[:, :190]) == pytest.approx(0.01, rel=0.05)
    assert np.median(result.noise[:, 210:]) == pytest.approx(0.02, rel=0.05)
    # the step is as sharp as the weight's, although the boxes are 100 px
    assert result.noise[100, 199] / result.noise[100, 201] == pytest.approx(0.5, rel=0.1)
    deep = result.sources[result.sources["x"] < 200]
    shallow = result.sources[result.sources["x"] > 200]
    assert len(deep) == 1
    assert len(shallow) == 0
    # which one noise for the whole image would have found
    level = np.full(shape, 2 * np.median(result.noise[:, :190]))
    smooth = smooth_image(image.sci, image.valid, gaussian_kernel(2.5, 3))
    assert detect_sources(smooth, level, 75).data[100, 340] > 0


def test_a_noisy_half_gives_no_false_sources(as_image):
    result = detect.run(as_image(deep_and_shallow((300, 400)), quarter_depth))
    assert len(result.sources) + len(result.removed) == 0


def test_a_background_is_taken_off(as_image, psf):
    shape = (220, 240)
    yy, xx = np.indices(shape)
    slope = 0.5 + 0.0005 * xx + 0.0003 * yy
    sci = slope + noise(shape) + 20 * psf(shape, 120, 110)
    result = detect.run(as_image(sci), DetectSettings(box_px=40, filter_boxes=1, n_pixels=40))
    assert len(result.sources) == 1
    assert result.background[30, 40] == pytest.approx(slope[30, 40], abs=0.02)
    assert result.sources["background"][0] == pytest.approx(slope[110, 120], abs=0.02)


@pytest.mark.parametrize(("n_exposures", "found"), [(1, 0), (2, 1)])
def test_single_exposures_need_more_pixels(as_image, n_exposures, found):
    # A block of 100 bright pixels: more than 75, fewer than 150.
    sci = noise((150, 200))
    sci[70:80, 90:100] += 1.0
    settings = DetectSettings(deblend=False, kernel_size_px=1)
    result = detect.run(as_image(sci, n_exposures=n_exposures), settings)
    assert len(result.sources) == found
    if found:
        assert 100 <= result.sources["area"][0] <= 105


def test_overlapping_stars_are_deblended(as_image, psf):
    shape = (120, 160)
    sci = noise(shape) + 300 * psf(shape, 70, 60, 4.0) + 300 * psf(shape, 84, 60, 4.0)
    image = as_image(sci)
    assert len(detect.run(image, SMALL.replace(deblend=False)).sources) == 1
    parts = detect.run(image, SMALL).sources
    assert len(parts) == 2
    np.testing.assert_allclose(sorted(parts["x"]), [70, 84], atol=0.3)


# ---------------------------------------------------------------- coverage rule


def test_sources_near_a_gap_are_removed_and_kept_with_the_reason(as_image, psf):
    shape = (260, 300)
    sci = noise(shape)
    for x, y in ((60, 200), (60, 90)):
        sci += (50 * psf(shape, x, y)).astype(np.float32)
    sci[100:120] = np.nan
    result = detect.run(as_image(sci))
    assert len(result.sources) == 1
    assert result.sources["y"][0] == pytest.approx(200, abs=0.1)
    assert len(result.removed) == 1
    assert result.removed["y"][0] == pytest.approx(90, abs=0.1)
    share = result.removed["coverage"][0]
    # rows 40..139 of a box of 100 px, 20 of them in the gap; all of its columns but those beyond
    # the array's edge
    assert share == pytest.approx(0.8, abs=1e-9)
    assert result.removed["reason"][0] == "coverage 0.800 < 0.98 in box"
    assert set(np.unique(result.segmentation)) == {
        0,
        result.sources["id"][0],
        result.removed["id"][0],
    }


def test_the_edge_of_the_array_is_unknown_not_uncovered(as_image, psf):
    shape = (120, 140)
    sci = noise(shape) + 50 * psf(shape, 12, 9)
    result = detect.run(as_image(sci))
    assert len(result.sources) == 1
    assert result.sources["coverage"][0] == 1


@pytest.mark.parametrize(("width", "kept"), [(1, True), (3, False)])
def test_the_border_of_the_rule(as_image, psf, width, kept):
    # 100 x 100 px with a dead column: 99 % covered; with three: 97 %.
    shape = (260, 300)
    sci = noise(shape) + 50 * psf(shape, 150, 130)
    sci[:, 170 : 170 + width] = np.nan
    result = detect.run(as_image(sci))
    assert len(result.sources) == int(kept)
    assert len(result.removed) == int(not kept)


# ---------------------------------------------------------------- awkward images


def check_empty(result, shape):
    for table, columns in ((result.sources, SOURCES), (result.removed, REMOVED)):
        assert table.colnames == [c.name for c in columns]
        assert len(table) == 0
    assert result.segmentation.shape == shape
    assert not result.segmentation.any()
    assert result.summary()["n_sources"] == 0


@pytest.mark.parametrize("shape", [(150, 200), (30, 40), (1, 1), (1, 50), (50, 3), (5, 5)])
def test_no_sources_give_empty_tables_with_all_columns(as_image, shape):
    result = detect.run(as_image(noise(shape) + 0.1))
    check_empty(result, shape)
    assert np.isfinite(result.background).all()
    assert np.isfinite(result.noise).all()


@pytest.mark.parametrize("value", [0.5, -0.2, 1e-30])
def test_a_constant_image_has_no_sources(as_image, value):
    check_empty(detect.run(as_image(np.full((60, 70), value))), (60, 70))


def test_tiny_images_with_a_star(as_image, psf):
    sci = noise((30, 40)) + 100 * psf((30, 40), 21.3, 14.6)
    table = detect.run(as_image(sci)).sources
    assert len(table) == 1
    assert table["x"][0] == pytest.approx(21.3, abs=0.1)
    assert table["y"][0] == pytest.approx(14.6, abs=0.1)


def test_a_border_without_data(as_image, psf):
    sci = np.full((260, 330), np.nan, dtype=np.float32)
    inner = (160, 200)
    sci[50:210, 60:260] = noise(inner) + 50 * psf(inner, 100, 80)
    result = detect.run(as_image(sci))
    assert len(result.sources) == 1
    assert result.sources["x"][0] == pytest.approx(160, abs=0.05)
    assert result.sources["y"][0] == pytest.approx(130, abs=0.05)
    assert not result.noise[:50].any()
    assert np.median(result.noise[60:200, 70:250]) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("n_valid", [1, 3, 40])
def test_hardly_any_valid_pixels(as_image, n_valid):
    sci = np.full((260, 330), np.nan, dtype=np.float32)
    sci[100, 100 : 100 + n_valid] = noise(n_valid) + 1
    check_empty(detect.run(as_image(sci)), (260, 330))


def test_thin_rotated_frames(as_image, psf):
    # A strip across a large frame: most boxes have no data, many have little.
    shape = (300, 400)
    yy, xx = np.indices(shape)
    strip = np.abs(yy - 0.6 * xx - 20) < 30
    sci = np.where(strip, noise(shape) + 50 * psf(shape, 200, 140), np.nan)
    result = detect.run(as_image(sci), DetectSettings(min_coverage=0.0))
    assert len(result.sources) == 1
    assert np.median(result.noise[strip]) == pytest.approx(0.01, rel=0.15)


def test_boxes_larger_than_the_image(as_image, psf):
    shape = (90, 110)
    sci = noise(shape) + 50 * psf(shape, 50, 40)
    result = detect.run(as_image(sci), DetectSettings(box_px=500, coverage_box_px=500))
    assert len(result.sources) == 1


def test_images_without_weight_or_context(as_image, scene):
    def bare(hdus):
        del hdus["WHT"]
        del hdus["CTX"]

    truth, sci = scene
    detection = detect.run(as_image(sci, bare), DetectSettings(n_pixels=20)).sources
    assert len(detection) == len(truth.x)


def test_the_image_of_this_module_is_one(as_image):
    image = as_image(noise((10, 12)))
    assert isinstance(fits.Header(image.wcs.to_header()), fits.Header)


def test_a_background_that_can_not_be_measured_is_a_reason_to_drop(as_image, monkeypatch):
    def without_boxes(*_):
        raise ValueError(background.NO_BOX)

    monkeypatch.setattr(background, "sky_maps", without_boxes)
    image = as_image(noise((60, 60)))
    with pytest.raises(InconsistentImage, match=r"jabc01.*background can't be measured.*100 % of"):
        detect.run(image)


# ---------------------------------------------------------------- other pixel scales


def test_settings_are_those_of_the_image_at_the_native_scale():
    for given in (DetectSettings(), Settings.load(preset="deep").detect):
        same = given.at(1.0)
        assert same.replace(in_detector_pixels=True) == given
        assert same.at(2.0) == same


@pytest.mark.parametrize(
    ("scale", "n_pixels", "kernel_size_px"), [(0.03, 19, 5), (0.06, 5, 3), (0.1, 3, 3)]
)
def test_settings_mean_the_same_on_the_sky(scale, n_pixels, kernel_size_px):
    ratio = 0.05 / scale
    settings = Settings.load(preset="deep").detect.at(ratio)
    assert (settings.n_pixels, settings.deblend_n_pixels) == (n_pixels, n_pixels)
    assert settings.kernel_size_px == kernel_size_px
    assert settings.kernel_fwhm_px == pytest.approx(2.5 * ratio)
    assert (settings.box_px, settings.coverage_box_px) == (round(100 * ratio), round(100 * ratio))
    assert settings.n_sigma == 2.0


def test_pixels_of_the_image_are_taken_at_their_word():
    given = DetectSettings(in_detector_pixels=False, n_pixels=11)
    assert given.at(0.05 / 0.03) is given


@pytest.mark.parametrize(
    ("detector", "scale", "ratio"),
    [("WFC", 0.05, 1), ("WFC", 0.0492, 1), ("WFC", 0.03, 5 / 3), ("HRC", 0.025, 1)],
)
def test_detector_pixels_of_an_image(as_image, detector, scale, ratio):
    def rescale(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= scale / 0.05
        hdus[0].header["DETECTOR"] = detector
        hdus["SCI"].header["PHOTMODE"] = f"ACS {detector} F775W"
        hdus["SCI"].header["PHOTFLAM"] = 1.9e-19 if detector == "HRC" else 9.93e-20

    image = as_image(np.random.default_rng(1).normal(0, 0.01, (60, 60)), rescale)
    assert image.detector_px == pytest.approx(ratio, rel=1e-3)
    assert (image.detector_px == 1) == (ratio == 1)


def test_least_areas_follow_the_scale(as_image):
    """A speck of 3 x 3 px has enough pixels of 0.05 arcsec for deep; of 0.025 it needs 28."""
    sci = np.random.default_rng(2).normal(0, 0.01, (160, 160))
    sci[80:83, 80:83] += 0.04

    def finer(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= 0.5

    deep = Settings.load(preset="deep").detect.replace(min_coverage=0.0)
    assert len(detect.run(as_image(sci), deep).sources) == 1
    assert len(detect.run(as_image(sci, finer), deep).sources) == 0
    kept = deep.replace(in_detector_pixels=False)
    assert len(detect.run(as_image(sci, finer), kept).sources) == 1


def test_coarse_pixels_of_noise_are_no_sources(as_image):
    """Of pixels of 0.1 arcsec, 2 of them, unsmoothed, were a source: hundreds in blank sky."""
    sci = np.random.default_rng(2).normal(0, 0.01, (400, 400))

    def coarser(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= 2.0

    deep = Settings.load(preset="deep").detect.replace(min_coverage=0.0)
    assert len(detect.run(as_image(sci), deep).sources) < 5
    assert len(detect.run(as_image(sci, coarser), deep).sources) < 50
    one = DetectSettings(n_pixels=1, kernel_size_px=1).at(0.5)
    assert (one.n_pixels, one.kernel_size_px) == (1, 1)
