"""Reference stars of a field: stored, kept, asked for, or missing; with and without a network."""

import numpy as np
import pytest
from astropy.table import Table

from bycatch.errors import NoReferenceStars
from bycatch.pipeline import reference
from bycatch.pipeline.jobs import UserFile
from bycatch.pipeline.reference import Cone, reference_stars
from bycatch.products import FieldFolder, FieldState, ImageRecord
from bycatch.settings import AlignSettings
from bycatch.sky.gaia import ReferenceStars, from_table


class Answering:
    """Services that answer with stars around the circle's centre, or not at all."""

    def __init__(self, settings, answers=True):
        self.settings, self.answers, self.asked = settings, answers, []

    def stars(self, ra, dec, radius):
        self.asked.append((ra, dec, radius))
        if not self.answers:
            raise NoReferenceStars("no Gaia stars: can't be reached (no network?)")
        rng = np.random.default_rng(1)
        table = Table({"ra": ra + rng.uniform(-1, 1, 50) * radius, "dec": np.full(50, dec)})
        reference = from_table(table, "https://a.example/tap gaiadr3.gaia_source")
        return ReferenceStars(reference.table, reference.origin)


@pytest.fixture
def field(tmp_path, monkeypatch):
    """A field whose images span a circle that the test sets."""
    cone = {"cone": Cone(10.0, 20.0, 0.05)}
    monkeypatch.setattr(reference, "field_cone", lambda images, margin: cone["cone"])
    return folder_of(tmp_path / "out"), cone


def folder_of(out):
    """Return the folder of a field with one image."""
    (out / "jabc_01" / "F775W").mkdir(parents=True)
    (out / "jabc_01" / "F775W" / "a.fits").touch()
    return FieldFolder(out, FieldState("jabc_01"))


IMAGE = ImageRecord("a", "a.fits", "jabc_01", "F775W", "a.fits")


def change_image(folder):
    """Let the image be another one, of another place."""
    path = folder.path / "F775W/a.fits"
    path.write_bytes(path.read_bytes() + b"x")


def stars_of(folder, services, local=None):
    return reference_stars(folder, [IMAGE], UserFile.of(local), services)


def settings(tmp_path, **changes):
    return AlignSettings(**({"gaia_cache": str(tmp_path / "cache")} | changes))


def test_the_services_are_asked_once(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path))
    first = stars_of(folder, services)
    again = stars_of(folder, services)
    assert first.path == folder.path / "gaia.ecsv"
    assert again.key == first.key
    assert len(services.asked) == 1


def test_a_second_folder_needs_no_network(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path))
    first = stars_of(folder, services)
    offline = Answering(settings(tmp_path, offline=True), answers=False)
    result = stars_of(folder_of(tmp_path / "other"), offline)
    assert offline.asked == []
    ours, theirs = (Table.read(p, format="ascii.ecsv") for p in (first.path, result.path))
    inside = np.isin(ours["ra"], theirs["ra"])
    assert inside.mean() > 0.9  # the circle itself; the service sent a square
    assert len(theirs) == inside.sum()


def test_offline_without_anything_says_what_to_do(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path, offline=True))
    result = stars_of(folder, services)
    assert result.path is None
    assert "run once without --offline" in result.problem
    assert services.asked == []


def test_a_field_that_grows_is_asked_for_again_and_falls_back(field, tmp_path, caplog):
    folder, cone = field
    setup = settings(tmp_path)
    first = stars_of(folder, Answering(setup))
    cone["cone"] = Cone(10.0, 20.0, 0.052)
    change_image(folder)
    # A little more than what is stored: it covers the images, if not all pointing errors.
    lost = Answering(setup, answers=False)
    result = stars_of(folder, lost)
    assert len(lost.asked) == 1
    assert result.key == first.key
    stars_of(folder, lost)
    assert len(lost.asked) == 2  # what is not enough is asked for again
    assert "earlier run are used" in caplog.text
    cone["cone"] = Cone(10.5, 20.0, 0.052)
    change_image(folder)
    assert stars_of(folder, lost).path is None
    grown = Answering(setup)
    assert stars_of(folder, grown).path is not None
    assert len(grown.asked) == 1


def test_the_users_table_wins_and_changes_with_its_content(field, tmp_path):
    folder, _ = field
    mine = tmp_path / "mine.csv"
    services = Answering(settings(tmp_path))
    Table({"ra": [10.0, 10.01], "dec": [20.0, 20.0]}).write(mine)
    first = stars_of(folder, services, mine)
    assert stars_of(folder, services, mine).key == first.key
    Table({"ra": [10.0], "dec": [20.0]}).write(mine, overwrite=True)
    assert stars_of(folder, services, mine).key != first.key
    assert services.asked == []
    # Without it the services are asked: the user's stars are not Gaia's answer.
    stars_of(folder, services)
    assert len(services.asked) == 1


def test_a_damaged_file_is_asked_for_again(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path, gaia_cache="off"))
    stars_of(folder, services)
    (folder.path / "gaia.ecsv").write_text("nothing")
    stars_of(folder, services)
    assert len(services.asked) == 2


def test_nothing_is_asked_when_alignment_is_off(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path, enabled=False))
    result = stars_of(folder, services)
    assert (result.path, services.asked) == (None, [])
    assert "switched off" in result.problem


def test_stars_that_are_there_are_not_looked_at_again(field, tmp_path, monkeypatch):
    folder, _ = field
    services = Answering(settings(tmp_path))
    first = stars_of(folder, services)
    monkeypatch.setattr(reference, "field_cone", lambda *_: pytest.fail("it was looked at"))
    assert stars_of(folder, services).key == first.key


def test_stars_that_a_killed_run_took_no_note_of_are_the_fields(field, tmp_path):
    folder, _ = field
    services = Answering(settings(tmp_path))
    first = stars_of(folder, services)
    again = FieldFolder(folder.out, FieldState("jabc_01"))  # as before the run
    assert stars_of(again, services).key == first.key
    assert again.state == folder.state
    assert len(services.asked) == 1
