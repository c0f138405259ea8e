"""Codebooks trained in place of the weights that share their values."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrink.arguments import whole_number
from shrink.sharing.codebooks import MOST, below
from shrink.sharing.shared import Shared
from shrink.tensors import (
    check_floating,
    check_gradient,
    check_mapping,
    check_one_device,
    check_optimizer,
    check_trainable,
    check_whole,
    first_names,
    wide,
)


def centroid_gradient(
    gradient: Tensor, assignments: Tensor, k: int, reduction: str = "sum"
) -> Tensor:
    """The gradient of each value in the codebook: the sum of its weights' gradients, (k,).

    Sums and means are taken in float32 at least, and rounded once to the gradient's type.

    Args:
        gradient: float, of the weight's shape: that of the loss with respect to each weight.
        assignments: integers of that shape, each below k.
        k: 1 to 65 536.
        reduction: "sum" is what the chain rule says. "mean" divides by the number of weights, so
            values with many weights do not move faster, but it is no gradient of the loss.

    Source: Han, Mao, Dally 2016, equation 3.

    Raises:
        TypeError: the gradient is not floating point, or the assignments or k are not whole.
        ValueError: another reduction, shapes that differ, or an assignment that is not below k.

    >>> centroid_gradient(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1]), k=2)
    tensor([3., 5.])
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"the reduction is sum or mean, not {reduction!r}")
    check_floating(gradient, "the gradient")
    check_whole(assignments, "assignments")
    if gradient.shape != assignments.shape:
        shapes = f"{tuple(gradient.shape)}, assignments {tuple(assignments.shape)}"
        raise ValueError(f"gradient and assignments have one shape, not {shapes}")
    check_one_device(gradient, assignments)
    k = whole_number("k", k, 1, MOST)
    return _per_value(gradient, below(k, assignments).flatten(), k, reduction)


def _per_value(gradient: Tensor, numbers: Tensor, k: int, reduction: str) -> Tensor:
    """As `centroid_gradient`, of numbers on one axis that are known to be good."""
    terms = wide(gradient).flatten()
    sums = torch.zeros(k, dtype=terms.dtype, device=terms.device).index_add_(0, numbers, terms)
    if reduction == "mean":
        sums /= torch.bincount(numbers, minlength=k).clamp(min=1)
    return sums.to(gradient.dtype)


@contextmanager
def hold_shared(
    weights: dict[str, Tensor],
    shared: dict[str, Shared],
    optimizer: Optimizer,
    reduction: str = "sum",
) -> Iterator[None]:
    """Change the weights in place to their shared values, and train the codebooks in their place.

    Inside the `with` block each weight gets the gradient of its value in the codebook, so those
    that share one move together; a 0 that is kept does not move. After each step of `optimizer`,
    `shared` holds the codebooks as they are then, and the assignments as they were. A tensor under
    several names, as tied weights have, is one weight with one codebook, under each name.

    >>> from shrink.sharing import share
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 3.0, 0.0]))
    >>> shared = {"w": share(w, k=1)}
    >>> sgd = torch.optim.SGD([w], lr=0.1)
    >>> with hold_shared({"w": w}, shared, sgd):
    ...     w.sum().backward()
    ...     sgd.step()
    >>> w.data, shared["w"].codebook  # 2 - 0.1 · (1 + 1)
    (tensor([1.8000, 1.8000, 0.0000]), tensor([0.0000, 1.8000]))

    Args:
        weights: name → leaf tensor that `optimizer` trains.
        shared: name → what `share` made of the weight of that name.
        optimizer: any `torch.optim.Optimizer`.
        reduction: as in `centroid_gradient`.

    Raises:
        TypeError: `weights` is no mapping of tensors, `shared` none of `Shared`, or `optimizer`
            none; a weight or its gradient is sparse, as of an `nn.Embedding(sparse=True)`.
        ValueError: something shared has no weight of its name, or another shape or device, or its
            weight is no leaf that requires a gradient; a codebook, its numbers or its zero are not
            as `share` makes them; a weight is a view of another, or is shared
            in two ways under two names. Nothing is changed then.

    Source: Han, Mao, Dally 2016, section 3.3.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"the reduction is sum or mean, not {reduction!r}")
    check_optimizer(optimizer)
    first = _check_shared(weights, shared)
    held = {
        name: _Held(weights[name], parts)
        for name, parts in shared.items()
        if name in first.values()
    }

    def tied_gradient(name: str) -> Callable[[Tensor], Tensor]:
        def hook(gradient: Tensor) -> Tensor:
            check_gradient(name, gradient)
            return held[first[name]].gradient(gradient, reduction)

        return hook

    def tie(*_: object) -> None:
        tied = {name: one.tied() for name, one in held.items()}
        shared.update({name: tied[first[name]] for name in first})

    hooks = [optimizer.register_step_post_hook(tie)]
    parameters = {id(weights[name]): name for name in first}  # a gradient is tied once
    try:
        hooks += [weights[name].register_hook(tied_gradient(name)) for name in parameters.values()]
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_shared(weights: Mapping[str, Tensor], shared: Mapping[str, Shared]) -> dict[str, str]:
    """name → the first name of the same weight, for all that is shared; raises as `hold_shared`."""
    check_mapping("weights", weights)
    if not isinstance(shared, Mapping):
        raise TypeError(f"shared must map names to Shared, not be a {type(shared).__name__}")
    for name, parts in shared.items():
        _check_parts(name, parts)
        weight, form = weights.get(name), tuple(parts.assignments.shape)
        if weight is None or tuple(weight.shape) != form:
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(f"{name} is shared as {form}, not {shape}")
        if weight.device != parts.codebook.device or weight.device != parts.assignments.device:
            raise ValueError(f"{name} is on {weight.device}, and shared on {parts.codebook.device}")
        check_floating(weight, name)
        check_trainable(name, weight)
    first = first_names({name: weights[name] for name in shared})
    for name, other in first.items():
        if not _alike(shared[name], shared[other]):
            raise ValueError(f"{other} and {name} are one tensor, shared in two ways: give one")
    return first


def _check_parts(name: str, parts: Shared) -> None:
    """Raise unless they are a codebook of finite values, numbers into it, and a zero that is 0."""
    if not isinstance(parts, Shared):
        raise TypeError(f"{name} must be a Shared, not a {type(parts).__name__}")
    codebook = parts.codebook
    check_floating(codebook, f"the codebook of {name}")
    if codebook.dim() != 1 or not codebook.isfinite().all():
        raise ValueError(f"the codebook of {name} has one axis and finite values, not {codebook}")
    below(len(codebook), parts.assignments)
    if parts.zero is not None:
        zero = whole_number(f"the zero of {name}", parts.zero, 0, len(codebook) - 1)
        if codebook[zero]:
            raise ValueError(f"value {zero} of {name} is its zero, not {float(codebook[zero])}")


def _alike(a: Shared, b: Shared) -> bool:
    return a is b or (
        a.zero == b.zero
        and torch.equal(a.codebook, b.codebook)
        and torch.equal(a.assignments, b.assignments)
    )


class _Held:
    """A weight whose values are those of a codebook, and stay so."""

    def __init__(self, weight: Tensor, parts: Shared) -> None:
        self.weight, self.parts = weight, parts
        self.numbers = parts.assignments.long()
        flat = self.numbers.flatten()
        self.used, first = torch.unique(flat, return_inverse=True)
        places = torch.arange(len(flat), device=flat.device)
        self.one_each = places.new_zeros(len(self.used)).scatter_(0, first, places)
        self._write(parts.codebook)

    @torch.no_grad()
    def _write(self, codebook: Tensor) -> None:
        self.weight.copy_(codebook[self.numbers])

    def gradient(self, gradient: Tensor, reduction: str) -> Tensor:
        k = len(self.parts.codebook)
        of_values = _per_value(gradient, self.numbers.flatten(), k, reduction)
        if self.parts.zero is not None:
            of_values[self.parts.zero] = 0
        return of_values[self.numbers]

    @torch.no_grad()
    def tied(self) -> Shared:
        """With the codebook that the step left; one weight of each value tells it."""
        codebook = self.parts.codebook.clone()
        codebook[self.used] = self.weight.flatten()[self.one_each].to(codebook.dtype)
        if self.parts.zero is not None:
            codebook[self.parts.zero] = 0
        self._write(codebook)
        self.parts = replace(self.parts, codebook=codebook)
        return self.parts
