"""Saturation, hot pixels and bad columns: simulated truth, slow twins, edges."""

import numpy as np
import pytest
from astropy.wcs import WCS

from bycatch.errors import UnreadableFile
from bycatch.images.chips import ChipQuality
from bycatch.kernels.columnruns import column_runs
from bycatch.pipeline.quality import exposure_files, read_quality
from bycatch.stages.measure.defects import (
    COLUMN_CORE_PX,
    COLUMN_REACH_PX,
    DQ_HOT,
    defects,
    defects_from_quality,
    flagged_exposures,
    on_bad_columns,
    one_pixel_sources,
)

NOISE = 0.01
SHAPE = (150, 170)


def sky(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(0, NOISE, shape)


def put_pixel(image, x, y, rate):
    """Add the light of one detector pixel at a sub-pixel place, as drizzling spreads it."""
    column, row = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - column, y - row
    image[row : row + 2, column : column + 2] += rate * np.outer([1 - fy, fy], [1 - fx, fx])


def looked_at(image, x, y, n_exp=1, peak=0.1):
    n = len(x)
    return defects(image, x, y, np.zeros(n), np.full(n, NOISE), np.full(n, n_exp), np.full(n, peak))


# ---------------------------------------------------------------- hot pixels


@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.5, 0.5), (0.2, 0.7), (0.95, 0.4)])
def test_one_pixel_is_distinguished_from_a_star(as_image, psf, phase):
    sci = sky()
    put_pixel(sci, 40 + phase[0], 50 + phase[1], 1.0)
    sci += 1.0 * psf(SHAPE, 100 + phase[0], 60 + phase[1])
    x, y = np.array([40, 100]) + phase[0], np.array([50, 60]) + phase[1]
    result = looked_at(as_image(sci, n_exposures=1), x, y)
    assert result.hot_pixel.tolist() == [True, False]
    assert not result.saturated.any()


def test_of_many_pixels_and_stars(as_image, psf):
    rng = np.random.default_rng(7)
    sci = sky((200, 400))
    gx, gy = (v.ravel() for v in np.meshgrid(np.arange(20, 390, 20.0), np.arange(20, 190, 20.0)))
    x, y = gx + rng.uniform(size=gx.size), gy + rng.uniform(size=gx.size)
    hot = np.arange(x.size) % 2 == 0
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        if hot[k]:
            put_pixel(sci, a, b, 0.4)
        else:
            near = np.s_[int(b) - 9 : int(b) + 10, int(a) - 9 : int(a) + 10]
            sci[near] += 0.9 * psf((19, 19), a - int(a) + 9, b - int(b) + 9)
    result = looked_at(as_image(sci, n_exposures=1), x, y).hot_pixel
    assert result[hot].mean() > 0.95
    assert result[~hot].mean() < 0.01


def test_tracks_faint_specks_and_several_exposures_are_not_hot(as_image):
    sci = sky()
    sci[30:36, 40] += 0.5
    sci[70, 80] += 3 * NOISE
    sci[100, 100] += 1.0
    x, y = [40.0, 80.0], [32.0, 70.0]
    image = as_image(sci)
    assert not looked_at(image, x, y).hot_pixel.any()
    assert looked_at(image, [100.0], [100.0]).hot_pixel.all()
    assert not looked_at(image, [100.0], [100.0], n_exp=2).hot_pixel.any()


def test_finer_output_pixels(as_image, psf):
    """Where a detector pixel is 1.67 output pixels wide, it fills three."""
    sci = sky()
    sci[50:52, 40:42] += 0.3
    sci[50:52, 42] += 0.1
    sci += 1.5 * psf(SHAPE, 100.3, 60.4, fwhm_px=3.6)
    where = np.array([40.6, 100.3]), np.array([50.5, 60.4])
    mask = one_pixel_sources(
        as_image(sci), *where, np.zeros(2), np.full(2, NOISE), detector_pixel_px=5 / 3
    )
    assert mask.tolist() == [True, False]


def test_hot_pixels_at_edges_gaps_and_nowhere(as_image):
    sci = sky()
    sci[0, 0] += 1
    sci[60, 60] += 1
    sci[60, 62] = np.nan
    x = np.array([0.0, 60.0, np.nan, 1e9, -50.0])
    y = np.array([0.0, 60.0, 5.0, 5.0, 5.0])
    result = looked_at(as_image(sci, n_exposures=1), x, y)
    assert not result.hot_pixel.any()
    assert not result.bad_column.any()
    none = looked_at(as_image(sci), np.empty(0), np.empty(0))
    assert none.hot_pixel.shape == none.bad_column.shape == (0,)


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize("tilt_deg", [0.0, -2.4, 2.4])
@pytest.mark.parametrize("sign", [1, -1])
def test_bad_columns_are_found_whatever_their_tilt(tilt_deg, sign):
    sci = sky((200, 120)).astype(np.float32)
    rows = np.arange(200)
    places = 60 + (rows - 100) * np.tan(np.radians(tilt_deg))
    column = np.floor(places).astype(int)
    share = places - column
    sci[rows, column] += sign * 0.04 * (1 - share)
    sci[rows, column + 1] += sign * 0.04 * share
    x, y = np.array([60.0, 61.0, 90.0, 30.0]), np.full(4, 100.0)
    mask = on_bad_columns(sci, x, y, np.full(4, NOISE))
    assert mask.tolist() == [True, True, False, False]


def test_stars_and_noise_are_no_columns(psf):
    shape = (300, 300)
    sci = sky(shape)
    yy, xx = np.indices(shape)
    distance = np.hypot(yy - 150, xx - 150) + 5
    sci += 500 * psf(shape, 150, 150)
    sci += np.where(np.abs(xx - 150) < 2, 30 / distance**2, 0)  # a spike
    rng = np.random.default_rng(2)
    x, y = rng.uniform(60, 240, (2, 3000))
    x[0] = y[0] = 150.0
    mask = on_bad_columns(sci.astype(np.float32), x, y, np.full(3000, NOISE))
    assert not mask[0]
    assert mask.mean() < 0.002


@pytest.mark.parametrize("per_px", [0.002, 0.02, 0.05])
def test_a_crowd_makes_no_columns(psf, per_px):
    """Stars above and below one another deviate as a column does: so do those beside."""
    rng = np.random.default_rng(7)
    sci = sky((260, 260))
    n = int(per_px * sci.size)
    stamp = psf((31, 31), 15, 15)
    for x, y, rate in zip(*rng.integers(16, 244, (2, n)), 10 ** rng.uniform(-1, 1.5, n),
                          strict=True):  # fmt: skip
        sci[y - 15 : y + 16, x - 15 : x + 16] += rate * stamp
    dead = sci.copy()
    dead[:, 130] *= 0.1
    dead[:, 130] -= 0.5
    x, y = rng.uniform(55, 205, (2, 1500))
    mask = on_bad_columns(sci.astype(np.float32), x, y, np.full(1500, NOISE))
    assert mask.mean() < 0.005
    mask = on_bad_columns(dead.astype(np.float32), x, y, np.full(1500, NOISE))
    assert mask[np.abs(x - 130) > 6].mean() < 0.005
    # In a dense crowd nothing tells it, but the data quality of the exposures.
    assert mask[np.abs(x - 130) < 1.5].mean() > 0.9 or per_px > 0.002


def slow_contrast(sci, gap):
    """A pixel and the next minus the pairs beside them; NaN at the sides."""
    out, pair = np.full(sci.shape, np.nan), 0.5 * (sci[:, 1:] + sci[:, :-1])
    out[:, gap : -gap - 1] = pair[:, gap:-gap] - 0.5 * (pair[:, : -2 * gap] + pair[:, 2 * gap :])
    return out


def slow_stretches(contrast, column, row, s, slope, core, reach):
    """The deviations of four stretches of a column, near and far, up and down."""
    ny, nx = contrast.shape
    middle = (core + reach + 1) // 2
    parts = []
    for side in (1, -1):
        for first, end in ((core, middle), (middle, reach)):
            step = side * np.arange(first, end)
            rows, columns = row + step, column + np.floor(slope * step + 0.5).astype(int)
            on = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
            values = np.full(len(step), np.nan)
            values[on] = contrast[rows[on], columns[on]] / s
            good = np.isfinite(values)
            enough = good.sum() >= 0.75 * len(step)
            total = np.clip(values[good], -4, 4).sum()
            parts.append(total / np.sqrt(2 * good.sum()) if enough else np.nan)
    return np.array(parts)


def slow_column_runs(sci, gap, x, y, noise, slopes, n_sigma, core, reach):
    """The kernel as plain numpy, position by position."""
    contrast = slow_contrast(sci.astype(float), gap)
    aside = 2 * gap + 1 + 2 * np.arange(12)
    out = []
    for a, b, s in zip(x, y, noise, strict=True):
        is_hit = False
        for slope in slopes if np.isfinite(a + b) and s > 0 else []:
            for offset in range(-2, 3):
                at = (round(b), s, slope, core, reach)
                own = slow_stretches(contrast, round(a) + offset, *at)
                beside = np.concatenate([
                    slow_stretches(contrast, round(a) + offset + step, *at)
                    for step in np.concatenate([-aside, aside])
                ])  # fmt: skip
                finite_values = np.abs(beside[np.isfinite(beside)])
                scatter = 1.4826 * np.median(finite_values) if len(finite_values) >= 20 else np.nan
                for sign in (1, -1):
                    near, far = sign * own[::2], sign * own[1::2]
                    is_hit |= bool((near > n_sigma).all() and (far > n_sigma).all()
                                and (far > 0.5 * near).all()
                                and sign * own.mean() > 3.0 * scatter)  # fmt: skip
        out.append(is_hit)
    return np.array(out, dtype=bool)


def test_the_kernel_is_its_slow_twin():
    rng = np.random.default_rng(4)
    sci = rng.normal(0, NOISE, (80, 60)).astype(np.float32)
    sci[:, 20:22] += 0.9 * NOISE
    sci[:, 41] -= 1.8 * NOISE
    sci[rng.uniform(size=sci.shape) < 0.005] = np.nan
    x = np.concatenate([rng.uniform(-5, 65, 60), [np.nan, 20, 1e12, 41]])
    y = np.concatenate([rng.uniform(-5, 85, 60), [5, np.inf, 5, 40]])
    noise = np.full(64, NOISE)
    noise[3] = 0
    arguments = (sci, 2, x, y, noise, [-0.03, 0.0, 0.03], 0.9, 3, 20)
    mask, expected = column_runs(*arguments), slow_column_runs(*arguments)
    assert 3 < expected.sum() < 50
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("shape", "has_columns"),
    [((1, 1), False), ((3, 200), False), ((200, 3), False), ((5, 5), False),
     ((45, 70), True), ((41, 6), False), ((41, 41), True)],
)  # fmt: skip
def test_the_kernel_is_its_slow_twin_on_small_images(shape, has_columns):
    rng = np.random.default_rng(5)
    ny, nx = shape
    sci = rng.normal(0, NOISE, shape).astype(np.float32)
    sci[:, nx // 2] += 5 * NOISE
    sci[rng.random(shape) < 0.01] = np.nan
    x, y = rng.uniform(-5, nx + 5, 120), rng.uniform(-5, ny + 5, 120)
    x[:60], y[:30] = nx // 2, ny // 2 + rng.integers(-3, 4, 30)
    x[60:90], y[40:80] = np.rint(x[60:90]) + 0.5, np.rint(y[40:80]) + 0.5
    noise = np.full(120, NOISE)
    noise[[0, 10, 20]] = np.nan, -1, np.inf
    arguments = (sci, 2, x, y, noise, [-0.03, 0.0, 0.03], 0.9, 3, 20)
    mask, expected = column_runs(*arguments), slow_column_runs(*arguments)
    np.testing.assert_array_equal(mask, expected)
    assert expected.any() == has_columns
    assert not mask[[0, 10, 20]].any()


def test_without_positions_or_slopes_there_are_no_columns():
    sci = sky((40, 50)).astype(np.float32)
    assert column_runs(sci, 2, [], [], [], [0.0], 0.9, 3, 20).shape == (0,)
    assert not column_runs(sci, 2, [20.0], [20.0], [NOISE], [], 0.0, 3, 20).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3)])
def test_tiny_images_have_no_columns(shape):
    mask = on_bad_columns(np.ones(shape, np.float32), np.zeros(1), np.zeros(1), np.full(1, NOISE))
    assert not mask.any()


def test_reach_is_larger_than_core():
    assert COLUMN_REACH_PX > 3 * COLUMN_CORE_PX


# ---------------------------------------------------------------- saturation, data quality


def test_saturation_is_per_exposure(as_image):
    """Two exposures of 500 s: a pixel near 77 ke in each is at 0.8 x 155 e/s or more."""
    image = as_image(sky())
    limit = image.meta.saturation_rate
    assert limit == pytest.approx(image.meta.full_well_e * 0.8 / 500, rel=0.15)
    flaws = defects(
        image, [5.0, 9.0, 9.0], [5.0, 9.0, 9.0], np.zeros(3), np.full(3, NOISE), np.full(3, 2),
        [1.01 * limit, 0.99 * limit, np.nan],
    )  # fmt: skip
    assert flaws.saturated.tolist() == [True, False, False]


def distorted(shift_px=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval, wcs.wcs.crpix = [36.9, -8.4], [101.0 + shift_px, 101.0]
    wcs.wcs.cd = 0.05 / 3600 * np.array([[-1.0, 0.05], [0.0, 1.0]])
    header = wcs.to_header(relax=True)
    header["A_ORDER"], header["B_ORDER"] = 2, 2
    header["A_2_0"], header["B_1_1"] = 2e-5, -3e-5
    header["NAXIS1"], header["NAXIS2"] = 200, 200
    return WCS(header)


def flat():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [36.9, -8.4], [151.0, 131.0]
    wcs.wcs.cd = 0.05 / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    return wcs


def test_quality_is_mapped_through_the_distortion():
    wcs, chip = flat(), distorted()
    dq = np.zeros((200, 200), np.int16)
    rng = np.random.default_rng(3)
    rows, columns = rng.integers(5, 195, (2, 40))
    dq[rows, columns] = DQ_HOT | 64
    x, y = wcs.all_world2pix(*chip.all_pix2world(columns, rows, 0), 0)
    x, y = np.append(x, [np.nan, -900.0]), np.append(y, [5.0, -900.0])
    has_flag, covering = flagged_exposures(wcs, x, y, (ChipQuality(dq, chip),), DQ_HOT, 0.5)
    assert has_flag.tolist() == [1] * 40 + [0, 0]
    assert covering.tolist() == [1] * 40 + [0, 0]
    none, _ = flagged_exposures(wcs, x[:40], y[:40], (ChipQuality(dq, chip),), 256, 0.5)
    assert not none.any()


def test_one_saturated_exposure_spoils_half_with_a_defect_count():
    wcs = flat()
    exposures = tuple(ChipQuality(np.zeros((200, 200), np.uint16), distorted(k)) for k in range(3))
    exposures[0].dq[80, 80] = 256
    x, y = wcs.all_world2pix(*exposures[0].wcs.all_pix2world([80.0], [80.0], 0), 0)
    assert defects_from_quality(wcs, x, y, exposures).saturated.all()
    for k in (0, 1):
        flaws = defects_from_quality(wcs, x, y, exposures)
        assert flaws.hot_pixel.tolist() == [False]
        px, py = exposures[k].wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
        exposures[k].dq[round(float(py[0])), round(float(px[0]))] |= DQ_HOT
    flaws = defects_from_quality(wcs, x, y, exposures)
    assert flaws.hot_pixel.all()
    assert not flaws.bad_column.any()


def test_quality_of_a_real_exposure(shared):
    """A calibrated HRC frame: what its DQ says comes back at the same pixels, through its SIP."""
    from astropy.io import fits

    path = shared / "data" / "real_hrc" / "j8bt06nyq_flt.fits"
    (chip,) = read_quality([path])
    dq = fits.getdata(path, "DQ")
    np.testing.assert_array_equal(chip.dq, dq)
    rows, columns = np.nonzero(dq & 16)
    x, y = flat().all_world2pix(*chip.wcs.all_pix2world(columns, rows, 0), 0)
    flaws = defects_from_quality(flat(), x, y, (chip,))
    assert len(rows) > 50
    assert flaws.hot_pixel.all()


def test_exposures_are_found_beside_the_image(tmp_path):
    names = ("jabc01aaq", "jabc01baq")
    for name in (f"{names[0]}_flc.fits", f"{names[1]}_flt.fits.gz", "jabc01caq_flc.fits"):
        (tmp_path / name).touch()
    files = exposure_files([*names, names[0], "jabc01zzq"], [tmp_path, tmp_path / "none"])
    assert [p.name for p in files] == ["jabc01aaq_flc.fits", "jabc01baq_flt.fits.gz"]


def test_a_file_without_quality(tmp_path, new_drc):
    path = tmp_path / "some_flc.fits"
    new_drc(sky().astype(np.float32)).writeto(path)
    with pytest.raises(UnreadableFile, match="no DQ"):
        read_quality([path])


def test_without_exposures_nothing_is_reported():
    flaws = defects_from_quality(flat(), [3.0], [4.0], ())
    assert not (flaws.saturated | flaws.hot_pixel | flaws.bad_column).any()
    other = defects_from_quality(flat(), [], [], ())
    assert (other | other).saturated.shape == (0,)
