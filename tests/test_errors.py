"""Errors: every one explains itself and survives the way back from a worker process."""

import json
import pickle

import pytest

from bycatch import errors
from bycatch.errors import BycatchError, MissingKeyword, SettingsError, UnreadableFile, UnusableData

ALL = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, BycatchError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_errors_carry_message_hint_and_numbers_through_pickle(kind):
    err = kind("x.fits: too few", hint="give more", n_found=3, where="x")
    back = pickle.loads(pickle.dumps(err))
    assert type(back) is kind
    assert str(back) == str(err) == "x.fits: too few - give more"
    assert back.message == "x.fits: too few"
    assert back.hint == "give more"
    assert back.metadata == {"n_found": 3, "where": "x"}
    assert json.loads(json.dumps(back.metadata)) == back.metadata


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_every_kind_has_a_hint_of_its_own_and_a_place_in_the_tree(kind):
    err = kind("message")
    assert err.hint
    assert str(err) == f"message - {kind.hint}"
    assert pickle.loads(pickle.dumps(err)).hint == kind.hint
    assert kind is BycatchError or f" {kind.__name__} " in errors.__doc__


def test_what_drops_an_image_and_what_stops_the_run():
    assert issubclass(UnreadableFile, UnusableData)
    assert issubclass(MissingKeyword, UnusableData)
    assert not issubclass(SettingsError, UnusableData)
