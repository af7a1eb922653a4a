"""Files that are not whole: cut anywhere, filled with zeros, with a bit that changed."""

import gzip
import zlib

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bycatch.errors import UnreadableFile, UnusableData
from bycatch.images.drc import read_drc
from bycatch.images.files import open_fits
from bycatch.images.integrity import RECORD, TAPE_RECORD
from bycatch.settings import InputSettings

SHAPE = (40, 60)
UNCHECKED = InputSettings(verify=False)


def hdrtab():
    names = np.array(["jabc01aaq", "jabc01aaq", "jabc01baq", "jabc01baq"])
    return fits.BinTableHDU(Table({"ROOTNAME": names, "MDRIZSKY": np.ones(4)}), name="HDRTAB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("integrity")


@pytest.fixture(scope="module")
def hdus(new_drc):
    """An image with its table of inputs, as the archive delivers it."""
    sci = np.random.default_rng(1).normal(0.0, 0.01, SHAPE).astype(np.float32)
    sci[:, :5], sci[-2:] = np.nan, np.nan
    result = new_drc(sci, primary={"NEXTEND": 4})
    result.append(hdrtab())
    return result


@pytest.fixture(scope="module")
def whole(hdus, folder):
    """The bytes of the image: as it is, gzipped, compressed, and with checksums."""
    result_of = {}
    for kind in ("plain", "summed"):
        copied = fits.HDUList([hdu.copy() for hdu in hdus])  # writing sums changes the headers
        copied.writeto(folder / kind, checksum=kind == "summed")
        result_of[kind] = (folder / kind).read_bytes()
    result_of["gz"] = gzip.compress(result_of["plain"], 6)
    packed = fits.HDUList([fits.PrimaryHDU(header=hdus[0].header)])
    for hdu in hdus[1:4]:
        packed.append(fits.CompImageHDU(hdu.data, hdu.header, hdu.name, "GZIP_1", quantize_level=0))
    packed.append(hdrtab())
    packed.writeto(folder / "packed")
    result_of["fz"] = (folder / "packed").read_bytes()
    return result_of


SUFFIXES = {"plain": ".fits", "summed": ".fits", "gz": ".fits.gz", "fz": ".fits.fz"}


def read(content, folder, kind="plain", given=None):
    path = folder / f"any_drc{SUFFIXES[kind]}"
    path.write_bytes(content)
    return read_drc(path, given)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in ("sci", "n_exp", "exptime_map_s")
    )


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_whole_file_is_read_without_a_word(whole, folder, kind):
    image = read(whole[kind], folder, kind)
    assert image.meta.notes == ()
    assert same(image, read(whole["plain"], folder))


# ---------------------------------------------------------------- cuts


@pytest.mark.parametrize("kind", SUFFIXES)
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused_wherever_it_was_cut(whole, folder, kind, share):
    content = whole[kind]
    with pytest.raises(UnreadableFile, match="any_drc"):
        read(content[: int(share * len(content))], folder, kind)


def test_every_cut_between_extensions_is_refused_and_says_what_is_lost(hdus, whole, folder):
    with fits.open(folder / "plain") as parts:
        starts = [hdu.fileinfo()["hdrLoc"] for hdu in parts]
    for count, start in list(enumerate(starts))[1:]:
        with pytest.raises(
            UnreadableFile, match=rf"NEXTEND is 4, {count - 1} are there"
        ) as excinfo:
            read(whole["plain"][:start], folder)
        assert all(name in str(excinfo.value) for name in ("SCI", "WHT", "CTX")[: count - 1])
        with pytest.raises(UnreadableFile, match=r"ends early, .* could be unpacked"):
            read(gzip.compress(whole["plain"])[: -1 - start // 10], folder, "gz")


def test_what_a_cut_file_lost_is_reported(whole, folder):
    with fits.open(folder / "plain") as hdus:
        wht = hdus["WHT"].fileinfo()
    cut = whole["plain"][: wht["datLoc"] + 5000]
    total = (wht["datLoc"] + wht["datSpan"]) / 1e6
    told = f"ends after {len(cut) / 1e6:.3g} of {total:.3g} MB, within its WHT"
    with pytest.raises(UnreadableFile, match=told):
        read(cut, folder)


def test_a_cutout_may_keep_the_header_of_its_mosaic(hdus, folder):
    head = hdus[0].header.copy()
    head.update(hdus["SCI"].header.copy(strip=True))
    head.pop("EXTNAME", None)
    head["NEXTEND"], head["D001OUWE"] = 6, "mosaic_wht.fits"
    path = folder / "cutout.fits"
    fits.PrimaryHDU(hdus["SCI"].data, head).writeto(path)
    assert read_drc(path).wht_type == "none"


@pytest.mark.parametrize(("plane", "key"), [("WHT", "D001OUWE"), ("CTX", "D001OUCO")])
def test_a_plane_that_drizzle_wrote_has_to_be_there(new_drc, folder, plane, key):
    result = new_drc(np.random.default_rng(2).normal(size=SHAPE).astype(np.float32))
    result[0].header[key] = "jabc01010_drc_x.fits"
    path = folder / f"without_{plane}.fits"
    result.writeto(path)
    assert read_drc(path).has_context
    del result[plane]
    result.writeto(path, overwrite=True)
    with pytest.raises(UnusableData, match=rf"{plane}\) is missing: drizzle wrote one \({key}"):
        read_drc(path)
    assert read_drc(path, UNCHECKED).meta.notes


# ---------------------------------------------------------------- zeros, and what follows


@settings(max_examples=80, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_zeros_up_to_the_end_are_found_out(whole, folder, share):
    content = whole["plain"]
    at = int(share * len(content))
    filled = content[:at] + bytes(len(content) - at)
    try:
        image = read(filled, folder)
    except UnusableData:
        return
    truth = read(content, folder)
    # Fewer pixels than a lost part has, or only padding and the no-data border.
    assert np.count_nonzero(truth.n_exp != image.n_exp) < 64
    assert np.array_equal(truth.sci, image.sci, equal_nan=True)


@pytest.mark.parametrize("plane", ["SCI", "CTX"])
def test_rows_of_zeros_under_weight_are_lost_parts(hdus, folder, plane):
    path = folder / f"hole_{plane}.fits"
    opened_hdus = fits.HDUList([hdu.copy() for hdu in hdus])
    opened_hdus[plane].data[10:13, 30:] = 0  # not whole rows: they may be data
    opened_hdus.writeto(path, overwrite=True)
    assert read_drc(path).valid[11, 40]
    opened_hdus[plane].data[10:13] = 0
    opened_hdus.writeto(path, overwrite=True)
    with pytest.raises(UnusableData, match=rf"{plane} is exactly 0 in whole rows .* 165 pixels"):
        read_drc(path)
    assert read_drc(path, UNCHECKED).valid[11, 40]


def test_a_header_of_zeros_is_no_end(whole, folder):
    with fits.open(folder / "plain") as hdus:
        info = hdus["WHT"].fileinfo()
    content = bytearray(whole["plain"])
    content[info["hdrLoc"] : info["datLoc"]] = bytes(info["datLoc"] - info["hdrLoc"])
    with pytest.raises(UnreadableFile, match="after its SCI belong to no extension"):
        read(bytes(content), folder)


@pytest.mark.parametrize(("tail", "is_fine"), [
    (bytes(RECORD), True),
    (bytes(TAPE_RECORD - RECORD), True),
    (bytes(TAPE_RECORD), False),
    (b"x" * 10, False),
    (b"XTENSION= 'IMAGE   '" + b" " * 60, False),
])  # fmt: skip
def test_what_follows_the_last_extension(whole, folder, tail, is_fine):
    if is_fine:
        assert read(whole["plain"] + tail, folder).meta.notes == ()
        return
    with pytest.raises(UnreadableFile, match="after its HDRTAB"):
        read(whole["plain"] + tail, folder)


# ---------------------------------------------------------------- gzip


def test_gzip_of_several_members_and_padding_is_whole(whole, folder):
    content = whole["plain"]
    parts = [content[:7000], content[7000:], b""]
    packed = b"".join(gzip.compress(part) for part in parts)
    assert same(read(packed + bytes(5000), folder, "gz"), read(content, folder))


@pytest.mark.parametrize("place", [-8, -4, -2000])
def test_a_wrong_sum_or_length_of_gzip_is_found(whole, folder, place):
    packed = bytearray(gzip.compress(whole["plain"], 0))  # stored: only its sum can tell
    packed[place] ^= 4
    with pytest.raises(UnreadableFile, match="damaged"):
        read(bytes(packed), folder, "gz", UNCHECKED)


def test_bytes_after_gzip_are_refused(whole, folder):
    with pytest.raises(UnreadableFile, match="damaged"):
        read(whole["gz"] + b"more", folder, "gz")


def test_the_name_does_not_show_whether_a_file_is_gzipped(whole, folder):
    assert read(whole["plain"], folder, "gz").valid.any()
    assert read(whole["gz"], folder, "plain").valid.any()
    deflated = zlib.compress(whole["plain"])
    with pytest.raises(UnreadableFile, match="not FITS"):
        read(deflated, folder, "gz")


# ---------------------------------------------------------------- sums


@settings(max_examples=80, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_where_there_are_sums(whole, folder, share, bit):
    content = bytearray(whole["summed"])
    at = int(share * len(content))
    assume(b"CHECKSUM" not in content[max(at - 7, 0) : at + 8])  # its name: then there is none
    content[at] ^= 1 << bit
    with pytest.raises(UnusableData, match="any_drc"):
        read(bytes(content), folder, "summed")


def test_sums_are_compared_where_they_are_stated(whole, folder):
    content = bytearray(whole["summed"])
    with open_fits(folder / "summed") as hdus:
        at = hdus["CTX"].fileinfo()["datLoc"] + 4 * 500
    content[at + 3] ^= 3
    with pytest.raises(UnreadableFile, match=r"data of its CTX do not match DATASUM"):
        read(bytes(content), folder)
    assert read(bytes(content), folder, given=UNCHECKED).has_context
    edited = whole["summed"].replace(b"F775W", b"F606W", 1)
    with pytest.raises(
        UnreadableFile, match="header and data of its PRIMARY do not match CHECKSUM"
    ):
        read(edited, folder)


@pytest.mark.parametrize("card", ["''", "'0'", "'0000000000000000'", "'  '"])
def test_sums_that_are_not_stated_are_not_compared(hdus, folder, card):
    opened_hdus = fits.HDUList([hdu.copy() for hdu in hdus])
    opened_hdus["SCI"].header["CHECKSUM"] = card.strip("'")
    if card != "'0'":
        opened_hdus["SCI"].header["DATASUM"] = ""
    path = folder / "unstated.fits"
    opened_hdus.writeto(path, overwrite=True)
    assert read_drc(path).meta.notes == ()
