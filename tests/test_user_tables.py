"""The reader of users' tables: one list in many forms is one list; what is not is one line."""

import bz2
import gzip
import lzma
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bycatch.catalogs.tables import write_table
from bycatch.errors import SettingsError
from bycatch.pipeline.lists import read_positions
from bycatch.sky import answers, gaia, tap
from bycatch.sky.gaia import COLUMNS, from_table, read_local
from bycatch.user_files import content
from bycatch.user_files.quantities import known_unit, numbers, sky_positions
from bycatch.user_files.user_tables import SKY_NAMES, find_column, plain_name, read_user_table
from bycatch.user_files.votables import VOTableError, read_votable

RA, DEC = np.array([36.92, 0.25, 359.875]), np.array([-8.47, -0.125, 89.5])


def table_file(tmp_path, content, name="list.dat"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def positions(tmp_path, content, name="list.dat"):
    places = read_positions(table_file(tmp_path, content, name))
    return places.first, places.second


def same(found, ra=RA, dec=DEC, to=1e-9):
    np.testing.assert_allclose(found[0], ra, rtol=0, atol=to)
    np.testing.assert_allclose(found[1], dec, rtol=0, atol=to)


# ---------------------------------------------------------------- one list in many forms

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1")
UNITS = ("", "deg", "degrees", "rad", "hourangle", "arcsec", "arcmin")
PACKED = {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def words(ra, dec, unit, style):
    """Both angles as they stand in a file."""
    position = SkyCoord(ra, dec, unit="deg")
    if style == "colons":
        mark = {"sep": ":"}
    elif style == "letters":
        mark = {"sep": "hms"}
    else:
        to = known_unit(unit) if unit else u.deg
        return repr(float(position.ra.to_value(to))), repr(float(position.dec.to_value(to)))
    alpha = position.ra.to_string(unit="hour", precision=9, **mark)
    if style == "letters":
        mark = {"sep": "dms"}
    return alpha, position.dec.to_string(precision=9, alwayssign=True, **mark)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sky=st.lists(
        st.tuples(st.floats(0, 359.999), st.floats(-89.999, 89.999)), min_size=1, max_size=4
    ),
    names=st.sampled_from(SKY_NAMES),
    case=st.sampled_from([str.lower, str.upper, str.title]),
    separator=st.sampled_from([",", ";", "\t", "|", " ", ", ", " | ", "   "]),
    unit=st.sampled_from(UNITS),
    style=st.sampled_from(["numbers", "colons", "letters"]),
    encoding=st.sampled_from(ENCODINGS),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    packing=st.sampled_from(list(PACKED)),
    head=st.sampled_from(["plain", "comment", "units", "rule", "quotes"]),
)  # fmt: skip
def test_one_list_in_many_forms(
    tmp_path, sky, names, case, separator, unit, style, encoding, ends, packing, head
):
    if style != "numbers":
        unit = ""
    one, two = (case(name) for name in names)
    if unit and head != "units":
        one, two = f"{one}[{unit}]", f"{two}[{unit}]"
    rows = [["n", one, two], *([k, *words(*s, unit, style)] for k, s in enumerate(sky))]
    if head == "quotes":
        rows = [[f'"{cell}"' for cell in row] for row in rows]
    lines = [separator.join(map(str, row)) for row in rows]
    if head == "comment":
        lines[0] = f"# {lines[0]}"
    elif head == "units" and unit:
        lines.insert(1, separator.join([unit, unit, unit]))
        lines.insert(2, "-----")
    elif head == "rule":
        lines.insert(1, "----+-----+----")
    text = f"# a list of mine{ends}{ends}" + ends.join(lines) + ends
    content = PACKED[packing](text.encode(encoding))
    ra, dec = np.array(sky).T
    places = positions(tmp_path, content)
    np.testing.assert_allclose((places[0] - ra + 180) % 360 - 180, 0, atol=1e-9)
    np.testing.assert_allclose(places[1], dec, rtol=0, atol=1e-9)


def written(table, form):
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "table"
        table.write(path, format={"ecsv": "ascii.ecsv"}.get(form, form))
        return path.read_bytes()


@pytest.mark.parametrize(
    "form",
    ["ecsv", "fits", "votable", "ascii.ipac", "ascii.mrt", "ascii.fixed_width",
     "ascii.rst"],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["deg", "rad", "hourangle", "arcsec"])
def test_units_of_every_format_are_converted(tmp_path, form, unit):
    if unit == "hourangle" and form != "ecsv":
        pytest.skip("the format does not know the unit")
    keeps_units = form not in {"ascii.fixed_width", "ascii.rst"}
    if unit != "deg" and not keeps_units:
        pytest.skip("the format has no units")
    table = Table({"ra": (RA * u.deg).to(unit), "dec": (DEC * u.deg).to(unit)})
    same(positions(tmp_path, written(table, form), "list.txt"), to=1e-5 if "mrt" in form else 1e-9)


def test_parquet_of_ours_is_read_and_astropys_refused(tmp_path):
    table = Table({"ra": RA * u.deg, "dec": MaskedColumn(DEC, mask=[0, 0, 1], unit="deg")})
    write_table(table, tmp_path / "a.parquet", "parquet")
    places = read_positions(tmp_path / "a.parquet")
    assert places.first.tolist() == RA.tolist()
    assert np.isnan(places.second).tolist() == [False, False, True]
    with pytest.raises(SettingsError, match="Parquet of astropy's"):
        positions(tmp_path, written(table, "parquet"))


def test_sextractors_head_names_the_columns(tmp_path):
    text = (
        "#   1 NUMBER          Running object number\n"
        "#   2 FLUX_APER       Flux vector  [count]\n"
        "#   4 ALPHA_J2000     Right ascension of barycenter (J2000)  [deg]\n"
        "#   5 DELTA_J2000     Declination  [deg]\n"
    )
    text += "".join(
        f"  {k} 1.0 2.0 {a} {d}\n" for k, (a, d) in enumerate(zip(RA, DEC, strict=True))
    )
    same(positions(tmp_path, text))
    with pytest.raises(SettingsError, match="line 6 has 3 values for 5 columns"):
        positions(tmp_path, "\n".join([*text.splitlines()[:5], "1 2 3"]))


def test_sextractors_pixels_count_from_one(tmp_path):
    text = "# 1 X_IMAGE x [pixel]\n# 2 Y_IMAGE y [pixel]\n 11.5 21.0\n"
    positions = read_positions(table_file(tmp_path, text))
    assert not positions.on_sky
    assert (positions.first.tolist(), positions.second.tolist()) == ([10.5], [20.0])
    assert "1-based" in positions.note


def test_haps_pixels_count_from_zero(tmp_path):
    table = Table({"X-Center": [10.5], "Y-Center": [20.0], "MagAp2": [20.1]})
    table["X-Center"].unit = table["Y-Center"].unit = "pixel"
    positions = read_positions(table_file(tmp_path, written(table, "ecsv")))
    assert (positions.first.tolist(), positions.note) == ([10.5], "")
    table["RA"], table["DEC"] = [36.9] * u.deg, [-8.4] * u.deg
    assert read_positions(table_file(tmp_path, written(table, "ecsv"))).on_sky


def test_daophots_pixels_count_from_one(tmp_path):
    text = (
        "#K IRAF       = NOAO/IRAFV2.10EXPORT    version    %-23s\n"
        "#N ID    XCENTER   YCENTER   MAG         MERR          MSKY           NITER    \\\n"
        "#U ##    pixels    pixels    magnitudes  magnitudes    counts         ##       \\\n"
        "#F %-9d  %-10.3f   %-10.3f   %-12.3f     %-14.3f       %-15.7g        %-6d\n"
        "#N         SHARPNESS   CHI         PIER  PERROR                                \\\n"
        "#U         ##          ##          ##    perrors                               \\\n"
        "#F         %-23.3f     %-12.3f     %-6d  %-13s\n"
        "14       138.538   256.405   15.461      0.003         34.85955       4        \\\n"
        "            -0.032      0.802       0     No_error\n"
    )
    positions = read_positions(table_file(tmp_path, text))
    assert positions.first[0] == pytest.approx(137.538)
    assert "1-based" in positions.note


def test_ldac_is_read_without_its_header_table(tmp_path):
    head = fits.BinTableHDU.from_columns([fits.Column("x", "80A", array=["SIMPLE = T"])])
    head.name = "LDAC_IMHEAD"
    rows = [fits.Column("ALPHA_J2000", "D", unit="deg", array=RA),
            fits.Column("DELTA_J2000", "D", unit="deg", array=DEC),
            fits.Column("MAG_APER", "2E", array=np.ones((3, 2)))]  # fmt: skip
    objects = fits.BinTableHDU.from_columns(rows, name="LDAC_OBJECTS")
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), head, objects]).writeto(buffer)
    same(positions(tmp_path, buffer.getvalue(), "list.ldac"))
    fits.HDUList([fits.PrimaryHDU(), objects, objects.copy()]).writeto(two := BytesIO())
    with pytest.raises(SettingsError, match="holds 2 tables, which one is meant"):
        positions(tmp_path, two.getvalue())


def test_a_viziers_table_has_units_and_a_rule(tmp_path):
    text = (
        "#\n#   VizieR Astronomical Server\n#Column\tRA_ICRS\t(F15.11)\tRight ascension\n"
        'RAJ2000\tDEJ2000\tGmag\n"h:m:s"\t"d:m:s"\tmag\n-------\t-------\t-----\n'
        "00 01 00.0\t-00 07 30.0\t18.1\n"
    )
    same(positions(tmp_path, text), [0.25], [-0.125])


def test_positions_of_astropys_own_type(tmp_path):
    table = Table({"sky_centroid": SkyCoord(RA, DEC, unit="deg").galactic})
    same(positions(tmp_path, written(table, "ecsv")))


@pytest.mark.parametrize(
    ("ra", "expected"),
    [(-0.5, 359.5), (-180, 180), (360, 0), (361, 1), (539, 179), (0, 0), (359.9, 359.9)],
)
def test_right_ascension_is_brought_into_the_circle(tmp_path, ra, expected):
    same(positions(tmp_path, f"ra,dec\n{ra},2\n"), [expected], [2.0])


@pytest.mark.parametrize("word", ["", "null", "NaN", "--", "N/A", "...", "\\N", "masked"])
def test_a_missing_position_is_a_row_without(tmp_path, word):
    places = positions(tmp_path, f"ra,dec\n{word},1\n5,2\n")
    assert np.isnan(places[0][0])
    assert places[0][1] == 5.0


def test_masked_and_text_columns(tmp_path):
    table = Table({"ra": MaskedColumn(RA, mask=[0, 1, 0]), "dec": DEC.astype(str)})
    for form in ("ecsv", "fits", "votable"):
        places = positions(tmp_path, written(table, form))
        assert np.isnan(places[0]).tolist() == [False, True, False]
        assert places[1].tolist() == DEC.tolist()


def test_fortrans_exponents_and_typographic_minus(tmp_path):
    same(positions(tmp_path, "ra dec\n3.692D+01 −8.47\n"), [36.92], [-8.47])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "an empty file"),
        ("\n \n", "an empty file"),
        ("a;b\n1;2\n", "no position columns among a, b"),
        ("36.9 -8.4\n36.8 -8.3\n", "no line of column names"),
        ("ra;dec\n36,92;-8,47\n", r"column ra .*row 1: '36,92'.* decimal points"),
        ("ra,dec\n1,2\n1,95\n", r"column dec has 95 degrees in row 2"),
        ("ra,dec\n1,2\n541,5\n", r"column ra has 541 degrees in row 2"),
        ("ra,dec\n-180.1,5\n", "column ra has -180.1 degrees in row 1"),
        ("ra,dec\n-999,5\n", "column ra has -999 degrees"),
        ("ra,dec\n1,2\nabc,5\n", r"column ra does not hold .*\(row 2: 'abc'\)"),
        ("ra,dec\n1,2\n3\n", "line 3 has 1 values for 2 columns"),
        ("ra,dec\n1,2,3\n", "line 2 has 3 values for 2 columns"),
        ("ra,dec\n36:55:12,5\n", r"column ra .*\(row 1: '36:55:12'\)"),
        ("ra,dec\n1:61:00,5\n", r"column ra .*\(row 1"),
        ("ra,dec\n1_000,5\n", r"column ra .*\(row 1: '1_000'\)"),
        ("ra,RA,dec\n1,2,3\n", None),
        ("Ra,RA,dec\n1,2,3\n", "Ra and RA may each be column ra"),
        ("ra,ra,dec\n1,2,3\n", "ra and ra#2 may each be column ra"),
        ("ra [pix],dec [pix]\n1,2\n", "column ra is in 'pix'"),
        ("x [deg],y [deg]\n1,2\n", "column x is in 'deg'"),
        ("ra [furlong],dec [deg]\n1,2\n", "no position columns|furlong"),
        ("x,y\n1,abc\n", r"column y .*\(row 1: 'abc'\)"),
        ("ra,dec\n\x00\x01\x02", "neither text"),
        ('{"ra": [1], "dec": [2]}', "JSON"),
        ("<html><body>ra dec</body></html>", "a web page"),
        (b"PK\x03\x04" + b"x" * 50, "a zip archive or a spreadsheet"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (gzip.compress(b"ra,dec\n1,2\n" * 50, mtime=0)[:-9], "can't be read"),
        (gzip.compress(b"ra,dec\n1,2\n" * 50, mtime=0)[:30] + b"x" * 40, "can't be read|damaged"),
        ('ra,dec\n"1,2\n3,4\n', "values for 2 columns"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_line_that_names_it(tmp_path, content, why):
    path = table_file(tmp_path, content)
    if why is None:  # the exact name counts
        assert read_positions(path).first.tolist() == [1.0]
        return
    with pytest.raises(SettingsError, match=why) as excinfo:
        read_positions(path)
    assert "list.dat" in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def test_an_image_is_no_list(tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(buffer := BytesIO())
    with pytest.raises(SettingsError, match="no table in it"):
        positions(tmp_path, buffer.getvalue())


def test_a_small_file_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("bycatch.user_files.content.MAX_BYTES", 1_000_000)
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(SettingsError, match="holds more than"):
        positions(tmp_path, bomb)
    with pytest.raises(SettingsError, match="holds more than"):
        positions(tmp_path, b"ra,dec\n" + b"1,2\n" * 300_000)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda t: ("ra,dec\n" + t).encode("utf-8", "replace")),
        st.text(alphabet='#ra,dec;|\t \n"-1.5:+x\\%=<>{}[]N', max_size=200).map(str.encode),
        st.tuples(st.sampled_from([b"SIMPLE  =", b"# %ECSV 1.0\n# ---\n", b"<?xml?>", b"PAR1",
                                   b"# 1 X_IMAGE\n", b"#N ID\n", b"|ra|dec|\n", b"\\x=1\n",
                                   b"<VOTABLE>", b"Byte-by-byte Description\n", b"\x1f\x8b"]),
                  st.binary(max_size=100)).map(b"".join),
    )
)  # fmt: skip
@example(b"ra\tdec\n1\t2\n\x85\n")
@example("ra,dec\n١,2\n".encode())
@example(b"ra dec\n1e999 2\n")
def test_garbage_is_a_list_or_refused_by_name(tmp_path, content):
    path = table_file(tmp_path, content)
    for read in (read_positions, read_local):
        with suppress(SettingsError):
            read(path)
            continue
        with pytest.raises(SettingsError, match=r"list\.dat") as excinfo:
            read(path)
        assert "\n" not in excinfo.value.message


def test_a_list_without_rows_is_a_list(tmp_path):
    for text in ("ra,dec\n", "x;y\n", "# ra dec\n"):
        assert len(read_positions(table_file(tmp_path, text)).first) == 0


# ---------------------------------------------------------------- names and numbers


@pytest.mark.parametrize(
    ("name", "plain"),
    [("X-Center", "x_center"), ("RA", "ra"), (" 'Ra' ", "ra"), ("_RAJ2000", "_raj2000"),
     ("ra#2", "ra"), ("E_RA_ICRS", "e_ra_icrs")],
)  # fmt: skip
def test_names_are_compared_without_case_and_marks(name, plain):
    assert plain_name(name) == plain


def test_what_stands_before_a_dot_does_not_matter():
    table = Table({"gaiadr3.gaia_source.ra": [1.0], "gaiadr3.gaia_source.ra_error": [2.0]})
    assert find_column(table, ["ra"], "t") == "gaiadr3.gaia_source.ra"
    assert find_column(table, ["dec"], "t") is None
    both = Table({"a.ra": [1.0], "b.ra": [2.0]})
    with pytest.raises(SettingsError, match=r"a\.ra and b\.ra may each be column ra"):
        find_column(both, ["ra"], "t")


@pytest.mark.parametrize(
    ("unit", "name"),
    [("degrees", "deg"), ("HOURS", "hourangle"), ('"', "arcsec"), ("Deg", "deg"), ("px", "pix"),
     ("h:m:s", "hourangle"), ("DEGREE", "deg"), ("milliarcsec", "mas")],
)  # fmt: skip
def test_common_names_of_units(unit, name):
    assert known_unit(unit) == u.Unit(name)


def test_a_number_is_no_unit(tmp_path):
    assert known_unit("2000") is None
    same(positions(tmp_path, "RA (J2000),Dec (J2000)\n1,2\n"), [1.0], [2.0])
    same(positions(tmp_path, ",RA (deg),Dec. (deg)\n0,1,2\n"), [1.0], [2.0])


def test_single_precision_is_reported(tmp_path):
    table = Table({"ra": RA.astype(np.float32), "dec": DEC.astype(np.float32)})
    path = table_file(tmp_path, written(table, "fits"))
    assert "single precision: rounded to 1.1e+02 mas" in read_positions(path).note
    assert "single precision" in read_local(path).notes[0]
    table["ra"], table["dec"] = RA, DEC
    assert read_positions(table_file(tmp_path, written(table, "fits"))).note == ""


def test_truth_values_are_numbers():
    assert numbers(Table({"a": ["true", "False", ""]}), "a", "", "t")[:2].tolist() == [1.0, 0.0]


def test_more_than_one_value_per_row_is_no_position():
    table = Table({"ra": np.zeros((2, 3)), "dec": [1.0, 2.0]})
    with pytest.raises(SettingsError, match="column ra holds more than one value per row"):
        sky_positions(table, "ra", "dec", "t")


# ---------------------------------------------------------------- Gaia's tables


def gaia_table(**changes):
    return Table({"ra": [36.9, 36.8], "dec": [-8.4, -8.3], **changes})


def test_gaias_long_names_and_text_identifiers():
    table = Table({f"gaiadr3.gaia_source.{k}": [1.0, 2.0] for k in ("ra", "dec", "pmra", "ruwe")})
    table["gaiadr3.gaia_source.source_id"] = ["Gaia DR3 4583627001381815936", "6636090334814214528"]
    stars = from_table(table, "t")
    assert stars.table["source_id"].tolist() == [4583627001381815936, 6636090334814214528]
    assert stars.table["pmra"].tolist() == [1.0, 2.0]
    assert stars.notes == ()


@pytest.mark.parametrize("ids", [[4583627001381815936.0, 5.0], ["4.583627001381816e18", "5"]])
def test_rounded_identifiers_are_reported(ids):
    stars = from_table(gaia_table(source_id=ids), "t")
    assert "last digits" in stars.notes[0]
    assert from_table(gaia_table(source_id=[1.0, 2.0]), "t").notes == ()


@pytest.mark.parametrize(
    ("unit", "value"), [("mas", 0.3), ("arcsec", 0.0003), ("deg", 0.3 / 3.6e6), ("uas", 300.0)]
)
def test_errors_are_converted(unit, value):
    errors = np.full(2, value) * u.Unit(unit)
    stars = from_table(gaia_table(ra_error=errors, dec_error=errors), "t")
    np.testing.assert_allclose(stars.table["ra_error"], 0.3)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"ra_error": [0.3, 0.2] * u.s}, "column ra_error is in 's'"),
        ({"ra_error": [3e-4, 2e-4]}, "too small for an error in mas"),
        ({"dec_error": [0.3, -1.0]}, "column dec_error has -1 in row 2"),
        ({"pmra": [1.0, 2.0] * u.mas}, "column pmra is in 'mas'"),
        ({"ref_epoch": [2016.0, 57388.0]}, "column ref_epoch has 57388 in row 2: no Julian year"),
        ({"phot_g_mean_mag": [1.0, 2.0] * u.Jy}, "column phot_g_mean_mag is in 'Jy'"),
        ({"source_id": ["1", "abc"]}, r"identifiers \(row 2: 'abc'\)"),
        ({"source_id": ["1", "9" * 30]}, "identifiers"),
    ],
)
def test_values_that_can_not_be_are_refused(columns, why):
    with pytest.raises(SettingsError, match=why):
        from_table(gaia_table(**columns), "t")


def test_epochs_may_be_words_and_errors_zero():
    stars = from_table(gaia_table(ref_epoch=["J2015.5", ""], ra_error=[0.0, 0.0]), "t")
    assert stars.table["ref_epoch"].tolist() == [2015.5, 2016.0]
    assert stars.table["ra_error"].tolist() == [0.0, 0.0]


def test_a_table_of_all_of_gaias_columns_is_not_changed_by_a_round(tmp_path):
    table = Table({name: [1.5, 2.5] for name in COLUMNS if name not in {"source_id", "ref_epoch"}})
    table["source_id"], table["ref_epoch"] = [2**62 + 1, 2**62 + 3], [2016.0, 2016.0]
    for form in ("fits", "votable", "ecsv"):
        path = table_file(tmp_path, written(table, form), f"t.{form}")
        stars = read_local(path).table
        for name in COLUMNS:
            assert stars[name].tolist() == table[name].tolist()


# ---------------------------------------------------------------- VOTables that reach out

VOT = (
    '<?xml version="1.0"?>{doctype}<VOTABLE version="1.4"><RESOURCE type="results"><TABLE {table}>'
    '<FIELD name="ra" datatype="double" unit="deg" {field}/>'
    '<FIELD name="dec" datatype="double" unit="deg"/><DATA>{data}</DATA></TABLE></RESOURCE>'
    "</VOTABLE>"
)
ROW = "<TABLEDATA><TR><TD>1</TD><TD>2</TD></TR></TABLEDATA>"


def votable(doctype="", table="", field="", data=ROW):
    return VOT.format(doctype=doctype, table=table, field=field, data=data).encode()


def test_a_plain_votable_is_read(tmp_path):
    same(positions(tmp_path, votable()), [1.0], [2.0])
    old = '<!DOCTYPE VOTABLE SYSTEM "http://us-vo.org/xml/VOTable.dtd">'
    same(positions(tmp_path, votable(doctype=old)), [1.0], [2.0])


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"data": '<BINARY><STREAM href="{url}"/></BINARY>'}, "another address"),
        ({"data": '<BINARY2><STREAM encoding="gzip" href="{url}"/></BINARY2>'}, "another address"),
        ({"data": '<FITS extnum="1"><STREAM href="{url}"/></FITS>'}, "another address"),
        ({"data": '<FITS><v:STREAM xmlns:v="a" v:href="{url}"/></FITS>'}, "another address"),
        ({"data": '<PARQUET type="VOTable-remote-file"><STREAM href="{url}"/></PARQUET>'},
         "another address"),
        ({"data": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{url}"/>'},
         "another address"),
        ({"doctype": '<!DOCTYPE VOTABLE [<!ENTITY a SYSTEM "{url}">]>'}, "entity"),
        ({"doctype": '<!DOCTYPE VOTABLE [<!ENTITY % a SYSTEM "{url}"> %a;]>'}, "entity"),
        ({"doctype": '<!DOCTYPE V [<!ENTITY a "xx"><!ENTITY b "&a;&a;">]>'}, "entity"),
        ({"table": 'nrows="99999999999"'}, "rows"),
        ({"field": 'arraysize="999999999"'}, "cells"),
        ({"field": 'arraysize="99999x99999"'}, "cells"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_no_votable_makes_the_program_fetch_anything(tmp_path, parts, why, scheme, monkeypatch):
    secret = table_file(tmp_path, b"secret", "secret.txt")
    url = f"file://{secret}" if scheme == "file" else "http://127.0.0.1:9/x"

    def fetched(*args, **kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    content = votable(**{key: value.replace("{url}", url) for key, value in parts.items()})
    with pytest.raises(VOTableError, match=why):
        read_votable(content)
    with pytest.raises(SettingsError, match=r"list\.dat"):
        positions(tmp_path, content)
    utf16 = content.decode().replace('version="1.0"', 'version="1.0" encoding="UTF-16"')
    with pytest.raises(SettingsError, match=r"list\.dat"):
        positions(tmp_path, utf16.encode("utf-16"))


def test_positions_of_another_equinox_are_refused(tmp_path):
    system = '<COOSYS ID="s" system="eq_FK4" equinox="B1950"/>'
    content = votable(field='ref="s"').replace(b"<TABLE ", system.encode() + b"<TABLE ")
    with pytest.raises(SettingsError, match=r"column ra is in the system eq_FK4 B1950"):
        positions(tmp_path, content)
    icrs = content.replace(b"eq_FK4", b"ICRS").replace(b'equinox="B1950"', b'epoch="J2016.0"')
    same(positions(tmp_path, icrs), [1.0], [2.0])


def test_a_name_that_comes_twice_in_a_votable(tmp_path):
    content = votable().replace(b'name="dec"', b'name="ra"')
    assert read_user_table(table_file(tmp_path, content)).table.colnames == ["ra", "ra#2"]


def test_the_limits_are_those_of_the_documentation():
    assert content.MAX_BYTES == 2**30
    assert gaia.EPOCHS == (1900.0, 2100.0)
    assert gaia.LEAST_ERROR_MAS == 0.002
    assert answers.MAX_DENSITY_PER_DEG2 == 5e6
    assert tap.MAX_ANSWER_BYTES == 256_000_000
