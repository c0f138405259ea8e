"""The oracle of chapter 11's exercise on the best allocation: it tries every one."""

from collections.abc import Mapping
from functools import reduce

import numpy as np

Table = Mapping[str, Mapping[int, float]]
Allocation = dict[str, int]


def every(table: Table) -> np.ndarray:
    """The sum of a table's numbers for every allocation: an axis a layer, its options along it."""
    return reduce(np.add.outer, [np.array([*options.values()]) for options in table.values()])


def allocation_at(place: int, costs: Table) -> Allocation:
    """The allocation that stands at a place of `every(costs)`, counted as in its `ravel`."""
    at = np.unravel_index(place, [len(options) for options in costs.values()])
    return {name: list(costs[name])[i] for name, i in zip(costs, at, strict=True)}


def bytes_in_order(costs: Table, sizes: Table) -> Table:
    """The sizes, with layers and options in the order of the costs."""
    return {name: {bits: sizes[name][bits] for bits in costs[name]} for name in costs}


def right_allocation(costs: Table, sizes: Table, budget: int) -> Allocation:
    """One of those with the least cost."""
    fits = every(bytes_in_order(costs, sizes)) <= budget
    return allocation_at(int(np.where(fits, every(costs), np.inf).argmin()), costs)


def total(table: Table, allocation: Allocation) -> float:
    """The sum of a table's numbers at an allocation."""
    return sum(table[name][bits] for name, bits in allocation.items())
