"""Saturated stars from the image to the frame of their field."""

from dataclasses import replace

import numpy as np
import pytest

from bycatch.kernels.exposures import mask_shares
from bycatch.settings import AlignSettings, DetectSettings
from bycatch.sky.gaia import from_table
from bycatch.stages import align, detect, measure
from bycatch.stages.detect import saturated_stars
from bycatch.testing.scene import star_table

FULL_WELL_E, SECONDS = 77400.0, 500.0  # two exposures of so long
X = np.array([80.3, 230.7, 90.2, 240.1, 160.4])
Y = np.array([70.6, 80.2, 190.8, 180.3, 130.5])
RATE = np.array([8000.0, 12000.0, 5000.0, 20000.0, 3000.0])
SETTINGS = DetectSettings(n_pixels=20, coverage_box_px=21)


def bled(image_e, up_share=0.3):
    """Return an image with what is above the full well run along the columns, unevenly."""
    out = image_e.copy()
    for column in np.unique(np.nonzero(image_e > FULL_WELL_E)[1]):
        rows = np.flatnonzero(image_e[:, column] > FULL_WELL_E)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            excess = (out[run, column] - FULL_WELL_E).sum()
            out[run, column] = FULL_WELL_E
            for share, way in ((up_share, 1), (1 - up_share, -1)):
                rest, row = share * excess, run[-1] + 1 if way > 0 else run[0] - 1
                while rest > 0 and 0 <= row < len(out):
                    taken = min(rest, FULL_WELL_E - out[row, column])
                    out[row, column] += taken
                    rest, row = rest - taken, row + way
    return out


@pytest.fixture(scope="module")
def field(psf):
    """Return five saturated stars among fainter ones, e/s."""
    shape, random = (260, 320), np.random.default_rng(5)
    light = np.zeros(shape)
    for x, y, rate in zip(X, Y, RATE, strict=True):
        light += rate * psf(shape, x, y)
    for x, y, rate in zip(
        random.uniform(20, 300, 14), random.uniform(20, 240, 14), np.geomspace(3, 80, 14),
        strict=True,
    ):  # fmt: skip
        if np.hypot(X - x, Y - y).min() > 35:
            light += rate * psf(shape, x, y)
    light_e = random.poisson(light * SECONDS).astype(float)
    return (bled(light_e) / SECONDS + random.normal(0.0, 0.02, shape)).astype(np.float32)


@pytest.fixture
def image(field, as_image):
    return as_image(field)


def nearest(table, x, y):
    return int(np.argmin(np.hypot(table["x"] - x, table["y"] - y)))


def test_each_saturated_star_is_one_source_at_its_place(image):
    table = detect.run(image, SETTINGS).sources
    measured = ~np.ma.getmaskarray(table["centre_err_px"])
    assert measured.sum() == len(X)
    for x, y in zip(X, Y, strict=True):
        k = nearest(table, x, y)
        assert measured[k]
        error = table["centre_err_px"][k]
        assert np.hypot(table["x"][k] - x, table["y"][k] - y) < max(3 * error, 0.12)
        assert saturated_stars.SCATTER_PX <= error < 0.2
        assert 0 < table["centre_shared_err_px"][k] < 1.001 * saturated_stars.OFFSET_PX
        assert table["peak"][k] > image.meta.saturation_rate
    assert (np.ma.getmaskarray(table["centre_shared_err_px"]) == ~measured).all()


def test_the_plain_centroid_would_follow_the_column(image, monkeypatch):
    monkeypatch.setattr(saturated_stars, "centre_on_wings", lambda _, table, __: table)
    table = detect.run(image, SETTINGS).sources
    k = nearest(table, X[3], Y[3])
    assert abs(table["y"][k] - Y[3]) > 0.3


def test_other_sources_are_left_as_they_are(image, monkeypatch):
    table = detect.run(image, SETTINGS).sources
    monkeypatch.setattr(saturated_stars, "centre_on_wings", lambda _, table, __: table)
    plain = detect.run(image, SETTINGS).sources
    others = np.ma.getmaskarray(table["centre_err_px"])
    for name in set(table.colnames) - {"x", "y", "centre_err_px", "centre_shared_err_px"}:
        np.testing.assert_array_equal(table[name], plain[name])
    for name in ("x", "y"):
        np.testing.assert_array_equal(table[name][others], plain[name][others])


def test_charge_without_wings_is_no_star(field, as_image):
    sci = field.copy()
    sci[30:45, 160:162] = 150.0  # a bright track
    table = detect.run(as_image(sci), SETTINGS).sources
    k = nearest(table, 160.5, 37.0)
    assert abs(table["x"][k] - 160.5) < 1
    assert np.ma.getmaskarray(table["centre_err_px"])[k]


def test_an_image_that_seems_full_everywhere_is_left_alone(as_image, scene):
    image = as_image(scene[1])
    wrong = replace(image, meta=replace(image.meta, exptime_s=1e9))
    table = detect.run(wrong, SETTINGS).sources
    assert np.ma.getmaskarray(table["centre_err_px"]).all()


def test_stars_show_by_how_much_wings_are_off_from_cores(psf, as_image):
    shape, random = (260, 320), np.random.default_rng(6)
    sci = random.normal(0.0, 0.005, shape)
    for k in range(20):
        x, y = 30.0 + 65 * (k % 5) + random.uniform(), 30.0 + 65 * (k // 5) + random.uniform()
        # The wings of all stars lie 0.2 px to the right of their cores.
        sci += 60.0 * psf(shape, x, y) + 40.0 * psf(shape, x + 0.2, y, fwhm_px=5.0)
    image = as_image(sci.astype(np.float32))
    table = detect.run(image, SETTINGS).sources
    offset, error = saturated_stars._offset(image, table, 100.0, 1.0)
    assert offset[0] > 5 * error
    assert abs(offset[1]) < 3 * error
    assert error < 0.03
    nothing = saturated_stars._offset(image, table[:0], 100.0, 1.0)
    assert nothing[0].tolist() == [0.0, 0.0]
    assert nothing[1] == pytest.approx(saturated_stars.OFFSET_PX)


def test_what_is_too_far_off_for_wings_does_not_count(psf, as_image):
    sci = np.random.default_rng(7).normal(0.0, 0.005, (120, 120))
    sci += 60.0 * psf(sci.shape, 60.0, 60.0) + 40.0 * psf(sci.shape, 61.0, 60.0, fwhm_px=5.0)
    image = as_image(sci.astype(np.float32))
    table = detect.run(image, SETTINGS).sources
    offset, error = saturated_stars._offset(image, table, 100.0, 1.0)
    assert len(table) == 1
    assert offset.tolist() == [0.0, 0.0]
    assert error == pytest.approx(saturated_stars.OFFSET_PX)


def frame_of(image, sources):
    """Align an image whose header is off by 2.6 arcsec and 0.25 deg; return result and error."""
    ra, dec = image.wcs.all_pix2world(X, Y, 0)
    # The image is of 2016.0, as Gaia's positions.
    stars = from_table(star_table(ra, dec, 26.0 - 2.5 * np.log10(RATE)), "test")
    wrong = image.wcs.deepcopy()
    wrong.wcs.crval = wrong.wcs.crval + np.array([2.2 / np.cos(np.radians(-8.47)), -1.4]) / 3600
    c, s = np.cos(np.radians(0.25)), np.sin(np.radians(0.25))
    wrong.wcs.cd = np.array([[c, s], [-s, c]]) @ wrong.wcs.cd
    wrong.wcs.set()
    field = align.FieldImage.of(replace(image, wcs=wrong), sources)
    result = align.run([field], stars, AlignSettings()).images[0]
    got_ra, got_dec = result.wcs.all_pix2world(X, Y, 0)
    error = np.hypot((got_ra - ra) * np.cos(np.radians(dec)), got_dec - dec) * 3.6e6
    return result, error


def test_saturated_stars_alone_align_a_field(image):
    sources = detect.run(image, SETTINGS).sources
    result, error_mas = frame_of(image, sources)
    assert result.grade in "AB"
    assert result.n_matches == len(X)
    assert error_mas.max() < 6.0
    assert 0.5 < result.astrom_err_mas < 10.0  # no other star says where cores are


def test_without_them_the_message_says_what_was_tried_and_what_was_left_out(image):
    sources = detect.run(image, SETTINGS).sources
    sources["centre_err_px"] = np.nan
    result, _ = frame_of(image, sources)
    assert result.grade == "F"
    reason = result.reason
    assert "tried: 5 Gaia stars in range, 5 on the image by its header, with " in reason
    assert "shifts up to 3 arcsec, rolls up to 0.3 deg" in reason
    assert "5 saturated" in reason


def test_errors_of_their_own_reach_the_catalog(image):
    detection = detect.run(image, SETTINGS)
    targets = measure.Targets.of(detection.sources)
    table = measure.run(image, targets, pixels=measure.Pixels(None, detection.segmentation)).table
    scale_mas = image.scale_arcsec * 1000
    for x, y in zip(X, Y, strict=True):
        k = nearest(table, x, y)
        expected = detection.sources["centre_err_px"][k] * scale_mas
        assert table["RA_GAIA_WCS_err"][k] == pytest.approx(expected, rel=1e-6)
        assert table["p_star"][k] == 1.0


def test_an_elongated_star_on_the_mask_counts_with_its_wings(image):
    detection = detect.run(image, SETTINGS)
    sources = detection.sources.copy()
    sources["on_cr_mask"] = mask_shares(
        detection.segmentation, detection.segmentation > 0, sources["id"]
    )
    sources["n_exp"], sources["ellipticity"] = 1, 0.9
    result, _ = frame_of(image, sources)
    assert result.n_matches == len(X)
