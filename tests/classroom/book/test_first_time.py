"""What `shrink doctor` says of what chapters make at first: nothing is made to find it out."""

from functools import partial

import pytest
import torch

from shrink.classroom import archives, data
from shrink.classroom.book import doctor
from shrink.classroom.book.first_time import at_hand, made_at_first
from shrink.classroom.cache import cache_dir, kept
from shrink.classroom.progress import Announced, new_bar


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setenv("SHRINK_DATASET", "digits")


def made(name, seconds=40.0):
    """A thing that takes long."""

    def make():
        with new_bar(f"making {name}", seconds=seconds) as bar:
            bar.update()
        return {"it": torch.ones(1)}

    return kept(f"things/{name}", make, name)


def shown(*names, dataset=None):
    """The steps of a chapter that shows these things, and one that does not take long."""
    yield lambda: kept("things/short", lambda: {"it": torch.ones(1)}, 1)
    for name in names:
        yield partial(made, name)


def two_of_one_bar():
    """As chapter 05 has it: a bar around several things."""
    with new_bar("sweeping", seconds=30):
        made("one")
        made("two")


def what(missing):
    return [(one.what, one.seconds) for one in missing]


def test_what_is_missing_is_named_once_with_its_seconds_and_not_made():
    missing = made_at_first(partial(shown, "a", "b", "a"))
    assert what(missing) == [("making a", 40), ("making b", 40)]
    assert not list(cache_dir().glob("things/[ab]*"))
    made("a")
    assert what(made_at_first(partial(shown, "a", "b"))) == [("making b", 40)]


def test_what_ships_or_is_kept_is_not_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(archives, "folder", lambda: tmp_path / "shipped")
    archives.ship("one", partial(made, "a"))
    for path in (tmp_path / "things").iterdir():
        path.unlink()
    assert made_at_first(partial(shown, "a")) == ()
    archives._labels.cache_clear()


def test_a_thing_that_needs_a_missing_one_is_told_by_that_one():
    def needs_another():
        kept("things/whole", lambda: made("part"), "whole")

    assert what(made_at_first(lambda: [needs_another])) == [("making part", 40)]
    assert what(made_at_first(lambda: [two_of_one_bar])) == [("sweeping", 30)]


def test_afterwards_things_are_made_again():
    made_at_first(partial(shown, "a"))
    assert made("a")["it"].equal(torch.ones(1)) and list(cache_dir().glob("things/a*"))


def test_glyphs_that_are_not_drawn_are_the_first_thing(monkeypatch):
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    drawing = at_hand(torch.device("cpu"))
    assert isinstance(drawing, Announced) and drawing.what.startswith("drawing glyphs")
    assert not list(cache_dir().iterdir()) and data.glyphs_file().parent == cache_dir()


def test_the_doctor_says_what_is_made_later_and_about_how_long(tmp_path):
    chapters = {
        "02_prune": lambda dataset: shown("a", "b"),
        "04_share": lambda dataset: shown("b"),
        "05_code": lambda dataset: shown(),
    }
    found = list(doctor.examine(tmp_path, chapters))
    assert [str(finding) for finding in found[-3:]] == [
        "later   02_prune    making a, and 1 more (about 80 s or longer)",
        "later   04_share    making b (about 40 s or longer)",
        "ok      05_code     all that takes long is made",
    ]
    assert doctor.verdict(found) == (
        "this machine can run the course; `shrink warm` makes beforehand what is marked later "
        "(about 80 s or longer)"
    )
    assert doctor.verdict(found[:-3]) == "this machine can run the course"
