"""A small synthetic drizzled image with known truth, and paths of data beside the repository."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.testing.scene import Scene, drc_hdus, make_scene, moffat, star_table

SHARED = Path(__file__).resolve().parents[2] / "shared"
DEBIAN_DRIZZLE = Path("/usr/share/python-drizzle/test_data")


def pytest_configure() -> None:
    """Where numba checks bounds, make a negative index an error, too.

    numba, as numpy, lets it count from the end; in a kernel it is a mistake that nobody would see.
    """
    if os.environ.get("NUMBA_BOUNDSCHECK") == "1":
        from numba.core import types
        from numba.np import arrayobj

        assert hasattr(arrayobj, "fix_integer_index")

        def as_it_is(context: Any, builder: Any, kind: Any, index: Any, _size: Any) -> Any:
            return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

        arrayobj.fix_integer_index = as_it_is


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_user() -> Iterator[None]:
    """Keep the tests away from the user's cache of Gaia stars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BYCATCH_CACHE", "off")
        # What is compiled here is compiled by the processes of the tests.
        patch.setenv("BYCATCH_COMPILE_ALONE", "1")
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; tests without it are skipped."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data at {SHARED} (it is not part of the repository)")
    return SHARED


@pytest.fixture(scope="session")
def scene() -> tuple[Scene, NDArray[np.float32]]:
    """A scene and its image."""
    return make_scene()


@pytest.fixture
def write_drc(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a drizzled image: ``write_drc(name, sci, **options)``."""

    def write(name: str, sci: NDArray[np.float32] | None = None, **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drc_hdus(make_scene()[1] if sci is None else sci, **options).writeto(path)
        return path

    return write


@pytest.fixture(scope="session")
def new_drc() -> Callable[..., fits.HDUList]:
    """Return `drc_hdus`, which makes the HDUs of a drizzled image in memory."""
    return drc_hdus


@pytest.fixture(scope="session")
def psf() -> Callable[..., NDArray[np.float64]]:
    """Return `moffat`, a star of unit integral."""
    return moffat


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def logged() -> Iterator[Records]:
    """What bycatch logs, at all levels."""
    logger, handler = logging.getLogger("bycatch"), Records()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: exit status, and what it printed."""

    status: int
    out: str
    err: str


def command(*words: Any) -> CommandResult:
    """Run a command line in this process, as in a pipe; ``words`` follow ``bycatch``."""
    from bycatch.cli import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["bycatch", *(str(word) for word in words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return CommandResult(status, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True, scope="session")
def no_page() -> Iterator[None]:
    """Spare each run the second of its page: test_report.py and other processes write it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bycatch.cli.steps.write_page", lambda *_, **__: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_objects() -> Iterator[None]:
    """Spare each run the second of its objects: test_objects.py and other processes make them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bycatch.pipeline.runner.objects_of", lambda *_, **__: [])
        patch.setattr("bycatch.pipeline.status.group_statuses", lambda *_: ())
        yield


@pytest.fixture(scope="session")
def bycatch() -> Callable[..., CommandResult]:
    """Return `command`: ``bycatch("run", folder, "-o", out)``."""
    return command


@dataclass(frozen=True)
class Visit:
    """A visit of two images on disk, its stars and a Gaia-like table of them."""

    raw: Path
    gaia: Path
    scene: Scene
    wcs: WCS


@pytest.fixture(scope="session")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """F775W of two exposures and F475W of one, of the same stars; do not write into it."""
    folder = tmp_path_factory.mktemp("visit")
    scene, sci = make_scene((200, 240), n_stars=9)
    raw = folder / "raw"
    raw.mkdir()
    drc_hdus(sci).writeto(raw / "jabc01010_drc.fits")
    # Ten times brighter: a single exposure needs 150 px above the threshold.
    stars = zip(scene.x, scene.y, scene.rate, strict=True)
    bright = sci + sum(9 * rate * moffat(sci.shape, x, y) for x, y, rate in stars)
    blue = drc_hdus(
        bright.astype(np.float32),
        n_exposures=1,
        filters=("F475W", "CLEAR2L"),
        sci_cards={"PHOTFLAM": 1.8e-19, "PHOTPLAM": 4746.0},
    )
    blue.writeto(raw / "jabc01020_drc.fits")
    wcs = WCS(blue["SCI"].header)
    ra, dec = wcs.all_pix2world(scene.x, scene.y, 0)
    # Their motions are known no better than their positions: 0.1 mas, and a year.
    catalog = star_table(ra, dec, np.linspace(18, 20, len(ra)), motion_error_mas_yr=0.1)
    catalog.write(folder / "gaia.csv")
    return Visit(raw, folder / "gaia.csv", scene, wcs)


@pytest.fixture(scope="session")
def finished(visit: Visit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run on the visit; do not write into it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    result = command("run", visit.raw, "-o", out, "--gaia", visit.gaia)
    assert result.status == 0, result.out + result.err
    return out


@pytest.fixture(scope="session")
def with_objects(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a visit in two filters, with its objects; do not write into it."""
    out = tmp_path_factory.mktemp("objects") / "out"
    shutil.copytree(finished, out, symlinks=True)
    result = command("objects", out)
    assert result.status == 0, result.err
    assert "real" in result.out
    return out


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished output folder, to be changed."""
    out = tmp_path / "done"
    shutil.copytree(finished, out, symlinks=True)
    return out


def harm_file(path: Path, damage: str, other: Path) -> None:
    """Damage a file: gone, empty, cut, longer, flipped, foreign, link, or folder."""
    content, was = path.read_bytes(), path.stat()
    if damage in {"gone", "link", "folder"}:
        path.unlink()
    if damage == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    elif damage == "link":
        path.symlink_to(other)
    elif damage == "folder":
        path.mkdir()
        (path / "kept.txt").write_text("of the user")
    elif damage != "gone":
        changed = {"empty": b"", "cut": content[:-1], "longer": content + b"\n"}
        path.write_bytes(changed[damage] if damage in changed else other.read_bytes())


@pytest.fixture
def harm(tmp_path: Path) -> Callable[..., None]:
    """Return `harm_file`; it needs no other file."""
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("no product of ours")
    return lambda path, damage, other=theirs: harm_file(path, damage, other)


@pytest.fixture
def as_image(new_drc: Any, tmp_path: Path) -> Any:
    """Return a function that makes a DrcImage of pixels, with a change of its HDUs."""
    from bycatch.images.drc import read_drc
    from bycatch.settings import InputSettings

    count = iter(range(1000))

    def make(sci, change=None, **options):
        hdus = new_drc(np.asarray(sci, dtype=np.float32), **options)
        if change:
            change(hdus)
        path = tmp_path / f"jabc01{next(count):02d}0_drc.fits"
        hdus.writeto(path)
        # Some are of one value, as no telescope makes them.
        return read_drc(path, InputSettings(verify=False))

    return make


def change_record(out, root, change):
    """Change the record of an image in the state of its field."""
    for path in out.glob("*/field.json"):
        state = json.loads(path.read_text())
        for record in state["images"]:
            if record["stem"].removesuffix("_drc") == root:
                change(record)
                path.write_text(json.dumps(state))


@pytest.fixture(name="change_record", scope="session")
def change_record_of_an_image():
    """Return the function that changes the record of an image."""
    return change_record


@pytest.fixture(scope="session")
def catalogued() -> Callable[..., Any]:
    """Return a function that makes a trial's catalog of (x, y, AB magnitude, cr_flag)."""
    from bycatch.catalogs.catalog_columns import CAT
    from bycatch.catalogs.tables import make_table
    from bycatch.simulate.trial import Trial

    def made(rows: Any, noise_rate: float) -> Trial:
        x, y, mag, flag = np.array(rows, dtype=float).reshape(-1, 4).T
        n = len(x)
        data = {c.name: np.zeros(n) for c in CAT if "{r}" not in c.name}
        others = ("flux_4_apcor", "err_4_apcor", "err_4_sys", "maglim_4", "mag_ab_err_4", "snr_4")
        data |= {name: np.zeros(n) for name in others}
        data |= {"x_center": x, "y_center": y, "mag_ab_4": mag, "cr_flag": flag}
        table = make_table(CAT, data, (4.0,))
        return Trial(Table(), table, 0.9, noise_rate, np.zeros((2, 2), np.float32))

    return made
