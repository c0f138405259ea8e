"""What ships of the chapters: found by what it was made of, and made by the code as it is."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch

import shrink
from shrink import chapters
from shrink.chapters.distil import lessons
from shrink.chapters.distil.pupils import taught
from shrink.chapters.prune import prepared as pruning
from shrink.classroom import archives, cache, data
from shrink.classroom.baselines import baseline
from shrink.classroom.book import builder
from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from tests import ROOT

SHIPPED = [
    pytest.param(path.stem, marks=[pytest.mark.mnist] if path.stem.endswith("mnist") else [])
    for path in sorted(archives.folder().glob("*.zip"))
]
# On MNIST the cells ask for the same things, and that all of these ship is held twice more.
TEXTS = [
    pytest.param(*row.values, marks=[*row.marks, *[pytest.mark.deep] * bool(row.marks)])
    for row in SHIPPED
]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A package that ships nothing yet, and an empty cache."""
    monkeypatch.setattr(archives, "folder", lambda: tmp_path / "shipped")
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shipped").mkdir()
    return tmp_path / "shipped"


def ones(size):
    return {"x": torch.ones(size)}


def not_again():
    pytest.fail("made again")


def test_what_ships_is_not_made(folder, monkeypatch):
    archives.ship("chapter-data", lambda: kept("thing", lambda: ones(3), 3))
    monkeypatch.setenv("SHRINK_CACHE", str(folder.parent / "another cache"))
    assert kept("thing", not_again, 3)["x"].tolist() == [1, 1, 1]
    assert kept("thing", lambda: ones(2), 2)["x"].tolist() == [1, 1]  # other parts
    monkeypatch.setattr(torch, "__version__", "0.1")  # whatever the machine has
    assert kept("thing", not_again, 3)["x"].tolist() == [1, 1, 1]


def test_what_ships_is_whole_though_its_user_takes_it_apart(folder, monkeypatch):
    archives.ship("chapter-data", lambda: kept("thing", lambda: ones(3), 3).pop("x"))
    monkeypatch.setenv("SHRINK_CACHE", str(folder.parent / "another cache"))
    assert kept("thing", not_again, 3)["x"].tolist() == [1, 1, 1]


def test_what_only_serves_to_make_another_thing_does_not_ship(folder):
    def make():
        return {"x": kept("part", lambda: ones(5), 5)["x"] + 1}

    archives.ship("chapter-data", lambda: kept("whole", make, 1))
    (label,) = archives.labels()
    assert label.startswith("whole-")


def test_a_thing_ships_once(folder):
    archives.ship("one", lambda: kept("thing", lambda: ones(3), 3))
    archives.ship("two", lambda: kept("thing", not_again, 3))
    assert {path.name for path in archives.labels().values()} == {"one.zip"}
    archives.ship("one", lambda: kept("thing", not_again, 3))  # its own stays
    assert {path.name for path in archives.labels().values()} == {"one.zip"}


def test_the_same_things_are_the_same_bytes(folder):
    things = {"b-1": ones(100), "a-2": {"y": torch.arange(9), "x": torch.zeros(2, 2)}}
    archives.write(folder / "one.zip", things)
    archives.write(folder / "two.zip", dict(reversed(things.items())))
    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()
    assert archives.find("b-1")["x"].equal(torch.ones(100)) and archives.find("c-3") is None


def test_the_package_stays_under_16_mb():
    package = Path(shrink.__file__).parent
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(path.stat().st_size for path in files) < 16_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_of_the_code_as_it_is(name, monkeypatch):
    """Else the first picture waits; `shrink prepare` makes it anew."""
    chapter, _, dataset = name.partition("-")
    loaded = _loaded(dataset)
    monkeypatch.setattr(
        cache, "cached_tensors", lambda path, make: pytest.fail(f"{path.name} does not ship")
    )
    chapters.prepared(chapter).first_picture(loaded)


def test_of_each_data_set_the_same_things_ship():
    kinds = defaultdict(Counter)
    for label, path in archives.labels().items():
        chapter, _, dataset = path.stem.partition("-")
        kind, _, _ = label.rpartition("-")  # its key
        kinds[chapter][dataset, re.sub(rf"\b{dataset}\b", "", kind)] += 1
    for chapter, count in kinds.items():
        glyphs, mnist = (
            {kind: number for (dataset, kind), number in count.items() if dataset == name}
            for name in ("glyphs", "mnist")
        )
        assert glyphs == mnist != {}, chapter


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_up_to_its_explorer_makes_nothing(name, monkeypatch, tmp_path):
    """Nothing but what ships is asked for: the cells run, and the picture comes at once."""
    chapter, _, dataset = name.partition("-")
    loaded = _loaded(dataset)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", lambda **options: loaded)
    monkeypatch.setattr(
        cache, "cached_tensors", lambda path, make: pytest.fail(f"{path.name} does not ship")
    )
    (text,) = (ROOT / "course").glob(f"*_{chapter}.py")
    names: dict = {}
    for cell in builder.build_chapter(text, solved=False).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            if cell.id.startswith("explore-"):
                break


def test_one_thing_that_ships_is_made_again(folder, monkeypatch):
    glyphs = _loaded("glyphs")
    made = pruning.another(glyphs, "initial", 1)
    monkeypatch.undo()
    assert made.keys() == (ships := pruning.another(glyphs, "initial", 1)).keys()
    assert (made["answers"] != ships["answers"]).mean() < 0.002  # rounded otherwise elsewhere
    for scope in pruning.SCOPES:
        assert made[scope] == pytest.approx(ships[scope], abs=0.002)


def test_students_that_ship_are_taught_again(folder, monkeypatch):
    """Those of chapter 06 that see a hundred images, one from labels and one from answers."""
    glyphs = _loaded("glyphs")
    shown, teacher = lessons.shown(glyphs), baseline(lessons.TEACHER, glyphs)
    rows = torch.arange(lessons.IMAGES) % 100
    few = Split(shown.images[rows], shown.labels[rows])
    plans = [lessons.lesson(0), lessons.lesson(0, lessons.TAUGHT_AT, 1.0)]

    def right():
        return taught(few, teacher, plans, lessons.RECIPE).accuracies(glyphs.validation)

    made = right()
    monkeypatch.undo()
    monkeypatch.setattr(cache, "cached_tensors", lambda path, make: not_again())
    assert made == pytest.approx(right(), abs=0.005)  # rounded otherwise elsewhere


_loaded_before = {}


def _loaded(name):
    if name not in _loaded_before:
        _loaded_before[name] = data.load(name, announce=False)
    return _loaded_before[name]
