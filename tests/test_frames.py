"""The frame of an image on disk, and the copy of the image that has it."""

import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, Sip

from bycatch.errors import UnreadableFile
from bycatch.pipeline.frames import (
    TIED_NAME,
    frame_header,
    next_letter,
    read_frame,
    write_aligned_copy,
    write_frame,
)
from bycatch.sky.astrometry import FrameError
from bycatch.stages.align import AlignResult

SHIFT_MAS = np.array([350.0, -280.0])


def shifted(wcs, name="BYCATCH-GAIADR3"):
    """Return a WCS that is moved, turned by 0.02 deg, and named."""
    new = wcs.deepcopy()
    dec = np.radians(new.wcs.crval[1])
    new.wcs.crval = new.wcs.crval + SHIFT_MAS / 3.6e6 / [np.cos(dec), 1.0]
    c, s = np.cos(np.radians(0.02)), np.sin(np.radians(0.02))
    turn = np.array([[c, -s], [s, c]])
    if new.wcs.has_cd():
        new.wcs.cd = turn @ new.wcs.cd
    else:  # a scale that is the same along both axes
        new.wcs.pc = turn @ new.wcs.pc
    new.wcs.name = name
    new.wcs.radesys = "ICRS"
    new.wcs.set()
    return new


def result(wcs, grade="A", n=3, **changes):
    """Return the result of an alignment."""
    rng = np.random.default_rng(1)
    root = rng.normal(0, 1, (6, 6))
    names = ("dra_mas", "ddec_mas", "dra_loo_mas", "ddec_loo_mas", "dra_err_mas", "ddec_err_mas")
    matches = Table({"source": np.arange(n), "source_id": np.arange(n) + 2**60})
    matches["gaia_g"] = np.linspace(18, 20, n)
    for name in names:
        matches[name] = rng.normal(0, 1, n)
        matches[name].unit = "mas"
    matches["weight"] = np.ones(n)
    values = {
        "wcs": wcs, "grade": grade, "reason": "12 pairs", "geometry": "rshift", "n_matches": n,
        "n_field_matches": 12, "n_tied": 40, "n_reference": 14, "rms_ra_mas": 2.5,
        "rms_dec_mas": 3.5, "loo_rms_mas": 3.1, "odds": 1e-7, "shift_ra_mas": 350.0,
        "shift_dec_mas": -280.0, "roll_deg": 0.02, "scale_ppm": 0.0, "astrom_err_mas": 1.2,
        "distortion_mas": 0.0, "distortion_arcsec": np.nan,
        "frame_error": FrameError(36.92, -8.47, root @ root.T, None, 0.8), "release": "Gaia DR3",
        "epoch": 2016.05, "matches": matches,
    }  # fmt: skip
    return AlignResult(**values | changes)


@pytest.fixture(scope="module")
def header_wcs(new_drc):
    return WCS(new_drc(np.zeros((200, 240), np.float32))["SCI"].header)


@pytest.fixture
def written(header_wcs, tmp_path):
    """Return a result, and the frame that was written of it and read back."""
    outcome, path = result(shifted(header_wcs)), tmp_path / "jabc01010_wcs.fits"
    write_frame(outcome, path)
    return outcome, read_frame(path)


# ---------------------------------------------------------------- the file of the frame


def test_wcs_error_and_pairs_come_back(written):
    result, frame = written
    x, y = np.array([0.0, 239, 120]), np.array([0.0, 199, 30])
    for one, other in zip(frame.wcs.all_pix2world(x, y, 0), result.wcs.all_pix2world(x, y, 0),
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(frame.error.covariance, result.frame_error.covariance)
    assert (frame.error.ra_deg, frame.error.dec_deg) == (36.92, -8.47)
    assert frame.pairs.colnames == result.matches.colnames
    for name in frame.pairs.colnames:
        np.testing.assert_array_equal(frame.pairs[name], result.matches[name])
    assert frame.pairs["dra_mas"].unit == "mas"
    assert frame.grade == "A"


def test_the_cards_of_the_fit(written):
    _, frame = written
    for name, value in {
        "GRADE": "A", "NMATCHES": 3, "FITGEOM": "rshift", "RMS_RA": 2.5, "RMS_DEC": 3.5,
        "ODDS": 1e-7, "SHIFT_RA": 350.0, "SHIFTDEC": -280.0, "ROLL": 0.02, "SCALEPPM": 0.0,
        "RELEASE": "Gaia DR3", "EPOCH": 2016.05, "WCSNAME": "BYCATCH-GAIADR3",
    }.items():  # fmt: skip
        assert frame.header[name] == value
    covariance = frame.error.covariance
    assert frame.header["CRDER1"] == pytest.approx(np.sqrt(covariance[0, 0]) / 3.6e6)
    assert frame.header["CRDER2"] == pytest.approx(np.sqrt(covariance[1, 1]) / 3.6e6)


def test_what_is_not_known_has_no_card(header_wcs, tmp_path):
    nan = float("nan")
    outcome = result(header_wcs, "F", n=0, rms_ra_mas=nan, rms_dec_mas=nan, odds=nan, epoch=nan,
                   loo_rms_mas=nan, release="")  # fmt: skip
    write_frame(outcome, tmp_path / "wcs.fits")
    frame = read_frame(tmp_path / "wcs.fits")
    assert not {"RMS_RA", "RMS_DEC", "ODDS", "EPOCH", "LOO_RMS"} & set(frame.header)
    assert frame.header["WCSNAME"] == "IDC_0461802ej"
    assert len(frame.pairs) == 0
    assert frame.pairs.colnames == outcome.matches.colnames


def test_a_tied_wcs_does_not_keep_the_headers_name(header_wcs):
    outcome = result(shifted(header_wcs, "IDC_0461802ej"), "E")
    assert frame_header(outcome)["WCSNAME"] == TIED_NAME


@pytest.mark.parametrize("damage", ["text", "older", "cut"])
def test_a_damaged_frame_says_so(header_wcs, tmp_path, damage):
    path = tmp_path / "wcs.fits"
    write_frame(result(header_wcs), path)
    if damage == "text":
        path.write_text("no")
    elif damage == "older":
        fits.PrimaryHDU(header=frame_header(result(header_wcs))).writeto(path, overwrite=True)
    else:
        path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(UnreadableFile, match=r"wcs\.fits"):
        read_frame(path)


# ---------------------------------------------------------------- the copy of the image


@pytest.fixture
def drc(new_drc, tmp_path):
    """Return a function that writes a drizzled image with WCS cards in all planes."""

    def write(name="jabc01010_drc.fits", change=None):
        rng = np.random.default_rng(2)
        hdus = new_drc(rng.normal(0, 1, (40, 60)).astype(np.float32))
        hdus["SCI"].data[3, 4] = np.nan
        for plane in ("WHT", "CTX"):
            for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1",
                        "CD1_2", "CD2_1", "CD2_2", "WCSNAME"):  # fmt: skip
                hdus[plane].header[key] = hdus["SCI"].header[key]
        if change:
            change(hdus)
        hdus.writeto(tmp_path / name, checksum=True)
        return tmp_path / name

    return write


def aligned(source, grade="A"):
    """Write the aligned copy of a file; return the source's and the copy's path, and the frame."""
    sci = fits.getheader(source, "SCI")
    frame_file = source.with_name("wcs.fits")
    name = "BYCATCH-GAIADR3" if grade == "A" else sci["WCSNAME"]
    write_frame(result(shifted(WCS(sci), name), grade), frame_file)
    target = source.with_name("jabc01010_aligned_drc.fits")
    frame = read_frame(frame_file)
    write_aligned_copy(source, frame, target)
    return source, target, frame


def test_pixels_are_copied_bit_for_bit(drc):
    source, copy, _ = aligned(drc())
    with fits.open(source) as before, fits.open(copy) as after:
        assert [h.name for h in after] == [h.name for h in before]
        for one, other in zip(before, after, strict=True):
            if one.data is not None:
                assert one.data.dtype == other.data.dtype
                assert one.data.tobytes() == other.data.tobytes()


@pytest.mark.parametrize("plane", ["SCI", "WHT", "CTX"])
def test_every_plane_has_both_wcs(drc, plane):
    source, copy, frame = aligned(drc())
    old, new = fits.getheader(source, plane), fits.getheader(copy, plane)
    x, y = np.array([0.0, 59, 20]), np.array([0.0, 39, 7])
    for wcs, want in ((WCS(new), frame.wcs), (WCS(new, key="A"), WCS(old))):
        np.testing.assert_allclose(
            wcs.all_pix2world(x, y, 0), want.all_pix2world(x, y, 0), rtol=0, atol=1e-12
        )
    assert (new["WCSNAME"], new["WCSNAMEA"]) == ("BYCATCH-GAIADR3", "IDC_0461802ej")
    assert [new[f"CRVAL{i}A"] for i in (1, 2)] == [old["CRVAL1"], old["CRVAL2"]]
    assert [new[f"CD{i}_{j}A"] for i in (1, 2) for j in (1, 2)] == [
        old[f"CD{i}_{j}"] for i in (1, 2) for j in (1, 2)
    ]
    missing = set(old) - set(new)
    assert missing <= {"CHECKSUM", "DATASUM"}


def test_the_fit_is_written_by_the_observatorys_names(drc):
    _, copy, frame = aligned(drc())
    header = fits.getheader(copy, "SCI")
    assert (header["RMS_RA"], header["RMS_DEC"]) == (2.5, 3.5)
    assert (header["NMATCHES"], header["FITGEOM"]) == (3, "rshift")
    assert header["CRDER1"] == frame.header["CRDER1"]
    assert header["HDRNAME"] == "jabc01010_drc_BYCATCH-GAIADR3-hlet.fits"
    assert "a posteriori" in header["WCSTYPE"]
    assert "GaiaDR3" in header["WCSTYPE"]
    assert header["PHOTFLAM"] == 9.93e-20
    assert "NMATCHES" not in fits.getheader(copy, "WHT")


def test_no_checksum_is_wrong(drc):
    _, copy, _ = aligned(drc())
    with fits.open(copy, checksum=True) as hdus:  # warns where one is wrong
        assert "CHECKSUM" not in hdus["SCI"].header
        assert len(hdus) == 4


def test_the_next_free_letter_is_taken_and_o_is_left_alone(drc):
    def change(hdus):
        for letter in "ABCDEFGHIJKLMN":
            hdus["SCI"].header[f"WCSNAME{letter}"] = f"NAME{letter}"
            hdus["SCI"].header[f"CRVAL1{letter}"] = 1.0

    _, copy, _ = aligned(drc(change=change))
    header = fits.getheader(copy, "SCI")
    assert header["WCSNAMEP"] == "IDC_0461802ej"
    assert "WCSNAMEO" not in header
    assert (header["WCSNAMEA"], header["CRVAL1A"]) == ("NAMEA", 1.0)
    assert fits.getheader(copy, "WHT")["WCSNAMEA"] == "IDC_0461802ej"


def test_letters():
    header = fits.Header()
    assert next_letter(header) == "A"
    header["CRVAL1"] = 3.0
    header["DATE"] = "2020"
    assert next_letter(header) == "A"
    for letter in "ABCDEFGHIJKLMNPQRSTUVWXYZ":
        header[f"CTYPE1{letter}"] = "RA---TAN"
    assert next_letter(header) == ""


def test_cards_of_an_earlier_fit_do_not_stay(drc):
    def change(hdus):
        for plane in ("SCI", "WHT"):
            hdus[plane].header["HDRNAME"] = "jabc01010_drc_OLD-hlet.fits"
            hdus[plane].header["WCSTYPE"] = "undistorted not aligned"
        hdus["SCI"].header["LONPOLE"] = 180.0
        hdus["SCI"].header["RADESYS"] = "FK5"

    _, copy, _ = aligned(drc(change=change))
    header = fits.getheader(copy, "SCI")
    assert "OLD" not in header["HDRNAME"]
    assert (header["RADESYS"], header["RADESYSA"]) == ("ICRS", "FK5")
    assert "HDRNAME" not in fits.getheader(copy, "WHT")


def test_a_header_of_pc_and_cdelt(drc):
    def change(hdus):
        header = hdus["SCI"].header
        for i in (1, 2):
            header[f"CDELT{i}"] = 0.05 / 3600
            for j in (1, 2):
                header[f"PC{i}_{j}"] = header.pop(f"CD{i}_{j}") / (0.05 / 3600)

    source, copy, frame = aligned(drc(change=change))
    header = fits.getheader(copy, "SCI")
    assert not {"CDELT1", "PC1_1"} & set(header)
    for wcs, want in (
        (WCS(header), frame.wcs),
        (WCS(header, key="A"), WCS(fits.getheader(source, "SCI"))),
    ):
        np.testing.assert_allclose(
            wcs.all_pix2world([5.0], [6.0], 0), want.all_pix2world([5.0], [6.0], 0), atol=1e-12
        )


def test_a_tied_image_says_that_it_is_not_on_gaia(drc):
    _, copy, _ = aligned(drc(), "E")
    header = fits.getheader(copy, "SCI")
    assert header["WCSNAME"] == TIED_NAME
    assert "a priori" in header["WCSTYPE"]


def test_a_compressed_file_is_read(drc):
    import gzip

    source = drc()
    gz_path = source.with_name("jabc01010_drc.fits.gz")
    gz_path.write_bytes(gzip.compress(source.read_bytes()))
    _, copy, frame = aligned(gz_path)
    assert not copy.read_bytes().startswith(b"\x1f\x8b")
    assert fits.getdata(copy, "SCI").tobytes() == fits.getdata(source, "SCI").tobytes()
    assert fits.getheader(copy, "SCI")["CRVAL1"] == frame.wcs.wcs.crval[0]


def test_a_tile_compressed_file_keeps_its_pixels(drc, tmp_path):
    source = drc("plain_drc.fits")
    gz_path = tmp_path / "jabc01010_drc.fits.fz"
    with fits.open(source) as hdus:
        out = fits.HDUList([hdus[0].copy()])
        for name in ("SCI", "WHT", "CTX"):
            out.append(
                fits.CompImageHDU(
                    hdus[name].data, hdus[name].header, name=name, compression_type="RICE_1"
                )
            )
        out.writeto(gz_path)
    _, copy, frame = aligned(gz_path)
    with fits.open(gz_path) as before, fits.open(copy) as after:
        for name in ("SCI", "WHT", "CTX"):
            np.testing.assert_array_equal(before[name].data, after[name].data)
        assert after["SCI"].header["CRVAL1"] == frame.wcs.wcs.crval[0]
        assert after["CTX"].header["WCSNAMEA"] == "IDC_0461802ej"


def test_the_source_is_left_alone_and_a_link_is_followed(drc, tmp_path):
    source = drc("original_drc.fits")
    before = source.read_bytes()
    link = tmp_path / "jabc01010_drc.fits"
    link.symlink_to(source)
    _, copy, _ = aligned(link)
    assert source.read_bytes() == before
    assert not copy.is_symlink()


def test_bytes_that_are_no_image_leave_nothing_behind(drc, tmp_path):
    source = drc()
    _, copy, frame = aligned(source)
    copy.unlink()
    shutil.copy(source, tmp_path / "cut_drc.fits")
    cut = tmp_path / "cut_drc.fits"
    cut.write_bytes(cut.read_bytes()[:-9000])
    with pytest.raises(UnreadableFile, match="cut_drc"):
        write_aligned_copy(cut, frame, copy)
    assert not copy.exists()
    assert not list(tmp_path.glob(".part-*"))


def test_bycatch_reads_the_copy(drc):
    from bycatch.images.drc import read_drc

    _, copy, frame = aligned(drc())
    image = read_drc(copy)
    np.testing.assert_allclose(image.wcs.wcs.crval, frame.wcs.wcs.crval, rtol=1e-14)
    assert image.meta.wcsname == "BYCATCH-GAIADR3"


def test_a_distortion_is_in_every_plane_of_the_copy(drc, tmp_path):
    from bycatch.images.drc import read_drc

    source, copy = drc(), tmp_path / "jabc01010_aligned_drc.fits"
    wcs = shifted(WCS(fits.getheader(source, "SCI")))
    a, b = np.zeros((2, 4, 4))
    a[2, 0], b[1, 2] = 3e-5, -1e-7
    wcs.sip = Sip(a, b, -a, -b, wcs.wcs.crpix)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    write_frame(result(wcs), tmp_path / "wcs.fits")
    write_aligned_copy(source, read_frame(tmp_path / "wcs.fits"), copy)
    x, y = np.array([3.0, 60.0]), np.array([70.0, 20.0])
    true = np.array(wcs.all_pix2world(x, y, 0))
    assert np.abs(true - wcs.wcs_pix2world(x, y, 0)).max() > 1e-8
    for plane in ("SCI", "WHT", "CTX"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = WCS(fits.getheader(copy, plane)).all_pix2world(x, y, 0)
        assert np.abs(np.array(seen) - true).max() < 1e-12
    assert np.abs(np.array(read_drc(copy).wcs.all_pix2world(x, y, 0)) - true).max() < 1e-12


# ---------------------------------------------------------------- other forms of the old WCS


def as_crota(header):
    """CDELT and CROTA2 instead of the CD matrix."""
    for i in (1, 2):
        for j in (1, 2):
            del header[f"CD{i}_{j}"]
    header["CDELT1"], header["CDELT2"], header["CROTA2"] = -SCALE, SCALE, -np.degrees(0.5)


def as_tpv(header):
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    header["PV1_1"] = header["PV2_1"] = 1.0


def as_old_frame(header):
    header["RADECSYS"], header["EPOCH"] = "FK5", 2000.0


def with_leftovers(header):
    header["A_ORDER"] = header["B_ORDER"] = 2
    header["A_2_0"], header["CROTA2"] = 1e-5, 30.0


def with_a_third_axis(header):
    header["WCSAXES"], header["CTYPE3"], header["CRVAL3"], header["CD3_3"] = 3, "FREQ", 1e14, 1.0


SCALE = 0.05 / 3600
CHANGES = [as_crota, as_tpv, as_old_frame, with_leftovers, with_a_third_axis]


@pytest.mark.parametrize("change", CHANGES)
def test_the_copy_holds_two_consistent_wcs(drc, change):
    from bycatch.images.headers import read_headers
    from bycatch.images.wcs import celestial_wcs

    def changed(hdus):
        change(hdus["SCI"].header)
        hdus["SCI"].header["ORIENTAT"] = 77.0
        hdus[0].header["CTYPE1"] = "RA---TAN"

    source = drc(change=changed)
    before = celestial_wcs(read_headers(source)).wcs
    write_frame(result(shifted(before)), source.with_name("wcs.fits"))
    frame = read_frame(source.with_name("wcs.fits"))
    copy = source.with_name("jabc01010_aligned_drc.fits")
    write_aligned_copy(source, frame, copy)
    header = fits.getheader(copy, "SCI")
    x, y = np.array([0.0, 59, 20]), np.array([0.0, 39, 7])
    for key, want in ((" ", frame.wcs), ("A", before)):
        sky = WCS(header, key=key).pixel_to_world(x, y).icrs
        ra, dec = want.all_pix2world(x, y, 0)
        np.testing.assert_allclose([sky.ra.deg, sky.dec.deg], [ra, dec], rtol=0, atol=1e-12)
    left = {"CDELT1", "CROTA2", "PV1_1", "RADECSYS", "EPOCH", "A_ORDER", "A_2_0", "CTYPE3", "CD3_3"}
    assert not left & set(header)
    assert "CTYPE1" not in fits.getheader(copy)
    matrix = frame.wcs.wcs.cd
    assert header["ORIENTAT"] == pytest.approx(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))
