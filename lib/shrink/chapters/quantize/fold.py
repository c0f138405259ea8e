"""An exercise of chapter 03: batch norm folded into the layer before it.

The oracle is PyTorch: the layer, then its batch norm, in float64, on each unit vector. That gives
the weights of the one layer that does the same, and on zeros its bias.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Folded = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class _Layer:
    """A weight and a bias that equal others when they are near, whatever was rounded on the way."""

    weight: Tensor
    bias: Tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layer) and all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)
            for a, b in ((self.weight, other.weight), (self.bias, other.bias))
        )


def _comparable(result: Any) -> Any:
    if isinstance(result, tuple | list) and len(result) == 2 and all(map(_is_dense, result)):
        return _Layer(*(tensor.detach().cpu().double() for tensor in result))
    return result


def _is_dense(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.dtype.is_complex
    )


def _along_outputs(factor: Tensor, weight: Tensor) -> Tensor:
    return factor.view(-1, *[1] * (weight.dim() - 1))


def _fold_batch_norm(
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
) -> Folded:
    """Weight and bias of one layer that does what the layer and its batch norm do in `eval` mode.

    Args:
        weight: (outputs, ...), of a linear layer or a convolution.
        bias, gamma, beta, mean, var: (outputs,).
    """
    factor = gamma / (var + eps).sqrt()
    return weight * _along_outputs(factor, weight), (bias - mean) * factor + beta


def _folding(
    factor: Callable[[Tensor, Tensor, float], Tensor] = lambda gamma, var, eps: (
        gamma / (var + eps).sqrt()
    ),
    new_weight: Callable[[Tensor, Tensor], Tensor] = lambda w, f: w * _along_outputs(f, w),
    new_bias: Callable[..., Tensor] = lambda b, f, mean, beta: (b - mean) * f + beta,
) -> Callable[..., Folded]:
    """An answer with these formulas, by default the right ones; f is the factor."""

    def fold_batch_norm(weight, bias, gamma, beta, mean, var, eps) -> Folded:
        f = factor(gamma, var, eps)
        return new_weight(weight, f), new_bias(bias, f, mean, beta)

    return fold_batch_norm


FOLDING_MISTAKES = (
    Mistake(
        "eps forgotten",
        _folding(lambda gamma, var, eps: gamma / var.sqrt()),
        "eps is missing: batch norm divides by the root of var + eps",
    ),
    Mistake(
        "eps outside the root",
        _folding(lambda gamma, var, eps: gamma / (var.sqrt() + eps)),
        "eps is added to var, before the root is taken",
    ),
    Mistake(
        "no root",
        _folding(lambda gamma, var, eps: gamma / (var + eps)),
        "var is the variance: batch norm divides by its root, of var + eps",
    ),
    Mistake(
        "beta scaled",
        _folding(new_bias=lambda b, f, mean, beta: (b - mean + beta) * f),
        "beta is added after the scaling: do not multiply it by the factor",
    ),
    Mistake(
        "mean not scaled",
        _folding(new_bias=lambda b, f, mean, beta: b * f - mean + beta),
        "the mean comes off before the scaling, so the factor is for the mean too",
    ),
    Mistake(
        "bias not scaled",
        _folding(new_bias=lambda b, f, mean, beta: b - mean * f + beta),
        "the layer's bias is scaled as its weights are",
    ),
    Mistake(
        "no bias before",
        _folding(new_bias=lambda b, f, mean, beta: beta - mean * f),
        "the layer's own bias is missing: the mean comes off it, and both are scaled",
    ),
    Mistake(
        "along the last axis",
        _folding(new_weight=lambda weight, f: weight * f),
        "`weight * factor` scales the last axis; outputs are the first: give the factor an axis "
        "of length 1 for each of the others",
    ),
)


def _right(*args: Any) -> Folded:
    weight, bias, gamma, beta, mean, var = (t.detach().cpu().double() for t in args[:-1])
    units = torch.eye(weight[0].numel(), dtype=torch.float64)

    def layers(x: Tensor) -> Tensor:
        y = F.linear(x, weight.flatten(1), bias)
        return F.batch_norm(y, mean, var, gamma, beta, eps=args[-1])

    at_zero = layers(torch.zeros_like(units[:1]))
    return (layers(units) - at_zero).T.reshape(weight.shape), at_zero[0]


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple]]:
    g = generator(rng)

    def away_from_zero(*shape: int) -> Tensor:
        size = 0.5 + torch.rand(shape, generator=g)
        return torch.where(torch.rand(shape, generator=g) < 0.5, -size, size)

    def case(*shape: int, eps: float = 1e-5, smallest: float = 0.1) -> tuple:
        """A layer of this shape, and variances of `smallest` to 40 times that."""
        n = shape[0]
        var = smallest * 40 ** torch.rand(n, generator=g)
        vectors = [away_from_zero(n) for _ in range(4)]
        return away_from_zero(*shape), *vectors, var, eps

    def dead_channel() -> tuple:
        *tensors, var, eps = case(3, 4, eps=rng.choice([0.001, 0.01]))
        var[rng.randrange(3)] = 0
        return *tensors, var, eps

    def parameters() -> tuple:
        weight, bias, gamma, beta, *rest = case(4, 2, 1, 3)
        return *map(Parameter, (weight, bias, gamma, beta)), *rest

    def double() -> tuple:
        *tensors, eps = case(2, 5)
        return *(tensor.double() for tensor in tensors), eps

    yield lambda: case(3, 3, eps=round(rng.uniform(0.05, 0.1), 3), smallest=0.05)
    yield lambda: case(3, 2, 3, 3)  # what is scaled along another axis gives no error here
    yield lambda: case(rng.randint(4, 6), rng.randint(2, 3))
    yield lambda: case(5, rng.randint(1, 2), 2, 4, eps=1e-3)
    yield dead_channel
    yield lambda: case(1, 4)
    yield parameters
    yield double


def _wrong_layer(given: Any, exact: Folded, *args: Any) -> Wrong | None:
    dtype, layer = args[0].dtype, _comparable(given)
    right = tuple(tensor.to(dtype) for tensor in exact)
    if not isinstance(layer, _Layer):
        return Wrong(
            "return a pair of tensors, (weight, bias)", expected=_shown(right), given=given
        )
    for name, mine, its in zip(("weight", "bias"), given, right, strict=True):
        if mine.shape != its.shape:
            return Wrong(
                f"the {name} must keep its shape",
                expected=f"shape {tuple(its.shape)}",
                given=f"shape {tuple(mine.shape)}",
            )
    if layer != _comparable(right):
        same = torch.allclose(layer.weight, _comparable(right).weight, rtol=1e-4, atol=1e-4)
        what = "weight is right, the bias is not" if same else "weight is wrong"
        return Wrong(f"the {what}", expected=_shown(right), given=_shown(given))
    for name, mine in zip(("weight", "bias"), given, strict=True):
        if mine.dtype != dtype:
            return Wrong(
                f"the {name} must keep its dtype",
                expected=str(dtype),
                given=str(mine.dtype),
                known_mistakes=False,
            )
    return None


def _shown(pair: Folded) -> str:
    """The first numbers of each, for a message."""
    parts = []
    for name, tensor in zip(("weight", "bias"), pair, strict=True):
        numbers = [f"{number:.4g}" for number in tensor.detach().flatten().tolist()]
        parts.append(f"{name} {', '.join(numbers[:12])}{', ...' if len(numbers) > 12 else ''}")
    return "; ".join(parts)


fold_batch_norm = Exercise(
    "fold_batch_norm",
    by_cases(_cases, _right, _wrong_layer, mistakes=FOLDING_MISTAKES, alike=_comparable),
    reference=_fold_batch_norm,
    core=False,
    minutes=10,
    mistakes=FOLDING_MISTAKES,
)
