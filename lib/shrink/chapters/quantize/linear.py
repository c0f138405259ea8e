"""An exercise of chapter 03: a linear layer in integers, scaled by a multiplier and a shift.

The oracle is Python's integers, which have no end.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize.fixed_points import nearest_fixed_point
from shrink.chapters.quantize.sums import (
    SUM_MISTAKES,
    exact_sums,
    int8_matrix,
    int32_vector,
    numbers_alone,
    reference_sums,
    wrong_numbers,
)
from shrink.classroom.exercises.attempt import Mistake
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part


def _integer_linear(
    q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
) -> Tensor:
    """A linear layer in integers: z_y + round(sums · multiplier / 2**shift), int8 (n, outputs)."""
    sums = reference_sums(q_x, z_x, q_w, q_b)
    return _saturated(_shifted(sums, multiplier, shift) + z_y)


def _shifted(sums: Tensor, multiplier: int, shift: int) -> Tensor:
    return (sums.long() * multiplier + (1 << (shift - 1))) >> shift


def _saturated(y: Tensor) -> Tensor:
    return y.clamp(-128, 127).to(torch.int8)


def _after_sums(finish: Callable[[Tensor, int, int, int], Tensor]) -> Callable[..., Tensor]:
    """The right sums, int64, and a way on from there: finish(sums, multiplier, shift, z_y)."""

    def integer_linear(
        q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
    ) -> Tensor:
        return finish(reference_sums(q_x, z_x, q_w, q_b).long(), multiplier, shift, z_y)

    return integer_linear


def _scaled(scale: Callable[[Tensor, int, int], Tensor]) -> Callable[..., Tensor]:
    """An answer that scales the sums in another way: scale(sums, multiplier, shift)."""
    return _after_sums(lambda sums, m, s, z_y: _saturated(scale(sums, m, s) + z_y))


def _rounded_twice(sums: Tensor, multiplier: int, shift: int) -> Tensor:
    high = (sums * multiplier + 2**30) >> 31
    return (high + (1 << (shift - 32))) >> (shift - 31) if shift > 31 else high << (31 - shift)


LINEAR_MISTAKES = (
    Mistake(
        "product in int32",
        _scaled(lambda sums, m, s: ((sums.int() * m).long() + (1 << (s - 1))) >> s),
        "sum times multiplier takes 62 bits, and int32 wraps: sums.long() before you multiply",
    ),
    Mistake(
        "rounded down",
        _scaled(lambda sums, m, s: (sums * m) >> s),
        "a shift to the right rounds down: add half of 2**shift before it",
    ),
    Mistake(
        "float64",
        _scaled(lambda sums, m, s: torch.round(sums.double() * m / 2**s).long()),
        "float64 has 53 bits and the product 62, so near a half it is rounded to the other side; "
        "whole numbers and a shift are exact",
    ),
    Mistake(
        "float32",
        _scaled(lambda sums, m, s: torch.round(sums.int() * (m / 2**s)).long()),
        "integers times a Python float give float32, which has 24 bits, and near a half that "
        "decides wrongly: multiply and shift in int64",
    ),
    Mistake(
        "rounds twice",
        _scaled(_rounded_twice),
        "rounded after the first 31 bits and after the rest again: round once, at the end",
    ),
    Mistake(
        "no clamp",
        _after_sums(lambda sums, m, s, z_y: (_shifted(sums, m, s) + z_y).to(torch.int8)),
        "int8 wraps, 130 becomes -126: clamp to -128..127 before you convert",
    ),
    Mistake(
        "zero point after the cast",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums, m, s)) + z_y),
        "int8 plus the zero point is int8 and wraps: add it first, then clamp and convert",
    ),
    Mistake(
        "z_y forgotten",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums, m, s))),
        "the zero point of the result, z_y, is missing",
    ),
)


def _both(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, *factor: int) -> tuple:
    """The result by Python's integers: the lower and the higher neighbour where it is a half."""
    multiplier, shift, z_y = factor
    products = exact_sums(q_x, z_x, q_w, q_b).astype(object) * multiplier
    lowest = np.vectorize(lambda p: -((2**shift - 2 * p) // 2 ** (shift + 1)) + z_y, [object])
    highest = np.vectorize(lambda p: (2**shift + 2 * p) // 2 ** (shift + 1) + z_y, [object])
    return tuple(np.clip(f(products), -128, 127).astype(np.int64) for f in (lowest, highest))


def _linear_cases(rng: random.Random) -> Iterator[Callable[[], tuple]]:
    def zero_point() -> int:
        return rng.choice([-1, 1]) * rng.randint(10, 60)

    def factor(size: int) -> tuple[int, int]:
        """With which most sums of this size fit into int8, and some do not."""
        return nearest_fixed_point(rng.uniform(90, 130) / size)

    def case(n: int, k: int, m: int) -> tuple:
        bias = int32_vector([rng.choice([-1, 1]) * rng.randint(2000, 20_000) for _ in range(m)])
        layer = int8_matrix(rng, n, k), zero_point(), int8_matrix(rng, m, k, low=-127), bias
        return *layer, *factor(int(exact_sums(*layer).std()) + 1), zero_point()

    def exactly(sums: list[int], multiplier: int, shift: int, z_y: int | None = None) -> tuple:
        """With a bias that makes the sums these."""
        q_x, z_x = int8_matrix(rng, 1, 3), zero_point()
        q_w = int8_matrix(rng, len(sums), 3, low=-127)
        others = exact_sums(q_x, z_x, q_w, int32_vector([0] * len(sums)))[0].tolist()
        q_b = int32_vector([s - other for s, other in zip(sums, others, strict=True)])
        return q_x, z_x, q_w, q_b, multiplier, shift, rng.randint(-9, 9) if z_y is None else z_y

    def odd(number: int) -> list[int]:
        return [rng.choice([-1, 1]) * n for n in rng.sample(range(1, 200, 2), number)]

    def saturating() -> tuple:
        """Far beyond the ends, and a little; within only without the zero point, or with it."""
        z_y, (multiplier, shift) = zero_point(), factor(20_000)
        wanted = [300, -300, 200 - z_y, -200 - z_y, -128 - z_y, 127 - z_y, 140, -140, 0, 30, -30]
        sums = [round(y * 2**shift / multiplier) for y in wanted]
        return exactly(rng.sample(sums, len(sums)), multiplier, shift, z_y)

    def above_halves() -> tuple:
        return exactly(odd(16), 2**30 + rng.randint(1, 30), 31)

    def below_halves() -> tuple:
        places = rng.randint(3, 9)
        halves = [n << (places - 1) for n in odd(16)]
        return exactly(halves, 2**31 - rng.randint(1, 3), 31 + places)

    def huge_sums() -> tuple:
        sums = [rng.choice([-1, 1]) * rng.randint(2**30, 2**31 - 10**6) for _ in range(6)]
        return exactly(sums, *nearest_fixed_point(rng.uniform(50, 120) / 2**31))

    yield lambda: case(3, 4, 4)
    yield saturating
    yield saturating
    yield lambda: case(2, 3, 2)
    yield above_halves
    yield below_halves
    yield huge_sums
    # just below a half: the product takes 62 bits, and a float64 has 53
    yield lambda: exactly([15 * (2**27 - 1)], 13 * (2**27 + 1), 55, 0)
    yield lambda: case(5, 70, 9)
    yield lambda: exactly(
        [rng.randint(-20, 20) for _ in range(8)], *nearest_fixed_point(rng.uniform(3, 9))
    )
    yield lambda: exactly([rng.randint(-9, 9) for _ in range(8)], 2**30, 27, -128)
    yield lambda: exactly(odd(8), 2**30, 31, 0)  # halves


def _parts(*_: object) -> Iterator[Part]:
    """The products alone, and then each step that follows with all others left out."""
    q_x = torch.tensor([[3, -5, 2], [-4, 1, 6]], dtype=torch.int8)
    q_w = torch.tensor([[2, -1, 3], [-3, 4, 1]], dtype=torch.int8)
    alone = {"z_x": 0, "q_b": int32_vector([0, 0]), "factor": (2, 1), "z_y": 0}
    for name, changed in {
        "for the products alone": {},
        "with the zero point z_x": {"z_x": -7},
        "with the bias": {"q_b": int32_vector([30, -20])},
        "with a factor": {"factor": nearest_fixed_point(0.37)},
        "with the zero point z_y": {"z_y": 11},
        "beyond int8": {"factor": (32, 1)},
    }.items():
        z_x, q_b, factor, z_y = (alone | changed).values()
        yield Part(name, (q_x, z_x, q_w, q_b, *factor, z_y))


def _on_wrong_sums(mistake: Mistake) -> Mistake:
    """A mistake of the sums, with the right steps after them."""

    def integer_linear(
        q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
    ) -> Tensor:
        return _saturated(_shifted(mistake(q_x, z_x, q_w, q_b), multiplier, shift) + z_y)

    return replace(mistake, function=integer_linear)


integer_linear = Exercise(
    "integer_linear",
    by_cases(
        _linear_cases,
        _integer_linear,
        lambda given, _, *args: wrong_numbers(given, *_both(*args), torch.int8, "y"),
        mistakes=LINEAR_MISTAKES,
        alike=numbers_alone,
        parts=_parts,
        of_parts=[_on_wrong_sums(mistake) for mistake in SUM_MISTAKES],
    ),
    reference=_integer_linear,
    core=False,
    minutes=15,
    mistakes=LINEAR_MISTAKES,
)
