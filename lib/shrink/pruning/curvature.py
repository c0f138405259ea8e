"""The diagonal of the loss's Hessian: exactly, backpropagated, by Gauss-Newton and by Fisher."""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from shrink.modes import in_use
from shrink.pruning.backpropagated import (
    backpropagated,
    one_minus,
    softmax_and_gradient,
    squared_gradients,
)
from shrink.pruning.examples import check_examples, parameters_of
from shrink.pruning.tape import NoRule

DIAGONALS = ("exact", "backpropagated", "gauss-newton", "fisher")
MOST = 5000  # parameters that a whole Hessian is computed for: 200 MB of float64
COLUMNS, IMAGES = 64, 100  # of the Hessian that are computed at once, and images in each sum
NUMBERS = 2**24  # of single images' gradients that are held at once: 64 MB of float32


def hessian_diagonal(
    model: nn.Module, images: Tensor, labels: Tensor, by: str = "backpropagated"
) -> dict[str, Tensor]:
    """The second derivative of the mean cross entropy by each parameter, the others held.

    - "exact": column by column of the Hessian, for small models.
    - "backpropagated": LeCun's recursion, one pass back. It is exact in the last layer; further
      back it leaves out the mixed derivatives between activations of one layer, between places of
      one image that share a kernel, and between the sides of a shortcut.
    - "gauss-newton": of JᵀH J, with J the logits' derivatives and H the loss's Hessian by the
      logits: the exact one without what the logits' own curvature adds. Never negative.
    - "fisher": the mean square of single images' gradients, with the given labels. Never negative.

    Where each layer runs once for an image, Gauss-Newton takes a pass back for each class, and
    Fisher one; convolutions and all other models take one for each image as well.

    One image of one pixel, 1, whose logits log 3 and 0 give p = 3/4 and 1/4: p·(1 - p) = 3/16, and
    the gradient p - onehot squared is (1/4)² = 1/16:

    >>> model = nn.Linear(1, 2, bias=False)
    >>> model.weight.data = torch.tensor([[3.0], [1.0]]).log()
    >>> for by in DIAGONALS:
    ...     found = hessian_diagonal(model, torch.tensor([[1.0]]), torch.tensor([0]), by)
    ...     print(by, found["weight"].flatten())
    exact tensor([0.1875, 0.1875])
    backpropagated tensor([0.1875, 0.1875])
    gauss-newton tensor([0.1875, 0.1875])
    fisher tensor([0.0625, 0.0625])

    Args:
        model: gives logits (n, classes); called in `eval` mode, and left as it was. For
            "backpropagated" of linear layers, convolutions, ReLU, tanh, sigmoid, pooling,
            reshaping, sums, and factors that are numbers, as modules or functions.
        images: (n, …) floating point, on the model's device.
        labels: (n,) whole numbers from 0 to classes - 1.
        by: one of the four names above.

    Returns:
        name → tensor of the parameter's shape, dtype and device, for every parameter, biases too;
        0 for one that the model does not use. A parameter under several names is there once.

    Raises:
        TypeError, ValueError: there is no diagonal of that name; model, images or labels are not
            as above; "exact" is asked of more than 5000 parameters; or "backpropagated" of a
            function that it has no rule for, as norms, which is named.

    Source: LeCun, Denker, Solla 1990, "Optimal Brain Damage", section 2, which has the
        recursion of LeCun 1987, "Modèles connexionnistes de l'apprentissage".
    Differs: the paper's loss is a squared error; the recursion starts at softmax with cross
        entropy here.
    """
    if by not in DIAGONALS:
        raise ValueError(f"by must be one of {', '.join(DIAGONALS)}, not {by!r}")
    parameters = parameters_of(model)
    check_examples(model, images, labels)
    examples = images.to(next(iter(parameters.values())).dtype), labels.long()
    with torch.inference_mode(False), in_use(model):
        found = _BY[by](model, parameters, *examples)
    return {name: found[name].to(p.dtype) for name, p in model.named_parameters()}


def full_hessian(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """All second derivatives of the mean cross entropy, parameter by parameter.

    Each column is the derivative of the gradient along one parameter, computed in float64.

    >>> model = nn.Linear(1, 2, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> full_hessian(model, torch.tensor([[3.0]]), torch.tensor([0]))
    tensor([[ 2.2500, -2.2500],
            [-2.2500,  2.2500]], dtype=torch.float64)

    Args:
        model, images, labels: as in `hessian_diagonal`, of any functions that torch derives twice.

    Returns:
        float64 (n, n), the parameters in the order of `named_parameters`, on their device.

    Raises:
        TypeError, ValueError: as `hessian_diagonal`; there are more than 5000 parameters.
    """
    parameters = parameters_of(model)
    check_examples(model, images, labels)
    n = _few(parameters)
    hessian = next(iter(parameters.values())).new_zeros(n, n, dtype=torch.float64)
    with torch.inference_mode(False), in_use(model):
        for numbers, columns in _columns(model, parameters, images, labels.long()):
            hessian[numbers] += columns
    return hessian


def _few(parameters: Mapping[str, Tensor]) -> int:
    """How many numbers they hold; raises where a whole Hessian of them is too large."""
    if (n := sum(p.numel() for p in parameters.values())) > MOST:
        raise ValueError(
            f"the model has {n} parameters, and a whole Hessian is computed for at most {MOST}"
        )
    return n


def _columns(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """What some images add to some columns of the Hessian, float64 (columns, n), and which."""
    exact = {name: p.double() for name, p in parameters.items()}
    buffers = {
        name: b.double() if b.is_floating_point() else b for name, b in model.named_buffers()
    }
    sizes = [p.numel() for p in exact.values()]
    flat = torch.cat([p.flatten() for p in exact.values()])

    def loss(flat: Tensor, batch: Tensor, targets: Tensor) -> Tensor:
        parts = zip(exact.items(), flat.split(sizes), strict=True)
        given = {name: part.view(p.shape) for (name, p), part in parts}
        logits = functional_call(model, (given, buffers), (batch,))
        return F.cross_entropy(logits, targets, reduction="sum") / len(images)

    directions = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
    for batch in zip(images.double().split(IMAGES), labels.split(IMAGES), strict=True):
        _, back = vjp(lambda flat, batch=batch: grad(loss)(flat, *batch), flat)
        for first in range(0, len(flat), COLUMNS):
            numbers = slice(first, first + COLUMNS)
            yield numbers, vmap(back)(directions[numbers])[0]


def _exact(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    diagonal = next(iter(parameters.values())).new_zeros(_few(parameters), dtype=torch.float64)
    for numbers, columns in _columns(model, parameters, images, labels):
        diagonal[numbers] += columns[:, numbers].diagonal()
    parts = diagonal.split([p.numel() for p in parameters.values()])
    named = zip(parameters.items(), parts, strict=True)
    return {name: part.view(p.shape) for (name, p), part in named}


def _gauss_newton(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    def root(logits: Tensor, labels: Tensor) -> Tensor:
        """R, with √p_c·(e_c - p) in row c: RᵀR = diag(p) - p pᵀ, the loss's Hessian there."""
        p = logits.softmax(-1)
        own = torch.eye(p.shape[-1], dtype=torch.bool, device=p.device)
        rows = torch.where(own, one_minus(p)[..., None, :], -p[..., None, :])
        return p.sqrt()[..., None] * rows

    return _mean_squares(model, parameters, images, labels, root)


def _fisher(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    def gradient(logits: Tensor, labels: Tensor) -> Tensor:
        return softmax_and_gradient(logits, labels)[1][..., None, :]

    return _mean_squares(model, parameters, images, labels, gradient)


def _mean_squares(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    at_logits: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """The rows that `at_logits` gives of each image, carried back to it, squared and averaged."""
    try:
        return squared_gradients(model, parameters, images, labels, at_logits)
    except NoRule:
        return _image_by_image(model, parameters, images, labels, at_logits)


def _image_by_image(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    at_logits: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """The same for any model: each image's gradient is there, some images at a time."""

    def of_one(given: Mapping[str, Tensor], image: Tensor, label: Tensor) -> dict[str, Tensor]:
        logits, back = vjp(lambda given: functional_call(model, given, (image[None],))[0], given)
        (gradients,) = vmap(back)(at_logits(logits, label))
        return {name: g.square().sum(0) for name, g in gradients.items()}

    rows = len(at_logits(functional_call(model, parameters, (images[:1],))[0], labels[0]))
    chunk = NUMBERS // (rows * sum(p.numel() for p in parameters.values()))
    chunk = min(max(1, chunk), IMAGES)
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch in zip(images.split(chunk), labels.split(chunk), strict=True):
        for name, squares in vmap(of_one, in_dims=(None, 0, 0))(parameters, *batch).items():
            sums[name] += squares.sum(0)
    return {name: total / len(images) for name, total in sums.items()}


_BY = {
    "exact": _exact,
    "backpropagated": backpropagated,
    "gauss-newton": _gauss_newton,
    "fisher": _fisher,
}
