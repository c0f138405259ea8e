"""An exercise of chapter 03: the sums of a linear layer in integers.

The oracle is numpy's 64-bit integers. `integer_linear` goes on from these sums.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.quantization import integer


def int8_matrix(
    rng: random.Random, rows: int, columns: int, low: int = -128, high: int = 127
) -> Tensor:
    numbers = [[rng.randint(low, high) for _ in range(columns)] for _ in range(rows)]
    return torch.tensor(numbers, dtype=torch.int8)


def int32_vector(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def numbers_alone(result: Any) -> Any:
    """A tensor by its numbers, the same whatever its type is; anything else as it is."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    numbers = result.detach().cpu()
    if numbers.dtype.is_floating_point and bool((numbers.double() == numbers.round()).all()):
        numbers = numbers.double().clamp(-(2.0**62), 2.0**62).long()
    return "tensor", numbers.tolist()


def wrong_numbers(
    given: Any, lowest: np.ndarray, highest: np.ndarray, dtype: torch.dtype, what: str
) -> Wrong | None:
    """What is wrong with the answer: not a tensor of this dtype, or a number out of its bounds.

    The bounds, (n, outputs) each, differ only where a number is halfway between two integers.
    """
    right = torch.from_numpy(highest).to(dtype)
    wrong = partial(Wrong, expected=right, given=given)
    if not isinstance(given, Tensor) or given.layout != torch.strided:
        return wrong("return a tensor")
    if given.shape != right.shape:
        return wrong(
            f"{what}: a row for each of the {right.shape[0]} inputs, "
            f"a column for each of the {right.shape[1]} outputs"
        )
    mine = given.detach().cpu().double().numpy()
    off = np.argwhere((mine < lowest) | (mine > highest) | (mine != np.rint(mine)))
    if len(off):
        at = row, column = tuple(off[0].tolist())
        return wrong(f"{what}[{row}, {column}] is {highest[at]}, not {mine[at]:.12g}")
    if given.dtype != dtype:
        return Wrong(
            f"the numbers are right, but they must be {dtype}: convert the result",
            expected=str(dtype),
            given=str(given.dtype),
            known_mistakes=False,
        )
    return None


def exact_sums(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> np.ndarray:
    """The sums by numpy, in 64 bits: (n, outputs)."""
    x, w, b = (tensor.cpu().numpy().astype(np.int64) for tensor in (q_x, q_w, q_b))
    return (x - z_x) @ w.T + b


def reference_sums(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
    """The exact sums of (q_x - z_x) · q_w, plus q_b: int32 (n, outputs)."""
    sums = integer.matmul(q_x, q_w).long() - z_x * q_w.sum(1) + q_b
    return sums.int()


def _in_type(dtype: torch.dtype) -> Callable[..., Tensor]:
    """Everything computed in another type, after the zero point has come off."""

    def accumulate(q_x: Tensor, z_x: int, q_w: Tensor, q_b: Tensor) -> Tensor:
        return ((q_x.to(dtype) - z_x) @ q_w.to(dtype).T + q_b).to(torch.int32)

    return accumulate


SUM_MISTAKES = (
    Mistake(
        "subtracts in int8",
        lambda q_x, z_x, q_w, q_b: ((q_x - z_x).int() @ q_w.int().T + q_b).int(),
        "int8 less a number is int8, and wraps: 100 - (-100) gives -56; widen q_x first, .int()",
    ),
    Mistake(
        "multiplies in int8",
        lambda q_x, z_x, q_w, q_b: ((q_x - z_x) @ q_w.T + q_b).int(),
        "everything is in int8, which wraps beyond 127: widen q_x and q_w first, .int()",
    ),
    Mistake(
        "adds up in int16",
        _in_type(torch.int16),
        "a product fits into int16, a sum of a few does not, and wraps beyond 32767: take int32",
    ),
    Mistake(
        "float32",
        _in_type(torch.float32),
        "float32 is exact for whole numbers up to 2**24 only, and the sum of some 500 products can "
        "be larger: add up in int32",
    ),
    Mistake(
        "zero point forgotten",
        lambda q_x, z_x, q_w, q_b: reference_sums(q_x, 0, q_w, q_b),
        "q_x stands for a real number by q_x - z_x: subtract the zero point",
    ),
    Mistake(
        "zero point added",
        lambda q_x, z_x, q_w, q_b: reference_sums(q_x, -z_x, q_w, q_b),
        "the zero point is subtracted: q_x - z_x is 0 where the real number is",
    ),
    Mistake(
        "zero point once",
        lambda q_x, z_x, q_w, q_b: reference_sums(q_x, 0, q_w, q_b) - z_x,
        "the zero point comes off each q_x before it is multiplied, not off the sum",
    ),
    Mistake(
        "bias forgotten",
        lambda q_x, z_x, q_w, q_b: reference_sums(q_x, z_x, q_w, torch.zeros_like(q_b)),
        "the bias q_b is missing: add it",
    ),
)


def _accumulate_cases(rng: random.Random) -> Iterator[Callable[[], tuple]]:
    def zero_point() -> int:
        return rng.choice([-1, 1]) * rng.randint(20, 120)

    def case(n: int, k: int, m: int, z_x: int | None = None) -> tuple:
        bias = int32_vector([rng.choice([-1, 1]) * rng.randint(100, 90_000) for _ in range(m)])
        z_x = zero_point() if z_x is None else z_x
        return int8_matrix(rng, n, k), z_x, int8_matrix(rng, m, k), bias

    def large_sums() -> tuple:
        """Products of one sign, many of them: sums far beyond 2**24."""
        q_x, q_w = int8_matrix(rng, 3, 3000, low=20), int8_matrix(rng, 4, 3000, low=50)
        bias = int32_vector([rng.randint(-99, 99) for _ in range(4)])
        return q_x, rng.randint(-128, -100), q_w, bias

    def largest_sums() -> tuple:
        """Nearly as large as int32 holds."""
        x, z, w = rng.choice([(127, -128, 127), (-128, 127, 127), (127, -128, -128)])
        k = (2**31 - 1000) // abs((x - z) * w)
        q_x, q_w = (torch.full((1, k), number, dtype=torch.int8) for number in (x, w))
        return q_x, z, q_w, int32_vector([rng.randint(-999, 999)])

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


accumulate = Exercise(
    "accumulate",
    by_cases(
        _accumulate_cases,
        lambda *args: torch.from_numpy(exact_sums(*args)),
        lambda y, exact, *_: wrong_numbers(y, exact.numpy(), exact.numpy(), torch.int32, "sums"),
        mistakes=SUM_MISTAKES,
        alike=numbers_alone,
    ),
    reference=reference_sums,
    core=False,
    minutes=10,
    mistakes=SUM_MISTAKES,
)
