"""An exercise of chapter 11: the bytes of a network whose layers have bits of their own.

The oracle adds fractions, and rounds each layer up by itself.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from shrink.chapters.mixed.layer_bytes_mistakes import FLOAT, MISTAKES, Bits, Shapes
from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count
from shrink.classroom.exercises.parts import Part
from shrink.quantization import allocation

Case = tuple[Shapes, Bits, bool]


def layer_parts(shape: tuple[int, ...], bits: int | None, per_channel: bool) -> tuple[int, int]:
    """The bytes of a layer's numbers, and those of its scales; `bits` is None for float32."""
    weights = math.prod(shape)
    if bits is None:
        return FLOAT * weights, 0
    return math.ceil(Fraction(weights * bits, 8)), FLOAT * (shape[0] if per_channel else 1)


def right_bytes(shapes: Shapes, bits: Bits, per_channel: bool) -> int:
    return sum(sum(layer_parts(s, bits.get(name), per_channel)) for name, s in shapes.items())


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def shape() -> tuple[int, ...]:
        """Of a fully connected layer, a convolution or a depthwise one; no axis like another."""
        outputs, inputs = rng.sample(range(2, 14), 2)
        return rng.choice([(outputs, inputs), (outputs, inputs, 3, 3), (outputs, 1, 3, 3)])

    def width() -> int:
        return rng.choice([2, 3, 4, 5, 6, 7, 8])

    def case(layers: int, listed: int, per_channel: bool) -> Case:
        shapes = {f"layer{i + 1}": shape() for i in range(layers)}
        chosen = rng.sample(list(shapes), listed)
        return shapes, {name: width() for name in chosen}, per_channel

    def of_small_layers() -> Case:
        """None fills its last byte."""
        shapes = {f"layer{i + 1}": (rng.choice([3, 5, 7]), 3) for i in range(4)}
        return shapes, {name: rng.choice([3, 5, 7]) for name in shapes}, False

    def separable() -> Case:
        """The network of the chapter: a small layer counts little, whatever its bits."""
        convolutions = {"stem": (16, 1, 3, 3), "depthwise1": (16, 1, 3, 3)}
        convolutions["pointwise1"] = (32, 16, 1, 1)
        shapes = convolutions | {"fc": (10, 1568)}
        return shapes, {name: width() for name in shapes}, rng.random() < 0.5

    yield lambda: case(2, 2, False)
    yield lambda: case(3, 2, True)
    yield of_small_layers
    yield lambda: case(4, 3, False)
    yield separable
    yield lambda: case(3, 3, True)
    yield lambda: case(2, 0, rng.random() < 0.5)  # all in float32
    yield lambda: ({"a": (1, 1), "b": (1, 1, 3, 3)}, {"b": width(), "a": width()}, True)
    yield lambda: ({"fc6": (4096, 25088), "fc7": (4096, 4096)}, {"fc7": width()}, True)


def _wrong(given: Any, right: int, shapes: Shapes, bits: Bits, per_channel: bool) -> Wrong | None:
    number = count(given)
    if type(number) is not int:
        half = type(number) is float and math.isfinite(number)
        return Wrong(
            "return a whole number of bytes",
            expected=right,
            given=given,
            known_mistakes=half,
        )
    if number == right:
        return None
    told = [_told(name, s, bits.get(name), per_channel) for name, s in shapes.items()]
    return Wrong("; ".join(told), expected=right, given=given)


def _told(name: str, shape: tuple[int, ...], bits: int | None, per_channel: bool) -> str:
    numbers, scales = layer_parts(shape, bits, per_channel)
    weights = math.prod(shape)
    if bits is None:
        return f"{name}: {weights} weights in float32 are {numbers} bytes"
    how_many = f"{scales // FLOAT} scale{'s' if scales > FLOAT else ''}"
    return f"{name}: {weights} weights of {bits} bits are {numbers} bytes, {how_many} {scales}"


def _parts(*_: Any) -> Iterator[Part]:
    """The integers, the scales and the floats, one thing in each."""
    yield Part("for one layer in 3 bits", ({"fc": (5, 7)}, {"fc": 3}, False))
    yield Part("for two such layers", ({"a": (5, 7), "b": (3, 5)}, {"a": 3, "b": 5}, False))
    yield Part("for one scale per output", ({"fc": (5, 7)}, {"fc": 3}, True))
    yield Part("for a layer in float32", ({"fc": (5, 7)}, {}, False))


def _reference(shapes: Shapes, bits: Bits, per_channel: bool) -> int:
    """The bytes of all layers: integers packed layer by layer, and their scales; or float32.

    >>> allocation_bytes({"conv": (4, 1, 3, 3), "fc": (3, 7)}, {"conv": 3, "fc": 2}, False)
    28
    """
    total = 0
    for name, shape in shapes.items():
        weights = math.prod(shape)
        if name in bits:
            scales = shape[0] if per_channel else 1
            total += allocation.weight_bytes(weights, bits[name], scales)
        else:
            total += FLOAT * weights
    return total


allocation_bytes = Exercise(
    "allocation_bytes",
    by_cases(_cases, right_bytes, _wrong, mistakes=MISTAKES, alike=count, parts=_parts),
    reference=_reference,
    core=True,
    minutes=8,
    mistakes=MISTAKES,
)
