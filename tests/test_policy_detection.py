"""Detection, cosmic-ray mask and sorting: each decision about its limit."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bycatch.kernels import moments
from bycatch.settings import CrmaskSettings, DetectSettings
from bycatch.stages import crmask, detect
from bycatch.stages.sort import is_image_name

NOISE = 0.01


def sky(shape, seed=1):
    return np.random.default_rng(seed).normal(0, NOISE, shape)


# ---------------------------------------------------------------- detection


def one_source(as_image, n_wide, height, **options):
    """A rectangle of light on quiet sky; its edges are smoothed, its inside is not."""
    sci = sky((220, 220)) * 0.2
    sci[100:110, 100 : 100 + n_wide] += height
    return detect.run(as_image(sci, **options)).sources


@pytest.mark.parametrize(("height", "is_found"), [(1.9, False), (2.1, True)])
def test_pixels_above_two_sigma_of_the_unsmoothed_sky_count(as_image, height, is_found):
    """A plain of light as wide as no kernel: smoothing leaves its height."""
    sci = sky((400, 400))
    noise = detect.run(as_image(sci)).noise
    plain = np.zeros(sci.shape)
    plain[195:206, 190:211] = 1.0
    quiet = np.where(plain > 0, 0.0, sci)  # the noise of the plain's own pixels would blur it
    image = as_image(quiet + height * float(np.median(noise)) * plain)
    detection = detect.run(image).sources
    near = np.hypot(detection["x"] - 200, detection["y"] - 200) < 10
    assert bool(near.any()) == is_found


@pytest.mark.parametrize(("n_exposures", "n_pixels"), [(2, 75), (1, 150), (5, 75)])
def test_as_many_connected_pixels_as_the_documentation_says(as_image, n_exposures, n_pixels):
    settings = DetectSettings(kernel_size_px=1)
    for n, is_found in ((n_pixels, True), (n_pixels - 1, False)):
        sci = np.random.default_rng(1).uniform(-NOISE, NOISE, (220, 220))  # none above 2 sigma
        rows, columns = np.unravel_index(np.arange(n), (15, 10))
        sci[100 + rows, 100 + columns] += 1.0
        detection = detect.run(as_image(sci, n_exposures=n_exposures), settings).sources
        assert len(detection) == is_found
        if is_found:
            assert detection["area"][0] == n


@pytest.mark.parametrize(("shape", "missing", "percent"), [
    ((200, 200), 0.49, 90.0), ((200, 200), 0.51, 100.0), ((200, 100), 0.0, 100.0),
    ((400, 100), 0.0, 90.0), ((101, 101), 0.0, 90.0), ((300, 100), 0.0, 100.0),
])  # fmt: skip
def test_boxes_may_lose_nine_tenths_where_there_are_four_and_half_of_the_image(
    shape, missing, percent
):
    valid = np.ones(shape, bool)
    valid[: round(missing * shape[0])] = False
    assert detect.exclude_percent(valid, 100) == percent


@pytest.mark.parametrize(
    ("offset", "length", "is_window"),
    [(1.9, 1.0, True), (2.1, 1.0, False), (2.9, 3.0, True), (3.1, 3.0, False)],
)
def test_a_window_that_strays_gives_way_to_the_barycentre(
    as_image, monkeypatch, offset, length, is_window
):
    """By more than 2 px, and more than the source's own length."""
    real = moments.segment_properties

    def strayed(*given):
        found = real(*given)
        return replace(
            found, x_window=found.x_segment + offset, y_window=found.y_segment,
            semimajor_px=np.full(len(found.x_segment), length),
        )  # fmt: skip

    monkeypatch.setattr(detect, "segment_properties", strayed)
    (row,) = one_source(as_image, 10, 1.0)
    assert row["x"] - row["x_segment"] == pytest.approx(offset if is_window else 0.0)


def test_the_summary_knows_the_sky_beside_a_gap(as_image):
    sci = 0.3 + sky((220, 220))
    sci[:, :90] = np.nan
    detection = detect.run(as_image(sci)).summary()
    assert detection["background_median"] == pytest.approx(0.3, abs=0.003)
    assert detection["noise_median"] == pytest.approx(NOISE, rel=0.1)


# ---------------------------------------------------------------- the cosmic-ray mask


@pytest.mark.parametrize(
    ("n_rows", "step"), [(500, 1), (1999, 1), (2000, 2), (3999, 3), (4000, 4), (9000, 4)]
)
def test_a_thousand_rows_show_what_is_typical_and_no_less_than_one_in_four(n_rows, step):
    rows = crmask.sampled_rows(np.ones((n_rows, 1), bool))
    assert rows == slice(step // 2, None, step)
    # Where only other rows have data, all count.
    odd = np.zeros((n_rows, 1), bool)
    odd[0] = True
    assert crmask.sampled_rows(odd) == (rows if step == 1 else slice(None))


def exposed(as_image, sci, sky_e=None, **options):
    cards = {} if sky_e is None else {"MDRIZSKY": sky_e}
    return as_image(sci, n_exposures=1, sci_cards=cards, **options)


@pytest.mark.parametrize(("level", "is_added"), [(0.45, True), (0.55, False)])
def test_the_sky_is_put_back_where_less_than_half_of_it_is_left(as_image, level, is_added):
    expected = 0.1  # e/s, in 1000 s
    image = exposed(as_image, sky((150, 150)) + level * expected, 100.0)
    rays = crmask.run(image)
    added = (1 - level) * expected * 1000 if is_added else 0.0
    assert rays.sky_added_e == pytest.approx(added, abs=2.0)


def test_no_scatter_is_taken_for_a_sky_brighter_than_half_an_electron_a_second(as_image):
    """Crowding scatters too."""
    image = exposed(as_image, sky((150, 150)))
    rays = crmask.run(replace(image, sci=20 * image.sci))
    assert rays.sky_added_e == pytest.approx(500.0, abs=20)


@pytest.mark.parametrize(
    ("scale", "apart", "is_cut"),
    [(0.05, (2, 1), True), (0.05, (2, 2), False), (0.03, (3, 2), True), (0.03, (4, 0), False)],
)
def test_a_peak_within_2_3_pixels_of_missing_ones_is_not_judged(as_image, scale, apart, is_cut):
    """Pixels of the detector: 3.8 of 0.03 arcsec."""
    sci = sky((80, 80))
    sci[40, 40] = 3.0
    sci[40 + apart[1], 40 + apart[0]] = np.nan

    def finer(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= scale / 0.05

    rays = crmask.run(exposed(as_image, sci, 50.0, change=finer))
    assert rays.mask[40, 40] == (not is_cut)


@pytest.mark.parametrize("native_px", [1.0, 5 / 3])
def test_widths_are_measured_in_a_window_and_above_a_ring_of_the_detector(monkeypatch, native_px):
    """1.2 px, and 3.5 to 5.5 px."""
    arguments = []
    monkeypatch.setattr(
        crmask.peak_widths, "minor_widths", lambda *values: arguments.extend(values[4:])
    )
    crmask.minor_widths(np.zeros((9, 9)), np.ones((9, 9)), [4], [4], native_px)
    assert arguments[0] == pytest.approx(1.2 * native_px)
    assert arguments[1] == pytest.approx((3.5 * native_px, 5.5 * native_px))


@pytest.mark.parametrize(("fwhm_px", "is_ray"), [(1.7, True), (1.8, False)])
@pytest.mark.parametrize("native_px", [1.0, 1.25])
def test_light_is_wider_than_1_75_pixels_of_the_detector(fwhm_px, is_ray, native_px):
    """A bright Gaussian, whose width is not in doubt; drizzled finer it is as wide on the sky."""
    yy, xx = np.indices((60, 60))
    sigma = fwhm_px * native_px / 2.3548
    signal = (1e6 * np.exp(-0.5 * ((xx - 30) ** 2 + (yy - 30) ** 2) / sigma**2)).astype(np.float32)
    everywhere = np.ones(signal.shape, bool)
    charge = SimpleNamespace(good=everywhere, variance=np.ones_like(signal), smoothing=1.0)
    near = np.hypot(xx - 30, yy - 30) < 1.5
    settings = crmask.narrow_part(near, signal, charge, native_px, CrmaskSettings())
    assert bool(settings[30, 30]) == is_ray


@pytest.mark.parametrize(("snr", "is_ray"), [(4.0, False), (12.0, True)])
def test_the_width_of_a_faint_candidate_counts_less(snr, is_ray):
    """The limit is 1.75 px times 1 - (3 / S/N)^2: 0.77 px at a ratio of 4, 1.64 px at 12."""
    yy, xx = np.indices((60, 60))
    signal = np.exp(-0.5 * ((xx - 30) ** 2 + (yy - 30) ** 2) / (1.3 / 2.3548) ** 2)
    signal = signal.astype(np.float32)
    _, one = crmask.minor_widths(signal, np.ones_like(signal), np.array([30]), np.array([30]), 1.0)
    charge = SimpleNamespace(
        good=np.ones(signal.shape, bool), variance=np.ones_like(signal), smoothing=snr / one[0]
    )
    near = np.hypot(xx - 30, yy - 30) < 1.5
    settings = crmask.narrow_part(near, signal, charge, 1.0, CrmaskSettings())
    assert bool(settings[30, 30]) == is_ray


def test_the_mask_is_grown_by_each_pixels_four_neighbours():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    grown = crmask.grown_mask(mask, CrmaskSettings())
    cross = [(3, 4), (4, 3), (4, 4), (4, 5), (5, 4)]
    assert sorted(zip(*np.nonzero(grown), strict=True)) == cross


# ---------------------------------------------------------------- names of other kinds


@pytest.mark.parametrize(
    "kind",
    ["flt", "flc", "raw", "asn", "spt", "wht", "ctx", "crj", "segm", "cat", "phot", "sources",
     "removed", "gaia", "coverage", "sky", "depth", "inject", "wcs", "aligned_drc", "i2d"],
)  # fmt: skip
def test_other_kinds_are_no_images(tmp_path, kind):
    assert not is_image_name(tmp_path / f"jabc01010_{kind}.fits")
    assert not is_image_name(tmp_path / f"jabc01010_{kind.upper()}.fits.gz")
    assert is_image_name(tmp_path / f"jabc01010_{kind}x.fits")
