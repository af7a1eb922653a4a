"""Two catalogs of the same field, with known differences."""

import numpy as np
import pytest
from astropy.table import Table

from bycatch.compare import Catalog, compare, read_catalog, robust_width
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.figures.comparison import comparison_figure

RED = "abc_01/F775W/jabc01010"
DEC = -8.4


def catalog(name, ra, dec, mag):
    columns = ("RA", "DEC", "MAG")
    return Catalog(
        name, np.asarray(ra), np.asarray(dec), np.asarray(mag), np.arange(len(ra)), columns
    )


def field(n=400, seed=1):
    """Return a catalog of n sources in 3 x 3 arcmin, from 18 to 26 mag."""
    rng = np.random.default_rng(seed)
    ra, dec = (
        36.9 + rng.uniform(-0.025, 0.025, n) / np.cos(np.radians(DEC)),
        DEC + rng.uniform(-0.025, 0.025, n),
    )
    return catalog("a", ra, dec, rng.uniform(18, 26, n))


def moved(a, dra_mas=0.0, ddec_mas=0.0, dmag=0.0, noise_mas=0.0, keep=None, seed=2):
    """Return a catalog with offsets and some of its rows."""
    rng = np.random.default_rng(seed)
    keep = np.ones(len(a), bool) if keep is None else keep
    dra, ddec = rng.normal([[dra_mas], [ddec_mas]], noise_mas, (2, len(a))) / 3.6e6
    ra = a.ra + dra / np.cos(np.radians(a.dec))
    return catalog("b", ra[keep], (a.dec + ddec)[keep], (a.mag + dmag)[keep])


def test_known_offsets_are_found():
    a = field()
    comparison = compare(a, moved(a, 60.0, -45.0, 0.12, noise_mas=5.0))
    summary = comparison.summary()
    assert summary["matched"] == 400
    assert comparison.offset_mas == pytest.approx((60, -45), abs=1.0)
    assert summary["offset_mag"] == pytest.approx(0.12, abs=1e-9)
    assert summary["scatter_mas"] > 0
    assert not comparison.matches["strange"].any()


def test_an_offset_as_large_as_the_radius_loses_no_pair():
    a = field()
    summary = compare(a, moved(a, 95.0, 0.0, noise_mas=10.0), radius_mas=100.0).summary()
    assert summary["matched"] == 400


def test_missing_rows_are_listed_brightest_first():
    a = field()
    keep = np.random.default_rng(3).random(len(a)) < 0.7
    comparison = compare(a, moved(a, keep=keep))
    assert len(comparison.matches) == keep.sum()
    assert len(comparison.only_b) == 0
    assert set(comparison.only_a["row"]) <= set(np.flatnonzero(~keep))
    # Some lie outside the hull of what is left.
    assert len(comparison.only_a) > 0.9 * (~keep).sum()
    assert (np.diff(comparison.only_a["mag"]) >= 0).all()


def test_rows_outside_the_other_catalog_are_not_missing():
    a = field()
    comparison = compare(a, moved(a, keep=a.ra < 36.9))
    assert len(comparison.only_a) == 0
    assert comparison.summary()["fraction_of_a_in_b"] == 1.0
    assert comparison.summary()["rows_a"] == 400


def test_bins_count_what_is_there():
    a = field()
    b = moved(a, dmag=0.3, keep=a.mag < 24)
    bins = compare(a, b).bins
    assert bins["a_in_b"].sum() == len(b)
    assert bins["n_b"].sum() == len(b)
    faint = bins[bins["mag_low"] >= 25]
    assert (faint["a_in_b"] == 0).all()
    bright = bins[bins["mag_high"] <= 24]
    np.testing.assert_allclose(bright["dmag"], 0.3, atol=1e-9)


def test_a_pair_far_off_is_strange():
    a = field()
    b = moved(a)
    noise = np.random.default_rng(5).normal(0, 0.05, len(b))
    b.mag[:] += noise
    b.mag[7] += 1.0
    matches = compare(a, b).matches
    assert matches["row_a"][matches["strange"]].tolist() == [7]


def test_magnitudes_may_be_missing():
    a = field(50)
    b = moved(a)
    b.mag[:] = np.nan
    comparison = compare(a, b)
    assert comparison.summary()["offset_mag"] is None
    assert comparison.summary()["matched"] == 50
    comparison_figure(comparison)


def test_catalogs_of_different_fields_are_an_error():
    a = field()
    b = catalog("b", a.ra + 1.0, a.dec, a.mag)
    with pytest.raises(SettingsError, match=r"0 of 400 and 400 rows match within 150 mas"):
        compare(a, b)
    far = catalog("b", (a.ra + 180.0) % 360, -a.dec, a.mag)
    with pytest.raises(SettingsError, match="rows match within"):
        compare(a, far)


def test_an_empty_catalog_is_an_error():
    with pytest.raises(SettingsError, match="b: it has no row with a position"):
        compare(field(), catalog("b", [], [], []))


def test_three_rows_on_a_line_can_be_compared():
    a = catalog("a", [10.0, 10.001, 10.002], [0.0, 0.0, 0.0], [20.0, 21.0, 22.0])
    comparison = compare(a, a)
    assert comparison.summary()["fraction_of_a_in_b"] == 1.0


def test_the_field_may_lie_at_ra_zero():
    rng = np.random.default_rng(7)
    ra = rng.uniform(-0.02, 0.02, 100) % 360
    a = catalog("a", ra, rng.uniform(-0.02, 0.02, 100), rng.uniform(20, 24, 100))
    assert len(compare(a, a).matches) == 100


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("RA", "DEC", "MagAp2"), -9999.0),
        (("ALPHA_J2000", "DELTA_J2000", "MAG_AUTO"), 99.0),
        (("RA_GAIA_WCS", "DEC_GAIA_WCS", "mag_ab_4"), np.nan),
        (("RA_GAIA_WCS", "DEC_GAIA_WCS", "mag_ab_3.5"), np.nan),
        (("ra", "dec", "mag"), np.nan),
    ],
)
def test_known_kinds_of_catalogs_are_read(tmp_path, names, missing):
    table = Table([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0], [20.0, missing, 21.0]], names=names)
    table.write(tmp_path / "t.ecsv")
    catalog = read_catalog(tmp_path / "t.ecsv")
    assert catalog.columns == names
    assert catalog.row.tolist() == [0, 1]
    if missing < 0:
        assert np.isnan(catalog.mag[1])


def test_sextractor_text_is_read(tmp_path):
    text = "#   1 NUMBER Running number\n#   2 ALPHA_J2000 RA [deg]\n#   3 DELTA_J2000 Dec [deg]\n"
    text += "#   4 MAG_AUTO Magnitude [mag]\n 1 36.9 -8.4 21.5\n 2 36.8 -8.3 22.5\n"
    (tmp_path / "test.cat").write_text(text)
    catalog = read_catalog(tmp_path / "test.cat")
    assert catalog.mag.tolist() == [21.5, 22.5]


def test_columns_can_be_named(tmp_path):
    Table({"a": [1.0], "b": [2.0], "c": [3.0]}).write(tmp_path / "t.csv")
    assert read_catalog(tmp_path / "t.csv", ["a", "b", "c"]).mag.tolist() == [3.0]
    with pytest.raises(SettingsError, match=r"which columns hold .* there are a, b, c"):
        read_catalog(tmp_path / "t.csv")
    with pytest.raises(SettingsError, match="no column d"):
        read_catalog(tmp_path / "t.csv", ["a", "b", "d"])
    with pytest.raises(SettingsError, match="three columns are needed, not 2"):
        read_catalog(tmp_path / "t.csv", ["a", "b"])


def test_words_are_no_numbers(tmp_path):
    Table({"ra": ["x"], "dec": [2.0], "mag": [3.0]}).write(tmp_path / "t.csv")
    with pytest.raises(
        SettingsError, match=r"column ra does not hold numbers or angles \(row 1: 'x'\)"
    ):
        read_catalog(tmp_path / "t.csv")


def test_what_is_no_table_is_named(tmp_path):
    (tmp_path / "t.fits").write_bytes(b"\x00\x01")
    with pytest.raises(SettingsError, match=r"t\.fits: neither text nor a known format"):
        read_catalog(tmp_path / "t.fits")
    with pytest.raises(UnreadableFile, match="there is no such file"):
        read_catalog(tmp_path / "gone.fits")


@pytest.mark.parametrize(
    ("id_name", "mag_name", "error_name"),
    [
        ("id", "mag_ab_4", "mag_ab_err_4"),
        ("ID", "MagAp2", "MagErrAp2"),
        ("NUMBER", "MAG_AUTO", "MAGERR_AUTO"),
        ("source_id", "mag", "mag_err"),
        ("object_id", "Gmag", "e_Gmag"),
    ],
)
def test_pairs_have_identifiers_and_magnitudes_with_errors(tmp_path, id_name, mag_name, error_name):
    place = [1.0, 1.001, 1.002, 1.003], [3.0, 3.001, 3.0, 3.001]
    table = Table([[7, 8, 9, 11], *place, [20.0, 21.0, 22.0, 23.0], [0.01, -9999.0, 0.03, 0.04]],
                  names=[id_name, "ra", "dec", mag_name, error_name])  # fmt: skip
    table.meta["FILTER"] = "F814W"
    table.write(tmp_path / "a.ecsv")
    table[:3].write(tmp_path / "b.ecsv")
    names = ["ra", "dec", mag_name]
    a, b = (read_catalog(tmp_path / f"{name}.ecsv", names) for name in "ab")
    comparison = compare(a, b)
    pairs = comparison.matches
    assert pairs["id_a"].tolist() == pairs["id_b"].tolist() == [7, 8, 9]
    np.testing.assert_array_equal(pairs["mag_err_b"], [0.01, np.nan, 0.03])
    assert pairs["mag_a"].description == f"magnitude of A ({mag_name}, F814W)"
    assert str(pairs["mag_err_a"].unit) == "mag"
    assert set(comparison.only_a.colnames) == {"ra", "dec", "row", "id", "mag", "mag_err"}


def test_a_path_that_is_not_there_is_named(bycatch, tmp_path):
    result = bycatch("compare", tmp_path, tmp_path / "gone")
    assert result.status != 0
    assert "gone: there is no such file or folder" in result.err


def test_robust_width_is_that_of_a_gaussian():
    values = np.random.default_rng(1).normal(3, 0.5, 20000)
    assert robust_width(values) == pytest.approx(0.5, rel=0.03)
    assert robust_width([1.0]) is None


def test_the_command_compares_two_filters(bycatch, finished, tmp_path):
    other = next((finished / "abc_01/F475W").glob("*_cat.ecsv"))
    result = bycatch("compare", finished / f"{RED}_cat.ecsv", other, "-o", tmp_path / "c")
    assert result.status == 0
    assert "fraction of A in B" in result.out
    assert "A: jabc01010_cat.ecsv, F775W, mag_ab_4" in result.out
    names = {p.name for p in (tmp_path / "c").iterdir()}
    assert names == {
        "compare_matches.ecsv", "compare_only_a.ecsv", "compare_only_b.ecsv", "compare_bins.ecsv",
        "compare.png",
    }  # fmt: skip
