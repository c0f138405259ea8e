"""Where notebooks and copies are: in the course's repository, below it, and away from it."""

import pytest

from shrink.classroom import CourseError
from shrink.classroom.book import places as module
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.places import Places, places, repository


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A folder that is no repository; the package is installed from a wheel."""
    for name in ("site-packages/notebooks", "away"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(module, "PACKAGED", tmp_path / "site-packages" / "notebooks")
    monkeypatch.chdir(tmp_path / "away")
    return tmp_path / "away"


def make_repository(folder):
    for name in ("course", "notebooks", "below"):
        (folder / name).mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    return folder


def test_in_the_repository_and_below_it_both_are_the_repositorys(away, monkeypatch):
    root = make_repository(away / "shrink")
    monkeypatch.chdir(root / "below")
    assert places(None) == Places(root / "notebooks", root / "work") and repository(None) == root
    monkeypatch.chdir(away)
    assert places(str(root)).work == root / "work" and repository("shrink") == root


def test_away_from_it_the_packages_notebooks_are_copied_into_the_current_folder(away, monkeypatch):
    assert places(None) == Places(module.PACKAGED, away / "work")
    (away / "work" / BASES).mkdir(parents=True)
    (away / "other").mkdir()
    for below in ("work", "other"):  # a terminal in JupyterLab is in work/
        monkeypatch.chdir(away / below)
        assert places(None).work == away / "work"
    assert places(".").work == away / "other" / "work"


def test_a_project_with_notebooks_of_its_own_is_not_the_course(away):
    (away / "notebooks").mkdir()
    (away / "pyproject.toml").touch()
    assert places(None).notebooks == module.PACKAGED
    with pytest.raises(CourseError, match="this needs its repository, the folder that holds"):
        repository(None)


def test_a_folder_that_is_not_there_is_named_and_not_made(away):
    with pytest.raises(CourseError, match="no folder wrok"):
        places("wrok")
    assert not list(away.iterdir())


def test_without_a_wheel_there_is_no_course_away_from_the_repository(away, monkeypatch):
    monkeypatch.setattr(module, "PACKAGED", away / "none")
    with pytest.raises(CourseError, match=f"no course in {away}: .* pass --root"):
        places(None)
