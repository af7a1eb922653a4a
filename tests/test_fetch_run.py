"""From the archive to catalogs: work on what has come, and the commands of the pages."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bycatch.archive import Fetching, FetchRequest
from bycatch.errors import SettingsError
from bycatch.pipeline import objects
from bycatch.pipeline.arrivals import run_arrivals
from bycatch.products import field_names, find_records
from bycatch.products.group_state import group_names
from bycatch.settings import Settings
from bycatch.testing.archive import FakeArchive
from bycatch.testing.archive_files import StoredFile, small_drc

REPOSITORY = Path(__file__).resolve().parents[1]
FIELDS = (b"jabc01", b"jabd01")


@pytest.fixture(scope="module")
def stored(visit: Any) -> dict[str, StoredFile]:
    """Two fields of the visit's images, far apart by the listing."""
    result_of = {}
    for k, start in enumerate(FIELDS):
        for path in sorted(visit.raw.glob("*.fits")):
            name = path.name.replace("jabc01", start.decode())
            content = path.read_bytes().replace(b"jabc01", start)
            result_of[name] = StoredFile(content, ra_deg=36.92 + 10 * k)
    return result_of


@pytest.fixture
def archive(stored: dict[str, StoredFile]) -> Iterator[FakeArchive]:
    with FakeArchive(dict(stored)) as archive:
        yield archive


def settings_of(archive: FakeArchive, *more: str) -> Settings:
    return Settings.load(assignments=[*archive.settings, "align.offline=true", *more])


def looked(archive: FakeArchive, data: Path, *settings: str) -> Fetching:
    work = Fetching(FetchRequest(("13711",)), data, settings_of(archive, *settings).fetch)
    work.look()
    return work


def images(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*_drc.fits"))


def test_fields_are_worked_on_while_others_come(
    archive: FakeArchive, tmp_path: Path, monkeypatch: Any
) -> None:
    """The second field's images come only when the first one's run has begun."""
    from bycatch.pipeline import arrivals

    starts = threading.Event()
    ran: list[list[str]] = []
    real = arrivals.run

    def run(paths: list[Path], *words: Any) -> Any:
        ran.append([path.name for path in paths])
        starts.set()
        return real(paths, *words)

    def waits(name: str, _n: int) -> str:
        if name.startswith("jabd01"):
            starts.wait(60)
        return ""

    monkeypatch.setattr(arrivals, "run", run)
    archive.faulty = waits
    report = run_arrivals(
        looked(archive, tmp_path / "data"), tmp_path / "out", settings_of(archive)
    )
    assert report is not None
    assert report.all_done
    assert [ran[0], ran[1]] == [["abc_01"], ["abd_01"]]
    assert sorted(ran[2]) == ["abc_01", "abd_01"]  # the objects, in the end
    assert [field.name for field in report.results] == ["abc_01", "abd_01"]
    assert all("finalize" in image.done for image in report.images)


def test_images_of_finished_fields_are_discarded_and_not_fetched_again(
    archive: FakeArchive, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("bycatch.pipeline.runner.objects_of", objects.objects_of)
    data, out = tmp_path / "data", tmp_path / "out"
    own = data / "abd_01" / "jabd01020_drc.fits"  # of the user's: it is never removed
    own.parent.mkdir(parents=True)
    own.write_bytes(archive.files[own.name].content)
    work = looked(archive, data)
    batches = work.batches

    def apart() -> Iterator[tuple[str, ...]]:
        """Give the second field when the first one has objects: else they may come together."""
        for k, names in enumerate(batches()):
            deadline = time.monotonic() + 300.0
            while k and not group_names(out) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield names

    monkeypatch.setattr(work, "batches", apart)
    report = run_arrivals(work, out, settings_of(archive), discard=True)
    assert report is not None
    assert report.all_done
    assert images(data) == [own.name]
    # The listing has them far apart, and they are not: what comes later is a group beside.
    first, second = group_names(out)
    assert second == f"{first}-2"
    assert [group.name for group in report.groups] == [first, second]
    tables = {path: path.read_bytes() for path in (out / "objects").rglob("*.ecsv")}
    assert work.report().counts() == {"there": 1, "discarded": 3}
    n_asked = len(archive.downloads())
    again = looked(archive, data)
    assert again.report().counts() == {"there": 1, "discarded": 3}
    assert run_arrivals(again, out, settings_of(archive), discard=True) is not None
    assert len(archive.downloads()) == n_asked
    assert {path: path.read_bytes() for path in (out / "objects").rglob("*.ecsv")} == tables
    assert field_names(out) == ["abc_01", "abd_01"]
    # A survey needs to know what the images cover that are gone.
    for record in find_records(out):
        assert objects.footprint_of(record.label, record, out).radius_deg > 0


def test_images_are_kept_where_something_is_not_done(
    archive: FakeArchive, tmp_path: Path, logged: Any
) -> None:
    bad = "jabc01030_drc.fits"
    archive.files[bad] = StoredFile(small_drc(bad), ra_deg=36.92)  # a FITS file, and no image
    work = looked(archive, tmp_path / "data")
    report = run_arrivals(work, tmp_path / "out", settings_of(archive), discard=True)
    assert report is not None
    assert not report.all_done
    assert images(tmp_path / "data") == ["jabc01010_drc.fits", "jabc01020_drc.fits", bad]
    assert any("abc_01: its images are kept" in line for line in logged.lines)


def test_products_that_are_not_whole_keep_their_images(
    archive: FakeArchive, tmp_path: Path, monkeypatch: Any
) -> None:
    from bycatch.pipeline import arrivals

    real = arrivals.run

    def run(paths: Any, out: Path, *words: Any) -> Any:
        report = real(paths, out, *words)
        for record in find_records(out):
            if record.field == "abc_01":
                record.paths(out).product("cat").write_text("something else")
        return report

    monkeypatch.setattr(arrivals, "run", run)
    work = looked(archive, tmp_path / "data")
    run_arrivals(work, tmp_path / "out", settings_of(archive), discard=True)
    assert images(tmp_path / "data") == ["jabc01010_drc.fits", "jabc01020_drc.fits"]


def test_images_are_not_moved_out_of_what_is_fetched_into(
    archive: FakeArchive, tmp_path: Path
) -> None:
    work = looked(archive, tmp_path / "data")
    with pytest.raises(SettingsError, match="download the images again"):
        run_arrivals(work, tmp_path / "out", settings_of(archive, "sort.mode=move"))


def test_images_and_products_do_not_share_a_folder(archive: FakeArchive, tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "data" / "out", tmp_path / "data"):
        work = looked(archive, tmp_path / "data")
        with pytest.raises(SettingsError, match="in one folder"):
            run_arrivals(work, out, settings_of(archive))


def test_downloads_wait_for_the_run_where_images_are_discarded(
    archive: FakeArchive, tmp_path: Path, monkeypatch: Any
) -> None:
    """The last image comes after those of the first field are gone: one may come meanwhile."""
    from bycatch.pipeline import arrivals

    there: list[list[str]] = []
    real = arrivals.run

    def run(paths: Any, *words: Any) -> Any:
        report = real(paths, *words)
        there.append(images(tmp_path / "data"))
        return report

    monkeypatch.setattr(arrivals, "run", run)
    work = looked(archive, tmp_path / "data", "fetch.downloads=1")
    settings = settings_of(archive, "fetch.ahead_gb=0")
    assert run_arrivals(work, tmp_path / "out", settings, discard=True) is not None
    assert there[0][:2] == ["jabc01010_drc.fits", "jabc01020_drc.fits"]
    assert "jabd01020_drc.fits" not in there[0]
    assert there[-1] == ["jabd01010_drc.fits", "jabd01020_drc.fits"]


def test_nothing_listed_is_no_run(archive: FakeArchive, tmp_path: Path) -> None:
    archive.files = {}
    assert run_arrivals(looked(archive, tmp_path / "data"), tmp_path / "out") is None


# ---------------------------------------------------------------- the command


def blocks(page: str, language: str) -> list[str]:
    """Return the examples of a page in one language."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def words_of(page: str, command: str) -> list[list[str]]:
    """Return the commands of a page that begin in some way, without 'bycatch'."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(command)]


def test_every_example_of_the_page_runs(
    archive: FakeArchive,
    stored: dict[str, StoredFile],
    bycatch: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bycatch.archive.Settings", lambda: settings_of(archive))
    name = "jcmdp9010_drc.fits"
    hap = "hst_13711_p9_acs_wfc_f606w_jcmdp9_drc.fits"
    content = stored["jabc01010_drc.fits"].content.replace(b"jabc01", b"jcmdp9")
    archive.files = {name: StoredFile(content), hap: StoredFile(small_drc(hap))}
    extra = [word for text in archive.settings for word in ("--set", text)]
    commands = words_of("docs/fetch.md", "bycatch")
    assert len(commands) >= 10
    for words in commands:
        more = ["--offline"] if {"--and-run", "run"} & {*words} else []
        result = bycatch(*words, *extra, *more)
        assert result.status == 0, (words, result)
        assert "1 " in result.out, words
    assert images(tmp_path / "data_hap") == [hap]
    assert images(tmp_path / "data") == []  # one of the last ones discards
    assert len([*find_records(tmp_path / "out")]) == 1
    (text,) = blocks("docs/fetch.md", "python")
    exec(compile(text, "docs/fetch.md", "exec"), {})


def test_the_examples_of_the_readme_run(
    archive: FakeArchive,
    stored: dict[str, StoredFile],
    bycatch: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "jcmdp9010_drc.fits"
    content = stored["jabc01010_drc.fits"].content.replace(b"jabc01", b"jcmdp9")
    archive.files = {name: StoredFile(content)}
    extra = [word for text in archive.settings for word in ("--set", text)]
    names = []
    for words in words_of("README.md", "bycatch"):
        expanded = [path for word in words for path in sorted(Path().glob(word)) or [word]]
        offline = ["--offline"] if words[0] == "run" else []
        result = bycatch(*expanded, *extra, *offline)
        assert result.status == 0, (words, result)
        names.append(words[0])
    assert names == ["fetch", "run", "inspect"]
    assert "F775W" in result.out
    assert len([*find_records(tmp_path / "out")]) == 1


def test_the_command_shows_what_failed(archive: FakeArchive, bycatch: Any, tmp_path: Path) -> None:
    extra = [word for text in archive.settings for word in ("--set", text)]
    archive.faulty = lambda name, _n: "html" if name.startswith("jabd01010") else ""
    result = bycatch("fetch", "13711", "-o", tmp_path, *extra, "--set", "fetch.retries=0")
    assert result.status == 1
    assert "failed: abd_01/jabd01010_drc.fits: the server sent a web page" in result.out
    assert "3 fetched, 1 failed" in result.out
    assert "failed" in (tmp_path / "fetch.log").read_text()
    quiet = bycatch("fetch", "13711", "-o", tmp_path, "-q", *extra)
    assert (quiet.status, quiet.out) == (
        1,
        result.out.splitlines()[0] + "\n" + quiet.out.splitlines()[1] + "\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fetch",), "a program, a visit or a cone"),
        (("fetch", "13711", "--discard"), "--and-run"),
        (("fetch", "13711", "--products", "flt"), "pipeline or hap"),
    ],
)
def test_wrong_usage(bycatch: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    result = bycatch(*words)
    assert result.status == 2
    assert message in result.err
