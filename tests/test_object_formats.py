"""The tables of objects read back: digits, units, UCDs, meanings in every format."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

from bycatch.catalogs import ecsv
from bycatch.catalogs.columns import expand
from bycatch.catalogs.object_columns import (
    EPOCHS,
    GROUP_IMAGES,
    IN_FILTER,
    OBJECTS,
    in_filters,
    of_colours,
)
from bycatch.catalogs.tables import SUFFIXES, floats, make_table, read_table, write_table

pytest.importorskip("pyarrow")

FILTERS = ("F475W", "F606W", "F814W")
TABLES = {
    "objects": (*OBJECTS, *in_filters(IN_FILTER, FILTERS), *of_colours(FILTERS)),
    "epochs": tuple(expand(EPOCHS, (2.0, 6.0))),
    "images": GROUP_IMAGES,
}
SIZE = {"erg / (Angstrom s cm2)": 3e-19, "deg": 150.0, "d": 57400.0, "mag": 24.0, "s": 600.0}
"""About how large the values of a unit are; others are about 1."""


def example(columns, n=40):
    """Return a table of random values, every fifth of those that can be missing left out."""
    rng, data = np.random.default_rng(5), {}
    for column in columns:
        if column.dtype == "f8":
            data[column.name] = SIZE.get(column.unit, 1.0) * (1 + 0.3 * rng.random(n))
            if column.nullable:
                data[column.name][::5] = np.nan
        elif column.dtype.startswith("U"):
            data[column.name] = np.full(n, "A")
        else:
            data[column.name] = rng.integers(0, 2, n).astype(column.dtype)
    data["object_id" if "object_id" in data else "n_exp"][0] += 2588271529995381197 % 2**30
    return make_table(columns, data, meta={"FILTERS": list(FILTERS)})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The tables, and the folder with each of them in each format."""
    folder = tmp_path_factory.mktemp("formats")
    tables = {kind: example(columns) for kind, columns in TABLES.items()}
    for kind, table in tables.items():
        for form, suffix in SUFFIXES.items():
            write_table(table, folder / f"{kind}{suffix}", form)
    return tables, folder


@pytest.mark.parametrize("kind", TABLES)
def test_every_number_says_how_many_digits_it_has(kind):
    for column in TABLES[kind]:
        has = bool(re.fullmatch(r"\.\d+[fg]", column.format))
        assert has == (column.dtype == "f8"), column.name
        assert column.meaning
        assert column.ucd


@pytest.mark.parametrize("form", ["ecsv", "fits", "parquet", "votable"])
@pytest.mark.parametrize("kind", TABLES)
def test_what_is_written_is_read_back(written, kind, form):
    tables, folder = written
    table, again = tables[kind], read_table(folder / f"{kind}{SUFFIXES[form]}")
    assert again.colnames == table.colnames
    for column in TABLES[kind]:
        name = column.name
        # VOTable and FITS have other words for the same unit.
        assert (again[name].unit or "") == (table[name].unit or ""), name
        if form != "fits":  # TCOMM, TUCD: astropy does not read them
            text = " ".join(again[name].description.split())  # VOTable breaks lines
            assert text == column.meaning
        if form in {"ecsv", "parquet"}:
            assert again[name].info.meta["ucd"] == column.ucd
            assert again[name].info.format == (column.format or None)
        if column.dtype != "f8":
            kind_of = np.asarray(table[name]).dtype  # words of FITS are bytes
            assert (np.asarray(again[name]).astype(kind_of) == np.asarray(table[name])).all(), name
            continue
        true = floats(table, name)
        if form == "ecsv":
            np.testing.assert_array_equal(
                floats(again, name), ecsv.round_to_format(true, column.format)
            )
        elif form != "votable":  # its numbers are words, too
            np.testing.assert_array_equal(floats(again, name), true)
        digits, kind_of = int(column.format[1:-1]), column.format[-1]
        step = 10.0**-digits if kind_of == "f" else 10.0 ** (1 - digits) * np.nanmax(abs(true))
        np.testing.assert_allclose(floats(again, name), true, rtol=0, atol=0.5001 * step)


def test_words_of_ecsv_are_as_long_as_their_digits(written):
    _, folder = written
    rows = Table.read(folder / "objects.ecsv", format="ascii.basic", guess=False)
    words = [str(word) for word in (folder / "objects.ecsv").read_text().splitlines()[-1].split()]
    for name, word in zip(rows.colnames, words, strict=True):
        column = next(c for c in TABLES["objects"] if c.name == name)
        if column.dtype == "f8" and word != '""':
            digits = re.sub(r"e.*", "", word).lstrip("-")
            limit = int(column.format[1:-1])
            if column.format.endswith("f"):
                assert len(digits.partition(".")[2]) <= max(limit, 1), (name, word)
            else:
                assert len(digits.replace(".", "").lstrip("0")) <= limit + 1, (name, word)


def test_fits_has_units_meanings_ucds_and_digits(written):
    _, folder = written
    header = fits.getheader(folder / "objects.fits", 1)
    names = [header[f"TTYPE{k}"] for k in range(1, header["TFIELDS"] + 1)]
    for k, column in enumerate(TABLES["objects"], start=1):
        assert names[k - 1] == column.name
        assert header[f"TUCD{k}"] == column.ucd
        assert header[f"TCOMM{k}"]
        assert bool(header.get(f"TUNIT{k}")) == bool(column.unit)
        if column.format:
            letter = {"f": "F", "g": "G"}[column.format[-1]]
            assert re.fullmatch(rf"{letter}\d+\.{column.format[1:-1]}.*", header[f"TDISP{k}"])


def test_votable_has_ucds_and_digits(written):
    _, folder = written
    fields = {f.name: f for f in parse_single_table(folder / "objects.vot").fields}
    for column in TABLES["objects"]:
        assert fields[column.name].ucd == column.ucd
        letter = {"f": "F", "g": "E", "": None}[column.format[-1:]]
        assert fields[column.name].precision == (letter and letter + column.format[1:-1])


@pytest.mark.skipif(shutil.which("stilts") is None, reason="no stilts is installed")
def test_votlint_has_nothing_to_say(written):
    _, folder = written
    words = ["stilts", "votlint", f"votable={folder / 'objects.vot'}"]
    process = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (process.stdout + process.stderr).strip() == ""
