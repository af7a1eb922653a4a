"""ds9 region files: every shape with an area, every frame, and what is passed over or refused."""

from contextlib import suppress

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bycatch.errors import MissingKeyword, SettingsError
from bycatch.user_files.regions import NO_AREA, PhysicalFrame, read_regions


def image_wcs(roll_deg=35.0, scale=0.05 / 3600, dec=-8.47):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (36.92, dec), (100.5, 90.5)
    cosine, sine = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    wcs.wcs.cd = scale * np.array([[-cosine, sine], [sine, cosine]])
    return wcs


WCS_ = image_wcs()
RNG = np.random.default_rng(5)
X, Y = RNG.uniform(0, 200, 4000), RNG.uniform(0, 180, 4000)


def read(tmp_path, text):
    path = tmp_path / "my.reg"
    path.write_text(text, encoding="utf-8")
    return read_regions(path)


def inside(tmp_path, text, physical=None, wcs=WCS_):
    return read(tmp_path, text).contain(X, Y, wcs, physical)


def around(x, y):
    """Offsets from a position in 1-based pixels, and their angle."""
    dx, dy = X + 1 - x, Y + 1 - y
    return dx, dy, np.hypot(dx, dy), np.degrees(np.arctan2(dy, dx)) % 360


def turned(x, y, angle):
    dx, dy, *_ = around(x, y)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return dx * c + dy * s, dy * c - dx * s


def ellipse(a, b, angle=30.0):
    u, v = turned(90, 80, angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def box(w, h, angle=30.0):
    u, v = turned(90, 80, angle)
    return (abs(u) <= w / 2) & (abs(v) <= h / 2)


R, ANGLE = around(90, 80)[2:]
OWN_ANGLE = (ANGLE - 30) % 360


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("circle(90,80,20)", R <= 20),
        ("CIRCLE 90 80 20", R <= 20),
        ("circle(90, 80, 20i)", R <= 20),
        ("annulus(90,80,10,20,30)", (R > 10) & (R <= 30)),
        ("ellipse(90,80,30,10,30)", ellipse(30, 10)),
        ("ellipse(90,80,15,5,30,10,45,15,30)", ellipse(45, 15) & ~ellipse(15, 5)),
        ("box(90,80,40,20,30)", box(40, 20)),
        ("rotbox(90,80,40,20,30)", box(40, 20)),
        ("box(90,80,20,10,40,20,30)", box(40, 20) & ~box(20, 10)),
        ("polygon(60,60,120,60,120,100,60,100)",
         (X > 59) & (X < 119) & (Y > 59) & (Y < 99)),
        ("panda(90,80,20,100,3,10,40,2)",
         (R > 10) & (R <= 40) & (ANGLE >= 20) & (ANGLE <= 100)),
        ("panda(90,80,300,400,1,0,40,1)", (R <= 40) & ((ANGLE >= 300) | (ANGLE <= 40))),
        ("panda(90,80,0,360,4,10,40,2)", (R > 10) & (R <= 40)),
        ("pie(90,80,10,40,20,100)", (R > 10) & (R <= 40) & (ANGLE >= 20) & (ANGLE <= 100)),
        ("epanda(90,80,0,90,2,15,5,45,15,1,30)",
         ellipse(45, 15) & ~ellipse(15, 5) & (OWN_ANGLE <= 90)),
        ("bpanda(90,80,0,90,2,20,10,60,40,1,30)",
         box(60, 40) & ~box(20, 10) & (OWN_ANGLE <= 90)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", ["image", "physical"])
def test_every_shape_in_pixels(tmp_path, shape, expected, frame):
    shape = shape.replace("20i", "20" if frame == "physical" else "20i")
    mask = inside(tmp_path, f"{frame}\n{shape}\n")
    assert expected.sum() > 50
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("frame", ["icrs", "fk5", "j2000", "fk4", "b1950", "galactic", "ecliptic"])
@pytest.mark.parametrize("shape", ["circle", "ellipse", "box", "polygon", "annulus", "panda"])
def test_every_frame_of_the_sky_is_that_of_the_regions_package(tmp_path, frame, shape):
    """The regions package by another path: its shapes, their parameters from astropy."""
    import regions as theirs
    from astropy import units as u

    if shape in {"ellipse", "box"} and frame in {"galactic", "ecliptic"}:
        pytest.skip("the package turns them with the equator")
    centre = SkyCoord(*WCS_.all_pix2world([[90.0, 80.0]], 0)[0], unit="deg")
    own = {"j2000": "fk5", "b1950": "fk4", "ecliptic": "barycentricmeanecliptic"}
    at = centre.transform_to(SkyCoord(0, 0, unit="deg", frame=own.get(frame, frame)).frame)
    lon, lat = at.spherical.lon.deg, at.spherical.lat.deg
    where = f"{lon:.9f},{lat:.9f}"
    corners = [(lon + dx / 3600, lat + dy / 3600) for dx, dy in ((0, 0), (3, 0), (2, 2))]
    text = {
        "circle": f'circle({where},2")',
        "ellipse": f'ellipse({where},3",1",30)',
        "box": f'box({where},4",0.0005,30)',
        "polygon": "polygon(" + ",".join(f"{a:.9f},{b:.9f}" for a, b in corners) + ")",
        "annulus": f"annulus({where},0.01',0.05')",
        "panda": f'panda({where},20,100,3,0.5",3",2)',
    }[shape]
    mask = inside(tmp_path, f"{frame}; {text} # color=red\n")
    points = theirs.PixCoord(X, Y)
    second = 1 * u.arcsec
    region = {
        "circle": lambda: theirs.CircleSkyRegion(at, 2 * second),
        "ellipse": lambda: theirs.EllipseSkyRegion(at, 6 * second, 2 * second, 30 * u.deg),
        "box": lambda: theirs.RectangleSkyRegion(at, 4 * second, 1.8 * second, 30 * u.deg),
        "polygon": lambda: theirs.PolygonSkyRegion(
            SkyCoord(*np.array(corners).T, unit="deg", frame=at.frame.name)
        ),
        "annulus": lambda: theirs.CircleAnnulusSkyRegion(at, 0.6 * second, 3 * second),
        "panda": lambda: theirs.CircleAnnulusSkyRegion(at, 0.5 * second, 3 * second),
    }[shape]()
    expected = region.to_pixel(WCS_).contains(points)
    if shape == "panda":
        turn = turn_of(at)
        angle = np.degrees(np.arctan2(Y - 80, X - 90))
        expected = expected & ((angle - turn - 20) % 360 <= 80)
    assert expected.sum() > 20
    assert np.sum(mask != expected) <= 2  # on a border


def turn_of(at):
    """The angle in pixels of what points along the parallels of a frame."""
    lon, lat = at.spherical.lon.deg, at.spherical.lat.deg
    north = SkyCoord(lon, lat + 1 / 3600, unit="deg", frame=at.frame.name)
    x, y = WCS_.all_world2pix(north.icrs.ra.deg, north.icrs.dec.deg, 0)
    return np.degrees(np.arctan2(y - 80, x - 90)) - 90


@pytest.mark.parametrize("frame", ["galactic", "ecliptic", "fk5"])
def test_shapes_are_turned_with_their_frame(tmp_path, frame):
    """In ds9 a box of a galactic position is tall along galactic latitude."""
    own = {"ecliptic": "barycentricmeanecliptic"}.get(frame, frame)
    at = SkyCoord(36.92, -8.47, unit="deg").transform_to(own).spherical
    lon, lat = at.lon.deg, at.lat.deg
    read_ = read(tmp_path, f'{frame};box({lon:.9f},{lat:.9f},1",4",0)')
    steps = np.array([-2.1, -1.9, 1.9, 2.1]) / 3600
    for d_lon, d_lat in ((0 * steps, steps), (steps / np.cos(np.radians(lat)), 0 * steps)):
        sky = SkyCoord(lon + d_lon, lat + d_lat, unit="deg", frame=own).icrs
        mask = read_.contain(*WCS_.all_world2pix(sky.ra.deg, sky.dec.deg, 0), WCS_)
        assert mask.tolist() == ([False, True, True, False] if d_lat.any() else [False] * 4)


def test_a_sky_circle_holds_what_is_near_on_the_sky(tmp_path):
    centre = SkyCoord(36.92, -8.47, unit="deg")
    ra, dec = WCS_.all_pix2world(X, Y, 0)
    expected = SkyCoord(ra, dec, unit="deg").separation(centre).arcsec <= 2.0
    for text in (
        'icrs;circle(36.92,-8.47,2")',
        'icrs\ncircle(2:27:40.8,-8:28:12,2")',
        "icrs\ncircle(2h27m40.8s,-8d28m12s,0.00055555556)",
        "icrs\ncircle(0.644375559r,-0.147829388r,9.6962736e-06r)",
        "icrs\ncircle(36.92d,-8.47d,0.0333333333')",
    ):
        assert np.array_equal(inside(tmp_path, text), expected)


def test_pixels_of_an_image_in_arcsec(tmp_path):
    assert np.array_equal(inside(tmp_path, 'image;circle(90,80,1")'), R <= 20)
    assert np.array_equal(inside(tmp_path, "image;circle(90,80,20)"), R <= 20)


def test_pixels_near_the_pole(tmp_path):
    wcs = image_wcs(dec=90.0)
    mask = inside(tmp_path, 'icrs;circle(10,90,2")', wcs=wcs)
    assert np.array_equal(mask, np.hypot(X - 99.5, Y - 89.5) <= 40)


def test_physical_pixels_are_those_of_the_frame_that_was_cut(tmp_path):
    physical = PhysicalFrame.of_header({"LTV1": -1000.0, "LTV2": -500.0})
    mask = inside(tmp_path, "physical;circle(1090,580,20)", physical)
    assert np.array_equal(mask, R <= 20)
    binned = PhysicalFrame.of_header({"LTV1": 0.5, "LTV2": 0.5, "LTM1_1": 0.5, "LTM2_2": 0.5})
    mask = inside(tmp_path, "physical;circle(179,159,40)", binned)
    assert np.array_equal(mask, R <= 20)
    assert PhysicalFrame.of_header({}) == PhysicalFrame()
    # Without a word of a frame, ds9 means the physical one.
    assert np.array_equal(inside(tmp_path, "circle(1090,580,20)", physical), R <= 20)


@pytest.mark.parametrize("cards", [{"LTM1_2": 0.1}, {"LTM1_1": -1.0}, {"LTV1": "a"},
                                   {"LTM1_1": np.nan}, {"LTM2_2": 0.0}])  # fmt: skip
def test_a_physical_frame_that_turns_is_refused(cards):
    with pytest.raises(MissingKeyword, match="LTV and LTM"):
        PhysicalFrame.of_header(cards)


@pytest.mark.parametrize(
    "text",
    [
        "image\n-circle(90,80,10)\ncircle(90,80,20)\n",
        "image\ncircle(90,80,20)\n!circle(90,80,10)\n",
        "image\ncircle(90,80,20)\ncircle(90,80,10) # include=0\n",
    ],
)
def test_a_minus_sign_makes_a_hole(tmp_path, text):
    assert np.array_equal(inside(tmp_path, text), (R <= 20) & (R > 10))


HEAD = (
    "# Region file format: DS9 version 4.1\r\nglobal color=green dashlist=8 3 width=1 "
    'font="helvetica 10 normal roman" select=1 highlite=1 dash=0 include=1 source=1\r\nimage\r\n'
)


@pytest.mark.parametrize(
    "text",
    [
        "circle(90,80,20)",
        "circle(90,80,20) # text={a; box(1,1,9,9)} color=red tag={#1}",
        "+circle(90,80,20);",
        "# composite(90,80,0) || composite=1\r\ncircle(90,80,20) ||\r\ncircle(90,80,5)",
        "# circle(10,10,90)\r\ncircle(90,80,20) # see; also the note",
        "fk5;# only a comment\r\nimage;circle(90,80,20)",
        "wcsa\r\nimage\r\ncircle(90,80,20)",
    ],
)
def test_what_ds9_writes_around_a_shape(tmp_path, text):
    assert np.array_equal(inside(tmp_path, HEAD + text), R <= 20)


def test_a_shape_behind_properties_is_not_lost(tmp_path):
    mask = inside(tmp_path, "image; circle(90,80,5) # color=red ; circle(90,80,20)\n")
    assert np.array_equal(mask, R <= 20)


SHAPES_WITHOUT = ["point(9,9)", "point(9,9) # point=x 11", "line(1,1,9,9) # line=0 0",
                  "# vector(9,9,20,30) vector=1", "# text(9,9) text={box(1,2,3,4)}",
                  "# ruler(1,1,9,9) ruler=pixels", "# compass(9,9,20) compass=physical",
                  "# projection(1,1,9,9,5)", "# segment(1,1,9,9,9,1)", "x point(9,9)",
                  "circle point 9 9", "text(9,9) # text={a}"]  # fmt: skip


def test_what_has_no_area_is_passed_over_by_name(tmp_path):
    result = read(tmp_path, "image\n" + "\n".join(SHAPES_WITHOUT) + "\ncircle(90,80,20)\n")
    assert len(result.regions) == 1
    told = " ".join(result.passed_over)
    assert all(shape in told for shape in NO_AREA)
    assert "point (line 2, 3, 11, 12) has no area" in result.passed_over
    for shape in SHAPES_WITHOUT:
        with pytest.raises(SettingsError, match=r"my\.reg: no region with an area .*has no area"):
            read(tmp_path, f"image\n{shape}\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty file"),
        ("# Region file format: DS9\nglobal color=red\nimage\n", "no region in it"),
        ("image\n-circle(90,80,10)\n", "every region has a minus sign"),
        ("amplifier\ncircle(1,2,3)", "line 2: .*frame 'amplifier' is not understood"),
        ("detector\ncircle(1,2,3)", "frame 'detector'"),
        ("linear\ncircle(1,2,3)", "frame 'linear'"),
        ("wcsb;circle(1,2,3)", "frame 'wcsb'"),
        ("tile 2\nimage\ncircle(9,9,9)\ntile 3\ncircle(1,2,3)", "line 5.*frame 'tile 3'"),
        ("image\nrectangle(1,2,3,4)", "'rectangle' is not a ds9 shape"),
        ("image\nfield()", "'field' is not a ds9 shape"),
        ("image\nsector(1,2,3,4)", "'sector' is not a ds9 shape"),
        ("image\ncircle(1,2)", "2 numbers are too few"),
        ("image\ncircle(1,2,3,4)", "2 radii"),
        ("image\ncircle(1,2,-3)", "-3 is not a length"),
        ("image\ncircle(1,2,nan)", "nan is not a number"),
        ("image\ncircle(1e400,2,3)", "not a number"),
        ("image\ncircle(90,80,20) & !box(90,80,5,5,0)", "not understood"),
        ("image\ncircle(90,80,20", "not understood"),
        ("image\n100 200", "not understood"),
        ("image\npolygon(1,2,3,4,5,6,7)", "do not make corners"),
        ("image\npanda(1,2,3,4,5,6,7)", "too few"),
        ("image\nepanda(1,2,0,90,1,5,5,9,9,1,30,7)", "numbers for a epanda"),
        ("image\nbox(1,2,3,4,5,6)", "my.reg"),
        ('image\nbox(1,2,3",4,0)', "different units"),
        ("image\ncircle(10p,20p,3)", "10p is not a position in the image frame"),
        ("physical\ncircle(10,20,3i)", "pixels of another frame"),
        ("fk5\ncircle(100i,200i,3)", "100i is not a position in the fk5 frame"),
        ("fk5\ncircle(36:55:12,-8:28:12,3)", "36:55:12 is not an angle"),
        ("fk5\ncircle(1:75:12,-8:28:12,3)", "not an angle"),
        ("fk5\ncircle(10,95,3)", "95 is not a position on the sky"),
        ("fk5\ncircle(1000,5,3)", "1000 is not a position on the sky"),
        ("<?xml version='1.0'?><VOTABLE/>", "regions in XML"),
        ("SIMPLE  =                    T", "'simple' is not a ds9 shape"),
    ],
)  # fmt: skip
def test_what_is_not_understood_stops_before_anything_is_read(tmp_path, text, why):
    if "box(1,2,3,4,5,6)" in text:  # two boxes without a turn
        assert len(read(tmp_path, text).regions) == 1
        return
    with pytest.raises(SettingsError, match=why) as excinfo:
        read(tmp_path, text)
    assert "my.reg" in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def test_a_region_on_the_other_side_of_the_sky_holds_nothing(tmp_path):
    assert not inside(tmp_path, "icrs;circle(216.92,8.47,10)").any()
    assert not inside(tmp_path, "icrs;circle(126.92,0,10)").any()
    assert not read(tmp_path, "circle(1,1,5)").contain(np.empty(0), np.empty(0), WCS_).any()
    nowhere = np.array([np.nan, 0.0])
    assert read(tmp_path, "circle(1,1,5)").contain(nowhere, nowhere, WCS_).tolist() == [False, True]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(alphabet="circle(),;#0123456789.-\"'d\n fk5imagebox|{}=", max_size=80))
def test_garbage_is_regions_or_refused_by_name(tmp_path, text):
    with suppress(SettingsError):
        read(tmp_path, text).contain(X[:5], Y[:5], WCS_)
        return
    with pytest.raises(SettingsError, match=r"my\.reg"):
        read(tmp_path, text)
