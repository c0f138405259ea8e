"""Which layer gets how many bits: the least cost that fits into a number of bytes.

Each layer has options (a number of bits, or a pair of them for weights and activations), each with
a cost and a size. Costs are taken to add up, which they do not quite; sizes do.
"""

import math
from collections.abc import Hashable, Mapping

import numpy as np

Option = Hashable
Costs = Mapping[str, Mapping[Option, float]]
Sizes = Mapping[str, Mapping[Option, int]]
Allocation = dict[str, Option]


def weight_bytes(count: int, bits: int, scales: int = 1, codebook: int = 0) -> int:
    """What the integers of a layer take, packed, with its scales and shared values in float32.

    >>> weight_bytes(9, 3), weight_bytes(9, 3, scales=16), weight_bytes(9, 3, codebook=8)
    (8, 68, 40)
    """
    return -(-count * bits // 8) + 4 * scales + 4 * codebook


def total(table: Mapping[str, Mapping[Option, float]], allocation: Mapping[str, Option]) -> float:
    """The sum of a table's numbers at an allocation: its cost, or its bytes."""
    return sum(table[name][option] for name, option in allocation.items())


def best_allocation(costs: Costs, sizes: Sizes, budget: int) -> Allocation:
    """The options of the least cost that fit: dynamic programming over bytes.

    Layer by layer, of the ways to fill so many bytes only the cheapest is kept, and of these only
    what costs less than all that are smaller. Ways that cannot win any more are left out: by a
    lower bound of the rest (Lagrange's) they cost more than an allocation that is known.
    """
    names, tables = _tables(costs, sizes, budget)
    price, known = _by_price(tables, budget)
    least = [min(c + price * s for c, s in zip(*table, strict=True)) for table in tables]
    smallest = [int(size.min()) for _, size in tables]
    rest = np.cumsum([0.0, *least[::-1]])[::-1]  # of the layers from i on
    room = np.cumsum([0, *smallest[::-1]])[::-1]
    most = sum(cost[i] for (cost, _), i in zip(tables, known, strict=True))
    cost, size = np.zeros(1), np.zeros(1, np.int64)
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    for i, (its_cost, its_size) in enumerate(tables):
        options = len(its_cost)
        cost = (cost[:, None] + its_cost).ravel()
        size = (size[:, None] + its_size).ravel()
        bound = cost + rest[i + 1] - price * (budget - size)
        fits = (size + room[i + 1] <= budget) & (bound <= most + 1e-9 * (1 + abs(most)))
        way = np.flatnonzero(fits)
        way = way[np.lexsort((cost[way], size[way]))]
        cheaper = np.concatenate([[True], cost[way][1:] < np.minimum.accumulate(cost[way])[:-1]])
        way = way[cheaper]
        cost, size = cost[way], size[way]
        chosen.append((way // options, way % options))
    at = int(cost.argmin())
    found = []
    for before, option in reversed(chosen):
        found.append(int(option[at]))
        at = int(before[at])
    return _allocation(costs, names, found[::-1])


def lagrange_allocation(costs: Costs, sizes: Sizes, budget: int) -> Allocation:
    """Each layer's cheapest option at one price for a byte, the lowest price at which all fit.

    Only allocations on the lower convex hull of cost over bytes are found so.

    Source: Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers".
    """
    names, tables = _tables(costs, sizes, budget)
    return _allocation(costs, names, _by_price(tables, budget)[1])


def greedy_allocation(costs: Costs, sizes: Sizes, budget: int, start: str = "most") -> Allocation:
    """One option after the other, of the least cost for a byte.

    From "most" bytes down: what adds the least cost for a byte that it saves, until all fit. From
    "least" up: what saves the most cost for a byte, while something fits.
    """
    names, tables = _tables(costs, sizes, budget)
    orders = [np.argsort(size, kind="stable") for _, size in tables]
    tables = [(cost[o], size[o]) for (cost, size), o in zip(tables, orders, strict=True)]
    down = start == "most"
    at = [len(cost) - 1 if down else 0 for cost, _ in tables]
    while True:
        used = sum(int(size[i]) for (_, size), i in zip(tables, at, strict=True))
        if down and used <= budget:
            break
        best, step = math.inf, None
        for layer, ((cost, size), i) in enumerate(zip(tables, at, strict=True)):
            for j in range(i) if down else range(i + 1, len(cost)):
                change = int(size[j] - size[i])
                if change == 0 or (not down and (used + change > budget or cost[j] >= cost[i])):
                    continue
                rate = (cost[j] - cost[i]) / abs(change)
                if rate < best:
                    best, step = rate, (layer, j)
        if step is None:
            break
        at[step[0]] = step[1]
    return _allocation(costs, names, [int(o[i]) for o, i in zip(orders, at, strict=True)])


def _by_price(tables: list, budget: int) -> tuple[float, list[int]]:
    """The lowest price of a byte at which all fit, and the options that are cheapest then."""

    def at(price: float) -> list[int]:
        return [int(np.lexsort((size, cost + price * size))[0]) for cost, size in tables]

    def used(options: list[int]) -> int:
        return sum(int(size[i]) for (_, size), i in zip(tables, options, strict=True))

    options = at(0.0)
    if used(options) <= budget:
        return 0.0, options
    low, high = 0.0, 1.0
    while used(at(high)) > budget:
        low, high = high, 2 * high
        if high > 1e300:
            return 0.0, [int(size.argmin()) for _, size in tables]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if used(at(middle)) > budget else (low, middle)
    return high, at(high)


def _tables(costs: Costs, sizes: Sizes, budget: int):
    names = list(costs)
    tables = []
    for name in names:
        options = list(costs[name])
        tables.append(
            (
                np.array([costs[name][o] for o in options], float),
                np.array([sizes[name][o] for o in options], np.int64),
            )
        )
    least = sum(int(size.min()) for _, size in tables)
    if least > budget:
        raise ValueError(f"the smallest allocation takes {least} bytes, more than {budget}")
    return names, tables


def _allocation(costs: Costs, names: list[str], found: list[int]) -> Allocation:
    return {name: list(costs[name])[i] for name, i in zip(names, found, strict=True)}
