"""The chapter's curves, prepared: what each layer's width costs, and what allocations come to.

Each network is judged on the first `JUDGED` validation images, by the answers it gives and by its
errors. Where its rounding is learned, its biases are corrected as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from shrink.chapters.mixed.costs import BY, JUDGED, MEASURED, judged, sensitivities, traces
from shrink.chapters.mixed.networks import (
    LENET,
    SEEDS,
    SEPARABLE,
    Allocation,
    Integers,
    budget,
    calibration,
    correct_biases,
    floats,
    integers,
    made_of,
    output_means,
    put_together,
    sizes,
)
from shrink.chapters.mixed.roundings import random_roundings
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, key_once
from shrink.classroom.progress import Progress, new_bar
from shrink.modes import in_use
from shrink.quantization.allocation import best_allocation, greedy_allocation, total
from shrink.quantization.sensitivity import kl_divergence

BUDGETS = tuple(half / 2 for half in range(4, 17))  # bits per weight
SECONDS = {SEPARABLE: 12, LENET: 4}  # to judge all that is in a file, on one core


@dataclass(frozen=True)
class Line:
    """How the widths are chosen within a budget, and how the weights are rounded.

    `measured` is the rounding with which the costs of layers were measured.
    """

    choice: str  # "single", "best", "down" or "up"
    rounding: str
    measured: str


LINES = {
    "single": Line("single", "nearest", "nearest"),
    "mixed": Line("best", "nearest", "nearest"),
    "mixed, rounding learned": Line("best", "learned", "learned"),
    "single, rounding learned": Line("single", "learned", "learned"),  # the control
    "mixed, greedy down": Line("down", "nearest", "nearest"),
    "mixed, greedy up": Line("up", "nearest", "nearest"),
    "mixed, bits for learned rounding": Line("best", "nearest", "learned"),
    "mixed, rounding learned, bits for nearest": Line("best", "learned", "nearest"),
}
__all__ = ["BUDGETS", "BY", "JUDGED", "LINES", "sensitivities", "traces"]
BY_ALL = ("mixed", "mixed, rounding learned")  # with each of `BY`; the others by "answers"
PER_CHANNEL = ("single", "mixed", "mixed, rounding learned", "single, rounding learned")


@dataclass(frozen=True)
class Point:
    """What an allocation comes to.

    `error` is the fraction of the judged images that the network gets wrong; `divergence` the mean
    KL divergence of its answers from those of the floats, and `cost` what the layers promised: the
    sum of their costs, each rounded alone.
    """

    allocation: dict[str, int]
    bytes: int
    error: float
    divergence: float
    cost: float


def allocate(
    costs: Mapping[str, Mapping[int, float]],
    model: str,
    bits: float,
    choice: str,
    per_channel: bool = False,
) -> dict[str, int]:
    """The width of each layer that one of the choices of `Line` makes within a budget of `bits`."""
    bytes_of, limit = sizes(model, per_channel), budget(bits, model, per_channel)
    if choice == "single":  # the same for all, the most that fits
        return dict.fromkeys(bytes_of, int(bits))
    if choice == "best":
        return best_allocation(costs, bytes_of, limit)
    return greedy_allocation(costs, bytes_of, limit, {"down": "most", "up": "least"}[choice])


def curve(
    dataset: Dataset,
    seed: int,
    line: str,
    model: str = SEPARABLE,
    by: str = "answers",
    per_channel: bool = False,
) -> dict[float, float]:
    """budget in bits per weight → the fraction of the judged images that are wrong; as `points`."""
    found = points(dataset, seed, line, model, by, per_channel)
    return {bits: point.error for bits, point in found.items()}


def points(
    dataset: Dataset,
    seed: int,
    line: str,
    model: str = SEPARABLE,
    by: str = "answers",
    per_channel: bool = False,
) -> dict[float, Point]:
    """Budget in bits per weight → the allocation of one of `LINES`, and what it comes to; kept.

    Raises `ValueError` for a line that is none, or is not prepared with these sensitivities.
    """
    if line not in LINES:
        raise ValueError(f"no line {line!r}; there are {', '.join(LINES)}")
    if (line, by) not in _plans(per_channel):
        per = "channel" if per_channel else "layer"
        raise ValueError(f"{line!r} by {by!r} is not prepared with one scale per {per}")

    def costs_of(which: str, measured: str) -> dict[str, dict[int, float]]:
        return sensitivities(dataset, seed, model, which, measured, per_channel)

    def make() -> dict[str, Tensor]:
        all_costs = {(which, r): costs_of(which, r) for which in BY for r in MEASURED}
        title = f"seed {seed}, {model}, all budgets"
        with new_bar(title, seconds=SECONDS[model], total=len(_plans(per_channel))) as bar:
            step = bar.update
            return _points(dataset, seed, model, per_channel, all_costs, lambda *_: step())

    parts = (*made_of(dataset, seed, model), key_once(dataset.validation), per_channel)
    found = kept("mixed/points", make, *parts, _points, sensitivities)
    widths, results = found[f"{line}/{by}/widths"], found[f"{line}/{by}/results"]
    costs, bytes_of = costs_of(by, LINES[line].measured), sizes(model, per_channel)

    def point(row: Tensor, error: float, divergence: float) -> Point:
        allocation = dict(zip(bytes_of, row.tolist(), strict=True))
        cost = total(costs, allocation)
        return Point(allocation, total(bytes_of, allocation), error, divergence, cost)

    pairs = zip(widths, results.tolist(), strict=True)
    return dict(zip(BUDGETS, (point(row, *result) for row, result in pairs), strict=True))


def _plans(per_channel: bool) -> list[tuple[str, str]]:
    """Each line with the sensitivities it is prepared with."""
    if per_channel:
        return [(line, BY[0]) for line in PER_CHANNEL]
    return [(line, by) for line in LINES for by in (BY if line in BY_ALL else BY[:1])]


def _points(
    dataset: Dataset,
    seed: int,
    model: str,
    per_channel: bool,
    costs: Mapping[tuple[str, str], Mapping[str, Mapping[int, float]]],
    progress: Progress,
) -> dict[str, Tensor]:
    """For each of `_plans` the widths (budgets, layers), and error and divergence (budgets, 2)."""
    tables = {r: integers(dataset, seed, model, r, per_channel) for r in MEASURED}
    judge = Judge(dataset, floats(dataset, seed, model))
    known: dict[tuple, tuple[float, float]] = {}
    found = {}
    for line, by in _plans(per_channel):
        how, widths, results = LINES[line], [], []
        for bits in BUDGETS:
            chosen = allocate(costs[by, how.measured], model, bits, how.choice, per_channel)
            widths.append([chosen[name] for name in tables["nearest"]])
            key = (how.rounding, *widths[-1])
            if key not in known:
                known[key] = judge(tables[how.rounding], chosen, how.rounding == "learned")
            results.append(known[key])
        found[f"{line}/{by}/widths"] = torch.tensor(widths, dtype=torch.int8)
        found[f"{line}/{by}/results"] = torch.tensor(results, dtype=torch.float64)
        progress(len(found) // 2, len(_plans(per_channel)))
    return found


class Judge:
    """Tells what an allocation comes to: its error, and the divergence of its answers."""

    def __init__(self, dataset: Dataset, net: nn.Module) -> None:
        self.net, self.judged, self.seen = net, judged(dataset), calibration(dataset)
        self.means = output_means(net, self.seen)
        self.clean = self.logits(net)

    def logits(self, net: nn.Module) -> Tensor:
        with in_use(net):
            return torch.cat([net(x) for x in self.judged.images.split(250)])

    def __call__(
        self, table: Integers, allocation: Allocation, correct: bool
    ) -> tuple[float, float]:
        mixed = put_together(self.net, table, allocation)
        if correct:
            correct_biases(mixed, self.means, self.seen)
        logits = self.logits(mixed)
        wrong = int((logits.argmax(1) != self.judged.labels).sum())
        return wrong / len(logits), float(kl_divergence(logits, self.clean).mean())


def cells(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        yield partial(floats, dataset, seed)
        for rounding in ("learned", "adaround"):
            yield partial(integers, dataset, seed, SEPARABLE, rounding)
        yield partial(random_roundings, dataset, seed)
        for model, per_channel in ((SEPARABLE, False), (SEPARABLE, True), (LENET, False)):
            for rounding in MEASURED:
                yield partial(
                    sensitivities, dataset, seed, model, BY[0], rounding, per_channel=per_channel
                )
            yield partial(points, dataset, seed, "mixed", model, per_channel=per_channel)
        for model in (SEPARABLE, LENET):
            yield partial(traces, dataset, seed, model)
