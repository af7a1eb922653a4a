"""One accessor for planes: however a file holds them, every reader sees the same image."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from bycatch.errors import InconsistentImage, UnusableData
from bycatch.images.drc import read_drc
from bycatch.images.exposures import exposure_sets
from bycatch.images.look import look_at
from bycatch.images.planes import context_sibling, weight_sibling

SHAPE = (30, 44)
STEP = 2.0**-12
EVERYWHERE = np.mgrid[: SHAPE[0], : SHAPE[1]].reshape(2, -1)[::-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planes")


@pytest.fixture(scope="module")
def pixels(new_drc):
    """The planes of an image whose values single precision and scaled integers both hold."""
    rng = np.random.default_rng(5)
    sci = (np.rint(rng.normal(0, 0.009, SHAPE) / STEP) * STEP).astype(np.float32)
    sci[20:24, 30:34] = 3.0
    sci[:, :4] = np.nan
    hdus = new_drc(sci, exptime_s=1024.0)
    hdus["CTX"].data[:, 4:20] = 4
    hdus["WHT"].data[:, 4:20] = 512
    return hdus


@pytest.fixture(scope="module")
def truth(pixels, folder):
    path = folder / "truth_drc.fits"
    pixels.writeto(path)
    return read_drc(path)


def seen(path, truth, wht=None, ctx=None):
    """Check that all readers see the image, in a file of its own or not."""
    image, look = read_drc(path, None, wht, ctx), look_at(path, None, wht, ctx)
    assert image.meta.notes == ()
    for name in ("sci", "n_exp"):
        np.testing.assert_array_equal(getattr(image, name), getattr(truth, name))
        part = getattr(look, name)[: SHAPE[0], : SHAPE[1]]
        np.testing.assert_array_equal(part, getattr(truth, name))
    np.testing.assert_array_equal(image.exptime_map_s, truth.exptime_map_s)
    np.testing.assert_array_equal(image.wht, truth.wht)
    sets = exposure_sets(image.path, image.meta, *EVERYWHERE, image.ctx_path)
    expected_sets = exposure_sets(truth.path, truth.meta, *EVERYWHERE)
    np.testing.assert_array_equal(sets, expected_sets)
    assert set(expected_sets) == {0, 2, 3}
    return image


def scaled(data, kind, blank):
    """Return an extension of integers that stand for multiples of a step, with BLANK for NaN."""
    hdu = fits.ImageHDU(data)
    stored = np.where(np.isfinite(data), np.nan_to_num(data) / STEP - 1600, blank).astype(kind)
    hdu = fits.ImageHDU(stored)
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = STEP, 1600 * STEP, blank
    return hdu


FLOATS = ["f4", ">f4", "f8", ">f8", "i2 scaled", "i4 scaled"]
WEIGHTS = ["f4", "f8", "i2", "i4", "u2", "u4"]
CONTEXTS = ["i4", ">i4", "i2", "u1", "u2", "u4", "i8", "f4", "f8"]


def changed(pixels, sci, wht, ctx, leading):
    """Return the same planes in another representation, with more axes of length 1."""
    parts = []
    for name, kind in (("SCI", sci), ("WHT", wht), ("CTX", ctx)):
        data, head = pixels[name].data, pixels[name].header
        hdu = scaled(data, kind.split()[0], -32768) if "scaled" in kind else None
        hdu = hdu or fits.ImageHDU(data.astype(kind))
        extra = {k: v for k, v in hdu.header.items() if k in ("BSCALE", "BZERO", "BLANK")}
        bare = head.copy(strip=True)
        bare.update(extra)
        shape = (1,) * leading + SHAPE
        if extra and "scaled" in kind:
            new = fits.ImageHDU(hdu.data.reshape(shape))
            for key, value in {**bare, **extra}.items():
                new.header[key] = value
        else:
            new = fits.ImageHDU(hdu.data.reshape(shape), bare)
        new.header["EXTNAME"] = name
        parts.append(new)
    return fits.HDUList([pixels[0].copy(), *parts])


@settings(max_examples=40, deadline=None)
@given(
    sci=st.sampled_from(FLOATS),
    wht=st.sampled_from(WEIGHTS),
    ctx=st.sampled_from(CONTEXTS),
    leading=st.integers(0, 2),
    packed=st.booleans(),
)
def test_any_representation_is_the_same_image(
    pixels, truth, folder, sci, wht, ctx, leading, packed
):
    path = folder / f"any_drc.fits{'.gz' if packed else ''}"
    changed(pixels, sci, wht, ctx, leading).writeto(path, overwrite=True)
    seen(path, truth)


@pytest.mark.parametrize("names", [("sci", "wht", "ctx"), (" SCI", "Wht ", " ctx ")])
def test_names_of_extensions_in_any_case_and_with_blanks(pixels, truth, folder, names):
    content = (folder / "truth_drc.fits").read_bytes()
    for old, new in zip(("SCI", "WHT", "CTX"), names, strict=True):
        content = content.replace(
            f"EXTNAME = '{old:8s}'".encode(), f"EXTNAME = '{new:8s}'".encode()
        )
    path = folder / "named_drc.fits"
    path.write_bytes(content)
    seen(path, truth)


# ---------------------------------------------------------------- files of their own


def apart(pixels, folder, stem, suffixes, kind="PRIMARY"):
    """Write the planes to files of their own."""
    paths = []
    for name, suffix in zip(("SCI", "WHT", "CTX"), suffixes, strict=True):
        head = pixels[0].header.copy()
        head.update(pixels[name].header.copy(strip=True))
        head.pop("EXTNAME", None)
        path = folder / f"{stem}_{name.lower()}{suffix}"
        data = pixels[name].data
        if suffix == ".fits.fz":
            hdu = fits.CompImageHDU(data, head, compression_type="GZIP_1", quantize_level=0)
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
        elif kind == "PRIMARY":
            fits.PrimaryHDU(data, head).writeto(path)
        else:
            main = fits.PrimaryHDU(header=pixels[0].header)
            fits.HDUList([main, fits.ImageHDU(data, head, name=name)]).writeto(path)
        paths.append(path)
    return paths


@pytest.mark.parametrize("stem", ["jabc01010_drc", "cut"])
@pytest.mark.parametrize("kind", ["PRIMARY", "extension"])
@pytest.mark.parametrize(
    "suffixes",
    [
        (".fits", ".fits", ".fits"),
        (".fits.gz", ".fits.gz", ".fits.gz"),
        (".fits.fz", ".fits.fz", ".fits.fz"),
        (".fits", ".fits.gz", ".fits.fz"),
    ],
)
def test_planes_in_files_of_their_own(pixels, truth, tmp_path, stem, kind, suffixes):
    sci, wht, ctx = apart(pixels, tmp_path, stem, suffixes, kind)
    assert (weight_sibling(sci), context_sibling(sci)) == (wht, ctx)
    image = seen(sci, truth)
    assert (image.wht_path, image.ctx_path) == (wht, ctx)
    elsewhere = sci.rename(tmp_path / f"other{suffixes[0]}")
    assert not read_drc(elsewhere).has_context
    seen(elsewhere, truth, wht, ctx)


def test_siblings_follow_the_case_of_the_name(tmp_path):
    for name in ("A_SCI.FITS", "A_WHT.FITS", "B_SCI.FITS", "C_drc.fits", "C_wht.fits"):
        (tmp_path / name).touch()
    assert weight_sibling(tmp_path / "A_SCI.FITS") == tmp_path / "A_WHT.FITS"
    assert context_sibling(tmp_path / "A_SCI.FITS") is None
    assert weight_sibling(tmp_path / "B_SCI.FITS") is None
    assert weight_sibling(tmp_path / "C_drc.fits") is None


@pytest.mark.parametrize("kind", ["wht", "ctx"])
def test_a_damaged_or_foreign_sibling_is_refused_by_its_name(pixels, tmp_path, kind):
    sci = apart(pixels, tmp_path, "cut", (".fits",) * 3)[0]
    sibling = tmp_path / f"cut_{kind}.fits"
    whole = sibling.read_bytes()
    sibling.write_bytes(whole[:-3000])
    with pytest.raises(UnusableData, match=rf"cut_{kind}.fits: ends after"):
        read_drc(sci)
    fits.PrimaryHDU(np.ones((3, 4), dtype=np.int32)).writeto(sibling, overwrite=True)
    with pytest.raises(InconsistentImage, match=rf"cut_{kind}.fits: SCI .* but .* is \(3, 4\)"):
        read_drc(sci)
    fits.PrimaryHDU().writeto(sibling, overwrite=True)
    with pytest.raises(UnusableData, match=rf"cut_{kind}.fits: no .* image in it"):
        read_drc(sci)


# ---------------------------------------------------------------- what is no plane


@pytest.mark.parametrize("name", ["SCI", "WHT"])
@pytest.mark.parametrize("in_primary", [False, True])
def test_a_cube_is_refused_by_name(pixels, tmp_path, name, in_primary):
    hdus = fits.HDUList([hdu.copy() for hdu in pixels])
    cube = np.repeat(hdus[name].data[np.newaxis], 3, axis=0)
    path = tmp_path / "cube_sci.fits"
    if in_primary:
        head = hdus[0].header.copy()
        head.update(hdus["SCI"].header.copy(strip=True))
        head.pop("EXTNAME", None)
        fits.PrimaryHDU(cube, head).writeto(path)
        name = "PRIMARY"
    else:
        hdus[name].data = cube
        hdus.writeto(path)
    told = rf"cube_sci.fits: {name} is a cube of 3 planes \(3, 30, 44\)"
    with pytest.raises(InconsistentImage, match=told):
        read_drc(path)


def test_a_context_for_more_inputs_than_there_are_is_refused(pixels, tmp_path):
    hdus = fits.HDUList([hdu.copy() for hdu in pixels])
    hdus["CTX"].data = np.repeat(hdus["CTX"].data[np.newaxis], 3, axis=0)
    path = tmp_path / "cube_drc.fits"
    hdus.writeto(path)
    with pytest.raises(InconsistentImage, match=r"cube_drc.fits: CTX is a cube of 3 planes"):
        read_drc(path)


@pytest.mark.parametrize("name", ["SCI", "WHT", "CTX"])
def test_a_plane_that_is_there_twice_is_refused(pixels, tmp_path, name):
    hdus = fits.HDUList([hdu.copy() for hdu in pixels])
    second = hdus[name].copy()
    second.ver = 2
    hdus.append(second)
    path = tmp_path / "twice_drc.fits"
    hdus.writeto(path)
    for reader in (read_drc, look_at):
        with pytest.raises(InconsistentImage, match=rf"2 {name} extensions \(EXTVER 1, 2\)"):
            reader(path)


@pytest.mark.parametrize(("ctx", "told"), [
    (np.full(SHAPE, 1.5, np.float32), "not 32-bit integers"),
    (np.full(SHAPE, 1e20, np.float32), "not 32-bit integers"),
    (np.full(SHAPE, -np.inf, np.float64), "not 32-bit integers"),
])  # fmt: skip
def test_a_context_of_other_numbers_is_not_used(pixels, tmp_path, ctx, told):
    hdus = fits.HDUList([hdu.copy() for hdu in pixels])
    hdus["CTX"] = fits.ImageHDU(ctx, name="CTX")
    path = tmp_path / "odd_drc.fits"
    hdus.writeto(path)
    image = read_drc(path)
    assert not image.has_context
    assert told in " ".join(image.meta.notes)
    assert not exposure_sets(path, image.meta, [10.0], [10.0]).any()


def test_single_precision_holds_24_inputs_only(new_drc, tmp_path):
    for n_exposures, is_used in ((12, True), (13, False)):
        sci = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
        hdus = new_drc(sci, n_exposures=n_exposures)
        bits = sum(1 << (2 * k) for k in range(n_exposures))
        hdus["CTX"] = fits.ImageHDU(np.full(SHAPE, bits, np.float32), name="CTX")
        path = tmp_path / f"n{n_exposures}_drc.fits"
        hdus.writeto(path)
        assert read_drc(path).has_context == is_used
