"""Files from an archive that misbehaves: whole under their names, or not there."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bycatch
from bycatch.archive import Fetching, FetchReport, FetchRequest, State, Tally, names
from bycatch.archive.download import HEAD_BYTES, fault_of
from bycatch.archive.model import FetchedFile, Product
from bycatch.archive.overlap import groups_on_sky
from bycatch.archive.tokens import Token, token_for
from bycatch.archive.web import retry_after_s
from bycatch.errors import NoAnswer, SettingsError
from bycatch.settings import FetchSettings, Settings
from bycatch.system.locks import LockHeld, lock
from bycatch.testing.archive import FAULTS, FakeArchive
from bycatch.testing.archive_files import StoredFile, archive_of, small_drc, with_other_pixels

NAME = "jcmdp9010_drc.fits"
NAMES = (NAME, "jcmdp9020_drc.fits", "jcmd01010_drc.fits", "jdgq11020_drc.fits")
CONTENT = small_drc(NAME)
SECRET = "a-secret-token-0123456789"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAST_API_TOKEN", raising=False)


def one_file(faulty: Callable[[str, int], str] = lambda *_: "", **options: Any) -> FakeArchive:
    """Return an archive of one file."""
    return FakeArchive({NAME: StoredFile(CONTENT)}, faulty, **options)


def fetched(archive: FakeArchive, data: Path, *settings: str, **options: Any) -> FetchReport:
    """Fetch program 13711, quickly."""
    setup = Settings.load(assignments=[*archive.settings, *settings])
    options = {"programs": 13711} | options
    return bycatch.fetch(data=data, settings=setup, **options)


def states(report: FetchReport) -> dict[str, str]:
    return {file.product.name: str(file.state) for file in report.files}


def leftovers(data: Path) -> list[str]:
    """Return the parts that lie about."""
    return sorted(path.name for path in data.rglob("*.part*") if path.is_file())


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("parallels", [False, True], ids=["all", "parallels"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_costs_tries_and_never_leaves_a_bad_file(
    tmp_path: Path, fault: str, parallels: bool
) -> None:
    with one_file(lambda _name, n: fault if n < 2 else "") as archive:
        report = fetched(archive, tmp_path, parallels=parallels)
        truth = archive.files[NAME].content
    assert report.all_done, report.files
    assert [path.read_bytes() == truth for path in report.paths] == [True]
    assert leftovers(tmp_path) == []


LASTING = ("429", "503", "date", "reset", "short", "long", "bytes", "foreign", "html",
           "html of the length", "gzip", "empty", "flipped")  # fmt: skip


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_reported_and_no_file_has_the_name(tmp_path: Path, fault: str) -> None:
    with one_file(lambda *_: fault) as archive:
        report = fetched(archive, tmp_path, "fetch.retries=2", "fetch.retry_wait_s=0")
        assert archive.count(NAME) == 3
    assert states(report) == {NAME: "failed"}
    assert report.files[0].reason
    assert not report.all_done
    assert not (tmp_path / "cmd_p9" / NAME).exists()


def test_many_faults_at_once_leave_no_bad_file(tmp_path: Path) -> None:
    """The figure of benchmarks/fetch.py, on fewer files."""
    random = np.random.default_rng(7)
    files = archive_of(
        [f"jcm{c}{v}0{k}0_drc.fits" for c in "ab" for v in range(10, 15) for k in (1, 2)]
    )
    plan = {name: [*random.choice([*FAULTS, ""], size=3)] for name in files}
    lock_ = threading.Lock()

    def faulty(name: str, n: int) -> str:
        with lock_:
            return str(plan[name][n]) if n < len(plan[name]) else ""

    with FakeArchive(files, faulty) as archive:
        report = fetched(archive, tmp_path, "fetch.downloads=8", parallels=True)
        assert report.all_done
        assert len(report.paths) == len(files)
        assert all(path.read_bytes() == archive.files[path.name].content for path in report.paths)


# ---------------------------------------------------------------- resuming


def test_a_cut_download_goes_on_at_its_byte(tmp_path: Path) -> None:
    with one_file(lambda _name, n: "cut" if n == 0 else "") as archive:
        report = fetched(archive, tmp_path)
        first, second = archive.downloads()
    assert report.all_done
    assert first.n_bytes == len(CONTENT) // 3
    assert second.headers["Range"] == f"bytes={first.n_bytes}-"
    assert second.headers["If-Range"] == archive.files[NAME].etag
    assert first.n_bytes + second.n_bytes == len(CONTENT) == report.n_bytes


def cut_then_gone(_name: str, n: int) -> str:
    return ("cut", "reset")[n] if n < 2 else ""


def test_the_next_fetch_goes_on_at_its_byte_too(tmp_path: Path) -> None:
    with one_file(cut_then_gone) as archive:
        report = fetched(archive, tmp_path, "fetch.retries=0")
        assert states(report) == {NAME: "failed"}
        there = archive.downloads()[0].n_bytes
        assert states(fetched(archive, tmp_path, dry_run=True)) == {NAME: "started"}
        assert fetched(archive, tmp_path).all_done
        assert archive.downloads()[1].headers["Range"] == f"bytes={there}-"
        assert archive.downloads()[1].n_bytes == len(CONTENT) - there
    assert (tmp_path / "cmd_p9" / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"boot": "another"}, {"validator": ""}, {"uri": "mast:x"}])
def test_a_part_that_may_not_be_trusted_is_fetched_anew(
    tmp_path: Path, change: dict[str, str]
) -> None:
    with one_file(cut_then_gone) as archive:
        fetched(archive, tmp_path, "fetch.retries=0")
        note = tmp_path / ".part-fetch" / f"cmd_p9-{NAME}.part.json"
        note.write_text(json.dumps(json.loads(note.read_text()) | change))
        assert fetched(archive, tmp_path).all_done
        assert "Range" not in archive.downloads()[1].headers
    assert (tmp_path / "cmd_p9" / NAME).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    faults = ["cut", "changed"]
    with one_file(lambda _name, n: faults[n] if n < 2 else "") as archive:
        assert fetched(archive, tmp_path).all_done
        truth = archive.files[NAME].content
        assert [request.status for request in archive.downloads()] == [200, 200]
    assert truth != CONTENT
    assert (tmp_path / "cmd_p9" / NAME).read_bytes() == truth


# ---------------------------------------------------------------- parallels


def test_parallels_are_recognized_by_the_first_bytes(tmp_path: Path) -> None:
    files = archive_of(NAMES[:2]) | archive_of(NAMES[2:], prime="ACS")
    with FakeArchive(files) as archive:
        report = fetched(archive, tmp_path, parallels=True)
        for name in NAMES[2:]:
            assert [request.n_bytes for request in archive.downloads(name)] == [HEAD_BYTES]
        for name in NAMES[:2]:
            sizes = [request.n_bytes for request in archive.downloads(name)]
            assert sizes == [HEAD_BYTES, len(files[name].content) - HEAD_BYTES]
        n_asked = len(archive.downloads())
        assert states(report) == dict(
            zip(sorted(NAMES), ["left out", "fetched", "fetched", "left out"], strict=False)
        ) | {NAMES[3]: "left out"}
        assert report.all_done
        # The verdict is kept: nothing is asked for again.
        assert states(fetched(archive, tmp_path, parallels=True))[NAMES[3]] == "left out"
        assert len(archive.downloads()) == n_asked
        # Without --parallels they are wanted.
        assert fetched(archive, tmp_path).counts() == {"there": 2, "fetched": 2}


def test_a_server_without_ranges_costs_no_more_than_the_header(tmp_path: Path) -> None:
    big = small_drc(NAME, prime="ACS", size_px=1200)
    assert len(big) > 15_000_000
    with FakeArchive({NAME: StoredFile(big)}, lambda *_: "no range") as archive:
        report = fetched(archive, tmp_path, parallels=True)
    assert states(report) == {NAME: "left out"}
    assert report.files[0].reason == "not a parallel: ACS was prime"
    assert report.n_bytes <= HEAD_BYTES
    assert leftovers(tmp_path) == []


def test_the_real_header_shows_early(shared: Path) -> None:
    """The cards that decide come in the first piece of a real product's header."""
    path = shared / "facts" / "jcmdp9010_drc_primary_header.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    for name in ("PRIMESI", "INSTRUME", "FILTER1", "FILTER2"):
        place = next(k for k, line in enumerate(lines) if line.startswith(f"{name:8}="))
        assert 80 * (place + 1) < HEAD_BYTES / 2


@pytest.mark.parametrize(("prime", "state"), [("WFC3", "fetched"), ("", "left out")])
def test_a_header_without_the_prime_instrument_is_no_parallel(
    tmp_path: Path, prime: str, state: str
) -> None:
    with FakeArchive({NAME: StoredFile(small_drc(NAME, prime=prime))}) as archive:
        assert states(fetched(archive, tmp_path, parallels=True)) == {NAME: state}


def test_filters_come_from_the_listing_and_then_from_the_header(tmp_path: Path) -> None:
    files = archive_of(NAMES)
    files[NAMES[1]].filter = ""  # the listing does not say
    files[NAMES[2]].filter = "F814W;CLEAR2L"
    with FakeArchive(files) as archive:
        report = fetched(archive, tmp_path, filters=["f606w"])
    assert states(report) == dict.fromkeys((NAMES[0], NAMES[1], NAMES[3]), "fetched")
    files[NAMES[1]].content = small_drc(NAMES[1], filters=("F435W", "CLEAR2L"))
    with FakeArchive(files) as archive:
        report = fetched(archive, tmp_path / "other", filters=["F606W"])
    assert report.counts() == {"fetched": 2, "left out": 1}


# ---------------------------------------------------------------- what is there


def test_what_is_there_is_not_fetched_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: Any
) -> None:
    with FakeArchive(archive_of(NAMES)) as archive:
        own = tmp_path / "cmd_p9" / NAME
        own.parent.mkdir()
        own.write_bytes(b"something of the user's")
        foreign = tmp_path / "cmd_01" / NAMES[2]
        foreign.parent.mkdir()
        foreign.write_bytes(archive.files[NAMES[2]].content)
        report = fetched(archive, tmp_path)
        assert report.counts() == {"there": 1, "fetched": 2, "failed": 1}
        assert own.read_bytes() == b"something of the user's"
        n_asked = len(archive.downloads())
        # What was proven once is not read again: its entry says that it is the user's.
        monkeypatch.setattr("bycatch.archive.fetching.fault_of", lambda *_: "read again")
        assert fetched(archive, tmp_path).counts() == {"there": 3, "failed": 1}
        assert len(archive.downloads()) == n_asked
    entries = json.loads((tmp_path / ".part-fetch" / "cmd_01.json").read_text())["files"]
    assert entries[NAMES[2]]["brought"] is False


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bycatch.archive import fetching

    def with_another(part: Path, path: Path) -> None:
        path.write_bytes(b"another")
        place_new(part, path)

    place_new = fetching.place_new
    monkeypatch.setattr(fetching, "place_new", with_another)
    with one_file() as archive:
        report = fetched(archive, tmp_path)
    assert states(report) == {NAME: "failed"}
    assert (tmp_path / "cmd_p9" / NAME).read_bytes() == b"another"


def test_a_changed_listing_does_not_replace_the_file(tmp_path: Path) -> None:
    with one_file() as archive:
        fetched(archive, tmp_path)
        archive.files[NAME].listed_bytes = 123
        report = fetched(archive, tmp_path)
    assert states(report) == {NAME: "there"}
    assert "a different size" in report.files[0].reason


def test_a_damaged_file_of_ours_is_reported_and_not_touched(tmp_path: Path) -> None:
    with one_file() as archive:
        fetched(archive, tmp_path)
        path = tmp_path / "cmd_p9" / NAME
        path.write_bytes(with_other_pixels(path.read_bytes()))
        report = fetched(archive, tmp_path)
    assert states(report) == {NAME: "failed"}
    assert "DATASUM" in report.files[0].reason


def test_a_killed_fetch_between_entry_and_name_is_known_by_the_next(tmp_path: Path) -> None:
    with one_file() as archive:
        fetched(archive, tmp_path)
        path = tmp_path / "cmd_p9" / NAME
        path.unlink()  # the entry is there, the name not yet
        report = fetched(archive, tmp_path)
    assert states(report) == {NAME: "fetched"}


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    with FakeArchive(archive_of(NAMES)) as archive:
        report = fetched(archive, tmp_path / "data", dry_run=True)
        assert report.counts() == {"to fetch": 4}
        assert archive.downloads() == []
    assert not (tmp_path / "data").exists()
    assert "to fetch" in report._repr_html_()
    assert report.to_dict()["files"][0]["bytes"] == len(archive.files["jcmd01010_drc.fits"].content)


# ---------------------------------------------------------------- listings


def test_duplicates_and_hostile_names_of_a_listing(tmp_path: Path, caplog: Any) -> None:
    row = {"productFilename": NAME, "dataURI": f"mast:HST/product/{NAME}", "size": len(CONTENT)}
    bad = [
        "../../evil_drc.fits", "/etc/evil_drc.fits", "..\\evil_drc.fits", "a\nb_drc.fits",
        ".hidden_drc.fits", "C:x_drc.fits", "\u202eevil_drc.fits",
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [
        {**row, "productFilename": name, "dataURI": f"mast:x/{name}"} for name in bad
    ]
    rows += [row, {**row, "size": None}, {**row, "dataURI": f"mast:HST/../{NAME}"}]
    rows += [
        {**row, "dataURI": f"http://evil/{NAME}"},
        {"productFilename": None},
        {**row, "size": -1},
    ]
    with one_file(extra_rows=rows) as archive:
        settings = Settings.load(assignments=archive.settings).fetch
        work = Fetching(FetchRequest(("13711",)), tmp_path, settings)
        work.look()
        assert [name for name, _ in work.refused] == [*bad, NAME, NAME]
        assert list(work.files) == [f"cmd_p9/{NAME}"]
        assert [*work.batches()] == [("cmd_p9",)]
    assert sorted(p.name for p in tmp_path.rglob("*.fits")) == [NAME]
    assert not (tmp_path.parent / "evil_drc.fits").exists()


def test_a_listed_size_may_be_wrong_but_not_if_it_is_the_only_evidence(tmp_path: Path) -> None:
    files = StoredFile(CONTENT, listed_bytes=len(CONTENT) - 2880)
    with FakeArchive({NAME: files}) as archive:
        assert fetched(archive, tmp_path).all_done
        assert len(archive.downloads()) == 1
    mute = CONTENT.replace(b"NEXTEND =", b"NEXTENT =")
    with FakeArchive({NAME: replace(files, content=mute)}) as archive:
        report = fetched(archive, tmp_path / "mute", "fetch.retries=0")
    assert "listed" in report.files[0].reason or "CHECKSUM" in report.files[0].reason


def test_pages_and_polls_of_a_search(tmp_path: Path, monkeypatch: Any) -> None:
    from bycatch.archive import mast

    monkeypatch.setattr(mast, "POLL_S", 0.01)
    with FakeArchive(archive_of(NAMES), executing=1, page_rows=1) as archive:
        assert len(fetched(archive, tmp_path, dry_run=True).files) == 4


def test_visit_cone_and_hap_are_asked_for(tmp_path: Path) -> None:
    hap = "hst_13711_p9_acs_wfc_f606w_jcmdp9_drc.fits"
    others = [
        "hst_13711_p9_acs_wfc_total_jcmdp9_drc.fits",
        "hst_13711_p9_acs_wfc_f606w_jcmdp9zj_drc.fits",
    ]
    with FakeArchive(archive_of([*NAMES, hap, *others])) as archive:

        def found(**options: Any) -> set[str]:
            return set(states(fetched(archive, tmp_path, dry_run=True, **options)))

        assert found() == set(NAMES)
        assert found(programs=(), visit=("jcmd", "p9")) == {*NAMES[:2]}
        assert found(programs=(), visit=("13711", "P9")) == {*NAMES[:2]}
        assert found(programs=(), visit=("CMD", "p9"), products="hap") == {hap}
        assert found(products="hap") == {hap}
        place = archive.files[NAMES[3]]
        cone = (place.ra_deg, place.dec_deg, 0.01)
        assert found(programs=(), cone=cone) == {NAMES[3]}


def test_a_drz_is_taken_only_where_there_is_no_drc(tmp_path: Path) -> None:
    names = [NAME, NAME.replace("drc", "drz"), NAMES[1].replace("drc", "drz")]
    with FakeArchive(archive_of(names)) as archive:
        assert set(states(fetched(archive, tmp_path, dry_run=True))) == {names[0], names[2]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"programs": ()}, "a program, a visit or a cone"),
        ({"cone": (1, 2, 0.1)}, "a program, a visit or a cone"),
        ({"programs": "13711; drop"}, "not a program number"),
        ({"programs": (), "cone": (1, 2, 60)}, "all in degrees"),
        ({"programs": (), "visit": ("jcmd%", "p9")}, "not a program and visit"),
        ({"filters": ["F6006W"]}, "not an ACS filter"),
        ({"products": "flt"}, "pipeline or hap"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, words: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        bycatch.fetch(**{"programs": 13711, "data": tmp_path, **words})


def test_an_archive_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bycatch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings.load(
        assignments=[
            f"fetch.server=http://127.0.0.1:{port}",
            "fetch.retries=1",
            "fetch.retry_wait_s=0",
        ]
    )
    with pytest.raises(NoAnswer, match="can't be reached"):
        bycatch.fetch(13711, tmp_path, settings=settings)
    said = [line for line in caplog.messages if "trying again in" in line]
    assert said == ["127.0.0.1: can't be reached (no network?); trying again in 0 s"]


def test_answers_of_the_archive_that_are_none(tmp_path: Path, monkeypatch: Any) -> None:
    for answer in ({"status": "ERROR", "msg": "no such column"}, {"status": "COMPLETE"}, [], {}):
        with one_file() as archive:
            monkeypatch.setattr(archive, "answer", lambda _request, answer=answer: answer)
            with pytest.raises(NoAnswer):
                fetched(archive, tmp_path)


# ---------------------------------------------------------------- waits


def test_retry_after_is_kept_and_shared(tmp_path: Path) -> None:
    assert retry_after_s({"Retry-After": "7"}) == 7
    assert retry_after_s({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0
    assert retry_after_s({"Retry-After": "soon"}) == retry_after_s({}) == 0
    future = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 55 < retry_after_s({"Retry-After": future}) <= 60


def test_a_wait_that_is_too_long_is_not_waited(tmp_path: Path, monkeypatch: Any) -> None:
    from bycatch.archive import web

    monkeypatch.setattr(web, "retry_after_s", lambda _headers: 3600.0)
    with one_file(lambda *_: "503") as archive:
        start_s = time.monotonic()
        report = fetched(archive, tmp_path)
        assert time.monotonic() - start_s < 5
        assert len(archive.downloads()) == 1
    assert "503" in report.files[0].reason


def test_a_silent_server_is_left(tmp_path: Path) -> None:
    with one_file(pace_bytes_per_s=3000.0) as archive:
        report = fetched(archive, tmp_path, "fetch.timeout_s=0.4", "fetch.retries=0")
    assert states(report) == {NAME: "failed"}


def test_files_come_at_the_same_time(tmp_path: Path) -> None:
    files = archive_of([f"jcmd{v}010_drc.fits" for v in range(10, 16)])
    with FakeArchive(files, lambda *_: "slow") as archive:
        fetched(archive, tmp_path, "fetch.downloads=6")
        assert len(archive.downloads()) == 6


def test_the_tally_shows_pace_and_time_left() -> None:
    now = [0.0]
    tally = Tally(clock=lambda: now[0])
    product = Product(NAME, f"mast:HST/product/{NAME}", "cmd_p9", 1000)
    tally.begin([FetchedFile(product, State.TO_FETCH)])
    assert tally.seconds_left is None
    now[0] = 10.0
    tally.came(500)
    assert (tally.bytes_per_s, tally.seconds_left, tally.share) == (50.0, 10.0, 0.5)
    tally.over(FetchedFile(product, State.LEFT_OUT))
    assert tally.share == 1.0


def test_a_stop_keeps_what_has_come(tmp_path: Path) -> None:
    with one_file(pace_bytes_per_s=20_000.0) as archive:
        settings = Settings.load(assignments=archive.settings).fetch
        work = Fetching(FetchRequest(("13711",)), tmp_path, settings)
        work.look()
        threading.Timer(0.5, work.web.stop.set).start()
        assert [*work.batches()] == []
        assert states(work.report()) == {NAME: "started"}
    assert 0 < (tmp_path / ".part-fetch" / f"cmd_p9-{NAME}.part").stat().st_size < len(CONTENT)


def test_a_full_disk_ends_the_fetch(tmp_path: Path, monkeypatch: Any) -> None:
    from bycatch.archive import download

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.Download, "_write", lambda *_args, **_words: full())
    with FakeArchive(archive_of(NAMES)) as archive, pytest.raises(OSError, match="No space"):
        fetched(archive, tmp_path)


def test_two_fetches_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / ".part-fetch").mkdir()
    with lock(tmp_path / ".part-fetch" / ".lock"), one_file() as archive, pytest.raises(LockHeld):
        fetched(archive, tmp_path)


# ---------------------------------------------------------------- the bucket


def test_the_bucket_and_the_archive_where_it_lacks_a_file(tmp_path: Path) -> None:
    with FakeArchive(archive_of(NAMES), in_bucket=lambda name: name != NAME) as archive:
        report = fetched(archive, tmp_path, cloud=True)
        assert report.counts() == {"fetched": 4}
        assert {a.path for a in archive.downloads(NAMES[1])} == {
            f"/bucket/hst/public/{NAMES[1][:4]}/{NAMES[1][:9]}/{NAMES[1]}"
        }
        assert ["Download" in request.path for request in archive.downloads(NAME)] == [False, True]


# ---------------------------------------------------------------- tokens


def test_a_token_goes_to_the_archive_only_and_into_no_message(
    tmp_path: Path, monkeypatch: Any, logged: Any
) -> None:
    files = StoredFile(CONTENT, public=False)
    with FakeArchive({NAME: files}, token=SECRET) as archive:
        report = fetched(archive, tmp_path)
        assert states(report) == {NAME: "left out"}
        monkeypatch.setenv("MAST_API_TOKEN", f" {SECRET}\n")
        assert fetched(archive, tmp_path).all_done
        archive.token = "another"
        report = fetched(archive, tmp_path / "other")
        assert "not public" in report.files[0].reason
    everything = "\n".join([*logged.lines, repr(report), str(report.to_dict())])
    everything += "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert SECRET not in everything
    assert SECRET not in repr(Token(SECRET, "https://mast.stsci.edu"))


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("https://mast.stsci.edu/x", True),
        ("http://mast.stsci.edu/x", False),
        ("https://stpubdata.s3.us-east-1.amazonaws.com/x", False),
        ("https://mast.stsci.edu.evil.org/x", False),
    ],
)
def test_where_a_token_is_sent(address: str, sent: bool) -> None:
    import requests

    request = requests.Request("GET", address).prepare()
    Token(SECRET, "https://mast.stsci.edu")(request)
    assert (request.headers.get("Authorization") == f"token {SECRET}") is sent


@pytest.mark.parametrize("word", ["two words", "short", "ümlaut-umlaut", "a\x00bcdefghij"])
def test_what_is_no_token_is_refused_without_being_shown(monkeypatch: Any, word: str) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "MAST_API_TOKEN": word})
    with pytest.raises(SettingsError) as excinfo:
        token_for("https://mast.stsci.edu")
    assert word not in str(excinfo.value)


def test_a_token_in_the_keyring_of_astroquery(monkeypatch: Any) -> None:
    import sys
    import types

    keyring = types.ModuleType("keyring")
    keyring.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    requests = []

    def get_password(*words: str) -> str:
        requests.append(words)
        return SECRET

    keyring.get_password = get_password  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert token_for("https://mast.stsci.edu")
    assert requests == [("astroquery:mast.stsci.edu.token", "masttoken")]


# ---------------------------------------------------------------- parts


def test_fields_that_may_overlap_come_together() -> None:
    def product(name: str, ra: float | None) -> Product:
        return Product(name, "", names.field_of_name(name), 1, (), ra, 0.0)

    products = [product(NAMES[0], 0.01), product(NAMES[2], 359.95), product(NAMES[3], 12.0)]
    assert groups_on_sky(products) == [["cmd_01", "cmd_p9"], ["dgq_11"]]
    assert groups_on_sky([product(NAMES[0], None)]) == [["cmd_p9"]]
    assert groups_on_sky([]) == []


@pytest.mark.parametrize(
    ("name", "good"),
    [
        (NAME, True),
        ("hst_13711_p9_acs_wfc_f606w_jcmdp9_drc.fits", True),
        ("mosaic_drc.fits", False),
    ],
)
def test_names_that_are_taken(name: str, good: bool) -> None:
    assert (not names.refusal(name, f"mast:HST/product/{name}")) is good


def test_what_a_whole_file_is(tmp_path: Path) -> None:
    product = Product(NAME, "", "cmd_p9", len(CONTENT))
    path = tmp_path / NAME
    for content, fault in (
        (CONTENT, ""),
        (CONTENT[:-2880], "ends after"),
        (CONTENT + bytes(2880), "bytes follow"),
        (with_other_pixels(CONTENT), "DATASUM"),
        (b"", "empty"),
        (small_drc("jcmdp9020_drc.fits"), "the wrong file"),
    ):
        path.write_bytes(content)
        assert fault in fault_of(path, product)
        assert bool(fault) == bool(fault_of(path, product))


def test_settings_of_the_documentation_are_the_defaults() -> None:
    defaults = FetchSettings()
    assert (defaults.downloads, defaults.retries, defaults.most_wait_s) == (4, 6, 300.0)
    assert defaults.server == "https://mast.stsci.edu"


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """Answers of the real archive, as astroquery 0.4.11 keeps them in its tests."""
    path = Path(__file__).parent / "data" / "mast_answers.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_answers_of_the_real_archive_have_the_form_that_is_read(
    tmp_path: Path, recorded: dict[str, Any], monkeypatch: Any
) -> None:
    """And those of the fake one have every key that is read of them."""
    from bycatch.archive.mast import Listing, Mast
    from bycatch.archive.web import Web

    web = Web(FetchSettings(), Token("", ""))
    answers = {"Mast.Caom.Filtered": "observations", "Mast.Caom.Products": "products"}

    def value(method: str, address: str, **words: Any) -> Any:
        if "path_lookup" in address:
            return recorded["path_lookup"]
        return recorded[answers[json.loads(words["data"]["request"])["service"]]]

    monkeypatch.setattr(web, "value", value)
    products, refused = Mast(web).products(FetchRequest(("8880",)))
    assert (products, refused) == ([], [])  # STIS and WFPC2: nothing of ACS, nothing that breaks
    real = recorded["products"]["data"][0]
    listing = Listing(FetchRequest(("13711",)))
    listing.add({**real, "productFilename": NAME, "dataURI": f"mast:HST/product/{NAME}"}, {})
    assert [p.n_bytes for p in listing.products()] == [real["size"]]
    uris = list(recorded["path_lookup"])
    result = Mast(web).bucket_addresses([Product("a", uri, "") for uri in uris])
    bucket = FetchSettings().bucket
    assert result == {uris[0]: f"{bucket}/hst/public/u9o4/u9o40504m/u9o40504m_c3m.fits"}
    with one_file() as archive:
        request = {"service": "Mast.Caom.Filtered", "params": {"filters": []}}
        request |= {"page": 1, "pagesize": 5}
        fake = archive.answer(request)
    assert set(recorded["observations"]["paging"]) == set(fake["paging"])
    assert set(recorded["observations"]["data"][0]) <= set(fake["data"][0])


def test_nothing_is_logged_of_a_good_file_but_its_name(tmp_path: Path, logged: Any) -> None:
    with one_file() as archive:
        fetched(archive, tmp_path)
    assert [r.getMessage() for r in logged.records if r.levelno > logging.INFO] == []
