"""The measurement: each decision just below and just above its limit."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from bycatch.catalogs.flags import Flag
from bycatch.images.chips import ChipQuality
from bycatch.kernels.moffat import MoffatFits
from bycatch.kernels.skystats import SkyStats
from bycatch.photcal import encircled_energy
from bycatch.pipeline.quality import exposure_files
from bycatch.settings import MeasureSettings
from bycatch.sky.gaia import from_table
from bycatch.stages import measure
from bycatch.stages.measure import classes, flagging, halos, neighbours
from bycatch.stages.measure.defects import (
    defects,
    defects_from_quality,
    on_bad_columns,
    one_pixel_sources,
)
from bycatch.stages.measure.photometry import exposures_at

SETTINGS = MeasureSettings()
NOISE = 0.01


def sky(shape, seed=1):
    return np.random.default_rng(seed).normal(0, NOISE, shape)


# ---------------------------------------------------------------- flags


def test_below_one_half_p_star_is_extended_and_above_the_limit_p_cr_a_cosmic_ray():
    p = np.array([0.49, 0.50, 0.70, 0.71, np.nan])
    flags = flagging.class_flags(p, p, np.zeros(5, bool))
    assert flags[Flag.EXTENDED].tolist() == [True, False, False, False, False]
    assert flags[Flag.LIKELY_COSMIC_RAY].tolist() == [False, False, False, True, False]


def photometry(n_sky=(300,), count=1):
    n = len(n_sky)
    zero, none = np.zeros(n), np.zeros(n, bool)
    return SimpleNamespace(
        x=np.full(n, 30.0),
        y=np.full(n, 30.0),
        areas=np.full((n, 5), 100 * np.pi),
        net=np.ones((n, 5)),
        rejected=zero,
        sky=SkyStats(zero, zero, np.array(n_sky)),
        exposures=SimpleNamespace(count=np.full(n, count)),
        fits=MoffatFits(zero, zero, zero, zero, none, none),
    )


def test_a_sky_of_less_than_twenty_pixels_is_bad():
    image = SimpleNamespace(valid=np.ones((61, 61), bool), has_context=True)
    flags = flagging.frame_flags(image, photometry((19, 20)), SETTINGS)
    assert flags[Flag.BAD_SKY].tolist() == [True, False]


def test_the_edge_is_the_outer_radius_of_the_sky():
    image = SimpleNamespace(valid=np.ones((61, 61), bool), has_context=True)
    for x, is_edge in ((15.0, False), (14.9, True)):
        phot = photometry()
        phot.x = np.array([x])
        assert flagging.frame_flags(image, phot, SETTINGS)[Flag.EDGE].tolist() == [is_edge]


@pytest.mark.parametrize(("distance", "count", "flag"), [(2, 1, 1), (2.05, 1, 0), (1, 2, 0)])
def test_a_masked_pixel_within_two_pixels_flags_where_one_exposure_looks(distance, count, flag):
    mask = np.zeros((61, 61), bool)
    mask[30, 30] = True
    phot = photometry(count=count)
    phot.x = np.array([30.0 - distance])
    flags = flagging.cosmic_ray_flags(phot, mask, SETTINGS.cr_radius_px)
    assert flags.tolist() == [bool(flag)]


# ---------------------------------------------------------------- exposures


def one_pixel_changed(as_image, x, y, seconds=1000.0, context=5, rate=None):
    def change(hdus):
        hdus["WHT"].data[y, x] = seconds
        hdus["CTX"].data[y, x] = context
        if rate is not None:
            hdus["SCI"].data[y, x] = rate

    return as_image(np.full((60, 60), 0.25), change)


@pytest.mark.parametrize(("distance", "least"), [(4.0, 1), (4.1, 2)])
def test_the_least_number_of_exposures_is_that_within_four_pixels(as_image, distance, least):
    image = one_pixel_changed(as_image, 34, 30, context=1)
    result = exposures_at(image, np.array([34 - distance]), np.array([30.0]))
    assert result.least.tolist() == [least]
    assert result.count.tolist() == [2]


@pytest.mark.parametrize(("distance", "counts"), [(4.0, True), (4.1, False)])
def test_the_exposure_time_is_the_mean_within_four_pixels(as_image, distance, counts):
    image = one_pixel_changed(as_image, 34, 30, seconds=500.0)
    result = exposures_at(image, np.array([34 - distance, 10.0]), np.array([30.0, 30.0]))
    assert (result.exptime_s[0] < result.exptime_s[1]) == counts


@pytest.mark.parametrize(("distance", "counts"), [(2.0, True), (2.1, False)])
def test_the_peak_is_the_highest_pixel_within_two_pixels(as_image, distance, counts):
    image = one_pixel_changed(as_image, 34, 30, rate=9.0)
    result = exposures_at(image, np.array([34 - distance]), np.array([30.0]))
    assert result.peak_rate == pytest.approx([9.0 if counts else 0.25])


def test_the_number_of_exposures_is_the_median_within_two_pixels(as_image):
    def left_half(column):
        def change(hdus):
            hdus["CTX"].data[:, :column] = 1

        return as_image(np.full((60, 60), 0.25), change)

    # Of the 13 pixels within 2 px of a pixel's centre, 4 lie in the columns left of it.
    for column, count in ((30, 2), (31, 1), (29, 2)):
        result = exposures_at(left_half(column), np.array([30.0]), np.array([30.0]))
        assert result.count.tolist() == [count]


def test_the_error_of_a_centroid_is_that_of_the_flux_nearest_to_four_pixels(as_image, psf):
    image = as_image(sky((90, 90)) + 20 * psf((90, 90), 45.2, 44.9))
    errors = {
        radii: measure.run(
            image, measure.Targets([45.2], [44.9]), MeasureSettings(radii_px=radii)
        ).table["RA_GAIA_WCS_err"][0]
        for radii in ((2.0, 4.0, 10.0), (3.2, 4.9), (3.1, 4.8), (4.0,), (3.2,), (4.8,))
    }
    assert errors[2.0, 4.0, 10.0] == errors[4.0,]
    assert errors[3.2, 4.9] == errors[3.2,]
    assert errors[3.1, 4.8] == errors[4.8,]
    assert len(set(errors.values())) == 3


# ---------------------------------------------------------------- neighbours


def test_a_tenth_of_foreign_light_is_the_limit_of_blends():
    result = neighbours.Blends(np.array([0.099, 0.1, 0.101, np.nan]), np.ones(4))
    assert result.is_blended.tolist() == [False, False, True, False]


@pytest.mark.parametrize(("distance_arcsec", "counts"), [(1.24, True), (1.26, False)])
@pytest.mark.parametrize("scale", [0.05, 0.03])
def test_neighbours_count_up_to_1_25_arcsec_beyond_the_aperture(distance_arcsec, counts, scale):
    star = neighbours.star_profile("WFC", "F606W", scale)
    x = np.array([50.0, 50.0 + 6.0 + distance_arcsec / scale])
    result = neighbours.blends(
        x, [50.0, 50.0], [1.0, 1e4], [np.nan, np.nan], star,
        scale_arcsec=scale, small_px=2.0, aperture_px=6.0,
    )  # fmt: skip
    assert (result.share[0] > 0) == counts


def test_profiles_are_stretched_from_a_stars_width_to_four_times_that():
    """In steps of a fourth of a factor of two: widths a step apart differ, within one they do not.

    A star's width is 0.108 arcsec.
    """
    star = neighbours.star_profile("WFC", "F606W", 0.05)
    own_px = 0.108 / 0.05

    def share(factor):
        return neighbours.blends(
            [50, 58], [50, 50], [1.0, 1.0], [np.nan, factor * own_px], star,
            scale_arcsec=0.05, small_px=2.0, aperture_px=6.0,
        ).share[0]  # fmt: skip

    step = 2**0.25
    assert share(0.3) == share(1.0) == share(step**0.49)
    assert share(step**0.51) == share(step) > share(1.0)
    assert share(4.0) == share(9.0) > share(4.0 / step)


def test_crowded_lights_have_converged():
    """One round more or less changes nothing that matters."""
    star = neighbours.star_profile("WFC", "F606W", 0.05)
    x = np.array([50.0, 53.0, 56.0, 59.0])
    true = np.array([5.0, 1.0, 8.0, 3.0])
    apart = np.abs(x[:, None] - x)
    light_within = np.array([star.in_circles(2.0, row) for row in apart])
    result = neighbours.blends(
        x, np.full(4, 50.0), light_within @ true, np.full(4, np.nan), star,
        scale_arcsec=0.05, small_px=2.0, aperture_px=6.0,
    )  # fmt: skip
    assert result.total_rate == pytest.approx(true, rel=2e-3)


# ---------------------------------------------------------------- defects


def spike_of(share):
    """A patch of light: a share of it in the box of 2 x 2, the rest evenly around it."""
    light = np.zeros((41, 41))
    light[18:23, 18:23] = (1 - share) / 21
    light[20:22, 20:22] = share / 4
    light[20, 20] += 1e-4
    return light


@pytest.mark.parametrize(
    ("share", "is_hot"), [(0.79, False), (0.81, True), (1.09, True), (1.13, False)]
)
def test_four_fifths_of_the_light_in_one_pixels_shadow_is_hot(as_image, share, is_hot):
    # A tenth may be missing around it.
    image = as_image(spike_of(share), n_exposures=1)
    mask = one_pixel_sources(image, np.array([20.0]), np.array([20.0]), np.zeros(1), np.zeros(1))
    assert mask.tolist() == [is_hot]


@pytest.mark.parametrize(("margin", "is_hot"), [(0.95, False), (1.05, True)])
def test_a_hot_pixel_is_distinguished_from_a_star_by_four_sigma(as_image, margin, is_hot):
    """A star has as much light around the box as in it: 1 more than the share of a hot pixel."""
    image = as_image(spike_of(0.999), n_exposures=1)
    patch = image.sci[18:23, 18:23].astype(float)
    best = patch[2:4, 2:4].sum()
    outside = patch.sum() / best - 1
    error = (1 - outside) / 4 / margin  # relative to the light in the box
    std = np.array([error * best / np.sqrt(21)])
    mask = one_pixel_sources(image, np.array([20.0]), np.array([20.0]), np.zeros(1), std)
    assert mask.tolist() == [is_hot]


def chip(value, row=80, column=80):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [36.9, -8.4], [101.0, 101.0]
    wcs.wcs.cd = 0.05 / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    dq = np.zeros((200, 200), np.int32)
    dq[row, column] = value
    return ChipQuality(dq, wcs)


@pytest.mark.parametrize(
    ("bit", "radius", "name"),
    [
        (256, 2.0, "saturated"),
        (2048, 2.0, "saturated"),
        (16, 0.75, "hot_pixel"),
        (4, 0.75, "bad_column"),
        (128, 0.75, "bad_column"),
    ],
)
def test_bits_of_the_data_quality_and_how_near_they_count(bit, radius, name):
    one = chip(bit)
    x = np.array([80.0 + radius - 0.02, 80.0 + radius + 0.02])
    flaws = defects_from_quality(one.wcs, x, np.array([80.0, 80.0]), (one,))
    for other in ("saturated", "hot_pixel", "bad_column"):
        assert getattr(flaws, other).tolist() == [other == name, False]


@pytest.mark.parametrize("bit", [1, 2, 8, 32, 64, 512, 1024, 4096, 8192, 16384])
def test_other_bits_of_the_data_quality_say_nothing(bit):
    one = chip(bit)
    flaws = defects_from_quality(one.wcs, [80.0], [80.0], (one,))
    assert not (flaws.saturated | flaws.hot_pixel | flaws.bad_column).any()


@pytest.mark.parametrize(("n", "counts"), [(1, True), (2, True), (3, False)])
def test_a_defect_in_half_of_the_exposures_counts(n, counts):
    chips = (chip(16 | 4 | 256), *(chip(0) for _ in range(n - 1)))
    flaws = defects_from_quality(chips[0].wcs, [80.0], [80.0], chips)
    assert flaws.hot_pixel.tolist() == flaws.bad_column.tolist() == [counts]
    assert flaws.saturated.tolist() == [True]


def test_what_the_exposures_say_reaches_the_table(as_image, psf):
    image = as_image(sky((90, 90)) + 20 * psf((90, 90), 45.0, 45.0))
    for bit, flag in ((256, Flag.SATURATED), (16, Flag.HOT_PIXEL), (4, Flag.BAD_COLUMN)):
        one = ChipQuality(np.full((90, 90), bit, np.int32), image.wcs)
        target, flags = measure.Targets([45.0], [45.0]), []
        for chips in ((), (one,)):
            measurement = measure.run(image, target, field=measure.FieldContext(chips=chips))
            flags.append(int(measurement.table["flags"][0]))
        assert [bool(value & flag) for value in flags] == [False, True]


def test_stars_are_sources_without_evidence_against_them(as_image, psf, monkeypatch):
    """No cosmic rays, hot pixels or edges where the image's stars are looked for."""
    seen = {}
    real = classes._points

    def noted(image, found, targets, pixels, saturated, clean, in_gaia):
        seen.update(clean=clean.tolist(), in_gaia=in_gaia.tolist())
        return real(image, found, targets, pixels, saturated, clean, in_gaia)

    monkeypatch.setattr(classes, "_points", noted)
    sci = sky((120, 120))
    for x in (30.0, 60.0, 90.0):
        sci += 20 * psf((120, 120), x, 60.0)
    sci[30, 60] += 3.0  # one pixel's light
    mask = np.zeros(sci.shape, bool)
    mask[60, 30] = True
    image = as_image(sci, n_exposures=1)
    measure.run(
        image,
        measure.Targets([30.0, 60.0, 90.0, 60.0, 5.0], [60.0, 60.0, 60.0, 30.0, 60.0]),
        pixels=measure.Pixels(cr_mask=mask),
    )
    assert seen["clean"] == [False, True, True, False, False]


def test_what_has_no_gaia_star_has_none_of_its_numbers(as_image, psf):
    image = as_image(sky((90, 90)) + 20 * psf((90, 90), 45.0, 45.0))
    row = measure.run(image, measure.Targets([45.0], [45.0])).table
    assert row["gaia_separation"].mask.tolist() == row["gaia_g"].mask.tolist() == [True]
    assert row["gaia_source_id"].tolist() == [0]
    assert row["GAIA_CAT_RA"].tolist() == row["GAIA_CAT_DEC"].tolist() == [-999.0]


def test_what_was_not_measured_is_missing_not_a_number(as_image, psf):
    """Off the image, and where there is no sky: each value is finite, or masked."""
    sci = sky((90, 90)) + 20 * psf((90, 90), 45.0, 45.0)
    sci[30:, :30] = np.nan
    settings = MeasureSettings(error_components=True)
    table = measure.run(
        as_image(sci), measure.Targets([-50.0, 15.0, 28.0], [20.0, 60.0, 60.0]), settings
    )
    for name in table.table.colnames:
        column = np.ma.asarray(table.table[name])
        if column.dtype.kind == "f":
            assert np.isfinite(column.compressed()).all(), name


def test_flc_files_are_preferred_to_flt_and_a_folder_that_was_given_to_that_of_the_image(tmp_path):
    """flc files are corrected for charge-transfer losses."""
    given, own = tmp_path / "given", tmp_path / "own"
    for folder in (given, own):
        folder.mkdir()
        for kind in ("flt.fits", "flt.fits.gz", "flc.fits.gz", "flc.fits.fz"):
            (folder / f"jabc01aaq_{kind}").touch()
    names = []
    while files := exposure_files(["jabc01aaq"], [given, own]):
        (path,) = files
        names.append(f"{path.parent.name} {path.name.removeprefix('jabc01aaq_')}")
        path.unlink()
    kinds = ("flc.fits.gz", "flc.fits.fz", "flt.fits", "flt.fits.gz")
    assert names == [f"{folder} {kind}" for folder in ("given", "own") for kind in kinds]


def test_saturation_begins_at_the_rate_of_the_image(as_image):
    image = as_image(sky((60, 60)))
    limit = image.meta.saturation_rate
    # Two exposures of 500 s: 73 % of the full well of 77,400 e.
    assert limit == pytest.approx(0.73 * 77_400 / 500)
    flaws = defects(
        image, [30.0, 30.0], [30.0, 30.0], np.zeros(2), np.full(2, NOISE), np.full(2, 2),
        [0.999 * limit, 1.001 * limit],
    )  # fmt: skip
    assert flaws.saturated.tolist() == [False, True]


@pytest.mark.parametrize(
    ("height", "first", "last", "is_bad"),
    [(0.98, 4, 52, False), (1.02, 4, 52, True), (1.02, 6, 52, False), (1.02, 4, 50, False)],
)
def test_a_column_deviates_by_three_sigma_from_4_to_52_pixels_on_both_sides(
    height, first, last, is_bad
):
    """In each half of either side, which is 24 pixels long."""
    std = 0.01
    limit = 3.0 * np.sqrt(0.75) * std * np.sqrt(2 / 24)
    sci = np.zeros((161, 90), np.float32)
    step = np.abs(np.arange(161) - 80)
    sci[(step >= first) & (step < last), 45:47] = height * limit
    mask = on_bad_columns(sci, np.array([45.5]), np.array([80.0]), np.array([std]))
    assert mask.tolist() == [is_bad]


# ---------------------------------------------------------------- bright stars


@pytest.fixture
def dark(as_image):
    return as_image(sky((300, 300)))


@pytest.mark.parametrize("rate", [1000.0, 3000.0, 9000.0])
def test_a_halo_ends_where_the_light_of_the_star_per_pixel_is_the_noise_of_the_sky(dark, rate):
    reach = halos.reach_of([rate], NOISE, dark).halo_px[0]
    curve = encircled_energy("WFC", "F775W")
    low, high = curve.at(0.05 * (reach - 1.5)), curve.at(0.05 * (reach + 1.5))
    brightness = rate * (high - low) / (np.pi * ((reach + 1.5) ** 2 - (reach - 1.5) ** 2))
    assert brightness / NOISE == pytest.approx(1.0, abs=0.12)


def test_halos_beyond_5_5_arcsec_grow_with_the_third_root_of_the_light(dark):
    rates = np.array([1.0, 8.0]) * 1e6
    near, far = halos.reach_of(rates, NOISE, dark).halo_px
    assert near > 5.5 / 0.05
    assert far / near == pytest.approx(2.0, rel=0.02)


def test_a_spike_ends_where_its_ridge_is_the_noise_of_the_sky(dark):
    """3.6e-5 of the star's light at 30 px and 2.2e-5 at 40 px (TinyTim)."""
    for radius, share in ((30.0, 3.6e-5), (40.0, 2.2e-5)):
        reach = halos.reach_of([NOISE / share], NOISE, dark).spike_px[0]
        assert reach == pytest.approx(radius, rel=0.05)


@pytest.mark.parametrize(("reach_px", "counts"), [(14.8, False), (15.2, True)])
def test_halos_and_spikes_within_15_pixels_are_part_of_the_star(dark, reach_px, counts):
    rate = NOISE * reach_px**2 / 0.035
    assert (halos.reach_of([rate], NOISE, dark).spike_px[0] > 0) == counts
    rates = np.geomspace(1, 1000, 2000)
    halo = halos.reach_of(rates, NOISE, dark).halo_px
    assert 15.0 <= halo[halo > 0].min() < 15.2


def test_no_star_reaches_farther_than_an_arcminute(dark):
    reach = halos.reach_of([1e12], NOISE, dark)
    assert (reach.halo_px[0] * 0.05, reach.spike_px[0] * 0.05) == pytest.approx((60.0, 60.0))


@pytest.mark.parametrize(("arcsec", "is_star"), [(0.29, True), (0.31, False)])
def test_the_source_within_three_tenths_of_an_arcsec_is_the_star_itself(dark, arcsec, is_star):
    star = halos.BrightStars(np.array([150.0]), np.array([150.0]), np.array([3000.0]))
    light = halos.star_light([150 + arcsec / 0.05], [150.0], dark, star, NOISE, [])
    assert light.halo.tolist() == [not is_star]
    both = halos.star_light([150.0, 151.0], [150.0, 150.0], dark, star, NOISE, [])
    assert both.halo.tolist() == [False, True]  # the nearest is the star


@pytest.mark.parametrize("along", [30.0, 120.0])
def test_a_spike_opens_by_one_and_a_half_degrees_from_two_and_a_half_pixels(dark, along):
    star = halos.BrightStars(np.array([100.0]), np.array([150.0]), np.array([1e5]))
    edge = 2.5 + np.tan(np.radians(1.5)) * along
    y = 150.0 + np.array([edge - 0.05, edge + 0.05, -edge + 0.05, -edge - 0.05])
    for x in (100.0 + along, 100.0 - along):
        light = halos.star_light(np.full(4, x), y, dark, star, NOISE, [0.0])
        assert light.spike.tolist() == [True, False, True, False]


def ridged(shape, star, angle_deg, height):
    """A star's ring of light with a ridge along one direction and across."""
    image = np.random.default_rng(2).normal(0, 1e-4, shape)
    yy, xx = np.indices(shape)
    dx, dy = xx - star.x[0], yy - star.y[0]
    for angle in np.radians([angle_deg, angle_deg + 90]):
        across = np.abs(dy * np.cos(angle) - dx * np.sin(angle))
        image += height * np.exp(-0.5 * (across / 1.2) ** 2)
    return image


@pytest.mark.parametrize(("off_deg", "is_found"), [(7.0, True), (11.0, False)])
def test_spikes_are_looked_for_within_eight_degrees_of_where_they_should_be(
    as_image, off_deg, is_found
):
    star = halos.BrightStars(np.array([130.0]), np.array([130.0]), np.array([100.0]))
    image = as_image(ridged((260, 260), star, 2.2 + off_deg, 1.0))
    angles = halos.spike_angles(image, star)
    expected = np.array([2.2, 92.2])
    apart = np.abs(angles - expected)
    if is_found:
        assert apart == pytest.approx([off_deg] * 2, abs=1.1)
    else:
        # Where the search ends, or where they should be: not on the ridge.
        assert (apart <= 8.0).all()


@pytest.mark.parametrize(("contrast", "is_believed"), [(4.9, False), (5.1, True)])
def test_a_spike_of_five_sigma_in_the_image_is_believed(dark, monkeypatch, contrast, is_believed):
    """The noise of the ring is that of its median deviation, here 1."""
    signal = np.tile([-1.0, 1.0], 90) / 1.4826
    signal[6] = signal[96] = contrast
    monkeypatch.setattr(halos, "spike_signal", lambda *_: signal)
    star = halos.BrightStars(*np.full((3, 1), 130.0))
    angles = halos.spike_angles(dark, star)
    assert angles == pytest.approx([6.0, 96.0] if is_believed else [2.2, 92.2])


@pytest.mark.parametrize(("contrast", "n"), [(2.4, 0), (2.6, 2)])
def test_without_a_roll_both_directions_together_must_have_five_sigma(
    as_image, monkeypatch, contrast, n
):
    def north_up(hdus):
        for name in ("CD1_2", "CD2_1"):
            hdus["SCI"].header[name] = 0.0

    signal = np.tile([-1.0, 1.0], 90) / 2 / 1.4826  # both directions are added up
    signal[33] = signal[123] = contrast
    monkeypatch.setattr(halos, "spike_signal", lambda *_: signal)
    star = halos.BrightStars(*np.full((3, 1), 130.0))
    assert len(halos.spike_angles(as_image(sky((60, 60)), north_up), star)) == n


@pytest.mark.parametrize(("edge", "is_whole"), [(45.5, True), (44.5, False)])
@pytest.mark.parametrize("side", range(4))
def test_only_a_whole_ring_of_45_pixels_shows_the_direction_of_spikes(
    as_image, edge, is_whole, side
):
    x, y = ((edge, 130), (259 - edge, 130), (130, edge), (130, 259 - edge))[side]
    star = halos.BrightStars(np.array([x]), np.array([y]), np.array([100.0]))
    image = as_image(ridged((260, 260), star, 6.0, 1.0))
    assert (halos.spike_signal(image, star) is not None) == is_whole


@pytest.mark.parametrize(("missing", "is_whole"), [(16.5, True), (19.5, False)])
def test_the_ring_begins_at_18_pixels(as_image, missing, is_whole):
    """A star whose ring lacks a twentieth says nothing."""
    star = halos.BrightStars(*np.array([[130.0], [130.0], [100.0]]))
    sci = ridged((260, 260), star, 6.0, 1.0)
    yy, xx = np.indices(sci.shape)
    sci[np.hypot(xx - 130, yy - 130) < missing] = np.nan
    assert (halos.spike_signal(as_image(sci), star) is not None) == is_whole


def test_a_sun_has_the_colours_of_willmer_2018():
    photflam = 1e-19
    for pivot, colour in ((4300, -0.7), (4750, -0.45), (5350, -0.15), (5900, -0.05),
                          (6300, 0.0), (7700, 0.15), (8050, 0.15), (9050, 0.15)):  # fmt: skip
        zero = -2.5 * np.log10(photflam) - 21.1 - 5 * np.log10(pivot) + 18.6921
        rate = halos.expected_rate([15.0], photflam, pivot)
        assert -2.5 * np.log10(rate) + zero == pytest.approx([15.0 - colour], abs=1e-6)


@pytest.mark.parametrize(("apart", "in_halo"), [(9.8, False), (10.2, True)])
def test_a_saturated_source_within_ten_pixels_of_a_gaia_star_is_that_star(
    as_image, psf, apart, in_halo
):
    """Gaia's star is faint: if the saturated source is that star, it has no halo."""
    shape, (x, y) = (200, 260), (100.0, 100.0)
    image = as_image(sky(shape) + 4000 * psf(shape, x, y), n_exposures=1)
    full_s = 0.73 * image.meta.full_well_e / image.sci.max()
    image = replace(image, meta=replace(image.meta, exptime_s=1.1 * float(full_s)))
    ra, dec = image.wcs.all_pix2world([x + apart], [y], 0)
    stars = from_table(
        Table(
            {
                "source_id": [1], "ra": ra, "dec": dec, "pmra": [0.0], "pmdec": [0.0],
                "phot_g_mean_mag": [25.0],
            }
        ),
        "test",
    )  # fmt: skip
    table = measure.run(
        image, measure.Targets([x, x - 25.0], [y, y]), field=measure.FieldContext(reference=stars)
    ).table
    flags = np.asarray(table["flags"])
    assert flags[0] & Flag.SATURATED
    assert bool(flags[1] & Flag.HALO) == in_halo
