"""Codebooks trained in place of the weights that share their values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrink.sharing.shared import Shared


def centroid_gradient(
    gradient: Tensor, assignments: Tensor, k: int, reduction: str = "sum"
) -> Tensor:
    """The gradient of each value in the codebook: the sum of its weights' gradients, (k,).

    Args:
        gradient: float, of the weight's shape: that of the loss with respect to each weight.
        assignments: integers of that shape, each below k.
        reduction: "sum" is what the chain rule says. "mean" divides by the number of weights, so
            values with many weights do not move faster, but it is no gradient of the loss.

    Source: Han, Mao, Dally 2016, equation 3.

    Raises:
        ValueError: another reduction, or shapes that differ.

    >>> centroid_gradient(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1]), k=2)
    tensor([3., 5.])
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"the reduction is sum or mean, not {reduction!r}")
    if gradient.shape != assignments.shape:
        shapes = f"{tuple(gradient.shape)}, assignments {tuple(assignments.shape)}"
        raise ValueError(f"gradient and assignments have one shape, not {shapes}")
    numbers = assignments.flatten().long()
    sums = torch.zeros(k, dtype=gradient.dtype, device=gradient.device)
    sums.index_add_(0, numbers, gradient.flatten())
    if reduction == "mean":
        sums /= torch.bincount(numbers, minlength=k).clamp(min=1)
    return sums


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
    `shared` holds the codebooks as they are then, and the assignments as they were.

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
        ValueError: something shared has no weight of its name, or another shape, or its weight is
            no leaf that requires a gradient. Nothing is changed then.

    Source: Han, Mao, Dally 2016, section 3.3.
    """
    for name, parts in shared.items():
        weight = weights.get(name)
        if weight is None or weight.shape != parts.assignments.shape:
            shape = None if weight is None else tuple(weight.shape)
            raise ValueError(f"{name} is shared as {tuple(parts.assignments.shape)}, not {shape}")
        if not (weight.is_leaf and weight.requires_grad):
            raise ValueError(f"{name} is not a parameter to train: a leaf that requires a gradient")
    held = {name: _Held(weights[name], parts) for name, parts in shared.items()}

    def tied_gradient(name: str) -> Callable[[Tensor], Tensor]:
        return lambda gradient: held[name].gradient(gradient, reduction)

    def tie(*_: object) -> None:
        for name, one in held.items():
            shared[name] = one.tied()

    hooks = [optimizer.register_step_post_hook(tie)]
    try:
        hooks += [weights[name].register_hook(tied_gradient(name)) for name in held]
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
        of_values = centroid_gradient(
            gradient, self.numbers, len(self.parts.codebook), reduction=reduction
        )
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
