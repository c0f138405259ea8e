"""What chapter 11's explorer shows of bits by layer, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

UNITS = {  # of a cost, by what it is measured
    "answers": "nats",
    "curvature": "of the loss",
    "weights": "squared",
}


@dataclass(frozen=True)
class Choice:
    """An allocation, and what comes of it on the images that are asked live."""

    bits: tuple[int, ...]  # by layer
    bytes: int
    cost: float  # the sum of its layers' costs
    error: float  # in %
    divergence: float  # of its answers from those of the floats, in nats


@dataclass(frozen=True)
class AllocationView:
    """What the figure shows for one setting of the controls."""

    budget: float  # bits a weight
    room: int  # bytes
    layers: tuple[str, ...]
    counts: tuple[int, ...]  # weights by layer
    scales: int  # bytes of all the scales
    widths: tuple[int, ...]
    by: str
    rounding: str
    corrected: bool
    per: str
    mine: bool
    costs: np.ndarray  # (layers, widths)
    hand: Choice
    optimum: Choice
    lines: Mapping[str, np.ndarray]  # (seeds, budgets) error in %
    budgets: tuple[float, ...]
    whole: float  # the float network's error on the same images as the lines, in %
    whole_here: float  # and on those that are asked live
    images: int  # that are asked live
    images_of_lines: int

    @property
    def line(self) -> str | None:
        """The line of allocations like the optimum on show."""
        learned = {("nearest", False): "mixed", ("learned", True): "mixed, rounding learned"}
        return learned.get((self.rounding, self.corrected))

    @property
    def here(self) -> int:
        """The place of the budget among those of the lines."""
        return self.budgets.index(self.budget)

    def over(self, choice: Choice) -> int:
        """How many bytes it takes above the budget."""
        return max(0, choice.bytes - self.room)

    def bits_a_weight(self, choice: Choice) -> float:
        """Its bytes as a budget: bits of each weight, without the scales."""
        return 8 * (choice.bytes - self.scales) / sum(self.counts)

    def cost_of(self, choice: Choice) -> np.ndarray:
        """The costs of its layers, (layers,)."""
        places = [self.widths.index(bits) for bits in choice.bits]
        return self.costs[np.arange(len(places)), places]


def short(number: float) -> str:
    """Two digits of a number, without an exponent where it is not tiny.

    >>> short(2.97), short(0.0444), short(0.00004), short(123.4)
    ('3', '0.044', '4e-05', '123')
    """
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.2g}"


def state(view: AllocationView) -> str:
    """How weights are rounded."""
    bias = ", biases corrected" if view.corrected else ""
    return f"rounding {view.rounding}{bias}, one scale per {view.per}"


def heading(view: AllocationView) -> str:
    """The state, in short."""
    return f"{view.budget:g} bits a weight, {view.room:,} bytes"


def percent(error: float) -> str:
    """An error in %.

    >>> percent(1.2345), percent(66.94)
    ('1.2', '66.9')
    """
    return f"{error:.1f}"


def summarise(view: AllocationView) -> str:
    """The numbers of the view in words."""
    return "<br>".join([_of_choices(view), _of_costs(view), _of_lines(view)])


def _of_choices(view: AllocationView) -> str:
    hand = f"by hand {_bits(view.hand)}: {_bytes(view, view.hand)}, {_wrong(view.hand)}"
    whose = "your optimum" if view.mine else "the optimum"
    best = f"{whose} {_bits(view.optimum)}: {_bytes(view, view.optimum)}, {_wrong(view.optimum)}"
    return (
        f"<b>{heading(view)}</b>, {state(view)}. {hand[0].upper()}{hand[1:]}; {best}; the floats "
        f"{percent(view.whole_here)} % (of {view.images:,} validation images, seed 0, live)."
    )


def _bits(choice: Choice) -> str:
    return "-".join(map(str, choice.bits))


def _bytes(view: AllocationView, choice: Choice) -> str:
    over = view.over(choice)
    return f"{choice.bytes:,} bytes" + (f", <b>{over:,} over the budget</b>" if over else "")


def _wrong(choice: Choice) -> str:
    return f"<b>{percent(choice.error)} % wrong</b>"


def _of_costs(view: AllocationView) -> str:
    worst = int(view.cost_of(view.hand).argmax())
    unit = UNITS[view.by]
    costs = (
        f"Costs by {view.by} add up to {short(view.hand.cost)} by hand, most of it "
        f"{short(view.cost_of(view.hand)[worst])} of {view.layers[worst]}, and to "
        f"{short(view.optimum.cost)} of the optimum ({unit})."
    )
    return (
        f"{costs} All layers at once, the answers are {short(view.hand.divergence)} and "
        f"{short(view.optimum.divergence)} nats from those of the floats."
    )


def _of_lines(view: AllocationView) -> str:
    lines = "; ".join(f"{name} {_range(of[:, view.here])}" for name, of in view.lines.items())
    seeds = len(next(iter(view.lines.values())))
    return (
        f"Prepared at {view.budget:g} bits, in % of {view.images_of_lines:,} validation images, "
        f"mean of {seeds} seeds: {lines}; float {view.whole:.3g}."
    )


def _range(errors: np.ndarray) -> str:
    spread = f" ({errors.min():.3g} to {errors.max():.3g})" if len(errors) > 1 else ""
    return f"{errors.mean():.3g}{spread}"


def describe(view: AllocationView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    worst = int(view.cost_of(view.hand).argmax())
    over = view.over(view.hand)
    lines = ", ".join(f"{name} {of[:, view.here].mean():.3g}" for name, of in view.lines.items())
    return (
        f"{heading(view)}, {state(view)}. A map of costs by {view.by}, layers by widths, from "
        f"{short(view.costs.min())} to {short(view.costs.max())}; the hand's largest is "
        f"{view.layers[worst]}. Bars of bits by layer, by hand {_bits(view.hand)}, "
        f"{view.hand.bytes:,} bytes{f', {over:,} over' if over else ''}, "
        f"{percent(view.hand.error)} % wrong; optimum{' of yours' * view.mine} "
        f"{_bits(view.optimum)}, {view.optimum.bytes:,} bytes, "
        f"{percent(view.optimum.error)} % wrong. Validation error over the budget, %, "
        f"here: {lines}, float {view.whole:.3g}."
    )
