"""An exercise of chapter 09: ten weights that tell six wrong rounds of pruning apart.

Two layers are pruned, of which the last loses a smaller share. What is 0 is pruned already. No two
of the other magnitudes are equal, so that each way leaves one pair of masks.
"""

import random
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import numbers

RATES = {"hidden": 0.4, "output": 0.2}
START = {"hidden": (6, 5, 4, 3, 2, 1), "output": (4, 3, 2, 1)}
LARGEST = 20

Weights = Mapping[str, tuple[float, ...]]
Place = tuple[str, int]  # a layer and a place in it
Way = Callable[[Weights], frozenset[Place]]  # trained weights → the places that stay


def _trained_magnitude(weights: Weights, layer: str, place: int) -> float:
    return abs(weights[layer][place])


def _share_of_what_is_left(layer: str, size: int, left: int) -> int:
    return round(RATES[layer] * left)


def _layer_by_layer(
    count: Callable[[str, int, int], int] = _share_of_what_is_left,
    size: Callable[[Weights, str, int], float] = _trained_magnitude,
    zeros_too: bool = False,
) -> Way:
    """How to prune a round, right except for what is passed."""

    def stay(weights: Weights) -> frozenset[Place]:
        kept: set[Place] = set()
        for layer, row in weights.items():
            left = [i for i, weight in enumerate(row) if weight]
            ranked = sorted(
                range(len(row)) if zeros_too else left, key=partial(size, weights, layer)
            )
            gone = ranked[: count(layer, len(row), len(left))]
            kept |= {(layer, i) for i in left if i not in gone}
        return frozenset(kept)

    return stay


def _left(weights: Weights) -> list[Place]:
    return [(layer, i) for layer, row in weights.items() for i, weight in enumerate(row) if weight]


def _one_ranking(weights: Weights) -> frozenset[Place]:
    left = _left(weights)
    stay = len(right(weights))
    ranked = sorted(left, key=lambda place: _trained_magnitude(weights, *place), reverse=True)
    return frozenset(ranked[:stay])


right = _layer_by_layer()
BREAKABLE = (
    Mistake(
        "share of all",
        _layer_by_layer(count=lambda layer, size, left: round(RATES[layer] * size)),
        "of a layer from which many are gone it takes too much",
    ),
    Mistake("zeros ranked", _layer_by_layer(zeros_too=True), "those that are gone go again"),
    Mistake(
        "n + 1",
        _layer_by_layer(count=lambda *layer: _share_of_what_is_left(*layer) + 1),
        "what equals the threshold goes too",
    ),
    Mistake(
        "initial values",
        _layer_by_layer(size=lambda weights, layer, place: START[layer][place]),
        "what training found is not asked",
    ),
    Mistake(
        "one rate",
        _layer_by_layer(count=lambda layer, size, left: round(RATES["hidden"] * left)),
        "the output layer has few weights, and each has much to do",
    ),
    Mistake("one ranking", _one_ranking, "the layer of the smaller weights loses all"),
)


def read(given: Any) -> Weights:
    """The trained weights of both layers, or `Wrong` where they are none."""
    if not (isinstance(given, tuple | list) and len(given) == len(START)):
        raise Wrong("return two lists", expected="(hidden, output)", given=given)
    weights = {name: _row(name, row) for name, row in zip(START, given, strict=True)}
    sizes = [abs(weight) for row in weights.values() for weight in row if weight]
    for size in sizes:
        if sizes.count(size) > 1:
            told = f"two weights have the magnitude {size:g}, so that either may go: change one"
            raise Wrong(told, given=given)
    return weights


def _row(name: str, given: Any) -> tuple[float, ...]:
    found = numbers(given)
    if found is None or len(found) != len(START[name]):
        many = f"a list of {len(START[name])} numbers"
        raise Wrong(f"{name} is {many}", expected=many, given=given)
    if not all(abs(weight) <= LARGEST for weight in found):
        raise Wrong(f"the weights of {name} lie from -{LARGEST} to {LARGEST}", given=given)
    return found


def _gone(weights: Weights, stay: frozenset[Place]) -> str:
    """What goes when these stay, as a student writes it."""
    gone = [f"{layer}[{i}]" for layer, i in _left(weights) if (layer, i) not in stay]
    return ", ".join(gone) or "nothing"


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    weights = read(given)
    expected = right(weights)
    none_may_hide(
        BREAKABLE,
        lambda mistake: mistake(weights) == expected,
        given,
        f"the right weights go ({_gone(weights, expected)})",
    )
    for one, other in combinations(BREAKABLE, 2):
        if one(weights) == other(weights):
            raise Wrong(
                f"{one.name} and {other.name} both prune {_gone(weights, one(weights))}: your "
                "weights show that the round is wrong, and not which mistake it is",
                given=given,
            )


break_the_round = Exercise("break_the_round", _check, core=False, minutes=12)
