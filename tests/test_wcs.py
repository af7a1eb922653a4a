"""The WCS of an image: the sky that its cards mean, in ICRS; or a refusal that names the card."""

import logging
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bycatch as package
from bycatch.errors import InconsistentImage, MissingKeyword, UnsupportedImage, UnusableData
from bycatch.images import wcs as module
from bycatch.images.headers import Headers
from bycatch.images.wcs import celestial_wcs
from bycatch.images.wcscards import MAX_MATRIX_DIFFERENCE
from bycatch.pipeline.reference import field_cone
from bycatch.tangent import clusters

SHAPE = (500, 520)
RA, DEC, SCALE = 36.92, -8.47, 0.05 / 3600
CD = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
PC = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")


def turned(angle_rad):
    """Return a CD matrix of square pixels, north at an angle, east to the left."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return SCALE * np.array([[-c, s], [s, c]])


def header(matrix=None, **cards):
    """Return the SCI header of a drizzled image; None takes a card away, '__' is a hyphen."""
    made = fits.Header([("NAXIS", 2), ("NAXIS1", SHAPE[1]), ("NAXIS2", SHAPE[0])])
    made["CTYPE1"], made["CTYPE2"] = "RA---TAN", "DEC--TAN"
    made["CRVAL1"], made["CRVAL2"] = RA, DEC
    made["CRPIX1"], made["CRPIX2"] = (SHAPE[1] + 1) / 2, (SHAPE[0] + 1) / 2
    for key, value in zip(CD, np.ravel(turned(0.5) if matrix is None else matrix), strict=True):
        made[key] = value
    for key, value in cards.items():
        if value is None:
            del made[key]
        else:
            made[key] = value
    return made


def read(sci, primary=None):
    return celestial_wcs(Headers(Path("a_drc.fits"), primary or fits.Header(), sci, {"SCI": SHAPE}))


def read_or_refused(sci):
    """Return the WCS, or the error that refuses it."""
    try:
        return read(sci)
    except UnusableData as err:
        return err


def pixels():
    x, y = np.meshgrid(np.linspace(0, SHAPE[1] - 1, 5), np.linspace(0, SHAPE[0] - 1, 5))
    return x.ravel(), y.ravel()


def apart_mas(wcs, sky):
    """Return the largest distance of a WCS's positions from the true ones, over the image."""
    ra, dec = wcs.all_pix2world(*pixels(), 0)
    return float(SkyCoord(ra, dec, unit="deg").separation(sky).mas.max())


def astropys(sci):
    """Return what astropy makes of the header as it is."""
    logging.getLogger("astropy").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(sci).celestial.pixel_to_world(*pixels()).icrs


TRUTH = WCS(header()).pixel_to_world(*pixels())


def is_plain(wcs):
    """Tell whether a WCS is what the program wants."""
    return (
        list(wcs.wcs.ctype) in (["RA---TAN", "DEC--TAN"], ["RA---TAN-SIP", "DEC--TAN-SIP"])
        and wcs.wcs.radesys == "ICRS"
        and wcs.wcs.has_cd()
        and not wcs.wcs.has_pc()
        and tuple(wcs.pixel_shape) == SHAPE[::-1]
    )


# ---------------------------------------------------------------- the same sky


def in_frame(frame, names, **cards):
    """Return the header of the same sky with its tangent plane in another frame."""
    here = SkyCoord(RA, DEC, unit="deg")
    north = here.directional_offset_by(0 * u.deg, 1e-3 * u.deg)
    lon, lat, lon1, lat1 = (
        getattr(c.transform_to(frame).spherical, axis).deg
        for c in (here, north)
        for axis in ("lon", "lat")
    )
    angle = SkyCoord(lon, lat, unit="deg").position_angle(SkyCoord(lon1, lat1, unit="deg")).rad
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ turned(0.5)
    return header(matrix, CTYPE1=names[0], CTYPE2=names[1], CRVAL1=lon, CRVAL2=lat, **cards)


def with_units(unit, factor):
    cards = {f"CUNIT{i}": unit for i in (1, 2)} | {"CRVAL1": RA * factor, "CRVAL2": DEC * factor}
    return header(turned(0.5) * factor, **cards)


NO_CD = dict.fromkeys(CD)
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
TPV |= {f"PV{i}_{k}": float(k == 1) for i in (1, 2) for k in (0, 1, 2)}
OLD_CD = dict(zip(("CD001001", "CD001002", "CD002001", "CD002002"), turned(0.5).ravel(),
                  strict=True))  # fmt: skip
SWAPPED = {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": DEC, "CRVAL2": RA}
SAME_SKY = {
    "plain": (header(), ""),
    "CROTA2": (header(**NO_CD, CDELT1=-SCALE, CDELT2=SCALE, CROTA2=-np.degrees(0.5)), ""),
    "CROTA1 too": (
        header(**NO_CD, CDELT1=-SCALE, CDELT2=SCALE, CROTA1=-np.degrees(0.5),
               CROTA2=-np.degrees(0.5)), ""),
    "PC": (header(**NO_CD, **dict(zip(PC, turned(0.5).ravel() / SCALE, strict=True)),
                  CDELT1=SCALE, CDELT2=SCALE), ""),
    "PC and CD": (header(**dict(zip(PC, turned(0.5).ravel(), strict=True)), CDELT1=1.0,
                         CDELT2=1.0), ""),
    "PC of no meaning": (header(PC1_1=1.0, CDELT1=1.0, CDELT2=1.0), "a PC matrix without meaning"),
    "old CD": (header(**NO_CD, **OLD_CD), "deprecated"),
    "CROTA2 beside CD": (header(CROTA2=77.0, CDELT1=-SCALE, CDELT2=SCALE), "CROTA2 is ignored"),
    "Dec, RA": (header(turned(0.5)[::-1], **SWAPPED), "order RA, Dec"),
    "arcsec": (with_units("arcsec", 3600.0), ""),
    "rad": (with_units("rad", np.pi / 180), ""),
    "degrees": (header(CUNIT1="degrees", CUNIT2="degrees"), "unitfix"),
    "TPV": (header(**TPV), "TPV written as TAN"),
    "RA beyond 360": (header(CRVAL1=RA + 360), "is 36.92 deg"),
    "RA below 0": (header(CRVAL1=RA - 360), "is 36.92 deg"),
    "third axis": (header(WCSAXES=3, CTYPE3="FREQ", CRVAL3=1e14, CDELT3=1.0, CD3_3=1.0), ""),
    "ICRS of 1950": (header(RADESYS="ICRS", EQUINOX=1950.0), ""),
    "ICRS of words": (header(RADESYS="ICRS", EQUINOX="J2000"), ""),
    "other WCS": (header(CTYPE1A="RA---TAN", CRVAL1A=3.0, CD1_1A=1.0), ""),
    "galactic": (in_frame("galactic", ("GLON-TAN", "GLAT-TAN")), "GLON-TAN converted to ICRS"),
    "supergalactic": (in_frame("supergalactic", ("SLON-TAN", "SLAT-TAN")), "converted to ICRS"),
    "FK5 of 1975": (
        in_frame(FK5(equinox="J1975"), ("RA---TAN", "DEC--TAN"), RADESYS="FK5", EQUINOX=1975.0),
        "FK5 (equinox 1975) converted to ICRS"),
    "FK5 by EQUINOX": (
        in_frame("fk5", ("RA---TAN", "DEC--TAN"), EQUINOX=2000.0), "FK5 (equinox 2000)"),
    "FK4": (in_frame(FK4(equinox="B1950"), ("RA---TAN", "DEC--TAN"), RADESYS="FK4"),
            "FK4 (equinox 1950)"),
    "FK4 by EPOCH": (in_frame(FK4(equinox="B1950"), ("RA---TAN", "DEC--TAN"), EPOCH=1950.0),
                     "FK4 (equinox 1950)"),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME_SKY)
def test_every_form_of_the_cards_gives_the_same_sky(form):
    sci, note = SAME_SKY[form]
    result = read(sci)
    # FK4 changes the scale by parts in a million: aberration, which the field's truth has not.
    assert apart_mas(result.wcs, TRUTH) < (0.5 if "FK4" in form else 0.01)
    if form not in ("PC of no meaning", "supergalactic", "third axis"):
        assert apart_mas(result.wcs, astropys(sci)) < 0.01
    assert is_plain(result.wcs)
    assert note in " ".join(result.notes)
    assert bool(result.notes) == bool(note)
    assert result.doubts == ()
    assert result.remarks == result.notes


def test_a_plain_header_is_taken_as_it_is():
    for sci in (header(), header(LONPOLE=180.0, LATPOLE=DEC, RADESYS="ICRS", CUNIT1="deg")):
        wcs = read(sci).wcs
        assert list(wcs.wcs.crval) == [RA, DEC]
        np.testing.assert_array_equal(wcs.wcs.cd, WCS(sci).wcs.cd)
        assert list(wcs.wcs.crpix) == [sci["CRPIX1"], sci["CRPIX2"]]


@pytest.mark.parametrize(
    "name", ["SIN", "ZEA", "STG", "ARC", "CAR", "MER", "TNX", "AZP", "NCP", "GLS"]
)
def test_other_projections_become_a_tangent_plane(name):
    sci = header(CTYPE1=f"RA---{name}", CTYPE2=f"DEC--{name}")
    result = read(sci)
    assert is_plain(result.wcs)
    assert apart_mas(result.wcs, astropys(sci)) < module.MAX_MISFIT_MAS
    assert f"{name} written as TAN" in result.notes[-1]


def test_a_bent_projection_keeps_its_sky():
    bent = TPV | {"PV1_4": 0.05, "PV2_5": -0.03}
    sci = header(**bent)
    result = read(sci)
    assert result.wcs.sip is not None
    assert apart_mas(result.wcs, astropys(sci)) < module.MAX_MISFIT_MAS
    assert apart_mas(result.wcs, TRUTH) > 1.0


@pytest.mark.parametrize("crpix", [(-11329.5, 4000.0), (1.0, 1.0), (520.0, -9000.0)])
@pytest.mark.parametrize("pole", [(150.0, -8.0), (10.0, 89.9)])
def test_a_cutout_far_from_its_reference_pixel(crpix, pole):
    where = {"CRVAL1": pole[0], "CRVAL2": pole[1], "CRPIX1": crpix[0], "CRPIX2": crpix[1]}
    for sci in (header(**where, RADESYS="FK5", EQUINOX=2000.0),
                header(**where, CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN")):  # fmt: skip
        result = read(sci)
        assert result.wcs.sip is None
        assert apart_mas(result.wcs, astropys(sci)) < 0.01


def test_fk5_is_not_icrs():
    assert 5 < apart_mas(read(header(RADESYS="FK5", EQUINOX=2000.0)).wcs, TRUTH) < 40


# ---------------------------------------------------------------- doubt

SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8.5e-6, "A_1_1": -5e-6, "B_0_2": -7e-6}
DOUBTFUL = {
    "leftovers of SIP": (header(**SIP), "A_ORDER and similar cards", TRUTH),
    "SIP": (header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", **SIP), "SIP distortion", None),
    "SIP without": (header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP"), "A_ORDER", TRUTH),
    "lower case": (header(CTYPE1="ra---tan", CTYPE2="dec--tan"), "CTYPE1 is 'ra---tan'", TRUTH),
    "mirror": (header(turned(0.5) * [[-1, 1], [-1, 1]]), "mirrors the sky", None),
    "shear": (header(turned(0.5) @ [[1.0, 0.01], [0.0, 1.0]]), "not squares of one size", None),
    "reference far off": (header(CRPIX1=1e6), "not squares of one size", None),
    "PV beside TAN": (header(PV1_1=0.0, PV1_2=89.0), "PV1_1 and similar cards", None),
    "scale": (header(D001SCAL=0.0502, D001ISCL=0.05), "D001SCAL is 0.0502", TRUTH),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_had_to_be_guessed_is_a_doubt(what):
    sci, doubt, sky = DOUBTFUL[what]
    result = read(sci)
    assert doubt in " ".join(result.doubts)
    assert is_plain(result.wcs)
    assert apart_mas(result.wcs, astropys(sci) if sky is None else sky) < 0.05
    assert any("in doubt" in remark for remark in result.remarks)


def test_cards_in_primary():
    empty = fits.Header()
    result = read(empty, header())
    assert apart_mas(result.wcs, TRUTH) < 1e-6
    assert "PRIMARY" in result.doubts[0]
    assert read(header(), header(CRVAL1=90.0)).doubts == ()


def test_the_limits_of_doubt():
    assert (module.DOUBTFUL_SHEAR, module.MAX_SHEAR) == (1e-3, 0.15)
    assert module.DOUBTFUL_SCALE == 1e-3
    for factor, expected in ((1.0009, False), (1.0011, True)):
        stretched = header(turned(0.5) @ np.diag([factor, 1.0]))
        assert bool(read(stretched).doubts) == expected
        noted = header(D001SCAL=0.05 * factor, D001ISCL=0.05)
        assert bool(read(noted).doubts) == expected
    # A ratio of scales, as older programs wrote it.
    assert read(header(D001SCAL=1.0)).doubts == ()
    read(header(turned(0.5) @ np.diag([1.149, 1.0])))
    with pytest.raises(InconsistentImage, match="not squares of one size"):
        read(header(turned(0.5) @ np.diag([1.151, 1.0])))


def test_two_matrices_are_one_up_to_their_last_digits():
    assert MAX_MATRIX_DIFFERENCE == 1e-7
    for factor, good in ((1 + 5e-8, True), (1 + 2e-7, False)):
        pc = dict(zip(PC, turned(0.5).ravel() * factor, strict=True))
        if good:
            assert read(header(**pc)).remarks == ()
        else:
            with pytest.raises(InconsistentImage, match="PC1_1"):
                read(header(**pc))


def test_a_projection_that_no_tangent_plane_stands_for(monkeypatch):
    assert module.MAX_MISFIT_MAS == 0.05
    monkeypatch.setattr(module, "MAX_SIP_ORDER", 1)
    with pytest.raises(UnsupportedImage, match=r"CTYPE1 = RA---TPV.*off by"):
        read(header(**TPV, PV1_4=0.05))


# ---------------------------------------------------------------- refusal

REFUSED = {
    "no projection": (header(CTYPE1="RA---XYZ", CTYPE2="DEC--XYZ"), MissingKeyword, "CTYPE1"),
    "mixed": (header(CTYPE2="GLAT-TAN"), MissingKeyword, "CTYPE2"),
    "pixels": (header(CTYPE1="X", CTYPE2="Y"), MissingKeyword, "CTYPE1 = X"),
    "ecliptic": (header(CTYPE1="ELON-TAN", CTYPE2="ELAT-TAN"), UnsupportedImage, "ELON-TAN"),
    "earth": (header(CTYPE1="TLON-TAN", CTYPE2="TLAT-TAN"), UnsupportedImage, "TLON-TAN"),
    "frame": (header(RADESYS="GAPPT"), UnsupportedImage, "RADESYS is 'GAPPT'"),
    "equinox": (header(EQUINOX="J2000"), MissingKeyword, "EQUINOX is 'J2000'"),
    "nan": (header(CRVAL1="nan"), MissingKeyword, "CRVAL1 is 'nan'"),
    "text": (header(CRVAL1="36.92"), MissingKeyword, "CRVAL1 is '36.92'"),
    "truth": (header(CRPIX2=True), MissingKeyword, "CRPIX2 is True"),
    "text in CD": (header(CD1_2="x"), MissingKeyword, "CD1_1 ... or CDELT are not numbers"),
    "beyond the pole": (header(CRVAL2=95.0), MissingKeyword, "CRVAL2 is 95"),
    "no CRPIX": (header(CRPIX1=None), MissingKeyword, "CRPIX1 missing"),
    "no CRVAL": (header(CRVAL1=None, CRVAL2=None), MissingKeyword, "CRVAL1, CRVAL2 missing"),
    "no matrix": (header(**NO_CD), MissingKeyword, "CD1_1"),
    "half a matrix": (header(CD1_1=None), InconsistentImage, "CD matrix"),
    "singular": (header(CD1_1=0.0, CD1_2=0.0), MissingKeyword, "singular"),
    "sheared": (header(turned(0.5) @ [[1, 0.3], [0, 1]]), InconsistentImage, "not squares"),
    "large pixels": (header(turned(0.5) * 1000), MissingKeyword, "50 arcsec"),
    "small pixels": (header(turned(0.5) / 1000), MissingKeyword, "5e-05 arcsec"),
    "units": (header(CUNIT1="hourangle", CUNIT2="hourangle"), MissingKeyword, "CUNIT1"),
    "units of degrees": (header(CUNIT1="arcsec", CUNIT2="arcsec"), MissingKeyword, "CUNIT"),
    "far off": (header(CRPIX1=1e9), MissingKeyword, "CRPIX"),
    "CD and PC": (header(PC1_1=SCALE), InconsistentImage, "CD1_1 ... and PC1_1"),
    "PC and CROTA": (
        header(**NO_CD, PC1_1=1.0, CDELT1=SCALE, CDELT2=SCALE, CROTA2=3.0),
        InconsistentImage, "CROTA2 together with a PC"),
    "CROTA1": (header(**NO_CD, CDELT1=-SCALE, CDELT2=SCALE, CROTA1=3.0), InconsistentImage,
               "CROTA1 is 3.0"),
    "table": (header(CPDIS1="LOOKUP"), UnsupportedImage, "CPDIS1"),
    "detector": (header(D2IMDIS2="LOOKUP"), UnsupportedImage, "D2IMDIS2"),
    "half a distortion": (
        header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, A_2_0=1e-6),
        MissingKeyword, "A_ORDER"),
    "third axis": (header(WCSAXES=3, CD1_3=1e-3), UnsupportedImage, "CD1_3"),
    "TPV without terms": (header(CTYPE1="RA---TPV", CTYPE2="DEC--TPV"), UnsupportedImage, "TPV"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_right_is_refused_by_its_card(what):
    sci, error, name = REFUSED[what]
    with pytest.raises(error) as raised:
        read(sci)
    assert "a_drc.fits" in raised.value.message
    assert name in str(raised.value)
    assert raised.value.hint


def test_a_card_that_is_there_twice():
    sci = header()
    sci.append(("CRVAL1", RA))
    assert apart_mas(read(sci).wcs, TRUTH) == 0
    sci.append(("CRVAL1", 99.0))
    with pytest.raises(InconsistentImage, match=r"CRVAL1 is there twice, as 36\.92 and as 99\.0"):
        read(sci)


# ---------------------------------------------------------------- any header

FRAMES = [
    {"CTYPE": ("RA--", "DEC-")},
    {"CTYPE": ("RA--", "DEC-"), "RADESYS": "ICRS"},
    {"CTYPE": ("RA--", "DEC-"), "RADESYS": "FK5"},
    {"CTYPE": ("RA--", "DEC-"), "EQUINOX": 2000.0},
    {"CTYPE": ("RA--", "DEC-"), "RADESYS": "FK5", "EQUINOX": 1991.25},
    {"CTYPE": ("RA--", "DEC-"), "RADESYS": "FK4"},
    {"CTYPE": ("RA--", "DEC-"), "RADESYS": "FK4-NO-E", "EQUINOX": 1950.0},
    {"CTYPE": ("RA--", "DEC-"), "EQUINOX": 1950.0},
    {"CTYPE": ("GLON", "GLAT")},
]
UNITS = {"": 1.0, "deg": 1.0, "arcsec": 3600.0, "arcmin": 60.0, "rad": np.pi / 180}


@st.composite
def headers(draw):
    """Return a header of cards that the standard allows, most of them a plausible sky."""
    frame = draw(st.sampled_from(FRAMES))
    projection = draw(st.sampled_from(["TAN", "TAN", "SIN", "ZEA", "STG", "ARC", "CAR", "TPV"]))
    angle, lon, lat = draw(st.floats(0, 6.3)), draw(st.floats(0, 360)), draw(st.floats(-89, 89))
    matrix = turned(angle) * draw(st.sampled_from([0.6, 1.0, 1.2]))
    if draw(st.booleans()):
        matrix = matrix @ np.diag([draw(st.sampled_from([1.0, 1.0005, 1.05, -1.0])), 1.0])
    unit = draw(st.sampled_from(list(UNITS)))
    crpix = [draw(st.floats(-12000, 12000)) for _ in (1, 2)]
    names, values = [f"{n}-{projection}" for n in frame["CTYPE"]], [lon, lat]
    if draw(st.booleans()):
        names, values, matrix = names[::-1], values[::-1], matrix[::-1]
    factor, form = UNITS[unit], draw(st.sampled_from(["CD", "PC", "CROTA"]))
    cards = {k: v for k, v in frame.items() if k != "CTYPE"}
    for i in (1, 2):
        cards |= {f"CTYPE{i}": names[i - 1], f"CRVAL{i}": values[i - 1] * factor}
        cards |= {f"CRPIX{i}": crpix[i - 1]} | ({f"CUNIT{i}": unit} if unit else {})
    if form == "CD":
        cards |= dict(zip(CD, matrix.ravel() * factor, strict=True))
    elif form == "PC":
        steps = np.array([draw(st.sampled_from([SCALE, -SCALE, 1.0])) for _ in (1, 2)])
        cards |= dict(zip(PC, (matrix / steps[:, None]).ravel(), strict=True))
        cards |= {"CDELT1": steps[0] * factor, "CDELT2": steps[1] * factor}
    else:
        axis = 1 if names[0].startswith(("DEC", "GLAT")) else 2
        cards |= {"CDELT1": -SCALE * factor, "CDELT2": SCALE * factor}
        cards |= {f"CROTA{axis}": np.degrees(angle)}
    if draw(st.booleans()):
        cards |= {"LONPOLE": draw(st.sampled_from([180.0, 170.0, 0.0])), "LATPOLE": lat}
    if projection == "TPV":
        bent = draw(st.sampled_from([0.0, 1e-3, 0.1]))
        cards |= {"PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": bent, "PV2_6": bent}
    return header(**(NO_CD | cards))


@settings(max_examples=60, deadline=None)
@given(headers())
def test_any_header_has_astropys_sky_or_is_refused(sci):
    result = read_or_refused(sci)
    if isinstance(result, UnusableData):
        assert any(name in str(result) for name in ("CTYPE", "CRPIX", "CD matrix"))
        return
    assert is_plain(result.wcs)
    assert apart_mas(result.wcs, astropys(sci)) < 0.1
    if result.doubts:
        return
    x, y = pixels()
    back = result.wcs.all_world2pix(*result.wcs.all_pix2world(x, y, 0), 0)
    np.testing.assert_allclose(back, [x, y], rtol=0, atol=1e-3)


KEYS = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CUNIT1", "CD1_1", "CD2_2", "PC1_1",
        "CDELT1", "CROTA2", "CROTA1", "PV1_1", "PV2_3", "RADESYS", "EQUINOX", "LONPOLE", "A_ORDER",
        "A_2_0", "B_ORDER", "WCSAXES", "CTYPE3", "CD1_3", "WAT1_001", "CPDIS1", "D001SCAL",
        "WCSNAME")  # fmt: skip
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.sampled_from(
        ["", "nan", "deg", "mas", "RA---TAN", "DEC--TAN-SIP", "GLON-CAR", "FK5", "x y"]
    ),
    st.none(),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
@example({"CD1_1": "nan", "PC1_1": 0.0})
@example({"PC1_1": 1e300, "CDELT1": 1e300})
def test_broken_cards_raise_nothing_else(cards):
    sci = header()
    for key, value in cards.items():
        sci[key] = value
    result = read_or_refused(sci)
    if isinstance(result, UnusableData):
        assert result.message.startswith("a_drc.fits: ")
        return
    assert np.isfinite(result.wcs.all_pix2world(*pixels(), 0)).all()


# ---------------------------------------------------------------- in a field


def test_clusters_of_positions():
    ra = np.array([10.0, 200.0, 10.2, 359.9, 10.4, 0.1])
    assert clusters(ra, np.zeros(6), 0.25) == [[0, 2, 4], [3, 5], [1]]
    assert clusters(np.array([0.0, 180.0]), np.array([89.9, 89.9]), 0.25) == [[0, 1]]
    assert clusters(np.empty(0), np.empty(0), 0.25) == []


def test_a_wrong_place_does_not_make_the_circle_of_stars_huge(write_drc, caplog):
    good = [write_drc(f"jabc010{k}0_drc.fits") for k in (1, 2)]
    wrong = write_drc("jabc01030_drc.fits", sci_cards={"CRVAL1": 200.0})
    assert field_cone([wrong, *good], 10.0) == field_cone(good, 10.0)
    assert "jabc01030_drc.fits lies at RA 200.00000" in caplog.text


def catalogs(visit, out, paths):
    """Run the chain; return the final catalogs by the images' roots."""
    report = package.run(paths, out, None, package.Inputs(gaia=visit.gaia))
    assert report.all_done, [(i.root, i.reason) for i in report.images]
    return {p.name[:9]: Table.read(p) for p in out.rglob("*_cat.ecsv")}


def test_an_image_in_doubt_moves_no_neighbour(visit, tmp_path, caplog):
    red, blue = visit.raw / "jabc01010_drc.fits", visit.raw / "jabc01020_drc.fits"
    doubtful = tmp_path / "jabc01010_drc.fits"
    with fits.open(red) as hdus:
        hdus["SCI"].header.update(SIP)
        hdus.writeto(doubtful)
    alone = catalogs(visit, tmp_path / "alone", [blue])["jabc01020"]
    both = catalogs(visit, tmp_path / "both", [doubtful, blue])
    for name in ("RA_GAIA_WCS", "DEC_GAIA_WCS", "RA_GAIA_WCS_err"):
        np.testing.assert_array_equal(both["jabc01020"][name], alone[name])
    result = both["jabc01010"]
    truth = visit.wcs.pixel_to_world(result["x_center"], result["y_center"])
    sky = SkyCoord(result["RA_GAIA_WCS"], result["DEC_GAIA_WCS"], unit="deg")
    assert sky.separation(truth).mas.max() < 5
    assert any("the WCS is in doubt: A_ORDER" in note for note in result.meta["NOTES"])
    assert result.meta["ALIGNMENT"]["grade"] == "B"
    assert "its WCS is in doubt: A_ORDER" in result.meta["ALIGNMENT"]["reason"]
    assert "align: grade B" in caplog.text
