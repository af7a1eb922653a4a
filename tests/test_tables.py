"""Columns, flags and tables: one registry, and every format gives back what it got."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import ucd
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, Table

from bycatch.catalogs import ecsv, tables
from bycatch.catalogs.catalog_columns import CAT
from bycatch.catalogs.columns import Column, expand
from bycatch.catalogs.flags import FLAGS, Flag, decode
from bycatch.catalogs.photometry_columns import PHOT
from bycatch.catalogs.source_columns import EXCLUDED, REMOVED, SOURCES
from bycatch.catalogs.tables import SUFFIXES, empty_table, make_table, read_table, write_table
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.kernels.text_rows import cells_of_rows, rows_of_cells

TABLES = {"sources": SOURCES, "removed": REMOVED, "excluded": EXCLUDED, "phot": PHOT, "cat": CAT}
EVERY = [pytest.param(c, id=f"{t}.{c.name}") for t, cols in TABLES.items() for c in cols]
RADII = (2.0, 2.5, 10.0)


# ---------------------------------------------------------------- registries


@pytest.mark.parametrize("column", EVERY)
def test_every_column_is_described(column):
    assert len(column.meaning) > 10
    assert np.dtype(column.dtype)
    u.Unit(column.unit)
    assert ucd.check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=False)
    # Only floats can say "missing" by NaN.
    assert not column.nullable or column.dtype == "f8"


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_names_are_unique(columns):
    names = [c.name for c in expand(columns, RADII)]
    assert len(names) == len(set(names))


def test_one_name_means_one_thing_in_all_tables():
    seen = {}
    for columns in TABLES.values():
        for c in columns:
            kind = (c.dtype, c.unit)
            assert seen.setdefault(c.name, kind) == kind


def test_the_columns_that_readers_of_older_tables_expect():
    names = [c.name for c in expand(CAT, (2, 4))]
    expected = [
        "x_center", "y_center", "flux_2_apcor", "flux_4_apcor", "err_2_apcor", "err_4_apcor",
        "RA_GAIA_WCS", "DEC_GAIA_WCS", "GAIA_CAT_RA", "GAIA_CAT_DEC",
    ]  # fmt: skip
    assert names[: len(expected)] == expected


def test_radii_are_written_with_percent_g():
    names = [c.name for c in expand(PHOT, (2.0, 2.5, 10, 0.1))]
    for text in ("2", "2.5", "10", "0.1"):
        assert f"countrate_{text}" in names
        assert f"countrate_err_{text}" in names
        assert f"area_{text}" in names
    meaning = next(c.meaning for c in expand(PHOT, (2.5,)) if c.name == "countrate_2.5")
    assert "2.5 px" in meaning


def test_flags_are_distinct_bits_and_each_is_explained():
    assert [m.flag for m in FLAGS] == list(Flag)
    assert all(f.value.bit_count() == 1 for f in Flag)
    assert len({f.value for f in Flag}) == len(Flag)
    assert all(len(m.meaning) > 10 and m.owner for m in FLAGS)
    assert max(Flag).value < 2**31


def test_decode_names_the_bits():
    assert decode(0) == []
    assert decode(int(Flag.EDGE | Flag.SATURATED)) == ["edge", "saturated"]
    assert decode(sum(Flag)) == [f.name.lower() for f in Flag]
    assert decode(np.int32(4)) == ["cosmic_ray"]


# ---------------------------------------------------------------- making tables

SMALL = (
    Column("id", "i8", "", "meta.id", "number of the source"),
    Column("flux_{r}", "f8", "electron / s", "phot.flux", "flux in {r} px", nullable=True),
    Column("exact", "f8", "deg", "pos.eq.ra", "never masked"),
    Column("name", "U5", "", "meta.note", "a word of five letters"),
)


def small_table():
    return make_table(
        SMALL,
        {
            "id": [1, 2, 2**53 + 1],
            "flux_2": [1.5, np.nan, -np.inf],
            "exact": [1.0, -999.0, np.nan],
            "name": ["a", "bcd", "too long"],
        },
        (2,),
        meta={"FILTER": "F606W", "EXPTIME": 600.0, "N": 3, "notes": ["a note", "µ"]},
    )


def test_tables_carry_types_units_meanings_and_masks():
    table = small_table()
    assert table.colnames == ["id", "flux_2", "exact", "name"]
    assert table["id"].dtype == np.int64
    assert table["id"][2] == 2**53 + 1
    assert table["flux_2"].unit == u.electron / u.s
    assert table["flux_2"].description == "flux in 2 px"
    assert table["flux_2"].info.meta["ucd"] == "phot.flux"
    assert table["flux_2"].mask.tolist() == [False, True, True]
    assert not np.any(np.ma.getmask(table["exact"]))
    assert np.isnan(table["exact"][2])
    assert table.meta["FILTER"] == "F606W"


def test_wrong_columns_are_refused():
    good = {"id": [1], "flux_2": [1.0], "exact": [1.0], "name": ["a"]}
    with pytest.raises(KeyError, match="flux_4"):
        make_table(SMALL, {**good, "flux_4": [1.0]}, (2,))
    with pytest.raises(KeyError, match="exact"):
        make_table(SMALL, {k: v for k, v in good.items() if k != "exact"}, (2,))
    with pytest.raises(ValueError, match="length"):
        make_table(SMALL, {**good, "exact": [1.0, 2.0]}, (2,))


def test_masked_input_stays_masked_and_the_input_is_not_changed():
    flux = np.ma.array([1.0, 2.0], mask=[True, False])
    table = make_table(
        SMALL, {"id": [1, 2], "flux_2": flux, "exact": [0, 0], "name": ["", ""]}, (2,)
    )
    assert table["flux_2"].mask.tolist() == [True, False]
    table["flux_2"][1] = 7
    assert flux[1] == 2


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_empty_tables_have_every_column(columns):
    table = empty_table(columns, RADII, meta={"a": 1})
    specs = expand(columns, RADII)
    assert table.colnames == [c.name for c in specs]
    assert len(table) == 0
    assert table.meta == {"a": 1}
    for c in specs:
        assert table[c.name].dtype == np.dtype(c.dtype)
        assert str(table[c.name].unit or "") == str(u.Unit(c.unit))


# ---------------------------------------------------------------- writing and reading


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("rows", [3, 0])
def test_every_format_gives_back_what_it_got(tmp_path, kind, rows):
    table = small_table()[:rows]
    path = tmp_path / f"t{SUFFIXES[kind]}"
    write_table(table, path, kind)
    back = read_table(path)
    assert back.colnames == table.colnames
    assert len(back) == rows
    if not rows:
        return
    assert back["id"].tolist() == table["id"].tolist()
    flux = np.ma.filled(np.ma.asarray(back["flux_2"], dtype=float), np.nan)
    np.testing.assert_array_equal(flux, [1.5, np.nan, np.nan])
    assert back["exact"][1] == -999
    assert [str(n).strip() for n in back["name"]] == ["a", "bcd", "too l"]
    if kind != "csv":
        assert str(back["flux_2"].unit).replace(" ", "") in ("electron/s", "electrons-1")


@pytest.mark.parametrize("kind", ["ecsv", "parquet"])
def test_metadata_and_masks_come_back_in_full(tmp_path, kind):
    table = small_table()
    path = tmp_path / f"t{SUFFIXES[kind]}"
    write_table(table, path, kind)
    back = read_table(path)
    assert dict(back.meta) == dict(table.meta)
    assert back["flux_2"].mask.tolist() == [False, True, True]
    assert back["flux_2"].description == "flux in 2 px"
    assert back["flux_2"].info.meta["ucd"] == "phot.flux"


def random_table(rng, rows):
    """Return a table of every type of column that there is, with the awkward values of each."""
    awkward = ["", "two words", 'a "quote"', "µ Å 星", "it's", "#hash", "nan", "-0", "a,b;c\\d"]
    floats = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.7e308, 0.1, 1e16, -1e-5])
    table = Table(meta={"a": 1, "nested": {"b": [1.5, "µ"], "c": None}})
    ids = rng.integers(-(2**63), 2**63 - 1, rows)
    some = rng.random(rows) < 0.3
    bits = rng.integers(0, 2**63, rows).view(np.float64)
    table["id"] = TableColumn(ids, description="any: even 'quoted' # text")
    table["f8"] = np.where(some, rng.choice(floats, rows), bits)
    table["f8"].unit = "electron / s"
    short = rng.normal(0, 1e-3, rows)
    table["f4"] = np.where(some, rng.choice(floats[:5], rows), short).astype(np.float32)
    table["name"] = rng.choice(awkward, rows)
    table["yes"] = rng.random(rows) < 0.5
    table["i2"] = rng.integers(-9, 9, rows).astype(np.int16)
    table["u8"] = rng.integers(0, 2**64 - 1, rows, dtype=np.uint64)
    for name in table.colnames:
        masked = MaskedColumn(table[name], name=f"{name}_masked", mask=rng.random(rows) < 0.5)
        masked.info.meta = {"ucd": "meta.code;meta.main"}
        table[f"{name}_masked"] = masked
    table["a b"] = np.full(rows, 7.5)
    return table


@pytest.mark.parametrize("rows", [0, 1, 2, 300])
@pytest.mark.parametrize("first", ["id", "name", "name_masked", "f8_masked"])
def test_ecsv_is_what_astropy_writes(tmp_path, rows, first):
    table = random_table(np.random.default_rng(rows), rows)
    table = table[[first, *(name for name in table.colnames if name != first)]]
    if first.startswith("name"):
        # Astropy writes it as a comment and loses the row.
        table[first][table[first] == "#hash"] = "hash"
    write_table(table, tmp_path / "ours.ecsv")
    table.write(tmp_path / "theirs.ecsv", format="ascii.ecsv")
    texts = [(tmp_path / f"{who}.ecsv").read_text("utf-8") for who in ("ours", "theirs")]
    assert texts[0].replace('"#hash"', "#hash") == texts[1]
    ours, theirs = (Table.read(tmp_path / f"{who}.ecsv") for who in ("ours", "theirs"))
    assert ours.colnames == theirs.colnames
    assert ours.meta == theirs.meta
    for name in ours.colnames:
        a, b = ours[name], theirs[name]
        assert (type(a), a.dtype, a.unit, a.description) == (
            type(b),
            b.dtype,
            b.unit,
            b.description,
        )
        assert a.info.meta == b.info.meta
        assert np.ma.getmaskarray(a).tolist() == np.ma.getmaskarray(b).tolist()
        assert np.ma.getdata(a).tobytes() == np.ma.getdata(b).tobytes()


@pytest.mark.parametrize(("n_columns", "n_rows"), [(1, 0), (1, 1), (1, 5), (4, 1), (3, 200)])
def test_rows_are_their_cells_with_blanks_between(n_columns, n_rows):
    rng = np.random.default_rng(n_rows)
    words = [["".join(rng.choice(list("ab1.é-"), rng.integers(0, 6))) for _ in range(n_columns)]
             for _ in range(n_rows)]  # fmt: skip
    order = [(row, column) for row in range(n_rows) for column in range(n_columns)]
    rng.shuffle(order)  # the cells may stand anywhere in the text
    first, end = np.zeros((2, n_columns, n_rows), np.int64)
    text = b""
    for row, column in order:
        cell = words[row][column].encode()
        first[column, row], end[column, row] = len(text), len(text) + len(cell)
        text += cell + b","
    lines, ends = rows_of_cells(text, first, end)
    expected = [(" ".join(row) + "\n").encode() for row in words]
    assert lines.tobytes() == b"".join(expected)
    assert ends.tolist() == np.cumsum([len(line) for line in expected]).tolist()


CELLS = ["1", '""', "-2.5e-7", "é,", '"a b"', '"say ""no"""', '"  "', "#"]


@pytest.mark.parametrize(("n_columns", "n_rows"), [(1, 0), (1, 1), (1, 5), (4, 1), (3, 200)])
@pytest.mark.parametrize("end", ["\n", ""])
def test_cells_are_found_in_rows(n_columns, n_rows, end):
    cells = np.random.default_rng(n_rows).choice(CELLS, (n_rows, n_columns))
    text = "head\n" + "\n".join(" ".join(row) for row in cells) + end * bool(n_rows)
    wanted = [k for k in range(n_columns) if k != 1]
    first, last = cells_of_rows(text.encode(), 5, n_columns, wanted)
    found = [[text.encode()[i:j].decode() for i, j in zip(*at, strict=True)]
             for at in zip(first, last, strict=True)]  # fmt: skip
    assert found == cells[:, wanted].T.tolist()


@pytest.mark.parametrize(
    "text",
    ["1\n", "1 2 3\n", "1  2\n", " 1 2\n", "1 2 \n", "1 2\n\n", "1\t2 3\n", '1 "2\n', '1 2"\n',
     '1 "a"b\n', '1 "a\nb"\n', "1 2\n3", '1 "a""\n', "1 \x0b\n", "1 "],
)  # fmt: skip
def test_rows_of_another_form_are_left_to_astropy(text):
    assert cells_of_rows(text.encode(), 0, 2, [0, 1]) is None


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_some_columns_are_those_of_all(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    tables.write_by_suffix(small_table(), path)
    whole, part = read_table(path), read_table(path, ("name", "flux_2", "unknown"))
    assert sorted(part.colnames) == ["flux_2", "name"]
    for name in part.colnames:
        assert np.ma.getmaskarray(part[name]).tolist() == np.ma.getmaskarray(whole[name]).tolist()
        assert part[name].tolist() == whole[name].tolist()
        assert part[name].unit == whole[name].unit


@pytest.mark.parametrize("n", [1, 7, ecsv.ROWS_AT_A_TIME, 2 * ecsv.ROWS_AT_A_TIME + 3])
def test_chosen_rows_are_those_of_the_whole(n):
    rng = np.random.default_rng(n)
    table = random_table(rng, n)
    rows = ecsv.rows(table)
    lines = b"".join(rows.lines()).splitlines(keepends=True)
    assert len(lines) == n
    some = rng.random(n) < 0.4
    kept = [line for line, is_kept in zip(lines, some, strict=True) if is_kept]
    assert b"".join(rows.lines(some)) == b"".join(kept)
    # A table of those rows has the same lines: no cell depends on its neighbours.
    assert b"".join(ecsv.rows(table[some]).lines()) == b"".join(kept)


def test_numbers_and_ids_keep_every_bit_in_ecsv(tmp_path):
    table = random_table(np.random.default_rng(5), 200)
    write_table(table, tmp_path / "t.ecsv")
    back = read_table(tmp_path / "t.ecsv")
    for name in ("id", "f8", "f4", "yes", "i2", "u8"):
        np.testing.assert_array_equal(back[name], table[name])
        assert back[name].dtype == table[name].dtype
    assert np.signbit(back["f8"]).tolist() == np.signbit(table["f8"]).tolist()


def test_a_first_word_that_begins_with_a_hash_is_no_comment(tmp_path):
    table = Table({"name": ["#1", "a", "# 2"], "x": [1.0, 2.0, 3.0]})
    write_table(table, tmp_path / "t.ecsv")
    assert read_table(tmp_path / "t.ecsv")["name"].tolist() == ["#1", "a", "# 2"]


def test_columns_that_are_not_plain_are_left_to_astropy(tmp_path):
    table = Table({"x": [1.0, 2.0], "pair": [[1, 2], [3, 4]], "d": [1.0, 2.0] * u.pix})
    write_table(table, tmp_path / "t.ecsv")
    assert read_table(tmp_path / "t.ecsv")["pair"].tolist() == [[1, 2], [3, 4]]


def test_positions_keep_every_bit_in_ecsv(tmp_path):
    values = np.random.default_rng(1).uniform(0, 360, 200)
    table = Table({"ra": values})
    write_table(table, tmp_path / "t.ecsv")
    np.testing.assert_array_equal(read_table(tmp_path / "t.ecsv")["ra"], values)


def test_full_catalogs_of_every_format_keep_their_columns(tmp_path):
    table = empty_table(CAT, RADII)
    table.add_row([1.0] * len(table.colnames))
    table.meta = {"bycatch": {"version": "1", "a nested": {"b": [1, 2]}}, "PHOTFLAM": 1e-19}
    for kind, suffix in SUFFIXES.items():
        path = tmp_path / f"cat{suffix}"
        write_table(table, path, kind)
        assert read_table(path).colnames == table.colnames


def test_fits_headers_take_any_metadata(tmp_path):
    table = small_table()
    table.meta |= {
        "long": "x" * 500,
        "nan": np.nan,
        "nested": {"a": 1, "b": {"c": 2}, "l": [1, 2]},
        "a very long name of a keyword indeed, longer than any": 3,
        "with\nnewline": "two\nlines",
        "none": None,
        "npfloat": np.float32(3),
    }
    path = tmp_path / "t.fits"
    write_table(table, path, "fits")
    meta = {k.upper(): v for k, v in read_table(path).meta.items()}
    assert meta["FILTER"] == "F606W"
    assert meta["EXPTIME"] == 600.0
    assert meta["NESTED A"] == 1
    assert "long" in table.meta


def test_ucds_are_in_the_votable(tmp_path):
    path = tmp_path / "t.vot"
    write_table(small_table(), path, "votable")
    text = path.read_text(encoding="utf-8")
    assert 'ucd="phot.flux"' in text
    assert 'name="FILTER" value="F606W"' in text


def test_parquet_holds_values_nulls_and_units(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    write_table(small_table(), path, "parquet")
    back = parquet.read_table(path)
    assert back.column_names == small_table().colnames
    assert back["id"].to_pylist() == [1, 2, 2**53 + 1]
    assert back["flux_2"].to_pylist() == [1.5, None, None]
    assert back.schema.field("flux_2").metadata[b"unit"] == b"electron / s"


def test_an_existing_table_is_replaced(tmp_path):
    for kind, suffix in SUFFIXES.items():
        path = tmp_path / f"t{suffix}"
        write_table(small_table(), path, kind)
        write_table(small_table()[:1], path, kind)
        assert len(read_table(path)) == 1


def test_writing_leaves_the_warning_filters_alone(tmp_path):
    before = list(warnings.filters)
    write_table(small_table(), tmp_path / "t.fits", "fits")
    assert warnings.filters == before


def test_unknown_formats_and_a_missing_library_are_refused(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"unknown table format 'xlsx' - use ecsv"):
        write_table(small_table(), tmp_path / "t.xlsx", "xlsx")
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="pyarrow"):
        write_table(small_table(), tmp_path / "t.parquet", "parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES.values())
@pytest.mark.parametrize("content", [None, b"", b"nothing of use \x00\xff", b"a,b\n1"])
def test_missing_and_damaged_tables_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"t{suffix}"
    if content is not None:
        path.write_bytes(content)
    if suffix == ".csv" and content is not None:
        pytest.skip("any text is some table of comma-separated values")
    words = "there is no such file" if content is None else "not a readable table"
    with pytest.raises(UnreadableFile, match=words):
        read_table(path)


def test_a_truncated_ecsv_is_refused(tmp_path):
    path = tmp_path / "t.ecsv"
    write_table(small_table(), path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(UnreadableFile, match=r"t\.ecsv"):
        read_table(path)


def test_fits_holds_every_setting_under_its_path(tmp_path):
    table = Table({"x": [1.0]})
    services = ["https://a.example/tap with_a_long_table_name", "https://b.example/tap other"]
    table.meta = {"SETTINGS": {"align": {"gaia_services": services, "enabled": True, "x": 1.5}}}
    path = tmp_path / "t.fits"
    write_table(table, path, "fits")
    header = fits.getheader(path, 1)
    assert header["SETTINGS align gaia_services 1"].startswith("https://a.example")
    assert header["SETTINGS align gaia_services 2"].startswith("https://b.example")
    assert header["SETTINGS align enabled"] is True
    assert header["SETTINGS align x"] == 1.5


def assert_same_tables(ours, theirs):
    assert ours.colnames == theirs.colnames
    assert dict(ours.meta) == dict(theirs.meta)
    for name in ours.colnames:
        one, other = ours[name], theirs[name]
        assert type(one) is type(other), name
        assert one.dtype == other.dtype, name
        assert one.unit == other.unit
        assert one.description == other.description
        assert (one.info.meta or {}) == (other.info.meta or {})
        np.testing.assert_array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other))
        np.testing.assert_array_equal(np.ma.filled(one), np.ma.filled(other))


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_ecsv_is_read_as_astropy_reads_it(tmp_path, rows):
    rng = np.random.default_rng(rows)
    table = random_table(rng, rows)
    plain = table.copy()
    plain["name"] = rng.choice(["", "a", "#b", "nan", "µ"], rows)
    quoted = table[[name for name in table.colnames if name != "a b"]]
    for k, made in enumerate((table, plain, quoted, small_table()[: min(rows, 3)])):
        path = tmp_path / f"{k}.ecsv"
        write_table(made, path)
        assert_same_tables(read_table(path), Table.read(path, format="ascii.ecsv"))


@pytest.mark.parametrize(
    "body",
    [
        'a"b 1',
        '"a b" 1\n"a ""b""" 2\n',
        '"a b" 1\n"" ""\n" " "2"\n',
        '"a b"  1\n',
        '"a b"\t1\n',
        '" a b " 1',
        '""""""  1\n',
        '"""""" 1\n"a b" 2\n',
        '"two\nlines" 1\n',
        'a"b" 1\n"c d" 2\n',
        '"a"b 1\n',
        '"a b\n',
    ],
)
def test_quoted_words_are_read_as_astropy_reads_them(tmp_path, body):
    path = tmp_path / "t.ecsv"
    columns = "# - {name: s, datatype: string}\n# - {name: k, datatype: int64}"
    path.write_text(f"# %ECSV 1.0\n# ---\n# datatype:\n{columns}\ns k\n{body}", "utf-8")
    try:
        theirs = Table.read(path, format="ascii.ecsv")
    except Exception:  # whatever it is  # noqa: BLE001
        with pytest.raises(UnreadableFile, match=r"t\.ecsv"):
            read_table(path)
    else:
        assert_same_tables(read_table(path), theirs)


def test_plain_ecsv_does_not_need_astropys_reader(tmp_path, monkeypatch):
    table = small_table()[:2]
    table["why"] = ["two words", 'a "quote"']
    write_table(table, tmp_path / "t.ecsv")
    expected = Table.read(tmp_path / "t.ecsv", format="ascii.ecsv")
    monkeypatch.setattr(Table, "read", None)
    assert_same_tables(read_table(tmp_path / "t.ecsv"), expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-999.0 bcd", "-999.0"),
        ("1.5", "1.5 2.5"),
        ("1 1.5", "1 one"),
        ("1 1.5", "1.0 1.5"),
        ("id flux_2", "id flux_3"),
    ],
)
def test_damaged_rows_are_refused(tmp_path, old, new):
    path = tmp_path / "t.ecsv"
    write_table(small_table()[:2], path)
    text = path.read_text("utf-8")
    assert f"\n{old}" in text or f" {old}" in text
    path.write_text(text.replace(f" {old}", f" {new}").replace(f"\n{old}", f"\n{new}"), "utf-8")
    with pytest.raises(UnreadableFile, match=r"t\.ecsv"):
        read_table(path)


@pytest.mark.parametrize("kind", ["ecsv", "fits", "votable"])
def test_other_metadata_are_written_and_the_table_keeps_its_own(tmp_path, kind):
    table = make_table(SOURCES, {c.name: [1, 2] for c in SOURCES}, meta={"WHOSE": "its own"})
    path = tmp_path / f"t{SUFFIXES[kind]}"
    write_table(table, path, kind, meta={"WHOSE": "another"})
    assert table.meta == {"WHOSE": "its own"}
    assert "another" in path.read_bytes().decode("latin-1")
    assert "its own" not in path.read_bytes().decode("latin-1")
