"""Pieces of galaxies: joined where they are noise, named where they stand out."""

import numpy as np
import pytest

from bycatch.catalogs.flags import Flag
from bycatch.kernels.pieces import contacts, rename_labels
from bycatch.settings import DetectSettings, Settings
from bycatch.stages import detect, measure
from bycatch.stages.detect import pieces

NOISE, SHAPE = 0.008, (160, 180)
DEEP = Settings.load(preset="deep").detect


def galaxy(x, y, rate, sigma_px, ratio=0.6):
    """Return the light of an exponential disc with its long axis along x."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    light = np.exp(-np.hypot((u - x) / sigma_px, (v - y) / (sigma_px * ratio)))
    return rate * light / light.sum()


@pytest.fixture
def found(as_image, psf):
    """Return what `deep` finds of a galaxy and stars, (x, y, rate) each."""

    def run(*stars, rate=60.0, size_px=7.0, seed=3, **changes):
        sci = np.random.default_rng(seed).normal(0, NOISE, SHAPE)
        sci += galaxy(90.0, 80.0, rate, size_px) if rate else 0.0
        for x, y, light in stars:
            sci += light * psf(SHAPE, x, y, 2.2)
        image = as_image(sci.astype(np.float32))
        return image, detect.run(image, DEEP.model_copy(update={"coverage_box_px": 21} | changes))

    return run


def near(table, x, y, radius_px=1.5):
    return np.flatnonzero(np.hypot(table["x"] - x, table["y"] - y) < radius_px)


# ---------------------------------------------------------------- the kernel


def test_sources_that_touch_have_a_pass_and_moments():
    smooth = np.zeros((6, 9), np.float32)
    labels = np.zeros((6, 9), np.int32)
    smooth[2, 1:8] = [2, 5, 3, 1, 2, 4, 2]
    labels[2, 1:5], labels[2, 5:8] = 1, 2
    smooth[5, 8], labels[5, 8] = 7, 3  # touches none
    borders = contacts(smooth, labels, 3)
    assert list(zip(borders.first, borders.second, borders.saddle, strict=True)) == [(1, 2, 1.0)]
    assert borders.flux.tolist() == [0, 11, 8, 0]
    assert borders.peak.tolist() == [0, 5, 4, 0]
    assert (borders.peak_x[1], borders.peak_y[1], borders.peak_x[2]) == (2, 2, 6)
    assert borders.xx[1] == pytest.approx((2 * 1 + 3 * 1 + 1 * 4) / 11)
    assert borders.yy[1] == borders.xy[1] == 0


def test_corners_touch_and_the_highest_pass_counts():
    smooth = np.array([[4, 1, 9], [1, 3, 1], [1, 1, 2]], np.float32)
    labels = np.array([[1, 0, 3], [0, 2, 0], [0, 0, 2]], np.int32)
    borders = contacts(smooth, labels, 3)
    pairs = zip(
        borders.first.tolist(), borders.second.tolist(), borders.saddle.tolist(), strict=True
    )
    assert list(pairs) == [(1, 2, 3.0), (2, 3, 3.0)]


def test_labels_take_other_names():
    labels = np.array([[0, 1], [2, 3]], np.int32)
    assert rename_labels(labels, np.array([0, 2, 2, 1])).tolist() == [[0, 2], [2, 1]]


# ---------------------------------------------------------------- the stage


def test_a_galaxy_that_noise_cuts_is_one_source(found):
    n_before = n_after = 0
    for seed in range(8):
        # Faint for its size: noise makes peaks in its light.
        options = {"rate": 60.0, "size_px": 14.0, "seed": seed}
        _, cut = found(**options, deblend_prominence=0.0)
        _, whole = found(**options)
        n_before += len(near(cut.sources, 90, 80, 20))
        n_after += len(near(whole.sources, 90, 80, 20))
        labels = np.unique(whole.segmentation)
        assert labels.tolist() == list(range(len(labels)))
    assert n_before >= 11
    assert n_after <= 9


def test_a_knot_keeps_its_row_and_says_what_it_may_be_a_piece_of(found):
    image, result = found((98.0, 83.0, 5.0))
    knot, host = near(result.sources, 98, 83), near(result.sources, 90, 80)
    assert len(knot) == len(host) == 1
    assert result.sources["piece_of"][knot[0]] == result.sources["id"][host[0]]
    assert result.sources["piece_of"][host[0]] == 0
    table = measure.run(image, measure.Targets.of(result.sources)).table
    has = (np.asarray(table["flags"]) & int(Flag.PIECE)) > 0
    assert has.tolist() == (np.asarray(result.sources["piece_of"]) > 0).tolist()


def test_stars_beside_a_galaxy_or_a_star_are_no_pieces(found):
    _, result = found((118.0, 84.0, 20.0))
    assert len(near(result.sources, 118, 84)) == 1
    assert not result.sources["piece_of"].any()
    _, pair = found((60.0, 60.0, 60.0), (65.5, 61.0, 20.0), rate=0.0)
    assert len(pair.sources) == 2
    assert not pair.sources["piece_of"].any()


def test_a_faint_star_beside_a_bright_one_is_not_joined(found):
    _, result = found((60.0, 60.0, 60.0), (68.0, 60.0, 1.5), rate=0.0)
    assert len(near(result.sources, 68, 60)) == 1


def test_classic_joins_nothing(found):
    assert DetectSettings().deblend_prominence == 0
    _, all_of_them = found((98.0, 83.0, 5.0), deblend_prominence=0.0)
    _, fewer = found((98.0, 83.0, 5.0), deblend_prominence=1000.0)
    assert len(fewer.sources) < len(all_of_them.sources)


def test_the_numbers_of_the_documentation():
    assert (pieces.JOIN_REACH, pieces.REACH) == (3.0, 4.0)
    assert (pieces.STAR_PEAK, pieces.MOST_SHARE) == (0.045, 0.6)
    assert DEEP.deblend_prominence == 2.0
