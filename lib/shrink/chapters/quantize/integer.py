"""Exercises of chapter 03: a linear layer in integers, its sums and the whole of it.

The oracles are numpy's 64-bit integers and Python's integers, which have no end.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize.fixed_points import nearest_fixed_point
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.quantization import integer

_INT32 = 2**31


def _int8(rng: random.Random, rows: int, columns: int, low: int = -128, high: int = 127) -> Tensor:
    numbers = [[rng.randint(low, high) for _ in range(columns)] for _ in range(rows)]
    return torch.tensor(numbers, dtype=torch.int8)


def _int32(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def _numbers(result: Any) -> Any:
    """A tensor's numbers in lists, the same whatever its type is; anything else as it is."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    numbers = result.detach().cpu()
    if numbers.dtype.is_floating_point and bool((numbers.double() == numbers.round()).all()):
        numbers = numbers.double().clamp(-(2.0**62), 2.0**62).long()
    return numbers.tolist()


def _compare(
    given: Any, lowest: np.ndarray, highest: np.ndarray, dtype: torch.dtype, what: str
) -> None:
    """Whether each number is one of the two that are right, which differ at halves only."""
    right = torch.from_numpy(highest).to(dtype)
    if not isinstance(given, Tensor) or given.layout != torch.strided:
        raise Wrong("return a tensor", expected=right, given=given)
    if given.shape != right.shape:
        raise Wrong(
            f"{what}: a row for each of the {right.shape[0]} inputs, "
            f"a column for each of the {right.shape[1]} outputs",
            expected=right,
            given=given,
        )
    mine = given.detach().cpu().double().numpy()
    wrong = np.argwhere((mine < lowest) | (mine > highest) | (mine != np.rint(mine)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise Wrong(
            f"{what}[{row}, {column}] is {highest[row, column]}, not {mine[row, column]:.12g}",
            expected=right,
            given=given,
        )
    if given.dtype != dtype:
        raise Wrong(
            f"the numbers are right, but they are to be {dtype}: convert the result",
            expected=str(dtype),
            given=str(given.dtype),
            known_mistakes=False,
        )


def _sums(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> np.ndarray:
    x, w, b = (tensor.cpu().numpy().astype(np.int64) for tensor in (q_x, q_w, q_b))
    return (x - z_x) @ w.T + b


def _accumulate(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
    """The exact sums of (q_x - z_x) · q_w, plus q_b: int32 (n, outputs)."""
    sums = integer.matmul(q_x, q_w).long() - z_x * q_w.sum(1) + q_b
    return sums.int()


def _in_type(dtype: torch.dtype) -> Callable[..., Tensor]:
    """Everything computed in another type, after the zero point has come off."""

    def accumulate(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
        return ((q_x.to(dtype) - z_x) @ q_w.to(dtype).T + q_b).to(torch.int32)

    return accumulate


def _of(x: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Right but for how the zero point comes off."""
    return lambda q_x, z_x, q_w, q_b: (x(q_x, z_x).long() @ q_w.long().T + q_b).int()


def _then(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The right sums without the bias, and what becomes of them: change(sums, z_x, q_w, q_b)."""

    def accumulate(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
        return change((q_x.long() - z_x) @ q_w.long().T, z_x, q_w, q_b).int()

    return accumulate


def _products_in_int8(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
    products = (q_x[:, None] * q_w).sum(2)
    return (products - z_x * q_w.sum(1) + q_b).int()


def _transposed(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
    return ((q_x.int() - z_x) @ q_w.int() + q_b).int()


def _both_zero_points(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
    return ((q_x.int() - z_x) @ (q_w.int() - z_x).T + q_b).int()


ACCUMULATE_MISTAKES = (
    Mistake(
        "subtracts in int8",
        _of(lambda q_x, z_x: q_x - z_x),
        "int8 less a number is int8, and wraps: 100 - (-100) gives -56; widen q_x first, .int()",
    ),
    Mistake(
        "multiplies in int8",
        lambda q_x, z_x, q_w, q_b: ((q_x - z_x) @ q_w.T + q_b).int(),
        "all is in int8, which wraps beyond 127: widen q_x and q_w first, .int()",
    ),
    Mistake(
        "products in int8",
        _products_in_int8,
        "int8 times int8 is int8, so the products wrapped before they were added up: widen first",
    ),
    Mistake(
        "adds up in int16",
        _in_type(torch.int16),
        "a product fits into int16, a sum of a few does not, and wraps beyond 32767: take int32",
    ),
    Mistake(
        "float16",
        _in_type(torch.float16),
        "float16 holds whole numbers up to 2048 only without rounding: add up in int32",
    ),
    Mistake(
        "float32",
        _in_type(torch.float32),
        "float32 holds whole numbers up to 2**24 only without rounding, and some 500 products can "
        "pass that: add up in int32",
    ),
    Mistake(
        "zero point forgotten",
        _of(lambda q_x, z_x: q_x),
        "q_x stands for a real number by q_x - z_x: subtract the zero point",
    ),
    Mistake(
        "zero point added",
        _of(lambda q_x, z_x: q_x.int() + z_x),
        "the zero point is subtracted: q_x - z_x is 0 where the real number is",
    ),
    Mistake(
        "zero point once",
        _then(lambda sums, z_x, q_w, q_b: sums + z_x * q_w.long().sum(1) + q_b - z_x),
        "the zero point comes off each q_x before it is multiplied, not off the sum",
    ),
    Mistake(
        "zero point from both",
        _both_zero_points,
        "z_x is the zero point of q_x alone; that of the weights is 0",
    ),
    Mistake(
        "bias forgotten", _then(lambda sums, z_x, q_w, q_b: sums), "the bias q_b is missing: add it"
    ),
    Mistake(
        "bias by rows",
        _then(lambda sums, z_x, q_w, q_b: sums + q_b[:, None]),
        "there is a bias for each output, a column of the result: + q_b, not + q_b[:, None]",
    ),
    Mistake(
        "weights transposed",
        _transposed,
        "a row of q_w belongs to an output: multiply by q_w.T",
    ),
    Mistake(
        "saturated",
        _then(lambda sums, z_x, q_w, q_b: (sums + q_b).clamp(-128, 127)),
        "nothing saturates here: the sums are int32, and become int8 in a later step",
    ),
    Mistake(
        "cast to int8",
        _then(lambda sums, z_x, q_w, q_b: (sums + q_b).to(torch.int8)),
        "the sums were cut to 8 bits; they are int32, and become int8 in a later step",
    ),
)


def _accumulate_cases(rng: random.Random) -> Iterator[Callable[[], tuple]]:
    def zero_point() -> int:
        return rng.choice([-1, 1]) * rng.randint(20, 120)

    def case(n: int, k: int, m: int, z_x: int | None = None) -> tuple:
        bias = _int32([rng.choice([-1, 1]) * rng.randint(100, 90_000) for _ in range(m)])
        z_x = zero_point() if z_x is None else z_x
        return _int8(rng, n, k), z_x, _int8(rng, m, k), bias

    def large_sums() -> tuple:
        """Products of one sign, many of them: sums far beyond 2**24."""
        q_x, bias = _int8(rng, 3, 3000, low=20), _int32([rng.randint(-99, 99) for _ in range(4)])
        return q_x, rng.randint(-128, -100), _int8(rng, 4, 3000, low=50), bias

    def largest_sums() -> tuple:
        """Nearly as large as int32 holds."""
        x, z, w = rng.choice([(127, -128, 127), (-128, 127, 127), (127, -128, -128)])
        k = (_INT32 - 1000) // abs((x - z) * w)
        q_x = torch.full((1, k), x, dtype=torch.int8)
        return q_x, z, torch.full((1, k), w, dtype=torch.int8), _int32([rng.randint(-999, 999)])

    def strided() -> tuple:
        q_x, z_x, q_w, q_b = case(4, 4, 4)
        return q_x.t(), z_x, q_w[:, ::2].repeat(1, 2).t(), q_b

    yield lambda: case(3, 3, 3)
    yield lambda: case(2, 4, 3)
    yield lambda: case(2, 4, 2, z_x=0)
    yield lambda: case(1, 1, 1, z_x=rng.choice([-128, 127]))
    yield lambda: case(rng.randint(4, 6), rng.randint(60, 90), rng.randint(7, 9))
    yield large_sums
    yield largest_sums
    yield strided


def _check_accumulate(answer: Attempt, rng: random.Random) -> None:
    cases = telling(_accumulate_cases(rng), _accumulate, ACCUMULATE_MISTAKES, _numbers)
    for q_x, z_x, q_w, q_b in cases:
        right = _sums(q_x, z_x, q_w, q_b)
        given = answer(q_x, z_x, q_w, q_b, alike=_numbers)
        _compare(given, right, right, torch.int32, "sums")


accumulate = Exercise(
    "accumulate",
    _check_accumulate,
    reference=_accumulate,
    core=False,
    minutes=10,
    mistakes=ACCUMULATE_MISTAKES,
)


def _integer_linear(
    q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
) -> Tensor:
    """A linear layer in integers: z_y + round(sums · multiplier / 2**shift), int8 (n, outputs)."""
    sums = _accumulate(q_x, z_x, q_w, q_b)
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
        return finish(_accumulate(q_x, z_x, q_w, q_b).long(), multiplier, shift, z_y)

    return integer_linear


def _scaled(scale: Callable[[Tensor, int, int], Tensor]) -> Callable[..., Tensor]:
    """Right but for how the sums are scaled: scale(sums, multiplier, shift)."""
    return _after_sums(lambda sums, m, s, z_y: _saturated(scale(sums, m, s) + z_y))


def _other_sums(sums: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def integer_linear(
        q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
    ) -> Tensor:
        return _saturated(_shifted(sums(q_x, z_x, q_w, q_b), multiplier, shift) + z_y)

    return integer_linear


def _bias_after(
    q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, multiplier: int, shift: int, z_y: int
) -> Tensor:
    sums = _accumulate(q_x, z_x, q_w, torch.zeros_like(q_b))
    return _saturated(_shifted(sums, multiplier, shift) + q_b + z_y)


def _towards_zero(numbers: Tensor, shift: int) -> Tensor:
    return torch.div(numbers, 2**shift, rounding_mode="trunc")


def _rounds_twice(sums: Tensor, multiplier: int, shift: int) -> Tensor:
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
        "towards zero",
        _scaled(lambda sums, m, s: _towards_zero(sums * m, s)),
        "the fraction is cut off, towards zero; round to the nearest",
    ),
    Mistake(
        "half added, then towards zero",
        _scaled(lambda sums, m, s: _towards_zero(sums * m + (1 << (s - 1)), s)),
        "after a half is added, round down, as >> does; negative numbers went towards zero",
    ),
    Mistake(
        "a whole added",
        _scaled(lambda sums, m, s: (sums * m + (1 << s)) >> s),
        "this rounds up: add half of 2**shift before the shift, 1 << (shift - 1), not all of it",
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
        _scaled(_rounds_twice),
        "rounded after the first 31 bits and after the rest again: round once, at the end",
    ),
    Mistake(
        "shift of 31",
        _scaled(lambda sums, m, s: _shifted(sums, m, 31)),
        "the product is to be shifted to the right by `shift`, which may be more than 31, or less",
    ),
    Mistake(
        "multiplier forgotten",
        _scaled(lambda sums, m, s: _shifted(sums, 2**30, s)),
        "a shift alone is a power of two: multiply first",
    ),
    Mistake(
        "no clamp",
        _after_sums(lambda sums, m, s, z_y: (_shifted(sums, m, s) + z_y).to(torch.int8)),
        "int8 wraps, 130 becomes -126: clamp to -128..127 before you convert",
    ),
    Mistake(
        "clamp before the zero point",
        _after_sums(
            lambda sums, m, s, z_y: _saturated(_saturated(_shifted(sums, m, s)).int() + z_y)
        ),
        "the zero point comes first, then the clamp: what is clamped is what int8 must hold",
    ),
    Mistake(
        "zero point after the cast",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums, m, s)) + z_y),
        "int8 plus the zero point is int8 and wraps: add it first, then clamp and convert",
    ),
    Mistake(
        "clamp to uint8",
        _after_sums(lambda sums, m, s, z_y: (_shifted(sums, m, s) + z_y).clamp(0, 255).char()),
        "int8 goes from -128 to 127, not from 0 to 255",
    ),
    Mistake(
        "clamp to -127",
        _after_sums(
            lambda sums, m, s, z_y: _saturated((_shifted(sums, m, s) + z_y).clamp(min=-127))
        ),
        "-128 is one of the results too; only the weights do without it",
    ),
    Mistake(
        "z_y forgotten",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums, m, s))),
        "the zero point of the result, z_y, is missing",
    ),
    Mistake(
        "z_y subtracted",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums, m, s) - z_y)),
        "z_y is added: a real 0 is the integer z_y",
    ),
    Mistake(
        "z_y scaled",
        _after_sums(lambda sums, m, s, z_y: _saturated(_shifted(sums + z_y, m, s))),
        "z_y was added to the sums, before they were scaled; it comes after the shift",
    ),
    Mistake(
        "z_x forgotten",
        _other_sums(lambda q_x, z_x, q_w, q_b: _accumulate(q_x, 0, q_w, q_b)),
        "the sums are of q_x - z_x, as in accumulate",
    ),
    Mistake(
        "bias forgotten",
        _other_sums(lambda q_x, z_x, q_w, q_b: _accumulate(q_x, z_x, q_w, torch.zeros_like(q_b))),
        "the bias q_b is missing from the sums",
    ),
    Mistake(
        "bias not scaled",
        _bias_after,
        "the bias belongs to the sums: add it before they are multiplied and shifted",
    ),
)


def _both(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor, *factor: int) -> tuple:
    """The result by Python's integers: the lower and the higher neighbour where it is a half."""
    multiplier, shift, z_y = factor
    products = _sums(q_x, z_x, q_w, q_b).astype(object) * multiplier
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
        bias = _int32([rng.choice([-1, 1]) * rng.randint(2000, 20_000) for _ in range(m)])
        layer = _int8(rng, n, k), zero_point(), _int8(rng, m, k, low=-127), bias
        return *layer, *factor(int(_sums(*layer).std()) + 1), zero_point()

    def exactly(sums: list[int], multiplier: int, shift: int, z_y: int | None = None) -> tuple:
        """With a bias that makes the sums these."""
        q_x, z_x, q_w = _int8(rng, 1, 3), zero_point(), _int8(rng, len(sums), 3, low=-127)
        others = _sums(q_x, z_x, q_w, _int32([0] * len(sums)))[0].tolist()
        q_b = _int32([s - other for s, other in zip(sums, others, strict=True)])
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

    def beyond_float64() -> tuple:
        """Just below a half: the product takes 62 bits, and a float64 has 53."""
        return exactly([15 * (2**27 - 1)], 13 * (2**27 + 1), 55, 0)

    yield beyond_float64
    yield lambda: case(5, 70, 9)
    yield lambda: exactly(
        [rng.randint(-20, 20) for _ in range(8)], *nearest_fixed_point(rng.uniform(3, 9))
    )
    yield lambda: exactly([rng.randint(-9, 9) for _ in range(8)], 2**30, 27, -128)
    yield lambda: exactly(odd(8), 2**30, 31, 0)  # halves


def _check_integer_linear(answer: Attempt, rng: random.Random) -> None:
    for case in telling(_linear_cases(rng), _integer_linear, LINEAR_MISTAKES, _numbers):
        given = answer(*case, alike=_numbers)
        _compare(given, *_both(*case), torch.int8, "y")


integer_linear = Exercise(
    "integer_linear",
    _check_integer_linear,
    reference=_integer_linear,
    core=False,
    minutes=15,
    mistakes=LINEAR_MISTAKES,
)
