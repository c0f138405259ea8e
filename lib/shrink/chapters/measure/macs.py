"""An exercise of chapter 01: the multiply-accumulates of a convolution.

The oracle is PyTorch's own counter, which watches the convolution run.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, whole

Size = tuple[int, int]
_Count = Callable[[nn.Conv2d, Size], Any]


def _as_if(**changes: Callable[[nn.Conv2d], Any]) -> _Count:
    """The right count for a layer that has something else in place of what it has."""

    def conv_macs(layer: nn.Conv2d, size: Size) -> int:
        seen = ("in_channels", "out_channels", "groups", "kernel_size")
        seen = (*seen, "stride", "padding", "dilation")
        other = {name: getattr(layer, name) for name in seen}
        other |= {name: change(layer) for name, change in changes.items()}
        return cost.conv_macs(SimpleNamespace(**other), size)

    return conv_macs


def _first(name: str) -> Callable[[nn.Conv2d], Size]:
    return lambda layer: (getattr(layer, name)[0],) * 2


def _steps(layer: nn.Conv2d, size: Size) -> list[Size]:
    """Down and across: how many pixels the kernel can move, and how many it moves at a time."""
    return [
        (n + 2 * p - d * (k - 1) - 1, s)
        for n, p, d, k, s in zip(
            size, layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True
        )
    ]


def _products(layer: nn.Conv2d) -> int:
    """What a place takes, of all channels."""
    return layer.weight.numel()


def _places(places: Callable[[int, int], float]) -> _Count:
    """A count that is right but for how many steps the kernel takes."""
    return lambda layer, size: (
        math.prod(places(way, step) for way, step in _steps(layer, size)) * _products(layer)
    )


def _outputs(layer: nn.Conv2d, size: Size) -> int:
    return layer.out_channels * math.prod(way // step + 1 for way, step in _steps(layer, size))


def _times(factor: Callable[[nn.Conv2d], float]) -> _Count:
    return lambda layer, size: int(cost.conv_macs(layer, size) * factor(layer))


def _one_side(layer: nn.Conv2d, size: Size) -> int:
    return cost.conv_macs(layer, [n - p for n, p in zip(size, layer.padding, strict=True)])


def _with_bias(layer: nn.Conv2d, size: Size) -> int:
    biases = _outputs(layer, size) if layer.bias is not None else 0
    return cost.conv_macs(layer, size) + biases


def _without_padding_zeros(layer: nn.Conv2d, size: Size) -> int:
    """Only products with pixels of the image."""
    products = layer.out_channels * layer.in_channels // layer.groups
    for axis, (way, step) in enumerate(_steps(layer, size)):
        k, d, p = (getattr(layer, n)[axis] for n in ("kernel_size", "dilation", "padding"))
        starts = range(-p, way - p + 1, step)
        products *= sum(0 <= at + d * i < size[axis] for at in starts for i in range(k))
    return products


def _reach_for_products(layer: nn.Conv2d, size: Size) -> int:
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    return _outputs(layer, size) * layer.in_channels // layer.groups * math.prod(reach)


def _dilation_times_kernel(layer: nn.Conv2d, size: Size) -> int:
    less = [d - 1 for d in layer.dilation]
    return cost.conv_macs(layer, [n - m for n, m in zip(size, less, strict=True)])


MISTAKES = (
    Mistake(  # first: it may have the right value, and then is wrong by its type
        "not rounded down",
        _places(lambda way, step: way / step + 1),
        "the kernel takes a whole number of steps: // rounds down and gives an int, / does not",
    ),
    Mistake("no +1", _places(lambda way, step: way // step), "the first place counts too: + 1"),
    Mistake(
        "rounded up",
        _places(lambda way, step: -(-way // step) + 1),
        "where the last step does not fit in whole, there is none: round down",
    ),
    Mistake(
        "input size",
        lambda layer, size: math.prod(size) * _products(layer),
        "the kernel does not stand at every pixel: count the numbers that come out",
    ),
    Mistake(
        "one place",
        lambda layer, size: _products(layer),
        "these are the layer's weights; each is used at every place of the kernel",
    ),
    Mistake(
        "kernel not squared",
        _times(lambda layer: 1 / layer.kernel_size[1]),
        "a kernel has a height and a width: kernel_size[0] * kernel_size[1] products a channel",
    ),
    Mistake("no kernel", _outputs, "this is how many numbers come out: each is a sum of products"),
    Mistake(
        "input channels forgotten",
        _as_if(in_channels=lambda layer: layer.groups),
        "each output sums over the input channels too",
    ),
    Mistake(
        "output channels forgotten",
        _as_if(out_channels=lambda layer: 1),
        "this is one output channel; there are out_channels of them",
    ),
    Mistake("bias", _with_bias, "adding the bias is no product: leave it out"),
    Mistake(
        "two operations",
        _times(lambda layer: 2),
        "a product and its addition are one multiply-accumulate, not two",
    ),
    Mistake(
        "padding forgotten",
        _as_if(padding=lambda layer: (0, 0)),
        "padding makes the image larger before the kernel moves over it",
    ),
    Mistake("padding on one side", _one_side, "padding stands on both sides: 2 * padding"),
    Mistake(
        "padding zeros left out",
        _without_padding_zeros,
        "products with the zeros of the padding count: the machine computes them",
    ),
    Mistake(
        "stride forgotten",
        _as_if(stride=lambda layer: (1, 1)),
        "the kernel moves by stride pixels, so it takes fewer places",
    ),
    Mistake(
        "height and width exchanged",
        lambda layer, size: cost.conv_macs(layer, size[::-1]),
        "height comes first, in size as in kernel_size, stride and padding",
    ),
    Mistake(
        "kernel height squared",
        _times(lambda layer: layer.kernel_size[0] / layer.kernel_size[1]),
        "a kernel need not be square: its height times its width, not its height squared",
    ),
    Mistake(
        "kernel height twice",
        _as_if(kernel_size=_first("kernel_size")),
        "a kernel need not be square: kernel_size[0] down, kernel_size[1] across",
    ),
    Mistake(
        "heights only",
        _as_if(**{n: _first(n) for n in ("kernel_size", "stride", "padding", "dilation")}),
        "kernel_size, stride and padding are pairs: [0] for the height, [1] for the width",
    ),
    *(
        Mistake(
            f"{' and '.join(names)}: heights only",
            _as_if(**{name: _first(name) for name in names}),
            f"{' and '.join(names)}: pairs, [0] for the height and [1] for the width",
        )
        for names in (("stride",), ("padding",), ("stride", "padding"))
    ),
    Mistake(
        "groups forgotten",
        _as_if(groups=lambda layer: 1),
        "an output sees the channels of its own group: in_channels // groups",
    ),
    Mistake(
        "groups twice",
        _times(lambda layer: 1 / layer.groups),
        "divide by groups once: all out_channels come out, each from in_channels // groups",
    ),
    Mistake(
        "dilation forgotten",
        _as_if(dilation=lambda layer: (1, 1)),
        "with dilation d a kernel of k pixels reaches over d * (k - 1) + 1",
    ),
    Mistake(
        "dilation times kernel",
        _dilation_times_kernel,
        "a kernel of k pixels has k - 1 gaps: it reaches over d * (k - 1) + 1, not d * k",
    ),
    Mistake(
        "reach for products",
        _reach_for_products,
        "dilation moves the kernel's numbers apart; it does not make more of them",
    ),
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


def _check_conv_macs(answer: Attempt, rng: random.Random) -> None:
    for layer, size in telling(_cases(rng), cost.conv_macs, MISTAKES, count):
        right, output = _watched(layer, size)
        given = answer(layer, size, alike=count)
        if whole(given) is None:
            raise Wrong("return one whole number (int)", expected=right, given=given)
        if whole(given) != right:
            raise Wrong(
                f"the layer gives {' x '.join(map(str, output))} numbers, "
                f"each a sum of {right // output.numel()} products",
                expected=right,
                given=given,
            )


conv_macs = Exercise(
    "conv_macs",
    _check_conv_macs,
    reference=cost.conv_macs,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
