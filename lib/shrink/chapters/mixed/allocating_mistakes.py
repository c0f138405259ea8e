"""Known mistakes of chapter 11's exercise on the best allocation."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from shrink.chapters.mixed.allocating_oracle import (
    Allocation,
    Table,
    allocation_at,
    bytes_in_order,
    every,
    total,
)
from shrink.classroom.exercises.attempt import Mistake

Step = tuple[str, int]  # a layer, and the bits that it gets
Gain = Callable[[float, int, int], float]  # cost saved, bytes and bits added → what is compared


def _least(sizes: Table) -> Allocation:
    """The option of the fewest bytes for each layer."""
    return {name: min(options, key=options.get) for name, options in sizes.items()}


def _next(sizes: Table, found: Allocation, up: bool) -> Iterator[Step]:
    """The next option of each layer, up or down in bytes."""
    for name, bits in found.items():
        order = sorted(sizes[name], key=sizes[name].get)
        at = order.index(bits) + (1 if up else -1)
        if 0 <= at < len(order):
            yield name, order[at]


def _upward(gain: Gain, stops: bool = False) -> Callable[[Table, Table, int], Allocation]:
    """From the fewest bytes up, a step at a time; `stops` where the best step does not fit."""

    def best_allocation(costs: Table, sizes: Table, budget: int) -> Allocation:
        found = _least(sizes)
        while True:
            steps = []
            for name, bits in _next(sizes, found, up=True):
                saved = costs[name][found[name]] - costs[name][bits]
                added = sizes[name][bits] - sizes[name][found[name]]
                fits = total(sizes, found) + added <= budget
                if saved > 0 and (fits or stops):
                    steps.append((gain(saved, added, bits - found[name]), fits, name, bits))
            if not steps:
                return found
            _, fits, name, bits = max(steps)
            if not fits:
                return found
            found[name] = bits

    return best_allocation


def _by_byte(saved: float, added: int, bits: int) -> float:
    return saved / added


def _downward(costs: Table, sizes: Table, budget: int) -> Allocation:
    """From the most bytes down: what costs least for each byte saved."""
    found = {name: max(options, key=options.get) for name, options in sizes.items()}
    while total(sizes, found) > budget:
        steps = []
        for name, bits in _next(sizes, found, up=False):
            added = costs[name][bits] - costs[name][found[name]]
            saved = sizes[name][found[name]] - sizes[name][bits]
            steps.append((added / saved, name, bits))
        _, name, bits = min(steps)
        found[name] = bits
    return found


def _largest_first(costs: Table, sizes: Table, budget: int) -> Allocation:
    """The layers in order of their size, each with the most bits that fit."""
    found = _least(sizes)
    for name in sorted(sizes, key=lambda name: -max(sizes[name].values())):
        free = budget - total(sizes, found) + sizes[name][found[name]]
        found[name] = max(bits for bits, size in sizes[name].items() if size <= free)
    return found


def _layer_by_layer(costs: Table, sizes: Table, budget: int) -> Allocation:
    """In the order of the layers, each with the cheapest option that leaves room for the rest."""
    found = _least(sizes)
    for name in costs:
        free = budget - total(sizes, found) + sizes[name][found[name]]
        fitting = [bits for bits, size in sizes[name].items() if size <= free]
        found[name] = min(fitting, key=costs[name].get)
    return found


def _most_bytes(costs: Table, sizes: Table, budget: int) -> Allocation:
    """What leaves the fewest bytes free."""
    used = every(bytes_in_order(costs, sizes))
    return allocation_at(int(np.where(used <= budget, used, -1).argmax()), costs)


def _below(costs: Table, sizes: Table, budget: int) -> Allocation:
    """The best of those that leave a byte free."""
    fits = every(bytes_in_order(costs, sizes)) < budget
    if not fits.any():
        return _least(sizes)
    return allocation_at(int(np.where(fits, every(costs), np.inf).argmin()), costs)


def _most_for_the_last(costs: Table, sizes: Table, budget: int) -> Allocation:
    """All ways for the layers but the last, which gets the most bytes that are left."""
    *first, last = costs
    if not first:
        found: list[Allocation] = [{}]
    else:
        table = {name: costs[name] for name in first}
        found = [allocation_at(i, table) for i in range(every(table).size)]
    best, least = _least(sizes), math.inf
    for chosen in found:
        free = budget - total(sizes, chosen)
        fitting = [bits for bits, size in sizes[last].items() if size <= free]
        if fitting:
            whole = chosen | {last: max(fitting, key=sizes[last].get)}
            if (cost := total(costs, whole)) < least:
                best, least = whole, cost
    return best


MISTAKES = (
    Mistake(
        "upward, step by step",
        _upward(_by_byte),
        "a greedy way ends here, from the fewest bytes up by what saves most per byte: a step that "
        "saves little, or nothing, may lead to one that saves a lot, and no step is ever taken "
        "back. Compare whole allocations",
    ),
    Mistake(
        "downward, step by step",
        _downward,
        "a greedy way ends here, from the most bytes down until they fit: the bytes that its last "
        "step leaves free buy nothing, and no step is ever taken back. Compare whole allocations",
    ),
    Mistake(
        "gain per bit",
        _upward(lambda saved, added, bits: saved / bits),
        "this is where you end by comparing what one more bit saves, but a bit of a large layer "
        "takes far more bytes than one of a small layer: the budget is in bytes",
    ),
    Mistake(
        "stops at the first",
        _upward(_by_byte, stops=True),
        "this is where you end by stopping as soon as the best step does not fit: a step of "
        "another layer, with fewer bytes, may still fit",
    ),
    Mistake(
        "largest first",
        _largest_first,
        "here the largest layer gets the most bits that fit, then the next one: in a large layer a "
        "bit takes the most bytes, and often it saves the least. What counts is the cost",
    ),
    Mistake(
        "layer by layer",
        _layer_by_layer,
        "here one layer after the other takes what is best for it alone, and the first ones take "
        "what later ones need more. Which choice is best depends on how many bytes it leaves: keep "
        "a best beginning for each number of bytes, not only one",
    ),
    Mistake(
        "fills the budget",
        _most_bytes,
        "this is what takes the most bytes that fit, and more bytes need not cost less: of all "
        "that fit, take the one with the least sum of the costs",
    ),
    Mistake(
        "below the budget",
        _below,
        "this is the best of those that leave at least one byte free, and an allocation may take "
        "exactly the budget: compare with <= and not with <",
    ),
    Mistake(
        "most for the last",
        _most_for_the_last,
        "here the last layer gets the most bits that fit, and more bits may cost more: look at the "
        "cost of each of its options that fit",
    ),
)
