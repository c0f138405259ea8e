"""Where the cuts of the best clustering can lie, and the best of all cuts that lie there.

A clustering of sorted numbers is a row of cuts, places 0 to n between them. The table of the best
ways to cut has a row of n places for each number of clusters; a good clustering that is known
already shows that most places of a row are not on the way to the best.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

GROUPS = 4096  # of neighbouring numbers, by which the bounds are found

Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]
Window = tuple[int, int]  # the first and the last place


def moments_of(x: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Sums of the counts, the numbers and their squares, before each place: three of (n + 1,)."""
    centre = x[len(x) // 2]  # near which sums stay small
    return [np.concatenate([[0.0], (counts * (x - centre) ** p).cumsum()]) for p in range(3)]


def cost_of(moments: list[np.ndarray]) -> Cost:
    """The squared distances to their means, of clusters from start to end; 0 of an empty one."""
    weight, first, second = moments

    def cost(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        mass, sums = weight[end] - weight[start], first[end] - first[start]
        return second[end] - second[start] - sums * sums / np.maximum(mass, 1)

    return cost


def windows(moments: list[np.ndarray], known: np.ndarray) -> list[Window]:
    """Windows in which all cuts of the best clustering lie: of 0, of each cut between, of n.

    Args:
        moments: of the n numbers.
        known: a clustering by its k + 1 ends, 0 and n among them: the better, the narrower.

    A cluster costs at least what a part of it costs. So if the j-th cut lies somewhere in a group
    of neighbouring numbers, the whole groups before it cost at least as much as j clusters that may
    leave out a group at each cut, and likewise those behind it. Where both together cost more than
    the known clustering does, no cut of the best lies in that group.
    """
    k, n = len(known) - 1, len(moments[0]) - 1
    each = max(GROUPS // k, 1)  # a cluster's groups have as many numbers
    edges = np.interp(np.arange(k * each + 1) / each, np.arange(k + 1), known)
    edges = np.unique(edges.astype(np.int64))
    before = _bounds([moment[edges] for moment in moments], k)
    behind = _bounds([(moment[-1] - moment)[edges[::-1]] for moment in moments], k)
    # sums of n terms are off by n times the last digit, at most, and k costs have two each
    rounding = 4 * k * n * np.finfo(np.float64).eps * moments[2][-1]
    most = cost_of(moments)(known[:-1], known[1:]).sum() + rounding
    found = [(0, 0)]
    for bound, bound_behind in zip(before, reversed(behind), strict=True):
        possible = np.flatnonzero(bound + bound_behind[::-1] <= most)
        found.append((int(edges[possible[0]]), int(edges[possible[-1] + 1])))
    return [*found, (n, n)]


def _bounds(moments: list[np.ndarray], k: int) -> list[np.ndarray]:
    """For 1 to k - 1 clusters: what they cost at least, up to a last cut in each of the groups."""
    whole = cost_of(moments)
    groups = np.arange(len(moments[0]) - 1)

    def cost(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Of the whole groups between a cut in one group and a cut in another, or the same."""
        return whole(np.minimum(start + 1, end), end)

    bounds = [whole(np.zeros_like(groups), groups)]
    while len(bounds) < k - 1:
        bounds.append(cheapest(bounds[-1], (0, len(groups) - 1), (0, len(groups) - 1), cost)[0])
    return bounds[: k - 1]


def best_ends(moments: list[np.ndarray], within: list[Window]) -> np.ndarray:
    """The ends of the best of all clusterings whose cuts lie within these windows: (k + 1,)."""
    least, cuts = np.zeros(1), []
    for starts, ends in pairwise(within):
        least, cut = cheapest(least, starts, ends, cost_of(moments))
        cuts.append(cut)
    ends = [within[-1][0]]
    for (first, _), cut in zip(reversed(within), reversed(cuts), strict=False):
        ends.append(int(cut[ends[-1] - first]))
    return np.array(ends[::-1])


def cheapest(
    least: np.ndarray, starts: Window, ends: Window, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """For each end: the least of least[start] + cost(start, end), and the first start that has it.

    That start rises with the end. So those of every other end lie between those of the rest, which
    are found before, from a few on.
    """
    (low, high), (first, last) = starts, ends
    count = last - first + 1
    found, cuts = np.empty(count), np.empty(count + 2, np.int64)  # one before the ends, one behind
    cuts[0], cuts[-1] = low, high
    step = 1 << count.bit_length() - 1
    while step:  # the odd multiples of the step, each between two that are known
        place = np.arange(step, count + 1, 2 * step)
        end = first - 1 + place
        lowest = cuts[place - step]
        highest = np.minimum(cuts[np.minimum(place + step, count + 1)], end)
        lengths = np.maximum(highest - lowest, 0) + 1
        begins = lengths.cumsum() - lengths
        start = np.arange(lengths.sum()) + (lowest - begins).repeat(lengths)
        costs = least[start - low] + cost(start, end.repeat(lengths))
        found[place - 1] = np.minimum.reduceat(costs, begins)
        best = np.flatnonzero(costs == found[place - 1].repeat(lengths))
        which = begins.searchsorted(best, "right") - 1
        cuts[place[which[::-1]]] = start[best[::-1]]  # of equal ones the first is written last
        step //= 2
    return found, cuts[1:-1].astype(np.int32)
