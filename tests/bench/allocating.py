"""The best bits by layer, beside scipy's integer programming, and Lagrange's and greedy ones."""

from collections.abc import Iterator

from shrink.quantization.allocation import (
    best_allocation,
    greedy_allocation,
    lagrange_allocation,
    total,
)
from tests.bench.rows import Row, faster, goal, in_turns
from tests.quantization.test_allocation import budget_of, by_integer_programming, table

GOALS = {6: 5, 53: 500}  # layers → milliseconds at most; 53 are those of MobileNetV2


def allocations() -> Iterator[Row]:
    """Of random costs with bumps, at the bytes of four bits each."""
    for layers, most in GOALS.items():
        costs, sizes = table(layers=layers)
        budget = budget_of(sizes, 4)

        def best() -> dict:
            return best_allocation(costs, sizes, budget)  # noqa: B023 -- called in this turn

        def programmed() -> float:
            return by_integer_programming(costs, sizes, budget)  # noqa: B023

        took, theirs = in_turns(best, programmed, runs=10)
        least = total(costs, best())
        same = abs(least / programmed() - 1) < 1e-6
        limit, met = goal(took, most, "ms")
        yield Row(
            f"the best of 7 widths for {layers} layers",
            f"{took:.1f} ms",
            f"scipy.optimize.milp {theirs:.0f} ms",
            f"{limit}: {met}; {faster(took, theirs)}; {'same cost' if same else 'OTHER COST'}",
        )
        ways = {
            "by Lagrange": lagrange_allocation,
            "greedy, from the most bytes": greedy_allocation,
        }
        for name, way in ways.items():

            def other() -> dict:
                return way(costs, sizes, budget)  # noqa: B023

            took, exact = in_turns(other, best, runs=10)
            yield Row(
                f"7 widths for {layers} layers, {name}",
                f"{took:.1f} ms",
                f"the best {exact:.1f} ms",
                f"{total(costs, other()) / least:.2f} times the least cost",
            )
