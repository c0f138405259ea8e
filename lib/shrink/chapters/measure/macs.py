"""An exercise of chapter 01: the multiply-accumulates of a convolution.

The oracle is PyTorch's own counter, which watches the convolution run.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, whole

Size = tuple[int, int]


def _steps(layer: nn.Conv2d, size: Size) -> list[Size]:
    """Down and across: how many pixels the kernel can move, and how many it moves at a time."""
    return [
        (n + 2 * p - d * (k - 1) - 1, s)
        for n, p, d, k, s in zip(
            size, layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True
        )
    ]


def _with(layer: nn.Conv2d, **options: Any) -> nn.Conv2d:
    """The layer with other options; what was given stays as it is."""
    other = copy.copy(layer)
    vars(other).update(options)
    return other


@known("the kernel takes a whole number of steps: // rounds down and gives an int, / does not")
def _not_rounded_down(layer: nn.Conv2d, size: Size) -> float:
    places = math.prod(way / step + 1 for way, step in _steps(layer, size))
    return places * layer.weight.numel()


@known("the first place counts too: + 1", "no +1")
def _no_plus_1(layer: nn.Conv2d, size: Size) -> int:
    return math.prod(way // step for way, step in _steps(layer, size)) * layer.weight.numel()


@known("adding the bias is no product: leave it out")
def _bias(layer: nn.Conv2d, size: Size) -> int:
    outputs = math.prod(way // step + 1 for way, step in _steps(layer, size))
    biases = outputs * layer.out_channels if layer.bias is not None else 0
    return cost.conv_macs(layer, size) + biases


@known("a product and its addition are one multiply-accumulate, not two")
def _two_operations(layer: nn.Conv2d, size: Size) -> int:
    return 2 * cost.conv_macs(layer, size)


@known("padding stands on both sides: 2 * padding")
def _padding_on_one_side(layer: nn.Conv2d, size: Size) -> int:
    return cost.conv_macs(layer, [n - p for n, p in zip(size, layer.padding, strict=True)])


@known("kernel_size, stride and padding are pairs: [0] for the height, [1] for the width")
def _heights_only(layer: nn.Conv2d, size: Size) -> int:
    pairs = ("kernel_size", "stride", "padding", "dilation")
    squares = {name: (getattr(layer, name)[0],) * 2 for name in pairs}
    return cost.conv_macs(_with(layer, **squares), size)


@known("an output sees the channels of its own group: in_channels // groups")
def _groups_forgotten(layer: nn.Conv2d, size: Size) -> int:
    return cost.conv_macs(_with(layer, groups=1), size)


MISTAKES = (
    _not_rounded_down,  # first: it may have the right value, and then is wrong by its type
    _no_plus_1,
    _bias,
    _two_operations,
    _padding_on_one_side,
    _heights_only,
    _groups_forgotten,
)


def _watched(layer: nn.Conv2d, size: Size) -> tuple[int, torch.Size]:
    """The count by PyTorch, two operations a multiply-accumulate, and the shape that comes out."""
    image = torch.empty(1, layer.in_channels, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        output = copy.deepcopy(layer).to("meta")(image)
    return counter.get_total_flops() // 2, output.shape[1:]


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[nn.Conv2d, Size]]]:
    one_to_three, channels = (lambda: rng.randint(1, 3)), (lambda: rng.randint(2, 6))

    def two(numbers: range) -> Size:
        """Two of the numbers that differ."""
        return tuple(rng.sample(numbers, 2))

    def case(least: int = 7, **options: Any) -> tuple[nn.Conv2d, Size]:
        options = {"kernel_size": rng.randint(2, 4), **options}
        layer = nn.Conv2d(
            options.pop("inputs", channels()), options.pop("outputs", channels()), **options
        )
        return layer, two(range(least, least + 6))

    def strided(**options: Any) -> tuple[nn.Conv2d, Size]:
        """Down and across the last step does not fit in whole."""
        while True:
            layer, size = case(**options)
            if all(way % step for way, step in _steps(layer, size)):
                return layer, size

    def grouped(in_each: int, out_of_each: int) -> tuple[nn.Conv2d, Size]:
        groups = rng.randint(2, 4)
        return case(inputs=groups * in_each, outputs=groups * out_of_each, groups=groups, padding=1)

    def pairs(**options: Any) -> tuple[nn.Conv2d, Size]:
        return case(
            kernel_size=two(range(2, 6)), stride=two(range(1, 4)), padding=two(range(3)), **options
        )

    yield case
    yield lambda: case(kernel_size=rng.randint(3, 5), padding=rng.randint(1, 2))
    yield lambda: strided(stride=rng.randint(2, 3))
    yield lambda: strided(kernel_size=3, stride=2, padding=1, bias=False)
    yield pairs
    yield lambda: grouped(rng.randint(2, 3), one_to_three())
    yield lambda: grouped(1, 1)  # depthwise
    yield lambda: case(kernel_size=3, dilation=rng.randint(2, 3), least=10)
    yield lambda: pairs(dilation=two(range(1, 4)), least=16)
    yield lambda: case(kernel_size=1, bias=rng.random() < 0.5)
    yield lambda: (nn.Conv2d(1, channels(), (5, 3), padding=(2, 1)), (1, rng.randint(1, 9)))
    yield lambda: case(inputs=4, outputs=6, kernel_size=(3, 2), groups=2, dilation=(2, 1), stride=3)


def _macs(layer: nn.Conv2d, size: Size) -> int:
    return _watched(layer, size)[0]


def _wrong_macs(given: Any, right: int, layer: nn.Conv2d, size: Size) -> Wrong | None:
    if whole(given) is None:
        return Wrong("return one whole number (int)", expected=right, given=given)
    if whole(given) != right:
        _, output = _watched(layer, size)
        return Wrong(
            f"the layer gives {' x '.join(map(str, output))} numbers, "
            f"each a sum of {right // output.numel()} products",
            expected=right,
            given=given,
        )
    return None


conv_macs = Exercise(
    "conv_macs",
    by_cases(_cases, _macs, _wrong_macs, mistakes=MISTAKES, alike=count),
    reference=cost.conv_macs,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
