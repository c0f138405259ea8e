"""An exercise of chapter 03: a weight in integers, with a scale for each output channel.

Its oracle divides in float64 and accepts both neighbours of a tie.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import quantization
from shrink.chapters.quantize.integers import limits, neighbours, not_int8
from shrink.classroom.exercises.attempt import Mistake, Wrong, known, place_of
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near

Pair = tuple[Tensor, Tensor]


def _top(num_bits: int) -> int:
    return limits(num_bits)[1]


def _rows(weight: Tensor) -> Tensor:
    """A channel a row."""
    return weight.detach().unsqueeze(-1).flatten(1)


def _along(scales: Tensor, weight: Tensor) -> Tensor:
    """The scales with as many axes as the weight."""
    return scales.view(-1, *[1] * (weight.dim() - 1))


def _magnitude(rows: Tensor, num_bits: int) -> Tensor:
    return rows.abs().amax(1) / _top(num_bits)


def _not_zero(scales: Tensor) -> Tensor:
    return torch.where(scales == 0, 1, scales)


def _with_scales(
    scale: Callable[[Tensor, int], Tensor], lowest: Callable[[int], int] = lambda b: -_top(b)
) -> Callable[[Tensor, int], Pair]:
    """An answer with scales of channels that are rows, clamped from the lowest integer on."""

    def quantize_channels(weight: Tensor, num_bits: int) -> Pair:
        scales = _not_zero(scale(_rows(weight), num_bits))
        q = torch.round(weight.detach() / _along(scales, weight))
        return q.clamp(lowest(num_bits), _top(num_bits)).to(torch.int8), scales

    return quantize_channels


_right = _with_scales(_magnitude)


@known("this is one scale for the whole weight; each output channel, weight[i], has its own")
def _one_scale(weight: Tensor, num_bits: int) -> Pair:
    everywhere = _with_scales(lambda rows, b: _magnitude(rows, b).amax().expand(len(rows)))
    q, scales = everywhere(weight, num_bits)
    return q, scales[0]


@known(
    "the first axis counts the channels: reduce over all others, to one scale for each weight[i]"
)
def _a_scale_for_each_input(weight: Tensor, num_bits: int) -> Pair:
    q, scales = _right(weight.transpose(0, 1), num_bits)
    return q.transpose(0, 1), scales


@known(
    "a channel of a convolution has inputs, rows and columns: reduce over all of them, as "
    "flatten(1) does"
)
def _one_axis_reduced(weight: Tensor, num_bits: int) -> Pair:
    scales = _not_zero(weight.detach().abs().amax(1) / _top(num_bits))
    return (weight.detach() / scales.unsqueeze(1)).round().to(torch.int8), scales


@known("symmetric: the zero point is 0, and the scale comes from the largest magnitude alone")
def _asymmetric(weight: Tensor, num_bits: int) -> Pair:
    rows, (q_min, q_max) = _rows(weight), limits(num_bits)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scales = _not_zero((high - low) / (2**num_bits - 1))
    zero_points = (q_min - low / scales).round()
    q = (weight.detach() / _along(scales, weight)).round() + _along(zero_points, weight)
    return q.clamp(q_min, q_max).to(torch.int8), scales


CHANNEL_MISTAKES = (
    _one_scale,
    _a_scale_for_each_input,
    _one_axis_reduced,
    Mistake(
        "max",
        _with_scales(lambda rows, b: rows.amax(1) / _top(b)),
        "the largest magnitude may be that of a negative weight: abs() before the maximum",
    ),
    Mistake(
        "divided by 2**(b-1)",
        _with_scales(lambda rows, b: rows.abs().amax(1) / 2 ** (b - 1)),
        "the largest magnitude becomes 2**(num_bits - 1) - 1, so divide by that",
    ),
    Mistake(
        "lowest integer used",
        _with_scales(
            lambda rows, b: torch.maximum(rows.amax(1) / _top(b), rows.amin(1) / limits(b)[0]),
            lowest=lambda b: limits(b)[0],
        ),
        "the lowest integer is left out: both signs reach to 2**(num_bits - 1) - 1",
    ),
    _asymmetric,
)


def _comparable(result: Any) -> Any:
    """A pair of tensors as what `==` compares, near numbers as equal; anything else as it is."""
    if not (isinstance(result, tuple | list) and len(result) == 2):
        return result
    if not all(isinstance(tensor, Tensor) for tensor in result):
        return result
    q, scales = (tensor.detach() for tensor in result)
    kinds = (str(q.dtype), tuple(q.shape), str(scales.dtype), tuple(scales.shape))
    return kinds, Near(tuple(q.flatten().tolist())), Near(tuple(scales.flatten().tolist()))


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, int]]]:
    def weight(*shape: int) -> Tensor:
        """Each channel has a magnitude of its own; some have their largest below zero."""
        rows = torch.tensor([[rng.gauss(0, 1)] for _ in range(torch.Size(shape).numel())])
        rows = rows.view(shape[0], -1)
        for i, row in enumerate(rows):
            row *= rng.uniform(0.2, 0.8) / row.abs().max()
            row[rng.randrange(len(row))] = (-1) ** i * rng.uniform(0.9, 1)
            row *= rng.choice([0.3, 1, 3])
        return (1000 * rows).round().div(1000).view(shape)

    def bits() -> int:
        return rng.randint(3, 7)

    def with_zeros() -> Tensor:
        rows = weight(4, 3)
        rows[rng.randrange(4)] = rng.choice([0.0, -0.0])
        return rows

    def ties() -> Tensor:
        """Halves between the integers of 4 bits: the scale is 1."""
        rows = [[rng.randint(-6, 5) + 0.5 for _ in range(5)] for _ in range(3)]
        return torch.tensor([[rng.choice([-7.0, 7.0]), *row] for row in rows])

    yield lambda: (weight(rng.choice([3, 4, 5]), 4), bits())
    yield lambda: (weight(3, 2, 2, 2), bits())
    yield lambda: (with_zeros(), bits())
    yield lambda: (weight(4, 2, 3), 8)
    yield lambda: (weight(4, 4), 2)  # ternary
    yield lambda: (weight(8, 3, 3, 5), 8)
    yield lambda: (torch.tensor([rng.uniform(0.1, 2), 0.0, -rng.uniform(0.1, 2)]), bits())
    yield lambda: (weight(1, 6), 8)
    yield lambda: (weight(5, 1), bits())
    yield lambda: (torch.zeros(2, rng.randint(1, 4)), 8)
    yield lambda: (ties(), 4)
    yield lambda: (weight(4, 6).t(), bits())  # not contiguous
    yield lambda: (1e-4 * weight(3, 4), 8)
    yield lambda: (1e4 * weight(3, 4), bits())
    yield lambda: (torch.nn.Parameter(weight(3, 4)), 8)
    if torch.cuda.is_available():
        yield lambda: (weight(3, 4).cuda(), 8)


def _wrong_channels(given: Any, _: Pair, weight: Tensor, num_bits: int) -> Wrong | None:
    top, exact = _top(num_bits), weight.detach().double()
    scales = _not_zero(_magnitude(_rows(exact), num_bits))
    exact = exact / _along(scales, weight)
    low, high = neighbours(exact, -top, top, slack=1e-3)
    right = low.to(torch.int8)
    if not isinstance(given, tuple | list) or len(given) != 2:
        return Wrong("return a pair, (q, scales)", expected=(right, scales.float()), given=given)
    q, mine = given
    if wrong := not_int8(q, weight, right) or _wrong_scales(mine, scales, weight, top):
        return wrong
    off = (q < low) | (q > high)
    if off.any():
        at = tuple(off.nonzero()[0].tolist())
        return Wrong(
            f"weight[{', '.join(map(str, at))}] over its scale is {exact[at]:.4g}, "
            f"so {right[at]} and not {q[at]}",
            expected=right,
            given=q,
        )
    return None


def _wrong_scales(mine: Any, scales: Tensor, weight: Tensor, top: int) -> Wrong | None:
    if not isinstance(mine, Tensor) or mine.dtype != torch.float32:
        kind = getattr(mine, "dtype", mine)
        return Wrong("the scales are a float32 tensor", expected=scales.float(), given=kind)
    if mine.shape != scales.shape or mine.device != weight.device:
        return Wrong(
            f"one scale for each of the {len(weight)} channels, on one axis",
            expected=place_of(scales.shape, weight.device),
            given=place_of(mine.shape, mine.device),
        )
    off = ~torch.isclose(mine.detach().double(), scales, rtol=1e-5, atol=0)
    if off.any():
        i = int(off.nonzero()[0])
        return Wrong(
            f"weight[{i}] has a largest magnitude of {float(_rows(weight)[i].abs().max()):.4g}, "
            f"and the highest integer is {top}: its scale is {scales[i]:.5g} and not {mine[i]:.5g}",
            expected=scales.float(),
            given=mine,
        )
    return None


def _reference(weight: Tensor, num_bits: int) -> Pair:
    """A weight as integers and a scale for each output channel: weight is about scale * q.

    >>> q, scales = quantize_channels(torch.tensor([[1.0, -2.0], [0.1, 0.07]]), num_bits=3)
    >>> q.tolist(), scales  # the highest integer is 3
    ([[2, -3], [3, 2]], tensor([0.6667, 0.0333]))
    """
    columns = weight.unsqueeze(-1)  # so that a channel has an axis of its own, in a bias too
    p = quantization.qparams_of(columns, num_bits, symmetric=True, narrow=True, axis=0)
    return quantization.quantize(columns, p).squeeze(-1), p.scale.flatten()


quantize_channels = Exercise(
    "quantize_channels",
    by_cases(_cases, _right, _wrong_channels, mistakes=CHANNEL_MISTAKES, alike=_comparable),
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=CHANNEL_MISTAKES,
)
