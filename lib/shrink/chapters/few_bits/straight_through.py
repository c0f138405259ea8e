"""An exercise of chapter 10: fake quantization through which gradients pass.

The oracle is PyTorch's own fake quantization. It lets gradients pass where the rounded integer is
in range, half a step further than x: in that half step, and at the ends, either is right. So are
both neighbours of a half.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.few_bits.gradients import Seen, passed, seen, upstream
from shrink.chapters.few_bits.straight_mistakes import MISTAKES
from shrink.chapters.few_bits.tensors import Close, as_numbers, is_near, wrong_kind
from shrink.classroom.exercises.attempt import Wrong, show
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part
from shrink.quantization import QParams, straight_through

Case = tuple[Tensor, float, int, int, int]
_MARGIN = 1e-3  # of a step: nearer to a half, or to an end, float32 decides


def _right(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Seen:
    """What the result may be: its values, and the gradient that passes."""
    numbers = as_numbers(x)
    leaf = numbers.clone().requires_grad_(x.requires_grad)
    values = torch.fake_quantize_per_tensor_affine(leaf, scale, zero_point, q_min, q_max)
    gradient = passed(values, leaf) if x.requires_grad else torch.zeros_like(numbers)

    steps = numbers / scale + zero_point
    q = (values.detach() / scale + zero_point).round()
    tied = (steps - steps.floor() - 0.5).abs() < _MARGIN
    other = torch.where(q > steps, q - 1, q + 1).clamp(q_min, q_max)
    either = torch.where(tied, scale * (other - zero_point), values.detach())

    beyond = torch.maximum(q_min - steps, steps - q_max)
    edge = (beyond > -_MARGIN) & (beyond < 0.5 + _MARGIN) & x.requires_grad
    may_pass = torch.where(edge, upstream(numbers) - gradient, gradient)
    return Seen(Close(values.detach(), either), Close(gradient + 0, may_pass))  # no -0


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def case(
        scale: float, zero_point: int, q_min: int, q_max: int, *shape: int, **odd: Any
    ) -> Case:
        """Numbers inside the range, on both sides outside, 0 and a little less; in random order."""
        steps = [q_max + rng.uniform(0.6, 0.9), q_max + rng.uniform(1.5, 5)]
        steps += [q_min - rng.uniform(0.6, 0.9), q_min - rng.uniform(1.5, 5), zero_point]
        if zero_point > q_min:
            steps.append(zero_point - rng.uniform(0.1, 0.4))
        size = torch.Size(shape).numel()
        while len(steps) < size:
            low = rng.randrange(q_min, q_max)
            steps.append(low + rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)]))
        rng.shuffle(steps)
        dtype = odd.get("dtype", torch.float32)
        x = scale * (torch.tensor(steps[:size], dtype=torch.float64) - zero_point)
        x = x.to(dtype).view(shape)
        return x.requires_grad_(odd.get("learns", True)), scale, zero_point, q_min, q_max

    def width() -> float:
        return rng.randint(10, 60) / 100

    def at(scale: float, zero_point: int, q_min: int, q_max: int, steps: list[float]) -> Case:
        x = scale * (torch.tensor(steps) - zero_point)
        return x.requires_grad_(), scale, zero_point, q_min, q_max

    def turned() -> Case:
        x, *of = case(width(), 0, -4, 3, 4, 5)
        return x.detach().t().requires_grad_(), *of

    yield lambda: case(1 + 3 * width(), rng.choice([-2, -1, 1, 2]), -4, 3, 12)
    yield lambda: case(width(), rng.randint(1, 6), 0, 7, 12)  # unsigned
    yield lambda: case(width(), 0, -1, 1, 3, 4)  # -1, 0 and 1
    yield lambda: case(rng.uniform(0.01, 0.05), rng.choice([-20, 30]), -128, 127, 40, 50)
    yield lambda: at(0.5, 1, -2, 1, [-1.5, -0.5, 0.5, 1.0, -2.0, 1.5, -2.5, 0.2])  # halves and ends
    yield lambda: case(width(), 3, 0, 15, 2, 3, 2, 2, dtype=torch.float64)
    yield turned
    yield lambda: case(2.0, 0, -2, 1)  # a single number
    yield lambda: case(width(), 0, -7, 7, 12, learns=False)
    if torch.cuda.is_available():
        x, *of = case(width(), 2, 0, 7, 12)
        yield lambda: (x.detach().cuda().requires_grad_(), *of)


def _wrong(given: Any, right: Seen, *case: Any) -> Wrong | None:
    x, *of = case
    if wrong := wrong_kind(given, "the result", x, "x"):
        return wrong
    found = seen(given)
    if found.values != right.values:
        return _wrong_values(as_numbers(given), right.values, as_numbers(x), *of)
    return _wrong_gradient(given, right.gradient, x, *of) if x.requires_grad else None


def _wrong_values(
    given: Tensor, right: Close, x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int
) -> Wrong:
    q = right.numbers / scale + zero_point
    for integers in (q, q - zero_point):
        if scale != 1 and is_near(given, integers).all():
            told = "these are the integers: return the numbers that they stand for, s (q - z)"
            return Wrong(told, expected=right.numbers.float(), given=given.float())
    place = _first(~(is_near(given, right.numbers) | is_near(given, right.either)))
    number, integer = x[place].item(), round(q[place].item())
    shifted = f", and with the zero point {number / scale + zero_point:.4g}" if zero_point else ""
    told = (
        f"x = {number:.4g} is {number / scale:.4g} steps of {scale:.4g}{shifted}, so q is "
        f"{integer}, and s (q - z) is {right.numbers[place]:.4g}; yours is {given[place]:.4g}"
    )
    return Wrong(told, expected=right.numbers.float(), given=given.float())


def _wrong_gradient(
    given: Tensor,
    right: Close,
    x: Tensor,
    scale: float,
    zero_point: int,
    q_min: int,
    q_max: int,
) -> Wrong | None:
    try:
        found = passed(given, x)
    except Exception as error:  # of a backward that the student wrote
        told = f"the values are right, and the way back raises {type(error).__name__}"
        return Wrong(f"{told}: {show(str(error).partition(chr(10))[0])}")
    if found is None:
        elsewhere = given.requires_grad
        why = (
            "the way back leads to another tensor, or gives None for x"
            if elsewhere
            else "autograd knows no way through detach(), item(), numpy() or no_grad"
        )
        told = f"the values are right, and no gradient reaches x: {why}"
        return Wrong(told, expected=right.numbers.float(), known_mistakes=not elsewhere)
    passes = as_numbers(found)
    if right == Close(passes):
        return None
    place = _first(~(is_near(passes, right.numbers) | is_near(passes, right.either)))
    low, high = (scale * (q - zero_point) for q in (q_min, q_max))
    number, arrives = as_numbers(x)[place].item(), as_numbers(upstream(x))[place].item()
    where = "inside" if low <= number <= high else "outside"
    told = (
        f"the values are right, and the gradient is not: x = {number:.4g} lies {where} the range "
        f"from {low:.4g} to {high:.4g}, so of a gradient of {arrives:g} there passes "
        f"{right.numbers[place]:g}; with yours {passes[place]:.4g}"
    )
    return Wrong(told, expected=right.numbers.float(), given=passes.float())


def _first(where: Tensor) -> tuple[int, ...]:
    return tuple(where.nonzero()[0].tolist())


def _parts(*case: Any) -> Iterator[Part]:
    """The values alone, and the gradient alone."""
    yield Part("in its values", case, lambda result: _seen(result).values)
    yield Part("in its gradient", case, lambda result: _seen(result).gradient)


def _seen(result: Any) -> Any:
    """As `seen`; what is right already is as it is."""
    return result if isinstance(result, Seen) else seen(result)


def _reference(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    """Quantize and dequantize x; its gradient passes inside the range of the integers.

    >>> x = torch.tensor([-0.9, -0.2, 0.7, 1.4], requires_grad=True)
    >>> y = fake_quantize_ste(x, scale=0.5, zero_point=1, q_min=0, q_max=3)
    >>> y.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> y.detach(), x.grad
    (tensor([-0.5000,  0.0000,  0.5000,  1.0000]), tensor([0., 2., 3., 0.]))
    """
    p = QParams(
        torch.tensor(scale, device=x.device),
        torch.tensor(zero_point, dtype=torch.int32, device=x.device),
        num_bits=q_max.bit_length() + (q_min < 0),
        signed=q_min < 0,
        narrow=q_min == -q_max,
    )
    return straight_through.fake_quantize_ste(x, p)


fake_quantize_ste = Exercise(
    "fake_quantize_ste",
    by_cases(_cases, _right, _wrong, mistakes=MISTAKES, alike=_seen, parts=_parts),
    reference=_reference,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)
