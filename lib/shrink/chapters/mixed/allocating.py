"""An exercise of chapter 11: the allocation of the least cost that fits into a number of bytes.

The oracle tries all. Any allocation of the least cost is right.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from shrink.chapters.mixed.allocating_mistakes import MISTAKES
from shrink.chapters.mixed.allocating_oracle import Allocation, Table, right_allocation, total
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count
from shrink.classroom.exercises.parts import Part
from shrink.quantization import allocation

Case = tuple[Table, Table, int]
_SLACK = 1e-6  # relative: sums of floats depend on their order
_GREEDY = "upward, step by step"
_SUBTLE = {"gain per bit": _GREEDY, "downward, step by step": _GREEDY}
_SUBTLE |= {
    "stops at the first": _GREEDY,
    _GREEDY: "",
    "most for the last": "",
    "layer by layer": "",
}
_SEPARABLE = {"stem": 144, "depthwise1": 144, "pointwise1": 512, "depthwise2": 288}
_SEPARABLE |= {"pointwise2": 2048, "fc": 15680}


def _is_least(costs: Table, found: Allocation, best: Allocation) -> bool:
    most = total(costs, best)
    return total(costs, found) <= most + _SLACK * abs(most) + 1e-12


def _as_the_check_sees_it(mistake: Mistake) -> Mistake:
    """The same, with the best allocation in place of another that costs as little."""

    def best_allocation(*case: Any) -> Allocation:
        found, best = mistake.function(*case), right_allocation(*case)
        return best if _is_least(case[0], found, best) else found

    return replace(mistake, function=best_allocation)


def _alike(given: Any) -> Any:
    """Allocations, whatever their order and the type of their numbers; else what it is."""
    if not isinstance(given, Mapping):
        return given
    return {name: count(given[name]) for name in sorted(given, key=str)}


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def layer(weights: int, widths: list[int], bump: bool) -> tuple[dict, dict]:
        """Costs that fall with the bits, but for a bump; and bytes with a scale."""
        size = {bits: -(-weights * bits // 8) + 4 for bits in widths}
        damage = rng.uniform(0.5, 9) * 4 ** rng.uniform(-1, 1)
        fall = rng.uniform(1.1, 4)
        cost = {bits: damage * fall ** (2 - bits) * rng.uniform(0.7, 1.4) for bits in widths}
        if bump and len(widths) > 2:
            at = rng.randrange(1, len(widths) - 1)
            cost[widths[at]] = cost[widths[at - 1]] * rng.uniform(1.05, 1.4)
        return {bits: float(f"{its:.3g}") for bits, its in cost.items()}, size

    def case(counts: Mapping[str, int], widths: list[int], bump: float, tight: float) -> Case:
        """A budget that is `tight` of the way from the fewest bytes to the most."""
        costs, sizes = {}, {}
        for name, weights in counts.items():
            costs[name], sizes[name] = layer(weights, widths, rng.random() < bump)
        least, most = (sum(f(s.values()) for s in sizes.values()) for f in (min, max))
        return costs, sizes, round(least + tight * (most - least))

    def layers(number: int, most: int = 60) -> dict[str, int]:
        return {name: rng.randint(9, most) for name in "abcdef"[:number]}

    def somewhere() -> float:
        return rng.uniform(0.25, 0.8)

    def exactly() -> Case:
        """A budget that the best allocation takes to the last byte."""
        costs, sizes, budget = case(layers(3), [2, 4, 8], 0.0, somewhere())
        return costs, sizes, total(sizes, right_allocation(costs, sizes, budget))

    def tied() -> Case:
        """Two layers that are alike, of which one can have more bits."""
        its = {2: round(rng.uniform(1, 4), 2), 4: round(rng.uniform(0.1, 0.9), 2)}
        costs = {"a": its, "b": dict(its)}
        sizes = {name: {2: 14, 4: 24} for name in costs}
        return costs, sizes, 38

    def with_options_of_their_own() -> Case:
        costs, sizes, budget = {}, {}, 0
        for name, widths in {"a": [8], "b": [2, 3, 4], "c": [4, 2], "d": [3, 8, 5]}.items():
            costs[name], size = layer(rng.randint(9, 60), widths, False)
            sizes[name] = dict(sorted(size.items()))
            budget += rng.choice(sorted(size.values())[:2])
        return costs, dict(reversed(sizes.items())), budget

    def telling_of(name: str, other: str) -> Case:
        """Tables at which the mistake of the first name costs more, and the other does not."""
        known = {m.name: m for m in MISTAKES}
        while True:
            found = case(layers(4, most=300), [2, 3, 4, 8], rng.choice([0.0, 0.6]), somewhere())
            best = right_allocation(*found)
            if _is_least(found[0], known[name](*found), best):
                continue
            if not other or _is_least(found[0], known[other](*found), best):
                return found

    yield lambda: case(layers(3), [2, 4, 8], 0.0, somewhere())
    for names in _SUBTLE.items():
        yield partial(telling_of, *names)
    yield exactly
    for _ in range(4):
        yield lambda: case(layers(5), [2, 3, 4, 6], 0.7, somewhere())
    yield with_options_of_their_own
    yield lambda: case(layers(3), [2, 3, 4, 8], 1.0, 0.0)  # only the fewest bytes fit
    yield lambda: case(layers(3), [2, 3, 4], 1.0, 1.5)  # all fit
    yield lambda: case(layers(1), [2, 3, 4, 5, 6, 7, 8], 1.0, somewhere())
    yield tied
    yield lambda: case(_SEPARABLE, [2, 3, 4, 5, 6, 7, 8], 0.3, rng.uniform(0.15, 0.6))


def _wrong(given: Any, right: Allocation, costs: Table, sizes: Table, budget: int) -> Wrong | None:
    def wrong(told: str, known: bool = True) -> Wrong:
        return Wrong(told, expected=right, given=given, known_mistakes=known)

    if not isinstance(given, Mapping):
        return wrong("return a dict: the name of each layer, and its bits", known=False)
    if given.keys() != right.keys():
        return wrong("each layer of costs gets its bits, and no other", known=False)
    found = {name: count(given[name]) for name in right}
    for name, bits in found.items():
        if type(bits) is not int or bits not in costs[name]:
            options = ", ".join(map(str, costs[name]))
            return wrong(f"{name} can have these bits: {options}", known=False)
    used = total(sizes, found)
    if used > budget:
        return wrong(f"this allocation takes {used} bytes, and the budget is {budget}")
    if _is_least(costs, found, right):
        return None
    return wrong(
        f"your allocation takes {used} bytes of {budget} and costs {total(costs, found):.4g}; "
        f"another takes {total(sizes, right)} and costs {total(costs, right):.4g}"
    )


def _parts(costs: Table, sizes: Table, budget: int) -> Iterator[Part]:
    """One layer, two, and a budget in which all fit."""
    for layers in (1, 2):
        names = list(costs)[:layers]
        some, its = ({name: table[name] for name in names} for table in (costs, sizes))
        free = sum(sorted(its[name].values())[len(its[name]) // 2] for name in names)
        yield Part(f"for {'one layer' if layers == 1 else 'two layers'}", (some, its, free))
    enough = sum(max(size.values()) for size in sizes.values())
    yield Part("where all fit", (costs, sizes, enough + 1))


def _reference(costs: Table, sizes: Table, budget: int) -> Allocation:
    """The bits of each layer that cost least together, of those that fit into the budget.

    >>> costs = {"a": {2: 5.0, 4: 1.0}, "b": {2: 3.0, 4: 0.5, 8: 0.25}}
    >>> sizes = {"a": {2: 10, 4: 20}, "b": {2: 4, 4: 8, 8: 16}}
    >>> best_allocation(costs, sizes, budget=28)
    {'a': 4, 'b': 4}
    """
    return allocation.best_allocation(costs, sizes, budget)


best_allocation = Exercise(
    "best_allocation",
    by_cases(
        _cases,
        right_allocation,
        _wrong,
        mistakes=[_as_the_check_sees_it(mistake) for mistake in MISTAKES],
        alike=_alike,
        parts=_parts,
    ),
    reference=_reference,
    core=True,
    minutes=18,
    mistakes=MISTAKES,
)
