"""What a linear frame can't hold: the error of the frame knows it, and SIP takes it out."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.kernels.distortion import distortion
from bycatch.pipeline.frames import frame_header, read_frame, write_frame
from bycatch.settings import AlignSettings
from bycatch.sky.astrometry import FrameError, VarianceMap
from bycatch.sky.gaia import from_table
from bycatch.stages import align
from bycatch.stages.align.coverage import coverage_of

SHAPE = (2000, 2100)
SETTINGS = AlignSettings()
FREE = np.array([np.inf, np.inf, 2.6**2])
RNG = np.random.default_rng
MIDDLE, LINES = np.zeros(2), np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.6, -0.8]])


# ---------------------------------------------------------------- the kernel


def waves(xy, size=20.0, reach=70.0):
    """A smooth field of offsets, mas, of ``size`` rms per axis."""
    a, b = xy.T / reach
    return (
        size * np.sqrt(2) * np.stack([np.sin(3.0 * a + b + 0.4), np.sin(a - 3.0 * b + 2)], axis=1)
    )


def told(n, seed, field=None, error=1.5, outliers=()):
    """What n stars tell of a field."""
    rng = RNG([n, seed])
    xy = rng.uniform(-50, 50, (n, 2))
    apart = rng.normal(0, error, (n, 2)) + (0.0 if field is None else field(xy))
    for k in outliers:
        apart[k] += [30.0, -25.0]
    return distortion(xy, apart, np.full((n, 2), error**2), FREE, 70.0, MIDDLE, LINES), xy


def test_nothing_is_found_in_noise():
    likely = [told(n, seed)[0] for n in (3, 8, 30) for seed in range(10)]
    assert max(result.odds for result in likely) < 1
    assert np.median([result.odds for result in likely]) < 0.35


def test_without_a_field_the_error_is_that_of_the_linear_fit():
    result, xy = told(40, 1)
    middle = xy.mean(axis=0)[np.newaxis]
    assert np.sqrt(result.at(middle)[1]) == pytest.approx(1.5 / np.sqrt(40), rel=0.25)


@pytest.mark.parametrize(("n", "limit_mas"), [(6, 25.0), (20, 15.0), (100, 3.0)])
def test_a_smooth_field_is_recovered_within_its_error(n, limit_mas):
    pulls, errors = [], []
    for seed in range(8):
        result, _ = told(n, seed, waves)
        assert result.odds > 1
        at = RNG(seed).uniform(-50, 50, (100, 2))
        offset, variance = result.at(at)
        pulls.append((offset - waves(at)) / np.sqrt(variance))
        errors.append(offset - waves(at))
    assert np.sqrt(np.mean(np.square(errors))) < limit_mas
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def step(xy):
    """Two chips that are off by 20 and 10 mas from each other."""
    return np.where(xy[:, 1:] > 0, [[10.0, -5.0]], [[-10.0, 5.0]])


@pytest.mark.parametrize("n", [6, 12, 30])
def test_a_step_between_two_halves_is_recovered_within_its_error(n):
    pulls = []
    for seed in range(12):
        result, _ = told(n, seed, step)
        at = RNG(seed).uniform(-50, 50, (100, 2))
        offset, variance = result.at(at)
        pulls.append((offset - step(at)) / np.sqrt(variance))
    assert np.mean(np.abs(pulls) > 3) < 0.02
    assert np.sqrt(np.mean(np.square(pulls))) > 0.5


def test_a_half_without_a_star_may_be_off():
    rng = RNG(4)
    xy = np.column_stack([rng.uniform(-50, 50, 8), rng.uniform(-50, -5, 8)])
    field = distortion(xy, rng.normal(0, 1, (8, 2)), np.ones((8, 2)), FREE, 70.0, MIDDLE, LINES)
    near, far = (np.sqrt(field.at(np.array([[0.0, y]]))[1]).max() for y in (-25.0, 25.0))
    assert near < 2.0
    assert 5.0 < far < 20.0


def test_outliers_are_no_distortion():
    result, _ = told(20, 3, outliers=(4, 11))
    assert result.odds < 1
    assert np.abs(result.at(np.zeros((1, 2)))[0]).max() < 2.0


def test_far_from_all_stars_a_field_is_known_to_its_size():
    rng = RNG(5)
    xy = np.column_stack([rng.uniform(-50, 50, 30), rng.uniform(-50, -5, 30)])
    field = distortion(xy, waves(xy), np.full((30, 2), 1.0), FREE, 70.0, MIDDLE, LINES)
    near, far = (np.sqrt(field.at(np.array([[0.0, y]]))[1]).max() for y in (-25.0, 45.0))
    assert near < 3.0
    assert far > 10.0


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_stars_show_nothing(n):
    result, _ = told(n, 0)
    assert 0 < result.odds < 1
    assert np.isfinite(result.at(np.array([[10.0, 20.0]]))[1]).all()


def test_many_stars_are_thinned():
    result, xy = told(450, 0, waves)
    assert len(result.xy_arcsec) == 90
    assert np.isfinite(result.left_out).all(axis=1).sum() == 90
    assert result.left_out.shape == xy.shape


# ---------------------------------------------------------------- fields


def tan_wcs(east_mas=0.0, north_mas=0.0, roll_deg=0.0):
    """The true WCS, or one that is off."""
    wcs, turn = WCS(naxis=2), np.deg2rad(31.0 + roll_deg)
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.ctype, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], "ICRS"
    wcs.wcs.crval = [36.92 + east_mas / 3.6e6, -8.47 + north_mas / 3.6e6]
    wcs.wcs.crpix = [SHAPE[1] / 2, SHAPE[0] / 2]
    wcs.wcs.cd = 0.05 / 3600 * np.array([[-c, s], [s, c]])
    wcs.wcs.set()
    return wcs


def displaced(n_star, seed, moved, n_images=1):
    """Images whose detections are displaced (mas along x and y), truth and stars."""
    rng, truth, n = RNG([n_star, seed, 6]), tan_wcs(), n_star + 60
    x, y = rng.uniform([[0.0], [0.0]], [[SHAPE[1] - 1.0], [SHAPE[0] - 1.0]], (2, n))
    ra, dec = truth.all_pix2world(x[:n_star], y[:n_star], 0)
    error = rng.normal(0, 0.3, (2, n_star)) / 3.6e6
    same = {name: np.full(n_star, 0.3) for name in ("ra_error", "dec_error")}
    same |= {name: np.full(n_star, 0.01) for name in ("pmra_error", "pmdec_error")}
    same |= {"pmra": np.zeros(n_star), "pmdec": np.zeros(n_star)}
    stars = Table(
        {"source_id": np.arange(n_star) + 1, "ra": ra + error[0], "dec": dec + error[1]}
        | same
        | {"ref_epoch": np.full(n_star, 2016.0)}
    )
    dx, dy = moved(x, y)
    images = [
        align.FieldImage(
            name=f"i{k}",
            filter="F606W",
            sources=Table(
                {
                    "x": x + dx / 50.0 + rng.normal(0, 0.02, n),
                    "y": y + dy / 50.0 + rng.normal(0, 0.02, n),
                    "flux": np.r_[np.full(n_star, 200.0), np.full(60, 20.0)],
                }
            ),
            wcs=tan_wcs(400.0 + 10.0 * k, -300.0, 0.01),
            wcsname="IDC_0461802ej",
            shape=SHAPE,
            mjd=57402.0,
            exptime_s=1000.0,
            zeropoint_ab=np.nan,
            saturation_rate=np.inf,
        )
        for k in range(n_images)
    ]
    return images, truth, from_table(stars, "test")


def errors_of(result, truth, moved):
    """Errors and stated errors (400, 2) of a frame all over an image, mas."""
    ny, nx = SHAPE
    y, x = (v.ravel() for v in np.mgrid[20 : ny - 20 : 20j, 20 : nx - 20 : 20j])
    dx, dy = moved(x, y)
    ra, dec = truth.all_pix2world(x, y, 0)
    outcome = result.wcs.all_pix2world(x + dx / 50.0, y + dy / 50.0, 0)
    offset = (
        np.column_stack([(outcome[0] - ra) * np.cos(np.radians(dec)), outcome[1] - dec]) * 3.6e6
    )
    return offset, np.column_stack(result.frame_error.at(*outcome))


def warp(x, y):
    a, b = 2 * x / SHAPE[1] - 1, 2 * y / SHAPE[0] - 1
    return 28 * np.sin(2.6 * a + 1.1 * b + 0.4), 28 * np.sin(1.3 * a - 2.9 * b + 1.9)


def chips(x, y):
    return 20.0 * (y > SHAPE[0] / 2), -10.0 * (y > SHAPE[0] / 2)


def mirrored(x, y):
    return np.where(y > SHAPE[0] / 2, SHAPE[1] - 1 - 2 * x, 0) * 50.0, 0 * y


def apart(x, y):
    return 400.0 * (y > SHAPE[0] / 2), 0 * y


def test_many_stars_take_a_distortion_out():
    images, truth, reference = displaced(120, 1, warp, n_images=2)
    image_result = align.run(images, reference, SETTINGS).images
    for result in image_result:
        offset, errors = errors_of(result, truth, warp)
        assert result.geometry == "sip"
        assert result.wcs.sip is not None
        assert result.grade == "A"
        assert np.sqrt(np.mean(offset**2)) < 5.0
        assert 0.7 < np.percentile(np.abs(offset / errors), 68.3) < 1.4
        assert result.distortion_mas == pytest.approx(20, rel=0.5)
        assert 5 < result.distortion_arcsec < 60
        assert result.loo_rms_mas < 6.0
        assert "SIP" in result.reason
    # The images stay aligned with one another.
    x, y = np.array([100.0, 1000.0, 2000.0]), np.array([1900.0, 50.0, 1000.0])
    one, two = (np.array(r.wcs.all_pix2world(x, y, 0)) for r in image_result)
    assert np.abs(one - two).max() * 3.6e6 < 1.0


@pytest.mark.parametrize(("n_star", "moved"), [(7, warp), (12, chips), (40, chips)])
def test_the_error_knows_what_is_left(n_star, moved):
    pulls, far = [], []
    for seed in range(6):
        images, truth, reference = displaced(n_star, seed, moved)
        (result,) = align.run(images, reference, SETTINGS).images
        if result.aligned:
            offset, errors = errors_of(result, truth, moved)
            pulls.append(np.percentile(np.abs(offset / errors), 68.3))
            far.append(np.mean(np.abs(offset / errors) > 3))
    assert len(pulls) >= 4
    assert 0.4 < np.median(pulls) < 1.5
    assert np.mean(far) < 0.05


def test_without_a_distortion_nothing_is_bent():
    for seed in range(4):
        images, _, reference = displaced(40, seed, lambda x, y: (0 * x, 0 * y))
        (result,) = align.run(images, reference, SETTINGS).images
        assert result.wcs.sip is None
        assert result.distortion_mas == 0
        assert result.grade == "A"
        assert result.astrom_err_mas < 1.0


@pytest.mark.parametrize("moved", [mirrored, apart])
@pytest.mark.parametrize("n_star", [8, 16, 40])
def test_a_half_that_matches_nothing_takes_the_a_away(n_star, moved):
    images, _, reference = displaced(n_star, 2, moved)
    (result,) = align.run(images, reference, SETTINGS).images
    assert result.grade != "A"
    if n_star >= 40:
        assert result.grade == "D"
        assert "of one half of the image match" in result.reason
        ra, dec = result.wcs.all_pix2world([1000.0, 1000.0], [100.0, 1900.0], 0)
        lower, upper = result.frame_error.at(ra, dec)[0]
        assert lower < 20 < 99 < upper


# ---------------------------------------------------------------- coverage


def test_coverage():
    rng = RNG(1)
    x, y = rng.uniform(0, 1000, (2, 40))
    everywhere = np.ones(40, dtype=bool)
    assert coverage_of(x, y, everywhere, (1000, 1000)).reason == ""
    one_side = coverage_of(x, y, y < 500, (1000, 1000))
    assert "0 of" in one_side.reason
    below, above = one_side.is_denied(np.array([500.0, 500.0]), np.array([100.0, 900.0]))
    assert not below
    assert above
    lower = y < 500
    assert "no pair" in coverage_of(x[lower], y[lower], everywhere[lower], (1000, 1000)).reason
    none = np.empty(0)
    assert coverage_of(none, none, none.astype(bool), (1000, 1000)).denied is None


# ---------------------------------------------------------------- on disk


def test_sip_and_the_map_of_errors_come_back(tmp_path):
    images, _, reference = displaced(120, 1, warp)
    (result,) = align.run(images, reference, SETTINGS).images
    path = tmp_path / "root_wcs.fits"
    write_frame(result, path)
    frame = read_frame(path)
    x, y = np.array([5.0, 1000.0, 2050.0]), np.array([1990.0, 300.0, 10.0])
    ra, dec = result.wcs.all_pix2world(x, y, 0)
    image = fits.PrimaryHDU(np.zeros((2, 2)), header=frame_header(result))
    for back in (frame.wcs, WCS(frame_header(result)), WCS(image.header)):
        assert np.abs(np.array(back.all_pix2world(x, y, 0)) - [ra, dec]).max() * 3.6e6 < 1e-3
    assert np.array(frame.error.at(ra, dec)) == pytest.approx(
        np.array(result.frame_error.at(ra, dec)), rel=1e-9
    )
    # Readers that do not iterate use AP and BP.
    there = frame.wcs.wcs_world2pix(np.column_stack([ra, dec]), 1)
    back = frame.wcs.sip.foc2pix(there - frame.wcs.wcs.crpix, 1)
    assert np.abs(back - np.column_stack([x, y]) - 1).max() < 0.005
    assert frame.header["DISTMAS"] == pytest.approx(result.distortion_mas)


def test_a_variance_map_is_linear_between_its_points():
    eta, xi = np.mgrid[-20:21:10, -40:41:20]
    values = np.stack([5.0 + 0.1 * xi + 0.05 * eta, 9.0 + 0.0 * xi])
    grid = VarianceMap(np.array([-40.0, -20.0]), np.array([20.0, 10.0]), values)
    at = grid.at(np.array([3.0, -39.0, 400.0]), np.array([-7.0, 19.0, 0.0]))
    assert at[0] == pytest.approx([5.0 + 0.3 - 0.35, 5.0 - 3.9 + 0.95, 9.0])
    assert at[1] == pytest.approx([9.0, 9.0, 9.0])
    error = FrameError(10.0, 0.0, np.zeros((6, 6)), grid)
    assert error.at(np.array([10.0]), np.array([0.0]))[1] == pytest.approx([3.0])
