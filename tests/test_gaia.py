"""Reference stars: epochs against astropy, every file format, and a real TAP server."""

import gzip
import re
import threading
import time
import urllib.parse
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table, vstack
from astropy.time import Time

from bycatch.errors import NoReferenceStars, SettingsError
from bycatch.settings import AlignSettings
from bycatch.sky.adql import adql_query
from bycatch.sky.gaia import COLUMNS, VIZIER, from_table, parallax_shift, read_local
from bycatch.sky.tap import Services

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MJD_2016 = 57388.5  # J2016.0, to half a day


def star_table(n=3, dec=-8.0):
    rng = np.random.default_rng(1)
    return Table(
        {
            "source_id": np.arange(n, dtype=np.int64) + 6123456789012345671,
            "ra": rng.uniform(36.8, 37.0, n),
            "dec": dec + rng.uniform(-0.1, 0.1, n),
            "ra_error": np.full(n, 0.2),
            "dec_error": np.full(n, 0.3),
            "pmra": rng.normal(0, 30, n),
            "pmdec": rng.normal(0, 30, n),
            "pmra_error": np.full(n, 0.25),
            "pmdec_error": np.full(n, 0.35),
            "ref_epoch": np.full(n, 2016.0),
        }
    )


# ---------------------------------------------------------------- epochs


@pytest.mark.parametrize("dec", [-8.0, 60.0, 89.9])
@pytest.mark.parametrize("years", [-13.7, 0.0, 8.2])
def test_positions_agree_with_astropy(dec, years):
    table = star_table(20, dec=min(dec, 89.85))
    stars = from_table(table, "test")
    then = Time(2016.0 + years, format="jyear", scale="tcb")
    here = SkyCoord(
        table["ra"] * u.deg,
        table["dec"] * u.deg,
        pm_ra_cosdec=table["pmra"] * u.mas / u.yr,
        pm_dec=table["pmdec"] * u.mas / u.yr,
        distance=np.full(20, 1.0) * u.kpc,
        radial_velocity=np.zeros(20) * u.km / u.s,
        obstime=Time(2016.0, format="jyear", scale="tcb"),
    )
    expected = here.apply_space_motion(new_obstime=then)
    ra, dec_deg = stars.positions_at(then.mjd)
    apart = SkyCoord(ra * u.deg, dec_deg * u.deg).separation(SkyCoord(expected.ra, expected.dec))
    assert apart.to_value("mas").max() < 0.001


def test_parallaxes_move_stars_as_astropy_has_it():
    # A star at 20 pc, seen from the Earth half a year apart.
    table = star_table(4)
    table["parallax"], table["parallax_error"] = 50.0, 0.1
    stars = from_table(table, "test")
    for year in (2015.13, 2015.61):
        time_then = Time(year, format="jyear", scale="tdb")
        here = SkyCoord(
            table["ra"] * u.deg,
            table["dec"] * u.deg,
            distance=np.full(4, 20.0) * u.pc,
            pm_ra_cosdec=table["pmra"] * u.mas / u.yr,
            pm_dec=table["pmdec"] * u.mas / u.yr,
            radial_velocity=np.zeros(4) * u.km / u.s,
            obstime=Time(2016.0, format="jyear", scale="tdb"),
        ).apply_space_motion(new_obstime=time_then)
        from astropy.coordinates import CartesianRepresentation, get_body_barycentric

        star = here.cartesian.without_differentials() - get_body_barycentric("earth", time_then)
        seen = SkyCoord(CartesianRepresentation(star.xyz), frame="icrs").spherical
        ra, dec = stars.positions_at(time_then.mjd)
        expected = SkyCoord(seen.lon, seen.lat)
        assert SkyCoord(ra * u.deg, dec * u.deg).separation(expected).to_value("mas").max() < 0.05


def test_a_parallax_within_its_error_is_left_alone_but_counts_as_an_error():
    table = star_table(2)
    table["parallax"], table["parallax_error"] = [1.0, 1.0], [0.1, 0.9]
    plain = from_table(star_table(2), "test")
    stars = from_table(table, "test")
    mjd = MJD_2016 + 100.0
    moved = (stars.positions_at(mjd)[1] - plain.positions_at(mjd)[1]) * 3.6e6
    east, north = parallax_shift(np.asarray(table["ra"]), np.asarray(table["dec"]), 2016.27)
    assert moved[0] == pytest.approx(north[0], abs=0.02)
    assert moved[1] == pytest.approx(0.0, abs=1e-6)
    errors = np.array(stars.errors_at(mjd, 5.0)) ** 2 - np.array(plain.errors_at(mjd, 5.0)) ** 2
    assert np.sqrt(errors[0][1]) == pytest.approx(0.9 * abs(east[1]), abs=0.02)


def test_a_bad_fit_and_two_stars_in_one_count_for_less_or_not_at_all():
    table = star_table(3)
    table["ruwe"] = [0.9, 3.0, np.nan]
    table["duplicated_source"] = [False, False, True]
    stars = from_table(table, "test")
    plain = from_table(star_table(3), "test").errors_at(MJD_2016, 5.0)[0]
    assert stars.errors_at(MJD_2016, 5.0)[0] / plain == pytest.approx([1.0, 3.0, 1.0])
    assert stars.usable.tolist() == [True, True, False]
    words = star_table(3)
    words["duplicated_source"] = ["false", "True", ""]
    assert from_table(words, "test").usable.tolist() == [True, False, True]


def test_star_without_motion_stays_and_gets_a_larger_error():
    table = star_table(2)
    table["pmra"][1] = table["pmdec"][1] = np.nan
    stars = from_table(table, "test")
    mjd = MJD_2016 + 4 * 365.25
    ra, dec = stars.positions_at(mjd)
    assert ra[1] == pytest.approx(table["ra"][1], abs=1e-12)
    assert dec[1] == pytest.approx(table["dec"][1], abs=1e-12)
    moved_mas = (dec[0] - table["dec"][0]) * 3.6e6
    assert moved_mas == pytest.approx(4 * table["pmdec"][0], abs=0.1)
    ra_err, dec_err = stars.errors_at(mjd, typical_motion_mas_yr=5.0)
    assert ra_err == pytest.approx([np.hypot(0.2, 4 * 0.25), np.hypot(0.2, 20.0)], rel=1e-3)
    assert dec_err == pytest.approx([np.hypot(0.3, 4 * 0.35), np.hypot(0.3, 20.0)], rel=1e-3)


def test_errors_are_the_same_before_and_after_the_epoch():
    stars = from_table(star_table(), "test")
    before = stars.errors_at(51544.5 - 365.25, 5.0)[0]
    after = stars.errors_at(51544.5 + 33 * 365.25, 5.0)[0]
    np.testing.assert_allclose(before, after, rtol=1e-9)


def test_motion_without_an_error_takes_that_of_the_position():
    table = star_table(1)
    del table["pmra_error"]
    ra_err, _ = from_table(table, "test").errors_at(MJD_2016 + 2 * 365.25, 5.0)
    assert ra_err == pytest.approx([np.hypot(0.2, 2 * 0.2)], rel=1e-3)


def test_unknown_position_error_stays_unknown():
    table = star_table(1)
    del table["ra_error"]
    ra_err, dec_err = from_table(table, "test").errors_at(MJD_2016, 5.0)
    assert np.isnan(ra_err).all()
    assert np.isfinite(dec_err).all()


# ---------------------------------------------------------------- tables


def test_from_table_has_every_column_with_unit_and_description():
    stars = from_table(Table({"ra": [10.0], "dec": [20.0]}), "mine.csv")
    assert stars.table.colnames == list(COLUMNS)
    assert len(stars) == 1
    assert stars.origin == stars.table.meta["origin"] == "mine.csv"
    for name, column in COLUMNS.items():
        assert str(stars.table[name].unit or "") == column.unit
        assert stars.table[name].description == column.meaning
    assert stars.table["source_id"][0] == 1
    assert stars.table["source_id"].dtype == np.int64
    assert stars.table["ref_epoch"][0] == 2016.0
    assert np.isnan(stars.table["pmra"][0])
    assert np.isnan(stars.table["ra_error"][0])


def test_from_table_reads_viziers_names():
    table = star_table()
    vizier = Table(table, copy=True)
    for name in [n for n in table.colnames if n != "ref_epoch"]:
        vizier.rename_column(name, VIZIER[name])
    vizier["RAJ2000"] = vizier["RA_ICRS"] + 1.0  # another epoch: must not be taken
    ours, theirs = from_table(table, "a").table, from_table(vizier, "a").table
    for name in COLUMNS:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("change", [str.upper, str.title])
def test_from_table_does_not_mind_the_case(change):
    table = star_table()
    table.rename_columns(table.colnames, [change(n) for n in table.colnames])
    np.testing.assert_array_equal(from_table(table, "a").table["pmra"], star_table()["pmra"])


def test_from_table_converts_units_and_fills_masks():
    table = QTable(
        {
            "ra": np.deg2rad([10.0, 20.0]) * u.rad,
            "dec": [1.0, 2.0] * u.deg,
            "pmra": [0.01, 0.02] * u.arcsec / u.yr,
        }
    )
    table["source_id"] = MaskedColumn([6123456789012345671, 0], mask=[False, True])
    table["ruwe"] = MaskedColumn([1.0, 9.0], mask=[False, True])
    stars = from_table(table, "a").table
    assert stars["ra"] == pytest.approx([10.0, 20.0])
    assert stars["pmra"] == pytest.approx([10.0, 20.0])
    assert stars["source_id"].tolist() == [6123456789012345671, 2]
    assert np.isnan(stars["ruwe"][1])


def test_release_and_epoch_are_known():
    stars = from_table(star_table(), "https://a.example/tap gaiadr3.gaia_source")
    assert (stars.release, stars.epoch) == ("Gaia DR3", 2016.0)
    assert from_table(star_table(), "mine.csv").release == "unknown"
    assert np.isnan(from_table(star_table()[:0], "mine.csv").epoch)


def test_a_stored_table_remembers_its_service(tmp_path):
    from_table(star_table(), "https://a.example/tap gaiadr3.gaia_source").table.write(
        tmp_path / "gaia.ecsv"
    )
    again = read_local(tmp_path / "gaia.ecsv")
    assert again.origin == str(tmp_path / "gaia.ecsv")
    assert again.table.meta["origin"] == "https://a.example/tap gaiadr3.gaia_source"


@pytest.mark.parametrize("mjd", [0.0, 1e6])
def test_a_time_beyond_the_ephemeris_is_no_error(mjd):
    table = star_table()
    table["parallax"], table["parallax_error"] = np.full(3, 10.0), np.full(3, 0.1)
    stars = from_table(table, "test")
    assert np.isfinite(stars.positions_at(mjd)[0]).all()
    assert np.isfinite(stars.errors_at(mjd, 8.0)[0]).all()


def test_from_table_does_not_change_its_input():
    table = star_table()
    before = table.copy()
    from_table(table, "a")
    assert table.colnames == before.colnames
    assert all((table[n] == before[n]).all() for n in table.colnames)


def test_rows_without_a_position_are_left_out():
    table = Table({"ra": [1.0, np.nan, 3.0], "dec": [1.0, 2.0, 3.0]})
    assert from_table(table, "a").table["source_id"].tolist() == [1, 3]


def test_empty_table_is_an_empty_result():
    stars = from_table(Table({"ra": np.empty(0), "dec": np.empty(0)}), "a")
    assert len(stars) == 0
    assert stars.positions_at(MJD_2016)[0].size == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"x": [1.0], "y": [2.0]},
            "not a table of stars: .* ra and dec among its columns \\(x, y\\)",
        ),
        ({f"c{k}": [1.0] for k in range(20)}, r"\(c0, c1, .* c7 and 12 more\)"),
        ({"RAJ2000": [1.0], "dec": [2.0]}, "no column for ra among its columns \\(RAJ2000, dec\\)"),
        ({}, "no column for ra and dec among its columns \\(none\\)"),
        ({"ra": ["one"], "dec": [2.0]}, "column ra does not hold numbers"),
        ({"ra": [np.nan], "dec": [2.0]}, "none of its 1 rows has a position"),
        ({"ra": [1.0], "dec": [95.0]}, "no positions in degrees"),
        ({"ra": [1e6], "dec": [5.0]}, "no positions in degrees"),
        ({"ra": [1.0], "dec": [5.0], "source_id": ["abc"]}, "does not hold identifiers"),
    ],
)
def test_bad_tables_are_refused_by_name(columns, message):
    with pytest.raises(SettingsError, match=message):
        from_table(Table(columns), "my.csv")


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("stars.ecsv", "ascii.ecsv"),
        ("stars.fits", "fits"),
        ("stars.csv", "ascii.csv"),
        ("stars.vot", "votable"),
        ("stars.txt", "ascii.ecsv"),  # the contents tell, not the suffix
        ("stars.dat", "votable"),
    ],
)
def test_every_format_gives_the_same_stars(tmp_path, name, form):
    table = star_table()
    table["pmra"] = MaskedColumn(table["pmra"], mask=[False, True, False])
    table.write(tmp_path / name, format=form)
    stars = read_local(tmp_path / name)
    assert stars.origin == str(tmp_path / name)
    assert stars.table["source_id"].tolist() == table["source_id"].tolist()
    assert np.isnan(stars.table["pmra"].tolist()).tolist() == [False, True, False]
    np.testing.assert_allclose(stars.table["ra"], table["ra"], rtol=0, atol=1e-12)


def test_gzipped_fits_is_read(tmp_path):
    star_table().write(tmp_path / "stars.fits.gz", format="fits")
    assert len(read_local(tmp_path / "stars.fits.gz")) == 3


def test_own_table_survives_writing_and_reading(tmp_path):
    stars = from_table(star_table(), "Gaia DR3 test")
    stars.table.write(tmp_path / "gaia.ecsv")
    again = read_local(tmp_path / "gaia.ecsv")
    assert again.table.meta["release"] == "Gaia DR3"
    for name in COLUMNS:
        np.testing.assert_array_equal(again.table[name], stars.table[name])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.fits", b"SIMPLE  =                    T" + b" " * 50),
        ("a.ecsv", b"# %ECSV 1.0\n# ---\n# datatype: nonsense\nra dec\n1 2\n"),
        ("a.vot", b"<?xml version='1.0'?><VOTABLE><RESOURCE>"),
        ("a.csv", b"\x00\x01\x02\xff\xfe" * 40),
        ("empty.csv", b""),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=name):
        read_local(tmp_path / name)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing.csv: can't be read"):
        read_local(tmp_path / "nothing.csv")
    with pytest.raises(SettingsError, match="can't be read"):
        read_local(tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "n", "first"),
    [
        ("gaia/astroquery_1710099405832VAL-result.vot", 2, 4583627001381815936),
        ("gaia/astroquery_1712337806100O-result.ecsv", 5, 6636090334814214528),
        ("gaia/gaia_dr3_47tuc_10000.csv", 10_000, 4689621262329503744),
        ("gaia/gaia_dr3_M92.csv", 10_000, 1360216318738209792),
        ("sim_visit/gaia.ecsv", 21, 6000000000000000),
    ],
)
def test_real_extracts_are_read(name, n, first):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    stars = read_local(path)
    assert len(stars) == n
    assert stars.table["source_id"][0] == first
    assert np.isfinite(stars.table["phot_g_mean_mag"]).mean() > 0.9
    assert np.all(stars.table["ref_epoch"] == 2016.0)
    ra, dec = stars.positions_at(MJD_2016)
    assert np.abs(dec - stars.table["dec"]).max() * 3.6e6 < 5.0  # half a day of any motion
    assert np.isfinite(ra).all()


# ---------------------------------------------------------------- TAP


def votable_bytes(table, status="OK", note=""):
    """A TAP answer: a VOTable with the status where the protocol puts it."""
    buffer = BytesIO()
    table.write(buffer, format="votable")
    text = buffer.getvalue().decode()
    head = f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="{status}">{note}</INFO>'
    text = text.replace('<RESOURCE type="results">', head)
    if status == "OVERFLOW":
        text = text.replace(
            "</RESOURCE>", '<INFO name="QUERY_STATUS" value="OVERFLOW"/></RESOURCE>'
        )
    return text.encode()


@contextmanager
def tap_server(answer):
    """Serve ``answer(n, query) -> (status, body)`` at /tap/sync; yields address and queries."""
    queries = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            form = urllib.parse.parse_qs(self.rfile.read(length).decode())
            assert self.path == "/tap/sync"
            queries.append(form)
            status, body, *promised = answer(len(queries), form["QUERY"][0])
            self.send_response(status)
            self.send_header("Content-Type", "application/x-votable+xml")
            self.send_header("Content-Length", str(promised[0] if promised else len(body)))
            self.end_headers()
            with suppress(OSError):  # the client may have left
                for part in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(part)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tap", queries
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asking(*services, **changes):
    values = {"gaia_timeout_s": 5.0, "gaia_retries": 1, "gaia_retry_wait_s": 0.0} | changes
    return AlignSettings(gaia_services=services, **values)


def query_tap(ra_deg, dec_deg, radius_deg, settings):
    return Services(settings).stars(ra_deg, dec_deg, radius_deg)


def test_query_gets_the_stars():
    with tap_server(lambda n, q: (200, votable_bytes(star_table()))) as (url, queries):
        settings = asking(f"{url} gaiadr3.gaia_source", gaia_max_rows=77)
        stars = query_tap(36.9, -8.0, 0.2, settings)
    assert len(stars) == 3
    assert stars.table["source_id"].tolist() == star_table()["source_id"].tolist()
    assert stars.origin == f"{url} gaiadr3.gaia_source"
    meta = stars.table.meta
    assert (meta["ra_deg"], meta["dec_deg"], meta["radius_deg"]) == (36.9, -8.0, 0.2)
    assert meta["release"] == "Gaia DR3"
    assert len(queries) == 1
    assert queries[0]["MAXREC"] == ["77"]
    assert queries[0]["LANG"] == ["ADQL"]
    assert "CIRCLE('ICRS', 36.900000000, -8.000000000, 0.200000000)" in queries[0]["QUERY"][0]


@pytest.mark.parametrize("form", ["binary", "binary2"])
def test_answers_in_binary_are_read(form):
    buffer = BytesIO()
    star_table().write(buffer, format="votable", tabledata_format=form)
    with tap_server(lambda n, q: (200, buffer.getvalue())) as (url, _):
        stars = query_tap(36.9, -8.0, 0.2, asking(f"{url} t"))
    np.testing.assert_array_equal(stars.table["ra"], star_table()["ra"])


def test_an_empty_sky_is_an_answer():
    with tap_server(lambda n, q: (200, votable_bytes(star_table()[:0]))) as (url, _):
        assert len(query_tap(36.9, -8.0, 0.001, asking(f"{url} gaiadr3.gaia_source"))) == 0


def test_a_busy_service_is_asked_again():
    def answer(n, query):
        return (503, b"busy") if n == 1 else (200, votable_bytes(star_table()))

    with tap_server(answer) as (url, queries):
        assert len(query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))) == 3
    assert len(queries) == 2


def test_a_service_that_stays_busy_gives_way_to_the_next():
    vizier = star_table()
    for name in [n for n in vizier.colnames if n != "ref_epoch"]:
        vizier.rename_column(name, VIZIER[name])
    with (
        tap_server(lambda n, q: (503, b"busy")) as (busy, asked_busy),
        tap_server(lambda n, q: (200, votable_bytes(vizier))) as (good, asked_good),
    ):
        settings = asking(f"{busy} gaiadr3.gaia_source", f"{good} I/355/gaiadr3")
        stars = query_tap(36.9, -8.0, 0.2, settings)
    assert stars.origin == f"{good} I/355/gaiadr3"
    assert len(stars) == 3
    assert len(asked_busy) == 2
    assert len(asked_good) == 1
    assert '"RA_ICRS"' in asked_good[0]["QUERY"][0]


ERROR = votable_bytes(star_table()[:0], status="ERROR", note="no such table")


@pytest.mark.parametrize(
    ("answer", "reason", "n_asked"),
    [
        ((503, b"busy"), "503", 2),
        ((404, b"not here"), "404", 1),
        ((200, b"<html>welcome</html>"), "127.0.0.1", 1),
        ((200, b"\x00\xff" * 100), "127.0.0.1", 1),
        ((200, b""), "127.0.0.1", 1),
        ((200, votable_bytes(star_table())[:700]), "127.0.0.1", 1),
        ((200, votable_bytes(star_table())[:700], 5000), "Connection broken", 2),
        ((200, ERROR), "no such table", 1),
        ((400, ERROR), "no such table", 1),
        ((200, votable_bytes(star_table(), status="OVERFLOW")), "outside of the declinations", 2),
        ((200, votable_bytes(Table({"x": [1.0]}))), "no column for ra and dec", 1),
    ],
)
def test_failures_end_in_no_reference_stars_with_the_reason(answer, reason, n_asked):
    with (
        tap_server(lambda n, q: answer) as (url, queries),
        pytest.raises(NoReferenceStars, match=reason) as excinfo,
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert excinfo.value.metadata["ra_deg"] == 36.9
    assert "\n" not in str(excinfo.value)
    assert len(queries) == n_asked


def test_a_silent_service_is_left_after_the_timeout():
    def answer(n, query):
        time.sleep(0.6)
        return 200, b""

    with (
        tap_server(answer) as (url, queries),
        pytest.raises(NoReferenceStars, match=r"[Tt]imed? ?out"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source", gaia_timeout_s=0.1))
    assert len(queries) == 2


def test_no_service_at_the_address():
    settings = asking("http://127.0.0.1:9/tap gaiadr3.gaia_source", "http://127.0.0.1:9/tap")
    with pytest.raises(NoReferenceStars, match="write a service as 'address table'"):
        query_tap(36.9, -8.0, 0.2, settings)


@pytest.mark.parametrize(("counted", "complete"), [(50, True), (51, False)])
def test_a_silent_row_cap_is_noticed(counted, complete):
    def answer(n, query):
        if "COUNT(*)" in query:
            return 200, votable_bytes(Table({"n": [counted]}))
        return 200, votable_bytes(star_table(50))

    with tap_server(answer) as (url, queries):
        settings = asking(f"{url} gaiadr3.gaia_source")
        if complete:
            assert len(query_tap(36.9, -8.0, 0.2, settings)) == 50
        else:
            with pytest.raises(NoReferenceStars, match="outside of the declinations"):
                query_tap(36.9, -8.0, 0.2, settings)
    # A query and its count; then in halves, which this server does not know.
    assert len(queries) == 2 if complete else len(queries) in {3, 4}


def test_the_limit_of_rows_asked_for_is_a_cut():
    # Some servers give MAXREC rows and say OK.
    with (
        tap_server(lambda n, q: (200, votable_bytes(star_table(7)))) as (url, _),
        pytest.raises(NoReferenceStars, match="outside of the declinations"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source", gaia_max_rows=7))


def test_queries_name_needed_columns_only():
    query = adql_query("gaiadr3.gaia_source", (10.0, -20.0, 0.1), 20.5)
    selected = query.partition("SELECT ")[2].partition(" FROM ")[0].split(", ")
    assert selected == list(COLUMNS)
    assert query.endswith("AND phot_g_mean_mag <= 20.5")
    vizier = adql_query("I/355/gaiadr3", (10.0, -20.0, 0.1))
    assert 'FROM "I/355/gaiadr3" WHERE' in vizier
    assert "Gmag" in vizier
    assert "<=" not in vizier
    assert "ref_epoch" not in vizier


# ---------------------------------------------------------------- answers in parts


def bounded_server(stars, cap, says_so):
    """An answer to every query of a declination band, cut after ``cap`` rows."""

    def answer(n, query):
        bounds = re.search(r"AND dec >= (\S+) AND dec < (\S+)", query)
        low, high = (float(v) for v in bounds.groups()) if bounds else (-90.0, 90.0)
        found = stars[(stars["dec"] >= low) & (stars["dec"] < high)]
        if "COUNT(*)" in query:
            return 200, votable_bytes(Table({"n": [len(found)]}))
        status = "OVERFLOW" if says_so and len(found) > cap else "OK"
        return 200, votable_bytes(found[:cap], status)

    return answer


@pytest.mark.parametrize("says_so", [True, False])
def test_an_answer_that_is_cut_off_is_asked_for_in_parts(says_so):
    stars = star_table(230)
    with tap_server(bounded_server(stars, 50, says_so)) as (url, queries):
        reference = query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert sorted(reference.table["source_id"]) == sorted(stars["source_id"])
    assert len(set(reference.table["source_id"])) == 230
    assert len(queries) < 40


def test_a_crowd_that_no_part_can_hold_is_an_outcome():
    stars = star_table(200)
    stars["dec"] = -8.0 + 1e-7 * np.arange(200)
    with (
        tap_server(bounded_server(stars, 50, True)) as (url, queries),
        pytest.raises(NoReferenceStars, match="in parts of the field as well"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert len(queries) < 60


def test_a_service_that_can_not_be_reached_is_asked_once_in_a_run():
    settings = asking(
        "http://127.0.0.1:9/tap gaiadr3.gaia_source", gaia_retries=5, gaia_retry_wait_s=30.0
    )
    services = Services(settings)
    start_s = time.monotonic()
    with pytest.raises(NoReferenceStars, match=r"can't be reached \(no network\?\)"):
        services.stars(1.0, 2.0, 0.1)
    with pytest.raises(NoReferenceStars, match="not asked again"):
        services.stars(5.0, 2.0, 0.1)
    assert time.monotonic() - start_s < 20.0  # no repeats, which would wait for minutes


def test_a_service_that_stays_busy_is_not_asked_for_the_next_field():
    with (
        tap_server(lambda n, q: (503, b"busy")) as (busy, asked_busy),
        tap_server(lambda n, q: (200, votable_bytes(star_table()))) as (good, asked_good),
    ):
        services = Services(asking(f"{busy} gaiadr3.gaia_source", f"{good} gaiadr3.gaia_source"))
        for ra in (36.88, 36.9, 36.92):
            assert len(services.stars(ra, -8.0, 0.2)) == 3
    assert len(asked_busy) == 2
    assert len(asked_good) == 3


def test_a_service_that_refuses_one_field_is_asked_for_the_next():
    def answer(n, query):
        return (400, ERROR) if n == 1 else (200, votable_bytes(star_table()))

    with tap_server(answer) as (url, _):
        services = Services(asking(f"{url} gaiadr3.gaia_source"))
        with pytest.raises(NoReferenceStars, match="no such table"):
            services.stars(1.0, 2.0, 0.1)
        assert len(services.stars(36.9, -8.0, 0.2)) == 3


def test_an_answer_that_never_ends_leaves_time_for_the_next_service():
    # A byte now and then: no silence is ever longer than the timeout.
    done = threading.Event()

    def trickle():
        while not done.wait(0.05):
            yield b" "

    with (
        tap_server(lambda n, q: (200, trickle(), 10_000)) as (slow, asked_slow),
        tap_server(lambda n, q: (200, votable_bytes(star_table()))) as (good, _),
    ):
        settings = asking(
            f"{slow} gaiadr3.gaia_source",
            f"{good} gaiadr3.gaia_source",
            gaia_timeout_s=2.0,
            gaia_total_s=4.0,
            gaia_retries=3,
        )
        start_s = time.monotonic()
        stars = query_tap(36.9, -8.0, 0.2, settings)
        waiting_s = time.monotonic() - start_s
        done.set()
    assert stars.origin.startswith(good)
    assert len(asked_slow) == 1
    assert 1.5 < waiting_s < 4.0  # the slow one's half


def test_the_total_limit_ends_the_repeats():
    with (
        tap_server(lambda n, q: (503, b"busy")) as (url, queries),
        pytest.raises(NoReferenceStars, match="503"),
    ):
        query_tap(
            1.0,
            2.0,
            0.1,
            asking(f"{url} t", gaia_retries=50, gaia_retry_wait_s=0.2, gaia_total_s=1.0),
        )
    assert 1 <= len(queries) <= 4


def test_a_copy_of_the_catalog_that_lacks_columns_will_do():
    table = star_table()
    unknown = votable_bytes(table[:0], status="ERROR", note="Unknown column: duplicated_source")

    def answer(n, query):
        return (200, unknown) if "duplicated_source" in query else (200, votable_bytes(table))

    with tap_server(answer) as (url, queries):
        stars = query_tap(36.9, -8.0, 0.2, asking(f"{url} my.gaia"))
    assert len(stars) == 3
    assert stars.usable.all()
    assert len(queries) == 2
    selected = queries[1]["QUERY"][0].partition(" FROM ")[0]
    assert "ruwe" not in selected
    assert "pmra_error" in selected


def test_an_answer_that_can_not_be_counted_is_asked_for_in_parts():
    stars = star_table(90)
    whole = bounded_server(stars, 50, says_so=False)

    def answer(n, query):
        return (500, b"no") if "COUNT(*)" in query else whole(n, query)

    with tap_server(answer) as (url, _):
        reference = query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert len(reference) == 90


def test_a_cap_at_a_power_of_two_is_noticed():
    with tap_server(bounded_server(star_table(150), 64, says_so=False)) as (url, _):
        assert len(query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))) == 150


def test_stars_come_in_one_order_and_once():
    table = star_table(8)
    mixed = vstack([table[::-1], table[2:4]])
    with tap_server(lambda n, q: (200, votable_bytes(mixed))) as (url, _):
        stars = query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert stars.table["source_id"].tolist() == table["source_id"].tolist()
    np.testing.assert_array_equal(stars.table["ra"], table["ra"])


def test_waiting_is_reported(caplog, monkeypatch):
    monkeypatch.setattr("bycatch.sky.tap.SAY_EVERY_S", 0.1)

    def slow(n, query):
        time.sleep(0.5)
        return 200, votable_bytes(star_table())

    with caplog.at_level("INFO", "bycatch"), tap_server(slow) as (url, _):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} gaiadr3.gaia_source"))
    assert any("still waiting for" in r.getMessage() for r in caplog.records)


# ---------------------------------------------------------------- answers that do not fit


def changed(n=3, **values):
    table = star_table(n)
    for name, value in values.items():
        table[name] = value
    return votable_bytes(table)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (changed(dec=8.0), "3 of 3 stars lie outside of the circle"),
        (changed(dec=[-8.0, -8.0, -8.3]), "1 of 3 stars lie outside of the circle"),
        (changed(ra=36.9, dec=-8.0), r"3 stars lie at 1 position"),
        (changed(ref_epoch=1991.25), "epoch"),
        (changed(ref_epoch=2.0e6), "no Julian year"),
        (changed(pmra=20_000.0), "move faster than any star"),
        (changed(phot_g_mean_mag=30.0), "magnitude"),
        (changed(ra_error=-1.0), "no error"),
        (changed(ra=[1.0, 2.0, 3.0] * u.m), "column ra is in 'm'"),
        (changed(pmra=[1.0, 2.0, 3.0] * u.mas), "column pmra is in 'mas'"),
        (changed(ra=["a", "b", "c"]), "does not hold numbers"),
        (changed(ra=np.nan), "none of its 3 rows has a position"),
        (changed(1100, ra=36.9 + 1e-6 * np.arange(1100), dec=-8.0), "more than Gaia resolves"),
    ],
)
def test_an_answer_to_another_question_is_not_believed(answer, reason):
    good = votable_bytes(star_table())
    radius = 0.2 if len(answer) < 100_000 else 0.005
    with (
        tap_server(lambda n, q: (200, answer)) as (bad, asked),
        tap_server(lambda n, q: (200, good)) as (url, _),
    ):
        with pytest.raises(NoReferenceStars, match=reason):
            query_tap(36.9, -8.0, radius, asking(f"{bad} gaiadr3.gaia_source"))
        assert len(asked) <= 2  # it would come back the same
        both = asking(f"{bad} gaiadr3.gaia_source", f"{url} gaiadr3.gaia_source")
        assert query_tap(36.9, -8.0, 0.2, both).origin.startswith(url)


def test_stars_fainter_than_asked_for_are_not_believed():
    answer = changed(phot_g_mean_mag=[18.0, 19.0, 20.6])
    with (
        tap_server(lambda n, q: (200, answer)) as (url, _),
        pytest.raises(NoReferenceStars, match="1 of 3 stars have a magnitude"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} t", gaia_faint_limit_mag=20.5))


def empty_server(counted):
    def answer(n, query):
        if "COUNT(*)" in query:
            return (200, votable_bytes(Table({"n": [counted]})))
        return 200, votable_bytes(star_table()[:0])

    return answer


def test_no_star_where_some_are_counted_is_no_answer():
    with (
        tap_server(empty_server(12)) as (url, _),
        pytest.raises(NoReferenceStars, match="counts stars but sends none"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} t"))


def test_an_empty_answer_is_believed_if_nobody_knows_better():
    with (
        tap_server(empty_server(0)) as (empty, asked_empty),
        tap_server(lambda n, q: (200, votable_bytes(star_table()))) as (good, _),
        tap_server(lambda n, q: (503, b"busy")) as (busy, asked_busy),
    ):
        assert len(query_tap(36.9, -8.0, 0.2, asking(f"{empty} t", f"{good} t"))) == 3
        assert len(query_tap(36.9, -8.0, 0.2, asking(f"{empty} t", f"{busy} t"))) == 0
    assert len(asked_busy) == 2
    assert len(asked_empty) == 4


def test_an_endless_answer_is_cut_short(monkeypatch):
    monkeypatch.setattr("bycatch.sky.tap.MAX_ANSWER_BYTES", 1_000_000)
    sent = []

    def endless():
        while len(sent) < 2000:
            sent.append(1)
            yield b" " * 65536

    with (
        tap_server(lambda n, q: (200, endless(), 10**12)) as (url, queries),
        pytest.raises(NoReferenceStars, match="larger than 1 MB"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} t"))
    assert len(queries) == 1
    assert len(sent) < 2000


def test_a_small_answer_that_unpacks_without_end_is_cut_short(monkeypatch):
    monkeypatch.setattr("bycatch.sky.tap.MAX_ANSWER_BYTES", 1_000_000)
    bomb = gzip.compress(b" " * 30_000_000)

    class Packed(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(bomb)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(bomb)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Packed)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/tap"
        with pytest.raises(NoReferenceStars, match="larger than 1 MB"):
            query_tap(36.9, -8.0, 0.2, asking(f"{url} t"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_an_answer_makes_the_program_fetch_nothing_else(tmp_path, scheme, monkeypatch):
    def fetched(*args, **kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    text = votable_bytes(star_table()).decode()
    address = f"{scheme}://127.0.0.1:9{tmp_path}/x"
    data = f'<DATA><BINARY><STREAM href="{address}"/></BINARY></DATA>'
    answer = re.sub(r"<DATA>.*</DATA>", data, text, flags=re.DOTALL).encode()
    assert b"STREAM" in answer
    with (
        tap_server(lambda n, q: (200, answer)) as (url, queries),
        pytest.raises(NoReferenceStars, match="another address"),
    ):
        query_tap(36.9, -8.0, 0.2, asking(f"{url} t"))
    assert len(queries) == 1


def test_a_table_that_changed_is_read_again(tmp_path):
    path = tmp_path / "gaia.csv"
    path.write_text("ra,dec\n1.0,2.0\n")
    assert len(read_local(path)) == 1
    assert read_local(path) is read_local(path)
    path.write_text("ra,dec\n1.0,2.0\n3.0,4.0\n")
    assert len(read_local(path)) == 2
