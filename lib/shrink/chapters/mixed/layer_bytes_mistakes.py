"""Known mistakes of chapter 11's exercise on the bytes of an allocation."""

import math
from collections.abc import Callable, Mapping

from shrink.classroom.exercises.attempt import Mistake

Shapes = Mapping[str, tuple[int, ...]]
Bits = Mapping[str, int]
Numbers = Callable[[int, int], float]  # how many weights, bits of each → bytes
Scales = Callable[[tuple[int, ...], bool], int]  # a weight's shape, one for each output → how many

FLOAT = 4  # bytes of a float32


def _packed(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def _one_or_each(shape: tuple[int, ...], per_channel: bool) -> int:
    return shape[0] if per_channel else 1


def _floats(shape: tuple[int, ...]) -> int:
    return FLOAT * math.prod(shape)


def _answer(
    numbers: Numbers = _packed,
    scales: Scales = _one_or_each,
    unlisted: Callable[[tuple[int, ...]], int] = _floats,
) -> Callable[[Shapes, Bits, bool], float]:
    """An answer with these parts, by default the right ones."""

    def allocation_bytes(shapes: Shapes, bits: Bits, per_channel: bool) -> float:
        total = 0
        for name, shape in shapes.items():
            if name in bits:
                total += numbers(math.prod(shape), bits[name]) + FLOAT * scales(shape, per_channel)
            else:
                total += unlisted(shape)
        return total

    return allocation_bytes


def _of_scales(shapes: Shapes, bits: Bits, per_channel: bool) -> int:
    return sum(FLOAT * _one_or_each(shapes[name], per_channel) for name in bits)


def _of_floats(shapes: Shapes, bits: Bits) -> int:
    return sum(_floats(shape) for name, shape in shapes.items() if name not in bits)


def _average(shapes: Shapes, bits: Bits, per_channel: bool) -> float:
    mean = sum(bits.values()) / max(1, len(bits))
    count = sum(math.prod(shapes[name]) for name in bits)
    packed = math.ceil(count * mean / 8)
    return packed + _of_scales(shapes, bits, per_channel) + _of_floats(shapes, bits)


def _rounded_once(shapes: Shapes, bits: Bits, per_channel: bool) -> int:
    total = sum(math.prod(shapes[name]) * width for name, width in bits.items())
    return -(-total // 8) + _of_scales(shapes, bits, per_channel) + _of_floats(shapes, bits)


MISTAKES = (
    Mistake(
        "average bits",
        _average,
        "this is the mean of the bits, each layer counting the same, times all weights: a layer "
        "with 1000 weights counts 100 times as much as one with 10. Add up layer by layer",
    ),
    Mistake(
        "bits for bytes",
        _answer(lambda count, bits: count * bits),
        "weights times bits gives bits, and the scales beside them are in bytes: eight bits make "
        "one byte",
    ),
    Mistake(
        "no scales",
        _answer(scales=lambda *_: 0),
        "the integers alone stand for nothing: w is about scale · q, so each scale is stored too, "
        "in 4 bytes",
    ),
    Mistake(
        "rounded once",
        _rounded_once,
        "you add up the bits of all layers and round once. Each layer is an array of its own and "
        "begins at a new byte, so each is rounded up by itself",
    ),
    Mistake(
        "rounded down",
        _answer(lambda count, bits: count * bits // 8),
        "// 8 drops the last bits where they do not fill a byte, and they need one too: round up, "
        "for example with (n + 7) // 8",
    ),
    Mistake(
        "scales of the wrong axis",
        _answer(scales=lambda shape, per_channel: shape[1] if per_channel else 1),
        "these are as many scales as there are inputs: the outputs are the first axis of a weight, "
        "shape[0]",
    ),
    Mistake(
        "one scale each",
        _answer(scales=lambda *_: 1),
        "with per_channel=True each output has a scale of its own, not only each layer",
    ),
    Mistake(
        "float layers free",
        _answer(unlisted=lambda _: 0),
        "a layer that is not in bits is stored as well: it stays float32, with 4 bytes per weight",
    ),
    Mistake(
        "floats with a scale",
        lambda shapes, bits, per_channel: sum(
            _packed(math.prod(shape), bits.get(name, 32)) + FLOAT * _one_or_each(shape, per_channel)
            for name, shape in shapes.items()
        ),
        "you count a scale for the layers that stay float32: their numbers are the weights "
        "themselves, so there is nothing to scale",
    ),
)
