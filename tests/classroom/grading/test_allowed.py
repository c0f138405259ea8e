"""What answers may import is what the chapters say."""

import importlib
from types import ModuleType

import pytest

from shrink.classroom.grading.strict.allowed import IMPORTABLE, MODULES, WITHHELD, in_words
from tests import CHAPTERS
from tests.chapters.notebooks import COURSE


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chapter_says_what_may_be_imported(chapter):
    text = (COURSE / f"{chapter}.py").read_text(encoding="utf-8")
    section = text.partition("# ## Exercises\n")[2].partition("\n# %%")[0]
    words = " ".join(section.replace("#", " ").split())
    allowed = "may import the following, and nothing else when a teacher grades them:"
    assert f"{allowed} {in_words()}." in words


@pytest.mark.parametrize("module", sorted(MODULES | WITHHELD.keys()))
def test_what_is_listed_is_there(module):
    found = importlib.import_module(module)
    assert isinstance(found, ModuleType)
    newer = {"evaluate_forward_ref"}  # of Python 3.14
    assert [n for n in WITHHELD.get(module, set()) - newer if not hasattr(found, n)] == []


def test_what_answers_to_these_chapters_need_is_listed():
    asked = "math heapq itertools functools collections typing time operator bisect numpy torch"
    assert set(asked.split()) <= set(IMPORTABLE)
