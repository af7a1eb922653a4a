"""The cache of Gaia's answers: circles within circles, damage, folders that can't be written."""

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import assume, given
from hypothesis import strategies as st

from bycatch.sky import star_cache
from bycatch.sky.answers import separation_deg
from bycatch.sky.gaia import from_table
from bycatch.sky.star_cache import (
    Region,
    _cells_near,
    _kept_near,
    _place,
    cache_folder,
    cached_stars,
    keep,
    turn,
)
from bycatch.system.locks import LockHeld, lock


def stars(n=3):
    table = Table({"ra": np.linspace(10.0, 10.1, n), "dec": np.full(n, -5.0)})
    return from_table(table, "a service gaiadr3.gaia_source")


WIDE = Region(10.05, -5.0, 0.2, "Gaia DR3", 0.0)


def test_a_circle_in_a_kept_one_is_answered(tmp_path):
    keep(tmp_path, WIDE, stars())
    inside = Region(10.1, -5.05, 0.1, "Gaia DR3", 0.0)
    reference = cached_stars(tmp_path, inside)
    assert reference is not None
    assert reference.table["ra"].tolist() == stars().table["ra"].tolist()
    assert reference.table.meta["release"] == "Gaia DR3"
    assert cached_stars(tmp_path, WIDE) is not None  # in spite of rounded names


@pytest.mark.parametrize(
    "other",
    [
        Region(10.05, -5.0, 0.21, "Gaia DR3", 0.0),
        Region(10.2, -5.0, 0.1, "Gaia DR3", 0.0),
        Region(10.05, 5.0, 0.1, "Gaia DR3", 0.0),
        Region(10.05, -5.0, 0.1, "Gaia DR2", 0.0),
        Region(10.05, -5.0, 0.1, "Gaia DR3", 20.0),
    ],
    ids=["larger", "beside", "elsewhere", "another release", "another limit"],
)
def test_any_other_circle_is_not(tmp_path, other):
    keep(tmp_path, WIDE, stars())
    assert cached_stars(tmp_path, other) is None


def test_damage_is_ignored_and_replaced(tmp_path, caplog):
    keep(tmp_path, WIDE, stars())
    _place(tmp_path, WIDE).write_text("not a table")
    assert cached_stars(tmp_path, WIDE) is None
    assert "not used" in caplog.text
    keep(tmp_path, WIDE, stars())
    assert cached_stars(tmp_path, WIDE) is not None
    assert len(list(tmp_path.rglob("*.ecsv"))) == 1


@pytest.mark.parametrize("n_lines", [-1, -3, None])
def test_a_part_of_an_answer_is_not_taken_for_all(tmp_path, caplog, n_lines):
    keep(tmp_path, WIDE, stars())
    path = _place(tmp_path, WIDE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:n_lines] if n_lines else lines[:4]))
    assert cached_stars(tmp_path, WIDE) is None
    assert "damaged" in caplog.text
    assert not path.exists()


def test_an_answer_without_stars_is_not_kept(tmp_path):
    keep(tmp_path, WIDE, stars(0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dec": 5.0}, "outside of the circle"),
        ({"ref_epoch": 1991.25}, "epoch"),
        ({"pmra": 20_000.0}, "move faster"),
        ({"phot_g_mean_mag": 28.0}, "magnitude"),
    ],
)
def test_a_foreign_answer_is_removed(tmp_path, caplog, change, why):
    reference = stars()
    for name, value in change.items():
        reference.table[name] = value
    keep(tmp_path, WIDE, reference)
    assert cached_stars(tmp_path, WIDE) is None
    assert why in caplog.text
    assert not list(tmp_path.rglob("*.ecsv"))


def test_an_empty_answer_of_an_earlier_version_is_removed(tmp_path):
    keep(tmp_path, WIDE, stars())
    path = _place(tmp_path, WIDE)
    text = path.read_text().replace("n_stars: 3", "n_stars: 0")
    head = [line for line in text.splitlines(keepends=True) if line.startswith(("#", "source_id"))]
    path.write_text("".join(head))
    assert cached_stars(tmp_path, WIDE) is None
    assert not path.exists()


def test_odd_names_in_the_folder_are_left_alone(tmp_path):
    odd = tmp_path / "gaia-dr3_G0_1.2.3_-5.00000_0.20000.ecsv"
    odd.write_text("")
    folder = tmp_path / WIDE.file_name
    folder.mkdir()
    assert cached_stars(tmp_path, WIDE) is None
    assert odd.exists()


def test_keeping_does_not_change_the_stars(tmp_path):
    reference = stars()
    before = dict(reference.table.meta)
    keep(tmp_path, WIDE, reference)
    assert reference.table.meta == before


def test_a_folder_that_can_not_be_is_no_reason_to_stop(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    keep(file / "cache", WIDE, stars())
    assert cached_stars(file / "cache", WIDE) is None
    keep(None, WIDE, stars())
    assert cached_stars(None, WIDE) is None


def test_the_folder_is_the_users_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("BYCATCH_CACHE", str(tmp_path / "variable"))
    assert cache_folder("") == tmp_path / "variable"
    assert cache_folder(str(tmp_path)) == tmp_path
    assert cache_folder("off") is None
    monkeypatch.setenv("BYCATCH_CACHE", "off")
    assert cache_folder("") is None
    monkeypatch.delenv("BYCATCH_CACHE")
    assert cache_folder("").name == "gaia"


@given(
    st.floats(0, 360), st.floats(-89, 89), st.floats(0.001, 2), st.floats(0, 1), st.floats(0, 360)
)
def test_a_circle_covers_those_inside_it(ra, dec, radius, share, angle):
    outer = Region(ra, dec, radius, "r")
    shift = share * radius
    d = dec + shift * np.cos(np.radians(angle))
    a = ra + shift * np.sin(np.radians(angle)) / np.cos(np.radians(dec))
    apart = separation_deg(ra, dec, a, d)
    assume(apart <= radius)  # meridians converge
    assert outer.covers(Region(a, d, radius - apart, "r"))
    assert not outer.covers(Region(a, d, radius - apart + 1e-3, "r"))


# ---------------------------------------------------------------- cells of the sky

DEGREES = st.floats(0, 1, exclude_max=True)


@given(
    ra=DEGREES.map(lambda u: 360 * u), dec=st.floats(-90, 90), radius=st.floats(0.01, 2.0),
    share=DEGREES, towards=DEGREES,
)  # fmt: skip
def test_whatever_covers_a_circle_lies_in_the_cells_that_are_looked_at(
    ra, dec, radius, share, towards
):
    """Centres up to radius - 0.01 deg away, in any direction, over poles and RA 0."""
    wanted = Region(ra, dec, 0.005, "Gaia DR3")
    apart, angle = np.radians(share * (radius - 0.01)), 2 * np.pi * towards
    a, d = np.radians([ra, dec])
    sine = np.sin(d) * np.cos(apart) + np.cos(d) * np.sin(apart) * np.cos(angle)
    other_dec = np.arcsin(np.clip(sine, -1, 1))
    other_ra = a + np.arctan2(
        np.sin(angle) * np.sin(apart) * np.cos(d), np.cos(apart) - np.sin(d) * np.sin(other_dec)
    )
    other = Region(np.degrees(other_ra) % 360, np.degrees(other_dec), radius, "Gaia DR3")
    assume(other.covers(wanted))
    assert _place(Path(), other).parent.name in (*_cells_near(wanted), "wide")


def test_few_answers_are_looked_at_of_many(tmp_path):
    rng = np.random.default_rng(1)
    for dec in np.degrees(np.arcsin(rng.uniform(-1, 1, 3000))):
        path = _place(tmp_path, Region(rng.uniform(0, 360), dec, 0.1, "Gaia DR3"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert len(list(_kept_near(tmp_path, WIDE))) < 30


def test_answers_of_earlier_versions_are_found_and_get_their_places(tmp_path):
    keep(tmp_path, WIDE, stars())
    path = _place(tmp_path, WIDE)
    path.rename(tmp_path / path.name)
    shutil.rmtree(tmp_path / "cells")
    assert cached_stars(tmp_path, WIDE) is not None
    assert path.exists()
    assert not (tmp_path / path.name).exists()


def ask(folder):
    """Take a turn, and count who has one; return the most that were seen."""
    most = 0
    for _ in range(5):
        with turn(folder, 3):
            mine = folder / f"asks-{os.getpid()}"
            mine.touch()
            time.sleep(0.01)
            most = max(most, len(list(folder.glob("asks-*"))))
            mine.unlink()
    return most


def test_services_are_asked_by_few_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(star_cache, "TURN_POLL_S", 0.002)
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert max(pool.map(ask, [tmp_path] * 8)) in (2, 3)
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_turns_services_are_asked_all_the_same(tmp_path):
    (tmp_path / "file").touch()
    with turn(tmp_path / "file" / "cache", 1):
        pass


def test_what_goes_wrong_amid_a_turn_is_raised(tmp_path):
    with pytest.raises(LockHeld), turn(tmp_path, 2), lock(tmp_path / "x"):
        lock(tmp_path / "x")
