"""What a file is comes first, whatever its name and whatever the user states."""

import numpy as np
import pytest
from astropy.io import fits

from bycatch import Settings
from bycatch.errors import MissingKeyword, UnreadableFile, UnsupportedImage
from bycatch.images.drc import read_drc
from bycatch.images.headers import read_headers
from bycatch.images.kinds import FILE_TYPES
from bycatch.pipeline.intake import scan
from bycatch.settings import InputSettings

STATED = InputSettings(
    detector="WFC", filter="F775W", exptime_s=500, n_exposures=1, photflam=1e-19, photplam=7693,
    bunit="electrons", mjd=57402.0, wht_type="exptime",
)  # fmt: skip
SHAPE = (40, 60)
SKY = np.random.default_rng(1).normal(0, 0.009, SHAPE).astype(np.float32)


def frame(new_drc, **cards):
    """Return an exposure as the archive delivers it: SCI, ERR, DQ, and its distortion."""
    hdus = new_drc(SKY)
    head = hdus[0].header
    for key in [k for k in head if k.startswith(("D00", "NDRIZIM"))]:
        del head[key]
    head["DRIZCORR"] = "PERFORM"
    head.update(cards)
    sci = hdus["SCI"]
    sci.header["BUNIT"], sci.header["CCDCHIP"] = "ELECTRONS", 2
    planes = [
        fits.ImageHDU(np.ones(SHAPE, np.float32), name="ERR"),
        fits.ImageHDU(np.zeros(SHAPE, np.int16), name="DQ"),
    ]
    return fits.HDUList([hdus[0], sci, *planes])


def only_sci_with_sip(new_drc):
    hdus = frame(new_drc, DRIZCORR="OMIT")[:2]
    hdus[1].header["CTYPE1"], hdus[1].header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    hdus[1].header["A_ORDER"], hdus[1].header["A_2_0"] = 4, 2e-6
    return hdus


def only_one_plane(new_drc, name):
    hdus = new_drc(SKY)
    return fits.HDUList([fits.PrimaryHDU(), hdus[name]])


def in_primary(pixels, **cards):
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update(cards)
    return fits.HDUList([hdu])


def drizzled(new_drc, **cards):
    return new_drc(SKY, primary=cards)


def table(**columns):
    names = [fits.Column(k, "10A", array=np.array(v)) for k, v in columns.items()]
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(names)])


KINDS = {
    "flt": (frame, "an exposure (flt) with the detector's distortion"),
    "flc": (lambda n: frame(n, PCTECORR="COMPLETE"), "an exposure (flc)"),
    "crj": (lambda n: frame(n, CRCORR="COMPLETE"), "an exposure (crj)"),
    "raw": (lambda n: frame(n, BLEVCORR="PERFORM"), "a raw exposure"),
    "sip": (only_sci_with_sip, "an exposure (distorted)"),
    "weight": (lambda n: only_one_plane(n, "WHT"), "a weight image"),
    "context": (lambda n: only_one_plane(n, "CTX"), "a context image"),
    "mask": (lambda n: in_primary(np.zeros(SHAPE, np.uint8)), "its pixels are integers"),
    "labels": (lambda n: in_primary(np.zeros(SHAPE, np.int32)), "its pixels are integers"),
    "own mask": (
        lambda n: in_primary(np.zeros(SHAPE, np.uint8), EXTNAME="CRMASK", CREATOR="bycatch 1"),
        "a cosmic-ray mask made by bycatch",
    ),
    "depth": (
        lambda n: in_primary(np.zeros(SHAPE, np.float32), EXTNAME="DEPTH", BLOCKPX=8),
        "a depth map made by bycatch",
    ),
    "WFC3": (lambda n: drizzled(n, INSTRUME="WFC3", DETECTOR="UVIS"), "taken with WFC3 UVIS"),
    "WFPC2": (lambda n: drizzled(n, INSTRUME="wfpc2"), "taken with WFPC2"),
    "SBC": (lambda n: drizzled(n, DETECTOR="SBC"), "taken with ACS SBC"),
    "JWST": (lambda n: drizzled(n, TELESCOP="JWST", INSTRUME="NIRCAM"), "taken with JWST NIRCAM"),
    "ground": (lambda n: drizzled(n, TELESCOP="ESO-VLT-U4"), "taken with ESO-VLT-U4"),
    "grism": (lambda n: drizzled(n, FILTER1="G800L"), "G800L, a grism"),
    "prism": (lambda n: drizzled(n, FILTER2="PR200L"), "PR200L, a prism"),
    "spectrum": (lambda n: drizzled(n, OBSTYPE="SPECTROSCOPIC"), "spectra"),
    "stamps": (
        lambda n: fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.ones((9, 9))),) * 3]),
        "3 images without names",
    ),
    "asn": (lambda n: table(MEMNAME=["J1"], MEMTYPE=["EXP-DTH"]), "associated exposures (asn)"),
    **{f"FILETYPE {k}": (lambda n, k=k: drizzled(n, FILETYPE=k), v) for k, v in FILE_TYPES.items()},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [InputSettings(), STATED], ids=["headers", "stated"])
def test_each_kind_is_named_whatever_is_stated(new_drc, tmp_path, kind, given):
    make, words = KINDS[kind]
    path = tmp_path / "jabc01010_drc.fits"  # the name does not help
    make(new_drc).writeto(path)
    with pytest.raises(UnsupportedImage) as excinfo:
        read_drc(path, given)
    assert words in str(excinfo.value)
    assert "--set" not in str(excinfo.value)


def test_a_catalog_is_a_table(tmp_path):
    path = tmp_path / "jabc01010_drc.fits"
    table(RA=["1"], DEC=["2"]).writeto(path)
    with pytest.raises(UnreadableFile, match=r"no image in it .* a table of RA, DEC"):
        read_drc(path, STATED)


@pytest.mark.parametrize(
    "cards",
    [
        {"INSTRUME": "ACS/WFC", "DETECTOR": ""},
        {"INSTRUME": "acs", "DETECTOR": "wfc"},
        {"TELESCOP": "HST"},
        {"FILETYPE": "SCI"},
        {"DRIZCORR": "OMIT"},
        {"DRIZCORR": "PERFORM"},
        {"OBSTYPE": "IMAGING"},
    ],
)
def test_drizzled_images_are_none_of_these(new_drc, tmp_path, cards):
    path = tmp_path / "jabc01010_drc.fits"
    drizzled(new_drc, **cards).writeto(path)
    assert read_drc(path).meta.detector == "WFC"


def test_an_image_with_an_error_plane_is_drizzled_if_drizzle_says_so(new_drc, tmp_path):
    hdus = new_drc(SKY)
    hdus.append(fits.ImageHDU(np.ones(SHAPE, np.float32), name="ERR"))
    path = tmp_path / "jabc01010_drc.fits"
    hdus.writeto(path)
    assert read_drc(path).shape == SHAPE


def test_an_aligned_copy_is_not_taken_for_an_original(new_drc, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    cards = {"HDRNAME": "jabc01010_drc_IDC_0461802ej-FIT_REL_GAIADR3-hlet.fits"}
    new_drc(SKY, sci_cards=cards).writeto(raw / "jxyz01010_drc.fits")
    new_drc(SKY).writeto(raw / "jabc01010_drc.fits")
    plan = scan([raw], tmp_path / "out", Settings()).plan
    assert [p.path.name for p in plan.placements] == ["jabc01010_drc.fits"]
    assert "aligned WCS, written by bycatch" in plan.skipped[0].reason


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("real_hrc/j8bt06nyq_flt.fits", "an exposure (flt)"),
        ("real_hrc/input1.fits", "an exposure (flt)"),
        ("other_instruments/sample_svm_flc.fits", "taken with WFC3 UVIS"),
        ("other_instruments/sample_ipppssoot_flt.fits", "taken with WFC3 IR"),
        ("real_wfc_cutouts/COSJ100018+022138_primer_F606W_wht.fits", "a weight image"),
        ("real_galaxies/BTK_real_galaxy_images_extension.fits", "100 images without names"),
    ],
)
def test_real_files_of_other_kinds(shared, name, words):
    with pytest.raises(UnsupportedImage) as excinfo:
        read_drc(shared / "data" / name, STATED)
    assert words in str(excinfo.value)


# ---------------------------------------------------------------- all that is missing, at once


def test_all_that_is_missing_is_reported_at_once(tmp_path, new_drc):
    hdus = new_drc(SKY)
    bare = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(hdus["SCI"].data, name="SCI")])
    for key in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        bare["SCI"].header[key] = hdus["SCI"].header[key]
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        bare["SCI"].header[key] = hdus["SCI"].header[key]
    path = tmp_path / "image.fits"
    bare.writeto(path)
    skipped = scan([path], tmp_path / "out", Settings()).plan.skipped[0].reason
    line = (
        "--set input.detector=<WFC or HRC> --set input.filter=<filter> "
        "--set input.exptime_s=<seconds> --set input.photflam=<erg/cm2/angstrom/electron> "
        "--set input.photplam=<angstrom> --set input.bunit=<electrons/s or electrons>"
    )
    assert line in skipped
    assert "--field NAME" in skipped
    assert "image.bycatch.toml" in skipped
    with pytest.raises(MissingKeyword, match=r"detector is unknown.*no filter.*EXPTIME.*BUNIT"):
        read_drc(path)


def test_what_is_known_is_filled_in(tmp_path, new_drc):
    hdus = new_drc(SKY)
    for key in ("INSTRUME", "FILTER1", "FILTER2", "EXPTIME", "TEXPTIME"):
        del hdus[0].header[key]
    del hdus[0].header["D???OUUN"]
    hdus["SCI"].header["BUNIT"] = "ELECTRONS"
    path = tmp_path / "jabc01010_drc.fits"
    hdus.writeto(path)
    with pytest.raises(MissingKeyword) as excinfo:
        read_drc(path)
    line = (
        "--set input.detector=WFC --set input.filter=F775W --set input.exptime_s=1000 "
        "--set input.bunit=electrons"
    )
    assert line in str(excinfo.value)
    assert "jabc01010_drc.bycatch.toml" in str(excinfo.value)
    facts = dict(part.split("input.")[1].split("=") for part in line.split(" --set "))
    assert read_drc(path, InputSettings.model_validate(facts)).meta.exptime_s == 1000


@pytest.mark.realdata
def test_a_real_bare_image_is_read_after_one_message(shared):
    path = shared / "data" / "real_hrc" / "reference_square_image.fits"
    values = {
        "detector": "HRC", "filter": "F606W", "exptime_s": 60, "photflam": 1.278e-19,
        "photplam": 5888, "bunit": "electrons",
    }  # fmt: skip
    with pytest.raises(MissingKeyword) as excinfo:
        read_drc(path)
    assert excinfo.value.metadata["missing"] == list(values)
    assert read_drc(path, InputSettings.model_validate(values)).meta.filter == "F606W"


def test_a_missing_sky_is_reported_with_the_rest(tmp_path, new_drc):
    hdus = new_drc(SKY)
    del hdus[0].header["EXPTIME"], hdus[0].header["TEXPTIME"]
    del hdus["SCI"].header["CTYPE1"], hdus["SCI"].header["CTYPE2"]
    path = tmp_path / "jabc01010_drc.fits"
    hdus.writeto(path)
    with pytest.raises(MissingKeyword, match=r"EXPTIME is missing or 0; .*WCS"):
        read_drc(path)
    assert read_headers(path).sci["NAXIS"] == 2


def test_a_file_without_any_fact_is_dropped_in_one_short_line(tmp_path):
    path = tmp_path / "model.fits"
    fits.PrimaryHDU(np.ones((50, 50), np.float32)).writeto(path)
    with pytest.raises(MissingKeyword, match="not an ACS image") as excinfo:
        read_drc(path)
    assert len(str(excinfo.value)) - len(str(path)) < 150
    assert "--set" not in str(excinfo.value)
