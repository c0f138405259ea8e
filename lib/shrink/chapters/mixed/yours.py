"""A student's own network in bits given by hand, for the class experiment."""

from collections.abc import Mapping
from numbers import Integral

from torch import nn

from shrink.chapters.mixed.costs import answer_costs, judged
from shrink.chapters.mixed.curves import Judge, allocate
from shrink.chapters.mixed.networks import (
    SEPARABLE,
    WIDTHS,
    budget,
    calibration,
    integers_of,
    plain,
    sizes,
)
from shrink.classroom import CourseError, models
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, train
from shrink.quantization.allocation import total
from shrink.quantization.mixed_bits import folded

BITS = 4  # of the budget
SINGLE, BY_HAND, BEST = CHOICES = (f"{BITS} bits in each layer", "by hand", "the optimum")
SERIES = {"rounded to nearest": "nearest", "rounding learned": "learned"}
TRAINED = 12_000  # training images, the first ones
RECIPE = Recipe(epochs=8, learning_rate=0.05)


def in_mixed_bits(
    dataset: Dataset, number: int, by_hand: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Accuracy on validation images in %, of `SERIES` by `CHOICES`; nothing is kept.

    The separable network learns from the seed `number`. Then its layers get the bits given by hand,
    or 4 each, or the best of the same bytes by the answers of single layers; the weights are
    rounded to nearest, or learned, with biases corrected.

    Args:
        by_hand: the bits of each of the six layers, 2 to 8, within the bytes of 4 bits each.

    Raises:
        CourseError: a layer is missing or none, its bits are not 2 to 8, or they take too much.
    """
    check_by_hand(by_hand)
    few = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    layers = len(by_hand)
    steps = RECIPE.epochs * -(-len(few) // RECIPE.batch_size)
    net = models.build(SEPARABLE, number).to(few.images.device)
    parts = len(SERIES) * layers * (1 + len(WIDTHS)) + len(SERIES) * len(CHOICES)
    with new_bar("your network", total=steps + parts, unit="step") as bar:

        def step(*_: int) -> None:
            bar.update()

        train(net, few, RECIPE, seed=number, progress=step)
        judge = Judge(dataset, _folded(net))
        found = {}
        for series, rounding in SERIES.items():
            table = integers_of(judge.net, rounding, calibration(dataset), progress=step)
            costs = answer_costs(judge.net, judged(dataset).images, table, progress=step)
            chosen = {
                SINGLE: allocate(costs, SEPARABLE, BITS, "single"),
                BY_HAND: dict(by_hand),
                BEST: allocate(costs, SEPARABLE, BITS, "best"),
            }
            found[series] = {}
            for choice, bits in chosen.items():
                error, _ = judge(table, bits, correct=rounding == "learned")
                found[series][choice] = 100 * (1 - error)
                step()
    return found


def check_by_hand(by_hand: object) -> None:
    """Raise `CourseError`, which says why, unless these are the bits of six layers that fit."""
    bytes_of, most = sizes(), budget(BITS)
    names = ", ".join(bytes_of)
    if not isinstance(by_hand, Mapping) or set(by_hand) != set(bytes_of):
        given = ", ".join(map(str, by_hand)) if isinstance(by_hand, Mapping) else repr(by_hand)
        raise CourseError(f"bits are given for {names}, and here for {given}")
    for name, width in by_hand.items():
        whole = isinstance(width, Integral) and not isinstance(width, bool)
        if not whole or width not in WIDTHS:
            raise CourseError(f"{name} has {WIDTHS[0]} to {WIDTHS[-1]} bits, whole, not {width!r}")
    taken = total(bytes_of, by_hand)
    if taken > most:
        raise CourseError(
            f"these bits take {taken:,} bytes, {taken - most:,} more than the {most:,} of {BITS} "
            "bits each"
        )


def _folded(net: nn.Module) -> nn.Module:
    """The trained network as `networks.floats` gives one."""
    floats = plain().to(next(net.parameters()).device)
    floats.load_state_dict(folded(net.eval()).state_dict())
    return floats
