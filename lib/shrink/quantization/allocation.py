"""Which layer gets how many bits: the least cost that fits into a number of bytes.

Each layer has options (a number of bits, a pair of them for weights and activations, or whatever
else stands for a way to store it), each with a cost and a size. Sizes add up. Costs are taken to
add up, too, and that is an assumption: what two layers spoil together is not what each does alone.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from shrink.arguments import check_real, whole_number

Option = Hashable
Costs = Mapping[str, Mapping[Option, float]]
Sizes = Mapping[str, Mapping[Option, int]]
Allocation = dict[str, Option]
STARTS = ("most", "least")
HALVINGS = 60  # of the stretch in which the price of a byte lies
NEAR = 1e-9  # of the cost of all: by so much a bound may be off


def weight_bytes(count: int, bits: int, scales: int = 1, codebook: int = 0) -> int:
    """What a layer's weights take: integers, packed, and their scales or shared values in float32.

    Args:
        count: weights.
        bits: of each, 1 to 32.
        scales: how many; 0 of shared values.
        codebook: shared values.

    Raises:
        TypeError: a number is not whole.
        ValueError: one is below 0, or bits are not 1 to 32.

    >>> weight_bytes(9, 3), weight_bytes(9, 3, scales=16), weight_bytes(9, 3, 0, codebook=8)
    (8, 68, 36)
    """
    bits = whole_number("bits", bits, 1, 32)
    count = whole_number("count", count, 0)
    floats = whole_number("scales", scales, 0) + whole_number("codebook", codebook, 0)
    return -(-count * bits // 8) + 4 * floats


def total(table: Mapping[str, Mapping[Option, float]], allocation: Mapping[str, Option]) -> float:
    """The sum of a table's numbers at an allocation: of costs its cost, of sizes its bytes.

    Raises `ValueError` for a layer or an option that the table does not have.

    >>> total({"a": {2: 8, 3: 12}, "b": {2: 80, 3: 120}}, {"a": 3, "b": 2})
    92
    """
    for name, option in allocation.items():
        if option not in table.get(name, {}):
            raise ValueError(f"the table has no option {option!r} of a layer {name!r}")
    return sum(table[name][option] for name, option in allocation.items())


def best_allocation(costs: Costs, sizes: Sizes, budget: int) -> Allocation:
    """The options of the least cost there is that fit: dynamic programming over bytes.

    Layer by layer, of all ways to fill so many bytes only the cheapest is kept, and of these only
    those that cost less than all smaller ones. Ways that cannot win any more are left out: with a
    lower bound of what is to come (Lagrange's: at a price for each byte, the bytes left included)
    they cost more than an allocation that is known. The time grows with the ways that are left:
    at worst with the bytes of the budget, or all combinations of options.

    Args:
        costs: layer → option → cost: finite, of any sign. It need not fall with the size.
        sizes: layer → option → bytes, whole numbers from 0; the same layers and options.
        budget: bytes at most, from 0.

    Returns:
        layer → option. Of allocations that cost the same any one may come.

    Source: the problem is the multiple-choice knapsack: Kellerer, Pferschy, Pisinger 2004,
        "Knapsack Problems", chapter 11.

    Raises:
        TypeError: a size or the budget is not whole, or a cost is no number.
        ValueError: layers or options of costs and sizes differ, there are none, a cost is not
            finite, a size is below 0, or nothing fits (with the bytes that it takes).

    >>> costs = {"a": {2: 3.0, 4: 0.5}, "b": {2: 1.0, 4: 0.1}}
    >>> sizes = {"a": {2: 2, 4: 4}, "b": {2: 20, 4: 40}}
    >>> best_allocation(costs, sizes, budget=43)  # 42 or 24 bytes fit, for 3.1 and 1.5
    {'a': 4, 'b': 2}
    """
    layers, budget = _layers(costs, sizes, budget)
    price, known = _at_one_price(layers, budget)
    most = sum(layer.cost[i] for layer, i in zip(layers, known, strict=True))
    most += NEAR * sum(float(np.abs(layer.cost).max()) for layer in layers)
    bound, room = _of_the_rest(layers, price)
    cost, size = np.zeros(1), np.zeros(1, np.int64)
    ways: list[tuple[np.ndarray, np.ndarray]] = []  # the way before, and the option that was added
    for i, layer in enumerate(layers, 1):
        cost = np.add.outer(cost, layer.cost).ravel()
        size = np.add.outer(size, layer.size).ravel()
        left = budget - room[i] - size
        way = np.flatnonzero((left >= 0) & (cost + bound[i] - price * left <= most))
        way = way[np.lexsort((cost[way], size[way]))]
        smaller = np.minimum.accumulate(cost[way])
        way = way[np.concatenate([[True], cost[way][1:] < smaller[:-1]])]
        cost, size = cost[way], size[way]
        ways.append(np.divmod(way, len(layer.options)))
    at, found = int(cost.argmin()), []
    for before, option in reversed(ways):
        found.append(int(option[at]))
        at = int(before[at])
    return _named(layers, found[::-1])


def lagrange_allocation(costs: Costs, sizes: Sizes, budget: int) -> Allocation:
    """Each layer's best option at one price for a byte, the lowest price at which all fit.

    It finds only allocations on the lower convex hull of cost over bytes, and leaves bytes of the
    budget where the next of these is too large. Arguments and errors are `best_allocation`'s.

    Source: Shoham and Gersho 1988, "Efficient Bit Allocation for an Arbitrary Set of Quantizers".

    >>> costs = {"a": {2: 3.0, 4: 0.5}, "b": {2: 1.0, 4: 0.1}}
    >>> sizes = {"a": {2: 2, 4: 4}, "b": {2: 20, 4: 40}}
    >>> lagrange_allocation(costs, sizes, budget=43)  # at 0.045 a byte or more, b is better small
    {'a': 4, 'b': 2}
    """
    layers, budget = _layers(costs, sizes, budget)
    return _named(layers, _at_one_price(layers, budget)[1])


def greedy_allocation(costs: Costs, sizes: Sizes, budget: int, start: str = "most") -> Allocation:
    """One change after the other, the one that is best for a byte.

    Args:
        start: from the "most" bytes down: what adds the least cost for each byte that it saves,
            until all fits. From the "least" up: what saves the most cost for each byte, while
            something that saves cost fits.

    The others, and the errors, are `best_allocation`'s; and `ValueError` for another start.

    >>> costs = {"a": {2: 3.0, 4: 0.5}, "b": {2: 1.0, 4: 0.1}}
    >>> sizes = {"a": {2: 2, 4: 4}, "b": {2: 20, 4: 40}}
    >>> greedy_allocation(costs, sizes, budget=43)
    {'a': 4, 'b': 2}
    """
    if start not in STARTS:
        raise ValueError(f"no start {start!r}; there are {', '.join(STARTS)}")
    layers, budget = _layers(costs, sizes, budget)
    down = start == "most"
    # of options of one size the one that costs least
    ends = [np.lexsort((layer.cost, -layer.size if down else layer.size))[0] for layer in layers]
    at = [int(end) for end in ends]
    used = sum(int(layer.size[i]) for layer, i in zip(layers, at, strict=True))
    while not down or used > budget:
        best, change = math.inf, None
        for number, (layer, i) in enumerate(zip(layers, at, strict=True)):
            for j, (cost, size) in enumerate(zip(layer.cost, layer.size, strict=True)):
                more, dearer = int(size - layer.size[i]), float(cost - layer.cost[i])
                fits = more < 0 if down else more > 0 and used + more <= budget and dearer < 0
                if fits and dearer / abs(more) < best:
                    best, change = dearer / abs(more), (number, j, more)
        if change is None:
            break
        number, j, more = change
        at[number], used = j, used + more
    return _named(layers, at)


@dataclass(frozen=True)
class _Layer:
    """A layer's options, and the cost (float64) and the size (int64) of each."""

    name: str
    options: list[Option]
    cost: np.ndarray
    size: np.ndarray


def _layers(costs: Costs, sizes: Sizes, budget: int) -> tuple[list[_Layer], int]:
    """The tables, checked: something fits."""
    budget = whole_number("budget", budget, 0)
    if not costs or set(costs) != set(sizes):
        both = f"{', '.join(map(str, costs)) or 'none'}, and {', '.join(map(str, sizes)) or 'none'}"
        raise ValueError(f"costs and sizes must be of the same layers, not of {both}")
    layers = []
    for name, options in costs.items():
        if not options or set(options) != set(sizes[name]):
            both = f"{[*options]} and {[*sizes[name]]}"
            raise ValueError(f"costs and sizes of {name} must be of the same options, not {both}")
        for option, cost in options.items():
            check_real(f"the cost of {name} at {option!r}", cost)
            if not math.isfinite(cost):
                raise ValueError(f"the cost of {name} at {option!r} is {cost}")
            whole_number(f"the size of {name} at {option!r}", sizes[name][option], 0, 2**62)
        cost = np.array([*options.values()], float)
        size = np.array([sizes[name][option] for option in options], np.int64)
        layers.append(_Layer(name, [*options], cost, size))
    least = sum(int(layer.size.min()) for layer in layers)
    if least > budget:
        raise ValueError(f"the smallest allocation takes {least} bytes, and the budget is {budget}")
    return layers, min(budget, sum(int(layer.size.max()) for layer in layers))


def _at_one_price(layers: list[_Layer], budget: int) -> tuple[float, list[int]]:
    """The lowest price of a byte at which each layer's best option fits, and these options."""
    widest = max(len(layer.options) for layer in layers)
    cost = np.full((len(layers), widest), np.inf)
    size, number = (np.zeros((len(layers), widest), np.int64) for _ in range(2))
    for row, layer in enumerate(layers):
        order = np.lexsort((layer.cost, layer.size))  # of equal ones argmin takes the smallest
        cost[row, : len(order)] = layer.cost[order]
        size[row, : len(order)] = layer.size[order]
        number[row, : len(order)] = order
    rows = np.arange(len(layers))

    def best(price: float) -> np.ndarray:
        return (cost + price * size).argmin(1)

    def fits(options: np.ndarray) -> bool:
        return sum(size[rows, options].tolist()) <= budget

    low, high = 0.0, 2.0 * float(np.abs(cost[np.isfinite(cost)]).max())  # of a single byte
    if fits(best(low)):
        high = low
    elif not fits(best(high)):  # sizes beyond float64: the smallest of each layer do
        return high, number[:, 0].tolist()
    for _ in range(HALVINGS if high else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(best(middle)) else (middle, high)
    return high, number[rows, best(high)].tolist()


def _of_the_rest(layers: list[_Layer], price: float) -> tuple[np.ndarray, np.ndarray]:
    """For the layers from each on: what they cost at least at a price, their least bytes paid for.

    Beside it, these least bytes.
    """
    least = [float((of.cost + price * (of.size - of.size.min())).min()) for of in layers]
    smallest = [int(layer.size.min()) for layer in layers]
    costs, sizes = (np.cumsum([0, *each[::-1]])[::-1] for each in (least, smallest))
    return costs, sizes


def _named(layers: list[_Layer], found: list[int]) -> Allocation:
    return {layer.name: layer.options[i] for layer, i in zip(layers, found, strict=True)}
