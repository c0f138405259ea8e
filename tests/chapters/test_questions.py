"""What to try: the text under an explorer asks what its buttons ask, in their order and words."""

import importlib
import re

import pytest

from shrink.chapters.code.file_explorer import QUESTIONS
from tests import CHAPTERS, ROOT


def words(text):
    """Nothing but the words: what ends a sentence here may be followed by a colon there."""
    return " ".join(re.findall(r"\w+", text.lower()))


def asked_under(explorer, chapter):
    """The words of the cell of questions, without the answers."""
    text = (ROOT / "course" / f"{chapter}.py").read_text(encoding="utf-8")
    return words(text.split(f"# %% [markdown] {explorer}-questions\n")[1].split("<details>")[0])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_text_asks_what_the_buttons_ask_in_their_order(chapter):
    explorer = importlib.import_module(f"shrink.chapters.{chapter[3:]}.explorer")
    tries = explorer.TRIES if hasattr(explorer, "TRIES") else explorer._tries()
    asked = [words(f"{one.label} {one.question}") for one in tries]
    assert re.search(".*".join(asked), asked_under("explore", chapter))


def test_the_text_asks_what_the_buttons_of_the_file_ask():
    assert re.search(".*".join(map(words, QUESTIONS)), asked_under("explore-file", "05_code"))
