"""What to try: the text under an explorer asks what its buttons ask, in their order and words."""

import importlib
import re

import pytest

from tests import ROOT


def asked_under_the_explorer(chapter):
    """The cell of questions without its markup."""
    (text,) = (ROOT / "course").glob(f"*_{chapter}.py")
    cell = text.read_text(encoding="utf-8").split("# %% [markdown] explore-questions\n")[1]
    lines = [line.removeprefix("#").strip() for line in cell.split("# %%")[0].splitlines()]
    return re.sub(r"[*`]", "", " ".join(lines))


@pytest.mark.parametrize("chapter", ["measure", "prune", "quantize"])
def test_the_text_asks_what_the_buttons_ask_in_their_order(chapter):
    tries = importlib.import_module(f"shrink.chapters.{chapter}.explorer").TRIES
    asked = [re.escape(f"{one.label.replace(' ', '. ', 1)}: {one.question}") for one in tries]
    assert re.search(".*".join(asked), asked_under_the_explorer(chapter))
