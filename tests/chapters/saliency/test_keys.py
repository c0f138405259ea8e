"""What chapter 08 ships is found whatever else the course gains, and moves with what it is made of.

A work's keys are those of all things that it asks `kept` for until one must be made.
"""

from unittest.mock import Mock

import numpy as np
import pytest

from shrink import pruning
from shrink.chapters.saliency import arms, collapsing, deleting, deletions, losing, prepared
from shrink.classroom import baselines, models
from shrink.classroom.book import builder
from shrink.classroom.made_of import key_of
from shrink.classroom.training import Recipe
from tests import ROOT
from tests.chapters.saliency.small import SEEDS, prepare

WORKS = {
    "deleted": lambda digits: deleting.deleted(digits, SEEDS),
    "singles": lambda digits: deleting.true_rises(deleting.Case(), digits, 0),
    "one epoch": lambda digits: deletions.trained("tiny-relu", digits, 1, out=False),
    "collapse": lambda digits: collapsing.collapse(digits, 0),
    "arms": lambda digits: collapsing.accuracies(digits, SEEDS),
    "an arm": lambda digits: arms.accuracy_of(digits, "SNIP", 0.9, "shuffled", 0),
    "critical": lambda digits: arms.critical_of(digits, "SNIP", 0),
    "losing": lambda digits: losing.compared("magnitude", digits, SEEDS),
    "parts": lambda digits: losing.parts("magnitude", digits, SEEDS),
    "without decay": lambda digits: losing.network(digits, 0, decay=False),
}


class Asked(Exception):
    """A thing is asked for; its key is what this is about."""


@pytest.fixture
def key(digits, monkeypatch):
    prepare(monkeypatch)

    def kept(name, make, *made_of):
        raise Asked(key_of(*made_of))

    for module in (arms, collapsing, deleting, deletions, losing):
        monkeypatch.setattr(module, "kept", kept)

    def asked(work):
        with pytest.raises(Asked) as found:
            WORKS[work](digits)
        return str(found.value)

    return asked


@pytest.mark.parametrize("work", WORKS)
def test_a_key_stays_when_the_course_gains_a_network_or_a_bar_is_told_another_time(
    work, key, monkeypatch
):
    before = key(work)
    monkeypatch.setitem(models.MODELS, "another", models.LeNet5)
    monkeypatch.setitem(baselines.RECIPES, ("another", "digits"), Recipe(1))
    monkeypatch.setitem(losing.WAYS, "another", losing.Way(losing.obd, steps=2))
    for module in (arms, collapsing, deleting, losing):
        monkeypatch.setattr(module, "SECONDS", 1)
    assert key(work) == before


@pytest.mark.parametrize(
    ("work", "change"),
    [
        ("deleted", (deleting, "LOST", 50)),
        ("deleted", (deletions, "APART", 50)),
        ("deleted", (deleting, "RESCALED", {"no": 1, "3x": 2})),
        ("deleted", (deletions, "LESS", Recipe(2))),
        ("singles", (deleting, "LOST", 50)),
        ("one epoch", (deletions, "LESS", Recipe(2))),
        ("collapse", (collapsing, "COMPRESSIONS", np.array([1.0, 2.0]))),
        ("arms", (arms, "LEARNING_RATE", 0.1)),
        ("losing", (losing, "SPARSITIES", (0.5,))),
        ("parts", (pruning, "prune_by_score", pruning.masks_from_scores)),
        ("parts", (pruning, "hessian_diagonal", pruning.full_hessian)),
    ],
)
def test_a_key_moves_with_what_goes_in(work, change, key, monkeypatch):
    before = key(work)
    monkeypatch.setattr(*change)
    assert key(work) != before


@pytest.mark.parametrize("recipe", [Recipe(3), Recipe(2, weight_decay=0.1)])
@pytest.mark.parametrize("work", ["deleted", "singles"])
def test_a_key_moves_with_the_recipe_of_its_own_network(work, recipe, key, monkeypatch):
    before = key(work)
    monkeypatch.setitem(baselines.RECIPES, ("tiny-tanh", "digits"), recipe)
    assert key(work) != before


def test_no_key_has_the_last_digits_of_a_power_or_a_logarithm():
    exact = 10 ** (np.arange(26) / 5)
    for other in (np.nextafter(exact, 0), np.nextafter(exact, np.inf)):
        assert (np.round(other, 6) == collapsing.COMPRESSIONS).all()
    assert all(isinstance(factor, int) for factor in deleting.RESCALED.values())


def test_the_cells_on_losing_ask_for_nothing_that_does_not_ship(digits, monkeypatch):
    asked = []

    def compared(way, dataset):
        asked.append(("compared", way))
        numbers = np.zeros((1, len(losing.SPARSITIES)))
        return losing.Found(numbers, numbers, numbers)

    def parts(way, dataset):
        asked.append(("parts", way))
        return [[deletions.Parts(0.0, 0.0, 0.0, 0.0)] * len(losing.SPARSITIES)]

    monkeypatch.setattr(losing, "compared", compared)
    monkeypatch.setattr(losing, "parts", parts)
    cells = builder.build_chapter(ROOT / "course/08_saliency.py", solved=False).cells
    names = {"losing": losing, "data": digits, "np": np}
    told = [cell.source for cell in cells if "losing." in cell.source and cell.id != "setup"]
    for source in told:
        exec(source, names)
    by_the_text = set(asked)
    asked.clear()
    for module in (arms, collapsing, deleting):
        monkeypatch.setattr(prepared, module.__name__.rpartition(".")[2], Mock())
    prepared.deleting.cases.return_value = prepared.arms.trainings.return_value = ()
    prepared.first_picture(digits)
    assert len(told) == 2 and by_the_text == set(asked)
