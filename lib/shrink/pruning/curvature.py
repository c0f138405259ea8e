"""The diagonal of the loss's Hessian: exactly, backpropagated, by Gauss-Newton and by Fisher."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vmap

from shrink.modes import in_use

DIAGONALS = ("exact", "backpropagated", "gauss-newton", "fisher")


def hessian_diagonal(
    model: nn.Module, images: Tensor, labels: Tensor, by: str = "backpropagated"
) -> dict[str, Tensor]:
    """The second derivatives of the mean cross entropy by each parameter alone."""
    return _BY[by](model, images, labels)


def full_hessian(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """All second derivatives, float64 (n, n), the parameters in the order of `named_parameters`."""
    parameters = {n: p.detach().double() for n, p in model.named_parameters()}
    shapes = [(n, p.shape, p.numel()) for n, p in parameters.items()]
    flat = torch.cat([p.flatten() for p in parameters.values()])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([count for *_, count in shapes])
        of = {n: part.view(shape) for (n, shape, _), part in zip(shapes, parts, strict=True)}
        return F.cross_entropy(functional_call(model, of, (images.double(),)), labels)

    return hessian(loss)(flat)


def _exact(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    diagonal = full_hessian(model, images, labels).diagonal()
    parts = diagonal.split([p.numel() for p in model.parameters()])
    named = zip(model.named_parameters(), parts, strict=True)
    return {name: part.view(p.shape).to(p.dtype) for (name, p), part in named}


def _fisher(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    def loss(parameters, image, label):
        return F.cross_entropy(functional_call(model, parameters, (image[None],)), label[None])

    return _mean_squares(model, loss, (images, labels))


def _gauss_newton(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    with in_use(model):
        p = model(images).softmax(1)
    found: dict[str, Tensor] = {}
    for c in range(p.shape[1]):
        # column c of the root of diag(p) - p pT: sqrt(p_c) (e_c - p)
        columns = p[:, c : c + 1].sqrt() * (F.one_hot(torch.tensor(c), p.shape[1]) - p)

        def weighted(parameters, image, column):
            return (functional_call(model, parameters, (image[None],))[0] * column).sum()

        part = _mean_squares(model, weighted, (images, columns))
        found = {name: found.get(name, 0) + value for name, value in part.items()}
    return found


def _mean_squares(model: nn.Module, loss: Callable, examples: tuple) -> dict[str, Tensor]:
    parameters = {n: p.detach() for n, p in model.named_parameters()}
    each = vmap(grad(loss), in_dims=(None, 0, 0))
    found = {n: torch.zeros_like(p) for n, p in parameters.items()}
    for chunk in zip(*(part.split(50) for part in examples), strict=True):
        for name, g in each(parameters, *chunk).items():
            found[name] += g.square().sum(0)
    return {n: total / len(examples[0]) for n, total in found.items()}


_BY = {
    "exact": _exact,
    "backpropagated": _gauss_newton,
    "gauss-newton": _gauss_newton,
    "fisher": _fisher,
}
