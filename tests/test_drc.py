"""Reading drizzled images: headers, planes, exposure times, and every kind of bad input."""

import errno
import gzip
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from bycatch.errors import (
    InconsistentImage,
    MissingKeyword,
    UnreadableFile,
    UnsupportedImage,
    UnusableData,
)
from bycatch.images.drc import DrcImage, read_drc
from bycatch.images.files import root_of, stem_of
from bycatch.images.headers import read_headers
from bycatch.images.look import DrcLook, look_at
from bycatch.images.meta import image_meta
from bycatch.images.planes import weight_sibling
from bycatch.images.wcs import celestial_wcs
from bycatch.settings import InputSettings

SHAPE = (40, 60)


@pytest.fixture
def sci():
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 0.01, SHAPE).astype(np.float32)
    image[:, :5] = np.nan
    return image


@pytest.fixture
def save(tmp_path, sci, new_drc):
    """Return a function that writes an image after a change of its HDUs."""

    def write(change=None, name="jabc01010_drc.fits", **options):
        hdus = new_drc(options.pop("sci", sci), **options)
        hdus = (change(hdus) if change else None) or hdus
        path = tmp_path / name
        hdus.writeto(path)
        return path

    return write


# ---------------------------------------------------------------- a good image


def test_an_image_as_the_archive_delivers_it(save, sci):
    image = read_drc(save())
    assert image.shape == SHAPE
    assert image.wht_type == "exptime"
    assert image.has_context
    assert image.meta.notes == ()
    assert image.meta.n_exposures == 2
    assert image.meta.exptime_per_exposure_s == 500
    assert image.meta.filter == "F775W"
    assert image.meta.mjd_mid == pytest.approx(57402.01)
    assert image.meta.zeropoint_origin == "header"
    assert image.meta.root == "jabc01010"
    assert image.scale_arcsec == pytest.approx(0.05, rel=1e-9)
    np.testing.assert_array_equal(image.sci, sci)
    np.testing.assert_array_equal(image.valid, np.isfinite(sci))
    np.testing.assert_array_equal(image.n_exp, np.where(np.isfinite(sci), 2, 0))
    np.testing.assert_allclose(image.exptime_map_s[image.valid], 1000, rtol=1e-6)
    assert not image.exptime_map_s[~image.valid].any()
    assert not image.wht[~image.valid].any()
    for plane, kind in ((image.sci, "f4"), (image.wht, "f4"), (image.n_exp, "i2")):
        assert plane.dtype == np.dtype(kind)
        assert plane.dtype.isnative
        with pytest.raises(ValueError, match="read-only"):
            plane[0, 0] = 1


def test_metadata_survive_a_process_boundary(save):
    meta = read_drc(save()).meta
    assert repr(pickle.loads(pickle.dumps(meta))) == repr(meta)


@pytest.mark.parametrize("suffix", [".fits.gz", ".fits.fz"])
def test_compressed_files_hold_the_same(save, tmp_path, suffix):
    plain = save()
    gz_path = tmp_path / f"jabc01010_drc{suffix}"
    if suffix == ".fits.gz":
        with plain.open("rb") as source, gzip.open(gz_path, "wb") as target:
            shutil.copyfileobj(source, target)
    else:
        with fits.open(plain) as hdus:
            out = fits.HDUList([fits.PrimaryHDU(header=hdus[0].header)])
            for hdu in hdus[1:]:
                out.append(
                    fits.CompImageHDU(
                        hdu.data, hdu.header, hdu.name, compression_type="GZIP_1", quantize_level=0
                    )
                )
            out.writeto(gz_path)
    one, other = read_drc(plain), read_drc(gz_path)
    np.testing.assert_array_equal(one.sci, other.sci)
    np.testing.assert_array_equal(one.n_exp, other.n_exp)
    np.testing.assert_array_equal(one.exptime_map_s, other.exptime_map_s)
    assert repr(one.meta) == repr(other.meta)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("name", "stem", "root"),
    [
        ("jdgq11020_drc.fits", "jdgq11020_drc", "jdgq11020"),
        ("jdgq11020_drz.fits.gz", "jdgq11020_drz", "jdgq11020"),
        ("JDGQ11020_DRC.FITS.FZ", "JDGQ11020_DRC", "JDGQ11020"),
        ("cosmos_1_F814W_sci.fits", "cosmos_1_F814W_sci", "cosmos_1_F814W"),
        ("hst_1_2_drc_sci.fits", "hst_1_2_drc_sci", "hst_1_2"),
        ("any.thing.fits", "any.thing", "any.thing"),
    ],
)
def test_names(tmp_path, name, stem, root):
    assert stem_of(tmp_path / name) == stem
    assert root_of(stem) == root


# ---------------------------------------------------------------- exposures


def test_exposures_are_counted_by_name_not_by_chip(save):
    path = save(n_exposures=3, primary={"NDRIZIM": 99})
    meta = read_drc(path).meta
    assert meta.n_exposures == 3
    assert [c.exposure for c in meta.chips] == [f"jabc01{e}aq" for e in "aabbcc"]


def test_one_chip_of_an_exposure_is_one_exposure(save):
    # a subarray: one input, although full frames have two per exposure
    def one_chip(hdus):
        for key in [k for k in hdus[0].header if k.startswith("D002")]:
            del hdus[0].header[key]

    assert read_drc(save(one_chip, n_exposures=1)).meta.n_exposures == 1


@pytest.mark.parametrize(
    ("names", "n"),
    [
        (["12440_07_acs_wfc_f606w_01_jboa07y3q_flc.fits[sci,1]"] * 2, 1),
        (["a_flt_sci1.fits", "a_flt_sci2.fits", "b_flt_sci1.fits", "b_flt_sci2.fits"], 2),
        (["a_flc.fits[sci,1]", "a_flc.fits[sci,2]", "b_flc.fits[sci,1]"], 2),
        (["19-06-i-1_flt_sci1.fits", "19-06-i-2_flt_sci1.fits"], 2),
        (["anything"], 1),
    ],
)
def test_exposure_names_of_many_styles(save, names, n):
    def renamed(hdus):
        head = hdus[0].header
        for key in [k for k in head if k.startswith("D00")]:
            del head[key]
        for k, name in enumerate(names):
            head[f"D{k + 1:03d}DATA"] = name

    meta = read_drc(save(renamed)).meta
    assert meta.n_exposures == n
    assert len(meta.chips) == len(names)


def test_more_than_999_inputs(save):
    def many(hdus):
        head = hdus[0].header
        for k in range(1, 1101):
            # A keyword has eight characters: drizzle cuts D1000DATA to D1000DAT.
            head[f"D{k:03d}DATA"[:8]] = f"jabc{k // 2:05d}_flc.fits[sci,{k % 2 + 1}]"
            head[f"D{k:03d}DEXP"[:8]] = 500.0

    chips = read_headers(save(many)).chips
    assert len(chips) == 1100
    assert chips[-1].exposure == "jabc00550"
    assert {c.exptime_s for c in chips} == {500.0}


@pytest.mark.parametrize(("ndrizim", "n"), [(2, 1), (4, 2), (6, 3), (1, 1), (5, 2)])
def test_without_names_exposures_follow_from_ndrizim(save, ndrizim, n):
    def nameless(hdus):
        head = hdus[0].header
        for key in [k for k in head if k.startswith("D00")]:
            del head[key]
        head["NDRIZIM"] = ndrizim

    meta = read_drc(save(nameless)).meta
    assert meta.n_exposures == n
    assert "NDRIZIM" in " ".join(meta.notes)


def test_without_any_count_one_exposure_is_assumed_and_reported(save):
    def silent(hdus):
        head = hdus[0].header
        for key in [k for k in head if k.startswith("D00") or k == "NDRIZIM"]:
            del head[key]

    meta = read_drc(save(silent)).meta
    assert meta.n_exposures == 1
    assert "single exposure" in " ".join(meta.notes)
    assert (
        read_drc(save(silent, name="x_drc.fits"), InputSettings(n_exposures=4)).meta.n_exposures
        == 4
    )


# ---------------------------------------------------------------- context images


def with_plane(name, data):
    def change(hdus):
        hdus[name].data = data

    return change


def without(name):
    return lambda hdus: fits.HDUList([h for h in hdus if h.name != name])


def test_a_missing_context_is_guessed_from_the_weight(save, sci):
    def half(hdus):
        hdus["WHT"].data[:, 30:] = 500

    path = save(lambda h: half(h) or without("CTX")(h))
    image = read_drc(path)
    assert not image.has_context
    assert "no context image" in " ".join(image.meta.notes)
    valid = np.isfinite(sci)
    expected = np.where(valid, np.where(np.arange(60) < 30, 2, 1), 0)
    np.testing.assert_array_equal(image.n_exp, expected)


def test_a_context_of_another_shape_is_refused(save):
    with pytest.raises(InconsistentImage, match=r"SCI is \(40, 60\) but CTX is \(7, 9\)"):
        read_drc(save(with_plane("CTX", np.ones((7, 9), dtype=np.int32))))


def test_an_empty_context_is_not_used(save):
    def emptied(hdus):
        hdus["CTX"] = fits.ImageHDU(None, name="CTX")

    assert not read_drc(save(emptied)).has_context


def test_three_dimensional_contexts_of_more_than_32_inputs(save, sci):
    planes = np.zeros((2, *SHAPE), dtype=np.int32)
    planes[0], planes[1] = -1, 7
    planes[:, :, 30:] = 0
    planes[0, :, 30:] = -(2**31)
    image = read_drc(save(with_plane("CTX", planes), n_exposures=20))
    assert image.has_context
    row = image.n_exp[3]
    assert row[10] == 35
    assert row[40] == 1
    assert row[0] == 0


def test_one_plane_for_more_than_32_inputs_is_not_trusted(save):
    image = read_drc(save(n_exposures=20))
    assert not image.has_context
    assert "1 plane(s) for 40 inputs" in " ".join(image.meta.notes)
    assert image.n_exp.max() == 20


def test_a_valid_pixel_has_at_least_one_exposure(save, sci):
    ctx = np.tile(np.arange(SHAPE[1], dtype=np.int32) % 2, (SHAPE[0], 1))
    image = read_drc(save(with_plane("CTX", ctx)))
    np.testing.assert_array_equal(image.n_exp, np.isfinite(sci))


# ---------------------------------------------------------------- no data


def test_no_data_as_zero_and_as_nan_are_the_same(save, sci):
    zeros = np.nan_to_num(sci, nan=0.0)
    as_nan = save()

    def no_weight(hdus):
        hdus["WHT"].data[:, :5] = 0
        hdus["CTX"].data[:, :5] = 0

    as_zero = save(no_weight, name="zero_drc.fits", sci=zeros)
    one, other = read_drc(as_nan), read_drc(as_zero)
    np.testing.assert_array_equal(one.sci, other.sci)
    np.testing.assert_array_equal(one.n_exp, other.n_exp)


def test_zero_counts_where_there_is_weight(save, sci):
    sci[3, 10] = 0
    assert read_drc(save()).valid[3, 10]


@pytest.mark.parametrize("bad", [np.nan, 0, -1, -np.inf])
def test_no_weight_no_data(save, bad):
    def spoilt(hdus):
        hdus["WHT"].data[7, 20] = bad

    image = read_drc(save(spoilt))
    assert not image.valid[7, 20]
    assert image.wht[7, 20] == 0
    assert image.exptime_map_s[7, 20] == 0
    assert np.isfinite(image.wht).all()


def test_infinite_pixels_are_no_data(save, sci):
    sci[9, 9] = np.inf
    image = read_drc(save())
    assert not image.valid[9, 9]
    assert np.isnan(image.sci[9, 9])


@pytest.mark.parametrize("plane", ["SCI", "WHT"])
def test_an_image_without_any_data_is_refused(save, plane):
    def blank(hdus):
        hdus[plane].data[:] = np.nan if plane == "SCI" else 0

    with pytest.raises(InconsistentImage, match="no valid pixel"):
        read_drc(save(blank))


def test_one_valid_pixel_is_an_image(save):
    def nearly_blank(hdus):
        hdus["SCI"].data[:] = np.nan
        hdus["SCI"].data[4, 5] = 1

    assert read_drc(save(nearly_blank)).valid.sum() == 1


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("exptime", [60.0, 1000.0])
def test_weights_in_seconds(save, exptime):
    image = read_drc(save(exptime_s=exptime))
    assert image.wht_type == "exptime"
    np.testing.assert_allclose(image.exptime_map_s[image.valid], exptime, rtol=1e-6)


def test_weights_in_seconds_at_another_pixel_scale(save):
    # Drizzle writes EXPTIME x (output scale / native scale)^2.
    def coarse(hdus):
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[key] *= 0.8
        hdus["WHT"].data *= np.float32(0.64)

    image = read_drc(save(coarse))
    assert image.wht_type == "exptime"
    np.testing.assert_allclose(image.exptime_map_s[image.valid], 1000, rtol=1e-5)


def test_relative_weights_are_scaled_to_the_full_depth(save):
    def relative(hdus):
        hdus["WHT"].data /= 1000
        hdus["WHT"].data[:20] *= 0.5

    image = read_drc(save(relative))
    assert image.wht_type == "relative"
    np.testing.assert_allclose(image.exptime_map_s[30, 10:], 1000, rtol=1e-6)
    np.testing.assert_allclose(image.exptime_map_s[10, 10:], 500, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_inverse_variances_become_seconds(save, n):
    # The truth: sky 0.05, dark, read noise 4.2 e; two exposures.
    exposure = 1000.0 / n

    def ivm(hdus):
        variance = (0.05 + 0.012 + 4.2**2 / exposure) / 1000.0
        hdus["WHT"].data[:] = np.where(hdus["WHT"].data > 0, 1 / variance, 0)
        hdus["WHT"].data[:20] *= 0.5
        for k in range(2 * n):
            hdus[0].header[f"D{k + 1:03d}MSKY"] = 0
        hdus[0].header["MDRIZSKY"] = 0.05 * exposure

    image = read_drc(save(ivm, n_exposures=n))
    assert image.wht_type == "ivm"
    assert image.meta.subtracted_sky_rate == pytest.approx(0.05)
    np.testing.assert_allclose(image.exptime_map_s[30, 10:], 1000, rtol=1e-5)
    np.testing.assert_allclose(image.exptime_map_s[10, 10:], 500, rtol=1e-5)
    assert "inverse variances" in " ".join(image.meta.notes)


def test_the_user_says_what_the_weight_is(save):
    image = read_drc(save(), InputSettings(wht_type="relative"))
    assert image.wht_type == "relative"


def test_no_weight_at_all_means_uniform_depth(save, sci):
    sci[5, 20] = 0  # without a weight, 0 is no data
    image = read_drc(save(without("WHT")))
    assert image.wht_type == "none"
    assert not image.valid[5, 20]
    np.testing.assert_array_equal(image.wht, image.valid)
    assert set(np.unique(image.exptime_map_s)) == {0, 1000}
    assert "uniform depth" in " ".join(image.meta.notes)


def split(hdus, tmp_path, stem="cut", weight_name=None):
    """Write the image and its weight as two files, each in its PRIMARY."""
    head = hdus[0].header.copy()
    head.update(hdus["SCI"].header.copy(strip=True))
    head.pop("EXTNAME", None)
    fits.PrimaryHDU(hdus["SCI"].data, head).writeto(tmp_path / f"{stem}_sci.fits")
    weight = tmp_path / (weight_name or f"{stem}_wht.fits")
    fits.PrimaryHDU(hdus["WHT"].data).writeto(weight)
    return tmp_path / f"{stem}_sci.fits", weight


def test_an_image_in_primary_with_its_weight_beside_it(tmp_path, sci, new_drc):
    path, weight = split(new_drc(sci), tmp_path)
    assert weight_sibling(path) == weight
    image = read_drc(path)
    assert image.wht_type == "exptime"
    assert not image.has_context
    np.testing.assert_array_equal(image.sci, sci)
    assert weight_sibling(tmp_path / "other_sci.fits") is None
    assert weight_sibling(tmp_path / "cut.fits") is None


def test_a_weight_in_any_file_can_be_named(tmp_path, sci, new_drc):
    path, weight = split(new_drc(sci), tmp_path, weight_name="depth.fits")
    assert read_drc(path).wht_type == "none"
    assert read_drc(path, wht_path=weight).wht_type == "exptime"


def test_a_named_weight_wins_over_the_one_in_the_file(save, tmp_path, sci):
    weight = tmp_path / "depth.fits"
    fits.PrimaryHDU(np.full(SHAPE, 700, dtype=np.float32)).writeto(weight)
    image = read_drc(save(), wht_path=weight)
    np.testing.assert_allclose(image.wht[image.valid], 700)


def test_bad_weight_files_are_refused(tmp_path, sci, new_drc):
    path, weight = split(new_drc(sci), tmp_path)
    weight.write_bytes(b"nothing")
    with pytest.raises(UnreadableFile, match=r"cut_wht.fits"):
        read_drc(path)
    fits.PrimaryHDU(np.ones((3, 4))).writeto(weight, overwrite=True)
    with pytest.raises(InconsistentImage, match=r"SCI is \(40, 60\) but WHT is \(3, 4\)"):
        read_drc(path)
    fits.PrimaryHDU().writeto(weight, overwrite=True)
    with pytest.raises(UnreadableFile, match="no weight image"):
        read_drc(path)


# ---------------------------------------------------------------- units


@pytest.mark.parametrize(
    "unit", ["ELECTRONS/S", "electrons/s", "ELECTRONS / S", "e/s", "E-/S", " ELECTRONS/SEC "]
)
def test_rates(save, sci, unit):
    np.testing.assert_array_equal(read_drc(save(sci_cards={"BUNIT": unit})).sci, sci)


def drizzled_as(unit, bunit="ELECTRONS"):
    def change(hdus):
        hdus["SCI"].header["BUNIT"] = bunit
        for key in [k for k in hdus[0].header if k.endswith("OUUN")]:
            if unit is None:
                del hdus[0].header[key]
            else:
                hdus[0].header[key] = unit

    return change


def test_electrons_that_drizzle_wrote_as_rates_are_rates(save, sci):
    image = read_drc(save(drizzled_as("cps")))
    np.testing.assert_array_equal(image.sci, sci)
    assert "BUNIT is 'ELECTRONS', but drizzle wrote cps" in " ".join(image.meta.notes)


def test_counts_are_divided_by_the_exposure_time(save, sci):
    image = read_drc(save(drizzled_as("counts")))
    np.testing.assert_allclose(image.sci, sci / 1000, rtol=1e-6)
    assert "divided by the exposure time" in " ".join(image.meta.notes)


@pytest.mark.parametrize("bunit", ["ELECTRONS", "", "mJy"])
def test_unknown_units_are_refused_with_the_way_out(save, sci, bunit):
    path = save(drizzled_as(None, bunit))
    with pytest.raises(MissingKeyword, match=r"--set input.bunit=<?electrons"):
        read_drc(path)
    counts = read_drc(path, InputSettings(bunit="electrons"))
    np.testing.assert_allclose(counts.sci, sci / 1000, rtol=1e-6)
    rates = read_drc(path, InputSettings(bunit="electrons/s"))
    np.testing.assert_array_equal(rates.sci, sci)


# ---------------------------------------------------------------- filters, detectors


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        (("F775W", "CLEAR2L"), "F775W"),
        (("CLEAR1L", "F814W"), "F814W"),
        (("CLEAR1S", "F435W"), "F435W"),
        (("f606w", "CLEAR2L"), "F606W"),
        (("F550M", "CLEAR2L"), "F550M"),
        (("CLEAR1L", "F850LP"), "F850LP"),
        (("CLEAR1L", "F660N"), "F660N"),
    ],
)
def test_filters(save, pair, name):
    assert image_meta(read_headers(save(filters=pair))).filter == name


@pytest.mark.parametrize(
    "pair",
    [
        ("F606W", "POL0V"),
        ("POL60UV", "F435W"),
        ("FR914M", "CLEAR2L"),
        ("CLEAR1L", "FR656N"),
        ("G800L", "CLEAR2L"),
        ("PR200L", "CLEAR2L"),
        ("F606W", "F814W"),
    ],
)
def test_polarizers_ramps_grisms_and_pairs_are_refused(save, pair):
    path = save(filters=pair)
    with pytest.raises(UnsupportedImage, match=r"jabc01010_drc.fits.*") as excinfo:
        read_drc(path)
    assert any(name in str(excinfo.value) for name in pair)


@pytest.mark.parametrize("pair", [("CLEAR1L", "CLEAR2L"), ("", "")])
def test_no_filter_at_all_is_asked_for(save, pair):
    path = save(filters=pair)
    with pytest.raises(MissingKeyword, match=r"--set input.filter=F775W"):  # as PHOTMODE says
        read_drc(path)
    assert read_drc(path, InputSettings(filter="f775w")).meta.filter == "F775W"


@pytest.mark.parametrize(
    ("cards", "what"),
    [
        ({"DETECTOR": "SBC"}, "ACS SBC"),
        ({"INSTRUME": "WFC3", "DETECTOR": "UVIS"}, "WFC3 UVIS"),
        ({"INSTRUME": "NIRCAM", "DETECTOR": ""}, "NIRCAM"),
        ({"DETECTOR": 3}, "ACS 3"),
    ],
)
def test_other_cameras_are_refused(save, cards, what):
    with pytest.raises(UnsupportedImage, match=what):
        read_drc(save(primary=cards))


def test_an_unknown_camera_is_asked_for(save):
    def bare(hdus):
        del hdus[0].header["INSTRUME"]

    path = save(bare)
    with pytest.raises(MissingKeyword, match=r"--set input.detector=WFC"):
        read_drc(path)
    assert read_drc(path, InputSettings(detector="WFC")).meta.detector == "WFC"


# ---------------------------------------------------------------- keywords


@pytest.mark.parametrize("value", [None, 0.0, -3.0, "INDEF", "", "N/A"])
def test_exposure_time_missing_or_unusable(save, value):
    def change(hdus):
        for key in ("EXPTIME", "TEXPTIME"):
            del hdus[0].header[key]
            if value is not None:
                hdus[0].header[key] = value

    path = save(change)
    with pytest.raises(MissingKeyword, match="EXPTIME is missing or 0"):
        read_drc(path)
    assert read_drc(path, InputSettings(exptime_s=60)).meta.exptime_s == 60


@pytest.mark.parametrize("value", [None, 0.0, -3.0, "INDEF", ""])
def test_photflam_missing_or_unusable(save, value):
    def change(hdus):
        del hdus["SCI"].header["PHOTFLAM"]
        if value is not None:
            hdus["SCI"].header["PHOTFLAM"] = value

    path = save(change)
    with pytest.raises(MissingKeyword, match=r"PHOTFLAM is missing or 0.*zeropoint_fallback"):
        read_drc(path)
    settings = read_drc(path, InputSettings(photflam=1e-19)).meta
    assert (settings.photflam, settings.zeropoint_origin) == (1e-19, "settings")
    table = read_drc(path, InputSettings(zeropoint_fallback=True)).meta
    assert (table.photflam, table.zeropoint_origin) == (1.0033e-19, "table")
    assert "bundled value of 2016-04-01" in " ".join(table.notes)


def test_the_fallback_is_not_used_where_the_header_has_the_number(save):
    meta = read_drc(save(), InputSettings(zeropoint_fallback=True)).meta
    assert (meta.photflam, meta.zeropoint_origin) == (9.93e-20, "header")


def test_photplam_missing_comes_from_the_table(save):
    def change(hdus):
        del hdus["SCI"].header["PHOTPLAM"]

    meta = read_drc(save(change)).meta
    assert meta.photplam == 7693.5
    assert "PHOTPLAM is missing" in " ".join(meta.notes)


def test_photflam_far_from_the_table_is_noted(save):
    assert "differs by" in " ".join(read_drc(save(sci_cards={"PHOTFLAM": 1.1e-19})).meta.notes)


@pytest.mark.parametrize(("scale_arcsec", "is_coarse"), [(0.05, False), (0.09, False), (0.1, True)])
def test_pixels_too_coarse_for_p_cr_are_noted(save, scale_arcsec, is_coarse):
    def rescale(hdus):
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[name] *= scale_arcsec / 0.05

    notes = " ".join(read_drc(save(rescale)).meta.notes)
    assert ("too coarse to distinguish stars from cosmic rays" in notes) == is_coarse


def test_the_sci_header_comes_before_primary(save):
    meta = read_drc(save(primary={"PHOTFLAM": 5e-20})).meta
    assert meta.photflam == 9.93e-20

    def only_primary(hdus):
        for key in ("PHOTFLAM", "PHOTPLAM"):
            hdus[0].header[key] = hdus["SCI"].header.pop(key)

    assert read_drc(save(only_primary, name="b_drc.fits")).meta.photflam == 9.93e-20


def test_times_fall_back_to_the_date_and_then_to_nothing(save):
    def dated(hdus):
        for key in ("EXPSTART", "EXPEND"):
            del hdus[0].header[key]
        hdus[0].header["DATE-OBS"], hdus[0].header["TIME-OBS"] = "2016-01-15", "12:00:00"

    meta = read_drc(save(dated)).meta
    assert meta.mjd_mid == pytest.approx(57402.5)
    assert "DATE-OBS" in " ".join(meta.notes)

    def undated(hdus):
        dated(hdus)
        hdus[0].header["DATE-OBS"] = "unknown"
        del hdus["SCI"].header["PHOTMODE"]

    meta = read_drc(save(undated, name="b_drc.fits")).meta
    assert np.isnan(meta.mjd_mid)
    assert "proper motions are not applied" in " ".join(meta.notes)
    assert (
        read_drc(save(undated, name="c_drc.fits"), InputSettings(mjd=57000)).meta.mjd_mid == 57000
    )


def test_a_drz_is_read_with_a_warning(save):
    meta = read_drc(save(name="jabc01010_drz.fits")).meta
    assert not meta.is_cte_corrected
    assert "charge-transfer" in " ".join(meta.notes)


def test_the_subtracted_sky_comes_from_the_table_of_headers(save):
    def tabled(hdus):
        rows = Table({"ROOTNAME": ["a", "a", "b", "b"], "MDRIZSKY": [20.0, 20.0, 30.0, 30.0]})
        hdus.append(fits.BinTableHDU(rows, name="HDRTAB"))

    meta = read_drc(save(tabled)).meta
    assert meta.subtracted_sky_rate == pytest.approx(100 / 2000)
    assert np.isnan(read_drc(save(name="b_drc.fits")).meta.subtracted_sky_rate)


# ---------------------------------------------------------------- astrometry


def test_pixel_positions_count_from_zero(save):
    image = read_drc(save())
    ra, dec = image.wcs.all_pix2world((SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2, 0)
    assert float(ra) == pytest.approx(36.92, abs=1e-9)
    assert float(dec) == pytest.approx(-8.47, abs=1e-9)


@pytest.mark.parametrize("what", ["absent", "pixels", "broken"])
def test_images_without_a_sky_are_refused(save, what):
    def change(hdus):
        head = hdus["SCI"].header
        if what == "absent":
            for key in ("CTYPE1", "CTYPE2"):
                del head[key]
        elif what == "pixels":
            head["CTYPE1"], head["CTYPE2"] = "X", "Y"
        else:
            for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
                head[key] = 0.0

    with pytest.raises(MissingKeyword, match="WCS"):
        read_drc(save(change))


def test_absurd_pixel_scales_are_refused(save):
    def change(hdus):
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            hdus["SCI"].header[key] *= 1e5

    with pytest.raises(MissingKeyword, match="pixels of 5e"):
        read_drc(save(change))


def test_distortion_and_other_leftovers_do_not_hurt(save):
    cards = {"CDELT1": 1.0, "CDELT2": 1.0, "PC1_1": 1.0, "WCSAXES": 2}
    image = read_drc(save(sci_cards=cards))
    assert image.scale_arcsec == pytest.approx(0.05, rel=1e-6)


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 2880,
        b"not FITS at all" * 300,
        b"SIMPLE  =                    T",
        b"\x1f\x8b\x08",
    ],
)
@pytest.mark.parametrize("name", ["bad_drc.fits", "bad_drc.fits.gz"])
def test_what_is_not_fits_is_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=name):
        read_drc(path)
    with pytest.raises(UnreadableFile, match=name):
        read_headers(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="a folder, not a file"):
        read_drc(tmp_path)
    with pytest.raises(UnreadableFile, match="no such file"):
        read_drc(tmp_path / "none.fits")


def test_a_file_that_may_not_be_read_is_not_called_damaged(save, monkeypatch):
    path = save()

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableFile, match=r"no permission to read it.*check its permissions"):
        read_drc(path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_files_are_refused(save, tmp_path, share, packed):
    whole = save().read_bytes()
    path = tmp_path / ("cut_drc.fits.gz" if packed else "cut_drc.fits")
    content = gzip.compress(whole, 1) if packed else whole
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableFile, match="cut_drc"):
        read_drc(path)


@pytest.mark.parametrize("plane", ["SCI", "WHT", "CTX"])
@pytest.mark.parametrize("where", ["header", "data", "end"])
def test_files_truncated_in_a_plane_are_refused(save, tmp_path, plane, where):
    whole = save()
    with fits.open(whole) as hdus:
        info = hdus[plane].fileinfo()
    at = {
        "header": info["hdrLoc"] + 700,
        "data": info["datLoc"] + info["datSpan"] // 2,
        "end": info["datLoc"] + 4 * SHAPE[0] * SHAPE[1] - 8,
    }[where]
    path = tmp_path / "cut_drc.fits"
    path.write_bytes(whole.read_bytes()[:at])
    with pytest.raises(UnreadableFile, match=r"cut_drc.fits"):
        read_drc(path)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_bytes_never_crash(save, tmp_path, packed):
    whole = save().read_bytes()
    content = gzip.compress(whole, 1) if packed else whole
    rng = np.random.default_rng(7)
    refusals = []
    for k in range(60):
        damaged = bytearray(content)
        # most of them in the headers, where they do something
        high = len(damaged) if packed or k % 3 == 0 else 16_000
        for place in rng.integers(0, high, 6):
            damaged[place] = rng.integers(0, 256)
        path = tmp_path / ("d_drc.fits.gz" if packed else "d_drc.fits")
        path.write_bytes(bytes(damaged))
        try:
            read_drc(path)
        except UnusableData as err:
            refusals.append(str(err))
    assert len(refusals) > 10
    assert all("d_drc" in message for message in refusals)


def test_files_without_an_image_are_refused(tmp_path):
    path = tmp_path / "t_drc.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1, 2]}), name="SCI")]).writeto(
        path
    )
    with pytest.raises(UnreadableFile, match="no image in it"):
        read_drc(path)
    fits.PrimaryHDU(np.ones(7)).writeto(path, overwrite=True)
    with pytest.raises(UnreadableFile, match="no image in it"):
        read_drc(path)


def test_a_cube_is_no_image(save):
    with pytest.raises(UnusableData, match=r"jabc01010_drc.fits"):
        read_drc(save(with_plane("SCI", np.ones((3, *SHAPE), dtype=np.float32))))


def test_planes_of_different_shapes_are_refused(save):
    with pytest.raises(InconsistentImage, match=r"SCI is \(40, 60\) but WHT is \(60, 40\)"):
        read_drc(save(with_plane("WHT", np.ones((60, 40), dtype=np.float32))))


@pytest.mark.parametrize("kind", [">f8", "i2", "u1"])
def test_other_types_of_pixels(save, kind):
    data = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 100
    image = read_drc(save(with_plane("SCI", data.astype(kind))))
    np.testing.assert_array_equal(image.sci[image.valid], data[image.valid])


# ---------------------------------------------------------------- real files


@pytest.mark.realdata
def test_real_cutouts_with_tens_of_thousands_of_cards(shared):
    folder = shared / "data" / "real_wfc_cutouts"
    path = folder / "COSJ100024+021749_F814W_sci.fits"
    headers = read_headers(path)
    assert len(headers.sci) >= 33_000
    assert len(headers.chips) == 1908
    image = read_drc(path)
    assert image.meta.filter == "F814W"
    assert image_meta(headers).n_exposures == len({c.exposure for c in headers.chips}) == 954
    # The cutout is not as deep as the mosaic: the scatter of the sky says so.
    assert image.meta.exptime_s == pytest.approx(9100, rel=0.2)
    assert image.meta.n_exposures == 19
    assert "s is estimated from it" in " ".join(image.meta.notes)
    assert image.meta.epoch_spread_yr == pytest.approx(11.69 / np.sqrt(12), rel=0.01)
    assert image.wht_type == "none"
    assert image.scale_arcsec == pytest.approx(0.03, abs=1e-4)
    # The WCS from its cards alone is that of the whole header.
    from astropy.wcs import WCS

    with fits.open(path) as hdus:
        short = hdus[0].header[:120]
        short.update({k: v for k, v in hdus[0].header.items() if k[:2] in ("CD", "CR", "CT")})
    short["RADESYS"], short["EQUINOX"] = "FK5", 2000.0
    ours = celestial_wcs(headers).wcs.all_pix2world(100, 200, 0)
    sky = WCS(short).pixel_to_world(100, 200).icrs
    np.testing.assert_allclose(ours, [sky.ra.deg, sky.dec.deg], rtol=0, atol=1e-9)
    assert sum(np.isfinite(c.exptime_s) for c in headers.chips) == 1908


@pytest.mark.realdata
def test_real_cutouts_with_inverse_variances(shared):
    for path in sorted((shared / "data" / "real_wfc_cutouts").glob("*primer_F606W_sci.fits")):
        image = read_drc(path)
        assert image.wht_type == "ivm"
        assert image.meta.n_exposures == 297
        assert image.scale_arcsec == pytest.approx(0.06, abs=2e-4)
        seconds = image.exptime_map_s[image.valid]
        assert seconds.min() > 0
        assert seconds.max() <= image.meta.exptime_s


@pytest.mark.realdata
def test_a_real_rate_that_says_electrons(shared):
    image = read_drc(shared / "data" / "real_wfc_cutouts" / "cosmos_147246_F814W_sci.fits")
    assert "taken for electrons/s" in " ".join(image.meta.notes)
    assert image.meta.n_exposures == 4


@pytest.mark.realdata
def test_the_real_hrc_drizzle_needs_what_its_headers_lack(shared):
    path = shared / "data" / "real_hrc" / "reference_square_image.fits"
    with pytest.raises(MissingKeyword, match=r"input.detector"):
        read_drc(path)
    image = read_drc(
        path,
        InputSettings(
            detector="HRC",
            filter="F606W",
            exptime_s=60,
            photflam=1.278e-19,
            photplam=5888.0,
            bunit="electrons/s",
        ),
    )
    assert image.meta.n_exposures == 1
    assert set(np.unique(image.n_exp)) == {0, 1}
    with pytest.raises(UnusableData, match="reference_blot_image"):
        read_drc(
            shared / "data" / "real_hrc" / "reference_blot_image.fits",
            InputSettings(detector="HRC", filter="F606W", photflam=1e-19, photplam=5888.0),
        )


# ---------------------------------------------------------------- looking


def uneven(hdus):
    """Give each pixel a weight and exposures of its own."""
    rng = np.random.default_rng(8)
    hdus["WHT"].data = rng.choice([0.0, 500.0, 1000.0], SHAPE).astype(np.float32)
    hdus["CTX"].data = rng.integers(0, 4, SHAPE).astype(np.int32)


def without_context(hdus):
    uneven(hdus)
    del hdus["CTX"]


@pytest.mark.parametrize(("change", "name", "kind"), [
    (uneven, "jabc01010_drc.fits", DrcLook),
    (uneven, "jabc01010_drc.fits.gz", DrcImage),
    (without_context, "jabc01010_drc.fits", DrcImage),
])  # fmt: skip
def test_a_look_shows_what_reading_gives(save, change, name, kind):
    path = save(change, name)
    truth, look = read_drc(path), look_at(path)
    assert isinstance(look, kind)
    assert (look.shape, look.has_context) == (truth.shape, truth.has_context)
    for part in (np.s_[:, :], np.s_[3:20:4, 50:70], np.s_[35:70, 5:9]):
        np.testing.assert_array_equal(look.sci[part], truth.sci[part])
        np.testing.assert_array_equal(look.n_exp[part], truth.n_exp[part])


def test_a_look_at_a_damaged_file_is_as_bad_as_reading_it(save):
    path = save()
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UnreadableFile):
        look_at(path)
